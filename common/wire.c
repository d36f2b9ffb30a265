/* wire.c: the byte layout of the records that wire.h describes.
 *
 * Payloads, all numbers little-endian and unaligned:
 *
 *   PING     u64 incarnation
 *   REQUEST  u8 principal; u8 operation length; u8 params; u8 headers;
 *            u32 deadline in ms; user, session, request id, trace id (16
 *            bytes each); span id (8); u32 query length; u32 body length;
 *            u16 length of each param; u8 name length and u16 value length
 *            of each header; then the bytes in the same order: operation,
 *            params, query, name and value of each header, body
 *   CREDIT   u32 chunks
 *   BEAT     u64 incarnation; u32 pid; u32 in flight; u32 facts length;
 *            facts
 *   REPLY, HEAD
 *            u16 status; u8 headers; u8 zero; u32 body length; u8 name
 *            length and u16 value length of each header; name and value of
 *            each header; body
 *   CHUNK    the bytes
 *   CANCEL, END
 *            nothing
 *
 * Lengths stand together before the bytes, so a reader checks their sum
 * once and then only slices. A writer computes the size of a record first
 * and reserves it whole: it either appends all of it or nothing. */

#include "wire.h"

#include <endian.h>
#include <stdlib.h>

#define BUF_FIRST  4096
#define BUF_KEEP   (1024 * 1024)

#define PING_SIZE    8
#define REQUEST_SIZE 88
#define CREDIT_SIZE  4
#define BEAT_SIZE    20
#define REPLY_SIZE   8

#define PARAM_SIZE   2      /* what one adds to the table of lengths */
#define HEADER_SIZE  3

static uint8_t *
put_u16(uint8_t *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static uint8_t *
put_u32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static uint8_t *
put_u64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static uint8_t *
put_bytes(uint8_t *p, const void *data, size_t len)
{
    if (len != 0) {
        memcpy(p, data, len);
    }
    return p + len;
}

static uint16_t
get_u16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return le16toh(v);
}

static uint32_t
get_u32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static uint64_t
get_u64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

void
wire_buf_release(wire_buf_t *buf)
{
    free(buf->data);
    memset(buf, 0, sizeof(*buf));
}

void
wire_buf_finish(wire_buf_t *buf)
{
    if (buf->len != 0) {
        put_u32(buf->data + 4, buf->records);
    }
}

void
wire_buf_reset(wire_buf_t *buf)
{
    /* One large burst should not hold its memory for ever; a steady load
     * that needs it keeps it. */
    if (buf->cap > BUF_KEEP && buf->len < buf->cap / 4) {
        wire_buf_release(buf);
        return;
    }

    buf->len = 0;
    buf->records = 0;
}

/* Makes room for `need` bytes more. */
static int
buf_reserve(wire_buf_t *buf, size_t need)
{
    size_t cap = buf->cap != 0 ? buf->cap : BUF_FIRST;
    uint8_t *data;

    if (need <= buf->cap - buf->len) {
        return WIRE_OK;
    }
    if (need > SIZE_MAX / 2 - buf->len) {
        return WIRE_NOMEM;
    }

    while (cap - buf->len < need) {
        cap *= 2;
    }

    data = realloc(buf->data, cap);
    if (data == NULL) {
        return WIRE_NOMEM;
    }

    buf->data = data;
    buf->cap = cap;
    return WIRE_OK;
}

/* Appends a record header and room for `payload` bytes, at *out. The
 * preamble comes with the first record. */
