
/*
 * The nginx side of Hive: route -> authenticate -> dispatch -> hold.
 *
 * ngx_http_hive_module.c     directives, configuration, process start and end
 * ngx_http_hive_handler.c    content handler: from a request to its operation
 * ngx_http_hive_token.c      bearer tokens and the cache of verified ones
 * ngx_http_hive_dispatch.c   held requests: from their body to their end
 * ngx_http_hive_call.c       calls of workers: sending, resending, losing them
 * ngx_http_hive_request.c    from a request to its record on the wire
 * ngx_http_hive_peers.c      the worker processes: sockets and batches
 * ngx_http_hive_beat.c       heartbeats, and which peer a request goes to
 * ngx_http_hive_reply.c      from a reply record to an HTTP response
 * ngx_http_hive_stream.c     streamed replies with credit
 * ngx_http_hive_problem.c    RFC 9457 documents, header and body filters
 * ngx_http_hive_health.c     /health and /health/ready
 * ngx_http_hive_counters.c   shared memory: a slot of counters per process
 * ngx_http_hive_metrics.c    /metrics, the Prometheus text of them
 * ngx_http_hive_variables.c  what the access log may show
 * ngx_http_hive_random.c     numbers for ids
 */


#ifndef _NGX_HTTP_HIVE_H_INCLUDED_
#define _NGX_HTTP_HIVE_H_INCLUDED_


#include "ngx_http_hive_compat.h"

#include "common/jws.h"
#include "common/operation.h"
#include "common/route.h"
#include "common/uuid.h"
#include "common/wire.h"


#define NGX_HTTP_HIVE_ID_LEN        32      /* a request or trace id as hex */
#define NGX_HTTP_HIVE_MAX_RESENDS   2

#define NGX_HTTP_HIVE_TICK          250     /* ms between two looks at peers */
#define NGX_HTTP_HIVE_HEARTBEAT     1000    /* between two PINGs */
#define NGX_HTTP_HIVE_SUSPECT       1500    /* silent: chosen last */
#define NGX_HTTP_HIVE_SILENT        3000    /* silent: out */
#define NGX_HTTP_HIVE_METRICS       15000   /* older ones of workers are not
                                               shown */
#define NGX_HTTP_HIVE_STARTUP       1000    /* requests wait for a first peer */
#define NGX_HTTP_HIVE_HANDOVER      1500    /* a draining peer still serves
                                               while no other one is up */
#define NGX_HTTP_HIVE_DRAIN_MAX     64      /* messages read in one turn */
#define NGX_HTTP_HIVE_HANDOFF       16384   /* larger batches are not copied */
#define NGX_HTTP_HIVE_IDLE_GRACE    1000    /* of idle clients on reload */


typedef struct ngx_http_hive_ctx_s       ngx_http_hive_ctx_t;
typedef struct ngx_http_hive_call_s      ngx_http_hive_call_t;
typedef struct ngx_http_hive_peer_s      ngx_http_hive_peer_t;
typedef struct ngx_http_hive_peers_s     ngx_http_hive_peers_t;
typedef struct ngx_http_hive_hub_s       ngx_http_hive_hub_t;
typedef struct ngx_http_hive_tokens_s    ngx_http_hive_tokens_t;
typedef struct ngx_http_hive_counters_s  ngx_http_hive_counters_t;


