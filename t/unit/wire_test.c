/* wire_test.c: what one end writes the other reads, and a message that was
 * cut or bent is refused, never read past its end. */

#include "common/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cmocka.h>

#define ID UINT64_C(0x0123456789abcdef)

static slice_t
repeat(char c, size_t len)
{
    char *data = test_malloc(len);

    memset(data, c, len);
    return (slice_t) { data, len };
}

static void
fill_request(wire_request_t *rq)
{
    memset(rq, 0, sizeof(*rq));
    rq->operation = SLICE("project_update");
    rq->flags = WIRE_RESENT;
    rq->principal = WIRE_SIGNED_IN | WIRE_SUPERUSER;
    memset(rq->user.bytes, 0x11, 16);
    memset(rq->session.bytes, 0x22, 16);
    memset(rq->request_id, 0x33, 16);
    memset(rq->trace_id, 0x44, 16);
    memset(rq->span_id, 0x55, 8);
    rq->deadline_ms = 5000;
    rq->nparams = 3;
    rq->params[0] = SLICE("first");
    rq->params[1] = SLICE("");
    rq->params[2] = SLICE("third");
    rq->query = SLICE("a=1&b=%20");
    rq->nheaders = 2;
    rq->headers[0] = (wire_header_t) { SLICE("if-match"), SLICE("\"7\"") };
    rq->headers[1] = (wire_header_t) { SLICE("accept"), SLICE("") };
    rq->body = SLICE("{\"name\":\"x\"}");
}

static void
assert_slice(slice_t a, slice_t b)
{
    assert_int_equal(a.len, b.len);
    assert_true(slice_equal(a, b));
}

static void
assert_headers(const wire_header_t *a, const wire_header_t *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_slice(a[i].name, b[i].name);
        assert_slice(a[i].value, b[i].value);
    }
}

static void
assert_request(const wire_request_t *a, const wire_request_t *b)
{
    assert_slice(a->operation, b->operation);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->principal, b->principal);
    assert_true(uuid_equal(&a->user, &b->user));
    assert_true(uuid_equal(&a->session, &b->session));
    assert_memory_equal(a->request_id, b->request_id, 16);
    assert_memory_equal(a->trace_id, b->trace_id, 16);
    assert_memory_equal(a->span_id, b->span_id, 8);
    assert_int_equal(a->deadline_ms, b->deadline_ms);
    assert_int_equal(a->nparams, b->nparams);
    for (unsigned i = 0; i < a->nparams; i++) {
        assert_slice(a->params[i], b->params[i]);
    }
    assert_slice(a->query, b->query);
    assert_int_equal(a->nheaders, b->nheaders);
    assert_headers(a->headers, b->headers, a->nheaders);
    assert_slice(a->body, b->body);
}

#define ALL_RECORDS 10

/* One record of every kind. */
static void
put_all(wire_buf_t *buf)
{
    wire_request_t rq;
    wire_reply_t reply = {
        .status = 200, .nheaders = 1, .body = SLICE("{\"ok\":true}")
    };
    wire_beat_t beat = {
        .flags = WIRE_BEAT_READY, .pid = 77, .incarnation = ID,
        .in_flight = 9, .facts = SLICE("{}")
    };

    reply.headers[0] = (wire_header_t) { SLICE("etag"), SLICE("\"1\"") };
    fill_request(&rq);

    assert_int_equal(wire_put_ping(buf, WIRE_PING_STOP, ID), 0);
    assert_int_equal(wire_put_request(buf, ID, &rq), 0);
    assert_int_equal(wire_put_cancel(buf, ID + 1), 0);
    assert_int_equal(wire_put_credit(buf, ID + 2, 64), 0);
    assert_int_equal(wire_put_beat(buf, &beat), 0);
    assert_int_equal(wire_put_reply(buf, ID, WIRE_REPLY, &reply), 0);
    assert_int_equal(wire_put_reply(buf, ID, WIRE_HEAD, &reply), 0);
    assert_int_equal(wire_put_chunk(buf, ID, SLICE("line\n")), 0);
    assert_int_equal(wire_put_end(buf, ID, WIRE_END_FAILED), 0);
    assert_int_equal(wire_put_metrics(buf, SLICE("a 1\n")), 0);
    wire_buf_finish(buf);
}

