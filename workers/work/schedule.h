/* schedule.h: what recurs, inside work/. */

#ifndef HIVE_SCHEDULE_H
#define HIVE_SCHEDULE_H

#include "cron.h"

#include "workers/db/resource_parts.h"

#define SECOND_US INT64_C(1000000)

/* When a schedule fires. Times are microseconds since 1970; 0: never. */
typedef struct {
    cron_t cron;
    const zone_t *zone;
    int64_t jitter_ms;
} timing_t;

/* 0, or -1 with *why (static) and *field ("cron" or "time_zone"). */
int timing_read(slice_t cron, slice_t zone, int64_t jitter_ms, timing_t *out,
    const char **field, const char **why);

/* The first time after that one, and when that is to be done: later by a
 * random part of the jitter. */
int64_t timing_next(const timing_t *timing, int64_t after);
int64_t timing_jitter(const timing_t *timing, int64_t time);

/* ---- what is due ---- */

typedef enum { CATCH_UP_SKIP, CATCH_UP_ONE, CATCH_UP_ALL } catch_up_t;

/* Times that are later than this are missed, and caught up with or not. */
#define MISSED_AFTER_US (60 * SECOND_US)
#define CATCH_UP_MAX    100

typedef struct {
    int64_t times[CATCH_UP_MAX];
    size_t count;
    int64_t next;
} due_t;

/* For which times to fire now, when `next_at`, to be done at `fire_at`, has
 * come; and the next one. */
void timing_due(const timing_t *timing, catch_up_t catch_up, int64_t next_at,
    int64_t fire_at, int64_t now, due_t *out);

/* ---- firing (schedule_fire.c) ---- */

/* Makes the run or the task of a schedule for that time, in the request's
 * transaction; `schedule` is a row of schedule_lock or schedule_due. Returns
 * {"run_id": ...} or {"task_id": ...}. Raises what making it raises, and 409
 * "workflow_not_found". */
slice_t schedule_make(request_t *rq, const db_row_t *schedule, int64_t time);

/* The thing that a schedule makes: reports what could not be made. */
void schedule_check_task(report_t *report, const json_t *task);
void schedule_check_input(report_t *report, const char *field,
    const json_t *input);

#endif
