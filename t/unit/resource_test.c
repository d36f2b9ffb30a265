/* resource_test.c: the resource engine without a database: what it says of
 * input, and the statements it composes. */

#include "workers/db/resource_parts.h"
#include "workers/work/work.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const colours[] = { "red", "green", NULL };

static const column_t thing_columns[] = {
    { "id", COLUMN_UUID, .flags = 0 },
    { "owner_id", COLUMN_UUID, .flags = 0 },
    { "name", COLUMN_TEXT, REQUIRED | WRITABLE | FILTERABLE | SORTABLE
        | SEARCHED, .min = 2, .max = 5 },
    { "note", COLUMN_TEXT, WRITABLE | DETAIL, .max = 3, .fallback = "\"-\"" },
    { "kind", COLUMN_ENUM, CREATE_ONLY | FILTERABLE, .values = colours,
        .fallback = "\"red\"" },
    { "size", COLUMN_INT, WRITABLE | FILTERABLE | NULLABLE | SORTABLE,
        .min = -5, .max = 10 },
    { "hidden", COLUMN_BOOL, WRITABLE | FILTERABLE, .fallback = "false" },
    { "due_at", COLUMN_TIME, WRITABLE | FILTERABLE | NULLABLE | SORTABLE,
        .max = 0 },
    { "parent_id", COLUMN_UUID, WRITABLE | FILTERABLE | NULLABLE, .max = 0 },
    { "extra", COLUMN_JSON, WRITABLE, .max = 400, .fallback = "{}" },
    { "tags", COLUMN_TEXTS, WRITABLE | FILTERABLE, .max = 3,
        .fallback = "[]" },
    { "version", COLUMN_INT, .flags = 0 },
    { "created_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE },
};

static const resource_t thing = {
    .name = "thing",
    .table = "things",
    .owner_column = "owner_id",
    .viewer = "t.owner_id = $1::uuid",
    .editor = "t.owner_id = $1::uuid",
    .columns = thing_columns,
    .ncolumns = sizeof(thing_columns) / sizeof(thing_columns[0]),
    .default_sort = "-created_at",
};

/* ---- faults are collected as "field code, field code" ---- */

static arena_t *arena;
static char faults[4096];

static void
collect(void *arg, const char *field, const char *code, const char *message)
{
    size_t len = strlen(faults);

    (void) arg;
    assert_true(strlen(message) > 0);
    snprintf(faults + len, sizeof(faults) - len, "%s%s %s",
        len > 0 ? ", " : "", field, code);
}

static report_t
new_report(void)
{
    faults[0] = '\0';
    return (report_t) { arena, collect, NULL, 0 };
}

static int
begin(void **state)
{
    (void) state;
    cursor_init(SLICE("the secret"));
    arena = arena_new();
    return 0;
}

static int
end(void **state)
{
    (void) state;
    arena_free(arena);
    return 0;
}

/* ---- bodies ---- */

static void
release(void *arg)
{
    json_decref(arg);
}

static size_t
read_body(const char *text, int creating, assignment_t *out)
{
    report_t report = new_report();
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
        NULL);

    assert_non_null(json);
    arena_cleanup(arena, release, json);
    return assignments_read(&report, &thing, json, creating, out);
}

static const char *
faults_of(const char *text, int creating)
{
    assignment_t assignments[16];

    read_body(text, creating, assignments);
    return faults;
}

static const value_t *
assigned(const assignment_t *assignments, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(assignments[i].column->name, name) == 0) {
            return &assignments[i].value;
        }
    }
    return NULL;
}

static void
assert_text(const value_t *value, const char *text)
{
    assert_non_null(value);
    assert_true(slice_equal(value->as.text,
        (slice_t) { text, strlen(text) }));
}

static void
creating_assigns_every_column_by_its_default(void **state)
{
    assignment_t a[16];
    size_t count = read_body("{\"name\":\"abc\"}", 1, a);

    (void) state;
    assert_string_equal(faults, "");
    assert_int_equal(count, 9);
    assert_text(assigned(a, count, "name"), "abc");
    assert_text(assigned(a, count, "note"), "-");
    assert_text(assigned(a, count, "kind"), "red");
    assert_int_equal(assigned(a, count, "size")->type, VALUE_NULL);
    assert_int_equal(assigned(a, count, "hidden")->as.boolean, 0);
    assert_text(assigned(a, count, "extra"), "{}");
    assert_int_equal(assigned(a, count, "tags")->as.texts.count, 0);
}

