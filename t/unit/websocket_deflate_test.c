/* websocket_deflate_test.c: what RFC 7692 lets a client offer is answered so
 * that both can keep it, what a client compresses is read, what it sends
 * instead is refused before it costs much. Sections are those of RFC 7692
 * where nothing else is said. */

#include "common/websocket_deflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include <cmocka.h>

/* ---- offers ---- */

#define AGREED "permessage-deflate; server_no_context_takeover; " \
    "client_no_context_takeover"
#define NONE   ""
#define BROKEN NULL
#define PMD    "permessage-deflate"
#define SERVER_BITS PMD "; server_max_window_bits"
#define CLIENT_BITS PMD "; client_max_window_bits"

typedef struct {
    const char *name;
    const char *offer;
    const char *answer;     /* NONE, BROKEN or the text */
    int bits;
} offer_t;

static const offer_t offers[] = {
    { "no header", "", NONE, 0 },
    { "an empty list", " , ,\t", NONE, 0 },
    { "5.1 the plain offer", PMD, AGREED, 15 },
    { "5.1 space around it", "  " PMD "\t", AGREED, 15 },
    { "5.1 empty elements around it", ",, " PMD " ,", AGREED, 15 },
    { "5.1 another extension", "x-webkit-deflate-frame", NONE, 0 },
    { "5.1 another extension with parameters", "foo; bar; baz=1; q=\"x\"",
      NONE, 0 },
    { "5.1 after another extension", "foo; bar=1, " PMD, AGREED, 15 },
    { "5.1 before another extension", PMD ", foo; bar", AGREED, 15 },
    { "5.1 a longer name", PMD "-x", NONE, 0 },
    { "5.1 a shorter name", "permessage-deflat", NONE, 0 },

    { "7.1 an unknown parameter", PMD "; foo", NONE, 0 },
    { "7.1 an unknown parameter with a value", PMD "; foo=1", NONE, 0 },
    { "7.1 twice the same", PMD "; server_no_context_takeover; "
      "server_no_context_takeover", NONE, 0 },
    { "7.1 twice the same with values", SERVER_BITS "=10; "
      "server_max_window_bits=11", NONE, 0 },
    { "7.1 twice the same without", CLIENT_BITS "; client_max_window_bits",
      NONE, 0 },
    { "7.1 the next offer is looked at", PMD "; foo, " PMD, AGREED, 15 },
    { "7.1 the first that can be kept",
      SERVER_BITS "=8, " SERVER_BITS "=12, " SERVER_BITS "=10",
      AGREED "; server_max_window_bits=12", 12 },
    { "7.1 all parameters",
      PMD "; server_no_context_takeover;client_no_context_takeover ; "
      "server_max_window_bits=11; client_max_window_bits=10",
      AGREED "; server_max_window_bits=11", 11 },
    { "7.1 what browsers offer", CLIENT_BITS, AGREED, 15 },

    { "7.1.1.1 server_no_context_takeover",
      PMD "; server_no_context_takeover", AGREED, 15 },
    { "7.1.1.1 has no value", PMD "; server_no_context_takeover=1", NONE,
      0 },
    { "7.1.1.1 nor a quoted one",
      PMD "; server_no_context_takeover=\"x\"", NONE, 0 },
    { "7.1.1.2 client_no_context_takeover",
      PMD "; client_no_context_takeover", AGREED, 15 },
    { "7.1.1.2 has no value", PMD "; client_no_context_takeover=true", NONE,
      0 },

    { "7.1.2.1 a window of 9", SERVER_BITS "=9",
      AGREED "; server_max_window_bits=9", 9 },
    { "7.1.2.1 a window of 10", SERVER_BITS "=10",
      AGREED "; server_max_window_bits=10", 10 },
    { "7.1.2.1 a window of 15", SERVER_BITS "=15",
      AGREED "; server_max_window_bits=15", 15 },
    { "7.1.2.1 a window of 8, which zlib has not", SERVER_BITS "=8", NONE,
      0 },
    { "7.1.2.1 needs a value", SERVER_BITS, NONE, 0 },
    { "7.1.2.1 below 8", SERVER_BITS "=7", NONE, 0 },
    { "7.1.2.1 above 15", SERVER_BITS "=16", NONE, 0 },
    { "7.1.2.1 far above", SERVER_BITS "=115", NONE, 0 },
    { "7.1.2.1 beyond any number", SERVER_BITS
      "=11000000000000000000000000000000", NONE, 0 },
    { "7.1.2.1 zero", SERVER_BITS "=0", NONE, 0 },
    { "7.1.2.1 a leading zero", SERVER_BITS "=09", NONE, 0 },
    { "7.1.2.1 a leading zero of two digits", SERVER_BITS "=010", NONE, 0 },
    { "7.1.2.1 a sign", SERVER_BITS "=+9", NONE, 0 },
    { "7.1.2.1 below zero", SERVER_BITS "=-9", NONE, 0 },
    { "7.1.2.1 no number", SERVER_BITS "=ten", NONE, 0 },
    { "7.1.2.1 half a number", SERVER_BITS "=1x", NONE, 0 },
    { "7.1.2.1 a fraction", SERVER_BITS "=9.5", NONE, 0 },
    { "7.1.2.1 a quoted value", SERVER_BITS "=\"10\"",
      AGREED "; server_max_window_bits=10", 10 },
    { "7.1.2.1 a quoted value with escapes", SERVER_BITS "=\"\\1\\0\"",
      AGREED "; server_max_window_bits=10", 10 },
    { "7.1.2.1 a quoted value that is none", SERVER_BITS "=\"100\"", NONE,
      0 },
    { "7.1.2.1 space around the sign", SERVER_BITS " = 10",
      AGREED "; server_max_window_bits=10", 10 },

    { "7.1.2.2 a window of ours for the client", CLIENT_BITS "=8", AGREED,
      15 },
    { "7.1.2.2 of 15", CLIENT_BITS "=15", AGREED, 15 },
    { "7.1.2.2 below 8", CLIENT_BITS "=7", NONE, 0 },
    { "7.1.2.2 above 15", CLIENT_BITS "=16", NONE, 0 },
    { "7.1.2.2 a leading zero", CLIENT_BITS "=08", NONE, 0 },
    { "7.1.2.2 no number", CLIENT_BITS "=x", NONE, 0 },

    { "6455 9.1 no extension before a parameter", "; foo", BROKEN, 0 },
    { "6455 9.1 a parameter without a name", PMD ";", BROKEN, 0 },
    { "6455 9.1 a parameter without a name before another", PMD ";; foo",
      BROKEN, 0 },
    { "6455 9.1 no name but a value", PMD "; =1", BROKEN, 0 },
    { "6455 9.1 no value", SERVER_BITS "=", BROKEN, 0 },
    { "6455 9.1 no value before another", SERVER_BITS "=; foo", BROKEN, 0 },
    { "6455 9.1 an empty quoted value", SERVER_BITS "=\"\"", BROKEN, 0 },
    { "6455 9.1 a quoted value that does not end", SERVER_BITS "=\"10",
      BROKEN, 0 },
    { "6455 9.1 an escape of nothing", SERVER_BITS "=\"10\\", BROKEN, 0 },
    { "6455 9.1 a quoted value that is no token", "foo; a=\"b c\"", BROKEN,
      0 },
    { "6455 9.1 an escaped quote is no token", "foo; a=\"\\\"\"", BROKEN,
      0 },
    { "6455 9.1 two extensions without a comma", PMD " foo", BROKEN, 0 },
    { "6455 9.1 two values", SERVER_BITS "=\"10\"10", BROKEN, 0 },
    { "6455 9.1 a separator for a name", "@", BROKEN, 0 },
    { "6455 9.1 a slash", "permessage/deflate", BROKEN, 0 },
    { "6455 9.1 a control character", PMD "\x01", BROKEN, 0 },
    { "6455 9.1 what is no ASCII", PMD "; f\xc3\xb6\xc3\xb6", BROKEN, 0 },
    { "6455 9.1 broken after an offer that could be kept", PMD ", @",
      BROKEN, 0 },
};

