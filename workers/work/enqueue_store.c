/* enqueue_store.c: the statements that store tasks.
 *
 * A batch is one statement over arrays, one for each column. A column that is
 * the same for all is an array of one item, which the statement repeats; what
 * few tasks have goes as a JSON object, NULL for most. A lone task that can
 * collide with nothing shares its commit with others of the same turn of the
 * loop (an insert lane). */

#include "enqueue_parts.h"

#include "engine.h"
#include "enqueue.h"
#include "executor.h"

#include <inttypes.h>

static slice_t
slice_of(const char *text)
{
    return (slice_t) { text, strlen(text) };
}

static slice_t
input_of(const new_task_t *task)
{
    return task->input.data != NULL ? task->input : SLICE("{}");
}

static int64_t
run_at_of(const new_task_t *task)
{
    return task->run_at > 0 ? task->run_at : task_id_time(&task->id);
}

/* ---- one ---- */

static value_t
optional_uuid(const hive_uuid_t *id)
{
    return uuid_is_zero(id) ? value_null() : value_uuid(*id);
}

static value_t
optional_int(int64_t value)
{
    return value == 0 ? value_null() : value_int(value);
}

static int64_t
turn_of(const new_task_t *task)
{
    return *task_first_state(task) == 'r'
           ? turn_next(task->owner, task->kind, task->priority) : 0;
}

static int
is_remote(slice_t kind)
{
    return executor_find(kind) == NULL;
}

/* The queue of claims that it is in from the first (task_lane in
 * sql/deploy/tasks.sql); "" when it cannot be claimed yet. */
static slice_t
lane_of(arena_t *arena, const new_task_t *task)
{
    char owner[UUID_TEXT];

    if (*task_first_state(task) != 'r' || task->limit_key.data != NULL) {
        return SLICE("");
    }
    if (!is_remote(task->kind)) {
        return task->kind;
    }
    uuid_format(&task->owner, owner);
    return slice_of(arena_printf(arena, "%.*s:%.*s", UUID_TEXT, owner,
        (int) task->kind.len, task->kind.data));
}

void
enqueue_insert_one(request_t *rq, const new_task_t *task)
{
    db_rows(rq, Q_TASK_CREATE, value_uuid(task->id), value_uuid(task->owner),
        value_time(task_id_time(&task->id)), value_text(task->kind),
        value_string(task_first_state(task)), value_int(turn_of(task)),
        value_time(run_at_of(task)), value_int(task->priority),
        value_text(task->title), value_json(input_of(task)),
        value_bool(is_remote(task->kind)), value_text(task->description),
        value_texts(task->labels, task->nlabels),
        optional_uuid(&task->project), optional_uuid(&task->parent),
        task->deadline_at == 0 ? value_null() : value_time(task->deadline_at),
        optional_int(task->timeout_ms), value_int(task->backoff_ms),
        value_int(task->max_attempts), value_text(lane_of(rq->arena, task)),
        value_bool(task->run_on_failure));
}

/* ---- many ---- */

static void
put_name(buf_t *out, const char *name)
{
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
}

static void
put_text(buf_t *out, const char *name, slice_t text)
{
    if (text.data != NULL) {
        put_name(out, name);
        json_put_string(out, text);
    }
}

static void
put_uuid(buf_t *out, const char *name, const hive_uuid_t *id)
{
    if (!uuid_is_zero(id)) {
        value_t value = value_uuid(*id);

        put_name(out, name);
        json_put_value(out, &value);
    }
}

static void
put_int(buf_t *out, const char *name, int64_t value, int64_t otherwise)
{
    if (value != otherwise) {
        put_name(out, name);
        buf_printf(out, "%" PRId64, value);
    }
}

static void
put_bool(buf_t *out, const char *name, int value)
{
    if (value) {
        put_name(out, name);
        buf_puts(out, "true");
    }
}

/* What few tasks have; without data when it has nothing of it. */
static slice_t
more_of(arena_t *arena, const new_task_t *task)
{
    buf_t out;

    buf_init(&out, arena, 64);
    buf_putc(&out, '{');
    put_text(&out, "description", task->description);
    if (task->nlabels > 0) {
        value_t labels = value_texts(task->labels, task->nlabels);

        put_name(&out, "labels");
        json_put_value(&out, &labels);
    }
    put_uuid(&out, "project_id", &task->project);
    put_uuid(&out, "run_id", &task->run);
    put_uuid(&out, "parent_id", &task->parent);
    put_text(&out, "step", task->step);
    if (task->deadline_at != 0) {
        put_name(&out, "deadline_at");
        json_put_time(&out, task->deadline_at);
    }
    put_int(&out, "timeout_ms", task->timeout_ms, 0);
    put_int(&out, "backoff_ms", task->backoff_ms, TASK_BACKOFF_MS);
    put_int(&out, "max_attempts", task->max_attempts, TASK_MAX_ATTEMPTS);
    put_text(&out, "unique_key", task->unique_key);
    put_text(&out, "limit_key", task->limit_key);
    put_int(&out, "rank", task->rank, 0);
    put_int(&out, "deps_left", task->deps_left, 0);
    put_int(&out, "dependents", task->dependents, 0);
    put_bool(&out, "run_on_failure", task->run_on_failure);
    put_bool(&out, "templated", task->templated);
    if (out.len == 1) {
        return SLICE_NONE;
    }
    buf_putc(&out, '}');
    return buf_slice(&out);
}

typedef struct {
    size_t count;
    hive_uuid_t *ids, *owners;
    int64_t *created_at, *turns, *run_at, *priorities, *remote;
    slice_t *kinds, *states, *titles, *inputs, *more, *lanes;
} columns_t;

