/* json_test.c: JSON written from values and from binary rows. Rows are made
 * with libpq alone; no server is needed. */

#include "workers/db/db.h"
#include "workers/db/internal.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static arena_t *arena;

static int
setup(void **state)
{
    (void) state;
    arena = arena_new();
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    arena_free(arena);
    return 0;
}

static const char *
text_of(buf_t *buf)
{
    buf_putc(buf, '\0');
    return buf->data;
}

static const char *
string(slice_t text)
{
    buf_t buf;

    buf_init(&buf, arena, 1);
    json_put_string(&buf, text);
    return text_of(&buf);
}

static const char *
value(value_t v)
{
    buf_t buf;

    buf_init(&buf, arena, 1);
    json_put_value(&buf, &v);
    return text_of(&buf);
}

static const char *
timestamp(int64_t us)
{
    return value(value_time(us));
}

static void
strings(void **state)
{
    (void) state;
    assert_string_equal(string(SLICE("")), "\"\"");
    assert_string_equal(string(SLICE_NONE), "\"\"");
    assert_string_equal(string(SLICE("plain")), "\"plain\"");
    assert_string_equal(string(SLICE("a\"b\\c/d")), "\"a\\\"b\\\\c/d\"");
    assert_string_equal(string(SLICE("\b\t\n\f\r")),
                        "\"\\b\\t\\n\\f\\r\"");
    assert_string_equal(string(SLICE("\0\1\x1f\x7f")),
                        "\"\\u0000\\u0001\\u001f\x7f\"");
    assert_string_equal(string(SLICE("gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x9d")),
                        "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x9d\"");
}

/* Every byte at every place around the 16-byte steps, against a writer too
 * simple to be wrong. */
static void
strings_at_every_offset(void **state)
{
    char in[70], want[70 * 6 + 3];
    size_t len, at;
    int c;

    (void) state;
    for (len = 1; len < sizeof(in); len += 3) {
        for (at = 0; at < len; at++) {
            for (c = 0; c < 256; c += c < 96 ? 1 : 53) {
                size_t i, n = 0;

                memset(in, 'x', len);
                in[at] = (char) c;
                want[n++] = '"';
                for (i = 0; i < len; i++) {
                    unsigned char b = (unsigned char) in[i];
                    const char *s = strchr("\"\"\\\\\bb\tt\nn\ff\rr", b);

                    if (b == '"' || b == '\\') {
                        n += (size_t) sprintf(want + n, "\\%c", b);
                    } else if (b != 0 && s != NULL && b < 32) {
                        n += (size_t) sprintf(want + n, "\\%c", s[1]);
                    } else if (b < 32) {
                        n += (size_t) sprintf(want + n, "\\u%04x", b);
                    } else {
                        want[n++] = (char) b;
                    }
                }
                want[n++] = '"';
                want[n] = '\0';
                assert_string_equal(string((slice_t) { in, len }), want);
            }
        }
        arena_reset(arena);
    }
}

static void
times(void **state)
{
    (void) state;
    assert_string_equal(timestamp(0), "\"1970-01-01T00:00:00.000Z\"");
    assert_string_equal(timestamp(1), "\"1970-01-01T00:00:00.000001Z\"");
    assert_string_equal(timestamp(-1), "\"1969-12-31T23:59:59.999999Z\"");
    assert_string_equal(timestamp(120), "\"1970-01-01T00:00:00.00012Z\"");
    assert_string_equal(timestamp(1200), "\"1970-01-01T00:00:00.0012Z\"");
    assert_string_equal(timestamp(123000), "\"1970-01-01T00:00:00.123Z\"");
    assert_string_equal(timestamp(951782400000000),
                        "\"2000-02-29T00:00:00.000Z\"");
    assert_string_equal(timestamp(4107542399999999),
                        "\"2100-02-28T23:59:59.999999Z\"");
    assert_string_equal(timestamp(253402300799999999),
                        "\"9999-12-31T23:59:59.999999Z\"");
    assert_string_equal(timestamp(253402300800000000), "null");
    assert_string_equal(timestamp(-62167219200000000),
                        "\"0000-01-01T00:00:00.000Z\"");
    assert_string_equal(timestamp(INT64_MAX), "null");
    assert_string_equal(timestamp(INT64_MIN), "null");
}

