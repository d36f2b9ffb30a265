/* utf8.h: UTF-8 as RFC 3629 has it: no overlong forms, no surrogates,
 * nothing above U+10FFFF. */

#ifndef HIVE_UTF8_H
#define HIVE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Nonzero when all of it is well-formed. ASCII runs at word speed. */
int utf8_valid(const char *data, size_t len);

/* The same of text that comes in pieces, cut anywhere. */
typedef struct {
    uint8_t need;       /* bytes that the character under way still takes */
    uint8_t low;        /* the range of the next of them */
    uint8_t high;
} utf8_state_t;

void utf8_begin(utf8_state_t *state);

/* 0 as soon as what was fed can be no beginning of well-formed text: with the
 * first byte that is impossible. Nothing more may be fed then. */
int utf8_feed(utf8_state_t *state, const char *data, size_t len);

/* Nonzero when what was fed ends with a whole character. */
int utf8_complete(const utf8_state_t *state);

/* Characters (code points) in well-formed text. */
size_t utf8_length(const char *data, size_t len);

#endif
