/* utf8_test.c: exactly the well-formed sequences of RFC 3629 pass, as a whole
 * and in pieces. */

#include "common/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Judges an exact copy, so that a sanitizer sees a read past the end. */
static int
valid(const char *data, size_t len)
{
    char *copy = malloc(len + 1);
    int verdict;

    assert_non_null(copy);
    memcpy(copy + 1, data, len);
    verdict = utf8_valid(copy + 1, len);
    free(copy);
    return verdict;
}

#define VALID(literal)   assert_true(valid(literal, sizeof(literal) - 1))
#define INVALID(literal) assert_false(valid(literal, sizeof(literal) - 1))

/* The definition itself, as slow as it likes: decode, then compare with the
 * shortest form. */
static size_t
encode(uint32_t code, unsigned char out[4])
{
    if (code < 0x80) {
        out[0] = (unsigned char) code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char) (0xc0 | code >> 6);
        out[1] = (unsigned char) (0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (unsigned char) (0xe0 | code >> 12);
        out[1] = (unsigned char) (0x80 | (code >> 6 & 63));
        out[2] = (unsigned char) (0x80 | (code & 63));
        return 3;
    }
    out[0] = (unsigned char) (0xf0 | code >> 18);
    out[1] = (unsigned char) (0x80 | (code >> 12 & 63));
    out[2] = (unsigned char) (0x80 | (code >> 6 & 63));
    out[3] = (unsigned char) (0x80 | (code & 63));
    return 4;
}

static int
well_formed(const char *data, size_t len)
{
    const unsigned char *s = (const unsigned char *) data;

    while (len > 0) {
        size_t n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
        uint32_t code = n == 1 ? s[0] : s[0] & (0x7fu >> n);
        unsigned char again[4];

        if (n > len) {
            return 0;
        }
        for (size_t i = 1; i < n; i++) {
            code = code << 6 | (s[i] & 63);
        }
        if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)
            || encode(code, again) != n || memcmp(again, s, n) != 0)
        {
            return 0;
        }
        s += n;
        len -= n;
    }

    return 1;
}

static void
every_character_passes_surrogates_do_not(void **state)
{
    (void) state;

    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        unsigned char bytes[4];
        size_t len = encode(code, bytes);
        int surrogate = code >= 0xd800 && code <= 0xdfff;

        if (utf8_valid((char *) bytes, len) == surrogate) {
            fail_msg("U+%04X", (unsigned) code);
        }
    }

    for (uint32_t code = 0x110000; code < 0x200000; code += 0x101) {
        unsigned char bytes[4];

        assert_false(utf8_valid((char *) bytes, encode(code, bytes)));
    }
}

/* All one and two byte texts, and how many of them are right. */
static void
short_texts_are_counted(void **state)
{
    unsigned one = 0;
    unsigned two = 0;

    (void) state;

    for (unsigned a = 0; a < 256; a++) {
        char text[2] = { (char) a, 0 };

        one += utf8_valid(text, 1) != 0;
        for (unsigned b = 0; b < 256; b++) {
            text[1] = (char) b;
            two += utf8_valid(text, 2) != 0;
        }
    }

    assert_int_equal(one, 128);
    assert_int_equal(two, 128 * 128 + 0x800 - 0x80);
}

static void
malformed_is_refused(void **state)
{
    (void) state;

    VALID("");
    VALID("plain");
    VALID("na\xc3\xafve caf\xc3\xa9, \xe2\x82\xac 5, \xf0\x9f\x90\x9d");
    VALID("a\0b");

    INVALID("\x80");
    INVALID("\xc0\x80");                /* overlong NUL */
    INVALID("\xc1\xbf");
    INVALID("\xe0\x80\xaf");
    INVALID("\xe0\x9f\xbf");
    INVALID("\xf0\x80\x80\xaf");
    INVALID("\xf0\x8f\xbf\xbf");
    INVALID("\xed\xa0\x80");            /* surrogates */
    INVALID("\xed\xbf\xbf");
    INVALID("\xed\xa0\xbd\xed\xb8\x80");
    INVALID("\xf4\x90\x80\x80");        /* above U+10FFFF */
    INVALID("\xf5\x80\x80\x80");
    INVALID("\xf8\x88\x80\x80\x80");
    INVALID("\xfe");
    INVALID("\xff");
    INVALID("\xc3");                    /* cut */
    INVALID("\xe2\x82");
    INVALID("\xf0\x9f\x90");
    INVALID("\xc3(");
    INVALID("\xc3(\xa9");
    INVALID("\xe2\x82(\xac");
    INVALID("\xe2\x82(");
    INVALID("\xf0\x9f\x90(");
    INVALID("\xe2\x28\xa1");
}

