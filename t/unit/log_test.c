/* Promises of log.h: one valid JSON object a line whatever is logged, at
 * most 4 KiB, and never a wait for whoever reads. */

#include "workers/runtime/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int ends[2], kept;
static char text[16384];

/* Standard error is a pipe while a line is written. */
static int
setup(void **state)
{
    (void) state;
    assert_int_equal(pipe(ends), 0);
    kept = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    log_set_level(LOG_LEVEL_INFO);
    log_set_context(NULL);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(ends[0]);
    close(ends[1]);
    return 0;
}

/* What has been written since, as one object. */
static json_t *
written(void)
{
    ssize_t len = read(ends[0], text, sizeof(text) - 1);
    json_t *object;

    assert_in_range(len, 1, 4096);
    text[len] = '\0';
    assert_int_equal(text[len - 1], '\n');
    assert_ptr_equal(strchr(text, '\n'), text + len - 1);
    object = json_loads(text, 0, NULL);
    assert_non_null(object);
    return object;
}

static const char *
member(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void
a_line_is_an_object(void **state)
{
    json_t *object;

    (void) state;
    log_warn("connect failed: %s", "no route");
    object = written();
    assert_string_equal(member(object, "level"), "warn");
    assert_string_equal(member(object, "msg"), "connect failed: no route");
    assert_int_equal(json_integer_value(json_object_get(object, "pid")),
        getpid());
    assert_int_equal(strlen(member(object, "time")), 24);
    assert_null(json_object_get(object, "request_id"));
    json_decref(object);
}

static void
levels_below_are_silent(void **state)
{
    log_level_t level;

    (void) state;
    log_debug("not seen");
    assert_int_equal(read(ends[0], text, sizeof(text)), -1);
    assert_int_equal(log_level_parse("debug", &level), 0);
    log_set_level(level);
    log_debug("seen");
    json_decref(written());
    assert_int_equal(log_level_parse("loud", &level), -1);
}

static void
anything_can_be_logged(void **state)
{
    json_t *object;

    (void) state;
    log_error("%s", "\"q\" \\ \n\r\t\x01\x7f caf\xc3\xa9 \xff\xc0\x80"
        "\xed\xa0\x80 \xf0\x9f\x90\x9d \xe2\x82");
    object = written();
    assert_string_equal(member(object, "msg"), "\"q\" \\ \n\r\t\x01\x7f"
        " caf\xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xf0\x9f\x90\x9d "
        "\xef\xbf\xbd\xef\xbf\xbd");
    json_decref(object);
}

static void
long_lines_are_cut(void **state)
{
    static char plain[9000], control[9000];
    json_t *object;

    (void) state;
    memset(plain, 'x', sizeof(plain) - 1);
    log_info("%s", plain);
    object = written();
    assert_in_range(strlen(member(object, "msg")), 3000, 4000);
    json_decref(object);
    memset(control, 1, sizeof(control) - 1);
    log_info("%s", control);
    json_decref(written());
}

static const char *
one_request(void)
{
    return "0123456789abcdef";
}

static void
the_request_is_named(void **state)
{
    json_t *object;

    (void) state;
    log_set_context(one_request);
    log_info("hello");
    object = written();
    assert_string_equal(member(object, "request_id"), "0123456789abcdef");
    json_decref(object);
}

static void
a_full_pipe_drops_and_counts(void **state)
{
    unsigned long before = log_dropped();
    unsigned long dropped;
    json_t *object;
    int i;

    (void) state;
    for (i = 0; i < 2000; i++) {
        log_info("filling the pipe with line %d %0100d", i, 0);
    }
    dropped = log_dropped() - before;
    assert_in_range(dropped, 1000, 1999);
    while (read(ends[0], text, sizeof(text)) > 0) {
        continue;
    }
    log_info("room again");
    object = written();
    assert_int_equal(json_integer_value(json_object_get(object, "dropped")),
        dropped);
    json_decref(object);
    log_info("told once");
    object = written();
    assert_null(json_object_get(object, "dropped"));
    json_decref(object);
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_line_is_an_object),
        T(levels_below_are_silent),
        T(anything_can_be_logged),
        T(long_lines_are_cut),
        T(the_request_is_named),
        T(a_full_pipe_drops_and_counts)
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
