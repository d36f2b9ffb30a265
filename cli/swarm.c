/* swarm.c: hivectl swarm: making swarms, giving them work. */

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const field_t swarm_fields[] = {
    { "ID", "id", 'i', 0 }, { "NAME", "name", 's', 0 },
    { "STATE", "state", 's', 0 }, { "TOPOLOGY", "topology", 's', 0 },
    { "AGENTS", "agents", 'n', 1 }, { "MODEL", "model", 's', 0 },
    { "CREATED", "created_at", 't', 0 }, { NULL, NULL, 0, 0 }
};

static const field_t agent_fields[] = {
    { "NAME", "name", 's', 0 }, { "TYPE", "type", 's', 0 },
    { "STATE", "state", 's', 0 }, { "MODEL", "model", 's', 0 },
    { "WAITING", "waiting", 'n', 1 }, { "DONE", "succeeded", 'n', 1 },
    { "FAILED", "failed", 'n', 1 }, { "MEAN", "mean_ms", 'd', 1 },
    { "COST", "nano_usd", '$', 1 }, { NULL, NULL, 0, 0 }
};

static const field_t run_fields[] = {
    { "RUN", "id", 'i', 0 }, { "STATE", "state", 's', 0 },
    { "WORK", "description", 's', 0 }, { "STEPS", "steps", 'n', 1 },
    { "DONE", "succeeded", 'n', 1 }, { "COST", "nano_usd", '$', 1 },
    { "CREATED", "created_at", 't', 0 }, { NULL, NULL, 0, 0 }
};

/* ---- which one ---- */

static int
is_uuid(const char *text)
{
    for (int i = 0; i < 36; i++) {
        char c = text[i];

        if (i == 8 || i == 13 || i == 18 || i == 23 ? c != '-'
            : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')
                || (c >= 'A' && c <= 'F'))) {
            return 0;
        }
    }
    return text[36] == '\0';
}

/* The id of a swarm by its id or name; in static memory. */
static const char *
find_swarm(const char *text)
{
    static char id[40];
    json_t *reply;
    const json_t *items;
    size_t found;

    if (is_uuid(text)) {
        return text;
    }
    reply = api("GET", NULL, "/api/v1/swarms?state=active,draining&name=%s",
        api_escape(text));
    items = json_object_get(reply, "items");
    found = json_array_size(items);
    snprintf(id, sizeof(id), "%s", text_at(json_array_get(items, 0), "id"));
    json_decref(reply);
    if (found == 0) {
        die(EXIT_ABSENT, "there is no swarm \"%s\": hivectl swarm ls", text);
    }
    if (found > 1) {
        die(EXIT_USAGE, "%zu swarms are named \"%s\": give an id (hivectl"
            " swarm ls)", found, text);
    }
    return id;
}

/* The latest run, or the one that is named; in static memory. */
static const char *
find_run(const char *swarm, const char *text)
{
    static char id[40];
    json_t *reply;

    if (text != NULL) {
        return text;
    }
    reply = api("GET", NULL, "/api/v1/swarms/%s/tasks?limit=1", swarm);
    snprintf(id, sizeof(id), "%s", text_at(json_array_get(json_object_get(
        reply, "items"), 0), "id"));
    json_decref(reply);
    if (id[0] == '\0') {
        die(EXIT_ABSENT, "this swarm has been given nothing to do: hivectl"
            " swarm run");
    }
    return id;
}

/* ---- making ---- */

/* "coder:python,sql" */
static json_t *
read_agent(const char *text)
{
    size_t len = strcspn(text, ":");
    json_t *agent = json_pack("{s:s%}", "type", text, len);
    json_t *capabilities = json_array();

    for (const char *at = text + len; *at != '\0'; at += len) {
        at++;
        len = strcspn(at, ",");
        json_array_append_new(capabilities, json_stringn(at, len));
    }
    json_object_set_new(agent, "capabilities", capabilities);
    return agent;
}

static json_t *
read_agents(const json_t *texts)
{
    json_t *agents = json_array(), *text;
    size_t i;

    json_array_foreach((json_t *) texts, i, text) {
        json_array_append_new(agents, read_agent(json_string_value(text)));
    }
    return agents;
}

static void
set_text(json_t *body, const char *name, const char *value)
{
    if (value != NULL) {
        json_object_set_new(body, name, json_string(value));
    }
}

