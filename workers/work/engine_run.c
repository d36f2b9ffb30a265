/* engine_run.c: attempts, from their claim to their last word.
 *
 * An attempt runs on a fiber of its own, within its time: the fiber's deadline
 * cancels it. Whoever wants it to end says why (work_stop) and cancels its
 * fiber, which is told so at its next suspension. One that does not listen is
 * settled without its fiber when its grace is over; what the fiber still says
 * is nobody's, and its slot is free when it has gone. */

#include "engine_internal.h"

#include "measures.h"
#include "template.h"

#include "workers/db/event.h"
#include "workers/runtime/log.h"

#include <stdio.h>
#include <stdlib.h>

#define RATE_MS 100

/* ---- life ---- */

/* What its row tells, to those who listen: many at once, so events do not
 * come back with the rows. */
void
work_tell(const work_t *work, const char *state, int64_t offset)
{
    char channel[5 + UUID_TEXT] = "task:";
    char type[24], data[64];
    int len, n;

    uuid_format(&work->run.id, channel + 5);
    len = snprintf(type, sizeof(type), "task.%s", state);
    n = snprintf(data, sizeof(data), "{\"state\":\"%s\",\"attempt\":%d}",
        state, work->run.attempt);
    event_emit(&(event_t) {
        .kind = EVENT_CHANGE,
        .channel = { channel, sizeof(channel) },
        .offset = offset,
        .type = { type, (size_t) len },
        .data = { data, (size_t) n },
        .time = engine_now_us(),
    });
}

/* The last of a claim that ends has its row go with the next beat. */
static void
claimed_leave(claimed_t *claimed)
{
    if (claimed == NULL || --claimed->left > 0) {
        return;
    }
    if (engine.nclaims_done == engine.claims_done_max) {
        size_t max = engine.claims_done_max * 2 + 64;
        hive_uuid_t *more = realloc(engine.claims_done, max * sizeof(*more));

        if (more == NULL) {
            abort();
        }
        engine.claims_done = more;
        engine.claims_done_max = max;
    }
    engine.claims_done[engine.nclaims_done++] = claimed->id;
    free(claimed);
}

void
work_claimed(work_t *work, claimed_t **claimed, hive_uuid_t id)
{
    if (*claimed == NULL) {
        *claimed = malloc(sizeof(**claimed));
        if (*claimed == NULL) {
            abort();
        }
        **claimed = (claimed_t) { id, 0 };
    }
    work->claimed = *claimed;
    (*claimed)->left++;
}

work_t *
work_new(kind_t *kind, const db_row_t *row, int held)
{
    slice_t input = db_text(row, "input");
    work_t *work = calloc(1, sizeof(*work) + input.len);

    if (work == NULL) {
        abort();
    }
    work->kind = kind;
    work->worker = engine.worker;
    work->run.id = db_uuid(row, "id");
    work->run.owner = db_uuid(row, "owner_id");
    work->run.run = db_uuid(row, "run_id");
    work->run.attempt = (int) db_int(row, "attempt");
    memcpy(work->input, input.data, input.len);
    work->run.input = (slice_t) { work->input, input.len };
    work->turn = db_int(row, "turn");
    work->deadline_at = db_time(row, "deadline_at");
    work->dependents = (int) db_int(row, "dependents");
    work->timeout_ms = (unsigned) db_int(row, "timeout_ms");
    work->templated = db_bool(row, "templated");
    work->event_seq = db_int(row, "event_seq");
    work->held = held;

    if (!db_bool(row, "freed")) {
        measure_claim(kind->name, db_time(row, "run_at"));
    }
    return work;
}

void
work_free(work_t *work)
{
    free(work->result);
    free(work->error);
    free(work->message);
    free(work->counters);
    claimed_leave(work->claimed);
    free(work);
}

work_t *
work_find(const hive_uuid_t *id)
{
    for (unsigned i = 0; i < engine.nkinds; i++) {
        struct work_list_s *const lists[] = {
            &engine.kinds[i].queue, &engine.kinds[i].active
        };

        for (int k = 0; k < 2; k++) {
            work_t *work;

            TAILQ_FOREACH(work, lists[k], link) {
                if (uuid_equal(&work->run.id, id) && !work->disowned) {
                    return work;
                }
            }
        }
    }
    return NULL;
}

