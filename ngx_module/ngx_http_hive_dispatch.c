
/*
 * Held requests: each is a call of a worker, from the moment its body has
 * been read until its response is on its way.
 */


#include "ngx_http_hive.h"


static ngx_int_t ngx_http_hive_hold(ngx_http_hive_ctx_t *ctx);
static void ngx_http_hive_reply_record(ngx_http_hive_call_t *call,
    wire_record_t *record);
static ngx_int_t ngx_http_hive_refuse(ngx_http_hive_call_t *call,
    ngx_http_hive_failure_t failure);
static ngx_int_t ngx_http_hive_no_worker(ngx_http_hive_ctx_t *ctx,
    ngx_uint_t full);
static void ngx_http_hive_call_end(ngx_http_hive_call_t *call, ngx_int_t rc);
static ngx_uint_t ngx_http_hive_may_resend(ngx_http_hive_call_t *call);
static void ngx_http_hive_gone(void *data);
static void ngx_http_hive_guard_idle(ngx_connection_t *c);
static void ngx_http_hive_idle_handler(ngx_event_t *rev);


static ngx_event_handler_pt  ngx_http_hive_keepalive_handler;


static ngx_http_hive_call_type_t  ngx_http_hive_request_call = {
    ngx_http_hive_put_request,
    ngx_http_hive_reply_record,
    ngx_http_hive_refuse,
    ngx_http_hive_call_end,
    ngx_http_hive_may_resend
};


void
ngx_http_hive_dispatch(ngx_http_hive_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ngx_http_hive_hold(ctx);

    if (rc != NGX_DONE) {

        /* sending what is left may outlast the deadline */

        if (ctx->call.timer.timer_set) {
            ngx_del_timer(&ctx->call.timer);
        }

        ngx_http_finalize_request(ctx->request, rc);
    }
}


static ngx_int_t
ngx_http_hive_hold(ngx_http_hive_ctx_t *ctx)
{
    ngx_http_request_t         *r;
    ngx_http_cleanup_t         *cln;
    ngx_http_hive_main_conf_t  *hmcf;

    r = ctx->request;
    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_hive_gone;
    cln->data = ctx;

    /* a normal timer: a graceful exit waits for it */

    ctx->call.type = &ngx_http_hive_request_call;
    ctx->call.peers = hmcf->peers;
    ctx->call.timer.log = r->connection->log;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return ngx_http_hive_call(&ctx->call, hmcf->deadlines[ctx->op->limit]);
}


void
ngx_http_hive_set_deadline(ngx_http_hive_ctx_t *ctx)
{
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(ctx->request, ngx_http_hive_module);

    ngx_http_hive_call_renew(&ctx->call, hmcf->deadlines[ctx->op->limit]);
}


static void
ngx_http_hive_reply_record(ngx_http_hive_call_t *call, wire_record_t *record)
{
    ngx_http_hive_ctx_t *ctx = (ngx_http_hive_ctx_t *) call;

    switch (record->type) {

    case WIRE_CHUNK:
        ngx_http_hive_chunk(ctx, record);
        return;

    case WIRE_END:
        ngx_http_hive_stream_end(ctx, record);
        return;

    default: /* WIRE_REPLY, WIRE_HEAD */
        ngx_http_hive_reply(ctx, record);
    }
}


static ngx_int_t
ngx_http_hive_refuse(ngx_http_hive_call_t *call,
    ngx_http_hive_failure_t failure)
{
    ngx_http_hive_ctx_t *ctx = (ngx_http_hive_ctx_t *) call;

    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->streaming) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      failure == NGX_HTTP_HIVE_EXPIRED
                      ? "the stream of a worker stood still"
                      : "the worker of a stream was lost");
        return NGX_ERROR;
    }

    if (failure != NGX_HTTP_HIVE_EXPIRED && call->executed
        && !operation_repeatable(ctx->op))
    {
        failure = NGX_HTTP_HIVE_LOST;
    }

    switch (failure) {

    case NGX_HTTP_HIVE_LOST:

        /* it may have done what cannot be done again */

        ngx_http_hive_count(call->peers->conf, unknown);

        return ngx_http_hive_problem(r, ctx, NGX_HTTP_BAD_GATEWAY,
                                     "outcome_unknown",
                                     "the worker was lost before it replied; "
                                     "the request may have taken effect");

    case NGX_HTTP_HIVE_EXPIRED:
        return ngx_http_hive_problem(r, ctx, NGX_HTTP_GATEWAY_TIME_OUT,
                                     "deadline_exceeded",
                                     "the request was not finished within its "
                                     "time");

    default: /* NGX_HTTP_HIVE_NO_WORKER, NGX_HTTP_HIVE_FULL */
        return ngx_http_hive_no_worker(ctx, failure == NGX_HTTP_HIVE_FULL);
    }
}


