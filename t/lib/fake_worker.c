/* fake_worker.c: a double of hive-worker for tests of the module.
 *
 *   fake_worker [-n] [-v] ENDPOINT
 *
 * It binds one ROUTER and speaks the real wire format. What becomes of a
 * request is written in its query, as commands joined by `&`:
 *
 *   status=N     reply with that status (200)
 *   delay=MS     reply that much later
 *   size=N       a body of N bytes instead of what was received, as JSON
 *   stream=N     a stream of N chunks of `size` bytes, against credit
 *   broken       the stream ends as failed
 *   greedy       the stream does not wait for credit
 *   silence      no reply at all
 *   die          kill -9 itself
 *   stranger     a reply to an id that nobody has, before the right one
 *   twice        the reply two times
 *   version      a message of another major version, before the reply
 *   garbage      a message that is none, before the reply
 *   header       a reply header with a line break in it
 *
 * -n: not ready. -v: a line on stdout for each record. USR1 drains: it says
 * so, serves what it has, and exits when every module has confirmed. */

#include "common/wire.h"

#include <zmq.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define MODULES_MAX 64
#define JOBS_MAX    65536
#define BODY_MAX    (8 * 1024 * 1024)

typedef struct {
    uint8_t identity[255];
    size_t identity_len;
    wire_buf_t out;
    int stopped;
    uint64_t heard;
} module_t;

typedef struct {
    module_t *module;          /* NULL: free */
    uint64_t id;
    uint64_t due;              /* ms, of a delayed reply; 0: stream */
    int status;
    unsigned chunks;           /* of a stream, still to send */
    unsigned credit;
    size_t size;
    int broken;
    char *body;
    size_t body_len;
} job_t;

static struct {
    void *socket;
    module_t modules[MODULES_MAX];
    unsigned nmodules;
    job_t jobs[JOBS_MAX];
    unsigned njobs;            /* highest in use, plus one */
    unsigned busy;
    uint64_t incarnation;
    uint64_t beaten;
    int ready;
    int verbose;
    char *filler;
} fake;

static volatile sig_atomic_t draining;

static void
on_drain(int signal_number)
{
    (void) signal_number;
    draining = 1;
}

static uint64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

static void
fail(const char *what)
{
    fprintf(stderr, "fake_worker: %s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(1);
}

static void
say(const char *what, uint64_t id)
{
    if (fake.verbose) {
        printf("%s %llx\n", what, (unsigned long long) id);
        fflush(stdout);
    }
}

/* ---- commands of the query ---- */

/* The number after `name=`, `fallback` when it is absent; 1 for a bare
 * name. */
static long
command(slice_t query, const char *name, long fallback)
{
    size_t len = strlen(name);

    for (size_t i = 0; i + len <= query.len; i++) {
        if (memcmp(query.data + i, name, len) != 0
            || (i > 0 && query.data[i - 1] != '&')) {
            continue;
        }
        if (i + len == query.len || query.data[i + len] == '&') {
            return 1;
        }
        if (query.data[i + len] == '=') {
            char digits[16] = "";
            size_t left = query.len - i - len - 1;

            memcpy(digits, query.data + i + len + 1, left > 15 ? 15 : left);
            return strtol(digits, NULL, 10);
        }
    }

    return fallback;
}

/* ---- sending ---- */

static int
send_part(const void *data, size_t len, int flags)
{
    int rc;

    do {
        rc = zmq_send(fake.socket, data, len, flags | ZMQ_DONTWAIT);
    } while (rc < 0 && zmq_errno() == EINTR);
    return rc;
}

static void
send_message(module_t *module, const void *data, size_t len)
{
    if (send_part(module->identity, module->identity_len, ZMQ_SNDMORE) < 0) {
        module->stopped = 1;
        module->heard = 0;
        return;
    }
    send_part(data, len, 0);
}

static void
flush(void)
{
    for (unsigned i = 0; i < fake.nmodules; i++) {
        module_t *module = &fake.modules[i];

        if (module->out.len != 0) {
            wire_buf_finish(&module->out);
            send_message(module, module->out.data, module->out.len);
            wire_buf_reset(&module->out);
        }
    }
}

static void
put_beat(module_t *module)
{
    wire_beat_t beat = {
        .flags = (uint8_t) ((fake.ready ? WIRE_BEAT_READY : 0)
                            | (draining ? WIRE_BEAT_DRAINING : 0)),
        .pid = (uint32_t) getpid(),
        .incarnation = fake.incarnation,
        .in_flight = fake.busy,
        .facts = SLICE("{\"database\":\"fake\"}"),
    };

    wire_put_beat(&module->out, &beat);
}

static void
put_reply(module_t *module, uint64_t id, wire_type_t type, int status,
    slice_t body)
{
    wire_reply_t reply = { .status = (uint16_t) status, .body = body };

    reply.headers[reply.nheaders++] = (wire_header_t) {
        SLICE("content-type"),
        status >= 400 ? SLICE("application/problem+json")
                      : SLICE("application/json")
    };
    reply.headers[reply.nheaders++] = (wire_header_t) {
        SLICE("etag"), SLICE("\"fake-1\"")
    };
    wire_put_reply(&module->out, id, type, &reply);
}

/* ---- what was received, as JSON ---- */

static char *
put_text(char *p, slice_t text)
{
    *p++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char) text.data[i];

        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char) c;
        } else if (c < 0x20) {
            p += sprintf(p, "\\u%04x", c);
        } else {
            *p++ = (char) c;
        }
    }
    *p++ = '"';
    return p;
}

