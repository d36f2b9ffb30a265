
/*
 * Variables, for the access log and for headers.
 */


#include "ngx_http_hive.h"


static ngx_int_t ngx_http_hive_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hive_user_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hive_text_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hive_ascii_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


enum {
    NGX_HTTP_HIVE_REQUEST_ID,
    NGX_HTTP_HIVE_TRACE_ID,
    NGX_HTTP_HIVE_OPERATION,
    NGX_HTTP_HIVE_PEER,
    NGX_HTTP_HIVE_CODE,
    NGX_HTTP_HIVE_PATH,
    NGX_HTTP_HIVE_AGENT
};


static ngx_http_variable_t  ngx_http_hive_variables[] = {

    { ngx_string("hive_request_id"), NULL, ngx_http_hive_id_variable,
      NGX_HTTP_HIVE_REQUEST_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hive_trace_id"), NULL, ngx_http_hive_id_variable,
      NGX_HTTP_HIVE_TRACE_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hive_operation"), NULL, ngx_http_hive_text_variable,
      NGX_HTTP_HIVE_OPERATION, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hive_user"), NULL, ngx_http_hive_user_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hive_peer"), NULL, ngx_http_hive_text_variable,
      NGX_HTTP_HIVE_PEER, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hive_code"), NULL, ngx_http_hive_text_variable,
      NGX_HTTP_HIVE_CODE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("hive_path"), NULL, ngx_http_hive_ascii_variable,
      NGX_HTTP_HIVE_PATH, 0, 0 },

    { ngx_string("hive_agent"), NULL, ngx_http_hive_ascii_variable,
      NGX_HTTP_HIVE_AGENT, 0, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_hive_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_hive_variables; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_id_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char               *id;
    ngx_http_hive_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (data == NGX_HTTP_HIVE_TRACE_ID) {
        ngx_http_hive_trace(r, ctx);
        id = ctx->trace_id;

    } else {
        id = ctx->request_id;
    }

    v->data = ngx_pnalloc(r->pool, NGX_HTTP_HIVE_ID_LEN);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    ngx_hex_dump(v->data, id, 16);

    v->len = NGX_HTTP_HIVE_ID_LEN;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_user_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_hive_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);

    if (ctx == NULL || !(ctx->principal & WIRE_SIGNED_IN)) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = ngx_pnalloc(r->pool, UUID_TEXT);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    uuid_format(&ctx->user, (char *) v->data);

    v->len = UUID_TEXT;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_text_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    const char           *text;
    ngx_http_hive_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hive_module);
    text = NULL;

    if (ctx) {
        switch (data) {

        case NGX_HTTP_HIVE_OPERATION:
            text = ctx->op ? ctx->op->name : NULL;
            break;

        case NGX_HTTP_HIVE_PEER:
            text = ctx->call.last_peer
                   ? (char *) ctx->call.last_peer->name.data : NULL;
            break;

        default: /* NGX_HTTP_HIVE_CODE */
            text = ctx->code;
        }
    }

    if (text == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = (u_char *) text;
    v->len = ngx_strlen(text);
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/*
 * The path without its query, which may hold secrets, and the user agent, as
 * text that is safe in a line of JSON: nginx escapes quotes and controls, but
 * passes on bytes that are no UTF-8.
 */
static ngx_int_t
ngx_http_hive_ascii_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    size_t      i;
    ngx_str_t   text;
    ngx_uint_t  path;

    path = (data == NGX_HTTP_HIVE_PATH);

    ngx_str_null(&text);

    if (path) {
        text = r->unparsed_uri;

    } else if (r->headers_in.user_agent) {
        text = r->headers_in.user_agent->value;
    }

    if (text.data == NULL) {

        /* not sent, or the request line could not be read */

        v->not_found = 1;
        return NGX_OK;
    }

    for (i = 0; i < text.len; i++) {

        if (path && text.data[i] == '?') {
            text.len = i;
            break;
        }

        if (text.data[i] < 0x20 || text.data[i] > 0x7e) {
            ngx_str_set(&text, "(not ASCII)");
            break;
        }
    }

    v->data = text.data;
    v->len = text.len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