/* What wire_get_* says of a record; 0 for those without a payload. */
static int
get_any(const wire_record_t *record)
{
    wire_request_t rq;
    wire_reply_t reply;
    wire_beat_t beat;
    uint64_t incarnation;
    uint32_t chunks;

    switch (record->type) {
    case WIRE_PING:
        return wire_get_ping(record, &incarnation);
    case WIRE_REQUEST:
        return wire_get_request(record, &rq);
    case WIRE_CREDIT:
        return wire_get_credit(record, &chunks);
    case WIRE_BEAT:
        return wire_get_beat(record, &beat);
    case WIRE_REPLY:
    case WIRE_HEAD:
        return wire_get_reply(record, &reply);
    case WIRE_CANCEL:
    case WIRE_CHUNK:
    case WIRE_END:
    case WIRE_METRICS:
        return 0;
    }

    fail_msg("type %d", record->type);
    return 0;
}

/* Reads an exact copy of a message to its end: the number of records, or
 * the first error. */
static int
read_all(const void *data, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    wire_reader_t reader;
    wire_record_t record;
    int count = 0;
    int rc;

    assert_non_null(copy);
    if (len != 0) {
        memcpy(copy + 1, data, len);
    }

    rc = wire_reader_init(&reader, copy + 1, len);
    while (rc == 0) {
        rc = wire_next(&reader, &record);
        if (rc <= 0) {
            break;
        }
        rc = get_any(&record);
        count++;
    }

    free(copy);
    return rc < 0 ? rc : count;
}

static void
every_record_round_trips(void **state)
{
    wire_buf_t buf = { 0 };
    wire_reader_t reader;
    wire_record_t record;
    wire_request_t rq, sent;
    wire_reply_t reply;
    wire_beat_t beat;
    uint64_t incarnation;
    uint32_t chunks;

    (void) state;
    put_all(&buf);
    fill_request(&sent);

    assert_int_equal(wire_reader_init(&reader, buf.data, buf.len), 0);
    assert_int_equal(reader.records, ALL_RECORDS);

    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(record.type, WIRE_PING);
    assert_int_equal(record.flags, WIRE_PING_STOP);
    assert_int_equal(wire_get_ping(&record, &incarnation), 0);
    assert_int_equal(incarnation, ID);

    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(record.type, WIRE_REQUEST);
    assert_int_equal(record.id, ID);
    assert_int_equal(wire_get_request(&record, &rq), 0);
    assert_request(&rq, &sent);

    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(record.type, WIRE_CANCEL);
    assert_int_equal(record.id, ID + 1);
    assert_int_equal(record.payload.len, 0);

    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(record.type, WIRE_CREDIT);
    assert_int_equal(wire_get_credit(&record, &chunks), 0);
    assert_int_equal(chunks, 64);

    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(record.type, WIRE_BEAT);
    assert_int_equal(wire_get_beat(&record, &beat), 0);
    assert_int_equal(beat.flags, WIRE_BEAT_READY);
    assert_int_equal(beat.pid, 77);
    assert_int_equal(beat.incarnation, ID);
    assert_int_equal(beat.in_flight, 9);
    assert_slice(beat.facts, SLICE("{}"));

    for (int i = 0; i < 2; i++) {
        assert_int_equal(wire_next(&reader, &record), 1);
        assert_int_equal(record.type, i == 0 ? WIRE_REPLY : WIRE_HEAD);
        assert_int_equal(wire_get_reply(&record, &reply), 0);
        assert_int_equal(reply.status, 200);
        assert_int_equal(reply.nheaders, 1);
        assert_slice(reply.headers[0].name, SLICE("etag"));
        assert_slice(reply.headers[0].value, SLICE("\"1\""));
        assert_slice(reply.body, SLICE("{\"ok\":true}"));
    }

    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(record.type, WIRE_CHUNK);
    assert_slice(record.payload, SLICE("line\n"));

    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(record.type, WIRE_END);
    assert_int_equal(record.flags, WIRE_END_FAILED);

    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(record.type, WIRE_METRICS);
    assert_slice(record.payload, SLICE("a 1\n"));
    assert_int_equal(wire_next(&reader, &record), 0);
    assert_int_equal(wire_next(&reader, &record), 0);

    wire_buf_release(&buf);
}

