
/*
 * From an HTTP request to its record on the wire.
 */


#include "ngx_http_hive.h"


static void ngx_http_hive_forward(ngx_http_hive_ctx_t *ctx,
    wire_request_t *rq);
static void ngx_http_hive_forward_header(wire_request_t *rq,
    ngx_table_elt_t *h);
static ngx_int_t ngx_http_hive_copy_body(ngx_http_request_t *r,
    uint8_t *body, size_t len);
static ngx_int_t ngx_http_hive_parse_trace(ngx_str_t *value, u_char *id);


/* what a worker gets to see of a request's header, besides client-ip */

static ngx_str_t  ngx_http_hive_forwarded[] = {
    ngx_string("accept"),
    ngx_string("if-match"),
    ngx_string("user-agent"),
    ngx_string("content-type"),
    ngx_string("if-none-match"),
    ngx_string("idempotency-key"),
    ngx_null_string
};


ngx_int_t
ngx_http_hive_put_request(ngx_http_hive_call_t *call,
    ngx_http_hive_peer_t *peer)
{
    ngx_http_hive_ctx_t *ctx = (ngx_http_hive_ctx_t *) call;

    int                  rc;
    size_t               len;
    uint8_t             *body;
    wire_buf_t          *out;
    uint32_t             records;
    size_t               before;
    ngx_msec_int_t       left;
    wire_request_t       rq;
    ngx_http_request_t  *r;

    r = ctx->request;
    out = &peer->out;
    len = (size_t) ctx->body_len;

    left = (ngx_msec_int_t) (call->deadline - ngx_current_msec);

    rq.operation.data = ctx->op->name;
    rq.operation.len = ngx_strlen(ctx->op->name);
    rq.flags = (r->method == NGX_HTTP_HEAD ? WIRE_HEAD_ONLY : 0)
               | (call->executed ? WIRE_RESENT : 0);
    rq.principal = ctx->principal;
    rq.user = ctx->user;
    rq.session = ctx->session;
    rq.deadline_ms = left > 0 ? (uint32_t) left : 0;
    rq.nparams = ctx->nparams;
    ngx_memcpy(rq.params, ctx->params, ctx->nparams * sizeof(slice_t));
    rq.query.data = (char *) ctx->query.data;
    rq.query.len = ctx->query.len;
    rq.body = SLICE_NONE;

    ngx_http_hive_forward(ctx, &rq);

    ngx_http_hive_trace(r, ctx);

    ngx_memcpy(rq.request_id, ctx->request_id, sizeof(rq.request_id));
    ngx_memcpy(rq.trace_id, ctx->trace_id, sizeof(rq.trace_id));
    ngx_memcpy(rq.span_id, ctx->span_id, sizeof(rq.span_id));

    before = out->len;
    records = out->records;

    rc = wire_put_request_body(out, call->id, &rq, len, &body);

    if (rc == WIRE_INVALID) {
        return ngx_http_hive_problem(r, ctx, NGX_HTTP_BAD_REQUEST,
                                     "malformed_request",
                                     "a header or parameter is too long");
    }

    if (rc != WIRE_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (len && ngx_http_hive_copy_body(r, body, len) != NGX_OK) {

        /* it must not leave with the batch */

        out->len = before;
        out->records = records;

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DONE;
}


static void
ngx_http_hive_forward(ngx_http_hive_ctx_t *ctx, wire_request_t *rq)
{
    ngx_uint_t           i;
    ngx_str_t           *name;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    r = ctx->request;

    rq->nheaders = 1;
    rq->headers[0].name = SLICE("client-ip");
    rq->headers[0].value.data = (char *) r->connection->addr_text.data;
    rq->headers[0].value.len = r->connection->addr_text.len;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        for (name = ngx_http_hive_forwarded; name->len; name++) {

            if (h[i].key.len == name->len
                && ngx_memcmp(h[i].lowcase_key, name->data, name->len) == 0)
            {
                ngx_http_hive_forward_header(rq, &h[i]);
                break;
            }
        }
    }
}


/* The first of a name is the one that counts. */
static void
ngx_http_hive_forward_header(wire_request_t *rq, ngx_table_elt_t *h)
{
    ngx_uint_t      i;
    wire_header_t  *header;

    for (i = 1; i < rq->nheaders; i++) {
        if (rq->headers[i].name.len == h->key.len
            && ngx_memcmp(rq->headers[i].name.data, h->lowcase_key,
                          h->key.len) == 0)
        {
            return;
        }
    }

    /* there is room for one of each */

    header = &rq->headers[rq->nheaders++];

    header->name.data = (char *) h->lowcase_key;
    header->name.len = h->key.len;
    header->value.data = (char *) h->value.data;
    header->value.len = h->value.len;
}


/* From nginx's buffers, in memory and in its temporary file. */
static ngx_int_t
ngx_http_hive_copy_body(ngx_http_request_t *r, uint8_t *body, size_t len)
{
    size_t        size;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    for (cl = r->request_body->bufs; cl && len; cl = cl->next) {
        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            size = ngx_min((size_t) (b->last - b->pos), len);
            ngx_memcpy(body, b->pos, size);

        } else if (b->in_file) {
            size = (size_t) ngx_min(b->file_last - b->file_pos, (off_t) len);
            n = ngx_read_file(b->file, body, size, b->file_pos);

            if (n != (ssize_t) size) {
                ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                              "reading the body back from \"%V\" failed",
                              &b->file->name);
                return NGX_ERROR;
            }

        } else {
            continue;
        }

        body += size;
        len -= size;
    }

    return len ? NGX_ERROR : NGX_OK;
}


