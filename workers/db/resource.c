/* resource.c: what the parts of the engine share: names, versions and their
 * tags, reading one row, and why a change found none. */

#include "resource_parts.h"

#include <inttypes.h>
#include <stdio.h>

static unsigned cell_number;

void
resource_init(unsigned cell, slice_t secret)
{
    cell_number = cell;
    cursor_init(secret);
}

hive_uuid_t
resource_new_id(void)
{
    hive_uuid_t id;

    uuid_v7(&id, cell_number);
    return id;
}

void
sql_compose(const char *sql, const char *alias, buf_t *text)
{
    const char *at;

    while ((at = strchr(sql, '@')) != NULL) {
        buf_put(text, sql, (size_t) (at - sql));
        buf_puts(text, alias);
        sql = at + 1;
    }
    buf_puts(text, sql);
}

void
columns_compose(const resource_t *resource, const char *alias, int listed,
    buf_t *text)
{
    const char *comma = "";

    for (size_t i = 0; i < resource->ncolumns; i++) {
        const column_t *column = &resource->columns[i];

        if (listed && column->flags & DETAIL) {
            continue;
        }
        buf_puts(text, comma);
        comma = ", ";
        if (column->shown != NULL) {
            sql_compose(column->shown, alias, text);
            buf_puts(text, " as ");
        } else {
            buf_puts(text, alias);
            buf_putc(text, '.');
        }
        buf_puts(text, column->name);
    }
}

const char *
column_sql_type(const column_t *column)
{
    static const char *const types[] = {
        [COLUMN_TEXT] = "text",
        [COLUMN_INT] = "bigint",
        [COLUMN_BOOL] = "bool",
        [COLUMN_TIME] = "timestamptz",
        [COLUMN_UUID] = "uuid",
        [COLUMN_JSON] = "jsonb",
        [COLUMN_ENUM] = "text",
        [COLUMN_TEXTS] = "text[]",
        [COLUMN_FLOAT] = "float8",
    };

    return types[column->type];
}

static void
report_to_request(void *arg, const char *field, const char *code,
    const char *message)
{
    rq_invalid(arg, field, code, "%s", message);
}

report_t
report_to(request_t *rq)
{
    return (report_t) { rq->arena, report_to_request, rq, 0 };
}

/* ---- versions as entity tags (RFC 9110, 8.8.3) ---- */

static void
skip_spaces(slice_t *rest)
{
    while (rest->len > 0 && (*rest->data == ' ' || *rest->data == '\t')) {
        rest->data++;
        rest->len--;
    }
}

/* One tag at the front of `rest`, without its quotes. 0 or -1. */
static int
take_tag(slice_t *rest, int *weak, slice_t *tag)
{
    const char *end;

    *weak = rest->len >= 2 && memcmp(rest->data, "W/", 2) == 0;
    if (*weak) {
        rest->data += 2;
        rest->len -= 2;
    }
    if (rest->len < 2 || *rest->data != '"') {
        return -1;
    }
    end = memchr(rest->data + 1, '"', rest->len - 1);
    if (end == NULL) {
        return -1;
    }
    *tag = (slice_t) { rest->data + 1, (size_t) (end - rest->data - 1) };
    rest->len -= tag->len + 2;
    rest->data = end + 1;
    return 0;
}

int
tags_parse(slice_t header, int weak_too, slice_t out[TAGS_MAX])
{
    slice_t rest = header, tag;
    int count = 0, seen = 0, weak;

    skip_spaces(&rest);
    if (slice_equal(rest, SLICE("*"))) {
        return TAGS_ANY;
    }
    for (;;) {
        if (seen++ == TAGS_MAX || take_tag(&rest, &weak, &tag) != 0) {
            return TAGS_MALFORMED;
        }
        if (!weak || weak_too) {
            out[count++] = tag;
        }
        skip_spaces(&rest);
        if (rest.len == 0) {
            return count;
        }
        if (*rest.data != ',') {
            return TAGS_MALFORMED;
        }
        rest.data++;
        rest.len--;
        skip_spaces(&rest);
    }
}

static int
tags_have(const slice_t *tags, size_t count, int64_t version)
{
    char text[24];
    slice_t wanted = { text,
        (size_t) snprintf(text, sizeof(text), "%" PRId64, version) };

    for (size_t i = 0; i < count; i++) {
        if (slice_equal(tags[i], wanted)) {
            return 1;
        }
    }
    return 0;
}

int
resource_matches(const value_t *if_match, int64_t version)
{
    return if_match->type == VALUE_NULL
           || tags_have(if_match->as.texts.items, if_match->as.texts.count,
                  version);
}

value_t
resource_if_match(request_t *rq)
{
    slice_t header = rq_header(rq, "if-match");
    slice_t *tags;
    int count;

    if (header.data == NULL) {
        return value_null();
    }
    tags = arena_alloc(rq->arena, TAGS_MAX * sizeof(*tags));
    count = tags_parse(header, 0, tags);
    if (count == TAGS_MALFORMED) {
        rq_raise(rq, 400, "malformed_if_match",
            "If-Match must be \"*\" or a list of quoted entity tags");
    }
    if (count == TAGS_ANY) {
        return value_null();
    }
    return (value_t) { .type = VALUE_TEXTS,
        .as.texts = { tags, (size_t) count } };
}

