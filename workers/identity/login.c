/* login.c: POST auth/login.
 *
 * An address that is not known, a wrong password and a deactivated account
 * get the same reply after the same work: one query and one hash. A sign-in is
 * an event of the user's channel. */

#include "account.h"
#include "hashing.h"
#include "identity.h"
#include "refresh.h"
#include "token.h"

#include "common/utf8.h"
#include "workers/db/event.h"

#include <arpa/inet.h>
#include <time.h>

#define USER_AGENT_MAX 400

__attribute__((noreturn))
static void
raise_refused(request_t *rq)
{
    rq_raise(rq, 401, "invalid_credentials",
        "the e-mail address or the password is wrong");
}

/* As much of the header as is text, or null: it is shown to the user later,
 * and a byte of rubbish must not stop a sign-in. */
static value_t
user_agent(request_t *rq)
{
    slice_t agent = rq_header(rq, "user-agent");

    if (agent.data == NULL || agent.len == 0) {
        return value_null();
    }
    if (agent.len > USER_AGENT_MAX) {
        agent.len = USER_AGENT_MAX;
        while (agent.len > 0
               && ((unsigned char) agent.data[agent.len] & 0xc0) == 0x80)
        {
            agent.len--;       /* never through a character */
        }
    }
    for (size_t i = 0; i < agent.len; i++) {
        unsigned char c = (unsigned char) agent.data[i];

        if (c < 0x20 || c == 0x7f) {
            return value_null();
        }
    }
    return utf8_valid(agent.data, agent.len) ? value_text(agent)
        : value_null();
}

/* Null when nginx listens on a unix socket. */
static value_t
client_ip(request_t *rq)
{
    slice_t text = rq_header(rq, "client-ip");
    unsigned char address[sizeof(struct in6_addr)];
    char copy[INET6_ADDRSTRLEN];

    if (text.data == NULL || text.len >= sizeof(copy)) {
        return value_null();
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, address) != 1
        && inet_pton(AF_INET6, copy, address) != 1)
    {
        return value_null();
    }
    return value_text(text);
}

/* The account whose password this is; raises otherwise. */
static const db_row_t *
authenticate(request_t *rq, slice_t typed, slice_t password)
{
    slice_t email = email_normalise(rq->arena, typed);
    const db_row_t *row = db_row(rq, Q_USER_BY_EMAIL, value_text(email));
    slice_t stored = row ? db_text(row, "_password_hash") : SLICE_NONE;
    int outdated = 0;
    int match = hashing_verify(rq, password, stored, &outdated);

    if (row == NULL || !match || !db_bool(row, "is_active")) {
        raise_refused(rq);
    }
    if (outdated) {
        slice_t hash = hashing_try_hash(rq, password);

        /* Busy now: the next sign-in will do it. */
        if (hash.len > 0) {
            db_exec(rq, Q_CREDENTIAL_REHASH, value_uuid(db_uuid(row, "id")),
                value_text(stored), value_text(hash));
        }
    }
    return row;
}

/* ---- the session ---- */

static slice_t
event_data(request_t *rq, const token_subject_t *subject)
{
    value_t session = value_uuid(subject->session);
    value_t agent = user_agent(rq), ip = client_ip(rq);
    buf_t out;

    buf_init(&out, rq->arena, 512);
    buf_puts(&out, "{\"session_id\":");
    json_put_value(&out, &session);
    buf_puts(&out, ",\"user_agent\":");
    json_put_value(&out, &agent);
    buf_puts(&out, ",\"client_ip\":");
    json_put_value(&out, &ip);
    buf_putc(&out, '}');
    return buf_slice(&out);
}

static void
open_session(request_t *rq, const token_subject_t *subject)
{
    char *channel = arena_alloc(rq->arena, 5 + UUID_TEXT);

    memcpy(channel, "user:", 5);
    uuid_format(&subject->user, channel + 5);

    db_begin(rq);
    /* No row: deactivated since it was read. */
    if (db_row(rq, Q_SESSION_CREATE, value_uuid(subject->session),
            value_uuid(subject->user), value_int(REFRESH_IDLE_S),
            user_agent(rq), client_ip(rq)) == NULL)
    {
        raise_refused(rq);
    }
    event_publish(rq, db_row(rq, Q_EVENT_APPEND,
        value_text((slice_t) { channel, 5 + UUID_TEXT }),
        value_string("user.signed_in"),
        value_json(event_data(rq, subject))));
    db_commit(rq);
}

static void
reply_token(request_t *rq, const char *token, hive_uuid_t session,
    const db_row_t *user)
{
    buf_t body;

    buf_init(&body, rq->arena, 2048);
    buf_puts(&body, "{\"access_token\":");
    json_put_string(&body, (slice_t) { token, strlen(token) });
    buf_printf(&body, ",\"token_type\":\"bearer\",\"expires_in\":%u",
        token_ttl());
    refresh_put(&body, session, 0);
    buf_puts(&body, ",\"user\":");
    db_json_row(&body, user);
    buf_putc(&body, '}');
    rq_reply_header(rq, "cache-control", SLICE("no-store"));
    rq_reply(rq, 200, buf_slice(&body));
}

void
op_auth_login(request_t *rq)
{
    static const char *const known[] = { "email", "password", NULL };
    json_t *fields = rq_json(rq);
    slice_t email = account_text(rq, fields, "email");
    slice_t password = account_text(rq, fields, "password");
    token_subject_t subject = { .session = identity_id() };
    const db_row_t *user;
    const char *token;

    account_members(rq, fields, known);
    rq_check(rq);

    user = authenticate(rq, email, password);
    subject.user = db_uuid(user, "id");
    subject.email = db_text(user, "email");
    subject.name = db_text(user, "name");
    subject.superuser = db_bool(user, "is_superuser");

    open_session(rq, &subject);
    token = token_issue(rq->arena, &subject, time(NULL));
    if (token == NULL) {
        rq_raise(rq, 500, "internal_error", "the token could not be signed");
    }
    reply_token(rq, token, subject.session, user);
}
