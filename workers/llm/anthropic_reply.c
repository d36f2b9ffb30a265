/* anthropic_reply.c: what the Messages API answers.
 *
 * A stream is message_start, then for each block of the content its start,
 * deltas and stop, then message_delta with the stop reason, then message_stop;
 * pings may come anywhere, and events and blocks of kinds that are not known
 * are to be passed over. Counts in message_delta are totals: they replace
 * those of message_start. Only message_stop says that all is there. */

#include "anthropic.h"

#include "sse.h"
#include "tokens.h"

#include "common/utf8.h"

#include <assert.h>

#define BLOCKS_MAX  256
#define MESSAGE_MAX 300

typedef struct {
    json_t *block;              /* borrowed from the content; NULL: none */
    buf_t text;                 /* what its deltas have brought, but for a
                                   block of text: that is in `all`, */
    size_t from;                /* from here on */
    const char *member;         /* where that belongs: "text", "thinking",
                                   "input"; NULL: nowhere */
} open_block_t;

struct reply_s {
    request_t *rq;
    const generation_t *generation;
    generated_t *out;
    sse_t sse;
    buf_t all;                  /* the text of all text blocks */
    open_block_t open;
    unsigned index;             /* of the open block, as the provider has it */
    int whole;                  /* its end was said */
};

static slice_t
text_of(const json_t *json)
{
    return json_is_string(json)
        ? (slice_t) { json_string_value(json), json_string_length(json) }
        : SLICE("");
}

/* ---- errors ---- */

static slice_t
shortened(request_t *rq, slice_t text)
{
    size_t len = text.len < MESSAGE_MAX ? text.len : MESSAGE_MAX;
    char *copy = arena_strndup(rq->arena, text.data, len);

    while (len > 0 && !utf8_valid(copy, len)) {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char) copy[i] < 0x20) {
            copy[i] = ' ';
        }
    }
    return (slice_t) { copy, len };
}

anthropic_error_t
anthropic_read_error(request_t *rq, slice_t text)
{
    json_t *json = json_loadb(text.data, text.len, 0, NULL);
    const json_t *error = json_object_get(json, "error");
    const json_t *details = json_object_get(error, "details");
    anthropic_error_t out = {
        .type = arena_slice(rq->arena, text_of(json_object_get(error,
            "type"))),
        .message = shortened(rq, json != NULL
            ? text_of(json_object_get(error, "message")) : text),
        .limited = json_is_string(json_object_get(details, "error_code")),
    };

    json_decref(json);
    return out;
}

int
anthropic_passes(int status, slice_t type, int limited)
{
    static const char *const passing[] = { "rate_limit_error", "api_error",
        "timeout_error", "overloaded_error", "conflict_error", NULL };

    if (limited) {
        return 0;               /* a spend cap: waiting does not help */
    }
    if (status == 408 || status == 409 || status == 429 || status >= 500) {
        return 1;
    }
    return status == 0 && slice_index(type, passing) >= 0;
}

static void
fail(reply_t *reply, const char *code, const char *why)
{
    if (reply->out->end != GENERATED) {
        return;                 /* the first reason is the reason */
    }
    generated_fail(reply->rq, reply->out, reply->out->first_at != 0
        ? GENERATE_BROKEN : GENERATE_AGAIN, code, "anthropic: %s", why);
}

/* ---- counts ---- */

static void
take_count(const json_t *usage, const char *name, int64_t *out)
{
    const json_t *value = json_object_get(usage, name);

    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *out = json_integer_value(value);
    }
}

/* Which cache was written to may be told, or the sum alone: then what was not
 * told of the other before is of the one that is usual. */
static void
take_usage(reply_t *reply, const json_t *usage)
{
    token_counts_t *tokens = &reply->out->tokens;
    const json_t *split = json_object_get(usage, "cache_creation");
    int64_t written;

    if (!json_is_object(usage)) {
        return;
    }
    take_count(usage, "input_tokens", &tokens->input);
    take_count(usage, "output_tokens", &tokens->output);
    take_count(usage, "cache_read_input_tokens", &tokens->cache_read);
    if (json_is_object(split)) {
        take_count(split, "ephemeral_5m_input_tokens",
            &tokens->cache_write_5m);
        take_count(split, "ephemeral_1h_input_tokens",
            &tokens->cache_write_1h);
    } else {
        written = tokens->cache_write_5m + tokens->cache_write_1h;
        take_count(usage, "cache_creation_input_tokens", &written);
        tokens->cache_write_5m = written > tokens->cache_write_1h
            ? written - tokens->cache_write_1h : 0;
    }
    take_count(json_object_get(usage, "output_tokens_details"),
        "thinking_tokens", &tokens->reasoning);
    reply->out->reported = 1;
}

