/* http_transfer.c: one request of the HTTP client and its reply.
 *
 * libcurl's callbacks put what arrives into the response and wake the fiber
 * that waits for it. A transfer is STARTED, then has its HEAD, then is DONE:
 * as soon as it is, the handle goes back to libcurl, and what has been
 * buffered can still be read. */

#include "http_internal.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define BUFFER_SIZE (64 * 1024)
#define BUFFER_SIZE_FIRST 512   /* twice that and so on is BUFFER_SIZE */
#define HEADERS_MAX 256
#define HEADER_BYTES_MAX (64 * 1024)
#define RESPONSE_MAX_DEFAULT (16 * 1024 * 1024)

_Static_assert(BUFFER_SIZE / 2 >= CURL_MAX_WRITE_SIZE,
    "a half empty buffer takes what libcurl delivers at once");

struct http_response_s {
    http_client_t *client;
    arena_t *arena;
    CURL *easy;                  /* NULL once done */
    struct curl_slist *sent_headers;
    fiber_t *waiter;
    http_timeouts_t timeouts;
    uint64_t started;            /* uv_hrtime() */

    int status;
    int head;                    /* complete */
    int done;
    int paused;
    int address_refused;
    int sent;
    int error;                   /* 0 or UV_E*, once done */
    const char *why;             /* ours, when a callback gave up */
    char failure[CURL_ERROR_SIZE];

    http_header_t *headers;
    unsigned nheaders, headers_max;
    size_t header_bytes;

    char *buffer;                /* made with the first byte, and grows */
    size_t size;
    size_t first, len;           /* what is unread */
    uint64_t received;
    uint64_t response_max;
};

/* ---- ending ---- */

static void
note_sent(http_response_t *response)
{
    long size = 0;

    curl_easy_getinfo(response->easy, CURLINFO_REQUEST_SIZE, &size);
    response->sent = size > 0;
}

static void
transfer_release(http_response_t *response)
{
    if (response->easy == NULL) {
        return;
    }
    note_sent(response);
    http_client_remove(response->client, response->easy);
    curl_easy_cleanup(response->easy);
    curl_slist_free_all(response->sent_headers);
    response->easy = NULL;
    response->sent_headers = NULL;
    response->done = 1;
}

static int
transfer_fail(http_response_t *response, int error, const char *why)
{
    transfer_release(response);
    response->done = 1;
    response->error = error;
    snprintf(response->failure, sizeof(response->failure), "%s", why);
    return error;
}

static int
error_of(const http_response_t *response, CURLcode result)
{
    switch (result) {
    case CURLE_OK:
        return 0;
    case CURLE_URL_MALFORMAT:
        return UV_EINVAL;
    case CURLE_UNSUPPORTED_PROTOCOL:
        /* Also said of a reply without a head (HTTP/0.9). */
        return response->sent ? UV_EPROTO : UV_EINVAL;
    case CURLE_COULDNT_RESOLVE_HOST:
        return UV_EAI_NONAME;
    case CURLE_COULDNT_CONNECT:
        return response->address_refused ? UV_EACCES : UV_ECONNREFUSED;
    case CURLE_OPERATION_TIMEDOUT:
        return UV_ETIMEDOUT;
    case CURLE_FILESIZE_EXCEEDED:
        return UV_EMSGSIZE;
    case CURLE_OUT_OF_MEMORY:
        return UV_ENOMEM;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return UV_ECONNRESET;
    default:
        return UV_EPROTO;
    }
}

void
http_transfer_done(http_response_t *response, CURLcode result)
{
    note_sent(response);
    if (response->error == 0) {
        response->error = error_of(response, result);
    }
    if (response->error == UV_EACCES) {
        response->why = "private address refused";
    } else if (response->why == NULL && response->failure[0] == '\0') {
        response->why = curl_easy_strerror(result);
    }
    if (response->why != NULL) {
        snprintf(response->failure, sizeof(response->failure), "%s",
            response->why);
    }
    transfer_release(response);
    if (response->waiter != NULL) {
        fiber_wake(response->waiter);
    }
}

static void
transfer_abandon(void *arg)
{
    transfer_release(arg);
}

