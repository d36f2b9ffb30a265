/* schema.c: whether this binary fits the database.
 *
 * Two questions, asked when the first connection comes up and again every
 * few seconds. Is the newest change that this worker was built with deployed
 * (sqitch's own registry says)? And does every named statement prepare, with
 * types that are read and written here? A database that is further along
 * than the worker passes when the statements still do: that is what makes it
 * possible to deploy a change under running workers.
 *
 * The second question is a quarter second of the server's time. A process
 * that starts takes the answer of another one with the same statements. */

#include "internal.h"

#include "workers/runtime/log.h"

#include <stdio.h>

#define CHECK_WRONG_MS 2000
#define CHECK_RIGHT_MS 10000

static struct {
    const char *expected;
    char version[64];
    char checked[64];            /* for which the statements were checked */
    char said[512];
    int fits;
    int checking;
    int asked;                   /* not for the first time */
    unsigned pending;
    unsigned misfits;
    uv_timer_t timer;
} schema;

/* Each trouble is told once, until another or none takes its place. */
static void
say(const char *text)
{
    if (strcmp(schema.said, text) != 0) {
        snprintf(schema.said, sizeof(schema.said), "%s", text);
        log_error("%s", text);
    }
}

static void
timer_expired(uv_timer_t *timer)
{
    (void) timer;
    schema_check();
}

/* Of the database and its version (FNV-1a, with the ends of the strings);
 * never 0. */
static uint64_t
fingerprint(void)
{
    const char *const parts[] = {
        db.config.conninfo, db.config.cell_schema, schema.version
    };
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *c = parts[i];

        do {
            hash = (hash ^ (unsigned char) *c) * UINT64_C(0x100000001b3);
        } while (*c++ != '\0');
    }
    return hash | 1;
}

/* Only at first: what this process has learned of statements since then, a
 * change of the schema may have made wrong. */
static int
checked_by_another(void)
{
    return !schema.asked && db.config.checked != NULL
        && *db.config.checked == fingerprint();
}

static void
check_ended(int fits)
{
    schema.checking = 0;
    if (fits && !schema.fits) {
        schema.said[0] = '\0';
        log_info("database schema is at \"%s\"", schema.version);
    }
    schema.fits = fits;
    if (!db.stopping) {
        uv_timer_start(&schema.timer, timer_expired,
                       fits ? CHECK_RIGHT_MS : CHECK_WRONG_MS, 0);
    }
    db_changed();
}

static void
statements_checked(void)
{
    char text[256];

    if (schema.misfits > 0) {
        snprintf(text, sizeof(text), "%u statements do not fit the database"
                 " schema at \"%s\"", schema.misfits, schema.version);
        say(text);
        schema.checked[0] = '\0';
    } else {
        snprintf(schema.checked, sizeof(schema.checked), "%s",
                 schema.version);
    }
    if (db.config.checked != NULL) {
        *db.config.checked = schema.misfits > 0 ? 0 : fingerprint();
    }
    check_ended(schema.misfits == 0);
}

static void
described(call_t *call)
{
    statement_t *statement = call->statement;
    char why[256];
    int misfit = 0;

    if (call->outcome != OUTCOME_RESULT) {
        snprintf(why, sizeof(why), "the database went away");
        misfit = 1;
    } else if (PQresultStatus(call->result) != PGRES_COMMAND_OK) {
        const char *text = PQresultErrorField(call->result,
                                              PG_DIAG_MESSAGE_PRIMARY);

        snprintf(why, sizeof(why), "%s", text == NULL ? "" : text);
        misfit = 1;
    } else {
        misfit = statement_describe(statement, call->result, why,
                                    sizeof(why)) != 0;
    }
    if (misfit) {
        schema.misfits++;
        if (schema.said[0] == '\0') {
            log_error("statement %s does not fit the schema: %s",
                      statement->label, why);
        }
    }
    if (--schema.pending == 0) {
        statements_checked();
    }
}

/* Each alone, so that one failure says nothing of the others. */
static void
statements_check(void)
{
    unsigned n = statements_named(), i;

    schema.misfits = 0;
    schema.pending = n + 1;
    for (i = 0; i < n; i++) {
        statement_t *statement = statement_named(i);
        call_t *call;

        if (statement->described) {
            statement_renew(statement);
        }
        call = call_new(CALL_DESCRIBE, statement);
        call->group = &db.groups[GROUP_READ];
        call->read = 1;
        call->alone = 1;
        call->done = described;
        lane_submit(call);
    }
    if (--schema.pending == 0) {
        statements_checked();
    }
}

static void
version_wrong(void)
{
    char text[512];

    snprintf(text, sizeof(text), "database schema is at \"%s\", this worker"
             " needs \"%s\": run \"./dev up\", or \"sqitch deploy\" in sql/",
             schema.version[0] == '\0' ? "nothing" : schema.version,
             schema.expected);
    say(text);
    check_ended(0);
}

/* Leaves schema.version; nonzero when what is expected is deployed. */
static int
version_read(const PGresult *result)
{
    const char *version;

    schema.version[0] = '\0';
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

        /* Without registry nothing was ever deployed. */
        if (state == NULL || (strcmp(state, "42P01") != 0
                              && strcmp(state, "3F000") != 0)) {
            log_warn("schema version not read: %s",
                     PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
        }
        return 0;
    }
    if (PQntuples(result) == 0) {
        return 0;
    }
    version = PQgetvalue(result, 0, 0);
    snprintf(schema.version, sizeof(schema.version), "%.*s",
             PQgetlength(result, 0, 0), version);
    return *PQgetvalue(result, 0, 1) != 0;
}

static void
version_arrived(call_t *call)
{
    int deployed;

    if (call->outcome != OUTCOME_RESULT) {
        check_ended(0);
        return;
    }
    deployed = version_read(call->result);
    if (schema.expected != NULL && !deployed) {
        schema.checked[0] = '\0';
        version_wrong();
    } else if (schema.fits
               && strcmp(schema.checked, schema.version) == 0) {
        check_ended(1);
    } else if (checked_by_another()) {
        snprintf(schema.checked, sizeof(schema.checked), "%s",
                 schema.version);
        check_ended(1);
    } else {
        statements_check();
    }
    schema.asked = 1;
}

void
schema_check(void)
{
    static const char *values[1];
    static int lengths[1];
    call_t *call;

    if (schema.checking || db.stopping) {
        return;
    }
    schema.checking = 1;
    values[0] = schema.expected == NULL ? "" : schema.expected;
    lengths[0] = (int) strlen(values[0]);
    call = call_new(CALL_EXECUTE, statement_own(STATEMENT_VERSION));
    call->group = &db.groups[GROUP_READ];
    call->read = 1;
    call->alone = 1;
    call->nparams = 1;
    call->values = values;
    call->lengths = lengths;
    call->done = version_arrived;
    lane_submit(call);
}

void
schema_start(uv_loop_t *loop, const char *expected)
{
    memset(&schema, 0, sizeof(schema));
    schema.expected = expected;
    uv_timer_init(loop, &schema.timer);
}

static void
timer_closed(uv_handle_t *handle)
{
    (void) handle;
    db.closing--;
    db_closed();
}

void
schema_stop(void)
{
    db.closing++;
    uv_close((uv_handle_t *) &schema.timer, timer_closed);
}

int
schema_fits(const char **version)
{
    *version = schema.version;
    return schema.fits;
}
