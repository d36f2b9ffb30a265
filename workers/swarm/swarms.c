/* swarms.c: swarms as rows: made, seen, changed, shut down. */

#include "internal.h"

#include "workers/llm/llm.h"
#include "workers/realtime/realtime.h"

const char *const swarm_strategies[] = { "parallel", "sequential", NULL };
static const char *const states[] = { "active", "draining", "terminated",
    NULL };

static const column_t swarm_columns[] = {
    { "id", COLUMN_UUID, .flags = 0 },
    { "owner_id", COLUMN_UUID, .flags = 0 },
    { "project_id", COLUMN_UUID, .flags = FILTERABLE },
    { "name", COLUMN_TEXT, REQUIRED | WRITABLE | FILTERABLE | SORTABLE,
        .min = 1, .max = 200 },
    { "topology", COLUMN_ENUM, CREATE_ONLY | FILTERABLE,
        .values = topologies, .fallback = "\"star\"" },
    { "strategy", COLUMN_ENUM, WRITABLE, .values = swarm_strategies,
        .fallback = "\"parallel\"" },
    { "max_agents", COLUMN_INT, WRITABLE, .min = 1, .max = AGENTS_MAX,
        .fallback = "8" },
    { "model", COLUMN_TEXT, WRITABLE, .min = 1, .max = MODEL_TEXT_MAX,
        .fallback = "\"echo\"" },
    { "models", COLUMN_JSON, WRITABLE, .max = 4096, .fallback = "{}" },
    { "state", COLUMN_ENUM, FILTERABLE, .values = states },
    { "epoch", COLUMN_INT, .flags = 0 },
    { "agents", COLUMN_INT, .shown = "(select count(*) from swarm_agents a"
        " where a.swarm_id = @.id and a.retired_at is null)" },
    { "version", COLUMN_INT, .flags = 0 },
    { "created_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE },
    { "updated_at", COLUMN_TIME, .flags = 0 },
    { "terminated_at", COLUMN_TIME, .flags = NULLABLE },
};

const resource_t swarm_resource = {
    .name = "swarm",
    .table = "swarms",
    .owner_column = "owner_id",
    .viewer = "t.owner_id = $1::uuid",
    .editor = "t.owner_id = $1::uuid",
    .columns = swarm_columns,
    .ncolumns = sizeof(swarm_columns) / sizeof(swarm_columns[0]),
    .default_sort = "-created_at",
};

void
publish_rows(request_t *rq, const db_result_t *rows)
{
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        event_publish(rq, &row);
    }
}

void
check_model(request_t *rq, const char *field, const json_t *model)
{
    if (!json_is_string(model)
        || json_string_length(model) > MODEL_TEXT_MAX) {
        rq_invalid(rq, field, "wrong_type", "must be the id of a model");
        rq_check(rq);
    }
    llm_model(rq, (slice_t) { json_string_value(model),
        json_string_length(model) });
}

const db_row_t *
swarm_lock(request_t *rq, hive_uuid_t id)
{
    const db_row_t *row = db_row(rq, Q_SWARM_LOCK, value_uuid(rq->user),
        value_uuid(id));

    if (row == NULL) {
        resource_raise_missing(rq, &swarm_resource);
    }
    return row;
}

/* ---- made and changed ---- */

static void
check_models(request_t *rq, const json_t *body)
{
    const json_t *models = json_object_get(body, "models");
    const json_t *model = json_object_get(body, "model");
    const char *type;

    if (model != NULL && !json_is_null(model)) {
        check_model(rq, "model", model);
    }
    if (models != NULL && !json_is_null(models) && !json_is_object(models)) {
        rq_invalid(rq, "models", "wrong_type",
            "must be an object of models by agent type");
        rq_check(rq);
    }
    json_object_foreach((json_t *) models, type, model) {
        /* not by another system's name for a type: one of them counts */
        if (slice_index((slice_t) { type, strlen(type) }, agent_types) < 0) {
            rq_invalid(rq, "models", "invalid_value",
                "\"%.50s\" is no type of agent: coordinator, coder, ...",
                type);
            rq_check(rq);
        }
        check_model(rq, "models", model);
    }
}

