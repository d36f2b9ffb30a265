/* echo_text.c: what the stand-in writes: prose that quotes its subject, and
 * JSON of an asked shape. A hash of the prompt (FNV-1a) chooses, so that the
 * same prompt gets the same text. */

#include "echo.h"

#include "workers/db/db.h"

#include <ctype.h>
#include <stdint.h>

#define SUBJECT_MAX 72
#define DEPTH_MAX   16
#define ITEMS       4           /* of an array, unless its bounds say else */
#define ITEMS_MAX   100
#define JSON_ENOUGH (64 << 10)  /* bytes after which there is only null */

typedef struct {
    uint64_t state;
    slice_t subject;
    unsigned made;              /* strings so far: numbers them */
    unsigned titles;
    buf_t out;
} writer_t;

static uint64_t
hash(slice_t text)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < text.len; i++) {
        h = (h ^ (unsigned char) text.data[i]) * UINT64_C(1099511628211);
    }
    return h;
}

/* xorshift64 (Marsaglia 2003). */
static unsigned
choose(writer_t *writer, unsigned n)
{
    writer->state ^= writer->state << 13;
    writer->state ^= writer->state >> 7;
    writer->state ^= writer->state << 17;
    return (unsigned) (writer->state % n);
}

/* What it is about: what stands behind "Your part:", or "Objective:", or else
 * the first line that has any text; cut at a word. */
static slice_t
subject_of(slice_t prompt)
{
    static const char *const marks[] = { "Your part: ", "Objective: ", NULL };
    slice_t found = SLICE("this");

    for (size_t i = 0; i < prompt.len; i++) {
        if (!isspace((unsigned char) prompt.data[i])) {
            found = (slice_t) { prompt.data + i, prompt.len - i };
            break;
        }
    }
    for (int i = 0; marks[i] != NULL; i++) {
        const char *at = memmem(prompt.data, prompt.len, marks[i],
            strlen(marks[i]));

        if (at != NULL) {
            at += strlen(marks[i]);
            found = (slice_t) { at, (size_t) (prompt.data + prompt.len - at) };
            break;
        }
    }
    for (size_t i = 0; i < found.len; i++) {
        if (found.data[i] == '\n') {
            found.len = i;
        }
    }
    while (found.len > SUBJECT_MAX) {
        do {
            found.len--;
        } while (found.len > 0 && found.data[found.len] != ' ');
    }
    while (found.len > 0 && strchr(" .,;:", found.data[found.len - 1])) {
        found.len--;
    }
    return found.len > 0 ? found : SLICE("this");
}

static writer_t
writer_new(arena_t *arena, slice_t prompt)
{
    writer_t writer = { .state = hash(prompt) | 1,
        .subject = subject_of(prompt) };

    buf_init(&writer.out, arena, 1024);
    return writer;
}

/* ---- prose ---- */

slice_t
echo_prose(arena_t *arena, slice_t prompt)
{
    static const char *const openings[] = {
        "What was asked for is %.*s.", "This is about %.*s.",
        "The part in hand: %.*s."
    };
    static const char *const bodies[] = {
        "First what is known is put in order, then what is missing is named.",
        "It splits into what must be decided, what must be made and what must"
            " be checked.",
        "Two ways are open; the simpler one is taken, and the reason is kept.",
        "Each claim has its source, and each figure says how it was measured.",
        "Where inputs disagree, the later one is taken and the earlier noted.",
        "What can fail is tried on purpose, once alone and once with others.",
    };
    static const char *const endings[] = {
        "What is left open is listed for whoever comes next.",
        "With that, this part is done and can be put together with the others.",
        "The result fits in one page; the rest is in the notes."
    };
    writer_t writer = writer_new(arena, prompt);
    unsigned from, n;

    buf_puts(&writer.out, ECHO_FIRST_LINE "\n\n");
    buf_printf(&writer.out, openings[choose(&writer, 3)],
        (int) writer.subject.len, writer.subject.data);
    from = choose(&writer, 6);
    n = 2 + choose(&writer, 3);
    for (unsigned i = 0; i < n; i++) {
        buf_printf(&writer.out, " %s", bodies[(from + i) % 6]);
    }
    buf_printf(&writer.out, " %s\n", endings[choose(&writer, 3)]);
    return buf_slice(&writer.out);
}

/* ---- JSON ---- */

static void put_value(writer_t *writer, const json_t *schema,
    const char *name, unsigned depth);

