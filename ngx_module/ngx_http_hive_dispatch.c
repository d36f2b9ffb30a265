
/*
 * Held requests. One is sent to a peer and holds a slot there until its reply
 * has come, its deadline has passed, its client has gone or its peer is lost;
 * in the last case it may be sent to another.
 */


#include "ngx_http_hive.h"


static ngx_int_t ngx_http_hive_hold(ngx_http_hive_ctx_t *ctx);
static ngx_int_t ngx_http_hive_send_request(ngx_http_hive_ctx_t *ctx,
    ngx_http_hive_peers_t *peers);
static ngx_int_t ngx_http_hive_no_worker(ngx_http_hive_ctx_t *ctx,
    ngx_uint_t full);
static ngx_int_t ngx_http_hive_outcome_unknown(ngx_http_hive_ctx_t *ctx);
static ngx_int_t ngx_http_hive_wait(ngx_http_hive_ctx_t *ctx,
    ngx_http_hive_peers_t *peers);
static void ngx_http_hive_cancel(ngx_http_hive_ctx_t *ctx);
static void ngx_http_hive_lost(ngx_http_hive_ctx_t *ctx);
static ngx_uint_t ngx_http_hive_may_resend(ngx_http_hive_ctx_t *ctx);
static void ngx_http_hive_expired(ngx_event_t *ev);
static void ngx_http_hive_gone(void *data);
static void ngx_http_hive_guard_idle(ngx_connection_t *c);
static void ngx_http_hive_idle_handler(ngx_event_t *rev);


static ngx_event_handler_pt  ngx_http_hive_keepalive_handler;


