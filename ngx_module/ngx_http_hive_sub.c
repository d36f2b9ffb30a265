
/*
 * Subscriptions. A worker decides whether one may be, and where it begins:
 * its answer has the channel's head and, for who says how far it got, what it
 * has missed, in one snapshot. What the hub has told since then it takes from
 * its own memory, or asks again, until the subscription has caught up: then
 * it is live.
 */


#include "ngx_http_hive_hub.h"


static ngx_int_t ngx_http_hive_sub_name(ngx_str_t *name);
static ngx_http_hive_sub_t *ngx_http_hive_sub_new(
    ngx_http_hive_client_t *client, ngx_http_hive_sub_options_t *options);
static ngx_int_t ngx_http_hive_sub_types(ngx_http_hive_sub_t *sub,
    ngx_http_hive_sub_options_t *options);
static ngx_int_t ngx_http_hive_sub_ask(ngx_http_hive_sub_t *sub);
static void ngx_http_hive_sub_answer(ngx_http_hive_ask_t *ask,
    ngx_uint_t status, slice_t body);
static void ngx_http_hive_sub_opened(ngx_http_hive_sub_t *sub,
    event_record_t *status, slice_t body);
static ngx_uint_t ngx_http_hive_sub_epoch(ngx_http_hive_sub_t *sub,
    slice_t epoch);
static void ngx_http_hive_sub_join(ngx_http_hive_sub_t *sub);
static void ngx_http_hive_sub_offer(ngx_http_hive_sub_t *sub,
    ngx_http_hive_frame_t *frame);
static void ngx_http_hive_sub_confirm(ngx_http_hive_sub_t *sub,
    ngx_uint_t recovered, int64_t offset);
static void ngx_http_hive_sub_fail(ngx_http_hive_sub_t *sub,
    const char *code, const char *message);
static void ngx_http_hive_sub_checked(ngx_http_hive_ask_t *ask,
    ngx_uint_t status, slice_t body);


ngx_int_t
ngx_http_hive_subscribe(ngx_http_hive_client_t *client,
    ngx_http_hive_sub_options_t *options)
{
    ngx_http_hive_hub_t  *hub;
    ngx_http_hive_sub_t  *sub;

    hub = client->hub;

    if (ngx_http_hive_sub_name(&options->channel) != NGX_OK) {
        client->type->refused(client, options->id, &options->channel,
                              "invalid_message",
                              "that is no name of a channel");
        return NGX_DECLINED;
    }

    /* the second one of a channel takes the place of the first */

    sub = ngx_http_hive_sub_find(client, &options->channel);

    if (sub == NULL && client->nsubs >= hub->conf->max_subscriptions) {
        client->type->refused(client, options->id, &options->channel,
                              "too_many_subscriptions",
                              "this connection has as many subscriptions as "
                              "it may have");
        return NGX_DECLINED;
    }

    if (sub) {

        /* who looks anew stays as visible as before */

        if (options->state) {
            options->presence = sub->presence;
        }

        if (sub->id && !sub->confirmed) {
            client->type->refused(client, sub->id, &options->channel,
                                  "superseded",
                                  "another request for this channel has "
                                  "taken its place");
        }

        ngx_http_hive_sub_free(sub);
    }

    sub = ngx_http_hive_sub_new(client, options);

    if (sub && ngx_http_hive_sub_ask(sub) == NGX_OK) {
        return NGX_OK;
    }

    client->type->refused(client, options->id, &options->channel,
                          "unavailable",
                          "it cannot be asked now whether that is allowed; "
                          "try again");

    if (sub) {
        ngx_http_hive_sub_free(sub);
    }

    return NGX_DECLINED;
}


