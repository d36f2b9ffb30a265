/* enqueue.c: tasks in: where each begins, which statement stores them, and who
 * is told. */

#include "enqueue.h"

#include "engine.h"
#include "enqueue_parts.h"
#include "measures.h"
#include "tasks.h"

#include "workers/db/event.h"

#include <assert.h>

#define PRIORITY 5

void
task_defaults(new_task_t *task)
{
    memset(task, 0, sizeof(*task));
    task->priority = PRIORITY;
    task->backoff_ms = TASK_BACKOFF_MS;
    task->max_attempts = TASK_MAX_ATTEMPTS;
}

int64_t
task_id_time(const hive_uuid_t *id)
{
    int64_t milliseconds = 0;

    for (int i = 0; i < 6; i++) {
        milliseconds = milliseconds << 8 | id->bytes[i];
    }
    return milliseconds * 1000;
}

const char *
task_first_state(const new_task_t *task)
{
    return task->paused ? "paused"
        : task->deps_left > 0 ? "blocked"
        : task->run_at > task_id_time(&task->id) ? "scheduled" : "ready";
}

/* ---- after the commit ---- */

static slice_t
event_data(arena_t *arena, const new_task_t *task)
{
    buf_t out;

    buf_init(&out, arena, 64 + task->kind.len);
    buf_puts(&out, "{\"kind\":");
    json_put_string(&out, task->kind);
    buf_putc(&out, '}');
    return buf_slice(&out);
}

static void
publish(request_t *rq, const new_task_t *task, slice_t data)
{
    char *channel = arena_alloc(rq->arena, 5 + UUID_TEXT);
    event_t event = { .kind = EVENT_CHANGE, .offset = 1,
        .type = SLICE("task.created"), .data = data,
        .time = task_id_time(&task->id) };

    memcpy(channel, "task:", 5);
    uuid_format(&task->id, channel + 5);
    event.channel = (slice_t) { channel, 5 + UUID_TEXT };
    event_send(rq, &event);
}

/* Tells whoever runs them, a kind and a limit once where they stand side by
 * side. */
static void
announce(request_t *rq, const new_task_t *tasks, size_t count,
    const slice_t *events)
{
    slice_t kind = SLICE_NONE, limit = SLICE_NONE;

    for (size_t i = 0; i < count; i++) {
        const new_task_t *task = &tasks[i];

        if (task->outcome != ENQUEUED) {
            continue;
        }
        if (events != NULL) {
            publish(rq, task, events[i]);
        }
        if (*task_first_state(task) != 'r') {
            continue;
        }
        if (task->limit_key.data != NULL) {
            if (i == 0 || !uuid_equal(&task->owner, &tasks[i - 1].owner)
                || !slice_equal(task->limit_key, limit)) {
                limit = task->limit_key;
                after_commit_limit(rq, task->owner, limit);
            }
        } else if (!slice_equal(task->kind, kind)) {
            kind = task->kind;
            after_commit_wake(rq, kind);
        }
    }
}

/* ---- limits ---- */

static void
set_limits(request_t *rq, const new_task_t *tasks, size_t count)
{
    hive_uuid_t *owners = arena_alloc(rq->arena, count * sizeof(*owners));
    slice_t *keys = arena_alloc(rq->arena, count * sizeof(*keys));
    int64_t *maxima = arena_alloc(rq->arena, count * sizeof(*maxima));
    size_t n = 0, k;

    for (size_t i = 0; i < count; i++) {
        const new_task_t *task = &tasks[i];

        if (task->limit_key.data == NULL) {
            continue;
        }
        for (k = 0; k < n; k++) {
            if (slice_equal(keys[k], task->limit_key)
                && uuid_equal(&owners[k], &task->owner)) {
                break;
            }
        }
        owners[k] = task->owner;
        keys[k] = task->limit_key;
        maxima[k] = task->limit_max;         /* the last one counts */
        n += k == n;
    }
    if (n > 0) {
        db_rows(rq, Q_TASK_LIMITS_SET, value_uuids(owners, n),
            value_texts(keys, n), value_ints(maxima, n));
    }
}

/* ---- the whole ---- */

static int
is_plain(const new_task_t *task)
{
    return task->unique_key.data == NULL && task->limit_key.data == NULL
        && uuid_is_zero(&task->run) && task->rank == 0
        && task->deps_left == 0 && task->dependents == 0 && !task->templated;
}

static void
check_room(request_t *rq, const new_task_t *tasks, size_t count)
{
    size_t first = 0;

    for (size_t i = 1; i <= count; i++) {
        if (i == count || !uuid_equal(&tasks[i].owner, &tasks[first].owner)) {
            queue_limit_check(rq, tasks[first].owner, i - first);
            first = i;
        }
    }
}

/* What was made, of one owner and kind where they stand side by side. */
static void
note_added(const new_task_t *tasks, size_t count)
{
    size_t made = 0;

    for (size_t i = 0; i < count; i++) {
        made += tasks[i].outcome == ENQUEUED;
        if (made > 0 && (i + 1 == count
                || !slice_equal(tasks[i].kind, tasks[i + 1].kind)
                || !uuid_equal(&tasks[i].owner, &tasks[i + 1].owner)))
        {
            queue_limit_added(tasks[i].owner, made);
            measure_enqueued(tasks[i].kind, made);
            made = 0;
        }
    }
}

static const slice_t *
events_of(request_t *rq, const new_task_t *tasks, size_t count)
{
    slice_t *events;

    if (!engine_events()) {
        return NULL;
    }
    events = arena_alloc(rq->arena, count * sizeof(*events));
    for (size_t i = 0; i < count; i++) {
        events[i] = i > 0 && slice_equal(tasks[i].kind, tasks[i - 1].kind)
            ? events[i - 1] : event_data(rq->arena, &tasks[i]);
    }
    return events;
}

void
tasks_enqueue_run(request_t *rq, slice_t run, new_task_t *tasks, size_t count,
    const edge_t *edges, size_t nedges)
{
    int unique = 0, limited = 0;
    const slice_t *events;

    if (count == 0) {
        return;
    }
    check_room(rq, tasks, count);
    for (size_t i = 0; i < count; i++) {
        new_task_t *task = &tasks[i];

        if (uuid_is_zero(&task->id)) {
            task->id = resource_new_id();
        }
        task->outcome = ENQUEUED;
        unique |= task->unique_key.data != NULL;
        limited |= task->limit_key.data != NULL;
    }
    events = events_of(rq, tasks, count);
    if (limited) {
        set_limits(rq, tasks, count);
    }
    if (unique) {
        assert(nedges == 0 && run.data == NULL);
        enqueue_unique(rq, tasks, count);
    } else if (count == 1 && is_plain(&tasks[0])) {
        enqueue_insert_one(rq, &tasks[0]);
    } else {
        enqueue_insert_many(rq, run, tasks, count, edges, nedges);
    }
    announce(rq, tasks, count, events);
    note_added(tasks, count);
}

void
tasks_enqueue(request_t *rq, new_task_t *tasks, size_t count,
    const edge_t *edges, size_t nedges)
{
    tasks_enqueue_run(rq, SLICE_NONE, tasks, count, edges, nedges);
}
