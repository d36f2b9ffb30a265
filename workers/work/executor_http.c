/* executor_http.c: the kind `http` makes one request:
 *
 *     {"method": "POST", "url": "https://api.example.com/v1/jobs",
 *      "headers": {"authorization": "Bearer x"},
 *      "json": {"n": 1},                or "body": "text"
 *      "timeout_ms": 30000, "expect": [200, 201]}
 *
 * Only "url" is required; "expect" is any 2xx unless given. The result is
 * {"status": 201, "headers": {"content-type": "..."}, "json": {...}}, or
 * "body" with the text, or "body_base64" when it is none; at most 1 MiB.
 *
 * What may be called is the allow-list's to say (http_allow.h). Redirects are
 * not followed: a 3xx is a status like others. A status of 5xx, 408, 425 or 429
 * and a connection that failed are tried again while attempts are left, not
 * before Retry-After; another unexpected one is final. Since an attempt may be
 * made again after it has arrived, each carries the task's id as its
 * Idempotency-Key, unless the headers name another. */

#include "executor.h"
#include "http_allow.h"
#include "http_result.h"
#include "work.h"

#include "workers/db/resource_parts.h"

#include <curl/curl.h>

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#define URL_MAX        8192
#define HEADERS_MAX    64
#define BODY_MAX       (1024 * 1024)
#define REPLY_MAX      (1024 * 1024)
#define TIMEOUT_MS_MAX 600000
#define CONNECT_MS     10000
#define EXPECT_MAX     64

static const char *const methods[] = {
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", NULL
};

static const column_t columns[] = {
    { "url", COLUMN_TEXT, REQUIRED | WRITABLE, .min = 1, .max = URL_MAX },
    { "method", COLUMN_ENUM, WRITABLE | NULLABLE, .values = methods },
    { "headers", COLUMN_JSON, WRITABLE | NULLABLE, .max = 65536 },
    { "body", COLUMN_TEXT, WRITABLE | NULLABLE, .max = BODY_MAX },
    { "json", COLUMN_JSON, WRITABLE | NULLABLE, .max = BODY_MAX },
    { "timeout_ms", COLUMN_INT, WRITABLE, .min = 1, .max = TIMEOUT_MS_MAX,
        .fallback = "30000" },
    { "expect", COLUMN_JSON, WRITABLE | NULLABLE, .max = 4096 },
};

enum {
    IN_URL, IN_METHOD, IN_HEADERS, IN_BODY, IN_JSON, IN_TIMEOUT, IN_EXPECT,
    INPUTS
};

_Static_assert(sizeof(columns) / sizeof(columns[0]) == INPUTS, "one each");

static const resource_t shape = {
    .name = "http input", .columns = columns, .ncolumns = INPUTS
};

/* One client for those that only the public internet may be called for, one
 * for those that the list names wherever they are. */
static struct {
    arena_t *arena;
    const http_allow_t *allow;
    http_client_t *outside, *anywhere;
} http;

/* What is asked for. */
typedef struct {
    task_run_t *run;
    int refused;               /* for good: that has been said */
    const char *url;
    const char *method;
    http_header_t headers[HEADERS_MAX + 2];
    unsigned nheaders;
    slice_t body;
    unsigned timeout_ms;
    int expect[EXPECT_MAX];
    size_t nexpect;            /* 0: any 2xx */
    http_permit_t permit;
} plan_t;

/* ---- life ---- */

int
http_task_init(const char *allow, const char **why)
{
    http.arena = arena_new();
    http.allow = http_allow_parse(http.arena, allow, why);
    return http.allow != NULL ? 0 : -1;
}

void
http_task_stop(void)
{
    http_client_t **const clients[] = { &http.outside, &http.anywhere };

    for (int i = 0; i < 2; i++) {
        http_client_t *client = *clients[i];

        if (client != NULL && http_client_active(client) == 0) {
            http_client_free(client);
            *clients[i] = NULL;
        }
    }
    if (http.arena != NULL) {
        arena_free(http.arena);
        http.arena = NULL;
        http.allow = NULL;
    }
}

