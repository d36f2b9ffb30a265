/* thread_lane.c: fiber_thread: blocking work on libuv's threads, bounded.
 *
 * A lane has `running_max` places. Whoever finds none waits in line on its
 * own stack; a place that comes free is handed to the first in line, so
 * nobody overtakes. */

#include "fiber.h"

#include <assert.h>

typedef struct waiter_s {
    struct waiter_s *prev, *next;
    fiber_t *fiber;
    int granted;
} waiter_t;

typedef struct {
    uv_work_t work;
    fiber_t *fiber;
    void (*fn)(void *arg);
    void *arg;
    int done;
} job_t;

static void
lane_unlink(thread_lane_t *lane, waiter_t *waiter)
{
    if (waiter->prev != NULL) {
        waiter->prev->next = waiter->next;
    } else {
        lane->first = waiter->next;
    }
    if (waiter->next != NULL) {
        waiter->next->prev = waiter->prev;
    } else {
        lane->last = waiter->prev;
    }
    lane->waiting--;
}

static void
lane_leave(thread_lane_t *lane)
{
    waiter_t *waiter = lane->first;

    if (waiter == NULL) {
        lane->running--;
        return;
    }
    lane_unlink(lane, waiter);
    waiter->granted = 1;
    fiber_wake(waiter->fiber);
}

static int
lane_enter(thread_lane_t *lane)
{
    waiter_t waiter = { .prev = lane->last, .fiber = fiber_self() };

    if (lane->running < lane->running_max) {
        lane->running++;
        return 0;
    }
    if (lane->waiting >= lane->waiting_max) {
        return UV_EAGAIN;
    }
    if (waiter.prev != NULL) {
        waiter.prev->next = &waiter;
    } else {
        lane->first = &waiter;
    }
    lane->last = &waiter;
    lane->waiting++;
    while (!waiter.granted) {
        if (fiber_suspend("thread lane") != 0 && !waiter.granted) {
            lane_unlink(lane, &waiter);
            return UV_ECANCELED;
        }
    }
    return 0;
}

static void
job_run(uv_work_t *work)
{
    job_t *job = work->data;

    job->fn(job->arg);
}

static void
job_done(uv_work_t *work, int status)
{
    job_t *job = work->data;

    assert(status == 0);
    job->done = 1;
    fiber_wake(job->fiber);
}

int
fiber_thread(thread_lane_t *lane, void (*fn)(void *arg), void *arg)
{
    job_t job = { .fiber = fiber_self(), .fn = fn, .arg = arg };
    int rc;

    assert(job.fiber != NULL);
    rc = lane_enter(lane);
    if (rc != 0) {
        return rc;
    }
    rc = UV_ECANCELED;
    if (!fiber_cancelled(job.fiber)) {
        job.work.data = &job;
        rc = uv_queue_work(fiber_loop(job.fiber), &job.work, job_run,
            job_done);
        while (rc == 0 && !job.done) {
            fiber_park("thread");
        }
    }
    lane_leave(lane);
    return rc;
}
