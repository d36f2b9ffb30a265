/* Promises of fiber.h. */

#include "workers/runtime/fiber.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static fiber_sched_t *sched;
static char order[256];

static int
setup(void **state)
{
    (void) state;
    order[0] = '\0';
    assert_int_equal(uv_loop_init(&loop), 0);
    sched = fiber_sched_new(&loop, 20000, 64);
    assert_non_null(sched);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    assert_int_equal(fiber_live(sched), 0);
    fiber_sched_free(sched);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static fiber_t *
spawn(fiber_fn fn, void *arg)
{
    fiber_t *fiber;

    assert_int_equal(fiber_spawn(sched, "test", fn, arg, &fiber), 0);
    return fiber;
}

static void
run(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
}

static uint64_t
milliseconds(void)
{
    return uv_hrtime() / 1000000;
}

static void
put(const char *text)
{
    strncat(order, text, sizeof(order) - strlen(order) - 1);
}

static void
note(void *arg)
{
    put(arg);
}

static void
note_twice(void *arg)
{
    put(arg);
    fiber_yield();
    put(arg);
}

static void
fibers_run_in_order_of_waking(void **state)
{
    (void) state;
    assert_null(fiber_self());
    spawn(note_twice, "a");
    spawn(note_twice, "b");
    spawn(note, "c");
    assert_string_equal(order, "");
    run();
    assert_string_equal(order, "abcab");
    assert_null(fiber_self());
}

typedef struct {
    fiber_t *fiber;
    int ready;
    int rc;
    int turns;
} wait_t;

static void
wait_until_ready(void *arg)
{
    wait_t *wait = arg;

    wait->fiber = fiber_self();
    while (!wait->ready && wait->rc == 0) {
        wait->rc = fiber_suspend("test");
        wait->turns++;
    }
}

static void
wake_thrice(void *arg)
{
    wait_t *wait = arg;

    fiber_wake(wait->fiber);
    fiber_wake(wait->fiber);
    fiber_yield();
    wait->ready = 1;
    fiber_wake(wait->fiber);
}

static void
waking_is_idempotent_and_may_be_spurious(void **state)
{
    wait_t wait = { .ready = 0 };

    (void) state;
    spawn(wait_until_ready, &wait);
    spawn(wake_thrice, &wait);
    run();
    assert_int_equal(wait.turns, 2);
    assert_int_equal(wait.rc, 0);
}

static void
wake_self_then_wait(void *arg)
{
    fiber_wake(fiber_self());
    *(int *) arg = fiber_suspend("test");
}

static void
wake_self_and_end(void *arg)
{
    (void) arg;
    fiber_wake(fiber_self());
}

static void
a_wake_before_the_wait_is_not_lost(void **state)
{
    int rc = 1;

    (void) state;
    spawn(wake_self_then_wait, &rc);
    run();
    assert_int_equal(rc, 0);
    spawn(wake_self_and_end, NULL);
    run();
    spawn(note, "x");
    run();
    assert_string_equal(order, "x");
}

static void
park_until_ready(void *arg)
{
    wait_t *wait = arg;

    while (!wait->ready) {
        fiber_park("test");
    }
    wait->rc = fiber_suspend("never");
}

static void
cancel_then_ready(void *arg)
{
    wait_t *wait = arg;

    fiber_cancel(wait->fiber);
    assert_true(fiber_cancelled(wait->fiber));
    fiber_sleep(2);
    assert_int_equal(wait->rc, 0);
    wait->ready = 1;
    fiber_wake(wait->fiber);
}

static void
say_last_word(void *arg)
{
    wait_t *wait = arg;

    assert_int_equal(fiber_suspend("test"), UV_ECANCELED);
    assert_int_equal(fiber_shield(1), 0);
    assert_false(fiber_cancelled(fiber_self()));
    assert_int_equal(fiber_sleep(2), 0);
    assert_int_equal(fiber_yield(), 0);
    assert_int_equal(fiber_shield(0), 1);
    assert_true(fiber_cancelled(fiber_self()));
    wait->rc = fiber_sleep(2);
}

static void
a_shield_holds_off_cancelling(void **state)
{
    wait_t wait = { .ready = 0 };

    (void) state;
    fiber_cancel(spawn(say_last_word, &wait));
    run();
    assert_int_equal(wait.rc, UV_ECANCELED);
}

static void
cancelling_is_sticky(void **state)
{
    wait_t wait = { .ready = 0 };
    wait_t parked = { .ready = 0 };

    (void) state;
    fiber_cancel(spawn(wait_until_ready, &wait));
    run();
    assert_int_equal(wait.rc, UV_ECANCELED);
    parked.fiber = spawn(park_until_ready, &parked);
    spawn(cancel_then_ready, &parked);
    run();
    assert_int_equal(parked.rc, UV_ECANCELED);
}

static void
sleep_for(void *arg)
{
    uint64_t *ms = arg;
    uint64_t before = uv_hrtime();

    assert_int_equal(fiber_sleep(*ms), 0);
    assert_true(uv_hrtime() - before >= *ms * 1000000);
    *ms = (uv_hrtime() - before) / 1000000;
}

static void
sleeps_last_as_long_as_asked(void **state)
{
    uint64_t ms[5] = { 30, 0, 5, 30, 12 };
    int i;

    (void) state;
    for (i = 0; i < 5; i++) {
        spawn(sleep_for, &ms[i]);
    }
    run();
    assert_in_range(ms[0], 30, 300);
    assert_in_range(ms[1], 0, 25);
    assert_in_range(ms[2], 5, 250);
}

static void
wait_with_timeout(void *arg)
{
    wait_t *wait = arg;
    uint64_t until = uv_hrtime() + 5000000;

    wait->fiber = fiber_self();
    do {
        wait->rc = fiber_suspend_until("test", until);
        wait->turns++;
    } while (wait->rc == 0 && !wait->ready);
}

static void
timeouts_are_told_from_wakes(void **state)
{
    wait_t late = { .ready = 0 };
    wait_t woken = { .ready = 0 };

    (void) state;
    spawn(wait_with_timeout, &late);
    run();
    assert_int_equal(late.rc, UV_ETIMEDOUT);
    spawn(wait_with_timeout, &woken);
    spawn(wake_thrice, &woken);
    run();
    assert_int_equal(woken.rc, 0);
    assert_int_equal(woken.turns, 2);
}

static void
set_deadline_and_sleep(void *arg)
{
    int *rc = arg;

    fiber_deadline(fiber_self(), uv_hrtime() + 5000000);
    *rc = fiber_sleep(10000);
}

static void
clear_deadline_and_sleep(void *arg)
{
    int *rc = arg;

    fiber_deadline(fiber_self(), uv_hrtime() + 5000000);
    fiber_deadline(fiber_self(), uv_hrtime() + 500000000);
    fiber_deadline(fiber_self(), uv_hrtime() + 2000000);
    fiber_deadline(fiber_self(), 0);
    *rc = fiber_sleep(15);
}

static void
set_far_deadline(void *arg)
{
    (void) arg;
    fiber_deadline(fiber_self(), uv_hrtime() + UINT64_C(3600000000000));
}

static void
deadlines_cancel(void **state)
{
    int rc[2] = { 0, 1 };
    uint64_t before = milliseconds();

    (void) state;
    spawn(set_deadline_and_sleep, &rc[0]);
    spawn(clear_deadline_and_sleep, &rc[1]);
    spawn(set_far_deadline, NULL);
    run();
    assert_int_equal(rc[0], UV_ECANCELED);
    assert_int_equal(rc[1], 0);
    /* A deadline that was not reached does not hold the loop. */
    assert_true(milliseconds() - before < 1000);
}

static unsigned slept;

static void
sleep_somewhat(void *arg)
{
    uint64_t ms = 1 + (uintptr_t) arg * 7919 % 50;

    fiber_deadline(fiber_self(), uv_hrtime() + UINT64_C(60000000000));
    if (fiber_sleep(ms) == 0) {
        slept++;
    }
}

static void
ten_thousand_sleep_at_once(void **state)
{
    uintptr_t i;

    (void) state;
    slept = 0;
    for (i = 0; i < 10000; i++) {
        spawn(sleep_somewhat, (void *) i);
    }
    assert_int_equal(fiber_live(sched), 10000);
    run();
    assert_int_equal(slept, 10000);
}

static void
cancel_all(void *arg)
{
    fiber_t **fibers = arg;
    size_t i;

    for (i = 0; i < 10000; i++) {
        fiber_cancel(fibers[i]);
    }
}

static void
sleep_long(void *arg)
{
    (void) arg;
    slept += fiber_sleep(3600000) == UV_ECANCELED;
}

static void
ten_thousand_are_cancelled_at_once(void **state)
{
    static fiber_t *fibers[10000];
    size_t i;

    (void) state;
    slept = 0;
    for (i = 0; i < 10000; i++) {
        fibers[i] = spawn(sleep_long, NULL);
    }
    spawn(cancel_all, fibers);
    run();
    assert_int_equal(slept, 10000);
}

static void
the_cap_refuses(void **state)
{
    fiber_sched_t *small;

    (void) state;
    small = fiber_sched_new(&loop, 2, 0);
    assert_non_null(small);
    assert_int_equal(fiber_spawn(small, "a", note, "a", NULL), 0);
    assert_int_equal(fiber_spawn(small, "b", note, "b", NULL), 0);
    assert_int_equal(fiber_spawn(small, "c", note, "c", NULL), UV_EAGAIN);
    run();
    assert_string_equal(order, "ab");
    assert_int_equal(fiber_spawn(small, "d", note, "d", NULL), 0);
    run();
    assert_string_equal(order, "abd");
    fiber_sched_free(small);
}

/* Fibers that wake each other for ever do not keep the loop from a timer. */
static int stop_spinning;

static void
spin(void *arg)
{
    (void) arg;
    while (!stop_spinning) {
        fiber_yield();
    }
}

static void
stop_timer(uv_timer_t *timer)
{
    stop_spinning = 1;
    uv_close((uv_handle_t *) timer, NULL);
}

static void
busy_fibers_do_not_starve_the_loop(void **state)
{
    uv_timer_t timer;

    (void) state;
    stop_spinning = 0;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, stop_timer, 10, 0);
    spawn(spin, NULL);
    spawn(spin, NULL);
    run();
    assert_true(fiber_switches(sched) > 10);
}

