/* arena.c: blocks of memory that are released together.
 *
 * The arena itself lives at the start of its first block, so that the usual
 * request costs one malloc, or none when the arena is reset and used again.
 * What does not fit goes to further blocks, each twice as large as the last
 * up to a limit; what is large gets a block of its own, and the rest of the
 * current block stays in use. Under the address sanitizer free room is
 * poisoned and allocations are kept apart, so that an overrun is seen. */

#include "arena.h"

#include "log.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define ARENA_ASAN 1
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define ARENA_GAP 16
#else
#define ASAN_POISON_MEMORY_REGION(data, len)   ((void) (data), (void) (len))
#define ASAN_UNPOISON_MEMORY_REGION(data, len) ((void) (data), (void) (len))
#define ARENA_GAP 0
#endif

#define ARENA_ALIGN 16
#define ARENA_FIRST 8176         /* malloc adds 16: two pages */
#define ARENA_BLOCK_MAX 65520
#define ARENA_SIZE_MAX (SIZE_MAX / 4)

typedef struct block_s {
    struct block_s *next;
    size_t size;
} block_t;

struct cleanup_s {
    cleanup_t *next;
    cleanup_fn fn;
    void *arg;
};

struct arena_s {
    char *pos;
    char *end;
    block_t *blocks;             /* all but the first */
    cleanup_t *cleanups;         /* last registered first */
    size_t used;
    size_t next_size;
};

static size_t
align_up(size_t size)
{
    return (size + ARENA_ALIGN - 1) & ~(size_t) (ARENA_ALIGN - 1);
}

__attribute__((noreturn)) static void
arena_exhausted(size_t size)
{
    log_error("memory exhausted: %zu bytes asked for", size);
    abort();
}

static void *
block_alloc(size_t size)
{
    void *data = malloc(size);

    if (data == NULL) {
        arena_exhausted(size);
    }
    return data;
}

static void
arena_rewind(arena_t *arena)
{
    arena->pos = (char *) arena + align_up(sizeof(*arena));
    arena->end = (char *) arena + ARENA_FIRST;
    arena->blocks = NULL;
    arena->cleanups = NULL;
    arena->used = 0;
    arena->next_size = ARENA_FIRST * 2;
    ASAN_POISON_MEMORY_REGION(arena->pos, (size_t) (arena->end - arena->pos));
}

arena_t *
arena_new(void)
{
    arena_t *arena = block_alloc(ARENA_FIRST);

    arena_rewind(arena);
    return arena;
}

static void
arena_release(arena_t *arena)
{
    /* A clean-up may allocate, and may register another one. */
    while (arena->cleanups != NULL) {
        cleanup_t *cleanup = arena->cleanups;

        arena->cleanups = cleanup->next;
        if (cleanup->fn != NULL) {
            cleanup->fn(cleanup->arg);
        }
    }
    while (arena->blocks != NULL) {
        block_t *block = arena->blocks;

        arena->blocks = block->next;
        ASAN_UNPOISON_MEMORY_REGION(block, block->size);
        free(block);
    }
}

void
arena_free(arena_t *arena)
{
    if (arena == NULL) {
        return;
    }
    arena_release(arena);
    ASAN_UNPOISON_MEMORY_REGION(arena, ARENA_FIRST);
    free(arena);
}

void
arena_reset(arena_t *arena)
{
    arena_release(arena);
    arena_rewind(arena);
}

/* A block for one allocation, or the new current one. */
static char *
arena_grow(arena_t *arena, size_t need)
{
    size_t head = align_up(sizeof(block_t));
    int alone = need > arena->next_size / 4;
    size_t size = alone ? head + need : arena->next_size;
    block_t *block = block_alloc(size);
    char *data = (char *) block + head;

    block->next = arena->blocks;
    block->size = size;
    arena->blocks = block;
    ASAN_POISON_MEMORY_REGION(data, size - head);
    if (!alone) {
        arena->pos = data + need;
        arena->end = (char *) block + size;
        if (arena->next_size < ARENA_BLOCK_MAX) {
            arena->next_size *= 2;
        }
    }
    return data;
}

