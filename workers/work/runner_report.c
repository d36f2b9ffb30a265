/* runner_report.c: what a runner says of a task it holds: that it lives, that
 * it is done, that it failed.
 *
 * An end is settled, or made again later, by the same ways as those of tasks
 * that run here. It may be sent again: an end that was not heard of, or whose
 * reply was lost, gets the same answer twice. */

#include "engine_internal.h"
#include "measures.h"
#include "runner.h"
#include "task.h"

#define RESULT_MAX   (1024 * 1024)
#define CODE_MAX     100
#define MESSAGE_MAX  10000
#define COST_MAX     INT64_C(1000000000000000)   /* a million dollars */
#define SETTLE_TRIES 5

#define LEASE_COLUMNS                                                         \
    { "lease_token", COLUMN_UUID, .flags = REQUIRED | WRITABLE },            \
    { "lease_ms", COLUMN_INT, WRITABLE | NULLABLE, .min = LEASE_MS_MIN,       \
        .max = LEASE_MS_MAX }

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- heartbeat ---- */

void
op_task_heartbeat(request_t *rq)
{
    static const column_t columns[] = { LEASE_COLUMNS };
    hive_uuid_t id = rq_param_uuid(rq, 0), token;
    assignment_t body[COUNT(columns)];
    const db_row_t *row;
    buf_t out;

    runner_read(rq, "heartbeat", columns, COUNT(columns), body);
    token = body[0].value.as.uuid;
    row = db_row(rq, Q_RUNNER_HEARTBEAT, value_uuid(rq->user), value_uuid(id),
        body[0].value, value_int(runner_lease_ms(&body[1].value, &token)));
    if (row == NULL) {
        runner_raise_lost(rq, id, token);
    }

    buf_init(&out, rq->arena, 128);
    db_json_row(&out, row);
    rq_reply(rq, 200, buf_slice(&out));
}

/* ---- ends ---- */

typedef struct {
    hive_uuid_t id, token;
    task_end_t end;            /* SUCCEEDED or FAILED, as it says */
    slice_t result, error;
    int64_t cost;
    int final;
} report_end_t;

/* The task as it stands. Without `again` the end has just been stored;
 * otherwise it is a repetition of what this lease has said before, or too
 * late. */
static void
reply_outcome(request_t *rq, const report_end_t *end, int again)
{
    const db_row_t *row = db_row(rq, Q_RUNNER_OUTCOME, value_uuid(rq->user),
        value_uuid(end->id), value_uuid(end->token));
    slice_t outcome;
    int same;
    buf_t out;

    if (row == NULL) {
        rq_raise(rq, 404, "task_not_found",
            "there is no such task, or it is not yours");
    }
    outcome = db_text(row, "_outcome");
    same = end->end == END_SUCCEEDED
        ? db_bool(row, "_ended")
          && slice_equal(db_text(row, "state"), SLICE("succeeded"))
        : slice_equal(outcome, SLICE("failed"))
          || slice_equal(outcome, SLICE("cancelled"))
          || slice_equal(outcome, SLICE("paused"));
    if (again && !same) {
        rq_raise(rq, 409, "lease_lost",
            "the task is no longer run under this lease");
    }

    buf_init(&out, rq->arena, 256);
    db_json_row(&out, row);
    rq_reply(rq, 200, buf_slice(&out));
}

/* Nonzero when it was settled; else what is known of it has changed. */
static int
settle_held(request_t *rq, const report_end_t *end, const db_row_t *held,
    task_end_t how)
{
    settle_t item = {
        .id = end->id, .worker = end->token,
        .attempt = (int) db_int(held, "attempt"),
        .dependents = (int) db_int(held, "dependents"),
        .run = db_uuid(held, "run_id"), .end = how,
        .result = end->result, .error = end->error,
        .cost_nano_usd = end->cost,
    };

    if (tasks_settle(rq, &item, 1) == 0) {
        return 0;
    }
    runner_ended(&end->token);
    measure_attempt(db_text(held, "kind"), how == END_SUCCEEDED
        ? OUTCOME_SUCCEEDED : how == END_CANCELLED ? OUTCOME_CANCELLED
        : OUTCOME_FAILED, (uint64_t) db_int(held, "ran"));
    return 1;
}

/* A failure is tried again while attempts are left. That of one who was asked
 * to pause is what was asked for, and does not count. */