/* ---- blocks ---- */

static void
tell(reply_t *reply, piece_kind_t kind, slice_t text)
{
    piece_t piece = { kind, reply->index, text,
        kind == PIECE_TEXT ? buf_slice(&reply->all) : SLICE_NONE };

    if (text.len > 0) {
        generated_piece(reply->generation, reply->out, &piece);
    }
}

static void
block_start(reply_t *reply, const json_t *event)
{
    const json_t *given = json_object_get(event, "content_block");
    slice_t type = text_of(json_object_get(given, "type"));
    open_block_t *open = &reply->open;

    open->block = NULL;
    if (!json_is_object(given)
        || json_array_size(reply->out->content) == BLOCKS_MAX) {
        return;
    }
    reply->index = (unsigned) json_array_size(reply->out->content);
    open->block = json_deep_copy(given);
    json_array_append_new(reply->out->content, open->block);
    open->member = slice_equal(type, SLICE("text")) ? "text"
        : slice_equal(type, SLICE("thinking")) ? "thinking"
        : slice_equal(type, SLICE("tool_use")) ? "input" : NULL;
    open->from = reply->all.len;
    open->text.len = 0;
}

static void
block_delta(reply_t *reply, const json_t *event)
{
    const json_t *delta = json_object_get(event, "delta");
    slice_t type = text_of(json_object_get(delta, "type")), text;
    open_block_t *open = &reply->open;
    piece_kind_t kind;

    if (open->block == NULL) {
        return;
    }
    if (slice_equal(type, SLICE("text_delta"))) {
        text = text_of(json_object_get(delta, "text"));
        kind = PIECE_TEXT;
        buf_put(&reply->all, text.data, text.len);
        tell(reply, kind, text);
        return;
    } else if (slice_equal(type, SLICE("thinking_delta"))) {
        text = text_of(json_object_get(delta, "thinking"));
        kind = PIECE_THINKING;
    } else if (slice_equal(type, SLICE("input_json_delta"))) {
        text = text_of(json_object_get(delta, "partial_json"));
        kind = PIECE_TOOL_INPUT;
    } else {
        if (slice_equal(type, SLICE("signature_delta"))) {
            json_object_set(open->block, "signature",
                json_object_get(delta, "signature"));
        }
        return;
    }
    buf_put(&open->text, text.data, text.len);
    tell(reply, kind, text);
}

/* Arguments of a tool come as pieces of JSON text; none at all are {}. */
static json_t *
block_value(const reply_t *reply, const open_block_t *open)
{
    if (strcmp(open->member, "text") == 0) {
        return json_stringn(reply->all.data + open->from,
            reply->all.len - open->from);
    }
    if (strcmp(open->member, "thinking") == 0) {
        return json_stringn(open->text.data, open->text.len);
    }
    return open->text.len == 0 ? json_object()
        : json_loadb(open->text.data, open->text.len, 0, NULL);
}

static void
block_stop(reply_t *reply)
{
    open_block_t *open = &reply->open;
    json_t *value;

    if (open->block == NULL || open->member == NULL) {
        open->block = NULL;
        return;
    }
    value = block_value(reply, open);
    if (value == NULL) {
        fail(reply, "provider_malformed",
            "the arguments of a tool are not JSON");
    } else {
        json_object_set_new(open->block, open->member, value);
    }
    open->block = NULL;
}

/* ---- events ---- */

static void
take_stop(reply_t *reply, const json_t *from)
{
    slice_t reason = text_of(json_object_get(from, "stop_reason"));

    if (reason.len > 0) {
        reply->out->stop_reason = arena_slice(reply->rq->arena, reason);
    }
}

static void
error_event(reply_t *reply, slice_t data)
{
    anthropic_error_t error = anthropic_read_error(reply->rq, data);
    generated_t *out = reply->out;

    if (out->end != GENERATED) {
        return;
    }
    generated_fail(reply->rq, out, out->first_at != 0 ? GENERATE_BROKEN
        : anthropic_passes(0, error.type, error.limited) ? GENERATE_AGAIN
        : GENERATE_REFUSED,
        slice_equal(error.type, SLICE("overloaded_error"))
            ? "provider_overloaded"
        : slice_equal(error.type, SLICE("rate_limit_error"))
            ? "provider_rate_limited" : "provider_failed",
        "anthropic said in its stream: %.*s", (int) error.message.len,
        error.message.data);
}

