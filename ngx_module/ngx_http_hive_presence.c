
/*
 * Presence: which users are there on a channel, as seen by those who want to
 * be seen. What changes is told to the workers once a second, in one report;
 * all of it twice a minute, which is also how they know that we live. They
 * know of all hosts, and tell those who watch.
 */


#include "ngx_http_hive_hub.h"


#define NGX_HTTP_HIVE_PRESENCE_TIME  1000       /* ms between two reports */
#define NGX_HTTP_HIVE_PRESENCE_ALL   30000      /* between two of everything */
#define NGX_HTTP_HIVE_PRESENCE_MAX   1000       /* entries in a report */


typedef struct {
    ngx_str_node_t              sn;             /* first: channel, user id */
    ngx_queue_t                 queue;          /* dirty, or being told */
    hive_uuid_t                 user;
    ngx_uint_t                  count;          /* connections */
    ngx_uint_t                  telling;        /* what the report says */
    unsigned                    queued:1;
    u_char                      key[1];
} ngx_http_hive_present_t;


static ngx_http_hive_present_t *ngx_http_hive_present(
    ngx_http_hive_sub_t *sub, ngx_uint_t create);
static void ngx_http_hive_present_dirty(ngx_http_hive_hub_t *hub,
    ngx_http_hive_present_t *p);
static void ngx_http_hive_presence_report(ngx_http_hive_hub_t *hub);
static void ngx_http_hive_presence_told(ngx_http_hive_ask_t *ask,
    ngx_uint_t status, slice_t body);


void
ngx_http_hive_presence_enter(ngx_http_hive_sub_t *sub)
{
    ngx_http_hive_present_t  *p;

    if (!sub->presence || sub->present) {
        return;
    }

    p = ngx_http_hive_present(sub, 1);

    if (p) {
        sub->present = 1;
        p->count++;
        ngx_http_hive_present_dirty(sub->client->hub, p);
    }
}


void
ngx_http_hive_presence_leave(ngx_http_hive_sub_t *sub)
{
    ngx_http_hive_present_t  *p;

    if (!sub->present) {
        return;
    }

    sub->present = 0;

    p = ngx_http_hive_present(sub, 0);

    if (p && p->count) {
        p->count--;
        ngx_http_hive_present_dirty(sub->client->hub, p);
    }
}


static ngx_http_hive_present_t *
ngx_http_hive_present(ngx_http_hive_sub_t *sub, ngx_uint_t create)
{
    u_char                    key[NGX_HTTP_HIVE_CHANNEL_MAX + 16];
    uint32_t                  hash;
    ngx_str_t                 name, *channel;
    ngx_http_hive_hub_t      *hub;
    ngx_http_hive_present_t  *p;

    hub = sub->client->hub;
    channel = &sub->channel->sn.str;

    name.data = key;
    name.len = channel->len + 16;

    ngx_memcpy(key, channel->data, channel->len);
    ngx_memcpy(key + channel->len, sub->client->user.bytes, 16);

    hash = ngx_crc32_short(name.data, name.len);

    p = (ngx_http_hive_present_t *) ngx_str_rbtree_lookup(&hub->present, &name,
                                                          hash);
    if (p || !create) {
        return p;
    }

    p = ngx_calloc(sizeof(ngx_http_hive_present_t) + name.len, hub->log);
    if (p == NULL) {
        return NULL;
    }

    ngx_memcpy(p->key, key, name.len);

    p->user = sub->client->user;
    p->sn.str.data = p->key;
    p->sn.str.len = name.len;
    p->sn.node.key = hash;

    ngx_rbtree_insert(&hub->present, &p->sn.node);

    return p;
}


static void
ngx_http_hive_present_dirty(ngx_http_hive_hub_t *hub,
    ngx_http_hive_present_t *p)
{
    if (p->queued) {
        return;
    }

    p->queued = 1;
    ngx_queue_insert_tail(&hub->presence_dirty, &p->queue);

    if (hub->presence_ask == NULL
        && (!hub->presence.timer_set
            || (ngx_msec_int_t) (hub->presence.timer.key - ngx_current_msec)
               > NGX_HTTP_HIVE_PRESENCE_TIME))
    {
        ngx_add_timer(&hub->presence, NGX_HTTP_HIVE_PRESENCE_TIME);
    }
}


