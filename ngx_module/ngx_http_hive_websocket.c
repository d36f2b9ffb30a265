
/*
 * WebSocket connections, RFC 6455, after their request has been answered with
 * 101. The request is gone by then: a connection at rest is what nginx has for
 * any, and our struct.
 *
 * Reading needs no buffer of a connection's own: the parser takes pieces, and
 * a message that is not whole yet is kept aside.
 */


#include "ngx_http_hive_hub.h"


#define NGX_HTTP_HIVE_WS_CLOSE_TIME   5000      /* for the peer's close frame */
#define NGX_HTTP_HIVE_WS_LINGER_TIME  2000      /* for the end of its side */
#define NGX_HTTP_HIVE_WS_READS        4         /* in one turn */


static void ngx_http_hive_ws_take(ngx_connection_t *c, ngx_http_request_t *r);
static void ngx_http_hive_ws_read(ngx_event_t *rev);
static void ngx_http_hive_ws_write(ngx_event_t *wev);
static void ngx_http_hive_ws_drain(ngx_http_hive_ws_t *ws);
static void ngx_http_hive_ws_feed(ngx_http_hive_ws_t *ws, u_char *p, size_t n);
static void ngx_http_hive_ws_data(ngx_http_hive_ws_t *ws, ws_piece_t *piece);
static ngx_int_t ngx_http_hive_ws_keep(ngx_http_hive_ws_t *ws, slice_t data);
static void ngx_http_hive_ws_whole(ngx_http_hive_ws_t *ws, ws_piece_t *piece,
    u_char *text, size_t len);
static void ngx_http_hive_ws_forget(ngx_http_hive_ws_t *ws);
static void ngx_http_hive_ws_echo(ngx_http_hive_ws_t *ws, ws_piece_t *piece,
    u_char *text, size_t len);
static ngx_uint_t ngx_http_hive_ws_allowed(ngx_http_hive_ws_t *ws);
static void ngx_http_hive_ws_control(ngx_http_hive_ws_t *ws,
    ws_piece_t *piece);
static void ngx_http_hive_ws_put(ngx_http_hive_ws_t *ws, ws_opcode_t opcode,
    u_char *data, size_t len);
static void ngx_http_hive_ws_slow(ngx_http_hive_client_t *client);
static void ngx_http_hive_ws_snapshot(ngx_http_hive_ws_t *ws);
static void ngx_http_hive_ws_beat(ngx_http_hive_client_t *client);
static void ngx_http_hive_ws_bury(ngx_http_hive_client_t *client);


ngx_http_hive_client_type_t  ngx_http_hive_ws_type = {
    ngx_http_hive_ws_flush,
    ngx_http_hive_ws_bury,
    ngx_http_hive_ws_parcel_sent,
    ngx_http_hive_ws_slow,
    ngx_http_hive_ws_beat,
    NULL,
    ngx_http_hive_ws_confirmed,
    ngx_http_hive_ws_refused,
    ngx_http_hive_ws_ended,
    ngx_http_hive_ws_state
};


