/* engine_finish.c: how attempts end, told to the database.
 *
 * What ends while statements are out is collected and goes with the next, up
 * to a batch at once. A second and third statement go out only when there is
 * half a batch for them: large batches cost less than short queues gain.
 * Attempts are forgotten here only when the statement has committed; one whose
 * outcome is unknown is sent again, which the fence makes harmless. */

#include "engine_internal.h"
#include "measures.h"
#include "task.h"

#include "workers/runtime/fault.h"
#include "workers/runtime/log.h"

#include <stdlib.h>

#define BATCH_MAX     1000
#define ALONE_TRIES   3
#define FAILED_MIN_MS 100
#define FAILED_MAX_MS 500

typedef struct {
    work_t *works[BATCH_MAX];
    size_t count;
} batch_t;

/* ---- what an attempt comes to ---- */

static slice_t
json_of(const char *text)
{
    return text == NULL ? SLICE_NONE : (slice_t) { text, strlen(text) };
}

static slice_t
error_of(const work_t *work)
{
    if (work->said != SAID_SUCCESS) {
        switch (work->stop) {
        case STOP_TIMEOUT:
            return SLICE("{\"code\":\"timed_out\",\"message\":"
                "\"the attempt took longer than its time-out\"}");
        case STOP_DEADLINE:
            return SLICE("{\"code\":\"deadline_exceeded\",\"message\":"
                "\"the deadline of the task has passed\"}");
        case STOP_RELEASE:
            return SLICE("{\"code\":\"worker_stopping\",\"message\":"
                "\"the worker ended before the attempt did\"}");
        case STOP_PAUSE:
        case STOP_CANCEL:
            return SLICE_NONE;
        default:
            break;
        }
    }
    return json_of(work->error);
}

int
work_succeeded(const work_t *work)
{
    return work->said == SAID_SUCCESS
        || (work->said == SAID_NOTHING && work->stop == STOP_NONE);
}

/* Ended for good, as far as its attempt can say. */
static int
is_end(const work_t *work, task_end_t *end)
{
    if (work_succeeded(work)) {
        *end = END_SUCCEEDED;
        return 1;
    }
    if (work->stop == STOP_CANCEL) {
        *end = END_CANCELLED;
        return 1;
    }
    if (work->stop == STOP_DEADLINE) {
        *end = END_FAILED;
        return 1;
    }
    return 0;
}

static const char *
outcome_name(const work_t *work)
{
    switch (work->stop) {
    case STOP_TIMEOUT:
        return "timed_out";
    case STOP_PAUSE:
        return "paused";
    case STOP_RELEASE:
        return work->began == 0 ? NULL : "lost";
    default:
        return "failed";
    }
}

void
finish_measure(const work_t *work)
{
    outcome_t outcome = OUTCOME_FAILED;

    if (work->began == 0) {
        return;
    }
    if (work_succeeded(work)) {
        outcome = OUTCOME_SUCCEEDED;
    } else if (work->stop == STOP_CANCEL) {
        outcome = OUTCOME_CANCELLED;
    } else if (work->stop == STOP_PAUSE) {
        outcome = OUTCOME_PAUSED;
    } else if (work->stop == STOP_TIMEOUT) {
        outcome = OUTCOME_TIMED_OUT;
    } else if (work->stop == STOP_RELEASE) {
        outcome = OUTCOME_LOST;
    }
    measure_attempt(work->kind->name, outcome, work->ran / 1000);
}

/* ---- statements ---- */

static settle_t
settle_of(const work_t *work, task_end_t end)
{
    return (settle_t) {
        .id = work->run.id, .worker = work->worker,
        .attempt = work->run.attempt, .dependents = work->dependents,
        .run = work->run.run, .end = end,
        .result = end == END_SUCCEEDED ? json_of(work->result) : SLICE_NONE,
        .error = end == END_SUCCEEDED ? SLICE_NONE : error_of(work),
        .cost_nano_usd = work->cost_nano_usd,
    };
}

static retry_t
retry_of(const work_t *work)
{
    const char *outcome = outcome_name(work);

    return (retry_t) {
        .id = work->run.id, .worker = work->worker,
        .attempt = work->run.attempt, .outcome = outcome,
        .error = outcome == NULL ? SLICE_NONE : error_of(work),
        .cost_nano_usd = work->cost_nano_usd,
        .final = work->final, .kept = work->stop == STOP_RELEASE,
        .after_ms = work->stop == STOP_NONE ? work->after_ms : 0,
    };
}

static void
settle_all(request_t *rq, settle_t *items, size_t count)
{
    if (count > 0) {
        fault_point("before_finish_commit");
        engine.facts.refused += count - tasks_settle(rq, items, count);
        fault_point("after_finish_commit");
    }
}

/* Those whose attempts are used up, or that were cancelled while they failed,
 * end. */
