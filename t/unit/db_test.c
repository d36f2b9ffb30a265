/* db_test.c: what handlers may rely on when they speak to the database,
 * against a real server: one of its own in a temporary directory, which it
 * also kills, or the one of HIVE_TEST_CONNINFO, which it does not. */

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
static int
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

static char *
in_dir(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", server.dir, name);
    return path;
}

static int
pg_ctl(const char *action, const char *mode)
{
    const char *const argv[] = {
        PGBIN "/pg_ctl", "-s", "-D", in_dir("data"), "-l", in_dir("log"),
        "-w", "-m", mode, action, NULL
    };

    return as_postgres(argv);
}

static void
server_settings(void)
{
    FILE *file = fopen(in_dir("data/postgresql.conf"), "a");

    assert_non_null(file);
    fprintf(file, "listen_addresses = ''\nunix_socket_directories = '%s'\n"
            "fsync = off\nmax_connections = 60\nshared_buffers = 16MB\n"
            "autovacuum = off\n", server.dir);
    fclose(file);
}

static int
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

static int
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
static const char *
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
    S_TYPES, S_EVENT, S_BLOB, S_THING_ALL, STATEMENTS };

static const query_t statements[STATEMENTS] = {
    [S_ECHO] = { "echo", "select $1::int8 as n", 1 },
    [S_DIVIDE] = { "divide", "select 1000 / $1::int8 as n", 1 },
    [S_SLEEP] = { "sleep", "select pg_sleep($1::float8)", 1 },
    [S_THING_GET] = { "thing_get",
        "select id, name from things where id = $1::int8", 1 },
    [S_THING_PUT] = { "thing_put", "insert into things (id, name, pair)"
        " values ($1::int8, $2::text, $3::int8) returning id", 0 },
    [S_COUNT] = { "count",
        "update counters set n = n + 1 where id = $1::int8 returning n", 0 },
    [S_TYPES] = { "types", "select $1::bool as b, $2::int2 as i2, $3::int4 as"
        " i4, $4::int8 as i8, $5::float8 as f, $6::text as t, $7::uuid as u,"
        " $8::timestamptz as at, $9::jsonb as j, $10::bytea as by,"
        " $11::text[] as ts, $12::uuid[]::text[] as us, $13::json as js,"
        " $14::float4 as f4", 1 },
    [S_EVENT] = { "event", "select 'a:1'::text as _channel, $1::int8 as"
        " _offset, 'a.made'::text as _event, '{\"x\":1}'::jsonb as"
        " _event_data, to_timestamp(1) as _event_time", 0 },
    [S_BLOB] = { "blob", "select $1::text || $1::text as t", 1 },
    [S_THING_ALL] = { "thing_all", "select * from things order by id", 1 }
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

static job_t *
job_of(request_t *rq)
{
    return (job_t *) rq;
}

static void
sink_reply(served_t *served, wire_type_t type, const wire_reply_t *reply)
{
    job_t *job = (job_t *) served;

    (void) type;
    job->status = reply->status;
    snprintf(job->body, sizeof(job->body), "%.*s", (int) reply->body.len,
             reply->body.data);
}

static const reply_sink_t sink = { sink_reply, NULL, NULL };

static void
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

static void
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

static void
jobs_wait(void)
{
    while (jobs_running > 0) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

/* Runs one handler to its end; returns the status. */
static job_t last;

static int
run(handler_fn fn, int64_t argument)
{
    job_start(&last, fn, argument);
    jobs_wait();
    return last.status;
}

static void
wake_loop(uv_timer_t *timer)
{
    (void) timer;
}

static void
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

static db_facts_t
facts(void)
{
    db_facts_t out;

    db_facts(&out);
    return out;
}

static db_config_t config;

static void
db_up(void)
{
    int i;

    config.conninfo = server.conninfo;
    assert_int_equal(db_start(&loop, &config), 0);
    for (i = 0; i < 1000 && !(facts().version_ok && facts().reachable
         && facts().read_lanes_up == config.read_lanes
         && facts().write_lanes_up == config.write_lanes
         && facts().transactions_up == config.transactions); i++) {
        loop_for(10);
    }
    assert_true(facts().version_ok);
}

static void
stopped(void *arg)
{
    *(int *) arg = 1;
}

static void
db_down(void)
{
    int done = 0;

    db_stop(stopped, &done);
    while (!done) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

static int
setup(void **state)
{
    (void) state;
    sql(schema_sql);
    config = (db_config_t) {
        .cell_schema = "cell0", .read_lanes = 2, .write_lanes = 3,
        .transactions = 2, .queue_max = 1000, .statement_timeout_ms = 3000,
        .lock_timeout_ms = 300, .schema_version = "second",
        .statements = statements, .nstatements = STATEMENTS
    };
    db_up();
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    db_down();
    return 0;
}

#define EXEC(rq, which, ...) db_exec(rq, (query_id_t) (which), __VA_ARGS__)

static void
done(request_t *rq)
{
    rq_reply(rq, 204, SLICE_NONE);
}

/* ---- values ---- */

static value_t
texts(const slice_t *items, size_t count)
{
    value_t value = { .type = VALUE_TEXTS };

    value.as.texts.items = items;
    value.as.texts.count = count;
    return value;
}

static value_t
uuids(const hive_uuid_t *items, size_t count)
{
    value_t value = { .type = VALUE_UUIDS };

    value.as.uuids.items = items;
    value.as.uuids.count = count;
    return value;
}

static void
op_types(request_t *rq)
{
    static const slice_t items[] = { { "a", 1 }, { NULL, 0 }, { "c,d", 3 } };
    hive_uuid_t uuid;
    const db_row_t *row;

    uuid_parse("0190a5c1-0000-7abc-8def-0123456789ab", 36, &uuid);
    row = db_first_row(rq, EXEC(rq, S_TYPES, value_bool(1), value_int(-2),
        value_int(-70000), value_int(INT64_MIN), value_float(0.5),
        value_text(SLICE("gr\xc3\xbc\xc3\x9f")), value_uuid(uuid),
        value_time(1720000000123456), value_json(SLICE("{\"a\":[1]}")),
        value_bytes(SLICE("\0\xff")), texts(items, 3), uuids(&uuid, 1),
        value_json(SLICE("[2]")), value_float(0.25)));
    assert_int_equal(db_time(row, "at"), 1720000000123456);
    db_reply_row(rq, 200, row);
}

static void
op_nulls(request_t *rq)
{
    value_t null = value_null();

    db_reply_row(rq, 200, db_first_row(rq, EXEC(rq, S_TYPES, null, null, null,
        null, null, null, null, null, null, null, null, null, null, null)));
}

static void
op_empty(request_t *rq)
{
    value_t null = value_null();

    db_reply_row(rq, 200, db_first_row(rq, EXEC(rq, S_TYPES, value_bool(0),
        null, null, null, null, value_text(SLICE_NONE), null, null, null,
        value_bytes(SLICE_NONE), texts(NULL, 0), uuids(NULL, 0), null,
        null)));
}

static void
op_too_large(request_t *rq)
{
    value_t null = value_null();
    const db_result_t *result = EXEC(rq, S_TYPES, null, value_int(32768), null,
        null, null, null, null, null, null, null, null, null, null, null);

    assert_int_equal(result->violation, DB_CHECK);
    done(rq);
}

static void
op_misfit(request_t *rq)
{
    EXEC(rq, S_ECHO, value_string("1"));
}

static void
types_go_there_and_back(void **state)
{
    (void) state;
    assert_int_equal(run(op_types, 0), 200);
    assert_string_equal(last.body, "{\"b\":true,\"i2\":-2,\"i4\":-70000,"
        "\"i8\":-9223372036854775808,\"f\":0.5,"
        "\"t\":\"gr\xc3\xbc\xc3\x9f\","
        "\"u\":\"0190a5c1-0000-7abc-8def-0123456789ab\","
        "\"at\":\"2024-07-03T09:46:40.123456Z\",\"j\":{\"a\": [1]},"
        "\"by\":\"AP8=\",\"ts\":[\"a\",\"\",\"c,d\"],"
        "\"us\":[\"0190a5c1-0000-7abc-8def-0123456789ab\"],\"js\":[2],"
        "\"f4\":0.25}");
    assert_int_equal(run(op_nulls, 0), 200);
    assert_non_null(strstr(last.body, "\"i2\":null"));
    assert_int_equal(run(op_empty, 0), 200);
    assert_non_null(strstr(last.body, "\"t\":\"\""));
    assert_non_null(strstr(last.body, "\"by\":\"\",\"ts\":[],\"us\":[]"));
    assert_int_equal(run(op_too_large, 0), 204);
    assert_int_equal(run(op_misfit, 0), 500);
}

/* ---- reads in groups ---- */

static void
op_mixed_reads(request_t *rq)
{
    unsigned seed = (unsigned) job_of(rq)->argument;
    int i;

    for (i = 0; i < 60; i++) {
        int64_t n = rand_r(&seed) % 5;
        const db_result_t *result;
        db_row_t row;

        if (rand_r(&seed) % 3 != 0) {
            n += (int64_t) rand_r(&seed) << 8;
            result = EXEC(rq, S_ECHO, value_int(n));
            row = db_row_at(db_expect_rows(rq, result), 0);
            assert_int_equal(db_int(&row, "n"), n);
            continue;
        }
        result = EXEC(rq, S_DIVIDE, value_int(n));
        if (n == 0) {
            assert_int_equal(result->violation, DB_CHECK);
            continue;
        }
        row = db_row_at(db_expect_rows(rq, result), 0);
        assert_int_equal(db_int(&row, "n"), 1000 / n);
    }
    done(rq);
}

static void
a_failing_read_spares_its_neighbours(void **state)
{
    static job_t jobs[200];
    uint64_t before = facts().resent;
    int i;

    (void) state;
    for (i = 0; i < 200; i++) {
        job_start(&jobs[i], op_mixed_reads, i + 1);
    }
    jobs_wait();
    for (i = 0; i < 200; i++) {
        assert_int_equal(jobs[i].status, 204);
    }
    assert_true(facts().resent > before);
}

/* A statement labelled (read) that writes is refused by the lane. */
static void
op_write_as_read(request_t *rq)
{
    db_exec_text(rq, SLICE("update counters set n = 0"), 1, NULL, 0);
}

static void
read_lanes_do_not_write(void **state)
{
    (void) state;
    assert_int_equal(run(op_write_as_read, 0), 500);
    assert_string_equal(last.code, "database_error");
}

static void
op_blob(request_t *rq)
{
    size_t size = (size_t) job_of(rq)->argument;
    char *text = arena_alloc(rq->arena, size);
    const db_row_t *row;

    memset(text, 'x', size);
    row = db_first_row(rq, EXEC(rq, S_BLOB,
                                value_text((slice_t) { text, size })));
    assert_int_equal(db_text(row, "t").len, 2 * size);
    done(rq);
}

static void
large_values_do_not_block(void **state)
{
    static job_t jobs[24];
    int i;

    (void) state;
    for (i = 0; i < 24; i++) {
        job_start(&jobs[i], op_blob, i % 3 == 0 ? 4000000 : 30000);
    }
    jobs_wait();
    for (i = 0; i < 24; i++) {
        assert_int_equal(jobs[i].status, 204);
    }
}

/* ---- writes ---- */

static void
op_put(request_t *rq)
{
    const db_result_t *result = EXEC(rq, S_THING_PUT,
        value_int(job_of(rq)->argument), value_string("thing"),
        value_null());

    job_of(rq)->answer = (int64_t) result->violation;
    db_expect_rows(rq, result);
    done(rq);
}

static void
op_put_bad(request_t *rq)
{
    const db_result_t *result = EXEC(rq, S_THING_PUT, value_int(1),
                                     value_string("bad"), value_null());

    assert_int_equal(result->violation, DB_CHECK);
    assert_string_equal(result->constraint, "things_name_check");
    assert_true(*result->message != '\0');
    done(rq);
}

/* The statement succeeds; its commit does not. */
static void
op_put_dangling(request_t *rq)
{
    const db_result_t *result = EXEC(rq, S_THING_PUT, value_int(2),
                                     value_string("x"), value_int(99));

    assert_int_equal(result->violation, DB_FOREIGN_KEY);
    assert_int_equal(result->nrows, 0);
    assert_string_equal(result->constraint, "things_pair");
    done(rq);
}

static void
violations_are_results(void **state)
{
    (void) state;
    assert_int_equal(run(op_put, 1), 204);
    assert_int_equal(run(op_put, 1), 409);
    assert_string_equal(last.code, "conflict");
    assert_int_equal(last.answer, DB_UNIQUE);
    assert_int_equal(run(op_put_bad, 0), 204);
    assert_int_equal(run(op_put_dangling, 0), 204);
    assert_string_equal(sql("select count(*) from cell0.things"), "1");
    assert_int_equal(run(op_put, 2), 204);
}

static void
op_count(request_t *rq)
{
    int i;

    for (i = 0; i < 20; i++) {
        db_first_row(rq, EXEC(rq, S_COUNT, value_int(job_of(rq)->argument)));
    }
    done(rq);
}

static void
writes_are_each_committed(void **state)
{
    static job_t jobs[40];
    int i;

    (void) state;
    for (i = 0; i < 40; i++) {
        job_start(&jobs[i], op_count, i % 10 + 1);
    }
    jobs_wait();
    for (i = 0; i < 40; i++) {
        assert_int_equal(jobs[i].status, 204);
    }
    assert_string_equal(sql("select sum(n) from cell0.counters"), "800");
}

/* ---- transactions ---- */

static void
op_transaction(request_t *rq)
{
    int64_t n = job_of(rq)->argument;

    db_begin(rq);
    EXEC(rq, S_THING_PUT, value_int(2 * n), value_string("a"),
         value_int(2 * n + 1));
    EXEC(rq, S_THING_PUT, value_int(2 * n + 1), value_string("b"),
         value_int(2 * n));
    assert_non_null(db_first_row(rq, EXEC(rq, S_THING_GET,
                                          value_int(2 * n))));
    if (n % 3 == 1) {
        rq_raise(rq, 418, "teapot", "on purpose");
    }
    if (n % 3 == 2) {
        db_rollback(rq);
    } else {
        db_commit(rq);
    }
    assert_null(rq->transaction);
    done(rq);
}

static void
transactions_are_whole_or_nothing(void **state)
{
    static job_t jobs[60];
    int i;

    (void) state;
    for (i = 0; i < 60; i++) {
        job_start(&jobs[i], op_transaction, i);
    }
    jobs_wait();
    for (i = 0; i < 60; i++) {
        assert_int_equal(jobs[i].status, i % 3 == 1 ? 418 : 204);
    }
    assert_string_equal(sql("select count(*) || ' ' || sum(id / 2 % 3) from"
                            " cell0.things"), "40 0");
    loop_for(50);
    assert_int_equal(facts().transactions_up, 2);
}

static void
op_transaction_conflict(request_t *rq)
{
    db_begin(rq);
    EXEC(rq, S_COUNT, value_int(1));
    assert_int_equal(EXEC(rq, S_THING_PUT, value_int(5), value_string("bad"),
                          value_null())->violation, DB_CHECK);
    db_commit(rq);
}

static void
op_transaction_dangling(request_t *rq)
{
    db_begin(rq);
    EXEC(rq, S_COUNT, value_int(1));
    EXEC(rq, S_THING_PUT, value_int(5), value_string("x"), value_int(77));
    db_commit(rq);
}

static void
op_transaction_empty(request_t *rq)
{
    db_begin(rq);
    db_commit(rq);
    db_begin(rq);
    db_rollback(rq);
    done(rq);
}

static void
a_failed_commit_is_not_a_success(void **state)
{
    int i;

    (void) state;
    for (i = 0; i < 5; i++) {
        assert_int_equal(run(op_transaction_conflict, 0), 409);
        assert_int_equal(run(op_transaction_dangling, 0), 409);
        assert_int_equal(run(op_transaction_empty, 0), 204);
    }
    assert_string_equal(sql("select sum(n) from cell0.counters"), "0");
}

static void
op_hold(request_t *rq)
{
    db_begin(rq);
    EXEC(rq, S_COUNT, value_int(1));
    if (fiber_sleep(20000) != 0) {
        rq_raise_cancelled(rq);
    }
}

static void
op_hold_in_statement(request_t *rq)
{
    db_begin(rq);
    EXEC(rq, S_COUNT, value_int(2));
    EXEC(rq, S_SLEEP, value_float(2.5));
}

static void
op_bump(request_t *rq)
{
    db_first_row(rq, EXEC(rq, S_COUNT, value_int(job_of(rq)->argument)));
    done(rq);
}

static void
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

/* What a request held is free again as soon as it has gone. */
static void
a_cancelled_transaction_lets_its_locks_go(void **state)
{
    static job_t jobs[2], after[3];
    uint64_t start = uv_hrtime();
    uv_timer_t timer;
    int i;

    (void) state;
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
    assert_true(uv_hrtime() - start < 1500000000);
    assert_string_equal(sql("select sum(n) from cell0.counters"), "2");
    uv_close((uv_handle_t *) &timer, NULL);
    loop_for(20);
}

/* ---- time ---- */

static void
op_sleep(request_t *rq)
{
    EXEC(rq, S_SLEEP, value_float((double) job_of(rq)->argument));
    done(rq);
}

static void
op_echo(request_t *rq)
{
    int64_t n = job_of(rq)->argument;
    const db_row_t *row = db_first_row(rq, EXEC(rq, S_ECHO, value_int(n)));

    assert_int_equal(db_int(row, "n"), n);
    done(rq);
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
    loop_for(50);
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

/* ---- events ---- */

static int64_t published[16];
static unsigned npublished;

static void
event_sink(const event_t *event)
{
    assert_true(slice_equal(event->channel, SLICE("a:1")));
    assert_true(slice_equal(event->type, SLICE("a.made")));
    assert_true(slice_equal(event->data, SLICE("{\"x\": 1}")));
    assert_int_equal(event->time, 1000000);
    assert_true(npublished < 16);
    published[npublished++] = event->offset;
}

static void
publish(request_t *rq, int64_t offset)
{
    event_publish(rq, db_first_row(rq, EXEC(rq, S_EVENT, value_int(offset))));
}

static void
op_events(request_t *rq)
{
    publish(rq, 1);
    assert_int_equal(npublished, 1);
    db_begin(rq);
    publish(rq, 2);
    publish(rq, 3);
    assert_int_equal(npublished, 1);
    db_commit(rq);
    assert_int_equal(npublished, 3);
    db_begin(rq);
    publish(rq, 4);
    db_rollback(rq);
    publish(rq, 5);
    done(rq);
}

static void
events_follow_the_commit(void **state)
{
    (void) state;
    npublished = 0;
    event_set_sink(event_sink);
    assert_int_equal(run(op_events, 0), 204);
    assert_int_equal(npublished, 4);
    assert_int_equal(published[2], 3);
    assert_int_equal(published[3], 5);
    event_set_sink(NULL);
}

/* ---- composed statements ---- */

static void
op_composed(request_t *rq)
{
    unsigned seed = (unsigned) job_of(rq)->argument;
    int i;

    for (i = 0; i < 100; i++) {
        int k = rand_r(&seed) % 700;
        char *text = arena_printf(rq->arena,
            "select $1::int8 + %d as n", k);
        value_t value = value_int(i);
        const db_row_t *row = db_first_row(rq, db_exec_text(rq,
            (slice_t) { text, strlen(text) }, k & 1, &value, 1));

        assert_int_equal(db_int(row, "n"), i + k);
    }
    done(rq);
}

/* More texts than are kept, on all lanes at once. */
static void
composed_statements_come_and_go(void **state)
{
    static job_t jobs[40];
    int i;

    (void) state;
    for (i = 0; i < 40; i++) {
        job_start(&jobs[i], op_composed, i + 1);
    }
    jobs_wait();
    for (i = 0; i < 40; i++) {
        assert_int_equal(jobs[i].status, 204);
    }
}

static void
op_composed_wrong(request_t *rq)
{
    db_exec_text(rq, SLICE("select no_such_column"), 1, NULL, 0);
}

static void
a_wrong_text_fails_alone(void **state)
{
    static job_t jobs[20];
    int i;

    (void) state;
    for (i = 0; i < 20; i++) {
        job_start(&jobs[i], i % 4 == 0 ? op_composed_wrong : op_echo, i);
    }
    jobs_wait();
    for (i = 0; i < 20; i++) {
        assert_int_equal(jobs[i].status, i % 4 == 0 ? 500 : 204);
    }
}

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
    loop_for(300);
    assert_true(facts().reachable);
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

static void
a_database_without_registry_is_no_schema(void **state)
{
    (void) state;
    db_down();
    sql("drop schema sqitch cascade");
    assert_int_equal(db_start(&loop, &config), 0);
    loop_for(300);
    assert_true(facts().reachable);
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
        job_start(&load[i], i % 3 == 0 ? op_read_load : i % 3 == 1
                  ? op_write_load : op_transaction_load, i + 1);
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

static void
wait_until_up(void)
{
    int i;

    for (i = 0; i < 100 && !(facts().read_lanes_up == config.read_lanes
         && facts().write_lanes_up == config.write_lanes
         && facts().transactions_up == config.transactions); i++) {
        loop_for(50);
    }
    assert_int_equal(facts().write_lanes_up, config.write_lanes);
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
        assert_int_equal(atoi(sql(terminate)), 7);
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
    assert_string_equal(sql("select sum(n) from cell0.counters"), "3");
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
                  : op_transaction, 1);
    }
    jobs_wait();
    for (i = 0; i < 9; i++) {
        assert_int_equal(jobs[i].status, 503);
        assert_string_equal(jobs[i].code, "database_unavailable");
    }
    assert_in_range((uv_hrtime() - start) / 1000000, 1900, 2600);
    assert_false(facts().reachable);
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

static int
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

static int
group_teardown(void **state)
{
    fiber_sched_free(fibers);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return server_teardown(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(types_go_there_and_back),
        TEST(a_failing_read_spares_its_neighbours),
        TEST(read_lanes_do_not_write),
        TEST(large_values_do_not_block),
        TEST(violations_are_results),
        TEST(writes_are_each_committed),
        TEST(transactions_are_whole_or_nothing),
        TEST(a_failed_commit_is_not_a_success),
        TEST(a_cancelled_transaction_lets_its_locks_go),
        TEST(a_cancelled_read_frees_its_lane),
        TEST(time_outs_are_504),
        TEST(the_queue_is_bounded),
        TEST(events_follow_the_commit),
        TEST(composed_statements_come_and_go),
        TEST(a_wrong_text_fails_alone),
        TEST(a_changed_result_type_is_followed),
        TEST(a_wrong_schema_is_told_and_mended),
        TEST(a_database_without_registry_is_no_schema),
        TEST(terminated_backends_are_replaced),
        TEST(idle_connections_that_died_are_noticed),
        TEST(a_crash_loses_nothing_acknowledged),
        TEST(a_restart_is_waited_for),
        TEST(without_a_server_the_answer_comes_soon),
        TEST(stopping_answers_everyone)
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
