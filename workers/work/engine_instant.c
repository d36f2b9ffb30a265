/* engine_instant.c: tasks of instant kinds, from their claim to their end in
 * one transaction.
 *
 * Nothing suspends while they run, so the lock of their rows is lease enough:
 * they are locked, run and moved to the history, and either all of that has
 * happened or nothing has. A process that dies here leaves no orphans: its
 * tasks are ready again as soon as the server notices. So no row is written to
 * say that a task runs, which is half of what a task costs.
 *
 * That is for those that succeed and of which nothing follows. The others
 * (steps of runs, tasks that others wait for, those that failed) are claimed
 * in the same transaction and end like tasks of any kind. */

#include "engine_internal.h"

#include "workers/db/resource.h"
#include "workers/runtime/fault.h"

#include <stdlib.h>

#define INSTANT_MS 2           /* then the loop has a turn */

typedef struct {
    claim_t *claim;
    hive_uuid_t taken;         /* the claim of held ones that failed */
    size_t left;               /* works that are still ours to free */
} round_t;

/* Also those of a transaction that came to nothing. */
static void
release(void *arg)
{
    round_t *round = arg;

    for (size_t i = 0; round->left > 0 && i < round->claim->got; i++) {
        if (round->claim->works[i] != NULL) {
            work_free(round->claim->works[i]);
            round->claim->works[i] = NULL;
            round->left--;
        }
    }
}

/* ---- running ---- */

static void
run_in_a_row(request_t *rq, const round_t *round, int held)
{
    uint64_t until = uv_hrtime() + INSTANT_MS * MS;

    for (unsigned i = 0; i < round->claim->got; i++) {
        work_t *work = round->claim->works[i];

        if (work == NULL || work->held != held || work->templated
            || work->began != 0) {
            continue;
        }
        run_instant(rq, work);
        if (uv_hrtime() > until) {
            fiber_yield();
            until = uv_hrtime() + INSTANT_MS * MS;
        }
    }
}

/* ---- the transaction ---- */

static slice_t
results_of(request_t *rq, const round_t *round)
{
    size_t count = 0;
    buf_t out;

    buf_init(&out, rq->arena, 256);
    for (unsigned i = 0; i < round->claim->got; i++) {
        const work_t *work = round->claim->works[i];
        char id[UUID_TEXT];

        if (!work->held || !work_succeeded(work)
            || work->result == NULL) {
            continue;
        }
        uuid_format(&work->run.id, id);
        buf_puts(&out, count++ == 0 ? "{\"" : ",\"");
        buf_put(&out, id, sizeof(id));
        buf_puts(&out, "\":");
        buf_puts(&out, work->result);
    }
    if (count == 0) {
        return SLICE_NONE;
    }
    buf_putc(&out, '}');
    return buf_slice(&out);
}

/* The ids of those that did, or did not, succeed. */
static value_t
ids_of(request_t *rq, const round_t *round, int succeeded)
{
    hive_uuid_t *ids = arena_alloc(rq->arena,
        (round->claim->got + 1) * sizeof(*ids));
    size_t count = 0;

    for (unsigned i = 0; i < round->claim->got; i++) {
        const work_t *work = round->claim->works[i];

        if (work->held && work_succeeded(work) == succeeded) {
            ids[count++] = work->run.id;
        }
    }
    return value_uuids(ids, count);
}

/* They are locked: not one can have gone. */
static void
expect(request_t *rq, const db_row_t *row, size_t count)
{
    if ((size_t) db_int(row, "n") != count) {
        rq_raise(rq, 500, "tasks_gone", "tasks went that were locked");
    }
}

static void
end_held(request_t *rq, round_t *round)
{
    value_t well = ids_of(rq, round, 1), other = ids_of(rq, round, 0);
    slice_t results = results_of(rq, round);

    if (well.as.uuids.count > 0) {
        expect(rq, db_row(rq, Q_ENGINE_HELD_END, well,
            value_uuid(engine.worker), results.data == NULL
            ? value_null() : value_json(results)), well.as.uuids.count);
    }
    if (other.as.uuids.count > 0) {
        expect(rq, db_row(rq, Q_ENGINE_HELD_TAKE, other,
            value_uuid(engine.worker), value_uuid(round->taken)),
            other.as.uuids.count);
    }
}

static void
hold(request_t *rq, round_t *round)
{
    claim_t *claim = round->claim;

    fetch_rows(rq, claim, db_rows(rq, Q_ENGINE_HOLD,
        value_text(claim->kind->name), value_int(claim->wanted),
        value_int(claim->from), value_uuid(engine.worker),
        value_uuid(claim->id)));
    round->left = claim->got;
    arena_cleanup(rq->arena, release, round);
}

/* ---- after the commit ---- */

static void
tell(const work_t *work, int ended)
{
    if (engine.config.events) {
        work_tell(work, "running", work->event_seq);
        if (ended) {
            work_tell(work, "succeeded", work->event_seq + 1);
        }
    }
}

/* Those that are in the history are done with, the others are ours now. */
static void
let_go_of_ended(round_t *round)
{
    claimed_t *claimed = NULL, *taken = NULL;

    for (unsigned i = 0; i < round->claim->got; i++) {
        work_t *work = round->claim->works[i];
        int ended = work->held && work_succeeded(work);
        claimed_t **with = work->held ? &taken : &claimed;

        tell(work, ended);
        if (ended) {
            round->claim->works[i] = NULL;
            round->left--;
            finish_measure(work);
            work_free(work);
            continue;
        }
        if (*with == NULL) {
            *with = claimed_new(work->held ? round->taken
                                           : round->claim->id);
        }
        work_claimed(work, *with);
    }
}

/* The rest goes the way of all tasks; what is to be filled in first may
 * suspend. */
static void
hand_on(request_t *rq, round_t *round)
{
    claim_t *claim = round->claim;

    run_in_a_row(rq, round, 0);
    for (unsigned i = 0; i < claim->got; i++) {
        work_t *work = claim->works[i];

        if (work == NULL) {
            continue;
        }
        claim->works[i] = NULL;
        round->left--;
        if (work->began == 0) {
            run_queue(work);
        } else {
            finish_add(work);
        }
    }
    run_queued(claim->kind);
}

void
instant_claim(request_t *rq, void *arg)
{
    round_t *round = arena_zero(rq->arena, sizeof(*round));

    round->claim = arg;
    round->taken = resource_new_id();
    fault_point("before_claim");
    db_begin(rq);
    hold(rq, round);
    fault_point("after_claim");
    if (round->claim->got == 0) {
        db_rollback(rq);
        return;
    }

    run_in_a_row(rq, round, 1);
    end_held(rq, round);
    fault_point("before_finish_commit");
    db_commit(rq);
    fault_point("after_finish_commit");
    let_go_of_ended(round);
    hand_on(rq, round);
}
