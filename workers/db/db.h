/* db.h: the face of the database layer.
 *
 * Statements live in sql/queries/ (*.sql), one name each:
 *
 *     -- name: project_get (read)
 *     -- Project $1 for viewer $2. No row: absent or not theirs.
 *     select ...
 *
 * and become Q_PROJECT_GET. "(read)" promises that it changes and locks
 * nothing: it travels in the read lanes (grouped, one sync per loop turn,
 * re-sent by itself when a neighbour's failure aborts it). "(insert)" promises
 * that it only makes rows under ids that are new, and locks nothing but what
 * foreign keys share: those of one turn commit together in an insert lane,
 * answered after the commit; when one fails, each is run again alone. All
 * others go to a write lane, alone in their own transaction. Parameters and results are
 * binary; a statement casts each parameter ($1::uuid). Every statement is
 * prepared at start against the live schema (by the first process of many),
 * so a binary that does not fit its database does not start.
 *
 * All calls below suspend the calling fiber and raise on failure:
 *   503 "database_unavailable" (Retry-After)  no connection, or it broke
 *       before the statement can have run; reads are retried once first
 *   503 "database_busy"        the lane's bounded queue is full
 *   502 "outcome_unknown"      a write whose connection broke: it may have
 *       committed
 *   504 "deadline_exceeded"    statement or lock time-out, or the request's
 * Violated constraints do not raise: db_exec returns them in the result
 * (db_result_t.violation) for the caller to put in its own words; a caller
 * that does not look gets 409 "conflict" from db_row and db_rows. */

#ifndef HIVE_DB_H
#define HIVE_DB_H

#include "queries.h" /* generated: query_id_t, Q_... */

#include "workers/runtime/request.h"

/* ---- results: rows in the request's arena ---- */

typedef enum {
    DB_BOOL, DB_INT, DB_FLOAT, DB_TEXT, DB_UUID, DB_TIME, DB_JSON, DB_BYTES,
    DB_TEXTS
} db_type_t;

typedef struct {
    const char *name;
    db_type_t type;
    uint32_t oid;
    slice_t key;               /* `,"name":` for json.c; empty: not written */
} db_column_t;

typedef enum {
    DB_OK,
    DB_UNIQUE,        /* 23505 */
    DB_FOREIGN_KEY,   /* 23503 */
    DB_CHECK,         /* 23514, 23502, 22xxx */
    DB_REFUSED        /* raised by a guard: class 'HV' or P0001 */
} db_violation_t;

typedef struct db_result_s db_result_t;
typedef struct db_row_s db_row_t;

struct db_result_s {
    int ncolumns;
    const db_column_t *columns;
    int nrows;
    db_violation_t violation;
    const char *constraint;    /* its name, "" when unknown */
    const char *message;
    void *pg;                  /* the PGresult, cleared with the arena */
};

struct db_row_s {
    const db_result_t *result;
    int index;
};

/* ---- calling ---- */

#define DB_COUNT(...) (sizeof((value_t[]) { __VA_ARGS__ }) / sizeof(value_t))

/* Any statement; never NULL. Inside a transaction (rq->transaction) all
 * calls use its connection. */
const db_result_t *db_exec_values(request_t *rq, query_id_t query,
    const value_t *values, size_t count);
#define db_exec(rq, query, ...)                                               \
    db_exec_values(rq, query, (value_t[]) { __VA_ARGS__ },                    \
        DB_COUNT(__VA_ARGS__))

/* The rows, or a raise on violation. */
#define db_rows(rq, query, ...) \
    db_expect_rows(rq, db_exec(rq, query, __VA_ARGS__))
/* The first row, or NULL when there is none. */
#define db_row(rq, query, ...) \
    db_first_row(rq, db_exec(rq, query, __VA_ARGS__))

const db_result_t *db_expect_rows(request_t *rq, const db_result_t *result);
const db_row_t *db_first_row(request_t *rq, const db_result_t *result);

/* Composed SQL, for the resource engine only (text from column tables, never
 * from input). `text` identifies the statement: it is prepared once per
 * connection and kept (bounded, least recently used goes). */
