/* server.h: requests from the nginx modules, replies back to them.
 *
 * One ROUTER socket on the loop. What one turn of the loop received is
 * decoded and each request given a fiber; what the fibers of a turn replied
 * leaves before the loop sleeps, one message per module. One server per
 * process. */

#ifndef HIVE_SERVER_H
#define HIVE_SERVER_H

#include "arena.h"
#include "fiber.h"
#include "quarantine.h"
#include "request.h"

typedef struct {
    uv_loop_t *loop;
    fiber_sched_t *fibers;        /* room for in_flight_max of them */
    void *zmq_context;
    const char *endpoint;
    unsigned in_flight_max;       /* above it: 503 "overloaded" at once */
    quarantine_t *quarantine;     /* may be NULL */
    handler_fn dispatch;          /* on the request's fiber, in its boundary */
    int (*ready)(void);           /* for the beats */
    void (*facts)(buf_t *out);    /* appends a JSON object, for the beats */
} server_config_t;

typedef struct {
    unsigned in_flight;
    unsigned modules;
    int draining;
    uint64_t requests;
    uint64_t shed;
    uint64_t malformed;           /* messages or requests */
    uint64_t lost;                /* replies whose module had gone */
} server_facts_t;

/* Binds and begins. The configuration is copied. 0 or negative errno. */
int server_start(const server_config_t *config);

/* Readiness or facts have changed: beat now. */
void server_changed(void);

void server_facts(server_facts_t *out);

/* Tells every module to send nothing new, serves what is in flight, and when
 * that has ended and every module that is alive has confirmed, or after
 * `bound_ms`, closes the socket (what it holds is delivered up to 2 s after)
 * and calls done(arg). At the bound, requests still in flight get 503
 * "worker_stopping" (502 when their change may still happen); should some not end even then, server_facts still counts
 * them when done is called, and the process must exit without them.
 * Idempotent. */
void server_drain(unsigned bound_ms, void (*done)(void *arg), void *arg);

/* One log line for each live fiber. */
void server_dump_fibers(void);

/* The id of the running fiber's request, or NULL: for log_set_context. */
const char *server_request_id(void);

#endif
