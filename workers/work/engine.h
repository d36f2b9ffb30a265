/* engine.h: what of the task engine other files of work/ see. One engine in
 * each worker process: a fetcher claims tasks in batches for all kinds that
 * have free slots, executors run them, a finisher settles them in batches,
 * and a keeper beats, reaps the dead, stages what is due and retries. */

#ifndef HIVE_ENGINE_H
#define HIVE_ENGINE_H

#include "workers/db/db.h"

/* ---- told by whoever committed ---- */

/* Tasks of that kind became ready: the engine here looks at once, or, when it
 * has no free slot, tells the other processes. Also told for kinds that only
 * remote runners run (wakes their long polls). Cheap; coalesced by turn of
 * the loop. */
void engine_wake(slice_t kind);

/* A running task was asked to stop (cancel_requested) or to pause: the
 * process that runs it looks at once instead of at its next heartbeat. */
void engine_stop_task(hive_uuid_t worker, hive_uuid_t task);

/* A slot of that key may be free: grants it to who waits (a transaction of
 * its own, soon). Also found by the keeper's sweep. */
void engine_limit_freed(hive_uuid_t owner, slice_t key);

/* Tasks were scheduled, the first for that time (microseconds since 1970):
 * makes the stager here precise, which looks once a second by itself. */
void engine_due(int64_t run_at);

/* Whether transitions append events ([tasks] events). */
int engine_events(void);

/* ---- the order of claims (turn.c) ---- */

/* Start-time fair queueing (Goyal, Vin, Cheng 1996): each flow (owner, kind,
 * priority) has its own finish time F, each kind its virtual time V, the
 * highest turn claimed. A task's turn is max(V, F), and F moves on by the
 * stride of its priority. Both are hints in this process; heartbeats carry V
 * to the others. */
int64_t turn_next(hive_uuid_t owner, slice_t kind, int priority);
void turn_claimed(slice_t kind, int64_t turn);

/* {"kind": V, ...} for statements that set tasks free; in the arena. */
slice_t turn_times(arena_t *arena);

#endif
