/* arena_json.c: JSON that lives as long as an arena. */

#include "arena_json.h"

static void
release(void *arg)
{
    json_decref(arg);
}

json_t *
arena_json(arena_t *arena, json_t *json)
{
    if (json != NULL) {
        arena_cleanup(arena, release, json);
    }
    return json;
}
