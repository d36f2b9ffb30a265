/* request_input.c: reading a request: headers, parameters, query, body. */

#include "boundary.h"

#include "common/percent.h"
#include "common/utf8.h"

#include <assert.h>

#define QUERY_ARGS_MAX 64

/* The parser recurses once a level, on a fiber's stack. */
#define JSON_DEPTH_MAX 64

slice_t
rq_header(const request_t *rq, const char *name)
{
    size_t len = strlen(name);

    for (unsigned i = 0; i < rq->nheaders; i++) {
        const wire_header_t *header = &rq->headers[i];

        if (header->name.len == len
            && memcmp(header->name.data, name, len) == 0) {
            return header->value;
        }
    }

    return SLICE_NONE;
}

slice_t
rq_param(const request_t *rq, unsigned index)
{
    assert(index < WIRE_PARAMS_MAX);

    return index < rq->nparams ? rq->params[index] : SLICE_NONE;
}

hive_uuid_t
rq_param_uuid(request_t *rq, unsigned index)
{
    slice_t text = rq_param(rq, index);
    hive_uuid_t uuid;

    if (uuid_parse(text.data, text.len, &uuid) != 0) {
        rq_raise(rq, 422, "invalid_parameter",
            "an id in the path is not a uuid");
    }

    return uuid;
}

/* ---- the query ---- */

/* Decodes into `out`, which has room for text.len bytes. Returns the decoded
 * length, or -1 when an escape is broken, a byte is NUL or the whole is not
 * UTF-8. */
static ssize_t
decode(slice_t text, char *out)
{
    ssize_t len;

    for (size_t i = 0; i < text.len; i++) {
        out[i] = text.data[i] == '+' ? ' ' : text.data[i];
    }

    len = percent_decode(out, text.len, out);
    if (len < 0 || memchr(out, '\0', (size_t) len) != NULL
        || !utf8_valid(out, (size_t) len)) {
        return -1;
    }

    return len;
}

static slice_t
decode_or_raise(request_t *rq, slice_t text)
{
    char *out = arena_alloc(rq->arena, text.len + 1);
    ssize_t len = decode(text, out);

    if (len < 0) {
        rq_raise(rq, 400, "malformed_query",
            "the query has a broken escape, a NUL or bytes that are not"
            " UTF-8");
    }

    return (slice_t) { out, (size_t) len };
}

static slice_t
split(slice_t *rest, char separator)
{
    const char *at = rest->len > 0
                     ? memchr(rest->data, separator, rest->len) : NULL;
    slice_t head = *rest;

    if (at == NULL) {
        *rest = SLICE_NONE;
        return head;
    }

    head.len = (size_t) (at - rest->data);
    rest->data += head.len + 1;
    rest->len -= head.len + 1;
    return head;
}

static void
refuse_repeated(request_t *rq, const query_arg_t *args, size_t count,
    slice_t name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equal(args[i].name, name)) {
            rq_raise(rq, 422, "repeated_parameter",
                "the parameter \"%.*s\" is given more than once",
                (int) (name.len > 64 ? 64 : name.len), name.data);
        }
    }
}

const query_arg_t *
rq_query(request_t *rq, size_t *count)
{
    served_t *served = served_of(rq);
    slice_t rest = rq->query;
    query_arg_t *args;
    size_t n = 0;

    if (served->args != NULL) {
        *count = served->nargs;
        return served->args;
    }

    args = arena_alloc(rq->arena, QUERY_ARGS_MAX * sizeof(*args));
    while (rest.len > 0) {
        slice_t value = split(&rest, '&');
        slice_t name;

        if (value.len == 0) {
            continue;
        }
        if (n == QUERY_ARGS_MAX) {
            rq_raise(rq, 400, "malformed_query",
                "the query has more than %d parameters", QUERY_ARGS_MAX);
        }
        name = decode_or_raise(rq, split(&value, '='));
        refuse_repeated(rq, args, n, name);
        args[n++] = (query_arg_t) { name, decode_or_raise(rq, value) };
    }

    served->args = args;
    served->nargs = n;
    *count = n;
    return args;
}

/* ---- the body ---- */

/* The deepest nesting of a text that may or may not be JSON. */
static int
json_too_deep(slice_t text)
{
    int depth = 0, quoted = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if (quoted) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                quoted = 0;
            }
            continue;
        }
        switch (c) {
        case '"':
            quoted = 1;
            break;
        case '{':
        case '[':
            if (++depth > JSON_DEPTH_MAX) {
                return 1;
            }
            break;
        case '}':
        case ']':
            depth--;
            break;
        }
    }

    return 0;
}

__attribute__((noreturn))
static void
raise_json_error(request_t *rq, const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_duplicate_key:
        rq_raise(rq, 400, "duplicate_member",
            "an object has a member twice, line %d column %d", error->line,
            error->column);
    case json_error_null_character:
    case json_error_null_byte_in_key:
        rq_raise(rq, 400, "nul_character",
            "a string holds U+0000, line %d column %d", error->line,
            error->column);
    default:
        rq_raise(rq, 400, "malformed_json",
            "the body is not JSON, line %d column %d", error->line,
            error->column);
    }
}

json_t *
rq_json(request_t *rq)
{
    served_t *served = served_of(rq);
    json_error_t error;
    json_t *json;

    if (served->json != NULL) {
        return served->json;
    }

    if (json_too_deep(rq->body)) {
        rq_raise(rq, 400, "malformed_json",
            "the body is nested deeper than %d levels", JSON_DEPTH_MAX);
    }

    json = json_loadb(rq->body.len > 0 ? rq->body.data : "", rq->body.len,
        JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (json == NULL) {
        raise_json_error(rq, &error);
    }
    arena_json(rq->arena, json);

    if (!json_is_object(json)) {
        rq_raise(rq, 422, "not_an_object", "the body is not a JSON object");
    }

    served->json = json;
    return json;
}