/* "kind:id", or "system": what needs no escaping anywhere. */
static ngx_int_t
ngx_http_hive_sub_name(ngx_str_t *name)
{
    u_char      c;
    ngx_uint_t  i, colon;

    colon = 0;

    if (name->len == 0 || name->len > NGX_HTTP_HIVE_CHANNEL_MAX) {
        return NGX_DECLINED;
    }

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        if (c >= 'a' && c <= 'z') {
            continue;
        }

        if (c == ':' && i && !colon) {
            colon = i;
            continue;
        }

        if (colon && ((c >= '0' && c <= '9') || c == '-')) {
            continue;
        }

        return NGX_DECLINED;
    }

    return colon == name->len - 1 ? NGX_DECLINED : NGX_OK;
}


static ngx_http_hive_sub_t *
ngx_http_hive_sub_new(ngx_http_hive_client_t *client,
    ngx_http_hive_sub_options_t *options)
{
    ngx_http_hive_sub_t      *sub;
    ngx_http_hive_channel_t  *channel;

    channel = ngx_http_hive_channel_get(client->hub, options->channel.data,
                                        options->channel.len);
    if (channel == NULL) {
        return NULL;
    }

    sub = ngx_calloc(sizeof(ngx_http_hive_sub_t), client->hub->log);

    if (sub == NULL) {
        ngx_http_hive_channel_put(channel);
        return NULL;
    }

    sub->client = client;
    sub->channel = channel;
    sub->id = json_incref(options->id);
    sub->state = options->state;
    sub->presence = options->presence;

    ngx_queue_insert_tail(&channel->subs, &sub->queue);
    channel->nsubs++;

    ngx_queue_insert_tail(&client->subs, &sub->mine);
    client->nsubs++;
    client->hub->conf->counters->subscriptions++;

    if (options->since) {
        sub->since = 1;
        sub->after = options->after;
        sub->epoch.data = ngx_alloc(options->epoch.len + 1, client->hub->log);

        if (sub->epoch.data == NULL) {
            ngx_http_hive_sub_free(sub);
            return NULL;
        }

        if (options->epoch.len) {
            ngx_memcpy(sub->epoch.data, options->epoch.data,
                       options->epoch.len);
        }

        sub->epoch.len = options->epoch.len;
    }

    if (ngx_http_hive_sub_types(sub, options) != NGX_OK) {
        ngx_http_hive_sub_free(sub);
        return NULL;
    }

    return sub;
}


static ngx_int_t
ngx_http_hive_sub_types(ngx_http_hive_sub_t *sub,
    ngx_http_hive_sub_options_t *options)
{
    size_t       len;
    u_char      *p;
    ngx_uint_t   i;

    if (options->ntypes == 0) {
        return NGX_OK;
    }

    len = 1;

    for (i = 0; i < options->ntypes; i++) {
        len += options->types[i].len + 1;
    }

    sub->types = ngx_alloc(len, sub->client->hub->log);
    if (sub->types == NULL) {
        return NGX_ERROR;
    }

    p = sub->types;

    for (i = 0; i < options->ntypes; i++) {
        p = ngx_cpymem(p, options->types[i].data, options->types[i].len);
        *p++ = '\0';
    }

    *p = '\0';

    return NGX_OK;
}


ngx_http_hive_sub_t *
ngx_http_hive_sub_find(ngx_http_hive_client_t *client, ngx_str_t *channel)
{
    ngx_queue_t          *q;
    ngx_http_hive_sub_t  *sub;

    for (q = ngx_queue_head(&client->subs);
         q != ngx_queue_sentinel(&client->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, mine);

        if (sub->channel->sn.str.len == channel->len
            && ngx_memcmp(sub->channel->name, channel->data, channel->len)
               == 0)
        {
            return sub;
        }
    }

    return NULL;
}


