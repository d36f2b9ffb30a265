/* workflow_graph.c: from names to a graph in rows (compressed sparse rows),
 * sorted by Kahn's algorithm (CACM 5, 1962), which leaves exactly the steps
 * of cycles and those behind them. */

#include "workflow_graph.h"

#include <assert.h>
#include <stdlib.h>

#define CYCLE_SHOWN 12
#define FAULTS_MAX  100
#define VISITS_MAX  (20 * 1000 * 1000)
#define NOWHERE     UINT32_MAX

typedef struct {
    report_t *report;
    const char *field;
    graph_t *graph;
} building_t;

static void *
zeros(building_t *building, size_t count)
{
    return arena_zero(building->report->arena,
        (count + 1) * sizeof(uint32_t));
}

/* ---- names ---- */

static int
compare_text(slice_t a, slice_t b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

typedef struct {
    slice_t name;
    uint32_t index;
} named_t;

static int
compare_named(const void *a, const void *b)
{
    const named_t *x = a, *y = b;
    int order = compare_text(x->name, y->name);

    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static void
sort_names(building_t *building)
{
    graph_t *graph = building->graph;
    named_t *sorted = arena_alloc(building->report->arena,
        (graph->nsteps + 1) * sizeof(*sorted));

    for (size_t i = 0; i < graph->nsteps; i++) {
        sorted[i] = (named_t) { graph->steps[i].name, (uint32_t) i };
    }
    qsort(sorted, graph->nsteps, sizeof(*sorted), compare_named);
    graph->by_name = zeros(building, graph->nsteps);
    for (size_t i = 0; i < graph->nsteps; i++) {
        graph->by_name[i] = sorted[i].index;
        if (i > 0 && slice_equal(sorted[i].name, sorted[i - 1].name)
            && building->report->count < FAULTS_MAX)
        {
            report_invalid(building->report,
                arena_printf(building->report->arena, "%s[%u].name",
                    building->field, sorted[i].index),
                "duplicate_step", "another step has that name");
        }
    }
}

long
graph_find(const graph_t *graph, slice_t name)
{
    size_t low = 0, high = graph->nsteps;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t index = graph->by_name[middle];
        int order = compare_text(name, graph->steps[index].name);

        if (order == 0) {
            return (long) index;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return -1;
}

/* ---- edges ---- */

static void
edge_fault(building_t *building, size_t step, size_t need, const char *code,
    const char *message)
{
    report_invalid(building->report,
        arena_printf(building->report->arena, "%s[%zu].depends_on[%zu]",
            building->field, step, need), code, "%s", message);
}

/* `seen[p]` is the last step (and one) that has named p. */
static void
link_step(building_t *building, size_t step, uint32_t *seen)
{
    graph_t *graph = building->graph;
    const graph_step_t *self = &graph->steps[step];

    for (size_t i = 0;
        i < self->nneeds && building->report->count < FAULTS_MAX; i++)
    {
        long parent = graph_find(graph, self->needs[i]);

        if (parent < 0) {
            edge_fault(building, step, i, "unknown_step",
                "there is no step of that name");
            continue;
        }
        if (seen[parent] == step + 1) {
            edge_fault(building, step, i, "duplicate_dependency",
                "is named twice");
            continue;
        }
        seen[parent] = (uint32_t) step + 1;
        graph->parents[graph->nedges++] = (uint32_t) parent;
    }
}

static void
link_children(building_t *building)
{
    graph_t *graph = building->graph;
    uint32_t *next;

    for (size_t i = 0; i < graph->nedges; i++) {
        graph->first_child[graph->parents[i] + 1]++;
    }
    for (size_t i = 0; i < graph->nsteps; i++) {
        graph->first_child[i + 1] += graph->first_child[i];
    }
    next = zeros(building, graph->nsteps);
    memcpy(next, graph->first_child, graph->nsteps * sizeof(*next));
    for (size_t step = 0; step < graph->nsteps; step++) {
        for (uint32_t i = graph->first_parent[step];
            i < graph->first_parent[step + 1]; i++)
        {
            graph->children[next[graph->parents[i]]++] = (uint32_t) step;
        }
    }
}

/* 0, or -1 when there are too many to go on. */
static int
link_steps(building_t *building)
{
    graph_t *graph = building->graph;
    size_t named = 0;
    uint32_t *seen;

    for (size_t i = 0; i < graph->nsteps; i++) {
        named += graph->steps[i].nneeds;
    }
    if (named > GRAPH_EDGES_MAX) {
        report_invalid(building->report, building->field, "too_many",
            "must have at most %d dependencies in all", GRAPH_EDGES_MAX);
        return -1;
    }
    graph->parents = zeros(building, named);
    graph->children = zeros(building, named);
    graph->first_parent = zeros(building, graph->nsteps);
    graph->first_child = zeros(building, graph->nsteps);
    seen = zeros(building, graph->nsteps);
    for (size_t i = 0; i < graph->nsteps; i++) {
        link_step(building, i, seen);
        graph->first_parent[i + 1] = (uint32_t) graph->nedges;
    }
    link_children(building);
    return 0;
}

/* ---- order ---- */

/* Those that are left wait for each other, or behind such. */
static size_t
sort_steps(building_t *building, uint32_t *left)
{
    graph_t *graph = building->graph;
    uint32_t *queue = zeros(building, graph->nsteps);
    size_t head = 0, tail = 0;

    for (size_t i = 0; i < graph->nsteps; i++) {
        left[i] = (uint32_t) graph_nparents(graph, i);
        if (left[i] == 0) {
            queue[tail++] = (uint32_t) i;
        }
    }
    while (head < tail) {
        uint32_t step = queue[head++];

        for (uint32_t i = graph->first_child[step];
            i < graph->first_child[step + 1]; i++)
        {
            uint32_t child = graph->children[i];

            if (graph->depth[child] <= graph->depth[step]) {
                graph->depth[child] = graph->depth[step] + 1;
            }
            if (--left[child] == 0) {
                queue[tail++] = child;
            }
        }
    }
    return tail;
}

/* A parent that is left too: every one that is left has one. */
static uint32_t
left_parent(const graph_t *graph, const uint32_t *left, uint32_t step)
{
    for (uint32_t i = graph->first_parent[step];
        i < graph->first_parent[step + 1]; i++)
    {
        if (left[graph->parents[i]] > 0) {
            return graph->parents[i];
        }
    }
    assert(!"a parent in the cycle");
    return NOWHERE;
}

/* Walks from parent to parent until one comes again: those since are the
 * cycle, which reads forward when told from the last one back. */
static void
report_cycle(building_t *building, const uint32_t *left)
{
    graph_t *graph = building->graph;
    uint32_t *place = zeros(building, graph->nsteps);
    uint32_t *walk = zeros(building, graph->nsteps);
    size_t len = 0, from, shown = 0;
    uint32_t step = 0;
    buf_t text;

    while (left[step] == 0) {
        step++;
    }
    while (place[step] == 0) {
        walk[len++] = step;
        place[step] = (uint32_t) len;
        step = left_parent(graph, left, step);
    }
    from = place[step] - 1;

    buf_init(&text, building->report->arena, 256);
    buf_put(&text, graph->steps[step].name.data, graph->steps[step].name.len);
    for (size_t i = len; i > from; i--) {
        slice_t name = graph->steps[walk[i - 1]].name;

        if (++shown > CYCLE_SHOWN && i > from + 1) {
            if (shown == CYCLE_SHOWN + 1) {
                buf_puts(&text, " -> ...");
            }
            continue;
        }
        buf_puts(&text, " -> ");
        buf_put(&text, name.data, name.len);
    }
    report_invalid(building->report,
        arena_printf(building->report->arena, "%s[%u].depends_on",
            building->field, step),
        "dependency_cycle", "the steps wait for each other: %.*s",
        (int) text.len, text.data);
}

int
graph_build(report_t *report, const char *field, const graph_step_t *steps,
    size_t nsteps, graph_t *out)
{
    building_t building = { report, field, out };
    unsigned before = report->count;
    uint32_t *left;

    *out = (graph_t) { .steps = steps, .nsteps = nsteps };
    sort_names(&building);
    if (link_steps(&building) != 0) {
        return -1;
    }
    out->depth = zeros(&building, nsteps);
    left = zeros(&building, nsteps);
    if (sort_steps(&building, left) < nsteps) {
        report_cycle(&building, left);
    }
    out->marks = zeros(&building, nsteps);
    out->stack = zeros(&building, nsteps);
    return report->count == before ? 0 : -1;
}

/* ---- ancestors ---- */

/* Upwards from the step; what is not deeper than the one that is looked for
 * cannot lead to it. */
static int
climb(graph_t *graph, uint32_t step, uint32_t ancestor)
{
    size_t waiting = 0;

    graph->stack[waiting++] = step;
    while (waiting > 0) {
        step = graph->stack[--waiting];
        for (uint32_t i = graph->first_parent[step];
            i < graph->first_parent[step + 1]; i++)
        {
            uint32_t parent = graph->parents[i];

            graph->visits++;
            if (parent == ancestor) {
                return 1;
            }
            if (graph->marks[parent] != graph->mark
                && graph->depth[parent] > graph->depth[ancestor])
            {
                graph->marks[parent] = graph->mark;
                graph->stack[waiting++] = parent;
            }
        }
    }
    return 0;
}

int
graph_is_ancestor(graph_t *graph, size_t ancestor, size_t step)
{
    if (graph->visits > VISITS_MAX) {
        return -1;
    }
    graph->mark++;
    return climb(graph, (uint32_t) step, (uint32_t) ancestor);
}