static void
creating_takes_every_type(void **state)
{
    assignment_t a[16];
    size_t count = read_body("{\"name\":\"a\u00e4\u20ac\U0001f600b\","
        "\"note\":\"\",\"kind\":\"green\",\"size\":-5,\"hidden\":true,"
        "\"due_at\":\"1970-01-01T00:00:01.5Z\","
        "\"parent_id\":\"018F0000-0000-7000-8000-000000000001\","
        "\"extra\":[1,{\"a\":null}],\"tags\":[\"x\",\"y\"]}", 1, a);

    (void) state;
    assert_string_equal(faults, "");
    assert_int_equal(count, 9);
    assert_text(assigned(a, count, "note"), "");
    assert_int_equal(assigned(a, count, "size")->as.integer, -5);
    assert_int_equal(assigned(a, count, "hidden")->as.boolean, 1);
    assert_int_equal(assigned(a, count, "due_at")->as.integer, 1500000);
    assert_int_equal(assigned(a, count, "parent_id")->as.uuid.bytes[1], 0x8f);
    assert_text(assigned(a, count, "extra"), "[1,{\"a\":null}]");
    assert_int_equal(assigned(a, count, "tags")->as.texts.count, 2);
}

static void
every_fault_of_a_body_is_reported(void **state)
{
    (void) state;
    assert_string_equal(faults_of("{}", 1), "name required");
    assert_string_equal(faults_of("{\"name\":null}", 1),
        "name not_nullable");
    assert_string_equal(faults_of("{\"nam\":1,\"id\":\"x\",\"name\":7,"
        "\"note\":\"long\",\"kind\":\"blue\",\"size\":11,\"hidden\":0,"
        "\"due_at\":\"tomorrow\",\"parent_id\":\"7\",\"tags\":\"x\"}", 1),
        "nam unknown_member, id read_only, name wrong_type, note too_long, "
        "kind invalid_value, size too_large, hidden wrong_type, "
        "due_at invalid_time, parent_id invalid_uuid, tags wrong_type");
    assert_string_equal(faults_of("{\"name\":\"abcdef\",\"kind\":1,"
        "\"size\":-6,\"due_at\":1,\"parent_id\":1,"
        "\"tags\":[\"\",1,\"x\"]}", 1),
        "name too_long, kind wrong_type, size too_small, due_at wrong_type, "
        "parent_id wrong_type, tags[0] too_short, tags[1] wrong_type");
    assert_string_equal(faults_of("{\"name\":\"\u20ac\",\"size\":1.0,"
        "\"tags\":[\"1\",\"2\",\"3\",\"4\"]}", 1),
        "name too_short, size wrong_type, tags too_many");
    assert_string_equal(faults_of("{\"name\":\"a\\u0000b\"}", 1),
        "name nul_character");
}

static void
json_columns_are_limited_in_bytes_and_depth(void **state)
{
    char text[1024];
    int n;

    (void) state;
    n = snprintf(text, sizeof(text), "{\"name\":\"abc\",\"extra\":");
    memset(text + n, '[', 32);
    memset(text + n + 32, ']', 32);
    strcpy(text + n + 64, "}");
    assert_string_equal(faults_of(text, 1), "");
    memset(text + n, '[', 33);
    memset(text + n + 33, ']', 33);
    strcpy(text + n + 66, "}");
    assert_string_equal(faults_of(text, 1), "extra too_deep");
    text[n] = '"';
    memset(text + n + 1, 'x', 398);
    strcpy(text + n + 399, "\"}");
    assert_string_equal(faults_of(text, 1), "");
    strcpy(text + n + 399, "x\"}");
    assert_string_equal(faults_of(text, 1), "extra too_long");
}

static void
a_patch_assigns_what_it_names(void **state)
{
    assignment_t a[16];
    size_t count;

    (void) state;
    assert_int_equal(read_body("{}", 0, a), 0);
    assert_string_equal(faults, "");
    count = read_body("{\"size\":3,\"name\":\"abc\"}", 0, a);
    assert_int_equal(count, 2);
    assert_string_equal(a[0].column->name, "name");
    assert_string_equal(a[1].column->name, "size");
}

static void
null_in_a_patch_is_the_default_or_null(void **state)
{
    assignment_t a[16];
    size_t count = read_body("{\"note\":null,\"size\":null,\"tags\":null}",
        0, a);

    (void) state;
    assert_string_equal(faults, "");
    assert_int_equal(count, 3);
    assert_text(assigned(a, count, "note"), "-");
    assert_int_equal(assigned(a, count, "size")->type, VALUE_NULL);
    assert_int_equal(assigned(a, count, "tags")->as.texts.count, 0);
    assert_string_equal(faults_of("{\"name\":null,\"kind\":\"green\"}", 0),
        "kind read_only, name not_nullable");
}

/* ---- scalars ---- */

