/* websocket_test.c: the frames that a client may send are taken, all others
 * refused with the right code, however the bytes are cut. Each rule of the
 * table is a test of its own, named after its section of RFC 6455 (or 7692);
 * each is fed whole, byte by byte, and in every two pieces. */

#include "common/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- bytes ---- */

typedef struct {
    uint8_t *data;
    size_t len;
    size_t size;
} bytes_t;

static void
append(bytes_t *bytes, const void *data, size_t len)
{
    if (bytes->len + len > bytes->size) {
        bytes->size = 2 * (bytes->len + len);
        bytes->data = realloc(bytes->data, bytes->size);
        assert_non_null(bytes->data);
    }
    if (len > 0) {
        memcpy(bytes->data + bytes->len, data, len);
        bytes->len += len;
    }
}

static void
release(bytes_t *bytes)
{
    free(bytes->data);
    memset(bytes, 0, sizeof(*bytes));
}

static void __attribute__((format(printf, 2, 3)))
say(bytes_t *bytes, const char *format, ...)
{
    char text[256];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    assert_in_range(len, 0, sizeof(text) - 1);
    append(bytes, text, (size_t) len);
}

/* What is printable as it is, the rest in hexadecimal. */
static void
say_data(bytes_t *bytes, const uint8_t *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        if (data[i] > ' ' && data[i] < 0x7f && data[i] != '\\') {
            append(bytes, data + i, 1);
        } else {
            const char escape[] = {
                '\\', digits[data[i] >> 4], digits[data[i] & 15]
            };

            append(bytes, escape, sizeof(escape));
        }
    }
}

/* A masked frame, its length in the shortest form. */
static void
put_frame(bytes_t *bytes, uint8_t first, const void *payload, size_t len,
    const uint8_t mask[4])
{
    uint8_t head[WS_HEADER_MAX];
    size_t head_len = ws_put_header(head, WS_TEXT, 0, len);
    size_t at;

    head[0] = first;
    head[1] |= 0x80;
    append(bytes, head, head_len);
    append(bytes, mask, 4);
    at = bytes->len;
    append(bytes, payload, len);
    for (size_t i = 0; i < len; i++) {
        bytes->data[at + i] ^= mask[i % 4];
    }
}

static const uint8_t key[4] = { 0x37, 0xfa, 0x21, 0x3d };

/* ---- transcript: what came of the bytes, whatever their pieces were ---- */

typedef struct {
    bytes_t text;
    bytes_t message;        /* of the one under way */
    int failed;
    int closed;
    int under_way;
} transcript_t;

static void
note_data(transcript_t *t, const ws_piece_t *piece)
{
    assert_int_equal(piece->first != 0, !t->under_way);
    assert_true(piece->opcode == WS_TEXT || piece->opcode == WS_BINARY);
    t->under_way = 1;
    append(&t->message, piece->data.data, piece->data.len);
    if (!piece->last) {
        return;
    }

    say(&t->text, "%s%s ", piece->compressed ? "compressed " : "",
        piece->opcode == WS_TEXT ? "text" : "binary");
    say_data(&t->text, t->message.data, t->message.len);
    say(&t->text, "\n");
    t->under_way = 0;
    t->message.len = 0;
}

static void
note_control(transcript_t *t, const ws_piece_t *piece)
{
    if (piece->opcode == WS_CLOSE) {
        say(&t->text, "close %u ", piece->code);
        t->closed = 1;
    } else {
        assert_true(piece->opcode == WS_PING || piece->opcode == WS_PONG);
        say(&t->text, piece->opcode == WS_PING ? "ping " : "pong ");
    }
    say_data(&t->text, (const uint8_t *) piece->data.data, piece->data.len);
    say(&t->text, "\n");
}

/* Feeds a copy of exactly that many bytes. */
static void
feed(ws_parser_t *parser, const ws_limits_t *limits, const uint8_t *data,
    size_t len, transcript_t *t)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    size_t at = 0;

    assert_non_null(copy);
    memcpy(copy, data, len);

    while (!t->failed && !t->closed) {
        ws_piece_t piece;
        size_t used;
        ws_event_t event = ws_parse(parser, limits, copy + at, len - at,
            &used, &piece);

        assert_in_range(used, 0, len - at);
        at += used;

        if (event == WS_NEED) {
            assert_int_equal(at, len);
            break;
        } else if (event == WS_DATA) {
            assert_true(piece.data.data >= (char *) copy
                        && piece.data.data + piece.data.len
                           == (char *) copy + at);
            note_data(t, &piece);
        } else if (event == WS_CONTROL) {
            note_control(t, &piece);
        } else {
            assert_int_equal(event, WS_FAIL);
            assert_non_null(piece.reason);
            assert_in_range(strlen(piece.reason), 1, WS_CONTROL_MAX - 2);
            say(&t->text, "fail %u\n", piece.code);
            t->failed = 1;
        }
    }

    free(copy);
}

