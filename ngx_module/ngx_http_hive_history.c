
/*
 * GET /api/v1/events/history: what has happened on a channel, for clients
 * that hold no stream; with `wait`, as soon as there is something (long poll).
 * It is a client like others, whose ring becomes the body of its reply.
 */


#include "ngx_http_hive_hub.h"


#define NGX_HTTP_HIVE_HISTORY_LIMIT  100
#define NGX_HTTP_HIVE_HISTORY_MAX    1000
#define NGX_HTTP_HIVE_HISTORY_WAIT   60         /* s */


typedef struct {
    ngx_http_hive_client_t      client;         /* first: is cast back */
    ngx_http_request_t         *request;        /* NULL: it is gone */
    ngx_http_hive_ctx_t        *ctx;
    ngx_event_t                 timer;
    ngx_uint_t                  limit;
    ngx_msec_t                  wait;
    ngx_uint_t                  recovered;
    int64_t                     offset;
    ngx_str_t                   channel;
    ngx_str_t                   epoch;
    ngx_uint_t                  status;         /* it was refused */
    const char                 *code;
    unsigned                    confirmed:1;
} ngx_http_hive_poll_t;


static ngx_int_t ngx_http_hive_poll_number(ngx_http_request_t *r, char *name,
    size_t len, ngx_uint_t max, ngx_uint_t *value);
static void ngx_http_hive_poll_flush(ngx_http_hive_client_t *client);
static void ngx_http_hive_poll_bury(ngx_http_hive_client_t *client);
static void ngx_http_hive_poll_full(ngx_http_hive_client_t *client);
static void ngx_http_hive_poll_beat(ngx_http_hive_client_t *client);
static ngx_http_hive_frame_t *ngx_http_hive_poll_form(
    ngx_http_hive_client_t *client, ngx_http_hive_sub_t *sub,
    ngx_http_hive_frame_t *frame);
static void ngx_http_hive_poll_confirmed(ngx_http_hive_sub_t *sub,
    ngx_uint_t recovered, int64_t offset);
static void ngx_http_hive_poll_refused(ngx_http_hive_client_t *client,
    json_t *id, ngx_str_t *channel, const char *code, const char *message);
static void ngx_http_hive_poll_ended(ngx_http_hive_sub_t *sub,
    const char *reason);
static void ngx_http_hive_poll_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_hive_poll_reply(ngx_http_hive_poll_t *poll);
static void ngx_http_hive_poll_gone(void *data);


static ngx_http_hive_client_type_t  ngx_http_hive_poll_type = {
    ngx_http_hive_poll_flush,
    ngx_http_hive_poll_bury,
    NULL,
    ngx_http_hive_poll_full,
    ngx_http_hive_poll_beat,
    ngx_http_hive_poll_form,
    ngx_http_hive_poll_confirmed,
    ngx_http_hive_poll_refused,
    ngx_http_hive_poll_ended,
    NULL
};