static int
record_begin(wire_buf_t *buf, wire_type_t type, uint8_t flags, uint64_t id,
    size_t payload, uint8_t **out)
{
    size_t preamble = buf->len == 0 ? WIRE_PREAMBLE : 0;
    uint8_t *p;

    if (payload > UINT32_MAX - WIRE_RECORD || buf->records == UINT32_MAX) {
        return WIRE_INVALID;
    }
    if (buf_reserve(buf, preamble + WIRE_RECORD + payload) != WIRE_OK) {
        return WIRE_NOMEM;
    }

    p = buf->data + buf->len;
    if (preamble != 0) {
        *p++ = 'H';
        *p++ = 'V';
        *p++ = WIRE_MAJOR;
        *p++ = WIRE_MINOR;
        p = put_u32(p, 0);
    }

    p = put_u32(p, (uint32_t) (WIRE_RECORD + payload));
    *p++ = (uint8_t) type;
    *p++ = flags;
    p = put_u16(p, 0);
    p = put_u64(p, id);

    buf->len += preamble + WIRE_RECORD + payload;
    buf->records++;
    *out = p;
    return WIRE_OK;
}

int
wire_put_ping(wire_buf_t *buf, uint8_t flags, uint64_t incarnation)
{
    uint8_t *p;
    int rc = record_begin(buf, WIRE_PING, flags, 0, PING_SIZE, &p);

    if (rc == WIRE_OK) {
        put_u64(p, incarnation);
    }
    return rc;
}

int
wire_put_cancel(wire_buf_t *buf, uint64_t id)
{
    uint8_t *p;

    return record_begin(buf, WIRE_CANCEL, 0, id, 0, &p);
}

int
wire_put_credit(wire_buf_t *buf, uint64_t id, uint32_t chunks)
{
    uint8_t *p;
    int rc = record_begin(buf, WIRE_CREDIT, 0, id, CREDIT_SIZE, &p);

    if (rc == WIRE_OK) {
        put_u32(p, chunks);
    }
    return rc;
}

int
wire_put_beat(wire_buf_t *buf, const wire_beat_t *beat)
{
    uint8_t *p;
    int rc;

    if (beat->facts.len > UINT32_MAX - WIRE_RECORD - BEAT_SIZE) {
        return WIRE_INVALID;
    }

    rc = record_begin(buf, WIRE_BEAT, beat->flags, 0,
                      BEAT_SIZE + beat->facts.len, &p);
    if (rc != WIRE_OK) {
        return rc;
    }

    p = put_u64(p, beat->incarnation);
    p = put_u32(p, beat->pid);
    p = put_u32(p, beat->in_flight);
    p = put_u32(p, (uint32_t) beat->facts.len);
    put_bytes(p, beat->facts.data, beat->facts.len);
    return WIRE_OK;
}

/* Adds what the headers take on the wire to *size. */
static int
headers_size(const wire_header_t *headers, unsigned count, size_t *size)
{
    if (count > WIRE_HEADERS_MAX) {
        return WIRE_INVALID;
    }

    for (unsigned i = 0; i < count; i++) {
        if (headers[i].name.len == 0 || headers[i].name.len > UINT8_MAX
            || headers[i].value.len > UINT16_MAX) {
            return WIRE_INVALID;
        }
        *size += HEADER_SIZE + headers[i].name.len + headers[i].value.len;
    }

    return WIRE_OK;
}

static uint8_t *
put_header_lengths(uint8_t *p, const wire_header_t *headers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        *p++ = (uint8_t) headers[i].name.len;
        p = put_u16(p, (uint16_t) headers[i].value.len);
    }
    return p;
}

static uint8_t *
put_headers(uint8_t *p, const wire_header_t *headers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        p = put_bytes(p, headers[i].name.data, headers[i].name.len);
        p = put_bytes(p, headers[i].value.data, headers[i].value.len);
    }
    return p;
}

/* The payload's size without the body. */
static int
request_size(const wire_request_t *rq, size_t *size)
{
    if (rq->operation.len == 0 || rq->operation.len > UINT8_MAX
        || rq->nparams > WIRE_PARAMS_MAX || rq->query.len > UINT32_MAX / 4) {
        return WIRE_INVALID;
    }

    *size = REQUEST_SIZE + rq->operation.len + rq->query.len;
    for (unsigned i = 0; i < rq->nparams; i++) {
        if (rq->params[i].len > UINT16_MAX) {
            return WIRE_INVALID;
        }
        *size += PARAM_SIZE + rq->params[i].len;
    }

    return headers_size(rq->headers, rq->nheaders, size);
}

