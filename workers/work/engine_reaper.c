/* engine_reaper.c: what others left behind: the tasks of processes that died,
 * of runners whose lease ran out, and those whose deadline passed while nobody
 * ran them. Each process looks; rows that another one has in hand are skipped
 * or found settled. */

#include "engine_internal.h"
#include "measures.h"
#include "runner.h"
#include "task.h"

#include "workers/runtime/log.h"

#define FIRST_MS    20
#define LOOK_MIN_MS 700
#define LOOK_MAX_MS 1300
#define AT_ONCE     1000
#define FORGET_MS   60000

#define LOST_ERROR "{\"code\":\"lost\",\"message\":" \
    "\"the worker or runner was not heard of any more\"}"
#define TIMEOUT_ERROR "{\"code\":\"timed_out\",\"message\":" \
    "\"the attempt took longer than its time-out\"}"
#define OVERDUE_ERROR "{\"code\":\"deadline_exceeded\",\"message\":" \
    "\"the deadline of the task has passed\"}"

/* ---- the dead ---- */

static void
bury(request_t *rq, void *arg)
{
    const db_result_t *result = db_rows(rq, Q_ENGINE_BURY,
        value_int(engine.config.silence_ms));

    (void) arg;
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);
        slice_t host = db_text(&row, "host");

        log_warn("worker process %lld on %.*s was not heard of any more:"
            " its tasks are given to others", (long long) db_int(&row, "pid"),
            (int) host.len, host.data);
    }
}

/* ---- their tasks ---- */

static retry_t
orphan_of(const db_row_t *row)
{
    int timed_out = db_bool(row, "timed_out");

    return (retry_t) {
        .id = db_uuid(row, "id"), .worker = db_uuid(row, "worker_id"),
        .attempt = (int) db_int(row, "attempt"),
        .outcome = timed_out ? "timed_out" : "lost",
        .error = timed_out ? SLICE(TIMEOUT_ERROR) : SLICE(LOST_ERROR),
    };
}

/* Those that have no attempt left, or were to be cancelled. What another
 * process has ended meanwhile, which looks as well, is gone. */
static void
end_orphans(request_t *rq, const db_result_t *result, retry_t *orphans,
    size_t count)
{
    settle_t *ends = arena_alloc(rq->arena, (count + 1) * sizeof(*ends));
    retry_t **ended = arena_alloc(rq->arena, (count + 1) * sizeof(*ended));
    size_t nends = 0;

    for (size_t i = 0; i < count; i++) {
        retry_t *orphan = &orphans[i];
        db_row_t row = db_row_at(result, (int) i);

        if (orphan->what != RETRY_SPENT && orphan->what != RETRY_CANCELLED) {
            continue;
        }
        ended[nends] = orphan;
        ends[nends++] = (settle_t) {
            .id = orphan->id, .worker = orphan->worker,
            .attempt = orphan->attempt,
            .dependents = (int) db_int(&row, "dependents"),
            .run = db_uuid(&row, "run_id"),
            .end = orphan->what == RETRY_SPENT ? END_FAILED : END_CANCELLED,
            .error = orphan->what == RETRY_SPENT
                ? orphan->error : SLICE_NONE,
        };
    }
    tasks_settle(rq, ends, nends);
    for (size_t i = 0; i < nends; i++) {
        if (!ends[i].settled) {
            ended[i]->what = RETRY_GONE;
        }
    }
}

typedef struct {
    int again;                 /* there may be more */
} found_t;

static void
release(request_t *rq, void *arg)
{
    const db_result_t *result = db_rows(rq, Q_ENGINE_ORPHANS,
        value_int(AT_ONCE / 2));
    size_t count = (size_t) result->nrows, lost = 0;
    retry_t *orphans = arena_alloc(rq->arena,
        (count + 1) * sizeof(*orphans));

    ((found_t *) arg)->again = count >= AT_ONCE / 2;
    if (count == 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        db_row_t row = db_row_at(result, (int) i);

        orphans[i] = orphan_of(&row);
    }
    retry_tasks(rq, orphans, count);
    end_orphans(rq, result, orphans, count);
    for (size_t i = 0; i < count; i++) {
        db_row_t row = db_row_at(result, (int) i);
        int timed_out = db_bool(&row, "timed_out");

        if (orphans[i].what != RETRY_GONE) {
            lost += !timed_out;
            measure_attempt(db_text(&row, "kind"),
                timed_out ? OUTCOME_TIMED_OUT : OUTCOME_LOST, 0);
        }
    }
    measure_lost(lost);
}

/* ---- past their deadline ---- */

static void
overdue(request_t *rq, void *arg)
{
    const db_result_t *result = db_rows(rq, Q_ENGINE_OVERDUE,
        value_int(AT_ONCE));
    size_t count = (size_t) result->nrows;
    settle_t *ends = arena_alloc(rq->arena, (count + 1) * sizeof(*ends));

    ((found_t *) arg)->again = count >= AT_ONCE;
    for (size_t i = 0; i < count; i++) {
        db_row_t row = db_row_at(result, (int) i);
        int running = db_bool(&row, "running");
        hive_uuid_t nobody = { { 0 } };

        ends[i] = (settle_t) {
            .id = db_uuid(&row, "id"),
            .worker = running ? db_uuid(&row, "worker_id") : nobody,
            .attempt = (int) db_int(&row, "attempt"),
            .dependents = (int) db_int(&row, "dependents"),
            .run = db_uuid(&row, "run_id"),
            .end = END_FAILED, .error = SLICE(OVERDUE_ERROR),
        };
    }
    tasks_settle(rq, ends, count);
}

static void
forget(request_t *rq, void *arg)
{
    (void) arg;
    db_exec_values(rq, Q_ENGINE_FORGET, NULL, 0);
}

/* ---- the loop ---- */

static void
until_none(request_t *rq, job_fn fn)
{
    found_t found = { 1 };

    while (found.again && !engine.stopping) {
        found.again = 0;
        job_step(rq, fn, &found);
    }
}

void
reaper_loop(request_t *rq, void *arg)
{
    uint64_t forget_at = uv_hrtime()
        + engine_jitter(0, FORGET_MS) * MS;

    uint64_t rest = FIRST_MS;

    (void) arg;
    /* The first look is soon: where every process dies young, nobody would
     * look at all. */
    while (engine_pause("the next look", rest) == 0) {
        if (!engine_alive()) {
            continue;
        }
        rest = engine_jitter(LOOK_MIN_MS, LOOK_MAX_MS);
        job_step(rq, bury, NULL);
        job_step(rq, runner_mind, NULL);
        until_none(rq, release);
        until_none(rq, overdue);
        job_step(rq, measure_depths, NULL);
        if (uv_hrtime() >= forget_at) {
            forget_at = uv_hrtime() + FORGET_MS * MS;
            job_step(rq, forget, NULL);
        }
    }
}
