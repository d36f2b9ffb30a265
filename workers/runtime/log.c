/* log.c: one line, one write.
 *
 * A line is at most PIPE_BUF bytes, so the kernel writes it whole, and a pipe
 * that polls as writable has room for it: that is how a write never blocks
 * without making the descriptor non-blocking, which would do the same to
 * every other process that shares it. */

#include "log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES PIPE_BUF
#define MESSAGE_MAX 3600         /* formatted, before it is escaped */
#define TAIL_ROOM 32             /* for what closes a cut line */

static const char *const level_names[] = { "debug", "info", "warn", "error" };

static log_level_t level_now = LOG_LEVEL_INFO;
static const char *(*context_fn)(void);
static atomic_ulong dropped_total;
static atomic_ulong dropped_untold;

typedef struct {
    char data[LINE_MAX_BYTES];
    size_t len;
} line_t;

void
log_set_level(log_level_t level)
{
    level_now = level;
}

int
log_level_parse(const char *name, log_level_t *out)
{
    size_t i;

    for (i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (log_level_t) i;
            return 0;
        }
    }
    return -1;
}

void
log_set_context(const char *(*fn)(void))
{
    context_fn = fn;
}

unsigned long
log_dropped(void)
{
    return atomic_load(&dropped_total);
}

__attribute__((format(printf, 2, 3))) static void
line_printf(line_t *line, const char *format, ...)
{
    size_t room = sizeof(line->data) - line->len;
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(line->data + line->len, room, format, args);
    va_end(args);
    if (len > 0 && (size_t) len < room) {
        line->len += (size_t) len;
    }
}

/* Length of the well-formed multi-byte sequence at `text`, or 0 (RFC 3629,
 * section 4). Reads no further than the terminator. */
static size_t
utf8_sequence(const unsigned char *text)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t len, i;

    if (text[0] >= 0xc2 && text[0] <= 0xdf) {
        len = 2;
    } else if (text[0] >= 0xe0 && text[0] <= 0xef) {
        len = 3;
        low = text[0] == 0xe0 ? 0xa0 : 0x80;
        high = text[0] == 0xed ? 0x9f : 0xbf;
    } else if (text[0] >= 0xf0 && text[0] <= 0xf4) {
        len = 4;
        low = text[0] == 0xf0 ? 0x90 : 0x80;
        high = text[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (text[1] < low || text[1] > high) {
        return 0;
    }
    for (i = 2; i < len; i++) {
        if (text[i] < 0x80 || text[i] > 0xbf) {
            return 0;
        }
    }
    return len;
}

/* One character as it stands in a JSON string: its length in `out`, having
 * moved *text behind it. */
static size_t
escape_next(const unsigned char **text, char out[8])
{
    const unsigned char *at = *text;
    size_t len;

    if (*at >= 0x80) {
        len = utf8_sequence(at);
        *text += len == 0 ? 1 : len;
        if (len == 0) {
            return (size_t) snprintf(out, 8, "\\ufffd");
        }
        memcpy(out, at, len);
        return len;
    }
    *text += 1;
    if (*at == '"' || *at == '\\') {
        return (size_t) snprintf(out, 8, "\\%c", *at);
    }
    if (*at == '\n' || *at == '\t' || *at == '\r') {
        return (size_t) snprintf(out, 8, "\\%c",
            *at == '\n' ? 'n' : *at == '\t' ? 't' : 'r');
    }
    if (*at < 0x20 || *at == 0x7f) {
        return (size_t) snprintf(out, 8, "\\u%04x", *at);
    }
    out[0] = (char) *at;
    return 1;
}

static void
line_escaped(line_t *line, const char *string)
{
    const unsigned char *text = (const unsigned char *) string;
    char one[8];

    while (*text != '\0') {
        size_t len = escape_next(&text, one);

        if (line->len + len + TAIL_ROOM > sizeof(line->data)) {
            break;
        }
        memcpy(line->data + line->len, one, len);
        line->len += len;
    }
}

static void
line_begin(line_t *line, log_level_t level)
{
    struct timespec now;
    struct tm utc;
    char date[32];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    line->len = 0;
    line_printf(line, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"pid\":%ld,",
        date, now.tv_nsec / 1000000, level_names[level], (long) getpid());
}

/* Writes without blocking; 0, or -1 when there is no room. */
static int
line_write(const line_t *line)
{
    struct pollfd ready = { .fd = STDERR_FILENO, .events = POLLOUT };
    ssize_t written;

    if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT)) {
        return -1;
    }
    do {
        written = write(STDERR_FILENO, line->data, line->len);
    } while (written < 0 && errno == EINTR);
    return written == (ssize_t) line->len ? 0 : -1;
}

void
log_write(log_level_t level, const char *format, ...)
{
    const char *request_id;
    unsigned long untold;
    char message[MESSAGE_MAX];
    int saved = errno;
    line_t line;
    va_list args;

    if (level < level_now) {
        return;
    }
    line_begin(&line, level);
    request_id = context_fn != NULL ? context_fn() : NULL;
    if (request_id != NULL) {
        line_printf(&line, "\"request_id\":\"");
        line_escaped(&line, request_id);
        line_printf(&line, "\",");
    }
    untold = atomic_exchange(&dropped_untold, 0);
    if (untold > 0) {
        line_printf(&line, "\"dropped\":%lu,", untold);
    }
    line_printf(&line, "\"msg\":\"");
    va_start(args, format);
    errno = saved;               /* for %m */
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    line_escaped(&line, message);
    line_printf(&line, "\"}\n");
    if (line_write(&line) != 0) {
        atomic_fetch_add(&dropped_untold, untold + 1);
        atomic_fetch_add(&dropped_total, 1);
    }
    errno = saved;
}
