
/*
 * Streamed replies. A worker sends a chunk only against credit, and credit is
 * as many chunks as we have buffers free: a slow client holds back the
 * worker, not memory.
 */


#include "ngx_http_hive.h"


static ngx_int_t ngx_http_hive_stream_put(ngx_http_hive_ctx_t *ctx,
    slice_t bytes);
static ngx_chain_t *ngx_http_hive_stream_buf(ngx_http_hive_ctx_t *ctx);
static ngx_int_t ngx_http_hive_stream_output(ngx_http_hive_ctx_t *ctx,
    ngx_chain_t *out);
static void ngx_http_hive_stream_grant(ngx_http_hive_ctx_t *ctx);
static void ngx_http_hive_stream_writer(ngx_http_request_t *r);


/* The head's body is the first chunk and needs no credit. */
void
ngx_http_hive_stream_begin(ngx_http_hive_ctx_t *ctx, slice_t first)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    ctx->streaming = 1;
    ctx->granted = 1;

    r->write_event_handler = ngx_http_hive_stream_writer;

    if (ngx_http_hive_stream_put(ctx, first) != NGX_OK) {
        ngx_http_hive_end(ctx, NGX_ERROR);
    }
}


void
ngx_http_hive_chunk(ngx_http_hive_ctx_t *ctx, wire_record_t *record)
{
    if (!ctx->streaming || ctx->granted == 0
        || record->payload.len > WIRE_CHUNK_MAX)
    {
        ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                      "worker %V sent a chunk that it may not",
                      &ctx->call.peer->name);
        ngx_http_hive_end(ctx, NGX_ERROR);
        return;
    }

    if (ngx_http_hive_stream_put(ctx, record->payload) != NGX_OK) {
        ngx_http_hive_end(ctx, NGX_ERROR);
    }
}


void
ngx_http_hive_stream_end(ngx_http_hive_ctx_t *ctx, wire_record_t *record)
{
    ngx_event_t         *wev;
    ngx_http_request_t  *r;

    r = ctx->request;

    ngx_http_hive_call_release(&ctx->call);

    if (!ctx->streaming || (record->flags & WIRE_END_FAILED)) {

        /* a broken transfer, never a short one that looks whole */

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the worker broke off its stream");
        ngx_http_hive_end(ctx, NGX_ERROR);
        return;
    }

    wev = r->connection->write;

    if (wev->timer_set && !wev->delayed) {
        ngx_del_timer(wev);
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    /* what is left to send nginx sends on its own */

    ngx_http_hive_end(ctx, r->header_only ? NGX_OK
                                          : ngx_http_send_special(r,
                                                NGX_HTTP_LAST));
}


static ngx_int_t
ngx_http_hive_stream_put(ngx_http_hive_ctx_t *ctx, slice_t bytes)
{
    ngx_chain_t         *cl;
    ngx_http_request_t  *r;

    r = ctx->request;

    ctx->granted--;

    if (bytes.len == 0 || r->header_only) {
        ngx_http_hive_stream_grant(ctx);
        return NGX_OK;
    }

    cl = ngx_http_hive_stream_buf(ctx);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    if (bytes.len > WIRE_CHUNK_MAX) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the first chunk of the stream is too large");
        return NGX_ERROR;
    }

    cl->buf->last = ngx_cpymem(cl->buf->pos, bytes.data, bytes.len);

    return ngx_http_hive_stream_output(ctx, cl);
}


static ngx_chain_t *
ngx_http_hive_stream_buf(ngx_http_hive_ctx_t *ctx)
{
    ngx_buf_t           *b;
    ngx_chain_t         *cl;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->free) {
        cl = ctx->free;
        ctx->free = cl->next;

    } else {
        cl = ngx_alloc_chain_link(r->pool);
        if (cl == NULL) {
            return NULL;
        }

        cl->buf = ngx_create_temp_buf(r->pool, WIRE_CHUNK_MAX);
        if (cl->buf == NULL) {
            return NULL;
        }

        cl->buf->tag = (ngx_buf_tag_t) &ngx_http_hive_module;
        ctx->buffers++;
    }

    b = cl->buf;

    b->pos = b->start;
    b->last = b->start;
    b->flush = 1;

    cl->next = NULL;

    return cl;
}


static ngx_int_t
ngx_http_hive_stream_output(ngx_http_hive_ctx_t *ctx, ngx_chain_t *out)
{
    ngx_int_t                  rc;
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = ctx->request;
    c = r->connection;
    wev = c->write;

    rc = ngx_http_output_filter(r, out);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_chain_update_chains(r->pool, &ctx->free, &ctx->busy, &out,
                            (ngx_buf_tag_t) &ngx_http_hive_module);

    ngx_http_hive_stream_grant(ctx);

    if (ctx->busy == NULL && !r->buffered && !c->buffered) {
        if (wev->timer_set && !wev->delayed) {
            ngx_del_timer(wev);
        }

        return NGX_OK;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!wev->delayed) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    return ngx_handle_write_event(wev, clcf->send_lowat);
}


/* Every buffer that holds nothing is a chunk that may come. */
static void
ngx_http_hive_stream_grant(ngx_http_hive_ctx_t *ctx)
{
    ngx_uint_t                  busy, chunks;
    ngx_chain_t                *cl;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ctx->call.peer->peers->conf;

    busy = 0;

    for (cl = ctx->busy; cl; cl = cl->next) {
        busy++;
    }

    if (busy + ctx->granted >= hmcf->stream_credit) {
        return;
    }

    chunks = hmcf->stream_credit - busy - ctx->granted;

    if (wire_put_credit(&ctx->call.peer->out, ctx->call.id, chunks)
        != WIRE_OK)
    {
        return;
    }

    ctx->granted += chunks;

    ngx_http_hive_set_deadline(ctx);
    ngx_http_hive_peer_dirty(ctx->call.peer);
}


/* The client can take more. */
static void
ngx_http_hive_stream_writer(ngx_http_request_t *r)
{
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_hive_ctx_t       *ctx;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    wev = c->write;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (wev->delayed) {
        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

        if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_ERROR);
        }

        return;
    }

    if (ngx_http_hive_stream_output(ctx, NULL) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}
