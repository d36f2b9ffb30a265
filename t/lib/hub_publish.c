/* hub_publish.c: events for the hub, as a worker would publish them.
 *
 *   hub_publish [-o OFFSET] ENDPOINT CHANNEL...
 *
 * Binds ENDPOINT (of a worker's slot that nobody uses, "ipc://...worker.0b.events")
 * and publishes each line of standard input as the data of an event, in turn
 * to each channel. With -o they have offsets, from that one on, and again from
 * there after a line "@again"; without, they are signals. A line "@delta KEY
 * POSITION TEXT" is a piece of a text that grows, "@done KEY POSITION TEXT" its
 * last. */

#include "common/event_record.h"

#include <sys/stat.h>
#include <zmq.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES (1 << 17)

static void
send_record(void *socket, const event_record_t *record)
{
    static uint8_t out[3 * LINE_BYTES];

    event_record_put(out, record);
    zmq_send(socket, record->channel.data, record->channel.len, ZMQ_SNDMORE);
    zmq_send(socket, out, event_record_size(record), 0);
}

static int
publish_delta(void *socket, const char *channel, char *line)
{
    int done = strncmp(line, "@done ", 6) == 0;
    char *key, *text;
    long position;

    if (!done && strncmp(line, "@delta ", 7) != 0) {
        return 0;
    }
    key = strchr(line, ' ') + 1;
    text = strchr(key, ' ');
    position = text == NULL ? 0 : strtol(text, &text, 10);
    text = text == NULL || *text == '\0' ? "" : text + 1;
    send_record(socket, &(event_record_t) {
        .kind = EVENT_DELTA, .flags = done ? EVENT_DONE : 0,
        .channel = { channel, strlen(channel) },
        .offset = position,
        .type = SLICE("message.delta"),
        .key = { key, strcspn(key, " ") },
        .text = { text, strlen(text) },
    });
    return 1;
}

static void
publish(void *socket, const char *channel, int64_t offset, const char *line)
{
    static char text[2 * LINE_BYTES];
    event_record_t record = {
        .kind = offset > 0 ? EVENT_CHANGE : EVENT_SIGNAL,
        .offset = offset, .first = offset,
        .channel = { channel, strlen(channel) },
        .type = SLICE("bench.event"),
    };
    int len = offset > 0
        ? snprintf(text, sizeof(text), "{\"type\":\"bench.event\",\"channel\":"
            "\"%s\",\"offset\":%lld,\"data\":\"%s\"}", channel,
            (long long) offset, line)
        : snprintf(text, sizeof(text), "{\"type\":\"bench.event\",\"channel\":"
            "\"%s\",\"data\":\"%s\"}", channel, line);

    record.text = (slice_t) { text, (size_t) len };
    send_record(socket, &record);
}

int
main(int argc, char **argv)
{
    static char line[LINE_BYTES];
    int hwm = 0, linger = 2000, option, nchannels;
    int64_t offset = 0, *offsets;
    void *context, *socket;

    while ((option = getopt(argc, argv, "o:")) != -1) {
        if (option != 'o') {
            return 2;
        }
        offset = atoll(optarg);
    }
    argv += optind;
    argc -= optind;
    if (argc < 2 || strncmp(argv[0], "ipc://", 6) != 0) {
        fprintf(stderr, "hub_publish [-o OFFSET] ipc://... CHANNEL...\n");
        return 2;
    }
    nchannels = argc - 1;
    offsets = calloc((size_t) nchannels, sizeof(*offsets));
    for (int i = 0; i < nchannels; i++) {
        offsets[i] = offset;
    }
    context = zmq_ctx_new();
    socket = zmq_socket(context, ZMQ_PUB);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof(hwm));
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger));
    if (zmq_bind(socket, argv[0]) != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], zmq_strerror(zmq_errno()));
        return 1;
    }
    chmod(argv[0] + 6, 0666);
    for (long n = 0; fgets(line, sizeof(line), stdin) != NULL; n++) {
        int i = (int) (n % nchannels);

        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "@again") == 0) {
            for (i = 0; i < nchannels; i++) {
                offsets[i] = offset;
            }
            n = -1;
            continue;
        }
        if (publish_delta(socket, argv[1 + i], line)) {
            continue;
        }
        publish(socket, argv[1 + i], offset > 0 ? offsets[i]++ : 0, line);
    }
    zmq_close(socket);
    zmq_ctx_term(context);
    free(offsets);
    return 0;
}