typedef struct {
    ngx_str_t                   endpoint;       /* base, NULL data: none */
    ngx_uint_t                  workers;        /* slots; two endpoints each */
    ngx_uint_t                  max_in_flight;  /* per peer */
    ngx_msec_t                  deadlines[LIMIT_CLASSES];
    ngx_uint_t                  stream_credit;  /* chunks */

    jws_keys_t                 *keys;
    ngx_uint_t                  nkeys;
    ngx_str_t                   issuer;         /* terminated */
    ngx_str_t                   audience;       /* terminated */
    time_t                      leeway;
    ngx_uint_t                  token_cache;    /* entries */

    /* the live stream */
    size_t                      message_max;
    ngx_uint_t                  fragments_max;
    ngx_msec_t                  ping_interval;
    ngx_msec_t                  ping_timeout;
    ngx_msec_t                  drain;          /* of a reload, with jitter */
    size_t                      queue_bytes;    /* that wait for a client */
    ngx_uint_t                  queue_frames;
    ngx_flag_t                  io_uring;       /* many sockets in one call */
    ngx_uint_t                  slow;           /* policy */
    ngx_uint_t                  refuse;         /* how bad credentials are */
    ngx_flag_t                  deflate;
    ngx_array_t                *origins;        /* of ngx_str_t; NULL: any */
    ngx_uint_t                  max_connections;    /* of a user */
    ngx_uint_t                  max_subscriptions;  /* of a connection */
    ngx_uint_t                  rate;           /* messages a second */
    ngx_msec_t                  events_check;   /* between looks at heads */

    ngx_shm_zone_t             *zone;
    route_table_t              *routes;
    ngx_uint_t                  enabled;        /* some location has us */

    /* of this process, made in init_process */
    ngx_http_hive_peers_t      *peers;
    ngx_http_hive_tokens_t     *tokens;
    ngx_http_hive_counters_t   *counters;
    ngx_http_hive_hub_t        *hub;
} ngx_http_hive_main_conf_t;


#define NGX_HTTP_HIVE_SLOW_CLOSE     0
#define NGX_HTTP_HIVE_SLOW_SNAPSHOT  1

#define NGX_HTTP_HIVE_REFUSE_STATUS  0
#define NGX_HTTP_HIVE_REFUSE_CLOSE   1


typedef struct {
    ngx_flag_t                  enable;
    ngx_flag_t                  echo;
} ngx_http_hive_loc_conf_t;


/* ---- calls: what a worker is asked ---- */

typedef enum {
    NGX_HTTP_HIVE_NO_WORKER = 0,
    NGX_HTTP_HIVE_FULL,                         /* all workers are */
    NGX_HTTP_HIVE_LOST,                         /* with its worker: it may
                                                   have been executed */
    NGX_HTTP_HIVE_EXPIRED
} ngx_http_hive_failure_t;


/*
 * Whose call it is. What put() and refuse() return other than NGX_DONE is
 * what end() is called with, or whoever has just sent the call gets.
 */

typedef struct {
    /* appends it to the peer's batch under call->id; NGX_DONE: it is there */
    ngx_int_t                 (*put)(ngx_http_hive_call_t *call,
                                     ngx_http_hive_peer_t *peer);

    /* a record of the reply has come; call->peer still has the call */
    void                      (*record)(ngx_http_hive_call_t *call,
                                        wire_record_t *record);

    /* there will be no reply */
    ngx_int_t                 (*refuse)(ngx_http_hive_call_t *call,
                                        ngx_http_hive_failure_t failure);

    /* ends it from an event that is not its own */
    void                      (*end)(ngx_http_hive_call_t *call, ngx_int_t rc);

    /* a second worker may execute it although the first may have */
    ngx_uint_t                (*may_resend)(ngx_http_hive_call_t *call);
} ngx_http_hive_call_type_t;


struct ngx_http_hive_call_s {
    ngx_http_hive_call_type_t  *type;
    ngx_http_hive_peers_t      *peers;
    ngx_http_hive_peer_t       *peer;           /* has the call */
    ngx_http_hive_peer_t       *last_peer;      /* had it */
    ngx_queue_t                 queue;          /* of the peer, or waiting */
    uint64_t                    id;             /* on the wire */
    uint64_t                    batch;          /* that carried it there */
    ngx_event_t                 timer;
    ngx_msec_t                  deadline;

    unsigned                    resends:4;
    unsigned                    executed:1;     /* a lost peer may have */
    unsigned                    waiting:1;      /* for the first peer */
};


struct ngx_http_hive_ctx_s {
    ngx_http_hive_call_t        call;           /* first: is cast back */
    ngx_http_request_t         *request;
    const operation_t          *op;             /* NULL until routed */
    const char                 *code;           /* of the problem sent */
    uint64_t                    started;        /* us, monotonic */

