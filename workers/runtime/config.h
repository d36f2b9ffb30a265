/* config.h: an ini file, the environment and defaults become a typed struct.
 *
 * A schema lists every key once; reading, checking and the reference in the
 * documentation all come from it. For key K of section S, in this order:
 *
 *   HIVE_<S>_<K>, HIVE_<S>_<K>_FILE   environment
 *   K = value, K_file = path          file
 *   the default                       schema
 *
 * K_file is for secrets: the value is what the file holds, without the line
 * ends behind it. Relative paths start at the folder of the ini file, or from
 * the environment at the working directory. Values of both forms at once,
 * unknown sections and keys, keys given twice, and values out of range are
 * errors, each told with its place. A line has at most 198 bytes; indented
 * lines continue the value above, joined by a space. */

#ifndef HIVE_CONFIG_H
#define HIVE_CONFIG_H

#include "arena.h"

#include <stdint.h>
#include <stdio.h>

/* What a key holds, and the type of its member. */
typedef enum {
    CONFIG_TEXT,        /* const char *; min and max are lengths */
    CONFIG_BYTES,       /* slice_t, any bytes; min and max are lengths */
    CONFIG_NUMBER,      /* unsigned */
    CONFIG_MODE,        /* unsigned, written in octal */
    CONFIG_SIZE,        /* size_t bytes: 512, 64k, 16m, 1g */
    CONFIG_DURATION,    /* unsigned milliseconds: 500ms, 30s, 15m, 2h, 1d */
    CONFIG_BOOL,        /* int: on, off, yes, no, true, false */
    CONFIG_CHOICE       /* const char *: one of `choices` */
} config_type_t;

typedef struct {
    const char *section;
    const char *key;
    config_type_t type;
    size_t offset;              /* of the member */
    const char *standard;       /* as one would write it; NULL: required */
    uint64_t min, max;          /* inclusive; both 0: no bounds */
    const char *choices;        /* "debug|info|warn|error" */
    int secret;                 /* the value is never shown */
    const char *doc;
} config_key_t;

typedef struct {
    const config_key_t *keys;   /* those of a section together */
    unsigned nkeys;
    size_t size;                /* of the struct */
} config_schema_t;

/* Fills `out`; strings live in the arena. `path` may be NULL: environment and
 * defaults only. 0, or -1 with `out` unspecified and every mistake found in
 * *errors, a line each: "worker.ini:7: ...". */
int config_load(arena_t *arena, const config_schema_t *schema,
    const char *path, void *out, const char **errors);

/* Writes the schema as a Markdown table. */
void config_print_reference(FILE *out, const config_schema_t *schema);

#endif
