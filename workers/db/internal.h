/* internal.h: the inside of db/. Handlers see db.h only.
 *
 * Four things, one file each:
 *
 *   statement   a named or composed SQL text, what its parameters and
 *               columns are, and under which name it is prepared
 *   call        one trip of a statement to the server and back; the fiber
 *               that asked waits for it, or has abandoned it
 *   connection  a libpq connection in pipeline mode with the FIFO of the
 *               calls that are on it
 *   lane group  some connections of one purpose and the bounded queue in
 *               front of them
 *
 * A call is in one place at a time: with its fiber (being made, or done), in
 * a group's queue, or in a connection's FIFO. A fiber that leaves marks its
 * call abandoned; whoever holds it then frees it.
 *
 * Only the loop's thread comes here, by callbacks of libuv or on fibers.
 * Callbacks wake fibers and never run them, so nothing below is entered
 * twice. A connection that fails is marked, and taken down in the prepare
 * hook of the same turn: no function finds its connection gone on return. */

#ifndef HIVE_DB_INTERNAL_H
#define HIVE_DB_INTERNAL_H

#include "db.h"

#include <libpq-fe.h>
#include <sys/queue.h>
#include <uv.h>

/* ---- statements ---- */

typedef struct {
    unsigned refs;
    int ncolumns;
    db_column_t columns[];
} shape_t;

typedef struct statement_s statement_t;
struct statement_s {
    const char *label;           /* for logs; never a value */
    char *text;
    size_t text_len;
    unsigned slot;               /* index in connection_t.prepared */
    unsigned generation;         /* of the name; 0: slot not in use */
    char name[28];               /* on the server: s<slot>_<generation> */
    int described;
    int nparams;
    uint32_t *params;            /* oids */
    shape_t *shape;              /* NULL until described or first run */
    unsigned calls;              /* that hold it: not to be evicted */
    uint64_t hash;
    statement_t *chain;          /* of composed ones with its bucket */
    TAILQ_ENTRY(statement_s) recent;
};

/* Statements of the layer itself, before the named ones. */
enum { STATEMENT_BEGIN, STATEMENT_COMMIT, STATEMENT_ROLLBACK,
    STATEMENT_VERSION, STATEMENTS_OWN };

int statements_init(const query_t *named, unsigned count);
void statements_free(void);
unsigned statements_slots(void);
statement_t *statement_own(unsigned which);
statement_t *statement_named(unsigned index);
unsigned statements_named(void);

/* Finds or makes a composed one; NULL when all slots are in use. */
statement_t *statement_composed(slice_t text);

/* Gives it a new name, so that every connection prepares it anew. */
void statement_renew(statement_t *statement);

/* Learns parameters and columns from a PQsendDescribePrepared result. 0, or
 * -1 with `why` when a type is not one of ours. */
int statement_describe(statement_t *statement, const PGresult *described,
    char *why, size_t size);

/* The shape of a result of it: the known one, or a new one when the schema
 * has changed. Returns a reference, or NULL with `why`. */
shape_t *statement_shape(statement_t *statement, const PGresult *result,
    char *why, size_t size);
void shape_release(shape_t *shape);

/* ---- calls ---- */

typedef enum {
    CALL_EXECUTE,
    CALL_DESCRIBE,               /* prepare if need be, then describe */
    CALL_ACQUIRE,                /* wait for a connection of one's own */
    CALL_PREPARE,                /* the last three are in FIFOs only */
    CALL_DEALLOCATE,
    CALL_SYNC
} call_kind_t;

typedef enum {
    OUTCOME_NONE,
    OUTCOME_RESULT,              /* call->result, good or bad */
    OUTCOME_UNAVAILABLE,         /* it has not run */
    OUTCOME_UNKNOWN,             /* it may have run */
    OUTCOME_ABORTED              /* an earlier one of its transaction failed */
} outcome_t;

typedef struct connection_s connection_t;
typedef struct group_s group_t;
typedef struct call_s call_t;

