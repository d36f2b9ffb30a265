/* send.c: POST websocket/send: an administrator says something to a user, on
 * whatever connections they have now. */

#include "realtime.h"

#define TYPE_MAX 100

/* What Hive itself says begins so. */
static const char *const reserved[] = { "user.", "project.", "task.",
    "workflow.", "run.", "schedule.", "swarm.", "agent.", "step.",
    "presence.", "message.", "system.",
    NULL };

static int
is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* Words of a-z, 0-9 and _, two or more, with dots between. */
static int
is_type(slice_t type)
{
    unsigned dots = 0;

    for (size_t i = 0; i < type.len; i++) {
        if (type.data[i] == '.') {
            dots++;
            if (i == 0 || i + 1 == type.len || type.data[i - 1] == '.') {
                return 0;
            }
        } else if (!is_word(type.data[i])) {
            return 0;
        }
    }
    return dots > 0 && type.len <= TYPE_MAX;
}

static int
is_reserved(slice_t type)
{
    for (int i = 0; reserved[i] != NULL; i++) {
        size_t len = strlen(reserved[i]);

        if (type.len > len && memcmp(type.data, reserved[i], len) == 0) {
            return 1;
        }
    }
    return 0;
}

static slice_t
read_type(request_t *rq, const json_t *json)
{
    slice_t type = { json_string_value(json), json_string_length(json) };

    if (!json_is_string(json) || !is_type(type)) {
        rq_invalid(rq, "type", "invalid_value",
            "must be words of a-z, 0-9 and _ with dots between");
    } else if (is_reserved(type)) {
        rq_invalid(rq, "type", "reserved", "is one of Hive's own");
    }
    return type;
}

static slice_t
user_channel(request_t *rq, const json_t *json)
{
    char *channel = arena_alloc(rq->arena, 5 + UUID_TEXT);
    hive_uuid_t id = { { 0 } };

    if (!json_is_string(json) || uuid_parse(json_string_value(json),
            json_string_length(json), &id) != 0)
    {
        rq_invalid(rq, "user_id", "invalid_uuid", "must be a uuid");
    }
    memcpy(channel, "user:", 5);
    uuid_format(&id, channel + 5);
    return (slice_t) { channel, 5 + UUID_TEXT };
}

void
op_websocket_send(request_t *rq)
{
    static const char *const known[] = { "user_id", "type", "data", NULL };
    json_t *body = rq_json(rq), *value;
    const json_t *data = json_object_get(body, "data");
    slice_t channel = user_channel(rq, json_object_get(body, "user_id"));
    slice_t type = read_type(rq, json_object_get(body, "type"));
    const char *name;
    buf_t text;

    json_object_foreach(body, name, value) {
        int i = 0;

        while (known[i] != NULL && strcmp(known[i], name) != 0) {
            i++;
        }
        if (known[i] == NULL) {
            rq_invalid(rq, name, "unknown_member", "is not a member here");
        }
    }
    rq_check(rq);
    buf_init(&text, rq->arena, 256);
    if (data == NULL) {
        buf_puts(&text, "{}");
    } else {
        json_put_document(&text, data);
    }
    event_signal(rq, channel, type, buf_slice(&text));
    rq_reply(rq, 202, SLICE("{\"accepted\":true}"));
}
