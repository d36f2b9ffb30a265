/* jws.c: strict verification of signed tokens (RFC 7515, 7519, 8725).
 *
 * The order is: form, header, key, signature, claims. The header is outside
 * input and only ever chooses among our own keys; the algorithm comes from
 * the key. Claims are not even parsed before the signature is right. */

#include "jws.h"

#include "base64url.h"
#include "jws_keys.h"
#include "slice.h"

#define NESTING_MAX 16
#define SIGNATURE_MAX 1024      /* RSA of 8192 bits */

/* The parts of a compact token, still encoded. */
typedef struct {
    slice_t header;
    slice_t claims;
    slice_t signature;
    slice_t signed_text;        /* header "." claims */
} token_t;

const char *
jws_status_text(jws_status_t status)
{
    switch (status) {
    case JWS_OK:
        return "valid";
    case JWS_MALFORMED:
        return "malformed";
    case JWS_UNSUPPORTED:
        return "unsupported header";
    case JWS_KEY_UNKNOWN:
        return "unknown key";
    case JWS_ALG_MISMATCH:
        return "wrong algorithm";
    case JWS_SIGNATURE:
        return "bad signature";
    case JWS_EXPIRED:
        return "expired";
    case JWS_NOT_YET:
        return "not valid yet";
    case JWS_ISSUER:
        return "wrong issuer";
    case JWS_AUDIENCE:
        return "wrong audience";
    case JWS_NOMEM:
        return "out of memory";
    }

    return "unknown";
}

static int
token_split(const char *text, size_t len, token_t *out)
{
    const char *end = text + len;
    const char *first, *second;

    if (len > JWS_TOKEN_MAX) {
        return -1;
    }

    first = len != 0 ? memchr(text, '.', len) : NULL;
    if (first == NULL) {
        return -1;
    }
    second = memchr(first + 1, '.', (size_t) (end - first - 1));
    if (second == NULL
        || memchr(second + 1, '.', (size_t) (end - second - 1)) != NULL) {
        return -1;
    }

    out->header = (slice_t) { text, (size_t) (first - text) };
    out->claims = (slice_t) { first + 1, (size_t) (second - first - 1) };
    out->signature = (slice_t) { second + 1, (size_t) (end - second - 1) };
    out->signed_text = (slice_t) { text, (size_t) (second - text) };
    return 0;
}

/* jansson goes down to 2048 levels, on a stack that may be a fiber's. Counts
 * the levels first; text that is not JSON at all is left to the parser. */
static int
too_deep(const char *json, size_t len)
{
    int in_string = 0;
    int depth = 0;

    for (size_t i = 0; i < len; i++) {
        char c = json[i];

        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = 0;
            }
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '{' || c == '[') {
            if (++depth > NESTING_MAX) {
                return 1;
            }
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }

    return 0;
}

