/* hashing.c: see hashing.h. */

#include "hashing.h"

#include "workers/runtime/log.h"

typedef struct {
    slice_t password;
    slice_t stored;
    char *out;                 /* hash into it, or NULL: verify */
    int outdated;
    password_status_t status;
} job_t;

static thread_lane_t lane = { .running_max = 1, .waiting_max = 16 };

void
hashing_configure(unsigned threads, unsigned queue)
{
    lane.running_max = threads;
    lane.waiting_max = queue;
}

static void
job_run(void *arg)
{
    job_t *job = arg;

    if (job->out != NULL) {
        job->status = password_hash(job->password, job->out);
    } else {
        job->status = password_verify(job->password, job->stored,
            &job->outdated);
    }
}

__attribute__((noreturn))
static void
raise_busy(request_t *rq)
{
    rq_reply_header(rq, "retry-after", SLICE("1"));
    rq_raise(rq, 503, "hashing_busy",
        "too many passwords are being checked, try again in a moment");
}

/* 0, or UV_EAGAIN. The request may have been cancelled meanwhile: then there
 * is nobody to go on for. */
static int
job_pass(request_t *rq, job_t *job)
{
    int rc = fiber_thread(&lane, job_run, job);

    if (rc == UV_EAGAIN) {
        return rc;
    }
    if (rc == UV_ECANCELED || fiber_cancelled(fiber_self())) {
        rq_raise_cancelled(rq);
    }
    if (rc != 0) {
        log_error("password thread did not start: %s", uv_strerror(rc));
        return UV_EAGAIN;
    }
    if (job->status == PASSWORD_FAILED) {
        log_error("password could not be hashed: out of memory or entropy");
        return UV_EAGAIN;
    }
    return 0;
}

slice_t
hashing_try_hash(request_t *rq, slice_t password)
{
    job_t job = { .password = password };

    job.out = arena_alloc(rq->arena, PASSWORD_TEXT);
    if (job_pass(rq, &job) != 0) {
        return SLICE_NONE;
    }
    return (slice_t) { job.out, strlen(job.out) };
}

slice_t
hashing_hash(request_t *rq, slice_t password)
{
    slice_t hash = hashing_try_hash(rq, password);

    if (hash.len == 0) {
        raise_busy(rq);
    }
    return hash;
}

int
hashing_verify(request_t *rq, slice_t password, slice_t stored, int *outdated)
{
    job_t job = { .password = password, .stored = stored };

    if (job_pass(rq, &job) != 0) {
        raise_busy(rq);
    }
    if (job.status == PASSWORD_UNREADABLE) {
        log_error("stored password hash is unreadable: the account cannot "
            "sign in");
    }
    *outdated = job.outdated;
    return job.status == PASSWORD_MATCH;
}
