/* pipeline.c: calls on one connection in pipeline mode.
 *
 * Results come in the order of sending, so the head of the FIFO is whose
 * result it is. Per statement libpq gives its result, then NULL; per sync
 * one PGRES_PIPELINE_SYNC without NULL (model:
 * src/test/modules/libpq_pipeline of PostgreSQL).
 *
 * When a read is answered: at its NULL. When a write is: at the sync behind
 * it, for that is where its transaction commits, and where a deferred
 * constraint or a lost server can still undo it.
 *
 * Between two syncs the first failure aborts the rest unexecuted; those are
 * sent again. In an insert lane it also undoes what ran before it, so all but
 * the one that failed are sent again, each alone. A statement is prepared on a connection right in front of its
 * first use; when that fails the failure is the answer of the call that
 * wanted it, and everyone else who counted on it is sent again. */

#include "internal.h"

#include <stdio.h>

static void
fifo_push(connection_t *connection, call_t *call)
{
    if (TAILQ_EMPTY(&connection->fifo)) {
        connection->group_since = uv_now(db.loop);
    }
    call->sequence = ++connection->sequence;
    TAILQ_INSERT_TAIL(&connection->fifo, call, link);
}

static call_t *
fifo_pop(connection_t *connection)
{
    call_t *call = TAILQ_FIRST(&connection->fifo);

    TAILQ_REMOVE(&connection->fifo, call, link);
    return call;
}

static const char *
sqlstate_of(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return state == NULL ? "" : state;
}

static int
failed(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK;
}

/* The server's last words on a connection (shutdown, most of all): said in
 * answer to a statement, it has not run. The warning at a crash is none: what
 * was running then may have committed. */
int
result_is_farewell(const PGresult *result)
{
    const char *severity =
        PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    return severity != NULL && (strcmp(severity, "FATAL") == 0
                                || strcmp(severity, "PANIC") == 0);
}

/* ---- sending ---- */

static void
send_failed(connection_t *connection)
{
    connection_fail(connection, "%s", PQerrorMessage(connection->pg));
}

/* What an earlier generation left under its name goes first. */
static void
send_prepare(connection_t *connection, call_t *cause)
{
    statement_t *statement = cause->statement;
    unsigned *have = &connection->prepared[statement->slot];
    call_t *call;

    if (*have != 0) {
        char text[64];

        snprintf(text, sizeof(text), "deallocate s%u_%u", statement->slot,
                 *have);
        fifo_push(connection, call_new(CALL_DEALLOCATE, statement));
        if (!PQsendQueryParams(connection->pg, text, 0, NULL, NULL, NULL,
                               NULL, 1)) {
            send_failed(connection);
        }
    }
    call = call_new(CALL_PREPARE, statement);
    call->generation = statement->generation;
    call->cause = cause;
    fifo_push(connection, call);
    if (!PQsendPrepare(connection->pg, statement->name, statement->text, 0,
                       NULL)) {
        send_failed(connection);
    }
    *have = statement->generation;
}

void
pipeline_send_ahead(connection_t *connection, call_t *call)
{
    /* All parameters are binary. */
    static const int formats[PARAMETERS_MAX] = {
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
    };
    statement_t *statement = call->statement;
    int sent;

    if (connection->prepared[statement->slot] != statement->generation) {
        send_prepare(connection, call);
    }
    call->generation = statement->generation;
    fifo_push(connection, call);
    connection->depth++;
    connection->unsynced++;
    if (call->kind == CALL_DESCRIBE) {
        sent = PQsendDescribePrepared(connection->pg, statement->name);
    } else {
        db.statements++;
        sent = PQsendQueryPrepared(connection->pg, statement->name,
                                   call->nparams, call->values,
                                   call->lengths, formats, 1);
    }
    if (!sent) {
        send_failed(connection);
    }
    connection_mark(connection);
}

void
pipeline_sync(connection_t *connection)
{
    call_t *call;

    /* Of reads nobody asks. */
    if (connection->group != &db.groups[GROUP_READ]) {
        TAILQ_FOREACH_REVERSE(call, &connection->fifo, call_list_s, link) {
            if (call->kind == CALL_SYNC) {
                break;
            }
            call->synced = 1;
        }
    }
    fifo_push(connection, call_new(CALL_SYNC, NULL));
    connection->unsynced = 0;
    if (!PQpipelineSync(connection->pg)) {
        send_failed(connection);
    }
    connection_mark(connection);
}

