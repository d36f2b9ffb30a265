/* server.c: the ROUTER socket on the loop, and its requests on fibers.
 *
 * ZMQ_FD is edge-triggered in effect: a send may swallow the wake-up that a
 * message to receive has caused. Reading until EAGAIN is what arms it again,
 * so `recheck` is set by the poll callback and by every send, and cleared
 * only by EAGAIN. All sending is done in the prepare hook, just before the
 * loop would sleep; an idle handle keeps it awake while work remains. */

#include "server.h"

#include "endpoint.h"
#include "inflight.h"
#include "log.h"
#include "metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define DRAIN_MESSAGES 64      /* per turn, so that replies get their turn */
#define BEAT_MS        1000
#define DRAIN_TICK_MS  20
#define DRAIN_GRACE_MS 1000    /* after the bound, for fibers to unwind */
#define LINGER_MS      2000
#define COMPLAIN_MS    60000

static struct {
    server_config_t config;
    void *socket;
    uv_poll_t poll;
    uv_prepare_t prepare;
    uv_idle_t idle;
    uv_timer_t timer;          /* beats */
    uv_timer_t drain_timer;
    unsigned handles;          /* still to close */
    int recheck;
    uint64_t malformed;        /* messages */

    int facts_stale;
    arena_t *facts_arena;
    slice_t facts;
    int metrics_stale;
    arena_t *metrics_arena;
    slice_t metrics;
    uint64_t incarnation;

    int draining;
    uint64_t drain_until;      /* uv_now() */
    int drain_cancelled;
    void (*drained)(void *arg);
    void *drained_arg;
} server;

static void
on_ping(peer_t *peer, const wire_record_t *record)
{
    uint64_t incarnation;

    if (wire_get_ping(record, &incarnation) != WIRE_OK) {
        return;
    }

    if (peer->incarnation != 0 && peer->incarnation != incarnation) {
        /* The nginx worker behind this identity is another one. */
        inflight_lost(peer);
    }
    peer->incarnation = incarnation;
    peer->stopped = (record->flags & WIRE_PING_STOP) != 0;
    if (record->flags & WIRE_PING_METRICS) {
        peer->metrics_due |= !peer->wants_metrics;
        peer->wants_metrics = 1;
    } else {
        peer->wants_metrics = peer->metrics_due = 0;
    }
    peer_beat(peer);
}

/* ---- receiving ---- */

static void
complain(peer_t *peer, const char *what)
{
    uint64_t now = uv_now(server.config.loop);

    server.malformed++;
    if (peer->complained == 0 || now - peer->complained > COMPLAIN_MS) {
        peer->complained = now;
        log_error("refused a message of a module: %s", what);
    }
}

static void
on_message(peer_t *peer, zmq_msg_t *message)
{
    wire_reader_t reader;
    wire_record_t record;
    int rc = wire_reader_init(&reader, zmq_msg_data(message),
        zmq_msg_size(message));

    if (rc != WIRE_OK) {
        complain(peer, rc == WIRE_VERSION
            ? "it speaks another version of the wire format: module and"
              " worker must be of one major version"
            : "not the wire format");
        return;
    }

    while ((rc = wire_next(&reader, &record)) > 0) {
        switch (record.type) {
        case WIRE_REQUEST:
            inflight_request(peer, &record, message);
            break;
        case WIRE_CANCEL:
            inflight_cancel(peer, record.id);
            break;
        case WIRE_CREDIT:
            inflight_credit(peer, &record);
            break;
        case WIRE_PING:
            on_ping(peer, &record);
            break;
        default:
            break;             /* a worker's word: nothing to us */
        }
    }

    if (rc < 0) {
        complain(peer, "malformed record");
    }
}

static void
skip_parts(zmq_msg_t *part)
{
    while (zmq_msg_more(part)) {
        if (zmq_msg_recv(part, server.socket, ZMQ_DONTWAIT) < 0) {
            return;
        }
    }
}

/* One message: 1, or 0 when there is none (and ZMQ_FD is armed again). */
static int
receive(void)
{
    zmq_msg_t identity, message;
    peer_t *peer;

    zmq_msg_init(&identity);
    while (zmq_msg_recv(&identity, server.socket, ZMQ_DONTWAIT) < 0) {
        if (zmq_errno() != EINTR) {
            return 0;
        }
    }

    zmq_msg_init(&message);
    if (zmq_msg_more(&identity)
        && zmq_msg_recv(&message, server.socket, ZMQ_DONTWAIT) >= 0) {
        peer = peers_get(zmq_msg_data(&identity), zmq_msg_size(&identity),
            uv_now(server.config.loop));
        if (zmq_msg_more(&message)) {
            skip_parts(&message);
            complain(peer, "more than one part");
        } else {
            on_message(peer, &message);
        }
    }

    zmq_msg_close(&message);
    zmq_msg_close(&identity);
    return 1;
}

