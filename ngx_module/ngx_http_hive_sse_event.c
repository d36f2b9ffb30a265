
/*
 * What a stream of server-sent events says, and the cursor in its ids: where
 * it is in each of its channels.
 */


#include "ngx_http_hive_sse.h"


static size_t ngx_http_hive_sse_cursor_size(ngx_http_hive_sse_t *sse);
static u_char *ngx_http_hive_sse_cursor(ngx_http_hive_sse_t *sse, u_char *p);
static ngx_http_hive_frame_t *ngx_http_hive_sse_event(ngx_http_hive_sse_t *sse,
    ngx_str_t *type, ngx_str_t *text, ngx_uint_t cursor);


/* "epoch:offset,epoch:offset", one for each channel; "-" for none. What is
 * not that is as if it were not there. */
void
ngx_http_hive_sse_resume(ngx_http_request_t *r, ngx_http_hive_sse_t *sse)
{
    u_char                     *p, *end, *colon, *last, *src;
    ngx_str_t                   value;
    ngx_uint_t                  i;
    ngx_table_elt_t            *h;
    ngx_http_hive_sse_place_t  *place;

    h = ngx_http_hive_header_in(r, "last-event-id",
                                sizeof("last-event-id") - 1);
    if (h) {
        value = h->value;

    } else if (ngx_http_arg(r, (u_char *) "last_event_id",
                            sizeof("last_event_id") - 1, &value)
               == NGX_OK)
    {
        p = ngx_pnalloc(r->pool, value.len + 1);
        if (p == NULL) {
            return;
        }

        last = p;
        src = value.data;
        ngx_unescape_uri(&last, &src, value.len, 0);

        value.data = p;
        value.len = last - p;

    } else {
        return;
    }

    p = value.data;
    last = p + value.len;

    for (i = 0; i < sse->nplaces && p < last; i++) {
        place = &sse->places[i];

        end = ngx_strlchr(p, last, ',');
        end = end ? end : last;
        colon = ngx_strlchr(p, end, ':');

        if (colon && colon - p <= NGX_HTTP_HIVE_EPOCH_MAX) {
            place->epoch.data = p;
            place->epoch.len = colon - p;
            place->offset = ngx_atoof(colon + 1, end - colon - 1);

            for ( /* void */ ; p < colon; p++) {
                if (*p <= ' ' || *p >= 0x7f || *p == '"' || *p == '\\') {
                    place->offset = -1;
                }
            }

            if (place->offset < 0) {
                place->epoch.len = 0;
                place->offset = -1;
            }
        }

        p = end + 1;
    }
}


ngx_http_hive_sse_place_t *
ngx_http_hive_sse_place(ngx_http_hive_sse_t *sse, ngx_str_t *name)
{
    ngx_uint_t                  i;
    ngx_http_hive_sse_place_t  *place;

    for (i = 0; i < sse->nplaces; i++) {
        place = &sse->places[i];

        if (place->name.len == name->len
            && ngx_memcmp(place->name.data, name->data, name->len) == 0)
        {
            return place;
        }
    }

    return NULL;
}


static size_t
ngx_http_hive_sse_cursor_size(ngx_http_hive_sse_t *sse)
{
    return sse->nplaces * (NGX_HTTP_HIVE_EPOCH_MAX + NGX_INT64_LEN + 2);
}


static u_char *
ngx_http_hive_sse_cursor(ngx_http_hive_sse_t *sse, u_char *p)
{
    ngx_uint_t                  i;
    ngx_http_hive_sse_place_t  *place;

    for (i = 0; i < sse->nplaces; i++) {
        place = &sse->places[i];

        if (i) {
            *p++ = ',';
        }

        if (place->offset < 0) {
            *p++ = '-';

        } else {
            p = ngx_sprintf(p, "%V:%L", &place->epoch, place->offset);
        }
    }

    return p;
}


