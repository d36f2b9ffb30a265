/* jws_keys.h: what jws.c asks of a key. Private to those two files. */

#ifndef HIVE_JWS_KEYS_H
#define HIVE_JWS_KEYS_H

#include "jws.h"

#include <stdint.h>

typedef struct jws_key_s jws_key_t;

/* The key that `kid` names, or, for NULL, the only one; NULL when there is
 * none. `len` characters, not terminated. */
const jws_key_t *jws_key_find(const jws_keys_t *keys, const char *kid,
    size_t len);

/* "HS256", "RS256" or "ES256". */
const char *jws_key_alg(const jws_key_t *key);

/* JWS_OK, JWS_SIGNATURE, or JWS_NOMEM. */
jws_status_t jws_key_check(const jws_key_t *key, const char *text,
    size_t text_len, const uint8_t *signature, size_t signature_len);

#endif
