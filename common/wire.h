/* wire.h: what the nginx module and the workers say to each other.
 *
 * One ZeroMQ message carries a batch: an 8-byte preamble and then records,
 * each led by a 16-byte header. Numbers are little-endian. Everything that
 * became ready in one turn of an event loop leaves in one message.
 *
 *   preamble   'H' 'V' major minor  u32 records in this message
 *   record     u32 length, header included; u8 type; u8 flags; u16 zero;
 *              u64 id: chosen by the module, echoed by the worker, whose
 *              upper half is a generation, so that a late reply never meets
 *              another request
 *
 *   module to worker    PING REQUEST CANCEL CREDIT
 *   worker to module    BEAT REPLY HEAD CHUNK END METRICS
 *
 * Decoding never reads past the message, whatever it says, and hands out
 * slices into it; encoding appends to a growable buffer. A message of
 * another major version is refused whole; unknown record types are skipped,
 * so that a newer minor version may add some. */

#ifndef HIVE_WIRE_H
#define HIVE_WIRE_H

#include "slice.h"
#include "uuid.h"

#include <stdint.h>

#define WIRE_MAJOR 1
#define WIRE_MINOR 1

#define WIRE_PREAMBLE 8
#define WIRE_RECORD   16

#define WIRE_CHUNK_MAX 65536   /* bytes of a CHUNK, or of the body of a HEAD */

#define WIRE_PARAMS_MAX  4
#define WIRE_HEADERS_MAX 16

#define WIRE_OK        0
#define WIRE_TRUNCATED (-1)  /* lengths point outside the message */
#define WIRE_VERSION   (-2)  /* another major version */
#define WIRE_INVALID   (-3)  /* bad magic, nonzero reserved bits, bad value */
#define WIRE_NOMEM     (-4)

typedef enum {
    WIRE_PING = 1,
    WIRE_REQUEST,
    WIRE_CANCEL,   /* no payload: the client is gone, stop */
    WIRE_CREDIT,   /* u32: that many more chunks may be sent */
    WIRE_BEAT = 16,
    WIRE_REPLY,    /* a whole reply */
    WIRE_HEAD,     /* a streamed reply begins; body is its first chunk */
    WIRE_CHUNK,    /* payload: bytes */
    WIRE_END,      /* flags: WIRE_END_FAILED when the stream broke */
    WIRE_METRICS   /* payload: Prometheus text of all workers; minor 1 */
} wire_type_t;

#define WIRE_END_FAILED 0x01

/* A growable output batch. Zero it to begin. */
typedef struct {
    uint8_t *data;      /* malloc'ed, owned by the buffer */
    size_t len;
    size_t cap;
    uint32_t records;
} wire_buf_t;

void wire_buf_release(wire_buf_t *buf);

/* Closes the batch: patches the record count into the preamble. The bytes
 * are buf->data[0..len), none when nothing was appended. Appending may go on
 * only after wire_buf_reset. */
void wire_buf_finish(wire_buf_t *buf);

/* Keeps the memory, forgets the records. More than 1 MiB of it goes when the
 * batch used less than a quarter. */
void wire_buf_reset(wire_buf_t *buf);

typedef struct {
    slice_t name;       /* lower-case */
    slice_t value;
} wire_header_t;

/* PING flags */
#define WIRE_PING_STOP  0x01  /* "I know that you drain; nothing more comes" */
#define WIRE_PING_METRICS 0x02  /* "a METRICS with each of your beats": one
                                   worker is asked, it tells of all */

/* Principal flags */
#define WIRE_SIGNED_IN  0x01
#define WIRE_SUPERUSER  0x02

/* Request flags */
#define WIRE_HEAD_ONLY  0x01  /* HEAD: the body will not be sent on */
#define WIRE_RESENT     0x02  /* another worker may have executed it */