/* A raise is a longjmp inside one fiber, between two waits. */
typedef struct {
    jmp_buf boundary;
    int armed;
    int caught;
} raise_t;

__attribute__((noinline)) static void
raise_deep(raise_t *raised, int depth)
{
    volatile char frame[512];

    memset((char *) frame, depth, sizeof(frame));
    if (depth > 0) {
        raise_deep(raised, depth - 1);
    }
    fiber_yield();
    if (raised->armed) {
        longjmp(raised->boundary, 1);
    }
    assert_int_equal(frame[100], depth);
}

static void
raise_and_go_on(void *arg)
{
    raise_t raised = { .armed = 1 };
    volatile int i;

    for (i = 0; i < 20; i++) {
        if (setjmp(raised.boundary) == 0) {
            raise_deep(&raised, 10);
        } else {
            raised.caught++;
            fiber_yield();
        }
    }
    *(int *) arg += raised.caught;
}

static void
raising_stays_inside_a_fiber(void **state)
{
    int caught = 0, i;

    (void) state;
    for (i = 0; i < 50; i++) {
        spawn(raise_and_go_on, &caught);
    }
    run();
    assert_int_equal(caught, 50 * 20);
}

__attribute__((noinline)) static int
dive(int depth)
{
    volatile char frame[1024];

    memset((char *) frame, depth, sizeof(frame));
    return depth == 0 ? frame[1] : dive(depth - 1) + frame[2];
}

