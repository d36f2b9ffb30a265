/* boundary.h: the inside of a request, shared by request.c, problem.c and
 * server.c. Handlers see request.h only.
 *
 * The boundary is the outermost frame of the fiber: a raise unwinds to the
 * innermost rq_try or, without one, to it, where the problem document goes
 * out and the arena with its clean-ups ends. */

#ifndef HIVE_BOUNDARY_H
#define HIVE_BOUNDARY_H

#include "request.h"

#include <setjmp.h>
#include <zmq.h>

typedef struct served_s served_t;

typedef struct frame_s {
    jmp_buf env;
    struct frame_s *outer;
} frame_t;

typedef struct field_error_s {
    struct field_error_s *next;
    const char *field;
    const char *code;
    const char *message;
} field_error_t;

typedef struct {
    int status;                /* 499: the client has gone, say nothing */
    const char *code;
    const char *detail;
    const field_error_t *errors;
} problem_t;

#define STATUS_CLIENT_GONE 499

/* Why a request was cancelled. */
typedef enum {
    LEFT_NOT,                  /* not, or by its deadline */
    LEFT_CLIENT,               /* CANCEL, or its module is lost */
    LEFT_STOPPING              /* this process ends before it could */
} left_t;

typedef enum {
    STREAM_NONE,
    STREAM_HELD,               /* begun; the head waits for its first chunk */
    STREAM_OPEN,
    STREAM_ENDED
} stream_t;

/* Where replies go: the server, or a test. They copy. */
typedef struct {
    void (*reply)(served_t *served, wire_type_t type,
        const wire_reply_t *reply);
    void (*chunk)(served_t *served, slice_t bytes);
    void (*end)(served_t *served, uint8_t flags);
} reply_sink_t;

struct served_s {
    request_t rq;              /* first: a request_t is a served_t */
    const reply_sink_t *sink;
    uv_loop_t *loop;

    frame_t *frame;
    problem_t problem;
    field_error_t *errors, **errors_end;
    left_t left;

    const query_arg_t *args;
    size_t nargs;
    json_t *json;
    reply_hook_fn hook;

    stream_t stream;
    const char *content_type;
    uint16_t stream_status;
    uint32_t credit;

    /* The server's. */
    struct peer_s *peer;       /* NULL: lost, replies are dropped */
    served_t *peer_next, **peer_prev;   /* in flight for that peer */
    served_t *hash_next;
    uint64_t id;
    uint32_t deadline_ms;
    uint64_t fingerprint;
    int holds_message;         /* slices point into it: a large request */
    zmq_msg_t message;
};

/* Makes a pooled request new. Its arena, sink and loop stay. */
void served_reset(served_t *served);

/* Runs the handler inside the boundary: afterwards exactly one reply, one
 * stream or (client gone) nothing has been sent. The arena is the caller's
 * to end. */
void served_run(served_t *served, handler_fn handler);

/* Appends a problem document. `request_id` may be NULL. */
void problem_put(buf_t *out, const problem_t *problem,
    const char *request_id);

/* "Not Found"; "Error" for a status without a phrase. */
const char *problem_title(int status);

static inline served_t *
served_of(const request_t *rq)
{
    return (served_t *) rq;
}

#endif
