/* dependencies.c: edges between tasks, made and removed by hand.
 *
 * An edge leads from a lower rank to a higher one, so that no cycle can be
 * stored. When the child is not above the parent, it and all that waits for
 * it are moved up first, unless the parent is among them: that is a cycle.
 * Edges that are there go on leading up, since what moves does so by the same
 * amount, and what does not move is below. */

#include "tasks.h"

#include "engine.h"

#include "workers/db/event.h"

#define ROUNDS    20
#define REACH_MAX 100000

typedef struct {
    hive_uuid_t parent, child;
    int parent_live;
    int64_t parent_rank, child_rank;
    int run_on_failure;
    int created;
} edge_change_t;

/* ---- what the edge is between ---- */

static void
raise_outcome(request_t *rq, hive_uuid_t id)
{
    task_outcome_t outcome = { .id = id };

    outcomes_close(rq, &outcome, 1, NULL);
    rq_raise(rq, outcome.status, outcome.code, "%s", outcome.detail);
}

/* Only what has not begun can wait. */
static void
note_child(request_t *rq, const db_row_t *row, edge_change_t *change)
{
    if (slice_equal(db_text(row, "state"), SLICE("running"))) {
        rq_raise(rq, 409, "task_running",
            "the task runs already and cannot wait for another");
    }
    change->child_rank = db_int(row, "rank");
    change->run_on_failure = db_bool(row, "run_on_failure");
}

static void
note_finished_parent(request_t *rq, edge_change_t *change)
{
    const db_row_t *row = db_row(rq, Q_TASKS_FINISHED, value_uuid(rq->user),
        value_uuids(&change->parent, 1));
    const char *state;

    if (row == NULL) {
        rq_raise(rq, 422, "dependency_not_found",
            "task_id names no task of yours");
    }
    state = task_state_name(db_text(row, "state"));
    if (strcmp(state, "succeeded") != 0 && !change->run_on_failure) {
        rq_raise(rq, 409, "dependency_failed",
            "the task to wait for has ended, as %s", state);
    }
    change->parent_rank = db_int(row, "rank");
}

/* Both, in the order of their ids. */
static void
lock_both(request_t *rq, edge_change_t *change)
{
    hive_uuid_t ids[] = { change->parent, change->child };
    const db_result_t *rows = db_rows(rq, Q_DEPENDENCY_LOCK,
        value_uuid(rq->user), value_uuids(ids, 2));
    int child = 0;

    change->parent_live = 0;
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        hive_uuid_t id = db_uuid(&row, "id");

        if (uuid_equal(&id, &change->child)) {
            note_child(rq, &row, change);
            child = 1;
        } else {
            change->parent_rank = db_int(&row, "rank");
            change->parent_live = 1;
        }
    }
    if (!child) {
        raise_outcome(rq, change->child);
    }
    if (!change->parent_live) {
        note_finished_parent(rq, change);
    }
}

/* ---- adding ---- */

__attribute__((noreturn))
static void
raise_cycle(request_t *rq)
{
    rq_raise(rq, 409, "dependency_cycle",
        "the task to wait for waits for this one, itself or through others");
}

static void
lock_reach(request_t *rq, const edge_change_t *change)
{
    int64_t n = -1, m = -1;

    for (int round = 0; round < ROUNDS; round++) {
        const db_row_t *row = db_row(rq, Q_DEPENDENCY_REACH,
            value_uuid(change->child), value_uuid(change->parent),
            value_int(REACH_MAX + 1));

        if (db_bool(row, "cycle")) {
            raise_cycle(rq);
        }
        if (db_int(row, "n") > REACH_MAX) {
            rq_raise(rq, 409, "graph_too_large",
                "more than %d tasks wait for this one", REACH_MAX);
        }
        if (db_int(row, "n") == n && db_int(row, "m") == m) {
            return;
        }
        n = db_int(row, "n");
        m = db_int(row, "m");
    }
    rq_raise(rq, 503, "database_busy",
        "what waits for the task keeps changing");
}

static void
add(request_t *rq, void *arg)
{
    edge_change_t *change = arg;
    const db_row_t *row;

    db_rows(rq, Q_DEPENDENCY_TURN, value_uuid(rq->user));
    lock_both(rq, change);
    change->created = db_row(rq, Q_DEPENDENCY_EXISTS,
        value_uuid(change->parent), value_uuid(change->child)) == NULL;
    if (!change->created) {
        return;
    }
    if (change->parent_rank >= change->child_rank) {
        int64_t up = change->parent_rank - change->child_rank + 1;

        lock_reach(rq, change);
        db_rows(rq, Q_DEPENDENCY_RAISE, value_uuid(change->child),
            value_int(up));
        change->child_rank += up;
    }
    row = db_row(rq, Q_DEPENDENCY_ADD, value_uuid(change->parent),
        value_uuid(change->child), value_int(change->parent_rank),
        value_int(change->child_rank), value_bool(change->parent_live),
        value_bool(engine_events()));
    if (!db_is_null(row, db_column(row->result, "_event"))) {
        event_publish(rq, row);
    }
    if (db_text(row, "freed_limit").len > 0) {
        after_commit_limit(rq, rq->user, db_text(row, "freed_limit"));
    }
}