/* ---- what executors say ---- */

static char *
copy(slice_t text)
{
    char *out = strndup(text.data, text.len);

    if (out == NULL) {
        abort();
    }
    return out;
}

static void
set_error(work_t *work, const char *code, const char *message)
{
    buf_t out;

    buf_init(&out, work->run.rq->arena, 256);
    buf_puts(&out, "{\"code\":");
    json_put_string(&out, (slice_t) { code, strlen(code) });
    buf_puts(&out, ",\"message\":");
    json_put_string(&out, (slice_t) { message, strlen(message) });
    buf_putc(&out, '}');
    free(work->error);
    work->error = copy(buf_slice(&out));
}

void
task_succeed(task_run_t *run, slice_t result)
{
    work_t *work = (work_t *) run;

    free(work->result);
    work->result = result.data == NULL ? NULL : copy(result);
    work->said = SAID_SUCCESS;
}

void
task_fail(task_run_t *run, int final, const char *code, const char *format,
    ...)
{
    work_t *work = (work_t *) run;
    va_list args;
    char *message;

    va_start(args, format);
    message = arena_vprintf(run->rq->arena, format, args);
    va_end(args);

    set_error(work, code, message);
    work->said = SAID_FAILURE;
    work->final = final;
}

void
task_retry_after(task_run_t *run, unsigned ms)
{
    ((work_t *) run)->after_ms = ms;
}

hive_uuid_t
task_worker(const task_run_t *run)
{
    return ((const work_t *) run)->worker;
}

void
task_cost(task_run_t *run, int64_t nano_usd)
{
    ((work_t *) run)->cost_nano_usd += nano_usd;
}

void
task_progress(task_run_t *run, double share, slice_t message,
    slice_t counters)
{
    work_t *work = (work_t *) run;

    work->share = share < 0 ? 0 : share > 1 ? 1 : share;
    if (message.data != NULL) {
        free(work->message);
        work->message = copy(message);
    }
    if (counters.data != NULL) {
        free(work->counters);
        work->counters = copy(counters);
    }
    progress_changed(work);
}

/* ---- running ---- */

static void
call_executor(request_t *rq, void *arg)
{
    work_t *work = arg;

    if (work->templated) {
        work->run.input = template_fill(rq, work->run.id, work->run.run,
            work->run.input);
    }
    work->kind->executor->run(&work->run);
}

/* Within its bounds: what it said is in the work. */
static void
attempt(request_t *rq, work_t *work)
{
    int status;

    work->run.rq = rq;
    status = rq_try(rq, call_executor, work);
    if (status != 0 && work->said != SAID_SUCCESS) {
        work->said = SAID_FAILURE;
        work->final = status == 422;    /* nobody could: what is asked is wrong */
        set_error(work, rq_problem_code(rq), rq_problem_detail(rq));
    }
    work->ran = uv_hrtime() - work->began;
}

static void
count_end(kind_t *kind)
{
    uint64_t now = uv_hrtime();

    kind->rate_count++;
    if (now >= kind->rate_since + RATE_MS * MS) {
        double rate = kind->rate_count * 1e9
            / (double) (now - kind->rate_since);

        /* After a pause nothing is known. */
        kind->rate = now - kind->rate_since > 1000 * MS
            ? rate : (kind->rate + rate) / 2;
        kind->rate_since = now;
        kind->rate_count = 0;
    }
}

/* Why its fiber was cancelled, if nobody has said. */
static void
note_time(work_t *work)
{
    if (work->stop == STOP_NONE && work->fiber != NULL
        && fiber_cancelled(work->fiber)) {
        work->stop_at = uv_hrtime();
        work->stop = work->deadline_at != 0
            && engine_now_us() >= work->deadline_at
            ? STOP_DEADLINE : STOP_TIMEOUT;
    }
}

static void
run_body(request_t *rq, void *arg)
{
    work_t *work = arg;
    kind_t *kind = work->kind;

    attempt(rq, work);
    fiber_deadline(fiber_self(), 0);
    note_time(work);
    work->fiber = NULL;
    TAILQ_REMOVE(&kind->active, work, link);
    kind->running--;
    count_end(kind);
    if (work->disowned) {
        work_free(work);
    } else {
        finish_add(work);
    }
    run_queued(kind);
    if (kind->hungry) {
        fetch_wake(kind);
    }
}