/* What a body says, as JSON for the statement; defaults filled in. */
static slice_t
read_swarm(request_t *rq, const json_t *body)
{
    static const char *const wanted[] = { "name", "topology", "strategy",
        "max_agents", "model", "models", NULL };
    report_t report = report_to(rq);
    assignment_t read[sizeof(swarm_columns) / sizeof(swarm_columns[0])];
    json_t *rest = json_copy((json_t *) body);
    size_t n;
    buf_t out;

    json_object_del(rest, "agents");
    json_object_del(rest, "project_id");
    n = assignments_read(&report, &swarm_resource, rest, 1, read);
    json_decref(rest);
    rq_check(rq);
    buf_init(&out, rq->arena, 512);
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; wanted[k] != NULL; k++) {
            if (strcmp(read[i].column->name, wanted[k]) == 0) {
                buf_printf(&out, "%c\"%s\":", out.len == 0 ? '{' : ',',
                    wanted[k]);
                json_put_value(&out, &read[i].value);
            }
        }
    }
    buf_putc(&out, '}');
    return buf_slice(&out);
}

static value_t
read_project(request_t *rq, const json_t *body)
{
    const json_t *project = json_object_get(body, "project_id");
    hive_uuid_t id;

    if (project == NULL || json_is_null(project)) {
        return value_null();
    }
    if (!json_is_string(project) || uuid_parse(json_string_value(project),
            json_string_length(project), &id) != 0) {
        rq_invalid(rq, "project_id", "invalid_uuid", "must be a uuid");
        rq_check(rq);
    }
    return value_uuid(id);
}

typedef struct {
    hive_uuid_t id;
    slice_t json;
    value_t project;
    const json_t *body;
} creating_t;

static void
create(request_t *rq, void *arg)
{
    creating_t *made = arg;
    const json_t *agents = json_object_get(made->body, "agents");
    const db_row_t *row;

    row = db_row(rq, Q_SWARM_CREATE, value_uuid(made->id),
        value_uuid(rq->user), made->project, value_json(made->json));
    if (row == NULL) {
        rq_invalid(rq, "project_id", "not_found", "is no project of yours");
        rq_check(rq);
    }
    event_publish(rq, row);
    if (agents != NULL) {
        row = swarm_lock(rq, made->id);
        agents_spawn(rq, made->id, agents, 0,
            (size_t) db_int(row, "max_agents"));
        team_store_edges(rq, made->id, db_text(row, "topology"));
    }
}

void
op_swarm_create(request_t *rq)
{
    const json_t *body = rq_json(rq);
    creating_t made = { .id = resource_new_id(), .body = body };

    made.json = read_swarm(rq, body);
    made.project = read_project(rq, body);
    check_models(rq, body);
    db_transact(rq, create, &made);
    db_reply_row(rq, 201, resource_row(rq, &swarm_resource, made.id));
}

void
op_swarm_list(request_t *rq)
{
    resource_list(rq, &swarm_resource);
}

void
op_swarm_get(request_t *rq)
{
    resource_get(rq, &swarm_resource);
}

void
op_swarm_update(request_t *rq)
{
    check_models(rq, rq_json(rq));
    resource_update(rq, &swarm_resource);
}

/* What runs would be left without whom it is for. */
void
op_swarm_delete(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    const db_row_t *row = resource_row(rq, &swarm_resource, id);

    if (row == NULL) {
        resource_raise_missing(rq, &swarm_resource);
    }
    if (!slice_equal(db_text(row, "state"), SLICE("terminated"))) {
        rq_raise(rq, 409, "swarm_not_terminated",
            "shut the swarm down first: POST .../shutdown");
    }
    resource_delete(rq, &swarm_resource);
}