static ngx_http_hive_frame_t *
ngx_http_hive_sse_event(ngx_http_hive_sse_t *sse, ngx_str_t *type,
    ngx_str_t *text, ngx_uint_t cursor)
{
    u_char                 *p;
    size_t                  size;
    ngx_http_hive_frame_t  *frame;

    size = sizeof("id: \nevent: \ndata: \n\n") + type->len + text->len
           + (cursor ? ngx_http_hive_sse_cursor_size(sse) : 0);

    frame = ngx_http_hive_raw_frame(size);
    if (frame == NULL) {
        return NULL;
    }

    p = frame->wire.data;

    if (cursor) {
        p = ngx_cpymem(p, "id: ", 4);
        p = ngx_http_hive_sse_cursor(sse, p);
        *p++ = '\n';
    }

    p = ngx_sprintf(p, "event: %V\ndata: ", type);
    p = ngx_cpymem(p, text->data, text->len);
    *p++ = '\n';
    *p++ = '\n';

    frame->wire.len = p - frame->wire.data;

    return frame;
}


void
ngx_http_hive_sse_tell(ngx_http_hive_sse_t *sse, char *type, json_t *message,
    ngx_uint_t cursor)
{
    char                   *dump;
    ngx_str_t               name, text;
    ngx_http_hive_frame_t  *frame;

    dump = message ? json_dumps(message, JSON_COMPACT) : NULL;
    frame = NULL;

    if (dump) {
        name.data = (u_char *) type;
        name.len = ngx_strlen(type);
        text.data = (u_char *) dump;
        text.len = ngx_strlen(dump);

        frame = ngx_http_hive_sse_event(sse, &name, &text, cursor);
    }

    ngx_free(dump);
    json_decref(message);

    if (frame == NULL) {
        ngx_http_hive_client_kill(&sse->client);
        return;
    }

    ngx_http_hive_client_push(&sse->client, frame);
    ngx_http_hive_frame_free(frame);
}


ngx_http_hive_frame_t *
ngx_http_hive_sse_form(ngx_http_hive_client_t *client,
    ngx_http_hive_sub_t *sub, ngx_http_hive_frame_t *frame)
{
    ngx_http_hive_sse_t *sse = (ngx_http_hive_sse_t *) client;

    ngx_http_hive_sse_place_t  *place;

    if (sub && frame->offset) {
        place = ngx_http_hive_sse_place(sse, &sub->channel->sn.str);

        if (place) {
            place->offset = sub->offset;
        }
    }

    return ngx_http_hive_sse_event(sse, &frame->type, &frame->text,
                                   frame->offset != 0);
}


void
ngx_http_hive_sse_confirmed(ngx_http_hive_sub_t *sub, ngx_uint_t recovered,
    int64_t offset)
{
    ngx_http_hive_sse_t *sse = (ngx_http_hive_sse_t *) sub->client;

    u_char                     *p;
    ngx_str_t                  *epoch;
    ngx_http_hive_sse_place_t  *place;

    epoch = &sub->channel->epoch;
    place = ngx_http_hive_sse_place(sse, &sub->channel->sn.str);

    if (place) {
        if (place->epoch.len != epoch->len
            || ngx_memcmp(place->epoch.data, epoch->data, epoch->len) != 0)
        {
            p = ngx_pnalloc(sse->request->pool, epoch->len);
            if (p == NULL) {
                ngx_http_hive_client_kill(sub->client);
                return;
            }

            ngx_memcpy(p, epoch->data, epoch->len);
            place->epoch.data = p;
            place->epoch.len = epoch->len;
        }

        place->offset = offset;
    }

    ngx_http_hive_sse_tell(sse, "subscription_confirmed",
                           ngx_http_hive_confirmation(sub, recovered, offset),
                           1);
}


void
ngx_http_hive_sse_refused(ngx_http_hive_client_t *client, json_t *id,
    ngx_str_t *channel, const char *code, const char *message)
{
    ngx_http_hive_sse_tell((ngx_http_hive_sse_t *) client, "error",
                           ngx_http_hive_refusal(channel, code, message), 0);
}


void
ngx_http_hive_sse_ended(ngx_http_hive_sub_t *sub, const char *reason)
{
    ngx_http_hive_sse_tell((ngx_http_hive_sse_t *) sub->client,
                           "unsubscribed", ngx_http_hive_ending(sub, reason),
                           0);
}


void
ngx_http_hive_sse_beat(ngx_http_hive_client_t *client)
{
    ngx_http_hive_frame_t  *frame;

    if (client->ring_count) {
        return;
    }

    frame = ngx_http_hive_raw_frame(sizeof(": hb\n\n") - 1);

    if (frame) {
        ngx_memcpy(frame->wire.data, ": hb\n\n", frame->wire.len);
        ngx_http_hive_client_push(client, frame);
        ngx_http_hive_frame_free(frame);
    }
}
