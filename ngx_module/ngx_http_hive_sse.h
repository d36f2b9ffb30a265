
/*
 * The inside of server-sent events: ngx_http_hive_sse.c has the request, from
 * its start to its end, ngx_http_hive_sse_event.c what is written into it.
 */


#ifndef _NGX_HTTP_HIVE_SSE_H_INCLUDED_
#define _NGX_HTTP_HIVE_SSE_H_INCLUDED_


#include "ngx_http_hive_hub.h"


/* A channel, and how far the client has been told of it. */
typedef struct {
    ngx_str_t                   name;
    ngx_str_t                   epoch;
    int64_t                     offset;         /* -1: none is known */
} ngx_http_hive_sse_place_t;


typedef struct {
    ngx_http_hive_client_t      client;         /* first: is cast back */
    ngx_http_request_t         *request;        /* NULL: it is gone */
    ngx_http_hive_ctx_t        *ctx;
    ngx_http_hive_redeem_t      redeem;
    ngx_event_t                 hold;
    ngx_uint_t                  nplaces;
    ngx_http_hive_sse_place_t  *places;
    ngx_str_t                   types;
    ngx_chain_t                *free;
    ngx_chain_t                *busy;
    unsigned                    begun:1;
} ngx_http_hive_sse_t;


/* NULL: it is not watched. */
ngx_http_hive_sse_place_t *ngx_http_hive_sse_place(ngx_http_hive_sse_t *sse,
    ngx_str_t *name);

/* Reads the places out of Last-Event-ID, in the order of the channels. */
void ngx_http_hive_sse_resume(ngx_http_request_t *r,
    ngx_http_hive_sse_t *sse);

/* Sends an event, with where the stream is if "cursor"; takes the message,
 * which is NULL without memory. */
void ngx_http_hive_sse_tell(ngx_http_hive_sse_t *sse, char *type,
    json_t *message, ngx_uint_t cursor);

/* Of ngx_http_hive_client_type_t. */
ngx_http_hive_frame_t *ngx_http_hive_sse_form(ngx_http_hive_client_t *client,
    ngx_http_hive_sub_t *sub, ngx_http_hive_frame_t *frame);
void ngx_http_hive_sse_beat(ngx_http_hive_client_t *client);
void ngx_http_hive_sse_confirmed(ngx_http_hive_sub_t *sub,
    ngx_uint_t recovered, int64_t offset);
void ngx_http_hive_sse_refused(ngx_http_hive_client_t *client, json_t *id,
    ngx_str_t *channel, const char *code, const char *message);
void ngx_http_hive_sse_ended(ngx_http_hive_sub_t *sub, const char *reason);


#endif /* _NGX_HTTP_HIVE_SSE_H_INCLUDED_ */