/* The calendar against the C library's, over 400 years and more. */
static void
days(void **state)
{
    int64_t day;

    (void) state;
    for (day = -719528; day < 2932897; day += 17) {
        time_t seconds = (time_t) (day * 86400 + 3723);
        struct tm tm;
        char want[64];

        gmtime_r(&seconds, &tm);
        snprintf(want, sizeof(want), "\"%04d-%02d-%02dT01:02:03.000Z\"",
                 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
        assert_string_equal(timestamp((int64_t) seconds * 1000000), want);
        if (day % 1000 == 0) {
            arena_reset(arena);
        }
    }
}

static void
values(void **state)
{
    static const slice_t texts[] = { { "a", 1 }, { "b\"", 2 } };
    hive_uuid_t uuid;

    (void) state;
    assert_string_equal(value(value_null()), "null");
    assert_string_equal(value(value_bool(1)), "true");
    assert_string_equal(value(value_bool(0)), "false");
    assert_string_equal(value(value_int(0)), "0");
    assert_string_equal(value(value_int(-7)), "-7");
    assert_string_equal(value(value_int(1000)), "1000");
    assert_string_equal(value(value_int(INT64_MAX)), "9223372036854775807");
    assert_string_equal(value(value_int(INT64_MIN)), "-9223372036854775808");
    assert_string_equal(value(value_float(0.1)), "0.1");
    assert_string_equal(value(value_float(1.0 / 3)), "0.333333333333333" "3");
    assert_string_equal(value(value_float(1e300 * 1e300)), "null");
    assert_string_equal(value(value_string("x\ny")), "\"x\\ny\"");
    assert_string_equal(value(value_json(SLICE("{\"a\": 1}"))), "{\"a\": 1}");
    assert_string_equal(value(value_bytes(SLICE(""))), "\"\"");
    assert_string_equal(value(value_bytes(SLICE("f"))), "\"Zg==\"");
    assert_string_equal(value(value_bytes(SLICE("fo"))), "\"Zm8=\"");
    assert_string_equal(value(value_bytes(SLICE("foobar"))), "\"Zm9vYmFy\"");
    assert_int_equal(
        uuid_parse("0190A5C1-0000-7abc-8def-0123456789ab", 36, &uuid), 0);
    assert_string_equal(value(value_uuid(uuid)),
                        "\"0190a5c1-0000-7abc-8def-0123456789ab\"");
    assert_string_equal(value(value_texts(texts, 2)), "[\"a\",\"b\\\"\"]");
}

static void
documents(void **state)
{
    static const char *const texts[] = {
        "{}", "[]", "null", "true", "-7", "0.1", "0.7", "1.0", "1e+300",
        "1234567890.125", "\"\"", "\"a\\n\\\"\u20ac\"",
        "{\"b\":[1,2.5,{\"a\":null}],\"a\":false,\"\":\"x\"}",
    };

    (void) state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        json_t *json = json_loads(texts[i], JSON_DECODE_ANY, NULL);
        buf_t buf;

        assert_non_null(json);
        buf_init(&buf, arena, 1);
        json_put_document(&buf, json);
        assert_string_equal(text_of(&buf), texts[i]);
        json_decref(json);
    }
}

/* ---- rows ---- */

typedef struct {
    const char *name;
    unsigned oid;
    const char *data;
    int len;                   /* -1: null */
} cell_t;

static PGresult *
row_of(const cell_t *cells, int n)
{
    PGresult *pg = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc attributes[16];
    int i;

    memset(attributes, 0, sizeof(attributes));
    for (i = 0; i < n; i++) {
        attributes[i].name = (char *) (uintptr_t) cells[i].name;
        attributes[i].typid = cells[i].oid;
        attributes[i].format = 1;
    }
    assert_true(PQsetResultAttrs(pg, n, attributes));
    for (i = 0; i < n; i++) {
        assert_true(PQsetvalue(pg, 0, i, (char *) (uintptr_t) cells[i].data,
                               cells[i].len));
    }
    return pg;
}

#define TEXTS_AB "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\3\0\0\0\1" \
    "\0\0\0\1a\xff\xff\xff\xff\0\0\0\2b\""

