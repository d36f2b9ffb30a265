/* anthropic_test.c: replies of the Messages API and the stream they come in,
 * whole and cut anywhere; what is malformed, broken or an error. */

#include "workers/llm/anthropic.h"
#include "workers/llm/sse.h"
#include "workers/llm/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static arena_t *arena;
static request_t rq;
static char pieces[8192];

static int
begin(void **state)
{
    (void) state;
    arena = arena_new();
    memset(&rq, 0, sizeof(rq));
    rq.arena = arena;
    pieces[0] = '\0';
    return 0;
}

static int
end(void **state)
{
    (void) state;
    arena_free(arena);
    return 0;
}

static void
on_piece(void *arg, const piece_t *piece)
{
    static const char *const kinds[] = { "text", "thinking", "tool" };
    size_t len = strlen(pieces);

    (void) arg;
    snprintf(pieces + len, sizeof(pieces) - len, "%s%s%u:%.*s",
        len > 0 ? "|" : "", kinds[piece->kind], piece->block,
        (int) piece->text.len, piece->text.data);
}

static generation_t generation = { .piece = on_piece, .stream = 1 };

/* Feeds the stream `step` bytes at a time. */
static generated_t
read_stream(const char *text, size_t step)
{
    generated_t out = { .retry_after_ms = -1, .tokens = { .input = 77 } };
    reply_t *reply = reply_new(&rq, &generation, &out);
    size_t len = strlen(text);

    for (size_t at = 0; at < len; at += step) {
        if (reply_feed(reply, (slice_t) { text + at,
                len - at < step ? len - at : step }) != 0) {
            break;
        }
    }
    reply_end(reply);
    return out;
}

#define START "event: message_start\n" \
    "data: {\"type\":\"message_start\",\"message\":{\"usage\":{" \
    "\"input_tokens\":10,\"cache_creation_input_tokens\":7," \
    "\"cache_read_input_tokens\":3,\"cache_creation\":{" \
    "\"ephemeral_5m_input_tokens\":5,\"ephemeral_1h_input_tokens\":2}," \
    "\"output_tokens\":1}}}\n\n"
#define BLOCK "data: {\"type\":\"content_block_start\",\"index\":0," \
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
#define SAY(text) "data: {\"type\":\"content_block_delta\",\"index\":0," \
    "\"delta\":{\"type\":\"text_delta\",\"text\":\"" text "\"}}\n\n"
#define STOP "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
#define DELTA "event: message_delta\ndata: {\"type\":\"message_delta\"," \
    "\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{" \
    "\"cache_creation_input_tokens\":7,\"output_tokens\":25," \
    "\"output_tokens_details\":{" \
    "\"thinking_tokens\":4}}}\n\n"
#define LAST "data: {\"type\":\"message_stop\"}\n\n"
#define PING "event: ping\ndata: {\"type\":\"ping\"}\n\n: note\n\n"

static void
whole_stream(void **state)
{
    static const char stream[] = START PING BLOCK SAY("Hel") PING
        SAY("lo \\u00e9") STOP DELTA LAST "data: {\"type\":\"x\"}\n\n";

    (void) state;
    for (size_t step = 1; step < sizeof(stream); step++) {
        generated_t out;

        pieces[0] = '\0';
        out = read_stream(stream, step);
        assert_int_equal(out.end, GENERATED);
        assert_int_equal(out.text.len, 8);
        assert_memory_equal(out.text.data, "Hello \xc3\xa9", 8);
        assert_string_equal(pieces, "text0:Hel|text0:lo \xc3\xa9");
        assert_int_equal(out.tokens.input, 10);
        assert_int_equal(out.tokens.cache_read, 3);
        assert_int_equal(out.tokens.cache_write_5m, 5);
        assert_int_equal(out.tokens.cache_write_1h, 2);
        assert_int_equal(out.tokens.output, 25);
        assert_int_equal(out.tokens.reasoning, 4);
        assert_true(out.reported);
        assert_memory_equal(out.stop_reason.data, "end_turn", 8);
        assert_int_equal(json_array_size(out.content), 1);
    }
}

