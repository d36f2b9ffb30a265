/* hashing.h: passwords on fibers.
 *
 * A hash takes a core for some 20 ms, so they run on the thread pool, a few
 * at once, and few may wait: a flood of sign-ins is answered with 503
 * "hashing_busy" and Retry-After while everything else goes on. */

#ifndef HIVE_IDENTITY_HASHING_H
#define HIVE_IDENTITY_HASHING_H

#include "password.h"

#include "workers/runtime/request.h"

void hashing_configure(unsigned threads, unsigned queue);

/* The PHC string, in the request's arena. Raises 503 "hashing_busy". */
slice_t hashing_hash(request_t *rq, slice_t password);

/* As hashing_hash, but an empty slice when it cannot be done now. */
slice_t hashing_try_hash(request_t *rq, slice_t password);

/* Nonzero on a match. An empty `stored` takes as long and never matches.
 * Raises 503 "hashing_busy". */
int hashing_verify(request_t *rq, slice_t password, slice_t stored,
    int *outdated);

#endif
