/* utf8.c: UTF-8 as RFC 3629 has it.
 *
 * Almost all text that passes here is ASCII, which is skipped eight bytes at
 * a time. Other characters are judged by Table 3-7 of the Unicode standard:
 * the lead byte gives the length and the range of the second byte, and that
 * range alone rules out overlong forms, surrogates and what is above
 * U+10FFFF. */

#include "utf8.h"

#include <stdint.h>
#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)
#define LOW_BITS  UINT64_C(0x0101010101010101)

static const char *
skip_ascii(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t word;

        memcpy(&word, p, sizeof(word));
        if (word & HIGH_BITS) {
            break;
        }
        p += 8;
    }

    while (p < end && (signed char) *p >= 0) {
        p++;
    }

    return p;
}

static int
in_range(unsigned char c, unsigned low, unsigned high)
{
    return c >= low && c <= high;
}

/* Length of the well-formed character beyond ASCII that begins at `s`, where
 * `left` bytes are; 0 when it is not one. */
static size_t
multibyte_length(const unsigned char *s, size_t left)
{
    unsigned char lead = s[0];
    unsigned low = 0x80;
    unsigned high = 0xbf;
    size_t len;

    if (in_range(lead, 0xc2, 0xdf)) {
        len = 2;
    } else if (in_range(lead, 0xe0, 0xef)) {
        len = 3;
        low = lead == 0xe0 ? 0xa0 : 0x80;
        high = lead == 0xed ? 0x9f : 0xbf;
    } else if (in_range(lead, 0xf0, 0xf4)) {
        len = 4;
        low = lead == 0xf0 ? 0x90 : 0x80;
        high = lead == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }

    if (left < len || !in_range(s[1], low, high)) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if (!in_range(s[i], 0x80, 0xbf)) {
            return 0;
        }
    }

    return len;
}

int
utf8_valid(const char *data, size_t len)
{
    const char *p = data;
    const char *end = data + len;

    if (len == 0) {
        return 1;
    }

    for (;;) {
        p = skip_ascii(p, end);
        if (p == end) {
            return 1;
        }

        do {
            size_t n = multibyte_length((const unsigned char *) p,
                                        (size_t) (end - p));
            if (n == 0) {
                return 0;
            }
            p += n;
        } while (p < end && (signed char) *p < 0);
    }
}

/* Every byte but a continuation (10xxxxxx) begins a character. */
size_t
utf8_length(const char *data, size_t len)
{
    size_t continuations = 0;
    size_t i = 0;

    for (; len - i >= 8; i += 8) {
        uint64_t word;

        memcpy(&word, data + i, sizeof(word));
        word = (word >> 7) & ~(word >> 6) & LOW_BITS;
        continuations += (size_t) __builtin_popcountll(word);
    }

    for (; i < len; i++) {
        continuations += ((unsigned char) data[i] & 0xc0) == 0x80;
    }

    return len - continuations;
}
