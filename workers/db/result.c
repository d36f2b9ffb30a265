/* result.c: rows as handlers read them.
 *
 * A result is a view of libpq's, which stays as it came (binary) and is
 * cleared with the request's arena. Fields are decoded where they are read;
 * formats are those of the server's *send functions
 * (src/backend/utils/adt). */

#include "internal.h"

#include "workers/runtime/log.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#define EPOCH_2000_US INT64_C(946684800000000)  /* in us since 1970 */
#define OID_JSONB 3802

static const struct {
    uint32_t oid;
    db_type_t type;
} column_types[] = {
    { 2950, DB_UUID }, { 25, DB_TEXT }, { 20, DB_INT }, { 1184, DB_TIME },
    { OID_JSONB, DB_JSON }, { 16, DB_BOOL }, { 23, DB_INT }, { 21, DB_INT },
    { 701, DB_FLOAT }, { 700, DB_FLOAT }, { 17, DB_BYTES },
    { 1009, DB_TEXTS }, { 1043, DB_TEXT }, { 1042, DB_TEXT },
    { 19, DB_TEXT }, { 114, DB_JSON }, { 2278, DB_TEXT /* void */ }
};

int
column_type(uint32_t oid, db_type_t *out)
{
    size_t i;

    for (i = 0; i < sizeof(column_types) / sizeof(column_types[0]); i++) {
        if (column_types[i].oid == oid) {
            *out = column_types[i].type;
            return 0;
        }
    }
    return -1;
}

typedef struct {
    db_result_t result;
    shape_t *shape;
} held_t;

static void
result_release(void *arg)
{
    held_t *held = arg;

    PQclear(held->result.pg);
    shape_release(held->shape);
}

db_result_t *
result_new(arena_t *arena, PGresult *pg, shape_t *shape)
{
    held_t *held = arena_alloc(arena, sizeof(*held));
    db_result_t *result = &held->result;

    held->shape = shape;
    result->ncolumns = shape == NULL ? 0 : shape->ncolumns;
    result->columns = shape == NULL ? NULL : shape->columns;
    result->nrows = shape == NULL ? 0 : PQntuples(pg);
    result->violation = DB_OK;
    result->constraint = "";
    result->message = "";
    result->pg = pg;
    arena_cleanup(arena, result_release, held);
    return result;
}

void
db_release(const db_result_t *result)
{
    held_t *held = (held_t *) (uintptr_t) result;

    PQclear(held->result.pg);
    held->result.pg = NULL;
    held->result.nrows = 0;
}

db_violation_t
result_violation(const char *sqlstate)
{
    if (strcmp(sqlstate, "23505") == 0) {
        return DB_UNIQUE;
    }
    if (strcmp(sqlstate, "23503") == 0) {
        return DB_FOREIGN_KEY;
    }
    if (strcmp(sqlstate, "23514") == 0 || strcmp(sqlstate, "23502") == 0
        || strncmp(sqlstate, "22", 2) == 0) {
        return DB_CHECK;
    }
    if (strcmp(sqlstate, "P0001") == 0 || strncmp(sqlstate, "HV", 2) == 0) {
        return DB_REFUSED;
    }
    return DB_OK;
}

db_row_t
db_row_at(const db_result_t *result, int index)
{
    assert(index >= 0 && index < result->nrows);
    return (db_row_t) { result, index };
}

const db_result_t *
db_expect_rows(request_t *rq, const db_result_t *result)
{
    if (result->violation != DB_OK) {
        rq_raise(rq, 409, "conflict",
                 "the change conflicts with the state of the resource");
    }
    return result;
}

const db_row_t *
db_first_row(request_t *rq, const db_result_t *result)
{
    db_row_t *row;

    db_expect_rows(rq, result);
    if (result->nrows == 0) {
        return NULL;
    }
    row = arena_alloc(rq->arena, sizeof(*row));
    *row = db_row_at(result, 0);
    return row;
}

