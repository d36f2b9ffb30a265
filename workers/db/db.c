/* db.c: the face of the layer: running statements, and its life. */

#include "internal.h"

#include "workers/runtime/fault.h"
#include "workers/runtime/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WATCH_MS 100
#define READ_DEPTH 64
#define INSERT_DEPTH 64
#define WRITE_DEPTH 1

db_t db;

static uv_timer_t watch;
static void (*change_fn)(void);
static void (*stopped_fn)(void *arg);
static void *stopped_arg;

/* ---- failing ---- */

__attribute__((noreturn))
static void
raise_outcome(request_t *rq, outcome_t outcome)
{
    if (outcome == OUTCOME_UNKNOWN) {
        rq_raise(rq, 502, "outcome_unknown", "the database was lost while"
                 " the change was made: it may or may not have happened");
    }
    rq_raise(rq, 503, "database_unavailable",
             outcome == OUTCOME_ABORTED
             ? "the transaction was lost, nothing was changed"
             : "the database cannot be reached");
}

void
raise_error(request_t *rq, const char *label, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (state == NULL) {
        state = "";
    }
    if (strcmp(state, "57014") == 0 || strcmp(state, "55P03") == 0) {
        log_warn("statement %.200s ended by time-out: %s", label, state);
        rq_raise(rq, 504, "deadline_exceeded",
                 "the database did not finish within its time");
    }
    log_error("statement %.200s failed: %s %s", label, state,
              text == NULL ? "" : text);
    /* Out of connections, memory or disk; a deadlock within a transaction;
     * a plan of another schema: later it may work. */
    if (strncmp(state, "53", 2) == 0 || strncmp(state, "40", 2) == 0
        || strncmp(state, "57P", 3) == 0 || strcmp(state, "0A000") == 0) {
        rq_raise(rq, 503, "database_unavailable",
                 "the database cannot do this now");
    }
    rq_raise(rq, 500, "database_error", "the database refused a statement");
}

void
call_run_result(request_t *rq, call_t *call)
{
    outcome_t outcome;

    call_run(rq, call);
    outcome = call->outcome;
    if (outcome != OUTCOME_RESULT) {
        call_free(call);
        raise_outcome(rq, outcome);
    }
}

/* ---- running ---- */

/* Where it goes: the request's transaction, or a lane of that kind. */
static void
call_route(request_t *rq, call_t *call, lane_t lane)
{
    static const int groups[] = {
        [LANE_WRITE] = GROUP_WRITE,
        [LANE_READ] = GROUP_READ,
        [LANE_INSERT] = GROUP_INSERT
    };

    if (rq->transaction != NULL) {
        transaction_enter(rq, call);
        return;
    }
    call->read = lane == LANE_READ;
    call->group = &db.groups[groups[lane]];
}

/* The first use of a statement in this process. */
static void
describe(request_t *rq, statement_t *statement)
{
    call_t *call = call_new(CALL_DESCRIBE, statement);
    const char *label = statement->label;
    PGresult *pg;
    char why[256];

    call->alone = rq->transaction == NULL;
    call_route(rq, call, LANE_READ);
    call_run_result(rq, call);
    pg = call->result;
    call->result = NULL;
    if (PQresultStatus(pg) != PGRES_COMMAND_OK) {
        call_free(call);
        result_new(rq->arena, pg, NULL);
        raise_error(rq, label, pg);
    }
    if (statement_describe(statement, pg, why, sizeof(why)) != 0) {
        call_free(call);
        PQclear(pg);
        log_error("statement %.200s: %s", label, why);
        rq_raise(rq, 500, "database_error", "a statement does not fit");
    }
    call_free(call);
    PQclear(pg);
}

static db_result_t *
refused_result(request_t *rq, db_violation_t violation, PGresult *pg,
    const char *message, const char *constraint)
{
    db_result_t *result = result_new(rq->arena, pg, NULL);

    result->violation = violation;
    result->message = message == NULL ? "" : message;
    result->constraint = constraint == NULL ? "" : constraint;
    return result;
}

