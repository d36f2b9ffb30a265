/* account.h: what is typed into a form: addresses, names, passwords. */

#ifndef HIVE_IDENTITY_ACCOUNT_H
#define HIVE_IDENTITY_ACCOUNT_H

#include "workers/runtime/request.h"

#define EMAIL_MAX 254
#define NAME_MAX_CHARS 200

/* A new id of something kept here (identity.c). */
hive_uuid_t identity_id(void);

/* Trims, checks the form (a dot-atom of at most 64 bytes, "@", a host name
 * with a dot in it, or "localhost"; ASCII) and puts the host in lower case.
 * The part before "@" keeps its case; accounts are found in any. Returns the
 * address in the arena, or an empty slice: not an address. */
slice_t email_normalise(arena_t *arena, slice_t typed);

/* The fields of a new account, checked all at once. */
typedef struct {
    slice_t email;
    slice_t name;
    slice_t password;
    slice_t token;             /* of a set-up, else empty */
} account_t;

/* Reads the body. Raises 422 "invalid_fields" with what is wrong with each
 * field. `with_token`: a member "token" is required, else it is unknown. */
account_t account_read(request_t *rq, int with_token);

/* The text of member `name`, or an empty slice after an rq_invalid: absent,
 * no text, empty. */
slice_t account_text(request_t *rq, const json_t *body, const char *name);

/* An rq_invalid for each member that is in none of `known` (NULL ends). */
void account_members(request_t *rq, json_t *body, const char *const *known);

#endif
