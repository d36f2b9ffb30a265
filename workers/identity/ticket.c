/* ticket.c: POST auth/ticket: what stands for a token in a URL, where a
 * WebSocket of a browser has nothing else. Good once, for half a minute; of it
 * only its SHA-256 is kept. nginx redeems it. */

#include "account.h"
#include "identity.h"
#include "token.h"

#include "common/base64url.h"
#include "workers/db/db.h"

#include <openssl/rand.h>
#include <openssl/sha.h>

#define TICKET_BYTES 32
#define TICKET_TEXT  BASE64URL_ENCODED(TICKET_BYTES)
#define TICKET_S     30

typedef struct {
    uint8_t bytes[SHA256_DIGEST_LENGTH];
} hash_t;

static value_t
hash_value(const char *ticket, hash_t *hash)
{
    SHA256((const uint8_t *) ticket, TICKET_TEXT, hash->bytes);
    return value_bytes((slice_t) { (const char *) hash->bytes,
        sizeof(hash->bytes) });
}

void
op_auth_ticket(request_t *rq)
{
    static const char *const known[] = { NULL };
    uint8_t bytes[TICKET_BYTES];
    char ticket[TICKET_TEXT];
    hash_t hash;
    const db_row_t *row;
    buf_t body;

    if (rq->body.len > 0) {
        account_members(rq, rq_json(rq), known);
        rq_check(rq);
    }
    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        rq_raise(rq, 500, "internal_error", "there is no randomness");
    }
    base64url_encode(bytes, sizeof(bytes), ticket);
    row = db_row(rq, Q_TICKET_CREATE, hash_value(ticket, &hash),
        value_uuid(rq->session), value_uuid(rq->user), value_int(TICKET_S));
    if (row == NULL) {
        rq_raise(rq, 401, "session_ended",
            "the session of this token has ended");
    }

    buf_init(&body, rq->arena, 128);
    buf_puts(&body, "{\"ticket\":");
    json_put_string(&body, (slice_t) { ticket, sizeof(ticket) });
    buf_puts(&body, ",\"expires_at\":");
    json_put_time(&body, db_time(row, "expires_at"));
    buf_putc(&body, '}');
    rq_reply_header(rq, "cache-control", SLICE("no-store"));
    rq_reply(rq, 201, buf_slice(&body));
}

/* Asked by nginx alone. Of two that come with the same ticket one is let in:
 * the row is deleted once. */
void
op_ticket_redeem(request_t *rq)
{
    static const char *const known[] = { "ticket", NULL };
    json_t *fields = rq_json(rq);
    slice_t ticket = account_text(rq, fields, "ticket");
    const db_row_t *row = NULL;
    hash_t hash;

    account_members(rq, fields, known);
    rq_check(rq);
    if (ticket.len == TICKET_TEXT) {
        row = db_row(rq, Q_TICKET_REDEEM, hash_value(ticket.data, &hash),
            value_int(token_ttl()));
    }
    if (row == NULL) {
        rq_raise(rq, 401, "ticket_invalid",
            "the ticket is not good, or not any more");
    }
    db_reply_row(rq, 200, row);
}