static http_client_t *
client_for(task_run_t *run, http_permit_t permit)
{
    http_client_t **client = permit == HTTP_ANYWHERE ? &http.anywhere
                                                     : &http.outside;
    http_client_options_t options = {
        .protocols = "http,https", .refuse_private = permit == HTTP_PUBLIC,
        .user_agent = "hive-task",
    };

    if (*client == NULL) {
        *client = http_client_new(fiber_loop(run->rq->fiber), &options);
    }
    if (*client == NULL) {
        rq_raise(run->rq, 503, "http_unavailable",
            "the HTTP client cannot be made");
    }
    return *client;
}

/* ---- the input ---- */

/* No attempt would do better. Unwinds to execute_http. */
__attribute__((noreturn))
static void
refuse(plan_t *plan, const char *code, const char *why)
{
    plan->refused = 1;
    task_fail(plan->run, 1, code, "%s", why);
    rq_raise(plan->run->rq, 422, code, "%s", why);
}

static void
report_fault(void *arg, const char *field, const char *code,
    const char *message)
{
    plan_t *plan = arg;

    (void) code;
    refuse(plan, "invalid_input",
        arena_printf(plan->run->rq->arena, "\"%s\" %s", field, message));
}

/* Those that say how the message ends or where it goes are ours to set. */
static int
is_reserved(slice_t name)
{
    static const char *const reserved[] = {
        "host", "content-length", "transfer-encoding", "connection",
        "keep-alive", "upgrade", "te", "trailer", "expect", NULL
    };

    for (int i = 0; reserved[i] != NULL; i++) {
        if (strlen(reserved[i]) == name.len
            && strncasecmp(reserved[i], name.data, name.len) == 0) {
            return 1;
        }
    }
    return name.len >= 6 && strncasecmp(name.data, "proxy-", 6) == 0;
}

static int
has_header(const plan_t *plan, const char *name)
{
    for (unsigned i = 0; i < plan->nheaders; i++) {
        if (plan->headers[i].name.len == strlen(name)
            && strncasecmp(plan->headers[i].name.data, name, strlen(name))
               == 0) {
            return 1;
        }
    }
    return 0;
}

static void
read_headers(plan_t *plan, const json_t *headers)
{
    const char *name;
    json_t *value;

    if (headers == NULL || json_is_null(headers)) {
        return;
    }
    if (!json_is_object(headers) || json_object_size(headers) > HEADERS_MAX) {
        refuse(plan, "invalid_input",
            "\"headers\" must be an object of at most 64 strings");
    }
    json_object_foreach((json_t *) headers, name, value) {
        slice_t key = { name, strlen(name) };

        if (!json_is_string(value)) {
            refuse(plan, "invalid_input",
                "\"headers\" must be an object of strings");
        }
        if (is_reserved(key)) {
            refuse(plan, "invalid_input", arena_printf(plan->run->rq->arena,
                "the header \"%.200s\" cannot be set", name));
        }
        plan->headers[plan->nheaders++] = (http_header_t) {
            key, { json_string_value(value), json_string_length(value) }
        };
    }
}

static void
read_expect(plan_t *plan, const json_t *expect)
{
    size_t i;
    json_t *status;

    if (expect == NULL || json_is_null(expect)) {
        return;
    }
    if (!json_is_array(expect) || json_array_size(expect) == 0
        || json_array_size(expect) > EXPECT_MAX) {
        refuse(plan, "invalid_input",
            "\"expect\" must be an array of 1 to 64 statuses");
    }
    json_array_foreach(expect, i, status) {
        json_int_t value = json_integer_value(status);

        if (!json_is_integer(status) || value < 200 || value > 599) {
            refuse(plan, "invalid_input",
                "\"expect\" must hold statuses from 200 to 599");
        }
        plan->expect[plan->nexpect++] = (int) value;
    }
}

static void
add_header(plan_t *plan, slice_t name, slice_t value)
{
    plan->headers[plan->nheaders++] = (http_header_t) { name, value };
}

