/* limits.c: who may run of those that share a limit.
 *
 * A task with a limit key can be claimed only once it has been granted one of
 * the key's slots, which it holds until it leaves `ready` and `running`. Slots
 * are granted by whoever holds the lock of the key's row, and counted in a
 * second statement, so that each sees what the one before has granted: a limit
 * is never exceeded, however many ask. Asked by who frees a slot or makes a
 * task ready; the sweep asks again for those whom a crash has left. */

#include "engine_internal.h"

#include "workers/runtime/log.h"

#include <stdlib.h>

#define AT_ONCE      64
#define WAITING_MAX  10000
#define SWEEP_MIN_MS 4000
#define SWEEP_MAX_MS 6000
#define SWEEP_KEYS   1000
#define FAILED_MS    300

typedef struct freed_s freed_t;

struct freed_s {
    TAILQ_ENTRY(freed_s) link;
    hive_uuid_t owner;
    size_t len;
    char key[];
};

static TAILQ_HEAD(freed_list_s, freed_s) freed
    = TAILQ_HEAD_INITIALIZER(freed);
static unsigned nfreed;

/* ---- asked ---- */

/* Most of the time it is the last one's key again. */
static int
is_asked(const hive_uuid_t *owner, slice_t key)
{
    const freed_t *one;
    unsigned looked = 0;

    TAILQ_FOREACH_REVERSE(one, &freed, freed_list_s, link) {
        if (one->len == key.len && uuid_equal(&one->owner, owner)
            && memcmp(one->key, key.data, key.len) == 0) {
            return 1;
        }
        if (++looked == AT_ONCE) {
            return 0;
        }
    }
    return 0;
}

void
granter_add(const hive_uuid_t *owner, slice_t key)
{
    freed_t *one;

    if (engine.granter == NULL || nfreed == WAITING_MAX
        || is_asked(owner, key)) {
        return;
    }
    one = malloc(sizeof(*one) + key.len);
    if (one == NULL) {
        abort();
    }
    one->owner = *owner;
    one->len = key.len;
    memcpy(one->key, key.data, key.len);
    TAILQ_INSERT_TAIL(&freed, one, link);
    nfreed++;
    fiber_wake(engine.granter);
}

static void
remove_first(void)
{
    freed_t *one = TAILQ_FIRST(&freed);

    TAILQ_REMOVE(&freed, one, link);
    nfreed--;
    free(one);
}

void
granter_stop(void)
{
    while (nfreed > 0) {
        remove_first();
    }
}

/* ---- granting ---- */

typedef struct {
    hive_uuid_t owners[AT_ONCE];
    slice_t keys[AT_ONCE];
    size_t count;
} ask_t;

static void
take_asked(arena_t *arena, ask_t *ask)
{
    ask->count = 0;
    while (nfreed > 0 && ask->count < AT_ONCE) {
        freed_t *one = TAILQ_FIRST(&freed);

        ask->owners[ask->count] = one->owner;
        ask->keys[ask->count++] = arena_slice(arena,
            (slice_t) { one->key, one->len });
        remove_first();
    }
}

static void
put_back(const ask_t *ask)
{
    for (size_t i = 0; i < ask->count; i++) {
        granter_add(&ask->owners[i], ask->keys[i]);
    }
}

static void
grant_locked(request_t *rq, void *arg)
{
    const ask_t *ask = arg;
    value_t owners = value_uuids(ask->owners, ask->count);
    value_t keys = value_texts(ask->keys, ask->count);
    const db_result_t *result;

    db_begin(rq);
    db_rows(rq, Q_ENGINE_LIMIT_LOCK, owners, keys);
    result = db_rows(rq, Q_ENGINE_LIMIT_GRANT, owners, keys);
    db_commit(rq);
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);

        engine_wake(db_text(&row, "kind"));
    }
}

static void
grant(request_t *rq, void *arg)
{
    ask_t *ask = arena_alloc(rq->arena, sizeof(*ask));

    (void) arg;
    take_asked(rq->arena, ask);
    if (rq_try(rq, grant_locked, ask) != 0) {
        put_back(ask);
        rq_reraise(rq);
    }
}

/* ---- the sweep ---- */

static void
sweep(request_t *rq, void *arg)
{
    const db_result_t *result = db_rows(rq, Q_ENGINE_LIMITS_WAITING,
        value_int(SWEEP_KEYS));

    (void) arg;
    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);
        hive_uuid_t owner = db_uuid(&row, "owner_id");

        granter_add(&owner, db_text(&row, "limit_key"));
    }
}

void
granter_loop(request_t *rq, void *arg)
{
    uint64_t sweep_at = 0;

    (void) arg;
    while (!engine.stopping && !fiber_cancelled(fiber_self())) {
        int failed = 0;

        if (uv_hrtime() >= sweep_at && engine_alive()) {
            sweep_at = uv_hrtime()
                + engine_jitter(SWEEP_MIN_MS, SWEEP_MAX_MS) * MS;
            failed = job_step(rq, sweep, NULL);
        }
        if (nfreed > 0 && failed == 0) {
            failed = job_step(rq, grant, NULL);
        }
        if (failed != 0) {
            engine_pause("the database", FAILED_MS);
        } else if (nfreed == 0) {
            uint64_t soon = uv_hrtime() + FAILED_MS * MS;

            /* The sweep is overdue while nobody knows whether we live. */
            fiber_suspend_until("freed slots",
                sweep_at > soon ? sweep_at : soon);
        }
    }
}
