/* operation_test.c: operations.def is consistent, and found by name. */

#include "common/operation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static slice_t
text(const char *s)
{
    return (slice_t) { s, strlen(s) };
}

static void
every_name_finds_its_operation(void **state)
{
    (void) state;

    for (int i = 0; i < OPERATIONS; i++) {
        assert_int_equal(operation_find(text(operations[i].name)), i);
    }
    assert_int_equal(operation_find(SLICE("project_get")),
                     OPERATION_project_get);
}

static void
other_names_find_nothing(void **state)
{
    (void) state;

    assert_int_equal(operation_find(SLICE_NONE), -1);
    assert_int_equal(operation_find(SLICE("")), -1);
    assert_int_equal(operation_find(SLICE("project_ge")), -1);
    assert_int_equal(operation_find(SLICE("project_get ")), -1);
    assert_int_equal(operation_find(SLICE("Project_get")), -1);
    assert_int_equal(operation_find(SLICE("project_get\0")), -1);
}

/* The wire has a byte for the length of the name. */
static void
every_operation_is_plausible(void **state)
{
    (void) state;

    for (int i = 0; i < OPERATIONS; i++) {
        const operation_t *op = &operations[i];

        assert_in_range(strlen(op->name), 1, 255);
        assert_int_equal(op->path[0], op->flags & OP_INTERNAL ? '\0' : '/');
        assert_non_null(method_name(op->method));
        assert_in_range(op->limit, 0, LIMIT_CLASSES - 1);
        if (op->method == METHOD_GET) {
            assert_int_equal(operation_body_max(op), 0);
        }
        if (op->flags & OP_NGINX) {
            assert_int_equal(op->method, METHOD_GET);
        }
    }
}

static void
flags_say_body_and_repeatability(void **state)
{
    (void) state;

    assert_int_equal(
        operation_body_max(&operations[OPERATION_project_create]),
        1024 * 1024);
    assert_int_equal(operation_body_max(&operations[OPERATION_auth_login]),
                     16 * 1024);
    assert_int_equal(
        operation_body_max(&operations[OPERATION_project_archive]), 0);

    assert_true(operation_repeatable(&operations[OPERATION_project_get]));
    assert_true(operation_repeatable(&operations[OPERATION_auth_login]));
    assert_false(
        operation_repeatable(&operations[OPERATION_project_create]));
    assert_false(
        operation_repeatable(&operations[OPERATION_project_delete]));
}

static void
methods_have_names(void **state)
{
    (void) state;

    assert_string_equal(method_name(METHOD_GET), "GET");
    assert_string_equal(method_name(METHOD_POST), "POST");
    assert_string_equal(method_name(METHOD_PUT), "PUT");
    assert_string_equal(method_name(METHOD_PATCH), "PATCH");
    assert_string_equal(method_name(METHOD_DELETE), "DELETE");
    assert_null(method_name((method_t) 0));
    assert_null(method_name((method_t) (METHOD_GET | METHOD_POST)));
    assert_null(method_name((method_t) 32));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_finds_its_operation),
        cmocka_unit_test(other_names_find_nothing),
        cmocka_unit_test(every_operation_is_plausible),
        cmocka_unit_test(flags_say_body_and_repeatability),
        cmocka_unit_test(methods_have_names),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
