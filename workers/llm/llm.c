/* llm.c: the life of the model layer in a worker process. */

#include "internal.h"

#include <curl/curl.h>

struct llm_s llm;

/* http:// or https://, a host, no path: what is appended begins with "/". */
static int
is_base_url(const char *text)
{
    CURLU *url = curl_url();
    char *path = NULL;
    size_t len = strlen(text);
    int good;

    good = url != NULL && len > 0 && text[len - 1] != '/'
        && (strncmp(text, "https://", 8) == 0
            || strncmp(text, "http://", 7) == 0)
        && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK
        && curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK;
    curl_free(path);
    curl_url_cleanup(url);
    return good;
}

int
llm_init(const llm_config_t *config, const char **why)
{
    if (!is_base_url(config->anthropic_url)) {
        *why = "anthropic_url must be like https://api.anthropic.com";
        return -1;
    }
    for (const char *c = config->anthropic_key; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~') {
            *why = "anthropic_key has a character that no key has";
            return -1;
        }
    }
    llm.config = *config;
    return 0;
}

/* Those that are named in the configuration only: an address inside of the
 * network may be meant, and http:// where its operator says so. */
int
llm_start(uv_loop_t *loop, fiber_sched_t *fibers)
{
    http_client_options_t options = {
        .protocols = "http,https",
        .connections_max = llm.config.connections,
        .host_connections_max = llm.config.connections,
    };

    llm.fibers = fibers;
    llm.http = http_client_new(loop, &options);
    return llm.http == NULL ? UV_ENOMEM : ledger_start(fibers);
}

void
llm_stop_jobs(void)
{
    llm.stopping = 1;
    ledger_stop();
}

void
llm_stop(void)
{
    http_client_free(llm.http);
    llm.http = NULL;
}
