/* db_lost_test.c: the database changes under a worker, or goes away. */

#include "db_harness.h"

/* ---- the schema ---- */

static void
op_things(request_t *rq)
{
    buf_t out;

    buf_init(&out, rq->arena, 100);
    db_json_rows(&out, db_expect_rows(rq,
        db_exec_values(rq, (query_id_t) S_THING_ALL, NULL, 0)));
    rq_reply(rq, 200, buf_slice(&out));
}

static void
a_changed_result_type_is_followed(void **state)
{
    static job_t jobs[10];
    int i;

    (void) state;
    assert_int_equal(run(op_put, 1), 204);
    for (i = 0; i < 10; i++) {
        job_start(&jobs[i], op_things, 0);
    }
    jobs_wait();
    assert_string_equal(jobs[9].body,
                        "[{\"id\":1,\"name\":\"thing\",\"pair\":null}]");
    sql("alter table cell0.things add column extra int not null default 7");
    for (i = 0; i < 10; i++) {
        job_start(&jobs[i], op_things, 0);
    }
    jobs_wait();
    for (i = 0; i < 10; i++) {
        assert_int_equal(jobs[i].status, 200);
        assert_string_equal(jobs[i].body, "[{\"id\":1,\"name\":\"thing\","
                            "\"pair\":null,\"extra\":7}]");
    }
}

static void
until_reachable(void)
{
    int i;

    for (i = 0; i < 100 && !facts().reachable; i++) {
        loop_for(50);
    }
    assert_true(facts().reachable);
    loop_for(300);
}

static unsigned changes;

static void
changed(void)
{
    changes++;
}

static void
a_wrong_schema_is_told_and_mended(void **state)
{
    int i;

    (void) state;
    db_down();
    sql("delete from sqitch.changes where change = 'second'");
    assert_int_equal(db_start(&loop, &config), 0);
    db_on_change(changed);
    until_reachable();
    for (i = 0; i < 100 && facts().version[0] == '\0'; i++) {
        loop_for(50);
    }
    assert_false(facts().version_ok);
    assert_string_equal(facts().version, "first");
    assert_int_equal(run(op_echo, 1), 204);

    /* The right version; but a statement does not prepare. */
    sql("insert into sqitch.changes values ('2', 'second', 'hive')");
    sql("alter table cell0.counters rename to counted");
    changes = 0;
    loop_for(2500);
    assert_false(facts().version_ok);
    assert_string_equal(facts().version, "second");
    sql("alter table cell0.counted rename to counters");
    for (i = 0; i < 40 && !facts().version_ok; i++) {
        loop_for(100);
    }
    assert_true(facts().version_ok);
    assert_int_equal(changes, 1);
    assert_int_equal(run(op_bump, 1), 204);
    db_on_change(NULL);
}

/* Of many processes one checks: what it has found to fit, others believe, but
 * of no other version, and not of what they have once looked at themselves. */
static void
a_checked_schema_is_not_checked_again(void **state)
{
    static _Atomic uint64_t checked;
    uint64_t found;

    (void) state;
    db_down();
    checked = 0;
    config.checked = &checked;
    db_up();
    found = checked;
    assert_int_not_equal(found, 0);
    db_down();

    /* A statement that does not fit shows who looks. */
    sql("alter table cell0.counters rename to counted");
    db_up();
    assert_int_equal(run(op_echo, 1), 204);
    assert_int_equal(run(op_bump, 1), 500);
    sql("insert into sqitch.changes values ('3', 'third', 'hive')");
    schema_check();
    loop_for(500);
    assert_false(facts().version_ok);
    assert_int_equal(checked, 0);
    checked = found;
    sql("delete from sqitch.changes where change = 'third'");
    schema_check();
    loop_for(500);
    assert_false(facts().version_ok);
    sql("alter table cell0.counted rename to counters");
    schema_check();
    loop_for(500);
    assert_true(facts().version_ok);
    assert_int_equal(run(op_bump, 1), 204);
}

static void
a_database_without_registry_is_no_schema(void **state)
{
    (void) state;
    db_down();
    sql("set client_min_messages = warning; drop schema sqitch cascade");
    assert_int_equal(db_start(&loop, &config), 0);
    until_reachable();
    assert_false(facts().version_ok);
    assert_string_equal(facts().version, "");
}