static hive_uuid_t
read_task_id(request_t *rq)
{
    static const column_t column = { "task_id", COLUMN_UUID, .flags = 0 };
    report_t report = report_to(rq);
    json_t *body = rq_json(rq), *value;
    value_t id = value_uuid((hive_uuid_t) { { 0 } });
    const char *name;

    json_object_foreach(body, name, value) {
        if (strcmp(name, "task_id") != 0) {
            report_invalid(&report, name, "unknown_member",
                "is not a member of a dependency");
        } else {
            value_from_json(&report, &column, name, value, &id);
        }
    }
    if (json_object_get(body, "task_id") == NULL) {
        report_invalid(&report, "task_id", "required", "is required");
    }
    rq_check(rq);
    return id.as.uuid;
}

void
op_task_dependency_add(request_t *rq)
{
    edge_change_t change = { .child = rq_param_uuid(rq, 0),
        .parent = read_task_id(rq) };
    buf_t out;

    if (uuid_equal(&change.child, &change.parent)) {
        raise_cycle(rq);
    }
    tasks_in_transaction(rq, add, &change);
    buf_init(&out, rq->arena, 128);
    buf_puts(&out, "{\"task_id\":");
    json_put_value(&out, &(value_t) { .type = VALUE_UUID,
        .as.uuid = change.parent });
    buf_printf(&out, ",\"satisfied\":%s}",
        change.parent_live ? "false" : "true");
    rq_reply(rq, change.created ? 201 : 200, buf_slice(&out));
}

/* ---- removing ---- */

static void
lock_for_removal(request_t *rq, edge_change_t *change)
{
    hive_uuid_t ids[] = { change->parent, change->child };
    const db_result_t *rows = db_rows(rq, Q_DEPENDENCY_LOCK,
        value_uuid(rq->user), value_uuids(ids, 2));
    int child = 0;

    change->parent_live = 0;
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        hive_uuid_t id = db_uuid(&row, "id");

        child |= uuid_equal(&id, &change->child);
        change->parent_live |= uuid_equal(&id, &change->parent);
    }
    if (!child) {
        raise_outcome(rq, change->child);
    }
}

static void
removed(request_t *rq, void *arg)
{
    edge_change_t *change = arg;
    const db_row_t *row;
    int64_t turn;

    db_rows(rq, Q_DEPENDENCY_TURN, value_uuid(rq->user));
    lock_for_removal(rq, change);
    row = db_row(rq, Q_TASKS_LOOK, value_uuid(rq->user),
        value_uuids(&change->child, 1));
    turn = turn_next(rq->user, db_text(row, "kind"),
        (int) db_int(row, "priority"));
    row = db_row(rq, Q_DEPENDENCY_REMOVE, value_uuid(change->parent),
        value_uuid(change->child), value_bool(change->parent_live),
        value_int(turn), value_bool(engine_events()));
    if (row == NULL) {
        rq_raise(rq, 404, "dependency_not_found",
            "the task does not wait for that one");
    }
    if (!db_is_null(row, db_column(row->result, "_event"))) {
        event_publish(rq, row);
    }
    if (slice_equal(db_text(row, "state"), SLICE("ready"))) {
        if (db_text(row, "limit_key").len > 0) {
            after_commit_limit(rq, rq->user, db_text(row, "limit_key"));
        } else {
            after_commit_wake(rq, db_text(row, "kind"));
        }
    }
}

void
op_task_dependency_remove(request_t *rq)
{
    edge_change_t change = { .child = rq_param_uuid(rq, 0),
        .parent = rq_param_uuid(rq, 1) };

    tasks_in_transaction(rq, removed, &change);
    rq_reply(rq, 204, SLICE_NONE);
}

/* ---- the list ---- */

void
op_task_dependencies(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0), after = { { 0 } };
    page_t page = page_read(rq, "direction");
    int children = slice_equal(page.other, SLICE("children"));

    if (page.other.data != NULL && !children
        && !slice_equal(page.other, SLICE("parents")))
    {
        rq_invalid(rq, "direction", "invalid_value",
            "must be parents or children");
        rq_check(rq);
    }
    if (page.cursor.data != NULL
        && uuid_parse(page.cursor.data, page.cursor.len, &after) != 0)
    {
        rq_raise(rq, 400, "malformed_cursor",
            "the cursor is not one that this list gave");
    }
    if (db_row(rq, Q_TASK_EXISTS, value_uuid(rq->user), value_uuid(id))
        == NULL)
    {
        resource_raise_missing(rq, &task_resource);
    }
    page_reply(rq, &page, db_rows(rq,
        children ? Q_DEPENDENCY_CHILDREN : Q_DEPENDENCY_PARENTS,
        value_uuid(rq->user), value_uuid(id), value_uuid(after),
        value_int(page.limit + 1)), "task_id");
}
