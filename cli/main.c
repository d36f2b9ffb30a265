/* main.c: hivectl: Hive on the command line. */

#include "cli.h"

#include <curl/curl.h>

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define STANDARD_URL "http://127.0.0.1:8080"
#define WIDTH_MIN    36         /* columns; a terminal of fewer wraps */

cli_t cli;

const command_t commands[] = {
    { "login", command_login, "login [--email E] [--password-file F]"
        " [--register NAME]",
        "Signs in; the token is kept in ~/.config/hive, mode 0600. The"
        " password is asked\nfor, or read from a file (\"-\": standard"
        " input). --register makes the account first." },
    { "logout", command_logout, "logout",
        "Ends the session and forgets its token." },
    { "whoami", command_whoami, "whoami", "Who is signed in, and where." },
    { "projects", command_projects,
        "projects [ls] | create NAME [--description D] | show ID | rm ID",
        "Projects." },
    { "tasks", command_tasks,
        "tasks [ls] [--state S] [--kind K] | create KIND [--input JSON]"
        " [--title T]\n           | show ID | result ID | cancel ID |"
        " retry ID",
        "Tasks: what runs in the background." },
    { "models", command_models, "models [ID] [--all]",
        "Models that can be asked, and what they cost; --all shows retired"
        " ones too." },
    { "usage", command_usage,
        "usage [--by day,model,project,swarm] [--from T] [--to T]",
        "What models have cost." },
    { "swarm", command_swarm,
        "swarm create NAME [--topology star|hierarchical] [--strategy S]"
        " [--model M]\n"
        "                     [--agent TYPE[:CAPABILITY,...]]...\n"
        "       hivectl swarm ls | status SWARM | agents SWARM | spawn SWARM"
        " TYPE... \n"
        "       hivectl swarm run SWARM TEXT [--requirements R] [--detach]"
        " [--max-tokens N]\n"
        "                     [--strategy S] [--subtask TITLE]...\n"
        "       hivectl swarm watch SWARM [RUN] | show SWARM [RUN] |"
        " cancel SWARM RUN\n"
        "       hivectl swarm retry SWARM [RUN] [--detach]\n"
        "       hivectl swarm shutdown SWARM [--force]",
        "Swarms of agents. SWARM is an id or a name. `run` gives the swarm a"
        " piece of work\nand shows it live; when the terminal goes away the"
        " work goes on, and `watch` shows\nit again; `retry` does once more"
        " what of a run did not succeed. In a pipe each\nevent is a line." },
    { "completion", command_completion, "completion bash|zsh",
        "Prints completion for a shell: eval \"$(hivectl completion bash)\"" },
    { "help", command_help, "help [COMMAND]", "Explains a command." },
    { NULL, NULL, NULL, NULL }
};

static const char examples[] =
    "\n"
    "First steps:\n"
    "  hivectl login --email ada@example.org --register Ada\n"
    "  hivectl swarm create team --agent coordinator --agent researcher"
    " --agent coder\n"
    "  hivectl swarm run team \"Compare three ways to store sessions\"\n"
    "\n"
    "Exit codes: 0 done, 1 failed or refused, 2 wrong arguments, 3 not signed"
    " in,\n"
    "4 no such thing, 5 Hive does not answer, 6 the run was cancelled.\n";

/* ---- ending ---- */

static void
put_sentence(const char *format, va_list args)
{
    char *text;
    int len = vasprintf(&text, format, args);

    fflush(stdout);
    fprintf(stderr, "hivectl: ");
    if (len >= 0) {
        put_text(stderr, text, (size_t) len, isatty(STDERR_FILENO));
        free(text);
    }
    fputc('\n', stderr);
}

void
complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put_sentence(format, args);
    va_end(args);
}

void
die(int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put_sentence(format, args);
    va_end(args);
    exit(status);
}

