/* task_retry.c: tasks that ended without success are tried again, and with
 * them what was skipped because of them.
 *
 * What was skipped comes back if nothing else stands in its way: of all that
 * might, those are taken out that wait for a task which has failed and does
 * not come back, until no more are. A task that comes back waits for those it
 * depends on that are unfinished, or come back too. */

#include "tasks.h"

#include "engine.h"
#include "enqueue.h"
#include "executor.h"

#include "workers/db/event.h"

#include <stdlib.h>

#define REACH_MAX 100000

typedef struct {
    hive_uuid_t id;
    slice_t kind;
    slice_t unique_key;
    int priority;
    int run_on_failure;
    int taken;                   /* another has its unique key */
    int stays;                   /* in the history */
    int waits;                   /* for that many */
} candidate_t;

typedef struct {
    candidate_t *child, *parent; /* parent NULL: no candidate */
    int live, failed;            /* of a parent that is none */
} wait_t;

typedef struct {
    task_outcome_t *outcomes;    /* of the tasks that were asked for */
    size_t count;
    candidate_t *candidates;     /* by id */
    size_t ncandidates;
    hive_uuid_t *ids;            /* of the candidates */
    wait_t *waits;
    size_t nwaits;
} retrying_t;

/* ---- who may come back ---- */

static size_t
read_ids(request_t *rq, const db_result_t *rows, hive_uuid_t **out)
{
    hive_uuid_t *ids = arena_alloc(rq->arena,
        ((size_t) rows->nrows + 1) * sizeof(*ids));

    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        ids[i] = db_uuid(&row, "id");
    }
    *out = ids;
    return (size_t) rows->nrows;
}

/* Locks: runs, the finished tasks, the unfinished ones around them. */
static void
find_candidates(request_t *rq, retrying_t *retrying)
{
    size_t open, n;
    hive_uuid_t *ids = outcomes_open(rq, retrying->outcomes, retrying->count,
        &open);
    const db_result_t *rows;

    n = read_ids(rq, db_rows(rq, Q_RETRY_REACH, value_uuid(rq->user),
        value_uuids(ids, open), value_int(REACH_MAX + 1)), &ids);
    if (n > REACH_MAX) {
        rq_raise(rq, 409, "graph_too_large",
            "more than %d tasks would come back", REACH_MAX);
    }
    db_rows(rq, Q_RETRY_LOCK_RUNS, value_uuids(ids, n));
    rows = db_rows(rq, Q_RETRY_LOCK, value_uuids(ids, n));
    retrying->candidates = arena_zero(rq->arena,
        (n + 1) * sizeof(candidate_t));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        retrying->candidates[i] = (candidate_t) { .id = db_uuid(&row, "id"),
            .kind = db_text(&row, "kind"),
            .unique_key = db_text(&row, "unique_key"),
            .priority = (int) db_int(&row, "priority"),
            .run_on_failure = db_bool(&row, "run_on_failure"),
            .taken = db_bool(&row, "taken") };
    }
    retrying->ncandidates = read_ids(rq, rows, &retrying->ids);
}

static candidate_t *
find_candidate(const retrying_t *retrying, hive_uuid_t id)
{
    return bsearch(&id, retrying->candidates, retrying->ncandidates,
        sizeof(candidate_t), uuid_compare);
}

static int
is_live(slice_t state)
{
    static const char *const live[] = { "blocked", "scheduled", "ready",
        "running", "paused", NULL };

    return slice_index(state, live) >= 0;
}

