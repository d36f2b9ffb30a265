/* worker.c: one worker process: its loop, what runs on it, and the way of a
 * request from the server to its handler. */

#include "worker.h"

#include "workers/db/db.h"
#include "workers/db/idempotency.h"
#include "workers/db/resource.h"
#include "workers/identity/identity.h"
#include "workers/llm/llm.h"
#include "workers/realtime/realtime.h"
#include "workers/runtime/endpoint.h"
#include "workers/runtime/fault.h"
#include "workers/runtime/log.h"
#include "workers/runtime/server.h"
#include "workers/swarm/swarm.h"
#include "workers/work/work.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#define STACKS_KEPT  512
#define FIBERS_SPARE 64        /* for what is not a request */
#define ALIVE_MS     1000

static struct {
    const child_t *child;
    const settings_t *settings;
    uv_loop_t loop;
    fiber_sched_t *fibers;
    void *context;
    uv_signal_t on_term;
    uv_signal_t on_usr1;
    uv_timer_t alive;
    int ready;                 /* as last told to the supervisor */
    int draining;              /* server and engine, until both have ended */
} worker;

/* ---- from an operation to its handler ---- */

#define OP(name, method, path, access, limit, flags) \
    void op_##name(request_t *rq);
#include "common/operations.def"
#undef OP