static int
fail_held(request_t *rq, const report_end_t *end, const db_row_t *held)
{
    int paused = db_bool(held, "pause_requested")
                 && !db_bool(held, "cancel_requested");
    retry_t item = {
        .id = end->id, .worker = end->token,
        .attempt = (int) db_int(held, "attempt"),
        .outcome = paused ? "paused" : "failed", .error = end->error,
        .cost_nano_usd = end->cost, .final = end->final,
    };

    retry_tasks(rq, &item, 1);
    switch (item.what) {
    case RETRY_AGAIN:
        runner_ended(&end->token);
        measure_attempt(db_text(held, "kind"),
            paused ? OUTCOME_PAUSED : OUTCOME_FAILED,
            (uint64_t) db_int(held, "ran"));
        return 1;
    case RETRY_SPENT:
        return settle_held(rq, end, held, END_FAILED);
    case RETRY_CANCELLED:
        return settle_held(rq, end, held, END_CANCELLED);
    case RETRY_GONE:
        break;
    }
    return 0;
}

/* Between the look and the change somebody may have made something wait for
 * this task: then we look again. */
static void
end_task(request_t *rq, const report_end_t *end)
{
    for (int i = 0; i < SETTLE_TRIES; i++) {
        const db_row_t *held = db_row(rq, Q_RUNNER_HELD,
            value_uuid(rq->user), value_uuid(end->id),
            value_uuid(end->token));

        if (held == NULL) {
            reply_outcome(rq, end, 1);
            return;
        }
        runner_progress_flush(rq, end->id, end->token);
        if (end->end == END_SUCCEEDED
            ? settle_held(rq, end, held, END_SUCCEEDED)
            : fail_held(rq, end, held)) {
            reply_outcome(rq, end, 0);
            return;
        }
    }
    rq_raise(rq, 503, "database_busy",
        "what depends on the task keeps changing");
}

void
op_task_complete(request_t *rq)
{
    static const column_t columns[] = {
        { "lease_token", COLUMN_UUID, .flags = REQUIRED | WRITABLE },
        { "result", COLUMN_JSON, WRITABLE | NULLABLE, .max = RESULT_MAX },
        { "cost_nano_usd", COLUMN_INT, WRITABLE, .min = 0, .max = COST_MAX,
            .fallback = "0" },
    };
    assignment_t body[COUNT(columns)];
    report_end_t end = { .id = rq_param_uuid(rq, 0), .end = END_SUCCEEDED };

    runner_read(rq, "completion", columns, COUNT(columns), body);
    end.token = body[0].value.as.uuid;
    if (body[1].value.type != VALUE_NULL) {
        end.result = body[1].value.as.text;
    }
    end.cost = body[2].value.as.integer;
    end_task(rq, &end);
}

/* {"code", "message"}, checked, and nothing else. */
static slice_t
read_error(request_t *rq, slice_t given)
{
    static const column_t columns[] = {
        { "code", COLUMN_TEXT, REQUIRED | WRITABLE, .min = 1,
            .max = CODE_MAX },
        { "message", COLUMN_TEXT, WRITABLE, .max = MESSAGE_MAX,
            .fallback = "\"\"" },
    };
    json_t *error = json_object_get(rq_json(rq), "error");
    resource_t shape = {
        .name = "error", .columns = columns, .ncolumns = COUNT(columns)
    };
    report_t report = report_to(rq);
    assignment_t parts[COUNT(columns)];

    if (!json_is_object(error)) {
        rq_invalid(rq, "error", "wrong_type", "must be an object with a"
            " code and a message");
    } else {
        assignments_read(&report, &shape, error, 1, parts);
    }
    rq_check(rq);
    return given;
}

void
op_task_fail(request_t *rq)
{
    static const column_t columns[] = {
        { "lease_token", COLUMN_UUID, .flags = REQUIRED | WRITABLE },
        { "error", COLUMN_JSON, REQUIRED | WRITABLE, .max = 65536 },
        { "final", COLUMN_BOOL, WRITABLE, .fallback = "false" },
        { "cost_nano_usd", COLUMN_INT, WRITABLE, .min = 0, .max = COST_MAX,
            .fallback = "0" },
    };
    assignment_t body[COUNT(columns)];
    report_end_t end = { .id = rq_param_uuid(rq, 0), .end = END_FAILED };

    runner_read(rq, "failure", columns, COUNT(columns), body);
    end.token = body[0].value.as.uuid;
    end.error = read_error(rq, body[1].value.as.text);
    end.final = body[2].value.as.boolean;
    end.cost = body[3].value.as.integer;
    end_task(rq, &end);
}
