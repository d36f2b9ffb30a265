/* http_allow_test.c: whom tasks of kind `http` may call. */

#include "workers/work/http_allow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static http_permit_t
find(const char *list, const char *scheme, const char *host, unsigned port)
{
    arena_t *arena = arena_new();
    const char *why = NULL;
    http_allow_t *allow = http_allow_parse(arena, list, &why);
    http_permit_t permit;

    if (allow == NULL) {
        fail_msg("%s: %s", list, why);
    }
    permit = http_allow_find(allow, (slice_t) { scheme, strlen(scheme) },
        (slice_t) { host, strlen(host) }, port);
    arena_free(arena);
    return permit;
}

static void
nobody_is_allowed_without_a_list(void **state)
{
    (void) state;
    assert_int_equal(find("", "https", "example.com", 443), HTTP_REFUSED);
    assert_int_equal(find(" , ,", "https", "example.com", 443),
        HTTP_REFUSED);
}

static void
a_host_is_that_host(void **state)
{
    const char *list = "api.Example.com, 192.0.2.7,[2001:db8::1]";

    (void) state;
    assert_int_equal(find(list, "https", "api.example.com", 443),
        HTTP_PUBLIC);
    assert_int_equal(find(list, "https", "192.0.2.7", 443), HTTP_PUBLIC);
    assert_int_equal(find(list, "https", "[2001:db8::1]", 443), HTTP_PUBLIC);
    assert_int_equal(find(list, "https", "example.com", 443), HTTP_REFUSED);
    assert_int_equal(find(list, "https", "x.api.example.com", 443),
        HTTP_REFUSED);
    assert_int_equal(find(list, "https", "api.example.com.evil.net", 443),
        HTTP_REFUSED);
    assert_int_equal(find(list, "https", "apixexample.com", 443),
        HTTP_REFUSED);
}

static void
https_unless_told_otherwise(void **state)
{
    const char *list = "a.test http://b.test https://c.test";

    (void) state;
    assert_int_equal(find(list, "http", "a.test", 80), HTTP_REFUSED);
    assert_int_equal(find(list, "http", "a.test", 443), HTTP_REFUSED);
    assert_int_equal(find(list, "http", "b.test", 80), HTTP_PUBLIC);
    assert_int_equal(find(list, "https", "b.test", 443), HTTP_REFUSED);
    assert_int_equal(find(list, "https", "c.test", 443), HTTP_PUBLIC);
    assert_int_equal(find("*", "ftp", "a.test", 443), HTTP_REFUSED);
}

static void
a_port_is_that_port(void **state)
{
    const char *list = "a.test:8443,[::2]:99,http://b.test:8080";

    (void) state;
    assert_int_equal(find(list, "https", "a.test", 8443), HTTP_PUBLIC);
    assert_int_equal(find(list, "https", "a.test", 443), HTTP_REFUSED);
    assert_int_equal(find(list, "https", "[::2]", 99), HTTP_PUBLIC);
    assert_int_equal(find(list, "https", "[::2]", 443), HTTP_REFUSED);
    assert_int_equal(find(list, "http", "b.test", 8080), HTTP_PUBLIC);
    assert_int_equal(find("[::2:99]", "https", "[::2:99]", 443),
        HTTP_PUBLIC);
}

static void
a_domain_is_all_below_it(void **state)
{
    (void) state;
    assert_int_equal(find("*.a.test", "https", "x.a.test", 443),
        HTTP_PUBLIC);
    assert_int_equal(find("*.a.test", "https", "y.x.a.test", 443),
        HTTP_PUBLIC);
    assert_int_equal(find("*.a.test", "https", "a.test", 443), HTTP_REFUSED);
    assert_int_equal(find("*.a.test", "https", ".a.test", 443),
        HTTP_REFUSED);
    assert_int_equal(find("*.a.test", "https", "xa.test", 443),
        HTTP_REFUSED);
    assert_int_equal(find("*", "https", "anything.test", 443), HTTP_PUBLIC);
    assert_int_equal(find("*", "https", "anything.test", 444),
        HTTP_REFUSED);
}

static void
within_is_only_for_one_that_is_named(void **state)
{
    const char *list = "*, !http://127.0.0.1:9000, !db.internal";

    (void) state;
    assert_int_equal(find(list, "http", "127.0.0.1", 9000), HTTP_ANYWHERE);
    assert_int_equal(find(list, "http", "127.0.0.1", 9001), HTTP_REFUSED);
    assert_int_equal(find(list, "https", "127.0.0.1", 443), HTTP_PUBLIC);
    assert_int_equal(find(list, "https", "db.internal", 443),
        HTTP_ANYWHERE);
    assert_int_equal(find(list, "https", "other.internal", 443),
        HTTP_PUBLIC);
}

static void
what_is_no_entry_is_refused(void **state)
{
    static const char *const wrong[] = {
        "a b/c", "user@host", "a.test:0", "a.test:65536", "a.test:999999",
        "a.test:", "*.", "*x.test", "a.*.test", "!*", "!*.a.test",
        "ftp://a.test", ".a.test", "a.test.", "[::1", "[zz]", "!", ":80",
        "http://", "https://a.test/path", "a\xc3\xa9.test",
    };

    (void) state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        arena_t *arena = arena_new();
        const char *why = NULL;

        if (http_allow_parse(arena, wrong[i], &why) != NULL) {
            fail_msg("taken: %s", wrong[i]);
        }
        assert_non_null(why);
        arena_free(arena);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_allowed_without_a_list),
        cmocka_unit_test(a_host_is_that_host),
        cmocka_unit_test(https_unless_told_otherwise),
        cmocka_unit_test(a_port_is_that_port),
        cmocka_unit_test(a_domain_is_all_below_it),
        cmocka_unit_test(within_is_only_for_one_that_is_named),
        cmocka_unit_test(what_is_no_entry_is_refused),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
