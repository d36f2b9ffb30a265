/* token.h: access tokens, issued by libjwt (it verifies nothing here: that
 * is common/jws.h, in nginx). Header: typ "JWT", alg, kid. Claims: iss, aud,
 * sub (user), sid (session), iat, nbf, exp, jti, email, name, superuser. */

#ifndef HIVE_IDENTITY_TOKEN_H
#define HIVE_IDENTITY_TOKEN_H

#include "identity.h"

/* Header `typ` of an access token; libjwt writes no other. */
#define TOKEN_TYPE "JWT"

typedef struct {
    hive_uuid_t user;
    hive_uuid_t session;
    slice_t email;
    slice_t name;
    int superuser;
} token_subject_t;

/* Copies its part of the configuration and proves the key: a token is signed
 * and must pass the verifier, which refuses weak and placeholder keys. 0, or
 * -1 with a reason in *error (static text). */
int token_start(const identity_config_t *config, const char **error);
void token_stop(void);

/* Seconds a token lives. */
unsigned token_ttl(void);

/* The compact form, in the arena; NULL when signing failed (logged). `now`
 * in seconds since 1970. */
const char *token_issue(arena_t *arena, const token_subject_t *subject,
    time_t now);

#endif
