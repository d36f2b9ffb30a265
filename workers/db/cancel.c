/* cancel.c: stopping statements that nobody waits for any more.
 *
 * A request at its deadline leaves; its statement stays on the connection
 * and keeps those behind it waiting. The sweep (every 100 ms while there is
 * such a one) asks the server to stop it, and gives a connection up whose
 * backend does not even react to that. */

#include "internal.h"

#include <stdlib.h>

typedef struct {
    uv_work_t work;
    PGcancel *cancel;
    connection_t *connection;
    unsigned incarnation;
} cancel_t;

/* PQcancel connects and waits for the server: on a thread, and one at a
 * time, so that a server that does not answer takes one thread only. */
static int cancels_running;

static void
cancel_work(uv_work_t *work)
{
    cancel_t *cancel = (cancel_t *) work;
    char error[256];

    PQcancel(cancel->cancel, error, sizeof(error));
}

static void
cancel_done(uv_work_t *work, int status)
{
    cancel_t *cancel = (cancel_t *) work;
    connection_t *connection = cancel->connection;

    (void) status;
    if (connection->incarnation == cancel->incarnation) {
        connection->cancelling = 0;
        connection->cancel_until = connection->sequence;
        lane_dispatch(connection->group);
    }
    PQfreeCancel(cancel->cancel);
    free(cancel);
    cancels_running--;
    db.closing--;
    db_closed();
}

void
pipeline_cancel(connection_t *connection)
{
    cancel_t *cancel;

    if (cancels_running > 0 || connection->cancelling
        || !connection_usable(connection)) {
        return;
    }
    cancel = calloc(1, sizeof(*cancel));
    if (cancel == NULL
        || (cancel->cancel = PQgetCancel(connection->pg)) == NULL) {
        free(cancel);
        return;
    }
    cancel->connection = connection;
    cancel->incarnation = connection->incarnation;
    if (uv_queue_work(db.loop, &cancel->work, cancel_work, cancel_done)
        != 0) {
        PQfreeCancel(cancel->cancel);
        free(cancel);
        return;
    }
    cancels_running++;
    db.closing++;
    connection->cancelled_at = uv_now(db.loop);
    if (connection->first_cancel_at == 0) {
        connection->first_cancel_at = connection->cancelled_at;
    }
    db_watch();
    connection->cancelling = 1;
    /* Whatever is on the connection until it is done may be hit. */
    connection->cancel_until = UINT64_MAX;
}

/* A cancel costs the server a process; most statements end before. */
#define CANCEL_AFTER_MS 50
#define CANCEL_AGAIN_MS 1000
/* A backend that does not even react to that is stopped or out of reach. */
#define CANCEL_GIVE_UP_MS 3000

/* Which statement of a group runs cannot be seen, for the server keeps small
 * results until the sync. So a cancel is for the group; those in it that are
 * still wanted are sent again, each alone. */
static int
cancel_due(const connection_t *connection, uint64_t now)
{
    const call_t *call;

    if (now - connection->group_since < CANCEL_AFTER_MS
        || (connection->cancelled_at != 0
            && now - connection->cancelled_at < CANCEL_AGAIN_MS)) {
        return 0;
    }
    TAILQ_FOREACH(call, &connection->fifo, link) {
        if (call->abandoned) {
            return 1;
        }
        if (call->kind == CALL_SYNC) {
            break;
        }
    }
    return 0;
}

int
pipeline_sweep(connection_t *connection, uint64_t now)
{
    const call_t *call;

    if (!connection_usable(connection)) {
        return 0;
    }
    if (connection->first_cancel_at != 0
        && now - connection->first_cancel_at > CANCEL_GIVE_UP_MS) {
        connection_fail(connection, "no answer to a cancel");
        return 1;
    }
    if (cancel_due(connection, now)) {
        pipeline_cancel(connection);
    }
    TAILQ_FOREACH(call, &connection->fifo, link) {
        if (call->abandoned) {
            return 1;
        }
    }
    return connection->first_cancel_at != 0;
}
