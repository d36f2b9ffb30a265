/* engine_stager.c: scheduled tasks become ready when their time comes.
 *
 * It sleeps until the next one is due, and at most a second, since what other
 * hosts schedule for sooner is not told here; what this process schedules is
 * (engine_due). Turns are given as at the making of a task, so that a tenant
 * whose hundred thousand tasks come due at midnight queues like anybody. */

#include "engine_internal.h"

#include "workers/db/event.h"

#define AHEAD_MS   1000
#define AT_ONCE    500
#define MIN_MS     2           /* so that many close together go together */
#define OTHERS_MS  20          /* leave to who scheduled it, for that long */
#define FAILED_MS  500

static uint64_t due_at;        /* hrtime; 0: nothing known */
static int due_ours;

typedef struct {
    uint64_t wait_ms;          /* until the next look */
} look_t;

void
engine_due(int64_t run_at)
{
    int64_t left = run_at - engine_now_us();
    uint64_t at = uv_hrtime() + (left > 0 ? (uint64_t) left * 1000 : 0);

    if (engine.stager != NULL && left < AHEAD_MS * 1000
        && (due_at == 0 || at < due_at)) {
        due_at = at;
        due_ours = 1;
        fiber_wake(engine.stager);
    }
}

static void
follow(request_t *rq, const db_result_t *result)
{
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);
        slice_t limit_key = db_text(&row, "limit_key");

        if (limit_key.len > 0) {
            engine_limit_freed(db_uuid(&row, "owner_id"), limit_key);
        } else {
            engine_wake(db_text(&row, "kind"));
        }
        if (engine.config.events) {
            event_publish(rq, &row);
        }
    }
}

static void
stage(request_t *rq, void *arg)
{
    look_t *look = arg;
    const db_result_t *result = db_rows(rq, Q_ENGINE_DUE, value_int(AT_ONCE),
        value_int(AHEAD_MS));
    hive_uuid_t ids[AT_ONCE];
    int64_t turns[AT_ONCE];
    size_t count = 0;

    look->wait_ms = AHEAD_MS;
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);
        int64_t wait = db_int(&row, "wait_ms");

        if (wait > 0) {
            look->wait_ms = (uint64_t) wait;
            break;
        }
        ids[count] = db_uuid(&row, "id");
        turns[count++] = turn_next(db_uuid(&row, "owner_id"),
            db_text(&row, "kind"), (int) db_int(&row, "priority"));
    }
    if (count == AT_ONCE) {
        look->wait_ms = 0;
    }
    if (count > 0) {
        follow(rq, db_rows(rq, Q_ENGINE_STAGE, value_uuids(ids, count),
            value_ints(turns, count), value_bool(engine.config.events)));
    }
}

/* Until the next is due. */
static void
rest(uint64_t wait_ms)
{
    uint64_t now = uv_hrtime();
    uint64_t until = now + wait_ms * MS;

    if (wait_ms > 0 && wait_ms < AHEAD_MS) {
        until += engine_jitter(0, OTHERS_MS) * MS;
    }
    for ( ;; ) {
        uint64_t at = due_at != 0 && due_at < until ? due_at : until;

        at = at > now + MIN_MS * MS ? at : now + MIN_MS * MS;
        if (engine.stopping || uv_hrtime() >= at
            || fiber_suspend_until("the next task due", at)
               == UV_ECANCELED) {
            return;
        }
    }
}

void
stager_loop(request_t *rq, void *arg)
{
    (void) arg;
    due_at = 0;
    while (!engine.stopping && !fiber_cancelled(fiber_self())) {
        look_t look = { FAILED_MS };

        due_at = 0;
        if (engine_alive()) {
            job_step(rq, stage, &look);
        }
        rest(look.wait_ms);
    }
}
