/* models.c: the catalogue: who can be asked. */

#include "internal.h"

#include "workers/db/resource_parts.h"

static const char *const statuses[] = { "active", "deprecated", "retired",
    NULL };

/* ---- for a generation ---- */

model_t
llm_model(request_t *rq, slice_t id)
{
    const db_row_t *row = db_row(rq, Q_MODEL_FIND, value_text(id));
    const char *why;
    model_t model;

    if (row == NULL) {
        rq_raise(rq, 422, "model_unknown",
            "there is no model \"%.*s\": GET /api/v1/models lists them",
            (int) id.len, id.data);
    }
    if (db_bool(row, "retired")) {
        slice_t other = db_text(row, "replacement");

        rq_raise(rq, 422, "model_retired", "%.*s is retired%s%.*s",
            (int) id.len, id.data, other.len > 0 ? ": take " : "",
            (int) other.len, other.data);
    }
    model = (model_t) {
        .id = arena_slice(rq->arena, db_text(row, "id")),
        .provider_model = arena_slice(rq->arena, db_text(row,
            "provider_model")),
        .provider = provider_find(db_text(row, "provider")),
        .max_output_tokens = db_int(row, "max_output_tokens"),
        .sampling = db_bool(row, "sampling"),
        .schema = db_bool(row, "schema"),
    };
    why = model.provider == NULL ? "this Hive has no such provider"
                                 : model.provider->unready();
    if (why != NULL) {
        slice_t provider = db_text(row, "provider");

        rq_raise(rq, 422, "model_unavailable", "%.*s is of %.*s: %s",
            (int) id.len, id.data, (int) provider.len, provider.data, why);
    }
    db_release(row->result);
    return model;
}

/* ---- operations ---- */

/* Whether a generation could begin: what the row's provider says of itself. */
static void
put_model(buf_t *out, const db_row_t *row)
{
    const provider_t *provider = provider_find(db_text(row, "provider"));
    int ready = provider != NULL && provider->unready() == NULL
        && !slice_equal(db_text(row, "status"), SLICE("retired"));

    db_json_row(out, row);
    out->len--;                 /* its brace */
    buf_printf(out, ",\"ready\":%s}", ready ? "true" : "false");
}

void
op_model_list(request_t *rq)
{
    value_t provider = value_null(), status = value_null();
    const db_result_t *rows;
    const query_arg_t *args;
    size_t count;
    buf_t out;

    args = rq_query(rq, &count);
    for (size_t i = 0; i < count; i++) {
        if (slice_equal(args[i].name, SLICE("provider"))) {
            provider = value_text(args[i].value);
        } else if (slice_equal(args[i].name, SLICE("status"))) {
            status = value_text(args[i].value);
            if (slice_index(args[i].value, statuses) < 0) {
                rq_invalid(rq, "status", "invalid_value",
                    "must be active, deprecated or retired");
            }
        } else {
            rq_invalid(rq, arena_strndup(rq->arena, args[i].name.data,
                args[i].name.len), "unknown_parameter",
                "this list has no such parameter");
        }
    }
    rq_check(rq);
    rows = db_rows(rq, Q_MODEL_LIST, provider, status);
    buf_init(&out, rq->arena, 4096);
    buf_puts(&out, "{\"items\":[");
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        buf_puts(&out, i > 0 ? "," : "");
        put_model(&out, &row);
    }
    buf_puts(&out, "],\"next_cursor\":null}");
    rq_reply(rq, 200, buf_slice(&out));
}

void
op_model_get(request_t *rq)
{
    const db_row_t *row = db_row(rq, Q_MODEL_GET,
        value_text(rq_param(rq, 0)));
    buf_t out;

    if (row == NULL) {
        rq_raise(rq, 404, "model_not_found", "there is no such model");
    }
    buf_init(&out, rq->arena, 1024);
    put_model(&out, row);
    rq_reply(rq, 200, buf_slice(&out));
}
