/* tasks.h: what the operations on tasks share. The caller of a request is
 * the owner of all they see: a stranger's task is absent. */

#ifndef HIVE_TASKS_H
#define HIVE_TASKS_H

#include "task.h"
#include "task_input.h"
#include "work.h"

/* For qsort and bsearch over ids. */
int uuid_compare(const void *a, const void *b);

/* ---- what came of one of many ----
 * Operations on one task are operations on many of which there is one. */

typedef struct {
    hive_uuid_t id;              /* zero: none was made */
    int status;                  /* as a reply of its own would have; 0: none
                                    yet */
    const char *code;            /* of a problem; NULL: none. Static */
    const char *detail;          /* in the arena */
    const char *state;           /* of the task, when known. Static */
    slice_t errors;              /* of 422: JSON array, or no data */
} task_outcome_t;

void outcome_refuse(request_t *rq, task_outcome_t *outcome, int status,
    const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Raises what was refused; else replies with the task as it is now. */
void outcome_reply(request_t *rq, const task_outcome_t *outcome);

/* 404 "task_not_found" or 409 "task_finished" for those without outcome; to
 * have ended as `passing` (NULL: nothing) is 200. */
void outcomes_close(request_t *rq, task_outcome_t *outcomes, size_t count,
    const char *passing);

/* Those that have no outcome yet: their ids, and how many they are. */
hive_uuid_t *outcomes_open(request_t *rq, const task_outcome_t *outcomes,
    size_t count, size_t *open);

/* The one without outcome that has this id; NULL when there is none. Ids are
 * in order. */
task_outcome_t *outcome_of(task_outcome_t *outcomes, size_t count,
    hive_uuid_t id);

/* The same text, static: "ready" for the slice of a row. */
const char *task_state_name(slice_t state);

/* ---- operations on many: at most TASKS_MAX ids, in order, each once ---- */

#define TASKS_MAX 1000

/* Inputs whose outcome is there already are left alone; they have been read, or
 * are zero. */
void tasks_create(request_t *rq, task_input_t *inputs,
    task_outcome_t *outcomes, size_t count);
void tasks_cancel(request_t *rq, task_outcome_t *outcomes, size_t count);
void tasks_retry(request_t *rq, task_outcome_t *outcomes, size_t count);
void tasks_delete(request_t *rq, task_outcome_t *outcomes, size_t count);
void task_update(request_t *rq, const task_patch_t *patch, value_t if_match,
    task_outcome_t *outcome);

/* Gives the task `task->id`, which is locked and does not run, the content of
 * this one. */
void task_replace(request_t *rq, const new_task_t *task);

/* Runs fn(rq, arg) in a transaction, the request's or one of its own; that is
 * tried again when nothing could change, so fn may run more than once. */
void tasks_in_transaction(request_t *rq,
    void (*fn)(request_t *rq, void *arg), void *arg);

/* ---- short lists beside the resource engine ---- */

typedef struct {
    int64_t limit;               /* 1 to 100 */
    slice_t cursor;              /* data NULL: from the first */
    slice_t other;               /* the one more parameter that it takes */
} page_t;

/* Reads `limit`, `cursor` and, when given, the parameter `other`; raises 422
 * for what is wrong. */
page_t page_read(request_t *rq, const char *other);

/* Replies with up to page->limit of the rows (of which there may be one more),
 * and the `key` of the last as next_cursor. */
void page_reply(request_t *rq, const page_t *page, const db_result_t *rows,
    const char *key);

/* ---- effects after the commit ---- */

void after_commit_wake(request_t *rq, slice_t kind);
void after_commit_limit(request_t *rq, hive_uuid_t owner, slice_t key);
void after_commit_stop(request_t *rq, hive_uuid_t worker, hive_uuid_t task);

#endif
