
/*
 * Problem documents (RFC 9457), and the filters that give every reply of our
 * locations its X-Request-Id and nginx's own error pages the same form.
 */


#include "ngx_http_hive.h"


typedef struct {
    ngx_uint_t    status;
    const char   *title;
    const char   *code;         /* when nginx itself refuses */
    const char   *detail;
} ngx_http_hive_status_t;


static ngx_int_t ngx_http_hive_refuse(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_buf_t *b, ngx_uint_t status);
static ngx_buf_t *ngx_http_hive_document(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_uint_t status, const char *code,
    const char *detail, const char *errors);
static ngx_int_t ngx_http_hive_substitute(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);
static ngx_http_hive_status_t *ngx_http_hive_status(ngx_uint_t status);


static ngx_http_hive_status_t  ngx_http_hive_statuses[] = {

    { 400, "Bad Request", "malformed_request",
      "the request could not be read" },
    { 401, "Unauthorized", "unauthorized", "credentials are required" },
    { 403, "Forbidden", "forbidden", "access is not allowed" },
    { 404, "Not Found", "not_found", "there is nothing here" },
    { 405, "Method Not Allowed", "method_not_allowed",
      "the method is not allowed" },
    { 408, "Request Timeout", "request_timeout",
      "the request was not sent in time" },
    { 411, "Length Required", "length_required",
      "the length of the body is required" },
    { 412, "Precondition Failed", "precondition_failed",
      "a precondition does not hold" },
    { 413, "Content Too Large", "body_too_large",
      "the body is larger than this operation takes" },
    { 414, "URI Too Long", "uri_too_long", "the address is too long" },
    { 415, "Unsupported Media Type", "unsupported_media_type",
      "the body must be application/json" },
    { 422, "Unprocessable Content", "invalid_fields", "fields are not valid" },
    { 429, "Too Many Requests", "too_many_requests",
      "there were too many requests" },
    { 500, "Internal Server Error", "internal_error",
      "the request could not be completed" },
    { 502, "Bad Gateway", "bad_gateway", "the request could not be completed" },
    { 503, "Service Unavailable", "unavailable",
      "the service is not available at the moment" },
    { 504, "Gateway Timeout", "deadline_exceeded",
      "the request was not finished within its time" },

    { 0, "Error", "error", "the request could not be completed" }
};


ngx_int_t
ngx_http_hive_problem(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_uint_t status, const char *code, const char *detail)
{
    ngx_buf_t  *b;

    ctx->code = code;

    b = ngx_http_hive_document(r, ctx, status, code, detail, NULL);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_hive_refuse(r, ctx, b, status);
}


