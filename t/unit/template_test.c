/* template_test.c: templates in inputs: what is read, what is filled in. */

#include "workers/work/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static arena_t *arena;
static char faults[4096];
static char quotes[4096];

static const char *const values_text =
    "{\"inputs\":{\"name\":\"Ada\",\"n\":7,\"deep\":{\"list\":[1,{\"x\":true}"
    "]},\"none\":null,\"trick\":\"{{ run.id }}\",\"0\":\"zero\"},"
    "\"run\":{\"id\":\"r1\"},"
    "\"steps\":{\"a-b\":{\"state\":\"succeeded\",\"result\":{\"items\":[5,6]},"
    "\"error\":null}}}";

static void
collect(void *arg, const char *field, const char *code, const char *message)
{
    size_t len = strlen(faults);

    (void) arg;
    assert_true(strlen(message) > 0);
    snprintf(faults + len, sizeof(faults) - len, "%s%s %s",
        len > 0 ? ", " : "", field, code);
}

static void
collect_quote(void *arg, const char *field, const quote_t *quote)
{
    size_t len = strlen(quotes);

    assert_string_equal(arg, "arg");
    snprintf(quotes + len, sizeof(quotes) - len, "%s%s:%.*s(%.*s)",
        len > 0 ? ", " : "", field, (int) quote->text.len, quote->text.data,
        (int) quote->step.len, quote->step.data);
}

static int
begin(void **state)
{
    (void) state;
    arena = arena_new();
    return 0;
}

static int
end(void **state)
{
    (void) state;
    arena_free(arena);
    return 0;
}

static const char *
scan(const char *json_text)
{
    report_t report = { arena, collect, NULL, 0 };
    json_t *json = json_loads(json_text, JSON_DECODE_ANY, NULL);

    assert_non_null(json);
    faults[0] = quotes[0] = '\0';
    template_scan(&report, "input", json, collect_quote, "arg");
    json_decref(json);
    return quotes;
}

/* The filled JSON, or what was wrong. */
static const char *
apply(const char *json_text)
{
    json_t *json = json_loads(json_text, JSON_DECODE_ANY, NULL);
    json_t *values = json_loads(values_text, 0, NULL), *filled;
    const char *why = NULL;
    slice_t out;

    assert_non_null(json);
    assert_non_null(values);
    filled = template_apply(arena, json, values, &why);
    json_decref(json);
    json_decref(values);
    if (filled == NULL) {
        assert_non_null(why);
        return why;
    }
    assert_null(why);
    out = template_dump(arena, filled);
    json_decref(filled);
    return arena_strndup(arena, out.data, out.len);
}

static void
a_whole_string_keeps_the_type(void **state)
{
    (void) state;
    assert_string_equal(apply("\"{{ inputs.name }}\""), "\"Ada\"");
    assert_string_equal(apply("\"{{inputs.n}}\""), "7");
    assert_string_equal(apply("\"{{ inputs.none }}\""), "null");
    assert_string_equal(apply("\"{{ inputs.deep }}\""),
        "{\"list\":[1,{\"x\":true}]}");
    assert_string_equal(apply("\"{{ inputs.deep.list.1.x }}\""), "true");
    assert_string_equal(apply("\"{{ steps.a-b.result.items.0 }}\""), "5");
    assert_string_equal(apply("\"{{ steps.a-b.state }}\""),
        "\"succeeded\"");
    assert_string_equal(apply("\"{{ inputs.0 }}\""), "\"zero\"");
}

static void
within_text_it_is_text(void **state)
{
    (void) state;
    assert_string_equal(apply("\"Dear {{ inputs.name }},\""),
        "\"Dear Ada,\"");
    assert_string_equal(apply("\" {{ inputs.n }}\""), "\" 7\"");
    assert_string_equal(apply("\"{{ inputs.n }}{{ run.id }}\""), "\"7r1\"");
    assert_string_equal(apply("\"x{{ inputs.deep.list }}y\""),
        "\"x[1,{\\\"x\\\":true}]y\"");
    assert_string_equal(apply("\"{{ inputs.none }}!\""), "\"null!\"");
}

static void
escapes_and_plain_braces(void **state)
{
    (void) state;
    assert_string_equal(apply("\"\\\\{{ inputs.n }}\""),
        "\"{{ inputs.n }}\"");
    assert_string_equal(apply("\"a \\\\{{ b {{ inputs.n }}\""),
        "\"a {{ b 7\"");
    assert_string_equal(apply("\"{ } }} { {\""), "\"{ } }} { {\"");
    assert_string_equal(apply("\"\\\\ \\\\{\""), "\"\\\\ \\\\{\"");
    assert_string_equal(apply("\"\""), "\"\"");
}