/* ---- losing the server ---- */

static int stop_load;

static void
op_read_load(request_t *rq)
{
    job_t *job = job_of(rq);

    while (!stop_load) {
        int64_t n = job->argument * 1000000 + job->answer;
        db_row_t row = db_row_at(db_expect_rows(rq,
            EXEC(rq, S_ECHO, value_int(n))), 0);

        assert_int_equal(db_int(&row, "n"), n);
        job->answer++;
        fiber_sleep(1);
    }
    done(rq);
}

/* Each job puts things of its own numbers one after the other, and says how
 * far it got. */
static void
op_write_load(request_t *rq)
{
    job_t *job = job_of(rq);

    while (!stop_load) {
        db_expect_rows(rq, EXEC(rq, S_THING_PUT,
            value_int(job->argument * 1000000 + job->answer),
            value_string("load"), value_null()));
        job->answer++;
        fiber_sleep(1);
    }
    done(rq);
}

static void
op_insert_load(request_t *rq)
{
    job_t *job = job_of(rq);

    while (!stop_load) {
        db_expect_rows(rq, EXEC(rq, S_THING_ADD,
            value_int(job->argument * 1000000 + job->answer),
            value_string("load"), value_null()));
        job->answer++;
        fiber_sleep(1);
    }
    done(rq);
}

static void
op_transaction_load(request_t *rq)
{
    job_t *job = job_of(rq);

    while (!stop_load) {
        db_begin(rq);
        EXEC(rq, S_THING_PUT, value_int(job->argument * 1000000 + job->answer),
             value_string("load"), value_null());
        EXEC(rq, S_COUNT, value_int(job->argument % 10 + 1));
        db_commit(rq);
        job->answer++;
        fiber_sleep(1);
    }
    done(rq);
}

#define LOAD 24

static job_t load[LOAD];

static void
load_start(void)
{
    int i;

    stop_load = 0;
    for (i = 0; i < LOAD; i++) {
        job_start(&load[i], i % 3 == 0 ? op_read_load : i % 3 == 2
                  ? op_transaction_load : i % 2 == 0
                  ? op_insert_load : op_write_load, i + 1);
    }
}

/* What was said to be written is there; what was not is not, save where the
 * outcome was said to be unknown. */
static void
load_check(int *read_failures, int *write_failures)
{
    int i;

    stop_load = 1;
    jobs_wait();
    *read_failures = *write_failures = 0;
    for (i = 0; i < LOAD; i++) {
        job_t *job = &load[i];
        char text[128];
        long found;

        if (i % 3 == 0) {
            if (job->status != 204) {
                print_message("a read: %d %s\n", job->status, job->code);
                ++*read_failures;
            }
            continue;
        }
        *write_failures += job->status != 204;
        snprintf(text, sizeof(text), "select count(*) from cell0.things"
                 " where id / 1000000 = %d", i + 1);
        found = atol(sql(text));
        if (job->status == 502) {
            assert_string_equal(job->code, "outcome_unknown");
            assert_in_range(found, job->answer, job->answer + 1);
        } else {
            assert_true(job->status == 204 || job->status == 503);
            assert_int_equal(found, job->answer);
        }
    }
}

static const char terminate[] = "select count(pg_terminate_backend(pid))"
    " from pg_stat_activity where application_name like 'hive-worker%'";

static void
terminated_backends_are_replaced(void **state)
{
    int round, reads, writes;

    (void) state;
    for (round = 0; round < 3; round++) {
        load_start();
        loop_for(100);
        assert_int_equal(atoi(sql(terminate)), config.read_lanes
                         + config.write_lanes + config.insert_lanes
                         + config.transactions);
        loop_for(400);
        load_check(&reads, &writes);
        /* A backend that is told to end says so first: nothing is lost but
         * what was inside a transaction. */
        assert_int_equal(reads, 0);
        assert_in_range(writes, 0, 8);
        sql("truncate cell0.things");
        wait_until_up();
    }
}

static void
op_bump_after_loss(request_t *rq)
{
    sql(terminate);
    usleep(100000);
    op_bump(rq);
}

