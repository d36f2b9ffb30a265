
/*
 * Texts that grow, as models write them. A piece is told at once when none
 * was told in the last 25 ms, otherwise with those that come within that time;
 * whatever else is told of the channel goes after what there is of them. Who
 * comes late gets all there is so far.
 *
 * A piece says where it belongs. When a channel is subscribed to, its texts
 * come from their beginning, to this worker and to those that have them: only
 * what goes on where a text ends is new.
 */


#include "ngx_http_hive_hub.h"


#define NGX_HTTP_HIVE_DELTA_TIME  25            /* ms */
#define NGX_HTTP_HIVE_DELTA_MAX   1048576       /* bytes remembered */
#define NGX_HTTP_HIVE_DELTAS      256           /* texts of a channel */


struct ngx_http_hive_delta_s {
    ngx_queue_t                 queue;          /* channel->deltas: the one
                                                   that grew last is last */
    ngx_http_hive_channel_t    *channel;
    ngx_str_t                   type;
    ngx_str_t                   key;
    u_char                     *text;           /* malloc'ed */
    size_t                      len;
    size_t                      size;
    size_t                      base;           /* position of text[0] */
    size_t                      told;           /* of len */
    ngx_event_t                 timer;
    ngx_uint_t                  done;
    u_char                      names[1];
};


static ngx_http_hive_delta_t *ngx_http_hive_delta_get(
    ngx_http_hive_channel_t *channel, event_record_t *event);
static ngx_int_t ngx_http_hive_delta_put(ngx_http_hive_delta_t *delta,
    event_record_t *event);
static ngx_int_t ngx_http_hive_delta_append(ngx_http_hive_delta_t *delta,
    slice_t text);
static size_t ngx_http_hive_delta_whole(ngx_http_hive_delta_t *delta);
static void ngx_http_hive_delta_tell(ngx_http_hive_delta_t *delta);
static ngx_http_hive_frame_t *ngx_http_hive_delta_frame(
    ngx_http_hive_delta_t *delta, size_t from, size_t to);
static void ngx_http_hive_delta_free(ngx_http_hive_delta_t *delta);
static void ngx_http_hive_delta_handler(ngx_event_t *ev);


void
ngx_http_hive_delta(ngx_http_hive_channel_t *channel, event_record_t *event)
{
    ngx_http_hive_delta_t  *delta;

    delta = ngx_http_hive_delta_get(channel, event);

    if (delta == NULL || ngx_http_hive_delta_put(delta, event) != NGX_OK) {
        return;
    }

    if (event->flags & EVENT_DONE) {
        delta->done = 1;
        ngx_http_hive_delta_tell(delta);
        ngx_http_hive_delta_free(delta);
        return;
    }

    if (!delta->timer.timer_set) {
        ngx_http_hive_delta_tell(delta);
        ngx_add_timer(&delta->timer, NGX_HTTP_HIVE_DELTA_TIME);
    }
}


static ngx_http_hive_delta_t *
ngx_http_hive_delta_get(ngx_http_hive_channel_t *channel,
    event_record_t *event)
{
    ngx_uint_t              n;
    ngx_queue_t            *q;
    ngx_http_hive_delta_t  *delta;

    n = 0;

    for (q = ngx_queue_last(&channel->deltas);
         q != ngx_queue_sentinel(&channel->deltas);
         q = ngx_queue_prev(q))
    {
        delta = ngx_queue_data(q, ngx_http_hive_delta_t, queue);

        if (delta->key.len == event->key.len
            && ngx_memcmp(delta->key.data, event->key.data, event->key.len)
               == 0)
        {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&channel->deltas, q);
            return delta;
        }

        n++;
    }

    if (event->offset != 0) {

        /* the whole of it is on its way */

        return NULL;
    }

    if (n == NGX_HTTP_HIVE_DELTAS) {

        /* nobody said that it is done: its worker has died */

        q = ngx_queue_head(&channel->deltas);
        ngx_http_hive_delta_free(ngx_queue_data(q, ngx_http_hive_delta_t,
                                                queue));
    }

    delta = ngx_calloc(sizeof(ngx_http_hive_delta_t) + event->key.len
                       + event->type.len, channel->hub->log);
    if (delta == NULL) {
        return NULL;
    }

    delta->channel = channel;

    delta->key.data = delta->names;
    delta->key.len = event->key.len;
    ngx_memcpy(delta->key.data, event->key.data, event->key.len);

    delta->type.data = delta->names + event->key.len;
    delta->type.len = event->type.len;
    ngx_memcpy(delta->type.data, event->type.data, event->type.len);

    delta->timer.handler = ngx_http_hive_delta_handler;
    delta->timer.data = delta;
    delta->timer.log = channel->hub->log;
    delta->timer.cancelable = 1;

    ngx_queue_insert_tail(&channel->deltas, &delta->queue);

    return delta;
}


