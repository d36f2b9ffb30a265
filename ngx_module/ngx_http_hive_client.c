
/*
 * Clients, of whatever transport: what waits to be sent to each is a ring of
 * references to frames, bounded in number and in bytes. What was put into
 * rings in a turn of the event loop is sent at its end.
 */


#include "ngx_http_hive_hub.h"


static ngx_int_t ngx_http_hive_client_grow(ngx_http_hive_client_t *client);


ngx_int_t
ngx_http_hive_client_init(ngx_http_hive_client_t *client,
    ngx_http_hive_hub_t *hub)
{
    ngx_int_t  rc;

    client->hub = hub;

    uuid_v4(&client->id);
    ngx_queue_init(&client->subs);

    rc = ngx_http_hive_user_add(client);

    if (rc != NGX_OK) {
        return rc;
    }

    client->beaten = ngx_current_msec;
    ngx_queue_insert_tail(&hub->clients, &client->queue);
    hub->nclients++;
    client->counted = 1;

    if (client->sse) {
        hub->conf->counters->sse_connections++;

    } else {
        hub->conf->counters->ws_connections++;
    }

    return NGX_OK;
}


void
ngx_http_hive_client_push(ngx_http_hive_client_t *client,
    ngx_http_hive_frame_t *frame)
{
    ngx_http_hive_hub_t        *hub;
    ngx_http_hive_main_conf_t  *conf;

    if (client->is_dead || client->is_slow || client->is_closed) {
        return;
    }

    hub = client->hub;
    conf = hub->conf;

    if (!client->recovering && !frame->control && client->ring_count
        && (client->ring_count >= conf->queue_frames
            || client->queued + frame->wire.len > conf->queue_bytes))
    {
        /* whoever told the event goes on; this one is seen to afterwards */

        client->is_slow = 1;
        ngx_http_hive_client_dirty(client);
        return;
    }

    if (client->ring_count == client->ring_size
        && ngx_http_hive_client_grow(client) != NGX_OK)
    {
        ngx_http_hive_client_kill(client);
        return;
    }

    ngx_http_hive_frame_ref(frame);

    client->ring[(client->ring_first + client->ring_count)
                 & (client->ring_size - 1)] = frame;
    client->ring_count++;
    client->queued += frame->wire.len;
    conf->counters->queued_bytes += frame->wire.len;

    if (!client->is_dirty) {
        ngx_http_hive_client_dirty(client);
    }
}


void
ngx_http_hive_client_send(ngx_http_hive_client_t *client,
    ngx_http_hive_sub_t *sub, ngx_http_hive_frame_t *frame)
{
    if (client->type->form == NULL) {
        ngx_http_hive_client_push(client, frame);
        return;
    }

    frame = client->type->form(client, sub, frame);

    if (frame == NULL) {
        ngx_http_hive_client_kill(client);
        return;
    }

    ngx_http_hive_client_push(client, frame);
    ngx_http_hive_frame_free(frame);
}


static ngx_int_t
ngx_http_hive_client_grow(ngx_http_hive_client_t *client)
{
    uint32_t                 i, size;
    ngx_http_hive_frame_t  **ring;

    size = client->ring_size ? 2 * client->ring_size : 8;

    ring = ngx_alloc(size * sizeof(ngx_http_hive_frame_t *),
                     client->hub->log);
    if (ring == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < client->ring_count; i++) {
        ring[i] = client->ring[(client->ring_first + i)
                               & (client->ring_size - 1)];
    }

    ngx_free(client->ring);

    client->ring = ring;
    client->ring_size = size;
    client->ring_first = 0;

    return NGX_OK;
}


void
ngx_http_hive_client_shift(ngx_http_hive_client_t *client)
{
    ngx_http_hive_frame_t  *frame;

    frame = client->ring[client->ring_first];

    client->ring_first = (client->ring_first + 1) & (client->ring_size - 1);
    client->ring_count--;
    client->queued -= frame->wire.len;
    client->hub->conf->counters->queued_bytes -= frame->wire.len;
    client->sent = 0;

    ngx_http_hive_frame_free(frame);

    if (client->ring_count == 0 && client->ring_size > 8) {

        /* idle connections keep nothing */

        ngx_free(client->ring);
        client->ring = NULL;
        client->ring_size = 0;
        client->ring_first = 0;
    }
}


ngx_uint_t
ngx_http_hive_client_drop(ngx_http_hive_client_t *client)
{
    uint32_t                keep;
    ngx_uint_t              n;
    ngx_http_hive_frame_t  *frame;

    n = 0;
    keep = client->sent ? 1 : 0;

    while (client->ring_count > keep) {
        frame = client->ring[(client->ring_first + client->ring_count - 1)
                             & (client->ring_size - 1)];
        client->ring_count--;
        client->queued -= frame->wire.len;
        client->hub->conf->counters->queued_bytes -= frame->wire.len;

        ngx_http_hive_frame_free(frame);
        n++;
    }

    return n;
}


