
/*
 * Server-sent events: GET /api/v1/events?channels=a,b. The id of each event
 * is where the stream is in all of its channels, so that Last-Event-ID is all
 * that a client needs to come back.
 *
 * The request stays: it may be one of many in an HTTP/2 connection. nginx's
 * filters get a buffer at a time, and the next when that has left, so that
 * what waits for a slow reader waits in our ring, which is bounded.
 */


#include "ngx_http_hive_sse.h"


#define NGX_HTTP_HIVE_SSE_BUFFER    16384
#define NGX_HTTP_HIVE_SSE_CHANNELS  64
#define NGX_HTTP_HIVE_SSE_HOLD      3600000     /* ms; a process that quits
                                                   waits for a timer */


static ngx_int_t ngx_http_hive_sse_channels(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_http_hive_sse_t *sse);
static void ngx_http_hive_sse_redeemed(ngx_http_hive_redeem_t *redeem,
    ngx_int_t rc);
static ngx_int_t ngx_http_hive_sse_unwelcome(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, const char *code, const char *detail);
static ngx_int_t ngx_http_hive_sse_begin(ngx_http_hive_sse_t *sse,
    time_t expires);
static ngx_int_t ngx_http_hive_sse_subscribe(ngx_http_hive_sse_t *sse);
static void ngx_http_hive_sse_hold_handler(ngx_event_t *ev);
static void ngx_http_hive_sse_flush(ngx_http_hive_client_t *client);
static size_t ngx_http_hive_sse_fill(ngx_http_hive_client_t *client,
    u_char *p, size_t size);
static ngx_int_t ngx_http_hive_sse_output(ngx_http_hive_sse_t *sse,
    ngx_chain_t *out);
static void ngx_http_hive_sse_writer(ngx_http_request_t *r);
static void ngx_http_hive_sse_slow(ngx_http_hive_client_t *client);
static void ngx_http_hive_sse_bury(ngx_http_hive_client_t *client);
static void ngx_http_hive_sse_gone(void *data);


static ngx_http_hive_client_type_t  ngx_http_hive_sse_type = {
    ngx_http_hive_sse_flush,
    ngx_http_hive_sse_bury,
    NULL,
    ngx_http_hive_sse_slow,
    ngx_http_hive_sse_beat,
    ngx_http_hive_sse_form,
    ngx_http_hive_sse_confirmed,
    ngx_http_hive_sse_refused,
    ngx_http_hive_sse_ended,
    NULL
};


static ngx_str_t  ngx_http_hive_sse_content_type =
    ngx_string("text/event-stream");


