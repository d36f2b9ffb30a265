/* resource_compose.h: what the composers of lists share. */

#ifndef HIVE_RESOURCE_COMPOSE_H
#define HIVE_RESOURCE_COMPOSE_H

#include "resource_parts.h"

/* Parameters in the order in which they are first named. */
typedef struct {
    const list_t *list;
    buf_t *text;
    value_t *values;
    size_t count;
    size_t limit;               /* the limit's number, 0 before it has one */
    const char *table;
    int named;                  /* rows have what is shown, by its name */
} composing_t;

/* The number of the parameter. */
size_t add_value(composing_t *composing, value_t value);

/* " and ...", over alias t. */
void compose_filter(composing_t *composing, const filter_t *filter);
void compose_search(composing_t *composing);

#endif
