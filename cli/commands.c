/* commands.c: signing in, projects, tasks, models, usage. */

#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* ---- signing in ---- */

/* Returns owned: a line without its end. */
static char *
read_line(FILE *from)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len = getline(&line, &size, from);

    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) {
        line[--len] = '\0';
    }
    if (len < 0) {
        free(line);
        return NULL;
    }
    return line;
}

static char *
ask(const char *question)
{
    char *answer;

    if (!isatty(STDIN_FILENO)) {
        die_usage("login", "there is no terminal to ask: give --email and"
            " --password-file");
    }
    fprintf(stderr, "%s: ", question);
    answer = read_line(stdin);
    if (answer == NULL) {
        die(EXIT_FAILED, "nothing was typed");
    }
    return answer;
}

static struct termios with_echo;

static void
on_signal_without_echo(int number)
{
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &with_echo);
    raise(number);              /* SA_RESETHAND: ends the program */
}

/* Without echo; whatever ends it, the terminal is left as it was. */
static char *
ask_password(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct sigaction action = { .sa_handler = on_signal_without_echo,
        .sa_flags = SA_RESETHAND | SA_NODEFER };
    struct termios quiet;
    char *password;

    if (!isatty(STDIN_FILENO)) {
        die_usage("login", "there is no terminal to ask: give --email and"
            " --password-file");
    }
    tcgetattr(STDIN_FILENO, &with_echo);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        sigaction(numbers[i], &action, NULL);
    }
    quiet = with_echo;
    quiet.c_lflag &= (tcflag_t) ~ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    fprintf(stderr, "Password: ");
    password = read_line(stdin);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &with_echo);
    fputc('\n', stderr);
    if (password == NULL) {
        die(EXIT_FAILED, "nothing was typed");
    }
    return password;
}

static char *
read_password(const char *path)
{
    FILE *file;
    char *password;

    if (path == NULL) {
        return ask_password();
    }
    file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (file == NULL) {
        die(EXIT_FAILED, "cannot read %s", path);
    }
    password = read_line(file);
    if (file != stdin) {
        fclose(file);
    }
    if (password == NULL || password[0] == '\0') {
        die(EXIT_FAILED, "%s holds no password", path);
    }
    return password;
}

__attribute__((noreturn))
static void
die_refused(long status, const json_t *problem)
{
    const json_t *errors = json_object_get(problem, "errors"), *error;
    size_t i;

    json_array_foreach(errors, i, error) {
        complain("%s %s", text_at(error, "field"),
            text_at(error, "message"));
    }
    if (text_at(problem, "detail")[0] == '\0') {
        die(EXIT_SIGN_IN, "%s answered with status %ld", cli.url, status);
    }
    die(EXIT_SIGN_IN, "%s", text_at(problem, "detail"));
}

static void
sign_in(const char *email, const char *password)
{
    json_t *body = json_pack("{s:s, s:s}", "email", email, "password",
        password);
    json_t *reply, *kept;
    long status;

    reply = api_open("POST", "/api/v1/auth/login", body, &status);
    if (status != 200) {
        die_refused(status, reply);
    }
    if (text_at(reply, "access_token")[0] == '\0'
        || text_at(reply, "refresh_token")[0] == '\0') {
        die(EXIT_UNREACHABLE, "%s does not answer as Hive does", cli.url);
    }
    kept = json_pack("{s:s, s:O, s:O, s:I}", "email", email,
        "access_token", json_object_get(reply, "access_token"),
        "refresh_token", json_object_get(reply, "refresh_token"),
        "expires_at", (json_int_t) time(NULL)
            + number_at(reply, "expires_in"));
    credentials_store(kept);
    json_decref(kept);
    json_decref(reply);
    json_decref(body);
}

