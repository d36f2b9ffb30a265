/* live.c: a run as it goes: server-sent events of the swarm's channel. On a
 * terminal a line for each agent that has something to do, redrawn ten times a
 * second; in a pipe a line for each event. A connection that drops is made
 * again and goes on where it was (Last-Event-ID). */

#include "run_view.h"

#include <curl/curl.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAW_S     0.1
#define LOOK_S     5.0          /* how often the run is asked for */
#define LAST_S     2.0          /* the last event may be that late */
#define SILENCE_S  60.0         /* Hive says something every 25 s */
#define LINE_MAX_BYTES (1 << 20)

typedef struct {
    char swarm[40], run[40];
    run_view_t view;
    char *line;                 /* of the stream, not complete */
    size_t line_len;
    char *data;                 /* of the event in hand */
    size_t data_len;
    char id[256];               /* of it */
    char last_id[256];          /* of the last that was taken */
    int skipping;               /* a line that is too long */
    int opened;                 /* the stream is */
    int refused;                /* what it was to tell */
    int told_end;               /* by the stream */
    int drawn;                  /* lines on the terminal */
    double drawn_at, looked_at, heard_at, ended_at;
} live_t;

static void
on_interrupt(int number)
{
    (void) number;
    api_interrupted = 1;
}

/* ---- in a pipe ---- */

