/* websocket_deflate.h: permessage-deflate (RFC 7692), on the server's side.
 *
 * Always without context take-over, either way: a connection then has no
 * compressor of its own (some 300 KB), and a message for many is compressed
 * once. One inflater serves all connections of a process, and one deflater
 * all those that agreed on the same window; one of the largest serves any
 * with messages no longer than their window (nothing in them can be further
 * back), and longer ones go to a smaller window as they are. */

#ifndef HIVE_WEBSOCKET_DEFLATE_H
#define HIVE_WEBSOCKET_DEFLATE_H

#include "slice.h"
#include "websocket.h"

#define WS_WINDOW_MIN 9     /* zlib makes no raw deflate with less */
#define WS_WINDOW_MAX 15

/* Room for any answer. */
#define WS_DEFLATE_ANSWER 128

/* What to answer the values of all Sec-WebSocket-Extensions headers, joined
 * with ", ": 1, the first offer of permessage-deflate that we can keep is
 * accepted with the text in `out` (terminated), and our messages must be made
 * with *window_bits; 0, none is, and the header is left out; -1, it is not of
 * the grammar (RFC 6455, 9.1): refuse the handshake. Writes `out` and
 * *window_bits only with 1. An answer that `out_size` cannot hold is 0. */
int ws_deflate_negotiate(slice_t offers, char *out, size_t out_size,
    int *window_bits);

typedef struct ws_inflater_s ws_inflater_t;
typedef struct ws_deflater_s ws_deflater_t;

/* Returns owned; NULL when out of memory. */
ws_inflater_t *ws_inflater_new(void);
void ws_inflater_free(ws_inflater_t *inflater);

/* The message of which the `len` bytes of payload (of all its frames, as they
 * came) are the compressed form. *out is the inflater's, valid until its next
 * use. Returns 0, or the code to close with: WS_TOO_BIG when it is longer
 * than `max` (it is inflated no further), WS_INVALID_DATA when the payload is
 * malformed or cut, WS_INTERNAL when out of memory. */
int ws_inflate(ws_inflater_t *inflater, const void *data, size_t len,
    size_t max, slice_t *out);

/* Returns owned a deflater of WS_WINDOW_MIN..WS_WINDOW_MAX; NULL when out of
 * memory. */
ws_deflater_t *ws_deflater_new(int window_bits);
void ws_deflater_free(ws_deflater_t *deflater);

/* The payload that is `len` bytes of message, compressed. *out is the
 * deflater's, valid until its next use. Returns 0, or the code to close with:
 * WS_INTERNAL when out of memory, WS_TOO_BIG from 4 GiB. */
int ws_deflate(ws_deflater_t *deflater, const void *data, size_t len,
    slice_t *out);

#endif
