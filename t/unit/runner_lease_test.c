/* runner_lease_test.c: a lease's token is random, and tells how long the lease
 * is. */

#include "workers/work/runner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void
a_token_tells_its_lease(void **state)
{
    static const unsigned lengths[] = {
        LEASE_MS_MIN, 1001, 30000, 65535, 65536, 299999, LEASE_MS_MAX
    };

    (void) state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        hive_uuid_t token = lease_token_new(lengths[i]);
        value_t asked = value_int(2000);
        value_t nothing = value_null();

        assert_int_equal(lease_token_ms(&token), lengths[i]);
        assert_int_equal(runner_lease_ms(&nothing, &token), lengths[i]);
        assert_int_equal(runner_lease_ms(&asked, &token), 2000);
    }
}

static void
tokens_are_uuids_and_differ(void **state)
{
    hive_uuid_t a = lease_token_new(30000), b = lease_token_new(30000);

    (void) state;
    assert_false(uuid_equal(&a, &b));
    assert_int_equal(a.bytes[6] >> 4, 8);       /* RFC 9562: custom */
    assert_int_equal(a.bytes[8] >> 6, 2);
    assert_memory_not_equal(a.bytes, b.bytes, 6);
    assert_memory_not_equal(a.bytes + 8, b.bytes + 8, 5);
}

static void
other_uuids_have_the_usual_length(void **state)
{
    hive_uuid_t random, zero = { { 0 } }, small = lease_token_new(30000);

    (void) state;
    uuid_v4(&random);
    assert_int_equal(lease_token_ms(&random), 30000);
    assert_int_equal(lease_token_ms(&zero), 30000);
    small.bytes[13] &= 0xf0;
    small.bytes[14] = small.bytes[15] = 0;
    assert_int_equal(lease_token_ms(&small), 30000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_tells_its_lease),
        cmocka_unit_test(tokens_are_uuids_and_differ),
        cmocka_unit_test(other_uuids_have_the_usual_length),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
