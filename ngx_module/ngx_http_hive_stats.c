
/*
 * What the live stream is doing: /api/v1/websocket/stats for administrators,
 * and /api/v1/websocket/health for those who watch over it.
 */


#include "ngx_http_hive_hub.h"


static ngx_atomic_uint_t ngx_http_hive_stat(ngx_http_hive_main_conf_t *hmcf,
    size_t offset);
static ngx_int_t ngx_http_hive_send_json(ngx_http_request_t *r,
    json_t *reply);


#define ngx_http_hive_stat_of(field)                                          \
    (json_int_t) ngx_http_hive_stat(hmcf,                                     \
                                offsetof(ngx_http_hive_counters_t, field))


ngx_int_t
ngx_http_hive_ws_health(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    return ngx_http_hive_send_json(r,
        json_pack("{s:s, s:I, s:I}",
                  "status", hmcf->counters->peers_up ? "ok" : "degraded",
                  "connections", ngx_http_hive_stat_of(ws_connections)
                                 + ngx_http_hive_stat_of(sse_connections),
                  "workers", (json_int_t) hmcf->counters->peers_up));
}


ngx_int_t
ngx_http_hive_ws_stats(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    return ngx_http_hive_send_json(r,
        json_pack("{s:{s:I, s:I}, s:I, s:I, s:I, s:I,"
                  " s:{s:I, s:I, s:I, s:I, s:I, s:I},"
                  " s:{s:I, s:I}, s:{s:I, s:I, s:I, s:I, s:I, s:I}}",
                  "connections",
                      "websocket", ngx_http_hive_stat_of(ws_connections),
                      "sse", ngx_http_hive_stat_of(sse_connections),
                  "users", (json_int_t) ngx_http_hive_users_total(hmcf),
                  "subscriptions", ngx_http_hive_stat_of(subscriptions),
                  "channels", ngx_http_hive_stat_of(channels),
                  "queued_bytes", ngx_http_hive_stat_of(queued_bytes),
                  "events",
                      "received", ngx_http_hive_stat_of(events_received),
                      "repeated", ngx_http_hive_stat_of(events_repeated),
                      "recovered", ngx_http_hive_stat_of(events_recovered),
                      "gaps", ngx_http_hive_stat_of(gaps),
                      "resets", ngx_http_hive_stat_of(resets),
                      "unrecovered", ngx_http_hive_stat_of(unrecovered),
                  "frames",
                      "sent", ngx_http_hive_stat_of(frames_sent),
                      "dropped", ngx_http_hive_stat_of(frames_dropped),
                  "closed",
                      "opened", ngx_http_hive_stat_of(ws_opened),
                      "refused", ngx_http_hive_stat_of(ws_refused),
                      "slow", ngx_http_hive_stat_of(ws_slow),
                      "ping_timeout", ngx_http_hive_stat_of(ws_timeouts),
                      "failed", ngx_http_hive_stat_of(ws_failed),
                      "access_withdrawn", ngx_http_hive_stat_of(withdrawn)));
}


/* Of all processes of this host. */
static ngx_atomic_uint_t
ngx_http_hive_stat(ngx_http_hive_main_conf_t *hmcf, size_t offset)
{
    ngx_uint_t               i;
    ngx_slab_pool_t         *shpool;
    ngx_atomic_uint_t        sum;
    ngx_http_hive_shared_t  *sh;

    shpool = (ngx_slab_pool_t *) hmcf->zone->shm.addr;
    sh = shpool->data;
    sum = 0;

    for (i = 0; i < sh->nslots; i++) {
        sum += *(ngx_atomic_t *) ((u_char *) &sh->slots[i] + offset);
    }

    return sum;
}


static ngx_int_t
ngx_http_hive_send_json(ngx_http_request_t *r, json_t *reply)
{
    size_t   len;
    u_char  *body;

    len = reply ? json_dumpb(reply, NULL, 0, JSON_COMPACT) : 0;
    body = len ? ngx_pnalloc(r->pool, len) : NULL;

    if (body) {
        json_dumpb(reply, (char *) body, len, JSON_COMPACT);
    }

    json_decref(reply);

    if (body == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_hive_send(r, NGX_HTTP_OK, &ngx_http_hive_type_json, body,
                              len);
}