#define OFFERS (sizeof(offers) / sizeof(offers[0]))

/* An exact copy of the offer, so that a sanitizer sees a read past its end. */
static int
negotiate(const char *offer, char *out, size_t out_size, int *bits)
{
    size_t len = strlen(offer);
    char *copy = malloc(len > 0 ? len : 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy, offer, len);
    rc = ws_deflate_negotiate((slice_t) { copy, len }, out, out_size, bits);
    free(copy);
    return rc;
}

static void
an_offer(void **state)
{
    const offer_t *offer = *state;
    char out[WS_DEFLATE_ANSWER] = "as it was";
    int bits = -7;
    int rc = negotiate(offer->offer, out, sizeof(out), &bits);

    if (offer->answer == BROKEN || offer->answer[0] == '\0') {
        assert_int_equal(rc, offer->answer == BROKEN ? -1 : 0);
        assert_string_equal(out, "as it was");
        assert_int_equal(bits, -7);
        return;
    }

    assert_int_equal(rc, 1);
    assert_string_equal(out, offer->answer);
    assert_int_equal(bits, offer->bits);
}

/* Wherever an offer is cut, it is answered or refused, and never read on. */
static void
offers_are_cut_anywhere(void **state)
{
    (void) state;

    for (size_t i = 0; i < OFFERS; i++) {
        char text[256];

        for (size_t len = 0; len <= strlen(offers[i].offer); len++) {
            char out[WS_DEFLATE_ANSWER];
            int bits = 0;

            snprintf(text, sizeof(text), "%.*s", (int) len, offers[i].offer);
            if (negotiate(text, out, sizeof(out), &bits) == 1) {
                assert_in_range(bits, WS_WINDOW_MIN, WS_WINDOW_MAX);
                assert_in_range(strlen(out), strlen(AGREED),
                    sizeof(out) - 1);
            }
        }
    }
}

