/* swarm_compile_test.c: who gets a step, who is next to whom, and what a run
 * is compiled to. */

#include "workers/swarm/compile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static arena_t *arena;

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

static team_t
team_of(topology_t topology, size_t count)
{
    team_t team = { topology, arena_zero(arena, count * sizeof(agent_t)),
        count };

    for (size_t i = 0; i < count; i++) {
        const char *name = arena_printf(arena, "a%zu", i);

        team.agents[i] = (agent_t) { .name = { name, strlen(name) },
            .type = i == 0 ? AGENT_COORDINATOR : AGENT_WORKER,
            .capacity = i == 0 ? 8 : 1, .seq = (int) i };
    }
    return team;
}

static swarm_part_t *
parts_of(size_t count)
{
    swarm_part_t *parts = arena_zero(arena, count * sizeof(*parts));

    for (size_t i = 0; i < count; i++) {
        const char *name = arena_printf(arena, "p%zu", i);

        parts[i].name = (slice_t) { name, strlen(name) };
        parts[i].title = parts[i].name;
        parts[i].kind = WORK_GENERAL;
    }
    return parts;
}

/* "dst<src" of each context edge, "R" for the result, "*" when by way of
 * another. */
static const char *
context_text(const compiled_t *out)
{
    buf_t text;

    buf_init(&text, arena, 256);
    for (size_t i = 0; i < out->ncontext; i++) {
        const context_t *edge = &out->context[i];
        slice_t dst = edge->dst == COMPILE_RESULT ? SLICE("R")
            : out->steps[edge->dst].name;
        slice_t src = out->steps[edge->src].name;

        buf_printf(&text, "%s%.*s<%.*s%s", i > 0 ? " " : "", (int) dst.len,
            dst.data, (int) src.len, src.data, edge->via >= 0 ? "*" : "");
    }
    buf_putc(&text, '\0');
    return text.data;
}

/* ---- teams ---- */

static void
coordinator_is_first(void **state)
{
    team_t team = team_of(TOPOLOGY_STAR, 4);

    (void) state;
    team.agents[0].type = AGENT_CODER;
    team.agents[2].type = AGENT_COORDINATOR;
    team_order(&team, NULL);
    assert_int_equal(team.agents[0].seq, 2);
    assert_int_equal(team.agents[1].seq, 0);
    assert_int_equal(team.agents[2].seq, 1);
    assert_int_equal(team.agents[3].seq, 3);
}

static void
nobody_coordinates(void **state)
{
    team_t team = team_of(TOPOLOGY_STAR, 3);

    (void) state;
    team.agents[0].type = AGENT_CODER;
    team_order(&team, NULL);
    assert_int_equal(team.agents[0].seq, 0);
}

static void
neighbours(void **state)
{
    team_t star = team_of(TOPOLOGY_STAR, 8);
    team_t tree = team_of(TOPOLOGY_HIERARCHICAL, 8);

    (void) state;
    assert_true(team_adjacent(&star, 0, 7));
    assert_false(team_adjacent(&star, 1, 2));
    assert_int_equal(team_between(&star, 1, 2), 0);
    assert_true(team_adjacent(&tree, 0, 4));
    assert_false(team_adjacent(&tree, 0, 5));
    assert_true(team_adjacent(&tree, 1, 5));
    assert_int_equal(team_parent(&tree, 5), 1);
    assert_int_equal(team_between(&tree, 5, 6), 1);
    assert_int_equal(team_between(&tree, 5, 2), -1);
    assert_false(team_adjacent(&tree, 3, 3));
}

static void
types(void **state)
{
    (void) state;
    assert_int_equal(agent_type_parse(SLICE("coder")), AGENT_CODER);
    assert_int_equal(agent_type_parse(SLICE("queen")), AGENT_COORDINATOR);
    assert_int_equal(agent_type_parse(SLICE("api-docs")), AGENT_DOCUMENTER);
    assert_int_equal(agent_type_parse(SLICE("poet")), -1);
}

/* ---- assignment ---- */

