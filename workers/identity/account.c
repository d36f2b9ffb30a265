/* account.c: see account.h. */

#include "account.h"

#include "common/utf8.h"
#include "password.h"

#define LOCAL_MAX 64
#define LABEL_MAX 63

static int
is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
           || (c >= 'a' && c <= 'z');
}

static slice_t
trim(slice_t text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.data[0]) != NULL) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL)
    {
        text.len--;
    }
    return text;
}

/* RFC 5322, 3.2.3: dot-atom. Quoted forms are valid and used by nobody. */
static int
is_local(slice_t text)
{
    if (text.len == 0 || text.len > LOCAL_MAX || text.data[0] == '.'
        || text.data[text.len - 1] == '.')
    {
        return 0;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if (c == '.' ? text.data[i - 1] == '.'
            : !is_alnum(c) && (c == '\0'
                || strchr("!#$%&'*+-/=?^_`{|}~", c) == NULL))
        {
            return 0;
        }
    }
    return 1;
}

/* RFC 1123, 2.1: labels of letters, digits and inner hyphens; the last is no
 * number. */
static int
is_host(slice_t text)
{
    size_t label = 0;
    int dots = 0;
    int digits = 1;

    for (size_t i = 0; i <= text.len; i++) {
        char c = i < text.len ? text.data[i] : '.';

        if (c == '.') {
            if (label == 0 || label > LABEL_MAX || text.data[i - 1] == '-') {
                return 0;
            }
            if (i < text.len) {
                dots++;
                digits = 1;
            }
            label = 0;
            continue;
        }
        if (!is_alnum(c) && (c != '-' || label == 0)) {
            return 0;
        }
        digits &= c >= '0' && c <= '9';
        label++;
    }
    return (dots > 0 && !digits)
           || (text.len == 9 && strncasecmp(text.data, "localhost", 9) == 0);
}

slice_t
email_normalise(arena_t *arena, slice_t typed)
{
    slice_t email = trim(typed);
    slice_t local, host;
    const char *at;
    char *out;

    if (email.len == 0 || email.len > EMAIL_MAX) {
        return SLICE_NONE;
    }
    at = memchr(email.data, '@', email.len);
    if (at == NULL) {
        return SLICE_NONE;
    }
    local = (slice_t) { email.data, (size_t) (at - email.data) };
    host = (slice_t) { at + 1, email.len - local.len - 1 };
    if (!is_local(local) || host.len == 0 || !is_host(host)) {
        return SLICE_NONE;
    }

    out = arena_strndup(arena, email.data, email.len);
    for (size_t i = local.len + 1; i < email.len; i++) {
        if (out[i] >= 'A' && out[i] <= 'Z') {
            out[i] = (char) (out[i] | 0x20);
        }
    }
    return (slice_t) { out, email.len };
}

slice_t
account_text(request_t *rq, const json_t *body, const char *name)
{
    const json_t *value = json_object_get(body, name);
    slice_t text;

    if (value == NULL) {
        rq_invalid(rq, name, "required", "is required");
        return SLICE_NONE;
    }
    if (!json_is_string(value)) {
        rq_invalid(rq, name, "wrong_type", "must be a string");
        return SLICE_NONE;
    }
    text = (slice_t) { json_string_value(value), json_string_length(value) };
    if (text.len == 0) {
        rq_invalid(rq, name, "required", "must not be empty");
    }
    return text;
}

void
account_members(request_t *rq, json_t *body, const char *const *known)
{
    const char *name;
    json_t *value;

    json_object_foreach(body, name, value) {
        const char *const *k = known;

        while (*k != NULL && strcmp(*k, name) != 0) {
            k++;
        }
        if (*k == NULL) {
            rq_invalid(rq, name, "unknown_member", "is not a member here");
        }
    }
}

/* Control characters would forge lines in logs and mails. */
static int
has_controls(slice_t text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char) text.data[i];

        if (c < 0x20 || c == 0x7f) {
            return 1;
        }
        /* U+0080 to U+009F */
        if (c == 0xc2 && i + 1 < text.len
            && (unsigned char) text.data[i + 1] < 0xa0)
        {
            return 1;
        }
    }
    return 0;
}

static slice_t
read_email(request_t *rq, const json_t *body)
{
    slice_t typed = account_text(rq, body, "email");
    slice_t email = SLICE_NONE;

    if (typed.len > 0) {
        email = email_normalise(rq->arena, typed);
        if (email.len == 0) {
            rq_invalid(rq, "email", "invalid_email",
                "must be an e-mail address, like ada@example.org");
        }
    }
    return email;
}

static slice_t
read_name(request_t *rq, const json_t *body)
{
    slice_t typed = account_text(rq, body, "name");
    slice_t name = trim(typed);

    if (typed.len > 0) {
        if (name.len == 0) {
            rq_invalid(rq, "name", "required", "must not be empty");
        } else if (utf8_length(name.data, name.len) > NAME_MAX_CHARS) {
            rq_invalid(rq, "name", "too_long",
                "must have at most %d characters", NAME_MAX_CHARS);
        } else if (has_controls(name)) {
            rq_invalid(rq, "name", "invalid_characters",
                "must not hold control characters");
        }
    }
    return name;
}

account_t
account_read(request_t *rq, int with_token)
{
    static const char *const plain[] = { "email", "name", "password", NULL };
    static const char *const setup[] = {
        "token", "email", "name", "password", NULL
    };
    json_t *body = rq_json(rq);
    account_t account = { .token = SLICE_NONE };
    const char *code, *why;

    account_members(rq, body, with_token ? setup : plain);
    if (with_token) {
        account.token = account_text(rq, body, "token");
    }
    account.email = read_email(rq, body);
    account.name = read_name(rq, body);
    account.password = account_text(rq, body, "password");
    if (account.password.len > 0) {
        code = password_refused(account.password, account.email, &why);
        if (code != NULL) {
            rq_invalid(rq, "password", code, "%s", why);
        }
    }
    rq_check(rq);
    return account;
}
