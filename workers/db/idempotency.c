/* idempotency.c: see the header. */

#include "idempotency.h"

#include "db.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define KEY_MAX     255
#define FINGERPRINT 32

/* Expired keys are deleted a few at a time, by one request in so many. */
#define SWEEP_EVERY 64
#define LINE_MS 5

static uint8_t fingerprint_key[FINGERPRINT];
static unsigned until_sweep = SWEEP_EVERY;
static unsigned nameless;            /* keyed requests of nobody, running */

typedef struct {
    slice_t key;
    uint8_t fingerprint[FINGERPRINT];
    handler_fn handler;
    int claimed;
    const db_row_t *stored;
} run_t;

void
idempotency_init(slice_t secret)
{
    static const char purpose[] = "hive idempotency fingerprint 1";

    HMAC(EVP_sha256(), secret.data, (int) secret.len,
        (const uint8_t *) purpose, sizeof(purpose) - 1, fingerprint_key,
        NULL);
}

static void
check_key(request_t *rq, slice_t key)
{
    int sound = key.len >= 1 && key.len <= KEY_MAX;

    for (size_t i = 0; sound && i < key.len; i++) {
        sound = key.data[i] > 0x20 && key.data[i] < 0x7f;
    }
    if (!sound) {
        rq_raise(rq, 400, "malformed_idempotency_key",
            "Idempotency-Key must be 1 to %d visible ASCII characters",
            KEY_MAX);
    }
}

static void
put_sized(buf_t *out, slice_t part)
{
    uint64_t len = part.len;

    buf_put(out, &len, sizeof(len));
    if (part.len > 0) {
        buf_put(out, part.data, part.len);
    }
}

static void
make_fingerprint(request_t *rq, uint8_t out[FINGERPRINT])
{
    buf_t bytes;

    buf_init(&bytes, rq->arena, 256 + rq->query.len + rq->body.len);
    put_sized(&bytes, (slice_t) { rq->op->name, strlen(rq->op->name) });
    for (unsigned i = 0; i < rq->nparams; i++) {
        put_sized(&bytes, rq->params[i]);
    }
    put_sized(&bytes, rq->query);
    put_sized(&bytes, rq->body);
    HMAC(EVP_sha256(), fingerprint_key, sizeof(fingerprint_key),
        (const uint8_t *) bytes.data, bytes.len, out, NULL);
}

static value_t
fingerprint_value(const run_t *run)
{
    return value_bytes((slice_t) { (const char *) run->fingerprint,
        FINGERPRINT });
}

/* Waits while another transaction holds the key. */
static void
claim(request_t *rq, void *arg)
{
    run_t *run = arg;

    run->claimed = db_row(rq, Q_IDEMPOTENCY_CLAIM, value_uuid(rq->user),
        value_text(run->key), value_string(rq->op->name),
        fingerprint_value(run)) != NULL;
    if (!run->claimed) {
        run->stored = db_row(rq, Q_IDEMPOTENCY_REPLAY, value_uuid(rq->user),
            value_text(run->key), fingerprint_value(run));
    }
}

/* A wait for the lock that was given up ends as 504, like the request's own
 * deadline, of which there is time left. */
static int
gave_up_waiting(request_t *rq, int status)
{
    return status == 504 && !fiber_cancelled(rq->fiber)
           && rq_time_left(rq) > 0;
}

static void
claim_or_raise(request_t *rq, run_t *run)
{
    int status = rq_try(rq, claim, run);

    if (status == 0) {
        return;
    }
    db_rollback(rq);
    if (gave_up_waiting(rq, status)) {
        rq_raise(rq, 409, "idempotency_in_progress",
            "a request with this Idempotency-Key is still running");
    }
    rq_reraise(rq);
}

/* ---- the stored reply ---- */

static void
replay_headers(request_t *rq, slice_t text)
{
    json_t *headers = json_loadb(text.data, text.len, 0, NULL), *value;
    const char *name;

    json_object_foreach(headers, name, value) {
        rq_reply_header(rq, arena_strndup(rq->arena, name, strlen(name)),
            (slice_t) { json_string_value(value),
                json_string_length(value) });
    }
    json_decref(headers);
}