static void
the_vector(void **state)
{
    team_t team = team_of(TOPOLOGY_STAR, 3);
    unsigned char may[3] = { 0, 1, 1 };
    unsigned made[3] = { 0, 0, 1 };
    assign_t step = { .kind = WORK_CODE, .may = may, .made = made,
        .nsteps = 2 };
    score_t scores[3];

    (void) state;
    team.agents[1].type = AGENT_CODER;
    team.agents[1].succeeded = 3;
    team.agents[1].failed = 1;
    team.agents[1].busy_ms = 6000;
    team.agents[1].nano_usd = 300;
    team.agents[2].type = AGENT_TESTER;
    team.agents[2].succeeded = 1;
    team.agents[2].busy_ms = 1000;
    team.agents[2].nano_usd = 200;
    assert_int_equal(assign(&team, &step, scores), 1);
    assert_true(scores[0].sum < 0);
    assert_float_equal(scores[1].c, 1.0, 1e-9);
    assert_float_equal(scores[1].p, 4.0 / 6, 1e-9);
    assert_float_equal(scores[1].t, 0.5, 1e-9);
    assert_float_equal(scores[1].k, 1.0, 1e-9);
    assert_float_equal(scores[1].a, 0.0, 1e-9);
    assert_float_equal(scores[1].sum,
        .25 + .25 * 4 / 6 + .20 + .10 * .5 + .10, 1e-9);
    assert_float_equal(scores[2].c, 0.8, 1e-9);
    assert_float_equal(scores[2].p, 2.0 / 3, 1e-9);
    assert_float_equal(scores[2].a, 0.5, 1e-9);
}

static void
capabilities_are_required(void **state)
{
    team_t team = team_of(TOPOLOGY_STAR, 3);
    slice_t perl = SLICE("perl");
    unsigned char may[3] = { 0, 1, 1 };
    assign_t step = { .kind = WORK_GENERAL, .may = may, .needs = &perl,
        .nneeds = 1 };
    score_t scores[3];

    (void) state;
    assert_int_equal(assign(&team, &step, scores), -1);
    team.agents[2].capabilities = &perl;
    team.agents[2].ncapabilities = 1;
    assert_int_equal(assign(&team, &step, scores), 2);
}

/* Who has room comes first, however well suited the others are. */
static void
work_is_shared(void **state)
{
    team_t team = team_of(TOPOLOGY_STAR, 4);
    compiled_t out;
    int n[4] = { 0 };

    (void) state;
    team.agents[1].type = AGENT_SPECIALIST;
    team.agents[1].succeeded = 100;
    compile(arena, &team, parts_of(7), 7, 0, &out);
    assert_int_equal(out.failed, -1);
    for (size_t i = 0; i < out.nsteps; i++) {
        n[out.steps[i].agent]++;
    }
    assert_int_equal(n[0], 0);
    assert_true(n[1] >= 2 && n[2] >= 2 && n[3] >= 2);
}

/* ---- compiling ---- */

static void
star_in_parallel(void **state)
{
    team_t team = team_of(TOPOLOGY_STAR, 4);
    compiled_t out;

    (void) state;
    compile(arena, &team, parts_of(3), 3, 0, &out);
    assert_int_equal(out.nsteps, 3);
    assert_string_equal(context_text(&out), "R<p0 R<p1 R<p2");
    assert_int_equal(out.steps[2].nafter, 0);
}

static void
star_in_sequence(void **state)
{
    team_t team = team_of(TOPOLOGY_STAR, 4);
    compiled_t out;

    (void) state;
    compile(arena, &team, parts_of(3), 3, 1, &out);
    assert_string_equal(context_text(&out),
        "R<p0 R<p1 R<p2 p1<p0* p2<p1*");
    assert_int_equal(out.steps[2].nafter, 1);
    assert_int_equal(out.steps[2].after[0], 1);
}

