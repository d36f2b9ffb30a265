/* schedule_fire.c: firing schedules. Each process has a job that sleeps until
 * the next one is due. The row's lock elects who fires it; what it makes and
 * its next time are one transaction, so that a process that dies has either
 * fired it or left it to another. */

#include "schedule.h"

#include "run.h"
#include "task_input.h"
#include "template.h"
#include "work.h"

#include "workers/db/event.h"
#include "workers/runtime/fault.h"
#include "workers/runtime/job.h"
#include "workers/runtime/log.h"

#include <assert.h>

#define POLL_MS     1000
#define FAILED_MS   2000
#define AGAIN_US    (10 * SECOND_US)   /* after a failure that may pass */

/* ---- what a schedule may make ---- */

static void
check_quote(void *arg, const char *field, const quote_t *quote)
{
    slice_t text = quote->text;

    if (!slice_equal(quote->root, SLICE("schedule"))
        || !(slice_equal(text, SLICE("schedule.time"))
             || slice_equal(text, SLICE("schedule.id"))
             || slice_equal(text, SLICE("schedule.name"))))
    {
        report_invalid(arg, field, "invalid_template",
            "can quote schedule.time, schedule.id and schedule.name");
    }
}

void
schedule_check_input(report_t *report, const char *field, const json_t *input)
{
    template_scan(report, field, input, check_quote, report);
}

typedef struct {
    report_t *outer;
} inner_t;

static void
report_task(void *arg, const char *field, const char *code,
    const char *message)
{
    inner_t *inner = arg;

    report_invalid(inner->outer,
        arena_printf(inner->outer->arena, "task.%s", field), code, "%s",
        message);
}

/* Nothing that names another task or a moment: it is made again and again. */
static const char *
forbidden_member(const json_t *task)
{
    static const char *const names[] = { "project_id", "parent_id",
        "depends_on", "run_at", "deadline_at" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (json_object_get(task, names[i]) != NULL) {
            return names[i];
        }
    }
    return NULL;
}

void
schedule_check_task(report_t *report, const json_t *task)
{
    inner_t inner = { report };
    report_t within = { report->arena, report_task, &inner, 0 };
    const char *forbidden = forbidden_member(task);
    task_input_t read;

    if (!json_is_object(task)) {
        report_invalid(report, "task", "wrong_type", "must be an object");
        return;
    }
    if (forbidden != NULL) {
        report_invalid(&within, forbidden, "read_only",
            "cannot be set for a task that recurs");
    }
    if (task_input_read(&within, task, &read) == 0
        && json_is_object(json_object_get(task, "input")))
    {
        schedule_check_input(report, "task.input",
            json_object_get(task, "input"));
    }
}

/* ---- making it ---- */

static json_t *
load(request_t *rq, slice_t text)
{
    json_t *json = json_loadb(text.data, text.len, 0, NULL);

    assert(json != NULL);
    arena_json(rq->arena, json);
    return json;
}

static json_t *
make_values(request_t *rq, const db_row_t *schedule, int64_t time)
{
    json_t *values = json_object(), *facts = json_object();
    hive_uuid_t id = db_uuid(schedule, "id");
    slice_t name = db_text(schedule, "name");
    char text[UUID_TEXT];
    buf_t when;

    arena_json(rq->arena, values);
    json_object_set_new(values, "schedule", facts);
    uuid_format(&id, text);
    json_object_set_new(facts, "id", json_stringn(text, UUID_TEXT));
    json_object_set_new(facts, "name", json_stringn(name.data, name.len));
    buf_init(&when, rq->arena, 40);
    json_put_time(&when, time);
    /* without its quotes */
    json_object_set_new(facts, "time",
        json_stringn(when.data + 1, when.len - 2));
    return values;
}

static json_t *
fill(request_t *rq, const json_t *input, const json_t *values)
{
    const char *why = NULL;
    json_t *filled = template_apply(rq->arena, input, values, &why);

    if (filled == NULL) {
        rq_raise(rq, 422, "template_error", "input: %s", why);
    }
    arena_json(rq->arena, filled);
    return filled;
}

static slice_t
made(request_t *rq, const char *member, const hive_uuid_t *id)
{
    char text[UUID_TEXT + 1] = { 0 };
    const char *json;

    uuid_format(id, text);
    json = arena_printf(rq->arena, "{\"%s\":\"%s\"}", member, text);
    return (slice_t) { json, strlen(json) };
}

static slice_t
make_run(request_t *rq, const db_row_t *schedule, const json_t *values)
{
    const db_row_t *workflow = db_row(rq, Q_WORKFLOW_GET,
        value_uuid(db_uuid(schedule, "owner_id")),
        value_uuid(db_uuid(schedule, "workflow_id")));
    slice_t json;
    hive_uuid_t id;

    if (workflow == NULL) {
        rq_raise(rq, 409, "workflow_not_found", "its workflow is gone");
    }
    id = run_make_workflow(rq, workflow, db_text(schedule, "name"),
        fill(rq, load(rq, db_text(schedule, "input")), values), &json);
    return made(rq, "run_id", &id);
}

