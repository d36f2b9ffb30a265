/* run_make.c: from steps to a run and its tasks. What the steps quote of the
 * input is filled in here, once; the inputs of those that quote other steps
 * stay as they are until they are claimed (run_inputs.c). */

#include "run.h"

#include "engine.h"
#include "enqueue.h"
#include "template.h"
#include "work.h"

#include "workers/db/event.h"

#include <assert.h>

/* Between the ranks of two depths, for tasks that are added later. */
#define RANK_SHIFT 20

typedef struct {
    request_t *rq;
    const run_spec_t *spec;
    hive_uuid_t id;
    json_t *values;             /* of templates */
    size_t step;                /* in hand */
} making_t;

static json_t *
uuid_json(const hive_uuid_t *id)
{
    char text[UUID_TEXT];

    if (uuid_is_zero(id)) {
        return json_null();
    }
    uuid_format(id, text);
    return json_stringn(text, UUID_TEXT);
}

/* What can be quoted before any step has ended. */
static json_t *
make_values(const making_t *making)
{
    const run_spec_t *spec = making->spec;
    json_t *values = json_object();
    json_t *run = json_object();

    json_object_set_new(run, "id", uuid_json(&making->id));
    json_object_set_new(run, "name",
        json_stringn(spec->name.data != NULL ? spec->name.data : "",
            spec->name.len));
    json_object_set_new(run, "workflow_id", uuid_json(&spec->workflow));
    json_object_set_new(values, "run", run);
    if (spec->input != NULL) {
        json_object_set(values, "inputs", (json_t *) spec->input);
    } else {
        json_object_set_new(values, "inputs", json_object());
    }
    arena_json(making->rq->arena, values);
    return values;
}

__attribute__((noreturn))
static void
raise_template(const making_t *making, const char *why)
{
    rq_raise(making->rq, 422, "template_error", "steps[%zu].input: %s",
        making->step, why);
}

/* What a later filling would not find either is said at once. */
static void
check_quote(void *arg, const char *field, const quote_t *quote)
{
    making_t *making = arg;

    (void) field;
    if (quote->step.data == NULL
        && template_find(making->values, quote->text) == NULL)
    {
        raise_template(making, arena_printf(making->rq->arena,
            "there is no %.*s", (int) quote->text.len, quote->text.data));
    }
}

static slice_t
make_input(making_t *making, const step_t *step)
{
    arena_t *arena = making->rq->arena;
    report_t report = report_to(making->rq);
    const char *why = NULL;
    json_t *filled;
    slice_t text;

    if (step->quotes_steps) {
        template_scan(&report, "input", step->input, check_quote, making);
    }
    if (!step->templated || step->quotes_steps) {
        return step->task.input;
    }
    filled = template_apply(arena, step->input, making->values, &why);
    if (filled == NULL) {
        raise_template(making, why);
    }
    text = template_dump(arena, filled);
    json_decref(filled);
    if (text.data == NULL) {
        raise_template(making, "what is filled in is longer than 1 MiB");
    }
    return text;
}

static new_task_t *
make_tasks(making_t *making)
{
    const run_spec_t *spec = making->spec;
    const steps_t *steps = spec->steps;
    int goes_on = slice_equal(spec->on_failure, SLICE("continue"));
    new_task_t *tasks = arena_alloc(making->rq->arena,
        steps->count * sizeof(*tasks));

    for (size_t i = 0; i < steps->count; i++) {
        const step_t *step = &steps->items[i];
        new_task_t *task = &tasks[i];

        making->step = i;
        *task = step->task;
        task->owner = spec->owner;
        task->project = spec->project;
        task->run = making->id;
        task->input = make_input(making, step);
        task->templated = step->quotes_steps;
        task->rank = (int64_t) steps->graph.depth[i] << RANK_SHIFT;
        task->deps_left = (int) graph_nparents(&steps->graph, i);
        task->dependents = (int) graph_nchildren(&steps->graph, i);
        task->run_on_failure = step->run_on_failure >= 0
                               ? step->run_on_failure : goes_on;
    }
    return tasks;
}

edge_t *
run_edges(arena_t *arena, const graph_t *graph)
{
    edge_t *edges = arena_alloc(arena, (graph->nedges + 1) * sizeof(*edges));

    for (size_t child = 0; child < graph->nsteps; child++) {
        for (uint32_t i = graph->first_parent[child];
            i < graph->first_parent[child + 1]; i++)
        {
            edges[i] = (edge_t) { graph->parents[i], (uint32_t) child };
        }
    }
    return edges;
}

/* ---- the run itself ---- */

static void
put(buf_t *out, const char *name, value_t value)
{
    buf_printf(out, "%c\"%s\":", out->len > 0 ? ',' : '{', name);
    json_put_value(out, &value);
}

