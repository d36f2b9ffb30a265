/* settle.c: how tasks end. One statement moves them to the history and does
 * all that follows from it (sql/queries/settle.sql). */

#include "engine.h"
#include "task.h"

#include "workers/db/event.h"
#include "workers/runtime/log.h"

#include <assert.h>
#include <stdlib.h>

#define SETTLE_MAX   1000
#define LOCK_ROUNDS  20
#define CHANGE_ROUNDS 10
#define TRIES        4

typedef struct {
    settle_t **items;
    size_t count;
    size_t settled;
} batch_t;

static const char *const ends[] = {
    [END_SUCCEEDED] = "succeeded", [END_FAILED] = "failed",
    [END_CANCELLED] = "cancelled", [END_SKIPPED] = "skipped"
};

/* Whether others follow from its end. */
static int
is_linked(const settle_t *item)
{
    return item->dependents > 0 || !uuid_is_zero(&item->run);
}

/* ---- after the commit ---- */

typedef struct {
    enum { EFFECT_WAKE, EFFECT_STOP, EFFECT_LIMIT } what;
    hive_uuid_t id, owner;
    slice_t word;
} effect_t;

static void
apply(void *arg)
{
    const effect_t *effect = arg;

    switch (effect->what) {
    case EFFECT_WAKE:
        engine_wake(effect->word);
        break;
    case EFFECT_STOP:
        engine_stop_task(effect->owner, effect->id);
        break;
    case EFFECT_LIMIT:
        engine_limit_freed(effect->owner, effect->word);
        break;
    }
}

/* Words point into the result, which ends with the arena. */
static void
after_commit(request_t *rq, const db_row_t *row, int what, const char *word)
{
    effect_t *effect = arena_zero(rq->arena, sizeof(*effect));

    effect->what = what;
    effect->id = db_uuid(row, "id");
    effect->owner = db_uuid(row, "owner_id");
    if (word != NULL) {
        effect->word = db_text(row, word);
    }
    event_after_commit(rq, apply, effect);
}

/* ---- the statement ---- */

/* By id. */
static int
compare_items(const void *a, const void *b)
{
    const settle_t *const *x = a, *const *y = b;

    return memcmp(&(*x)->id, &(*y)->id, sizeof(hive_uuid_t));
}

/* The end of a task is an event that its row tells: it is published, not
 * stored. */
static void
publish_end(request_t *rq, const db_row_t *row)
{
    hive_uuid_t id = db_uuid(row, "id");
    char *channel = arena_alloc(rq->arena, 5 + UUID_TEXT);
    slice_t state = db_text(row, "state");
    const char *data = arena_printf(rq->arena,
        "{\"state\":\"%.*s\",\"attempt\":%d}", (int) state.len, state.data,
        (int) db_int(row, "attempt"));
    const char *type = arena_printf(rq->arena, "task.%.*s", (int) state.len,
        state.data);

    memcpy(channel, "task:", 5);
    uuid_format(&id, channel + 5);
    event_send(rq, &(event_t) {
        .kind = EVENT_CHANGE,
        .channel = { channel, 5 + UUID_TEXT },
        .offset = db_int(row, "seq"),
        .type = { type, strlen(type) },
        .data = { data, strlen(data) },
        .time = db_time(row, "_event_time"),
    });
}

/* Marks what the statement says has ended. */
static void
mark(request_t *rq, batch_t *batch, const db_result_t *result)
{
    settle_t **sorted = arena_alloc(rq->arena,
        batch->count * sizeof(*sorted));

    for (size_t i = 0; i < batch->count; i++) {
        sorted[i] = batch->items[i];
        sorted[i]->settled = 0;
    }
    qsort(sorted, batch->count, sizeof(*sorted), compare_items);

    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);
        slice_t what = db_text(&row, "what");

        switch (what.data[0]) {
        case 'e':
            if (what.len == 3) {        /* end */
                settle_t key = { .id = db_uuid(&row, "id") }, *at = &key;
                settle_t **found = bsearch(&at, sorted, batch->count,
                    sizeof(*sorted), compare_items);

                if (found != NULL) {
                    (*found)->settled = 1;
                    batch->settled++;
                }
                if (db_text(&row, "limit_key").len > 0) {
                    after_commit(rq, &row, EFFECT_LIMIT, "limit_key");
                }
                if (engine_events()) {
                    publish_end(rq, &row);
                }
            } else {                    /* event */
                event_publish(rq, &row);
            }
            break;
        case 'f':                       /* free */
            if (db_text(&row, "limit_key").len > 0) {
                after_commit(rq, &row, EFFECT_LIMIT, "limit_key");
            } else {
                after_commit(rq, &row, EFFECT_WAKE, "kind");
            }
            break;
        case 's':                       /* stop: owner_id is its worker */
            after_commit(rq, &row, EFFECT_STOP, NULL);
            break;
        }
    }
}

