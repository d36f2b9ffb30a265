/* event_text.h: events as clients get them, and records of bytes. */

#ifndef HIVE_EVENT_TEXT_H
#define HIVE_EVENT_TEXT_H

#include "workers/db/event.h"

/* {"type","channel","offset","first","data","timestamp"}: of a signal without
 * offset, and without `first` when that is the offset itself. */
void event_put_text(buf_t *out, const event_t *event);

/* Appends the record. Its fields are short enough: what we make is. */
void event_put_record(buf_t *out, const event_record_t *record);

/* The same of an event. */
void event_put(buf_t *out, const event_t *event);

#endif
