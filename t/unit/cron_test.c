/* cron_test.c: what cron expressions mean, zone by zone and on the days when
 * clocks change. */

#include "workers/work/cron.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static slice_t
text(const char *s)
{
    return (slice_t) { s, strlen(s) };
}

static int64_t
utc(const char *when)
{
    struct tm tm = { 0 };

    assert_non_null(strptime(when, "%Y-%m-%d %H:%M:%S", &tm));
    return timegm(&tm);
}

/* The times (UTC) of an expression after a moment, joined by commas. */
static const char *
times(const char *expression, const char *zone_name, const char *after,
    int count)
{
    static char out[4096];
    const zone_t *zone = zone_find(text(zone_name));
    int64_t at = utc(after);
    const char *why;
    cron_t cron;
    size_t len = 0;

    assert_non_null(zone);
    assert_int_equal(cron_parse(text(expression), &cron, &why), 0);
    out[0] = '\0';
    for (int i = 0; i < count; i++) {
        time_t seconds;
        struct tm tm;

        at = cron_next(&cron, zone, at);
        if (at == CRON_NEVER) {
            snprintf(out + len, sizeof(out) - len, "%snever",
                i > 0 ? "," : "");
            return out;
        }
        seconds = at;
        gmtime_r(&seconds, &tm);
        len += strftime(out + len, sizeof(out) - len,
            &",%m-%d %H:%M"[i == 0], &tm);
    }
    return out;
}

static void
expressions_that_are_none_are_refused(void **state)
{
    static const char *const wrong[] = { "", " ", "* * * *", "* * * * * *",
        "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *",
        "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "1- * * * *",
        "-1 * * * *", "1,,2 * * * *", ",1 * * * *", "1, * * * *", "x * * * *",
        "1-2-3 * * * *", "1/2/3 * * * *", "*/ * * * *", "* * * JANU *",
        "* * * * MO", "@reboot", "@", "+1 * * * *", "1.5 * * * *",
        "1000 * * * *", "** * * * *", "*-5 * * * *", "@daily @daily" };
    const char *why;
    cron_t cron;

    (void) state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        why = NULL;
        if (cron_parse(text(wrong[i]), &cron, &why) != -1) {
            fail_msg("taken: \"%s\"", wrong[i]);
        }
        assert_non_null(why);
    }
}

static void
fields_are_lists_ranges_and_steps(void **state)
{
    (void) state;
    assert_string_equal(times("* * * * *", "UTC", "2026-01-01 00:00:00", 2),
        "01-01 00:01,01-01 00:02");
    assert_string_equal(times("* * * * *", "UTC", "2026-01-01 00:00:01", 1),
        "01-01 00:01");
    assert_string_equal(times("*/20 * * * *", "UTC", "2026-01-01 00:05:00",
        4), "01-01 00:20,01-01 00:40,01-01 01:00,01-01 01:20");
    assert_string_equal(times("5/25 3 * * *", "UTC", "2026-01-01 00:00:00",
        4), "01-01 03:05,01-01 03:30,01-01 03:55,01-02 03:05");
    assert_string_equal(times("10-20/5,40 8-9 * * *", "UTC",
        "2026-01-01 00:00:00", 8), "01-01 08:10,01-01 08:15,01-01 08:20,"
        "01-01 08:40,01-01 09:10,01-01 09:15,01-01 09:20,01-01 09:40");
    assert_string_equal(times("\t0  12\t* *  * ", "UTC",
        "2026-01-01 12:00:00", 1), "01-02 12:00");
}

