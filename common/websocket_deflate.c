/* websocket_deflate.c: see websocket_deflate.h. Section numbers are those of
 * RFC 7692. */

#include "websocket_deflate.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

/* Level 6 would make JSON of 1 KB 1 % smaller and of 5 KB 3 %, in a fifth and
 * a half more time. The memory level is what has to be cleared for each
 * message; with 8 those of 50 KB would take half the time, short ones a tenth
 * more. */
#define LEVEL        1
#define MEMORY_LEVEL 6

#define BUFFER_FIRST (16 * 1024)
#define BUFFER_KEPT  (1024 * 1024)

/* Of z_stream.data_type: what was read so far ends where a block does. */
#define BLOCK_ENDED 128

/* What Z_SYNC_FLUSH ends with and the wire leaves out (7.2.1). */
static const uint8_t tail[] = { 0x00, 0x00, 0xff, 0xff };

/* ---- offers ---- */

typedef struct {
    const char *p;
    const char *end;
} reader_t;

/* A parameter's value is a token (quoted or not); those that mean something
 * to us are short. */
typedef struct {
    int present;
    size_t len;             /* what is beyond the text's room is dropped */
    char text[4];
} value_t;

typedef enum {
    SERVER_NO_TAKEOVER = 1, CLIENT_NO_TAKEOVER = 2, SERVER_BITS = 4,
    CLIENT_BITS = 8
} param_t;

typedef struct {
    int declined;
    unsigned seen;          /* param_t */
    int server_bits;
} offer_t;

static void
skip_space(reader_t *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t')) {
        r->p++;
    }
}

/* What stands next, when it is that, with the space around it. */
static int
take(reader_t *r, char c)
{
    skip_space(r);
    if (r->p == r->end || *r->p != c) {
        return 0;
    }
    r->p++;
    skip_space(r);
    return 1;
}

/* RFC 2616, 2.2: any character but controls and separators. */
static int
is_token(char c)
{
    return c > ' ' && c < 0x7f && strchr("()<>@,;:\\\"/[]?={}", c) == NULL;
}

/* -1: there is none. */
static int
take_token(reader_t *r, slice_t *token)
{
    token->data = r->p;
    while (r->p < r->end && is_token(*r->p)) {
        r->p++;
    }
    token->len = (size_t) (r->p - token->data);
    return token->len > 0 ? 0 : -1;
}

static void
put(value_t *value, char c)
{
    if (value->len < sizeof(value->text)) {
        value->text[value->len] = c;
    }
    value->len++;
}

/* What a quoted-string stands for has to be a token too. */
static int
take_quoted(reader_t *r, value_t *value)
{
    r->p++;
    while (r->p < r->end && *r->p != '"') {
        if (*r->p == '\\' && ++r->p == r->end) {
            return -1;
        }
        if (!is_token(*r->p)) {
            return -1;
        }
        put(value, *r->p++);
    }
    if (r->p == r->end || value->len == 0) {
        return -1;
    }
    r->p++;
    return 0;
}

static int
take_value(reader_t *r, value_t *value)
{
    slice_t token;

    value->present = 1;
    if (r->p < r->end && *r->p == '"') {
        return take_quoted(r, value);
    }
    if (take_token(r, &token) < 0) {
        return -1;
    }
    for (size_t i = 0; i < token.len; i++) {
        put(value, token.data[i]);
    }
    return 0;
}

/* 8 to 15, without leading zeros; 0 when it is no such number (7.1.2.1). */
static int
window_bits_of(const value_t *value)
{
    const char *text = value->text;

    if (value->len == 1 && (text[0] == '8' || text[0] == '9')) {
        return text[0] - '0';
    }
    if (value->len == 2 && text[0] == '1' && text[1] >= '0' && text[1] <= '5')
    {
        return 10 + text[1] - '0';
    }
    return 0;
}

/* 7.1: an offer with a parameter unknown, twice or with a value it cannot
 * have is declined. */
static void
take_in(offer_t *offer, slice_t name, const value_t *value)
{
    int bits = value->present ? window_bits_of(value) : 0;
    param_t param = 0;
    int right = 0;

    if (slice_equal(name, SLICE("server_no_context_takeover"))) {
        param = SERVER_NO_TAKEOVER;
        right = !value->present;
    } else if (slice_equal(name, SLICE("client_no_context_takeover"))) {
        param = CLIENT_NO_TAKEOVER;
        right = !value->present;
    } else if (slice_equal(name, SLICE("server_max_window_bits"))) {
        param = SERVER_BITS;
        right = bits >= WS_WINDOW_MIN;
        offer->server_bits = bits;
    } else if (slice_equal(name, SLICE("client_max_window_bits"))) {
        param = CLIENT_BITS;
        right = !value->present || bits > 0;
    }

    if (!right || (offer->seen & param)) {
        offer->declined = 1;
    }
    offer->seen |= param;
}

