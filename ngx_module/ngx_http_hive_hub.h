
/*
 * The live stream inside nginx: who watches what, and how events get there.
 *
 * ngx_http_hive_hub.c        start and end, the SUB socket, asking workers
 * ngx_http_hive_frame.c      events as they are sent, shared by all receivers
 * ngx_http_hive_channel.c    channels: offsets in order, gaps, heads
 * ngx_http_hive_sub.c        subscriptions: opening, recovery, ending
 * ngx_http_hive_delta.c      texts that grow
 * ngx_http_hive_client.c     clients: what waits to be sent to each
 * ngx_http_hive_uring.c      many sockets in one system call
 * ngx_http_hive_users.c      connections by user, in all nginx workers
 * ngx_http_hive_presence.c   who watches a channel, on all hosts
 * ngx_http_hive_websocket.c  RFC 6455 connections: what comes, how they end
 * ngx_http_hive_websocket_output.c  what goes out to them
 * ngx_http_hive_upgrade.c    from a request to such a connection
 * ngx_http_hive_ticket.c     one-time tickets, for who can send no header
 * ngx_http_hive_message.c    what clients say, and what they are told
 * ngx_http_hive_sse.c        server-sent events: their requests
 * ngx_http_hive_sse_event.c  what is written into them
 * ngx_http_hive_history.c    history, with a wait for more of it
 * ngx_http_hive_stats.c      /api/v1/websocket/stats and health
 *
 * Every nginx worker has a hub of its own. A channel exists in it while it
 * has subscriptions; events come in the order of their offsets, whatever the
 * order in which workers publish them, and what was missed is asked for.
 *
 * Nothing is freed while it may be in use further up the stack: a client that
 * has to go is marked, and a posted event buries it.
 */


#ifndef _NGX_HTTP_HIVE_HUB_H_INCLUDED_
#define _NGX_HTTP_HIVE_HUB_H_INCLUDED_


#include "ngx_http_hive.h"

#include "common/event_record.h"
#include "common/websocket.h"
#include "common/websocket_deflate.h"

#include <jansson.h>


#define NGX_HTTP_HIVE_CHANNEL_MAX   200         /* bytes of its name */
#define NGX_HTTP_HIVE_EPOCH_MAX     64
#define NGX_HTTP_HIVE_QUESTION_MAX  512         /* bytes, of one channel */
#define NGX_HTTP_HIVE_ASK_TIME      10000       /* ms that an answer may take */
#define NGX_HTTP_HIVE_GAP_GRACE     20          /* what is missing may just be
                                                   on its way */
#define NGX_HTTP_HIVE_RECENT        64          /* frames kept per channel */
#define NGX_HTTP_HIVE_RECENT_BYTES  65536
#define NGX_HTTP_HIVE_PENDING       1024        /* frames that came too early */
#define NGX_HTTP_HIVE_HISTORY       1000        /* events asked for at once */
#define NGX_HTTP_HIVE_RECOVER       256         /* for one client */
#define NGX_HTTP_HIVE_RECOVER_MAX   100         /* times that, until it is
                                                   told to look anew */
#define NGX_HTTP_HIVE_HEADS         500         /* channels in one question */
#define NGX_HTTP_HIVE_SEND_MAX      64          /* frames in one writev() */
#define NGX_HTTP_HIVE_URING_MAX     256         /* sockets in one call */
#define NGX_HTTP_HIVE_PARCEL_MAX    16          /* frames for one of them */
#define NGX_HTTP_HIVE_TYPES_MAX     16          /* of a subscription's filter */


typedef struct ngx_http_hive_frame_s    ngx_http_hive_frame_t;
typedef struct ngx_http_hive_channel_s  ngx_http_hive_channel_t;
typedef struct ngx_http_hive_sub_s      ngx_http_hive_sub_t;
typedef struct ngx_http_hive_client_s   ngx_http_hive_client_t;
typedef struct ngx_http_hive_ask_s      ngx_http_hive_ask_t;
typedef struct ngx_http_hive_delta_s    ngx_http_hive_delta_t;
typedef struct ngx_http_hive_user_s     ngx_http_hive_user_t;
typedef struct ngx_http_hive_uring_s    ngx_http_hive_uring_t;


