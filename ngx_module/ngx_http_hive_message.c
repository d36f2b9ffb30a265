
/*
 * What clients say, and what they are told. The protocol is described in
 * README.md and web/asyncapi.json.
 */


#include "ngx_http_hive_hub.h"


#define NGX_HTTP_HIVE_ID_MAX  64                /* bytes of a message's id */


typedef struct {
    const char   *type;
    void        (*handler)(ngx_http_hive_ws_t *ws, json_t *message,
                           json_t *id);
} ngx_http_hive_message_t;


static void ngx_http_hive_ws_answer(ngx_http_hive_ws_t *ws, json_t *id,
    json_t *answer);
static void ngx_http_hive_ws_invalid(ngx_http_hive_ws_t *ws, json_t *id,
    const char *message);

static void ngx_http_hive_on_ping(ngx_http_hive_ws_t *ws, json_t *message,
    json_t *id);
static void ngx_http_hive_on_subscribe(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id);
static void ngx_http_hive_on_subscribe_project(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id);
static void ngx_http_hive_on_subscribe_task(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id);
static void ngx_http_hive_on_state_sync(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id);
static void ngx_http_hive_on_unsubscribe(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id);
static void ngx_http_hive_on_presence(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id);
static void ngx_http_hive_on_get_stats(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id);
static void ngx_http_hive_on_client_metrics(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id);
static void ngx_http_hive_on_authenticate(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id);

static void ngx_http_hive_ws_subscribe(ngx_http_hive_ws_t *ws,
    json_t *message, json_t *id, ngx_str_t *channel);
static ngx_int_t ngx_http_hive_ws_since(json_t *message,
    ngx_http_hive_sub_options_t *options);
static ngx_int_t ngx_http_hive_ws_types(json_t *message,
    ngx_http_hive_sub_options_t *options);
static ngx_int_t ngx_http_hive_ws_flag(json_t *message, const char *name,
    ngx_uint_t *flag);
static ngx_int_t ngx_http_hive_string(json_t *value, ngx_str_t *text);
static void ngx_http_hive_ws_of(ngx_http_hive_ws_t *ws, json_t *message,
    json_t *id, const char *kind, const char *member);
static void ngx_http_hive_ws_present(ngx_http_hive_ask_t *ask,
    ngx_uint_t status, slice_t body);


static ngx_http_hive_message_t  ngx_http_hive_messages[] = {
    { "ping", ngx_http_hive_on_ping },
    { "subscribe", ngx_http_hive_on_subscribe },
    { "subscribe_project", ngx_http_hive_on_subscribe_project },
    { "subscribe_task", ngx_http_hive_on_subscribe_task },
    { "state_sync", ngx_http_hive_on_state_sync },
    { "unsubscribe", ngx_http_hive_on_unsubscribe },
    { "presence", ngx_http_hive_on_presence },
    { "get_stats", ngx_http_hive_on_get_stats },
    { "client_metrics", ngx_http_hive_on_client_metrics },
    { "authenticate", ngx_http_hive_on_authenticate },
    { NULL, NULL }
};


void
ngx_http_hive_ws_message(ngx_http_hive_ws_t *ws, u_char *text, size_t len)
{
    json_t                   *message, *id;
    const char               *type;
    json_error_t              error;
    ngx_http_hive_message_t  *m;

    message = json_loadb((char *) text, len, JSON_REJECT_DUPLICATES, &error);

    if (!json_is_object(message)) {
        ngx_http_hive_ws_refused(&ws->client, NULL, NULL, "malformed_json",
                                 message ? "a message is a JSON object"
                                         : error.text);
        json_decref(message);
        return;
    }

    id = json_object_get(message, "id");

    if (id && !json_is_integer(id)
        && !(json_is_string(id)
             && json_string_length(id) <= NGX_HTTP_HIVE_ID_MAX))
    {
        ngx_http_hive_ws_invalid(ws, NULL, "\"id\" is an integer or a string "
                                           "of at most 64 bytes");
        json_decref(message);
        return;
    }

    type = json_string_value(json_object_get(message, "type"));

    if (type == NULL) {
        ngx_http_hive_ws_invalid(ws, id, "\"type\" says what a message is, "
                                         "and is a string");
        json_decref(message);
        return;
    }

    for (m = ngx_http_hive_messages; m->type; m++) {
        if (ngx_strcmp(m->type, type) == 0) {
            break;
        }
    }

    if (m->type) {
        m->handler(ws, message, id);

    } else {
        ngx_http_hive_ws_refused(&ws->client, id, NULL, "unknown_type",
                                 "there is no message of that type");
    }

    json_decref(message);
}