ngx_int_t
ngx_http_hive_sse_handler(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_str_t                   value;
    jws_status_t                reason;
    ngx_http_hive_sse_t        *sse;
    ngx_http_hive_token_t      *token;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    sse = ngx_pcalloc(r->pool, sizeof(ngx_http_hive_sse_t));
    if (sse == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    sse->request = r;
    sse->ctx = ctx;
    sse->client.type = &ngx_http_hive_sse_type;
    sse->client.sse = 1;

    rc = ngx_http_hive_sse_channels(r, ctx, sse);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rc = ngx_http_hive_token(r, hmcf, &token, &reason);

    if (rc == NGX_OK) {
        ctx->user = token->user;
        ctx->session = token->session;
        ctx->principal = token->principal;

        r->main->count++;

        rc = ngx_http_hive_sse_begin(sse, token->expires + hmcf->leeway);

        if (rc != NGX_DONE) {
            r->main->count--;
        }

        return rc;
    }

    if (rc == NGX_ABORT) {

        if (reason == JWS_NOMEM) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_hive_sse_unwelcome(r, ctx,
                                           reason == JWS_EXPIRED
                                           ? "token_expired" : "token_invalid",
                                           jws_status_text(reason));
    }

    if (ngx_http_arg(r, (u_char *) "ticket", sizeof("ticket") - 1, &value)
        != NGX_OK)
    {
        return ngx_http_hive_sse_unwelcome(r, ctx, "token_missing",
                                           "a token or a ticket is required");
    }

    sse->redeem.handler = ngx_http_hive_sse_redeemed;
    sse->redeem.data = sse;

    return ngx_http_hive_redeem(&sse->redeem, r, ctx, &value);
}


static ngx_int_t
ngx_http_hive_sse_unwelcome(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    const char *code, const char *detail)
{
    if (ngx_http_hive_add_header(r, "WWW-Authenticate",
                                 "Bearer realm=\"hive\"")
        == NULL)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_hive_problem(r, ctx, NGX_HTTP_UNAUTHORIZED, code, detail);
}


/* What is to be watched, and from where on; NGX_DECLINED: go on. */
static ngx_int_t
ngx_http_hive_sse_channels(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_http_hive_sse_t *sse)
{
    u_char                     *p, *src, *last;
    ngx_str_t                   value;
    ngx_http_hive_sse_place_t  *place;

    if (ngx_http_arg(r, (u_char *) "channels", sizeof("channels") - 1, &value)
        != NGX_OK || value.len == 0)
    {
        return ngx_http_hive_problem_field(r, ctx, "channels", "required",
                                           "must name 1 to 64 channels");
    }

    p = ngx_pnalloc(r->pool, value.len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    src = value.data;
    last = p;
    ngx_unescape_uri(&last, &src, value.len, 0);

    sse->places = ngx_pcalloc(r->pool, NGX_HTTP_HIVE_SSE_CHANNELS
                                       * sizeof(ngx_http_hive_sse_place_t));
    if (sse->places == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    while (p < last) {

        if (sse->nplaces == NGX_HTTP_HIVE_SSE_CHANNELS) {
            return ngx_http_hive_problem_field(r, ctx, "channels",
                                               "out_of_range",
                                               "must name 1 to 64 channels");
        }

        place = &sse->places[sse->nplaces];

        place->name.data = p;
        place->offset = -1;

        while (p < last && *p != ',') {
            p++;
        }

        place->name.len = p - place->name.data;
        p++;

        if (place->name.len
            && ngx_http_hive_sse_place(sse, &place->name) == NULL)
        {
            sse->nplaces++;
        }
    }

    if (ngx_http_arg(r, (u_char *) "types", sizeof("types") - 1, &value)
        == NGX_OK && value.len)
    {
        p = ngx_pnalloc(r->pool, value.len);
        if (p == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        sse->types.data = p;
        src = value.data;
        ngx_unescape_uri(&p, &src, value.len, 0);
        sse->types.len = p - sse->types.data;
    }

    ngx_http_hive_sse_resume(r, sse);

    return NGX_DECLINED;
}


static void
ngx_http_hive_sse_redeemed(ngx_http_hive_redeem_t *redeem, ngx_int_t rc)
{
    ngx_connection_t     *c;
    ngx_http_request_t   *r;
    ngx_http_hive_sse_t  *sse;

    sse = redeem->data;
    r = sse->request;
    c = r->connection;

    if (rc == NGX_OK) {
        rc = ngx_http_hive_sse_begin(sse, redeem->expires);

        if (rc == NGX_DONE) {
            ngx_http_run_posted_requests(c);
            return;
        }

    } else if (rc == NGX_DECLINED) {
        rc = ngx_http_hive_sse_unwelcome(r, redeem->ctx, "ticket_invalid",
                                         "the ticket is not good: it was "
                                         "used, is too old, or never was");
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* The caller has counted the request once for us. */
static ngx_int_t
ngx_http_hive_sse_begin(ngx_http_hive_sse_t *sse, time_t expires)
{
    ngx_int_t                   rc;
    ngx_http_request_t         *r;
    ngx_http_cleanup_t         *cln;
    ngx_http_hive_ctx_t        *ctx;
    ngx_http_hive_client_t     *client;
    ngx_http_hive_main_conf_t  *hmcf;

    r = sse->request;
    ctx = sse->ctx;
    client = &sse->client;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    client->user = ctx->user;
    client->session = ctx->session;
    client->principal = ctx->principal;
    client->expires = ngx_exiting ? ngx_time() + 1 : expires;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_hive_client_init(client, hmcf->hub);

    if (rc == NGX_BUSY) {
        if (ngx_http_hive_add_header(r, "Retry-After", "10") == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_hive_problem(r, ctx, NGX_HTTP_TOO_MANY_REQUESTS,
                                     "too_many_connections",
                                     "this user has as many live connections "
                                     "as may be");
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_hive_sse_gone;
    cln->data = sse;

    ctx->answered = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = -1;
    r->headers_out.content_type = ngx_http_hive_sse_content_type;
    r->headers_out.content_type_len = ngx_http_hive_sse_content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->disable_not_modified = 1;

    /* for a proxy before us, as nginx itself understands it */

    if (ngx_http_hive_add_header(r, "Cache-Control", "no-store") == NULL
        || ngx_http_hive_add_header(r, "X-Accel-Buffering", "no") == NULL)
    {
        return NGX_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_hive_sse_writer;

    sse->begun = 1;

    sse->hold.handler = ngx_http_hive_sse_hold_handler;
    sse->hold.data = sse;
    sse->hold.log = r->connection->log;

    ngx_add_timer(&sse->hold, NGX_HTTP_HIVE_SSE_HOLD);

    ngx_http_hive_sse_tell(sse, "connection_established",
        json_pack("{s:s, s:o, s:o, s:o, s:o}",
                  "type", "connection_established",
                  "connection_id", ngx_http_hive_json_uuid(&client->id),
                  "user_id", ngx_http_hive_json_uuid(&client->user),
                  "server_time", ngx_http_hive_json_now(),
                  "expires_at", ngx_http_hive_json_second(expires)), 0);

    if (ngx_http_hive_sse_subscribe(sse) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_DONE;
}


static ngx_int_t
ngx_http_hive_sse_subscribe(ngx_http_hive_sse_t *sse)
{
    u_char                       *p, *last;
    ngx_uint_t                    i;
    ngx_http_hive_sse_place_t    *place;
    ngx_http_hive_sub_options_t   options;

    ngx_memzero(&options, sizeof(ngx_http_hive_sub_options_t));

    p = sse->types.data;
    last = p + sse->types.len;

    while (p < last && options.ntypes < NGX_HTTP_HIVE_TYPES_MAX) {
        options.types[options.ntypes].data = p;

        while (p < last && *p != ',') {
            p++;
        }

        options.types[options.ntypes].len =
                                     p - options.types[options.ntypes].data;

        if (options.types[options.ntypes].len) {
            options.ntypes++;
        }

        p++;
    }

    for (i = 0; i < sse->nplaces; i++) {
        place = &sse->places[i];

        options.channel = place->name;
        options.since = place->offset >= 0;
        options.epoch = place->epoch;
        options.after = place->offset;

        (void) ngx_http_hive_subscribe(&sse->client, &options);

        if (sse->client.is_dead) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* It only has to be there. */
static void
ngx_http_hive_sse_hold_handler(ngx_event_t *ev)
{
    ngx_add_timer(ev, NGX_HTTP_HIVE_SSE_HOLD);
}


static void
ngx_http_hive_sse_slow(ngx_http_hive_client_t *client)
{
    ngx_uint_t  n;

    /* it comes back with the id of the last event that it has */

    n = ngx_http_hive_client_drop(client);

    client->hub->conf->counters->frames_dropped += n;
    ngx_http_hive_count(client->hub->conf, ws_slow);

    ngx_http_hive_client_kill(client);
}


static void
ngx_http_hive_sse_flush(ngx_http_hive_client_t *client)
{
    ngx_http_hive_sse_t *sse = (ngx_http_hive_sse_t *) client;

    ngx_buf_t           *b;
    ngx_chain_t         *cl;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = sse->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    while (client->ring_count && sse->busy == NULL && !r->buffered
           && !c->buffered)
    {
        cl = sse->free;

        if (cl) {
            sse->free = cl->next;

        } else {
            cl = ngx_alloc_chain_link(r->pool);
            if (cl == NULL) {
                goto failed;
            }

            cl->buf = ngx_create_temp_buf(r->pool, NGX_HTTP_HIVE_SSE_BUFFER);
            if (cl->buf == NULL) {
                goto failed;
            }

            cl->buf->tag = (ngx_buf_tag_t) &ngx_http_hive_module;
        }

        b = cl->buf;
        cl->next = NULL;

        b->pos = b->start;
        b->last = b->start + ngx_http_hive_sse_fill(client, b->start,
                                                    b->end - b->start);
        b->flush = 1;

        if (ngx_http_hive_sse_output(sse, cl) != NGX_OK) {
            goto failed;
        }
    }

    ngx_http_run_posted_requests(c);

    return;

failed:

    ngx_http_hive_client_kill(client);
}


/* As much of the ring as there is room for. */
static size_t
ngx_http_hive_sse_fill(ngx_http_hive_client_t *client, u_char *p, size_t size)
{
    size_t                  n, len;
    ngx_http_hive_frame_t  *frame;

    len = 0;

    while (client->ring_count && len < size) {
        frame = client->ring[client->ring_first];

        n = ngx_min(frame->wire.len - client->sent, size - len);

        ngx_memcpy(p + len, frame->wire.data + client->sent, n);
        len += n;
        client->sent += n;

        if (client->sent == frame->wire.len) {
            client->frames_out++;
            ngx_http_hive_count(client->hub->conf, frames_sent);
            ngx_http_hive_client_shift(client);
        }
    }

    client->bytes_out += len;
    client->hub->conf->counters->ws_bytes_out += len;

    return len;
}


static ngx_int_t
ngx_http_hive_sse_output(ngx_http_hive_sse_t *sse, ngx_chain_t *out)
{
    ngx_int_t                  rc;
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = sse->request;
    c = r->connection;
    wev = c->write;

    rc = ngx_http_output_filter(r, out);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_chain_update_chains(r->pool, &sse->free, &sse->busy, &out,
                            (ngx_buf_tag_t) &ngx_http_hive_module);

    if (sse->busy == NULL && !r->buffered && !c->buffered) {
        if (wev->timer_set && !wev->delayed) {
            ngx_del_timer(wev);
        }

        return NGX_OK;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!wev->delayed && !wev->timer_set) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    return ngx_handle_write_event(wev, clcf->send_lowat);
}


static void
ngx_http_hive_sse_writer(ngx_http_request_t *r)
{
    ngx_event_t          *wev;
    ngx_connection_t     *c;
    ngx_http_cleanup_t   *cln;
    ngx_http_hive_sse_t  *sse;

    c = r->connection;
    wev = c->write;
    sse = NULL;

    for (cln = r->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_hive_sse_gone) {
            sse = cln->data;
            break;
        }
    }

    if (sse == NULL || sse->client.is_dead) {
        return;
    }

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;
        ngx_http_hive_client_kill(&sse->client);
        return;
    }

    if (ngx_http_hive_sse_output(sse, NULL) != NGX_OK) {
        ngx_http_hive_client_kill(&sse->client);
        return;
    }

    if (sse->client.ring_count) {
        ngx_http_hive_client_dirty(&sse->client);
    }
}


/* It is to end, and its request is still there. */
static void
ngx_http_hive_sse_bury(ngx_http_hive_client_t *client)
{
    ngx_http_hive_sse_t *sse = (ngx_http_hive_sse_t *) client;

    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = sse->request;

    ngx_http_hive_client_release(client);

    if (r == NULL) {
        return;
    }

    sse->request = NULL;

    if (sse->hold.timer_set) {
        ngx_del_timer(&sse->hold);
    }

    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    rc = NGX_ERROR;

    if (sse->begun && sse->busy == NULL && !c->timedout && !c->error) {
        rc = ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* The request is being destroyed, by whatever cause. */
static void
ngx_http_hive_sse_gone(void *data)
{
    ngx_http_hive_sse_t *sse = data;

    if (sse->request == NULL) {
        return;
    }

    sse->request = NULL;

    if (sse->hold.timer_set) {
        ngx_del_timer(&sse->hold);
    }

    /* our struct is in its pool */

    if (sse->client.is_dead) {
        ngx_queue_remove(&sse->client.dead);
    }

    sse->client.is_dead = 1;

    ngx_http_hive_client_release(&sse->client);
}
