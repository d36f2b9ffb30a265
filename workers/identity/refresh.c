/* refresh.c: POST auth/refresh and auth/logout. A refresh token is good once;
 * the one before may be presented again for half a minute, since the reply to
 * it may have been lost with a connection or a worker. An older one ends the
 * session: somebody has a copy. */

#include "refresh.h"

#include "account.h"
#include "identity.h"
#include "token.h"

#include "common/base64url.h"
#include "workers/db/db.h"
#include "workers/db/resource_parts.h"
#include "workers/runtime/log.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define AGAIN_S   30
#define MAC_BYTES 32
#define MAC_TEXT  BASE64URL_ENCODED(MAC_BYTES)
#define TOKEN_MAX (UUID_TEXT + 24 + MAC_TEXT)

static uint8_t own_key[MAC_BYTES];

static void
mac(const void *key, size_t key_len, const void *data, size_t len,
    uint8_t out[MAC_BYTES])
{
    unsigned written = 0;

    if (HMAC(EVP_sha256(), key, (int) key_len, data, len, out, &written)
        == NULL) {
        abort();
    }
}

void
refresh_configure(slice_t key)
{
    static const char purpose[] = "hive refresh tokens";

    mac(key.data, key.len, purpose, sizeof(purpose) - 1, own_key);
}

/* "<session>.<number>" and its mac. */
static size_t
put_token(char out[TOKEN_MAX], const hive_uuid_t *session, int64_t number)
{
    uint8_t bytes[MAC_BYTES];
    size_t len;

    uuid_format(session, out);
    len = UUID_TEXT + (size_t) snprintf(out + UUID_TEXT, 24, ".%" PRId64,
        number);
    mac(own_key, sizeof(own_key), out, len, bytes);
    out[len++] = '.';
    return len + base64url_encode(bytes, sizeof(bytes), out + len);
}

void
refresh_put(buf_t *out, hive_uuid_t session, int64_t number)
{
    char token[TOKEN_MAX];
    size_t len = put_token(token, &session, number);

    buf_puts(out, ",\"refresh_token\":");
    json_put_string(out, (slice_t) { token, len });
}

/* 0, or -1: not made by us. */
static int
read_token(slice_t token, hive_uuid_t *session, int64_t *number)
{
    const char *dot;
    char made[TOKEN_MAX];
    size_t len;

    if (token.len < UUID_TEXT + 3 || token.data[UUID_TEXT] != '.'
        || uuid_parse(token.data, UUID_TEXT, session) != 0) {
        return -1;
    }
    dot = memchr(token.data + UUID_TEXT + 1, '.', token.len - UUID_TEXT - 1);
    if (dot == NULL || int_parse((slice_t) { token.data + UUID_TEXT + 1,
            (size_t) (dot - token.data) - UUID_TEXT - 1 }, number) != 0
        || *number < 0) {
        return -1;
    }
    len = put_token(made, session, *number);
    return len == token.len && CRYPTO_memcmp(made, token.data, len) == 0
        ? 0 : -1;
}

__attribute__((noreturn))
static void
raise_ended(request_t *rq)
{
    rq_raise(rq, 401, "session_ended",
        "the refresh token is not good, or not any more: sign in");
}

void
op_auth_refresh(request_t *rq)
{
    static const char *const known[] = { "refresh_token", NULL };
    json_t *fields = rq_json(rq);
    slice_t given = account_text(rq, fields, "refresh_token");
    token_subject_t subject = { .superuser = 0 };
    const db_row_t *row;
    const char *token;
    int64_t number;
    buf_t body;

    account_members(rq, fields, known);
    rq_check(rq);
    if (read_token(given, &subject.session, &number) != 0) {
        raise_ended(rq);
    }
    row = db_row(rq, Q_SESSION_REFRESH, value_uuid(subject.session),
        value_int(number), value_int(REFRESH_IDLE_S),
        value_int(REFRESH_MOST_S), value_int(AGAIN_S));
    if (row == NULL) {
        raise_ended(rq);
    }
    if (db_is_null(row, db_column(row->result, "n"))) {
        log_warn("a refresh token was used twice: its session is ended");
        raise_ended(rq);
    }
    subject.user = db_uuid(row, "id");
    subject.email = db_text(row, "email");
    subject.name = db_text(row, "name");
    subject.superuser = db_bool(row, "is_superuser");
    token = token_issue(rq->arena, &subject, time(NULL));
    if (token == NULL) {
        rq_raise(rq, 500, "internal_error", "the token could not be signed");
    }

    buf_init(&body, rq->arena, 2048);
    buf_puts(&body, "{\"access_token\":");
    json_put_string(&body, (slice_t) { token, strlen(token) });
    buf_printf(&body, ",\"token_type\":\"bearer\",\"expires_in\":%u",
        token_ttl());
    refresh_put(&body, subject.session, db_int(row, "n"));
    buf_putc(&body, '}');
    rq_reply_header(rq, "cache-control", SLICE("no-store"));
    rq_reply(rq, 200, buf_slice(&body));
}

/* Of this session: its refresh tokens are good no more. Access tokens are,
 * until they expire. */
void
op_auth_logout(request_t *rq)
{
    db_rows(rq, Q_SESSION_END, value_uuid(rq->session),
        value_uuid(rq->user));
    rq_reply(rq, 204, SLICE(""));
}