void *
arena_alloc(arena_t *arena, size_t size)
{
    size_t need;
    char *data;

    if (size > ARENA_SIZE_MAX) {
        arena_exhausted(size);
    }
    need = align_up(size == 0 ? 1 : size) + ARENA_GAP;
    if (need <= (size_t) (arena->end - arena->pos)) {
        data = arena->pos;
        arena->pos += need;
    } else {
        data = arena_grow(arena, need);
    }
    arena->used += need;
    ASAN_UNPOISON_MEMORY_REGION(data, size);
    return data;
}

void *
arena_zero(arena_t *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

char *
arena_strndup(arena_t *arena, const char *data, size_t len)
{
    char *copy = arena_alloc(arena, len + 1);

    if (len > 0) {
        memcpy(copy, data, len);
    }
    copy[len] = '\0';
    return copy;
}

slice_t
arena_slice(arena_t *arena, slice_t text)
{
    return (slice_t) { arena_strndup(arena, text.data, text.len), text.len };
}

char *
arena_vprintf(arena_t *arena, const char *format, va_list args)
{
    char text[256];
    va_list again;
    char *out;
    int len;

    va_copy(again, args);
    len = vsnprintf(text, sizeof(text), format, args);
    assert(len >= 0);
    if ((size_t) len < sizeof(text)) {
        out = arena_strndup(arena, text, (size_t) len);
    } else {
        out = arena_alloc(arena, (size_t) len + 1);
        vsnprintf(out, (size_t) len + 1, format, again);
    }
    va_end(again);
    return out;
}

char *
arena_printf(arena_t *arena, const char *format, ...)
{
    va_list args;
    char *out;

    va_start(args, format);
    out = arena_vprintf(arena, format, args);
    va_end(args);
    return out;
}

cleanup_t *
arena_cleanup(arena_t *arena, cleanup_fn fn, void *arg)
{
    cleanup_t *cleanup = arena_alloc(arena, sizeof(*cleanup));

    cleanup->fn = fn;
    cleanup->arg = arg;
    cleanup->next = arena->cleanups;
    arena->cleanups = cleanup;
    return cleanup;
}

void
arena_cleanup_cancel(cleanup_t *cleanup)
{
    cleanup->fn = NULL;
}

size_t
arena_used(const arena_t *arena)
{
    return arena->used;
}

void
buf_init(buf_t *buf, arena_t *arena, size_t initial)
{
    buf->arena = arena;
    buf->len = 0;
    buf->cap = align_up(initial == 0 ? 1 : initial);
    buf->data = arena_alloc(arena, buf->cap);
}

/* Room right behind the buffer, when nothing was allocated since. */
static int
buf_extend(buf_t *buf, size_t more)
{
    arena_t *arena = buf->arena;

    if (ARENA_GAP != 0 || buf->data + buf->cap != arena->pos
        || more > (size_t) (arena->end - arena->pos)) {
        return 0;
    }
    arena->pos += more;
    arena->used += more;
    buf->cap += more;
    return 1;
}

char *
buf_reserve(buf_t *buf, size_t more)
{
    size_t cap;
    char *data;

    if (more <= buf->cap - buf->len) {
        return buf->data + buf->len;
    }
    if (more > ARENA_SIZE_MAX - buf->len) {
        arena_exhausted(more);
    }
    cap = buf->cap * 2;
    if (cap < buf->len + more) {
        cap = buf->len + more;
    }
    cap = align_up(cap);
    if (!buf_extend(buf, cap - buf->cap)) {
        data = arena_alloc(buf->arena, cap);
        memcpy(data, buf->data, buf->len);
        buf->data = data;
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

void
buf_put(buf_t *buf, const void *data, size_t len)
{
    if (len > 0) {
        memcpy(buf_reserve(buf, len), data, len);
        buf->len += len;
    }
}

void
buf_puts(buf_t *buf, const char *string)
{
    buf_put(buf, string, strlen(string));
}

void
buf_printf(buf_t *buf, const char *format, ...)
{
    va_list args;
    size_t room;
    int len;

    room = buf->cap - buf->len;
    va_start(args, format);
    len = vsnprintf(buf->data + buf->len, room, format, args);
    va_end(args);
    assert(len >= 0);
    if ((size_t) len >= room) {
        buf_reserve(buf, (size_t) len + 1);
        va_start(args, format);
        vsnprintf(buf->data + buf->len, (size_t) len + 1, format, args);
        va_end(args);
    }
    buf->len += (size_t) len;
}
