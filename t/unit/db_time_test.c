/* db_time_test.c: what takes too long for the database layer: deadlines,
 * time-outs, locks, full queues, and the end of the worker. */

#include "db_harness.h"

/* What a request held is free again as soon as it has gone. */
static void
a_cancelled_transaction_lets_its_locks_go(void **state)
{
    static job_t jobs[2], after[3];
    uint64_t start;
    uv_timer_t timer;
    int i;

    (void) state;
    config.lock_timeout_ms = 2000;
    db_down();
    db_up();
    start = uv_hrtime();
    job_start(&jobs[0], op_hold, 0);
    job_start(&jobs[1], op_hold_in_statement, 0);
    uv_timer_init(&loop, &timer);
    timer.data = jobs;
    uv_timer_start(&timer, canceller, 150, 0);
    loop_for(50);
    /* The pool is empty, both rows are locked. */
    job_start(&after[0], op_transaction_empty, 0);
    job_start(&after[1], op_bump, 1);
    job_start(&after[2], op_bump, 2);
    jobs_wait();
    for (i = 0; i < 2; i++) {
        assert_int_equal(jobs[i].status, 504);
    }
    for (i = 0; i < 3; i++) {
        assert_int_equal(after[i].status, 204);
    }
    assert_true(uv_hrtime() - start < UINT64_C(2000000000));
    assert_string_equal(sql("select sum(n) from cell0.counters"), "2");
    uv_close((uv_handle_t *) &timer, NULL);
    loop_for(20);
}

static void
op_cancelled_before_commit(request_t *rq)
{
    db_begin(rq);
    EXEC(rq, S_COUNT, value_int(1));
    fiber_cancel(fiber_self());
    db_commit(rq);
}

/* Rolled back: the connection need not be given up for it. */
static void
a_commit_that_comes_too_late_is_none(void **state)
{
    uint64_t before = facts().reconnects;

    (void) state;
    assert_int_equal(run(op_cancelled_before_commit, 0), 504);
    assert_int_equal(run(op_transaction_empty, 0), 204);
    loop_for(50);
    assert_int_equal(facts().reconnects, before);
    assert_string_equal(sql("select sum(n) from cell0.counters"), "0");
}

/* A worker that stops says of a change under way that it may happen, and of
 * everything else that it did not. */
static void
a_stopping_worker_does_not_deny_a_change(void **state)
{
    static job_t hold, jobs[3];
    int i;

    (void) state;
    job_start(&hold, op_hold, 0);
    loop_for(30);
    job_start(&jobs[0], op_bump, 1);
    job_start(&jobs[1], op_sleep, 2);
    job_start(&jobs[2], op_hold, 0);
    loop_for(50);
    for (i = 0; i < 3; i++) {
        assert_false(jobs[i].done);
        jobs[i].served.left = LEFT_STOPPING;
        fiber_cancel(jobs[i].fiber);
    }
    loop_for(20);
    fiber_cancel(hold.fiber);
    jobs_wait();
    assert_int_equal(jobs[0].status, 502);
    assert_string_equal(jobs[0].code, "outcome_unknown");
    for (i = 1; i < 3; i++) {
        assert_int_equal(jobs[i].status, 503);
        assert_string_equal(jobs[i].code, "worker_stopping");
    }
    loop_for(50);
}

static void
op_nap(request_t *rq)
{
    db_begin(rq);
    EXEC(rq, S_COUNT, value_int(1));
    EXEC(rq, S_SLEEP, value_float(0.004));
    db_commit(rq);
    done(rq);
}

static void
op_bump_twice(request_t *rq)
{
    db_begin(rq);
    EXEC(rq, S_COUNT, value_int(job_of(rq)->argument));
    EXEC(rq, S_COUNT, value_int(job_of(rq)->argument));
    db_commit(rq);
    done(rq);
}

/* A cancel that comes when its statement has ended hits nobody else's. */
static void
a_late_cancel_hits_no_other_transaction(void **state)
{
    static job_t nap, after[4];
    int round, i;

    (void) state;
    for (round = 0; round < 60; round++) {
        job_start(&nap, op_nap, 0);
        loop_for(5);
        for (i = 0; i < 4; i++) {
            job_start(&after[i], op_bump_twice, i + 2);
        }
        if (!nap.done) {
            fiber_cancel(nap.fiber);
        }
        jobs_wait();
        for (i = 0; i < 4; i++) {
            assert_int_equal(after[i].status, 204);
        }
    }
    assert_string_equal(sql("select sum(n) from cell0.counters where id > 1"),
                        "480");
}