static int64_t
bound(const json_t *schema, const char *name, int64_t otherwise)
{
    const json_t *value = json_object_get(schema, name);

    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

/* Whether a member is to be there: of those that may be left out, none is. */
static int
is_wanted(const json_t *schema, const char *name)
{
    const json_t *required = json_object_get(schema, "required"), *item;
    size_t i;

    json_array_foreach((json_t *) required, i, item) {
        if (json_is_string(item)
            && strcmp(json_string_value(item), name) == 0) {
            return 1;
        }
    }
    return !json_is_array(required);
}

static void
put_object(writer_t *writer, const json_t *schema, unsigned depth)
{
    json_t *properties = json_object_get(schema, "properties"), *value;
    const char *name, *comma = "";

    buf_putc(&writer->out, '{');
    json_object_foreach(properties, name, value) {
        if (!is_wanted(schema, name)) {
            continue;
        }
        buf_puts(&writer->out, comma);
        json_put_string(&writer->out, (slice_t) { name, strlen(name) });
        buf_putc(&writer->out, ':');
        put_value(writer, value, name, depth + 1);
        comma = ",";
    }
    buf_putc(&writer->out, '}');
}

static void
put_array(writer_t *writer, const json_t *schema, const char *name,
    unsigned depth)
{
    int64_t least = bound(schema, "minItems", 0);
    int64_t most = bound(schema, "maxItems", ITEMS);
    int64_t n = least > ITEMS ? least : ITEMS;

    n = n > most ? most : n;
    n = n > ITEMS_MAX ? ITEMS_MAX : n;
    buf_putc(&writer->out, '[');
    for (int64_t i = 0; i < n; i++) {
        if (i > 0) {
            buf_putc(&writer->out, ',');
        }
        put_value(writer, json_object_get(schema, "items"), name, depth + 1);
    }
    buf_putc(&writer->out, ']');
}

/* A title is an aspect of the subject, another string says what it is of. */
static void
put_text(writer_t *writer, const json_t *schema, const char *name)
{
    static const char *const aspects[] = { "What is known", "What it takes",
        "What it costs", "What can go wrong", "What to do first",
        "What others have done", "How to check it", "What to leave out" };
    int64_t most = bound(schema, "maxLength", 200);
    const char *text = strcmp(name, "title") == 0
        ? aspects[writer->titles++ % 8]
        : arena_printf(writer->out.arena, "%s %u of: %.*s", name,
            ++writer->made, (int) writer->subject.len, writer->subject.data);
    size_t len = strlen(text);

    if (most >= 0 && len > (size_t) most) {
        len = (size_t) most;
        while (len > 0 && ((unsigned char) text[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    json_put_string(&writer->out, (slice_t) { text, len });
}

static int
is_type(const json_t *schema, const char *type)
{
    const json_t *given = json_object_get(schema, "type");

    if (json_is_array(given)) {
        given = json_array_get(given, 0);
    }
    return json_is_string(given)
           && strcmp(json_string_value(given), type) == 0;
}

static void
put_value(writer_t *writer, const json_t *schema, const char *name,
    unsigned depth)
{
    const json_t *choices = json_object_get(schema, "enum");
    const json_t *constant = json_object_get(schema, "const");

    if (depth > DEPTH_MAX || writer->out.len > JSON_ENOUGH) {
        buf_puts(&writer->out, "null");
    } else if (constant != NULL) {
        json_put_document(&writer->out, constant);
    } else if (json_array_size(choices) > 0) {
        json_put_document(&writer->out, json_array_get(choices,
            choose(writer, (unsigned) json_array_size(choices))));
    } else if (is_type(schema, "object")) {
        put_object(writer, schema, depth);
    } else if (is_type(schema, "array")) {
        put_array(writer, schema, name, depth);
    } else if (is_type(schema, "integer") || is_type(schema, "number")) {
        buf_printf(&writer->out, "%lld",
            (long long) bound(schema, "minimum", 1));
    } else if (is_type(schema, "boolean")) {
        buf_puts(&writer->out, choose(writer, 2) ? "true" : "false");
    } else if (is_type(schema, "null")) {
        buf_puts(&writer->out, "null");
    } else {
        put_text(writer, schema, name);
    }
}

slice_t
echo_json(arena_t *arena, const json_t *schema, slice_t prompt)
{
    writer_t writer = writer_new(arena, prompt);

    put_value(&writer, schema, "answer", 0);
    return buf_slice(&writer.out);
}
