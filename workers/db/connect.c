/* connect.c: what a connection is asked for.
 *
 * libpq resolves host names while it begins to connect and would block the
 * loop: conninfo should name a unix socket, or give hostaddr. */

#include "internal.h"

#include <stdio.h>
#include <unistd.h>

/* A transaction whose worker is stopped (or stuck) lets its locks go. */
#define IDLE_IN_TRANSACTION_MS 10000

/* Every statement has an index for what it looks up, and is to use it however
 * small the planner takes a table to be: a plan made while the queue was empty
 * is also the one for a hundred thousand tasks. Plans are made once a connection:
 * none is to depend on what it is given, and to plan a list over a month of days
 * takes longer than to read it. */
#define PLANS " -c jit=off -c enable_seqscan=off -c enable_hashjoin=off" \
              " -c enable_mergejoin=off" \
              " -c max_parallel_workers_per_gather=0" \
              " -c plan_cache_mode=force_generic_plan"

/* The options of the start-up packet: ours behind those of the conninfo, so
 * that they stand. No round trip, nothing that a session could lose. */
static void
session_options(const group_t *group, const char *given, char *out,
    size_t size)
{
    snprintf(out, size, "%s%s-c search_path=%s,hive -c timezone=UTC"
             " -c statement_timeout=%u -c lock_timeout=%u"
             " -c idle_in_transaction_session_timeout=%d"
             " -c client_connection_check_interval=5000" PLANS "%s",
             given, *given == '\0' ? "" : " ", db.config.cell_schema,
             db.config.statement_timeout_ms, db.config.lock_timeout_ms,
             IDLE_IN_TRANSACTION_MS,
             group == &db.groups[GROUP_READ]
             ? " -c default_transaction_read_only=on" : "");
}

PGconn *
connect_start(const group_t *group)
{
    PQconninfoOption *parsed, *option;
    char options[1024], name[64];
    const char *given = "";
    PGconn *pg;

    parsed = PQconninfoParse(db.config.conninfo, NULL);
    for (option = parsed; option != NULL && option->keyword != NULL;
         option++) {
        if (strcmp(option->keyword, "options") == 0 && option->val != NULL) {
            given = option->val;
        }
    }
    session_options(group, given, options, sizeof(options));
    snprintf(name, sizeof(name), "hive-worker %d %s", (int) getpid(),
             group->name);
    {
        const char *const keywords[] = {
            "application_name", "keepalives", "keepalives_idle",
            "keepalives_interval", "keepalives_count", "tcp_user_timeout",
            "dbname", "client_encoding", "options", NULL
        };
        const char *const values[] = {
            name, "1", "10", "3", "3", "10000", db.config.conninfo, "UTF8",
            options, NULL
        };

        pg = PQconnectStartParams(keywords, values, 1);
    }
    PQconninfoFree(parsed);
    return pg;
}