void
ngx_http_hive_tell(ngx_http_hive_client_t *client, json_t *message)
{
    size_t                  len;
    ngx_http_hive_frame_t  *frame;

    frame = NULL;

    if (message) {
        len = json_dumpb(message, NULL, 0, JSON_COMPACT);
        frame = len ? ngx_http_hive_frame(WS_TEXT, NULL, len) : NULL;

        if (frame) {
            json_dumpb(message, (char *) frame->text.data, len, JSON_COMPACT);
        }

        json_decref(message);
    }

    if (frame == NULL) {
        ngx_http_hive_client_kill(client);
        return;
    }

    ngx_http_hive_client_push(client, frame);
    ngx_http_hive_frame_free(frame);
}


static void
ngx_http_hive_ws_answer(ngx_http_hive_ws_t *ws, json_t *id, json_t *answer)
{
    if (id) {
        json_object_set(answer, "id", id);
    }

    ngx_http_hive_tell(&ws->client, answer);
}


static void
ngx_http_hive_ws_invalid(ngx_http_hive_ws_t *ws, json_t *id,
    const char *message)
{
    ngx_http_hive_ws_refused(&ws->client, id, NULL, "invalid_message",
                             message);
}


json_t *
ngx_http_hive_json_now(void)
{
    u_char           text[sizeof("1970-01-01T00:00:00.000Z")];
    ngx_tm_t         tm;
    struct timespec  now;

    clock_gettime(CLOCK_REALTIME, &now);
    ngx_gmtime(now.tv_sec, &tm);

    ngx_sprintf(text, "%4d-%02d-%02dT%02d:%02d:%02d.%03dZ%Z",
                tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec,
                (int) (now.tv_nsec / 1000000));

    return json_string((char *) text);
}


json_t *
ngx_http_hive_json_second(time_t sec)
{
    u_char    text[sizeof("1970-01-01T00:00:00Z") + NGX_INT_T_LEN];
    ngx_tm_t  tm;

    ngx_gmtime(sec, &tm);

    ngx_sprintf(text, "%4d-%02d-%02dT%02d:%02d:%02dZ%Z",
                tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec);

    return json_string((char *) text);
}


json_t *
ngx_http_hive_json_uuid(hive_uuid_t *id)
{
    char  text[UUID_TEXT];

    uuid_format(id, text);

    return json_stringn(text, UUID_TEXT);
}


void
ngx_http_hive_ws_welcome(ngx_http_hive_ws_t *ws)
{
    ngx_http_hive_client_t     *client;
    ngx_http_hive_main_conf_t  *conf;

    client = &ws->client;
    conf = client->hub->conf;

    ngx_http_hive_tell(client,
        json_pack("{s:s, s:o, s:o, s:o, s:{s:I, s:I}, s:o, s:i}",
                  "type", "connection_established",
                  "connection_id", ngx_http_hive_json_uuid(&client->id),
                  "user_id", ngx_http_hive_json_uuid(&client->user),
                  "server_time", ngx_http_hive_json_now(),
                  "heartbeat",
                      "interval_ms", (json_int_t) conf->ping_interval,
                      "timeout_ms", (json_int_t) conf->ping_timeout,
                  "expires_at", ngx_http_hive_json_second(client->expires),
                  "batch_ms", (int) ws->batch_ms));
}


json_t *
ngx_http_hive_confirmation(ngx_http_hive_sub_t *sub, ngx_uint_t recovered,
    int64_t offset)
{
    u_char                   *p;
    size_t                    kind;
    json_t                   *message;
    ngx_http_hive_channel_t  *channel;

    channel = sub->channel;

    p = ngx_strlchr(channel->name, channel->name + channel->sn.str.len, ':');
    kind = p ? (size_t) (p - channel->name) : channel->sn.str.len;

    message = json_pack("{s:s, s:s%, s:s%, s:s%, s:I, s:b}",
                        "type", "subscription_confirmed",
                        "channel", channel->name, channel->sn.str.len,
                        "resource_type", channel->name, kind,
                        "epoch", channel->epoch.data, channel->epoch.len,
                        "offset", (json_int_t) offset,
                        "recovered", (int) recovered);

    if (message && p) {
        json_object_set_new(message, "resource_id",
                            json_stringn((char *) p + 1,
                                         channel->sn.str.len - kind - 1));
    }

    return message;
}


