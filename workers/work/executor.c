/* executor.c: the kinds of tasks that run inside the workers. */

#include "executor.h"

const executor_t executors[] = {
    { "noop", 0, 1, execute_noop },
    { "sleep", 0, 0, execute_sleep },
    { "http", 0, 0, execute_http },
    { NULL, 0, 0, NULL }
};

const executor_t *
executor_find(slice_t kind)
{
    const executor_t *executor;

    for (executor = executors; executor->kind != NULL; executor++) {
        if (strlen(executor->kind) == kind.len
            && memcmp(executor->kind, kind.data, kind.len) == 0) {
            return executor;
        }
    }
    return NULL;
}