/* Ends the transcript: returned owned. */
static char *
finish(transcript_t *t)
{
    if (t->under_way && !t->failed && !t->closed) {
        say(&t->text, "unfinished ");
        say_data(&t->text, t->message.data, t->message.len);
        say(&t->text, "\n");
    }
    append(&t->text, "", 1);
    release(&t->message);
    return (char *) t->text.data;
}

/* In pieces of that size; the first of another when that is not 0. */
static char *
parse(const ws_limits_t *limits, const bytes_t *bytes, size_t first,
    size_t size)
{
    ws_parser_t parser;
    transcript_t t = { 0 };
    size_t at = 0;

    ws_parser_init(&parser);
    if (first > 0) {
        feed(&parser, limits, bytes->data, first, &t);
        at = first;
    }
    while (at < bytes->len && !t.failed && !t.closed) {
        size_t n = bytes->len - at < size ? bytes->len - at : size;

        feed(&parser, limits, bytes->data + at, n, &t);
        at += n;
    }
    return finish(&t);
}

static void
expect_pieces(const ws_limits_t *limits, const bytes_t *bytes, size_t first,
    size_t size, const char *expected)
{
    char *got = parse(limits, bytes, first, size);

    if (strcmp(got, expected) != 0) {
        fail_msg("pieces %zu, %zu:\n%s instead of\n%s", first, size, got,
            expected);
    }
    free(got);
}

static void
expect_every_split(const ws_limits_t *limits, const bytes_t *bytes,
    const char *expected)
{
    expect_pieces(limits, bytes, 0, SIZE_MAX, expected);
    for (size_t size = 1; size <= 5; size++) {
        expect_pieces(limits, bytes, 0, size, expected);
    }
    for (size_t first = 1; first < bytes->len; first++) {
        expect_pieces(limits, bytes, first, SIZE_MAX, expected);
    }
}

/* ---- the rules ---- */

typedef struct {
    uint8_t first;          /* FIN, RSV, opcode */
    slice_t payload;
} frame_t;

typedef struct {
    const char *name;
    const char *expected;
    frame_t frames[6];
    slice_t raw;            /* after the frames, as it is */
    int deflate;
} rule_t;

#define BYTES(literal) { (literal), sizeof(literal) - 1 }
#define F(first, literal) { (first), BYTES(literal) }

#define MESSAGE_MAX   1000
#define FRAGMENTS_MAX 4

#define TEXT   0x81
#define BINARY 0x82
#define CLOSE  0x88
#define PING   0x89
#define PONG   0x8a
#define MORE_TEXT   0x01
#define MORE_BINARY 0x02
#define MORE   0x00
#define LAST   0x80

