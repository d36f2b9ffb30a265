/* operation.c: operations.def as data. */

#include "operation.h"

const operation_t operations[OPERATIONS] = {
#define OP(name, method, path, access, limit, flags) \
    { #name, METHOD_##method, path, access, limit, flags },
#include "operations.def"
#undef OP
};

/* Lengths of the names, in one or two cache lines: the search compares these
 * and looks at a name only when its length is right. */
static const unsigned char name_lengths[OPERATIONS] = {
#define OP(name, method, path, access, limit, flags) sizeof(#name) - 1,
#include "operations.def"
#undef OP
};

int
operation_find(slice_t name)
{
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (name_lengths[i] == name.len
            && memcmp(operations[i].name, name.data, name.len) == 0) {
            return (int) i;
        }
    }

    return -1;
}

const char *
method_name(method_t method)
{
    switch (method) {
    case METHOD_GET:
        return "GET";
    case METHOD_POST:
        return "POST";
    case METHOD_PUT:
        return "PUT";
    case METHOD_PATCH:
        return "PATCH";
    case METHOD_DELETE:
        return "DELETE";
    }

    return NULL;
}
