/* generate.c: one answer of a model: its tries, each with its row of the
 * ledger. A try is repeated only while nobody has been told any of its text,
 * and only for a reason that passes (reference/llm.md, section 6). */

#include "internal.h"

#include "workers/runtime/log.h"

#include <openssl/rand.h>

#define TRIES_MAX      3
#define OVERLOADED_MAX 2        /* tries, when that is what it says */
#define OBEY_MS        15000    /* who asks for more is not waited for */
#define BACKOFF_MS     500
#define BACKOFF_MAX_MS 8000
#define NOTE_NS        UINT64_C(2000000000)

/* What comes between a caller's piece() and the provider. */
typedef struct {
    void (*piece)(void *arg, const piece_t *piece);
    void *arg;
    hive_uuid_t row;
    uint64_t began;
    uint64_t noted_at;
    size_t bytes;               /* of output, so far */
} try_t;

static void
on_piece(void *arg, const piece_t *piece)
{
    try_t *one = arg;
    uint64_t now = uv_hrtime();

    one->bytes += piece->text.len;
    if (now - one->noted_at >= NOTE_NS) {
        one->noted_at = now;
        ledger_note(one->row, (int64_t) (one->bytes + 3) / 4);
    }
    if (one->piece != NULL) {
        one->piece(one->arg, piece);
    }
}

static void
try_once(request_t *rq, const spender_t *by, const model_t *model,
    generation_t *generation, answer_t *out)
{
    int64_t prompt = model->provider->count(generation);
    try_t one = { .piece = generation->piece, .arg = generation->arg };

    out->said = (generated_t) { .retry_after_ms = -1,
        .tokens = { .input = prompt } };
    one.row = ledger_open(rq, by, model, out->tries + 1, prompt);
    one.began = one.noted_at = uv_hrtime();
    out->usage = generation->id = one.row;
    out->tries++;

    generation->piece = on_piece;
    generation->arg = &one;
    model->provider->generate(rq, generation, &out->said);
    generation->piece = one.piece;
    generation->arg = one.arg;
    ledger_close(rq, one.row, &out->said, one.began, &out->nano_usd);
}

/* Full jitter (Brooker 2015): anything up to the bound, so that those who
 * failed together do not come back together. */
static uint64_t
jitter(uint64_t most)
{
    uint32_t random = 0;

    RAND_bytes((uint8_t *) &random, sizeof(random));
    return most * random / UINT32_MAX;
}

/* How long to wait before the next try; negative: there is none. */
static int64_t
delay_before_next(const answer_t *out)
{
    const generated_t *said = &out->said;
    uint64_t most = BACKOFF_MS << out->tries;
    int overloaded = said->status == 529;

    if (said->end != GENERATE_AGAIN || out->tries == TRIES_MAX
        || (overloaded && out->tries == OVERLOADED_MAX)
        || said->retry_after_ms > OBEY_MS) {
        return -1;
    }
    if (said->retry_after_ms >= 0) {
        return said->retry_after_ms;
    }
    if (overloaded) {
        most = 2 * BACKOFF_MS << out->tries;
    }
    return (int64_t) jitter(most < BACKOFF_MAX_MS ? most : BACKOFF_MAX_MS);
}

void
llm_generate(request_t *rq, const spender_t *by, const model_t *model,
    generation_t *generation, answer_t *out)
{
    int64_t delay;

    *out = (answer_t) { .tries = 0 };
    generation->model = model->provider_model;
    if (!model->sampling) {
        generation->temperature = -1;
    }
    if (generation->max_tokens > model->max_output_tokens) {
        generation->max_tokens = model->max_output_tokens;
    }
    for (;;) {
        try_once(rq, by, model, generation, out);
        delay = delay_before_next(out);
        if (delay < 0) {
            return;
        }
        log_info("%s: %s: once more in %lld ms", model->provider->name,
            out->said.code, (long long) delay);
        if (fiber_sleep((uint64_t) delay) != 0) {
            generated_fail(rq, &out->said, GENERATE_CANCELLED, "cancelled",
                "the generation was cancelled");
            return;
        }
    }
}
