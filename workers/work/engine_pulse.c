/* engine_pulse.c: our own life, as others see it.
 *
 * A process that runs tasks has a row, made at its start under an id that was
 * never used before. It beats; whoever is silent for too long is taken for
 * dead and what it ran is given to others, and when it comes back it finds
 * that out by its next beat. With the beats go the virtual times; back come
 * the tasks that are to stop. Who follows in the place of a process that has
 * died says so, without any silence.
 *
 * Now and then it asks what it is said to run. A claim whose answer was lost
 * leaves tasks that only the database believes to be here: they are given
 * back. */

#include "engine_internal.h"

#include "workers/runtime/log.h"

#include <unistd.h>

#define RETRY_MS  300
#define AUDIT_MS  60000
#define AUDIT_MAX 500

static int now_wanted;

static void
learn_turn(const db_row_t *row)
{
    turn_claimed(db_text(row, "kind"), db_int(row, "turn"));
}

static void
look_everywhere(void)
{
    for (unsigned i = 0; i < engine.nkinds; i++) {
        engine.kinds[i].found = 1;
        engine.kinds[i].hungry = 1;
        fetch_wake(&engine.kinds[i]);
    }
}

static void
sign_in(request_t *rq, void *arg)
{
    uint64_t now = uv_hrtime();
    const db_result_t *result;
    char host[256] = "";

    (void) arg;
    gethostname(host, sizeof(host) - 1);
    result = db_rows(rq, Q_ENGINE_REGISTER, value_uuid(engine.worker),
        value_string(host), value_int(getpid()),
        value_uuid(engine.predecessor));
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);

        learn_turn(&row);
    }
    if (engine.config.name != NULL) {
        *engine.config.name = engine.worker;
    }
    engine.registered = 1;
    engine.beat_at = now;
    look_everywhere();
}

static void
stop_asked(const db_row_t *row)
{
    hive_uuid_t id = db_uuid(row, "id");
    work_t *work = work_find(&id);

    if (work != NULL) {
        work_stop(work, db_bool(row, "pause") ? STOP_PAUSE : STOP_CANCEL);
    }
}

static void
beat(request_t *rq, void *arg)
{
    uint64_t now = uv_hrtime();
    const db_result_t *result = db_rows(rq, Q_ENGINE_BEAT,
        value_uuid(engine.worker), value_json(turn_times(rq->arena)));
    int alive = 0, was_alive = engine_alive();

    (void) arg;
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);
        slice_t what = db_text(&row, "what");

        if (slice_equal(what, SLICE("alive"))) {
            alive = 1;
        } else if (slice_equal(what, SLICE("turn"))) {
            learn_turn(&row);
        } else {
            stop_asked(&row);
        }
    }
    if (!alive) {
        engine_reaped();
        return;
    }
    engine.beat_at = now;
    if (!was_alive) {
        look_everywhere();
    }
}

/* A row that stays because this fails goes with us (engine_forget). */
static void
drop_claims(request_t *rq, void *arg)
{
    size_t count = engine.nclaims_done;
    hive_uuid_t *ids = arena_alloc(rq->arena, count * sizeof(*ids));

    (void) arg;
    memcpy(ids, engine.claims_done, count * sizeof(*ids));
    engine.nclaims_done = 0;
    db_rows(rq, Q_ENGINE_CLAIMS_DONE, value_uuid(engine.worker),
        value_uuids(ids, count));
}

/* ---- what we are said to run ---- */

static int
is_finishing(const hive_uuid_t *id)
{
    const work_t *work;

    TAILQ_FOREACH(work, &engine.finished, link) {
        if (uuid_equal(&work->run.id, id)) {
            return 1;
        }
    }
    /* Some are in the hands of a finisher. */
    return engine.finishing > 0;
}

static void
audit(request_t *rq, void *arg)
{
    const db_result_t *result = db_rows(rq, Q_ENGINE_HELD,
        value_uuid(engine.worker));
    retry_t items[AUDIT_MAX];
    size_t count = 0;

    (void) arg;
    for (int i = 0; i < result->nrows && count < AUDIT_MAX; i++) {
        db_row_t row = db_row_at(result, i);
        hive_uuid_t id = db_uuid(&row, "id");

        if (work_find(&id) == NULL && !is_finishing(&id)) {
            items[count++] = (retry_t) {
                .id = id, .worker = engine.worker, .kept = 1,
                .attempt = (int) db_int(&row, "attempt"),
            };
        }
    }
    if (count > 0) {
        log_warn("%zu tasks whose claim was not heard of are given back",
            count);
        retry_tasks(rq, items, count);
    }
}

/* ---- the loop ---- */

void
pulse_now(void)
{
    now_wanted = 1;
    if (engine.pulse != NULL) {
        fiber_wake(engine.pulse);
    }
}

static void
rest(uint64_t ms)
{
    uint64_t until = uv_hrtime() + ms * MS;

    while (!now_wanted
           && fiber_suspend_until("the next beat", until) == 0) {
        continue;
    }
    now_wanted = 0;
}

/* Goes on while the engine stops: what still runs is still ours. */
void
pulse_loop(request_t *rq, void *arg)
{
    uint64_t audit_at = uv_hrtime() + AUDIT_MS * MS;

    (void) arg;
    while (!fiber_cancelled(fiber_self())) {
        int failed = job_step(rq, engine.registered ? beat : sign_in, NULL);

        if (failed == 0 && engine.nclaims_done > 0) {
            job_step(rq, drop_claims, NULL);
        }

        if (failed == 0 && engine.registered && uv_hrtime() >= audit_at) {
            audit_at = uv_hrtime()
                + engine_jitter(AUDIT_MS, AUDIT_MS * 3 / 2) * MS;
            job_step(rq, audit, NULL);
        }
        if (failed != 0) {
            rest(engine_jitter(RETRY_MS, 2 * RETRY_MS));
        } else if (engine.registered) {
            rest(engine.config.heartbeat_ms);
        }
    }
}

void
pulse_leave(request_t *rq, void *arg)
{
    (void) arg;
    db_exec(rq, Q_ENGINE_LEAVE, value_uuid(engine.worker),
        value_json(turn_times(rq->arena)));
}