static ngx_int_t
ngx_http_hive_delta_put(ngx_http_hive_delta_t *delta, event_record_t *event)
{
    size_t   end, position;
    slice_t  text;

    if (event->offset < 0) {
        return NGX_DECLINED;
    }

    end = delta->base + delta->len;
    position = event->offset;
    text = event->text;

    if (position > end) {

        /* some of it was lost: who reads on sees where */

        ngx_http_hive_delta_tell(delta);

        delta->base = position;
        delta->len = 0;
        delta->told = 0;

        end = position;
    }

    if (end - position > text.len) {
        return NGX_DECLINED;
    }

    text.data += end - position;
    text.len -= end - position;

    if (text.len == 0 && !(event->flags & EVENT_DONE)) {
        return NGX_DECLINED;
    }

    return ngx_http_hive_delta_append(delta, text);
}


static ngx_int_t
ngx_http_hive_delta_append(ngx_http_hive_delta_t *delta, slice_t text)
{
    size_t   size;
    u_char  *p;

    if (delta->len + text.len > NGX_HTTP_HIVE_DELTA_MAX) {

        /* the beginning of so long a text is not kept for who comes late */

        ngx_http_hive_delta_tell(delta);

        delta->base += delta->told;
        delta->len -= delta->told;
        ngx_memmove(delta->text, delta->text + delta->told, delta->len);
        delta->told = 0;
    }

    if (delta->len + text.len > delta->size) {
        size = ngx_max(2 * delta->size, delta->len + text.len + 256);

        p = ngx_alloc(size, delta->channel->hub->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (delta->len) {
            ngx_memcpy(p, delta->text, delta->len);
        }

        ngx_free(delta->text);

        delta->text = p;
        delta->size = size;
    }

    ngx_memcpy(delta->text + delta->len, text.data, text.len);
    delta->len += text.len;

    return NGX_OK;
}


/* As much as ends with a whole character. */
static size_t
ngx_http_hive_delta_whole(ngx_http_hive_delta_t *delta)
{
    size_t  i, need;
    u_char  c;

    for (i = 1; i <= 3 && i <= delta->len; i++) {
        c = delta->text[delta->len - i];

        if ((c & 0xc0) == 0x80) {
            continue;
        }

        need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;

        return need > i ? delta->len - i : delta->len;
    }

    return delta->len;
}


static void
ngx_http_hive_delta_tell(ngx_http_hive_delta_t *delta)
{
    size_t                  to;
    ngx_http_hive_frame_t  *frame;

    to = delta->done ? delta->len : ngx_http_hive_delta_whole(delta);

    if (to <= delta->told && !delta->done) {
        return;
    }

    frame = ngx_http_hive_delta_frame(delta, delta->told, to);
    if (frame == NULL) {
        return;
    }

    delta->told = to;

    ngx_http_hive_channel_tell(delta->channel, frame);
    ngx_http_hive_frame_free(frame);
}


static ngx_http_hive_frame_t *
ngx_http_hive_delta_frame(ngx_http_hive_delta_t *delta, size_t from, size_t to)
{
    size_t           size;
    u_char          *p, *text;
    event_record_t   event;

    ngx_http_hive_frame_t  *frame;

    size = sizeof("{\"type\":\"\",\"channel\":\"\",\"data\":{\"id\":\"\","
                  "\"position\":,\"text\":\"\",\"done\":true}}")
           + delta->type.len + delta->channel->sn.str.len + delta->key.len
           + ngx_escape_json(NULL, delta->key.data, delta->key.len)
           + NGX_INT64_LEN + (to - from)
           + ngx_escape_json(NULL, delta->text + from, to - from);

    text = ngx_alloc(size, delta->channel->hub->log);
    if (text == NULL) {
        return NULL;
    }

    p = ngx_sprintf(text, "{\"type\":\"%V\",\"channel\":\"%V\","
                          "\"data\":{\"id\":\"",
                    &delta->type, &delta->channel->sn.str);
    p = (u_char *) ngx_escape_json(p, delta->key.data, delta->key.len);
    p = ngx_sprintf(p, "\",\"position\":%uz,\"text\":\"", delta->base + from);
    p = (u_char *) ngx_escape_json(p, delta->text + from, to - from);
    p = ngx_sprintf(p, "\"%s}}", delta->done ? ",\"done\":true" : "");

    ngx_memzero(&event, sizeof(event_record_t));

    event.kind = EVENT_SIGNAL;
    event.type.data = (char *) delta->type.data;
    event.type.len = delta->type.len;
    event.text.data = (char *) text;
    event.text.len = p - text;

    frame = ngx_http_hive_event_frame(&event);

    ngx_free(text);

    return frame;
}


static void
ngx_http_hive_delta_handler(ngx_event_t *ev)
{
    ngx_http_hive_delta_t  *delta;

    delta = ev->data;

    if (ngx_http_hive_delta_whole(delta) > delta->told) {
        ngx_http_hive_delta_tell(delta);
        ngx_add_timer(&delta->timer, NGX_HTTP_HIVE_DELTA_TIME);
    }
}


void
ngx_http_hive_deltas_flush(ngx_http_hive_channel_t *channel)
{
    ngx_queue_t  *q;

    for (q = ngx_queue_head(&channel->deltas);
         q != ngx_queue_sentinel(&channel->deltas);
         q = ngx_queue_next(q))
    {
        ngx_http_hive_delta_tell(ngx_queue_data(q, ngx_http_hive_delta_t,
                                                queue));
    }
}


void
ngx_http_hive_deltas_catch_up(ngx_http_hive_sub_t *sub)
{
    ngx_queue_t            *q;
    ngx_http_hive_delta_t  *delta;
    ngx_http_hive_frame_t  *frame;

    for (q = ngx_queue_head(&sub->channel->deltas);
         q != ngx_queue_sentinel(&sub->channel->deltas);
         q = ngx_queue_next(q))
    {
        delta = ngx_queue_data(q, ngx_http_hive_delta_t, queue);

        if (delta->told == 0 || !ngx_http_hive_sub_wants(sub, &delta->type)) {
            continue;
        }

        frame = ngx_http_hive_delta_frame(delta, 0, delta->told);

        if (frame) {
            ngx_http_hive_sub_send(sub, frame);
            ngx_http_hive_frame_free(frame);
        }
    }
}


void
ngx_http_hive_deltas_free(ngx_http_hive_channel_t *channel)
{
    ngx_queue_t  *q;

    while (!ngx_queue_empty(&channel->deltas)) {
        q = ngx_queue_head(&channel->deltas);
        ngx_http_hive_delta_free(ngx_queue_data(q, ngx_http_hive_delta_t,
                                                queue));
    }
}


static void
ngx_http_hive_delta_free(ngx_http_hive_delta_t *delta)
{
    if (delta->timer.timer_set) {
        ngx_del_timer(&delta->timer);
    }

    ngx_queue_remove(&delta->queue);
    ngx_free(delta->text);
    ngx_free(delta);
}