void
die_usage(const char *command, const char *format, ...)
{
    const command_t *known = command_find(command);
    va_list args;

    va_start(args, format);
    put_sentence(format, args);
    va_end(args);
    fprintf(stderr, "usage: hivectl %s\n",
        known != NULL ? known->usage : "COMMAND");
    exit(EXIT_USAGE);
}

/* ---- help ---- */

const command_t *
command_find(const char *name)
{
    for (const command_t *c = commands; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0) {
            return c;
        }
    }
    return NULL;
}

static void
print_help(void)
{
    printf("usage: hivectl [--url URL] [--json] [--no-color] COMMAND ...\n\n");
    for (const command_t *c = commands; c->name != NULL; c++) {
        printf("  %-11s %.*s\n", c->name, (int) strcspn(c->help, "\n"),
            c->help);
    }
    printf("\n--url, or HIVE_URL, says where Hive is (" STANDARD_URL ");"
        " --json prints what it\nanswers. HIVE_TOKEN stands for a sign-in."
        " `hivectl help COMMAND` explains one.\n%s", examples);
}

int
command_help(int argc, char **argv)
{
    const command_t *command;

    if (argc < 2) {
        print_help();
        return EXIT_DONE;
    }
    command = command_find(argv[1]);
    if (command == NULL) {
        die_usage("help", "there is no command \"%s\"", argv[1]);
    }
    printf("usage: hivectl %s\n\n%s\n", command->usage, command->help);
    return EXIT_DONE;
}

int
command_completion(int argc, char **argv)
{
    static const char words[] = "login logout whoami projects tasks models"
        " usage swarm completion help";
    static const char swarm[] = "create ls status agents spawn run watch show"
        " cancel retry shutdown";

    if (argc != 2 || (strcmp(argv[1], "bash") != 0
            && strcmp(argv[1], "zsh") != 0)) {
        die_usage("completion", "which shell?");
    }
    if (strcmp(argv[1], "zsh") == 0) {
        puts("autoload -U +X bashcompinit && bashcompinit");
    }
    printf("_hivectl() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} first=${COMP_WORDS[1]}\n"
        "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
        "        COMPREPLY=($(compgen -W '%s' -- \"$cur\"))\n"
        "    elif [ \"$COMP_CWORD\" -eq 2 ]; then\n"
        "        case $first in\n"
        "        swarm) COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n"
        "        projects) COMPREPLY=($(compgen -W 'ls create show rm' --"
        " \"$cur\")) ;;\n"
        "        tasks) COMPREPLY=($(compgen -W 'ls create show result cancel"
        " retry' -- \"$cur\")) ;;\n"
        "        help) COMPREPLY=($(compgen -W '%s' -- \"$cur\")) ;;\n"
        "        esac\n"
        "    fi\n"
        "}\n"
        "complete -F _hivectl hivectl\n", words, swarm, words);
    return EXIT_DONE;
}

/* ---- options ---- */

static const option_t *
option_find(const option_t *options, const char *text, size_t len)
{
    for (const option_t *o = options; o->name != NULL; o++) {
        if ((strlen(o->name) == len && strncmp(o->name, text, len) == 0)
            || (o->letter != NULL && strcmp(o->letter, text) == 0)) {
            return o;
        }
    }
    return NULL;
}

static void
option_set(const char *command, const option_t *option, const char *text,
    const char *value)
{
    if (option->flag != NULL) {
        *option->flag = 1;
        return;
    }
    if (value == NULL) {
        die_usage(command, "%s needs a value", text);
    }
    if (option->list != NULL) {
        json_array_append_new(option->list, json_string(value));
    } else {
        *option->value = value;
    }
}

int
options_take(const char *command, int argc, char **argv,
    const option_t *options)
{
    int left = 1, only = 0;

    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        size_t len = equals != NULL ? (size_t) (equals - argv[i])
                                    : strlen(argv[i]);
        const option_t *option;

        if (only || argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[left++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            only = 1;
            continue;
        }
        option = option_find(options, argv[i], len);
        if (option == NULL) {
            die_usage(command, "there is no option %.*s", (int) len, argv[i]);
        }
        if (option->flag == NULL && equals == NULL) {
            option_set(command, option, argv[i],
                i + 1 < argc ? argv[i + 1] : NULL);
            i++;
        } else {
            if (option->flag != NULL && equals != NULL) {
                die_usage(command, "%s takes no value", option->name);
            }
            option_set(command, option, argv[i],
                equals != NULL ? equals + 1 : NULL);
        }
    }
    argv[left] = NULL;
    return left;
}

