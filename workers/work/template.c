/* template.c: reading templates and filling them in. A string is read as a
 * row of pieces: text, an escaped brace pair, a quote. */

#include "template.h"

#include <assert.h>

#define PATH_MAX_BYTES 500

/* ---- pieces of a string ---- */

typedef enum { PIECE_END, PIECE_TEXT, PIECE_QUOTE, PIECE_BROKEN } piece_t;

static const char *
find(slice_t text, const char *what, size_t len)
{
    return text.len > 0 ? memmem(text.data, text.len, what, len) : NULL;
}

static slice_t
trim(slice_t text)
{
    while (text.len > 0 && (*text.data == ' ' || *text.data == '\t')) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && (text.data[text.len - 1] == ' '
                            || text.data[text.len - 1] == '\t'))
    {
        text.len--;
    }
    return text;
}

static void
skip(slice_t *rest, size_t len)
{
    rest->data += len;
    rest->len -= len;
}

/* Takes the next piece off `rest`: its text, or the path within the braces. */
static piece_t
next_piece(slice_t *rest, slice_t *out)
{
    const char *open = find(*rest, "{{", 2), *close;

    if (rest->len == 0) {
        return PIECE_END;
    }
    if (open == NULL) {
        *out = *rest;
        skip(rest, rest->len);
        return PIECE_TEXT;
    }
    if (open > rest->data && open[-1] == '\\') {
        if (open - 1 == rest->data) {
            *out = (slice_t) { open, 2 };
            skip(rest, 3);
        } else {
            *out = (slice_t) { rest->data,
                (size_t) (open - 1 - rest->data) };
            skip(rest, out->len);
        }
        return PIECE_TEXT;
    }
    if (open > rest->data) {
        *out = (slice_t) { rest->data, (size_t) (open - rest->data) };
        skip(rest, out->len);
        return PIECE_TEXT;
    }
    skip(rest, 2);
    close = find(*rest, "}}", 2);
    if (close == NULL) {
        return PIECE_BROKEN;
    }
    *out = trim((slice_t) { rest->data, (size_t) (close - rest->data) });
    skip(rest, (size_t) (close - rest->data) + 2);
    return PIECE_QUOTE;
}

static slice_t
string_of(const json_t *json)
{
    return (slice_t) { json_string_value(json), json_string_length(json) };
}

/* ---- paths ---- */

static slice_t
take_name(slice_t *path)
{
    const char *dot = path->len > 0 ? memchr(path->data, '.', path->len)
                                    : NULL;
    slice_t name = *path;

    if (dot == NULL) {
        *path = SLICE_NONE;
        return name;
    }
    name.len = (size_t) (dot - path->data);
    skip(path, name.len + 1);
    return name;
}

static int
is_name(slice_t name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '_' || c == '-'))
        {
            return 0;
        }
    }
    return name.len > 0;
}

/* NULL, or what is wrong. */
static const char *
read_quote(slice_t text, quote_t *out)
{
    slice_t rest = text, part;

    if (text.len == 0 || text.len > PATH_MAX_BYTES) {
        return "a template holds a path of 1 to 500 characters";
    }
    do {
        if (!is_name(take_name(&rest))) {
            return "a path is names of A-Z, a-z, 0-9, _ and -, joined by dots";
        }
    } while (rest.data != NULL);

    rest = text;
    *out = (quote_t) { .text = text, .root = take_name(&rest) };
    if (slice_equal(out->root, SLICE("steps"))) {
        out->step = take_name(&rest);
        part = take_name(&rest);
        if (!slice_equal(part, SLICE("result"))
            && !slice_equal(part, SLICE("state"))
            && !slice_equal(part, SLICE("error")))
        {
            return "of a step, its result, state or error can be quoted";
        }
        return NULL;
    }
    if (!slice_equal(out->root, SLICE("inputs"))
        && !slice_equal(out->root, SLICE("run"))
        && !slice_equal(out->root, SLICE("schedule")))
    {
        return "a path begins with inputs, steps, run or schedule";
    }
    return NULL;
}

/* An index of an array, or -1. */
static long
read_index(slice_t name)
{
    long index = 0;

    if (name.len > 9 || (name.len > 1 && name.data[0] == '0')) {
        return -1;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] < '0' || name.data[i] > '9') {
            return -1;
        }
        index = index * 10 + (name.data[i] - '0');
    }
    return index;
}

json_t *
template_find(const json_t *values, slice_t path)
{
    const json_t *at = values;

    while (path.data != NULL && at != NULL) {
        slice_t name = take_name(&path);
        char key[PATH_MAX_BYTES + 1];
        long index;

        if (json_is_array(at)) {
            index = read_index(name);
            at = index >= 0 ? json_array_get(at, (size_t) index) : NULL;
            continue;
        }
        if (name.len >= sizeof(key)) {
            return NULL;
        }
        memcpy(key, name.data, name.len);
        key[name.len] = '\0';
        at = json_object_get(at, key);
    }
    return (json_t *) at;
}

/* ---- looking ---- */

typedef struct {
    report_t *report;
    quote_fn fn;
    void *arg;
} scan_t;

static void
scan_string(const scan_t *scan, const char *field, slice_t rest)
{
    const char *why = NULL;
    slice_t text;
    quote_t quote;
    piece_t piece;

    while (why == NULL && (piece = next_piece(&rest, &text)) != PIECE_END) {
        if (piece == PIECE_BROKEN) {
            why = "a template is not closed: }} is missing (\\{{ is a plain"
                " {{)";
        } else if (piece == PIECE_QUOTE) {
            why = read_quote(text, &quote);
            if (why == NULL) {
                scan->fn(scan->arg, field, &quote);
            }
        }
    }
    if (why != NULL) {
        report_invalid(scan->report, field, "invalid_template", "%s", why);
    }
}

