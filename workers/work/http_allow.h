/* http_allow.h: whom tasks of kind `http` may call.
 *
 *     api.example.com, *.example.org, http://old.example.net:8080,
 *     !10.1.2.3:8443, !http://localhost:9000
 *
 * An entry is a host, `*.` and a domain (any host below it, at any depth), or
 * `*` (any host). It is for https on port 443; `http://` in front makes it for
 * plain http on port 80 instead, `:port` behind makes it for that port only.
 * Whatever name is called, addresses that are not of the public internet are
 * refused when it comes to connecting (http_client.h), unless the entry begins
 * with `!`, which must then name one host. */

#ifndef HIVE_HTTP_ALLOW_H
#define HIVE_HTTP_ALLOW_H

#include "workers/runtime/arena.h"

typedef struct http_allow_s http_allow_t;

typedef enum {
    HTTP_REFUSED,
    HTTP_PUBLIC,               /* public addresses only */
    HTTP_ANYWHERE
} http_permit_t;

/* Entries, separated by commas or spaces. In the arena; NULL with *why. */
http_allow_t *http_allow_parse(arena_t *arena, const char *text,
    const char **why);

/* `scheme` and `host` in lower case as libcurl has them: no dot at the end, an
 * IPv6 address in brackets. When several entries fit, the widest permit. */
http_permit_t http_allow_find(const http_allow_t *allow, slice_t scheme,
    slice_t host, unsigned port);

#endif
