/* keeper.c: says that runs and swarms have ended when nobody else has: a run
 * that failed or was cancelled has no step left that could. */

#include "internal.h"

#include "workers/runtime/job.h"

#define TICK_MS 500
#define MOST    100

static fiber_t *keeper;

static void
look(request_t *rq, void *arg)
{
    (void) arg;
    if (db_row(rq, Q_CHORE_TAKE, value_string("swarms"), value_int(TICK_MS))
        == NULL)
    {
        return;
    }
    publish_rows(rq, db_rows(rq, Q_SWARM_RUNS_ENDED, value_int(MOST)));
    publish_rows(rq, db_rows(rq, Q_SWARMS_DRAINED, value_int(MOST)));
}

static void
keep(request_t *rq, void *arg)
{
    (void) arg;
    while (fiber_sleep(TICK_MS) == 0) {
        job_step(rq, look, NULL);
    }
    keeper = NULL;
}

int
swarm_start(fiber_sched_t *fibers)
{
    return job_start(fibers, "swarms", keep, NULL, &keeper);
}

void
swarm_stop(void)
{
    if (keeper != NULL) {
        fiber_cancel(keeper);
    }
}
