/* request_test.c: what a handler may rely on: reading, replying, raising. The
 * server is replaced by a sink that keeps what would go onto the wire. */

#include "workers/runtime/boundary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* What was sent last. */
static struct {
    int replies, heads, chunks, ends;
    uint8_t end_flags;
    int status;
    unsigned nheaders;
    char headers[1024];          /* "name: value\n" */
    char body[4096];
    size_t streamed;
} sent;

static void
keep_reply(served_t *served, wire_type_t type, const wire_reply_t *reply)
{
    size_t n = 0;

    (void) served;
    *(type == WIRE_HEAD ? &sent.heads : &sent.replies) += 1;
    sent.status = reply->status;
    sent.nheaders = reply->nheaders;
    for (unsigned i = 0; i < reply->nheaders; i++) {
        n += (size_t) snprintf(sent.headers + n, sizeof(sent.headers) - n,
            "%.*s: %.*s\n", (int) reply->headers[i].name.len,
            reply->headers[i].name.data, (int) reply->headers[i].value.len,
            reply->headers[i].value.data);
    }
    snprintf(sent.body, sizeof(sent.body), "%.*s", (int) reply->body.len,
        reply->body.data);
    sent.streamed += type == WIRE_HEAD ? reply->body.len : 0;
}

static void
keep_chunk(served_t *served, slice_t bytes)
{
    (void) served;
    sent.chunks++;
    sent.streamed += bytes.len;
}

static void
keep_end(served_t *served, uint8_t flags)
{
    (void) served;
    sent.ends++;
    sent.end_flags = flags;
}

static const reply_sink_t sink = { keep_reply, keep_chunk, keep_end };

static uv_loop_t loop;
static fiber_sched_t *fibers;
static served_t served;
static handler_fn running;

static void
on_fiber(void *arg)
{
    (void) arg;
    served_run(&served, running);
}

static int
setup(void **state)
{
    (void) state;
    memset(&sent, 0, sizeof(sent));
    memset(&served, 0, sizeof(served));
    served.rq.arena = arena_new();
    served.sink = &sink;
    served.loop = &loop;
    served_reset(&served);
    served.rq.operation = OPERATION_project_create;
    served.rq.op = &operations[OPERATION_project_create];
    snprintf(served.rq.request_id, sizeof(served.rq.request_id), "abc");
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    arena_free(served.rq.arena);
    return 0;
}

static void
run(handler_fn handler)
{
    running = handler;
    assert_int_equal(fiber_spawn(fibers, "test", on_fiber, NULL,
        &served.rq.fiber), 0);
    while (fiber_live(fibers) > 0) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

static void
expect_problem(int status, const char *code)
{
    json_t *json;

    assert_int_equal(sent.replies, 1);
    assert_int_equal(sent.status, status);
    assert_non_null(strstr(sent.headers,
        "content-type: application/problem+json\n"));
    json = json_loads(sent.body, 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "code")),
        code);
    assert_string_equal(json_string_value(json_object_get(json, "type")),
        "about:blank");
    assert_string_equal(json_string_value(json_object_get(json, "title")),
        problem_title(status));
    assert_string_equal(
        json_string_value(json_object_get(json, "request_id")), "abc");
    json_decref(json);
}

/* ---- replying ---- */

static void
reply_handler(request_t *rq)
{
    char value[] = "\"1\"";

    rq_reply_header(rq, "etag", SLICE("\"0\""));
    rq_reply_header(rq, "etag", (slice_t) { value, 3 });
    memset(value, 'x', sizeof(value));   /* it was copied */
    rq_reply(rq, 200, SLICE("{}"));
}

static void
test_reply(void **state)
{
    (void) state;
    run(reply_handler);
    assert_int_equal(sent.replies, 1);
    assert_int_equal(sent.status, 200);
    assert_string_equal(sent.headers,
        "content-type: application/json\netag: \"1\"\n");
    assert_string_equal(sent.body, "{}");
    assert_int_equal(served.rq.status, 200);
}

static void
empty_handler(request_t *rq)
{
    rq_reply(rq, 204, SLICE("ignored"));
}

static void
test_no_content(void **state)
{
    (void) state;
    run(empty_handler);
    assert_int_equal(sent.status, 204);
    assert_string_equal(sent.headers, "");
    assert_string_equal(sent.body, "");
}

static void
typed_handler(request_t *rq)
{
    rq_reply_header(rq, "content-type", SLICE("text/plain"));
    rq_reply(rq, 200, SLICE("plain"));
}

static void
test_content_type_is_kept(void **state)
{
    (void) state;
    run(typed_handler);
    assert_string_equal(sent.headers, "content-type: text/plain\n");
}

static void
silent_handler(request_t *rq)
{
    (void) rq;
}

