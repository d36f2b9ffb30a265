/* steps.c: a compiled run, as the task engine takes it and as it is kept. */

#include "internal.h"

#define TIMEOUT_MS  1800000
#define BACKOFF_MS  200
#define OTHERS_MAX  5
#define PLACE_LEADS 100000

static json_t *
text_json(slice_t text)
{
    return json_stringn(text.data != NULL ? text.data : "", text.len);
}

json_t *
step_for_run(const order_t *order, const agent_t *agent, slice_t name,
    slice_t title)
{
    char key[6 + UUID_TEXT + 1] = "agent:";
    json_t *step = json_object();

    uuid_format(&agent->id, key + 6);
    json_object_set_new(step, "name", text_json(name));
    json_object_set_new(step, "kind", json_string("swarm"));
    json_object_set_new(step, "title", text_json(title));
    json_object_set_new(step, "input", json_pack("{s:o}", "step",
        text_json(name)));
    json_object_set_new(step, "priority", json_integer(order->priority));
    json_object_set_new(step, "timeout_ms", json_integer(TIMEOUT_MS));
    json_object_set_new(step, "max_attempts", json_integer(STEP_ATTEMPTS));
    json_object_set_new(step, "backoff_ms", json_integer(BACKOFF_MS));
    json_object_set_new(step, "limit", json_pack("{s:s%, s:i}", "key", key,
        6 + UUID_TEXT, "max", agent->capacity));
    return step;
}

static slice_t
title_of(arena_t *arena, const team_t *team, const swarm_step_t *step)
{
    const agent_t *agent = &team->agents[step->agent];
    const char *title;

    if (step->part != NULL) {
        return step->part->title;
    }
    title = arena_printf(arena, "%.*s puts together what is below",
        (int) agent->name.len, agent->name.data);
    return (slice_t) { title, strlen(title) };
}

json_t *
steps_for_run(request_t *rq, const order_t *order, const team_t *team,
    const compiled_t *compiled)
{
    json_t *steps = json_array();

    for (size_t i = 0; i < compiled->nsteps; i++) {
        const swarm_step_t *from = &compiled->steps[i];
        json_t *after = json_array();
        json_t *step = step_for_run(order, &team->agents[from->agent],
            from->name, title_of(rq->arena, team, from));

        for (size_t k = 0; k < from->nafter; k++) {
            json_array_append_new(after,
                text_json(compiled->steps[from->after[k]].name));
        }
        json_object_set_new(step, "depends_on", after);
        json_array_append_new(steps, step);
    }
    return steps;
}

/* ---- why that agent ---- */

static void
put_vector(buf_t *out, const score_t *score)
{
    buf_printf(out, "\"suitability\":%.4g,\"success\":%.4g,\"load\":%.4g,"
        "\"time\":%.4g,\"cost\":%.4g,\"affinity\":%.4g,\"score\":%.4g",
        score->c, score->p, score->l, score->t, score->k, score->a,
        score->sum);
}

void
put_scores(buf_t *out, const team_t *team, size_t agent,
    const score_t *scores)
{
    unsigned others = 0;

    if (scores == NULL) {
        buf_puts(out, "null");
        return;
    }
    buf_putc(out, '{');
    put_vector(out, &scores[agent]);
    buf_puts(out, ",\"others\":[");
    for (size_t i = 0; i < team->count && others < OTHERS_MAX; i++) {
        if (i == agent || scores[i].sum < 0) {
            continue;
        }
        buf_puts(out, others++ > 0 ? ",{\"agent\":" : "{\"agent\":");
        json_put_string(out, team->agents[i].name);
        buf_putc(out, ',');
        put_vector(out, &scores[i]);
        buf_putc(out, '}');
    }
    buf_puts(out, "]}");
}

/* ---- as it is kept ---- */

static void
put_uuid(buf_t *out, const hive_uuid_t *id)
{
    value_t value = value_uuid(*id);

    json_put_value(out, &value);
}

void
put_step(buf_t *out, const team_t *team, const swarm_step_t *step,
    slice_t title, slice_t consumer, unsigned place)
{
    const swarm_part_t *part = step->part;
    value_t needs = value_texts(part != NULL ? part->needs : NULL,
        part != NULL ? part->nneeds : 0);

    buf_puts(out, "{\"name\":");
    json_put_string(out, step->name);
    buf_printf(out, ",\"place\":%u,\"role\":\"%s\",\"title\":", place,
        step_roles[step->role]);
    json_put_string(out, title);
    buf_puts(out, ",\"brief\":");
    json_put_string(out, part != NULL ? part->brief : SLICE(""));
    buf_printf(out, ",\"kind\":\"%s\",\"needs\":", part != NULL
        ? work_kinds[part->kind] : work_kinds[WORK_PLAN]);
    json_put_value(out, &needs);
    buf_puts(out, ",\"consumer\":");
    if (consumer.data != NULL) {
        json_put_string(out, consumer);
    } else {
        buf_puts(out, "null");
    }
    buf_puts(out, ",\"agent_id\":");
    put_uuid(out, &team->agents[step->agent].id);
    buf_puts(out, ",\"scores\":");
    put_scores(out, team, step->agent, step->scores);
    buf_putc(out, '}');
}

slice_t
steps_for_store(request_t *rq, const team_t *team,
    const compiled_t *compiled)
{
    buf_t out;

    buf_init(&out, rq->arena, 4096);
    buf_putc(&out, '[');
    for (size_t i = 0; i < compiled->nsteps; i++) {
        const swarm_step_t *step = &compiled->steps[i];

        buf_puts(&out, i > 0 ? "," : "");
        put_step(&out, team, step, title_of(rq->arena, team, step),
            step->consumer >= 0 ? compiled->steps[step->consumer].name
                                : STEP_RESULT_NAME,
            (unsigned) i + 1 + (step->role == STEP_LEAD ? PLACE_LEADS : 0));
    }
    buf_putc(&out, ']');
    return buf_slice(&out);
}

slice_t
context_for_store(request_t *rq, const team_t *team,
    const compiled_t *compiled)
{
    buf_t out;

    buf_init(&out, rq->arena, 1024);
    buf_putc(&out, '[');
    for (size_t i = 0; i < compiled->ncontext; i++) {
        const context_t *edge = &compiled->context[i];

        buf_puts(&out, i > 0 ? ",{\"dst\":" : "{\"dst\":");
        json_put_string(&out, edge->dst == COMPILE_RESULT ? STEP_RESULT_NAME
            : compiled->steps[edge->dst].name);
        buf_puts(&out, ",\"src\":");
        json_put_string(&out, compiled->steps[edge->src].name);
        buf_puts(&out, ",\"via\":");
        if (edge->via >= 0) {
            put_uuid(&out, &team->agents[edge->via].id);
        } else {
            buf_puts(&out, "null");
        }
        buf_putc(&out, '}');
    }
    buf_putc(&out, ']');
    return buf_slice(&out);
}
