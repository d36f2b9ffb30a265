
/*
 * From a reply record to an HTTP response.
 */


#include "ngx_http_hive.h"


typedef struct {
    ngx_str_t   wire;           /* lower-case */
    ngx_str_t   name;           /* as it is sent; empty: never */
} ngx_http_hive_name_t;


static ngx_int_t ngx_http_hive_reply_headers(ngx_http_request_t *r,
    wire_reply_t *reply);
static ngx_int_t ngx_http_hive_reply_header(ngx_http_request_t *r,
    wire_header_t *header);
static ngx_http_hive_name_t *ngx_http_hive_reply_name(slice_t *name);
static void ngx_http_hive_reply_code(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, slice_t *body);
static ngx_int_t ngx_http_hive_send_body(ngx_http_request_t *r, u_char *body,
    size_t len);
static void ngx_http_hive_status_line(ngx_http_request_t *r);


ngx_str_t  ngx_http_hive_type_json = ngx_string("application/json");
ngx_str_t  ngx_http_hive_type_problem = ngx_string("application/problem+json");


/* what a worker may say of a reply; framing is nginx's own */

static ngx_http_hive_name_t  ngx_http_hive_names[] = {
    { ngx_string("etag"), ngx_string("ETag") },
    { ngx_string("location"), ngx_string("Location") },
    { ngx_string("cache-control"), ngx_string("Cache-Control") },
    { ngx_string("retry-after"), ngx_string("Retry-After") },
    { ngx_string("idempotency-replayed"), ngx_string("Idempotency-Replayed") },
    { ngx_string("link"), ngx_string("Link") },
    { ngx_string("warning"), ngx_string("Warning") },
    { ngx_string("www-authenticate"), ngx_string("WWW-Authenticate") },
    { ngx_string("content-disposition"), ngx_string("Content-Disposition") },
    { ngx_string("content-language"), ngx_string("Content-Language") },
    { ngx_string("vary"), ngx_string("Vary") },
    { ngx_null_string, ngx_null_string }
};