json_t *
ngx_http_hive_refusal(ngx_str_t *channel, const char *code,
    const char *message)
{
    json_t  *answer;

    answer = json_pack("{s:s, s:s, s:s}", "type", "error", "code", code,
                       "message", message);

    if (answer && channel) {
        json_object_set_new(answer, "channel",
                            json_stringn((char *) channel->data,
                                         channel->len));
    }

    return answer;
}


json_t *
ngx_http_hive_ending(ngx_http_hive_sub_t *sub, const char *reason)
{
    return json_pack("{s:s, s:s%, s:s}", "type", "unsubscribed",
                     "channel", sub->channel->name, sub->channel->sn.str.len,
                     "reason", reason);
}


void
ngx_http_hive_ws_confirmed(ngx_http_hive_sub_t *sub, ngx_uint_t recovered,
    int64_t offset)
{
    ngx_http_hive_ws_answer((ngx_http_hive_ws_t *) sub->client, sub->id,
                            ngx_http_hive_confirmation(sub, recovered,
                                                       offset));

    /* only the first answers what the client has said */

    json_decref(sub->id);
    sub->id = NULL;
}


void
ngx_http_hive_ws_refused(ngx_http_hive_client_t *client, json_t *id,
    ngx_str_t *channel, const char *code, const char *message)
{
    ngx_http_hive_ws_answer((ngx_http_hive_ws_t *) client, id,
                            ngx_http_hive_refusal(channel, code, message));
}


void
ngx_http_hive_ws_ended(ngx_http_hive_sub_t *sub, const char *reason)
{
    ngx_http_hive_tell(sub->client, ngx_http_hive_ending(sub, reason));
}


