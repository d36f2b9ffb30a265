/* resource_change.c: create, update and delete: one statement each, which
 * changes the row, appends its event and returns both. */

#include "event.h"
#include "resource_parts.h"

#include <assert.h>

/* The event of the row that the statement `changed` returned, then the
 * statement's result: the row (or nothing of it) and what event_publish
 * needs. */
static void
compose_event(const resource_t *resource, const char *verb, buf_t *text)
{
    buf_printf(text,
        "), event as (insert into events (channel, \"offset\", type, data)"
        " select '%s:' || c.id::text, c.event_seq, '%s.%s',"
        " jsonb_build_object('version', c.version) from changed c"
        " returning channel, \"offset\", type, data, created_at) select ",
        resource->name, resource->name, verb);
}

static void
compose_result(buf_t *text)
{
    buf_puts(text,
        "e.channel as _channel, e.\"offset\" as _offset, e.type as _event,"
        " e.data as _event_data, e.created_at as _event_time"
        " from changed c, event e");
}

/* The columns of `changed`, which has what is shown under their names. */
static void
compose_changed(const resource_t *resource, buf_t *text)
{
    for (size_t i = 0; i < resource->ncolumns; i++) {
        buf_printf(text, "%sc.%s", i > 0 ? ", " : "",
            resource->columns[i].name);
    }
}

static void
compose_guard(const resource_t *resource, buf_t *text)
{
    buf_printf(text,
        " where t.id = $2::uuid and (%s) is true"
        " and ($3::text[] is null or t.version::text = any($3::text[]))",
        resource->editor);
}

void
create_compose(const resource_t *resource, const assignment_t *assignments,
    size_t count, buf_t *text)
{
    buf_printf(text, "with changed as (insert into %s as t (%s, id",
        resource->table, resource->owner_column);
    for (size_t i = 0; i < count; i++) {
        buf_printf(text, ", %s", assignments[i].column->name);
    }
    buf_puts(text, ") values ($1::uuid, $2::uuid");
    for (size_t i = 0; i < count; i++) {
        buf_printf(text, ", $%zu::%s", i + 3,
            column_sql_type(assignments[i].column));
    }
    buf_puts(text, ") returning ");
    columns_compose(resource, "t", 0, text);
    buf_puts(text, ", t.event_seq");
    compose_event(resource, "created", text);
    compose_changed(resource, text);
    buf_puts(text, ", ");
    compose_result(text);
}

void
update_compose(const resource_t *resource, const assignment_t *assignments,
    size_t count, buf_t *text)
{
    buf_printf(text, "with changed as (update %s t set", resource->table);
    for (size_t i = 0; i < count; i++) {
        buf_printf(text, " %s = $%zu::%s,", assignments[i].column->name,
            i + 4, column_sql_type(assignments[i].column));
    }
    buf_puts(text,
        " version = t.version + 1, event_seq = t.event_seq + 1,"
        " updated_at = now()");
    compose_guard(resource, text);
    buf_puts(text, " returning ");
    columns_compose(resource, "t", 0, text);
    buf_puts(text, ", t.event_seq");
    compose_event(resource, "updated", text);
    compose_changed(resource, text);
    buf_puts(text, ", ");
    compose_result(text);
}

void
delete_compose(const resource_t *resource, buf_t *text)
{
    buf_printf(text, "with changed as (delete from %s t", resource->table);
    compose_guard(resource, text);
    buf_puts(text,
        " returning t.id, t.version, t.event_seq + 1 as event_seq");
    compose_event(resource, "deleted", text);
    compose_result(text);
}

static assignment_t *
read_body(request_t *rq, const resource_t *resource, int creating,
    size_t *count)
{
    report_t report = report_to(rq);
    assignment_t *assignments = arena_alloc(rq->arena,
        resource->ncolumns * sizeof(*assignments));

    *count = assignments_read(&report, resource, rq_json(rq), creating,
        assignments);
    rq_check(rq);
    return assignments;
}

/* "/api/v1/projects/{id}/notes" with the request's parameters, and the new
 * id behind it. */
