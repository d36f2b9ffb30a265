/* realtime.h: the face of the event stream inside a worker.
 *
 * The statement that changes a row appends its event to the outbox in the
 * same transaction and returns `_channel`, `_offset`, `_event` (type) and
 * `_event_data` (jsonb) with the row. event_publish notes it; it is sent on
 * the process's PUB socket after the commit, never before: at once for a
 * statement of its own, at db_commit for a transaction. Lost when the
 * process dies in between, which delays an event and never loses it: the
 * outbox is the truth. */

#ifndef HIVE_REALTIME_H
#define HIVE_REALTIME_H

#include "workers/db/db.h"

void event_publish(request_t *rq, const db_row_t *row);

/* Sockets: binds the PUB endpoint. 0 or negative errno. */
int events_start(void *zmq_context, const char *endpoint);
void events_stop(void);

#endif
