/* task_new.c: the JSON of a task that was just made: all of it is known, so
 * nothing is read back. The order is that of tasks.c. */

#include "enqueue.h"

static void
put(buf_t *out, const char *name, value_t value)
{
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    json_put_value(out, &value);
}

static void
put_uuid(buf_t *out, const char *name, const hive_uuid_t *id)
{
    put(out, name, uuid_is_zero(id) ? value_null() : value_uuid(*id));
}

static void
put_text(buf_t *out, const char *name, slice_t text)
{
    put(out, name, text.data == NULL ? value_null() : value_text(text));
}

static void
put_time(buf_t *out, const char *name, int64_t time)
{
    put(out, name, time == 0 ? value_null() : value_time(time));
}

void
task_put_new(buf_t *out, const new_task_t *task)
{
    int64_t now = task_id_time(&task->id);

    buf_putc(out, '{');
    put(out, "id", value_uuid(task->id));
    put_uuid(out, "project_id", &task->project);
    put_uuid(out, "run_id", &task->run);
    put_text(out, "step", task->step);
    put_uuid(out, "parent_id", &task->parent);
    put(out, "kind", value_text(task->kind));
    put(out, "title", value_text(task->title));
    put(out, "description", value_text(task->description));
    put(out, "input", value_json(task->input.data != NULL ? task->input
                                                          : SLICE("{}")));
    put(out, "labels", value_texts(task->labels, task->nlabels));
    put(out, "priority", value_int(task->priority));
    put(out, "state", value_string(task_first_state(task)));
    put(out, "run_at", value_time(task->run_at > 0 ? task->run_at : now));
    put_time(out, "deadline_at", task->deadline_at);
    put(out, "timeout_ms", task->timeout_ms == 0 ? value_null()
        : value_int(task->timeout_ms));
    put(out, "backoff_ms", value_int(task->backoff_ms));
    put(out, "attempt", value_int(0));
    put(out, "max_attempts", value_int(task->max_attempts));
    put_text(out, "unique_key", task->unique_key);
    put_text(out, "limit_key", task->limit_key);
    put(out, "on_dependency_failure",
        value_string(task->run_on_failure ? "run" : "skip"));
    buf_puts(out, ",\"progress\":null,\"progress_message\":null,"
        "\"counters\":null,\"result\":null,\"error\":null,"
        "\"cost_nano_usd\":0,\"cancel_requested\":false,\"version\":1");
    put(out, "created_at", value_time(now));
    put(out, "updated_at", value_time(now));
    buf_puts(out, ",\"started_at\":null,\"finished_at\":null}");
}
