
/*
 * Channels. Events are told in the order of their offsets. One that comes too
 * early waits; when what is before it has not come within a moment, or a
 * worker says that there is more than has come, the workers are asked for it.
 * What they do not have any more is lost to this stream, and everyone who
 * watches is told so.
 */


#include "ngx_http_hive_hub.h"

#include <zmq.h>


static void ngx_http_hive_channel_early(ngx_http_hive_channel_t *channel,
    event_record_t *event);
static void ngx_http_hive_channel_pending(ngx_http_hive_channel_t *channel);
static void ngx_http_hive_channel_next(ngx_http_hive_channel_t *channel,
    ngx_http_hive_frame_t *frame);
static void ngx_http_hive_channel_keep(ngx_http_hive_channel_t *channel,
    ngx_http_hive_frame_t *frame);
static void ngx_http_hive_channel_wait(ngx_http_hive_channel_t *channel);
static void ngx_http_hive_channel_gap(ngx_event_t *ev);
static void ngx_http_hive_channel_ask(ngx_http_hive_channel_t *channel);
static void ngx_http_hive_channel_answer(ngx_http_hive_ask_t *ask,
    ngx_uint_t status, slice_t body);
static void ngx_http_hive_channel_epoch(ngx_http_hive_channel_t *channel,
    slice_t epoch);
static void ngx_http_hive_channel_reset(ngx_http_hive_channel_t *channel,
    slice_t epoch, int64_t head);
static void ngx_http_hive_channel_forget(ngx_http_hive_channel_t *channel);
static void ngx_http_hive_channels_answer(ngx_http_hive_ask_t *ask,
    ngx_uint_t status, slice_t body);
static void ngx_http_hive_channel_gone(ngx_http_hive_channel_t *channel);


ngx_http_hive_channel_t *
ngx_http_hive_channel_find(ngx_http_hive_hub_t *hub, u_char *name, size_t len)
{
    ngx_str_t  s;

    s.data = name;
    s.len = len;

    return (ngx_http_hive_channel_t *)
               ngx_str_rbtree_lookup(&hub->channels, &s,
                                     ngx_crc32_short(name, len));
}


ngx_http_hive_channel_t *
ngx_http_hive_channel_get(ngx_http_hive_hub_t *hub, u_char *name, size_t len)
{
    ngx_http_hive_channel_t  *channel;

    channel = ngx_http_hive_channel_find(hub, name, len);

    if (channel) {
        return channel;
    }

    channel = ngx_calloc(sizeof(ngx_http_hive_channel_t) + len, hub->log);
    if (channel == NULL) {
        return NULL;
    }

    channel->hub = hub;
    channel->offset = -1;
    channel->epoch.data = channel->epoch_data;

    ngx_memcpy(channel->name, name, len);

    channel->sn.str.data = channel->name;
    channel->sn.str.len = len;
    channel->sn.node.key = ngx_crc32_short(name, len);

    ngx_queue_init(&channel->subs);
    ngx_queue_init(&channel->deltas);

    channel->gap.handler = ngx_http_hive_channel_gap;
    channel->gap.data = channel;
    channel->gap.log = hub->log;
    channel->gap.cancelable = 1;

    ngx_rbtree_insert(&hub->channels, &channel->sn.node);
    ngx_queue_insert_tail(&hub->all, &channel->all);
    hub->nchannels++;
    hub->conf->counters->channels = hub->nchannels;

    if (hub->socket) {
        zmq_setsockopt(hub->socket, ZMQ_SUBSCRIBE, name, len);
        ngx_post_event(hub->connection->read, &ngx_posted_events);
    }

    /* what is published before the workers know of us is found soon */

    if ((ngx_msec_int_t) (hub->heads_due - ngx_current_msec) > 1000) {
        hub->heads_due = ngx_current_msec + 1000;
    }

    return channel;
}


