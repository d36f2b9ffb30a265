/* peers.c: the nginx workers that talk to this process. */

#include "peers.h"

#include "log.h"

#include <errno.h>
#include <stdlib.h>

/* Above this a batch is handed to ZeroMQ as it is instead of copied. */
#define HAND_OVER 32768

static struct {
    peers_config_t config;
    peer_t *first;
    peer_t *dirty;
    unsigned count;
} peers;

void
peers_start(const peers_config_t *config)
{
    memset(&peers, 0, sizeof(peers));
    peers.config = *config;
}

/* `at` is where the list points to it. */
static void
forget(peer_t **at)
{
    peer_t *peer = *at;

    *at = peer->next;
    peers.count--;
    peers.config.lost(peer);
    for (peer_t **d = &peers.dirty; *d != NULL; d = &(*d)->dirty_next) {
        if (*d == peer) {
            *d = peer->dirty_next;
            break;
        }
    }
    wire_buf_release(&peer->out);
    free(peer);
}

void
peers_stop(void)
{
    while (peers.first != NULL) {
        forget(&peers.first);
    }
}

/* They are as many as there are nginx workers, and one look-up serves a whole
 * batch: a list, the last found first. */
peer_t *
peers_get(const void *identity, size_t len, uint64_t now)
{
    peer_t *peer;

    for (peer_t **at = &peers.first; *at != NULL; at = &(*at)->next) {
        peer = *at;
        if (peer->identity_len == len
            && memcmp(peer->identity, identity, len) == 0) {
            *at = peer->next;
            peer->next = peers.first;
            peers.first = peer;
            peer->heard = now;
            return peer;
        }
    }

    peer = calloc(1, sizeof(*peer));
    if (peer == NULL || len > sizeof(peer->identity)) {
        log_error("taking a module's connection failed: out of memory");
        abort();
    }
    memcpy(peer->identity, identity, len);
    peer->identity_len = (uint8_t) len;
    peer->heard = now;
    peer->next = peers.first;
    peers.first = peer;
    peers.count++;
    return peer;
}

peer_t *
peers_first(void)
{
    return peers.first;
}

static void
mark_dirty(peer_t *peer)
{
    if (!peer->dirty) {
        peer->dirty = 1;
        peer->dirty_next = peers.dirty;
        peers.dirty = peer;
    }
}

wire_buf_t *
peer_out(peer_t *peer)
{
    mark_dirty(peer);
    return &peer->out;
}

void
peer_beat(peer_t *peer)
{
    peer->beat_due = 1;
    mark_dirty(peer);
}

void
peers_beat(uint64_t now)
{
    for (peer_t *peer = peers.first; peer != NULL; peer = peer->next) {
        if (now - peer->heard <= PEER_SILENT_MS) {
            peer_beat(peer);
        }
    }
}

void
peers_expire(uint64_t now)
{
    for (peer_t **at = &peers.first; *at != NULL; ) {
        if (now - (*at)->heard > PEER_EXPIRE_MS) {
            forget(at);
        } else {
            at = &(*at)->next;
        }
    }
}

int
peers_stopped(uint64_t now)
{
    for (peer_t *peer = peers.first; peer != NULL; peer = peer->next) {
        if (!peer->stopped && now - peer->heard <= PEER_SILENT_MS) {
            return 0;
        }
    }

    return 1;
}

/* ---- sending ---- */

static void
free_batch(void *data, void *hint)
{
    (void) hint;
    free(data);
}

/* zmq_send is never done by a signal halfway: it may be called again. */
static int
send_bytes(const void *data, size_t len, int flags)
{
    int rc;

    do {
        rc = zmq_send(peers.config.socket, data, len, flags | ZMQ_DONTWAIT);
    } while (rc < 0 && zmq_errno() == EINTR);

    return rc < 0 ? zmq_errno() : 0;
}

/* 0 or an errno. */
static int
send_payload(wire_buf_t *out)
{
    zmq_msg_t message;
    int rc;

    if (out->len < HAND_OVER) {
        return send_bytes(out->data, out->len, 0);
    }

    if (zmq_msg_init_data(&message, out->data, out->len, free_batch, NULL)) {
        return zmq_errno();
    }
    memset(out, 0, sizeof(*out));
    do {
        rc = zmq_msg_send(&message, peers.config.socket, ZMQ_DONTWAIT);
    } while (rc < 0 && zmq_errno() == EINTR);
    if (rc < 0) {
        rc = zmq_errno();
        zmq_msg_close(&message);
        return rc;
    }

    return 0;
}

static int
send_batch(peer_t *peer)
{
    int error;

    if (peer->beat_due) {
        peer->beat_due = 0;
        peers.config.beat(peer);
    }
    if (peer->out.len == 0) {
        return 0;
    }

    error = send_bytes(peer->identity, peer->identity_len, ZMQ_SNDMORE);
    if (error != 0) {
        return error;
    }

    wire_buf_finish(&peer->out);
    error = send_payload(&peer->out);
    wire_buf_reset(&peer->out);
    return error;
}

static void
forget_peer(peer_t *peer)
{
    for (peer_t **at = &peers.first; *at != NULL; at = &(*at)->next) {
        if (*at == peer) {
            forget(at);
            return;
        }
    }
}

unsigned
peers_flush(void)
{
    peer_t *peer = peers.dirty;
    unsigned sent = 0;

    peers.dirty = NULL;
    while (peer != NULL) {
        peer_t *next = peer->dirty_next;
        int error;

        peer->dirty = 0;
        error = send_batch(peer);
        if (error == 0) {
            sent++;
        } else if (error == EAGAIN) {
            mark_dirty(peer);
        } else {
            /* EHOSTUNREACH: its connection has ended. */
            if (error != EHOSTUNREACH) {
                log_warn("sending to a module failed: %s",
                    zmq_strerror(error));
            }
            forget_peer(peer);
        }
        peer = next;
    }

    return sent;
}

int
peers_dirty(void)
{
    return peers.dirty != NULL;
}

unsigned
peers_count(void)
{
    return peers.count;
}
