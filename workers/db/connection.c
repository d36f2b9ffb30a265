/* connection.c: one connection's life: connecting, its socket in the loop,
 * going down and coming back.
 *
 * At first those of a group come one after the other, each started by the one
 * before it: the server forks for each, and has others to serve.
 *
 * All changes of state are in connection_up and connection_down. Whatever
 * finds a connection broken marks it (connection_fail); the prepare hook,
 * where nobody is in the middle of using one, takes it down. The same hook
 * sends the syncs of the turn.
 *
 * A uv_poll_t lives as long as its close callback wants, which is longer
 * than the socket it watched; each attempt has its own, on the heap. */

#include "internal.h"

#include "workers/runtime/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define CONNECT_MAX_MS 5000
#define LOG_EVERY_MS 5000

static TAILQ_HEAD(, connection_s) dirty = TAILQ_HEAD_INITIALIZER(dirty);
static uv_prepare_t flush_hook;

static void connection_poll(uv_poll_t *handle, int status, int events);

/* ---- logging, without a line for each of many that fail alike ---- */

static void
log_trouble(const connection_t *connection, const char *what)
{
    static char last[sizeof(connection->why)];
    static uint64_t last_at;
    uint64_t now = uv_now(db.loop);

    if (strcmp(last, connection->why) == 0 && now - last_at < LOG_EVERY_MS) {
        log_debug("database connection (%s) %s as well",
                  connection->group->name, what);
        return;
    }
    snprintf(last, sizeof(last), "%s", connection->why);
    last_at = now;
    log_warn("database connection (%s) %s: %s", connection->group->name, what,
             connection->why);
}

static void
set_why(connection_t *connection, const char *text)
{
    char *c;

    snprintf(connection->why, sizeof(connection->why), "%s", text);
    for (c = connection->why; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\t') {
            *c = c[1] == '\0' ? '\0' : ' ';
        }
    }
}

/* Notices: what the server says unasked. That it ends this connection is
 * among them when nothing runs. */
static void
notice(void *arg, const PGresult *result)
{
    connection_t *connection = arg;
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (text == NULL) {
        return;
    }
    if (result_is_farewell(result)) {
        connection->dying = 1;
        set_why(connection, text);
        return;
    }
    log_debug("database notice: %s", text);
}

/* ---- the socket in the loop ---- */

static void
poll_closed(uv_handle_t *handle)
{
    free(handle);
    db.closing--;
    db_closed();
}

static void
poll_stop(connection_t *connection)
{
    if (connection->poll == NULL) {
        return;
    }
    uv_poll_stop(connection->poll);
    connection->poll->data = NULL;
    db.closing++;
    uv_close((uv_handle_t *) connection->poll, poll_closed);
    connection->poll = NULL;
    connection->poll_events = 0;
}

static void
poll_want(connection_t *connection, int events)
{
    int rc;

    if (connection->poll_events == events) {
        return;
    }
    rc = uv_poll_start(connection->poll, events, connection_poll);
    if (rc != 0) {
        connection_fail(connection, "poll: %s", uv_strerror(rc));
        return;
    }
    connection->poll_events = events;
}

static void
poll_start(connection_t *connection, int events)
{
    uv_poll_t *poll = calloc(1, sizeof(*poll));
    int rc;

    if (poll == NULL) {
        abort();
    }
    rc = uv_poll_init(db.loop, poll, PQsocket(connection->pg));
    if (rc != 0) {
        free(poll);
        connection_fail(connection, "poll: %s", uv_strerror(rc));
        return;
    }
    poll->data = connection;
    connection->poll = poll;
    connection->poll_events = 0;
    poll_want(connection, events);
}

/* ---- marking ---- */

void
connection_mark(connection_t *connection)
{
    if (!connection->dirty) {
        connection->dirty = 1;
        TAILQ_INSERT_TAIL(&dirty, connection, dirty_link);
    }
}

void
connection_fail(connection_t *connection, const char *format, ...)
{
    char text[sizeof(connection->why)];
    va_list args;

    if (connection->failed || connection->state == CONNECTION_DOWN) {
        return;
    }
    connection->failed = 1;
    /* The server's own last words say more than "closed unexpectedly". */
    if (!connection->dying) {
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        set_why(connection, text);
    }
    connection_mark(connection);
}

