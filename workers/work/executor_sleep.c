/* executor_sleep.c: the kind `sleep` lasts for a time, for tests:
 *
 *     {"ms": 100}                   succeeds after that
 *     {"ms": 100, "fail": 2}        the first two attempts fail
 *     {"ms": 5000, "progress": true}    and tells how far it is, each 50 ms
 *     {"ms": 100, "deaf": true}     does not hear that it is to stop
 *
 * The result is {"slept_ms": n}. */

#include "executor.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define MS_MAX  86400000
#define STEP_MS 50

typedef struct {
    int64_t ms;
    int64_t fail;
    int progress;
    int deaf;
} plan_t;

static int64_t
number(task_run_t *run, const json_t *input, const char *name)
{
    const json_t *value = json_object_get(input, name);

    if (value == NULL) {
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0
        || json_integer_value(value) > MS_MAX) {
        rq_raise(run->rq, 422, "invalid_input",
            "\"%s\" must be a whole number up to %d", name, MS_MAX);
    }
    return json_integer_value(value);
}

static plan_t
read_plan(task_run_t *run)
{
    json_t *input = json_loadb(run->input.data, run->input.len, 0, NULL);
    plan_t plan;

    if (input == NULL) {
        rq_raise(run->rq, 422, "invalid_input", "the input is not JSON");
    }
    arena_json(run->rq->arena, input);
    plan.ms = number(run, input, "ms");
    plan.fail = number(run, input, "fail");
    plan.progress = json_is_true(json_object_get(input, "progress"));
    plan.deaf = json_is_true(json_object_get(input, "deaf"));
    return plan;
}

static void
sleep_on_thread(void *arg)
{
    const uint64_t *length = arg;
    struct timespec left = {
        .tv_sec = (time_t) (*length / 1000000000),
        .tv_nsec = (long) (*length % 1000000000)
    };

    while (nanosleep(&left, &left) != 0) {
        continue;
    }
}

static void
rest(task_run_t *run, const plan_t *plan, uint64_t until)
{
    static thread_lane_t lane = { .running_max = 2, .waiting_max = 1000 };
    uint64_t now = uv_hrtime();
    uint64_t left = until > now ? until - now : 0;
    int rc;

    if (plan->deaf) {
        rc = fiber_thread(&lane, sleep_on_thread, &left);
    } else {
        do {
            rc = fiber_suspend_until("sleep", until);
        } while (rc == 0);
    }
    if (rc == UV_ECANCELED) {
        rq_raise_cancelled(run->rq);
    }
}

void
execute_sleep(task_run_t *run)
{
    plan_t plan = read_plan(run);
    uint64_t began = uv_hrtime();
    uint64_t length = (uint64_t) plan.ms * 1000000;
    uint64_t step = plan.progress ? STEP_MS * UINT64_C(1000000) : length;
    uint64_t done = 0;
    char result[64];
    int n;

    while (done < length) {
        done = done + step < length ? done + step : length;
        rest(run, &plan, began + done);
        if (plan.progress) {
            task_progress(run, (double) done / (double) length,
                SLICE("sleeping"), SLICE_NONE);
        }
    }

    if (run->attempt <= plan.fail) {
        task_fail(run, 0, "asked_to_fail", "attempt %d was asked to fail",
            run->attempt);
        return;
    }
    n = snprintf(result, sizeof(result), "{\"slept_ms\":%" PRId64 "}",
        plan.ms);
    task_succeed(run, (slice_t) { result, (size_t) n });
}
