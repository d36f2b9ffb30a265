/* executor_noop.c: the kind `noop` does nothing, and succeeds: what a queue
 * costs by itself, for benches and tests. */

#include "executor.h"

void
execute_noop(task_run_t *run)
{
    (void) run;
}