static void
receive_some(void)
{
    for (int i = 0; i < DRAIN_MESSAGES; i++) {
        if (!receive()) {
            server.recheck = 0;
            return;
        }
    }

    server.recheck = 1;
}

/* ---- beats ---- */

/* Made anew once a second, so that all modules know the same. */
static void
append_metrics(peer_t *peer)
{
    if (server.metrics_stale) {
        buf_t text;

        server.metrics_stale = 0;
        arena_reset(server.metrics_arena);
        buf_init(&text, server.metrics_arena, server.metrics.len + 4096);
        metrics_put(&text);
        server.metrics = buf_slice(&text);
    }

    peer->metrics_due = 0;
    wire_put_metrics(&peer->out, server.metrics);
}

static void
append_beat(peer_t *peer)
{
    wire_beat_t beat = {
        .flags = (uint8_t) ((server.config.ready() ? WIRE_BEAT_READY : 0)
                 | (server.draining ? WIRE_BEAT_DRAINING : 0)),
        .pid = (uint32_t) getpid(),
        .incarnation = server.incarnation,
        .in_flight = inflight_counts()->in_flight,
    };

    if (server.facts_stale) {
        buf_t facts;

        server.facts_stale = 0;
        arena_reset(server.facts_arena);
        buf_init(&facts, server.facts_arena, 1024);
        server.config.facts(&facts);
        server.facts = buf_slice(&facts);
    }

    beat.facts = server.facts;
    wire_put_beat(&peer->out, &beat);
    if (peer->metrics_due) {
        append_metrics(peer);
    }
}

void
server_changed(void)
{
    if (server.socket != NULL) {
        server.facts_stale = 1;
        peers_beat(uv_now(server.config.loop));
    }
}

static void
on_timer(uv_timer_t *timer)
{
    (void) timer;
    peers_expire(uv_now(server.config.loop));
    server.metrics_stale = 1;
    for (peer_t *peer = peers_first(); peer != NULL; peer = peer->next) {
        peer->metrics_due = peer->wants_metrics;
    }
    server_changed();
}

/* ---- the loop's hooks ---- */

static void
on_idle(uv_idle_t *idle)
{
    (void) idle;
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    (void) poll;
    (void) events;

    if (status < 0) {
        log_error("polling the socket of requests failed: %s",
            uv_strerror(status));
        abort();
    }
    receive_some();
}

static void
on_prepare(uv_prepare_t *prepare)
{
    (void) prepare;

    /* What the first round receives may be answered by the second. */
    for (int round = 0; round < 2; round++) {
        if (peers_flush() > 0) {
            server.recheck = 1;
        }
        if (!server.recheck) {
            break;
        }
        receive_some();
    }

    if (server.recheck || peers_dirty()) {
        uv_idle_start(&server.idle, on_idle);
    } else {
        uv_idle_stop(&server.idle);
    }
}

/* ---- starting ---- */

static int
open_socket(void)
{
    int one = 1, none = 0, linger = LINGER_MS;
    int rc;

    server.socket = zmq_socket(server.config.zmq_context, ZMQ_ROUTER);
    if (server.socket == NULL) {
        return -zmq_errno();
    }

    /* Admission is ours (in_flight_max), so ZeroMQ need not count. */
    zmq_setsockopt(server.socket, ZMQ_ROUTER_MANDATORY, &one, sizeof(one));
    zmq_setsockopt(server.socket, ZMQ_SNDHWM, &none, sizeof(none));
    zmq_setsockopt(server.socket, ZMQ_RCVHWM, &none, sizeof(none));
    zmq_setsockopt(server.socket, ZMQ_LINGER, &linger, sizeof(linger));

    rc = endpoint_bind(server.socket, server.config.endpoint);
    if (rc != 0) {
        zmq_close(server.socket);
        server.socket = NULL;
    }
    return rc;
}

