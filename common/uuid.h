/* uuid.h: UUIDs, RFC 9562. */

#ifndef HIVE_UUID_H
#define HIVE_UUID_H

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#define UUID_TEXT 36

typedef struct {
    uint8_t bytes[16];
} hive_uuid_t;

/* Makes a version 7 id: 48 bits of Unix milliseconds, then 12 bits holding
 * the cell number (0 to 4095), then 62 random bits. Ids made by one process
 * in one millisecond ascend (RFC 9562, 6.2 method 2: the random part of the
 * previous id is incremented). Not thread-safe. */
void uuid_v7(hive_uuid_t *out, unsigned cell);

/* 16 random bytes marked version 4 (request ids). */
void uuid_v4(hive_uuid_t *out);

/* Writes 36 lower-case characters, not terminated. */
void uuid_format(const hive_uuid_t *uuid, char out[UUID_TEXT]);

/* Accepts exactly the 8-4-4-4-12 form, either case. 0, or -1 with `out`
 * untouched. */
int uuid_parse(const char *text, size_t len, hive_uuid_t *out);

/* The zero uuid stands for none. */
static inline int
uuid_is_zero(const hive_uuid_t *uuid)
{
    static const hive_uuid_t zero;

    return memcmp(uuid->bytes, zero.bytes, sizeof(zero.bytes)) == 0;
}

static inline int
uuid_equal(const hive_uuid_t *a, const hive_uuid_t *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

#endif
