/* channels.c: the channels of what people work on, as realtime/ knows them. */

#include "work.h"

#include "workers/realtime/realtime.h"

static const db_row_t *
project_state(request_t *rq, hive_uuid_t id)
{
    return resource_state(rq, &project_resource, id);
}

static const db_row_t *
task_state(request_t *rq, hive_uuid_t id)
{
    return resource_state(rq, &task_resource, id);
}

static const db_row_t *
schedule_state(request_t *rq, hive_uuid_t id)
{
    return resource_state(rq, &schedule_resource, id);
}

/* The channel of a run and that of a definition are named alike. */
static const db_row_t *
workflow_state(request_t *rq, hive_uuid_t id)
{
    const db_row_t *row = db_row(rq, Q_RUN_GET, value_uuid(rq->user),
        value_uuid(id));

    return row != NULL ? row : resource_state(rq, &workflow_resource, id);
}

static const channel_kind_t kinds[] = {
    { "project", { { Q_CHANNEL_PROJECTS, Q_CHANNEL_PROJECTS_AFTER, 0 } }, 1,
        project_state },
    { "task", { { Q_CHANNEL_TASKS, Q_CHANNEL_TASKS_AFTER, 0 },
        { Q_CHANNEL_FINISHED, Q_CHANNEL_FINISHED_AFTER, 1 } }, 2,
        task_state },
    { "workflow", { { Q_CHANNEL_RUNS, Q_CHANNEL_RUNS_AFTER, 0 },
        { Q_CHANNEL_WORKFLOWS, Q_CHANNEL_WORKFLOWS_AFTER, 0 } }, 2,
        workflow_state },
    { "schedule", { { Q_CHANNEL_SCHEDULES, Q_CHANNEL_SCHEDULES_AFTER, 0 } },
        1, schedule_state },
};

void
channels_init(void)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        channel_kind_add(&kinds[i]);
    }
}
