
/*
 * The opening handshake of a WebSocket, RFC 6455 section 4, and who is at the
 * other end: a token in the Authorization header, in a subprotocol or in the
 * path, or a ticket, which a worker has to redeem.
 */


#include "ngx_http_hive_hub.h"

#include <ngx_sha1.h>


#define NGX_HTTP_HIVE_WS_GUID  "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define NGX_HTTP_HIVE_WS_PROTOCOL  "hive.v1"
#define NGX_HTTP_HIVE_WS_BEARER    "bearer."


typedef struct {
    ngx_http_hive_upgrade_t     upgrade;        /* first */
    ngx_http_request_t         *request;
    ngx_http_hive_ctx_t        *ctx;
    ngx_event_t                 begin;
    ngx_http_hive_redeem_t      redeem;
    ngx_str_t                   key;
    ngx_uint_t                  protocol;       /* "hive.v1" was offered */
    u_char                      extensions[WS_DEFLATE_ANSWER];
} ngx_http_hive_handshake_t;


static ngx_int_t ngx_http_hive_handshake(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_http_hive_handshake_t **hs);
static ngx_int_t ngx_http_hive_handshake_refuse(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_uint_t status, const char *code,
    const char *detail);
static ngx_int_t ngx_http_hive_upgrade_required(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, const char *detail);
static ngx_int_t ngx_http_hive_header_list(ngx_http_request_t *r, char *name,
    size_t len, ngx_str_t *value);
static ngx_uint_t ngx_http_hive_has_token(ngx_str_t *list, char *token,
    size_t len);
static ngx_uint_t ngx_http_hive_list_next(ngx_str_t *list, ngx_str_t *item);
static ngx_uint_t ngx_http_hive_key_valid(ngx_str_t *key);
static ngx_int_t ngx_http_hive_origin(ngx_http_request_t *r);
static ngx_int_t ngx_http_hive_ws_identify(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_http_hive_handshake_t *hs);
static ngx_int_t ngx_http_hive_ws_welcome_token(ngx_http_hive_handshake_t *hs,
    ngx_str_t *text);
static void ngx_http_hive_ws_redeemed(ngx_http_hive_redeem_t *redeem,
    ngx_int_t rc);
static ngx_int_t ngx_http_hive_ws_unwelcome(ngx_http_hive_handshake_t *hs,
    const char *code, const char *detail);
static ngx_int_t ngx_http_hive_ws_switch(ngx_http_hive_handshake_t *hs);
static ngx_int_t ngx_http_hive_ws_accept(ngx_http_request_t *r,
    ngx_str_t *key);
static void ngx_http_hive_ws_begin_handler(ngx_event_t *ev);
static void ngx_http_hive_handshake_cleanup(void *data);


ngx_int_t
ngx_http_hive_ws_handler(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    ngx_int_t                   rc, ms;
    ngx_str_t                   value;
    ngx_http_hive_handshake_t  *hs;

    rc = ngx_http_hive_handshake(r, ctx, &hs);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_arg(r, (u_char *) "batch_ms", sizeof("batch_ms") - 1, &value)
        == NGX_OK)
    {
        ms = ngx_atoi(value.data, value.len);

        if (ms == NGX_ERROR || ms > 1000) {
            return ngx_http_hive_problem_field(r, ctx, "batch_ms",
                                               "out_of_range",
                                               "must be from 0 to 1000");
        }

        hs->upgrade.batch_ms = ms;
    }

    rc = ngx_http_hive_origin(r);

    if (rc != NGX_OK) {
        return ngx_http_hive_problem(r, ctx, NGX_HTTP_FORBIDDEN,
                                     "origin_refused",
                                     "pages of that origin may not connect");
    }

    return ngx_http_hive_ws_identify(r, ctx, hs);
}


ngx_int_t
ngx_http_hive_echo_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_hive_ctx_t        *ctx;
    ngx_http_hive_handshake_t  *hs;

    if (r != r->main) {
        return NGX_HTTP_NOT_FOUND;
    }

    ctx = ngx_http_hive_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_hive_handshake(r, ctx, &hs);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    hs->upgrade.echo = 1;

    return ngx_http_hive_ws_switch(hs);
}


