
/*
 * The hub of this nginx worker: its start and end, the socket on which the
 * workers' events come, and the questions that it asks them.
 */


#include "ngx_http_hive_hub.h"

#include <zmq.h>


#define NGX_HTTP_HIVE_TOPIC_CONTROL  "control"


static ngx_int_t ngx_http_hive_hub_open(ngx_cycle_t *cycle,
    ngx_http_hive_hub_t *hub);
static ngx_int_t ngx_http_hive_hub_connect(ngx_http_hive_hub_t *hub,
    ngx_http_hive_peer_t *peer, ngx_uint_t i);
static void ngx_http_hive_hub_read(ngx_event_t *rev);
static void ngx_http_hive_hub_write(ngx_event_t *wev);
static void ngx_http_hive_hub_drain(ngx_http_hive_hub_t *hub);
static ngx_int_t ngx_http_hive_hub_receive(ngx_http_hive_hub_t *hub);
static void ngx_http_hive_hub_event(ngx_http_hive_hub_t *hub, slice_t topic,
    event_record_t *event);
static void ngx_http_hive_hub_control(ngx_http_hive_hub_t *hub,
    event_record_t *event);
static void ngx_http_hive_hub_to_user(ngx_http_hive_hub_t *hub,
    slice_t topic, event_record_t *event);
static void ngx_http_hive_hub_tick(ngx_event_t *ev);

static ngx_int_t ngx_http_hive_ask_put(ngx_http_hive_call_t *call,
    ngx_http_hive_peer_t *peer);
static void ngx_http_hive_ask_record(ngx_http_hive_call_t *call,
    wire_record_t *record);
static ngx_int_t ngx_http_hive_ask_refuse(ngx_http_hive_call_t *call,
    ngx_http_hive_failure_t failure);
static void ngx_http_hive_ask_end(ngx_http_hive_call_t *call, ngx_int_t rc);
static ngx_uint_t ngx_http_hive_ask_may_resend(ngx_http_hive_call_t *call);


static ngx_http_hive_call_type_t  ngx_http_hive_ask_call = {
    ngx_http_hive_ask_put,
    ngx_http_hive_ask_record,
    ngx_http_hive_ask_refuse,
    ngx_http_hive_ask_end,
    ngx_http_hive_ask_may_resend
};


ngx_int_t
ngx_http_hive_hub_init(ngx_cycle_t *cycle, ngx_http_hive_main_conf_t *hmcf)
{
    ngx_http_hive_hub_t  *hub;

    hub = ngx_pcalloc(cycle->pool, sizeof(ngx_http_hive_hub_t));
    if (hub == NULL) {
        return NGX_ERROR;
    }

    hmcf->hub = hub;

    hub->conf = hmcf;
    hub->log = cycle->log;
    hub->pool = cycle->pool;

    ngx_rbtree_init(&hub->channels, &hub->channels_sentinel,
                    ngx_str_rbtree_insert_value);
    ngx_rbtree_init(&hub->users, &hub->users_sentinel,
                    ngx_str_rbtree_insert_value);

    ngx_queue_init(&hub->all);
    ngx_queue_init(&hub->clients);
    ngx_queue_init(&hub->awaiting);
    ngx_queue_init(&hub->dirty);
    ngx_queue_init(&hub->dead);
    ngx_queue_init(&hub->again);
    ngx_queue_init(&hub->presence_dirty);
    ngx_queue_init(&hub->presence_telling);
    ngx_rbtree_init(&hub->present, &hub->present_sentinel,
                    ngx_str_rbtree_insert_value);

    uuid_v4(&hub->node);

    hub->flush.handler = ngx_http_hive_flush_clients;
    hub->flush.data = hub;
    hub->flush.log = cycle->log;

    hub->tick.handler = ngx_http_hive_hub_tick;
    hub->tick.data = hub;
    hub->tick.log = cycle->log;
    hub->tick.cancelable = 1;

    ngx_add_timer(&hub->tick, 1000);

    hub->presence.handler = ngx_http_hive_presence_handler;
    hub->presence.data = hub;
    hub->presence.log = cycle->log;
    hub->presence.cancelable = 1;

    hub->buffer = ngx_palloc(cycle->pool, NGX_HTTP_HIVE_READ_BUFFER);
    if (hub->buffer == NULL) {
        return NGX_ERROR;
    }

    hub->inflater = ws_inflater_new();
    hub->deflater = ws_deflater_new(15);

    if (hub->inflater == NULL || hub->deflater == NULL) {
        return NGX_ERROR;
    }

    if (hmcf->io_uring) {
        hub->uring = ngx_http_hive_uring_create(cycle->log);
    }

    if (hmcf->peers->zmq == NULL) {
        return NGX_OK;
    }

    return ngx_http_hive_hub_open(cycle, hub);
}


