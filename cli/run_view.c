/* run_view.c: what is known of a run that is being watched. */

#include "run_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double
view_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

int
view_ended(const run_view_t *view)
{
    return view->state[0] != '\0' && strcmp(view->state, "running") != 0;
}

static void
set(char *to, size_t size, const char *text)
{
    if (text[0] != '\0') {
        snprintf(to, size, "%s", text);
    }
}

#define SET(to, text) set(to, sizeof(to), text)

static step_view_t *
find(run_view_t *view, const char *name)
{
    for (size_t i = 0; i < view->count; i++) {
        if (strcmp(view->steps[i].name, name) == 0) {
            return &view->steps[i];
        }
    }
    if (view->count == STEPS_MAX || name[0] == '\0') {
        return NULL;
    }
    SET(view->steps[view->count].name, name);
    SET(view->steps[view->count].state, "waiting");
    return &view->steps[view->count++];
}

static const char *
agent_name(const run_view_t *view, const char *id)
{
    return text_at(view->agents, id);
}

static void
take_step(run_view_t *view, const json_t *json)
{
    step_view_t *step = find(view, text_at(json, "name"));

    if (step == NULL) {
        return;
    }
    SET(step->title, text_at(json, "title"));
    SET(step->role, text_at(json, "role"));
    SET(step->state, text_at(json, "state"));
    SET(step->model, text_at(json, "model"));
    SET(step->task, text_at(json, "task_id"));
    SET(step->agent, text_at(json, "agent"));
    if (step->agent[0] == '\0') {
        SET(step->agent, agent_name(view, text_at(json, "agent_id")));
    }
    if (json_object_get(json, "output_tokens") != NULL) {
        step->attempt = (int) number_at(json, "attempt");
        step->input_tokens = number_at(json, "input_tokens");
        step->output_tokens = number_at(json, "output_tokens");
        step->nano_usd = number_at(json, "nano_usd");
    }
}

void
view_take_run(run_view_t *view, const json_t *run)
{
    const json_t *steps = json_object_get(run, "steps"), *step;
    size_t i;

    if (view->began <= 0) {
        view->began = view_now();
    }
    SET(view->id, text_at(run, "id"));
    SET(view->state, text_at(run, "state"));
    if (view->description == NULL) {
        view->description = strdup(text_at(run, "description"));
    }
    json_array_foreach(steps, i, step) {
        if (text_at(step, "agent_id")[0] != '\0') {
            json_object_set(view->agents, text_at(step, "agent_id"),
                json_object_get(step, "agent"));
        }
        take_step(view, step);
    }
}

/* ---- events ---- */

static void
take_text(run_view_t *view, const json_t *event)
{
    const char *key = text_at(event, "data.id");
    const char *text = text_at(event, "data.text");
    int64_t position = number_at(event, "data.position");
    size_t len = strlen(text);

    for (size_t i = 0; i < view->count; i++) {
        step_view_t *step = &view->steps[i];
        size_t id = strlen(step->task);

        /* "<task>:<attempt>" */
        if (id == 0 || strncmp(step->task, key, id) != 0 || key[id] != ':'
            || atoi(key + id + 1) != step->attempt) {
            continue;
        }
        if (position != (int64_t) step->bytes) {
            step->tail_len = 0;         /* it begins anew, or some was lost */
        }
        step->bytes = (size_t) position + len;
        if (len >= TAIL_MAX) {
            text += len - TAIL_MAX / 2;
            len = TAIL_MAX / 2;
        }
        if (step->tail_len + len >= TAIL_MAX) {
            size_t gone = step->tail_len + len - TAIL_MAX / 2;

            gone = gone > step->tail_len ? step->tail_len : gone;
            memmove(step->tail, step->tail + gone, step->tail_len - gone);
            step->tail_len -= gone;
        }
        memcpy(step->tail + step->tail_len, text, len);
        step->tail_len += len;
    }
}

static step_view_t *
take_step_event(run_view_t *view, const char *what, const json_t *data)
{
    step_view_t *step = find(view, text_at(data, "step"));

    if (step == NULL) {
        return NULL;
    }
    SET(step->title, text_at(data, "title"));
    SET(step->role, text_at(data, "role"));
    SET(step->task, text_at(data, "task_id"));
    SET(step->model, text_at(data, "model"));
    SET(step->agent, agent_name(view, text_at(data, "agent_id")));
    if (number_at(data, "attempt") > 0) {
        step->attempt = (int) number_at(data, "attempt");
    }
    if (strcmp(what, "started") == 0) {
        SET(step->state, "running");
        step->began = view_now();
        step->tail_len = 0;
        step->bytes = 0;
    } else if (strcmp(what, "succeeded") == 0) {
        SET(step->state, "succeeded");
        step->ended = view_now();
        step->input_tokens = number_at(data, "input_tokens");
        step->output_tokens = number_at(data, "output_tokens");
        step->nano_usd = number_at(data, "nano_usd");
    } else if (strcmp(what, "failed") == 0) {
        SET(step->state, "waiting");
    }
    return step;
}

step_view_t *
view_take_event(run_view_t *view, const json_t *event)
{
    const char *type = text_at(event, "type");
    const json_t *data = json_object_get(event, "data"), *step;
    const json_t *steps = json_object_get(data, "steps");
    size_t i;

    if (strcmp(type, "message.delta") == 0) {
        take_text(view, event);
        return NULL;
    }
    if (strcmp(type, "agent.spawned") == 0) {
        json_object_set(view->agents, text_at(data, "agent_id"),
            json_object_get(data, "name"));
    }
    if (strcmp(text_at(data, "run_id"), view->id) != 0) {
        return NULL;
    }
    if (strncmp(type, "step.", 5) == 0) {
        return take_step_event(view, type + 5, data);
    }
    json_array_foreach(steps, i, step) {
        take_step(view, step);
    }
    if (strcmp(type, "run.succeeded") == 0 || strcmp(type, "run.failed") == 0
        || strcmp(type, "run.cancelled") == 0) {
        SET(view->state, type + 4);
    } else if (strcmp(type, "run.retried") == 0) {
        SET(view->state, "running");
    }
    return NULL;
}
