
/*
 * Which peers are there, and which of them a request goes to.
 *
 * With ZMQ_IMMEDIATE a socket takes messages only while it is connected: that
 * it does not tells at once that a peer has gone. One that is there and says
 * nothing for three seconds is out until it speaks.
 */


#include "ngx_http_hive.h"


static void ngx_http_hive_record(ngx_http_hive_peer_t *peer,
    wire_record_t *record);
static void ngx_http_hive_beat(ngx_http_hive_peer_t *peer,
    wire_record_t *record);
static u_char *ngx_http_hive_keep(u_char *to, size_t *size, slice_t text,
    ngx_log_t *log);
static ngx_http_hive_peer_t *ngx_http_hive_teller(
    ngx_http_hive_peers_t *peers);
static void ngx_http_hive_metrics_told(ngx_http_hive_peers_t *peers,
    slice_t text);
static void ngx_http_hive_handover(ngx_http_hive_peers_t *peers);
static void ngx_http_hive_down(ngx_http_hive_peer_t *peer, const char *reason,
    ngx_uint_t cancel);
static void ngx_http_hive_count_up(ngx_http_hive_peers_t *peers);


ngx_http_hive_peer_t *
ngx_http_hive_choose(ngx_http_hive_peers_t *peers, ngx_uint_t *full)
{
    ngx_uint_t             i, n, rank, best_rank;
    ngx_http_hive_peer_t  *peer, *best;

    best = NULL;
    best_rank = 0;
    *full = 0;

    n = peers->next;

    for (i = 0; i < peers->npeers; i++, n++) {

        if (n >= peers->npeers) {
            n = 0;
        }

        peer = &peers->peer[n];

        /* one that drains is left alone when there is another, not before */

        if (!peer->up || peer->stopped) {
            continue;
        }

        if (peer->in_flight >= peers->conf->max_in_flight) {
            *full = 1;
            continue;
        }

        rank = peer->in_flight;

        if (ngx_current_msec - peer->heard > NGX_HTTP_HIVE_SUSPECT) {
            rank += 1 << 20;
        }

        if (!peer->ready) {
            rank += 1 << 21;
        }

        if (peer->draining) {
            rank += 1 << 22;
        }

        if (best == NULL || rank < best_rank) {
            best = peer;
            best_rank = rank;
        }
    }

    peers->next = best ? (ngx_uint_t) (best - peers->peer) + 1 : 0;

    return best;
}


void
ngx_http_hive_message(ngx_http_hive_peer_t *peer, void *data, size_t len)
{
    int            rc;
    wire_record_t  record;
    wire_reader_t  reader;

    rc = wire_reader_init(&reader, data, len);

    if (rc == WIRE_VERSION) {

        if (!peer->foreign) {
            peer->foreign = 1;
            ngx_log_error(NGX_LOG_ERR, peer->peers->log, 0,
                          "worker %V speaks version %ud of the wire format, "
                          "this module speaks %ud: it gets no requests",
                          &peer->name, len > 2 ? ((u_char *) data)[2] : 0,
                          WIRE_MAJOR);

            ngx_http_hive_down(peer, "of another version", 0);
        }

        return;
    }

    if (rc == WIRE_OK) {
        peer->foreign = 0;
        peer->heard = ngx_current_msec;

        while ((rc = wire_next(&reader, &record)) == 1) {
            ngx_http_hive_record(peer, &record);
        }
    }

    if (rc != WIRE_OK) {
        ngx_log_error(NGX_LOG_ERR, peer->peers->log, 0,
                      "worker %V sent a message that cannot be read",
                      &peer->name);
    }
}


static void
ngx_http_hive_record(ngx_http_hive_peer_t *peer, wire_record_t *record)
{
    ngx_http_hive_call_t  *call;

    switch (record->type) {

    case WIRE_BEAT:
        ngx_http_hive_beat(peer, record);
        return;

    case WIRE_METRICS:
        ngx_http_hive_metrics_told(peer->peers, record->payload);
        return;

    case WIRE_REPLY:
    case WIRE_HEAD:
    case WIRE_CHUNK:
    case WIRE_END:
        break;

    default:
        return;
    }

    call = ngx_http_hive_in_flight(peer, record->id);

    if (call == NULL) {

        /* too late: it has ended otherwise */

        if (record->type == WIRE_REPLY || record->type == WIRE_HEAD) {
            peer->peers->conf->counters->orphans++;
        }

        return;
    }

    call->type->record(call, record);
}


