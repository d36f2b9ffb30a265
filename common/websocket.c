/* websocket.c: see websocket.h. Section numbers are those of RFC 6455. */

#include "websocket.h"

#define FIN         0x80
#define RSV1        0x40
#define RSV23       0x30
#define OPCODE      0x0f
#define CONTROL_BIT 0x08
#define MASKED      0x80
#define LENGTH      0x7f
#define LENGTH_16   126
#define LENGTH_64   127

#define MASK_SIZE   4

void
ws_parser_init(ws_parser_t *parser)
{
    memset(parser, 0, sizeof(*parser));
    parser->head_need = 2;
}

static int
refuse(ws_piece_t *piece, unsigned code, const char *reason)
{
    piece->code = code;
    piece->reason = reason;
    return -1;
}

static int
is_control(const ws_parser_t *parser)
{
    return parser->head[0] & CONTROL_BIT;
}

/* 5.2, 5.4, 5.5: FIN, RSV and opcode. */
static int
judge_opcode(const ws_parser_t *parser, const ws_limits_t *limits,
    ws_piece_t *piece)
{
    uint8_t first = parser->head[0];

    switch (first & OPCODE) {
    case WS_CONTINUATION:
        if (parser->opcode == 0) {
            return refuse(piece, WS_PROTOCOL_ERROR, "nothing to continue");
        }
        break;
    case WS_TEXT:
    case WS_BINARY:
        if (parser->opcode != 0) {
            return refuse(piece, WS_PROTOCOL_ERROR,
                "a message inside another");
        }
        break;
    case WS_CLOSE:
    case WS_PING:
    case WS_PONG:
        if (!(first & FIN)) {
            return refuse(piece, WS_PROTOCOL_ERROR, "fragmented control");
        }
        break;
    default:
        return refuse(piece, WS_PROTOCOL_ERROR, "unknown opcode");
    }

    /* RFC 7692, 6: on the first frame of a message only */
    if ((first & RSV23)
        || ((first & RSV1)
            && (!limits->deflate || is_control(parser)
                || (first & OPCODE) == WS_CONTINUATION)))
    {
        return refuse(piece, WS_PROTOCOL_ERROR, "reserved bit set");
    }

    return 0;
}

/* 5.1, 5.5: mask bit and short length; sets what the header takes. */
static int
judge_short_length(ws_parser_t *parser, ws_piece_t *piece)
{
    uint8_t len = parser->head[1] & LENGTH;

    if (!(parser->head[1] & MASKED)) {
        return refuse(piece, WS_PROTOCOL_ERROR, "frame without a mask");
    }

    if (is_control(parser)) {
        if (len > WS_CONTROL_MAX) {
            return refuse(piece, WS_PROTOCOL_ERROR, "control frame too long");
        }
        if ((parser->head[0] & OPCODE) == WS_CLOSE && len == 1) {
            return refuse(piece, WS_PROTOCOL_ERROR, "half a close code");
        }
    }

    parser->head_need += MASK_SIZE;
    if (len == LENGTH_16) {
        parser->head_need += 2;
    } else if (len == LENGTH_64) {
        parser->head_need += 8;
    }
    return 0;
}

static uint64_t
frame_length(const ws_parser_t *parser)
{
    uint8_t len = parser->head[1] & LENGTH;
    uint64_t value = 0;

    if (len < LENGTH_16) {
        return len;
    }
    for (unsigned i = 2; i < (len == LENGTH_16 ? 4 : 10); i++) {
        value = value << 8 | parser->head[i];
    }
    return value;
}

/* 5.2: the shortest form of a length; 10.4: no more than we take. */
static int
judge_length(ws_parser_t *parser, const ws_limits_t *limits,
    ws_piece_t *piece)
{
    uint8_t form = parser->head[1] & LENGTH;
    uint64_t len = frame_length(parser);

    if (len >> 63) {
        return refuse(piece, WS_PROTOCOL_ERROR, "length out of range");
    }
    if ((form == LENGTH_16 && len < LENGTH_16)
        || (form == LENGTH_64 && len <= UINT16_MAX))
    {
        return refuse(piece, WS_PROTOCOL_ERROR, "length not in its short form");
    }

    parser->left = len;
    if (is_control(parser)) {
        return 0;
    }

    if (len > limits->message_max
        || parser->message > limits->message_max - len)
    {
        return refuse(piece, WS_TOO_BIG, "message too long");
    }
    if (parser->fragments >= limits->fragments_max) {
        return refuse(piece, WS_TOO_BIG, "too many fragments");
    }
    return 0;
}

static void
begin_frame(ws_parser_t *parser)
{
    uint8_t opcode = parser->head[0] & OPCODE;

    parser->mask_at = 0;
    parser->control_len = 0;
    if (is_control(parser)) {
        return;
    }

    if (opcode != WS_CONTINUATION) {
        parser->opcode = opcode;
        parser->compressed = (parser->head[0] & RSV1) != 0;
        utf8_begin(&parser->utf8);
    }
    parser->message += (size_t) parser->left;
    parser->fragments++;
}

/* The header, of which each field is judged once it is whole: 1, it is; 0,
 * more has to come; -1, refused. */
static int
take_head(ws_parser_t *parser, const ws_limits_t *limits,
    const uint8_t *bytes, size_t len, size_t *used, ws_piece_t *piece)
{
    while (parser->head_len < parser->head_need) {
        int rc = 0;

        if (*used == len) {
            return 0;
        }
        parser->head[parser->head_len++] = bytes[(*used)++];

        if (parser->head_len == 1) {
            rc = judge_opcode(parser, limits, piece);
        } else if (parser->head_len == 2) {
            rc = judge_short_length(parser, piece);
        }
        if (rc == 0 && parser->head_len >= 2
            && parser->head_len + MASK_SIZE == parser->head_need)
        {
            rc = judge_length(parser, limits, piece);
        }
        if (rc < 0) {
            return rc;
        }
    }

    begin_frame(parser);
    return 1;
}