/* One extension with its parameters; -1 when it is not of the grammar. */
static int
take_offer(reader_t *r, offer_t *offer)
{
    slice_t name;

    memset(offer, 0, sizeof(*offer));
    if (take_token(r, &name) < 0) {
        return -1;
    }
    offer->declined = !slice_equal(name, SLICE("permessage-deflate"));

    while (take(r, ';')) {
        value_t value = { 0 };

        if (take_token(r, &name) < 0
            || (take(r, '=') && take_value(r, &value) < 0))
        {
            return -1;
        }
        take_in(offer, name, &value);
    }
    return 0;
}

static int
answer(const offer_t *offer, char *out, size_t out_size, int *window_bits)
{
    char text[WS_DEFLATE_ANSWER];
    char bits[40] = "";
    int len;

    if (offer->seen & SERVER_BITS) {
        snprintf(bits, sizeof(bits), "; server_max_window_bits=%d",
            offer->server_bits);
    }
    len = snprintf(text, sizeof(text), "permessage-deflate; "
        "server_no_context_takeover; client_no_context_takeover%s", bits);
    if ((size_t) len >= out_size) {
        return 0;
    }

    memcpy(out, text, (size_t) len + 1);
    *window_bits = offer->server_bits > 0 ? offer->server_bits : WS_WINDOW_MAX;
    return 1;
}

/* All of the list is read, what follows the accepted offer too: a list that
 * breaks off is refused whatever it began with. Elements may be empty, as in
 * any such list of RFC 2616. */
int
ws_deflate_negotiate(slice_t offers, char *out, size_t out_size,
    int *window_bits)
{
    reader_t r;
    offer_t offer, accepted = { .declined = 1 };

    if (offers.len == 0) {
        return 0;
    }

    r.p = offers.data;
    r.end = offers.data + offers.len;
    for (;;) {
        while (take(&r, ',')) {
            continue;
        }
        if (r.p == r.end) {
            break;
        }
        if (take_offer(&r, &offer) < 0) {
            return -1;
        }
        if (accepted.declined) {
            accepted = offer;
        }
        skip_space(&r);
        if (r.p < r.end && *r.p != ',') {
            return -1;
        }
    }

    return accepted.declined ? 0
                             : answer(&accepted, out, out_size, window_bits);
}

/* ---- buffer ---- */

typedef struct {
    uint8_t *data;
    size_t len;
    size_t size;
} buffer_t;

static int
buffer_resize(buffer_t *buffer, size_t size)
{
    uint8_t *data = realloc(buffer->data, size);

    if (data == NULL) {
        return -1;
    }
    buffer->data = data;
    buffer->size = size;
    return 0;
}

/* Empties it, and gives back what an uncommonly long message took. */
static void
buffer_reset(buffer_t *buffer)
{
    buffer->len = 0;
    if (buffer->size > BUFFER_KEPT) {
        buffer_resize(buffer, BUFFER_KEPT);
    }
}

/* Makes room for another byte at least; the size stays at most `max`. */
static int
buffer_grow(buffer_t *buffer, size_t max)
{
    size_t size = buffer->size > 0 ? 2 * buffer->size : BUFFER_FIRST;

    return buffer_resize(buffer, size < max ? size : max);
}

static slice_t
buffer_slice(const buffer_t *buffer)
{
    return (slice_t) { (const char *) buffer->data, buffer->len };
}

/* ---- inflate ---- */

struct ws_inflater_s {
    z_stream stream;
    buffer_t buffer;
    int ended;              /* with what it has read so far: BFINAL was set */
};

ws_inflater_t *
ws_inflater_new(void)
{
    ws_inflater_t *inflater = calloc(1, sizeof(*inflater));

    if (inflater != NULL
        && inflateInit2(&inflater->stream, -WS_WINDOW_MAX) != Z_OK)
    {
        free(inflater);
        return NULL;
    }
    return inflater;
}

void
ws_inflater_free(ws_inflater_t *inflater)
{
    if (inflater != NULL) {
        inflateEnd(&inflater->stream);
        free(inflater->buffer.data);
        free(inflater);
    }
}

