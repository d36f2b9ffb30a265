/* engine_internal.h: the inside of the task engine, shared by engine*.c and
 * limits.c. Others see engine.h.
 *
 * A claimed task is a work_t. It is QUEUED with its kind until one of the
 * kind's slots is free, then RUNNING on a fiber of its own, then FINISHING
 * until a statement of the finisher has committed how it ended (what is instant
 * may end where it was claimed). Loops, each a
 * job: a fetcher for each kind, the poller, three finishers, the pulse (our own
 * life), the reaper (that of others), the stager, the granter of limits, the
 * writer of progress. They share what is here without locks: all is on one
 * loop.
 *
 * Times are uv_hrtime() nanoseconds unless a name says otherwise. */

#ifndef HIVE_ENGINE_INTERNAL_H
#define HIVE_ENGINE_INTERNAL_H

#include "engine.h"
#include "executor.h"
#include "work.h"

#include "workers/runtime/job.h"

#include <sys/queue.h>

#define MS UINT64_C(1000000)

typedef struct kind_s kind_t;
typedef struct work_s work_t;

/* What one statement claimed; its row goes when the last of it has ended. */
typedef struct {
    hive_uuid_t id;
    unsigned left;
} claimed_t;

typedef enum { WORK_QUEUED, WORK_RUNNING, WORK_FINISHING } work_place_t;

/* Why an attempt is stopped; the later, the stronger. */
typedef enum {
    STOP_NONE,
    STOP_RELEASE,              /* this process ends: somebody else's turn */
    STOP_TIMEOUT,
    STOP_PAUSE,
    STOP_CANCEL,
    STOP_DEADLINE,             /* the task's own */
    STOP_REAPED                /* no longer ours: whatever it says is lost */
} work_stop_t;

typedef enum { SAID_NOTHING, SAID_SUCCESS, SAID_FAILURE } work_said_t;

struct work_s {
    task_run_t run;            /* first: executors are given this */
    TAILQ_ENTRY(work_s) link;  /* where it is */
    kind_t *kind;
    fiber_t *fiber;            /* while it runs on its own */
    hive_uuid_t worker;        /* we, when it was claimed */
    claimed_t *claimed;        /* NULL: none that it goes with */
    work_place_t place;
    int64_t turn;
    int64_t event_seq;         /* of its start */
    int64_t deadline_at;       /* microseconds since 1970; 0: none */
    int dependents;
    unsigned timeout_ms;
    int templated;
    int held;                  /* its row is locked, not claimed */
    uint64_t began;            /* 0: not yet */
    uint64_t ran;              /* how long */

    work_said_t said;
    int final;
    unsigned after_ms;         /* that the next attempt waits at least */
    char *result, *error;      /* JSON, owned; NULL: none */
    int64_t cost_nano_usd;

    work_stop_t stop;
    uint64_t stop_at;          /* when it was told */
    int disowned;              /* settled without its fiber */
    int alone;                 /* times that a batch with it was refused */

    int progress_due;
    double share;
    char *message, *counters;

    char input[];
};

TAILQ_HEAD(work_list_s, work_s);

struct kind_s {
    const executor_t *executor;
    slice_t name;
    unsigned slots;
    struct work_list_s queue, active;
    unsigned queued, running, finishing;

    fiber_t *fetcher;
    int hungry;                /* there may be more to claim */
    int woken;                 /* somebody says that there is */
    int found;                 /* the poll has seen it */
    int tell;                  /* the others are to hear of it */
    uint64_t told_at;
    int plain;                 /* of most that were claimed nothing follows */
    int64_t low;               /* claims begin at this turn, as a hint */
    uint64_t full_at;          /* the next without it, at the latest */
    uint64_t cheap_at;         /* and at the soonest */

    uint64_t rate_since;
    unsigned rate_count;
    double rate;               /* ends per second */
};

#define FINISHERS 3

typedef struct {
    engine_config_t config;
    int started;
    int stopping;
    hive_uuid_t worker;
    hive_uuid_t predecessor;   /* in this place, dead; zero: none */
    int registered;
    uint64_t beat_at;          /* our last beat that was heard */
    unsigned nkinds;
    kind_t kinds[EXECUTORS_MAX];

    struct work_list_s finished;
    unsigned nfinished;
    unsigned finishing;        /* finishers with a statement out */
    fiber_t *finishers[FINISHERS];

    hive_uuid_t *claims_done;  /* whose rows are to go, owned */
    size_t nclaims_done, claims_done_max;

    fiber_t *poller, *pulse, *reaper, *stager, *granter, *writer;
    unsigned jobs;             /* those and the others that have not ended */
    engine_facts_t facts;
} engine_t;