static void
an_answer_needs_its_room(void **state)
{
    char out[WS_DEFLATE_ANSWER];
    int bits = 0;

    (void) state;

    assert_int_equal(negotiate(PMD, out, strlen(AGREED) + 1, &bits), 1);
    assert_string_equal(out, AGREED);
    assert_int_equal(negotiate(PMD, out, strlen(AGREED), &bits), 0);
    assert_int_equal(negotiate(PMD, out, 0, &bits), 0);
}

/* ---- inflate ---- */

#define MAX (1 << 20)

static ws_inflater_t *inflater;

/* An exact copy again. Returns what ws_inflate does. */
static int
inflate_copy(const void *data, size_t len, size_t max, slice_t *out)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy, data, len);
    rc = ws_inflate(inflater, copy, len, max, out);
    free(copy);
    return rc;
}

typedef struct {
    const char *name;
    slice_t payload;
    int code;
    const char *message;
} payload_t;

#define BYTES(literal) { (literal), sizeof(literal) - 1 }

static const payload_t payloads[] = {
    { "7.2.3.1 one block", BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00"), 0,
      "Hello" },
    { "7.2.3.3 a block without compression",
      BYTES("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), 0, "Hello" },
    { "7.2.3.4 a block with BFINAL set",
      BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), 0, "Hello" },
    { "7.2.3.4 without the byte behind it",
      BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00"), 0, "Hello" },
    { "7.2.3.4 two of them",
      BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
      0, "HelloHello" },
    { "7.2.3.4 one, then one without",
      BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00"), 0,
      "HelloHello" },
    { "7.2.3.4 empty ones", BYTES("\x03\x00\x03\x00\x00"), 0, "" },
    { "7.2.3.4 with the stored block that is the tail", BYTES("\x01"), 0,
      "" },
    { "7.2.3.5 two blocks",
      BYTES("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), 0,
      "Hello" },
    { "7.2.3.6 a message without bytes", BYTES("\x00"), 0, "" },
    { "7.2.3.6 a block without any", BYTES("\x02\x00"), 0, "" },

    { "7.2.2 no block at all", BYTES(""), WS_INVALID_DATA, NULL },
    { "7.2.2 an unknown type of block", BYTES("\xff"), WS_INVALID_DATA,
      NULL },
    { "7.2.2 lengths that do not match",
      BYTES("\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00"),
      WS_INVALID_DATA, NULL },
    { "7.2.2 a stored block cut",
      BYTES("\x00\xff\x00\x00\xff\x48\x65\x6c\x6c\x6f"), WS_INVALID_DATA,
      NULL },
    { "7.2.2 a block cut", BYTES("\xf2\x48\xcd"), WS_INVALID_DATA, NULL },
    { "7.2.2 text that is not compressed", BYTES("Hello, Hello, Hello"),
      WS_INVALID_DATA, NULL },
    { "7.2.2 codes that cannot be",
      BYTES("\x04\x00\xff\xff\xff\xff\xff\xff\xff"), WS_INVALID_DATA, NULL },
    { "7.2.2 junk behind the message",
      BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\xff"), WS_INVALID_DATA, NULL },
    { "7.1.1.2 what refers to an earlier message",
      BYTES("\xf2\x00\x11\x00\x00"), WS_INVALID_DATA, NULL },
};

#define PAYLOADS (sizeof(payloads) / sizeof(payloads[0]))

/* After another message, which must not matter. */
static void
a_payload(void **state)
{
    const payload_t *payload = *state;
    slice_t out;

    assert_int_equal(inflate_copy(payloads[0].payload.data,
        payloads[0].payload.len, MAX, &out), 0);
    for (int again = 0; again < 2; again++) {
        int code = inflate_copy(payload->payload.data, payload->payload.len,
            MAX, &out);

        assert_int_equal(code, payload->code);
        if (code == 0) {
            assert_int_equal(out.len, strlen(payload->message));
            assert_memory_equal(out.data, payload->message, out.len);
        }
    }
}

/* ---- both ways ---- */

static uint8_t *
random_bytes(size_t len, unsigned alphabet)
{
    uint8_t *data = malloc(len > 0 ? len : 1);
    uint32_t x = 2463534242u;

    assert_non_null(data);
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        data[i] = (uint8_t) ('A' + x % alphabet);
    }
    return data;
}

/* Deflates an exact copy; the payload is the deflater's. */
static slice_t
deflated(ws_deflater_t *deflater, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    slice_t payload;

    assert_non_null(copy);
    memcpy(copy, data, len);
    assert_int_equal(ws_deflate(deflater, copy, len, &payload), 0);
    free(copy);
    return payload;
}

static void
what_is_deflated_is_inflated(void **state)
{
    static const size_t lengths[] = {
        0, 1, 2, 3, 10, 100, 1000, 4095, 16380, 16384, 32768, 40000, 65535,
        65536, 300000, MAX + 1
    };

    (void) state;

    for (int bits = WS_WINDOW_MIN; bits <= WS_WINDOW_MAX; bits++) {
        ws_deflater_t *deflater = ws_deflater_new(bits);

        assert_non_null(deflater);
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            for (unsigned alphabet = 1; alphabet <= 256; alphabet *= 16) {
                uint8_t *data = random_bytes(lengths[i], alphabet);
                slice_t payload = deflated(deflater, data, lengths[i]);
                slice_t out;

                assert_true(payload.len > 0);
                assert_int_equal(inflate_copy(payload.data, payload.len,
                    2 * MAX, &out), 0);
                assert_int_equal(out.len, lengths[i]);
                assert_memory_equal(out.data, data, out.len);
                free(data);
            }
        }
        ws_deflater_free(deflater);
    }
}

/* 7.2.1, 7.2.3.6: the tail is left out, and a message is never nothing. */
static void
the_tail_is_left_out(void **state)
{
    ws_deflater_t *deflater = ws_deflater_new(WS_WINDOW_MAX);
    slice_t payload;

    (void) state;

    payload = deflated(deflater, (const uint8_t *) "", 0);
    assert_int_equal(payload.len, 1);
    assert_int_equal(payload.data[0], 0);

    payload = deflated(deflater, (const uint8_t *) "Hello", 5);
    assert_int_equal(payload.len, 7);
    assert_memory_equal(payload.data, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
    ws_deflater_free(deflater);
}

/* 7.1.1.1: no message refers to an earlier one: the same is the same. */
static void
each_message_stands_alone(void **state)
{
    ws_deflater_t *deflater = ws_deflater_new(WS_WINDOW_MAX);
    uint8_t *data = random_bytes(5000, 200);
    slice_t payload;
    uint8_t *first;
    size_t len;

    (void) state;

    payload = deflated(deflater, data, 5000);
    len = payload.len;
    first = malloc(len);
    assert_non_null(first);
    memcpy(first, payload.data, len);
    for (int i = 0; i < 3; i++) {
        payload = deflated(deflater, data, 5000);
        assert_int_equal(payload.len, len);
        assert_memory_equal(payload.data, first, len);
    }
    free(first);
    free(data);
    ws_deflater_free(deflater);
}

/* Inflates it with that window alone: so little at a time that zlib has
 * nothing else to look back at. */
static void
assert_read_with(int bits, slice_t payload, const uint8_t *data, size_t len)
{
    z_stream z = { 0 };
    size_t done = 0;
    uint8_t out[64];
    int rc;

    assert_int_equal(inflateInit2(&z, -bits), Z_OK);
    z.next_in = (Bytef *) payload.data;
    z.avail_in = (uInt) payload.len;
    do {
        z.next_out = out;
        z.avail_out = sizeof(out);
        rc = inflate(&z, Z_SYNC_FLUSH);
        assert_true(rc == Z_OK || rc == Z_BUF_ERROR);
        assert_memory_equal(out, data + done, sizeof(out) - z.avail_out);
        done += sizeof(out) - z.avail_out;
    } while (z.avail_out == 0);
    assert_int_equal(done, len);
    inflateEnd(&z);
}

/* 7.1.2.1: a client with that window and no more can read it. The data
 * repeats itself just within and just beyond the window. */
static void
the_window_is_kept(void **state)
{
    (void) state;

    for (int bits = WS_WINDOW_MIN; bits < WS_WINDOW_MAX; bits++) {
        size_t window = (size_t) 1 << bits;
        size_t len = 8 * window;
        uint8_t *data = random_bytes(len, 256);
        ws_deflater_t *deflater = ws_deflater_new(bits);

        memcpy(data + 3 * window / 2, data + window - 400, 300);
        memcpy(data + 5 * window, data + 5 * window - window / 2, 256);
        memcpy(data + 7 * window, data + 4 * window, 200);
        assert_read_with(bits, deflated(deflater, data, len), data, len);
        ws_deflater_free(deflater);
        free(data);
    }
}

/* Nor does a message that fits into it need more, whatever it was deflated
 * with. It ends as it begins. */
static void
a_message_fits_into_a_window_of_its_length(void **state)
{
    ws_deflater_t *deflater = ws_deflater_new(WS_WINDOW_MAX);

    (void) state;

    for (int bits = WS_WINDOW_MIN; bits < WS_WINDOW_MAX; bits++) {
        size_t len = (size_t) 1 << bits;
        uint8_t *data = random_bytes(len, 256);
        slice_t payload;

        memcpy(data + len - 100, data, 100);
        payload = deflated(deflater, data, len);
        assert_read_with(bits, payload, data, len);
        free(data);
    }
    ws_deflater_free(deflater);
}

/* 7.1.2.2: a client that was told nothing may use the whole window. */
static void
a_client_may_use_32_kib(void **state)
{
    size_t len = 40000;
    uint8_t *data = random_bytes(len, 256);
    uint8_t *packed = malloc(2 * len);
    z_stream z = { 0 };
    slice_t out;

    (void) state;

    assert_non_null(packed);
    memcpy(data + 33000, data + 33000 - 32500, 300);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 9,
        Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = data;
    z.avail_in = (uInt) len;
    z.next_out = packed;
    z.avail_out = (uInt) (2 * len);
    assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
    assert_int_equal(inflate_copy(packed, 2 * len - z.avail_out - 4, MAX,
        &out), 0);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, data, len);
    deflateEnd(&z);
    free(packed);
    free(data);
}

/* 7.2.3.4: a message that ends with BFINAL, of lengths around the room that
 * there is at first. */
static void
the_last_block_may_fill_the_room(void **state)
{
    (void) state;

    for (size_t len = 16380; len <= 16390; len++) {
        ws_inflater_t *fresh = ws_inflater_new();
        uint8_t *data = random_bytes(len, 1);
        uint8_t packed[1024];
        z_stream z = { 0 };
        slice_t out;

        assert_non_null(fresh);
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -15, 8,
            Z_DEFAULT_STRATEGY), Z_OK);
        z.next_in = data;
        z.avail_in = (uInt) len;
        z.next_out = packed;
        z.avail_out = sizeof(packed);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        assert_int_equal(ws_inflate(fresh, packed, sizeof(packed)
            - z.avail_out, MAX, &out), 0);
        assert_int_equal(out.len, len);
        assert_memory_equal(out.data, data, len);
        deflateEnd(&z);
        free(data);
        ws_inflater_free(fresh);
    }
}

