/* run.h: runs of workflows, inside work/. */

#ifndef HIVE_RUN_H
#define HIVE_RUN_H

#include "task.h"
#include "workflow_steps.h"

typedef struct {
    hive_uuid_t owner;
    hive_uuid_t project;        /* zero: none */
    hive_uuid_t workflow;       /* zero: steps of its own */
    int64_t workflow_version;
    slice_t name;
    slice_t on_failure;         /* one of failure_policies */
    const steps_t *steps;
    const json_t *input;        /* object; NULL: {} */
} run_spec_t;

/* Makes a run and all its tasks, in one statement. Returns its id, and in
 * *json the run as GET shows it. Raises 422 "template_error" when a step
 * quotes what the input has not, and what tasks_enqueue raises. */
hive_uuid_t run_make(request_t *rq, const run_spec_t *spec, slice_t *json);

/* The input of a run: an object of at most 256 KiB. Reports. */
#define RUN_INPUT_MAX (256 * 1024)
void run_check_input(report_t *report, const json_t *input);

/* Raises 422 unless that project is the caller's. */
void workflow_check_project(request_t *rq, hive_uuid_t project);

/* Replies with a run that was made: 201 and where it is. */
void run_reply_made(request_t *rq, hive_uuid_t id, slice_t json);

/* From the stored definition, a row of workflow_get; `name` without data: the
 * workflow's. */
hive_uuid_t run_make_workflow(request_t *rq, const db_row_t *workflow,
    slice_t name, const json_t *input, slice_t *made);

/* The edges of a graph of steps; indexes of both ends. In the arena. */
edge_t *run_edges(arena_t *arena, const graph_t *graph);

/* ---- children (run_children.c) ---- */

/* Who runs the task that adds them: an executor knows the attempt, a runner
 * the token of its lease. One of both is needed. */
typedef struct {
    hive_uuid_t task;
    hive_uuid_t worker;         /* or that token; zero: whoever it is */
    int attempt;                /* 0: whichever it is */
    hive_uuid_t owner;          /* zero: whoever's */
} holder_t;

/* Adds tasks under the one that is being run: of its owner, project and run;
 * whoever waits for it waits for them too. In rq->transaction or one of its
 * own, committed on return. `children` come with what POST /tasks can say;
 * the rest is set here. Raises 409 "lease_lost" when it is not that holder who
 * runs it, 409 "task_cancelled" when it is to stop, 422 "run_too_large". */
void run_add_children(request_t *rq, const holder_t *holder,
    new_task_t *children, size_t count);

#endif
