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
#define FILTERABLE 0x008  /* name=a,b; times also name_after=, name_before= */
#define SORTABLE   0x010  /* needs an index with id behind it */
#define SEARCHED   0x020  /* in the generated tsvector column `search` */
#define NULLABLE   0x040  /* null is a value it takes */
#define DETAIL     0x080  /* not in lists */

typedef struct {
    const char *name;
    column_type_t type;
    unsigned flags;
    int64_t min, max;           /* characters, value, or elements */
    const char *const *values;  /* COLUMN_ENUM, NULL-terminated */
    const char *fallback;       /* default when absent on create, JSON text */
} column_t;

typedef struct {
    const char *name;           /* "project": channel and codes */
    const char *table;          /* "projects" */
    const char *owner_column;   /* set to the caller on create */
    const char *viewer;         /* "t.owner_id = $1" */
    const char *editor;
    const column_t *columns;
    size_t ncolumns;
    const char *const *sorts;   /* e.g. "created_at", NULL-terminated */
    const char *default_sort;   /* "-created_at" */
} resource_t;

void resource_list(request_t *rq, const resource_t *resource);
void resource_create(request_t *rq, const resource_t *resource);
void resource_get(request_t *rq, const resource_t *resource);
void resource_update(request_t *rq, const resource_t *resource);
void resource_delete(request_t *rq, const resource_t *resource);

#endif