static char *
put_hex(char *p, const uint8_t *data, size_t len)
{
    *p++ = '"';
    for (size_t i = 0; i < len; i++) {
        p += sprintf(p, "%02x", data[i]);
    }
    *p++ = '"';
    return p;
}

static uint32_t
checksum(slice_t body)
{
    uint32_t sum = 2166136261u;

    for (size_t i = 0; i < body.len; i++) {
        sum = (sum ^ (uint8_t) body.data[i]) * 16777619u;
    }
    return sum;
}

static size_t
describe(const wire_request_t *rq, char *out)
{
    char *p = out;

    p += sprintf(p, "{\"operation\":");
    p = put_text(p, rq->operation);
    p += sprintf(p, ",\"pid\":%d,\"flags\":%u,\"principal\":%u,"
        "\"deadline_ms\":%u,\"body_len\":%zu,\"body_fnv\":%u,\"user\":",
        getpid(), rq->flags, rq->principal, rq->deadline_ms, rq->body.len,
        checksum(rq->body));
    p = put_hex(p, rq->user.bytes, 16);
    p += sprintf(p, ",\"session\":");
    p = put_hex(p, rq->session.bytes, 16);
    p += sprintf(p, ",\"request_id\":");
    p = put_hex(p, rq->request_id, 16);
    p += sprintf(p, ",\"trace_id\":");
    p = put_hex(p, rq->trace_id, 16);
    p += sprintf(p, ",\"span_id\":");
    p = put_hex(p, rq->span_id, 8);
    p += sprintf(p, ",\"query\":");
    p = put_text(p, rq->query);
    p += sprintf(p, ",\"params\":[");
    for (unsigned i = 0; i < rq->nparams; i++) {
        p = put_text(p, rq->params[i]);
        *p++ = i + 1 < rq->nparams ? ',' : ' ';
    }
    p += sprintf(p, "],\"headers\":{");
    for (unsigned i = 0; i < rq->nheaders; i++) {
        p = put_text(p, rq->headers[i].name);
        *p++ = ':';
        p = put_text(p, rq->headers[i].value);
        *p++ = i + 1 < rq->nheaders ? ',' : ' ';
    }
    p += sprintf(p, "}}");
    return (size_t) (p - out);
}

/* ---- jobs: what is not answered at once ---- */

static job_t *
new_job(module_t *module, uint64_t id)
{
    for (unsigned i = 0; i < JOBS_MAX; i++) {
        if (fake.jobs[i].module == NULL) {
            fake.jobs[i] = (job_t) { .module = module, .id = id };
            if (i >= fake.njobs) {
                fake.njobs = i + 1;
            }
            fake.busy++;
            return &fake.jobs[i];
        }
    }

    fprintf(stderr, "fake_worker: too many jobs\n");
    exit(1);
}

static void
end_job(job_t *job)
{
    free(job->body);
    job->body = NULL;
    job->module = NULL;
    fake.busy--;
}

static job_t *
find_job(const module_t *module, uint64_t id)
{
    for (unsigned i = 0; i < fake.njobs; i++) {
        if (fake.jobs[i].module == module && fake.jobs[i].id == id) {
            return &fake.jobs[i];
        }
    }

    return NULL;
}

