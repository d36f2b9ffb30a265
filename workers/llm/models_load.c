/* models_load.c: hive-worker --load-models FILE: a catalogue, as JSON, into
 * the database:
 *
 *     {"models": [{"id", "provider", "provider_model" (if another than the
 *         id), "display_name", "family", "context_tokens",
 *         "max_output_tokens", "capabilities": ["tools", ...], "status",
 *         "retires_at", "replacement",
 *         "prices": [{"effective_from", "above_tokens", "input", "output",
 *             "cache_read", "cache_write_5m", "cache_write_1h"}]}]}
 *
 * Prices are whole nano-USD per token: dollars per million tokens, times 1,000.
 * What is in the database and not in the file stays: the ledger may name it.
 * The file "-" is standard input. */

#include "internal.h"

#include <libpq-fe.h>

#include <stdio.h>
#include <stdlib.h>

static const char *const capabilities[] = { "tools", "vision", "thinking",
    "sampling", "json_schema", NULL };
static const char *const figures[] = { "input", "output", "cache_read",
    "cache_write_5m", "cache_write_1h", NULL };

typedef struct {
    const char *path;
    const char *id;             /* of the model in hand */
    unsigned faults;
} check_t;

static void
fault(check_t *check, const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", check->path, check->id, what);
    check->faults++;
}

