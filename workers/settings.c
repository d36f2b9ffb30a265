/* settings.c: the keys of worker.ini. */

#include "settings.h"

#include "supervisor.h"

#include "workers/runtime/endpoint.h"
#include "workers/work/work.h"

#include <libpq-fe.h>

#include <stddef.h>

#define KEY(section_, key_, type_, ...)                                       \
    {                                                                         \
        .section = #section_, .key = #key_, .type = CONFIG_##type_,           \
        .offset = offsetof(settings_t, section_.key_), __VA_ARGS__            \
    }

static const config_key_t keys[] = {
    KEY(worker, endpoint, TEXT, .standard = "ipc:///run/hive/worker",
        .min = 1, .max = 120,
        .doc = "base of the sockets, as in `hive_workers`; with"
               " `tcp://host:port` each process uses four ports"),
    KEY(worker, processes, NUMBER, .standard = "4", .min = 1,
        .max = SLOTS_MAX,
        .doc = "worker processes, as in `hive_workers`"),
    KEY(worker, socket_mode, MODE, .standard = "0660", .max = 0777,
        .doc = "mode of ipc sockets"),
    KEY(worker, socket_group, TEXT, .standard = "",
        .doc = "group of ipc sockets: one that nginx's workers are in; empty"
               " leaves it"),
    KEY(worker, drain_timeout, DURATION, .standard = "30s", .min = 0,
        .max = 3600000,
        .doc = "how long a stopping process may finish what it holds"),
    KEY(worker, fibers, NUMBER, .standard = "4096", .min = 1, .max = 16384,
        .doc = "requests at once in each process; more are refused with 503"),
    KEY(worker, cell, NUMBER, .standard = "0", .max = 4095,
        .doc = "the cell where new rows live: part of every id"),
    KEY(worker, cell_schema, TEXT, .standard = "cell0", .min = 1, .max = 63,
        .doc = "the cell's schema in the database"),

    KEY(database, conninfo, TEXT, .standard = "dbname=hive", .min = 1,
        .max = 4096, .secret = 1,
        .doc = "libpq connection string; prefer a unix socket or `hostaddr`"),
    KEY(database, read_lanes, NUMBER, .standard = "2", .min = 1, .max = 64,
        .doc = "connections of each process that reads share"),
    KEY(database, write_lanes, NUMBER, .standard = "8", .min = 1, .max = 64,
        .doc = "connections of each process for single writes"),
    KEY(database, insert_lanes, NUMBER, .standard = "2", .min = 1, .max = 64,
        .doc = "connections of each process for new rows, which commit"
               " together"),
    KEY(database, transactions, NUMBER, .standard = "4", .min = 1, .max = 64,
        .doc = "connections of each process for transactions of several"
               " statements"),
    KEY(database, queue_max, NUMBER, .standard = "1024", .min = 1,
        .max = 1000000,
        .doc = "statements that may wait in each of the four; more are"
               " refused with 503"),
    KEY(database, statement_timeout, DURATION, .standard = "25s", .min = 1,
        .max = 3600000, .doc = "below the deadlines of requests"),
    KEY(database, lock_timeout, DURATION, .standard = "5s", .min = 1,
        .max = 3600000, .doc = "how long a statement waits for a lock"),

    KEY(auth, issuer, TEXT, .standard = NULL, .min = 1, .max = 255,
        .doc = "`iss` of tokens, as in `hive_jwt_issuer`"),
    KEY(auth, audience, TEXT, .standard = "hive", .min = 1, .max = 255,
        .doc = "`aud` of tokens, as in `hive_jwt_audience`"),
    KEY(auth, key_id, TEXT, .standard = NULL, .min = 1, .max = 64,
        .doc = "`kid` of tokens, as in `hive_jwt_key`"),
    KEY(auth, algorithm, CHOICE, .standard = "ES256",
        .choices = "HS256|RS256|ES256", .doc = "how tokens are signed"),
    KEY(auth, key, BYTES, .standard = NULL, .min = 1, .max = 16384,
        .secret = 1,
        .doc = "the secret (HS256) or private key in PEM; give it as"
               " `key_file`"),
    KEY(auth, access_ttl, DURATION, .standard = "15m", .min = 1000,
        .max = 86400000, .doc = "how long an access token is good"),
    KEY(auth, hash_threads, NUMBER, .standard = "2", .min = 1, .max = 64,
        .doc = "passwords hashed at once in each process"),
    KEY(auth, hash_queue, NUMBER, .standard = "64", .max = 100000,
        .doc = "sign-ins that may wait for one; more are refused with 503"),
    KEY(auth, public_url, TEXT, .standard = NULL, .min = 1, .max = 255,
        .doc = "where people reach Hive: begins the links it prints"),

    KEY(tasks, events, BOOL, .standard = "on",
        .doc = "whether each change of a task's state is an event; off saves"
               " a fifth of the engine's time"),
    KEY(tasks, slots, NUMBER, .standard = "64", .min = 0, .max = 4096,
        .doc = "tasks of one kind at once in each process; 0: this host runs"
               " none"),
    KEY(tasks, claim_batch, NUMBER, .standard = "500", .min = 1, .max = 1000,
        .doc = "tasks claimed or finished by one statement, at most"),
    KEY(tasks, cancel_grace, DURATION, .standard = "10s", .min = 0,
        .max = 3600000,
        .doc = "how long a cancelled task may take to stop"),
    KEY(tasks, owner_max, NUMBER, .standard = "1000000", .min = 1,
        .max = 1000000000,
        .doc = "unfinished tasks of one user; more are refused with 429"),
    KEY(tasks, retention, NUMBER, .standard = "30", .min = 1, .max = 36500,
        .doc = "days that finished tasks and events are kept"),
    KEY(tasks, http_allow, TEXT, .standard = "", .max = 4096,
        .doc = "hosts that tasks of kind `http` may call, separated by"
               " commas; empty: none"),
    KEY(tasks, http_slots, NUMBER, .standard = "32", .min = 0, .max = 1024,
        .doc = "tasks of kind `http` at once in each process"),

    KEY(llm, anthropic_url, TEXT, .standard = "https://api.anthropic.com",
        .min = 1, .max = 255,
        .doc = "where Anthropic's Messages API is, without a path"),
    KEY(llm, anthropic_key, TEXT, .standard = "", .max = 1024, .secret = 1,
        .doc = "its key; give it as `anthropic_key_file`. Empty: its models"
               " are not ready"),
    KEY(llm, echo_rate, NUMBER, .standard = "50", .min = 0, .max = 100000,
        .doc = "tokens a second of the built-in stand-in `echo`; 0: as fast"
               " as it goes"),
    KEY(llm, slots, NUMBER, .standard = "256", .min = 1, .max = 4096,
        .doc = "tasks that ask a model at once in each process"),
    KEY(llm, connections, NUMBER, .standard = "1024", .min = 1,
        .max = 65536, .doc = "to providers, of each process"),
    KEY(llm, first_byte_timeout, DURATION, .standard = "60s", .min = 1,
        .max = 3600000, .doc = "until a provider begins to answer"),
    KEY(llm, idle_timeout, DURATION, .standard = "60s", .min = 1,
        .max = 3600000, .doc = "between two bytes of an answer"),
    KEY(llm, total_timeout, DURATION, .standard = "10m", .min = 1,
        .max = 86400000, .doc = "of one try at a provider"),

    KEY(log, level, CHOICE, .standard = "info",
        .choices = "debug|info|warn|error", .doc = "the least to log"),
};