void
pipeline_send(connection_t *connection, call_t *call)
{
    if (call->alone && connection->unsynced > 0) {
        pipeline_sync(connection);
    }
    pipeline_send_ahead(connection, call);
    if (call->alone || !connection->group->shared) {
        pipeline_sync(connection);
    }
}

/* ---- receiving ---- */

/* Errors after which the statement has not run, or has been undone, and may
 * run when it is sent again. */
static int
may_repeat(connection_t *connection, call_t *call)
{
    const char *state = sqlstate_of(call->result);
    statement_t *statement = call->statement;

    if (result_is_farewell(call->result)) {
        return call->attempts < 2;
    }
    /* A cancel that was meant for the one before it. */
    if (strcmp(state, "57014") == 0) {
        return call->sequence <= connection->cancel_until
            && call->attempts < 4;
    }
    /* Its name is not known there; or is already. */
    if (strcmp(state, "26000") == 0) {
        connection->prepared[statement->slot] = 0;
        return call->attempts < 4;
    }
    if (strcmp(state, "42P05") == 0) {
        statement_renew(statement);
        return call->attempts < 2;
    }
    /* Deadlock, serialization failure. */
    if (strcmp(state, "40P01") == 0 || strcmp(state, "40001") == 0) {
        return call->attempts < 4;
    }
    /* "cached plan must not change result type": the schema has changed. */
    if (strcmp(state, "0A000") == 0 && call->attempts < 2) {
        if (call->generation == statement->generation) {
            statement_renew(statement);
        }
        return 1;
    }
    return 0;
}

/* The call has all that it will get from this connection. */
static void
settle(connection_t *connection, call_t *call)
{
    connection->depth--;
    if (call->abandoned) {
        call_free(call);
    } else if (call->aborted && call->result == NULL) {
        if (call_in_transaction(call)) {
            call_finish(call, OUTCOME_ABORTED);
        } else {
            lane_resubmit(call);
        }
    } else if (!call_in_transaction(call) && failed(call->result)
               && may_repeat(connection, call)) {
        lane_resubmit(call);
    } else {
        call_finish(call, OUTCOME_RESULT);
    }
}

static void
prepare_done(connection_t *connection, call_t *call)
{
    unsigned *have = &connection->prepared[call->statement->slot];

    if (!call->aborted && !failed(call->result)) {
        return;
    }
    if (*have == call->generation) {
        *have = 0;
    }
    /* The cause is aborted by this and still behind it. */
    if (!call->aborted) {
        call->cause->result = call->result;
        call->result = NULL;
    }
}

/* NULL from libpq: the statement at the head has said all. */
static void
statement_end(connection_t *connection)
{
    call_t *call = fifo_pop(connection);

    switch (call->kind) {
    case CALL_PREPARE:
        prepare_done(connection, call);
        call_free(call);
        break;
    case CALL_EXECUTE:
    case CALL_DESCRIBE:
        if (connection->group == &db.groups[GROUP_READ]) {
            settle(connection, call);
        } else {
            TAILQ_INSERT_TAIL(&connection->held, call, link);
        }
        break;
    default:
        call_free(call);
    }
}

/* A failure between a statement and the end of its sync: at commit. Takes
 * the result. */
static void
commit_failed(connection_t *connection, PGresult *result)
{
    call_t *call = TAILQ_LAST(&connection->held, call_list_s);

    if (result_is_farewell(result)) {
        /* It may have committed: as if there had been no last word. */
        connection->dying = 1;
    } else if (call != NULL && call->result != NULL
               && !failed(call->result)) {
        PQclear(call->result);
        call->result = result;
        /* Whose fault it is shows when each has a commit of its own. */
        if (TAILQ_FIRST(&connection->held) != call
            && !call_in_transaction(call)) {
            call->result = NULL;
            call->aborted = 1;
            PQclear(result);
        }
        return;
    }
    PQclear(result);
}

static int
undone(const call_t *call)
{
    return call->aborted || (call->result != NULL && failed(call->result));
}

/* Up to the first sync. */
static int
any_undone(const struct call_list_s *list)
{
    const call_t *call;

    TAILQ_FOREACH(call, list, link) {
        if (call->kind == CALL_SYNC) {
            break;
        }
        if (undone(call)) {
            return 1;
        }
    }
    return 0;
}

static void
undo(struct call_list_s *list)
{
    call_t *call;

    TAILQ_FOREACH(call, list, link) {
        if (call->kind == CALL_SYNC) {
            break;
        }
        if (!undone(call)) {
            PQclear(call->result);
            call->result = NULL;
            call->aborted = 1;
        }
    }
}

/* One of those that were to commit together has failed: the others have not
 * happened. */
