/* supervisor_test.c: what the supervisor promises, shown with real processes
 * whose only work is to be there, be ready or fail as told. */

#include "workers/supervisor.h"

#include "common/operation.h"
#include "workers/runtime/boundary.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SLOTS 2

/* Shared with all children. */
typedef struct {
    _Atomic pid_t pids[SLOTS_MAX][2];  /* who serves there */
    _Atomic unsigned starts;
    _Atomic unsigned drained;          /* SIGTERM seen and obeyed */
    _Atomic int dies_at_once;
    _Atomic int unready;               /* children do not get ready */
    _Atomic int deaf;                  /* new children ignore SIGTERM */
    _Atomic int hangs;                 /* they are not heard of any more */
    _Atomic int bad_config;
    _Atomic unsigned processes;
    _Atomic unsigned drain_ms;
} shared_t;

static shared_t *shared;
static char pidfile[64];

static int
play_child(const child_t *child, void *arg)
{
    sigset_t set;
    int ready = 0;

    (void) arg;
    shared->starts++;
    if (shared->dies_at_once) {
        return 1;
    }

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    shared->pids[child->slot][child->side] = getpid();
    child_report_up(child);
    for ( ;; ) {
        struct timespec tick = { 0, 100000000 };

        if (!ready && !shared->unready) {
            ready = 1;
            child_report_ready(child, ready);
        }
        if (!shared->hangs) {
            child_report_alive(child);
        }
        if (sigtimedwait(&set, NULL, &tick) == SIGTERM && !shared->deaf) {
            shared->drained++;
            return 0;
        }
    }
}

static int
play_reload(supervisor_plan_t *plan, void *arg)
{
    (void) arg;
    if (shared->bad_config) {
        return -1;
    }
    plan->processes = shared->processes;
    plan->drain_ms = shared->drain_ms;
    plan->hang_ms = 1000;
    return 0;
}

static pid_t
start_supervisor(void)
{
    pid_t pid;

    memset(shared, 0, sizeof(*shared));
    shared->processes = SLOTS;
    shared->drain_ms = 1000;
    pid = fork();
    if (pid == 0) {
        supervisor_plan_t plan = { SLOTS, 1000, 1000 };
        supervisor_hooks_t hooks = { play_child, play_reload, NULL, pidfile };

        /* A test that fails leaves it to itself. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(supervisor_run(&plan, &hooks));
    }
    return pid;
}

static int
alive(pid_t pid)
{
    return pid != 0 && kill(pid, 0) == 0;
}

static void
wait_more(int tries, const char *condition)
{
    if (tries == 800) {
        fail_msg("never came true: %s", condition);
    }
    usleep(10000);
}

/* Waits for a condition, at most 8 s. */
#define eventually(condition)                                                 \
    for (int tries_ = 0; !(condition); tries_++) {                            \
        wait_more(tries_, #condition);                                        \
    }

static void
await_all(unsigned side)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        eventually(alive(shared->pids[i][side]));
    }
}

static void
stop_supervisor(pid_t pid, int expected)
{
    int status;

    kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), expected);
}

static void
test_starts_and_stops(void **state)
{
    pid_t pid = start_supervisor();
    FILE *file;
    int written = 0;

    (void) state;
    await_all(0);
    file = fopen(pidfile, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &written), 1);
    assert_int_equal(written, pid);
    fclose(file);

    stop_supervisor(pid, 0);
    assert_int_equal(shared->drained, SLOTS);
    assert_int_equal(access(pidfile, F_OK), -1);
    assert_false(alive(shared->pids[0][0]));
}

static void
test_restarts_what_dies(void **state)
{
    pid_t pid = start_supervisor();
    pid_t first;

    (void) state;
    await_all(0);
    first = shared->pids[1][0];
    kill(first, SIGKILL);
    eventually(shared->pids[1][0] != first && alive(shared->pids[1][0]));
    assert_int_equal(shared->starts, SLOTS + 1);
    stop_supervisor(pid, 0);
}

/* At once, then after 100, 200, 400, 800 ms: five starts in the first 1.5 s,
 * fewer where starting one takes long. */
static void
test_backs_off(void **state)
{
    pid_t pid;

    (void) state;
    pid = start_supervisor();
    await_all(0);
    shared->starts = 0;
    shared->dies_at_once = 1;
    kill(shared->pids[0][0], SIGKILL);
    usleep(2000000);
    assert_in_range(shared->starts, 3, 6);
    shared->dies_at_once = 0;
    eventually(shared->starts > 3 && alive(shared->pids[0][0]));
    stop_supervisor(pid, 0);
}