/* ---- seen ---- */

static void
reply_row(request_t *rq, query_id_t query)
{
    const db_row_t *row = db_row(rq, query, value_uuid(rq->user),
        value_uuid(rq_param_uuid(rq, 0)));
    buf_t out;

    if (row == NULL) {
        resource_raise_missing(rq, &swarm_resource);
    }
    buf_init(&out, rq->arena, 1024);
    db_json_row(&out, row);
    rq_reply(rq, 200, buf_slice(&out));
}

/* In figures, and who is in it. */
void
op_swarm_status(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    const db_row_t *row = db_row(rq, Q_SWARM_STATUS, value_uuid(rq->user),
        value_uuid(id));
    const db_result_t *agents;
    buf_t out;

    if (row == NULL) {
        resource_raise_missing(rq, &swarm_resource);
    }
    agents = db_rows(rq, Q_AGENT_LIST, value_uuid(rq->user), value_uuid(id),
        value_bool(0));
    buf_init(&out, rq->arena, 2048);
    db_json_row(&out, row);
    out.len--;                  /* its brace */
    buf_puts(&out, ",\"members\":");
    db_json_rows(&out, agents);
    buf_putc(&out, '}');
    rq_reply(rq, 200, buf_slice(&out));
}

void
op_swarm_graph(request_t *rq)
{
    reply_row(rq, Q_SWARM_GRAPH);
}

/* ---- shut down ---- */

static int
read_force(request_t *rq)
{
    const json_t *body = rq->body.len > 0 ? rq_json(rq) : NULL;
    const json_t *force = json_object_get(body, "force");
    const char *name;
    json_t *value;

    json_object_foreach((json_t *) body, name, value) {
        if (strcmp(name, "force") != 0) {
            rq_invalid(rq, name, "unknown_member", "must be force");
        }
    }
    if (force != NULL && !json_is_boolean(force)) {
        rq_invalid(rq, "force", "wrong_type", "must be true or false");
    }
    rq_check(rq);
    return json_is_true(force);
}

typedef struct {
    hive_uuid_t id;
    int force;
} shutdown_t;

/* Runs are locked before their swarm, so they are asked to end first; those
 * that come between are found by who looks again. */
static void
shut_down(request_t *rq, void *arg)
{
    shutdown_t *given = arg;
    const db_result_t *runs;

    if (given->force) {
        runs = db_rows(rq, Q_SWARM_LIVE_RUNS, value_uuid(given->id));
        for (int i = 0; i < runs->nrows; i++) {
            db_row_t row = db_row_at(runs, i);

            run_cancel(rq, db_uuid(&row, "id"));
        }
    }
    swarm_lock(rq, given->id);
    publish_rows(rq, db_rows(rq, Q_SWARM_SHUTDOWN, value_uuid(given->id)));
}

void
op_swarm_shutdown(request_t *rq)
{
    shutdown_t given = { rq_param_uuid(rq, 0), read_force(rq) };

    if (resource_row(rq, &swarm_resource, given.id) == NULL) {
        resource_raise_missing(rq, &swarm_resource);
    }
    db_transact(rq, shut_down, &given);
    db_reply_row(rq, 200, resource_row(rq, &swarm_resource, given.id));
}

/* ---- the channel ---- */

static const db_row_t *
swarm_state(request_t *rq, hive_uuid_t id)
{
    return resource_state(rq, &swarm_resource, id);
}

void
swarm_init(unsigned slots)
{
    static const channel_kind_t kind = { "swarm",
        { { Q_CHANNEL_SWARMS, Q_CHANNEL_SWARMS_AFTER, 0 } }, 1,
        swarm_state };
    static executor_t executor = { "swarm", 0, 0, execute_swarm };

    executor.slots = slots;
    executor_add(&executor);
    channel_kind_add(&kind);
}
