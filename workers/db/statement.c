/* statement.c: statements, their names on the server, what they take and
 * return.
 *
 * A statement has a slot, the same on every connection, and a generation,
 * which is part of its name there. A connection remembers per slot which
 * generation it has prepared, so a slot taken over by another text, or one
 * whose result type changed with the schema, is prepared anew by everyone
 * without anyone being told.
 *
 * Slots: first the layer's own, then the named ones, then a fixed number for
 * composed texts, of which the least recently used goes when all are taken. */

#include "internal.h"

#include "workers/runtime/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define COMPOSED_MAX 512
#define BUCKETS 1024

static const query_t own_statements[STATEMENTS_OWN] = {
    [STATEMENT_BEGIN] = { "begin", "begin", 0 },
    [STATEMENT_COMMIT] = { "commit", "commit", 0 },
    [STATEMENT_ROLLBACK] = { "rollback", "rollback", 0 },
    /* Newest change of the project that has change $1, else of any; and
     * whether $1 is deployed. */
    [STATEMENT_VERSION] = { "schema_version",
        "select c.change, exists (select from sqitch.changes e"
        " where e.change = $1) as deployed from sqitch.changes c"
        " where c.project = coalesce((select project from sqitch.changes"
        " where change = $1 order by committed_at desc limit 1), c.project)"
        " order by c.committed_at desc limit 1", 1 }
};

static struct {
    statement_t *all;
    unsigned nfixed;             /* own and named */
    unsigned nnamed;
    unsigned ncomposed;
    statement_t *buckets[BUCKETS];
    TAILQ_HEAD(recent_s, statement_s) recent; /* composed, latest first */
} registry;

void
statement_renew(statement_t *statement)
{
    statement->generation++;
    snprintf(statement->name, sizeof(statement->name), "s%u_%u",
             statement->slot, statement->generation);
}

static void
statement_set(statement_t *statement, const char *label, const char *text,
    size_t len)
{
    statement->label = label;
    statement->text = malloc(len + 1);
    if (statement->text == NULL) {
        abort();
    }
    memcpy(statement->text, text, len);
    statement->text[len] = '\0';
    statement->text_len = len;
    statement->described = 0;
    statement_renew(statement);
}

int
statements_init(const query_t *named, unsigned count)
{
    unsigned slots, i;

    registry.nnamed = count;
    registry.nfixed = STATEMENTS_OWN + count;
    registry.ncomposed = 0;
    slots = registry.nfixed + COMPOSED_MAX;
    registry.all = calloc(slots, sizeof(statement_t));
    if (registry.all == NULL) {
        return -1;
    }
    memset(registry.buckets, 0, sizeof(registry.buckets));
    TAILQ_INIT(&registry.recent);
    for (i = 0; i < slots; i++) {
        registry.all[i].slot = i;
    }
    for (i = 0; i < registry.nfixed; i++) {
        const query_t *query = i < STATEMENTS_OWN
            ? &own_statements[i] : &named[i - STATEMENTS_OWN];

        statement_set(&registry.all[i], query->name, query->text,
                      strlen(query->text));
    }
    return 0;
}

static void
statement_clear(statement_t *statement)
{
    free(statement->text);
    free(statement->params);
    shape_release(statement->shape);
    statement->text = NULL;
    statement->params = NULL;
    statement->shape = NULL;
    statement->nparams = 0;
    statement->described = 0;
}

void
statements_free(void)
{
    unsigned i;

    if (registry.all == NULL) {
        return;
    }
    for (i = 0; i < statements_slots(); i++) {
        statement_clear(&registry.all[i]);
    }
    free(registry.all);
    registry.all = NULL;
}

unsigned
statements_slots(void)
{
    return registry.nfixed + COMPOSED_MAX;
}

statement_t *
statement_own(unsigned which)
{
    return &registry.all[which];
}

statement_t *
statement_named(unsigned index)
{
    assert(index < registry.nnamed);
    return &registry.all[STATEMENTS_OWN + index];
}

unsigned
statements_named(void)
{
    return registry.nnamed;
}

