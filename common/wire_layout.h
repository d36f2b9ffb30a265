/* wire_layout.h: the byte layout of the records that wire.h describes.
 *
 * Payloads, all numbers little-endian and unaligned:
 *
 *   PING     u64 incarnation
 *   REQUEST  u8 principal; u8 operation length; u8 params; u8 headers;
 *            u32 deadline in ms; user, session, request id, trace id (16
 *            bytes each); span id (8); u32 query length; u32 body length;
 *            u16 length of each param; u8 name length and u16 value length
 *            of each header; then the bytes in the same order: operation,
 *            params, query, name and value of each header, body
 *   CREDIT   u32 chunks
 *   BEAT     u64 incarnation; u32 pid; u32 in flight; u32 facts length;
 *            facts
 *   REPLY, HEAD
 *            u16 status; u8 headers; u8 zero; u32 body length; u8 name
 *            length and u16 value length of each header; name and value of
 *            each header; body
 *   CHUNK, METRICS
 *            the bytes
 *   CANCEL, END
 *            nothing
 *
 * Lengths stand together before the bytes, so a reader checks their sum
 * once and then only slices. A writer computes the size of a record first
 * and reserves it whole: it either appends all of it or nothing. */

#ifndef HIVE_WIRE_LAYOUT_H
#define HIVE_WIRE_LAYOUT_H

#define PING_SIZE    8
#define REQUEST_SIZE 88
#define CREDIT_SIZE  4
#define BEAT_SIZE    20
#define REPLY_SIZE   8

#define PARAM_SIZE   2      /* what one adds to the table of lengths */
#define HEADER_SIZE  3

#endif