typedef struct {
    slice_t operation;
    uint8_t flags;
    uint8_t principal;            /* WIRE_SIGNED_IN, ... */
    hive_uuid_t user;             /* zero unless signed in */
    hive_uuid_t session;
    uint8_t request_id[16];
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint32_t deadline_ms;         /* left, when it was sent */
    unsigned nparams;
    slice_t params[WIRE_PARAMS_MAX];
    slice_t query;                /* raw, still percent-encoded */
    unsigned nheaders;
    wire_header_t headers[WIRE_HEADERS_MAX];
    slice_t body;
} wire_request_t;

/* REPLY and HEAD. */
typedef struct {
    uint16_t status;
    unsigned nheaders;
    wire_header_t headers[WIRE_HEADERS_MAX];
    slice_t body;
} wire_reply_t;

/* BEAT: once a second, in answer to a PING, and at every change of state. */
#define WIRE_BEAT_READY    0x01  /* database reachable and at our version */
#define WIRE_BEAT_DRAINING 0x02  /* send nothing new */

typedef struct {
    uint8_t flags;
    uint32_t pid;
    uint64_t incarnation;   /* random per process: a new one means that all
                               that was in flight there is lost */
    uint32_t in_flight;
    slice_t facts;          /* JSON object for /health/ready */
} wire_beat_t;

/* Appending. 0 or WIRE_NOMEM; on failure the batch is as it was. A value too
 * long for its length field (255 bytes for an operation or a header's name,
 * 65535 for a parameter or a header's value), an empty operation or name, too
 * many params or headers, or a status outside 100 to 599 is WIRE_INVALID. */
int wire_put_ping(wire_buf_t *buf, uint8_t flags, uint64_t incarnation);
int wire_put_request(wire_buf_t *buf, uint64_t id, const wire_request_t *rq);
int wire_put_cancel(wire_buf_t *buf, uint64_t id);
int wire_put_credit(wire_buf_t *buf, uint64_t id, uint32_t chunks);
int wire_put_beat(wire_buf_t *buf, const wire_beat_t *beat);
int wire_put_reply(wire_buf_t *buf, uint64_t id, wire_type_t reply_or_head,
    const wire_reply_t *reply);
int wire_put_chunk(wire_buf_t *buf, uint64_t id, slice_t bytes);
int wire_put_end(wire_buf_t *buf, uint64_t id, uint8_t flags);
int wire_put_metrics(wire_buf_t *buf, slice_t text);

/* As wire_put_request for a request whose body of `body_len` bytes the caller
 * copies in itself (from file buffers): `rq->body` is ignored, and *body
 * points at the room for it, valid until the next append. */
int wire_put_request_body(wire_buf_t *buf, uint64_t id,
    const wire_request_t *rq, size_t body_len, uint8_t **body);

/* Reading a message. */
typedef struct {
    const uint8_t *pos;
    const uint8_t *end;
    uint32_t records;       /* still to come */
} wire_reader_t;

typedef struct {
    wire_type_t type;
    uint8_t flags;
    uint64_t id;
    slice_t payload;
} wire_record_t;

/* Checks the preamble. 0, WIRE_TRUNCATED, WIRE_VERSION or WIRE_INVALID. */
int wire_reader_init(wire_reader_t *reader, const void *data, size_t len);

/* 1 and a record; 0 at the end; negative when malformed (stop reading), which
 * bytes behind the last record are too. Record types that this version does
 * not know are skipped. */
int wire_next(wire_reader_t *reader, wire_record_t *record);

/* Taking a payload apart. Slices point into the message. 0 or negative,
 * with `out` unspecified. Trailing bytes are allowed (newer minor). */
int wire_get_ping(const wire_record_t *record, uint64_t *incarnation);
int wire_get_request(const wire_record_t *record, wire_request_t *out);
int wire_get_credit(const wire_record_t *record, uint32_t *chunks);
int wire_get_beat(const wire_record_t *record, wire_beat_t *out);
int wire_get_reply(const wire_record_t *record, wire_reply_t *out);

#endif
