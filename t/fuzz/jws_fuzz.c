/* jws_fuzz.c: no text verifies that was not signed, and signed text is
 * taken apart safely.
 *
 * The first byte chooses. Even: the rest is a token as it is. Odd: the rest
 * is "header claims", divided by the first NUL; it is encoded, and signed
 * with the key the set holds, so that the claims are reached. */

#include "common/base64url.h"
#include "common/jws.h"

#include <openssl/err.h>
#include <openssl/hmac.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET "tq3Zp9XbLw7RkVfYe1Ua5MhJ8sDc2GnK"

static const char rsa_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuowsDXFjXluEfhV3fQ7M\n"
    "ODjGSv2fCCbFSM3bRdN45cWGkzlkiS/05yM8w3FXPuz7y1vH3ii/oGIg34PFUw4b\n"
    "Eq4fnCPsfE7PkJeRW9myVnw9XH3RpVRVxDvqnX+bpPpW6Wgp3u8Ky/Sxj9bx/gWX\n"
    "s+fVYqCrLoSlyVVpkelZfiD+bxvfnmE1E5Vge9HIDAjV4hkyO4avtoB2lhJn7oK0\n"
    "bim/EayVQF9uDyTy9LT7/8JZtlA91218I5fSnxZmMlrgA+H0hYUkB19kSq4F3l5S\n"
    "uxMfwnO8NsRcZRWfVzX5WBrPWNYy4LNqtBAHPFGXqRdx556EMhBRd4XPNStghgTp\n"
    "LQIDAQAB\n"
    "-----END PUBLIC KEY-----\n";

static const char ec_pem[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEHHeEdwoqDRgV5MuxUK4h6QZlFTWX\n"
    "LWnAv914p5yIWTz6OOLe8X1xZZ1k+F0WOJ+NOL+QjKVdFKJ5/fMLwTcqVg==\n"
    "-----END PUBLIC KEY-----\n";

static const jws_expect_t expect = {
    .issuer = "https://hive.test", .audience = "hive", .type = "JWT",
    .now = 1700000000, .leeway = 5
};

#define CHECK(condition) \
    do {                 \
        if (!(condition)) { \
            abort();     \
        }                \
    } while (0)

static jws_keys_t *
make_keys(void)
{
    jws_keys_t *keys = jws_keys_new();
    const char *error;

    CHECK(keys != NULL);
    CHECK(jws_keys_add(keys, "hs", JWS_HS256, SECRET, strlen(SECRET),
                       &error) == 0);
    CHECK(jws_keys_add(keys, "rs", JWS_RS256, rsa_pem, strlen(rsa_pem),
                       &error) == 0);
    CHECK(jws_keys_add(keys, "es", JWS_ES256, ec_pem, strlen(ec_pem),
                       &error) == 0);
    return keys;
}

static jws_status_t
verify(const jws_keys_t *keys, const char *token, size_t len)
{
    json_t *claims = NULL;
    jws_status_t status = jws_verify(keys, token, len, &expect, &claims);

    CHECK((status == JWS_OK) == (claims != NULL));
    CHECK(ERR_peek_error() == 0);
    if (claims != NULL) {
        CHECK(json_is_integer(json_object_get(claims, "exp")));
        CHECK(json_integer_value(json_object_get(claims, "exp"))
              > expect.now - expect.leeway);
        CHECK(json_is_string(json_object_get(claims, "sub")));
    }
    json_decref(claims);
    return status;
}

static void
verify_signed(const jws_keys_t *keys, const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, '\0', size);
    size_t header = nul != NULL ? (size_t) (nul - data) : size;
    size_t claims = nul != NULL ? size - header - 1 : 0;
    char *token = malloc(2 * size + 128);
    char *p = token;
    uint8_t mac[32], back[32];
    unsigned mac_len;

    CHECK(token != NULL);
    p += base64url_encode(data, header, p);
    *p++ = '.';
    if (claims != 0) {
        p += base64url_encode(nul + 1, claims, p);
    }
    HMAC(EVP_sha256(), SECRET, strlen(SECRET), (const uint8_t *) token,
         (size_t) (p - token), mac, &mac_len);
    *p++ = '.';
    p += base64url_encode(mac, 32, p);
    CHECK(base64url_decode(p - 43, 43, back) == 32);
    CHECK(memcmp(mac, back, 32) == 0);

    if (verify(keys, token, (size_t) (p - token)) == JWS_OK) {
        /* The same with one bit of the signature turned. */
        p[-2] = p[-2] == 'A' ? 'B' : 'A';
        CHECK(verify(keys, token, (size_t) (p - token)) == JWS_SIGNATURE);
    }
    free(token);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static jws_keys_t *keys;

    if (keys == NULL) {
        keys = make_keys();
    }
    if (size == 0) {
        return 0;
    }

    if (data[0] % 2 == 0) {
        verify(keys, (const char *) data + 1, size - 1);
    } else {
        verify_signed(keys, data + 1, size - 1);
    }
    return 0;
}
