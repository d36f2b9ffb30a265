/* lane.c: which connection a call takes, and the queue when none has room.
 *
 * Read lanes are filled deeply, the first one first: what is sent in one turn
 * of the loop shares one sync, and the fewer backends share the work the less
 * each statement costs. The next lane helps out once the statements at the
 * head of this one have taken a while, so that a slow list holds up nobody. A
 * write lane has one statement at a time, since the
 * next would wait behind its locks; there are several so that commits share
 * the log's flush. A transaction has its connection to itself.
 *
 * With no connection up a call waits two seconds at most: long enough for a
 * restart of the server, short enough that the answer "not now" is of use. */

#include "internal.h"

#include "workers/runtime/log.h"

#define UNCONNECTED_MAX_MS 2000
#define ATTEMPTS_MAX 8
#define READ_SLOW_MS 2

/* A cancel that is on its way may hit what comes next on its connection. It
 * is sent again; inside a transaction it cannot be, so none begins there. */
static int
may_be_hit(const connection_t *connection)
{
    return connection->cancelling
        && connection->group == &db.groups[GROUP_TRANSACTION];
}

static connection_t *
least_busy(const group_t *group)
{
    connection_t *best = NULL;
    unsigned i;

    for (i = 0; i < group->count; i++) {
        connection_t *connection = &group->connections[i];

        if (connection_usable(connection) && !connection->leased
            && !connection->dying && connection->depth < group->depth_max
            && !may_be_hit(connection)
            && (best == NULL || connection->depth < best->depth)) {
            best = connection;
            if (best->depth == 0) {
                break;
            }
        }
    }
    return best;
}

/* The first read lane whose oldest statements have not been out for long. */
static connection_t *
first_swift(const group_t *group)
{
    uint64_t now = uv_now(db.loop);
    unsigned i;

    for (i = 0; i < group->count; i++) {
        connection_t *connection = &group->connections[i];

        if (connection_usable(connection) && !connection->dying
            && connection->depth < group->depth_max
            && (connection->depth == 0
                || now < connection->group_since + READ_SLOW_MS)) {
            return connection;
        }
    }
    return NULL;
}

/* An insert lane takes what comes in one turn, and then nothing until that
 * has been committed: what arrives meanwhile commits together next. */
static connection_t *
first_gathering(const group_t *group)
{
    unsigned i;

    for (i = 0; i < group->count; i++) {
        connection_t *connection = &group->connections[i];

        if (connection_usable(connection) && !connection->dying
            && connection->depth < group->depth_max
            && connection->depth == connection->unsynced) {
            return connection;
        }
    }
    return NULL;
}

/* A write sent into a connection that is already closed has an unknown
 * outcome; a look at the socket first keeps that rare. */
static connection_t *
lane_pick(const group_t *group)
{
    connection_t *connection;

    if (group == &db.groups[GROUP_READ]) {
        connection = first_swift(group);
        return connection != NULL ? connection : least_busy(group);
    }
    do {
        connection = group == &db.groups[GROUP_INSERT]
            ? first_gathering(group) : least_busy(group);
    } while (connection != NULL && connection->depth == 0
             && !connection_alive(connection));
    return connection;
}

static void
lane_enqueue(call_t *call, int first)
{
    group_t *group = call->group;

    call->queued = 1;
    group->nwaiting++;
    if (first) {
        TAILQ_INSERT_HEAD(&group->waiting, call, link);
    } else {
        TAILQ_INSERT_TAIL(&group->waiting, call, link);
    }
    if (group->up == 0) {
        db_watch();
    }
}

void
lane_unqueue(call_t *call)
{
    TAILQ_REMOVE(&call->group->waiting, call, link);
    call->queued = 0;
    call->group->nwaiting--;
}

static void
lane_give(connection_t *connection, call_t *call)
{
    call->give_up = 0;
    if (call->kind == CALL_ACQUIRE) {
        connection->leased = 1;
        call->connection = connection;
        call_finish(call, OUTCOME_RESULT);
        return;
    }
    pipeline_send(connection, call);
}

int
lane_submit(call_t *call)
{
    group_t *group = call->group;
    connection_t *connection = call->connection;

    if (db.stopping) {
        call_finish(call, OUTCOME_UNAVAILABLE);
        return 0;
    }
    if (connection != NULL) {            /* inside a transaction */
        pipeline_send(connection, call);
        return 0;
    }
    if (group->nwaiting == 0 && (connection = lane_pick(group)) != NULL) {
        lane_give(connection, call);
        return 0;
    }
    if (group->nwaiting >= db.config.queue_max && call->done == NULL) {
        return -1;
    }
    lane_enqueue(call, 0);
    return 0;
}

void
lane_resubmit(call_t *call)
{
    connection_t *connection;

    PQclear(call->result);
    call->result = NULL;
    call->answered = 0;
    call->aborted = 0;
    call->synced = 0;
    if (db.stopping || call->attempts == ATTEMPTS_MAX) {
        call_finish(call, OUTCOME_UNAVAILABLE);
        return;
    }
    call->attempts++;
    call->alone = call->group->shared;
    db.resent++;
    connection = lane_pick(call->group);
    if (connection != NULL) {
        lane_give(connection, call);
    } else {
        lane_enqueue(call, 1);
    }
}

void
lane_dispatch(group_t *group)
{
    connection_t *connection;

    while (group->nwaiting > 0 && (connection = lane_pick(group)) != NULL) {
        call_t *call = TAILQ_FIRST(&group->waiting);

        /* Looking at a socket may have answered the last one. */
        if (call == NULL) {
            break;
        }
        lane_unqueue(call);
        lane_give(connection, call);
    }
}

void
lane_changed(group_t *group)
{
    if (group->nwaiting > 0) {
        db_watch();
    }
}

int
lane_sweep(group_t *group, uint64_t now)
{
    call_t *call, *next;

    if (group->up > 0) {
        return 0;
    }
    for (call = TAILQ_FIRST(&group->waiting); call != NULL; call = next) {
        next = TAILQ_NEXT(call, link);
        if (call->give_up == 0) {
            call->give_up = now + UNCONNECTED_MAX_MS;
        } else if (now >= call->give_up) {
            lane_unqueue(call);
            call_finish(call, OUTCOME_UNAVAILABLE);
        }
    }
    return group->nwaiting > 0;
}

void
lane_fail_waiting(group_t *group)
{
    call_t *call;

    while ((call = TAILQ_FIRST(&group->waiting)) != NULL) {
        lane_unqueue(call);
        call_finish(call, OUTCOME_UNAVAILABLE);
    }
}
