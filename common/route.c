/* route.c: from method and path to an operation.
 *
 * The path is first taken apart into segments, each decoded by itself; what
 * is broken is found here, once, whatever the trie would have said. Then the
 * trie is walked: a node tries the literal child of that text, and its
 * parameter child only when nothing was found below the literal. A node is
 * reached by one sequence of choices, so a match visits each at most once.
 *
 * What a parameter is called and whether it must be a uuid belongs to the
 * operation, not to the node: it is checked last, when path and method are
 * known to be right. */

#include "route.h"

#include "percent.h"
#include "utf8.h"
#include "uuid.h"

#include <stdlib.h>

#define METHODS 5

typedef struct {
    char *name;         /* owned */
    int uuid;           /* must be one */
} param_t;

typedef struct {
    const operation_t *op;      /* NULL: the path has no such method */
    unsigned nparams;
    param_t params[ROUTE_PARAMS_MAX];
} target_t;

typedef struct node_s node_t;

typedef struct {
    slice_t text;               /* points into operation_t.path */
    node_t *node;
} literal_t;

struct node_s {
    unsigned allow;             /* methods that have a target */
    target_t *targets;          /* METHODS of them, or NULL */
    literal_t *literals;        /* sorted by literal_compare */
    size_t nliterals;
    node_t *param;
};

struct route_table_s {
    node_t root;
};

static void
node_release(node_t *node)
{
    for (size_t i = 0; node->targets != NULL && i < METHODS; i++) {
        for (size_t k = 0; k < ROUTE_PARAMS_MAX; k++) {
            free(node->targets[i].params[k].name);
        }
    }
    free(node->targets);

    for (size_t i = 0; i < node->nliterals; i++) {
        node_release(node->literals[i].node);
        free(node->literals[i].node);
    }
    free(node->literals);

    if (node->param != NULL) {
        node_release(node->param);
        free(node->param);
    }
}

/* Any total order will do; by length first is the cheapest. */
static int
literal_compare(slice_t a, slice_t b)
{
    if (a.len != b.len) {
        return a.len < b.len ? -1 : 1;
    }
    return a.len == 0 ? 0 : memcmp(a.data, b.data, a.len);
}

/* The index of `text` among the literals, or of where it belongs, with
 * *found telling which. */
static size_t
literal_index(const node_t *node, slice_t text, int *found)
{
    size_t low = 0;
    size_t high = node->nliterals;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = literal_compare(text, node->literals[middle].text);

        if (order == 0) {
            *found = 1;
            return middle;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }

    *found = 0;
    return low;
}

static node_t *
literal_child(node_t *node, slice_t text)
{
    int found;
    size_t at = literal_index(node, text, &found);
    literal_t *grown;
    node_t *child;

    if (found) {
        return node->literals[at].node;
    }

    grown = realloc(node->literals,
                    (node->nliterals + 1) * sizeof(*grown));
    if (grown == NULL) {
        return NULL;
    }
    node->literals = grown;

    child = calloc(1, sizeof(*child));
    if (child == NULL) {
        return NULL;
    }

    memmove(grown + at + 1, grown + at,
            (node->nliterals - at) * sizeof(*grown));
    grown[at].text = text;
    grown[at].node = child;
    node->nliterals++;
    return child;
}

static node_t *
param_child(node_t *node)
{
    if (node->param == NULL) {
        node->param = calloc(1, sizeof(*node->param));
    }
    return node->param;
}

/* Reads "{name}" or "{name:uuid}". */
static int
target_add_param(target_t *target, slice_t segment)
{
    static const char suffix[] = ":uuid}";
    size_t tail = sizeof(suffix) - 1;
    param_t *param = &target->params[target->nparams];

    if (target->nparams == ROUTE_PARAMS_MAX || segment.len < 3
        || segment.data[segment.len - 1] != '}') {
        return -1;
    }

    param->uuid = segment.len > tail + 1
                  && memcmp(segment.data + segment.len - tail, suffix,
                            tail) == 0;
    param->name = strndup(segment.data + 1,
                          segment.len - 1 - (param->uuid ? tail : 1));
    if (param->name == NULL) {
        return -1;
    }

    target->nparams++;
    return 0;
}

static unsigned
method_index(unsigned method)
{
    return (unsigned) __builtin_ctz(method);
}

/* Hands `target` to the node; on failure it stays the caller's. */
static int
node_set_target(node_t *node, const target_t *target)
{
    unsigned method = target->op->method;

    if (node->targets == NULL) {
        node->targets = calloc(METHODS, sizeof(*node->targets));
        if (node->targets == NULL) {
            return -1;
        }
    }
    if (method_name(target->op->method) == NULL || (node->allow & method)) {
        return -1;
    }

    node->targets[method_index(method)] = *target;
    node->allow |= method;
    return 0;
}

static int
table_add(route_table_t *table, const operation_t *op)
{
    target_t target = { .op = op };
    node_t *node = &table->root;
    const char *p = op->path;
    unsigned segments = 0;

    if (*p != '/') {
        return -1;
    }

    while (node != NULL && *p != '\0' && p[1] != '\0') {
        slice_t segment = { p + 1, strcspn(p + 1, "/") };

        p += 1 + segment.len;

        if (segment.len == 0 || segments++ == ROUTE_SEGMENTS_MAX) {
            node = NULL;
        } else if (segment.data[0] != '{') {
            node = literal_child(node, segment);
        } else if (target_add_param(&target, segment) == 0) {
            node = param_child(node);
        } else {
            node = NULL;
        }
    }

    if (node != NULL && (p == op->path || *p == '\0')
        && node_set_target(node, &target) == 0) {
        return 0;
    }

    for (unsigned i = 0; i < target.nparams; i++) {
        free(target.params[i].name);
    }
    return -1;
}