struct ngx_http_hive_hub_s {
    ngx_http_hive_main_conf_t  *conf;
    ngx_log_t                  *log;
    ngx_pool_t                 *pool;

    void                       *socket;         /* SUB */
    ngx_connection_t           *connection;

    ngx_rbtree_t                channels;       /* ngx_str_node_t */
    ngx_rbtree_node_t           channels_sentinel;
    ngx_queue_t                 all;            /* channels, next to be
                                                   checked first */
    ngx_uint_t                  nchannels;

    ngx_rbtree_t                users;          /* ngx_str_node_t */
    ngx_rbtree_node_t           users_sentinel;

    ngx_queue_t                 clients;        /* next to be beaten first */
    ngx_queue_t                 awaiting;       /* pongs, oldest first */
    ngx_uint_t                  nclients;
    ngx_queue_t                 dirty;          /* have something to send */
    ngx_queue_t                 dead;
    ngx_event_t                 flush;          /* posted: sends, buries */
    ngx_http_hive_uring_t      *uring;          /* NULL: there is no io_uring */

    ngx_event_t                 tick;
    ngx_msec_t                  heads_due;
    ngx_uint_t                  heads_asked;    /* questions under way */
    uint64_t                    peers_lost;     /* as of the last tick */

    ws_inflater_t              *inflater;
    ws_deflater_t              *deflater;       /* of 15 bits */

    ngx_queue_t                 again;          /* subscriptions whose access
                                                   could not be asked for */

    hive_uuid_t                 node;           /* this process, for presence */
    ngx_rbtree_t                present;        /* ngx_str_node_t */
    ngx_rbtree_node_t           present_sentinel;
    ngx_event_t                 presence;
    ngx_queue_t                 presence_dirty;
    ngx_queue_t                 presence_telling;
    ngx_msec_t                  presence_all;
    ngx_http_hive_ask_t        *presence_ask;

    u_char                     *buffer;         /* what is read goes here */

    unsigned                    exiting:1;
};


#define NGX_HTTP_HIVE_READ_BUFFER  65536


/* ---- frames ---- */

/*
 * One message as it goes out, with one reference for each place that waits to
 * send it. The header of RFC 6455 stands right before the text.
 */

struct ngx_http_hive_frame_s {
    ngx_uint_t                  refs;
    int64_t                     offset;         /* 0: it has none */
    int64_t                     first;
    ngx_str_t                   type;           /* of the event; empty: it is
                                                   none */
    ngx_str_t                   text;
    ngx_str_t                   wire;           /* header and text */
    ngx_http_hive_frame_t      *deflated;       /* the same, made when the
                                                   first receiver wants it */
    ngx_http_hive_frame_t      *sse;            /* the same */
    unsigned                    incompressible:1;
    unsigned                    compress:1;     /* however short it is */
    unsigned                    control:1;      /* a control frame */
    u_char                      data[1];
};


/* A frame of `text`, which is copied, and may be NULL to be filled in; with
 * one reference, the caller's. NULL: out of memory. */
ngx_http_hive_frame_t *ngx_http_hive_frame(ws_opcode_t opcode, u_char *text,
    size_t len);
ngx_http_hive_frame_t *ngx_http_hive_event_frame(event_record_t *event);

/* A frame of raw bytes (not of RFC 6455), to be filled in. */
ngx_http_hive_frame_t *ngx_http_hive_raw_frame(size_t len);

void ngx_http_hive_frame_free(ngx_http_hive_frame_t *frame);

#define ngx_http_hive_frame_ref(frame)  (frame)->refs++

/*
 * The same compressed; or the frame itself when that is no gain, or it is
 * longer than the window of so many bits: what is shared is made with the
 * largest, and may point back as far as its beginning.
 */
ngx_http_hive_frame_t *ngx_http_hive_deflated(ngx_http_hive_hub_t *hub,
    ngx_http_hive_frame_t *frame, ngx_uint_t window);