static void
dive_deep(void *arg)
{
    *(int *) arg = dive(80);
}

static void
stacks_are_used_again_after_a_deep_call(void **state)
{
    int i, sum = 0;

    (void) state;
    for (i = 0; i < 10; i++) {
        spawn(dive_deep, &sum);
        spawn(note, ".");
        run();
        assert_int_not_equal(sum, 0);
    }
    assert_string_equal(order, "..........");
}

/* ---- threads ---- */

static thread_lane_t lane;
static unsigned hashed, refused, given_up;

static void
block_briefly(void *arg)
{
    usleep(2000);
    __atomic_fetch_add((unsigned *) arg, 1, __ATOMIC_RELAXED);
}

static void
hash(void *arg)
{
    int rc = fiber_thread(&lane, block_briefly, arg);

    refused += rc == UV_EAGAIN;
    given_up += rc == UV_ECANCELED;
    assert_true(lane.running <= lane.running_max);
}

static void
lanes_bound_what_runs_and_waits(void **state)
{
    fiber_t *fibers[10];
    int i;

    (void) state;
    hashed = refused = given_up = 0;
    lane = (thread_lane_t) { .running_max = 2, .waiting_max = 6 };
    for (i = 0; i < 10; i++) {
        fibers[i] = spawn(hash, &hashed);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(lane.running, 2);
    assert_int_equal(lane.waiting, 6);
    fiber_cancel(fibers[0]);     /* begun: runs to its end */
    fiber_cancel(fibers[4]);     /* waits: leaves the line */
    run();
    assert_int_equal(hashed, 7);
    assert_int_equal(refused, 2);
    assert_int_equal(given_up, 1);
    assert_int_equal(lane.running, 0);
    assert_int_equal(lane.waiting, 0);
    assert_null(lane.first);
    assert_null(lane.last);
}

/* Cancelled in the very turn in which it was handed a place. */
static void
cancel_waiter(void *arg)
{
    wait_t *wait = arg;

    while (lane.waiting > 0) {
        fiber_yield();
    }
    fiber_cancel(wait->fiber);
}

static void
a_handed_place_is_passed_on(void **state)
{
    wait_t wait;

    (void) state;
    hashed = refused = given_up = 0;
    lane = (thread_lane_t) { .running_max = 1, .waiting_max = 6 };
    spawn(cancel_waiter, &wait);
    spawn(hash, &hashed);
    wait.fiber = spawn(hash, &hashed);
    uv_run(&loop, UV_RUN_NOWAIT);
    run();
    assert_int_equal(lane.running, 0);
    assert_int_equal(hashed + given_up, 2);
    spawn(hash, &hashed);
    run();
    assert_int_equal(lane.running, 0);
}

/* ---- looking ---- */

static void
collect(void *arg, const char *name, const char *reason, void *data)
{
    assert_ptr_equal(arg, order);
    put(name);
    put("=");
    put(reason);
    put(data != NULL ? data : "-");
    put(";");
}

static void
dump_all(void *arg)
{
    fiber_set_data(fiber_self(), "!");
    fiber_dump(sched, collect, order);
    fiber_wake(((wait_t *) arg)->fiber);
    ((wait_t *) arg)->ready = 1;
}

static void
a_dump_shows_who_waits_for_what(void **state)
{
    wait_t wait = { .ready = 0 };

    (void) state;
    fiber_spawn(sched, "one", wait_until_ready, &wait, NULL);
    fiber_spawn(sched, "two", dump_all, &wait, NULL);
    fiber_spawn(sched, "three", note, "", NULL);
    run();
    assert_string_equal(order, "three=ready-;two=running!;one=test-;");
}

/* ---- crashing ---- */

static volatile int deeper = 1;

__attribute__((noinline)) static int
overflow(int depth)
{
    volatile char frame[2048];

    frame[0] = (char) depth;
    return deeper ? overflow(depth + 1) + frame[0] : 0;
}

static void
overflow_stack(void *arg)
{
    (void) arg;
    overflow(0);
}

/* Runs in a child; what it wrote on standard error is in `text`. */
static int
crash(fiber_fn fn, char *text, size_t size)
{
    int ends[2], status;
    size_t len = 0;
    ssize_t got;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGSEGV, SIG_DFL);
        if (fiber_crash_install() == 0) {
            fiber_spawn(sched, "doomed", fn, NULL, NULL);
            run();
        }
        _exit(0);
    }
    close(ends[1]);
    while (len + 1 < size
        && (got = read(ends[0], text + len, size - 1 - len)) > 0) {
        len += (size_t) got;
    }
    text[len] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void