static void
times_are_read_as_rfc_3339_has_them(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds, micros;
    } good[] = {
        { "1970-01-01T00:00:00Z", 0, 0 },
        { "1970-01-01t00:00:00z", 0, 0 },
        { "1969-12-31T23:59:59.999999Z", -1, 999999 },
        { "2000-02-29T12:00:00+02:00", 951818400, 0 },
        { "2026-11-20T10:20:30.123456789-05:30", 1795189830, 123456 },
        { "0001-01-01T00:00:00Z", -62135596800, 0 },
        { "9999-12-31T23:59:59.9Z", 253402300799, 900000 },
        { "2016-12-31T23:59:60Z", 1483228800, 0 },
    };
    static const char *const bad[] = {
        "", "now", "1970-01-01", "1970-01-01T00:00:00",
        "1970-01-01 00:00:00Z", "1970-01-01T00:00Z", "1970-13-01T00:00:00Z",
        "1970-00-01T00:00:00Z", "1970-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z", "1970-01-32T00:00:00Z",
        "1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:61Z", "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00+2:00", "1970-01-01T00:00:00+0200",
        "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00Zx",
        "0000-01-01T00:00:00Z", "-001-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z", "1970-01-01T00:00:00 00:00",
        "1970-01-01T00:00:00,5Z",
    };
    int64_t time;

    (void) state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(time_parse((slice_t) { good[i].text,
            strlen(good[i].text) }, &time), 0);
        assert_true(time == good[i].seconds * 1000000 + good[i].micros);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(time_parse((slice_t) { bad[i], strlen(bad[i]) },
            &time), -1);
    }
}

static void
integers_are_decimal_and_fit(void **state)
{
    static const char *const bad[] = { "", "-", "+1", " 1", "1 ", "0x1", "1.0",
        "9223372036854775808", "-9223372036854775809",
        "99999999999999999999" };
    int64_t value;

    (void) state;
    assert_int_equal(int_parse(SLICE("9223372036854775807"), &value), 0);
    assert_true(value == INT64_MAX);
    assert_int_equal(int_parse(SLICE("-9223372036854775808"), &value), 0);
    assert_true(value == INT64_MIN);
    assert_int_equal(int_parse(SLICE("-0"), &value), 0);
    assert_true(value == 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(int_parse((slice_t) { bad[i], strlen(bad[i]) },
            &value), -1);
    }
}

static int
count_tags(const char *header, int weak_too, slice_t *tags)
{
    return tags_parse((slice_t) { header, strlen(header) }, weak_too, tags);
}

static void
entity_tags_are_lists_of_quoted_text(void **state)
{
    slice_t tags[TAGS_MAX];

    (void) state;
    assert_int_equal(count_tags("*", 0, tags), TAGS_ANY);
    assert_int_equal(count_tags("\"7\"", 0, tags), 1);
    assert_true(slice_equal(tags[0], SLICE("7")));
    assert_int_equal(count_tags(" \"7\" ,\t\"8,9\"", 0, tags), 2);
    assert_true(slice_equal(tags[1], SLICE("8,9")));
    assert_int_equal(count_tags("W/\"7\", \"8\"", 0, tags), 1);
    assert_true(slice_equal(tags[0], SLICE("8")));
    assert_int_equal(count_tags("W/\"7\", \"8\"", 1, tags), 2);
    assert_int_equal(count_tags("W/\"7\"", 0, tags), 0);
    assert_int_equal(count_tags("\"\"", 0, tags), 1);
    assert_int_equal(count_tags("", 0, tags), TAGS_MALFORMED);
    assert_int_equal(count_tags("7", 0, tags), TAGS_MALFORMED);
    assert_int_equal(count_tags("\"7", 0, tags), TAGS_MALFORMED);
    assert_int_equal(count_tags("\"7\"\"8\"", 0, tags), TAGS_MALFORMED);
    assert_int_equal(count_tags("\"7\",", 0, tags), TAGS_MALFORMED);
    assert_int_equal(count_tags("*, \"7\"", 0, tags), TAGS_MALFORMED);
    assert_int_equal(count_tags("\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\","
        "\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\"",
        0, tags), TAGS_MALFORMED);
}

/* ---- lists: parameters as "name=value&name=value" ---- */

static const resource_t *querying = &thing;

static cursor_fault_t
read_query(const char *query, int streamed, list_t *out)
{
    report_t report = new_report();
    query_arg_t args[32];
    size_t count = 0;
    char *text = arena_strndup(arena, query, strlen(query)), *save = NULL;

    for (char *part = strtok_r(text, "&", &save); part != NULL;
         part = strtok_r(NULL, "&", &save))
    {
        char *equals = strchr(part, '=');

        args[count++] = (query_arg_t) {
            { part, (size_t) (equals - part) },
            { equals + 1, strlen(equals + 1) } };
    }
    return list_read(&report, querying, args, count, streamed, out);
}

static const char *
query_faults(const char *query, int streamed)
{
    list_t list;

    assert_int_equal(read_query(query, streamed, &list), CURSOR_OK);
    return faults;
}

