/* schedule_rule.c: yearly changes of a clock: reading them, and what the
 * offset is at a time. */

#include "schedule_rule.h"

#include "schedule_zone.h"

#define DAY INT64_C(86400)

static int
is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t
change_day(const change_t *change, int64_t year)
{
    int64_t first;

    switch (change->form) {
    case 'J':
        return days_of_date(year, 1, 1) + change->day - 1
            + (is_leap(year) && change->day >= 60);
    case 'n':
        return days_of_date(year, 1, 1) + change->day;
    default:
        break;
    }
    first = days_of_date(year, change->month, 1);
    first += (change->day + 7 - weekday_of_days(first)) % 7;
    first += 7 * ((int64_t) change->week - 1);
    /* The fifth one is the last one. */
    while (change->week == 5
        && date_of_days(first).month != change->month)
    {
        first -= 7;
    }
    return first;
}

int32_t
rule_offset(const rule_t *rule, int64_t time)
{
    int64_t local = time + rule->standard;
    int64_t day = (local >= 0 ? local : local - DAY + 1) / DAY;
    int64_t year, begin, end;
    int summer;

    if (!rule->has_summer) {
        return rule->standard;
    }
    year = date_of_days(day).year;
    begin = change_day(&rule->begin, year) * DAY + rule->begin.time
        - rule->standard;
    end = change_day(&rule->end, year) * DAY + rule->end.time - rule->summer;
    summer = begin < end ? time >= begin && time < end
                         : !(time >= end && time < begin);
    return summer ? rule->summer : rule->standard;
}

/* The parsers below move *p behind what they read; 0, or -1. */

static int
read_number(const char **p, unsigned max, unsigned *out)
{
    unsigned value = 0;
    int digits = 0;

    while (**p >= '0' && **p <= '9' && digits < 5) {
        value = value * 10 + (unsigned) (*(*p)++ - '0');
        digits++;
    }
    *out = value;
    return digits > 0 && value <= max ? 0 : -1;
}

static int
read_abbreviation(const char **p)
{
    const char *start = *p;

    if (**p == '<') {
        while (**p != '\0' && **p != '>') {
            (*p)++;
        }
        return *(*p)++ == '>' ? 0 : -1;
    }
    while ((**p >= 'a' && **p <= 'z') || (**p >= 'A' && **p <= 'Z')) {
        (*p)++;
    }
    return *p - start >= 3 ? 0 : -1;
}

/* [+-]hh[:mm[:ss]] */
static int
read_time(const char **p, int32_t *out)
{
    unsigned parts[3] = { 0, 0, 0 };
    int sign = 1;

    if (**p == '+' || **p == '-') {
        sign = *(*p)++ == '-' ? -1 : 1;
    }
    if (read_number(p, 167, &parts[0]) != 0) {
        return -1;
    }
    for (int i = 1; i < 3 && **p == ':'; i++) {
        (*p)++;
        if (read_number(p, 59, &parts[i]) != 0) {
            return -1;
        }
    }
    *out = sign * (int32_t) (parts[0] * 3600 + parts[1] * 60 + parts[2]);
    return 0;
}

static int
read_day(const char **p, change_t *out)
{
    switch (**p) {
    case 'M':
        (*p)++;
        out->form = 'M';
        if (read_number(p, 12, &out->month) != 0 || out->month == 0
            || *(*p)++ != '.' || read_number(p, 5, &out->week) != 0
            || out->week == 0 || *(*p)++ != '.')
        {
            return -1;
        }
        return read_number(p, 6, &out->day);
    case 'J':
        (*p)++;
        out->form = 'J';
        return read_number(p, 365, &out->day) != 0 || out->day == 0 ? -1 : 0;
    default:
        out->form = 'n';
        return read_number(p, 365, &out->day);
    }
}

static int
read_change(const char **p, change_t *out)
{
    out->time = 2 * 3600;
    if (*(*p)++ != ',' || read_day(p, out) != 0) {
        return -1;
    }
    if (**p == '/') {
        (*p)++;
        return read_time(p, &out->time);
    }
    return 0;
}

/* Offsets are west of Greenwich in this form. */
int
rule_read(const char *p, rule_t *out)
{
    int32_t west;

    if (read_abbreviation(&p) != 0 || read_time(&p, &west) != 0) {
        return -1;
    }
    *out = (rule_t) { .present = 1, .standard = -west };
    if (*p == '\0') {
        return 0;
    }
    out->has_summer = 1;
    out->summer = out->standard + 3600;
    if (read_abbreviation(&p) != 0) {
        return -1;
    }
    if (*p != ',') {
        if (read_time(&p, &west) != 0) {
            return -1;
        }
        out->summer = -west;
    }
    if (read_change(&p, &out->begin) != 0 || read_change(&p, &out->end) != 0) {
        return -1;
    }
    return *p == '\0' ? 0 : -1;
}