void
ngx_http_hive_ws_begin(ngx_http_request_t *r, ngx_http_hive_upgrade_t *upgrade)
{
    size_t                      n;
    u_char                     *early;
    ngx_int_t                   rc;
    ngx_uint_t                  refuse;
    const char                 *reason;
    ngx_connection_t           *c;
    ngx_http_hive_ws_t         *ws;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    c = r->connection;

    ws = ngx_calloc(sizeof(ngx_http_hive_ws_t), c->log);

    if (ws == NULL || r->out || c->buffered) {
        ngx_free(ws);
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    /* frames that came with the request */

    early = hmcf->hub->buffer;
    n = ngx_min(r->header_in->last - r->header_in->pos,
                NGX_HTTP_HIVE_READ_BUFFER);
    ngx_memcpy(early, r->header_in->pos, n);

    ws->client.type = &ngx_http_hive_ws_type;
    ws->client.user = upgrade->user;
    ws->client.session = upgrade->session;
    ws->client.principal = upgrade->principal;
    ws->client.expires = upgrade->expires;
    ws->connection = c;
    ws->batch_ms = upgrade->batch_ms;
    ws->window = upgrade->window;
    ws->echo = upgrade->echo;
    ws->connected = ngx_time();
    ws->allowance = 2 * hmcf->rate + hmcf->max_subscriptions;
    ws->allowance_at = ngx_current_msec;

    ws->batch.handler = ngx_http_hive_ws_batch_handler;
    ws->batch.data = ws;
    ws->batch.log = hmcf->hub->log;
    ws->batch.cancelable = 1;

    ws_parser_init(&ws->parser);

    rc = ngx_http_hive_client_init(&ws->client, hmcf->hub);

    if (rc == NGX_ERROR) {
        ngx_free(ws);
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    refuse = upgrade->refuse;
    reason = upgrade->reason;

    if (rc == NGX_BUSY && refuse == 0) {
        refuse = WS_POLICY;
        reason = "too_many_connections";
    }

    /* what the request has goes now */

    ngx_http_hive_ws_take(c, r);

    c->data = ws;

    if (refuse) {
        ngx_http_hive_count(hmcf, ws_refused);
        ngx_http_hive_ws_close(ws, refuse, reason);

    } else {
        ngx_http_hive_count(hmcf, ws_opened);

        if (!ws->echo) {
            ngx_http_hive_ws_welcome(ws);
        }
    }

    if (ngx_exiting) {
        ngx_http_hive_ws_drain(ws);
    }

    ngx_http_hive_ws_feed(ws, early, n);

    if (!ws->client.is_dead) {
        ngx_http_hive_ws_read(c->read);
    }
}


/* Ends the request, whose log line is written now, and keeps its connection,
 * as nginx does between two requests. */
static void
ngx_http_hive_ws_take(ngx_connection_t *c, ngx_http_request_t *r)
{
    ngx_buf_t              *b;
    ngx_chain_t            *cl, *ln;
    ngx_http_connection_t  *hc;

    hc = r->http_connection;

    ngx_http_free_request(r, 0);

    c->destroyed = 0;
    c->log->action = "serving a WebSocket";

    b = c->buffer;

    if (b && ngx_pfree(c->pool, b->start) == NGX_OK) {
        b->pos = NULL;
    }

    for (cl = hc->free; cl; /* void */ ) {
        ln = cl;
        cl = cl->next;
        ngx_pfree(c->pool, ln->buf->start);
        ngx_free_chain(c->pool, ln);
    }

    hc->free = NULL;

    for (cl = hc->busy; cl; /* void */ ) {
        ln = cl;
        cl = cl->next;
        ngx_pfree(c->pool, ln->buf->start);
        ngx_free_chain(c->pool, ln);
    }

    hc->busy = NULL;
    hc->nbusy = 0;

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    (void) ngx_tcp_nodelay(c);

    c->read->handler = ngx_http_hive_ws_read;
    c->write->handler = ngx_http_hive_ws_write;

    /* a process that quits calls the read handler, with c->close */

    c->idle = 1;
}


static void
ngx_http_hive_ws_read(ngx_event_t *rev)
{
    ssize_t              n;
    ngx_uint_t           i;
    ngx_connection_t    *c;
    ngx_http_hive_ws_t  *ws;

    c = rev->data;
    ws = c->data;

    if (ws->client.is_dead) {
        return;
    }

    if (c->close) {
        c->close = 0;

        if (c->error) {

            /* worker_shutdown_timeout */

            ngx_http_hive_client_kill(&ws->client);
            return;
        }

        ngx_http_hive_ws_drain(ws);
    }

    if (rev->timedout) {
        rev->timedout = 0;

        if (ws->draining && !ws->close_sent) {
            ngx_http_hive_ws_close(ws, WS_GOING_AWAY, "reload");

        } else {
            ngx_http_hive_client_kill(&ws->client);
            return;
        }
    }

    for (i = 0; i < NGX_HTTP_HIVE_WS_READS; i++) {

        n = c->recv(c, ws->client.hub->buffer, NGX_HTTP_HIVE_READ_BUFFER);

        if (n == NGX_AGAIN) {
            if (ngx_handle_read_event(rev, 0) != NGX_OK) {
                ngx_http_hive_client_kill(&ws->client);
            }

            return;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_http_hive_client_kill(&ws->client);
            return;
        }

        ngx_http_hive_ws_feed(ws, ws->client.hub->buffer, n);

        if (ws->client.is_dead) {
            return;
        }
    }

    ngx_post_event(rev, &ngx_posted_next_events);
}


static void
ngx_http_hive_ws_write(ngx_event_t *wev)
{
    ngx_connection_t    *c;
    ngx_http_hive_ws_t  *ws;

    c = wev->data;
    ws = c->data;

    if (!ws->client.is_dead) {
        ngx_http_hive_client_dirty(&ws->client);
    }
}


/* Not all clients are to come back at once. */
static void
ngx_http_hive_ws_drain(ngx_http_hive_ws_t *ws)
{
    ngx_msec_t  wait;

    if (ws->draining || ws->close_sent) {
        return;
    }

    ws->draining = 1;
    ws->connection->idle = 0;

    wait = ngx_http_hive_random() % (ws->client.hub->conf->drain + 1);

    ngx_add_timer(ws->connection->read, wait);
}


static void
ngx_http_hive_ws_feed(ngx_http_hive_ws_t *ws, u_char *p, size_t n)
{
    size_t                      used;
    ws_piece_t                  piece;
    ws_limits_t                 limits;
    ngx_http_hive_main_conf_t  *conf;

    if (ws->discard) {
        return;
    }

    conf = ws->client.hub->conf;

    limits.message_max = conf->message_max;
    limits.fragments_max = conf->fragments_max;
    limits.deflate = ws->window != 0;

    ws->bytes_in += n;
    conf->counters->ws_bytes_in += n;

    while (!ws->client.is_dead && !ws->discard) {

        switch (ws_parse(&ws->parser, &limits, p, n, &used, &piece)) {

        case WS_DATA:
            ngx_http_hive_ws_data(ws, &piece);
            break;

        case WS_CONTROL:
            ngx_http_hive_ws_control(ws, &piece);
            break;

        case WS_FAIL:
            ngx_http_hive_count(conf, ws_failed);
            ws->discard = 1;
            ngx_http_hive_ws_close(ws, piece.code, piece.reason);
            return;

        default: /* WS_NEED */
            return;
        }

        p += used;
        n -= used;
    }
}


static void
ngx_http_hive_ws_data(ngx_http_hive_ws_t *ws, ws_piece_t *piece)
{
    int      rc;
    slice_t  data;

    if (ws->close_sent) {
        return;
    }

    if (piece->first && piece->last && !piece->compressed) {
        ngx_http_hive_ws_whole(ws, piece, (u_char *) piece->data.data,
                               piece->data.len);
        return;
    }

    if (ngx_http_hive_ws_keep(ws, piece->data) != NGX_OK) {
        ngx_http_hive_client_kill(&ws->client);
        return;
    }

    if (!piece->last) {
        return;
    }

    if (!piece->compressed) {
        ngx_http_hive_ws_whole(ws, piece, ws->message, ws->message_len);
        ngx_http_hive_ws_forget(ws);
        return;
    }

    rc = ws_inflate(ws->client.hub->inflater, ws->message, ws->message_len,
                    ws->client.hub->conf->message_max, &data);

    ngx_http_hive_ws_forget(ws);

    if (rc == 0 && piece->opcode == WS_TEXT
        && !utf8_valid(data.data, data.len))
    {
        rc = WS_INVALID_DATA;
    }

    if (rc != 0) {
        ngx_http_hive_count(ws->client.hub->conf, ws_failed);
        ws->discard = 1;
        ngx_http_hive_ws_close(ws, rc, rc == WS_TOO_BIG ? "message_too_big"
                                       : "invalid_data");
        return;
    }

    ngx_http_hive_ws_whole(ws, piece, (u_char *) data.data, data.len);
}


static ngx_int_t
ngx_http_hive_ws_keep(ngx_http_hive_ws_t *ws, slice_t data)
{
    size_t   size;
    u_char  *p;

    if (ws->message_len + data.len > ws->message_size) {
        size = ngx_max(2 * ws->message_size,
                       ws->message_len + data.len + 256);

        p = ngx_alloc(size, ws->client.hub->log);
        if (p == NULL) {
            return NGX_ERROR;
        }

        if (ws->message_len) {
            ngx_memcpy(p, ws->message, ws->message_len);
        }

        ngx_free(ws->message);

        ws->message = p;
        ws->message_size = size;
    }

    if (data.len) {
        ngx_memcpy(ws->message + ws->message_len, data.data, data.len);
        ws->message_len += data.len;
    }

    return NGX_OK;
}


static void
ngx_http_hive_ws_forget(ngx_http_hive_ws_t *ws)
{
    ngx_free(ws->message);

    ws->message = NULL;
    ws->message_len = 0;
    ws->message_size = 0;
}


static void
ngx_http_hive_ws_whole(ngx_http_hive_ws_t *ws, ws_piece_t *piece, u_char *text,
    size_t len)
{
    ws->messages_in++;
    ngx_http_hive_count(ws->client.hub->conf, ws_messages);

    if (ws->echo) {
        ngx_http_hive_ws_echo(ws, piece, text, len);
        return;
    }

    if (piece->opcode == WS_BINARY) {
        ws->discard = 1;
        ngx_http_hive_ws_close(ws, WS_UNSUPPORTED, "text_only");
        return;
    }

    if (!ngx_http_hive_ws_allowed(ws)) {
        ngx_http_hive_count(ws->client.hub->conf, ws_limited);
        ngx_http_hive_ws_refused(&ws->client, NULL, NULL, "rate_limited",
                                 "that was more messages than a second has "
                                 "room for; this one was dropped");
        return;
    }

    ngx_http_hive_ws_message(ws, text, len);
}


/* As it came: compressed or not. */
static void
ngx_http_hive_ws_echo(ngx_http_hive_ws_t *ws, ws_piece_t *piece, u_char *text,
    size_t len)
{
    ngx_http_hive_frame_t  *frame;

    frame = ngx_http_hive_frame(piece->opcode, text, len);

    if (frame == NULL) {
        ngx_http_hive_client_kill(&ws->client);
        return;
    }

    frame->compress = piece->compressed ? 1 : 0;
    frame->incompressible = !frame->compress;

    ngx_http_hive_client_push(&ws->client, frame);
    ngx_http_hive_frame_free(frame);
}


/*
 * A bucket of twice what a second brings; at first there is room as well for
 * all the subscriptions of a client that comes back.
 */
static ngx_uint_t
ngx_http_hive_ws_allowed(ngx_http_hive_ws_t *ws)
{
    ngx_msec_t  rate, gained;

    rate = ws->client.hub->conf->rate;
    gained = (ngx_current_msec - ws->allowance_at) * rate / 1000;

    if (gained) {
        if (ws->allowance < 2 * rate) {
            ws->allowance = ngx_min(ws->allowance + gained, 2 * rate);
        }

        ws->allowance_at = ngx_current_msec;
    }

    if (ws->allowance == 0) {
        return 0;
    }

    ws->allowance--;

    return 1;
}


static void
ngx_http_hive_ws_control(ngx_http_hive_ws_t *ws, ws_piece_t *piece)
{
    ngx_uint_t  code;

    switch (piece->opcode) {

    case WS_PING:
        if (!ws->close_sent) {
            ngx_http_hive_ws_put(ws, WS_PONG, (u_char *) piece->data.data,
                                 piece->data.len);
        }

        return;

    case WS_PONG:
        if (ws->awaits_pong) {
            ws->awaits_pong = 0;
            ngx_queue_remove(&ws->awaiting);
        }

        return;

    default: /* WS_CLOSE */

        /* nothing that comes behind it is looked at */

        ws->close_got = 1;
        ws->discard = 1;

        code = piece->code == WS_NO_STATUS ? 0 : piece->code;

        ngx_http_hive_ws_close(ws, code, NULL);
        ngx_http_hive_client_dirty(&ws->client);
    }
}


static void
ngx_http_hive_ws_put(ngx_http_hive_ws_t *ws, ws_opcode_t opcode, u_char *data,
    size_t len)
{
    ngx_http_hive_frame_t  *frame;

    frame = ngx_http_hive_frame(opcode, data, len);

    if (frame == NULL) {
        ngx_http_hive_client_kill(&ws->client);
        return;
    }

    ngx_http_hive_client_push(&ws->client, frame);
    ngx_http_hive_frame_free(frame);
}


void
ngx_http_hive_ws_close(ngx_http_hive_ws_t *ws, ngx_uint_t code,
    const char *reason)
{
    size_t  len;
    u_char  payload[WS_CONTROL_MAX];

    if (ws->close_sent || ws->client.is_dead) {
        return;
    }

    ws->close_sent = 1;
    ws->client.is_slow = 0;

    len = 0;

    if (code) {
        payload[0] = (u_char) (code >> 8);
        payload[1] = (u_char) code;
        len = 2;

        if (reason) {
            len += ngx_min(ngx_strlen(reason), WS_CONTROL_MAX - 2);
            ngx_memcpy(payload + 2, reason, len - 2);
        }
    }

    ngx_http_hive_ws_put(ws, WS_CLOSE, payload, len);

    ws->client.is_closed = 1;

    /* a normal timer: a process that quits waits for it */

    ngx_add_timer(ws->connection->read, NGX_HTTP_HIVE_WS_CLOSE_TIME);
}


/*
 * Close frames have gone both ways, or the peer broke a rule: our side ends.
 * The connection goes when its side does, so that the frame is not lost to a
 * reset.
 */
void
ngx_http_hive_ws_shut(ngx_http_hive_ws_t *ws)
{
    ngx_connection_t  *c;

    c = ws->connection;

    if (ws->shut) {
        return;
    }

    ws->shut = 1;

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        ngx_http_hive_client_kill(&ws->client);
        return;
    }

#endif

    if (ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN) == -1) {
        ngx_http_hive_client_kill(&ws->client);
        return;
    }

    ngx_add_timer(c->read, NGX_HTTP_HIVE_WS_LINGER_TIME);
}


