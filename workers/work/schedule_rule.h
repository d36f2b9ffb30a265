/* schedule_rule.h: the changes of a clock that come every year, in the form of
 * POSIX's TZ: "CET-1CEST,M3.5.0,M10.5.0/3". */

#ifndef HIVE_SCHEDULE_RULE_H
#define HIVE_SCHEDULE_RULE_H

#include <stdint.h>

/* A day of the year, as a rule names it, and a local time on it. */
typedef struct {
    char form;                  /* 'M' month.week.weekday, 'J' 1..365 without
                                   February 29, 'n' 0..365 with it */
    unsigned month, week, day;
    int32_t time;
} change_t;

typedef struct {
    int present;
    int32_t standard, summer;   /* seconds east */
    int has_summer;
    change_t begin, end;        /* of summer */
} rule_t;

/* 0, or -1 when it is not one. */
int rule_read(const char *text, rule_t *out);

/* Seconds east of Greenwich at a time in seconds since 1970. */
int32_t rule_offset(const rule_t *rule, int64_t time);

#endif
