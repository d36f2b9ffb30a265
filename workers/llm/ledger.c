/* ledger.c: the ledger of what models have cost: a row for each try. */

#include "internal.h"

#include "workers/db/resource.h"
#include "workers/runtime/job.h"
#include "workers/runtime/log.h"

#include <stdlib.h>

#define TICK_MS    2000
#define LOST_MAX   500
#define CLOSES_MAX 5            /* times that a close is tried */
#define CLOSE_MS   200          /* between them, more each time */

static fiber_t *keeper;

static value_t
optional(const hive_uuid_t *id)
{
    return uuid_is_zero(id) ? value_null() : value_uuid(*id);
}

typedef struct {
    hive_uuid_t row;
    const spender_t *by;
    const model_t *model;
    unsigned number;
    int64_t prompt_tokens;
} opening_t;

static void
open_row(request_t *rq, void *arg)
{
    const opening_t *opening = arg;
    const spender_t *by = opening->by;

    db_release(db_rows(rq, Q_USAGE_OPEN, value_uuid(opening->row),
        value_int(opening->number), value_uuid(by->owner),
        optional(&by->project), optional(&by->swarm), optional(&by->agent),
        optional(&by->run), optional(&by->task),
        by->attempt > 0 ? value_int(by->attempt) : value_null(),
        optional(&by->worker), value_text(opening->model->id),
        value_string(opening->model->provider->name),
        value_int(opening->prompt_tokens)));
}

/* Not to be cancelled while it waits: the row could be there, and nobody would
 * close it. */
hive_uuid_t
ledger_open(request_t *rq, const spender_t *by, const model_t *model,
    unsigned number, int64_t prompt_tokens)
{
    opening_t opening = { resource_new_id(), by, model, number,
        prompt_tokens };
    int shielded = fiber_shield(1);
    int status = rq_try(rq, open_row, &opening);

    fiber_shield(shielded);
    if (status != 0) {
        rq_reraise(rq);
    }
    return opening.row;
}

/* ---- the end of a try ---- */

typedef struct {
    hive_uuid_t row;
    const generated_t *said;
    uint64_t began;
    int64_t nano_usd;
} closing_t;

static value_t
text_or_null(slice_t text)
{
    return text.data != NULL ? value_text(text) : value_null();
}

static const char *
state_of(const generated_t *said)
{
    return said->end == GENERATED ? "succeeded"
        : said->end == GENERATE_CANCELLED ? "cancelled" : "failed";
}

static void
close_row(request_t *rq, void *arg)
{
    closing_t *closing = arg;
    const generated_t *said = closing->said;
    const token_counts_t *tokens = &said->tokens;
    const db_row_t *row = db_row(rq, Q_USAGE_CLOSE,
        value_uuid(closing->row), value_string(state_of(said)),
        value_bool(!said->reported), value_int(tokens->input),
        value_int(tokens->cache_read), value_int(tokens->cache_write_5m),
        value_int(tokens->cache_write_1h), value_int(tokens->output),
        value_int(tokens->reasoning),
        said->first_at > closing->began
            ? value_int((int64_t) (said->first_at - closing->began) / 1000000)
            : value_null(),
        said->status > 0 ? value_int(said->status) : value_null(),
        text_or_null(said->request_id),
        said->code != NULL ? value_string(said->code) : value_null());

    if (row != NULL) {
        closing->nano_usd = db_int(row, "nano_usd");
    }
}

void
ledger_close(request_t *rq, hive_uuid_t row, const generated_t *said,
    uint64_t began, int64_t *nano_usd)
{
    closing_t closing = { row, said, began, 0 };
    int shielded = fiber_shield(1), status = 0;

    for (uint64_t n = 1; n <= CLOSES_MAX; n++) {
        status = rq_try(rq, close_row, &closing);
        if (status == 0 || fiber_sleep(n * CLOSE_MS) != 0) {
            break;
        }
    }
    if (status != 0) {
        log_warn("a row of the ledger stays open: %s",
            rq_problem_detail(rq));
    }
    fiber_shield(shielded);
    *nano_usd += closing.nano_usd;
}

/* ---- while it lasts ---- */

typedef struct {
    hive_uuid_t row;
    int64_t output;
} note_t;

static void
note(request_t *rq, void *arg)
{
    note_t given = *(note_t *) arg;

    free(arg);
    db_exec(rq, Q_USAGE_NOTE, value_uuid(given.row), value_int(given.output));
}

void
ledger_note(hive_uuid_t row, int64_t output)
{
    note_t *given;

    if (llm.stopping) {
        return;                 /* its fiber could outlive the others */
    }
    given = malloc(sizeof(*given));
    if (given == NULL) {
        abort();
    }
    *given = (note_t) { row, output };
    if (job_start(llm.fibers, "usage note", note, given, NULL) != 0) {
        free(given);            /* the next one will tell more */
    }
}

/* ---- the dead ---- */

static void
sweep(request_t *rq, void *arg)
{
    const db_row_t *row;

    (void) arg;
    if (db_row(rq, Q_CHORE_TAKE, value_string("usage"), value_int(TICK_MS))
        == NULL)
    {
        return;
    }
    row = db_row(rq, Q_USAGE_LOST, value_int(LOST_MAX));
    if (row != NULL && db_int(row, "n") > 0) {
        log_info("%lld tries at models were lost with their process",
            (long long) db_int(row, "n"));
    }
}

static void
keep(request_t *rq, void *arg)
{
    (void) arg;
    while (fiber_sleep(TICK_MS) == 0) {
        job_step(rq, sweep, NULL);
    }
    keeper = NULL;
}

int
ledger_start(fiber_sched_t *fibers)
{
    return job_start(fibers, "usage", keep, NULL, &keeper);
}

void
ledger_stop(void)
{
    if (keeper != NULL) {
        fiber_cancel(keeper);
    }
}
