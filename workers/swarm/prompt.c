/* prompt.c: what an agent is told: who it is, the objective, its part, and
 * what it may see of the others' work. Nothing else of the run is in it. */

#include "internal.h"

static const char *const tasks[] = {
    [STEP_PLAN] = "You coordinate the team below. Split the objective into"
        " parts that its members can do on their own, as few as will do."
        " Answer with JSON only, of the schema at the end. \"depends_on\""
        " numbers, from 1, the parts whose results a part needs; leave it out"
        " for parts that can begin at once.",
    [STEP_PART] = "You do one part of a larger piece of work. Do your part"
        " completely and only that. Others put the results together.",
    [STEP_LEAD] = "You lead a part of the team. Put the results below"
        " together into one text that whoever is above you can use as it is."
        " Keep what matters, name contradictions.",
    [STEP_REDUCE] = "You coordinate the team. Put the results below together"
        " into one complete answer to the objective. It must stand by itself:"
        " its reader has not seen the parts.",
};

static void
put(buf_t *out, slice_t text)
{
    buf_put(out, text.data, text.len);
}

static void
put_section(buf_t *out, const char *title, slice_t text)
{
    if (text.len > 0) {
        buf_printf(out, "%s: ", title);
        put(out, text);
        buf_puts(out, "\n\n");
    }
}

static slice_t
make_system(const step_run_t *step)
{
    const agent_t *who = &step->team.agents[step->agent];
    buf_t out;

    buf_init(&out, step->rq->arena, 512);
    buf_puts(&out, "You are ");
    put(&out, who->name);
    buf_printf(&out, ", a %s in a swarm of agents.", agent_types[who->type]);
    if (who->ncapabilities > 0) {
        buf_puts(&out, " You can: ");
        for (size_t i = 0; i < who->ncapabilities; i++) {
            buf_puts(&out, i > 0 ? ", " : "");
            put(&out, who->capabilities[i]);
        }
        buf_putc(&out, '.');
    }
    buf_printf(&out, "\n\n%s", tasks[step->role]);
    return buf_slice(&out);
}

/* Whom the coordinator can plan for. */
static void
put_team(buf_t *out, const team_t *team)
{
    buf_puts(out, "The team:\n");
    for (size_t i = team->count > 1 ? 1 : 0; i < team->count; i++) {
        const agent_t *agent = &team->agents[i];

        buf_printf(out, "- %s", agent_types[agent->type]);
        for (size_t k = 0; k < agent->ncapabilities; k++) {
            buf_puts(out, k > 0 ? ", " : " who can: ");
            put(out, agent->capabilities[k]);
        }
        buf_putc(out, '\n');
    }
    buf_putc(out, '\n');
}

static void
put_seen(buf_t *out, const step_run_t *step, const db_result_t *sees)
{
    for (int i = 0; i < sees->nrows; i++) {
        db_row_t row = db_row_at(sees, i);
        long via = step_path(&step->team, &row, step->agent);

        buf_puts(out, "=== ");
        put(out, db_text(&row, "title"));
        buf_puts(out, " (by ");
        put(out, db_text(&row, "agent"));
        if (via >= 0) {
            buf_puts(out, ", handed on by ");
            put(out, step->team.agents[via].name);
        }
        buf_puts(out, ") ===\n");
        put(out, db_text(&row, "output"));
        buf_puts(out, "\n\n");
    }
}

prompt_t
prompt_make(const step_run_t *step, const db_result_t *sees)
{
    const db_row_t *row = step->row;
    buf_t out;

    buf_init(&out, step->rq->arena, 2048);
    put_section(&out, "Objective", db_text(row, "description"));
    put_section(&out, "Requirements", db_text(row, "requirements"));
    if (step->role == STEP_PLAN) {
        put_team(&out, &step->team);
    }
    if (step->role == STEP_PART) {
        put_section(&out, "Your part", db_text(row, "title"));
        put_section(&out, "About your part", db_text(row, "brief"));
    }
    if (sees->nrows > 0) {
        buf_puts(&out, step->role == STEP_PART ? "What you need of others:\n\n"
                                         : "The results:\n\n");
        put_seen(&out, step, sees);
    }
    return (prompt_t) { make_system(step), buf_slice(&out) };
}