static void
one_alone(void **state)
{
    team_t team = team_of(TOPOLOGY_STAR, 1);
    compiled_t out;

    (void) state;
    compile(arena, &team, parts_of(2), 2, 1, &out);
    assert_int_equal(out.steps[0].agent, 0);
    assert_string_equal(context_text(&out), "R<p0 R<p1 p1<p0");
}

static void
hierarchy(void **state)
{
    team_t team = team_of(TOPOLOGY_HIERARCHICAL, 7);
    compiled_t out;

    (void) state;
    compile(arena, &team, parts_of(6), 6, 0, &out);
    assert_int_equal(out.nsteps, 7);
    assert_int_equal(out.steps[6].role, STEP_LEAD);
    assert_int_equal(out.steps[6].agent, 1);
    assert_int_equal(out.steps[6].nafter, 3);
    /* parts are given out in the order of joining: p0 to member 1, whose
     * reports 5 and 6 have p4 and p5 */
    assert_string_equal(context_text(&out), "lead-1<p0 R<p1 R<p2 R<p3"
        " lead-1<p4 lead-1<p5 R<lead-1");
}

/* 22 members: three levels, so that leads have leads below them. */
static void
deep_hierarchy(void **state)
{
    team_t team = team_of(TOPOLOGY_HIERARCHICAL, 22);
    compiled_t out;
    size_t leads = 0;

    (void) state;
    compile(arena, &team, parts_of(21), 21, 0, &out);
    for (size_t i = 21; i < out.nsteps; i++) {
        assert_int_equal(out.steps[i].role, STEP_LEAD);
        for (size_t k = 0; k < out.steps[i].nafter; k++) {
            size_t src = out.steps[i].after[k];

            assert_true(src < i);
            assert_true(out.steps[src].agent == out.steps[i].agent
                || team_parent(&team, out.steps[src].agent)
                   == (long) out.steps[i].agent);
        }
        leads++;
    }
    /* 1 to 4 have members below, and 5 has 21 */
    assert_int_equal(leads, 5);
}

/* Two that are far from each other only wait. */
static void
no_way_between(void **state)
{
    team_t team = team_of(TOPOLOGY_HIERARCHICAL, 7);
    swarm_part_t *parts = parts_of(6);
    size_t after = 1;
    compiled_t out;

    (void) state;
    parts[4].after = &after;
    parts[4].nafter = 1;
    compile(arena, &team, parts, 6, 0, &out);
    assert_int_equal(out.steps[4].nafter, 1);
    assert_null(strstr(context_text(&out), "p4<p1"));
}

static void
circles(void **state)
{
    swarm_part_t *parts = parts_of(3);
    size_t one = 1, two = 2, zero = 0;

    (void) state;
    assert_int_equal(compile_circle(arena, parts, 3), -1);
    parts[0].after = &one;
    parts[0].nafter = 1;
    parts[1].after = &two;
    parts[1].nafter = 1;
    assert_int_equal(compile_circle(arena, parts, 3), -1);
    parts[2].after = &zero;
    parts[2].nafter = 1;
    assert_int_equal(compile_circle(arena, parts, 3), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(coordinator_is_first, begin, end),
        cmocka_unit_test_setup_teardown(nobody_coordinates, begin, end),
        cmocka_unit_test_setup_teardown(neighbours, begin, end),
        cmocka_unit_test_setup_teardown(types, begin, end),
        cmocka_unit_test_setup_teardown(the_vector, begin, end),
        cmocka_unit_test_setup_teardown(capabilities_are_required, begin, end),
        cmocka_unit_test_setup_teardown(work_is_shared, begin, end),
        cmocka_unit_test_setup_teardown(star_in_parallel, begin, end),
        cmocka_unit_test_setup_teardown(star_in_sequence, begin, end),
        cmocka_unit_test_setup_teardown(one_alone, begin, end),
        cmocka_unit_test_setup_teardown(hierarchy, begin, end),
        cmocka_unit_test_setup_teardown(deep_hierarchy, begin, end),
        cmocka_unit_test_setup_teardown(no_way_between, begin, end),
        cmocka_unit_test_setup_teardown(circles, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
