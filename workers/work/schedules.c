/* schedules.c: schedules, as people make and change them. The next time is
 * computed here when what it follows from changes, by the firing job each
 * time it has come. */

#include "schedule.h"

#include "run.h"
#include "work.h"

#include "workers/db/event.h"

#include <time.h>

#define JITTER_MS_MAX   (24 * 3600 * 1000LL)
#define TASK_BYTES_MAX  (300 * 1024)
#define PREVIEW_DEFAULT 10
#define PREVIEW_MAX     100

static const char *const catch_ups[] = { "skip", "one", "all", NULL };

static const column_t schedule_columns[] = {
    { "id", COLUMN_UUID, .flags = 0 },
    { "owner_id", COLUMN_UUID, .flags = 0 },
    { "project_id", COLUMN_UUID, WRITABLE | NULLABLE | FILTERABLE,
        .max = 0 },
    { "name", COLUMN_TEXT, REQUIRED | WRITABLE | FILTERABLE | SORTABLE,
        .min = 1, .max = 200 },
    { "cron", COLUMN_TEXT, REQUIRED | WRITABLE, .min = 1, .max = 200 },
    { "time_zone", COLUMN_TEXT, WRITABLE, .min = 1, .max = 64,
        .fallback = "\"UTC\"" },
    { "jitter_ms", COLUMN_INT, WRITABLE, .min = 0, .max = JITTER_MS_MAX,
        .fallback = "0" },
    { "catch_up", COLUMN_ENUM, WRITABLE, .values = catch_ups,
        .fallback = "\"one\"" },
    { "workflow_id", COLUMN_UUID, WRITABLE | NULLABLE | FILTERABLE,
        .max = 0 },
    { "task", COLUMN_JSON, WRITABLE | NULLABLE | DETAIL,
        .max = TASK_BYTES_MAX },
    { "input", COLUMN_JSON, WRITABLE | DETAIL, .max = RUN_INPUT_MAX,
        .fallback = "{}" },
    { "paused", COLUMN_BOOL, CREATE_ONLY | FILTERABLE,
        .fallback = "false" },
    { "next_at", COLUMN_TIME, .flags = NULLABLE },
    { "last_at", COLUMN_TIME, .flags = NULLABLE },
    { "fired", COLUMN_INT, .shown = "@.fired_n" },
    { "error", COLUMN_TEXT, .flags = NULLABLE },
    { "version", COLUMN_INT, .flags = 0 },
    { "created_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE },
    { "updated_at", COLUMN_TIME, .flags = 0 },
};

#define NCOLUMNS (sizeof(schedule_columns) / sizeof(schedule_columns[0]))

const resource_t schedule_resource = {
    .name = "schedule",
    .table = "schedules",
    .owner_column = "owner_id",
    .viewer = "t.owner_id = $1::uuid",
    .editor = "t.owner_id = $1::uuid",
    .columns = schedule_columns,
    .ncolumns = NCOLUMNS,
    .default_sort = "-created_at",
};

/* Set with the others, and not by people. */
static const column_t next_column = { "next_at", COLUMN_TIME, .flags = 0 };
static const column_t fire_column = { "fire_at", COLUMN_TIME, .flags = 0 };

static int64_t
now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * SECOND_US + now.tv_nsec / 1000;
}

static value_t
optional_time(int64_t time)
{
    return time == 0 ? value_null() : value_time(time);
}

/* ---- what is written ---- */

typedef struct {
    request_t *rq;
    const db_row_t *row;        /* what there is; NULL: it is being made */
    assignment_t *items;        /* room for two more */
    size_t count;
} change_t;

static const value_t *
assigned(const change_t *change, const char *name)
{
    for (size_t i = 0; i < change->count; i++) {
        if (strcmp(change->items[i].column->name, name) == 0) {
            return &change->items[i].value;
        }
    }
    return NULL;
}

static slice_t
text_after(const change_t *change, const char *name)
{
    const value_t *value = assigned(change, name);

    return value != NULL ? value->as.text : db_text(change->row, name);
}

/* Whether a column will have a value. */
static int
set_after(const change_t *change, const char *name)
{
    const value_t *value = assigned(change, name);

    return value != NULL ? value->type != VALUE_NULL
        : !db_is_null(change->row, db_column(change->row->result, name));
}

static int
paused_after(const change_t *change)
{
    const value_t *value = assigned(change, "paused");

    return value != NULL ? value->as.boolean
                         : db_bool(change->row, "paused");
}

static int64_t
jitter_after(const change_t *change)
{
    const value_t *value = assigned(change, "jitter_ms");

    return value != NULL ? value->as.integer
                         : db_int(change->row, "jitter_ms");
}

