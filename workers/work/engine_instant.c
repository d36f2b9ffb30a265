/* engine_instant.c: tasks of instant kinds, from their claim to their end in
 * one transaction.
 *
 * What never suspends can run while the rows of its tasks are locked: they are
 * locked, run and moved to the history, and either all of that has happened or
 * nothing has. A process that dies here leaves no orphans: its tasks are ready
 * again as soon as the server notices. So no row is written to say that a task
 * runs, which is a third of what a task costs.
 *
 * That is for those that succeed and of which nothing follows. Steps of runs,
 * tasks that others wait for or that hold a slot are claimed by the same
 * statement, and go the way of all kinds; where most are such, the fetcher
 * claims as for any kind. */

#include "engine_internal.h"

#include "workers/db/resource.h"
#include "workers/runtime/fault.h"

#include <stdlib.h>

#define INSTANT_MS 2           /* then the loop has a turn */

typedef struct {
    claim_t *claim;
    hive_uuid_t taken;         /* the claim of held ones that failed */
} round_t;

/* Also those of a transaction that came to nothing. */
static void
release(void *arg)
{
    claim_t *claim = arg;

    for (unsigned i = 0; i < claim->got; i++) {
        if (claim->works[i] != NULL) {
            work_free(claim->works[i]);
        }
    }
}

static void
hold(request_t *rq, claim_t *claim)
{
    fetch_rows(rq, claim, db_rows(rq, Q_ENGINE_HOLD,
        value_text(claim->kind->name), value_int(claim->wanted),
        value_int(claim->from), value_uuid(engine.worker),
        value_uuid(claim->id)));
    arena_cleanup(rq->arena, release, claim);
}

static void
run_held(request_t *rq, const claim_t *claim)
{
    uint64_t until = uv_hrtime() + INSTANT_MS * MS;

    for (unsigned i = 0; i < claim->got; i++) {
        if (claim->works[i]->held) {
            run_instant(rq, claim->works[i]);
        }
        if (uv_hrtime() > until) {
            fiber_yield();
            until = uv_hrtime() + INSTANT_MS * MS;
        }
    }
}

/* ---- their end ---- */

/* The results of those that succeeded with one, by id. */
static value_t
results_of(request_t *rq, const claim_t *claim)
{
    size_t count = 0;
    buf_t out;

    buf_init(&out, rq->arena, 256);
    for (unsigned i = 0; i < claim->got; i++) {
        const work_t *work = claim->works[i];
        char id[UUID_TEXT];

        if (work->held && work_succeeded(work) && work->result != NULL) {
            uuid_format(&work->run.id, id);
            buf_puts(&out, count++ == 0 ? "{\"" : ",\"");
            buf_put(&out, id, sizeof(id));
            buf_puts(&out, "\":");
            buf_puts(&out, work->result);
        }
    }
    if (count == 0) {
        return value_null();
    }
    buf_putc(&out, '}');
    return value_json(buf_slice(&out));
}

/* The ids of held ones that did, or did not, succeed. */
static value_t
ids_of(request_t *rq, const claim_t *claim, int succeeded)
{
    hive_uuid_t *ids = arena_alloc(rq->arena, claim->got * sizeof(*ids));
    size_t count = 0;

    for (unsigned i = 0; i < claim->got; i++) {
        const work_t *work = claim->works[i];

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
end_held(request_t *rq, const round_t *round)
{
    value_t well = ids_of(rq, round->claim, 1);
    value_t other = ids_of(rq, round->claim, 0);

    if (well.as.uuids.count > 0) {
        expect(rq, db_row(rq, Q_ENGINE_HELD_END, well,
            value_uuid(engine.worker), results_of(rq, round->claim)),
            well.as.uuids.count);
    }
    if (other.as.uuids.count > 0) {
        expect(rq, db_row(rq, Q_ENGINE_HELD_TAKE, other,
            value_uuid(engine.worker), value_uuid(round->taken)),
            other.as.uuids.count);
    }
}

/* ---- after the commit ---- */

/* Those that are in the history are done with; the others are ours now. */
static void
hand_on(const round_t *round)
{
    claim_t *claim = round->claim;
    claimed_t *claimed = NULL, *taken = NULL;

    for (unsigned i = 0; i < claim->got; i++) {
        work_t *work = claim->works[i];

        claim->works[i] = NULL;
        if (engine.config.events) {
            work_tell(work, "running", work->event_seq);
        }
        if (!work->held) {
            work_claimed(work, &claimed, claim->id);
            run_queue(work);
        } else if (!work_succeeded(work)) {
            work_claimed(work, &taken, round->taken);
            finish_add(work);
        } else {
            if (engine.config.events) {
                work_tell(work, "succeeded", work->event_seq + 1);
            }
            finish_measure(work);
            work_free(work);
        }
    }
    run_queued(claim->kind);
}

void
instant_claim(request_t *rq, void *arg)
{
    round_t round = { arg, resource_new_id() };

    fault_point("before_claim");
    db_begin(rq);
    hold(rq, round.claim);
    fault_point("after_claim");
    if (round.claim->got == 0) {
        db_commit(rq);         /* stale entries are gone */
        return;
    }

    run_held(rq, round.claim);
    end_held(rq, &round);
    fault_point("before_finish_commit");
    db_commit(rq);
    fault_point("after_finish_commit");
    hand_on(&round);
}
