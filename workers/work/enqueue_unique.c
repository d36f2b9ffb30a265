/* enqueue_unique.c: tasks whose unique key may be taken.
 *
 * The insert leaves out what conflicts; a second statement finds what is
 * there. That may have ended in between, and then the key is free again:
 * round it goes. Of several tasks of one call with the same key the first
 * leads, and what the others want is done to it as if they had come after. */

#include "enqueue_parts.h"

#include "enqueue.h"
#include "tasks.h"

#include <stdlib.h>

#define TRIES 10

typedef struct {
    new_task_t *tasks;
    size_t count;
    size_t *leader;      /* of each: the first with its key */
    size_t *pending;     /* leaders that have no outcome yet */
    size_t npending;
    uint8_t *running;    /* leaders whose key one has that runs */
    int replacing;       /* something may be: what is found is locked */
} unique_t;

/* ---- who leads ---- */

static int
compare_keys(const void *a, const void *b)
{
    const new_task_t *x = *(new_task_t *const *) a;
    const new_task_t *y = *(new_task_t *const *) b;
    int order = memcmp(&x->owner, &y->owner, sizeof(x->owner));

    if (order != 0) {
        return order;
    }
    for (int i = 0; i < 2; i++) {
        slice_t s = i ? x->unique_key : x->kind;
        slice_t t = i ? y->unique_key : y->kind;
        size_t least = s.len < t.len ? s.len : t.len;

        order = least > 0 ? memcmp(s.data, t.data, least) : 0;
        if (order != 0 || s.len != t.len) {
            return order != 0 ? order : s.len < t.len ? -1 : 1;
        }
    }
    return 0;
}

static int
compare_then_order(const void *a, const void *b)
{
    const new_task_t *x = *(new_task_t *const *) a;
    const new_task_t *y = *(new_task_t *const *) b;
    int order = compare_keys(a, b);

    return order != 0 ? order : x < y ? -1 : x > y;
}

static void
find_leaders(request_t *rq, unique_t *unique)
{
    new_task_t **sorted = arena_alloc(rq->arena,
        unique->count * sizeof(*sorted));
    size_t n = 0, first = 0;

    for (size_t i = 0; i < unique->count; i++) {
        unique->leader[i] = i;
        if (unique->tasks[i].unique_key.data != NULL) {
            sorted[n++] = &unique->tasks[i];
        }
    }
    qsort(sorted, n, sizeof(*sorted), compare_then_order);
    for (size_t i = 1; i < n; i++) {
        if (compare_keys(&sorted[first], &sorted[i]) != 0) {
            first = i;
        }
        unique->leader[sorted[i] - unique->tasks]
            = (size_t) (sorted[first] - unique->tasks);
    }
}

/* ---- one round ---- */

/* Those of the pending that were made, by id; the others stay pending. */
static void
insert_pending(request_t *rq, unique_t *unique)
{
    size_t n = unique->npending, left = 0, made = 0;
    new_task_t *tasks = arena_alloc(rq->arena, n * sizeof(*tasks));
    const db_result_t *result;
    hive_uuid_t *ids;

    for (size_t i = 0; i < n; i++) {
        tasks[i] = unique->tasks[unique->pending[i]];
    }
    result = enqueue_insert_unique(rq, tasks, n);
    ids = arena_alloc(rq->arena, ((size_t) result->nrows + 1) * sizeof(*ids));
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);

        ids[made++] = db_uuid(&row, "id");
    }
    qsort(ids, made, sizeof(*ids), uuid_compare);
    for (size_t i = 0; i < n; i++) {
        size_t at = unique->pending[i];

        if (bsearch(&unique->tasks[at].id, ids, made, sizeof(*ids),
                uuid_compare) == NULL) {
            unique->pending[left++] = at;
        }
    }
    unique->npending = left;
}

static void
decide(new_task_t *task, hive_uuid_t id, int running)
{
    task->id = id;
    switch (task->on_duplicate) {
    case DUPLICATE_RETURN:
        task->outcome = ENQUEUE_EXISTING;
        break;
    case DUPLICATE_REPLACE:
        task->outcome = running ? ENQUEUE_REFUSED : ENQUEUE_REPLACED;
        break;
    case DUPLICATE_REFUSE:
        task->outcome = ENQUEUE_REFUSED;
        break;
    }
}