/* Both ends of the wire are deployed one after the other: these bytes may
 * change only with WIRE_MAJOR. */
static void
the_bytes_are_these(void **state)
{
    static const uint8_t expected[] = {
        'H', 'V', 1, WIRE_MINOR, 3, 0, 0, 0,
        24, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        8, 7, 6, 5, 4, 3, 2, 1,
        38, 0, 0, 0, 17, 0, 0, 0,
        0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
        0x94, 0x01, 2, 0, 2, 0, 0, 0, 1, 1, 0, 2, 2, 0,
        'a', 'b', 'c', 'd', 'e', 'f', 'o', 'k',
        18, 0, 0, 0, 19, 0, 0, 0,
        1, 0, 0, 0, 0, 0, 0, 0, 'x', 'y'
    };
    wire_reply_t reply = {
        .status = 404, .nheaders = 2, .body = SLICE("ok")
    };
    wire_buf_t buf = { 0 };

    (void) state;

    reply.headers[0] = (wire_header_t) { SLICE("a"), SLICE("b") };
    reply.headers[1] = (wire_header_t) { SLICE("cd"), SLICE("ef") };
    wire_put_ping(&buf, WIRE_PING_STOP, UINT64_C(0x0102030405060708));
    wire_put_reply(&buf, ID, WIRE_REPLY, &reply);
    wire_put_chunk(&buf, 1, SLICE("xy"));
    wire_buf_finish(&buf);

    assert_int_equal(buf.len, sizeof(expected));
    assert_memory_equal(buf.data, expected, sizeof(expected));
    wire_buf_release(&buf);
}

static void
every_cut_message_is_refused(void **state)
{
    wire_buf_t buf = { 0 };

    (void) state;
    put_all(&buf);

    assert_int_equal(read_all(buf.data, buf.len), ALL_RECORDS);
    for (size_t len = 0; len < buf.len; len++) {
        if (read_all(buf.data, len) != WIRE_TRUNCATED) {
            fail_msg("cut at %zu of %zu", len, buf.len);
        }
    }

    /* Nor may there be more than the records take. */
    assert_int_equal(wire_put_end(&buf, 1, 0), 0);
    for (size_t more = 1; more <= WIRE_RECORD; more++) {
        assert_int_equal(read_all(buf.data, buf.len - WIRE_RECORD + more),
                         WIRE_INVALID);
    }

    wire_buf_release(&buf);
}

static void
every_cut_payload_is_refused(void **state)
{
    wire_buf_t buf = { 0 };
    wire_reader_t reader;
    wire_record_t record;

    (void) state;
    put_all(&buf);

    assert_int_equal(wire_reader_init(&reader, buf.data, buf.len), 0);
    while (wire_next(&reader, &record) == 1) {
        wire_record_t cut = record;
        char *copy;

        if (record.type == WIRE_CHUNK || record.type == WIRE_METRICS) {
            continue;       /* any length is a payload */
        }
        for (size_t len = 0; len < record.payload.len; len++) {
            copy = malloc(len + 1);
            memcpy(copy + 1, record.payload.data, len);
            cut.payload = (slice_t) { copy + 1, len };
            if (get_any(&cut) != WIRE_TRUNCATED) {
                fail_msg("type %d cut at %zu", record.type, len);
            }
            free(copy);
        }

        /* A newer minor version may add to the end. */
        copy = calloc(1, record.payload.len + 9);
        memcpy(copy, record.payload.data, record.payload.len);
        cut.payload = (slice_t) { copy, record.payload.len + 9 };
        assert_int_equal(get_any(&cut), 0);
        free(copy);
    }

    wire_buf_release(&buf);
}

