/* Promises of http_client.h, against a server of threads on loopback that
 * answers well, slowly, badly or not at all. */

#include "workers/runtime/http_client.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- names ---- */

/* Answers for names under .test: a slow one, and one that says that the
 * outside lies within. */
int
getaddrinfo(const char *node, const char *service,
    const struct addrinfo *hints, struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *,
        struct addrinfo **);

    *(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node != NULL && strcmp(node, "slow.test") == 0) {
        sleep(2);
        return EAI_NONAME;
    }
    if (node != NULL && strcmp(node, "absent.test") == 0) {
        return EAI_NONAME;
    }
    if (node != NULL && strcmp(node, "rebound.test") == 0) {
        node = "127.0.0.1";
    }
    return real(node, service, hints, out);
}

/* ---- the server ---- */

static int listener;
static unsigned short port;
static atomic_uint accepted;
static atomic_ullong sent_bytes;

static void
say(int fd, const char *text)
{
    size_t len = strlen(text);

    while (len > 0) {
        ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

        if (sent <= 0) {
            return;
        }
        text += sent;
        len -= (size_t) sent;
    }
}

static void
say_big(int fd, unsigned long long total, int length)
{
    static char block[65536];
    char head[128];

    if (length) {
        snprintf(head, sizeof(head), "Content-Length: %llu\r\n\r\n", total);
    } else {
        snprintf(head, sizeof(head), "Connection: close\r\n\r\n");
    }
    say(fd, "HTTP/1.1 200 OK\r\n");
    say(fd, head);
    while (total > 0) {
        size_t some = total < sizeof(block) ? (size_t) total : sizeof(block);
        ssize_t sent = send(fd, block, some, MSG_NOSIGNAL);

        if (sent <= 0) {
            return;
        }
        total -= (unsigned long long) sent;
        atomic_fetch_add(&sent_bytes, (unsigned long long) sent);
    }
}

static void
say_echo(int fd, const char *request, const char *body, size_t len)
{
    char head[128];
    size_t head_len = strlen(request);

    snprintf(head, sizeof(head), "HTTP/1.1 201 Created\r\n"
        "Content-Length: %zu\r\n\r\n", head_len + len);
    say(fd, head);
    say(fd, request);
    send(fd, body, len, MSG_NOSIGNAL);
}

static void
say_flood(int fd)
{
    char line[128];
    int i;

    say(fd, "HTTP/1.1 200 OK\r\n");
    for (i = 0; i < 10000; i++) {
        snprintf(line, sizeof(line), "x-%d: %080d\r\n", i, i);
        say(fd, line);
    }
}

/* Nonzero when the connection goes on. */
static int
reply(int fd, const char *path, const char *request, const char *body,
    size_t len)
{
    int i;

    if (strcmp(path, "/hello") == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
            "X-Two: 1\r\nX-TWO:  2 \r\nX-Empty:\r\n\r\nhello");
    } else if (strcmp(path, "/echo") == 0) {
        say_echo(fd, request, body, len);
    } else if (strcmp(path, "/slow") == 0) {
        usleep(400000);
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    } else if (strcmp(path, "/drip") == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (i = 0; i < 5; i++) {
            usleep(10000);
            say(fd, "3\r\nabc\r\n");
        }
        say(fd, "0\r\nX-Trailer: t\r\n\r\n");
    } else if (strcmp(path, "/stall") == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc");
        usleep(600000);
        return 0;
    } else if (strcmp(path, "/big") == 0) {
        say_big(fd, 64 << 20, 1);
    } else if (strcmp(path, "/endless") == 0) {
        say_big(fd, 64 << 20, 0);
        return 0;
    } else if (strcmp(path, "/short") == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc");
        return 0;
    } else if (strcmp(path, "/interim") == 0) {
        say(fd, "HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
            "HTTP/1.1 204 No Content\r\nX-Late: 1\r\n\r\n");
    } else if (strcmp(path, "/flood") == 0) {
        say_flood(fd);
        return 0;
    } else if (strcmp(path, "/garbage") == 0) {
        say(fd, "220 mail.example.org ESMTP\r\n\r\n");
        return 0;
    } else if (strcmp(path, "/moved") == 0) {
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /hello\r\n"
            "Content-Length: 0\r\n\r\n");
    } else {
        return 0;                /* /nothing: hangs up */
    }
    return 1;
}

