/* model_stream.c: a provider of models for benches: the Messages API over
 * HTTP/1.1, as fast or as evenly as it is asked to be, on one thread.
 *
 *     model_stream PORT
 *
 * A request that says RATE-<r> COUNT-<n> somewhere gets n pieces of text, r a
 * second (0: at once), 16 bytes more for each X-<x> it says; without it, five
 * at once. Each piece begins with the microseconds (CLOCK_MONOTONIC, the last nine
 * digits) at which it was sent.
 * A prompt that asks for a plan gets one of three parts. Connections
 * are kept. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define STREAMS_MAX 8192

typedef struct {
    int fd;
    char *in;
    size_t in_len, in_max;
    char *out;
    size_t out_len, out_max;
    int streaming, plan;
    long rate, count, sent, more;
    uint64_t began;
} stream_t;

static stream_t *streams[STREAMS_MAX];
static int epoll_fd, top;

static uint64_t
now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

static void
drop(stream_t *s)
{
    streams[s->fd] = NULL;
    close(s->fd);
    free(s->in);
    free(s->out);
    free(s);
}

static void
add(stream_t *s, const char *data, size_t len)
{
    if (s->out_len + len > s->out_max) {
        s->out_max = (s->out_len + len) * 2;
        s->out = realloc(s->out, s->out_max);
    }
    memcpy(s->out + s->out_len, data, len);
    s->out_len += len;
}

/* A chunk of the reply. */
__attribute__((format(printf, 2, 3)))
static void
say(stream_t *s, const char *format, ...)
{
    char text[8192], size[16];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    add(s, size, (size_t) snprintf(size, sizeof(size), "%x\r\n", len));
    add(s, text, (size_t) len);
    add(s, "\r\n", 2);
}

/* 0, or -1 when it is gone. */
static int
flush(stream_t *s)
{
    size_t from = 0;

    while (from < s->out_len) {
        ssize_t n = send(s->fd, s->out + from, s->out_len - from,
            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            drop(s);
            return -1;
        }
        from += (size_t) n;
    }
    memmove(s->out, s->out + from, s->out_len - from);
    s->out_len -= from;
    return 0;
}

static long
asked(const char *body, const char *mark, long otherwise)
{
    const char *at = strstr(body, mark);

    return at == NULL ? otherwise : strtol(at + strlen(mark), NULL, 10);
}

static void
begin(stream_t *s, const char *body)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type:"
        " text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

    s->streaming = 1;
    s->plan = strstr(body, "Schema of the answer") != NULL;
    s->rate = asked(body, "RATE-", 0);
    s->count = s->plan ? 1 : asked(body, "COUNT-", 5);
    s->more = asked(body, "X-", 0);
    s->sent = 0;
    s->began = now_ns();
    add(s, head, sizeof(head) - 1);
    say(s, "event: message_start\ndata: {\"type\":\"message_start\","
        "\"message\":{\"usage\":{\"input_tokens\":100,\"output_tokens\":1}}"
        "}\n\nevent: content_block_start\ndata: {\"type\":"
        "\"content_block_start\",\"index\":0,\"content_block\":{\"type\":"
        "\"text\",\"text\":\"\"}}\n\n");
}

static void
say_piece(stream_t *s)
{
    char more[4096];
    size_t len = (size_t) s->more * 16 < sizeof(more) ? (size_t) s->more * 16
                                                      : sizeof(more) - 1;

    memset(more, 'x', len);
    more[len] = '\0';
    if (s->plan) {
        say(s, "event: content_block_delta\ndata: {\"type\":"
            "\"content_block_delta\",\"index\":0,\"delta\":{\"type\":"
            "\"text_delta\",\"text\":\"{\\\"subtasks\\\":[{\\\"title\\\":"
            "\\\"a\\\"},{\\\"title\\\":\\\"b\\\"},{\\\"title\\\":\\\"c\\\"}]}"
            "\"}}\n\n");
    } else {
        say(s, "event: content_block_delta\ndata: {\"type\":"
            "\"content_block_delta\",\"index\":0,\"delta\":{\"type\":"
            "\"text_delta\",\"text\":\"%09llu%s\"}}\n\n",
            (unsigned long long) (now_ns() / 1000 % 1000000000), more);
    }
    s->sent++;
}

static void
end(stream_t *s)
{
    say(s, "event: content_block_stop\ndata: {\"type\":"
        "\"content_block_stop\",\"index\":0}\n\nevent: message_delta\n"
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
        "\"end_turn\"},\"usage\":{\"output_tokens\":%ld}}\n\n"
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        s->count);
    add(s, "0\r\n\r\n", 5);
    s->streaming = 0;
}

/* What is due now. */
static void
advance(stream_t *s)
{
    uint64_t now = now_ns();
    int moved = 0;

    while (s->sent < s->count && (s->rate == 0
            || s->began + (uint64_t) s->sent * 1000000000
               / (uint64_t) s->rate <= now)) {
        say_piece(s);
        moved = 1;
        if (s->rate != 0) {
            break;
        }
    }
    if (s->sent == s->count) {
        end(s);
        moved = 1;
    }
    if (moved) {
        flush(s);
    }
}

static void
take(stream_t *s)
{
    char *body, *length;
    size_t want;

    for (;;) {
        ssize_t n;

        if (s->in_max - s->in_len < 65536) {
            s->in_max = s->in_len + 131072;
            s->in = realloc(s->in, s->in_max);
        }
        n = recv(s->fd, s->in + s->in_len, s->in_max - s->in_len - 1,
            MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            drop(s);
            return;
        }
        if (n < 0) {
            break;
        }
        s->in_len += (size_t) n;
    }
    s->in[s->in_len] = '\0';
    body = strstr(s->in, "\r\n\r\n");
    length = strcasestr(s->in, "content-length:");
    if (body == NULL || length == NULL) {
        return;
    }
    want = (size_t) (body + 4 - s->in) + strtoul(length + 15, NULL, 10);
    if (s->in_len < want || s->streaming) {
        return;
    }
    begin(s, body + 4);
    s->in_len = 0;
    free(s->in);
    s->in = NULL;
    s->in_max = 0;
    advance(s);
}

static void
take_connections(int listener)
{
    int fd, one = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

        if (fd >= STREAMS_MAX) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        streams[fd] = calloc(1, sizeof(stream_t));
        streams[fd]->fd = fd;
        top = fd > top ? fd : top;
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

int
main(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    struct epoll_event event, events[256];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;

    if (argc != 2) {
        fprintf(stderr, "usage: model_stream PORT\n");
        return 2;
    }
    address.sin_port = htons((uint16_t) atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0
        || listen(listener, 4096) != 0) {
        perror("model_stream");
        return 1;
    }
    epoll_fd = epoll_create1(0);
    event = (struct epoll_event) { .events = EPOLLIN, .data.fd = listener };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int busy = 0, n;

        for (int fd = 0; fd <= top; fd++) {
            if (streams[fd] != NULL && streams[fd]->streaming) {
                busy = 1;
                advance(streams[fd]);
            }
        }
        n = epoll_wait(epoll_fd, events, 256, busy ? 1 : -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd == listener) {
                take_connections(listener);
            } else if (streams[fd] != NULL) {
                take(streams[fd]);
            }
        }
    }
}