static uint8_t *
put_request_fixed(uint8_t *p, const wire_request_t *rq, size_t body_len)
{
    *p++ = rq->principal;
    *p++ = (uint8_t) rq->operation.len;
    *p++ = (uint8_t) rq->nparams;
    *p++ = (uint8_t) rq->nheaders;
    p = put_u32(p, rq->deadline_ms);
    p = put_bytes(p, rq->user.bytes, sizeof(rq->user.bytes));
    p = put_bytes(p, rq->session.bytes, sizeof(rq->session.bytes));
    p = put_bytes(p, rq->request_id, sizeof(rq->request_id));
    p = put_bytes(p, rq->trace_id, sizeof(rq->trace_id));
    p = put_bytes(p, rq->span_id, sizeof(rq->span_id));
    p = put_u32(p, (uint32_t) rq->query.len);
    return put_u32(p, (uint32_t) body_len);
}

int
wire_put_request_body(wire_buf_t *buf, uint64_t id, const wire_request_t *rq,
    size_t body_len, uint8_t **body)
{
    size_t size;
    uint8_t *p;
    int rc = request_size(rq, &size);

    if (rc != WIRE_OK) {
        return rc;
    }
    if (body_len > UINT32_MAX - WIRE_RECORD - size) {
        return WIRE_INVALID;
    }

    rc = record_begin(buf, WIRE_REQUEST, rq->flags, id, size + body_len, &p);
    if (rc != WIRE_OK) {
        return rc;
    }

    p = put_request_fixed(p, rq, body_len);
    for (unsigned i = 0; i < rq->nparams; i++) {
        p = put_u16(p, (uint16_t) rq->params[i].len);
    }
    p = put_header_lengths(p, rq->headers, rq->nheaders);

    p = put_bytes(p, rq->operation.data, rq->operation.len);
    for (unsigned i = 0; i < rq->nparams; i++) {
        p = put_bytes(p, rq->params[i].data, rq->params[i].len);
    }
    p = put_bytes(p, rq->query.data, rq->query.len);
    *body = put_headers(p, rq->headers, rq->nheaders);
    return WIRE_OK;
}

int
wire_put_request(wire_buf_t *buf, uint64_t id, const wire_request_t *rq)
{
    uint8_t *body;
    int rc = wire_put_request_body(buf, id, rq, rq->body.len, &body);

    if (rc == WIRE_OK) {
        put_bytes(body, rq->body.data, rq->body.len);
    }
    return rc;
}

int
wire_put_reply(wire_buf_t *buf, uint64_t id, wire_type_t reply_or_head,
    const wire_reply_t *reply)
{
    size_t size = REPLY_SIZE;
    uint8_t *p;
    int rc;

    if ((reply_or_head != WIRE_REPLY && reply_or_head != WIRE_HEAD)
        || reply->status < 100 || reply->status > 599) {
        return WIRE_INVALID;
    }

    rc = headers_size(reply->headers, reply->nheaders, &size);
    if (rc != WIRE_OK) {
        return rc;
    }
    if (reply->body.len > UINT32_MAX - WIRE_RECORD - size) {
        return WIRE_INVALID;
    }

    rc = record_begin(buf, reply_or_head, 0, id, size + reply->body.len, &p);
    if (rc != WIRE_OK) {
        return rc;
    }

    p = put_u16(p, reply->status);
    *p++ = (uint8_t) reply->nheaders;
    *p++ = 0;
    p = put_u32(p, (uint32_t) reply->body.len);
    p = put_header_lengths(p, reply->headers, reply->nheaders);
    p = put_headers(p, reply->headers, reply->nheaders);
    put_bytes(p, reply->body.data, reply->body.len);
    return WIRE_OK;
}

int
wire_put_chunk(wire_buf_t *buf, uint64_t id, slice_t bytes)
{
    uint8_t *p;
    int rc = record_begin(buf, WIRE_CHUNK, 0, id, bytes.len, &p);

    if (rc == WIRE_OK) {
        put_bytes(p, bytes.data, bytes.len);
    }
    return rc;
}

