/* stream.c: what a model writes for a task, told live. */

#include "llm.h"

live_text_t *
stream_open(const task_run_t *run, slice_t other)
{
    char id[UUID_TEXT + 1] = { 0 };
    const char *channel, *key;

    uuid_format(&run->id, id);
    channel = arena_printf(run->rq->arena, "task:%s", id);
    key = arena_printf(run->rq->arena, "%s:%d", id, run->attempt);
    return live_text_open(run->rq, (slice_t) { channel, strlen(channel) },
        other, (slice_t) { key, strlen(key) });
}

void
stream_piece(void *stream, const piece_t *piece)
{
    if (piece->kind == PIECE_TEXT) {
        live_text_grow(stream, piece->so_far);
    }
}
