/* route_test.c: a path leads to its operation and to no other, whatever its
 * encoding tries. */

#include "common/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ID "019fab00-1234-7fed-8001-020304c5d6ff"

static const operation_t shop[] = {
    { "root", METHOD_GET, "/", ACCESS_OPEN, LIMIT_READ, 0 },
    { "list", METHOD_GET, "/items", ACCESS_OPEN, LIMIT_READ, 0 },
    { "get", METHOD_GET, "/items/{id:uuid}", ACCESS_OPEN, LIMIT_READ, 0 },
    { "put", METHOD_PUT, "/items/{name}", ACCESS_OPEN, LIMIT_READ, 0 },
    { "search", METHOD_GET, "/items/search", ACCESS_OPEN, LIMIT_READ, 0 },
    { "deep", METHOD_GET, "/items/search/{x}/{y:uuid}/{z}/{w}",
      ACCESS_OPEN, LIMIT_READ, 0 },
    { "parts", METHOD_GET, "/items/{id}/parts/{part}", ACCESS_OPEN,
      LIMIT_READ, 0 },
    { "new", METHOD_POST, "/items/new/parts", ACCESS_OPEN, LIMIT_READ, 0 },
};

static route_table_t *
shop_table(void)
{
    route_table_t *table = route_table_new(shop,
                                           sizeof(shop) / sizeof(shop[0]));

    assert_non_null(table);
    return table;
}

/* Matches an exact copy, so that a sanitizer sees a read past the end; the
 * copy stays until the next call. */
static route_status_t
match(const route_table_t *table, unsigned method, const char *path,
    size_t len, route_match_t *out)
{
    static char *copy;

    free(copy);
    copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy + 1, path, len);
    memset(out, 0xa5, sizeof(*out));
    return route_match(table, method, copy + 1, len, out);
}

#define GET(path) \
    match(table, METHOD_GET, path, sizeof(path) - 1, &out)

#define PARAM(i, text) \
    assert_true(slice_equal(out.params[i], SLICE(text)))

/* The path of an operation with its parameters filled in. */
static void
fill(const char *path, char *out)
{
    while (*path != '\0') {
        if (*path == '{') {
            out = stpcpy(out, ID);
            path = strchr(path, '}') + 1;
        } else {
            *out++ = *path++;
        }
    }
    *out = '\0';
}

static void
every_operation_of_the_api_is_reached(void **state)
{
    route_table_t *table = route_table_new(operations, OPERATIONS);
    route_match_t out_of_none;

    (void) state;
    assert_non_null(table);

    for (int i = 0; i < OPERATIONS; i++) {
        const operation_t *op = &operations[i];
        route_match_t out;
        char path[256];
        unsigned missing;

        if (op->flags & OP_INTERNAL) {
            continue;
        }
        fill(op->path, path);
        assert_int_equal(match(table, op->method, path, strlen(path), &out),
                         ROUTE_OK);
        assert_ptr_equal(out.op, op);
        assert_true(out.allow & op->method);
        for (unsigned k = 0; k < out.nparams; k++) {
            assert_true(slice_equal(out.params[k], SLICE(ID)));
        }

        missing = ~out.allow & 31;
        missing &= -missing;
        assert_int_equal(match(table, missing, path, strlen(path), &out),
                         ROUTE_METHOD);
        assert_null(out.op);
        assert_true(out.allow & op->method);
        assert_int_equal(match(table, 0, path, strlen(path), &out),
                         ROUTE_METHOD);
    }

    /* what nginx asks for itself nobody else can */
    assert_int_equal(match(table, METHOD_POST, "", 0, &out_of_none),
                     ROUTE_NOT_FOUND);
    assert_int_equal(match(table, METHOD_POST, "/", 1, &out_of_none),
                     ROUTE_NOT_FOUND);
    route_table_free(table);
}

