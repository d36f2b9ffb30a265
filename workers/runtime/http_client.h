/* http_client.h: HTTP requests to others, in linear code on a fiber.
 *
 *     http_response_t *res;
 *     int rc = http_request(client, rq->arena, &options, &res);
 *
 *     while (rc == 0 && (n = http_read(res, data, sizeof(data))) > 0) ...
 *
 * libcurl's multi interface on the loop of the fibers. A response body is
 * buffered up to 64 KiB; then the transfer pauses until the fiber has read,
 * so that a slow reader holds the sender back, not memory. The transfer ends
 * with the arena, so a raise leaves nothing behind. Redirects are not
 * followed, proxies of the environment not used, cookies not kept.
 *
 * Retrying is the caller's, with one exception inside libcurl: when a kept
 * connection turns out to be closed before any byte of the reply, the request
 * is sent once more on a new one. */

#ifndef HIVE_HTTP_CLIENT_H
#define HIVE_HTTP_CLIENT_H

#include "arena.h"
#include "fiber.h"

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

typedef struct http_client_s http_client_t;
typedef struct http_response_s http_response_t;

/* A client keeps its own connections: those that people name (webhooks) need
 * one that refuses private addresses, and never share with trusted ones. */
typedef struct {
    const char *protocols;          /* "https" when NULL; "http,https" */
    int refuse_private;             /* see http_address_private */
    unsigned connections_max;       /* open at once, others wait; 0: 256 */
    unsigned host_connections_max;  /* of them to one host; 0: 64 */
    const char *user_agent;         /* "hive" when NULL */
    const char *ca_file;            /* of PEM; NULL: the system's */
} http_client_options_t;

/* Returns owned; copies the options. NULL without memory or with bad
 * protocols. */
http_client_t *http_client_new(uv_loop_t *loop,
    const http_client_options_t *options);

/* No transfer may be left. Memory goes when the loop next turns. */
void http_client_free(http_client_t *client);

/* Transfers under way. */
unsigned http_client_active(const http_client_t *client);

typedef struct {
    slice_t name;                   /* of a reply: lower-case */
    slice_t value;
} http_header_t;

/* Milliseconds; 0 leaves that one out. */
typedef struct {
    unsigned connect;               /* name, connection and TLS */
    unsigned first_byte;            /* from the start to the reply's head */
    unsigned idle;                  /* of one http_read without a byte */
    unsigned total;                 /* from the start to the last byte */
} http_timeouts_t;

#define HTTP_TIMEOUTS_DEFAULT ((http_timeouts_t) { 5000, 30000, 30000, 0 })

/* All borrowed until the transfer has ended. */
typedef struct {
    const char *method;             /* "GET" when NULL */
    const char *url;
    const http_header_t *headers;
    unsigned nheaders;
    slice_t body;                   /* data NULL: none */
    uint64_t response_max;          /* bytes of the body; 0: 16 MiB */
    unsigned read_size;             /* read at once, 1024 and more; 0: 16 KiB */
    http_timeouts_t timeouts;
} http_options_t;

/* Sends, and suspends until the head of the reply is there. 0, whatever the
 * status, or
 *   UV_ECANCELED     the fiber was cancelled
 *   UV_ETIMEDOUT     one of the timeouts
 *   UV_EINVAL        bad URL, protocol not allowed, bad method or header
 *   UV_EAI_NONAME    no such host
 *   UV_EACCES        the host has only private addresses
 *   UV_ECONNREFUSED  no connection
 *   UV_EPROTO        TLS failed, or that was no HTTP
 *   UV_ECONNRESET    the connection broke
 *   UV_EMSGSIZE      more than response_max, or 64 KiB of headers
 *   UV_ENOMEM
 * *out is set in any case, for http_failure and http_sent; it lives as long
 * as the arena. */
int http_request(http_client_t *client, arena_t *arena,
    const http_options_t *options, http_response_t **out);

int http_status(const http_response_t *response);

/* First header of that lower-case name; data NULL when there is none. */
slice_t http_header(const http_response_t *response, const char *name);
const http_header_t *http_headers(const http_response_t *response,
    unsigned *count);

/* Up to `size` bytes of the body as soon as there are any: their number, 0 at
 * the end, or as above. Suspends. */
ssize_t http_read(http_response_t *response, void *data, size_t size);

/* The rest of the body, in the arena. 0 or as above. */
int http_read_all(http_response_t *response, slice_t *out);

/* Ends the transfer before its arena does. Idempotent. */
void http_close(http_response_t *response);

/* Why it failed, for a log line; "" when it did not. */
const char *http_failure(const http_response_t *response);

/* Nonzero when a byte of the request may have reached the other side: then a
 * failure does not mean that nothing was done there. */
int http_sent(const http_response_t *response);

/* Nonzero for an address that is not of the public internet: unspecified,
 * loopback, private, shared, link-local (cloud metadata), unique local,
 * multicast, documentation and reserved ones, and any of these inside an
 * IPv6 address that stands for an IPv4 one (mapped, NAT64, 6to4, Teredo). */
int http_address_private(const struct sockaddr *address);

#endif
