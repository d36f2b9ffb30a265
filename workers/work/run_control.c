/* run_control.c: cancelling a run, and trying again what of it did not
 * succeed. */

#include "run.h"

#include "engine.h"
#include "tasks.h"
#include "work.h"

#include "workers/db/event.h"

#include <stdlib.h>

#define SETTLE_BATCH 1000

typedef struct {
    void (*fn)(request_t *rq, hive_uuid_t id);
    hive_uuid_t id;
    const db_row_t *row;
} change_t;

static void
change(request_t *rq, void *arg)
{
    change_t *made = arg;

    made->fn(rq, made->id);
    made->row = db_row(rq, Q_RUN_GET, value_uuid(rq->user),
        value_uuid(made->id));
}

/* Replies with the run as it is then. */
static void
change_run(request_t *rq, void (*fn)(request_t *rq, hive_uuid_t id))
{
    change_t made = { fn, rq_param_uuid(rq, 0), NULL };

    db_transact(rq, change, &made);
    if (made.row == NULL) {
        resource_raise_missing(rq, &run_resource);
    }
    db_reply_row(rq, 200, made.row);
}

static const db_row_t *
lock_run(request_t *rq, hive_uuid_t id)
{
    const db_row_t *row = db_row(rq, Q_RUN_LOCK, value_uuid(rq->user),
        value_uuid(id));

    if (row == NULL) {
        resource_raise_missing(rq, &run_resource);
    }
    return row;
}

/* ---- cancel ---- */

typedef struct {
    settle_t item;
    int64_t rank;
} doomed_t;

/* What waits for others first: so that all end as cancelled, and none is
 * skipped because of the one before it. */
static int
compare_doomed(const void *a, const void *b)
{
    const doomed_t *x = a, *y = b;

    if (x->rank != y->rank) {
        return x->rank > y->rank ? -1 : 1;
    }
    return memcmp(&x->item.id, &y->item.id, sizeof(x->item.id));
}

static void
settle_all(request_t *rq, const doomed_t *doomed, size_t count)
{
    settle_t *items = arena_alloc(rq->arena,
        SETTLE_BATCH * sizeof(*items));

    for (size_t at = 0; at < count; at += SETTLE_BATCH) {
        size_t n = count - at < SETTLE_BATCH ? count - at : SETTLE_BATCH;

        for (size_t i = 0; i < n; i++) {
            items[i] = doomed[at + i].item;
        }
        tasks_settle(rq, items, n);
    }
}

static void
cancel_waiting(request_t *rq, hive_uuid_t id)
{
    const db_result_t *rows = db_rows(rq, Q_RUN_TASKS_LOCK, value_uuid(id));
    doomed_t *doomed = arena_alloc(rq->arena,
        ((size_t) rows->nrows + 1) * sizeof(*doomed));
    size_t count = 0;

    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        if (slice_equal(db_text(&row, "state"), SLICE("running"))) {
            continue;
        }
        doomed[count++] = (doomed_t) {
            .item = {
                .id = db_uuid(&row, "id"),
                .attempt = (int) db_int(&row, "attempt"),
                .dependents = (int) db_int(&row, "dependents"),
                .run = id,
                .end = END_CANCELLED,
                .error = SLICE("{\"code\":\"cancelled\",\"message\":"
                    "\"the run was cancelled\"}"),
            },
            .rank = db_int(&row, "rank"),
        };
    }
    qsort(doomed, count, sizeof(*doomed), compare_doomed);
    settle_all(rq, doomed, count);
}

static void
stop_running(request_t *rq, hive_uuid_t id)
{
    const db_result_t *rows = db_rows(rq, Q_RUN_TASKS_STOP, value_uuid(id));

    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        after_commit_stop(rq, db_uuid(&row, "worker_id"),
            db_uuid(&row, "id"));
    }
}

/* What runs goes on until it is stopped; the run ends with the last of it. To
 * cancel it again is no change. */
int
run_cancel(request_t *rq, hive_uuid_t id)
{
    const db_row_t *run = lock_run(rq, id);

    if (!slice_equal(db_text(run, "state"), SLICE("running"))) {
        return 0;
    }
    if (!db_bool(run, "cancel_requested")) {
        db_rows(rq, Q_RUN_CANCEL, value_uuid(id));
    }
    cancel_waiting(rq, id);
    stop_running(rq, id);
    return 1;
}

static void
cancel_run(request_t *rq, hive_uuid_t id)
{
    if (!run_cancel(rq, id)) {
        rq_raise(rq, 409, "run_finished", "the run has ended");
    }
}

void
op_run_cancel(request_t *rq)
{
    change_run(rq, cancel_run);
}

/* ---- retry ---- */

static void
take_freed(request_t *rq, const db_row_t *row)
{
    if (db_is_null(row, db_column(row->result, "limit_key"))) {
        after_commit_wake(rq, db_text(row, "kind"));
    } else {
        after_commit_limit(rq, db_uuid(row, "owner_id"),
            db_text(row, "limit_key"));
    }
}

void
run_retry(request_t *rq, hive_uuid_t id)
{
    slice_t state = db_text(lock_run(rq, id), "state");
    const db_result_t *rows;

    if (slice_equal(state, SLICE("running"))) {
        rq_raise(rq, 409, "run_running", "the run has not ended");
    }
    if (slice_equal(state, SLICE("succeeded"))) {
        rq_raise(rq, 409, "run_succeeded",
            "nothing of the run is left to be tried again");
    }
    rows = db_rows(rq, Q_RUN_RETRY, value_uuid(id),
        value_json(turn_times(rq->arena)), value_bool(engine_events()));
    if (rows->nrows == 0) {
        rq_raise(rq, 409, "run_expired",
            "the steps of the run are no longer kept");
    }
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        slice_t what = db_text(&row, "what");

        if (slice_equal(what, SLICE("free"))) {
            take_freed(rq, &row);
        } else if (slice_equal(what, SLICE("event"))) {
            event_publish(rq, &row);
        }
    }
}

void
op_run_retry(request_t *rq)
{
    change_run(rq, run_retry);
}
