/* password.h: argon2id (RFC 9106) in PHC strings
 * ($argon2id$v=19$m=19456,t=2,p=1$salt$tag, base64 without padding).
 *
 * These calls compute for some 20 ms and hold 19 MiB meanwhile, mapped and
 * unmapped each time so that a worker at rest keeps none of it. Handlers go
 * through hashing.h. */

#ifndef HIVE_PASSWORD_H
#define HIVE_PASSWORD_H

#include "common/slice.h"

#include <stdint.h>

/* Bytes. Nothing is cut off: what is longer is refused. */
#define PASSWORD_MIN 8
#define PASSWORD_MAX 1024

/* Room for any string made here, with its end. */
#define PASSWORD_TEXT 128

/* OWASP's first choice; every new hash is made with it. */
#define PASSWORD_MEMORY 19456u /* KiB */
#define PASSWORD_PASSES 2u
#define PASSWORD_LANES  1u

typedef enum {
    PASSWORD_MATCH,
    PASSWORD_MISMATCH,
    PASSWORD_UNREADABLE,       /* the stored string is none of ours, or asks
                                  for more than the bounds allow */
    PASSWORD_FAILED            /* out of memory or of entropy */
} password_status_t;

/* PASSWORD_MATCH and a terminated string in `out`, or PASSWORD_FAILED. */
password_status_t password_hash(slice_t password, char out[PASSWORD_TEXT]);

/* Compares in constant time. An empty `stored` costs the same as a good one
 * and is PASSWORD_MISMATCH: what to do when there is no such account.
 * *outdated (may be NULL) is set on a match: other parameters than those
 * above made it. */
password_status_t password_verify(slice_t password, slice_t stored,
    int *outdated);

/* Why a new password will not do: a stable code with a sentence in *why
 * (both static), or NULL when it will. Length, the commonest passwords, and
 * words an attacker tries first (the service's name, the account's). */
const char *password_refused(slice_t password, slice_t email,
    const char **why);

#endif