const db_result_t *db_exec_text(request_t *rq, slice_t text, lane_t lane,
    const value_t *values, size_t count);

/* ---- transactions: a connection of their own from the pool ---- */

void db_begin(request_t *rq);
void db_commit(request_t *rq);     /* raises 502 when the outcome is unknown */
void db_rollback(request_t *rq);   /* also done by the arena on any raise */

/* Runs fn(rq, arg) in the request's transaction, or in one of its own: that is
 * tried again, with all of fn, after a deadlock. */
void db_transact(request_t *rq, void (*fn)(request_t *rq, void *arg),
    void *arg);

/* Gives the memory of a result back before the arena does: it has no rows any
 * more, and what pointed into it is gone. For requests that last. */
void db_release(const db_result_t *result);

/* ---- reading rows ---- */

db_row_t db_row_at(const db_result_t *result, int index);
int db_column(const db_result_t *result, const char *name); /* -1: none */
int db_is_null(const db_row_t *row, int column);
/* By column name; asserts that it exists and has the type. NULL reads as 0,
 * "", the zero uuid. Text points into the result. */
int64_t db_int(const db_row_t *row, const char *column);
int db_bool(const db_row_t *row, const char *column);
slice_t db_text(const db_row_t *row, const char *column);
hive_uuid_t db_uuid(const db_row_t *row, const char *column);
int64_t db_time(const db_row_t *row, const char *column); /* us since 1970 */

/* ---- JSON from rows, by column name and type ----
 * uuid and text as strings, int8 as number, timestamptz as RFC 3339 UTC with
 * microseconds trimmed of trailing zeros to at least milliseconds, jsonb
 * passed through, null as null. Columns whose name begins with "_" are not
 * written (etags, offsets, event data). */
void db_json_row(buf_t *out, const db_row_t *row);
void db_json_rows(buf_t *out, const db_result_t *result); /* [..] */
void json_put_string(buf_t *out, slice_t text);           /* quoted, escaped */
void json_put_time(buf_t *out, int64_t microseconds);
void json_put_value(buf_t *out, const value_t *value);   /* not all arrays */
/* Compact; numbers as short as reads back the same. Recurses by level. */
void json_put_document(buf_t *out, const json_t *json);

/* Replies with one row; sets ETag from column "_etag" or "version". */
void db_reply_row(request_t *rq, int status, const db_row_t *row);

/* ---- life ---- */

typedef struct {
    const char *conninfo;
    const char *cell_schema;    /* "cell0": search_path is it, then hive */
    unsigned read_lanes;        /* 2 */
    unsigned write_lanes;       /* 8 */
    unsigned insert_lanes;      /* 2 */
    unsigned transactions;      /* 4 connections */
    unsigned queue_max;         /* waiting statements per lane group */
    unsigned statement_timeout_ms;
    unsigned lock_timeout_ms;
    const char *schema_version; /* newest change of sqitch.plan (its name);
                                   NULL: any schema will do */
    /* Shared by processes of one binary, which are not all to check what one
     * has found to fit: which database and version that was. 0: none; NULL:
     * each checks for itself. */
    _Atomic uint64_t *checked;
    /* Named statements other than the compiled ones (tests); NULL: those. */
    const query_t *statements;
    unsigned nstatements;
} db_config_t;

/* Starts connecting in the background; needs a running loop and scheduler. */
int db_start(uv_loop_t *loop, const db_config_t *config);
void db_stop(void (*done)(void *arg), void *arg);

typedef struct {
    int reachable;              /* at least one read and one write lane up */
    int version_ok;
    char version[64];           /* deployed, as sqitch has it */
    unsigned read_lanes_up, write_lanes_up, insert_lanes_up, transactions_up;
    unsigned waiting;
    uint64_t statements, resent, reconnects;
} db_facts_t;

void db_facts(db_facts_t *out);

/* Called from the loop whenever reachable or version_ok changes. */
void db_on_change(void (*fn)(void));

#endif
