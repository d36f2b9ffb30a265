/* runner_claim.c: POST /tasks/claim: tasks for a program elsewhere, at once or
 * as soon as there are any.
 *
 * A claim that waits is a fiber that sleeps until somebody says that a task of
 * its kinds is ready (runner_wake), with a look of its own about each second,
 * should nobody have said it. One look is one statement in the read lanes,
 * whatever the number of kinds. When a wake-up was for others (another owner's
 * task, or another runner was faster), it looks the less often the more such
 * there are. */

#include "engine.h"
#include "measures.h"
#include "runner.h"
#include "task.h"
#include "template.h"

#include "workers/db/event.h"
#include "workers/runtime/log.h"
#include "workers/runtime/server.h"

#define KINDS_MAX     32
#define TASKS_MAX     100
#define WAIT_MS_MAX   25000
#define WAITERS_MAX   128      /* each holds a request that nginx counts */
#define OWNER_MAX     32       /* of them, of one owner */
#define LOOK_MS_MIN   500
#define LOOK_MS_MAX   1000
#define VAIN_MS_FIRST 5
#define VAIN_MS_MAX   250
#define MARGIN_MS     1000     /* for the reply, before the deadline */
#define MS            UINT64_C(1000000)

static const column_t claim_columns[] = {
    { "kinds", COLUMN_TEXTS, REQUIRED | WRITABLE, .min = 1,
        .max = KINDS_MAX },
    { "max", COLUMN_INT, WRITABLE, .min = 1, .max = TASKS_MAX,
        .fallback = "1" },
    { "wait_ms", COLUMN_INT, WRITABLE, .min = 0, .max = WAIT_MS_MAX,
        .fallback = "0" },
    { "lease_ms", COLUMN_INT, WRITABLE, .min = LEASE_MS_MIN,
        .max = LEASE_MS_MAX, .fallback = "30000" },
};

#define CLAIM_COLUMNS (sizeof(claim_columns) / sizeof(claim_columns[0]))

typedef struct claim_s claim_t;

struct claim_s {
    claim_t *next, **prev;     /* of those that wait */
    request_t *rq;
    const slice_t *kinds;
    size_t nkinds;
    size_t left;               /* tasks that may still be taken */
    unsigned lease_ms;
    hive_uuid_t token;
    buf_t out;
    unsigned written;

    int woken;
    uint64_t until;
    uint64_t look_at;          /* at the latest */
    uint64_t rest_until;       /* woken in vain: not before */
    unsigned vain_ms;
};

static claim_t *waiting;
static unsigned nwaiting;

/* ---- who waits ---- */

void
runner_wake(slice_t kind)
{
    for (claim_t *claim = waiting; claim != NULL; claim = claim->next) {
        for (size_t i = 0; i < claim->nkinds && !claim->woken; i++) {
            if (slice_equal(claim->kinds[i], kind)) {
                claim->woken = 1;
                fiber_wake(claim->rq->fiber);
            }
        }
    }
}

static void
stop_waiting(void *arg)
{
    claim_t *claim = arg;

    *claim->prev = claim->next;
    if (claim->next != NULL) {
        claim->next->prev = claim->prev;
    }
    nwaiting--;
}

/* Nonzero when there is room for one more to wait. */
static int
start_waiting(claim_t *claim)
{
    unsigned own = 0;

    for (const claim_t *c = waiting; c != NULL; c = c->next) {
        own += (unsigned) uuid_equal(&c->rq->user, &claim->rq->user);
    }
    if (nwaiting >= WAITERS_MAX || own >= OWNER_MAX) {
        return 0;
    }

    claim->next = waiting;
    claim->prev = &waiting;
    if (waiting != NULL) {
        waiting->prev = &claim->next;
    }
    waiting = claim;
    nwaiting++;
    arena_cleanup(claim->rq->arena, stop_waiting, claim);
    return 1;
}

/* ---- a task of the reply ---- */

typedef struct {
    hive_uuid_t id, run;
    slice_t input;
} fill_t;

