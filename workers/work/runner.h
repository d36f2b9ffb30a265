/* runner.h: tasks run by programs elsewhere, over HTTP.
 *
 * A claim makes a lease, which all tasks of the claim share: its token is a
 * uuid that is stored as their worker_id, and whoever reports on a task names
 * it. The token carries how long the lease was asked for, so that a heartbeat
 * need not say it again. */

#ifndef HIVE_RUNNER_H
#define HIVE_RUNNER_H

#include "work.h"

#include "workers/db/resource_parts.h"

#define LEASE_MS_MIN 1000
#define LEASE_MS_MAX 600000

/* A token of a lease of that many ms, which is random otherwise. */
hive_uuid_t lease_token_new(unsigned lease_ms);

/* What it was made with; the default for one that no claim has made. */
unsigned lease_token_ms(const hive_uuid_t *token);

/* Tasks of that kind may be claimed: wakes the claims that wait for them. Told
 * by engine_wake, in each process. */
void runner_wake(slice_t kind);

/* Reads a body by the columns, all of which can be written: on return out[i]
 * is that of columns[i]. Raises 422. */
void runner_read(request_t *rq, const char *name, const column_t *columns,
    size_t ncolumns, assignment_t *out);

/* The milliseconds that a body asks for, or else those of its token. */
unsigned runner_lease_ms(const value_t *asked, const hive_uuid_t *token);

/* Writes the progress that is kept for a task, which is about to end. */
void runner_progress_flush(request_t *rq, hive_uuid_t id, hive_uuid_t token);

/* A task that no process of ours runs was asked to stop: a runner that ignores
 * it loses its lease within [tasks] cancel_grace. */
void runner_cancelled(void);

/* A task of that lease has ended, or its attempt. */
void runner_ended(const hive_uuid_t *token);

/* Does what follows from these: a step of a job, to be made each second or
 * so. */
void runner_mind(request_t *rq, void *arg);

/* Raises 409 "lease_lost", or 404 when the caller has no such task. */
__attribute__((noreturn))
void runner_raise_lost(request_t *rq, hive_uuid_t id, hive_uuid_t token);

#endif