static void
names_and_shorthands(void **state)
{
    (void) state;
    assert_string_equal(times("0 9 * jan,MAR Mon-Fri", "UTC",
        "2026-01-30 09:00:00", 2), "03-02 09:00,03-03 09:00");
    assert_string_equal(times("0 0 * * 0", "UTC", "2026-01-01 00:00:00", 2),
        "01-04 00:00,01-11 00:00");
    assert_string_equal(times("0 0 * * 7", "UTC", "2026-01-01 00:00:00", 1),
        "01-04 00:00");
    assert_string_equal(times("0 0 * * FRI-SUN", "UTC",
        "2026-01-01 00:00:00", 4),
        "01-02 00:00,01-03 00:00,01-04 00:00,01-09 00:00");
    assert_string_equal(times("0 0 * * 5-7", "UTC", "2026-01-04 00:00:00",
        1), "01-09 00:00");
    assert_string_equal(times("@hourly", "UTC", "2026-01-01 00:30:00", 1),
        "01-01 01:00");
    assert_string_equal(times("@daily", "UTC", "2026-01-01 00:30:00", 1),
        "01-02 00:00");
    assert_string_equal(times("@midnight", "UTC", "2026-01-01 00:30:00", 1),
        "01-02 00:00");
    assert_string_equal(times("@weekly", "UTC", "2026-01-01 00:30:00", 1),
        "01-04 00:00");
    assert_string_equal(times("@MONTHLY", "UTC", "2026-01-01 00:30:00", 1),
        "02-01 00:00");
    assert_string_equal(times("@yearly", "UTC", "2026-01-01 00:30:00", 1),
        "01-01 00:00");
    assert_string_equal(times("@annually", "UTC", "2026-03-01 00:30:00", 1),
        "01-01 00:00");
}

/* Both restricted: either. One begins with *: both. */
static void
two_kinds_of_days(void **state)
{
    (void) state;
    assert_string_equal(times("0 0 13 * FRI", "UTC", "2026-02-01 00:00:00",
        3), "02-06 00:00,02-13 00:00,02-20 00:00");
    assert_string_equal(times("0 0 13 * *", "UTC", "2026-02-01 00:00:00",
        2), "02-13 00:00,03-13 00:00");
    assert_string_equal(times("0 0 */2 * MON", "UTC", "2026-01-01 00:00:00",
        3), "01-05 00:00,01-19 00:00,02-09 00:00");
    assert_string_equal(times("0 0 31 * *", "UTC", "2026-01-31 00:00:00",
        3), "03-31 00:00,05-31 00:00,07-31 00:00");
}

static void
rare_days_and_days_that_never_come(void **state)
{
    (void) state;
    assert_string_equal(times("0 0 29 2 *", "UTC", "2026-01-01 00:00:00",
        1), "02-29 00:00");
    assert_string_equal(times("0 0 29 2 *", "UTC", "2096-03-01 00:00:00",
        1), "02-29 00:00");
    assert_string_equal(times("0 0 30 2 *", "UTC", "2026-01-01 00:00:00",
        1), "never");
    assert_string_equal(times("0 0 31 4,6 *", "UTC", "2026-01-01 00:00:00",
        1), "never");
}

static void
zones_have_their_own_days(void **state)
{
    (void) state;
    assert_string_equal(times("0 9 * * *", "Europe/Berlin",
        "2026-01-10 12:00:00", 1), "01-11 08:00");
    assert_string_equal(times("0 9 * * *", "Europe/Berlin",
        "2026-07-10 12:00:00", 1), "07-11 07:00");
    assert_string_equal(times("0 9 * * *", "Asia/Kolkata",
        "2026-07-10 12:00:00", 1), "07-11 03:30");
    assert_string_equal(times("0 0 1 * *", "Pacific/Auckland",
        "2026-06-15 00:00:00", 1), "06-30 12:00");
    assert_string_equal(times("0 0 1 * *", "America/Los_Angeles",
        "2026-06-15 00:00:00", 1), "07-01 07:00");
    assert_string_equal(times("15 12 * * *", "Asia/Kathmandu",
        "2026-06-15 00:00:00", 1), "06-15 06:30");
    assert_string_equal(times("0 0 * * MON", "Pacific/Kiritimati",
        "2026-01-02 00:00:00", 1), "01-04 10:00");
}

/* Berlin, 2026-03-29: 02:00 CET is 03:00 CEST (01:00 UTC). */
static void
a_time_that_does_not_exist_is_the_next_minute(void **state)
{
    (void) state;
    assert_string_equal(times("30 2 * * *", "Europe/Berlin",
        "2026-03-28 00:00:00", 3), "03-28 01:30,03-29 01:00,03-30 00:30");
    assert_string_equal(times("0,15,30,45 2 * * *", "Europe/Berlin",
        "2026-03-28 02:00:00", 2), "03-29 01:00,03-30 00:00");
    assert_string_equal(times("30 2,3 * * *", "Europe/Berlin",
        "2026-03-28 03:00:00", 3), "03-29 01:00,03-29 01:30,03-30 00:30");
    assert_string_equal(times("0 3 * * *", "Europe/Berlin",
        "2026-03-28 03:00:00", 2), "03-29 01:00,03-30 01:00");
    assert_string_equal(times("0 1-4 * * *", "Europe/Berlin",
        "2026-03-28 03:00:00", 4),
        "03-29 00:00,03-29 01:00,03-29 02:00,03-29 23:00");
}