static const handler_fn handlers[OPERATIONS] = {
#define OP(name, method, path, access, limit, flags) \
    [OPERATION_##name] = ((flags) & OP_NGINX) ? NULL : op_##name,
#include "common/operations.def"
#undef OP
};

/* nginx has decided all this already; a mistake there stops here. */
static void
check_access(request_t *rq)
{
    if (rq->op->access != ACCESS_OPEN && !rq->signed_in) {
        rq_reply_header(rq, "www-authenticate", SLICE("Bearer"));
        rq_raise(rq, 401, "token_missing", "this needs a signed-in user");
    }
    if (rq->op->access == ACCESS_ADMIN && !rq->superuser) {
        rq_raise(rq, 403, "forbidden", "this needs an administrator");
    }
    if (rq->body.len > operation_body_max(rq->op)) {
        rq_raise(rq, 413, "body_too_large",
            "the body has more than %zu bytes", operation_body_max(rq->op));
    }
}

static void
dispatch(request_t *rq)
{
    handler_fn handler = handlers[rq->operation];

    if (handler == NULL) {
        rq_raise(rq, 501, "operation_unknown",
            "this operation is answered by nginx");
    }

    check_access(rq);
    if (rq->op->method == METHOD_POST) {
        idempotency_run(rq, handler);
    } else {
        handler(rq);
    }
}

/* ---- what the beats say ---- */

static int
is_ready(void)
{
    db_facts_t db;

    db_facts(&db);
    return db.reachable && db.version_ok;
}

static void
put_database_facts(buf_t *out)
{
    db_facts_t db;

    db_facts(&db);
    buf_printf(out, "{\"reachable\":%s,\"schema_ok\":%s,\"schema\":",
        db.reachable ? "true" : "false", db.version_ok ? "true" : "false");
    json_put_string(out, (slice_t) { db.version, strlen(db.version) });
    buf_printf(out, ",\"read_lanes\":%u,\"write_lanes\":%u,"
        "\"insert_lanes\":%u,\"transactions\":%u,\"waiting\":%u,\"statements\":%" PRIu64
        ",\"resent\":%" PRIu64 ",\"reconnects\":%" PRIu64 "}",
        db.read_lanes_up, db.write_lanes_up, db.insert_lanes_up,
        db.transactions_up, db.waiting, db.statements, db.resent, db.reconnects);
}

static void
put_facts(buf_t *out)
{
    server_facts_t server;

    server_facts(&server);
    buf_printf(out, "{\"version\":\"%s\",\"fibers\":%u,\"requests\":%" PRIu64
        ",\"shed\":%" PRIu64 ",\"malformed\":%" PRIu64 ",\"lost\":%" PRIu64
        ",\"quarantined\":%" PRIu64 ",\"log_dropped\":%lu,\"database\":",
        HIVE_VERSION, fiber_live(worker.fibers), server.requests, server.shed,
        server.malformed, server.lost,
        quarantine_refused(worker.child->quarantine), log_dropped());
    put_database_facts(out);
    buf_putc(out, '}');
}

static void
on_database_change(void)
{
    int ready = is_ready();

    if (ready != worker.ready) {
        worker.ready = ready;
        child_report_ready(worker.child, ready);
        log_info("worker %u%c is %s", worker.child->slot,
            worker.child->side == 0 ? 'a' : 'b',
            ready ? "ready" : "not ready");
    }
    server_changed();
}

/* ---- stopping ---- */

static void
on_database_stopped(void *arg)
{
    (void) arg;
    uv_close((uv_handle_t *) &worker.on_term, NULL);
    uv_close((uv_handle_t *) &worker.on_usr1, NULL);
    uv_close((uv_handle_t *) &worker.alive, NULL);
}

/* The server or the engine. */
static void
on_drained(void *arg)
{
    (void) arg;
    if (--worker.draining > 0) {
        return;
    }
    events_stop();
    if (fiber_live(worker.fibers) > 0) {
        /* Some that will not end: nothing can be taken from under them. */
        _exit(1);
    }
    http_task_stop();
    llm_stop();
    db_stop(on_database_stopped, NULL);
}

static void
on_signal(uv_signal_t *handle, int signal_number)
{
    (void) handle;

    if (signal_number == SIGUSR1) {
        server_dump_fibers();
        return;
    }

    if (worker.draining == 0) {
        unsigned bound = worker.settings->worker.drain_timeout;

        worker.draining = 2;
        schedules_stop();
        retention_stop();
        presence_stop();
        llm_stop_jobs();
        swarm_stop();
        engine_stop(bound, on_drained, NULL);
        server_drain(bound, on_drained, NULL);
    }
}

/* ---- starting ---- */

static void
on_alive(uv_timer_t *timer)
{
    (void) timer;
    child_report_alive(worker.child);
}

static void
prepare_process(void)
{
    const settings_t *settings = worker.settings;
    log_level_t level = LOG_LEVEL_INFO;
    char threads[16];
    int rc;

    /* The terminal tells the supervisor, the supervisor tells us. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);

    log_level_parse(settings->log.level, &level);
    log_set_level(level);
    log_set_context(server_request_id);

    /* Hashing must not take the threads of name resolution. */
    snprintf(threads, sizeof(threads), "%u", settings->auth.hash_threads + 2);
    setenv("UV_THREADPOOL_SIZE", threads, 0);

    rc = quarantine_watch(worker.child->quarantine);
    if (rc == 0) {
        rc = fiber_crash_install();
    }
    if (rc != 0) {
        log_warn("installing the crash handlers failed: %s", strerror(-rc));
    }
}

/* The parts that need neither loop nor sockets. 0 or -1. */
static int
start_subjects(void)
{
    const settings_t *settings = worker.settings;
    identity_config_t identity = settings_identity(settings);
    llm_config_t models = settings_llm(settings);
    const char *why;

    if (fault_init(&why) != 0) {
        log_error("HIVE_FAULT refused: %s", why);
        return -1;
    }
    if (identity_start(&identity, &why) != 0) {
        log_error("starting sign-in failed: %s", why);
        return -1;
    }
    if (http_task_init(settings->tasks.http_allow, &why) != 0) {
        log_error("http_allow refused: %s", why);
        return -1;
    }

    if (llm_init(&models, &why) != 0) {
        log_error("starting the model layer failed: %s", why);
        return -1;
    }

    llm_kinds(settings->llm.slots);
    swarm_init(settings->llm.slots);
    resource_init(settings->worker.cell, settings->auth.key);
    idempotency_init(settings->auth.key);
    channels_init();
    return 0;
}

static engine_config_t
engine_config(void)
{
    const settings_t *settings = worker.settings;

    return (engine_config_t) {
        .loop = &worker.loop,
        .fibers = worker.fibers,
        .zmq_context = worker.context,
        .endpoint = settings->worker.endpoint,
        .slot = worker.child->slot,
        .side = worker.child->side,
        .processes = settings->worker.processes,
        .cell = settings->worker.cell,
        .events = settings->tasks.events,
        .slots = settings->tasks.slots,
        .http_slots = settings->tasks.http_slots,
        .claim_batch = settings->tasks.claim_batch,
        .cancel_grace_ms = settings->tasks.cancel_grace,
        .name = worker.child->name,
    };
}

static int
start_loop(void)
{
    engine_config_t tasks = engine_config();
    int rc = uv_loop_init(&worker.loop);

    if (rc != 0) {
        log_error("starting the loop failed: %s", uv_strerror(rc));
        return -1;
    }
    worker.fibers = fiber_sched_new(&worker.loop,
        worker.settings->worker.fibers + engine_fibers(&tasks) + FIBERS_SPARE,
        STACKS_KEPT);
    worker.context = zmq_ctx_new();
    if (worker.fibers == NULL || worker.context == NULL) {
        log_error("starting fibers and sockets failed: out of memory");
        return -1;
    }

    uv_signal_init(&worker.loop, &worker.on_term);
    uv_signal_start(&worker.on_term, on_signal, SIGTERM);
    uv_signal_init(&worker.loop, &worker.on_usr1);
    uv_signal_start(&worker.on_usr1, on_signal, SIGUSR1);
    uv_timer_init(&worker.loop, &worker.alive);
    uv_timer_start(&worker.alive, on_alive, ALIVE_MS, ALIVE_MS);
    return 0;
}

static int
start_database(void)
{
    const settings_t *settings = worker.settings;
    db_config_t config = {
        .conninfo = settings->database.conninfo,
        .cell_schema = settings->worker.cell_schema,
        .read_lanes = settings->database.read_lanes,
        .write_lanes = settings->database.write_lanes,
        .insert_lanes = settings->database.insert_lanes,
        .transactions = settings->database.transactions,
        .queue_max = settings->database.queue_max,
        .statement_timeout_ms = settings->database.statement_timeout,
        .lock_timeout_ms = settings->database.lock_timeout,
        .schema_version = DB_SCHEMA_CHANGE,
        .checked = worker.child->schema_checked,
    };
    int rc = db_start(&worker.loop, &config);

    if (rc != 0) {
        log_error("starting the database layer failed: %s", strerror(-rc));
        return -1;
    }

    db_on_change(on_database_change);
    return 0;
}

/* Failures are logged where they are. */
static int
start_sockets(void)
{
    const child_t *child = worker.child;
    const settings_t *settings = worker.settings;
    char requests[ENDPOINT_MAX], events[ENDPOINT_MAX];
    server_config_t config = {
        .loop = &worker.loop,
        .fibers = worker.fibers,
        .zmq_context = worker.context,
        .endpoint = requests,
        .in_flight_max = settings->worker.fibers,
        .quarantine = child->quarantine,
        .dispatch = dispatch,
        .ready = is_ready,
        .facts = put_facts,
    };

    endpoint_format(requests, settings->worker.endpoint, child->slot,
        child->side, ENDPOINT_REQUESTS);
    endpoint_format(events, settings->worker.endpoint, child->slot,
        child->side, ENDPOINT_EVENTS);
    if (endpoint_set_access(settings->worker.socket_mode,
            settings->worker.socket_group) != 0) {
        log_error("there is no group \"%s\"", settings->worker.socket_group);
        return -1;
    }

    return events_start(&worker.loop, worker.context, events) == 0
           && server_start(&config) == 0 ? 0 : -1;
}

static int
start_jobs(void)
{
    engine_config_t config = engine_config();
    int rc;

    enqueue_init(worker.settings->tasks.owner_max);
    rc = engine_start(&config);

    if (rc == 0) {
        rc = schedules_start(worker.fibers);
    }
    if (rc == 0) {
        rc = retention_start(worker.fibers,
            worker.settings->tasks.retention);
    }
    if (rc == 0) {
        rc = presence_start(worker.fibers);
    }
    if (rc == 0) {
        rc = llm_start(&worker.loop, worker.fibers);
    }
    if (rc == 0) {
        rc = swarm_start(worker.fibers);
    }
    if (rc != 0) {
        log_error("starting the jobs failed: %s", strerror(-rc));
        return -1;
    }
    return 0;
}

int
worker_run(const child_t *child, const settings_t *settings)
{
    memset(&worker, 0, sizeof(worker));
    worker.child = child;
    worker.settings = settings;

    prepare_process();
    if (start_subjects() != 0 || start_loop() != 0 || start_database() != 0
        || start_sockets() != 0 || start_jobs() != 0) {
        return 1;
    }
    child_report_up(child);

    uv_run(&worker.loop, UV_RUN_DEFAULT);

    fiber_sched_free(worker.fibers);
    uv_loop_close(&worker.loop);
    identity_stop();
    zmq_ctx_term(worker.context);
    return 0;
}
