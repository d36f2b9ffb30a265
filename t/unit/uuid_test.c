/* uuid_test.c: ids have the right form, ascend, and never repeat, not even
 * in a forked child. */

#include "common/uuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* These two take the place of the library's: how often randomness is asked
 * for is counted, with an interruption and a short answer now and then, and
 * the clock can be set. */
static unsigned random_calls;
static int64_t clock_offset_ms;
static struct timespec clock_stopped;   /* there, unless zero */

ssize_t
getrandom(void *buf, size_t len, unsigned flags)
{
    random_calls++;
    if (random_calls % 5 == 1) {
        errno = EINTR;
        return -1;
    }
    if (random_calls % 5 == 2 && len > 100) {
        len = 100;
    }
    return syscall(SYS_getrandom, buf, len, flags);
}

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
    int rc = (int) syscall(SYS_clock_gettime, clock, ts);

    if (clock_stopped.tv_sec != 0) {
        *ts = clock_stopped;
        return 0;
    }

    ts->tv_sec += clock_offset_ms / 1000;
    ts->tv_nsec += clock_offset_ms % 1000 * 1000000;
    if (ts->tv_nsec < 0) {
        ts->tv_nsec += 1000000000;
        ts->tv_sec--;
    } else if (ts->tv_nsec >= 1000000000) {
        ts->tv_nsec -= 1000000000;
        ts->tv_sec++;
    }
    return rc;
}

static uint64_t
uuid_ms(const hive_uuid_t *uuid)
{
    uint64_t ms = 0;

    for (int i = 0; i < 6; i++) {
        ms = ms << 8 | uuid->bytes[i];
    }
    return ms;
}

static uint64_t
clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

