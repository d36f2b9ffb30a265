/* anthropic.h: replies of the Messages API, inside llm/: events of a stream,
 * whole messages, errors (reference/llm.md, 1.1). */

#ifndef HIVE_ANTHROPIC_H
#define HIVE_ANTHROPIC_H

#include "provider.h"

#define REPLY_BYTES_MAX (32 * 1024 * 1024)
#define EVENT_BYTES_MAX (4 * 1024 * 1024)

typedef struct {
    slice_t type;               /* "overloaded_error"; "" when unknown */
    slice_t message;            /* at most 300 bytes of UTF-8 */
    int limited;                /* by a cap that waiting does not lift */
} anthropic_error_t;

/* Of a body or the data of an `error` event, whatever it is; in the arena. */
anthropic_error_t anthropic_read_error(request_t *rq, slice_t text);

/* Whether trying again may help. `status` 0: told inside of a stream. */
int anthropic_passes(int status, slice_t type, int limited);

/* A reply being read. Tells pieces, and fills in `out`, which is complete
 * after reply_end. */
typedef struct reply_s reply_t;

reply_t *reply_new(request_t *rq, const generation_t *generation,
    generated_t *out);

/* Bytes of a stream. Nonzero: what follows is of no interest. */
int reply_feed(reply_t *reply, slice_t bytes);

/* The body of a reply that is no stream. */
void reply_whole(reply_t *reply, slice_t body);

/* There is no more. A stream that has not said its end is a failure. */
void reply_end(reply_t *reply);

#endif
