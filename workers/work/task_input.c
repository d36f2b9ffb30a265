/* task_input.c: from JSON to tasks, with every fault reported. The members
 * are read in the order in which they come, each looked up once: batches have
 * a thousand tasks. */

#include "task_input.h"

#include "work.h"

#include <stdlib.h>
#include <time.h>

#define MONTH_MS  INT64_C(2147483647)    /* what an integer holds, 24 days */
#define HOUR_MS   INT64_C(3600000)

typedef enum {
    KIND, TITLE, DESCRIPTION, INPUT, LABELS, PRIORITY, RUN_AT, DEADLINE_AT,
    TIMEOUT_MS, BACKOFF_MS, MAX_ATTEMPTS, UNIQUE_KEY, ON_DUPLICATE, LIMIT,
    PAUSED, ON_DEPENDENCY_FAILURE, PROJECT_ID, DEPENDS_ON, MEMBERS
} member_t;

static const char *const duplicates[] = {
    [DUPLICATE_RETURN] = "return", [DUPLICATE_REPLACE] = "replace",
    [DUPLICATE_REFUSE] = "refuse", NULL
};
static const char *const dependency_failures[] = { "skip", "run", NULL };

/* WRITABLE: by PATCH too. The fallback is what null means there. */
static const column_t members[MEMBERS] = {
    [KIND] = { "kind", COLUMN_TEXT, CREATE_ONLY, .min = 1, .max = 200 },
    [TITLE] = { "title", COLUMN_TEXT, WRITABLE, .max = 200,
        .fallback = "\"\"" },
    [DESCRIPTION] = { "description", COLUMN_TEXT, WRITABLE, .max = 10000,
        .fallback = "\"\"" },
    [INPUT] = { "input", COLUMN_JSON, WRITABLE, .max = TASK_INPUT_MAX,
        .fallback = "{}" },
    [LABELS] = { "labels", COLUMN_TEXTS, WRITABLE, .max = TASK_LABELS_MAX,
        .element_max = 64, .fallback = "[]" },
    [PRIORITY] = { "priority", COLUMN_INT, WRITABLE, .max = 9,
        .fallback = "5" },
    [RUN_AT] = { "run_at", COLUMN_TIME, .flags = WRITABLE },
    [DEADLINE_AT] = { "deadline_at", COLUMN_TIME, .flags = WRITABLE,
        .fallback = "null" },
    [TIMEOUT_MS] = { "timeout_ms", COLUMN_INT, WRITABLE, .min = 1,
        .max = MONTH_MS, .fallback = "null" },
    [BACKOFF_MS] = { "backoff_ms", COLUMN_INT, CREATE_ONLY, .min = 0,
        .max = HOUR_MS },
    [MAX_ATTEMPTS] = { "max_attempts", COLUMN_INT, WRITABLE, .min = 1,
        .max = 100, .fallback = "5" },
    [UNIQUE_KEY] = { "unique_key", COLUMN_TEXT, CREATE_ONLY, .min = 1,
        .max = 200 },
    [ON_DUPLICATE] = { "on_duplicate", COLUMN_ENUM, CREATE_ONLY,
        .values = duplicates },
    [LIMIT] = { "limit", COLUMN_JSON, CREATE_ONLY, .max = 0 },
    [PAUSED] = { "paused", COLUMN_BOOL, .flags = CREATE_ONLY },
    [ON_DEPENDENCY_FAILURE] = { "on_dependency_failure", COLUMN_ENUM,
        CREATE_ONLY, .values = dependency_failures },
    [PROJECT_ID] = { "project_id", COLUMN_UUID, .flags = CREATE_ONLY },
    [DEPENDS_ON] = { "depends_on", COLUMN_TEXTS, CREATE_ONLY,
        .max = TASK_DEPENDS_MAX },
};

