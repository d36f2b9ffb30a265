/* channel.h: channels inside realtime/: what a name means, and what is known
 * of channels at one moment. */

#ifndef HIVE_CHANNEL_H
#define HIVE_CHANNEL_H

#include "history.h"
#include "realtime.h"

typedef struct {
    slice_t name;
    const channel_kind_t *kind;  /* NULL: there are no channels like that */
    hive_uuid_t id;              /* zero: of nothing (system) */
} channel_t;

/* Names have one form: "kind:<uuid>" in lower case, or "system". */
channel_t channel_of(slice_t name);

/* Of a member that should be a string; "" when it is none. */
static inline slice_t
text_of(const json_t *json)
{
    return json_is_string(json)
        ? (slice_t) { json_string_value(json), json_string_length(json) }
        : SLICE("");
}

#define EVENTS_NOT_ASKED (-1)

/* One channel that is asked about, and the answer. */
typedef struct {
    channel_t channel;
    slice_t epoch;               /* that `after` is of; empty: the present */
    int64_t after;               /* or EVENTS_NOT_ASKED */
    int64_t most;                /* events, at least 1 */

    int found;                   /* it is there, and may be watched */
    int64_t head;
    slice_t now;                 /* its epoch */
    const db_result_t *rows;
    int begin;                   /* the row of its first event */
    const past_t *events;
    size_t count;
} asked_t;

/* Fills in the answers, each of one snapshot. Who asks is the caller, or, when
 * `trusted`, the hub, of what it has asked before for somebody. */
void channels_read(request_t *rq, int trusted, asked_t *asked, size_t count);

/* Appends a STATUS of each, and its events when those are all there are, up to
 * some that do not fit the room of one reply. */
void channels_put(buf_t *out, const asked_t *asked, size_t count);

/* Whether the caller may watch it. */
int channel_allowed(request_t *rq, const channel_t *channel);

#endif
