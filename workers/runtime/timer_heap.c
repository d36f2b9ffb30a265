/* timer_heap.c: the binary heap behind sleeps and deadlines. Deadlines are
 * mostly set in ascending order and cleared long before they come, so an
 * insertion usually ends where it began: at the last place. */

#include "timer_heap.h"

#include <assert.h>
#include <stdlib.h>

typedef struct timer_entry_s entry_t;

int
timer_heap_init(timer_heap_t *heap, unsigned max)
{
    heap->count = 0;
    heap->max = max;
    heap->entries = malloc(((size_t) max + 1) * sizeof(*heap->entries));
    return heap->entries == NULL ? -1 : 0;
}

void
timer_heap_release(timer_heap_t *heap)
{
    free(heap->entries);
    heap->entries = NULL;
    heap->count = 0;
}

static void
heap_put(timer_heap_t *heap, unsigned place, entry_t entry)
{
    heap->entries[place] = entry;
    entry.node->place = place;
}

static void
heap_up(timer_heap_t *heap, unsigned place, entry_t entry)
{
    while (place > 1 && heap->entries[place / 2].at > entry.at) {
        heap_put(heap, place, heap->entries[place / 2]);
        place /= 2;
    }
    heap_put(heap, place, entry);
}

static void
heap_down(timer_heap_t *heap, unsigned place, entry_t entry)
{
    unsigned child;

    while ((child = place * 2) <= heap->count) {
        if (child < heap->count
            && heap->entries[child + 1].at < heap->entries[child].at) {
            child++;
        }
        if (heap->entries[child].at >= entry.at) {
            break;
        }
        heap_put(heap, place, heap->entries[child]);
        place = child;
    }
    heap_put(heap, place, entry);
}

static void
heap_settle(timer_heap_t *heap, unsigned place, entry_t entry)
{
    if (place > 1 && heap->entries[place / 2].at > entry.at) {
        heap_up(heap, place, entry);
    } else {
        heap_down(heap, place, entry);
    }
}

void
timer_heap_set(timer_heap_t *heap, timer_node_t *node, uint64_t at)
{
    entry_t entry = { at, node };

    if (node->place != 0) {
        assert(heap->entries[node->place].node == node);
        heap_settle(heap, node->place, entry);
        return;
    }
    assert(heap->count < heap->max);
    heap->count++;
    heap_up(heap, heap->count, entry);
}

void
timer_heap_clear(timer_heap_t *heap, timer_node_t *node)
{
    unsigned place = node->place;
    entry_t last;

    if (place == 0) {
        return;
    }
    assert(heap->entries[place].node == node);
    node->place = 0;
    last = heap->entries[heap->count];
    heap->count--;
    if (last.node != node) {
        heap_settle(heap, place, last);
    }
}

void
timer_heap_expire(timer_heap_t *heap, uint64_t now)
{
    while (heap->count > 0 && heap->entries[1].at <= now) {
        timer_node_t *node = heap->entries[1].node;

        timer_heap_clear(heap, node);
        node->expire(node);
    }
}
