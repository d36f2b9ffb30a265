/* anthropic.c: the provider `anthropic`, by the Messages API: the request, and
 * how it can fail. What a reply says is anthropic_reply.c's. */

#include "anthropic.h"

#include "internal.h"
#include "tokens.h"

#include "workers/db/db.h"

#include "common/utf8.h"

#include <stdlib.h>

#define VERSION      "2023-06-01"
#define CONNECT_MS   8000      /* three to connect, five for TLS */
#define READ_BYTES   1024
#define NAME_MAX_BYTES 200     /* of a reply, as the provider has it */

/* ---- the request ---- */

static void
put_member(buf_t *out, const char *name, const json_t *value)
{
    if (value != NULL) {
        buf_printf(out, ",\"%s\":", name);
        json_put_document(out, value);
    }
}

static slice_t
put_request(request_t *rq, const generation_t *generation)
{
    buf_t out;

    buf_init(&out, rq->arena, 512);
    buf_puts(&out, "{\"model\":");
    json_put_string(&out, generation->model);
    buf_printf(&out, ",\"max_tokens\":%lld",
        (long long) generation->max_tokens);
    if (generation->stream) {
        buf_puts(&out, ",\"stream\":true");
    }
    if (generation->system.data != NULL) {
        buf_puts(&out, ",\"system\":");
        json_put_string(&out, generation->system);
    }
    put_member(&out, "messages", generation->messages);
    put_member(&out, "tools", generation->tools);
    put_member(&out, "tool_choice", generation->tool_choice);
    put_member(&out, "thinking", generation->thinking);
    put_member(&out, "stop_sequences", generation->stop);
    if (generation->temperature >= 0) {
        buf_printf(&out, ",\"temperature\":%.4g", generation->temperature);
    }
    if (generation->schema != NULL) {
        buf_puts(&out, ",\"output_config\":{\"format\":"
            "{\"type\":\"json_schema\",\"schema\":");
        json_put_document(&out, generation->schema);
        buf_puts(&out, "}}");
    }
    buf_putc(&out, '}');
    return buf_slice(&out);
}

static int
send_request(request_t *rq, const generation_t *generation,
    http_response_t **response)
{
    const char *key = llm.config.anthropic_key;
    char *id = arena_alloc(rq->arena, UUID_TEXT);
    http_header_t headers[] = {
        { SLICE("content-type"), SLICE("application/json") },
        { SLICE("accept"), generation->stream ? SLICE("text/event-stream")
                                              : SLICE("application/json") },
        { SLICE("anthropic-version"), SLICE(VERSION) },
        { SLICE("x-api-key"), { key, strlen(key) } },
        { SLICE("x-request-id"), { id, UUID_TEXT } },
    };
    http_options_t options = {
        .method = "POST",
        .url = arena_printf(rq->arena, "%s/v1/messages",
            llm.config.anthropic_url),
        .headers = headers,
        .nheaders = sizeof(headers) / sizeof(headers[0]),
        .body = put_request(rq, generation),
        .response_max = REPLY_BYTES_MAX,
        .read_size = generation->stream ? READ_BYTES : 0,
        /* What is no stream says nothing until all of it is there. */
        .timeouts = { CONNECT_MS, generation->stream
                ? llm.config.first_byte_ms : llm.config.total_ms,
            llm.config.idle_ms, llm.config.total_ms },
    };

    uuid_format(&generation->id, id);
    return http_request(llm.http, rq->arena, &options, response);
}

/* ---- failures ---- */

/* What the transfer's end means. Once pieces are out there is no second
 * try. */
static void
fail_transfer(request_t *rq, generated_t *out,
    const http_response_t *response, int rc)
{
    const char *why = http_failure(response);
    generate_end_t end = out->first_at != 0 ? GENERATE_BROKEN
                                            : GENERATE_AGAIN;

    if (why[0] == '\0') {
        why = uv_strerror(rc);
    }
    if (!http_sent(response)) {
        out->tokens = (token_counts_t) { 0 };
        out->reported = 1;      /* nobody has anything to charge for */
    }
    switch (rc) {
    case UV_ECANCELED:
        generated_fail(rq, out, GENERATE_CANCELLED, "cancelled",
            "the generation was cancelled");
        break;
    case UV_ETIMEDOUT:
        generated_fail(rq, out, end, "provider_timed_out",
            "anthropic did not answer in time: %s", why);
        break;
    case UV_EMSGSIZE:
        generated_fail(rq, out, GENERATE_REFUSED, "provider_reply_too_large",
            "anthropic answered more than %d bytes", REPLY_BYTES_MAX);
        break;
    case UV_EINVAL:
        generated_fail(rq, out, GENERATE_REFUSED, "provider_misconfigured",
            "the request to anthropic cannot be sent: %s", why);
        break;
    default:
        generated_fail(rq, out, end, end == GENERATE_BROKEN
            ? "provider_stream_broken" : "provider_unreachable",
            "the connection to anthropic broke: %s", why);
        break;
    }
}