static const cell_t cells[] = {
    { "id", 2950, "\1\x90\xa5\xc1\0\0\x7a\xbc\x8d\xef\1\x23\x45\x67\x89\xab",
      16 },
    { "_etag", 25, "7", 1 },
    { "name", 25, "a \"bee\"", 7 },
    { "count", 20, "\xff\xff\xff\xff\xff\xff\xff\xfe", 8 },
    { "small", 21, "\1\0", 2 },
    { "at", 1184, "\0\0\0\0\0\0\0\0", 8 },
    { "doc", 3802, "\1{\"k\": [1]}", 11 },
    { "on", 16, "\1", 1 },
    { "half", 701, "\x3f\xe0\0\0\0\0\0\0", 8 },
    { "raw", 17, "foo", 3 },
    { "tags", 1009, TEXTS_AB, sizeof(TEXTS_AB) - 1 },
    { "none", 25, NULL, -1 },
    { "odd\"name", 25, "", 0 }
};

#define CELLS ((int) (sizeof(cells) / sizeof(cells[0])))

static const db_result_t *
result_of_cells(const cell_t *of, int n)
{
    static statement_t statement;
    PGresult *pg = row_of(of, n);
    char why[200] = "";
    shape_t *shape = statement_shape(&statement, pg, why, sizeof(why));
    db_result_t *result;

    assert_string_equal(why, "");
    assert_non_null(shape);
    result = result_new(arena, pg, shape);
    shape_release(statement.shape);
    statement.shape = NULL;
    return result;
}

static void
rows(void **state)
{
    const db_result_t *result = result_of_cells(cells, CELLS);
    db_row_t row = db_row_at(result, 0);
    buf_t buf;

    (void) state;
    buf_init(&buf, arena, 16);
    db_json_rows(&buf, result);
    assert_string_equal(text_of(&buf),
        "[{\"id\":\"0190a5c1-0000-7abc-8def-0123456789ab\","
        "\"name\":\"a \\\"bee\\\"\",\"count\":-2,\"small\":256,"
        "\"at\":\"2000-01-01T00:00:00.000Z\",\"doc\":{\"k\": [1]},"
        "\"on\":true,\"half\":0.5,\"raw\":\"Zm9v\","
        "\"tags\":[\"a\",null,\"b\\\"\"],\"none\":null,"
        "\"odd\\\"name\":\"\"}]");

    assert_int_equal(db_int(&row, "count"), -2);
    assert_int_equal(db_int(&row, "small"), 256);
    assert_true(db_bool(&row, "on"));
    assert_true(slice_equal(db_text(&row, "_etag"), SLICE("7")));
    assert_true(slice_equal(db_text(&row, "doc"), SLICE("{\"k\": [1]}")));
    assert_true(slice_equal(db_text(&row, "none"), SLICE("")));
    assert_int_equal(db_time(&row, "at"), 946684800000000);
    assert_int_equal(db_uuid(&row, "id").bytes[15], 0xab);
    assert_int_equal(db_column(result, "nowhere"), -1);
    assert_true(db_is_null(&row, db_column(result, "none")));
}

/* Arrays that lie about their size are read no further than they go. */
static void
broken_arrays(void **state)
{
    const size_t whole = sizeof(TEXTS_AB) - 1;
    size_t len;

    (void) state;
    for (len = 0; len < whole; len++) {
        char *copy = malloc(len + 1);
        array_reader_t reader;
        slice_t item;
        int n = 0;

        memcpy(copy, TEXTS_AB, len);
        array_reader_init(&reader, (slice_t) { copy, len });
        while (array_reader_next(&reader, &item) != 0) {
            n++;
        }
        assert_in_range(n, 0, 2);
        free(copy);
    }
}

static void
unknown_types_are_refused(void **state)
{
    static const cell_t amount[] = { { "amount", 1700, "x", 1 } };
    statement_t statement;
    PGresult *pg = row_of(amount, 1);
    char why[200] = "";

    (void) state;
    memset(&statement, 0, sizeof(statement));
    assert_null(statement_shape(&statement, pg, why, sizeof(why)));
    assert_non_null(strstr(why, "\"amount\""));
    PQclear(pg);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(strings, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_at_every_offset, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(times, setup, teardown),
        cmocka_unit_test_setup_teardown(days, setup, teardown),
        cmocka_unit_test_setup_teardown(values, setup, teardown),
        cmocka_unit_test_setup_teardown(documents, setup, teardown),
        cmocka_unit_test_setup_teardown(rows, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_arrays, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_types_are_refused, setup,
                                        teardown)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
