/* run_inputs.c: filling in what a claimed task quotes of steps before it. */

#include "template.h"

#include <assert.h>

#define NAMES_MAX 1000

typedef struct {
    request_t *rq;
    json_t *steps;              /* by name; null until its row is found */
    size_t missing;
} wanted_t;

__attribute__((noreturn))
static void
raise_template(request_t *rq, const char *why)
{
    rq_raise(rq, 422, "template_error", "input: %s", why);
}

static json_t *
load(request_t *rq, slice_t text)
{
    json_t *json = json_loadb(text.data, text.len, JSON_DECODE_ANY, NULL);

    if (json == NULL) {
        raise_template(rq, "it cannot be read as JSON");
    }
    return json;
}

static void
want(void *arg, const char *field, const quote_t *quote)
{
    wanted_t *wanted = arg;
    char name[128];

    (void) field;
    if (quote->step.data == NULL || quote->step.len >= sizeof(name)
        || json_object_size(wanted->steps) == NAMES_MAX)
    {
        return;
    }
    memcpy(name, quote->step.data, quote->step.len);
    name[quote->step.len] = '\0';
    if (json_object_get(wanted->steps, name) == NULL) {
        json_object_set_new(wanted->steps, name, json_null());
        wanted->missing++;
    }
}

static json_t *
column_json(request_t *rq, const db_row_t *row, const char *name)
{
    if (db_is_null(row, db_column(row->result, name))) {
        return json_null();
    }
    return load(rq, db_text(row, name));
}

static void
take_results(wanted_t *wanted, const db_result_t *rows)
{
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        slice_t step = db_text(&row, "step"), state = db_text(&row, "state");
        char *name = arena_strndup(wanted->rq->arena, step.data, step.len);
        json_t *found;

        if (!json_is_null(json_object_get(wanted->steps, name))) {
            continue;
        }
        found = json_object();
        json_object_set_new(wanted->steps, name, found);
        json_object_set_new(found, "state",
            json_stringn(state.data, state.len));
        json_object_set_new(found, "result",
            column_json(wanted->rq, &row, "result"));
        json_object_set_new(found, "error",
            column_json(wanted->rq, &row, "error"));
        wanted->missing--;
    }
}

/* Those still without a row. */
static value_t
missing_names(wanted_t *wanted)
{
    slice_t *names = arena_alloc(wanted->rq->arena,
        (wanted->missing + 1) * sizeof(*names));
    const char *name;
    json_t *value;
    size_t count = 0;

    json_object_foreach(wanted->steps, name, value) {
        if (json_is_null(value)) {
            names[count++] = (slice_t) { name, strlen(name) };
        }
    }
    return value_texts(names, count);
}

/* Most quote a step that they wait for; only what is further away is looked
 * for in the whole run. */
static void
find_results(wanted_t *wanted, hive_uuid_t task, hive_uuid_t run)
{
    request_t *rq = wanted->rq;

    if (wanted->missing > 0) {
        take_results(wanted, db_rows(rq, Q_RUN_RESULTS_NEAR,
            value_uuid(task), missing_names(wanted)));
    }
    if (wanted->missing > 0) {
        take_results(wanted, db_rows(rq, Q_RUN_RESULTS, value_uuid(run),
            missing_names(wanted)));
    }
}

static json_t *
make_values(request_t *rq, hive_uuid_t run, json_t *steps)
{
    const db_row_t *row = db_row(rq, Q_RUN_INPUTS, value_uuid(run));
    json_t *values, *facts;
    char id[UUID_TEXT];
    slice_t name;

    if (row == NULL) {
        raise_template(rq, "its run is gone");
    }
    values = json_object();
    arena_json(rq->arena, values);
    facts = json_object();
    json_object_set_new(values, "run", facts);
    uuid_format(&run, id);
    json_object_set_new(facts, "id", json_stringn(id, UUID_TEXT));
    name = db_text(row, "name");
    json_object_set_new(facts, "name", json_stringn(name.data, name.len));
    if (db_is_null(row, db_column(row->result, "workflow_id"))) {
        json_object_set_new(facts, "workflow_id", json_null());
    } else {
        hive_uuid_t workflow = db_uuid(row, "workflow_id");

        uuid_format(&workflow, id);
        json_object_set_new(facts, "workflow_id",
            json_stringn(id, UUID_TEXT));
    }
    json_object_set_new(values, "inputs", load(rq, db_text(row, "input")));
    json_object_set(values, "steps", steps);
    return values;
}

slice_t
template_fill(request_t *rq, hive_uuid_t task, hive_uuid_t run,
    slice_t input)
{
    wanted_t wanted = { rq, json_object(), 0 };
    report_t report = report_to(rq);
    json_t *json, *filled;
    const char *why = NULL;
    slice_t text;

    arena_json(rq->arena, wanted.steps);
    json = load(rq, input);
    arena_json(rq->arena, json);
    template_scan(&report, "input", json, want, &wanted);
    find_results(&wanted, task, run);

    filled = template_apply(rq->arena, json,
        make_values(rq, run, wanted.steps), &why);
    if (filled == NULL) {
        raise_template(rq, why);
    }
    text = template_dump(rq->arena, filled);
    json_decref(filled);
    if (text.data == NULL) {
        raise_template(rq, "what is filled in is longer than 1 MiB");
    }
    return text;
}
