/* history_test.c: what a reader has missed is told only when that is all. */

#include "workers/realtime/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LOTS 1000000

/* Events 1, 2, ... of 10 bytes each, or of what is said. */
static const past_t plain[] = { { 1, 1, 10 }, { 2, 2, 10 }, { 3, 3, 10 },
    { 4, 4, 10 }, { 5, 5, 10 } };

static history_t
judge(const past_t *events, size_t count, int64_t after, int64_t head,
    size_t *fit)
{
    return history_judge(events, count, after, head, 1000, LOTS, 0, fit);
}

static void
all_up_to_the_head_is_whole(void **state)
{
    size_t fit;

    (void) state;
    assert_int_equal(judge(plain, 5, 0, 5, &fit), HISTORY_WHOLE);
    assert_int_equal(fit, 5);
    assert_int_equal(judge(plain + 3, 2, 3, 5, &fit), HISTORY_WHOLE);
    assert_int_equal(fit, 2);
    assert_int_equal(judge(plain, 0, 5, 5, &fit), HISTORY_WHOLE);
    assert_int_equal(fit, 0);
    assert_int_equal(judge(plain, 0, 0, 0, &fit), HISTORY_WHOLE);
}

static void
whatever_is_missing_is_a_gap(void **state)
{
    static const past_t holed[] = { { 1, 1, 10 }, { 2, 2, 10 },
        { 4, 4, 10 } };
    size_t fit;

    (void) state;
    assert_int_equal(judge(plain + 1, 4, 0, 5, &fit), HISTORY_GAP);
    assert_int_equal(fit, 0);
    assert_int_equal(judge(holed, 3, 0, 4, &fit), HISTORY_GAP);
    assert_int_equal(fit, 0);
    assert_int_equal(judge(plain, 4, 0, 5, &fit), HISTORY_GAP);
    assert_int_equal(judge(plain, 0, 4, 5, &fit), HISTORY_GAP);
    /* from the future */
    assert_int_equal(judge(plain, 0, 6, 5, &fit), HISTORY_GAP);
}

static void
what_stands_for_several_fills_their_places(void **state)
{
    static const past_t joined[] = { { 1, 1, 10 }, { 2, 7, 10 },
        { 8, 8, 10 } };
    size_t fit;

    (void) state;
    assert_int_equal(judge(joined, 3, 0, 8, &fit), HISTORY_WHOLE);
    /* a reader that has a part of it */
    assert_int_equal(judge(joined + 1, 2, 4, 8, &fit), HISTORY_WHOLE);
    assert_int_equal(fit, 2);
    assert_int_equal(judge(joined + 2, 1, 6, 8, &fit), HISTORY_GAP);
}

static void
as_many_as_were_asked_for_may_not_be_all(void **state)
{
    size_t fit;

    (void) state;
    assert_int_equal(history_judge(plain, 3, 0, 5, 3, LOTS, 0, &fit),
        HISTORY_MORE);
    assert_int_equal(fit, 3);
    assert_int_equal(history_judge(plain, 5, 0, 5, 5, LOTS, 0, &fit),
        HISTORY_WHOLE);
    assert_int_equal(history_judge(plain + 1, 3, 0, 5, 3, LOTS, 0, &fit),
        HISTORY_GAP);
}

static void
what_does_not_fit_is_for_later(void **state)
{
    size_t fit;

    (void) state;
    assert_int_equal(history_judge(plain, 5, 0, 5, 1000, 35, 0, &fit),
        HISTORY_MORE);
    assert_int_equal(fit, 3);
    assert_int_equal(history_judge(plain, 5, 0, 5, 1000, 50, 0, &fit),
        HISTORY_WHOLE);
    assert_int_equal(history_judge(plain, 5, 0, 5, 1000, 9, 0, &fit),
        HISTORY_MORE);
    assert_int_equal(fit, 0);
    /* one at least, so that a reader gets on */
    assert_int_equal(history_judge(plain, 5, 0, 5, 1000, 9, 1, &fit),
        HISTORY_MORE);
    assert_int_equal(fit, 1);
    assert_int_equal(history_judge(plain, 1, 0, 1, 1000, 9, 1, &fit),
        HISTORY_WHOLE);
    assert_int_equal(fit, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_up_to_the_head_is_whole),
        cmocka_unit_test(whatever_is_missing_is_a_gap),
        cmocka_unit_test(what_stands_for_several_fills_their_places),
        cmocka_unit_test(as_many_as_were_asked_for_may_not_be_all),
        cmocka_unit_test(what_does_not_fit_is_for_later),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
