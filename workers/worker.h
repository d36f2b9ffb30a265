/* worker.h: one worker process. */

#ifndef HIVE_WORKER_H
#define HIVE_WORKER_H

#include "settings.h"
#include "supervisor.h"

/* Serves until SIGTERM and its drain. Returns the exit status. */
int worker_run(const child_t *child, const settings_t *settings);

#endif