static int
create(int argc, char **argv)
{
    const char *topology = NULL, *strategy = NULL, *model = NULL;
    const char *project = NULL;
    json_t *agents = json_array(), *body, *reply;
    const option_t options[] = {
        { "--topology", "-t", &topology, NULL, NULL },
        { "--strategy", NULL, &strategy, NULL, NULL },
        { "--model", "-m", &model, NULL, NULL },
        { "--project", NULL, &project, NULL, NULL },
        { "--agent", "-a", NULL, NULL, agents },
        { NULL, NULL, NULL, NULL, NULL }
    };

    argc = options_take("swarm", argc, argv, options);
    if (argc != 2) {
        die_usage("swarm", "a swarm needs a name");
    }
    body = json_pack("{s:s}", "name", argv[1]);
    set_text(body, "topology", topology);
    set_text(body, "strategy", strategy);
    set_text(body, "model", model);
    set_text(body, "project_id", project);
    if (json_array_size(agents) > 0) {
        json_object_set_new(body, "agents", read_agents(agents));
        if (json_array_size(agents) > 8) {
            json_object_set_new(body, "max_agents",
                json_integer((json_int_t) json_array_size(agents)));
        }
    }
    reply = api("POST", body, "/api/v1/swarms");
    show_object(reply, swarm_fields);
    json_decref(reply);
    json_decref(body);
    json_decref(agents);
    return EXIT_DONE;
}

static int
spawn(int argc, char **argv)
{
    const option_t none[] = { { NULL, NULL, NULL, NULL, NULL } };
    json_t *agents = json_array(), *body, *reply;

    argc = options_take("swarm", argc, argv, none);
    if (argc < 3) {
        die_usage("swarm", "which agents?");
    }
    for (int i = 2; i < argc; i++) {
        json_array_append_new(agents, read_agent(argv[i]));
    }
    body = json_pack("{s:o}", "agents", agents);
    reply = api("POST", body, "/api/v1/swarms/%s/agents",
        find_swarm(argv[1]));
    show_table(json_object_get(reply, "items"), agent_fields, "");
    json_decref(reply);
    json_decref(body);
    return EXIT_DONE;
}

/* ---- work ---- */

static json_t *
make_order(const char *text, const char *requirements, const char *strategy,
    const char *tokens, const json_t *subtasks)
{
    json_t *body = json_pack("{s:s}", "description", text), *title;
    size_t i;

    set_text(body, "requirements", requirements);
    set_text(body, "strategy", strategy);
    if (tokens != NULL) {
        char *end;
        long long n = strtoll(tokens, &end, 10);

        if (end == tokens || *end != '\0') {
            die_usage("swarm", "--max-tokens %s is no number", tokens);
        }
        json_object_set_new(body, "max_tokens", json_integer(n));
    }
    if (json_array_size(subtasks) > 0) {
        json_t *parts = json_array();

        json_array_foreach((json_t *) subtasks, i, title) {
            json_array_append_new(parts, json_pack("{s:O}", "title", title));
        }
        json_object_set_new(body, "subtasks", parts);
    }
    return body;
}

/* A run that has begun, as the server tells of it (taken): shown until it has
 * ended, or only named. */
static int
follow(json_t *reply, const char *swarm, int detach)
{
    char id[40], cursor[128];

    snprintf(id, sizeof(id), "%s", text_at(reply, "id"));
    snprintf(cursor, sizeof(cursor), "%s", text_at(reply, "cursor"));
    if (detach && cli.json) {
        show_json(reply);
    } else if (detach) {
        puts(id);
    }
    json_decref(reply);
    return detach ? EXIT_DONE : live_watch(swarm, id, cursor);
}

static int
run(int argc, char **argv)
{
    const char *requirements = NULL, *strategy = NULL, *tokens = NULL;
    int detach = 0;
    json_t *subtasks = json_array(), *body, *reply;
    const option_t options[] = {
        { "--requirements", "-r", &requirements, NULL, NULL },
        { "--strategy", NULL, &strategy, NULL, NULL },
        { "--max-tokens", NULL, &tokens, NULL, NULL },
        { "--subtask", "-s", NULL, NULL, subtasks },
        { "--detach", "-d", NULL, &detach, NULL },
        { NULL, NULL, NULL, NULL, NULL }
    };
    char swarm[40];

    argc = options_take("swarm", argc, argv, options);
    if (argc != 3) {
        die_usage("swarm", "which swarm is to do what?");
    }
    body = make_order(argv[2], requirements, strategy, tokens, subtasks);
    snprintf(swarm, sizeof(swarm), "%s", find_swarm(argv[1]));
    reply = api("POST", body, "/api/v1/swarms/%s/tasks", swarm);
    json_decref(body);
    json_decref(subtasks);
    return follow(reply, swarm, detach);
}

static int
status(int argc, char **argv)
{
    static const field_t fields[] = {
        { "name", "name", 's', 0 }, { "id", "id", 's', 0 },
        { "state", "state", 's', 0 }, { "topology", "topology", 's', 0 },
        { "runs", "runs", 's', 0 }, { "steps", "steps", 's', 0 },
        { "model calls", "tries", 'n', 0 },
        { "input tokens", "input_tokens", 'n', 0 },
        { "output tokens", "output_tokens", 'n', 0 },
        { "cost", "nano_usd", '$', 0 }, { NULL, NULL, 0, 0 }
    };
    json_t *reply;

    if (argc != 2) {
        die_usage("swarm", "of which swarm?");
    }
    reply = api("GET", NULL, "/api/v1/swarms/%s/status", find_swarm(argv[1]));
    show_object(reply, fields);
    if (!cli.json) {
        putchar('\n');
        show_table(json_object_get(reply, "members"), agent_fields,
            "No agents: hivectl swarm spawn");
    }
    json_decref(reply);
    return EXIT_DONE;
}