static int
find_member(const char *name)
{
    for (int i = 0; i < MEMBERS; i++) {
        if (strcmp(members[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static void
refuse_member(report_t *report, const char *name)
{
    for (size_t i = 0; i < task_resource.ncolumns; i++) {
        if (strcmp(task_resource.columns[i].name, name) == 0) {
            report_invalid(report, name, "read_only", "cannot be set");
            return;
        }
    }
    report_invalid(report, name, "unknown_member",
        "is not a member of a task");
}

/* ---- what is not a plain value ---- */

int
task_priority_parse(const json_t *value)
{
    static const struct {
        const char *name;
        int priority;
    } names[] = { { "critical", 9 }, { "high", 7 }, { "medium", 5 },
        { "low", 2 } };

    if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);

        return number >= 0 && number <= 9 ? (int) number : -1;
    }
    for (size_t i = 0; json_is_string(value)
         && i < sizeof(names) / sizeof(names[0]); i++)
    {
        if (strcmp(json_string_value(value), names[i].name) == 0) {
            return names[i].priority;
        }
    }
    return -1;
}

static int
read_priority(report_t *report, const json_t *value, int *out)
{
    *out = task_priority_parse(value);
    if (*out < 0) {
        report_invalid(report, "priority", "invalid_value",
            "must be a number from 0 to 9, or one of critical, high, medium,"
            " low");
    }
    return *out < 0 ? -1 : 0;
}

/* A kind is a label of metrics and a word of commands. */
static void
check_kind(report_t *report, slice_t kind)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz"
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/-";

    for (size_t i = 0; i < kind.len; i++) {
        if (strchr(good, kind.data[i]) == NULL) {
            report_invalid(report, "kind", "invalid_value",
                "must be of letters, digits and _ . : / -");
            return;
        }
    }
}

static void
read_limit(report_t *report, const json_t *value, new_task_t *task)
{
    static const column_t key = { "key", COLUMN_TEXT, 0, .min = 1,
        .max = 200 };
    static const column_t max = { "max", COLUMN_INT, 0, .min = 1,
        .max = 1000000 };
    json_t *k = json_object_get(value, "key");
    json_t *m = json_object_get(value, "max");
    value_t read;

    if (!json_is_object(value)
        || json_object_size(value) != (size_t) (k != NULL) + (m != NULL)) {
        report_invalid(report, "limit", "invalid_value",
            "must be an object of `key` and `max`");
        return;
    }
    if (k == NULL || m == NULL) {
        report_invalid(report, k == NULL ? "limit.key" : "limit.max",
            "required", "is required");
        return;
    }
    if (value_from_json(report, &key, "limit.key", k, &read) == 0) {
        task->limit_key = read.as.text;
    }
    if (value_from_json(report, &max, "limit.max", m, &read) == 0) {
        task->limit_max = read.as.integer;
    }
}

static int
compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(hive_uuid_t));
}

static void
read_depends_on(report_t *report, const json_t *value, task_input_t *out)
{
    static const column_t element = { "depends_on", COLUMN_UUID, .flags = 0 };
    size_t count = json_array_size(value), i, kept = 0;
    hive_uuid_t *ids;
    json_t *item;

    if (!json_is_array(value) || count > TASK_DEPENDS_MAX) {
        report_invalid(report, "depends_on",
            json_is_array(value) ? "too_many" : "wrong_type",
            "must be an array of at most %d ids of tasks", TASK_DEPENDS_MAX);
        return;
    }
    ids = arena_alloc(report->arena, (count + 1) * sizeof(*ids));
    json_array_foreach(value, i, item) {
        const char *place = arena_printf(report->arena, "depends_on[%zu]", i);
        value_t id = value_uuid((hive_uuid_t) { { 0 } });

        value_from_json(report, &element, place, item, &id);
        ids[i] = id.as.uuid;
    }
    qsort(ids, count, sizeof(*ids), compare_ids);
    for (i = 0; i < count; i++) {
        if (i == 0 || !uuid_equal(&ids[i], &ids[kept - 1])) {
            ids[kept++] = ids[i];
        }
    }
    out->depends_on = ids;
    out->ndepends_on = kept;
}

/* ---- members of a new task ---- */

static void
assign(member_t member, const value_t *value, new_task_t *task)
{
    switch (member) {
    case KIND:
        task->kind = value->as.text;
        break;
    case TITLE:
        task->title = value->as.text;
        break;
    case DESCRIPTION:
        task->description = value->as.text;
        break;
    case INPUT:
        task->input = value->as.text;
        break;
    case LABELS:
        task->labels = value->as.texts.items;
        task->nlabels = value->as.texts.count;
        break;
    case RUN_AT:
        task->run_at = value->as.integer;
        break;
    case DEADLINE_AT:
        task->deadline_at = value->as.integer;
        break;
    case TIMEOUT_MS:
        task->timeout_ms = value->as.integer;
        break;
    case BACKOFF_MS:
        task->backoff_ms = value->as.integer;
        break;
    case MAX_ATTEMPTS:
        task->max_attempts = (int) value->as.integer;
        break;
    case UNIQUE_KEY:
        task->unique_key = value->as.text;
        break;
    case ON_DUPLICATE:
        task->on_duplicate = (on_duplicate_t) slice_index(value->as.text,
            duplicates);
        break;
    case PAUSED:
        task->paused = value->as.boolean;
        break;
    case ON_DEPENDENCY_FAILURE:
        task->run_on_failure = slice_index(value->as.text,
            dependency_failures);
        break;
    case PROJECT_ID:
        task->project = value->as.uuid;
        break;
    case PRIORITY:
    case LIMIT:
    case DEPENDS_ON:
    case MEMBERS:
        break;
    }
}

static int
is_object(report_t *report, member_t member, const json_t *json)
{
    if (member == INPUT && !json_is_object(json)) {
        report_invalid(report, "input", "wrong_type", "must be an object");
        return 0;
    }
    return 1;
}

static void
read_member(report_t *report, member_t member, const json_t *json,
    task_input_t *out)
{
    value_t value;

    switch (member) {
    case PRIORITY:
        read_priority(report, json, &out->task.priority);
        return;
    case LIMIT:
        read_limit(report, json, &out->task);
        return;
    case DEPENDS_ON:
        read_depends_on(report, json, out);
        return;
    default:
        break;
    }
    if (is_object(report, member, json)
        && value_from_json(report, &members[member], members[member].name,
               json, &value) == 0)
    {
        assign(member, &value, &out->task);
    }
}