static void
test_reload_takes_the_other_side(void **state)
{
    pid_t pid = start_supervisor();

    (void) state;
    await_all(0);
    kill(pid, SIGHUP);
    await_all(1);
    eventually(shared->drained == SLOTS);
    eventually(!alive(shared->pids[0][0]) && !alive(shared->pids[1][0]));

    /* And back, with another number of processes. */
    shared->processes = SLOTS + 1;
    kill(pid, SIGHUP);
    eventually(shared->drained == 2 * SLOTS);
    await_all(0);
    eventually(alive(shared->pids[SLOTS][0]));

    shared->processes = SLOTS;
    kill(pid, SIGHUP);
    eventually(!alive(shared->pids[SLOTS][0]));
    await_all(1);
    stop_supervisor(pid, 0);
}

/* A start is work for the database, which has requests to serve. */
static void
test_reload_starts_one_after_the_other(void **state)
{
    pid_t pid = start_supervisor();

    (void) state;
    await_all(0);
    shared->unready = 1;
    kill(pid, SIGHUP);
    eventually(shared->starts == SLOTS + 1);
    usleep(500000);
    assert_int_equal(shared->starts, SLOTS + 1);

    shared->unready = 0;
    await_all(1);
    eventually(shared->drained == SLOTS);
    stop_supervisor(pid, 0);
}

static void
test_reload_keeps_what_works(void **state)
{
    pid_t pid = start_supervisor();
    pid_t first;

    (void) state;
    await_all(0);
    first = shared->pids[0][0];

    /* A configuration that cannot be read. */
    shared->bad_config = 1;
    kill(pid, SIGHUP);
    usleep(200000);
    assert_int_equal(shared->starts, SLOTS);
    assert_true(alive(first));

    /* One with which nothing starts: the old ones stay. */
    shared->bad_config = 0;
    shared->dies_at_once = 1;
    kill(pid, SIGHUP);
    eventually(shared->starts == 2 * SLOTS);
    usleep(200000);
    assert_true(alive(first));
    assert_int_equal(shared->drained, 0);

    /* And the next reload works. */
    shared->dies_at_once = 0;
    kill(pid, SIGHUP);
    eventually(shared->drained == SLOTS);
    await_all(1);
    stop_supervisor(pid, 0);
}

static void
test_kills_what_does_not_drain(void **state)
{
    pid_t pid = start_supervisor();

    (void) state;
    await_all(0);
    shared->deaf = 1;
    kill(shared->pids[0][0], SIGKILL);
    eventually(shared->starts == SLOTS + 1);
    usleep(100000);
    kill(pid, SIGTERM);
    usleep(100000);
    stop_supervisor(pid, 0);   /* the second TERM does not wait */
    assert_false(alive(shared->pids[0][0]));
}

static void
test_replaces_what_hangs(void **state)
{
    pid_t pid = start_supervisor();
    pid_t first;

    (void) state;
    await_all(0);
    first = shared->pids[0][0];
    shared->hangs = 1;
    eventually(!alive(first) || shared->pids[0][0] != first);
    shared->hangs = 0;
    eventually(shared->pids[0][0] != first && alive(shared->pids[0][0]));
    assert_int_equal(shared->drained, 0);
    stop_supervisor(pid, 0);
}

