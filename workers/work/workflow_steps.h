/* workflow_steps.h: the steps of a workflow, as they are written:
 *
 *     {"name": "join", "kind": "noop", "title": "...", "input": {...},
 *      "depends_on": ["a", "b"], "on_dependency_failure": "skip" | "run",
 *      "priority": 5 | "high", "timeout_ms": 60000, "max_attempts": 5,
 *      "backoff_ms": 1000, "limit": {"key": "...", "max": 2}}
 */

#ifndef HIVE_WORKFLOW_STEPS_H
#define HIVE_WORKFLOW_STEPS_H

#include "task.h"
#include "workflow_graph.h"

#define STEPS_STORED_MAX 1000   /* of a definition */
#define STEPS_RUN_MAX    20000  /* of a run */

typedef struct {
    /* What is written of it, and its name; run and place in the graph are for
     * who runs it to say. */
    new_task_t task;
    const json_t *input;        /* borrowed from what was read; or NULL: {} */
    int run_on_failure;         /* -1: as the policy of the run has it */
    int templated;              /* its input has templates */
    int quotes_steps;           /* of steps */
} step_t;

typedef struct {
    size_t count;
    step_t *items;
    graph_t graph;              /* has the names */
} steps_t;

/* Reads an array of at most `max` steps, in the report's arena; borrows from
 * `json`. 0, or -1 when anything was reported. */
int steps_read(report_t *report, const json_t *json, size_t max,
    steps_t *out);

/* "fail_fast", "continue", "skip"; NULL-terminated. */
extern const char *const failure_policies[];

#endif
