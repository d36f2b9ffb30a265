/* base64url.c: base64 with the URL-safe alphabet, without padding. */

#include "base64url.h"

#include <stdint.h>

static const char alphabet[64] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The value of a character plus one; 0: not in the alphabet. */
static const uint8_t values[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,
    ['G'] = 7,  ['H'] = 8,  ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12,
    ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18,
    ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30,
    ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36,
    ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42,
    ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54,
    ['2'] = 55, ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60,
    ['8'] = 61, ['9'] = 62, ['-'] = 63, ['_'] = 64
};

size_t
base64url_encode(const void *data, size_t len, char *out)
{
    const uint8_t *in = data;
    char *p = out;

    for (; len >= 3; len -= 3, in += 3) {
        uint32_t bits = (uint32_t) in[0] << 16 | (uint32_t) in[1] << 8 | in[2];

        *p++ = alphabet[bits >> 18];
        *p++ = alphabet[bits >> 12 & 63];
        *p++ = alphabet[bits >> 6 & 63];
        *p++ = alphabet[bits & 63];
    }

    if (len != 0) {
        *p++ = alphabet[in[0] >> 2];
        if (len == 1) {
            *p++ = alphabet[in[0] << 4 & 63];
        } else {
            *p++ = alphabet[(in[0] << 4 | in[1] >> 4) & 63];
            *p++ = alphabet[in[1] << 2 & 63];
        }
    }

    return (size_t) (p - out);
}

/* The two or three characters that a whole group does not hold. */
static uint8_t *
decode_tail(const uint8_t *in, size_t len, uint8_t *p)
{
    unsigned a = values[in[0]];
    unsigned b = values[in[1]];
    unsigned c = len == 3 ? values[in[2]] : 1;
    uint32_t bits;

    if (a == 0 || b == 0 || c == 0) {
        return NULL;
    }

    bits = (a - 1) << 12 | (b - 1) << 6 | (c - 1);
    if (bits & (len == 3 ? 0x3 : 0x3ff)) {
        return NULL;
    }

    *p++ = (uint8_t) (bits >> 10);
    if (len == 3) {
        *p++ = (uint8_t) (bits >> 2);
    }
    return p;
}

ssize_t
base64url_decode(const char *text, size_t len, void *out)
{
    const uint8_t *in = (const uint8_t *) text;
    uint8_t *p = out;

    for (; len >= 4; len -= 4, in += 4) {
        uint32_t a = values[in[0]];
        uint32_t b = values[in[1]];
        uint32_t c = values[in[2]];
        uint32_t d = values[in[3]];
        uint32_t bits;

        if (a == 0 || b == 0 || c == 0 || d == 0) {
            return -1;
        }

        bits = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
        *p++ = (uint8_t) (bits >> 16);
        *p++ = (uint8_t) (bits >> 8);
        *p++ = (uint8_t) bits;
    }

    if (len == 1) {
        return -1;
    }
    if (len != 0) {
        p = decode_tail(in, len, p);
        if (p == NULL) {
            return -1;
        }
    }

    return p - (uint8_t *) out;
}