/* NGX_DECLINED: go on; otherwise the request has been answered. */
static ngx_int_t
ngx_http_hive_handshake(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_http_hive_handshake_t **handshake)
{
    int                         n, bits;
    slice_t                     offer;
    ngx_str_t                   value;
    ngx_http_cleanup_t         *cln;
    ngx_http_hive_handshake_t  *hs;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    if (r->method != NGX_HTTP_GET) {
        return ngx_http_hive_handshake_refuse(r, ctx, NGX_HTTP_NOT_ALLOWED,
                                              "method_not_allowed",
                                              "a WebSocket begins with GET");
    }

    if (r->http_version != NGX_HTTP_VERSION_11) {
        return ngx_http_hive_upgrade_required(r, ctx,
                                              "a WebSocket begins in "
                                              "HTTP/1.1");
    }

    if (ngx_http_hive_header_list(r, "upgrade", 7, &value) != NGX_OK
        || !ngx_http_hive_has_token(&value, "websocket", 9)
        || ngx_http_hive_header_list(r, "connection", 10, &value) != NGX_OK
        || !ngx_http_hive_has_token(&value, "upgrade", 7))
    {
        return ngx_http_hive_upgrade_required(r, ctx,
                                              "this is for WebSocket clients");
    }

    if (ngx_http_hive_header_list(r, "sec-websocket-version", 21, &value)
        != NGX_OK
        || value.len != 2 || ngx_memcmp(value.data, "13", 2) != 0)
    {
        return ngx_http_hive_upgrade_required(r, ctx,
                                              "the version of WebSocket "
                                              "spoken here is 13");
    }

    if (ngx_http_hive_header_list(r, "sec-websocket-key", 17, &value) != NGX_OK
        || !ngx_http_hive_key_valid(&value))
    {
        return ngx_http_hive_handshake_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                              "websocket_key_invalid",
                                              "Sec-WebSocket-Key must be 16 "
                                              "bytes in base64");
    }

    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
        return ngx_http_hive_handshake_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                              "body_unexpected",
                                              "a WebSocket begins without a "
                                              "body");
    }

    hs = ngx_pcalloc(r->pool, sizeof(ngx_http_hive_handshake_t));
    if (hs == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    hs->request = r;
    hs->ctx = ctx;
    hs->key = value;

    hs->begin.handler = ngx_http_hive_ws_begin_handler;
    hs->begin.data = hs;
    hs->begin.log = r->connection->log;

    hs->redeem.handler = ngx_http_hive_ws_redeemed;
    hs->redeem.data = hs;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_hive_handshake_cleanup;
    cln->data = hs;

    if (hmcf->deflate
        && ngx_http_hive_header_list(r, "sec-websocket-extensions", 24, &value)
           == NGX_OK)
    {
        offer.data = (char *) value.data;
        offer.len = value.len;

        n = ws_deflate_negotiate(offer, (char *) hs->extensions,
                                 sizeof(hs->extensions), &bits);
        if (n == -1) {
            return ngx_http_hive_handshake_refuse(r, ctx, NGX_HTTP_BAD_REQUEST,
                                                  "extensions_malformed",
                                                  "Sec-WebSocket-Extensions "
                                                  "is no list of them");
        }

        if (n == 1) {
            hs->upgrade.window = bits;
        }
    }

    *handshake = hs;

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_hive_handshake_refuse(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_uint_t status, const char *code, const char *detail)
{
    ngx_int_t  rc;

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_hive_problem(r, ctx, status, code, detail);
}


static ngx_int_t
ngx_http_hive_upgrade_required(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    const char *detail)
{
    /* HTTP/2 has no such header, and clients refuse a reply with it */

    if ((!ngx_http_hive_is_multiplexed(r)
         && ngx_http_hive_add_header(r, "Upgrade", "websocket") == NULL)
        || ngx_http_hive_add_header(r, "Sec-WebSocket-Version", "13") == NULL)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_hive_handshake_refuse(r, ctx, 426, "upgrade_required",
                                          detail);
}


/* All headers of that name as one list. NGX_DECLINED: there is none. */
static ngx_int_t
ngx_http_hive_header_list(ngx_http_request_t *r, char *name, size_t len,
    ngx_str_t *value)
{
    size_t            size;
    u_char           *p;
    ngx_uint_t        i, pass, n;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    value->data = NULL;
    value->len = 0;
    size = 0;
    n = 0;
    p = NULL;

    for (pass = 0; pass < 2; pass++) {

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

            if (h[i].key.len != len
                || ngx_strncasecmp(h[i].key.data, (u_char *) name, len) != 0)
            {
                continue;
            }

            if (pass == 0) {
                *value = h[i].value;
                size += h[i].value.len + 2;
                n++;
                continue;
            }

            p = ngx_cpymem(p, h[i].value.data, h[i].value.len);
            *p++ = ',';
            *p++ = ' ';
        }

        if (n == 0) {
            return NGX_DECLINED;
        }

        if (n == 1) {
            return NGX_OK;
        }

        if (pass == 0) {
            p = ngx_pnalloc(r->pool, size);
            if (p == NULL) {
                return NGX_DECLINED;
            }

            value->data = p;
        }
    }

    value->len = p - value->data - 2;

    return NGX_OK;
}