/* Reads one request; 0, or -1 at the end. */
static int
take_request(int fd, char *text, size_t size, size_t *head, size_t *body)
{
    const char *field;
    char *end = NULL;
    size_t len = 0;
    ssize_t got;

    while (end == NULL && len < size - 1) {
        got = recv(fd, text + len, size - 1 - len, 0);
        if (got <= 0) {
            return -1;
        }
        if (text[0] < 'A') {     /* TLS begins otherwise */
            say(fd, "HTTP/1.1 400 Bad Request\r\n\r\n");
            return -1;
        }
        len += (size_t) got;
        text[len] = '\0';
        end = strstr(text, "\r\n\r\n");
    }
    if (end == NULL) {
        return -1;
    }
    *head = (size_t) (end + 4 - text);
    field = strcasestr(text, "content-length: ");
    *body = field != NULL ? strtoul(field + 16, NULL, 10) : 0;
    while (len < *head + *body) {
        got = recv(fd, text + len, size - 1 - len, 0);
        if (got <= 0) {
            return -1;
        }
        len += (size_t) got;
    }
    return 0;
}

static void *
serve(void *arg)
{
    enum { SIZE = 1 << 20 };
    int fd = (int) (intptr_t) arg;
    char *text = malloc(SIZE);
    size_t head, body;

    while (take_request(fd, text, SIZE, &head, &body) == 0) {
        char request[4096], path[64];

        snprintf(request, sizeof(request), "%.*s", (int) head, text);
        if (sscanf(request, "%*s %63s", path) != 1
            || !reply(fd, path, request, text + head, body)) {
            break;
        }
    }
    free(text);
    close(fd);
    return NULL;
}

static void *
accept_all(void *arg)
{
    (void) arg;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;

        if (fd < 0) {
            return NULL;
        }
        atomic_fetch_add(&accepted, 1);
        pthread_create(&thread, NULL, serve, (void *) (intptr_t) fd);
        pthread_detach(thread);
    }
}

static int
listen_on(unsigned short *out, int backlog)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr = { htonl(INADDR_LOOPBACK) }
    };
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *) &address, len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    getsockname(fd, (struct sockaddr *) &address, &len);
    *out = ntohs(address.sin_port);
    return fd;
}

static pthread_t acceptor;

static int
server_start(void **state)
{
    (void) state;
    signal(SIGPIPE, SIG_IGN);
    listener = listen_on(&port, 128);
    return pthread_create(&acceptor, NULL, accept_all, NULL);
}

static int
server_stop(void **state)
{
    (void) state;
    shutdown(listener, SHUT_RDWR);
    pthread_join(acceptor, NULL);
    close(listener);
    usleep(50000);
    return 0;
}

/* ---- the fixture ---- */

static uv_loop_t loop;
static fiber_sched_t *sched;
static http_client_t *client;
static arena_t *arena;

static http_client_t *
new_client(int refuse_private)
{
    http_client_options_t options = {
        .protocols = "http,https",
        .refuse_private = refuse_private
    };

    return http_client_new(&loop, &options);
}

static int
setup(void **state)
{
    (void) state;
    uv_loop_init(&loop);
    sched = fiber_sched_new(&loop, 1000, 16);
    client = new_client(0);
    arena = arena_new();
    atomic_store(&accepted, 0);
    atomic_store(&sent_bytes, 0);
    return client == NULL;
}

