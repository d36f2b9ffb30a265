/* metrics_test.c: counts of many processes are one number, outlive who
 * counted, and are as many as the code allows. */

#include "workers/runtime/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define REGIONS 4

static const char *const outcomes[] = { "good", "bad", NULL };

static metric_t plain, by_outcome, by_kind, depth, took;

static void
add_all(void)
{
    plain = (metric_t) {
        .name = "x_plain_total", .help = "Plain.", .type = METRIC_COUNTER,
    };
    by_outcome = (metric_t) {
        .name = "x_outcomes_total", .help = "By outcome.",
        .type = METRIC_COUNTER, .label = "outcome", .values = outcomes,
    };
    by_kind = (metric_t) {
        .name = "x_kinds_total", .help = "By kind and outcome.",
        .type = METRIC_COUNTER, .named = "kind", .label = "outcome",
        .values = outcomes,
    };
    depth = (metric_t) {
        .name = "x_depth", .help = "A gauge.", .type = METRIC_GAUGE,
        .named = "kind",
    };
    took = (metric_t) {
        .name = "x_seconds", .help = "A histogram.",
        .type = METRIC_HISTOGRAM, .named = "kind",
    };
    metric_add(&plain);
    metric_add(&by_outcome);
    metric_add(&by_kind);
    metric_add(&depth);
    metric_add(&took);
}

static int
set_up(void **state)
{
    (void) state;
    assert_int_equal(metrics_new(REGIONS), 0);
    metrics_join(0);
    add_all();
    return 0;
}

static int
tear_down(void **state)
{
    (void) state;
    metrics_free();
    return 0;
}

/* Whether the text has that whole line. */
static int
told(const char *line)
{
    arena_t *arena = arena_new();
    size_t len = strlen(line);
    const char *at;
    buf_t text;
    int found = 0;

    buf_init(&text, arena, 1024);
    metrics_put(&text);
    buf_putc(&text, '\0');
    for (at = text.data; (at = strstr(at, line)) != NULL && !found; at++) {
        found = (at == text.data || at[-1] == '\n') && at[len] == '\n';
    }
    if (!found) {
        print_message("not told: %s\n%s", line, text.data);
    }
    arena_free(arena);
    return found;
}

static size_t
text_len(void)
{
    arena_t *arena = arena_new();
    size_t len;
    buf_t text;

    buf_init(&text, arena, 1024);
    metrics_put(&text);
    len = text.len;
    arena_free(arena);
    return len;
}

static void
counts_are_told(void **state)
{
    unsigned kind = metric_name(SLICE("mail"));

    (void) state;
    assert_true(told("# HELP x_plain_total Plain."));
    assert_true(told("# TYPE x_seconds histogram"));
    assert_true(told("x_plain_total 0"));
    metric_count(&plain, 0, 0, 3);
    metric_count(&by_outcome, 0, 1, 1);
    metric_count(&by_kind, kind, 0, 5);
    metric_count(&by_kind, kind, 0, 2);
    assert_true(told("x_plain_total 3"));
    assert_true(told("x_outcomes_total{outcome=\"good\"} 0"));
    assert_true(told("x_outcomes_total{outcome=\"bad\"} 1"));
    assert_true(told("x_kinds_total{kind=\"mail\",outcome=\"good\"} 7"));
}

static void
a_gauge_is_what_was_set_last(void **state)
{
    unsigned kind = metric_name(SLICE("mail"));

    (void) state;
    metric_set(&depth, kind, 0, 7);
    metrics_join(2);
    metric_set(&depth, kind, 0, 0.25);
    assert_true(told("x_depth{kind=\"mail\"} 0.25"));
    metric_set(&depth, kind, 0, 0);
    assert_true(told("x_depth{kind=\"mail\"} 0"));
}

static void
a_histogram_adds_up(void **state)
{
    unsigned kind = metric_name(SLICE("mail"));

    (void) state;
    metric_observe(&took, kind, 0, 500);
    metric_observe(&took, kind, 0, 501);
    metric_observe(&took, kind, 0, UINT64_C(7200000000));
    assert_true(told("x_seconds_bucket{kind=\"mail\",le=\"0.0005\"} 1"));
    assert_true(told("x_seconds_bucket{kind=\"mail\",le=\"0.001\"} 2"));
    assert_true(told("x_seconds_bucket{kind=\"mail\",le=\"3600\"} 2"));
    assert_true(told("x_seconds_bucket{kind=\"mail\",le=\"+Inf\"} 3"));
    assert_true(told("x_seconds_sum{kind=\"mail\"} 7200.001001"));
    assert_true(told("x_seconds_count{kind=\"mail\"} 3"));
}