static void
structures_are_walked_and_names_kept(void **state)
{
    (void) state;
    assert_string_equal(apply("{\"{{ run.id }}\":[\"{{ run.id }}\",1,null,"
        "{\"a\":\"{{ inputs.n }}\"}],\"b\":true}"),
        "{\"{{ run.id }}\":[\"r1\",1,null,{\"a\":7}],\"b\":true}");
}

/* What was filled in is data: not looked at again. */
static void
values_are_not_templates(void **state)
{
    (void) state;
    assert_string_equal(apply("\"{{ inputs.trick }}\""),
        "\"{{ run.id }}\"");
    assert_string_equal(apply("\"-{{ inputs.trick }}-\""),
        "\"-{{ run.id }}-\"");
}

static void
unknown_paths_are_named(void **state)
{
    (void) state;
    assert_string_equal(apply("\"{{ inputs.nobody }}\""),
        "there is no inputs.nobody");
    assert_string_equal(apply("\"a {{ steps.a-b.result.items.2 }}\""),
        "there is no steps.a-b.result.items.2");
    assert_string_equal(apply("[\"{{ steps.c.result }}\"]"),
        "there is no steps.c.result");
    assert_string_equal(apply("\"{{ inputs.deep.list.01 }}\""),
        "there is no inputs.deep.list.01");
    assert_string_equal(apply("\"{{ inputs.name.x }}\""),
        "there is no inputs.name.x");
    assert_string_equal(apply("\"{{ schedule.time }}\""),
        "there is no schedule.time");
}

static void
quotes_are_found(void **state)
{
    (void) state;
    assert_string_equal(scan("{\"a\":[\"x\",\"{{ inputs.n }} {{run.id}}\"],"
        "\"b\":{\"c\":\"{{ steps.one.result.x }}\"}}"),
        "input.a[1]:inputs.n(), input.a[1]:run.id(),"
        " input.b.c:steps.one.result.x(one)");
    assert_string_equal(scan("\"\\\\{{ inputs.n }}\""), "");
    assert_string_equal(faults, "");
}

static void
broken_templates_are_refused(void **state)
{
    static const char *const wrong[] = { "\"{{\"", "\"{{ }}\"",
        "\"a {{ inputs.n }\"", "\"{{ inputs..n }}\"", "\"{{ .inputs }}\"",
        "\"{{ inputs. }}\"", "\"{{ inputs n }}\"", "\"{{ {{ run.id }} }}\"",
        "\"{{ env.HOME }}\"", "\"{{ steps.a }}\"", "\"{{ steps }}\"",
        "\"{{ steps.a.input }}\"", "\"{{ inputs.a|b }}\"",
        "\"{{ inputs.\\u00e9 }}\"" };

    (void) state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        scan(wrong[i]);
        if (strcmp(faults, "input invalid_template") != 0) {
            fail_msg("%s: %s", wrong[i], faults);
        }
    }
    scan("[\"{{ \", {\"x\": \"{{ nothing }}\"}]");
    assert_string_equal(faults,
        "input[0] invalid_template, input[1].x invalid_template");
}

/* No input grows without bound by quoting. */
static void
what_is_filled_in_is_limited(void **state)
{
    json_t *values = json_object(), *inputs = json_object();
    json_t *list = json_array(), *filled;
    char *long_text = malloc(100001);
    const char *why = NULL;

    (void) state;
    memset(long_text, 'x', 100000);
    long_text[100000] = '\0';
    json_object_set_new(inputs, "t", json_string(long_text));
    json_object_set_new(values, "inputs", inputs);
    for (int i = 0; i < 100000; i++) {
        json_array_append_new(list, json_string("-{{ inputs.t }}"));
    }
    assert_null(template_apply(arena, list, values, &why));
    assert_non_null(why);
    assert_true(arena_used(arena) < 16 * 1024 * 1024);

    json_array_clear(list);
    for (int i = 0; i < 20; i++) {
        json_array_append_new(list, json_string("{{ inputs.t }}"));
    }
    filled = template_apply(arena, list, values, &why);
    assert_non_null(filled);
    assert_null(template_dump(arena, filled).data);
    json_decref(filled);
    json_decref(list);
    json_decref(values);
    free(long_text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_string_keeps_the_type, begin,
            end),
        cmocka_unit_test_setup_teardown(within_text_it_is_text, begin, end),
        cmocka_unit_test_setup_teardown(escapes_and_plain_braces, begin, end),
        cmocka_unit_test_setup_teardown(structures_are_walked_and_names_kept,
            begin, end),
        cmocka_unit_test_setup_teardown(values_are_not_templates, begin, end),
        cmocka_unit_test_setup_teardown(unknown_paths_are_named, begin, end),
        cmocka_unit_test_setup_teardown(quotes_are_found, begin, end),
        cmocka_unit_test_setup_teardown(broken_templates_are_refused, begin,
            end),
        cmocka_unit_test_setup_teardown(what_is_filled_in_is_limited, begin,
            end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
