/* metrics.h: what the worker processes count, as Prometheus text.
 *
 * The values live in memory that the supervisor shares with its processes: a
 * region for each slot and side, which only the process there writes, and
 * which its successor goes on with. So a counter outlives the process that
 * counted (it begins anew with the supervisor), and any process can tell what
 * all have counted: nginx asks one of them (WIRE_METRICS).
 *
 *     static metric_t attempts = {
 *         .name = "hive_task_attempts_total", .type = METRIC_COUNTER,
 *         .help = "Attempts that have ended.",
 *         .named = "kind", .label = "outcome", .values = outcomes,
 *     };
 *
 *     metric_add(&attempts);
 *     metric_count(&attempts, metric_name(kind), OUTCOME_FAILED, 1);
 *
 * A metric has up to two labels: one whose values are known in advance, and
 * one whose values are names met on the way (kinds of tasks), of which the
 * first METRIC_NAMES are told apart and all others are "other". So there are
 * as many series as the code allows, whatever users think of.
 *
 * A gauge is not of a process: what was set last, by any of them, is its
 * value. Where nothing was shared (unit tests) nothing is counted. */

#ifndef HIVE_METRICS_H
#define HIVE_METRICS_H

#include "arena.h"

#include <stdint.h>

#define METRIC_NAMES    50
#define METRIC_OTHER    METRIC_NAMES   /* the name of all further names */
#define METRIC_NAME_MAX 128            /* bytes; longer ones are "other" */

typedef enum { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM } metric_type_t;

typedef struct {
    const char *name;
    const char *help;
    metric_type_t type;
    const char *named;             /* label of the names; NULL: has none */
    const char *label;             /* label of `values`; NULL: has none */
    const char *const *values;     /* NULL-terminated */

    unsigned nvalues;              /* set by metric_add */
    unsigned first;
} metric_t;

/* ---- life ---- */

/* In the supervisor, before it forks: room for that many regions. 0 or
 * negative errno. */
int metrics_new(unsigned regions);
void metrics_free(void);

/* In the fork: what this process counts goes to that region. */
void metrics_join(unsigned region);

/* Adds a metric; all processes add the same ones in the same order, at their
 * start. Borrowed for ever. */
void metric_add(metric_t *metric);

/* ---- counting ---- */

/* The number of a name, for the calls below; the same in all processes. */
unsigned metric_name(slice_t text);

/* How many have one: 0 up to it, METRIC_OTHER apart. */
unsigned metric_names(void);

/* `name` is 0 for a metric without names, `value` an index into its values,
 * or 0. */
void metric_count(const metric_t *metric, unsigned name, unsigned value,
    uint64_t more);
void metric_observe(const metric_t *metric, unsigned name, unsigned value,
    uint64_t microseconds);
void metric_set(const metric_t *metric, unsigned name, unsigned value,
    double to);

/* Gauges about what all processes share (the database) are asked for by one
 * of them: nonzero for whoever calls first at or after the time that is due,
 * which then is `next_ms`. Monotonic milliseconds; metrics_due_at moves the
 * time that is due. */
int metrics_due(uint64_t now_ms, uint64_t next_ms);
void metrics_due_at(uint64_t at_ms);

/* ---- telling ---- */

/* Appends the text of all series that have a value. Histograms are in
 * seconds. */
void metrics_put(buf_t *out);

#endif