/* Milliseconds, or negative: retry-after-ms is the more exact of the two. Only
 * a number is obeyed: dates of HTTP are not used by this provider. */
static int64_t
retry_after(request_t *rq, const http_response_t *response)
{
    static const struct { const char *name; double unit; } headers[] = {
        { "retry-after-ms", 1 }, { "retry-after", 1000 }
    };

    for (int i = 0; i < 2; i++) {
        slice_t value = http_header(response, headers[i].name);
        char *end, *text;
        double number;

        if (value.data == NULL) {
            continue;
        }
        text = arena_strndup(rq->arena, value.data, value.len);
        number = strtod(text, &end);
        if (end != text && *end == '\0' && number >= 0 && number < 86400e3) {
            return (int64_t) (number * headers[i].unit);
        }
    }
    return -1;
}

static void
fail_status(request_t *rq, generated_t *out, http_response_t *response)
{
    slice_t body = SLICE("");
    anthropic_error_t error;
    int rc;

    out->status = http_status(response);
    out->retry_after_ms = retry_after(rq, response);
    out->tokens = (token_counts_t) { 0 };   /* errors are not charged for */
    out->reported = 1;
    rc = http_read_all(response, &body);
    if (rc == UV_ECANCELED) {
        fail_transfer(rq, out, response, rc);
        return;
    }
    error = anthropic_read_error(rq, body);
    generated_fail(rq, out,
        anthropic_passes(out->status, error.type, error.limited)
            ? GENERATE_AGAIN : GENERATE_REFUSED,
        out->status == 401 || out->status == 403 ? "provider_key_refused"
        : out->status == 429 ? "provider_rate_limited"
        : out->status == 529 ? "provider_overloaded"
        : out->status >= 500 ? "provider_failed" : "provider_refused",
        "anthropic answered %d%s%.*s", out->status,
        error.message.len > 0 ? ": " : "", (int) error.message.len,
        error.message.data);
}

/* ---- the reply ---- */

/* One buffer for all: nothing suspends between a read and its feeding, and a
 * stack that has been touched stays. */
static int
read_stream(http_response_t *response, reply_t *reply)
{
    static char data[READ_BYTES];
    ssize_t got;

    while ((got = http_read(response, data, sizeof(data))) > 0) {
        if (reply_feed(reply, (slice_t) { data, (size_t) got }) != 0) {
            break;
        }
    }
    return got < 0 ? (int) got : 0;
}

static void
read_reply(request_t *rq, http_response_t *response,
    const generation_t *generation, generated_t *out)
{
    reply_t *reply = reply_new(rq, generation, out);
    slice_t body;
    int rc;

    if (generation->stream) {
        rc = read_stream(response, reply);
    } else {
        rc = http_read_all(response, &body);
        if (rc == 0) {
            reply_whole(reply, body);
        }
    }
    if (rc != 0) {
        fail_transfer(rq, out, response, rc);
    }
    reply_end(reply);
    http_close(response);
}

static void
generate(request_t *rq, const generation_t *generation, generated_t *out)
{
    http_response_t *response;
    int rc = send_request(rq, generation, &response);
    slice_t name;

    if (rc != 0) {
        fail_transfer(rq, out, response, rc);
        return;
    }
    name = http_header(response, "request-id");
    if (name.len <= NAME_MAX_BYTES && utf8_valid(name.data, name.len)) {
        out->request_id = name;
    }
    if (http_status(response) != 200) {
        fail_status(rq, out, response);
        http_close(response);
    } else {
        read_reply(rq, response, generation, out);
    }
}

static int64_t
count(const generation_t *generation)
{
    return tokens_of_text(generation->system)
           + tokens_of_json(generation->messages)
           + tokens_of_json(generation->tools)
           + tokens_of_json(generation->schema)
           + TOKENS_PER_MESSAGE
             * (int64_t) json_array_size(generation->messages);
}

static const char *
unready(void)
{
    return llm.config.anthropic_key[0] == '\0'
        ? "there is no key: set [llm] anthropic_key_file in worker.ini"
        : NULL;
}

const provider_t provider_anthropic = {
    "anthropic", generate, count, unready
};
