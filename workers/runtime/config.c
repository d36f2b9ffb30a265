/* config.c: collects the values of a configuration from its sources.
 *
 * libinih does the lines. It tells no line numbers in Debian's build and cuts
 * lines silently at its buffer, so it reads through read_line here, which
 * counts, and complains of what would be cut. */

#include "config.h"

#include "config_value.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define FILE_SUFFIX "_file"
#define VALUE_FILE_MAX (64 * 1024)

extern char **environ;

/* A value as it was found. */
typedef struct {
    const char *text;           /* the value, or the path of its file */
    const char *where;          /* "worker.ini:7", "HIVE_LOG_LEVEL" */
    int in_file;                /* K_file form */
    int from_environment;
} found_t;

typedef struct {
    arena_t *arena;
    const config_schema_t *schema;
    const char *path;
    FILE *file;
    found_t *found;             /* one for each key of the schema */
    buf_t errors;
    unsigned line;
    int indented;
    found_t *last;              /* what a continued line goes to */
} loader_t;

__attribute__((format(printf, 3, 4))) static void
complain(loader_t *loader, const char *where, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_printf(&loader->errors, "%s: %s\n", where,
        arena_vprintf(loader->arena, format, args));
    va_end(args);
}

static const char *
here(loader_t *loader)
{
    return arena_printf(loader->arena, "%s:%u", loader->path, loader->line);
}

/* ---- names ---- */

/* Edits between two names (Levenshtein). */
static unsigned
distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t alen = strlen(a), blen = strlen(b), i, j;

    if (alen >= 64 || blen >= 64) {
        return UINT32_MAX;
    }
    for (j = 0; j <= blen; j++) {
        row[j] = (unsigned) j;
    }
    for (i = 1; i <= alen; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned) i;
        for (j = 1; j <= blen; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[blen];
}

/* ", did you mean ...?", or "". A key that another section has is nearest. */
static const char *
suggestion(loader_t *loader, const char *section, const char *name)
{
    unsigned nearest = (unsigned) strlen(name) / 3 + 2;
    const config_key_t *best = NULL;
    unsigned i;

    for (i = 0; i < loader->schema->nkeys; i++) {
        const config_key_t *key = &loader->schema->keys[i];
        int same = strcmp(key->section, section) == 0;
        unsigned edits = distance(name, key->key);

        if (edits < nearest && (same || edits == 0)) {
            nearest = edits;
            best = key;
        }
    }
    if (best == NULL) {
        return "";
    }
    return arena_printf(loader->arena, ", did you mean \"%s\" in [%s]?",
        best->key, best->section);
}

/* Length of `name` without its _file, when it is the file form of `key`. */
static int
names_key(const char *name, const char *key, int *in_file)
{
    size_t len = strlen(key);

    if (strncmp(name, key, len) != 0) {
        return 0;
    }
    *in_file = strcmp(name + len, FILE_SUFFIX) == 0;
    return name[len] == '\0' || *in_file;
}

/* The place for the key, or NULL; *in_file tells its form. */
static found_t *
find_key(loader_t *loader, const char *section, const char *name, int *in_file)
{
    unsigned i;

    for (i = 0; i < loader->schema->nkeys; i++) {
        const config_key_t *key = &loader->schema->keys[i];

        if (strcmp(key->section, section) == 0
            && names_key(name, key->key, in_file)) {
            return &loader->found[i];
        }
    }
    return NULL;
}

static int
section_known(const config_schema_t *schema, const char *section)
{
    unsigned i;

    for (i = 0; i < schema->nkeys; i++) {
        if (strcmp(schema->keys[i].section, section) == 0) {
            return 1;
        }
    }
    return 0;
}

/* ---- the file ---- */

