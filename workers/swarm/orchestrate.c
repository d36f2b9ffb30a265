/* orchestrate.c: POST swarms/{id}/tasks: a piece of work becomes a run.
 *
 *     {"description": "...", "requirements": "...", "priority": "high",
 *      "strategy": "parallel", "max_agents": 5, "max_tokens": 2048,
 *      "subtasks": [...]}
 *
 * With subtasks all steps are made now; without, a plan and a result, and the
 * plan adds the parts between them (step_plan.c). */

#include "internal.h"

#define TEXT_MAX       20000
#define PLACE_RESULT   200000

static const column_t columns[] = {
    { "description", COLUMN_TEXT, REQUIRED | WRITABLE, .min = 1,
        .max = TEXT_MAX },
    { "requirements", COLUMN_TEXT, WRITABLE, .max = TEXT_MAX,
        .fallback = "\"\"" },
    { "strategy", COLUMN_ENUM, WRITABLE | NULLABLE,
        .values = swarm_strategies },
    { "max_agents", COLUMN_INT, WRITABLE, .min = 1, .max = AGENTS_MAX,
        .fallback = "100" },
    { "max_tokens", COLUMN_INT, WRITABLE, .min = 1, .max = 1000000,
        .fallback = "4096" },
};

enum { IN_DESCRIPTION, IN_REQUIREMENTS, IN_STRATEGY, IN_AGENTS, IN_TOKENS,
    INPUTS };

_Static_assert(sizeof(columns) / sizeof(columns[0]) == INPUTS, "one each");

static const resource_t shape = {
    .name = "piece of work", .columns = columns, .ncolumns = INPUTS
};

typedef struct {
    hive_uuid_t swarm;
    const json_t *body;
    assignment_t in[INPUTS];
    int priority;
    hive_uuid_t made;
} given_t;

static void
read_body(request_t *rq, given_t *given)
{
    report_t report = report_to(rq);
    json_t *rest = json_copy((json_t *) given->body);
    const json_t *priority = json_object_get(given->body, "priority");

    json_object_del(rest, "subtasks");
    json_object_del(rest, "priority");
    assignments_read(&report, &shape, rest, 1, given->in);
    json_decref(rest);
    given->priority = priority == NULL ? 5 : task_priority_parse(priority);
    if (given->priority < 0) {
        report_invalid(&report, "priority", "invalid_value",
            "must be critical, high, medium, low or 0 to 9");
    }
    rq_check(rq);
}

/* ---- its row ---- */

static slice_t
put_run(request_t *rq, const order_t *order, const team_t *team,
    const db_row_t *swarm, int planned)
{
    value_t coordinator = value_uuid(team->agents[0].id);
    buf_t out;

    buf_init(&out, rq->arena, 1024);
    buf_puts(&out, "{\"description\":");
    json_put_string(&out, order->description);
    buf_puts(&out, ",\"requirements\":");
    json_put_string(&out, order->requirements);
    buf_printf(&out, ",\"topology\":\"%s\",\"strategy\":",
        topologies[team->topology]);
    json_put_string(&out, order->strategy);
    buf_printf(&out, ",\"epoch\":%lld,\"max_agents\":%zu,\"max_tokens\":%lld"
        ",\"priority\":%d,\"planned\":%s,\"coordinator\":",
        (long long) db_int(swarm, "epoch"), team->count,
        (long long) order->max_tokens, order->priority,
        planned ? "true" : "false");
    json_put_value(&out, &coordinator);
    buf_putc(&out, '}');
    return buf_slice(&out);
}

/* ---- its steps ---- */

static void
add_own_step(json_t *steps, buf_t *stored, const order_t *order,
    const team_t *team, step_role_t role, slice_t name, slice_t title,
    unsigned place)
{
    swarm_step_t step = { .role = role, .name = name, .consumer = -1 };

    json_array_append_new(steps, step_for_run(order, &team->agents[0], name,
        title));
    if (stored->len > 1) {
        buf_putc(stored, ',');
    }
    put_step(stored, team, &step, title, SLICE_NONE, place);
}

/* The result waits for whatever nobody else takes. */
static void
wait_for(json_t *steps, const compiled_t *compiled)
{
    json_t *last = json_array_get(steps, json_array_size(steps) - 1);
    json_t *after = json_array();

    if (compiled == NULL) {
        json_array_append_new(after, json_string("plan"));
    }
    for (size_t i = 0; compiled != NULL && i < compiled->nsteps; i++) {
        slice_t name = compiled->steps[i].name;

        if (compiled->steps[i].consumer < 0) {
            json_array_append_new(after, json_stringn(name.data, name.len));
        }
    }
    json_object_set_new(last, "depends_on", after);
}

