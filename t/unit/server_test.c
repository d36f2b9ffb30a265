/* server_test.c: what a module may rely on when it speaks to a worker: a
 * thread speaks the wire over ipc, as the module does, to a real server. */

#include "workers/runtime/boundary.h"
#include "workers/runtime/server.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define IN_FLIGHT_MAX 64
#define CHUNK_SIZE    1000
#define CHUNKS        10

/* ---- the worker's side ---- */

static struct {
    uv_loop_t loop;
    fiber_sched_t *fibers;
    void *context;
    quarantine_t *quarantine;
    char endpoint[128];
    uv_async_t client_done;
    unsigned drain_ms;
    int drained;
    int cleaned;             /* arena clean-ups that ran */
} worker;

static void
count_cleanup(void *arg)
{
    ++*(int *) arg;
}

static void
handle_get(request_t *rq)
{
    rq_reply_header(rq, "etag", SLICE("\"7\""));
    rq_reply(rq, 200, rq_param(rq, 0));
}

static void
handle_sleep(request_t *rq)
{
    arena_cleanup(rq->arena, count_cleanup, &worker.cleaned);
    if (fiber_sleep(20000) != 0) {
        rq_raise_cancelled(rq);
    }
    rq_reply(rq, 204, SLICE_NONE);
}

static void
handle_stream(request_t *rq)
{
    static char bytes[CHUNK_SIZE];

    memset(bytes, 'x', sizeof(bytes));
    rq_stream_begin(rq, 200, "application/x-ndjson");
    for (int i = 0; i < CHUNKS; i++) {
        if (rq->query.len > 0 && i == 2) {
            rq_raise(rq, 500, "internal_error", "broken on purpose");
        }
        rq_stream_chunk(rq, (slice_t) { bytes, sizeof(bytes) });
    }
    rq_stream_end(rq);
}

static void
handle_length(request_t *rq)
{
    char text[32];
    int len;

    /* The slices outlive the turn that brought them. */
    fiber_sleep(20);
    len = snprintf(text, sizeof(text), "%zu %c", rq->body.len,
        rq->body.data[rq->body.len - 1]);
    rq_reply(rq, 200, (slice_t) { text, (size_t) len });
}

static void
dispatch(request_t *rq)
{
    switch (rq->operation) {
    case OPERATION_project_get:
        handle_get(rq);
        break;
    case OPERATION_project_delete:
        handle_sleep(rq);
        break;
    case OPERATION_project_list:
        handle_stream(rq);
        break;
    case OPERATION_project_config_put:
        handle_length(rq);
        break;
    case OPERATION_project_create:
        rq_reply_json(rq, 201, rq_json(rq));
        break;
    case OPERATION_auth_me:
        break;               /* forgets to reply */
    default:
        rq_raise(rq, 404, "project_not_found", "there is no \"%s\"", "it");
    }
}

static int
is_ready(void)
{
    return 1;
}

static void
put_facts(buf_t *out)
{
    buf_puts(out, "{\"test\":true}");
}

static void
on_drained(void *arg)
{
    (void) arg;
    worker.drained = 1;
    uv_close((uv_handle_t *) &worker.client_done, NULL);
}

static void
on_client_done(uv_async_t *async)
{
    (void) async;
    server_drain(worker.drain_ms, on_drained, NULL);
}

/* ---- the module's side ---- */

typedef struct {
    void *context;
    void *socket;
    wire_buf_t out;
    zmq_msg_t in;
    wire_reader_t reader;
    int has_message;
    int messages;            /* received */
    wire_reply_t reply;
    wire_beat_t beat;
} client_t;

typedef void (*client_fn)(client_t *client);

static client_fn client_body;

