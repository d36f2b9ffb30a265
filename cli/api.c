/* api.c: requests to Hive. */

#include "cli.h"

#include <curl/curl.h>

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define EARLY_S 30              /* before its end a token is renewed */
#define TRIES   4               /* of what may be sent again */
#define PAGE    "100"
#define PAGES   100             /* of a list; what is beyond is said */

volatile sig_atomic_t api_interrupted;

static char no_answer[CURL_ERROR_SIZE + 64];   /* why there was none */

typedef struct {
    char *data;
    size_t len;
} text_t;

static size_t
take(char *data, size_t one, size_t len, void *arg)
{
    text_t *text = arg;
    char *more = realloc(text->data, text->len + len + 1);

    (void) one;
    if (more == NULL) {
        return 0;
    }
    memcpy(more + text->len, data, len);
    text->data = more;
    text->len += len;
    more[text->len] = '\0';
    return len;
}

const char *
api_escape(const char *text)
{
    static char *escaped[8];
    static unsigned next;
    char **place = &escaped[next++ % 8];

    curl_free(*place);
    *place = curl_easy_escape(NULL, text, 0);
    if (*place == NULL) {
        die(EXIT_FAILED, "out of memory");
    }
    return *place;
}

/* For what must not be done twice. */
static void
make_key(char out[33])
{
    unsigned char bytes[16];

    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
        die(EXIT_FAILED, "there is no randomness");
    }
    for (int i = 0; i < 16; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

static int
on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void) arg;
    (void) a;
    (void) b;
    (void) c;
    (void) d;
    return api_interrupted;
}

