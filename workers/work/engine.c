/* engine.c: the engine of a process: its kinds, its loops, its end. */

#include "engine_internal.h"
#include "measures.h"
#include "runner.h"

#include "workers/runtime/log.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define MIND_MS     200
#define STOP_TICK   20
#define GRACE_MS    1000       /* after the bound, for fibers to unwind */
#define GIVE_UP_MS  3000       /* and for the database to hear of it */
#define OWN_FIBERS  (EXECUTORS_MAX + FINISHERS + 8)

engine_t engine;

static struct {
    uv_timer_t minder;
    uv_timer_t stopper;
    unsigned handles;
    uint64_t bound_at, give_up_at;
    int bound_passed, leaving, left;
    void (*done)(void *arg);
    void *done_arg;
} life;

/* ---- small things ---- */

int64_t
engine_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

uint64_t
engine_jitter(uint64_t low, uint64_t high)
{
    static uint64_t state;

    while (state == 0) {
        if (getrandom(&state, sizeof(state), 0) < 0) {
            state = uv_hrtime();
        }
    }
    /* xorshift64 (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return low + state % (high - low + 1);
}

int
engine_alive(void)
{
    uint64_t silence = engine.config.silence_ms * MS;

    return engine.registered && uv_hrtime() < engine.beat_at + silence * 4 / 5;
}

int
engine_events(void)
{
    return engine.config.events;
}

void
engine_facts(engine_facts_t *out)
{
    *out = engine.facts;
    for (unsigned i = 0; i < engine.nkinds; i++) {
        out->queued += engine.kinds[i].queued;
        out->running += engine.kinds[i].running;
        out->finishing += engine.kinds[i].finishing;
    }
}

/* ---- loops ---- */

typedef struct {
    job_fn fn;
    void *arg;
    fiber_t **slot;
} loop_t;

static void
loop_body(request_t *rq, void *arg)
{
    const loop_t *loop = arg;

    loop->fn(rq, loop->arg);
}

static void
run_loop(request_t *rq, void *arg)
{
    loop_t *loop = arg;

    if (rq_try(rq, loop_body, loop) != 0 && !engine.stopping) {
        log_error("a loop of the task engine ended: %s: %s",
            rq_problem_code(rq), rq_problem_detail(rq));
        abort();
    }
    if (loop->slot != NULL) {
        *loop->slot = NULL;
    }
    engine.jobs--;
    free(loop);
}

void
engine_job(const char *name, job_fn fn, void *arg, fiber_t **slot)
{
    loop_t *loop = malloc(sizeof(*loop));
    int rc;

    if (loop == NULL) {
        abort();
    }
    *loop = (loop_t) { fn, arg, slot };
    rc = job_start(engine.config.fibers, name, run_loop, loop, slot);
    if (rc != 0) {
        log_error("starting %s failed: %s", name, uv_strerror(rc));
        abort();
    }
    engine.jobs++;
}

int
engine_pause(const char *reason, uint64_t ms)
{
    return engine.stopping
        || fiber_suspend_until(reason, uv_hrtime() + ms * MS) == UV_ECANCELED
        || engine.stopping;
}

/* ---- kinds ---- */

kind_t *
kind_find(slice_t name)
{
    for (unsigned i = 0; i < engine.nkinds; i++) {
        if (slice_equal(engine.kinds[i].name, name)) {
            return &engine.kinds[i];
        }
    }
    return NULL;
}

static unsigned
slots_of(const engine_config_t *config, const executor_t *executor)
{
    if (config->slots == 0) {
        return 0;
    }
    if (strcmp(executor->kind, "http") == 0) {
        return config->http_slots;
    }
    return executor->slots > 0 ? executor->slots : config->slots;
}

unsigned
engine_fibers(const engine_config_t *config)
{
    unsigned count = OWN_FIBERS;
    const executor_t *executor;

    for (size_t i = 0; (executor = executor_at(i)) != NULL; i++) {
        count += slots_of(config, executor);
    }
    return count;
}

static void
add_kinds(void)
{
    const executor_t *e;

    for (size_t i = 0; (e = executor_at(i)) != NULL; i++) {
        kind_t *kind = &engine.kinds[engine.nkinds++];

        kind->executor = e;
        kind->name = (slice_t) { e->kind, strlen(e->kind) };
        kind->slots = slots_of(&engine.config, e);
        kind->low = INT64_MIN;
        TAILQ_INIT(&kind->queue);
        TAILQ_INIT(&kind->active);
    }
}

/* ---- told from outside ---- */

void
engine_limit_freed(hive_uuid_t owner, slice_t key)
{
    granter_add(&owner, key);
}

void
engine_stop_task(hive_uuid_t worker, hive_uuid_t task)
{
    (void) task;
    if (engine.started && uuid_equal(&worker, &engine.worker)) {
        pulse_now();
    } else if (engine.started) {
        runner_cancelled();
        wake_tell_stop(&worker);
    }
}

/* ---- starting ---- */

static unsigned
or_usual(unsigned value, unsigned usual)
{
    return value > 0 ? value : usual;
}

static void
set_config(const engine_config_t *config)
{
    engine_config_t *own = &engine.config;

    *own = *config;
    own->claim_batch = or_usual(own->claim_batch, 500);
    own->heartbeat_ms = or_usual(own->heartbeat_ms, 3000);
    own->silence_ms = or_usual(own->silence_ms, 10000);
    own->poll_min_ms = or_usual(own->poll_min_ms, 250);
    own->poll_max_ms = or_usual(own->poll_max_ms, 1000);
}

static void
on_minder(uv_timer_t *timer)
{
    (void) timer;
    run_mind(0);
    for (unsigned i = 0; i < engine.nkinds; i++) {
        run_queued(&engine.kinds[i]);
    }
}

static void
start_jobs(void)
{
    engine_job("task pulse", pulse_loop, NULL, &engine.pulse);
    engine_job("task poller", fetch_poll, NULL, &engine.poller);
    engine_job("task reaper", reaper_loop, NULL, &engine.reaper);
    engine_job("task stager", stager_loop, NULL, &engine.stager);
    engine_job("task limits", granter_loop, NULL, &engine.granter);
    engine_job("task progress", progress_loop, NULL, &engine.writer);
    finish_start();
    for (unsigned i = 0; i < engine.nkinds; i++) {
        if (engine.kinds[i].slots > 0) {
            fetch_start(&engine.kinds[i]);
        }
    }
}

int
engine_start(const engine_config_t *config)
{
    int rc;

    memset(&engine, 0, sizeof(engine));
    memset(&life, 0, sizeof(life));
    set_config(config);
    measures_init();
    TAILQ_INIT(&engine.finished);
    add_kinds();

    rc = wake_start();
    if (rc != 0) {
        return rc;
    }
    uv_timer_init(config->loop, &life.minder);
    uv_timer_init(config->loop, &life.stopper);
    uv_timer_start(&life.minder, on_minder, MIND_MS, MIND_MS);
    uuid_v7(&engine.worker, config->cell);
    if (config->name != NULL) {
        engine.predecessor = *config->name;
    }
    start_jobs();
    engine.started = 1;
    return 0;
}

/* Whatever runs here is somebody else's by now. */
void
engine_reaped(void)
{
    log_error("this worker was taken for dead: what it ran has been given to"
              " others");
    engine.facts.reaped++;
    engine.registered = 0;
    works_stop(STOP_REAPED);
    uuid_v7(&engine.worker, engine.config.cell);
}

/* ---- stopping ---- */

static void
on_closed(void)
{
    if (--life.handles > 0) {
        return;
    }
    engine.started = 0;
    life.done(life.done_arg);
}

static void
on_timer_closed(uv_handle_t *handle)
{
    (void) handle;
    on_closed();
}

static void
close_all(void)
{
    life.handles = 3;
    uv_close((uv_handle_t *) &life.minder, on_timer_closed);
    uv_close((uv_handle_t *) &life.stopper, on_timer_closed);
    wake_stop(on_closed);
    granter_stop();
}

static void
cancel_jobs(void)
{
    fiber_t *const all[] = {
        engine.poller, engine.reaper, engine.stager, engine.granter,
        engine.writer, engine.pulse,
        engine.finishers[0], engine.finishers[1], engine.finishers[2]
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i] != NULL) {
            fiber_cancel(all[i]);
        }
    }
}