static void
ngx_http_hive_ws_slow(ngx_http_hive_client_t *client)
{
    ngx_http_hive_ws_t  *ws = (ngx_http_hive_ws_t *) client;

    ngx_uint_t                  n;
    ngx_http_hive_main_conf_t  *conf;

    conf = client->hub->conf;

    if (conf->slow == NGX_HTTP_HIVE_SLOW_SNAPSHOT && !ws->echo) {
        ngx_http_hive_ws_snapshot(ws);
        return;
    }

    ngx_log_error(NGX_LOG_INFO, ws->connection->log, 0,
                  "client reads too slowly, %uz bytes wait for it",
                  client->queued);

    n = ngx_http_hive_client_drop(client);

    conf->counters->frames_dropped += n;
    ngx_http_hive_count(conf, ws_slow);

    ngx_http_hive_ws_close(ws, WS_TRY_LATER, "slow_consumer");
}


/*
 * What waits is dropped, and nothing more of its channels is told until the
 * client has taken the word that it has to look anew.
 */
static void
ngx_http_hive_ws_snapshot(ngx_http_hive_ws_t *ws)
{
    ngx_uint_t               n;
    ngx_queue_t             *q;
    ngx_http_hive_sub_t     *sub;
    ngx_http_hive_client_t  *client;

    client = &ws->client;

    n = ngx_http_hive_client_drop(client);

    client->hub->conf->counters->frames_dropped += n;
    ngx_http_hive_count(client->hub->conf, ws_slow);

    client->is_slow = 0;

    for (q = ngx_queue_head(&client->subs);
         q != ngx_queue_sentinel(&client->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, mine);

        if (sub->live) {
            ngx_http_hive_ws_dropped(sub);
        }
    }
}


