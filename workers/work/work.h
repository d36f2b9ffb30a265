/* work.h: the face of what people work on: projects, and the engine that runs
 * their tasks; executor.h is a part of it. */

#ifndef HIVE_WORK_H
#define HIVE_WORK_H

#include "executor.h"

#include "workers/db/resource.h"

extern const resource_t project_resource;

void op_project_list(request_t *rq);
void op_project_create(request_t *rq);
void op_project_get(request_t *rq);
void op_project_update(request_t *rq);
void op_project_delete(request_t *rq);
void op_project_archive(request_t *rq);
void op_project_unarchive(request_t *rq);
void op_project_config_get(request_t *rq);
void op_project_config_put(request_t *rq);

extern const resource_t task_resource;

/* At start: how many unfinished tasks one owner may have. */
void enqueue_init(unsigned owner_max);

void op_task_list(request_t *rq);
void op_task_create(request_t *rq);
void op_task_get(request_t *rq);
void op_task_update(request_t *rq);
void op_task_delete(request_t *rq);
void op_task_batch(request_t *rq);
void op_task_counts(request_t *rq);
void op_task_redrive(request_t *rq);
void op_task_run(request_t *rq);
void op_task_cancel(request_t *rq);
void op_task_retry(request_t *rq);
void op_task_pause(request_t *rq);
void op_task_resume(request_t *rq);
void op_task_attempts(request_t *rq);
void op_task_events(request_t *rq);
void op_task_result(request_t *rq);
void op_task_dependencies(request_t *rq);
void op_task_dependency_add(request_t *rq);
void op_task_dependency_remove(request_t *rq);

void op_task_claim(request_t *rq);
void op_task_heartbeat(request_t *rq);
void op_task_progress(request_t *rq);
void op_task_complete(request_t *rq);
void op_task_fail(request_t *rq);

void op_task_children_add(request_t *rq);

extern const resource_t workflow_resource;

void op_workflow_list(request_t *rq);
void op_workflow_create(request_t *rq);
void op_workflow_get(request_t *rq);
void op_workflow_update(request_t *rq);
void op_workflow_delete(request_t *rq);
void op_workflow_run(request_t *rq);

extern const resource_t run_resource;

void op_run_list(request_t *rq);
void op_run_create(request_t *rq);
void op_run_get(request_t *rq);
void op_run_tasks(request_t *rq);
void op_run_events(request_t *rq);
void op_run_cancel(request_t *rq);
void op_run_retry(request_t *rq);

/* ---- runs for other subjects ---- */

/* 0..9, or -1: a number or one of critical (9), high (7), medium (5),
 * low (2). */
int task_priority_parse(const json_t *value);

typedef struct {
    hive_uuid_t owner;
    hive_uuid_t project;       /* zero: none */
    slice_t name;
    const json_t *steps;       /* as POST /runs takes them; nothing quoted */
} run_begin_t;

/* Makes a run and its tasks; the first that fails ends it. In rq->transaction
 * or one statement. Returns its id, and in *made the run as GET shows it.
 * Raises 422 with what is wrong with the steps, and what POST /runs does. */
hive_uuid_t run_begin(request_t *rq, const run_begin_t *begin, slice_t *made);

/* Adds steps under the task that is being run: to its run, waiting for each
 * other only; whoever waits for it waits for them too. In rq->transaction or
 * one of its own. Raises 409 "lease_lost" when the attempt is not the task's
 * any more, 409 "task_cancelled", 422 "run_too_large". */
void run_add_steps(task_run_t *run, const json_t *steps);

/* Cancels a run of rq->user, in rq->transaction: what waits ends, what runs is
 * told to. 0 when it had ended already; raises 404. */
int run_cancel(request_t *rq, hive_uuid_t id);

/* Has what of a run of rq->user did not succeed tried again, in
 * rq->transaction. Raises 404, 409 "run_running", "run_succeeded",
 * "run_expired". */
void run_retry(request_t *rq, hive_uuid_t id);

extern const resource_t schedule_resource;

void op_schedule_list(request_t *rq);
void op_schedule_create(request_t *rq);
void op_schedule_get(request_t *rq);
void op_schedule_update(request_t *rq);
void op_schedule_delete(request_t *rq);
void op_schedule_pause(request_t *rq);
void op_schedule_resume(request_t *rq);
void op_schedule_fire(request_t *rq);
void op_schedule_preview(request_t *rq);

/* At start: tells realtime/ of the channels of all these. */
void channels_init(void);

/* The job that fires schedules: after db_start, with one fiber of `fibers`. 0,
 * or as job_start. To be stopped before db_stop. */
int schedules_start(fiber_sched_t *fibers);
void schedules_stop(void);

/* Makes the partitions of task_history and events for the days to come, and has
 * old days and what belonged to them go; `days` is how long what finished is
 * kept. After db_start, with one fiber; 0 or negative errno. To be stopped
 * before db_stop; its fiber is gone soon after. */
int retention_start(fiber_sched_t *fibers, unsigned days);
void retention_stop(void);

/* ---- the task engine of a process ---- */

/* Strings are borrowed until it has stopped. Numbers that are 0, but for
 * `slots` and `http_slots`, are as usual. */
typedef struct {
    uv_loop_t *loop;
    fiber_sched_t *fibers;     /* with room for engine_fibers() */
    void *zmq_context;
    const char *endpoint;      /* base endpoint of all processes */
    unsigned slot, side;       /* which of them this is */
    unsigned processes;
    unsigned cell;
    int events;                /* whether transitions append events */
    unsigned slots;            /* of each kind; 0: nothing runs here */
    unsigned http_slots;
    unsigned claim_batch;      /* 500 */
    unsigned cancel_grace_ms;  /* 10 s */
    hive_uuid_t *name;         /* kept for whoever follows in this place, and
                                * now that of who was here before, which is
                                * dead: what it ran is free at once. Zero:
                                * nobody; NULL: silence only tells */
    unsigned heartbeat_ms;     /* 3 s */
    unsigned silence_ms;       /* 10 s: who is silent that long is dead */
    unsigned poll_min_ms;      /* 250 */
    unsigned poll_max_ms;      /* 1 s */
} engine_config_t;

/* How many fibers it may use at once. */
unsigned engine_fibers(const engine_config_t *config);

/* Begins to claim and run tasks as soon as the database is there: after
 * db_start and events_start. 0 or negative errno. */
int engine_start(const engine_config_t *config);

/* Claims nothing more, lets what runs end for `bound_ms`, gives back the rest
 * (which does not cost it an attempt), and calls done(arg): before events_stop
 * and db_stop. Fibers that would not end are counted by engine_facts as
 * running; the process must exit without them. Idempotent. */
void engine_stop(unsigned bound_ms, void (*done)(void *arg), void *arg);

/* Whom tasks of kind `http` may call: [tasks] http_allow (http_allow.h). 0, or
 * -1 with *why, which lives until http_task_stop. */
int http_task_init(const char *allow, const char **why);

/* Closes its connections, once nothing of that kind runs any more. */
void http_task_stop(void);

/* Counts since the start, but for the last group; more is in the metrics. */
typedef struct {
    uint64_t claims;           /* statements */
    uint64_t claimed;
    uint64_t refused;          /* ends that came too late: not ours any more */
    uint64_t reaped;           /* times that this process was taken for dead */

    unsigned queued, running, finishing;
} engine_facts_t;

void engine_facts(engine_facts_t *out);

#endif