static int
teardown(void **state)
{
    (void) state;
    arena_free(arena);
    assert_int_equal(http_client_active(client), 0);
    http_client_free(client);
    fiber_sched_free(sched);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void
run(fiber_fn fn, void *arg)
{
    assert_int_equal(fiber_spawn(sched, "test", fn, arg, NULL), 0);
    while (fiber_live(sched) > 0) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

/* One request to a path of the server, or a whole URL. */
typedef struct {
    http_options_t options;
    const char *path;
    http_response_t *response;
    int rc;
    int body_rc;
    slice_t body;
    uint64_t took_ms;
} call_t;

static void
fetch(void *arg)
{
    call_t *call = arg;
    uint64_t before = uv_hrtime();

    call->options.url = call->path[0] == '/'
        ? arena_printf(arena, "http://127.0.0.1:%u%s", port, call->path)
        : call->path;
    call->rc = http_request(client, arena, &call->options, &call->response);
    if (call->rc == 0) {
        call->body_rc = http_read_all(call->response, &call->body);
    }
    call->took_ms = (uv_hrtime() - before) / 1000000;
}

static call_t
get(const char *path)
{
    call_t call = {
        .path = path,
        .options = { .timeouts = HTTP_TIMEOUTS_DEFAULT }
    };

    run(fetch, &call);
    return call;
}

/* ---- tests ---- */

static void
a_reply_is_read(void **state)
{
    call_t call = get("/hello");

    (void) state;
    assert_int_equal(call.rc, 0);
    assert_int_equal(http_status(call.response), 200);
    assert_int_equal(call.body_rc, 0);
    assert_true(slice_equal(call.body, SLICE("hello")));
    assert_true(slice_equal(http_header(call.response, "x-two"), SLICE("1")));
    assert_int_equal(http_header(call.response, "x-empty").len, 0);
    assert_non_null(http_header(call.response, "x-empty").data);
    assert_null(http_header(call.response, "x-none").data);
    assert_string_equal(http_failure(call.response), "");
    assert_true(http_sent(call.response));
}

static void
methods_headers_and_bodies_are_sent(void **state)
{
    static const http_header_t headers[] = {
        { { "X-One", 5 }, { "a b", 3 } },
        { { "X-Nothing", 9 }, { "", 0 } },
        { { "content-type", 12 }, { "application/json", 16 } }
    };
    call_t call = {
        .path = "/echo",
        .options = {
            .method = "PUT", .headers = headers, .nheaders = 3,
            .body = { "{\0}", 3 }
        }
    };
    call_t plain = { .path = "/echo", .options = { .method = "POST" } };
    call_t gone = { .path = "/echo", .options = { .method = "DELETE" } };

    (void) state;
    run(fetch, &call);
    assert_int_equal(call.rc, 0);
    assert_int_equal(http_status(call.response), 201);
    assert_memory_equal(call.body.data, "PUT /echo HTTP/1.1\r\n", 20);
    assert_non_null(strstr(call.body.data, "\r\nX-One: a b\r\n"));
    assert_non_null(strstr(call.body.data, "\r\nX-Nothing:\r\n"));
    assert_non_null(strstr(call.body.data, "\r\nUser-Agent: hive\r\n"));
    assert_non_null(strstr(call.body.data, "application/json\r\n"));
    assert_null(strcasestr(call.body.data, "urlencoded"));
    assert_null(strcasestr(call.body.data, "expect"));
    assert_memory_equal(call.body.data + call.body.len - 3, "{\0}", 3);
    run(fetch, &plain);
    assert_memory_equal(plain.body.data, "POST ", 5);
    assert_non_null(strstr(plain.body.data, "\r\nContent-Length: 0\r\n"));
    assert_null(strcasestr(plain.body.data, "content-type"));
    run(fetch, &gone);
    assert_memory_equal(gone.body.data, "DELETE ", 7);
}

static void
large_bodies_are_sent(void **state)
{
    size_t len = 500000;
    char *body = malloc(len);
    call_t call = { .path = "/echo", .options = { .method = "POST" } };
    size_t i;

    (void) state;
    for (i = 0; i < len; i++) {
        body[i] = (char) (i * 31 % 251);
    }
    call.options.body = (slice_t) { body, len };
    run(fetch, &call);
    assert_int_equal(call.body_rc, 0);
    assert_true(call.body.len > len);
    assert_memory_equal(call.body.data + call.body.len - len, body, len);
    free(body);
}

static void
interim_heads_and_trailers_are_left_out(void **state)
{
    call_t call = get("/interim");

    (void) state;
    assert_int_equal(call.rc, 0);
    assert_int_equal(http_status(call.response), 204);
    assert_null(http_header(call.response, "x-early").data);
    assert_non_null(http_header(call.response, "x-late").data);
    call = get("/drip");
    assert_true(slice_equal(call.body, SLICE("abcabcabcabcabc")));
    assert_null(http_header(call.response, "x-trailer").data);
}

static void
redirects_are_not_followed(void **state)
{
    call_t call = get("/moved");

    (void) state;
    assert_int_equal(http_status(call.response), 302);
    assert_true(slice_equal(http_header(call.response, "location"),
        SLICE("/hello")));
}

static void
connections_are_used_again(void **state)
{
    int i;

    (void) state;
    for (i = 0; i < 10; i++) {
        assert_int_equal(get("/hello").rc, 0);
    }
    assert_int_equal(atomic_load(&accepted), 1);
}

static void
fetch_many(void *arg)
{
    call_t *calls = arg;
    int i;

    for (i = 0; i < 100; i++) {
        fiber_spawn(sched, "one", fetch, &calls[i], NULL);
    }
}

static void
many_run_at_once(void **state)
{
    static call_t calls[100];
    int i;

    (void) state;
    for (i = 0; i < 100; i++) {
        calls[i] = (call_t) {
            .path = i % 2 ? "/drip" : "/hello",
            .options = { .timeouts = HTTP_TIMEOUTS_DEFAULT }
        };
    }
    run(fetch_many, calls);
    for (i = 0; i < 100; i++) {
        assert_int_equal(calls[i].rc, 0);
        assert_int_equal(calls[i].body_rc, 0);
        assert_int_equal(calls[i].body.len, i % 2 ? 15 : 5);
    }
    assert_in_range(atomic_load(&accepted), 1, 64);
}

static void
a_slow_head_times_out(void **state)
{
    call_t call = {
        .path = "/slow", .options = { .timeouts = { .first_byte = 50 } }
    };

    (void) state;
    run(fetch, &call);
    assert_int_equal(call.rc, UV_ETIMEDOUT);
    assert_string_equal(http_failure(call.response), "no reply in time");
    assert_in_range(call.took_ms, 50, 300);
    assert_true(http_sent(call.response));
    assert_int_equal(http_client_active(client), 0);
}

static void
a_stalled_body_times_out(void **state)
{
    call_t call = {
        .path = "/stall", .options = { .timeouts = { .idle = 50 } }
    };
    call_t total = {
        .path = "/stall",
        .options = { .timeouts = { .idle = 10000, .total = 60 } }
    };

    (void) state;
    run(fetch, &call);
    assert_int_equal(call.rc, 0);
    assert_int_equal(call.body_rc, UV_ETIMEDOUT);
    assert_string_equal(http_failure(call.response), "body stalled");
    assert_in_range(call.took_ms, 50, 400);
    run(fetch, &total);
    assert_int_equal(total.body_rc, UV_ETIMEDOUT);
    assert_string_equal(http_failure(total.response),
        "took too long in all");
    assert_in_range(total.took_ms, 60, 400);
}

static void
slow_but_steady_is_not_idle(void **state)
{
    call_t call = {
        .path = "/drip", .options = { .timeouts = { .idle = 200 } }
    };

    (void) state;
    run(fetch, &call);
    assert_int_equal(call.body_rc, 0);
    assert_int_equal(call.body.len, 15);
}

/* A listener whose queue is full answers no handshake. */
static void
connecting_times_out(void **state)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr = { htonl(INADDR_LOOPBACK) }
    };
    unsigned short full;
    int fd = listen_on(&full, 0), fillers[4], i;
    call_t call = { .options = { .timeouts = { .connect = 100 } } };

    (void) state;
    address.sin_port = htons(full);
    for (i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fillers[i], (struct sockaddr *) &address,
                sizeof(address)) != 0) {
            assert_int_equal(errno, EINPROGRESS);
        }
    }
    call.path = arena_printf(arena, "http://127.0.0.1:%u/", full);
    run(fetch, &call);
    assert_int_equal(call.rc, UV_ETIMEDOUT);
    assert_in_range(call.took_ms, 90, 900);
    assert_false(http_sent(call.response));
    for (i = 0; i < 4; i++) {
        close(fillers[i]);
    }
    close(fd);
}