void
ngx_http_hive_reply(ngx_http_hive_ctx_t *ctx, wire_record_t *record)
{
    u_char              *body;
    ngx_int_t            rc;
    wire_reply_t         reply;
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ctx->streaming || wire_get_reply(record, &reply) != WIRE_OK
        || reply.status < 200)
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "worker %V sent a reply that cannot be read",
                      &ctx->call.peer->name);

        ngx_http_hive_end(ctx, ctx->streaming ? NGX_ERROR
                               : ngx_http_hive_problem(r, ctx,
                                     NGX_HTTP_BAD_GATEWAY, "bad_gateway",
                                     "the reply of the worker was not valid"));
        return;
    }

    if (record->type == WIRE_REPLY) {

        /* none of what follows may send a CANCEL for it */

        ngx_http_hive_call_release(&ctx->call);
    }

    if (ngx_http_hive_reply_headers(r, &reply) != NGX_OK) {
        ngx_http_hive_end(ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ctx->answered = 1;

    r->disable_not_modified = 1;
    r->headers_out.status = reply.status;

    if (record->type == WIRE_HEAD) {
        r->headers_out.content_length_n = -1;

        ngx_http_hive_status_line(r);

        rc = ngx_http_send_header(r);

        if (rc == NGX_ERROR || rc > NGX_OK) {
            ngx_http_hive_end(ctx, NGX_ERROR);
            return;
        }

        ngx_http_hive_stream_begin(ctx, reply.body);
        return;
    }

    if (reply.status >= 400) {
        ngx_http_hive_reply_code(r, ctx, &reply.body);
    }

    body = NULL;

    if (reply.body.len && r->method != NGX_HTTP_HEAD) {
        body = ngx_pnalloc(r->pool, reply.body.len);
        if (body == NULL) {
            ngx_http_hive_end(ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
            return;
        }

        ngx_memcpy(body, reply.body.data, reply.body.len);
    }

    /* without a body these say nothing of the length that it would have */

    r->headers_out.content_length_n =
                     ((r->method == NGX_HTTP_HEAD && reply.body.len == 0)
                      || reply.status == NGX_HTTP_NOT_MODIFIED)
                     ? -1 : (off_t) reply.body.len;

    ngx_http_hive_end(ctx, ngx_http_hive_send_body(r, body, reply.body.len));
}


static ngx_int_t
ngx_http_hive_reply_headers(ngx_http_request_t *r, wire_reply_t *reply)
{
    ngx_uint_t  i;

    for (i = 0; i < reply->nheaders; i++) {
        if (ngx_http_hive_reply_header(r, &reply->headers[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_reply_header(ngx_http_request_t *r, wire_header_t *header)
{
    size_t                 i;
    u_char                *value;
    ngx_table_elt_t       *h;
    ngx_http_hive_name_t  *name;

    /* a line break would begin another header */

    for (i = 0; i < header->value.len; i++) {
        if ((u_char) header->value.data[i] < 0x20
            && header->value.data[i] != '\t')
        {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "a header of the worker's reply is not valid");
            return NGX_OK;
        }
    }

    value = ngx_pnalloc(r->pool, header->value.len + 1);
    if (value == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(value, header->value.data, header->value.len);
    value[header->value.len] = '\0';

    if (slice_equal(header->name, SLICE("content-type"))) {
        r->headers_out.content_type.data = value;
        r->headers_out.content_type.len = header->value.len;
        r->headers_out.content_type_len = header->value.len;
        r->headers_out.content_type_lowcase = NULL;
        return NGX_OK;
    }

    name = ngx_http_hive_reply_name(&header->name);

    if (name == NULL) {
        return NGX_OK;
    }

    h = ngx_http_hive_header_out(r, (char *) name->name.data, name->name.len,
                                 value, header->value.len);
    if (h == NULL) {
        return NGX_ERROR;
    }

    if (name == ngx_http_hive_names) {
        r->headers_out.etag = h;
    }

    return NGX_OK;
}


static ngx_http_hive_name_t *
ngx_http_hive_reply_name(slice_t *name)
{
    ngx_http_hive_name_t  *n;

    for (n = ngx_http_hive_names; n->wire.len; n++) {
        if (n->wire.len == name->len
            && ngx_memcmp(n->wire.data, name->data, name->len) == 0)
        {
            return n;
        }
    }

    return NULL;
}


/*
 * The code of a worker's problem document, for the access log. Inside a JSON
 * string the quotes of what is looked for would be escaped.
 */
static void
ngx_http_hive_reply_code(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    slice_t *body)
{
    u_char  *p, *last, *end, *code;

    p = (u_char *) body->data;
    last = p + body->len;

    p = ngx_strlcasestrn(p, last, (u_char *) "\"code\":\"",
                         sizeof("\"code\":\"") - 2);
    if (p == NULL) {
        return;
    }

    p += sizeof("\"code\":\"") - 1;
    end = ngx_strlchr(p, last, '"');

    if (end == NULL || end - p > 64) {
        return;
    }

    code = ngx_pnalloc(r->pool, end - p + 1);
    if (code == NULL) {
        return;
    }

    ngx_cpystrn(code, p, end - p + 1);
    ctx->code = (char *) code;
}


ngx_int_t
ngx_http_hive_send(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t *type,
    u_char *body, size_t len)
{
    ngx_http_hive_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);
    ctx->answered = 1;

    r->disable_not_modified = 1;
    r->headers_out.status = status;
    r->headers_out.content_length_n = len;

    if (type) {
        r->headers_out.content_type = *type;
        r->headers_out.content_type_len = type->len;
        r->headers_out.content_type_lowcase = NULL;
    }

    return ngx_http_hive_send_body(r, body, len);
}


static ngx_int_t
ngx_http_hive_send_body(ngx_http_request_t *r, u_char *body, size_t len)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    if (len == 0) {
        r->header_only = 1;
    }

    ngx_http_hive_status_line(r);

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only || body == NULL) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = body;
    b->last = body + len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/* A status that nginx has no text for. */
static void
ngx_http_hive_status_line(ngx_http_request_t *r)
{
    if (r->headers_out.status == 422) {
        ngx_str_set(&r->headers_out.status_line, "422 Unprocessable Content");
    }
}


ngx_table_elt_t *
ngx_http_hive_header_out(ngx_http_request_t *r, char *name, size_t len,
    u_char *value, size_t value_len)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = len;
    h->value.data = value;
    h->value.len = value_len;
    h->lowcase_key = NULL;
    ngx_http_hive_header_init(h);

    return h;
}
