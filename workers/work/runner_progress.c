/* runner_progress.c: POST /tasks/{id}/progress: how far a runner has come.
 *
 * A task's progress is written at most four times a second. What comes sooner
 * after a change of the task is kept here, the latest only, answered with 202,
 * and written when it is due by the fiber of the request that was the first to
 * be kept, after its reply. The same task may be kept in several processes:
 * what has come further is newer, and among equals the time when it was said,
 * not when it is written, decides. */

#include "engine.h"
#include "runner.h"

#include "workers/db/event.h"

#include <stdlib.h>
#include <sys/queue.h>

#define MESSAGE_MAX  1000
#define COUNTERS_MAX 16384
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct {
    value_t share, message, counters;    /* NULL: as it was */
    unsigned lease_ms;
} progress_t;

/* Something kept; its text is its own. In the list until somebody takes it to
 * write it. */
typedef struct kept_s {
    TAILQ_ENTRY(kept_s) link;
    hive_uuid_t id, token, user;
    fiber_t *fiber;            /* that will write it, unless it is taken */
    int taken;
    int64_t told_at;           /* by the clock of the database, in us */
    slice_t reply;             /* in the arena of its request */
    char *message, *counters;
    progress_t progress;
} kept_t;

static TAILQ_HEAD(kept_list_s, kept_s) kept_list =
    TAILQ_HEAD_INITIALIZER(kept_list);

static kept_t *
find_kept(const hive_uuid_t *id, const hive_uuid_t *token)
{
    kept_t *kept;

    TAILQ_FOREACH(kept, &kept_list, link) {
        if (uuid_equal(&kept->id, id) && uuid_equal(&kept->token, token)) {
            return kept;
        }
    }
    return NULL;
}

static void
take_kept(kept_t *kept)
{
    if (!kept->taken) {
        kept->taken = 1;
        TAILQ_REMOVE(&kept_list, kept, link);
    }
}

static void
release_kept(void *arg)
{
    kept_t *kept = arg;

    take_kept(kept);
    free(kept->message);
    free(kept->counters);
    free(kept);
}

/* ---- writing ---- */

static const db_row_t *
write_progress(request_t *rq, hive_uuid_t id, hive_uuid_t token,
    const progress_t *progress, value_t unless_since)
{
    const db_row_t *row = db_row(rq, Q_RUNNER_PROGRESS,
        value_uuid(rq->user), value_uuid(id), value_uuid(token),
        progress->share, progress->message, progress->counters,
        value_int(progress->lease_ms), unless_since,
        value_bool(engine_events()));

    if (row != NULL && db_bool(row, "_written") && engine_events()) {
        event_publish(rq, row);
    }
    return row;
}

static void
write_kept(request_t *rq, void *arg)
{
    const kept_t *kept = arg;
    const progress_t *progress = &kept->progress;

    if (write_progress(rq, kept->id, kept->token, progress,
            value_time(kept->told_at)) == NULL) {
        db_exec(rq, Q_RUNNER_PROGRESS_LATE, value_uuid(rq->user),
            value_uuid(kept->id), value_uuid(kept->token), progress->share,
            progress->message, progress->counters);
    }
}

static value_t
arena_value(arena_t *arena, value_t value)
{
    if (value.type != VALUE_NULL) {
        value.as.text = arena_slice(arena, value.as.text);
    }
    return value;
}

void
runner_progress_flush(request_t *rq, hive_uuid_t id, hive_uuid_t token)
{
    kept_t *kept = find_kept(&id, &token), *copy;

    if (kept == NULL) {
        return;
    }

    /* Its own request may end while we write. */
    copy = arena_zero(rq->arena, sizeof(*copy));
    copy->id = id;
    copy->token = token;
    copy->told_at = kept->told_at;
    copy->progress = kept->progress;
    copy->progress.message = arena_value(rq->arena, kept->progress.message);
    copy->progress.counters = arena_value(rq->arena,
        kept->progress.counters);
    take_kept(kept);
    fiber_wake(kept->fiber);
    write_kept(rq, copy);
}

/* ---- keeping ---- */

/* The clock of the database is ahead of ours by at least what a row tells when
 * it comes: the more, the faster it came. The best of these is believed, and
 * trusted a little less each second, should one of the clocks be slow. */
static struct {
    int64_t ahead, since;
} database_clock = { INT64_MIN / 2, 0 };

static int64_t
own_clock(void)
{
    return (int64_t) (uv_hrtime() / 1000);
}

static int64_t
database_now(void)
{
    int64_t now = own_clock();

    return now + database_clock.ahead - (now - database_clock.since) / 1000;
}

static void
learn_clock(const db_row_t *row)
{
    int64_t there = db_time(row, "_now");

    if (there > database_now()) {
        database_clock.since = own_clock();
        database_clock.ahead = there - database_clock.since;
    }
}

