/* parts.c: parts of a piece of work, as people or a plan say them:
 *
 *     {"name": "api", "title": "...", "description": "...", "kind": "code",
 *      "needs": ["python"], "depends_on": ["schema"]}
 *
 * Only the title is required. "depends_on" names parts, or numbers them from 1
 * as a plan does. */

#include "internal.h"

#define NAME_MAX_LEN  40
#define TITLE_MAX     200
#define BRIEF_MAX     10000
#define NEEDS_MAX     16

static const column_t columns[] = {
    { "name", COLUMN_TEXT, WRITABLE | NULLABLE, .min = 1,
        .max = NAME_MAX_LEN },
    { "title", COLUMN_TEXT, REQUIRED | WRITABLE, .min = 1,
        .max = TITLE_MAX },
    { "description", COLUMN_TEXT, WRITABLE, .max = BRIEF_MAX,
        .fallback = "\"\"" },
    { "kind", COLUMN_ENUM, WRITABLE, .values = work_kinds,
        .fallback = "\"general\"" },
    { "needs", COLUMN_TEXTS, WRITABLE, .max = NEEDS_MAX, .element_max = 50,
        .fallback = "[]" },
};

enum { IN_NAME, IN_TITLE, IN_BRIEF, IN_KIND, IN_NEEDS, INPUTS };

_Static_assert(sizeof(columns) / sizeof(columns[0]) == INPUTS, "one each");

static const resource_t shape = {
    .name = "part", .columns = columns, .ncolumns = INPUTS
};

typedef struct {
    report_t *outer;
    const char *field;
    size_t at;
    int sequential;
    swarm_part_t *parts;
    size_t count;
} reading_t;

static void
report_part(void *arg, const char *field, const char *code,
    const char *message)
{
    reading_t *reading = arg;

    report_invalid(reading->outer, arena_printf(reading->outer->arena,
        "%s[%zu].%s", reading->field, reading->at, field), code, "%s",
        message);
}

static int
is_name(slice_t name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
              || (i > 0 && (c == '-' || c == '_')))) {
            return 0;
        }
    }
    return !slice_equal(name, STEP_PLAN_NAME)
           && !slice_equal(name, STEP_RESULT_NAME)
           && (name.len < 5 || memcmp(name.data, "lead-", 5) != 0);
}

static void
read_part(reading_t *reading, report_t *report, const json_t *json)
{
    swarm_part_t *part = &reading->parts[reading->at];
    json_t *rest = json_copy((json_t *) json);
    assignment_t in[INPUTS];
    unsigned before = report->count;

    json_object_del(rest, "depends_on");
    assignments_read(report, &shape, rest, 1, in);
    json_decref(rest);
    if (report->count > before) {
        return;
    }
    *part = (swarm_part_t) {
        .name = in[IN_NAME].value.type != VALUE_NULL
            ? in[IN_NAME].value.as.text : SLICE_NONE,
        .title = in[IN_TITLE].value.as.text,
        .brief = in[IN_BRIEF].value.as.text,
        .kind = (work_kind_t) slice_index(in[IN_KIND].value.as.text,
            work_kinds),
        .needs = in[IN_NEEDS].value.as.texts.items,
        .nneeds = in[IN_NEEDS].value.as.texts.count,
    };
    if (part->name.data == NULL) {
        const char *name = arena_printf(report->arena, "part-%zu",
            reading->at + 1);

        part->name = (slice_t) { name, strlen(name) };
    } else if (!is_name(part->name)) {
        report_invalid(report, "name", "invalid_value", "must be of a-z, 0-9,"
            " - and _, and not plan, result or lead-...");
    }
    for (size_t i = 0; i < reading->at; i++) {
        if (slice_equal(reading->parts[i].name, part->name)) {
            report_invalid(report, "name", "repeated",
                "another part has that name");
        }
    }
}

/* The index of a part by name or number; -1: none. */
static long
find_part(const reading_t *reading, const json_t *json)
{
    if (json_is_integer(json)) {
        json_int_t number = json_integer_value(json);

        return number >= 1 && (size_t) number <= reading->count
            ? (long) number - 1 : -1;
    }
    for (size_t i = 0; json_is_string(json) && i < reading->count; i++) {
        if (slice_equal(reading->parts[i].name, (slice_t) {
                json_string_value(json), json_string_length(json) })) {
            return (long) i;
        }
    }
    return -1;
}