/* Berlin, 2026-10-25: 03:00 CEST is 02:00 CET (01:00 UTC). */
static void
a_time_that_comes_twice_is_the_first(void **state)
{
    (void) state;
    assert_string_equal(times("30 2 * * *", "Europe/Berlin",
        "2026-10-24 00:00:00", 3), "10-24 00:30,10-25 00:30,10-26 01:30");
    assert_string_equal(times("0 2 * * *", "Europe/Berlin",
        "2026-10-25 00:00:00", 1), "10-26 01:00");
    assert_string_equal(times("0 2,3 * * *", "Europe/Berlin",
        "2026-10-24 22:00:00", 3), "10-25 00:00,10-25 02:00,10-26 01:00");
    /* from within the second of the two hours */
    assert_string_equal(times("30 2 * * *", "Europe/Berlin",
        "2026-10-25 01:10:00", 1), "10-26 01:30");
}

static void
every_hour_means_those_that_come_twice_too(void **state)
{
    (void) state;
    assert_string_equal(times("30 * * * *", "Europe/Berlin",
        "2026-10-24 23:00:00", 5),
        "10-24 23:30,10-25 00:30,10-25 01:30,10-25 02:30,10-25 03:30");
    assert_string_equal(times("30 * * * *", "Europe/Berlin",
        "2026-03-29 00:00:00", 3), "03-29 00:30,03-29 01:30,03-29 02:30");
    assert_string_equal(times("*/30 * * * *", "Australia/Lord_Howe",
        "2026-04-04 14:00:00", 4),
        "04-04 14:30,04-04 15:00,04-04 15:30,04-04 16:00");
}

static void
other_clocks_that_change(void **state)
{
    (void) state;
    /* New York, 2026-03-08 02:00 EST = 07:00 UTC; 2026-11-01 06:00 UTC */
    assert_string_equal(times("30 2 * * *", "America/New_York",
        "2026-03-08 00:00:00", 2), "03-08 07:00,03-09 06:30");
    assert_string_equal(times("30 1 * * *", "America/New_York",
        "2026-11-01 00:00:00", 2), "11-01 05:30,11-02 06:30");
    /* Lord Howe goes back by half an hour: 2026-04-04 15:00 UTC */
    assert_string_equal(times("45 1 * * *", "Australia/Lord_Howe",
        "2026-04-04 00:00:00", 2), "04-04 14:45,04-05 15:15");
    /* Santiago changes at midnight: 2026-09-06 00:00 does not exist */
    assert_string_equal(times("0 0 * * *", "America/Santiago",
        "2026-09-05 05:00:00", 2), "09-06 04:00,09-07 03:00");
    /* and 2026-04-04 23:00 to 24:00 comes twice */
    assert_string_equal(times("30 23 * * *", "America/Santiago",
        "2026-04-04 04:00:00", 2), "04-05 02:30,04-06 03:30");
    /* Samoa had no 2011-12-30 */
    assert_string_equal(times("0 12 * * *", "Pacific/Apia",
        "2011-12-29 00:00:00", 3), "12-29 22:00,12-30 10:00,12-30 22:00");
    /* Dublin's winter is its "summer time", below zero */
    assert_string_equal(times("30 1 * * *", "Europe/Dublin",
        "2026-03-28 12:00:00", 2), "03-29 01:00,03-30 00:30");
}

/* Behind the last change in the file the rule of its footer goes on. */
static void
years_far_ahead_follow_the_rule(void **state)
{
    (void) state;
    assert_string_equal(times("0 9 * * *", "Europe/Berlin",
        "2090-01-10 12:00:00", 1), "01-11 08:00");
    assert_string_equal(times("0 9 * * *", "Europe/Berlin",
        "2090-07-10 12:00:00", 1), "07-11 07:00");
    assert_string_equal(times("0 9 * * *", "Australia/Sydney",
        "2090-01-10 12:00:00", 1), "01-10 22:00");
    assert_string_equal(times("30 2 * * *", "Europe/Berlin",
        "2090-03-25 12:00:00", 2), "03-26 01:00,03-27 00:30");
}

