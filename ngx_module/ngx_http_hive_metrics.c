
/*
 * GET /metrics: the counters of all processes, added up, as Prometheus text
 * (version 0.0.4). Labels are operations, status classes and buckets: there
 * are as many series as the code has, whatever is asked for. What the workers
 * count follows as one of them has told it for all.
 */


#include "ngx_http_hive.h"


#define NGX_HTTP_HIVE_LINE  160     /* longest line of a series */


typedef struct {
    char       *name;
    char       *type;
    char       *help;
    size_t      offset;
} ngx_http_hive_metric_t;


static u_char *ngx_http_hive_metrics_single(u_char *p,
    ngx_http_hive_shared_t *sh);
static slice_t ngx_http_hive_metrics_workers(ngx_http_hive_peers_t *peers);
static u_char *ngx_http_hive_metrics_peers(u_char *p,
    ngx_http_hive_shared_t *sh);
static ngx_uint_t ngx_http_hive_metrics_sum(ngx_http_hive_shared_t *sh,
    ngx_http_hive_histogram_t *sums);
static u_char *ngx_http_hive_metrics_requests(u_char *p,
    ngx_http_hive_histogram_t *sums);
static u_char *ngx_http_hive_metrics_histograms(u_char *p,
    ngx_http_hive_histogram_t *sums);
static const char *ngx_http_hive_metrics_op(ngx_uint_t i);


static ngx_str_t  ngx_http_hive_metrics_type =
    ngx_string("text/plain; version=0.0.4; charset=utf-8");


static char  *ngx_http_hive_les[NGX_HTTP_HIVE_BUCKETS + 1] = {
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",
    "0.25", "0.5", "1", "2.5", "10", "30", "+Inf"
};


#define ngx_http_hive_metric(name, type, help, field)                         \
    { "hive_" name, type, help, offsetof(ngx_http_hive_counters_t, field) }


static ngx_http_hive_metric_t  ngx_http_hive_single[] = {

    ngx_http_hive_metric("requests_in_flight", "gauge",
                         "Requests that a worker has.", in_flight),

    ngx_http_hive_metric("requests_waiting", "gauge",
                         "Requests held until a first worker is heard.",
                         waiting),

    ngx_http_hive_metric("requests_shed_total", "counter",
                         "Requests refused because all workers were full.",
                         shed),

    ngx_http_hive_metric("requests_no_worker_total", "counter",
                         "Requests refused because no worker was there.",
                         no_worker),

    ngx_http_hive_metric("requests_resent_total", "counter",
                         "Requests sent again after their worker was lost.",
                         resent),

    ngx_http_hive_metric("requests_outcome_unknown_total", "counter",
                         "Requests lost with their worker.", unknown),

    ngx_http_hive_metric("requests_expired_total", "counter",
                         "Requests not answered within their deadline.",
                         expired),

    ngx_http_hive_metric("requests_cancelled_total", "counter",
                         "Requests whose client left before the reply.",
                         cancelled),

    ngx_http_hive_metric("orphan_replies_total", "counter",
                         "Replies to requests that were no longer held.",
                         orphans),

    ngx_http_hive_metric("workers_lost_total", "counter",
                         "Times a worker process went away or fell silent.",
                         peers_lost),

    ngx_http_hive_metric("received_bytes_total", "counter",
                         "Bytes of requests from clients.", bytes_in),

    ngx_http_hive_metric("sent_bytes_total", "counter",
                         "Bytes of responses to clients.", bytes_out),

    ngx_http_hive_metric("token_cache_hits_total", "counter",
                         "Tokens found verified.", token_hits),

    ngx_http_hive_metric("token_cache_misses_total", "counter",
                         "Tokens verified anew.", token_misses),

    ngx_http_hive_metric("tokens_refused_total", "counter",
                         "Tokens that were not good.", token_refused),

    ngx_http_hive_metric("websocket_connections", "gauge",
                         "WebSocket connections.", ws_connections),

    ngx_http_hive_metric("sse_connections", "gauge",
                         "Streams of server-sent events.", sse_connections),

    ngx_http_hive_metric("subscriptions", "gauge",
                         "Subscriptions of connections to channels.",
                         subscriptions),

    ngx_http_hive_metric("channels", "gauge",
                         "Channels watched, by each nginx worker.", channels),

    ngx_http_hive_metric("live_queued_bytes", "gauge",
                         "Bytes that wait for clients to read.",
                         queued_bytes),

    ngx_http_hive_metric("events_received_total", "counter",
                         "Events that workers have published.",
                         events_received),

    ngx_http_hive_metric("events_repeated_total", "counter",
                         "Events that had been told already.",
                         events_repeated),

    ngx_http_hive_metric("events_malformed_total", "counter",
                         "Events that could not be read.", events_malformed),

    ngx_http_hive_metric("events_recovered_total", "counter",
                         "Events told to clients that had missed them.",
                         events_recovered),

    ngx_http_hive_metric("event_gaps_total", "counter",
                         "Times that workers were asked for what was missing.",
                         gaps),

    ngx_http_hive_metric("channel_resets_total", "counter",
                         "Channels all of whose clients had to look anew.",
                         resets),

    ngx_http_hive_metric("subscriptions_unrecovered_total", "counter",
                         "Subscriptions that could not be resumed.",
                         unrecovered),

    ngx_http_hive_metric("subscriptions_withdrawn_total", "counter",
                         "Subscriptions ended because access was.",
                         withdrawn),

    ngx_http_hive_metric("live_frames_sent_total", "counter",
                         "Messages sent to live clients.", frames_sent),

    ngx_http_hive_metric("live_frames_dropped_total", "counter",
                         "Messages dropped for clients that did not read.",
                         frames_dropped),

    ngx_http_hive_metric("websocket_opened_total", "counter",
                         "WebSocket connections that were let in.",
                         ws_opened),

    ngx_http_hive_metric("websocket_refused_total", "counter",
                         "WebSocket connections that were not.", ws_refused),

    ngx_http_hive_metric("live_slow_total", "counter",
                         "Times that a client read too slowly.", ws_slow),

    ngx_http_hive_metric("websocket_timeouts_total", "counter",
                         "WebSocket connections that left a ping unanswered.",
                         ws_timeouts),

    ngx_http_hive_metric("websocket_failed_total", "counter",
                         "WebSocket connections that broke a rule.",
                         ws_failed),

    ngx_http_hive_metric("websocket_messages_total", "counter",
                         "Messages from clients.", ws_messages),

    ngx_http_hive_metric("websocket_limited_total", "counter",
                         "Messages dropped since there were too many.",
                         ws_limited),

    ngx_http_hive_metric("live_received_bytes_total", "counter",
                         "Bytes from live clients.", ws_bytes_in),

    ngx_http_hive_metric("live_sent_bytes_total", "counter",
                         "Bytes sent to live clients.", ws_bytes_out),

    ngx_http_hive_metric("client_reports_total", "counter",
                         "Reports of clients on themselves.",
                         client_reports),

    ngx_http_hive_metric("client_lag_milliseconds_total", "counter",
                         "Sum of the lags that they report.", client_lag_ms),

    ngx_http_hive_metric("client_refresh_rate_total", "counter",
                         "Sum of the pictures a second that they report.",
                         client_frames),

    { NULL, NULL, NULL, 0 }
};


