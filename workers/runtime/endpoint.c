/* endpoint.c: the addresses of worker processes. */

#include "endpoint.h"

#include "log.h"

#include <zmq.h>

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define IPC "ipc://"
#define TCP "tcp://"

static mode_t access_mode = 0600;
static gid_t access_group = (gid_t) -1;

static int
begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int
format_ipc(char *out, const char *base, unsigned slot, unsigned side,
    endpoint_kind_t kind)
{
    int n = snprintf(out, ENDPOINT_MAX, "%s.%u%c%s", base, slot,
        side == 0 ? 'a' : 'b', kind == ENDPOINT_EVENTS ? ".events" : "");
    size_t path_max = sizeof(((struct sockaddr_un *) 0)->sun_path) - 1;

    if (n < 0 || (size_t) n >= ENDPOINT_MAX
        || (size_t) n - strlen(IPC) > path_max) {
        return -1;
    }

    return 0;
}

static int
format_tcp(char *out, const char *base, unsigned slot, unsigned side,
    endpoint_kind_t kind)
{
    const char *colon = strrchr(base, ':');
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    int n;

    if (end == colon + 1 || *end != '\0' || colon == base + strlen("tcp")) {
        return -1;
    }

    port += 4ul * slot + 2ul * side + (kind == ENDPOINT_EVENTS);
    n = snprintf(out, ENDPOINT_MAX, "%.*s:%lu", (int) (colon - base), base,
        port);

    return n < 0 || n >= ENDPOINT_MAX || port == 0 || port > 65535 ? -1 : 0;
}

int
endpoint_format(char out[ENDPOINT_MAX], const char *base, unsigned slot,
    unsigned side, endpoint_kind_t kind)
{
    if (begins_with(base, IPC)) {
        return format_ipc(out, base, slot, side, kind);
    }
    if (begins_with(base, TCP)) {
        return format_tcp(out, base, slot, side, kind);
    }

    return -1;
}

int
endpoint_set_access(mode_t mode, const char *group)
{
    access_mode = mode;
    access_group = (gid_t) -1;

    if (group != NULL && group[0] != '\0') {
        struct group *entry = getgrnam(group);

        if (entry == NULL) {
            return -1;
        }
        access_group = entry->gr_gid;
    }

    return 0;
}

int
endpoint_bind(void *socket, const char *endpoint)
{
    const char *path = endpoint + strlen(IPC);
    mode_t mask;
    int rc;

    if (!begins_with(endpoint, IPC)) {
        return zmq_bind(socket, endpoint) == 0 ? 0 : -zmq_errno();
    }

    /* Nobody gets in before the group is set: until then it is ours. */
    mask = umask(0177);
    rc = zmq_bind(socket, endpoint);
    umask(mask);
    if (rc != 0) {
        return -zmq_errno();
    }

    if (access_group != (gid_t) -1 && chown(path, (uid_t) -1, access_group)) {
        log_error("changing the group of %s failed: %s", path,
            strerror(errno));
        return -errno;
    }
    if (chmod(path, access_mode) != 0) {
        log_error("changing the mode of %s failed: %s", path,
            strerror(errno));
        return -errno;
    }

    return 0;
}
