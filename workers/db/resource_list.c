/* resource_list.c: composing the statement of a list.
 *
 * A page begins behind the last row of the one before, by sort key and id, so
 * that an index serves it. With a sort key that may be NULL the rows behind
 * a place are two ranges of that index (NULLs sort as the greatest value):
 * ascending, what follows a value is the greater values and then the NULLs;
 * descending, what follows a NULL is the other NULLs and then the values.
 * These are two scans joined by "union all" and ordered again.
 *
 * A gathered list (resource.h) is
 *
 *   select t.* from unnest($2) g (v) cross join lateral (
 *       select ... from table t where ... and t.state = g.v and ...
 *       order by t.id desc limit $5) t
 *   order by t.id desc limit $5
 *
 * and the parts of a resource joined by "union all". */

#include "resource_parts.h"

#include <assert.h>

/* Parameters in the order in which they are first named. */
typedef struct {
    const list_t *list;
    buf_t *text;
    value_t *values;
    size_t count;
    size_t limit;               /* the limit's number, 0 before it has one */
    const char *table;
    const column_t *gathered;   /* its value is g.v */
} composing_t;

static size_t
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

static void
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
    if (column->shown != NULL) {
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
static void
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
    if (composing->gathered != NULL) {
        buf_printf(composing->text, " and t.%s = g.v",
            composing->gathered->name);
    }
    for (size_t i = 0; i < list->nfilters; i++) {
        if (list->filters[i].column != composing->gathered) {
            compose_filter(composing, &list->filters[i]);
        }
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
    buf_puts(composing->text, " order by ");
    if (!(composing->list->sort->flags & OF_ID)) {
        buf_printf(composing->text, "t.%s%s, ", composing->list->sort->name,
            direction);
    }
    buf_printf(composing->text, "t.id%s limit $%zu::bigint", direction,
        composing->limit);
}

/* Behind the last row among those with a sort key, or without. */
static void
compose_behind(composing_t *composing)
{
    const list_t *list = composing->list;
    const char *sign = list->descending ? "<" : ">";
    const char *sort = list->sort->name;

    if (list->start == LIST_AFTER && list->sort->flags & OF_ID) {
        buf_printf(composing->text, " and t.id %s $%zu::uuid", sign,
            add_value(composing, value_uuid(list->id)));
    } else if (list->start == LIST_AFTER) {
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

/* ---- gathered lists ---- */

static const filter_t *
find_filter(const list_t *list, const char *name)
{
    for (size_t i = 0; i < list->nfilters; i++) {
        if (strcmp(list->filters[i].column->name, name) == 0) {
            return &list->filters[i];
        }
    }
    return NULL;
}

static const filter_t *
gathered_filter(const list_t *list)
{
    for (size_t i = 0; i < list->nfilters; i++) {
        if (list->filters[i].column->flags & GATHERED) {
            return &list->filters[i];
        }
    }
    return find_filter(list, list->resource->gathered);
}

static const column_t *
find_gathered(const resource_t *resource)
{
    size_t i = 0;

    while (strcmp(resource->columns[i].name, resource->gathered) != 0) {
        i++;
        assert(i < resource->ncolumns);
    }
    return &resource->columns[i];
}

static int
is_wanted(const filter_t *filter, slice_t value)
{
    if (filter == NULL) {
        return 1;
    }
    for (size_t i = 0; i < filter->value.as.texts.count; i++) {
        if (slice_equal(filter->value.as.texts.items[i], value)) {
            return 1;
        }
    }
    return 0;
}

static int
has_value(const part_t *part, const char *value)
{
    for (const char *const *own = part->values; *own != NULL; own++) {
        if (strcmp(*own, value) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Whether a view is the better way to these. */
static int
has_view(const resource_t *resource, const char *value)
{
    for (size_t i = resource->ntables; i < resource->nparts; i++) {
        if (has_value(&resource->parts[i], value)) {
            return 1;
        }
    }
    return 0;
}

/* Those of the part's values that the list wants, and has from there. */
static value_t
part_values(const list_t *list, const part_t *part, int viewed,
    arena_t *arena)
{
    const filter_t *filter = find_filter(list, list->resource->gathered);
    slice_t *items;
    size_t count = 0;

    while (part->values[count] != NULL) {
        count++;
    }
    items = arena_alloc(arena, (count + 1) * sizeof(*items));
    count = 0;
    for (const char *const *value = part->values; *value != NULL; value++) {
        items[count] = (slice_t) { *value, strlen(*value) };
        count += (size_t) (is_wanted(filter, items[count])
            && (!viewed || part->is_view
                || !has_view(list->resource, *value)));
    }
    return value_texts(items, count);
}

/* One part; `values`: the number of what it is gathered over. */
static void
compose_part(composing_t *composing, const part_t *part, size_t values)
{
    const column_t *gathered = composing->gathered;

    composing->table = part->table;
    buf_printf(composing->text,
        "select t.* from unnest($%zu::text[]%s%s%s) g (v)"
        " cross join lateral (", values,
        gathered->type == COLUMN_ENUM ? "" : "::",
        gathered->type == COLUMN_ENUM ? "" : column_sql_type(gathered),
        gathered->type == COLUMN_ENUM ? "" : "[]");
    compose_select(composing);
    compose_where(composing);
    compose_behind(composing);
    compose_order(composing);
    buf_puts(composing->text, ") t");
}

/* Every part names the same parameters in the same order, after those of
 * what it is gathered over. */
static void
compose_gathered(composing_t *composing)
{
    const list_t *list = composing->list;
    const resource_t *resource = list->resource;
    const filter_t *filter = gathered_filter(list);
    size_t numbers[PARTS_MAX] = { 0 }, wanted = 0;
    composing_t start;
    int viewed;

    assert(list->sort->flags & OF_ID && resource->nparts <= PARTS_MAX);
    composing->gathered = filter != NULL ? filter->column
                                         : find_gathered(resource);
    viewed = !(composing->gathered->flags & GATHERED);
    for (size_t i = 0; i < (viewed ? resource->nparts : resource->ntables);
         i++)
    {
        value_t values = part_values(list, &resource->parts[i], viewed,
            composing->text->arena);

        if (values.as.texts.count == 0) {
            continue;
        }
        if (!viewed) {
            values = filter->value;
        }
        numbers[i] = add_value(composing, values);
        wanted++;
    }
    start = *composing;
    buf_puts(composing->text, wanted > 1 ? "select * from ((" : "");
    for (size_t i = 0, n = 0; i < resource->nparts; i++) {
        if (numbers[i] == 0) {
            continue;
        }
        buf_puts(composing->text, n++ > 0 ? ") union all (" : "");
        *composing = start;
        compose_part(composing, &resource->parts[i], numbers[i]);
    }
    buf_puts(composing->text, wanted > 1 ? ")) t" : "");
    compose_order(composing);
}

size_t
list_compose(const list_t *list, buf_t *text, value_t *values)
{
    composing_t composing = { list, text, values, 1, 0,
        list->resource->table, NULL };
    int nullable = (list->sort->flags & NULLABLE) != 0;

    assert(values[0].type == VALUE_UUID);
    if (list->resource->gathered != NULL) {
        compose_gathered(&composing);
        return composing.count;
    }
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
    composing_t start = { list, text, values, 1, 0, resource->table, NULL };
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