void
resource_set_etag(request_t *rq, int64_t version)
{
    char etag[32];

    rq_reply_header(rq, "etag", (slice_t) { etag,
        (size_t) snprintf(etag, sizeof(etag), "\"%" PRId64 "\"", version) });
}

int
resource_not_modified(request_t *rq, int64_t version)
{
    slice_t header = rq_header(rq, "if-none-match");
    slice_t tags[TAGS_MAX];
    int count;

    resource_set_etag(rq, version);
    if (header.data == NULL) {
        return 0;
    }
    count = tags_parse(header, 1, tags);
    if (count != TAGS_ANY
        && (count <= 0 || !tags_have(tags, (size_t) count, version)))
    {
        return 0;
    }
    rq_reply(rq, 304, SLICE_NONE);
    return 1;
}

/* ---- one row ---- */

void
resource_reply(request_t *rq, const db_row_t *row)
{
    if (rq_header(rq, "if-none-match").data != NULL
        && resource_not_modified(rq, db_int(row, "version")))
    {
        return;
    }
    db_reply_row(rq, 200, row);
}

void
resource_raise_missing(request_t *rq, const resource_t *resource)
{
    const char *code = arena_printf(rq->arena, "%s_not_found",
        resource->name);

    rq_raise(rq, 404, code, "there is no such %s, or it is not yours",
        resource->name);
}

void
resource_refuse(request_t *rq, const resource_t *resource, hive_uuid_t id)
{
    value_t values[] = { value_uuid(rq->user), value_uuid(id) };
    value_t if_match = resource_if_match(rq);
    const db_row_t *row;
    buf_t text;

    buf_init(&text, rq->arena, 256);
    buf_printf(&text,
        "select t.version, (%s) as _editor from %s t"
        " where t.id = $2::uuid and (%s) is true",
        resource->editor, resource->table, resource->viewer);
    row = db_first_row(rq, db_exec_text(rq, buf_slice(&text), LANE_READ, values, 2));
    if (row == NULL) {
        resource_raise_missing(rq, resource);
    }
    if (!db_bool(row, "_editor")) {
        rq_raise(rq, 403, "forbidden", "you may see this %s, not change it",
            resource->name);
    }
    if (!resource_matches(&if_match, db_int(row, "version"))) {
        rq_raise(rq, 412, "version_mismatch",
            "the %s has changed: its version is %" PRId64, resource->name,
            db_int(row, "version"));
    }
    rq_raise(rq, 409, "conflict", "the %s was being changed by another"
        " request, try again", resource->name);
}

/* Found by its id, then looked at: "is true" keeps the planner from searching
 * all that is the caller's by an index of owners. */
void
row_compose(const resource_t *resource, const char *table, int offset,
    buf_t *text)
{
    buf_puts(text, "select ");
    columns_compose(resource, "t", 0, text);
    buf_puts(text, offset ? ", t.event_seq as _offset" : "");
    buf_printf(text, " from %s t where t.id = $2::uuid and (%s) is true",
        table, resource->viewer);
}

static const db_row_t *
row_of(request_t *rq, const resource_t *resource, const char *table,
    int offset, hive_uuid_t id)
{
    value_t values[] = { value_uuid(rq->user), value_uuid(id) };
    buf_t text;

    buf_init(&text, rq->arena, 1024);
    row_compose(resource, table, offset, &text);
    return db_first_row(rq,
        db_exec_text(rq, buf_slice(&text), LANE_READ, values, 2));
}

/* The parts are looked at one after the other, since most rows asked for are
 * in the first. One that moved to the next meanwhile is found there; for one
 * that moved back the first is looked at again. */
static const db_row_t *
find_row(request_t *rq, const resource_t *resource, int offset,
    hive_uuid_t id)
{
    const db_row_t *row = row_of(rq, resource, resource->table, offset, id);

    for (size_t i = 1; row == NULL && i <= resource->ntables
         && resource->ntables > 1; i++)
    {
        row = row_of(rq, resource,
            resource->parts[i % resource->ntables].table, offset, id);
    }
    return row;
}

const db_row_t *
resource_row(request_t *rq, const resource_t *resource, hive_uuid_t id)
{
    return find_row(rq, resource, 0, id);
}

const db_row_t *
resource_state(request_t *rq, const resource_t *resource, hive_uuid_t id)
{
    return find_row(rq, resource, 1, id);
}

void
resource_get(request_t *rq, const resource_t *resource)
{
    const db_row_t *row = resource_row(rq, resource, rq_param_uuid(rq, 0));

    if (row == NULL) {
        resource_raise_missing(rq, resource);
    }
    resource_reply(rq, row);
}
