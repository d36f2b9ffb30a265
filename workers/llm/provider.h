/* provider.h: what a provider of models does, whoever it is: one generation at
 * a time, told piece by piece.
 *
 * Messages, content blocks and stop reasons have the shapes of Anthropic's
 * Messages API (reference/llm.md, 1.1): it is the one that loses nothing of
 * the others. Counts of tokens are disjoint: what a provider counts twice it
 * takes apart before it says so. */

#ifndef HIVE_PROVIDER_H
#define HIVE_PROVIDER_H

#include "workers/runtime/request.h"

typedef struct {
    int64_t input;              /* neither read from nor written to a cache */
    int64_t cache_read;
    int64_t cache_write_5m;
    int64_t cache_write_1h;
    int64_t output;             /* reasoning included */
    int64_t reasoning;
} token_counts_t;

typedef enum { PIECE_TEXT, PIECE_THINKING, PIECE_TOOL_INPUT } piece_kind_t;

typedef struct {
    piece_kind_t kind;
    unsigned block;             /* of the content, from 0 */
    slice_t text;               /* UTF-8; borrowed for the call */
    slice_t so_far;             /* of PIECE_TEXT: the text of all blocks with
                                   this piece; in the request's arena */
} piece_t;

/* All borrowed until generate() has returned. */
typedef struct {
    slice_t model;              /* as the provider calls it */
    hive_uuid_t id;             /* of the try: told to the provider */
    slice_t system;             /* no data: none */
    const json_t *messages;     /* [{"role", "content"}], at least one */
    const json_t *tools;        /* these four as Anthropic has them, or NULL */
    const json_t *tool_choice;
    const json_t *thinking;
    const json_t *stop;         /* array of strings */
    const json_t *schema;       /* answer with JSON of that schema; or NULL */
    int64_t max_tokens;
    double temperature;         /* negative: the model's own */
    int stream;

    /* Told of each piece as it comes, on the fiber; must neither raise nor
     * suspend. NULL: no one. */
    void (*piece)(void *arg, const piece_t *piece);
    void *arg;
} generation_t;

typedef enum {
    GENERATED,                  /* whole */
    GENERATE_AGAIN,             /* failed before any piece: try again */
    GENERATE_REFUSED,           /* failed, and would again */
    GENERATE_BROKEN,            /* failed after pieces had been told */
    GENERATE_CANCELLED          /* the fiber was */
} generate_end_t;

/* In the arena of the request. What came before a failure is there too. */
typedef struct {
    generate_end_t end;
    json_t *content;            /* array of blocks */
    slice_t text;               /* that of all text blocks */
    slice_t stop_reason;        /* "end_turn", "max_tokens", ... */
    token_counts_t tokens;
    int reported;               /* by the provider; else they are estimates */
    slice_t request_id;         /* the provider's name of it, or no data */
    uint64_t first_at;          /* uv_hrtime() of the first piece; 0: none */

    /* Unless GENERATED: */
    int status;                 /* of HTTP; 0: no reply */
    const char *code;           /* stable snake_case */
    const char *message;
    int64_t retry_after_ms;     /* negative: the provider says nothing */
} generated_t;

typedef struct {
    const char *name;           /* "anthropic" */

    /* Suspends. `out` comes with the prompt's estimate in its counts, all else
     * zero but retry_after_ms, which is -1. Fills in the rest; raises for no
     * failure of the model's or the network's. */
    void (*generate)(request_t *rq, const generation_t *generation,
        generated_t *out);

    /* Tokens of the prompt, estimated (tokens.h), without asking anybody. */
    int64_t (*count)(const generation_t *generation);

    /* Why nothing can be generated here (no key, say), or NULL. */
    const char *(*unready)(void);
} provider_t;

extern const provider_t provider_anthropic;
extern const provider_t provider_echo;

/* NULL: there is none of that name. */
const provider_t *provider_find(slice_t name);

/* ---- for providers (generated.c) ---- */

/* Sets how a generation failed; `code` is static. */
void generated_fail(request_t *rq, generated_t *out, generate_end_t end,
    const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Tells a piece, and notes when the first one came. */
void generated_piece(const generation_t *generation, generated_t *out,
    const piece_t *piece);

#endif
