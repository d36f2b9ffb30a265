/* runner_lease.c: tokens of leases, and what all requests of runners share.
 *
 * A token is a UUID of version 8 (RFC 9562, 5.8): 102 random bits and, in the
 * last twenty, the milliseconds of the lease. */

#include "runner.h"

#define LEASE_MS_DEFAULT 30000
#define MS_MASK 0xfffffu

_Static_assert(LEASE_MS_MAX <= MS_MASK, "twenty bits hold a lease");

hive_uuid_t
lease_token_new(unsigned lease_ms)
{
    hive_uuid_t token;
    uint8_t *b = token.bytes;

    uuid_v4(&token);
    b[6] = (uint8_t) (0x80 | (b[6] & 0x0f));
    b[13] = (uint8_t) ((b[13] & 0xf0) | (lease_ms >> 16 & 0x0f));
    b[14] = (uint8_t) (lease_ms >> 8);
    b[15] = (uint8_t) lease_ms;
    return token;
}

unsigned
lease_token_ms(const hive_uuid_t *token)
{
    const uint8_t *b = token->bytes;
    unsigned ms = ((unsigned) b[13] << 16 | (unsigned) b[14] << 8 | b[15])
                  & MS_MASK;

    return b[6] >> 4 == 8 && ms >= LEASE_MS_MIN && ms <= LEASE_MS_MAX
           ? ms : LEASE_MS_DEFAULT;
}

unsigned
runner_lease_ms(const value_t *asked, const hive_uuid_t *token)
{
    return asked->type == VALUE_INT ? (unsigned) asked->as.integer
                                    : lease_token_ms(token);
}

void
runner_read(request_t *rq, const char *name, const column_t *columns,
    size_t ncolumns, assignment_t *out)
{
    resource_t body = {
        .name = name, .columns = columns, .ncolumns = ncolumns
    };
    report_t report = report_to(rq);

    assignments_read(&report, &body, rq_json(rq), 1, out);
    rq_check(rq);
}

void
runner_raise_lost(request_t *rq, hive_uuid_t id, hive_uuid_t token)
{
    if (db_row(rq, Q_RUNNER_OUTCOME, value_uuid(rq->user), value_uuid(id),
            value_uuid(token)) == NULL) {
        rq_raise(rq, 404, "task_not_found", "there is no such task");
    }
    rq_raise(rq, 409, "lease_lost",
        "the task is no longer run under this lease");
}
