/* percent.h: percent-encoding of URIs, RFC 3986 section 2.1. */

#ifndef HIVE_PERCENT_H
#define HIVE_PERCENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Decodes every %XX of `text` into `out`, which has room for `len` bytes and
 * may be `text` itself. Returns the decoded length, or -1 when a '%' is not
 * followed by two hexadecimal digits. Any byte may come out, NUL included:
 * the caller judges them. '+' stays '+'. */
ssize_t percent_decode(const char *text, size_t len, char *out);

extern const uint8_t hex_values[256];

/* The value of a hexadecimal digit of either case, or one above 15 for any
 * other character. */
static inline unsigned
hex_digit(char c)
{
    return hex_values[(unsigned char) c];
}

#endif
