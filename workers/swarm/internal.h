/* internal.h: what the files of swarm/ share. */

#ifndef HIVE_SWARM_INTERNAL_H
#define HIVE_SWARM_INTERNAL_H

#include "compile.h"
#include "swarm.h"

#include "workers/db/event.h"
#include "workers/db/resource_parts.h"
#include "workers/llm/llm.h"
#include "workers/work/work.h"

#define STEP_PLAN_NAME   SLICE("plan")
#define STEP_RESULT_NAME SLICE("result")
#define STEP_ATTEMPTS    50     /* of a task, deaths of processes included */
#define STEP_FAILURES    8      /* of them that may fail */
#define PARTS_MAX_GIVEN  100
#define PARTS_MAX_PLANNED 20
#define MODEL_TEXT_MAX   100

/* ---- swarms and agents ---- */

extern const char *const swarm_strategies[];

/* Row of swarm_lock; raises 404. In rq->transaction. */
const db_row_t *swarm_lock(request_t *rq, hive_uuid_t id);

/* The agents that have not retired, in order (team_order), at most `most` of
 * them; their `model` is what a step of theirs would be asked of. In the
 * arena. */
team_t team_read(request_t *rq, hive_uuid_t swarm, slice_t topology,
    const hive_uuid_t *coordinator, size_t most);

/* The member of that id; -1: not of the team. */
long team_find(const team_t *team, const hive_uuid_t *id);

/* Writes the edges of the swarm's present epoch. It is locked. */
void team_store_edges(request_t *rq, hive_uuid_t swarm, slice_t topology);

/* Agents of a JSON array: spawns them into the swarm, which is locked and has
 * `present` of at most `most`. Raises 422, 409 "swarm_full". */
void agents_spawn(request_t *rq, hive_uuid_t swarm, const json_t *agents,
    size_t present, size_t most);

/* Raises 422 unless that model can be asked. */
void check_model(request_t *rq, const char *field, const json_t *model);

/* A JSON array of strings, in the arena. */
const slice_t *read_texts(request_t *rq, slice_t json, size_t *count);

/* Publishes each row, which is an event. */
void publish_rows(request_t *rq, const db_result_t *rows);

/* ---- runs ---- */

typedef struct {
    hive_uuid_t swarm, owner, project;
    slice_t description;
    slice_t requirements;
    slice_t strategy;
    int priority;
    int64_t max_tokens;         /* of each answer */
} order_t;

/* A run whose tasks are tried again goes on: what failed or was cancelled is
 * to be done anew, by whoever may. `step`: only if it has ended, or that step
 * has failed. In rq->transaction. 0: there is nothing to resume, or the swarm
 * takes no more work; when that is so only now, raises 409
 * "swarm_not_active"; 409 "run_succeeded". */
int run_resume(request_t *rq, hive_uuid_t run, slice_t step);

/* Parts of a JSON array (`field`: what it is called where it comes from), in
 * the arena; NULL when anything was reported. Names are made when there are
 * none. */
swarm_part_t *parts_read(report_t *report, const char *field,
    const json_t *json, size_t max, int sequential, size_t *count);

/* The schema of a plan, for so many workers. Returns owned. */
json_t *plan_schema(size_t workers);

/* The steps of a run as POST /runs takes them (returns owned), and as
 * swarm_steps_add takes them. */
json_t *steps_for_run(request_t *rq, const order_t *order,
    const team_t *team, const compiled_t *compiled);
slice_t steps_for_store(request_t *rq, const team_t *team,
    const compiled_t *compiled);
slice_t context_for_store(request_t *rq, const team_t *team,
    const compiled_t *compiled);

/* One step by itself: `plan` or `result`. */
json_t *step_for_run(const order_t *order, const agent_t *agent,
    slice_t name, slice_t title);
void put_step(buf_t *out, const team_t *team, const swarm_step_t *step,
    slice_t title, slice_t consumer, unsigned place);

/* {"agent": {...}, "others": [...]}: why that member. */
void put_scores(buf_t *out, const team_t *team, size_t agent,
    const score_t *scores);

/* ---- steps (step.c) ---- */

/* A step under way. */
typedef struct {
    task_run_t *run;
    request_t *rq;
    slice_t name;
    const db_row_t *row;        /* of swarm_step_get */
    hive_uuid_t swarm;
    step_role_t role;
    team_t team;
    size_t agent;               /* member */
    model_t model;
    answer_t answer;            /* of the last generation */
    int64_t input_tokens, output_tokens, nano_usd;   /* of all */
} step_run_t;

typedef struct {
    slice_t system;
    slice_t user;
} prompt_t;

/* How what that row of swarm_step_sees holds comes to a member, as team_path
 * says; as it is written there when who made it has retired. */
long step_path(const team_t *team, const db_row_t *seen, size_t member);

/* What its model is told (prompt.c); `sees`: rows of swarm_step_sees. */
prompt_t prompt_make(const step_run_t *step, const db_result_t *sees);

/* Asks the step's model; counts what it took. `schema`: or NULL. */
void step_generate(step_run_t *step, slice_t system, const json_t *messages,
    const json_t *schema);

/* The steps of a plan: as the run of tasks takes them, and as
 * swarm_steps_add. */
typedef struct {
    json_t *steps;
    slice_t stored, context;
} planned_t;

/* Ends the step with what was made, in one transaction with the steps that
 * come of it (NULL: none). Raises 409 "step_taken" when another attempt has
 * it. */
void step_done(step_run_t *step, slice_t output, const planned_t *planned);

/* step_plan.c: makes the plan and its steps. */
void step_plan(step_run_t *step, const prompt_t *prompt);

/* Fails the attempt. `final`: no other would do better. */
void step_fail(step_run_t *step, int final, const char *code,
    const char *message);

/* The same with how its model failed; raises when it was cancelled. */
void step_fail_said(step_run_t *step);

void execute_swarm(task_run_t *run);

#endif
