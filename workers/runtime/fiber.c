/* fiber.c: the scheduler: switching, the run queue, sleeps and deadlines.
 *
 * A fiber is READY in the run queue, RUNNING, SUSPENDED, or DEAD. Only
 * fiber_enter makes one run, from the loop's stack; only fiber_leave ends a
 * run. A wake of the running fiber is remembered and queues it as soon as it
 * suspends, so a wake is never lost and never runs ahead of the loop.
 *
 * A stack is begun once, by setcontext. After that both directions are a
 * _setjmp and a _longjmp, which save no signal mask and so make no system
 * call (QEMU, util/coroutine-ucontext.c). A fiber that has ended waits at
 * the end of fiber_main, so that the next one on its stack begins without
 * setcontext. The fortified longjmp would refuse to jump "down" onto another
 * stack; hence the first line. */

#undef _FORTIFY_SOURCE

#include "fiber.h"

#include "fiber_stack.h"
#include "timer_heap.h"

#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <ucontext.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define FIBER_ASAN 1
#endif

#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

/* A place to come back to. The sanitizer intercepts longjmp and takes the red
 * zones off everything that is still on the stack being left, so there the
 * slower pair is used, which it leaves alone. */
#ifdef FIBER_ASAN
typedef struct {
    ucontext_t context;
    volatile int back;
} place_t;
#define PLACE_SAVE(place) \
    ((place).back = 0, getcontext(&(place).context), (place).back)
#define PLACE_GO(place) ((place).back = 1, setcontext(&(place).context))
#else
typedef struct {
    jmp_buf env;
} place_t;
#define PLACE_SAVE(place) _setjmp((place).env)
#define PLACE_GO(place)   _longjmp((place).env, 1)
#endif

/* Frames that another stack is entered from: no red zones in them, and the
 * compiler must not merge them with code that lives on. */
#define SWITCHES __attribute__((noinline, no_sanitize("address")))

typedef enum {
    FIBER_READY,
    FIBER_RUNNING,
    FIBER_SUSPENDED,
    FIBER_DEAD
} fiber_state_t;

struct fiber_s {
    place_t place;
    fiber_sched_t *sched;
    fiber_fn fn;
    void *arg;
    fiber_t *next;               /* in the run queue or the pool */
    const char *reason;
    void *data;
    fiber_state_t state;
    unsigned begun : 1;          /* its stack has been entered before */
    unsigned woken : 1;          /* while it was running */
    unsigned cancelled : 1;
    unsigned shielded : 1;
    unsigned timed_out : 1;
    timer_node_t timeout;
    timer_node_t deadline;
    const char *name;
    fiber_t *live_prev;
    fiber_t *live_next;
    fiber_stack_t stack;
    void *fake_stack;            /* the address sanitizer's */
};

struct fiber_sched_s {
    place_t place;
    uv_loop_t *loop;
    fiber_t *running;
    fiber_t *first, *last;       /* run queue */
    fiber_t *live_list;
    fiber_t *pool;
    unsigned live, live_max;
    unsigned pooled, pool_max;
    uint64_t switches;
    timer_heap_t timers;
    uint64_t timer_at;           /* what the timer is armed for, ms */
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t timer;
    unsigned closing;
    void *fake_stack;
    const void *stack_low;       /* of the loop, learnt on the first switch */
    size_t stack_size;
};

static __thread fiber_sched_t *current;

/* ---- switching ---- */

static void
note_leaving_loop(fiber_sched_t *sched, const fiber_t *fiber)
{
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(&sched->fake_stack, fiber->stack.low,
        fiber->stack.size);
#else
    (void) sched;
    (void) fiber;
#endif
}

static void
note_back_on_loop(fiber_sched_t *sched)
{
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(sched->fake_stack, NULL, NULL);
#else
    (void) sched;
#endif
}

static void
note_leaving_fiber(fiber_t *fiber)
{
#ifdef FIBER_ASAN
    /* A dead fiber's shadow frames are released here. */
    __sanitizer_start_switch_fiber(
        fiber->state == FIBER_DEAD ? NULL : &fiber->fake_stack,
        fiber->sched->stack_low, fiber->sched->stack_size);
    if (fiber->state == FIBER_DEAD) {
        fiber->fake_stack = NULL;
    }
#else
    (void) fiber;
#endif
}

static void
note_on_fiber(fiber_t *fiber)
{
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(fiber->fake_stack,
        &fiber->sched->stack_low, &fiber->sched->stack_size);
#else
    (void) fiber;
#endif
}