static void
check_workflow(const change_t *change)
{
    request_t *rq = change->rq;
    const value_t *workflow = assigned(change, "workflow_id");

    if (set_after(change, "workflow_id") == set_after(change, "task")) {
        rq_invalid(rq, "task", "one_of",
            "one of workflow_id and task says what to make");
    }
    if (workflow != NULL && workflow->type == VALUE_UUID
        && db_row(rq, Q_SCHEDULE_WORKFLOW, value_uuid(rq->user), *workflow)
            == NULL)
    {
        rq_invalid(rq, "workflow_id", "unknown_workflow",
            "there is no such workflow, or it is not yours");
    }
}

static void
add(change_t *change, const column_t *column, value_t value)
{
    change->items[change->count++] = (assignment_t) { column, value };
}

/* Reports what is wrong with the times, or adds the next one. */
static void
plan(change_t *change)
{
    request_t *rq = change->rq;
    const char *field, *why;
    timing_t timing;
    int64_t next;

    if (assigned(change, "cron") == NULL
        && assigned(change, "time_zone") == NULL
        && assigned(change, "jitter_ms") == NULL)
    {
        return;
    }
    if (timing_read(text_after(change, "cron"),
            text_after(change, "time_zone"), jitter_after(change), &timing,
            &field, &why) != 0)
    {
        rq_invalid(rq, field, "invalid_value", "%s", why);
        return;
    }
    next = timing_next(&timing, now_us());
    if (next == 0) {
        rq_invalid(rq, "cron", "never", "that time never comes");
        return;
    }
    if (paused_after(change)) {
        next = 0;
    }
    add(change, &next_column, optional_time(next));
    add(change, &fire_column, optional_time(timing_jitter(&timing, next)));
}

/* Reads the body, and checks the parts that are not the resource engine's. */
static change_t
read_change(request_t *rq, const db_row_t *row)
{
    report_t report = report_to(rq);
    json_t *body = rq_json(rq);
    const json_t *task = json_object_get(body, "task");
    const json_t *input = json_object_get(body, "input");
    change_t change = { .rq = rq, .row = row };
    const value_t *project;

    change.items = arena_alloc(rq->arena,
        (NCOLUMNS + 2) * sizeof(*change.items));
    change.count = assignments_read(&report, &schedule_resource, body,
        row == NULL, change.items);
    if (task != NULL && !json_is_null(task)) {
        schedule_check_task(&report, task);
    }
    if (input != NULL && !json_is_null(input)) {
        run_check_input(&report, input);
        schedule_check_input(&report, "input", input);
    }
    rq_check(rq);

    project = assigned(&change, "project_id");
    if (project != NULL && project->type == VALUE_UUID) {
        workflow_check_project(rq, project->as.uuid);
    }
    check_workflow(&change);
    plan(&change);
    rq_check(rq);
    return change;
}

/* ---- operations of a resource ---- */

void
op_schedule_list(request_t *rq)
{
    resource_list(rq, &schedule_resource);
}

void
op_schedule_get(request_t *rq)
{
    resource_get(rq, &schedule_resource);
}

void
op_schedule_delete(request_t *rq)
{
    resource_delete(rq, &schedule_resource);
}

static void
set_location(request_t *rq, const char *folder, hive_uuid_t id)
{
    char text[UUID_TEXT + 1] = { 0 };
    const char *location;

    uuid_format(&id, text);
    location = arena_printf(rq->arena, "/api/v1/%s/%s", folder, text);
    rq_reply_header(rq, "location",
        (slice_t) { location, strlen(location) });
}

void
op_schedule_create(request_t *rq)
{
    change_t change = read_change(rq, NULL);
    hive_uuid_t id = resource_new_id();
    value_t *values = arena_alloc(rq->arena,
        (change.count + 2) * sizeof(*values));
    const db_row_t *row;
    buf_t text;

    values[0] = value_uuid(rq->user);
    values[1] = value_uuid(id);
    for (size_t i = 0; i < change.count; i++) {
        values[i + 2] = change.items[i].value;
    }
    buf_init(&text, rq->arena, 2048);
    create_compose(&schedule_resource, change.items, change.count, &text);
    row = db_first_row(rq, db_exec_text(rq, buf_slice(&text), LANE_INSERT,
        values, change.count + 2));
    event_publish(rq, row);
    set_location(rq, "schedules", id);
    db_reply_row(rq, 201, row);
}

static const db_row_t *
lock(request_t *rq)
{
    const db_row_t *row = db_row(rq, Q_SCHEDULE_LOCK, value_uuid(rq->user),
        value_uuid(rq_param_uuid(rq, 0)));

    if (row == NULL) {
        resource_raise_missing(rq, &schedule_resource);
    }
    return row;
}

