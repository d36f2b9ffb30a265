/* db_harness.h: what the tests of the database layer share: a Postgres of
 * their own in a temporary directory (or that of HIVE_TEST_CONNINFO, which
 * is not killed), a schema, and handlers run on fibers as a worker does. */

#ifndef HIVE_DB_HARNESS_H
#define HIVE_DB_HARNESS_H

#include "workers/db/event.h"
#include "workers/db/internal.h"
#include "workers/runtime/boundary.h"
#include "workers/runtime/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PGBIN "/usr/lib/postgresql/15/bin"

/* ---- a server ---- */

static struct {
    char dir[64];
    char conninfo[512];
    int own;
} server;

/* As the user postgres when started as root. Waits; returns the status. */
static inline int
as_postgres(const char *const argv[])
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);

        dup2(null, 0);
        dup2(null, 1);
        if (geteuid() == 0) {
            const struct passwd *user = getpwnam("postgres");

            if (user == NULL || setgid(user->pw_gid) != 0
                || setuid(user->pw_uid) != 0) {
                _exit(126);
            }
        }
        if (chdir(server.dir) != 0) {
            _exit(125);
        }
        execv(argv[0], (char *const *) (uintptr_t) argv);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0) {
        assert_int_equal(errno, EINTR);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static inline char *
in_dir(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", server.dir, name);
    return path;
}

static inline int
pg_ctl(const char *action, const char *mode)
{
    const char *const argv[] = {
        PGBIN "/pg_ctl", "-s", "-D", in_dir("data"), "-l", in_dir("log"),
        "-w", "-m", mode, action, NULL
    };

    return as_postgres(argv);
}

static inline void
server_settings(void)
{
    FILE *file = fopen(in_dir("data/postgresql.conf"), "a");

    assert_non_null(file);
    fprintf(file, "listen_addresses = ''\nunix_socket_directories = '%s'\n"
            "fsync = off\nmax_connections = 60\nshared_buffers = 16MB\n"
            "autovacuum = off\n", server.dir);
    fclose(file);
}

static inline int
server_setup(void **state)
{
    const char *given = getenv("HIVE_TEST_CONNINFO");
    const char *const initdb[] = {
        PGBIN "/initdb", "-D", in_dir("data"), "-U", "postgres", "-A",
        "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", NULL
    };

    (void) state;
    if (given != NULL) {
        snprintf(server.conninfo, sizeof(server.conninfo), "%s", given);
        return 0;
    }
    strcpy(server.dir, "/tmp/hive-db-test-XXXXXX");
    assert_non_null(mkdtemp(server.dir));
    assert_int_equal(chmod(server.dir, 0755), 0);
    if (geteuid() == 0) {
        const struct passwd *user = getpwnam("postgres");

        assert_non_null(user);
        assert_int_equal(chown(server.dir, user->pw_uid, user->pw_gid), 0);
    }
    /* in_dir was called before the directory had its name. */
    snprintf((char *) (uintptr_t) initdb[2], 128, "%s/data", server.dir);
    assert_int_equal(as_postgres(initdb), 0);
    server_settings();
    assert_int_equal(pg_ctl("start", "fast"), 0);
    snprintf(server.conninfo, sizeof(server.conninfo),
             "host=%s user=postgres dbname=postgres", server.dir);
    server.own = 1;
    return 0;
}

static inline int
server_teardown(void **state)
{
    const char *const rm[] = { "/bin/rm", "-rf", server.dir, NULL };

    (void) state;
    if (server.own) {
        pg_ctl("stop", "immediate");
        chdir("/");
        as_postgres(rm);
        rmdir(server.dir);
    }
    return 0;
}

/* On a connection of its own; the first field as text, "" if there is none. */
static inline const char *
sql(const char *text)
{
    static char value[256];
    PGconn *pg = PQconnectdb(server.conninfo);
    PGresult *result;

    if (PQstatus(pg) != CONNECTION_OK) {
        fail_msg("connecting: %s", PQerrorMessage(pg));
    }
    result = PQexec(pg, text);
    if (PQresultStatus(result) != PGRES_TUPLES_OK
        && PQresultStatus(result) != PGRES_COMMAND_OK) {
        fail_msg("%s: %s", text, PQerrorMessage(pg));
    }
    value[0] = '\0';
    if (PQntuples(result) > 0) {
        snprintf(value, sizeof(value), "%s", PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    PQfinish(pg);
    return value;
}

static const char schema_sql[] =
    "set client_min_messages = warning;"
    "drop schema if exists hive, cell0, sqitch cascade;"
    "create schema hive; create schema cell0; create schema sqitch;"
    "create table sqitch.changes (change_id text primary key,"
    " change text not null, project text not null,"
    " committed_at timestamptz not null default clock_timestamp());"
    "insert into sqitch.changes values ('1', 'first', 'hive'),"
    " ('2', 'second', 'hive');"
    "create table cell0.things (id bigint primary key, name text not null,"
    " pair bigint, constraint things_name_check check (name <> 'bad'));"
    "alter table cell0.things add constraint things_pair foreign key (pair)"
    " references cell0.things (id) deferrable initially deferred;"
    "create table cell0.counters (id bigint primary key, n bigint not null)"
    " with (fillfactor = 50);"
    "insert into cell0.counters select i, 0 from generate_series(1, 10) i;";

/* ---- statements of the test ---- */

enum { S_ECHO, S_DIVIDE, S_SLEEP, S_THING_GET, S_THING_PUT, S_COUNT,
    S_TYPES, S_EVENT, S_BLOB, S_THING_ALL, S_THING_ADD, STATEMENTS };

static const query_t statements[STATEMENTS] = {
    [S_ECHO] = { "echo", "select $1::int8 as n", LANE_READ },
    [S_DIVIDE] = { "divide", "select 1000 / $1::int8 as n", LANE_READ },
    [S_SLEEP] = { "sleep", "select pg_sleep($1::float8)", LANE_READ },
    [S_THING_GET] = { "thing_get",
        "select id, name from things where id = $1::int8", LANE_READ },
    [S_THING_PUT] = { "thing_put", "insert into things (id, name, pair)"
        " values ($1::int8, $2::text, $3::int8) returning id", LANE_WRITE },
    [S_COUNT] = { "count",
        "update counters set n = n + 1 where id = $1::int8 returning n", LANE_WRITE },
    [S_TYPES] = { "types", "select $1::bool as b, $2::int2 as i2, $3::int4 as"
        " i4, $4::int8 as i8, $5::float8 as f, $6::text as t, $7::uuid as u,"
        " $8::timestamptz as at, $9::jsonb as j, $10::bytea as by,"
        " $11::text[] as ts, $12::uuid[]::text[] as us, $13::json as js,"
        " $14::float4 as f4", LANE_READ },
    [S_EVENT] = { "event", "select 'a:1'::text as _channel, $1::int8 as"
        " _offset, 'a.made'::text as _event, '{\"x\":1}'::jsonb as"
        " _event_data, to_timestamp(1) as _event_time", LANE_WRITE },
    [S_BLOB] = { "blob", "select $1::text || $1::text as t", LANE_READ },
    [S_THING_ALL] = { "thing_all", "select * from things order by id", LANE_READ },
    [S_THING_ADD] = { "thing_add", "insert into things (id, name, pair)"
        " values ($1::int8, $2::text, $3::int8) returning id", LANE_INSERT }
};

/* ---- a worker ---- */

static uv_loop_t loop;
static fiber_sched_t *fibers;

typedef struct {
    served_t served;
    handler_fn fn;
    fiber_t *fiber;
    int done;
    int status;
    char code[64];
    char body[512];
    int64_t argument;
    int64_t answer;
} job_t;

static unsigned jobs_running;

static inline job_t *
job_of(request_t *rq)
{
    return (job_t *) rq;
}

static inline void
sink_reply(served_t *served, wire_type_t type, const wire_reply_t *reply)
{
    job_t *job = (job_t *) served;

    (void) type;
    job->status = reply->status;
    snprintf(job->body, sizeof(job->body), "%.*s", (int) reply->body.len,
             reply->body.data);
}

static const reply_sink_t sink = { sink_reply, NULL, NULL };

static inline void
job_main(void *arg)
{
    job_t *job = arg;

    served_run(&job->served, job->fn);
    if (job->served.problem.status != 0) {
        job->status = job->served.problem.status;
        snprintf(job->code, sizeof(job->code), "%s",
                 job->served.problem.code);
    }
    arena_free(job->served.rq.arena);
    job->fiber = NULL;
    job->done = 1;
    jobs_running--;
}

static inline void
job_start(job_t *job, handler_fn fn, int64_t argument)
{
    memset(job, 0, sizeof(*job));
    job->served.sink = &sink;
    job->served.loop = &loop;
    served_reset(&job->served);
    job->served.rq.arena = arena_new();
    job->served.rq.op = &operations[0];
    job->served.rq.deadline = uv_hrtime() + UINT64_C(30000000000);
    job->fn = fn;
    job->argument = argument;
    assert_int_equal(fiber_spawn(fibers, "job", job_main, job, &job->fiber),
                     0);
    job->served.rq.fiber = job->fiber;
    jobs_running++;
}

static inline void
jobs_wait(void)
{
    while (jobs_running > 0) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

/* Runs one handler to its end; returns the status. */
static job_t last;

static inline int
run(handler_fn fn, int64_t argument)
{
    job_start(&last, fn, argument);
    jobs_wait();
    return last.status;
}

static inline void
wake_loop(uv_timer_t *timer)
{
    (void) timer;
}

static inline void
loop_for(uint64_t ms)
{
    uint64_t end = uv_hrtime() + ms * 1000000;
    uv_timer_t timer;

    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, wake_loop, 5, 5);
    while (uv_hrtime() < end) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *) &timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static inline db_facts_t
facts(void)
{
    db_facts_t out;

    db_facts(&out);
    return out;
}

static db_config_t config;

static inline void
db_up(void)
{
    int i;

    config.conninfo = server.conninfo;
    assert_int_equal(db_start(&loop, &config), 0);
    for (i = 0; i < 1000 && !(facts().version_ok && facts().reachable
         && facts().read_lanes_up == config.read_lanes
         && facts().write_lanes_up == config.write_lanes
         && facts().insert_lanes_up == config.insert_lanes
         && facts().transactions_up == config.transactions); i++) {
        loop_for(10);
    }
    assert_true(facts().version_ok);
}

static inline void
stopped(void *arg)
{
    *(int *) arg = 1;
}

static inline void
db_down(void)
{
    int done = 0;

    db_stop(stopped, &done);
    while (!done) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

static inline int
setup(void **state)
{
    (void) state;
    sql(schema_sql);
    config = (db_config_t) {
        .cell_schema = "cell0", .read_lanes = 2, .write_lanes = 3,
        .insert_lanes = 2,
        .transactions = 2, .queue_max = 1000, .statement_timeout_ms = 3000,
        .lock_timeout_ms = 300, .schema_version = "second",
        .statements = statements, .nstatements = STATEMENTS
    };
    db_up();
    return 0;
}

static inline int
teardown(void **state)
{
    (void) state;
    db_down();
    return 0;
}

#define EXEC(rq, which, ...) db_exec(rq, (query_id_t) (which), __VA_ARGS__)

static inline void
done(request_t *rq)
{
    rq_reply(rq, 204, SLICE_NONE);
}

/* ---- handlers of several tests ---- */

static inline void
op_put(request_t *rq)
{
    const db_result_t *result = EXEC(rq, S_THING_PUT,
        value_int(job_of(rq)->argument), value_string("thing"),
        value_null());

    job_of(rq)->answer = (int64_t) result->violation;
    db_expect_rows(rq, result);
    done(rq);
}

static inline void
op_hold(request_t *rq)
{
    db_begin(rq);
    EXEC(rq, S_COUNT, value_int(1));
    if (fiber_sleep(20000) != 0) {
        rq_raise_cancelled(rq);
    }
}

static inline void
op_hold_in_statement(request_t *rq)
{
    db_begin(rq);
    EXEC(rq, S_COUNT, value_int(2));
    EXEC(rq, S_SLEEP, value_float(2.5));
}

static inline void
op_bump(request_t *rq)
{
    db_first_row(rq, EXEC(rq, S_COUNT, value_int(job_of(rq)->argument)));
    done(rq);
}

static inline void
op_transaction_empty(request_t *rq)
{
    db_begin(rq);
    db_commit(rq);
    db_begin(rq);
    db_rollback(rq);
    done(rq);
}

static inline void
op_sleep(request_t *rq)
{
    EXEC(rq, S_SLEEP, value_float((double) job_of(rq)->argument));
    done(rq);
}

static inline void
op_echo(request_t *rq)
{
    int64_t n = job_of(rq)->argument;
    const db_row_t *row = db_first_row(rq, EXEC(rq, S_ECHO, value_int(n)));

    assert_int_equal(db_int(row, "n"), n);
    done(rq);
}

static inline void
canceller(uv_timer_t *timer)
{
    job_t *jobs = timer->data;
    int i;

    for (i = 0; i < 2; i++) {
        if (!jobs[i].done) {
            fiber_cancel(jobs[i].fiber);
        }
    }
}

static inline void
wait_until_up(void)
{
    int i;

    for (i = 0; i < 100 && !(facts().read_lanes_up == config.read_lanes
         && facts().write_lanes_up == config.write_lanes
         && facts().insert_lanes_up == config.insert_lanes
         && facts().transactions_up == config.transactions); i++) {
        loop_for(50);
    }
    assert_int_equal(facts().write_lanes_up, config.write_lanes);
}

/* ---- groups of tests ---- */

static inline int
group_setup(void **state)
{
    log_set_level(getenv("HIVE_TEST_LOG") == NULL ? LOG_LEVEL_ERROR + 1
                  : LOG_LEVEL_DEBUG);
    if (server_setup(state) != 0 || uv_loop_init(&loop) != 0) {
        return -1;
    }
    fibers = fiber_sched_new(&loop, 1000, 100);
    return fibers == NULL ? -1 : 0;
}

static inline int
group_teardown(void **state)
{
    /* First: a failed test may leave handles and fibers behind. */
    server_teardown(state);
    assert_int_equal(jobs_running, 0);
    fiber_sched_free(fibers);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