static const rule_t rules[] = {
    /* data */
    { "5.6 a text message", "text Hello\n", .frames = { F(TEXT, "Hello") } },
    { "5.6 a binary message", "binary \\00\\ff\n",
      .frames = { F(BINARY, "\0\xff") } },
    { "5.6 a message without bytes", "text \nbinary \n",
      .frames = { F(TEXT, ""), F(BINARY, "") } },
    { "5.6 one message after another", "text a\nbinary b\ntext c\n",
      .frames = { F(TEXT, "a"), F(BINARY, "b"), F(TEXT, "c") } },
    { "5.7 the example: a masked text message", "text Hello\n",
      .raw = BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58") },
    { "5.2 a frame that has not all come", "unfinished Hel\n",
      .raw = BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d") },
    { "5.2 a header alone says nothing", "",
      .raw = BYTES("\x81\x85\x37\xfa\x21\x3d") },

    /* 5.1 */
    { "5.1 a frame without a mask", "fail 1002\n",
      .raw = BYTES("\x81\x05Hello") },
    { "5.1 a frame without a mask and payload", "fail 1002\n",
      .raw = BYTES("\x81\x00") },
    { "5.1 a ping without a mask", "fail 1002\n", .raw = BYTES("\x89\x00") },
    { "5.1 is seen at its second byte", "text a\nfail 1002\n",
      .frames = { F(TEXT, "a") }, .raw = BYTES("\x82\x7e") },

    /* 5.2 */
    { "5.2 RSV1 without an extension", "fail 1002\n",
      .frames = { F(0xc1, "a") } },
    { "5.2 RSV2", "fail 1002\n", .frames = { F(0xa1, "a") } },
    { "5.2 RSV3", "fail 1002\n", .frames = { F(0x91, "a") } },
    { "5.2 RSV1 of a ping", "fail 1002\n", .frames = { F(0xc9, "a") } },
    { "5.2 RSV2 of a ping", "fail 1002\n", .frames = { F(0xa9, "a") } },
    { "5.2 RSV3 of a close", "fail 1002\n", .frames = { F(0x98, "") } },
    { "5.2 RSV3 of a continuation", "fail 1002\n",
      .frames = { F(MORE_TEXT, "a"), F(0x90, "b") } },
    { "5.2 opcode 3", "fail 1002\n", .frames = { F(0x83, "") } },
    { "5.2 opcode 4", "fail 1002\n", .frames = { F(0x84, "") } },
    { "5.2 opcode 5", "fail 1002\n", .frames = { F(0x85, "") } },
    { "5.2 opcode 6", "fail 1002\n", .frames = { F(0x86, "") } },
    { "5.2 opcode 7", "fail 1002\n", .frames = { F(0x87, "") } },
    { "5.2 opcode 11", "fail 1002\n", .frames = { F(0x8b, "") } },
    { "5.2 opcode 12", "fail 1002\n", .frames = { F(0x8c, "") } },
    { "5.2 opcode 13", "fail 1002\n", .frames = { F(0x8d, "") } },
    { "5.2 opcode 14", "fail 1002\n", .frames = { F(0x8e, "") } },
    { "5.2 opcode 15", "fail 1002\n", .frames = { F(0x8f, "") } },
    { "5.2 an opcode is judged at its first byte", "fail 1002\n",
      .raw = BYTES("\x83") },
    { "5.2 a short length in 16 bits", "fail 1002\n",
      .raw = BYTES("\x82\xfe\x00\x7d") },
    { "5.2 no length in 16 bits", "fail 1002\n",
      .raw = BYTES("\x82\xfe\x00\x00") },
    { "5.2 the least length in 16 bits", "",
      .raw = BYTES("\x82\xfe\x00\x7e") },
    { "5.2 a short length in 64 bits", "fail 1002\n",
      .raw = BYTES("\x82\xff\0\0\0\0\0\0\0\x7d") },
    { "5.2 a length of 16 bits in 64", "fail 1002\n",
      .raw = BYTES("\x82\xff\0\0\0\0\0\0\xff\xff") },
    { "5.2 the highest bit of 64", "fail 1002\n",
      .raw = BYTES("\x82\xff\x80\0\0\0\0\0\0\0") },
    { "5.2 all bits of 64", "fail 1002\n",
      .raw = BYTES("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff") },
    { "10.4 the greatest length of 63", "fail 1009\n",
      .raw = BYTES("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff") },
    { "10.4 the least length of 64 bits", "fail 1009\n",
      .raw = BYTES("\x82\xff\0\0\0\0\0\1\0\0") },
    { "10.4 the longest message, announced", "",
      .raw = BYTES("\x82\xfe\x03\xe8") },
    { "10.4 a byte more: refused before it comes", "fail 1009\n",
      .raw = BYTES("\x82\xfe\x03\xe9") },
    { "10.4 a byte more in a later frame", "fail 1009\n",
      .frames = { F(MORE_BINARY, "a") }, .raw = BYTES("\x80\xfe\x03\xe8") },
    { "10.4 the sum of the frames is what counts", "unfinished a\n",
      .frames = { F(MORE_BINARY, "a") }, .raw = BYTES("\x80\xfe\x03\xe7") },
    { "10.4 of one message, not of all",
      "binary abc\n",
      .frames = { F(BINARY, "abc") }, .raw = BYTES("\x82\xfe\x03\xe8") },

    /* 5.4 */
    { "5.4 a message in fragments", "text Hello\n",
      .frames = { F(MORE_TEXT, "Hel"), F(LAST, "lo") } },
    { "5.4 in more of them", "binary Hello\n",
      .frames = { F(MORE_BINARY, "H"), F(MORE, "e"), F(MORE, "ll"),
          F(LAST, "o") } },
    { "5.4 fragments without bytes", "text a\n",
      .frames = { F(MORE_TEXT, ""), F(MORE, ""), F(MORE, "a"), F(LAST, "") } },
    { "5.4 nothing but such", "text \n",
      .frames = { F(MORE_TEXT, ""), F(MORE, ""), F(LAST, "") } },
    { "5.4 a message that has not ended", "unfinished ab\n",
      .frames = { F(MORE_TEXT, "a"), F(MORE, "b") } },
    { "5.4 a ping between fragments", "ping x\npong y\ntext Hello\n",
      .frames = { F(MORE_TEXT, "Hel"), F(PING, "x"), F(PONG, "y"),
          F(LAST, "lo") } },
    { "5.4 a close between fragments", "close 1000 \n",
      .frames = { F(MORE_TEXT, "Hel"), F(CLOSE, "\x03\xe8") } },
    { "5.4 nothing to continue", "fail 1002\n", .frames = { F(LAST, "a") } },
    { "5.4 nothing to continue, unfinished", "fail 1002\n",
      .frames = { F(MORE, "a") } },
    { "5.4 nothing to continue after a message", "text a\nfail 1002\n",
      .frames = { F(TEXT, "a"), F(LAST, "b") } },
    { "5.4 nothing to continue after one in fragments",
      "text ab\nfail 1002\n",
      .frames = { F(MORE_TEXT, "a"), F(LAST, "b"), F(LAST, "c") } },
    { "5.4 a ping does not begin a message", "ping \nfail 1002\n",
      .frames = { F(PING, ""), F(LAST, "b") } },
    { "5.4 text inside a message", "fail 1002\n",
      .frames = { F(MORE_TEXT, "a"), F(TEXT, "b") } },
    { "5.4 binary inside a message", "fail 1002\n",
      .frames = { F(MORE_TEXT, "a"), F(MORE_BINARY, "b") } },
    { "5.4 a message inside one that began without bytes", "fail 1002\n",
      .frames = { F(MORE_TEXT, ""), F(TEXT, "b") } },
    { "10.4 as many fragments as may be", "binary abcd\n",
      .frames = { F(MORE_BINARY, "a"), F(MORE, "b"), F(MORE, "c"),
          F(LAST, "d") } },
    { "10.4 one more", "fail 1009\n",
      .frames = { F(MORE_BINARY, "a"), F(MORE, "b"), F(MORE, "c"), F(MORE, "d"),
        F(LAST, "e") } },
    { "10.4 one more without bytes", "fail 1009\n",
      .frames = { F(MORE_BINARY, ""), F(MORE, ""), F(MORE, ""), F(MORE, ""),
        F(LAST, "") } },
    { "10.4 pings are no fragments", "ping \nping \nbinary abc\n",
      .frames = { F(MORE_BINARY, "a"), F(PING, ""), F(MORE, "b"), F(PING, ""),
        F(LAST, "c") } },
    { "10.4 fragments of one message, not of all",
      "binary ab\nbinary cd\nbinary ef\n",
      .frames = { F(MORE_BINARY, "a"), F(LAST, "b"), F(MORE_BINARY, "c"),
        F(LAST, "d"), F(MORE_BINARY, "e"), F(LAST, "f") } },

    /* 5.5 */
    { "5.5 a control frame in fragments", "fail 1002\n",
      .frames = { F(0x09, "a") } },
    { "5.5 a close in fragments", "fail 1002\n",
      .frames = { F(0x08, "\x03\xe8") } },
    { "5.5 a pong in fragments", "fail 1002\n", .frames = { F(0x0a, "") } },
    { "5.5 a control frame of 126 bytes", "fail 1002\n",
      .raw = BYTES("\x89\xfe") },
    { "5.5 a close of 64 bits", "fail 1002\n", .raw = BYTES("\x88\xff") },
    { "5.5.2 a ping", "ping Hello\n", .frames = { F(PING, "Hello") } },
    { "5.5.2 a ping without bytes", "ping \n", .frames = { F(PING, "") } },
    { "5.5.2 a ping of any bytes", "ping \\00\\ff\\fe\n",
      .frames = { F(PING, "\0\xff\xfe") } },
    { "5.5.2 pings one after another", "ping a\nping b\nping \n",
      .frames = { F(PING, "a"), F(PING, "b"), F(PING, "") } },
    { "5.5.3 a pong", "pong Hello\n", .frames = { F(PONG, "Hello") } },
    { "5.5.1 a close without a code", "close 1005 \n",
      .frames = { F(CLOSE, "") } },
    { "5.5.1 a close", "close 1000 \n", .frames = { F(CLOSE, "\x03\xe8") } },
    { "5.5.1 a close with a reason", "close 1001 bye\n",
      .frames = { F(CLOSE, "\x03\xe9" "bye") } },
    { "5.5.1 a reason in UTF-8", "close 1001 \\e2\\82\\ac\n",
      .frames = { F(CLOSE, "\x03\xe9\xe2\x82\xac") } },
    { "5.5.1 half a code", "fail 1002\n", .frames = { F(CLOSE, "\x03") } },
    { "5.5.1 half a code, announced", "fail 1002\n",
      .raw = BYTES("\x88\x81") },
    { "8.1 a reason that is not UTF-8", "fail 1007\n",
      .frames = { F(CLOSE, "\x03\xe8\xff") } },
    { "8.1 a reason that breaks off", "fail 1007\n",
      .frames = { F(CLOSE, "\x03\xe8" "a\xe2\x82") } },

    /* 8.1 */
    { "8.1 text in UTF-8", "text \\e2\\82\\ac\\f0\\9f\\90\\9d\n",
      .frames = { F(TEXT, "\xe2\x82\xac\xf0\x9f\x90\x9d") } },
    { "8.1 a character cut by frames", "text \\f0\\9f\\90\\9d\n",
      .frames = { F(MORE_TEXT, "\xf0"), F(MORE, "\x9f\x90"),
          F(LAST, "\x9d") } },
    { "8.1 a character cut by frames and a ping", "ping \ntext \\c3\\a9\n",
      .frames = { F(MORE_TEXT, "\xc3"), F(PING, ""), F(LAST, "\xa9") } },
    { "8.1 a character cut by a frame without bytes", "text \\c3\\a9\n",
      .frames = { F(MORE_TEXT, "\xc3"), F(MORE, ""), F(LAST, "\xa9") } },
    { "8.1 a character that the message cuts", "fail 1007\n",
      .frames = { F(TEXT, "\xe2\x82") } },
    { "8.1 a character that the last frame cuts", "fail 1007\n",
      .frames = { F(MORE_TEXT, "\xe2"), F(LAST, "\x82") } },
    { "8.1 a character that an empty last frame cuts", "fail 1007\n",
      .frames = { F(MORE_TEXT, "\xe2\x82"), F(LAST, "") } },
    { "8.1 half a character is not bad yet", "unfinished a\\e2\\82\n",
      .frames = { F(MORE_TEXT, "a\xe2\x82") } },
    { "8.1 no UTF-8", "fail 1007\n", .frames = { F(TEXT, "\xff") } },
    { "8.1 an overlong form", "fail 1007\n",
      .frames = { F(TEXT, "\xc0\xaf") } },
    { "8.1 a surrogate", "fail 1007\n", .frames = { F(TEXT, "\xed\xa0\x80") } },
    { "8.1 beyond U+10FFFF", "fail 1007\n",
      .frames = { F(TEXT, "\xf4\x90\x80\x80") } },
    { "8.1 is seen before the message ends", "fail 1007\n",
      .frames = { F(MORE_TEXT, "abcdefgh\xff") } },
    { "8.1 is seen before the frame ends", "fail 1007\n",
      .raw = BYTES("\x81\x85\0\0\0\0a\xff") },
    { "8.1 a surrogate is seen at its second byte", "fail 1007\n",
      .raw = BYTES("\x81\x85\0\0\0\0\xed\xa0") },
    { "8.1 each message begins anew", "text a\nfail 1007\n",
      .frames = { F(TEXT, "a"), F(TEXT, "\xa9") } },
    { "8.1 binary is not looked at", "binary \\ff\n",
      .frames = { F(BINARY, "\xff") } },
    { "8.1 binary in fragments is not", "binary \\ff\\c0\n",
      .frames = { F(MORE_BINARY, "\xff"), F(LAST, "\xc0") } },

    /* RFC 7692 */
    { "7692 6: RSV1 is of the message", "compressed text abc\n",
      .frames = { F(0xc1, "abc") }, .deflate = 1 },
    { "7692 6: of its first frame only", "compressed binary abc\n",
      .frames = { F(0x42, "a"), F(MORE, "b"), F(LAST, "c") }, .deflate = 1 },
    { "7692 6: not of the next", "fail 1002\n",
      .frames = { F(0x42, "a"), F(0xc0, "b") }, .deflate = 1 },
    { "7692 6: not of the next, which goes on", "fail 1002\n",
      .frames = { F(0x42, "a"), F(0x40, "b") }, .deflate = 1 },
    { "7692 6: not after a first without", "fail 1002\n",
      .frames = { F(MORE_TEXT, "a"), F(0xc0, "b") }, .deflate = 1 },
    { "7692 6: not of a ping", "fail 1002\n", .frames = { F(0xc9, "a") },
      .deflate = 1 },
    { "7692 6: not of a close", "fail 1002\n", .frames = { F(0xc8, "") },
      .deflate = 1 },
    { "7692 6: not of a ping between", "fail 1002\n",
      .frames = { F(0x42, "a"), F(0xc9, "") }, .deflate = 1 },
    { "7692 6: a message may be as it is",
      "text a\ncompressed text b\ntext c\n",
      .frames = { F(TEXT, "a"), F(0xc1, "b"), F(TEXT, "c") }, .deflate = 1 },
    { "7692 6: RSV2 stays reserved", "fail 1002\n", .frames = { F(0xe1, "a") },
      .deflate = 1 },
    { "7692 6: RSV3 stays reserved", "fail 1002\n", .frames = { F(0xd1, "a") },
      .deflate = 1 },
    { "7692 6: compressed text is no text yet", "compressed text \\ff\n",
      .frames = { F(0xc1, "\xff") }, .deflate = 1 },
    { "7692 6: but the next message is", "compressed text \\ff\nfail 1007\n",
      .frames = { F(0xc1, "\xff"), F(TEXT, "\xff") }, .deflate = 1 },
};

#define RULES (sizeof(rules) / sizeof(rules[0]))

static void
a_rule(void **state)
{
    const rule_t *rule = *state;
    ws_limits_t limits = {
        .message_max = MESSAGE_MAX,
        .fragments_max = FRAGMENTS_MAX,
        .deflate = rule->deflate
    };
    bytes_t bytes = { 0 };

    for (size_t i = 0; i < 6 && rule->frames[i].payload.data != NULL; i++) {
        put_frame(&bytes, rule->frames[i].first, rule->frames[i].payload.data,
            rule->frames[i].payload.len, key);
    }
    append(&bytes, rule->raw.data, rule->raw.len);
    expect_every_split(&limits, &bytes, rule->expected);
    release(&bytes);
}

/* ---- what no table holds ---- */

static const ws_limits_t roomy = { 1 << 20, 1024, 0 };

static int
code_may_be_sent(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014)
        || (code >= 3000 && code < 5000);
}

static void
every_close_code_is_judged(void **state)
{
    (void) state;

    for (unsigned code = 0; code <= 0xffff; code++) {
        const uint8_t body[2] = { (uint8_t) (code >> 8), (uint8_t) code };
        char expected[32];
        bytes_t bytes = { 0 };

        if (code_may_be_sent(code)) {
            snprintf(expected, sizeof(expected), "close %u \n", code);
        } else {
            snprintf(expected, sizeof(expected), "fail 1002\n");
        }
        put_frame(&bytes, CLOSE, body, 2, key);
        expect_pieces(&roomy, &bytes, 0, SIZE_MAX, expected);
        release(&bytes);
    }
}

/* Nothing that follows a close is looked at. */
static void
after_a_close_nothing_is_taken(void **state)
{
    ws_parser_t parser;
    ws_piece_t piece;
    bytes_t bytes = { 0 };
    size_t used, close_len;

    (void) state;

    put_frame(&bytes, CLOSE, "\x03\xe8", 2, key);
    close_len = bytes.len;
    put_frame(&bytes, TEXT, "a", 1, key);
    ws_parser_init(&parser);
    assert_int_equal(ws_parse(&parser, &roomy, bytes.data, bytes.len, &used,
        &piece), WS_CONTROL);
    assert_int_equal(used, close_len);
    release(&bytes);
}

static void
control_frames_of_every_length(void **state)
{
    uint8_t payload[WS_CONTROL_MAX];

    (void) state;

    for (size_t i = 0; i < sizeof(payload); i++) {
        payload[i] = (uint8_t) ('0' + i % 64);
    }
    for (size_t len = 0; len <= WS_CONTROL_MAX; len++) {
        bytes_t bytes = { 0 };
        bytes_t expected = { 0 };

        put_frame(&bytes, PING, payload, len, key);
        put_frame(&bytes, PONG, payload, len, key);
        say(&expected, "ping ");
        say_data(&expected, payload, len);
        say(&expected, "\npong ");
        say_data(&expected, payload, len);
        say(&expected, "\n");
        append(&expected, "", 1);
        expect_every_split(&roomy, &bytes, (char *) expected.data);
        release(&expected);
        release(&bytes);
    }
}

/* The longest reason, too. */
static void
a_close_with_all_the_room(void **state)
{
    uint8_t payload[WS_CONTROL_MAX];
    bytes_t bytes = { 0 };
    bytes_t expected = { 0 };

    (void) state;

    memset(payload, 'r', sizeof(payload));
    payload[0] = 0x0f;
    payload[1] = 0xa0;
    put_frame(&bytes, CLOSE, payload, sizeof(payload), key);
    say(&expected, "close 4000 ");
    say_data(&expected, payload + 2, sizeof(payload) - 2);
    say(&expected, "\n");
    append(&expected, "", 1);
    expect_every_split(&roomy, &bytes, (char *) expected.data);
    release(&expected);
    release(&bytes);
}

/* Around each change of the header's form; cut at the header and around it,
 * and here and there. */
static void
messages_of_many_lengths(void **state)
{
    static const size_t lengths[] = {
        1, 7, 8, 9, 124, 125, 126, 127, 128, 255, 256, 1000, 65534, 65535,
        65536, 65537, 1 << 20
    };

    (void) state;

    for (size_t n = 0; n < sizeof(lengths) / sizeof(lengths[0]); n++) {
        size_t len = lengths[n];
        uint8_t *payload = malloc(len);
        bytes_t bytes = { 0 };
        bytes_t expected = { 0 };

        assert_non_null(payload);
        for (size_t i = 0; i < len; i++) {
            payload[i] = (uint8_t) ('!' + i * 7 % 90);
        }
        put_frame(&bytes, BINARY, payload, len, key);
        put_frame(&bytes, PING, "next", 4, key);
        say(&expected, "binary ");
        say_data(&expected, payload, len);
        say(&expected, "\nping next\n");
        append(&expected, "", 1);

        expect_pieces(&roomy, &bytes, 0, SIZE_MAX, (char *) expected.data);
        expect_pieces(&roomy, &bytes, 0, 1, (char *) expected.data);
        expect_pieces(&roomy, &bytes, 0, 1021, (char *) expected.data);
        for (size_t first = 1; first < 18 && first < bytes.len; first++) {
            expect_pieces(&roomy, &bytes, first, SIZE_MAX,
                (char *) expected.data);
            expect_pieces(&roomy, &bytes, bytes.len - first, SIZE_MAX,
                (char *) expected.data);
        }
        release(&expected);
        release(&bytes);
        free(payload);
    }
}

/* 5.3: any mask may come, and the payload begins at any alignment. */
static void
any_mask_is_taken_off(void **state)
{
    static const uint8_t masks[][4] = {
        { 0, 0, 0, 0 }, { 0xff, 0xff, 0xff, 0xff }, { 1, 0, 0, 0 },
        { 0, 0, 0, 1 }, { 0x81, 0x85, 0x88, 0x80 }, { 'H', 'e', 'l', 'l' }
    };
    static const char text[] = "Hello-hello-hello-hello-hello-hello!";

    (void) state;

    for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
        for (size_t len = 0; len < sizeof(text); len++) {
            bytes_t bytes = { 0 };
            char expected[64];

            snprintf(expected, sizeof(expected), "text %.*s\n", (int) len,
                text);
            put_frame(&bytes, TEXT, text, len, masks[m]);
            expect_every_split(&roomy, &bytes, expected);
            release(&bytes);
        }
    }
}