/* No verdict is asked of a bent message, only that reading it stays inside
 * (the sanitizer watches) and ends. */
static void
every_bent_byte_is_survived(void **state)
{
    static const uint8_t bends[] = { 0x01, 0x80, 0xff, 0x7f };
    wire_buf_t buf = { 0 };

    (void) state;
    put_all(&buf);

    for (size_t at = 0; at < buf.len; at++) {
        for (size_t i = 0; i < sizeof(bends); i++) {
            buf.data[at] ^= bends[i];
            read_all(buf.data, buf.len);
            buf.data[at] ^= bends[i];
        }
    }
    assert_int_equal(read_all(buf.data, buf.len), ALL_RECORDS);

    wire_buf_release(&buf);
}

static void
preamble_and_record_header_are_checked(void **state)
{
    wire_buf_t buf = { 0 };
    uint8_t *record;

    (void) state;
    put_all(&buf);

    buf.data[0] = 'h';
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    buf.data[0] = 'H';
    buf.data[2] = WIRE_MAJOR + 1;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_VERSION);
    buf.data[2] = WIRE_MAJOR - 1;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_VERSION);
    buf.data[2] = WIRE_MAJOR;
    buf.data[3] = 200;          /* minor versions may differ */
    assert_int_equal(read_all(buf.data, buf.len), ALL_RECORDS);

    buf.data[4] = ALL_RECORDS + 1;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_TRUNCATED);
    buf.data[4] = ALL_RECORDS - 1;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    memset(buf.data + 4, 0xff, 4);
    assert_int_equal(read_all(buf.data, buf.len), WIRE_TRUNCATED);
    wire_buf_finish(&buf);

    record = buf.data + WIRE_PREAMBLE;
    record[6] = 1;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    record[6] = 0;
    for (uint8_t len = 0; len < WIRE_RECORD; len++) {
        record[0] = len;
        assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    }
    memset(record, 0xff, 4);
    assert_int_equal(read_all(buf.data, buf.len), WIRE_TRUNCATED);

    wire_buf_release(&buf);
}

static void
unknown_records_are_skipped(void **state)
{
    wire_buf_t buf = { 0 };
    wire_reader_t reader;
    wire_record_t record;
    size_t first, last;

    (void) state;

    first = WIRE_PREAMBLE;
    wire_put_chunk(&buf, 1, SLICE("new"));
    wire_put_cancel(&buf, 2);
    last = buf.len;
    wire_put_chunk(&buf, 3, SLICE("also new"));
    wire_buf_finish(&buf);

    for (unsigned type = 0; type < 256; type++) {
        if ((type >= WIRE_PING && type <= WIRE_CREDIT)
            || (type >= WIRE_BEAT && type <= WIRE_METRICS)) {
            continue;
        }
        buf.data[first + 4] = (uint8_t) type;
        buf.data[last + 4] = (uint8_t) type;
        assert_int_equal(wire_reader_init(&reader, buf.data, buf.len), 0);
        assert_int_equal(wire_next(&reader, &record), 1);
        assert_int_equal(record.type, WIRE_CANCEL);
        assert_int_equal(record.id, 2);
        assert_int_equal(wire_next(&reader, &record), 0);
    }

    wire_buf_release(&buf);
}

/* Puts must fail with `rc` and leave the batch as it was. */
#define REFUSED(rc, put)                                                    \
    do {                                                                    \
        size_t len_ = buf.len;                                              \
        uint32_t records_ = buf.records;                                    \
        assert_int_equal(put, rc);                                          \
        assert_int_equal(buf.len, len_);                                    \
        assert_int_equal(buf.records, records_);                            \
    } while (0)