static void
label_values_are_escaped(void **state)
{
    (void) state;
    metric_count(&by_kind, metric_name(SLICE("a\"b\\c\nd")), 1, 1);
    assert_true(
        told("x_kinds_total{kind=\"a\\\"b\\\\c\\nd\",outcome=\"bad\"} 1"));
}

static void
names_are_bounded(void **state)
{
    char text[METRIC_NAME_MAX + 2];
    size_t len;

    (void) state;
    for (unsigned i = 0; i < METRIC_NAMES; i++) {
        snprintf(text, sizeof(text), "kind%u", i);
        assert_int_equal(metric_name((slice_t) { text, strlen(text) }), i);
    }
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "more%u", i);
        assert_int_equal(metric_name((slice_t) { text, strlen(text) }),
            METRIC_OTHER);
        metric_count(&by_kind, METRIC_OTHER, 0, 1);
    }
    assert_int_equal(metric_name(SLICE("kind7")), 7);
    assert_true(told("x_kinds_total{kind=\"other\",outcome=\"good\"} 1000"));
    len = text_len();
    metric_count(&by_kind, metric_name(SLICE("evenmore")), 0, 1);
    assert_int_equal(text_len(), len);
}

static void
what_is_no_name_is_other(void **state)
{
    char text[METRIC_NAME_MAX + 1];

    (void) state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(metric_name((slice_t) { text, sizeof(text) }),
        METRIC_OTHER);
    assert_int_equal(metric_name((slice_t) { text, sizeof(text) - 1 }), 0);
    assert_int_equal(metric_name(SLICE_NONE), METRIC_OTHER);
}

/* A process of that region, which counts and is gone. */
static void
count_elsewhere(unsigned region, unsigned times)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        metrics_join(region);
        for (unsigned i = 0; i < times; i++) {
            metric_count(&by_kind, metric_name(SLICE("shared")), 0, 1);
            metric_observe(&took, metric_name(SLICE("shared")), 0, 1000);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void
all_processes_are_told_of_and_outlived(void **state)
{
    (void) state;
    count_elsewhere(1, 1000);
    count_elsewhere(3, 100);
    metric_count(&by_kind, metric_name(SLICE("shared")), 0, 10);
    assert_true(told("x_kinds_total{kind=\"shared\",outcome=\"good\"} 1110"));

    /* Its successor goes on from there. */
    count_elsewhere(1, 1);
    assert_true(told("x_kinds_total{kind=\"shared\",outcome=\"good\"} 1111"));
    assert_true(told("x_seconds_count{kind=\"shared\"} 1101"));
}

static void
one_of_all_is_due(void **state)
{
    (void) state;
    assert_int_equal(metrics_due(100, 5100), 1);
    assert_int_equal(metrics_due(100, 5100), 0);
    assert_int_equal(metrics_due(5099, 9000), 0);
    assert_int_equal(metrics_due(5100, 9000), 1);
    metrics_due_at(20000);
    assert_int_equal(metrics_due(9000, 30000), 0);
    assert_int_equal(metrics_due(20000, 30000), 1);
}

static void
without_memory_nothing_is_counted(void **state)
{
    arena_t *arena = arena_new();
    buf_t text;

    (void) state;
    metrics_free();
    add_all();
    metric_count(&plain, 0, 0, 1);
    metric_set(&depth, metric_name(SLICE("x")), 0, 1);
    metric_observe(&took, METRIC_OTHER, 0, 1);
    assert_int_equal(metrics_due(1, 2), 0);
    buf_init(&text, arena, 64);
    metrics_put(&text);
    assert_int_equal(text.len, 0);
    arena_free(arena);
}

#define METRICS_TEST(test) \
    cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        METRICS_TEST(counts_are_told),
        METRICS_TEST(a_gauge_is_what_was_set_last),
        METRICS_TEST(a_histogram_adds_up),
        METRICS_TEST(label_values_are_escaped),
        METRICS_TEST(names_are_bounded),
        METRICS_TEST(what_is_no_name_is_other),
        METRICS_TEST(all_processes_are_told_of_and_outlived),
        METRICS_TEST(one_of_all_is_due),
        METRICS_TEST(without_memory_nothing_is_counted),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
