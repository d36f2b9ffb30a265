/* json.c: JSON written straight from values and binary rows.
 *
 * Nothing is built in between: each field goes from the result's bytes into
 * the buffer. Text, the bulk of every reply, is copied and looked at 16 bytes
 * at a time; only quotes, backslashes and control characters leave the
 * copying loop (RFC 8259, section 7). Calendar dates come from day numbers by
 * Howard Hinnant's civil_from_days. */

#include "internal.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define US_PER_SECOND INT64_C(1000000)
#define SECONDS_PER_DAY INT64_C(86400)
#define TIME_TEXT 32        /* room for a quoted timestamp */
#define NUMBER_TEXT 32

static const char hex_digits[] = "0123456789abcdef";

/* "00" to "99", two digits a step. */
static const char digit_pairs[] =
    "00010203040506070809101112131415161718192021222324"
    "25262728293031323334353637383940414243444546474849"
    "50515253545556575859606162636465666768697071727374"
    "75767778798081828384858687888990919293949596979899";

/* What follows the backslash: 0 nothing (the byte stands for itself), 'u'
 * for the long form. */
static const char escapes[256] = {
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b', 't', 'n', 'u', 'f', 'r',
    'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u',
    'u', 'u', 'u', 'u', ['"'] = '"', ['\\'] = '\\'
};

/* Copies bytes that stand for themselves; returns how many. May write up to
 * 16 bytes behind them. */
static size_t
copy_plain(char *out, const char *data, size_t len)
{
    size_t i = 0;

#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i slash = _mm_set1_epi8('\\');
    const __m128i last_control = _mm_set1_epi8(0x1f);

    for (; i + 16 <= len; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *) (data + i));
        __m128i special = _mm_or_si128(
            _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
            _mm_cmpeq_epi8(_mm_min_epu8(v, last_control), v));
        int mask = _mm_movemask_epi8(special);

        _mm_storeu_si128((__m128i *) (out + i), v);
        if (mask != 0) {
            return i + (size_t) __builtin_ctz((unsigned) mask);
        }
    }
#endif
    for (; i < len && escapes[(unsigned char) data[i]] == 0; i++) {
        out[i] = data[i];
    }
    return i;
}

static size_t
put_escape(char *out, unsigned char c)
{
    out[0] = '\\';
    out[1] = escapes[c];
    if (escapes[c] != 'u') {
        return 2;
    }
    out[2] = '0';
    out[3] = '0';
    out[4] = hex_digits[c >> 4];
    out[5] = hex_digits[c & 15];
    return 6;
}

void
json_put_string(buf_t *out, slice_t text)
{
    const char *data = text.data;
    size_t left = text.len;

    buf_putc(out, '"');
    while (left > 0) {
        /* What is left, what copy_plain may write behind it, one escape. */
        char *room = buf_reserve(out, left + 16 + 6);
        size_t plain = copy_plain(room, data, left);

        out->len += plain;
        data += plain;
        left -= plain;
        if (left > 0) {
            out->len += put_escape(room + plain, (unsigned char) *data);
            data++;
            left--;
        }
    }
    buf_putc(out, '"');
}

static char *
put_pair(char *p, unsigned value)
{
    memcpy(p, digit_pairs + 2 * value, 2);
    return p + 2;
}

typedef struct {
    int64_t year;
    unsigned month, day;
} civil_t;

/* The proleptic Gregorian date of a day counted from 1970-01-01. */
static civil_t
civil_from_days(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned) (z - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    civil_t civil;

    civil.day = doy - (153 * mp + 2) / 5 + 1;
    civil.month = mp < 10 ? mp + 3 : mp - 9;
    civil.year = (int64_t) yoe + era * 400 + (civil.month <= 2);
    return civil;
}

/* ".123", ".1234" or more, as many digits as say something. */
static char *
put_fraction(char *p, unsigned microseconds)
{
    *p++ = '.';
    p = put_pair(p, microseconds / 10000);
    p = put_pair(p, microseconds / 100 % 100);
    p = put_pair(p, microseconds % 100);
    if (microseconds % 10 != 0) {
        return p;
    }
    if (microseconds % 100 != 0) {
        return p - 1;
    }
    return microseconds % 1000 != 0 ? p - 2 : p - 3;
}

