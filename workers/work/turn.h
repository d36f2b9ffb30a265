/* turn.h: the inside of the order of claims; its face is in engine.h. */

#ifndef HIVE_TURN_H
#define HIVE_TURN_H

#include <stdint.h>

/* How much is remembered. */
#define TURN_FLOWS 65536
#define TURN_KINDS 4096

/* Forgets everything, and will remember that much. */
void turn_reset(uint32_t flows_max, uint32_t kinds_max);

#endif
