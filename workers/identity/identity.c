/* identity.c: start and stop of the subject. */

#include "identity.h"

#include "account.h"
#include "hashing.h"
#include "refresh.h"
#include "token.h"

static unsigned cell;

int
identity_start(const identity_config_t *config, const char **error)
{
    if (config->hash_threads == 0) {
        *error = "auth: hash_threads must be at least 1";
        return -1;
    }
    if (token_start(config, error) != 0) {
        return -1;
    }
    refresh_configure(config->key);
    cell = config->cell;
    hashing_configure(config->hash_threads, config->hash_queue);
    return 0;
}

void
identity_stop(void)
{
    token_stop();
}

hive_uuid_t
identity_id(void)
{
    hive_uuid_t id;

    uuid_v7(&id, cell);
    return id;
}
