
/*
 * Counters in shared memory: a slot for each nginx worker process, which is
 * the only one to write it. Scraping adds them up without a lock.
 */


#include "ngx_http_hive_hub.h"


#define NGX_HTTP_HIVE_MAGIC  0x48495645


static ngx_int_t ngx_http_hive_init_zone(ngx_shm_zone_t *shm_zone, void *data);
static ngx_http_hive_counters_t *ngx_http_hive_claim(
    ngx_http_hive_shared_t *sh);
static void ngx_http_hive_gauges(ngx_http_hive_counters_t *slot);
static ngx_uint_t ngx_http_hive_dead(ngx_atomic_uint_t pid);
static ngx_uint_t ngx_http_hive_status(ngx_http_request_t *r);


/* upper bounds in us; ngx_http_hive_metrics.c has them as text */

static uint64_t  ngx_http_hive_bounds[NGX_HTTP_HIVE_BUCKETS] = {
    500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
    1000000, 2500000, 10000000, 30000000
};


ngx_int_t
ngx_http_hive_counters_zone(ngx_conf_t *cf, ngx_str_t *name, size_t size,
    ngx_shm_zone_t **zone)
{
    *zone = ngx_shared_memory_add(cf, name, size, &ngx_http_hive_module);
    if (*zone == NULL) {
        return NGX_ERROR;
    }

    if ((*zone)->data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is already bound", name);
        return NGX_ERROR;
    }

    (*zone)->init = ngx_http_hive_init_zone;
    (*zone)->data = *zone;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    size_t                   n, len;
    ngx_slab_pool_t         *shpool;
    ngx_http_hive_shared_t  *sh;

    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    /* the memory of the cycle before, at a reload */

    if (data || shm_zone->shm.exists) {
        sh = shpool->data;

        if (sh == NULL || sh->magic != NGX_HTTP_HIVE_MAGIC
            || sh->size != sizeof(ngx_http_hive_counters_t))
        {
            ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                          "zone \"%V\" has counters of another version",
                          &shm_zone->shm.name);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    sh = ngx_slab_calloc(shpool, sizeof(ngx_http_hive_shared_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    len = sizeof(" in hive_zone \"\"") + shm_zone->shm.name.len;

    shpool->log_ctx = ngx_slab_alloc(shpool, len);
    if (shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(shpool->log_ctx, " in hive_zone \"%V\"%Z",
                &shm_zone->shm.name);

    shpool->log_nomem = 0;

    ngx_rbtree_init(&sh->users, &sh->users_sentinel,
                    ngx_str_rbtree_insert_value);

    /* as many slots as there is room for, a quarter left for users */

    n = shm_zone->shm.size / 4 * 3 / sizeof(ngx_http_hive_counters_t);

    for ( /* void */ ; n; n--) {
        sh->slots = ngx_slab_calloc(shpool,
                                    n * sizeof(ngx_http_hive_counters_t));
        if (sh->slots) {
            break;
        }
    }

    if (n < 2) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                      "zone \"%V\" is too small, a worker process takes %uz "
                      "bytes", &shm_zone->shm.name,
                      sizeof(ngx_http_hive_counters_t));
        return NGX_ERROR;
    }

    sh->nslots = n;
    sh->size = sizeof(ngx_http_hive_counters_t);
    sh->magic = NGX_HTTP_HIVE_MAGIC;

    shpool->data = sh;

    return NGX_OK;
}


ngx_int_t
ngx_http_hive_counters_init(ngx_cycle_t *cycle,
    ngx_http_hive_main_conf_t *hmcf)
{
    ngx_slab_pool_t  *shpool;

    shpool = (ngx_slab_pool_t *) hmcf->zone->shm.addr;

    hmcf->counters = ngx_http_hive_claim(shpool->data);

    if (hmcf->counters == NULL) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "zone \"%V\" has no room for this process, "
                      "what it counts will not be seen",
                      &hmcf->zone->shm.name);

        hmcf->counters = ngx_pmemalign(cycle->pool,
                                       sizeof(ngx_http_hive_counters_t), 64);
        if (hmcf->counters == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(hmcf->counters, sizeof(ngx_http_hive_counters_t));
    }

    ngx_http_hive_users_forget(hmcf);

    return NGX_OK;
}


/* A slot whose process has ended, in whatever way, is free. */
static ngx_http_hive_counters_t *
ngx_http_hive_claim(ngx_http_hive_shared_t *sh)
{
    ngx_uint_t                 i;
    ngx_atomic_uint_t          pid;
    ngx_http_hive_counters_t  *slot, *mine;

    mine = NULL;

    for (i = 0; i < sh->nslots; i++) {
        slot = &sh->slots[i];
        pid = slot->pid;

        if (pid != 0 && !ngx_http_hive_dead(pid)) {
            continue;
        }

        if (!ngx_atomic_cmp_set(&slot->pid, pid, ngx_pid)) {
            continue;
        }

        ngx_http_hive_gauges(slot);

        if (mine) {
            ngx_memory_barrier();
            slot->pid = 0;

        } else {
            mine = slot;
        }
    }

    return mine;
}


/* What is counted up and down begins at nothing. */
static void
ngx_http_hive_gauges(ngx_http_hive_counters_t *slot)
{
    slot->in_flight = 0;
    slot->waiting = 0;
    slot->peers_up = 0;
    slot->ws_connections = 0;
    slot->sse_connections = 0;
    slot->subscriptions = 0;
    slot->channels = 0;
    slot->queued_bytes = 0;
}


static ngx_uint_t
ngx_http_hive_dead(ngx_atomic_uint_t pid)
{
    return kill((ngx_pid_t) pid, 0) == -1 && ngx_errno == NGX_ESRCH;
}


void
ngx_http_hive_counters_exit(ngx_http_hive_main_conf_t *hmcf)
{
    ngx_http_hive_gauges(hmcf->counters);

    ngx_memory_barrier();

    hmcf->counters->pid = 0;
}


/*
 * Every request that we have seen ends here, whoever answered it and whether
 * or not its client was still there.
 */
ngx_int_t
ngx_http_hive_log_handler(ngx_http_request_t *r)
{
    uint64_t                    us;
    ngx_uint_t                  op, class, i;
    ngx_http_hive_ctx_t        *ctx;
    ngx_http_hive_counters_t   *counters;
    ngx_http_hive_main_conf_t  *hmcf;
    ngx_http_hive_histogram_t  *h;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);

    if (ctx == NULL) {
        return NGX_OK;
    }

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);
    counters = hmcf->counters;

    op = ctx->op ? (ngx_uint_t) (ctx->op - operations) : OPERATIONS;

    class = ngx_http_hive_status(r) / 100;
    class = (class >= 1 && class <= NGX_HTTP_HIVE_CLASSES)
            ? class - 1 : NGX_HTTP_HIVE_CLASSES - 1;

    us = ngx_http_hive_usec() - ctx->started;
    h = &counters->ops[op][class];

    for (i = 0; i < NGX_HTTP_HIVE_BUCKETS; i++) {
        if (us <= ngx_http_hive_bounds[i]) {
            break;
        }
    }

    h->bucket[i]++;
    h->sum += us;

    counters->bytes_in += r->request_length;
    counters->bytes_out += r->connection->sent;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_hive_status(ngx_http_request_t *r)
{
    if (r->err_status) {
        return r->err_status;
    }

    return r->headers_out.status;
}
