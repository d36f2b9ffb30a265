/* operation.h: operations.def as data. */

#ifndef HIVE_OPERATION_H
#define HIVE_OPERATION_H

#include "slice.h"

/* Methods are bits, so that a set of them is a mask. */
typedef enum {
    METHOD_GET = 1 << 0,
    METHOD_POST = 1 << 1,
    METHOD_PUT = 1 << 2,
    METHOD_PATCH = 1 << 3,
    METHOD_DELETE = 1 << 4
} method_t;

typedef enum { ACCESS_OPEN, ACCESS_USER, ACCESS_ADMIN } access_t;

typedef enum { LIMIT_READ, LIMIT_WRITE, LIMIT_AUTH, LIMIT_CLASSES } limit_t;

#define OP_NGINX      0x01u
#define OP_STREAM     0x02u
#define OP_REPEATABLE 0x04u
#define OP_SECRET     0x08u
#define OP_INTERNAL   0x10u
#define BODY_KB(n)    ((unsigned) (n) << 8)

typedef struct {
    const char *name;
    method_t method;
    const char *path;
    access_t access;
    limit_t limit;
    unsigned flags;
} operation_t;

/* OPERATION_health, OPERATION_project_get, ...: index into operations[]. */
typedef enum {
#define OP(name, method, path, access, limit, flags) OPERATION_##name,
#include "operations.def"
#undef OP
    OPERATIONS
} operation_id_t;

extern const operation_t operations[OPERATIONS];

/* Largest body in bytes; 0: the operation takes none. */
static inline size_t
operation_body_max(const operation_t *op)
{
    return (size_t) (op->flags >> 8) * 1024;
}

/* Nonzero when a request may be sent to a second worker although the first
 * may have executed it: safe methods and those marked repeatable. */
static inline int
operation_repeatable(const operation_t *op)
{
    return op->method == METHOD_GET || (op->flags & OP_REPEATABLE);
}

/* Returns the index of the operation of that name, or -1. */
int operation_find(slice_t name);

/* Returns "GET", "POST", ...; NULL for anything but one method bit. */
const char *method_name(method_t method);

#endif