static void
many_frames_in_one_buffer(void **state)
{
    bytes_t bytes = { 0 };
    bytes_t expected = { 0 };

    (void) state;

    for (unsigned i = 0; i < 1000; i++) {
        char text[16];
        int len = snprintf(text, sizeof(text), "%u", i);

        put_frame(&bytes, i % 3 ? TEXT : PING, text, (size_t) len, key);
        say(&expected, "%s %s\n", i % 3 ? "text" : "ping", text);
    }
    append(&expected, "", 1);
    expect_pieces(&roomy, &bytes, 0, SIZE_MAX, (char *) expected.data);
    expect_pieces(&roomy, &bytes, 0, 1, (char *) expected.data);
    expect_pieces(&roomy, &bytes, 0, 1000, (char *) expected.data);
    release(&expected);
    release(&bytes);
}

/* What has come of a message is handed out, not kept until more has. */
static void
a_piece_is_handed_out_at_once(void **state)
{
    ws_parser_t parser;
    ws_piece_t piece;
    bytes_t bytes = { 0 };
    size_t used;

    (void) state;

    put_frame(&bytes, MORE_TEXT, "Hello", 5, key);
    ws_parser_init(&parser);
    assert_int_equal(ws_parse(&parser, &roomy, bytes.data, 8, &used, &piece),
        WS_DATA);
    assert_int_equal(used, 8);
    assert_true(piece.first && !piece.last);
    assert_int_equal(piece.data.len, 2);
    assert_memory_equal(piece.data.data, "He", 2);
    assert_int_equal(ws_parse(&parser, &roomy, bytes.data + 8, 0, &used,
        &piece), WS_NEED);
    assert_int_equal(used, 0);
    assert_int_equal(ws_parse(&parser, &roomy, NULL, 0, &used, &piece),
        WS_NEED);
    assert_int_equal(ws_parse(&parser, &roomy, bytes.data + 8, 3, &used,
        &piece), WS_DATA);
    assert_true(!piece.first && !piece.last);
    assert_memory_equal(piece.data.data, "llo", 3);
    assert_int_equal(ws_parse(&parser, &roomy, NULL, 0, &used, &piece),
        WS_NEED);
    release(&bytes);
}