typedef struct {
    hive_uuid_t *ids, *workers;
    int64_t *attempts, *dependents, *costs;
    slice_t *states, *results, *errors;
} columns_t;

static columns_t
columns_of(request_t *rq, const batch_t *batch)
{
    arena_t *arena = rq->arena;
    size_t n = batch->count;
    columns_t c = {
        .ids = arena_alloc(arena, n * sizeof(hive_uuid_t)),
        .workers = arena_alloc(arena, n * sizeof(hive_uuid_t)),
        .attempts = arena_alloc(arena, n * sizeof(int64_t)),
        .dependents = arena_alloc(arena, n * sizeof(int64_t)),
        .costs = arena_alloc(arena, n * sizeof(int64_t)),
        .states = arena_alloc(arena, n * sizeof(slice_t)),
        .results = arena_alloc(arena, n * sizeof(slice_t)),
        .errors = arena_alloc(arena, n * sizeof(slice_t)),
    };

    for (size_t i = 0; i < n; i++) {
        const settle_t *item = batch->items[i];

        c.ids[i] = item->id;
        c.workers[i] = item->worker;
        c.attempts[i] = item->attempt;
        c.dependents[i] = item->dependents;
        c.costs[i] = item->cost_nano_usd;
        c.states[i] = (slice_t) { ends[item->end], strlen(ends[item->end]) };
        c.results[i] = item->result;
        c.errors[i] = item->error;
    }
    return c;
}

static void
succeed(request_t *rq, batch_t *batch)
{
    size_t n = batch->count;
    columns_t c = columns_of(rq, batch);

    mark(rq, batch, db_rows(rq, Q_TASK_SUCCEED, value_uuids(c.ids, n),
        value_ints(c.attempts, n), value_uuids(c.workers, n),
        value_jsons(c.results, n), value_ints(c.costs, n)));
}

static void
succeed_linked(request_t *rq, batch_t *batch)
{
    size_t n = batch->count, nruns = 0;
    hive_uuid_t *runs = arena_alloc(rq->arena, n * sizeof(*runs));
    columns_t c;

    qsort(batch->items, n, sizeof(*batch->items), compare_items);
    c = columns_of(rq, batch);
    for (size_t i = 0; i < n; i++) {
        const hive_uuid_t *run = &batch->items[i]->run;

        /* Tasks of one run are mostly neighbours. */
        if (!uuid_is_zero(run)
            && (nruns == 0 || !uuid_equal(run, &runs[nruns - 1]))) {
            runs[nruns++] = *run;
        }
    }
    batch->settled = 0;
    mark(rq, batch, db_rows(rq, Q_TASK_SUCCEED_LINKED, value_uuids(c.ids, n),
        value_ints(c.attempts, n), value_uuids(c.workers, n),
        value_jsons(c.results, n), value_ints(c.costs, n),
        value_ints(c.dependents, n), value_uuids(runs, nruns),
        value_json(turn_times(rq->arena)), value_bool(engine_events())));
}

static void
settle(request_t *rq, batch_t *batch)
{
    size_t n = batch->count;
    columns_t c = columns_of(rq, batch);

    batch->settled = 0;
    mark(rq, batch, db_rows(rq, Q_TASK_SETTLE, value_uuids(c.ids, n),
        value_ints(c.attempts, n), value_uuids(c.workers, n),
        value_texts(c.states, n), value_jsons(c.results, n),
        value_jsons(c.errors, n), value_ints(c.costs, n),
        value_ints(c.dependents, n), value_json(turn_times(rq->arena)),
        value_bool(engine_events())));
}

