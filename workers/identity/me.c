/* me.c: GET auth/me: the caller's account, from the database. */

#include "identity.h"

#include "workers/db/db.h"

void
op_auth_me(request_t *rq)
{
    const db_row_t *row = db_row(rq, Q_USER_BY_ID, value_uuid(rq->user));

    if (row == NULL) {
        rq_raise(rq, 401, "account_inactive",
            "the account of this token is gone or deactivated");
    }
    db_reply_row(rq, 200, row);
}
