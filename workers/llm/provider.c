/* provider.c: the providers that are built in. */

#include "provider.h"

static const provider_t *const providers[] = {
    &provider_anthropic, &provider_echo
};

const provider_t *
provider_find(slice_t name)
{
    for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++) {
        const char *known = providers[i]->name;

        if (slice_equal(name, (slice_t) { known, strlen(known) })) {
            return providers[i];
        }
    }
    return NULL;
}
