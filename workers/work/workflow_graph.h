/* workflow_graph.h: steps and who waits for whom. */

#ifndef HIVE_WORKFLOW_GRAPH_H
#define HIVE_WORKFLOW_GRAPH_H

#include "workers/db/resource_parts.h"

typedef struct {
    slice_t name;
    const slice_t *needs;       /* names of those it waits for */
    size_t nneeds;
} graph_step_t;

#define GRAPH_EDGES_MAX 200000

/* By index of the steps. The parents of i, whom it waits for, are
 * parents[first_parent[i]] up to before parents[first_parent[i + 1]];
 * children likewise. */
typedef struct {
    const graph_step_t *steps;
    size_t nsteps;
    size_t nedges;
    uint32_t *parents, *first_parent;
    uint32_t *children, *first_child;
    uint32_t *depth;            /* of the longest way from a step that waits
                                   for nobody: 0 */
    uint32_t *by_name;          /* sorted */
    uint32_t *marks, *stack;    /* of graph_is_ancestor */
    uint32_t mark;
    size_t visits;
} graph_t;

/* In the report's arena; borrows the steps. Reports names that come twice,
 * are unknown, repeated in one list, and cycles, each under
 * "<field>[3].depends_on[0]". 0, or -1 when anything was reported. */
int graph_build(report_t *report, const char *field,
    const graph_step_t *steps, size_t nsteps, graph_t *out);

/* The index of a name, or -1. */
long graph_find(const graph_t *graph, slice_t name);

static inline size_t
graph_nparents(const graph_t *graph, size_t step)
{
    return graph->first_parent[step + 1] - graph->first_parent[step];
}

static inline size_t
graph_nchildren(const graph_t *graph, size_t step)
{
    return graph->first_child[step + 1] - graph->first_child[step];
}

/* Whether `step` begins only when `ancestor` has ended: 1, 0, or -1 when all
 * the calls for this graph have looked at more edges than is reasonable. */
int graph_is_ancestor(graph_t *graph, size_t ancestor, size_t step);

#endif
