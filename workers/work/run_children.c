/* run_children.c: tasks that a running task adds.
 *
 * Whoever waits for the parent waits for its children too: the parent is still
 * running, so all of those are still blocked, and their counters can be raised
 * before anything frees them. Locks: the run, the parent, those that wait. A
 * child has its parent's rank: nothing leads from one to the other, and
 * whatever is above the parent is above the child. */

#include "run.h"

#include "engine.h"
#include "tasks.h"
#include "work.h"

#include "workers/db/event.h"

#define CHILDREN_MAX  1000
#define RUN_TASKS_MAX 100000

typedef struct {
    hive_uuid_t owner, project, run;
    int64_t rank;
    hive_uuid_t *waiting;
    size_t nwaiting;
} parent_t;

static void
check_run(request_t *rq, hive_uuid_t task, size_t count)
{
    const db_row_t *run = db_row(rq, Q_TASK_CHILDREN_RUN, value_uuid(task));

    if (run == NULL) {
        return;
    }
    if (db_bool(run, "cancel_requested")) {
        rq_raise(rq, 409, "task_cancelled", "the run is being cancelled");
    }
    if (db_int(run, "total_n") + (int64_t) count > RUN_TASKS_MAX) {
        rq_raise(rq, 422, "run_too_large",
            "a run has at most %d tasks", RUN_TASKS_MAX);
    }
}

static parent_t
lock_parent(request_t *rq, const holder_t *holder)
{
    const db_result_t *rows;
    const db_row_t *row;
    parent_t parent = { .nwaiting = 0 };

    row = db_row(rq, Q_TASK_CHILDREN_PARENT, value_uuid(holder->task),
        uuid_is_zero(&holder->worker) ? value_null()
                                      : value_uuid(holder->worker),
        holder->attempt > 0 ? value_int(holder->attempt) : value_null(),
        uuid_is_zero(&holder->owner) ? value_null()
                                     : value_uuid(holder->owner));
    if (row == NULL) {
        rq_raise(rq, 409, "lease_lost",
            "the task is not being run under that lease");
    }
    if (db_bool(row, "cancel_requested")) {
        rq_raise(rq, 409, "task_cancelled", "the task is being cancelled");
    }
    parent.owner = db_uuid(row, "owner_id");
    parent.project = db_uuid(row, "project_id");
    parent.run = db_uuid(row, "run_id");
    parent.rank = db_int(row, "rank");

    rows = db_rows(rq, Q_TASK_CHILDREN_WAITING, value_uuid(holder->task));
    parent.waiting = arena_alloc(rq->arena,
        ((size_t) rows->nrows + 1) * sizeof(*parent.waiting));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t waiting = db_row_at(rows, i);

        parent.waiting[parent.nwaiting++] = db_uuid(&waiting, "id");
    }
    return parent;
}

static void
link_children(request_t *rq, const parent_t *parent,
    const new_task_t *children, size_t count)
{
    hive_uuid_t *ids = arena_alloc(rq->arena, (count + 1) * sizeof(*ids));
    const db_result_t *rows;

    for (size_t i = 0; i < count; i++) {
        ids[i] = children[i].id;
    }
    if (parent->nwaiting == 0 && uuid_is_zero(&parent->run)) {
        return;
    }
    rows = db_rows(rq, Q_TASK_CHILDREN_LINK,
        value_uuids(parent->waiting, parent->nwaiting),
        value_uuids(ids, count),
        uuid_is_zero(&parent->run) ? value_null() : value_uuid(parent->run),
        value_bool(engine_events()));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        event_publish(rq, &row);
    }
}

typedef struct {
    const holder_t *holder;
    new_task_t *children;
    size_t count;
    const graph_t *graph;       /* among them; NULL: none waits for another */
} adding_t;

/* What is above the parent is 2^20 ranks above it (run_make.c). */
static void
place_child(const adding_t *adding, const parent_t *parent, size_t i)
{
    new_task_t *child = &adding->children[i];

    child->rank = parent->rank;
    child->dependents = (int) parent->nwaiting;
    if (adding->graph != NULL) {
        child->rank += 1 + adding->graph->depth[i];
        child->dependents += (int) graph_nchildren(adding->graph, i);
        child->deps_left = (int) graph_nparents(adding->graph, i);
    }
}

static void
add_children(request_t *rq, void *arg)
{
    const adding_t *adding = arg;
    parent_t parent;

    check_run(rq, adding->holder->task, adding->count);
    parent = lock_parent(rq, adding->holder);
    for (size_t i = 0; i < adding->count; i++) {
        new_task_t *child = &adding->children[i];

        child->owner = parent.owner;
        child->project = parent.project;
        child->run = parent.run;
        child->parent = adding->holder->task;
        place_child(adding, &parent, i);
    }
    tasks_enqueue(rq, adding->children, adding->count,
        adding->graph != NULL ? run_edges(rq->arena, adding->graph) : NULL,
        adding->graph != NULL ? adding->graph->nedges : 0);
    link_children(rq, &parent, adding->children, adding->count);
}