static void
ngx_http_hive_beat(ngx_http_hive_peer_t *peer, wire_record_t *record)
{
    wire_beat_t             beat;
    ngx_http_hive_peers_t  *peers;

    peers = peer->peers;

    if (wire_get_beat(record, &beat) != WIRE_OK) {
        ngx_log_error(NGX_LOG_ERR, peers->log, 0,
                      "worker %V sent a heartbeat that cannot be read",
                      &peer->name);
        return;
    }

    if (peer->incarnation && peer->incarnation != beat.incarnation) {

        /* another process at the same endpoint */

        ngx_http_hive_down(peer, "replaced", 0);
    }

    peer->facts = ngx_http_hive_keep(peer->facts, &peer->facts_size,
                                     beat.facts, peers->log);
    peer->facts_len = peer->facts ? beat.facts.len : 0;

    peer->incarnation = beat.incarnation;
    peer->pid = beat.pid;
    peer->load = beat.in_flight;
    peer->ready = (beat.flags & WIRE_BEAT_READY) ? 1 : 0;

    if (!peer->up) {
        ngx_log_error(NGX_LOG_NOTICE, peers->log, 0,
                      "worker %V (process %uD) is up", &peer->name, peer->pid);
        peer->up = 1;
    }

    if (!(beat.flags & WIRE_BEAT_DRAINING)) {
        peer->draining = 0;
        peer->stopped = 0;

    } else if (!peer->draining) {
        peer->draining = 1;
        peer->drain_since = ngx_current_msec;
    }

    ngx_http_hive_handover(peers);
    ngx_http_hive_count_up(peers);

    if (!peers->heard && !peer->stopped) {
        peers->heard = 1;
        ngx_http_hive_call_waiting(peers);
    }
}


static void
ngx_http_hive_metrics_told(ngx_http_hive_peers_t *peers, slice_t text)
{
    peers->metrics = ngx_http_hive_keep(peers->metrics, &peers->metrics_size,
                                        text, peers->log);
    peers->metrics_len = peers->metrics ? text.len : 0;
    peers->metrics_heard = ngx_current_msec;
}


/* A copy of the text in memory that grows as need be; NULL: there is none. */
static u_char *
ngx_http_hive_keep(u_char *to, size_t *size, slice_t text, ngx_log_t *log)
{
    if (text.len > *size) {
        ngx_free(to);
        *size = 0;

        to = ngx_alloc(text.len, log);
        if (to == NULL) {
            return NULL;
        }

        *size = text.len;
    }

    if (text.len) {
        ngx_memcpy(to, text.data, text.len);
    }

    return to;
}


/*
 * Who is asked for the metrics of all workers: all nginx workers ask the same
 * one, so that they know the same.
 */
static ngx_http_hive_peer_t *
ngx_http_hive_teller(ngx_http_hive_peers_t *peers)
{
    ngx_uint_t             i;
    ngx_http_hive_peer_t  *peer, *teller;

    teller = NULL;

    for (i = 0; i < peers->npeers; i++) {
        peer = &peers->peer[i];

        if (peer->up && !peer->draining) {
            return peer;
        }

        if (peer->up && teller == NULL) {
            teller = peer;
        }
    }

    return teller;
}


/*
 * A worker that drains gets nothing more, but while no other one is up it
 * goes on being used for a moment: in a reload of the workers the connections
 * to the new ones may still be on their way.
 */
static void
ngx_http_hive_handover(ngx_http_hive_peers_t *peers)
{
    ngx_uint_t             i, others;
    ngx_http_hive_peer_t  *peer;

    others = 0;

    for (i = 0; i < peers->npeers; i++) {
        peer = &peers->peer[i];

        if (peer->up && !peer->draining) {
            others = 1;
            break;
        }
    }

    for (i = 0; i < peers->npeers; i++) {
        peer = &peers->peer[i];

        if (peer->up && peer->draining && !peer->stopped
            && (others || ngx_current_msec - peer->drain_since
                          >= NGX_HTTP_HIVE_HANDOVER))
        {
            peer->stopped = 1;
            ngx_http_hive_ping(peer);
        }
    }
}