int
wire_put_end(wire_buf_t *buf, uint64_t id, uint8_t flags)
{
    uint8_t *p;

    return record_begin(buf, WIRE_END, flags, id, 0, &p);
}

int
wire_reader_init(wire_reader_t *reader, const void *data, size_t len)
{
    const uint8_t *p = data;

    if (len < WIRE_PREAMBLE) {
        return WIRE_TRUNCATED;
    }
    if (p[0] != 'H' || p[1] != 'V') {
        return WIRE_INVALID;
    }
    if (p[2] != WIRE_MAJOR) {
        return WIRE_VERSION;
    }

    reader->pos = p + WIRE_PREAMBLE;
    reader->end = p + len;
    reader->records = get_u32(p + 4);
    return WIRE_OK;
}

static int
type_known(uint8_t type)
{
    return (type >= WIRE_PING && type <= WIRE_CREDIT)
           || (type >= WIRE_BEAT && type <= WIRE_END);
}

int
wire_next(wire_reader_t *reader, wire_record_t *record)
{
    while (reader->records != 0) {
        const uint8_t *p = reader->pos;
        size_t left = (size_t) (reader->end - p);
        size_t len;

        if (left < WIRE_RECORD) {
            return WIRE_TRUNCATED;
        }

        len = get_u32(p);
        if (len < WIRE_RECORD || get_u16(p + 6) != 0) {
            return WIRE_INVALID;
        }
        if (len > left) {
            return WIRE_TRUNCATED;
        }

        reader->pos += len;
        reader->records--;

        if (type_known(p[4])) {
            record->type = (wire_type_t) p[4];
            record->flags = p[5];
            record->id = get_u64(p + 8);
            record->payload.data = (const char *) p + WIRE_RECORD;
            record->payload.len = len - WIRE_RECORD;
            return 1;
        }
    }

    /* Bytes that no record accounts for: the two ends disagree. */
    return reader->pos == reader->end ? 0 : WIRE_INVALID;
}

/* Where in a payload the bytes are: `pos` moves as slices are taken. The sum
 * of all lengths has been checked against the payload before. */
static slice_t
take(const uint8_t **pos, size_t len)
{
    slice_t slice = { (const char *) *pos, len };

    *pos += len;
    return slice;
}

/* Reads the lengths of `count` headers at `table`, leaves them in the
 * slices, and returns their sum. */
static size_t
get_header_lengths(const uint8_t *table, unsigned count,
    wire_header_t *headers)
{
    size_t sum = 0;

    for (unsigned i = 0; i < count; i++, table += HEADER_SIZE) {
        headers[i].name.len = table[0];
        headers[i].value.len = get_u16(table + 1);
        sum += headers[i].name.len + headers[i].value.len;
    }
    return sum;
}

/* Points the slices at their bytes. A name of no length is WIRE_INVALID. */
static int
take_headers(const uint8_t **pos, unsigned count, wire_header_t *headers)
{
    for (unsigned i = 0; i < count; i++) {
        if (headers[i].name.len == 0) {
            return WIRE_INVALID;
        }
        headers[i].name = take(pos, headers[i].name.len);
        headers[i].value = take(pos, headers[i].value.len);
    }
    return WIRE_OK;
}

int
wire_get_ping(const wire_record_t *record, uint64_t *incarnation)
{
    if (record->payload.len < PING_SIZE) {
        return WIRE_TRUNCATED;
    }

    *incarnation = get_u64((const uint8_t *) record->payload.data);
    return WIRE_OK;
}

int
wire_get_credit(const wire_record_t *record, uint32_t *chunks)
{
    if (record->payload.len < CREDIT_SIZE) {
        return WIRE_TRUNCATED;
    }

    *chunks = get_u32((const uint8_t *) record->payload.data);
    return WIRE_OK;
}

