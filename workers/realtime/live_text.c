/* live_text.c: texts that grow, told as they do.
 *
 * A delta says where it belongs in its text, and the hubs put together what
 * fits. So a text may be told anew from its beginning whenever somebody begins
 * to listen to its channel: who has had it takes no notice, and who comes
 * late, or lost the first pieces because the subscription was still on its
 * way, has all of it. */

#include "internal.h"

#include "workers/db/event.h"

struct live_text_s {
    live_text_t *next, **link;
    slice_t channels[LIVE_TEXT_CHANNELS];
    slice_t key;
    slice_t told;
};

static live_text_t *live_texts;

static void
tell(const live_text_t *text, slice_t channel, size_t from, int done)
{
    event_emit(&(event_t) {
        .kind = EVENT_DELTA,
        .flags = done ? EVENT_DONE : 0,
        .channel = channel,
        .offset = (int64_t) from,
        .type = SLICE("message.delta"),
        .key = text->key,
        .data = { text->told.data + from, text->told.len - from },
    });
}

static void
tell_all(const live_text_t *text, size_t from, int done)
{
    for (int i = 0; i < LIVE_TEXT_CHANNELS; i++) {
        if (text->channels[i].len > 0) {
            tell(text, text->channels[i], from, done);
        }
    }
}

void
live_texts_tell(slice_t channel)
{
    for (const live_text_t *text = live_texts; text; text = text->next) {
        for (int i = 0; i < LIVE_TEXT_CHANNELS; i++) {
            if (text->told.len > 0
                && slice_equal(text->channels[i], channel)) {
                tell(text, channel, 0, 0);
            }
        }
    }
}

static void
forget(void *arg)
{
    live_text_t *text = arg;

    if (text->link != NULL) {
        *text->link = text->next;
        if (text->next != NULL) {
            text->next->link = text->link;
        }
        text->link = NULL;
    }
}

live_text_t *
live_text_open(request_t *rq, slice_t channel, slice_t other, slice_t key)
{
    live_text_t *text = arena_zero(rq->arena, sizeof(*text));

    text->channels[0] = channel;
    text->channels[1] = other;
    text->key = key;
    text->next = live_texts;
    text->link = &live_texts;
    if (text->next != NULL) {
        text->next->link = &text->next;
    }
    live_texts = text;
    arena_cleanup(rq->arena, forget, text);
    return text;
}

void
live_text_grow(live_text_t *text, slice_t whole)
{
    size_t from = text->told.len;

    text->told = whole;
    tell_all(text, from, 0);
}

void
live_text_close(live_text_t *text)
{
    if (text->told.len > 0) {
        tell_all(text, text->told.len, 1);
    }
    forget(text);
}
