/* projects.c: projects, owned by who made them, each with a configuration
 * document of the owner's own shape. */

#include "work.h"

#include "workers/db/event.h"

#define CONFIG_MAX (256 * 1024)

static const column_t project_columns[] = {
    { "id", COLUMN_UUID, .flags = 0 },
    { "owner_id", COLUMN_UUID, .flags = 0 },
    { "name", COLUMN_TEXT, REQUIRED | WRITABLE | FILTERABLE | SORTABLE
        | SEARCHED, .min = 1, .max = 200 },
    { "description", COLUMN_TEXT, WRITABLE | SEARCHED, .max = 10000,
        .fallback = "\"\"" },
    { "archived_at", COLUMN_TIME, .flags = FILTERABLE | NULLABLE },
    { "version", COLUMN_INT, .flags = 0 },
    { "created_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE },
    { "updated_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE },
};

const resource_t project_resource = {
    .name = "project",
    .table = "projects",
    .owner_column = "owner_id",
    .viewer = "t.owner_id = $1::uuid",
    .editor = "t.owner_id = $1::uuid",
    .columns = project_columns,
    .ncolumns = sizeof(project_columns) / sizeof(project_columns[0]),
    .default_sort = "-created_at",
};

void
op_project_list(request_t *rq)
{
    resource_list(rq, &project_resource);
}

void
op_project_create(request_t *rq)
{
    resource_create(rq, &project_resource);
}

void
op_project_get(request_t *rq)
{
    const db_row_t *row = db_row(rq, Q_PROJECT_GET, value_uuid(rq->user),
        value_uuid(rq_param_uuid(rq, 0)));

    if (row == NULL) {
        resource_raise_missing(rq, &project_resource);
    }
    resource_reply(rq, row);
}

void
op_project_update(request_t *rq)
{
    resource_update(rq, &project_resource);
}

void
op_project_delete(request_t *rq)
{
    resource_delete(rq, &project_resource);
}

/* ---- archive ---- */

/* To archive what is archived is no change, and no failure. */
static void
set_archived(request_t *rq, int archived)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    value_t if_match = resource_if_match(rq);
    const db_row_t *row = db_row(rq,
        archived ? Q_PROJECT_ARCHIVE : Q_PROJECT_UNARCHIVE,
        value_uuid(rq->user), value_uuid(id), if_match);

    if (row != NULL) {
        event_publish(rq, row);
        db_reply_row(rq, 200, row);
        return;
    }
    row = db_row(rq, Q_PROJECT_GET, value_uuid(rq->user), value_uuid(id));
    if (row == NULL || !resource_matches(&if_match, db_int(row, "version"))
        || db_is_null(row, db_column(row->result, "archived_at")) == archived)
    {
        resource_refuse(rq, &project_resource, id);
    }
    db_reply_row(rq, 200, row);
}

void
op_project_archive(request_t *rq)
{
    set_archived(rq, 1);
}

void
op_project_unarchive(request_t *rq)
{
    set_archived(rq, 0);
}

/* ---- the configuration document ---- */

void
op_project_config_get(request_t *rq)
{
    const db_row_t *row = db_row(rq, Q_PROJECT_CONFIG_GET,
        value_uuid(rq->user), value_uuid(rq_param_uuid(rq, 0)));

    if (row == NULL) {
        resource_raise_missing(rq, &project_resource);
    }
    if (!resource_not_modified(rq, db_int(row, "version"))) {
        rq_reply(rq, 200, db_text(row, "config"));
    }
}

static void
check_config(request_t *rq)
{
    if (rq->body.len > CONFIG_MAX) {
        rq_raise(rq, 413, "body_too_large",
            "a configuration has at most %d bytes", CONFIG_MAX);
    }
    if (json_depth(rq_json(rq), JSON_DEPTH_LIMIT) > JSON_DEPTH_LIMIT) {
        rq_invalid(rq, "", "too_deep",
            "a configuration is nested at most %d deep", JSON_DEPTH_LIMIT);
    }
    rq_check(rq);
}

/* The document is kept as it was sent: jsonb is more exact about numbers than
 * our parser, and may refuse one that it took. */
void
op_project_config_put(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    const db_result_t *result;
    const db_row_t *row;

    check_config(rq);
    result = db_exec(rq, Q_PROJECT_CONFIG_PUT, value_uuid(rq->user),
        value_uuid(id), resource_if_match(rq), value_json(rq->body));
    if (result->violation == DB_CHECK) {
        rq_invalid(rq, "", "invalid_value",
            "a number is beyond what can be stored");
        rq_check(rq);
    }
    row = db_first_row(rq, result);
    if (row == NULL) {
        resource_refuse(rq, &project_resource, id);
    }
    event_publish(rq, row);
    resource_set_etag(rq, db_int(row, "version"));
    rq_reply(rq, 200, db_text(row, "config"));
}
