/* arena.h: memory and clean-ups that end together (nginx pools, PostgreSQL
 * contexts). One per request; also used by tests and start-up code. */

#ifndef HIVE_ARENA_H
#define HIVE_ARENA_H

#include "common/slice.h"

#include <stdarg.h>

typedef struct arena_s arena_t;

/* Returns owned. Never NULL: out of memory aborts, with a log line (a worker
 * without memory is restarted by its supervisor). */
arena_t *arena_new(void);

/* Runs the clean-ups, last registered first, then frees everything. */
void arena_free(arena_t *arena);

/* As arena_free, but keeps the first block for the next use. */
void arena_reset(arena_t *arena);

/* 16-byte aligned, uninitialised; lives as long as the arena. */
void *arena_alloc(arena_t *arena, size_t size);
void *arena_zero(arena_t *arena, size_t size);
char *arena_strndup(arena_t *arena, const char *data, size_t len);
slice_t arena_slice(arena_t *arena, slice_t text);
char *arena_printf(arena_t *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *arena_vprintf(arena_t *arena, const char *format, va_list args);

typedef void (*cleanup_fn)(void *arg);

/* Calls fn(arg) when the arena ends. The returned handle may be given to
 * arena_cleanup_cancel to run nothing. */
typedef struct cleanup_s cleanup_t;
cleanup_t *arena_cleanup(arena_t *arena, cleanup_fn fn, void *arg);
void arena_cleanup_cancel(cleanup_t *cleanup);

/* Bytes handed out and not yet reset. */
size_t arena_used(const arena_t *arena);

/* A growable byte buffer in an arena (replies, composed SQL). Old blocks are
 * left to the arena. */
typedef struct {
    arena_t *arena;
    char *data;
    size_t len;
    size_t cap;
} buf_t;

void buf_init(buf_t *buf, arena_t *arena, size_t initial);

/* Room for `more` bytes at data + len; the caller advances len. */
char *buf_reserve(buf_t *buf, size_t more);
void buf_put(buf_t *buf, const void *data, size_t len);
void buf_puts(buf_t *buf, const char *string);
void buf_printf(buf_t *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline void
buf_putc(buf_t *buf, char c)
{
    *buf_reserve(buf, 1) = c;
    buf->len++;
}

static inline slice_t
buf_slice(const buf_t *buf)
{
    return (slice_t) { buf->data, buf->len };
}

#endif
