/* Promises of config.h, and of the schema of worker.ini: every source, every
 * type, and mistakes told with their place. */

#include "workers/runtime/config.h"
#include "workers/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    const char *name;
    const char *level;
    slice_t key;
    unsigned count;
    unsigned mode;
    unsigned wait;
    size_t room;
    int fast;
    const char *other;
} sample_t;

#define AT(member) offsetof(sample_t, member)

static const config_key_t keys[] = {
    { "one", "name", CONFIG_TEXT, AT(name), "nobody", 1, 300, NULL, 0, "n" },
    { "one", "level", CONFIG_CHOICE, AT(level), "low", 0, 0, "low|high", 0,
      "l" },
    { "one", "key", CONFIG_BYTES, AT(key), "k", 1, 1000, NULL, 1, "k" },
    { "one", "count", CONFIG_NUMBER, AT(count), "3", 1, 10, NULL, 0, "c" },
    { "one", "mode", CONFIG_MODE, AT(mode), "0660", 0, 0777, NULL, 0, "m" },
    { "one", "wait", CONFIG_DURATION, AT(wait), "30s", 1, 86400000, NULL, 0,
      "w" },
    { "two", "room", CONFIG_SIZE, AT(room), "64k", 1, UINT64_C(1) << 40, NULL,
      0, "r" },
    { "two", "fast", CONFIG_BOOL, AT(fast), "off", 0, 0, NULL, 0, "f" },
    { "two", "other", CONFIG_TEXT, AT(other), NULL, 1, 20, NULL, 0, "o" }
};

static const config_schema_t schema = {
    keys, sizeof(keys) / sizeof(keys[0]), sizeof(sample_t)
};

static arena_t *arena;
static char folder[] = "/tmp/hive-config-XXXXXX";
static char path[64], key_path[64];
static const char *errors;

static int
setup(void **state)
{
    (void) state;
    arena = arena_new();
    errors = "";
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/x.ini", folder);
    snprintf(key_path, sizeof(key_path), "%s/k", folder);
    return 0;
}

static int
teardown(void **state)
{
    (void) state;
    unlink(path);
    unlink(key_path);
    rmdir(folder);
    arena_free(arena);
    return 0;
}