SWITCHES static void
jump_to_loop(fiber_t *fiber)
{
    if (PLACE_SAVE(fiber->place) == 0) {
        PLACE_GO(fiber->sched->place);
    }
}

/* Suspends the running fiber, or ends it when DEAD; returns when it is
 * entered again. */
SWITCHES static void
fiber_leave(fiber_t *fiber)
{
    note_leaving_fiber(fiber);
    jump_to_loop(fiber);
    note_on_fiber(fiber);
}

SWITCHES static void
fiber_main(void)
{
    fiber_t *fiber = current->running;

    note_on_fiber(fiber);
    for (;;) {
        fiber->fn(fiber->arg);
        fiber->state = FIBER_DEAD;
        fiber_leave(fiber);
    }
}

SWITCHES static void
stack_begin(fiber_t *fiber)
{
    ucontext_t context;

    fiber->begun = 1;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber->stack.low;
    context.uc_stack.ss_size = fiber->stack.size;
    context.uc_link = NULL;
    makecontext(&context, fiber_main, 0);
    setcontext(&context);
    abort();
}

SWITCHES static void
jump_to_fiber(fiber_sched_t *sched, fiber_t *fiber)
{
    if (PLACE_SAVE(sched->place) == 0) {
        if (!fiber->begun) {
            stack_begin(fiber);
        }
        PLACE_GO(fiber->place);
    }
}

/* ---- time ---- */

static void timer_fired(uv_timer_t *timer);

/* Arms the timer for the earliest node. It is left to fire in vain when that
 * has gone, since most deadlines are cleared before they come. */
static void
timer_arm(fiber_sched_t *sched)
{
    uint64_t next = timer_heap_next(&sched->timers);
    uint64_t at, now;

    if (next == UINT64_MAX) {
        return;
    }
    at = next / 1000000 + (next % 1000000 != 0);
    if (sched->timer_at != 0 && sched->timer_at <= at) {
        return;
    }
    now = uv_now(sched->loop);
    sched->timer_at = at;
    uv_timer_start(&sched->timer, timer_fired, at > now ? at - now : 0, 0);
}

static void
timer_fired(uv_timer_t *timer)
{
    fiber_sched_t *sched = timer->data;

    sched->timer_at = 0;
    timer_heap_expire(&sched->timers, uv_hrtime());
    timer_arm(sched);
}

/* The timer keeps the loop alive as long as somebody waits for it. */
static void
timer_set(fiber_sched_t *sched, timer_node_t *node, uint64_t at)
{
    timer_heap_set(&sched->timers, node, at);
    uv_ref((uv_handle_t *) &sched->timer);
    timer_arm(sched);
}

static void
timer_clear(fiber_sched_t *sched, timer_node_t *node)
{
    timer_heap_clear(&sched->timers, node);
    if (sched->timers.count == 0) {
        uv_unref((uv_handle_t *) &sched->timer);
    }
}

/* ---- life ---- */

static void
fiber_destroy(fiber_t *fiber)
{
    fiber_stack_unmap(&fiber->stack);
    free(fiber);
}

static void
fiber_release(fiber_sched_t *sched, fiber_t *fiber)
{
    timer_clear(sched, &fiber->deadline);
    if (fiber->live_prev != NULL) {
        fiber->live_prev->live_next = fiber->live_next;
    } else {
        sched->live_list = fiber->live_next;
    }
    if (fiber->live_next != NULL) {
        fiber->live_next->live_prev = fiber->live_prev;
    }
    sched->live--;
    if (sched->pooled >= sched->pool_max) {
        fiber_destroy(fiber);
        return;
    }
    fiber_stack_trim(&fiber->stack);
    fiber->next = sched->pool;
    sched->pool = fiber;
    sched->pooled++;
}

static void
fiber_enter(fiber_sched_t *sched, fiber_t *fiber)
{
    assert(fiber->state == FIBER_READY && sched->running == NULL);
    fiber->state = FIBER_RUNNING;
    sched->running = fiber;
    sched->switches++;
    current = sched;
    note_leaving_loop(sched, fiber);
    jump_to_fiber(sched, fiber);
    note_back_on_loop(sched);
    sched->running = NULL;
    assert(fiber->state != FIBER_RUNNING);
    if (fiber->state == FIBER_DEAD) {
        fiber_release(sched, fiber);
    }
}

static void
idle_turn(uv_idle_t *idle)
{
    (void) idle;                 /* its being active is what matters */
}