static void
read_after(reading_t *reading, report_t *report, const json_t *json)
{
    swarm_part_t *part = &reading->parts[reading->at];
    const json_t *after = json_object_get(json, "depends_on"), *item;
    size_t *found, i;

    if (after == NULL || json_is_null(after)) {
        return;
    }
    if (!json_is_array(after) || json_array_size(after) > reading->count) {
        report_invalid(report, "depends_on", "wrong_type",
            "must be an array of parts");
        return;
    }
    found = arena_alloc(report->arena,
        (json_array_size(after) + 1) * sizeof(*found));
    part->after = found;
    json_array_foreach(after, i, item) {
        long index = find_part(reading, item);

        for (size_t k = 0; k < part->nafter; k++) {
            if ((long) found[k] == index) {
                index = -2;
            }
        }
        if (index < 0 || (size_t) index == reading->at) {
            report_invalid(report, "depends_on",
                index == -2 ? "repeated" : "not_found",
                index == -2 ? "names a part twice"
                            : "must name other parts of this work");
            return;
        }
        if (reading->sequential && (size_t) index > reading->at) {
            report_invalid(report, "depends_on", "invalid_value",
                "names a later part, and the strategy is sequential");
            return;
        }
        found[part->nafter++] = (size_t) index;
    }
}

swarm_part_t *
parts_read(report_t *outer, const char *field, const json_t *json,
    size_t max, int sequential, size_t *count)
{
    reading_t reading = { outer, field, 0, sequential, NULL, 0 };
    report_t report = { outer->arena, report_part, &reading, 0 };
    json_t *item;
    long circle;

    reading.count = json_array_size(json);
    if (reading.count == 0 || reading.count > max) {
        report_invalid(outer, field,
            reading.count > 0 ? "too_many" : "required",
            "must be an array of 1 to %zu parts", max);
        return NULL;
    }
    reading.parts = arena_zero(outer->arena,
        reading.count * sizeof(*reading.parts));
    json_array_foreach((json_t *) json, reading.at, item) {
        if (json_is_object(item)) {
            read_part(&reading, &report, item);
        } else {
            report_invalid(&report, "", "wrong_type", "must be an object");
        }
    }
    if (report.count > 0) {
        return NULL;
    }
    json_array_foreach((json_t *) json, reading.at, item) {
        read_after(&reading, &report, item);
    }
    if (report.count > 0) {
        return NULL;
    }
    circle = compile_circle(outer->arena, reading.parts, reading.count);
    if (circle >= 0) {
        reading.at = (size_t) circle;
        report_invalid(&report, "depends_on", "cycle",
            "in the end waits for itself");
        return NULL;
    }
    *count = reading.count;
    return reading.parts;
}

json_t *
plan_schema(size_t workers)
{
    json_t *kinds = json_array();

    for (int i = 1; work_kinds[i] != NULL; i++) {
        json_array_append_new(kinds, json_string(work_kinds[i]));
    }
    return json_pack("{s:s, s:[s], s:b, s:{s:{s:s, s:i, s:i, s:{s:s, s:[s,s,s],"
        " s:b, s:{s:{s:s, s:i}, s:{s:s, s:i}, s:{s:s, s:o}, s:{s:s, s:{s:s}"
        "}}}}}}",
        "type", "object", "required", "subtasks",
        "additionalProperties", 0, "properties",
        "subtasks", "type", "array", "minItems", 1, "maxItems",
        (int) (2 * workers < PARTS_MAX_PLANNED ? 2 * workers
                                               : PARTS_MAX_PLANNED),
        "items", "type", "object", "required", "title", "description",
        "kind", "additionalProperties", 0, "properties",
        "title", "type", "string", "maxLength", TITLE_MAX,
        "description", "type", "string", "maxLength", BRIEF_MAX,
        "kind", "type", "string", "enum", kinds,
        "depends_on", "type", "array", "items", "type", "integer");
}