/* ---- channels ---- */

struct ngx_http_hive_channel_s {
    ngx_str_node_t              sn;             /* first: name */
    ngx_http_hive_hub_t        *hub;
    ngx_queue_t                 all;
    ngx_queue_t                 subs;
    ngx_uint_t                  nsubs;

    ngx_str_t                   epoch;
    u_char                      epoch_data[NGX_HTTP_HIVE_EPOCH_MAX];
    int64_t                     offset;         /* told to all; -1: no worker
                                                   has said yet */
    int64_t                     target;         /* this much is known to be */

    ngx_http_hive_frame_t     **recent;         /* the last told, in order */
    ngx_uint_t                  nrecent;
    size_t                      recent_bytes;

    ngx_http_hive_frame_t     **pending;        /* too early, in order */
    ngx_uint_t                  npending;

    ngx_event_t                 gap;
    ngx_http_hive_ask_t        *ask;            /* for what is missing */
    ngx_queue_t                 deltas;

    u_char                      name[1];
};


ngx_http_hive_channel_t *ngx_http_hive_channel_find(ngx_http_hive_hub_t *hub,
    u_char *name, size_t len);
ngx_http_hive_channel_t *ngx_http_hive_channel_get(ngx_http_hive_hub_t *hub,
    u_char *name, size_t len);

/* Ends it when nobody watches it any more. */
void ngx_http_hive_channel_put(ngx_http_hive_channel_t *channel);

/* An event of it has come. */
void ngx_http_hive_channel_event(ngx_http_hive_channel_t *channel,
    event_record_t *event);

/* A worker says where it is. */
void ngx_http_hive_channel_head(ngx_http_hive_channel_t *channel,
    slice_t epoch, int64_t head);

/* Frames after `offset` are still at hand up to channel->offset: index into
 * channel->recent of the first; NGX_DECLINED when some are not. */
ngx_int_t ngx_http_hive_channel_recent(ngx_http_hive_channel_t *channel,
    int64_t offset);

/* To all subscriptions, of a frame that has no offset. */
void ngx_http_hive_channel_tell(ngx_http_hive_channel_t *channel,
    ngx_http_hive_frame_t *frame);

/* Asks the workers for the heads of all. */
void ngx_http_hive_channels_check(ngx_http_hive_hub_t *hub);


/* ---- growing texts ---- */

void ngx_http_hive_delta(ngx_http_hive_channel_t *channel,
    event_record_t *event);

/* What has not been told of them goes before anything else. */
void ngx_http_hive_deltas_flush(ngx_http_hive_channel_t *channel);

/* To one that has come late: all of them so far. */
void ngx_http_hive_deltas_catch_up(ngx_http_hive_sub_t *sub);

void ngx_http_hive_deltas_free(ngx_http_hive_channel_t *channel);


/* ---- subscriptions ---- */

typedef struct {
    ngx_str_t                   channel;
    ngx_str_t                   epoch;          /* since; empty: none */
    int64_t                     after;
    ngx_uint_t                  ntypes;
    ngx_str_t                   types[NGX_HTTP_HIVE_TYPES_MAX];
    json_t                     *id;             /* of the client's message */
    unsigned                    since:1;
    unsigned                    presence:1;
    unsigned                    state:1;        /* the object first */
} ngx_http_hive_sub_options_t;


struct ngx_http_hive_sub_s {
    ngx_http_hive_client_t     *client;
    ngx_http_hive_channel_t    *channel;
    ngx_queue_t                 queue;          /* channel->subs */
    ngx_queue_t                 mine;           /* client->subs */
    ngx_queue_t                 again;          /* hub->again */
    int64_t                     offset;         /* has been sent, or skipped */
    ngx_http_hive_ask_t        *ask;            /* while it is being opened */
    ngx_uint_t                  asked;          /* times */
    json_t                     *id;
    int64_t                     after;
    ngx_str_t                   epoch;          /* asked for; malloc'ed */
    u_char                     *types;          /* patterns, each ended by NUL;
                                                   malloc'ed; NULL: all */
    unsigned                    live:1;
    unsigned                    confirmed:1;
    unsigned                    since:1;
    unsigned                    presence:1;     /* sees, and is seen */
    unsigned                    present:1;
    unsigned                    state:1;
    unsigned                    recheck:1;      /* access may have changed */
    unsigned                    later:1;        /* is in hub->again */
    unsigned                    paused:1;       /* more history, when what has
                                                   come is sent */
};