void
ngx_http_hive_sub_free(ngx_http_hive_sub_t *sub)
{
    ngx_http_hive_client_t   *client;
    ngx_http_hive_channel_t  *channel;

    client = sub->client;
    channel = sub->channel;

    ngx_http_hive_presence_leave(sub);

    if (sub->ask) {
        ngx_http_hive_ask_cancel(sub->ask);
    }

    if (sub->later) {
        ngx_queue_remove(&sub->again);
    }

    ngx_queue_remove(&sub->queue);
    channel->nsubs--;

    ngx_queue_remove(&sub->mine);
    client->nsubs--;
    client->hub->conf->counters->subscriptions--;

    json_decref(sub->id);
    ngx_free(sub->epoch.data);
    ngx_free(sub->types);
    ngx_free(sub);

    ngx_http_hive_channel_put(channel);
}


ngx_uint_t
ngx_http_hive_sub_wants(ngx_http_hive_sub_t *sub, ngx_str_t *type)
{
    size_t   len;
    u_char  *p;

    if (sub->types == NULL) {
        return 1;
    }

    for (p = sub->types; *p; p += len + 1) {
        len = ngx_strlen(p);

        if (p[len - 1] == '*') {
            if (type->len >= len - 1
                && ngx_memcmp(type->data, p, len - 1) == 0)
            {
                return 1;
            }

        } else if (type->len == len && ngx_memcmp(type->data, p, len) == 0) {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_hive_sub_ask(ngx_http_hive_sub_t *sub)
{
    u_char                   *p, *last, body[NGX_HTTP_HIVE_QUESTION_MAX];
    const char               *operation;
    ngx_http_hive_channel_t  *channel;

    channel = sub->channel;
    last = body + sizeof(body);

    if (sub->state) {
        operation = "channel_state";
        p = ngx_slprintf(body, last, "{\"channel\":\"%V\"}",
                         &channel->sn.str);

    } else if (sub->since) {
        operation = "channel_open";
        p = ngx_slprintf(body, last,
                         "{\"channels\":[{\"channel\":\"%V\",\"epoch\":\"%V\","
                         "\"after\":%L,\"limit\":%d}]}",
                         &channel->sn.str, &sub->epoch, sub->after,
                         NGX_HTTP_HIVE_RECOVER);

    } else {
        operation = "channel_open";
        p = ngx_slprintf(body, last, "{\"channels\":[{\"channel\":\"%V\"}]}",
                         &channel->sn.str);
    }

    sub->paused = 0;
    sub->asked++;
    sub->ask = ngx_http_hive_ask(sub->client->hub, operation, sub->client,
                                 body, p - body, ngx_http_hive_sub_answer,
                                 sub);

    return sub->ask ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_hive_sub_answer(ngx_http_hive_ask_t *ask, ngx_uint_t status,
    slice_t body)
{
    long                  n;
    event_record_t        event;
    ngx_http_hive_sub_t  *sub;

    sub = ask->data;
    sub->ask = NULL;

    n = status == NGX_HTTP_OK ? event_record_get(body.data, body.len, &event)
                              : -1;

    if (n <= 0 || (event.kind != EVENT_STATUS && event.kind != EVENT_STATE)) {
        ngx_http_hive_sub_fail(sub, "unavailable",
                               "it cannot be asked now whether that is "
                               "allowed; try again");
        return;
    }

    if (event.kind == EVENT_STATE) {
        ngx_http_hive_channel_head(sub->channel, event.key, event.offset);

        sub->offset = event.offset;
        sub->state = 0;
        sub->confirmed = 1;
        sub->client->type->state(sub, &event);

        ngx_http_hive_sub_join(sub);
        return;
    }

    if (!(event.flags & EVENT_ALLOWED)) {
        ngx_http_hive_sub_fail(sub, "not_allowed",
                               "there is no such channel, or it is not "
                               "yours");
        return;
    }

    body.data += n;
    body.len -= n;

    ngx_http_hive_sub_opened(sub, &event, body);
}


static void
ngx_http_hive_sub_opened(ngx_http_hive_sub_t *sub, event_record_t *status,
    slice_t body)
{
    long                      n;
    event_record_t            event;
    ngx_http_hive_frame_t    *frame;
    ngx_http_hive_channel_t  *channel;

    channel = sub->channel;

    ngx_http_hive_channel_head(channel, status->key, status->offset);

    if (!sub->since || !(status->flags & EVENT_RECOVERED)) {

        /* from here on; the hub may be further than the answer */

        sub->offset = ngx_max(status->offset, channel->offset);
        ngx_http_hive_sub_confirm(sub, !sub->since, sub->offset);
        ngx_http_hive_sub_join(sub);
        return;
    }

    sub->offset = sub->after;
    ngx_http_hive_sub_confirm(sub, 1, sub->offset);

    sub->client->recovering = 1;

    while ((n = event_record_get(body.data, body.len, &event)) > 0) {
        body.data += n;
        body.len -= n;

        if (event.kind != EVENT_CHANGE || event.offset <= sub->offset) {
            continue;
        }

        frame = ngx_http_hive_event_frame(&event);

        if (frame == NULL) {
            ngx_http_hive_client_kill(sub->client);
            break;
        }

        ngx_http_hive_sub_offer(sub, frame);
        ngx_http_hive_frame_free(frame);
    }

    sub->client->recovering = 0;

    if ((status->flags & EVENT_MORE) && sub->client->ring_count) {
        sub->paused = 1;
        sub->client->has_paused = 1;
        return;
    }

    ngx_http_hive_sub_join(sub);
}


/* Up to where the hub is, by what it remembers or by asking again. */
static void
ngx_http_hive_sub_join(ngx_http_hive_sub_t *sub)
{
    ngx_int_t                 i;
    ngx_http_hive_client_t   *client;
    ngx_http_hive_channel_t  *channel;

    client = sub->client;
    channel = sub->channel;

    if (client->is_dead) {
        return;
    }

    if (sub->offset < channel->offset) {

        i = ngx_http_hive_channel_recent(channel, sub->offset);

        if (i == NGX_DECLINED) {

            if (sub->asked == NGX_HTTP_HIVE_RECOVER_MAX) {
                sub->offset = channel->offset;
                client->type->confirmed(sub, 0, sub->offset);

            } else {
                sub->since = 1;
                sub->after = sub->offset;

                if (ngx_http_hive_sub_epoch(sub, (slice_t) {
                        (char *) channel->epoch.data, channel->epoch.len })
                    && ngx_http_hive_sub_ask(sub) == NGX_OK)
                {
                    return;
                }

                ngx_http_hive_sub_fail(sub, "unavailable",
                                       "what was missed cannot be asked for "
                                       "now; try again");
                return;
            }

        } else {
            client->recovering = 1;

            for ( /* void */ ; (ngx_uint_t) i < channel->nrecent; i++) {
                ngx_http_hive_sub_offer(sub, channel->recent[i]);
            }

            client->recovering = 0;
        }
    }

    sub->live = 1;

    ngx_http_hive_deltas_catch_up(sub);
    ngx_http_hive_presence_enter(sub);

    if (sub->recheck) {
        ngx_http_hive_sub_recheck(sub);
    }
}


static ngx_uint_t
ngx_http_hive_sub_epoch(ngx_http_hive_sub_t *sub, slice_t epoch)
{
    u_char  *p;

    p = ngx_alloc(epoch.len + 1, sub->client->hub->log);
    if (p == NULL) {
        return 0;
    }

    ngx_memcpy(p, epoch.data, epoch.len);
    ngx_free(sub->epoch.data);

    sub->epoch.data = p;
    sub->epoch.len = epoch.len;

    return 1;
}


/* One event of the past. */
static void
ngx_http_hive_sub_offer(ngx_http_hive_sub_t *sub, ngx_http_hive_frame_t *frame)
{
    sub->offset = frame->offset;

    if (ngx_http_hive_sub_wants(sub, &frame->type)) {
        ngx_http_hive_count(sub->client->hub->conf, events_recovered);
        ngx_http_hive_sub_send(sub, frame);
    }
}


static void
ngx_http_hive_sub_confirm(ngx_http_hive_sub_t *sub, ngx_uint_t recovered,
    int64_t offset)
{
    if (sub->confirmed) {

        /* more of the same history; or it was lost after all */

        if (recovered) {
            return;
        }
    }

    sub->confirmed = 1;

    if (!recovered) {
        ngx_http_hive_count(sub->client->hub->conf, unrecovered);
    }

    sub->client->type->confirmed(sub, recovered, offset);
}


static void
ngx_http_hive_sub_fail(ngx_http_hive_sub_t *sub, const char *code,
    const char *message)
{
    sub->client->type->refused(sub->client, sub->id, &sub->channel->sn.str,
                               code, message);
    ngx_http_hive_sub_free(sub);
}


void
ngx_http_hive_subs_resume(ngx_http_hive_client_t *client)
{
    ngx_queue_t          *q, *next;
    ngx_http_hive_sub_t  *sub;

    client->has_paused = 0;

    for (q = ngx_queue_head(&client->subs);
         q != ngx_queue_sentinel(&client->subs);
         q = next)
    {
        next = ngx_queue_next(q);
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, mine);

        if (!sub->paused) {
            continue;
        }

        sub->after = sub->offset;

        if (ngx_http_hive_sub_ask(sub) != NGX_OK) {
            ngx_http_hive_sub_fail(sub, "unavailable",
                                   "what was missed cannot be asked for now; "
                                   "try again");
        }
    }
}


void
ngx_http_hive_sub_recheck(ngx_http_hive_sub_t *sub)
{
    u_char  *p, body[NGX_HTTP_HIVE_QUESTION_MAX];

    sub->recheck = 1;

    if (sub->ask || !sub->live) {

        /* asked for when what is under way has been answered */

        return;
    }

    p = ngx_snprintf(body, sizeof(body),
                     "{\"channels\":[{\"channel\":\"%V\"}]}",
                     &sub->channel->sn.str);

    sub->recheck = 0;
    sub->ask = ngx_http_hive_ask(sub->client->hub, "channel_open",
                                 sub->client, body, p - body,
                                 ngx_http_hive_sub_checked, sub);

    if (sub->ask == NULL && !sub->later) {
        sub->later = 1;
        ngx_queue_insert_tail(&sub->client->hub->again, &sub->again);
    }
}


static void
ngx_http_hive_sub_checked(ngx_http_hive_ask_t *ask, ngx_uint_t status,
    slice_t body)
{
    long                     n;
    event_record_t           event;
    ngx_http_hive_sub_t     *sub;
    ngx_http_hive_client_t  *client;

    sub = ask->data;
    sub->ask = NULL;

    n = status == NGX_HTTP_OK ? event_record_get(body.data, body.len, &event)
                              : -1;

    if (n <= 0) {
        if (!sub->later) {
            sub->later = 1;
            ngx_queue_insert_tail(&sub->client->hub->again, &sub->again);
        }

        return;
    }

    if (!(event.flags & EVENT_ALLOWED)) {
        client = sub->client;

        client->type->ended(sub, "access_withdrawn");
        ngx_http_hive_count(client->hub->conf, withdrawn);
        ngx_http_hive_sub_free(sub);
        return;
    }

    if (sub->recheck) {
        ngx_http_hive_sub_recheck(sub);
    }
}


void
ngx_http_hive_subs_again(ngx_http_hive_hub_t *hub)
{
    ngx_queue_t          *q, queue;
    ngx_http_hive_sub_t  *sub;

    if (ngx_queue_empty(&hub->again)) {
        return;
    }

    ngx_queue_init(&queue);
    ngx_queue_add(&queue, &hub->again);
    ngx_queue_init(&hub->again);

    while (!ngx_queue_empty(&queue)) {
        q = ngx_queue_head(&queue);
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, again);

        ngx_queue_remove(q);
        sub->later = 0;

        ngx_http_hive_sub_recheck(sub);
    }
}
