/* cron.c: reading cron expressions, and finding the next time of one: day by
 * day of the zone's calendar, then the minutes of a day that fits, each taken
 * to the time line by the zone's offsets around it. */

#include "cron.h"

#include <assert.h>
#include <strings.h>

#define DAY      INT64_C(86400)
#define DAYS_MAX (40 * 366)

typedef struct {
    const char *what;           /* for *why */
    unsigned min, max;
    const char *const *names;   /* of min, min + 1, ...; NULL-terminated */
} field_t;

static const char *const months[] = { "jan", "feb", "mar", "apr", "may",
    "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL };
static const char *const weekdays[] = { "sun", "mon", "tue", "wed", "thu",
    "fri", "sat", NULL };

static const field_t fields[] = {
    { "the minute is not understood: 0-59, lists, ranges and steps", 0, 59,
      NULL },
    { "the hour is not understood: 0-23, lists, ranges and steps", 0, 23,
      NULL },
    { "the day is not understood: 1-31, lists, ranges and steps", 1, 31,
      NULL },
    { "the month is not understood: 1-12 or JAN-DEC, lists, ranges and steps",
      1, 12, months },
    { "the weekday is not understood: 0-7 or SUN-SAT, lists, ranges and steps",
      0, 7, weekdays },
};

static const struct {
    const char *name, *meaning;
} shorthands[] = {
    { "@hourly", "0 * * * *" },
    { "@daily", "0 0 * * *" },
    { "@midnight", "0 0 * * *" },
    { "@weekly", "0 0 * * 0" },
    { "@monthly", "0 0 1 * *" },
    { "@yearly", "0 0 1 1 *" },
    { "@annually", "0 0 1 1 *" },
};

/* ---- reading ---- */

static slice_t
take_until(slice_t *rest, char separator)
{
    const char *at = rest->len > 0
                     ? memchr(rest->data, separator, rest->len) : NULL;
    slice_t head = *rest;

    if (at == NULL) {
        *rest = SLICE_NONE;
        return head;
    }
    head.len = (size_t) (at - rest->data);
    rest->data += head.len + 1;
    rest->len -= head.len + 1;
    return head;
}

static int
read_digits(slice_t text, unsigned *out)
{
    *out = 0;
    if (text.len == 0 || text.len > 3) {
        return -1;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }
        *out = *out * 10 + (unsigned) (text.data[i] - '0');
    }
    return 0;
}

static int
read_value(const field_t *field, slice_t text, unsigned *out)
{
    for (unsigned i = 0; field->names != NULL && field->names[i] != NULL;
        i++)
    {
        if (text.len == 3 && strncasecmp(text.data, field->names[i], 3) == 0) {
            *out = field->min + i;
            return 0;
        }
    }
    return read_digits(text, out) != 0 || *out < field->min
           || *out > field->max ? -1 : 0;
}

/* "*", "5", "1-5", each with a step or without. */
static int
read_item(const field_t *field, slice_t item, uint64_t *bits)
{
    slice_t range = take_until(&item, '/');
    slice_t from = range, to;
    unsigned low, high, step = 1;
    int stepped = item.data != NULL;

    if (stepped && (read_digits(item, &step) != 0 || step == 0)) {
        return -1;
    }
    if (slice_equal(range, SLICE("*"))) {
        low = field->min;
        /* Sunday has two numbers; every day has one. */
        high = field->names == weekdays ? 6 : field->max;
    } else {
        to = range;
        from = take_until(&to, '-');
        if (read_value(field, from, &low) != 0) {
            return -1;
        }
        if (to.data == NULL) {
            high = stepped ? field->max : low;
        } else if (read_value(field, to, &high) != 0) {
            return -1;
        }
        /* FRI-SUN */
        if (to.data != NULL && field->names == weekdays && high == 0
            && low > 0)
        {
            high = 7;
        }
    }
    if (low > high) {
        return -1;
    }
    for (unsigned value = low; value <= high; value += step) {
        *bits |= UINT64_C(1) << value;
    }
    return 0;
}

static int
read_field(const field_t *field, slice_t text, uint64_t *bits)
{
    *bits = 0;
    if (text.len == 0) {
        return -1;
    }
    do {
        if (read_item(field, take_until(&text, ','), bits) != 0) {
            return -1;
        }
    } while (text.data != NULL);
    return 0;
}

/* The words of a text, at most `max` of them; returns how many there are. */
static size_t
split_words(slice_t text, slice_t *words, size_t max)
{
    size_t count = 0, i = 0;

    for (;;) {
        size_t start;

        while (i < text.len && (text.data[i] == ' ' || text.data[i] == '\t')) {
            i++;
        }
        if (i == text.len) {
            return count;
        }
        start = i;
        while (i < text.len && text.data[i] != ' ' && text.data[i] != '\t') {
            i++;
        }
        if (count < max) {
            words[count] = (slice_t) { text.data + start, i - start };
        }
        count++;
    }
}

