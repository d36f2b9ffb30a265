/* slice.h: a borrowed run of bytes. Not terminated; the owner is whoever
 * handed it out, and says how long it lives. */

#ifndef HIVE_SLICE_H
#define HIVE_SLICE_H

#include <stddef.h>
#include <string.h>

typedef struct {
    const char *data;
    size_t len;
} slice_t;

#define SLICE(literal) ((slice_t) { (literal), sizeof(literal) - 1 })
#define SLICE_NONE     ((slice_t) { NULL, 0 })

static inline int
slice_equal(slice_t a, slice_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Which of the names it is, from 0; -1: none. NULL ends them. */
static inline int
slice_index(slice_t text, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strlen(names[i]) == text.len
            && memcmp(names[i], text.data, text.len) == 0) {
            return i;
        }
    }
    return -1;
}

#endif
