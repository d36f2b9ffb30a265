/* assign.h: who gets a step: the scoring formula of reference/swarm.md,
 * section 6. All terms are in [0, 1]:
 *
 *     S = .25 C + .25 P + .20 (1 - L) + .10 T + .10 K + .10 A
 *
 *     C  half how well the type suits the kind of work, half the share of
 *        preferred capabilities it has (1 when none is preferred)
 *     P  predicted success: the mean of Beta(1 + succeeded, 1 + failed)
 *     L  load: steps it has over its capacity, 1 at most
 *     T  the least predicted duration of all candidates over its own
 *     K  the same of cost
 *     A  share of the steps this one needs that it has made
 *
 * Ties: less load, then who joined first. */

#ifndef HIVE_SWARM_ASSIGN_H
#define HIVE_SWARM_ASSIGN_H

#include "team.h"

typedef enum {
    WORK_PLAN, WORK_RESEARCH, WORK_ANALYSIS, WORK_DESIGN, WORK_CODE,
    WORK_TEST, WORK_REVIEW, WORK_OPTIMIZE, WORK_DOCUMENT, WORK_MONITOR,
    WORK_GENERAL, WORK_KINDS
} work_kind_t;

/* "plan" ...; NULL-terminated, in the order of the enum. */
extern const char *const work_kinds[];

typedef struct {
    double c, p, l, t, k, a;    /* l as it is, not 1 - l */
    double sum;
} score_t;

typedef struct {
    work_kind_t kind;
    const slice_t *needs;       /* capabilities that are required */
    size_t nneeds;
    const unsigned char *may;   /* by member: may have it at all */
    const unsigned *made;       /* by member: of the steps it needs; or NULL */
    unsigned nsteps;            /* that it needs */
} assign_t;

/* The member that gets it, and all scores (`scores` has room for the team;
 * those who may not have it get a sum of -1); -1: nobody can. Who has as many
 * steps as he can do at once comes after those who have not. */
long assign(const team_t *team, const assign_t *step, score_t *scores);

#endif