/* fgets for libinih. A line that does not fit is told and skipped. */
static char *
read_line(char *text, int size, void *arg)
{
    loader_t *loader = arg;
    int c;

    if (fgets(text, size, loader->file) == NULL) {
        return NULL;
    }
    loader->line++;
    loader->indented = isspace((unsigned char) text[0]);
    if (strchr(text, '\n') == NULL && (c = getc(loader->file)) != EOF) {
        while (c != EOF && c != '\n') {
            c = getc(loader->file);
        }
        complain(loader, here(loader), "line longer than %d bytes, or with a "
            "NUL character; indented lines continue a value", size - 2);
        memcpy(text, "\n", 2);
    }
    return text;
}

static void
take_from_file(loader_t *loader, const char *section, const char *name,
    const char *value)
{
    const char *where = here(loader);
    found_t *found;
    int in_file;

    if (!section_known(loader->schema, section)) {
        complain(loader, where, "unknown section [%s]", section);
        return;
    }
    found = find_key(loader, section, name, &in_file);
    if (found == NULL) {
        complain(loader, where, "unknown key \"%s\"%s", name,
            suggestion(loader, section, name));
        return;
    }
    if (found->text == NULL) {
        found->text = arena_strndup(loader->arena, value, strlen(value));
        found->where = where;
        found->in_file = in_file;
        loader->last = found;
    } else if (loader->indented && loader->last == found) {
        found->text = arena_printf(loader->arena, "%s %s", found->text, value);
    } else {
        complain(loader, where, "\"%s\" was given before, at %s", name,
            found->where);
    }
}

static int
take_line(void *arg, const char *section, const char *name, const char *value)
{
    take_from_file(arg, section, name, value);
    return 1;
}

static void
read_file(loader_t *loader)
{
    int line;

    loader->file = fopen(loader->path, "re");
    if (loader->file == NULL) {
        complain(loader, loader->path, "cannot be opened: %s",
            strerror(errno));
        return;
    }
    line = ini_parse_stream(read_line, loader, take_line, loader);
    if (line > 0) {
        loader->line = (unsigned) line;
        complain(loader, here(loader),
            "neither [section] nor key = value");
    } else if (line < 0 || ferror(loader->file)) {
        complain(loader, loader->path, "cannot be read");
    }
    fclose(loader->file);
}

/* ---- the environment ---- */

/* "WORKER_ENDPOINT=..." of "worker" is "ENDPOINT=..."; else NULL. */
static const char *
behind_section(const char *text, const char *section)
{
    size_t len = strlen(section);

    return strncasecmp(text, section, len) == 0 && text[len] == '_'
        ? text + len + 1 : NULL;
}

static void
take_from_environment(loader_t *loader, const char *section,
    const char *variable, const char *rest)
{
    size_t len = strcspn(rest, "=");
    char *name = arena_strndup(loader->arena, rest, len);
    const char *where = arena_strndup(loader->arena, variable,
        strcspn(variable, "="));
    found_t *found;
    int in_file;
    size_t i;

    for (i = 0; i < len; i++) {
        name[i] = (char) tolower((unsigned char) name[i]);
    }
    found = find_key(loader, section, name, &in_file);
    if (found == NULL) {
        complain(loader, where, "no such key%s",
            suggestion(loader, section, name));
    } else if (found->from_environment) {
        complain(loader, where, "contradicts %s", found->where);
    } else {
        found->text = rest + len + 1;
        found->where = where;
        found->in_file = in_file;
        found->from_environment = 1;
    }
}

static void
read_environment(loader_t *loader)
{
    const config_schema_t *schema = loader->schema;
    char **variable;
    unsigned i;

    for (variable = environ; *variable != NULL; variable++) {
        if (strncmp(*variable, "HIVE_", 5) != 0) {
            continue;
        }
        for (i = 0; i < schema->nkeys; i++) {
            const char *section = schema->keys[i].section;
            const char *rest = behind_section(*variable + 5, section);

            if (rest != NULL && strchr(rest, '=') != NULL) {
                take_from_environment(loader, section, *variable, rest);
                break;
            }
        }
    }
}

/* ---- values ---- */