/* NGX_OK, or it has been refused, and the client told. */
ngx_int_t ngx_http_hive_subscribe(ngx_http_hive_client_t *client,
    ngx_http_hive_sub_options_t *options);

ngx_http_hive_sub_t *ngx_http_hive_sub_find(ngx_http_hive_client_t *client,
    ngx_str_t *channel);

void ngx_http_hive_sub_free(ngx_http_hive_sub_t *sub);

/* In the form of its client's transport. */
#define ngx_http_hive_sub_send(sub, frame)                                    \
    ngx_http_hive_client_send((sub)->client, sub, frame)

/* Whether the filter lets that type pass. */
ngx_uint_t ngx_http_hive_sub_wants(ngx_http_hive_sub_t *sub,
    ngx_str_t *type);

/* May it still be watched? Whoever may not is told, and it ends. */
void ngx_http_hive_sub_recheck(ngx_http_hive_sub_t *sub);
void ngx_http_hive_subs_again(ngx_http_hive_hub_t *hub);

/* What has come of the history is sent: the rest of it. */
void ngx_http_hive_subs_resume(ngx_http_hive_client_t *client);


/* ---- clients ---- */

typedef struct {
    /* something waits in the ring, or the client is to go */
    void                      (*flush)(ngx_http_hive_client_t *client);
    void                      (*bury)(ngx_http_hive_client_t *client);

    /* its parcel: so many bytes of it are gone; or a negated errno */
    void                      (*sent)(ngx_http_hive_client_t *client,
                                      ssize_t n);

    /* the ring is full: what the policy says */
    void                      (*slow)(ngx_http_hive_client_t *client);

    /* each hive_websocket_ping: shows that we live */
    void                      (*beat)(ngx_http_hive_client_t *client);

    /*
     * an event in the form of the transport, with a reference for the caller;
     * `sub` is NULL when it is for the user; the method is NULL when frames
     * go as they are
     */
    ngx_http_hive_frame_t    *(*form)(ngx_http_hive_client_t *client,
                                      ngx_http_hive_sub_t *sub,
                                      ngx_http_hive_frame_t *frame);

    void                      (*confirmed)(ngx_http_hive_sub_t *sub,
                                           ngx_uint_t recovered,
                                           int64_t offset);
    void                      (*refused)(ngx_http_hive_client_t *client,
                                         json_t *id, ngx_str_t *channel,
                                         const char *code,
                                         const char *message);
    void                      (*ended)(ngx_http_hive_sub_t *sub,
                                       const char *reason);
    void                      (*state)(ngx_http_hive_sub_t *sub,
                                       event_record_t *state);
} ngx_http_hive_client_type_t;


struct ngx_http_hive_client_s {
    ngx_http_hive_client_type_t  *type;
    ngx_http_hive_hub_t        *hub;
    ngx_queue_t                 queue;          /* hub->clients */
    ngx_msec_t                  beaten;
    ngx_queue_t                 dirty;
    ngx_queue_t                 dead;
    ngx_queue_t                 same_user;
    ngx_http_hive_user_t       *user_node;

    hive_uuid_t                 id;
    hive_uuid_t                 user;
    hive_uuid_t                 session;
    ngx_uint_t                  principal;
    time_t                      expires;

    ngx_queue_t                 subs;
    ngx_uint_t                  nsubs;

    /* frames that wait to be sent */
    ngx_http_hive_frame_t     **ring;
    uint32_t                    ring_size;      /* a power of 2; 0: none */
    uint32_t                    ring_first;
    uint32_t                    ring_count;
    size_t                      queued;         /* bytes */
    size_t                      sent;           /* of the first frame */

