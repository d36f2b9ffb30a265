/* password.c: see password.h. The PHC string is read strictly: a stored hash
 * can have come from an import, and must not be able to ask for gigabytes. */

#include "password.h"

#include <argon2.h>
#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <sys/mman.h>

#define SALT_BYTES 16
#define TAG_BYTES  32

/* What an imported hash may ask for. */
#define MEMORY_MAX     131072u /* KiB */
#define PASSES_MAX     10u
#define LANES_MAX      4u
#define SALT_BYTES_MAX 48
#define TAG_BYTES_MAX  64

typedef struct {
    uint32_t memory;
    uint32_t passes;
    uint32_t lanes;
    uint8_t salt[SALT_BYTES_MAX];
    size_t salt_len;
    uint8_t tag[TAG_BYTES_MAX];
    size_t tag_len;
} phc_t;

/* ---- base64, the standard alphabet, without padding ---- */

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *
base64_put(char *out, const uint8_t *data, size_t len)
{
    uint32_t bits = 0;
    unsigned held = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | data[i];
        for (held += 8; held >= 6; held -= 6) {
            *out++ = alphabet[bits >> (held - 6) & 63];
        }
    }
    if (held > 0) {
        *out++ = alphabet[bits << (6 - held) & 63];
    }
    return out;
}

/* Reads up to `end`; -1 unless it is exactly one encoding of at most `max`
 * bytes (no spare bits set). */
static int
base64_get(const char *text, const char *end, uint8_t *out, size_t max,
    size_t *len)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t n = 0;

    for (; text < end; text++) {
        const char *found = *text ? strchr(alphabet, *text) : NULL;

        if (found == NULL) {
            return -1;
        }
        bits = bits << 6 | (uint32_t) (found - alphabet);
        held += 6;
        if (held >= 8) {
            if (n == max) {
                return -1;
            }
            held -= 8;
            out[n++] = (uint8_t) (bits >> held);
        }
    }
    if (held == 6 || (bits & ((1u << held) - 1)) != 0) {
        return -1;
    }
    *len = n;
    return 0;
}

/* ---- the string ---- */

/* A decimal number without sign or leading zero, 1 to max. */
static int
number_get(const char **at, const char *end, uint32_t max, uint32_t *out)
{
    const char *p = *at;
    uint64_t value = 0;

    if (p == end || *p < '1' || *p > '9') {
        return -1;
    }
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        value = value * 10 + (uint64_t) (*p - '0');
        if (value > max) {
            return -1;
        }
    }
    *at = p;
    *out = (uint32_t) value;
    return 0;
}

static int
literal_get(const char **at, const char *end, const char *literal)
{
    size_t len = strlen(literal);

    if ((size_t) (end - *at) < len || memcmp(*at, literal, len) != 0) {
        return -1;
    }
    *at += len;
    return 0;
}

static int
phc_parse(slice_t text, phc_t *out)
{
    const char *at = text.data;
    const char *end = text.data + text.len;
    const char *dollar;

    if (literal_get(&at, end, "$argon2id$v=19$m=") != 0
        || number_get(&at, end, MEMORY_MAX, &out->memory) != 0
        || literal_get(&at, end, ",t=") != 0
        || number_get(&at, end, PASSES_MAX, &out->passes) != 0
        || literal_get(&at, end, ",p=") != 0
        || number_get(&at, end, LANES_MAX, &out->lanes) != 0
        || literal_get(&at, end, "$") != 0)
    {
        return -1;
    }

    dollar = memchr(at, '$', (size_t) (end - at));
    if (dollar == NULL
        || base64_get(at, dollar, out->salt, SALT_BYTES_MAX, &out->salt_len)
           != 0
        || base64_get(dollar + 1, end, out->tag, TAG_BYTES_MAX,
               &out->tag_len) != 0)
    {
        return -1;
    }

    return out->memory >= 8 * out->lanes && out->salt_len >= 8
           && out->tag_len >= 16 ? 0 : -1;
}

