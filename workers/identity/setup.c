/* setup.c: the first administrator: the link that --init-admin prints, and
 * POST auth/setup, which it leads to. */

#include "account.h"
#include "hashing.h"
#include "identity.h"

#include "workers/db/db.h"

#include <libpq-fe.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>

#define TOKEN_BYTES 32
#define TOKEN_TEXT  (2 * TOKEN_BYTES)
#define TOKEN_TTL   "86400"

static void
token_digest(slice_t token, uint8_t digest[SHA256_DIGEST_LENGTH])
{
    SHA256((const uint8_t *) token.data, token.len, digest);
}

/* Says why the token of that hash makes no administrator; returns if it
 * does (as far as can be told before it is used up). */
static void
check_token(request_t *rq, slice_t digest)
{
    const db_row_t *state = db_row(rq, Q_SETUP_STATE, value_bytes(digest));

    if (state == NULL || db_bool(state, "administrator")) {
        rq_raise(rq, 409, "already_set_up",
            "there is an administrator already");
    }
    if (!db_bool(state, "valid")) {
        rq_raise(rq, 403, "setup_token_invalid",
            "the set-up link is wrong, used or older than 24 hours; "
            "hive-worker --init-admin prints a new one");
    }
}

void
op_auth_setup(request_t *rq)
{
    account_t account = account_read(rq, 1);
    uint8_t bytes[SHA256_DIGEST_LENGTH];
    slice_t digest = { (const char *) bytes, sizeof(bytes) };
    const db_result_t *result;
    slice_t hash;
    db_row_t row;

    token_digest(account.token, bytes);
    /* Before the hash: strangers shall not make this compute. */
    check_token(rq, digest);
    hash = hashing_hash(rq, account.password);

    result = db_exec(rq, Q_SETUP_COMPLETE, value_bytes(digest),
        value_uuid(identity_id()), value_text(account.email),
        value_text(account.name), value_text(hash));
    if (result->violation == DB_UNIQUE) {
        rq_raise(rq, 409, "email_taken",
            "there is an account with this e-mail address");
    }
    db_expect_rows(rq, result);
    if (result->nrows == 0) {
        check_token(rq, digest);
        rq_raise(rq, 409, "already_set_up",
            "there is an administrator already");
    }
    row = db_row_at(result, 0);
    db_reply_row(rq, 201, &row);
}

/* ---- --init-admin ---- */

static int
fail(PGconn *pg, const char *what, const char *why)
{
    fprintf(stderr, "hive-worker: %s: %s", what, why);
    if (why[0] == '\0' || why[strlen(why) - 1] != '\n') {
        fputc('\n', stderr);
    }
    PQfinish(pg);
    return 1;
}

/* 64 hex digits: no character that a terminal, a mail or a shell breaks. */
static int
token_make(char text[TOKEN_TEXT + 1])
{
    uint8_t bytes[TOKEN_BYTES];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return -1;
    }
    for (int i = 0; i < TOKEN_BYTES; i++) {
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return 0;
}

static PGresult *
token_store(PGconn *pg, const char *token)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    const char *values[] = { (const char *) digest, TOKEN_TTL };
    const int lengths[] = { sizeof(digest), 0 };
    const int formats[] = { 1, 0 };

    token_digest((slice_t) { token, TOKEN_TEXT }, digest);
    return PQexecParams(pg, queries[Q_SETUP_TOKEN_CREATE].text, 2, NULL,
        values, lengths, formats, 0);
}

int
identity_init_admin(const char *conninfo, const char *public_url)
{
    char token[TOKEN_TEXT + 1];
    size_t url_len = strlen(public_url);
    PGconn *pg = PQconnectdb(conninfo);
    PGresult *result;

    if (PQstatus(pg) != CONNECTION_OK) {
        return fail(pg, "database did not answer", PQerrorMessage(pg));
    }
    /* What identity keeps is in the global schema, in whatever cell. */
    result = PQexec(pg, "set search_path = hive");
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        PQclear(result);
        return fail(pg, "database refused", PQerrorMessage(pg));
    }
    PQclear(result);

    if (token_make(token) != 0) {
        return fail(pg, "set-up token was not made", "no entropy");
    }
    result = token_store(pg, token);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        PQclear(result);
        return fail(pg, "set-up token was not stored", PQerrorMessage(pg));
    }

    if (PQntuples(result) == 0) {
        fprintf(stderr, "hive-worker: there is an administrator already\n");
    } else {
        while (url_len > 0 && public_url[url_len - 1] == '/') {
            url_len--;
        }
        printf("%.*s/setup#token=%s\n", (int) url_len, public_url, token);
    }
    PQclear(result);
    PQfinish(pg);
    return fflush(stdout) == 0 ? 0 : 1;
}