const config_schema_t settings_schema = {
    keys, sizeof(keys) / sizeof(keys[0]), sizeof(settings_t)
};

static const char *
check_endpoints(arena_t *arena, const settings_t *settings)
{
    char endpoint[ENDPOINT_MAX];

    if (endpoint_format(endpoint, settings->worker.endpoint,
            settings->worker.processes - 1, 1, ENDPOINT_EVENTS) != 0) {
        return arena_printf(arena, "worker: endpoint \"%s\" is not ipc://PATH"
            " (or too long) nor tcp://HOST:PORT with four ports for each"
            " process\n", settings->worker.endpoint);
    }
    if (endpoint_set_access(settings->worker.socket_mode,
            settings->worker.socket_group) != 0) {
        return arena_printf(arena, "worker: there is no group \"%s\""
            " (socket_group)\n", settings->worker.socket_group);
    }

    return "";
}

static const char *
check_conninfo(arena_t *arena, const settings_t *settings)
{
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(settings->database.conninfo,
        &why);
    const char *error = "";

    if (options == NULL) {
        error = arena_printf(arena, "database: conninfo: %s",
            why != NULL ? why : "out of memory\n");
    }
    PQconninfoFree(options);
    PQfreemem(why);
    return error;
}

static const char *
check_auth(arena_t *arena, const settings_t *settings)
{
    const char *why;
    identity_config_t config;

    config = settings_identity(settings);
    if (identity_start(&config, &why) != 0) {
        return arena_printf(arena, "%s\n", why);
    }

    identity_stop();
    return "";
}

static const char *
check_http_allow(arena_t *arena, const settings_t *settings)
{
    const char *why, *error = "";

    if (http_task_init(settings->tasks.http_allow, &why) != 0) {
        error = arena_printf(arena, "tasks: http_allow: %s\n", why);
    }
    http_task_stop();
    return error;
}

static const char *
check_llm(arena_t *arena, const settings_t *settings)
{
    llm_config_t config = settings_llm(settings);
    const char *why;

    return llm_init(&config, &why) == 0 ? ""
        : arena_printf(arena, "llm: %s\n", why);
}

settings_t *
settings_load(arena_t *arena, const char *path, const char **errors)
{
    settings_t *settings = arena_alloc(arena, sizeof(*settings));

    if (config_load(arena, &settings_schema, path, settings, errors) != 0) {
        return NULL;
    }

    *errors = arena_printf(arena, "%s%s%s%s%s",
        check_endpoints(arena, settings), check_conninfo(arena, settings),
        check_auth(arena, settings), check_http_allow(arena, settings),
        check_llm(arena, settings));
    return (*errors)[0] == '\0' ? settings : NULL;
}

identity_config_t
settings_identity(const settings_t *settings)
{
    return (identity_config_t) {
        .issuer = settings->auth.issuer,
        .audience = settings->auth.audience,
        .key_id = settings->auth.key_id,
        .algorithm = settings->auth.algorithm,
        .key = settings->auth.key,
        .access_ttl = settings->auth.access_ttl / 1000,
        .hash_threads = settings->auth.hash_threads,
        .hash_queue = settings->auth.hash_queue,
        .cell = settings->worker.cell,
    };
}

llm_config_t
settings_llm(const settings_t *settings)
{
    return (llm_config_t) {
        .anthropic_url = settings->llm.anthropic_url,
        .anthropic_key = settings->llm.anthropic_key,
        .echo_rate = settings->llm.echo_rate,
        .connections = settings->llm.connections,
        .first_byte_ms = settings->llm.first_byte_timeout,
        .idle_ms = settings->llm.idle_timeout,
        .total_ms = settings->llm.total_timeout,
    };
}
