/* llm.h: the face of the model layer: who can be asked (the catalogue), asking
 * (a generation, with retries), and what it has cost (the ledger).
 *
 * Every try at a provider is a row of the ledger, written before anything is
 * sent: a process that dies in the middle leaves a row that says so, closed
 * with an estimate by whoever notices. Counts are disjoint, prices and sums
 * are integers of nano-USD. */

#ifndef HIVE_LLM_H
#define HIVE_LLM_H

#include "provider.h"

#include "workers/realtime/realtime.h"
#include "workers/work/work.h"

/* ---- life ---- */

/* Borrowed until llm_stop. */
typedef struct {
    const char *anthropic_url;     /* without a path */
    const char *anthropic_key;     /* "": none, and its models are not ready */
    unsigned echo_rate;            /* tokens a second; 0: as fast as it goes */
    unsigned connections;          /* to one provider at once */
    unsigned first_byte_ms;        /* until a reply begins */
    unsigned idle_ms;              /* between its bytes */
    unsigned total_ms;
} llm_config_t;

/* 0, or -1 with *why, static: an address that cannot be read. */
int llm_init(const llm_config_t *config, const char **why);

/* After db_start, with one fiber: the job that closes what dead processes left
 * open. 0, or as job_start. To be stopped before db_stop. */
int llm_start(uv_loop_t *loop, fiber_sched_t *fibers);
void llm_stop_jobs(void);

/* Once no generation is under way. */
void llm_stop(void);

/* ---- generating ---- */

/* For whom. Zero uuids: none. */
typedef struct {
    hive_uuid_t owner;
    hive_uuid_t project;           /* zero: that of the task */
    hive_uuid_t swarm;
    hive_uuid_t agent;
    hive_uuid_t run;
    hive_uuid_t task;
    int attempt;                   /* of the task; 0: none */
    hive_uuid_t worker;            /* the engine's name of this process */
} spender_t;

typedef struct {
    generated_t said;              /* of the last try */
    hive_uuid_t usage;             /* its row of the ledger */
    int64_t nano_usd;              /* of all tries */
    unsigned tries;
} answer_t;

/* A model of the catalogue, as a generation needs it. */
typedef struct {
    slice_t id;
    slice_t provider_model;        /* what the provider calls it */
    const provider_t *provider;
    int64_t max_output_tokens;
    int sampling;                  /* takes a temperature */
    int schema;                    /* takes a JSON schema for its answer */
} model_t;

/* Raises 422 "model_unknown", "model_retired" (with what to take instead) or
 * "model_unavailable" (no key). Lives in the arena. */
model_t llm_model(request_t *rq, slice_t id);

/* Generates, trying again before the first piece: what failed for a reason
 * that passes, twice at most, when the provider asks for no more than 15 s.
 * `generation` says all but the model. Does not raise for what became of it:
 * that is in out->said.end. Whatever happens, the ledger has each try when
 * this returns; UV_ECANCELED is GENERATE_CANCELLED. */
void llm_generate(request_t *rq, const spender_t *by, const model_t *model,
    generation_t *generation, answer_t *out);

/* ---- tasks that ask a model ---- */

/* What a model writes for a task, told live: message.delta on the channel of
 * the task and on `other`, when that is not empty; its key is
 * "<task>:<attempt>". To be closed once all is said. */
live_text_t *stream_open(const task_run_t *run, slice_t other);

/* A piece() of a generation_t, with that text as its `arg`: text goes out,
 * thinking and arguments of tools do not. */
void stream_piece(void *stream, const piece_t *piece);

/* ---- operations, and the kind `generate` of tasks ---- */

void op_model_list(request_t *rq);
void op_model_get(request_t *rq);
void op_usage(request_t *rq);

/* Registers the kind with the engine, before it starts. */
void llm_kinds(unsigned slots);

/* hive-worker --load-models FILE: puts that catalogue in the database. The
 * exit status; failures are printed. */
int llm_load_models(const char *conninfo, const char *path);

#endif
