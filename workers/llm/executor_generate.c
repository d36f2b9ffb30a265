/* executor_generate.c: the kind `generate` of tasks asks a model once:
 *
 *     {"model": "claude-sonnet-5-5", "prompt": "...", "system": "...",
 *      "max_tokens": 1024, "temperature": 0.2, "schema": {...},
 *      "stream": true}
 *
 * "model" and "prompt" are required; instead of a prompt there may be
 * "messages": [{"role": "user", "content": "..."}]. The text comes live on the
 * task's channel (message.delta), unless "stream" is false: then all at once.
 * The result is {"model", "text", "content", "stop_reason", "usage": {...},
 * "nano_usd", "tries"}. */

#include "internal.h"

#include "workers/db/resource_parts.h"

#define TEXT_MAX   (768 * 1024)

static const column_t columns[] = {
    { "model", COLUMN_TEXT, REQUIRED | WRITABLE, .min = 1, .max = 100 },
    { "prompt", COLUMN_TEXT, WRITABLE | NULLABLE, .max = TEXT_MAX },
    { "system", COLUMN_TEXT, WRITABLE | NULLABLE, .max = TEXT_MAX },
    { "messages", COLUMN_JSON, WRITABLE | NULLABLE, .max = TEXT_MAX },
    { "schema", COLUMN_JSON, WRITABLE | NULLABLE, .max = 65536 },
    { "max_tokens", COLUMN_INT, WRITABLE, .min = 1, .max = 1000000,
        .fallback = "4096" },
    { "temperature", COLUMN_JSON, WRITABLE | NULLABLE, .max = 100 },
    { "stream", COLUMN_BOOL, WRITABLE, .fallback = "true" },
};

enum { IN_MODEL, IN_PROMPT, IN_SYSTEM, IN_MESSAGES, IN_SCHEMA, IN_MAX,
    IN_TEMPERATURE, IN_STREAM, INPUTS };

_Static_assert(sizeof(columns) / sizeof(columns[0]) == INPUTS, "one each");

static const resource_t shape = {
    .name = "generate input", .columns = columns, .ncolumns = INPUTS
};

static void
report_fault(void *arg, const char *field, const char *code,
    const char *message)
{
    (void) code;
    rq_raise(arg, 422, "invalid_input", "\"%s\" %s", field, message);
}

static int
is_message(const json_t *message)
{
    const json_t *role = json_object_get(message, "role");
    const json_t *content = json_object_get(message, "content");

    return json_is_string(role) && (json_is_string(content)
        || json_array_size(content) > 0);
}

static const json_t *
read_messages(request_t *rq, const json_t *input, slice_t prompt)
{
    const json_t *given = json_object_get(input, "messages");
    json_t *messages, *message;
    size_t i;

    if (json_is_array(given) == (prompt.data != NULL)) {
        rq_raise(rq, 422, "invalid_input",
            "one of \"prompt\" and \"messages\" is required");
    }
    if (prompt.data != NULL) {
        messages = json_pack("[{s:s, s:s%}]", "role", "user", "content",
            prompt.data, prompt.len);
        arena_json(rq->arena, messages);
        return messages;
    }
    json_array_foreach(given, i, message) {
        if (!is_message(message)) {
            rq_raise(rq, 422, "invalid_input", "\"messages\" must be objects"
                " of a role and content");
        }
    }
    if (json_array_size(given) == 0) {
        rq_raise(rq, 422, "invalid_input", "\"messages\" must not be empty");
    }
    return given;
}

static double
read_temperature(request_t *rq, const json_t *input)
{
    const json_t *value = json_object_get(input, "temperature");

    if (value == NULL || json_is_null(value)) {
        return -1;
    }
    if (!json_is_number(value) || json_number_value(value) < 0
        || json_number_value(value) > 2) {
        rq_raise(rq, 422, "invalid_input",
            "\"temperature\" must be a number from 0 to 2");
    }
    return json_number_value(value);
}

static void
read_input(request_t *rq, const json_t *input, model_t *model,
    generation_t *out)
{
    report_t report = { rq->arena, report_fault, rq, 0 };
    assignment_t in[INPUTS];
    const json_t *schema = json_object_get(input, "schema");

    assignments_read(&report, &shape, (json_t *) input, 1, in);
    *model = llm_model(rq, in[IN_MODEL].value.as.text);
    *out = (generation_t) {
        .system = in[IN_SYSTEM].value.type == VALUE_NULL ? SLICE_NONE
            : in[IN_SYSTEM].value.as.text,
        .messages = read_messages(rq, input,
            in[IN_PROMPT].value.type == VALUE_NULL ? SLICE_NONE
            : in[IN_PROMPT].value.as.text),
        .schema = json_is_object(schema) ? schema : NULL,
        .max_tokens = in[IN_MAX].value.as.integer,
        .temperature = read_temperature(rq, input),
        .stream = in[IN_STREAM].value.as.boolean,
    };
    if (out->schema != NULL && !model->schema) {
        rq_raise(rq, 422, "invalid_input",
            "%.*s takes no \"schema\"", (int) model->id.len, model->id.data);
    }
}

static slice_t
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

static void
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

static void
execute_generate(task_run_t *run)
{
    request_t *rq = run->rq;
    json_t *input = json_loadb(run->input.data, run->input.len, 0, NULL);
    spender_t by = { .owner = run->owner, .run = run->run, .task = run->id,
        .attempt = run->attempt, .worker = task_worker(run) };
    generation_t generation;
    answer_t answer;
    live_text_t *stream;
    model_t model;

    arena_json(rq->arena, input);
    read_input(rq, input, &model, &generation);
    stream = stream_open(run, SLICE_NONE);
    generation.piece = stream_piece;
    generation.arg = stream;
    llm_generate(rq, &by, &model, &generation, &answer);
    live_text_close(stream);
    task_cost(run, answer.nano_usd);
    if (answer.said.end != GENERATED) {
        answer_fail(run, &answer.said);
    } else {
        task_succeed(run, answer_json(rq, &model, &answer));
    }
}

void
llm_kinds(unsigned slots)
{
    static executor_t generate = { "generate", 0, 0, execute_generate };

    generate.slots = slots;
    executor_add(&generate);
}
