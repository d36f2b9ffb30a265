
/*
 * The content handler: which operation a request means, who asks, whether its
 * body may come, and then either the reply or a worker.
 */


#include "ngx_http_hive_hub.h"


#define NGX_HTTP_HIVE_ALLOW_LEN                                               \
    sizeof("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


static ngx_int_t ngx_http_hive_path(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_str_t *path);
static ngx_uint_t ngx_http_hive_method(ngx_http_request_t *r);
static ngx_int_t ngx_http_hive_unrouted(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, route_status_t status, route_match_t *match);
static ngx_int_t ngx_http_hive_allow(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_uint_t methods);
static ngx_int_t ngx_http_hive_authenticate(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_http_hive_token_t **token);
static ngx_int_t ngx_http_hive_unauthorized(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_int_t rc, jws_status_t reason);
static ngx_int_t ngx_http_hive_answer(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_http_hive_token_t *token);
static ngx_int_t ngx_http_hive_check_body(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);
static ngx_int_t ngx_http_hive_json_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_hive_keep_params(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, route_match_t *match);
static void ngx_http_hive_body_handler(ngx_http_request_t *r);


/* text is decoded into it; there is one request at a time */

static route_match_t  ngx_http_hive_match;


ngx_int_t
ngx_http_hive_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_str_t                   path;
    route_match_t              *match;
    route_status_t              status;
    ngx_http_hive_ctx_t        *ctx;
    ngx_http_hive_token_t      *token;
    ngx_http_hive_main_conf_t  *hmcf;

    if (r != r->main) {

        /* a subrequest has no address of its own, only its parent's */

        return NGX_HTTP_NOT_FOUND;
    }

    if (r->err_status >= NGX_HTTP_BAD_REQUEST) {

        /* an "error_page" has led here: ours is the document of that error */

        return r->err_status;
    }

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    ctx = ngx_http_hive_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_hive_path(r, ctx, &path) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    match = &ngx_http_hive_match;

    status = route_match(hmcf->routes, ngx_http_hive_method(r),
                         (char *) path.data, path.len, match);

    if (status != ROUTE_OK) {
        return ngx_http_hive_unrouted(r, ctx, status, match);
    }

    ctx->op = match->op;
    token = NULL;

    if (ctx->op->access != ACCESS_OPEN) {
        rc = ngx_http_hive_authenticate(r, ctx, &token);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    rc = ngx_http_hive_check_body(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ctx->op->flags & OP_NGINX) {
        return ngx_http_hive_answer(r, ctx, token);
    }

    if (ngx_http_hive_keep_params(r, ctx, match) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked) {
        r->main->count++;
        ngx_http_hive_dispatch(ctx);

        return NGX_DONE;
    }

    ctx->limit_body = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_hive_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


ngx_http_hive_ctx_t *
ngx_http_hive_get_ctx(ngx_http_request_t *r)
{
    uint64_t              id[2];
    ngx_http_hive_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);

    if (ctx) {
        return ctx;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_hive_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    ctx->request = r;
    ctx->started = ngx_http_hive_usec();

    id[0] = ngx_http_hive_random();
    id[1] = ngx_http_hive_random();

    ngx_memcpy(ctx->request_id, id, sizeof(ctx->request_id));

    ngx_http_set_ctx(r, ctx, ngx_http_hive_module);

    return ctx;
}


/*
 * Rewrite phase: the token of "/ws/{token}" is taken out of the request, so
 * that no log has it.
 */
ngx_int_t
ngx_http_hive_secret_handler(ngx_http_request_t *r)
{
    u_char                    *p, *last;
    ngx_str_t                  secret, line;
    ngx_http_hive_ctx_t       *ctx;
    ngx_http_hive_loc_conf_t  *hlcf;

    if (r != r->main || r->uri.len <= 4
        || ngx_strncmp(r->uri.data, "/ws/", 4) != 0)
    {
        return NGX_DECLINED;
    }

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hive_module);

    if (!hlcf->enable) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_hive_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->secret.len) {
        return NGX_DECLINED;
    }

    secret.len = r->uri.len - 4;
    secret.data = ngx_pstrdup(r->pool, &(ngx_str_t) { secret.len,
                                                      r->uri.data + 4 });

    line.data = ngx_pnalloc(r->pool, sizeof("GET /ws/- HTTP/1.1") + 16
                                     + r->args.len);

    if (secret.data == NULL || line.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->secret = secret;

    /* "GET /ws/-?args HTTP/1.1", of which the address is a part */

    p = ngx_cpymem(line.data, r->method_name.data,
                   ngx_min(r->method_name.len, 16));
    *p++ = ' ';

    r->unparsed_uri.data = p;
    p = ngx_cpymem(p, "/ws/-", 5);
    ngx_str_set(&r->uri, "/ws/-");

    if (r->args.len) {
        *p++ = '?';
        last = ngx_cpymem(p, r->args.data, r->args.len);
        r->args.data = p;
        p = last;
    }

    r->unparsed_uri.len = p - r->unparsed_uri.data;

    p = ngx_cpymem(p, " HTTP/1.1", 9);
    line.len = p - line.data;

    r->request_line = line;

    return NGX_DECLINED;
}


/* As the client sent it; or, after a rewrite, as nginx has it now. */
static ngx_int_t
ngx_http_hive_path(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_str_t *path)
{
    u_char     *p;
    uintptr_t   escape;

    if (r->valid_unparsed_uri) {

        *path = r->unparsed_uri;

        p = ngx_strlchr(path->data, path->data + path->len, '?');

        if (p) {
            ctx->query.data = p + 1;
            ctx->query.len = path->data + path->len - ctx->query.data;
            path->len = p - path->data;
        }

        return NGX_OK;
    }

    *path = r->uri;
    ctx->query = r->args;

    escape = 2 * ngx_escape_uri(NULL, r->uri.data, r->uri.len,
                                NGX_ESCAPE_URI);
    if (escape == 0) {
        return NGX_OK;
    }

    path->data = ngx_pnalloc(r->pool, r->uri.len + escape);
    if (path->data == NULL) {
        return NGX_ERROR;
    }

    p = (u_char *) ngx_escape_uri(path->data, r->uri.data, r->uri.len,
                                  NGX_ESCAPE_URI);
    path->len = p - path->data;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_hive_method(ngx_http_request_t *r)
{
    switch (r->method) {

    case NGX_HTTP_GET:
    case NGX_HTTP_HEAD:
        return METHOD_GET;

    case NGX_HTTP_POST:
        return METHOD_POST;

    case NGX_HTTP_PUT:
        return METHOD_PUT;

    case NGX_HTTP_PATCH:
        return METHOD_PATCH;

    case NGX_HTTP_DELETE:
        return METHOD_DELETE;

    default:
        return 0;
    }
}


static ngx_int_t
ngx_http_hive_unrouted(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    route_status_t status, route_match_t *match)
{
    ngx_int_t  rc;

    switch (status) {

    case ROUTE_METHOD:

        if (ngx_http_hive_allow(r, ctx, match->allow) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        if (r->method == NGX_HTTP_OPTIONS) {
            rc = ngx_http_discard_request_body(r);

            if (rc != NGX_OK) {
                return rc;
            }

            return ngx_http_hive_send(r, NGX_HTTP_NO_CONTENT, NULL, NULL, 0);
        }

        return ngx_http_hive_problem(r, ctx, NGX_HTTP_NOT_ALLOWED,
                                     "method_not_allowed",
                                     "this resource does not have the method");

    case ROUTE_BAD_ENCODING:
        return ngx_http_hive_problem(r, ctx, NGX_HTTP_BAD_REQUEST,
                                     "malformed_path",
                                     "the path is not percent-encoded UTF-8");

    case ROUTE_BAD_UUID:
        return ngx_http_hive_problem_field(r, ctx, match->bad_param,
                                           "invalid_uuid",
                                           "must be a UUID");

    default: /* ROUTE_NOT_FOUND */
        return ngx_http_hive_problem(r, ctx, NGX_HTTP_NOT_FOUND,
                                     "route_not_found",
                                     "there is no such resource");
    }
}


static ngx_int_t
ngx_http_hive_allow(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_uint_t methods)
{
    u_char    *value, *p;
    method_t   method;

    value = ngx_pnalloc(r->pool, NGX_HTTP_HIVE_ALLOW_LEN);
    if (value == NULL) {
        return NGX_ERROR;
    }

    p = value;

    for (method = METHOD_GET; method <= METHOD_DELETE; method <<= 1) {

        if (!(methods & method)) {
            continue;
        }

        p = ngx_sprintf(p, "%s, ", method_name(method));

        if (method == METHOD_GET) {
            p = ngx_cpymem(p, "HEAD, ", sizeof("HEAD, ") - 1);
        }
    }

    p = ngx_cpymem(p, "OPTIONS", sizeof("OPTIONS") - 1);

    if (ngx_http_hive_header_out(r, "Allow", sizeof("Allow") - 1, value,
                                 p - value)
        == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* NGX_DECLINED: go on; otherwise it has been refused. */
static ngx_int_t
ngx_http_hive_authenticate(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_http_hive_token_t **token)
{
    ngx_int_t                   rc;
    jws_status_t                reason;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    rc = ngx_http_hive_token(r, hmcf, token, &reason);

    if (rc != NGX_OK) {
        return ngx_http_hive_unauthorized(r, ctx, rc, reason);
    }

    ctx->user = (*token)->user;
    ctx->session = (*token)->session;
    ctx->principal = (*token)->principal;

    if (ctx->op->access == ACCESS_ADMIN
        && !(ctx->principal & WIRE_SUPERUSER))
    {
        return ngx_http_hive_problem(r, ctx, NGX_HTTP_FORBIDDEN, "forbidden",
                                     "this is for administrators");
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_hive_unauthorized(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_int_t rc, jws_status_t reason)
{
    u_char      *value, *p;
    const char  *text;

    if (rc == NGX_DECLINED) {
        if (ngx_http_hive_add_header(r, "WWW-Authenticate",
                                     "Bearer realm=\"hive\"")
            == NULL)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_hive_problem(r, ctx, NGX_HTTP_UNAUTHORIZED,
                                     "token_missing",
                                     "a bearer token is required");
    }

    if (reason == JWS_NOMEM) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    text = jws_status_text(reason);

    value = ngx_pnalloc(r->pool, sizeof("Bearer realm=\"hive\", "
                                        "error=\"invalid_token\", "
                                        "error_description=\"\"")
                                 + ngx_strlen(text));
    if (value == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_sprintf(value, "Bearer realm=\"hive\", error=\"invalid_token\", "
                           "error_description=\"%s\"", text);

    if (ngx_http_hive_header_out(r, "WWW-Authenticate",
                                 sizeof("WWW-Authenticate") - 1, value,
                                 p - value)
        == NULL)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (reason == JWS_EXPIRED) {
        return ngx_http_hive_problem(r, ctx, NGX_HTTP_UNAUTHORIZED,
                                     "token_expired", "the token has expired");
    }

    return ngx_http_hive_problem(r, ctx, NGX_HTTP_UNAUTHORIZED,
                                 "token_invalid", text);
}


static ngx_int_t
ngx_http_hive_answer(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_http_hive_token_t *token)
{
    u_char     *body;
    ngx_int_t   rc;

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    switch (ctx->op - operations) {

    case OPERATION_health:
        return ngx_http_hive_health(r, ctx);

    case OPERATION_health_ready:
        return ngx_http_hive_health_ready(r, ctx);

    case OPERATION_metrics:
        return ngx_http_hive_metrics(r, ctx);

    case OPERATION_websocket:
    case OPERATION_websocket_token:
        return ngx_http_hive_ws_handler(r, ctx);

    case OPERATION_events:
        return ngx_http_hive_sse_handler(r, ctx);

    case OPERATION_events_history:
        return ngx_http_hive_history_handler(r, ctx);

    case OPERATION_websocket_health:
        return ngx_http_hive_ws_health(r, ctx);

    case OPERATION_websocket_stats:
        return ngx_http_hive_ws_stats(r, ctx);

    case OPERATION_auth_whoami:

        /* a copy: the entry may leave the cache before it is all sent */

        body = ngx_pnalloc(r->pool, token->whoami_len);
        if (body == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        ngx_memcpy(body, token->whoami, token->whoami_len);

        return ngx_http_hive_send(r, NGX_HTTP_OK, &ngx_http_hive_type_json,
                                  body, token->whoami_len);

    default:
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "operation \"%s\" has no answer in nginx",
                      ctx->op->name);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
}


/*
 * Whether the body that is announced may come, before any of it is read:
 * NGX_DECLINED, or else it has been refused.
 */
static ngx_int_t
ngx_http_hive_check_body(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    off_t  length;

    length = r->headers_in.content_length_n;

    ctx->body_max = (off_t) operation_body_max(ctx->op);

    if (length > ctx->body_max) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "client intended to send too large body: %O bytes",
                      length);

        return ngx_http_hive_problem(r, ctx,
                                     NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
                                     "body_too_large",
                                     ctx->body_max
                                     ? "the body is larger than this "
                                       "operation takes"
                                     : "this operation takes no body");
    }

    if (ctx->body_max == 0) {
        return NGX_DECLINED;
    }

    if (length < 0 && !r->headers_in.chunked
        && r->http_version < NGX_HTTP_VERSION_20)
    {
        return ngx_http_hive_problem(r, ctx, NGX_HTTP_LENGTH_REQUIRED,
                                     "length_required",
                                     "the length of the body is required");
    }

    if ((length > 0 || r->headers_in.chunked)
        && ngx_http_hive_json_body(r) != NGX_OK)
    {
        return ngx_http_hive_problem(r, ctx,
                                     NGX_HTTP_UNSUPPORTED_MEDIA_TYPE,
                                     "unsupported_media_type",
                                     "the body must be application/json");
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_hive_json_body(ngx_http_request_t *r)
{
    size_t            len;
    u_char           *p;
    ngx_table_elt_t  *h;

    h = r->headers_in.content_type;

    if (h == NULL) {
        return NGX_DECLINED;
    }

    /* parameters, such as charset, change nothing: JSON is UTF-8 */

    p = ngx_strlchr(h->value.data, h->value.data + h->value.len, ';');
    len = p ? (size_t) (p - h->value.data) : h->value.len;

    while (len && h->value.data[len - 1] == ' ') {
        len--;
    }

    if (len == sizeof("application/json") - 1
        && ngx_strncasecmp(h->value.data, (u_char *) "application/json", len)
           == 0)
    {
        return NGX_OK;
    }

    if (r->method == NGX_HTTP_PATCH
        && len == sizeof("application/merge-patch+json") - 1
        && ngx_strncasecmp(h->value.data,
                           (u_char *) "application/merge-patch+json", len)
           == 0)
    {
        return NGX_OK;
    }

    return NGX_DECLINED;
}


/* Parameters that had to be decoded are in memory that is used again. */
static ngx_int_t
ngx_http_hive_keep_params(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    route_match_t *match)
{
    u_char      *p;
    slice_t     *param;
    ngx_uint_t   i;

    ctx->nparams = match->nparams;

    for (i = 0; i < match->nparams; i++) {
        param = &match->params[i];
        ctx->params[i] = *param;

        if (param->data < match->scratch
            || param->data >= match->scratch + ROUTE_PATH_MAX)
        {
            continue;
        }

        p = ngx_pnalloc(r->pool, param->len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(p, param->data, param->len);
        ctx->params[i].data = (char *) p;
    }

    return NGX_OK;
}


/* The body has come, in buffers or in a file. */
static void
ngx_http_hive_body_handler(ngx_http_request_t *r)
{
    ngx_buf_t            *b;
    ngx_chain_t          *cl;
    ngx_http_hive_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);

    ctx->limit_body = 0;
    ctx->body_len = 0;

    /* one that was discarded before an internal redirect is not there */

    cl = r->request_body ? r->request_body->bufs : NULL;

    for ( /* void */ ; cl; cl = cl->next) {
        b = cl->buf;

        ctx->body_len += ngx_buf_in_memory(b) ? b->last - b->pos
                                    : b->in_file ? b->file_last - b->file_pos
                                                 : 0;
    }

    ngx_http_hive_dispatch(ctx);
}


/* A body of unannounced length is counted as it comes. */
ngx_int_t
ngx_http_hive_request_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_chain_t          *cl;
    ngx_http_hive_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);

    if (ctx && ctx->limit_body) {

        for (cl = in; cl; cl = cl->next) {
            ctx->body_len += cl->buf->last - cl->buf->pos;
        }

        if (ctx->body_len > ctx->body_max) {
            ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                          "client sent too large body: %O bytes",
                          ctx->body_len);

            r->lingering_close = 1;

            return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
    }

    return ngx_http_hive_next_request_body_filter(r, in);
}


uint64_t
ngx_http_hive_usec(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
