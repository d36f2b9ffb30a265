/* timer_heap.h: many points in time behind one timer. A binary heap whose
 * members know their place, so that any of them can be moved or removed. */

#ifndef HIVE_TIMER_HEAP_H
#define HIVE_TIMER_HEAP_H

#include <stdint.h>

typedef struct timer_node_s timer_node_t;

struct timer_node_s {
    unsigned place;              /* 0: in no heap */
    void (*expire)(timer_node_t *node);
};

typedef struct {
    struct timer_entry_s {
        uint64_t at;
        timer_node_t *node;
    } *entries;                  /* from 1 */
    unsigned count;
    unsigned max;
} timer_heap_t;

/* 0, or -1 without memory. At most `max` nodes at once, so that setting one
 * never fails. */
int timer_heap_init(timer_heap_t *heap, unsigned max);
void timer_heap_release(timer_heap_t *heap);

/* Inserts or moves. */
void timer_heap_set(timer_heap_t *heap, timer_node_t *node, uint64_t at);

/* Does nothing when the node is in no heap. */
void timer_heap_clear(timer_heap_t *heap, timer_node_t *node);

/* Removes all that are due and calls their `expire`, which may not touch the
 * heap. */
void timer_heap_expire(timer_heap_t *heap, uint64_t now);

/* The earliest, or UINT64_MAX. */
static inline uint64_t
timer_heap_next(const timer_heap_t *heap)
{
    return heap->count > 0 ? heap->entries[1].at : UINT64_MAX;
}

#endif
