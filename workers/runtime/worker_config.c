/* worker_config.c: every key of worker.ini, with its default and bounds. */

#include "worker_config.h"

#define AT(member) offsetof(worker_config_t, member)
#define DAY_MS 86400000

static const config_key_t keys[] = {
    { "worker", "endpoint", CONFIG_TEXT, AT(worker.endpoint),
      "ipc:///run/hive/worker", 1, 128, NULL, 0,
      "base of the sockets, as in nginx's `hive_workers`: `ipc://` and a "
      "path, or `tcp://host:port`, which uses four ports a process" },
    { "worker", "processes", CONFIG_NUMBER, AT(worker.processes),
      "4", 1, 256, NULL, 0,
      "worker processes: the slots of `hive_workers`" },
    { "worker", "socket_mode", CONFIG_MODE, AT(worker.socket_mode),
      "0660", 0, 0777, NULL, 0, "mode of ipc sockets" },
    { "worker", "socket_group", CONFIG_TEXT, AT(worker.socket_group),
      "", 0, 64, NULL, 0,
      "group of ipc sockets: one that nginx's workers belong to" },
    { "worker", "drain_timeout", CONFIG_DURATION, AT(worker.drain_timeout),
      "30s", 0, DAY_MS, NULL, 0,
      "how long a stopping process may finish what it holds" },
    { "worker", "fibers", CONFIG_NUMBER, AT(worker.fibers),
      "4096", 1, 30000, NULL, 0,
      "requests at once in each process; more are refused with 503" },
    { "worker", "cell", CONFIG_NUMBER, AT(worker.cell),
      "0", 0, 4095, NULL, 0,
      "where new rows live: a part of every id made" },
    { "worker", "cell_schema", CONFIG_TEXT, AT(worker.cell_schema),
      "cell0", 1, 63, NULL, 0, "database schema of the cell" },

    { "database", "conninfo", CONFIG_TEXT, AT(database.conninfo),
      NULL, 1, 4096, NULL, 1,
      "connection string of libpq; use a unix socket or an address, since "
      "names are resolved without yielding" },
    { "database", "read_lanes", CONFIG_NUMBER, AT(database.read_lanes),
      "2", 1, 64, NULL, 0,
      "connections of each process that reads share" },
    { "database", "write_lanes", CONFIG_NUMBER, AT(database.write_lanes),
      "8", 1, 64, NULL, 0,
      "connections of each process for single writes" },
    { "database", "transactions", CONFIG_NUMBER, AT(database.transactions),
      "4", 1, 64, NULL, 0,
      "connections of each process for transactions of several statements" },
    { "database", "queue_max", CONFIG_NUMBER, AT(database.queue_max),
      "1024", 1, 1000000, NULL, 0,
      "statements that may wait in each of the three; more get 503" },
    { "database", "statement_timeout", CONFIG_DURATION,
      AT(database.statement_timeout), "25s", 1, DAY_MS, NULL, 0,
      "of one statement; below the deadlines of requests" },
    { "database", "lock_timeout", CONFIG_DURATION, AT(database.lock_timeout),
      "5s", 1, DAY_MS, NULL, 0, "of waiting for one lock" },

    { "auth", "issuer", CONFIG_TEXT, AT(auth.issuer),
      NULL, 1, 256, NULL, 0, "`iss` of access tokens" },
    { "auth", "audience", CONFIG_TEXT, AT(auth.audience),
      "hive", 1, 256, NULL, 0, "`aud` of access tokens" },
    { "auth", "key_id", CONFIG_TEXT, AT(auth.key_id),
      NULL, 1, 64, NULL, 0,
      "`kid` of the signing key, as in nginx's `hive_jwt_key`" },
    { "auth", "algorithm", CONFIG_CHOICE, AT(auth.algorithm),
      "ES256", 0, 0, "HS256|RS256|ES256", 0, "of the signing key" },
    { "auth", "key", CONFIG_BYTES, AT(auth.key),
      NULL, 1, 65536, NULL, 1,
      "the signing key: a secret of 32 bytes or more, or a private key in "
      "PEM; give `key_file`" },
    { "auth", "access_ttl", CONFIG_DURATION, AT(auth.access_ttl),
      "15m", 60000, DAY_MS, NULL, 0, "how long an access token is good" },
    { "auth", "hash_threads", CONFIG_NUMBER, AT(auth.hash_threads),
      "2", 1, 64, NULL, 0, "passwords hashed at once in each process" },
    { "auth", "hash_queue", CONFIG_NUMBER, AT(auth.hash_queue),
      "64", 0, 10000, NULL, 0,
      "sign-ins that may wait for a hash; more get 503" },
    { "auth", "public_url", CONFIG_TEXT, AT(auth.public_url),
      NULL, 1, 256, NULL, 0,
      "where people reach Hive: begins the links it prints" },

    { "log", "level", CONFIG_CHOICE, AT(log.level),
      "info", 0, 0, "debug|info|warn|error", 0, "what is logged, and above" }
};

const config_schema_t worker_config_schema = {
    keys, sizeof(keys) / sizeof(keys[0]), sizeof(worker_config_t)
};
