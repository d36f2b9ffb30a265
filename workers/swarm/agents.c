/* agents.c: who is in a swarm: they come, are seen and retire; and the edges
 * between them, which are another epoch each time. */

#include "internal.h"

#define NAME_MAX_CHARS 100
#define CAPABILITIES_MAX 32

static const column_t columns[] = {
    { "type", COLUMN_TEXT, REQUIRED | WRITABLE, .min = 1, .max = 50 },
    { "name", COLUMN_TEXT, WRITABLE | NULLABLE, .min = 1,
        .max = NAME_MAX_CHARS },
    { "capabilities", COLUMN_TEXTS, WRITABLE, .max = CAPABILITIES_MAX,
        .element_max = 50, .fallback = "[]" },
    { "model", COLUMN_TEXT, WRITABLE | NULLABLE, .min = 1,
        .max = MODEL_TEXT_MAX },
    { "capacity", COLUMN_INT, WRITABLE | NULLABLE, .min = 1, .max = 100 },
};

enum { IN_TYPE, IN_NAME, IN_CAPABILITIES, IN_MODEL, IN_CAPACITY, INPUTS };

_Static_assert(sizeof(columns) / sizeof(columns[0]) == INPUTS, "one each");

static const resource_t shape = {
    .name = "agent", .columns = columns, .ncolumns = INPUTS
};

/* ---- the team ---- */

const slice_t *
read_texts(request_t *rq, slice_t json, size_t *count)
{
    json_t *array = json_loadb(json.data, json.len, 0, NULL), *item;
    slice_t *texts = arena_alloc(rq->arena,
        (json_array_size(array) + 1) * sizeof(*texts));
    size_t i;

    *count = 0;
    json_array_foreach(array, i, item) {
        texts[(*count)++] = arena_slice(rq->arena,
            (slice_t) { json_string_value(item), json_string_length(item) });
    }
    json_decref(array);
    return texts;
}

static agent_t
read_agent(request_t *rq, const db_row_t *row)
{
    agent_t agent = {
        .id = db_uuid(row, "id"),
        .name = db_text(row, "name"),
        .type = (agent_type_t) agent_type_parse(db_text(row, "type")),
        .model = db_text(row, "model"),
        .capacity = (int) db_int(row, "capacity"),
        .active = (int) db_int(row, "active"),
        .succeeded = db_int(row, "succeeded"),
        .failed = db_int(row, "failed"),
        .busy_ms = db_int(row, "busy_ms"),
        .nano_usd = db_int(row, "nano_usd"),
        .seq = (int) db_int(row, "seq"),
    };

    agent.capabilities = read_texts(rq, db_text(row, "capabilities"),
        &agent.ncapabilities);
    return agent;
}

team_t
team_read(request_t *rq, hive_uuid_t swarm, slice_t topology,
    const hive_uuid_t *coordinator, size_t most)
{
    const db_result_t *rows = db_rows(rq, Q_SWARM_TEAM, value_uuid(swarm));
    team_t team = { (topology_t) slice_index(topology, topologies), NULL, 0 };

    team.agents = arena_alloc(rq->arena,
        ((size_t) rows->nrows + 1) * sizeof(*team.agents));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        team.agents[team.count++] = read_agent(rq, &row);
    }
    team_order(&team, coordinator);
    if (team.count > most) {
        team.count = most;
    }
    return team;
}

long
team_find(const team_t *team, const hive_uuid_t *id)
{
    for (size_t i = 0; i < team->count; i++) {
        if (uuid_equal(&team->agents[i].id, id)) {
            return (long) i;
        }
    }
    return -1;
}

void
team_store_edges(request_t *rq, hive_uuid_t swarm, slice_t topology)
{
    team_t team = team_read(rq, swarm, topology, NULL, AGENTS_MAX);
    hive_uuid_t *above = arena_alloc(rq->arena,
        2 * (team.count + 1) * sizeof(*above));
    hive_uuid_t *below = above + team.count + 1;
    size_t n = 0;

    for (size_t i = 1; i < team.count; i++) {
        above[n] = team.agents[team_parent(&team, i)].id;
        below[n++] = team.agents[i].id;
    }
    db_rows(rq, Q_SWARM_EDGES_MAKE, value_uuid(swarm),
        value_uuids(above, n), value_uuids(below, n));
}

