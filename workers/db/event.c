/* event.c: events of committed changes, on their way to the sink.
 *
 * A statement in a write lane has committed by the time its row is seen, so
 * its event goes on at once. Inside a transaction events, and what else waits
 * for a commit, wait (rows live as long as their request) for db_commit; a
 * rollback forgets them. */

#include "event.h"

#include "internal.h"

#include <time.h>

typedef struct pending_s {
    struct pending_s *next;
    void (*fn)(void *arg);       /* NULL: it is an event */
    void *arg;
    event_t event;
} pending_t;

typedef struct {
    pending_t *first;
    pending_t **end;
} pending_list_t;

static void (*event_sink)(const event_t *event);

void
event_set_sink(void (*sink)(const event_t *event))
{
    event_sink = sink;
}

static int64_t
now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* When the change was made: by its own column, else by the row's, else now. */
static int64_t
event_time(const db_row_t *row)
{
    static const char *const columns[] = { "_event_time", "updated_at" };
    size_t i;

    for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
        int column = db_column(row->result, columns[i]);

        if (column >= 0 && row->result->columns[column].type == DB_TIME
            && !db_is_null(row, column)) {
            return db_time(row, columns[i]);
        }
    }
    return now_us();
}

static pending_t *
pending_add(request_t *rq)
{
    pending_list_t *list = rq->events;
    pending_t *pending = arena_zero(rq->arena, sizeof(*pending));

    if (list == NULL) {
        list = arena_alloc(rq->arena, sizeof(*list));
        list->first = NULL;
        list->end = &list->first;
        rq->events = list;
    }
    *list->end = pending;
    list->end = &pending->next;
    return pending;
}

void
event_after_commit(request_t *rq, void (*fn)(void *arg), void *arg)
{
    pending_t *pending;

    if (rq->transaction == NULL) {
        fn(arg);
        return;
    }
    pending = pending_add(rq);
    pending->fn = fn;
    pending->arg = arg;
}

void
event_send(request_t *rq, const event_t *event)
{
    if (rq->transaction != NULL) {
        pending_add(rq)->event = *event;
    } else if (event_sink != NULL) {
        event_sink(event);
    }
}

void
event_publish(request_t *rq, const db_row_t *row)
{
    int may_replace = db_column(row->result, "_first") >= 0;

    event_send(rq, &(event_t) {
        .kind = EVENT_CHANGE,
        .channel = db_text(row, "_channel"),
        .offset = db_int(row, "_offset"),
        .first = may_replace ? db_int(row, "_first") : 0,
        .type = db_text(row, "_event"),
        .data = db_text(row, "_event_data"),
        .time = event_time(row),
    });
}

void
event_emit(const event_t *event)
{
    if (event_sink != NULL) {
        event_sink(event);
    }
}

void
events_committed(request_t *rq)
{
    pending_list_t *list = rq->events;
    pending_t *pending;

    rq->events = NULL;
    if (list == NULL) {
        return;
    }
    for (pending = list->first; pending != NULL; pending = pending->next) {
        if (pending->fn != NULL) {
            pending->fn(pending->arg);
        } else if (event_sink != NULL) {
            event_sink(&pending->event);
        }
    }
}

void
events_forgotten(request_t *rq)
{
    rq->events = NULL;
}
