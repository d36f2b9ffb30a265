/* task_actions.c: what people do with one unfinished task: run it now, pause
 * it, let it go on. To ask for what is so already is no failure. */

#include "tasks.h"

#include "engine.h"

#include "workers/db/event.h"

/* No unfinished task of that id: why, and that is the reply. */
__attribute__((noreturn))
static void
raise_absent(request_t *rq, hive_uuid_t id)
{
    task_outcome_t outcome = { .id = id };

    outcomes_close(rq, &outcome, 1, NULL);
    rq_raise(rq, outcome.status, outcome.code, "%s", outcome.detail);
}

static void
publish(request_t *rq, const db_row_t *row)
{
    if (!db_is_null(row, db_column(row->result, "_event"))) {
        event_publish(rq, row);
    }
}

static void
reply(request_t *rq, hive_uuid_t id, int status)
{
    task_outcome_t outcome = { .id = id, .status = status };

    outcome_reply(rq, &outcome);
}

/* ---- pause ---- */

void
op_task_pause(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    const db_row_t *row = db_row(rq, Q_TASK_PAUSE, value_uuid(rq->user),
        value_uuid(id), value_bool(engine_events()));
    int running;

    if (row == NULL) {
        raise_absent(rq, id);
    }
    publish(rq, row);
    running = slice_equal(db_text(row, "state"), SLICE("running"));
    if (running) {
        after_commit_stop(rq, db_uuid(row, "worker_id"), id);
    } else if (db_text(row, "freed_limit").len > 0) {
        after_commit_limit(rq, rq->user, db_text(row, "freed_limit"));
    }
    reply(rq, id, running ? 202 : 200);
}

/* ---- resume, run ---- */

/* The row of the statement; its turn is that of a task that comes now. */
static const db_row_t *
set_going(request_t *rq, query_id_t query, hive_uuid_t id)
{
    const db_row_t *row = db_row(rq, Q_TASKS_LOOK, value_uuid(rq->user),
        value_uuids(&id, 1));
    int64_t turn;

    if (row == NULL) {
        raise_absent(rq, id);
    }
    turn = turn_next(rq->user, db_text(row, "kind"),
        (int) db_int(row, "priority"));
    row = db_row(rq, query, value_uuid(rq->user), value_uuid(id),
        value_int(turn), value_bool(engine_events()));
    if (row == NULL) {
        raise_absent(rq, id);
    }
    publish(rq, row);
    if (slice_equal(db_text(row, "new_state"), SLICE("ready"))) {
        if (db_text(row, "limit_key").len > 0) {
            after_commit_limit(rq, rq->user, db_text(row, "limit_key"));
        } else {
            after_commit_wake(rq, db_text(row, "kind"));
        }
    }
    return row;
}

static int
is_changed(const db_row_t *row)
{
    return !db_is_null(row, db_column(row->result, "new_state"));
}

void
op_task_resume(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    const db_row_t *row = set_going(rq, Q_TASK_RESUME, id);

    if (!is_changed(row)) {
        rq_raise(rq, 409, "task_not_paused", "the task is %s, not paused",
            task_state_name(db_text(row, "state")));
    }
    reply(rq, id, 200);
}

void
op_task_run(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    const db_row_t *row = set_going(rq, Q_TASK_RUN, id);
    slice_t state = db_text(row, "state");

    if (!is_changed(row) && !slice_equal(state, SLICE("ready"))) {
        rq_raise(rq, 409, arena_printf(rq->arena, "task_%s",
                task_state_name(state)),
            "only a scheduled task can be run now: this one is %s",
            task_state_name(state));
    }
    reply(rq, id, 200);
}
