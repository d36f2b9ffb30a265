/* usage.c: GET usage: what models have cost, out of the ledger. */

#include "internal.h"

#include "workers/db/resource_parts.h"

#include <time.h>

#define ROWS_MAX  1000
#define DAYS      30
#define DAY_US    INT64_C(86400000000)

typedef struct {
    int64_t from, to;
    value_t project, swarm, model;
    int by_day, by_model, by_project, by_swarm;
} asked_t;

static int64_t
now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* "day,model" */
static void
read_by(request_t *rq, slice_t text, asked_t *asked)
{
    asked->by_day = 0;
    for (size_t i = 0; i <= text.len; i++) {
        const char *comma = i < text.len
            ? memchr(text.data + i, ',', text.len - i) : NULL;
        size_t end = comma != NULL ? (size_t) (comma - text.data) : text.len;
        slice_t word = { text.data + i, end - i };

        if (slice_equal(word, SLICE("day"))) {
            asked->by_day = 1;
        } else if (slice_equal(word, SLICE("model"))) {
            asked->by_model = 1;
        } else if (slice_equal(word, SLICE("project"))) {
            asked->by_project = 1;
        } else if (slice_equal(word, SLICE("swarm"))) {
            asked->by_swarm = 1;
        } else {
            rq_invalid(rq, "by", "invalid_value",
                "must be some of day, model, project, swarm");
            return;
        }
        i = end;
    }
}

static void
read_time(request_t *rq, const char *name, slice_t text, int64_t *out)
{
    if (time_parse(text, out) != 0) {
        rq_invalid(rq, name, "invalid_time",
            "must be a time like 2026-11-29T00:00:00Z");
    }
}

static value_t
read_id(request_t *rq, const char *name, slice_t text)
{
    hive_uuid_t id = { { 0 } };

    if (uuid_parse(text.data, text.len, &id) != 0) {
        rq_invalid(rq, name, "invalid_uuid", "must be a uuid");
    }
    return value_uuid(id);
}

static asked_t
read_query(request_t *rq)
{
    asked_t asked = { .to = now_us() + DAY_US, .project = value_null(),
        .swarm = value_null(), .model = value_null(), .by_day = 1 };
    const query_arg_t *args;
    size_t count;

    asked.from = asked.to - (DAYS + 1) * DAY_US;
    args = rq_query(rq, &count);
    for (size_t i = 0; i < count; i++) {
        const char *name = arena_strndup(rq->arena, args[i].name.data,
            args[i].name.len);
        slice_t value = args[i].value;

        if (strcmp(name, "by") == 0) {
            read_by(rq, value, &asked);
        } else if (strcmp(name, "from") == 0) {
            read_time(rq, name, value, &asked.from);
        } else if (strcmp(name, "to") == 0) {
            read_time(rq, name, value, &asked.to);
        } else if (strcmp(name, "project_id") == 0) {
            asked.project = read_id(rq, name, value);
        } else if (strcmp(name, "swarm_id") == 0) {
            asked.swarm = read_id(rq, name, value);
        } else if (strcmp(name, "model") == 0) {
            asked.model = value_text(value);
        } else {
            rq_invalid(rq, name, "unknown_parameter",
                "must be by, from, to, project_id, swarm_id or model");
        }
    }
    rq_check(rq);
    return asked;
}

void
op_usage(request_t *rq)
{
    asked_t asked = read_query(rq);
    const db_result_t *rows = db_rows(rq, Q_USAGE_SUMS, value_uuid(rq->user),
        value_time(asked.from), value_time(asked.to), asked.project,
        asked.swarm, asked.model, value_bool(asked.by_day),
        value_bool(asked.by_model), value_bool(asked.by_project),
        value_bool(asked.by_swarm), value_int(ROWS_MAX + 1));
    buf_t out;

    if (rows->nrows > ROWS_MAX) {
        rq_raise(rq, 422, "too_many_rows", "these are more than %d rows: ask"
            " for a shorter time, or by less", ROWS_MAX);
    }
    buf_init(&out, rq->arena, 1024);
    buf_puts(&out, "{\"items\":");
    db_json_rows(&out, rows);
    buf_puts(&out, ",\"next_cursor\":null}");
    rq_reply(rq, 200, buf_slice(&out));
}
