/* output.c: tables, figures and colors. A terminal gets columns that fit, a
 * pipe plain ones, --json what Hive said. */

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define COLUMNS_MAX 12
#define CELL_MAX    400

const char *
ink(const char *name)
{
    static const struct { const char *name, *code; } inks[] = {
        { "off", "\033[0m" }, { "bold", "\033[1m" }, { "dim", "\033[2m" },
        { "red", "\033[31m" }, { "green", "\033[32m" },
        { "yellow", "\033[33m" }, { "cyan", "\033[36m" },
    };

    for (size_t i = 0; cli.color && i < sizeof(inks) / sizeof(inks[0]); i++) {
        if (strcmp(inks[i].name, name) == 0) {
            return inks[i].code;
        }
    }
    return "";
}

/* ---- members ---- */

static const json_t *
member_at(const json_t *json, const char *path)
{
    char name[64];

    while (json != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");

        snprintf(name, sizeof(name), "%.*s", (int) len, path);
        json = json_object_get(json, name);
        path += len + (path[len] == '.');
    }
    return json;
}

const char *
text_at(const json_t *json, const char *path)
{
    const json_t *found = member_at(json, path);

    return json_is_string(found) ? json_string_value(found) : "";
}

json_int_t
number_at(const json_t *json, const char *path)
{
    return json_integer_value(member_at(json, path));
}

/* ---- figures ---- */

static char *
scratch(void)
{
    static char texts[8][48];
    static unsigned next;

    return texts[next++ % 8];
}

/* As many digits behind the point as it takes to see something. */
const char *
show_money(json_int_t nano_usd)
{
    char *out = scratch();
    double usd = (double) nano_usd / 1e9;

    snprintf(out, 48, nano_usd == 0 ? "$0" : usd >= 1 ? "$%.2f"
        : usd >= 0.01 ? "$%.4f" : "$%.6f", usd);
    return out;
}

const char *
show_count(json_int_t count)
{
    char plain[32], *out = scratch();
    size_t len = (size_t) snprintf(plain, sizeof(plain), "%lld",
        (long long) count), n = 0;

    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0 && plain[i - 1] != '-') {
            out[n++] = ',';
        }
        out[n++] = plain[i];
    }
    out[n] = '\0';
    return out;
}

const char *
show_duration(double seconds)
{
    char *out = scratch();

    if (seconds < 60) {
        snprintf(out, 48, "%.1f s", seconds);
    } else {
        snprintf(out, 48, "%d:%02d", (int) seconds / 60, (int) seconds % 60);
    }
    return out;
}

/* ---- text in columns ---- */

int
put_clipped(const char *text, size_t len, int columns)
{
    mbstate_t state = { 0 };
    int used = 0;

    while (len > 0) {
        wchar_t wide;
        size_t n = mbrtowc(&wide, text, len, &state);
        int width;

        if (n == (size_t) -1 || n == (size_t) -2 || n == 0) {
            memset(&state, 0, sizeof(state));
            wide = L'?';
            n = 1;
        }
        width = wcwidth(wide);
        if (width < 0) {
            width = 1;          /* control characters never reach a terminal */
            wide = L' ';
        }
        if (used + width > columns) {
            break;
        }
        if (wide == L' ' || wide == L'?') {
            putchar((int) wide);
        } else {
            fwrite(text, 1, n, stdout);
        }
        used += width;
        text += n;
        len -= n;
    }
    return used;
}

static int
columns_of(const char *text)
{
    mbstate_t state = { 0 };
    size_t len = strlen(text);
    int used = 0;

    while (len > 0) {
        wchar_t wide;
        size_t n = mbrtowc(&wide, text, len, &state);

        if (n == (size_t) -1 || n == (size_t) -2 || n == 0) {
            memset(&state, 0, sizeof(state));
            n = 1;
            used++;
        } else {
            int width = wcwidth(wide);

            used += width < 0 ? 1 : width;
        }
        text += n;
        len -= n;
    }
    return used;
}

void
put_text(FILE *out, const char *text, size_t len, int safe)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];
        unsigned char next = i + 1 < len ? (unsigned char) text[i + 1] : 0;

        if (!safe) {
            putc(c, out);
        } else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
            putc('?', out);
        } else if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
            putc('?', out);     /* U+0080 to U+009F */
            i++;
        } else {
            putc(c, out);
        }
    }
}

static void
put_line(const char *text, size_t len)
{
    put_text(stdout, text, len, 1);
    putchar('\n');
}

/* Lines that begin with blanks (code, lists) stay as they are. */
void
put_wrapped(const char *text)
{
    while (cli.tty && *text != '\0') {
        size_t line = strcspn(text, "\n"), len = line;

        while (len > 0 && text[0] != ' ' && text[0] != '\t') {
            size_t word = 0;

            for (size_t i = 0; i <= len; i++) {
                if ((i == len || text[i] == ' ')
                    && (word == 0 || i < (size_t) cli.width)) {
                    word = i;
                }
                if (i >= (size_t) cli.width && word > 0) {
                    break;
                }
            }
            if (word == len) {
                break;
            }
            put_line(text, word);
            text += word + 1;
            len -= word + 1;
            line -= word + 1;
        }
        put_line(text, len);
        text += line + (text[line] == '\n');
    }
    if (!cli.tty) {
        size_t len = strlen(text);

        printf("%s%s", text, len > 0 && text[len - 1] == '\n' ? "" : "\n");
    }
}

