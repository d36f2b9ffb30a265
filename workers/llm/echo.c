/* echo.c: the provider `echo`: a stand-in that is built in, so that all of
 * Hive can be tried without a key and without a network. It says what it is in
 * the first line of what it writes, streams at a pace that can be set
 * ([llm] echo_rate), obeys max_tokens, and answers a request for JSON with
 * JSON of the asked shape (echo_text.c). The same prompt gets the same
 * answer. */

#include "echo.h"

#include "internal.h"
#include "tokens.h"

#include <uv.h>

#define PIECE_NS_MIN UINT64_C(4000000)   /* faster than that goes in bursts */

static int64_t
count(const generation_t *generation)
{
    return tokens_of_text(generation->system)
           + tokens_of_json(generation->messages)
           + tokens_of_json(generation->schema)
           + TOKENS_PER_MESSAGE
             * (int64_t) json_array_size(generation->messages);
}

/* The text of the last message, of which the answer is made. */
static slice_t
last_words(request_t *rq, const generation_t *generation)
{
    size_t n = json_array_size(generation->messages);
    const json_t *message = json_array_get(generation->messages, n - 1);
    const json_t *content = json_object_get(message, "content");
    json_t *block;
    buf_t out;
    size_t i;

    if (json_is_string(content)) {
        return (slice_t) { json_string_value(content),
            json_string_length(content) };
    }
    buf_init(&out, rq->arena, 256);
    json_array_foreach((json_t *) content, i, block) {
        const json_t *text = json_object_get(block, "text");

        if (json_is_string(text)) {
            buf_put(&out, json_string_value(text), json_string_length(text));
        }
    }
    return buf_slice(&out);
}

/* One word with what stands before it: about a token. */
static size_t
word_end(slice_t text, size_t from)
{
    size_t at = from;

    while (at < text.len && (text.data[at] == ' ' || text.data[at] == '\n')) {
        at++;
    }
    while (at < text.len && text.data[at] != ' ' && text.data[at] != '\n') {
        at++;
    }
    return at;
}

/* Nonzero when it was cancelled. */
static int
wait_until(uint64_t at)
{
    int rc = 0;

    while (rc == 0 && uv_hrtime() < at) {
        rc = fiber_suspend_until("echo", at);
    }
    return rc == UV_ECANCELED || fiber_cancelled(fiber_self());
}

static void
say(const generation_t *generation, generated_t *out, slice_t text,
    size_t from, size_t to)
{
    generated_piece(generation, out, &(piece_t) { PIECE_TEXT, 0,
        { text.data + from, to - from }, { text.data, to } });
}

/* Tells the text word by word, in time; as far as max_tokens allow. */
static void
speak(request_t *rq, const generation_t *generation, slice_t text,
    generated_t *out)
{
    uint64_t began = uv_hrtime(), due = began;
    unsigned rate = llm.config.echo_rate;
    size_t at = 0, from = 0;
    int64_t said = 0;

    out->stop_reason = SLICE("end_turn");
    while (at < text.len) {
        if (said == generation->max_tokens) {
            out->stop_reason = SLICE("max_tokens");
            break;
        }
        at = word_end(text, at);
        said++;
        if (rate > 0) {
            due += UINT64_C(1000000000) / rate;
        }
        if (rate > 0 && due < uv_hrtime() + PIECE_NS_MIN && at < text.len) {
            continue;
        }
        say(generation, out, text, from, at);
        from = at;
        if (rate > 0 && wait_until(due)) {
            generated_fail(rq, out, GENERATE_CANCELLED, "cancelled",
                "the generation was cancelled");
            break;
        }
    }
    if (at > from) {
        say(generation, out, text, from, at);
    }
    out->text = (slice_t) { text.data, at };
    out->tokens.output = said;
}

static void
generate(request_t *rq, const generation_t *generation, generated_t *out)
{
    slice_t prompt = last_words(rq, generation);
    slice_t text = generation->schema != NULL
        ? echo_json(rq->arena, generation->schema, prompt)
        : echo_prose(rq->arena, prompt);
    json_t *block;

    out->content = json_array();
    arena_json(rq->arena, out->content);
    out->reported = 1;
    speak(rq, generation, text, out);
    block = json_object();
    json_object_set_new(block, "type", json_string("text"));
    json_object_set_new(block, "text",
        json_stringn(out->text.data, out->text.len));
    json_array_append_new(out->content, block);
}

static const char *
unready(void)
{
    return NULL;
}

const provider_t provider_echo = { "echo", generate, count, unready };