static void
run_stream(job_t *job)
{
    while (job->chunks > 0 && job->credit > 0) {
        wire_put_chunk(&job->module->out, job->id,
            (slice_t) { fake.filler, job->size });
        job->chunks--;
        job->credit--;
    }
    if (job->chunks == 0) {
        wire_put_end(&job->module->out, job->id,
            job->broken ? WIRE_END_FAILED : 0);
        say("end", job->id);
        end_job(job);
    }
}

static void
run_delayed(uint64_t now)
{
    for (unsigned i = 0; i < fake.njobs; i++) {
        job_t *job = &fake.jobs[i];

        if (job->module != NULL && job->due != 0 && job->due <= now) {
            put_reply(job->module, job->id, WIRE_REPLY, job->status,
                (slice_t) { job->body, job->body_len });
            say("late", job->id);
            end_job(job);
        }
    }
}

/* ---- requests ---- */

static void
misbehave(module_t *module, uint64_t id, slice_t query)
{
    if (command(query, "stranger", 0)) {
        put_reply(module, id ^ 0x100000000ull, WIRE_REPLY, 200,
            SLICE("{\"stranger\":true}"));
        put_reply(module, ~0ull, WIRE_HEAD, 200, SLICE("stranger"));
        wire_put_chunk(&module->out, id ^ 0x700000000ull, SLICE("stranger"));
        wire_put_end(&module->out, 0xffffull, 0);
    }
    if (command(query, "version", 0)) {
        flush();
        send_message(module, "HV\x09\x00\x01\x00\x00\x00", 8);
    }
    if (command(query, "garbage", 0)) {
        flush();
        send_message(module, "this is not a message", 21);
    }
    if (command(query, "header", 0)) {
        wire_reply_t reply = { .status = 200, .nheaders = 1,
            .headers = { { SLICE("etag"), SLICE("a\r\nx-evil: 1") } },
            .body = SLICE("{}") };

        wire_put_reply(&module->out, id, WIRE_REPLY, &reply);
    }
}

static void
start_stream(module_t *module, uint64_t id, slice_t query)
{
    job_t *job = new_job(module, id);

    job->size = (size_t) command(query, "size", 1024);
    job->chunks = (unsigned) command(query, "stream", 1) - 1;
    job->broken = (int) command(query, "broken", 0);
    job->credit = command(query, "greedy", 0) ? 1000000 : 0;
    put_reply(module, id, WIRE_HEAD, (int) command(query, "status", 200),
        (slice_t) { fake.filler, job->size });
    run_stream(job);
}

static void
on_request(module_t *module, const wire_record_t *record)
{
    static char text[1024 * 1024];
    wire_request_t rq;
    slice_t body;
    long status, delay;

    if (wire_get_request(record, &rq) != WIRE_OK) {
        say("malformed", record->id);
        return;
    }
    say("request", record->id);

    if (command(rq.query, "die", 0)) {
        kill(getpid(), SIGKILL);
    }
    if (command(rq.query, "silence", 0)) {
        return;
    }
    misbehave(module, record->id, rq.query);
    if (command(rq.query, "stream", 0)) {
        start_stream(module, record->id, rq.query);
        return;
    }

    status = command(rq.query, "status", 200);
    delay = command(rq.query, "delay", 0);
    body.data = fake.filler;
    body.len = (size_t) command(rq.query, "size", -1);
    if (body.len > BODY_MAX) {
        body.data = text;
        body.len = describe(&rq, text);
    }
    if (status == 204 || status == 304) {
        body = SLICE_NONE;
    }

    if (delay > 0) {
        job_t *job = new_job(module, record->id);

        job->due = now_ms() + (uint64_t) delay;
        job->status = (int) status;
        job->body = malloc(body.len + 1);
        memcpy(job->body, body.data, body.len);
        job->body_len = body.len;
        return;
    }

    put_reply(module, record->id, WIRE_REPLY, (int) status, body);
    if (command(rq.query, "twice", 0)) {
        put_reply(module, record->id, WIRE_REPLY, (int) status, body);
    }
}

static void
on_record(module_t *module, const wire_record_t *record)
{
    job_t *job = find_job(module, record->id);
    uint32_t chunks;

    switch (record->type) {
    case WIRE_PING:
        say(record->flags & WIRE_PING_STOP ? "stop" : "ping", 0);
        module->stopped = (record->flags & WIRE_PING_STOP) != 0;
        put_beat(module);
        break;
    case WIRE_REQUEST:
        on_request(module, record);
        break;
    case WIRE_CANCEL:
        say("cancel", record->id);
        if (job != NULL) {
            end_job(job);
        }
        break;
    case WIRE_CREDIT:
        if (wire_get_credit(record, &chunks) == WIRE_OK) {
            say("credit", chunks);
            if (job != NULL && job->due == 0) {
                job->credit += chunks;
                run_stream(job);
            }
        }
        break;
    default:
        break;
    }
}

