/* event.h: from a committed change to the live stream.
 *
 * The statement that changes a row appends its event to the table `events`
 * in the same transaction and returns `_channel`, `_offset`, `_event` (its
 * type, "project.updated") and `_event_data` (jsonb) beside the row, and
 * `_first` when it may replace events before it. event_publish notes them; the
 * sink gets them once the change is committed, never before: at once for a
 * statement of its own, at db_commit for a transaction. */

#ifndef HIVE_EVENT_H
#define HIVE_EVENT_H

#include "db.h"

#include "common/event_record.h"

typedef struct {
    event_kind_t kind;
    uint8_t flags;    /* EVENT_DONE, of a delta */
    slice_t channel;
    int64_t offset;   /* of a change; of a delta, its place in its text */
    int64_t first;    /* the first that it stands for; 0: `offset` */
    slice_t type;
    slice_t key;      /* of a delta or control */
    slice_t data;     /* of a change or signal, JSON; of a delta, its text */
    int64_t time;     /* microseconds since 1970 */
} event_t;

void event_publish(request_t *rq, const db_row_t *row);

/* The same for an event of which the caller knows all: its text lives in the
 * request's arena. */
void event_send(request_t *rq, const event_t *event);

/* Outside of any transaction and request: to the sink at once. */
void event_emit(const event_t *event);

/* Has fn(arg) called once what has been changed so far is committed: now, or
 * after rq->transaction's commit; never when that does not come. For what
 * only hurries things (wake-ups): the process may die in between. `arg` lives
 * in the request's arena; fn must not suspend. */
void event_after_commit(request_t *rq, void (*fn)(void *arg), void *arg);

/* One sink (realtime/). Called on a fiber or the loop; copies. */
void event_set_sink(void (*sink)(const event_t *event));

#endif