void
http_close(http_response_t *response)
{
    if (!response->done) {
        transfer_fail(response, UV_ECANCELED, "closed");
    }
    response->len = 0;
}

/* ---- callbacks of libcurl ---- */

/* Gives up from inside a callback: returning 0 makes libcurl stop. */
static size_t
callback_fail(http_response_t *response, int error, const char *why)
{
    response->error = error;
    response->why = why;
    return 0;
}

/* "HTTP/1.1 200 OK" begins a head; an interim one (1xx) is forgotten. */
static void
take_status(http_response_t *response, const char *data, size_t len)
{
    const char *space = memchr(data, ' ', len);

    response->nheaders = 0;
    response->status = 0;
    if (space != NULL && data + len - space >= 4) {
        response->status = (space[1] - '0') * 100 + (space[2] - '0') * 10
            + (space[3] - '0');
    }
}

static slice_t
trimmed(const char *data, size_t len)
{
    while (len > 0 && isspace((unsigned char) data[len - 1])) {
        len--;
    }
    while (len > 0 && isspace((unsigned char) *data)) {
        data++;
        len--;
    }
    return (slice_t) { data, len };
}

static void
keep_header(http_response_t *response, const char *data, size_t len)
{
    const char *colon = memchr(data, ':', len);
    http_header_t *header;
    char *name;
    size_t i;

    if (colon == NULL) {
        return;
    }
    if (response->nheaders == response->headers_max) {
        http_header_t *more;

        response->headers_max = response->headers_max * 2 + 12;
        more = arena_alloc(response->arena,
            response->headers_max * sizeof(http_header_t));
        if (response->nheaders > 0) {
            memcpy(more, response->headers,
                response->nheaders * sizeof(http_header_t));
        }
        response->headers = more;
    }
    header = &response->headers[response->nheaders++];
    name = arena_strndup(response->arena, data, (size_t) (colon - data));
    for (i = 0; name[i] != '\0'; i++) {
        name[i] = (char) tolower((unsigned char) name[i]);
    }
    header->name = (slice_t) { name, (size_t) (colon - data) };
    header->value = arena_slice(response->arena,
        trimmed(colon + 1, len - (size_t) (colon + 1 - data)));
}

static size_t
header_arrived(char *data, size_t one, size_t len, void *arg)
{
    http_response_t *response = arg;

    (void) one;
    if (response->head) {
        return len;              /* trailers */
    }
    response->header_bytes += len;
    if (response->header_bytes > HEADER_BYTES_MAX
        || response->nheaders == HEADERS_MAX)
    {
        return callback_fail(response, UV_EMSGSIZE, "too many headers");
    }
    if (len >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        take_status(response, data, len);
    } else if (trimmed(data, len).len > 0) {
        keep_header(response, data, len);
    } else if (response->status >= 200) {
        response->head = 1;
        if (response->waiter != NULL) {
            fiber_wake(response->waiter);
        }
    }
    return len;
}

/* Has room for so much behind what is unread. */
static void
buffer_grow(http_response_t *response, size_t more)
{
    size_t wanted = response->len + more, size = response->size;
    char *old = response->buffer;

    if (wanted <= size) {
        memmove(old, old + response->first, response->len);
    } else {
        size = size > 0 ? size : BUFFER_SIZE_FIRST;
        while (size < wanted) {
            size *= 2;
        }
        response->buffer = arena_alloc(response->arena, size);
        if (response->len > 0) {
            memcpy(response->buffer, old + response->first, response->len);
        }
        response->size = size;
    }
    response->first = 0;
}

static size_t
body_arrived(char *data, size_t one, size_t len, void *arg)
{
    http_response_t *response = arg;

    (void) one;
    if (len > response->response_max - response->received) {
        return callback_fail(response, UV_EMSGSIZE, "reply too large");
    }
    if (len > BUFFER_SIZE - response->len) {
        response->paused = 1;    /* it comes again */
        return CURL_WRITEFUNC_PAUSE;
    }
    if (len > response->size - response->first - response->len) {
        buffer_grow(response, len);
    }
    memcpy(response->buffer + response->first + response->len, data, len);
    response->len += len;
    response->received += len;
    if (response->waiter != NULL) {
        fiber_wake(response->waiter);
    }
    return len;
}