/* Each payload cut anywhere is refused, or is a beginning of the message: a
 * cut can fall where a block ends. */
static void
a_cut_payload_is_no_message(void **state)
{
    ws_deflater_t *deflater = ws_deflater_new(WS_WINDOW_MAX);
    uint8_t *data = random_bytes(3000, 20);
    slice_t payload, out;
    unsigned accepted = 0;

    (void) state;

    payload = deflated(deflater, data, 3000);
    for (size_t len = 0; len < payload.len; len++) {
        int code = inflate_copy(payload.data, len, MAX, &out);

        if (code == 0) {
            accepted++;
        } else {
            assert_int_equal(code, WS_INVALID_DATA);
        }
    }
    assert_in_range(accepted, 0, 2);
    free(data);
    ws_deflater_free(deflater);
}

static void
too_long_is_refused(void **state)
{
    static const size_t lengths[] = { 0, 1, 100, 16383, 16384, 16385, 100000 };
    ws_deflater_t *deflater = ws_deflater_new(WS_WINDOW_MAX);
    slice_t out;

    (void) state;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (unsigned alphabet = 1; alphabet <= 256; alphabet *= 256) {
            size_t len = lengths[i];
            uint8_t *data = random_bytes(len, alphabet);
            slice_t payload = deflated(deflater, data, len);

            assert_int_equal(inflate_copy(payload.data, payload.len, len,
                &out), 0);
            assert_int_equal(out.len, len);
            if (len > 0) {
                assert_int_equal(inflate_copy(payload.data, payload.len,
                    len - 1, &out), WS_TOO_BIG);
                assert_int_equal(inflate_copy(payload.data, payload.len, 0,
                    &out), WS_TOO_BIG);
            }
            assert_int_equal(inflate_copy(payload.data, payload.len,
                SIZE_MAX, &out), 0);
            free(data);
        }
    }
    ws_deflater_free(deflater);
}

