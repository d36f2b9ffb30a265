/* Promises of fault.h: nothing happens unarmed, the right thing at the right
 * hit when armed, and a malformed HIVE_FAULT is refused. */

#include "workers/runtime/fault.h"
#include "workers/runtime/fiber.h"
#include "workers/runtime/log.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int
arm(const char *spec)
{
    const char *error = NULL;
    int rc;

    setenv("HIVE_FAULT", spec, 1);
    rc = fault_init(&error);
    assert_true((rc == 0) == (error == NULL));
    return rc;
}

/* The signal that ends a process which passes `name` three times; 0: none.
 * *hits tells how often it passed. */
static int
fate(const char *spec, const char *name, int *hits)
{
    int ends[2], status, i;
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit) { 0, 0 });
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        if (arm(spec) != 0) {
            _exit(9);
        }
        for (i = 0; i < 3; i++) {
            fault_point(name);
            if (write(ends[1], "x", 1) != 1) {
                _exit(9);
            }
        }
        _exit(0);
    }
    close(ends[1]);
    waitpid(pid, &status, WUNTRACED);
    if (WIFSTOPPED(status)) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    for (*hits = 0; read(ends[0], &byte, 1) == 1; (*hits)++) {
        continue;
    }
    close(ends[0]);
    return WIFSTOPPED(status) ? WSTOPSIG(status)
        : WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void
the_named_hit_acts(void **state)
{
    int hits;

    (void) state;
    assert_int_equal(fate("p:kill", "p", &hits), SIGKILL);
    assert_int_equal(hits, 0);
    assert_int_equal(fate("other:kill,p:kill:3", "p", &hits), SIGKILL);
    assert_int_equal(hits, 2);
    assert_int_equal(fate("p:abort", "p", &hits), SIGABRT);
    assert_int_equal(fate("p:segv:2", "p", &hits), SIGSEGV);
    assert_int_equal(hits, 1);
    assert_int_equal(fate("p:stop:2", "p", &hits), SIGSTOP);
    assert_int_equal(hits, 1);
    assert_int_equal(fate("p:kill:4", "p", &hits), 0);
    assert_int_equal(fate("pp:kill", "p", &hits), 0);
    assert_int_equal(hits, 3);
}

static void
pass_slowly(void *arg)
{
    fault_point("slow");
    *(uint64_t *) arg = uv_hrtime();
}

static void
a_delay_suspends_the_fiber_only(void **state)
{
    uint64_t ends[2] = { 0, 0 }, before = uv_hrtime();
    fiber_sched_t *sched;
    uv_loop_t loop;

    (void) state;
    assert_int_equal(arm("slow:delay=40"), 0);
    uv_loop_init(&loop);
    sched = fiber_sched_new(&loop, 4, 1);
    fiber_spawn(sched, "one", pass_slowly, &ends[0], NULL);
    fiber_spawn(sched, "two", pass_slowly, &ends[1], NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_in_range((ends[0] - before) / 1000000, 40, 400);
    assert_in_range((ends[1] - before) / 1000000, 40, 400);
    assert_in_range((ends[1] - ends[0]) / 1000000, 0, 30);
    fiber_sched_free(sched);
    uv_loop_close(&loop);
    before = uv_hrtime();
    fault_point("slow");
    assert_true(uv_hrtime() - before >= 40000000);
}

static void
malformed_specs_are_refused(void **state)
{
    static const char *const bad[] = {
        "p", ":kill", "p:", "p:explode", "p:kill:0", "p:kill:x", "p:kill:",
        "p:delay", "p:delay=", "p:delay=-1", "p:delay=9999999999999999999",
        "p:kill,,q:kill", "p:kill:1:2", ",p:kill"
    };
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (arm(bad[i]) == 0) {
            fail_msg("%s", bad[i]);
        }
        assert_false(fault_armed);
    }
    assert_int_equal(arm(""), 0);
    assert_false(fault_armed);
    unsetenv("HIVE_FAULT");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_named_hit_acts),
        cmocka_unit_test(a_delay_suspends_the_fiber_only),
        cmocka_unit_test(malformed_specs_are_refused)
    };

    log_set_level(LOG_LEVEL_ERROR);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
