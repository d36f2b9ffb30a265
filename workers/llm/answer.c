/* answer.c: what a model writes for a task: live while it does, and as the
 * task's result. */

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

/* ---- answers ---- */

slice_t
answer_json(request_t *rq, const model_t *model, const answer_t *answer)
{
    const generated_t *said = &answer->said;
    const token_counts_t *tokens = &said->tokens;
    buf_t out;

    buf_init(&out, rq->arena, 1024 + said->text.len * 2);
    buf_puts(&out, "{\"model\":");
    json_put_string(&out, model->id);
    buf_puts(&out, ",\"text\":");
    json_put_string(&out, said->text);
    buf_puts(&out, ",\"content\":");
    json_put_document(&out, said->content);
    buf_puts(&out, ",\"stop_reason\":");
    json_put_string(&out, said->stop_reason);
    buf_printf(&out, ",\"usage\":{\"input_tokens\":%lld"
        ",\"cache_read_tokens\":%lld,\"cache_write_5m_tokens\":%lld"
        ",\"cache_write_1h_tokens\":%lld,\"output_tokens\":%lld"
        ",\"reasoning_tokens\":%lld,\"estimated\":%s}"
        ",\"nano_usd\":%lld,\"tries\":%u}",
        (long long) tokens->input, (long long) tokens->cache_read,
        (long long) tokens->cache_write_5m,
        (long long) tokens->cache_write_1h, (long long) tokens->output,
        (long long) tokens->reasoning, said->reported ? "false" : "true",
        (long long) answer->nano_usd, answer->tries);
    return buf_slice(&out);
}

void
answer_fail(task_run_t *run, const generated_t *said)
{
    if (said->end == GENERATE_CANCELLED) {
        rq_raise_cancelled(run->rq);
    }
    if (said->retry_after_ms > 0) {
        task_retry_after(run, (unsigned) said->retry_after_ms);
    }
    task_fail(run, said->end == GENERATE_REFUSED, said->code, "%s",
        said->message);
}
