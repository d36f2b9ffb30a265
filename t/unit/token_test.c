/* token_test.c: what libjwt issues here, the strict verifier accepts, for
 * each algorithm; keys that should not be used are refused at the start. */

#include "common/jws.h"
#include "workers/identity/token.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW 1800000000

static const char secret[] = "q7XvT0m2Zr9KdLw4Bn8YcEpUhS1aGfJx";

typedef struct {
    char private[4096];
    char public[2048];
} pems_t;

static void
pems_make(EVP_PKEY *pkey, pems_t *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n;

    assert_non_null(pkey);
    assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL,
            NULL), 1);
    n = BIO_read(bio, out->private, sizeof(out->private) - 1);
    out->private[n] = '\0';
    BIO_free(bio);
    bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
    n = BIO_read(bio, out->public, sizeof(out->public) - 1);
    out->public[n] = '\0';
    BIO_free(bio);
    EVP_PKEY_free(pkey);
}

static identity_config_t
config_of(const char *algorithm, const char *key)
{
    return (identity_config_t) {
        .issuer = "https://hive.example", .audience = "hive",
        .key_id = "2026-1", .algorithm = algorithm,
        .key = { key, strlen(key) }, .access_ttl = 900,
        .hash_threads = 1, .hash_queue = 1,
    };
}

static token_subject_t
somebody(void)
{
    token_subject_t subject = {
        .email = SLICE("ada@example.org"),
        .name = SLICE("Ada \"Countess\" L\xc3\xb6velace"),
        .superuser = 1,
    };

    memset(subject.user.bytes, 0x11, 16);
    memset(subject.session.bytes, 0x22, 16);
    return subject;
}

static jws_status_t
verify(const char *algorithm, const char *key, const char *token, time_t now,
    json_t **claims)
{
    jws_keys_t *keys = jws_keys_new();
    jws_expect_t expect = {
        .issuer = "https://hive.example", .audience = "hive",
        .type = TOKEN_TYPE, .now = now,
    };
    const char *error = NULL;
    jws_alg_t alg;
    jws_status_t status;

    assert_int_equal(jws_alg_parse(algorithm, &alg), 0);
    if (jws_keys_add(keys, "2026-1", alg, key, strlen(key), &error) != 0) {
        fail_msg("%s", error);
    }
    status = jws_verify(keys, token, strlen(token), &expect, claims);
    jws_keys_free(keys);
    return status;
}

/* Issues with `private`, verifies with `public`, before, at and after. */
static void
assert_round_trip(const char *algorithm, const char *private,
    const char *public)
{
    identity_config_t config = config_of(algorithm, private);
    token_subject_t subject = somebody();
    arena_t *arena = arena_new();
    const char *error = NULL;
    const char *token;
    json_t *claims = NULL;

    if (token_start(&config, &error) != 0) {
        fail_msg("%s: %s", algorithm, error);
    }
    token = token_issue(arena, &subject, NOW);
    assert_non_null(token);
    assert_int_equal(verify(algorithm, public, token, NOW, &claims), JWS_OK);
    json_decref(claims);
    assert_int_equal(verify(algorithm, public, token, NOW + 899, &claims),
        JWS_OK);
    json_decref(claims);
    assert_int_equal(verify(algorithm, public, token, NOW + 901, &claims),
        JWS_EXPIRED);
    assert_int_equal(verify(algorithm, public, token, NOW - 1, &claims),
        JWS_NOT_YET);
    token_stop();
    arena_free(arena);
}

static void
hs256_is_accepted_by_the_verifier(void **state)
{
    (void) state;
    assert_round_trip("HS256", secret, secret);
}

static void
rs256_is_accepted_by_the_verifier(void **state)
{
    pems_t pems;

    (void) state;
    pems_make(EVP_RSA_gen(2048), &pems);
    assert_round_trip("RS256", pems.private, pems.public);
}

static void
es256_is_accepted_by_the_verifier(void **state)
{
    pems_t pems;

    (void) state;
    pems_make(EVP_EC_gen("P-256"), &pems);
    /* r and s have leading zeros now and then: more than one signature. */
    for (int i = 0; i < 40; i++) {
        assert_round_trip("ES256", pems.private, pems.public);
    }
}

