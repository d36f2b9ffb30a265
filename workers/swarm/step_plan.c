/* step_plan.c: the coordinator's plan: asked for as JSON, checked, asked for
 * once more when it is wrong, then compiled into steps, which come to the run
 * in the transaction that ends this one. */

#include "internal.h"

#define FAULTS_MAX 5

/* ---- reading ---- */

/* JSON that a model may have put into a fence, or some words around. */
static slice_t
find_json(slice_t text)
{
    const char *first = memchr(text.data, '{', text.len);
    const char *last = memrchr(text.data, '}', text.len);

    return first == NULL || last == NULL || last < first ? SLICE("")
        : (slice_t) { first, (size_t) (last - first) + 1 };
}

typedef struct {
    buf_t text;
    unsigned count;
} faults_t;

static void
note_fault(void *arg, const char *field, const char *code,
    const char *message)
{
    faults_t *faults = arg;

    (void) code;
    if (faults->count++ < FAULTS_MAX) {
        buf_printf(&faults->text, "%s%s %s", faults->text.len > 0 ? "; " : "",
            field, message);
    }
}

/* The parts of a plan; NULL with *why, in the arena. */
static swarm_part_t *
read_plan(step_run_t *step, slice_t text, size_t *count, const char **why)
{
    request_t *rq = step->rq;
    slice_t found = find_json(text);
    json_t *plan = json_loadb(found.data, found.len, JSON_REJECT_DUPLICATES,
        NULL);
    int sequential = slice_equal(db_text(step->row, "strategy"),
        SLICE("sequential"));
    faults_t faults = { .count = 0 };
    report_t report = { rq->arena, note_fault, &faults, 0 };
    swarm_part_t *parts;

    buf_init(&faults.text, rq->arena, 256);
    arena_json(rq->arena, plan);
    if (!json_is_object(plan)) {
        *why = "it is no JSON object";
        return NULL;
    }
    parts = parts_read(&report, "subtasks", json_object_get(plan,
        "subtasks"), PARTS_MAX_PLANNED, sequential, count);
    if (parts == NULL) {
        buf_putc(&faults.text, '\0');
        *why = faults.text.data;
    }
    return parts;
}

/* ---- asking ---- */

static json_t *
message(const char *role, slice_t text)
{
    return json_pack("{s:s, s:s%}", "role", role, "content", text.data,
        text.len);
}

static slice_t
with_schema(request_t *rq, slice_t user, const json_t *schema)
{
    buf_t out;

    buf_init(&out, rq->arena, user.len + 1024);
    buf_put(&out, user.data, user.len);
    buf_puts(&out, "Schema of the answer: ");
    json_put_document(&out, schema);
    return buf_slice(&out);
}

/* Asks, and once more with what was wrong. NULL: the step has failed. */
static swarm_part_t *
ask(step_run_t *step, const prompt_t *prompt, const json_t *schema,
    size_t *count)
{
    request_t *rq = step->rq;
    const generated_t *said = &step->answer.said;
    json_t *messages = json_array();
    const char *why = NULL;
    swarm_part_t *parts;

    arena_json(rq->arena, messages);
    json_array_append_new(messages, message("user", with_schema(rq,
        prompt->user, schema)));
    for (int tries = 0; tries < 2; tries++) {
        step_generate(step, prompt->system, messages, schema);
        if (said->end != GENERATED) {
            step_fail_said(step);
            return NULL;
        }
        parts = read_plan(step, said->text, count, &why);
        if (parts != NULL) {
            return parts;
        }
        json_array_append_new(messages, message("assistant",
            said->text.len > 0 ? said->text : SLICE("(nothing)")));
        why = arena_printf(rq->arena, "That plan cannot be used: %s. Answer"
            " with the JSON only.", why);
        json_array_append_new(messages, message("user",
            (slice_t) { why, strlen(why) }));
    }
    step_fail(step, 1, "plan_refused", why);
    return NULL;
}

void
step_plan(step_run_t *step, const prompt_t *prompt)
{
    request_t *rq = step->rq;
    const db_row_t *row = step->row;
    json_t *schema = plan_schema(step->team.count > 1
        ? step->team.count - 1 : 1);
    order_t order = { .priority = (int) db_int(row, "priority") };
    compiled_t compiled;
    planned_t planned;
    swarm_part_t *parts;
    size_t count;

    arena_json(rq->arena, schema);
    parts = ask(step, prompt, schema, &count);
    if (parts == NULL) {
        return;
    }
    compile(rq->arena, &step->team, parts, count,
        slice_equal(db_text(row, "strategy"), SLICE("sequential")),
        &compiled);
    if (compiled.failed >= 0) {
        step_fail(step, 1, "plan_refused",
            "a part needs what no agent of the swarm can");
        return;
    }
    planned = (planned_t) {
        steps_for_run(rq, &order, &step->team, &compiled),
        steps_for_store(rq, &step->team, &compiled),
        context_for_store(rq, &step->team, &compiled)
    };
    arena_json(rq->arena, planned.steps);
    step_done(step, step->answer.said.text, &planned);
}
