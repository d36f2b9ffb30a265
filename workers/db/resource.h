/* resource.h: the generic resource engine. A resource that is only rows is a
 * table of columns; from it come validation, create, read, list, update,
 * delete, filters, sort, search, keyset cursors, counts, ETag and If-Match.
 *
 * Conventions (design/api.md): the table has `id uuid` (made here, UUIDv7),
 * `created_at`, `updated_at` (timestamptz), `version bigint` (the ETag,
 * strong, bumped by each change) and `event_seq bigint` (the offset of its
 * channel `<name>:<id>`, bumped by the statement that changes the row, which
 * also appends the event to `events`). Access is in the statement itself: the
 * `viewer` and `editor` predicates are SQL over alias `t` and the caller $1.
 *
 * SQL text is composed from these descriptors only; input never becomes
 * text, only parameters. The same shape gives the same text, so statements
 * are prepared once. */

#ifndef HIVE_RESOURCE_H
#define HIVE_RESOURCE_H

#include "db.h"

typedef enum {
    COLUMN_TEXT, COLUMN_INT, COLUMN_BOOL, COLUMN_TIME, COLUMN_UUID,
    COLUMN_JSON, COLUMN_ENUM, COLUMN_TEXTS
} column_type_t;

#define REQUIRED   0x001  /* on create */
#define WRITABLE   0x002  /* on create and update */
#define CREATE_ONLY 0x004 /* on create */
#define FILTERABLE 0x008  /* see below */
#define SORTABLE   0x010  /* sort=name, sort=-name; needs an index with id
                             behind it; TEXT, ENUM, INT, TIME or UUID */
#define SEARCHED   0x020  /* q=; the table has a GIN index over
                             to_tsvector('simple', a || ' ' || b) of these */
#define NULLABLE   0x040  /* null is a value it takes */
#define DETAIL     0x080  /* not in lists */

/* Filters, by type:
 *   TEXT         name=the whole text
 *   ENUM, INT,
 *   UUID         name=a,b: any of them
 *   BOOL         name=true|false
 *   TEXTS        name=a,b: has all of them
 *   TIME         created_at: created_after=, created_before= (exclusive);
 *                when NULLABLE also archived=true|false (archived_at is set)
 *
 * Where a sort key is NULL the row sorts as PostgreSQL has it: after all
 * others ascending, before them descending. */
typedef struct {
    const char *name;
    column_type_t type;
    unsigned flags;
    int64_t min, max;           /* TEXT: characters, max at most 400 when
                                   SORTABLE; INT: value, 0 and 0 no limit;
                                   TEXTS: elements; JSON: max bytes */
    const char *const *values;  /* COLUMN_ENUM, NULL-terminated */
    const char *fallback;       /* default when absent on create, JSON text */
} column_t;

/* A patch replaces a JSON or TEXTS column whole.
 *
 * `columns` is every member of the JSON in its order, `id`, `version` and
 * the times included. A column that can be written, and is neither REQUIRED
 * nor NULLABLE, has a fallback. */
typedef struct {
    const char *name;           /* "project": channel and codes */
    const char *table;          /* "projects" */
    const char *owner_column;   /* set to the caller on create */
    const char *viewer;         /* "t.owner_id = $1" */
    const char *editor;
    const column_t *columns;
    size_t ncolumns;
    const char *default_sort;   /* "-created_at" */
} resource_t;

/* At start: the cell that new ids carry, and a secret common to all workers
 * (of which cursors are authenticated). */
void resource_init(unsigned cell, slice_t secret);

/* Whole handlers. `id` is the first path parameter. Lists answer
 * `Accept: application/x-ndjson` with a stream of every matching row. */
void resource_list(request_t *rq, const resource_t *resource);
void resource_create(request_t *rq, const resource_t *resource);
void resource_get(request_t *rq, const resource_t *resource);
void resource_update(request_t *rq, const resource_t *resource);
void resource_delete(request_t *rq, const resource_t *resource);

/* ---- for plain handlers beside the engine ---- */

hive_uuid_t resource_new_id(void);

/* What If-Match asks for, as a parameter for
 *     ($3::text[] is null or t.version::text = any($3::text[]))
 * NULL when absent or "*". Raises 400 "malformed_if_match". */
value_t resource_if_match(request_t *rq);

/* Nonzero when that version is one of those, or any will do. */
int resource_matches(const value_t *if_match, int64_t version);

/* Replies with a row that has `version`: 200 with the row and its ETag, or
 * 304 when If-None-Match names this version. */
void resource_reply(request_t *rq, const db_row_t *row);

void resource_set_etag(request_t *rq, int64_t version);

/* Sets the ETag; nonzero after replying 304, when If-None-Match names this
 * version. */
int resource_not_modified(request_t *rq, int64_t version);

/* Raises 404 "<name>_not_found". */
__attribute__((noreturn))
void resource_raise_missing(request_t *rq, const resource_t *resource);

/* A change found no row: looks why, and raises 404 "<name>_not_found", 403
 * "forbidden" (a viewer, not an editor), 412 "version_mismatch" or, when
 * someone else's change came between, 409 "conflict". */
__attribute__((noreturn))
void resource_refuse(request_t *rq, const resource_t *resource,
    hive_uuid_t id);

/* Levels of nesting, 0 for a scalar; stops counting above `limit`. What is
 * kept as jsonb has at most JSON_DEPTH_LIMIT. */
#define JSON_DEPTH_LIMIT 32
unsigned json_depth(const json_t *json, unsigned limit);

#endif