static void
phc_format(const phc_t *phc, char out[PASSWORD_TEXT])
{
    char *p = out + snprintf(out, PASSWORD_TEXT,
        "$argon2id$v=19$m=%u,t=%u,p=%u$", phc->memory, phc->passes,
        phc->lanes);

    /* At most 41 + 22 + 1 + 43 + 1 bytes. */
    assert(phc->salt_len == SALT_BYTES && phc->tag_len == TAG_BYTES);
    p = base64_put(p, phc->salt, phc->salt_len);
    *p++ = '$';
    p = base64_put(p, phc->tag, phc->tag_len);
    *p = '\0';
}

/* ---- computing ---- */

static int
memory_map(uint8_t **memory, size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return ARGON2_MEMORY_ALLOCATION_ERROR;
    }
    /* Every page is needed: in large ones, and all at once, they cost a
     * quarter less CPU. Where either is refused, it works without. */
    (void) madvise(p, size, MADV_HUGEPAGE);
    (void) madvise(p, size, MADV_POPULATE_WRITE);
    *memory = p;
    return ARGON2_OK;
}

static void
memory_unmap(uint8_t *memory, size_t size)
{
    munmap(memory, size);
}

/* The tag of phc->tag_len bytes for the parameters and salt of `phc`. */
static int
tag_compute(const phc_t *phc, slice_t password, uint8_t *tag)
{
    argon2_context context = {
        .out = tag,
        .outlen = (uint32_t) phc->tag_len,
        /* Only read: ARGON2_FLAG_CLEAR_PASSWORD is not set. */
        .pwd = (uint8_t *) (uintptr_t) password.data,
        .pwdlen = (uint32_t) password.len,
        .salt = (uint8_t *) (uintptr_t) phc->salt,
        .saltlen = (uint32_t) phc->salt_len,
        .t_cost = phc->passes,
        .m_cost = phc->memory,
        .lanes = phc->lanes,
        .threads = 1,
        .version = ARGON2_VERSION_13,
        .allocate_cbk = memory_map,
        .free_cbk = memory_unmap,
        .flags = ARGON2_DEFAULT_FLAGS,
    };

    return argon2id_ctx(&context) == ARGON2_OK ? 0 : -1;
}

password_status_t
password_hash(slice_t password, char out[PASSWORD_TEXT])
{
    phc_t phc = {
        .memory = PASSWORD_MEMORY,
        .passes = PASSWORD_PASSES,
        .lanes = PASSWORD_LANES,
        .salt_len = SALT_BYTES,
        .tag_len = TAG_BYTES,
    };

    if (RAND_bytes(phc.salt, SALT_BYTES) != 1
        || tag_compute(&phc, password, phc.tag) != 0)
    {
        return PASSWORD_FAILED;
    }
    phc_format(&phc, out);
    OPENSSL_cleanse(phc.tag, sizeof(phc.tag));
    return PASSWORD_MATCH;
}

password_status_t
password_verify(slice_t password, slice_t stored, int *outdated)
{
    phc_t phc = {
        .memory = PASSWORD_MEMORY,
        .passes = PASSWORD_PASSES,
        .lanes = PASSWORD_LANES,
        .salt_len = SALT_BYTES,
        .tag_len = TAG_BYTES,
    };
    uint8_t tag[TAG_BYTES_MAX];
    int same;

    if (stored.len > 0 && phc_parse(stored, &phc) != 0) {
        return PASSWORD_UNREADABLE;
    }
    /* No password is longer, so it cannot match; what it costs must not
     * tell, nor be chosen by the sender. */
    if (password.len > PASSWORD_MAX) {
        password.len = PASSWORD_MAX;
        stored.len = 0;
    }
    if (tag_compute(&phc, password, tag) != 0) {
        return PASSWORD_FAILED;
    }
    same = CRYPTO_memcmp(tag, phc.tag, phc.tag_len) == 0;
    OPENSSL_cleanse(tag, sizeof(tag));

    if (stored.len == 0 || !same) {
        return PASSWORD_MISMATCH;
    }
    if (outdated != NULL) {
        *outdated = phc.memory != PASSWORD_MEMORY
            || phc.passes != PASSWORD_PASSES || phc.lanes != PASSWORD_LANES
            || phc.salt_len != SALT_BYTES || phc.tag_len != TAG_BYTES;
    }
    return PASSWORD_MATCH;
}
