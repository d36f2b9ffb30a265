/* route.h: from method and path to an operation.
 *
 * A trie over path segments: each node has its literal children sorted for
 * binary search and at most one parameter child, which is tried only when
 * no literal leads to a match. Built once at start, read-only afterwards. */

#ifndef HIVE_ROUTE_H
#define HIVE_ROUTE_H

#include "operation.h"

#define ROUTE_PARAMS_MAX 4
#define ROUTE_PATH_MAX   1024
#define ROUTE_SEGMENTS_MAX 16

typedef struct route_table_s route_table_t;

typedef enum {
    ROUTE_OK,
    ROUTE_NOT_FOUND,     /* no operation has this path */
    ROUTE_METHOD,        /* the path exists, not with this method: `allow` */
    ROUTE_BAD_ENCODING,  /* broken %XX, NUL, control byte or bad UTF-8 */
    ROUTE_BAD_UUID       /* a uuid parameter is not one: `bad_param` */
} route_status_t;

typedef struct {
    const operation_t *op;       /* only with ROUTE_OK */
    unsigned allow;              /* methods this path has (METHOD_* mask) */
    unsigned nparams;
    slice_t params[ROUTE_PARAMS_MAX];   /* decoded, in the path's order */
    const char *bad_param;       /* its name, with ROUTE_BAD_UUID */
    char scratch[ROUTE_PATH_MAX];/* decoded text that params point into */
} route_match_t;

/* Returns owned a table over `count` operations (borrowed for its life; those
 * that are internal have no path and are left out),
 * NULL when out of memory, when two of them claim the same method and path,
 * or when a path is not "/" followed by segments without gaps, at most
 * ROUTE_SEGMENTS_MAX of them and ROUTE_PARAMS_MAX parameters. */
route_table_t *route_table_new(const operation_t *ops, size_t count);
void route_table_free(route_table_t *table);

/* Matches the raw (still percent-encoded) path, without query. `method` is
 * one bit, or 0 for one we do not know (never ROUTE_OK or ROUTE_BAD_UUID).
 * Decodes each segment by itself, so %2F stays inside its segment. No
 * trailing-slash or dot-segment forgiveness: neither an empty segment nor
 * "." or ".." (encoded or not) is ever a parameter. Of several faults the
 * first of this order is told: too long, encoding, path, method, uuid. `out`
 * is written in all cases; params are valid while `path` and `out` live and
 * `out` is not moved. Paths longer than ROUTE_PATH_MAX are ROUTE_NOT_FOUND. */
route_status_t route_match(const route_table_t *table, unsigned method,
    const char *path, size_t len, route_match_t *out);

#endif