static void
test_no_reply_is_a_failure(void **state)
{
    (void) state;
    run(silent_handler);
    expect_problem(500, "internal_error");
}

/* ---- the hook ---- */

static int hooked;

static void
count_hook(request_t *rq, int status, slice_t body)
{
    hooked++;
    assert_int_equal(rq->replied, 0);
    assert_int_equal(status, 200);
    assert_memory_equal(body.data, "{}", 2);
}

static void
hooked_handler(request_t *rq)
{
    rq_reply_hook(rq, count_hook);
    rq_reply(rq, 200, SLICE("{}"));
}

static void
refusing_hook(request_t *rq, int status, slice_t body)
{
    (void) status;
    (void) body;
    rq_raise(rq, 502, "outcome_unknown", "the commit was not confirmed");
}

static void
refused_handler(request_t *rq)
{
    rq_reply_hook(rq, refusing_hook);
    rq_reply_header(rq, "location", SLICE("/x"));
    rq_reply(rq, 201, SLICE("{}"));
}

static void
test_hook(void **state)
{
    (void) state;
    hooked = 0;
    run(hooked_handler);
    assert_int_equal(hooked, 1);
    assert_int_equal(sent.status, 200);
}

static void
test_hook_may_raise(void **state)
{
    (void) state;
    run(refused_handler);
    expect_problem(502, "outcome_unknown");
    assert_null(strstr(sent.headers, "location"));
}

/* ---- raising ---- */

static void
raising_handler(request_t *rq)
{
    rq_reply_header(rq, "etag", SLICE("\"1\""));
    rq_raise(rq, 409, "conflict", "it says \"%s\" %c\n", "no\xff", 0x01);
}

static void
test_raise(void **state)
{
    (void) state;
    run(raising_handler);
    expect_problem(409, "conflict");
    assert_non_null(strstr(sent.body,
        "it says \\\"no\\ufffd\\\" \\u0001\\u000a"));
    assert_null(strstr(sent.headers, "etag"));
}

static void
busy_handler(request_t *rq)
{
    rq_raise(rq, 503, "database_unavailable", "come back");
}

static void
busy_later_handler(request_t *rq)
{
    rq_reply_header(rq, "retry-after", SLICE("7"));
    busy_handler(rq);
}

static void
test_retry_after(void **state)
{
    (void) state;
    run(busy_handler);
    expect_problem(503, "database_unavailable");
    assert_non_null(strstr(sent.headers, "retry-after: 1\n"));
    teardown(state);
    setup(state);
    run(busy_later_handler);
    assert_non_null(strstr(sent.headers, "retry-after: 7\n"));
}

static void
invalid_handler(request_t *rq)
{
    char field[] = "name";

    rq_check(rq);
    rq_invalid(rq, field, "required", "is required");
    field[0] = 'x';
    rq_invalid(rq, "max", "too_large", "is above %d", 5);
    rq_check(rq);
    rq_reply(rq, 200, SLICE("{}"));
}

static void
test_invalid_fields(void **state)
{
    (void) state;
    run(invalid_handler);
    expect_problem(422, "invalid_fields");
    assert_non_null(strstr(sent.body, "\"errors\":[{\"field\":\"name\","
        "\"code\":\"required\",\"message\":\"is required\"},{\"field\":"
        "\"max\",\"code\":\"too_large\",\"message\":\"is above 5\"}]"));
}

static int inner_status, outer_status;

static void
raise_inner(request_t *rq, void *arg)
{
    assert_string_equal(arg, "arg");
    rq_raise(rq, 404, "inner", "x");
}

static void
try_inner(request_t *rq, void *arg)
{
    inner_status = rq_try(rq, raise_inner, arg);
    rq_reraise(rq);
}

static void
succeed(request_t *rq, void *arg)
{
    (void) rq;
    (void) arg;
}

static void
trying_handler(request_t *rq)
{
    assert_int_equal(rq_try(rq, succeed, NULL), 0);
    outer_status = rq_try(rq, try_inner, "arg");
    if (rq->query.len == 0) {
        rq_reraise(rq);
    }
    rq_reply(rq, 200, SLICE("handled"));
}

static void
test_try_nests(void **state)
{
    (void) state;
    run(trying_handler);
    assert_int_equal(inner_status, 404);
    assert_int_equal(outer_status, 404);
    expect_problem(404, "inner");

    teardown(state);
    setup(state);
    served.rq.query = SLICE("handle");
    run(trying_handler);
    assert_int_equal(sent.status, 200);
}

static void
cancelled_handler(request_t *rq)
{
    fiber_cancel(rq->fiber);
    if (fiber_sleep(1000) != 0) {
        rq_raise_cancelled(rq);
    }
}

