/* fiber_stack.h: the memory a fiber runs on. Private to the fibers. */

#ifndef HIVE_FIBER_STACK_H
#define HIVE_FIBER_STACK_H

#include "fiber.h"

#include <stddef.h>

/* Address space, not memory. jansson alone recurses through more than 512 KiB
 * at its depth limit of 2048, which a request body may reach. */
#define FIBER_STACK_SIZE (1024 * 1024)

typedef struct {
    char *map;                   /* begins with the guard page */
    char *low;                   /* lowest usable address */
    size_t size;                 /* usable */
    unsigned valgrind_id;
} fiber_stack_t;

/* Maps a stack; nothing of it is resident yet. 0 or negative errno. */
int fiber_stack_map(fiber_stack_t *stack);
void fiber_stack_unmap(fiber_stack_t *stack);

/* Called when a stack becomes idle: what one deep call has made resident
 * below the watermark goes back to the system. */
void fiber_stack_trim(fiber_stack_t *stack);

/* Nonzero when the address lies in the guard page. */
int fiber_stack_guards(const fiber_stack_t *stack, const void *address);

const fiber_stack_t *fiber_stack_of(const fiber_t *fiber);

#endif
