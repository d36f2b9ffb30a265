/* task_batch.c: up to a thousand tasks in one request. Each item has an
 * outcome of its own, in the order of the request; what is wrong with one is
 * nothing to the others. Failures that are not about an item (the queue is
 * full, the database is away) are the failure of the request. */

#include "tasks.h"

#include <stdlib.h>

#define UPDATES_AT_ONCE 50

/* ---- faults of one item ---- */

typedef struct {
    report_t report;
    buf_t errors;
} item_report_t;

static void
note_fault(void *arg, const char *field, const char *code,
    const char *message)
{
    buf_t *out = &((item_report_t *) arg)->errors;

    if (out->data == NULL) {
        buf_init(out, out->arena, 256);
    }
    buf_puts(out, out->len > 0 ? ",{\"field\":" : "[{\"field\":");
    json_put_string(out, (slice_t) { field, strlen(field) });
    buf_printf(out, ",\"code\":\"%s\",\"message\":", code);
    json_put_string(out, (slice_t) { message, strlen(message) });
    buf_putc(out, '}');
}

static void
item_report(request_t *rq, item_report_t *item)
{
    item->report = (report_t) { rq->arena, note_fault, item, 0 };
    item->errors = (buf_t) { .arena = rq->arena };
}

/* Refuses the item when anything was reported. */
static void
item_close(request_t *rq, item_report_t *item, task_outcome_t *outcome)
{
    if (item->report.count > 0) {
        buf_putc(&item->errors, ']');
        outcome->errors = buf_slice(&item->errors);
        outcome_refuse(rq, outcome, 422, "invalid_fields",
            "%u fields are invalid", item->report.count);
    }
}

static int
item_is_object(item_report_t *item, const json_t *json)
{
    if (!json_is_object(json)) {
        report_invalid(&item->report, "", "wrong_type", "must be an object");
        return 0;
    }
    return 1;
}

/* ---- the reply ---- */

static void
put_outcome(buf_t *out, const task_outcome_t *outcome)
{
    buf_printf(out, "{\"status\":%d", outcome->status);
    if (!uuid_is_zero(&outcome->id)) {
        char *room;

        buf_puts(out, ",\"id\":\"");
        room = buf_reserve(out, UUID_TEXT);
        uuid_format(&outcome->id, room);
        out->len += UUID_TEXT;
        buf_putc(out, '"');
    }
    if (outcome->state != NULL) {
        buf_puts(out, ",\"state\":\"");
        buf_puts(out, outcome->state);
        buf_putc(out, '"');
    }
    if (outcome->code != NULL) {
        buf_puts(out, ",\"code\":\"");
        buf_puts(out, outcome->code);
        buf_puts(out, "\",\"detail\":");
        json_put_string(out, (slice_t) { outcome->detail,
            strlen(outcome->detail) });
    }
    if (outcome->errors.data != NULL) {
        buf_puts(out, ",\"errors\":");
        buf_put(out, outcome->errors.data, outcome->errors.len);
    }
    buf_putc(out, '}');
}

/* `outcomes`: those of the items, by item. */
static void
reply(request_t *rq, const task_outcome_t *const *outcomes, size_t count)
{
    size_t failed = 0;
    buf_t out;

    buf_init(&out, rq->arena, 64 + count * 96);
    buf_puts(&out, "{\"items\":[");
    for (size_t i = 0; i < count; i++) {
        buf_puts(&out, i > 0 ? "," : "");
        put_outcome(&out, outcomes[i]);
        failed += outcomes[i]->code != NULL;
    }
    buf_printf(&out, "],\"succeeded\":%zu,\"failed\":%zu}", count - failed,
        failed);
    rq_reply(rq, 200, buf_slice(&out));
}

static const task_outcome_t **
in_place(request_t *rq, const task_outcome_t *outcomes, size_t count)
{
    const task_outcome_t **by_item = arena_alloc(rq->arena,
        (count + 1) * sizeof(*by_item));

    for (size_t i = 0; i < count; i++) {
        by_item[i] = &outcomes[i];
    }
    return by_item;
}

/* ---- create ---- */

static void
batch_create(request_t *rq, const json_t *items, size_t count)
{
    task_input_t *inputs = arena_zero(rq->arena, count * sizeof(*inputs));
    task_outcome_t *outcomes = arena_zero(rq->arena,
        count * sizeof(*outcomes));

    for (size_t i = 0; i < count; i++) {
        const json_t *json = json_array_get(items, i);
        item_report_t item;

        item_report(rq, &item);
        if (item_is_object(&item, json)) {
            task_input_read(&item.report, json, &inputs[i]);
        }
        item_close(rq, &item, &outcomes[i]);
    }
    tasks_create(rq, inputs, outcomes, count);
    reply(rq, in_place(rq, outcomes, count), count);
}

/* ---- by id ---- */

typedef struct {
    task_outcome_t *outcomes;    /* by id, each once */
    size_t count;
    const task_outcome_t **by_item;
} ids_t;

static int
compare_outcomes(const void *a, const void *b)
{
    return uuid_compare(&((const task_outcome_t *) a)->id,
        &((const task_outcome_t *) b)->id);
}

