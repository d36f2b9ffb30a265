/* resource_parts.h: the inside of the resource engine: reading input into
 * typed values, and composing statements. None of it needs a database or a
 * request, so the unit tests reach it here. */

#ifndef HIVE_RESOURCE_PARTS_H
#define HIVE_RESOURCE_PARTS_H

#include "cursor.h"
#include "resource.h"

/* ---- input (resource_value.c, resource_time.c) ---- */

/* Where faults of the input go; all are collected, then raised together.
 * `field` and `message` live in the arena, `code` is static. */
typedef struct {
    arena_t *arena;
    void (*fn)(void *arg, const char *field, const char *code,
        const char *message);
    void *arg;
    unsigned count;
} report_t;

void report_invalid(report_t *report, const char *field, const char *code,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

typedef struct {
    const column_t *column;
    value_t value;
} assignment_t;

/* Reads a body into assignments in the order of the columns; `out` has room
 * for ncolumns. Creating: every writable column is assigned, by its default
 * when absent. Updating (JSON merge patch): those that were given; null
 * means the default, or NULL. Values point into `body`. */
size_t assignments_read(report_t *report, const resource_t *resource,
    json_t *body, int creating, assignment_t *out);

/* One text of a query parameter, for a column's type (the element's, of
 * TEXTS). 0, or -1 reported. */
int value_from_text(report_t *report, const column_t *column,
    const char *field, slice_t text, value_t *out);

/* One member of a body, for a column's type and bounds. 0, or -1 reported.
 * Points into `json`. */
int value_from_json(report_t *report, const column_t *column,
    const char *field, const json_t *json, value_t *out);

int int_parse(slice_t text, int64_t *out);
int bool_parse(slice_t text, int *out);

/* RFC 3339 with an offset, years 0001 to 9999, to microseconds since 1970;
 * more digits are cut. 0 or -1. */
int time_parse(slice_t text, int64_t *out);

/* ---- lists (resource_query.c, resource_list.c) ---- */

typedef enum {
    FILTER_EQUAL, FILTER_ANY, FILTER_ALL, FILTER_AFTER, FILTER_BEFORE,
    FILTER_SET, FILTER_UNSET
} filter_kind_t;

typedef struct {
    const column_t *column;
    filter_kind_t kind;
    value_t value;
} filter_t;

typedef enum { LIST_FIRST, LIST_AFTER, LIST_AFTER_NULL } list_start_t;

typedef struct {
    const resource_t *resource;
    const column_t *sort;
    int descending;
    int64_t limit;
    int counted;               /* count=true */
    slice_t search;            /* data NULL: none */
    filter_t *filters;         /* in the order of columns and kinds */
    size_t nfilters;
    uint64_t shape;            /* of all above but limit and counted */
    list_start_t start;
    value_t key;               /* LIST_AFTER: that row's sort key */
    hive_uuid_t id;
} list_t;

typedef enum { CURSOR_OK, CURSOR_MALFORMED, CURSOR_MISMATCH } cursor_fault_t;

/* Reads the query of a list. `streamed`: limit, cursor and count are
 * refused. When something was reported `out` is not to be used. */
cursor_fault_t list_read(report_t *report, const resource_t *resource,
    const query_arg_t *args, size_t nargs, int streamed, list_t *out);

/* The rows of a page (`limit` of them), and how many there are without
 * pages. The values go with the text: room for LIST_VALUES(nfilters). */
#define LIST_VALUES(nfilters) ((nfilters) + 5)
size_t list_compose(const list_t *list, buf_t *text, value_t *values);
size_t list_compose_count(const list_t *list, buf_t *text, value_t *values);

/* Gathered lists (resource_gather.c): the next part of one, from the list's
 * start on, up to its `limit`.
 *
 *   WINDOW  looks at no more than `window` rows: row `_walked` says at how
 *           many, `_last` is the id of the last of them, by which the next
 *           part begins. There is always a row; when nothing matches its id is
 *           NULL.
 *   WHOLE   all that match are found, then sorted */
typedef enum { GATHER_WINDOW, GATHER_WHOLE } gather_t;

#define GATHER_VALUES(nfilters) ((nfilters) + 5 + GATHER_ARMS)
#define GATHER_ARMS 16
size_t list_gather(const list_t *list, gather_t how, unsigned window,
    buf_t *text, value_t *values);

/* Whether rows of a window may be left out by a filter, and whether an index
 * of its own serves one of those filters. */
int list_is_filtered(const list_t *list);
int list_is_indexed(const list_t *list);

/* ---- changes (resource_change.c) ----
 * Parameters: $1 caller, $2 id, then for update and delete $3 the versions
 * of If-Match, then the assignments. */

void create_compose(const resource_t *resource,
    const assignment_t *assignments, size_t count, buf_t *text);
void update_compose(const resource_t *resource,
    const assignment_t *assignments, size_t count, buf_t *text);
void delete_compose(const resource_t *resource, buf_t *text);

/* ---- shared (resource.c) ---- */

/* One row of `table`: $1 caller, $2 id. `offset`: with its channel's head. */
void row_compose(const resource_t *resource, const char *table, int offset,
    buf_t *text);

/* "a.id, a.name, ..."; `listed` leaves DETAIL columns out. What is shown
 * instead of a column has its name. */
void columns_compose(const resource_t *resource, const char *alias,
    int listed, buf_t *text);

/* SQL of a descriptor with the alias in place of each @. */
void sql_compose(const char *sql, const char *alias, buf_t *text);

/* Faults to rq_invalid. */
report_t report_to(request_t *rq);

/* "timestamptz" for a column's values, "text" for an enum's. */
const char *column_sql_type(const column_t *column);

/* The entity tags of an If-Match or If-None-Match: the number of tags
 * written to `out` (their text between the quotes), TAGS_ANY for "*", or
 * TAGS_MALFORMED. With `weak_too`, weak ones count as well. */
#define TAGS_MAX       16
#define TAGS_ANY       (-1)
#define TAGS_MALFORMED (-2)
int tags_parse(slice_t header, int weak_too, slice_t out[TAGS_MAX]);

#endif