static void
fill(request_t *rq, void *arg)
{
    fill_t *filled = arg;

    filled->input = template_fill(rq, filled->id, filled->run, filled->input);
}

/* No attempt would do better: it is settled, and nobody is told. */
static void
fail_unfilled(claim_t *claim, const db_row_t *row)
{
    request_t *rq = claim->rq;
    settle_t item = {
        .id = db_uuid(row, "id"), .worker = claim->token,
        .attempt = (int) db_int(row, "attempt"),
        .dependents = (int) db_int(row, "_dependents"),
        .run = db_uuid(row, "run_id"), .end = END_FAILED,
    };
    const char *detail = rq_problem_detail(rq);
    buf_t error;

    buf_init(&error, rq->arena, 256);
    buf_puts(&error, "{\"code\":\"template_error\",\"message\":");
    json_put_string(&error, (slice_t) { detail, strlen(detail) });
    buf_putc(&error, '}');
    item.error = buf_slice(&error);
    tasks_settle(rq, &item, 1);
    measure_attempt(db_text(row, "kind"), OUTCOME_FAILED, 0);
}

/* Nonzero when the task has its input. */
static int
fill_input(claim_t *claim, const db_row_t *row, slice_t *input)
{
    fill_t filled = { db_uuid(row, "id"), db_uuid(row, "run_id"), *input };
    int status = rq_try(claim->rq, fill, &filled);

    if (status == 0) {
        *input = filled.input;
        return 1;
    }
    if (status != 422) {
        rq_reraise(claim->rq);
    }
    fail_unfilled(claim, row);
    return 0;
}

static void
put_task(claim_t *claim, const db_row_t *row)
{
    slice_t input = db_text(row, "_input");
    buf_t *out = &claim->out;

    if (db_bool(row, "_templated") && !fill_input(claim, row, &input)) {
        return;
    }
    if (claim->written++ > 0) {
        buf_putc(out, ',');
    }
    db_json_row(out, row);
    out->len--;
    buf_puts(out, ",\"input\":");
    buf_put(out, input.data, input.len);
    buf_putc(out, '}');
}

/* ---- taking ---- */

typedef struct {
    claim_t *claim;
    slice_t kind;
    size_t want, seen;
} take_t;

static void
take(request_t *rq, void *arg)
{
    take_t *taken = arg;
    claim_t *claim = taken->claim;
    const db_result_t *result = db_rows(rq, Q_RUNNER_CLAIM,
        value_uuid(rq->user), value_text(taken->kind),
        value_int((int64_t) taken->want), value_uuid(claim->token),
        value_int(claim->lease_ms), value_bool(engine_events()));

    claim->left -= (size_t) result->nrows;
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);

        taken->seen = (size_t) db_int(&row, "_seen");
        if (!db_bool(&row, "_freed")) {
            measure_claim(taken->kind, db_time(&row, "_due"));
        }
        turn_claimed(taken->kind, db_int(&row, "_turn"));
        if (engine_events()) {
            event_publish(rq, &row);
        }
        put_task(claim, &row);
    }
}

/* Once something has been taken, it is handed out, whatever else fails: only
 * its lease would bring it back. Nonzero when it went well. */
static int
take_some(take_t *taken)
{
    request_t *rq = taken->claim->rq;

    if (rq_try(rq, take, taken) == 0) {
        return 1;
    }
    if (taken->claim->written == 0) {
        rq_reraise(rq);
    }
    log_warn("claiming more tasks failed: %s", rq_problem_code(rq));
    return 0;
}

/* In turn from each kind that has some, so that none keeps the others from
 * being run: an equal share first, then what is left. */
