/* jws_keys.c: the keys that tokens are verified with, and the signature
 * check itself.
 *
 * A key has one algorithm, fixed when it is added: a public key never meets
 * an HMAC, and a curve or size that the algorithm does not mean is refused.
 * Parsing a PEM takes longer than a verification, and so does fetching an
 * algorithm from OpenSSL's providers; both are done once, and a verification
 * copies the prepared context. */

#include "jws_keys.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <strings.h>

#define KID_MAX       64
#define SECRET_MIN    32
#define SECRET_VARIED 12    /* distinct bytes */
#define RSA_BITS_MIN  2048
#define RSA_BITS_MAX  8192
#define HS256_SIZE    32
#define ES256_HALF    32

struct jws_key_s {
    char kid[KID_MAX + 1];
    size_t kid_len;
    jws_alg_t alg;
    EVP_MAC_CTX *mac;       /* HS256, keyed */
    EVP_PKEY *pkey;         /* the others, public half only */
    EVP_MD_CTX *verify;     /* ready for data */
};

struct jws_keys_s {
    jws_key_t *keys;
    size_t count;
};

static const char *const alg_names[] = {
    [JWS_HS256] = "HS256", [JWS_RS256] = "RS256", [JWS_ES256] = "ES256"
};

int
jws_alg_parse(const char *name, jws_alg_t *out)
{
    for (int i = JWS_HS256; i <= JWS_ES256; i++) {
        if (strcmp(name, alg_names[i]) == 0) {
            *out = (jws_alg_t) i;
            return 0;
        }
    }
    return -1;
}

jws_keys_t *
jws_keys_new(void)
{
    return calloc(1, sizeof(jws_keys_t));
}

static void
key_release(jws_key_t *key)
{
    EVP_MAC_CTX_free(key->mac);
    EVP_MD_CTX_free(key->verify);
    EVP_PKEY_free(key->pkey);
}

void
jws_keys_free(jws_keys_t *keys)
{
    if (keys == NULL) {
        return;
    }

    for (size_t i = 0; i < keys->count; i++) {
        key_release(&keys->keys[i]);
    }
    free(keys->keys);
    free(keys);
}

static int
kid_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
           || (c >= 'a' && c <= 'z') || c == '.' || c == '_' || c == '-';
}

static const char *
kid_fault(const jws_keys_t *keys, const char *kid)
{
    size_t len = strlen(kid);

    if (len == 0 || len > KID_MAX) {
        return "a key id has 1 to 64 characters";
    }
    for (size_t i = 0; i < len; i++) {
        if (!kid_char(kid[i])) {
            return "a key id has only letters, digits, '.', '_' and '-'";
        }
    }
    for (size_t i = 0; i < keys->count; i++) {
        if (strcmp(keys->keys[i].kid, kid) == 0) {
            return "a key of that id exists";
        }
    }
    return NULL;
}

static int
holds_word(const char *data, size_t len, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= len; i++) {
        if (strncasecmp(data + i, word, n) == 0) {
            return 1;
        }
    }
    return 0;
}

/* What makes a secret no secret. */
static const char *
secret_fault(const char *data, size_t len)
{
    static const char *const words[] = {
        "change", "secret", "example", "placeholder"
    };
    unsigned char seen[256] = { 0 };
    unsigned distinct = 0;

    if (len < SECRET_MIN) {
        return "the secret is shorter than 32 bytes";
    }
    if (holds_word(data, len, "-----BEGIN")) {
        return "the secret is a PEM file";
    }

    for (size_t i = 0; i < len; i++) {
        distinct += !seen[(unsigned char) data[i]];
        seen[(unsigned char) data[i]] = 1;
    }
    if (distinct < SECRET_VARIED) {
        return "the secret has fewer than 12 different bytes";
    }

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (holds_word(data, len, words[i])) {
            return "the secret looks like a placeholder";
        }
    }
    return NULL;
}