extern engine_t engine;

/* ---- engine.c ---- */

kind_t *kind_find(slice_t name);

/* Starts a loop of the engine; `slot` is where its fiber is kept while it
 * lives. */
void engine_job(const char *name, job_fn fn, void *arg, fiber_t **slot);

/* Sleeps that long, or until woken; nonzero once the engine or the fiber is to
 * end. */
int engine_pause(const char *reason, uint64_t ms);

/* Uniform in [low, high]. */
uint64_t engine_jitter(uint64_t low, uint64_t high);
int64_t engine_now_us(void);

/* Whether we may take it that nobody has taken us for dead. */
int engine_alive(void);

/* Takes a new identity, after the old one was buried. */
void engine_reaped(void);

/* ---- engine_fetch.c ---- */

void fetch_start(kind_t *kind);
void fetch_wake(kind_t *kind);
void fetch_poll(request_t *rq, void *arg);

/* A claim under way. */
typedef struct {
    kind_t *kind;
    unsigned wanted;
    int64_t from;              /* turn */
    hive_uuid_t id;
    unsigned seen;             /* entries of the queue */
    unsigned got;
    work_t **works;            /* in order of turns; in the arena */
} claim_t;

/* Reads the rows of a claim into it. */
void fetch_rows(request_t *rq, claim_t *claim, const db_result_t *result);

/* ---- engine_instant.c ---- */

/* A job step: claims, runs and ends instant tasks. */
void instant_claim(request_t *rq, void *arg);

/* ---- engine_run.c ---- */

/* Takes a row of a claim. Returns owned. */
work_t *work_new(kind_t *kind, const db_row_t *row, int held);
void work_free(work_t *work);

/* It is of claim `id`, which is made with its first task and goes with the last
 * of them. */
void work_claimed(work_t *work, claimed_t **claimed, hive_uuid_t id);

/* Has it wait for a slot, if only for the loop's next turn. */
void run_queue(work_t *work);

/* Runs queued ones while slots are free. */
void run_queued(kind_t *kind);

/* Runs an instant one, here; what it said is in it then. */
void run_instant(request_t *rq, work_t *work);

/* Publishes "task.<state>" of it. */
void work_tell(const work_t *work, const char *state, int64_t offset);

/* Tells it to stop; one that has not begun ends at once. */
void work_stop(work_t *work, work_stop_t stop);
void works_stop(work_stop_t stop);
work_t *work_find(const hive_uuid_t *id);

/* Stops what has outrun its time, and settles without its fiber what was told
 * to stop `cancel_grace` ago (at once with `now`). */
void run_mind(int now);

/* ---- engine_finish.c ---- */

/* Takes one that has ended. */
void finish_add(work_t *work);

/* Counts how it ended. */
void finish_measure(const work_t *work);
int work_succeeded(const work_t *work);

void finish_start(void);

/* ---- engine_progress.c ---- */

void progress_changed(work_t *work);
void progress_loop(request_t *rq, void *arg);

/* Writes that of these works that is due. */
void progress_write(request_t *rq, work_t **works, size_t count);

/* ---- engine_retry.c ---- */

typedef struct {
    hive_uuid_t id, worker;
    int attempt;
    const char *outcome;       /* NULL: it had not begun */
    slice_t error;
    int64_t cost_nano_usd;
    int final;
    int kept;
    unsigned after_ms;         /* that the next one waits at least */

    enum { RETRY_GONE, RETRY_AGAIN, RETRY_SPENT, RETRY_CANCELLED } what;
} retry_t;

/* Has attempts made again, and says of each what became of it; those that are
 * SPENT or CANCELLED are the caller's to settle. Committed on return. */
void retry_tasks(request_t *rq, retry_t *items, size_t count);

/* ---- engine_pulse.c, engine_reaper.c, engine_stager.c, limits.c ---- */

void pulse_loop(request_t *rq, void *arg);
void pulse_now(void);
void pulse_leave(request_t *rq, void *arg);
void reaper_loop(request_t *rq, void *arg);
void stager_loop(request_t *rq, void *arg);
void granter_loop(request_t *rq, void *arg);
void granter_add(const hive_uuid_t *owner, slice_t key);
void granter_stop(void);

/* ---- engine_wake.c ---- */

int wake_start(void);
void wake_stop(void (*done)(void));
void wake_tell(kind_t *kind);      /* the other processes; coalesced */
void wake_tell_stop(const hive_uuid_t *worker);

#endif
