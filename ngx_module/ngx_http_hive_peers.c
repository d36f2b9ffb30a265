
/*
 * The worker processes, each by a DEALER socket of its own.
 *
 * What becomes ready for a peer in one turn of the event loop is appended to
 * its batch, and a posted event sends the batches as one message each. ZMQ_FD
 * tells of no message that has arrived while we were calling the library for
 * anything else, so ZMQ_EVENTS is looked at after every send and receive.
 */


#include "ngx_http_hive.h"

#include <zmq.h>


static ngx_int_t ngx_http_hive_peer_init(ngx_cycle_t *cycle,
    ngx_http_hive_peers_t *peers, ngx_uint_t i);
static ngx_int_t ngx_http_hive_peer_name(ngx_pool_t *pool,
    ngx_http_hive_peers_t *peers, ngx_http_hive_peer_t *peer, ngx_uint_t i);
static ngx_int_t ngx_http_hive_peer_open(ngx_cycle_t *cycle,
    ngx_http_hive_peer_t *peer);
static void ngx_http_hive_peer_close(ngx_http_hive_peer_t *peer);
static void ngx_http_hive_read_handler(ngx_event_t *rev);
static void ngx_http_hive_write_handler(ngx_event_t *wev);
static void ngx_http_hive_flush_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_hive_send_batch(ngx_http_hive_peer_t *peer);
static void ngx_http_hive_free_batch(void *data, void *hint);


char *
ngx_http_hive_check_endpoint(ngx_str_t *endpoint, ngx_uint_t workers)
{
    u_char     *p, *last;
    ngx_int_t   port;

    if (ngx_strncmp(endpoint->data, "ipc://", 6) == 0) {

        if (endpoint->len == 6) {
            return "there is no path";
        }

        /* ".1023b.events" and what sun_path holds */

        if (endpoint->len - 6 + sizeof(".1023b.events")
            > sizeof(((struct sockaddr_un *) 0)->sun_path))
        {
            return "the path is too long";
        }

        return NULL;
    }

    if (ngx_strncmp(endpoint->data, "tcp://", 6) == 0) {

        last = endpoint->data + endpoint->len;

        for (p = last; p > endpoint->data + 6 && p[-1] != ':'; p--) {
            /* void */
        }

        port = ngx_atoi(p, last - p);

        if (p == endpoint->data + 6 || port == NGX_ERROR || port == 0) {
            return "there is no port";
        }

        if (port + 4 * (ngx_int_t) workers > 65536) {
            return "the ports of the last worker are too high";
        }

        return NULL;
    }

    return "it must begin with \"ipc://\" or \"tcp://\"";
}