static void
scan_json(const scan_t *scan, const char *field, const json_t *json)
{
    const char *key;
    json_t *value;
    size_t i;

    if (json_is_string(json)) {
        if (find(string_of(json), "{{", 2) != NULL) {
            scan_string(scan, field, string_of(json));
        }
        return;
    }
    json_array_foreach(json, i, value) {
        if (template_present(value)) {
            scan_json(scan, arena_printf(scan->report->arena, "%s[%zu]",
                field, i), value);
        }
    }
    json_object_foreach((json_t *) json, key, value) {
        if (template_present(value)) {
            scan_json(scan, arena_printf(scan->report->arena, "%s.%s", field,
                key), value);
        }
    }
}

void
template_scan(report_t *report, const char *field, const json_t *json,
    quote_fn fn, void *arg)
{
    scan_t scan = { report, fn, arg };

    scan_json(&scan, field, json);
}

int
template_present(const json_t *json)
{
    const char *key;
    json_t *value;
    size_t i;

    if (json_is_string(json)) {
        return find(string_of(json), "{{", 2) != NULL;
    }
    json_array_foreach(json, i, value) {
        if (template_present(value)) {
            return 1;
        }
    }
    json_object_foreach((json_t *) json, key, value) {
        if (template_present(value)) {
            return 1;
        }
    }
    return 0;
}

/* ---- filling in ---- */

typedef struct {
    arena_t *arena;
    const json_t *values;
    const char *why;
    size_t bytes;               /* of strings put together so far */
} filling_t;

static int
append(const char *data, size_t len, void *arg)
{
    buf_t *out = arg;

    if (out->len + len > TEMPLATE_BYTES_MAX) {
        return -1;
    }
    buf_put(out, data, len);
    return 0;
}

static json_t *
look_up(filling_t *filling, slice_t path)
{
    json_t *value = template_find(filling->values, path);

    if (value == NULL) {
        filling->why = arena_printf(filling->arena,
            "there is no %.*s", (int) path.len, path.data);
    }
    return value;
}

/* 0 or -1. */
static int
put_piece(filling_t *filling, buf_t *out, piece_t piece, slice_t text)
{
    json_t *value;

    if (piece == PIECE_TEXT) {
        return append(text.data, text.len, out);
    }
    if (piece == PIECE_BROKEN) {
        filling->why = "a template is not closed";
        return -1;
    }
    value = look_up(filling, text);
    if (value == NULL) {
        return -1;
    }
    if (json_is_string(value)) {
        return append(json_string_value(value), json_string_length(value),
            out);
    }
    return json_dump_callback(value, append, out,
        JSON_COMPACT | JSON_ENCODE_ANY);
}

static json_t *
fill_string(filling_t *filling, const json_t *json)
{
    slice_t rest = string_of(json), text;
    piece_t piece;
    buf_t out;

    if (find(rest, "{{", 2) == NULL) {
        return json_incref((json_t *) json);
    }
    piece = next_piece(&rest, &text);
    if (piece == PIECE_QUOTE && rest.len == 0) {
        return json_incref(look_up(filling, text));
    }
    buf_init(&out, filling->arena, 256);
    for (; piece != PIECE_END; piece = next_piece(&rest, &text)) {
        if (put_piece(filling, &out, piece, text) != 0) {
            return NULL;
        }
    }
    filling->bytes += out.len;
    return json_stringn(out.data, out.len);
}

static json_t *fill_json(filling_t *filling, const json_t *json);

static json_t *
fill_array(filling_t *filling, const json_t *json)
{
    json_t *out = json_array(), *item;
    size_t i;

    json_array_foreach(json, i, item) {
        json_t *filled = fill_json(filling, item);

        if (filled == NULL || json_array_append_new(out, filled) != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static json_t *
fill_object(filling_t *filling, const json_t *json)
{
    json_t *out = json_object(), *value;
    const char *key;

    json_object_foreach((json_t *) json, key, value) {
        json_t *filled = fill_json(filling, value);

        if (filled == NULL
            || json_object_set_new_nocheck(out, key, filled) != 0)
        {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static json_t *
fill_json(filling_t *filling, const json_t *json)
{
    if (filling->bytes > TEMPLATE_BYTES_MAX) {
        return NULL;
    }
    switch (json_typeof(json)) {
    case JSON_STRING:
        return fill_string(filling, json);
    case JSON_ARRAY:
        return fill_array(filling, json);
    case JSON_OBJECT:
        return fill_object(filling, json);
    default:
        return json_incref((json_t *) json);
    }
}

json_t *
template_apply(arena_t *arena, const json_t *json, const json_t *values,
    const char **why)
{
    filling_t filling = { arena, values, NULL, 0 };
    json_t *filled = fill_json(&filling, json);

    if (filled == NULL) {
        *why = filling.why != NULL ? filling.why
            : "what is filled in is longer than 1 MiB";
    }
    return filled;
}

slice_t
template_dump(arena_t *arena, const json_t *json)
{
    buf_t out;

    buf_init(&out, arena, 256);
    if (json_dump_callback(json, append, &out,
            JSON_COMPACT | JSON_ENCODE_ANY) != 0)
    {
        return SLICE_NONE;
    }
    return buf_slice(&out);
}