static void
put_event(const live_t *live, const json_t *event, const step_view_t *step)
{
    const char *type = text_at(event, "type");
    const char *time = text_at(event, "timestamp");

    if (cli.json) {
        json_dumpf(event, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        return;
    }
    if (strcmp(type, "message.delta") == 0) {
        return;
    }
    printf("%.8s %s", strlen(time) > 19 ? time + 11 : "", type);
    if (step != NULL) {
        printf(" %s by %s", step->title[0] != '\0' ? step->title
                                                   : step->name, step->agent);
    }
    if (strcmp(type, "step.succeeded") == 0 && step != NULL) {
        printf(": %s tokens, %s", show_count(step->output_tokens),
            show_money(step->nano_usd));
    } else if (strcmp(type, "run.planned") == 0) {
        printf(": %zu steps", live->view.count);
    } else if (json_object_get(json_object_get(event, "data"), "error")
               != NULL) {
        printf(": %s", text_at(event, "data.error.message"));
    }
    putchar('\n');
    fflush(stdout);
}

/* ---- the stream ---- */

static void
take_data(live_t *live)
{
    json_t *event = json_loadb(live->data, live->data_len, 0, NULL);
    step_view_t *step;

    if (event != NULL) {
        const char *about = text_at(event, "data.run_id");
        const char *type = text_at(event, "type");

        live->refused |= strcmp(type, "error") == 0
            || strcmp(type, "unsubscribed") == 0;
        step = view_take_event(&live->view, event);
        if (strcmp(about, live->run) == 0 && strncmp(type, "run.", 4) == 0) {
            live->told_end = view_ended(&live->view);
            live->ended_at = 0;
        }
        if (!cli.tty && (about[0] == '\0'
                ? strcmp(type, "message.delta") == 0
                : strcmp(about, live->run) == 0)) {
            put_event(live, event, step);
        }
        json_decref(event);
    }
    live->data_len = 0;
}

static void
take_line(live_t *live, const char *line, size_t len)
{
    if (len > 0 && line[len - 1] == '\r') {
        len--;
    }
    if (len == 0) {
        if (live->data_len > 0) {
            take_data(live);
        }
        snprintf(live->last_id, sizeof(live->last_id), "%s", live->id);
    } else if (len > 6 && memcmp(line, "data: ", 6) == 0) {
        char *more = realloc(live->data, live->data_len + len);

        if (more == NULL) {
            die(EXIT_FAILED, "out of memory");
        }
        live->data = more;
        memcpy(live->data + live->data_len, line + 6, len - 6);
        live->data_len += len - 6;
    } else if (len > 4 && memcmp(line, "id: ", 4) == 0) {
        snprintf(live->id, sizeof(live->id), "%.*s", (int) (len - 4),
            line + 4);
    }
}

static size_t
on_bytes(char *data, size_t one, size_t len, void *arg)
{
    live_t *live = arg;
    char *more = realloc(live->line, live->line_len + len);
    size_t from = 0;

    (void) one;
    if (more == NULL) {
        die(EXIT_FAILED, "out of memory");
    }
    live->opened = 1;
    live->heard_at = view_now();
    live->line = more;
    memcpy(live->line + live->line_len, data, len);
    live->line_len += len;
    for (size_t i = 0; i < live->line_len; i++) {
        if (live->line[i] == '\n') {
            if (!live->skipping) {
                take_line(live, live->line + from, i - from);
            }
            live->skipping = 0;
            from = i + 1;
        }
    }
    memmove(live->line, live->line + from, live->line_len - from);
    live->line_len -= from;
    if (live->line_len > LINE_MAX_BYTES) {
        live->skipping = 1;     /* a text of that length is not shown */
        live->line_len = 0;
    }
    return len;
}

static void
take_run(live_t *live, const json_t *run)
{
    view_take_run(&live->view, run);
    if (live->last_id[0] == '\0') {
        snprintf(live->last_id, sizeof(live->last_id), "%s",
            text_at(run, "cursor"));
    }
    live->looked_at = view_now();
}

/* Where there is no answer now there may be one the next time. */
static void
look(live_t *live)
{
    json_t *run = api_try("/api/v1/swarms/%s/tasks/%s", live->swarm,
        api_escape(live->run));

    if (run != NULL) {
        take_run(live, run);
        json_decref(run);
    }
    live->looked_at = view_now();
}

/* Whether the run has ended and its last event has come, or should have. */
static int
has_ended(live_t *live)
{
    if (!view_ended(&live->view)) {
        return 0;
    }
    if (live->ended_at <= 0) {
        live->ended_at = view_now();
    }
    return live->told_end || view_now() - live->ended_at > LAST_S;
}

static void
draw(live_t *live)
{
    live->drawn = view_draw(&live->view, live->drawn);
    live->drawn_at = view_now();
}

/* What is to be done beside reading. Nonzero: no more. */
static int
between(live_t *live)
{
    double now = view_now();

    if (now - live->looked_at > LOOK_S) {
        look(live);
    }
    if (cli.tty && !cli.json && now - live->drawn_at >= DRAW_S) {
        draw(live);
    }
    return api_interrupted || has_ended(live);
}

/* One connection, until it ends or the run has. */
static void
stream(live_t *live)
{
    char *authorization = api_authorization();
    char url[512], last[300];
    struct curl_slist *headers = NULL;
    CURLM *multi;
    CURL *curl;
    int running = 1;

    live->opened = live->refused = live->skipping = 0;
    live->line_len = live->data_len = 0;
    live->heard_at = view_now();
    snprintf(live->id, sizeof(live->id), "%s", live->last_id);
    if (authorization == NULL) {
        return;
    }
    multi = curl_multi_init();
    curl = curl_easy_init();
    snprintf(url, sizeof(url), "%s/api/v1/events?channels=swarm:%s", cli.url,
        live->swarm);
    headers = curl_slist_append(headers, authorization);
    headers = curl_slist_append(headers, "Accept: text/event-stream");
    if (live->last_id[0] != '\0') {
        snprintf(last, sizeof(last), "Last-Event-ID: %s", live->last_id);
        headers = curl_slist_append(headers, last);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "hivectl/" HIVE_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, live);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_multi_add_handle(multi, curl);
    while (running > 0 && !between(live) && !live->refused
           && view_now() - live->heard_at < SILENCE_S) {
        curl_multi_perform(multi, &running);
        if (running > 0) {
            curl_multi_poll(multi, NULL, 0, 50, NULL);
        }
    }
    curl_multi_remove_handle(multi, curl);
    curl_easy_cleanup(curl);
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    free(authorization);
}

static void
pause_before_next(int failures)
{
    double most = 0.25 * (double) (1 << (failures < 5 ? failures : 5));
    double length = most * (0.5 + (double) rand() / RAND_MAX / 2);
    struct timespec rest = { (time_t) length,
        (long) ((length - (double) (time_t) length) * 1e9) };

    nanosleep(&rest, NULL);
}

/* ---- a run that has ended ---- */

void
show_run(const json_t *run)
{
    static const field_t fields[] = {
        { "STEP", "title", 's', 0 }, { "AGENT", "agent", 's', 0 },
        { "STATE", "state", 's', 0 }, { "MODEL", "model", 's', 0 },
        { "TRY", "attempt", 'n', 1 }, { "INPUT", "input_tokens", 'n', 1 },
        { "OUTPUT", "output_tokens", 'n', 1 }, { "COST", "nano_usd", '$', 1 },
        { NULL, NULL, 0, 0 }
    };
    const char *state = text_at(run, "state");
    const char *result = text_at(run, "result");

    if (result[0] != '\0') {
        putchar('\n');
        put_wrapped(result);
    }
    if (text_at(run, "error.message")[0] != '\0') {
        printf("\n%s%s: ", ink("red"), text_at(run, "error.step"));
        put_text(stdout, text_at(run, "error.message"),
            strlen(text_at(run, "error.message")), cli.tty);
        printf("%s\n", ink("off"));
    }
    putchar('\n');
    show_table(json_object_get(run, "steps"), fields, "");
    printf("%s%s%s: %s calls of models, %s tokens in, %s out, %s\n",
        ink(strcmp(state, "succeeded") == 0 ? "green" : "bold"), state,
        ink("off"), show_count(number_at(run, "tries")),
        show_count(number_at(run, "input_tokens")),
        show_count(number_at(run, "output_tokens")),
        show_money(number_at(run, "nano_usd")));
}

/* The exit status; -1: it goes on after all, since it is tried again. */
static int
end(live_t *live)
{
    json_t *run = api("GET", NULL, "/api/v1/swarms/%s/tasks/%s", live->swarm,
        live->run);
    const char *state = text_at(run, "state");
    int status = strcmp(state, "succeeded") == 0 ? EXIT_DONE
        : strcmp(state, "cancelled") == 0 ? EXIT_CANCELLED : EXIT_FAILED;

    take_run(live, run);
    if (!view_ended(&live->view)) {
        json_decref(run);
        live->told_end = 0;
        live->ended_at = 0;
        return -1;
    }
    if (cli.json) {
        show_json(run);
    } else {
        if (cli.tty) {
            draw(live);
        }
        show_run(run);
        if (cli.tty && status != EXIT_DONE) {
            printf("What did not succeed can be done again:"
                " hivectl swarm retry %s %s\n", live->swarm, live->run);
        }
    }
    json_decref(run);
    return status;
}

int
live_watch(const char *swarm, const char *run, const char *cursor)
{
    static live_t live;
    struct sigaction action = { .sa_handler = on_interrupt,
        .sa_flags = SA_RESETHAND };     /* the second time it ends at once */
    json_t *now;
    int failures = 0, status = -1;

    snprintf(live.swarm, sizeof(live.swarm), "%s", swarm);
    snprintf(live.run, sizeof(live.run), "%s", run);
    snprintf(live.last_id, sizeof(live.last_id), "%s", cursor);
    live.view.agents = json_object();
    sigaction(SIGINT, &action, NULL);
    now = api("GET", NULL, "/api/v1/swarms/%s/tasks/%s", live.swarm,
        api_escape(live.run));
    take_run(&live, now);
    json_decref(now);
    if (cursor[0] == '\0' && view_ended(&live.view)) {
        status = end(&live);
    }
    while (status < 0) {
        while (!has_ended(&live) && !api_interrupted) {
            stream(&live);
            failures = live.opened && !live.refused ? 0 : failures + 1;
            if (!has_ended(&live) && !api_interrupted) {
                pause_before_next(failures);
            }
        }
        if (view_ended(&live.view)) {
            status = end(&live);
        }
        if (status < 0 && api_interrupted) {
            fprintf(stderr, "\nThe run goes on: hivectl swarm watch %s %s\n",
                live.swarm, live.run);
            return EXIT_INTERRUPTED;
        }
    }
    return status;
}