void
ngx_http_hive_presence_handler(ngx_event_t *ev)
{
    ngx_rbtree_node_t        *node;
    ngx_http_hive_hub_t      *hub;
    ngx_http_hive_present_t  *p;

    hub = ev->data;

    if (hub->presence_ask) {
        return;
    }

    if (ngx_current_msec - hub->presence_all >= NGX_HTTP_HIVE_PRESENCE_ALL
        && hub->present.root != hub->present.sentinel)
    {
        hub->presence_all = ngx_current_msec;

        for (node = ngx_rbtree_min(hub->present.root, hub->present.sentinel);
             node;
             node = ngx_rbtree_next(&hub->present, node))
        {
            p = (ngx_http_hive_present_t *) node;

            if (!p->queued) {
                p->queued = 1;
                ngx_queue_insert_tail(&hub->presence_dirty, &p->queue);
            }
        }
    }

    if (!ngx_queue_empty(&hub->presence_dirty)) {
        ngx_http_hive_presence_report(hub);
        return;
    }

    if (hub->present.root != hub->present.sentinel) {
        ngx_add_timer(&hub->presence, NGX_HTTP_HIVE_PRESENCE_ALL);
    }
}


static void
ngx_http_hive_presence_report(ngx_http_hive_hub_t *hub)
{
    u_char                   *body, *b, *last;
    size_t                    size;
    char                      user[UUID_TEXT], node[UUID_TEXT];
    ngx_uint_t                n;
    ngx_str_t                 channel;
    ngx_queue_t              *q;
    ngx_http_hive_present_t  *p;

    size = NGX_HTTP_HIVE_PRESENCE_MAX
           * (NGX_HTTP_HIVE_CHANNEL_MAX + UUID_TEXT + 64) + 128;

    body = ngx_alloc(size, hub->log);

    if (body == NULL) {
        ngx_add_timer(&hub->presence, NGX_HTTP_HIVE_PRESENCE_TIME);
        return;
    }

    last = body + size;

    uuid_format(&hub->node, node);

    b = ngx_slprintf(body, last,
                     "{\"node\":\"%*s\",\"full\":false,\"entries\":[",
                     (size_t) UUID_TEXT, node);

    for (n = 0; n < NGX_HTTP_HIVE_PRESENCE_MAX; n++) {

        if (ngx_queue_empty(&hub->presence_dirty)) {
            break;
        }

        q = ngx_queue_head(&hub->presence_dirty);
        p = ngx_queue_data(q, ngx_http_hive_present_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&hub->presence_telling, q);

        p->telling = p->count;

        channel.data = p->key;
        channel.len = p->sn.str.len - 16;

        uuid_format(&p->user, user);

        b = ngx_slprintf(b, last,
                         "%s{\"channel\":\"%V\",\"user_id\":\"%*s\","
                         "\"connections\":%ui}",
                         n ? "," : "", &channel, (size_t) UUID_TEXT, user,
                         p->telling);
    }

    b = ngx_slprintf(b, last, "]}");

    hub->presence_ask = ngx_http_hive_ask(hub, "presence_report", NULL, body,
                                          b - body,
                                          ngx_http_hive_presence_told, hub);

    ngx_free(body);

    if (hub->presence_ask == NULL) {
        ngx_queue_add(&hub->presence_dirty, &hub->presence_telling);
        ngx_queue_init(&hub->presence_telling);
        ngx_add_timer(&hub->presence, NGX_HTTP_HIVE_PRESENCE_TIME);
    }
}


static void
ngx_http_hive_presence_told(ngx_http_hive_ask_t *ask, ngx_uint_t status,
    slice_t body)
{
    ngx_queue_t              *q;
    ngx_http_hive_hub_t      *hub;
    ngx_http_hive_present_t  *p;

    hub = ask->data;
    hub->presence_ask = NULL;

    while (!ngx_queue_empty(&hub->presence_telling)) {
        q = ngx_queue_head(&hub->presence_telling);
        p = ngx_queue_data(q, ngx_http_hive_present_t, queue);

        ngx_queue_remove(q);

        if (status < 200 || status >= 300 || p->telling != p->count) {

            /* once more, with what is true by then */

            ngx_queue_insert_tail(&hub->presence_dirty, q);
            continue;
        }

        p->queued = 0;

        if (p->count == 0) {
            ngx_rbtree_delete(&hub->present, &p->sn.node);
            ngx_free(p);
        }
    }

    ngx_add_timer(&hub->presence,
                  ngx_queue_empty(&hub->presence_dirty)
                  ? NGX_HTTP_HIVE_PRESENCE_ALL : NGX_HTTP_HIVE_PRESENCE_TIME);
}
