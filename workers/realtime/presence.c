/* presence.c: who watches a channel now.
 *
 * Each hub (a process of nginx) tells of changes as they come, and of all it
 * has twice a minute. A user has come with the first of their connections,
 * wherever that is, and has left with the last. Hubs that were silent for
 * SILENCE_MS are dead, and their users leave: one process at a time looks for
 * those.
 *
 *   presence_report  {"node": "<uuid>", "full": false, "entries":
 *                     [{"channel", "user_id", "connections": 2}, ...]}
 *   presence_list    {"channel"} gives {"users": [{"user_id",
 *                     "connections"}]} */

#include "channel.h"

#include "workers/runtime/job.h"

#define TICK_MS     10000
#define SILENCE_MS  75000
#define ENTRIES_MAX 10000
#define USERS_MAX   1000
#define CONNECTIONS_MAX 1000000

static fiber_t *sweeper;

/* ---- who came, who left ---- */

static void
signal_change(request_t *rq, const db_row_t *row)
{
    value_t user = value_uuid(db_uuid(row, "user_id"));
    buf_t out;

    buf_init(&out, rq->arena, 64);
    buf_puts(&out, "{\"user_id\":");
    json_put_value(&out, &user);
    buf_putc(&out, '}');
    event_signal(rq, db_text(row, "channel"), db_text(row, "type"),
        buf_slice(&out));
}

static void
signal_changes(request_t *rq, const db_result_t *rows)
{
    for (int i = 0; i < rows->nrows; i++) {
        db_row_t row = db_row_at(rows, i);

        signal_change(rq, &row);
    }
}

/* ---- reports ---- */

typedef struct {
    hive_uuid_t node;
    int full;
    size_t count;
    slice_t *channels;
    hive_uuid_t *users;
    int64_t *connections;
} news_t;

static int
read_uuid(const json_t *json, hive_uuid_t *out)
{
    slice_t text = text_of(json);

    return uuid_parse(text.data, text.len, out);
}

/* Entries of channels that there are not are left out: a hub of another
 * version may know more kinds. */
static void
read_entry(request_t *rq, const json_t *entry, news_t *news)
{
    const json_t *connections = json_object_get(entry, "connections");
    int64_t n = json_integer_value(connections);
    channel_t channel = channel_of(
        text_of(json_object_get(entry, "channel")));

    if (read_uuid(json_object_get(entry, "user_id"),
            &news->users[news->count]) != 0
        || !json_is_integer(connections) || n < 0 || n > CONNECTIONS_MAX)
    {
        rq_invalid(rq, "entries", "invalid_value", "must be a list of"
            " channels, users and how many connections");
        rq_check(rq);
    }
    if (channel.kind != NULL) {
        news->channels[news->count] = channel.name;
        news->connections[news->count++] = n;
    }
}

static news_t
read_news(request_t *rq)
{
    const json_t *body = rq_json(rq);
    const json_t *entries = json_object_get(body, "entries"), *entry;
    size_t max = json_array_size(entries), i;
    news_t news = { .full = json_is_true(json_object_get(body, "full")) };

    if (read_uuid(json_object_get(body, "node"), &news.node) != 0) {
        rq_invalid(rq, "node", "required", "must be a uuid");
    }
    if (!json_is_array(entries) || max > ENTRIES_MAX) {
        rq_invalid(rq, "entries", "out_of_range",
            "must be a list of at most %d", ENTRIES_MAX);
    }
    rq_check(rq);
    news.channels = arena_alloc(rq->arena, max * sizeof(*news.channels));
    news.users = arena_alloc(rq->arena, (max + 1) * sizeof(*news.users));
    news.connections = arena_alloc(rq->arena,
        max * sizeof(*news.connections));
    json_array_foreach(entries, i, entry) {
        read_entry(rq, entry, &news);
    }
    return news;
}

void
op_presence_report(request_t *rq)
{
    news_t news = read_news(rq);

    db_begin(rq);
    db_exec_values(rq, Q_PRESENCE_TURN, NULL, 0);
    signal_changes(rq, db_rows(rq, Q_PRESENCE_REPORT, value_uuid(news.node),
        value_bool(news.full), value_texts(news.channels, news.count),
        value_uuids(news.users, news.count),
        value_ints(news.connections, news.count)));
    db_commit(rq);
    rq_reply(rq, 204, SLICE_NONE);
}

/* ---- the list ---- */

void
op_presence_list(request_t *rq)
{
    channel_t channel = channel_of(
        text_of(json_object_get(rq_json(rq), "channel")));
    buf_t out;

    if (channel.kind == NULL || !channel_allowed(rq, &channel)) {
        rq_raise(rq, 404, "channel_not_found",
            "there is no such channel, or it is not yours");
    }
    buf_init(&out, rq->arena, 1024);
    buf_puts(&out, "{\"users\":");
    db_json_rows(&out, db_rows(rq, Q_PRESENCE_USERS,
        value_text(channel.name), value_int(USERS_MAX)));
    buf_putc(&out, '}');
    rq_reply(rq, 200, buf_slice(&out));
}

/* ---- the dead ---- */

static void
sweep(request_t *rq, void *arg)
{
    (void) arg;
    if (db_row(rq, Q_CHORE_TAKE, value_string("presence"), value_int(TICK_MS))
        == NULL)
    {
        return;
    }
    db_begin(rq);
    db_exec_values(rq, Q_PRESENCE_TURN, NULL, 0);
    signal_changes(rq, db_rows(rq, Q_PRESENCE_SWEEP, value_int(SILENCE_MS)));
    db_commit(rq);
}

static void
sweep_loop(request_t *rq, void *arg)
{
    (void) arg;
    while (fiber_sleep(TICK_MS) == 0) {
        job_step(rq, sweep, NULL);
    }
    sweeper = NULL;
}

int
presence_start(fiber_sched_t *fibers)
{
    return job_start(fibers, "presence", sweep_loop, NULL, &sweeper);
}

void
presence_stop(void)
{
    if (sweeper != NULL) {
        fiber_cancel(sweeper);
    }
}