static ngx_int_t
ngx_http_hive_hub_open(ngx_cycle_t *cycle, ngx_http_hive_hub_t *hub)
{
    int                     i, fd;
    size_t                  size;
    ngx_connection_t       *c;
    ngx_http_hive_peers_t  *peers;

    static struct {
        int  option;
        int  value;
    } options[] = {
        { ZMQ_LINGER, 0 },
        { ZMQ_RCVHWM, 100000 },
        { ZMQ_RECONNECT_IVL, 50 },
        { ZMQ_RECONNECT_IVL_MAX, 500 },
    };

    peers = hub->conf->peers;

    hub->socket = zmq_socket(peers->zmq, ZMQ_SUB);
    if (hub->socket == NULL) {
        goto failed;
    }

    for (i = 0; i < (int) (sizeof(options) / sizeof(options[0])); i++) {
        if (zmq_setsockopt(hub->socket, options[i].option, &options[i].value,
                           sizeof(int))
            == -1)
        {
            goto failed;
        }
    }

    for (i = 0; i < (int) peers->npeers; i++) {
        if (ngx_http_hive_hub_connect(hub, &peers->peer[i], i) != NGX_OK) {
            goto failed;
        }
    }

    size = sizeof(int);

    if (zmq_setsockopt(hub->socket, ZMQ_SUBSCRIBE,
                       NGX_HTTP_HIVE_TOPIC_CONTROL,
                       sizeof(NGX_HTTP_HIVE_TOPIC_CONTROL) - 1)
        == -1
        || zmq_getsockopt(hub->socket, ZMQ_FD, &fd, &size) == -1)
    {
        goto failed;
    }

    c = ngx_get_connection(fd, cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    hub->connection = c;

    c->data = hub;
    c->pool = cycle->pool;

    c->read->handler = ngx_http_hive_hub_read;
    c->read->log = cycle->log;
    c->read->channel = 1;
    c->write->handler = ngx_http_hive_hub_write;
    c->write->log = cycle->log;
    c->write->channel = 1;

    if (ngx_add_event(c->read, NGX_READ_EVENT, 0) == NGX_ERROR) {
        return NGX_ERROR;
    }

    ngx_post_event(c->read, &ngx_posted_events);

    return NGX_OK;

failed:

    ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                  "subscribing to the workers' events failed: %s",
                  zmq_strerror(zmq_errno()));

    return NGX_ERROR;
}


/* Where that worker publishes: as workers/runtime/endpoint.h. */
static ngx_int_t
ngx_http_hive_hub_connect(ngx_http_hive_hub_t *hub,
    ngx_http_hive_peer_t *peer, ngx_uint_t i)
{
    u_char     *p, *last, *name;
    ngx_int_t   port;
    ngx_str_t  *base;

    base = &peer->endpoint;

    name = ngx_pnalloc(hub->pool, base->len + sizeof(".events"));
    if (name == NULL) {
        return NGX_ERROR;
    }

    if (base->data[0] == 'i') {
        ngx_sprintf(name, "%V.events%Z", base);

    } else {
        last = base->data + base->len;

        for (p = last; p[-1] != ':'; p--) {
            /* void */
        }

        port = ngx_atoi(p, last - p);

        ngx_sprintf(name, "%*s%i%Z", (size_t) (p - base->data), base->data,
                    port + 1);
    }

    return zmq_connect(hub->socket, (char *) name) == -1 ? NGX_ERROR : NGX_OK;
}


