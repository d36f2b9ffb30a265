/* resource_page.c: answering a list: a page of it as JSON, or all of it as a
 * stream of lines, read page by page so that neither Postgres nor the worker
 * ever holds the whole. */

#include "resource_parts.h"

#define STREAM_PAGE  200
#define WINDOW_FIRST 300
#define WINDOW_MORE  1000
#define WINDOW_LAST  10000

/* ---- which of the two ---- */

static slice_t
trim(slice_t text)
{
    while (text.len > 0 && (*text.data == ' ' || *text.data == '\t')) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && (text.data[text.len - 1] == ' '
                            || text.data[text.len - 1] == '\t'))
    {
        text.len--;
    }
    return text;
}

static slice_t
take_until(slice_t *rest, char separator)
{
    const char *end = rest->len > 0
                      ? memchr(rest->data, separator, rest->len) : NULL;
    slice_t head = *rest;

    if (end == NULL) {
        *rest = SLICE_NONE;
        return head;
    }
    head.len = (size_t) (end - rest->data);
    rest->data = end + 1;
    rest->len -= head.len + 1;
    return head;
}

/* The first of the two types that Accept names; JSON when neither. */
static int
wants_lines(const request_t *rq)
{
    slice_t rest = rq_header(rq, "accept");

    while (rest.len > 0) {
        slice_t range = take_until(&rest, ',');
        slice_t type = trim(take_until(&range, ';'));

        if (slice_equal(type, SLICE("application/x-ndjson"))) {
            return 1;
        }
        if (slice_equal(type, SLICE("application/json"))
            || slice_equal(type, SLICE("application/*"))
            || slice_equal(type, SLICE("*/*")))
        {
            return 0;
        }
    }
    return 0;
}

/* ---- reading rows ---- */

/* Rows of a page may come from several results. */
typedef struct {
    db_row_t *rows;
    int count;
} rows_t;

static void
rows_add(rows_t *rows, const db_result_t *result)
{
    int id = db_column(result, "id");

    for (int i = 0; i < result->nrows; i++) {
        db_row_t row = db_row_at(result, i);

        if (!db_is_null(&row, id)) {
            rows->rows[rows->count++] = row;
        }
    }
}

static const db_result_t *
list_part(request_t *rq, const list_t *list, gather_t how, unsigned window)
{
    value_t *values = arena_alloc(rq->arena,
        GATHER_VALUES(list->nfilters) * sizeof(*values));
    size_t count;
    buf_t text;

    buf_init(&text, rq->arena, 8192);
    values[0] = value_uuid(rq->user);
    count = list_gather(list, how, window, &text, values);
    return db_expect_rows(rq,
        db_exec_text(rq, buf_slice(&text), LANE_READ, values, count));
}

/* Windows have few widths, since each is a statement. */
static unsigned
window_of(const list_t *list)
{
    return list_is_filtered(list) ? WINDOW_FIRST
        : list->limit <= 21 ? 21 : list->limit <= 101 ? 101 : STREAM_PAGE;
}

/* The window in which the rows that are missing should be, twice over, if they
 * are as frequent as in the `walked` that showed `found`; 0: all that match are
 * to be looked up. */
static unsigned
next_window(const list_t *list, unsigned window, int64_t walked, int64_t found,
    int64_t missing)
{
    if (found * WINDOW_MORE >= 2 * missing * walked) {
        return WINDOW_MORE;
    }
    if (found * WINDOW_LAST >= 2 * missing * walked) {
        return WINDOW_LAST;
    }
    return list_is_indexed(list) || window == WINDOW_LAST ? 0 : WINDOW_LAST;
}

/* Of what windows did not show enough there is little: a thousandth at most,
 * or an index leads to it. */