/* ---- receiving ---- */

static module_t *
find_module(const void *identity, size_t len)
{
    module_t *module;

    for (unsigned i = 0; i < fake.nmodules; i++) {
        module = &fake.modules[i];
        if (module->identity_len == len
            && memcmp(module->identity, identity, len) == 0) {
            return module;
        }
    }

    if (fake.nmodules == MODULES_MAX) {
        fprintf(stderr, "fake_worker: too many modules\n");
        exit(1);
    }
    module = &fake.modules[fake.nmodules++];
    memcpy(module->identity, identity, len);
    module->identity_len = len;
    return module;
}

static int
receive_part(zmq_msg_t *part)
{
    int rc;

    zmq_msg_init(part);
    do {
        rc = zmq_msg_recv(part, fake.socket, ZMQ_DONTWAIT);
    } while (rc < 0 && zmq_errno() == EINTR);
    return rc;
}

static int
receive(void)
{
    zmq_msg_t identity, message;
    module_t *module;
    wire_reader_t reader;
    wire_record_t record;

    if (receive_part(&identity) < 0) {
        return 0;
    }
    receive_part(&message);

    module = find_module(zmq_msg_data(&identity), zmq_msg_size(&identity));
    module->heard = now_ms();
    if (wire_reader_init(&reader, zmq_msg_data(&message),
            zmq_msg_size(&message)) == WIRE_OK) {
        while (wire_next(&reader, &record) == 1) {
            on_record(module, &record);
        }
    }

    zmq_msg_close(&message);
    zmq_msg_close(&identity);
    return 1;
}

/* ---- the loop ---- */

static void
beat_all(void)
{
    for (unsigned i = 0; i < fake.nmodules; i++) {
        put_beat(&fake.modules[i]);
    }
}

static int
may_exit(uint64_t now)
{
    if (fake.busy != 0) {
        return 0;
    }
    for (unsigned i = 0; i < fake.nmodules; i++) {
        if (!fake.modules[i].stopped && now - fake.modules[i].heard < 3000) {
            return 0;
        }
    }

    return 1;
}

static void
run(void)
{
    int announced = 0;

    for (;;) {
        zmq_pollitem_t item = { .socket = fake.socket, .events = ZMQ_POLLIN };
        uint64_t now;

        zmq_poll(&item, 1, fake.busy != 0 || draining ? 5 : 200);
        for (int i = 0; i < 64 && receive(); i++) {
        }

        now = now_ms();
        run_delayed(now);
        if (now - fake.beaten >= 1000 || (draining && !announced)) {
            fake.beaten = now;
            announced = draining;
            beat_all();
        }
        flush();
        if (draining && may_exit(now)) {
            return;
        }
    }
}

int
main(int argc, char **argv)
{
    int none = 0, one = 1, linger = 2000, option;
    void *context = zmq_ctx_new();

    fake.ready = 1;
    while ((option = getopt(argc, argv, "nv")) != -1) {
        if (option == 'n') {
            fake.ready = 0;
        } else if (option == 'v') {
            fake.verbose = 1;
        } else {
            return 2;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "usage: fake_worker [-n] [-v] ENDPOINT\n");
        return 2;
    }

    signal(SIGUSR1, on_drain);
    if (getrandom(&fake.incarnation, sizeof(fake.incarnation), 0) < 0) {
        return 1;
    }
    fake.filler = malloc(BODY_MAX);
    if (fake.filler == NULL) {
        return 1;
    }
    memset(fake.filler, 'x', BODY_MAX);

    fake.socket = zmq_socket(context, ZMQ_ROUTER);
    zmq_setsockopt(fake.socket, ZMQ_ROUTER_MANDATORY, &one, sizeof(one));
    zmq_setsockopt(fake.socket, ZMQ_SNDHWM, &none, sizeof(none));
    zmq_setsockopt(fake.socket, ZMQ_RCVHWM, &none, sizeof(none));
    zmq_setsockopt(fake.socket, ZMQ_LINGER, &linger, sizeof(linger));
    if (zmq_bind(fake.socket, argv[optind]) != 0) {
        fail(argv[optind]);
    }

    run();
    zmq_close(fake.socket);
    zmq_ctx_term(context);
    return 0;
}
