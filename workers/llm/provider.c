/* provider.c: the providers that are built in, and what they share. */

#include "provider.h"

#include <uv.h>

static const provider_t *const providers[] = {
    &provider_anthropic, &provider_echo
};

const provider_t *
provider_find(slice_t name)
{
    for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++) {
        const char *known = providers[i]->name;

        if (slice_equal(name, (slice_t) { known, strlen(known) })) {
            return providers[i];
        }
    }
    return NULL;
}

void
generated_fail(request_t *rq, generated_t *out, generate_end_t end,
    const char *code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    out->message = arena_vprintf(rq->arena, format, args);
    va_end(args);
    out->end = end;
    out->code = code;
}

void
generated_piece(const generation_t *generation, generated_t *out,
    const piece_t *piece)
{
    if (out->first_at == 0) {
        out->first_at = uv_hrtime();
    }
    if (generation->piece != NULL) {
        generation->piece(generation->arg, piece);
    }
}
