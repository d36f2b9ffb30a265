/* resource_value.c: from what a client sent to typed values, with every fault
 * reported and none raised. */

#include "resource_parts.h"

#include "common/utf8.h"

#include <assert.h>
#include <inttypes.h>

void
report_invalid(report_t *report, const char *field, const char *code,
    const char *format, ...)
{
    va_list args;
    const char *message;

    va_start(args, format);
    message = arena_vprintf(report->arena, format, args);
    va_end(args);
    report->count++;
    report->fn(report->arg, field, code, message);
}

int
int_parse(slice_t text, int64_t *out)
{
    int negative = text.len > 0 && text.data[0] == '-';
    size_t i = (size_t) negative;
    uint64_t value = 0;

    if (i == text.len || text.len - i > 19) {
        return -1;
    }
    for (; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }
        value = value * 10 + (uint64_t) (text.data[i] - '0');
    }
    if (value > (uint64_t) INT64_MAX + (uint64_t) negative) {
        return -1;
    }
    *out = negative ? (int64_t) -value : (int64_t) value;
    return 0;
}

int
bool_parse(slice_t text, int *out)
{
    if (slice_equal(text, SLICE("true"))) {
        *out = 1;
        return 0;
    }
    if (slice_equal(text, SLICE("false"))) {
        *out = 0;
        return 0;
    }
    return -1;
}