void
ngx_http_hive_hub_exit(ngx_http_hive_main_conf_t *hmcf)
{
    ngx_queue_t             *q;
    ngx_connection_t        *c;
    ngx_http_hive_hub_t     *hub;
    ngx_http_hive_client_t  *client;

    hub = hmcf->hub;

    if (hub == NULL) {
        return;
    }

    /* whoever is still there, in a process that may not wait for them */

    while (!ngx_queue_empty(&hub->clients)) {
        q = ngx_queue_head(&hub->clients);
        client = ngx_queue_data(q, ngx_http_hive_client_t, queue);

        ngx_http_hive_client_kill(client);
        ngx_http_hive_flush_clients(&hub->flush);
    }

    ngx_http_hive_flush_clients(&hub->flush);

    if (hub->flush.posted) {
        ngx_delete_posted_event(&hub->flush);
    }

    if (hub->uring) {
        ngx_http_hive_uring_destroy(hub->uring);
    }

    ws_inflater_free(hub->inflater);
    ws_deflater_free(hub->deflater);

    c = hub->connection;

    if (c) {
        if (c->read->posted) {
            ngx_delete_posted_event(c->read);
        }

        /* the library closes the descriptor, later and by itself */

        ngx_del_event(c->read, NGX_READ_EVENT, 0);
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
    }

    if (hub->socket) {
        zmq_close(hub->socket);
    }

    hmcf->hub = NULL;
}


static void
ngx_http_hive_hub_read(ngx_event_t *rev)
{
    ngx_connection_t  *c;

    c = rev->data;

    ngx_http_hive_hub_drain(c->data);
}


static void
ngx_http_hive_hub_write(ngx_event_t *wev)
{
    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, wev->log, 0, "hive hub write handler");
}


/* Looking at ZMQ_EVENTS also sends what has been subscribed to. */
static void
ngx_http_hive_hub_drain(ngx_http_hive_hub_t *hub)
{
    int         events;
    size_t      size;
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_HIVE_DRAIN_MAX; i++) {

        size = sizeof(int);

        while (zmq_getsockopt(hub->socket, ZMQ_EVENTS, &events, &size) == -1) {
            if (zmq_errno() != EINTR) {
                ngx_log_error(NGX_LOG_ALERT, hub->log, 0,
                              "zmq_getsockopt() failed: %s",
                              zmq_strerror(zmq_errno()));
                return;
            }
        }

        if (!(events & ZMQ_POLLIN)
            || ngx_http_hive_hub_receive(hub) != NGX_OK)
        {
            return;
        }
    }

    /* let others have their turn */

    ngx_post_event(hub->connection->read, &ngx_posted_next_events);
}


/* NGX_OK: one message has been taken; NGX_AGAIN: there was none. */
static ngx_int_t
ngx_http_hive_hub_receive(ngx_http_hive_hub_t *hub)
{
    long            n;
    slice_t         topic;
    zmq_msg_t       first, second, rest;
    ngx_int_t       rc;
    event_record_t  event;

    zmq_msg_init(&first);

    if (zmq_msg_recv(&first, hub->socket, ZMQ_DONTWAIT) < 0) {
        rc = zmq_errno() == EINTR ? NGX_OK : NGX_AGAIN;
        zmq_msg_close(&first);
        return rc;
    }

    zmq_msg_init(&second);

    /* the parts of a message come together */

    if (zmq_msg_more(&first)
        && zmq_msg_recv(&second, hub->socket, ZMQ_DONTWAIT) >= 0)
    {
        n = event_record_get(zmq_msg_data(&second), zmq_msg_size(&second),
                             &event);

        if (n > 0 && !zmq_msg_more(&second)) {
            topic.data = zmq_msg_data(&first);
            topic.len = zmq_msg_size(&first);

            ngx_http_hive_hub_event(hub, topic, &event);

        } else {
            ngx_http_hive_count(hub->conf, events_malformed);
        }
    }

    while (zmq_msg_more(&second)) {
        zmq_msg_init(&rest);

        if (zmq_msg_recv(&rest, hub->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&rest);
            break;
        }

        zmq_msg_move(&second, &rest);
        zmq_msg_close(&rest);
    }

    zmq_msg_close(&second);
    zmq_msg_close(&first);

    return NGX_OK;
}