static void
cancel_soon(void *arg)
{
    fiber_sleep(30);
    fiber_cancel(*(fiber_t **) arg);
}

static int
cancelled(const char *path)
{
    call_t call;
    fiber_t *fiber;
    int looks = 0;

    do {            /* the machine may stall */
        call = (call_t) { .path = path };
        fiber_spawn(sched, "test", fetch, &call, &fiber);
        run(cancel_soon, &fiber);
        assert_int_equal(http_client_active(client), 0);
    } while (call.took_ms > 300 && ++looks < 3);
    assert_in_range(call.took_ms, 20, 300);
    assert_string_equal(http_failure(call.response), "cancelled");
    return call.rc != 0 ? call.rc : call.body_rc;
}

static void
cancelling_ends_the_transfer(void **state)
{
    (void) state;
    assert_int_equal(cancelled("/slow"), UV_ECANCELED);
    assert_int_equal(cancelled("/stall"), UV_ECANCELED);
}

/* A name that takes long must hold neither the cancelled fiber nor the
 * loop. */
static void
cancelling_does_not_wait_for_names(void **state)
{
    (void) state;
    assert_int_equal(cancelled("http://slow.test/"), UV_ECANCELED);
}

typedef struct {
    unsigned long long after_pause;
    unsigned long long read;
    ssize_t last;
} slow_t;

