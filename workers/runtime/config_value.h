/* config_value.h: text of one configuration value to its member. Private to
 * config.c. */

#ifndef HIVE_CONFIG_VALUE_H
#define HIVE_CONFIG_VALUE_H

#include "config.h"

/* Writes the member of `key` in `out`. Text is borrowed and terminated. NULL,
 * or what is wrong, in the arena, never with a secret in it. */
const char *config_value_set(arena_t *arena, const config_key_t *key,
    slice_t text, void *out);

/* "number", "duration", ... */
const char *config_type_name(config_type_t type);

/* The range as one would write it, or "" when there is none. */
const char *config_range(arena_t *arena, const config_key_t *key);

#endif
