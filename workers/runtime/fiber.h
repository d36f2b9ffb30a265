/* fiber.h: linear code on its own stack, over one libuv loop.
 *
 * Only the loop enters a fiber: waking queues it, and the loop runs the
 * queue (a check handle, with an idle handle to force a zero poll time-out
 * while the queue is not empty). Wakes may be spurious: every wait loops on
 * its own condition. Callbacks of libuv, libpq and libcurl run on the loop's
 * stack and may only copy and wake.
 *
 * Stacks are mmap'ed (1 MiB of address space, a guard area below), pooled,
 * and entered by setjmp/longjmp after one makecontext (QEMU,
 * util/coroutine-ucontext.c), so a switch makes no system call. Address
 * sanitizer and valgrind are told of them. */

#ifndef HIVE_FIBER_H
#define HIVE_FIBER_H

#include <stdint.h>
#include <uv.h>

typedef struct fiber_s fiber_t;
typedef struct fiber_sched_s fiber_sched_t;
typedef void (*fiber_fn)(void *arg);

/* Returns owned; at most `live_max` fibers at once, `pool_max` idle stacks
 * kept. NULL with errno. One per loop; becomes the current one. */
fiber_sched_t *fiber_sched_new(uv_loop_t *loop, unsigned live_max,
    unsigned pool_max);

/* All fibers must have ended. Turns the loop until its own handles have
 * closed, so not to be called from a callback of the loop. */
void fiber_sched_free(fiber_sched_t *sched);

/* Queues a new fiber that runs fn(arg). 0, or UV_EAGAIN at the cap, or
 * UV_ENOMEM. `name` is static text. The fiber is released by itself when fn
 * returns; until then *out (may be NULL) is valid. */
int fiber_spawn(fiber_sched_t *sched, const char *name, fiber_fn fn,
    void *arg, fiber_t **out);

/* The running fiber; NULL on the loop's stack. */
fiber_t *fiber_self(void);

/* Suspends until woken: 0, or UV_ECANCELED once cancelled (sticky). `reason`
 * is static text shown by fiber_dump. May return for no reason. */
int fiber_suspend(const char *reason);

/* As fiber_suspend, and UV_ETIMEDOUT once uv_hrtime() has reached `until`. */
int fiber_suspend_until(const char *reason, uint64_t until);

/* As fiber_suspend, for waits that cannot be given up (a libuv handle that
 * must close first). */
void fiber_park(const char *reason);

/* Loop thread only; idempotent. */
void fiber_wake(fiber_t *fiber);

/* Sticky: this and every later fiber_suspend of it returns UV_ECANCELED. */
void fiber_cancel(fiber_t *fiber);
int fiber_cancelled(const fiber_t *fiber);

/* While on, this fiber does not notice that it is cancelled: it waits as if it
 * were not, and fiber_cancelled is 0. For the last word about what has been
 * done, which must be short: whoever cancels waits for it. Returns what it
 * was. */
int fiber_shield(int on);

/* Cancels the fiber once uv_hrtime() has reached `at`, to the millisecond;
 * replaces an earlier deadline, and 0 clears it. It ends with the fiber.
 * Cheap: a place in a heap behind one timer for all fibers. */
void fiber_deadline(fiber_t *fiber, uint64_t at);

/* 0, or UV_ECANCELED (as soon as cancelled). */
int fiber_sleep(uint64_t milliseconds);

/* Lets every fiber that is ready run once, and the loop turn: 0, or
 * UV_ECANCELED. */
int fiber_yield(void);

/* Runs fn(arg) on the libuv thread pool and suspends until it returned
 * (uncancellable once begun: the thread holds arg). `lane` bounds what
 * waits; zero it but for its two limits. 0; UV_EAGAIN when the lane is full
 * and UV_ECANCELED when cancelled while waiting: fn has not been run. */
typedef struct {
    unsigned running_max;   /* at once on the threads */
    unsigned waiting_max;   /* more than that: UV_EAGAIN at once */
    unsigned running;
    unsigned waiting;
    void *first, *last;     /* those that wait, in order */
} thread_lane_t;

int fiber_thread(thread_lane_t *lane, void (*fn)(void *arg), void *arg);

/* The loop it runs on, and its name. */
uv_loop_t *fiber_loop(const fiber_t *fiber);
const char *fiber_name(const fiber_t *fiber);

/* User data of the fiber (the request). */
void fiber_set_data(fiber_t *fiber, void *data);
void *fiber_data(const fiber_t *fiber);

unsigned fiber_live(const fiber_sched_t *sched);
uint64_t fiber_switches(const fiber_sched_t *sched);

/* Calls fn for each live fiber with its name, wait reason ("ready" and
 * "running" included) and data. */
void fiber_dump(fiber_sched_t *sched,
    void (*fn)(void *arg, const char *name, const char *reason, void *data),
    void *arg);

/* Gives the calling thread an alternate signal stack and installs a handler
 * of SIGSEGV and SIGBUS that names the fiber whose stack overflowed, or the
 * one that ran, in a log line, and then lets the signal take its former
 * course. Once per process, from the loop's thread. 0 or negative errno. */
int fiber_crash_install(void);

#endif
