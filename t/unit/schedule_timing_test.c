/* schedule_timing_test.c: for which times a schedule fires when it comes late,
 * and what follows. */

#include "workers/work/schedule.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MINUTE (60 * SECOND_US)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* 2026-01-01 00:00 UTC, a Thursday */
#define START  (INT64_C(1767225600) * SECOND_US)

static timing_t
timing_of(const char *cron, int64_t jitter_ms)
{
    const char *field, *why;
    timing_t timing;

    assert_int_equal(timing_read((slice_t) { cron, strlen(cron) },
        SLICE("UTC"), jitter_ms, &timing, &field, &why), 0);
    return timing;
}

static void
what_is_wrong_has_a_field(void **state)
{
    const char *field, *why = NULL;
    timing_t timing;

    (void) state;
    assert_int_equal(timing_read(SLICE("x"), SLICE("UTC"), 0, &timing, &field,
        &why), -1);
    assert_string_equal(field, "cron");
    assert_non_null(why);
    assert_int_equal(timing_read(SLICE("@daily"), SLICE("x"), 0, &timing,
        &field, &why), -1);
    assert_string_equal(field, "time_zone");
}

static void
in_time_it_fires_once_and_goes_on(void **state)
{
    timing_t timing = timing_of("* * * * *", 0);
    due_t due;

    (void) state;
    for (int policy = CATCH_UP_SKIP; policy <= CATCH_UP_ALL; policy++) {
        timing_due(&timing, (catch_up_t) policy, START, START,
            START + 59 * SECOND_US, &due);
        assert_int_equal(due.count, 1);
        assert_int_equal(due.times[0], START);
        assert_int_equal(due.next, START + MINUTE);
    }
}

static void
missed_times_are_skipped_or_caught_up_with(void **state)
{
    timing_t timing = timing_of("* * * * *", 0);
    int64_t now = START + 30 * MINUTE + 5 * SECOND_US;
    due_t due;

    (void) state;
    timing_due(&timing, CATCH_UP_SKIP, START, START, now, &due);
    assert_int_equal(due.count, 0);
    assert_int_equal(due.next, START + 31 * MINUTE);

    timing_due(&timing, CATCH_UP_ONE, START, START, now, &due);
    assert_int_equal(due.count, 1);
    assert_int_equal(due.times[0], START + 30 * MINUTE);
    assert_int_equal(due.next, START + 31 * MINUTE);

    timing_due(&timing, CATCH_UP_ALL, START, START, now, &due);
    assert_int_equal(due.count, 31);
    assert_int_equal(due.times[30], START + 30 * MINUTE);
    assert_int_equal(due.next, START + 31 * MINUTE);

    now = START + 10 * DAY;
    timing_due(&timing, CATCH_UP_ALL, START, START, now, &due);
    assert_int_equal(due.count, CATCH_UP_MAX);
    assert_int_equal(due.times[99], START + 99 * MINUTE);
    assert_int_equal(due.next, now + MINUTE);
}

static void
the_last_missed_is_found_however_far_back(void **state)
{
    static const struct {
        const char *cron;
        int64_t now, last;
    } cases[] = {
        { "* * * * *", 400 * DAY + 1, 400 * DAY },
        { "0 * * * *", 10 * DAY + 59 * MINUTE, 10 * DAY },
        { "30 2 * * *", 10 * DAY, 9 * DAY + 2 * HOUR + 30 * MINUTE },
        { "0 0 1 * *", 40 * DAY, 31 * DAY },
        { "0 0 1 1 *", 300 * DAY, 0 },
        { "0 0 1 1 *", 500 * DAY, 365 * DAY },
    };
    due_t due;

    (void) state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        timing_t timing = timing_of(cases[i].cron, 0);
        int64_t first = timing_next(&timing, START - 1);

        timing_due(&timing, CATCH_UP_ONE, first, first, START + cases[i].now,
            &due);
        assert_int_equal(due.count, 1);
        assert_int_equal(due.times[0] - START, cases[i].last);
        assert_true(due.next > START + cases[i].now);
    }
}

static void
jitter_is_within_its_bounds_and_is_not_lateness(void **state)
{
    timing_t timing = timing_of("0 * * * *", 600000);
    int64_t low = INT64_MAX, high = 0;
    due_t due;

    (void) state;
    for (int i = 0; i < 1000; i++) {
        int64_t late = timing_jitter(&timing, START) - START;

        assert_in_range(late, 0, 600 * SECOND_US);
        low = late < low ? late : low;
        high = late > high ? late : high;
    }
    assert_true(high - low > 300 * SECOND_US);
    assert_int_equal(timing_jitter(&timing, 0), 0);

    timing_due(&timing, CATCH_UP_SKIP, START, START + 9 * MINUTE,
        START + 9 * MINUTE, &due);
    assert_int_equal(due.count, 1);
    assert_int_equal(due.times[0], START);
    assert_int_equal(due.next, START + HOUR);
}

static void
what_never_comes_again_has_no_next(void **state)
{
    timing_t timing = timing_of("0 0 30 2 *", 0);
    due_t due;

    (void) state;
    assert_int_equal(timing_next(&timing, START), 0);
    timing_due(&timing, CATCH_UP_ALL, START, START, START + DAY, &due);
    assert_int_equal(due.count, 1);
    assert_int_equal(due.next, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_has_a_field),
        cmocka_unit_test(in_time_it_fires_once_and_goes_on),
        cmocka_unit_test(missed_times_are_skipped_or_caught_up_with),
        cmocka_unit_test(the_last_missed_is_found_however_far_back),
        cmocka_unit_test(jitter_is_within_its_bounds_and_is_not_lateness),
        cmocka_unit_test(what_never_comes_again_has_no_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