void
run_add_children(request_t *rq, const holder_t *holder,
    new_task_t *children, size_t count)
{
    adding_t adding = { holder, children, count, NULL };

    db_transact(rq, add_children, &adding);
}

void
run_add_steps(task_run_t *run, const json_t *given)
{
    request_t *rq = run->rq;
    holder_t holder = { .task = run->id, .worker = task_worker(run),
        .attempt = run->attempt };
    report_t report = report_to(rq);
    new_task_t *children;
    adding_t adding;
    steps_t steps;

    if (steps_read(&report, given, CHILDREN_MAX, &steps) != 0) {
        rq_check(rq);
    }
    children = arena_alloc(rq->arena, steps.count * sizeof(*children));
    for (size_t i = 0; i < steps.count; i++) {
        children[i] = steps.items[i].task;
    }
    adding = (adding_t) { &holder, children, steps.count, &steps.graph };
    db_transact(rq, add_children, &adding);
}

/* ---- POST /tasks/{id}/children ---- */

typedef struct {
    request_t *rq;
    size_t at;
} reading_t;

static void
report_child(void *arg, const char *field, const char *code,
    const char *message)
{
    reading_t *reading = arg;

    rq_invalid(reading->rq,
        arena_printf(reading->rq->arena, "tasks[%zu].%s", reading->at,
            field), code, "%s", message);
}

/* What the parent decides, and what would make a child another task. */
static const char *
forbidden_member(const json_t *json)
{
    static const char *const names[] = { "project_id", "parent_id",
        "depends_on", "unique_key", "on_duplicate" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (json_object_get(json, names[i]) != NULL) {
            return names[i];
        }
    }
    return NULL;
}

static new_task_t *
read_children(request_t *rq, const json_t *json, size_t *count)
{
    reading_t reading = { rq, 0 };
    report_t report = { rq->arena, report_child, &reading, 0 };
    new_task_t *children;

    *count = json_array_size(json);
    if (*count == 0 || *count > CHILDREN_MAX) {
        rq_invalid(rq, "tasks", *count > 0 ? "too_many" : "required",
            "must be an array of 1 to %d tasks", CHILDREN_MAX);
        rq_check(rq);
    }
    children = arena_alloc(rq->arena, *count * sizeof(*children));
    for (; reading.at < *count; reading.at++) {
        const json_t *item = json_array_get(json, reading.at);
        const char *forbidden = forbidden_member(item);
        task_input_t read;

        if (!json_is_object(item)) {
            report_invalid(&report, "", "wrong_type", "must be an object");
        } else if (forbidden != NULL) {
            report_invalid(&report, forbidden, "read_only",
                "cannot be set for a child");
        } else if (task_input_read(&report, item, &read) == 0) {
            children[reading.at] = read.task;
        }
    }
    rq_check(rq);
    return children;
}

static void
reply_children(request_t *rq, const new_task_t *children, size_t count)
{
    buf_t out;

    buf_init(&out, rq->arena, 32 + count * (UUID_TEXT + 16));
    buf_puts(&out, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        buf_puts(&out, i > 0 ? ",{\"id\":\"" : "{\"id\":\"");
        uuid_format(&children[i].id, buf_reserve(&out, UUID_TEXT));
        out.len += UUID_TEXT;
        buf_puts(&out, "\"}");
    }
    buf_puts(&out, "]}");
    rq_reply(rq, 201, buf_slice(&out));
}

void
op_task_children_add(request_t *rq)
{
    json_t *body = rq_json(rq);
    const json_t *token = json_object_get(body, "lease_token");
    holder_t holder = { .task = rq_param_uuid(rq, 0), .owner = rq->user };
    new_task_t *children;
    const char *member;
    json_t *value;
    size_t count;

    json_object_foreach(body, member, value) {
        if (strcmp(member, "tasks") != 0
            && strcmp(member, "lease_token") != 0)
        {
            rq_invalid(rq, member, "unknown_member",
                "must be lease_token or tasks");
        }
    }
    if (!json_is_string(token)
        || uuid_parse(json_string_value(token), json_string_length(token),
               &holder.worker) != 0)
    {
        rq_invalid(rq, "lease_token", token == NULL ? "required"
            : "invalid_value", "must be the token of the claim");
    }
    children = read_children(rq, json_object_get(body, "tasks"), &count);
    if (db_row(rq, Q_TASK_EXISTS, value_uuid(rq->user),
            value_uuid(holder.task)) == NULL)
    {
        resource_raise_missing(rq, &task_resource);
    }
    run_add_children(rq, &holder, children, count);
    reply_children(rq, children, count);
}