/* The loop has not yet seen that the connections are gone. */
static void
idle_connections_that_died_are_noticed(void **state)
{
    static job_t jobs[6];
    int i;

    (void) state;
    sql(terminate);
    usleep(100000);
    for (i = 0; i < 6; i++) {
        job_start(&jobs[i], i % 2 ? op_bump : op_echo, i + 1);
    }
    jobs_wait();
    for (i = 0; i < 6; i++) {
        assert_int_equal(jobs[i].status, 204);
    }
    wait_until_up();
    assert_int_equal(run(op_bump_after_loss, 1), 204);
    assert_string_equal(sql("select sum(n) from cell0.counters"), "4");
}

static void
op_add_one(request_t *rq)
{
    db_expect_rows(rq, EXEC(rq, S_THING_ADD, value_int(job_of(rq)->argument),
        value_string("thing"), value_null()));
    done(rq);
}

/* The second of three waits for a lock when its backend is told to end: the
 * first has been answered, but will not be committed, and is not unknown. */
static void
a_broken_group_of_inserts_is_sent_again(void **state)
{
    static job_t jobs[3];
    PGconn *other = PQconnectdb(server.conninfo);
    int i;

    (void) state;
    assert_int_equal(PQstatus(other), CONNECTION_OK);
    PQclear(PQexec(other, "begin"));
    PQclear(PQexec(other, "insert into cell0.things (id, name)"
                   " values (5001, 'other')"));
    assert_int_equal(PQtransactionStatus(other), PQTRANS_INTRANS);
    for (i = 0; i < 3; i++) {
        job_start(&jobs[i], op_add_one, 5000 + i);
    }
    loop_for(50);
    assert_string_equal(sql("select count(pg_terminate_backend(pid)) from"
        " pg_stat_activity where application_name like 'hive-worker%insert'"
        " and wait_event_type = 'Lock'"), "1");
    PQclear(PQexec(other, "rollback"));
    PQfinish(other);
    jobs_wait();
    for (i = 0; i < 3; i++) {
        assert_int_equal(jobs[i].status, 204);
    }
    assert_string_equal(sql("select count(*) from cell0.things"
                            " where name = 'thing'"), "3");
    wait_until_up();
}

/* kill -9: the server takes all connections down without a word. */
static void
a_crash_loses_nothing_acknowledged(void **state)
{
    int reads, writes;
    pid_t pid;

    (void) state;
    if (!server.own) {
        return;
    }
    load_start();
    loop_for(150);
    pid = (pid_t) atol(sql("select pid from pg_stat_activity where"
        " application_name like 'hive-worker%write' limit 1"));
    assert_true(pid > 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    loop_for(1000);
    wait_until_up();
    loop_for(300);
    load_check(&reads, &writes);
    assert_int_equal(reads, 0);
}

static void
a_restart_is_waited_for(void **state)
{
    int reads, writes;

    (void) state;
    if (!server.own) {
        return;
    }
    load_start();
    loop_for(150);
    assert_int_equal(pg_ctl("restart", "fast"), 0);
    loop_for(1200);
    load_check(&reads, &writes);
    assert_int_equal(reads, 0);
    wait_until_up();
}

static void
without_a_server_the_answer_comes_soon(void **state)
{
    static job_t jobs[9];
    uint64_t start;
    int i;

    (void) state;
    db_down();
    config.conninfo = "host=/nowhere user=nobody";
    assert_int_equal(db_start(&loop, &config), 0);
    start = uv_hrtime();
    for (i = 0; i < 9; i++) {
        job_start(&jobs[i], i % 3 == 0 ? op_echo : i % 3 == 1 ? op_bump
                  : op_transaction_empty, 1);
    }
    jobs_wait();
    for (i = 0; i < 9; i++) {
        assert_int_equal(jobs[i].status, 503);
        assert_string_equal(jobs[i].code, "database_unavailable");
    }
    assert_in_range((uv_hrtime() - start) / 1000000, 1900, 2600);
    assert_false(facts().reachable);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_changed_result_type_is_followed),
        TEST(a_wrong_schema_is_told_and_mended),
        TEST(a_checked_schema_is_not_checked_again),
        TEST(a_database_without_registry_is_no_schema),
        TEST(terminated_backends_are_replaced),
        TEST(idle_connections_that_died_are_noticed),
        TEST(a_broken_group_of_inserts_is_sent_again),
        TEST(a_crash_loses_nothing_acknowledged),
        TEST(a_restart_is_waited_for),
        TEST(without_a_server_the_answer_comes_soon)
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
