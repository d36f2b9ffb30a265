/* task.h: tasks inside work/: what they are made of, and the two ways
 * everything goes: in by tasks_enqueue, out by tasks_settle. */

#ifndef HIVE_TASK_H
#define HIVE_TASK_H

#include "workers/db/resource.h"

/* ---- making ---- */

typedef enum { DUPLICATE_RETURN, DUPLICATE_REPLACE, DUPLICATE_REFUSE }
    on_duplicate_t;

typedef enum {
    ENQUEUED,            /* made */
    ENQUEUE_EXISTING,    /* unique_key: `id` is the one that is there */
    ENQUEUE_REPLACED,    /* that one has the new content */
    ENQUEUE_REFUSED      /* that one stays, and refuses */
} enqueued_t;

/* All text is borrowed until the call returns. Zero uuids and slices without
 * data are NULL. Fields not set have the defaults of the API but for the
 * numbers, which the caller sets (task_defaults). */
typedef struct {
    hive_uuid_t id;             /* zero: made by tasks_enqueue, and set */
    hive_uuid_t owner;
    hive_uuid_t project;
    hive_uuid_t run;
    hive_uuid_t parent;
    slice_t kind;
    slice_t step;
    slice_t title;
    slice_t description;
    const slice_t *labels;
    size_t nlabels;
    slice_t input;              /* JSON object */
    int priority;
    int64_t run_at;             /* microseconds since 1970; 0: now */
    int64_t deadline_at;        /* 0: none */
    int64_t timeout_ms;         /* of an attempt; 0: none */
    int64_t backoff_ms;
    int max_attempts;
    slice_t unique_key;
    on_duplicate_t on_duplicate;
    slice_t limit_key;
    int64_t limit_max;          /* how many of the key may run at once */
    int paused;
    /* The graph. Parents must be in the same call or locked by the caller. */
    int64_t rank;
    int deps_left;              /* > 0: begins blocked */
    int dependents;             /* outgoing edges */
    int run_on_failure;
    int templated;

    enqueued_t outcome;         /* set by tasks_enqueue */
} new_task_t;

void task_defaults(new_task_t *task);

typedef struct {
    uint32_t parent, child;     /* indexes into the tasks of the call */
} edge_t;

/* Stores them all or none (one statement; inside rq->transaction when there
 * is one), with their edges and events; after the commit, wakes who runs
 * them. A unique key that a live task has is an outcome, not a failure.
 * Raises 429 "queue_full" when the owner has as many unfinished tasks as
 * `[tasks] owner_max` allows, and what db.h raises. */
void tasks_enqueue(request_t *rq, new_task_t *tasks, size_t count,
    const edge_t *edges, size_t nedges);

/* ---- ending ---- */

typedef enum {
    END_SUCCEEDED, END_FAILED, END_CANCELLED, END_SKIPPED
} task_end_t;

/* What the caller knows of the task is what fences it: when `attempt` or
 * `worker` has changed, it is left alone. `dependents` fences the statement:
 * when edges came or went since, tasks_settle looks again. */
typedef struct {
    hive_uuid_t id;
    hive_uuid_t worker;         /* who runs it; zero: it is not running */
    int attempt;
    int dependents;
    hive_uuid_t run;            /* zero: none */
    task_end_t end;
    slice_t result;             /* JSON, or no data */
    slice_t error;              /* JSON {"code", "message"}, or no data */
    int64_t cost_nano_usd;      /* of this attempt */
    int settled;                /* set by tasks_settle */
} settle_t;

/* Ends them: moves them to the history, frees or skips who waited for them,
 * counts them in their runs, appends the events. On return all that is
 * committed (inside rq->transaction: not yet; then effects that follow a
 * commit happen at tasks_settled). Deadlocks are tried again. Returns how
 * many were settled. At most 1,000 at once. */
size_t tasks_settle(request_t *rq, settle_t *items, size_t count);

/* ---- states ---- */

/* "blocked" ... "skipped", NULL-terminated: the order of the API. */
extern const char *const task_states[];

#endif
