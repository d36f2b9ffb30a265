/* run_draw.c: a run on a terminal: a line for each agent that has something to
 * do, with a bar, and what it writes. */

#include "run_view.h"

#include <stdio.h>
#include <string.h>

#define LINES_MAX  100
#define BAR        10

static void
put_bar(double share)
{
    static const char *const parts[] = { " ", "▏", "▎", "▍", "▌", "▋",
        "▊", "▉" };
    int eighths = (int) (share * BAR * 8 + 0.5);

    fputs(ink("cyan"), stdout);
    for (int i = 0; i < BAR; i++) {
        int here = eighths - 8 * i;

        fputs(here >= 8 ? "█" : here <= 0 ? "·" : parts[here], stdout);
    }
    fputs(ink("off"), stdout);
}

typedef struct {
    const char *name;
    int steps, done, running;
    const step_view_t *now;     /* that is under way, or the last one done */
    json_int_t tokens, nano_usd;
} agent_line_t;

/* About four bytes are a token, until its provider says. */
static json_int_t
tokens_of(const step_view_t *step)
{
    return strcmp(step->state, "running") == 0
        ? step->output_tokens + (json_int_t) (step->bytes + 3) / 4
        : step->output_tokens;
}

static int
gather(const run_view_t *view, agent_line_t *lines)
{
    int count = 0;

    for (size_t i = 0; i < view->count; i++) {
        const step_view_t *step = &view->steps[i];
        int running = strcmp(step->state, "running") == 0;
        int at = 0;

        while (at < count && strcmp(lines[at].name, step->agent) != 0) {
            at++;
        }
        if (at == LINES_MAX) {
            continue;
        }
        if (at == count) {
            lines[count++] = (agent_line_t) { .name = step->agent };
        }
        lines[at].steps++;
        lines[at].done += strcmp(step->state, "succeeded") == 0;
        lines[at].running += running;
        lines[at].tokens += tokens_of(step);
        lines[at].nano_usd += step->nano_usd;
        if (lines[at].now == NULL || running
            || (strcmp(lines[at].now->state, "running") != 0
                && step->ended > lines[at].now->ended)) {
            lines[at].now = step;
        }
    }
    return count;
}

/* The last words that fit, from the beginning of one. */
static void
put_tail(const step_view_t *step, int columns)
{
    const char *at = step->tail;
    size_t len = step->tail_len;

    if (columns < 4 || len == 0) {
        return;
    }
    if (len > (size_t) columns) {
        at += len - (size_t) columns;
        len = (size_t) columns;
        while (len > 0 && ((unsigned char) *at & 0xc0) == 0x80) {
            at++;
            len--;
        }
        while (len > 0 && *at != ' ') {
            at++;
            len--;
        }
    }
    fputs(ink("dim"), stdout);
    put_clipped(at, len, columns);
    fputs(ink("off"), stdout);
}

/* Columns beside the names: mark, bar, tokens, cost, and what is between. */
#define FIXED (2 + 1 + BAR + 1 + 1 + 7 + 1 + 9 + 1)

/* `below`: what it writes has a line of its own. */
static void
put_agent(const agent_line_t *line, int below)
{
    const step_view_t *step = line->now;
    int running = line->running > 0, used;
    int room = cli.width - FIXED;
    int name = room / 2 < 18 ? room / 2 : 18;
    int title = room - name < 18 ? room - name : 18;

    printf("%s%s%s ", ink(running ? "yellow" : line->done == line->steps
        ? "green" : "dim"), running ? "▸" : line->done == line->steps ? "✓"
        : "·", ink("off"));
    used = put_clipped(line->name, strlen(line->name), name);
    printf("%*s ", name - used, "");
    put_bar(line->steps == 0 ? 0
        : (line->done + 0.5 * line->running) / line->steps);
    putchar(' ');
    used = put_clipped(step->title, strlen(step->title), title);
    printf("%*s %7s %9s ", title - used, "", show_count(line->tokens),
        show_money(line->nano_usd));
    if (running && !below) {
        put_tail(step, room - name - title - 1);
    }
    fputs("\033[K\n", stdout);
    if (below) {
        fputs("    ", stdout);
        if (running) {
            put_tail(step, cli.width - 5);
        }
        fputs("\033[K\n", stdout);
    }
}

int
view_draw(const run_view_t *view, int drawn)
{
    agent_line_t lines[LINES_MAX];
    int count = gather(view, lines), done = 0, used, height, below, shown;
    int room;
    json_int_t tokens = 0, nano_usd = 0;
    char summary[96];

    terminal_size();
    below = cli.width < 120 && 2 * count + 3 <= cli.height;
    shown = count + 3 <= cli.height ? count : cli.height - 3;
    shown = shown < 0 ? 0 : shown;

    for (size_t i = 0; i < view->count; i++) {
        done += strcmp(view->steps[i].state, "succeeded") == 0;
        tokens += view->steps[i].input_tokens + tokens_of(&view->steps[i]);
        nano_usd += view->steps[i].nano_usd;
    }
    if (drawn > 0) {
        printf("\033[%dA", drawn);
    }
    snprintf(summary, sizeof(summary), "%d/%zu  %s  %s tok  %s", done,
        view->count, show_duration(view_now() - view->began),
        show_count(tokens), show_money(nano_usd));
    fputs(ink("bold"), stdout);
    room = cli.width - (int) strlen(summary);
    used = put_clipped(view->description, strlen(view->description), room - 2);
    printf("%s%*s", ink("off"), room > used ? room - used : 0, "");
    put_clipped(summary, strlen(summary), cli.width);
    fputs("\033[K\n", stdout);
    for (int i = 0; i < shown; i++) {
        put_agent(&lines[i], below);
    }
    if (shown < count) {
        printf("%s  and %d more%s\033[K\n", ink("dim"), count - shown,
            ink("off"));
    }
    height = (below ? 2 : 1) * shown + 1 + (shown < count);
    for (int i = height; i < drawn; i++) {
        fputs("\033[K\n", stdout);
    }
    fflush(stdout);
    return height > drawn ? height : drawn;
}