static void
take_all(claim_t *claim, const db_result_t *ready)
{
    size_t n = (size_t) ready->nrows, first, more = n;
    int *empty = arena_zero(claim->rq->arena, (n + 1) * sizeof(*empty));

    first = n > 0 ? uv_hrtime() / 1024 % n : 0;
    while (claim->left > 0 && more > 0) {
        size_t share = (claim->left + more - 1) / more;

        for (size_t i = 0; i < n && claim->left > 0; i++) {
            size_t at = (first + i) % n;
            db_row_t row = db_row_at(ready, (int) at);
            take_t taken = { claim, db_text(&row, "kind"),
                share < claim->left ? share : claim->left, 0 };

            if (empty[at]) {
                continue;
            }
            if (!take_some(&taken)) {
                return;
            }
            if (taken.seen < taken.want) {
                empty[at] = 1;
                more--;
            }
        }
    }
}

static void
look(claim_t *claim)
{
    request_t *rq = claim->rq;

    claim->woken = 0;
    take_all(claim, db_rows(rq, Q_RUNNER_READY, value_uuid(rq->user),
        value_texts(claim->kinds, claim->nkinds)));
}

/* ---- waiting ---- */

static void
look_later(claim_t *claim, uint64_t now, int in_vain)
{
    uint64_t spread = LOOK_MS_MAX - LOOK_MS_MIN;

    claim->look_at = now + (LOOK_MS_MIN + now / 1024 % spread) * MS;
    if (!in_vain) {
        claim->vain_ms = 0;
        claim->rest_until = 0;
        return;
    }
    claim->vain_ms = claim->vain_ms == 0 ? VAIN_MS_FIRST
                                         : claim->vain_ms * 2;
    if (claim->vain_ms > VAIN_MS_MAX) {
        claim->vain_ms = VAIN_MS_MAX;
    }
    claim->rest_until = now + claim->vain_ms * MS;
}

/* Until it is worth another look: 1; 0 when its time is over. */
static int
wait_for_more(claim_t *claim, int was_woken)
{
    uint64_t now = uv_hrtime();
    server_facts_t server;

    look_later(claim, now, was_woken);
    while (now < claim->until) {
        uint64_t at = claim->look_at;

        server_facts(&server);
        if (server.draining) {
            return 0;          /* the next claim finds another process */
        }
        if (claim->woken && claim->rest_until < at) {
            at = claim->rest_until;
        }
        if (now >= at) {
            return 1;
        }
        if (fiber_suspend_until("a task to claim",
                at < claim->until ? at : claim->until) == UV_ECANCELED) {
            rq_raise_cancelled(claim->rq);
        }
        now = uv_hrtime();
    }
    return 0;
}

static void
wait_and_take(claim_t *claim, int64_t wait_ms)
{
    int64_t most = rq_time_left(claim->rq) - MARGIN_MS;
    int was_woken = 0;

    if (wait_ms > most) {
        wait_ms = most > 0 ? most : 0;
    }
    claim->until = uv_hrtime() + (uint64_t) wait_ms * MS;
    if (wait_ms > 0 && !start_waiting(claim)) {
        rq_reply_header(claim->rq, "retry-after", SLICE("1"));
        claim->until = 0;
    }

    for ( ;; ) {
        look(claim);
        if (claim->written > 0 || !wait_for_more(claim, was_woken)) {
            return;
        }
        was_woken = claim->woken;
    }
}

void
op_task_claim(request_t *rq)
{
    assignment_t body[CLAIM_COLUMNS];
    claim_t *claim = arena_zero(rq->arena, sizeof(*claim));

    runner_read(rq, "claim", claim_columns, CLAIM_COLUMNS, body);
    claim->rq = rq;
    claim->kinds = body[0].value.as.texts.items;
    claim->nkinds = body[0].value.as.texts.count;
    claim->left = (size_t) body[1].value.as.integer;
    claim->lease_ms = (unsigned) body[3].value.as.integer;
    claim->token = lease_token_new(claim->lease_ms);
    buf_init(&claim->out, rq->arena, 1024);
    buf_puts(&claim->out, "{\"tasks\":[");

    wait_and_take(claim, body[2].value.as.integer);
    buf_puts(&claim->out, "]}");
    rq_reply_header(rq, "cache-control", SLICE("no-store"));
    rq_reply(rq, 200, buf_slice(&claim->out));
}
