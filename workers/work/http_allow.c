/* http_allow.c: the allow-list of tasks of kind `http`. */

#include "http_allow.h"

#include <ctype.h>
#include <stdlib.h>

#define ENTRIES_MAX 256
#define HOST_MAX    255

typedef struct {
    slice_t host;              /* lower case; below a domain: ".example.org" */
    enum { MATCH_HOST, MATCH_BELOW, MATCH_ANY } match;
    int plain;                 /* http, not https */
    int anywhere;
    unsigned port;
} entry_t;

struct http_allow_s {
    size_t count;
    entry_t entries[ENTRIES_MAX];
};

static int
starts_with(slice_t text, const char *prefix)
{
    size_t len = strlen(prefix);

    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

static slice_t
behind(slice_t text, size_t skip)
{
    return (slice_t) { text.data + skip, text.len - skip };
}

/* Takes ":port" off the end. 0, or -1 when it is none. */
static int
take_port(slice_t *text, unsigned *port)
{
    size_t at = text->len;
    unsigned value = 0;

    while (at > 0 && isdigit((unsigned char) text->data[at - 1])) {
        at--;
    }
    if (at == 0 || text->data[at - 1] != ':') {
        return 0;              /* digits of a host, or none */
    }
    if (at == text->len || text->len - at > 5) {
        return -1;
    }
    if (text->data[0] == '[' && text->data[at - 2] != ']') {
        return 0;              /* inside of an IPv6 address */
    }

    for (size_t i = at; i < text->len; i++) {
        value = value * 10 + (unsigned) (text->data[i] - '0');
    }
    *port = value;
    text->len = at - 1;
    return value >= 1 && value <= 65535 ? 0 : -1;
}

static int
is_host(slice_t host)
{
    int literal = host.len > 2 && host.data[0] == '['
                  && host.data[host.len - 1] == ']';

    if (host.len == 0 || host.len > HOST_MAX) {
        return 0;
    }
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char) host.data[i];
        int fits = literal
            ? i == 0 || i == host.len - 1 || isxdigit(c) || c == ':'
              || c == '.'
            : isalnum(c) || c == '-' || c == '.' || c == '_';

        if (!fits) {
            return 0;
        }
    }
    return host.data[0] != '.' && host.data[host.len - 1] != '.';
}

/* NULL, or what is wrong with it. */
static const char *
read_host(arena_t *arena, slice_t text, entry_t *entry)
{
    char *host;

    if (slice_equal(text, SLICE("*"))) {
        entry->match = MATCH_ANY;
        return entry->anywhere ? "\"!\" must name one host" : NULL;
    }
    if (starts_with(text, "*.")) {
        entry->match = MATCH_BELOW;
        if (entry->anywhere) {
            return "\"!\" must name one host";
        }
        if (!is_host(behind(text, 2))) {
            return "that is no domain";
        }
        text = behind(text, 1);
    } else if (!is_host(text)) {
        return "that is no host";
    }

    host = arena_strndup(arena, text.data, text.len);
    for (size_t i = 0; i < text.len; i++) {
        host[i] = (char) tolower((unsigned char) host[i]);
    }
    entry->host = (slice_t) { host, text.len };
    return NULL;
}

static const char *
read_entry(arena_t *arena, slice_t text, entry_t *entry)
{
    *entry = (entry_t) { .match = MATCH_HOST };
    if (starts_with(text, "!")) {
        entry->anywhere = 1;
        text = behind(text, 1);
    }
    if (starts_with(text, "https://")) {
        text = behind(text, 8);
    } else if (starts_with(text, "http://")) {
        entry->plain = 1;
        text = behind(text, 7);
    }

    entry->port = entry->plain ? 80 : 443;
    if (take_port(&text, &entry->port) != 0) {
        return "that is no port";
    }
    return read_host(arena, text, entry);
}

static int
is_separator(char c)
{
    return c == ',' || isspace((unsigned char) c);
}

http_allow_t *
http_allow_parse(arena_t *arena, const char *text, const char **why)
{
    http_allow_t *allow = arena_zero(arena, sizeof(*allow));

    while (*text != '\0') {
        size_t len = 0;
        const char *wrong;

        while (text[len] != '\0' && !is_separator(text[len])) {
            len++;
        }
        if (len > 0) {
            if (allow->count == ENTRIES_MAX) {
                *why = "too many entries";
                return NULL;
            }
            wrong = read_entry(arena, (slice_t) { text, len },
                &allow->entries[allow->count++]);
            if (wrong != NULL) {
                *why = arena_printf(arena, "\"%.*s\": %s", (int) len, text,
                    wrong);
                return NULL;
            }
        }
        text += len;
        text += *text != '\0';
    }
    return allow;
}

static int
fits(const entry_t *entry, slice_t host)
{
    switch (entry->match) {
    case MATCH_HOST:
        return slice_equal(entry->host, host);
    case MATCH_BELOW:
        return host.len > entry->host.len
               && slice_equal(behind(host, host.len - entry->host.len),
                   entry->host);
    default:
        return 1;
    }
}

http_permit_t
http_allow_find(const http_allow_t *allow, slice_t scheme, slice_t host,
    unsigned port)
{
    int plain = slice_equal(scheme, SLICE("http"));
    http_permit_t permit = HTTP_REFUSED;

    if (!plain && !slice_equal(scheme, SLICE("https"))) {
        return HTTP_REFUSED;
    }
    for (size_t i = 0; i < allow->count; i++) {
        const entry_t *entry = &allow->entries[i];

        if (entry->plain == plain && entry->port == port
            && fits(entry, host)) {
            if (entry->anywhere) {
                return HTTP_ANYWHERE;
            }
            permit = HTTP_PUBLIC;
        }
    }
    return permit;
}
