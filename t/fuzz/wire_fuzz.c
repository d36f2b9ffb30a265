/* wire_fuzz.c: any message is read without leaving it, and what was read is
 * written and read again unchanged. */

#include "common/wire.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *message;
static size_t message_len;

#define CHECK(condition) \
    do {                 \
        if (!(condition)) { \
            abort();     \
        }                \
    } while (0)

/* A slice must lie inside the message; reading its ends proves more to the
 * sanitizer than the arithmetic does. */
static void
inside(slice_t slice)
{
    const uint8_t *p = (const uint8_t *) slice.data;

    CHECK(p >= message && slice.len <= message_len
          && p + slice.len <= message + message_len);
}

static void
headers_inside(const wire_header_t *headers, unsigned count)
{
    CHECK(count <= WIRE_HEADERS_MAX);
    for (unsigned i = 0; i < count; i++) {
        inside(headers[i].name);
        inside(headers[i].value);
    }
}

/* Reads the one record of a batch. */
static void
read_back(wire_buf_t *buf, wire_record_t *record)
{
    wire_reader_t reader;
    wire_record_t none;

    wire_buf_finish(buf);
    CHECK(wire_reader_init(&reader, buf->data, buf->len) == 0);
    CHECK(wire_next(&reader, record) == 1);
    CHECK(wire_next(&reader, &none) == 0);
}

static void
same_headers(const wire_header_t *a, const wire_header_t *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        CHECK(slice_equal(a[i].name, b[i].name));
        CHECK(slice_equal(a[i].value, b[i].value));
    }
}

static void
request(const wire_record_t *record, wire_buf_t *buf)
{
    wire_record_t again;
    wire_request_t rq, rq2;

    if (wire_get_request(record, &rq) != WIRE_OK) {
        return;
    }

    CHECK(rq.nparams <= WIRE_PARAMS_MAX);
    inside(rq.operation);
    inside(rq.query);
    inside(rq.body);
    for (unsigned i = 0; i < rq.nparams; i++) {
        inside(rq.params[i]);
    }
    headers_inside(rq.headers, rq.nheaders);

    CHECK(wire_put_request(buf, record->id, &rq) == WIRE_OK);
    read_back(buf, &again);
    CHECK(wire_get_request(&again, &rq2) == WIRE_OK);
    CHECK(again.id == record->id && rq2.flags == rq.flags
          && rq2.principal == rq.principal && rq2.nparams == rq.nparams
          && rq2.nheaders == rq.nheaders
          && rq2.deadline_ms == rq.deadline_ms);
    CHECK(slice_equal(rq2.operation, rq.operation));
    CHECK(slice_equal(rq2.query, rq.query));
    CHECK(slice_equal(rq2.body, rq.body));
    CHECK(uuid_equal(&rq2.user, &rq.user));
    CHECK(uuid_equal(&rq2.session, &rq.session));
    for (unsigned i = 0; i < rq.nparams; i++) {
        CHECK(slice_equal(rq2.params[i], rq.params[i]));
    }
    same_headers(rq2.headers, rq.headers, rq.nheaders);
}

static void
reply(const wire_record_t *record, wire_buf_t *buf)
{
    wire_record_t again;
    wire_reply_t rp, rp2;

    if (wire_get_reply(record, &rp) != WIRE_OK) {
        return;
    }

    CHECK(rp.status >= 100 && rp.status <= 599);
    inside(rp.body);
    headers_inside(rp.headers, rp.nheaders);

    CHECK(wire_put_reply(buf, record->id, record->type, &rp) == WIRE_OK);
    read_back(buf, &again);
    CHECK(again.type == record->type);
    CHECK(wire_get_reply(&again, &rp2) == WIRE_OK);
    CHECK(rp2.status == rp.status && rp2.nheaders == rp.nheaders);
    CHECK(slice_equal(rp2.body, rp.body));
    same_headers(rp2.headers, rp.headers, rp.nheaders);
}

static void
beat(const wire_record_t *record, wire_buf_t *buf)
{
    wire_record_t again;
    wire_beat_t bt, bt2;

    if (wire_get_beat(record, &bt) != WIRE_OK) {
        return;
    }

    inside(bt.facts);
    CHECK(wire_put_beat(buf, &bt) == WIRE_OK);
    read_back(buf, &again);
    CHECK(wire_get_beat(&again, &bt2) == WIRE_OK);
    CHECK(bt2.flags == bt.flags && bt2.pid == bt.pid
          && bt2.incarnation == bt.incarnation
          && bt2.in_flight == bt.in_flight);
    CHECK(slice_equal(bt2.facts, bt.facts));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static wire_buf_t buf;
    wire_reader_t reader;
    wire_record_t record;
    uint64_t incarnation;
    uint32_t chunks;

    message = data;
    message_len = size;

    if (wire_reader_init(&reader, data, size) != WIRE_OK) {
        return 0;
    }

    while (wire_next(&reader, &record) == 1) {
        inside(record.payload);
        wire_buf_reset(&buf);

        switch (record.type) {
        case WIRE_PING:
            wire_get_ping(&record, &incarnation);
            break;
        case WIRE_CREDIT:
            wire_get_credit(&record, &chunks);
            break;
        case WIRE_REQUEST:
            request(&record, &buf);
            break;
        case WIRE_BEAT:
            beat(&record, &buf);
            break;
        case WIRE_REPLY:
        case WIRE_HEAD:
            reply(&record, &buf);
            break;
        case WIRE_CANCEL:
        case WIRE_CHUNK:
        case WIRE_END:
        case WIRE_METRICS:
            break;
        }
    }

    return 0;
}