/* ---- coming ---- */

typedef struct {
    request_t *rq;
    size_t at;
} reading_t;

static void
report_agent(void *arg, const char *field, const char *code,
    const char *message)
{
    reading_t *reading = arg;

    rq_invalid(reading->rq,
        arena_printf(reading->rq->arena, "agents[%zu].%s", reading->at,
            field), code, "%s", message);
}

/* One as the statement takes it. */
static void
put_agent(buf_t *out, const assignment_t *in, int type, hive_uuid_t id)
{
    value_t uuid = value_uuid(id);
    value_t capacity = in[IN_CAPACITY].value;

    if (capacity.type == VALUE_NULL) {
        capacity = value_int(type == AGENT_COORDINATOR ? 8 : 1);
    }
    buf_puts(out, "{\"id\":");
    json_put_value(out, &uuid);
    buf_printf(out, ",\"type\":\"%s\",\"name\":", agent_types[type]);
    json_put_value(out, &in[IN_NAME].value);
    buf_puts(out, ",\"capabilities\":");
    json_put_value(out, &in[IN_CAPABILITIES].value);
    buf_puts(out, ",\"model\":");
    json_put_value(out, &in[IN_MODEL].value);
    buf_puts(out, ",\"capacity\":");
    json_put_value(out, &capacity);
    buf_putc(out, '}');
}

static slice_t
read_agents(request_t *rq, const json_t *agents, hive_uuid_t *ids)
{
    reading_t reading = { rq, 0 };
    report_t report = { rq->arena, report_agent, &reading, 0 };
    assignment_t in[INPUTS];
    json_t *agent;
    buf_t out;

    buf_init(&out, rq->arena, 1024);
    buf_putc(&out, '[');
    json_array_foreach((json_t *) agents, reading.at, agent) {
        unsigned before = report.count;
        int type;

        if (!json_is_object(agent)) {
            report_invalid(&report, "", "wrong_type", "must be an object");
            continue;
        }
        assignments_read(&report, &shape, agent, 1, in);
        if (report.count > before) {
            continue;
        }
        type = agent_type_parse(in[IN_TYPE].value.as.text);
        if (type < 0) {
            report_invalid(&report, "type", "invalid_value",
                "must be coordinator, researcher, coder, analyst, architect,"
                " tester, reviewer, optimizer, documenter, monitor,"
                " specialist or worker");
            continue;
        }
        if (in[IN_MODEL].value.type != VALUE_NULL) {
            check_model(rq, "model", json_object_get(agent, "model"));
        }
        ids[reading.at] = resource_new_id();
        buf_puts(&out, reading.at > 0 ? "," : "");
        put_agent(&out, in, type, ids[reading.at]);
    }
    rq_check(rq);
    buf_putc(&out, ']');
    return buf_slice(&out);
}

void
agents_spawn(request_t *rq, hive_uuid_t swarm, const json_t *agents,
    size_t present, size_t most)
{
    size_t count = json_array_size(agents);
    hive_uuid_t *ids;
    const db_result_t *result;
    slice_t json;

    if (count == 0 || count > AGENTS_MAX) {
        rq_invalid(rq, "agents", count > 0 ? "too_many" : "wrong_type",
            "must be an array of 1 to %d agents", AGENTS_MAX);
        rq_check(rq);
    }
    if (present + count > most) {
        rq_raise(rq, 409, "swarm_full",
            "the swarm has %zu agents, and max_agents is %zu", present, most);
    }
    ids = arena_alloc(rq->arena, count * sizeof(*ids));
    json = read_agents(rq, agents, ids);
    result = db_exec(rq, Q_AGENT_SPAWN, value_uuid(swarm), value_json(json));
    if (result->violation == DB_UNIQUE) {
        rq_raise(rq, 409, "agent_name_taken",
            "an agent of this swarm has that name");
    }
    db_expect_rows(rq, result);
    for (size_t i = 0; i < count; i++) {
        publish_rows(rq, db_rows(rq, Q_AGENT_TELL, value_uuid(swarm),
            value_uuid(ids[i]), value_string("agent.spawned")));
    }
}

