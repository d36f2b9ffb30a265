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