static void
the_query_of_a_list_is_checked(void **state)
{
    list_t list;

    (void) state;
    assert_int_equal(read_query("", 0, &list), CURSOR_OK);
    assert_string_equal(faults, "");
    assert_int_equal(list.limit, 20);
    assert_string_equal(list.sort->name, "created_at");
    assert_true(list.descending);

    read_query("limit=100&count=true&sort=name", 0, &list);
    assert_string_equal(faults, "");
    assert_int_equal(list.limit, 100);
    assert_true(list.counted && !list.descending);

    assert_string_equal(query_faults("limit=0&color=red&sort=-kind"
        "&count=maybe&note=x&extra=1&version=1&created_at=now&created=true"
        "&q=", 0),
        "limit out_of_range, color unknown_parameter, count invalid_value, "
        "note unknown_parameter, extra unknown_parameter, "
        "version unknown_parameter, created_at unknown_parameter, "
        "created unknown_parameter, q too_short, sort unknown_sort");
    assert_string_equal(query_faults("limit=101&sort=", 0),
        "limit out_of_range, sort unknown_sort");
    assert_string_equal(query_faults("limit=1e1&kind=red,,green&size=1,x"
        "&hidden=1&due=yes&due_after=today&created_before=&parent_id=7", 0),
        "limit out_of_range, kind invalid_value, size wrong_type, "
        "hidden invalid_value, due invalid_value, due_after invalid_time, "
        "created_before invalid_time, parent_id invalid_uuid");
    assert_string_equal(query_faults("limit=5&count=true", 1),
        "limit not_streamable, count not_streamable");
    assert_string_equal(query_faults("sort=-name&q=x&hidden=true", 1), "");
}

static const char *
composed(const list_t *list, size_t *count)
{
    value_t *values = arena_alloc(arena,
        LIST_VALUES(list->nfilters) * sizeof(*values));
    buf_t text;

    values[0] = value_uuid((hive_uuid_t) { { 0 } });
    buf_init(&text, arena, 256);
    *count = list_compose(list, &text, values);
    assert_true(*count <= LIST_VALUES(list->nfilters));
    buf_putc(&text, '\0');
    return text.data;
}

#define COLUMNS "t.id, t.owner_id, t.name, t.kind, t.size, t.hidden, " \
    "t.due_at, t.parent_id, t.extra, t.tags, t.version, t.created_at"
#define FROM "select " COLUMNS " from things t where (t.owner_id = $1::uuid)"

static void
assert_composed(const char *query, const char *wanted, size_t values)
{
    list_t list;
    size_t count;

    assert_int_equal(read_query(query, 0, &list), CURSOR_OK);
    assert_string_equal(faults, "");
    assert_string_equal(composed(&list, &count), wanted);
    assert_int_equal(count, values);
}

static void
lists_compose_to_one_statement_a_shape(void **state)
{
    (void) state;
    assert_composed("", FROM
        " order by t.created_at desc, t.id desc limit $2::bigint", 2);
    assert_composed("sort=name&limit=3", FROM
        " order by t.name, t.id limit $2::bigint", 2);
    assert_composed("name=a,b&kind=red,green&size=1,-2&hidden=false"
        "&due=true&tags=x,y"
        "&parent_id=018f0000-0000-7000-8000-000000000001", FROM
        " and t.name = $2::text and t.kind = any($3::text[])"
        " and t.size = any($4::text[]::bigint[]) and t.hidden = $5::bool"
        " and t.due_at is not null"
        " and t.parent_id = any($6::text[]::uuid[])"
        " and t.tags @> $7::text[]"
        " order by t.created_at desc, t.id desc limit $8::bigint", 8);
    assert_composed("due=false&created_after=2026-01-01T00:00:00Z"
        "&created_before=2027-01-01T00:00:00Z", FROM
        " and t.due_at is null and t.created_at > $2::timestamptz"
        " and t.created_at < $3::timestamptz"
        " order by t.created_at desc, t.id desc limit $4::bigint", 4);
}

static void
the_order_of_parameters_does_not_matter(void **state)
{
    list_t one, other;
    size_t count;

    (void) state;
    read_query("name=x&hidden=true&created_before=2027-01-01T00:00:00Z"
        "&created_after=2026-01-01T00:00:00Z", 0, &one);
    read_query("created_after=2026-01-01T00:00:00Z&hidden=true"
        "&created_before=2027-01-01T00:00:00Z&name=x", 0, &other);
    assert_string_equal(composed(&one, &count), composed(&other, &count));
    assert_true(one.shape == other.shape);
}

static void
input_never_becomes_text(void **state)
{
    list_t list;
    size_t count;

    (void) state;
    read_query("name=x'); drop table things--&q='; drop table things--"
        "&tags=y';drop", 0, &list);
    assert_string_equal(faults, "");
    assert_null(strstr(composed(&list, &count), "drop"));
}

static void
counting_ignores_pages(void **state)
{
    list_t list;
    value_t values[8];
    buf_t text;

    (void) state;
    read_query("hidden=true&limit=5&sort=name&count=true", 0, &list);
    values[0] = value_uuid((hive_uuid_t) { { 0 } });
    buf_init(&text, arena, 256);
    assert_int_equal(list_compose_count(&list, &text, values), 2);
    buf_putc(&text, '\0');
    assert_string_equal(text.data, "select count(*) as total from things t"
        " where (t.owner_id = $1::uuid) and t.hidden = $2::bool");
}

/* ---- places ---- */

