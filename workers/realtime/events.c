/* events.c: committed events, on the process's PUB socket.
 *
 * The socket is only ever sent to, from the loop's thread; ZeroMQ notices
 * subscriptions while sending. A subscriber that does not keep up loses
 * events at EVENTS_QUEUED and finds out by their offsets. */

#include "realtime.h"

#include "workers/db/event.h"
#include "workers/runtime/endpoint.h"
#include "workers/runtime/log.h"

#include <inttypes.h>
#include <zmq.h>

#include <errno.h>

#define EVENTS_QUEUED 65536    /* messages, per subscriber */
#define LINGER_MS     1000

static struct {
    void *socket;
    arena_t *arena;
    uint64_t failed;
} events;

static int
send_part(slice_t part, int flags)
{
    int rc;

    do {
        rc = zmq_send(events.socket, part.data, part.len,
            flags | ZMQ_DONTWAIT);
    } while (rc < 0 && zmq_errno() == EINTR);

    return rc < 0 ? -zmq_errno() : 0;
}

static void
put_event(buf_t *out, const event_t *event)
{
    buf_puts(out, "{\"channel\":");
    json_put_string(out, event->channel);
    buf_printf(out, ",\"offset\":%" PRId64 ",\"type\":", event->offset);
    json_put_string(out, event->type);
    buf_puts(out, ",\"data\":");
    if (event->data.len > 0) {
        buf_put(out, event->data.data, event->data.len);
    } else {
        buf_puts(out, "null");
    }
    buf_puts(out, ",\"timestamp\":");
    json_put_time(out, event->time);
    buf_putc(out, '}');
}

static void
publish(const event_t *event)
{
    buf_t text;
    int rc;

    buf_init(&text, events.arena, 512);
    put_event(&text, event);

    rc = send_part(event->channel, ZMQ_SNDMORE);
    if (rc == 0) {
        rc = send_part(buf_slice(&text), 0);
    }
    if (rc != 0 && events.failed++ == 0) {
        log_warn("publishing an event failed: %s", zmq_strerror(-rc));
    }
    arena_reset(events.arena);
}

int
events_start(void *zmq_context, const char *endpoint)
{
    int queued = EVENTS_QUEUED, linger = LINGER_MS;
    int rc;

    events.socket = zmq_socket(zmq_context, ZMQ_PUB);
    if (events.socket == NULL) {
        return -zmq_errno();
    }

    zmq_setsockopt(events.socket, ZMQ_SNDHWM, &queued, sizeof(queued));
    zmq_setsockopt(events.socket, ZMQ_LINGER, &linger, sizeof(linger));
    rc = endpoint_bind(events.socket, endpoint);
    if (rc != 0) {
        log_error("binding %s failed: %s", endpoint, zmq_strerror(-rc));
        zmq_close(events.socket);
        events.socket = NULL;
        return rc;
    }

    events.arena = arena_new();
    events.failed = 0;
    event_set_sink(publish);
    return 0;
}

void
events_stop(void)
{
    if (events.socket == NULL) {
        return;
    }

    event_set_sink(NULL);
    zmq_close(events.socket);
    events.socket = NULL;
    arena_free(events.arena);
}
