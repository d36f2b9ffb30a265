/* engine_progress.c: how far tasks are, written for all at once and at most
 * four times a second; what was said last is always written, if need be by
 * the finisher, before the task ends. */

#include "engine_internal.h"

#include "workers/db/event.h"

#include <stdio.h>

#define PAUSE_MS 250
#define AT_ONCE  500

static int any_due;

typedef struct {
    hive_uuid_t *ids, *workers;
    int64_t *attempts;
    slice_t *shares, *messages, *counters;
} columns_t;

static columns_t
columns_new(arena_t *arena, size_t n)
{
    return (columns_t) {
        .ids = arena_alloc(arena, n * sizeof(hive_uuid_t)),
        .workers = arena_alloc(arena, n * sizeof(hive_uuid_t)),
        .attempts = arena_alloc(arena, n * sizeof(int64_t)),
        .shares = arena_alloc(arena, n * sizeof(slice_t)),
        .messages = arena_alloc(arena, n * sizeof(slice_t)),
        .counters = arena_alloc(arena, n * sizeof(slice_t)),
    };
}

/* The work may be gone when the statement is back. */
static slice_t
keep(arena_t *arena, const char *text)
{
    return text == NULL ? SLICE_NONE
        : arena_slice(arena, (slice_t) { text, strlen(text) });
}

static void
add(arena_t *arena, columns_t *c, size_t i, work_t *work)
{
    char *share = arena_printf(arena, "%.4f", work->share);

    work->progress_due = 0;
    c->ids[i] = work->run.id;
    c->workers[i] = work->worker;
    c->attempts[i] = work->run.attempt;
    c->shares[i] = (slice_t) { share, strlen(share) };
    c->messages[i] = keep(arena, work->message);
    c->counters[i] = keep(arena, work->counters);
}

void
progress_write(request_t *rq, work_t **works, size_t count)
{
    columns_t c = columns_new(rq->arena, count);
    const db_result_t *result;
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if (works[i]->progress_due) {
            add(rq->arena, &c, n++, works[i]);
        }
    }
    if (n == 0) {
        return;
    }

    result = db_rows(rq, Q_ENGINE_PROGRESS, value_uuids(c.ids, n),
        value_ints(c.attempts, n), value_uuids(c.workers, n),
        value_texts(c.shares, n), value_texts(c.messages, n),
        value_jsons(c.counters, n), value_bool(engine.config.events));
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);

        event_publish(rq, &row);
    }
}

/* ---- of those that run ---- */

void
progress_changed(work_t *work)
{
    work->progress_due = 1;
    any_due = 1;
    if (engine.writer != NULL && !work->disowned) {
        fiber_wake(engine.writer);
    }
}

static void
write_due(request_t *rq, void *arg)
{
    work_t *works[AT_ONCE];
    size_t count = 0;

    (void) arg;
    any_due = 0;
    for (unsigned i = 0; i < engine.nkinds; i++) {
        work_t *work;

        TAILQ_FOREACH(work, &engine.kinds[i].active, link) {
            if (work->progress_due && !work->disowned) {
                any_due = count == AT_ONCE;
                if (any_due) {
                    break;
                }
                works[count++] = work;
            }
        }
    }
    progress_write(rq, works, count);
}

/* What may not have been written is written again. */
static void
all_due(void)
{
    for (unsigned i = 0; i < engine.nkinds; i++) {
        work_t *work;

        TAILQ_FOREACH(work, &engine.kinds[i].active, link) {
            if (work->share > 0 || work->message != NULL
                || work->counters != NULL) {
                work->progress_due = 1;
            }
        }
    }
    any_due = 1;
}

void
progress_loop(request_t *rq, void *arg)
{
    (void) arg;
    while (!fiber_cancelled(fiber_self())) {
        uint64_t next;

        if (!any_due) {
            fiber_suspend("progress");
            continue;
        }
        next = uv_hrtime() + PAUSE_MS * MS;
        if (job_step(rq, write_due, NULL) != 0) {
            all_due();
        }
        while (fiber_suspend_until("progress", next) == 0) {
            continue;
        }
    }
}