static void
check_whole(report_t *report, const task_input_t *input)
{
    const new_task_t *task = &input->task;

    check_kind(report, task->kind);
    if (task->deadline_at != 0 && task->run_at >= task->deadline_at) {
        report_invalid(report, "deadline_at", "invalid_value",
            "must be after run_at");
    }
    if (task->on_duplicate != DUPLICATE_RETURN
        && task->unique_key.data == NULL) {
        report_invalid(report, "on_duplicate", "invalid_value",
            "goes with unique_key only");
    }
    if (task->on_duplicate == DUPLICATE_REPLACE && input->ndepends_on > 0) {
        report_invalid(report, "on_duplicate", "invalid_value",
            "does not go with depends_on");
    }
}

int
task_input_read(report_t *report, const json_t *body, task_input_t *out)
{
    unsigned before = report->count;
    const char *name;
    json_t *value;

    task_defaults(&out->task);
    out->depends_on = NULL;
    out->ndepends_on = 0;
    json_object_foreach((json_t *) (uintptr_t) body, name, value) {
        int member = find_member(name);

        if (member < 0) {
            refuse_member(report, name);
        } else if (!json_is_null(value)) {
            read_member(report, (member_t) member, value, out);
        }
    }
    if (out->task.kind.data == NULL && report->count == before) {
        report_invalid(report, "kind", "required", "is required");
    }
    if (report->count == before) {
        check_whole(report, out);
    }
    return report->count == before ? 0 : -1;
}

/* ---- changes ---- */

static void
put_column(buf_t *out, const char *name)
{
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
}

static int64_t
now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
patch_null(buf_t *columns, member_t member, task_patch_t *out)
{
    if (member == PRIORITY) {
        out->priority = 5;
    }
    if (member == RUN_AT) {
        json_put_time(columns, now_us());
    } else {
        buf_puts(columns, members[member].fallback);
    }
}

static void
patch_member(report_t *report, member_t member, const json_t *json,
    buf_t *columns, task_patch_t *out)
{
    const char *name = members[member].name;
    value_t value = value_null();

    if (!json_is_null(json)) {
        if (member == PRIORITY) {
            read_priority(report, json, &out->priority);
            value = value_int(out->priority);
        } else if (!is_object(report, member, json)
                   || value_from_json(report, &members[member], name, json,
                          &value) != 0)
        {
            return;
        }
    }
    put_column(columns, name);
    if (json_is_null(json)) {
        patch_null(columns, member, out);
    } else {
        json_put_value(columns, &value);
    }
    out->count++;
    out->reorders |= member == PRIORITY || member == RUN_AT;
}

int
task_patch_read(report_t *report, const json_t *body, const char *skip,
    task_patch_t *out)
{
    unsigned before = report->count;
    const char *name;
    json_t *value;
    buf_t columns;

    *out = (task_patch_t) { .priority = -1 };
    buf_init(&columns, report->arena, 128);
    buf_putc(&columns, '{');
    json_object_foreach((json_t *) (uintptr_t) body, name, value) {
        int member = find_member(name);

        if (skip != NULL && strcmp(name, skip) == 0) {
            continue;
        }
        if (member >= 0 && members[member].flags & WRITABLE) {
            patch_member(report, (member_t) member, value, &columns, out);
        } else if (member >= 0) {
            report_invalid(report, name, "read_only",
                "cannot be set after creation");
        } else {
            refuse_member(report, name);
        }
    }
    buf_putc(&columns, '}');
    out->columns = buf_slice(&columns);
    return report->count == before ? 0 : -1;
}

static void
put_value(buf_t *out, const char *name, value_t value)
{
    put_column(out, name);
    json_put_value(out, &value);
}

task_patch_t
task_patch_of(arena_t *arena, const new_task_t *task)
{
    task_patch_t patch = { .count = 1, .priority = task->priority,
        .reorders = 1 };
    buf_t out;

    buf_init(&out, arena, 512);
    buf_putc(&out, '{');
    put_value(&out, "title", value_text(task->title));
    put_value(&out, "description", value_text(task->description));
    put_value(&out, "input", value_json(task->input.data != NULL
        ? task->input : SLICE("{}")));
    put_value(&out, "labels", value_texts(task->labels, task->nlabels));
    put_value(&out, "priority", value_int(task->priority));
    put_value(&out, "run_at", value_time(task->run_at > 0 ? task->run_at
                                                         : now_us()));
    put_value(&out, "deadline_at", task->deadline_at == 0 ? value_null()
        : value_time(task->deadline_at));
    put_value(&out, "timeout_ms", task->timeout_ms == 0 ? value_null()
        : value_int(task->timeout_ms));
    put_value(&out, "backoff_ms", value_int(task->backoff_ms));
    put_value(&out, "max_attempts", value_int(task->max_attempts));
    put_value(&out, "limit_key", task->limit_key.data == NULL ? value_null()
        : value_text(task->limit_key));
    buf_putc(&out, '}');
    patch.columns = buf_slice(&out);
    return patch;
}