/* 0 allows no message at all; control frames come through. */
static void
limits_may_be_nothing(void **state)
{
    const ws_limits_t empty = { 0, 1, 0 };
    const ws_limits_t none = { 1000, 0, 0 };
    bytes_t bytes = { 0 };

    (void) state;

    put_frame(&bytes, PING, "a", 1, key);
    put_frame(&bytes, TEXT, "", 0, key);
    expect_every_split(&empty, &bytes, "ping a\ntext \n");
    expect_every_split(&none, &bytes, "ping a\nfail 1009\n");
    put_frame(&bytes, TEXT, "b", 1, key);
    expect_every_split(&empty, &bytes, "ping a\ntext \nfail 1009\n");
    release(&bytes);
}

/* 5.2: the shortest length, no mask. */
static void
headers_are_put(void **state)
{
    static const struct {
        uint64_t len;
        size_t header;
        uint8_t bytes[WS_HEADER_MAX];
    } cases[] = {
        { 0, 2, { 0x81, 0 } },
        { 125, 2, { 0x81, 125 } },
        { 126, 4, { 0x81, 126, 0, 126 } },
        { 256, 4, { 0x81, 126, 1, 0 } },
        { 65535, 4, { 0x81, 126, 0xff, 0xff } },
        { 65536, 10, { 0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0 } },
        { UINT64_C(0x0123456789abcdef), 10,
          { 0x81, 127, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef } }
    };
    uint8_t head[WS_HEADER_MAX];

    (void) state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(ws_put_header(head, WS_TEXT, 0, cases[i].len),
            cases[i].header);
        assert_memory_equal(head, cases[i].bytes, cases[i].header);
    }

    ws_put_header(head, WS_BINARY, 1, 1);
    assert_int_equal(head[0], 0xc2);
    ws_put_header(head, WS_PONG, 0, 1);
    assert_int_equal(head[0], 0x8a);
    ws_put_header(head, WS_CLOSE, 0, 2);
    assert_int_equal(head[0], 0x88);
}

int
main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(every_close_code_is_judged),
        cmocka_unit_test(after_a_close_nothing_is_taken),
        cmocka_unit_test(control_frames_of_every_length),
        cmocka_unit_test(a_close_with_all_the_room),
        cmocka_unit_test(messages_of_many_lengths),
        cmocka_unit_test(any_mask_is_taken_off),
        cmocka_unit_test(many_frames_in_one_buffer),
        cmocka_unit_test(a_piece_is_handed_out_at_once),
        cmocka_unit_test(limits_may_be_nothing),
        cmocka_unit_test(headers_are_put),
    };
    static struct CMUnitTest
        tests[RULES + sizeof(others) / sizeof(others[0])];

    for (size_t i = 0; i < RULES; i++) {
        tests[i].name = rules[i].name;
        tests[i].test_func = a_rule;
        tests[i].initial_state = (void *) &rules[i];
    }
    memcpy(tests + RULES, others, sizeof(others));

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