static void
client_open(client_t *client)
{
    int linger = 0, timeout = 5000;

    memset(client, 0, sizeof(*client));
    client->context = zmq_ctx_new();
    client->socket = zmq_socket(client->context, ZMQ_DEALER);
    zmq_setsockopt(client->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(client->socket, ZMQ_RCVTIMEO, &timeout, sizeof(timeout));
    assert_int_equal(zmq_connect(client->socket, worker.endpoint), 0);
}

static void
client_close(client_t *client)
{
    if (client->has_message) {
        zmq_msg_close(&client->in);
    }
    wire_buf_release(&client->out);
    zmq_close(client->socket);
    zmq_ctx_term(client->context);
}

static void
put_request(client_t *client, uint64_t id, const char *operation,
    uint32_t deadline_ms, slice_t param, slice_t query, slice_t body)
{
    wire_request_t rq;

    memset(&rq, 0, sizeof(rq));
    rq.operation = (slice_t) { operation, strlen(operation) };
    rq.deadline_ms = deadline_ms;
    rq.request_id[0] = 0xab;
    rq.nparams = 1;
    rq.params[0] = param;
    rq.query = query;
    rq.nheaders = 1;
    rq.headers[0] = (wire_header_t) { SLICE("accept"), SLICE("*/*") };
    rq.body = body;
    assert_int_equal(wire_put_request(&client->out, id, &rq), WIRE_OK);
}

static void
put_simple(client_t *client, uint64_t id, const char *operation)
{
    put_request(client, id, operation, 30000, SLICE("p"), SLICE_NONE,
        SLICE_NONE);
}

static void
client_send(client_t *client)
{
    wire_buf_finish(&client->out);
    assert_true(zmq_send(client->socket, client->out.data, client->out.len, 0)
        > 0);
    wire_buf_reset(&client->out);
}

/* The next record that is not a beat, or a beat when asked for. 0 when
 * nothing comes for `timeout_ms`. */
static int
client_next(client_t *client, wire_record_t *record, int beats,
    int timeout_ms)
{
    zmq_setsockopt(client->socket, ZMQ_RCVTIMEO, &timeout_ms,
        sizeof(timeout_ms));
    for ( ;; ) {
        if (client->has_message) {
            int rc = wire_next(&client->reader, record);

            assert_true(rc >= 0);
            if (rc > 0 && (record->type == WIRE_BEAT) == (beats != 0)) {
                return 1;
            }
            if (rc > 0) {
                continue;
            }
            zmq_msg_close(&client->in);
            client->has_message = 0;
        }
        zmq_msg_init(&client->in);
        if (zmq_msg_recv(&client->in, client->socket, 0) < 0) {
            return 0;
        }
        client->has_message = 1;
        client->messages++;
        assert_int_equal(wire_reader_init(&client->reader,
            zmq_msg_data(&client->in), zmq_msg_size(&client->in)), WIRE_OK);
    }
}

static void
expect_record(client_t *client, wire_record_t *record, wire_type_t type,
    uint64_t id)
{
    assert_int_equal(client_next(client, record, 0, 5000), 1);
    assert_int_equal(record->type, type);
    assert_true(record->id == id);
}

static void
expect_reply(client_t *client, uint64_t id, int status)
{
    wire_record_t record;

    expect_record(client, &record, WIRE_REPLY, id);
    assert_int_equal(wire_get_reply(&record, &client->reply), WIRE_OK);
    assert_int_equal(client->reply.status, status);
}

static void
expect_body(client_t *client, const char *body)
{
    assert_int_equal(client->reply.body.len, strlen(body));
    assert_memory_equal(client->reply.body.data, body, strlen(body));
}

static void
expect_problem(client_t *client, uint64_t id, int status, const char *code)
{
    json_t *json;

    expect_reply(client, id, status);
    json = json_loadb(client->reply.body.data, client->reply.body.len, 0,
        NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "code")),
        code);
    assert_int_equal(json_integer_value(json_object_get(json, "status")),
        status);
    assert_string_equal(
        json_string_value(json_object_get(json, "request_id")),
        "ab000000000000000000000000000000");
    json_decref(json);
}

static void
client_ping(client_t *client, uint8_t flags)
{
    assert_int_equal(wire_put_ping(&client->out, flags, 77), WIRE_OK);
    client_send(client);
}

static void
expect_beat(client_t *client)
{
    wire_record_t record;

    assert_int_equal(client_next(client, &record, 1, 5000), 1);
    assert_int_equal(wire_get_beat(&record, &client->beat), WIRE_OK);
}

/* Asks until nothing is in flight any more. */
static void
expect_idle(client_t *client)
{
    for (int i = 0; i < 200; i++) {
        client_ping(client, 0);
        expect_beat(client);
        if (client->beat.in_flight == 0) {
            return;
        }
        usleep(10000);
    }
    fail_msg("requests stay in flight");
}

