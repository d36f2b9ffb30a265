/* base64url.h: base64 with the URL-safe alphabet and without padding, RFC
 * 4648 section 5, strictly: one text for one run of bytes. */

#ifndef HIVE_BASE64URL_H
#define HIVE_BASE64URL_H

#include <stddef.h>
#include <sys/types.h>

/* Room that encoding `n` bytes, or decoding `n` characters, takes at most. */
#define BASE64URL_ENCODED(n) (((n) * 4 + 2) / 3)
#define BASE64URL_DECODED(n) ((n) * 3 / 4)

/* Returns the length written, always BASE64URL_ENCODED(len). */
size_t base64url_encode(const void *data, size_t len, char *out);

/* Returns the length written, or -1 when `text` holds any other character
 * (padding, white space), is of an impossible length, or has spare bits that
 * are not zero. */
ssize_t base64url_decode(const char *text, size_t len, void *out);

#endif