/* One call of zlib's; 0, or the code to close with. What follows a block with
 * BFINAL set begins anew (7.2.3.4). */
static int
inflate_step(ws_inflater_t *inflater)
{
    z_stream *z = &inflater->stream;
    buffer_t *buffer = &inflater->buffer;

    if (inflater->ended) {
        inflateReset(z);
        inflater->ended = 0;
    }

    z->next_out = buffer->data + buffer->len;
    z->avail_out = (uInt) (buffer->size - buffer->len);
    switch (inflate(z, Z_SYNC_FLUSH)) {
    case Z_STREAM_END:
        inflater->ended = 1;
        break;
    case Z_OK:
    case Z_BUF_ERROR:
        break;
    case Z_MEM_ERROR:
        return WS_INTERNAL;
    default:
        return WS_INVALID_DATA;
    }
    buffer->len = buffer->size - z->avail_out;
    return 0;
}

/* Inflates all of those bytes, and what zlib still holds when it has read
 * them. */
static int
inflate_bytes(ws_inflater_t *inflater, const uint8_t *data, size_t len,
    size_t max)
{
    z_stream *z = &inflater->stream;
    buffer_t *buffer = &inflater->buffer;
    int code;

    z->next_in = (Bytef *) data;
    z->avail_in = (uInt) len;

    do {
        /* a byte more than may be: the room is not full by what may */
        if (buffer->len == buffer->size && buffer_grow(buffer, max + 1) < 0) {
            return WS_INTERNAL;
        }
        code = inflate_step(inflater);
        if (code == 0 && buffer->len > max) {
            code = WS_TOO_BIG;
        }
        if (code != 0) {
            return code;
        }
    } while (z->avail_in > 0 || (z->avail_out == 0 && !inflater->ended));

    return 0;
}

int
ws_inflate(ws_inflater_t *inflater, const void *data, size_t len, size_t max,
    slice_t *out)
{
    int code;

    if (len > UINT_MAX) {
        return WS_TOO_BIG;
    }
    if (max > UINT_MAX - 1) {
        max = UINT_MAX - 1;
    }

    inflateReset(&inflater->stream);
    inflater->ended = 0;
    buffer_reset(&inflater->buffer);

    code = inflate_bytes(inflater, data, len, max);
    if (code == 0 && !inflater->ended) {
        code = inflate_bytes(inflater, tail, sizeof(tail), max);
        if (code == 0 && !inflater->ended
            && !(inflater->stream.data_type & BLOCK_ENDED))
        {
            code = WS_INVALID_DATA;
        }
    }
    if (code != 0) {
        return code;
    }

    *out = buffer_slice(&inflater->buffer);
    return 0;
}

/* ---- deflate ---- */

struct ws_deflater_s {
    z_stream stream;
    buffer_t buffer;
};

ws_deflater_t *
ws_deflater_new(int window_bits)
{
    ws_deflater_t *deflater = calloc(1, sizeof(*deflater));

    if (deflater != NULL
        && deflateInit2(&deflater->stream, LEVEL, Z_DEFLATED, -window_bits,
               MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
    {
        free(deflater);
        return NULL;
    }
    return deflater;
}

void
ws_deflater_free(ws_deflater_t *deflater)
{
    if (deflater != NULL) {
        deflateEnd(&deflater->stream);
        free(deflater->buffer.data);
        free(deflater);
    }
}

int
ws_deflate(ws_deflater_t *deflater, const void *data, size_t len,
    slice_t *out)
{
    z_stream *z = &deflater->stream;
    buffer_t *buffer = &deflater->buffer;

    if (len > UINT_MAX) {
        return WS_TOO_BIG;
    }

    deflateReset(z);
    buffer_reset(buffer);
    z->next_in = (Bytef *) data;
    z->avail_in = (uInt) len;

    /* the flush is over when it left room */
    do {
        if (buffer->len == buffer->size
            && buffer_grow(buffer, SIZE_MAX) < 0)
        {
            return WS_INTERNAL;
        }
        size_t room = buffer->size - buffer->len;

        z->next_out = buffer->data + buffer->len;
        z->avail_out = room < UINT_MAX ? (uInt) room : UINT_MAX;
        room = z->avail_out;
        deflate(z, Z_SYNC_FLUSH);
        buffer->len += room - z->avail_out;
    } while (z->avail_out == 0);

    buffer->len -= sizeof(tail);
    *out = buffer_slice(buffer);
    return 0;
}
