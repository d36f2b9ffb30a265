/* task_input.h: tasks and changes to them, as clients write them. */

#ifndef HIVE_TASK_INPUT_H
#define HIVE_TASK_INPUT_H

#include "task.h"

#include "workers/db/resource_parts.h"

#define TASK_INPUT_MAX   (256 * 1024)
#define TASK_LABELS_MAX  20
#define TASK_DEPENDS_MAX 1000

typedef struct {
    new_task_t task;             /* without id and owner */
    hive_uuid_t *depends_on;     /* each once */
    size_t ndepends_on;
} task_input_t;

/* Reads what POST /tasks takes. 0, or -1 with every fault reported; texts
 * point into `body` and the report's arena. */
int task_input_read(report_t *report, const json_t *body, task_input_t *out);

typedef struct {
    slice_t columns;             /* JSON object: what the columns become */
    int count;                   /* members of it */
    int priority;                /* -1: not changed */
    int reorders;                /* its turn may change */
} task_patch_t;

/* Reads what PATCH /tasks/{id} takes (JSON merge patch). As above. `skip`: a
 * member that is not part of the patch, or NULL. */
int task_patch_read(report_t *report, const json_t *body, const char *skip,
    task_patch_t *out);

/* The patch that gives a task the content of another (on_duplicate). */
task_patch_t task_patch_of(arena_t *arena, const new_task_t *task);

#endif
