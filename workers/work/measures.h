/* measures.h: the metrics of tasks (workers/runtime/metrics.h), for whoever
 * makes, runs or ends them. All are cheap: an addition or two. */

#ifndef HIVE_MEASURES_H
#define HIVE_MEASURES_H

#include "workers/db/db.h"

/* How an attempt ended. */
typedef enum {
    OUTCOME_SUCCEEDED, OUTCOME_FAILED, OUTCOME_TIMED_OUT, OUTCOME_LOST,
    OUTCOME_CANCELLED, OUTCOME_PAUSED
} outcome_t;

/* At the start of a process, before any other. */
void measures_init(void);

/* Tasks of that kind were made. */
void measure_enqueued(slice_t kind, uint64_t count);

/* One was claimed that could have been since `due` (microseconds since 1970).
 * Not to be called for what had waited for others: it became ready at a time
 * that its row does not tell. */
void measure_claim(slice_t kind, int64_t due);

/* An attempt has ended that ran that long (0: it had not begun). */
void measure_attempt(slice_t kind, outcome_t outcome, uint64_t ran_us);

/* Attempts were given to others: their worker had died, or their lease had run
 * out. */
void measure_lost(uint64_t count);

/* A step of a job, to be called every second or so in each process: one of
 * them asks the database how many tasks there are, at most every 5 s. */
void measure_depths(request_t *rq, void *arg);

#endif
