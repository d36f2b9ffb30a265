/* http_result.h: what tasks of kind `http` keep of a reply. */

#ifndef HIVE_HTTP_RESULT_H
#define HIVE_HTTP_RESULT_H

#include "workers/runtime/http_client.h"

/* {"status", "headers", and "json", "body" or "body_base64"}, in the arena: JSON
 * that the database takes, whatever was answered. */
slice_t http_result(arena_t *arena, const http_response_t *response,
    slice_t body);

/* The text; bytes that are no UTF-8 are taken for the Latin-1 that HTTP once
 * had. In the arena, or borrowed. */
slice_t http_utf8(arena_t *arena, slice_t text);

/* Retry-After, in seconds or as a date (RFC 9110, 10.2.3), as milliseconds, an
 * hour at most; 0: nothing of the kind. */
unsigned http_retry_after(const http_response_t *response);

#endif