ngx_int_t
ngx_http_hive_problem_field(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    const char *field, const char *code, const char *message)
{
    u_char     *p, *errors;
    size_t      len;
    ngx_buf_t  *b;

    ctx->code = "invalid_parameter";

    len = sizeof("[{\"field\":\"\",\"code\":\"\",\"message\":\"\"}]")
          + ngx_strlen(field) + ngx_strlen(code) + ngx_strlen(message);

    errors = ngx_pnalloc(r->pool, len);
    if (errors == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_sprintf(errors, "[{\"field\":\"%s\",\"code\":\"%s\","
                            "\"message\":\"%s\"}]", field, code, message);
    *p = '\0';

    b = ngx_http_hive_document(r, ctx, 422, ctx->code,
                               "a parameter of the path is not valid",
                               (char *) errors);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_hive_refuse(r, ctx, b, 422);
}


static ngx_int_t
ngx_http_hive_refuse(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_buf_t *b, ngx_uint_t status)
{
    ngx_int_t  rc;

    r->expect_tested = 1;

    if (status == NGX_HTTP_REQUEST_ENTITY_TOO_LARGE) {

        /*
         * There is no end to wait for: the connection is closed, after
         * some reading, so that the client gets to see the reply.
         */

        r->keepalive = 0;
        r->lingering_close = 1;

#if (NGX_HTTP_V2)
        if (r->stream) {
            r->stream->skip_data = 1;
        }
#endif

    } else if (r->request_body == NULL) {

        rc = ngx_http_discard_request_body(r);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return ngx_http_hive_send(r, status, &ngx_http_hive_type_problem, b->pos,
                              b->last - b->pos);
}


static ngx_buf_t *
ngx_http_hive_document(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_uint_t status, const char *code, const char *detail,
    const char *errors)
{
    size_t                   len;
    ngx_buf_t               *b;
    ngx_http_hive_status_t  *s;

    s = ngx_http_hive_status(status);

    len = sizeof("{\"type\":\"about:blank\",\"title\":\"\",\"status\":000,"
                 "\"detail\":\"\",\"code\":\"\",\"request_id\":\"\","
                 "\"errors\":}")
          + ngx_strlen(s->title) + ngx_strlen(detail) + ngx_strlen(code)
          + NGX_HTTP_HIVE_ID_LEN + (errors ? ngx_strlen(errors) : 0);

    b = ngx_create_temp_buf(r->pool, len);
    if (b == NULL) {
        return NULL;
    }

    b->last = ngx_sprintf(b->last, "{\"type\":\"about:blank\","
                                   "\"title\":\"%s\",\"status\":%ui,"
                                   "\"detail\":\"%s\",\"code\":\"%s\","
                                   "\"request_id\":\"",
                          s->title, status, detail, code);

    b->last = ngx_hex_dump(b->last, ctx->request_id, 16);
    *b->last++ = '"';

    if (errors) {
        b->last = ngx_sprintf(b->last, ",\"errors\":%s", errors);
    }

    *b->last++ = '}';

    return b;
}


static ngx_http_hive_status_t *
ngx_http_hive_status(ngx_uint_t status)
{
    ngx_http_hive_status_t  *s;

    for (s = ngx_http_hive_statuses; s->status; s++) {
        if (s->status == status) {
            break;
        }
    }

    return s;
}


ngx_int_t
ngx_http_hive_header_filter(ngx_http_request_t *r)
{
    u_char                    *id;
    ngx_http_hive_ctx_t       *ctx;
    ngx_http_hive_loc_conf_t  *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hive_module);

    if (!hlcf->enable || r != r->main) {
        return ngx_http_hive_next_header_filter(r);
    }

    ctx = ngx_http_hive_get_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (!ctx->headers_sent) {
        ctx->headers_sent = 1;

        id = ngx_pnalloc(r->pool, NGX_HTTP_HIVE_ID_LEN);
        if (id == NULL) {
            return NGX_ERROR;
        }

        ngx_hex_dump(id, ctx->request_id, 16);

        if (ngx_http_hive_header_out(r, "X-Request-Id",
                                     sizeof("X-Request-Id") - 1, id,
                                     NGX_HTTP_HIVE_ID_LEN)
            == NULL)
        {
            return NGX_ERROR;
        }
    }

    if (!ctx->answered && r->headers_out.status >= 400) {
        if (ngx_http_hive_substitute(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_exiting) {

        /* the next request will find the new process, should it know */

        r->keepalive = 0;
    }

    return ngx_http_hive_next_header_filter(r);
}


static ngx_int_t
ngx_http_hive_substitute(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    ngx_http_hive_status_t  *s;

    s = ngx_http_hive_status(r->headers_out.status);

    if (ctx->code == NULL) {
        ctx->code = s->code;
    }

    ctx->substitute = ngx_http_hive_document(r, ctx, r->headers_out.status,
                                             ctx->code, s->detail, NULL);
    if (ctx->substitute == NULL) {
        return NGX_ERROR;
    }

    r->headers_out.content_type = ngx_http_hive_type_problem;
    r->headers_out.content_type_len = ngx_http_hive_type_problem.len;
    r->headers_out.content_type_lowcase = NULL;

    r->headers_out.content_length_n = ctx->substitute->last
                                      - ctx->substitute->pos;

    return NGX_OK;
}


ngx_int_t
ngx_http_hive_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_buf_t            *b;
    ngx_chain_t           out, *cl;
    ngx_http_hive_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);

    if (ctx == NULL || in == NULL
        || (ctx->substitute == NULL && !ctx->substituted))
    {
        return ngx_http_hive_next_body_filter(r, in);
    }

    /* what nginx would have said is dropped, ours goes out once */

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
    }

    if (ctx->substituted) {
        return ngx_http_hive_next_body_filter(r, NULL);
    }

    b = ctx->substitute;
    b->last_buf = 1;
    b->last_in_chain = 1;

    ctx->substitute = NULL;
    ctx->substituted = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_hive_next_body_filter(r, &out);
}