int
wire_get_beat(const wire_record_t *record, wire_beat_t *out)
{
    const uint8_t *p = (const uint8_t *) record->payload.data;
    size_t facts;

    if (record->payload.len < BEAT_SIZE) {
        return WIRE_TRUNCATED;
    }

    out->flags = record->flags;
    out->incarnation = get_u64(p);
    out->pid = get_u32(p + 8);
    out->in_flight = get_u32(p + 12);
    facts = get_u32(p + 16);

    if (facts > record->payload.len - BEAT_SIZE) {
        return WIRE_TRUNCATED;
    }

    p += BEAT_SIZE;
    out->facts = take(&p, facts);
    return WIRE_OK;
}

static void
get_request_fixed(const uint8_t *p, wire_request_t *out)
{
    out->principal = p[0];
    out->deadline_ms = get_u32(p + 4);
    memcpy(out->user.bytes, p + 8, sizeof(out->user.bytes));
    memcpy(out->session.bytes, p + 24, sizeof(out->session.bytes));
    memcpy(out->request_id, p + 40, sizeof(out->request_id));
    memcpy(out->trace_id, p + 56, sizeof(out->trace_id));
    memcpy(out->span_id, p + 72, sizeof(out->span_id));
}

int
wire_get_request(const wire_record_t *record, wire_request_t *out)
{
    const uint8_t *p = (const uint8_t *) record->payload.data;
    size_t len = record->payload.len;
    size_t operation, query, body, tables;
    uint64_t sum;

    if (len < REQUEST_SIZE) {
        return WIRE_TRUNCATED;
    }

    operation = p[1];
    out->nparams = p[2];
    out->nheaders = p[3];
    query = get_u32(p + 80);
    body = get_u32(p + 84);

    if (operation == 0 || out->nparams > WIRE_PARAMS_MAX
        || out->nheaders > WIRE_HEADERS_MAX) {
        return WIRE_INVALID;
    }

    tables = out->nparams * PARAM_SIZE + out->nheaders * HEADER_SIZE;
    if (len < REQUEST_SIZE + tables) {
        return WIRE_TRUNCATED;
    }

    out->flags = record->flags;
    get_request_fixed(p, out);
    p += REQUEST_SIZE;

    sum = (uint64_t) operation + query + body;
    for (unsigned i = 0; i < out->nparams; i++, p += PARAM_SIZE) {
        out->params[i].len = get_u16(p);
        sum += out->params[i].len;
    }
    sum += get_header_lengths(p, out->nheaders, out->headers);
    p += out->nheaders * HEADER_SIZE;

    if (sum > len - REQUEST_SIZE - tables) {
        return WIRE_TRUNCATED;
    }

    out->operation = take(&p, operation);
    for (unsigned i = 0; i < out->nparams; i++) {
        out->params[i] = take(&p, out->params[i].len);
    }
    out->query = take(&p, query);
    if (take_headers(&p, out->nheaders, out->headers) != WIRE_OK) {
        return WIRE_INVALID;
    }
    out->body = take(&p, body);
    return WIRE_OK;
}

int
wire_get_reply(const wire_record_t *record, wire_reply_t *out)
{
    const uint8_t *p = (const uint8_t *) record->payload.data;
    size_t len = record->payload.len;
    size_t body, tables;
    uint64_t sum;

    if (len < REPLY_SIZE) {
        return WIRE_TRUNCATED;
    }

    out->status = get_u16(p);
    out->nheaders = p[2];
    body = get_u32(p + 4);

    if (out->status < 100 || out->status > 599 || p[3] != 0
        || out->nheaders > WIRE_HEADERS_MAX) {
        return WIRE_INVALID;
    }

    tables = out->nheaders * HEADER_SIZE;
    if (len < REPLY_SIZE + tables) {
        return WIRE_TRUNCATED;
    }

    p += REPLY_SIZE;
    sum = body + (uint64_t) get_header_lengths(p, out->nheaders,
                                               out->headers);
    p += tables;

    if (sum > len - REPLY_SIZE - tables) {
        return WIRE_TRUNCATED;
    }
    if (take_headers(&p, out->nheaders, out->headers) != WIRE_OK) {
        return WIRE_INVALID;
    }
    out->body = take(&p, body);
    return WIRE_OK;
}