    u_char                      request_id[16];
    u_char                      trace_id[16];
    u_char                      span_id[8];

    hive_uuid_t                 user;
    hive_uuid_t                 session;

    /* held */
    ngx_uint_t                  nparams;
    slice_t                     params[ROUTE_PARAMS_MAX];
    ngx_str_t                   query;
    off_t                       body_max;
    off_t                       body_len;

    /* streamed reply */
    ngx_chain_t                *free;
    ngx_chain_t                *busy;
    ngx_uint_t                  buffers;        /* made so far */
    ngx_uint_t                  granted;        /* chunks that may come */

    ngx_str_t                   secret;         /* taken out of the path */

    /* the document that stands in for nginx's own error page */
    ngx_buf_t                  *substitute;

    unsigned                    principal:8;    /* WIRE_SIGNED_IN, ... */
    unsigned                    traced:1;       /* trace_id is set */
    unsigned                    streaming:1;    /* head has been sent */
    unsigned                    limit_body:1;
    unsigned                    answered:1;     /* by us: no substitute */
    unsigned                    headers_sent:1; /* X-Request-Id is there */
    unsigned                    substituted:1;
};


struct ngx_http_hive_peer_s {
    ngx_http_hive_peers_t      *peers;
    ngx_str_t                   endpoint;       /* terminated */
    ngx_str_t                   name;           /* "0a": slot and side */
    void                       *socket;
    ngx_connection_t           *connection;
    wire_buf_t                  out;
    uint64_t                    batch;          /* being built */
    uint64_t                    sent;           /* last one that has left */
    ngx_queue_t                 dirty;          /* in peers->dirty */
    ngx_queue_t                 requests;       /* in flight */
    ngx_uint_t                  in_flight;

    ngx_msec_t                  heard;
    ngx_msec_t                  pinged;
    ngx_msec_t                  drain_since;
    uint64_t                    incarnation;
    uint32_t                    pid;
    uint32_t                    load;           /* in flight, by its beat */
    u_char                     *facts;
    size_t                      facts_len;
    size_t                      facts_size;

    unsigned                    queued:1;       /* is in peers->dirty */
    unsigned                    connected:1;    /* a message can be sent */
    unsigned                    up:1;           /* has been heard lately */
    unsigned                    ready:1;
    unsigned                    draining:1;
    unsigned                    stopped:1;      /* gets nothing more */
    unsigned                    foreign:1;      /* speaks another version */
};


typedef struct {
    ngx_http_hive_call_t       *call;           /* NULL: free */
    uint32_t                    generation;
    uint32_t                    next;           /* free one */
} ngx_http_hive_slot_t;


struct ngx_http_hive_peers_s {
    ngx_http_hive_main_conf_t  *conf;
    ngx_log_t                  *log;
    void                       *zmq;
    ngx_http_hive_peer_t       *peer;           /* array */
    ngx_uint_t                  npeers;
    ngx_uint_t                  next;           /* where choosing begins */
    ngx_uint_t                  in_flight;

    ngx_http_hive_slot_t       *slots;
    ngx_uint_t                  nslots;
    uint32_t                    free;           /* nslots: none */

    ngx_queue_t                 dirty;          /* peers with a batch */
    ngx_event_t                 flush;
    ngx_event_t                 tick;
    ngx_msec_t                  ticked;

    ngx_queue_t                 waiting;
    ngx_uint_t                  nwaiting;
    ngx_msec_t                  started;
    ngx_event_t                 startup;

    uint64_t                    incarnation;

    u_char                     *metrics;        /* of the workers, as text */
    size_t                      metrics_len;
    size_t                      metrics_size;
    ngx_msec_t                  metrics_heard;

    u_char                      health[128];    /* the reply of /health */
    size_t                      health_len;     /* 0: not made yet */
    ngx_uint_t                  health_up;      /* what it says */
    ngx_uint_t                  health_in_flight;

