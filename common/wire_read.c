/* wire_read.c: taking messages apart. The layout of the bytes is in
 * wire_layout.h. The message is outside input: every length is checked
 * against the bytes that are there before anything is taken. */

#include "wire.h"

#include "wire_layout.h"

#include <endian.h>

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
           || (type >= WIRE_BEAT && type <= WIRE_METRICS);
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