/* What waits for these may have changed while the locks were waited for. */
static void
lock(request_t *rq, const batch_t *batch)
{
    columns_t c = columns_of(rq, batch);
    int64_t before = -1;

    for (int round = 0; round < LOCK_ROUNDS; round++) {
        const db_row_t *row = db_row(rq, Q_TASK_SETTLE_LOCK,
            value_uuids(c.ids, batch->count),
            value_texts(c.states, batch->count));
        int64_t now = db_int(row, "n");

        if (now == before) {
            return;
        }
        before = now;
    }
    rq_raise(rq, 503, "database_busy",
        "what depends on the tasks keeps changing");
}

static void
settle_alone(request_t *rq, void *arg)
{
    db_begin(rq);
    lock(rq, arg);
    settle(rq, arg);
    db_commit(rq);
}

static void
settle_locked(request_t *rq, batch_t *batch)
{
    int tries = 0, status;

    if (rq->transaction != NULL) {
        lock(rq, batch);
        settle(rq, batch);
        return;
    }

    /* 503: nothing has changed (a deadlock, a connection lost before the
     * commit). */
    while ((status = rq_try(rq, settle_alone, batch)) != 0) {
        db_rollback(rq);
        if (status != 503 || ++tries == TRIES) {
            rq_reraise(rq);
        }
    }
}

static size_t
settle_once(request_t *rq, settle_t **items, size_t count)
{
    enum { PLAIN, LINKED };
    batch_t well[2] = { { .count = 0 } }, other[2] = { { .count = 0 } };
    size_t settled = 0;

    for (int i = 0; i < 2; i++) {
        well[i].items = arena_alloc(rq->arena, count * sizeof(settle_t *));
        other[i].items = arena_alloc(rq->arena, count * sizeof(settle_t *));
    }
    for (size_t i = 0; i < count; i++) {
        int linked = is_linked(items[i]) ? LINKED : PLAIN;
        batch_t *batch = items[i]->end == END_SUCCEEDED ? &well[linked]
                                                        : &other[linked];

        batch->items[batch->count++] = items[i];
    }

    if (well[PLAIN].count > 0) {
        succeed(rq, &well[PLAIN]);
    }
    if (well[LINKED].count > 0) {
        succeed_linked(rq, &well[LINKED]);
    }
    if (other[PLAIN].count > 0) {
        settle(rq, &other[PLAIN]);
    }
    /* Their end may end or stop others: that takes their locks first. */
    if (other[LINKED].count > 0) {
        settle_locked(rq, &other[LINKED]);
    }
    for (int i = 0; i < 2; i++) {
        settled += well[i].settled + other[i].settled;
    }
    return settled;
}

/* Of those that were left alone, the ones that only have other dependents than
 * was known: with these, at the front. */
static size_t
keep_changed(request_t *rq, settle_t **items, size_t count)
{
    hive_uuid_t *ids = arena_alloc(rq->arena, 2 * count * sizeof(*ids));
    int64_t *numbers = arena_alloc(rq->arena, 2 * count * sizeof(*numbers));
    const db_result_t *rows;
    size_t open = 0, kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (!items[i]->settled) {
            items[open++] = items[i];
        }
    }
    for (size_t i = 0; i < open; i++) {
        ids[i] = items[i]->id;
        ids[open + i] = items[i]->worker;
        numbers[i] = items[i]->attempt;
        numbers[open + i] = items[i]->dependents;
    }
    rows = db_rows(rq, Q_TASK_SETTLE_CHANGED, value_uuids(ids, open),
        value_ints(numbers, open), value_uuids(ids + open, open),
        value_ints(numbers + open, open));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        settle_t *item = items[db_int(&row, "place") - 1];

        item->dependents = (int) db_int(&row, "dependents");
        items[kept++] = item;       /* places ascend */
    }
    return kept;
}

size_t
tasks_settle(request_t *rq, settle_t *items, size_t count)
{
    settle_t **open = arena_alloc(rq->arena, (count + 1) * sizeof(*open));
    size_t settled = 0, left = count;

    assert(count <= SETTLE_MAX);
    for (size_t i = 0; i < count; i++) {
        open[i] = &items[i];
    }
    for (int round = 0; left > 0; round++) {
        settled += settle_once(rq, open, left);
        if (settled == count || round == CHANGE_ROUNDS) {
            break;
        }
        left = keep_changed(rq, open, left);
    }
    return settled;
}
