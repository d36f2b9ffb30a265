/* resource_query.c: reading the query of a list: page, sort, filters, search
 * and cursor, with every fault reported and none raised. */

#include "resource_parts.h"

#include <assert.h>

#define LIMIT_DEFAULT 20
#define LIMIT_MAX     100
#define SEARCH_MAX    200
#define ELEMENTS_MAX  100

typedef struct {
    report_t *report;
    list_t *list;
    int streamed;
    slice_t cursor;
    slice_t sort;
} reading_t;

static const column_t *
find_sort(const resource_t *resource, slice_t name, int *descending)
{
    *descending = name.len > 0 && *name.data == '-';
    name.data += *descending;
    name.len -= (size_t) *descending;
    for (size_t i = 0; i < resource->ncolumns; i++) {
        const column_t *column = &resource->columns[i];

        if (column->flags & SORTABLE
            && slice_equal(name, (slice_t) { column->name,
                   strlen(column->name) }))
        {
            return column;
        }
    }
    return NULL;
}

static void
read_sort(reading_t *reading)
{
    list_t *list = reading->list;
    slice_t name = reading->sort;

    if (name.data == NULL) {
        name = (slice_t) { list->resource->default_sort,
            strlen(list->resource->default_sort) };
    }
    list->sort = find_sort(list->resource, name, &list->descending);
    if (list->sort == NULL) {
        assert(reading->sort.data != NULL);
        report_invalid(reading->report, "sort", "unknown_sort",
            "a list of %s is not sorted by that", list->resource->table);
    }
}

static void
read_limit(reading_t *reading, slice_t text)
{
    int64_t limit;

    if (int_parse(text, &limit) != 0 || limit < 1 || limit > LIMIT_MAX) {
        report_invalid(reading->report, "limit", "out_of_range",
            "must be a number from 1 to %d", LIMIT_MAX);
        return;
    }
    reading->list->limit = limit;
}

static void
read_search(reading_t *reading, slice_t text)
{
    if (text.len == 0 || text.len > SEARCH_MAX) {
        report_invalid(reading->report, "q",
            text.len == 0 ? "too_short" : "too_long",
            "must have 1 to %d bytes", SEARCH_MAX);
        return;
    }
    reading->list->search = text;
}

/* Nonzero when the parameter is one of those that every list has. */
static int
read_general(reading_t *reading, const query_arg_t *arg)
{
    int paging = 1;

    if (slice_equal(arg->name, SLICE("sort"))) {
        reading->sort = arg->value;
        return 1;
    }
    if (slice_equal(arg->name, SLICE("limit"))) {
        read_limit(reading, arg->value);
    } else if (slice_equal(arg->name, SLICE("cursor"))) {
        reading->cursor = arg->value;
    } else if (slice_equal(arg->name, SLICE("count"))) {
        if (bool_parse(arg->value, &reading->list->counted) != 0) {
            report_invalid(reading->report, "count", "invalid_value",
                "must be true or false");
        }
    } else {
        paging = 0;
    }
    if (paging && reading->streamed) {
        report_invalid(reading->report,
            arena_strndup(reading->report->arena, arg->name.data,
                arg->name.len),
            "not_streamable", "does not go with application/x-ndjson");
    }
    return paging;
}

/* The stem of a time's filters: "created" of created_at. */
static slice_t
time_stem(const column_t *column)
{
    slice_t stem = { column->name, strlen(column->name) };

    if (stem.len > 3 && memcmp(stem.data + stem.len - 3, "_at", 3) == 0) {
        stem.len -= 3;
    }
    return stem;
}

static int
is_time_filter(const column_t *column, slice_t name, filter_kind_t *kind)
{
    slice_t stem = time_stem(column), rest;

    if (name.len < stem.len || memcmp(name.data, stem.data, stem.len) != 0) {
        return 0;
    }
    rest = (slice_t) { name.data + stem.len, name.len - stem.len };
    if (slice_equal(rest, SLICE("_after"))) {
        *kind = FILTER_AFTER;
        return 1;
    }
    if (slice_equal(rest, SLICE("_before"))) {
        *kind = FILTER_BEFORE;
        return 1;
    }
    *kind = FILTER_SET;
    return rest.len == 0 && column->flags & NULLABLE;
}