static const char *
cursor_of(const list_t *list, int null, slice_t key)
{
    cursor_t cursor = { .null = null, .shape = list->shape, .key = key };
    char text[CURSOR_TEXT_MAX];

    cursor.id.bytes[0] = 7;
    return arena_strndup(arena, text, cursor_encode(&cursor, text));
}

static cursor_fault_t
continue_query(const char *query, const char *cursor, list_t *out)
{
    return read_query(arena_printf(arena, "%s&cursor=%s", query, cursor), 0,
        out);
}

static void
a_cursor_continues_its_own_list_only(void **state)
{
    int64_t time = 123456789;
    slice_t key = { (const char *) &time, sizeof(time) };
    list_t list, next;
    const char *cursor;
    size_t count;

    (void) state;
    read_query("hidden=true", 0, &list);
    cursor = cursor_of(&list, 0, key);
    assert_int_equal(continue_query("hidden=true", cursor, &next), CURSOR_OK);
    assert_int_equal(next.start, LIST_AFTER);
    assert_true(next.key.as.integer == time);
    assert_int_equal(next.id.bytes[0], 7);
    assert_string_equal(composed(&next, &count), FROM
        " and t.hidden = $2::bool"
        " and (t.created_at, t.id) < ($3::timestamptz, $4::uuid)"
        " order by t.created_at desc, t.id desc limit $5::bigint");
    assert_int_equal(count, 5);

    assert_int_equal(continue_query("hidden=true&limit=7&count=true", cursor,
        &next), CURSOR_OK);
    assert_int_equal(continue_query("hidden=false", cursor, &next),
        CURSOR_MISMATCH);
    assert_int_equal(continue_query("count=true", cursor, &next),
        CURSOR_MISMATCH);
    assert_int_equal(continue_query("hidden=true&q=x", cursor, &next),
        CURSOR_MISMATCH);
    assert_int_equal(continue_query("hidden=true&sort=created_at", cursor,
        &next), CURSOR_MISMATCH);
    assert_int_equal(continue_query("hidden=true&sort=-name", cursor, &next),
        CURSOR_MISMATCH);
    assert_int_equal(continue_query("hidden=true&sort=-created_at", cursor,
        &next), CURSOR_OK);
    assert_int_equal(continue_query("hidden=true",
        arena_printf(arena, "%sA", cursor), &next), CURSOR_MALFORMED);
    assert_int_equal(continue_query("hidden=true", "", &next),
        CURSOR_MALFORMED);
}

static void
text_keys_are_kept_as_they_are(void **state)
{
    list_t list, next;
    size_t count;

    (void) state;
    read_query("sort=name", 0, &list);
    assert_int_equal(continue_query("sort=name",
        cursor_of(&list, 0, SLICE("a'\xc3\xa4")), &next), CURSOR_OK);
    assert_text(&next.key, "a'\xc3\xa4");
    assert_string_equal(composed(&next, &count), FROM
        " and (t.name, t.id) > ($2::text, $3::uuid)"
        " order by t.name, t.id limit $4::bigint");
    assert_int_equal(continue_query("sort=name",
        cursor_of(&list, 1, SLICE_NONE), &next), CURSOR_MISMATCH);
}

static void
assert_place(const char *query, int null, const char *wanted, size_t values)
{
    int64_t size = 3;
    slice_t key = { (const char *) &size, sizeof(size) };
    list_t list, next;
    size_t count;

    read_query(query, 0, &list);
    assert_int_equal(continue_query(query,
        cursor_of(&list, null, null ? SLICE_NONE : key), &next), CURSOR_OK);
    assert_string_equal(composed(&next, &count), wanted);
    assert_int_equal(count, values);
}

static void
nulls_sort_after_every_value(void **state)
{
    (void) state;
    assert_place("sort=size", 0, "select * from ((" FROM
        " and (t.size, t.id) > ($2::bigint, $3::uuid)"
        " order by t.size, t.id limit $4::bigint) union all (" FROM
        " and t.size is null order by t.size, t.id limit $4::bigint)) t"
        " order by t.size, t.id limit $4::bigint", 4);
    assert_place("sort=size&name=ab", 1, FROM
        " and t.name = $2::text and t.size is null and t.id > $3::uuid"
        " order by t.size, t.id limit $4::bigint", 4);
    assert_place("sort=-size", 0, FROM
        " and (t.size, t.id) < ($2::bigint, $3::uuid)"
        " order by t.size desc, t.id desc limit $4::bigint", 4);
    assert_place("sort=-size&name=ab", 1, "select * from ((" FROM
        " and t.name = $2::text and t.size is null and t.id < $3::uuid"
        " order by t.size desc, t.id desc limit $4::bigint) union all (" FROM
        " and t.name = $2::text and t.size is not null"
        " order by t.size desc, t.id desc limit $4::bigint)) t"
        " order by t.size desc, t.id desc limit $4::bigint", 4);
}

/* ---- gathered lists ---- */

static const char *const open_states[] = { "new", "going", NULL };
static const char *const closed_states[] = { "done", NULL };
static const char *const all_states[] = { "new", "going", "done", NULL };

