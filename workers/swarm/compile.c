/* compile.c: from parts and a team to steps. */

#include "compile.h"

#include <assert.h>

const char *const step_roles[] = { "plan", "part", "lead", "reduce", NULL };

typedef struct {
    arena_t *arena;
    team_t *team;
    const swarm_part_t *parts;
    size_t nparts;
    int sequential;
    compiled_t *out;
    long *leads;                /* by member: the step, or -1 */
    size_t max_context;
} compiling_t;

/* ---- circles ---- */

/* Kahn (1962): takes away what waits for nobody until nothing is left. */
long
compile_circle(arena_t *arena, const swarm_part_t *parts, size_t nparts)
{
    unsigned char *done = arena_zero(arena, nparts + 1);
    size_t left = nparts;
    int moved = 1;

    while (left > 0 && moved) {
        moved = 0;
        for (size_t i = 0; i < nparts; i++) {
            size_t waits = 0;

            for (size_t k = 0; k < parts[i].nafter; k++) {
                waits += !done[parts[i].after[k]];
            }
            if (!done[i] && waits == 0) {
                done[i] = 1;
                left--;
                moved = 1;
            }
        }
    }
    for (size_t i = 0; i < nparts; i++) {
        if (!done[i]) {
            return (long) i;
        }
    }
    return -1;
}

/* ---- parts ---- */

/* What part i waits for: what it says, and when sequential the one before. */
static void
set_after(compiling_t *c, size_t i)
{
    const swarm_part_t *part = &c->parts[i];
    swarm_step_t *step = &c->out->steps[i];
    int chained = !c->sequential || i == 0;

    step->after = arena_alloc(c->arena,
        (part->nafter + 1) * sizeof(*step->after));
    for (size_t k = 0; k < part->nafter; k++) {
        step->after[step->nafter++] = part->after[k];
        chained |= part->after[k] + 1 == i;
    }
    if (!chained) {
        step->after[step->nafter++] = i - 1;
    }
}

/* The coordinator does parts only when there is nobody else. */
static int
give_out(compiling_t *c, size_t i)
{
    const team_t *team = c->team;
    const swarm_part_t *part = &c->parts[i];
    swarm_step_t *step = &c->out->steps[i];
    unsigned char *may = arena_zero(c->arena, team->count);
    unsigned *made = arena_zero(c->arena, team->count * sizeof(*made));
    assign_t asked = { .kind = part->kind, .needs = part->needs,
        .nneeds = part->nneeds, .may = may, .made = made,
        .nsteps = (unsigned) step->nafter };
    long agent;

    memset(may, 1, team->count);
    may[0] = team->count == 1;
    for (size_t k = 0; k < step->nafter; k++) {
        if (step->after[k] < i) {
            made[c->out->steps[step->after[k]].agent]++;
        }
    }
    step->scores = arena_alloc(c->arena, team->count * sizeof(score_t));
    agent = assign(team, &asked, step->scores);
    if (agent < 0) {
        return -1;
    }
    step->agent = (size_t) agent;
    c->team->agents[agent].active++;
    return 0;
}

static int
make_parts(compiling_t *c)
{
    for (size_t i = 0; i < c->nparts; i++) {
        c->out->steps[i] = (swarm_step_t) { .role = STEP_PART,
            .name = c->parts[i].name, .part = &c->parts[i], .consumer = -1 };
        set_after(c, i);
        if (give_out(c, i) != 0) {
            c->out->failed = (long) i;
            return -1;
        }
    }
    c->out->nsteps = c->nparts;
    return 0;
}

/* ---- leads ---- */

/* Whether anybody below that member has a part. */
static int
has_below(const compiling_t *c, size_t member)
{
    for (size_t i = 0; i < c->nparts; i++) {
        long above = team_parent(c->team, c->out->steps[i].agent);

        while (above > 0 && above != (long) member) {
            above = team_parent(c->team, (size_t) above);
        }
        if (above == (long) member) {
            return 1;
        }
    }
    return 0;
}

/* Those further down have the higher numbers. */
static void
make_leads(compiling_t *c)
{
    for (size_t i = 0; i < c->team->count; i++) {
        c->leads[i] = -1;
    }
    if (c->team->topology != TOPOLOGY_HIERARCHICAL) {
        return;
    }
    for (size_t member = c->team->count - 1; member > 0; member--) {
        swarm_step_t *step = &c->out->steps[c->out->nsteps];
        const char *name;

        if (!has_below(c, member)) {
            continue;
        }
        name = arena_printf(c->arena, "lead-%zu", member);
        *step = (swarm_step_t) { .role = STEP_LEAD,
            .name = { name, strlen(name) }, .agent = member, .consumer = -1 };
        c->leads[member] = (long) c->out->nsteps++;
    }
}

/* ---- who sees what ---- */

static void
add_context(compiling_t *c, size_t dst, size_t src, long via)
{
    assert(c->out->ncontext < c->max_context);
    c->out->context[c->out->ncontext++] = (context_t) { dst, src, via };
}

/* The step that takes what this one makes; -1: the result does. */
static long
consumer_of(const compiling_t *c, size_t index)
{
    const swarm_step_t *step = &c->out->steps[index];
    long above;

    if (step->role == STEP_PART && c->leads[step->agent] >= 0) {
        return c->leads[step->agent];
    }
    above = team_parent(c->team, step->agent);
    return above > 0 ? c->leads[above] : -1;
}

static void
hand_up(compiling_t *c)
{
    size_t n = c->out->nsteps;

    for (size_t i = 0; i < n; i++) {
        swarm_step_t *step = &c->out->steps[i];

        step->consumer = consumer_of(c, i);
        add_context(c, step->consumer < 0 ? COMPILE_RESULT
                                          : (size_t) step->consumer, i, -1);
    }
    for (size_t k = c->nparts; k < n; k++) {
        swarm_step_t *lead = &c->out->steps[k];

        lead->after = arena_alloc(c->arena, n * sizeof(*lead->after));
        for (size_t i = 0; i < n; i++) {
            if (c->out->steps[i].consumer == (long) k) {
                lead->after[lead->nafter++] = i;
            }
        }
    }
}

static void
hand_along(compiling_t *c)
{
    for (size_t i = 0; i < c->nparts; i++) {
        const swarm_step_t *step = &c->out->steps[i];

        for (size_t k = 0; k < step->nafter; k++) {
            size_t other = c->out->steps[step->after[k]].agent;
            long path = team_path(c->team, other, step->agent);

            if (path != TEAM_NOT_AT_ALL) {
                add_context(c, i, step->after[k], path);
            }
        }
    }
}

void
compile(arena_t *arena, team_t *team, const swarm_part_t *parts,
    size_t nparts, int sequential, compiled_t *out)
{
    compiling_t c = { arena, team, parts, nparts, sequential, out, NULL, 0 };

    *out = (compiled_t) { .failed = -1 };
    out->steps = arena_zero(arena,
        (nparts + team->count) * sizeof(*out->steps));
    c.leads = arena_alloc(arena, team->count * sizeof(*c.leads));
    c.max_context = 2 * nparts + team->count;
    for (size_t i = 0; i < nparts; i++) {
        c.max_context += parts[i].nafter;
    }
    out->context = arena_alloc(arena, c.max_context * sizeof(context_t));
    if (make_parts(&c) != 0) {
        return;
    }
    make_leads(&c);
    hand_up(&c);
    hand_along(&c);
}