/* Nonzero when a parameter of that name filters by this column. */
static int
is_filter(const column_t *column, slice_t name, filter_kind_t *kind)
{
    if (!(column->flags & FILTERABLE)) {
        return 0;
    }
    if (column->type == COLUMN_TIME) {
        return is_time_filter(column, name, kind);
    }
    *kind = column->type == COLUMN_TEXTS ? FILTER_ALL
            : column->type == COLUMN_TEXT || column->type == COLUMN_BOOL
                ? FILTER_EQUAL : FILTER_ANY;
    return slice_equal(name, (slice_t) { column->name,
        strlen(column->name) });
}

/* "a,b" as an array, each element checked for the column's type. Numbers
 * and ids travel as text[] and are cast in the statement. */
static void
read_elements(report_t *report, const column_t *column, const char *field,
    slice_t text, value_t *out)
{
    slice_t *items = arena_alloc(report->arena,
        ELEMENTS_MAX * sizeof(*items));
    size_t count = 0;
    value_t checked;

    for (;;) {
        const char *comma = text.len > 0
                            ? memchr(text.data, ',', text.len) : NULL;
        slice_t item = { text.data,
            comma != NULL ? (size_t) (comma - text.data) : text.len };

        if (count == ELEMENTS_MAX) {
            report_invalid(report, field, "too_many",
                "must have at most %d elements", ELEMENTS_MAX);
            return;
        }
        if (value_from_text(report, column, field, item, &checked) != 0) {
            return;
        }
        items[count++] = item;
        if (comma == NULL) {
            break;
        }
        text.data += item.len + 1;
        text.len -= item.len + 1;
    }
    *out = (value_t) { .type = VALUE_TEXTS, .as.texts = { items, count } };
}

static void
read_presence(report_t *report, const char *field, slice_t text,
    filter_t *filter)
{
    int set;

    if (bool_parse(text, &set) != 0) {
        report_invalid(report, field, "invalid_value",
            "must be true or false");
        return;
    }
    filter->kind = set ? FILTER_SET : FILTER_UNSET;
}

static void
read_filter(reading_t *reading, const column_t *column, filter_kind_t kind,
    const query_arg_t *arg)
{
    report_t *report = reading->report;
    const char *field = arena_strndup(report->arena, arg->name.data,
        arg->name.len);
    filter_t *filter = &reading->list->filters[reading->list->nfilters++];

    *filter = (filter_t) { column, kind, value_null() };
    switch (kind) {
    case FILTER_SET:
    case FILTER_UNSET:
        read_presence(report, field, arg->value, filter);
        break;
    case FILTER_ANY:
    case FILTER_ALL:
        read_elements(report, column, field, arg->value, &filter->value);
        break;
    case FILTER_EQUAL:
    case FILTER_AFTER:
    case FILTER_BEFORE:
        value_from_text(report, column, field, arg->value, &filter->value);
        break;
    }
}

static int
is_searched(const resource_t *resource)
{
    for (size_t i = 0; i < resource->ncolumns; i++) {
        if (resource->columns[i].flags & SEARCHED) {
            return 1;
        }
    }
    return 0;
}

static void
read_arg(reading_t *reading, const query_arg_t *arg)
{
    const resource_t *resource = reading->list->resource;
    filter_kind_t kind;

    if (read_general(reading, arg)) {
        return;
    }
    if (slice_equal(arg->name, SLICE("q")) && is_searched(resource)) {
        read_search(reading, arg->value);
        return;
    }
    for (size_t i = 0; i < resource->ncolumns; i++) {
        if (is_filter(&resource->columns[i], arg->name, &kind)) {
            read_filter(reading, &resource->columns[i], kind, arg);
            return;
        }
    }
    report_invalid(reading->report,
        arena_strndup(reading->report->arena, arg->name.data, arg->name.len),
        "unknown_parameter", "a list of %s has no such parameter",
        resource->table);
}

/* One order, whatever the order in the query: one shape, one statement. */
static void
order_filters(list_t *list)
{
    for (size_t i = 1; i < list->nfilters; i++) {
        filter_t filter = list->filters[i];
        size_t k = i;

        for (; k > 0; k--) {
            const filter_t *before = &list->filters[k - 1];

            if (before->column < filter.column
                || (before->column == filter.column
                    && before->kind <= filter.kind))
            {
                break;
            }
            list->filters[k] = *before;
        }
        list->filters[k] = filter;
    }
}

/* ---- the cursor ---- */

