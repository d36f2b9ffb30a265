/* jws_test.c: only tokens that our own keys signed, for us, now, are
 * believed; every trick of RFC 8725 and of libjwt's record is refused. */

#include "common/base64url.h"
#include "common/jws.h"

#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define NOW 1700000000

#define HS_SECRET "tq3Zp9XbLw7RkVfYe1Ua5MhJ8sDc2GnK"

#define CLAIMS "{\"iss\":\"https://hive.test\",\"aud\":\"hive\"," \
    "\"sub\":\"u1\",\"iat\":1700000000,\"nbf\":1700000000," \
    "\"exp\":1700000900}"

#define HEADER(alg, kid) \
    "{\"alg\":\"" alg "\",\"typ\":\"JWT\",\"kid\":\"" kid "\"}"

static jws_keys_t *keys;        /* hs, rs, es */
static EVP_PKEY *rsa;
static EVP_PKEY *ec;
static char *rsa_public;
static char *ec_public;

static const jws_expect_t expect = {
    .issuer = "https://hive.test", .audience = "hive", .type = "JWT",
    .now = NOW, .leeway = 5
};

static char *
pem_of(EVP_PKEY *pkey, int private)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data, *text;
    long len;

    if (private) {
        PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL);
    } else {
        PEM_write_bio_PUBKEY(bio, pkey);
    }
    len = BIO_get_mem_data(bio, &data);
    text = strndup(data, (size_t) len);
    BIO_free(bio);
    return text;
}

/* Signs as the algorithm has it; returns the signature's length. */
static size_t
sign_hmac(const EVP_MD *md, const void *key, size_t key_len,
    const char *text, uint8_t *out)
{
    unsigned len = 0;

    assert_non_null(HMAC(md, key, (int) key_len,
                         (const unsigned char *) text, strlen(text), out,
                         &len));
    return len;
}

static size_t
sign_pkey(EVP_PKEY *pkey, const char *text, uint8_t *out, size_t cap)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = cap;

    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey),
                     1);
    assert_int_equal(EVP_DigestSign(ctx, out, &len,
                                    (const unsigned char *) text,
                                    strlen(text)), 1);
    EVP_MD_CTX_free(ctx);
    return len;
}

static size_t
sign_es256(EVP_PKEY *pkey, const char *text, uint8_t *out)
{
    uint8_t der[256];
    const uint8_t *p = der;
    size_t len = sign_pkey(pkey, text, der, sizeof(der));
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long) len);

    assert_non_null(sig);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32);
    ECDSA_SIG_free(sig);
    return 64;
}

static char *
encode_part(char *p, const void *data, size_t len)
{
    return p + base64url_encode(data, len, p);
}

/* "header.claims", terminated. */
static char *
unsigned_token(const char *header, const char *claims)
{
    size_t room = 2 * (strlen(header) + strlen(claims)) + 4096;
    char *token = malloc(room);
    char *p;

    assert_non_null(token);
    p = encode_part(token, header, strlen(header));
    *p++ = '.';
    p = encode_part(p, claims, strlen(claims));
    *p = '\0';
    return token;
}

static char *
with_signature(char *token, const uint8_t *signature, size_t len)
{
    char *p = token + strlen(token);

    *p++ = '.';
    p = encode_part(p, signature, len);
    *p = '\0';
    return token;
}

static char *
hs_token(const char *header, const char *claims)
{
    char *token = unsigned_token(header, claims);
    uint8_t sig[64];

    return with_signature(token, sig,
                          sign_hmac(EVP_sha256(), HS_SECRET,
                                    strlen(HS_SECRET), token, sig));
}

static char *
rs_token(const char *header, const char *claims)
{
    char *token = unsigned_token(header, claims);
    uint8_t sig[512];

    return with_signature(token, sig,
                          sign_pkey(rsa, token, sig, sizeof(sig)));
}

static char *
es_token(const char *header, const char *claims)
{
    char *token = unsigned_token(header, claims);
    uint8_t sig[64];

    return with_signature(token, sig, sign_es256(ec, token, sig));
}

/* Verifies an exact copy, so that a sanitizer sees a read past the end, and
 * checks what every verification owes: claims only with JWS_OK, and nothing
 * left in OpenSSL's queue. */
static jws_status_t
verify_with(const jws_keys_t *with, const jws_expect_t *what,
    const char *token, size_t len)
{
    char *copy = malloc(len + 1);
    json_t *claims = NULL;
    jws_status_t status;

    assert_non_null(copy);
    memcpy(copy + 1, token, len);
    status = jws_verify(with, copy + 1, len, what, &claims);
    free(copy);

    assert_int_equal(status == JWS_OK, claims != NULL);
    assert_int_equal(ERR_peek_error(), 0);
    json_decref(claims);
    return status;
}