static const char *
key_load_secret(jws_key_t *key, const void *data, size_t len)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
        OSSL_PARAM_construct_end()
    };
    const char *fault = secret_fault(data, len);
    EVP_MAC *mac;

    if (fault != NULL) {
        return fault;
    }

    mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (mac == NULL) {
        return "HMAC is not available";
    }
    key->mac = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);

    if (key->mac == NULL || !EVP_MAC_init(key->mac, data, len, params)) {
        return "out of memory";
    }
    return NULL;
}

/* An encrypted key is no use here: never ask the terminal. */
static int
no_passphrase(char *buf, int size, int writing, void *data)
{
    (void) buf;
    (void) size;
    (void) writing;
    (void) data;
    return -1;
}

/* Drops the private half, which a verifier should not hold. */
static EVP_PKEY *
public_half(EVP_PKEY *both)
{
    unsigned char *der = NULL;
    const unsigned char *p;
    EVP_PKEY *pkey = NULL;
    int len = i2d_PUBKEY(both, &der);

    if (len > 0) {
        p = der;
        pkey = d2i_PUBKEY(NULL, &p, len);
    }
    OPENSSL_free(der);
    return pkey;
}

static EVP_PKEY *
pem_read(const void *data, size_t len, int private)
{
    EVP_PKEY *read, *pkey;
    BIO *bio;

    if (len > INT32_MAX) {
        return NULL;
    }

    bio = BIO_new_mem_buf(data, (int) len);
    if (bio == NULL) {
        return NULL;
    }

    if (!private) {
        pkey = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
    } else {
        read = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        pkey = read != NULL ? public_half(read) : NULL;
        EVP_PKEY_free(read);
    }

    BIO_free(bio);
    return pkey;
}

static const char *
rsa_fault(EVP_PKEY *pkey)
{
    int bits = EVP_PKEY_get_bits(pkey);

    if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_RSA) {
        return "not an RSA key";
    }
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX) {
        return "the RSA key has not 2048 to 8192 bits";
    }
    return NULL;
}

static const char *
ec_fault(EVP_PKEY *pkey)
{
    char group[32];

    if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_EC
        || !EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL)
        || strcmp(group, "prime256v1") != 0) {
        return "not a key on the curve P-256";
    }
    return NULL;
}

static const char *
key_load_pem(jws_key_t *key, const void *data, size_t len)
{
    const char *fault;

    key->pkey = pem_read(data, len, 0);
    if (key->pkey == NULL) {
        key->pkey = pem_read(data, len, 1);
    }
    if (key->pkey == NULL) {
        return "not a PEM public or private key";
    }

    fault = key->alg == JWS_RS256 ? rsa_fault(key->pkey)
                                  : ec_fault(key->pkey);
    if (fault != NULL) {
        return fault;
    }

    key->verify = EVP_MD_CTX_new();
    if (key->verify == NULL
        || EVP_DigestVerifyInit(key->verify, NULL, EVP_sha256(), NULL,
                                key->pkey) != 1) {
        return "out of memory";
    }
    return NULL;
}

int
jws_keys_add(jws_keys_t *keys, const char *kid, jws_alg_t alg,
    const void *data, size_t len, const char **error)
{
    jws_key_t key = { .alg = alg };
    jws_key_t *grown;
    const char *fault = kid_fault(keys, kid);

    if (fault != NULL) {
        *error = fault;
        return -1;
    }

    key.kid_len = strlen(kid);
    memcpy(key.kid, kid, key.kid_len + 1);

    /* What OpenSSL leaves in its queue on the way would be taken by nginx
     * for an error of the next TLS connection. */
    ERR_set_mark();
    fault = alg == JWS_HS256 ? key_load_secret(&key, data, len)
                             : key_load_pem(&key, data, len);
    ERR_pop_to_mark();

    if (fault == NULL) {
        grown = realloc(keys->keys, (keys->count + 1) * sizeof(*grown));
        if (grown != NULL) {
            keys->keys = grown;
            grown[keys->count++] = key;
            return 0;
        }
        fault = "out of memory";
    }

    key_release(&key);
    *error = fault;
    return -1;
}