static void
limits_are_kept_when_writing(void **state)
{
    wire_buf_t buf = { 0 };
    wire_request_t rq;
    wire_reply_t reply = { .status = 200 };
    slice_t long_text = repeat('v', 65536);

    (void) state;
    put_all(&buf);

    fill_request(&rq);
    rq.operation = (slice_t) { long_text.data, 256 };
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.operation = SLICE("");
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.operation = (slice_t) { long_text.data, 255 };
    rq.nparams = WIRE_PARAMS_MAX + 1;
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.nparams = 1;
    rq.params[0] = long_text;
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.params[0].len = 65535;
    rq.nheaders = WIRE_HEADERS_MAX + 1;
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.nheaders = 1;
    rq.headers[0].value = long_text;
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.headers[0].value.len = 65535;
    rq.headers[0].name = (slice_t) { long_text.data, 256 };
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.headers[0].name.len = 0;
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.headers[0].name.len = 255;
    rq.body.len = SIZE_MAX;
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.body.len = UINT32_MAX - 10;
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.body.len = 0;
    rq.query.len = SIZE_MAX;
    REFUSED(WIRE_INVALID, wire_put_request(&buf, 1, &rq));
    rq.query = long_text;

    wire_buf_reset(&buf);
    assert_int_equal(wire_put_request(&buf, 1, &rq), 0);
    wire_buf_finish(&buf);
    assert_int_equal(read_all(buf.data, buf.len), 1);

    reply.status = 99;
    REFUSED(WIRE_INVALID, wire_put_reply(&buf, 1, WIRE_REPLY, &reply));
    reply.status = 600;
    REFUSED(WIRE_INVALID, wire_put_reply(&buf, 1, WIRE_REPLY, &reply));
    reply.status = 200;
    REFUSED(WIRE_INVALID, wire_put_reply(&buf, 1, WIRE_CHUNK, &reply));
    reply.nheaders = WIRE_HEADERS_MAX + 1;
    REFUSED(WIRE_INVALID, wire_put_reply(&buf, 1, WIRE_HEAD, &reply));
    REFUSED(WIRE_INVALID,
            wire_put_chunk(&buf, 1, (slice_t) { "", SIZE_MAX }));
    REFUSED(WIRE_INVALID, wire_put_chunk(&buf, 1,
                                         (slice_t) { "", UINT32_MAX }));

    wire_buf_release(&buf);
    test_free((char *) long_text.data);
}

/* The decoder holds the same limits against another's encoder. */
static void
limits_are_kept_when_reading(void **state)
{
    wire_buf_t buf = { 0 };
    wire_request_t rq;
    wire_reply_t reply = { .status = 200, .nheaders = 1 };
    uint8_t *payload;

    (void) state;

    fill_request(&rq);
    rq.body = repeat('b', 1000);
    wire_put_request(&buf, 1, &rq);
    wire_buf_finish(&buf);
    payload = buf.data + WIRE_PREAMBLE + WIRE_RECORD;

    payload[1] = 0;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    payload[1] = (uint8_t) rq.operation.len;
    payload[2] = WIRE_PARAMS_MAX + 1;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    payload[2] = 3;
    payload[3] = WIRE_HEADERS_MAX + 1;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    payload[3] = 2;
    payload[88 + 3 * 2] = 0;            /* a header without a name */
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    payload[88 + 3 * 2] = 8;
    assert_int_equal(read_all(buf.data, buf.len), 1);
    memset(payload + 80, 0xff, 8);      /* query and body */
    assert_int_equal(read_all(buf.data, buf.len), WIRE_TRUNCATED);

    wire_buf_reset(&buf);
    reply.headers[0] = (wire_header_t) { SLICE("etag"), SLICE("x") };
    wire_put_reply(&buf, 1, WIRE_REPLY, &reply);
    wire_buf_finish(&buf);
    payload = buf.data + WIRE_PREAMBLE + WIRE_RECORD;

    payload[0] = 99;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    payload[1] = 2;
    payload[0] = 0x58;                  /* 600 */
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    payload[0] = 0x57;
    assert_int_equal(read_all(buf.data, buf.len), 1);
    payload[3] = 1;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    payload[3] = 0;
    payload[8] = 0;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);
    payload[8] = 4;
    payload[2] = WIRE_HEADERS_MAX + 1;
    assert_int_equal(read_all(buf.data, buf.len), WIRE_INVALID);

    wire_buf_release(&buf);
    test_free((char *) rq.body.data);
}