static void
end_frame(ws_parser_t *parser)
{
    parser->head_len = 0;
    parser->head_need = 2;
}

static void
end_message(ws_parser_t *parser)
{
    parser->opcode = 0;
    parser->begun = 0;
    parser->message = 0;
    parser->fragments = 0;
}

/* 5.3. Eight bytes at a time: two turns of the mask. */
static void
unmask(ws_parser_t *parser, uint8_t *bytes, size_t len)
{
    const uint8_t *mask = parser->head + parser->head_need - MASK_SIZE;
    uint8_t turns[8];
    uint64_t key;
    size_t i = 0;

    for (unsigned n = 0; n < 8; n++) {
        turns[n] = mask[(parser->mask_at + n) % MASK_SIZE];
    }
    memcpy(&key, turns, sizeof(key));

    for (; len - i >= 8; i += 8) {
        uint64_t word;

        memcpy(&word, bytes + i, sizeof(word));
        word ^= key;
        memcpy(bytes + i, &word, sizeof(word));
    }
    for (; i < len; i++) {
        bytes[i] ^= turns[i % 8];
    }
    parser->mask_at = (uint8_t) ((parser->mask_at + len) % MASK_SIZE);
}

/* 7.4: codes that may be sent, by that section or the registry it begins. */
static int
close_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014)
        || (code >= 3000 && code <= 4999);
}

/* 5.5.1. Of the length only 1 is impossible, which the header said. */
static ws_event_t
take_close(const ws_parser_t *parser, ws_piece_t *piece)
{
    const uint8_t *body = parser->control;

    piece->code = WS_NO_STATUS;
    if (parser->control_len == 0) {
        return WS_CONTROL;
    }

    piece->code = (unsigned) body[0] << 8 | body[1];
    if (!close_code_valid(piece->code)) {
        refuse(piece, WS_PROTOCOL_ERROR, "invalid close code");
        return WS_FAIL;
    }
    piece->data.data += 2;
    piece->data.len -= 2;
    if (!utf8_valid(piece->data.data, piece->data.len)) {
        refuse(piece, WS_INVALID_DATA, "close reason is not UTF-8");
        return WS_FAIL;
    }
    return WS_CONTROL;
}

/* Control frames are short: one is handed out as a whole. */
static ws_event_t
take_control(ws_parser_t *parser, const uint8_t *bytes, size_t len,
    ws_piece_t *piece)
{
    if (len > 0) {
        memcpy(parser->control + parser->control_len, bytes, len);
        unmask(parser, parser->control + parser->control_len, len);
        parser->control_len += (uint8_t) len;
    }
    if (parser->left > 0) {
        return WS_NEED;
    }

    piece->opcode = (ws_opcode_t) (parser->head[0] & OPCODE);
    piece->data.data = (const char *) parser->control;
    piece->data.len = parser->control_len;
    end_frame(parser);
    return piece->opcode == WS_CLOSE ? take_close(parser, piece) : WS_CONTROL;
}

static ws_event_t
take_data(ws_parser_t *parser, uint8_t *bytes, size_t len, ws_piece_t *piece)
{
    unmask(parser, bytes, len);

    piece->opcode = (ws_opcode_t) parser->opcode;
    piece->compressed = parser->compressed;
    piece->first = !parser->begun;
    piece->last = parser->left == 0 && (parser->head[0] & FIN);
    piece->data.data = (const char *) bytes;
    piece->data.len = len;

    /* 8.1 */
    if (parser->opcode == WS_TEXT && !parser->compressed
        && (!utf8_feed(&parser->utf8, piece->data.data, len)
            || (piece->last && !utf8_complete(&parser->utf8))))
    {
        refuse(piece, WS_INVALID_DATA, "text is not UTF-8");
        return WS_FAIL;
    }

    parser->begun = 1;
    if (parser->left == 0) {
        end_frame(parser);
    }
    if (piece->last) {
        end_message(parser);
    }
    return WS_DATA;
}

ws_event_t
ws_parse(ws_parser_t *parser, const ws_limits_t *limits, uint8_t *bytes,
    size_t len, size_t *used, ws_piece_t *piece)
{
    size_t take;

    *used = 0;
    memset(piece, 0, sizeof(*piece));

    if (parser->head_len < parser->head_need) {
        int rc = take_head(parser, limits, bytes, len, used, piece);

        if (rc <= 0) {
            return rc == 0 ? WS_NEED : WS_FAIL;
        }
    }

    take = len - *used;
    if (take > parser->left) {
        take = (size_t) parser->left;
    }
    if (take == 0 && parser->left > 0) {
        return WS_NEED;
    }

    bytes += *used;
    *used += take;
    parser->left -= take;
    return is_control(parser) ? take_control(parser, bytes, take, piece)
                              : take_data(parser, bytes, take, piece);
}

size_t
ws_put_header(uint8_t out[WS_HEADER_MAX], ws_opcode_t opcode, int compressed,
    uint64_t len)
{
    unsigned more;

    out[0] = (uint8_t) (FIN | (compressed ? RSV1 : 0) | opcode);
    if (len < LENGTH_16) {
        out[1] = (uint8_t) len;
        return 2;
    }

    more = len <= UINT16_MAX ? 2 : 8;
    out[1] = more == 2 ? LENGTH_16 : LENGTH_64;
    for (unsigned i = 0; i < more; i++) {
        out[2 + i] = (uint8_t) (len >> 8 * (more - 1 - i));
    }
    return 2 + more;
}
