
/*
 * Tickets: what stands in for a token where a client can send no header. A
 * worker redeems it, once, and says whose it is.
 */


#include "ngx_http_hive_hub.h"


#define NGX_HTTP_HIVE_TICKET_MAX  128


static ngx_uint_t ngx_http_hive_ticket_valid(ngx_str_t *ticket);
static ngx_int_t ngx_http_hive_redeem_failed(ngx_http_hive_redeem_t *redeem);
static void ngx_http_hive_redeemed(ngx_http_hive_ask_t *ask,
    ngx_uint_t status, slice_t body);
static ngx_int_t ngx_http_hive_redeem_principal(
    ngx_http_hive_redeem_t *redeem, slice_t body);
static void ngx_http_hive_redeem_cleanup(void *data);


ngx_int_t
ngx_http_hive_redeem(ngx_http_hive_redeem_t *redeem, ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_str_t *ticket)
{
    u_char                     *p, body[NGX_HTTP_HIVE_TICKET_MAX + 32];
    slice_t                     text;
    ngx_http_cleanup_t         *cln;
    ngx_http_hive_main_conf_t  *hmcf;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    redeem->request = r;
    redeem->ctx = ctx;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_hive_redeem_cleanup;
    cln->data = redeem;

    /* a worker says what is wrong with one that cannot be: it has the words */

    text = ngx_http_hive_ticket_valid(ticket)
           ? (slice_t) { (char *) ticket->data, ticket->len } : SLICE("-");

    p = ngx_snprintf(body, sizeof(body), "{\"ticket\":\"%*s\"}", text.len,
                     text.data);

    redeem->ask = ngx_http_hive_ask(hmcf->hub, "ticket_redeem", NULL, body,
                                    p - body, ngx_http_hive_redeemed, redeem);

    if (redeem->ask == NULL) {
        return ngx_http_hive_redeem_failed(redeem);
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    r->main->count++;

    return NGX_DONE;
}


static ngx_uint_t
ngx_http_hive_ticket_valid(ngx_str_t *ticket)
{
    u_char      c;
    ngx_uint_t  i;

    for (i = 0; i < ticket->len; i++) {
        c = ticket->data[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
              || (c >= 'A' && c <= 'Z') || c == '-' || c == '_'))
        {
            return 0;
        }
    }

    return ticket->len && ticket->len <= NGX_HTTP_HIVE_TICKET_MAX;
}


static ngx_int_t
ngx_http_hive_redeem_failed(ngx_http_hive_redeem_t *redeem)
{
    if (ngx_http_hive_add_header(redeem->request, "Retry-After", "1") == NULL)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_hive_problem(redeem->request, redeem->ctx,
                                 NGX_HTTP_SERVICE_UNAVAILABLE,
                                 "ticket_unknown",
                                 "the ticket cannot be looked at now; get "
                                 "another one and try again");
}


static void
ngx_http_hive_redeemed(ngx_http_hive_ask_t *ask, ngx_uint_t status,
    slice_t body)
{
    ngx_int_t                rc;
    ngx_http_hive_redeem_t  *redeem;

    redeem = ask->data;
    redeem->ask = NULL;

    ngx_http_set_log_request(redeem->request->connection->log,
                             redeem->request);

    if (status == NGX_HTTP_OK
        && ngx_http_hive_redeem_principal(redeem, body) == NGX_OK)
    {
        rc = NGX_OK;

    } else if (status == NGX_HTTP_UNAUTHORIZED) {
        rc = NGX_DECLINED;

    } else {
        rc = ngx_http_hive_redeem_failed(redeem);
    }

    redeem->handler(redeem, rc);
}


static ngx_int_t
ngx_http_hive_redeem_principal(ngx_http_hive_redeem_t *redeem, slice_t body)
{
    json_t               *reply, *expires;
    ngx_int_t             rc;
    const char           *user, *session;
    ngx_http_hive_ctx_t  *ctx;

    rc = NGX_ERROR;
    ctx = redeem->ctx;

    reply = json_loadb(body.data, body.len, 0, NULL);

    user = json_string_value(json_object_get(reply, "user_id"));
    session = json_string_value(json_object_get(reply, "session_id"));
    expires = json_object_get(reply, "expires_at");

    if (user && session && json_is_integer(expires)
        && uuid_parse(user, ngx_strlen(user), &ctx->user) == 0
        && uuid_parse(session, ngx_strlen(session), &ctx->session) == 0)
    {
        redeem->expires = (time_t) json_integer_value(expires);
        ctx->principal = WIRE_SIGNED_IN
                    | (json_is_true(json_object_get(reply, "is_superuser"))
                       ? WIRE_SUPERUSER : 0);
        rc = NGX_OK;
    }

    json_decref(reply);

    return rc;
}


static void
ngx_http_hive_redeem_cleanup(void *data)
{
    ngx_http_hive_redeem_t *redeem = data;

    if (redeem->ask) {
        ngx_http_hive_ask_cancel(redeem->ask);
        redeem->ask = NULL;
    }
}
