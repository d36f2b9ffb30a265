/* queue_limit.c: a queue that is full says so.
 *
 * Counting the tasks of an owner costs what the owner has, so it is done
 * seldom: once an owner is known, again when this process has added a
 * sixteenth of what there was room for, and at most once a second while the
 * queue is full. With few processes the limit is overshot by a fraction of
 * itself at worst, and never without bound. */

#include "enqueue.h"
#include "work.h"

#include <inttypes.h>
#include <uv.h>

#define OWNERS   1024
#define PARTS    16
#define AGAIN_MS 1000

typedef struct {
    hive_uuid_t owner;
    int64_t counted;             /* then */
    int64_t added;               /* here, since */
    uint64_t at;                 /* uv_hrtime, 0: not known */
} queue_t;

static queue_t queues[OWNERS];
static int64_t owner_max = 1000000;

void
enqueue_init(unsigned max)
{
    owner_max = max;
    memset(queues, 0, sizeof(queues));
}

/* Ids end in random bits. An owner with the same place takes it over. */
static queue_t *
queue_of(const hive_uuid_t *owner)
{
    unsigned place = (unsigned) (owner->bytes[14] << 8 | owner->bytes[15]);
    queue_t *queue = &queues[place % OWNERS];

    if (!uuid_equal(&queue->owner, owner)) {
        *queue = (queue_t) { .owner = *owner };
    }
    return queue;
}

static int
is_stale(const queue_t *queue, int64_t more)
{
    uint64_t age;

    if (queue->at == 0) {
        return 1;
    }
    age = (uv_hrtime() - queue->at) / 1000000;
    if (queue->counted + queue->added + more > owner_max) {
        return queue->counted + more <= owner_max || age >= AGAIN_MS;
    }
    return queue->added > (owner_max - queue->counted) / PARTS
           && queue->added > owner_max / (PARTS * PARTS);
}

void
queue_limit_check(request_t *rq, hive_uuid_t owner, size_t more)
{
    queue_t *queue = queue_of(&owner);

    if (is_stale(queue, (int64_t) more)) {
        const db_row_t *row = db_row(rq, Q_TASKS_UNFINISHED,
            value_uuid(owner), value_int(owner_max + 1));

        /* Others may have taken the place while this one waited. */
        queue = queue_of(&owner);
        queue->counted = db_int(row, "n");
        queue->added = 0;
        queue->at = uv_hrtime();
    }
    if (queue->counted + queue->added + (int64_t) more > owner_max) {
        rq_reply_header(rq, "retry-after", SLICE("5"));
        rq_raise(rq, 429, "queue_full",
            "at most %" PRId64 " tasks may wait at once", owner_max);
    }
}

void
queue_limit_added(hive_uuid_t owner, size_t count)
{
    queue_of(&owner)->added += (int64_t) count;
}