static slice_t
reply_header(const client_t *client, const char *name)
{
    for (unsigned i = 0; i < client->reply.nheaders; i++) {
        if (slice_equal(client->reply.headers[i].name,
                (slice_t) { name, strlen(name) })) {
            return client->reply.headers[i].value;
        }
    }
    return SLICE_NONE;
}

static void *
client_thread(void *arg)
{
    client_t client;

    (void) arg;
    client_open(&client);
    client_body(&client);
    client_close(&client);
    uv_async_send(&worker.client_done);
    return NULL;
}

/* Runs `body` as a module beside a worker, which is drained when it is done.
 */
static void
with_worker(client_fn body)
{
    pthread_t thread;
    server_config_t config;

    memset(&worker, 0, sizeof(worker));
    worker.drain_ms = 5000;
    snprintf(worker.endpoint, sizeof(worker.endpoint),
        "ipc:///tmp/hive-server-test.%d", (int) getpid());
    uv_loop_init(&worker.loop);
    worker.fibers = fiber_sched_new(&worker.loop, IN_FLIGHT_MAX, 16);
    assert_non_null(worker.fibers);
    worker.context = zmq_ctx_new();
    worker.quarantine = quarantine_new();
    uv_async_init(&worker.loop, &worker.client_done, on_client_done);

    config = (server_config_t) {
        .loop = &worker.loop, .fibers = worker.fibers,
        .zmq_context = worker.context, .endpoint = worker.endpoint,
        .in_flight_max = IN_FLIGHT_MAX, .quarantine = worker.quarantine,
        .dispatch = dispatch, .ready = is_ready, .facts = put_facts,
    };
    assert_int_equal(server_start(&config), 0);

    client_body = body;
    assert_int_equal(pthread_create(&thread, NULL, client_thread, NULL), 0);
    while (!worker.drained) {
        uv_run(&worker.loop, UV_RUN_ONCE);
    }
    pthread_join(thread, NULL);

    fiber_sched_free(worker.fibers);
    uv_run(&worker.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&worker.loop), 0);
    quarantine_free(worker.quarantine);
    zmq_ctx_term(worker.context);
}

/* ---- tests ---- */

static void
reply_client(client_t *client)
{
    put_request(client, 1, "project_get", 1000, SLICE("the id"), SLICE_NONE,
        SLICE_NONE);
    client_send(client);
    expect_reply(client, 1, 200);
    expect_body(client, "the id");
    assert_true(slice_equal(reply_header(client, "etag"), SLICE("\"7\"")));
    assert_true(slice_equal(reply_header(client, "content-type"),
        SLICE("application/json")));

    put_simple(client, 2, "project_update");
    client_send(client);
    expect_problem(client, 2, 404, "project_not_found");

    put_simple(client, 3, "auth_me");
    client_send(client);
    expect_problem(client, 3, 500, "internal_error");

    put_simple(client, 4, "from_the_future");
    client_send(client);
    expect_problem(client, 4, 501, "operation_unknown");

    put_request(client, 5, "project_create", 1000, SLICE("p"), SLICE_NONE,
        SLICE("{\"a\":[1,2.5,\"x\"]}"));
    client_send(client);
    expect_reply(client, 5, 201);
    expect_body(client, "{\"a\":[1,2.5,\"x\"]}");
}

static void
test_reply(void **state)
{
    (void) state;
    with_worker(reply_client);
}

/* One message with many requests is answered by few messages, each request
 * once. */
static void
batch_client(client_t *client)
{
    for (int turn = 0; turn < 200; turn++) {
        unsigned char seen[50] = { 0 };
        wire_record_t record;

        for (unsigned i = 0; i < 50; i++) {
            char text[16];
            int len = snprintf(text, sizeof(text), "%u.%d", i, turn);

            put_request(client, (uint64_t) turn << 32 | i, "project_get",
                5000, (slice_t) { text, (size_t) len }, SLICE_NONE,
                SLICE_NONE);
        }
        client_send(client);

        client->messages = 0;
        for (unsigned n = 0; n < 50; n++) {
            char text[16];
            unsigned i;

            assert_int_equal(client_next(client, &record, 0, 5000), 1);
            i = (uint32_t) record.id;
            assert_true(record.id >> 32 == (uint64_t) turn);
            assert_true(i < 50 && !seen[i]);
            seen[i] = 1;
            wire_get_reply(&record, &client->reply);
            snprintf(text, sizeof(text), "%u.%d", i, turn);
            expect_body(client, text);
        }
        assert_in_range(client->messages, 1, 3);
    }
    expect_idle(client);
}

