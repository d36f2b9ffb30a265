/* server.c: the ROUTER socket on the loop, and its requests on fibers.
 *
 * ZMQ_FD is edge-triggered in effect: a send may swallow the wake-up that a
 * message to receive has caused. Reading until EAGAIN is what arms it again,
 * so `recheck` is set by the poll callback and by every send, and cleared
 * only by EAGAIN. All sending is done in the prepare hook, just before the
 * loop would sleep; an idle handle keeps it awake while work remains. */

#include "server.h"

#include "endpoint.h"
#include "log.h"
#include "peers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define DRAIN_MESSAGES 64      /* per turn, so that replies get their turn */
#define POOL_MAX       512      /* idle request objects kept */
#define COPY_MAX       4096    /* larger requests may keep their message */
#define CREDIT_MAX     65536
#define BEAT_MS        1000
#define DRAIN_TICK_MS  20
#define DRAIN_GRACE_MS 1000    /* after the bound, for fibers to unwind */
#define LINGER_MS      2000
#define COMPLAIN_MS    60000

static struct {
    server_config_t config;
    server_facts_t count;
    void *socket;
    uv_poll_t poll;
    uv_prepare_t prepare;
    uv_idle_t idle;
    uv_timer_t timer;          /* beats */
    uv_timer_t drain_timer;
    unsigned handles;          /* still to close */
    int recheck;
    int facts_stale;
    uint64_t refusal_said;     /* uv_now() of the last line about refusals */

    served_t **table;          /* in flight, by id */
    size_t mask;
    served_t *pool;
    unsigned pooled;
    wire_request_t decoded;
    arena_t *scratch;          /* problems made without a request */
    arena_t *facts_arena;
    slice_t facts;
    uint64_t incarnation;

    uint64_t drain_until;      /* uv_now() */
    int drain_cancelled;
    void (*drained)(void *arg);
    void *drained_arg;
} server;

/* ---- the table of what is in flight ---- */

static served_t **
table_slot(uint64_t id)
{
    return &server.table[(id ^ id >> 32) & server.mask];
}

static served_t *
find_served(const peer_t *peer, uint64_t id)
{
    served_t *served = *table_slot(id);

    while (served != NULL && (served->id != id || served->peer != peer)) {
        served = served->hash_next;
    }

    return served;
}

static void
link_served(served_t *served, peer_t *peer, uint64_t id)
{
    served_t **slot = table_slot(id);

    served->id = id;
    served->hash_next = *slot;
    *slot = served;

    served->peer = peer;
    served->peer_prev = &peer->in_flight;
    served->peer_next = peer->in_flight;
    if (served->peer_next != NULL) {
        served->peer_next->peer_prev = &served->peer_next;
    }
    peer->in_flight = served;
    server.count.in_flight++;
}

static void
unlink_peer(served_t *served)
{
    if (served->peer == NULL) {
        return;
    }

    *served->peer_prev = served->peer_next;
    if (served->peer_next != NULL) {
        served->peer_next->peer_prev = served->peer_prev;
    }
    served->peer = NULL;
}

static void
unlink_served(served_t *served)
{
    served_t **at = table_slot(served->id);

    while (*at != served) {
        at = &(*at)->hash_next;
    }
    *at = served->hash_next;
    unlink_peer(served);
    server.count.in_flight--;
}

static void
leave(served_t *served, left_t why)
{
    if (served->left == LEFT_NOT) {
        served->left = why;
    }
    fiber_cancel(served->rq.fiber);
}

static void
peer_lost(peer_t *peer)
{
    while (peer->in_flight != NULL) {
        served_t *served = peer->in_flight;

        unlink_peer(served);
        leave(served, LEFT_CLIENT);
    }
}

/* ---- replies ---- */

static void
sink_reply(served_t *served, wire_type_t type, const wire_reply_t *reply)
{
    wire_reply_t bare = { .status = 500 };

    if (served->peer == NULL) {
        server.count.lost++;
        return;
    }

    if (wire_put_reply(peer_out(served->peer), served->id, type, reply)
        == WIRE_OK) {
        return;
    }

    /* A header or body that the wire cannot carry. */
    log_error("%s failed: its reply does not fit the wire",
        served->rq.op->name);
    served->rq.status = 500;
    if (type == WIRE_REPLY) {
        wire_put_reply(peer_out(served->peer), served->id, type, &bare);
    } else {
        served->stream = STREAM_ENDED;
        wire_put_reply(peer_out(served->peer), served->id, WIRE_REPLY, &bare);
        rq_raise(&served->rq, 500, "internal_error",
            "the head does not fit the wire");
    }
}

