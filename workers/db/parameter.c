/* parameter.c: values as binary parameters, in the types that the statement
 * has (as its description said).
 *
 * What is already in wire form (text, uuids) is lent to libpq, which copies
 * it into its output buffer; numbers, documents and arrays are laid out in
 * the arena first. */

#include "internal.h"

#include <arpa/inet.h>
#include <endian.h>
#include <math.h>
#include <stdio.h>

#define EPOCH_2000_US INT64_C(946684800000000)

enum {
    OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21,
    OID_INT4 = 23, OID_TEXT = 25, OID_JSON = 114, OID_FLOAT4 = 700,
    OID_FLOAT8 = 701, OID_TEXTS = 1009, OID_TIMESTAMPTZ = 1184,
    OID_UUID = 2950, OID_UUIDS = 2951, OID_JSONB = 3802,
    OID_BOOLS = 1000, OID_INT2S = 1005, OID_INT4S = 1007, OID_INT8S = 1016,
    OID_TIMES = 1185, OID_JSONBS = 3807
};

#define LENGTH_NULL UINT32_MAX

typedef struct {
    const char *data;
    size_t len;
} encoded_t;

static char *
put_u32(char *p, uint32_t v)
{
    v = htonl(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static encoded_t
encode_u64(arena_t *arena, uint64_t v)
{
    char *data = arena_alloc(arena, sizeof(v));

    v = htobe64(v);
    memcpy(data, &v, sizeof(v));
    return (encoded_t) { data, sizeof(v) };
}

static encoded_t
encode_u32(arena_t *arena, uint32_t v)
{
    char *data = arena_alloc(arena, sizeof(v));

    put_u32(data, v);
    return (encoded_t) { data, sizeof(v) };
}

static encoded_t
encode_double(arena_t *arena, double value)
{
    union { double value; uint64_t bits; } v = { value };

    return encode_u64(arena, v.bits);
}

static encoded_t
encode_real(arena_t *arena, float value)
{
    union { float value; uint32_t bits; } v = { value };

    return encode_u32(arena, v.bits);
}

static int
encode_int(arena_t *arena, uint32_t oid, int64_t value, encoded_t *out)
{
    uint16_t v2;

    switch (oid) {
    case OID_INT8:
        *out = encode_u64(arena, (uint64_t) value);
        return 0;
    case OID_INT4:
        if (value < INT32_MIN || value > INT32_MAX) {
            return -1;
        }
        *out = encode_u32(arena, (uint32_t) value);
        return 0;
    case OID_INT2:
        if (value < INT16_MIN || value > INT16_MAX) {
            return -1;
        }
        v2 = htons((uint16_t) value);
        *out = (encoded_t) { arena_strndup(arena, (char *) &v2, 2), 2 };
        return 0;
    case OID_FLOAT8:
        *out = encode_double(arena, (double) value);
        return 0;
    case OID_FLOAT4:
        *out = encode_real(arena, (float) value);
        return 0;
    default:
        return -1;
    }
}

/* One dimension, lower bound 1; an array without items has none. */
static char *
put_array_head(char *p, uint32_t element, size_t count)
{
    p = put_u32(p, count > 0);
    p = put_u32(p, 1);                  /* there may be nulls */
    p = put_u32(p, element);
    if (count > 0) {
        p = put_u32(p, (uint32_t) count);
        p = put_u32(p, 1);
    }
    return p;
}

/* text[], or jsonb[] whose items begin with the version of their format. */
static encoded_t
encode_texts(arena_t *arena, uint32_t oid, const slice_t *items, size_t count)
{
    size_t prefix = oid == OID_JSONBS;
    size_t size = 20, i;
    char *data, *p;

    for (i = 0; i < count; i++) {
        size += 4 + prefix + items[i].len;
    }
    data = arena_alloc(arena, size);
    p = put_array_head(data, prefix ? OID_JSONB : OID_TEXT, count);
    for (i = 0; i < count; i++) {
        if (items[i].data == NULL) {
            p = put_u32(p, LENGTH_NULL);
            continue;
        }
        p = put_u32(p, (uint32_t) (items[i].len + prefix));
        if (prefix) {
            *p++ = 1;
        }
        memcpy(p, items[i].data, items[i].len);
        p += items[i].len;
    }
    return (encoded_t) { data, (size_t) (p - data) };
}

static encoded_t
encode_uuids(arena_t *arena, const hive_uuid_t *items, size_t count)
{
    static const hive_uuid_t zero;
    char *data = arena_alloc(arena, 20 + count * 20), *p;
    size_t i;

    p = put_array_head(data, OID_UUID, count);
    for (i = 0; i < count; i++) {
        if (memcmp(&items[i], &zero, sizeof(zero)) == 0) {
            p = put_u32(p, LENGTH_NULL);
            continue;
        }
        p = put_u32(p, 16);
        memcpy(p, items[i].bytes, 16);
        p += 16;
    }
    return (encoded_t) { data, (size_t) (p - data) };
}

/* What the items of an array of whole numbers are on the wire. */
static const struct {
    uint32_t array, element;
    unsigned width;
    int64_t min, max;
} number_arrays[] = {
    { OID_INT8S, OID_INT8, 8, INT64_MIN, INT64_MAX },
    { OID_INT4S, OID_INT4, 4, INT32_MIN, INT32_MAX },
    { OID_INT2S, OID_INT2, 2, INT16_MIN, INT16_MAX },
    { OID_BOOLS, OID_BOOL, 1, 0, 1 },
    { OID_TIMES, OID_TIMESTAMPTZ, 8, INT64_MIN, INT64_MAX }
};

/* 0, or -1 when an item is too large for its type. */
static int
encode_numbers(arena_t *arena, uint32_t oid, const int64_t *items,
    size_t count, encoded_t *out)
{
    int64_t null = oid == OID_TIMES ? 0 : VALUE_INT_NULL;
    int64_t base = oid == OID_TIMES ? EPOCH_2000_US : 0;
    size_t kind = 0, i;
    char *p;

    while (number_arrays[kind].array != oid) {
        kind++;
    }
    out->data = p = arena_alloc(arena,
        20 + count * (4 + number_arrays[kind].width));
    p = put_array_head(p, number_arrays[kind].element, count);
    for (i = 0; i < count; i++) {
        unsigned width = number_arrays[kind].width;
        uint64_t wire;

        if (items[i] == null) {
            p = put_u32(p, LENGTH_NULL);
            continue;
        }
        if (items[i] < number_arrays[kind].min
            || items[i] > number_arrays[kind].max) {
            return -1;
        }
        wire = htobe64((uint64_t) (items[i] - base));
        p = put_u32(p, width);
        memcpy(p, (char *) &wire + sizeof(wire) - width, width);
        p += width;
    }
    out->len = (size_t) (p - out->data);
    return 0;
}

static encoded_t
encode_json(arena_t *arena, uint32_t oid, slice_t text)
{
    char *data;

    if (oid != OID_JSONB) {
        return (encoded_t) { text.data, text.len };
    }
    data = arena_alloc(arena, text.len + 1);
    data[0] = 1;                        /* version of the format */
    if (text.len > 0) {
        memcpy(data + 1, text.data, text.len);
    }
    return (encoded_t) { data, text.len + 1 };
}

/* The types that a value may be sent as; 0 ends. Text goes as anything that
 * the server reads from text, which it checks. */
static int
type_fits(value_type_t type, uint32_t oid)
{
    static const uint32_t fits[][6] = {
        [VALUE_BOOL] = { OID_BOOL },
        [VALUE_INT] = { OID_INT8, OID_INT4, OID_INT2, OID_FLOAT8,
                        OID_FLOAT4 },
        [VALUE_FLOAT] = { OID_FLOAT8, OID_FLOAT4 },
        [VALUE_TEXT] = { OID_TEXT, 1043, 1042, 19, OID_JSON },
        [VALUE_UUID] = { OID_UUID },
        [VALUE_TIME] = { OID_TIMESTAMPTZ },
        [VALUE_JSON] = { OID_JSONB, OID_JSON, OID_TEXT },
        [VALUE_BYTES] = { OID_BYTEA },
        [VALUE_TEXTS] = { OID_TEXTS },
        [VALUE_UUIDS] = { OID_UUIDS },
        [VALUE_INTS] = { OID_INT8S, OID_INT4S, OID_INT2S, OID_BOOLS },
        [VALUE_TIMES] = { OID_TIMES },
        [VALUE_JSONS] = { OID_JSONBS }
    };
    const uint32_t *one;

    for (one = fits[type]; *one != 0; one++) {
        if (*one == oid) {
            return 1;
        }
    }
    return 0;
}

static int
encode(arena_t *arena, uint32_t oid, const value_t *value, encoded_t *out)
{
    switch (value->type) {
    case VALUE_NULL:
        *out = (encoded_t) { NULL, 0 };
        return 0;
    case VALUE_BOOL:
        *out = (encoded_t) { value->as.boolean ? "\1" : "\0", 1 };
        return 0;
    case VALUE_INT:
        return encode_int(arena, oid, value->as.integer, out);
    case VALUE_FLOAT:
        *out = oid == OID_FLOAT8 ? encode_double(arena, value->as.real)
            : encode_real(arena, (float) value->as.real);
        return 0;
    case VALUE_UUID:
        *out = (encoded_t) { (const char *) value->as.uuid.bytes, 16 };
        return 0;
    case VALUE_TIME:
        *out = encode_u64(arena,
            (uint64_t) value->as.integer - (uint64_t) EPOCH_2000_US);
        return 0;
    case VALUE_JSON:
        *out = encode_json(arena, oid, value->as.text);
        break;
    case VALUE_TEXT:
    case VALUE_BYTES:
        *out = (encoded_t) { value->as.text.data, value->as.text.len };
        break;
    case VALUE_TEXTS:
    case VALUE_JSONS:
        *out = encode_texts(arena, oid, value->as.texts.items,
                            value->as.texts.count);
        return 0;
    case VALUE_INTS:
    case VALUE_TIMES:
        return encode_numbers(arena, oid, value->as.ints.items,
                              value->as.ints.count, out);
    case VALUE_UUIDS:
        *out = encode_uuids(arena, value->as.uuids.items,
                            value->as.uuids.count);
        return 0;
    }
    if (out->data == NULL) {
        out->data = "";                 /* NULL would be null */
    }
    return 0;
}

int
parameters_encode(arena_t *arena, const statement_t *statement,
    const value_t *values, size_t count, call_t *call, char *why, size_t size)
{
    const char **pointers;
    int *lengths;
    size_t i;

    if (count != (size_t) statement->nparams || count > PARAMETERS_MAX) {
        snprintf(why, size, "%zu parameters given, %d wanted (%d at most)",
                 count, statement->nparams, PARAMETERS_MAX);
        return -1;
    }
    pointers = arena_alloc(arena, count * (sizeof(char *) + sizeof(int)));
    lengths = (int *) (pointers + count);
    for (i = 0; i < count; i++) {
        uint32_t oid = statement->params[i];
        encoded_t encoded = { NULL, 0 };

        if (values[i].type != VALUE_NULL && !type_fits(values[i].type, oid)) {
            snprintf(why, size, "parameter $%zu is of type oid %u, given a"
                     " value of kind %d", i + 1, oid, (int) values[i].type);
            return -1;
        }
        if (encode(arena, oid, &values[i], &encoded) != 0) {
            return 1;
        }
        pointers[i] = encoded.data;
        lengths[i] = (int) encoded.len;
    }
    call->nparams = (int) count;
    call->values = pointers;
    call->lengths = lengths;
    return 0;
}