    ngx_uint_t                  frames_out;
    uint64_t                    bytes_out;

    unsigned                    is_dirty:1;
    unsigned                    is_dead:1;
    unsigned                    is_slow:1;      /* the ring was full */
    unsigned                    is_closed:1;    /* takes nothing more */
    unsigned                    has_paused:1;   /* a subscription that is */
    unsigned                    recovering:1;   /* what is pushed is history */
    unsigned                    counted:1;
    unsigned                    sse:1;
};


/* NGX_OK; NGX_BUSY when the user has as many connections as may be. */
ngx_int_t ngx_http_hive_client_init(ngx_http_hive_client_t *client,
    ngx_http_hive_hub_t *hub);

/* Queues the frame, with a reference of its own, to be sent in this turn. */
void ngx_http_hive_client_push(ngx_http_hive_client_t *client,
    ngx_http_hive_frame_t *frame);

/* An event, in the form of the client's transport. */
void ngx_http_hive_client_send(ngx_http_hive_client_t *client,
    ngx_http_hive_sub_t *sub, ngx_http_hive_frame_t *frame);

void ngx_http_hive_client_dirty(ngx_http_hive_client_t *client);

/* The first frame has been sent. */
void ngx_http_hive_client_shift(ngx_http_hive_client_t *client);

/* Drops all but a frame that is partly sent; returns how many. */
ngx_uint_t ngx_http_hive_client_drop(ngx_http_hive_client_t *client);

/* It is done with; what it has is freed at the end of this turn. */
void ngx_http_hive_client_kill(ngx_http_hive_client_t *client);

/* Called by bury(): lets go of all but the memory of the struct. */
void ngx_http_hive_client_release(ngx_http_hive_client_t *client);

void ngx_http_hive_flush_clients(ngx_event_t *ev);

/* What could be sent to it now has been. */
void ngx_http_hive_client_flushed(ngx_http_hive_client_t *client);

/* Each second: those whose turn to be beaten has come. */
void ngx_http_hive_clients_tick(ngx_http_hive_hub_t *hub);


/* ---- many sockets in one system call ---- */

typedef struct {
    ngx_http_hive_client_t     *client;
    ngx_socket_t                fd;
    ngx_uint_t                  niovs;
    struct iovec                iovs[NGX_HTTP_HIVE_PARCEL_MAX];
    ssize_t                     sent;
} ngx_http_hive_parcel_t;


/* NULL: the kernel does not give us one, which is logged. */
ngx_http_hive_uring_t *ngx_http_hive_uring_create(ngx_log_t *log);
void ngx_http_hive_uring_destroy(ngx_http_hive_uring_t *uring);

/* One for the client, to be filled in, at least with one iovec. Nothing that
 * it points to may go before ngx_http_hive_uring_send(). NULL: send without. */
ngx_http_hive_parcel_t *ngx_http_hive_uring_add(ngx_http_hive_hub_t *hub,
    ngx_http_hive_client_t *client, ngx_socket_t fd);

/* Sends what has been added, and tells each client by its method sent(). */
void ngx_http_hive_uring_send(ngx_http_hive_hub_t *hub);


/* ---- users ---- */

struct ngx_http_hive_user_s {
    ngx_str_node_t              sn;             /* first: the id's bytes */
    hive_uuid_t                 user;
    ngx_queue_t                 clients;
    ngx_uint_t                  count;
};


ngx_int_t ngx_http_hive_user_add(ngx_http_hive_client_t *client);
void ngx_http_hive_user_remove(ngx_http_hive_client_t *client);

/* This process begins: nobody is connected to it. */
void ngx_http_hive_users_forget(ngx_http_hive_main_conf_t *hmcf);

/* Users that are connected to any nginx worker of the host. */
ngx_uint_t ngx_http_hive_users_total(ngx_http_hive_main_conf_t *hmcf);
ngx_http_hive_user_t *ngx_http_hive_user_find(ngx_http_hive_hub_t *hub,
    hive_uuid_t *user);


