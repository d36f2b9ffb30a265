/* request.h: one request inside a worker: what a handler is given and the
 * ways in which it answers.
 *
 * A handler is `void op_name(request_t *rq)`, runs on its own fiber and
 * replies exactly once, or raises. Raising unwinds to the request boundary
 * (longjmp), where a problem document is sent and the arena with its
 * clean-ups is released; so handlers never free, and whatever is not memory
 * (a transaction, a transfer) registers an arena clean-up. */

#ifndef HIVE_REQUEST_H
#define HIVE_REQUEST_H

#include "arena_json.h"
#include "fiber.h"
#include "value.h"

#include "common/operation.h"
#include "common/wire.h"

#include <jansson.h>

typedef struct request_s request_t;

struct request_s {
    arena_t *arena;
    fiber_t *fiber;
    const operation_t *op;
    operation_id_t operation;

    uint8_t flags;            /* WIRE_HEAD_ONLY, WIRE_RESENT */
    int signed_in;
    int superuser;
    hive_uuid_t user;         /* zero unless signed in */
    hive_uuid_t session;
    char request_id[33];      /* hex, terminated */
    char trace_id[33];
    uint64_t deadline;        /* uv_hrtime() nanoseconds */

    unsigned nparams;
    slice_t params[WIRE_PARAMS_MAX];
    slice_t query;            /* raw */
    unsigned nheaders;
    wire_header_t headers[WIRE_HEADERS_MAX];
    slice_t body;

    /* Reply headers set before replying. */
    unsigned nreply_headers;
    wire_header_t reply_headers[WIRE_HEADERS_MAX];
    int replied;              /* reply or stream head has been sent */
    uint16_t status;          /* of the reply, once sent */

    /* For the layers above: the transaction this request runs in, if any
     * (db/), the events to publish once committed (realtime/), and what
     * the reply hook needs. */
    void *transaction;
    void *events;
    void *hook_data;
};

typedef void (*handler_fn)(request_t *rq);

/* ---- failing ---- */

/* Ends the request with a problem document (RFC 9457) of that status and
 * stable snake_case code; the formatted text is its `detail`. */
__attribute__((noreturn, format(printf, 4, 5)))
void rq_raise(request_t *rq, int status, const char *code,
    const char *format, ...);

/* 422 with errors[]: collect, then raise once. `field`, `message` are copied;
 * `code` is static. */
void rq_invalid(request_t *rq, const char *field, const char *code,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Raises 422 "invalid_fields" if any rq_invalid was called. */
void rq_check(request_t *rq);

/* Raises what a cancelled wait means: 504 "deadline_exceeded", 503
 * "worker_stopping", or silence (status 499) when the client has gone. Call
 * it when a fiber wait returned UV_ECANCELED. */
__attribute__((noreturn))
void rq_raise_cancelled(request_t *rq);

/* The same from a wait for a change that may happen all the same: when the
 * worker stops that is 502 "outcome_unknown", not 503 ("send it again"). */
__attribute__((noreturn))
void rq_raise_cancelled_change(request_t *rq);

/* Runs fn(rq, arg) so that a raise inside comes back here: 0, or the status
 * raised; the problem is then pending and rq_reraise continues it. For
 * code that must act between (roll back, store). */
int rq_try(request_t *rq, void (*fn)(request_t *rq, void *arg), void *arg);
__attribute__((noreturn))
void rq_reraise(request_t *rq);

/* Code and detail of the pending problem; they live in the arena. */
const char *rq_problem_code(const request_t *rq);
const char *rq_problem_detail(const request_t *rq);

/* ---- reading ---- */

/* Header by lower-case name; SLICE_NONE data NULL when absent. */
slice_t rq_header(const request_t *rq, const char *name);

/* Path parameter by index, as declared in operations.def. */
slice_t rq_param(const request_t *rq, unsigned index);
hive_uuid_t rq_param_uuid(request_t *rq, unsigned index);

/* The decoded query as name/value pairs in order. Raises 400
 * "malformed_query" (bad encoding, NUL) or 422 "repeated_parameter". */
typedef struct {
    slice_t name;
    slice_t value;
} query_arg_t;
const query_arg_t *rq_query(request_t *rq, size_t *count);

/* The body as a JSON object, parsed once, released with the request. Raises
 * 400 "malformed_json" (with line and column), "duplicate_member",
 * "nul_character", 422 "not_an_object". */
json_t *rq_json(request_t *rq);

/* ---- replying ---- */

/* Adds a reply header; the value is copied. */
void rq_reply_header(request_t *rq, const char *name, slice_t value);

/* Sends the whole reply. content-type application/json unless set. `body` is
 * copied onto the wire before this returns. Status 204 takes no body. */
void rq_reply(request_t *rq, int status, slice_t body);

/* Dumps and sends (borrows the json). */
void rq_reply_json(request_t *rq, int status, const json_t *body);

/* Streams: head, then chunks, then end. A chunk waits for credit from the
 * module, so a slow client suspends this fiber, and raises when the client
 * has gone or the deadline has passed. A raise after the head ends the
 * stream as failed: the client sees a broken transfer, never a short one
 * that looks whole. Streams have their deadline renewed by each credit. */
void rq_stream_begin(request_t *rq, int status, const char *content_type);
void rq_stream_chunk(request_t *rq, slice_t bytes);
void rq_stream_end(request_t *rq);

/* Has rq_reply call the hook with its arguments before it sends; used to store
 * a reply under its Idempotency-Key inside the transaction. One at most, runs
 * once, and may raise: then nothing was sent. Problems do not pass it. */
typedef void (*reply_hook_fn)(request_t *rq, int status, slice_t body);
void rq_reply_hook(request_t *rq, reply_hook_fn hook);

/* Milliseconds left, at least 0. */
int64_t rq_time_left(const request_t *rq);

#endif
