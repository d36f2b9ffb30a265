/* engine_retry.c: attempts that did not succeed, of tasks that go on. */

#include "engine_internal.h"

#include "workers/db/event.h"

#include <stdlib.h>

typedef struct {
    hive_uuid_t *ids, *workers;
    int64_t *attempts, *costs, *final, *kept, *after;
    slice_t *outcomes, *errors;
} columns_t;

static columns_t
columns_of(arena_t *arena, const retry_t *items, size_t n)
{
    columns_t c = {
        .ids = arena_alloc(arena, n * sizeof(hive_uuid_t)),
        .workers = arena_alloc(arena, n * sizeof(hive_uuid_t)),
        .attempts = arena_alloc(arena, n * sizeof(int64_t)),
        .costs = arena_alloc(arena, n * sizeof(int64_t)),
        .final = arena_alloc(arena, n * sizeof(int64_t)),
        .kept = arena_alloc(arena, n * sizeof(int64_t)),
        .after = arena_alloc(arena, n * sizeof(int64_t)),
        .outcomes = arena_alloc(arena, n * sizeof(slice_t)),
        .errors = arena_alloc(arena, n * sizeof(slice_t)),
    };

    for (size_t i = 0; i < n; i++) {
        const retry_t *item = &items[i];
        const char *outcome = item->outcome;

        c.ids[i] = item->id;
        c.workers[i] = item->worker;
        c.attempts[i] = item->attempt;
        c.costs[i] = item->cost_nano_usd;
        c.final[i] = item->final;
        c.kept[i] = item->kept;
        c.after[i] = item->after_ms;
        c.outcomes[i] = outcome == NULL ? SLICE_NONE
            : (slice_t) { outcome, strlen(outcome) };
        c.errors[i] = item->error;
    }
    return c;
}

static int
compare_ids(const void *a, const void *b)
{
    const retry_t *const *x = a, *const *y = b;

    return memcmp(&(*x)->id, &(*y)->id, sizeof(hive_uuid_t));
}

static retry_t **
sorted_by_id(arena_t *arena, retry_t *items, size_t count)
{
    retry_t **sorted = arena_alloc(arena, count * sizeof(*sorted));

    for (size_t i = 0; i < count; i++) {
        sorted[i] = &items[i];
        sorted[i]->what = RETRY_GONE;
    }
    qsort(sorted, count, sizeof(*sorted), compare_ids);
    return sorted;
}

/* What follows from a task that goes on. */
static void
follow(request_t *rq, const db_row_t *row, slice_t state)
{
    slice_t limit_key = db_text(row, "limit_key");

    if (limit_key.len > 0) {
        engine_limit_freed(db_uuid(row, "owner_id"), limit_key);
    } else if (slice_equal(state, SLICE("ready"))) {
        engine_wake(db_text(row, "kind"));
    }
    if (slice_equal(state, SLICE("scheduled"))) {
        engine_due(db_time(row, "run_at"));
    }
    if (!db_is_null(row, db_column(row->result, "_channel"))) {
        event_publish(rq, row);
    }
}

void
retry_tasks(request_t *rq, retry_t *items, size_t count)
{
    columns_t c = columns_of(rq->arena, items, count);
    retry_t **sorted = sorted_by_id(rq->arena, items, count);
    const db_result_t *result = db_rows(rq, Q_ENGINE_RETRY,
        value_uuids(c.ids, count), value_ints(c.attempts, count),
        value_uuids(c.workers, count), value_texts(c.outcomes, count),
        value_jsons(c.errors, count), value_ints(c.costs, count),
        value_ints(c.final, count), value_ints(c.kept, count),
        value_json(turn_times(rq->arena)),
        value_bool(engine.config.events), value_ints(c.after, count));

    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);
        slice_t what = db_text(&row, "what");
        retry_t key = { .id = db_uuid(&row, "id") }, *at = &key;
        retry_t **found = bsearch(&at, sorted, count, sizeof(*sorted),
            compare_ids);

        if (slice_equal(what, SLICE("spent"))) {
            (*found)->what = RETRY_SPENT;
        } else if (slice_equal(what, SLICE("cancelled"))) {
            (*found)->what = RETRY_CANCELLED;
        } else {
            (*found)->what = RETRY_AGAIN;
            follow(rq, &row, what);
        }
    }
}
