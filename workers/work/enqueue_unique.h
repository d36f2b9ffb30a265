/* enqueue_unique.h: the two halves of tasks_enqueue, to each other. */

#ifndef HIVE_ENQUEUE_UNIQUE_H
#define HIVE_ENQUEUE_UNIQUE_H

#include "task.h"

/* Stores tasks of which some have unique keys, and says of each what came of
 * it. */
void enqueue_unique(request_t *rq, new_task_t *tasks, size_t count);

/* Inserts those whose key is free; the ids of those made. (enqueue.c) */
const db_result_t *enqueue_insert_unique(request_t *rq,
    const new_task_t *tasks, size_t count);

#endif
