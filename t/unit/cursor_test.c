/* cursor_test.c: a cursor comes back as it went, and no other text is one. */

#include "workers/db/cursor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const hive_uuid_t some_id = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    13, 14, 15, 255 } };

static cursor_t
sample(slice_t key)
{
    return (cursor_t) { .shape = 0xfedcba9876543210u, .id = some_id,
        .key = key };
}

static void
assert_round_trip(const cursor_t *cursor)
{
    char text[CURSOR_TEXT_MAX];
    uint8_t scratch[CURSOR_BYTES_MAX];
    cursor_t decoded;
    size_t len = cursor_encode(cursor, text);

    assert_true(len <= sizeof(text));
    assert_int_equal(
        cursor_decode((slice_t) { text, len }, scratch, &decoded), 0);
    assert_int_equal(decoded.null, cursor->null);
    assert_true(decoded.shape == cursor->shape);
    assert_true(uuid_equal(&decoded.id, &cursor->id));
    assert_true(slice_equal(decoded.key, cursor->key));
}

static void
returns_what_was_put_in(void **state)
{
    static char longest[CURSOR_KEY_MAX];
    cursor_t cursor;

    (void) state;
    for (size_t len = 0; len < 10; len++) {
        cursor = sample((slice_t) { "\0\xff" "abcdefgh", len });
        assert_round_trip(&cursor);
    }
    memset(longest, 0xee, sizeof(longest));
    cursor = sample((slice_t) { longest, sizeof(longest) });
    assert_round_trip(&cursor);
    cursor = sample(SLICE_NONE);
    cursor.null = 1;
    assert_round_trip(&cursor);
}

static void
is_safe_in_a_query_string(void **state)
{
    char text[CURSOR_TEXT_MAX];
    cursor_t cursor = sample(SLICE("\xfb\xff\xbf name"));
    size_t len = cursor_encode(&cursor, text);

    (void) state;
    for (size_t i = 0; i < len; i++) {
        assert_non_null(memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
            "abcdefghijklmnopqrstuvwxyz0123456789-_", text[i], 64));
    }
}

static void
refuses_every_change_of_a_character(void **state)
{
    char text[CURSOR_TEXT_MAX];
    uint8_t scratch[CURSOR_BYTES_MAX];
    cursor_t cursor = sample(SLICE("a name"));
    cursor_t untouched = { .shape = 77 };
    size_t len = cursor_encode(&cursor, text);

    (void) state;
    for (size_t i = 0; i < len; i++) {
        char kept = text[i];

        for (int c = 1; c < 256; c++) {
            if ((char) c == kept) {
                continue;
            }
            text[i] = (char) c;
            assert_int_equal(cursor_decode((slice_t) { text, len }, scratch,
                &untouched), -1);
        }
        text[i] = kept;
    }
    assert_true(untouched.shape == 77);
}

static void
refuses_other_lengths(void **state)
{
    static char text[CURSOR_TEXT_MAX + 1];
    uint8_t scratch[CURSOR_BYTES_MAX];
    cursor_t cursor = sample(SLICE("a name")), decoded;
    size_t len = cursor_encode(&cursor, text);

    (void) state;
    memset(text + len, 'A', sizeof(text) - len);
    for (size_t i = 0; i <= sizeof(text); i++) {
        if (i != len) {
            assert_int_equal(cursor_decode((slice_t) { text, i }, scratch,
                &decoded), -1);
        }
    }
}

static void
refuses_those_of_another_secret(void **state)
{
    char text[CURSOR_TEXT_MAX];
    uint8_t scratch[CURSOR_BYTES_MAX];
    cursor_t cursor = sample(SLICE("a name")), decoded;
    size_t len = cursor_encode(&cursor, text);

    (void) state;
    cursor_init(SLICE("another secret"));
    assert_int_equal(
        cursor_decode((slice_t) { text, len }, scratch, &decoded), -1);
    cursor_init(SLICE("the secret"));
    assert_int_equal(
        cursor_decode((slice_t) { text, len }, scratch, &decoded), 0);
}

static void
hashes_depend_on_content_and_length(void **state)
{
    (void) state;
    assert_true(cursor_hash("abc", 3) == cursor_hash("abc", 3));
    assert_true(cursor_hash("abc", 3) != cursor_hash("abd", 3));
    assert_true(cursor_hash("abc\0", 4) != cursor_hash("abc", 3));
    assert_true(cursor_hash("", 0) != cursor_hash("\0", 1));
}

static int
with_a_secret(void **state)
{
    (void) state;
    cursor_init(SLICE("the secret"));
    return 0;
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_what_was_put_in),
        cmocka_unit_test(is_safe_in_a_query_string),
        cmocka_unit_test(refuses_every_change_of_a_character),
        cmocka_unit_test(refuses_other_lengths),
        cmocka_unit_test(refuses_those_of_another_secret),
        cmocka_unit_test(hashes_depend_on_content_and_length),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("cursor", tests, with_a_secret, NULL);
}
