
/*
 * How what waits for a WebSocket connection goes out: several events as one
 * frame, to many connections in one system call, the rest when the socket
 * takes it.
 */


#include "ngx_http_hive_hub.h"


#if (NGX_HTTP_SSL)
#define ngx_http_hive_is_ssl(c)  ((c)->ssl != NULL)
#else
#define ngx_http_hive_is_ssl(c)  0
#endif


static void ngx_http_hive_ws_merge(ngx_http_hive_ws_t *ws);
static void ngx_http_hive_ws_send(ngx_http_hive_ws_t *ws);
static void ngx_http_hive_ws_send_together(ngx_http_hive_ws_t *ws);
static ngx_http_hive_frame_t *ngx_http_hive_ws_waiting(ngx_http_hive_ws_t *ws,
    ngx_uint_t i);
static void ngx_http_hive_ws_gone(ngx_http_hive_ws_t *ws, size_t sent);


void
ngx_http_hive_ws_flush(ngx_http_hive_client_t *client)
{
    ngx_http_hive_ws_t     *ws = (ngx_http_hive_ws_t *) client;
    ngx_http_hive_frame_t  *last;

    if (ws->batch_ms && client->ring_count && !client->is_closed) {
        last = client->ring[(client->ring_first + client->ring_count - 1)
                            & (client->ring_size - 1)];

        if (!last->control) {

            /* what comes within that time goes with it */

            if (!ws->batch.timer_set) {
                ngx_add_timer(&ws->batch, ws->batch_ms);
            }

            return;
        }
    }

    ngx_http_hive_ws_send_together(ws);
}


void
ngx_http_hive_ws_batch_handler(ngx_event_t *ev)
{
    ngx_http_hive_ws_t  *ws;

    ws = ev->data;

    if (ws->client.is_dead) {
        return;
    }

    ngx_http_hive_ws_merge(ws);
    ngx_http_hive_ws_send(ws);
}


/* Several events become one frame, a JSON array. */
static void
ngx_http_hive_ws_merge(ngx_http_hive_ws_t *ws)
{
    size_t                   len;
    u_char                  *p;
    uint32_t                 i, n, from, mask;
    ngx_http_hive_frame_t   *frame, *merged;
    ngx_http_hive_client_t  *client;

    client = &ws->client;
    from = client->sent ? 1 : 0;
    n = client->ring_count;
    mask = client->ring_size - 1;

    if (n < from + 2) {
        return;
    }

    len = 1;

    for (i = from; i < n; i++) {
        frame = client->ring[(client->ring_first + i) & mask];

        if (frame->control) {
            return;
        }

        len += frame->text.len + 1;
    }

    merged = ngx_http_hive_frame(WS_TEXT, NULL, len);
    if (merged == NULL) {
        return;
    }

    p = merged->text.data;
    *p++ = '[';

    for (i = from; i < n; i++) {
        frame = client->ring[(client->ring_first + i) & mask];

        p = ngx_cpymem(p, frame->text.data, frame->text.len);
        *p++ = i + 1 < n ? ',' : ']';
    }

    ngx_http_hive_client_drop(client);
    ngx_http_hive_client_push(client, merged);
    ngx_http_hive_frame_free(merged);
}


