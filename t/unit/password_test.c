/* password_test.c: a password matches its own hash and nothing else; stored
 * strings are read strictly; what is guessed first is refused. */

#include "workers/identity/account.h"
#include "workers/identity/password.h"

#include <argon2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static slice_t
slice_of(const char *text)
{
    return (slice_t) { text, strlen(text) };
}

static password_status_t
verify(const char *password, const char *stored)
{
    return password_verify(slice_of(password), slice_of(stored), NULL);
}

static void
matches_its_own_hash_only(void **state)
{
    char text[PASSWORD_TEXT];
    int outdated = 1;

    (void) state;
    assert_int_equal(password_hash(SLICE("correct horse"), text),
        PASSWORD_MATCH);
    assert_memory_equal(text, "$argon2id$v=19$m=19456,t=2,p=1$", 31);
    assert_int_equal(password_verify(SLICE("correct horse"), slice_of(text),
            &outdated), PASSWORD_MATCH);
    assert_int_equal(outdated, 0);
    assert_int_equal(verify("correct horsf", text), PASSWORD_MISMATCH);
    assert_int_equal(verify("correct hors", text), PASSWORD_MISMATCH);
    assert_int_equal(verify("", text), PASSWORD_MISMATCH);
}

static void
salts_differ(void **state)
{
    char one[PASSWORD_TEXT], other[PASSWORD_TEXT];

    (void) state;
    assert_int_equal(password_hash(SLICE("same"), one), PASSWORD_MATCH);
    assert_int_equal(password_hash(SLICE("same"), other), PASSWORD_MATCH);
    assert_string_not_equal(one, other);
}

static void
every_byte_counts_up_to_the_limit(void **state)
{
    char long_one[PASSWORD_MAX + 1];
    char text[PASSWORD_TEXT];
    slice_t password = { long_one, PASSWORD_MAX };

    (void) state;
    memset(long_one, 'x', sizeof(long_one));
    assert_int_equal(password_hash(password, text), PASSWORD_MATCH);
    assert_int_equal(password_verify(password, slice_of(text), NULL),
        PASSWORD_MATCH);

    /* One byte more is another password, not the same one cut off. */
    password.len++;
    assert_int_equal(password_verify(password, slice_of(text), NULL),
        PASSWORD_MISMATCH);
    password.len--;
    long_one[PASSWORD_MAX - 1] = 'y';
    assert_int_equal(password_verify(password, slice_of(text), NULL),
        PASSWORD_MISMATCH);
}

static void
agrees_with_the_library(void **state)
{
    static const char salt[] = "sixteen bytes ok";
    char text[PASSWORD_TEXT];
    char theirs[256];
    int outdated = 0;

    (void) state;
    assert_int_equal(password_hash(SLICE("tr0ub4dor&3"), text),
        PASSWORD_MATCH);
    assert_int_equal(argon2id_verify(text, "tr0ub4dor&3", 11), ARGON2_OK);

    /* Another site's parameters: matches, and is to be made anew. */
    assert_int_equal(argon2id_hash_encoded(3, 1024, 2, "tr0ub4dor&3", 11,
            salt, 16, 24, theirs, sizeof(theirs)), ARGON2_OK);
    assert_int_equal(password_verify(SLICE("tr0ub4dor&3"), slice_of(theirs),
            &outdated), PASSWORD_MATCH);
    assert_int_equal(outdated, 1);
    assert_int_equal(verify("tr0ub4dor&4", theirs), PASSWORD_MISMATCH);
}

static void
reads_stored_strings_strictly(void **state)
{
    static const char *const bad[] = {
        "x",
        "$argon2id$",
        "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=064,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=-64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=7,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=1,p=1,x=2$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        /* More than an import may ask for. */
        "$argon2id$v=19$m=131073,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=4294967360,t=1,p=1$c29tZXNhbHQ$"
            "MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=11,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=1,p=5$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ",
        /* Base64: padding, foreign letters, spare bits, lengths. */
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ=$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbH-$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHR$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhb$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNh$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
        "$argon2id$v=19$m=64,t=1,p=1$$MDEyMzQ1Njc4OTAxMjM0NQ",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ\n",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ$",
    };
    static const char good[] =
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ";
    char long_one[1024];

    (void) state;
    assert_int_equal(verify("password", good), PASSWORD_MISMATCH);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (verify("password", bad[i]) != PASSWORD_UNREADABLE) {
            fail_msg("accepted: %s", bad[i]);
        }
    }

    memset(long_one, 'A', sizeof(long_one));
    memcpy(long_one, good, strlen("$argon2id$v=19$m=64,t=1,p=1$"));
    assert_int_equal(password_verify(SLICE("p"), (slice_t) { long_one,
            sizeof(long_one) }, NULL), PASSWORD_UNREADABLE);
}

static double
seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

/* In CPU time, and the best so far: other work on the machine stays out. */
static void
measure(slice_t stored, double *best)
{
    double start = seconds();

    assert_int_equal(password_verify(SLICE("a wrong one"), stored, NULL),
        PASSWORD_MISMATCH);
    if (seconds() - start < *best) {
        *best = seconds() - start;
    }
}

