/* percent.c: percent-encoding of URIs. */

#include "percent.h"

#define N 255

const uint8_t hex_values[256] = {
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, N, N, N, N, N, N,
    N, 10, 11, 12, 13, 14, 15, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, 10, 11, 12, 13, 14, 15, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N
};

#undef N

ssize_t
percent_decode(const char *text, size_t len, char *out)
{
    const char *end = text + len;
    char *p = out;

    while (text < end) {
        if (*text != '%') {
            *p++ = *text++;
            continue;
        }

        if (end - text < 3) {
            return -1;
        }

        unsigned high = hex_digit(text[1]);
        unsigned low = hex_digit(text[2]);
        if ((high | low) > 15) {
            return -1;
        }

        *p++ = (char) (high << 4 | low);
        text += 3;
    }

    return p - out;
}

static int
unreserved(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
           || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_'
           || c == '~';
}

size_t
percent_encode(const char *text, size_t len, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    char *p = out;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];

        if (unreserved(c)) {
            *p++ = (char) c;
        } else {
            *p++ = '%';
            *p++ = digits[c >> 4];
            *p++ = digits[c & 15];
        }
    }

    return (size_t) (p - out);
}