static int
agents(int argc, char **argv)
{
    json_t *reply;

    if (argc != 2) {
        die_usage("swarm", "of which swarm?");
    }
    reply = api("GET", NULL, "/api/v1/swarms/%s/agents", find_swarm(argv[1]));
    show_table(json_object_get(reply, "items"), agent_fields,
        "No agents: hivectl swarm spawn");
    json_decref(reply);
    return EXIT_DONE;
}

/* All swarms, or what one was given to do. */
static int
list(int argc, char **argv)
{
    json_t *items;

    if (argc > 2) {
        die_usage("swarm", "\"%s\" is not expected", argv[2]);
    }
    if (argc == 2) {
        items = api_list("/api/v1/swarms/%s/tasks", find_swarm(argv[1]));
        show_table(items, run_fields,
            "It has been given nothing to do: hivectl swarm run");
    } else {
        items = api_list("/api/v1/swarms");
        show_table(items, swarm_fields,
            "No swarms: hivectl swarm create NAME");
    }
    json_decref(items);
    return EXIT_DONE;
}

static int
watch(int argc, char **argv)
{
    char swarm[40];

    if (argc != 2 && argc != 3) {
        die_usage("swarm", "which swarm?");
    }
    snprintf(swarm, sizeof(swarm), "%s", find_swarm(argv[1]));
    return live_watch(swarm, find_run(swarm, argc == 3 ? argv[2] : NULL), "");
}

static int
show(int argc, char **argv)
{
    char swarm[40];
    json_t *reply;

    if (argc != 2 && argc != 3) {
        die_usage("swarm", "which swarm?");
    }
    snprintf(swarm, sizeof(swarm), "%s", find_swarm(argv[1]));
    reply = api("GET", NULL, "/api/v1/swarms/%s/tasks/%s", swarm,
        api_escape(find_run(swarm, argc == 3 ? argv[2] : NULL)));
    if (cli.json) {
        show_json(reply);
    } else {
        show_run(reply);
    }
    json_decref(reply);
    return EXIT_DONE;
}

static int
cancel(int argc, char **argv)
{
    json_t *reply;

    if (argc != 3) {
        die_usage("swarm", "which run of which swarm?");
    }
    reply = api("POST", NULL, "/api/v1/swarms/%s/tasks/%s/cancel",
        find_swarm(argv[1]), api_escape(argv[2]));
    if (cli.json) {
        show_json(reply);
    }
    json_decref(reply);
    return EXIT_DONE;
}

/* What succeeded stays; the rest is shown as it is done again. */
static int
retry(int argc, char **argv)
{
    char swarm[40];
    int detach = 0;
    const option_t options[] = {
        { "--detach", "-d", NULL, &detach, NULL },
        { NULL, NULL, NULL, NULL, NULL }
    };
    json_t *reply;

    argc = options_take("swarm", argc, argv, options);
    if (argc != 2 && argc != 3) {
        die_usage("swarm", "which swarm?");
    }
    snprintf(swarm, sizeof(swarm), "%s", find_swarm(argv[1]));
    reply = api("POST", NULL, "/api/v1/swarms/%s/tasks/%s/retry", swarm,
        api_escape(find_run(swarm, argc == 3 ? argv[2] : NULL)));
    return follow(reply, swarm, detach);
}

static int
shut_down(int argc, char **argv)
{
    int force = 0;
    const option_t options[] = {
        { "--force", "-f", NULL, &force, NULL },
        { NULL, NULL, NULL, NULL, NULL }
    };
    json_t *body, *reply;

    argc = options_take("swarm", argc, argv, options);
    if (argc != 2) {
        die_usage("swarm", "which swarm?");
    }
    body = json_pack("{s:b}", "force", force);
    reply = api("POST", body, "/api/v1/swarms/%s/shutdown",
        find_swarm(argv[1]));
    show_object(reply, swarm_fields);
    json_decref(reply);
    json_decref(body);
    return EXIT_DONE;
}

int
command_swarm(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } parts[] = {
        { "create", create }, { "ls", list }, { "status", status },
        { "agents", agents }, { "spawn", spawn }, { "run", run },
        { "watch", watch }, { "show", show }, { "cancel", cancel },
        { "retry", retry }, { "shutdown", shut_down },
    };

    if (argc > 1) {
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
            if (strcmp(argv[1], parts[i].name) == 0) {
                return parts[i].run(argc - 1, argv + 1);
            }
        }
    }
    die_usage("swarm", argc > 1 ? "there is no \"swarm %s\""
                                : "what is to be done?%s",
        argc > 1 ? argv[1] : "");
}