static jws_status_t
verify(const char *token)
{
    return verify_with(keys, &expect, token, strlen(token));
}

/* Takes the token. */
static jws_status_t
verify_free(char *token)
{
    jws_status_t status = verify(token);

    free(token);
    return status;
}

static jws_status_t
hs_claims(const char *claims)
{
    return verify_free(hs_token(HEADER("HS256", "hs"), claims));
}

static jws_status_t
hs_header(const char *header)
{
    return verify_free(hs_token(header, CLAIMS));
}

static void
good_tokens_are_believed(void **state)
{
    char *token = hs_token(HEADER("HS256", "hs"), CLAIMS);
    json_t *claims = NULL;

    (void) state;

    assert_int_equal(jws_verify(keys, token, strlen(token), &expect,
                                &claims), JWS_OK);
    assert_string_equal(json_string_value(json_object_get(claims, "sub")),
                        "u1");
    json_decref(claims);
    free(token);

    assert_int_equal(verify_free(rs_token(HEADER("RS256", "rs"), CLAIMS)),
                     JWS_OK);
    for (int i = 0; i < 50; i++) {      /* r and s have leading zeros too */
        assert_int_equal(
            verify_free(es_token(HEADER("ES256", "es"), CLAIMS)), JWS_OK);
    }
}

/* RFC 7515, appendix A.1: the signature holds, but the payload is no access
 * token. */