kill_self(void *arg)
{
    (void) arg;
    kill(getpid(), SIGSEGV);
}

static void
an_overflow_is_named_and_kills(void **state)
{
    char text[4096];
    int status;

    (void) state;
    status = crash(overflow_stack, text, sizeof(text));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    assert_non_null(strstr(text, "stack overflow in fiber doomed"));
    status = crash(kill_self, text, sizeof(text));
    assert_true(WIFSIGNALED(status));
    assert_non_null(strstr(text, "memory fault in fiber doomed"));
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(fibers_run_in_order_of_waking),
        T(waking_is_idempotent_and_may_be_spurious),
        T(a_wake_before_the_wait_is_not_lost),
        T(cancelling_is_sticky),
        T(a_shield_holds_off_cancelling),
        T(sleeps_last_as_long_as_asked),
        T(timeouts_are_told_from_wakes),
        T(deadlines_cancel),
        T(ten_thousand_sleep_at_once),
        T(ten_thousand_are_cancelled_at_once),
        T(the_cap_refuses),
        T(busy_fibers_do_not_starve_the_loop),
        T(raising_stays_inside_a_fiber),
        T(stacks_are_used_again_after_a_deep_call),
        T(lanes_bound_what_runs_and_waits),
        T(a_handed_place_is_passed_on),
        T(a_dump_shows_who_waits_for_what),
        T(an_overflow_is_named_and_kills)
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
