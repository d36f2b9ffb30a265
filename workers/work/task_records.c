/* task_records.c: what is known about a task beside itself: its result, its
 * attempts, its events; and how many there are. */

#include "tasks.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

/* ---- result ---- */

void
op_task_result(request_t *rq)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    const db_row_t *row = db_row(rq, Q_TASK_RESULT, value_uuid(rq->user),
        value_uuid(id));

    if (row == NULL) {
        if (db_row(rq, Q_TASK_EXISTS, value_uuid(rq->user), value_uuid(id))
            == NULL)
        {
            resource_raise_missing(rq, &task_resource);
        }
        rq_raise(rq, 404, "result_not_ready", "the task has not ended yet");
    }
    resource_reply(rq, row);
}

/* ---- attempts and events ---- */

static void
check_exists(request_t *rq, hive_uuid_t id)
{
    if (db_row(rq, Q_TASK_EXISTS, value_uuid(rq->user), value_uuid(id))
        == NULL)
    {
        resource_raise_missing(rq, &task_resource);
    }
}

static int64_t
number_cursor(request_t *rq, const page_t *page)
{
    int64_t after = 0;

    if (page->cursor.data != NULL
        && (int_parse(page->cursor, &after) != 0 || after < 0))
    {
        rq_raise(rq, 400, "malformed_cursor",
            "the cursor is not one that this list gave");
    }
    return after;
}

/* An empty list may be that of no task at all. */
static void
reply_numbered(request_t *rq, query_id_t query, const char *key)
{
    hive_uuid_t id = rq_param_uuid(rq, 0);
    page_t page = page_read(rq, NULL);
    int64_t after = number_cursor(rq, &page);

    check_exists(rq, id);
    page_reply(rq, &page, db_rows(rq, query, value_uuid(rq->user),
        value_uuid(id), value_int(after), value_int(page.limit + 1)), key);
}

void
op_task_attempts(request_t *rq)
{
    reply_numbered(rq, Q_TASK_ATTEMPTS, "attempt");
}

void
op_task_events(request_t *rq)
{
    reply_numbered(rq, Q_TASK_EVENTS, "offset");
}

/* ---- counts ----
 * No count goes beyond COUNT_MAX, so that it costs the same for the largest
 * owner; and an answer that took long is given again for twenty times as
 * long, so that whoever asks in a loop takes a twentieth of a connection. */

#define COUNT_MAX 100000
#define OWNERS    64
#define KEEP      20

typedef struct {
    hive_uuid_t owner;
    uint64_t until;              /* uv_hrtime */
    char *text;
    size_t len;
} counts_t;

static counts_t kept_counts[OWNERS];

static void
put_states(buf_t *out, const db_result_t *rows)
{
    const char *comma = "";

    buf_puts(out, "{\"states\":{");
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        buf_printf(out, "%s\"%s\":%" PRId64, i > 0 ? "," : "",
            task_state_name(db_text(&row, "state")), db_int(&row, "n"));
    }
    buf_puts(out, "},\"capped\":[");
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        if (db_int(&row, "n") == COUNT_MAX) {
            buf_printf(out, "%s\"%s\"", comma,
                task_state_name(db_text(&row, "state")));
            comma = ",";
        }
    }
    buf_putc(out, ']');
}

/* Rows come by kind. */
static void
put_kinds(buf_t *out, const db_result_t *rows)
{
    slice_t kind = SLICE_NONE;

    buf_puts(out, ",\"kinds\":{");
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);
        slice_t next = db_text(&row, "kind");

        if (i == 0 || !slice_equal(kind, next)) {
            buf_puts(out, i > 0 ? "}," : "");
            json_put_string(out, next);
            buf_puts(out, ":{");
        } else {
            buf_putc(out, ',');
        }
        kind = next;
        buf_printf(out, "\"%s\":%" PRId64,
            task_state_name(db_text(&row, "state")), db_int(&row, "n"));
    }
    buf_puts(out, rows->nrows > 0 ? "}}" : "}");
}

static slice_t
count(request_t *rq)
{
    struct timespec now;
    buf_t out;

    buf_init(&out, rq->arena, 512);
    clock_gettime(CLOCK_REALTIME, &now);
    put_states(&out, db_rows(rq, Q_TASKS_BY_STATE, value_uuid(rq->user),
        value_int(COUNT_MAX)));
    put_kinds(&out, db_rows(rq, Q_TASKS_BY_KIND, value_uuid(rq->user),
        value_int(COUNT_MAX)));
    buf_puts(&out, ",\"counted_at\":");
    json_put_time(&out, (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000);
    buf_putc(&out, '}');
    return buf_slice(&out);
}

static void
keep(hive_uuid_t owner, slice_t text, uint64_t until)
{
    counts_t *kept = &kept_counts[owner.bytes[15] % OWNERS];
    char *copy = malloc(text.len);

    if (copy != NULL) {
        memcpy(copy, text.data, text.len);
        free(kept->text);
        *kept = (counts_t) { owner, until, copy, text.len };
    }
}

void
op_task_counts(request_t *rq)
{
    const counts_t *kept = &kept_counts[rq->user.bytes[15] % OWNERS];
    uint64_t began = uv_hrtime();
    size_t nargs;
    slice_t text;

    if (rq_query(rq, &nargs), nargs > 0) {
        rq_raise(rq, 422, "unknown_parameter", "counts take no parameters");
    }
    if (kept->text != NULL && kept->until > began
        && uuid_equal(&kept->owner, &rq->user))
    {
        rq_reply(rq, 200, (slice_t) { kept->text, kept->len });
        return;
    }
    text = count(rq);
    keep(rq->user, text, uv_hrtime() + KEEP * (uv_hrtime() - began));
    rq_reply(rq, 200, text);
}