static void
the_published_vector_verifies(void **state)
{
    static const char a1[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    static const char secret[] =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"
        "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    jws_keys_t *own = jws_keys_new();
    const char *error = NULL;
    char bent[sizeof(a1)];
    uint8_t key[64];

    (void) state;

    assert_int_equal(base64url_decode(secret, strlen(secret), key), 64);
    assert_int_equal(jws_keys_add(own, "a1", JWS_HS256, key, 64, &error), 0);

    /* Past the signature: it is the claims that lack. */
    memcpy(bent, a1, sizeof(a1));
    assert_int_equal(verify_with(own, &expect, a1, strlen(a1)),
                     JWS_MALFORMED);
    bent[sizeof(a1) - 5] ^= 1;
    assert_int_equal(verify_with(own, &expect, bent, strlen(bent)),
                     JWS_SIGNATURE);
    jws_keys_free(own);
}

static void
the_algorithm_is_the_keys(void **state)
{
    char *token;
    uint8_t sig[64];
    size_t len;

    (void) state;

    /* The classic: HMAC with the public key's text. */
    token = unsigned_token(HEADER("HS256", "rs"), CLAIMS);
    len = sign_hmac(EVP_sha256(), rsa_public, strlen(rsa_public), token,
                    sig);
    assert_int_equal(verify_free(with_signature(token, sig, len)),
                     JWS_ALG_MISMATCH);
    token = unsigned_token(HEADER("HS256", "es"), CLAIMS);
    len = sign_hmac(EVP_sha256(), ec_public, strlen(ec_public), token, sig);
    assert_int_equal(verify_free(with_signature(token, sig, len)),
                     JWS_ALG_MISMATCH);
    token = unsigned_token(HEADER("RS256", "rs"), CLAIMS);
    len = sign_hmac(EVP_sha256(), rsa_public, strlen(rsa_public), token,
                    sig);
    assert_int_equal(verify_free(with_signature(token, sig, len)),
                     JWS_SIGNATURE);

    /* None, in every spelling, signed or not. */
    assert_int_equal(hs_header(HEADER("none", "hs")), JWS_ALG_MISMATCH);
    assert_int_equal(hs_header(HEADER("None", "hs")), JWS_ALG_MISMATCH);
    assert_int_equal(hs_header(HEADER("", "hs")), JWS_ALG_MISMATCH);
    token = unsigned_token(HEADER("none", "hs"), CLAIMS);
    assert_int_equal(verify_free(with_signature(token, sig, 0)),
                     JWS_ALG_MISMATCH);
    token = unsigned_token(HEADER("HS256", "hs"), CLAIMS);
    assert_int_equal(verify_free(with_signature(token, sig, 0)),
                     JWS_SIGNATURE);

    /* The right secret with another hash, another spelling. */
    token = unsigned_token(HEADER("HS512", "hs"), CLAIMS);
    len = sign_hmac(EVP_sha512(), HS_SECRET, strlen(HS_SECRET), token, sig);
    assert_int_equal(verify_free(with_signature(token, sig, len)),
                     JWS_ALG_MISMATCH);
    assert_int_equal(hs_header(HEADER("hs256", "hs")), JWS_ALG_MISMATCH);
    assert_int_equal(hs_header(HEADER("HS256\\u0020", "hs")),
                     JWS_ALG_MISMATCH);
    assert_int_equal(hs_header(HEADER("RS256", "hs")), JWS_ALG_MISMATCH);
    assert_int_equal(hs_header(HEADER("PS256", "hs")), JWS_ALG_MISMATCH);

    /* One key's token under another's name. */
    assert_int_equal(verify_free(rs_token(HEADER("RS256", "es"), CLAIMS)),
                     JWS_ALG_MISMATCH);
    assert_int_equal(verify_free(es_token(HEADER("RS256", "rs"), CLAIMS)),
                     JWS_SIGNATURE);
    assert_int_equal(verify_free(rs_token(HEADER("ES256", "es"), CLAIMS)),
                     JWS_SIGNATURE);
}

static void
signatures_have_one_form(void **state)
{
    static const uint8_t zeros[64];
    uint8_t der[256], sig[64];
    size_t len;
    char *token;

    (void) state;

    /* ES256 in DER, as OpenSSL would have it; and r = s = 0. */
    token = unsigned_token(HEADER("ES256", "es"), CLAIMS);
    len = sign_pkey(ec, token, der, sizeof(der));
    assert_int_equal(verify_free(with_signature(token, der, len)),
                     JWS_SIGNATURE);
    token = unsigned_token(HEADER("ES256", "es"), CLAIMS);
    assert_int_equal(verify_free(with_signature(token, zeros, 64)),
                     JWS_SIGNATURE);

    /* Cut to nothing, one byte at a time, right after the whole one, of
     * which the stack may still hold the rest; a byte too many. */
    for (size_t n = 0; n < 32; n++) {
        token = unsigned_token(HEADER("HS256", "hs"), CLAIMS);
        sign_hmac(EVP_sha256(), HS_SECRET, strlen(HS_SECRET), token, sig);
        assert_int_equal(
            verify_free(hs_token(HEADER("HS256", "hs"), CLAIMS)), JWS_OK);
        assert_int_equal(verify_free(with_signature(token, sig, n)),
                         JWS_SIGNATURE);
    }
    token = unsigned_token(HEADER("ES256", "es"), CLAIMS);
    sign_es256(ec, token, der);
    der[64] = 0;
    assert_int_equal(verify_free(with_signature(token, der, 65)),
                     JWS_SIGNATURE);
    token = unsigned_token(HEADER("HS256", "hs"), CLAIMS);
    sign_hmac(EVP_sha256(), HS_SECRET, strlen(HS_SECRET), token, sig);
    sig[32] = 0;
    assert_int_equal(verify_free(with_signature(token, sig, 33)),
                     JWS_SIGNATURE);
    token = unsigned_token(HEADER("RS256", "rs"), CLAIMS);
    assert_int_equal(verify_free(with_signature(token, zeros, 64)),
                     JWS_SIGNATURE);
}

/* There is one spelling of the same bytes. */
static void
every_changed_character_is_refused(void **state)
{
    char *tokens[3];

    (void) state;

    tokens[0] = hs_token(HEADER("HS256", "hs"), CLAIMS);
    tokens[1] = rs_token(HEADER("RS256", "rs"), CLAIMS);
    tokens[2] = es_token(HEADER("ES256", "es"), CLAIMS);

    for (int i = 0; i < 3; i++) {
        char *token = tokens[i];
        size_t len = strlen(token);

        for (size_t at = 0; at < len; at++) {
            static const char others[] = "AQgw_-.=+/ \n!9";
            char kept = token[at];

            for (size_t k = 0; k < sizeof(others); k++) {
                if (others[k] == kept) {
                    continue;
                }
                token[at] = others[k];
                if (verify_with(keys, &expect, token, len) == JWS_OK) {
                    fail_msg("token %d passes with '%c' at %zu", i,
                             others[k], at);
                }
            }
            token[at] = kept;
            assert_int_not_equal(verify_with(keys, &expect, token, at),
                                 JWS_OK);
        }
        assert_int_equal(verify(token), JWS_OK);
        free(token);
    }
}

static jws_status_t
suffixed(const char *suffix)
{
    char *token = hs_token(HEADER("HS256", "hs"), CLAIMS);

    strcat(token, suffix);
    return verify_free(token);
}

static void
the_form_is_strict(void **state)
{
    char *token = hs_token(HEADER("HS256", "hs"), CLAIMS);
    char bent[1024];
    size_t len = strlen(token);

    (void) state;

    /* The last character of 32 bytes has two spare bits. */
    for (int i = 1; i < 4; i++) {
        static const char alphabet[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
            "0123456789-_";
        const char *at = strchr(alphabet, token[len - 1]);

        memcpy(bent, token, len + 1);
        bent[len - 1] = alphabet[(at - alphabet) | i];
        assert_int_equal(verify(bent), JWS_MALFORMED);
    }

    assert_int_equal(suffixed("="), JWS_MALFORMED);
    assert_int_equal(suffixed("=="), JWS_MALFORMED);
    assert_int_equal(suffixed("!!!!"), JWS_MALFORMED);
    assert_int_equal(suffixed("\n"), JWS_MALFORMED);
    assert_int_equal(suffixed(" "), JWS_MALFORMED);
    assert_int_equal(suffixed("."), JWS_MALFORMED);
    assert_int_equal(suffixed(".x"), JWS_MALFORMED);
    assert_int_equal(suffixed("A"), JWS_SIGNATURE);
    assert_int_equal(verify_with(keys, &expect, token, len + 1),
                     JWS_MALFORMED);            /* the NUL */

    assert_int_equal(verify(""), JWS_MALFORMED);
    assert_int_equal(verify("."), JWS_MALFORMED);
    assert_int_equal(verify(".."), JWS_MALFORMED);
    assert_int_equal(verify("..."), JWS_MALFORMED);
    assert_int_equal(verify("...."), JWS_MALFORMED);
    assert_int_equal(verify("e30.e30.e30"), JWS_MALFORMED);
    snprintf(bent, sizeof(bent), " %s", token);
    assert_int_equal(verify(bent), JWS_MALFORMED);
    snprintf(bent, sizeof(bent), "Bearer %s", token);
    assert_int_equal(verify(bent), JWS_MALFORMED);
    free(token);
}

/* A claim padded until the token has `len` characters. */
static char *
sized_token(size_t len)
{
    for (size_t pad = len / 2; pad < len; pad++) {
        char *claims = malloc(len + 512);
        char *text = malloc(len + 1);
        char *token;

        memset(text, 'x', pad);
        text[pad] = '\0';
        snprintf(claims, len + 512, "{\"pad\":\"%s\",%s", text, CLAIMS + 1);
        token = hs_token(HEADER("HS256", "hs"), claims);
        free(claims);
        free(text);
        if (strlen(token) >= len) {
            return token;
        }
        free(token);
    }
    return NULL;
}

static void
huge_tokens_are_refused(void **state)
{
    size_t sizes[] = { 9000, 100000, 9000000 };
    char *text;

    (void) state;

    text = sized_token(JWS_TOKEN_MAX - 8);
    assert_in_range(strlen(text), JWS_TOKEN_MAX - 8, JWS_TOKEN_MAX);
    assert_int_equal(verify_free(text), JWS_OK);
    text = sized_token(JWS_TOKEN_MAX + 1);
    assert_int_equal(verify_free(text), JWS_MALFORMED);

    for (int i = 0; i < 3; i++) {
        text = malloc(sizes[i] + 1);
        memset(text, 'A', sizes[i]);
        text[sizes[i]] = '\0';
        assert_int_equal(verify(text), JWS_MALFORMED);
        text[sizes[i] / 3] = '.';
        text[sizes[i] / 2] = '.';
        assert_int_equal(verify_free(text), JWS_MALFORMED);
    }
}

/* A member whose value is `levels` arrays, one in the other. */
static char *
nested(const char *object, int levels)
{
    char *text = malloc(strlen(object) + 2 * (size_t) levels + 16);
    char *p = stpcpy(text, "{\"x\":");

    memset(p, '[', (size_t) levels);
    memset(p + levels, ']', (size_t) levels);
    p += 2 * levels;
    *p++ = ',';
    strcpy(p, object + 1);
    return text;
}

/* Neither part may take the parser down its 2048 levels. */
static void
deep_json_is_refused(void **state)
{
    static const int levels[] = { 16, 100, 2000 };
    char *deep;

    (void) state;

    deep = nested(HEADER("HS256", "hs"), 15);
    assert_int_equal(hs_header(deep), JWS_OK);
    free(deep);
    deep = nested(CLAIMS, 15);
    assert_int_equal(hs_claims(deep), JWS_OK);
    free(deep);

    for (int i = 0; i < 3; i++) {
        deep = nested(HEADER("HS256", "hs"), levels[i]);
        assert_int_equal(hs_header(deep), JWS_MALFORMED);
        free(deep);
        deep = nested(CLAIMS, levels[i]);
        assert_int_equal(hs_claims(deep), JWS_MALFORMED);
        free(deep);
    }

    /* Brackets in a string are no levels. */
    assert_int_equal(
        hs_header("{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"hs\","
                  "\"y\":\"[[[[[[[[[[[[[[[[[[\\\"{{{{{{{{{{{{{{{{{{\"}"),
        JWS_OK);
}

static void
headers_that_ask_for_more_are_refused(void **state)
{
#define MORE(json) \
    "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"hs\"," json "}"

    (void) state;

    assert_int_equal(hs_header(MORE("\"note\":[1,{}]")), JWS_OK);
    assert_int_equal(hs_header(MORE("\"crit\":[\"exp\"]")),
                     JWS_UNSUPPORTED);
    assert_int_equal(hs_header(MORE("\"crit\":[]")), JWS_UNSUPPORTED);
    assert_int_equal(hs_header(MORE("\"crit\":null")), JWS_UNSUPPORTED);
    assert_int_equal(hs_header(MORE("\"b64\":false")), JWS_UNSUPPORTED);
    assert_int_equal(hs_header(MORE("\"jku\":\"https://evil.test/\"")),
                     JWS_UNSUPPORTED);
    assert_int_equal(hs_header(MORE("\"jwk\":{\"kty\":\"oct\"}")),
                     JWS_UNSUPPORTED);
    assert_int_equal(hs_header(MORE("\"x5u\":\"https://evil.test/\"")),
                     JWS_UNSUPPORTED);
    assert_int_equal(hs_header(MORE("\"x5c\":[]")), JWS_UNSUPPORTED);

    assert_int_equal(hs_header(MORE("\"alg\":\"HS256\"")), JWS_MALFORMED);
    assert_int_equal(hs_header(MORE("\"\\u0061lg\":\"none\"")),
                     JWS_MALFORMED);
    assert_int_equal(hs_header(MORE("\"kid\":\"hs\"")), JWS_MALFORMED);
    assert_int_equal(hs_header(MORE("\"a\":{\"b\":1,\"b\":2}")),
                     JWS_MALFORMED);
#undef MORE
}

static void
headers_have_the_right_types(void **state)
{
    (void) state;

    assert_int_equal(hs_header("{}"), JWS_MALFORMED);
    assert_int_equal(hs_header("[]"), JWS_MALFORMED);
    assert_int_equal(hs_header("\"HS256\""), JWS_MALFORMED);
    assert_int_equal(hs_header(""), JWS_MALFORMED);
    assert_int_equal(hs_header(HEADER("HS256", "hs") " x"), JWS_MALFORMED);
    assert_int_equal(hs_header(HEADER("HS256", "hs") "{}"), JWS_MALFORMED);
    assert_int_equal(
        hs_header("{\"alg\":1,\"typ\":\"JWT\",\"kid\":\"hs\"}"),
        JWS_MALFORMED);
    assert_int_equal(
        hs_header("{\"alg\":[\"HS256\"],\"typ\":\"JWT\",\"kid\":\"hs\"}"),
        JWS_MALFORMED);
    assert_int_equal(
        hs_header("{\"alg\":\"HS256\",\"typ\":1,\"kid\":\"hs\"}"),
        JWS_MALFORMED);
    assert_int_equal(
        hs_header("{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":1}"),
        JWS_MALFORMED);
    assert_int_equal(
        hs_header("{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":null}"),
        JWS_MALFORMED);
    assert_int_equal(
        hs_header("{\"alg\":\"HS256\",\"typ\":\"JWT\\u0000\","
                  "\"kid\":\"hs\"}"),
        JWS_MALFORMED);
    assert_int_equal(
        hs_header("{\"alg\":\"HS256\",\"typ\":\"J\xff\",\"kid\":\"hs\"}"),
        JWS_MALFORMED);

    assert_int_equal(hs_header("{\"alg\":\"HS256\",\"kid\":\"hs\"}"),
                     JWS_UNSUPPORTED);
    assert_int_equal(
        hs_header("{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"hs\"}"),
        JWS_UNSUPPORTED);
    assert_int_equal(
        hs_header("{\"alg\":\"HS256\",\"typ\":\"jwt\",\"kid\":\"hs\"}"),
        JWS_UNSUPPORTED);
    assert_int_equal(
        hs_header("{\"alg\":\"HS256\",\"typ\":\"JW\",\"kid\":\"hs\"}"),
        JWS_UNSUPPORTED);
}

static void
keys_are_found_by_id(void **state)
{
    jws_keys_t *one = jws_keys_new();
    jws_keys_t *none = jws_keys_new();
    const char *error = NULL;
    char *token = hs_token("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", CLAIMS);

    (void) state;

    assert_int_equal(hs_header(HEADER("HS256", "other")), JWS_KEY_UNKNOWN);
    assert_int_equal(hs_header(HEADER("HS256", "")), JWS_KEY_UNKNOWN);
    assert_int_equal(hs_header(HEADER("HS256", "h")), JWS_KEY_UNKNOWN);
    assert_int_equal(hs_header(HEADER("HS256", "hs ")), JWS_KEY_UNKNOWN);
    assert_int_equal(hs_header(HEADER("HS256", "../../dev/null")),
                     JWS_KEY_UNKNOWN);

    /* Without a kid only when there is no choice. */
    assert_int_equal(verify(token), JWS_KEY_UNKNOWN);
    assert_int_equal(verify_with(none, &expect, token, strlen(token)),
                     JWS_KEY_UNKNOWN);
    assert_int_equal(jws_keys_add(one, "x", JWS_HS256, HS_SECRET,
                                  strlen(HS_SECRET), &error), 0);
    assert_int_equal(verify_with(one, &expect, token, strlen(token)),
                     JWS_OK);
    free(token);
    token = hs_token(HEADER("HS256", "hs"), CLAIMS);
    assert_int_equal(verify_with(one, &expect, token, strlen(token)),
                     JWS_KEY_UNKNOWN);

    free(token);
    jws_keys_free(one);
    jws_keys_free(none);
    jws_keys_free(NULL);
}

#define WITH(iss, aud, sub, nbf, exp) \
    "{\"iss\":" iss ",\"aud\":" aud ",\"sub\":" sub ",\"nbf\":" nbf \
    ",\"exp\":" exp "}"
#define ISS "\"https://hive.test\""
#define TIMES(nbf, exp) \
    hs_claims(WITH(ISS, "\"hive\"", "\"u\"", nbf, exp))

static void
times_are_kept_with_leeway(void **state)
{
    (void) state;

    assert_int_equal(TIMES("1700000000", "1700000001"), JWS_OK);
    assert_int_equal(TIMES("1700000000", "1699999996"), JWS_OK);
    assert_int_equal(TIMES("1700000000", "1699999995"), JWS_EXPIRED);
    assert_int_equal(TIMES("0", "0"), JWS_EXPIRED);
    assert_int_equal(TIMES("0", "-1"), JWS_EXPIRED);
    assert_int_equal(TIMES("0", "-9223372036854775808"), JWS_EXPIRED);
    assert_int_equal(TIMES("-9223372036854775808", "9223372036854775807"),
                     JWS_OK);
    assert_int_equal(TIMES("1700000005", "1700000900"), JWS_OK);
    assert_int_equal(TIMES("1700000006", "1700000900"), JWS_NOT_YET);
    assert_int_equal(TIMES("9223372036854775807", "9223372036854775807"),
                     JWS_NOT_YET);

    assert_int_equal(TIMES("0", "\"1700000900\""), JWS_MALFORMED);
    assert_int_equal(TIMES("0", "1700000900.5"), JWS_MALFORMED);
    assert_int_equal(TIMES("0", "1.7e9"), JWS_MALFORMED);
    assert_int_equal(TIMES("0", "9223372036854775808"), JWS_MALFORMED);
    assert_int_equal(TIMES("0", "1e400"), JWS_MALFORMED);
    assert_int_equal(TIMES("0", "null"), JWS_MALFORMED);
    assert_int_equal(TIMES("0", "true"), JWS_MALFORMED);
    assert_int_equal(TIMES("0", "[1700000900]"), JWS_MALFORMED);
    assert_int_equal(TIMES("0.0", "1700000900"), JWS_MALFORMED);
    assert_int_equal(TIMES("\"0\"", "1700000900"), JWS_MALFORMED);
    assert_int_equal(
        hs_claims(WITH(ISS, "\"hive\"", "\"u\"", "0",
                       "1700000900,\"iat\":\"x\"")), JWS_MALFORMED);
}

#define WHO(iss, aud, sub) hs_claims(WITH(iss, aud, sub, "0", "1700000900"))

static void
issuer_audience_and_subject_are_checked(void **state)
{
    (void) state;

    assert_int_equal(WHO(ISS, "[\"hive\"]", "\"u\""), JWS_OK);
    assert_int_equal(WHO(ISS, "[\"other\",\"hive\"]", "\"u\""), JWS_OK);
    assert_int_equal(WHO(ISS, "[\"other\"]", "\"u\""), JWS_AUDIENCE);
    assert_int_equal(WHO(ISS, "[]", "\"u\""), JWS_AUDIENCE);
    assert_int_equal(WHO(ISS, "\"other\"", "\"u\""), JWS_AUDIENCE);
    assert_int_equal(WHO(ISS, "\"hiv\"", "\"u\""), JWS_AUDIENCE);
    assert_int_equal(WHO(ISS, "\"hive2\"", "\"u\""), JWS_AUDIENCE);
    assert_int_equal(WHO(ISS, "[\"hive\",1]", "\"u\""), JWS_MALFORMED);
    assert_int_equal(WHO(ISS, "[[\"hive\"]]", "\"u\""), JWS_MALFORMED);
    assert_int_equal(WHO(ISS, "{\"hive\":1}", "\"u\""), JWS_MALFORMED);
    assert_int_equal(WHO(ISS, "null", "\"u\""), JWS_MALFORMED);

    assert_int_equal(WHO("\"https://hive.test/\"", "\"hive\"", "\"u\""),
                     JWS_ISSUER);
    assert_int_equal(WHO("\"\"", "\"hive\"", "\"u\""), JWS_ISSUER);
    assert_int_equal(WHO("[" ISS "]", "\"hive\"", "\"u\""), JWS_MALFORMED);
    assert_int_equal(WHO(ISS, "\"hive\"", "\"\""), JWS_MALFORMED);
    assert_int_equal(WHO(ISS, "\"hive\"", "7"), JWS_MALFORMED);
}

static void
no_claim_may_be_missing_or_twice(void **state)
{
    static const char *const names[] = { "iss", "aud", "sub", "nbf", "exp" };

    (void) state;

    for (size_t i = 0; i < 5; i++) {
        json_t *claims = json_loads(CLAIMS, 0, NULL);
        char *text;

        json_object_del(claims, names[i]);
        text = json_dumps(claims, 0);
        assert_int_equal(hs_claims(text), JWS_MALFORMED);
        free(text);
        json_decref(claims);
    }

    assert_int_equal(
        WHO(ISS, "\"hive\"", "\"u\",\"exp\":1700000800"), JWS_MALFORMED);
    assert_int_equal(
        WHO(ISS, "\"hive\"", "\"u\",\"sub\":\"admin\""), JWS_MALFORMED);
    assert_int_equal(
        WHO(ISS, "\"hive\"", "\"u\",\"\\u0073ub\":\"admin\""),
        JWS_MALFORMED);
    assert_int_equal(hs_claims("[]"), JWS_MALFORMED);
    assert_int_equal(hs_claims("null"), JWS_MALFORMED);
    assert_int_equal(hs_claims(""), JWS_MALFORMED);
    assert_int_equal(hs_claims("{"), JWS_MALFORMED);
}

static EVP_PKEY *
make_ec(const char *curve)
{
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve);
}

static int
add(jws_alg_t alg, const char *data)
{
    jws_keys_t *own = jws_keys_new();
    const char *error = NULL;
    int rc = jws_keys_add(own, "k", alg, data, strlen(data), &error);

    assert_int_equal(rc == 0, error == NULL);
    assert_int_equal(ERR_peek_error(), 0);
    jws_keys_free(own);
    return rc;
}

/* Takes the key. */
static int
add_pkey(jws_alg_t alg, EVP_PKEY *pkey, int private)
{
    char *pem = pem_of(pkey, private);
    int rc = add(alg, pem);

    free(pem);
    EVP_PKEY_free(pkey);
    return rc;
}

static void
weak_keys_are_refused(void **state)
{
    (void) state;

    assert_int_equal(add(JWS_HS256, HS_SECRET), 0);
    assert_int_equal(add(JWS_HS256, ""), -1);
    assert_int_equal(add(JWS_HS256, "tq3Zp9XbLw7RkVfYe1Ua5MhJ8sDc2Gn"), -1);
    assert_int_equal(add(JWS_HS256, "0123456789001234567890012345678900"),
                     -1);
    assert_int_equal(add(JWS_HS256, "0123456789a01234567890123456789a00"),
                     -1);
    assert_int_equal(add(JWS_HS256, "0123456789ab1234567890123456789a00"),
                     0);
    assert_int_equal(add(JWS_HS256, "abcabcabcabcabcabcabcabcabcabcabcabc"),
                     -1);
    assert_int_equal(add(JWS_HS256, "tq3Zp9XbLw7ChangeMe1Ua5MhJ8sDc2GnK"),
                     -1);
    assert_int_equal(add(JWS_HS256, "tq3Zp9XbLw7RkVfYe1Ua5MhJ8sDcSECRET"),
                     -1);
    assert_int_equal(add(JWS_HS256, "Exampletq3Zp9XbLw7RkVfYe1Ua5MhJ8sD"),
                     -1);
    assert_int_equal(add(JWS_HS256, "tq3Zp9XbLw7-placeholder-RkVfYe1Ua5"),
                     -1);
    assert_int_equal(add(JWS_HS256, rsa_public), -1);

    assert_int_equal(add(JWS_RS256, rsa_public), 0);
    assert_int_equal(add(JWS_ES256, ec_public), 0);
    assert_int_equal(add(JWS_RS256, ec_public), -1);
    assert_int_equal(add(JWS_ES256, rsa_public), -1);
    assert_int_equal(add(JWS_RS256, ""), -1);
    assert_int_equal(add(JWS_RS256, "-----BEGIN PUBLIC KEY-----\n"), -1);
    assert_int_equal(add(JWS_ES256, HS_SECRET), -1);

    assert_int_equal(add_pkey(JWS_RS256, EVP_RSA_gen(1024), 0), -1);
    assert_int_equal(add_pkey(JWS_ES256, make_ec("P-384"), 0), -1);
    assert_int_equal(add_pkey(JWS_ES256, make_ec("secp256k1"), 0), -1);
    assert_int_equal(add_pkey(JWS_ES256, make_ec("P-256"), 1), 0);
    assert_int_equal(add_pkey(JWS_RS256, EVP_RSA_gen(2048), 1), 0);
    assert_int_equal(
        add_pkey(JWS_ES256, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), 0),
        -1);
}

