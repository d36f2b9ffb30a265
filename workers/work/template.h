/* template.h: values quoted in the inputs of steps.
 *
 * Any string in an input may hold templates:
 *
 *     {{ inputs.user.name }}          of the run's input
 *     {{ steps.fetch.result.items.0 }} of a step that has ended: result,
 *                                     state, error
 *     {{ run.id }}                    also run.name, run.workflow_id
 *     {{ schedule.time }}             also schedule.id, schedule.name: in the
 *                                     input that a schedule gives, only there
 *
 * A path is names of [A-Za-z0-9_-] and indexes of arrays, joined by dots. A
 * string that is one template becomes the value, with its type; within a
 * longer string text stands as it is and all else as JSON. \{{ is a plain {{.
 * Names of members are never templates, and what was filled in is not looked
 * at again. */

#ifndef HIVE_TEMPLATE_H
#define HIVE_TEMPLATE_H

#include "workers/db/resource_parts.h"

/* Of an input with everything filled in. */
#define TEMPLATE_BYTES_MAX (1024 * 1024)

typedef struct {
    slice_t text;               /* "steps.fetch.result.items.0" */
    slice_t root;               /* "steps" */
    slice_t step;               /* "fetch", of steps; else no data */
} quote_t;

/* Calls fn for each quote in the strings of `json`, and reports templates
 * that cannot be read, under `field`. */
typedef void (*quote_fn)(void *arg, const char *field, const quote_t *quote);
void template_scan(report_t *report, const char *field, const json_t *json,
    quote_fn fn, void *arg);

/* Whether any string of it has a template or an escape. */
int template_present(const json_t *json);

/* What a path leads to in {"inputs": {}, "run": {}, ...}; NULL: nothing.
 * Borrowed from `values`. */
json_t *template_find(const json_t *values, slice_t path);

/* Returns owned: `json` with all quotes filled from `values`, or NULL with
 * *why (in the arena). */
json_t *template_apply(arena_t *arena, const json_t *json,
    const json_t *values, const char **why);

/* As JSON text in the arena; no data when it is longer than
 * TEMPLATE_BYTES_MAX. */
slice_t template_dump(arena_t *arena, const json_t *json);

/* The input of a claimed task that has `templated` set: quotes of its run,
 * and of what has ended there, are filled in. Raises 422 "template_error",
 * which trying again would not mend. In the arena. */
slice_t template_fill(request_t *rq, hive_uuid_t task, hive_uuid_t run,
    slice_t input);

#endif