/* Takes the call. */
static const db_result_t *
result_of(request_t *rq, call_t *call)
{
    statement_t *statement = call->statement;
    const char *label = statement->label, *state;
    PGresult *pg = call->result;
    ExecStatusType status = PQresultStatus(pg);
    db_violation_t violation;
    shape_t *shape;
    char why[256];

    call->result = NULL;
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        shape = statement_shape(statement, pg, why, sizeof(why));
        call_free(call);
        if (shape != NULL) {
            return result_new(rq->arena, pg, shape);
        }
        PQclear(pg);
        log_error("statement %.200s: %s", label, why);
        rq_raise(rq, 500, "database_error", "a statement does not fit");
    }
    call_free(call);
    state = PQresultErrorField(pg, PG_DIAG_SQLSTATE);
    violation = result_violation(state == NULL ? "" : state);
    if (violation == DB_OK) {
        result_new(rq->arena, pg, NULL);
        raise_error(rq, label, pg);
    }
    return refused_result(rq, violation, pg,
                          PQresultErrorField(pg, PG_DIAG_MESSAGE_PRIMARY),
                          PQresultErrorField(pg, PG_DIAG_CONSTRAINT_NAME));
}

static const db_result_t *
execute(request_t *rq, statement_t *statement, lane_t lane,
    const value_t *values, size_t count)
{
    int changes = lane != LANE_READ && rq->transaction == NULL;
    call_t *call;
    char why[256];
    int rc;

    if (!statement->described) {
        describe(rq, statement);
    }
    call = call_new(CALL_EXECUTE, statement);
    rc = parameters_encode(rq->arena, statement, values, count, call, why,
                           sizeof(why));
    if (rc != 0) {
        call_free(call);
        if (rc > 0) {
            return refused_result(rq, DB_CHECK, NULL, "integer out of range",
                                  NULL);
        }
        log_error("statement %.200s: %s", statement->label, why);
        rq_raise(rq, 500, "database_error", "a statement does not fit");
    }
    if (changes) {
        fault_point("before_commit");
    }
    call_route(rq, call, lane);
    call_run_result(rq, call);
    if (changes) {
        fault_point("after_commit");
    }
    return result_of(rq, call);
}

const db_result_t *
db_exec_values(request_t *rq, query_id_t query, const value_t *values,
    size_t count)
{
    const query_t *named = &db.config.statements[query];

    return execute(rq, statement_named((unsigned) query), named->lane, values,
                   count);
}

const db_result_t *
db_exec_text(request_t *rq, slice_t text, lane_t lane, const value_t *values,
    size_t count)
{
    statement_t *statement = statement_composed(text);

    if (statement == NULL) {
        rq_raise(rq, 503, "database_busy",
                 "too many different statements are running");
    }
    return execute(rq, statement, lane, values, count);
}

/* ---- looking after what waits ---- */

static void
watch_expired(uv_timer_t *timer)
{
    uint64_t now = uv_now(db.loop);
    int more = 0;
    unsigned i, k;

    for (i = 0; i < GROUPS; i++) {
        group_t *group = &db.groups[i];

        more |= lane_sweep(group, now);
        for (k = 0; k < group->count; k++) {
            more |= pipeline_sweep(&group->connections[k], now);
        }
    }
    if (!more) {
        uv_timer_stop(timer);
    }
}

void
db_watch(void)
{
    if (!db.stopping && !uv_is_active((uv_handle_t *) &watch)) {
        uv_timer_start(&watch, watch_expired, WATCH_MS, WATCH_MS);
    }
}

/* ---- facts ---- */

void
db_facts(db_facts_t *out)
{
    const group_t *groups = db.groups;
    const char *version = "";

    memset(out, 0, sizeof(*out));
    if (!db.running) {
        return;
    }
    out->read_lanes_up = groups[GROUP_READ].up;
    out->write_lanes_up = groups[GROUP_WRITE].up;
    out->insert_lanes_up = groups[GROUP_INSERT].up;
    out->transactions_up = groups[GROUP_TRANSACTION].up;
    out->reachable = out->read_lanes_up > 0 && out->write_lanes_up > 0;
    out->version_ok = schema_fits(&version);
    snprintf(out->version, sizeof(out->version), "%s", version);
    out->waiting = groups[GROUP_READ].nwaiting + groups[GROUP_WRITE].nwaiting
        + groups[GROUP_INSERT].nwaiting + groups[GROUP_TRANSACTION].nwaiting;
    out->statements = db.statements;
    out->resent = db.resent;
    out->reconnects = db.reconnects;
}