static int
add_kid(const char *kid)
{
    jws_keys_t *own = jws_keys_new();
    const char *error;
    int rc = jws_keys_add(own, kid, JWS_HS256, HS_SECRET,
                          strlen(HS_SECRET), &error);

    jws_keys_free(own);
    return rc;
}

static void
key_ids_and_names_are_checked(void **state)
{
    const char *error;
    jws_alg_t alg;
    char kid[66];

    (void) state;

    memset(kid, 'k', sizeof(kid));
    kid[64] = '\0';
    assert_int_equal(add_kid(kid), 0);
    kid[64] = 'k';
    kid[65] = '\0';
    assert_int_equal(add_kid(kid), -1);
    assert_int_equal(add_kid("2024-01_a.B"), 0);
    assert_int_equal(add_kid(""), -1);
    assert_int_equal(add_kid("a b"), -1);
    assert_int_equal(add_kid("a/b"), -1);
    assert_int_equal(jws_keys_add(keys, "hs", JWS_HS256, HS_SECRET,
                                  strlen(HS_SECRET), &error), -1);

    assert_int_equal(jws_alg_parse("HS256", &alg), 0);
    assert_int_equal(alg, JWS_HS256);
    assert_int_equal(jws_alg_parse("RS256", &alg), 0);
    assert_int_equal(alg, JWS_RS256);
    assert_int_equal(jws_alg_parse("ES256", &alg), 0);
    assert_int_equal(alg, JWS_ES256);
    assert_int_equal(jws_alg_parse("none", &alg), -1);
    assert_int_equal(jws_alg_parse("hs256", &alg), -1);
    assert_int_equal(jws_alg_parse("HS512", &alg), -1);

    for (int i = JWS_OK; i <= JWS_NOMEM; i++) {
        assert_string_not_equal(jws_status_text((jws_status_t) i),
                                "unknown");
    }
}

