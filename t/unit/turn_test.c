/* Promises of turns: shares by priority, a newcomer begins at the front, what
 * is forgotten begins at the virtual time again, and memory is bounded. */

#include "workers/work/engine.h"
#include "workers/work/turn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static hive_uuid_t
owner(unsigned n)
{
    hive_uuid_t id = { { 0 } };

    memcpy(id.bytes, &n, sizeof(n));
    return id;
}

static int
reset(void **state)
{
    (void) state;
    turn_reset(TURN_FLOWS, TURN_KINDS);
    return 0;
}

static void
a_flow_moves_on_by_its_stride(void **state)
{
    int64_t first = turn_next(owner(1), SLICE("a"), 5);
    int64_t second = turn_next(owner(1), SLICE("a"), 5);

    (void) state;
    assert_int_equal(first, 0);
    assert_int_equal(second, 1 << 15);
    assert_int_equal(turn_next(owner(1), SLICE("a"), 5), 2 << 15);
}

static void
a_newcomer_begins_at_the_virtual_time(void **state)
{
    (void) state;
    for (int i = 0; i < 1000; i++) {
        turn_next(owner(1), SLICE("a"), 5);
    }
    assert_int_equal(turn_next(owner(2), SLICE("a"), 5), 0);

    turn_claimed(SLICE("a"), 100 << 15);
    assert_int_equal(turn_next(owner(3), SLICE("a"), 5), 100 << 15);
    /* The first is behind it still. */
    assert_int_equal(turn_next(owner(1), SLICE("a"), 5), 1000 << 15);
}

static void
who_was_idle_gains_nothing(void **state)
{
    (void) state;
    turn_next(owner(1), SLICE("a"), 5);
    turn_claimed(SLICE("a"), 500 << 15);
    assert_int_equal(turn_next(owner(1), SLICE("a"), 5), 500 << 15);
}

/* In the order of turns, how many of a higher priority come before the tenth
 * of a lower one. */
static void
priorities_have_shares(void **state)
{
    int64_t tenth = 0;
    int before = 0;

    (void) state;
    for (int i = 0; i < 10; i++) {
        tenth = turn_next(owner(1), SLICE("a"), 3);
    }
    while (turn_next(owner(2), SLICE("a"), 5) < tenth) {
        before++;
    }
    assert_int_equal(before, 9 * 4);
    assert_true(turn_next(owner(3), SLICE("a"), 9)
                < turn_next(owner(4), SLICE("a"), 0) + (1 << 20));
}

static void
flows_are_apart(void **state)
{
    (void) state;
    turn_next(owner(1), SLICE("a"), 5);
    assert_int_equal(turn_next(owner(1), SLICE("b"), 5), 0);
    assert_int_equal(turn_next(owner(1), SLICE("a"), 6), 0);
    assert_int_equal(turn_next(owner(2), SLICE("a"), 5), 0);
    assert_int_equal(turn_next(owner(1), SLICE("a longer kind, 20"), 5), 0);
    assert_int_equal(turn_next(owner(1), SLICE("a longer kind, 21"), 5), 0);
}

static void
virtual_time_does_not_go_back(void **state)
{
    (void) state;
    turn_claimed(SLICE("a"), 700);
    turn_claimed(SLICE("a"), 300);
    assert_int_equal(turn_next(owner(1), SLICE("a"), 5), 700);
}

static void
times_are_told_as_json(void **state)
{
    arena_t *arena = arena_new();
    slice_t text;

    (void) state;
    text = turn_times(arena);
    assert_int_equal(text.len, 2);
    turn_claimed(SLICE("a"), 7);
    turn_claimed(SLICE("b \"q\""), 8);
    turn_claimed(SLICE("a"), 9);
    text = turn_times(arena);
    assert_true(slice_equal(text, SLICE("{\"a\":9,\"b \\\"q\\\"\":8}")));
    arena_free(arena);
}

static void
the_least_recently_used_is_forgotten(void **state)
{
    (void) state;
    turn_reset(4, 2);
    for (unsigned n = 1; n <= 4; n++) {
        turn_next(owner(n), SLICE("a"), 5);
    }
    /* The first is used again, so the second goes. */
    assert_int_equal(turn_next(owner(1), SLICE("a"), 5), 1 << 15);
    turn_next(owner(5), SLICE("a"), 5);
    assert_int_equal(turn_next(owner(1), SLICE("a"), 5), 2 << 15);
    assert_int_equal(turn_next(owner(3), SLICE("a"), 5), 1 << 15);
    assert_int_equal(turn_next(owner(2), SLICE("a"), 5), 0);

    turn_claimed(SLICE("a"), 7);
    turn_claimed(SLICE("b"), 8);
    turn_claimed(SLICE("a"), 9);
    turn_claimed(SLICE("c"), 10);
    assert_int_equal(turn_next(owner(9), SLICE("b"), 5), 0);
    assert_int_equal(turn_next(owner(9), SLICE("a"), 5), 9);
}

/* The same as a plain list, at random. */
static void
many_come_and_go(void **state)
{
    enum { OWNERS = 300, ROUNDS = 200000 };
    static int64_t finish[OWNERS];

    (void) state;
    srand(11);
    for (int i = 0; i < ROUNDS; i++) {
        unsigned n = (unsigned) rand() % OWNERS;

        assert_int_equal(turn_next(owner(n), SLICE("kind"), 9), finish[n]);
        finish[n] += 1 << 11;
    }
    turn_reset(16, 16);
    for (int i = 0; i < ROUNDS; i++) {
        char kind[16];
        int len = snprintf(kind, sizeof(kind), "k%d", rand() % 100);

        turn_claimed((slice_t) { kind, (size_t) len }, i);
        turn_next(owner((unsigned) rand() % OWNERS),
            (slice_t) { kind, (size_t) len }, rand() % 10);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_flow_moves_on_by_its_stride, reset),
        cmocka_unit_test_setup(a_newcomer_begins_at_the_virtual_time, reset),
        cmocka_unit_test_setup(who_was_idle_gains_nothing, reset),
        cmocka_unit_test_setup(priorities_have_shares, reset),
        cmocka_unit_test_setup(flows_are_apart, reset),
        cmocka_unit_test_setup(virtual_time_does_not_go_back, reset),
        cmocka_unit_test_setup(times_are_told_as_json, reset),
        cmocka_unit_test_setup(the_least_recently_used_is_forgotten, reset),
        cmocka_unit_test_setup(many_come_and_go, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
