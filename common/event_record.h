/* event_record.h: an event on its way from a worker to the hubs in nginx.
 *
 * A worker publishes one as a ZeroMQ message of two parts: the channel (what
 * a SUB filters on, "project:<uuid>") and a record. Replies of the operations
 * that the hub calls (channel_open, ...) are records one after another. The
 * hub forwards `text` as it is: it parses no JSON of events.
 *
 *   u32 length of the record, this included; u8 version; u8 kind; u8 flags;
 *   u8 zero; u16 length of channel, of type, of key; u16 zero; i64 offset;
 *   i64 first; channel, type, key; text to the end. Little-endian.
 *
 * Decoding never reads past what it is given, whatever that says. */

#ifndef HIVE_EVENT_RECORD_H
#define HIVE_EVENT_RECORD_H

#include "slice.h"

#include <stdint.h>

#define EVENT_RECORD_HEAD    32
#define EVENT_RECORD_VERSION 1

typedef enum {
    /* A committed change. `offset` is its place in its channel; when it
     * stands for earlier ones too, `first` is the first of those, otherwise
     * the same as `offset`. `text` is the JSON object that clients get. */
    EVENT_CHANGE = 1,

    /* Told to whoever listens now, kept nowhere: no offset. */
    EVENT_SIGNAL,

    /* A piece of text that grows: `key` names it, `text` is UTF-8 (not JSON)
     * that belongs at byte `offset`. With EVENT_DONE there is no more. */
    EVENT_DELTA,

    /* To the hubs, not to clients. `type` is "access": who may watch channel
     * `key`, or what user `key` ("user:<uuid>") may watch, has changed. */
    EVENT_CONTROL,

    /* Replies. What became of one channel: `offset` is its head, `key` the
     * epoch, flags say the rest, `type` is a code when it was refused. */
    EVENT_STATUS,

    /* What the channel is about, as of `offset`: `text` is the object. */
    EVENT_STATE
} event_kind_t;

#define EVENT_DONE      0x01  /* DELTA */
#define EVENT_ALLOWED   0x02  /* STATUS: the caller may watch it */
#define EVENT_RECOVERED 0x04  /* STATUS: all events after the position that
                                 was asked for follow as CHANGEs */
#define EVENT_MORE      0x08  /* STATUS: those that follow are not the last */

typedef struct {
    event_kind_t kind;
    uint8_t flags;
    int64_t offset;
    int64_t first;
    slice_t channel;
    slice_t type;
    slice_t key;
    slice_t text;
} event_record_t;

/* Bytes that the record takes; 0 when a field is too long for it (65535 for
 * channel, type and key; 2 GiB for the whole). */
size_t event_record_size(const event_record_t *record);

/* Writes event_record_size() bytes, which must not be 0. */
void event_record_put(uint8_t *out, const event_record_t *record);

/* Takes the first record of the bytes apart: its length, with slices into
 * them; 0 when there are none left; -1 when it is malformed. A kind that is
 * not known is no error: what to do with it is up to the reader. */
long event_record_get(const void *data, size_t len, event_record_t *out);

#endif