int
command_login(int argc, char **argv)
{
    const char *email = NULL, *path = NULL, *name = NULL;
    const option_t options[] = {
        { "--email", "-e", &email, NULL, NULL },
        { "--password-file", NULL, &path, NULL, NULL },
        { "--register", NULL, &name, NULL, NULL },
        { NULL, NULL, NULL, NULL, NULL }
    };
    char *password;

    if (options_take("login", argc, argv, options) > 1) {
        die_usage("login", "\"%s\" is not expected", argv[1]);
    }
    if (email == NULL) {
        email = ask("E-mail");
    }
    password = read_password(path);
    if (name != NULL) {
        json_t *body = json_pack("{s:s, s:s, s:s}", "email", email, "name",
            name, "password", password);
        long status;
        json_t *reply = api_open("POST", "/api/v1/auth/register", body,
            &status);

        if (status != 201) {
            die_refused(status, reply);
        }
        json_decref(reply);
        json_decref(body);
    }
    sign_in(email, password);
    memset(password, 0, strlen(password));
    free(password);
    if (cli.tty) {
        printf("Signed in at %s as %s.\n", cli.url, email);
    }
    return EXIT_DONE;
}

int
command_logout(int argc, char **argv)
{
    json_t *credentials = credentials_load();

    if (argc > 1) {
        die_usage("logout", "\"%s\" is not expected", argv[1]);
    }
    if (credentials == NULL) {
        die(EXIT_SIGN_IN, "nobody is signed in at %s", cli.url);
    }
    json_decref(api("POST", NULL, "/api/v1/auth/logout"));
    json_decref(credentials);
    credentials_store(NULL);
    return EXIT_DONE;
}

int
command_whoami(int argc, char **argv)
{
    static const field_t fields[] = {
        { "name", "name", 's', 0 }, { "email", "email", 's', 0 },
        { "id", "id", 's', 0 }, { "administrator", "is_superuser", 's', 0 },
        { NULL, NULL, 0, 0 }
    };
    json_t *me;

    if (argc > 1) {
        die_usage("whoami", "\"%s\" is not expected", argv[1]);
    }
    me = api("GET", NULL, "/api/v1/auth/me");
    show_object(me, fields);
    if (cli.tty && !cli.json) {
        printf("%sat             %s\n%s", ink("dim"), cli.url, ink("off"));
    }
    json_decref(me);
    return EXIT_DONE;
}

/* ---- projects ---- */

static const field_t project_fields[] = {
    { "ID", "id", 'i', 0 }, { "NAME", "name", 's', 0 },
    { "DESCRIPTION", "description", 's', 0 },
    { "CREATED", "created_at", 't', 0 }, { NULL, NULL, 0, 0 }
};

int
command_projects(int argc, char **argv)
{
    const char *description = "";
    const option_t options[] = {
        { "--description", "-d", &description, NULL, NULL },
        { NULL, NULL, NULL, NULL, NULL }
    };
    const char *what;
    json_t *reply;

    argc = options_take("projects", argc, argv, options);
    what = argc > 1 ? argv[1] : "ls";
    if (strcmp(what, "ls") == 0 && argc <= 2) {
        reply = api_list("/api/v1/projects");
        show_table(reply, project_fields,
            "No projects: hivectl projects create NAME");
    } else if (strcmp(what, "create") == 0 && argc == 3) {
        json_t *body = json_pack("{s:s, s:s}", "name", argv[2],
            "description", description);

        reply = api("POST", body, "/api/v1/projects");
        json_decref(body);
        show_object(reply, project_fields);
    } else if (strcmp(what, "show") == 0 && argc == 3) {
        reply = api("GET", NULL, "/api/v1/projects/%s",
            api_escape(argv[2]));
        show_object(reply, project_fields);
    } else if (strcmp(what, "rm") == 0 && argc == 3) {
        reply = api("DELETE", NULL, "/api/v1/projects/%s",
            api_escape(argv[2]));
    } else {
        die_usage("projects", "what is to be done?");
    }
    json_decref(reply);
    return EXIT_DONE;
}