int
db_column(const db_result_t *result, const char *name)
{
    int i;

    for (i = 0; i < result->ncolumns; i++) {
        if (strcmp(result->columns[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

int
db_is_null(const db_row_t *row, int column)
{
    assert(column >= 0 && column < row->result->ncolumns);
    return PQgetisnull(row->result->pg, row->index, column);
}

/* The field's bytes; data NULL for null. */
static slice_t
field_of(const db_row_t *row, int column)
{
    PGresult *pg = row->result->pg;

    if (PQgetisnull(pg, row->index, column)) {
        return SLICE_NONE;
    }
    return (slice_t) { PQgetvalue(pg, row->index, column),
                       (size_t) PQgetlength(pg, row->index, column) };
}

static int
column_of(const db_row_t *row, const char *name, unsigned types)
{
    int column = db_column(row->result, name);

    if (column < 0 || !(types >> row->result->columns[column].type & 1)) {
        log_error("column \"%s\" is %s", name,
                  column < 0 ? "not in the result" : "of another type");
        abort();
    }
    return column;
}

int64_t
field_int(slice_t field)
{
    uint64_t v8;
    uint32_t v4;
    uint16_t v2;

    switch (field.len) {
    case 8:
        memcpy(&v8, field.data, 8);
        return (int64_t) be64toh(v8);
    case 4:
        memcpy(&v4, field.data, 4);
        return (int32_t) ntohl(v4);
    case 2:
        memcpy(&v2, field.data, 2);
        return (int16_t) ntohs(v2);
    default:
        return 0;
    }
}

double
field_float(slice_t field)
{
    union { uint64_t bits; double value; } v8;
    union { uint32_t bits; float value; } v4;

    if (field.len == 8) {
        v8.bits = (uint64_t) field_int(field);
        return v8.value;
    }
    v4.bits = (uint32_t) field_int(field);
    return (double) v4.value;
}

/* -infinity and infinity stay what they are, the ends of the range. */
int64_t
field_time(slice_t field)
{
    int64_t us = field_int(field);

    return us > INT64_MAX - EPOCH_2000_US || us == INT64_MIN
        ? us : us + EPOCH_2000_US;
}

/* jsonb begins with the version of its format, 1. */
slice_t
field_json(const db_column_t *column, slice_t field)
{
    if (column->oid == OID_JSONB && field.len > 0) {
        field.data++;
        field.len--;
    }
    return field;
}

int64_t
db_int(const db_row_t *row, const char *column)
{
    slice_t field = field_of(row, column_of(row, column, 1u << DB_INT));

    return field.data == NULL ? 0 : field_int(field);
}

int
db_bool(const db_row_t *row, const char *column)
{
    slice_t field = field_of(row, column_of(row, column, 1u << DB_BOOL));

    return field.data != NULL && field.data[0] != 0;
}

slice_t
db_text(const db_row_t *row, const char *column)
{
    int index = column_of(row, column,
                          1u << DB_TEXT | 1u << DB_JSON | 1u << DB_BYTES);
    slice_t field = field_of(row, index);

    if (field.data == NULL) {
        return SLICE("");
    }
    if (row->result->columns[index].type == DB_JSON) {
        return field_json(&row->result->columns[index], field);
    }
    return field;
}

hive_uuid_t
db_uuid(const db_row_t *row, const char *column)
{
    slice_t field = field_of(row, column_of(row, column, 1u << DB_UUID));
    hive_uuid_t uuid = { { 0 } };

    if (field.len == sizeof(uuid.bytes)) {
        memcpy(uuid.bytes, field.data, sizeof(uuid.bytes));
    }
    return uuid;
}

int64_t
db_time(const db_row_t *row, const char *column)
{
    slice_t field = field_of(row, column_of(row, column, 1u << DB_TIME));

    return field.data == NULL ? 0 : field_time(field);
}

static uint32_t
read_u32(const char *data)
{
    uint32_t v;

    memcpy(&v, data, sizeof(v));
    return ntohl(v);
}

/* int32 dimensions, flags, element type; int32 length and lower bound of
 * each dimension; then the items, each behind its length (-1: null). */
void
array_reader_init(array_reader_t *reader, slice_t array)
{
    uint32_t dimensions, i;

    reader->pos = reader->end = array.data;
    reader->left = 0;
    if (array.len < 12) {
        return;
    }
    dimensions = read_u32(array.data);
    if (dimensions == 0 || (array.len - 12) / 8 < dimensions) {
        return;
    }
    reader->left = 1;
    for (i = 0; i < dimensions; i++) {
        reader->left *= read_u32(array.data + 12 + 8 * i);
    }
    reader->pos = array.data + 12 + 8 * (size_t) dimensions;
    reader->end = array.data + array.len;
}

int
array_reader_next(array_reader_t *reader, slice_t *item)
{
    uint32_t len;

    if (reader->left == 0 || reader->end - reader->pos < 4) {
        return 0;
    }
    reader->left--;
    len = read_u32(reader->pos);
    reader->pos += 4;
    if (len == UINT32_MAX) {
        return -1;
    }
    if (len > (size_t) (reader->end - reader->pos)) {
        reader->left = 0;
        return 0;
    }
    *item = (slice_t) { reader->pos, len };
    reader->pos += len;
    return 1;
}

void
db_reply_row(request_t *rq, int status, const db_row_t *row)
{
    const db_result_t *result = row->result;
    char *etag = NULL;
    buf_t body;

    if (db_column(result, "_etag") >= 0) {
        slice_t text = db_text(row, "_etag");

        etag = arena_printf(rq->arena, "\"%.*s\"", (int) text.len, text.data);
    } else if (db_column(result, "version") >= 0) {
        etag = arena_printf(rq->arena, "\"%lld\"",
                            (long long) db_int(row, "version"));
    }
    if (etag != NULL) {
        rq_reply_header(rq, "etag", (slice_t) { etag, strlen(etag) });
    }
    buf_init(&body, rq->arena, 512);
    db_json_row(&body, row);
    rq_reply(rq, status, buf_slice(&body));
}