static int
compare(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static void
v7_has_the_layout_of_rfc_9562(void **state)
{
    static const unsigned cells[] = { 0, 1, 0x5a5, 4095 };

    (void) state;

    for (size_t i = 0; i < 4; i++) {
        uint64_t before = clock_ms();
        hive_uuid_t id;

        uuid_v7(&id, cells[i]);
        assert_in_range(uuid_ms(&id), before, clock_ms() + 1);
        assert_int_equal(id.bytes[6] >> 4, 7);
        assert_int_equal((id.bytes[6] & 15) << 8 | id.bytes[7], cells[i]);
        assert_int_equal(id.bytes[8] >> 6, 2);
    }
}

static void
v7_ascends_without_a_syscall_each(void **state)
{
    enum { COUNT = 200000 };
    unsigned calls = random_calls;
    hive_uuid_t previous, id;

    (void) state;

    uuid_v7(&previous, 7);
    for (int i = 0; i < COUNT; i++) {
        uuid_v7(&id, 7);
        assert_true(memcmp(previous.bytes, id.bytes, 16) < 0);
        previous = id;
    }

    assert_true(random_calls - calls < COUNT / 200);
}

static void
v7_ascends_when_the_clock_steps_back(void **state)
{
    hive_uuid_t previous, id;

    (void) state;

    uuid_v7(&previous, 0);
    clock_offset_ms = -5000;
    for (int i = 0; i < 1000; i++) {
        uuid_v7(&id, 0);
        assert_true(memcmp(previous.bytes, id.bytes, 16) < 0);
        previous = id;
    }

    /* But a clock that was an hour fast is believed when it is put right. */
    clock_offset_ms = -3600 * 1000;
    uuid_v7(&id, 0);
    assert_in_range(uuid_ms(&id), clock_ms() - 100, clock_ms() + 1);
    clock_offset_ms = 0;
}

static void
v4_is_random_and_marked(void **state)
{
    enum { COUNT = 20000 };
    hive_uuid_t *ids = calloc(COUNT, sizeof(*ids));
    unsigned ones[128] = { 0 };

    (void) state;

    assert_non_null(ids);
    for (int i = 0; i < COUNT; i++) {
        uuid_v4(&ids[i]);
        assert_int_equal(ids[i].bytes[6] >> 4, 4);
        assert_int_equal(ids[i].bytes[8] >> 6, 2);
        for (int bit = 0; bit < 128; bit++) {
            ones[bit] += ids[i].bytes[bit / 8] >> (bit % 8) & 1;
        }
    }

    for (int bit = 0; bit < 128; bit++) {
        if (bit / 4 == 13 || (bit / 8 == 8 && bit % 8 >= 6)) {
            continue;       /* version and variant */
        }
        assert_in_range(ones[bit], COUNT / 2 - 600, COUNT / 2 + 600);
    }

    qsort(ids, COUNT, sizeof(*ids), compare);
    for (int i = 1; i < COUNT; i++) {
        assert_false(uuid_equal(&ids[i - 1], &ids[i]));
    }
    free(ids);
}

static void
make_both(hive_uuid_t *ids, int count)
{
    for (int i = 0; i < count; i++) {
        if (i % 2 == 0) {
            uuid_v7(&ids[i], 0);
        } else {
            uuid_v4(&ids[i]);
        }
    }
}

static void
a_child_makes_other_ids(void **state)
{
    enum { COUNT = 100 };
    hive_uuid_t ids[3 * COUNT];
    int fds[2];
    int status;
    pid_t pid;

    (void) state;

    /* All in one millisecond, where an id follows from the one before. */
    clock_gettime(CLOCK_REALTIME, &clock_stopped);
    make_both(ids, 3);
    for (int child = 0; child < 2; child++) {
        assert_int_equal(pipe(fds), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            make_both(ids, COUNT);
            _exit(write(fds[1], ids, COUNT * sizeof(*ids))
                  == COUNT * sizeof(*ids) ? 0 : 1);
        }
        assert_int_equal(read(fds[0], ids + child * COUNT,
                              COUNT * sizeof(*ids)),
                         COUNT * sizeof(*ids));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        close(fds[0]);
        close(fds[1]);
    }
    make_both(ids + 2 * COUNT, COUNT);
    clock_stopped.tv_sec = 0;

    /* The children began anew, far from the parent and from each other. */
    for (int i = 0; i < 3; i++) {
        assert_memory_not_equal(ids[i * COUNT].bytes + 8,
                                ids[(i + 1) % 3 * COUNT].bytes + 8, 3);
    }
    for (int i = 0; i < 3 * COUNT; i++) {
        for (int k = 0; k < i; k++) {
            assert_memory_not_equal(ids[i].bytes + 8, ids[k].bytes + 8, 8);
        }
    }
}

static void
text_round_trips(void **state)
{
    static const hive_uuid_t known = { {
        0x01, 0x9f, 0xab, 0x00, 0x12, 0x34, 0x7f, 0xed,
        0x80, 0x01, 0x02, 0x03, 0x04, 0xc5, 0xd6, 0xff
    } };
    char text[UUID_TEXT + 1] = { 0 };
    hive_uuid_t back;

    (void) state;

    uuid_format(&known, text);
    assert_string_equal(text, "019fab00-1234-7fed-8001-020304c5d6ff");
    assert_int_equal(uuid_parse(text, UUID_TEXT, &back), 0);
    assert_true(uuid_equal(&known, &back));

    assert_int_equal(
        uuid_parse("019FAB00-1234-7Fed-8001-020304C5D6FF", 36, &back), 0);
    assert_true(uuid_equal(&known, &back));

    for (int i = 0; i < 1000; i++) {
        hive_uuid_t id;

        uuid_v4(&id);
        uuid_format(&id, text);
        assert_int_equal(uuid_parse(text, UUID_TEXT, &back), 0);
        assert_true(uuid_equal(&id, &back));
    }
}

static int
refuses(const char *text, size_t len)
{
    hive_uuid_t untouched, out;
    char *copy = malloc(len + 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy + 1, text, len);
    memset(&out, 0xa5, sizeof(out));
    untouched = out;
    rc = uuid_parse(copy + 1, len, &out);
    free(copy);
    return rc == -1 && uuid_equal(&out, &untouched);
}

static void
other_text_is_refused(void **state)
{
    static const char good[] = "019fab00-1234-7fed-8001-020304c5d6ff";
    char text[UUID_TEXT + 2];

    (void) state;

    for (size_t len = 0; len < UUID_TEXT; len++) {
        assert_true(refuses(good, len));
    }
    memcpy(text, good, UUID_TEXT);
    text[UUID_TEXT] = '0';
    assert_true(refuses(text, UUID_TEXT + 1));

    for (size_t at = 0; at < UUID_TEXT; at++) {
        for (int c = 0; c < 256; c++) {
            int hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')
                      || (c >= 'A' && c <= 'F');

            if (good[at] == '-' ? c == '-' : hex) {
                continue;
            }
            memcpy(text, good, UUID_TEXT);
            text[at] = (char) c;
            assert_true(refuses(text, UUID_TEXT));
        }
    }

    assert_true(refuses("{19fab00-1234-7fed-8001-020304c5d6f}", 36));
    assert_true(refuses("019fab0012347fed8001020304c5d6ff", 32));
    assert_true(refuses("019fab001-234-7fed-8001-020304c5d6ff", 36));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v7_has_the_layout_of_rfc_9562),
        cmocka_unit_test(v7_ascends_without_a_syscall_each),
        cmocka_unit_test(v7_ascends_when_the_clock_steps_back),
        cmocka_unit_test(v4_is_random_and_marked),
        cmocka_unit_test(a_child_makes_other_ids),
        cmocka_unit_test(text_round_trips),
        cmocka_unit_test(other_text_is_refused),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
