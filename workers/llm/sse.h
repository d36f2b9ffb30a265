/* sse.h: reading a stream of server-sent events (HTML Living Standard, 9.2.6)
 * as its bytes arrive. `id` and `retry` are not of interest here. */

#ifndef HIVE_SSE_H
#define HIVE_SSE_H

#include "workers/runtime/arena.h"

typedef struct {
    buf_t line;                 /* one that has not ended yet */
    buf_t type;
    buf_t data;
    size_t max;
    int has_data;
    int after_cr;               /* an LF now belongs to that line's end */
    int begun;                  /* past a byte order mark */
} sse_t;

typedef struct {
    slice_t type;               /* "message" unless named */
    slice_t data;               /* lines joined by LF */
} sse_event_t;

/* Buffers live in the arena; no line and no event may be longer than `max`. */
void sse_init(sse_t *sse, arena_t *arena, size_t max);

/* Calls fn for each event that is complete; the event is borrowed for the
 * call. 0; what fn returned as soon as that is not 0; or -1 when something is
 * longer than `max`. */
int sse_feed(sse_t *sse, slice_t bytes,
    int (*fn)(void *arg, const sse_event_t *event), void *arg);

#endif
