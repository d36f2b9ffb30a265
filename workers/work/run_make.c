/* run_make.c: from steps to a run and its tasks. What the steps quote of the
 * input is filled in here, once; the inputs of those that quote other steps
 * stay as they are until they are claimed (run_inputs.c). */

#include "run.h"

#include "engine.h"
#include "template.h"

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

static void
release(void *arg)
{
    json_decref(arg);
}

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
    arena_cleanup(making->rq->arena, release, values);
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

static edge_t *
make_edges(arena_t *arena, const graph_t *graph)
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

static value_t
optional(const hive_uuid_t *id)
{
    return uuid_is_zero(id) ? value_null() : value_uuid(*id);
}

static const db_row_t *
insert_run(const making_t *making)
{
    request_t *rq = making->rq;
    const run_spec_t *spec = making->spec;
    slice_t input = SLICE("{}");
    const db_row_t *row;

    if (spec->input != NULL) {
        input = template_dump(rq->arena, spec->input);
        assert(input.data != NULL);
    }
    row = db_row(rq, Q_RUN_CREATE, value_uuid(making->id),
        value_uuid(spec->owner), optional(&spec->project),
        optional(&spec->workflow),
        spec->workflow_version > 0 ? value_int(spec->workflow_version)
                                   : value_null(),
        value_text(spec->name.data != NULL ? spec->name : SLICE("")),
        value_text(spec->on_failure), value_json(input),
        value_int((int64_t) spec->steps->count),
        value_bool(engine_events()));
    assert(row != NULL);
    if (!db_is_null(row, db_column(row->result, "_channel"))) {
        event_publish(rq, row);
    }
    return row;
}

const db_row_t *
run_make(request_t *rq, const run_spec_t *spec)
{
    making_t making = { .rq = rq, .spec = spec, .id = resource_new_id() };
    const graph_t *graph = &spec->steps->graph;
    int own = rq->transaction == NULL;
    const db_row_t *row;
    new_task_t *tasks;
    edge_t *edges;

    making.values = make_values(&making);
    tasks = make_tasks(&making);
    edges = make_edges(rq->arena, graph);
    if (own) {
        db_begin(rq);
    }
    row = insert_run(&making);
    tasks_enqueue(rq, tasks, spec->steps->count, edges, graph->nedges);
    if (own) {
        db_commit(rq);
    }
    return row;
}

const db_row_t *
run_make_workflow(request_t *rq, const db_row_t *workflow, slice_t name,
    const json_t *input)
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
    arena_cleanup(rq->arena, release, json);
    /* Checked when it was stored; an older Hive may have taken other steps. */
    if (steps_read(&report, json, STEPS_STORED_MAX, &steps) != 0) {
        rq_check(rq);
    }
    return run_make(rq, &spec);
}