unsigned
json_depth(const json_t *json, unsigned limit)
{
    unsigned deepest = 0, depth;
    size_t i;
    const char *key;
    json_t *value;

    if (!json_is_object(json) && !json_is_array(json)) {
        return 0;
    }
    if (limit == 0) {
        return 1;
    }
    json_array_foreach(json, i, value) {
        depth = json_depth(value, limit - 1);
        deepest = depth > deepest ? depth : deepest;
    }
    json_object_foreach((json_t *) json, key, value) {
        depth = json_depth(value, limit - 1);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

/* ---- one type each; 0 or -1 reported ---- */

static int
check_text(report_t *report, const column_t *column, const char *field,
    slice_t text)
{
    int64_t length;

    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL) {
        report_invalid(report, field, "nul_character",
            "must not contain U+0000");
        return -1;
    }
    length = (int64_t) utf8_length(text.data, text.len);
    if (length < column->min) {
        report_invalid(report, field, "too_short",
            "must have at least %" PRId64 " characters", column->min);
        return -1;
    }
    if (length > column->max) {
        report_invalid(report, field, "too_long",
            "must have at most %" PRId64 " characters", column->max);
        return -1;
    }
    return 0;
}

static int
check_int(report_t *report, const column_t *column, const char *field,
    int64_t value)
{
    if (column->min == 0 && column->max == 0) {
        return 0;
    }
    if (value < column->min) {
        report_invalid(report, field, "too_small",
            "must be at least %" PRId64, column->min);
        return -1;
    }
    if (value > column->max) {
        report_invalid(report, field, "too_large",
            "must be at most %" PRId64, column->max);
        return -1;
    }
    return 0;
}

static int
check_enum(report_t *report, const column_t *column, const char *field,
    slice_t text)
{
    buf_t known;

    buf_init(&known, report->arena, 64);
    for (size_t i = 0; column->values[i] != NULL; i++) {
        slice_t value = { column->values[i], strlen(column->values[i]) };

        if (slice_equal(text, value)) {
            return 0;
        }
        buf_puts(&known, i > 0 ? ", " : "");
        buf_puts(&known, column->values[i]);
    }
    report_invalid(report, field, "invalid_value", "must be one of %.*s",
        (int) known.len, known.data);
    return -1;
}

static int
read_uuid(report_t *report, const char *field, slice_t text, value_t *out)
{
    hive_uuid_t uuid;

    if (uuid_parse(text.data, text.len, &uuid) != 0) {
        report_invalid(report, field, "invalid_uuid", "must be a uuid");
        return -1;
    }
    *out = value_uuid(uuid);
    return 0;
}

static int
read_time(report_t *report, const char *field, slice_t text, value_t *out)
{
    int64_t time;

    if (time_parse(text, &time) != 0) {
        report_invalid(report, field, "invalid_time",
            "must be a time as in 2026-01-31T12:00:00Z (RFC 3339)");
        return -1;
    }
    *out = value_time(time);
    return 0;
}

int
value_from_text(report_t *report, const column_t *column, const char *field,
    slice_t text, value_t *out)
{
    int64_t integer;
    int boolean;

    switch (column->type) {
    case COLUMN_TEXT:
    case COLUMN_TEXTS:
        *out = value_text(text);
        return 0;
    case COLUMN_ENUM:
        *out = value_text(text);
        return check_enum(report, column, field, text);
    case COLUMN_UUID:
        return read_uuid(report, field, text, out);
    case COLUMN_TIME:
        return read_time(report, field, text, out);
    case COLUMN_INT:
        if (int_parse(text, &integer) == 0) {
            *out = value_int(integer);
            return 0;
        }
        report_invalid(report, field, "wrong_type", "must be an integer");
        return -1;
    case COLUMN_BOOL:
        if (bool_parse(text, &boolean) == 0) {
            *out = value_bool(boolean);
            return 0;
        }
        report_invalid(report, field, "invalid_value",
            "must be true or false");
        return -1;
    case COLUMN_JSON:
    case COLUMN_FLOAT:
        break;
    }
    assert(!"a filter on a column of that type");
    return -1;
}

static int
read_json(report_t *report, const column_t *column, const char *field,
    const json_t *json, value_t *out)
{
    buf_t text;

    if (json_depth(json, JSON_DEPTH_LIMIT) > JSON_DEPTH_LIMIT) {
        report_invalid(report, field, "too_deep",
            "must not be nested deeper than %d", JSON_DEPTH_LIMIT);
        return -1;
    }
    buf_init(&text, report->arena, 256);
    json_put_document(&text, json);
    if ((int64_t) text.len > column->max) {
        report_invalid(report, field, "too_long",
            "must have at most %" PRId64 " bytes", column->max);
        return -1;
    }
    *out = value_json(buf_slice(&text));
    return 0;
}

static slice_t
string_slice(const json_t *json)
{
    return (slice_t) { json_string_value(json), json_string_length(json) };
}

static int
wrong_type(report_t *report, const char *field, const char *wanted)
{
    report_invalid(report, field, "wrong_type", "must be %s", wanted);
    return -1;
}

static int
read_texts(report_t *report, const column_t *column, const char *field,
    const json_t *json, value_t *out)
{
    const column_t element = { .min = 1,
        .max = column->element_max > 0 ? column->element_max : 200 };
    size_t count = json_array_size(json), i;
    unsigned before = report->count;
    slice_t *items;
    json_t *item;

    if (!json_is_array(json)) {
        return wrong_type(report, field, "an array of strings");
    }
    if ((int64_t) count < column->min || (int64_t) count > column->max) {
        report_invalid(report, field,
            (int64_t) count < column->min ? "too_few" : "too_many",
            "must have %" PRId64 " to %" PRId64 " elements", column->min,
            column->max);
        return -1;
    }
    items = arena_alloc(report->arena, (count + 1) * sizeof(*items));
    json_array_foreach(json, i, item) {
        const char *place = arena_printf(report->arena, "%s[%zu]", field, i);

        if (!json_is_string(item)) {
            wrong_type(report, place, "a string");
            continue;
        }
        items[i] = string_slice(item);
        check_text(report, &element, place, items[i]);
    }
    *out = (value_t) { .type = VALUE_TEXTS,
        .as.texts = { items, count } };
    return report->count == before ? 0 : -1;
}

int
value_from_json(report_t *report, const column_t *column, const char *field,
    const json_t *json, value_t *out)
{
    int is_string = json_is_string(json);
    slice_t text = is_string ? string_slice(json) : SLICE_NONE;

    switch (column->type) {
    case COLUMN_TEXT:
        *out = value_text(text);
        return is_string ? check_text(report, column, field, text)
                         : wrong_type(report, field, "a string");
    case COLUMN_ENUM:
        *out = value_text(text);
        return is_string ? check_enum(report, column, field, text)
                         : wrong_type(report, field, "a string");
    case COLUMN_UUID:
        return is_string ? read_uuid(report, field, text, out)
                         : wrong_type(report, field, "a string");
    case COLUMN_TIME:
        return is_string ? read_time(report, field, text, out)
                         : wrong_type(report, field, "a string");
    case COLUMN_INT:
        *out = value_int(json_integer_value(json));
        return json_is_integer(json)
               ? check_int(report, column, field, json_integer_value(json))
               : wrong_type(report, field, "an integer");
    case COLUMN_BOOL:
        *out = value_bool(json_is_true(json));
        return json_is_boolean(json)
               ? 0 : wrong_type(report, field, "true or false");
    case COLUMN_JSON:
        return read_json(report, column, field, json, out);
    case COLUMN_TEXTS:
        return read_texts(report, column, field, json, out);
    case COLUMN_FLOAT:
        break;
    }
    assert(!"a column type that is written");
    return -1;
}

/* ---- bodies ---- */

/* The default of a column: its fallback, or NULL; -1 when it has none. */
static int
read_fallback(report_t *report, const column_t *column, value_t *out)
{
    json_t *json;

    if (column->fallback == NULL) {
        *out = value_null();
        return column->flags & NULLABLE ? 0 : -1;
    }
    json = json_loads(column->fallback, JSON_DECODE_ANY, NULL);
    assert(json != NULL);
    arena_json(report->arena, json);
    return value_from_json(report, column, column->name, json, out);
}

static unsigned
writable_flags(int creating)
{
    return creating ? WRITABLE | CREATE_ONLY | REQUIRED : WRITABLE;
}

static const column_t *
find_column(const resource_t *resource, const char *name)
{
    for (size_t i = 0; i < resource->ncolumns; i++) {
        if (strcmp(resource->columns[i].name, name) == 0) {
            return &resource->columns[i];
        }
    }
    return NULL;
}

static void
refuse_unknown(report_t *report, const resource_t *resource, json_t *body,
    int creating)
{
    const char *name;
    json_t *value;

    json_object_foreach(body, name, value) {
        const column_t *column = find_column(resource, name);

        if (column == NULL) {
            report_invalid(report, name, "unknown_member",
                "is not a member of a %s", resource->name);
        } else if (!(column->flags & writable_flags(creating))) {
            report_invalid(report, name, "read_only", "cannot be set%s",
                column->flags & CREATE_ONLY ? " after creation" : "");
        }
    }
}

/* One column that may be written: nonzero when it is assigned. */
static int
read_assignment(report_t *report, const column_t *column, json_t *given,
    int creating, value_t *out)
{
    if (given == NULL && !creating) {
        return 0;
    }
    if (given == NULL && column->flags & REQUIRED) {
        report_invalid(report, column->name, "required", "is required");
        return 0;
    }
    if (json_is_null(given) && column->flags & NULLABLE) {
        *out = value_null();
        return 1;
    }
    if (given == NULL || json_is_null(given)) {
        if (read_fallback(report, column, out) != 0) {
            report_invalid(report, column->name, "not_nullable",
                "must not be null");
            return 0;
        }
        return 1;
    }
    return value_from_json(report, column, column->name, given, out) == 0;
}

size_t
assignments_read(report_t *report, const resource_t *resource, json_t *body,
    int creating, assignment_t *out)
{
    size_t count = 0;

    refuse_unknown(report, resource, body, creating);
    for (size_t i = 0; i < resource->ncolumns; i++) {
        const column_t *column = &resource->columns[i];

        if (!(column->flags & writable_flags(creating))) {
            continue;
        }
        out[count].column = column;
        if (read_assignment(report, column,
                json_object_get(body, column->name), creating,
                &out[count].value))
        {
            count++;
        }
    }
    return count;
}
