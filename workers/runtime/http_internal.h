/* http_internal.h: what http_client.c and http_transfer.c share. */

#ifndef HIVE_HTTP_INTERNAL_H
#define HIVE_HTTP_INTERNAL_H

#include "http_client.h"

#include <curl/curl.h>

struct http_client_s {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    unsigned active;
    int refuse_private;
    char *protocols;
    char *user_agent;
    char *ca_file;
};

/* Adds the handle, whose CURLOPT_PRIVATE is its response. 0 or UV_E*. */
int http_client_add(http_client_t *client, CURL *easy);

/* Takes it out; not to be called from curl's callbacks. */
void http_client_remove(http_client_t *client, CURL *easy);

/* The transfer of `response` has ended. Called from the loop. */
void http_transfer_done(http_response_t *response, CURLcode result);

#endif