/* Against the C library, which reads the same files. */
static void
offsets_are_those_of_the_c_library(void **state)
{
    static const char *const names[] = { "Europe/Berlin", "Europe/Dublin",
        "America/New_York", "America/Santiago", "Asia/Tehran",
        "Africa/Casablanca", "Australia/Lord_Howe", "Pacific/Apia",
        "Asia/Kathmandu", "America/St_Johns", "Antarctica/Troll", "UTC",
        "EST5EDT", "Asia/Gaza", "America/Nuuk" };

    (void) state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const zone_t *zone = zone_find(text(names[i]));

        assert_non_null(zone);
        setenv("TZ", names[i], 1);
        tzset();
        /* every 11 hours and a bit, from 1930 to 2100 */
        for (int64_t at = -1262304000; at < 4102444800; at += 41011) {
            time_t seconds = at;
            struct tm tm;

            localtime_r(&seconds, &tm);
            if (zone_offset(zone, at) != tm.tm_gmtoff) {
                fail_msg("%s at %lld: %d, not %ld", names[i], (long long) at,
                    zone_offset(zone, at), tm.tm_gmtoff);
            }
        }
    }
    unsetenv("TZ");
    tzset();
}

static void
names_that_are_no_zones(void **state)
{
    static const char *const wrong[] = { "", "/etc/passwd", "../passwd",
        "Europe", "Europe/", "Nowhere/Land", "europe/berlin", "tzdata.zi",
        "zone.tab", "Europe/Berlin\n", "Europe//../../../etc/passwd" };

    (void) state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (zone_find(text(wrong[i])) != NULL) {
            fail_msg("taken: \"%s\"", wrong[i]);
        }
    }
    assert_null(zone_find((slice_t) { "UTC\0x", 5 }));
    assert_ptr_equal(zone_find(SLICE("Europe/Berlin")),
        zone_find(SLICE("Europe/Berlin")));
}

/* Every file that is cut or has a byte changed is read or refused, in peace. */
static void
broken_zone_files(void **state)
{
    static char bytes[65536];
    FILE *file = fopen("/usr/share/zoneinfo/Europe/Berlin", "re");
    size_t len;

    (void) state;
    assert_non_null(file);
    len = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    for (size_t i = 0; i < len; i++) {
        zone_t *zone = zone_parse((slice_t) { bytes, i });

        assert_null(zone);
    }
    for (size_t i = 0; i < len; i++) {
        char was = bytes[i];
        zone_t *zone;

        bytes[i] = (char) (was ^ 0x55);
        zone = zone_parse((slice_t) { bytes, len });
        if (zone != NULL) {
            zone_offset(zone, 1800000000);
            zone_offset(zone, 4000000000);
            zone_free(zone);
        }
        bytes[i] = was;
    }
}

static void
the_calendar_goes_both_ways(void **state)
{
    (void) state;
    assert_int_equal(days_of_date(1970, 1, 1), 0);
    assert_int_equal(days_of_date(2000, 3, 1), 11017);
    assert_int_equal(weekday_of_days(0), 4);
    assert_int_equal(weekday_of_days(-1), 3);
    for (int64_t day = -800000; day < 800000; day += 13) {
        date_t date = date_of_days(day);

        assert_int_equal(days_of_date(date.year, date.month, date.day), day);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_that_are_none_are_refused),
        cmocka_unit_test(fields_are_lists_ranges_and_steps),
        cmocka_unit_test(names_and_shorthands),
        cmocka_unit_test(two_kinds_of_days),
        cmocka_unit_test(rare_days_and_days_that_never_come),
        cmocka_unit_test(zones_have_their_own_days),
        cmocka_unit_test(a_time_that_does_not_exist_is_the_next_minute),
        cmocka_unit_test(a_time_that_comes_twice_is_the_first),
        cmocka_unit_test(every_hour_means_those_that_come_twice_too),
        cmocka_unit_test(other_clocks_that_change),
        cmocka_unit_test(years_far_ahead_follow_the_rule),
        cmocka_unit_test(offsets_are_those_of_the_c_library),
        cmocka_unit_test(names_that_are_no_zones),
        cmocka_unit_test(broken_zone_files),
        cmocka_unit_test(the_calendar_goes_both_ways),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