/* When its time is over; 0: never. */
static uint64_t
bound_of(const work_t *work)
{
    uint64_t now = uv_hrtime(), at = 0;

    if (work->timeout_ms > 0) {
        at = now + work->timeout_ms * MS;
    }
    if (work->deadline_at != 0) {
        int64_t left = work->deadline_at - engine_now_us();
        uint64_t then = now + (left > 0 ? (uint64_t) left * 1000 : 0);

        at = at == 0 || then < at ? then : at;
    }
    return at;
}

/* 0, or negative when there is no fiber for it now. */
static int
start(work_t *work)
{
    kind_t *kind = work->kind;
    int rc = job_start(engine.config.fibers, kind->executor->kind, run_body,
        work, &work->fiber);
    uint64_t bound;

    if (rc != 0) {
        return rc;
    }
    work->place = WORK_RUNNING;
    work->began = uv_hrtime();
    kind->running++;
    TAILQ_INSERT_TAIL(&kind->active, work, link);
    bound = bound_of(work);
    if (bound != 0) {
        fiber_deadline(work->fiber, bound);
    }
    return 0;
}

void
run_queue(work_t *work)
{
    work->place = WORK_QUEUED;
    work->kind->queued++;
    TAILQ_INSERT_TAIL(&work->kind->queue, work, link);
    if (engine.stopping) {
        work_stop(work, STOP_RELEASE);
    }
}

void
run_queued(kind_t *kind)
{
    work_t *work;

    while (kind->running < kind->slots && !engine.stopping && engine_alive()
           && (work = TAILQ_FIRST(&kind->queue)) != NULL) {
        TAILQ_REMOVE(&kind->queue, work, link);
        kind->queued--;
        if (start(work) != 0) {
            TAILQ_INSERT_HEAD(&kind->queue, work, link);
            kind->queued++;
            return;
        }
    }
}

void
run_instant(request_t *rq, work_t *work)
{
    work->place = WORK_RUNNING;
    work->began = uv_hrtime();
    attempt(rq, work);
}

/* ---- stopping ---- */

void
work_stop(work_t *work, work_stop_t stop)
{
    kind_t *kind = work->kind;

    if (stop <= work->stop) {
        return;
    }
    work->stop = stop;
    if (work->place == WORK_QUEUED) {
        TAILQ_REMOVE(&kind->queue, work, link);
        kind->queued--;
        finish_add(work);
    } else if (work->place == WORK_RUNNING) {
        if (work->stop_at == 0) {
            work->stop_at = uv_hrtime();
        }
        work->disowned |= stop == STOP_REAPED;
        if (work->fiber != NULL) {
            fiber_cancel(work->fiber);
        }
    }
}

void
works_stop(work_stop_t stop)
{
    for (unsigned i = 0; i < engine.nkinds; i++) {
        kind_t *kind = &engine.kinds[i];
        work_t *work;

        while ((work = TAILQ_FIRST(&kind->queue)) != NULL) {
            work_stop(work, stop);
        }
        TAILQ_FOREACH(work, &kind->active, link) {
            work_stop(work, stop);
        }
    }
}

/* Another one stands for it, which has no fiber and has said nothing. */
static void
disown(work_t *work)
{
    work_t *ghost = calloc(1, sizeof(*ghost));

    if (ghost == NULL) {
        abort();
    }
    ghost->kind = work->kind;
    ghost->worker = work->worker;
    ghost->run = work->run;
    ghost->run.rq = NULL;
    ghost->run.input = SLICE_NONE;
    ghost->dependents = work->dependents;
    ghost->began = work->began;
    ghost->stop = work->stop;
    work->disowned = 1;
    work->progress_due = 0;
    log_warn("a task of kind %s does not stop: settled without it",
        work->kind->executor->kind);
    finish_add(ghost);
}

void
run_mind(int now)
{
    uint64_t grace = engine.config.cancel_grace_ms * MS;

    for (unsigned i = 0; i < engine.nkinds; i++) {
        work_t *work;

        TAILQ_FOREACH(work, &engine.kinds[i].active, link) {
            note_time(work);
            if (work->stop != STOP_NONE && !work->disowned
                && (now || uv_hrtime() >= work->stop_at + grace)) {
                disown(work);
            }
        }
    }
}
