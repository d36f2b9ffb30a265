/* route_fuzz.c: any path is matched without leaving it, and what it means
 * stays the same when every byte of it is percent-encoded. The first byte of
 * the input chooses the method. */

#include "common/percent.h"
#include "common/route.h"
#include "common/utf8.h"
#include "common/uuid.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const operation_t more[] = {
    { "a", METHOD_GET, "/a/{x}", ACCESS_OPEN, LIMIT_READ, 0 },
    { "b", METHOD_GET, "/a/{x}/b/{y:uuid}", ACCESS_OPEN, LIMIT_READ, 0 },
    { "c", METHOD_PUT, "/a/c/b/{y}", ACCESS_OPEN, LIMIT_READ, 0 },
    { "d", METHOD_GET, "/{p}/{q}/{r}/{s}", ACCESS_OPEN, LIMIT_READ, 0 },
    { "e", METHOD_GET, "/", ACCESS_OPEN, LIMIT_READ, 0 },
};

#define CHECK(condition) \
    do {                 \
        if (!(condition)) { \
            abort();     \
        }                \
    } while (0)

static void
check_match(const route_match_t *m, route_status_t status, unsigned method)
{
    hive_uuid_t uuid;

    CHECK((status == ROUTE_OK) == (m->op != NULL));
    CHECK((status == ROUTE_BAD_UUID) == (m->bad_param != NULL));
    CHECK(status != ROUTE_METHOD || (m->allow & method) == 0);
    CHECK(m->nparams <= ROUTE_PARAMS_MAX);
    if (status != ROUTE_OK) {
        return;
    }

    CHECK(m->op->method == method && (m->allow & method));
    for (unsigned i = 0; i < m->nparams; i++) {
        CHECK(m->params[i].len > 0);
        CHECK(utf8_valid(m->params[i].data, m->params[i].len));
        CHECK(memchr(m->params[i].data, '\0', m->params[i].len) == NULL);
    }
    if (m->nparams == 1 && strstr(m->op->path, ":uuid}") != NULL) {
        CHECK(uuid_parse(m->params[0].data, m->params[0].len, &uuid) == 0);
    }
}

/* Encodes all but the slashes and what is encoded already. */
static size_t
encode_path(const char *path, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    char *p = out;

    for (size_t i = 0; i < len; i++) {
        if (path[i] == '/' || path[i] == '%') {
            *p++ = path[i];
            if (path[i] == '%') {
                *p++ = path[++i];
                *p++ = path[++i];
            }
            continue;
        }
        *p++ = '%';
        *p++ = digits[(unsigned char) path[i] >> 4];
        *p++ = digits[path[i] & 15];
    }
    return (size_t) (p - out);
}

static void
run(const route_table_t *table, unsigned method, const char *path,
    size_t len)
{
    static char encoded[3 * ROUTE_PATH_MAX];
    static route_match_t m, m2;
    route_status_t status = route_match(table, method, path, len, &m);

    check_match(&m, status, method);
    if (status == ROUTE_BAD_ENCODING || len > ROUTE_PATH_MAX) {
        return;
    }

    len = encode_path(path, len, encoded);
    if (len > ROUTE_PATH_MAX || *encoded != '/') {
        return;
    }
    CHECK(route_match(table, method, encoded, len, &m2) == status);
    CHECK(m2.op == m.op && m2.allow == m.allow && m2.nparams == m.nparams);
    for (unsigned i = 0; status == ROUTE_OK && i < m.nparams; i++) {
        CHECK(slice_equal(m.params[i], m2.params[i]));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static route_table_t *tables[2];
    char *path;

    if (tables[0] == NULL) {
        tables[0] = route_table_new(operations, OPERATIONS);
        tables[1] = route_table_new(more, sizeof(more) / sizeof(more[0]));
        CHECK(tables[0] != NULL && tables[1] != NULL);
    }
    if (size == 0) {
        return 0;
    }

    /* The path in its own allocation: no byte before or behind it. */
    path = malloc(size);
    memcpy(path, data + 1, size - 1);
    for (int i = 0; i < 2; i++) {
        run(tables[i], 1u << (data[0] % 6) & 31, path, size - 1);
    }
    free(path);
    return 0;
}
