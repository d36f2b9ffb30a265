/* event_record_test.c: what a worker puts a hub gets, and a record that was
 * cut or bent is refused, never read past its end. */

#include "common/event_record.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const event_record_t change = {
    .kind = EVENT_CHANGE,
    .flags = EVENT_MORE | EVENT_RECOVERED,
    .offset = INT64_C(0x0123456789abcdef),
    .first = INT64_C(0x0123456789abcdea),
    .channel = { "project:018f0000-0000-7000-8000-00000000000a", 44 },
    .type = { "project.updated", 15 },
    .key = { "k", 1 },
    .text = { "{\"name\":\"\xe2\x82\xac\"}", 14 }
};

/* Reads an exact copy, so that a sanitizer sees a read past the end. */
static long
get(const void *data, size_t len, event_record_t *out)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    long got;

    assert_non_null(copy);
    memcpy(copy, data, len);
    got = event_record_get(copy, len, out);
    if (got > 0) {
        /* slices point into the copy: reading their ends proves it */
        const slice_t *slices[] = {
            &out->channel, &out->type, &out->key, &out->text
        };

        assert_true((size_t) got <= len);
        for (int i = 0; i < 4; i++) {
            const uint8_t *from = (const uint8_t *) slices[i]->data;

            assert_true(from >= copy && from + slices[i]->len <= copy + got);
        }
    }
    free(copy);
    return got;
}

static uint8_t *
put(const event_record_t *record, size_t *len)
{
    uint8_t *data;

    *len = event_record_size(record);
    assert_true(*len >= EVENT_RECORD_HEAD);
    data = malloc(*len);
    assert_non_null(data);
    event_record_put(data, record);
    return data;
}

static void
assert_slice(slice_t a, slice_t b)
{
    assert_int_equal(a.len, b.len);
    assert_true(slice_equal(a, b));
}

static void
assert_record(const event_record_t *a, const event_record_t *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->flags, b->flags);
    assert_true(a->offset == b->offset);
    assert_true(a->first == b->first);
    assert_slice(a->channel, b->channel);
    assert_slice(a->type, b->type);
    assert_slice(a->key, b->key);
    assert_slice(a->text, b->text);
}

static void
assert_kept(const event_record_t *record)
{
    event_record_t got;
    size_t len;
    uint8_t *data = put(record, &len);

    assert_int_equal(event_record_get(data, len, &got), len);
    assert_record(&got, record);
    free(data);
}

static void
what_is_put_is_got(void **state)
{
    event_record_t record = change;

    (void) state;

    assert_kept(&change);

    record.offset = -1;
    record.first = INT64_MIN;
    assert_kept(&record);

    record = (event_record_t) { .kind = EVENT_STATE };
    assert_kept(&record);
    assert_int_equal(event_record_size(&record), EVENT_RECORD_HEAD);

    for (int kind = EVENT_CHANGE; kind <= EVENT_STATE; kind++) {
        record = change;
        record.kind = (event_kind_t) kind;
        record.flags = (uint8_t) (1 << kind);
        assert_kept(&record);
    }
}

/* Byte by byte as the header draws it: another program may read it. */
static void
the_form_is_the_documented_one(void **state)
{
    static const uint8_t expected[] = {
        39, 0, 0, 0, 1, 3, 1, 0, 2, 0, 1, 0, 1, 0, 0, 0,
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
        0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        'c', 'h', 't', 'k', 'a', 'b', 'c'
    };
    event_record_t record = {
        .kind = EVENT_DELTA,
        .flags = EVENT_DONE,
        .offset = INT64_C(0x1122334455667788),
        .first = -2,
        .channel = SLICE("ch"),
        .type = SLICE("t"),
        .key = SLICE("k"),
        .text = SLICE("abc")
    };
    size_t len;
    uint8_t *data = put(&record, &len);

    (void) state;

    assert_int_equal(len, sizeof(expected));
    assert_memory_equal(data, expected, len);
    free(data);
}

static void
records_follow_each_other(void **state)
{
    event_record_t got;
    size_t len;
    uint8_t *one = put(&change, &len);
    uint8_t *many = malloc(3 * len);
    size_t at = 0;

    (void) state;

    assert_non_null(many);
    for (int i = 0; i < 3; i++) {
        memcpy(many + i * len, one, len);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(event_record_get(many + at, 3 * len - at, &got),
            len);
        assert_record(&got, &change);
        at += len;
    }
    assert_int_equal(event_record_get(many + at, 0, &got), 0);
    assert_int_equal(event_record_get(NULL, 0, &got), 0);
    free(many);
    free(one);
}