/* 64 MiB in some 300 KiB: the answer comes without inflating them. */
static void
a_bomb_is_refused(void **state)
{
    ws_deflater_t *deflater = ws_deflater_new(WS_WINDOW_MAX);
    size_t len = (size_t) 64 << 20;
    uint8_t *zeros = calloc(1, len);
    slice_t payload, out;

    (void) state;

    assert_non_null(zeros);
    assert_int_equal(ws_deflate(deflater, zeros, len, &payload), 0);
    free(zeros);
    assert_in_range(payload.len, 1, MAX - 1);
    assert_int_equal(inflate_copy(payload.data, payload.len, MAX, &out),
        WS_TOO_BIG);
    assert_int_equal(inflate_copy(payloads[0].payload.data,
        payloads[0].payload.len, MAX, &out), 0);
    ws_deflater_free(deflater);
}

/* Large messages between small ones: the buffer grows and shrinks under
 * them. */
static void
sizes_come_mixed(void **state)
{
    ws_deflater_t *deflater = ws_deflater_new(WS_WINDOW_MAX);
    slice_t payload, out;

    (void) state;

    for (int i = 0; i < 12; i++) {
        size_t len = i % 3 == 0 ? 4 * MAX + 7 : i % 3 == 1 ? 10 : MAX;
        uint8_t *data = random_bytes(len, i % 2 ? 256 : 5);

        payload = deflated(deflater, data, len);
        assert_int_equal(inflate_copy(payload.data, payload.len, 8 * MAX,
            &out), 0);
        assert_int_equal(out.len, len);
        assert_memory_equal(out.data, data, len);
        free(data);
    }
    ws_deflater_free(deflater);
}

