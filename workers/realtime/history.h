/* history.h: whether the events found of a channel are all there are. */

#ifndef HIVE_HISTORY_H
#define HIVE_HISTORY_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t first, offset;       /* it stands for these and all between */
    size_t bytes;
} past_t;

typedef enum {
    HISTORY_GAP,                 /* not all are there */
    HISTORY_MORE,                /* all up to some that did not fit */
    HISTORY_WHOLE                /* all up to the head */
} history_t;

/* Of `count` events in the order of offsets, at most `most` of which were
 * asked for, behind offset `after` of a channel with that head: what they are,
 * and how many of them fit `room` bytes (with `any`, one at least), in *fit. */
history_t history_judge(const past_t *events, size_t count, int64_t after,
    int64_t head, size_t most, size_t room, int any, size_t *fit);

#endif
