/* fiber_stack.c: mapping stacks, and keeping idle ones small.
 *
 * A stack costs address space, two mappings and whatever was touched. Most
 * fibers stay above the watermark, a few words at a fixed depth; when they
 * have changed, the pages from there down are given back (the idea is
 * Tarantool's, src/lib/core/fiber.c). A large frame can step over the words
 * without changing them: then the memory just stays until the next time. */

#include "fiber_stack.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void) (id))
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STACK_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define STACK_ASAN 1
#endif

#ifdef STACK_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(data, len) ((void) (data), (void) (len))
#endif

/* gcc probes large frames in steps of up to 64 KiB (aarch64). */
#define GUARD_SIZE (64 * 1024)
#define WATERMARK_DEPTH (32 * 1024)
#define WATERMARK_WORDS 4
#define WATERMARK_STEP (1024 / sizeof(uint64_t))
#define WATERMARK_VALUE UINT64_C(0x6869766520666272)

static uint64_t *
watermark_at(const fiber_stack_t *stack)
{
    return (uint64_t *) (void *) (stack->low + stack->size - WATERMARK_DEPTH);
}

/* Instrumented memory cannot be read behind the back of its owner. */
static int
watermark_used(void)
{
#ifdef STACK_ASAN
    return 0;
#else
    return !RUNNING_ON_VALGRIND;
#endif
}

static void
watermark_set(const fiber_stack_t *stack)
{
    uint64_t *words = watermark_at(stack);
    unsigned i;

    for (i = 0; i < WATERMARK_WORDS; i++) {
        words[i * WATERMARK_STEP] = WATERMARK_VALUE;
    }
}

static int
watermark_intact(const fiber_stack_t *stack)
{
    const uint64_t *words = watermark_at(stack);
    unsigned i;

    for (i = 0; i < WATERMARK_WORDS; i++) {
        if (words[i * WATERMARK_STEP] != WATERMARK_VALUE) {
            return 0;
        }
    }
    return 1;
}

int
fiber_stack_map(fiber_stack_t *stack)
{
    size_t whole = GUARD_SIZE + FIBER_STACK_SIZE;
    void *map = mmap(NULL, whole, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

    if (map == MAP_FAILED) {
        return -errno;
    }
    if (mprotect(map, GUARD_SIZE, PROT_NONE) != 0) {
        int error = errno;

        munmap(map, whole);
        return -error;
    }
    stack->map = map;
    stack->low = stack->map + GUARD_SIZE;
    stack->size = FIBER_STACK_SIZE;
    stack->valgrind_id = VALGRIND_STACK_REGISTER(stack->low,
        stack->low + stack->size);
    if (watermark_used()) {
        watermark_set(stack);
    }
    return 0;
}

void
fiber_stack_unmap(fiber_stack_t *stack)
{
    ASAN_UNPOISON_MEMORY_REGION(stack->low, stack->size);
    VALGRIND_STACK_DEREGISTER(stack->valgrind_id);
    munmap(stack->map, GUARD_SIZE + stack->size);
    stack->map = NULL;
}

void
fiber_stack_trim(fiber_stack_t *stack)
{
    ASAN_UNPOISON_MEMORY_REGION(stack->low, stack->size);
    if (watermark_used() && !watermark_intact(stack)) {
        char *end = (char *) watermark_at(stack) + 4096;

        madvise(stack->low, (size_t) (end - stack->low), MADV_DONTNEED);
        watermark_set(stack);
    }
}

int
fiber_stack_guards(const fiber_stack_t *stack, const void *address)
{
    uintptr_t at = (uintptr_t) address;
    uintptr_t map = (uintptr_t) stack->map;

    return at >= map && at < map + GUARD_SIZE;
}