/* Those of the pending whose key somebody has; the others stay. */
static void
find_pending(request_t *rq, unique_t *unique)
{
    size_t n = unique->npending, left = 0;
    hive_uuid_t *owners = arena_alloc(rq->arena, n * sizeof(*owners));
    slice_t *kinds = arena_alloc(rq->arena, n * sizeof(*kinds));
    slice_t *keys = arena_alloc(rq->arena, n * sizeof(*keys));
    uint8_t *found = arena_zero(rq->arena, n);
    const db_result_t *result;

    for (size_t i = 0; i < n; i++) {
        const new_task_t *task = &unique->tasks[unique->pending[i]];

        owners[i] = task->owner;
        kinds[i] = task->kind;
        keys[i] = task->unique_key;
    }
    result = db_expect_rows(rq, db_exec_values(rq,
        unique->replacing ? Q_TASKS_LOCK_UNIQUE : Q_TASKS_FIND_UNIQUE,
        (value_t[]) { value_uuids(owners, n), value_texts(kinds, n),
            value_texts(keys, n) }, 3));
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);
        size_t place = (size_t) db_int(&row, "place") - 1;
        size_t at = unique->pending[place];

        found[place] = 1;
        unique->running[at] = slice_equal(db_text(&row, "state"),
            SLICE("running"));
        decide(&unique->tasks[at], db_uuid(&row, "id"), unique->running[at]);
    }
    for (size_t i = 0; i < n; i++) {
        if (!found[i]) {
            unique->pending[left++] = unique->pending[i];
        }
    }
    unique->npending = left;
}

/* ---- those that follow ---- */

/* The last that replaces a task gives it its content. */
static void
replace(request_t *rq, unique_t *unique)
{
    size_t *last = arena_alloc(rq->arena, unique->count * sizeof(*last));

    for (size_t i = 0; i < unique->count; i++) {
        last[i] = SIZE_MAX;
    }
    for (size_t i = 0; i < unique->count; i++) {
        if (unique->tasks[i].outcome == ENQUEUE_REPLACED) {
            last[unique->leader[i]] = i;
        }
    }
    for (size_t i = 0; i < unique->count; i++) {
        if (last[i] != SIZE_MAX) {
            task_replace(rq, &unique->tasks[last[i]]);
        }
    }
}

static void
follow(unique_t *unique)
{
    for (size_t i = 0; i < unique->count; i++) {
        size_t leader = unique->leader[i];

        if (leader != i) {
            decide(&unique->tasks[i], unique->tasks[leader].id,
                unique->running[leader]);
        }
    }
}

static void
run(request_t *rq, void *arg)
{
    unique_t *unique = arg;

    unique->npending = 0;
    for (size_t i = 0; i < unique->count; i++) {
        if (unique->leader[i] == i) {
            unique->pending[unique->npending++] = i;
        }
    }
    for (int tries = 0; unique->npending > 0; tries++) {
        if (tries == TRIES) {
            rq_raise(rq, 409, "conflict",
                "tasks with this unique key come and go, try again");
        }
        insert_pending(rq, unique);
        if (unique->npending > 0) {
            find_pending(rq, unique);
        }
    }
    follow(unique);
    if (unique->replacing) {
        replace(rq, unique);
    }
}

void
enqueue_unique(request_t *rq, new_task_t *tasks, size_t count)
{
    unique_t unique = { .tasks = tasks, .count = count,
        .leader = arena_alloc(rq->arena, 2 * count * sizeof(size_t)) };

    unique.pending = unique.leader + count;
    unique.running = arena_zero(rq->arena, count);
    for (size_t i = 0; i < count; i++) {
        unique.replacing |= tasks[i].unique_key.data != NULL
                            && tasks[i].on_duplicate == DUPLICATE_REPLACE;
    }
    find_leaders(rq, &unique);
    if (!unique.replacing || rq->transaction != NULL) {
        run(rq, &unique);
        return;
    }
    db_begin(rq);
    run(rq, &unique);
    db_commit(rq);
}