static void
find_waits(request_t *rq, retrying_t *retrying)
{
    const db_result_t *rows;

    db_rows(rq, Q_RETRY_LOCK_NEAR,
        value_uuids(retrying->ids, retrying->ncandidates));
    rows = db_rows(rq, Q_RETRY_PARENTS,
        value_uuids(retrying->ids, retrying->ncandidates));
    retrying->waits = arena_alloc(rq->arena,
        ((size_t) rows->nrows + 1) * sizeof(wait_t));
    retrying->nwaits = (size_t) rows->nrows;
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        slice_t state = db_text(&row, "state");

        retrying->waits[i] = (wait_t) {
            .child = find_candidate(retrying, db_uuid(&row, "child_id")),
            .parent = find_candidate(retrying, db_uuid(&row, "parent_id")),
            .live = is_live(state) };
        retrying->waits[i].failed = !retrying->waits[i].live && state.len > 0
            && !slice_equal(state, SLICE("succeeded"));
    }
}

/* ---- who does ---- */

static int
compare_unique(const void *a, const void *b)
{
    const candidate_t *x = *(candidate_t *const *) a;
    const candidate_t *y = *(candidate_t *const *) b;

    for (int i = 0; i < 2; i++) {
        slice_t s = i ? x->unique_key : x->kind;
        slice_t t = i ? y->unique_key : y->kind;
        size_t least = s.len < t.len ? s.len : t.len;
        int order = least > 0 ? memcmp(s.data, t.data, least) : 0;

        if (order != 0 || s.len != t.len) {
            return order != 0 ? order : s.len < t.len ? -1 : 1;
        }
    }
    return 0;
}

/* Of those with the same unique key one can come back. */
static void
settle_unique(request_t *rq, retrying_t *retrying)
{
    candidate_t **sorted = arena_alloc(rq->arena,
        (retrying->ncandidates + 1) * sizeof(*sorted));
    size_t n = 0;

    for (size_t i = 0; i < retrying->ncandidates; i++) {
        candidate_t *candidate = &retrying->candidates[i];

        candidate->stays = candidate->taken;
        if (candidate->unique_key.len > 0 && !candidate->taken) {
            sorted[n++] = candidate;
        }
    }
    qsort(sorted, n, sizeof(*sorted), compare_unique);
    for (size_t i = 1; i < n; i++) {
        if (compare_unique(&sorted[i - 1], &sorted[i]) == 0) {
            sorted[i]->taken = sorted[i]->stays = 1;
        }
    }
}

/* Takes out who waits for what does not come back, until none does. */
static void
settle_waits(retrying_t *retrying)
{
    int changed = 1;

    while (changed) {
        changed = 0;
        for (size_t i = 0; i < retrying->nwaits; i++) {
            wait_t *wait = &retrying->waits[i];
            int blocked = wait->parent != NULL ? wait->parent->stays
                                               : wait->failed;

            if (blocked && !wait->child->stays
                && !wait->child->run_on_failure) {
                wait->child->stays = 1;
                changed = 1;
            }
        }
    }
    for (size_t i = 0; i < retrying->nwaits; i++) {
        const wait_t *wait = &retrying->waits[i];

        wait->child->waits += wait->parent != NULL ? !wait->parent->stays
                                                   : wait->live;
    }
}

static void
refuse_stayers(request_t *rq, const retrying_t *retrying)
{
    for (size_t i = 0; i < retrying->ncandidates; i++) {
        const candidate_t *candidate = &retrying->candidates[i];
        task_outcome_t *outcome = outcome_of(retrying->outcomes,
            retrying->count, candidate->id);

        if (outcome == NULL || !candidate->stays) {
            continue;
        }
        if (candidate->taken) {
            outcome_refuse(rq, outcome, 409, "duplicate_task",
                "another task of that kind has its unique_key");
        } else {
            outcome_refuse(rq, outcome, 409, "dependency_failed",
                "a task that it waits for has not succeeded: retry that");
        }
    }
}

/* ---- back ---- */

