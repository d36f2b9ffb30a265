/* websocket_fuzz.c: bytes mean the same in whatever pieces they come, no
 * event leaves them, and no compressed message costs more than its limit.
 *
 * The first byte of the input chooses the limits, the second how many pieces
 * there are beside the rest, and that many bytes after it their lengths. */

#include "common/websocket.h"
#include "common/websocket_deflate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
    do {                 \
        if (!(condition)) { \
            abort();     \
        }                \
    } while (0)

#define INFLATED_MAX 4096
#define ROOM         (1 << 16)

/* What came of the bytes: of each message and each control frame its kind,
 * the length and the data. */
typedef struct {
    size_t len;             /* of what has ended */
    size_t under_way;       /* beyond it, of the message under way */
    int messaging;
    unsigned fragments;
    unsigned code;          /* of FAIL; 0: it did not */
    const char *reason;
    int closed;
    uint8_t data[ROOM];
} transcript_t;

static ws_inflater_t *inflater;
static ws_deflater_t *deflater;

static void
note(transcript_t *t, const void *data, size_t len)
{
    CHECK(t->len + t->under_way + len <= ROOM);
    if (len > 0) {
        memcpy(t->data + t->len + t->under_way, data, len);
    }
    t->under_way += len;
}

static void
end_note(transcript_t *t, unsigned kind)
{
    uint32_t tail[2] = { kind, (uint32_t) t->under_way };

    note(t, tail, sizeof(tail));
    t->len += t->under_way;
    t->under_way = 0;
}

static void
note_data(transcript_t *t, const ws_limits_t *limits, const ws_piece_t *piece)
{
    CHECK(piece->opcode == WS_TEXT || piece->opcode == WS_BINARY);
    CHECK(!piece->compressed || limits->deflate);
    CHECK((piece->first == 0) == t->messaging);
    t->messaging = !piece->last;
    note(t, piece->data.data, piece->data.len);
    CHECK(t->under_way <= limits->message_max);
    if (!piece->last) {
        return;
    }

    if (piece->opcode == WS_TEXT && !piece->compressed) {
        CHECK(utf8_valid((char *) t->data + t->len, t->under_way));
    }
    end_note(t, (unsigned) piece->opcode | (piece->compressed ? 16u : 0u));
}

/* A control frame may stand inside a message: the data of that are moved
 * behind it. */
static void
note_control(transcript_t *t, const ws_piece_t *piece)
{
    static uint8_t message[ROOM];
    size_t len = t->under_way;

    CHECK(piece->opcode >= WS_CLOSE && piece->opcode <= WS_PONG);
    CHECK(piece->data.len <= WS_CONTROL_MAX);
    memcpy(message, t->data + t->len, len);
    t->under_way = 0;
    note(t, piece->data.data, piece->data.len);
    if (piece->opcode == WS_CLOSE) {
        CHECK(utf8_valid(piece->data.data, piece->data.len));
        CHECK(piece->code >= 1000 && piece->code < 5000);
        t->closed = 1;
        end_note(t, piece->code);
    } else {
        end_note(t, (unsigned) piece->opcode);
    }
    note(t, message, len);
}

/* Nonzero when nothing more may be fed. */
static int
feed(ws_parser_t *parser, const ws_limits_t *limits, const uint8_t *data,
    size_t len, transcript_t *t)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    size_t at = 0;
    ws_event_t event;

    memcpy(copy, data, len);
    do {
        ws_piece_t piece;
        size_t used;

        event = ws_parse(parser, limits, copy + at, len - at, &used, &piece);
        CHECK(used <= len - at);
        at += used;
        switch (event) {
        case WS_NEED:
            CHECK(at == len);
            break;
        case WS_DATA:
            CHECK((uint8_t *) piece.data.data >= copy
                  && (uint8_t *) piece.data.data + piece.data.len
                     == copy + at);
            note_data(t, limits, &piece);
            break;
        case WS_CONTROL:
            note_control(t, &piece);
            break;
        case WS_FAIL:
            CHECK(piece.code == WS_PROTOCOL_ERROR
                  || piece.code == WS_INVALID_DATA
                  || piece.code == WS_TOO_BIG);
            CHECK(piece.reason != NULL && *piece.reason != '\0');
            t->code = piece.code;
            t->reason = piece.reason;
            break;
        }
    } while (event != WS_NEED && event != WS_FAIL && !t->closed);

    free(copy);
    return event != WS_NEED;
}

