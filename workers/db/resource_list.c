/* resource_list.c: composing the statement of a list.
 *
 * A page begins behind the last row of the one before, by sort key and id, so
 * that an index serves it. With a sort key that may be NULL the rows behind
 * a place are two ranges of that index (NULLs sort as the greatest value):
 * ascending, what follows a value is the greater values and then the NULLs;
 * descending, what follows a NULL is the other NULLs and then the values.
 * These are two scans joined by "union all" and ordered again. Gathered lists
 * are made in resource_gather.c. */

#include "resource_compose.h"

#include <assert.h>

size_t
add_value(composing_t *composing, value_t value)
{
    composing->values[composing->count++] = value;
    return composing->count;
}

/* The first id of the milliseconds from that time on. */
static value_t
id_at(int64_t microseconds)
{
    int64_t milliseconds = microseconds / 1000 + (microseconds % 1000 > 0);
    hive_uuid_t id = { { 0 } };

    for (int i = 0; i < 6 && milliseconds > 0; i++) {
        id.bytes[i] = (uint8_t) (milliseconds >> (40 - 8 * i));
    }
    return value_uuid(id);
}

void
compose_filter(composing_t *composing, const filter_t *filter)
{
    const column_t *column = filter->column;
    const char *type = column_sql_type(column);
    buf_t *text = composing->text;

    if (column->guard != NULL) {
        buf_puts(text, " and ");
        sql_compose(column->guard, "t", text);
    }
    if (column->flags & OF_ID) {
        int after = filter->kind == FILTER_AFTER;

        buf_printf(text, " and t.id %s $%zu::uuid", after ? ">=" : "<",
            add_value(composing,
                id_at(filter->value.as.integer + after)));
        return;
    }
    if (filter->kind == FILTER_SET || filter->kind == FILTER_UNSET) {
        buf_printf(text, " and t.%s is %snull", column->name,
            filter->kind == FILTER_SET ? "not " : "");
        return;
    }
    if (column->shown != NULL && !composing->named) {
        buf_puts(text, " and ");
        sql_compose(column->shown, "t", text);
        buf_putc(text, ' ');
    } else {
        buf_printf(text, " and t.%s ", column->name);
    }
    switch (filter->kind) {
    case FILTER_ANY:
        buf_printf(text, "= any($%zu::text[]%s%s%s)",
            add_value(composing, filter->value),
            column->type == COLUMN_ENUM ? "" : "::",
            column->type == COLUMN_ENUM ? "" : type,
            column->type == COLUMN_ENUM ? "" : "[]");
        break;
    case FILTER_ALL:
        buf_printf(text, "@> $%zu::text[]",
            add_value(composing, filter->value));
        break;
    default:
        buf_printf(text, "%s $%zu::%s",
            filter->kind == FILTER_AFTER ? ">"
            : filter->kind == FILTER_BEFORE ? "<" : "=",
            add_value(composing, filter->value), type);
        break;
    }
}

/* The searched columns, joined in their order, are what the resource's GIN
 * index is over. The search is as on the web ("two words", or, -not), and its last word may
 * be the beginning of one, unless it is negated. A sub-select, or a generic
 * plan would parse it for each row. */
void
compose_search(composing_t *composing)
{
    const resource_t *resource = composing->list->resource;
    const char *between = "";

    if (composing->list->search.data == NULL) {
        return;
    }
    if (resource->search_guard != NULL) {
        buf_puts(composing->text, " and (");
        sql_compose(resource->search_guard, "t", composing->text);
        buf_putc(composing->text, ')');
    }
    buf_puts(composing->text, " and to_tsvector('simple', ");
    for (size_t i = 0; i < resource->ncolumns; i++) {
        if (resource->columns[i].flags & SEARCHED) {
            buf_printf(composing->text, "%st.%s", between,
                resource->columns[i].name);
            between = " || ' ' || ";
        }
    }
    buf_printf(composing->text,
        ") @@ (select regexp_replace("
        "websearch_to_tsquery('simple', $%zu::text)::text, "
        "'(^|[ (])(''[^'']+'')$', '\\1\\2:*')::tsquery)",
        add_value(composing, value_text(composing->list->search)));
}