static const column_t job_columns[] = {
    { "id", COLUMN_UUID, .flags = 0 },
    { "state", COLUMN_ENUM, .flags = FILTERABLE, .values = all_states },
    { "group_id", COLUMN_UUID, .flags = FILTERABLE | GATHERED },
    { "title", COLUMN_TEXT, .flags = SEARCHED },
    { "what", COLUMN_TEXT, .flags = FILTERABLE, .key = "job_key" },
    { "tags", COLUMN_TEXTS, .flags = FILTERABLE, .guard = "@.tags <> '{}'" },
    { "how", COLUMN_TEXT, .flags = 0, .shown = "upper(@.how)" },
    { "created_at", COLUMN_TIME, .flags = FILTERABLE | SORTABLE | OF_ID },
};
static const part_t job_parts[] = {
    { "jobs", open_states }, { "old_jobs", closed_states }
};
static const resource_t job = {
    .name = "job", .table = "jobs", .owner_column = "owner_id",
    .viewer = "t.owner_id = $1::uuid", .columns = job_columns,
    .ncolumns = sizeof(job_columns) / sizeof(job_columns[0]),
    .default_sort = "-created_at", .gathered = "state", .parts = job_parts,
    .nparts = 2, .ntables = 2, .search_guard = "@.title <> ''",
};

static list_t
read_jobs(const char *query)
{
    list_t list;

    querying = &job;
    assert_int_equal(read_query(query, 0, &list), CURSOR_OK);
    querying = &thing;
    assert_string_equal(faults, "");
    return list;
}

static const char *
gathered(const list_t *list, gather_t how, size_t *count, value_t *values)
{
    buf_t text;

    values[0] = value_uuid((hive_uuid_t) { { 0 } });
    buf_init(&text, arena, 256);
    *count = list_gather(list, how, 300, &text, values);
    assert_true(*count <= GATHER_VALUES(list->nfilters));
    buf_putc(&text, '\0');
    return text.data;
}

#define ARM(lead, table, where, order) \
    "(select t." lead " as _lead, t.id, t.state::text, t.group_id, t.title," \
    " t.what, t.tags, upper(t.how) as how, t.created_at from " table \
    " t where " \
    where " order by t." lead order ", t.id" order " limit 300)"
#define KEYED(table) \
    "(select t.owner_id as _lead, t.id, t.state::text, t.group_id, t.title," \
    " t.what, t.tags, upper(t.how) as how, t.created_at from " table \
    " t where job_key(t.owner_id, t.what) = job_key($1::uuid, $2::text)" \
    " and t.id < $3::uuid order by t.id desc limit 300)"
#define OWNER "t.owner_id = any(array[$1::uuid])"
#define WINDOW(arms, order, last, filters) \
    "with w as materialized (select * from (" arms ") t order by t._lead" \
    order ", t.id" order " limit 300) select c.walked as _walked, c.last as" \
    " _last, t.* from (select count(*) as walked, (select t.id from w t order" \
    " by t.id" last " limit 1) as last from w) c left join lateral (select" \
    " t.id, t.state, t.group_id, t.title, t.what, t.tags, t.how," \
    " t.created_at from w t where true" filters " limit "

static void
assert_gathered(const char *query, list_start_t start, gather_t how,
    const char *wanted, size_t wanted_count)
{
    list_t list = read_jobs(query);
    value_t values[32];
    size_t count;

    list.start = start;
    assert_string_equal(gathered(&list, how, &count, values), wanted);
    assert_int_equal(count, wanted_count);
}

static void
windows_are_merged_of_states(void **state)
{
    (void) state;
    assert_gathered("", LIST_FIRST, GATHER_WINDOW, WINDOW(
        ARM("owner_id", "jobs", OWNER " and t.state = $2::text", " desc")
        " union all "
        ARM("owner_id", "jobs", OWNER " and t.state = $3::text", " desc")
        " union all "
        ARM("owner_id", "old_jobs", OWNER " and t.state = $4::text", " desc"),
        " desc", "", " order by t.id desc") "$5::bigint) t on true"
        " order by t.id desc", 5);
    assert_gathered("state=new&sort=created_at&tags=a", LIST_AFTER,
        GATHER_WINDOW, WINDOW(
        ARM("owner_id", "jobs", OWNER " and t.state = $3::text"
            " and t.id > $2::uuid", ""),
        "", " desc", " and t.tags <> '{}' and t.tags @> $4::text[]"
        " order by t.id") "$5::bigint) t on true order by t.id", 5);
}

static void
windows_are_of_one_group_where_one_is_asked_for(void **state)
{
    (void) state;
    assert_gathered("group_id=018f0000-0000-7000-8000-000000000001"
        "&state=new,done", LIST_FIRST, GATHER_WINDOW, WINDOW(
        ARM("group_id", "jobs", "t.group_id = any(array[$2::uuid])"
            " and (t.owner_id = $1::uuid)", " desc") " union all "
        ARM("group_id", "old_jobs", "t.group_id = any(array[$2::uuid])"
            " and (t.owner_id = $1::uuid)", " desc"),
        " desc", "", " and t.state = any($3::text[]) order by t.id desc")
        "$4::bigint) t on true order by t.id desc", 4);
}

