/* event_record.c: see event_record.h. */

#include "event_record.h"

#include <limits.h>

static void
put_u16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t) value;
    out[1] = (uint8_t) (value >> 8);
}

static void
put_u32(uint8_t *out, uint32_t value)
{
    put_u16(out, (uint16_t) value);
    put_u16(out + 2, (uint16_t) (value >> 16));
}

static void
put_i64(uint8_t *out, int64_t value)
{
    put_u32(out, (uint32_t) (uint64_t) value);
    put_u32(out + 4, (uint32_t) ((uint64_t) value >> 32));
}

static uint16_t
get_u16(const uint8_t *in)
{
    return (uint16_t) (in[0] | in[1] << 8);
}

static uint32_t
get_u32(const uint8_t *in)
{
    return get_u16(in) | (uint32_t) get_u16(in + 2) << 16;
}

static int64_t
get_i64(const uint8_t *in)
{
    return (int64_t) (get_u32(in) | (uint64_t) get_u32(in + 4) << 32);
}

size_t
event_record_size(const event_record_t *record)
{
    size_t size;

    if (record->channel.len > UINT16_MAX || record->type.len > UINT16_MAX
        || record->key.len > UINT16_MAX
        || record->text.len > INT_MAX - EVENT_RECORD_HEAD - 3 * UINT16_MAX)
    {
        return 0;
    }
    size = EVENT_RECORD_HEAD + record->channel.len + record->type.len
        + record->key.len + record->text.len;
    return size;
}

static uint8_t *
put_slice(uint8_t *out, slice_t slice)
{
    if (slice.len > 0) {
        memcpy(out, slice.data, slice.len);
    }
    return out + slice.len;
}

void
event_record_put(uint8_t *out, const event_record_t *record)
{
    put_u32(out, (uint32_t) event_record_size(record));
    out[4] = EVENT_RECORD_VERSION;
    out[5] = (uint8_t) record->kind;
    out[6] = record->flags;
    out[7] = 0;
    put_u16(out + 8, (uint16_t) record->channel.len);
    put_u16(out + 10, (uint16_t) record->type.len);
    put_u16(out + 12, (uint16_t) record->key.len);
    put_u16(out + 14, 0);
    put_i64(out + 16, record->offset);
    put_i64(out + 24, record->first);
    out = put_slice(out + EVENT_RECORD_HEAD, record->channel);
    out = put_slice(out, record->type);
    out = put_slice(out, record->key);
    put_slice(out, record->text);
}

static const char *
take_slice(const char *from, size_t len, slice_t *out)
{
    out->data = from;
    out->len = len;
    return from + len;
}

long
event_record_get(const void *data, size_t len, event_record_t *out)
{
    const uint8_t *in = data;
    const char *text;
    size_t size, strings;

    if (len == 0) {
        return 0;
    }
    if (len < EVENT_RECORD_HEAD || in[4] != EVENT_RECORD_VERSION) {
        return -1;
    }
    size = get_u32(in);
    strings = (size_t) get_u16(in + 8) + get_u16(in + 10) + get_u16(in + 12);
    if (size > len || size > INT_MAX || size < EVENT_RECORD_HEAD + strings) {
        return -1;
    }

    out->kind = (event_kind_t) in[5];
    out->flags = in[6];
    out->offset = get_i64(in + 16);
    out->first = get_i64(in + 24);
    text = (const char *) in + EVENT_RECORD_HEAD;
    text = take_slice(text, get_u16(in + 8), &out->channel);
    text = take_slice(text, get_u16(in + 10), &out->type);
    text = take_slice(text, get_u16(in + 12), &out->key);
    take_slice(text, size - EVENT_RECORD_HEAD - strings, &out->text);
    return (long) size;
}