/* Called for each address of the host in turn. */
static curl_socket_t
socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    http_response_t *response = arg;

    (void) purpose;
    if (response->client->refuse_private
        && http_address_private(&address->addr))
    {
        response->address_refused = 1;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC,
        address->protocol);
}

/* ---- beginning ---- */

static int
is_token(slice_t text)
{
    size_t i;

    for (i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char) text.data[i];

        if (!isalnum(c) && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c))) {
            return 0;
        }
    }
    return text.len > 0;
}

static int
is_field_value(slice_t text)
{
    size_t i;

    for (i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char) text.data[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static int
append_header(http_response_t *response, const char *line)
{
    struct curl_slist *list = curl_slist_append(response->sent_headers, line);

    if (list == NULL) {
        return UV_ENOMEM;
    }
    response->sent_headers = list;
    return 0;
}

static int
set_headers(http_response_t *response, const http_options_t *options)
{
    int typed = 0, rc = 0;
    unsigned i;

    for (i = 0; i < options->nheaders && rc == 0; i++) {
        slice_t name = options->headers[i].name;
        slice_t value = options->headers[i].value;

        if (!is_token(name) || !is_field_value(value)) {
            return UV_EINVAL;
        }
        typed |= name.len == 12
            && strncasecmp(name.data, "content-type", 12) == 0;
        /* A name without a value would take libcurl's own header away. */
        rc = append_header(response, arena_printf(response->arena,
            value.len > 0 ? "%.*s: %.*s" : "%.*s;%.*s", (int) name.len,
            name.data, (int) value.len, value.data));
    }
    if (rc == 0) {
        rc = append_header(response, "Expect:");
    }
    if (rc == 0 && !typed) {
        rc = append_header(response, "Content-Type:");
    }
    curl_easy_setopt(response->easy, CURLOPT_HTTPHEADER,
        response->sent_headers);
    return rc;
}

static int
set_method(http_response_t *response, const http_options_t *options)
{
    const char *method = options->method != NULL ? options->method : "GET";
    int body = options->body.data != NULL || strcmp(method, "POST") == 0
        || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
    CURL *easy = response->easy;

    if (!is_token((slice_t) { method, strlen(method) })) {
        return UV_EINVAL;
    }
    if (body) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
            options->body.data != NULL ? options->body.data : "");
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
            (curl_off_t) options->body.len);
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    } else if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(method, "GET") != 0) {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    }
    return 0;
}

static void
set_callbacks(http_response_t *response)
{
    CURL *easy = response->easy;

    curl_easy_setopt(easy, CURLOPT_PRIVATE, response);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, response->failure);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_arrived);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, response);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_arrived);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, response);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, socket_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, response);
}

static void
set_limits(http_response_t *response)
{
    const http_client_t *client = response->client;
    CURL *easy = response->easy;

    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, client->protocols);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, client->user_agent);
    if (client->ca_file[0] != '\0') {
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
    }
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, 50L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
        (long) CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
        response->timeouts.connect != 0 ? (long) response->timeouts.connect
                                        : 300000L);
    /* Do not join a thread that is still looking a name up, which would
     * hold the loop: it is detached and cleans up after itself. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
}

static int
transfer_start(http_response_t *response, const http_options_t *options)
{
    int rc;

    response->easy = curl_easy_init();
    if (response->easy == NULL) {
        return UV_ENOMEM;
    }
    set_callbacks(response);
    set_limits(response);
    if (options->read_size > 0) {
        curl_easy_setopt(response->easy, CURLOPT_BUFFERSIZE,
            (long) options->read_size);
    }
    rc = set_method(response, options);
    if (rc == 0) {
        rc = set_headers(response, options);
    }
    if (rc == 0 && curl_easy_setopt(response->easy, CURLOPT_URL, options->url)
        != CURLE_OK)
    {
        rc = UV_EINVAL;
    }
    if (rc == 0) {
        rc = http_client_add(response->client, response->easy);
    }
    if (rc != 0) {
        curl_easy_cleanup(response->easy);
        curl_slist_free_all(response->sent_headers);
        response->easy = NULL;
        response->sent_headers = NULL;
    }
    return rc;
}

/* ---- waiting ---- */