static void
put_sized(buf_t *out, const void *data, size_t len)
{
    uint32_t size = (uint32_t) len;

    buf_put(out, &size, sizeof(size));
    if (len > 0) {
        buf_put(out, data, len);
    }
}

static void
put_value(buf_t *out, const value_t *value)
{
    switch (value->type) {
    case VALUE_TEXT:
        put_sized(out, value->as.text.data, value->as.text.len);
        return;
    case VALUE_TEXTS:
        buf_putc(out, (char) value->as.texts.count);
        for (size_t i = 0; i < value->as.texts.count; i++) {
            put_sized(out, value->as.texts.items[i].data,
                value->as.texts.items[i].len);
        }
        return;
    case VALUE_INT:
    case VALUE_TIME:
        buf_put(out, &value->as.integer, sizeof(value->as.integer));
        return;
    case VALUE_BOOL:
        buf_putc(out, (char) value->as.boolean);
        return;
    default:
        return;
    }
}

/* What a cursor is bound to. */
static uint64_t
list_shape(const list_t *list, arena_t *arena)
{
    buf_t bytes;

    buf_init(&bytes, arena, 256);
    put_sized(&bytes, list->resource->name, strlen(list->resource->name));
    put_sized(&bytes, list->sort->name, strlen(list->sort->name));
    buf_putc(&bytes, (char) list->sort->type);
    buf_putc(&bytes, (char) list->descending);
    put_sized(&bytes, list->search.data, list->search.len);
    for (size_t i = 0; i < list->nfilters; i++) {
        const filter_t *filter = &list->filters[i];

        put_sized(&bytes, filter->column->name,
            strlen(filter->column->name));
        buf_putc(&bytes, (char) filter->kind);
        put_value(&bytes, &filter->value);
    }
    return cursor_hash(bytes.data, bytes.len);
}

static int
key_value(const column_t *column, slice_t key, value_t *out)
{
    hive_uuid_t uuid;
    int64_t number;

    switch (column->type) {
    case COLUMN_INT:
    case COLUMN_TIME:
        if (key.len != sizeof(number)) {
            return -1;
        }
        memcpy(&number, key.data, sizeof(number));
        *out = column->type == COLUMN_INT ? value_int(number)
                                          : value_time(number);
        return 0;
    case COLUMN_UUID:
        if (key.len != sizeof(uuid.bytes)) {
            return -1;
        }
        memcpy(uuid.bytes, key.data, sizeof(uuid.bytes));
        *out = value_uuid(uuid);
        return 0;
    default:
        *out = value_text(key);
        return 0;
    }
}

/* The shape is looked at first: a key of another sort has another type. */
static cursor_fault_t
read_cursor(reading_t *reading, const cursor_t *cursor)
{
    list_t *list = reading->list;

    if (cursor->shape != list->shape) {
        return CURSOR_MISMATCH;
    }
    list->id = cursor->id;
    if (cursor->null) {
        list->start = LIST_AFTER_NULL;
        return list->sort->flags & NULLABLE ? CURSOR_OK : CURSOR_MISMATCH;
    }
    list->start = LIST_AFTER;
    return key_value(list->sort, cursor->key, &list->key) == 0
           ? CURSOR_OK : CURSOR_MISMATCH;
}

cursor_fault_t
list_read(report_t *report, const resource_t *resource,
    const query_arg_t *args, size_t nargs, int streamed, list_t *out)
{
    reading_t reading = { report, out, streamed, SLICE_NONE, SLICE_NONE };
    uint8_t *scratch = arena_alloc(report->arena, CURSOR_BYTES_MAX);
    cursor_t cursor;

    *out = (list_t) { .resource = resource, .limit = LIMIT_DEFAULT };
    out->filters = arena_alloc(report->arena,
        (nargs + 1) * sizeof(*out->filters));
    for (size_t i = 0; i < nargs; i++) {
        read_arg(&reading, &args[i]);
    }
    read_sort(&reading);
    order_filters(out);
    if (reading.cursor.data != NULL
        && cursor_decode(reading.cursor, scratch, &cursor) != 0)
    {
        return CURSOR_MALFORMED;
    }
    if (report->count > 0) {
        return CURSOR_OK;
    }
    out->shape = list_shape(out, report->arena);
    return reading.cursor.data != NULL ? read_cursor(&reading, &cursor)
                                       : CURSOR_OK;
}
