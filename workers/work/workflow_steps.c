/* workflow_steps.c: reading the steps of a workflow, with every fault
 * reported under its place ("steps[3].input"). */

#include "workflow_steps.h"

#include "task_input.h"
#include "template.h"

#define NAME_MAX_CHARS 64
#define FAULTS_MAX     100

const char *const failure_policies[] = { "fail_fast", "continue", "skip",
    NULL };

typedef struct {
    report_t *report;
    report_t inner;             /* of one step: without its place */
    steps_t *steps;
    graph_step_t *names;
    size_t at;                  /* the step that is read */
} reading_t;

static const char *
place(reading_t *reading, const char *member)
{
    return arena_printf(reading->report->arena, "steps[%zu]%s%s",
        reading->at, *member != '\0' ? "." : "", member);
}

static void
report_inner(void *arg, const char *field, const char *code,
    const char *message)
{
    reading_t *reading = arg;

    report_invalid(reading->report, place(reading, field), code, "%s",
        message);
}

static void
fault(reading_t *reading, const char *member, const char *code,
    const char *message)
{
    report_invalid(&reading->inner, member, code, "%s", message);
}

static slice_t
string_of(const json_t *json)
{
    return (slice_t) { json_string_value(json), json_string_length(json) };
}

/* ---- members ---- */

static int
is_step_name(slice_t name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '_' || c == '-'))
        {
            return 0;
        }
    }
    return name.len > 0 && name.len <= NAME_MAX_CHARS;
}

static void
read_name(reading_t *reading, const json_t *json)
{
    slice_t name = string_of(json);

    if (json == NULL) {
        fault(reading, "name", "required", "is required");
    } else if (!json_is_string(json) || !is_step_name(name)) {
        fault(reading, "name", "invalid_name",
            "must have 1 to 64 characters of A-Z, a-z, 0-9, _ and -");
    } else {
        reading->names[reading->at].name = name;
    }
}

static void
read_needs(reading_t *reading, const json_t *json)
{
    graph_step_t *step = &reading->names[reading->at];
    size_t count = json_array_size(json), i;
    slice_t *needs;
    json_t *item;

    if (json == NULL) {
        return;
    }
    needs = arena_alloc(reading->report->arena,
        (count + 1) * sizeof(*needs));
    json_array_foreach(json, i, item) {
        needs[i] = string_of(item);
        if (!json_is_string(item)) {
            break;
        }
    }
    if (!json_is_array(json) || i < count) {
        fault(reading, "depends_on", "wrong_type",
            "must be an array of names of steps");
        return;
    }
    step->needs = needs;
    step->nneeds = count;
}

/* Those of a task that a step has; the others are its run's to say. */
static void
refuse_members(reading_t *reading, json_t *json)
{
    static const char *const known[] = { "kind", "title", "input",
        "on_dependency_failure", "priority", "timeout_ms", "max_attempts",
        "backoff_ms", "limit" };
    const size_t count = sizeof(known) / sizeof(known[0]);
    const char *member;
    json_t *value;

    json_object_foreach(json, member, value) {
        size_t i = 0;

        while (i < count && strcmp(member, known[i]) != 0) {
            i++;
        }
        if (i == count) {
            fault(reading, member, "unknown_member",
                "is not a member of a step");
        }
    }
}

static void
read_step(reading_t *reading, json_t *json)
{
    step_t *step = &reading->steps->items[reading->at];
    task_input_t task;
    json_t *rest;

    if (!json_is_object(json)) {
        fault(reading, "", "wrong_type", "must be an object");
        return;
    }
    read_name(reading, json_object_get(json, "name"));
    read_needs(reading, json_object_get(json, "depends_on"));
    rest = json_copy(json);
    json_object_del(rest, "name");
    json_object_del(rest, "depends_on");
    refuse_members(reading, rest);
    if (reading->inner.count == 0
        && task_input_read(&reading->inner, rest, &task) == 0)
    {
        step->task = task.task;
        step->task.step = reading->names[reading->at].name;
        step->run_on_failure =
            json_is_string(json_object_get(json, "on_dependency_failure"))
            ? task.task.run_on_failure : -1;
        step->input = json_object_get(json, "input");
        if (json_is_null(step->input)) {
            step->input = NULL;
        }
        step->templated = step->input != NULL
            && template_present(step->input);
    }
    /* What was read is borrowed from `json` too, which stays. */
    json_decref(rest);
}

/* ---- templates ---- */

static void
check_quote(void *arg, const char *field, const quote_t *quote)
{
    reading_t *reading = arg;
    graph_t *graph = &reading->steps->graph;
    long step;
    int before;

    if (slice_equal(quote->root, SLICE("schedule"))) {
        report_invalid(reading->report, field, "invalid_template",
            "schedule is quoted in the input that a schedule gives, and that"
            " as inputs");
    }
    if (quote->step.data == NULL) {
        return;
    }
    reading->steps->items[reading->at].quotes_steps = 1;
    step = graph_find(graph, quote->step);
    if (step < 0) {
        report_invalid(reading->report, field, "unknown_step",
            "quotes the step %.*s, which there is not",
            (int) quote->step.len, quote->step.data);
        return;
    }
    before = graph_is_ancestor(graph, (size_t) step, reading->at);
    if (before == 0) {
        report_invalid(reading->report, field, "not_an_ancestor",
            "quotes the step %.*s, which need not have ended before this one:"
            " depends_on must lead to it", (int) quote->step.len,
            quote->step.data);
    } else if (before < 0) {
        report_invalid(reading->report, field, "too_complex",
            "there are too many quotes of distant steps to check");
    }
}

static void
check_templates(reading_t *reading)
{
    for (size_t i = 0; i < reading->steps->count; i++) {
        reading->at = i;
        if (reading->steps->items[i].templated
            && reading->report->count < FAULTS_MAX)
        {
            template_scan(reading->report, place(reading, "input"),
                reading->steps->items[i].input, check_quote, reading);
        }
    }
}

int
steps_read(report_t *report, const json_t *json, size_t max, steps_t *out)
{
    unsigned before = report->count;
    size_t count = json_array_size(json);
    reading_t reading = { .report = report, .steps = out };

    if (!json_is_array(json) || count == 0 || count > max) {
        report_invalid(report, "steps", json_is_array(json) && count > max
            ? "too_many" : "wrong_type",
            "must be an array of 1 to %zu steps", max);
        return -1;
    }
    out->count = count;
    out->items = arena_zero(report->arena, count * sizeof(*out->items));
    reading.names = arena_zero(report->arena,
        count * sizeof(*reading.names));
    for (size_t i = 0; i < count && report->count < FAULTS_MAX; i++) {
        reading.at = i;
        reading.inner = (report_t) { report->arena, report_inner, &reading,
            0 };
        read_step(&reading, json_array_get(json, i));
    }
    if (report->count > before
        || graph_build(report, "steps", reading.names, count, &out->graph)
            != 0)
    {
        return -1;
    }
    check_templates(&reading);
    return report->count == before ? 0 : -1;
}
