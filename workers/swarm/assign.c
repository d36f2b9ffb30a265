/* assign.c: who gets a step. */

#include "assign.h"

const char *const work_kinds[] = { "plan", "research", "analysis", "design",
    "code", "test", "review", "optimize", "document", "monitor", "general",
    NULL };

/* How well a type suits a kind of work, in tenths: its own work, what lies
 * near, and what anybody can do somehow. */
static const unsigned char suitability[AGENT_TYPES][WORK_KINDS] = {
    /*                    pl re an de co te rv op do mo ge */
    [AGENT_COORDINATOR] = { 10, 4, 5, 5, 2, 3, 6, 3, 4, 5, 5 },
    [AGENT_RESEARCHER]  = { 5, 10, 8, 4, 3, 3, 5, 3, 6, 4, 6 },
    [AGENT_CODER]       = { 3, 4, 4, 6, 10, 7, 6, 7, 4, 3, 5 },
    [AGENT_ANALYST]     = { 6, 8, 10, 6, 4, 5, 7, 6, 5, 6, 6 },
    [AGENT_ARCHITECT]   = { 7, 5, 7, 10, 6, 4, 7, 6, 5, 3, 5 },
    [AGENT_TESTER]      = { 3, 4, 5, 3, 6, 10, 8, 5, 3, 6, 5 },
    [AGENT_REVIEWER]    = { 4, 5, 7, 5, 5, 8, 10, 6, 5, 5, 5 },
    [AGENT_OPTIMIZER]   = { 3, 4, 7, 6, 7, 6, 6, 10, 3, 6, 5 },
    [AGENT_DOCUMENTER]  = { 4, 6, 5, 4, 3, 3, 6, 2, 10, 4, 6 },
    [AGENT_MONITOR]     = { 3, 4, 6, 2, 3, 6, 5, 6, 4, 10, 5 },
    [AGENT_SPECIALIST]  = { 4, 6, 6, 6, 6, 6, 6, 6, 6, 6, 7 },
    [AGENT_WORKER]      = { 3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 8 },
};

static int
has(const agent_t *agent, slice_t capability)
{
    for (size_t i = 0; i < agent->ncapabilities; i++) {
        if (slice_equal(agent->capabilities[i], capability)) {
            return 1;
        }
    }
    return 0;
}

static int
has_all(const agent_t *agent, const assign_t *step)
{
    for (size_t i = 0; i < step->nneeds; i++) {
        if (!has(agent, step->needs[i])) {
            return 0;
        }
    }
    return 1;
}

static int
may_have(const team_t *team, const assign_t *step, size_t member)
{
    return step->may[member] && has_all(&team->agents[member], step);
}

/* What one step of it took and cost so far; 0: nothing is known. */
static double
duration_of(const agent_t *agent)
{
    return agent->succeeded > 0
        ? (double) agent->busy_ms / (double) agent->succeeded : 0;
}

static double
cost_of(const agent_t *agent)
{
    return agent->succeeded > 0
        ? (double) agent->nano_usd / (double) agent->succeeded : 0;
}

/* The least of those that are known; 0: none is. */
static double
least(const team_t *team, const assign_t *step,
    double (*of)(const agent_t *agent))
{
    double found = 0;

    for (size_t i = 0; i < team->count; i++) {
        double value = of(&team->agents[i]);

        if (may_have(team, step, i) && value > 0
            && (found <= 0 || value < found)) {
            found = value;
        }
    }
    return found;
}

/* Who has no record yet is taken to be as good as the best. */
static double
share(double best, double own)
{
    return best <= 0 || own <= 0 ? 1 : best / own;
}

static score_t
score(const team_t *team, const assign_t *step, size_t member,
    double fastest, double cheapest)
{
    const agent_t *agent = &team->agents[member];
    score_t out = {
        .c = suitability[agent->type][step->kind] / 20.0 + 0.5,
        .p = (double) (agent->succeeded + 1)
             / (double) (agent->succeeded + agent->failed + 2),
        .l = agent->active >= agent->capacity ? 1
             : (double) agent->active / agent->capacity,
        .t = share(fastest, duration_of(agent)),
        .k = share(cheapest, cost_of(agent)),
        .a = step->made == NULL || step->nsteps == 0 ? 0
             : (double) step->made[member] / step->nsteps,
    };

    out.sum = 0.25 * out.c + 0.25 * out.p + 0.20 * (1 - out.l)
              + 0.10 * out.t + 0.10 * out.k + 0.10 * out.a;
    return out;
}

/* Whether b is the better choice: first who has room for it, in rounds, so
 * that more steps than the team can do at once are shared by all. */
static int
is_better(const team_t *team, const score_t *scores, size_t a, size_t b)
{
    const agent_t *x = &team->agents[a], *y = &team->agents[b];
    int full_x = x->active / x->capacity, full_y = y->active / y->capacity;

    if (full_x != full_y) {
        return full_y < full_x;
    }
    if (scores[a].sum > scores[b].sum || scores[a].sum < scores[b].sum) {
        return scores[b].sum > scores[a].sum;
    }
    if (x->active * y->capacity != y->active * x->capacity) {
        return y->active * x->capacity < x->active * y->capacity;
    }
    return y->seq < x->seq;
}

long
assign(const team_t *team, const assign_t *step, score_t *scores)
{
    double fastest = least(team, step, duration_of);
    double cheapest = least(team, step, cost_of);
    long best = -1;

    for (size_t i = 0; i < team->count; i++) {
        if (!may_have(team, step, i)) {
            scores[i] = (score_t) { .sum = -1 };
            continue;
        }
        scores[i] = score(team, step, i, fastest, cheapest);
        if (best < 0 || is_better(team, scores, (size_t) best, i)) {
            best = (long) i;
        }
    }
    return best;
}
