/* task_create.c: new tasks of people: what they name must be theirs, and what
 * they wait for is held while they are linked to it. */

#include "tasks.h"

#include "enqueue.h"

#include <stdlib.h>

typedef struct {
    task_input_t *inputs;
    task_outcome_t *outcomes;
    size_t count;
} creating_t;

/* ---- projects ---- */

static void
check_projects(request_t *rq, const creating_t *creating)
{
    size_t n = 0;
    hive_uuid_t *ids = arena_alloc(rq->arena,
        creating->count * sizeof(*ids)), *found;
    const db_result_t *rows;

    for (size_t i = 0; i < creating->count; i++) {
        const hive_uuid_t *id = &creating->inputs[i].task.project;

        if (creating->outcomes[i].status == 0 && !uuid_is_zero(id)
            && (n == 0 || !uuid_equal(id, &ids[n - 1]))) {
            ids[n++] = *id;
        }
    }
    if (n == 0) {
        return;
    }
    rows = db_rows(rq, Q_TASK_PROJECTS, value_uuid(rq->user),
        value_uuids(ids, n));
    found = arena_alloc(rq->arena, ((size_t) rows->nrows + 1)
        * sizeof(*found));
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        found[i] = db_uuid(&row, "id");
    }
    for (size_t i = 0; i < creating->count; i++) {
        const hive_uuid_t *id = &creating->inputs[i].task.project;

        if (creating->outcomes[i].status == 0 && !uuid_is_zero(id)
            && bsearch(id, found, (size_t) rows->nrows, sizeof(*found),
                   uuid_compare) == NULL)
        {
            outcome_refuse(rq, &creating->outcomes[i], 422,
                "project_not_found", "there is no such project, or it is not"
                " yours");
        }
    }
}

/* ---- what they are linked to ---- */

typedef struct {
    hive_uuid_t id;
    int64_t rank;
    const char *state;
    int live;
} known_t;

typedef struct {
    known_t *tasks;              /* by id */
    size_t count;
} links_t;

/* All tasks that are named, in order, each once. */
static hive_uuid_t *
named_tasks(request_t *rq, const creating_t *creating, size_t *count)
{
    size_t n = 0, kept = 0;
    hive_uuid_t *ids;

    for (size_t i = 0; i < creating->count; i++) {
        n += creating->inputs[i].ndepends_on;
    }
    ids = arena_alloc(rq->arena, (n + 1) * sizeof(*ids));
    n = 0;
    for (size_t i = 0; i < creating->count; i++) {
        const task_input_t *input = &creating->inputs[i];

        if (creating->outcomes[i].status == 0 && input->ndepends_on > 0) {
            memcpy(ids + n, input->depends_on,
                input->ndepends_on * sizeof(*ids));
            n += input->ndepends_on;
        }
    }
    qsort(ids, n, sizeof(*ids), uuid_compare);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || !uuid_equal(&ids[i], &ids[kept - 1])) {
            ids[kept++] = ids[i];
        }
    }
    *count = kept;
    return ids;
}

static void
note_known(links_t *links, const db_result_t *rows, int live)
{
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        links->tasks[links->count++] = (known_t) {
            .id = db_uuid(&row, "id"), .rank = db_int(&row, "rank"),
            .state = task_state_name(db_text(&row, "state")), .live = live };
    }
}

static void
lock_links(request_t *rq, const creating_t *creating, links_t *links)
{
    size_t count;
    hive_uuid_t *ids = named_tasks(rq, creating, &count);

    links->tasks = arena_alloc(rq->arena,
        (2 * count + 1) * sizeof(*links->tasks));
    links->count = 0;
    note_known(links, db_rows(rq, Q_TASKS_LOCK, value_uuid(rq->user),
        value_uuids(ids, count)), 1);
    if (links->count < count) {
        note_known(links, db_rows(rq, Q_TASKS_FINISHED, value_uuid(rq->user),
            value_uuids(ids, count)), 0);
    }
    qsort(links->tasks, links->count, sizeof(*links->tasks), uuid_compare);
}

static const known_t *
find_known(const links_t *links, const hive_uuid_t *id)
{
    return bsearch(id, links->tasks, links->count, sizeof(*links->tasks),
        uuid_compare);
}

static void
link_dependency(request_t *rq, const known_t *parent, size_t place,
    new_task_t *task, task_outcome_t *outcome)
{
    if (parent == NULL) {
        outcome_refuse(rq, outcome, 422, "dependency_not_found",
            "depends_on[%zu] names no task of yours", place);
        return;
    }
    if (!parent->live && strcmp(parent->state, "succeeded") != 0
        && !task->run_on_failure)
    {
        outcome_refuse(rq, outcome, 409, "dependency_failed",
            "depends_on[%zu] has ended, as %s", place, parent->state);
        return;
    }
    task->deps_left += parent->live;
    if (task->rank <= parent->rank) {
        task->rank = parent->rank + 1;
    }
}

static void
link_one(request_t *rq, const links_t *links, task_input_t *input,
    task_outcome_t *outcome)
{
    new_task_t *task = &input->task;

    task->deps_left = 0;
    task->rank = 0;
    for (size_t i = 0; i < input->ndepends_on && outcome->status == 0; i++) {
        link_dependency(rq, find_known(links, &input->depends_on[i]), i, task,
            outcome);
    }
}

