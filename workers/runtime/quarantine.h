/* quarantine.h: requests that have killed worker processes.
 *
 * A table in memory shared by all processes of a supervisor. When a process
 * dies by SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT while a fiber serves a
 * request, the signal handler notes the request's fingerprint (a keyed hash
 * of operation, parameters, query and body, made at dispatch, so that a
 * corrupted heap does not matter). After two deaths the fingerprint is
 * refused for an hour. */

#ifndef HIVE_QUARANTINE_H
#define HIVE_QUARANTINE_H

#include "request.h"

#include <sys/types.h>

typedef struct quarantine_s quarantine_t;

/* Returns owned shared memory, NULL with errno. Call before forking. */
quarantine_t *quarantine_new(void);
void quarantine_free(quarantine_t *quarantine);

uint64_t quarantine_fingerprint(const quarantine_t *quarantine,
    const request_t *rq);

/* Installs the signal handlers for the calling thread, which is the one that
 * runs fibers. 0 or negative errno. */
int quarantine_watch(quarantine_t *quarantine);

/* Notes one death. Async-signal-safe. Returns the deaths so far. */
unsigned quarantine_note(quarantine_t *quarantine, uint64_t fingerprint,
    uint64_t now_s);

/* Nonzero when the fingerprint is to be refused; counted. `now_s` is the
 * monotonic clock in seconds. One load when nothing ever died. */
int quarantine_refuses(quarantine_t *quarantine, uint64_t fingerprint,
    uint64_t now_s);
uint64_t quarantine_refused(const quarantine_t *quarantine);

/* What the process was doing when it died: 1 and filled, or 0. */
typedef struct {
    pid_t pid;
    int signal;
    unsigned deaths;
    operation_id_t operation;
    char request_id[33];
} last_words_t;

int quarantine_last_words(quarantine_t *quarantine, pid_t pid,
    last_words_t *out);

#endif