int
cron_parse(slice_t text, cron_t *out, const char **why)
{
    slice_t words[5];
    uint64_t bits[5];
    size_t count = split_words(text, words, 5);

    for (size_t i = 0; count == 1
        && i < sizeof(shorthands) / sizeof(shorthands[0]); i++)
    {
        if (strlen(shorthands[i].name) == words[0].len
            && strncasecmp(words[0].data, shorthands[i].name, words[0].len)
                == 0)
        {
            return cron_parse((slice_t) { shorthands[i].meaning,
                strlen(shorthands[i].meaning) }, out, why);
        }
    }
    if (count != 5) {
        *why = "must have five fields (minute hour day month weekday), or be"
            " one of @hourly, @daily, @weekly, @monthly, @yearly";
        return -1;
    }
    for (size_t i = 0; i < 5; i++) {
        if (read_field(&fields[i], words[i], &bits[i]) != 0) {
            *why = fields[i].what;
            return -1;
        }
    }

    *out = (cron_t) {
        .minutes = bits[0],
        .hours = (uint32_t) bits[1],
        .days = (uint32_t) bits[2],
        .months = (uint32_t) bits[3],
        .weekdays = (uint32_t) ((bits[4] | bits[4] >> 7) & 0x7f),
        .any_day = words[2].data[0] == '*',
        .any_weekday = words[4].data[0] == '*',
        .every_hour = (uint32_t) bits[1] == 0xffffff,
    };
    return 0;
}

/* ---- the next time ---- */

static int
day_fits(const cron_t *cron, int64_t day)
{
    date_t date = date_of_days(day);
    int by_day = (cron->days >> date.day & 1) != 0;
    int by_weekday = (cron->weekdays >> weekday_of_days(day) & 1) != 0;

    if (!(cron->months >> date.month & 1)) {
        return 0;
    }
    return cron->any_day || cron->any_weekday ? by_day && by_weekday
                                              : by_day || by_weekday;
}

/* The first minute of the new offset, when it changes between two times. */
static int64_t
change_between(const zone_t *zone, int64_t low, int64_t high)
{
    int32_t after = zone_offset(zone, high);

    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;

        if (zone_offset(zone, middle) == after) {
            high = middle;
        } else {
            low = middle;
        }
    }
    return (high + 59) / 60 * 60;
}

/* The time that a local one means, on a day when the clock may change; the
 * first one that is after `after`, or CRON_NEVER. */
static int64_t
resolve(const cron_t *cron, const zone_t *zone, int64_t local, int64_t after)
{
    int32_t before = zone_offset(zone, local - DAY);
    int32_t behind = zone_offset(zone, local + DAY);
    int64_t first = local - before, second = local - behind;
    int first_is = zone_offset(zone, first) == before;
    int second_is = zone_offset(zone, second) == behind;

    if (!first_is && !second_is) {
        if (cron->every_hour) {
            return CRON_NEVER;
        }
        first = change_between(zone, second - 1, first);
        return first > after ? first : CRON_NEVER;
    }
    if (first_is && second_is && second < first) {
        int64_t later = first;

        first = second;
        second = later;
    } else if (!first_is) {
        first = second;
    } else if (!second_is) {
        second = first;
    }
    if (first > after) {
        return first;
    }
    return cron->every_hour && second > after ? second : CRON_NEVER;
}

/* The first time of that day which is after `after`, or CRON_NEVER. */
static int64_t
next_of_day(const cron_t *cron, const zone_t *zone, int64_t day,
    int64_t after)
{
    int32_t offset = zone_offset(zone, day * DAY - DAY);
    int plain = zone_offset(zone, day * DAY + 2 * DAY) == offset;
    int64_t best = CRON_NEVER;

    if (!day_fits(cron, day)) {
        return CRON_NEVER;
    }
    for (unsigned hour = 0; hour < 24; hour++) {
        if (!(cron->hours >> hour & 1)) {
            continue;
        }
        for (unsigned minute = 0; minute < 60; minute++) {
            int64_t local = day * DAY + hour * 3600 + minute * 60;
            int64_t time = local - offset;

            if (!(cron->minutes >> minute & 1)) {
                continue;
            }
            if (plain && time > after) {
                return time;
            }
            if (!plain) {
                time = resolve(cron, zone, local, after);
                best = time < best ? time : best;
            }
        }
    }
    return best;
}

int64_t
cron_next(const cron_t *cron, const zone_t *zone, int64_t after)
{
    int64_t local = after + zone_offset(zone, after);
    int64_t day = (local >= 0 ? local : local - DAY + 1) / DAY - 1;

    assert(zone != NULL);
    for (int i = 0; i < DAYS_MAX; i++, day++) {
        int64_t time = next_of_day(cron, zone, day, after);

        if (time != CRON_NEVER) {
            /* Where the clock goes back over midnight the next day may have
             * an earlier one. */
            int64_t other = next_of_day(cron, zone, day + 1, after);

            return other < time ? other : time;
        }
    }
    return CRON_NEVER;
}