/* ---- storing ---- */

static void
note_outcome(request_t *rq, const new_task_t *task, task_outcome_t *outcome)
{
    outcome->id = task->id;
    switch (task->outcome) {
    case ENQUEUED:
        outcome->status = 201;
        outcome->state = task_first_state(task);
        break;
    case ENQUEUE_EXISTING:
    case ENQUEUE_REPLACED:
        outcome->status = 200;
        break;
    case ENQUEUE_REFUSED:
        outcome_refuse(rq, outcome, 409, "duplicate_task",
            "an unfinished task of that kind has this unique_key%s",
            task->on_duplicate == DUPLICATE_REPLACE ? " and runs" : "");
        break;
    }
}

/* What is to be made, side by side, and back. */
static void
enqueue_open(request_t *rq, const creating_t *creating)
{
    size_t n = 0;
    new_task_t *tasks = arena_alloc(rq->arena,
        (creating->count + 1) * sizeof(*tasks));

    for (size_t i = 0; i < creating->count; i++) {
        if (creating->outcomes[i].status == 0) {
            tasks[n] = creating->inputs[i].task;
            tasks[n++].owner = rq->user;
        }
    }
    tasks_enqueue(rq, tasks, n, NULL, 0);
    n = 0;
    for (size_t i = 0; i < creating->count; i++) {
        if (creating->outcomes[i].status == 0) {
            creating->inputs[i].task = tasks[n];
            note_outcome(rq, &tasks[n++], &creating->outcomes[i]);
        }
    }
}

static void
store_edges(request_t *rq, const creating_t *creating, const links_t *links)
{
    size_t n = 0, k = 0, live = 0;
    hive_uuid_t *parents, *children, *counted;
    int64_t *parent_ranks, *child_ranks;

    for (size_t i = 0; i < creating->count; i++) {
        n += creating->inputs[i].ndepends_on;
    }
    parents = arena_alloc(rq->arena, (3 * n + 1) * sizeof(*parents));
    children = parents + n;
    counted = children + n;
    parent_ranks = arena_alloc(rq->arena, (2 * n + 1) * sizeof(int64_t));
    child_ranks = parent_ranks + n;
    for (size_t i = 0; i < creating->count; i++) {
        const task_input_t *input = &creating->inputs[i];

        if (creating->outcomes[i].status != 201) {
            continue;
        }
        for (size_t d = 0; d < input->ndepends_on; d++) {
            const known_t *parent = find_known(links, &input->depends_on[d]);

            parents[k] = parent->id;
            children[k] = input->task.id;
            parent_ranks[k] = parent->rank;
            child_ranks[k++] = input->task.rank;
            if (parent->live) {
                counted[live++] = parent->id;
            }
        }
    }
    if (k > 0) {
        db_rows(rq, Q_DEPENDENCIES_ADD, value_uuids(parents, k),
            value_uuids(children, k), value_ints(parent_ranks, k),
            value_ints(child_ranks, k), value_uuids(counted, live));
    }
}

static void
create_linked(request_t *rq, void *arg)
{
    creating_t creating = *(creating_t *) arg;
    links_t links;

    /* As it was, should this be tried again. */
    creating.outcomes = arena_alloc(rq->arena,
        creating.count * sizeof(*creating.outcomes));
    memcpy(creating.outcomes, ((creating_t *) arg)->outcomes,
        creating.count * sizeof(*creating.outcomes));

    lock_links(rq, &creating, &links);
    for (size_t i = 0; i < creating.count; i++) {
        if (creating.outcomes[i].status == 0) {
            link_one(rq, &links, &creating.inputs[i], &creating.outcomes[i]);
        }
    }
    enqueue_open(rq, &creating);
    store_edges(rq, &creating, &links);
    ((creating_t *) arg)->outcomes = creating.outcomes;
}

void
tasks_create(request_t *rq, task_input_t *inputs, task_outcome_t *outcomes,
    size_t count)
{
    creating_t creating = { inputs, outcomes, count };
    int linked = 0;

    check_projects(rq, &creating);
    for (size_t i = 0; i < count; i++) {
        linked |= outcomes[i].status == 0 && inputs[i].ndepends_on > 0;
    }
    if (!linked) {
        enqueue_open(rq, &creating);
        return;
    }
    tasks_in_transaction(rq, create_linked, &creating);
    memcpy(outcomes, creating.outcomes, count * sizeof(*outcomes));
}

/* ---- one ---- */

void
op_task_create(request_t *rq)
{
    report_t report = report_to(rq);
    task_input_t input;
    task_outcome_t outcome = { .status = 0 };
    char location[sizeof("/api/v1/tasks/") - 1 + UUID_TEXT]
        = "/api/v1/tasks/";
    buf_t out;

    task_input_read(&report, rq_json(rq), &input);
    rq_check(rq);
    tasks_create(rq, &input, &outcome, 1);
    if (outcome.status != 201) {
        outcome_reply(rq, &outcome);
        return;
    }
    uuid_format(&outcome.id, location + sizeof(location) - UUID_TEXT);
    rq_reply_header(rq, "location",
        (slice_t) { location, sizeof(location) });
    resource_set_etag(rq, 1);
    buf_init(&out, rq->arena, 1024 + input.task.input.len);
    task_put_new(&out, &input.task);
    rq_reply(rq, 201, buf_slice(&out));
}