/* One request. The status, or 0 with no_answer. */
static long
send_once(const char *method, const char *url, const char *body,
    struct curl_slist *headers, text_t *reply)
{
    CURL *curl = curl_easy_init();
    char why[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURLcode rc;

    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "hivectl/" HIVE_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 60000L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    rc = curl_easy_perform(curl);
    if (rc == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    } else {
        snprintf(no_answer, sizeof(no_answer), "%s", why[0] != '\0' ? why
            : curl_easy_strerror(rc));
    }
    curl_easy_cleanup(curl);
    return status;
}

/* Somebody else may answer at that address: a proxy, a page. Then the status
 * is 0, as when nobody does. */
static long
read_reply(long status, const text_t *text, json_t **out)
{
    *out = text->len > 0 ? json_loadb(text->data, text->len,
        JSON_DECODE_ANY, NULL) : NULL;
    if ((status >= 200 && status <= 299 && text->len > 0 && *out == NULL)
        || (status >= 300 && status <= 399)) {
        snprintf(no_answer, sizeof(no_answer), "it does not answer as Hive"
            " does (status %ld)", status);
        json_decref(*out);
        *out = NULL;
        return 0;
    }
    return status;
}

/* GET and DELETE may be sent again, and so may a POST, which has a key. The
 * status; 0: no answer. */
static long
send_request(const char *method, const char *path, const json_t *body,
    const char *authorization, json_t **out)
{
    char url[2048], key[33], line[64];
    struct curl_slist *headers = NULL;
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    text_t reply = { NULL, 0 };
    long status = 0;

    snprintf(url, sizeof(url), "%s%s", cli.url, path);
    headers = curl_slist_append(headers, "Accept: application/json");
    if (authorization != NULL) {
        headers = curl_slist_append(headers, authorization);
    }
    if (body != NULL) {
        headers = curl_slist_append(headers,
            "Content-Type: application/json");
    }
    if (strcmp(method, "POST") == 0) {
        make_key(key);
        snprintf(line, sizeof(line), "Idempotency-Key: %s", key);
        headers = curl_slist_append(headers, line);
    }
    for (int n = 0; n < TRIES && !api_interrupted; n++) {
        if (n > 0) {
            struct timespec pause = { 0, 200000000L << (n - 1) };

            if (n == 3) {
                pause = (struct timespec) { 1, 0 };
            }
            nanosleep(&pause, NULL);
        }
        free(reply.data);
        reply = (text_t) { NULL, 0 };
        status = send_once(method, url, text, headers, &reply);
        if (status != 0 && status != 502 && status != 503) {
            break;
        }
    }
    curl_slist_free_all(headers);
    free(text);
    status = read_reply(status, &reply, out);
    free(reply.data);
    return status;
}

__attribute__((noreturn))
static void
die_unreachable(void)
{
    if (api_interrupted) {
        exit(EXIT_INTERRUPTED);
    }
    die(EXIT_UNREACHABLE, "no answer from %s: %s", cli.url, no_answer);
}

json_t *
api_open(const char *method, const char *path, const json_t *body,
    long *status)
{
    json_t *reply;

    *status = send_request(method, path, body, NULL, &reply);
    if (*status == 0) {
        die_unreachable();
    }
    if (*status >= 500) {
        die(EXIT_UNREACHABLE, "Hive answered %ld: %s", *status,
            text_at(reply, "detail"));
    }
    return reply;
}

/* ---- with a token ---- */

static int
passes(long status)
{
    return status == 0 || status == 429 || status >= 500;
}

/* 0, or -1 when there was no answer that says anything. */
static int
renew(json_t *credentials)
{
    json_t *body = json_pack("{s:O}", "refresh_token",
        json_object_get(credentials, "refresh_token"));
    json_t *reply;
    long status = send_request("POST", "/api/v1/auth/refresh", body, NULL,
        &reply);

    json_decref(body);
    if (passes(status)) {
        if (status != 0) {
            snprintf(no_answer, sizeof(no_answer), "the session cannot be"
                " renewed now (status %ld)", status);
        }
        json_decref(reply);
        return -1;
    }
    if (status != 200) {
        die(EXIT_SIGN_IN, "the session has ended: hivectl login");
    }
    json_object_set(credentials, "access_token",
        json_object_get(reply, "access_token"));
    json_object_set(credentials, "refresh_token",
        json_object_get(reply, "refresh_token"));
    json_object_set_new(credentials, "expires_at", json_integer(
        (json_int_t) time(NULL) + number_at(reply, "expires_in")));
    json_decref(reply);
    credentials_store(credentials);
    return 0;
}

char *
api_authorization(void)
{
    const char *given = getenv("HIVE_TOKEN");
    json_t *credentials = NULL;
    const char *token = given;
    char *line = NULL;

    if (given == NULL || given[0] == '\0') {
        credentials = credentials_load();
        if (credentials == NULL) {
            die(EXIT_SIGN_IN, "nobody is signed in at %s: hivectl login",
                cli.url);
        }
        if (number_at(credentials, "expires_at")
            < (json_int_t) time(NULL) + EARLY_S && renew(credentials) != 0) {
            json_decref(credentials);
            return NULL;
        }
        token = text_at(credentials, "access_token");
    }
    if (asprintf(&line, "Authorization: Bearer %s", token) < 0) {
        die(EXIT_FAILED, "out of memory");
    }
    json_decref(credentials);
    return line;
}

/* What was wrong with which field stands in a list. */
__attribute__((noreturn))
static void
die_problem(long status, const json_t *problem)
{
    const json_t *errors = json_object_get(problem, "errors"), *error;
    const char *detail = text_at(problem, "detail");
    int code = status == 401 ? EXIT_SIGN_IN : status == 404 ? EXIT_ABSENT
        : status >= 500 ? EXIT_UNREACHABLE : EXIT_FAILED;
    size_t i;

    if (json_array_size(errors) > 0) {
        json_array_foreach(errors, i, error) {
            complain("%s %s", text_at(error, "field"),
                text_at(error, "message"));
        }
        exit(code);
    }
    if (status == 401) {
        die(code, "the token is not good any more: hivectl login");
    }
    if (detail[0] == '\0') {
        die(code, "%s answered with status %ld", cli.url, status);
    }
    die(code, "%s", detail);
}

/* `patient`: NULL when there is no answer, or none that lasts. */
static json_t *
send_signed(int patient, const char *method, const json_t *body,
    const char *format, va_list args)
{
    char path[1024], *authorization = api_authorization();
    json_t *reply = NULL;
    long status = 0;

    vsnprintf(path, sizeof(path), format, args);
    if (authorization != NULL) {
        status = send_request(method, path, body, authorization, &reply);
        free(authorization);
    }
    if (patient && passes(status)) {
        json_decref(reply);
        return NULL;
    }
    if (status == 0) {
        die_unreachable();
    }
    if (status < 200 || status > 299) {
        die_problem(status, reply);
    }
    return reply;
}

json_t *
api(const char *method, const json_t *body, const char *format, ...)
{
    json_t *reply;
    va_list args;

    va_start(args, format);
    reply = send_signed(0, method, body, format, args);
    va_end(args);
    return reply;
}

json_t *
api_try(const char *format, ...)
{
    json_t *reply;
    va_list args;

    va_start(args, format);
    reply = send_signed(1, "GET", NULL, format, args);
    va_end(args);
    return reply;
}

json_t *
api_list(const char *format, ...)
{
    json_t *all = json_array(), *reply;
    char path[900], cursor[300] = "";
    const char *between;
    va_list args;

    va_start(args, format);
    vsnprintf(path, sizeof(path), format, args);
    va_end(args);
    between = strchr(path, '?') == NULL ? "?"
        : path[strlen(path) - 1] == '?' ? "" : "&";
    for (int page = 0; page < PAGES; page++) {
        reply = api("GET", NULL, "%s%slimit=" PAGE "%s%s", path, between,
            cursor[0] != '\0' ? "&cursor=" : "", cursor);
        json_array_extend(all, json_object_get(reply, "items"));
        snprintf(cursor, sizeof(cursor), "%s",
            api_escape(text_at(reply, "next_cursor")));
        json_decref(reply);
        if (cursor[0] == '\0') {
            return all;
        }
    }
    complain("these are the first %zu only", json_array_size(all));
    return all;
}
