
/*
 * Connections by user: those of this process, to send to all of a user's; and
 * how many a user has in all nginx workers of the host, in shared memory,
 * since there is a limit to them.
 */


#include "ngx_http_hive_hub.h"


#include <zmq.h>


/* One of a user's in shared memory; a process counts in its slot alone. */

typedef struct {
    ngx_str_node_t              sn;             /* first: the user's id */
    hive_uuid_t                 user;
    uint16_t                    counts[1];      /* of each slot */
} ngx_http_hive_user_count_t;


static ngx_http_hive_shared_t *ngx_http_hive_users_shared(
    ngx_http_hive_main_conf_t *hmcf, ngx_slab_pool_t **shpool);
static ngx_int_t ngx_http_hive_user_slot(ngx_http_hive_main_conf_t *hmcf,
    ngx_http_hive_shared_t *sh);
static ngx_http_hive_user_count_t *ngx_http_hive_user_counted(
    ngx_http_hive_shared_t *sh, hive_uuid_t *user);
static ngx_uint_t ngx_http_hive_user_total(ngx_http_hive_shared_t *sh,
    ngx_http_hive_user_count_t *count);
static ngx_int_t ngx_http_hive_user_enter(ngx_http_hive_main_conf_t *hmcf,
    hive_uuid_t *user);
static void ngx_http_hive_user_leave(ngx_http_hive_main_conf_t *hmcf,
    hive_uuid_t *user);
static void ngx_http_hive_user_subscribe(ngx_http_hive_hub_t *hub,
    ngx_http_hive_user_t *user, int option);


#define ngx_http_hive_user_hash(user)  ngx_crc32_short((user)->bytes, 16)


ngx_http_hive_user_t *
ngx_http_hive_user_find(ngx_http_hive_hub_t *hub, hive_uuid_t *user)
{
    ngx_str_t  s;

    s.data = user->bytes;
    s.len = sizeof(user->bytes);

    return (ngx_http_hive_user_t *)
               ngx_str_rbtree_lookup(&hub->users, &s,
                                     ngx_http_hive_user_hash(user));
}


ngx_int_t
ngx_http_hive_user_add(ngx_http_hive_client_t *client)
{
    ngx_int_t              rc;
    ngx_http_hive_hub_t   *hub;
    ngx_http_hive_user_t  *user;

    if (uuid_is_zero(&client->user)) {
        return NGX_OK;
    }

    hub = client->hub;

    rc = ngx_http_hive_user_enter(hub->conf, &client->user);

    if (rc != NGX_OK) {
        return rc;
    }

    user = ngx_http_hive_user_find(hub, &client->user);

    if (user == NULL) {
        user = ngx_calloc(sizeof(ngx_http_hive_user_t), hub->log);

        if (user == NULL) {
            ngx_http_hive_user_leave(hub->conf, &client->user);
            return NGX_ERROR;
        }

        user->user = client->user;
        user->sn.str.data = user->user.bytes;
        user->sn.str.len = sizeof(user->user.bytes);
        user->sn.node.key = ngx_http_hive_user_hash(&user->user);
        ngx_queue_init(&user->clients);

        ngx_rbtree_insert(&hub->users, &user->sn.node);

        ngx_http_hive_user_subscribe(hub, user, ZMQ_SUBSCRIBE);
    }

    ngx_queue_insert_tail(&user->clients, &client->same_user);
    user->count++;

    client->user_node = user;

    return NGX_OK;
}


void
ngx_http_hive_user_remove(ngx_http_hive_client_t *client)
{
    ngx_http_hive_hub_t   *hub;
    ngx_http_hive_user_t  *user;

    hub = client->hub;
    user = client->user_node;

    if (user == NULL) {
        return;
    }

    client->user_node = NULL;
    ngx_queue_remove(&client->same_user);

    if (--user->count == 0) {
        ngx_http_hive_user_subscribe(hub, user, ZMQ_UNSUBSCRIBE);
        ngx_rbtree_delete(&hub->users, &user->sn.node);
        ngx_free(user);
    }

    ngx_http_hive_user_leave(hub->conf, &client->user);
}


static void
ngx_http_hive_user_subscribe(ngx_http_hive_hub_t *hub,
    ngx_http_hive_user_t *user, int option)
{
    char  topic[5 + UUID_TEXT];

    if (hub->socket == NULL) {
        return;
    }

    ngx_memcpy(topic, "user:", 5);
    uuid_format(&user->user, topic + 5);

    zmq_setsockopt(hub->socket, option, topic, sizeof(topic));
    ngx_post_event(hub->connection->read, &ngx_posted_events);
}


/* ---- in all processes ---- */


static ngx_http_hive_shared_t *
ngx_http_hive_users_shared(ngx_http_hive_main_conf_t *hmcf,
    ngx_slab_pool_t **shpool)
{
    *shpool = (ngx_slab_pool_t *) hmcf->zone->shm.addr;

    return (*shpool)->data;
}


/* NGX_DECLINED: this process has none, and counts for itself only. */
static ngx_int_t
ngx_http_hive_user_slot(ngx_http_hive_main_conf_t *hmcf,
    ngx_http_hive_shared_t *sh)
{
    if (hmcf->counters < sh->slots || hmcf->counters >= sh->slots + sh->nslots)
    {
        return NGX_DECLINED;
    }

    return hmcf->counters - sh->slots;
}


