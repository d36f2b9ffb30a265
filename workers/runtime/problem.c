/* problem.c: problem documents, RFC 9457. */

#include "boundary.h"

#include "common/utf8.h"

const char *
problem_title(int status)
{
    static const struct {
        int status;
        const char *title;
    } titles[] = {
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" },
        { 409, "Conflict" },
        { 410, "Gone" },
        { 411, "Length Required" },
        { 412, "Precondition Failed" },
        { 413, "Content Too Large" },
        { 415, "Unsupported Media Type" },
        { 422, "Unprocessable Content" },
        { 423, "Locked" },
        { 428, "Precondition Required" },
        { 429, "Too Many Requests" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
    };

    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
        if (titles[i].status == status) {
            return titles[i].title;
        }
    }

    return "Error";
}

/* Text that may carry bytes of the client: what is not UTF-8 is shown as
 * U+FFFD, byte by byte. */
static void
put_string(buf_t *out, const char *text)
{
    size_t len = strlen(text);
    int valid = utf8_valid(text, len);

    buf_putc(out, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];

        if (c == '"' || c == '\\') {
            buf_putc(out, '\\');
            buf_putc(out, (char) c);
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(out, "\\u%04x", c);
        } else if (c >= 0x80 && !valid) {
            buf_puts(out, "\\ufffd");
        } else {
            buf_putc(out, (char) c);
        }
    }
    buf_putc(out, '"');
}

static void
put_errors(buf_t *out, const field_error_t *error)
{
    buf_puts(out, ",\"errors\":[");
    for (const char *comma = ""; error != NULL; error = error->next) {
        buf_puts(out, comma);
        comma = ",";
        buf_puts(out, "{\"field\":");
        put_string(out, error->field);
        buf_puts(out, ",\"code\":");
        put_string(out, error->code);
        buf_puts(out, ",\"message\":");
        put_string(out, error->message);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

void
problem_put(buf_t *out, const problem_t *problem, const char *request_id)
{
    buf_puts(out, "{\"type\":\"about:blank\",\"title\":");
    put_string(out, problem_title(problem->status));
    buf_printf(out, ",\"status\":%d,\"detail\":", problem->status);
    put_string(out, problem->detail);
    buf_puts(out, ",\"code\":");
    put_string(out, problem->code);
    if (request_id != NULL) {
        buf_puts(out, ",\"request_id\":");
        put_string(out, request_id);
    }
    if (problem->errors != NULL) {
        put_errors(out, problem->errors);
    }
    buf_putc(out, '}');
}
