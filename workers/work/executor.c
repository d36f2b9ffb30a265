/* executor.c: the kinds of tasks that run inside the workers: those of work/,
 * and what subjects above it add. */

#include "executor.h"

#include <assert.h>

static const executor_t own[] = {
    { "noop", 0, 1, execute_noop },
    { "sleep", 0, 0, execute_sleep },
    { "http", 0, 0, execute_http },
};

#define OWN (sizeof(own) / sizeof(own[0]))

static const executor_t *added[EXECUTORS_MAX - OWN];
static size_t nadded;

void
executor_add(const executor_t *executor)
{
    for (size_t i = 0; i < nadded; i++) {
        if (added[i] == executor) {
            return;
        }
    }
    assert(nadded < sizeof(added) / sizeof(added[0]));
    added[nadded++] = executor;
}

const executor_t *
executor_at(size_t index)
{
    return index < OWN ? &own[index]
        : index - OWN < nadded ? added[index - OWN] : NULL;
}

const executor_t *
executor_find(slice_t kind)
{
    const executor_t *executor;

    for (size_t i = 0; (executor = executor_at(i)) != NULL; i++) {
        if (strlen(executor->kind) == kind.len
            && memcmp(executor->kind, kind.data, kind.len) == 0) {
            return executor;
        }
    }
    return NULL;
}
