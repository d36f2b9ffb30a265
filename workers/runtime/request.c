/* request.c: raising, the boundary, replies and streams. */

#include "boundary.h"
#include "log.h"

#include <assert.h>

/* A chunk on the wire; what a slow client can hold in the module is its
 * credit times this. */
#define CHUNK_MAX 65536

static const char type_json[] = "application/json";
static const char type_problem[] = "application/problem+json";

void
served_reset(served_t *served)
{
    request_t *rq = &served->rq;

    rq->fiber = NULL;
    rq->nparams = 0;
    rq->nheaders = 0;
    rq->query = SLICE_NONE;
    rq->body = SLICE_NONE;
    rq->nreply_headers = 0;
    rq->replied = 0;
    rq->status = 0;
    rq->transaction = NULL;
    rq->events = NULL;
    rq->hook_data = NULL;

    served->frame = NULL;
    served->problem.status = 0;
    served->errors = NULL;
    served->errors_end = &served->errors;
    served->left = LEFT_NOT;
    served->args = NULL;
    served->json = NULL;
    served->hook = NULL;
    served->stream = STREAM_NONE;
    served->credit = 0;
    served->peer = NULL;
    served->fingerprint = 0;
    served->holds_message = 0;
}

/* ---- failing ---- */

__attribute__((noreturn))
static void
raise_problem(served_t *served, int status, const char *code,
    const char *detail, const field_error_t *errors)
{
    assert(served->frame != NULL);

    served->problem = (problem_t) { status, code, detail, errors };
    longjmp(served->frame->env, 1);
}

void
rq_raise(request_t *rq, int status, const char *code, const char *format, ...)
{
    va_list args;
    char *detail;

    va_start(args, format);
    detail = arena_vprintf(rq->arena, format, args);
    va_end(args);

    raise_problem(served_of(rq), status, code, detail, NULL);
}

void
rq_invalid(request_t *rq, const char *field, const char *code,
    const char *format, ...)
{
    served_t *served = served_of(rq);
    field_error_t *error = arena_alloc(rq->arena, sizeof(*error));
    va_list args;

    error->next = NULL;
    error->field = arena_strndup(rq->arena, field, strlen(field));
    error->code = code;
    va_start(args, format);
    error->message = arena_vprintf(rq->arena, format, args);
    va_end(args);

    *served->errors_end = error;
    served->errors_end = &error->next;
}

void
rq_check(request_t *rq)
{
    served_t *served = served_of(rq);

    if (served->errors != NULL) {
        raise_problem(served, 422, "invalid_fields",
            "some fields are not valid", served->errors);
    }
}

void
rq_raise_cancelled(request_t *rq)
{
    served_t *served = served_of(rq);

    switch (served->left) {
    case LEFT_CLIENT:
        raise_problem(served, STATUS_CLIENT_GONE, "client_gone", "", NULL);
    case LEFT_STOPPING:
        raise_problem(served, 503, "worker_stopping",
            "the worker ended before the request did", NULL);
    case LEFT_NOT:
        break;
    }

    raise_problem(served, 504, "deadline_exceeded",
        "the request was not finished within its time", NULL);
}

void
rq_raise_cancelled_change(request_t *rq)
{
    served_t *served = served_of(rq);

    if (served->left == LEFT_STOPPING) {
        raise_problem(served, 502, "outcome_unknown",
            "the worker ended while the change was made: it may or may not"
            " have happened", NULL);
    }

    rq_raise_cancelled(rq);
}

/* setjmp in a function of its own: nothing here lives in a register across
 * it. */
static int
guarded(served_t *served, void (*fn)(request_t *rq, void *arg), void *arg)
{
    frame_t frame;

    frame.outer = served->frame;
    served->frame = &frame;

    if (setjmp(frame.env) == 0) {
        fn(&served->rq, arg);
        served->frame = frame.outer;
        return 0;
    }

    served->frame = frame.outer;
    return served->problem.status;
}

int
rq_try(request_t *rq, void (*fn)(request_t *rq, void *arg), void *arg)
{
    return guarded(served_of(rq), fn, arg);
}

void
rq_reraise(request_t *rq)
{
    served_t *served = served_of(rq);

    assert(served->frame != NULL && served->problem.status != 0);
    longjmp(served->frame->env, 1);
}