static const char *
value_path(loader_t *loader, const found_t *found)
{
    const char *slash = loader->path != NULL
        ? strrchr(loader->path, '/') : NULL;

    if (found->text[0] == '/' || found->from_environment || slash == NULL) {
        return found->text;
    }
    return arena_printf(loader->arena, "%.*s/%s",
        (int) (slash - loader->path), loader->path, found->text);
}

/* What the file of a K_file holds. 0, or -1 having complained. */
static int
read_value(loader_t *loader, const found_t *found, slice_t *out)
{
    const char *path = value_path(loader, found);
    char *data = arena_alloc(loader->arena, VALUE_FILE_MAX + 1);
    size_t len = 0;
    ssize_t got;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        complain(loader, found->where, "%s cannot be opened: %s", path,
            strerror(errno));
        return -1;
    }
    while ((got = read(fd, data + len, VALUE_FILE_MAX + 1 - len)) > 0) {
        len += (size_t) got;
    }
    close(fd);
    if (got < 0 || len > VALUE_FILE_MAX) {
        complain(loader, found->where, "%s %s", path,
            got < 0 ? "cannot be read" : "is too large");
        return -1;
    }
    while (len > 0 && (data[len - 1] == '\n' || data[len - 1] == '\r')) {
        len--;
    }
    data[len] = '\0';
    *out = (slice_t) { data, len };
    return 0;
}

static void
settle_key(loader_t *loader, unsigned index, void *out)
{
    const config_key_t *key = &loader->schema->keys[index];
    const found_t *found = &loader->found[index];
    const char *text = found->text != NULL ? found->text : key->standard;
    const char *where = found->where != NULL ? found->where : "default";
    const char *wrong;
    slice_t value;

    if (text == NULL) {
        complain(loader, loader->path != NULL ? loader->path : "environment",
            "\"%s\" in [%s] is missing", key->key, key->section);
        return;
    }
    value = (slice_t) { text, strlen(text) };
    if (found->in_file && read_value(loader, found, &value) != 0) {
        return;
    }
    wrong = config_value_set(loader->arena, key, value, out);
    if (wrong != NULL) {
        complain(loader, where, "\"%s\" in [%s]: %s", key->key, key->section,
            wrong);
    }
}

int
config_load(arena_t *arena, const config_schema_t *schema, const char *path,
    void *out, const char **errors)
{
    loader_t loader = { .arena = arena, .schema = schema, .path = path };
    unsigned i;

    buf_init(&loader.errors, arena, 256);
    loader.found = arena_zero(arena, schema->nkeys * sizeof(found_t));
    memset(out, 0, schema->size);
    if (path != NULL) {
        read_file(&loader);
    }
    read_environment(&loader);
    for (i = 0; i < schema->nkeys; i++) {
        settle_key(&loader, i, out);
    }
    if (loader.errors.len > 0) {
        *errors = arena_strndup(arena, loader.errors.data, loader.errors.len);
        return -1;
    }
    return 0;
}

void
config_print_reference(FILE *out, const config_schema_t *schema)
{
    arena_t *arena = arena_new();
    const char *section = "";
    unsigned i;

    fputs("| key | type | default | allowed | what it is |\n"
          "|---|---|---|---|---|\n", out);
    for (i = 0; i < schema->nkeys; i++) {
        const config_key_t *key = &schema->keys[i];
        const char *at;

        if (strcmp(section, key->section) != 0) {
            section = key->section;
            fprintf(out, "| **[%s]** | | | | |\n", section);
        }
        fprintf(out, "| `%s` | %s%s | ", key->key,
            config_type_name(key->type), key->secret ? ", secret" : "");
        if (key->standard == NULL) {
            fputs("required | ", out);
        } else if (key->standard[0] == '\0') {
            fputs("empty | ", out);
        } else {
            fprintf(out, "`%s` | ", key->standard);
        }
        for (at = config_range(arena, key); *at != '\0'; at++) {
            if (*at == '|') {
                fputs(", ", out);
            } else {
                putc(*at, out);
            }
        }
        fprintf(out, " | %s |\n", key->doc);
    }
    arena_free(arena);
}
