/* jws.h: strict verification of signed tokens (RFC 7515, 7519, 8725).
 *
 * libjwt must not be this boundary (architecture.md, last section). What is
 * accepted: compact form of at most JWS_TOKEN_MAX bytes; strict base64url
 * (no padding, no spare bits); a header whose `alg` is exactly the one of
 * the key that `kid` names and whose `typ` is exactly the expected one; no
 * `crit`, `jku`, `jwk`, `x5u`, `x5c`, `b64`; no duplicate members; claims
 * with `iss`, `aud`, `sub`, `exp`, `nbf`, all of the right type. A missing
 * `kid` is accepted only when there is exactly one key. */

#ifndef HIVE_JWS_H
#define HIVE_JWS_H

#include "slice.h"

#include <jansson.h>
#include <time.h>

#define JWS_TOKEN_MAX 8192

typedef enum { JWS_HS256, JWS_RS256, JWS_ES256 } jws_alg_t;

typedef enum {
    JWS_OK,
    JWS_MALFORMED,      /* not a token: size, form, base64, JSON, types */
    JWS_UNSUPPORTED,    /* crit, foreign key reference, wrong typ */
    JWS_KEY_UNKNOWN,
    JWS_ALG_MISMATCH,
    JWS_SIGNATURE,
    JWS_EXPIRED,
    JWS_NOT_YET,
    JWS_ISSUER,
    JWS_AUDIENCE,
    JWS_NOMEM
} jws_status_t;

/* A short stable phrase: "expired", "wrong audience". */
const char *jws_status_text(jws_status_t status);

typedef struct jws_keys_s jws_keys_t;

jws_keys_t *jws_keys_new(void);
void jws_keys_free(jws_keys_t *keys);

/* Adds a key under `kid` (1 to 64 characters of [A-Za-z0-9._-]). HS256:
 * `data` is the secret, at least 32 bytes, refused when it looks like a
 * placeholder (fewer than 12 distinct bytes, or holds "change", "secret",
 * "example", "placeholder" in any case; random base64 may not). RS256: a
 * PEM public (or private) key of at least 2048 bits; ES256: P-256. 0, or -1
 * with a reason in *error (static text). Parsed once, cached. */
int jws_keys_add(jws_keys_t *keys, const char *kid, jws_alg_t alg,
    const void *data, size_t len, const char **error);

/* "HS256" and so on; -1 when unknown. */
int jws_alg_parse(const char *name, jws_alg_t *out);

typedef struct {
    const char *issuer;
    const char *audience;   /* equals `aud`, or is in it when it is a list */
    const char *type;       /* header `typ`, exact: "at+jwt" */
    time_t now;
    int leeway;             /* seconds */
} jws_expect_t;

/* Verifies; on JWS_OK *claims is owned by the caller (json_decref). The
 * signature is checked before any claim is believed. */
jws_status_t jws_verify(const jws_keys_t *keys, const char *token, size_t len,
    const jws_expect_t *expect, json_t **claims);

#endif
