/* slots.h: the inside of the supervisor: its slots and their processes.
 *
 * A process is in one of three roles. CURRENT serves its slot and is started
 * again when it dies. INCOMING is the other side during a reload. LEAVING has
 * been told to drain, and is killed when it takes longer than it may. */

#ifndef HIVE_SLOTS_H
#define HIVE_SLOTS_H

#include "supervisor.h"

#include <signal.h>
#include <sys/types.h>

typedef enum { ROLE_NONE, ROLE_CURRENT, ROLE_INCOMING, ROLE_LEAVING } role_t;

typedef struct {
    role_t role;               /* ROLE_NONE: no such process */
    pid_t pid;
    int report_fd;
    int up;
    int ready;
    uint64_t started;
    uint64_t heard;            /* 0: not up yet */
    uint64_t kill_at;          /* 0: not set */
} process_t;

typedef struct {
    process_t sides[2];
    unsigned side;             /* of the current one, alive or not */
    int replace;               /* a reload is to start its other side */
    uint64_t start_at;         /* 0: nothing to start */
    uint64_t backoff;
} slot_t;

/* What the processes leave each other. */
typedef struct {
    hive_uuid_t names[2 * SLOTS_MAX];
    _Atomic uint64_t schema_checked;
} shared_t;

typedef struct {
    supervisor_plan_t plan;
    supervisor_hooks_t hooks;
    quarantine_t *quarantine;
    shared_t *shared;
    sigset_t inherited;        /* signal mask we were started with */
    int signals;
    slot_t slots[SLOTS_MAX];
    int stopping;
    int announced;             /* READY=1 was sent */
    int reload_asked;
    int reloading;
    uint64_t reload_began;
    uint64_t settle_at;        /* 0: not all of the new ones are ready yet */
} supervisor_t;

extern supervisor_t boss;

/* Monotonic milliseconds. */
uint64_t supervisor_now(void);

static inline char
side_letter(unsigned side)
{
    return side == 0 ? 'a' : 'b';
}

/* Starts the slot's current side now, or after its back-off. */
void slot_schedule(slot_t *slot);

/* 0, or -1 (logged) when no process could be made. */
int slot_start(unsigned index, unsigned side, role_t role);

/* Tells it to drain; at its bound it will be killed. */
void process_dismiss(process_t *process);
void process_read_reports(process_t *process);

unsigned slots_count(role_t role);
void slots_signal(int signal_number);

/* Notices the dead, and schedules who replaces them. */
void slots_reap(void);

/* Kills what is over its time: drained too long, or silent too long. */
void slots_kill_late(void);

#endif