    unsigned                    heard:1;        /* any peer, ever */
    unsigned                    flushing:1;     /* batches are being sent */
};


/* A verified token. Valid until the next call of ngx_http_hive_token(). */

typedef struct {
    ngx_queue_t                 lru;
    void                       *next;           /* in its bucket */
    u_char                      digest[32];
    time_t                      expires;
    hive_uuid_t                 user;
    hive_uuid_t                 session;
    ngx_uint_t                  principal;
    size_t                      whoami_len;
    u_char                      whoami[1];      /* the reply, ready to send */
} ngx_http_hive_token_t;


/* ---- counters ---- */

#define NGX_HTTP_HIVE_BUCKETS   14              /* without +Inf */
#define NGX_HTTP_HIVE_CLASSES   5               /* 1xx to 5xx */

typedef struct {
    ngx_atomic_t                bucket[NGX_HTTP_HIVE_BUCKETS + 1];
    ngx_atomic_t                sum;            /* us */
} ngx_http_hive_histogram_t;


/*
 * One process writes it, whoever scrapes reads it: aligned words, no lock.
 * A slot outlives its process, so counters never go back; gauges begin anew
 * with the next process that takes it.
 */

struct ngx_http_hive_counters_s {
    ngx_atomic_t                pid;            /* 0: free */

    ngx_atomic_t                in_flight;      /* gauges */
    ngx_atomic_t                waiting;
    ngx_atomic_t                peers_up;
    ngx_atomic_t                ws_connections;
    ngx_atomic_t                sse_connections;
    ngx_atomic_t                subscriptions;
    ngx_atomic_t                channels;
    ngx_atomic_t                queued_bytes;

    ngx_atomic_t                shed;
    ngx_atomic_t                no_worker;
    ngx_atomic_t                orphans;
    ngx_atomic_t                resent;
    ngx_atomic_t                unknown;        /* outcome_unknown */
    ngx_atomic_t                expired;        /* deadlines */
    ngx_atomic_t                cancelled;
    ngx_atomic_t                bytes_in;
    ngx_atomic_t                bytes_out;
    ngx_atomic_t                token_hits;
    ngx_atomic_t                token_misses;
    ngx_atomic_t                token_refused;
    ngx_atomic_t                peers_lost;

    ngx_atomic_t                events_received;
    ngx_atomic_t                events_repeated;
    ngx_atomic_t                events_malformed;
    ngx_atomic_t                events_recovered;
    ngx_atomic_t                gaps;
    ngx_atomic_t                resets;
    ngx_atomic_t                unrecovered;
    ngx_atomic_t                withdrawn;
    ngx_atomic_t                frames_sent;
    ngx_atomic_t                frames_dropped;
    ngx_atomic_t                ws_opened;
    ngx_atomic_t                ws_refused;
    ngx_atomic_t                ws_slow;
    ngx_atomic_t                ws_timeouts;
    ngx_atomic_t                ws_failed;      /* they broke a rule */
    ngx_atomic_t                ws_messages;
    ngx_atomic_t                ws_limited;
    ngx_atomic_t                ws_bytes_in;
    ngx_atomic_t                ws_bytes_out;
    ngx_atomic_t                client_reports;
    ngx_atomic_t                client_lag_ms;  /* sums of what they say */
    ngx_atomic_t                client_frames;

    /* the last one is for what no operation has claimed */
    ngx_http_hive_histogram_t   ops[OPERATIONS + 1][NGX_HTTP_HIVE_CLASSES];
} __attribute__((aligned(64)));


typedef struct {
    ngx_atomic_t                magic;
    ngx_atomic_t                size;           /* of a slot */
    ngx_atomic_t                nslots;
    ngx_http_hive_counters_t   *slots;
    ngx_rbtree_t                users;          /* connected: users.c */
    ngx_rbtree_node_t           users_sentinel;
} ngx_http_hive_shared_t;


#define ngx_http_hive_count(hmcf, name)  (hmcf)->counters->name++

ngx_int_t ngx_http_hive_counters_zone(ngx_conf_t *cf, ngx_str_t *name,
    size_t size, ngx_shm_zone_t **zone);
