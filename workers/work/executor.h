/* executor.h: the kinds of tasks that run inside the workers.
 *
 * An executor is a C function registered by kind: in executor.c, or by the
 * subject that it is of (executor_add). It runs on a fiber with a request's means (`rq`: arena, statements, raising) and says
 * how the task ended by returning:
 *
 *     static void
 *     run_sleep(task_run_t *run)
 *     {
 *         fiber_sleep(...);
 *         task_succeed(run, SLICE("{}"));
 *     }
 *
 * Returning without a word is success without a result. A raise is a failure
 * with the problem's code and message, a final one when its status is 422; one that was cancelled (by a person,
 * by its time-out, by the process that stops) ends as what cancelled it,
 * whatever the executor says, unless it had succeeded. Executors may be run
 * more than once for one task: what they do outside should be safe to repeat.
 * `run->id` and `run->attempt` name the attempt to others. */

#ifndef HIVE_EXECUTOR_H
#define HIVE_EXECUTOR_H

#include "workers/db/db.h"

typedef struct task_run_s {
    request_t *rq;
    hive_uuid_t id;
    hive_uuid_t owner;
    hive_uuid_t run;            /* zero: of no workflow */
    int attempt;                /* from 1 */
    slice_t input;              /* JSON object, templates filled in */
} task_run_t;

typedef struct {
    const char *kind;
    unsigned slots;             /* at once in each process */
    /* Never suspends: tasks run while their rows are locked. */
    int instant;
    void (*run)(task_run_t *run);
} executor_t;

/* JSON; copied. */
void task_succeed(task_run_t *run, slice_t result);

/* Fails this attempt; it is made again while attempts are left, unless
 * `final`. `code` is stable snake_case. */
void task_fail(task_run_t *run, int final, const char *code,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Should this attempt fail, the next one waits at least that long (an hour at
 * most). */
void task_retry_after(task_run_t *run, unsigned ms);

/* Progress 0..1 with a message and counters (JSON object, or no data); at
 * most four a second are written, the last one always. */
void task_progress(task_run_t *run, double share, slice_t message,
    slice_t counters);

/* What this attempt cost, added to the task when it ends. */
void task_cost(task_run_t *run, int64_t nano_usd);

/* executor_*.c */
void execute_noop(task_run_t *run);
void execute_sleep(task_run_t *run);
void execute_http(task_run_t *run);

/* Who runs it: as task_workers has this process. */
hive_uuid_t task_worker(const task_run_t *run);

/* At most so many kinds, in all. */
#define EXECUTORS_MAX 32

/* Before the engine starts, once; borrowed for ever. `slots` 0: as many as
 * [tasks] slots says. */
void executor_add(const executor_t *executor);

/* Those there are, from 0; NULL: no more. */
const executor_t *executor_at(size_t index);

/* NULL: nothing here runs that kind; remote runners may. */
const executor_t *executor_find(slice_t kind);

#endif