/* The object is text already. */
void
ngx_http_hive_ws_state(ngx_http_hive_sub_t *sub, event_record_t *state)
{
    char                    *id;
    u_char                  *p;
    size_t                   size;
    ngx_http_hive_frame_t   *frame;
    ngx_http_hive_client_t  *client;

    client = sub->client;

    id = sub->id ? json_dumps(sub->id, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    size = sizeof("{\"type\":\"state\",\"id\":,\"channel\":\"\",\"epoch\":\"\","
                  "\"offset\":,\"data\":}")
           + (id ? ngx_strlen(id) : 0) + sub->channel->sn.str.len
           + state->key.len + NGX_INT64_LEN + state->text.len;

    p = ngx_alloc(size, client->hub->log);

    if (p == NULL) {
        ngx_http_hive_client_kill(client);
        goto done;
    }

    size = ngx_snprintf(p, size, "{\"type\":\"state\",%s%s%s\"channel\":\"%V\","
                                 "\"epoch\":\"%*s\",\"offset\":%L,"
                                 "\"data\":%*s}",
                        id ? "\"id\":" : "", id ? id : "", id ? "," : "",
                        &sub->channel->sn.str, state->key.len,
                        state->key.data, state->offset, state->text.len,
                        state->text.data)
           - p;

    frame = ngx_http_hive_frame(WS_TEXT, p, size);

    ngx_free(p);

    if (frame == NULL) {
        ngx_http_hive_client_kill(client);
        goto done;
    }

    ngx_http_hive_client_push(client, frame);
    ngx_http_hive_frame_free(frame);

done:

    ngx_free(id);

    json_decref(sub->id);
    sub->id = NULL;
}


void
ngx_http_hive_ws_dropped(ngx_http_hive_sub_t *sub)
{
    ngx_http_hive_channel_t  *channel;

    channel = sub->channel;

    ngx_http_hive_tell(sub->client,
        json_pack("{s:s, s:s%, s:s%, s:I}", "type", "dropped",
                  "channel", channel->name, channel->sn.str.len,
                  "epoch", channel->epoch.data, channel->epoch.len,
                  "offset", (json_int_t) sub->offset));
}


/* ---- what they say ---- */


static void
ngx_http_hive_on_ping(ngx_http_hive_ws_t *ws, json_t *message, json_t *id)
{
    ngx_http_hive_ws_answer(ws, id, json_pack("{s:s, s:o}", "type", "pong",
                                              "server_time",
                                              ngx_http_hive_json_now()));
}


static void
ngx_http_hive_on_subscribe(ngx_http_hive_ws_t *ws, json_t *message, json_t *id)
{
    ngx_str_t  channel;

    if (ngx_http_hive_string(json_object_get(message, "channel"), &channel)
        != NGX_OK)
    {
        ngx_http_hive_ws_invalid(ws, id, "\"channel\" is a string, such as "
                                         "\"project:<uuid>\"");
        return;
    }

    ngx_http_hive_ws_subscribe(ws, message, id, &channel);
}


static void
ngx_http_hive_on_subscribe_project(ngx_http_hive_ws_t *ws, json_t *message,
    json_t *id)
{
    ngx_http_hive_ws_of(ws, message, id, "project", "project_id");
}


static void
ngx_http_hive_on_subscribe_task(ngx_http_hive_ws_t *ws, json_t *message,
    json_t *id)
{
    ngx_http_hive_ws_of(ws, message, id, "task", "task_id");
}


static void
ngx_http_hive_ws_of(ngx_http_hive_ws_t *ws, json_t *message, json_t *id,
    const char *kind, const char *member)
{
    u_char       name[sizeof("project:") + UUID_TEXT];
    ngx_str_t    value, channel;
    hive_uuid_t  uuid;

    if (ngx_http_hive_string(json_object_get(message, member), &value)
        != NGX_OK
        || uuid_parse((char *) value.data, value.len, &uuid) != 0)
    {
        ngx_http_hive_ws_invalid(ws, id, "the id of what is to be watched is "
                                         "a UUID");
        return;
    }

    channel.data = name;
    channel.len = ngx_sprintf(name, "%s:", kind) - name;

    uuid_format(&uuid, (char *) name + channel.len);
    channel.len += UUID_TEXT;

    ngx_http_hive_ws_subscribe(ws, message, id, &channel);
}


static void
ngx_http_hive_ws_subscribe(ngx_http_hive_ws_t *ws, json_t *message, json_t *id,
    ngx_str_t *channel)
{
    ngx_uint_t                   presence;
    ngx_http_hive_sub_options_t  options;

    ngx_memzero(&options, sizeof(ngx_http_hive_sub_options_t));

    options.channel = *channel;
    options.id = id;

    if (ngx_http_hive_ws_since(message, &options) != NGX_OK) {
        ngx_http_hive_ws_invalid(ws, id, "\"since\" has an \"epoch\", as it "
                                         "was confirmed, and an \"offset\"");
        return;
    }

    if (ngx_http_hive_ws_types(message, &options) != NGX_OK) {
        ngx_http_hive_ws_invalid(ws, id, "\"types\" are 1 to 16 types of "
                                         "events; each may end with \"*\"");
        return;
    }

    if (ngx_http_hive_ws_flag(message, "presence", &presence) != NGX_OK) {
        ngx_http_hive_ws_invalid(ws, id, "\"presence\" is true or false");
        return;
    }

    options.presence = presence;

    (void) ngx_http_hive_subscribe(&ws->client, &options);
}


static void
ngx_http_hive_on_state_sync(ngx_http_hive_ws_t *ws, json_t *message,
    json_t *id)
{
    ngx_http_hive_sub_options_t  options;

    ngx_memzero(&options, sizeof(ngx_http_hive_sub_options_t));

    options.id = id;
    options.state = 1;

    if (ngx_http_hive_string(json_object_get(message, "channel"),
                             &options.channel)
        != NGX_OK
        || ngx_http_hive_ws_types(message, &options) != NGX_OK)
    {
        ngx_http_hive_ws_invalid(ws, id, "\"channel\" is a string, such as "
                                         "\"project:<uuid>\"");
        return;
    }

    (void) ngx_http_hive_subscribe(&ws->client, &options);
}


static void
ngx_http_hive_on_unsubscribe(ngx_http_hive_ws_t *ws, json_t *message,
    json_t *id)
{
    ngx_str_t             channel;
    ngx_http_hive_sub_t  *sub;

    if (ngx_http_hive_string(json_object_get(message, "channel"), &channel)
        != NGX_OK)
    {
        ngx_http_hive_ws_invalid(ws, id, "\"channel\" is a string");
        return;
    }

    sub = ngx_http_hive_sub_find(&ws->client, &channel);

    if (sub) {
        ngx_http_hive_sub_free(sub);
    }

    /* the same whether or not there was one: it may be said twice */

    ngx_http_hive_ws_answer(ws, id,
        json_pack("{s:s, s:s%, s:s}", "type", "unsubscribed",
                  "channel", channel.data, channel.len,
                  "reason", "requested"));
}


static void
ngx_http_hive_on_presence(ngx_http_hive_ws_t *ws, json_t *message, json_t *id)
{
    char       *body;
    json_t     *question;
    ngx_str_t   channel;

    if (ngx_http_hive_string(json_object_get(message, "channel"), &channel)
        != NGX_OK)
    {
        ngx_http_hive_ws_invalid(ws, id, "\"channel\" is a string");
        return;
    }

    if (ws->ask) {
        ngx_http_hive_ws_refused(&ws->client, id, &channel, "rate_limited",
                                 "one question after another: the one before "
                                 "has not been answered yet");
        return;
    }

    question = json_pack("{s:s%}", "channel", channel.data, channel.len);
    body = question ? json_dumps(question, JSON_COMPACT) : NULL;

    json_decref(question);

    if (body) {
        ws->ask = ngx_http_hive_ask(ws->client.hub, "presence_list",
                                    &ws->client, (u_char *) body,
                                    ngx_strlen(body), ngx_http_hive_ws_present,
                                    ws);
        ngx_free(body);
    }

    if (ws->ask == NULL) {
        ngx_http_hive_ws_refused(&ws->client, id, &channel, "unavailable",
                                 "that cannot be asked now; try again");
        return;
    }

    json_decref(ws->ask_id);
    ws->ask_id = json_pack("{s:s%, s:O?}", "channel", channel.data,
                           channel.len, "id", id);
}


static void
ngx_http_hive_ws_present(ngx_http_hive_ask_t *ask, ngx_uint_t status,
    slice_t body)
{
    json_t              *users, *reply, *id, *asked;
    ngx_str_t            channel;
    ngx_http_hive_ws_t  *ws;

    ws = ask->data;
    ws->ask = NULL;

    asked = ws->ask_id;
    ws->ask_id = NULL;

    id = json_object_get(asked, "id");

    if (json_is_null(id)) {
        id = NULL;
    }

    (void) ngx_http_hive_string(json_object_get(asked, "channel"), &channel);

    reply = status == NGX_HTTP_OK ? json_loadb(body.data, body.len, 0, NULL)
                                  : NULL;
    users = json_object_get(reply, "users");

    if (users) {
        ngx_http_hive_ws_answer(ws, id,
            json_pack("{s:s, s:s%, s:O}", "type", "presence",
                      "channel", channel.data, channel.len, "users", users));

    } else if (status >= 400 && status < 500) {
        ngx_http_hive_ws_refused(&ws->client, id, &channel, "not_allowed",
                                 "there is no such channel, or it is not "
                                 "yours");

    } else {
        ngx_http_hive_ws_refused(&ws->client, id, &channel, "unavailable",
                                 "that cannot be asked now; try again");
    }

    json_decref(reply);
    json_decref(asked);
}


static void
ngx_http_hive_on_get_stats(ngx_http_hive_ws_t *ws, json_t *message, json_t *id)
{
    json_t                   *subs;
    ngx_queue_t              *q;
    ngx_http_hive_sub_t      *sub;
    ngx_http_hive_client_t   *client;

    client = &ws->client;
    subs = json_array();

    for (q = ngx_queue_head(&client->subs);
         q != ngx_queue_sentinel(&client->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_http_hive_sub_t, mine);

        json_array_append_new(subs,
            json_pack("{s:s%, s:I, s:b}",
                      "channel", sub->channel->name, sub->channel->sn.str.len,
                      "offset", (json_int_t) sub->offset,
                      "live", (int) sub->live));
    }

    ngx_http_hive_ws_answer(ws, id,
        json_pack("{s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I}",
                  "type", "stats",
                  "connection_id", ngx_http_hive_json_uuid(&client->id),
                  "connected_at", ngx_http_hive_json_second(ws->connected),
                  "subscriptions", subs,
                  "messages_in", (json_int_t) ws->messages_in,
                  "messages_out", (json_int_t) client->frames_out,
                  "bytes_in", (json_int_t) ws->bytes_in,
                  "bytes_out", (json_int_t) client->bytes_out,
                  "queued", (json_int_t) client->queued));
}


static void
ngx_http_hive_on_client_metrics(ngx_http_hive_ws_t *ws, json_t *message,
    json_t *id)
{
    double                      lag;
    json_t                     *value;
    ngx_http_hive_main_conf_t  *conf;

    conf = ws->client.hub->conf;
    value = json_object_get(message, "lag_ms");
    lag = json_number_value(value);

    if ((value && !json_is_number(value)) || lag < 0 || lag > 3600000) {
        ngx_http_hive_ws_invalid(ws, id, "\"lag_ms\" is a number of "
                                         "milliseconds");
        return;
    }

    value = json_object_get(message, "refresh_rate");

    if (value && !(json_is_number(value) && json_number_value(value) >= 0
                   && json_number_value(value) <= 1000))
    {
        ngx_http_hive_ws_invalid(ws, id, "\"refresh_rate\" is a number of "
                                         "pictures a second");
        return;
    }

    ngx_http_hive_count(conf, client_reports);
    conf->counters->client_lag_ms += (ngx_atomic_uint_t) lag;
    conf->counters->client_frames += (ngx_atomic_uint_t)
                                     json_number_value(value);
}


/* The connection lives as long as the newest token of the same user. */
static void
ngx_http_hive_on_authenticate(ngx_http_hive_ws_t *ws, json_t *message,
    json_t *id)
{
    ngx_str_t               text;
    jws_status_t            reason;
    ngx_http_hive_token_t  *token;

    if (ngx_http_hive_string(json_object_get(message, "token"), &text)
        != NGX_OK)
    {
        ngx_http_hive_ws_invalid(ws, id, "\"token\" is a string");
        return;
    }

    if (ngx_http_hive_token_text(ws->client.hub->conf, &text, &token, &reason)
        != NGX_OK
        || !uuid_equal(&token->user, &ws->client.user))
    {
        ngx_http_hive_ws_refused(&ws->client, id, NULL, "token_invalid",
                                 "that token is not good, or another user's");
        return;
    }

    ws->client.session = token->session;
    ws->client.principal = token->principal;
    ws->client.expires = ngx_max(ws->client.expires,
                                 token->expires
                                 + ws->client.hub->conf->leeway);

    ngx_http_hive_ws_answer(ws, id,
        json_pack("{s:s, s:o}", "type", "authenticated", "expires_at",
                  ngx_http_hive_json_second(ws->client.expires)));
}


/* ---- their parts ---- */


static ngx_int_t
ngx_http_hive_string(json_t *value, ngx_str_t *text)
{
    text->data = (u_char *) json_string_value(value);
    text->len = json_string_length(value);

    return text->data ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_hive_ws_since(json_t *message, ngx_http_hive_sub_options_t *options)
{
    u_char       c;
    json_t      *since, *offset;
    ngx_uint_t   i;

    since = json_object_get(message, "since");

    if (since == NULL || json_is_null(since)) {
        return NGX_OK;
    }

    offset = json_object_get(since, "offset");

    if (ngx_http_hive_string(json_object_get(since, "epoch"), &options->epoch)
        != NGX_OK
        || options->epoch.len > NGX_HTTP_HIVE_EPOCH_MAX
        || !json_is_integer(offset) || json_integer_value(offset) < 0)
    {
        return NGX_DECLINED;
    }

    for (i = 0; i < options->epoch.len; i++) {
        c = options->epoch.data[i];

        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\') {
            return NGX_DECLINED;
        }
    }

    options->since = 1;
    options->after = json_integer_value(offset);

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_ws_types(json_t *message, ngx_http_hive_sub_options_t *options)
{
    size_t      i, n;
    json_t     *types;
    ngx_str_t  *type;

    types = json_object_get(message, "types");

    if (types == NULL || json_is_null(types)) {
        return NGX_OK;
    }

    n = json_array_size(types);

    if (n == 0 || n > NGX_HTTP_HIVE_TYPES_MAX) {
        return NGX_DECLINED;
    }

    for (i = 0; i < n; i++) {
        type = &options->types[i];

        if (ngx_http_hive_string(json_array_get(types, i), type) != NGX_OK
            || type->len == 0 || type->len > 64
            || ngx_strlen(type->data) != type->len)
        {
            return NGX_DECLINED;
        }
    }

    options->ntypes = n;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hive_ws_flag(json_t *message, const char *name, ngx_uint_t *flag)
{
    json_t  *value;

    value = json_object_get(message, name);

    *flag = json_is_true(value) ? 1 : 0;

    return value == NULL || json_is_boolean(value) ? NGX_OK : NGX_DECLINED;
}