static void
a_window_that_cannot_be(void **state)
{
    (void) state;

    assert_null(ws_deflater_new(8));
    assert_null(ws_deflater_new(16));
    ws_deflater_free(NULL);
    ws_inflater_free(NULL);
}

int
main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(offers_are_cut_anywhere),
        cmocka_unit_test(an_answer_needs_its_room),
        cmocka_unit_test(what_is_deflated_is_inflated),
        cmocka_unit_test(the_tail_is_left_out),
        cmocka_unit_test(each_message_stands_alone),
        cmocka_unit_test(the_window_is_kept),
        cmocka_unit_test(a_message_fits_into_a_window_of_its_length),
        cmocka_unit_test(a_client_may_use_32_kib),
        cmocka_unit_test(the_last_block_may_fill_the_room),
        cmocka_unit_test(a_cut_payload_is_no_message),
        cmocka_unit_test(too_long_is_refused),
        cmocka_unit_test(a_bomb_is_refused),
        cmocka_unit_test(sizes_come_mixed),
        cmocka_unit_test(a_window_that_cannot_be),
    };
    static struct CMUnitTest tests[OFFERS + PAYLOADS
        + sizeof(others) / sizeof(others[0])];
    struct CMUnitTest *test = tests;
    int failed;

    for (size_t i = 0; i < OFFERS; i++, test++) {
        test->name = offers[i].name;
        test->test_func = an_offer;
        test->initial_state = (void *) &offers[i];
    }
    for (size_t i = 0; i < PAYLOADS; i++, test++) {
        test->name = payloads[i].name;
        test->test_func = a_payload;
        test->initial_state = (void *) &payloads[i];
    }
    memcpy(test, others, sizeof(others));

    inflater = ws_inflater_new();
    if (inflater == NULL) {
        return 1;
    }
    cmocka_set_message_output(CM_OUTPUT_TAP);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    ws_inflater_free(inflater);
    return failed;
}
