/* events.c: committed events, on the process's PUB socket.
 *
 * The socket is only ever sent to, from the loop's thread; ZeroMQ notices
 * subscriptions while sending. A subscriber that does not keep up loses
 * events at EVENTS_QUEUED and finds out by their offsets. */

#include "realtime.h"

#include "event_text.h"

#include "workers/runtime/endpoint.h"
#include "workers/runtime/log.h"

#include <errno.h>
#include <time.h>
#include <zmq.h>

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
send_event(const event_t *event)
{
    buf_t record;
    int rc;

    buf_init(&record, events.arena, 512);
    event_put(&record, event);

    rc = send_part(event->channel, ZMQ_SNDMORE);
    if (rc == 0) {
        rc = send_part(buf_slice(&record), 0);
    }
    if (rc != 0 && events.failed++ == 0) {
        log_warn("publishing an event failed: %s", zmq_strerror(-rc));
    }
    arena_reset(events.arena);
}

static event_t
access_changed(slice_t key)
{
    return (event_t) {
        .kind = EVENT_CONTROL,
        .channel = SLICE("control"),
        .type = SLICE("access"),
        .key = key,
    };
}

/* Of what is gone nobody may watch the channel. */
static int
is_deletion(const event_t *event)
{
    static const char end[] = ".deleted";
    size_t len = sizeof(end) - 1;

    return event->kind == EVENT_CHANGE && event->type.len > len
           && memcmp(event->type.data + event->type.len - len, end, len) == 0;
}

static void
publish(const event_t *event)
{
    send_event(event);
    if (is_deletion(event)) {
        event_t control = access_changed(event->channel);

        send_event(&control);
    }
}

/* ---- saying ---- */

static int64_t
now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void
event_signal(request_t *rq, slice_t channel, slice_t type, slice_t data)
{
    event_send(rq, &(event_t) {
        .kind = EVENT_SIGNAL,
        .channel = channel,
        .type = type,
        .data = data,
        .time = now_us(),
    });
}

void
event_delta(slice_t channel, slice_t key, slice_t text, int done)
{
    event_emit(&(event_t) {
        .kind = EVENT_DELTA,
        .flags = done ? EVENT_DONE : 0,
        .channel = channel,
        .type = SLICE("message.delta"),
        .key = key,
        .data = text,
    });
}

void
event_access_changed_channel(request_t *rq, slice_t channel)
{
    event_t event = access_changed(channel);

    event_send(rq, &event);
}

void
event_access_changed_user(request_t *rq, hive_uuid_t user)
{
    char *key = arena_alloc(rq->arena, 5 + UUID_TEXT);

    memcpy(key, "user:", 5);
    uuid_format(&user, key + 5);
    event_access_changed_channel(rq, (slice_t) { key, 5 + UUID_TEXT });
}

/* ---- life ---- */

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