ngx_int_t ngx_http_hive_counters_init(ngx_cycle_t *cycle,
    ngx_http_hive_main_conf_t *hmcf);
void ngx_http_hive_counters_exit(ngx_http_hive_main_conf_t *hmcf);
ngx_int_t ngx_http_hive_log_handler(ngx_http_request_t *r);


/* ---- metrics, health ---- */

/* These send the whole reply and return what to finalize with. */

ngx_int_t ngx_http_hive_metrics(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);
ngx_int_t ngx_http_hive_health(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);
ngx_int_t ngx_http_hive_health_ready(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);


/* ---- handler ---- */

ngx_int_t ngx_http_hive_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_hive_secret_handler(ngx_http_request_t *r);

/* The request's context, made at first use; NULL: out of memory. */
ngx_http_hive_ctx_t *ngx_http_hive_get_ctx(ngx_http_request_t *r);

uint64_t ngx_http_hive_random(void);
uint64_t ngx_http_hive_usec(void);

ngx_int_t ngx_http_hive_request_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
extern ngx_http_request_body_filter_pt  ngx_http_hive_next_request_body_filter;


/* ---- requests on the wire ---- */

/* Of the type of a held request's call. */
ngx_int_t ngx_http_hive_put_request(ngx_http_hive_call_t *call,
    ngx_http_hive_peer_t *peer);

/* A header the client sent, by lower-case name; NULL: absent. */
ngx_table_elt_t *ngx_http_hive_header_in(ngx_http_request_t *r, char *name,
    size_t len);

/* Sets trace_id from traceparent, or from the request's id, and span_id. */
void ngx_http_hive_trace(ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx);


/* ---- tokens ---- */

ngx_int_t ngx_http_hive_tokens_init(ngx_cycle_t *cycle,
    ngx_http_hive_main_conf_t *hmcf);
void ngx_http_hive_tokens_exit(ngx_http_hive_main_conf_t *hmcf);

/*
 * NGX_OK and the verified token of the request; NGX_DECLINED when it has
 * none; NGX_ABORT when it was refused, with `reason` (static text).
 */
ngx_int_t ngx_http_hive_token(ngx_http_request_t *r,
    ngx_http_hive_main_conf_t *hmcf, ngx_http_hive_token_t **token,
    jws_status_t *reason);


/* The same of a token that has come in another way: never NGX_DECLINED. */
ngx_int_t ngx_http_hive_token_text(ngx_http_hive_main_conf_t *hmcf,
    ngx_str_t *text, ngx_http_hive_token_t **token, jws_status_t *reason);


/* ---- dispatch ---- */

/* Takes over a request whose body has been read: sends it and holds it. */
void ngx_http_hive_dispatch(ngx_http_hive_ctx_t *ctx);

/* Ends a held request from an event that is not its own. */
void ngx_http_hive_end(ngx_http_hive_ctx_t *ctx, ngx_int_t rc);

void ngx_http_hive_set_deadline(ngx_http_hive_ctx_t *ctx);


/* ---- calls ---- */

/*
 * Sends the call, whose type, peers, and timer's log are set: NGX_DONE, and
 * its reply, its failure or its end follow; otherwise what its type returned.
 */
ngx_int_t ngx_http_hive_call(ngx_http_hive_call_t *call, ngx_msec_t time);

/* Has it expire that much later than now. */
void ngx_http_hive_call_renew(ngx_http_hive_call_t *call, ngx_msec_t time);

/* Whoever has it may stop, and nothing of it is awaited any more. */
void ngx_http_hive_call_cancel(ngx_http_hive_call_t *call);

/* Lets go of its place: no reply of this id is awaited any more. */
void ngx_http_hive_call_release(ngx_http_hive_call_t *call);

/* The one of a wire id, NULL when that peer has no such one. */
ngx_http_hive_call_t *ngx_http_hive_in_flight(ngx_http_hive_peer_t *peer,
    uint64_t id);