static ngx_http_hive_user_count_t *
ngx_http_hive_user_counted(ngx_http_hive_shared_t *sh, hive_uuid_t *user)
{
    ngx_str_t  s;

    s.data = user->bytes;
    s.len = sizeof(user->bytes);

    return (ngx_http_hive_user_count_t *)
               ngx_str_rbtree_lookup(&sh->users, &s,
                                     ngx_http_hive_user_hash(user));
}


static ngx_uint_t
ngx_http_hive_user_total(ngx_http_hive_shared_t *sh,
    ngx_http_hive_user_count_t *count)
{
    ngx_uint_t  i, total;

    total = 0;

    for (i = 0; i < sh->nslots; i++) {
        total += count->counts[i];
    }

    return total;
}


/* Without memory to count in nobody is kept out. */
static ngx_int_t
ngx_http_hive_user_enter(ngx_http_hive_main_conf_t *hmcf, hive_uuid_t *user)
{
    ngx_int_t                    slot, rc;
    ngx_slab_pool_t             *shpool;
    ngx_http_hive_shared_t      *sh;
    ngx_http_hive_user_count_t  *count;

    sh = ngx_http_hive_users_shared(hmcf, &shpool);
    slot = ngx_http_hive_user_slot(hmcf, sh);

    if (slot == NGX_DECLINED) {
        return NGX_OK;
    }

    rc = NGX_OK;

    ngx_shmtx_lock(&shpool->mutex);

    count = ngx_http_hive_user_counted(sh, user);

    if (count == NULL) {
        count = ngx_slab_calloc_locked(shpool,
                              sizeof(ngx_http_hive_user_count_t)
                              + (sh->nslots - 1) * sizeof(uint16_t));
        if (count == NULL) {
            goto done;
        }

        count->user = *user;
        count->sn.str.data = count->user.bytes;
        count->sn.str.len = sizeof(count->user.bytes);
        count->sn.node.key = ngx_http_hive_user_hash(user);

        ngx_rbtree_insert(&sh->users, &count->sn.node);
    }

    if (ngx_http_hive_user_total(sh, count) >= hmcf->max_connections) {
        rc = NGX_BUSY;

    } else {
        count->counts[slot]++;
    }

done:

    ngx_shmtx_unlock(&shpool->mutex);

    return rc;
}


static void
ngx_http_hive_user_leave(ngx_http_hive_main_conf_t *hmcf, hive_uuid_t *user)
{
    ngx_int_t                    slot;
    ngx_slab_pool_t             *shpool;
    ngx_http_hive_shared_t      *sh;
    ngx_http_hive_user_count_t  *count;

    sh = ngx_http_hive_users_shared(hmcf, &shpool);
    slot = ngx_http_hive_user_slot(hmcf, sh);

    if (slot == NGX_DECLINED) {
        return;
    }

    ngx_shmtx_lock(&shpool->mutex);

    count = ngx_http_hive_user_counted(sh, user);

    if (count && count->counts[slot]) {
        count->counts[slot]--;

        if (ngx_http_hive_user_total(sh, count) == 0) {
            ngx_rbtree_delete(&sh->users, &count->sn.node);
            ngx_slab_free_locked(shpool, count);
        }
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


/* What processes have left, however they ended: that of our slot, and of those
 * that nobody has. */
void
ngx_http_hive_users_forget(ngx_http_hive_main_conf_t *hmcf)
{
    ngx_int_t                    slot;
    ngx_uint_t                   i;
    ngx_slab_pool_t             *shpool;
    ngx_rbtree_node_t           *node, *next;
    ngx_http_hive_shared_t      *sh;
    ngx_http_hive_user_count_t  *count;

    sh = ngx_http_hive_users_shared(hmcf, &shpool);
    slot = ngx_http_hive_user_slot(hmcf, sh);

    if (slot == NGX_DECLINED) {
        return;
    }

    ngx_shmtx_lock(&shpool->mutex);

    if (sh->users.root != sh->users.sentinel) {

        for (node = ngx_rbtree_min(sh->users.root, sh->users.sentinel);
             node;
             node = next)
        {
            next = ngx_rbtree_next(&sh->users, node);

            count = (ngx_http_hive_user_count_t *) node;

            for (i = 0; i < sh->nslots; i++) {
                if (i == (ngx_uint_t) slot || sh->slots[i].pid == 0) {
                    count->counts[i] = 0;
                }
            }

            if (ngx_http_hive_user_total(sh, count) == 0) {
                ngx_rbtree_delete(&sh->users, node);
                ngx_slab_free_locked(shpool, count);
            }
        }
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


ngx_uint_t
ngx_http_hive_users_total(ngx_http_hive_main_conf_t *hmcf)
{
    ngx_uint_t               n;
    ngx_slab_pool_t         *shpool;
    ngx_rbtree_node_t       *node;
    ngx_http_hive_shared_t  *sh;

    sh = ngx_http_hive_users_shared(hmcf, &shpool);
    n = 0;

    ngx_shmtx_lock(&shpool->mutex);

    if (sh->users.root != sh->users.sentinel) {
        for (node = ngx_rbtree_min(sh->users.root, sh->users.sentinel);
             node;
             node = ngx_rbtree_next(&sh->users, node))
        {
            n++;
        }
    }

    ngx_shmtx_unlock(&shpool->mutex);

    return n;
}
