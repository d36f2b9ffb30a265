/* retention.c: what is old goes: finished tasks and events by the day, what
 * belonged to tasks in batches (sql/queries/retention.sql). One process at a
 * time sees to it: the one that finds a row of `chores` due and moves it on. */

#include "work.h"

#include "workers/db/db.h"
#include "workers/runtime/job.h"
#include "workers/runtime/log.h"

#include <inttypes.h>
#include <stdio.h>

#define TICK_MS      5000
#define DAYS_MS      (10 * 60 * 1000)
#define SWEEP_MS     (60 * 60 * 1000)
#define DAYS_AHEAD   3
#define BATCH        2000
#define BATCHES_MAX  1000      /* of one kind at once; the rest is next */
#define PAUSE_MS     20        /* between batches: others come first */
#define BUSY_TRIES   20
#define BUSY_MS      500
#define NAME_MAX_LEN 64
#define PARTED       (sizeof(parted) / sizeof(parted[0]))

static const char *const parted[] = { "task_history", "events" };

static struct {
    unsigned days;
    fiber_t *fiber;
} retention;

static int
take(request_t *rq, const char *chore, int64_t for_ms)
{
    return db_row(rq, Q_CHORE_TAKE, value_string(chore), value_int(for_ms))
           != NULL;
}

/* ---- the days to come ---- */

static void
prepare(request_t *rq, void *arg)
{
    (void) arg;
    if (!take(rq, "days", DAYS_MS)) {
        return;
    }
    for (size_t i = 0; i < PARTED; i++) {
        const db_row_t *row = db_row(rq, Q_RETENTION_PREPARE,
            value_string(parted[i]), value_int(DAYS_AHEAD));
        int64_t made = row == NULL ? 0 : db_int(row, "made");

        if (made > 0) {
            log_info("%s has room for %" PRId64 " more days", parted[i],
                made);
        }
    }
}

/* ---- the days gone by ---- */

typedef struct {
    const char *relation;
    char name[NAME_MAX_LEN];   /* the partition looked at; "": none yet */
    int none;                  /* there is none after it */
    int busy;
    int dropped;
} day_t;

/* To look at all that finished on a day may take longer than a statement
 * may. */
static void
drop_next(request_t *rq, void *arg)
{
    day_t *day = arg;
    const db_row_t *row;

    day->dropped = day->busy = day->none = 0;
    db_begin(rq);
    db_exec(rq, Q_RETENTION_PATIENCE, value_string("10min"));
    row = db_row(rq, Q_RETENTION_DROP, value_string(day->relation),
        value_int(retention.days), value_string(day->name));
    if (row == NULL) {
        day->none = 1;
    } else if (slice_equal(db_text(row, "outcome"), SLICE("busy"))) {
        day->busy = 1;
    } else {
        slice_t name = db_text(row, "partition");

        day->dropped = slice_equal(db_text(row, "outcome"), SLICE("dropped"));
        snprintf(day->name, sizeof(day->name), "%.*s", (int) name.len,
            name.data);
    }
    db_commit(rq);
}

/* A partition that others use all the time is tried again in an hour. */
static void
drop_days(request_t *rq, const char *relation)
{
    day_t day = { .relation = relation, .name = "" };
    int tries = 0;

    while (!day.none && tries < BUSY_TRIES) {
        if (job_step(rq, drop_next, &day) != 0) {
            return;
        }
        if (day.dropped) {
            log_info("retention dropped %s", day.name);
        }
        tries += day.busy;
        if (day.busy && fiber_sleep(BUSY_MS) != 0) {
            return;
        }
    }
}

/* ---- what goes row by row ---- */

typedef struct {
    const char *what;
    query_id_t query;
    int64_t n;
} batch_t;

static void
sweep_batch(request_t *rq, void *arg)
{
    batch_t *batch = arg;
    const db_row_t *row = db_row(rq, batch->query, value_int(retention.days),
        value_int(BATCH));

    batch->n = row == NULL ? 0 : db_int(row, "n");
}

static void
sweep(request_t *rq, batch_t *batch)
{
    int64_t sum = 0;

    for (int i = 0; i < BATCHES_MAX; i++) {
        if (job_step(rq, sweep_batch, batch) != 0) {
            break;
        }
        sum += batch->n;
        if (batch->n < BATCH || fiber_sleep(PAUSE_MS) != 0) {
            break;
        }
    }
    if (sum > 0) {
        log_info("retention deleted %" PRId64 " %s", sum, batch->what);
    }
}

/* In this order: what a dropped task leaves behind goes after it. */
static void
sweep_all(request_t *rq)
{
    batch_t batches[] = {
        { "tasks", Q_RETENTION_TASKS, 0 },
        { "attempts", Q_RETENTION_ATTEMPTS, 0 },
        { "dependencies", Q_RETENTION_DEPENDENCIES, 0 },
        { "runs", Q_RETENTION_RUNS, 0 },
        { "events", Q_RETENTION_EVENTS, 0 },
        { "processes", Q_RETENTION_WORKERS, 0 },
    };

    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        sweep(rq, &batches[i]);
    }
}

/* ---- life ---- */

static void
take_sweep(request_t *rq, void *arg)
{
    *(int *) arg = take(rq, "retention", SWEEP_MS);
}

static int
database_is_there(void)
{
    db_facts_t facts;

    db_facts(&facts);
    return facts.reachable && facts.version_ok;
}

static void
loop(request_t *rq, void *arg)
{
    (void) arg;
    while (!database_is_there()) {
        if (fiber_sleep(50) != 0) {
            retention.fiber = NULL;
            return;
        }
    }
    do {
        int mine = 0;

        job_step(rq, prepare, NULL);
        job_step(rq, take_sweep, &mine);
        if (mine) {
            for (size_t i = 0; i < PARTED; i++) {
                drop_days(rq, parted[i]);
            }
            sweep_all(rq);
        }
    } while (fiber_sleep(TICK_MS) == 0);
    retention.fiber = NULL;
}

int
retention_start(fiber_sched_t *fibers, unsigned days)
{
    retention.days = days;
    return job_start(fibers, "retention", loop, NULL, &retention.fiber);
}

void
retention_stop(void)
{
    if (retention.fiber != NULL) {
        fiber_cancel(retention.fiber);
    }
}
