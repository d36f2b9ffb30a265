/* cron.h: cron expressions: five fields (minute, hour, day of the month,
 * month, day of the week), or @hourly, @daily (@midnight), @weekly, @monthly,
 * @yearly (@annually).
 *
 * A field is a list of values, ranges (1-5, MON-FRI), * for all, and any of
 * these with a step (8-18/2; 5/15 is 5-59/15). Months and weekdays have names
 * of three letters; 0 and 7 are Sunday. When both days are restricted (neither
 * begins with *), one of them is enough, as in crontab(5).
 *
 * On days when the clock changes: a time that does not exist means the first
 * minute after the gap, and several such are one; a time that comes twice is
 * the first of the two. But where the hour is *, the expression is about the
 * minutes of every hour, and those of an hour that comes twice come twice. */

#ifndef HIVE_CRON_H
#define HIVE_CRON_H

#include "schedule_zone.h"

typedef struct {
    uint64_t minutes;           /* bit n: minute n */
    uint32_t hours;
    uint32_t days;
    uint32_t months;
    uint32_t weekdays;
    int any_day, any_weekday;   /* begins with * */
    int every_hour;
} cron_t;

/* 0, or -1 with *why (static text). */
int cron_parse(slice_t text, cron_t *out, const char **why);

#define CRON_NEVER INT64_MAX

/* The first time after `after`, in seconds since 1970; CRON_NEVER when there
 * is none within forty years. */
int64_t cron_next(const cron_t *cron, const zone_t *zone, int64_t after);

#endif