static void
compose_where(composing_t *composing)
{
    const list_t *list = composing->list;

    buf_printf(composing->text, " from %s t where (%s)", composing->table,
        list->resource->viewer);
    for (size_t i = 0; i < list->nfilters; i++) {
        compose_filter(composing, &list->filters[i]);
    }
    compose_search(composing);
}

static void
compose_order(composing_t *composing)
{
    const char *direction = composing->list->descending ? " desc" : "";

    if (composing->limit == 0) {
        composing->limit = add_value(composing,
            value_int(composing->list->limit));
    }
    buf_printf(composing->text,
        " order by t.%s%s, t.id%s limit $%zu::bigint",
        composing->list->sort->name, direction, direction,
        composing->limit);
}

/* Behind the last row among those with a sort key, or without. */
static void
compose_behind(composing_t *composing)
{
    const list_t *list = composing->list;
    const char *sign = list->descending ? "<" : ">";
    const char *sort = list->sort->name;

    if (list->start == LIST_AFTER) {
        size_t key = add_value(composing, list->key);

        buf_printf(composing->text,
            " and (t.%s, t.id) %s ($%zu::%s, $%zu::uuid)", sort, sign, key,
            column_sql_type(list->sort),
            add_value(composing, value_uuid(list->id)));
    } else if (list->start == LIST_AFTER_NULL) {
        buf_printf(composing->text,
            " and t.%s is null and t.id %s $%zu::uuid", sort, sign,
            add_value(composing, value_uuid(list->id)));
    }
}

static void
compose_select(composing_t *composing)
{
    buf_puts(composing->text, "select ");
    columns_compose(composing->list->resource, "t", 1, composing->text);
}

/* Two ranges: the parameters of the first are named again in the second, so
 * its number is the same. */
static void
compose_two_ranges(composing_t *composing)
{
    const list_t *list = composing->list;
    composing_t again = *composing;
    buf_t *text = composing->text;

    buf_puts(text, "select * from ((");
    compose_select(composing);
    compose_where(composing);
    compose_behind(composing);
    compose_order(composing);
    buf_puts(text, ") union all (");
    compose_select(composing);
    compose_where(&again);
    buf_printf(text, " and t.%s is %snull", list->sort->name,
        list->start == LIST_AFTER ? "" : "not ");
    compose_order(composing);
    buf_puts(text, ")) t");
    compose_order(composing);
}

size_t
list_compose(const list_t *list, buf_t *text, value_t *values)
{
    composing_t composing = { list, text, values, 1, 0,
        list->resource->table, 0 };
    int nullable = (list->sort->flags & NULLABLE) != 0;

    assert(values[0].type == VALUE_UUID && list->resource->gathered == NULL);
    if (nullable
        && list->start == (list->descending ? LIST_AFTER_NULL : LIST_AFTER))
    {
        compose_two_ranges(&composing);
        return composing.count;
    }
    compose_select(&composing);
    compose_where(&composing);
    compose_behind(&composing);
    compose_order(&composing);
    return composing.count;
}

size_t
list_compose_count(const list_t *list, buf_t *text, value_t *values)
{
    const resource_t *resource = list->resource;
    composing_t start = { list, text, values, 1, 0, resource->table, 0 };
    composing_t composing = start;

    assert(values[0].type == VALUE_UUID);
    if (resource->ntables < 2) {
        buf_puts(text, "select count(*) as total");
        compose_where(&composing);
        return composing.count;
    }
    buf_puts(text, "select ");
    for (size_t i = 0; i < resource->ntables; i++) {
        composing = start;
        composing.table = resource->parts[i].table;
        buf_puts(text, i > 0 ? " + (select count(*)" : "(select count(*)");
        compose_where(&composing);
        buf_putc(text, ')');
    }
    buf_puts(text, " as total");
    return composing.count;
}
