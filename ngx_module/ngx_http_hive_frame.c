
/*
 * Events as they are sent. A frame is made once, and all its receivers have
 * references to it; so are its other forms, when the first of them wants one.
 */


#include "ngx_http_hive_hub.h"


static ngx_http_hive_frame_t *ngx_http_hive_frame_alloc(size_t len,
    size_t more);


/* Shorter ones are not compressed: it would cost more than it saves. */

#define NGX_HTTP_HIVE_DEFLATE_MIN  64


ngx_http_hive_frame_t *
ngx_http_hive_frame(ws_opcode_t opcode, u_char *text, size_t len)
{
    size_t                  n;
    u_char                  header[WS_HEADER_MAX];
    ngx_http_hive_frame_t  *frame;

    frame = ngx_http_hive_frame_alloc(len, 0);
    if (frame == NULL) {
        return NULL;
    }

    n = ws_put_header(header, opcode, 0, len);

    frame->wire.data = frame->text.data - n;
    frame->wire.len = n + len;
    frame->control = opcode >= WS_CLOSE;

    ngx_memcpy(frame->wire.data, header, n);

    if (text) {
        ngx_memcpy(frame->text.data, text, len);
    }

    return frame;
}


ngx_http_hive_frame_t *
ngx_http_hive_event_frame(event_record_t *event)
{
    size_t                  n;
    u_char                  header[WS_HEADER_MAX];
    ngx_http_hive_frame_t  *frame;

    frame = ngx_http_hive_frame_alloc(event->text.len, event->type.len);
    if (frame == NULL) {
        return NULL;
    }

    n = ws_put_header(header, WS_TEXT, 0, event->text.len);

    frame->wire.data = frame->text.data - n;
    frame->wire.len = n + event->text.len;

    ngx_memcpy(frame->wire.data, header, n);
    ngx_memcpy(frame->text.data, event->text.data, event->text.len);

    frame->type.data = frame->text.data + event->text.len;
    frame->type.len = event->type.len;
    ngx_memcpy(frame->type.data, event->type.data, event->type.len);

    if (event->kind == EVENT_CHANGE) {
        frame->offset = event->offset;
        frame->first = event->first > 0 ? event->first : event->offset;
    }

    return frame;
}


ngx_http_hive_frame_t *
ngx_http_hive_raw_frame(size_t len)
{
    ngx_http_hive_frame_t  *frame;

    frame = ngx_http_hive_frame_alloc(len, 0);
    if (frame == NULL) {
        return NULL;
    }

    frame->wire = frame->text;
    frame->incompressible = 1;

    return frame;
}


static ngx_http_hive_frame_t *
ngx_http_hive_frame_alloc(size_t len, size_t more)
{
    ngx_http_hive_frame_t  *frame;

    frame = ngx_alloc(sizeof(ngx_http_hive_frame_t) + WS_HEADER_MAX + len
                      + more, ngx_cycle->log);
    if (frame == NULL) {
        return NULL;
    }

    ngx_memzero(frame, sizeof(ngx_http_hive_frame_t));

    frame->refs = 1;
    frame->text.data = frame->data + WS_HEADER_MAX;
    frame->text.len = len;

    return frame;
}


void
ngx_http_hive_frame_free(ngx_http_hive_frame_t *frame)
{
    if (--frame->refs) {
        return;
    }

    if (frame->deflated) {
        ngx_http_hive_frame_free(frame->deflated);
    }

    if (frame->sse) {
        ngx_http_hive_frame_free(frame->sse);
    }

    ngx_free(frame);
}


ngx_http_hive_frame_t *
ngx_http_hive_deflated(ngx_http_hive_hub_t *hub, ngx_http_hive_frame_t *frame,
    ngx_uint_t window)
{
    size_t                  n;
    u_char                  header[WS_HEADER_MAX];
    slice_t                 out;
    ngx_http_hive_frame_t  *deflated;

    if (frame->incompressible || frame->control
        || (window < WS_WINDOW_MAX
            && frame->text.len > (size_t) 1 << window))
    {
        return frame;
    }

    if (frame->deflated) {
        return frame->deflated;
    }

    if ((frame->text.len < NGX_HTTP_HIVE_DEFLATE_MIN && !frame->compress)
        || ws_deflate(hub->deflater, frame->text.data, frame->text.len, &out)
           != 0
        || (out.len >= frame->text.len && !frame->compress))
    {
        frame->incompressible = 1;
        return frame;
    }

    deflated = ngx_http_hive_frame_alloc(out.len, 0);
    if (deflated == NULL) {
        return frame;
    }

    n = ws_put_header(header, frame->wire.data[0] & 0x0f, 1, out.len);

    deflated->wire.data = deflated->text.data - n;
    deflated->wire.len = n + out.len;
    deflated->offset = frame->offset;
    deflated->incompressible = 1;

    ngx_memcpy(deflated->wire.data, header, n);
    ngx_memcpy(deflated->text.data, out.data, out.len);

    frame->deflated = deflated;

    return deflated;
}