/* One bad byte is found at every offset of a word-wise scan. */
static void
a_bad_byte_is_found_anywhere(void **state)
{
    (void) state;

    for (size_t len = 1; len <= 40; len++) {
        for (size_t at = 0; at < len; at++) {
            char text[40];

            memset(text, 'a', sizeof(text));
            assert_true(valid(text, len));
            text[at] = (char) 0xff;
            assert_false(valid(text, len));
            text[at] = (char) 0xc3;
            assert_false(valid(text, len));
        }
    }
}

/* Feeds exact copies of pieces of that size; where it was refused, or -1. */
static long
refused_at(const char *data, size_t len, size_t size)
{
    utf8_state_t state;

    utf8_begin(&state);
    for (size_t at = 0; at < len; at += size) {
        size_t n = len - at < size ? len - at : size;
        char *copy = malloc(n);
        int right;

        assert_non_null(copy);
        memcpy(copy, data + at, n);
        right = utf8_feed(&state, copy, n);
        free(copy);
        if (!right) {
            return (long) at;
        }
    }
    assert_int_equal(utf8_complete(&state) != 0, well_formed(data, len));
    return -1;
}

/* Whether some text begins so: of each place in a character, what completes
 * it when anything does. */
static int
may_go_on(const char *data, size_t len)
{
    static const char *const ends[] = {
        "", "\x80", "\x80\x80", "\xbf\xbf", "\x80\x80\x80",
        "\xbf\xbf\xbf"
    };
    char text[16];

    memcpy(text, data, len);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        memcpy(text + len, ends[i], strlen(ends[i]));
        if (well_formed(text, len + strlen(ends[i]))) {
            return 1;
        }
    }
    return 0;
}

/* All texts of up to four bytes, each from a class of its own. */
static void
pieces_are_refused_at_the_first_bad_byte(void **state)
{
    static const uint8_t classes[] = {
        0x00, 'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1,
        0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3,
        0xf4, 0xf5, 0xff
    };
    const unsigned n = sizeof(classes);

    (void) state;

    for (unsigned code = 0; code < n * n * n * n; code++) {
        const char text[4] = {
            (char) classes[code / (n * n * n)],
            (char) classes[code / (n * n) % n],
            (char) classes[code / n % n], (char) classes[code % n]
        };
        long bad = -1;

        for (long len = 1; len <= 4 && bad < 0; len++) {
            if (!may_go_on(text, (size_t) len)) {
                bad = len - 1;
            }
        }
        assert_int_equal(valid(text, 4) != 0, well_formed(text, 4));
        assert_int_equal(refused_at(text, 4, 1), bad);
        assert_int_equal(refused_at(text, 4, 4) < 0, bad < 0);
    }
}

/* The same verdict wherever a text is cut, words of ASCII in it or not. */
static void
pieces_are_cut_anywhere(void **state)
{
    static const char text[] =
        "plain text of some words \xe2\x82\xac\xc3\xa9 and then "
        "\xf0\x9f\x90\x9d\xf0\x9f\x90\x9d\xed\x9f\xbf more of it";
    char bad[sizeof(text)];

    (void) state;

    for (size_t size = 1; size <= sizeof(text); size++) {
        assert_int_equal(refused_at(text, sizeof(text), size), -1);
        for (size_t at = 0; at < sizeof(text); at++) {
            memcpy(bad, text, sizeof(text));
            bad[at] = (char) 0xff;
            assert_int_equal(refused_at(bad, sizeof(bad), size),
                at / size * size);
        }
    }

    assert_int_equal(refused_at("", 0, 1), -1);
}

static void
length_counts_characters(void **state)
{
    char text[100];

    (void) state;

    assert_int_equal(utf8_length("", 0), 0);
    assert_int_equal(utf8_length("abc", 3), 3);

    for (size_t lead = 0; lead < 20; lead++) {
        size_t len = lead;

        memset(text, 'x', lead);
        for (size_t n = 0; n < 8; n++) {
            memcpy(text + len, "\xf0\x9f\x90\x9d\xc3\xa9\xe2\x82\xac", 9);
            len += 9;
            assert_int_equal(utf8_length(text, len), lead + 3 * (n + 1));
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_passes_surrogates_do_not),
        cmocka_unit_test(short_texts_are_counted),
        cmocka_unit_test(malformed_is_refused),
        cmocka_unit_test(a_bad_byte_is_found_anywhere),
        cmocka_unit_test(pieces_are_refused_at_the_first_bad_byte),
        cmocka_unit_test(pieces_are_cut_anywhere),
        cmocka_unit_test(length_counts_characters),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