/* ---- asking workers ---- */

/* `status`: of the reply; 0: there is none, for whatever reason. */
typedef void (*ngx_http_hive_answer_pt)(ngx_http_hive_ask_t *ask,
    ngx_uint_t status, slice_t body);


struct ngx_http_hive_ask_s {
    ngx_http_hive_call_t        call;           /* first: is cast back */
    ngx_http_hive_hub_t        *hub;
    const char                 *operation;
    ngx_uint_t                  principal;
    hive_uuid_t                 user;
    hive_uuid_t                 session;
    ngx_http_hive_answer_pt     handler;
    void                       *data;
    size_t                      len;
    u_char                      body[1];
};


/*
 * Asks one of the workers for an operation, for that client or (NULL) for
 * nginx itself. `body` is copied. NULL: it cannot be asked now. The handler
 * is called once, later, unless the question is taken back.
 */
ngx_http_hive_ask_t *ngx_http_hive_ask(ngx_http_hive_hub_t *hub,
    const char *operation, ngx_http_hive_client_t *client, u_char *body,
    size_t len, ngx_http_hive_answer_pt handler, void *data);
void ngx_http_hive_ask_cancel(ngx_http_hive_ask_t *ask);


/* ---- presence ---- */

void ngx_http_hive_presence_enter(ngx_http_hive_sub_t *sub);
void ngx_http_hive_presence_leave(ngx_http_hive_sub_t *sub);
void ngx_http_hive_presence_handler(ngx_event_t *ev);


/* ---- WebSocket ---- */

typedef struct ngx_http_hive_ws_s  ngx_http_hive_ws_t;


struct ngx_http_hive_ws_s {
    ngx_http_hive_client_t      client;         /* first: is cast back */
    ngx_connection_t           *connection;
    ws_parser_t                 parser;

    u_char                     *message;        /* of several pieces, or
                                                   compressed; malloc'ed */
    size_t                      message_len;
    size_t                      message_size;

    ngx_queue_t                 awaiting;       /* hub->awaiting */
    ngx_msec_t                  pinged;
    ngx_msec_t                  allowance_at;   /* messages it may send */
    ngx_uint_t                  allowance;
    ngx_event_t                 batch;
    ngx_uint_t                  batch_ms;
    time_t                      connected;
    ngx_uint_t                  messages_in;
    uint64_t                    bytes_in;
    ngx_http_hive_ask_t        *ask;            /* of a message: presence */
    json_t                     *ask_id;

    unsigned                    window:5;       /* bits that its inflater has;
                                                   0: no compression */
    unsigned                    echo:1;
    unsigned                    awaits_pong:1;
    unsigned                    close_sent:1;
    unsigned                    close_got:1;
    unsigned                    shut:1;         /* our side of the connection */
    unsigned                    draining:1;     /* 1001 is going to be sent */
    unsigned                    discard:1;      /* nothing more is read */
};


/* What an upgraded request hands over. */

typedef struct {
    hive_uuid_t                 user;
    hive_uuid_t                 session;
    ngx_uint_t                  principal;
    time_t                      expires;
    ngx_uint_t                  batch_ms;
    ngx_uint_t                  refuse;         /* close code, 0: welcome */
    const char                 *reason;
    ngx_uint_t                  window;         /* bits of compression */
    unsigned                    echo:1;
} ngx_http_hive_upgrade_t;


/* ---- tickets ---- */

typedef struct ngx_http_hive_redeem_s  ngx_http_hive_redeem_t;


struct ngx_http_hive_redeem_s {
    /* set by the caller; NGX_OK: the request's ctx says who it is;
     * NGX_DECLINED: the ticket is not good; otherwise what to finalize the
     * request with, which has been answered */
    void                      (*handler)(ngx_http_hive_redeem_t *redeem,
                                         ngx_int_t rc);
    void                       *data;

    ngx_http_request_t         *request;
    ngx_http_hive_ctx_t        *ctx;
    ngx_http_hive_ask_t        *ask;
    time_t                      expires;
};


