/* schedule_zone.c: time zones: a file has the changes of the offset up to
 * some year, and behind them a rule for all later ones. */

#include "schedule_rule.h"
#include "schedule_zone.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#define ZONEINFO   "/usr/share/zoneinfo/"
#define FILE_MAX   (256 * 1024)
#define NAME_BYTES 64
#define HEADER     44

struct zone_s {
    zone_t *next;
    char *name;
    size_t count;
    int64_t *times;             /* offsets[i] holds from times[i] on */
    int32_t *offsets;
    int32_t first;              /* before them all */
    rule_t rule;                /* after them all */
};

static zone_t *zones;

/* ---- the calendar (Howard Hinnant, "chrono-compatible algorithms") ---- */

int64_t
days_of_date(int64_t year, unsigned month, unsigned day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * ((int64_t) month + (month > 2 ? -3 : 9)) + 2) / 5
        + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year
        - 719468;
}

date_t
date_of_days(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    date_t date;

    date.day = (unsigned) (doy - (153 * mp + 2) / 5 + 1);
    date.month = (unsigned) (mp < 10 ? mp + 3 : mp - 9);
    date.year = yoe + era * 400 + (date.month <= 2);
    return date;
}

unsigned
weekday_of_days(int64_t days)
{
    return (unsigned) (((days + 4) % 7 + 7) % 7);
}

/* ---- the file ---- */

typedef struct {
    uint32_t utc, standard, leaps, times, types, chars;
} counts_t;

static uint32_t
get32(const char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

static int64_t
get64(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return (int64_t) be64toh(v);
}

static int
read_header(slice_t bytes, counts_t *out)
{
    const char *p = bytes.data;

    if (bytes.len < HEADER || memcmp(p, "TZif", 4) != 0 || p[4] < '2') {
        return -1;
    }
    *out = (counts_t) { get32(p + 20), get32(p + 24), get32(p + 28),
        get32(p + 32), get32(p + 36), get32(p + 40) };
    return out->times > FILE_MAX || out->types == 0 || out->types > 256
           || out->chars > FILE_MAX || out->leaps > FILE_MAX
           || out->utc > 256 || out->standard > 256 ? -1 : 0;
}

/* How long what follows a header is, times being of `width` bytes. */
static size_t
block_size(const counts_t *counts, size_t width)
{
    return (size_t) counts->times * (width + 1) + (size_t) counts->types * 6
        + counts->chars + (size_t) counts->leaps * (width + 4)
        + counts->standard + counts->utc;
}

static int
read_times(zone_t *zone, const char *p, const counts_t *counts)
{
    const char *kinds = p + (size_t) counts->times * 8;
    const char *types = kinds + counts->times;

    zone->count = counts->times;
    zone->times = calloc(counts->times + 1, sizeof(*zone->times));
    zone->offsets = calloc(counts->times + 1, sizeof(*zone->offsets));
    if (zone->times == NULL || zone->offsets == NULL) {
        return -1;
    }
    zone->first = (int32_t) get32(types);
    for (size_t i = 0; i < zone->count; i++) {
        unsigned kind = (unsigned char) kinds[i];

        if (kind >= counts->types) {
            return -1;
        }
        zone->times[i] = get64(p + i * 8);
        zone->offsets[i] = (int32_t) get32(types + (size_t) kind * 6);
        if (i > 0 && zone->times[i] <= zone->times[i - 1]) {
            return -1;
        }
    }
    return 0;
}

/* A newline, the rule (or nothing), a newline. */
static int
read_footer(zone_t *zone, slice_t rest)
{
    char text[128];
    const char *end;
    size_t len;

    if (rest.len < 2 || *rest.data != '\n') {
        return -1;
    }
    end = memchr(rest.data + 1, '\n', rest.len - 1);
    if (end == NULL) {
        return -1;
    }
    len = (size_t) (end - rest.data - 1);
    if (len == 0) {
        return 0;
    }
    if (len >= sizeof(text)) {
        return -1;
    }
    memcpy(text, rest.data + 1, len);
    text[len] = '\0';
    return rule_read(text, &zone->rule);
}

static int
read_file(zone_t *zone, slice_t bytes)
{
    counts_t counts;
    size_t size;

    /* First the same with times of four bytes, for readers of old. */
    if (read_header(bytes, &counts) != 0) {
        return -1;
    }
    size = HEADER + block_size(&counts, 4);
    if (size > bytes.len) {
        return -1;
    }
    bytes.data += size;
    bytes.len -= size;
    if (read_header(bytes, &counts) != 0) {
        return -1;
    }
    size = HEADER + block_size(&counts, 8);
    if (size > bytes.len
        || read_times(zone, bytes.data + HEADER, &counts) != 0)
    {
        return -1;
    }
    return read_footer(zone,
        (slice_t) { bytes.data + size, bytes.len - size });
}

zone_t *
zone_parse(slice_t bytes)
{
    zone_t *zone = calloc(1, sizeof(*zone));

    if (zone != NULL && read_file(zone, bytes) != 0) {
        zone_free(zone);
        return NULL;
    }
    return zone;
}

void
zone_free(zone_t *zone)
{
    free(zone->times);
    free(zone->offsets);
    free(zone->name);
    free(zone);
}

int32_t
zone_offset(const zone_t *zone, int64_t time)
{
    size_t low = 0, high = zone->count;

    if (high > 0 && time < zone->times[0]) {
        return zone->first;
    }
    if (zone->rule.present
        && (high == 0 || time >= zone->times[high - 1]))
    {
        return rule_offset(&zone->rule, time);
    }
    if (high == 0) {
        return zone->first;
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (time >= zone->times[middle]) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return zone->offsets[low];
}

/* ---- by name ---- */

/* Letters, digits and "+-_/": no way out of the folder, no hidden files. */
static int
plausible_name(slice_t name)
{
    if (name.len == 0 || name.len >= NAME_BYTES || name.data[0] == '/') {
        return 0;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '_'
              || c == '/'))
        {
            return 0;
        }
    }
    return 1;
}

static zone_t *
load(slice_t name)
{
    char path[sizeof(ZONEINFO) + NAME_BYTES];
    char *bytes = malloc(FILE_MAX);
    zone_t *zone = NULL;
    FILE *file;
    size_t len;

    snprintf(path, sizeof(path), ZONEINFO "%.*s", (int) name.len, name.data);
    file = bytes != NULL ? fopen(path, "re") : NULL;
    if (file != NULL) {
        len = fread(bytes, 1, FILE_MAX, file);
        zone = zone_parse((slice_t) { bytes, len });
        fclose(file);
    }
    free(bytes);
    return zone;
}

const zone_t *
zone_find(slice_t name)
{
    zone_t *zone;

    if (!plausible_name(name)) {
        return NULL;
    }
    for (zone = zones; zone != NULL; zone = zone->next) {
        if (strlen(zone->name) == name.len
            && memcmp(zone->name, name.data, name.len) == 0)
        {
            return zone;
        }
    }

    zone = load(name);
    if (zone == NULL) {
        return NULL;
    }
    zone->name = strndup(name.data, name.len);
    if (zone->name == NULL) {
        zone_free(zone);
        return NULL;
    }
    zone->next = zones;
    zones = zone;
    return zone;
}
