/* dead_letters.c: tasks that are out of attempts, tried again in one go. They
 * are listed as all tasks are: GET /tasks?state=failed. */

#include "tasks.h"

#define LIMIT_DEFAULT 100

typedef struct {
    value_t kind, labels, after, before, run, limit;
} filter_of_t;

static const struct {
    column_t column;
    size_t offset;
} members[] = {
    { { "kind", COLUMN_TEXT, 0, .min = 1, .max = 200 },
        offsetof(filter_of_t, kind) },
    { { "labels", COLUMN_TEXTS, 0, .min = 1, .max = TASK_LABELS_MAX,
          .element_max = 64 }, offsetof(filter_of_t, labels) },
    { { "finished_after", COLUMN_TIME, .flags = 0 },
        offsetof(filter_of_t, after) },
    { { "finished_before", COLUMN_TIME, .flags = 0 },
        offsetof(filter_of_t, before) },
    { { "run_id", COLUMN_UUID, .flags = 0 }, offsetof(filter_of_t, run) },
    { { "limit", COLUMN_INT, 0, .min = 1, .max = TASKS_MAX },
        offsetof(filter_of_t, limit) },
};

static void
read_filter(request_t *rq, filter_of_t *out)
{
    report_t report = report_to(rq);
    const char *name;
    json_t *value;

    *out = (filter_of_t) { .limit = value_int(LIMIT_DEFAULT) };
    json_object_foreach(rq_json(rq), name, value) {
        size_t i = 0, n = sizeof(members) / sizeof(members[0]);

        while (i < n && strcmp(members[i].column.name, name) != 0) {
            i++;
        }
        if (i == n) {
            report_invalid(&report, name, "unknown_member",
                "is not a filter of dead letters");
        } else if (!json_is_null(value)) {
            value_from_json(&report, &members[i].column, name, value,
                (value_t *) ((char *) out + members[i].offset));
        }
    }
    rq_check(rq);
}

static void
reply(request_t *rq, const task_outcome_t *outcomes, size_t count, int more)
{
    size_t retried = 0;
    const char *comma = "";
    buf_t out;

    for (size_t i = 0; i < count; i++) {
        retried += outcomes[i].code == NULL;
    }
    buf_init(&out, rq->arena, 256);
    buf_printf(&out, "{\"matched\":%zu,\"retried\":%zu,\"more\":%s,"
        "\"refused\":[", count, retried, more ? "true" : "false");
    for (size_t i = 0; i < count; i++) {
        value_t id = value_uuid(outcomes[i].id);

        if (outcomes[i].code != NULL) {
            buf_printf(&out, "%s{\"id\":", comma);
            json_put_value(&out, &id);
            buf_printf(&out, ",\"code\":\"%s\"}", outcomes[i].code);
            comma = ",";
        }
    }
    buf_puts(&out, "]}");
    rq_reply(rq, 200, buf_slice(&out));
}

/* One row more than asked for tells whether there are more. */
void
op_task_redrive(request_t *rq)
{
    filter_of_t filter;
    task_outcome_t *outcomes;
    const db_result_t *rows;
    size_t limit, count;

    read_filter(rq, &filter);
    limit = (size_t) filter.limit.as.integer;
    rows = db_rows(rq, Q_TASKS_FAILED, value_uuid(rq->user), filter.kind,
        filter.labels, filter.after, filter.before,
        value_int((int64_t) limit + 1), filter.run);
    count = (size_t) rows->nrows < limit ? (size_t) rows->nrows : limit;
    outcomes = arena_zero(rq->arena, (count + 1) * sizeof(*outcomes));
    for (size_t i = 0; i < count; i++) {
        db_row_t row = db_row_at(rows, (int) i);

        outcomes[i].id = db_uuid(&row, "id");
    }
    if (count > 0) {
        tasks_retry(rq, outcomes, count);
    }
    reply(rq, outcomes, count, (size_t) rows->nrows > limit);
}
