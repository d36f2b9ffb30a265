/* value.h: a typed value on its way to the database. Borrows what it
 * points to until the query is done. */

#ifndef HIVE_VALUE_H
#define HIVE_VALUE_H

#include "common/slice.h"
#include "common/uuid.h"

#include <stdint.h>

typedef enum {
    VALUE_NULL,
    VALUE_BOOL,
    VALUE_INT,       /* int2, int4 or int8, as the statement has it */
    VALUE_FLOAT,
    VALUE_TEXT,
    VALUE_UUID,
    VALUE_TIME,      /* microseconds since 1970-01-01 UTC */
    VALUE_JSON,      /* text of a JSON document, for jsonb */
    VALUE_BYTES,
    VALUE_TEXTS,     /* text[]; an item without data is null */
    VALUE_UUIDS,     /* uuid[]; the zero uuid is null */
    VALUE_INTS,      /* int2[], int4[], int8[] or bool[]; see VALUE_INT_NULL */
    VALUE_TIMES,     /* timestamptz[]; 0 is null */
    VALUE_JSONS      /* jsonb[]; an item without data is null */
} value_type_t;

#define VALUE_INT_NULL INT64_MIN   /* null, as an item of VALUE_INTS */

typedef struct {
    value_type_t type;
    union {
        int boolean;
        int64_t integer;
        double real;
        slice_t text;             /* TEXT, JSON, BYTES */
        hive_uuid_t uuid;
        struct {
            const slice_t *items; /* TEXTS, JSONS */
            size_t count;
        } texts;
        struct {
            const hive_uuid_t *items;
            size_t count;
        } uuids;
        struct {
            const int64_t *items; /* INTS, TIMES */
            size_t count;
        } ints;
    } as;
} value_t;

static inline value_t
value_null(void)
{
    return (value_t) { .type = VALUE_NULL };
}

static inline value_t
value_bool(int boolean)
{
    return (value_t) { .type = VALUE_BOOL, .as.boolean = boolean };
}

static inline value_t
value_int(int64_t integer)
{
    return (value_t) { .type = VALUE_INT, .as.integer = integer };
}

static inline value_t
value_float(double real)
{
    return (value_t) { .type = VALUE_FLOAT, .as.real = real };
}

static inline value_t
value_text(slice_t text)
{
    return (value_t) { .type = VALUE_TEXT, .as.text = text };
}

static inline value_t
value_string(const char *string)
{
    return value_text((slice_t) { string, strlen(string) });
}

static inline value_t
value_uuid(hive_uuid_t uuid)
{
    return (value_t) { .type = VALUE_UUID, .as.uuid = uuid };
}

static inline value_t
value_time(int64_t microseconds)
{
    return (value_t) { .type = VALUE_TIME, .as.integer = microseconds };
}

static inline value_t
value_json(slice_t text)
{
    return (value_t) { .type = VALUE_JSON, .as.text = text };
}

static inline value_t
value_bytes(slice_t bytes)
{
    return (value_t) { .type = VALUE_BYTES, .as.text = bytes };
}

static inline value_t
value_texts(const slice_t *items, size_t count)
{
    return (value_t) { .type = VALUE_TEXTS, .as.texts = { items, count } };
}

static inline value_t
value_jsons(const slice_t *items, size_t count)
{
    return (value_t) { .type = VALUE_JSONS, .as.texts = { items, count } };
}

static inline value_t
value_uuids(const hive_uuid_t *items, size_t count)
{
    return (value_t) { .type = VALUE_UUIDS, .as.uuids = { items, count } };
}

static inline value_t
value_ints(const int64_t *items, size_t count)
{
    return (value_t) { .type = VALUE_INTS, .as.ints = { items, count } };
}

static inline value_t
value_times(const int64_t *items, size_t count)
{
    return (value_t) { .type = VALUE_TIMES, .as.ints = { items, count } };
}

#endif