static void
thinking_and_tools(void **state)
{
    generated_t out = read_stream(START
        "data: {\"type\":\"content_block_start\",\"index\":0,"
        "\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\","
        "\"signature\":\"\"}}\r\n\r\n"
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{"
        "\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\r\n\r\n"
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{"
        "\"type\":\"signature_delta\",\"signature\":\"sig\"}}\r\n\r\n"
        "data: {\"type\":\"content_block_stop\",\"index\":0}\r\n\r\n"
        "data: {\"type\":\"content_block_start\",\"index\":1,"
        "\"content_block\":{\"type\":\"tool_use\",\"id\":\"t1\","
        "\"name\":\"look\",\"input\":{}}}\n\n"
        "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{"
        "\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\"\"}}\n\n"
        "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{"
        "\"type\":\"input_json_delta\",\"partial_json\":\":1}\"}}\n\n"
        "data: {\"type\":\"content_block_stop\",\"index\":1}\n\n"
        "data: {\"type\":\"content_block_start\",\"index\":2,"
        "\"content_block\":{\"type\":\"server_thing\",\"x\":1}}\n\n"
        "data: {\"type\":\"content_block_stop\",\"index\":2}\n\n"
        DELTA LAST, 7);
    const json_t *tool = json_array_get(out.content, 1);
    const json_t *thought = json_array_get(out.content, 0);

    (void) state;
    assert_int_equal(out.end, GENERATED);
    assert_string_equal(pieces, "thinking0:hm|tool1:{\"a\"|tool1::1}");
    assert_string_equal(json_string_value(json_object_get(thought,
        "signature")), "sig");
    assert_string_equal(json_string_value(json_object_get(thought,
        "thinking")), "hm");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(tool,
        "input"), "a")), 1);
    assert_int_equal(json_array_size(out.content), 3);
    assert_int_equal(out.text.len, 0);
}

static void
broken_after_text(void **state)
{
    generated_t out = read_stream(START BLOCK SAY("one two three four"), 50);

    (void) state;
    assert_int_equal(out.end, GENERATE_BROKEN);
    assert_string_equal(out.code, "provider_stream_broken");
    assert_false(out.reported);
    assert_int_equal(out.tokens.input, 10);
    assert_true(out.tokens.output >= 4);
    assert_int_equal(out.text.len, 18);
}

static void
broken_before_text(void **state)
{
    generated_t out = read_stream(START BLOCK, 50);

    (void) state;
    assert_int_equal(out.end, GENERATE_AGAIN);
    assert_int_equal(out.tokens.input, 10);
    out = read_stream("{malformed json", 50);
    assert_int_equal(out.end, GENERATE_AGAIN);
    assert_int_equal(out.tokens.input, 77);
}

static void
malformed(void **state)
{
    generated_t out = read_stream(START "data: {oops\n\n" BLOCK SAY("x")
        STOP DELTA LAST, 50);

    (void) state;
    assert_int_equal(out.end, GENERATE_AGAIN);
    assert_string_equal(out.code, "provider_malformed");
}

static void
errors_in_the_stream(void **state)
{
    generated_t out = read_stream(START "event: error\ndata: {\"type\":"
        "\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":"
        "\"Overloaded\"}}\n\n", 50);

    (void) state;
    assert_int_equal(out.end, GENERATE_AGAIN);
    assert_string_equal(out.code, "provider_overloaded");
    out = read_stream(START BLOCK SAY("x") "data: {\"type\":\"error\","
        "\"error\":{\"type\":\"overloaded_error\"}}\n\n", 50);
    assert_int_equal(out.end, GENERATE_BROKEN);
    out = read_stream(START "data: {\"type\":\"error\",\"error\":{\"type\":"
        "\"invalid_request_error\",\"message\":\"no\"}}\n\n", 50);
    assert_int_equal(out.end, GENERATE_REFUSED);
}

static void
errors_by_status(void **state)
{
    anthropic_error_t error = anthropic_read_error(&rq, SLICE("{\"type\":"
        "\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":"
        "\"no\\nmore\",\"details\":{\"error_code\":\"spend\"}}}"));

    (void) state;
    assert_true(error.limited);
    assert_memory_equal(error.message.data, "no more", 7);
    assert_false(anthropic_passes(429, error.type, error.limited));
    assert_true(anthropic_passes(429, error.type, 0));
    assert_true(anthropic_passes(529, SLICE(""), 0));
    assert_true(anthropic_passes(500, SLICE(""), 0));
    assert_true(anthropic_passes(408, SLICE(""), 0));
    assert_false(anthropic_passes(400, SLICE(""), 0));
    assert_false(anthropic_passes(401, SLICE(""), 0));
    assert_false(anthropic_passes(404, SLICE(""), 0));
    error = anthropic_read_error(&rq, SLICE("<html>\xff"));
    assert_int_equal(error.message.len, 6);
}

