/* task_update.c: changes to unfinished tasks: PATCH, and a task that takes
 * the place of another with its unique key. */

#include "tasks.h"

#include "engine.h"

#include "workers/db/event.h"

#include <inttypes.h>

/* What became ready is told to who runs it, or to who grants its limit. */
static void
announce(request_t *rq, hive_uuid_t owner, const db_row_t *row)
{
    slice_t limit = db_text(row, "limit_key");
    slice_t freed = db_text(row, "freed_limit");

    if (freed.len > 0) {
        after_commit_limit(rq, owner, freed);
    }
    if (!slice_equal(db_text(row, "new_state"), SLICE("ready"))) {
        return;
    }
    if (limit.len > 0) {
        after_commit_limit(rq, owner, limit);
    } else {
        after_commit_wake(rq, db_text(row, "kind"));
    }
}

/* The row of task_update; NULL when there is no such unfinished task. */
static const db_row_t *
apply(request_t *rq, hive_uuid_t owner, hive_uuid_t id,
    const task_patch_t *patch, value_t if_match)
{
    const db_row_t *row;
    int64_t turn = 0;

    if (patch->reorders) {
        row = db_row(rq, Q_TASK_KIND, value_uuid(owner), value_uuid(id));
        if (row == NULL) {
            return NULL;
        }
        turn = turn_next(owner, db_text(row, "kind"),
            patch->priority < 0 ? 5 : patch->priority);
    }
    row = db_row(rq, Q_TASK_UPDATE, value_uuid(owner), value_uuid(id),
        if_match, value_json(patch->columns), value_int(turn));
    if (row != NULL && !db_is_null(row, db_column(row->result, "_event"))) {
        event_publish(rq, row);
        announce(rq, owner, row);
    }
    return row;
}

void
task_update(request_t *rq, const task_patch_t *patch, value_t if_match,
    task_outcome_t *outcome)
{
    const db_row_t *row = apply(rq, rq->user, outcome->id, patch, if_match);

    if (row == NULL) {
        return;
    }
    if (!db_is_null(row, db_column(row->result, "_event"))) {
        outcome->status = 200;
        outcome->state = task_state_name(db_text(row, "new_state"));
    } else if (!db_bool(row, "fresh")) {
        outcome_refuse(rq, outcome, 412, "version_mismatch",
            "the task has changed: its version is %" PRId64,
            db_int(row, "version"));
    } else {
        outcome_refuse(rq, outcome, 409, "task_running",
            "run_at and input cannot be changed while the task runs");
    }
}

void
task_replace(request_t *rq, const new_task_t *task)
{
    task_patch_t patch = task_patch_of(rq->arena, task);

    apply(rq, task->owner, task->id, &patch, value_null());
}

/* A patch of nothing changes nothing, under the same conditions. */
static void
reply_unchanged(request_t *rq, hive_uuid_t id, const value_t *if_match)
{
    const db_row_t *row = resource_row(rq, &task_resource, id);

    if (row == NULL) {
        resource_raise_missing(rq, &task_resource);
    }
    if (!resource_matches(if_match, db_int(row, "version"))) {
        rq_raise(rq, 412, "version_mismatch",
            "the task has changed: its version is %" PRId64,
            db_int(row, "version"));
    }
    db_reply_row(rq, 200, row);
}

void
op_task_update(request_t *rq)
{
    report_t report = report_to(rq);
    task_outcome_t outcome = { .id = rq_param_uuid(rq, 0) };
    value_t if_match = resource_if_match(rq);
    task_patch_t patch;

    task_patch_read(&report, rq_json(rq), NULL, &patch);
    rq_check(rq);
    if (patch.count == 0) {
        reply_unchanged(rq, outcome.id, &if_match);
        return;
    }
    task_update(rq, &patch, if_match, &outcome);
    outcomes_close(rq, &outcome, 1, NULL);
    outcome_reply(rq, &outcome);
}