static slice_t
make_task(request_t *rq, const db_row_t *schedule, const json_t *values)
{
    json_t *task = load(rq, db_text(schedule, "task"));
    const json_t *input = json_object_get(task, "input");
    report_t report = report_to(rq);
    task_input_t read;

    if (json_is_object(input)) {
        json_object_set(task, "input", fill(rq, input, values));
    }
    if (task_input_read(&report, task, &read) != 0) {
        rq_check(rq);
    }
    read.task.owner = db_uuid(schedule, "owner_id");
    read.task.project = db_uuid(schedule, "project_id");
    tasks_enqueue(rq, &read.task, 1, NULL, 0);
    return made(rq, "task_id", &read.task.id);
}

slice_t
schedule_make(request_t *rq, const db_row_t *schedule, int64_t time)
{
    const json_t *values = make_values(rq, schedule, time);

    return db_is_null(schedule, db_column(schedule->result, "workflow_id"))
           ? make_task(rq, schedule, values)
           : make_run(rq, schedule, values);
}

/* ---- one that is due ---- */

typedef struct {
    const db_row_t *row;
    timing_t timing;
    due_t due;
} firing_t;

static catch_up_t
catch_up_of(slice_t text)
{
    return slice_equal(text, SLICE("all")) ? CATCH_UP_ALL
        : slice_equal(text, SLICE("skip")) ? CATCH_UP_SKIP : CATCH_UP_ONE;
}

static value_t
optional_time(int64_t time)
{
    return time == 0 ? value_null() : value_time(time);
}

static void
fire(request_t *rq, void *arg)
{
    firing_t *firing = arg;
    const db_row_t *row = firing->row, *event;
    slice_t last = SLICE_NONE;
    due_t *due = &firing->due;

    for (size_t i = 0; i < due->count; i++) {
        last = schedule_make(rq, row, due->times[i]);
    }
    event = db_row(rq, Q_SCHEDULE_FIRED, value_uuid(db_uuid(row, "id")),
        value_int((int64_t) due->count), optional_time(due->next),
        optional_time(timing_jitter(&firing->timing, due->next)),
        value_bool(0),
        last.data != NULL ? value_json(last) : value_null());
    if (event != NULL) {
        event_publish(rq, event);
    }
    fault_point("schedule_fire");
    db_commit(rq);
}

/* What may pass is tried again soon; else this time is given up. */
static void
note_failure(request_t *rq, const firing_t *firing, const char *why,
    int passing)
{
    const db_row_t *row = firing->row, *event;
    int64_t next_at = db_time(row, "next_at"), now = db_time(row, "now");
    int64_t next = passing ? next_at : firing->due.next;
    int64_t at = passing ? now + AGAIN_US
                         : timing_jitter(&firing->timing, next);

    event = db_row(rq, Q_SCHEDULE_FAILED, value_uuid(db_uuid(row, "id")),
        value_time(next_at), value_string(why), optional_time(next),
        optional_time(at));
    if (event != NULL) {
        event_publish(rq, event);
    }
}

static int
read_firing(const db_row_t *row, firing_t *out, const char **why)
{
    const char *field;

    *out = (firing_t) { .row = row };
    if (timing_read(db_text(row, "cron"), db_text(row, "time_zone"),
            db_int(row, "jitter_ms"), &out->timing, &field, why) != 0)
    {
        return -1;
    }
    timing_due(&out->timing, catch_up_of(db_text(row, "catch_up")),
        db_time(row, "next_at"), db_time(row, "fire_at"),
        db_time(row, "now"), &out->due);
    return 0;
}

static void
fire_next(request_t *rq, void *arg)
{
    int *found = arg;
    firing_t firing;
    const char *why;
    int status;

    db_begin(rq);
    firing.row = db_row(rq, Q_SCHEDULE_DUE);
    *found = firing.row != NULL;
    if (!*found) {
        db_rollback(rq);
        return;
    }
    if (read_firing(firing.row, &firing, &why) != 0) {
        db_rollback(rq);
        note_failure(rq, &firing, why, 0);
        return;
    }
    status = rq_try(rq, fire, &firing);
    if (status == 0) {
        return;
    }
    if (fiber_cancelled(fiber_self())) {
        rq_reraise(rq);
    }
    why = arena_printf(rq->arena, "%s: %s", rq_problem_code(rq),
        rq_problem_detail(rq));
    db_rollback(rq);
    note_failure(rq, &firing, why, status == 429 || status >= 500);
}

/* ---- the job ---- */

static fiber_t *job;

static void
look(request_t *rq, void *arg)
{
    int64_t *wait_ms = arg;
    const db_row_t *row = db_row(rq, Q_SCHEDULE_WAIT);

    if (!db_is_null(row, db_column(row->result, "wait_ms"))
        && db_int(row, "wait_ms") < *wait_ms)
    {
        *wait_ms = db_int(row, "wait_ms");
    }
}

static void
loop(request_t *rq, void *arg)
{
    (void) arg;
    for (;;) {
        int64_t wait_ms = POLL_MS;
        int found = 1;

        if (job_step(rq, look, &wait_ms) != 0) {
            wait_ms = FAILED_MS;
        } else if (wait_ms <= 0) {
            while (found && job_step(rq, fire_next, &found) == 0) {
                wait_ms = 0;
            }
            /* Others may be at the rest. */
            wait_ms = found ? FAILED_MS : POLL_MS / 10;
        }
        if (fiber_sleep((uint64_t) wait_ms) != 0) {
            break;
        }
    }
    job = NULL;
}

int
schedules_start(fiber_sched_t *fibers)
{
    return job_start(fibers, "schedules", loop, NULL, &job);
}

void
schedules_stop(void)
{
    if (job != NULL) {
        fiber_cancel(job);
    }
}
