/* engine_wake.c: who has to hear that there is something to do.
 *
 * What became ready here is looked for here, at once. What this process has no
 * room for, and what it has no executor for, the other processes of the host
 * hear of, over the sockets that events take: a message on the channel
 * "wake:<kind>". Told at most once in a turn of the loop, and not more often
 * than each TELL_MS; whoever misses it polls. "stop:<worker>" has that worker
 * look at once for what it is asked to stop. */

#include "engine_internal.h"
#include "runner.h"

#include "workers/db/event.h"
#include "workers/runtime/endpoint.h"
#include "workers/runtime/log.h"

#include <errno.h>
#include <stdlib.h>
#include <zmq.h>

#define WAKE        "wake:"
#define STOP        "stop:"
#define TELL_MS     2
#define OTHERS_MAX  64         /* kinds of others to tell of in one turn */
#define NAME_MAX_BYTES 200
#define RETRY_MS    100
#define RETRY_MAX_MS 1000

static struct {
    void *socket;
    uv_poll_t poll;
    uv_prepare_t prepare;
    uv_timer_t later;
    unsigned handles;
    void (*closed)(void);
    char *others[OTHERS_MAX];
    unsigned nothers;
} wake;

/* ---- saying ---- */

static void
say(const char *prefix, slice_t name)
{
    char channel[sizeof(WAKE) + NAME_MAX_BYTES];
    size_t len = strlen(prefix);

    if (name.len > NAME_MAX_BYTES) {
        return;
    }
    memcpy(channel, prefix, len);
    memcpy(channel + len, name.data, name.len);
    event_emit(&(event_t) {
        .kind = EVENT_SIGNAL,
        .channel = { channel, len + name.len },
        .type = SLICE("wake"),
    });
}

static void
say_others(void)
{
    unsigned count = wake.nothers;

    wake.nothers = 0;
    for (unsigned i = 0; i < count; i++) {
        slice_t name = { wake.others[i], strlen(wake.others[i]) };

        say(WAKE, name);
        runner_wake(name);
        free(wake.others[i]);
    }
}

static void soon(void);

static void
on_later(uv_timer_t *timer)
{
    (void) timer;
    soon();
}

/* Just before the loop sleeps. */
static void
on_prepare(uv_prepare_t *prepare)
{
    uint64_t now = uv_hrtime();
    int more = 0;

    uv_prepare_stop(prepare);
    say_others();
    for (unsigned i = 0; i < engine.nkinds; i++) {
        kind_t *kind = &engine.kinds[i];

        if (!kind->tell) {
            continue;
        }
        if (now < kind->told_at + TELL_MS * MS) {
            more = 1;
            continue;
        }
        kind->tell = 0;
        kind->told_at = now;
        say(WAKE, kind->name);
    }
    if (more) {
        uv_timer_start(&wake.later, on_later, TELL_MS, 0);
    }
}

static void
soon(void)
{
    if (wake.socket != NULL) {
        uv_prepare_start(&wake.prepare, on_prepare);
    }
}

void
wake_tell(kind_t *kind)
{
    kind->tell = 1;
    soon();
}

void
wake_tell_stop(const hive_uuid_t *worker)
{
    char name[UUID_TEXT];

    uuid_format(worker, name);
    say(STOP, (slice_t) { name, UUID_TEXT });
}

static void
tell_other(slice_t name)
{
    for (unsigned i = 0; i < wake.nothers; i++) {
        if (strlen(wake.others[i]) == name.len
            && memcmp(wake.others[i], name.data, name.len) == 0) {
            return;
        }
    }
    if (wake.nothers == OTHERS_MAX) {
        say_others();
    }
    wake.others[wake.nothers] = strndup(name.data, name.len);
    if (wake.others[wake.nothers] == NULL) {
        abort();
    }
    wake.nothers++;
    soon();
}

void
engine_wake(slice_t name)
{
    kind_t *kind = kind_find(name);

    if (!engine.started) {
        return;
    }
    if (kind == NULL) {
        tell_other(name);
        return;
    }
    if (kind->slots == 0 || engine.stopping) {
        wake_tell(kind);
        return;
    }
    kind->hungry = 1;
    kind->woken = 1;
    if (kind->running >= kind->slots) {
        wake_tell(kind);
    }
    fetch_wake(kind);
}

/* ---- hearing ---- */

static void
heard_wake(slice_t name)
{
    kind_t *kind = kind_find(name);

    if (kind == NULL) {
        runner_wake(name);
        return;
    }
    kind->hungry = 1;
    kind->woken = 1;
    fetch_wake(kind);
}

