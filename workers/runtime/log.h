/* log.h: one JSON object a line, to standard error.
 *
 *   {"time":"2026-11-20T10:00:00.000Z","level":"warn","pid":7,
 *    "request_id":"...","msg":"what failed: why"}
 *
 * Lower case, no full stop, never a body or a token. The request id is that
 * of the running fiber's request, when there is one. Lines longer than 4 KiB
 * are cut; a full pipe drops the line and counts it, it never blocks. */

#ifndef HIVE_LOG_H
#define HIVE_LOG_H

typedef enum { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN,
    LOG_LEVEL_ERROR } log_level_t;

void log_set_level(log_level_t level);

/* "debug", "info", "warn", "error"; -1 when unknown. */
int log_level_parse(const char *name, log_level_t *out);

/* Asked for the request id of each line; NULL leaves it out. Called on any
 * thread that logs, so it looks at fiber_self first. */
void log_set_context(const char *(*fn)(void));

/* Lines dropped since the start because the pipe was full. */
unsigned long log_dropped(void);

void log_write(log_level_t level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