static void
gather_rows(request_t *rq, const list_t *list, rows_t *rows)
{
    unsigned window = window_of(list);
    int64_t walked = 0;
    list_t part = *list;

    do {
        const db_result_t *result = list_part(rq, &part, GATHER_WINDOW,
            window);
        db_row_t first = db_row_at(result, 0);

        rows_add(rows, result);
        if (rows->count == list->limit
            || db_int(&first, "_walked") < (int64_t) window)
        {
            return;
        }
        walked += window;
        part.limit = list->limit - rows->count;
        part.start = LIST_AFTER;
        part.id = db_uuid(&first, "_last");
        window = next_window(list, window, walked, rows->count, part.limit);
    } while (window > 0);
    rows_add(rows, list_part(rq, &part, GATHER_WHOLE, 0));
}

static rows_t
list_rows(request_t *rq, const list_t *list)
{
    rows_t rows = { arena_alloc(rq->arena,
        ((size_t) list->limit + 1) * sizeof(db_row_t)), 0 };
    value_t *values;
    size_t count;
    buf_t text;

    if (list->resource->gathered != NULL) {
        gather_rows(rq, list, &rows);
        return rows;
    }
    values = arena_alloc(rq->arena,
        LIST_VALUES(list->nfilters) * sizeof(*values));
    buf_init(&text, rq->arena, 1024);
    values[0] = value_uuid(rq->user);
    count = list_compose(list, &text, values);
    rows_add(&rows, db_expect_rows(rq,
        db_exec_text(rq, buf_slice(&text), LANE_READ, values, count)));
    return rows;
}

static int64_t
list_total(request_t *rq, const list_t *list)
{
    value_t *values = arena_alloc(rq->arena,
        LIST_VALUES(list->nfilters) * sizeof(*values));
    size_t count;
    buf_t text;

    buf_init(&text, rq->arena, 512);
    values[0] = value_uuid(rq->user);
    count = list_compose_count(list, &text, values);
    return db_int(db_first_row(rq,
        db_exec_text(rq, buf_slice(&text), LANE_READ, values, count)), "total");
}

/* The sort key of a row; borrows text from the result. */
static value_t
row_key(const list_t *list, const db_row_t *row)
{
    const char *name = list->sort->name;

    switch (list->sort->type) {
    case COLUMN_INT:
        return value_int(db_int(row, name));
    case COLUMN_TIME:
        return value_time(db_time(row, name));
    case COLUMN_UUID:
        return value_uuid(db_uuid(row, name));
    default:
        return value_text(db_text(row, name));
    }
}

static int
row_key_is_null(const list_t *list, const db_row_t *row)
{
    return list->sort->flags & NULLABLE
        && db_is_null(row, db_column(row->result, list->sort->name));
}

static void
put_cursor(buf_t *out, const list_t *list, const db_row_t *row)
{
    cursor_t cursor = { .shape = list->shape, .id = db_uuid(row, "id") };
    value_t key = value_null();

    if (row_key_is_null(list, row)) {
        cursor.null = 1;
    } else {
        key = row_key(list, row);
    }
    switch (key.type) {
    case VALUE_NULL:
        break;
    case VALUE_TEXT:
        cursor.key = key.as.text;
        break;
    case VALUE_UUID:
        cursor.key = (slice_t) { (const char *) key.as.uuid.bytes,
            sizeof(key.as.uuid.bytes) };
        break;
    default:
        cursor.key = (slice_t) { (const char *) &key.as.integer,
            sizeof(key.as.integer) };
        break;
    }
    buf_putc(out, '"');
    out->len += cursor_encode(&cursor, buf_reserve(out, CURSOR_TEXT_MAX));
    buf_putc(out, '"');
}

/* ---- a page ---- */

