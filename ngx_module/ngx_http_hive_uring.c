
/*
 * What goes to many sockets in a turn of the event loop goes with one system
 * call, through io_uring: half of what a small send() costs is the way into
 * the kernel. Each entry says MSG_DONTWAIT, so all of them have been tried
 * when the call returns, and nothing stays behind. Where the kernel has no
 * io_uring, or does not let us, each socket is written to by itself.
 */


#include "ngx_http_hive_hub.h"

#include <liburing.h>


struct ngx_http_hive_uring_s {
    struct io_uring             ring;
    ngx_log_t                  *log;
    ngx_uint_t                  n;
    ngx_http_hive_parcel_t      parcels[NGX_HTTP_HIVE_URING_MAX];
    struct msghdr               messages[NGX_HTTP_HIVE_URING_MAX];
};


static void ngx_http_hive_uring_prepare(ngx_http_hive_uring_t *uring);
static ngx_uint_t ngx_http_hive_uring_submit(ngx_http_hive_uring_t *uring);


ngx_http_hive_uring_t *
ngx_http_hive_uring_create(ngx_log_t *log)
{
    int                     rc;
    ngx_http_hive_uring_t  *uring;

    uring = ngx_alloc(sizeof(ngx_http_hive_uring_t), log);
    if (uring == NULL) {
        return NULL;
    }

    rc = io_uring_queue_init(NGX_HTTP_HIVE_URING_MAX, &uring->ring, 0);

    if (rc < 0) {
        ngx_log_error(NGX_LOG_NOTICE, log, -rc,
                      "hive: no io_uring, live clients are sent to one by one");
        ngx_free(uring);
        return NULL;
    }

    uring->log = log;
    uring->n = 0;

    return uring;
}


void
ngx_http_hive_uring_destroy(ngx_http_hive_uring_t *uring)
{
    io_uring_queue_exit(&uring->ring);
    ngx_free(uring);
}


ngx_http_hive_parcel_t *
ngx_http_hive_uring_add(ngx_http_hive_hub_t *hub,
    ngx_http_hive_client_t *client, ngx_socket_t fd)
{
    ngx_http_hive_parcel_t  *parcel;

    if (hub->uring && hub->uring->n == NGX_HTTP_HIVE_URING_MAX) {
        ngx_http_hive_uring_send(hub);
    }

    if (hub->uring == NULL) {
        return NULL;
    }

    parcel = &hub->uring->parcels[hub->uring->n++];

    parcel->client = client;
    parcel->fd = fd;
    parcel->niovs = 0;
    parcel->sent = 0;

    return parcel;
}


void
ngx_http_hive_uring_send(ngx_http_hive_hub_t *hub)
{
    ngx_uint_t               i, n;
    ngx_http_hive_uring_t   *uring;
    ngx_http_hive_parcel_t  *parcel;

    uring = hub->uring;

    if (uring == NULL || uring->n == 0) {
        return;
    }

    n = uring->n;

    if (n == 1) {

        /* it costs the same, and the client knows how */

        uring->parcels[0].sent = 0;

    } else {
        ngx_http_hive_uring_prepare(uring);

        if (ngx_http_hive_uring_submit(uring) != n) {

            /* what is left in the ring must not go out with others */

            hub->uring = NULL;
        }
    }

    uring->n = 0;

    for (i = 0; i < n; i++) {
        parcel = &uring->parcels[i];

        parcel->client->type->sent(parcel->client, parcel->sent);
    }

    if (hub->uring == NULL) {
        ngx_http_hive_uring_destroy(uring);
    }
}


static void
ngx_http_hive_uring_prepare(ngx_http_hive_uring_t *uring)
{
    ngx_uint_t               i;
    struct io_uring_sqe     *sqe;
    struct msghdr           *message;
    ngx_http_hive_parcel_t  *parcel;

    for (i = 0; i < uring->n; i++) {
        parcel = &uring->parcels[i];

        /* the ring has as many entries, and all are free */

        sqe = io_uring_get_sqe(&uring->ring);

        if (parcel->niovs == 1) {
            io_uring_prep_send(sqe, parcel->fd, parcel->iovs[0].iov_base,
                               parcel->iovs[0].iov_len,
                               MSG_DONTWAIT|MSG_NOSIGNAL);

        } else {
            message = &uring->messages[i];

            ngx_memzero(message, sizeof(struct msghdr));
            message->msg_iov = parcel->iovs;
            message->msg_iovlen = parcel->niovs;

            io_uring_prep_sendmsg(sqe, parcel->fd, message,
                                  MSG_DONTWAIT|MSG_NOSIGNAL);
        }

        sqe->user_data = i;
    }
}


/* Returns how many of them have been tried: less only when the kernel fails. */
static ngx_uint_t
ngx_http_hive_uring_submit(ngx_http_hive_uring_t *uring)
{
    int                   rc;
    unsigned              head, seen;
    ngx_uint_t            done;
    struct io_uring_cqe  *cqe;

    done = 0;

    while (done < uring->n) {

        rc = io_uring_submit_and_wait(&uring->ring, uring->n - done);

        if (rc < 0 && rc != -EINTR) {
            ngx_log_error(NGX_LOG_ALERT, uring->log, -rc,
                          "io_uring_submit_and_wait() failed");
            return done;
        }

        seen = 0;

        io_uring_for_each_cqe(&uring->ring, head, cqe) {
            uring->parcels[cqe->user_data].sent = cqe->res;
            seen++;
        }

        io_uring_cq_advance(&uring->ring, seen);

        done += seen;
    }

    return done;
}