static value_t
own_text(char **own, value_t value)
{
    char *copy = malloc(value.as.text.len + 1);

    if (copy == NULL) {
        abort();
    }
    memcpy(copy, value.as.text.data, value.as.text.len);
    free(*own);
    *own = copy;
    value.as.text.data = copy;
    return value;
}

/* What is not given stays as it was told last. */
static void
keep(kept_t *kept, const progress_t *progress)
{
    progress_t *own = &kept->progress;

    if (progress->share.type != VALUE_NULL) {
        own->share = progress->share;
    }
    if (progress->message.type != VALUE_NULL) {
        own->message = own_text(&kept->message, progress->message);
    }
    if (progress->counters.type != VALUE_NULL) {
        own->counters = own_text(&kept->counters, progress->counters);
    }
    own->lease_ms = progress->lease_ms;
    kept->told_at = database_now();
}

static slice_t
state_of(request_t *rq, const db_row_t *row)
{
    buf_t out;

    buf_init(&out, rq->arena, 128);
    db_json_row(&out, row);
    return buf_slice(&out);
}

/* The first one kept: answered, and then its fiber stays until it is due. */
static void
keep_first(request_t *rq, hive_uuid_t id, hive_uuid_t token,
    const progress_t *progress, const db_row_t *row)
{
    kept_t *kept = calloc(1, sizeof(*kept));
    int64_t now = db_time(row, "_now"), wait = db_time(row, "_due") - now;
    uint64_t due = uv_hrtime() + (uint64_t) (wait > 0 ? wait : 0) * 1000;

    if (kept == NULL) {
        abort();
    }
    kept->id = id;
    kept->token = token;
    kept->user = rq->user;
    kept->fiber = rq->fiber;
    kept->reply = state_of(rq, row);
    keep(kept, progress);
    TAILQ_INSERT_TAIL(&kept_list, kept, link);
    arena_cleanup(rq->arena, release_kept, kept);

    rq_reply(rq, 202, kept->reply);
    while (!kept->taken && uv_hrtime() < due) {
        if (fiber_suspend_until("progress to be due", due) == UV_ECANCELED) {
            break;
        }
    }
    if (!kept->taken) {
        take_kept(kept);
        rq_try(rq, write_kept, kept);
    }
}

/* ---- the operation ---- */

static progress_t
read_progress(request_t *rq, hive_uuid_t *token)
{
    static const column_t columns[] = {
        { "lease_token", COLUMN_UUID, .flags = REQUIRED | WRITABLE },
        { "lease_ms", COLUMN_INT, WRITABLE | NULLABLE, .min = LEASE_MS_MIN,
            .max = LEASE_MS_MAX },
        { "progress", COLUMN_JSON, WRITABLE | NULLABLE, .max = 64 },
        { "message", COLUMN_TEXT, WRITABLE | NULLABLE, .max = MESSAGE_MAX },
        { "counters", COLUMN_JSON, WRITABLE | NULLABLE,
            .max = COUNTERS_MAX },
    };
    assignment_t body[COUNT(columns)];
    const json_t *json = rq_json(rq), *share, *counters;
    progress_t progress = { .share = value_null() };

    runner_read(rq, "progress", columns, COUNT(columns), body);
    share = json_object_get(json, "progress");
    counters = json_object_get(json, "counters");
    if (share != NULL && !json_is_null(share)) {
        progress.share = value_float(json_number_value(share));
        if (!json_is_number(share) || json_number_value(share) < 0
            || json_number_value(share) > 1) {
            rq_invalid(rq, "progress", "invalid_value",
                "must be a number from 0 to 1");
        }
    }
    if (counters != NULL && !json_is_null(counters)
        && !json_is_object(counters)) {
        rq_invalid(rq, "counters", "wrong_type", "must be an object");
    }
    rq_check(rq);

    *token = body[0].value.as.uuid;
    progress.lease_ms = runner_lease_ms(&body[1].value, token);
    progress.message = body[3].value;
    progress.counters = body[4].value;
    return progress;
}

void
op_task_progress(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0), token;
    progress_t progress = read_progress(rq, &token);
    kept_t *kept = find_kept(&id, &token);
    const db_row_t *row;

    if (kept != NULL && uuid_equal(&kept->user, &rq->user)) {
        keep(kept, &progress);
        rq_reply(rq, 202, kept->reply);
        return;
    }

    row = write_progress(rq, id, token, &progress, value_null());
    if (row == NULL) {
        runner_raise_lost(rq, id, token);
    }
    learn_clock(row);
    if (db_bool(row, "_written")) {
        rq_reply(rq, 200, state_of(rq, row));
        return;
    }
    keep_first(rq, id, token, &progress, row);
}
