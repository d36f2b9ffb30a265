/* job.h: work on a fiber that no client asked for (the engine's loops, tasks
 * that run here), with a request's means: an arena, raising, statements.
 *
 *     static void
 *     step(request_t *rq, void *arg) { ... db_exec(rq, ...) ... }
 *
 *     static void
 *     loop(request_t *rq, void *arg)
 *     {
 *         while (fiber_sleep(1000) == 0) {
 *             job_step(rq, step, arg);
 *         }
 *     }
 *
 *     job_start(fibers, "reaper", loop, NULL, NULL);
 *
 * A job has no client: it replies to nobody, and whatever calls rq_reply is a
 * mistake that stops the process. */

#ifndef HIVE_JOB_H
#define HIVE_JOB_H

#include "request.h"

typedef void (*job_fn)(request_t *rq, void *arg);

/* Runs fn(rq, arg) on a fiber of its own; a raise out of it is logged under
 * `name` (static text) and ends it. 0, or UV_EAGAIN, UV_ENOMEM as
 * fiber_spawn. *out (may be NULL) is valid until fn has returned. */
int job_start(fiber_sched_t *fibers, const char *name, job_fn fn, void *arg,
    fiber_t **out);

/* One step of a job: fn(rq, arg), then what it left in the arena ends. 0, or
 * the status raised, which is logged once until a step of this job succeeds
 * again (a database that is away for a minute is one line, not sixty); being
 * cancelled is not logged. `rq` is the job's own. */
int job_step(request_t *rq, job_fn fn, void *arg);

#endif
