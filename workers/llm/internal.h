/* internal.h: what the files of llm/ share. */

#ifndef HIVE_LLM_INTERNAL_H
#define HIVE_LLM_INTERNAL_H

#include "llm.h"

#include "workers/runtime/http_client.h"

extern struct llm_s {
    llm_config_t config;
    fiber_sched_t *fibers;
    http_client_t *http;
    int stopping;
} llm;

/* ---- the ledger (ledger.c) ---- */

/* Opens a row for a try, committed on return. Raises what db.h raises. */
hive_uuid_t ledger_open(request_t *rq, const spender_t *by,
    const model_t *model, unsigned number, int64_t prompt_tokens);

/* Closes it as the try, which began at that uv_hrtime(), has ended, and adds
 * what it cost to *nano_usd. Does not raise, nor notice that the fiber is
 * cancelled: when the database is away for long the row stays open, and is
 * closed by an estimate once this process is gone. */
void ledger_close(request_t *rq, hive_uuid_t row, const generated_t *said,
    uint64_t began, int64_t *nano_usd);

/* About how many tokens of output a try has made so far, so that an estimate
 * would be close; written by a fiber of its own. */
void ledger_note(hive_uuid_t row, int64_t output);

/* The job that closes what dead processes left open. */
int ledger_start(fiber_sched_t *fibers);
void ledger_stop(void);

#endif
