/* history.c: see history.h.
 *
 * Offsets have no gaps, so a reader that has all up to `after` wants an event
 * that stands for after + 1, then one for what follows that one, and so on to
 * the head. An event that stands for several offsets may begin before what is
 * wanted: it replaces what the reader has seen of it. */

#include "history.h"

/* The offset up to which the events leave nothing out. */
static int64_t
reach(const past_t *events, size_t count, int64_t after, int *gap)
{
    int64_t last = after;

    *gap = 0;
    for (size_t i = 0; i < count; i++) {
        if (events[i].first > last + 1) {
            *gap = 1;
            break;
        }
        last = events[i].offset;
    }
    return last;
}

static size_t
fitting(const past_t *events, size_t count, size_t room, int any)
{
    size_t fit = 0;

    while (fit < count && (events[fit].bytes <= room || (any && fit == 0))) {
        room -= events[fit].bytes <= room ? events[fit].bytes : room;
        fit++;
    }
    return fit;
}

history_t
history_judge(const past_t *events, size_t count, int64_t after, int64_t head,
    size_t most, size_t room, int any, size_t *fit)
{
    int gap;
    int64_t last = reach(events, count, after, &gap);

    *fit = 0;
    if (gap || after > head || (last < head && count < most)) {
        return HISTORY_GAP;
    }
    *fit = fitting(events, count, room, any);
    return *fit < count || last < head ? HISTORY_MORE : HISTORY_WHOLE;
}