static void
nobody_costs_as_much_as_somebody(void **state)
{
    char text[PASSWORD_TEXT];
    double known = 1e9, unknown = 1e9;

    (void) state;
    assert_int_equal(password_hash(SLICE("somebody's"), text),
        PASSWORD_MATCH);
    /* In turn, so that both meet the same machine. */
    for (int i = 0; i < 20; i++) {
        measure(slice_of(text), &known);
        measure(SLICE_NONE, &unknown);
    }
    assert_true(unknown > known * 0.7 && unknown < known * 1.4);
}

static void
refuses_what_is_guessed_first(void **state)
{
    static const struct {
        const char *password, *code;
    } refused[] = {
        { "", "too_short" }, { "1234567", "too_short" },
        { "12345678", "too_common" }, { "Password", "too_common" },
        { "PASSWORD1", "too_common" }, { "00000000", "too_common" },
        { "zzzzzzzz", "too_common" }, { "iloveyou", "too_common" },
        { "Summer2024!", "too_common" }, { "qwertyuiop", "too_common" },
        { "trustno1", "too_common" }, { "changeme", "too_common" },
        { "letmein!!!", "too_common" }, { "correcthorsebatterystaple",
            "too_common" },
        { "hive1234", "too_guessable" }, { "HiveHiveHive", "too_guessable" },
        { "ada.lovelace", "too_guessable" },
        { "Ada.Lovelace99", "too_guessable" },
        { "ada.lovelace@example.org", "too_guessable" },
    };
    static const char *const fine[] = {
        "korrekt horse", "summertime in the city", "hive needs a longer one",
        "ada.lovelace wrote the first program", "p\xc3\xa4ssw\xc3\xb6rter",
        "        ", "8bytes-x",
    };
    slice_t email = SLICE("Ada.Lovelace@example.org");
    const char *why;

    (void) state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        const char *code = password_refused(slice_of(refused[i].password),
            email, &why);

        if (code == NULL || strcmp(code, refused[i].code) != 0) {
            fail_msg("%s: %s", refused[i].password, code ? code : "accepted");
        }
        assert_non_null(why);
    }
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        const char *code = password_refused(slice_of(fine[i]), email, &why);

        if (code != NULL) {
            fail_msg("%s: %s", fine[i], code);
        }
    }
}

static void
refuses_by_length_in_bytes(void **state)
{
    char text[PASSWORD_MAX + 1];
    const char *why;

    (void) state;
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char) ('a' + i % 23);
    }
    assert_null(password_refused((slice_t) { text, PASSWORD_MAX },
            SLICE_NONE, &why));
    assert_string_equal(password_refused((slice_t) { text, PASSWORD_MAX + 1 },
            SLICE_NONE, &why), "too_long");
}

static void
normalises_addresses(void **state)
{
    static const struct {
        const char *typed, *email;
    } cases[] = {
        { "ada@example.org", "ada@example.org" },
        { "  Ada@Example.ORG \r\n", "Ada@example.org" },
        { "a+b.c@x-y.example", "a+b.c@x-y.example" },
        { "root@localhost", "root@localhost" },
        { "a@LOCALHOST", "a@localhost" },
        { "", "" }, { "ada", "" }, { "@example.org", "" }, { "ada@", "" },
        { "ada@@example.org", "" }, { "a b@example.org", "" },
        { ".a@example.org", "" }, { "a.@example.org", "" },
        { "a..b@example.org", "" }, { "\"a\"@example.org", "" },
        { "a@example", "" }, { "a@example.", "" }, { "a@.example", "" },
        { "a@-x.example", "" }, { "a@x-.example", "" },
        { "a@exa_mple.org", "" }, { "a@127.0.0.1", "" },
        { "a@[127.0.0.1]", "" }, { "a\nb@example.org", "" },
        { "\xc3\xa4@example.org", "" }, { "a@ex\xc3\xa4mple.org", "" },
        { "a,b@example.org", "" }, { "<a@example.org>", "" },
    };
    char text[300];
    arena_t *arena = arena_new();
    slice_t email;

    (void) state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        email = email_normalise(arena, slice_of(cases[i].typed));
        if (!slice_equal(email, slice_of(cases[i].email))) {
            fail_msg("%s: %.*s", cases[i].typed, (int) email.len,
                email.len ? email.data : "");
        }
    }

    /* 64 bytes before the "@", 63 in a label, 254 in all. */
    memset(text, 'a', sizeof(text));
    text[64] = '@';
    text[128] = text[192] = '.';
    assert_int_equal(email_normalise(arena, (slice_t) { text, 254 }).len,
        254);
    assert_int_equal(email_normalise(arena, (slice_t) { text, 255 }).len, 0);
    text[128] = 'a';
    assert_int_equal(email_normalise(arena, (slice_t) { text, 254 }).len, 0);
    memcpy(text + 64, "a@b.example", 11);
    assert_int_equal(email_normalise(arena, (slice_t) { text, 75 }).len, 0);
    arena_free(arena);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_its_own_hash_only),
        cmocka_unit_test(salts_differ),
        cmocka_unit_test(every_byte_counts_up_to_the_limit),
        cmocka_unit_test(agrees_with_the_library),
        cmocka_unit_test(reads_stored_strings_strictly),
        cmocka_unit_test(nobody_costs_as_much_as_somebody),
        cmocka_unit_test(refuses_what_is_guessed_first),
        cmocka_unit_test(refuses_by_length_in_bytes),
        cmocka_unit_test(normalises_addresses),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("password", tests, NULL, NULL);
}
