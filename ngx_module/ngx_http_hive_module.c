
/*
 * Directives, configuration, start and end of a process.
 */


#include "ngx_http_hive_hub.h"


#define NGX_HTTP_HIVE_KEY_FILE_MAX  65536


static void *ngx_http_hive_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_hive_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_hive_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_hive_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_int_t ngx_http_hive_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_hive_init_process(ngx_cycle_t *cycle);
static void ngx_http_hive_exit_process(ngx_cycle_t *cycle);

static char *ngx_http_hive_workers(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_hive_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_hive_jwt_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_hive_deadline(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_hive_ping_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_hive_origins(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_hive_read_key(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *data);
static void ngx_http_hive_cleanup(void *data);


static ngx_conf_num_bounds_t  ngx_http_hive_in_flight_bounds = {
    ngx_conf_check_num_bounds, 1, 65536
};

static ngx_conf_num_bounds_t  ngx_http_hive_credit_bounds = {
    ngx_conf_check_num_bounds, 2, 64
};

static ngx_conf_num_bounds_t  ngx_http_hive_token_bounds = {
    ngx_conf_check_num_bounds, 1, 1000000
};


static ngx_conf_num_bounds_t  ngx_http_hive_live_bounds = {
    ngx_conf_check_num_bounds, 1, 65536
};

static ngx_conf_enum_t  ngx_http_hive_slow_policies[] = {
    { ngx_string("close"), NGX_HTTP_HIVE_SLOW_CLOSE },
    { ngx_string("snapshot"), NGX_HTTP_HIVE_SLOW_SNAPSHOT },
    { ngx_null_string, 0 }
};

static ngx_conf_enum_t  ngx_http_hive_refusals[] = {
    { ngx_string("status"), NGX_HTTP_HIVE_REFUSE_STATUS },
    { ngx_string("close"), NGX_HTTP_HIVE_REFUSE_CLOSE },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_hive_commands[] = {

    { ngx_string("hive"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hive_loc_conf_t, enable),
      NULL },

    { ngx_string("hive_workers"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_hive_workers,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hive_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_hive_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hive_jwt_key"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE3,
      ngx_http_hive_jwt_key,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hive_jwt_issuer"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, issuer),
      NULL },

    { ngx_string("hive_jwt_audience"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, audience),
      NULL },

    { ngx_string("hive_jwt_leeway"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, leeway),
      NULL },

    { ngx_string("hive_token_cache"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, token_cache),
      &ngx_http_hive_token_bounds },

    { ngx_string("hive_max_in_flight"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, max_in_flight),
      &ngx_http_hive_in_flight_bounds },

    { ngx_string("hive_deadline"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_hive_deadline,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hive_stream_credit"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, stream_credit),
      &ngx_http_hive_credit_bounds },

    { ngx_string("hive_websocket_message"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, message_max),
      NULL },

    { ngx_string("hive_websocket_fragments"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, fragments_max),
      &ngx_http_hive_live_bounds },

    { ngx_string("hive_websocket_ping"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_hive_ping_conf,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hive_websocket_drain"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, drain),
      NULL },

    { ngx_string("hive_websocket_refuse"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, refuse),
      &ngx_http_hive_refusals },

    { ngx_string("hive_websocket_origins"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_hive_origins,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hive_websocket_deflate"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, deflate),
      NULL },

    { ngx_string("hive_websocket_rate"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, rate),
      &ngx_http_hive_live_bounds },

    { ngx_string("hive_live_queue"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, queue_bytes),
      NULL },

    { ngx_string("hive_live_queue_events"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, queue_frames),
      &ngx_http_hive_live_bounds },

    { ngx_string("hive_live_slow"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, slow),
      &ngx_http_hive_slow_policies },

    { ngx_string("hive_live_connections"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, max_connections),
      &ngx_http_hive_live_bounds },

    { ngx_string("hive_live_subscriptions"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, max_subscriptions),
      &ngx_http_hive_live_bounds },

    { ngx_string("hive_live_check"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, events_check),
      NULL },

    { ngx_string("hive_live_io_uring"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hive_main_conf_t, io_uring),
      NULL },

    { ngx_string("hive_websocket_echo"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hive_loc_conf_t, echo),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_hive_module_ctx = {
    ngx_http_hive_add_variables,           /* preconfiguration */
    ngx_http_hive_init,                    /* postconfiguration */

    ngx_http_hive_create_main_conf,        /* create main configuration */
    ngx_http_hive_init_main_conf,          /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_hive_create_loc_conf,         /* create location configuration */
    ngx_http_hive_merge_loc_conf           /* merge location configuration */
};


ngx_module_t  ngx_http_hive_module = {
    NGX_MODULE_V1,
    &ngx_http_hive_module_ctx,             /* module context */
    ngx_http_hive_commands,                /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_hive_init_process,            /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_hive_exit_process,            /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_http_output_header_filter_pt  ngx_http_hive_next_header_filter;
ngx_http_output_body_filter_pt    ngx_http_hive_next_body_filter;
ngx_http_request_body_filter_pt   ngx_http_hive_next_request_body_filter;


static void *
ngx_http_hive_create_main_conf(ngx_conf_t *cf)
{
    ngx_uint_t                  i;
    ngx_pool_cleanup_t         *cln;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_hive_main_conf_t));
    if (hmcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     hmcf->endpoint = { 0, NULL };
     *     hmcf->issuer = { 0, NULL };
     *     hmcf->audience = { 0, NULL };
     *     hmcf->zone = NULL;
     */

    hmcf->max_in_flight = NGX_CONF_UNSET_UINT;
    hmcf->stream_credit = NGX_CONF_UNSET_UINT;
    hmcf->token_cache = NGX_CONF_UNSET_UINT;
    hmcf->leeway = NGX_CONF_UNSET;

    hmcf->message_max = NGX_CONF_UNSET_SIZE;
    hmcf->fragments_max = NGX_CONF_UNSET_UINT;
    hmcf->ping_interval = NGX_CONF_UNSET_MSEC;
    hmcf->ping_timeout = NGX_CONF_UNSET_MSEC;
    hmcf->drain = NGX_CONF_UNSET_MSEC;
    hmcf->queue_bytes = NGX_CONF_UNSET_SIZE;
    hmcf->queue_frames = NGX_CONF_UNSET_UINT;
    hmcf->io_uring = NGX_CONF_UNSET;
    hmcf->slow = NGX_CONF_UNSET_UINT;
    hmcf->refuse = NGX_CONF_UNSET_UINT;
    hmcf->deflate = NGX_CONF_UNSET;
    hmcf->max_connections = NGX_CONF_UNSET_UINT;
    hmcf->max_subscriptions = NGX_CONF_UNSET_UINT;
    hmcf->rate = NGX_CONF_UNSET_UINT;
    hmcf->events_check = NGX_CONF_UNSET_MSEC;

    for (i = 0; i < LIMIT_CLASSES; i++) {
        hmcf->deadlines[i] = NGX_CONF_UNSET_MSEC;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_hive_cleanup;
    cln->data = hmcf;

    hmcf->keys = jws_keys_new();
    if (hmcf->keys == NULL) {
        return NULL;
    }

    return hmcf;
}


static char *
ngx_http_hive_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_hive_main_conf_t *hmcf = conf;

    ngx_uint_t  i;

    ngx_conf_init_uint_value(hmcf->max_in_flight, 256);
    ngx_conf_init_uint_value(hmcf->stream_credit, 4);
    ngx_conf_init_uint_value(hmcf->token_cache, 4096);
    ngx_conf_init_value(hmcf->leeway, 5);

    ngx_conf_init_size_value(hmcf->message_max, 1024 * 1024);
    ngx_conf_init_uint_value(hmcf->fragments_max, 1024);
    ngx_conf_init_msec_value(hmcf->ping_interval, 25000);
    ngx_conf_init_msec_value(hmcf->ping_timeout, 10000);
    ngx_conf_init_msec_value(hmcf->drain, 5000);
    ngx_conf_init_size_value(hmcf->queue_bytes, 1024 * 1024);
    ngx_conf_init_uint_value(hmcf->queue_frames, 4096);
    ngx_conf_init_value(hmcf->io_uring, 1);
    ngx_conf_init_uint_value(hmcf->slow, NGX_HTTP_HIVE_SLOW_CLOSE);
    ngx_conf_init_uint_value(hmcf->refuse, NGX_HTTP_HIVE_REFUSE_STATUS);
    ngx_conf_init_value(hmcf->deflate, 1);
    ngx_conf_init_uint_value(hmcf->max_connections, 100);
    ngx_conf_init_uint_value(hmcf->max_subscriptions, 256);
    ngx_conf_init_uint_value(hmcf->rate, 50);
    ngx_conf_init_msec_value(hmcf->events_check, 3000);

    for (i = 0; i < LIMIT_CLASSES; i++) {
        ngx_conf_init_msec_value(hmcf->deadlines[i], 30000);
    }

    if (hmcf->issuer.data == NULL) {
        ngx_str_set(&hmcf->issuer, "hive");
    }

    if (hmcf->audience.data == NULL) {
        ngx_str_set(&hmcf->audience, "hive");
    }

    return NGX_CONF_OK;
}


static void
ngx_http_hive_cleanup(void *data)
{
    ngx_http_hive_main_conf_t *hmcf = data;

    jws_keys_free(hmcf->keys);
    route_table_free(hmcf->routes);
}


static void *
ngx_http_hive_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_hive_loc_conf_t  *hlcf;

    hlcf = ngx_palloc(cf->pool, sizeof(ngx_http_hive_loc_conf_t));
    if (hlcf == NULL) {
        return NULL;
    }

    hlcf->enable = NGX_CONF_UNSET;
    hlcf->echo = NGX_CONF_UNSET;

    return hlcf;
}


static char *
ngx_http_hive_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_hive_loc_conf_t *prev = parent;
    ngx_http_hive_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_hive_main_conf_t  *hmcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->enable == NGX_CONF_UNSET) {

        /* "if" and "limit_except" inside the location are nameless ones */

        conf->enable = (clcf->noname && prev->enable == 1);
    }

    if (conf->echo == NGX_CONF_UNSET) {
        conf->echo = (clcf->noname && prev->echo == 1);
    }

    if (!conf->enable && !conf->echo) {
        return NGX_CONF_OK;
    }

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hive_module);
    hmcf->enabled = 1;

    clcf->handler = conf->echo ? ngx_http_hive_echo_handler
                               : ngx_http_hive_handler;

    /* each operation has a limit of its own, and its own way to say so */

    clcf->client_max_body_size = 0;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_hive_init(ngx_conf_t *cf)
{
    ngx_str_t                   name;
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hive_module);

    if (!hmcf->enabled) {
        return NGX_OK;
    }

    if (hmcf->nkeys == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"hive on\" needs at least one \"hive_jwt_key\"");
        return NGX_ERROR;
    }

    if (hmcf->zone == NULL) {
        ngx_str_set(&name, "hive");

        if (ngx_http_hive_counters_zone(cf, &name, 4 * 1024 * 1024,
                                        &hmcf->zone)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    hmcf->routes = route_table_new(operations, OPERATIONS);
    if (hmcf->routes == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "the routes of the operations cannot be built");
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_hive_log_handler;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_hive_secret_handler;

    ngx_http_hive_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_hive_header_filter;

    ngx_http_hive_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_hive_body_filter;

    ngx_http_hive_next_request_body_filter = ngx_http_top_request_body_filter;
    ngx_http_top_request_body_filter = ngx_http_hive_request_body_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_init_process(ngx_cycle_t *cycle)
{
    ngx_http_hive_main_conf_t  *hmcf;

    /* the cache manager and loader come here as well */

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    hmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_hive_module);

    if (hmcf == NULL || !hmcf->enabled) {
        return NGX_OK;
    }

    if (ngx_http_hive_counters_init(cycle, hmcf) != NGX_OK
        || ngx_http_hive_tokens_init(cycle, hmcf) != NGX_OK
        || ngx_http_hive_peers_init(cycle, hmcf) != NGX_OK
        || ngx_http_hive_hub_init(cycle, hmcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_hive_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_hive_module);

    if (hmcf == NULL || hmcf->counters == NULL) {
        return;
    }

    ngx_http_hive_hub_exit(hmcf);
    ngx_http_hive_peers_exit(hmcf);
    ngx_http_hive_tokens_exit(hmcf);
    ngx_http_hive_counters_exit(hmcf);
}


static char *
ngx_http_hive_workers(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hive_main_conf_t *hmcf = conf;

    char       *reason;
    ngx_int_t   n;
    ngx_str_t  *value;

    if (hmcf->endpoint.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_atoi(value[2].data, value[2].len);
    if (n == NGX_ERROR || n == 0 || n > 1024) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of workers \"%V\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    reason = ngx_http_hive_check_endpoint(&value[1], n);
    if (reason) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid endpoint \"%V\": %s", &value[1], reason);
        return NGX_CONF_ERROR;
    }

    hmcf->endpoint = value[1];
    hmcf->workers = n;

    return NGX_CONF_OK;
}


static char *
ngx_http_hive_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hive_main_conf_t *hmcf = conf;

    u_char     *p;
    ssize_t     size;
    ngx_str_t  *value, name, s;

    if (hmcf->zone) {
        return "is duplicate";
    }

    value = cf->args->elts;

    p = (u_char *) ngx_strchr(value[1].data, ':');

    if (p == NULL || p == value[1].data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\", it must be <name>:<size>",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    name.data = value[1].data;
    name.len = p - value[1].data;

    s.data = p + 1;
    s.len = value[1].data + value[1].len - s.data;

    size = ngx_parse_size(&s);

    if (size == NGX_ERROR || size < (ssize_t) (64 * ngx_pagesize)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone size \"%V\", it must be at least %uzk",
                           &s, 64 * ngx_pagesize / 1024);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_hive_counters_zone(cf, &name, size, &hmcf->zone) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_hive_jwt_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hive_main_conf_t *hmcf = conf;

    int          rc;
    ngx_str_t   *value, data;
    jws_alg_t    alg;
    const char  *error;

    value = cf->args->elts;

    if (jws_alg_parse((char *) value[2].data, &alg) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid algorithm \"%V\", it must be "
                           "HS256, RS256 or ES256", &value[2]);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_hive_read_key(cf, &value[3], &data) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (alg == JWS_HS256) {

        /* the end of the line is no part of the secret */

        while (data.len && (data.data[data.len - 1] == LF
                            || data.data[data.len - 1] == CR))
        {
            data.len--;
        }
    }

    rc = jws_keys_add(hmcf->keys, (char *) value[1].data, alg, data.data,
                      data.len, &error);

    ngx_explicit_memzero(data.data, data.len);
    ngx_pfree(cf->temp_pool, data.data);

    if (rc != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the key \"%V\" in \"%V\" cannot be used: %s",
                           &value[1], &value[3], error);
        return NGX_CONF_ERROR;
    }

    hmcf->nkeys++;

    return NGX_CONF_OK;
}


/* hive_websocket_ping INTERVAL TIMEOUT */
static char *
ngx_http_hive_ping_conf(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hive_main_conf_t *hmcf = conf;

    ngx_str_t   *value;
    ngx_msec_t   interval, timeout;

    if (hmcf->ping_interval != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    interval = ngx_parse_time(&value[1], 0);
    timeout = ngx_parse_time(&value[2], 0);

    if (interval == (ngx_msec_t) NGX_ERROR || interval < 1000
        || timeout == (ngx_msec_t) NGX_ERROR || timeout < 1000)
    {
        return "takes the time between two pings and the time for an answer, "
               "each at least 1s";
    }

    hmcf->ping_interval = interval;
    hmcf->ping_timeout = timeout;

    return NGX_CONF_OK;
}


static char *
ngx_http_hive_origins(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hive_main_conf_t *hmcf = conf;

    ngx_str_t   *value, *origin;
    ngx_uint_t   i;

    value = cf->args->elts;

    if (hmcf->origins == NULL) {
        hmcf->origins = ngx_array_create(cf->pool, 4, sizeof(ngx_str_t));
        if (hmcf->origins == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "http://", 7) != 0
            && ngx_strncmp(value[i].data, "https://", 8) != 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid origin \"%V\", it must be as browsers "
                               "send it: https://example.org", &value[i]);
            return NGX_CONF_ERROR;
        }

        origin = ngx_array_push(hmcf->origins);
        if (origin == NULL) {
            return NGX_CONF_ERROR;
        }

        *origin = value[i];
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_hive_read_key(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *data)
{
    ssize_t     n;
    ngx_fd_t    fd;
    ngx_int_t   rc;

    if (ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    data->data = ngx_palloc(cf->temp_pool, NGX_HTTP_HIVE_KEY_FILE_MAX);
    if (data->data == NULL) {
        return NGX_ERROR;
    }

    fd = ngx_open_file(name->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    rc = NGX_ERROR;
    n = ngx_read_fd(fd, data->data, NGX_HTTP_HIVE_KEY_FILE_MAX);

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_fd_n " \"%V\" failed", name);

    } else if (n == NGX_HTTP_HIVE_KEY_FILE_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the key file \"%V\" is too large", name);

    } else {
        data->len = n;
        rc = NGX_OK;
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", name);
    }

    return rc;
}


static char *
ngx_http_hive_deadline(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hive_main_conf_t *hmcf = conf;

    ngx_str_t   *value;
    ngx_msec_t   time, *deadline;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "read") == 0) {
        deadline = &hmcf->deadlines[LIMIT_READ];

    } else if (ngx_strcmp(value[1].data, "write") == 0) {
        deadline = &hmcf->deadlines[LIMIT_WRITE];

    } else if (ngx_strcmp(value[1].data, "auth") == 0) {
        deadline = &hmcf->deadlines[LIMIT_AUTH];

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid class \"%V\", it must be "
                           "read, write or auth", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (*deadline != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    time = ngx_parse_time(&value[2], 0);
    if (time == (ngx_msec_t) NGX_ERROR || time == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\"", &value[2]);
        return NGX_CONF_ERROR;
    }

    *deadline = time;

    return NGX_CONF_OK;
}
