/* resource_gather.c: composing the statements of gathered lists.
 *
 * The rows are those of several ranges of an index (owner, state, id), one for
 * each state, which are merged by id:
 *
 *   with w as materialized (
 *       select * from (
 *           (select ... from tasks t
 *            where t.owner_id = any(array[$1]) and t.state = $2
 *            order by t.owner_id desc, t.id desc limit 300)
 *           union all ...
 *       ) t order by t.owner_id desc, t.id desc limit 300)
 *   select c.walked as _walked, c.last as _last, t.* from (...) c
 *   left join lateral (select ... from w t where <filters>
 *       order by t.id desc limit $5) t on true
 *
 * PostgreSQL merges them lazily, so that a window costs what it is wide. It is
 * an array of one element that the owner is compared to, and the owner is part
 * of the order, because the primary key has the order of ids too: walking that
 * and leaving out what is not the owner's looks cheap to a planner that knows
 * of few owners, and is not for the small ones among them. Windows are
 * constants: what is planned for them is planned once.
 *
 * Filters are applied to the window. Where it has too few matches the next is
 * as wide as their share of it asks for; where they are few in all, all of them
 * are looked up and sorted: at once when a filter has an index of its own
 * (words, labels), after a larger window when every row must be looked at. */

#include "resource_compose.h"

#include <assert.h>

/* ---- which filters do what ---- */

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

/* The filter by whose one value the rows are found; NULL: by owner. */
static const filter_t *
leading_filter(const list_t *list)
{
    const filter_t *keyed = NULL;

    for (size_t i = 0; i < list->nfilters; i++) {
        const filter_t *filter = &list->filters[i];

        if (filter->column->flags & GATHERED
            && filter->value.as.texts.count == 1)
        {
            return filter;
        }
        if (filter->column->key != NULL) {
            keyed = filter;
        }
    }
    return keyed;
}

static int
is_in_arms(const list_t *list, const filter_t *filter)
{
    return filter->column->flags & OF_ID || filter == leading_filter(list)
        || (leading_filter(list) == NULL
            && strcmp(filter->column->name, list->resource->gathered) == 0);
}

int
list_is_filtered(const list_t *list)
{
    for (size_t i = 0; i < list->nfilters; i++) {
        if (!is_in_arms(list, &list->filters[i])) {
            return 1;
        }
    }
    return list->search.data != NULL;
}

int
list_is_indexed(const list_t *list)
{
    for (size_t i = 0; i < list->nfilters; i++) {
        const filter_t *filter = &list->filters[i];

        if (filter->column->guard != NULL
            || (filter->column->flags & GATHERED
                && !is_in_arms(list, filter)))
        {
            return 1;
        }
    }
    return list->search.data != NULL;
}

static int
is_wanted(const filter_t *filter, const char *value)
{
    slice_t text = { value, strlen(value) };

    if (filter == NULL) {
        return 1;
    }
    for (size_t i = 0; i < filter->value.as.texts.count; i++) {
        if (slice_equal(filter->value.as.texts.items[i], text)) {
            return 1;
        }
    }
    return 0;
}

/* ---- pieces ---- */

static int
is_needed(const column_t *column)
{
    return !(column->flags & DETAIL)
        || column->flags & (FILTERABLE | SEARCHED);
}

/* The same types from every part, whatever domains they have of enums. */
static void
compose_columns(composing_t *composing, const char *lead)
{
    const resource_t *resource = composing->list->resource;

    buf_printf(composing->text, "select t.%s as _lead", lead);
    for (size_t i = 0; i < resource->ncolumns; i++) {
        const column_t *column = &resource->columns[i];

        if (!is_needed(column)) {
            continue;
        }
        buf_puts(composing->text, ", ");
        if (column->shown != NULL) {
            sql_compose(column->shown, "t", composing->text);
            buf_printf(composing->text, " as %s", column->name);
        } else {
            buf_printf(composing->text, "t.%s%s", column->name,
                column->type == COLUMN_ENUM ? "::text" : "");
        }
    }
    buf_printf(composing->text, " from %s t where ", composing->table);
}

