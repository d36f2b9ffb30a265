/* peers.h: the nginx workers that talk to this process, and what is on its
 * way to each.
 *
 * Replies are appended to the peer's batch, and peers_flush sends every batch
 * that has something in it as one message. A peer is known by the identity
 * that our ROUTER gave its connection. It is lost, with everything that is in
 * flight for it, when the ROUTER cannot reach it any more or when it has been
 * silent for PEER_EXPIRE_MS. */

#ifndef HIVE_PEERS_H
#define HIVE_PEERS_H

#include "boundary.h"

#define PEER_SILENT_MS 3000
#define PEER_EXPIRE_MS 15000

typedef struct peer_s peer_t;

struct peer_s {
    peer_t *next;              /* all peers */
    peer_t *dirty_next;
    wire_buf_t out;
    served_t *in_flight;       /* list */
    uint64_t incarnation;      /* of the nginx worker; 0: not told yet */
    uint64_t heard;            /* uv_now() */
    uint64_t complained;       /* uv_now() of the last line about it */
    uint8_t dirty;
    uint8_t beat_due;
    uint8_t wants_metrics;     /* by its last PING */
    uint8_t metrics_due;       /* with the next beat */
    uint8_t stopped;           /* sends nothing more: WIRE_PING_STOP */
    uint8_t identity_len;
    uint8_t identity[255];
};

/* `lost` is called with a peer before it is freed; `beat` appends a beat to
 * its batch. */
typedef struct {
    void *socket;
    void (*lost)(peer_t *peer);
    void (*beat)(peer_t *peer);
} peers_config_t;

void peers_start(const peers_config_t *config);
void peers_stop(void);

/* Finds or makes. */
peer_t *peers_get(const void *identity, size_t len, uint64_t now);
peer_t *peers_first(void);

/* Its batch, which the next flush will send. */
wire_buf_t *peer_out(peer_t *peer);

/* A beat goes out with the next flush, once however often asked. */
void peer_beat(peer_t *peer);

/* A beat to every peer that is not silent. */
void peers_beat(uint64_t now);

/* Forgets those that have expired. */
void peers_expire(uint64_t now);

/* Nonzero when no peer that is alive may send another request. */
int peers_stopped(uint64_t now);

/* Sends what there is. Returns the number of messages sent. */
unsigned peers_flush(void);
int peers_dirty(void);
unsigned peers_count(void);

#endif