static void
sink_chunk(served_t *served, slice_t bytes)
{
    if (served->peer != NULL) {
        wire_put_chunk(peer_out(served->peer), served->id, bytes);
    }
}

static void
sink_end(served_t *served, uint8_t flags)
{
    if (served->peer != NULL) {
        wire_put_end(peer_out(served->peer), served->id, flags);
    }
}

static const reply_sink_t sink = { sink_reply, sink_chunk, sink_end };

static void
format_hex(const uint8_t *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

/* A problem for a request that gets no fiber. */
static void
refuse(peer_t *peer, uint64_t id, const wire_request_t *rq, int status,
    const char *code, const char *detail)
{
    problem_t problem = { status, code, detail, NULL };
    wire_reply_t reply = { .status = (uint16_t) status };
    char request_id[33];
    buf_t doc;

    reply.headers[reply.nheaders++] = (wire_header_t) {
        SLICE("content-type"), SLICE("application/problem+json")
    };
    if (status == 503) {
        reply.headers[reply.nheaders++] = (wire_header_t) {
            SLICE("retry-after"), SLICE("1")
        };
    }

    if (rq != NULL) {
        format_hex(rq->request_id, sizeof(rq->request_id), request_id);
    }
    buf_init(&doc, server.scratch, 512);
    problem_put(&doc, &problem, rq != NULL ? request_id : NULL);
    reply.body = buf_slice(&doc);
    wire_put_reply(peer_out(peer), id, WIRE_REPLY, &reply);
    arena_reset(server.scratch);
}

/* ---- requests ---- */

static served_t *
take_served(void)
{
    served_t *served = server.pool;

    if (served != NULL) {
        server.pool = served->hash_next;
        server.pooled--;
    } else {
        served = malloc(sizeof(*served));
        if (served == NULL) {
            log_error("taking a request failed: out of memory");
            abort();
        }
        served->rq.arena = arena_new();
        served->sink = &sink;
        served->loop = server.config.loop;
    }

    served_reset(served);
    return served;
}

/* Its arena is fresh or has been reset. */
static void
give_served(served_t *served)
{
    if (served->holds_message) {
        zmq_msg_close(&served->message);
    }
    if (server.pooled >= POOL_MAX) {
        arena_free(served->rq.arena);
        free(served);
        return;
    }

    served->hash_next = server.pool;
    server.pool = served;
    server.pooled++;
}

/* The fiber of a request. */
static void
serve(void *arg)
{
    served_t *served = arg;

    if (served->left == LEFT_NOT) {
        served_run(served, server.config.dispatch);
    }
    arena_reset(served->rq.arena);
    unlink_served(served);
    give_served(served);
}

static void
fill_request(served_t *served, const wire_request_t *in, int operation)
{
    request_t *rq = &served->rq;

    rq->operation = (operation_id_t) operation;
    rq->op = &operations[operation];
    rq->flags = in->flags;
    rq->signed_in = (in->principal & WIRE_SIGNED_IN) != 0;
    rq->superuser = rq->signed_in && (in->principal & WIRE_SUPERUSER) != 0;
    rq->user = in->user;
    rq->session = in->session;
    format_hex(in->request_id, sizeof(in->request_id), rq->request_id);
    format_hex(in->trace_id, sizeof(in->trace_id), rq->trace_id);
    rq->nparams = in->nparams;
    memcpy(rq->params, in->params, in->nparams * sizeof(in->params[0]));
    rq->query = in->query;
    rq->nheaders = in->nheaders;
    memcpy(rq->headers, in->headers, in->nheaders * sizeof(in->headers[0]));
    rq->body = in->body;
}

static void
set_deadline(served_t *served)
{
    uint64_t now = uv_now(server.config.loop);

    served->rq.deadline = (now + served->deadline_ms) * 1000000;
    fiber_deadline(served->rq.fiber, served->rq.deadline);
}

/* Nonzero when the request in server.decoded may run; else it was refused. */
static int
admit(peer_t *peer, uint64_t id, int operation)
{
    const wire_request_t *in = &server.decoded;

    if (server.count.in_flight >= server.config.in_flight_max) {
        server.count.shed++;
        refuse(peer, id, in, 503, "overloaded",
            "the worker has as many requests as it takes");
        return 0;
    }
    if (operation < 0) {
        refuse(peer, id, in, 501, "operation_unknown",
            "the worker does not know this operation");
        return 0;
    }
    if (in->deadline_ms == 0) {
        refuse(peer, id, in, 504, "deadline_exceeded",
            "the request was not finished within its time");
        return 0;
    }

    return 1;
}

/* Refused requests are counted; a line a minute says that there are some, so
 * that nobody fills the log by sending one again and again. */
static void
say_refused(const char *what, const char *why)
{
    uint64_t now = uv_now(server.config.loop);

    if (server.refusal_said == 0 || now - server.refusal_said > COMPLAIN_MS) {
        server.refusal_said = now;
        log_error("refused %s: %s", what, why);
    }
}

static int
quarantined(served_t *served)
{
    quarantine_t *quarantine = server.config.quarantine;

    if (quarantine == NULL) {
        return 0;
    }

    served->fingerprint = quarantine_fingerprint(quarantine, &served->rq);
    return quarantine_refuses(quarantine, served->fingerprint,
        uv_now(server.config.loop) / 1000);
}

/* Gives the decoded request its fiber. The slices of `served` stay valid as
 * long as its arena or message. */
static void
spawn(served_t *served, peer_t *peer, uint64_t id, int operation)
{
    const wire_request_t *in = &server.decoded;

    fill_request(served, in, operation);
    served->deadline_ms = in->deadline_ms;

    if (quarantined(served)) {
        say_refused(served->rq.op->name,
            "the request has killed workers before");
        refuse(peer, id, in, 500, "request_quarantined",
            "this request has ended worker processes and is refused");
    } else if (fiber_spawn(server.config.fibers, served->rq.op->name, serve,
                   served, &served->rq.fiber) != 0) {
        server.count.shed++;
        refuse(peer, id, in, 503, "overloaded",
            "the worker has as many requests as it takes");
    } else {
        fiber_set_data(served->rq.fiber, &served->rq);
        link_served(served, peer, id);
        set_deadline(served);
        return;
    }

    arena_reset(served->rq.arena);
    give_served(served);
}

/* A request that is most of a large message keeps the message; every other
 * is copied out of it. So a slow request holds at most twice its own size,
 * and a message has one owner at most. */
static int
keeps_message(const wire_record_t *record, size_t message_size)
{
    return record->payload.len > COPY_MAX
           && record->payload.len > message_size / 2;
}

static void
on_request(peer_t *peer, const wire_record_t *record, zmq_msg_t *message)
{
    wire_record_t own = *record;
    served_t *served = take_served();
    int keep = keeps_message(record, zmq_msg_size(message));
    int operation;

    server.count.requests++;
    if (!keep) {
        own.payload = arena_slice(served->rq.arena, record->payload);
    }

    if (wire_get_request(&own, &server.decoded) != WIRE_OK) {
        server.count.malformed++;
        say_refused("a request", "malformed record");
        refuse(peer, record->id, NULL, 500, "malformed_request",
            "the worker could not read the request");
        arena_reset(served->rq.arena);
        give_served(served);
        return;
    }

    operation = operation_find(server.decoded.operation);
    if (!admit(peer, record->id, operation)) {
        arena_reset(served->rq.arena);
        give_served(served);
        return;
    }

    if (keep) {
        /* Large messages hold their bytes by pointer: they do not move. */
        zmq_msg_init(&served->message);
        zmq_msg_move(&served->message, message);
        served->holds_message = 1;
    }
    spawn(served, peer, record->id, operation);
}

static void
on_credit(peer_t *peer, const wire_record_t *record)
{
    served_t *served = find_served(peer, record->id);
    uint32_t chunks;

    if (served == NULL || wire_get_credit(record, &chunks) != WIRE_OK) {
        return;
    }

    if (chunks > CREDIT_MAX - served->credit) {
        chunks = CREDIT_MAX - served->credit;
    }
    served->credit += chunks;
    if (served->stream != STREAM_NONE) {
        set_deadline(served);
    }
    fiber_wake(served->rq.fiber);
}

static void
on_cancel(peer_t *peer, uint64_t id)
{
    served_t *served = find_served(peer, id);

    if (served != NULL) {
        leave(served, LEFT_CLIENT);
    }
}

static void
on_ping(peer_t *peer, const wire_record_t *record)
{
    uint64_t incarnation;

    if (wire_get_ping(record, &incarnation) != WIRE_OK) {
        return;
    }

    if (peer->incarnation != 0 && peer->incarnation != incarnation) {
        /* The nginx worker behind this identity is another one. */
        peer_lost(peer);
    }
    peer->incarnation = incarnation;
    peer->stopped = (record->flags & WIRE_PING_STOP) != 0;
    peer_beat(peer);
}

/* ---- receiving ---- */

static void
complain(peer_t *peer, const char *what)
{
    uint64_t now = uv_now(server.config.loop);

    server.count.malformed++;
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
            on_request(peer, &record, message);
            break;
        case WIRE_CANCEL:
            on_cancel(peer, record.id);
            break;
        case WIRE_CREDIT:
            on_credit(peer, &record);
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

static void
append_beat(peer_t *peer)
{
    wire_beat_t beat = {
        .flags = (uint8_t) ((server.config.ready() ? WIRE_BEAT_READY : 0)
                 | (server.count.draining ? WIRE_BEAT_DRAINING : 0)),
        .pid = (uint32_t) getpid(),
        .incarnation = server.incarnation,
        .in_flight = server.count.in_flight,
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
    size_t size = 64;
    int rc;

    memset(&server, 0, sizeof(server));
    server.config = *config;
    server.facts_stale = 1;

    while (size < 2 * (size_t) config->in_flight_max) {
        size *= 2;
    }
    server.mask = size - 1;
    server.table = calloc(size, sizeof(*server.table));
    if (server.table == NULL) {
        return -ENOMEM;
    }
    if (getrandom(&server.incarnation, sizeof(server.incarnation), 0) < 0) {
        return -errno;
    }

    rc = open_socket();
    if (rc != 0) {
        log_error("binding %s failed: %s", config->endpoint,
            zmq_strerror(-rc));
        free(server.table);
        return rc;
    }

    server.scratch = arena_new();
    server.facts_arena = arena_new();
    peers_start(&(peers_config_t) {
        .socket = server.socket, .lost = peer_lost, .beat = append_beat
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
    if (server.count.in_flight > 0) {
        /* Fibers that would not end still point into the rest. */
        server.drained(server.drained_arg);
        return;
    }
    while (server.pool != NULL) {
        served_t *served = server.pool;

        server.pool = served->hash_next;
        arena_free(served->rq.arena);
        free(served);
    }
    arena_free(server.scratch);
    arena_free(server.facts_arena);
    free(server.table);
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
cancel_all(void)
{
    for (size_t i = 0; i <= server.mask; i++) {
        for (served_t *served = server.table[i]; served != NULL;
             served = served->hash_next) {
            leave(served, LEFT_STOPPING);
        }
    }
}

static void
on_drain_timer(uv_timer_t *timer)
{
    uint64_t now = uv_now(server.config.loop);
    int idle = server.count.in_flight == 0;

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
            server.count.in_flight);
        server.drain_cancelled = 1;
        server.drain_until = now + DRAIN_GRACE_MS;
        cancel_all();
    } else {
        log_error("%u requests would not end", server.count.in_flight);
        peers_flush();
        close_all();
    }
}

void
server_drain(unsigned bound_ms, void (*done)(void *arg), void *arg)
{
    if (server.count.draining) {
        return;
    }

    server.count.draining = 1;
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
    *out = server.count;
    out->modules = peers_count();
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
        fiber_live(server.config.fibers), server.count.in_flight,
        peers_count());
    fiber_dump(server.config.fibers, dump_one, NULL);
}
