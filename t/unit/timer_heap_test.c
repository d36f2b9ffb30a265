/* A timer heap gives back in order what was set, moved and cleared at
 * random, compared with a plain list. */

#include "workers/runtime/timer_heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define NODES 300

typedef struct {
    timer_node_t node;           /* first */
    uint64_t at;                 /* 0: not set */
} item_t;

static item_t items[NODES];
static uint64_t latest;

static void
expired(timer_node_t *node)
{
    item_t *item = (item_t *) node;

    assert_int_equal(node->place, 0);
    assert_true(item->at != 0 && item->at >= latest);
    latest = item->at;
    item->at = 0;
}

static uint64_t
earliest(void)
{
    uint64_t at = UINT64_MAX;
    int i;

    for (i = 0; i < NODES; i++) {
        if (items[i].at != 0 && items[i].at < at) {
            at = items[i].at;
        }
    }
    return at;
}

static void
order_survives_moves_and_removals(void **state)
{
    timer_heap_t heap;
    int round, i;

    (void) state;
    srand(7);
    assert_int_equal(timer_heap_init(&heap, NODES), 0);
    for (i = 0; i < NODES; i++) {
        items[i].node.expire = expired;
    }
    for (round = 0; round < 20000; round++) {
        item_t *item = &items[rand() % NODES];

        if (rand() % 3 == 0) {
            timer_heap_clear(&heap, &item->node);
            item->at = 0;
        } else {
            item->at = 1 + (uint64_t) (rand() % 1000);
            timer_heap_set(&heap, &item->node, item->at);
        }
        assert_int_equal(timer_heap_next(&heap), earliest());
        if (round % 500 == 0) {
            latest = 0;
            timer_heap_expire(&heap, 500);
            assert_true(earliest() > 500);
        }
    }
    latest = 0;
    timer_heap_expire(&heap, UINT64_MAX);
    assert_int_equal(heap.count, 0);
    assert_int_equal(earliest(), UINT64_MAX);
    assert_int_equal(timer_heap_next(&heap), UINT64_MAX);
    timer_heap_release(&heap);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_survives_moves_and_removals)
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
