/* runs.c: runs of workflows: how they are begun and seen. */

#include "run.h"

#include "tasks.h"
#include "template.h"
#include "work.h"

static const char *const run_states[] = { "running", "succeeded", "failed",
    "cancelled", NULL };

static const column_t run_columns[] = {
    { "id", COLUMN_UUID, .flags = 0 },
    { "owner_id", COLUMN_UUID, .flags = 0 },
    { "project_id", COLUMN_UUID, .flags = FILTERABLE },
    { "workflow_id", COLUMN_UUID, .flags = FILTERABLE },
    { "workflow_version", COLUMN_INT, .flags = 0 },
    { "name", COLUMN_TEXT, .flags = 0 },
    { "on_failure", COLUMN_ENUM, .values = failure_policies },
    { "state", COLUMN_ENUM, FILTERABLE, .values = run_states },
    { "cancel_requested", COLUMN_BOOL, .flags = 0 },
    { "total", COLUMN_INT, .shown = "@.total_n" },
    { "left", COLUMN_INT, .shown = "@.left_n" },
    { "succeeded", COLUMN_INT, .shown = "@.succeeded_n" },
    { "failed", COLUMN_INT, .shown = "@.failed_n" },
    { "cancelled", COLUMN_INT, .shown = "@.cancelled_n" },
    { "skipped", COLUMN_INT, .shown = "@.skipped_n" },
    { "progress", COLUMN_FLOAT, .shown = "round((1 - @.left_n::numeric"
        " / greatest(@.total_n, 1)), 4)::float8" },
    { "version", COLUMN_INT, .flags = 0 },
    { "created_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE },
    { "updated_at", COLUMN_TIME, .flags = 0 },
    { "finished_at", COLUMN_TIME, .flags = NULLABLE },
};

const resource_t run_resource = {
    .name = "run",
    .table = "runs",
    .owner_column = "owner_id",
    .viewer = "t.owner_id = $1::uuid",
    .editor = "t.owner_id = $1::uuid",
    .columns = run_columns,
    .ncolumns = sizeof(run_columns) / sizeof(run_columns[0]),
    .default_sort = "-created_at",
};

void
op_run_list(request_t *rq)
{
    resource_list(rq, &run_resource);
}

void
op_run_get(request_t *rq)
{
    const db_row_t *row = db_row(rq, Q_RUN_GET, value_uuid(rq->user),
        value_uuid(rq_param_uuid(rq, 0)));

    if (row == NULL) {
        resource_raise_missing(rq, &run_resource);
    }
    resource_reply(rq, row);
}

/* ---- making one ---- */

void
run_check_input(report_t *report, const json_t *input)
{
    if (!json_is_object(input)) {
        report_invalid(report, "input", "wrong_type", "must be an object");
    } else if (json_depth(input, JSON_DEPTH_LIMIT) > JSON_DEPTH_LIMIT) {
        report_invalid(report, "input", "too_deep",
            "must not be nested deeper than %d", JSON_DEPTH_LIMIT);
    } else {
        slice_t text = template_dump(report->arena, input);

        if (text.data == NULL || text.len > RUN_INPUT_MAX) {
            report_invalid(report, "input", "too_long",
                "must have at most %d bytes", RUN_INPUT_MAX);
        }
    }
}

void
run_reply_made(request_t *rq, hive_uuid_t id, slice_t json)
{
    char location[sizeof("/api/v1/runs/") + UUID_TEXT] = "/api/v1/runs/";

    uuid_format(&id, location + sizeof("/api/v1/runs/") - 1);
    rq_reply_header(rq, "location", (slice_t) { location,
        sizeof("/api/v1/runs/") - 1 + UUID_TEXT });
    resource_set_etag(rq, 1);
    rq_reply(rq, 201, json);
}

/* A run of steps that are stored nowhere. The resource engine reads what is
 * of simple types. */
static const column_t body_columns[] = {
    { "name", COLUMN_TEXT, WRITABLE, .max = 200, .fallback = "\"\"" },
    { "on_failure", COLUMN_ENUM, WRITABLE, .values = failure_policies,
        .fallback = "\"fail_fast\"" },
    { "project_id", COLUMN_UUID, WRITABLE | NULLABLE, .max = 0 },
};

static const resource_t body_resource = {
    .name = "run",
    .columns = body_columns,
    .ncolumns = sizeof(body_columns) / sizeof(body_columns[0]),
};

static void
take_project(request_t *rq, const value_t *value, hive_uuid_t *out)
{
    if (value->type == VALUE_UUID) {
        workflow_check_project(rq, value->as.uuid);
        *out = value->as.uuid;
    }
}

void
op_run_create(request_t *rq)
{
    report_t report = report_to(rq);
    json_t *body = rq_json(rq), *rest = json_copy(body);
    const json_t *input = json_object_get(body, "input");
    assignment_t read[3];
    run_spec_t spec = { .owner = rq->user };
    hive_uuid_t id;
    steps_t steps;
    slice_t made;

    json_object_del(rest, "steps");
    json_object_del(rest, "input");
    assignments_read(&report, &body_resource, rest, 1, read);
    json_decref(rest);
    if (json_object_get(body, "steps") == NULL) {
        report_invalid(&report, "steps", "required", "is required");
    } else {
        steps_read(&report, json_object_get(body, "steps"), STEPS_RUN_MAX,
            &steps);
    }
    if (input != NULL) {
        run_check_input(&report, input);
    }
    rq_check(rq);

    spec.name = read[0].value.as.text;
    spec.on_failure = read[1].value.as.text;
    take_project(rq, &read[2].value, &spec.project);
    spec.steps = &steps;
    spec.input = input;
    id = run_make(rq, &spec, &made);
    run_reply_made(rq, id, made);
}

/* ---- its tasks and events ---- */

static hive_uuid_t
require_run(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);

    if (db_row(rq, Q_RUN_EXISTS, value_uuid(rq->user), value_uuid(id))
        == NULL)
    {
        resource_raise_missing(rq, &run_resource);
    }
    return id;
}

/* The list of tasks, of this run. */
void
op_run_tasks(request_t *rq)
{
    hive_uuid_t id = require_run(rq);
    buf_t query;

    buf_init(&query, rq->arena, 64 + rq->query.len);
    buf_puts(&query, "run_id=");
    uuid_format(&id, buf_reserve(&query, UUID_TEXT));
    query.len += UUID_TEXT;
    if (rq->query.len > 0) {
        buf_putc(&query, '&');
        buf_put(&query, rq->query.data, rq->query.len);
    }
    rq->query = buf_slice(&query);
    resource_list(rq, &task_resource);
}

void
op_run_events(request_t *rq)
{
    page_t page = page_read(rq, NULL);
    hive_uuid_t id = require_run(rq);
    int64_t after = 0;

    if (page.cursor.data != NULL
        && (int_parse(page.cursor, &after) != 0 || after < 0))
    {
        rq_raise(rq, 400, "malformed_cursor",
            "the cursor is not one that this list gave");
    }
    page_reply(rq, &page, db_rows(rq, Q_RUN_EVENTS, value_uuid(id),
        value_int(after), value_int(page.limit + 1)), "offset");
}
