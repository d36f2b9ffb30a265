/* cursor.h: where a page of a list ended, as opaque text that the client
 * hands back (keyset pagination: the next page begins after the last row's
 * sort key and id, so it costs the same however deep it is).
 *
 * Bytes, then base64url without padding:
 *
 *   u8   format, 1
 *   u8   1 when the sort key is NULL, else 0
 *   u64  hash of the list's shape: resource, sort, direction, filters, search
 *   16   id of the last row
 *   ...  its sort key (numbers little-endian; text as it is; empty for NULL)
 *   u64  SipHash-2-4 of all before, keyed
 *
 * The tag is there so that only what a worker made is ever read; the cursor
 * holds nothing that its owner has not seen in the page. */

#ifndef HIVE_CURSOR_H
#define HIVE_CURSOR_H

#include "common/base64url.h"
#include "common/slice.h"
#include "common/uuid.h"

#include <stdint.h>

#define CURSOR_KEY_MAX   2048
#define CURSOR_BYTES_MAX (2 + 8 + 16 + CURSOR_KEY_MAX + 8)
#define CURSOR_TEXT_MAX  BASE64URL_ENCODED(CURSOR_BYTES_MAX)

typedef struct {
    int null;
    uint64_t shape;
    hive_uuid_t id;
    slice_t key;        /* at most CURSOR_KEY_MAX bytes, none when null */
} cursor_t;

/* Derives the key from a secret that all workers share. Cursors survive a
 * restart; they do not survive a change of the secret. */
void cursor_init(slice_t secret);

/* Returns the length of the text written to `out`. */
size_t cursor_encode(const cursor_t *cursor, char out[CURSOR_TEXT_MAX]);

/* 0, or -1 with `out` untouched for anything cursor_encode did not write
 * under the same secret. The key points into `scratch`. */
int cursor_decode(slice_t text, uint8_t scratch[CURSOR_BYTES_MAX],
    cursor_t *out);

/* The keyed hash, for cursor_t.shape. */
uint64_t cursor_hash(const void *data, size_t len);

#endif