static const char *
text_claim(const json_t *claims, const char *name)
{
    const char *text = json_string_value(json_object_get(claims, name));

    return text ? text : "(none)";
}

static void
carries_its_claims(void **state)
{
    identity_config_t config = config_of("HS256", secret);
    token_subject_t subject = somebody();
    arena_t *arena = arena_new();
    const char *error;
    json_t *claims, *others;

    (void) state;
    assert_int_equal(token_start(&config, &error), 0);
    assert_int_equal(token_ttl(), 900);
    assert_int_equal(verify("HS256", secret,
            token_issue(arena, &subject, NOW), NOW, &claims), JWS_OK);
    assert_string_equal(text_claim(claims, "iss"), "https://hive.example");
    assert_string_equal(text_claim(claims, "aud"), "hive");
    assert_string_equal(text_claim(claims, "sub"),
        "11111111-1111-1111-1111-111111111111");
    assert_string_equal(text_claim(claims, "sid"),
        "22222222-2222-2222-2222-222222222222");
    assert_string_equal(text_claim(claims, "email"), "ada@example.org");
    assert_string_equal(text_claim(claims, "name"),
        "Ada \"Countess\" L\xc3\xb6velace");
    assert_int_equal(json_integer_value(json_object_get(claims, "iat")), NOW);
    assert_int_equal(json_integer_value(json_object_get(claims, "nbf")), NOW);
    assert_int_equal(json_integer_value(json_object_get(claims, "exp")),
        NOW + 900);
    assert_true(json_is_true(json_object_get(claims, "superuser")));
    assert_int_equal(json_object_size(claims), 11);

    /* No two tokens are one, though all else is equal. */
    subject.superuser = 0;
    assert_int_equal(verify("HS256", secret,
            token_issue(arena, &subject, NOW), NOW, &others), JWS_OK);
    assert_true(json_is_false(json_object_get(others, "superuser")));
    assert_string_not_equal(text_claim(claims, "jti"),
        text_claim(others, "jti"));
    json_decref(claims);
    json_decref(others);
    token_stop();
    arena_free(arena);
}

static void
assert_refused(identity_config_t config)
{
    const char *error = NULL;

    assert_int_equal(token_start(&config, &error), -1);
    assert_non_null(error);
    token_stop();
}

static void
refuses_keys_that_should_not_be_used(void **state)
{
    identity_config_t config;
    pems_t rsa, small, ec, other_curve;

    (void) state;
    pems_make(EVP_RSA_gen(2048), &rsa);
    pems_make(EVP_RSA_gen(1024), &small);
    pems_make(EVP_EC_gen("P-256"), &ec);
    pems_make(EVP_EC_gen("P-384"), &other_curve);

    assert_refused(config_of("HS256", ""));
    assert_refused(config_of("HS256", "short"));
    assert_refused(config_of("HS256", "change-me-change-me-change-me-change"));
    assert_refused(config_of("HS256", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    assert_refused(config_of("HS256", rsa.public));
    assert_refused(config_of("RS256", secret));
    assert_refused(config_of("RS256", small.private));
    assert_refused(config_of("RS256", ec.private));
    assert_refused(config_of("ES256", rsa.private));
    assert_refused(config_of("ES256", other_curve.private));
    /* Verifies, but cannot sign. */
    assert_refused(config_of("RS256", rsa.public));
    assert_refused(config_of("ES256", ec.public));
    assert_refused(config_of("none", secret));
    assert_refused(config_of("hs256", secret));
    assert_refused(config_of("HS512", secret));

    config = config_of("HS256", secret);
    config.key_id = "no/path";
    assert_refused(config);
    config = config_of("HS256", secret);
    config.issuer = "";
    assert_refused(config);
    config = config_of("HS256", secret);
    config.audience = NULL;
    assert_refused(config);
    config = config_of("HS256", secret);
    config.access_ttl = 0;
    assert_refused(config);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(hs256_is_accepted_by_the_verifier),
        cmocka_unit_test(rs256_is_accepted_by_the_verifier),
        cmocka_unit_test(es256_is_accepted_by_the_verifier),
        cmocka_unit_test(carries_its_claims),
        cmocka_unit_test(refuses_keys_that_should_not_be_used),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
