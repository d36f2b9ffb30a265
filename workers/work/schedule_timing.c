/* schedule_timing.c: when schedules fire. */

#include "schedule.h"

#include <sys/random.h>

int
timing_read(slice_t cron, slice_t zone, int64_t jitter_ms, timing_t *out,
    const char **field, const char **why)
{
    *field = "cron";
    if (cron_parse(cron, &out->cron, why) != 0) {
        return -1;
    }
    out->jitter_ms = jitter_ms;
    out->zone = zone_find(zone);
    if (out->zone == NULL) {
        *field = "time_zone";
        *why = "must be a time zone of the IANA database, as in"
            " Europe/Berlin";
        return -1;
    }
    return 0;
}

/* Down to the second, also before 1970. */
static int64_t
seconds_of(int64_t time)
{
    return (time >= 0 ? time : time - SECOND_US + 1) / SECOND_US;
}

int64_t
timing_next(const timing_t *timing, int64_t after)
{
    int64_t next = cron_next(&timing->cron, timing->zone, seconds_of(after));

    return next == CRON_NEVER ? 0 : next * SECOND_US;
}

int64_t
timing_jitter(const timing_t *timing, int64_t time)
{
    uint64_t random = 0;

    if (time == 0 || timing->jitter_ms <= 0
        || getrandom(&random, sizeof(random), 0) != sizeof(random))
    {
        return time;
    }
    return time
        + (int64_t) (random % ((uint64_t) timing->jitter_ms + 1)) * 1000;
}

/* The last one that is not after `now`: looked for in the last hour, else in
 * the last day, and so on, so that there are never many to step through. */
static int64_t
last_missed(const timing_t *timing, int64_t first, int64_t now)
{
    static const int64_t windows[] = { 3600, 86400, 32 * 86400, 366 * 86400 };
    int64_t time = first, next;

    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        int64_t from = now - windows[i] * SECOND_US;

        if (from <= first) {
            break;
        }
        next = timing_next(timing, from);
        if (next != 0 && next <= now) {
            time = next;
            break;
        }
    }
    while ((next = timing_next(timing, time)) != 0 && next <= now) {
        time = next;
    }
    return time;
}

static void
catch_up_all(const timing_t *timing, int64_t time, int64_t now, due_t *out)
{
    while (time != 0 && time <= now && out->count < CATCH_UP_MAX) {
        out->times[out->count++] = time;
        time = timing_next(timing, time);
    }
    out->next = time == 0 || time > now ? time : timing_next(timing, now);
}

void
timing_due(const timing_t *timing, catch_up_t catch_up, int64_t next_at,
    int64_t fire_at, int64_t now, due_t *out)
{
    out->count = 0;
    if (now - fire_at <= MISSED_AFTER_US) {
        out->times[out->count++] = next_at;
        out->next = timing_next(timing, next_at);
        return;
    }
    switch (catch_up) {
    case CATCH_UP_ALL:
        catch_up_all(timing, next_at, now, out);
        return;
    case CATCH_UP_ONE:
        out->times[out->count++] = last_missed(timing, next_at, now);
        break;
    case CATCH_UP_SKIP:
        break;
    }
    out->next = timing_next(timing, now);
}
