/* http_result.c: what tasks of kind `http` keep of a reply. */

#include "http_result.h"

#include "common/utf8.h"
#include "workers/db/resource_parts.h"

#include <curl/curl.h>

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#define RETRY_S_MAX 3600

slice_t
http_utf8(arena_t *arena, slice_t text)
{
    buf_t out;

    if (text.len == 0 || utf8_valid(text.data, text.len)) {
        return text;
    }
    buf_init(&out, arena, 2 * text.len);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char) text.data[i];

        if (c < 0x80) {
            buf_putc(&out, (char) c);
        } else {
            buf_putc(&out, (char) (0xc0 | c >> 6));
            buf_putc(&out, (char) (0x80 | (c & 0x3f)));
        }
    }
    return buf_slice(&out);
}

/* One member a name: what comes again is joined by commas (RFC 9110, 5.3). */
static void
put_headers(buf_t *out, arena_t *arena, const http_response_t *response)
{
    unsigned count;
    const http_header_t *headers = http_headers(response, &count);
    const char *comma = "";

    buf_putc(out, '{');
    for (unsigned i = 0; i < count; i++) {
        buf_t value;
        unsigned before = 0;

        while (!slice_equal(headers[before].name, headers[i].name)) {
            before++;
        }
        if (before < i) {
            continue;
        }
        buf_init(&value, arena, headers[i].value.len + 1);
        for (unsigned k = i; k < count; k++) {
            if (slice_equal(headers[k].name, headers[i].name)) {
                buf_puts(&value, k > i ? ", " : "");
                buf_put(&value, headers[k].value.data, headers[k].value.len);
            }
        }
        buf_puts(out, comma);
        json_put_string(out, http_utf8(arena, headers[i].name));
        buf_putc(out, ':');
        json_put_string(out, http_utf8(arena, buf_slice(&value)));
        comma = ",";
    }
    buf_putc(out, '}');
}

static int
append(const char *data, size_t len, void *arg)
{
    buf_put(arg, data, len);
    return 0;
}

static int
is_json_type(slice_t type)
{
    size_t len = 0;

    while (len < type.len && type.data[len] != ';' && type.data[len] != ' ') {
        len++;
    }
    return (len == 16 && strncasecmp(type.data, "application/json", len) == 0)
           || (len > 5 && strncasecmp(type.data + len - 5, "+json", 5) == 0);
}

/* Written anew by us: then it is JSON that the database takes. Nonzero when
 * the body was some. */
static int
put_json(buf_t *out, slice_t body)
{
    json_t *json = json_loadb(body.data, body.len, JSON_DECODE_ANY, NULL);
    int good = json != NULL
               && json_depth(json, JSON_DEPTH_LIMIT) <= JSON_DEPTH_LIMIT;

    if (good) {
        buf_puts(out, ",\"json\":");
        json_dump_callback(json, append, out,
            JSON_COMPACT | JSON_ENCODE_ANY);
    }
    json_decref(json);
    return good;
}

static void
put_base64(buf_t *out, slice_t body)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = (const uint8_t *) body.data;

    for (size_t i = 0; i < body.len; i += 3) {
        size_t left = body.len - i;
        uint32_t bits = (uint32_t) p[i] << 16
            | (left > 1 ? (uint32_t) p[i + 1] << 8 : 0)
            | (left > 2 ? p[i + 2] : 0);

        buf_putc(out, digits[bits >> 18]);
        buf_putc(out, digits[bits >> 12 & 63]);
        buf_putc(out, left > 1 ? digits[bits >> 6 & 63] : '=');
        buf_putc(out, left > 2 ? digits[bits & 63] : '=');
    }
}

static void
put_body(buf_t *out, slice_t type, slice_t body)
{
    if (body.len == 0) {
        buf_puts(out, ",\"body\":\"\"");
    } else if (is_json_type(type) && put_json(out, body)) {
        return;
    } else if (utf8_valid(body.data, body.len)
               && memchr(body.data, '\0', body.len) == NULL) {
        buf_puts(out, ",\"body\":");
        json_put_string(out, body);
    } else {
        buf_puts(out, ",\"body_base64\":\"");
        put_base64(out, body);
        buf_putc(out, '"');
    }
}

slice_t
http_result(arena_t *arena, const http_response_t *response, slice_t body)
{
    slice_t type = http_header(response, "content-type");
    buf_t out;

    buf_init(&out, arena, body.len + 1024);
    buf_printf(&out, "{\"status\":%d,\"headers\":", http_status(response));
    put_headers(&out, arena, response);
    put_body(&out, type.data != NULL ? type : SLICE(""), body);
    buf_putc(&out, '}');
    return buf_slice(&out);
}

unsigned
http_retry_after(const http_response_t *response)
{
    slice_t value = http_header(response, "retry-after");
    char text[64];
    char *end;
    double seconds;

    if (value.data == NULL || value.len == 0 || value.len >= sizeof(text)) {
        return 0;
    }
    memcpy(text, value.data, value.len);
    text[value.len] = '\0';
    if (isdigit((unsigned char) text[0])) {
        seconds = (double) strtoul(text, &end, 10);
        if (*end != '\0') {
            return 0;
        }
    } else {
        seconds = difftime(curl_getdate(text, NULL), time(NULL));
    }
    return seconds <= 0 ? 0
        : seconds > RETRY_S_MAX ? RETRY_S_MAX * 1000
        : (unsigned) seconds * 1000;
}
