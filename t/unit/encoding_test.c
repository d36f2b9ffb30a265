/* encoding_test.c: base64url has one text for one run of bytes, and percent
 * escapes are whole or refused. */

#include "common/base64url.h"
#include "common/percent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
base64url_has_the_vectors_of_rfc_4648(void **state)
{
    static const char *const vectors[][2] = {
        { "", "" }, { "f", "Zg" }, { "fo", "Zm8" }, { "foo", "Zm9v" },
        { "foob", "Zm9vYg" }, { "fooba", "Zm9vYmE" },
        { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xfe", "-__-" }
    };

    (void) state;

    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const char *plain = vectors[i][0];
        const char *coded = vectors[i][1];
        char out[16];

        assert_int_equal(base64url_encode(plain, strlen(plain), out),
                         strlen(coded));
        assert_memory_equal(out, coded, strlen(coded));
        assert_int_equal(base64url_decode(coded, strlen(coded), out),
                         strlen(plain));
        assert_memory_equal(out, plain, strlen(plain));
    }
}

/* Every text of up to three characters that decodes is the one that its
 * bytes encode to; room is exactly what the macros say. */
static void
base64url_is_one_to_one(void **state)
{
    unsigned accepted[4] = { 0 };

    (void) state;

    for (unsigned bits = 0; bits < 1u << 24; bits += 1 + (bits > 1u << 16)) {
        char text[3] = { (char) bits, (char) (bits >> 8),
                         (char) (bits >> 16) };
        size_t len = bits < 256 ? 1 : bits < 65536 ? 2 : 3;
        char bytes[2], again[3];
        ssize_t n = base64url_decode(text, len, bytes);

        if (n >= 0) {
            accepted[len]++;
            assert_int_equal(n, BASE64URL_DECODED(len));
            assert_int_equal(base64url_encode(bytes, (size_t) n, again),
                             len);
            assert_memory_equal(again, text, len);
        }
    }

    assert_int_equal(accepted[1], 0);
    assert_int_equal(accepted[2], 256);
    assert_true(accepted[3] > 1000);
}

static void
base64url_round_trips(void **state)
{
    unsigned char plain[100], back[100];
    char text[BASE64URL_ENCODED(100)];

    (void) state;

    for (size_t len = 0; len <= sizeof(plain); len++) {
        size_t n;

        for (size_t i = 0; i < len; i++) {
            plain[i] = (unsigned char) (i * 37 + len * 11);
        }
        n = base64url_encode(plain, len, text);
        assert_int_equal(n, BASE64URL_ENCODED(len));
        assert_int_equal(base64url_decode(text, n, back), len);
        assert_memory_equal(plain, back, len);
    }
}

static ssize_t
unescape(const char *text, char *out)
{
    return percent_decode(text, strlen(text), out);
}

static void
escapes_are_whole_or_refused(void **state)
{
    char out[32];

    (void) state;

    assert_int_equal(unescape("", out), 0);
    assert_int_equal(unescape("a+b", out), 3);
    assert_memory_equal(out, "a+b", 3);
    assert_int_equal(unescape("%41%2f%2F%00%ff", out), 5);
    assert_memory_equal(out, "A//\0\xff", 5);
    assert_int_equal(unescape("%2541", out), 3);
    assert_memory_equal(out, "%41", 3);

    assert_int_equal(unescape("%", out), -1);
    assert_int_equal(unescape("%4", out), -1);
    assert_int_equal(unescape("a%4", out), -1);
    assert_int_equal(unescape("%%41", out), -1);
    assert_int_equal(unescape("%g1", out), -1);
    assert_int_equal(unescape("%1g", out), -1);
    assert_int_equal(unescape("% 1", out), -1);
    assert_int_equal(unescape("%+1", out), -1);

    strcpy(out, "x%20y%2Bz");           /* in place */
    assert_int_equal(percent_decode(out, 9, out), 5);
    assert_memory_equal(out, "x y+z", 5);
}

static void
hexadecimal_digits_are_these(void **state)
{
    unsigned digits = 0;

    (void) state;

    for (int c = 0; c < 256; c++) {
        char text[2] = { (char) c, '\0' };
        char *end;
        long value = strtol(text, &end, 16);

        if (end != text) {
            assert_int_equal(hex_digit((char) c), value);
            digits++;
        } else {
            assert_true(hex_digit((char) c) > 15);
        }
    }
    assert_int_equal(digits, 22);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64url_has_the_vectors_of_rfc_4648),
        cmocka_unit_test(base64url_is_one_to_one),
        cmocka_unit_test(base64url_round_trips),
        cmocka_unit_test(escapes_are_whole_or_refused),
        cmocka_unit_test(hexadecimal_digits_are_these),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