static void
ngx_http_hive_hub_event(ngx_http_hive_hub_t *hub, slice_t topic,
    event_record_t *event)
{
    ngx_http_hive_channel_t  *channel;

    ngx_http_hive_count(hub->conf, events_received);

    if (event->kind == EVENT_CONTROL) {
        ngx_http_hive_hub_control(hub, event);
        return;
    }

    if (event->kind == EVENT_SIGNAL && topic.len > 5
        && ngx_memcmp(topic.data, "user:", 5) == 0)
    {
        ngx_http_hive_hub_to_user(hub, topic, event);
        return;
    }

    channel = ngx_http_hive_channel_find(hub, (u_char *) topic.data,
                                         topic.len);
    if (channel == NULL) {
        return;
    }

    ngx_http_hive_channel_event(channel, event);
}


/* Whose access has changed is asked for again. */
static void
ngx_http_hive_hub_control(ngx_http_hive_hub_t *hub, event_record_t *event)
{
    hive_uuid_t               id;
    ngx_queue_t              *q, *s;
    ngx_http_hive_sub_t      *sub;
    ngx_http_hive_user_t     *user;
    ngx_http_hive_client_t   *client;
    ngx_http_hive_channel_t  *channel;

    if (event->key.len == 5 + UUID_TEXT
        && ngx_memcmp(event->key.data, "user:", 5) == 0
        && uuid_parse(event->key.data + 5, UUID_TEXT, &id) == 0)
    {
        user = ngx_http_hive_user_find(hub, &id);

        if (user == NULL) {
            return;
        }

        for (q = ngx_queue_head(&user->clients);
             q != ngx_queue_sentinel(&user->clients);
             q = ngx_queue_next(q))
        {
            client = ngx_queue_data(q, ngx_http_hive_client_t, same_user);

            for (s = ngx_queue_head(&client->subs);
                 s != ngx_queue_sentinel(&client->subs);
                 s = ngx_queue_next(s))
            {
                sub = ngx_queue_data(s, ngx_http_hive_sub_t, mine);
                ngx_http_hive_sub_recheck(sub);
            }
        }

        return;
    }

    channel = ngx_http_hive_channel_find(hub, (u_char *) event->key.data,
                                         event->key.len);
    if (channel == NULL) {
        return;
    }

    for (q = ngx_queue_head(&channel->subs);
         q != ngx_queue_sentinel(&channel->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, queue);
        ngx_http_hive_sub_recheck(sub);
    }
}


/* To every connection of that user, subscribed or not. */
static void
ngx_http_hive_hub_to_user(ngx_http_hive_hub_t *hub, slice_t topic,
    event_record_t *event)
{
    hive_uuid_t              id;
    ngx_queue_t             *q;
    ngx_http_hive_user_t    *user;
    ngx_http_hive_frame_t   *frame;
    ngx_http_hive_client_t  *client;

    if (uuid_parse(topic.data + 5, topic.len - 5, &id) != 0) {
        return;
    }

    user = ngx_http_hive_user_find(hub, &id);
    frame = user ? ngx_http_hive_event_frame(event) : NULL;

    if (frame == NULL) {
        return;
    }

    for (q = ngx_queue_head(&user->clients);
         q != ngx_queue_sentinel(&user->clients);
         q = ngx_queue_next(q))
    {
        client = ngx_queue_data(q, ngx_http_hive_client_t, same_user);

        ngx_http_hive_client_send(client, NULL, frame);
    }

    ngx_http_hive_frame_free(frame);
}


static void
ngx_http_hive_hub_tick(ngx_event_t *ev)
{
    uint64_t              lost;
    ngx_http_hive_hub_t  *hub;

    hub = ev->data;

    ngx_add_timer(ev, 1000);

    ngx_http_hive_clients_tick(hub);
    ngx_http_hive_ws_tick(hub);
    ngx_http_hive_subs_again(hub);

    /* a worker that is gone may have committed what it did not publish */

    lost = hub->conf->counters->peers_lost;

    if (hub->nchannels
        && (lost != hub->peers_lost
            || (ngx_msec_int_t) (ngx_current_msec - hub->heads_due) >= 0))
    {
        hub->peers_lost = lost;
        ngx_http_hive_channels_check(hub);
    }

    if (hub->socket) {

        /* a subscription is sent while the library is called */

        ngx_post_event(hub->connection->read, &ngx_posted_events);
    }
}


