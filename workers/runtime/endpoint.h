/* endpoint.h: the addresses of worker processes.
 *
 * From a base endpoint B, slot s and side a or b: `B.<s><side>` is the ROUTER
 * and `B.<s><side>.events` the PUB socket; for tcp://host:port they are ports
 * port + 4s + 2*side and the one above. Of a slot one side serves; a reload
 * starts the other and then drains the first. */

#ifndef HIVE_ENDPOINT_H
#define HIVE_ENDPOINT_H

#include <stddef.h>
#include <sys/types.h>

#define ENDPOINT_MAX 160

typedef enum { ENDPOINT_REQUESTS, ENDPOINT_EVENTS } endpoint_kind_t;

/* `side` is 0 or 1. 0, or -1 when the base is not ipc:// or tcp:// with a
 * port, or the result is too long for a socket address. */
int endpoint_format(char out[ENDPOINT_MAX], const char *base, unsigned slot,
    unsigned side, endpoint_kind_t kind);

/* Mode and group that ipc sockets bound from now on get; group NULL or ""
 * leaves it. 0, or -1 when there is no such group. */
int endpoint_set_access(mode_t mode, const char *group);

/* zmq_bind, with the access set above from the first moment on. 0 or negative
 * errno. */
int endpoint_bind(void *socket, const char *endpoint);

#endif
