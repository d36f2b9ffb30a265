/* swarm.h: the face of swarms: agents that share one piece of work.
 *
 * A swarm is rows: agents, edges between them, runs. To orchestrate is to
 * compile a piece of work into a run of ordinary tasks of kind `swarm`, one for
 * each step, which any worker may take; what a step is, who does it and whose
 * output it sees stands in swarm_steps and swarm_context. Nothing else knows
 * anything: a process that dies leaves its attempt to another. */

#ifndef HIVE_SWARM_H
#define HIVE_SWARM_H

#include "workers/db/resource.h"

extern const resource_t swarm_resource;

void op_swarm_list(request_t *rq);
void op_swarm_create(request_t *rq);
void op_swarm_get(request_t *rq);
void op_swarm_update(request_t *rq);
void op_swarm_delete(request_t *rq);
void op_swarm_status(request_t *rq);
void op_swarm_graph(request_t *rq);
void op_swarm_shutdown(request_t *rq);
void op_agent_list(request_t *rq);
void op_agent_spawn(request_t *rq);
void op_agent_retire(request_t *rq);
void op_swarm_task_create(request_t *rq);
void op_swarm_task_list(request_t *rq);
void op_swarm_task_get(request_t *rq);
void op_swarm_task_cancel(request_t *rq);
void op_swarm_task_retry(request_t *rq);

/* At start: the channel `swarm:`, and the kind `swarm` of tasks, so many at
 * once in each process. */
void swarm_init(unsigned slots);

/* The job that says of runs and swarms that they have ended when nobody else
 * has: after db_start, with one fiber. 0, or as job_start. To be stopped before
 * db_stop. */
int swarm_start(fiber_sched_t *fibers);
void swarm_stop(void);

#endif