typedef struct {
    hive_uuid_t swarm;
    const json_t *agents;
} spawning_t;

static void
spawn(request_t *rq, void *arg)
{
    spawning_t *spawning = arg;
    const db_row_t *row = swarm_lock(rq, spawning->swarm);
    slice_t topology = db_text(row, "topology");
    team_t team;

    if (!slice_equal(db_text(row, "state"), SLICE("active"))) {
        rq_raise(rq, 409, "swarm_not_active",
            "the swarm takes no new agents: it is %.*s",
            (int) db_text(row, "state").len, db_text(row, "state").data);
    }
    team = team_read(rq, spawning->swarm, topology, NULL, AGENTS_MAX);
    agents_spawn(rq, spawning->swarm, spawning->agents, team.count,
        (size_t) db_int(row, "max_agents"));
    team_store_edges(rq, spawning->swarm, topology);
}

static void
reply_agents(request_t *rq, int status, hive_uuid_t swarm, int all)
{
    const db_result_t *rows = db_rows(rq, Q_AGENT_LIST, value_uuid(rq->user),
        value_uuid(swarm), value_bool(all));
    buf_t out;

    if (rows->nrows == 0
        && resource_row(rq, &swarm_resource, swarm) == NULL) {
        resource_raise_missing(rq, &swarm_resource);
    }
    buf_init(&out, rq->arena, 2048);
    buf_puts(&out, "{\"items\":");
    db_json_rows(&out, rows);
    buf_puts(&out, ",\"next_cursor\":null}");
    rq_reply(rq, status, buf_slice(&out));
}

/* One as the body itself, or several as its "agents". */
void
op_agent_spawn(request_t *rq)
{
    json_t *body = rq_json(rq), *agents = json_object_get(body, "agents");
    json_t *one;
    spawning_t spawning = { .swarm = rq_param_uuid(rq, 0) };

    if (agents == NULL) {
        one = json_pack("[O]", body);
        agents = one;
        arena_json(rq->arena, one);
    } else if (json_object_size(body) > 1) {
        rq_invalid(rq, "agents", "excluded",
            "stands alone: an array of agents");
        rq_check(rq);
    }
    spawning.agents = agents;
    db_transact(rq, spawn, &spawning);
    reply_agents(rq, 201, spawning.swarm, 0);
}

void
op_agent_list(request_t *rq)
{
    const query_arg_t *args;
    size_t count;
    int all = 0;

    args = rq_query(rq, &count);
    for (size_t i = 0; i < count; i++) {
        if (!slice_equal(args[i].name, SLICE("retired"))
            || bool_parse(args[i].value, &all) != 0) {
            rq_invalid(rq, "retired", "unknown_parameter",
                "only retired=true or false is known here");
        }
    }
    rq_check(rq);
    reply_agents(rq, 200, rq_param_uuid(rq, 0), all);
}

/* ---- going ---- */

typedef struct {
    hive_uuid_t swarm, agent;
} retiring_t;

static void
retire(request_t *rq, void *arg)
{
    retiring_t *retiring = arg;
    const db_row_t *row;
    slice_t topology;

    db_rows(rq, Q_AGENT_LOCK, value_uuid(rq->user),
        value_uuid(retiring->agent));
    row = swarm_lock(rq, retiring->swarm);
    topology = db_text(row, "topology");
    if (db_row(rq, Q_AGENT_RETIRE, value_uuid(retiring->swarm),
            value_uuid(retiring->agent)) == NULL) {
        rq_raise(rq, 404, "agent_not_found",
            "no agent of this swarm has that id, or it has retired");
    }
    publish_rows(rq, db_rows(rq, Q_AGENT_TELL, value_uuid(retiring->swarm),
        value_uuid(retiring->agent), value_string("agent.retired")));
    team_store_edges(rq, retiring->swarm, topology);
}

void
op_agent_retire(request_t *rq)
{
    retiring_t retiring = { rq_param_uuid(rq, 0), rq_param_uuid(rq, 1) };

    db_transact(rq, retire, &retiring);
    rq_reply(rq, 204, SLICE(""));
}