static void
take_event(reply_t *reply, slice_t type, const json_t *event)
{
    if (slice_equal(type, SLICE("content_block_delta"))) {
        block_delta(reply, event);
    } else if (slice_equal(type, SLICE("content_block_start"))) {
        block_start(reply, event);
    } else if (slice_equal(type, SLICE("content_block_stop"))) {
        block_stop(reply);
    } else if (slice_equal(type, SLICE("message_start"))) {
        take_usage(reply, json_object_get(json_object_get(event, "message"),
            "usage"));
    } else if (slice_equal(type, SLICE("message_delta"))) {
        take_usage(reply, json_object_get(event, "usage"));
        take_stop(reply, json_object_get(event, "delta"));
    } else if (slice_equal(type, SLICE("message_stop"))) {
        reply->whole = 1;
    }
}

/* The type inside of the data counts; the name of the event says the same. */
static int
on_event(void *arg, const sse_event_t *sse)
{
    reply_t *reply = arg;
    json_t *event = json_loadb(sse->data.data, sse->data.len, 0, NULL);
    slice_t type = text_of(json_object_get(event, "type"));

    if (!json_is_object(event)) {
        fail(reply, "provider_malformed", "an event is not JSON");
    } else if (slice_equal(type, SLICE("error"))) {
        error_event(reply, sse->data);
    } else {
        take_event(reply, type, event);
    }
    json_decref(event);
    return reply->out->end != GENERATED || reply->whole;
}

int
reply_feed(reply_t *reply, slice_t bytes)
{
    int rc = sse_feed(&reply->sse, bytes, on_event, reply);

    if (rc < 0) {
        fail(reply, "provider_malformed", "an event is too long");
    }
    return rc;
}

/* ---- all at once ---- */

static void
tell_block(reply_t *reply, const json_t *block)
{
    slice_t type = text_of(json_object_get(block, "type"));
    slice_t text;

    if (slice_equal(type, SLICE("text"))) {
        text = text_of(json_object_get(block, "text"));
        buf_put(&reply->all, text.data, text.len);
        tell(reply, PIECE_TEXT, text);
    } else if (slice_equal(type, SLICE("thinking"))) {
        tell(reply, PIECE_THINKING,
            text_of(json_object_get(block, "thinking")));
    }
    reply->index++;
}

void
reply_whole(reply_t *reply, slice_t body)
{
    json_t *message = json_loadb(body.data, body.len, 0, NULL);
    json_t *content = json_object_get(message, "content"), *block;
    size_t i;

    if (!json_is_array(content)) {
        fail(reply, "provider_malformed", "the reply is no message");
        json_decref(message);
        return;
    }
    take_usage(reply, json_object_get(message, "usage"));
    take_stop(reply, message);
    json_array_foreach(content, i, block) {
        json_array_append(reply->out->content, block);
        tell_block(reply, block);
    }
    reply->whole = 1;
    json_decref(message);
}

/* ---- life ---- */

reply_t *
reply_new(request_t *rq, const generation_t *generation, generated_t *out)
{
    reply_t *reply = arena_zero(rq->arena, sizeof(*reply));

    assert(out->content == NULL && out->end == GENERATED);
    reply->rq = rq;
    reply->generation = generation;
    reply->out = out;
    out->content = json_array();
    arena_json(rq->arena, out->content);
    sse_init(&reply->sse, rq->arena, EVENT_BYTES_MAX);
    buf_init(&reply->open.text, rq->arena, 64);
    buf_init(&reply->all, rq->arena, 256);
    return reply;
}

/* What was reported before a stream broke counts its beginning: one token of
 * output. What came of it is the better estimate. */
static void
estimate(reply_t *reply)
{
    generated_t *out = reply->out;
    int64_t output = tokens_of_text(buf_slice(&reply->all));

    if (reply->open.block != NULL && reply->open.member != NULL
        && strcmp(reply->open.member, "text") != 0) {
        output += tokens_of_text(buf_slice(&reply->open.text));
    }
    if (out->tokens.output < output) {
        out->tokens.output = output;
    }
    out->reported = 0;
}

void
reply_end(reply_t *reply)
{
    if (!reply->whole) {
        fail(reply, "provider_stream_broken",
            "the stream ended before the message did");
        estimate(reply);
        block_stop(reply);
    } else if (!reply->out->reported) {
        estimate(reply);
    }
    reply->out->text = buf_slice(&reply->all);
}
