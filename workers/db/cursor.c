/* cursor.c: page cursors; the format is in the header. SipHash-2-4 is that of
 * Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012). */

#include "cursor.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define FORMAT   1
#define FIXED    (2 + 8 + 16)
#define TAG      8

static uint64_t secret_key[2];

static uint64_t
load64(const uint8_t *p)
{
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--) {
        value = value << 8 | p[i];
    }
    return value;
}

static void
store64(uint8_t *p, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t) (value >> 8 * i);
    }
}

static inline uint64_t
rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void
sip_rounds(uint64_t v[4], int rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
    }
}

uint64_t
cursor_hash(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t tail = (uint64_t) len << 56;
    uint64_t v[4] = {
        secret_key[0] ^ 0x736f6d6570736575u,
        secret_key[1] ^ 0x646f72616e646f6du,
        secret_key[0] ^ 0x6c7967656e657261u,
        secret_key[1] ^ 0x7465646279746573u,
    };
    size_t left = len;

    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word = load64(p);

        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    for (size_t i = 0; i < left; i++) {
        tail |= (uint64_t) p[i] << 8 * i;
    }
    v[3] ^= tail;
    sip_rounds(v, 2);
    v[0] ^= tail;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void
cursor_init(slice_t secret)
{
    static const char purpose[] = "hive list cursor 1";
    uint8_t digest[EVP_MAX_MD_SIZE];

    HMAC(EVP_sha256(), secret.data, (int) secret.len,
        (const uint8_t *) purpose, sizeof(purpose) - 1, digest, NULL);
    secret_key[0] = load64(digest);
    secret_key[1] = load64(digest + 8);
}

size_t
cursor_encode(const cursor_t *cursor, char out[CURSOR_TEXT_MAX])
{
    uint8_t bytes[CURSOR_BYTES_MAX];
    size_t len = FIXED + cursor->key.len;

    assert(cursor->key.len <= CURSOR_KEY_MAX);
    assert(!cursor->null || cursor->key.len == 0);
    bytes[0] = FORMAT;
    bytes[1] = cursor->null != 0;
    store64(bytes + 2, cursor->shape);
    memcpy(bytes + 10, cursor->id.bytes, sizeof(cursor->id.bytes));
    if (cursor->key.len > 0) {
        memcpy(bytes + FIXED, cursor->key.data, cursor->key.len);
    }
    store64(bytes + len, cursor_hash(bytes, len));
    return base64url_encode(bytes, len + TAG, out);
}

int
cursor_decode(slice_t text, uint8_t scratch[CURSOR_BYTES_MAX], cursor_t *out)
{
    ssize_t len;

    if (text.len > CURSOR_TEXT_MAX) {
        return -1;
    }
    len = base64url_decode(text.data, text.len, scratch);
    if (len < FIXED + TAG) {
        return -1;
    }
    len -= TAG;
    if (load64(scratch + len) != cursor_hash(scratch, (size_t) len)) {
        return -1;
    }
    if (scratch[0] != FORMAT || scratch[1] > 1
        || (scratch[1] == 1 && len > FIXED))
    {
        return -1;
    }
    out->null = scratch[1];
    out->shape = load64(scratch + 2);
    memcpy(out->id.bytes, scratch + 10, sizeof(out->id.bytes));
    out->key = (slice_t) { (const char *) scratch + FIXED,
        (size_t) len - FIXED };
    return 0;
}