static void
literals_win_and_parameters_catch(void **state)
{
    route_table_t *table = shop_table();
    route_match_t out;

    (void) state;

    assert_int_equal(GET("/"), ROUTE_OK);
    assert_string_equal(out.op->name, "root");
    assert_int_equal(GET("/items"), ROUTE_OK);
    assert_string_equal(out.op->name, "list");
    assert_int_equal(GET("/items/search"), ROUTE_OK);
    assert_string_equal(out.op->name, "search");
    assert_int_equal(out.nparams, 0);
    assert_int_equal(GET("/items/" ID), ROUTE_OK);
    assert_string_equal(out.op->name, "get");

    /* "new" and "search" begin longer literals, yet are ids here. */
    assert_int_equal(GET("/items/new/parts/7"), ROUTE_OK);
    assert_string_equal(out.op->name, "parts");
    assert_int_equal(out.nparams, 2);
    PARAM(0, "new");
    PARAM(1, "7");
    assert_int_equal(GET("/items/search/parts/7"), ROUTE_OK);
    assert_string_equal(out.op->name, "parts");
    PARAM(0, "search");

    assert_int_equal(GET("/items/search/a/" ID "/c/d"), ROUTE_OK);
    assert_int_equal(out.nparams, 4);
    PARAM(0, "a");
    PARAM(1, ID);
    PARAM(2, "c");
    PARAM(3, "d");

    route_table_free(table);
}