/* ---- tasks ---- */

static const field_t task_fields[] = {
    { "ID", "id", 'i', 0 }, { "STATE", "state", 's', 0 },
    { "KIND", "kind", 's', 0 }, { "TITLE", "title", 's', 0 },
    { "TRY", "attempt", 'n', 1 }, { "CREATED", "created_at", 't', 0 },
    { NULL, NULL, 0, 0 }
};

static const field_t task_details[] = {
    { "id", "id", 's', 0 }, { "state", "state", 's', 0 },
    { "kind", "kind", 's', 0 }, { "title", "title", 's', 0 },
    { "attempt", "attempt", 'n', 0 }, { "progress", "progress", 's', 0 },
    { "message", "progress_message", 's', 0 },
    { "cost", "cost_nano_usd", '$', 0 }, { "error", "error.message", 's', 0 },
    { "created", "created_at", 't', 0 },
    { "finished", "finished_at", 't', 0 }, { NULL, NULL, 0, 0 }
};

static json_t *
create_task(const char *kind, const char *input, const char *title)
{
    json_t *body = json_pack("{s:s, s:s}", "kind", kind, "title", title);
    json_t *given, *reply;
    json_error_t error;

    if (input != NULL) {
        given = json_loads(input, 0, &error);
        if (given == NULL) {
            die(EXIT_USAGE, "--input is not JSON: %s", error.text);
        }
        json_object_set_new(body, "input", given);
    }
    reply = api("POST", body, "/api/v1/tasks");
    json_decref(body);
    return reply;
}

int
command_tasks(int argc, char **argv)
{
    const char *state = NULL, *kind = NULL, *input = NULL, *title = "";
    const option_t options[] = {
        { "--state", NULL, &state, NULL, NULL },
        { "--kind", NULL, &kind, NULL, NULL },
        { "--input", NULL, &input, NULL, NULL },
        { "--title", NULL, &title, NULL, NULL },
        { NULL, NULL, NULL, NULL, NULL }
    };
    const char *what;
    json_t *reply;

    argc = options_take("tasks", argc, argv, options);
    what = argc > 1 ? argv[1] : "ls";
    if (strcmp(what, "ls") == 0 && argc <= 2) {
        reply = api_list("/api/v1/tasks?%s%s%s%s%s",
            state != NULL ? "state=" : "", api_escape(state != NULL ? state
                                                                    : ""),
            state != NULL && kind != NULL ? "&" : "",
            kind != NULL ? "kind=" : "", api_escape(kind != NULL ? kind
                                                                 : ""));
        show_table(reply, task_fields,
            "No tasks.");
    } else if (strcmp(what, "create") == 0 && argc == 3) {
        reply = create_task(argv[2], input, title);
        show_object(reply, task_details);
    } else if (strcmp(what, "show") == 0 && argc == 3) {
        reply = api("GET", NULL, "/api/v1/tasks/%s", api_escape(argv[2]));
        show_object(reply, task_details);
    } else if (strcmp(what, "result") == 0 && argc == 3) {
        reply = api("GET", NULL, "/api/v1/tasks/%s/result",
            api_escape(argv[2]));
        show_json(reply);
    } else if ((strcmp(what, "cancel") == 0 || strcmp(what, "retry") == 0)
               && argc == 3) {
        reply = api("POST", NULL, "/api/v1/tasks/%s/%s", api_escape(argv[2]),
            what);
        show_object(reply, task_details);
    } else {
        die_usage("tasks", "what is to be done?");
    }
    json_decref(reply);
    return EXIT_DONE;
}

/* ---- models and what they cost ---- */

/* Prices in dollars per million tokens, as they are quoted: a nano-dollar per
 * token is a thousandth of that. */