const char *
rq_problem_code(const request_t *rq)
{
    return served_of(rq)->problem.code;
}

const char *
rq_problem_detail(const request_t *rq)
{
    return served_of(rq)->problem.detail;
}

/* ---- the boundary ---- */

/* Of the headers a handler had set, those that are about its failure. */
static void
keep_problem_headers(request_t *rq)
{
    static const char *const kept[] = {
        "retry-after", "www-authenticate", "allow", "warning"
    };
    unsigned n = 0;

    for (unsigned i = 0; i < rq->nreply_headers; i++) {
        slice_t name = rq->reply_headers[i].name;

        for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++) {
            if (name.len == strlen(kept[k])
                && memcmp(name.data, kept[k], name.len) == 0) {
                rq->reply_headers[n++] = rq->reply_headers[i];
                break;
            }
        }
    }

    rq->nreply_headers = n;
}

static void
send_reply(served_t *served, wire_type_t type, int status,
    const char *content_type, slice_t body)
{
    request_t *rq = &served->rq;
    wire_reply_t reply;
    unsigned n = 0;

    if (content_type != NULL) {
        reply.headers[n++] = (wire_header_t) {
            SLICE("content-type"), { content_type, strlen(content_type) }
        };
    }
    for (unsigned i = 0; i < rq->nreply_headers && n < WIRE_HEADERS_MAX; i++) {
        reply.headers[n++] = rq->reply_headers[i];
    }

    reply.status = (uint16_t) status;
    reply.nheaders = n;
    reply.body = body;
    rq->replied = 1;
    rq->status = (uint16_t) status;
    served->sink->reply(served, type, &reply);
}

static void
send_problem(served_t *served)
{
    request_t *rq = &served->rq;
    const problem_t *problem = &served->problem;
    buf_t doc;

    keep_problem_headers(rq);
    if (problem->status == 503 && rq->nreply_headers == 0) {
        rq_reply_header(rq, "retry-after", SLICE("1"));
    }

    buf_init(&doc, rq->arena, 512);
    problem_put(&doc, problem, rq->request_id);
    send_reply(served, WIRE_REPLY, problem->status, type_problem,
        buf_slice(&doc));
}

static void
end_raised(served_t *served)
{
    request_t *rq = &served->rq;
    const problem_t *problem = &served->problem;

    if (problem->status == 500 || problem->status == 502) {
        log_error("%s failed: %s: %s", rq->op->name, problem->code,
            problem->detail);
    }

    if (served->stream == STREAM_OPEN) {
        served->stream = STREAM_ENDED;
        served->sink->end(served, WIRE_END_FAILED);
        return;
    }

    if (problem->status == STATUS_CLIENT_GONE || served->left == LEFT_CLIENT) {
        rq->status = STATUS_CLIENT_GONE;
        return;
    }

    if (rq->replied) {
        log_error("%s raised after its reply: %s: %s", rq->op->name,
            problem->code, problem->detail);
        return;
    }

    send_problem(served);
}

typedef struct {
    handler_fn handler;
} run_t;

static void
run_handler(request_t *rq, void *arg)
{
    served_t *served = served_of(rq);

    ((run_t *) arg)->handler(rq);

    if (served->stream == STREAM_HELD || served->stream == STREAM_OPEN) {
        rq_raise(rq, 500, "internal_error", "the stream was not ended");
    }
    if (!rq->replied) {
        rq_raise(rq, 500, "internal_error", "there is no reply");
    }
}

void
served_run(served_t *served, handler_fn handler)
{
    run_t run = { handler };

    if (guarded(served, run_handler, &run) != 0) {
        end_raised(served);
    }
}

/* ---- replying ---- */

static wire_header_t *
find_reply_header(request_t *rq, slice_t name)
{
    for (unsigned i = 0; i < rq->nreply_headers; i++) {
        if (slice_equal(rq->reply_headers[i].name, name)) {
            return &rq->reply_headers[i];
        }
    }

    return NULL;
}

