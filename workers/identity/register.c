/* register.c: POST auth/register: a new account. */

#include "account.h"
#include "hashing.h"
#include "identity.h"

#include "workers/db/db.h"

void
op_auth_register(request_t *rq)
{
    account_t account = account_read(rq, 0);
    slice_t hash = hashing_hash(rq, account.password);
    const db_row_t *row;

    row = db_row(rq, Q_USER_CREATE, value_uuid(identity_id()),
        value_text(account.email), value_text(account.name),
        value_text(hash));
    if (row == NULL) {
        rq_raise(rq, 409, "email_taken",
            "there is an account with this e-mail address");
    }
    db_reply_row(rq, 201, row);
}