/*
 * Has a worker redeem a ticket. NGX_DONE: the request is held, and the handler
 * will be called; otherwise what to finalize it with.
 */
ngx_int_t ngx_http_hive_redeem(ngx_http_hive_redeem_t *redeem,
    ngx_http_request_t *r, ngx_http_hive_ctx_t *ctx, ngx_str_t *ticket);


ngx_int_t ngx_http_hive_echo_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_hive_ws_handler(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);

/* Takes the connection of a request that has been answered with 101. */
void ngx_http_hive_ws_begin(ngx_http_request_t *r,
    ngx_http_hive_upgrade_t *upgrade);

/* Sends a close frame, once, and waits for the peer's. */
void ngx_http_hive_ws_close(ngx_http_hive_ws_t *ws, ngx_uint_t code,
    const char *reason);

/* Both close frames are gone, or a rule is broken: our side ends. */
void ngx_http_hive_ws_shut(ngx_http_hive_ws_t *ws);

/* Sends what waits: client->type->flush(), and what comes of its parcel. */
void ngx_http_hive_ws_flush(ngx_http_hive_client_t *client);
void ngx_http_hive_ws_parcel_sent(ngx_http_hive_client_t *client, ssize_t n);

/* batch_ms is over. */
void ngx_http_hive_ws_batch_handler(ngx_event_t *ev);

/* Each second: those that did not answer a ping, and whose token has ended. */
void ngx_http_hive_ws_tick(ngx_http_hive_hub_t *hub);

extern ngx_http_hive_client_type_t  ngx_http_hive_ws_type;


/* ---- messages ---- */

void ngx_http_hive_ws_welcome(ngx_http_hive_ws_t *ws);
void ngx_http_hive_ws_message(ngx_http_hive_ws_t *ws, u_char *text,
    size_t len);

/* Dumps and queues; takes the reference of `message`. */
void ngx_http_hive_tell(ngx_http_hive_client_t *client, json_t *message);

/* "2026-11-29T10:00:00.123Z" of now, or of that second; new reference. */
json_t *ngx_http_hive_json_now(void);
json_t *ngx_http_hive_json_second(time_t sec);
json_t *ngx_http_hive_json_uuid(hive_uuid_t *id);

void ngx_http_hive_ws_confirmed(ngx_http_hive_sub_t *sub,
    ngx_uint_t recovered, int64_t offset);
void ngx_http_hive_ws_refused(ngx_http_hive_client_t *client, json_t *id,
    ngx_str_t *channel, const char *code, const char *message);
void ngx_http_hive_ws_ended(ngx_http_hive_sub_t *sub, const char *reason);
void ngx_http_hive_ws_state(ngx_http_hive_sub_t *sub, event_record_t *state);

/* Events up to where the channel is were dropped. */
void ngx_http_hive_ws_dropped(ngx_http_hive_sub_t *sub);

/* {"type", ..} of what every transport says when a subscription stands, is
 * refused ("channel" may be NULL) and has ended; NULL without memory. */
json_t *ngx_http_hive_confirmation(ngx_http_hive_sub_t *sub,
    ngx_uint_t recovered, int64_t offset);
json_t *ngx_http_hive_refusal(ngx_str_t *channel, const char *code,
    const char *message);
json_t *ngx_http_hive_ending(ngx_http_hive_sub_t *sub, const char *reason);


/* ---- server-sent events ---- */

ngx_int_t ngx_http_hive_sse_handler(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);
ngx_int_t ngx_http_hive_history_handler(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);


/* ---- statistics ---- */

ngx_int_t ngx_http_hive_ws_health(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);
ngx_int_t ngx_http_hive_ws_stats(ngx_http_request_t *r,
    ngx_http_hive_ctx_t *ctx);


ngx_int_t ngx_http_hive_hub_init(ngx_cycle_t *cycle,
    ngx_http_hive_main_conf_t *hmcf);
void ngx_http_hive_hub_exit(ngx_http_hive_main_conf_t *hmcf);


#endif /* _NGX_HTTP_HIVE_HUB_H_INCLUDED_ */
