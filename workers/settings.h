/* settings.h: what worker.ini holds. The keys, their defaults and what they
 * mean are listed once, in settings.c. */

#ifndef HIVE_SETTINGS_H
#define HIVE_SETTINGS_H

#include "workers/identity/identity.h"
#include "workers/llm/llm.h"
#include "workers/runtime/arena.h"
#include "workers/runtime/config.h"

typedef struct {
    struct {
        const char *endpoint;
        unsigned processes;
        unsigned socket_mode;
        const char *socket_group;
        unsigned drain_timeout;      /* ms, as all durations below */
        unsigned fibers;
        unsigned cell;
        const char *cell_schema;
    } worker;
    struct {
        const char *conninfo;
        unsigned read_lanes;
        unsigned write_lanes;
        unsigned insert_lanes;
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
        int events;
        unsigned slots;
        unsigned claim_batch;
        unsigned cancel_grace;
        unsigned owner_max;
        unsigned retention;          /* days */
        const char *http_allow;
        unsigned http_slots;
    } tasks;
    struct {
        const char *anthropic_url;
        const char *anthropic_key;
        unsigned echo_rate;
        unsigned slots;
        unsigned connections;
        unsigned first_byte_timeout;
        unsigned idle_timeout;
        unsigned total_timeout;
    } llm;
    struct {
        const char *level;
    } log;
} settings_t;

extern const config_schema_t settings_schema;

/* Loads and checks all that can be checked without starting. Returns settings
 * that live in the arena, or NULL with what is wrong, a line each, in *errors.
 */
settings_t *settings_load(arena_t *arena, const char *path,
    const char **errors);

/* The part that identity/ starts with; borrows the strings. */
identity_config_t settings_identity(const settings_t *settings);

/* The same for llm/. */
llm_config_t settings_llm(const settings_t *settings);

#endif