/* Nothing runs, no claim is under way, and all that ended is committed. */
static int
all_settled(void)
{
    engine_facts_t facts;

    for (unsigned i = 0; i < engine.nkinds; i++) {
        if (engine.kinds[i].fetcher != NULL) {
            return 0;
        }
    }
    engine_facts(&facts);
    return facts.queued == 0 && facts.finishing == 0
        && (facts.running == 0 || life.bound_passed == 2);
}

static void
leave(request_t *rq, void *arg)
{
    (void) arg;
    job_step(rq, pulse_leave, NULL);
    life.left = 1;
}

static void
on_stopper(uv_timer_t *timer)
{
    uint64_t now = uv_hrtime();

    (void) timer;
    if (life.bound_passed == 0 && now >= life.bound_at) {
        life.bound_passed = 1;
        works_stop(STOP_RELEASE);
    }
    if (life.bound_passed == 1 && now >= life.bound_at + GRACE_MS * MS) {
        life.bound_passed = 2;
        run_mind(1);
    }

    if (!life.leaving && (all_settled() || now >= life.give_up_at)) {
        life.leaving = 1;
        cancel_jobs();
        engine_job("task engine", leave, NULL, NULL);
        return;
    }
    if ((life.left && engine.jobs == 0)
        || now >= life.give_up_at + GRACE_MS * MS) {
        uv_timer_stop(&life.stopper);
        close_all();
    }
}

void
engine_stop(unsigned bound_ms, void (*done)(void *arg), void *arg)
{
    if (engine.stopping) {
        return;
    }
    if (!engine.started) {
        done(arg);
        return;
    }

    engine.stopping = 1;
    life.done = done;
    life.done_arg = arg;
    life.bound_at = uv_hrtime() + bound_ms * MS;
    life.give_up_at = life.bound_at + (GRACE_MS + GIVE_UP_MS) * MS;
    for (unsigned i = 0; i < engine.nkinds; i++) {
        work_t *work;

        while ((work = TAILQ_FIRST(&engine.kinds[i].queue)) != NULL) {
            work_stop(work, STOP_RELEASE);
        }
        fetch_wake(&engine.kinds[i]);
    }
    uv_timer_start(&life.stopper, on_stopper, 0, STOP_TICK);
}
