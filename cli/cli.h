/* cli.h: what the files of hivectl share. It is a client like any other: HTTP
 * and server-sent events by libcurl, JSON by jansson, nothing of the workers.
 *
 * Whatever fails ends the program with a sentence on standard error and one of
 * the exit codes below. */

#ifndef HIVE_CLI_H
#define HIVE_CLI_H

#include <jansson.h>

#include <signal.h>
#include <stdio.h>

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,            /* the run failed, the request was refused */
    EXIT_USAGE = 2,
    EXIT_SIGN_IN = 3,           /* no token, or not a good one */
    EXIT_ABSENT = 4,            /* there is no such thing */
    EXIT_UNREACHABLE = 5,       /* no answer, or the service is unwell */
    EXIT_CANCELLED = 6,         /* the run was */
    EXIT_INTERRUPTED = 130
};

typedef struct {
    const char *url;            /* without a slash at its end */
    int json;                   /* --json */
    int tty;                    /* standard output is a terminal */
    int color;
    int width, height;          /* of it: terminal_size() looks again */
} cli_t;

extern cli_t cli;

void terminal_size(void);

__attribute__((noreturn, format(printf, 2, 3)))
void die(int status, const char *format, ...);

/* A sentence on standard error. */
__attribute__((format(printf, 1, 2)))
void complain(const char *format, ...);

/* Wrong arguments: says so, and how `command` is used. */
__attribute__((noreturn, format(printf, 2, 3)))
void die_usage(const char *command, const char *format, ...);

/* ---- options ---- */

typedef struct {
    const char *name;           /* "--model" */
    const char *letter;         /* "-m", or NULL */
    const char **value;         /* takes one; may be given again when `list` */
    int *flag;                  /* takes none */
    json_t *list;               /* values go here */
} option_t;

/* Takes the options out of argv (`argv[0]` is the command); what is left are
 * the arguments, their number is returned. Ends the program when an option is
 * unknown or a value missing. */
int options_take(const char *command, int argc, char **argv,
    const option_t *options);

/* ---- requests (api.c) ---- */

/* Sends; returns owned what was answered with 2xx (NULL: nothing). Signs in
 * again with the refresh token when the access token has run out. Dies with
 * the problem's own words. */
json_t *api(const char *method, const json_t *body,
    const char *path, ...) __attribute__((format(printf, 3, 4)));

/* The same, without a token, and without dying for `*status` in 400..499. */
json_t *api_open(const char *method, const char *path, const json_t *body,
    long *status);

/* GET; NULL when there is no answer, or none that lasts (429, 5xx). */
json_t *api_try(const char *path, ...) __attribute__((format(printf, 1, 2)));

/* All items of a list, page by page; returns owned. */
json_t *api_list(const char *path, ...) __attribute__((format(printf, 1, 2)));

/* Returns owned: "Authorization: Bearer ..." of now; NULL when it had to be
 * renewed, and there was no answer. Dies when nobody is signed in. */
char *api_authorization(void);

/* Set, by a handler: requests end, without an answer. */
extern volatile sig_atomic_t api_interrupted;

/* For a place in a path or query; good for eight calls. */
const char *api_escape(const char *text);

/* ---- who (credentials.c) ---- */

/* Of cli.url; NULL: none. Returns owned. */
json_t *credentials_load(void);
void credentials_store(const json_t *credentials);  /* NULL: removes them */
const char *credentials_path(void);

/* ---- showing (output.c) ---- */

typedef struct {
    const char *title;
    const char *member;         /* of each item; "a.b" goes inside */
    char as;                    /* 's' text, 'n' number, 'i' short id, 't'
                                   time, '$' nano-USD, 'd' duration in ms */
    int right;
} field_t;

/* The items as a table, or as they are with --json; `empty` when there are
 * none and it is a terminal. */
void show_table(const json_t *items, const field_t *fields,
    const char *empty);

/* Members of one object, a line each. */
void show_object(const json_t *object, const field_t *fields);
void show_json(const json_t *json);

/* In static memory, good for eight calls. */
const char *show_money(json_int_t nano_usd);
const char *show_count(json_int_t count);
const char *show_duration(double seconds);

/* An escape sequence, or "" when there is no color: "bold", "dim", "green",
 * "red", "yellow", "cyan", "off". */
const char *ink(const char *name);

/* Text on one line, at most so many columns: control characters and line ends
 * become blanks. Returns the number of columns written. */
int put_clipped(const char *text, size_t len, int columns);

/* A text as it is, or on a terminal broken between words to fit, without
 * control characters. */
void put_wrapped(const char *text);

/* A text; when `safe`, control characters other than line ends and tabs are
 * question marks: they could do anything to a terminal. */
void put_text(FILE *out, const char *text, size_t len, int safe);

const char *text_at(const json_t *json, const char *path);
json_int_t number_at(const json_t *json, const char *path);

/* ---- commands ---- */

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
    const char *help;
} command_t;

extern const command_t commands[];
const command_t *command_find(const char *name);

int command_login(int argc, char **argv);
int command_logout(int argc, char **argv);
int command_whoami(int argc, char **argv);
int command_projects(int argc, char **argv);
int command_tasks(int argc, char **argv);
int command_models(int argc, char **argv);
int command_usage(int argc, char **argv);
int command_swarm(int argc, char **argv);
int command_completion(int argc, char **argv);
int command_help(int argc, char **argv);

/* Watches a run until it has ended; the exit status (live.c). `cursor`: from
 * which event on ("": from now). */
int live_watch(const char *swarm, const char *run, const char *cursor);

/* A run that has ended, with what it has cost. */
void show_run(const json_t *run);

#endif