/* One row more than asked for tells whether there is a next page. */
static void
reply_page(request_t *rq, list_t *list)
{
    int limit = (int) list->limit, shown;
    rows_t rows;
    buf_t out;

    list->limit++;
    rows = list_rows(rq, list);
    shown = rows.count < limit ? rows.count : limit;

    buf_init(&out, rq->arena, 1024 + (size_t) shown * 640);
    buf_puts(&out, "{\"items\":[");
    for (int i = 0; i < shown; i++) {
        if (i > 0) {
            buf_putc(&out, ',');
        }
        db_json_row(&out, &rows.rows[i]);
    }
    buf_puts(&out, "],\"next_cursor\":");
    if (rows.count > limit) {
        put_cursor(&out, list, &rows.rows[limit - 1]);
    } else {
        buf_puts(&out, "null");
    }
    if (list->counted) {
        buf_printf(&out, ",\"total\":%lld",
            (long long) list_total(rq, list));
    }
    buf_putc(&out, '}');
    rq_reply(rq, 200, buf_slice(&out));
}

/* ---- all of it ---- */

typedef struct {
    list_t *list;
    int more;
    slice_t lines;
    char key[CURSOR_KEY_MAX];   /* where list->key points between pages */
} streaming_t;

static void
continue_behind(streaming_t *streaming, const db_row_t *row)
{
    list_t *list = streaming->list;

    list->id = db_uuid(row, "id");
    if (row_key_is_null(list, row)) {
        list->start = LIST_AFTER_NULL;
        return;
    }
    list->start = LIST_AFTER;
    list->key = row_key(list, row);
    if (list->key.type == VALUE_TEXT) {
        slice_t *text = &list->key.as.text;

        memcpy(streaming->key, text->data, text->len);
        text->data = streaming->key;
    }
}

/* Reads a page and makes its lines, in the arena of the page. */
static void
read_lines(request_t *rq, void *arg)
{
    streaming_t *streaming = arg;
    rows_t rows = list_rows(rq, streaming->list);
    buf_t out;

    buf_init(&out, rq->arena, 256 + (size_t) rows.count * 640);
    for (int i = 0; i < rows.count; i++) {
        db_json_row(&out, &rows.rows[i]);
        buf_putc(&out, '\n');
    }
    streaming->lines = buf_slice(&out);
    streaming->more = rows.count == STREAM_PAGE;
    if (streaming->more) {
        continue_behind(streaming, &rows.rows[rows.count - 1]);
    }
}

static void
free_arena(void *arg)
{
    arena_free(arg);
}

/* Each page has its own arena in place of the request's, or the request
 * would keep every row until it ends. After a raise that arena stays until
 * the request's own ends: the problem's text is in it. The head goes out
 * with the first page, so that what fails before is still a problem. */
static void
stream_list(request_t *rq, list_t *list)
{
    streaming_t *streaming = arena_alloc(rq->arena, sizeof(*streaming));
    arena_t *whole = rq->arena, *page = arena_new();
    int begun = 0;

    arena_cleanup(whole, free_arena, page);
    streaming->list = list;
    list->limit = STREAM_PAGE;
    do {
        int status;

        rq->arena = page;
        status = rq_try(rq, read_lines, streaming);
        rq->arena = whole;
        if (status != 0) {
            rq_reraise(rq);
        }
        if (!begun) {
            rq_stream_begin(rq, 200, "application/x-ndjson");
            begun = 1;
        }
        rq_stream_chunk(rq, streaming->lines);
        arena_reset(page);
    } while (streaming->more && !(rq->flags & WIRE_HEAD_ONLY));
    rq_stream_end(rq);
}

void
resource_list(request_t *rq, const resource_t *resource)
{
    report_t report = report_to(rq);
    int lines = wants_lines(rq);
    const query_arg_t *args;
    cursor_fault_t fault;
    size_t nargs;
    list_t list;

    args = rq_query(rq, &nargs);
    fault = list_read(&report, resource, args, nargs, lines, &list);
    if (fault == CURSOR_MALFORMED) {
        rq_raise(rq, 400, "malformed_cursor",
            "the cursor is not one that a list gave");
    }
    rq_check(rq);
    if (fault == CURSOR_MISMATCH) {
        rq_raise(rq, 422, "cursor_mismatch",
            "the cursor is of a list with another sort, filter or search");
    }
    if (lines) {
        stream_list(rq, &list);
    } else {
        reply_page(rq, &list);
    }
}