static void
heard_stop(slice_t name)
{
    hive_uuid_t worker;

    if (uuid_parse(name.data, name.len, &worker) == 0
        && uuid_equal(&worker, &engine.worker)) {
        pulse_now();
    }
}

static void
heard(slice_t channel)
{
    size_t len = strlen(WAKE);         /* as long as STOP */

    if (channel.len > len) {
        slice_t name = { channel.data + len, channel.len - len };

        if (memcmp(channel.data, WAKE, len) == 0) {
            heard_wake(name);
        } else if (memcmp(channel.data, STOP, len) == 0) {
            heard_stop(name);
        }
    }
}

/* Everything that has come: ZMQ_FD tells only of the first. Of each message
 * the first part counts. */
static void
hear_all(void)
{
    int first = 1;
    zmq_msg_t part;

    zmq_msg_init(&part);
    for (;;) {
        if (zmq_msg_recv(&part, wake.socket, ZMQ_DONTWAIT) < 0) {
            if (zmq_errno() == EINTR) {
                continue;
            }
            break;
        }
        if (first) {
            heard((slice_t) { zmq_msg_data(&part), zmq_msg_size(&part) });
        }
        first = !zmq_msg_more(&part);
    }
    zmq_msg_close(&part);
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    (void) poll;
    (void) events;

    if (status < 0) {
        log_error("polling the socket of wake-ups failed: %s",
            uv_strerror(status));
        abort();
    }
    hear_all();
}

/* ---- life ---- */

/* Both sides of every slot but our own; who is not there is tried again. */
static void
connect_all(void)
{
    const engine_config_t *config = &engine.config;

    for (unsigned slot = 0; slot < config->processes; slot++) {
        for (unsigned side = 0; side < 2; side++) {
            char endpoint[ENDPOINT_MAX];

            if (slot == config->slot && side == config->side) {
                continue;
            }
            if (endpoint_format(endpoint, config->endpoint, slot, side,
                    ENDPOINT_EVENTS) == 0
                && zmq_connect(wake.socket, endpoint) != 0) {
                log_warn("connecting to %s failed: %s", endpoint,
                    zmq_strerror(zmq_errno()));
            }
        }
    }
}

int
wake_start(void)
{
    uv_loop_t *loop = engine.config.loop;
    int retry = RETRY_MS, retry_max = RETRY_MAX_MS, none = 0, fd, rc;
    size_t size = sizeof(fd);

    memset(&wake, 0, sizeof(wake));
    wake.socket = zmq_socket(engine.config.zmq_context, ZMQ_SUB);
    if (wake.socket == NULL) {
        return -zmq_errno();
    }
    zmq_setsockopt(wake.socket, ZMQ_LINGER, &none, sizeof(none));
    zmq_setsockopt(wake.socket, ZMQ_RECONNECT_IVL, &retry, sizeof(retry));
    zmq_setsockopt(wake.socket, ZMQ_RECONNECT_IVL_MAX, &retry_max,
        sizeof(retry_max));
    zmq_setsockopt(wake.socket, ZMQ_SUBSCRIBE, WAKE, strlen(WAKE));
    zmq_setsockopt(wake.socket, ZMQ_SUBSCRIBE, STOP, strlen(STOP));
    connect_all();

    rc = zmq_getsockopt(wake.socket, ZMQ_FD, &fd, &size) != 0
        ? -zmq_errno() : uv_poll_init(loop, &wake.poll, fd);
    if (rc != 0) {
        zmq_close(wake.socket);
        wake.socket = NULL;
        return rc;
    }
    uv_poll_start(&wake.poll, UV_READABLE, on_poll);
    uv_prepare_init(loop, &wake.prepare);
    uv_timer_init(loop, &wake.later);
    wake.handles = 3;
    /* What the calls above have swallowed. */
    hear_all();
    return 0;
}

static void
on_handle_closed(uv_handle_t *handle)
{
    (void) handle;
    if (--wake.handles == 0) {
        zmq_close(wake.socket);
        wake.socket = NULL;
        wake.closed();
    }
}

void
wake_stop(void (*done)(void))
{
    wake.closed = done;
    say_others();
    uv_poll_stop(&wake.poll);
    uv_close((uv_handle_t *) &wake.poll, on_handle_closed);
    uv_close((uv_handle_t *) &wake.prepare, on_handle_closed);
    uv_close((uv_handle_t *) &wake.later, on_handle_closed);
}