static void
test_cancelled(void **state)
{
    (void) state;
    run(cancelled_handler);
    expect_problem(504, "deadline_exceeded");

    teardown(state);
    setup(state);
    served.left = LEFT_STOPPING;
    run(cancelled_handler);
    expect_problem(503, "worker_stopping");

    teardown(state);
    setup(state);
    served.left = LEFT_CLIENT;
    run(cancelled_handler);
    assert_int_equal(sent.replies, 0);
    assert_int_equal(served.rq.status, 499);
}

static void
late_handler(request_t *rq)
{
    rq_reply(rq, 200, SLICE("{}"));
    rq_raise(rq, 500, "internal_error", "after the reply");
}

static void
test_raise_after_reply(void **state)
{
    (void) state;
    run(late_handler);
    assert_int_equal(sent.replies, 1);
    assert_int_equal(sent.status, 200);
}

/* ---- reading ---- */

static void
header_handler(request_t *rq)
{
    assert_true(slice_equal(rq_header(rq, "accept"), SLICE("*/*")));
    assert_null(rq_header(rq, "accep").data);
    assert_null(rq_header(rq, "if-match").data);
    assert_true(slice_equal(rq_param(rq, 0), SLICE("one")));
    assert_null(rq_param(rq, 1).data);
    rq_param_uuid(rq, 0);
}

static void
test_headers_and_params(void **state)
{
    (void) state;
    served.rq.nheaders = 1;
    served.rq.headers[0] = (wire_header_t) { SLICE("accept"), SLICE("*/*") };
    served.rq.nparams = 1;
    served.rq.params[0] = SLICE("one");
    run(header_handler);
    expect_problem(422, "invalid_parameter");
}

static void
query_handler(request_t *rq)
{
    size_t count;
    const query_arg_t *args = rq_query(rq, &count);
    buf_t text;

    assert_ptr_equal(args, rq_query(rq, &count));
    buf_init(&text, rq->arena, 16);
    for (size_t i = 0; i < count; i++) {
        buf_printf(&text, "[%.*s|%.*s]", (int) args[i].name.len,
            args[i].name.data, (int) args[i].value.len, args[i].value.data);
    }
    rq_reply(rq, 200, buf_slice(&text));
}

static void
expect_query(void **state, slice_t query, const char *body)
{
    teardown(state);
    setup(state);
    served.rq.query = query;
    run(query_handler);
    assert_int_equal(sent.status, 200);
    assert_string_equal(sent.body, body);
}

static void
refuse_query(void **state, slice_t query, int status, const char *code)
{
    teardown(state);
    setup(state);
    served.rq.query = query;
    run(query_handler);
    expect_problem(status, code);
}

static void
test_query(void **state)
{
    char many[65 * 5];

    expect_query(state, SLICE_NONE, "");
    expect_query(state, SLICE("a=1&b=x%20y+z&c&d=&=e"),
        "[a|1][b|x y z][c|][d|][|e]");
    expect_query(state, SLICE("&&a=b=c&"), "[a|b=c]");
    expect_query(state, SLICE("n%61me=%E2%82%AC%2B"), "[name|\xe2\x82\xac+]");
    refuse_query(state, SLICE("a=%"), 400, "malformed_query");
    refuse_query(state, SLICE("a=%4"), 400, "malformed_query");
    refuse_query(state, SLICE("a=%zz"), 400, "malformed_query");
    refuse_query(state, SLICE("a=%00"), 400, "malformed_query");
    refuse_query(state, SLICE("a=%ff"), 400, "malformed_query");
    refuse_query(state, SLICE("a=1&%61=2"), 422, "repeated_parameter");
    for (int i = 0; i < 65; i++) {
        memcpy(many + 5 * i, "x00=&", 5);
        many[5 * i + 1] = (char) ('0' + i / 10);
        many[5 * i + 2] = (char) ('0' + i % 10);
    }
    refuse_query(state, (slice_t) { many, 65 * 5 }, 400, "malformed_query");
}

static void
json_handler(request_t *rq)
{
    json_t *json = rq_json(rq);

    assert_ptr_equal(json, rq_json(rq));
    rq_reply_json(rq, 200, json);
}

static void
take_json(void **state, slice_t body)
{
    teardown(state);
    setup(state);
    served.rq.body = body;
    run(json_handler);
    assert_int_equal(sent.status, 200);
    assert_int_equal(strlen(sent.body), body.len);
    assert_memory_equal(sent.body, body.data, body.len);
}

static void
refuse_json(void **state, slice_t body, int status, const char *code)
{
    teardown(state);
    setup(state);
    served.rq.body = body;
    run(json_handler);
    expect_problem(status, code);
}

