/* task_outcome.c: what came of each of many tasks, and of one. */

#include "tasks.h"

#include "engine.h"

#include "workers/db/event.h"

#include <stdarg.h>
#define TRIES 4

int
uuid_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(hive_uuid_t));
}

void
outcome_refuse(request_t *rq, task_outcome_t *outcome, int status,
    const char *code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    outcome->detail = arena_vprintf(rq->arena, format, args);
    va_end(args);
    outcome->status = status;
    outcome->code = code;
}

void
outcome_reply(request_t *rq, const task_outcome_t *outcome)
{
    const db_row_t *row;

    if (outcome->code != NULL) {
        rq_raise(rq, outcome->status, outcome->code, "%s", outcome->detail);
    }
    row = resource_row(rq, &task_resource, outcome->id);
    if (row == NULL) {
        resource_raise_missing(rq, &task_resource);
    }
    db_reply_row(rq, outcome->status, row);
}

hive_uuid_t *
outcomes_open(request_t *rq, const task_outcome_t *outcomes, size_t count,
    size_t *open)
{
    hive_uuid_t *ids = arena_alloc(rq->arena, (count + 1) * sizeof(*ids));

    *open = 0;
    for (size_t i = 0; i < count; i++) {
        if (outcomes[i].status == 0) {
            ids[(*open)++] = outcomes[i].id;
        }
    }
    return ids;
}

task_outcome_t *
outcome_of(task_outcome_t *outcomes, size_t count, hive_uuid_t id)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = uuid_compare(&outcomes[middle].id, &id);

        if (order == 0) {
            return outcomes[middle].status == 0 ? &outcomes[middle] : NULL;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

void
outcomes_close(request_t *rq, task_outcome_t *outcomes, size_t count,
    const char *passing)
{
    size_t open;
    hive_uuid_t *ids = outcomes_open(rq, outcomes, count, &open);
    const db_result_t *rows;

    if (open == 0) {
        return;
    }
    rows = db_rows(rq, Q_TASKS_FINISHED, value_uuid(rq->user),
        value_uuids(ids, open));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        task_outcome_t *outcome = outcome_of(outcomes, count,
            db_uuid(&row, "id"));

        if (outcome == NULL) {
            continue;
        }
        outcome->state = task_state_name(db_text(&row, "state"));
        if (passing != NULL && strcmp(outcome->state, passing) == 0) {
            outcome->status = 200;
        } else {
            outcome_refuse(rq, outcome, 409, "task_finished",
                "the task has ended, as %s", outcome->state);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (outcomes[i].status == 0) {
            outcome_refuse(rq, &outcomes[i], 404, "task_not_found",
                "there is no such task, or it is not yours");
        }
    }
}

/* ---- in a transaction ---- */

typedef struct {
    void (*fn)(request_t *rq, void *arg);
    void *arg;
} whole_t;

static void
run_whole(request_t *rq, void *arg)
{
    const whole_t *whole = arg;

    db_begin(rq);
    whole->fn(rq, whole->arg);
    db_commit(rq);
}

/* 503: nothing has changed (a deadlock, a connection lost before the
 * commit). */
void
tasks_in_transaction(request_t *rq, void (*fn)(request_t *rq, void *arg),
    void *arg)
{
    whole_t whole = { fn, arg };
    int tries = 0, status;

    if (rq->transaction != NULL) {
        fn(rq, arg);
        return;
    }
    while ((status = rq_try(rq, run_whole, &whole)) != 0) {
        db_rollback(rq);
        if (status != 503 || ++tries == TRIES) {
            rq_reraise(rq);
        }
    }
}

/* ---- after the commit ---- */

typedef struct {
    hive_uuid_t id, other;
    slice_t word;
} effect_t;

static void
wake(void *arg)
{
    const effect_t *effect = arg;

    engine_wake(effect->word);
}

static void
free_limit(void *arg)
{
    const effect_t *effect = arg;

    engine_limit_freed(effect->id, effect->word);
}

static void
stop_task(void *arg)
{
    const effect_t *effect = arg;

    engine_stop_task(effect->id, effect->other);
}

static void
after_commit(request_t *rq, void (*fn)(void *arg), effect_t effect)
{
    effect_t *kept = arena_alloc(rq->arena, sizeof(*kept));

    *kept = effect;
    if (effect.word.data != NULL) {
        kept->word = arena_slice(rq->arena, effect.word);
    }
    event_after_commit(rq, fn, kept);
}

void
after_commit_wake(request_t *rq, slice_t kind)
{
    after_commit(rq, wake, (effect_t) { .word = kind });
}

void
after_commit_limit(request_t *rq, hive_uuid_t owner, slice_t key)
{
    after_commit(rq, free_limit, (effect_t) { .id = owner, .word = key });
}

void
after_commit_stop(request_t *rq, hive_uuid_t worker, hive_uuid_t task)
{
    after_commit(rq, stop_task, (effect_t) { .id = worker, .other = task });
}