ngx_int_t
ngx_http_hive_metrics(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    size_t                      size;
    u_char                     *body, *p;
    slice_t                     workers;
    ngx_uint_t                  series;
    ngx_slab_pool_t            *shpool;
    ngx_http_hive_shared_t     *sh;
    ngx_http_hive_main_conf_t  *hmcf;
    ngx_http_hive_histogram_t  *sums;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    shpool = (ngx_slab_pool_t *) hmcf->zone->shm.addr;
    sh = shpool->data;

    sums = ngx_pcalloc(r->pool, (OPERATIONS + 1) * NGX_HTTP_HIVE_CLASSES
                                * sizeof(ngx_http_hive_histogram_t));
    if (sums == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    series = ngx_http_hive_metrics_sum(sh, sums);
    workers = ngx_http_hive_metrics_workers(hmcf->peers);

    size = workers.len
           + (series * (NGX_HTTP_HIVE_BUCKETS + 4) + sh->nslots
            + 4 * sizeof(ngx_http_hive_single) / sizeof(ngx_http_hive_metric_t)
            + 16) * NGX_HTTP_HIVE_LINE;

    body = ngx_pnalloc(r->pool, size);
    if (body == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_http_hive_metrics_single(body, sh);
    p = ngx_http_hive_metrics_peers(p, sh);
    p = ngx_http_hive_metrics_requests(p, sums);
    p = ngx_http_hive_metrics_histograms(p, sums);

    if (workers.len) {
        p = ngx_cpymem(p, workers.data, workers.len);
    }

    return ngx_http_hive_send(r, NGX_HTTP_OK, &ngx_http_hive_metrics_type,
                              body, p - body);
}


static u_char *
ngx_http_hive_metrics_single(u_char *p, ngx_http_hive_shared_t *sh)
{
    ngx_uint_t               i;
    ngx_atomic_uint_t        sum;
    ngx_http_hive_metric_t  *m;

    for (m = ngx_http_hive_single; m->name; m++) {
        sum = 0;

        for (i = 0; i < sh->nslots; i++) {
            sum += *(ngx_atomic_t *) ((u_char *) &sh->slots[i] + m->offset);
        }

        p = ngx_sprintf(p, "# HELP %s %s\n# TYPE %s %s\n%s %uA\n",
                        m->name, m->help, m->name, m->type, m->name, sum);
    }

    return p;
}


/* None when no worker has been there for long. */
static slice_t
ngx_http_hive_metrics_workers(ngx_http_hive_peers_t *peers)
{
    slice_t  text;

    text.data = NULL;
    text.len = 0;

    if (peers->metrics_len
        && ngx_current_msec - peers->metrics_heard < NGX_HTTP_HIVE_METRICS)
    {
        text.data = (char *) peers->metrics;
        text.len = peers->metrics_len;
    }

    return text;
}


/* Each nginx worker sees the workers on its own. */
static u_char *
ngx_http_hive_metrics_peers(u_char *p, ngx_http_hive_shared_t *sh)
{
    ngx_uint_t  i;

    p = ngx_sprintf(p, "# HELP hive_workers_up Worker processes that an nginx "
                       "worker (by its slot) can send to.\n"
                       "# TYPE hive_workers_up gauge\n");

    for (i = 0; i < sh->nslots; i++) {
        if (sh->slots[i].pid == 0) {
            continue;
        }

        p = ngx_sprintf(p, "hive_workers_up{nginx=\"%ui\"} %uA\n", i,
                        sh->slots[i].peers_up);
    }

    return p;
}


static ngx_uint_t
ngx_http_hive_metrics_sum(ngx_http_hive_shared_t *sh,
    ngx_http_hive_histogram_t *sums)
{
    ngx_uint_t                  i, n, k, used;
    ngx_http_hive_histogram_t  *h;

    used = 0;

    for (n = 0; n < (OPERATIONS + 1) * NGX_HTTP_HIVE_CLASSES; n++) {

        for (i = 0; i < sh->nslots; i++) {
            h = &sh->slots[i].ops[0][0] + n;

            /* every observation that the sum has is in a bucket */

            sums[n].sum += h->sum;
            ngx_memory_barrier();

            for (k = 0; k <= NGX_HTTP_HIVE_BUCKETS; k++) {
                sums[n].bucket[k] += h->bucket[k];
            }
        }

        for (k = 1; k <= NGX_HTTP_HIVE_BUCKETS; k++) {
            sums[n].bucket[k] += sums[n].bucket[k - 1];
        }

        if (sums[n].bucket[NGX_HTTP_HIVE_BUCKETS]) {
            used++;
        }
    }

    return used;
}


static u_char *
ngx_http_hive_metrics_requests(u_char *p, ngx_http_hive_histogram_t *sums)
{
    ngx_uint_t                  n;
    ngx_http_hive_histogram_t  *h;

    p = ngx_sprintf(p, "# HELP hive_requests_total Requests that have ended.\n"
                       "# TYPE hive_requests_total counter\n");

    for (n = 0; n < (OPERATIONS + 1) * NGX_HTTP_HIVE_CLASSES; n++) {
        h = &sums[n];

        if (h->bucket[NGX_HTTP_HIVE_BUCKETS] == 0) {
            continue;
        }

        p = ngx_sprintf(p, "hive_requests_total{operation=\"%s\","
                           "status=\"%uixx\"} %uA\n",
                        ngx_http_hive_metrics_op(n / NGX_HTTP_HIVE_CLASSES),
                        n % NGX_HTTP_HIVE_CLASSES + 1,
                        h->bucket[NGX_HTTP_HIVE_BUCKETS]);
    }

    return p;
}


static u_char *
ngx_http_hive_metrics_histograms(u_char *p, ngx_http_hive_histogram_t *sums)
{
    ngx_uint_t                  n, k, class;
    const char                 *op;
    ngx_http_hive_histogram_t  *h;

    p = ngx_sprintf(p, "# HELP hive_request_duration_seconds From the "
                       "request's header to the end of the response.\n"
                       "# TYPE hive_request_duration_seconds histogram\n");

    for (n = 0; n < (OPERATIONS + 1) * NGX_HTTP_HIVE_CLASSES; n++) {
        h = &sums[n];

        if (h->bucket[NGX_HTTP_HIVE_BUCKETS] == 0) {
            continue;
        }

        op = ngx_http_hive_metrics_op(n / NGX_HTTP_HIVE_CLASSES);
        class = n % NGX_HTTP_HIVE_CLASSES + 1;

        for (k = 0; k <= NGX_HTTP_HIVE_BUCKETS; k++) {
            p = ngx_sprintf(p, "hive_request_duration_seconds_bucket{"
                               "operation=\"%s\",status=\"%uixx\","
                               "le=\"%s\"} %uA\n",
                            op, class, ngx_http_hive_les[k], h->bucket[k]);
        }

        p = ngx_sprintf(p, "hive_request_duration_seconds_sum{"
                           "operation=\"%s\",status=\"%uixx\"} %uA.%06uA\n",
                        op, class, h->sum / 1000000, h->sum % 1000000);

        p = ngx_sprintf(p, "hive_request_duration_seconds_count{"
                           "operation=\"%s\",status=\"%uixx\"} %uA\n",
                        op, class, h->bucket[NGX_HTTP_HIVE_BUCKETS]);
    }

    return p;
}


static const char *
ngx_http_hive_metrics_op(ngx_uint_t i)
{
    return i < OPERATIONS ? operations[i].name : "none";
}