static void
a_cut_record_is_refused(void **state)
{
    event_record_t got;
    size_t len;
    uint8_t *data = put(&change, &len);

    (void) state;

    for (size_t cut = 1; cut < len; cut++) {
        assert_int_equal(get(data, cut, &got), -1);
    }
    assert_int_equal(get(data, len, &got), len);
    free(data);
}

/* Any one byte of the head may be any other: what is got then lies inside,
 * and is what those bytes say. */
static void
a_bent_record_is_never_left(void **state)
{
    event_record_t got;
    size_t len;
    uint8_t *data = put(&change, &len);

    (void) state;

    for (size_t at = 0; at < EVENT_RECORD_HEAD; at++) {
        uint8_t was = data[at];

        for (unsigned c = 0; c < 256; c++) {
            long size;

            data[at] = (uint8_t) c;
            size = get(data, len, &got);
            if (at < 4 && c != was) {
                /* shorter may still hold the strings */
                assert_true(size == -1
                            || ((size_t) size < len
                                && (size_t) size >= len - change.text.len));
            }
            if (at == 4) {
                assert_int_equal(size, c == was ? (long) len : -1);
            }
            if (at == 5) {
                assert_int_equal(size, len);
                assert_int_equal(got.kind, c);
            }
        }
        data[at] = was;
    }
    free(data);
}

static void
lengths_that_lie_are_refused(void **state)
{
    event_record_t got;
    size_t len;
    uint8_t *data = put(&change, &len);

    (void) state;

    /* each string may be no longer than all of them together are */
    for (size_t at = 8; at <= 12; at += 2) {
        uint8_t was = data[at];

        data[at] = (uint8_t) (was + change.text.len);
        assert_int_equal(get(data, len, &got), len);
        assert_int_equal(got.text.len, 0);
        data[at]++;
        assert_int_equal(get(data, len, &got), -1);
        data[at] = was;

        data[at + 1] = 0xff;
        assert_int_equal(get(data, len, &got), -1);
        data[at + 1] = 0;
    }

    /* lengths of 2 GiB and more, and less than a head */
    data[3] = 0x80;
    assert_int_equal(get(data, len, &got), -1);
    data[3] = 0xff;
    assert_int_equal(get(data, len, &got), -1);
    memset(data, 0, 4);
    assert_int_equal(get(data, len, &got), -1);
    data[0] = EVENT_RECORD_HEAD - 1;
    assert_int_equal(get(data, len, &got), -1);
    free(data);
}

/* Only sizes are looked at: there need not be that many bytes. */
static void
too_long_has_no_size(void **state)
{
    static char name[UINT16_MAX];
    slice_t longest = { name, UINT16_MAX };
    slice_t longer = { name, UINT16_MAX + 1 };
    event_record_t record = { .kind = EVENT_CHANGE };

    (void) state;

    memset(name, 'n', sizeof(name));
    record.channel = record.type = record.key = longest;
    record.text = SLICE("text");
    assert_kept(&record);

    record.channel = longer;
    assert_int_equal(event_record_size(&record), 0);
    record.channel = longest;
    record.type = longer;
    assert_int_equal(event_record_size(&record), 0);
    record.type = longest;
    record.key = longer;
    assert_int_equal(event_record_size(&record), 0);
    record.key = longest;

    record.text = (slice_t) { name, INT_MAX };
    assert_int_equal(event_record_size(&record), 0);
    record.text.len = SIZE_MAX;
    assert_int_equal(event_record_size(&record), 0);
    record.text.len = INT_MAX - EVENT_RECORD_HEAD - 3 * UINT16_MAX;
    assert_int_equal(event_record_size(&record), INT_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_got),
        cmocka_unit_test(the_form_is_the_documented_one),
        cmocka_unit_test(records_follow_each_other),
        cmocka_unit_test(a_cut_record_is_refused),
        cmocka_unit_test(a_bent_record_is_never_left),
        cmocka_unit_test(lengths_that_lie_are_refused),
        cmocka_unit_test(too_long_has_no_size),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