/* Takes the next item off a comma-separated list. */
static ngx_uint_t
ngx_http_hive_list_next(ngx_str_t *list, ngx_str_t *item)
{
    u_char  *p, *last;

    while (list->len) {
        p = list->data;
        last = ngx_strlchr(p, p + list->len, ',');

        if (last == NULL) {
            last = p + list->len;
            list->len = 0;

        } else {
            list->len -= last + 1 - p;
            list->data = last + 1;
        }

        while (p < last && (*p == ' ' || *p == '\t')) {
            p++;
        }

        while (p < last && (last[-1] == ' ' || last[-1] == '\t')) {
            last--;
        }

        if (p < last) {
            item->data = p;
            item->len = last - p;
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_hive_has_token(ngx_str_t *value, char *token, size_t len)
{
    ngx_str_t  list, item;

    list = *value;

    while (ngx_http_hive_list_next(&list, &item)) {
        if (item.len == len
            && ngx_strncasecmp(item.data, (u_char *) token, len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_hive_key_valid(ngx_str_t *key)
{
    u_char     buf[24];
    ngx_str_t  decoded;

    if (key->len != 24 || key->data[22] != '=' || key->data[23] != '=') {
        return 0;
    }

    decoded.data = buf;

    return ngx_decode_base64(&decoded, key) == NGX_OK && decoded.len == 16;
}


/* Only browsers say where they come from. */
static ngx_int_t
ngx_http_hive_origin(ngx_http_request_t *r)
{
    ngx_str_t                  *origin;
    ngx_uint_t                  i;
    ngx_table_elt_t            *h;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    h = ngx_http_hive_header_in(r, "origin", sizeof("origin") - 1);

    if (h == NULL || hmcf->origins == NULL) {
        return NGX_OK;
    }

    origin = hmcf->origins->elts;

    for (i = 0; i < hmcf->origins->nelts; i++) {
        if (origin[i].len == h->value.len
            && ngx_strncasecmp(origin[i].data, h->value.data, h->value.len)
               == 0)
        {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_hive_ws_identify(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx,
    ngx_http_hive_handshake_t *hs)
{
    size_t                      n;
    ngx_str_t                   list, item, value, bearer;

    bearer.len = 0;

    if (ngx_http_hive_header_list(r, "sec-websocket-protocol", 22, &list)
        == NGX_OK)
    {
        n = sizeof(NGX_HTTP_HIVE_WS_BEARER) - 1;

        while (ngx_http_hive_list_next(&list, &item)) {

            if (item.len == sizeof(NGX_HTTP_HIVE_WS_PROTOCOL) - 1
                && ngx_memcmp(item.data, NGX_HTTP_HIVE_WS_PROTOCOL, item.len)
                   == 0)
            {
                hs->protocol = 1;

            } else if (item.len > n
                       && ngx_memcmp(item.data, NGX_HTTP_HIVE_WS_BEARER, n)
                          == 0)
            {
                bearer.data = item.data + n;
                bearer.len = item.len - n;
            }
        }
    }

    if (r->headers_in.authorization) {
        return ngx_http_hive_ws_welcome_token(hs, NULL);
    }

    if (bearer.len) {
        return ngx_http_hive_ws_welcome_token(hs, &bearer);
    }

    if (ngx_http_arg(r, (u_char *) "ticket", sizeof("ticket") - 1, &value)
        == NGX_OK && value.len)
    {
        return ngx_http_hive_redeem(&hs->redeem, r, ctx, &value);
    }

    if (ctx->secret.len) {

        /* only a token has dots */

        if (ngx_strlchr(ctx->secret.data, ctx->secret.data + ctx->secret.len,
                        '.'))
        {
            return ngx_http_hive_ws_welcome_token(hs, &ctx->secret);
        }

        return ngx_http_hive_redeem(&hs->redeem, r, ctx, &ctx->secret);
    }

    return ngx_http_hive_ws_unwelcome(hs, "token_missing",
                                      "a token or a ticket is required");
}


/* `text`: NULL for the one of the Authorization header. */
static ngx_int_t
ngx_http_hive_ws_welcome_token(ngx_http_hive_handshake_t *hs, ngx_str_t *text)
{
    ngx_int_t                   rc;
    jws_status_t                reason;
    ngx_http_request_t         *r;
    ngx_http_hive_ctx_t        *ctx;
    ngx_http_hive_token_t      *token;
    ngx_http_hive_main_conf_t  *hmcf;

    r = hs->request;
    ctx = hs->ctx;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    rc = text ? ngx_http_hive_token_text(hmcf, text, &token, &reason)
              : ngx_http_hive_token(r, hmcf, &token, &reason);

    if (rc == NGX_DECLINED) {
        return ngx_http_hive_ws_unwelcome(hs, "token_missing",
                                          "a token or a ticket is required");
    }

    if (rc != NGX_OK) {

        if (reason == JWS_NOMEM) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_hive_ws_unwelcome(hs,
                                          reason == JWS_EXPIRED
                                          ? "token_expired" : "token_invalid",
                                          jws_status_text(reason));
    }

    hs->upgrade.user = token->user;
    hs->upgrade.session = token->session;
    hs->upgrade.principal = token->principal;
    hs->upgrade.expires = token->expires + hmcf->leeway;

    ctx->user = token->user;
    ctx->session = token->session;
    ctx->principal = token->principal;

    return ngx_http_hive_ws_switch(hs);
}


static void
ngx_http_hive_ws_redeemed(ngx_http_hive_redeem_t *redeem, ngx_int_t rc)
{
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_http_hive_handshake_t  *hs;

    hs = redeem->data;
    r = hs->request;
    c = r->connection;

    if (rc == NGX_OK) {
        hs->upgrade.user = hs->ctx->user;
        hs->upgrade.session = hs->ctx->session;
        hs->upgrade.principal = hs->ctx->principal;
        hs->upgrade.expires = redeem->expires;

        rc = ngx_http_hive_ws_switch(hs);

    } else if (rc == NGX_DECLINED) {
        rc = ngx_http_hive_ws_unwelcome(hs, "ticket_invalid",
                                        "the ticket is not good: it was used, "
                                        "is too old, or never was");
    }

    if (rc == NGX_DONE) {

        /* it was counted once more for the switch */

        r->main->count--;
        return;
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* 401, or a WebSocket that closes with 1008: browsers do not tell their page
 * what came instead of 101. */
static ngx_int_t
ngx_http_hive_ws_unwelcome(ngx_http_hive_handshake_t *hs, const char *code,
    const char *detail)
{
    ngx_http_request_t         *r;
    ngx_http_hive_main_conf_t  *hmcf;

    r = hs->request;
    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    hs->ctx->code = code;

    if (hmcf->refuse == NGX_HTTP_HIVE_REFUSE_CLOSE) {
        hs->upgrade.refuse = WS_POLICY;
        hs->upgrade.reason = code;

        return ngx_http_hive_ws_switch(hs);
    }

    ngx_http_hive_count(hmcf, ws_refused);

    if (ngx_http_hive_add_header(r, "WWW-Authenticate",
                                 "Bearer realm=\"hive\"")
        == NULL)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_hive_problem(r, hs->ctx, NGX_HTTP_UNAUTHORIZED, code,
                                 detail);
}


/* Answers 101; the connection is taken when the request is left alone. */
static ngx_int_t
ngx_http_hive_ws_switch(ngx_http_hive_handshake_t *hs)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = hs->request;

    r->keepalive = 0;
    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;
    ngx_str_set(&r->headers_out.status_line, "101 Switching Protocols");

    hs->ctx->answered = 1;

    if (ngx_http_hive_add_header(r, "Upgrade", "websocket") == NULL
        || ngx_http_hive_ws_accept(r, &hs->key) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (hs->protocol
        && ngx_http_hive_add_header(r, "Sec-WebSocket-Protocol",
                                    NGX_HTTP_HIVE_WS_PROTOCOL)
           == NULL)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (hs->upgrade.window
        && ngx_http_hive_header_out(r, "Sec-WebSocket-Extensions",
                                    sizeof("Sec-WebSocket-Extensions") - 1,
                                    hs->extensions, ngx_strlen(hs->extensions))
           == NULL)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_send_special(r, NGX_HTTP_FLUSH) == NGX_ERROR) {
        return NGX_ERROR;
    }

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    r->main->count++;

    ngx_post_event(&hs->begin, &ngx_posted_events);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_hive_ws_accept(ngx_http_request_t *r, ngx_str_t *key)
{
    u_char      digest[20];
    ngx_str_t   value, text;
    ngx_sha1_t  sha1;

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, key->data, key->len);
    ngx_sha1_update(&sha1, NGX_HTTP_HIVE_WS_GUID,
                    sizeof(NGX_HTTP_HIVE_WS_GUID) - 1);
    ngx_sha1_final(digest, &sha1);

    text.data = digest;
    text.len = sizeof(digest);

    value.data = ngx_pnalloc(r->pool, ngx_base64_encoded_length(text.len));
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    ngx_encode_base64(&value, &text);

    return ngx_http_hive_header_out(r, "Sec-WebSocket-Accept",
                                    sizeof("Sec-WebSocket-Accept") - 1,
                                    value.data, value.len)
           ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_hive_ws_begin_handler(ngx_event_t *ev)
{
    ngx_http_hive_handshake_t  *hs;

    hs = ev->data;

    ngx_http_hive_ws_begin(hs->request, &hs->upgrade);
}


static void
ngx_http_hive_handshake_cleanup(void *data)
{
    ngx_http_hive_handshake_t *hs = data;

    if (hs->begin.posted) {
        ngx_delete_posted_event(&hs->begin);
    }
}
