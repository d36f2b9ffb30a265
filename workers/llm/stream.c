/* stream.c: what a model writes for a task, told live. */

#include "llm.h"

#include "workers/realtime/realtime.h"

void
stream_open(stream_t *stream, const task_run_t *run, slice_t other)
{
    char id[UUID_TEXT + 1] = { 0 };
    const char *channel, *key;

    uuid_format(&run->id, id);
    channel = arena_printf(run->rq->arena, "task:%s", id);
    key = arena_printf(run->rq->arena, "%s:%d", id, run->attempt);
    *stream = (stream_t) { { channel, strlen(channel) }, other,
        { key, strlen(key) }, 0 };
}

static void
say(stream_t *stream, slice_t text, int done)
{
    event_delta(stream->task_channel, stream->key, text, done);
    if (stream->other_channel.data != NULL) {
        event_delta(stream->other_channel, stream->key, text, done);
    }
    stream->told = 1;
}

void
stream_piece(void *arg, const piece_t *piece)
{
    if (piece->kind == PIECE_TEXT) {
        say(arg, piece->text, 0);
    }
}

void
stream_close(stream_t *stream)
{
    if (stream->told) {
        say(stream, SLICE(""), 1);
    }
}