static value_t
optional(const hive_uuid_t *id)
{
    return uuid_is_zero(id) ? value_null() : value_uuid(*id);
}

/* What a new run has, in the order of GET; the statement takes from it what
 * is not the same for all. */
static slice_t
put_run(const making_t *making)
{
    const run_spec_t *spec = making->spec;
    value_t total = value_int((int64_t) spec->steps->count);
    value_t time = value_time(task_id_time(&making->id));
    slice_t input = SLICE("{}");
    buf_t out;

    if (spec->input != NULL) {
        input = template_dump(making->rq->arena, spec->input);
        assert(input.data != NULL);
    }
    buf_init(&out, making->rq->arena, 768 + input.len);
    put(&out, "id", value_uuid(making->id));
    put(&out, "owner_id", value_uuid(spec->owner));
    put(&out, "project_id", optional(&spec->project));
    put(&out, "workflow_id", optional(&spec->workflow));
    put(&out, "workflow_version", spec->workflow_version > 0
        ? value_int(spec->workflow_version) : value_null());
    put(&out, "name", value_text(spec->name.data != NULL ? spec->name
                                                        : SLICE("")));
    put(&out, "on_failure", value_text(spec->on_failure));
    put(&out, "state", value_string("running"));
    put(&out, "cancel_requested", value_bool(0));
    put(&out, "input", value_json(input));
    put(&out, "total", total);
    put(&out, "left", total);
    put(&out, "succeeded", value_int(0));
    put(&out, "failed", value_int(0));
    put(&out, "cancelled", value_int(0));
    put(&out, "skipped", value_int(0));
    put(&out, "progress", value_int(0));
    put(&out, "version", value_int(1));
    put(&out, "created_at", time);
    put(&out, "updated_at", time);
    put(&out, "finished_at", value_null());
    put(&out, "output", value_null());
    buf_putc(&out, '}');
    return buf_slice(&out);
}

static void
publish(const making_t *making)
{
    request_t *rq = making->rq;
    char id[UUID_TEXT + 1] = { 0 };
    const char *channel, *data;
    event_t event;

    uuid_format(&making->id, id);
    channel = arena_printf(rq->arena, "workflow:%s", id);
    data = arena_printf(rq->arena,
        "{\"state\":\"running\",\"total\":%zu,\"left\":%zu}",
        making->spec->steps->count, making->spec->steps->count);
    event = (event_t) { .kind = EVENT_CHANGE,
        .channel = { channel, strlen(channel) }, .offset = 1,
        .type = SLICE("run.created"), .data = { data, strlen(data) },
        .time = task_id_time(&making->id) };
    event_send(rq, &event);
}

hive_uuid_t
run_make(request_t *rq, const run_spec_t *spec, slice_t *json)
{
    making_t making = { .rq = rq, .spec = spec, .id = resource_new_id() };
    const graph_t *graph = &spec->steps->graph;
    new_task_t *tasks;

    making.values = make_values(&making);
    tasks = make_tasks(&making);
    *json = put_run(&making);
    tasks_enqueue_run(rq, *json, tasks, spec->steps->count,
        run_edges(rq->arena, graph), graph->nedges);
    if (engine_events()) {
        publish(&making);
    }
    return making.id;
}

hive_uuid_t
run_make_workflow(request_t *rq, const db_row_t *workflow, slice_t name,
    const json_t *input, slice_t *made)
{
    slice_t text = db_text(workflow, "steps");
    json_t *json = json_loadb(text.data, text.len, 0, NULL);
    report_t report = report_to(rq);
    steps_t steps;
    run_spec_t spec = {
        .owner = db_uuid(workflow, "owner_id"),
        .project = db_uuid(workflow, "project_id"),
        .workflow = db_uuid(workflow, "id"),
        .workflow_version = db_int(workflow, "version"),
        .name = name.data != NULL ? name : db_text(workflow, "name"),
        .on_failure = db_text(workflow, "on_failure"),
        .steps = &steps, .input = input,
    };

    assert(json != NULL);
    arena_json(rq->arena, json);
    /* Checked when it was stored; an older Hive may have taken other steps. */
    if (steps_read(&report, json, STEPS_STORED_MAX, &steps) != 0) {
        rq_check(rq);
    }
    return run_make(rq, &spec, made);
}

hive_uuid_t
run_begin(request_t *rq, const run_begin_t *begin, slice_t *made)
{
    report_t report = report_to(rq);
    steps_t steps;
    run_spec_t spec = {
        .owner = begin->owner, .project = begin->project,
        .name = begin->name, .on_failure = SLICE("fail_fast"),
        .steps = &steps,
    };

    if (steps_read(&report, begin->steps, STEPS_RUN_MAX, &steps) != 0) {
        rq_check(rq);
    }
    return run_make(rq, &spec, made);
}