void
ngx_http_hive_channel_put(ngx_http_hive_channel_t *channel)
{
    ngx_http_hive_hub_t  *hub;

    if (channel->nsubs) {
        return;
    }

    hub = channel->hub;

    ngx_rbtree_delete(&hub->channels, &channel->sn.node);
    ngx_queue_remove(&channel->all);
    hub->nchannels--;
    hub->conf->counters->channels = hub->nchannels;

    if (hub->socket) {
        zmq_setsockopt(hub->socket, ZMQ_UNSUBSCRIBE, channel->sn.str.data,
                       channel->sn.str.len);
        ngx_post_event(hub->connection->read, &ngx_posted_events);
    }

    if (channel->gap.timer_set) {
        ngx_del_timer(&channel->gap);
    }

    if (channel->ask) {
        ngx_http_hive_ask_cancel(channel->ask);
    }

    ngx_http_hive_channel_forget(channel);
    ngx_http_hive_deltas_free(channel);

    ngx_free(channel->recent);
    ngx_free(channel->pending);
    ngx_free(channel);
}


void
ngx_http_hive_channel_event(ngx_http_hive_channel_t *channel,
    event_record_t *event)
{
    int64_t                 first;
    ngx_http_hive_frame_t  *frame;

    switch (event->kind) {

    case EVENT_CHANGE:
        break;

    case EVENT_DELTA:
        ngx_http_hive_delta(channel, event);
        return;

    case EVENT_SIGNAL:
        frame = ngx_http_hive_event_frame(event);
        if (frame) {
            ngx_http_hive_deltas_flush(channel);
            ngx_http_hive_channel_tell(channel, frame);
            ngx_http_hive_frame_free(frame);
        }

        return;

    default:
        return;
    }

    if (event->offset <= channel->offset) {
        ngx_http_hive_count(channel->hub->conf, events_repeated);
        return;
    }

    first = event->first > 0 ? event->first : event->offset;

    if (channel->offset == -1 || first > channel->offset + 1) {
        ngx_http_hive_channel_early(channel, event);
        return;
    }

    frame = ngx_http_hive_event_frame(event);

    if (frame == NULL) {

        /* it is asked for, like one that was lost */

        channel->target = ngx_max(channel->target, event->offset);
        ngx_http_hive_channel_wait(channel);
        return;
    }

    ngx_http_hive_channel_next(channel, frame);
    ngx_http_hive_channel_pending(channel);
}


/* What is before it may be on its way from another worker. */
static void
ngx_http_hive_channel_early(ngx_http_hive_channel_t *channel,
    event_record_t *event)
{
    ngx_uint_t              i, n;
    ngx_http_hive_frame_t  *frame;

    channel->target = ngx_max(channel->target, event->offset);

    if (channel->offset != -1) {
        ngx_http_hive_channel_wait(channel);
    }

    n = channel->npending;

    if (n == NGX_HTTP_HIVE_PENDING) {
        return;
    }

    if (channel->pending == NULL) {
        channel->pending = ngx_alloc(NGX_HTTP_HIVE_PENDING
                                     * sizeof(ngx_http_hive_frame_t *),
                                     channel->hub->log);
        if (channel->pending == NULL) {
            return;
        }
    }

    for (i = n; i && channel->pending[i - 1]->offset > event->offset; i--) {
        /* void */
    }

    if (i && channel->pending[i - 1]->offset == event->offset) {
        return;
    }

    frame = ngx_http_hive_event_frame(event);
    if (frame == NULL) {
        return;
    }

    ngx_memmove(&channel->pending[i + 1], &channel->pending[i],
                (n - i) * sizeof(ngx_http_hive_frame_t *));

    channel->pending[i] = frame;
    channel->npending++;
}


/* Those whose turn has come. */
static void
ngx_http_hive_channel_pending(ngx_http_hive_channel_t *channel)
{
    ngx_uint_t              i;
    ngx_http_hive_frame_t  *frame;

    for (i = 0; i < channel->npending; i++) {
        frame = channel->pending[i];

        if (frame->first > channel->offset + 1
            && frame->offset > channel->offset)
        {
            break;
        }

        if (frame->offset > channel->offset) {
            ngx_http_hive_channel_next(channel, frame);

        } else {
            ngx_http_hive_frame_free(frame);
        }
    }

    if (i) {
        channel->npending -= i;
        ngx_memmove(channel->pending, &channel->pending[i],
                    channel->npending * sizeof(ngx_http_hive_frame_t *));

        if (channel->npending == 0) {
            ngx_free(channel->pending);
            channel->pending = NULL;
        }
    }

    if (channel->offset >= channel->target) {

        if (channel->gap.timer_set) {
            ngx_del_timer(&channel->gap);
        }

    } else {
        ngx_http_hive_channel_wait(channel);
    }
}


