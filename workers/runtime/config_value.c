/* config_value.c: what the values of a configuration look like. */

#include "config_value.h"

#include <assert.h>

typedef struct {
    const char *suffix;
    uint64_t factor;
} unit_t;

static const unit_t plain[] = { { "", 1 } };

static const unit_t sizes[] = {
    { "g", UINT64_C(1) << 30 }, { "m", UINT64_C(1) << 20 },
    { "k", UINT64_C(1) << 10 }, { "", 1 }
};

static const unit_t durations[] = {
    { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 },
    { "ms", 1 }
};

typedef struct {
    const char *name;
    const char *example;        /* completes "is not ..." */
    const unit_t *units;        /* of the types that are numbers */
    unsigned nunits;
    unsigned base;
} type_t;

static const type_t types[] = {
    [CONFIG_TEXT] = { "text", NULL, NULL, 0, 0 },
    [CONFIG_BYTES] = { "bytes", NULL, NULL, 0, 0 },
    [CONFIG_NUMBER] = { "number", "a whole number", plain, 1, 10 },
    [CONFIG_MODE] = { "mode", "an octal mode such as 0660", plain, 1, 8 },
    [CONFIG_SIZE] = { "size", "a size such as 512, 64k or 16m", sizes, 4, 10 },
    [CONFIG_DURATION] = { "duration", "a duration such as 500ms, 30s or 15m",
        durations, 5, 10 },
    [CONFIG_BOOL] = { "switch", "on or off", NULL, 0, 0 },
    [CONFIG_CHOICE] = { "choice", NULL, NULL, 0, 0 }
};

const char *
config_type_name(config_type_t type)
{
    return types[type].name;
}

/* Digits and a unit. 0, or -1. */
static int
number_parse(const type_t *type, const char *text, uint64_t *out)
{
    uint64_t number = 0;
    const char *at = text;
    unsigned i;

    while (*at >= '0' && *at < (char) ('0' + type->base)) {
        if (number > UINT64_MAX / 16) {
            return -1;
        }
        number = number * type->base + (uint64_t) (*at - '0');
        at++;
    }
    if (at == text) {
        return -1;
    }
    /* "0" needs no unit. */
    if (number == 0 && *at == '\0') {
        *out = 0;
        return 0;
    }
    for (i = 0; i < type->nunits; i++) {
        if (strcmp(at, type->units[i].suffix) == 0) {
            return __builtin_mul_overflow(number, type->units[i].factor, out)
                ? -1 : 0;
        }
    }
    return -1;
}

static const char *
number_text(arena_t *arena, const config_key_t *key, uint64_t number)
{
    const type_t *type = &types[key->type];
    unsigned i = 0;

    if (key->type == CONFIG_MODE) {
        return arena_printf(arena, "%04llo", (unsigned long long) number);
    }
    if (type->units == NULL || number == 0) {
        return arena_printf(arena, "%llu", (unsigned long long) number);
    }
    while (number % type->units[i].factor != 0) {
        i++;
        assert(i < type->nunits);
    }
    return arena_printf(arena, "%llu%s",
        (unsigned long long) (number / type->units[i].factor),
        type->units[i].suffix);
}

const char *
config_range(arena_t *arena, const config_key_t *key)
{
    if (key->type == CONFIG_CHOICE) {
        return key->choices;
    }
    if (key->type == CONFIG_TEXT || key->type == CONFIG_BYTES
        || (key->min == 0 && key->max == 0)) {
        return "";
    }
    return arena_printf(arena, "%s to %s", number_text(arena, key, key->min),
        number_text(arena, key, key->max));
}

static int
bounded(const config_key_t *key, uint64_t number)
{
    return (key->min == 0 && key->max == 0)
        || (number >= key->min && number <= key->max);
}

static const char *
set_number(arena_t *arena, const config_key_t *key, const char *text,
    void *member)
{
    uint64_t number;

    if (number_parse(&types[key->type], text, &number) != 0) {
        return arena_printf(arena, "\"%s\" is not %s", text,
            types[key->type].example);
    }
    if (!bounded(key, number)
        || (key->type != CONFIG_SIZE && number > UINT32_MAX)) {
        return arena_printf(arena, "%s is not in %s", text,
            key->max == 0 ? "range" : config_range(arena, key));
    }
    if (key->type == CONFIG_SIZE) {
        *(size_t *) member = (size_t) number;
    } else {
        *(unsigned *) member = (unsigned) number;
    }
    return NULL;
}

static const char *
set_bool(arena_t *arena, const char *text, void *member)
{
    static const char *const words[] = {
        "off", "on", "no", "yes", "false", "true"
    };
    int i;

    for (i = 0; i < 6; i++) {
        if (strcmp(text, words[i]) == 0) {
            *(int *) member = i % 2;
            return NULL;
        }
    }
    return arena_printf(arena, "\"%s\" is not on or off", text);
}

static const char *
set_choice(arena_t *arena, const config_key_t *key, slice_t text, void *member)
{
    const char *choice = key->choices;

    while (*choice != '\0') {
        size_t len = strcspn(choice, "|");

        if (slice_equal(text, (slice_t) { choice, len })) {
            *(const char **) member = text.data;
            return NULL;
        }
        choice += len + (choice[len] == '|');
    }
    return arena_printf(arena, "\"%s\" is not one of %s", text.data,
        key->choices);
}

static const char *
set_text(arena_t *arena, const config_key_t *key, slice_t text, void *member)
{
    if (!bounded(key, text.len)) {
        return text.len < key->min
            ? arena_printf(arena, "is shorter than %llu bytes",
                  (unsigned long long) key->min)
            : arena_printf(arena, "is longer than %llu bytes",
                  (unsigned long long) key->max);
    }
    if (key->type == CONFIG_BYTES) {
        *(slice_t *) member = text;
    } else {
        *(const char **) member = text.data;
    }
    return NULL;
}

const char *
config_value_set(arena_t *arena, const config_key_t *key, slice_t text,
    void *out)
{
    void *member = (char *) out + key->offset;
    const char *wrong;

    if (key->type != CONFIG_BYTES && memchr(text.data, '\0', text.len)) {
        return "holds a NUL character";
    }
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_BYTES:
        return set_text(arena, key, text, member);
    case CONFIG_CHOICE:
        wrong = set_choice(arena, key, text, member);
        break;
    case CONFIG_BOOL:
        wrong = set_bool(arena, text.data, member);
        break;
    default:
        wrong = set_number(arena, key, text.data, member);
        break;
    }
    return wrong != NULL && key->secret ? "has no valid value" : wrong;
}