static void
ngx_http_hive_ws_beat(ngx_http_hive_client_t *client)
{
    ngx_http_hive_ws_t  *ws = (ngx_http_hive_ws_t *) client;

    if (ws->close_sent || ws->awaits_pong) {
        return;
    }

    ws->awaits_pong = 1;
    ws->pinged = ngx_current_msec;
    ngx_queue_insert_tail(&client->hub->awaiting, &ws->awaiting);

    ngx_http_hive_ws_put(ws, WS_PING, NULL, 0);
}


void
ngx_http_hive_ws_tick(ngx_http_hive_hub_t *hub)
{
    ngx_queue_t             *q;
    ngx_http_hive_ws_t      *ws;
    ngx_http_hive_client_t  *client;

    while (!ngx_queue_empty(&hub->awaiting)) {
        q = ngx_queue_head(&hub->awaiting);
        ws = ngx_queue_data(q, ngx_http_hive_ws_t, awaiting);

        if (ngx_current_msec - ws->pinged < hub->conf->ping_timeout) {
            break;
        }

        ws->awaits_pong = 0;
        ngx_queue_remove(q);

        ngx_http_hive_count(hub->conf, ws_timeouts);
        ngx_http_hive_client_kill(&ws->client);
    }

    for (q = ngx_queue_head(&hub->clients);
         q != ngx_queue_sentinel(&hub->clients);
         q = ngx_queue_next(q))
    {
        client = ngx_queue_data(q, ngx_http_hive_client_t, queue);

        if (client->expires && client->expires <= ngx_time()) {
            client->expires = 0;

            if (client->type == &ngx_http_hive_ws_type) {
                ngx_http_hive_ws_close((ngx_http_hive_ws_t *) client,
                                       WS_POLICY, "token_expired");

            } else {
                ngx_http_hive_client_kill(client);
            }
        }
    }
}


static void
ngx_http_hive_ws_bury(ngx_http_hive_client_t *client)
{
    ngx_http_hive_ws_t  *ws = (ngx_http_hive_ws_t *) client;

    ngx_connection_t  *c;

    c = ws->connection;

    ngx_http_hive_client_release(client);

    if (ws->awaits_pong) {
        ngx_queue_remove(&ws->awaiting);
    }

    if (ws->batch.timer_set) {
        ngx_del_timer(&ws->batch);
    }

    if (ws->ask) {
        ngx_http_hive_ask_cancel(ws->ask);
    }

    json_decref(ws->ask_id);

    ngx_http_hive_ws_forget(ws);
    ngx_free(ws);

    ngx_http_close_connection(c);
}