/* The next one, in order, to all who watch. Takes the reference. */
static void
ngx_http_hive_channel_next(ngx_http_hive_channel_t *channel,
    ngx_http_hive_frame_t *frame)
{
    ngx_queue_t          *q;
    ngx_http_hive_sub_t  *sub;

    if (!ngx_queue_empty(&channel->deltas)) {
        ngx_http_hive_deltas_flush(channel);
    }

    channel->offset = frame->offset;

    for (q = ngx_queue_head(&channel->subs);
         q != ngx_queue_sentinel(&channel->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, queue);

        if (!sub->live || frame->offset <= sub->offset) {
            continue;
        }

        sub->offset = frame->offset;

        if (sub->types && !ngx_http_hive_sub_wants(sub, &frame->type)) {
            continue;
        }

        if (sub->client->type->form == NULL) {
            ngx_http_hive_client_push(sub->client, frame);

        } else {
            ngx_http_hive_sub_send(sub, frame);
        }
    }

    ngx_http_hive_channel_keep(channel, frame);
}


void
ngx_http_hive_channel_tell(ngx_http_hive_channel_t *channel,
    ngx_http_hive_frame_t *frame)
{
    ngx_uint_t            presence;
    ngx_queue_t          *q;
    ngx_http_hive_sub_t  *sub;

    presence = frame->type.len > 9
               && ngx_memcmp(frame->type.data, "presence.", 9) == 0;

    for (q = ngx_queue_head(&channel->subs);
         q != ngx_queue_sentinel(&channel->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, queue);

        if (presence ? sub->live && sub->presence
                     : sub->live
                       && ngx_http_hive_sub_wants(sub, &frame->type))
        {
            ngx_http_hive_sub_send(sub, frame);
        }
    }
}


/* For who joins a moment later; the oldest go. */
static void
ngx_http_hive_channel_keep(ngx_http_hive_channel_t *channel,
    ngx_http_hive_frame_t *frame)
{
    ngx_uint_t  n;

    if (channel->recent == NULL) {
        channel->recent = ngx_alloc(NGX_HTTP_HIVE_RECENT
                                    * sizeof(ngx_http_hive_frame_t *),
                                    channel->hub->log);
        if (channel->recent == NULL) {
            ngx_http_hive_frame_free(frame);
            return;
        }
    }

    /* half of them at once, so that moving the rest is cheap */

    if (channel->nrecent == NGX_HTTP_HIVE_RECENT
        || channel->recent_bytes > NGX_HTTP_HIVE_RECENT_BYTES)
    {
        for (n = 0; n < (channel->nrecent + 1) / 2; n++) {
            channel->recent_bytes -= channel->recent[n]->text.len;
            ngx_http_hive_frame_free(channel->recent[n]);
        }

        channel->nrecent -= n;
        ngx_memmove(channel->recent, &channel->recent[n],
                    channel->nrecent * sizeof(ngx_http_hive_frame_t *));
    }

    channel->recent[channel->nrecent++] = frame;
    channel->recent_bytes += frame->text.len;
}


ngx_int_t
ngx_http_hive_channel_recent(ngx_http_hive_channel_t *channel, int64_t offset)
{
    ngx_uint_t  i;

    for (i = 0; i < channel->nrecent; i++) {
        if (channel->recent[i]->offset > offset) {
            break;
        }
    }

    if (i == channel->nrecent) {
        return offset >= channel->offset ? (ngx_int_t) i : NGX_DECLINED;
    }

    return channel->recent[i]->first <= offset + 1 ? (ngx_int_t) i
                                                   : NGX_DECLINED;
}


static void
ngx_http_hive_channel_wait(ngx_http_hive_channel_t *channel)
{
    if (channel->ask == NULL && !channel->gap.timer_set) {
        ngx_add_timer(&channel->gap, NGX_HTTP_HIVE_GAP_GRACE);
    }
}


