/* anthropic_fuzz.c: replies of a provider: a stream in pieces of any length,
 * the same bytes as a whole reply, and as an error. Whatever comes, the outcome
 * is complete: an end, a content, a text. */

#include "workers/llm/anthropic.h"
#include "workers/runtime/log.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void
log_write(log_level_t level, const char *format, ...)
{
    (void) level;
    (void) format;
}

/* Of libuv, which is not needed otherwise. */
uint64_t
uv_hrtime(void)
{
    return 1;
}

static void
on_piece(void *arg, const piece_t *piece)
{
    size_t *bytes = arg;

    assert(piece->text.len > 0 && piece->text.data != NULL);
    *bytes += piece->text.len;
}

static void
check(const generated_t *out)
{
    assert(json_is_array(out->content));
    assert(out->text.len == 0 || out->text.data != NULL);
    assert(out->end == GENERATED
        || (out->code != NULL && out->message != NULL));
    assert(out->tokens.input >= 0 && out->tokens.output >= 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena_t *arena = arena_new();
    request_t rq = { .arena = arena };
    size_t bytes = 0, step = size > 0 ? 1 + data[0] % 64 : 1;
    generation_t generation = { .piece = on_piece, .arg = &bytes,
        .stream = 1 };
    generated_t streamed = { .retry_after_ms = -1 };
    generated_t whole = { .retry_after_ms = -1 };
    reply_t *reply = reply_new(&rq, &generation, &streamed);

    for (size_t at = 0; at < size; at += step) {
        if (reply_feed(reply, (slice_t) { (const char *) data + at,
                size - at < step ? size - at : step }) != 0) {
            break;
        }
    }
    reply_end(reply);
    check(&streamed);

    reply = reply_new(&rq, &generation, &whole);
    reply_whole(reply, (slice_t) { (const char *) data, size });
    reply_end(reply);
    check(&whole);

    anthropic_read_error(&rq, (slice_t) { (const char *) data, size });
    arena_free(arena);
    return 0;
}