void
json_put_time(buf_t *out, int64_t microseconds)
{
    int64_t seconds = microseconds / US_PER_SECOND;
    int64_t fraction = microseconds % US_PER_SECOND;
    int64_t days;
    unsigned second;
    civil_t civil;
    char *start, *p;

    if (fraction < 0) {
        fraction += US_PER_SECOND;
        seconds--;
    }
    days = seconds / SECONDS_PER_DAY;
    if (seconds % SECONDS_PER_DAY < 0) {
        days--;
    }
    second = (unsigned) (seconds - days * SECONDS_PER_DAY);
    civil = civil_from_days(days);
    /* Infinity and years that RFC 3339 cannot write. */
    if (civil.year < 0 || civil.year > 9999) {
        buf_puts(out, "null");
        return;
    }

    start = p = buf_reserve(out, TIME_TEXT);
    *p++ = '"';
    p = put_pair(p, (unsigned) civil.year / 100);
    p = put_pair(p, (unsigned) civil.year % 100);
    *p++ = '-';
    p = put_pair(p, civil.month);
    *p++ = '-';
    p = put_pair(p, civil.day);
    *p++ = 'T';
    p = put_pair(p, second / 3600);
    *p++ = ':';
    p = put_pair(p, second / 60 % 60);
    *p++ = ':';
    p = put_pair(p, second % 60);
    p = put_fraction(p, (unsigned) fraction);
    *p++ = 'Z';
    *p++ = '"';
    out->len += (size_t) (p - start);
}

static void
put_int(buf_t *out, int64_t value)
{
    char text[NUMBER_TEXT];
    char *end = text + sizeof(text), *p = end;
    uint64_t rest = value < 0 ? 0 - (uint64_t) value : (uint64_t) value;

    while (rest >= 100) {
        p -= 2;
        put_pair(p, (unsigned) (rest % 100));
        rest /= 100;
    }
    if (rest >= 10) {
        p -= 2;
        put_pair(p, (unsigned) rest);
    } else {
        *--p = (char) ('0' + rest);
    }
    if (value < 0) {
        *--p = '-';
    }
    buf_put(out, p, (size_t) (end - p));
}

/* The shortest of %.15g to %.17g that reads back the same; JSON has no word
 * for infinity. */