/* Changes the locked row; what it will be decides on the next time. */
static const db_row_t *
update(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    change_t change = read_change(rq, lock(rq));
    value_t *values = arena_alloc(rq->arena,
        (change.count + 3) * sizeof(*values));
    const db_row_t *row;
    buf_t text;

    values[0] = value_uuid(rq->user);
    values[1] = value_uuid(id);
    values[2] = resource_if_match(rq);
    for (size_t i = 0; i < change.count; i++) {
        values[i + 3] = change.items[i].value;
    }
    buf_init(&text, rq->arena, 2048);
    update_compose(&schedule_resource, change.items, change.count, &text);
    row = db_first_row(rq, db_exec_text(rq, buf_slice(&text), LANE_WRITE,
        values, change.count + 3));
    if (row == NULL) {
        db_rollback(rq);
        resource_refuse(rq, &schedule_resource, id);
    }
    return row;
}

void
op_schedule_update(request_t *rq)
{
    const db_row_t *row;

    db_begin(rq);
    row = update(rq);
    event_publish(rq, row);
    db_commit(rq);
    db_reply_row(rq, 200, row);
}

/* ---- pause and resume ---- */

/* No time that passed while it was paused is caught up with. */
static void
set_paused(request_t *rq, int paused)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    int own = rq->transaction == NULL;
    const db_row_t *row;
    const char *field, *why;
    timing_t timing;
    int64_t next = 0;

    if (own) {
        db_begin(rq);
    }
    row = lock(rq);
    if (db_bool(row, "paused") != paused) {
        if (!paused && timing_read(db_text(row, "cron"),
                db_text(row, "time_zone"), db_int(row, "jitter_ms"), &timing,
                &field, &why) != 0)
        {
            rq_raise(rq, 409, "schedule_invalid", "%s: %s", field, why);
        }
        if (!paused) {
            next = timing_next(&timing, now_us());
        }
        event_publish(rq, db_row(rq, Q_SCHEDULE_PAUSE, value_uuid(id),
            value_bool(paused), optional_time(next),
            optional_time(paused ? 0 : timing_jitter(&timing, next))));
    }
    row = resource_row(rq, &schedule_resource, id);
    if (own) {
        db_commit(rq);
    }
    db_reply_row(rq, 200, row);
}

void
op_schedule_pause(request_t *rq)
{
    set_paused(rq, 1);
}

void
op_schedule_resume(request_t *rq)
{
    set_paused(rq, 0);
}

/* ---- firing by hand ---- */

/* Beside its times, which stay as they are; also while it is paused. */
void
op_schedule_fire(request_t *rq)
{
    int own = rq->transaction == NULL;
    const db_row_t *row;
    slice_t made;

    if (own) {
        db_begin(rq);
    }
    row = lock(rq);
    made = schedule_make(rq, row, db_time(row, "now"));
    event_publish(rq, db_row(rq, Q_SCHEDULE_FIRED,
        value_uuid(db_uuid(row, "id")), value_int(1), value_null(),
        value_null(), value_bool(1), value_json(made)));
    if (own) {
        db_commit(rq);
    }
    rq_reply(rq, 201, made);
}

/* ---- the next times ---- */

static int64_t
read_count(request_t *rq)
{
    int64_t count = PREVIEW_DEFAULT;
    const query_arg_t *args;
    size_t nargs;

    args = rq_query(rq, &nargs);
    for (size_t i = 0; i < nargs; i++) {
        if (!slice_equal(args[i].name, SLICE("count"))) {
            rq_invalid(rq,
                arena_strndup(rq->arena, args[i].name.data,
                    args[i].name.len),
                "unknown_parameter", "a preview has no such parameter");
        } else if (int_parse(args[i].value, &count) != 0 || count < 1
                   || count > PREVIEW_MAX)
        {
            rq_invalid(rq, "count", "out_of_range",
                "must be a number from 1 to %d", PREVIEW_MAX);
        }
    }
    rq_check(rq);
    return count;
}

void
op_schedule_preview(request_t *rq)
{
    int64_t count = read_count(rq), at;
    const db_row_t *row = db_row(rq, Q_SCHEDULE_ZONE, value_uuid(rq->user),
        value_uuid(rq_param_uuid(rq, 0)));
    const char *field, *why;
    timing_t timing;
    buf_t out;

    if (row == NULL) {
        resource_raise_missing(rq, &schedule_resource);
    }
    if (timing_read(db_text(row, "cron"), db_text(row, "time_zone"), 0,
            &timing, &field, &why) != 0)
    {
        rq_raise(rq, 409, "schedule_invalid", "%s: %s", field, why);
    }
    buf_init(&out, rq->arena, 64 + (size_t) count * 32);
    buf_puts(&out, "{\"items\":[");
    at = db_time(row, "now");
    for (int64_t i = 0; i < count; i++) {
        at = timing_next(&timing, at);
        if (at == 0) {
            break;
        }
        if (i > 0) {
            buf_putc(&out, ',');
        }
        json_put_time(&out, at);
    }
    buf_puts(&out, "]}");
    rq_reply(rq, 200, buf_slice(&out));
}