void
rq_reply_header(request_t *rq, const char *name, slice_t value)
{
    slice_t key = { name, strlen(name) };
    wire_header_t *header = find_reply_header(rq, key);

    if (header == NULL) {
        /* One is left for the content type. */
        assert(rq->nreply_headers < WIRE_HEADERS_MAX - 1);
        header = &rq->reply_headers[rq->nreply_headers++];
    }

    header->name = key;
    header->value = arena_slice(rq->arena, value);
}

/* The type to add, or NULL when the handler has set one or none is due. */
static const char *
content_type_of(request_t *rq, int status, const char *fallback)
{
    if (status == 204 || status == 304
        || find_reply_header(rq, SLICE("content-type")) != NULL) {
        return NULL;
    }

    return fallback;
}

void
rq_reply_hook(request_t *rq, reply_hook_fn hook)
{
    served_t *served = served_of(rq);

    assert(served->hook == NULL || hook == NULL);
    served->hook = hook;
}

void
rq_reply(request_t *rq, int status, slice_t body)
{
    served_t *served = served_of(rq);
    reply_hook_fn hook = served->hook;

    assert(!rq->replied && served->stream == STREAM_NONE);

    if (status == 204 || status == 304) {
        body = SLICE_NONE;
    }
    if (hook != NULL) {
        served->hook = NULL;
        hook(rq, status, body);
    }

    send_reply(served, WIRE_REPLY, status,
        content_type_of(rq, status, type_json), body);
}

static int
append_json(const char *data, size_t len, void *arg)
{
    buf_put(arg, data, len);
    return 0;
}

void
rq_reply_json(request_t *rq, int status, const json_t *body)
{
    buf_t text;

    buf_init(&text, rq->arena, 1024);
    if (json_dump_callback(body, append_json, &text,
            JSON_COMPACT | JSON_ENCODE_ANY) != 0) {
        rq_raise(rq, 500, "internal_error", "the reply is not JSON");
    }

    rq_reply(rq, status, buf_slice(&text));
}

/* ---- streams ---- */

void
rq_stream_begin(request_t *rq, int status, const char *content_type)
{
    served_t *served = served_of(rq);

    assert(!rq->replied && served->stream == STREAM_NONE);

    served->stream = STREAM_HELD;
    served->stream_status = (uint16_t) status;
    served->content_type = content_type_of(rq, status,
        arena_strndup(rq->arena, content_type, strlen(content_type)));
}

static void
stream_open(served_t *served, slice_t first)
{
    served->stream = STREAM_OPEN;
    send_reply(served, WIRE_HEAD, served->stream_status,
        served->content_type, first);
}

static void
wait_for_credit(served_t *served)
{
    while (served->credit == 0) {
        if (fiber_suspend("stream credit") == UV_ECANCELED) {
            rq_raise_cancelled(&served->rq);
        }
    }

    served->credit--;
}

static void
stream_piece(served_t *served, slice_t piece)
{
    if (served->stream == STREAM_HELD) {
        stream_open(served, piece);
        return;
    }

    wait_for_credit(served);
    served->sink->chunk(served, piece);
}

void
rq_stream_chunk(request_t *rq, slice_t bytes)
{
    served_t *served = served_of(rq);

    assert(served->stream == STREAM_HELD || served->stream == STREAM_OPEN);

    if (fiber_cancelled(rq->fiber)) {
        rq_raise_cancelled(rq);
    }
    if (rq->flags & WIRE_HEAD_ONLY) {
        return;
    }

    while (bytes.len > 0) {
        slice_t piece = { bytes.data,
            bytes.len > CHUNK_MAX ? CHUNK_MAX : bytes.len };

        stream_piece(served, piece);
        bytes.data += piece.len;
        bytes.len -= piece.len;
    }
}

void
rq_stream_end(request_t *rq)
{
    served_t *served = served_of(rq);

    assert(served->stream == STREAM_HELD || served->stream == STREAM_OPEN);

    if (served->stream == STREAM_HELD) {
        stream_open(served, SLICE_NONE);
    }
    served->stream = STREAM_ENDED;
    served->sink->end(served, 0);
}

int64_t
rq_time_left(const request_t *rq)
{
    uint64_t now = uv_now(served_of(rq)->loop);
    uint64_t end = rq->deadline / 1000000;

    return end > now ? (int64_t) (end - now) : 0;
}