static void
test_batch(void **state)
{
    (void) state;
    with_worker(batch_client);
}

static void
deadline_client(client_t *client)
{
    put_request(client, 1, "project_delete", 50, SLICE("p"), SLICE_NONE,
        SLICE_NONE);
    put_request(client, 2, "project_get", 0, SLICE("p"), SLICE_NONE,
        SLICE_NONE);
    client_send(client);
    expect_problem(client, 2, 504, "deadline_exceeded");
    expect_problem(client, 1, 504, "deadline_exceeded");
    expect_idle(client);
}

static void
test_deadline(void **state)
{
    (void) state;
    with_worker(deadline_client);
    assert_int_equal(worker.cleaned, 1);
}

static void
cancel_client(client_t *client)
{
    wire_record_t record;

    put_simple(client, 1, "project_delete");
    put_simple(client, 2, "project_delete");
    client_send(client);
    client_ping(client, 0);
    expect_beat(client);
    assert_int_equal(client->beat.in_flight, 2);
    assert_int_equal(client->beat.flags, WIRE_BEAT_READY);
    assert_int_equal(client->beat.pid, getpid());
    assert_true(slice_equal(client->beat.facts, SLICE("{\"test\":true}")));

    /* The second before it ran at all, the first while it sleeps. */
    put_simple(client, 3, "project_delete");
    wire_put_cancel(&client->out, 3);
    wire_put_cancel(&client->out, 1);
    wire_put_cancel(&client->out, 2);
    wire_put_cancel(&client->out, 99);
    client_send(client);
    expect_idle(client);
    assert_int_equal(client_next(client, &record, 0, 100), 0);
}

static void
test_cancel(void **state)
{
    (void) state;
    with_worker(cancel_client);
    assert_int_equal(worker.cleaned, 2);
}

static void
overload_client(client_t *client)
{
    for (unsigned i = 0; i < IN_FLIGHT_MAX; i++) {
        put_simple(client, i, "project_delete");
    }
    put_simple(client, 1000, "project_get");
    client_send(client);
    expect_problem(client, 1000, 503, "overloaded");
    assert_true(slice_equal(reply_header(client, "retry-after"), SLICE("1")));

    for (unsigned i = 0; i < IN_FLIGHT_MAX; i++) {
        wire_put_cancel(&client->out, i);
    }
    client_send(client);
    expect_idle(client);
    put_simple(client, 1001, "project_get");
    client_send(client);
    expect_reply(client, 1001, 200);
}

static void
test_overload(void **state)
{
    (void) state;
    with_worker(overload_client);
}

/* The head carries the first chunk; the others wait for credit. */
static void
stream_client(client_t *client)
{
    wire_record_t record;

    put_simple(client, 1, "project_list");
    client_send(client);
    expect_record(client, &record, WIRE_HEAD, 1);
    assert_int_equal(wire_get_reply(&record, &client->reply), WIRE_OK);
    assert_int_equal(client->reply.body.len, CHUNK_SIZE);
    assert_true(slice_equal(reply_header(client, "content-type"),
        SLICE("application/x-ndjson")));
    assert_int_equal(client_next(client, &record, 0, 50), 0);

    wire_put_credit(&client->out, 1, 2);
    client_send(client);
    expect_record(client, &record, WIRE_CHUNK, 1);
    expect_record(client, &record, WIRE_CHUNK, 1);
    assert_int_equal(client_next(client, &record, 0, 50), 0);

    wire_put_credit(&client->out, 1, 100);
    client_send(client);
    for (int i = 3; i < CHUNKS; i++) {
        expect_record(client, &record, WIRE_CHUNK, 1);
        assert_int_equal(record.payload.len, CHUNK_SIZE);
    }
    expect_record(client, &record, WIRE_END, 1);
    assert_int_equal(record.flags, 0);

    /* A raise after the head. */
    put_request(client, 2, "project_list", 1000, SLICE("p"), SLICE("break"),
        SLICE_NONE);
    wire_put_credit(&client->out, 2, 100);
    client_send(client);
    expect_record(client, &record, WIRE_HEAD, 2);
    expect_record(client, &record, WIRE_CHUNK, 2);
    expect_record(client, &record, WIRE_END, 2);
    assert_int_equal(record.flags, WIRE_END_FAILED);

    /* A slow reader's deadline. */
    put_request(client, 3, "project_list", 50, SLICE("p"), SLICE_NONE,
        SLICE_NONE);
    client_send(client);
    expect_record(client, &record, WIRE_HEAD, 3);
    expect_record(client, &record, WIRE_END, 3);
    assert_int_equal(record.flags, WIRE_END_FAILED);
    expect_idle(client);
}

