/* task_cancel.c: tasks that end because their owner wants it: cancelled, or
 * cancelled and removed. */

#include "tasks.h"

#include "engine.h"

#include "workers/db/event.h"

#include <inttypes.h>

/* What is being looked at may begin to run, or end, before it is locked. */
#define ROUNDS 8

typedef struct {
    settle_t *ends;              /* that do not run */
    size_t nends;
    hive_uuid_t *running;
    size_t nrunning;
} looked_t;

static looked_t
look(request_t *rq, task_outcome_t *outcomes, size_t count)
{
    size_t open;
    hive_uuid_t *ids = outcomes_open(rq, outcomes, count, &open);
    const db_result_t *rows = db_rows(rq, Q_TASKS_LOOK, value_uuid(rq->user),
        value_uuids(ids, open));
    looked_t looked = { .nends = 0 };

    looked.ends = arena_zero(rq->arena,
        ((size_t) rows->nrows + 1) * sizeof(*looked.ends));
    looked.running = arena_alloc(rq->arena,
        ((size_t) rows->nrows + 1) * sizeof(*looked.running));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        if (slice_equal(db_text(&row, "state"), SLICE("running"))) {
            looked.running[looked.nrunning++] = db_uuid(&row, "id");
            continue;
        }
        looked.ends[looked.nends++] = (settle_t) {
            .id = db_uuid(&row, "id"),
            .attempt = (int) db_int(&row, "attempt"),
            .dependents = (int) db_int(&row, "dependents"),
            .run = db_uuid(&row, "run_id"), .end = END_CANCELLED,
            .error = SLICE("{\"code\":\"cancelled\","
                "\"message\":\"cancelled by its owner\"}") };
    }
    return looked;
}

static void
raise_unsteady(request_t *rq)
{
    rq_raise(rq, 409, "conflict",
        "the task keeps changing its state, try again");
}

/* ---- cancel ---- */

static void
ask_to_stop(request_t *rq, task_outcome_t *outcomes, size_t count,
    const looked_t *looked)
{
    const db_result_t *rows;

    if (looked->nrunning == 0) {
        return;
    }
    rows = db_rows(rq, Q_TASKS_ASK_STOP, value_uuid(rq->user),
        value_uuids(looked->running, looked->nrunning));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        hive_uuid_t id = db_uuid(&row, "id");
        task_outcome_t *outcome = outcome_of(outcomes, count, id);

        after_commit_stop(rq, db_uuid(&row, "worker_id"), id);
        if (outcome != NULL) {
            outcome->status = 202;
            outcome->state = "running";
        }
    }
}

void
tasks_cancel(request_t *rq, task_outcome_t *outcomes, size_t count)
{
    for (int round = 0;; round++) {
        looked_t looked = look(rq, outcomes, count);

        if (looked.nends + looked.nrunning == 0) {
            break;
        }
        if (round == ROUNDS) {
            raise_unsteady(rq);
        }
        tasks_settle(rq, looked.ends, looked.nends);
        for (size_t i = 0; i < looked.nends; i++) {
            task_outcome_t *outcome = outcome_of(outcomes, count,
                looked.ends[i].id);

            if (looked.ends[i].settled && outcome != NULL) {
                outcome->status = 200;
                outcome->state = "cancelled";
            }
        }
        ask_to_stop(rq, outcomes, count, &looked);
    }
    outcomes_close(rq, outcomes, count, "cancelled");
}

void
op_task_cancel(request_t *rq)
{
    task_outcome_t outcome = { .id = rq_param_uuid(rq, 0) };

    tasks_cancel(rq, &outcome, 1);
    outcome_reply(rq, &outcome);
}

/* ---- delete ---- */