ngx_http_hive_ask_t *
ngx_http_hive_ask(ngx_http_hive_hub_t *hub, const char *operation,
    ngx_http_hive_client_t *client, u_char *body, size_t len,
    ngx_http_hive_answer_pt handler, void *data)
{
    ngx_http_hive_ask_t  *ask;

    ask = ngx_calloc(sizeof(ngx_http_hive_ask_t) + len, hub->log);
    if (ask == NULL) {
        return NULL;
    }

    ask->call.type = &ngx_http_hive_ask_call;
    ask->call.peers = hub->conf->peers;
    ask->call.timer.log = hub->log;
    ask->call.timer.cancelable = 1;

    ask->hub = hub;
    ask->operation = operation;
    ask->handler = handler;
    ask->data = data;
    ask->len = len;
    ngx_memcpy(ask->body, body, len);

    if (client) {
        ask->principal = client->principal;
        ask->user = client->user;
        ask->session = client->session;
    }

    if (ngx_http_hive_call(&ask->call, NGX_HTTP_HIVE_ASK_TIME) != NGX_DONE) {
        ngx_http_hive_ask_cancel(ask);
        return NULL;
    }

    return ask;
}


void
ngx_http_hive_ask_cancel(ngx_http_hive_ask_t *ask)
{
    ngx_http_hive_call_cancel(&ask->call);
    ngx_free(ask);
}


static ngx_int_t
ngx_http_hive_ask_put(ngx_http_hive_call_t *call, ngx_http_hive_peer_t *peer)
{
    ngx_http_hive_ask_t *ask = (ngx_http_hive_ask_t *) call;

    uint64_t        id[2];
    wire_request_t  rq;
    ngx_msec_int_t  left;

    ngx_memzero(&rq, sizeof(wire_request_t));

    left = (ngx_msec_int_t) (call->deadline - ngx_current_msec);

    rq.operation.data = ask->operation;
    rq.operation.len = ngx_strlen(ask->operation);
    rq.flags = call->executed ? WIRE_RESENT : 0;
    rq.principal = ask->principal;
    rq.user = ask->user;
    rq.session = ask->session;
    rq.deadline_ms = left > 0 ? (uint32_t) left : 0;
    rq.body.data = (char *) ask->body;
    rq.body.len = ask->len;

    rq.nheaders = 1;
    rq.headers[0].name = SLICE("content-type");
    rq.headers[0].value = SLICE("application/json");

    id[0] = ngx_http_hive_random();
    id[1] = ngx_http_hive_random();

    ngx_memcpy(rq.request_id, id, sizeof(rq.request_id));
    ngx_memcpy(rq.trace_id, id, sizeof(rq.trace_id));
    ngx_memcpy(rq.span_id, id, sizeof(rq.span_id));

    return wire_put_request(&peer->out, call->id, &rq) == WIRE_OK
           ? NGX_DONE : NGX_ERROR;
}


static void
ngx_http_hive_ask_record(ngx_http_hive_call_t *call, wire_record_t *record)
{
    ngx_http_hive_ask_t *ask = (ngx_http_hive_ask_t *) call;

    wire_reply_t  reply;

    if (record->type != WIRE_REPLY
        || wire_get_reply(record, &reply) != WIRE_OK)
    {
        ngx_log_error(NGX_LOG_ERR, ask->hub->log, 0,
                      "worker %V answered \"%s\" with what cannot be read",
                      &call->peer->name, ask->operation);

        ngx_http_hive_call_cancel(call);
        ngx_http_hive_ask_end(call, NGX_ERROR);
        return;
    }

    ngx_http_hive_call_release(call);

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }

    ask->handler(ask, reply.status, reply.body);

    ngx_free(ask);
}


static ngx_int_t
ngx_http_hive_ask_refuse(ngx_http_hive_call_t *call,
    ngx_http_hive_failure_t failure)
{
    return NGX_ERROR;
}


static void
ngx_http_hive_ask_end(ngx_http_hive_call_t *call, ngx_int_t rc)
{
    ngx_http_hive_ask_t *ask = (ngx_http_hive_ask_t *) call;

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }

    ask->handler(ask, 0, SLICE_NONE);

    ngx_free(ask);
}


static ngx_uint_t
ngx_http_hive_ask_may_resend(ngx_http_hive_call_t *call)
{
    return 1;
}
