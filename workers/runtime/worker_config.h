/* worker_config.h: what hive-worker can be told (conf/worker.ini). */

#ifndef HIVE_WORKER_CONFIG_H
#define HIVE_WORKER_CONFIG_H

#include "config.h"

/* Durations are milliseconds. */
typedef struct {
    struct {
        const char *endpoint;
        unsigned processes;
        unsigned socket_mode;
        const char *socket_group;       /* "": as the process has it */
        unsigned drain_timeout;
        unsigned fibers;
        unsigned cell;
        const char *cell_schema;
    } worker;
    struct {
        const char *conninfo;
        unsigned read_lanes;
        unsigned write_lanes;
        unsigned transactions;
        unsigned queue_max;
        unsigned statement_timeout;
        unsigned lock_timeout;
    } database;
    struct {
        const char *issuer;
        const char *audience;
        const char *key_id;
        const char *algorithm;
        slice_t key;
        unsigned access_ttl;
        unsigned hash_threads;
        unsigned hash_queue;
        const char *public_url;
    } auth;
    struct {
        const char *level;              /* log_level_parse knows it */
    } log;
} worker_config_t;

extern const config_schema_t worker_config_schema;

#endif