static ids_t
read_ids(request_t *rq, const json_t *items, size_t count)
{
    static const column_t column = { "id", COLUMN_UUID, .flags = 0 };
    ids_t ids = { .count = 0 };
    hive_uuid_t *all = arena_zero(rq->arena, count * sizeof(*all));
    size_t n = 0;

    ids.outcomes = arena_zero(rq->arena, count * sizeof(*ids.outcomes));
    ids.by_item = arena_alloc(rq->arena, count * sizeof(*ids.by_item));
    for (size_t i = 0; i < count; i++) {
        task_outcome_t *wrong = arena_zero(rq->arena, sizeof(*wrong));
        item_report_t item;
        value_t value;

        item_report(rq, &item);
        if (value_from_json(&item.report, &column, "", json_array_get(items,
                i), &value) == 0)
        {
            all[i] = value.as.uuid;
            ids.outcomes[n++].id = value.as.uuid;
        }
        item_close(rq, &item, wrong);
        ids.by_item[i] = wrong;
    }
    qsort(ids.outcomes, n, sizeof(*ids.outcomes), compare_outcomes);
    for (size_t i = 0; i < n; i++) {
        if (ids.count == 0 || !uuid_equal(&ids.outcomes[i].id,
                &ids.outcomes[ids.count - 1].id))
        {
            ids.outcomes[ids.count++] = ids.outcomes[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (ids.by_item[i]->status == 0) {
            ids.by_item[i] = outcome_of(ids.outcomes, ids.count, all[i]);
        }
    }
    return ids;
}

static void
batch_by_id(request_t *rq, const json_t *items, size_t count,
    void (*fn)(request_t *rq, task_outcome_t *outcomes, size_t count))
{
    ids_t ids = read_ids(rq, items, count);

    if (ids.count > 0) {
        fn(rq, ids.outcomes, ids.count);
    }
    reply(rq, ids.by_item, count);
}

/* ---- update ---- */

typedef struct {
    task_outcome_t *outcome;
    task_patch_t patch;
    value_t if_match;
} update_t;

typedef struct {
    update_t *updates;
    size_t count;
} updates_t;

static void
read_update(request_t *rq, const json_t *json, update_t *update)
{
    static const column_t column = { "id", COLUMN_UUID, .flags = 0 };
    const json_t *id;
    item_report_t item;
    value_t value = value_uuid((hive_uuid_t) { { 0 } });

    item_report(rq, &item);
    update->if_match = value_null();
    if (item_is_object(&item, json)) {
        id = json_object_get(json, "id");
        if (id == NULL) {
            report_invalid(&item.report, "id", "required", "is required");
        } else {
            value_from_json(&item.report, &column, "id", id, &value);
        }
        task_patch_read(&item.report, json, "id", &update->patch);
    }
    update->outcome->id = value.as.uuid;
    item_close(rq, &item, update->outcome);
}

static int
compare_updates(const void *a, const void *b)
{
    const update_t *x = a, *y = b;
    int order = uuid_compare(&x->outcome->id, &y->outcome->id);

    return order != 0 ? order : x->outcome < y->outcome ? -1 : 1;
}

static void
update_some(request_t *rq, void *arg)
{
    const updates_t *some = arg;

    for (size_t i = 0; i < some->count; i++) {
        update_t *update = &some->updates[i];
        task_outcome_t fresh = { .id = update->outcome->id };

        task_update(rq, &update->patch, update->if_match, &fresh);
        outcomes_close(rq, &fresh, 1, NULL);
        *update->outcome = fresh;
    }
}

/* In the order of ids, some at a time, so that commits are shared. */
static void
batch_update(request_t *rq, const json_t *items, size_t count)
{
    update_t *updates = arena_alloc(rq->arena, count * sizeof(*updates));
    task_outcome_t *outcomes = arena_zero(rq->arena,
        count * sizeof(*outcomes));
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        updates[n].outcome = &outcomes[i];
        read_update(rq, json_array_get(items, i), &updates[n]);
        n += outcomes[i].status == 0;
    }
    qsort(updates, n, sizeof(*updates), compare_updates);
    for (size_t i = 0; i < n; i += UPDATES_AT_ONCE) {
        updates_t some = { updates + i,
            n - i < UPDATES_AT_ONCE ? n - i : UPDATES_AT_ONCE };

        tasks_in_transaction(rq, update_some, &some);
    }
    reply(rq, in_place(rq, outcomes, count), count);
}

/* ---- the request ---- */

static const char *
read_request(request_t *rq, const json_t **items)
{
    json_t *body = rq_json(rq), *value;
    const char *name;

    json_object_foreach(body, name, value) {
        if (strcmp(name, "action") != 0 && strcmp(name, "items") != 0) {
            rq_invalid(rq, name, "unknown_member",
                "a batch has `action` and `items`");
        }
    }
    if (!json_is_string(json_object_get(body, "action"))) {
        rq_invalid(rq, "action", "required", "must be one of create, cancel,"
            " retry, delete, update");
    }
    *items = json_object_get(body, "items");
    if (!json_is_array(*items) || json_array_size(*items) == 0
        || json_array_size(*items) > TASKS_MAX)
    {
        rq_invalid(rq, "items",
            json_array_size(*items) > TASKS_MAX ? "too_many" : "required",
            "must be an array of 1 to %d items", TASKS_MAX);
    }
    rq_check(rq);
    return json_string_value(json_object_get(body, "action"));
}

void
op_task_batch(request_t *rq)
{
    const json_t *items;
    const char *action = read_request(rq, &items);
    size_t count = json_array_size(items);

    if (strcmp(action, "create") == 0) {
        batch_create(rq, items, count);
    } else if (strcmp(action, "cancel") == 0) {
        batch_by_id(rq, items, count, tasks_cancel);
    } else if (strcmp(action, "retry") == 0) {
        batch_by_id(rq, items, count, tasks_retry);
    } else if (strcmp(action, "delete") == 0) {
        batch_by_id(rq, items, count, tasks_delete);
    } else if (strcmp(action, "update") == 0) {
        batch_update(rq, items, count);
    } else {
        rq_invalid(rq, "action", "invalid_value", "must be one of create,"
            " cancel, retry, delete, update");
        rq_check(rq);
    }
}