/* Both lanes run a sleeper, with others behind; its deadline frees them. */
static void
a_cancelled_read_frees_its_lane(void **state)
{
    static job_t sleepers[2], others[20];
    uint64_t start;
    uv_timer_t timer;
    int i;

    (void) state;
    config.statement_timeout_ms = 20000;
    db_down();
    db_up();
    start = uv_hrtime();
    for (i = 0; i < 2; i++) {
        job_start(&sleepers[i], op_sleep, 15);
    }
    loop_for(20);
    for (i = 0; i < 20; i++) {
        job_start(&others[i], op_echo, i);
    }
    uv_timer_init(&loop, &timer);
    timer.data = sleepers;
    uv_timer_start(&timer, canceller, 100, 0);
    jobs_wait();
    for (i = 0; i < 2; i++) {
        assert_int_equal(sleepers[i].status, 504);
    }
    for (i = 0; i < 20; i++) {
        assert_int_equal(others[i].status, 204);
    }
    assert_true(uv_hrtime() - start < 2000000000);
    uv_close((uv_handle_t *) &timer, NULL);
    loop_for(20);
}

/* A backend that is stopped answers nothing, not even a cancel: its
 * connection is given up, and what was behind it goes elsewhere. */
static void
a_stopped_backend_is_given_up(void **state)
{
    static job_t jobs[12];
    static job_t stuck[2];
    uv_timer_t timer;
    pid_t pid;
    int i;

    (void) state;
    if (!server.own) {
        return;
    }
    config.statement_timeout_ms = 20000;
    db_down();
    db_up();
    job_start(&stuck[0], op_sleep, 15);
    job_start(&stuck[1], op_echo, 1);
    loop_for(20);
    pid = (pid_t) atol(sql("select pid from pg_stat_activity where"
        " application_name like 'hive-worker%read' and state = 'active'"));
    assert_true(pid > 1);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    for (i = 0; i < 12; i++) {
        job_start(&jobs[i], op_echo, i);
    }
    uv_timer_init(&loop, &timer);
    timer.data = stuck;
    uv_timer_start(&timer, canceller, 100, 0);
    jobs_wait();
    assert_int_equal(stuck[0].status, 504);
    for (i = 0; i < 12; i++) {
        assert_int_equal(jobs[i].status, 204);
    }
    assert_int_equal(kill(pid, SIGCONT), 0);
    wait_until_up();
    uv_close((uv_handle_t *) &timer, NULL);
    loop_for(20);
}

static void
time_outs_are_504(void **state)
{
    static job_t hold;

    (void) state;
    config.statement_timeout_ms = 400;
    db_down();
    db_up();
    assert_int_equal(run(op_sleep, 3), 504);
    assert_string_equal(last.code, "deadline_exceeded");

    job_start(&hold, op_hold, 0);
    loop_for(50);
    job_start(&last, op_bump, 1);
    loop_for(600);
    assert_true(last.done);
    assert_int_equal(last.status, 504);
    fiber_cancel(hold.fiber);
    jobs_wait();
}

static void
the_queue_is_bounded(void **state)
{
    static job_t hold, jobs[20];
    int i, busy = 0;

    (void) state;
    config.queue_max = 5;
    db_down();
    db_up();
    job_start(&hold, op_hold, 0);
    loop_for(250);
    for (i = 0; i < 20; i++) {
        job_start(&jobs[i], op_bump, 1);
    }
    loop_for(50);
    for (i = 0; i < 20; i++) {
        if (jobs[i].done) {
            assert_int_equal(jobs[i].status, 503);
            assert_string_equal(jobs[i].code, "database_busy");
            busy++;
        }
    }
    assert_int_equal(busy, 20 - 3 - 5);
    fiber_cancel(hold.fiber);
    jobs_wait();
    for (i = 0, busy = 0; i < 20; i++) {
        busy += jobs[i].status == 204;
    }
    assert_int_equal(busy, 8);
    assert_int_equal(facts().waiting, 0);
}

/* Stopping answers everyone, and everything is given back. */
static void
stopping_answers_everyone(void **state)
{
    static job_t jobs[30];
    int i;

    (void) state;
    for (i = 0; i < 30; i++) {
        job_start(&jobs[i], i % 3 == 0 ? op_sleep : i % 3 == 1 ? op_hold
                  : op_hold_in_statement, 2);
    }
    loop_for(50);
    for (i = 0; i < 30; i++) {
        if (i % 3 == 1) {
            fiber_cancel(jobs[i].fiber);
        }
    }
    db_down();
    jobs_wait();
    for (i = 0; i < 30; i++) {
        assert_true(jobs[i].status == 503 || jobs[i].status == 504);
    }
    db_up();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cancelled_transaction_lets_its_locks_go),
        TEST(a_commit_that_comes_too_late_is_none),
        TEST(a_stopping_worker_does_not_deny_a_change),
        TEST(a_late_cancel_hits_no_other_transaction),
        TEST(a_cancelled_read_frees_its_lane),
        TEST(a_stopped_backend_is_given_up),
        TEST(time_outs_are_504),
        TEST(the_queue_is_bounded),
        TEST(stopping_answers_everyone)
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
