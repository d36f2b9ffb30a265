/* sse.c: reading a stream of server-sent events. */

#include "sse.h"

typedef int (*event_fn)(void *arg, const sse_event_t *event);

void
sse_init(sse_t *sse, arena_t *arena, size_t max)
{
    memset(sse, 0, sizeof(*sse));
    buf_init(&sse->line, arena, 64);
    buf_init(&sse->type, arena, 32);
    buf_init(&sse->data, arena, 256);
    sse->max = max;
}

static int
dispatch(sse_t *sse, event_fn fn, void *arg)
{
    sse_event_t event = {
        sse->type.len > 0 ? buf_slice(&sse->type) : SLICE("message"),
        buf_slice(&sse->data)
    };
    int rc = sse->has_data ? fn(arg, &event) : 0;

    sse->type.len = 0;
    sse->data.len = 0;
    sse->has_data = 0;
    return rc;
}

static int
is_field(slice_t line, const char *name, slice_t *value)
{
    size_t len = strlen(name);

    if (line.len < len || memcmp(line.data, name, len) != 0
        || (line.len > len && line.data[len] != ':'))
    {
        return 0;
    }
    *value = line.len > len
        ? (slice_t) { line.data + len + 1, line.len - len - 1 } : SLICE("");
    if (value->len > 0 && value->data[0] == ' ') {
        value->data++;
        value->len--;
    }
    return 1;
}

static int
take_line(sse_t *sse, slice_t line, event_fn fn, void *arg)
{
    slice_t value;

    if (!sse->begun) {
        sse->begun = 1;
        if (line.len >= 3 && memcmp(line.data, "\xef\xbb\xbf", 3) == 0) {
            line.data += 3;
            line.len -= 3;
        }
    }
    if (line.len == 0) {
        return dispatch(sse, fn, arg);
    }
    if (is_field(line, "data", &value)) {
        if (value.len + 1 > sse->max - sse->data.len) {
            return -1;
        }
        if (sse->has_data) {
            buf_putc(&sse->data, '\n');
        }
        buf_put(&sse->data, value.data, value.len);
        sse->has_data = 1;
    } else if (is_field(line, "event", &value)) {
        sse->type.len = 0;
        buf_put(&sse->type, value.data, value.len);
    }
    return 0;
}

/* Where the first CR or LF is, or the end. */
static size_t
line_end(slice_t bytes)
{
    size_t i = 0;

    while (i < bytes.len && bytes.data[i] != '\n' && bytes.data[i] != '\r') {
        i++;
    }
    return i;
}

int
sse_feed(sse_t *sse, slice_t bytes, event_fn fn, void *arg)
{
    int rc = 0;

    while (bytes.len > 0 && rc == 0) {
        size_t end;
        slice_t line;

        if (sse->after_cr && bytes.data[0] == '\n') {
            bytes.data++;
            bytes.len--;
        }
        sse->after_cr = 0;
        end = line_end(bytes);
        if (end > sse->max - sse->line.len) {
            return -1;
        }
        if (end == bytes.len) {
            buf_put(&sse->line, bytes.data, end);
            break;
        }
        line = (slice_t) { bytes.data, end };
        if (sse->line.len > 0) {
            buf_put(&sse->line, bytes.data, end);
            line = buf_slice(&sse->line);
        }
        sse->after_cr = bytes.data[end] == '\r';
        bytes.data += end + 1;
        bytes.len -= end + 1;
        rc = take_line(sse, line, fn, arg);
        sse->line.len = 0;
    }
    return rc;
}