static void
add_prices(json_t *model)
{
    const json_t *price = json_array_get(json_object_get(model, "prices"), 0);
    char text[64];

    snprintf(text, sizeof(text), "%.3g", (double) number_at(price, "input")
        / 1000);
    json_object_set_new(model, "_in", json_string(text));
    snprintf(text, sizeof(text), "%.3g", (double) number_at(price, "output")
        / 1000);
    json_object_set_new(model, "_out", json_string(text));
    json_object_set_new(model, "_ready", json_string(json_is_true(
        json_object_get(model, "ready")) ? "yes"
        : strcmp(text_at(model, "status"), "retired") == 0 ? "retired"
        : "no key"));
}

int
command_models(int argc, char **argv)
{
    static const field_t fields[] = {
        { "MODEL", "id", 'i', 0 }, { "READY", "_ready", 's', 0 },
        { "CONTEXT", "context_tokens", 'n', 1 },
        { "OUTPUT", "max_output_tokens", 'n', 1 },
        { "$/M IN", "_in", 's', 1 }, { "$/M OUT", "_out", 's', 1 },
        { NULL, NULL, 0, 0 }
    };
    int all = 0;
    const option_t options[] = {
        { "--all", "-a", NULL, &all, NULL }, { NULL, NULL, NULL, NULL, NULL }
    };
    json_t *reply, *model;
    size_t i;

    argc = options_take("models", argc, argv, options);
    if (argc > 2) {
        die_usage("models", "\"%s\" is not expected", argv[2]);
    }
    if (argc == 2) {
        reply = api("GET", NULL, "/api/v1/models/%s", api_escape(argv[1]));
        show_json(reply);
        json_decref(reply);
        return EXIT_DONE;
    }
    reply = api("GET", NULL, "/api/v1/models%s", all ? "" : "?status=active");
    if (!cli.json) {
        json_array_foreach(json_object_get(reply, "items"), i, model) {
            add_prices(model);
        }
    }
    show_table(json_object_get(reply, "items"), fields,
        "No models: hive-worker --load-models conf/models.json");
    json_decref(reply);
    return EXIT_DONE;
}

int
command_usage(int argc, char **argv)
{
    static const field_t all[] = {
        { "DAY", "day", 's', 0 }, { "MODEL", "model", 's', 0 },
        { "PROJECT", "project_id", 'i', 0 }, { "SWARM", "swarm_id", 'i', 0 },
        { "CALLS", "tries", 'n', 1 }, { "INPUT", "input_tokens", 'n', 1 },
        { "CACHED", "cache_read_tokens", 'n', 1 },
        { "OUTPUT", "output_tokens", 'n', 1 }, { "COST", "nano_usd", '$', 1 },
    };
    static const char *const names[] = { "day", "model", "project", "swarm" };
    const char *by = "day,model", *from = NULL, *to = NULL;
    const option_t options[] = {
        { "--by", NULL, &by, NULL, NULL },
        { "--from", NULL, &from, NULL, NULL },
        { "--to", NULL, &to, NULL, NULL }, { NULL, NULL, NULL, NULL, NULL }
    };
    field_t fields[10];
    int count = 0;
    json_t *reply;

    if (options_take("usage", argc, argv, options) > 1) {
        die_usage("usage", "\"%s\" is not expected", argv[1]);
    }
    for (int i = 0; i < 9; i++) {
        if (i >= 4 || strstr(by, names[i]) != NULL) {
            fields[count++] = all[i];
        }
    }
    fields[count] = (field_t) { NULL, NULL, 0, 0 };
    reply = api("GET", NULL, "/api/v1/usage?by=%s%s%s%s%s", api_escape(by),
        from != NULL ? "&from=" : "", api_escape(from != NULL ? from : ""),
        to != NULL ? "&to=" : "", api_escape(to != NULL ? to : ""));
    show_table(json_object_get(reply, "items"), fields,
        "Nothing was asked of a model yet.");
    json_decref(reply);
    return EXIT_DONE;
}