static void
not_a_stream(void **state)
{
    generated_t out = { .retry_after_ms = -1 };
    reply_t *reply = reply_new(&rq, &generation, &out);

    (void) state;
    reply_whole(reply, SLICE("{\"content\":[{\"type\":\"text\",\"text\":"
        "\"Hi\"},{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"n\","
        "\"input\":{}}],\"stop_reason\":\"tool_use\",\"usage\":{"
        "\"input_tokens\":4,\"output_tokens\":6}}"));
    reply_end(reply);
    assert_int_equal(out.end, GENERATED);
    assert_string_equal(pieces, "text0:Hi");
    assert_int_equal(out.tokens.output, 6);
    assert_int_equal(json_array_size(out.content), 2);
    assert_memory_equal(out.stop_reason.data, "tool_use", 8);
}

static int
count_events(void *arg, const sse_event_t *event)
{
    buf_t *out = arg;

    buf_printf(out, "[%.*s:%.*s]", (int) event->type.len, event->type.data,
        (int) event->data.len, event->data.data);
    return 0;
}

static void
events_of_every_form(void **state)
{
    static const char text[] = "\xef\xbb\xbf" "data: a\ndata:b\ndata\n\n"
        ": c\nevent: e\rdata:  two\r\r\n\nid: 1\ndata: x\r\n\r\nevent: none\n"
        "\ndata: lost";

    (void) state;
    for (size_t step = 1; step <= sizeof(text); step++) {
        sse_t sse;
        buf_t out;

        sse_init(&sse, arena, 1000);
        buf_init(&out, arena, 64);
        for (size_t at = 0; at < sizeof(text) - 1; at += step) {
            size_t left = sizeof(text) - 1 - at;

            assert_int_equal(sse_feed(&sse, (slice_t) { text + at,
                left < step ? left : step }, count_events, &out), 0);
        }
        buf_putc(&out, '\0');
        assert_string_equal(out.data, "[message:a\nb\n][e: two][message:x]");
    }
}

static void
events_too_long(void **state)
{
    sse_t sse;
    buf_t out;

    (void) state;
    buf_init(&out, arena, 64);
    sse_init(&sse, arena, 20);
    assert_int_equal(sse_feed(&sse, SLICE("data: 0123456789012345678"),
        count_events, &out), -1);
    sse_init(&sse, arena, 20);
    assert_int_equal(sse_feed(&sse, SLICE("data: 01234567\ndata: 01234567\n"
        "data: 01234567\n"), count_events, &out), -1);
}

static void
tokens(void **state)
{
    (void) state;
    assert_int_equal(tokens_of_text(SLICE("")), 0);
    assert_int_equal(tokens_of_text(SLICE("the cat sat")), 3);
    assert_int_equal(tokens_of_text(SLICE("12345")), 2);
    assert_true(tokens_of_text(SLICE("internationalization")) > 1);
    /* a character cut off at the end is no reason to look behind it */
    assert_int_equal(tokens_of_text(SLICE("\xe4\xb8")), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_stream, begin, end),
        cmocka_unit_test_setup_teardown(thinking_and_tools, begin, end),
        cmocka_unit_test_setup_teardown(broken_after_text, begin, end),
        cmocka_unit_test_setup_teardown(broken_before_text, begin, end),
        cmocka_unit_test_setup_teardown(malformed, begin, end),
        cmocka_unit_test_setup_teardown(errors_in_the_stream, begin, end),
        cmocka_unit_test_setup_teardown(errors_by_status, begin, end),
        cmocka_unit_test_setup_teardown(not_a_stream, begin, end),
        cmocka_unit_test_setup_teardown(events_of_every_form, begin, end),
        cmocka_unit_test_setup_teardown(events_too_long, begin, end),
        cmocka_unit_test_setup_teardown(tokens, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