static uint64_t
after(uint64_t since, unsigned milliseconds)
{
    return milliseconds == 0 ? UINT64_MAX
                             : since + (uint64_t) milliseconds * 1000000;
}

/* One wait, not longer than `until` or the total. 0, or failed for good. */
static int
transfer_wait(http_response_t *response, const char *reason, uint64_t until,
    const char *late)
{
    uint64_t total = after(response->started, response->timeouts.total);
    int rc;

    if (total < until) {
        until = total;
        late = "took too long in all";
    }
    response->waiter = fiber_self();
    rc = until == UINT64_MAX ? fiber_suspend(reason)
                             : fiber_suspend_until(reason, until);
    response->waiter = NULL;
    if (rc == 0 || response->done) {
        return 0;
    }
    return transfer_fail(response, rc,
        rc == UV_ETIMEDOUT ? late : "cancelled");
}

int
http_request(http_client_t *client, arena_t *arena,
    const http_options_t *options, http_response_t **out)
{
    http_response_t *response = arena_zero(arena, sizeof(*response));
    uint64_t until;
    int rc;

    assert(fiber_self() != NULL);
    *out = response;
    response->client = client;
    response->arena = arena;
    response->timeouts = options->timeouts;
    response->started = uv_hrtime();
    response->response_max = options->response_max != 0
        ? options->response_max : RESPONSE_MAX_DEFAULT;
    rc = transfer_start(response, options);
    if (rc != 0) {
        return transfer_fail(response, rc, rc == UV_EINVAL
            ? "malformed url, method or header" : uv_strerror(rc));
    }
    arena_cleanup(arena, transfer_abandon, response);
    until = after(response->started, response->timeouts.first_byte);
    while (rc == 0 && !response->head && !response->done) {
        rc = transfer_wait(response, "http reply", until, "no reply in time");
    }
    return response->head ? 0 : response->error;
}

ssize_t
http_read(http_response_t *response, void *data, size_t size)
{
    uint64_t until = after(uv_hrtime(), response->timeouts.idle);

    assert(size > 0);
    while (response->len == 0 && !response->done) {
        transfer_wait(response, "http body", until, "body stalled");
    }
    if (response->len == 0) {
        return response->error;
    }
    if (size > response->len) {
        size = response->len;
    }
    memcpy(data, response->buffer + response->first, size);
    response->len -= size;
    response->first = response->len == 0 ? 0 : response->first + size;
    if (response->paused && response->len <= BUFFER_SIZE / 2) {
        response->paused = 0;
        if (response->easy != NULL) {
            curl_easy_pause(response->easy, CURLPAUSE_CONT);
        }
    }
    return (ssize_t) size;
}

int
http_read_all(http_response_t *response, slice_t *out)
{
    ssize_t got;
    buf_t body;

    buf_init(&body, response->arena, 4096);
    while ((got = http_read(response, buf_reserve(&body, 4096), 4096)) > 0) {
        body.len += (size_t) got;
    }
    if (got < 0) {
        return (int) got;
    }
    *buf_reserve(&body, 1) = '\0';
    *out = buf_slice(&body);
    return 0;
}

/* ---- looking ---- */

int
http_status(const http_response_t *response)
{
    return response->status;
}

slice_t
http_header(const http_response_t *response, const char *name)
{
    size_t len = strlen(name);
    unsigned i;

    for (i = 0; i < response->nheaders; i++) {
        const http_header_t *header = &response->headers[i];

        if (slice_equal(header->name, (slice_t) { name, len })) {
            return header->value;
        }
    }
    return SLICE_NONE;
}

const http_header_t *
http_headers(const http_response_t *response, unsigned *count)
{
    *count = response->nheaders;
    return response->headers;
}

const char *
http_failure(const http_response_t *response)
{
    return response->error != 0 ? response->failure : "";
}

int
http_sent(const http_response_t *response)
{
    return response->sent;
}