/*
 * STOP lets the worker close the connection, and with ZMQ_IMMEDIATE replies
 * that have arrived but were not read are dropped when a connection closes:
 * so it waits until there is none to come.
 */
void
ngx_http_hive_ping(ngx_http_hive_peer_t *peer)
{
    uint8_t  flags;

    if (!peer->connected) {
        return;
    }

    peer->pinged = ngx_current_msec;

    flags = (peer->stopped && peer->in_flight == 0) ? WIRE_PING_STOP : 0;

    if (peer == ngx_http_hive_teller(peer->peers)) {
        flags |= WIRE_PING_METRICS;
    }

    if (wire_put_ping(&peer->out, flags, peer->peers->incarnation)
        == WIRE_OK)
    {
        ngx_http_hive_peer_dirty(peer);
    }
}


void
ngx_http_hive_connected(ngx_http_hive_peer_t *peer, ngx_uint_t connected)
{
    if (connected) {

        if (!peer->connected) {
            peer->connected = 1;
            ngx_http_hive_ping(peer);
        }

        return;
    }

    if (!peer->connected) {
        return;
    }

    peer->connected = 0;

    ngx_http_hive_down(peer, "gone", 0);
}


static void
ngx_http_hive_down(ngx_http_hive_peer_t *peer, const char *reason,
    ngx_uint_t cancel)
{
    ngx_uint_t  level;

    if (peer->up) {
        level = peer->draining ? NGX_LOG_NOTICE : NGX_LOG_WARN;

        ngx_log_error(level, peer->peers->log, 0,
                      "worker %V (process %uD) is %s, %ui requests in flight",
                      &peer->name, peer->pid, reason, peer->in_flight);

        peer->up = 0;

        if (!peer->draining || peer->in_flight) {
            peer->peers->conf->counters->peers_lost++;
        }
    }

    peer->draining = 0;
    peer->stopped = 0;
    peer->incarnation = 0;
    peer->facts_len = 0;

    ngx_http_hive_count_up(peer->peers);

    /* what has not left fails over: here it must not be executed as well */

    wire_buf_reset(&peer->out);

    ngx_http_hive_fail_over(peer, cancel);
}


void
ngx_http_hive_tick_handler(ngx_event_t *ev)
{
    ngx_uint_t              i, stalled;
    ngx_http_hive_peer_t   *peer;
    ngx_http_hive_peers_t  *peers;

    peers = ev->data;

    ngx_add_timer(ev, NGX_HTTP_HIVE_TICK);

    /* when it was us who stood still, nobody else is to blame */

    stalled = ngx_current_msec - peers->ticked
              > NGX_HTTP_HIVE_SILENT - NGX_HTTP_HIVE_HEARTBEAT;

    peers->ticked = ngx_current_msec;

    for (i = 0; i < peers->npeers; i++) {
        peer = &peers->peer[i];

        if (stalled) {
            peer->heard = ngx_current_msec;
        }

        ngx_http_hive_drain(peer);

        if (peer->up
            && ngx_current_msec - peer->heard > NGX_HTTP_HIVE_SILENT)
        {
            ngx_http_hive_down(peer, "silent", 1);
        }

        if (ngx_current_msec - peer->pinged
            > NGX_HTTP_HIVE_HEARTBEAT - NGX_HTTP_HIVE_TICK)
        {
            ngx_http_hive_ping(peer);
        }
    }

    ngx_http_hive_handover(peers);
}


/* No peer has been heard in all the time that requests may wait for one. */
void
ngx_http_hive_startup_handler(ngx_event_t *ev)
{
    ngx_http_hive_call_waiting(ev->data);
}


static void
ngx_http_hive_count_up(ngx_http_hive_peers_t *peers)
{
    ngx_uint_t             i, n;
    ngx_http_hive_peer_t  *peer;

    n = 0;

    for (i = 0; i < peers->npeers; i++) {
        peer = &peers->peer[i];

        if (peer->up && !peer->draining) {
            n++;
        }
    }

    peers->conf->counters->peers_up = n;
}