static void
same(const transcript_t *a, const transcript_t *b)
{
    size_t len = a->under_way < b->under_way ? a->under_way : b->under_way;

    CHECK(a->len == b->len && memcmp(a->data, b->data, a->len) == 0);
    CHECK(a->code == b->code && a->reason == b->reason);
    CHECK(a->closed == b->closed);
    /* before text fails, more or less of it was handed out */
    CHECK(a->code != 0 || a->under_way == b->under_way);
    CHECK(memcmp(a->data + a->len, b->data + b->len, len) == 0);
}

static void
frames(const ws_limits_t *limits, const uint8_t *cuts, size_t ncuts,
    const uint8_t *data, size_t size)
{
    static transcript_t whole, pieces;
    ws_parser_t parser;
    size_t at = 0;
    int over = 0;

    memset(&whole, 0, offsetof(transcript_t, data));
    ws_parser_init(&parser);
    feed(&parser, limits, data, size, &whole);

    memset(&pieces, 0, offsetof(transcript_t, data));
    ws_parser_init(&parser);
    for (size_t i = 0; i < ncuts && !over; i++) {
        size_t n = cuts[i] < size - at ? cuts[i] : size - at;

        over = feed(&parser, limits, data + at, n, &pieces);
        at += n;
    }
    if (!over) {
        feed(&parser, limits, data + at, size - at, &pieces);
    }
    same(&whole, &pieces);
}

static void
messages(const uint8_t *data, size_t size)
{
    slice_t out, payload;
    uint8_t *message;
    size_t len;
    int code = ws_inflate(inflater, data, size, INFLATED_MAX, &out);

    CHECK(code == 0 || code == WS_INVALID_DATA || code == WS_TOO_BIG);
    if (code == 0) {
        CHECK(out.len <= INFLATED_MAX);
        data = (const uint8_t *) out.data;
        size = out.len;
    }

    len = size;
    message = malloc(len > 0 ? len : 1);
    memcpy(message, data, len);
    CHECK(ws_deflate(deflater, message, len, &payload) == 0);
    CHECK(payload.len > 0);
    CHECK(ws_inflate(inflater, payload.data, payload.len, len, &out) == 0);
    CHECK(out.len == len && (len == 0 || memcmp(out.data, message, len) == 0));
    if (len > 0) {
        CHECK(ws_inflate(inflater, payload.data, payload.len, len - 1, &out)
              == WS_TOO_BIG);
    }
    free(message);
}

static void
offers(const uint8_t *data, size_t size)
{
    char answer[WS_DEFLATE_ANSWER];
    char *copy = malloc(size > 0 ? size : 1);
    int bits = 0;
    int rc;

    memcpy(copy, data, size);
    rc = ws_deflate_negotiate((slice_t) { copy, size }, answer,
        sizeof(answer), &bits);
    CHECK(rc >= -1 && rc <= 1);
    if (rc == 1) {
        CHECK(bits >= WS_WINDOW_MIN && bits <= WS_WINDOW_MAX);
        CHECK(strncmp(answer, "permessage-deflate; ", 20) == 0);
    }
    free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ws_limits_t limits;
    size_t ncuts;

    if (inflater == NULL) {
        inflater = ws_inflater_new();
        deflater = ws_deflater_new(WS_WINDOW_MAX);
        CHECK(inflater != NULL && deflater != NULL);
    }
    if (size < 2 || size > ROOM / 16) {
        return 0;
    }

    limits.deflate = data[0] & 1;
    limits.message_max = data[0] & 2 ? 16 : ROOM / 16;
    limits.fragments_max = data[0] & 4 ? 3 : 100;
    ncuts = data[1] % 16;
    data += 2;
    size -= 2;
    ncuts = ncuts < size ? ncuts : size;
    frames(&limits, data, ncuts, data + ncuts, size - ncuts);
    messages(data, size);
    offers(data, size);
    return 0;
}
