/* hub_print.h: an event record as a line of JSON, for the tools of tests. */

#ifndef HIVE_HUB_PRINT_H
#define HIVE_HUB_PRINT_H

#include "common/event_record.h"

#include <jansson.h>
#include <stdio.h>

static inline void
hub_set(json_t *line, const char *name, slice_t text)
{
    json_object_set_new(line, name, json_stringn(text.data, text.len));
}

static inline void
hub_print(const event_record_t *record)
{
    static const char *const kinds[] = { "?", "change", "signal", "delta",
        "control", "status", "state" };
    json_t *line = json_object();

    json_object_set_new(line, "kind", json_string(
        record->kind <= EVENT_STATE ? kinds[record->kind] : "?"));
    json_object_set_new(line, "allowed",
        json_boolean(record->flags & EVENT_ALLOWED));
    json_object_set_new(line, "recovered",
        json_boolean(record->flags & EVENT_RECOVERED));
    json_object_set_new(line, "more",
        json_boolean(record->flags & EVENT_MORE));
    json_object_set_new(line, "done",
        json_boolean(record->flags & EVENT_DONE));
    json_object_set_new(line, "offset", json_integer(record->offset));
    json_object_set_new(line, "first", json_integer(record->first));
    hub_set(line, "channel", record->channel);
    hub_set(line, "type", record->type);
    hub_set(line, "key", record->key);
    hub_set(line, "text", record->text);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

#endif