static void
set_location(request_t *rq, hive_uuid_t id)
{
    const char *path = rq->op->path;
    unsigned param = 0;
    buf_t location;

    buf_init(&location, rq->arena, 128);
    while (*path != '\0') {
        if (*path != '{') {
            buf_putc(&location, *path++);
            continue;
        }
        assert(param < rq->nparams);
        buf_put(&location, rq->params[param].data, rq->params[param].len);
        param++;
        path = strchr(path, '}') + 1;
    }
    buf_putc(&location, '/');
    uuid_format(&id, buf_reserve(&location, UUID_TEXT));
    location.len += UUID_TEXT;
    rq_reply_header(rq, "location", buf_slice(&location));
}

void
resource_create(request_t *rq, const resource_t *resource)
{
    size_t count;
    assignment_t *assignments = read_body(rq, resource, 1, &count);
    value_t *values = arena_alloc(rq->arena, (count + 2) * sizeof(*values));
    hive_uuid_t id = resource_new_id();
    const db_row_t *row;
    buf_t text;

    values[0] = value_uuid(rq->user);
    values[1] = value_uuid(id);
    for (size_t i = 0; i < count; i++) {
        values[i + 2] = assignments[i].value;
    }
    buf_init(&text, rq->arena, 1024);
    create_compose(resource, assignments, count, &text);
    row = db_first_row(rq,
        db_exec_text(rq, buf_slice(&text), LANE_INSERT, values,
            count + 2));
    assert(row != NULL);
    event_publish(rq, row);
    set_location(rq, id);
    db_reply_row(rq, 201, row);
}

/* A patch of nothing changes nothing, under the same conditions. */
static void
reply_unchanged(request_t *rq, const resource_t *resource, hive_uuid_t id)
{
    value_t values[] = { value_uuid(rq->user), value_uuid(id),
        resource_if_match(rq) };
    const db_row_t *row;
    buf_t text;

    buf_init(&text, rq->arena, 512);
    buf_puts(&text, "select ");
    columns_compose(resource, "t", 0, &text);
    buf_printf(&text, " from %s t", resource->table);
    compose_guard(resource, &text);
    row = db_first_row(rq, db_exec_text(rq, buf_slice(&text), LANE_READ, values, 3));
    if (row == NULL) {
        resource_refuse(rq, resource, id);
    }
    db_reply_row(rq, 200, row);
}

void
resource_update(request_t *rq, const resource_t *resource)
{
    size_t count;
    hive_uuid_t id = rq_param_uuid(rq, 0);
    assignment_t *assignments = read_body(rq, resource, 0, &count);
    value_t *values = arena_alloc(rq->arena, (count + 3) * sizeof(*values));
    const db_row_t *row;
    buf_t text;

    if (count == 0) {
        reply_unchanged(rq, resource, id);
        return;
    }
    values[0] = value_uuid(rq->user);
    values[1] = value_uuid(id);
    values[2] = resource_if_match(rq);
    for (size_t i = 0; i < count; i++) {
        values[i + 3] = assignments[i].value;
    }
    buf_init(&text, rq->arena, 1024);
    update_compose(resource, assignments, count, &text);
    row = db_first_row(rq,
        db_exec_text(rq, buf_slice(&text), LANE_WRITE, values, count + 3));
    if (row == NULL) {
        resource_refuse(rq, resource, id);
    }
    event_publish(rq, row);
    db_reply_row(rq, 200, row);
}

void
resource_delete(request_t *rq, const resource_t *resource)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    value_t values[] = { value_uuid(rq->user), value_uuid(id),
        resource_if_match(rq) };
    const db_row_t *row;
    buf_t text;

    buf_init(&text, rq->arena, 1024);
    delete_compose(resource, &text);
    row = db_first_row(rq, db_exec_text(rq, buf_slice(&text), LANE_WRITE, values, 3));
    if (row == NULL) {
        resource_refuse(rq, resource, id);
    }
    event_publish(rq, row);
    rq_reply(rq, 204, SLICE_NONE);
}
