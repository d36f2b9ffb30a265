/* task_page.c: lists of what belongs to one task: short, in one order, their
 * cursor the key of the last row in plain sight. */

#include "tasks.h"

#include <inttypes.h>

#define LIMIT_DEFAULT 20
#define LIMIT_MAX     100

page_t
page_read(request_t *rq, const char *other)
{
    page_t page = { .limit = LIMIT_DEFAULT };
    size_t count;
    const query_arg_t *args = rq_query(rq, &count);

    for (size_t i = 0; i < count; i++) {
        const query_arg_t *arg = &args[i];
        const char *name = arena_strndup(rq->arena, arg->name.data,
            arg->name.len);

        if (strcmp(name, "limit") == 0) {
            if (int_parse(arg->value, &page.limit) != 0 || page.limit < 1
                || page.limit > LIMIT_MAX)
            {
                rq_invalid(rq, name, "out_of_range",
                    "must be a number from 1 to %d", LIMIT_MAX);
            }
        } else if (strcmp(name, "cursor") == 0) {
            page.cursor = arg->value;
        } else if (other != NULL && strcmp(name, other) == 0) {
            page.other = arg->value;
        } else {
            rq_invalid(rq, name, "unknown_parameter",
                "this list has no such parameter");
        }
    }
    rq_check(rq);
    return page;
}

static void
put_key(buf_t *out, const db_row_t *row, const char *key)
{
    int column = db_column(row->result, key);
    char uuid[UUID_TEXT];

    if (row->result->columns[column].type == DB_UUID) {
        hive_uuid_t id = db_uuid(row, key);

        uuid_format(&id, uuid);
        json_put_string(out, (slice_t) { uuid, UUID_TEXT });
    } else {
        buf_printf(out, "\"%" PRId64 "\"", db_int(row, key));
    }
}

void
page_reply(request_t *rq, const page_t *page, const db_result_t *rows,
    const char *key)
{
    int shown = rows->nrows < page->limit ? rows->nrows : (int) page->limit;
    buf_t out;

    buf_init(&out, rq->arena, 1024);
    buf_puts(&out, "{\"items\":[");
    for (int i = 0; i < shown; i++) {
        db_row_t row = db_row_at(rows, i);

        buf_puts(&out, i > 0 ? "," : "");
        db_json_row(&out, &row);
    }
    buf_puts(&out, "],\"next_cursor\":");
    if (rows->nrows > shown) {
        db_row_t last = db_row_at(rows, shown - 1);

        put_key(&out, &last, key);
    } else {
        buf_puts(&out, "null");
    }
    buf_putc(&out, '}');
    rq_reply(rq, 200, buf_slice(&out));
}
