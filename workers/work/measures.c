/* measures.c: the metrics of tasks.
 *
 * How many there are is counted in the table of what is unfinished, which
 * takes time in proportion: whoever has asked says when it may be asked again,
 * so that this takes a hundredth of one connection's time at most. */

#include "engine_internal.h"
#include "measures.h"

#include "workers/runtime/metrics.h"

#define ASK_MS     5000
#define ASK_TIMES  100         /* what it took, until it is asked again */
#define GIVE_UP_MS 60000       /* should whoever asks die of it */

static const char *const states[] = {
    "blocked", "scheduled", "ready", "running", "paused", NULL
};

static const char *const outcomes[] = {
    [OUTCOME_SUCCEEDED] = "succeeded", [OUTCOME_FAILED] = "failed",
    [OUTCOME_TIMED_OUT] = "timed_out", [OUTCOME_LOST] = "lost",
    [OUTCOME_CANCELLED] = "cancelled", [OUTCOME_PAUSED] = "paused", NULL
};

#define STATES (sizeof(states) / sizeof(states[0]) - 1)

static metric_t tasks = {
    .name = "hive_tasks", .type = METRIC_GAUGE,
    .help = "Unfinished tasks.",
    .named = "kind", .label = "state", .values = states,
};
static metric_t oldest_ready = {
    .name = "hive_task_oldest_ready_seconds", .type = METRIC_GAUGE,
    .help = "For how long the task that waits longest could have run.",
    .named = "kind",
};
static metric_t enqueued = {
    .name = "hive_tasks_enqueued_total", .type = METRIC_COUNTER,
    .help = "Tasks made.", .named = "kind",
};
static metric_t claim_seconds = {
    .name = "hive_task_claim_seconds", .type = METRIC_HISTOGRAM,
    .help = "From being ready to being claimed.", .named = "kind",
};
static metric_t run_seconds = {
    .name = "hive_task_run_seconds", .type = METRIC_HISTOGRAM,
    .help = "From the claim to the end of the attempt.", .named = "kind",
};
static metric_t attempts = {
    .name = "hive_task_attempts_total", .type = METRIC_COUNTER,
    .help = "Attempts that have ended.",
    .named = "kind", .label = "outcome", .values = outcomes,
};
static metric_t leases_lost = {
    .name = "hive_task_leases_lost_total", .type = METRIC_COUNTER,
    .help = "Attempts taken from a worker or runner that was not heard of.",
};

void
measures_init(void)
{
    metric_add(&tasks);
    metric_add(&oldest_ready);
    metric_add(&enqueued);
    metric_add(&claim_seconds);
    metric_add(&run_seconds);
    metric_add(&attempts);
    metric_add(&leases_lost);
}

void
measure_enqueued(slice_t kind, uint64_t count)
{
    metric_count(&enqueued, metric_name(kind), 0, count);
}

void
measure_claim(slice_t kind, int64_t due)
{
    int64_t now = engine_now_us();

    metric_observe(&claim_seconds, metric_name(kind), 0,
        now > due ? (uint64_t) (now - due) : 0);
}

void
measure_attempt(slice_t kind, outcome_t outcome, uint64_t ran_us)
{
    unsigned name = metric_name(kind);

    metric_count(&attempts, name, outcome, 1);
    if (ran_us > 0) {
        metric_observe(&run_seconds, name, 0, ran_us);
    }
}

void
measure_lost(uint64_t count)
{
    metric_count(&leases_lost, 0, 0, count);
}

/* ---- how many there are ---- */

typedef struct {
    double counts[METRIC_NAMES + 1][STATES];
    double oldest[METRIC_NAMES + 1];
} depths_t;

static unsigned
state_index(slice_t state)
{
    unsigned i = 0;

    while (i < STATES - 1 && (strlen(states[i]) != state.len
               || memcmp(states[i], state.data, state.len) != 0)) {
        i++;
    }
    return i;
}

static void
add_row(depths_t *depths, const db_row_t *row)
{
    unsigned name = metric_name(db_text(row, "kind"));
    slice_t state = db_text(row, "state");
    double oldest = (double) db_int(row, "oldest") / 1e6;

    depths->counts[name][state_index(state)] += (double) db_int(row, "n");
    if (slice_equal(state, SLICE("ready")) && oldest > depths->oldest[name]) {
        depths->oldest[name] = oldest;
    }
}

/* Of every kind that was ever heard of, so that none keeps an old value. */
static void
set_gauges(const depths_t *depths)
{
    unsigned names = metric_names();

    for (unsigned name = 0; name <= METRIC_OTHER; name++) {
        if (name >= names && name != METRIC_OTHER) {
            continue;
        }
        for (unsigned s = 0; s < STATES; s++) {
            metric_set(&tasks, name, s, depths->counts[name][s]);
        }
        metric_set(&oldest_ready, name, 0, depths->oldest[name]);
    }
}

static void
ask(request_t *rq, void *arg)
{
    const db_result_t *result = db_rows(rq, Q_TASK_DEPTHS);
    depths_t *depths = arena_zero(rq->arena, sizeof(*depths));

    (void) arg;
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);

        add_row(depths, &row);
    }
    set_gauges(depths);
}

void
measure_depths(request_t *rq, void *arg)
{
    uint64_t began = uv_hrtime() / 1000000, rest;
    int status;

    (void) arg;
    if (!metrics_due(began, began + GIVE_UP_MS)) {
        return;
    }

    status = rq_try(rq, ask, NULL);
    rest = (uv_hrtime() / 1000000 - began) * ASK_TIMES;
    metrics_due_at(began + (status == 0 && rest > ASK_MS ? rest : ASK_MS));
    if (status != 0) {
        rq_reraise(rq);
    }
}