static void
replay(request_t *rq, run_t *run)
{
    const db_row_t *stored = run->stored;

    db_rollback(rq);
    if (stored == NULL) {
        /* It was deleted or rolled back between our two looks. */
        rq_raise(rq, 409, "idempotency_in_progress",
            "a request with this Idempotency-Key has just ended, try again");
    }
    if (!db_bool(stored, "same")) {
        rq_raise(rq, 422, "idempotency_key_reused",
            "this Idempotency-Key was used for another request");
    }
    replay_headers(rq, db_text(stored, "headers"));
    rq_reply_header(rq, "idempotency-replayed", SLICE("true"));
    rq_reply(rq, (int) db_int(stored, "status"), db_text(stored, "body"));
}

static slice_t
headers_as_json(request_t *rq)
{
    buf_t out;

    buf_init(&out, rq->arena, 256);
    buf_putc(&out, '{');
    for (unsigned i = 0; i < rq->nreply_headers; i++) {
        if (i > 0) {
            buf_putc(&out, ',');
        }
        json_put_string(&out, rq->reply_headers[i].name);
        buf_putc(&out, ':');
        json_put_string(&out, rq->reply_headers[i].value);
    }
    buf_putc(&out, '}');
    return buf_slice(&out);
}

/* The reply hook: what is about to be sent is stored and committed first. */
static void
store_and_commit(request_t *rq, int status, slice_t body)
{
    run_t *run = rq->hook_data;

    if (status < 200 || status > 299) {
        db_rollback(rq);
        return;
    }
    db_exec(rq, Q_IDEMPOTENCY_STORE, value_uuid(rq->user),
        value_text(run->key), value_int(status),
        value_json(headers_as_json(rq)),
        value_text(body.len > 0 ? body : SLICE("")));
    db_commit(rq);
}

static void
run_handler(request_t *rq, void *arg)
{
    run_t *run = arg;

    run->handler(rq);
}

static void
sweep(request_t *rq, void *arg)
{
    (void) arg;
    db_exec(rq, Q_IDEMPOTENCY_SWEEP, value_int(SWEEP_EVERY * 4));
}

/* After the reply has gone; a failure is the next sweep's work. */
static void
sweep_now_and_then(request_t *rq)
{
    if (--until_sweep == 0) {
        until_sweep = SWEEP_EVERY;
        rq_try(rq, sweep, NULL);
    }
}

static void
leave_line(void *arg)
{
    (void) arg;
    nameless--;
}

/* Registering hashes a password while its transaction is open: whoever is
 * not signed in waits for the one before, or strangers could hold every
 * transaction that this process has. */
static void
stand_in_line(request_t *rq)
{
    if (rq->signed_in) {
        return;
    }
    while (nameless > 0) {
        if (fiber_sleep(LINE_MS) != 0) {
            rq_raise_cancelled(rq);
        }
    }
    nameless++;
    arena_cleanup(rq->arena, leave_line, NULL);
}

void
idempotency_run(request_t *rq, handler_fn handler)
{
    slice_t key = rq_header(rq, "idempotency-key");
    run_t *run;

    if (key.data == NULL || rq->op->method != METHOD_POST
        || rq->op->flags & (OP_SECRET | OP_STREAM))
    {
        handler(rq);
        return;
    }
    check_key(rq, key);

    run = arena_zero(rq->arena, sizeof(*run));
    run->key = key;
    run->handler = handler;
    make_fingerprint(rq, run->fingerprint);

    stand_in_line(rq);
    db_begin(rq);
    claim_or_raise(rq, run);
    if (!run->claimed) {
        replay(rq, run);
        return;
    }
    rq->hook_data = run;
    rq_reply_hook(rq, store_and_commit);
    if (rq_try(rq, run_handler, run) != 0) {
        rq_reply_hook(rq, NULL);
        db_rollback(rq);
        rq_reraise(rq);
    }
    sweep_now_and_then(rq);
}
