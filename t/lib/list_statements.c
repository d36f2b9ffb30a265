/* list_statements.c: prints every shape of statement that the resource engine
 * composes for the resources of the API, but for those that create, one JSON
 * object a line:
 *
 *   {"resource":"project","name":"sort=-created_at archived=false after",
 *    "sql":"select ...","types":["uuid",...],"values":["...",...]}
 *
 * The explain test prepares each and looks at its plan. Per sort, direction
 * and place (first page, behind a row): no filter, each filter alone, search
 * alone, and all at once. The values are samples of the right types; $1, the
 * caller, is null for the test to choose. Then "row TABLE" for each table of
 * one, and "delete". */

#include "workers/db/resource_parts.h"
#include "workers/work/work.h"

#include <stdio.h>

static const resource_t *const resources[] = { &project_resource,
    &workflow_resource, &run_resource, &schedule_resource, &task_resource };

static void
fault(void *arg, const char *field, const char *code, const char *message)
{
    (void) arg;
    fprintf(stderr, "list_statements: %s: %s: %s\n", field, code, message);
}

static const char *
sample(const column_t *column)
{
    switch (column->type) {
    case COLUMN_INT:
        return "1";
    case COLUMN_BOOL:
        return "true";
    case COLUMN_TIME:
        return "2026-01-31T12:00:00Z";
    case COLUMN_UUID:
        return "018f0000-0000-7000-8000-000000000001";
    case COLUMN_ENUM:
        return column->values[0];
    default:
        return "sample";
    }
}

static void
add_arg(query_arg_t *args, size_t *count, const char *name,
    const char *value)
{
    args[(*count)++] = (query_arg_t) { { name, strlen(name) },
        { value, strlen(value) } };
}

/* All parameters by which the resource can be filtered. */
static size_t
filter_args(const resource_t *resource, arena_t *arena, query_arg_t *args)
{
    size_t count = 0;
    int searched = 0;

    for (size_t i = 0; i < resource->ncolumns; i++) {
        const column_t *column = &resource->columns[i];
        int len = (int) strlen(column->name);

        searched |= column->flags & SEARCHED;
        if (!(column->flags & FILTERABLE)) {
            continue;
        }
        if (column->type != COLUMN_TIME) {
            add_arg(args, &count, column->name, sample(column));
            continue;
        }
        if (len > 3 && strcmp(column->name + len - 3, "_at") == 0) {
            len -= 3;
        }
        add_arg(args, &count,
            arena_printf(arena, "%.*s_after", len, column->name),
            sample(column));
        add_arg(args, &count,
            arena_printf(arena, "%.*s_before", len, column->name),
            sample(column));
        if (column->flags & NULLABLE) {
            add_arg(args, &count,
                arena_printf(arena, "%.*s", len, column->name), "false");
        }
    }
    if (searched) {
        add_arg(args, &count, "q", "sample");
    }
    return count;
}

static const char *
type_name(const value_t *value)
{
    static const char *const names[] = {
        [VALUE_NULL] = "uuid", [VALUE_BOOL] = "bool",
        [VALUE_INT] = "bigint", [VALUE_FLOAT] = "float8",
        [VALUE_TEXT] = "text", [VALUE_UUID] = "uuid",
        [VALUE_TIME] = "timestamptz", [VALUE_JSON] = "jsonb",
        [VALUE_BYTES] = "bytea", [VALUE_TEXTS] = "text[]",
        [VALUE_UUIDS] = "uuid[]"
    };

    return names[value->type];
}

static json_t *
value_text_of(const value_t *value)
{
    char uuid[UUID_TEXT];

    switch (value->type) {
    case VALUE_BOOL:
        return json_string(value->as.boolean ? "true" : "false");
    case VALUE_INT:
        return json_sprintf("%lld", (long long) value->as.integer);
    case VALUE_TIME:
        return json_string("2026-01-31T12:00:00Z");
    case VALUE_UUID:
        uuid_format(&value->as.uuid, uuid);
        return json_stringn(uuid, UUID_TEXT);
    case VALUE_TEXT:
        return json_stringn(value->as.text.data, value->as.text.len);
    case VALUE_TEXTS:
        return json_sprintf("{%.*s}", (int) value->as.texts.items[0].len,
            value->as.texts.items[0].data);
    default:
        return json_null();
    }
}

static void
print_statement(const char *resource, const char *name, const buf_t *text,
    const value_t *values, size_t count)
{
    json_t *types = json_array(), *texts = json_array();
    json_t *line;

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(types, json_string(type_name(&values[i])));
        json_array_append_new(texts, i == 0 ? json_null()
                                            : value_text_of(&values[i]));
    }
    line = json_pack("{s:s, s:s, s:s#, s:o, s:o}", "resource", resource,
        "name", name, "sql", text->data, (int) text->len, "types", types,
        "values", texts);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
}

static value_t
sample_key(const column_t *column)
{
    switch (column->type) {
    case COLUMN_INT:
        return value_int(1);
    case COLUMN_TIME:
        return value_time(0);
    case COLUMN_UUID:
        return value_uuid((hive_uuid_t) { { 0 } });
    default:
        return value_string("sample");
    }
}

