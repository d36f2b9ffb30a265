/* identity.h: the face of accounts, sign-in and tokens.
 *
 * A password meets argon2id on the thread pool, behind a bounded lane of its
 * own (hashing.h); an access token is signed by libjwt and verified by
 * common/jws.c in nginx (token.h). No default password exists: the first
 * administrator is made through a link that --init-admin prints. */

#ifndef HIVE_IDENTITY_H
#define HIVE_IDENTITY_H

#include "workers/runtime/request.h"

typedef struct {
    const char *issuer;
    const char *audience;
    const char *key_id;        /* the `kid` of the header */
    const char *algorithm;     /* "HS256", "RS256", "ES256" */
    slice_t key;               /* the secret, or a PEM private key */
    unsigned access_ttl;       /* seconds an access token lives */
    unsigned hash_threads;     /* hashes computed at once */
    unsigned hash_queue;       /* hashes waiting; more get 503 */
    unsigned cell;             /* of the ids made here */
} identity_config_t;

/* Copies what it needs; `config` and the strings may go afterwards. Checks
 * the key by signing and verifying a token with it. 0, or -1 with a reason in
 * *error (static text). */
int identity_start(const identity_config_t *config, const char **error);
void identity_stop(void);

/* `hive-worker --init-admin`: connects (synchronously, no loop needed) and,
 * unless there is an administrator, prints one line on standard output, the
 * link that makes the first one: `<public_url>/setup#token=...`, good once,
 * for 24 hours; a link printed before is good no more. The token is in the
 * fragment, so that it reaches no log. With an administrator present it
 * prints nothing there and says so on standard error. The exit status: 0, or
 * 1 with the reason on standard error. */
int identity_init_admin(const char *conninfo, const char *public_url);

void op_auth_register(request_t *rq);
void op_auth_setup(request_t *rq);
void op_auth_login(request_t *rq);
void op_auth_refresh(request_t *rq);
void op_auth_logout(request_t *rq);
void op_auth_me(request_t *rq);
void op_auth_ticket(request_t *rq);
void op_ticket_redeem(request_t *rq);

#endif