static void
spew(const char *to, const char *data, size_t len)
{
    FILE *file = fopen(to, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    fclose(file);
}

static int
load(const char *text, sample_t *out)
{
    spew(path, text, strlen(text));
    return config_load(arena, &schema, path, out, &errors);
}

/* Loading fails with one line, which ends in `expected` behind the folder. */
static void
refused(const char *text, const char *expected)
{
    sample_t sample;

    assert_int_equal(load(text, &sample), -1);
    assert_int_equal(strncmp(errors, folder, strlen(folder)), 0);
    assert_string_equal(errors + strlen(folder) + 1, expected);
}

static void
defaults_hold(void **state)
{
    sample_t sample;

    (void) state;
    assert_int_equal(load("[two]\nother=x\n", &sample), 0);
    assert_string_equal(sample.name, "nobody");
    assert_string_equal(sample.level, "low");
    assert_true(slice_equal(sample.key, SLICE("k")));
    assert_int_equal(sample.count, 3);
    assert_int_equal(sample.mode, 0660);
    assert_int_equal(sample.wait, 30000);
    assert_int_equal(sample.room, 65536);
    assert_int_equal(sample.fast, 0);
}

static void
every_type_is_read(void **state)
{
    sample_t sample;

    (void) state;
    assert_int_equal(load("; a comment\n[one]\nname = a = b ; inline\n"
        "level = high\nkey = s3cret\ncount=10\nmode=600\nwait = 500ms\n"
        "[two]\nroom = 2g\nfast = yes\nother = o\n", &sample), 0);
    assert_string_equal(sample.name, "a = b");
    assert_string_equal(sample.level, "high");
    assert_true(slice_equal(sample.key, SLICE("s3cret")));
    assert_int_equal(sample.count, 10);
    assert_int_equal(sample.mode, 0600);
    assert_int_equal(sample.wait, 500);
    assert_int_equal(sample.room, UINT64_C(2) << 30);
    assert_int_equal(sample.fast, 1);
    assert_int_equal(load("[one]\nwait = 2h\n[two]\nroom=7\nother=o\n",
        &sample), 0);
    assert_int_equal(sample.wait, 7200000);
    assert_int_equal(sample.room, 7);
}

static void
mistakes_have_a_place(void **state)
{
    sample_t sample;

    (void) state;
    refused("[two]\nother=o\n[one]\nnmae = x\n",
        "x.ini:4: unknown key \"nmae\", did you mean \"name\" in [one]?\n");
    refused("[two]\nother=o\nwait = 1s\n",
        "x.ini:3: unknown key \"wait\", did you mean \"wait\" in [one]?\n");
    refused("[two]\nother=o\nzzzzzzzz = 1s\n",
        "x.ini:3: unknown key \"zzzzzzzz\"\n");
    refused("[two]\nother=o\n[three]\nx=1\n",
        "x.ini:4: unknown section [three]\n");
    assert_int_equal(load("[two]\nother=o\nother=p\n", &sample), -1);
    assert_non_null(strstr(errors,
        "x.ini:3: \"other\" was given before, at "));
}

static void
values_are_checked(void **state)
{
    (void) state;
    refused("[one]\ncount = 11\n[two]\nother=o\n",
        "x.ini:2: \"count\" in [one]: 11 is not in 1 to 10\n");
    refused("[one]\ncount = -1\n[two]\nother=o\n",
        "x.ini:2: \"count\" in [one]: \"-1\" is not a whole number\n");
    refused("[one]\nwait = 30\n[two]\nother=o\n", "x.ini:2: \"wait\" in "
        "[one]: \"30\" is not a duration such as 500ms, 30s or 15m\n");
    refused("[one]\nwait = 99999999999999999999d\n[two]\nother=o\n",
        "x.ini:2: \"wait\" in [one]: \"99999999999999999999d\" is not a "
        "duration such as 500ms, 30s or 15m\n");
    refused("[one]\nwait = 2d\n[two]\nother=o\n",
        "x.ini:2: \"wait\" in [one]: 2d is not in 1ms to 1d\n");
    refused("[one]\nmode = 0888\n[two]\nother=o\n", "x.ini:2: \"mode\" in "
        "[one]: \"0888\" is not an octal mode such as 0660\n");
    refused("[one]\nlevel = loud\n[two]\nother=o\n",
        "x.ini:2: \"level\" in [one]: \"loud\" is not one of low|high\n");
    refused("[two]\nother=o\nfast = 1\n",
        "x.ini:3: \"fast\" in [two]: \"1\" is not on or off\n");
    refused("[two]\nother=ooooooooooooooooooooooooo\n",
        "x.ini:2: \"other\" in [two]: is longer than 20 bytes\n");
    refused("[one]\nname = \n[two]\nother=o\n",
        "x.ini:2: \"name\" in [one]: is shorter than 1 bytes\n");
    refused("[one]\n", "x.ini: \"other\" in [two] is missing\n");
}

static void
all_mistakes_are_told_at_once(void **state)
{
    sample_t sample;

    (void) state;
    assert_int_equal(load("[one]\ncount = 0\nbad = 1\n", &sample), -1);
    assert_non_null(strstr(errors, "x.ini:3: unknown key \"bad\"\n"));
    assert_non_null(strstr(errors, "x.ini:2: \"count\" in [one]: 0 is not"));
    assert_non_null(strstr(errors, "x.ini: \"other\" in [two] is missing\n"));
}

static void
lines_are_whole(void **state)
{
    char text[600];
    sample_t sample;

    (void) state;
    snprintf(text, sizeof(text), "[one]\nname = %0300d\n[two]\nother=o\n", 1);
    refused(text, "x.ini:2: line longer than 198 bytes, or with a NUL "
        "character; indented lines continue a value\n");
    refused("[two]\nother=o\nnonsense\n",
        "x.ini:3: neither [section] nor key = value\n");
    snprintf(text, sizeof(text), "[one]\nname = %0100d\n  %0100d\n"
        "count = 7\n[two]\nother=o", 1, 2);
    assert_int_equal(load(text, &sample), 0);
    assert_int_equal(strlen(sample.name), 201);
    assert_string_equal(sample.name + 195, "000002");
    assert_int_equal(sample.count, 7);
}

static void
secrets_come_from_files(void **state)
{
    char text[200];
    sample_t sample;

    (void) state;
    spew(key_path, "a\0b\n\r\n", 6);
    assert_int_equal(load("[one]\nkey_file = k\n[two]\nother=o\n", &sample),
        0);
    assert_true(slice_equal(sample.key, SLICE("a\0b")));
    snprintf(text, sizeof(text), "[one]\nname_file = %s\n[two]\nother=o\n",
        key_path);
    assert_int_equal(load(text, &sample), -1);
    assert_non_null(strstr(errors, "holds a NUL character"));
    spew(key_path, "someone\n", 8);
    assert_int_equal(load(text, &sample), 0);
    assert_string_equal(sample.name, "someone");
    assert_int_equal(load("[one]\nkey=a\nkey_file = k\n[two]\nother=o\n",
        &sample), -1);
    assert_non_null(strstr(errors, "\"key_file\" was given before"));
    assert_int_equal(load("[one]\nkey_file = absent\n[two]\nother=o\n",
        &sample), -1);
    assert_non_null(strstr(errors, "/absent cannot be opened: No such file"));
}

static void
the_environment_wins(void **state)
{
    sample_t sample;

    (void) state;
    setenv("HIVE_ONE_COUNT", "8", 1);
    setenv("HIVE_TWO_OTHER", "from the environment", 1);
    setenv("HIVE_ELSE_THING", "x", 1);
    assert_int_equal(load("[one]\ncount = 2\n", &sample), 0);
    assert_int_equal(sample.count, 8);
    assert_string_equal(sample.other, "from the environment");
    assert_int_equal(config_load(arena, &schema, NULL, &sample, &errors), 0);
    assert_int_equal(sample.count, 8);
    setenv("HIVE_ONE_COUNT", "88", 1);
    assert_int_equal(load("[one]\ncount = 2\n", &sample), -1);
    assert_string_equal(errors,
        "HIVE_ONE_COUNT: \"count\" in [one]: 88 is not in 1 to 10\n");
    unsetenv("HIVE_ONE_COUNT");
    setenv("HIVE_ONE_CUONT", "8", 1);
    assert_int_equal(load("", &sample), -1);
    assert_string_equal(errors, "HIVE_ONE_CUONT: no such key, did you mean "
        "\"count\" in [one]?\n");
    unsetenv("HIVE_ONE_CUONT");
    spew(key_path, "secret\n", 7);
    setenv("HIVE_ONE_KEY_FILE", key_path, 1);
    assert_int_equal(load("[one]\nkey = inline\n", &sample), 0);
    assert_true(slice_equal(sample.key, SLICE("secret")));
    setenv("HIVE_ONE_KEY", "x", 1);
    assert_int_equal(load("", &sample), -1);
    assert_non_null(strstr(errors, " contradicts HIVE_ONE_KEY"));
    unsetenv("HIVE_ONE_KEY");
    unsetenv("HIVE_ONE_KEY_FILE");
    unsetenv("HIVE_TWO_OTHER");
    unsetenv("HIVE_ELSE_THING");
}

static void
secrets_are_not_shown(void **state)
{
    static const config_key_t pin[] = {
        { "s", "pin", CONFIG_NUMBER, 0, NULL, 1, 9999, NULL, 1, "p" }
    };
    static const config_schema_t pins = { pin, 1, sizeof(unsigned) };
    unsigned out;

    (void) state;
    spew(path, "[s]\npin = 12345\n", 16);
    assert_int_equal(config_load(arena, &pins, path, &out, &errors), -1);
    assert_null(strstr(errors, "12345"));
    assert_non_null(strstr(errors, "x.ini:2: \"pin\" in [s]: has no valid"));
}

static void
a_missing_file_is_told(void **state)
{
    sample_t sample;

    (void) state;
    assert_int_equal(config_load(arena, &schema, "/absent/x.ini", &sample,
        &errors), -1);
    assert_non_null(strstr(errors, "/absent/x.ini: cannot be opened: No such"));
}

static void
the_example_is_right_and_complete(void **state)
{
    static const char example[] = "conf/worker.ini";
    settings_t settings;

    (void) state;
    if (access(example, R_OK) != 0) {
        skip();
    }
    setenv("HIVE_AUTH_KEY", "0123456789abcdef0123456789abcdef", 1);
    if (config_load(arena, &settings_schema, example, &settings, &errors)
        != 0) {
        fail_msg("%s", errors);
    }
    unsetenv("HIVE_AUTH_KEY");
    assert_int_equal(settings.worker.fibers, 4096);
    assert_int_equal(settings.auth.access_ttl, 15 * 60 * 1000);
}

static void
the_reference_lists_every_key(void **state)
{
    size_t size = 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, &size);
    unsigned i;

    (void) state;
    config_print_reference(out, &settings_schema);
    config_print_reference(out, &schema);
    fclose(out);
    for (i = 0; i < settings_schema.nkeys; i++) {
        char cell[80];

        snprintf(cell, sizeof(cell), "| `%s` |",
            settings_schema.keys[i].key);
        assert_non_null(strstr(text, cell));
    }
    assert_non_null(strstr(text, "| `wait` | duration | `30s` | 1ms to 1d | "
        "w |\n"));
    assert_non_null(strstr(text, "| `key` | bytes, secret | `k` | "));
    assert_non_null(strstr(text, "| `other` | text | required | "));
    assert_non_null(strstr(text, "| `low` | low, high | l |\n"));
    free(text);
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(defaults_hold),
        T(every_type_is_read),
        T(mistakes_have_a_place),
        T(values_are_checked),
        T(all_mistakes_are_told_at_once),
        T(lines_are_whole),
        T(secrets_come_from_files),
        T(the_environment_wins),
        T(secrets_are_not_shown),
        T(a_missing_file_is_told),
        T(the_example_is_right_and_complete),
        T(the_reference_lists_every_key)
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
