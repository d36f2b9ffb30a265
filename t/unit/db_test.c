/* db_test.c: what handlers may rely on when they run statements: values,
 * groups of reads, writes, transactions, events, composed texts. */

#include "db_harness.h"

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
        "\"by\":\"AP8=\",\"ts\":[\"a\",null,\"c,d\"],"
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
    db_exec_text(rq, SLICE("update counters set n = 0"), LANE_READ, NULL,
                 0);
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


/* ---- rows that commit together ---- */

/* One in seven is refused at once, one in seven at the commit. */
static void
op_add(request_t *rq)
{
    int64_t id = 1000 + job_of(rq)->argument;
    const db_result_t *result = EXEC(rq, S_THING_ADD, value_int(id),
        value_string(id % 7 == 0 ? "bad" : "good"),
        id % 7 == 1 ? value_int(-1) : value_null());

    assert_int_equal(result->violation, id % 7 == 0 ? DB_CHECK
                     : id % 7 == 1 ? DB_FOREIGN_KEY : DB_OK);
    if (id % 7 > 1) {
        db_row_t row = db_row_at(result, 0);

        assert_int_equal(db_int(&row, "id"), id);
    }
    done(rq);
}

static void
inserts_share_a_commit_and_no_failure(void **state)
{
    static job_t jobs[280];
    uint64_t before = facts().resent;
    int i;

    (void) state;
    for (i = 0; i < 280; i++) {
        job_start(&jobs[i], op_add, i);
    }
    jobs_wait();
    for (i = 0; i < 280; i++) {
        assert_int_equal(jobs[i].status, 204);
    }
    assert_true(facts().resent > before);
    assert_string_equal(sql("select count(*) from cell0.things"
                            " where id >= 1000"), "200");
    /* Without failures there are far fewer transactions than rows. */
    for (i = 0; i < 280; i++) {
        job_start(&jobs[i], op_add, 1004 + i / 5 * 7 + i % 5);
    }
    jobs_wait();
    assert_string_equal(sql("select count(*) = 280 and"
                            " count(distinct xmin::text) * 4 < count(*)"
                            " from cell0.things where id >= 2000"), "t");
    sql("delete from cell0.things where id >= 1000");
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

static void
op_forget(request_t *rq)
{
    db_exec_text(rq, SLICE("deallocate all"), 1, NULL, 0);
    done(rq);
}

/* As a pooler in between may do. */
static void
forgotten_statements_are_prepared_again(void **state)
{
    static job_t jobs[20];
    int i;

    (void) state;
    for (i = 0; i < 20; i++) {
        job_start(&jobs[i], i % 5 == 2 ? op_forget : op_echo, i);
    }
    jobs_wait();
    for (i = 0; i < 20; i++) {
        assert_int_equal(jobs[i].status, 204);
    }
}

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
        TEST(inserts_share_a_commit_and_no_failure),
        TEST(events_follow_the_commit),
        TEST(composed_statements_come_and_go),
        TEST(a_wrong_text_fails_alone),
        TEST(forgotten_statements_are_prepared_again)
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