static void
note_moved(request_t *rq, const retrying_t *retrying, const db_result_t *rows)
{
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        slice_t limit = db_text(&row, "limit_key");
        task_outcome_t *outcome;

        if (slice_equal(db_text(&row, "what"), SLICE("event"))) {
            event_publish(rq, &row);
            continue;
        }
        if (limit.len > 0) {
            after_commit_limit(rq, rq->user, limit);
        } else if (slice_equal(db_text(&row, "state"), SLICE("ready"))) {
            after_commit_wake(rq, db_text(&row, "kind"));
        }
        outcome = outcome_of(retrying->outcomes, retrying->count,
            db_uuid(&row, "id"));
        if (outcome != NULL) {
            outcome->status = 200;
            outcome->state = task_state_name(db_text(&row, "state"));
        }
    }
}

static void
move(request_t *rq, const retrying_t *retrying)
{
    size_t n = 0;
    hive_uuid_t *ids = arena_alloc(rq->arena,
        (retrying->ncandidates + 1) * sizeof(*ids));
    int64_t *waits = arena_alloc(rq->arena,
        3 * (retrying->ncandidates + 1) * sizeof(*waits));
    int64_t *turns = waits + retrying->ncandidates;
    int64_t *remote = turns + retrying->ncandidates;

    for (size_t i = 0; i < retrying->ncandidates; i++) {
        const candidate_t *candidate = &retrying->candidates[i];

        if (candidate->stays) {
            continue;
        }
        ids[n] = candidate->id;
        waits[n] = candidate->waits;
        turns[n] = turn_next(rq->user, candidate->kind, candidate->priority);
        remote[n++] = executor_find(candidate->kind) == NULL;
    }
    if (n > 0) {
        note_moved(rq, retrying, db_rows(rq, Q_RETRY_MOVE,
            value_uuids(ids, n), value_ints(waits, n), value_ints(turns, n),
            value_ints(remote, n), value_bool(engine_events())));
    }
}

static void
retry(request_t *rq, void *arg)
{
    retrying_t *given = arg, retrying = *given;

    /* As they were, should this be tried again. */
    retrying.outcomes = arena_alloc(rq->arena,
        retrying.count * sizeof(*retrying.outcomes));
    memcpy(retrying.outcomes, given->outcomes,
        retrying.count * sizeof(*retrying.outcomes));
    find_candidates(rq, &retrying);
    if (retrying.ncandidates > 0) {
        find_waits(rq, &retrying);
        settle_unique(rq, &retrying);
        settle_waits(&retrying);
        refuse_stayers(rq, &retrying);
        move(rq, &retrying);
    }
    given->candidates = NULL;
    given->ids = NULL;
    given->waits = NULL;
    memcpy(given->outcomes, retrying.outcomes,
        retrying.count * sizeof(*retrying.outcomes));
}

static void
refuse_unfinished(request_t *rq, task_outcome_t *outcomes, size_t count)
{
    size_t open;
    hive_uuid_t *ids = outcomes_open(rq, outcomes, count, &open);
    const db_result_t *rows = db_rows(rq, Q_TASKS_LOOK, value_uuid(rq->user),
        value_uuids(ids, open));

    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        task_outcome_t *outcome = outcome_of(outcomes, count,
            db_uuid(&row, "id"));

        if (outcome != NULL) {
            outcome->state = task_state_name(db_text(&row, "state"));
            outcome_refuse(rq, outcome, 409, "task_not_finished",
                "the task has not ended: it is %s", outcome->state);
        }
    }
}

void
tasks_retry(request_t *rq, task_outcome_t *outcomes, size_t count)
{
    retrying_t retrying = { .outcomes = outcomes, .count = count };

    queue_limit_check(rq, rq->user, 1);
    tasks_in_transaction(rq, retry, &retrying);
    refuse_unfinished(rq, outcomes, count);
    outcomes_close(rq, outcomes, count, NULL);
}

void
op_task_retry(request_t *rq)
{
    task_outcome_t outcome = { .id = rq_param_uuid(rq, 0) };

    tasks_retry(rq, &outcome, 1);
    outcome_reply(rq, &outcome);
}
