/* channel_reply.c: what is known of channels, as records. */

#include "channel.h"
#include "event_text.h"

/* Of events in one reply; what does not fit is asked for again. */
#define ROOM_BYTES (1024 * 1024)

static void
put_event(buf_t *out, const asked_t *asked, size_t index)
{
    db_row_t row = db_row_at(asked->rows, asked->begin + (int) index);

    event_put(out, &(event_t) {
        .kind = EVENT_CHANGE,
        .channel = asked->channel.name,
        .offset = asked->events[index].offset,
        .first = asked->events[index].first,
        .type = db_text(&row, "type"),
        .data = db_text(&row, "data"),
        .time = db_time(&row, "created_at"),
    });
}

/* How many of its events are told, and what is said of them. */
static size_t
judge(const asked_t *asked, size_t room, int any, uint8_t *flags)
{
    size_t fit;

    if (asked->after == EVENTS_NOT_ASKED || (asked->epoch.len > 0
        && !slice_equal(asked->epoch, asked->now)))
    {
        return 0;
    }
    switch (history_judge(asked->events, asked->count, asked->after,
        asked->head, (size_t) asked->most, room, any, &fit))
    {
    case HISTORY_GAP:
        return 0;
    case HISTORY_MORE:
        *flags |= EVENT_RECOVERED | EVENT_MORE;
        return fit;
    case HISTORY_WHOLE:
        *flags |= EVENT_RECOVERED;
        return fit;
    }
    return 0;
}

void
channels_put(buf_t *out, const asked_t *asked, size_t count)
{
    size_t room = ROOM_BYTES;

    for (size_t i = 0; i < count; i++) {
        const asked_t *one = &asked[i];
        event_record_t status = { .kind = EVENT_STATUS,
            .channel = one->channel.name };
        size_t events = 0;

        if (one->found) {
            status.flags = EVENT_ALLOWED;
            status.offset = status.first = one->head;
            status.key = one->now;
            events = judge(one, room, room == ROOM_BYTES, &status.flags);
        } else {
            status.type = one->channel.kind == NULL ? SLICE("unknown_channel")
                : SLICE("not_allowed");
        }
        event_put_record(out, &status);
        for (size_t k = 0; k < events; k++) {
            size_t bytes = one->events[k].bytes;

            put_event(out, one, k);
            room -= bytes <= room ? bytes : room;
        }
    }
}
