/* enqueue.h: what the parts of the API know of new tasks beside
 * tasks_enqueue (task.h). */

#ifndef HIVE_ENQUEUE_H
#define HIVE_ENQUEUE_H

#include "task.h"

/* As tasks_enqueue, and makes the run that they are of in the same statement:
 * a JSON object of its columns (sql/queries/enqueue.sql). None of the tasks
 * has a unique key. */
void tasks_enqueue_run(request_t *rq, slice_t run, new_task_t *tasks,
    size_t count, const edge_t *edges, size_t nedges);

/* "ready", "scheduled", "blocked" or "paused": where a task with an id
 * begins. */
const char *task_first_state(const new_task_t *task);

/* When it was made: the milliseconds of its id, as microseconds. */
int64_t task_id_time(const hive_uuid_t *id);

/* The task just made, as GET shows it. */
void task_put_new(buf_t *out, const new_task_t *task);

/* ---- how many there may be (queue_limit.c) ---- */

/* Raises 429 "queue_full" when `more` tasks of that owner would be too many.
 * Approximate: other processes add to the same queue, and each counts only as
 * often as what it has added itself could matter. */
void queue_limit_check(request_t *rq, hive_uuid_t owner, size_t more);

/* That many have been added. */
void queue_limit_added(hive_uuid_t owner, size_t count);

#endif
