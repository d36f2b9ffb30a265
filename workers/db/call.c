/* call.c: trips of statements to the server, and those who wait for them. */

#include "internal.h"

#include <stdlib.h>

#define SPARE_MAX 1024

static struct call_list_s spare = TAILQ_HEAD_INITIALIZER(spare);
static unsigned nspare;

call_t *
call_new(call_kind_t kind, statement_t *statement)
{
    call_t *call = TAILQ_FIRST(&spare);

    if (call != NULL) {
        TAILQ_REMOVE(&spare, call, link);
        nspare--;
    } else {
        call = malloc(sizeof(*call));
        if (call == NULL) {
            abort();
        }
    }
    memset(call, 0, sizeof(*call));
    call->kind = kind;
    call->statement = statement;
    if (statement != NULL) {
        statement->calls++;
    }
    db.calls++;
    return call;
}

void
call_free(call_t *call)
{
    PQclear(call->result);
    if (call->statement != NULL) {
        call->statement->calls--;
    }
    db.calls--;
    if (nspare < SPARE_MAX && !db.stopping) {
        TAILQ_INSERT_HEAD(&spare, call, link);
        nspare++;
        return;
    }
    free(call);
    if (db.stopping) {
        db_closed();
    }
}

void
calls_free_spare(void)
{
    call_t *call;

    while ((call = TAILQ_FIRST(&spare)) != NULL) {
        TAILQ_REMOVE(&spare, call, link);
        free(call);
    }
    nspare = 0;
}

void
call_finish(call_t *call, outcome_t outcome)
{
    call->outcome = outcome;
    if (call->done != NULL) {
        call->done(call);
        call_free(call);
    } else if (call->abandoned) {
        call_free(call);
    } else if (call->fiber != NULL) {
        fiber_wake(call->fiber);
    }
}

/* Freed at once when it still waits in a queue, else by its connection. */
void
call_abandon(call_t *call)
{
    call->fiber = NULL;
    call->abandoned = 1;
    if (call->queued) {
        lane_unqueue(call);
        call_free(call);
    } else {
        db_watch();
    }
}

int
call_is_commit(const call_t *call)
{
    return call->statement == statement_own(STATEMENT_COMMIT);
}

/* Whether it can change something when nobody waits for it any more; what
 * was done in a transaction without its commit is undone. */
static int
may_happen(const call_t *call)
{
    return !call->queued && !call->read
        && (!call_in_transaction(call) || call_is_commit(call));
}

void
call_run(request_t *rq, call_t *call)
{
    fiber_t *self = fiber_self();

    if (fiber_cancelled(self)) {
        call_free(call);
        rq_raise_cancelled(rq);
    }
    if (lane_submit(call) != 0) {
        call_free(call);
        rq_raise(rq, 503, "database_busy",
                 "too many statements wait for the database");
    }
    call->fiber = self;
    while (call->outcome == OUTCOME_NONE) {
        if (fiber_suspend("database") != 0
            && call->outcome == OUTCOME_NONE) {
            int change = may_happen(call);

            call_abandon(call);
            if (change) {
                rq_raise_cancelled_change(rq);
            }
            rq_raise_cancelled(rq);
        }
    }
}
