/* run_view.h: what is known of a run that is being watched: its steps, who
 * does them, what they write now. Filled from GET and from events, in any order
 * and more than once. */

#ifndef HIVE_CLI_RUN_VIEW_H
#define HIVE_CLI_RUN_VIEW_H

#include "cli.h"

#include <time.h>

#define STEPS_MAX 400
#define TAIL_MAX  400

typedef struct {
    char name[64], title[256], role[16], state[16], model[104];
    char agent[104];            /* its name */
    char task[40];
    int attempt;
    json_int_t input_tokens, output_tokens, nano_usd;
    char tail[TAIL_MAX];        /* the end of what it has written */
    size_t tail_len;
    size_t bytes;               /* of all it has written in this attempt */
    double began, ended;        /* seconds, ours */
} step_view_t;

typedef struct {
    char id[40], state[16];
    char *description;
    step_view_t steps[STEPS_MAX];
    size_t count;
    json_t *agents;             /* names by id */
    double began;
} run_view_t;

double view_now(void);

/* The reply of GET swarms/{id}/tasks/{run}. */
void view_take_run(run_view_t *view, const json_t *run);

/* An event of the swarm's channel. Returns the step it was about, or NULL. */
step_view_t *view_take_event(run_view_t *view, const json_t *event);

int view_ended(const run_view_t *view);

/* Draws it over the `drawn` lines above the cursor; returns how many there are
 * now (run_draw.c). */
int view_draw(const run_view_t *view, int drawn);

#endif
