/* event_text.c: see event_text.h. */

#include "event_text.h"

#include <assert.h>
#include <inttypes.h>

void
event_put_text(buf_t *out, const event_t *event)
{
    buf_puts(out, "{\"type\":");
    json_put_string(out, event->type);
    buf_puts(out, ",\"channel\":");
    json_put_string(out, event->channel);
    if (event->kind == EVENT_CHANGE) {
        buf_printf(out, ",\"offset\":%" PRId64, event->offset);
        if (event->first != 0 && event->first != event->offset) {
            buf_printf(out, ",\"first\":%" PRId64, event->first);
        }
    }
    buf_puts(out, ",\"data\":");
    if (event->data.len > 0) {
        buf_put(out, event->data.data, event->data.len);
    } else {
        buf_puts(out, "null");
    }
    buf_puts(out, ",\"timestamp\":");
    json_put_time(out, event->time);
    buf_putc(out, '}');
}

void
event_put_record(buf_t *out, const event_record_t *record)
{
    size_t size = event_record_size(record);

    assert(size > 0);
    event_record_put((uint8_t *) buf_reserve(out, size), record);
    out->len += size;
}

/* A signal without data is one between workers: it has no text. */
static slice_t
event_text(arena_t *arena, const event_t *event)
{
    buf_t text;

    switch (event->kind) {
    case EVENT_CHANGE:
        break;
    case EVENT_SIGNAL:
        if (event->data.len == 0) {
            return SLICE("");
        }
        break;
    default:
        return event->data;
    }
    buf_init(&text, arena, 256 + event->data.len);
    event_put_text(&text, event);
    return buf_slice(&text);
}

void
event_put(buf_t *out, const event_t *event)
{
    event_put_record(out, &(event_record_t) {
        .kind = event->kind,
        .flags = event->flags,
        .offset = event->offset,
        .first = event->first != 0 ? event->first : event->offset,
        .channel = event->channel,
        .type = event->type,
        .key = event->key,
        .text = event_text(out->arena, event),
    });
}