static void
a_body_may_be_copied_in_later(void **state)
{
    wire_buf_t buf = { 0 };
    wire_reader_t reader;
    wire_record_t record;
    wire_request_t rq, out;
    uint8_t *body;

    (void) state;

    fill_request(&rq);
    rq.body = (slice_t) { NULL, 12345 };        /* ignored */
    assert_int_equal(wire_put_request_body(&buf, ID, &rq, 100000, &body), 0);
    memset(body, 'z', 100000);
    wire_put_cancel(&buf, 1);
    wire_buf_finish(&buf);

    assert_int_equal(wire_reader_init(&reader, buf.data, buf.len), 0);
    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(wire_get_request(&record, &out), 0);
    rq.body = repeat('z', 100000);
    assert_request(&out, &rq);
    assert_int_equal(wire_next(&reader, &record), 1);
    assert_int_equal(wire_next(&reader, &record), 0);

    wire_buf_release(&buf);
    test_free((char *) rq.body.data);
}

static void
the_buffer_keeps_what_it_needs(void **state)
{
    wire_buf_t buf = { 0 };
    slice_t large = repeat('x', 3 * 1024 * 1024);
    uint8_t *data;

    (void) state;

    wire_buf_finish(&buf);              /* an empty batch is no bytes */
    assert_int_equal(buf.len, 0);
    wire_buf_reset(&buf);

    wire_put_cancel(&buf, 1);
    data = buf.data;
    for (int i = 0; i < 1000; i++) {
        wire_buf_reset(&buf);
        assert_int_equal(buf.len, 0);
        assert_int_equal(buf.records, 0);
        wire_put_cancel(&buf, 1);
        wire_buf_finish(&buf);
        assert_ptr_equal(buf.data, data);
        assert_int_equal(read_all(buf.data, buf.len), 1);
    }

    /* Steady use of much memory keeps it, one burst does not. */
    wire_buf_reset(&buf);
    wire_put_chunk(&buf, 1, large);
    data = buf.data;
    wire_buf_reset(&buf);
    wire_put_chunk(&buf, 1, large);
    assert_ptr_equal(buf.data, data);
    wire_buf_reset(&buf);
    wire_put_cancel(&buf, 1);
    wire_buf_reset(&buf);
    assert_true(buf.cap <= 1024 * 1024);

    wire_put_cancel(&buf, 1);
    wire_buf_finish(&buf);
    assert_int_equal(read_all(buf.data, buf.len), 1);

    wire_buf_release(&buf);
    assert_null(buf.data);
    test_free((char *) large.data);
}

/* The sanitizer's own memory does not fit under a limit. */
#if !defined(__SANITIZE_ADDRESS__)
static void
without_memory_the_batch_stays(void **state)
{
    struct rlimit old, tight;
    wire_buf_t buf = { 0 };
    wire_request_t rq;
    uint8_t *body;

    (void) state;
    put_all(&buf);
    fill_request(&rq);

    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    tight = old;
    tight.rlim_cur = 512 * 1024 * 1024;
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
    REFUSED(WIRE_NOMEM, wire_put_request_body(&buf, 1, &rq,
                                              1024 * 1024 * 1024, &body));
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);

    assert_int_equal(read_all(buf.data, buf.len), ALL_RECORDS);
    wire_buf_release(&buf);
}
#endif

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_record_round_trips),
        cmocka_unit_test(the_bytes_are_these),
        cmocka_unit_test(every_cut_message_is_refused),
        cmocka_unit_test(every_cut_payload_is_refused),
        cmocka_unit_test(every_bent_byte_is_survived),
        cmocka_unit_test(preamble_and_record_header_are_checked),
        cmocka_unit_test(unknown_records_are_skipped),
        cmocka_unit_test(limits_are_kept_when_writing),
        cmocka_unit_test(limits_are_kept_when_reading),
        cmocka_unit_test(a_body_may_be_copied_in_later),
        cmocka_unit_test(the_buffer_keeps_what_it_needs),
#if !defined(__SANITIZE_ADDRESS__)
        cmocka_unit_test(without_memory_the_batch_stays),
#endif
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
