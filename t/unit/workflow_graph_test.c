/* workflow_graph_test.c: graphs of steps: what is refused, and the order and
 * depth of what is not. */

#include "workers/work/workflow_graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static arena_t *arena;
static char faults[4096];
static graph_t graph;

static void
collect(void *arg, const char *field, const char *code, const char *message)
{
    size_t len = strlen(faults);

    (void) arg;
    snprintf(faults + len, sizeof(faults) - len, "%s%s %s: %s",
        len > 0 ? "; " : "", field, code, message);
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

static slice_t
text(const char *s)
{
    return (slice_t) { arena_strndup(arena, s, strlen(s)), strlen(s) };
}

/* "a b:a c:a,b" */
static int
build(const char *written)
{
    report_t report = { arena, collect, NULL, 0 };
    graph_step_t *steps = arena_zero(arena, 64 * sizeof(*steps));
    char *copy = arena_strndup(arena, written, strlen(written));
    char *save, *item;
    size_t count = 0;

    for (item = strtok_r(copy, " ", &save); item != NULL;
        item = strtok_r(NULL, " ", &save))
    {
        char *needs = strchr(item, ':'), *more, *need;
        slice_t *list = arena_alloc(arena, 64 * sizeof(*list));
        size_t n = 0;

        if (needs != NULL) {
            *needs++ = '\0';
            for (need = strtok_r(needs, ",", &more); need != NULL;
                need = strtok_r(NULL, ",", &more))
            {
                list[n++] = text(need);
            }
        }
        steps[count++] = (graph_step_t) { text(item), list, n };
    }
    faults[0] = '\0';
    return graph_build(&report, "steps", steps, count, &graph);
}

static void
order_and_depth(void **state)
{
    (void) state;
    assert_int_equal(build("join:m1,m2,m3 m1:root m2:root m3:m2 root alone"),
        0);
    assert_string_equal(faults, "");
    assert_int_equal(graph.nedges, 6);
    assert_int_equal(graph.depth[graph_find(&graph, text("root"))], 0);
    assert_int_equal(graph.depth[graph_find(&graph, text("alone"))], 0);
    assert_int_equal(graph.depth[graph_find(&graph, text("m1"))], 1);
    assert_int_equal(graph.depth[graph_find(&graph, text("m3"))], 2);
    assert_int_equal(graph.depth[graph_find(&graph, text("join"))], 3);
    assert_int_equal(graph_nparents(&graph, 0), 3);
    assert_int_equal(graph_nchildren(&graph, 4), 2);
    assert_int_equal(graph_nchildren(&graph, 0), 0);
    assert_int_equal(graph_find(&graph, text("nobody")), -1);
    assert_int_equal(graph_find(&graph, text("")), -1);
}

static void
names_are_one_each(void **state)
{
    (void) state;
    assert_int_equal(build("a b a"), -1);
    assert_string_equal(faults,
        "steps[2].name duplicate_step: another step has that name");
}

static void
dependencies_are_steps_once(void **state)
{
    (void) state;
    assert_int_equal(build("a b:a,c"), -1);
    assert_string_equal(faults, "steps[1].depends_on[1] unknown_step: there"
        " is no step of that name");
    assert_int_equal(build("a b:a,a"), -1);
    assert_string_equal(faults,
        "steps[1].depends_on[1] duplicate_dependency: is named twice");
}

static void
cycles_are_named(void **state)
{
    (void) state;
    assert_int_equal(build("a:a"), -1);
    assert_string_equal(faults, "steps[0].depends_on dependency_cycle: the"
        " steps wait for each other: a -> a");
    assert_int_equal(build("a:b b:a"), -1);
    assert_string_equal(faults, "steps[0].depends_on dependency_cycle: the"
        " steps wait for each other: a -> b -> a");
    /* what only waits for the cycle is not of it */
    assert_int_equal(build("behind:c start a:start,c b:a c:b"), -1);
    assert_string_equal(faults, "steps[4].depends_on dependency_cycle: the"
        " steps wait for each other: c -> a -> b -> c");
}

static void
long_cycles_are_cut(void **state)
{
    (void) state;
    assert_int_equal(build("a:t b:a c:b d:c e:d f:e g:f h:g i:h j:i k:j l:k"
        " m:l n:m o:n p:o q:p r:q s:r t:s"), -1);
    assert_string_equal(faults, "steps[0].depends_on dependency_cycle: the"
        " steps wait for each other: a -> b -> c -> d -> e -> f -> g -> h ->"
        " i -> j -> k -> l -> m -> ... -> a");
}

static void
ancestors(void **state)
{
    (void) state;
    assert_int_equal(build("a b:a c:b d:a e:c,d f"), 0);
    assert_int_equal(graph_is_ancestor(&graph, 0, 4), 1);
    assert_int_equal(graph_is_ancestor(&graph, 1, 4), 1);
    assert_int_equal(graph_is_ancestor(&graph, 3, 4), 1);
    assert_int_equal(graph_is_ancestor(&graph, 3, 2), 0);
    assert_int_equal(graph_is_ancestor(&graph, 4, 0), 0);
    assert_int_equal(graph_is_ancestor(&graph, 5, 4), 0);
    assert_int_equal(graph_is_ancestor(&graph, 4, 4), 0);
}

/* 10,000 steps into one, and a chain of 10,000. */
static void
large_ones(void **state)
{
    enum { N = 10000 };
    graph_step_t *steps = arena_zero(arena, (2 * N + 1) * sizeof(*steps));
    slice_t *names = arena_alloc(arena, 2 * N * sizeof(*names));
    report_t report = { arena, collect, NULL, 0 };

    (void) state;
    for (int i = 0; i < 2 * N; i++) {
        names[i] = text(arena_printf(arena, "s%d", i));
        steps[i].name = names[i];
        if (i > N) {
            steps[i].needs = &names[i - 1];
            steps[i].nneeds = 1;
        }
    }
    steps[2 * N] = (graph_step_t) { SLICE("join"), names, N };
    faults[0] = '\0';
    assert_int_equal(graph_build(&report, "steps", steps, 2 * N + 1, &graph),
        0);
    assert_int_equal(graph_nparents(&graph, 2 * N), N);
    assert_int_equal(graph.depth[2 * N], 1);
    assert_int_equal(graph.depth[2 * N - 1], N - 1);
    assert_int_equal(graph_is_ancestor(&graph, N, 2 * N - 1), 1);
    assert_int_equal(graph_is_ancestor(&graph, 0, 2 * N - 1), 0);
    for (int i = 0; graph_is_ancestor(&graph, N, 2 * N - 1) == 1; i++) {
        assert_true(i < 10000);
    }
    assert_int_equal(graph_is_ancestor(&graph, N, 2 * N - 1), -1);
}

static void
too_many_edges(void **state)
{
    enum { N = 1000 };
    graph_step_t *steps = arena_zero(arena, N * sizeof(*steps));
    slice_t *names = arena_alloc(arena, N * sizeof(*names));
    report_t report = { arena, collect, NULL, 0 };

    (void) state;
    for (int i = 0; i < N; i++) {
        names[i] = text(arena_printf(arena, "s%d", i));
        steps[i] = (graph_step_t) { names[i], names, (size_t) i };
    }
    faults[0] = '\0';
    assert_int_equal(graph_build(&report, "steps", steps, N, &graph), -1);
    assert_non_null(strstr(faults, "steps too_many"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(order_and_depth, begin, end),
        cmocka_unit_test_setup_teardown(names_are_one_each, begin, end),
        cmocka_unit_test_setup_teardown(dependencies_are_steps_once, begin,
            end),
        cmocka_unit_test_setup_teardown(cycles_are_named, begin, end),
        cmocka_unit_test_setup_teardown(long_cycles_are_cut, begin, end),
        cmocka_unit_test_setup_teardown(ancestors, begin, end),
        cmocka_unit_test_setup_teardown(large_ones, begin, end),
        cmocka_unit_test_setup_teardown(too_many_edges, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