static void
read_slowly(void *arg)
{
    slow_t *slow = arg;
    http_options_t options = {
        .url = arena_printf(arena, "http://127.0.0.1:%u/big", port),
        .response_max = 100 << 20,
        .timeouts = { .idle = 5000 }
    };
    char data[30000];
    http_response_t *response;

    assert_int_equal(http_request(client, arena, &options, &response), 0);
    slow->read = (unsigned long long) http_read(response, data, 10);
    fiber_sleep(150);
    slow->after_pause = atomic_load(&sent_bytes);
    while ((slow->last = http_read(response, data, sizeof(data))) > 0) {
        slow->read += (unsigned long long) slow->last;
    }
}

static void
a_slow_reader_holds_the_sender_back(void **state)
{
    slow_t slow;

    (void) state;
    run(read_slowly, &slow);
    assert_int_equal(slow.last, 0);
    assert_int_equal(slow.read, 64 << 20);
    /* What the sockets hold, and 64 KiB. */
    assert_in_range(slow.after_pause, 1, 32 << 20);
    assert_true(arena_used(arena) < 1 << 20);
}

static void
replies_are_bounded(void **state)
{
    call_t told = { .path = "/big", .options = { .response_max = 1 << 20 } };
    call_t untold = {
        .path = "/endless", .options = { .response_max = 1 << 20 }
    };
    call_t flood = { .path = "/flood" };

    (void) state;
    run(fetch, &told);
    assert_int_equal(told.rc != 0 ? told.rc : told.body_rc, UV_EMSGSIZE);
    run(fetch, &untold);
    assert_int_equal(untold.body_rc, UV_EMSGSIZE);
    assert_string_equal(http_failure(untold.response), "reply too large");
    run(fetch, &flood);
    assert_int_equal(flood.rc, UV_EMSGSIZE);
    assert_string_equal(http_failure(flood.response), "too many headers");
}

static void
broken_replies_are_told_apart(void **state)
{
    call_t call = get("/short");
    unsigned short closed;

    (void) state;
    assert_int_equal(call.rc, 0);
    assert_int_equal(call.body_rc, UV_ECONNRESET);
    call = get("/nothing");
    assert_int_equal(call.rc, UV_ECONNRESET);
    assert_true(http_sent(call.response));
    call = get("/garbage");
    assert_int_equal(call.rc, UV_EPROTO);
    close(listen_on(&closed, 1));
    call = get(arena_printf(arena, "http://127.0.0.1:%u/", closed));
    assert_int_equal(call.rc, UV_ECONNREFUSED);
    assert_false(http_sent(call.response));
    assert_string_not_equal(http_failure(call.response), "");
    call = get("http://absent.test/");
    assert_int_equal(call.rc, UV_EAI_NONAME);
    call = get(arena_printf(arena, "https://127.0.0.1:%u/hello", port));
    assert_int_equal(call.rc, UV_EPROTO);
}

static void
bad_requests_are_not_sent(void **state)
{
    static const http_header_t split = { { "A", 1 }, { "b\r\nC: d", 7 } };
    static const http_header_t unnamed = { { "A b", 3 }, { "c", 1 } };
    call_t call = {
        .path = "/hello", .options = { .headers = &split, .nheaders = 1 }
    };

    (void) state;
    run(fetch, &call);
    assert_int_equal(call.rc, UV_EINVAL);
    call.options.headers = &unnamed;
    run(fetch, &call);
    assert_int_equal(call.rc, UV_EINVAL);
    call.options = (http_options_t) { .method = "GET /x HTTP/1.1\r\nA:" };
    run(fetch, &call);
    assert_int_equal(call.rc, UV_EINVAL);
    assert_int_equal(get("file:///etc/passwd").rc, UV_EINVAL);
    assert_int_equal(get("gopher://127.0.0.1/").rc, UV_EINVAL);
    assert_int_equal(get("http://[::1").rc, UV_EINVAL);
    assert_int_equal(atomic_load(&accepted), 0);
}

