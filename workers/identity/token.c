/* token.c: see token.h. */

#include "token.h"

#include "common/jws.h"
#include "workers/runtime/log.h"

#include <errno.h>
#include <jwt.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <time.h>

#define TTL_MIN 60u
#define TTL_MAX 86400u

static struct {
    char *issuer;
    char *audience;
    char *key_id;
    jwt_alg_t alg;
    unsigned char *key;
    size_t key_len;
    unsigned ttl;
} issuer;

static jwt_alg_t
alg_of(jws_alg_t alg)
{
    switch (alg) {
    case JWS_HS256:
        return JWT_ALG_HS256;
    case JWS_RS256:
        return JWT_ALG_RS256;
    case JWS_ES256:
        return JWT_ALG_ES256;
    }
    return JWT_ALG_NONE;
}

static char *
text_of(arena_t *arena, slice_t text)
{
    return arena_strndup(arena, text.data, text.len);
}

static char *
uuid_text(arena_t *arena, const hive_uuid_t *uuid)
{
    char text[UUID_TEXT];

    uuid_format(uuid, text);
    return arena_strndup(arena, text, sizeof(text));
}

/* 0, or an errno as libjwt has them. */
static int
claims_add(jwt_t *jwt, arena_t *arena, const token_subject_t *subject,
    time_t now)
{
    hive_uuid_t id;
    int rc;

    uuid_v4(&id);
    if ((rc = jwt_add_grant(jwt, "iss", issuer.issuer)) != 0
        || (rc = jwt_add_grant(jwt, "aud", issuer.audience)) != 0
        || (rc = jwt_add_grant(jwt, "sub",
                uuid_text(arena, &subject->user))) != 0
        || (rc = jwt_add_grant(jwt, "sid",
                uuid_text(arena, &subject->session))) != 0
        || (rc = jwt_add_grant(jwt, "jti", uuid_text(arena, &id))) != 0
        || (rc = jwt_add_grant(jwt, "email",
                text_of(arena, subject->email))) != 0
        || (rc = jwt_add_grant(jwt, "name",
                text_of(arena, subject->name))) != 0
        || (rc = jwt_add_grant_bool(jwt, "superuser",
                subject->superuser)) != 0
        || (rc = jwt_add_grant_int(jwt, "iat", (long) now)) != 0
        || (rc = jwt_add_grant_int(jwt, "nbf", (long) now)) != 0
        || (rc = jwt_add_grant_int(jwt, "exp",
                (long) now + (long) issuer.ttl)) != 0)
    {
        return rc;
    }
    return 0;
}

const char *
token_issue(arena_t *arena, const token_subject_t *subject, time_t now)
{
    jwt_t *jwt = NULL;
    char *encoded = NULL;
    const char *token = NULL;
    int rc;

    /* jwt_set_alg takes the length as int and copies the key. */
    if ((rc = jwt_new(&jwt)) != 0
        || (rc = jwt_set_alg(jwt, issuer.alg, issuer.key,
                (int) issuer.key_len)) != 0
        || (rc = jwt_add_header(jwt, "kid", issuer.key_id)) != 0
        || (rc = claims_add(jwt, arena, subject, now)) != 0)
    {
        log_error("token could not be made: %s", strerror(rc));
    } else if ((encoded = jwt_encode_str(jwt)) == NULL) {
        log_error("token could not be signed: %s", strerror(errno));
    } else {
        token = arena_strndup(arena, encoded, strlen(encoded));
    }

    free(encoded);
    jwt_free(jwt);
    return token;
}

/* Signs a token of nobody and verifies it as nginx will. */
static int
key_prove(const jws_keys_t *keys, const char **error)
{
    jws_expect_t expect = {
        .issuer = issuer.issuer,
        .audience = issuer.audience,
        .type = TOKEN_TYPE,
        .now = time(NULL),
    };
    token_subject_t nobody = {
        .email = SLICE("nobody@localhost"), .name = SLICE("nobody")
    };
    arena_t *arena = arena_new();
    const char *token = token_issue(arena, &nobody, expect.now);
    json_t *claims = NULL;
    jws_status_t status = JWS_SIGNATURE;

    if (token == NULL) {
        *error = "the key cannot sign (is it a private key?)";
    } else {
        status = jws_verify(keys, token, strlen(token), &expect, &claims);
        if (status == JWS_OK) {
            json_decref(claims);
        } else {
            *error = jws_status_text(status);
        }
    }
    arena_free(arena);
    return status == JWS_OK ? 0 : -1;
}

int
token_start(const identity_config_t *config, const char **error)
{
    jws_keys_t *keys;
    jws_alg_t alg;
    int rc = -1;

    if (config->issuer == NULL || config->issuer[0] == '\0') {
        *error = "auth: issuer is missing";
        return -1;
    }
    if (config->audience == NULL || config->audience[0] == '\0') {
        *error = "auth: audience is missing";
        return -1;
    }
    if (config->algorithm == NULL
        || jws_alg_parse(config->algorithm, &alg) != 0)
    {
        *error = "auth: algorithm is none of HS256, RS256, ES256";
        return -1;
    }
    if (config->access_ttl < TTL_MIN || config->access_ttl > TTL_MAX) {
        *error = "auth: access_ttl is not between 60 and 86400 seconds";
        return -1;
    }

    keys = jws_keys_new();
    if (keys == NULL) {
        *error = "out of memory";
        return -1;
    }
    if (config->key_id == NULL) {
        *error = "auth: key_id is missing";
    } else if (jws_keys_add(keys, config->key_id, alg, config->key.data,
                   config->key.len, error) == 0)
    {
        token_stop();
        issuer.issuer = strdup(config->issuer);
        issuer.audience = strdup(config->audience);
        issuer.key_id = strdup(config->key_id);
        issuer.alg = alg_of(alg);
        issuer.key = malloc(config->key.len);
        issuer.ttl = config->access_ttl;
        if (issuer.issuer == NULL || issuer.audience == NULL
            || issuer.key_id == NULL || issuer.key == NULL)
        {
            *error = "out of memory";
        } else {
            memcpy(issuer.key, config->key.data, config->key.len);
            issuer.key_len = config->key.len;
            rc = key_prove(keys, error);
        }
    }
    jws_keys_free(keys);
    return rc;
}

void
token_stop(void)
{
    if (issuer.key != NULL) {
        OPENSSL_cleanse(issuer.key, issuer.key_len);
    }
    free(issuer.key);
    free(issuer.key_id);
    free(issuer.audience);
    free(issuer.issuer);
    memset(&issuer, 0, sizeof(issuer));
}

unsigned
token_ttl(void)
{
    return issuer.ttl;
}