/* What is shown, of columns that have their names already. */
static void
compose_shown(composing_t *composing)
{
    const resource_t *resource = composing->list->resource;
    const char *comma = "";

    for (size_t i = 0; i < resource->ncolumns; i++) {
        if (!(resource->columns[i].flags & DETAIL)) {
            buf_printf(composing->text, "%st.%s", comma,
                resource->columns[i].name);
            comma = ", ";
        }
    }
}

static const char *
direction(const composing_t *composing)
{
    return composing->list->descending ? " desc" : "";
}

static void
compose_order(composing_t *composing, const char *lead)
{
    if (lead != NULL) {
        buf_printf(composing->text, " order by t.%s%s, t.id%s", lead,
            direction(composing), direction(composing));
    } else {
        buf_printf(composing->text, " order by t.id%s",
            direction(composing));
    }
}

static void
compose_page(composing_t *composing)
{
    compose_order(composing, NULL);
    if (composing->limit == 0) {
        composing->limit = add_value(composing,
            value_int(composing->list->limit));
    }
    buf_printf(composing->text, " limit $%zu::bigint", composing->limit);
}

/* The rows that have the key of the caller and that value, and no condition
 * that they imply: a planner that thinks there are few of them sorts them. */
static void
compose_key(composing_t *composing, const filter_t *filter, size_t value)
{
    const char *key = filter->column->key;

    buf_printf(composing->text, "%s(t.%s, t.%s) = %s($1::uuid, $%zu::text)",
        key, composing->list->resource->owner_column, filter->column->name,
        key, value);
}

/* Times of the id, and the place of the last row before. */
static void
compose_bounds(composing_t *composing)
{
    const list_t *list = composing->list;

    for (size_t i = 0; i < list->nfilters; i++) {
        if (list->filters[i].column->flags & OF_ID) {
            compose_filter(composing, &list->filters[i]);
        }
    }
    if (list->start == LIST_AFTER) {
        buf_printf(composing->text, " and t.id %s $%zu::uuid",
            list->descending ? "<" : ">",
            add_value(composing, value_uuid(list->id)));
    }
}

static void
compose_filters(composing_t *composing)
{
    const list_t *list = composing->list;

    composing->named = 1;

    for (size_t i = 0; i < list->nfilters; i++) {
        if (!is_in_arms(list, &list->filters[i])
            || list->filters[i].column->key != NULL)
        {
            compose_filter(composing, &list->filters[i]);
        }
    }
    compose_search(composing);
}

/* ---- a window ---- */

typedef struct {
    const filter_t *keyed;       /* the filter, when it is by a key */
    const char *lead;            /* column */
    size_t lead_value;           /* number of its parameter */
    unsigned window;
    composing_t bounds;          /* where the parameters of bounds begin */
    unsigned count;              /* of arms so far */
} arms_t;

static void
compose_arm(composing_t *composing, arms_t *arms, const char *table,
    const char *value)
{
    size_t number = value == NULL ? 0
        : add_value(composing, value_string(value));
    size_t count = composing->count;

    buf_puts(composing->text, arms->count++ > 0 ? " union all (" : "(");
    composing->table = table;
    compose_columns(composing, arms->lead);
    if (arms->keyed != NULL) {
        compose_key(composing, arms->keyed, arms->lead_value);
    } else {
        buf_printf(composing->text, "t.%s = any(array[$%zu::uuid])",
            arms->lead, arms->lead_value);
        if (arms->lead_value > 1) {
            buf_printf(composing->text, " and (%s)",
                composing->list->resource->viewer);
        }
    }
    if (value != NULL) {
        buf_printf(composing->text, " and t.%s = $%zu::text",
            composing->list->resource->gathered, number);
    }
    composing->count = arms->bounds.count;
    compose_bounds(composing);
    composing->count = count;
    compose_order(composing, arms->keyed != NULL ? NULL : arms->lead);
    buf_printf(composing->text, " limit %u)", arms->window);
}

/* Bounds have the same parameters in every arm, before those of the arms. */
static void
reserve_bounds(composing_t *composing, arms_t *arms)
{
    size_t len = composing->text->len;

    arms->bounds = *composing;
    compose_bounds(composing);
    composing->text->len = len;
}