ngx_table_elt_t *
ngx_http_hive_header_in(ngx_http_request_t *r, char *name, size_t len)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == len
            && ngx_memcmp(h[i].lowcase_key, name, len) == 0)
        {
            return &h[i];
        }
    }
}


void
ngx_http_hive_trace(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    uint64_t          span;
    ngx_table_elt_t  *h;

    if (ctx->traced) {
        return;
    }

    ctx->traced = 1;

    h = ngx_http_hive_header_in(r, "traceparent", sizeof("traceparent") - 1);

    if (h == NULL || ngx_http_hive_parse_trace(&h->value, ctx->trace_id)
                     != NGX_OK)
    {
        ngx_memcpy(ctx->trace_id, ctx->request_id, sizeof(ctx->trace_id));
    }

    span = ngx_http_hive_random();
    ngx_memcpy(ctx->span_id, &span, sizeof(ctx->span_id));
}


/* W3C Trace Context: version, 32 digits of trace id, 16 of span, flags. */
static ngx_int_t
ngx_http_hive_parse_trace(ngx_str_t *value, u_char *id)
{
    u_char      c, digit, all;
    ngx_uint_t  i;

    if (value->len != sizeof("00-0af7651916cd43dd8448eb211c80319c-"
                             "b7ad6b7169203331-01") - 1
        || value->data[0] != '0' || value->data[1] != '0')
    {
        return NGX_DECLINED;
    }

    all = 0;

    for (i = 2; i < value->len; i++) {
        c = value->data[i];

        if (i == 2 || i == 35 || i == 52) {
            if (c != '-') {
                return NGX_DECLINED;
            }

            continue;
        }

        if (c >= '0' && c <= '9') {
            digit = c - '0';

        } else if (c >= 'a' && c <= 'f') {
            digit = c - 'a' + 10;

        } else {
            return NGX_DECLINED;
        }

        if (i > 2 && i < 35) {
            all |= digit;

            if (i % 2) {
                id[(i - 3) / 2] = digit << 4;

            } else {
                id[(i - 3) / 2] |= digit;
            }
        }
    }

    return all ? NGX_OK : NGX_DECLINED;
}
