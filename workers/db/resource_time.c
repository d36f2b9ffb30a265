/* resource_time.c: reading times as RFC 3339 writes them. Days are counted by
 * Howard Hinnant's days_from_civil ("chrono-compatible low-level date
 * algorithms"). */

#include "resource_parts.h"

static int
digits(const char *text, int count, int *out)
{
    int value = 0;

    for (int i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        value = value * 10 + (text[i] - '0');
    }
    *out = value;
    return 0;
}

static int
days_in_month(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30,
        31 };
    int leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970-01-01 in the Gregorian calendar, years from 1. */
static int64_t
days_since_epoch(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year
        - 719468;
}

/* ".123" at `text`: to microseconds; the number of bytes taken, 0 when there
 * is no fraction, -1 when it is broken. */
static int
fraction(const char *text, size_t len, int *micros)
{
    size_t i = 1;
    int scale = 100000;

    *micros = 0;
    if (len == 0 || text[0] != '.') {
        return 0;
    }
    for (; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
        *micros += (text[i] - '0') * scale;
        scale /= 10;
    }
    return i > 1 ? (int) i : -1;
}

/* "Z" or "+hh:mm", all that is left of the text. Seconds east. */
static int
offset_parse(const char *text, size_t len, int *seconds)
{
    int hours, minutes;

    if (len == 1 && (text[0] == 'Z' || text[0] == 'z')) {
        *seconds = 0;
        return 0;
    }
    if (len != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':'
        || digits(text + 1, 2, &hours) != 0
        || digits(text + 4, 2, &minutes) != 0
        || hours > 23 || minutes > 59)
    {
        return -1;
    }
    *seconds = (hours * 3600 + minutes * 60) * (text[0] == '-' ? -1 : 1);
    return 0;
}

int
time_parse(slice_t text, int64_t *out)
{
    const char *p = text.data;
    int year, month, day, hour, minute, second, micros, offset, taken;

    if (text.len < 20 || digits(p, 4, &year) != 0 || p[4] != '-'
        || digits(p + 5, 2, &month) != 0 || p[7] != '-'
        || digits(p + 8, 2, &day) != 0 || (p[10] != 'T' && p[10] != 't')
        || digits(p + 11, 2, &hour) != 0 || p[13] != ':'
        || digits(p + 14, 2, &minute) != 0 || p[16] != ':'
        || digits(p + 17, 2, &second) != 0)
    {
        return -1;
    }
    if (year < 1 || month < 1 || month > 12 || day < 1
        || day > days_in_month(year, month) || hour > 23 || minute > 59
        || second > 60)
    {
        return -1;
    }
    taken = fraction(p + 19, text.len - 19, &micros);
    if (taken < 0 || offset_parse(p + 19 + taken,
            text.len - 19 - (size_t) taken, &offset) != 0)
    {
        return -1;
    }
    *out = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute)
        * 60000000 + ((int64_t) second - offset) * 1000000 + micros;
    return 0;
}