ngx_int_t
ngx_http_hive_peers_init(ngx_cycle_t *cycle, ngx_http_hive_main_conf_t *hmcf)
{
    ngx_uint_t              i;
    ngx_http_hive_peers_t  *peers;

    peers = ngx_pcalloc(cycle->pool, sizeof(ngx_http_hive_peers_t));
    if (peers == NULL) {
        return NGX_ERROR;
    }

    hmcf->peers = peers;

    peers->conf = hmcf;
    peers->log = cycle->log;
    peers->incarnation = ngx_http_hive_random();
    peers->started = ngx_current_msec;
    peers->ticked = ngx_current_msec;

    ngx_queue_init(&peers->dirty);
    ngx_queue_init(&peers->waiting);

    peers->flush.handler = ngx_http_hive_flush_handler;
    peers->flush.data = peers;
    peers->flush.log = cycle->log;

    peers->nslots = hmcf->endpoint.data
                    ? 2 * hmcf->workers * hmcf->max_in_flight : 0;

    if (peers->nslots == 0) {
        return NGX_OK;
    }

    peers->slots = ngx_palloc(cycle->pool,
                              peers->nslots * sizeof(ngx_http_hive_slot_t));
    peers->peer = ngx_pcalloc(cycle->pool,
                         2 * hmcf->workers * sizeof(ngx_http_hive_peer_t));

    if (peers->slots == NULL || peers->peer == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < peers->nslots; i++) {
        peers->slots[i].call = NULL;
        peers->slots[i].generation = (uint32_t) ngx_http_hive_random();
        peers->slots[i].next = i + 1;
    }

    peers->zmq = zmq_ctx_new();

    if (peers->zmq == NULL
        || zmq_ctx_set(peers->zmq, ZMQ_MAX_SOCKETS, 2 * hmcf->workers + 16)
           == -1)
    {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "zmq_ctx_new() failed: %s",
                      zmq_strerror(zmq_errno()));
        return NGX_ERROR;
    }

    for (i = 0; i < 2 * hmcf->workers; i++) {
        if (ngx_http_hive_peer_init(cycle, peers, i) != NGX_OK) {
            return NGX_ERROR;
        }

        peers->npeers++;
    }

    peers->tick.handler = ngx_http_hive_tick_handler;
    peers->tick.data = peers;
    peers->tick.log = cycle->log;
    peers->tick.cancelable = 1;

    ngx_add_timer(&peers->tick, NGX_HTTP_HIVE_TICK);

    peers->startup.handler = ngx_http_hive_startup_handler;
    peers->startup.data = peers;
    peers->startup.log = cycle->log;
    peers->startup.cancelable = 1;

    ngx_add_timer(&peers->startup, NGX_HTTP_HIVE_STARTUP);

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_peer_init(ngx_cycle_t *cycle, ngx_http_hive_peers_t *peers,
    ngx_uint_t i)
{
    ngx_http_hive_peer_t  *peer;

    peer = &peers->peer[i];

    peer->peers = peers;
    peer->batch = 1;

    ngx_queue_init(&peer->requests);

    if (ngx_http_hive_peer_name(cycle->pool, peers, peer, i) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_hive_peer_open(cycle, peer);
}


/* Where worker i/2, side a or b, listens: as workers/runtime/endpoint.h. */
static ngx_int_t
ngx_http_hive_peer_name(ngx_pool_t *pool, ngx_http_hive_peers_t *peers,
    ngx_http_hive_peer_t *peer, ngx_uint_t i)
{
    u_char     *p, *last;
    ngx_int_t   port;
    ngx_str_t  *base;

    base = &peers->conf->endpoint;

    peer->name.data = ngx_pnalloc(pool, NGX_INT_T_LEN + 2);
    peer->endpoint.data = ngx_pnalloc(pool, base->len + NGX_INT_T_LEN + 3);

    if (peer->name.data == NULL || peer->endpoint.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(peer->name.data, "%ui%c%Z", i / 2, i % 2 ? 'b' : 'a');
    peer->name.len = p - peer->name.data - 1;

    if (base->data[0] == 'i') {
        p = ngx_sprintf(peer->endpoint.data, "%V.%V%Z", base, &peer->name);

    } else {
        last = base->data + base->len;

        for (p = last; p[-1] != ':'; p--) {
            /* void */
        }

        port = ngx_atoi(p, last - p);

        p = ngx_sprintf(peer->endpoint.data, "%*s%ui%Z",
                        (size_t) (p - base->data), base->data,
                        (ngx_uint_t) port + 2 * i);
    }

    peer->endpoint.len = p - peer->endpoint.data - 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_peer_open(ngx_cycle_t *cycle, ngx_http_hive_peer_t *peer)
{
    int                i, fd;
    size_t             size;
    ngx_connection_t  *c;

    static struct {
        int  option;
        int  value;
    } options[] = {
        { ZMQ_IMMEDIATE, 1 },
        { ZMQ_LINGER, 0 },

        /* what may be under way is bounded by hive_max_in_flight */

        { ZMQ_SNDHWM, 0 },
        { ZMQ_RCVHWM, 0 },

        { ZMQ_RECONNECT_IVL, 50 },
        { ZMQ_RECONNECT_IVL_MAX, 500 },
    };

    peer->socket = zmq_socket(peer->peers->zmq, ZMQ_DEALER);
    if (peer->socket == NULL) {
        goto failed;
    }

    for (i = 0; i < (int) (sizeof(options) / sizeof(options[0])); i++) {
        if (zmq_setsockopt(peer->socket, options[i].option, &options[i].value,
                           sizeof(int))
            == -1)
        {
            goto failed;
        }
    }

    size = sizeof(int);

    if (zmq_connect(peer->socket, (char *) peer->endpoint.data) == -1
        || zmq_getsockopt(peer->socket, ZMQ_FD, &fd, &size) == -1)
    {
        goto failed;
    }

    c = ngx_get_connection(fd, cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    peer->connection = c;

    c->data = peer;
    c->pool = cycle->pool;

    c->read->handler = ngx_http_hive_read_handler;
    c->read->log = cycle->log;
    c->write->handler = ngx_http_hive_write_handler;
    c->write->log = cycle->log;

    /* not a client's connection: nothing to close when the process quits */

    c->read->channel = 1;
    c->write->channel = 1;

    if (ngx_add_event(c->read, NGX_READ_EVENT, 0) == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_post_event(c->read, &ngx_posted_events);

    return NGX_OK;

failed:

    ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                  "connecting to worker %V at \"%V\" failed: %s",
                  &peer->name, &peer->endpoint, zmq_strerror(zmq_errno()));

    return NGX_ERROR;
}


/*
 * The sockets are closed last of all, and what has not left yet is given a
 * moment: nothing may be lost by a reload.
 */
void
ngx_http_hive_peers_exit(ngx_http_hive_main_conf_t *hmcf)
{
    ngx_uint_t              i;
    ngx_http_hive_peers_t  *peers;

    peers = hmcf->peers;

    if (peers == NULL || peers->zmq == NULL) {
        return;
    }

    if (peers->flush.posted) {
        ngx_delete_posted_event(&peers->flush);
    }

    for (i = 0; i < peers->npeers; i++) {
        ngx_http_hive_peer_close(&peers->peer[i]);
    }

    ngx_free(peers->metrics);

    peers->metrics = NULL;
    peers->metrics_len = 0;

    while (zmq_ctx_term(peers->zmq) == -1 && zmq_errno() == EINTR) {
        /* void */
    }

    peers->zmq = NULL;
}


static void
ngx_http_hive_peer_close(ngx_http_hive_peer_t *peer)
{
    int                linger;
    ngx_connection_t  *c;

    c = peer->connection;

    if (peer->connected && peer->out.len) {
        (void) ngx_http_hive_send_batch(peer);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    /* the library closes the descriptor, later and by itself */

    ngx_del_event(c->read, NGX_READ_EVENT, 0);
    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

    linger = 500;
    zmq_setsockopt(peer->socket, ZMQ_LINGER, &linger, sizeof(int));
    zmq_close(peer->socket);

    wire_buf_release(&peer->out);
    ngx_free(peer->facts);

    peer->socket = NULL;
    peer->facts = NULL;
    peer->facts_len = 0;
}


void
ngx_http_hive_peer_dirty(ngx_http_hive_peer_t *peer)
{
    ngx_http_hive_peers_t  *peers;

    if (peer->queued) {
        return;
    }

    peers = peer->peers;

    peer->queued = 1;
    ngx_queue_insert_tail(&peers->dirty, &peer->dirty);

    if (!peers->flush.posted) {

        /* what replies bring about has its turn after everyone else's */

        ngx_post_event(&peers->flush, peers->flushing
                                      ? &ngx_posted_next_events
                                      : &ngx_posted_events);
    }
}


static void
ngx_http_hive_flush_handler(ngx_event_t *ev)
{
    ngx_int_t               rc;
    ngx_queue_t            *q, queue;
    ngx_http_hive_peer_t   *peer;
    ngx_http_hive_peers_t  *peers;

    peers = ev->data;

    if (ngx_queue_empty(&peers->dirty)) {
        return;
    }

    ngx_queue_init(&queue);
    ngx_queue_add(&queue, &peers->dirty);
    ngx_queue_init(&peers->dirty);

    peers->flushing = 1;

    while (!ngx_queue_empty(&queue)) {

        q = ngx_queue_head(&queue);
        peer = ngx_queue_data(q, ngx_http_hive_peer_t, dirty);

        ngx_queue_remove(q);
        peer->queued = 0;

        if (peer->out.len == 0) {
            continue;
        }

        rc = ngx_http_hive_send_batch(peer);

        /* sending may have swallowed the news of what has arrived */

        ngx_http_hive_drain(peer);

        if (rc != NGX_OK) {

            /* the last replies of one that has gone have just been read */

            ngx_http_hive_connected(peer, 0);
        }
    }

    peers->flushing = 0;
}


static ngx_int_t
ngx_http_hive_send_batch(ngx_http_hive_peer_t *peer)
{
    int          rc;
    zmq_msg_t    msg;
    wire_buf_t  *out;

    out = &peer->out;

    wire_buf_finish(out);

    if (out->len < NGX_HTTP_HIVE_HANDOFF) {

        do {
            rc = zmq_send(peer->socket, out->data, out->len, ZMQ_DONTWAIT);
        } while (rc == -1 && zmq_errno() == EINTR);

        wire_buf_reset(out);

    } else {

        /* the memory goes with it, there is no copy of large bodies */

        if (zmq_msg_init_data(&msg, out->data, out->len,
                              ngx_http_hive_free_batch, NULL)
            == -1)
        {
            wire_buf_release(out);
            return NGX_ERROR;
        }

        ngx_memzero(out, sizeof(wire_buf_t));

        do {
            rc = zmq_msg_send(&msg, peer->socket, ZMQ_DONTWAIT);
        } while (rc == -1 && zmq_errno() == EINTR);

        if (rc == -1) {
            zmq_msg_close(&msg);
        }
    }

    if (rc == -1) {

        /* the batch is gone, and was never sent */

        return NGX_ERROR;
    }

    peer->sent = peer->batch++;

    return NGX_OK;
}


/* Called by a thread of the library. */
static void
ngx_http_hive_free_batch(void *data, void *hint)
{
    ngx_free(data);
}


static void
ngx_http_hive_read_handler(ngx_event_t *rev)
{
    ngx_connection_t  *c;

    c = rev->data;

    ngx_http_hive_drain(c->data);
}


static void
ngx_http_hive_write_handler(ngx_event_t *wev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, wev->log, 0, "hive write handler");
}


void
ngx_http_hive_drain(ngx_http_hive_peer_t *peer)
{
    int         events;
    size_t      size;
    zmq_msg_t   msg;
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_HIVE_DRAIN_MAX; i++) {

        size = sizeof(int);

        while (zmq_getsockopt(peer->socket, ZMQ_EVENTS, &events, &size) == -1)
        {
            if (zmq_errno() != EINTR) {
                ngx_log_error(NGX_LOG_ALERT, peer->peers->log, 0,
                              "zmq_getsockopt() failed: %s",
                              zmq_strerror(zmq_errno()));
                return;
            }
        }

        if (!(events & ZMQ_POLLIN)) {
            ngx_http_hive_connected(peer, events & ZMQ_POLLOUT);
            return;
        }

        zmq_msg_init(&msg);

        if (zmq_msg_recv(&msg, peer->socket, ZMQ_DONTWAIT) >= 0) {
            ngx_http_hive_message(peer, zmq_msg_data(&msg),
                                  zmq_msg_size(&msg));
        }

        zmq_msg_close(&msg);
    }

    /* let others have their turn */

    ngx_post_event(peer->connection->read, &ngx_posted_next_events);
}
