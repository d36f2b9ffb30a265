/* schedule_zone.h: the time zones of the system's tzdata (TZif, RFC 8536),
 * read here rather than by the C library, whose zone is one per process. */

#ifndef HIVE_SCHEDULE_ZONE_H
#define HIVE_SCHEDULE_ZONE_H

#include "common/slice.h"

#include <stdint.h>

typedef struct zone_s zone_t;

/* By IANA name ("Europe/Berlin", "UTC"), in the exact case. Read once, kept
 * as long as the process lives. NULL: there is none of that name. */
const zone_t *zone_find(slice_t name);

/* Returns owned (zone_free): a zone from the bytes of its file, or NULL when
 * they are not one. For tests and zone_find. */
zone_t *zone_parse(slice_t bytes);
void zone_free(zone_t *zone);

/* Seconds east of Greenwich at a time in seconds since 1970. */
int32_t zone_offset(const zone_t *zone, int64_t time);

/* ---- the calendar, in days since 1970-01-01 ---- */

int64_t days_of_date(int64_t year, unsigned month, unsigned day);

typedef struct {
    int64_t year;
    unsigned month;             /* 1..12 */
    unsigned day;               /* 1..31 */
} date_t;

date_t date_of_days(int64_t days);

/* 0 is Sunday. */
unsigned weekday_of_days(int64_t days);

#endif
