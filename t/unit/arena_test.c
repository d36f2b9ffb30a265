/* Promises of arena.h: alignment, clean-ups in reverse order and once,
 * reuse, and a buffer that grows without losing a byte. */

#include "workers/runtime/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void
allocations_are_aligned_and_apart(void **state)
{
    arena_t *arena = arena_new();
    unsigned char *spans[200];
    size_t i, j;

    (void) state;
    for (i = 0; i < 200; i++) {
        spans[i] = arena_alloc(arena, i * 7);
        assert_int_equal((uintptr_t) spans[i] % 16, 0);
        memset(spans[i], (int) i, i * 7);
    }
    for (i = 0; i < 200; i++) {
        for (j = 0; j < i * 7; j++) {
            assert_int_equal(spans[i][j], i);
        }
    }
    arena_free(arena);
}

static void
large_allocations_leave_the_block_in_use(void **state)
{
    arena_t *arena = arena_new();
    char *before = arena_alloc(arena, 16);
    char *large = arena_alloc(arena, 3 * 1024 * 1024);
    char *after = arena_alloc(arena, 16);

    (void) state;
    memset(large, 'x', 3 * 1024 * 1024);
    assert_true(after - before < 256);
    assert_true(arena_used(arena) >= 3 * 1024 * 1024 + 32);
    arena_free(arena);
}

typedef struct {
    char order[16];
    arena_t *arena;
} trace_t;

static trace_t trace;

static void
note(trace_t *t, const char *text)
{
    strncat(t->order, text, sizeof(t->order) - strlen(t->order) - 1);
}

static void
note_a(void *arg)
{
    note(arg, "a");
}

static void
note_b(void *arg)
{
    note(arg, "b");
}

static void
note_and_register(void *arg)
{
    trace_t *t = arg;

    note(t, "r");
    arena_cleanup(t->arena, note_b, t);
    memset(arena_alloc(t->arena, 40000), 0, 40000);
}

static void
cleanups_run_backwards_once(void **state)
{
    cleanup_t *cancelled;

    (void) state;
    memset(&trace, 0, sizeof(trace));
    trace.arena = arena_new();
    arena_cleanup(trace.arena, note_a, &trace);
    cancelled = arena_cleanup(trace.arena, note_a, &trace);
    arena_cleanup(trace.arena, note_b, &trace);
    arena_cleanup(trace.arena, note_and_register, &trace);
    arena_cleanup_cancel(cancelled);
    arena_reset(trace.arena);
    assert_string_equal(trace.order, "rbba");
    arena_reset(trace.arena);
    assert_string_equal(trace.order, "rbba");
    assert_int_equal(arena_used(trace.arena), 0);
    arena_free(trace.arena);
    arena_free(NULL);
}

static void
reset_keeps_the_first_block(void **state)
{
    arena_t *arena = arena_new();
    char *first = arena_alloc(arena, 100);
    int i;

    (void) state;
    for (i = 0; i < 1000; i++) {
        memset(arena_alloc(arena, 1000), i, 1000);
    }
    arena_reset(arena);
    assert_ptr_equal(arena_alloc(arena, 100), first);
    arena_free(arena);
}

static void
strings_are_copied_and_terminated(void **state)
{
    arena_t *arena = arena_new();
    char *long_text;
    slice_t slice;

    (void) state;
    assert_string_equal(arena_strndup(arena, "abcdef", 3), "abc");
    assert_string_equal(arena_strndup(arena, NULL, 0), "");
    slice = arena_slice(arena, SLICE("x\0y"));
    assert_int_equal(slice.len, 3);
    assert_memory_equal(slice.data, "x\0y\0", 4);
    assert_string_equal(arena_printf(arena, "%d-%s", 7, "z"), "7-z");
    long_text = arena_printf(arena, "%0500d", 1);
    assert_int_equal(strlen(long_text), 500);
    assert_string_equal(long_text + 495, "00001");
    arena_free(arena);
}

static void
buffers_grow(void **state)
{
    arena_t *arena = arena_new();
    buf_t buf;
    size_t i;

    (void) state;
    buf_init(&buf, arena, 4);
    for (i = 0; i < 20000; i++) {
        if (i % 1000 == 0) {
            arena_alloc(arena, 8);  /* not the last allocation any more */
        }
        buf_putc(&buf, (char) ('a' + i % 26));
    }
    assert_int_equal(buf.len, 20000);
    for (i = 0; i < 20000; i++) {
        assert_int_equal(buf.data[i], 'a' + i % 26);
    }
    buf.len = 0;
    buf_puts(&buf, "one ");
    buf_put(&buf, NULL, 0);
    buf_printf(&buf, "%s", "two");
    assert_true(slice_equal(buf_slice(&buf), SLICE("one two")));
    buf_init(&buf, arena, 0);
    buf_printf(&buf, "%0100d", 5);
    assert_int_equal(buf.len, 100);
    assert_int_equal(buf.data[99], '5');
    arena_free(arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_aligned_and_apart),
        cmocka_unit_test(large_allocations_leave_the_block_in_use),
        cmocka_unit_test(cleanups_run_backwards_once),
        cmocka_unit_test(reset_keeps_the_first_block),
        cmocka_unit_test(strings_are_copied_and_terminated),
        cmocka_unit_test(buffers_grow)
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