static void
read_body(plan_t *plan, const value_t *body, const value_t *json)
{
    if (body->type != VALUE_NULL && json->type != VALUE_NULL) {
        refuse(plan, "invalid_input", "\"body\" and \"json\" exclude each"
            " other");
    }
    if (json->type != VALUE_NULL) {
        plan->body = json->as.text;
    } else if (body->type != VALUE_NULL) {
        plan->body = body->as.text;
    }
    if (plan->body.data != NULL && !has_header(plan, "content-type")) {
        add_header(plan, SLICE("content-type"), json->type != VALUE_NULL
            ? SLICE("application/json") : SLICE("text/plain; charset=utf-8"));
    }
}

static void
read_input(plan_t *plan)
{
    task_run_t *run = plan->run;
    arena_t *arena = run->rq->arena;
    json_t *input = json_loadb(run->input.data, run->input.len, 0, NULL);
    report_t report = { arena, report_fault, plan, 0 };
    assignment_t in[INPUTS];
    char *key = arena_alloc(arena, UUID_TEXT);

    arena_json(arena, input);
    if (!json_is_object(input)) {
        refuse(plan, "invalid_input", "the input cannot be read");
    }
    assignments_read(&report, &shape, input, 1, in);

    plan->url = arena_strndup(arena, in[IN_URL].value.as.text.data,
        in[IN_URL].value.as.text.len);
    plan->timeout_ms = (unsigned) in[IN_TIMEOUT].value.as.integer;
    read_headers(plan, json_object_get(input, "headers"));
    read_expect(plan, json_object_get(input, "expect"));
    read_body(plan, &in[IN_BODY].value, &in[IN_JSON].value);
    plan->method = in[IN_METHOD].value.type != VALUE_NULL
        ? arena_strndup(arena, in[IN_METHOD].value.as.text.data,
            in[IN_METHOD].value.as.text.len)
        : plan->body.data != NULL ? "POST" : "GET";

    if (!has_header(plan, "idempotency-key")) {
        uuid_format(&run->id, key);
        add_header(plan, SLICE("idempotency-key"),
            (slice_t) { key, UUID_TEXT });
    }
}

/* ---- where to ---- */

static void
release_url(void *arg)
{
    curl_url_cleanup(arg);
}

static void
release_text(void *arg)
{
    curl_free(arg);
}

/* A part of it, in the arena; NULL when it has none. */
static const char *
url_part(arena_t *arena, CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL;

    if (curl_url_get(url, part, &text, flags) != CURLUE_OK) {
        return NULL;
    }
    arena_cleanup(arena, release_text, text);
    return text;
}

static slice_t
lower(arena_t *arena, const char *text)
{
    char *copy = arena_strndup(arena, text, strlen(text));
    size_t len = strlen(copy);

    for (size_t i = 0; i < len; i++) {
        copy[i] = (char) tolower((unsigned char) copy[i]);
    }
    while (len > 1 && copy[len - 1] == '.') {
        len--;
    }
    return (slice_t) { copy, len };
}

/* libcurl takes the address apart for us as it will for itself, and is then
 * given what it made of it: there is no second opinion to play with. */
