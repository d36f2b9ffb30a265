/* enqueue_parts.h: the parts of tasks_enqueue, to each other. */

#ifndef HIVE_ENQUEUE_PARTS_H
#define HIVE_ENQUEUE_PARTS_H

#include "task.h"

/* Of a task that says nothing else. */
#define TASK_BACKOFF_MS   1000
#define TASK_MAX_ATTEMPTS 5

/* ---- statements (enqueue_store.c) ---- */

/* One without unique key, limit, run and edges. */
void enqueue_insert_one(request_t *rq, const new_task_t *task);

/* Any without unique keys, with the run that they are of, if it is to be
 * made. */
void enqueue_insert_many(request_t *rq, slice_t run, const new_task_t *tasks,
    size_t count, const edge_t *edges, size_t nedges);

/* Those of them whose unique key is free; the ids of those made. */
const db_result_t *enqueue_insert_unique(request_t *rq,
    const new_task_t *tasks, size_t count);

/* ---- unique keys (enqueue_unique.c) ---- */

/* Stores tasks of which some have unique keys, and says of each what came of
 * it. */
void enqueue_unique(request_t *rq, new_task_t *tasks, size_t count);

#endif
