/* supervisor.h: keeps M worker processes alive.
 *
 * Slot s has two sides, a and b, with endpoints of their own; one of them
 * serves. What dies is started again, at once and then with growing pauses.
 * HUP starts the other side of every slot with a fresh configuration and,
 * once that is ready, drains the side that served. What stays silent for too
 * long hangs: it is aborted, which notes the request it hangs in, and then
 * killed. TERM and INT drain all and end; a second one does not wait.
 * Children never outlive the supervisor. */

#ifndef HIVE_SUPERVISOR_H
#define HIVE_SUPERVISOR_H

#include "workers/runtime/quarantine.h"

#include "common/uuid.h"

#define SLOTS_MAX 128

/* What a worker process is told of itself. */
typedef struct {
    unsigned slot;
    unsigned side;             /* 0 is a, 1 is b */
    int report_fd;
    quarantine_t *quarantine;
    hive_uuid_t *name;         /* what it calls itself where others see it; at
                                * its start, what the one before it here did,
                                * which is dead. Zero: nothing */
    _Atomic uint64_t *schema_checked;  /* shared by all: db_config_t.checked */
} child_t;

/* Told by a child of itself: once, that its sockets are bound; after that
 * every second, that it is alive; at each change, whether it is ready
 * (database and all). */
void child_report_up(const child_t *child);
void child_report_alive(const child_t *child);
void child_report_ready(const child_t *child, int ready);

typedef struct {
    unsigned processes;        /* 1 to SLOTS_MAX */
    unsigned drain_ms;         /* how long a child may take to drain */
    unsigned hang_ms;          /* silence for which it is killed */
} supervisor_plan_t;

typedef struct {
    /* In a fork: a worker, until SIGTERM and its drain. Returns the exit
     * status. */
    int (*child)(const child_t *child, void *arg);
    /* Reads the configuration again. 0 and the plan, or -1 (logged): all
     * stays as it is. */
    int (*reload)(supervisor_plan_t *plan, void *arg);
    void *arg;
    const char *pidfile;       /* NULL: none */
} supervisor_hooks_t;

/* Returns the exit status, in the supervisor only. */
int supervisor_run(const supervisor_plan_t *plan,
    const supervisor_hooks_t *hooks);

#endif
