/* compile.h: from parts of a piece of work and a team to steps: who does each,
 * what each waits for, and whose output each sees.
 *
 * The coordinator reduces. In a star each part's output goes to him. In a
 * hierarchy it goes to the member above, who, when he has anybody with a part
 * below him, has a step of his own (a lead) that puts it together with his own
 * part and hands it up.
 *
 * A part that needs another one waits for it. It sees its output when the two
 * are done by one member or by two who are next to each other, or by way of one
 * who is next to both; otherwise it only waits. Sequential: each part needs the
 * one before it. */

#ifndef HIVE_SWARM_COMPILE_H
#define HIVE_SWARM_COMPILE_H

#include "assign.h"

#define PARTS_MAX_RUN 200

typedef struct {
    slice_t name;               /* unique in its run */
    slice_t title;
    slice_t brief;
    work_kind_t kind;
    const slice_t *needs;       /* capabilities */
    size_t nneeds;
    const size_t *after;        /* parts that it needs, by index */
    size_t nafter;
} swarm_part_t;

typedef enum { STEP_PLAN, STEP_PART, STEP_LEAD, STEP_REDUCE } step_role_t;
extern const char *const step_roles[];

typedef struct {
    step_role_t role;
    slice_t name;
    const swarm_part_t *part;        /* of a part */
    size_t agent;               /* member */
    score_t *scores;            /* by member; NULL: nobody else could */
    long consumer;              /* step; -1: none, or the run's result */
    size_t *after;              /* steps it waits for */
    size_t nafter;
} swarm_step_t;

typedef struct {
    size_t dst, src;            /* steps; dst may be COMPILE_RESULT */
    long via;                   /* as team_path has it */
} context_t;

#define COMPILE_RESULT ((size_t) -1)

typedef struct {
    swarm_step_t *steps;             /* parts first, in their order; then leads,
                                   those further down first */
    size_t nsteps;
    context_t *context;
    size_t ncontext;
    long failed;                /* a part that nobody can do; -1: none */
} compiled_t;

/* All in the arena. Loads of the team count the parts that are given out. The
 * step that makes the result is the caller's: it waits for, and sees, what has
 * COMPILE_RESULT as its context. Parts need earlier or later ones, but not in
 * circles (compile_circle). */
void compile(arena_t *arena, team_t *team, const swarm_part_t *parts,
    size_t nparts, int sequential, compiled_t *out);

/* A part that, in the end, waits for itself; -1: none does. */
long compile_circle(arena_t *arena, const swarm_part_t *parts, size_t nparts);

#endif