static ngx_int_t
ngx_http_hive_no_worker(ngx_http_hive_ctx_t *ctx, ngx_uint_t full)
{
    ngx_http_request_t         *r;
    ngx_http_hive_main_conf_t  *hmcf;

    r = ctx->request;
    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    if (ngx_http_hive_add_header(r, "Retry-After", "1") == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (full) {
        ngx_http_hive_count(hmcf, shed);

        return ngx_http_hive_problem(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE,
                                     "overloaded",
                                     "there is more to do than can be done "
                                     "in time");
    }

    ngx_http_hive_count(hmcf, no_worker);

    return ngx_http_hive_problem(r, ctx, NGX_HTTP_SERVICE_UNAVAILABLE,
                                 "no_worker",
                                 "no worker process is there at the moment");
}


static void
ngx_http_hive_call_end(ngx_http_hive_call_t *call, ngx_int_t rc)
{
    ngx_http_hive_end((ngx_http_hive_ctx_t *) call, rc);
}


void
ngx_http_hive_end(ngx_http_hive_ctx_t *ctx, ngx_int_t rc)
{
    ngx_uint_t           guard;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    guard = !ngx_http_hive_is_multiplexed(r);

    ngx_http_set_log_request(c->log, r);

    /* while its reply is being sent it must not be resent or replied to */

    ngx_http_hive_call_cancel(&ctx->call);

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);

    if (guard) {
        ngx_http_hive_guard_idle(c);
    }
}


/*
 * Those that change nothing, and those whose key makes the second worker
 * find what the first has done. Workers keep keys of POSTs only, and none of
 * those whose reply is secret.
 */
static ngx_uint_t
ngx_http_hive_may_resend(ngx_http_hive_call_t *call)
{
    ngx_http_hive_ctx_t *ctx = (ngx_http_hive_ctx_t *) call;

    if (ctx->streaming) {
        return 0;
    }

    if (operation_repeatable(ctx->op)) {
        return 1;
    }

    return ctx->op->method == METHOD_POST
           && !(ctx->op->flags & OP_SECRET)
           && ngx_http_hive_header_in(ctx->request, "idempotency-key",
                                      sizeof("idempotency-key") - 1)
              != NULL;
}


/* The request is being destroyed, by whatever cause. */
static void
ngx_http_hive_gone(void *data)
{
    ngx_http_hive_ctx_t *ctx = data;

    if (ctx->call.peer) {
        ctx->call.peers->conf->counters->cancelled++;
    }

    ngx_http_hive_call_cancel(&ctx->call);
}


/*
 * A worker that is told to quit closes its idle connections at once, also
 * those whose client is just sending a request, which is then lost. Ours stay
 * open for a moment more: the request is served and says "close".
 */
static void
ngx_http_hive_guard_idle(ngx_connection_t *c)
{
    ngx_event_t  *rev;

    rev = c->read;

    if (c->fd == (ngx_socket_t) -1 || !c->idle
        || rev->handler == ngx_http_hive_idle_handler)
    {
        return;
    }

    ngx_http_hive_keepalive_handler = rev->handler;
    rev->handler = ngx_http_hive_idle_handler;
}


static void
ngx_http_hive_idle_handler(ngx_event_t *rev)
{
    ngx_connection_t  *c;

    c = rev->data;

    rev->handler = ngx_http_hive_keepalive_handler;

    if (c->close && ngx_exiting && !rev->timedout && !c->error) {
        c->close = 0;

        if (rev->timer_set) {
            ngx_del_timer(rev);
        }

        ngx_add_timer(rev, NGX_HTTP_HIVE_IDLE_GRACE);
    }

    ngx_http_hive_keepalive_handler(rev);
}