static void
test_stream(void **state)
{
    (void) state;
    with_worker(stream_client);
}

static void
large_client(client_t *client)
{
    size_t size = 1024 * 1024;
    char *bytes = malloc(size);

    memset(bytes, 'a', size);
    bytes[size - 1] = 'z';
    /* Alone in its message, then beside others, then small. */
    put_request(client, 1, "project_config_put", 5000, SLICE("p"), SLICE_NONE,
        (slice_t) { bytes, size });
    client_send(client);
    for (unsigned i = 2; i < 6; i++) {
        put_request(client, i, "project_config_put", 5000, SLICE("p"),
            SLICE_NONE, (slice_t) { bytes, size });
    }
    put_request(client, 6, "project_config_put", 5000, SLICE("p"), SLICE_NONE,
        (slice_t) { bytes + size - 9, 9 });
    client_send(client);

    for (unsigned i = 1; i < 6; i++) {
        expect_reply(client, i, 200);
        expect_body(client, "1048576 z");
    }
    expect_reply(client, 6, 200);
    expect_body(client, "9 z");
    free(bytes);
}

static void
test_large(void **state)
{
    (void) state;
    with_worker(large_client);
}

/* Whoever asks in its ping is told the metrics: at once, then each second,
 * until it asks no more. */
static void
metrics_client(client_t *client)
{
    wire_record_t record;

    client_ping(client, 0);
    assert_int_equal(client_next(client, &record, 0, 1300), 0);

    client_ping(client, WIRE_PING_METRICS);
    assert_int_equal(client_next(client, &record, 0, 500), 1);
    assert_int_equal(record.type, WIRE_METRICS);
    for (int i = 0; i < 2; i++) {
        client_ping(client, WIRE_PING_METRICS);
        assert_int_equal(client_next(client, &record, 0, 1500), 1);
        assert_int_equal(record.type, WIRE_METRICS);
    }

    client_ping(client, 0);
    assert_int_equal(client_next(client, &record, 0, 1300), 0);
}

static void
test_metrics(void **state)
{
    (void) state;
    with_worker(metrics_client);
}

/* What is not ours is refused and harms nobody. */
static void
malformed_client(client_t *client)
{
    uint8_t other[] = { 'H', 'V', WIRE_MAJOR + 1, 0, 0, 0, 0, 0 };

    zmq_send(client->socket, other, sizeof(other), 0);
    zmq_send(client->socket, "nonsense", 8, 0);
    zmq_send(client->socket, "", 0, 0);
    zmq_send(client->socket, "two", 3, ZMQ_SNDMORE);
    zmq_send(client->socket, "parts", 5, 0);

    /* A record whose length points outside. */
    put_simple(client, 1, "project_get");
    wire_buf_finish(&client->out);
    zmq_send(client->socket, client->out.data, client->out.len - 3, 0);
    wire_buf_reset(&client->out);

    put_simple(client, 2, "project_get");
    client_send(client);
    expect_reply(client, 2, 200);
}

static void
test_malformed(void **state)
{
    (void) state;
    with_worker(malformed_client);
}

/* A large one is refused while the records behind it are still to be read. */
static void
quarantine_large(client_t *client, uint64_t now)
{
    static char body[100000];
    request_t rq = { .operation = OPERATION_project_config_put, .nparams = 1,
        .params = { SLICE("p") }, .body = { body, sizeof(body) } };
    uint64_t fingerprint = quarantine_fingerprint(worker.quarantine, &rq);

    quarantine_note(worker.quarantine, fingerprint, now);
    quarantine_note(worker.quarantine, fingerprint, now);
    put_request(client, 5, "project_config_put", 1000, SLICE("p"), SLICE_NONE,
        rq.body);
    put_request(client, 6, "project_get", 1000, SLICE("x"), SLICE_NONE,
        SLICE_NONE);
    client_send(client);
    expect_problem(client, 5, 500, "request_quarantined");
    expect_reply(client, 6, 200);
}