struct call_s {
    TAILQ_ENTRY(call_s) link;
    call_kind_t kind;
    outcome_t outcome;           /* set once: done */
    unsigned read : 1;
    unsigned alone : 1;          /* a sync of its own, where others share */
    unsigned abandoned : 1;
    unsigned synced : 1;         /* its sync was handed to the socket */
    unsigned queued : 1;
    unsigned answered : 1;       /* a result of it has arrived */
    unsigned aborted : 1;        /* not executed: one before it failed */
    unsigned attempts : 4;       /* times that it was sent again */
    fiber_t *fiber;              /* who waits, or NULL */
    void (*done)(call_t *call);  /* or: called on the loop, which then frees */
    void *arg;
    statement_t *statement;
    unsigned generation;         /* of the statement when it was sent */
    int nparams;
    const char *const *values;   /* the waiter's memory */
    const int *lengths;
    PGresult *result;
    group_t *group;
    connection_t *connection;    /* its own (transactions); NULL: any */
    call_t *cause;               /* of CALL_PREPARE: the first user */
    uint64_t sequence;           /* on its connection */
    uint64_t give_up;            /* loop time in ms; 0: no bound here */
};

TAILQ_HEAD(call_list_s, call_s);

call_t *call_new(call_kind_t kind, statement_t *statement);
void call_free(call_t *call);
void calls_free_spare(void);
void call_finish(call_t *call, outcome_t outcome);
/* Its fiber leaves: the call is freed by who holds it, at the latest. */
void call_abandon(call_t *call);

static inline int
call_in_transaction(const call_t *call)
{
    return call->connection != NULL;
}

int call_is_commit(const call_t *call);

/* ---- connections ---- */

typedef enum {
    CONNECTION_DOWN,             /* waits to try again */
    CONNECTION_CONNECTING,
    CONNECTION_UP
} connection_state_t;

struct connection_s {
    group_t *group;
    connection_state_t state;
    PGconn *pg;
    uv_poll_t *poll;
    int poll_events;
    uv_timer_t retry;            /* back-off, and the bound on connecting */
    unsigned backoff_ms;
    struct call_list_s fifo;     /* sent, in order */
    struct call_list_s held;     /* answered, not yet committed */
    unsigned depth;              /* execute and describe calls in both */
    unsigned unsynced;           /* of those, behind the last sync */
    unsigned incarnation;
    unsigned *prepared;          /* generation by slot; 0: not prepared */
    uint64_t sequence;
    uint64_t group_since;        /* loop time when the first group in the
                                    FIFO became the first */
    uint64_t cancel_until;       /* sequences that a cancel may have hit */
    uint64_t first_cancel_at;    /* of the first group; 0: none */
    uint64_t cancelled_at;       /* last */
    int cancelling;
    uint64_t connected_at;
    int flushing;                /* bytes wait for the socket */
    int dirty;                   /* in the list of the prepare hook */
    int failed;                  /* to be taken down there */
    int dying;                   /* the server has said that it ends it */
    char why[256];
    TAILQ_ENTRY(connection_s) dirty_link;
    struct transaction_s *transaction; /* that has it */
    int leased;                  /* with a transaction, or on its way back */
    int returning;               /* free again once the FIFO is empty */
};

