/* main.c: the command line of hive-worker. */

#include "worker.h"

#include "workers/identity/identity.h"
#include "workers/llm/llm.h"
#include "workers/runtime/log.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STANDARD_PATH "/etc/hive/worker.ini"
#define HANG_MS       30000    /* a loop that has not turned for so long */

enum { OPT_CHECK = 256, OPT_INIT_ADMIN, OPT_LOAD_MODELS, OPT_PIDFILE, OPT_REFERENCE,
    OPT_VERSION, OPT_HELP };

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "check", no_argument, NULL, OPT_CHECK },
    { "init-admin", no_argument, NULL, OPT_INIT_ADMIN },
    { "load-models", required_argument, NULL, OPT_LOAD_MODELS },
    { "pidfile", required_argument, NULL, OPT_PIDFILE },
    { "reference", no_argument, NULL, OPT_REFERENCE },
    { "version", no_argument, NULL, OPT_VERSION },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 }
};

static const char help[] =
    "usage: hive-worker [-c FILE] [--pidfile FILE]\n"
    "       hive-worker [-c FILE] --check | --init-admin\n"
    "       hive-worker [-c FILE] --load-models MODELS\n"
    "       hive-worker --reference | --version | --help\n"
    "\n"
    "Runs Hive's worker processes under their supervisor.\n"
    "\n"
    "  -c, --config FILE  configuration (" STANDARD_PATH ")\n"
    "  --pidfile FILE     write the supervisor's process id there\n"
    "  --check            test the configuration and end\n"
    "  --init-admin       print the link that makes the first administrator,\n"
    "                     if there is none\n"
    "  --load-models FILE put a catalogue of models (conf/models.json) in the\n"
    "                     database; \"-\" is standard input\n"
    "  --reference        print every key of the configuration\n"
    "  --version, --help\n"
    "\n"
    "Signals: HUP reads the configuration again and replaces the processes\n"
    "without losing a request; TERM and INT finish what is in hand and end;\n"
    "USR1 writes what is in hand to the log.\n";

/* What the supervisor's hooks work on. */
typedef struct {
    const char *path;
    arena_t *arena;            /* of the settings in force */
    const settings_t *settings;
} source_t;

static void
print_errors(const char *errors)
{
    fputs(errors, stderr);
}

static void
log_errors(const char *errors)
{
    for (size_t len; *errors != '\0'; errors += len + (errors[len] == '\n')) {
        len = strcspn(errors, "\n");
        log_error("%.*s", (int) len, errors);
    }
}

static const settings_t *
load(source_t *source, void (*complain)(const char *errors))
{
    arena_t *arena = arena_new();
    const char *errors;
    const settings_t *settings = settings_load(arena, source->path, &errors);

    if (settings == NULL) {
        complain(errors);
        arena_free(arena);
        return NULL;
    }

    if (source->arena != NULL) {
        arena_free(source->arena);
    }
    source->arena = arena;
    source->settings = settings;
    return settings;
}

static int
run_child(const child_t *child, void *arg)
{
    const source_t *source = arg;

    return worker_run(child, source->settings);
}

static void
make_plan(const source_t *source, supervisor_plan_t *plan)
{
    plan->processes = source->settings->worker.processes;
    plan->drain_ms = source->settings->worker.drain_timeout;
    plan->hang_ms = HANG_MS;
}

static int
reload(supervisor_plan_t *plan, void *arg)
{
    source_t *source = arg;

    if (load(source, log_errors) == NULL) {
        return -1;
    }

    make_plan(source, plan);
    return 0;
}

static int
supervise(source_t *source, const char *pidfile)
{
    supervisor_hooks_t hooks = { run_child, reload, source, pidfile };
    supervisor_plan_t plan;
    log_level_t level = LOG_LEVEL_INFO;

    log_level_parse(source->settings->log.level, &level);
    log_set_level(level);
    make_plan(source, &plan);
    return supervisor_run(&plan, &hooks);
}

/* Options that end at once: the exit status, or -1 to go on. */
static int
answer(int option)
{
    switch (option) {
    case OPT_REFERENCE:
        config_print_reference(stdout, &settings_schema);
        return 0;
    case OPT_VERSION:
        printf("hive-worker %s\n", HIVE_VERSION);
        return 0;
    case OPT_HELP:
        fputs(help, stdout);
        return 0;
    case '?':
        fputs("try hive-worker --help\n", stderr);
        return 2;
    default:
        return -1;
    }
}

int
main(int argc, char **argv)
{
    source_t source = { .path = STANDARD_PATH };
    const char *pidfile = NULL, *models = NULL;
    int command = 0, option, status;

    signal(SIGPIPE, SIG_IGN);
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (option == 'c') {
            source.path = optarg;
        } else if (option == OPT_PIDFILE) {
            pidfile = optarg;
        } else if (option == OPT_LOAD_MODELS) {
            models = optarg;
            command = option;
        } else if (option == OPT_CHECK || option == OPT_INIT_ADMIN) {
            command = option;
        } else {
            return answer(option);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "hive-worker: \"%s\" is not an option\n",
            argv[optind]);
        return answer('?');
    }

    if (load(&source, print_errors) == NULL) {
        return 1;
    }
    if (command == OPT_CHECK) {
        printf("%s: ok\n", source.path);
        status = 0;
    } else if (command == OPT_INIT_ADMIN) {
        status = identity_init_admin(source.settings->database.conninfo,
            source.settings->auth.public_url);
    } else if (command == OPT_LOAD_MODELS) {
        status = llm_load_models(source.settings->database.conninfo, models);
    } else {
        status = supervise(&source, pidfile);
    }

    arena_free(source.arena);
    return status;
}
