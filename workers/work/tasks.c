/* tasks.c: tasks as a resource: unfinished ones and those of the history are
 * one list. */

#include "tasks.h"

const char *const task_states[] = { "blocked", "scheduled", "ready",
    "running", "paused", "succeeded", "failed", "cancelled", "skipped",
    NULL };

static const char *const live_states[] = { "blocked", "scheduled", "ready",
    "running", "paused", NULL };
static const char *const end_states[] = { "succeeded", "failed", "cancelled",
    "skipped", NULL };
static const char *const dependency_failures[] = { "skip", "run", NULL };

/* What can be written, and how, is in task_input.c. */
static const column_t task_columns[] = {
    { "id", COLUMN_UUID, .flags = 0 },
    { "project_id", COLUMN_UUID, .flags = FILTERABLE | GATHERED },
    { "run_id", COLUMN_UUID, .flags = FILTERABLE | GATHERED },
    { "step", COLUMN_TEXT, .flags = FILTERABLE },
    { "parent_id", COLUMN_UUID, .flags = FILTERABLE | GATHERED },
    { "kind", COLUMN_TEXT, .flags = FILTERABLE, .key = "task_flow" },
    { "title", COLUMN_TEXT, .flags = SEARCHED },
    { "description", COLUMN_TEXT, .flags = SEARCHED | DETAIL },
    { "input", COLUMN_JSON, .flags = DETAIL },
    { "labels", COLUMN_TEXTS, .flags = FILTERABLE,
        .guard = "@.labels <> '{}'" },
    { "priority", COLUMN_INT, .flags = FILTERABLE },
    { "state", COLUMN_ENUM, .flags = FILTERABLE, .values = task_states,
        .shown = "task_state(@.state, @.worker_id)" },
    { "run_at", COLUMN_TIME, .flags = FILTERABLE },
    { "deadline_at", COLUMN_TIME, .flags = FILTERABLE | NULLABLE },
    { "timeout_ms", COLUMN_INT, .flags = 0 },
    { "backoff_ms", COLUMN_INT, .flags = 0 },
    { "attempt", COLUMN_INT, .flags = FILTERABLE },
    { "max_attempts", COLUMN_INT, .flags = 0 },
    { "unique_key", COLUMN_TEXT, .flags = FILTERABLE },
    { "limit_key", COLUMN_TEXT, .flags = FILTERABLE },
    { "on_dependency_failure", COLUMN_ENUM, .flags = 0,
        .values = dependency_failures,
        .shown = "case when @.run_on_failure then 'run' else 'skip' end" },
    { "progress", COLUMN_FLOAT, .flags = 0,
        .shown = "@.progress::numeric::float8" },
    { "progress_message", COLUMN_TEXT, .flags = 0 },
    { "counters", COLUMN_JSON, .flags = DETAIL },
    { "result", COLUMN_JSON, .flags = DETAIL },
    { "error", COLUMN_JSON, .flags = 0 },
    { "cost_nano_usd", COLUMN_INT, .flags = 0 },
    { "cancel_requested", COLUMN_BOOL, .flags = FILTERABLE },
    { "version", COLUMN_INT, .flags = 0 },
    { "created_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE | OF_ID },
    { "updated_at", COLUMN_TIME, .flags = FILTERABLE },
    { "started_at", COLUMN_TIME, .flags = FILTERABLE | NULLABLE },
    { "finished_at", COLUMN_TIME, .flags = FILTERABLE | NULLABLE },
};

static const char *const ready_state[] = { "ready", NULL };
static const char *const running_state[] = { "running", NULL };

static const part_t task_parts[] = {
    { "tasks", live_states },
    { "task_history", end_states },
    { "ready_tasks", ready_state },
    { "running_tasks", running_state },
};

const resource_t task_resource = {
    .name = "task",
    .table = "tasks",
    .owner_column = "owner_id",
    .viewer = "t.owner_id = $1::uuid",
    .editor = "t.owner_id = $1::uuid",
    .columns = task_columns,
    .ncolumns = sizeof(task_columns) / sizeof(task_columns[0]),
    .default_sort = "-created_at",
    .gathered = "state",
    .parts = task_parts,
    .nparts = 4,
    .ntables = 2,
    .search_guard = "@.title <> '' or @.description <> ''",
};

const char *
task_state_name(slice_t state)
{
    int i = slice_index(state, task_states);

    return i < 0 ? NULL : task_states[i];
}

void
op_task_list(request_t *rq)
{
    resource_list(rq, &task_resource);
}

void
op_task_get(request_t *rq)
{
    resource_get(rq, &task_resource);
}