static void
the_first_fault_is_told(void **state)
{
    route_table_t *table = shop_table();
    route_match_t out;

    (void) state;

    assert_int_equal(GET("/items/7"), ROUTE_BAD_UUID);
    assert_string_equal(out.bad_param, "id");
    assert_null(out.op);
    assert_int_equal(GET("/items/search/a/b/c/d"), ROUTE_BAD_UUID);
    assert_string_equal(out.bad_param, "y");

    /* What must be a uuid to GET is any name to PUT. */
    assert_int_equal(match(table, METHOD_PUT, "/items/7", 8, &out),
                     ROUTE_OK);
    assert_string_equal(out.op->name, "put");
    PARAM(0, "7");
    assert_int_equal(out.allow, METHOD_GET | METHOD_PUT);

    assert_int_equal(match(table, METHOD_DELETE, "/items/7", 8, &out),
                     ROUTE_METHOD);
    assert_int_equal(out.allow, METHOD_GET | METHOD_PUT);
    assert_null(out.bad_param);
    assert_int_equal(match(table, 0, "/items/7", 8, &out), ROUTE_METHOD);
    assert_int_equal(match(table, 0, "/nothing", 8, &out), ROUTE_NOT_FOUND);
    assert_int_equal(match(table, 0, "/%", 2, &out), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/new/parts"), ROUTE_METHOD);
    assert_int_equal(out.allow, METHOD_POST);

    route_table_free(table);
}

static void
nothing_is_forgiven(void **state)
{
    route_table_t *table = shop_table();
    route_match_t out;

    (void) state;

    assert_int_equal(GET(""), ROUTE_NOT_FOUND);
    assert_int_equal(GET("items"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("*"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("//"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/items/"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("//items"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/items//search"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/items/search/"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/Items"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/item"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/itemss"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/./items"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/x/../items"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/items/./parts/7"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/items/../parts/7"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/items/%2e%2E/parts/7"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/items/a/parts/%2e"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/items/.../parts/.x"), ROUTE_OK);
    assert_int_equal(out.nparams, 2);

    route_table_free(table);
}

static void
segments_are_decoded_one_by_one(void **state)
{
    route_table_t *table = shop_table();
    route_match_t out;

    (void) state;

    assert_int_equal(GET("/%69tem%73"), ROUTE_OK);
    assert_string_equal(out.op->name, "list");
    assert_int_equal(GET("/items/a%2Fb/parts/c%2fd"), ROUTE_OK);
    assert_string_equal(out.op->name, "parts");
    PARAM(0, "a/b");
    PARAM(1, "c/d");
    assert_int_equal(GET("/items%2Fsearch"), ROUTE_NOT_FOUND);
    assert_int_equal(GET("/items/a%20b+c/parts/%C3%A9"), ROUTE_OK);
    PARAM(0, "a b+c");
    PARAM(1, "\xc3\xa9");
    assert_int_equal(GET("/items/\xc3\xa9/parts/%25%37"), ROUTE_OK);
    PARAM(0, "\xc3\xa9");
    PARAM(1, "%7");
    assert_int_equal(
        GET("/items/019fab00%2d1234-7fed-8001-020304c5d6ff"), ROUTE_OK);
    PARAM(0, ID);

    route_table_free(table);
}

static void
broken_encoding_is_refused_wherever_it_is(void **state)
{
    route_table_t *table = shop_table();
    route_match_t out;

    (void) state;

    assert_int_equal(GET("/items/%"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%4"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%4/parts/7"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%g0"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%0g"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%00"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/a\0b"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%0d%0aX:"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/\x1f"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%7f"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/\x7f"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%ff"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/\xff"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%c0%af"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/%ed%a0%80"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/items/\xc3/\xa9"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("/nothing/%"), ROUTE_BAD_ENCODING);
    assert_int_equal(GET("//%"), ROUTE_BAD_ENCODING);

    route_table_free(table);
}

static void
long_paths_are_not_found(void **state)
{
    route_table_t *table = shop_table();
    char path[3 * ROUTE_PATH_MAX];
    route_match_t out;

    (void) state;

    for (size_t len = ROUTE_PATH_MAX - 1; len < ROUTE_PATH_MAX + 3; len++) {
        memset(path, 'x', sizeof(path));
        memcpy(path, "/items/", 7);
        assert_int_equal(match(table, METHOD_PUT, path, len, &out),
                         len <= ROUTE_PATH_MAX ? ROUTE_OK : ROUTE_NOT_FOUND);
    }

    for (size_t i = 0; i < sizeof(path); i++) {
        path[i] = i % 2 ? 'x' : '/';
    }
    for (size_t len = 1; len <= ROUTE_PATH_MAX; len++) {
        assert_int_equal(match(table, METHOD_POST, path, len, &out),
                         len == 1 ? ROUTE_METHOD : ROUTE_NOT_FOUND);
    }

    /* Everything of the largest path goes through the scratch. */
    for (size_t i = 0; i < 1017; i += 3) {
        memcpy(path + 7 + i, "%c3%a9" + i % 2 * 3, 3);
    }
    memcpy(path, "/items/", 7);
    assert_int_equal(match(table, METHOD_PUT, path, 7 + 1014, &out),
                     ROUTE_OK);
    assert_int_equal(out.params[0].len, 1014 / 3);

    route_table_free(table);
}

static int
table_refused(const char *first, const char *second)
{
    operation_t ops[] = {
        { "a", METHOD_GET, first, ACCESS_OPEN, LIMIT_READ, 0 },
        { "b", METHOD_GET, second, ACCESS_OPEN, LIMIT_READ, 0 },
    };
    route_table_t *table = route_table_new(ops, 2);

    route_table_free(table);
    return table == NULL;
}

static void
contradicting_operations_are_refused(void **state)
{
    operation_t two = { "a", (method_t) 3, "/x", ACCESS_OPEN, LIMIT_READ,
                        0 };

    (void) state;

    assert_true(table_refused("/a", "/a"));
    assert_true(table_refused("/a/{x}", "/a/{y}"));
    assert_true(table_refused("/a/{x}", "/a/{x:uuid}"));
    assert_true(table_refused("/ok", "bad"));
    assert_true(table_refused("/ok", ""));
    assert_true(table_refused("/ok", "/bad/"));
    assert_true(table_refused("/ok", "//bad"));
    assert_true(table_refused("/ok", "/{x"));
    assert_true(table_refused("/ok", "/{}"));
    assert_true(table_refused("/ok", "/{a}/{b}/{c}/{d}/{e}"));
    assert_true(table_refused("/ok", "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7"));
    assert_false(table_refused("/ok", "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6"));
    assert_false(table_refused("/a", "/{a}"));
    assert_null(route_table_new(&two, 1));
    route_table_free(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_of_the_api_is_reached),
        cmocka_unit_test(literals_win_and_parameters_catch),
        cmocka_unit_test(the_first_fault_is_told),
        cmocka_unit_test(nothing_is_forgiven),
        cmocka_unit_test(segments_are_decoded_one_by_one),
        cmocka_unit_test(broken_encoding_is_refused_wherever_it_is),
        cmocka_unit_test(long_paths_are_not_found),
        cmocka_unit_test(contradicting_operations_are_refused),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