static void
ngx_http_hive_channel_gap(ngx_event_t *ev)
{
    ngx_http_hive_channel_t  *channel;

    channel = ev->data;

    if (channel->ask == NULL && channel->offset != -1
        && channel->offset < channel->target)
    {
        ngx_http_hive_count(channel->hub->conf, gaps);
        ngx_http_hive_channel_ask(channel);
    }
}


static void
ngx_http_hive_channel_ask(ngx_http_hive_channel_t *channel)
{
    u_char  *p, body[NGX_HTTP_HIVE_QUESTION_MAX];

    p = ngx_snprintf(body, sizeof(body),
                     "{\"channel\":\"%V\",\"epoch\":\"%V\",\"after\":%L,"
                     "\"limit\":%d}",
                     &channel->sn.str, &channel->epoch, channel->offset,
                     NGX_HTTP_HIVE_HISTORY);

    channel->ask = ngx_http_hive_ask(channel->hub, "channel_history", NULL,
                                     body, p - body,
                                     ngx_http_hive_channel_answer, channel);

    if (channel->ask == NULL) {
        ngx_add_timer(&channel->gap, 500);
    }
}


static void
ngx_http_hive_channel_answer(ngx_http_hive_ask_t *ask, ngx_uint_t status,
    slice_t body)
{
    long                      n;
    int64_t                   before;
    event_record_t            event, change;
    ngx_http_hive_channel_t  *channel;

    channel = ask->data;
    channel->ask = NULL;
    before = channel->offset;

    n = status == NGX_HTTP_OK ? event_record_get(body.data, body.len, &event)
                              : -1;

    if (n <= 0 || event.kind != EVENT_STATUS) {

        /* nobody to ask at the moment, but what is missing has to come */

        ngx_add_timer(&channel->gap, 500);
        return;
    }

    if (!(event.flags & EVENT_ALLOWED)) {
        ngx_http_hive_channel_gone(channel);
        return;
    }

    if (!(event.flags & EVENT_RECOVERED)) {
        ngx_http_hive_channel_reset(channel, event.key, event.offset);
        return;
    }

    body.data += n;
    body.len -= n;

    while ((n = event_record_get(body.data, body.len, &change)) > 0) {
        if (change.kind == EVENT_CHANGE) {
            ngx_http_hive_channel_event(channel, &change);
        }

        body.data += n;
        body.len -= n;
    }

    if (event.flags & EVENT_MORE) {
        channel->target = ngx_max(channel->target, event.offset);
    }

    if (channel->offset == before) {

        /* it has not been seen committed yet: not over and over at once */

        ngx_add_timer(&channel->gap, 500);
    }

    ngx_http_hive_channel_pending(channel);
}


void
ngx_http_hive_channel_head(ngx_http_hive_channel_t *channel, slice_t epoch,
    int64_t head)
{
    if (channel->offset == -1) {
        ngx_http_hive_channel_epoch(channel, epoch);
        channel->offset = head;
        ngx_http_hive_channel_pending(channel);
        return;
    }

    if (epoch.len != channel->epoch.len
        || ngx_memcmp(epoch.data, channel->epoch.data, epoch.len) != 0)
    {
        ngx_http_hive_channel_reset(channel, epoch, head);
        return;
    }

    if (head > channel->offset) {
        channel->target = ngx_max(channel->target, head);
        ngx_http_hive_channel_wait(channel);
    }
}


static void
ngx_http_hive_channel_epoch(ngx_http_hive_channel_t *channel, slice_t epoch)
{
    channel->epoch.len = ngx_min(epoch.len, NGX_HTTP_HIVE_EPOCH_MAX);
    ngx_memcpy(channel->epoch_data, epoch.data, channel->epoch.len);
}


