/* tokens.c: estimating tokens. A text is cut into runs of letters, digits,
 * blanks and the rest, and each run has its price, found by comparing with
 * byte-pair vocabularies: hundredths of a token here, so that all is exact. */

#include "tokens.h"

#include <ctype.h>

typedef struct {
    const unsigned char *at, *end;
} scan_t;

static int
is_letter(unsigned char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static int
is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

/* Up to six letters are one token, five more another; a capital inside of a
 * word (camelCase) begins a new one more often than not. */
static int64_t
letters(scan_t *scan)
{
    const unsigned char *from = scan->at;
    int64_t humps = 0, len;

    while (scan->at < scan->end && is_letter(*scan->at)) {
        if (scan->at > from && isupper(*scan->at)
            && islower(scan->at[-1])) {
            humps++;
        }
        scan->at++;
    }
    len = scan->at - from;
    return 100 + (len > 6 ? (len - 6) * 20 : 0) + humps * 60;
}

static int64_t
digits(scan_t *scan)
{
    const unsigned char *from = scan->at;

    while (scan->at < scan->end && is_digit(*scan->at)) {
        scan->at++;
    }
    return (scan->at - from + 2) / 3 * 100;
}

/* One space belongs to the word behind it. */
static int64_t
blanks(scan_t *scan)
{
    const unsigned char *from = scan->at;
    int lines = 0;

    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\n'
            || *scan->at == '\t' || *scan->at == '\r')) {
        lines |= *scan->at != ' ';
        scan->at++;
    }
    return lines || scan->at - from > 1 ? 100 : 0;
}

static int64_t
others(scan_t *scan)
{
    const unsigned char *from = scan->at;
    unsigned char c = *scan->at++;
    int64_t len;

    if (c >= 0xf0) {
        scan->at += scan->end - scan->at < 3 ? scan->end - scan->at : 3;
        return 200;
    }
    if (c >= 0xe0) {
        scan->at += scan->end - scan->at < 2 ? scan->end - scan->at : 2;
        return 85;
    }
    if (c >= 0x80) {
        scan->at += scan->at < scan->end;
        return 55;
    }
    while (scan->at < scan->end && *scan->at == c) {
        scan->at++;
    }
    len = scan->at - from;
    return len > 3 ? 100 + len * 100 / 16 : len * 75;
}

static int64_t
hundredths(slice_t text)
{
    scan_t scan = { (const unsigned char *) text.data,
        (const unsigned char *) text.data + text.len };
    int64_t sum = 0;

    while (scan.at < scan.end) {
        unsigned char c = *scan.at;

        sum += is_letter(c) ? letters(&scan)
            : is_digit(c) ? digits(&scan)
            : c == ' ' || c == '\n' || c == '\t' || c == '\r' ? blanks(&scan)
            : others(&scan);
    }
    return sum;
}

int64_t
tokens_of_text(slice_t text)
{
    return (hundredths(text) + 99) / 100;
}

static int64_t
json_hundredths(const json_t *json)
{
    const char *name;
    json_t *value;
    size_t i;
    int64_t sum = 0;

    switch (json_typeof(json)) {
    case JSON_STRING:
        return hundredths((slice_t) { json_string_value(json),
            json_string_length(json) }) + 50;
    case JSON_OBJECT:
        json_object_foreach((json_t *) json, name, value) {
            sum += hundredths((slice_t) { name, strlen(name) }) + 150
                + json_hundredths(value);
        }
        return sum + 100;
    case JSON_ARRAY:
        json_array_foreach(json, i, value) {
            sum += json_hundredths(value) + 50;
        }
        return sum + 100;
    default:
        return 100;
    }
}

int64_t
tokens_of_json(const json_t *json)
{
    return json == NULL ? 0 : (json_hundredths(json) + 99) / 100;
}
