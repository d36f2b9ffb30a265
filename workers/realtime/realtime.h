/* realtime.h: the face of the event stream inside a worker.
 *
 * What db/event.h hands over after each commit goes out on the process's PUB
 * socket, to the hubs in nginx: a ZeroMQ message of two parts, the channel
 * (what a SUB filters on) and a record (common/event_record.h). An event is
 * lost to the socket when the process dies between commit and send; it is not
 * lost to the world: the outbox is the truth, and offsets show the gap.
 *
 * The other way round the hubs ask, by operations that are nobody else's: who
 * may watch a channel and what is in it (channel_*), who watches (presence_*).
 * Their replies are records one after another. */

#ifndef HIVE_REALTIME_H
#define HIVE_REALTIME_H

#include "workers/db/db.h"

/* Binds the PUB endpoint and becomes the event sink. 0 or negative errno. */
int events_start(uv_loop_t *loop, void *zmq_context, const char *endpoint);
void events_stop(void);

/* ---- saying ---- */

/* Tells who watches `channel` now, once what rq has changed is committed; it
 * is kept nowhere. `data` is JSON. All live in the request's arena. */
void event_signal(request_t *rq, slice_t channel, slice_t type, slice_t data);

/* A text that grows: UTF-8, not JSON, told at once and kept nowhere. Who
 * begins to watch in its middle is told it from its beginning. It lives in the
 * request's arena and ends with it at the latest. */
typedef struct live_text_s live_text_t;

/* `other` may be empty: no second channel. All live in the request's arena. */
live_text_t *live_text_open(request_t *rq, slice_t channel, slice_t other,
    slice_t key);

/* `whole`: all there is of it by now; in the request's arena. */
void live_text_grow(live_text_t *text, slice_t whole);

/* There is no more of it. */
void live_text_close(live_text_t *text);

/* Has the hubs look anew, once what rq has changed is committed: at who may
 * watch the channel, or at all that the user watches. A change whose type ends
 * with ".deleted" does so by itself. */
void event_access_changed_channel(request_t *rq, slice_t channel);
void event_access_changed_user(request_t *rq, hive_uuid_t user);

/* ---- channels of other subjects ---- */

/* Where channels of a kind are found: the statements "x" and "x_after" of
 * sql/queries/channels.sql. */
typedef struct {
    query_id_t heads;
    query_id_t after;
    int by_day;                  /* they take the lowest and the highest id */
} channel_source_t;

#define CHANNEL_SOURCES 2

typedef struct {
    const char *name;            /* "project": of "project:<uuid>" */
    channel_source_t sources[CHANNEL_SOURCES];   /* looked at in this order */
    unsigned nsources;
    /* The object as GET shows it to the caller, with its head as `_offset`;
     * NULL: absent, or not theirs. */
    const db_row_t *(*state)(request_t *rq, hive_uuid_t id);
} channel_kind_t;

/* At start. Borrowed for ever. */
void channel_kind_add(const channel_kind_t *kind);

/* ---- who watches ---- */

/* The job that has users leave whose hub has died: after db_start, with one
 * fiber. 0, or as job_start. To be stopped before db_stop. */
int presence_start(fiber_sched_t *fibers);
void presence_stop(void);

void op_channel_open(request_t *rq);
void op_channel_state(request_t *rq);
void op_channel_heads(request_t *rq);
void op_channel_history(request_t *rq);
void op_presence_report(request_t *rq);
void op_presence_list(request_t *rq);
void op_websocket_send(request_t *rq);

#endif