static void
check_url(plan_t *plan)
{
    arena_t *arena = plan->run->rq->arena;
    CURLU *url = curl_url();
    const char *scheme, *host, *port, *whole;

    if (url == NULL) {
        abort();
    }
    arena_cleanup(arena, release_url, url);
    if (curl_url_set(url, CURLUPART_URL, plan->url, 0) != CURLUE_OK) {
        refuse(plan, "invalid_url", "the URL cannot be read");
    }
    if (url_part(arena, url, CURLUPART_USER, 0) != NULL
        || url_part(arena, url, CURLUPART_PASSWORD, 0) != NULL) {
        refuse(plan, "invalid_url", "a URL must not hold a user or password");
    }
    scheme = url_part(arena, url, CURLUPART_SCHEME, 0);
    host = url_part(arena, url, CURLUPART_HOST, 0);
    port = url_part(arena, url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    whole = url_part(arena, url, CURLUPART_URL, 0);
    if (scheme == NULL || host == NULL || port == NULL || whole == NULL) {
        refuse(plan, "invalid_url", "the URL cannot be read");
    }

    plan->permit = http.allow == NULL ? HTTP_REFUSED
        : http_allow_find(http.allow, lower(arena, scheme),
            lower(arena, host), (unsigned) strtoul(port, NULL, 10));
    if (plan->permit == HTTP_REFUSED) {
        refuse(plan, "http_not_allowed", arena_printf(arena,
            "%.10s://%.200s:%.5s is not in [tasks] http_allow", scheme, host,
            port));
    }
    plan->url = whole;
}

/* ---- the reply ---- */

static int
is_expected(const plan_t *plan, int status)
{
    for (size_t i = 0; i < plan->nexpect; i++) {
        if (plan->expect[i] == status) {
            return 1;
        }
    }
    return plan->nexpect == 0 && status >= 200 && status < 300;
}

/* The beginning of what was answered is for whoever looks for the reason. */
static void
fail_status(task_run_t *run, const http_response_t *response, slice_t body)
{
    int status = http_status(response);
    int again = status >= 500 || status == 429 || status == 408
                || status == 425;
    slice_t text = body.len > 200 ? (slice_t) { body.data, 200 } : body;

    task_retry_after(run, http_retry_after(response));
    text = http_utf8(run->rq->arena, text);
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL) {
        text.len = 0;
    }
    task_fail(run, !again, "http_status", "answered %d%s%.*s", status,
        text.len > 0 ? ": " : "", (int) text.len,
        text.len > 0 ? text.data : "");
}

static void
fail_transfer(task_run_t *run, const http_response_t *response, int rc)
{
    const char *why = response != NULL ? http_failure(response) : "";

    switch (rc) {
    case UV_ECANCELED:
        rq_raise_cancelled(run->rq);
    case UV_EINVAL:
        task_fail(run, 1, "invalid_request", "cannot be sent: %s", why);
        break;
    case UV_EACCES:
        task_fail(run, 1, "http_private_address",
            "the host has no address on the public internet");
        break;
    case UV_EMSGSIZE:
        task_fail(run, 1, "http_reply_too_large",
            "more than %d bytes were answered", REPLY_MAX);
        break;
    case UV_ETIMEDOUT:
        task_fail(run, 0, "http_timed_out", "no answer in time: %s", why);
        break;
    default:
        task_fail(run, 0, "http_unreachable", "%s",
            why[0] != '\0' ? why : uv_strerror(rc));
        break;
    }
}

static void
call(request_t *rq, void *arg)
{
    plan_t *plan = arg;
    task_run_t *run = plan->run;
    http_response_t *response = NULL;
    http_options_t options;
    slice_t body = SLICE("");
    int rc;

    read_input(plan);
    check_url(plan);
    options = (http_options_t) {
        .method = plan->method, .url = plan->url, .headers = plan->headers,
        .nheaders = plan->nheaders, .body = plan->body,
        .response_max = REPLY_MAX,
        .timeouts = {
            plan->timeout_ms < CONNECT_MS ? plan->timeout_ms : CONNECT_MS,
            plan->timeout_ms, plan->timeout_ms, plan->timeout_ms
        },
    };

    rc = http_request(client_for(run, plan->permit), rq->arena, &options,
        &response);
    if (rc == 0) {
        rc = http_read_all(response, &body);
    }
    if (rc != 0) {
        fail_transfer(run, response, rc);
    } else if (!is_expected(plan, http_status(response))) {
        fail_status(run, response, body);
    } else {
        task_succeed(run, http_result(rq->arena, response, body));
    }
}

void
execute_http(task_run_t *run)
{
    plan_t *plan = arena_zero(run->rq->arena, sizeof(*plan));

    plan->run = run;
    if (rq_try(run->rq, call, plan) != 0 && !plan->refused) {
        rq_reraise(run->rq);
    }
}
