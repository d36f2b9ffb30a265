/* arena_json.h: JSON that lives as long as an arena. */

#ifndef HIVE_ARENA_JSON_H
#define HIVE_ARENA_JSON_H

#include "arena.h"

#include <jansson.h>

/* Takes `json` (NULL is no failure) and returns it. */
json_t *arena_json(arena_t *arena, json_t *json);

#endif
