/* job.c: requests without a client. */

#include "job.h"

#include "boundary.h"
#include "log.h"

#include <assert.h>
#include <stdlib.h>

typedef struct {
    served_t served;           /* first: rq is in it */
    operation_t op;            /* its name, for log lines */
    job_fn fn;
    void *arg;
    int failing;
} job_t;

static void
no_reply(served_t *served, wire_type_t type, const wire_reply_t *reply)
{
    (void) type;
    (void) reply;
    log_error("%s replied, and has nobody to reply to",
        served->rq.op->name);
    abort();
}

static void
no_chunk(served_t *served, slice_t bytes)
{
    (void) bytes;
    no_reply(served, WIRE_REPLY, NULL);
}

static void
no_end(served_t *served, uint8_t flags)
{
    (void) flags;
    no_reply(served, WIRE_REPLY, NULL);
}

static const reply_sink_t nobody = { no_reply, no_chunk, no_end };

static void
say(job_t *job)
{
    const problem_t *problem = &job->served.problem;

    if (!job->failing && !fiber_cancelled(fiber_self())) {
        job->failing = 1;
        log_warn("%s failed: %s: %s", job->op.name, problem->code,
            problem->detail);
    }
}

int
job_step(request_t *rq, job_fn fn, void *arg)
{
    job_t *job = (job_t *) served_of(rq);
    int status = rq_try(rq, fn, arg);
    frame_t *frame = job->served.frame;
    fiber_t *fiber = rq->fiber;

    if (status != 0) {
        say(job);
    } else if (job->failing) {
        job->failing = 0;
        log_info("%s works again", job->op.name);
    }

    arena_reset(rq->arena);
    served_reset(&job->served);
    job->served.frame = frame;
    rq->fiber = fiber;
    return status;
}

static void
run(void *arg)
{
    job_t *job = arg;
    request_t *rq = &job->served.rq;

    rq->fiber = fiber_self();
    if (rq_try(rq, job->fn, job->arg) != 0) {
        say(job);
    }
    arena_free(rq->arena);
    free(job);
}

int
job_start(fiber_sched_t *fibers, const char *name, job_fn fn, void *arg,
    fiber_t **out)
{
    job_t *job = calloc(1, sizeof(*job));
    int rc;

    if (job == NULL) {
        return UV_ENOMEM;
    }

    job->fn = fn;
    job->arg = arg;
    job->op.name = name;
    job->served.rq.arena = arena_new();
    job->served.sink = &nobody;
    served_reset(&job->served);
    job->served.rq.op = &job->op;

    rc = fiber_spawn(fibers, name, run, job, out);
    if (rc != 0) {
        arena_free(job->served.rq.arena);
        free(job);
    }
    return rc;
}
