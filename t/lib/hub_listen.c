/* hub_listen.c: hears what workers publish, as the hubs in nginx do.
 *
 *     hub_listen BASE SLOTS TOPIC...
 *
 * BASE is the endpoint of the workers, as in worker.ini. Prints a line
 * "listening", then each record under a topic that begins like one of TOPIC as
 * a line of JSON, until it is killed. */

#include "hub_print.h"
#include "workers/runtime/endpoint.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#define SETTLE_US 500000      /* until subscriptions have arrived */

static void
fail(const char *what)
{
    fprintf(stderr, "hub_listen: %s\n", what);
    exit(1);
}

static void
connect_all(void *socket, const char *base, unsigned slots)
{
    char endpoint[ENDPOINT_MAX];

    for (unsigned slot = 0; slot < slots; slot++) {
        for (unsigned side = 0; side < 2; side++) {
            if (endpoint_format(endpoint, base, slot, side, ENDPOINT_EVENTS)
                != 0 || zmq_connect(socket, endpoint) != 0) {
                fail("no such endpoint");
            }
        }
    }
}

static void
hear(void *socket)
{
    zmq_msg_t part;
    int index = 0;

    do {
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, socket, 0) < 0) {
            fail(zmq_strerror(zmq_errno()));
        }
        if (index++ == 1) {
            event_record_t record;
            size_t len = zmq_msg_size(&part);

            if (event_record_get(zmq_msg_data(&part), len, &record)
                != (long) len) {
                fail("a malformed record");
            }
            hub_print(&record);
        }
        if (!zmq_msg_more(&part)) {
            index = 0;
        }
        zmq_msg_close(&part);
    } while (index != 0);
}

int
main(int argc, char **argv)
{
    void *socket = zmq_socket(zmq_ctx_new(), ZMQ_SUB);

    if (argc < 4) {
        fprintf(stderr, "usage: hub_listen BASE SLOTS TOPIC...\n");
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        zmq_setsockopt(socket, ZMQ_SUBSCRIBE, argv[i], strlen(argv[i]));
    }
    connect_all(socket, argv[1], (unsigned) atoi(argv[2]));
    usleep(SETTLE_US);
    puts("listening");
    fflush(stdout);
    for (;;) {
        hear(socket);
    }
}