static columns_t
columns_new(arena_t *arena, size_t count)
{
    columns_t c = { .count = count };

    c.ids = arena_alloc(arena, 2 * count * sizeof(*c.ids));
    c.owners = c.ids + count;
    c.created_at = arena_alloc(arena, 5 * count * sizeof(*c.created_at));
    c.turns = c.created_at + count;
    c.run_at = c.turns + count;
    c.priorities = c.run_at + count;
    c.remote = c.priorities + count;
    c.kinds = arena_alloc(arena, 6 * count * sizeof(*c.kinds));
    c.states = c.kinds + count;
    c.titles = c.states + count;
    c.inputs = c.titles + count;
    c.more = c.inputs + count;
    c.lanes = c.more + count;
    return c;
}

static void
columns_fill(arena_t *arena, columns_t *c, const new_task_t *tasks)
{
    int mixed = 0;

    for (size_t i = 0; i < c->count; i++) {
        const new_task_t *task = &tasks[i];

        c->ids[i] = task->id;
        c->owners[i] = task->owner;
        c->created_at[i] = task_id_time(&task->id);
        c->turns[i] = turn_of(task);
        c->run_at[i] = run_at_of(task);
        c->priorities[i] = task->priority;
        c->remote[i] = i > 0 && slice_equal(task->kind, c->kinds[i - 1])
                       ? c->remote[i - 1] : is_remote(task->kind);
        c->kinds[i] = task->kind;
        c->states[i] = slice_of(task_first_state(task));
        c->titles[i] = task->title.data != NULL ? task->title : SLICE("");
        c->inputs[i] = input_of(task);
        c->more[i] = more_of(arena, task);
        c->lanes[i] = lane_of(arena, task);
        mixed |= c->more[i].data != NULL;
    }
    for (size_t i = 0; mixed && i < c->count; i++) {
        if (c->more[i].data == NULL) {
            c->more[i] = SLICE("{}");
        }
    }
}

/* One item stands for all when they are equal. */
static value_t
shrink_slices(value_t (*make)(const slice_t *items, size_t count),
    const slice_t *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (items[i].data != items[0].data
            && !slice_equal(items[i], items[0])) {
            return make(items, count);
        }
    }
    return make(items, 1);
}

static value_t
shrink_ints(value_t (*make)(const int64_t *items, size_t count),
    const int64_t *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (items[i] != items[0]) {
            return make(items, count);
        }
    }
    return make(items, 1);
}

static value_t
shrink_uuids(const hive_uuid_t *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (!uuid_equal(&items[i], &items[0])) {
            return value_uuids(items, count);
        }
    }
    return value_uuids(items, 1);
}

/* $1 to $13 of both statements. */
static void
columns_values(const columns_t *c, value_t values[13])
{
    static const int64_t standard[] = { TASK_BACKOFF_MS, TASK_MAX_ATTEMPTS };
    size_t n = c->count;

    values[0] = value_uuids(c->ids, n);
    values[1] = shrink_uuids(c->owners, n);
    values[2] = shrink_ints(value_times, c->created_at, n);
    values[3] = shrink_slices(value_texts, c->kinds, n);
    values[4] = shrink_slices(value_texts, c->states, n);
    values[5] = value_ints(c->turns, n);
    values[6] = shrink_ints(value_times, c->run_at, n);
    values[7] = shrink_ints(value_ints, c->priorities, n);
    values[8] = shrink_slices(value_texts, c->titles, n);
    values[9] = shrink_slices(value_jsons, c->inputs, n);
    values[10] = shrink_ints(value_ints, c->remote, n);
    values[11] = value_ints(standard, 2);
    /* Not repeated by the statement: without it, a task has nothing more. */
    values[12] = value_jsons(c->more, c->more[0].data != NULL ? n : 1);
}

static void
edge_values(arena_t *arena, const new_task_t *tasks, const edge_t *edges,
    size_t count, value_t values[4])
{
    hive_uuid_t *parents = arena_alloc(arena, count * sizeof(*parents));
    hive_uuid_t *children = arena_alloc(arena, count * sizeof(*children));
    int64_t *parent_ranks = arena_alloc(arena, count * sizeof(int64_t));
    int64_t *child_ranks = arena_alloc(arena, count * sizeof(int64_t));

    for (size_t i = 0; i < count; i++) {
        const new_task_t *parent = &tasks[edges[i].parent];
        const new_task_t *child = &tasks[edges[i].child];

        parents[i] = parent->id;
        children[i] = child->id;
        parent_ranks[i] = parent->rank;
        child_ranks[i] = child->rank;
    }
    values[0] = value_uuids(parents, count);
    values[1] = value_uuids(children, count);
    values[2] = value_ints(parent_ranks, count);
    values[3] = value_ints(child_ranks, count);
}

void
enqueue_insert_many(request_t *rq, slice_t run, const new_task_t *tasks,
    size_t count, const edge_t *edges, size_t nedges)
{
    columns_t c = columns_new(rq->arena, count);
    value_t values[20];

    columns_fill(rq->arena, &c, tasks);
    columns_values(&c, values);
    edge_values(rq->arena, tasks, edges, nedges, values + 13);
    values[17] = shrink_slices(value_texts, c.lanes, count);
    values[18] = value_bool(engine_events());
    values[19] = run.data != NULL ? value_json(run) : value_null();
    db_expect_rows(rq, db_exec_values(rq, Q_TASKS_ENQUEUE, values, 20));
}

const db_result_t *
enqueue_insert_unique(request_t *rq, const new_task_t *tasks, size_t count)
{
    columns_t c = columns_new(rq->arena, count);
    value_t values[13];

    columns_fill(rq->arena, &c, tasks);
    columns_values(&c, values);
    return db_expect_rows(rq,
        db_exec_values(rq, Q_TASKS_ENQUEUE_UNIQUE, values, 13));
}
