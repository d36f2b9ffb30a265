/* events.c: committed events, on the process's PUB socket.
 *
 * Of type XPUB: it hears who begins to listen to which channel. A subscriber
 * that does not keep up loses events at EVENTS_QUEUED and finds out by their
 * offsets. */

#include "event_text.h"
#include "internal.h"

#include "workers/runtime/endpoint.h"
#include "workers/runtime/log.h"

#include <errno.h>
#include <time.h>
#include <zmq.h>

#define EVENTS_QUEUED 65536    /* messages, per subscriber */
#define LINGER_MS     1000
#define LISTEN_MS     20

static struct {
    void *socket;
    arena_t *arena;
    uint64_t failed;
    uv_poll_t poll;
    uv_timer_t later;
    int listening;          /* `later` is started */
} events;

static void on_later(uv_timer_t *timer);

/* Sending may swallow the wake-up that a subscription has come: looked at soon,
 * not each time. */
static void
listen_later(void)
{
    if (!events.listening) {
        events.listening = 1;
        uv_timer_start(&events.later, on_later, LISTEN_MS, 0);
    }
}

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
    listen_later();
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

/* ---- who listens ---- */

/* A subscription is a byte 1 and the channel. All that have come: ZMQ_FD tells
 * only of the first. */
static void
hear_all(void)
{
    zmq_msg_t message;
    slice_t said;

    zmq_msg_init(&message);
    for (;;) {
        if (zmq_msg_recv(&message, events.socket, ZMQ_DONTWAIT) < 0) {
            if (zmq_errno() == EINTR) {
                continue;
            }
            break;
        }
        said = (slice_t) { zmq_msg_data(&message), zmq_msg_size(&message) };
        if (said.len > 1 && said.data[0] == 1) {
            live_texts_tell((slice_t) { said.data + 1, said.len - 1 });
        }
    }
    zmq_msg_close(&message);
}

static void
on_poll(uv_poll_t *poll, int status, int readable)
{
    (void) poll;
    (void) readable;

    if (status < 0) {
        log_error("polling the socket of events failed: %s",
            uv_strerror(status));
        abort();
    }
    hear_all();
}

static void
on_later(uv_timer_t *timer)
{
    (void) timer;

    events.listening = 0;
    hear_all();
}

/* ---- life ---- */

static int
listen_to_subscribers(uv_loop_t *loop)
{
    size_t size = sizeof(int);
    int fd, rc;

    if (zmq_getsockopt(events.socket, ZMQ_FD, &fd, &size) != 0) {
        return -zmq_errno();
    }
    rc = uv_poll_init(loop, &events.poll, fd);
    if (rc != 0) {
        return rc;
    }
    uv_poll_start(&events.poll, UV_READABLE, on_poll);
    uv_timer_init(loop, &events.later);
    return 0;
}

int
events_start(uv_loop_t *loop, void *zmq_context, const char *endpoint)
{
    int queued = EVENTS_QUEUED, linger = LINGER_MS, all = 1;
    int rc;

    events.socket = zmq_socket(zmq_context, ZMQ_XPUB);
    if (events.socket == NULL) {
        return -zmq_errno();
    }

    /* Of every subscription, not of the first to a channel. */
    zmq_setsockopt(events.socket, ZMQ_XPUB_VERBOSE, &all, sizeof(all));

    zmq_setsockopt(events.socket, ZMQ_SNDHWM, &queued, sizeof(queued));
    zmq_setsockopt(events.socket, ZMQ_LINGER, &linger, sizeof(linger));
    rc = endpoint_bind(events.socket, endpoint);
    if (rc != 0) {
        log_error("binding %s failed: %s", endpoint, zmq_strerror(-rc));
        zmq_close(events.socket);
        events.socket = NULL;
        return rc;
    }

    rc = listen_to_subscribers(loop);
    if (rc != 0) {
        zmq_close(events.socket);
        events.socket = NULL;
        return rc;
    }

    events.arena = arena_new();
    events.failed = 0;
    events.listening = 0;
    listen_later();
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
    uv_close((uv_handle_t *) &events.poll, NULL);
    uv_close((uv_handle_t *) &events.later, NULL);
    zmq_close(events.socket);
    events.socket = NULL;
    arena_free(events.arena);
}