/* The view of the rows with that value, or their table. */
static const char *
table_of(const resource_t *resource, const part_t *part, const char *value)
{
    for (size_t i = resource->ntables; i < resource->nparts; i++) {
        for (const char *const *viewed = resource->parts[i].values;
             *viewed != NULL; viewed++)
        {
            if (strcmp(*viewed, value) == 0) {
                return resource->parts[i].table;
            }
        }
    }
    return part->table;
}

static void
compose_arms(composing_t *composing, arms_t *arms)
{
    const list_t *list = composing->list;
    const resource_t *resource = list->resource;
    const filter_t *lead = leading_filter(list);
    const filter_t *wanted = find_filter(list, resource->gathered);

    for (size_t i = 0; i < resource->ntables; i++) {
        const part_t *part = &resource->parts[i];
        const char *const *value = part->values;

        for (; *value != NULL; value++) {
            if (!is_wanted(wanted, *value)) {
                continue;
            }
            if (lead == NULL) {
                compose_arm(composing, arms,
                    table_of(resource, part, *value), *value);
            } else {
                compose_arm(composing, arms, part->table, NULL);
            }
            if (lead != NULL) {
                break;           /* one arm for all values */
            }
        }
    }
    assert(arms->count > 0 && arms->count <= GATHER_ARMS);
}

static void
compose_window(composing_t *composing, unsigned window)
{
    const list_t *list = composing->list;
    const filter_t *lead = leading_filter(list);
    arms_t arms = { .lead = list->resource->owner_column, .lead_value = 1,
        .window = window };

    if (lead != NULL && lead->column->key != NULL) {
        arms.keyed = lead;
        arms.lead_value = add_value(composing, lead->value);
    } else if (lead != NULL) {
        hive_uuid_t id = { { 0 } };
        slice_t text = lead->value.as.texts.items[0];

        uuid_parse(text.data, text.len, &id);
        arms.lead = lead->column->name;
        arms.lead_value = add_value(composing, value_uuid(id));
    }
    reserve_bounds(composing, &arms);
    buf_puts(composing->text,
        "with w as materialized (select * from (");
    compose_arms(composing, &arms);
    buf_puts(composing->text, ") t");
    compose_order(composing, arms.keyed != NULL ? NULL : "_lead");
    buf_printf(composing->text, " limit %u) select c.walked as _walked,"
        " c.last as _last, t.* from (select count(*) as walked, (select t.id"
        " from w t order by t.id%s limit 1) as last from w) c left join"
        " lateral (select ", window, list->descending ? "" : " desc");
    compose_shown(composing);
    buf_printf(composing->text, " from w t where %s",
        arms.keyed != NULL ? "t._lead = $1::uuid" : "true");
    compose_filters(composing);
    compose_page(composing);
    buf_puts(composing->text, ") t on true");
    compose_order(composing, NULL);
}

/* ---- the whole ---- */

static void
compose_whole(composing_t *composing)
{
    const list_t *list = composing->list;
    const resource_t *resource = list->resource;
    composing_t start = *composing;

    buf_puts(composing->text, "with w as materialized (");
    for (size_t i = 0; i < resource->ntables; i++) {
        *composing = start;
        composing->table = resource->parts[i].table;
        buf_puts(composing->text, i > 0 ? " union all " : "");
        compose_columns(composing, "id");
        buf_printf(composing->text, "(%s)", resource->viewer);
        compose_bounds(composing);
        for (size_t k = 0; k < list->nfilters; k++) {
            if (!(list->filters[k].column->flags & OF_ID)) {
                compose_filter(composing, &list->filters[k]);
            }
        }
        compose_search(composing);
    }
    buf_puts(composing->text, ") select ");
    compose_shown(composing);
    buf_puts(composing->text, " from w t");
    compose_page(composing);
}

size_t
list_gather(const list_t *list, gather_t how, unsigned window, buf_t *text,
    value_t *values)
{
    composing_t composing = { list, text, values, 1, 0, NULL, 0 };

    assert(values[0].type == VALUE_UUID && list->sort->flags & OF_ID
        && list->resource->nparts <= PARTS_MAX);
    if (how == GATHER_WINDOW) {
        compose_window(&composing, window);
    } else {
        compose_whole(&composing);
    }
    return composing.count;
}