/* Texts come from column tables, so nobody chooses them to collide. */
static uint64_t
hash_text(slice_t text)
{
    uint64_t hash = text.len * UINT64_C(0x9e3779b97f4a7c15), word;
    size_t i;

    for (i = 0; i + 8 <= text.len; i += 8) {
        memcpy(&word, text.data + i, 8);
        hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    if (i < text.len) {
        word = 0;
        memcpy(&word, text.data + i, text.len - i);
        hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    return hash;
}

static void
unchain(statement_t *statement)
{
    statement_t **at = &registry.buckets[statement->hash % BUCKETS];

    while (*at != statement) {
        at = &(*at)->chain;
    }
    *at = statement->chain;
    TAILQ_REMOVE(&registry.recent, statement, recent);
}

/* A slot never used, or that of the least recently used text at rest. */
static statement_t *
composed_slot(void)
{
    statement_t *statement;

    if (registry.ncomposed < COMPOSED_MAX) {
        return &registry.all[registry.nfixed + registry.ncomposed++];
    }
    TAILQ_FOREACH_REVERSE(statement, &registry.recent, recent_s, recent) {
        if (statement->calls == 0) {
            unchain(statement);
            statement_clear(statement);
            return statement;
        }
    }
    return NULL;
}

statement_t *
statement_composed(slice_t text)
{
    uint64_t hash = hash_text(text);
    statement_t *statement;

    for (statement = registry.buckets[hash % BUCKETS]; statement != NULL;
         statement = statement->chain) {
        if (statement->hash == hash && statement->text_len == text.len
            && memcmp(statement->text, text.data, text.len) == 0) {
            if (statement != TAILQ_FIRST(&registry.recent)) {
                TAILQ_REMOVE(&registry.recent, statement, recent);
                TAILQ_INSERT_HEAD(&registry.recent, statement, recent);
            }
            return statement;
        }
    }
    statement = composed_slot();
    if (statement == NULL) {
        return NULL;
    }
    statement_set(statement, NULL, text.data, text.len);
    statement->label = statement->text;  /* has no values in it */
    statement->hash = hash;
    statement->chain = registry.buckets[hash % BUCKETS];
    registry.buckets[hash % BUCKETS] = statement;
    TAILQ_INSERT_HEAD(&registry.recent, statement, recent);
    return statement;
}

/* ---- shapes ---- */

void
shape_release(shape_t *shape)
{
    if (shape != NULL && --shape->refs == 0) {
        free(shape);
    }
}

/* `,"name":`, escaped once for all rows; nothing for "_name". */
static char *
key_write(char *at, db_column_t *column)
{
    const char *c = column->name;

    if (*c == '_') {
        column->key = SLICE_NONE;
        return at;
    }
    column->key.data = at;
    *at++ = ',';
    *at++ = '"';
    for (; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            *at++ = '\\';
        }
        *at++ = *c;
    }
    *at++ = '"';
    *at++ = ':';
    column->key.len = (size_t) (at - column->key.data);
    return at;
}

/* One block: the columns, then the bytes of names and keys. */
static shape_t *
shape_new(const PGresult *result, char *why, size_t size)
{
    int n = PQnfields(result), i;
    size_t head = sizeof(shape_t) + (size_t) n * sizeof(db_column_t);
    size_t bytes = 0;
    shape_t *shape;
    char *at;

    for (i = 0; i < n; i++) {
        bytes += 3 * strlen(PQfname(result, i)) + 5;
    }
    shape = malloc(head + bytes);
    if (shape == NULL) {
        abort();
    }
    shape->refs = 1;
    shape->ncolumns = n;
    at = (char *) shape + head;
    for (i = 0; i < n; i++) {
        db_column_t *column = &shape->columns[i];
        const char *name = PQfname(result, i);
        size_t len = strlen(name) + 1;

        column->oid = PQftype(result, i);
        if (column_type(column->oid, &column->type) != 0) {
            snprintf(why, size, "column \"%s\" has a type (oid %u) that is"
                     " not read here: cast it", name, column->oid);
            free(shape);
            return NULL;
        }
        column->name = memcpy(at, name, len);
        at = key_write(at + len, column);
    }
    return shape;
}

static int
shape_matches(const shape_t *shape, const PGresult *result)
{
    int i;

    if (PQnfields(result) != shape->ncolumns) {
        return 0;
    }
    for (i = 0; i < shape->ncolumns; i++) {
        if (PQftype(result, i) != shape->columns[i].oid) {
            return 0;
        }
    }
    return 1;
}

shape_t *
statement_shape(statement_t *statement, const PGresult *result, char *why,
    size_t size)
{
    shape_t *shape = statement->shape;

    if (shape == NULL || !shape_matches(shape, result)) {
        shape = shape_new(result, why, size);
        if (shape == NULL) {
            return NULL;
        }
        shape_release(statement->shape);
        statement->shape = shape;
    }
    shape->refs++;
    return shape;
}

int
statement_describe(statement_t *statement, const PGresult *described,
    char *why, size_t size)
{
    int n = PQnparams(described), i;
    shape_t *shape = shape_new(described, why, size);
    uint32_t *params;

    if (shape == NULL) {
        return -1;
    }
    params = malloc(((size_t) n + 1) * sizeof(*params));
    if (params == NULL) {
        abort();
    }
    for (i = 0; i < n; i++) {
        params[i] = PQparamtype(described, i);
    }
    free(statement->params);
    shape_release(statement->shape);
    statement->params = params;
    statement->nparams = n;
    statement->shape = shape;
    statement->described = 1;
    return 0;
}