static void
windows_are_of_one_key_where_one_is_asked_for(void **state)
{
    list_t list = read_jobs("what=a");

    (void) state;
    assert_true(!list_is_filtered(&list) && !list_is_indexed(&list));
    assert_gathered("what=a&state=new,done", LIST_AFTER, GATHER_WINDOW,
        "with w as materialized (select * from ("
        KEYED("jobs") " union all " KEYED("old_jobs")
        ") t order by t.id desc limit 300) select c.walked as _walked,"
        " c.last as _last, t.* from (select count(*) as walked, (select t.id"
        " from w t order by t.id limit 1) as last from w) c left join lateral"
        " (select t.id, t.state, t.group_id, t.title, t.what, t.tags, t.how,"
        " t.created_at from w t where t._lead = $1::uuid and t.state ="
        " any($4::text[]) and t.what = $5::text order by t.id desc limit"
        " $6::bigint) t on true order by t.id desc", 6);
}

static void
what_an_index_serves_is_looked_up_whole(void **state)
{
    static const char *const columns = "select t.id as _lead, t.id,"
        " t.state::text, t.group_id, t.title, t.what, t.tags,"
        " upper(t.how) as how,"
        " t.created_at from ";
    static const char *const where = " t where (t.owner_id = $1::uuid)"
        " and t.id < $2::uuid and t.tags <> '{}' and t.tags @> $3::text[]"
        " and (t.title <> '') and to_tsvector('simple', t.title) @@ (select"
        " regexp_replace(websearch_to_tsquery('simple', $4::text)::text, "
        "'(^|[ (])(''[^'']+'')$', '\\1\\2:*')::tsquery)";
    list_t list = read_jobs("tags=a&q=b");

    (void) state;
    assert_true(list_is_filtered(&list) && list_is_indexed(&list));
    assert_gathered("tags=a&q=b", LIST_AFTER, GATHER_WHOLE,
        arena_printf(arena, "with w as materialized (%sjobs%s union all"
            " %sold_jobs%s) select t.id, t.state, t.group_id, t.title,"
            " t.what, t.tags, t.how, t.created_at from w t order by t.id desc limit"
            " $5::bigint", columns, where, columns, where), 5);
    list = read_jobs("state=new&created_after=2024-01-01T00:00:00Z");
    assert_true(!list_is_filtered(&list) && !list_is_indexed(&list));
    list = read_jobs("group_id=018f0000-0000-7000-8000-000000000001");
    assert_true(!list_is_filtered(&list) && !list_is_indexed(&list));
    list = read_jobs("group_id=018f0000-0000-7000-8000-000000000001,"
        "018f0000-0000-7000-8000-000000000002");
    assert_true(list_is_filtered(&list) && list_is_indexed(&list));
}

static void
the_time_of_an_id_is_compared_as_an_id(void **state)
{
    static const char *const bounds[] = {
        "018cc251-f400-0000-0000-000000000000",   /* 2024-01-01 */
        "018cc251-f401-0000-0000-000000000000"
    };
    static const struct {
        const char *query;
        int bound;
    } cases[] = {
        { "created_before=2024-01-01T00:00:00Z", 0 },
        { "created_before=2024-01-01T00:00:00.000001Z", 1 },
        { "created_after=2024-01-01T00:00:00Z", 1 },
        { "created_after=2023-12-31T23:59:59.999999Z", 0 },
    };

    (void) state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        list_t list = read_jobs(cases[i].query);
        value_t values[32];
        char text[UUID_TEXT];
        size_t count;

        assert_non_null(strstr(gathered(&list, GATHER_WINDOW, &count, values),
            i < 2 ? " and t.id < $2::uuid" : " and t.id >= $2::uuid"));
        uuid_format(&values[1].as.uuid, text);
        assert_memory_equal(text, bounds[cases[i].bound], UUID_TEXT);
    }
}

static void
counts_of_parts_are_added(void **state)
{
    value_t values[16];
    list_t list;
    buf_t text;

    (void) state;
    querying = &job;
    read_query("state=new", 0, &list);
    querying = &thing;
    values[0] = value_uuid((hive_uuid_t) { { 0 } });
    buf_init(&text, arena, 256);
    assert_int_equal(list_compose_count(&list, &text, values), 2);
    buf_putc(&text, '\0');
    assert_string_equal(text.data, "select (select count(*) from jobs t"
        " where (t.owner_id = $1::uuid) and t.state = any($2::text[]))"
        " + (select count(*) from old_jobs t"
        " where (t.owner_id = $1::uuid) and t.state = any($2::text[]))"
        " as total");
}

/* ---- changes ---- */

