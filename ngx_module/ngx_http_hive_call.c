
/*
 * Calls of workers. One is sent to a peer and holds a slot there until its
 * reply has come, its deadline has passed, its caller has gone or its peer is
 * lost; in the last case it may be sent to another.
 */


#include "ngx_http_hive.h"


static ngx_int_t ngx_http_hive_call_send(ngx_http_hive_call_t *call);
static ngx_int_t ngx_http_hive_call_wait(ngx_http_hive_call_t *call);
static void ngx_http_hive_call_lost(ngx_http_hive_call_t *call);
static void ngx_http_hive_call_expired(ngx_event_t *ev);


ngx_int_t
ngx_http_hive_call(ngx_http_hive_call_t *call, ngx_msec_t time)
{
    call->timer.handler = ngx_http_hive_call_expired;
    call->timer.data = call;

    ngx_http_hive_call_renew(call, time);

    return ngx_http_hive_call_send(call);
}


void
ngx_http_hive_call_renew(ngx_http_hive_call_t *call, ngx_msec_t time)
{
    call->deadline = ngx_current_msec + time;
    ngx_add_timer(&call->timer, time);
}


static ngx_int_t
ngx_http_hive_call_send(ngx_http_hive_call_t *call)
{
    ngx_int_t               rc;
    ngx_uint_t              full;
    ngx_http_hive_peer_t   *peer;
    ngx_http_hive_slot_t   *slot;
    ngx_http_hive_peers_t  *peers;

    peers = call->peers;
    peer = ngx_http_hive_choose(peers, &full);

    if (peer == NULL || peers->free == peers->nslots) {

        if (!full && !peers->heard && peers->startup.timer_set) {
            return ngx_http_hive_call_wait(call);
        }

        return call->type->refuse(call, full ? NGX_HTTP_HIVE_FULL
                                             : NGX_HTTP_HIVE_NO_WORKER);
    }

    slot = &peers->slots[peers->free];

    call->id = (uint64_t) slot->generation << 32 | peers->free;

    rc = call->type->put(call, peer);

    if (rc != NGX_DONE) {
        return rc;
    }

    peers->free = slot->next;
    slot->call = call;

    call->peer = peer;
    call->last_peer = peer;
    call->batch = peer->batch;

    ngx_queue_insert_tail(&peer->requests, &call->queue);

    peer->in_flight++;
    peers->in_flight++;
    peers->conf->counters->in_flight = peers->in_flight;

    ngx_http_hive_peer_dirty(peer);

    return NGX_DONE;
}


/*
 * A process that has just begun knows no peer yet. So that a reload loses
 * nothing its first calls wait for one.
 */
static ngx_int_t
ngx_http_hive_call_wait(ngx_http_hive_call_t *call)
{
    ngx_http_hive_peers_t  *peers;

    peers = call->peers;

    if (peers->nwaiting == peers->nslots) {
        return call->type->refuse(call, NGX_HTTP_HIVE_FULL);
    }

    ngx_queue_insert_tail(&peers->waiting, &call->queue);

    call->waiting = 1;
    peers->nwaiting++;
    peers->conf->counters->waiting = peers->nwaiting;

    return NGX_DONE;
}


void
ngx_http_hive_call_waiting(ngx_http_hive_peers_t *peers)
{
    ngx_int_t              rc;
    ngx_queue_t           *q, queue;
    ngx_http_hive_call_t  *call;

    if (ngx_queue_empty(&peers->waiting)) {
        return;
    }

    ngx_queue_init(&queue);
    ngx_queue_add(&queue, &peers->waiting);
    ngx_queue_init(&peers->waiting);

    while (!ngx_queue_empty(&queue)) {
        q = ngx_queue_head(&queue);
        call = ngx_queue_data(q, ngx_http_hive_call_t, queue);

        ngx_http_hive_call_release(call);

        rc = ngx_http_hive_call_send(call);

        if (rc != NGX_DONE) {
            call->type->end(call, rc);
        }
    }
}


ngx_http_hive_call_t *
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

    if (slot->call == NULL || slot->generation != (uint32_t) (id >> 32)
        || slot->call->peer != peer)
    {
        return NULL;
    }

    return slot->call;
}


void
ngx_http_hive_call_release(ngx_http_hive_call_t *call)
{
    uint32_t                n;
    ngx_http_hive_peer_t   *peer;
    ngx_http_hive_slot_t   *slot;
    ngx_http_hive_peers_t  *peers;

    peers = call->peers;

    if (call->waiting) {
        ngx_queue_remove(&call->queue);

        call->waiting = 0;
        peers->nwaiting--;
        peers->conf->counters->waiting = peers->nwaiting;
        return;
    }

    peer = call->peer;

    if (peer == NULL) {
        return;
    }

    n = (uint32_t) call->id;
    slot = &peers->slots[n];

    /* the next of this slot has another id */

    slot->call = NULL;
    slot->generation++;
    slot->next = peers->free;
    peers->free = n;

    ngx_queue_remove(&call->queue);
    call->peer = NULL;

    peer->in_flight--;
    peers->in_flight--;
    peers->conf->counters->in_flight = peers->in_flight;

    if (peer->stopped && peer->in_flight == 0) {
        ngx_http_hive_ping(peer);
    }
}


void
ngx_http_hive_call_cancel(ngx_http_hive_call_t *call)
{
    ngx_http_hive_peer_t  *peer;

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }

    peer = call->peer;

    if (peer && wire_put_cancel(&peer->out, call->id) == WIRE_OK) {
        ngx_http_hive_peer_dirty(peer);
    }

    ngx_http_hive_call_release(call);
}


void
ngx_http_hive_fail_over(ngx_http_hive_peer_t *peer, ngx_uint_t cancel)
{
    uint64_t               sent;
    ngx_queue_t           *q, queue;
    ngx_http_hive_call_t  *call;

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
        call = ngx_queue_data(q, ngx_http_hive_call_t, queue);

        if (call->batch <= sent) {
            call->executed = 1;

            if (cancel && wire_put_cancel(&peer->out, call->id) == WIRE_OK) {
                ngx_http_hive_peer_dirty(peer);
            }
        }

        ngx_http_hive_call_release(call);
        ngx_http_hive_call_lost(call);
    }
}


/* The peer of this call is lost. */
static void
ngx_http_hive_call_lost(ngx_http_hive_call_t *call)
{
    ngx_int_t  rc;

    if (call->executed) {

        if (call->resends == NGX_HTTP_HIVE_MAX_RESENDS
            || !call->type->may_resend(call))
        {
            call->type->end(call, call->type->refuse(call,
                                                     NGX_HTTP_HIVE_LOST));
            return;
        }

        call->resends++;
        ngx_http_hive_count(call->peers->conf, resent);
    }

    rc = ngx_http_hive_call_send(call);

    if (rc != NGX_DONE) {
        call->type->end(call, rc);
    }
}


static void
ngx_http_hive_call_expired(ngx_event_t *ev)
{
    ngx_http_hive_call_t  *call;

    call = ev->data;

    ngx_http_hive_count(call->peers->conf, expired);

    ngx_http_hive_call_cancel(call);

    call->type->end(call, call->type->refuse(call, NGX_HTTP_HIVE_EXPIRED));
}