void
ngx_http_hive_dispatch(ngx_http_hive_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ngx_http_hive_hold(ctx);

    if (rc != NGX_DONE) {

        /* sending what is left may outlast the deadline */

        if (ctx->timer.timer_set) {
            ngx_del_timer(&ctx->timer);
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

    ctx->timer.handler = ngx_http_hive_expired;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_hive_set_deadline(ctx);

    return ngx_http_hive_send_request(ctx, hmcf->peers);
}


void
ngx_http_hive_set_deadline(ngx_http_hive_ctx_t *ctx)
{
    ngx_msec_t                  time;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(ctx->request, ngx_http_hive_module);

    time = hmcf->deadlines[ctx->op->limit];

    ctx->deadline = ngx_current_msec + time;
    ngx_add_timer(&ctx->timer, time);
}


/* NGX_DONE: it is held; otherwise what to finalize the request with. */
static ngx_int_t
ngx_http_hive_send_request(ngx_http_hive_ctx_t *ctx,
    ngx_http_hive_peers_t *peers)
{
    ngx_int_t              rc;
    ngx_uint_t             full;
    ngx_http_hive_peer_t  *peer;
    ngx_http_hive_slot_t  *slot;

    peer = ngx_http_hive_choose(peers, &full);

    if (peer == NULL || peers->free == peers->nslots) {

        if (!full && !peers->heard && peers->startup.timer_set) {
            return ngx_http_hive_wait(ctx, peers);
        }

        return ngx_http_hive_no_worker(ctx, full);
    }

    slot = &peers->slots[peers->free];

    ctx->id = (uint64_t) slot->generation << 32 | peers->free;

    rc = ngx_http_hive_put_request(ctx, peer);

    if (rc != NGX_DONE) {
        return rc;
    }

    peers->free = slot->next;
    slot->ctx = ctx;

    ctx->peer = peer;
    ctx->last_peer = peer;
    ctx->batch = peer->batch;

    ngx_queue_insert_tail(&peer->requests, &ctx->queue);

    peer->in_flight++;
    peers->in_flight++;
    peers->conf->counters->in_flight = peers->in_flight;

    ngx_http_hive_peer_dirty(peer);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_hive_no_worker(ngx_http_hive_ctx_t *ctx, ngx_uint_t full)
{
    ngx_http_request_t         *r;
    ngx_http_hive_main_conf_t  *hmcf;

    r = ctx->request;
    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    if (ctx->executed && !operation_repeatable(ctx->op)) {
        return ngx_http_hive_outcome_unknown(ctx);
    }

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


/* A worker that is lost may have done what cannot be done again. */
static ngx_int_t
ngx_http_hive_outcome_unknown(ngx_http_hive_ctx_t *ctx)
{
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(ctx->request, ngx_http_hive_module);

    ngx_http_hive_count(hmcf, unknown);

    return ngx_http_hive_problem(ctx->request, ctx, NGX_HTTP_BAD_GATEWAY,
                                 "outcome_unknown",
                                 "the worker was lost before it replied; "
                                 "the request may have taken effect");
}


/*
 * A process that has just begun knows no peer yet. So that a reload loses
 * nothing its first requests wait for one.
 */
static ngx_int_t
ngx_http_hive_wait(ngx_http_hive_ctx_t *ctx, ngx_http_hive_peers_t *peers)
{
    if (peers->nwaiting == peers->nslots) {
        return ngx_http_hive_no_worker(ctx, 1);
    }

    ngx_queue_insert_tail(&peers->waiting, &ctx->queue);

    ctx->waiting = 1;
    peers->nwaiting++;
    peers->conf->counters->waiting = peers->nwaiting;

    return NGX_DONE;
}


void
ngx_http_hive_dispatch_waiting(ngx_http_hive_peers_t *peers)
{
    ngx_int_t             rc;
    ngx_queue_t          *q, queue;
    ngx_http_hive_ctx_t  *ctx;

    if (ngx_queue_empty(&peers->waiting)) {
        return;
    }

    ngx_queue_init(&queue);
    ngx_queue_add(&queue, &peers->waiting);
    ngx_queue_init(&peers->waiting);

    while (!ngx_queue_empty(&queue)) {
        q = ngx_queue_head(&queue);
        ctx = ngx_queue_data(q, ngx_http_hive_ctx_t, queue);

        ngx_http_hive_release(ctx);

        rc = ngx_http_hive_send_request(ctx, peers);

        if (rc != NGX_DONE) {
            ngx_http_hive_end(ctx, rc);
        }
    }
}


ngx_http_hive_ctx_t *
ngx_http_hive_in_flight(ngx_http_hive_peer_t *peer, uint64_t id)
{
    uint32_t                n;
    ngx_http_hive_slot_t   *slot;
    ngx_http_hive_peers_t  *peers;

    peers = peer->peers;
    n = (uint32_t) id;

    if (n >= peers->nslots) {
        return NULL;
    }

    slot = &peers->slots[n];

    if (slot->ctx == NULL || slot->generation != (uint32_t) (id >> 32)
        || slot->ctx->peer != peer)
    {
        return NULL;
    }

    return slot->ctx;
}


void
ngx_http_hive_release(ngx_http_hive_ctx_t *ctx)
{
    uint32_t                    n;
    ngx_http_hive_peer_t       *peer;
    ngx_http_hive_slot_t       *slot;
    ngx_http_hive_peers_t      *peers;
    ngx_http_hive_main_conf_t  *hmcf;

    if (ctx->waiting) {
        hmcf = ngx_http_get_module_main_conf(ctx->request,
                                             ngx_http_hive_module);
        peers = hmcf->peers;

        ngx_queue_remove(&ctx->queue);

        ctx->waiting = 0;
        peers->nwaiting--;
        hmcf->counters->waiting = peers->nwaiting;
        return;
    }

    peer = ctx->peer;

    if (peer == NULL) {
        return;
    }

    peers = peer->peers;
    n = (uint32_t) ctx->id;
    slot = &peers->slots[n];

    /* the next of this slot has another id */

    slot->ctx = NULL;
    slot->generation++;
    slot->next = peers->free;
    peers->free = n;

    ngx_queue_remove(&ctx->queue);
    ctx->peer = NULL;

    peer->in_flight--;
    peers->in_flight--;
    peers->conf->counters->in_flight = peers->in_flight;

    if (peer->stopped && peer->in_flight == 0) {
        ngx_http_hive_ping(peer);
    }
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

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    /* while its reply is being sent it must not be resent or replied to */

    ngx_http_hive_cancel(ctx);

    ngx_http_finalize_request(r, rc);

    ngx_http_run_posted_requests(c);

    if (guard) {
        ngx_http_hive_guard_idle(c);
    }
}


/* Whoever has the request may stop. */
static void
ngx_http_hive_cancel(ngx_http_hive_ctx_t *ctx)
{
    ngx_http_hive_peer_t  *peer;

    peer = ctx->peer;

    if (peer && wire_put_cancel(&peer->out, ctx->id) == WIRE_OK) {
        ngx_http_hive_peer_dirty(peer);
    }

    ngx_http_hive_release(ctx);
}


void
ngx_http_hive_fail_over(ngx_http_hive_peer_t *peer, ngx_uint_t cancel)
{
    uint64_t              sent;
    ngx_queue_t          *q, queue;
    ngx_http_hive_ctx_t  *ctx;

    if (ngx_queue_empty(&peer->requests)) {
        return;
    }

    sent = peer->sent;

    ngx_queue_init(&queue);
    ngx_queue_add(&queue, &peer->requests);
    ngx_queue_init(&peer->requests);

    /* ending one may end others: each takes itself out of the queue */

    while (!ngx_queue_empty(&queue)) {
        q = ngx_queue_head(&queue);
        ctx = ngx_queue_data(q, ngx_http_hive_ctx_t, queue);

        if (ctx->batch <= sent) {
            ctx->executed = 1;

            if (cancel && wire_put_cancel(&peer->out, ctx->id) == WIRE_OK) {
                ngx_http_hive_peer_dirty(peer);
            }
        }

        ngx_http_hive_release(ctx);
        ngx_http_hive_lost(ctx);
    }
}


/* The peer of this request is lost. */
static void
ngx_http_hive_lost(ngx_http_hive_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_http_request_t         *r;
    ngx_http_hive_main_conf_t  *hmcf;

    r = ctx->request;
    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    if (ctx->streaming) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "the worker of a stream was lost");
        ngx_http_hive_end(ctx, NGX_ERROR);
        return;
    }

    if (ctx->executed) {

        if (ctx->resends == NGX_HTTP_HIVE_MAX_RESENDS
            || !ngx_http_hive_may_resend(ctx))
        {
            ngx_http_hive_end(ctx, ngx_http_hive_outcome_unknown(ctx));
            return;
        }

        ctx->resends++;
        ngx_http_hive_count(hmcf, resent);
    }

    rc = ngx_http_hive_send_request(ctx, hmcf->peers);

    if (rc != NGX_DONE) {
        ngx_http_hive_end(ctx, rc);
    }
}


/*
 * Those that change nothing, and those whose key makes the second worker
 * find what the first has done. Workers keep keys of POSTs only, and none of
 * those whose reply is secret.
 */
static ngx_uint_t
ngx_http_hive_may_resend(ngx_http_hive_ctx_t *ctx)
{
    if (operation_repeatable(ctx->op)) {
        return 1;
    }

    return ctx->op->method == METHOD_POST
           && !(ctx->op->flags & OP_SECRET)
           && ngx_http_hive_header_in(ctx->request, "idempotency-key",
                                      sizeof("idempotency-key") - 1)
              != NULL;
}


static void
ngx_http_hive_expired(ngx_event_t *ev)
{
    ngx_http_request_t         *r;
    ngx_http_hive_ctx_t        *ctx;
    ngx_http_hive_main_conf_t  *hmcf;

    ctx = ev->data;
    r = ctx->request;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    ngx_http_hive_count(hmcf, expired);

    ngx_http_hive_cancel(ctx);

    if (ctx->streaming) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, NGX_ETIMEDOUT,
                      "the stream of a worker stood still");
        ngx_http_hive_end(ctx, NGX_ERROR);
        return;
    }

    ngx_http_hive_end(ctx, ngx_http_hive_problem(r, ctx,
                               NGX_HTTP_GATEWAY_TIME_OUT, "deadline_exceeded",
                               "the request was not finished within its "
                               "time"));
}


/* The request is being destroyed, by whatever cause. */
static void
ngx_http_hive_gone(void *data)
{
    ngx_http_hive_ctx_t *ctx = data;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->peer) {
        ctx->peer->peers->conf->counters->cancelled++;
    }

    ngx_http_hive_cancel(ctx);
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
