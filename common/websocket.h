/* websocket.h: frames of RFC 6455, on the server's side.
 *
 * The parser is fed bytes as they come, in any pieces; it keeps no message,
 * only where it is: what has arrived of a message is handed out at once,
 * unmasked in place. What RFC 6455 forbids is found as soon as the field of
 * the header that shows it is there, before any payload; text that is not
 * UTF-8 at its first bad byte (unless it is compressed). */

#ifndef HIVE_WEBSOCKET_H
#define HIVE_WEBSOCKET_H

#include "slice.h"
#include "utf8.h"

#include <stdint.h>

#define WS_CONTROL_MAX 125
#define WS_HEADER_MAX  10      /* of a frame that a server sends */

typedef enum {
    WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2,
    WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10
} ws_opcode_t;

/* Close codes (RFC 6455, 7.4.1, and the IANA registry). */
enum {
    WS_NORMAL = 1000, WS_GOING_AWAY = 1001, WS_PROTOCOL_ERROR = 1002,
    WS_UNSUPPORTED = 1003, WS_NO_STATUS = 1005, WS_INVALID_DATA = 1007,
    WS_POLICY = 1008, WS_TOO_BIG = 1009, WS_INTERNAL = 1011,
    WS_TRY_LATER = 1013
};

typedef struct {
    size_t message_max;     /* bytes of a message, as they come on the wire */
    unsigned fragments_max; /* frames of a message */
    int deflate;            /* permessage-deflate was agreed on: RSV1 may be
                               set on the first frame of a message */
} ws_limits_t;

typedef struct {
    /* of the message under way */
    size_t message;         /* bytes that its frames announced so far */
    unsigned fragments;     /* frames so far */
    uint8_t opcode;         /* WS_TEXT, WS_BINARY; 0: none is under way */
    uint8_t compressed;
    uint8_t begun;          /* a piece of it was handed out */
    utf8_state_t utf8;

    /* of the frame under way */
    uint8_t head[14];
    uint8_t head_len;
    uint8_t head_need;      /* more than head_len until the header is whole */
    uint8_t mask_at;        /* of the mask's four bytes the next one */
    uint8_t control_len;
    uint64_t left;          /* payload bytes still to come */
    uint8_t control[WS_CONTROL_MAX];
} ws_parser_t;

typedef enum {
    WS_NEED,        /* all of the bytes are used, more have to come */
    WS_DATA,        /* a piece of a message: piece->data, possibly empty */
    WS_CONTROL,     /* a whole control frame: ping, pong or close */
    WS_FAIL         /* piece->code, piece->reason: fail the connection */
} ws_event_t;

typedef struct {
    ws_opcode_t opcode;     /* DATA: WS_TEXT or WS_BINARY, of the message */
    int first;              /* DATA: of the message */
    int last;               /* DATA: the message ends with it */
    int compressed;         /* DATA: the message is (RFC 7692) */
    slice_t data;           /* unmasked; points into the bytes that were fed,
                               or, of a control frame, into the parser */
    unsigned code;          /* CLOSE: what the peer says (WS_NO_STATUS: none);
                               FAIL: what to close with */
    const char *reason;     /* FAIL: static text */
} ws_piece_t;

void ws_parser_init(ws_parser_t *parser);

/* Parses bytes up to the next event; *used says how many of them are done
 * with: go on with the rest until WS_NEED. After WS_FAIL, or a CONTROL of
 * opcode WS_CLOSE, nothing more may be fed. Of a CLOSE, data is the reason
 * (UTF-8, checked). Each frame of a message is at least one DATA, without
 * bytes when it has none. `limits` stay the same for a parser's life. */
ws_event_t ws_parse(ws_parser_t *parser, const ws_limits_t *limits,
    uint8_t *bytes, size_t len, size_t *used, ws_piece_t *piece);

/* Writes the header of a whole (FIN) unmasked frame; returns its length. */
size_t ws_put_header(uint8_t out[WS_HEADER_MAX], ws_opcode_t opcode,
    int compressed, uint64_t len);

#endif
