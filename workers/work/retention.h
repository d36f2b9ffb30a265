/* retention.h: makes the partitions of task_history for the days to come, and
 * has old days, old events and what belonged to them go. */

#ifndef HIVE_RETENTION_H
#define HIVE_RETENTION_H

#include "workers/runtime/fiber.h"

/* Begins, after db_start, with a fiber of its own; `days` is how long what
 * finished is kept. 0 or negative errno. */
int retention_start(fiber_sched_t *fibers, unsigned days);

/* Ends it: its fiber is gone soon after. Before db_stop. Idempotent. */
void retention_stop(void);

#endif
