/* generated.c: what every provider says of a generation. */

#include "provider.h"

#include <uv.h>

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