static void
put_float(buf_t *out, double value)
{
    char text[NUMBER_TEXT];
    int precision;

    if (!isfinite(value)) {
        buf_puts(out, "null");
        return;
    }
    for (precision = 15; precision <= 17; precision++) {
        snprintf(text, sizeof(text), "%.*g", precision, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    buf_puts(out, text);
}

static void
put_uuid(buf_t *out, const uint8_t *bytes)
{
    char *room = buf_reserve(out, UUID_TEXT + 2);
    char *p = room;
    int i;

    *p++ = '"';
    for (i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *p++ = '-';
        }
        *p++ = hex_digits[bytes[i] >> 4];
        *p++ = hex_digits[bytes[i] & 15];
    }
    *p = '"';
    out->len += UUID_TEXT + 2;
}

/* Base64 with padding (RFC 4648, section 4): JSON has no bytes. */
static void
put_bytes(buf_t *out, slice_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        "abcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = (const uint8_t *) bytes.data;
    char *p = buf_reserve(out, (bytes.len + 2) / 3 * 4 + 2);
    char *start = p;
    size_t left;

    *p++ = '"';
    for (left = bytes.len; left > 0; in += 3) {
        unsigned n = left < 3 ? (unsigned) left : 3;
        uint32_t v = (uint32_t) in[0] << 16 | (n > 1 ? in[1] << 8 : 0)
            | (n > 2 ? in[2] : 0);

        *p++ = digits[v >> 18];
        *p++ = digits[v >> 12 & 63];
        *p++ = n > 1 ? digits[v >> 6 & 63] : '=';
        *p++ = n > 2 ? digits[v & 63] : '=';
        left -= n;
    }
    *p++ = '"';
    out->len += (size_t) (p - start);
}

void
json_put_value(buf_t *out, const value_t *value)
{
    size_t i;

    switch (value->type) {
    case VALUE_NULL:
        buf_puts(out, "null");
        break;
    case VALUE_BOOL:
        buf_puts(out, value->as.boolean ? "true" : "false");
        break;
    case VALUE_INT:
        put_int(out, value->as.integer);
        break;
    case VALUE_FLOAT:
        put_float(out, value->as.real);
        break;
    case VALUE_TEXT:
        json_put_string(out, value->as.text);
        break;
    case VALUE_UUID:
        put_uuid(out, value->as.uuid.bytes);
        break;
    case VALUE_TIME:
        json_put_time(out, value->as.integer);
        break;
    case VALUE_JSON:
        buf_put(out, value->as.text.data, value->as.text.len);
        break;
    case VALUE_BYTES:
        put_bytes(out, value->as.text);
        break;
    case VALUE_TEXTS:
        buf_putc(out, '[');
        for (i = 0; i < value->as.texts.count; i++) {
            buf_puts(out, i > 0 ? "," : "");
            json_put_string(out, value->as.texts.items[i]);
        }
        buf_putc(out, ']');
        break;
    default:
        assert(!"an array that is shown");
    }
}

/* As it was written: 1.0 stays a number with a fraction. */
static void
put_real(buf_t *out, double value)
{
    size_t len = out->len;

    put_float(out, value);
    if (memchr(out->data + len, '.', out->len - len) == NULL
        && memchr(out->data + len, 'e', out->len - len) == NULL) {
        buf_puts(out, ".0");
    }
}

void
json_put_document(buf_t *out, const json_t *json)
{
    const char *key, *comma = "";
    json_t *value;
    size_t i;

    switch (json_typeof(json)) {
    case JSON_OBJECT:
        buf_putc(out, '{');
        json_object_foreach((json_t *) (uintptr_t) json, key, value) {
            buf_puts(out, comma);
            json_put_string(out, (slice_t) { key, strlen(key) });
            buf_putc(out, ':');
            json_put_document(out, value);
            comma = ",";
        }
        buf_putc(out, '}');
        break;
    case JSON_ARRAY:
        buf_putc(out, '[');
        json_array_foreach(json, i, value) {
            buf_puts(out, i > 0 ? "," : "");
            json_put_document(out, value);
        }
        buf_putc(out, ']');
        break;
    case JSON_STRING:
        json_put_string(out, (slice_t) { json_string_value(json),
            json_string_length(json) });
        break;
    case JSON_INTEGER:
        put_int(out, json_integer_value(json));
        break;
    case JSON_REAL:
        put_real(out, json_real_value(json));
        break;
    case JSON_TRUE:
        buf_puts(out, "true");
        break;
    case JSON_FALSE:
        buf_puts(out, "false");
        break;
    case JSON_NULL:
        buf_puts(out, "null");
        break;
    }
}

/* text[] as array_send writes it; nested arrays are written flat. */
static void
put_texts(buf_t *out, slice_t array)
{
    array_reader_t reader;
    slice_t item;
    int first = 1, got;

    buf_putc(out, '[');
    array_reader_init(&reader, array);
    while ((got = array_reader_next(&reader, &item)) != 0) {
        if (!first) {
            buf_putc(out, ',');
        }
        first = 0;
        if (got < 0) {
            buf_puts(out, "null");
        } else {
            json_put_string(out, item);
        }
    }
    buf_putc(out, ']');
}

static void
put_field(buf_t *out, const db_column_t *column, slice_t field)
{
    switch (column->type) {
    case DB_UUID:
        put_uuid(out, (const uint8_t *) field.data);
        break;
    case DB_TEXT:
        json_put_string(out, field);
        break;
    case DB_TIME:
        json_put_time(out, field_time(field));
        break;
    case DB_INT:
        put_int(out, field_int(field));
        break;
    case DB_JSON:
        field = field_json(column, field);
        buf_put(out, field.data, field.len);
        break;
    case DB_BOOL:
        buf_puts(out, field.data[0] ? "true" : "false");
        break;
    case DB_FLOAT:
        put_float(out, field_float(field));
        break;
    case DB_BYTES:
        put_bytes(out, field);
        break;
    case DB_TEXTS:
        put_texts(out, field);
        break;
    }
}

void
db_json_row(buf_t *out, const db_row_t *row)
{
    const db_result_t *result = row->result;
    PGresult *pg = result->pg;
    int index = row->index, column;
    size_t skip = 1;                     /* the first key goes without comma */

    buf_putc(out, '{');
    for (column = 0; column < result->ncolumns; column++) {
        const db_column_t *meta = &result->columns[column];
        slice_t field;

        if (meta->key.len == 0) {
            continue;
        }
        buf_put(out, meta->key.data + skip, meta->key.len - skip);
        skip = 0;
        field.len = (size_t) PQgetlength(pg, index, column);
        if (field.len == 0 && PQgetisnull(pg, index, column)) {
            buf_put(out, "null", 4);
            continue;
        }
        field.data = PQgetvalue(pg, index, column);
        put_field(out, meta, field);
    }
    buf_putc(out, '}');
}

void
db_json_rows(buf_t *out, const db_result_t *result)
{
    db_row_t row;

    row.result = result;
    buf_putc(out, '[');
    for (row.index = 0; row.index < result->nrows; row.index++) {
        if (row.index > 0) {
            buf_putc(out, ',');
        }
        db_json_row(out, &row);
    }
    buf_putc(out, ']');
}