/* A request that is known to kill. */
static void
quarantine_client(client_t *client)
{
    request_t rq = { .operation = OPERATION_project_get, .nparams = 1,
        .params = { SLICE("deadly") } };
    uint64_t fingerprint = quarantine_fingerprint(worker.quarantine, &rq);
    uint64_t now = uv_hrtime() / 1000000000;

    for (unsigned deaths = 1; deaths <= 2; deaths++) {
        put_request(client, deaths, "project_get", 1000, SLICE("deadly"),
            SLICE_NONE, SLICE_NONE);
        client_send(client);
        expect_reply(client, deaths, 200);
        assert_int_equal(quarantine_note(worker.quarantine, fingerprint, now),
            deaths);
    }

    put_request(client, 3, "project_get", 1000, SLICE("deadly"), SLICE_NONE,
        SLICE_NONE);
    put_request(client, 4, "project_get", 1000, SLICE("harmless"), SLICE_NONE,
        SLICE_NONE);
    client_send(client);
    expect_problem(client, 3, 500, "request_quarantined");
    expect_reply(client, 4, 200);
    assert_int_equal(quarantine_refused(worker.quarantine), 1);
    quarantine_large(client, now);
}

static void
test_quarantine(void **state)
{
    (void) state;
    with_worker(quarantine_client);
}

/* A module that vanishes takes its requests with it: the drain that follows
 * would otherwise wait for them. */
static void
vanish_client(client_t *client)
{
    client_ping(client, 0);
    expect_beat(client);
    for (unsigned i = 0; i < 20; i++) {
        put_simple(client, i, "project_delete");
    }
    client_send(client);
    client_ping(client, 0);
    do {
        expect_beat(client);
    } while (client->beat.in_flight != 20);
}

static void
test_vanish(void **state)
{
    (void) state;
    with_worker(vanish_client);
    assert_int_equal(worker.cleaned, 20);
}

/* Draining: the module is told at once, what it had sent is still served,
 * and the worker goes when the module has confirmed. */
static void
drain_client(client_t *client)
{
    client_ping(client, 0);
    expect_beat(client);
    assert_int_equal(client->beat.flags & WIRE_BEAT_DRAINING, 0);

    for (unsigned i = 0; i < 20; i++) {
        put_request(client, i, "project_config_put", 5000, SLICE("p"),
            SLICE_NONE, SLICE("x"));
    }
    client_send(client);
    uv_async_send(&worker.client_done);
    do {
        expect_beat(client);
    } while (!(client->beat.flags & WIRE_BEAT_DRAINING));
    assert_int_equal(worker.drained, 0);

    /* Sent before the module had heard. */
    put_simple(client, 100, "project_get");
    client_send(client);
    usleep(200000);
    assert_int_equal(worker.drained, 0);
    client_ping(client, WIRE_PING_STOP);
}

static void
drain_replies_client(client_t *client)
{
    wire_record_t record;
    unsigned replies = 0;

    client_ping(client, 0);
    expect_beat(client);
    for (unsigned i = 0; i < 20; i++) {
        put_request(client, i, "project_config_put", 5000, SLICE("p"),
            SLICE_NONE, SLICE("x"));
    }
    uv_async_send(&worker.client_done);
    client_send(client);
    client_ping(client, WIRE_PING_STOP);
    while (replies < 20 && client_next(client, &record, 0, 3000)) {
        replies++;
    }
    assert_int_equal(replies, 20);
}

static void
test_drain(void **state)
{
    (void) state;
    with_worker(drain_client);
    with_worker(drain_replies_client);
}

/* The bound of a drain: what does not end is told so. */
static void
bound_client(client_t *client)
{
    worker.drain_ms = 100;
    put_simple(client, 1, "project_delete");
    client_send(client);
    client_ping(client, 0);
    expect_beat(client);
    uv_async_send(&worker.client_done);
    expect_problem(client, 1, 503, "worker_stopping");
}

static void
test_drain_bound(void **state)
{
    (void) state;
    with_worker(bound_client);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_overload),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_quarantine),
        cmocka_unit_test(test_vanish),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_bound),
    };

    /* Assertions fail on the module's thread, which cmocka cannot unwind. */
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
