/* credentials.c: tokens by address, in ~/.config/hive/credentials.json, mode
 * 0600, replaced whole. */

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *
credentials_path(void)
{
    static char path[PATH_MAX];
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

    if (config != NULL && config[0] == '/') {
        snprintf(path, sizeof(path), "%s/hive/credentials.json", config);
    } else {
        snprintf(path, sizeof(path), "%s/.config/hive/credentials.json",
            home != NULL ? home : "");
    }
    return path;
}

/* Returns owned: all of them. */
static json_t *
load_all(void)
{
    json_t *all = json_load_file(credentials_path(), 0, NULL);

    if (!json_is_object(all)) {
        json_decref(all);
        all = json_object();
    }
    return all;
}

json_t *
credentials_load(void)
{
    json_t *all = load_all();
    json_t *found = json_incref(json_object_get(all, cli.url));

    json_decref(all);
    return found;
}

static void
make_folders(char *path)
{
    for (char *at = strchr(path + 1, '/'); at != NULL;
        at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            die(EXIT_FAILED, "cannot make %s: %s", path, strerror(errno));
        }
        *at = '/';
    }
}

void
credentials_store(const json_t *credentials)
{
    json_t *all = load_all();
    char path[PATH_MAX], new[PATH_MAX + 8];
    FILE *file;
    int fd;

    snprintf(path, sizeof(path), "%s", credentials_path());
    snprintf(new, sizeof(new), "%s.%d", path, (int) getpid());
    if (credentials != NULL) {
        json_object_set(all, cli.url, (json_t *) credentials);
    } else {
        json_object_del(all, cli.url);
    }
    make_folders(path);
    fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    file = fd < 0 ? NULL : fdopen(fd, "w");
    if (file == NULL || json_dumpf(all, file, JSON_INDENT(2)) != 0
        || fclose(file) != 0 || rename(new, path) != 0) {
        unlink(new);
        die(EXIT_FAILED, "cannot keep the token in %s: %s", path,
            strerror(errno));
    }
    json_decref(all);
}
