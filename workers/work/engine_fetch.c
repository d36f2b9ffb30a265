/* engine_fetch.c: from the table into this process.
 *
 * A fetcher for each kind has one claim out at a time, for as many tasks as
 * there are free slots and a little more: what the kind gets done in 20 ms, so
 * that slots need not wait for the database, and no task waits here while
 * another process could run it. What becomes free while a claim is out makes
 * the next one larger.
 *
 * Claims begin at the turn where the last one ended: in front of it lie the
 * index entries of what is done, which nobody can vacuum while a snapshot is
 * held, and which a scan from the start would pass each time. That mark is a
 * hint: tasks with lower turns come from processes that know less of the
 * virtual time. So a claim without it follows when there should have been
 * something and was not, as often as it takes a twentieth of the time, and
 * once a second in any case.
 *
 * Who looks: the process where a task became ready, at once. It tells the
 * others when it cannot take all there is. Behind that, the poll. */

#include "engine_internal.h"

#include "workers/db/resource.h"
#include "workers/runtime/fault.h"

#include <stdlib.h>

#define AHEAD_S       0.020
#define FULL_MS       1000
#define SHARE         20       /* 1/20 of the time may go into full scans */
#define CLAIM_COST    (2 * MS) /* what a claim may take for other reasons */
#define TASK_COST     (MS / 20)
#define FAILED_MIN_MS 200
#define FAILED_MAX_MS 800

/* ---- how many ---- */

static unsigned
ahead(const kind_t *kind)
{
    double n = kind->rate * AHEAD_S;
    unsigned max = engine.config.claim_batch;

    return n < 1 ? 0 : n > max ? max : (unsigned) n;
}

static unsigned
room_of(const kind_t *kind)
{
    unsigned batch = engine.config.claim_batch;
    unsigned room = kind->slots + ahead(kind);
    unsigned held = kind->running + kind->queued;

    if (kind->executor->instant && kind->plain) {
        return batch;
    }
    room = held < room ? room - held : 0;
    if (kind->queued > 0 && room < (ahead(kind) + 1) / 2) {
        return 0;
    }
    return room < batch ? room : batch;
}

/* ---- one claim ---- */

static int
compare_turns(const void *a, const void *b)
{
    const work_t *const *x = a, *const *y = b;

    if ((*x)->turn != (*y)->turn) {
        return (*x)->turn < (*y)->turn ? -1 : 1;
    }
    return memcmp(&(*x)->run.id, &(*y)->run.id, sizeof(hive_uuid_t));
}

/* Rows come in no order. Stale entries are only counted with others: a claim of
 * nothing else looks like an empty queue, until the next poll. */
void
fetch_rows(request_t *rq, claim_t *claim, const db_result_t *result)
{
    kind_t *kind = claim->kind;
    size_t count = (size_t) result->nrows, plain = 0;
    int held = db_column(result, "held");

    claim->got = (unsigned) count;
    engine.facts.claimed += count;
    if (count == 0) {
        return;
    }
    claim->works = arena_alloc(rq->arena, count * sizeof(work_t *));
    for (size_t i = 0; i < count; i++) {
        db_row_t row = db_row_at(result, (int) i);

        claim->works[i] = work_new(kind, &row,
            held >= 0 && db_bool(&row, "held"));
        claim->seen = (unsigned) db_int(&row, "seen");
        plain += claim->works[i]->dependents == 0
            && uuid_is_zero(&claim->works[i]->run.run);
    }
    kind->plain = plain * 2 >= count;
    qsort(claim->works, count, sizeof(work_t *), compare_turns);
    kind->low = claim->works[count - 1]->turn;
    turn_claimed(kind->name, kind->low);
}

static void
take(request_t *rq, void *arg)
{
    claim_t *claim = arg;
    kind_t *kind = claim->kind;
    claimed_t *claimed = NULL;

    fault_point("before_claim");
    fetch_rows(rq, claim, db_rows(rq, Q_ENGINE_CLAIM, value_text(kind->name),
        value_int(claim->wanted), value_int(claim->from),
        value_uuid(engine.worker), value_uuid(claim->id)));
    fault_point("after_claim");
    for (unsigned i = 0; i < claim->got; i++) {
        work_t *work = claim->works[i];

        work_claimed(work, &claimed, claim->id);
        if (engine.config.events) {
            work_tell(work, "running", work->event_seq);
        }
        run_queue(work);
    }
    run_queued(kind);
}

