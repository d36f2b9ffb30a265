/* http_client.c: libcurl's multi interface on a libuv loop.
 *
 * libcurl says which descriptors and which time it wants to be told of; each
 * descriptor gets a poll handle, the time one timer. Its callbacks only do
 * that: nothing of libcurl is called from inside of them. A descriptor may be
 * closed and its number used again as soon as libcurl has let go of it, so a
 * poll handle is closed at once and freed when libuv says so. */

#include "http_internal.h"

#include "log.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>

typedef struct {
    uv_poll_t poll;
    http_client_t *client;
    curl_socket_t fd;
} watch_t;

/* Tells the transfers that have ended. */
static void
collect_done(http_client_t *client)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CURLcode result = message->data.result;
        void *response = NULL;

        if (message->msg == CURLMSG_DONE) {
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
                &response);
            http_transfer_done(response, result);
        }
    }
}

static void
watch_ready(uv_poll_t *poll, int status, int events)
{
    watch_t *watch = poll->data;
    http_client_t *client = watch->client;
    int flags = 0, running;

    if (status < 0) {
        flags = CURL_CSELECT_ERR;
    } else {
        flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
        flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    }
    curl_multi_socket_action(client->multi, watch->fd, flags, &running);
    collect_done(client);
}

static void
watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static watch_t *
watch_new(http_client_t *client, curl_socket_t fd)
{
    watch_t *watch = calloc(1, sizeof(*watch));
    int rc;

    if (watch == NULL) {
        return NULL;
    }
    rc = uv_poll_init(client->loop, &watch->poll, fd);
    if (rc != 0) {
        log_error("http client cannot watch a socket: %s", uv_strerror(rc));
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->client = client;
    watch->fd = fd;
    curl_multi_assign(client->multi, fd, watch);
    return watch;
}

static int
socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *data)
{
    http_client_t *client = arg;
    watch_t *watch = data;
    int events = 0;

    (void) easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL) {
            uv_poll_stop(&watch->poll);
            uv_close((uv_handle_t *) &watch->poll, watch_closed);
            curl_multi_assign(client->multi, fd, NULL);
        }
        return 0;
    }
    if (watch == NULL) {
        watch = watch_new(client, fd);
    }
    if (watch == NULL) {
        return -1;
    }
    events |= what & CURL_POLL_IN ? UV_READABLE : 0;
    events |= what & CURL_POLL_OUT ? UV_WRITABLE : 0;
    return uv_poll_start(&watch->poll, events, watch_ready) == 0 ? 0 : -1;
}

static void
time_reached(uv_timer_t *timer)
{
    http_client_t *client = timer->data;
    int running;

    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect_done(client);
}

/* libcurl does not repeat itself when it is told too early: so count from
 * now, not from the loop's idea of it, and round up. */
static int
time_wanted(CURLM *multi, long milliseconds, void *arg)
{
    http_client_t *client = arg;
    uint64_t at, now = uv_now(client->loop);

    (void) multi;
    if (milliseconds < 0) {
        uv_timer_stop(&client->timer);
        return 0;
    }
    at = uv_hrtime() / 1000000 + (uint64_t) milliseconds
        + (milliseconds > 0);
    uv_timer_start(&client->timer, time_reached, at > now ? at - now : 0, 0);
    return 0;
}

static char *
copy_or(const char *text, const char *otherwise)
{
    return strdup(text != NULL ? text : otherwise);
}

static void
client_release(http_client_t *client)
{
    free(client->protocols);
    free(client->user_agent);
    free(client->ca_file);
    free(client);
    curl_global_cleanup();
}

/* 0, or -1 when libcurl does not know them. */
static int
protocols_check(const char *protocols)
{
    CURL *easy = curl_easy_init();
    CURLcode rc = CURLE_OUT_OF_MEMORY;

    if (easy != NULL) {
        rc = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, protocols);
        curl_easy_cleanup(easy);
    }
    return rc == CURLE_OK ? 0 : -1;
}

http_client_t *
http_client_new(uv_loop_t *loop, const http_client_options_t *options)
{
    unsigned total = options->connections_max;
    unsigned host = options->host_connections_max;
    http_client_t *client = calloc(1, sizeof(*client));

    if (client == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(client);
        return NULL;
    }
    /* Broken connections are errors of write, not the end of the process. */
    signal(SIGPIPE, SIG_IGN);
    client->loop = loop;
    client->refuse_private = options->refuse_private;
    client->protocols = copy_or(options->protocols, "https");
    client->user_agent = copy_or(options->user_agent, "hive");
    client->ca_file = copy_or(options->ca_file, "");
    client->multi = curl_multi_init();
    if (client->multi == NULL || client->protocols == NULL
        || client->user_agent == NULL || client->ca_file == NULL
        || protocols_check(client->protocols) != 0)
    {
        curl_multi_cleanup(client->multi);
        client_release(client);
        return NULL;
    }
    uv_timer_init(loop, &client->timer);
    client->timer.data = client;
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, time_wanted);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
        (long) (total != 0 ? total : 256));
    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
        (long) (host != 0 ? host : 64));
    return client;
}

static void
client_closed(uv_handle_t *handle)
{
    client_release(handle->data);
}

void
http_client_free(http_client_t *client)
{
    if (client == NULL) {
        return;
    }
    assert(client->active == 0);
    curl_multi_cleanup(client->multi);
    uv_close((uv_handle_t *) &client->timer, client_closed);
}

unsigned
http_client_active(const http_client_t *client)
{
    return client->active;
}

int
http_client_add(http_client_t *client, CURL *easy)
{
    if (curl_multi_add_handle(client->multi, easy) != CURLM_OK) {
        return UV_ENOMEM;
    }
    client->active++;
    return 0;
}

void
http_client_remove(http_client_t *client, CURL *easy)
{
    curl_multi_remove_handle(client->multi, easy);
    client->active--;
}
