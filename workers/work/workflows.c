/* workflows.c: definitions of workflows, and running them. */

#include "run.h"

#include "work.h"

#define STEPS_BYTES_MAX (1024 * 1024)

static const column_t workflow_columns[] = {
    { "id", COLUMN_UUID, .flags = 0 },
    { "owner_id", COLUMN_UUID, .flags = 0 },
    { "project_id", COLUMN_UUID, WRITABLE | NULLABLE | FILTERABLE,
        .max = 0 },
    { "name", COLUMN_TEXT, REQUIRED | WRITABLE | FILTERABLE | SORTABLE
        | SEARCHED, .min = 1, .max = 200 },
    { "description", COLUMN_TEXT, WRITABLE | SEARCHED, .max = 10000,
        .fallback = "\"\"" },
    { "on_failure", COLUMN_ENUM, WRITABLE, .values = failure_policies,
        .fallback = "\"fail_fast\"" },
    { "steps", COLUMN_JSON, REQUIRED | WRITABLE | DETAIL,
        .max = STEPS_BYTES_MAX },
    { "version", COLUMN_INT, .flags = 0 },
    { "created_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE },
    { "updated_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE },
};

const resource_t workflow_resource = {
    .name = "workflow",
    .table = "workflows",
    .owner_column = "owner_id",
    .viewer = "t.owner_id = $1::uuid",
    .editor = "t.owner_id = $1::uuid",
    .columns = workflow_columns,
    .ncolumns = sizeof(workflow_columns) / sizeof(workflow_columns[0]),
    .default_sort = "-created_at",
};

void
workflow_check_project(request_t *rq, hive_uuid_t project)
{
    if (db_row(rq, Q_WORKFLOW_PROJECT, value_uuid(rq->user),
            value_uuid(project)) == NULL)
    {
        rq_invalid(rq, "project_id", "unknown_project",
            "there is no such project, or it is not yours");
        rq_check(rq);
    }
}

/* What the resource engine does not look at; its own faults are reported
 * together with these. */
static void
check_body(request_t *rq)
{
    report_t report = report_to(rq);
    json_t *body = rq_json(rq);
    const json_t *steps = json_object_get(body, "steps");
    const json_t *project = json_object_get(body, "project_id");
    hive_uuid_t id;
    steps_t read;

    if (steps != NULL && !json_is_null(steps)) {
        steps_read(&report, steps, STEPS_STORED_MAX, &read);
    }
    if (json_is_string(project)
        && uuid_parse(json_string_value(project),
               json_string_length(project), &id) == 0)
    {
        workflow_check_project(rq, id);
    }
}

void
op_workflow_list(request_t *rq)
{
    resource_list(rq, &workflow_resource);
}

void
op_workflow_create(request_t *rq)
{
    check_body(rq);
    resource_create(rq, &workflow_resource);
}

void
op_workflow_get(request_t *rq)
{
    resource_get(rq, &workflow_resource);
}

void
op_workflow_update(request_t *rq)
{
    check_body(rq);
    resource_update(rq, &workflow_resource);
}

void
op_workflow_delete(request_t *rq)
{
    resource_delete(rq, &workflow_resource);
}

/* ---- running one ---- */

static void
check_run_body(request_t *rq, json_t *body)
{
    const json_t *name = json_object_get(body, "name");
    const json_t *input = json_object_get(body, "input");
    report_t report = report_to(rq);
    const char *member;
    json_t *value;

    json_object_foreach(body, member, value) {
        if (strcmp(member, "name") != 0 && strcmp(member, "input") != 0) {
            rq_invalid(rq, member, "unknown_member",
                "must be input or name");
        }
    }
    if (name != NULL) {
        static const column_t column = { "name", COLUMN_TEXT, 0, .min = 1,
            .max = 200 };
        value_t read;

        value_from_json(&report, &column, "name", name, &read);
    }
    if (input != NULL) {
        run_check_input(&report, input);
    }
    rq_check(rq);
}

/* The body may be left out. */
void
op_workflow_run(request_t *rq)
{
    slice_t name = SLICE_NONE;
    const json_t *input = NULL;
    const db_row_t *workflow;
    hive_uuid_t id;
    slice_t made;

    if (rq->body.len > 0) {
        json_t *body = rq_json(rq);
        const json_t *given = json_object_get(body, "name");

        check_run_body(rq, body);
        input = json_object_get(body, "input");
        if (given != NULL) {
            name = (slice_t) { json_string_value(given),
                json_string_length(given) };
        }
    }
    workflow = db_row(rq, Q_WORKFLOW_GET, value_uuid(rq->user),
        value_uuid(rq_param_uuid(rq, 0)));
    if (workflow == NULL) {
        resource_raise_missing(rq, &workflow_resource);
    }
    id = run_make_workflow(rq, workflow, name, input, &made);
    run_reply_made(rq, id, made);
}