static void
undo_neighbours(connection_t *connection)
{
    if (any_undone(&connection->held)) {
        undo(&connection->held);
    }
}

static void
sync_done(connection_t *connection)
{
    call_t *call;

    call_free(fifo_pop(connection));
    connection->group_since = uv_now(db.loop);
    connection->first_cancel_at = connection->cancelled_at = 0;
    if (connection->group == &db.groups[GROUP_INSERT]) {
        undo_neighbours(connection);
    }
    while ((call = TAILQ_FIRST(&connection->held)) != NULL) {
        TAILQ_REMOVE(&connection->held, call, link);
        settle(connection, call);
    }
    if (connection->returning && TAILQ_EMPTY(&connection->fifo)) {
        transaction_returned(connection);
    }
}

static void
result_arrived(connection_t *connection, PGresult *result)
{
    call_t *call = TAILQ_FIRST(&connection->fifo);

    /* Made up by libpq, which has lost the server. */
    if (PQresultStatus(result) == PGRES_FATAL_ERROR
        && *sqlstate_of(result) == '\0') {
        connection_fail(connection, "%s", PQresultErrorMessage(result));
        PQclear(result);
        return;
    }
    if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        PQclear(result);
        if (call->kind == CALL_SYNC) {
            sync_done(connection);
        } else {
            connection_fail(connection, "a sync that was not asked for");
        }
        return;
    }
    if (call->kind == CALL_SYNC) {
        commit_failed(connection, result);
        return;
    }
    call->answered = 1;
    if (PQresultStatus(result) == PGRES_PIPELINE_ABORTED) {
        call->aborted = 1;
        PQclear(result);
        return;
    }
    if (failed(result) && result_is_farewell(result)) {
        connection->dying = 1;
    }
    /* A second one can only be an error, which then stands. */
    PQclear(call->result);
    call->result = result;
}

void
pipeline_receive(connection_t *connection)
{
    int nulls = 0;                       /* that end nothing, in a row */

    /* PQisBusy parses what has come, notices too. */
    while (!PQisBusy(connection->pg) && !connection->failed
           && !TAILQ_EMPTY(&connection->fifo) && nulls < 3) {
        PGresult *result = PQgetResult(connection->pg);
        call_t *call = TAILQ_FIRST(&connection->fifo);

        if (result != NULL) {
            nulls = 0;
            result_arrived(connection, result);
        } else if (call->answered && call->kind != CALL_SYNC) {
            nulls = 0;
            statement_end(connection);
        } else {
            nulls++;
        }
    }
}

/* ---- the end of a connection with calls on it ---- */

/* Whether it cannot have run to its end there: it was refused (with the
 * server's last words, or before), or undone with another, or the last words
 * came before its turn, or its sync never left. */
static int
surely_not_run(const connection_t *connection, const call_t *call)
{
    if (!call->synced || undone(call)) {
        return 1;
    }
    return !call->answered && connection->dying;
}

static void
call_broken(connection_t *connection, call_t *call)
{
    if (call->abandoned || call->kind == CALL_PREPARE
        || call->kind == CALL_DEALLOCATE || call->kind == CALL_SYNC) {
        call_free(call);
    } else if (call_in_transaction(call)) {
        call_finish(call, call_is_commit(call)
                    && (!surely_not_run(connection, call) || call->answered)
                    ? OUTCOME_UNKNOWN : OUTCOME_UNAVAILABLE);
    } else if (call->read || surely_not_run(connection, call)) {
        if (call->attempts < 2) {
            lane_resubmit(call);
        } else {
            call_finish(call, OUTCOME_UNAVAILABLE);
        }
    } else {
        call_finish(call, OUTCOME_UNKNOWN);
    }
}

static void
break_list(connection_t *connection, struct call_list_s *list)
{
    call_t *call;

    while ((call = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, call, link);
        call_broken(connection, call);
    }
}

/* What is held and what is in the FIFO up to its first sync were to commit
 * together: no sync can make that happen once one of them has failed. */
static void
undo_broken(connection_t *connection)
{
    if (any_undone(&connection->held) || any_undone(&connection->fifo)) {
        undo(&connection->held);
        undo(&connection->fifo);
    }
}

void
pipeline_break(connection_t *connection)
{
    if (connection->group == &db.groups[GROUP_INSERT]) {
        undo_broken(connection);
    }
    connection->depth = 0;
    connection->unsynced = 0;
    connection->first_cancel_at = connection->cancelled_at = 0;
    break_list(connection, &connection->held);
    break_list(connection, &connection->fifo);
}
