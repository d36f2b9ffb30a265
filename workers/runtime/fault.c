/* fault.c: the points that HIVE_FAULT has armed. */

#include "fault.h"

#include "fiber.h"
#include "log.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAULTS_MAX 16
#define NAME_MAX_BYTES 64
#define DELAY_MAX 3600000

typedef enum {
    FAULT_KILL,
    FAULT_STOP,
    FAULT_ABORT,
    FAULT_SEGV,
    FAULT_DELAY
} action_t;

typedef struct {
    char name[NAME_MAX_BYTES];
    action_t action;
    unsigned delay;              /* milliseconds */
    unsigned count;              /* 0: every hit */
    unsigned hits;
} fault_t;

int fault_armed;

static fault_t faults[FAULTS_MAX];
static unsigned nfaults;

/* A whole decimal number of at most `max`, or -1. */
static long
number_parse(const char *text, size_t len, long max)
{
    long number = 0;
    size_t i;

    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        number = number * 10 + (text[i] - '0');
        if (number > max) {
            return -1;
        }
    }
    return len == 0 ? -1 : number;
}

static int
action_parse(fault_t *fault, const char *text, size_t len)
{
    static const char *const names[] = { "kill", "stop", "abort", "segv" };
    long delay;
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == len && memcmp(names[i], text, len) == 0) {
            fault->action = (action_t) i;
            return 0;
        }
    }
    if (len < 6 || memcmp(text, "delay=", 6) != 0) {
        return -1;
    }
    delay = number_parse(text + 6, len - 6, DELAY_MAX);
    fault->action = FAULT_DELAY;
    fault->delay = (unsigned) delay;
    return delay < 0 ? -1 : 0;
}

/* name:action[:count], up to a comma or the end. */
static int
fault_parse(fault_t *fault, const char *text, size_t len)
{
    const char *end = text + len;
    const char *colon = memchr(text, ':', len);
    const char *last;
    long count = 0;

    memset(fault, 0, sizeof(*fault));
    if (colon == NULL || colon == text || colon - text >= NAME_MAX_BYTES) {
        return -1;
    }
    memcpy(fault->name, text, (size_t) (colon - text));
    text = colon + 1;
    last = memchr(text, ':', (size_t) (end - text));
    if (last != NULL) {
        count = number_parse(last + 1, (size_t) (end - last - 1), 1000000);
        if (count < 1) {
            return -1;
        }
        end = last;
    }
    fault->count = (unsigned) count;
    return action_parse(fault, text, (size_t) (end - text));
}

int
fault_init(const char **error)
{
    const char *text = getenv("HIVE_FAULT");

    fault_armed = 0;
    nfaults = 0;
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, ",");

        if (nfaults == FAULTS_MAX) {
            *error = "HIVE_FAULT names too many points";
            return -1;
        }
        if (fault_parse(&faults[nfaults], text, len) != 0) {
            *error = "HIVE_FAULT is not name:action[:count][,...]";
            return -1;
        }
        nfaults++;
        text += len + (text[len] == ',');
    }
    fault_armed = nfaults > 0;
    return 0;
}

static void
delay(unsigned milliseconds)
{
    struct timespec left = {
        .tv_sec = milliseconds / 1000,
        .tv_nsec = (long) (milliseconds % 1000) * 1000000
    };

    if (fiber_self() != NULL) {
        fiber_sleep(milliseconds);
        return;
    }
    while (nanosleep(&left, &left) != 0) {
        continue;
    }
}

static void
fault_act(const fault_t *fault)
{
    log_warn("fault injected at %s", fault->name);
    switch (fault->action) {
    case FAULT_KILL:
        raise(SIGKILL);
        break;
    case FAULT_STOP:
        raise(SIGSTOP);
        break;
    case FAULT_ABORT:
        abort();
    case FAULT_SEGV:
        raise(SIGSEGV);
        break;
    case FAULT_DELAY:
        delay(fault->delay);
        break;
    }
}

void
fault_hit(const char *name)
{
    unsigned i;

    for (i = 0; i < nfaults; i++) {
        fault_t *fault = &faults[i];

        if (strcmp(fault->name, name) != 0) {
            continue;
        }
        fault->hits++;
        if (fault->count == 0 || fault->hits == fault->count) {
            fault_act(fault);
        }
    }
}