/* Begins to connect (connect.c). Returns owned; NULL without memory. */
PGconn *connect_start(const group_t *group);
void connections_init(void);
void connections_close(void);
void connection_init(connection_t *connection, group_t *group);
void connection_start(connection_t *connection);
void connection_stop(connection_t *connection);
void connection_free(connection_t *connection);
/* Marks it; the prepare hook takes it down. */
void connection_fail(connection_t *connection, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Nonzero when it may be given calls. */
static inline int
connection_usable(const connection_t *connection)
{
    return connection->state == CONNECTION_UP && !connection->failed;
}
/* Looks at the socket: zero when the server has hung up (then it fails). */
int connection_alive(connection_t *connection);
/* The prepare hook: syncs, flushes and takes down what is marked. */
void connections_flush(void);
void connection_mark(connection_t *connection);

/* ---- the pipeline of one connection ---- */

/* Takes the call into the FIFO. A read without `alone` waits for the sync of
 * the turn; everything else is synced at once. */
void pipeline_send(connection_t *connection, call_t *call);
/* As pipeline_send without any sync: the next call brings it. */
void pipeline_send_ahead(connection_t *connection, call_t *call);
void pipeline_sync(connection_t *connection);
/* Everything that has arrived. */
void pipeline_receive(connection_t *connection);
/* The connection is gone: what was on it waits, or is answered. */
void pipeline_break(connection_t *connection);
/* Asks the server, on a thread, to stop what runs on it. */
void pipeline_cancel(connection_t *connection);
/* Cancels an abandoned call that has kept the others waiting; nonzero while
 * there are abandoned ones. */
int pipeline_sweep(connection_t *connection, uint64_t now);
int result_is_farewell(const PGresult *result);

/* ---- lanes ---- */

struct group_s {
    const char *name;
    connection_t *connections;
    unsigned count;
    unsigned up;
    unsigned depth_max;          /* calls on one connection */
    int shared;                  /* those of a turn share a sync */
    struct call_list_s waiting;
    unsigned nwaiting;
};

enum { GROUP_READ, GROUP_WRITE, GROUP_INSERT, GROUP_TRANSACTION, GROUPS };

/* On a connection at once, or into the queue (`first`: before the others).
 * -1: the queue is full; the call is still the caller's. */
int lane_submit(call_t *call);
void lane_resubmit(call_t *call);
/* Moves what waits to connections with room. */
void lane_dispatch(group_t *group);
/* Connections of it came up or went down. */
void lane_changed(group_t *group);
/* Answers calls that waited too long for a connection; nonzero when there
 * are more to look after. */
int lane_sweep(group_t *group, uint64_t now);
void lane_unqueue(call_t *call);
void lane_fail_waiting(group_t *group);

/* ---- transactions ---- */

/* Has the call run in the request's transaction, which it begins if it is
 * the first there. Raises when that is lost. */
void transaction_enter(request_t *rq, call_t *call);
/* Its connection is gone. */
void transaction_lost(connection_t *connection);
/* Rolled back or committed, nothing under way: into the pool again. */
void transaction_returned(connection_t *connection);

/* ---- the schema ---- */

void schema_start(uv_loop_t *loop, const char *expected);
void schema_stop(void);
/* A first read lane is up, or something says that the schema changed. */
void schema_check(void);
int schema_fits(const char **version);

/* ---- the whole ---- */

typedef struct {
    uv_loop_t *loop;
    db_config_t config;
    group_t groups[GROUPS];
    int running;
    int stopping;
    unsigned closing;            /* handles and threads to wait for */
    unsigned calls;              /* not in the free list */
    uint64_t statements, resent, reconnects;
} db_t;

extern db_t db;

/* Has the 100 ms timer run while there is something to look after. */
void db_watch(void);
void db_changed(void);
void db_closed(void);

/* ---- results and fields ---- */

/* Takes `pg`; both end with the arena. */
db_result_t *result_new(arena_t *arena, PGresult *pg, shape_t *shape);
/* Fills in the violation of an error result, or returns DB_OK. */
db_violation_t result_violation(const char *sqlstate);
int column_type(uint32_t oid, db_type_t *out);

/* Submits and waits until it is done; raises, with the call given up, when
 * cancelled or full. */
void call_run(request_t *rq, call_t *call);
/* As call_run, for what needs a result: raises (freeing the call) for every
 * other outcome. */
void call_run_result(request_t *rq, call_t *call);
/* Raises what an error result means; logs what nobody expected. */
__attribute__((noreturn))
void raise_error(request_t *rq, const char *label, const PGresult *result);

#define PARAMETERS_MAX 64

/* Encodes into the arena for the statement's types. 0; 1 when an integer is
 * too large for its type; -1 with `why` when they do not fit at all. */
int parameters_encode(arena_t *arena, const statement_t *statement,
    const value_t *values, size_t count, call_t *call, char *why,
    size_t size);

int64_t field_int(slice_t field);
double field_float(slice_t field);
int64_t field_time(slice_t field);
/* The text of a json or jsonb field. */
slice_t field_json(const db_column_t *column, slice_t field);

typedef struct {
    const char *pos;
    const char *end;
    size_t left;
} array_reader_t;

void array_reader_init(array_reader_t *reader, slice_t array);
/* 1 and an item, -1 for a null one, 0 at the end. */
int array_reader_next(array_reader_t *reader, slice_t *item);

/* ---- events ---- */

void events_committed(request_t *rq);
void events_forgotten(request_t *rq);

#endif
