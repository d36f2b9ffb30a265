/* wire.c: building messages. The layout of the bytes is in wire_layout.h. */

#include "wire.h"

#include "wire_layout.h"

#include <endian.h>
#include <stdlib.h>

#define BUF_FIRST 4096
#define BUF_KEEP  (1024 * 1024)

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
wire_put_metrics(wire_buf_t *buf, slice_t text)
{
    uint8_t *p;
    int rc = record_begin(buf, WIRE_METRICS, 0, 0, text.len, &p);

    if (rc == WIRE_OK) {
        put_bytes(p, text.data, text.len);
    }
    return rc;
}
