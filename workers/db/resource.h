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
    COLUMN_JSON, COLUMN_ENUM, COLUMN_TEXTS,
    COLUMN_FLOAT           /* shown only */
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
#define OF_ID      0x100  /* a TIME that is the milliseconds of the id: sorts
                             and filters by it go by id */
#define GATHERED   0x200  /* a UUID with an index of it and id: see below */

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
    const char *shown;          /* what is shown, and filtered by, instead of
                                   the column: SQL in which @ is the table;
                                   NULL: itself */
    const char *guard;          /* goes with every filter by it, so that a
                                   partial index serves: SQL as above */
    int64_t element_max;        /* TEXTS: characters of one; 0: 200 */
    const char *key;            /* TEXT of a gathered list: a SQL function of
                                   the owner and the column's value; an index
                                   of what it returns and the id serves a
                                   filter by it */
} column_t;

/* One of the tables of a resource that has several, and the values of the
 * resource's `gathered` column that its rows have. Behind the tables come
 * views, each a better way to the rows of a table that have these values. */
typedef struct {
    const char *table;
    const char *const *values;  /* NULL-terminated */
} part_t;

#define PARTS_MAX 4

/* A patch replaces a JSON or TEXTS column whole.
 *
 * `columns` is every member of the JSON in its order, `id`, `version` and
 * the times included. A column that can be written, and is neither REQUIRED
 * nor NULLABLE, has a fallback.
 *
 * With `gathered`, lists are put together of the rows of each value of that
 * column, each in the order of an index of (owner, that column, id), so that
 * the newest of all states are found, or those of some, without an index for
 * either: resource_gather.c. A filter by one value of a GATHERED column, or one
 * that has a key, which have an index with id of their own, comes before that.
 * Such a list is of what the caller owns, and sorted by what is OF_ID. */
typedef struct {
    const char *name;           /* "project": channel and codes */
    const char *table;          /* "projects"; the first of the parts */
    const char *owner_column;   /* set to the caller on create */
    const char *viewer;         /* "t.owner_id = $1" */
    const char *editor;
    const column_t *columns;
    size_t ncolumns;
    const char *default_sort;   /* "-created_at" */
    const char *gathered;       /* an ENUM column; NULL: lists are plain */
    const part_t *parts;        /* with `gathered`: 1 to PARTS_MAX */
    size_t nparts;
    size_t ntables;             /* those of them that are no views */
    const char *search_guard;   /* as column_t.guard, of q= */
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

/* The row of that id as GET shows it, whichever part it is in; NULL when it
 * is absent or not for the caller. */
const db_row_t *resource_row(request_t *rq, const resource_t *resource,
    hive_uuid_t id);

/* The same, with a column `_offset`: the head of its channel at that moment. */
const db_row_t *resource_state(request_t *rq, const resource_t *resource,
    hive_uuid_t id);

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
