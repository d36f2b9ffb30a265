/* channel_ops.c: what the hubs ask of channels: channel_open (for somebody,
 * with what they have missed), channel_heads and channel_history (of what is
 * watched already, should events have been lost on the way), channel_state.
 *
 *   channel_open     {"channels": [{"channel", "epoch", "after", "limit"}]}
 *   channel_history  {"channel", "epoch", "after", "limit"}
 *   channel_heads    {"channels": ["...", ...]}
 *   channel_state    {"channel"}
 *
 * Only the channel is required. Replies are records: for each channel in its
 * order a STATUS and its events, or one STATE. */

#include "channel.h"
#include "event_text.h"

#define OPEN_MAX   256
#define HEADS_MAX  1000
#define LIMIT_MAX  1000
#define EVENTS_MAX 4000         /* of all channels of a request */

static void
reply_records(request_t *rq, const buf_t *records)
{
    rq_reply_header(rq, "content-type", SLICE("application/octet-stream"));
    rq_reply(rq, 200, buf_slice(records));
}

/* ---- reading ---- */

static channel_t
read_channel(request_t *rq, const json_t *name)
{
    if (!json_is_string(name)) {
        rq_invalid(rq, "channel", "required", "must be the name of a channel");
    }
    return channel_of(text_of(name));
}

static int64_t
read_number(request_t *rq, const json_t *object, const char *name,
    int64_t fallback, int64_t min, int64_t max)
{
    const json_t *value = json_object_get(object, name);

    if (value == NULL || json_is_null(value)) {
        return fallback;
    }
    if (!json_is_integer(value) || json_integer_value(value) < min
        || json_integer_value(value) > max)
    {
        rq_invalid(rq, name, "out_of_range", "must be a whole number from %lld"
            " to %lld", (long long) min, (long long) max);
    }
    return json_integer_value(value);
}

static asked_t
read_asked(request_t *rq, const json_t *object)
{
    return (asked_t) {
        .channel = read_channel(rq, json_object_get(object, "channel")),
        .epoch = text_of(json_object_get(object, "epoch")),
        .after = read_number(rq, object, "after", EVENTS_NOT_ASKED, 0,
            INT64_MAX),
        .most = read_number(rq, object, "limit", LIMIT_MAX, 1, LIMIT_MAX),
    };
}

/* The array "channels", of 1 to `max`. */
static const json_t *
read_list(request_t *rq, size_t max)
{
    const json_t *list = json_object_get(rq_json(rq), "channels");

    if (!json_is_array(list) || json_array_size(list) == 0
        || json_array_size(list) > max)
    {
        rq_invalid(rq, "channels", "out_of_range",
            "must be a list of 1 to %zu", max);
        rq_check(rq);
    }
    return list;
}

/* ---- the operations ---- */

static void
answer(request_t *rq, int trusted, asked_t *asked, size_t count)
{
    buf_t out;

    rq_check(rq);
    channels_read(rq, trusted, asked, count);
    buf_init(&out, rq->arena, 256 * count);
    channels_put(&out, asked, count);
    reply_records(rq, &out);
}

void
op_channel_open(request_t *rq)
{
    const json_t *list = read_list(rq, OPEN_MAX), *item;
    size_t count = json_array_size(list), i, eager = 0;
    asked_t *asked = arena_alloc(rq->arena, count * sizeof(*asked));

    json_array_foreach(list, i, item) {
        asked[i] = read_asked(rq, item);
        eager += asked[i].after != EVENTS_NOT_ASKED;
    }
    for (i = 0; i < count && eager > 0; i++) {
        int64_t share = (int64_t) (EVENTS_MAX / eager);

        asked[i].most = asked[i].most < share ? asked[i].most : share;
    }
    answer(rq, 0, asked, count);
}

void
op_channel_history(request_t *rq)
{
    asked_t asked = read_asked(rq, rq_json(rq));

    if (asked.after == EVENTS_NOT_ASKED) {
        rq_invalid(rq, "after", "required", "is required");
    }
    answer(rq, 1, &asked, 1);
}

void
op_channel_heads(request_t *rq)
{
    const json_t *list = read_list(rq, HEADS_MAX), *item;
    size_t count = json_array_size(list), i;
    asked_t *asked = arena_alloc(rq->arena, count * sizeof(*asked));

    json_array_foreach(list, i, item) {
        asked[i] = (asked_t) { .channel = read_channel(rq, item),
            .after = EVENTS_NOT_ASKED };
    }
    answer(rq, 1, asked, count);
}

/* ---- state ---- */

static void
put_state(buf_t *out, const channel_t *channel, int64_t head, slice_t epoch,
    slice_t object)
{
    event_put_record(out, &(event_record_t) {
        .kind = EVENT_STATE,
        .flags = EVENT_ALLOWED,
        .channel = channel->name,
        .offset = head,
        .first = head,
        .key = epoch,
        .text = object,
    });
}

/* The epoch first: should it become another, the object is of a later one, and
 * the hub is told so when it asks for what follows. */
static void
put_object(request_t *rq, const channel_t *channel, buf_t *out)
{
    const db_row_t *first = db_first_row(rq,
        db_exec_values(rq, Q_OUTBOX_EPOCH, NULL, 0));
    const db_row_t *row = channel->kind->state(rq, channel->id);
    buf_t object;

    if (first == NULL || row == NULL) {
        asked_t none = { .channel = *channel };

        channels_put(out, &none, 1);
        return;
    }
    buf_init(&object, rq->arena, 1024);
    db_json_row(&object, row);
    put_state(out, channel, db_int(row, "_offset"), db_text(first, "epoch"),
        buf_slice(&object));
}

/* A channel that is about nothing but what happens has null as its state. */
void
op_channel_state(request_t *rq)
{
    asked_t asked = { .channel = read_channel(rq,
        json_object_get(rq_json(rq), "channel")), .after = EVENTS_NOT_ASKED };
    buf_t out;

    rq_check(rq);
    buf_init(&out, rq->arena, 1024);
    if (asked.channel.kind != NULL && asked.channel.kind->state != NULL) {
        put_object(rq, &asked.channel, &out);
    } else {
        channels_read(rq, 0, &asked, 1);
        if (asked.found) {
            put_state(&out, &asked.channel, asked.head, asked.now,
                SLICE("null"));
        } else {
            channels_put(&out, &asked, 1);
        }
    }
    reply_records(rq, &out);
}