static void
ngx_http_hive_ws_send(ngx_http_hive_ws_t *ws)
{
    size_t                   sent;
    ngx_uint_t               i, n;
    ngx_chain_t             *cl;
    ngx_connection_t        *c;
    ngx_http_hive_frame_t   *frame;
    ngx_http_hive_client_t  *client;

    static ngx_buf_t    bufs[NGX_HTTP_HIVE_SEND_MAX];
    static ngx_chain_t  chain[NGX_HTTP_HIVE_SEND_MAX];

    c = ws->connection;
    client = &ws->client;

    while (client->ring_count && c->write->ready) {

        n = ngx_min(client->ring_count, NGX_HTTP_HIVE_SEND_MAX);

        for (i = 0; i < n; i++) {
            frame = ngx_http_hive_ws_waiting(ws, i);

            bufs[i].pos = frame->wire.data + (i ? 0 : client->sent);
            bufs[i].last = frame->wire.data + frame->wire.len;
            bufs[i].start = bufs[i].pos;
            bufs[i].memory = 1;
            bufs[i].flush = i + 1 == n;

            chain[i].buf = &bufs[i];
            chain[i].next = i + 1 == n ? NULL : &chain[i + 1];
        }

        cl = c->send_chain(c, chain, 0);

        if (cl == NGX_CHAIN_ERROR) {
            ngx_http_hive_client_kill(client);
            return;
        }

        sent = 0;

        for (i = 0; i < n; i++) {
            sent += bufs[i].pos - bufs[i].start;
        }

        ngx_http_hive_ws_gone(ws, sent);

        if (cl) {
            break;
        }
    }

    if (c->buffered && c->write->ready
        && c->send_chain(c, NULL, 0) == NGX_CHAIN_ERROR)
    {
        ngx_http_hive_client_kill(client);
        return;
    }

    if (client->ring_count || c->buffered) {
        if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
            ngx_http_hive_client_kill(client);
        }

        return;
    }

    if (ws->close_sent && ws->discard) {
        ngx_http_hive_ws_shut(ws);
    }
}


/* With what goes to others in this turn, if that can be. */
static void
ngx_http_hive_ws_send_together(ngx_http_hive_ws_t *ws)
{
    ngx_uint_t               i, n;
    ngx_connection_t        *c;
    ngx_http_hive_frame_t   *frame;
    ngx_http_hive_client_t  *client;
    ngx_http_hive_parcel_t  *parcel;

    c = ws->connection;
    client = &ws->client;
    parcel = NULL;

    if (client->ring_count && c->write->ready && !ngx_http_hive_is_ssl(c)) {
        parcel = ngx_http_hive_uring_add(client->hub, client, c->fd);
    }

    if (parcel == NULL) {
        ngx_http_hive_ws_send(ws);
        return;
    }

    n = ngx_min(client->ring_count, NGX_HTTP_HIVE_PARCEL_MAX);

    for (i = 0; i < n; i++) {
        frame = ngx_http_hive_ws_waiting(ws, i);

        parcel->iovs[i].iov_base = frame->wire.data + (i ? 0 : client->sent);
        parcel->iovs[i].iov_len = frame->wire.len - (i ? 0 : client->sent);
    }

    parcel->niovs = n;
}


void
ngx_http_hive_ws_parcel_sent(ngx_http_hive_client_t *client, ssize_t n)
{
    ngx_http_hive_ws_t *ws = (ngx_http_hive_ws_t *) client;

    ngx_connection_t  *c;

    c = ws->connection;

    if (n >= 0) {
        c->sent += n;
        ngx_http_hive_ws_gone(ws, n);

    } else if (n == -NGX_EAGAIN) {
        c->write->ready = 0;

    } else if (n != -NGX_EINTR) {
        c->write->error = 1;
        ngx_connection_error(c, -n, "send() failed");
        ngx_http_hive_client_kill(client);
        return;
    }

    ngx_http_hive_ws_send(ws);
    ngx_http_hive_client_flushed(client);
}


/* The i-th that waits, as this client is sent it. */
static ngx_http_hive_frame_t *
ngx_http_hive_ws_waiting(ngx_http_hive_ws_t *ws, ngx_uint_t i)
{
    ngx_http_hive_frame_t   *frame;
    ngx_http_hive_client_t  *client;

    client = &ws->client;

    frame = client->ring[(client->ring_first + i) & (client->ring_size - 1)];

    return ws->window ? ngx_http_hive_deflated(client->hub, frame, ws->window)
                      : frame;
}


/* So many bytes of what waits have been sent. */
static void
ngx_http_hive_ws_gone(ngx_http_hive_ws_t *ws, size_t sent)
{
    size_t                   rest;
    ngx_http_hive_client_t  *client;

    client = &ws->client;

    client->bytes_out += sent;
    client->hub->conf->counters->ws_bytes_out += sent;

    while (client->ring_count) {
        rest = ngx_http_hive_ws_waiting(ws, 0)->wire.len - client->sent;

        if (sent < rest) {
            client->sent += sent;
            return;
        }

        sent -= rest;

        client->frames_out++;
        ngx_http_hive_count(client->hub->conf, frames_sent);

        ngx_http_hive_client_shift(client);
    }
}