/* What lies between is lost to this stream: everyone has to look anew. */
static void
ngx_http_hive_channel_reset(ngx_http_hive_channel_t *channel, slice_t epoch,
    int64_t head)
{
    ngx_queue_t          *q;
    ngx_http_hive_sub_t  *sub;

    ngx_http_hive_count(channel->hub->conf, resets);

    ngx_http_hive_channel_forget(channel);
    ngx_http_hive_channel_epoch(channel, epoch);

    channel->offset = head;
    channel->target = head;

    for (q = ngx_queue_head(&channel->subs);
         q != ngx_queue_sentinel(&channel->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, queue);

        if (sub->live) {
            sub->offset = head;
            sub->client->type->confirmed(sub, 0, head);
        }
    }
}


static void
ngx_http_hive_channel_forget(ngx_http_hive_channel_t *channel)
{
    ngx_uint_t  i;

    for (i = 0; i < channel->nrecent; i++) {
        ngx_http_hive_frame_free(channel->recent[i]);
    }

    channel->nrecent = 0;
    channel->recent_bytes = 0;

    for (i = 0; i < channel->npending; i++) {
        ngx_http_hive_frame_free(channel->pending[i]);
    }

    channel->npending = 0;
}


/*
 * The heads of all channels, some hundred in a question. An event whose
 * publisher died, or that was dropped on its way, is found like this.
 */
void
ngx_http_hive_channels_check(ngx_http_hive_hub_t *hub)
{
    u_char                   *body, *p;
    ngx_uint_t                i, n, left;
    ngx_queue_t              *q;
    ngx_http_hive_ask_t      *ask;
    ngx_http_hive_channel_t  *channel;

    hub->heads_due = ngx_current_msec + hub->conf->events_check;

    if (hub->heads_asked) {

        /* the workers are slow: no questions on top of questions */

        return;
    }

    body = ngx_alloc(NGX_HTTP_HIVE_HEADS * (NGX_HTTP_HIVE_CHANNEL_MAX + 3)
                     + sizeof("{\"channels\":[]}"), hub->log);
    if (body == NULL) {
        return;
    }

    q = ngx_queue_head(&hub->all);

    for (left = hub->nchannels; left; left -= n) {

        n = ngx_min(left, NGX_HTTP_HIVE_HEADS);
        p = ngx_cpymem(body, "{\"channels\":[", sizeof("{\"channels\":[") - 1);

        for (i = 0; i < n; i++) {
            channel = ngx_queue_data(q, ngx_http_hive_channel_t, all);

            *p++ = '"';
            p = ngx_cpymem(p, channel->sn.str.data, channel->sn.str.len);
            *p++ = '"';
            *p++ = i + 1 < n ? ',' : ']';

            q = ngx_queue_next(q);
        }

        *p++ = '}';

        ask = ngx_http_hive_ask(hub, "channel_heads", NULL, body, p - body,
                                ngx_http_hive_channels_answer, hub);

        if (ask) {
            hub->heads_asked++;
        }
    }

    ngx_free(body);
}


static void
ngx_http_hive_channels_answer(ngx_http_hive_ask_t *ask, ngx_uint_t status,
    slice_t body)
{
    long                      n;
    event_record_t            event;
    ngx_http_hive_hub_t      *hub;
    ngx_http_hive_channel_t  *channel;

    hub = ask->data;
    hub->heads_asked--;

    if (status != NGX_HTTP_OK) {

        /* again at the next tick */

        hub->heads_due = ngx_current_msec;
        return;
    }

    while ((n = event_record_get(body.data, body.len, &event)) > 0) {
        body.data += n;
        body.len -= n;

        channel = ngx_http_hive_channel_find(hub,
                                             (u_char *) event.channel.data,
                                             event.channel.len);

        if (channel == NULL || channel->offset == -1) {
            continue;
        }

        if (event.flags & EVENT_ALLOWED) {
            ngx_http_hive_channel_head(channel, event.key, event.offset);

        } else {
            ngx_http_hive_channel_gone(channel);
        }
    }
}


/* There is no such thing any more. */
static void
ngx_http_hive_channel_gone(ngx_http_hive_channel_t *channel)
{
    ngx_queue_t          *q, *next;
    ngx_http_hive_sub_t  *sub;

    for (q = ngx_queue_head(&channel->subs);
         q != ngx_queue_sentinel(&channel->subs);
         q = next)
    {
        next = ngx_queue_next(q);
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, queue);

        ngx_http_hive_sub_recheck(sub);
    }
}