static const char *
list_name(arena_t *arena, const query_arg_t *args, size_t count,
    const char *more)
{
    buf_t name;

    buf_init(&name, arena, 64);
    for (size_t i = 0; i < count; i++) {
        buf_printf(&name, "%s%.*s=%.*s", i > 0 ? " " : "",
            (int) args[i].name.len, args[i].name.data,
            (int) args[i].value.len, args[i].value.data);
    }
    buf_printf(&name, "%s%c", more, '\0');
    return name.data;
}

static void
print_gathered(const list_t *list, gather_t how, unsigned window,
    arena_t *arena, const char *name)
{
    value_t *values = arena_alloc(arena,
        GATHER_VALUES(list->nfilters) * sizeof(*values));
    size_t count;
    buf_t text;

    values[0] = value_uuid((hive_uuid_t) { { 0 } });
    buf_init(&text, arena, 1024);
    count = list_gather(list, how, window, &text, values);
    print_statement(list->resource->name, name, &text, values, count);
}

static void
print_gathered_list(list_t *list, arena_t *arena, const query_arg_t *args,
    size_t count)
{
    static const char *const starts[] = { "", " after" };

    for (int start = LIST_FIRST; start <= LIST_AFTER; start++) {
        list->start = (list_start_t) start;
        print_gathered(list, GATHER_WINDOW, 300, arena,
            list_name(arena, args, count, starts[start]));
    }
    if (list_is_indexed(list)) {
        print_gathered(list, GATHER_WHOLE, 0, arena,
            list_name(arena, args, count, " whole"));
    }
}

static void
print_list(const resource_t *resource, arena_t *arena,
    const query_arg_t *args, size_t count)
{
    static const char *const starts[] = { "", " after", " after null" };
    report_t report = { arena, fault, NULL, 0 };
    list_t list;

    list_read(&report, resource, args, count, 0, &list);
    if (report.count > 0) {
        return;
    }
    if (resource->gathered != NULL) {
        print_gathered_list(&list, arena, args, count);
        return;
    }
    for (int start = LIST_FIRST; start <= LIST_AFTER_NULL; start++) {
        value_t *values = arena_alloc(arena,
            LIST_VALUES(list.nfilters) * sizeof(*values));
        buf_t text;

        if (start == LIST_AFTER_NULL && !(list.sort->flags & NULLABLE)) {
            break;
        }
        list.start = (list_start_t) start;
        list.key = sample_key(list.sort);
        values[0] = value_uuid((hive_uuid_t) { { 0 } });
        buf_init(&text, arena, 1024);
        size_t nvalues = list_compose(&list, &text, values);

        print_statement(resource->name, list_name(arena, args, count,
            starts[start]), &text, values, nvalues);
    }
}

static void
print_row(const resource_t *resource, const char *table, arena_t *arena)
{
    const value_t values[] = { value_uuid((hive_uuid_t) { { 0 } }),
        value_uuid((hive_uuid_t) { { 0 } }) };
    buf_t text;

    buf_init(&text, arena, 1024);
    row_compose(resource, table, 0, &text);
    print_statement(resource->name, arena_printf(arena, "row %s", table),
        &text, values, 2);
}

/* What finds one row by its id; an update is guarded as a delete is. */
static void
print_rows(const resource_t *resource, arena_t *arena)
{
    slice_t version = SLICE("1");
    const value_t values[] = { value_uuid((hive_uuid_t) { { 0 } }),
        value_uuid((hive_uuid_t) { { 0 } }), value_texts(&version, 1) };
    buf_t text;

    print_row(resource, resource->table, arena);
    for (size_t i = 0; i < resource->ntables; i++) {
        print_row(resource, resource->parts[i].table, arena);
    }
    if (resource->ntables == 0) {
        buf_init(&text, arena, 1024);
        delete_compose(resource, &text);
        print_statement(resource->name, "delete", &text, values, 3);
    }
}

static void
print_resource(const resource_t *resource, arena_t *arena)
{
    query_arg_t *filters = arena_alloc(arena,
        (resource->ncolumns * 3 + 1) * sizeof(*filters));
    query_arg_t *args = arena_alloc(arena,
        (resource->ncolumns * 3 + 2) * sizeof(*args));
    size_t nfilters = filter_args(resource, arena, filters);

    for (size_t i = 0; i < 2 * resource->ncolumns; i++) {
        const column_t *column = &resource->columns[i / 2];
        size_t first = 0;

        if (!(column->flags & SORTABLE)) {
            continue;
        }
        add_arg(args, &first, "sort",
            arena_printf(arena, "%s%s", i % 2 ? "-" : "", column->name));
        print_list(resource, arena, args, 1);
        for (size_t k = 0; k < nfilters; k++) {
            args[1] = filters[k];
            print_list(resource, arena, args, 2);
        }
        memcpy(args + 1, filters, nfilters * sizeof(*args));
        print_list(resource, arena, args, nfilters + 1);
    }
}

int
main(void)
{
    arena_t *arena = arena_new();

    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
        print_resource(resources[i], arena);
        print_rows(resources[i], arena);
    }
    arena_free(arena);
    return 0;
}
