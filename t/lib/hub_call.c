/* hub_call.c: asks workers what the hubs in nginx ask them, by operations that
 * have no path.
 *
 *     hub_call [-u USER] [-s SESSION] [-a] BASE
 *
 * BASE is the endpoint of the workers, as in worker.ini; the first slot is
 * asked. Each line of input is a request: the operation, a space, the body.
 * Each is answered by lines of JSON: {"status", "type", "body"}, and, when
 * the reply is of records, one for each. -u: signed in as that user, -a: an
 * administrator. Ends with input. */

#include "common/wire.h"
#include "hub_print.h"
#include "workers/runtime/endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

#define WAIT_MS 15000

static struct {
    void *socket;
    hive_uuid_t user, session;
    uint8_t principal;
    uint64_t id;
} hub;

static void
fail(const char *what)
{
    fprintf(stderr, "hub_call: %s\n", what);
    exit(1);
}

static void
send_batch(wire_buf_t *buf)
{
    wire_buf_finish(buf);
    if (zmq_send(hub.socket, buf->data, buf->len, 0) < 0) {
        fail(zmq_strerror(zmq_errno()));
    }
    wire_buf_reset(buf);
}

static void
print_reply(const wire_reply_t *reply)
{
    slice_t type = SLICE(""), rest = reply->body;
    json_t *line = json_object();
    event_record_t record;
    long len;
    int records;

    for (unsigned i = 0; i < reply->nheaders; i++) {
        if (slice_equal(reply->headers[i].name, SLICE("content-type"))) {
            type = reply->headers[i].value;
        }
    }
    records = slice_equal(type, SLICE("application/octet-stream"));
    json_object_set_new(line, "status", json_integer(reply->status));
    hub_set(line, "type", type);
    hub_set(line, "body", records ? SLICE("") : reply->body);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
    while (records
           && (len = event_record_get(rest.data, rest.len, &record)) != 0) {
        if (len < 0) {
            fail("a malformed record");
        }
        hub_print(&record);
        rest.data += len;
        rest.len -= (size_t) len;
    }
    puts("");
    fflush(stdout);
}

/* Prints the answer to `id` and returns 1; 0 when none came in time. With id
 * 0: waits for a beat that says that the worker is ready. */
static int
await(uint64_t id)
{
    int left = WAIT_MS;

    while (left > 0) {
        zmq_pollitem_t item = { .socket = hub.socket, .events = ZMQ_POLLIN };
        wire_reader_t reader;
        wire_record_t record;
        zmq_msg_t message;
        int found = 0;

        if (zmq_poll(&item, 1, 100) == 0) {
            left -= 100;
            if (id == 0) {
                return 0;
            }
            continue;
        }
        zmq_msg_init(&message);
        zmq_msg_recv(&message, hub.socket, 0);
        if (wire_reader_init(&reader, zmq_msg_data(&message),
                zmq_msg_size(&message)) != WIRE_OK) {
            fail("not the wire format");
        }
        while (wire_next(&reader, &record) > 0) {
            wire_reply_t reply;
            wire_beat_t beat;

            if (id == 0 && record.type == WIRE_BEAT
                && wire_get_beat(&record, &beat) == WIRE_OK) {
                found |= (beat.flags & WIRE_BEAT_READY) != 0;
            } else if (id != 0 && record.id == id
                       && record.type == WIRE_REPLY
                       && wire_get_reply(&record, &reply) == WIRE_OK) {
                print_reply(&reply);
                found = 1;
            }
        }
        zmq_msg_close(&message);
        if (found) {
            return 1;
        }
    }
    return 0;
}

static void
ask(char *line, size_t len)
{
    char *body = memchr(line, ' ', len);
    wire_request_t rq = { .principal = hub.principal, .user = hub.user,
        .session = hub.session, .deadline_ms = WAIT_MS };
    wire_buf_t out = { 0 };

    rq.operation = (slice_t) { line,
        body == NULL ? len : (size_t) (body - line) };
    if (body != NULL) {
        rq.body = (slice_t) { body + 1, len - rq.operation.len - 1 };
    }
    if (wire_put_request(&out, ++hub.id, &rq) != 0) {
        fail("a request that the wire cannot carry");
    }
    send_batch(&out);
    if (!await(hub.id)) {
        fail("no answer");
    }
    wire_buf_release(&out);
}

static void
connect_sides(const char *base)
{
    char endpoint[ENDPOINT_MAX];
    int one = 1, none = 0;
    wire_buf_t ping = { 0 };

    hub.socket = zmq_socket(zmq_ctx_new(), ZMQ_DEALER);
    zmq_setsockopt(hub.socket, ZMQ_IMMEDIATE, &one, sizeof(one));
    zmq_setsockopt(hub.socket, ZMQ_LINGER, &none, sizeof(none));
    for (unsigned side = 0; side < 2; side++) {
        if (endpoint_format(endpoint, base, 0, side, ENDPOINT_REQUESTS) != 0
            || zmq_connect(hub.socket, endpoint) != 0) {
            fail("no such endpoint");
        }
    }
    for (int i = 0; i < 100; i++) {
        wire_put_ping(&ping, 0, 1);
        send_batch(&ping);
        if (await(0)) {
            wire_buf_release(&ping);
            return;
        }
    }
    fail("no worker is ready");
}

int
main(int argc, char **argv)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int option;

    while ((option = getopt(argc, argv, "u:s:a")) != -1) {
        hive_uuid_t *uuid = option == 's' ? &hub.session : &hub.user;

        if (option == 'a') {
            hub.principal |= WIRE_SUPERUSER;
        } else if (option == '?'
                   || uuid_parse(optarg, strlen(optarg), uuid) != 0) {
            return 2;
        } else {
            hub.principal |= WIRE_SIGNED_IN;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "usage: hub_call [-u USER] [-s SESSION] [-a] BASE\n");
        return 2;
    }
    connect_sides(argv[optind]);
    while ((len = getline(&line, &size, stdin)) > 0) {
        if (line[len - 1] == '\n') {
            len--;
        }
        ask(line, (size_t) len);
    }
    free(line);
    return 0;
}
