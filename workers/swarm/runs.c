/* runs.c: what a swarm was given to do, as people see it. */

#include "internal.h"

#define LIMIT_DEFAULT 20
#define LIMIT_MAX     100

static void
raise_missing(request_t *rq)
{
    rq_raise(rq, 404, "swarm_task_not_found",
        "this swarm has no such piece of work");
}

static void
read_page(request_t *rq, int64_t *limit, value_t *cursor)
{
    const query_arg_t *args;
    hive_uuid_t id;
    size_t count;

    *limit = LIMIT_DEFAULT;
    *cursor = value_null();
    args = rq_query(rq, &count);
    for (size_t i = 0; i < count; i++) {
        if (slice_equal(args[i].name, SLICE("limit"))) {
            if (int_parse(args[i].value, limit) != 0 || *limit < 1
                || *limit > LIMIT_MAX) {
                rq_invalid(rq, "limit", "out_of_range",
                    "must be a number from 1 to %d", LIMIT_MAX);
            }
        } else if (!slice_equal(args[i].name, SLICE("cursor"))) {
            rq_invalid(rq, arena_strndup(rq->arena, args[i].name.data,
                args[i].name.len), "unknown_parameter",
                "this list has no such parameter");
        } else if (uuid_parse(args[i].value.data, args[i].value.len, &id)
                   != 0) {
            rq_invalid(rq, "cursor", "malformed_cursor",
                "must be a next_cursor of this list");
        } else {
            *cursor = value_uuid(id);
        }
    }
    rq_check(rq);
}

void
op_swarm_task_list(request_t *rq)
{
    hive_uuid_t swarm = rq_param_uuid(rq, 0);
    const db_result_t *rows;
    int64_t limit;
    value_t cursor;
    int shown;
    buf_t out;

    read_page(rq, &limit, &cursor);
    if (resource_row(rq, &swarm_resource, swarm) == NULL) {
        resource_raise_missing(rq, &swarm_resource);
    }
    rows = db_rows(rq, Q_SWARM_RUN_LIST, value_uuid(rq->user),
        value_uuid(swarm), cursor, value_int(limit + 1));
    shown = rows->nrows > limit ? (int) limit : rows->nrows;
    buf_init(&out, rq->arena, 2048);
    buf_puts(&out, "{\"items\":[");
    for (int i = 0; i < shown; i++) {
        db_row_t row = db_row_at(rows, i);

        buf_puts(&out, i > 0 ? "," : "");
        db_json_row(&out, &row);
    }
    buf_puts(&out, "],\"next_cursor\":");
    if (rows->nrows > shown) {
        db_row_t last = db_row_at(rows, shown - 1);
        value_t id = value_uuid(db_uuid(&last, "id"));

        json_put_value(&out, &id);
    } else {
        buf_puts(&out, "null");
    }
    buf_putc(&out, '}');
    rq_reply(rq, 200, buf_slice(&out));
}

static void
reply_run(request_t *rq)
{
    const db_row_t *row = db_row(rq, Q_SWARM_RUN_GET, value_uuid(rq->user),
        value_uuid(rq_param_uuid(rq, 0)), value_uuid(rq_param_uuid(rq, 1)));
    buf_t out;

    if (row == NULL) {
        raise_missing(rq);
    }
    buf_init(&out, rq->arena, 8192);
    db_json_row(&out, row);
    rq_reply(rq, 200, buf_slice(&out));
}

void
op_swarm_task_get(request_t *rq)
{
    reply_run(rq);
}

/* Raises 404, and 409 with that code when its tasks are gone already. */
static hive_uuid_t
existing_run(request_t *rq, const char *gone, const char *message)
{
    hive_uuid_t run = rq_param_uuid(rq, 1);
    const db_row_t *row = db_row(rq, Q_SWARM_RUN_EXISTS,
        value_uuid(rq->user), value_uuid(rq_param_uuid(rq, 0)),
        value_uuid(run));

    if (row == NULL) {
        raise_missing(rq);
    }
    if (!db_bool(row, "kept")) {
        rq_raise(rq, 409, gone, "%s", message);
    }
    return run;
}

/* Of the run of tasks it is; what the swarm has to say of it follows as soon
 * as that has ended (keeper.c). */
static void
cancel(request_t *rq, void *arg)
{
    hive_uuid_t run = existing_run(rq, "run_finished", "the run has ended");

    (void) arg;
    if (!run_cancel(rq, run)) {
        rq_raise(rq, 409, "run_finished", "the run has ended");
    }
}

void
op_swarm_task_cancel(request_t *rq)
{
    db_transact(rq, cancel, NULL);
    reply_run(rq);
}

__attribute__((noreturn))
static void
raise_inactive(request_t *rq)
{
    rq_raise(rq, 409, "swarm_not_active", "the swarm takes no more work");
}

int
run_resume(request_t *rq, hive_uuid_t run, slice_t step)
{
    const db_row_t *row = db_row(rq, Q_SWARM_RUN_LOCK, value_uuid(run));

    if (row == NULL) {
        return 0;
    }
    if (slice_equal(db_text(row, "state"), SLICE("succeeded"))) {
        rq_raise(rq, 409, "run_succeeded",
            "nothing of the run is left to be tried again");
    }
    row = db_row(rq, Q_SWARM_RUN_RESUME, value_uuid(run),
        step.data != NULL ? value_text(step) : value_null());
    if (row == NULL) {
        return 0;
    }
    /* The swarm is locked by that event: now it says for good what it is. */
    if (db_row(rq, Q_SWARM_RUN_WANTED, value_uuid(run)) == NULL) {
        raise_inactive(rq);
    }
    event_publish(rq, row);
    return 1;
}

/* The run of tasks first, as everywhere. */
static void
retry(request_t *rq, void *arg)
{
    hive_uuid_t run = existing_run(rq, "run_expired",
        "the steps of the run are no longer kept");

    (void) arg;
    run_retry(rq, run);
    if (!run_resume(rq, run, SLICE_NONE)) {
        raise_inactive(rq);
    }
}

void
op_swarm_task_retry(request_t *rq)
{
    db_transact(rq, retry, NULL);
    reply_run(rq);
}