void
db_on_change(void (*fn)(void))
{
    change_fn = fn;
}

void
db_changed(void)
{
    static int reachable, version_ok;
    db_facts_t facts;

    db_facts(&facts);
    if (facts.reachable == reachable && facts.version_ok == version_ok) {
        return;
    }
    if (facts.reachable != reachable && !db.stopping) {
        log_info("database is %s", facts.reachable ? "reachable"
                 : "not reachable");
    }
    reachable = facts.reachable;
    version_ok = facts.version_ok;
    if (change_fn != NULL) {
        change_fn();
    }
}

/* ---- life ---- */

static int
valid_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return len > 0 && len < 64 && name[len] == '\0';
}

static void
group_init(group_t *group, const char *name, unsigned count, unsigned depth)
{
    unsigned i;

    memset(group, 0, sizeof(*group));
    group->name = name;
    group->count = count == 0 ? 1 : count;
    group->depth_max = depth;
    group->shared = depth > 1;
    TAILQ_INIT(&group->waiting);
    group->connections = calloc(group->count, sizeof(connection_t));
    if (group->connections == NULL) {
        abort();
    }
    for (i = 0; i < group->count; i++) {
        connection_init(&group->connections[i], group);
    }
}

int
db_start(uv_loop_t *loop, const db_config_t *config)
{
    unsigned i;

    if (db.running || config->conninfo == NULL
        || config->cell_schema == NULL || !valid_name(config->cell_schema)) {
        return UV_EINVAL;
    }
    memset(&db, 0, sizeof(db));
    db.loop = loop;
    db.config = *config;
    if (db.config.statements == NULL) {
        db.config.statements = queries;
        db.config.nstatements = QUERIES;
    }
    if (statements_init(db.config.statements, db.config.nstatements) != 0) {
        return UV_ENOMEM;
    }
    uv_timer_init(loop, &watch);
    connections_init();
    schema_start(loop, config->schema_version);
    group_init(&db.groups[GROUP_READ], "read", config->read_lanes,
               READ_DEPTH);
    group_init(&db.groups[GROUP_WRITE], "write", config->write_lanes,
               WRITE_DEPTH);
    group_init(&db.groups[GROUP_INSERT], "insert", config->insert_lanes,
               INSERT_DEPTH);
    group_init(&db.groups[GROUP_TRANSACTION], "transaction",
               config->transactions, 1);
    db.running = 1;
    for (i = 0; i < GROUPS; i++) {
        connection_start(&db.groups[i].connections[0]);
    }
    return 0;
}

static void
db_free(uv_handle_t *handle)
{
    unsigned i, k;

    (void) handle;
    for (i = 0; i < GROUPS; i++) {
        for (k = 0; k < db.groups[i].count; k++) {
            connection_free(&db.groups[i].connections[k]);
        }
        free(db.groups[i].connections);
    }
    statements_free();
    calls_free_spare();
    db.running = 0;
    if (stopped_fn != NULL) {
        stopped_fn(stopped_arg);
    }
}

/* The timer goes last, when no handle, thread or fiber has anything of us. */
void
db_closed(void)
{
    if (db.stopping && db.closing == 0 && db.calls == 0
        && !uv_is_closing((uv_handle_t *) &watch)) {
        uv_close((uv_handle_t *) &watch, db_free);
    }
}

void
db_stop(void (*done)(void *arg), void *arg)
{
    unsigned i, k;

    stopped_fn = done;
    stopped_arg = arg;
    db.stopping = 1;
    for (i = 0; i < GROUPS; i++) {
        lane_fail_waiting(&db.groups[i]);
        for (k = 0; k < db.groups[i].count; k++) {
            connection_stop(&db.groups[i].connections[k]);
        }
    }
    schema_stop();
    connections_close();
    db_closed();
}