static void
fiber_queue(fiber_t *fiber)
{
    fiber_sched_t *sched = fiber->sched;

    fiber->state = FIBER_READY;
    fiber->next = NULL;
    if (sched->first == NULL) {
        sched->first = fiber;
        uv_idle_start(&sched->idle, idle_turn);
    } else {
        sched->last->next = fiber;
    }
    sched->last = fiber;
}

/* Runs those that are ready now. Whoever becomes ready meanwhile is for the
 * next turn, or fibers that wake each other would keep the loop from its
 * descriptors. */
static void
run_ready(uv_check_t *check)
{
    fiber_sched_t *sched = check->data;
    fiber_t *fiber = sched->first;

    sched->first = NULL;
    sched->last = NULL;
    while (fiber != NULL) {
        fiber_t *next = fiber->next;

        fiber_enter(sched, fiber);
        fiber = next;
    }
    if (sched->first == NULL) {
        uv_idle_stop(&sched->idle);
    }
}

/* ---- time-outs and deadlines ---- */

#define FIBER_OF(node, member) \
    ((fiber_t *) (void *) ((char *) (node) - offsetof(fiber_t, member)))

static void
timeout_expired(timer_node_t *node)
{
    fiber_t *fiber = FIBER_OF(node, timeout);

    fiber->timed_out = 1;
    fiber_wake(fiber);
}

static void
deadline_expired(timer_node_t *node)
{
    fiber_cancel(FIBER_OF(node, deadline));
}

void
fiber_deadline(fiber_t *fiber, uint64_t at)
{
    fiber_sched_t *sched = fiber->sched;

    if (at == 0) {
        timer_clear(sched, &fiber->deadline);
    } else {
        timer_set(sched, &fiber->deadline, at);
    }
}

/* ---- the scheduler ---- */

static void
sched_closed(uv_handle_t *handle)
{
    fiber_sched_t *sched = handle->data;

    sched->closing--;
}

fiber_sched_t *
fiber_sched_new(uv_loop_t *loop, unsigned live_max, unsigned pool_max)
{
    fiber_sched_t *sched = calloc(1, sizeof(*sched));

    if (sched == NULL) {
        return NULL;
    }
    /* Two nodes for each fiber: a time-out and a deadline. */
    if (timer_heap_init(&sched->timers, live_max * 2) != 0) {
        free(sched);
        errno = ENOMEM;
        return NULL;
    }
    sched->loop = loop;
    sched->live_max = live_max;
    sched->pool_max = pool_max;
    uv_check_init(loop, &sched->check);
    uv_idle_init(loop, &sched->idle);
    uv_timer_init(loop, &sched->timer);
    sched->check.data = sched;
    sched->idle.data = sched;
    sched->timer.data = sched;
    uv_check_start(&sched->check, run_ready);
    uv_unref((uv_handle_t *) &sched->check);
    current = sched;
    return sched;
}

void
fiber_sched_free(fiber_sched_t *sched)
{
    if (sched == NULL) {
        return;
    }
    assert(sched->live == 0 && sched->running == NULL);
    sched->closing = 3;
    uv_close((uv_handle_t *) &sched->check, sched_closed);
    uv_close((uv_handle_t *) &sched->idle, sched_closed);
    uv_close((uv_handle_t *) &sched->timer, sched_closed);
    while (sched->closing > 0) {
        uv_run(sched->loop, UV_RUN_NOWAIT);
    }
    while (sched->pool != NULL) {
        fiber_t *fiber = sched->pool;

        sched->pool = fiber->next;
        fiber_destroy(fiber);
    }
    timer_heap_release(&sched->timers);
    if (current == sched) {
        current = NULL;
    }
    free(sched);
}

static fiber_t *
fiber_obtain(fiber_sched_t *sched)
{
    fiber_t *fiber = sched->pool;

    if (fiber != NULL) {
        sched->pool = fiber->next;
        sched->pooled--;
        return fiber;
    }
    fiber = calloc(1, sizeof(*fiber));
    if (fiber == NULL) {
        return NULL;
    }
    if (fiber_stack_map(&fiber->stack) != 0) {
        free(fiber);
        return NULL;
    }
    fiber->sched = sched;
    fiber->timeout.expire = timeout_expired;
    fiber->deadline.expire = deadline_expired;
    return fiber;
}

