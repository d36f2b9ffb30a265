/* transaction.c: several statements as one, on a connection of their own.
 *
 * BEGIN costs no round trip: it travels in front of the first statement. The
 * arena ends what was not committed, whatever unwinds the request, without
 * waiting: ROLLBACK is sent behind what may still run (which is cancelled),
 * and the connection is free again when its answer is here. */

#include "event.h"
#include "internal.h"

#include "workers/runtime/fault.h"

#include <assert.h>

typedef enum { FRESH, OPEN, COMMITTING } transaction_state_t;

typedef struct transaction_s {
    connection_t *connection;    /* NULL: lost */
    transaction_state_t state;
    cleanup_t *cleanup;
} transaction_t;

/* BEGIN and ROLLBACK: what goes wrong with them shows in what follows. */
static void
unwatched(call_t *call)
{
    (void) call;
}

static call_t *
transaction_call(connection_t *connection, unsigned which)
{
    call_t *call = call_new(CALL_EXECUTE, statement_own(which));

    call->group = connection->group;
    call->connection = connection;
    return call;
}

void
transaction_returned(connection_t *connection)
{
    connection->returning = 0;
    connection->leased = 0;
    if (PQtransactionStatus(connection->pg) != PQTRANS_IDLE) {
        connection_fail(connection, "a transaction did not end");
        return;
    }
    lane_dispatch(connection->group);
}

void
transaction_lost(connection_t *connection)
{
    if (connection->transaction != NULL) {
        connection->transaction->connection = NULL;
        connection->transaction = NULL;
    }
    connection->leased = 0;
    connection->returning = 0;
}

/* Lets the connection go; whatever is under way on it ends first. */
static void
transaction_release(transaction_t *transaction)
{
    connection_t *connection = transaction->connection;

    transaction->connection = NULL;
    if (connection == NULL) {
        return;
    }
    connection->transaction = NULL;
    if (TAILQ_EMPTY(&connection->fifo)) {
        transaction_returned(connection);
    } else {
        connection->returning = 1;
    }
}

static void
transaction_undo(void *arg)
{
    transaction_t *transaction = arg;
    connection_t *connection = transaction->connection;

    if (connection != NULL && transaction->state == OPEN
        && connection_usable(connection)) {
        call_t *call = transaction_call(connection, STATEMENT_ROLLBACK);

        if (connection->depth > 0) {
            pipeline_cancel(connection);
        }
        call->done = unwatched;
        pipeline_send(connection, call);
    }
    transaction_release(transaction);
}

void
db_begin(request_t *rq)
{
    transaction_t *transaction;
    call_t *call;

    assert(rq->transaction == NULL);
    call = call_new(CALL_ACQUIRE, NULL);
    call->group = &db.groups[GROUP_TRANSACTION];
    call_run_result(rq, call);

    transaction = arena_alloc(rq->arena, sizeof(*transaction));
    transaction->connection = call->connection;
    transaction->state = FRESH;
    transaction->connection->transaction = transaction;
    transaction->cleanup = arena_cleanup(rq->arena, transaction_undo,
                                         transaction);
    rq->transaction = transaction;
    call_free(call);
}

__attribute__((noreturn))
static void
raise_lost(request_t *rq)
{
    rq_raise(rq, 503, "database_unavailable",
             "the database connection was lost, nothing was changed");
}

void
transaction_enter(request_t *rq, call_t *call)
{
    transaction_t *transaction = rq->transaction;
    connection_t *connection = transaction->connection;

    if (connection == NULL || !connection_usable(connection)) {
        call_free(call);
        raise_lost(rq);
    }
    call->group = connection->group;
    call->connection = connection;
    if (transaction->state == FRESH && call->kind == CALL_EXECUTE) {
        call_t *begin = transaction_call(connection, STATEMENT_BEGIN);

        begin->done = unwatched;
        pipeline_send_ahead(connection, begin);
        transaction->state = OPEN;
    }
}

static void
transaction_commit(request_t *rq, transaction_t *transaction)
{
    connection_t *connection = transaction->connection;
    const db_result_t *result;
    call_t *call;
    PGresult *pg;

    if (connection == NULL || !connection_usable(connection)) {
        raise_lost(rq);
    }
    /* Here, where it can still be rolled back. */
    if (fiber_cancelled(fiber_self())) {
        rq_raise_cancelled(rq);
    }
    fault_point("before_commit");
    call = transaction_call(connection, STATEMENT_COMMIT);
    transaction->state = COMMITTING;
    call_run_result(rq, call);
    pg = call->result;
    call->result = NULL;
    call_free(call);

    result = result_new(rq->arena, pg, NULL);
    if (PQresultStatus(pg) != PGRES_COMMAND_OK) {
        if (result_violation(PQresultErrorField(pg, PG_DIAG_SQLSTATE))
            != DB_OK) {
            rq_raise(rq, 409, "conflict",
                     "the change conflicts with the state of the resource");
        }
        raise_error(rq, "commit", result->pg);
    }
    /* What the server makes of a transaction with a failed statement. */
    if (strcmp(PQcmdStatus(pg), "COMMIT") != 0) {
        rq_raise(rq, 409, "conflict", "a part of the change was refused");
    }
}

static void
transaction_forget(request_t *rq)
{
    transaction_t *transaction = rq->transaction;

    arena_cleanup_cancel(transaction->cleanup);
    rq->transaction = NULL;
}

void
db_commit(request_t *rq)
{
    transaction_t *transaction = rq->transaction;

    assert(transaction != NULL);
    if (transaction->state != FRESH) {
        transaction_commit(rq, transaction);
        fault_point("after_commit");
    }
    transaction_release(transaction);
    transaction_forget(rq);
    events_committed(rq);
}

void
db_rollback(request_t *rq)
{
    if (rq->transaction != NULL) {
        transaction_undo(rq->transaction);
        transaction_forget(rq);
        events_forgotten(rq);
    }
}

/* ---- with a function ---- */

#define TRIES 4

typedef struct {
    void (*fn)(request_t *rq, void *arg);
    void *arg;
} alone_t;

static void
transact_alone(request_t *rq, void *arg)
{
    alone_t *alone = arg;

    db_begin(rq);
    alone->fn(rq, alone->arg);
    db_commit(rq);
}

/* 503: nothing has changed (a deadlock, a connection lost before the
 * commit). */
void
db_transact(request_t *rq, void (*fn)(request_t *rq, void *arg), void *arg)
{
    alone_t alone = { fn, arg };
    int tries = 0, status;

    if (rq->transaction != NULL) {
        fn(rq, arg);
        return;
    }
    while ((status = rq_try(rq, transact_alone, &alone)) != 0) {
        db_rollback(rq);
        if (status != 503 || ++tries == TRIES) {
            rq_reraise(rq);
        }
    }
}
