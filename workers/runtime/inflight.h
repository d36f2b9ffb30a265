/* inflight.h: requests on their way through this process: the part of the
 * server between the socket and the handlers. */

#ifndef HIVE_INFLIGHT_H
#define HIVE_INFLIGHT_H

#include "peers.h"
#include "server.h"

typedef struct {
    unsigned in_flight;
    uint64_t requests;
    uint64_t shed;
    uint64_t malformed;        /* requests that could not be read */
    uint64_t lost;             /* replies whose module had gone */
} inflight_count_t;

/* 0 or negative errno. */
int inflight_start(const server_config_t *config);

/* Releases everything, unless requests are still in flight: then their fibers
 * point into it, and it stays. */
void inflight_stop(void);

const inflight_count_t *inflight_counts(void);

/* A REQUEST record of `message`: it gets a fiber or is answered at once. */
void inflight_request(peer_t *peer, const wire_record_t *record,
    zmq_msg_t *message);
void inflight_credit(peer_t *peer, const wire_record_t *record);
void inflight_cancel(peer_t *peer, uint64_t id);

/* All of that peer: cancelled, and its replies go nowhere. */
void inflight_lost(peer_t *peer);

/* All: told that the worker stops. */
void inflight_stop_all(void);

#endif