const jws_key_t *
jws_key_find(const jws_keys_t *keys, const char *kid, size_t len)
{
    if (kid == NULL) {
        return keys->count == 1 ? keys->keys : NULL;
    }

    for (size_t i = 0; i < keys->count; i++) {
        const jws_key_t *key = &keys->keys[i];
        if (key->kid_len == len && memcmp(key->kid, kid, len) == 0) {
            return key;
        }
    }
    return NULL;
}

const char *
jws_key_alg(const jws_key_t *key)
{
    return alg_names[key->alg];
}

static jws_status_t
check_mac(const jws_key_t *key, const char *text, size_t text_len,
    const uint8_t *signature, size_t signature_len)
{
    uint8_t expected[HS256_SIZE];
    jws_status_t status = JWS_NOMEM;
    size_t len = 0;
    EVP_MAC_CTX *mac;

    if (signature_len != HS256_SIZE) {
        return JWS_SIGNATURE;
    }

    mac = EVP_MAC_CTX_dup(key->mac);
    if (mac != NULL
        && EVP_MAC_update(mac, (const unsigned char *) text, text_len)
        && EVP_MAC_final(mac, expected, &len, sizeof(expected))
        && len == HS256_SIZE) {
        status = CRYPTO_memcmp(expected, signature, HS256_SIZE) == 0
                 ? JWS_OK : JWS_SIGNATURE;
    }

    EVP_MAC_CTX_free(mac);
    OPENSSL_cleanse(expected, sizeof(expected));
    return status;
}

static jws_status_t
check_digest(const jws_key_t *key, const char *text, size_t text_len,
    const uint8_t *signature, size_t signature_len)
{
    EVP_MD_CTX *verify = EVP_MD_CTX_new();
    jws_status_t status = JWS_NOMEM;

    if (verify != NULL && EVP_MD_CTX_copy_ex(verify, key->verify)) {
        status = EVP_DigestVerify(verify, signature, signature_len,
                                  (const unsigned char *) text, text_len) == 1
                 ? JWS_OK : JWS_SIGNATURE;
    }

    EVP_MD_CTX_free(verify);
    return status;
}

/* A JWS has r and s side by side (RFC 7518, 3.4); OpenSSL wants them in
 * DER. */
static jws_status_t
check_ecdsa(const jws_key_t *key, const char *text, size_t text_len,
    const uint8_t *signature, size_t signature_len)
{
    jws_status_t status = JWS_NOMEM;
    unsigned char *der = NULL;
    ECDSA_SIG *sig;
    BIGNUM *r, *s;
    int len;

    if (signature_len != 2 * ES256_HALF) {
        return JWS_SIGNATURE;
    }

    sig = ECDSA_SIG_new();
    r = BN_bin2bn(signature, ES256_HALF, NULL);
    s = BN_bin2bn(signature + ES256_HALF, ES256_HALF, NULL);

    if (sig == NULL || r == NULL || s == NULL
        || !ECDSA_SIG_set0(sig, r, s)) {
        BN_free(r);
        BN_free(s);
    } else {
        len = i2d_ECDSA_SIG(sig, &der);
        if (len > 0) {
            status = check_digest(key, text, text_len, der, (size_t) len);
        }
        OPENSSL_free(der);
    }

    ECDSA_SIG_free(sig);
    return status;
}

jws_status_t
jws_key_check(const jws_key_t *key, const char *text, size_t text_len,
    const uint8_t *signature, size_t signature_len)
{
    jws_status_t status = JWS_SIGNATURE;

    ERR_set_mark();

    switch (key->alg) {
    case JWS_HS256:
        status = check_mac(key, text, text_len, signature, signature_len);
        break;
    case JWS_ES256:
        status = check_ecdsa(key, text, text_len, signature, signature_len);
        break;
    case JWS_RS256:
        if (signature_len == (size_t) EVP_PKEY_get_size(key->pkey)) {
            status = check_digest(key, text, text_len, signature,
                                  signature_len);
        }
        break;
    }

    ERR_pop_to_mark();
    return status;
}