static void
test_json(void **state)
{
    char deep[200];

    take_json(state, SLICE("{}"));
    take_json(state, SLICE("{\"a\":[1,{\"b\":null}],\"c\":\"\\\"[[\"}"));
    refuse_json(state, SLICE_NONE, 400, "malformed_json");
    refuse_json(state, SLICE("{\"a\":}"), 400, "malformed_json");
    refuse_json(state, SLICE("{} x"), 400, "malformed_json");
    refuse_json(state, SLICE("{\"a\":\"\xff\"}"), 400, "malformed_json");
    refuse_json(state, SLICE("{\"a\":1,\"a\":2}"), 400, "duplicate_member");
    refuse_json(state, SLICE("{\"a\":\"\\u0000\"}"), 400, "nul_character");
    refuse_json(state, SLICE("[1]"), 422, "not_an_object");
    refuse_json(state, SLICE("7"), 422, "not_an_object");
    memset(deep, '[', sizeof(deep));
    refuse_json(state, (slice_t) { deep, sizeof(deep) }, 400,
        "malformed_json");
}

/* ---- streams ---- */

static char piece[100000];

static void
stream_handler(request_t *rq)
{
    rq_stream_begin(rq, 200, "application/x-ndjson");
    rq_stream_chunk(rq, (slice_t) { piece, sizeof(piece) });
    rq_stream_chunk(rq, (slice_t) { piece, 10 });
    rq_stream_end(rq);
}

/* Pieces are at most 64 KiB; the first travels in the head without credit. */
static void
test_stream(void **state)
{
    (void) state;
    served.credit = 2;
    run(stream_handler);
    assert_int_equal(sent.heads, 1);
    assert_int_equal(sent.chunks, 2);
    assert_int_equal(sent.streamed, sizeof(piece) + 10);
    assert_int_equal(sent.ends, 1);
    assert_int_equal(sent.end_flags, 0);
    assert_int_equal(served.credit, 0);
    assert_string_equal(sent.headers, "content-type: application/x-ndjson\n");
}

static void
test_stream_of_a_head_request(void **state)
{
    (void) state;
    served.rq.flags = WIRE_HEAD_ONLY;
    run(stream_handler);
    assert_int_equal(sent.heads, 1);
    assert_int_equal(sent.chunks, 0);
    assert_int_equal(sent.streamed, 0);
    assert_int_equal(sent.ends, 1);
}

static void
early_failure_handler(request_t *rq)
{
    rq_stream_begin(rq, 200, "application/x-ndjson");
    rq_raise(rq, 404, "project_not_found", "before the first chunk");
}

static void
late_failure_handler(request_t *rq)
{
    rq_stream_begin(rq, 200, "application/x-ndjson");
    rq_stream_chunk(rq, SLICE("{}\n"));
    rq_raise(rq, 404, "project_not_found", "after the first chunk");
}

static void
unended_handler(request_t *rq)
{
    rq_stream_begin(rq, 200, "application/x-ndjson");
    rq_stream_chunk(rq, SLICE("{}\n"));
}

static void
test_stream_failures(void **state)
{
    (void) state;
    run(early_failure_handler);
    expect_problem(404, "project_not_found");

    teardown(state);
    setup(state);
    run(late_failure_handler);
    assert_int_equal(sent.heads, 1);
    assert_int_equal(sent.replies, 0);
    assert_int_equal(sent.ends, 1);
    assert_int_equal(sent.end_flags, WIRE_END_FAILED);

    teardown(state);
    setup(state);
    run(unended_handler);
    assert_int_equal(sent.ends, 1);
    assert_int_equal(sent.end_flags, WIRE_END_FAILED);
}

static void
time_handler(request_t *rq)
{
    rq->deadline = (uv_now(&loop) + 500) * 1000000;
    assert_in_range(rq_time_left(rq), 499, 500);
    rq->deadline = (uv_now(&loop) - 1) * 1000000;
    assert_int_equal(rq_time_left(rq), 0);
    rq_reply(rq, 204, SLICE_NONE);
}

static void
test_time_left(void **state)
{
    (void) state;
    run(time_handler);
    assert_int_equal(sent.status, 204);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reply),
        TEST(test_no_content),
        TEST(test_content_type_is_kept),
        TEST(test_no_reply_is_a_failure),
        TEST(test_hook),
        TEST(test_hook_may_raise),
        TEST(test_raise),
        TEST(test_retry_after),
        TEST(test_invalid_fields),
        TEST(test_try_nests),
        TEST(test_cancelled),
        TEST(test_raise_after_reply),
        TEST(test_headers_and_params),
        TEST(test_query),
        TEST(test_json),
        TEST(test_stream),
        TEST(test_stream_of_a_head_request),
        TEST(test_stream_failures),
        TEST(test_time_left),
    };
    int failed;

    uv_loop_init(&loop);
    fibers = fiber_sched_new(&loop, 8, 8);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    fiber_sched_free(fibers);
    uv_loop_close(&loop);
    return failed;
}