static int
start_handles(void)
{
    uv_loop_t *loop = server.config.loop;
    int fd, rc;
    size_t size = sizeof(fd);

    if (zmq_getsockopt(server.socket, ZMQ_FD, &fd, &size) != 0) {
        return -zmq_errno();
    }
    rc = uv_poll_init(loop, &server.poll, fd);
    if (rc != 0) {
        return rc;
    }

    uv_poll_start(&server.poll, UV_READABLE, on_poll);
    uv_prepare_init(loop, &server.prepare);
    uv_prepare_start(&server.prepare, on_prepare);
    uv_idle_init(loop, &server.idle);
    uv_timer_init(loop, &server.timer);
    uv_timer_start(&server.timer, on_timer, BEAT_MS, BEAT_MS);
    uv_timer_init(loop, &server.drain_timer);

    server.handles = 5;
    server.recheck = 1;
    return 0;
}

int
server_start(const server_config_t *config)
{
    int rc;

    memset(&server, 0, sizeof(server));
    server.config = *config;
    server.facts_stale = 1;
    server.metrics_stale = 1;

    if (getrandom(&server.incarnation, sizeof(server.incarnation), 0) < 0) {
        return -errno;
    }

    rc = inflight_start(config);
    if (rc != 0) {
        return rc;
    }
    rc = open_socket();
    if (rc != 0) {
        log_error("binding %s failed: %s", config->endpoint,
            zmq_strerror(-rc));
        inflight_stop();
        return rc;
    }

    server.facts_arena = arena_new();
    server.metrics_arena = arena_new();
    peers_start(&(peers_config_t) {
        .socket = server.socket, .lost = inflight_lost, .beat = append_beat
    });
    return start_handles();
}

/* ---- stopping ---- */

static void
on_closed(uv_handle_t *handle)
{
    (void) handle;

    if (--server.handles > 0) {
        return;
    }

    peers_stop();
    zmq_close(server.socket);
    server.socket = NULL;
    arena_free(server.facts_arena);
    arena_free(server.metrics_arena);
    inflight_stop();
    server.drained(server.drained_arg);
}

static void
close_all(void)
{
    uv_poll_stop(&server.poll);
    uv_close((uv_handle_t *) &server.poll, on_closed);
    uv_close((uv_handle_t *) &server.prepare, on_closed);
    uv_close((uv_handle_t *) &server.idle, on_closed);
    uv_close((uv_handle_t *) &server.timer, on_closed);
    uv_close((uv_handle_t *) &server.drain_timer, on_closed);
}

static void
on_drain_timer(uv_timer_t *timer)
{
    uint64_t now = uv_now(server.config.loop);
    int idle = inflight_counts()->in_flight == 0;

    (void) timer;

    if (idle && !peers_dirty() && !server.recheck
        && (server.drain_cancelled || peers_stopped(now))) {
        close_all();
        return;
    }
    if (now < server.drain_until) {
        return;
    }

    if (!server.drain_cancelled) {
        log_warn("drained no further: %u requests cancelled at the bound",
            inflight_counts()->in_flight);
        server.drain_cancelled = 1;
        server.drain_until = now + DRAIN_GRACE_MS;
        inflight_stop_all();
    } else {
        log_error("%u requests would not end", inflight_counts()->in_flight);
        peers_flush();
        close_all();
    }
}

void
server_drain(unsigned bound_ms, void (*done)(void *arg), void *arg)
{
    if (server.draining) {
        return;
    }

    server.draining = 1;
    server.drained = done;
    server.drained_arg = arg;
    server.drain_until = uv_now(server.config.loop) + bound_ms;
    uv_timer_start(&server.drain_timer, on_drain_timer, 0, DRAIN_TICK_MS);
    server_changed();
}

/* ---- looking in ---- */

void
server_facts(server_facts_t *out)
{
    const inflight_count_t *count = inflight_counts();

    *out = (server_facts_t) {
        .in_flight = count->in_flight,
        .modules = peers_count(),
        .draining = server.draining,
        .requests = count->requests,
        .shed = count->shed,
        .malformed = count->malformed + server.malformed,
        .lost = count->lost,
    };
}

const char *
server_request_id(void)
{
    fiber_t *fiber = fiber_self();
    const request_t *rq = fiber != NULL ? fiber_data(fiber) : NULL;

    return rq != NULL ? rq->request_id : NULL;
}

static void
dump_one(void *arg, const char *name, const char *reason, void *data)
{
    const request_t *rq = data;

    (void) arg;
    log_info("fiber %s: %s, request %s, %lld ms left", name, reason,
        rq != NULL ? rq->request_id : "none",
        rq != NULL ? (long long) rq_time_left(rq) : 0);
}

void
server_dump_fibers(void)
{
    log_info("%u fibers live, %u requests in flight, %u modules",
        fiber_live(server.config.fibers), inflight_counts()->in_flight,
        peers_count());
    fiber_dump(server.config.fibers, dump_one, NULL);
}