static int
is_one_of(const json_t *json, const char *const *names)
{
    for (int i = 0; json_is_string(json) && names[i] != NULL; i++) {
        if (strcmp(json_string_value(json), names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* ---- what must hold ---- */

static void
check_members(check_t *check, const json_t *object,
    const char *const *known)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *) object, name, value) {
        json_t *text = json_string(name);

        if (!is_one_of(text, known)) {
            fprintf(stderr, "%s: %s: unknown member \"%s\"\n", check->path,
                check->id, name);
            check->faults++;
        }
        json_decref(text);
    }
}

/* Writing to a cache costs a quarter more than reading anew, or twice as much
 * for an hour: files of prices that circulate get this wrong. */
static void
check_caches(check_t *check, const json_t *price)
{
    json_int_t input = json_integer_value(json_object_get(price, "input"));
    json_int_t five = json_integer_value(json_object_get(price,
        "cache_write_5m"));
    json_int_t hour = json_integer_value(json_object_get(price,
        "cache_write_1h"));

    if (five != 0 && (five * 100 < input * 120 || five * 100 > input * 130)) {
        fault(check, "cache_write_5m is not about 1.25 times input");
    }
    if (hour != 0 && (hour * 100 < input * 190 || hour * 100 > input * 210)) {
        fault(check, "cache_write_1h is not about twice input");
    }
}

static void
check_price(check_t *check, const json_t *price)
{
    static const char *const known[] = { "effective_from", "above_tokens",
        "input", "output", "cache_read", "cache_write_5m", "cache_write_1h",
        NULL };

    check_members(check, price, known);
    for (int i = 0; figures[i] != NULL; i++) {
        const json_t *figure = json_object_get(price, figures[i]);

        if (!json_is_integer(figure) || json_integer_value(figure) < 0) {
            fault(check, "a price lacks a figure: each is a whole number of"
                " nano-USD per token");
            return;
        }
    }
    if (!json_is_string(json_object_get(price, "effective_from"))) {
        fault(check, "a price lacks effective_from");
    }
    check_caches(check, price);
}

/* Each moment needs a price for the shortest prompt. */
static void
check_tiers(check_t *check, const json_t *prices)
{
    json_t *price, *other;
    size_t i, k;

    json_array_foreach((json_t *) prices, i, price) {
        const json_t *from = json_object_get(price, "effective_from");
        int found = 0;

        json_array_foreach((json_t *) prices, k, other) {
            found |= json_equal(from, json_object_get(other,
                         "effective_from"))
                && json_integer_value(json_object_get(other,
                       "above_tokens")) == 0;
        }
        if (!found) {
            fault(check, "a price for long prompts has none for short ones"
                " beside it");
        }
    }
}

static void
check_model(check_t *check, const json_t *model)
{
    static const char *const known[] = { "id", "provider", "provider_model",
        "display_name", "family", "context_tokens", "max_output_tokens",
        "capabilities", "status", "retires_at", "replacement", "prices",
        NULL };
    static const char *const statuses[] = { "active", "deprecated",
        "retired", NULL };
    static const char *const texts[] = { "provider", "display_name",
        "family", NULL };
    const json_t *prices = json_object_get(model, "prices");
    const json_t *list = json_object_get(model, "capabilities");
    json_t *item;
    size_t i;

    check_members(check, model, known);
    for (int k = 0; texts[k] != NULL; k++) {
        if (!json_is_string(json_object_get(model, texts[k]))) {
            fault(check, "provider, display_name and family are required");
            break;
        }
    }
    if (json_integer_value(json_object_get(model, "context_tokens")) < 1
        || json_integer_value(json_object_get(model, "max_output_tokens"))
               < 1) {
        fault(check, "context_tokens and max_output_tokens are required");
    }
    if (!is_one_of(json_object_get(model, "status"), statuses)) {
        fault(check, "status must be active, deprecated or retired");
    }
    if (!json_is_array(list)) {
        fault(check, "capabilities must be an array");
    }
    json_array_foreach(list, i, item) {
        if (!is_one_of(item, capabilities)) {
            fault(check, "capabilities are tools, vision, thinking,"
                " sampling, json_schema");
        }
    }
    if (json_array_size(prices) == 0) {
        fault(check, "prices are required");
    }
    json_array_foreach(prices, i, item) {
        check_price(check, item);
    }
    check_tiers(check, prices);
}

/* Returns owned: the array of models; NULL after saying why. */
static json_t *
read_file(const char *path)
{
    check_t check = { path, "", 0 };
    json_error_t error;
    json_t *file = strcmp(path, "-") == 0
        ? json_loadf(stdin, JSON_REJECT_DUPLICATES, &error)
        : json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    json_t *models = json_object_get(file, "models"), *model;
    size_t i;

    if (file == NULL) {
        fprintf(stderr, "%s:%d: %s\n", path, error.line, error.text);
        return NULL;
    }
    if (!json_is_array(models)) {
        fprintf(stderr, "%s: there is no array \"models\"\n", path);
        json_decref(file);
        return NULL;
    }
    json_array_foreach(models, i, model) {
        const json_t *id = json_object_get(model, "id");

        check.id = json_is_string(id) ? json_string_value(id)
                                      : "a model without id";
        if (!json_is_string(id)) {
            fault(&check, "id is required");
        }
        check_model(&check, model);
    }
    json_incref(models);
    json_decref(file);
    if (check.faults > 0) {
        json_decref(models);
        return NULL;
    }
    return models;
}

/* ---- into the database ---- */

static PGresult *
run(PGconn *pg, const char *text, const char *parameter)
{
    PGresult *result = PQexecParams(pg, text, parameter != NULL ? 1 : 0,
        NULL, &parameter, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        fprintf(stderr, "hive-worker: the catalogue was not loaded: %s",
            PQerrorMessage(pg));
        PQclear(result);
        return NULL;
    }
    return result;
}

/* Nonzero when it was done. */
static int
done(PGconn *pg, const char *text)
{
    PGresult *result = run(pg, text, NULL);

    PQclear(result);
    return result != NULL;
}

static int
load_prices(PGconn *pg, const char *models)
{
    PGresult *result = run(pg, queries[Q_MODEL_PRICES_LOAD].text, models);
    int n = result != NULL ? PQntuples(result) : -1;

    for (int i = 0; i < n; i++) {
        fprintf(stderr, "hive-worker: %s has another price from %s on: a"
            " price is never changed, add one with a later effective_from\n",
            PQgetvalue(result, i, 0), PQgetvalue(result, i, 1));
    }
    PQclear(result);
    return n == 0;
}

static int
load(PGconn *pg, const char *models)
{
    PGresult *result;
    int n;

    if (!done(pg, "set search_path = hive") || !done(pg, "begin")) {
        return 0;
    }
    result = run(pg, queries[Q_MODELS_LOAD].text, models);
    if (result == NULL) {
        return 0;
    }
    n = PQntuples(result);
    PQclear(result);
    if (!load_prices(pg, models) || !done(pg, "commit")) {
        return 0;
    }
    printf("%d model%s new or changed\n", n, n == 1 ? "" : "s");
    return 1;
}

int
llm_load_models(const char *conninfo, const char *path)
{
    json_t *models = read_file(path);
    PGconn *pg;
    char *text;
    int good;

    if (models == NULL) {
        return 1;
    }
    text = json_dumps(models, JSON_COMPACT);
    json_decref(models);
    pg = PQconnectdb(conninfo);
    if (PQstatus(pg) != CONNECTION_OK) {
        fprintf(stderr, "hive-worker: database did not answer: %s",
            PQerrorMessage(pg));
        good = 0;
    } else {
        good = load(pg, text);
    }
    PQfinish(pg);
    free(text);
    return good && fflush(stdout) == 0 ? 0 : 1;
}
