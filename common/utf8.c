/* utf8.c: UTF-8 as RFC 3629 has it.
 *
 * Almost all text that passes here is ASCII, which is skipped eight bytes at
 * a time. Other characters are judged by Table 3-7 of the Unicode standard:
 * the lead byte gives the length and the range of the second byte, and that
 * range alone rules out overlong forms, surrogates and what is above
 * U+10FFFF. */

#include "utf8.h"

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

/* One byte of a character beyond ASCII. */
static int
step(utf8_state_t *state, unsigned char c)
{
    if (state->need > 0) {
        if (!in_range(c, state->low, state->high)) {
            return 0;
        }
        state->need--;
        state->low = 0x80;
        state->high = 0xbf;
        return 1;
    }

    state->low = 0x80;
    state->high = 0xbf;
    if (in_range(c, 0xc2, 0xdf)) {
        state->need = 1;
    } else if (in_range(c, 0xe0, 0xef)) {
        state->need = 2;
        state->low = c == 0xe0 ? 0xa0 : 0x80;
        state->high = c == 0xed ? 0x9f : 0xbf;
    } else if (in_range(c, 0xf0, 0xf4)) {
        state->need = 3;
        state->low = c == 0xf0 ? 0x90 : 0x80;
        state->high = c == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }

    return 1;
}

void
utf8_begin(utf8_state_t *state)
{
    state->need = 0;
    state->low = 0x80;
    state->high = 0xbf;
}

int
utf8_feed(utf8_state_t *state, const char *data, size_t len)
{
    utf8_state_t now = *state;
    const char *p = data;
    const char *end;

    if (len == 0) {
        return 1;
    }

    end = data + len;
    while (p < end) {
        if (now.need == 0 && (signed char) *p >= 0) {
            p = skip_ascii(p, end);
        } else if (!step(&now, (unsigned char) *p++)) {
            return 0;
        }
    }

    *state = now;
    return 1;
}

int
utf8_complete(const utf8_state_t *state)
{
    return state->need == 0;
}

int
utf8_valid(const char *data, size_t len)
{
    utf8_state_t state;

    utf8_begin(&state);
    return utf8_feed(&state, data, len) && utf8_complete(&state);
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