static void
test_leaves_no_orphans(void **state)
{
    pid_t pid = start_supervisor();

    (void) state;
    await_all(0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    eventually(!alive(shared->pids[0][0]) && !alive(shared->pids[1][0]));
    unlink(pidfile);
}

/* ---- the quarantine ---- */

static void
test_quarantine_counts(void **state)
{
    quarantine_t *quarantine = quarantine_new();

    (void) state;
    assert_int_equal(quarantine_refuses(quarantine, 5, 10000), 0);
    assert_int_equal(quarantine_note(quarantine, 5, 10000), 1);
    assert_int_equal(quarantine_refuses(quarantine, 5, 10000), 0);
    assert_int_equal(quarantine_note(quarantine, 5, 10001), 2);
    assert_int_equal(quarantine_refuses(quarantine, 5, 10002), 1);
    assert_int_equal(quarantine_refuses(quarantine, 6, 10002), 0);
    assert_int_equal(quarantine_refuses(quarantine, 5, 13601), 1);
    assert_int_equal(quarantine_refuses(quarantine, 5, 13602), 0);
    assert_int_equal(quarantine_refused(quarantine), 2);

    /* After an hour it counts anew. */
    assert_int_equal(quarantine_note(quarantine, 5, 13700), 1);
    assert_int_equal(quarantine_refuses(quarantine, 5, 13700), 0);

    /* More than there is room for: the oldest go. */
    for (uint64_t i = 100; i < 1100; i++) {
        quarantine_note(quarantine, i, 20000 + i);
    }
    quarantine_note(quarantine, 1099, 22000);
    assert_int_equal(quarantine_refuses(quarantine, 1099, 22000), 1);
    quarantine_free(quarantine);
}

static void
test_fingerprints_differ(void **state)
{
    quarantine_t *quarantine = quarantine_new();
    request_t rq = { .operation = OPERATION_project_create };
    uint64_t seen[6];

    (void) state;
    rq.body = SLICE("0123456789abcdef0123456789abcdef0123456789abcdef");
    seen[0] = quarantine_fingerprint(quarantine, &rq);
    assert_true(seen[0] == quarantine_fingerprint(quarantine, &rq));
    rq.body.len--;
    seen[1] = quarantine_fingerprint(quarantine, &rq);
    rq.query = SLICE("a");
    seen[2] = quarantine_fingerprint(quarantine, &rq);
    rq.nparams = 1;
    rq.params[0] = SLICE("a");
    seen[3] = quarantine_fingerprint(quarantine, &rq);
    rq.query = SLICE_NONE;
    seen[4] = quarantine_fingerprint(quarantine, &rq);
    rq.operation = OPERATION_project_get;
    seen[5] = quarantine_fingerprint(quarantine, &rq);
    for (int i = 0; i < 6; i++) {
        for (int k = 0; k < i; k++) {
            assert_true(seen[i] != seen[k]);
        }
    }
    quarantine_free(quarantine);
}

/* A process that dies while a fiber serves a request leaves a note. */
typedef struct {
    quarantine_t *quarantine;
    served_t served;
    int signal_number;
} victim_t;

static int *volatile nowhere = (int *) 8;

static void
die(void *arg)
{
    victim_t *victim = arg;

    fiber_set_data(fiber_self(), &victim->served.rq);
    victim->served.rq.fiber = fiber_self();
    if (victim->signal_number == SIGSEGV) {
        *nowhere = 1;
    }
    abort();
}

static void
be_victim(quarantine_t *quarantine, int signal_number)
{
    static uv_loop_t loop;
    static victim_t victim;

    uv_loop_init(&loop);
    victim.quarantine = quarantine;
    victim.signal_number = signal_number;
    victim.served.rq.operation = OPERATION_project_get;
    victim.served.fingerprint = 4711;
    memcpy(victim.served.rq.request_id, "abc", 4);
    quarantine_watch(quarantine);
    fiber_crash_install();
    fiber_spawn(fiber_sched_new(&loop, 4, 4), "victim", die, &victim, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    _exit(0);
}

static void
test_the_dying_leave_a_note(void **state)
{
    static const int signals[] = { SIGSEGV, SIGABRT };
    quarantine_t *quarantine = quarantine_new();
    last_words_t words;

    (void) state;
    for (unsigned i = 0; i < 2; i++) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            be_victim(quarantine, signals[i]);
        }
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), signals[i]);
        assert_int_equal(quarantine_last_words(quarantine, pid, &words), 1);
        assert_int_equal(words.deaths, i + 1);
        assert_int_equal(words.signal, signals[i]);
        assert_int_equal(words.operation, OPERATION_project_get);
        assert_string_equal(words.request_id, "abc");
    }
    assert_int_equal(quarantine_refuses(quarantine, 4711,
        uv_hrtime() / 1000000000), 1);
    quarantine_free(quarantine);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_and_stops),
        cmocka_unit_test(test_restarts_what_dies),
        cmocka_unit_test(test_backs_off),
        cmocka_unit_test(test_reload_takes_the_other_side),
        cmocka_unit_test(test_reload_starts_one_after_the_other),
        cmocka_unit_test(test_reload_keeps_what_works),
        cmocka_unit_test(test_kills_what_does_not_drain),
        cmocka_unit_test(test_replaces_what_hangs),
        cmocka_unit_test(test_leaves_no_orphans),
        cmocka_unit_test(test_quarantine_counts),
        cmocka_unit_test(test_fingerprints_differ),
        cmocka_unit_test(test_the_dying_leave_a_note),
    };

    snprintf(pidfile, sizeof(pidfile), "/tmp/hive-supervisor-test.%d",
        (int) getpid());
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