static compiled_t *
compile_given(request_t *rq, const given_t *given, const order_t *order,
    team_t *team)
{
    const json_t *subtasks = json_object_get(given->body, "subtasks");
    int sequential = slice_equal(order->strategy, SLICE("sequential"));
    report_t report = report_to(rq);
    compiled_t *compiled;
    swarm_part_t *parts;
    size_t count;

    if (subtasks == NULL) {
        return NULL;
    }
    parts = parts_read(&report, "subtasks", subtasks, PARTS_MAX_GIVEN,
        sequential, &count);
    rq_check(rq);
    compiled = arena_alloc(rq->arena, sizeof(*compiled));
    compile(rq->arena, team, parts, count, sequential, compiled);
    if (compiled->failed >= 0) {
        rq_invalid(rq, arena_printf(rq->arena, "subtasks[%ld].needs",
            compiled->failed), "no_agent",
            "no agent of the swarm has these capabilities");
        rq_check(rq);
    }
    return compiled;
}

static void
make_run(request_t *rq, given_t *given, const db_row_t *swarm,
    const order_t *order, team_t *team)
{
    compiled_t *compiled = compile_given(rq, given, order, team);
    json_t *steps;
    slice_t run;
    buf_t stored;

    buf_init(&stored, rq->arena, 4096);
    buf_putc(&stored, '[');
    if (compiled == NULL) {
        steps = json_array();
        add_own_step(steps, &stored, order, team, STEP_PLAN, STEP_PLAN_NAME,
            SLICE("Plan"), 0);
    } else {
        slice_t all = steps_for_store(rq, team, compiled);

        steps = steps_for_run(rq, order, team, compiled);
        buf_put(&stored, all.data + 1, all.len - 2);
    }
    arena_json(rq->arena, steps);
    add_own_step(steps, &stored, order, team, STEP_REDUCE, STEP_RESULT_NAME,
        SLICE("Result"), PLACE_RESULT);
    wait_for(steps, compiled);
    buf_putc(&stored, ']');

    given->made = run_begin(rq, &(run_begin_t) { .owner = order->owner,
        .project = order->project, .name = db_text(swarm, "name"),
        .steps = steps }, &run);
    db_rows(rq, Q_SWARM_RUN_CREATE, value_uuid(given->made),
        value_uuid(order->swarm), value_uuid(order->owner),
        value_json(put_run(rq, order, team, swarm, compiled == NULL)));
    publish_rows(rq, db_rows(rq, Q_SWARM_STEPS_ADD, value_uuid(given->made),
        value_uuid(order->swarm), value_json(buf_slice(&stored)),
        value_json(compiled != NULL ? context_for_store(rq, team, compiled)
                                    : SLICE("[]")),
        value_string("run.created")));
}

/* ---- who does it ---- */

/* Each model once: not to find out in the middle. */
static void
check_team(request_t *rq, const team_t *team)
{
    if (team->count == 0) {
        rq_raise(rq, 409, "swarm_empty",
            "the swarm has no agents: POST .../agents first");
    }
    for (size_t i = 0; i < team->count; i++) {
        size_t k = 0;

        while (k < i && !slice_equal(team->agents[k].model,
                team->agents[i].model)) {
            k++;
        }
        if (k == i) {
            llm_model(rq, team->agents[i].model);
        }
    }
}

static void
orchestrate(request_t *rq, void *arg)
{
    given_t *given = arg;
    const db_row_t *swarm = swarm_lock(rq, given->swarm);
    const value_t *strategy = &given->in[IN_STRATEGY].value;
    order_t order = {
        .swarm = given->swarm, .owner = rq->user,
        .project = db_uuid(swarm, "project_id"),
        .description = given->in[IN_DESCRIPTION].value.as.text,
        .requirements = given->in[IN_REQUIREMENTS].value.as.text,
        .strategy = strategy->type != VALUE_NULL ? strategy->as.text
                                                 : db_text(swarm, "strategy"),
        .priority = given->priority,
        .max_tokens = given->in[IN_TOKENS].value.as.integer,
    };
    team_t team;

    if (!slice_equal(db_text(swarm, "state"), SLICE("active"))) {
        rq_raise(rq, 409, "swarm_not_active",
            "the swarm takes no more work: it is %.*s",
            (int) db_text(swarm, "state").len, db_text(swarm, "state").data);
    }
    team = team_read(rq, given->swarm, db_text(swarm, "topology"), NULL,
        (size_t) given->in[IN_AGENTS].value.as.integer);
    check_team(rq, &team);
    make_run(rq, given, swarm, &order, &team);
}

void
op_swarm_task_create(request_t *rq)
{
    given_t given = { .swarm = rq_param_uuid(rq, 0), .body = rq_json(rq) };
    const db_row_t *row;
    buf_t out;

    if (rq_header(rq, "idempotency-key").data == NULL) {
        rq_raise(rq, 400, "idempotency_key_required",
            "give an Idempotency-Key: a run that was begun twice would be"
            " paid for twice");
    }
    read_body(rq, &given);
    db_transact(rq, orchestrate, &given);
    row = db_row(rq, Q_SWARM_RUN_GET, value_uuid(rq->user),
        value_uuid(given.swarm), value_uuid(given.made));
    buf_init(&out, rq->arena, 4096);
    db_json_row(&out, row);
    rq_reply(rq, 201, buf_slice(&out));
}