/* Those that wait since before the first peer was heard. */
void ngx_http_hive_call_waiting(ngx_http_hive_peers_t *peers);

/*
 * All that is in flight on a peer is lost there: sent to others or refused.
 * `cancel`: tell it, should it live.
 */
void ngx_http_hive_fail_over(ngx_http_hive_peer_t *peer, ngx_uint_t cancel);


/* ---- peers ---- */

/* NULL, or the reason why the endpoint cannot be one. */
char *ngx_http_hive_check_endpoint(ngx_str_t *endpoint, ngx_uint_t workers);

ngx_int_t ngx_http_hive_peers_init(ngx_cycle_t *cycle,
    ngx_http_hive_main_conf_t *hmcf);
void ngx_http_hive_peers_exit(ngx_http_hive_main_conf_t *hmcf);

/* Its batch will leave in this turn of the event loop. */
void ngx_http_hive_peer_dirty(ngx_http_hive_peer_t *peer);

/* Reads what has arrived. Must follow whatever else is done to its socket. */
void ngx_http_hive_drain(ngx_http_hive_peer_t *peer);


/* ---- heartbeats ---- */

/* The peer to send to; NULL with *full set when those that live are full. */
ngx_http_hive_peer_t *ngx_http_hive_choose(ngx_http_hive_peers_t *peers,
    ngx_uint_t *full);

/* A message of this peer has arrived. */
void ngx_http_hive_message(ngx_http_hive_peer_t *peer, void *data, size_t len);

/* Its socket has been found connected or not. */
void ngx_http_hive_connected(ngx_http_hive_peer_t *peer,
    ngx_uint_t connected);

/* Tells it that we live, and that it may stop when it is done with us. */
void ngx_http_hive_ping(ngx_http_hive_peer_t *peer);

void ngx_http_hive_tick_handler(ngx_event_t *ev);
void ngx_http_hive_startup_handler(ngx_event_t *ev);


/* ---- replies, streams ---- */

void ngx_http_hive_reply(ngx_http_hive_ctx_t *ctx, wire_record_t *record);
void ngx_http_hive_chunk(ngx_http_hive_ctx_t *ctx, wire_record_t *record);
void ngx_http_hive_stream_end(ngx_http_hive_ctx_t *ctx,
    wire_record_t *record);

/* Begins the stream whose header has been sent. */
void ngx_http_hive_stream_begin(ngx_http_hive_ctx_t *ctx, slice_t first);

/* Sends a whole body that lives as long as the request. */
ngx_int_t ngx_http_hive_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, u_char *body, size_t len);

ngx_table_elt_t *ngx_http_hive_header_out(ngx_http_request_t *r, char *name,
    size_t len, u_char *value, size_t value_len);

#define ngx_http_hive_add_header(r, name, value)                              \
    ngx_http_hive_header_out(r, name, sizeof(name) - 1,                       \
                             (u_char *) value, sizeof(value) - 1)

extern ngx_str_t  ngx_http_hive_type_json;
extern ngx_str_t  ngx_http_hive_type_problem;


/* ---- problems ---- */

/*
 * Answers with a problem document; `code` and `detail` are static text that
 * needs no escaping. Returns what to finalize the request with.
 */
ngx_int_t ngx_http_hive_problem(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, ngx_uint_t status, const char *code,
    const char *detail);

/* As above, 422 with one field error. */
ngx_int_t ngx_http_hive_problem_field(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx, const char *field, const char *code,
    const char *message);

ngx_int_t ngx_http_hive_header_filter(ngx_http_request_t *r);
ngx_int_t ngx_http_hive_body_filter(ngx_http_request_t *r, ngx_chain_t *in);
extern ngx_http_output_header_filter_pt  ngx_http_hive_next_header_filter;
extern ngx_http_output_body_filter_pt    ngx_http_hive_next_body_filter;


/* ---- variables ---- */

ngx_int_t ngx_http_hive_add_variables(ngx_conf_t *cf);


extern ngx_module_t  ngx_http_hive_module;


#endif /* _NGX_HTTP_HIVE_H_INCLUDED_ */