/* ---- starting ---- */

void
terminal_size(void)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");

    cli.width = 80;
    cli.height = 24;
    if (cli.tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0
        && size.ws_col > 0 && size.ws_row > 0) {
        cli.width = size.ws_col;
        cli.height = size.ws_row;
    } else if (columns != NULL && atoi(columns) > 0) {
        cli.width = atoi(columns);
    }
    if (cli.width < WIDTH_MIN) {
        cli.width = WIDTH_MIN;
    }
}

static void
look_at_terminal(int no_color)
{
    cli.tty = isatty(STDOUT_FILENO);
    terminal_size();
    cli.color = cli.tty && !no_color && getenv("NO_COLOR") == NULL;
}

static void
set_url(const char *given)
{
    const char *from = given != NULL ? given : getenv("HIVE_URL");
    char *url = strdup(from != NULL && from[0] != '\0' ? from : STANDARD_URL);
    size_t len = strlen(url);

    while (len > 0 && url[len - 1] == '/') {
        url[--len] = '\0';
    }
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
        die(EXIT_USAGE, "%s is no address: it begins with http:// or"
            " https://", url);
    }
    cli.url = url;
}

/* Of what stands behind the command: --json, --help. Returns argc. */
static int
take_everywhere(int argc, char **argv, int at)
{
    int left = at + 1, only = 0;

    for (int i = at + 1; i < argc; i++) {
        json_t *text = json_string(argv[i]);

        if (text == NULL) {
            die(EXIT_USAGE, "argument %d is not UTF-8", i);
        }
        json_decref(text);
        only |= strcmp(argv[i], "--") == 0;
        if (!only && strcmp(argv[i], "--json") == 0) {
            cli.json = 1;
        } else if (!only && (strcmp(argv[i], "--help") == 0
                || strcmp(argv[i], "-h") == 0)) {
            char *help[] = { (char *) "help", argv[at], NULL };

            exit(command_help(2, help));
        } else {
            argv[left++] = argv[i];
        }
    }
    argv[left] = NULL;
    return left;
}

/* Options before the command are for all commands; --json may be anywhere. */
int
main(int argc, char **argv)
{
    const command_t *command;
    const char *url = NULL;
    int no_color = 0, at = 1;

    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) {
        setlocale(LC_CTYPE, "C.UTF-8");     /* what Hive says is */
    }
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--json") == 0) {
            cli.json = 1;
        } else if (strcmp(argv[at], "--no-color") == 0) {
            no_color = 1;
        } else if (strcmp(argv[at], "--url") == 0 && at + 1 < argc) {
            url = argv[++at];
        } else if (strncmp(argv[at], "--url=", 6) == 0) {
            url = argv[at] + 6;
        } else if (strcmp(argv[at], "--help") == 0
                   || strcmp(argv[at], "-h") == 0) {
            print_help();
            return EXIT_DONE;
        } else if (strcmp(argv[at], "--version") == 0) {
            printf("hivectl %s\n", HIVE_VERSION);
            return EXIT_DONE;
        } else {
            die_usage("", "there is no option %s", argv[at]);
        }
    }
    if (at == argc) {
        print_help();
        return EXIT_USAGE;
    }
    command = command_find(argv[at]);
    if (command == NULL) {
        die(EXIT_USAGE, "there is no command \"%s\": hivectl help lists them",
            argv[at]);
    }
    argc = take_everywhere(argc, argv, at);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    look_at_terminal(no_color);
    set_url(url);
    return command->run(argc - at, argv + at);
}