static void
retry_all(request_t *rq, work_t **works, size_t count)
{
    retry_t *items = arena_alloc(rq->arena, (count + 1) * sizeof(*items));
    settle_t *ends = arena_alloc(rq->arena, (count + 1) * sizeof(*ends));
    size_t nends = 0;

    if (count == 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        items[i] = retry_of(works[i]);
    }
    fault_point("before_finish_commit");
    retry_tasks(rq, items, count);
    fault_point("after_finish_commit");

    for (size_t i = 0; i < count; i++) {
        if (items[i].what == RETRY_SPENT) {
            ends[nends++] = settle_of(works[i], END_FAILED);
        } else if (items[i].what == RETRY_CANCELLED) {
            ends[nends++] = settle_of(works[i], END_CANCELLED);
        } else if (items[i].what == RETRY_GONE) {
            engine.facts.refused++;
        }
    }
    settle_all(rq, ends, nends);
}

/* Successes go apart from the rest: what others may have to end with them is
 * locked in a transaction. */
static void
finish(request_t *rq, void *arg)
{
    batch_t *batch = arg;
    size_t n = batch->count, done = 0, nends = 0, nagain = 0;
    settle_t *well = arena_alloc(rq->arena, n * sizeof(*well));
    settle_t *ends = arena_alloc(rq->arena, n * sizeof(*ends));
    work_t **again = arena_alloc(rq->arena, n * sizeof(*again));

    progress_write(rq, batch->works, n);
    for (size_t i = 0; i < n; i++) {
        work_t *work = batch->works[i];
        task_end_t end;

        if (!is_end(work, &end)) {
            again[nagain++] = work;
        } else if (end == END_SUCCEEDED) {
            well[done++] = settle_of(work, end);
        } else {
            ends[nends++] = settle_of(work, end);
        }
    }
    settle_all(rq, well, done);
    settle_all(rq, ends, nends);
    retry_all(rq, again, nagain);
}

/* ---- batches ---- */

static void
forget(batch_t *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        work_t *work = batch->works[i];
        kind_t *kind = work->kind;

        kind->finishing--;
        finish_measure(work);
        work_free(work);
    }
}

/* Something in it cannot be stored. It is looked for one by one; what it said
 * is then dropped, and the attempt fails. */
static void
suspect(batch_t *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        work_t *work = batch->works[i];

        work->alone++;
        if (batch->count == 1 && work->alone > ALONE_TRIES) {
            log_error("the end of a task of kind %s cannot be stored",
                work->kind->executor->kind);
            free(work->result);
            free(work->error);
            work->result = NULL;
            work->error = strdup("{\"code\":\"result_refused\",\"message\":"
                "\"the result could not be stored\"}");
            work->said = SAID_FAILURE;
            work->final = 1;
            work->progress_due = 0;
        }
    }
}

static void
put_back(batch_t *batch, int status)
{
    if (status != 502 && status != 503 && status != 504) {
        suspect(batch);
    }
    for (size_t i = batch->count; i > 0; i--) {
        TAILQ_INSERT_HEAD(&engine.finished, batch->works[i - 1], link);
        engine.nfinished++;
    }
}

static void
take(batch_t *batch)
{
    work_t *work;

    batch->count = 0;
    while (batch->count < engine.config.claim_batch
           && batch->count < BATCH_MAX
           && (work = TAILQ_FIRST(&engine.finished)) != NULL) {
        if (work->alone > 0 && batch->count > 0) {
            break;
        }
        TAILQ_REMOVE(&engine.finished, work, link);
        engine.nfinished--;
        batch->works[batch->count++] = work;
        if (work->alone > 0) {
            break;
        }
    }
}

static int
worth_it(void)
{
    return engine.nfinished > 0
        && (engine.finishing == 0
            || engine.nfinished >= engine.config.claim_batch / 2);
}

static void
wake_finishers(void)
{
    for (int i = 0; i < FINISHERS; i++) {
        if (engine.finishers[i] != NULL) {
            fiber_wake(engine.finishers[i]);
        }
    }
}

static void
finish_loop(request_t *rq, void *arg)
{
    batch_t *batch = malloc(sizeof(*batch));
    int status;

    (void) arg;
    if (batch == NULL) {
        abort();
    }
    while (!fiber_cancelled(fiber_self())) {
        if (!worth_it()) {
            fiber_suspend("ended tasks");
            continue;
        }
        take(batch);
        engine.finishing++;
        status = job_step(rq, finish, batch);
        engine.finishing--;
        if (status == 0) {
            forget(batch);
        } else {
            put_back(batch, status);
            fiber_suspend_until("the database", uv_hrtime()
                + engine_jitter(FAILED_MIN_MS, FAILED_MAX_MS) * MS);
        }
        wake_finishers();
    }
    free(batch);
}

void
finish_start(void)
{
    for (int i = 0; i < FINISHERS; i++) {
        engine_job("task finisher", finish_loop, NULL, &engine.finishers[i]);
    }
}

void
finish_add(work_t *work)
{
    if (work->stop == STOP_REAPED) {
        work_free(work);
        return;
    }
    work->place = WORK_FINISHING;
    work->kind->finishing++;
    TAILQ_INSERT_TAIL(&engine.finished, work, link);
    engine.nfinished++;
    if (worth_it()) {
        wake_finishers();
    }
}
