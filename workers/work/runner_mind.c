/* runner_mind.c: what follows from requests about leases, some of it a moment
 * later: the leases of tasks that were asked to cancel are shortened, and claims
 * of which nothing is left are forgotten, many at once. What a process that
 * dies has not done is done when the leases run out, and by engine_forget. */

#include "engine_internal.h"
#include "runner.h"

#define ENDED_MAX 4096

static struct {
    int cancelled;             /* since the last look at leases */
    size_t count;
    hive_uuid_t ended[ENDED_MAX];
} mind;

void
runner_cancelled(void)
{
    mind.cancelled = 1;
}

void
runner_ended(const hive_uuid_t *token)
{
    if (mind.count < ENDED_MAX) {
        mind.ended[mind.count++] = *token;
    }
}

static void
shorten_leases(request_t *rq, void *arg)
{
    (void) arg;
    db_exec(rq, Q_RUNNER_CANCEL_LATE,
        value_int(engine.config.cancel_grace_ms));
}

static void
forget_claims(request_t *rq)
{
    size_t count = mind.count;
    hive_uuid_t *ended = arena_alloc(rq->arena, (count + 1) * sizeof(*ended));

    if (count > 0) {
        memcpy(ended, mind.ended, count * sizeof(*ended));
        mind.count = 0;
        db_exec(rq, Q_RUNNER_CLAIMS_DONE, value_uuids(ended, count));
    }
}

void
runner_mind(request_t *rq, void *arg)
{
    (void) arg;
    if (mind.cancelled) {
        mind.cancelled = 0;
        if (rq_try(rq, shorten_leases, NULL) != 0) {
            mind.cancelled = 1;
            rq_reraise(rq);
        }
    }
    forget_claims(rq);
}