ngx_int_t
ngx_http_hive_history_handler(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx)
{
    u_char                      *p, *src;
    ngx_int_t                    rc;
    ngx_str_t                    value;
    ngx_uint_t                   after, limit, wait;
    ngx_http_cleanup_t          *cln;
    ngx_http_hive_poll_t        *poll;
    ngx_http_hive_main_conf_t   *hmcf;
    ngx_http_hive_sub_options_t  options;

    hmcf = ngx_http_get_module_main_conf(r, ngx_http_hive_module);

    after = 0;
    limit = NGX_HTTP_HIVE_HISTORY_LIMIT;
    wait = 0;

    if (ngx_http_hive_poll_number(r, "after", 5, NGX_MAX_INT_T_VALUE, &after)
        != NGX_OK)
    {
        return ngx_http_hive_problem_field(r, ctx, "after", "out_of_range",
                                           "must be an offset");
    }

    if (ngx_http_hive_poll_number(r, "limit", 5, NGX_HTTP_HIVE_HISTORY_MAX,
                                  &limit)
        != NGX_OK || limit == 0)
    {
        return ngx_http_hive_problem_field(r, ctx, "limit", "out_of_range",
                                           "must be from 1 to 1000");
    }

    if (ngx_http_hive_poll_number(r, "wait", 4, NGX_HTTP_HIVE_HISTORY_WAIT,
                                  &wait)
        != NGX_OK)
    {
        return ngx_http_hive_problem_field(r, ctx, "wait", "out_of_range",
                                           "must be from 0 to 60 seconds");
    }

    if (ngx_http_arg(r, (u_char *) "channel", sizeof("channel") - 1, &value)
        != NGX_OK || value.len == 0)
    {
        return ngx_http_hive_problem_field(r, ctx, "channel", "required",
                                           "must name a channel");
    }

    poll = ngx_pcalloc(r->pool, sizeof(ngx_http_hive_poll_t));
    cln = ngx_http_cleanup_add(r, 0);

    if (poll == NULL || cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&options, sizeof(ngx_http_hive_sub_options_t));

    options.since = 1;
    options.after = after;

    p = ngx_pnalloc(r->pool, value.len);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    options.channel.data = p;
    src = value.data;
    ngx_unescape_uri(&p, &src, value.len, 0);
    options.channel.len = p - options.channel.data;

    if (ngx_http_arg(r, (u_char *) "epoch", sizeof("epoch") - 1, &value)
        == NGX_OK)
    {
        for (p = value.data; p < value.data + value.len; p++) {
            if (*p <= ' ' || *p >= 0x7f || *p == '"' || *p == '\\') {
                value.len = NGX_HTTP_HIVE_EPOCH_MAX + 1;
                break;
            }
        }

        if (value.len > NGX_HTTP_HIVE_EPOCH_MAX) {
            return ngx_http_hive_problem_field(r, ctx, "epoch", "invalid",
                                               "must be an epoch, as a reply "
                                               "has it");
        }

        options.epoch = value;
    }

    poll->request = r;
    poll->ctx = ctx;
    poll->limit = limit;
    poll->wait = 1000 * wait;
    poll->channel = options.channel;

    poll->client.type = &ngx_http_hive_poll_type;
    poll->client.sse = 1;
    poll->client.user = ctx->user;
    poll->client.session = ctx->session;
    poll->client.principal = ctx->principal;

    rc = ngx_http_hive_client_init(&poll->client, hmcf->hub);

    if (rc == NGX_BUSY) {
        return ngx_http_hive_problem(r, ctx, NGX_HTTP_TOO_MANY_REQUESTS,
                                     "too_many_connections",
                                     "this user has as many live connections "
                                     "as may be");
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_hive_poll_gone;
    cln->data = poll;

    poll->timer.handler = ngx_http_hive_poll_handler;
    poll->timer.data = poll;
    poll->timer.log = r->connection->log;

    /* a normal timer: a graceful exit waits for it */

    ngx_add_timer(&poll->timer, poll->wait + NGX_HTTP_HIVE_ASK_TIME);

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    r->main->count++;

    (void) ngx_http_hive_subscribe(&poll->client, &options);

    return NGX_DONE;
}


/* NGX_OK, also when there is none: then *value is as it was. */
static ngx_int_t
ngx_http_hive_poll_number(ngx_http_request_t *r, char *name, size_t len,
    ngx_uint_t max, ngx_uint_t *value)
{
    ngx_int_t  n;
    ngx_str_t  text;

    if (ngx_http_arg(r, (u_char *) name, len, &text) != NGX_OK) {
        return NGX_OK;
    }

    n = ngx_atoi(text.data, text.len);

    if (n == NGX_ERROR || (ngx_uint_t) n > max) {
        return NGX_DECLINED;
    }

    *value = n;

    return NGX_OK;
}


static void
ngx_http_hive_poll_confirmed(ngx_http_hive_sub_t *sub, ngx_uint_t recovered,
    int64_t offset)
{
    ngx_http_hive_poll_t *poll = (ngx_http_hive_poll_t *) sub->client;

    ngx_str_t  *epoch;

    epoch = &sub->channel->epoch;

    poll->confirmed = 1;
    poll->recovered = recovered;
    poll->offset = offset;

    poll->epoch.data = ngx_pnalloc(poll->request->pool, epoch->len);
    if (poll->epoch.data == NULL) {
        ngx_http_hive_client_kill(sub->client);
        return;
    }

    ngx_memcpy(poll->epoch.data, epoch->data, epoch->len);
    poll->epoch.len = epoch->len;

    ngx_http_hive_client_dirty(sub->client);
}


static void
ngx_http_hive_poll_refused(ngx_http_hive_client_t *client, json_t *id,
    ngx_str_t *channel, const char *code, const char *message)
{
    ngx_http_hive_poll_t *poll = (ngx_http_hive_poll_t *) client;

    poll->code = code;
    poll->status = ngx_strcmp(code, "unavailable") == 0
                   ? NGX_HTTP_SERVICE_UNAVAILABLE : NGX_HTTP_NOT_FOUND;

    ngx_http_hive_client_kill(client);
}


static void
ngx_http_hive_poll_ended(ngx_http_hive_sub_t *sub, const char *reason)
{
    ngx_http_hive_client_kill(sub->client);
}


/* Only what has an offset is history. */
static ngx_http_hive_frame_t *
ngx_http_hive_poll_form(ngx_http_hive_client_t *client,
    ngx_http_hive_sub_t *sub, ngx_http_hive_frame_t *frame)
{
    if (frame->offset == 0) {
        return ngx_http_hive_raw_frame(0);
    }

    ngx_http_hive_frame_ref(frame);

    return frame;
}


static void
ngx_http_hive_poll_full(ngx_http_hive_client_t *client)
{
    ngx_http_hive_client_kill(client);
}


static void
ngx_http_hive_poll_beat(ngx_http_hive_client_t *client)
{
    /* void */
}


/* What this turn has brought is the reply; else it waits. */
static void
ngx_http_hive_poll_flush(ngx_http_hive_client_t *client)
{
    ngx_http_hive_poll_t *poll = (ngx_http_hive_poll_t *) client;

    uint32_t                i;
    ngx_http_hive_frame_t  *frame;

    if (!poll->confirmed) {
        return;
    }

    for (i = 0; i < client->ring_count; i++) {
        frame = client->ring[(client->ring_first + i)
                             & (client->ring_size - 1)];

        if (frame->offset) {
            ngx_http_hive_client_kill(client);
            return;
        }
    }

    if (poll->wait == 0 || !poll->recovered) {
        ngx_http_hive_client_kill(client);
        return;
    }

    ngx_add_timer(&poll->timer, poll->wait);
    poll->wait = 0;
}


static void
ngx_http_hive_poll_handler(ngx_event_t *ev)
{
    ngx_http_hive_poll_t  *poll;

    poll = ev->data;

    ngx_http_hive_client_kill(&poll->client);
}


static void
ngx_http_hive_poll_bury(ngx_http_hive_client_t *client)
{
    ngx_http_hive_poll_t *poll = (ngx_http_hive_poll_t *) client;

    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = poll->request;

    if (r == NULL) {
        ngx_http_hive_client_release(client);
        return;
    }

    c = r->connection;
    poll->request = NULL;

    ngx_http_set_log_request(c->log, r);

    if (poll->timer.timer_set) {
        ngx_del_timer(&poll->timer);
    }

    poll->request = r;
    rc = ngx_http_hive_poll_reply(poll);
    poll->request = NULL;

    ngx_http_hive_client_release(client);

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_hive_poll_reply(ngx_http_hive_poll_t *poll)
{
    u_char                  *body, *p;
    size_t                   size;
    uint32_t                 i;
    ngx_uint_t               n, more;
    ngx_http_request_t      *r;
    ngx_http_hive_frame_t   *frame;
    ngx_http_hive_client_t  *client;

    r = poll->request;
    client = &poll->client;

    if (poll->status == NGX_HTTP_NOT_FOUND) {
        return ngx_http_hive_problem(r, poll->ctx, NGX_HTTP_NOT_FOUND,
                                     "channel_not_found",
                                     "there is no such channel, or it is not "
                                     "yours");
    }

    if (!poll->confirmed) {
        return ngx_http_hive_problem(r, poll->ctx,
                                     NGX_HTTP_SERVICE_UNAVAILABLE,
                                     "history_unavailable",
                                     "the history cannot be asked for now; "
                                     "try again");
    }

    size = sizeof("{\"channel\":\"\",\"epoch\":\"\",\"offset\":,"
                  "\"recovered\":false,\"more\":false,\"events\":[]}")
           + poll->channel.len + poll->epoch.len + NGX_INT64_LEN;

    n = 0;
    more = 0;

    for (i = 0; i < client->ring_count; i++) {
        frame = client->ring[(client->ring_first + i)
                             & (client->ring_size - 1)];

        if (frame->offset == 0) {
            continue;
        }

        if (n == poll->limit) {
            more = 1;
            break;
        }

        size += frame->text.len + 1;
        poll->offset = frame->offset;
        n++;
    }

    if (client->has_paused) {
        more = 1;
    }

    body = ngx_pnalloc(r->pool, size);
    if (body == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_sprintf(body, "{\"channel\":\"%V\",\"epoch\":\"%V\",\"offset\":%L,"
                          "\"recovered\":%s,\"more\":%s,\"events\":[",
                    &poll->channel, &poll->epoch, poll->offset,
                    poll->recovered ? "true" : "false",
                    more ? "true" : "false");

    for (i = 0; n; i++) {
        frame = client->ring[(client->ring_first + i)
                             & (client->ring_size - 1)];

        if (frame->offset == 0) {
            continue;
        }

        p = ngx_cpymem(p, frame->text.data, frame->text.len);

        if (--n) {
            *p++ = ',';
        }
    }

    *p++ = ']';
    *p++ = '}';

    return ngx_http_hive_send(r, NGX_HTTP_OK, &ngx_http_hive_type_json, body,
                              p - body);
}


/* The request is being destroyed before it was answered. */
static void
ngx_http_hive_poll_gone(void *data)
{
    ngx_http_hive_poll_t *poll = data;

    if (poll->request == NULL) {
        return;
    }

    poll->request = NULL;

    if (poll->timer.timer_set) {
        ngx_del_timer(&poll->timer);
    }

    if (poll->client.is_dead) {
        ngx_queue_remove(&poll->client.dead);
    }

    poll->client.is_dead = 1;

    ngx_http_hive_client_release(&poll->client);
}