int
fiber_spawn(fiber_sched_t *sched, const char *name, fiber_fn fn, void *arg,
    fiber_t **out)
{
    fiber_t *fiber;

    if (sched->live >= sched->live_max) {
        return UV_EAGAIN;
    }
    fiber = fiber_obtain(sched);
    if (fiber == NULL) {
        return UV_ENOMEM;
    }
    fiber->fn = fn;
    fiber->arg = arg;
    fiber->name = name;
    fiber->reason = NULL;
    fiber->data = NULL;
    fiber->woken = 0;
    fiber->cancelled = 0;
    fiber->shielded = 0;
    fiber->live_prev = NULL;
    fiber->live_next = sched->live_list;
    if (sched->live_list != NULL) {
        sched->live_list->live_prev = fiber;
    }
    sched->live_list = fiber;
    sched->live++;
    fiber_queue(fiber);
    if (out != NULL) {
        *out = fiber;
    }
    return 0;
}

/* ---- waiting ---- */

fiber_t *
fiber_self(void)
{
    return current != NULL ? current->running : NULL;
}

void
fiber_park(const char *reason)
{
    fiber_t *fiber = fiber_self();

    assert(fiber != NULL && fiber->state == FIBER_RUNNING);
    fiber->reason = reason;
    if (fiber->woken) {
        fiber->woken = 0;
        fiber_queue(fiber);
    } else {
        fiber->state = FIBER_SUSPENDED;
    }
    fiber_leave(fiber);
}

int
fiber_suspend(const char *reason)
{
    fiber_t *fiber = fiber_self();

    assert(fiber != NULL);
    if (!fiber_cancelled(fiber)) {
        fiber_park(reason);
    }
    return fiber_cancelled(fiber) ? UV_ECANCELED : 0;
}

int
fiber_suspend_until(const char *reason, uint64_t until)
{
    fiber_t *fiber = fiber_self();

    assert(fiber != NULL);
    if (!fiber_cancelled(fiber)) {
        fiber->timed_out = 0;
        timer_set(fiber->sched, &fiber->timeout, until);
        fiber_park(reason);
        timer_clear(fiber->sched, &fiber->timeout);
    }
    if (fiber_cancelled(fiber)) {
        return UV_ECANCELED;
    }
    return fiber->timed_out ? UV_ETIMEDOUT : 0;
}

void
fiber_wake(fiber_t *fiber)
{
    if (fiber->state == FIBER_SUSPENDED) {
        fiber_queue(fiber);
    } else if (fiber->state == FIBER_RUNNING) {
        fiber->woken = 1;
    }
}

void
fiber_cancel(fiber_t *fiber)
{
    fiber->cancelled = 1;
    fiber_wake(fiber);
}

int
fiber_cancelled(const fiber_t *fiber)
{
    return fiber->cancelled && !fiber->shielded;
}

int
fiber_shield(int on)
{
    fiber_t *fiber = fiber_self();
    int before;

    assert(fiber != NULL);
    before = fiber->shielded;
    fiber->shielded = on != 0;
    return before;
}

int
fiber_sleep(uint64_t milliseconds)
{
    uint64_t until = uv_hrtime() + milliseconds * 1000000;
    int rc;

    if (milliseconds == 0) {
        return fiber_yield();
    }
    do {
        rc = fiber_suspend_until("sleep", until);
    } while (rc == 0);
    return rc == UV_ETIMEDOUT ? 0 : rc;
}

int
fiber_yield(void)
{
    fiber_t *fiber = fiber_self();

    assert(fiber != NULL);
    fiber_wake(fiber);
    fiber_park("yield");
    return fiber_cancelled(fiber) ? UV_ECANCELED : 0;
}

/* ---- looking ---- */

const char *
fiber_name(const fiber_t *fiber)
{
    return fiber->name;
}

const fiber_stack_t *
fiber_stack_of(const fiber_t *fiber)
{
    return &fiber->stack;
}

uv_loop_t *
fiber_loop(const fiber_t *fiber)
{
    return fiber->sched->loop;
}

void
fiber_set_data(fiber_t *fiber, void *data)
{
    fiber->data = data;
}

void *
fiber_data(const fiber_t *fiber)
{
    return fiber->data;
}

unsigned
fiber_live(const fiber_sched_t *sched)
{
    return sched->live;
}

uint64_t
fiber_switches(const fiber_sched_t *sched)
{
    return sched->switches;
}

void
fiber_dump(fiber_sched_t *sched,
    void (*fn)(void *arg, const char *name, const char *reason, void *data),
    void *arg)
{
    const fiber_t *fiber;

    for (fiber = sched->live_list; fiber != NULL; fiber = fiber->live_next) {
        fn(arg, fiber->name,
            fiber->state == FIBER_READY ? "ready"
                : fiber->state == FIBER_RUNNING ? "running" : fiber->reason,
            fiber->data);
    }
}