void
ngx_http_hive_client_dirty(ngx_http_hive_client_t *client)
{
    ngx_http_hive_hub_t  *hub;

    hub = client->hub;

    if (!client->is_dirty) {
        client->is_dirty = 1;
        ngx_queue_insert_tail(&hub->dirty, &client->dirty);
    }

    ngx_post_event(&hub->flush, &ngx_posted_events);
}


void
ngx_http_hive_client_kill(ngx_http_hive_client_t *client)
{
    if (client->is_dead) {
        return;
    }

    client->is_dead = 1;
    ngx_queue_insert_tail(&client->hub->dead, &client->dead);

    ngx_post_event(&client->hub->flush, &ngx_posted_events);
}


void
ngx_http_hive_client_release(ngx_http_hive_client_t *client)
{
    ngx_queue_t          *q;
    ngx_http_hive_hub_t  *hub;

    hub = client->hub;

    while (!ngx_queue_empty(&client->subs)) {
        q = ngx_queue_head(&client->subs);
        ngx_http_hive_sub_free(ngx_queue_data(q, ngx_http_hive_sub_t, mine));
    }

    client->sent = 0;

    while (client->ring_count) {
        ngx_http_hive_client_shift(client);
    }

    ngx_free(client->ring);
    client->ring = NULL;

    if (client->is_dirty) {
        ngx_queue_remove(&client->dirty);
        client->is_dirty = 0;
    }

    if (!client->counted) {
        return;
    }

    client->counted = 0;

    ngx_queue_remove(&client->queue);
    hub->nclients--;

    if (client->sse) {
        hub->conf->counters->sse_connections--;

    } else {
        hub->conf->counters->ws_connections--;
    }

    ngx_http_hive_user_remove(client);
}


/* Posted: what this turn has brought is sent, and whoever is dead goes. */
void
ngx_http_hive_flush_clients(ngx_event_t *ev)
{
    ngx_queue_t             *q, queue;
    ngx_http_hive_hub_t     *hub;
    ngx_http_hive_client_t  *client;

    hub = ev->data;

    if (!ngx_queue_empty(&hub->dirty)) {

        ngx_queue_init(&queue);
        ngx_queue_add(&queue, &hub->dirty);
        ngx_queue_init(&hub->dirty);

        while (!ngx_queue_empty(&queue)) {
            q = ngx_queue_head(&queue);
            client = ngx_queue_data(q, ngx_http_hive_client_t, dirty);

            ngx_queue_remove(q);
            client->is_dirty = 0;

            if (client->is_dead) {
                continue;
            }

            if (client->is_slow) {
                client->type->slow(client);
            }

            if (!client->is_dead) {
                client->type->flush(client);
            }

            ngx_http_hive_client_flushed(client);
        }

        ngx_http_hive_uring_send(hub);
    }

    while (!ngx_queue_empty(&hub->dead)) {
        q = ngx_queue_head(&hub->dead);
        client = ngx_queue_data(q, ngx_http_hive_client_t, dead);

        ngx_queue_remove(q);

        client->type->bury(client);
    }
}


void
ngx_http_hive_client_flushed(ngx_http_hive_client_t *client)
{
    if (client->has_paused && client->ring_count == 0 && !client->is_dead) {
        ngx_http_hive_subs_resume(client);
    }
}


void
ngx_http_hive_clients_tick(ngx_http_hive_hub_t *hub)
{
    ngx_queue_t             *q;
    ngx_http_hive_client_t  *client;

    while (!ngx_queue_empty(&hub->clients)) {
        q = ngx_queue_head(&hub->clients);
        client = ngx_queue_data(q, ngx_http_hive_client_t, queue);

        if (ngx_current_msec - client->beaten < hub->conf->ping_interval) {
            break;
        }

        client->beaten = ngx_current_msec;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&hub->clients, q);

        if (!client->is_dead) {
            client->type->beat(client);
        }
    }

    if (!ngx_exiting || hub->exiting) {
        return;
    }

    /* streams of events end, but not all of them at once */

    hub->exiting = 1;

    for (q = ngx_queue_head(&hub->clients);
         q != ngx_queue_sentinel(&hub->clients);
         q = ngx_queue_next(q))
    {
        client = ngx_queue_data(q, ngx_http_hive_client_t, queue);

        if (client->sse) {
            client->expires = ngx_time() + ngx_http_hive_random()
                                           % (hub->conf->drain / 1000 + 1);
        }
    }
}
