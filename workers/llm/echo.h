/* echo.h: what the stand-in writes. In the arena; the same for the same. */

#ifndef HIVE_ECHO_H
#define HIVE_ECHO_H

#include "workers/runtime/arena.h"

#include <jansson.h>

/* Begins every text that is no JSON. */
#define ECHO_FIRST_LINE \
    "[echo: Hive's built-in stand-in; no model was called]"

/* Some sentences about the prompt. */
slice_t echo_prose(arena_t *arena, slice_t prompt);

/* JSON that a schema accepts, of those that say type, properties, items,
 * enum, const and bounds. */
slice_t echo_json(arena_t *arena, const json_t *schema, slice_t prompt);

#endif