route_table_t *
route_table_new(const operation_t *ops, size_t count)
{
    route_table_t *table = calloc(1, sizeof(*table));

    if (table == NULL) {
        return NULL;
    }

    for (size_t i = 0; i < count; i++) {
        if (ops[i].flags & OP_INTERNAL) {
            continue;
        }
        if (table_add(table, &ops[i]) != 0) {
            route_table_free(table);
            return NULL;
        }
    }

    return table;
}

void
route_table_free(route_table_t *table)
{
    if (table != NULL) {
        node_release(&table->root);
        free(table);
    }
}

/* A path taken apart. */
typedef struct {
    slice_t segments[ROUTE_SEGMENTS_MAX];
    unsigned count;
    int impossible;     /* well-formed, but no operation can have it */
} split_t;

/* What a first look at a segment's bytes tells. */
static int
is_plain(slice_t segment)
{
    unsigned char special = 0;

    for (size_t i = 0; i < segment.len; i++) {
        unsigned char c = (unsigned char) segment.data[i];
        special |= (unsigned char) ((c < 0x20) | (c >= 0x7f) | (c == '%'));
    }

    return !special;
}

static int
has_control(slice_t text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char) text.data[i];
        if (c < 0x20 || c == 0x7f) {
            return 1;
        }
    }
    return 0;
}

/* Decodes a segment that is not plain into *scratch, which moves on. */
static int
segment_decode(slice_t *segment, char **scratch)
{
    ssize_t len = percent_decode(segment->data, segment->len, *scratch);

    if (len < 0) {
        return -1;
    }

    segment->data = *scratch;
    segment->len = (size_t) len;
    *scratch += len;

    return has_control(*segment) || !utf8_valid(segment->data, segment->len)
           ? -1 : 0;
}

static int
is_dots(slice_t s)
{
    return (s.len == 1 && s.data[0] == '.')
           || (s.len == 2 && s.data[0] == '.' && s.data[1] == '.');
}

/* 0, or -1 when the encoding is broken anywhere. */
static int
path_split(const char *path, size_t len, split_t *split, char *scratch)
{
    const char *p = path;
    const char *end = path + len;

    split->count = 0;
    split->impossible = len == 0 || *path != '/';

    while (p < end) {
        const char *slash;
        slice_t segment;

        p += *p == '/';
        slash = memchr(p, '/', (size_t) (end - p));
        segment.data = p;
        segment.len = (size_t) ((slash != NULL ? slash : end) - p);
        p += segment.len;

        if (!is_plain(segment) && segment_decode(&segment, &scratch) != 0) {
            return -1;
        }

        if (segment.len == 0 || is_dots(segment)
            || split->count == ROUTE_SEGMENTS_MAX) {
            /* "/" alone is the root; elsewhere nothing is empty. */
            split->impossible |= len != 1;
        } else {
            split->segments[split->count++] = segment;
        }
    }

    return 0;
}

/* The node of segments[at..], with the parameters met on the way. */
static const node_t *
node_find(const node_t *node, const split_t *split, unsigned at,
    unsigned nparams, route_match_t *out)
{
    const node_t *match;
    size_t i;
    int found;

    if (at == split->count) {
        out->nparams = nparams;
        return node->allow != 0 ? node : NULL;
    }

    i = literal_index(node, split->segments[at], &found);
    if (found) {
        match = node_find(node->literals[i].node, split, at + 1, nparams,
                          out);
        if (match != NULL) {
            return match;
        }
    }

    if (node->param == NULL) {
        return NULL;
    }

    out->params[nparams] = split->segments[at];
    return node_find(node->param, split, at + 1, nparams + 1, out);
}

static route_status_t
target_check(const target_t *target, route_match_t *out)
{
    hive_uuid_t ignored;

    for (unsigned i = 0; i < target->nparams; i++) {
        if (target->params[i].uuid
            && uuid_parse(out->params[i].data, out->params[i].len,
                          &ignored) != 0) {
            out->bad_param = target->params[i].name;
            return ROUTE_BAD_UUID;
        }
    }

    out->op = target->op;
    return ROUTE_OK;
}

route_status_t
route_match(const route_table_t *table, unsigned method, const char *path,
    size_t len, route_match_t *out)
{
    const node_t *node;
    split_t split;

    out->op = NULL;
    out->allow = 0;
    out->nparams = 0;
    out->bad_param = NULL;

    if (len > ROUTE_PATH_MAX) {
        return ROUTE_NOT_FOUND;
    }
    if (path_split(path, len, &split, out->scratch) != 0) {
        return ROUTE_BAD_ENCODING;
    }
    if (split.impossible) {
        return ROUTE_NOT_FOUND;
    }

    node = node_find(&table->root, &split, 0, 0, out);
    if (node == NULL) {
        out->nparams = 0;
        return ROUTE_NOT_FOUND;
    }

    out->allow = node->allow;
    if ((node->allow & method) == 0) {
        return ROUTE_METHOD;
    }

    return target_check(&node->targets[method_index(method)], out);
}