/* ---- when ---- */

/* When the next scan from the first turn on may be made, and when it must. */
static void
note_full(kind_t *kind, uint64_t took, unsigned seen)
{
    uint64_t usual = CLAIM_COST + seen * TASK_COST;
    uint64_t now = uv_hrtime();
    uint64_t pause = took > usual ? (took - usual) * SHARE : 0;

    kind->full_at = now + engine_jitter(FULL_MS, FULL_MS * 3 / 2) * MS;
    kind->cheap_at = now + (pause < FULL_MS * MS ? pause : FULL_MS * MS);
}

/* 0, or nonzero when the database would not. */
static int
claim_once(request_t *rq, kind_t *kind, unsigned wanted, int full,
    unsigned *seen)
{
    claim_t one = { .kind = kind, .wanted = wanted,
        .from = full ? INT64_MIN : kind->low, .id = resource_new_id() };
    uint64_t began = uv_hrtime();
    int status;

    if (full) {
        /* What comes while it is out is for the next. */
        kind->found = 0;
    }
    kind->woken = 0;
    engine.facts.claims++;
    status = job_step(rq, kind->executor->instant && kind->plain
        ? instant_claim : take, &one);
    if (full) {
        note_full(kind, uv_hrtime() - began, one.seen);
    }
    *seen = one.seen;
    return status;
}

typedef enum { GO_ON, WAIT, WAIT_CHEAPER } next_t;

/* One round: a claim, when there may be something and there is room. */
static next_t
fetch_round(request_t *rq, kind_t *kind)
{
    unsigned wanted = room_of(kind), seen;
    uint64_t now = uv_hrtime();
    int woken = kind->woken;
    int full = now >= kind->full_at || (kind->found && now >= kind->cheap_at);

    if (!kind->hungry || wanted == 0 || !engine_alive()) {
        return WAIT;
    }
    if (kind->found && !full && !woken) {
        return WAIT_CHEAPER;
    }
    if (claim_once(rq, kind, wanted, full, &seen) != 0) {
        engine_pause("the database",
            engine_jitter(FAILED_MIN_MS, FAILED_MAX_MS));
        return GO_ON;
    }

    if (seen == wanted) {
        wake_tell(kind);
        return GO_ON;
    }
    if (seen == 0 && !full && woken) {
        kind->found = 1;
    }
    kind->hungry = kind->woken || kind->found;
    return GO_ON;
}

static void
fetch_loop(request_t *rq, void *arg)
{
    kind_t *kind = arg;

    while (!engine.stopping) {
        next_t next = fetch_round(rq, kind);

        if (next == WAIT && !engine.stopping) {
            fiber_suspend("tasks");
        } else if (next == WAIT_CHEAPER) {
            fiber_suspend_until("a cheaper scan", kind->cheap_at);
        }
    }
}

void
fetch_start(kind_t *kind)
{
    engine_job("task fetcher", fetch_loop, kind, &kind->fetcher);
}

void
fetch_wake(kind_t *kind)
{
    if (kind->fetcher != NULL) {
        fiber_wake(kind->fetcher);
    }
}

/* ---- the poll ---- */

static void
ask(request_t *rq, void *arg)
{
    slice_t names[EXECUTORS_MAX];
    const db_result_t *result;
    size_t count = 0;

    (void) arg;
    for (unsigned i = 0; i < engine.nkinds; i++) {
        const kind_t *kind = &engine.kinds[i];

        if (!kind->hungry && kind->slots > 0 && room_of(kind) > 0) {
            names[count++] = kind->name;
        }
    }
    if (count == 0) {
        return;
    }

    result = db_rows(rq, Q_ENGINE_POLL, value_texts(names, count));
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);
        kind_t *kind = kind_find(db_text(&row, "kind"));

        kind->found = 1;
        kind->hungry = 1;
        fetch_wake(kind);
    }
}

void
fetch_poll(request_t *rq, void *arg)
{
    (void) arg;
    while (engine_pause("the next poll", engine_jitter(
               engine.config.poll_min_ms, engine.config.poll_max_ms)) == 0) {
        if (engine_alive()) {
            job_step(rq, ask, NULL);
        }
    }
}
