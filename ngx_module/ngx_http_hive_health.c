
/*
 * GET /health: this nginx worker lives. GET /health/ready: it has workers to
 * send to, and their database is there.
 */


#include "ngx_http_hive.h"


static u_char *ngx_http_hive_health_peer(u_char *p,
    ngx_http_hive_peer_t *peer);


ngx_int_t
ngx_http_hive_health(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    u_char                     *body, *p;
    ngx_uint_t                  up;
    ngx_http_hive_peers_t      *peers;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);
    peers = hmcf->peers;
    up = hmcf->counters->peers_up;

    if (peers->health_len == 0 || peers->health_up != up
        || peers->health_in_flight != peers->in_flight)
    {
        p = ngx_snprintf(peers->health, sizeof(peers->health),
                         "{\"status\":\"ok\",\"workers_up\":%ui,"
                         "\"in_flight\":%ui}", up, peers->in_flight);

        peers->health_len = p - peers->health;
        peers->health_up = up;
        peers->health_in_flight = peers->in_flight;
    }

    body = ngx_pnalloc(r->pool, peers->health_len);
    if (body == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(body, peers->health, peers->health_len);

    return ngx_http_hive_send(r, NGX_HTTP_OK, &ngx_http_hive_type_json, body,
                              peers->health_len);
}


ngx_int_t
ngx_http_hive_health_ready(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    size_t                  len;
    u_char                 *body, *p;
    ngx_uint_t              i, ready;
    ngx_http_hive_peer_t   *peer;
    ngx_http_hive_peers_t  *peers;

    peers = ((ngx_http_hive_main_conf_t *)
                ngx_http_get_module_main_conf(r, ngx_http_hive_module))->peers;

    ready = 0;
    len = sizeof("{\"status\":\"not_ready\",\"workers\":[]}");

    for (i = 0; i < peers->npeers; i++) {
        peer = &peers->peer[i];

        len += 128 + 3 * NGX_INT_T_LEN + peer->facts_len;

        if (peer->up && peer->ready && !peer->draining) {
            ready = 1;
        }
    }

    body = ngx_pnalloc(r->pool, len);
    if (body == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_sprintf(body, "{\"status\":\"%s\",\"workers\":[",
                    ready ? "ready" : "not_ready");

    for (i = 0; i < peers->npeers; i++) {
        if (peers->peer[i].up) {
            p = ngx_http_hive_health_peer(p, &peers->peer[i]);
        }
    }

    if (p[-1] == ',') {
        p--;
    }

    *p++ = ']';
    *p++ = '}';

    if (!ready) {
        ctx->code = "not_ready";

        if (ngx_http_hive_add_header(r, "Retry-After", "1") == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return ngx_http_hive_send(r, ready ? NGX_HTTP_OK
                                       : NGX_HTTP_SERVICE_UNAVAILABLE,
                              &ngx_http_hive_type_json, body, p - body);
}


static u_char *
ngx_http_hive_health_peer(u_char *p, ngx_http_hive_peer_t *peer)
{
    p = ngx_sprintf(p, "{\"name\":\"%V\",\"pid\":%uD,\"ready\":%s,"
                       "\"draining\":%s,\"in_flight\":%uD",
                    &peer->name, peer->pid, peer->ready ? "true" : "false",
                    peer->draining ? "true" : "false", peer->load);

    if (peer->facts_len) {
        p = ngx_cpymem(p, ",\"facts\":", sizeof(",\"facts\":") - 1);
        p = ngx_cpymem(p, peer->facts, peer->facts_len);
    }

    *p++ = '}';
    *p++ = ',';

    return p;
}