/* The JSON object that a part of a token holds; NULL when it is none. */
static json_t *
decode_object(slice_t part)
{
    char text[BASE64URL_DECODED(JWS_TOKEN_MAX)];
    ssize_t len = base64url_decode(part.data, part.len, text);
    json_t *object;

    if (len <= 0 || too_deep(text, (size_t) len)) {
        return NULL;
    }

    object = json_loadb(text, (size_t) len, JSON_REJECT_DUPLICATES, NULL);
    if (object != NULL && !json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* Does a string value equal a C string? Its length counts: there may be a
 * NUL inside. */
static int
string_equal(const json_t *value, const char *expected)
{
    size_t len = strlen(expected);

    return json_string_length(value) == len
           && memcmp(json_string_value(value), expected, len) == 0;
}

/* Finds the key for a header that asks for nothing we refuse. */
static jws_status_t
header_check(const json_t *header, const jws_keys_t *keys, const char *type,
    const jws_key_t **key)
{
    static const char *const refused[] = {
        "crit", "jku", "jwk", "x5u", "x5c", "b64"
    };
    const json_t *alg = json_object_get(header, "alg");
    const json_t *typ = json_object_get(header, "typ");
    const json_t *kid = json_object_get(header, "kid");

    if (!json_is_string(alg) || (typ != NULL && !json_is_string(typ))
        || (kid != NULL && !json_is_string(kid))) {
        return JWS_MALFORMED;
    }

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (json_object_get(header, refused[i]) != NULL) {
            return JWS_UNSUPPORTED;
        }
    }
    if (typ == NULL || !string_equal(typ, type)) {
        return JWS_UNSUPPORTED;
    }

    *key = kid == NULL ? jws_key_find(keys, NULL, 0)
                       : jws_key_find(keys, json_string_value(kid),
                                      json_string_length(kid));
    if (*key == NULL) {
        return JWS_KEY_UNKNOWN;
    }
    return string_equal(alg, jws_key_alg(*key)) ? JWS_OK : JWS_ALG_MISMATCH;
}

static jws_status_t
header_key(slice_t part, const jws_keys_t *keys, const char *type,
    const jws_key_t **key)
{
    json_t *header = decode_object(part);
    jws_status_t status = JWS_MALFORMED;

    if (header != NULL) {
        status = header_check(header, keys, type, key);
        json_decref(header);
    }
    return status;
}

static jws_status_t
signature_check(const jws_key_t *key, const token_t *token)
{
    uint8_t signature[SIGNATURE_MAX];
    ssize_t len;

    if (BASE64URL_DECODED(token->signature.len) > sizeof(signature)) {
        return JWS_SIGNATURE;
    }

    len = base64url_decode(token->signature.data, token->signature.len,
                           signature);
    if (len < 0) {
        return JWS_MALFORMED;
    }
    return jws_key_check(key, token->signed_text.data,
                         token->signed_text.len, signature, (size_t) len);
}

/* `aud` is one name, or a list of names. */
static jws_status_t
audience_check(const json_t *aud, const char *expected)
{
    jws_status_t status = JWS_AUDIENCE;

    if (json_is_string(aud)) {
        return string_equal(aud, expected) ? JWS_OK : JWS_AUDIENCE;
    }
    if (!json_is_array(aud)) {
        return JWS_MALFORMED;
    }

    for (size_t i = 0; i < json_array_size(aud); i++) {
        const json_t *one = json_array_get(aud, i);

        if (!json_is_string(one)) {
            return JWS_MALFORMED;
        }
        if (string_equal(one, expected)) {
            status = JWS_OK;
        }
    }
    return status;
}

static jws_status_t
claims_check(const json_t *claims, const jws_expect_t *expect)
{
    const json_t *iss = json_object_get(claims, "iss");
    const json_t *sub = json_object_get(claims, "sub");
    const json_t *exp = json_object_get(claims, "exp");
    const json_t *nbf = json_object_get(claims, "nbf");
    const json_t *iat = json_object_get(claims, "iat");
    json_int_t now = expect->now;
    jws_status_t status;

    if (!json_is_string(iss) || !json_is_string(sub)
        || json_string_length(sub) == 0 || !json_is_integer(exp)
        || !json_is_integer(nbf) || (iat != NULL && !json_is_integer(iat))) {
        return JWS_MALFORMED;
    }

    if (!string_equal(iss, expect->issuer)) {
        return JWS_ISSUER;
    }
    status = audience_check(json_object_get(claims, "aud"),
                            expect->audience);
    if (status != JWS_OK) {
        return status;
    }

    if (json_integer_value(exp) <= now - expect->leeway) {
        return JWS_EXPIRED;
    }
    if (json_integer_value(nbf) > now + expect->leeway) {
        return JWS_NOT_YET;
    }
    return JWS_OK;
}

jws_status_t
jws_verify(const jws_keys_t *keys, const char *token, size_t len,
    const jws_expect_t *expect, json_t **claims)
{
    const jws_key_t *key;
    jws_status_t status;
    json_t *object;
    token_t parts;

    if (token_split(token, len, &parts) != 0) {
        return JWS_MALFORMED;
    }

    status = header_key(parts.header, keys, expect->type, &key);
    if (status == JWS_OK) {
        status = signature_check(key, &parts);
    }
    if (status != JWS_OK) {
        return status;
    }

    object = decode_object(parts.claims);
    if (object == NULL) {
        return JWS_MALFORMED;
    }

    status = claims_check(object, expect);
    if (status != JWS_OK) {
        json_decref(object);
        return status;
    }

    *claims = object;
    return JWS_OK;
}
