/* refresh.h: refresh tokens: what gets the next access token without the
 * password, once. "<session>.<number>.<mac>", opaque to clients; the number
 * counts how often the session was renewed (supabase/auth has the idea), so a
 * token that is used again shows that there is a copy of it. */

#ifndef HIVE_IDENTITY_REFRESH_H
#define HIVE_IDENTITY_REFRESH_H

#include "workers/runtime/request.h"

#define REFRESH_IDLE_S 2592000     /* a session that is not renewed, 30 days */
#define REFRESH_MOST_S 7776000     /* any session, 90 days */

/* At start: the signing key, from which theirs is derived. */
void refresh_configure(slice_t key);

/* Appends `,"refresh_token":"..."`. */
void refresh_put(buf_t *out, hive_uuid_t session, int64_t number);

#endif
