/* inflight.c: requests on their way through this process.
 *
 * From the record to a fiber (admission, quarantine, deadline), from the
 * handler's reply to the peer's batch, and the table by which CREDIT and
 * CANCEL find their request. In steady state nothing here allocates: request
 * objects and their arenas are pooled. */

#include "inflight.h"

#include "log.h"

#include <errno.h>
#include <stdlib.h>

#define POOL_MAX   512         /* idle request objects kept */
#define COPY_MAX   4096        /* larger requests may keep their message */
#define CREDIT_MAX 65536
#define SAY_MS     60000

static struct {
    server_config_t config;
    inflight_count_t count;
    served_t **table;          /* in flight, by id */
    size_t mask;
    served_t *pool;
    unsigned pooled;
    wire_request_t decoded;
    arena_t *scratch;          /* problems made without a request */
    uint64_t refusal_said;     /* uv_now() of the last line about refusals */
} inflight;

/* ---- the table of what is in flight ---- */

static served_t **
table_slot(uint64_t id)
{
    return &inflight.table[(id ^ id >> 32) & inflight.mask];
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
    inflight.count.in_flight++;
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
    inflight.count.in_flight--;
}

static void
leave(served_t *served, left_t why)
{
    if (served->left == LEFT_NOT) {
        served->left = why;
    }
    fiber_cancel(served->rq.fiber);
}

void
inflight_lost(peer_t *peer)
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
        inflight.count.lost++;
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
    buf_init(&doc, inflight.scratch, 512);
    problem_put(&doc, &problem, rq != NULL ? request_id : NULL);
    reply.body = buf_slice(&doc);
    wire_put_reply(peer_out(peer), id, WIRE_REPLY, &reply);
    arena_reset(inflight.scratch);
}

/* ---- request objects ---- */

static served_t *
take_served(void)
{
    served_t *served = inflight.pool;

    if (served != NULL) {
        inflight.pool = served->hash_next;
        inflight.pooled--;
    } else {
        served = malloc(sizeof(*served));
        if (served == NULL) {
            log_error("taking a request failed: out of memory");
            abort();
        }
        served->rq.arena = arena_new();
        served->sink = &sink;
        served->loop = inflight.config.loop;
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
    if (inflight.pooled >= POOL_MAX) {
        arena_free(served->rq.arena);
        free(served);
        return;
    }

    served->hash_next = inflight.pool;
    inflight.pool = served;
    inflight.pooled++;
}

/* The fiber of a request. */
static void
serve(void *arg)
{
    served_t *served = arg;

    if (served->left == LEFT_NOT) {
        served_run(served, inflight.config.dispatch);
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
    uint64_t now = uv_now(inflight.config.loop);

    served->rq.deadline = (now + served->deadline_ms) * 1000000;
    fiber_deadline(served->rq.fiber, served->rq.deadline);
}

/* Nonzero when the request in inflight.decoded may run; else it was refused. */
static int
admit(peer_t *peer, uint64_t id, int operation)
{
    const wire_request_t *in = &inflight.decoded;

    if (inflight.count.in_flight >= inflight.config.in_flight_max) {
        inflight.count.shed++;
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
    uint64_t now = uv_now(inflight.config.loop);

    if (inflight.refusal_said == 0 || now - inflight.refusal_said > SAY_MS) {
        inflight.refusal_said = now;
        log_error("refused %s: %s", what, why);
    }
}

static int
quarantined(served_t *served)
{
    quarantine_t *quarantine = inflight.config.quarantine;

    if (quarantine == NULL) {
        return 0;
    }

    served->fingerprint = quarantine_fingerprint(quarantine, &served->rq);
    return quarantine_refuses(quarantine, served->fingerprint,
        uv_now(inflight.config.loop) / 1000);
}

/* Gives the decoded request its fiber. The slices of `served` stay valid as
 * long as its arena or message. */
static void
spawn(served_t *served, peer_t *peer, uint64_t id, int operation)
{
    const wire_request_t *in = &inflight.decoded;

    fill_request(served, in, operation);
    served->deadline_ms = in->deadline_ms;

    if (quarantined(served)) {
        say_refused(served->rq.op->name,
            "the request has killed workers before");
        refuse(peer, id, in, 500, "request_quarantined",
            "this request has ended worker processes and is refused");
    } else if (fiber_spawn(inflight.config.fibers, served->rq.op->name, serve,
                   served, &served->rq.fiber) != 0) {
        inflight.count.shed++;
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
 * is copied out of it. So a slow request holds at most twice its own size. */
static int
keeps_message(const wire_record_t *record, size_t message_size)
{
    return record->payload.len > COPY_MAX
           && record->payload.len > message_size / 2;
}

void
inflight_request(peer_t *peer, const wire_record_t *record, zmq_msg_t *message)
{
    wire_record_t own = *record;
    served_t *served = take_served();
    int keep = keeps_message(record, zmq_msg_size(message));
    int operation;

    inflight.count.requests++;
    if (!keep) {
        own.payload = arena_slice(served->rq.arena, record->payload);
    }

    if (wire_get_request(&own, &inflight.decoded) != WIRE_OK) {
        inflight.count.malformed++;
        say_refused("a request", "malformed record");
        refuse(peer, record->id, NULL, 500, "malformed_request",
            "the worker could not read the request");
        arena_reset(served->rq.arena);
        give_served(served);
        return;
    }

    operation = operation_find(inflight.decoded.operation);
    if (!admit(peer, record->id, operation)) {
        arena_reset(served->rq.arena);
        give_served(served);
        return;
    }

    if (keep) {
        /* Another reference to the same bytes. */
        zmq_msg_init(&served->message);
        zmq_msg_copy(&served->message, message);
        served->holds_message = 1;
    }
    spawn(served, peer, record->id, operation);
}

void
inflight_credit(peer_t *peer, const wire_record_t *record)
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

void
inflight_cancel(peer_t *peer, uint64_t id)
{
    served_t *served = find_served(peer, id);

    if (served != NULL) {
        leave(served, LEFT_CLIENT);
    }
}

void
inflight_stop_all(void)
{
    for (size_t i = 0; i <= inflight.mask; i++) {
        for (served_t *served = inflight.table[i]; served != NULL;
             served = served->hash_next) {
            leave(served, LEFT_STOPPING);
        }
    }
}

/* ---- life ---- */

int
inflight_start(const server_config_t *config)
{
    size_t size = 64;

    memset(&inflight, 0, sizeof(inflight));
    inflight.config = *config;
    while (size < 2 * (size_t) config->in_flight_max) {
        size *= 2;
    }
    inflight.mask = size - 1;
    inflight.table = calloc(size, sizeof(*inflight.table));
    if (inflight.table == NULL) {
        return -ENOMEM;
    }

    inflight.scratch = arena_new();
    return 0;
}

void
inflight_stop(void)
{
    if (inflight.count.in_flight > 0) {
        return;
    }

    while (inflight.pool != NULL) {
        served_t *served = inflight.pool;

        inflight.pool = served->hash_next;
        arena_free(served->rq.arena);
        free(served);
    }
    arena_free(inflight.scratch);
    free(inflight.table);
}

const inflight_count_t *
inflight_counts(void)
{
    return &inflight.count;
}