static int
set_up(void **state)
{
    const char *error = NULL;
    char *private;

    (void) state;

    rsa = EVP_RSA_gen(2048);
    ec = make_ec("P-256");
    rsa_public = pem_of(rsa, 0);
    ec_public = pem_of(ec, 0);
    private = pem_of(ec, 1);
    keys = jws_keys_new();

    assert_int_equal(jws_keys_add(keys, "hs", JWS_HS256, HS_SECRET,
                                  strlen(HS_SECRET), &error), 0);
    assert_int_equal(jws_keys_add(keys, "rs", JWS_RS256, rsa_public,
                                  strlen(rsa_public), &error), 0);
    assert_int_equal(jws_keys_add(keys, "es", JWS_ES256, private,
                                  strlen(private), &error), 0);
    free(private);
    return 0;
}

static int
tear_down(void **state)
{
    (void) state;

    jws_keys_free(keys);
    free(rsa_public);
    free(ec_public);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_tokens_are_believed),
        cmocka_unit_test(the_published_vector_verifies),
        cmocka_unit_test(the_algorithm_is_the_keys),
        cmocka_unit_test(signatures_have_one_form),
        cmocka_unit_test(every_changed_character_is_refused),
        cmocka_unit_test(the_form_is_strict),
        cmocka_unit_test(huge_tokens_are_refused),
        cmocka_unit_test(deep_json_is_refused),
        cmocka_unit_test(headers_that_ask_for_more_are_refused),
        cmocka_unit_test(headers_have_the_right_types),
        cmocka_unit_test(keys_are_found_by_id),
        cmocka_unit_test(times_are_kept_with_leeway),
        cmocka_unit_test(issuer_audience_and_subject_are_checked),
        cmocka_unit_test(no_claim_may_be_missing_or_twice),
        cmocka_unit_test(weak_keys_are_refused),
        cmocka_unit_test(key_ids_and_names_are_checked),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