/* ---- cells ---- */

static void
fill_cell(char out[CELL_MAX], const json_t *item, const field_t *field)
{
    const json_t *found = member_at(item, field->member);
    const char *text = json_string_value(found);
    int len = cli.tty ? 19 : 30;

    if (found == NULL || json_is_null(found)) {
        snprintf(out, CELL_MAX, "-");
    } else if (field->as == '$') {
        snprintf(out, CELL_MAX, "%s", show_money(json_integer_value(found)));
    } else if (field->as == 'd') {
        snprintf(out, CELL_MAX, "%s",
            show_duration((double) json_integer_value(found) / 1000));
    } else if (json_is_integer(found)) {
        snprintf(out, CELL_MAX, "%s", show_count(json_integer_value(found)));
    } else if (field->as == 't' && text != NULL) {
        snprintf(out, CELL_MAX, "%.*s", len, text);
        if (cli.tty && strlen(out) > 10 && out[10] == 'T') {
            out[10] = ' ';
        }
    } else if (text != NULL) {
        snprintf(out, CELL_MAX, "%s", text);
    } else {
        char *dumped = json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY);

        snprintf(out, CELL_MAX, "%s", dumped != NULL ? dumped : "");
        free(dumped);
    }
}

static void
put_cell(const char *text, int width, int right, int last)
{
    int columns = columns_of(text);
    int blank = columns < width ? width - columns : 0;

    if (right) {
        printf("%*s", blank, "");
    }
    put_clipped(text, strlen(text), width);
    if (!right && !last) {
        printf("%*s", blank, "");
    }
    fputs(last ? "\n" : "  ", stdout);
}

/* The widest column that is not a number gives way until all fit. */
static void
fit(int *widths, const field_t *fields, int count)
{
    for (;;) {
        int sum = 2 * (count - 1), widest = -1;

        for (int i = 0; i < count; i++) {
            sum += widths[i];
            if (!fields[i].right && fields[i].as != 'i'
                && (widest < 0 || widths[i] > widths[widest])) {
                widest = i;
            }
        }
        if (sum <= cli.width || widest < 0 || widths[widest] <= 8) {
            return;
        }
        widths[widest]--;
    }
}

void
show_table(const json_t *items, const field_t *fields, const char *empty)
{
    size_t n = json_array_size(items);
    char (*cells)[CELL_MAX];
    int widths[COLUMNS_MAX], count = 0;

    if (cli.json) {
        show_json(items);
        return;
    }
    if (n == 0) {
        if (cli.tty) {
            puts(empty);
        }
        return;
    }
    while (fields[count].title != NULL && count < COLUMNS_MAX) {
        widths[count] = cli.tty ? (int) strlen(fields[count].title) : 0;
        count++;
    }
    cells = calloc(n * (size_t) count, sizeof(*cells));
    for (size_t i = 0; i < n * (size_t) count; i++) {
        int columns;

        fill_cell(cells[i], json_array_get(items, i / (size_t) count),
            &fields[i % (size_t) count]);
        columns = columns_of(cells[i]);
        if (columns > widths[i % (size_t) count]) {
            widths[i % (size_t) count] = columns;
        }
    }
    if (cli.tty) {
        fit(widths, fields, count);
        fputs(ink("dim"), stdout);
        for (int k = 0; k < count; k++) {
            put_cell(fields[k].title, widths[k], fields[k].right,
                k == count - 1);
        }
        fputs(ink("off"), stdout);
    }
    for (size_t i = 0; i < n * (size_t) count; i++) {
        int k = (int) (i % (size_t) count);

        if (cli.tty) {
            put_cell(cells[i], widths[k], fields[k].right, k == count - 1);
        } else {
            put_clipped(cells[i], strlen(cells[i]), CELL_MAX);
            putchar(k == count - 1 ? '\n' : '\t');
        }
    }
    free(cells);
}

void
show_object(const json_t *object, const field_t *fields)
{
    char cell[CELL_MAX];
    int width = 0;

    if (cli.json) {
        show_json(object);
        return;
    }
    for (const field_t *f = fields; f->title != NULL; f++) {
        int columns = (int) strlen(f->title);

        width = columns > width ? columns : width;
    }
    for (const field_t *f = fields; f->title != NULL; f++) {
        fill_cell(cell, object, f);
        printf("%s%-*s%s  ", ink("dim"), width, f->title, ink("off"));
        put_clipped(cell, strlen(cell), cli.tty ? cli.width - width - 2
                                                : CELL_MAX);
        putchar('\n');
    }
}

void
show_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_ENCODE_ANY
        | (cli.tty ? JSON_INDENT(2) : JSON_COMPACT));
    putchar('\n');
}