static void
changes_compose_to_one_statement_with_their_event(void **state)
{
    assignment_t a[16];
    size_t count;
    buf_t text;

    (void) state;
    count = read_body("{\"size\":3,\"name\":\"abc\"}", 0, a);
    buf_init(&text, arena, 256);
    update_compose(&thing, a, count, &text);
    buf_putc(&text, '\0');
    assert_non_null(strstr(text.data, "update things t set"
        " name = $4::text, size = $5::bigint, version = t.version + 1,"
        " event_seq = t.event_seq + 1, updated_at = now()"
        " where t.id = $2::uuid and (t.owner_id = $1::uuid) is true and"
        " ($3::text[] is null or t.version::text = any($3::text[]))"));
    assert_non_null(strstr(text.data, "select 'thing:' || c.id::text,"
        " c.event_seq, 'thing.updated'"));

    count = read_body("{\"name\":\"abc\"}", 1, a);
    buf_init(&text, arena, 256);
    create_compose(&thing, a, count, &text);
    buf_putc(&text, '\0');
    assert_non_null(strstr(text.data, "insert into things as t (owner_id,"
        " id, name, note, kind, size, hidden, due_at, parent_id, extra,"
        " tags) values ($1::uuid, $2::uuid, $3::text, $4::text, $5::text,"
        " $6::bigint, $7::bool, $8::timestamptz, $9::uuid, $10::jsonb,"
        " $11::text[])"));

    buf_init(&text, arena, 256);
    delete_compose(&thing, &text);
    buf_putc(&text, '\0');
    assert_non_null(strstr(text.data, "t.event_seq + 1 as event_seq"));
    assert_non_null(strstr(text.data, "'thing.deleted'"));
}

/* What resource.h asks of a table of columns. */
static void
assert_sound(const resource_t *resource)
{
    static const char *const needed[] = { "id", "version", "created_at",
        "updated_at" };
    list_t list;
    report_t report = new_report();

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        size_t k = 0;

        while (k < resource->ncolumns
               && strcmp(resource->columns[k].name, needed[i]) != 0)
        {
            k++;
        }
        assert_true(k < resource->ncolumns);
    }
    for (size_t i = 0; i < resource->ncolumns; i++) {
        const column_t *column = &resource->columns[i];

        if (column->flags & (WRITABLE | CREATE_ONLY)) {
            assert_true(column->flags & (REQUIRED | NULLABLE)
                || column->fallback != NULL);
            assert_true(column->max > 0 || (column->type != COLUMN_TEXT
                && column->type != COLUMN_JSON
                && column->type != COLUMN_TEXTS));
        }
        if (column->flags & SORTABLE) {
            assert_false(column->flags & DETAIL);
            assert_true(column->type != COLUMN_TEXT || column->max <= 400);
            assert_true(column->type != COLUMN_JSON
                && column->type != COLUMN_BOOL
                && column->type != COLUMN_TEXTS);
        }
    }
    list_read(&report, resource, NULL, 0, 0, &list);
    assert_int_equal(report.count, 0);
}

static void
the_resources_of_the_api_are_sound(void **state)
{
    (void) state;
    assert_sound(&project_resource);
    assert_sound(&task_resource);
}

int
main(void)
{
#define IN_ARENA(test) cmocka_unit_test_setup_teardown(test, begin, end)
    static const struct CMUnitTest tests[] = {
        IN_ARENA(creating_assigns_every_column_by_its_default),
        IN_ARENA(creating_takes_every_type),
        IN_ARENA(every_fault_of_a_body_is_reported),
        IN_ARENA(json_columns_are_limited_in_bytes_and_depth),
        IN_ARENA(a_patch_assigns_what_it_names),
        IN_ARENA(null_in_a_patch_is_the_default_or_null),
        IN_ARENA(times_are_read_as_rfc_3339_has_them),
        IN_ARENA(integers_are_decimal_and_fit),
        IN_ARENA(entity_tags_are_lists_of_quoted_text),
        IN_ARENA(the_query_of_a_list_is_checked),
        IN_ARENA(lists_compose_to_one_statement_a_shape),
        IN_ARENA(the_order_of_parameters_does_not_matter),
        IN_ARENA(input_never_becomes_text),
        IN_ARENA(counting_ignores_pages),
        IN_ARENA(a_cursor_continues_its_own_list_only),
        IN_ARENA(text_keys_are_kept_as_they_are),
        IN_ARENA(nulls_sort_after_every_value),
        IN_ARENA(windows_are_merged_of_states),
        IN_ARENA(windows_are_of_one_group_where_one_is_asked_for),
        IN_ARENA(windows_are_of_one_key_where_one_is_asked_for),
        IN_ARENA(what_an_index_serves_is_looked_up_whole),
        IN_ARENA(the_time_of_an_id_is_compared_as_an_id),
        IN_ARENA(counts_of_parts_are_added),
        IN_ARENA(changes_compose_to_one_statement_with_their_event),
        IN_ARENA(the_resources_of_the_api_are_sound),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("resource", tests, NULL, NULL);
}