static void
private_addresses_are_refused(void **state)
{
    static const char *const hosts[] = {
        "127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433",
        "0177.1", "[::ffff:127.0.0.1]", "0.0.0.0", "rebound.test"
    };
    http_client_t *open = client;
    size_t i;

    (void) state;
    client = new_client(1);
    for (i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        call_t call = get(arena_printf(arena, "http://%s:%u/hello", hosts[i],
            port));

        if (call.rc != UV_EACCES) {
            fail_msg("%s: %s", hosts[i], uv_strerror(call.rc));
        }
        assert_string_equal(http_failure(call.response),
            "private address refused");
    }
    assert_int_equal(atomic_load(&accepted), 0);
    http_client_free(client);
    client = open;
    assert_int_equal(get(arena_printf(arena, "http://rebound.test:%u/hello",
        port)).rc, 0);
}

static void
addresses_are_told_apart(void **state)
{
    static const char *const inside[] = {
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.8.9.1",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "192.0.2.7", "198.19.0.1", "224.0.0.1", "255.255.255.255",
        "168.63.129.16", "::", "::1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::a00:1", "64:ff9b:1::1",
        "2002:7f00:1::", "2001::1", "2001:db8::1", "fc00::1",
        "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "::127.0.0.1",
        "3fff::1", "100::1"
    };
    static const char *const outside[] = {
        "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255",
        "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
        "223.255.255.255", "2606:4700::1111", "2a00:1450::1",
        "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
        "2001:4860:4860::8888"
    };
    struct sockaddr_storage address;
    size_t i, n = sizeof(inside) / sizeof(inside[0]);

    (void) state;
    for (i = 0; i < n + sizeof(outside) / sizeof(outside[0]); i++) {
        const char *text = i < n ? inside[i] : outside[i - n];

        if (uv_ip4_addr(text, 0, (struct sockaddr_in *) &address) != 0) {
            assert_int_equal(uv_ip6_addr(text, 0,
                (struct sockaddr_in6 *) &address), 0);
        }
        if (http_address_private((struct sockaddr *) &address) != (i < n)) {
            fail_msg("%s", text);
        }
    }
    address.ss_family = AF_UNIX;
    assert_true(http_address_private((struct sockaddr *) &address));
}

static void
leave_in_the_middle(void *arg)
{
    http_options_t options = {
        .url = arena_printf(arena, "http://127.0.0.1:%u/big", port),
        .response_max = 100 << 20
    };
    http_response_t *response;
    char data[100];

    (void) arg;
    assert_int_equal(http_request(client, arena, &options, &response), 0);
    assert_int_equal(http_read(response, data, sizeof(data)), 100);
    assert_int_equal(http_client_active(client), 1);
    arena_reset(arena);
    assert_int_equal(http_client_active(client), 0);
    options.url = arena_printf(arena, "http://127.0.0.1:%u/big", port);
    assert_int_equal(http_request(client, arena, &options, &response), 0);
    http_close(response);
    http_close(response);
    assert_int_equal(http_read(response, data, sizeof(data)), UV_ECANCELED);
}

static void
the_arena_ends_the_transfer(void **state)
{
    (void) state;
    run(leave_in_the_middle, NULL);
}

static void
bad_protocols_make_no_client(void **state)
{
    http_client_options_t options = { .protocols = "carrier-pigeon" };

    (void) state;
    assert_null(http_client_new(&loop, &options));
}

int
main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_reply_is_read),
        T(methods_headers_and_bodies_are_sent),
        T(large_bodies_are_sent),
        T(interim_heads_and_trailers_are_left_out),
        T(redirects_are_not_followed),
        T(connections_are_used_again),
        T(many_run_at_once),
        T(a_slow_head_times_out),
        T(a_stalled_body_times_out),
        T(slow_but_steady_is_not_idle),
        T(connecting_times_out),
        T(cancelling_ends_the_transfer),
        T(cancelling_does_not_wait_for_names),
        T(a_slow_reader_holds_the_sender_back),
        T(replies_are_bounded),
        T(broken_replies_are_told_apart),
        T(bad_requests_are_not_sent),
        T(private_addresses_are_refused),
        T(addresses_are_told_apart),
        T(the_arena_ends_the_transfer),
        T(bad_protocols_make_no_client)
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, server_start, server_stop);
}
