/* internal.h: what the files of realtime/ share. */

#ifndef HIVE_REALTIME_INTERNAL_H
#define HIVE_REALTIME_INTERNAL_H

#include "realtime.h"

#define LIVE_TEXT_CHANNELS 2

/* Tells the texts that grow on `channel` from their beginning. */
void live_texts_tell(slice_t channel);

#endif