/* ---- coming up ---- */

static uint64_t
jitter(uint64_t ms)
{
    static uint64_t state;

    if (state == 0) {
        state = uv_hrtime() ^ (uint64_t) getpid() << 32;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ms / 2 + state % (ms / 2 + 1);
}

static void
retry_expired(uv_timer_t *timer)
{
    connection_t *connection = timer->data;

    if (connection->state == CONNECTION_DOWN) {
        connection_start(connection);
    } else if (connection->state == CONNECTION_CONNECTING) {
        connection_fail(connection, "connecting took longer than %d ms",
                        CONNECT_MAX_MS);
    }
}

static void
retry_later(connection_t *connection)
{
    uint64_t delay = jitter(connection->backoff_ms);

    connection->backoff_ms *= 2;
    if (connection->backoff_ms > BACKOFF_MAX_MS) {
        connection->backoff_ms = BACKOFF_MAX_MS;
    }
    uv_timer_start(&connection->retry, retry_expired, delay, 0);
}

void
connection_start(connection_t *connection)
{
    connection->state = CONNECTION_CONNECTING;
    connection->failed = 0;
    connection->dying = 0;
    connection->pg = connect_start(connection->group);
    if (connection->pg == NULL) {
        abort();
    }
    if (PQstatus(connection->pg) == CONNECTION_BAD) {
        connection_fail(connection, "%s", PQerrorMessage(connection->pg));
        return;
    }
    PQsetNoticeReceiver(connection->pg, notice, connection);
    uv_timer_start(&connection->retry, retry_expired, CONNECT_MAX_MS, 0);
    poll_start(connection, UV_WRITABLE);
}

static void
connection_up(connection_t *connection)
{
    group_t *group = connection->group;

    if (PQsetnonblocking(connection->pg, 1) != 0
        || PQenterPipelineMode(connection->pg) != 1) {
        connection_fail(connection, "no pipeline mode: %s",
                        PQerrorMessage(connection->pg));
        return;
    }
    uv_timer_stop(&connection->retry);
    connection->state = CONNECTION_UP;
    connection->connected_at = uv_now(db.loop);
    connection->incarnation++;
    connection->why[0] = '\0';
    group->up++;
    if (connection->incarnation == 1
        && connection + 1 < group->connections + group->count) {
        connection_start(connection + 1);
    }
    poll_want(connection, UV_READABLE);
    db_changed();
    if (group == &db.groups[GROUP_READ] && group->up == 1) {
        schema_check();
    }
    lane_dispatch(group);
}

static void
connection_continue(connection_t *connection)
{
    int before = PQsocket(connection->pg);
    PostgresPollingStatusType next = PQconnectPoll(connection->pg);

    switch (next) {
    case PGRES_POLLING_OK:
        connection_up(connection);
        return;
    case PGRES_POLLING_READING:
    case PGRES_POLLING_WRITING:
        /* Another address has another socket; its number may be the same,
         * so the watch is always made anew when libpq has to write first. */
        if (PQsocket(connection->pg) != before
            || next == PGRES_POLLING_WRITING) {
            poll_stop(connection);
            poll_start(connection, next == PGRES_POLLING_READING
                       ? UV_READABLE : UV_WRITABLE);
        } else {
            poll_want(connection, UV_READABLE);
        }
        return;
    default:
        connection_fail(connection, "%s", PQerrorMessage(connection->pg));
    }
}

/* ---- at work ---- */

static void
connection_flush(connection_t *connection)
{
    int rc = PQflush(connection->pg);

    if (rc < 0) {
        connection_fail(connection, "%s", PQerrorMessage(connection->pg));
        return;
    }
    connection->flushing = rc;
    /* Reading goes on while writing: else both sides could block. */
    poll_want(connection, rc ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

static void
connection_read(connection_t *connection)
{
    int alive = PQconsumeInput(connection->pg);

    pipeline_receive(connection);
    if (!alive) {
        connection_fail(connection, "%s", PQerrorMessage(connection->pg));
    }
}

static void
connection_poll(uv_poll_t *handle, int status, int events)
{
    connection_t *connection = handle->data;

    if (connection == NULL || connection->failed) {
        return;
    }
    if (connection->state == CONNECTION_CONNECTING) {
        connection_continue(connection);
        if (status < 0) {
            connection_fail(connection, "poll: %s", uv_strerror(status));
        }
    } else if (status < 0) {
        /* Its last words may still be there to read. */
        connection_read(connection);
        connection_fail(connection, "poll: %s", uv_strerror(status));
    } else {
        if (events & UV_READABLE) {
            connection_read(connection);
            lane_dispatch(connection->group);
        }
        if (!connection->failed && connection->flushing) {
            connection_flush(connection);
        }
    }
}

int
connection_alive(connection_t *connection)
{
    int fd = PQsocket(connection->pg);
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (got > 0) {
        /* A parameter's change, or the server's last words. */
        connection_read(connection);
        if (connection->failed || connection->dying) {
            connection_fail(connection, "the server ended it");
            return 0;
        }
        got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    }
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK
                     && errno != EINTR)) {
        connection_fail(connection, "the server closed it");
        return 0;
    }
    return 1;
}

/* ---- going down ---- */

static void
connection_down(connection_t *connection)
{
    group_t *group = connection->group;
    int was_up = connection->state == CONNECTION_UP;

    poll_stop(connection);
    PQfinish(connection->pg);
    connection->pg = NULL;
    connection->state = CONNECTION_DOWN;
    connection->failed = 0;
    connection->flushing = 0;
    connection->cancelling = 0;
    connection->cancel_until = 0;
    memset(connection->prepared, 0,
           statements_slots() * sizeof(*connection->prepared));
    if (!db.stopping) {
        log_trouble(connection, was_up ? "lost" : "not made");
        db.reconnects++;
        if (was_up && uv_now(db.loop) - connection->connected_at
            > BACKOFF_MAX_MS) {
            connection->backoff_ms = BACKOFF_MIN_MS;
        }
        retry_later(connection);
    }
    if (was_up) {
        group->up--;
        transaction_lost(connection);
        pipeline_break(connection);
        lane_changed(group);
        db_changed();
    }
}

void
connections_flush(void)
{
    connection_t *connection;

    while ((connection = TAILQ_FIRST(&dirty)) != NULL) {
        TAILQ_REMOVE(&dirty, connection, dirty_link);
        connection->dirty = 0;
        if (!connection->failed && connection->state == CONNECTION_UP) {
            if (connection->unsynced > 0) {
                pipeline_sync(connection);
            }
            if (!connection->failed) {
                connection_flush(connection);
            }
        }
        if (connection->failed) {
            if (connection->dirty) {
                TAILQ_REMOVE(&dirty, connection, dirty_link);
                connection->dirty = 0;
            }
            connection_down(connection);
        }
    }
}

static void
flush_turn(uv_prepare_t *handle)
{
    (void) handle;
    connections_flush();
}

/* ---- beginning and end ---- */

void
connections_init(void)
{
    uv_prepare_init(db.loop, &flush_hook);
    uv_prepare_start(&flush_hook, flush_turn);
}

static void
handle_closed(uv_handle_t *handle)
{
    (void) handle;
    db.closing--;
    db_closed();
}

void
connections_close(void)
{
    connections_flush();
    db.closing++;
    uv_close((uv_handle_t *) &flush_hook, handle_closed);
}

void
connection_init(connection_t *connection, group_t *group)
{
    memset(connection, 0, sizeof(*connection));
    connection->group = group;
    connection->backoff_ms = BACKOFF_MIN_MS;
    connection->prepared = calloc(statements_slots(),
                                  sizeof(*connection->prepared));
    if (connection->prepared == NULL) {
        abort();
    }
    TAILQ_INIT(&connection->fifo);
    TAILQ_INIT(&connection->held);
    uv_timer_init(db.loop, &connection->retry);
    connection->retry.data = connection;
}

void
connection_stop(connection_t *connection)
{
    connection_fail(connection, "stopping");
    db.closing++;
    uv_close((uv_handle_t *) &connection->retry, handle_closed);
}

void
connection_free(connection_t *connection)
{
    free(connection->prepared);
}
