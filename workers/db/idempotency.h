/* idempotency.h: POST requests that a client may safely send again.
 *
 * A POST with an `Idempotency-Key` runs in a transaction that first inserts
 * the key and last, before the commit, the reply: either both the work and
 * its reply are there, or neither is. The reply is sent after the commit. A
 * second request with the key gets the stored reply, with the header
 * `idempotency-replayed: true`; while the first one runs, the second waits on
 * the unique index for at most the lock time-out.
 *
 *   400 "malformed_idempotency_key"    not 1 to 255 visible ASCII characters
 *   422 "idempotency_key_reused"       with another operation or content
 *   409 "idempotency_in_progress"      the first request is still running
 *
 * Only successful replies (2xx) are stored, for 24 hours; after a failure the
 * key is free again. Keys belong to their user; those of nobody (register)
 * are common, which is safe because the same content must be sent: its
 * fingerprint is an HMAC, so that the table gives nothing of it away. */

#ifndef HIVE_IDEMPOTENCY_H
#define HIVE_IDEMPOTENCY_H

#include "workers/runtime/request.h"

/* At start: a secret common to all workers. */
void idempotency_init(slice_t secret);

/* Runs the handler of any request; those that have no key or take none (not
 * a POST, OP_SECRET, OP_STREAM) as if called. The handler runs inside a
 * transaction (rq->transaction), must not begin one of its own, and replies
 * once, last. */
void idempotency_run(request_t *rq, handler_fn handler);

#endif