static void
refuse_busy(request_t *rq, task_outcome_t *outcomes, size_t count,
    const value_t *if_match)
{
    size_t open;
    hive_uuid_t *ids = outcomes_open(rq, outcomes, count, &open);
    const db_result_t *rows = db_rows(rq, Q_TASKS_LOOK, value_uuid(rq->user),
        value_uuids(ids, open));

    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        task_outcome_t *outcome = outcome_of(outcomes, count,
            db_uuid(&row, "id"));

        if (outcome == NULL) {
            continue;
        }
        if (!resource_matches(if_match, db_int(&row, "version"))) {
            outcome_refuse(rq, outcome, 412, "version_mismatch",
                "the task has changed: its version is %" PRId64,
                db_int(&row, "version"));
        } else if (slice_equal(db_text(&row, "state"), SLICE("running"))) {
            outcome_refuse(rq, outcome, 409, "task_running",
                "the task runs: cancel it first");
        } else if (db_bool(&row, "run_open")) {
            outcome_refuse(rq, outcome, 409, "run_not_finished",
                "the task belongs to a run that has not ended");
        }
    }
}

static void
remove_finished(request_t *rq, task_outcome_t *outcomes, size_t count)
{
    size_t open;
    hive_uuid_t *ids = outcomes_open(rq, outcomes, count, &open);
    const db_result_t *rows;

    if (open == 0) {
        return;
    }
    rows = db_rows(rq, Q_TASKS_DELETE, value_uuid(rq->user),
        value_uuids(ids, open), value_bool(engine_events()));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        task_outcome_t *outcome;

        if (!db_is_null(&row, db_column(rows, "_channel"))) {
            event_publish(rq, &row);
            continue;
        }
        outcome = outcome_of(outcomes, count, db_uuid(&row, "id"));
        if (outcome != NULL) {
            outcome->status = 204;
        }
    }
}

static void
delete_tasks(request_t *rq, task_outcome_t *outcomes, size_t count,
    const value_t *if_match)
{
    refuse_busy(rq, outcomes, count, if_match);
    for (int round = 0;; round++) {
        looked_t looked = look(rq, outcomes, count);

        if (looked.nends == 0) {
            break;
        }
        if (round == ROUNDS) {
            raise_unsteady(rq);
        }
        tasks_settle(rq, looked.ends, looked.nends);
    }
    remove_finished(rq, outcomes, count);
    for (size_t i = 0; i < count; i++) {
        const db_row_t *row;

        if (outcomes[i].status != 0) {
            continue;
        }
        row = db_row(rq, Q_TASK_EXISTS, value_uuid(rq->user),
            value_uuid(outcomes[i].id));
        if (row != NULL && db_bool(row, "live")) {
            outcome_refuse(rq, &outcomes[i], 409, "task_running",
                "the task runs: cancel it first");
        } else if (row != NULL) {
            outcome_refuse(rq, &outcomes[i], 409, "run_not_finished",
                "the task belongs to a run that has not ended");
        }
    }
    outcomes_close(rq, outcomes, count, NULL);
}

void
tasks_delete(request_t *rq, task_outcome_t *outcomes, size_t count)
{
    value_t any = value_null();

    delete_tasks(rq, outcomes, count, &any);
}

/* If-Match of a finished task: it does not change any more, but by a retry,
 * which takes it away from here. */
static void
check_finished(request_t *rq, hive_uuid_t id, const value_t *if_match)
{
    const db_row_t *row;

    if (if_match->type == VALUE_NULL) {
        return;
    }
    row = db_row(rq, Q_TASK_RESULT, value_uuid(rq->user), value_uuid(id));
    if (row != NULL && !resource_matches(if_match, db_int(row, "version"))) {
        rq_raise(rq, 412, "version_mismatch",
            "the task has changed: its version is %" PRId64,
            db_int(row, "version"));
    }
}

void
op_task_delete(request_t *rq)
{
    task_outcome_t outcome = { .id = rq_param_uuid(rq, 0) };
    value_t if_match = resource_if_match(rq);

    check_finished(rq, outcome.id, &if_match);
    delete_tasks(rq, &outcome, 1, &if_match);
    if (outcome.code != NULL) {
        rq_raise(rq, outcome.status, outcome.code, "%s", outcome.detail);
    }
    rq_reply(rq, 204, SLICE_NONE);
}
