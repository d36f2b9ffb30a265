/* slots.c: the processes of a supervisor: their start, reports and ends. */

#include "slots.h"

#include "workers/runtime/log.h"
#include "workers/runtime/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS   5000
#define STEADY_MS        10000  /* a life this long forgets the back-off */
#define KILL_GRACE_MS    5000   /* beyond the drain: unwinding and linger */
#define ABORT_GRACE_MS   2000   /* for a last word and a core */

#define REPORT_UP        'U'
#define REPORT_ALIVE     'A'
#define REPORT_READY     'R'
#define REPORT_UNREADY   'r'

/* ---- the child's side ---- */

static void
report(const child_t *child, char what)
{
    while (write(child->report_fd, &what, 1) < 0 && errno == EINTR) {
    }
}

void
child_report_up(const child_t *child)
{
    report(child, REPORT_UP);
}

void
child_report_alive(const child_t *child)
{
    report(child, REPORT_ALIVE);
}

void
child_report_ready(const child_t *child, int ready)
{
    report(child, ready ? REPORT_READY : REPORT_UNREADY);
}

/* ---- processes ---- */

uint64_t
supervisor_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* The fork: forgets what is the supervisor's and becomes a worker. */
__attribute__((noreturn))
static void
become_child(unsigned slot, unsigned side, int report_fd, pid_t parent)
{
    child_t child = { slot, side, report_fd, boss.quarantine,
        &boss.shared->names[2 * slot + side], &boss.shared->schema_checked };

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);              /* it died before the line above */
    }

    close(boss.signals);
    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        for (unsigned s = 0; s < 2; s++) {
            if (boss.slots[i].sides[s].role != ROLE_NONE) {
                close(boss.slots[i].sides[s].report_fd);
            }
        }
    }
    unsetenv("NOTIFY_SOCKET");
    sigprocmask(SIG_SETMASK, &boss.inherited, NULL);
    metrics_join(2 * slot + side);

    exit(boss.hooks.child(&child, boss.hooks.arg));
}

void
slot_schedule(slot_t *slot)
{
    slot->start_at = supervisor_now() + slot->backoff;
    slot->backoff = slot->backoff == 0 ? BACKOFF_FIRST_MS
                                       : slot->backoff * 2;
    if (slot->backoff > BACKOFF_MAX_MS) {
        slot->backoff = BACKOFF_MAX_MS;
    }
}

int
slot_start(unsigned index, unsigned side, role_t role)
{
    process_t *process = &boss.slots[index].sides[side];
    pid_t parent = getpid();
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        log_error("starting worker %u%c failed: %s", index,
            side_letter(side), strerror(errno));
        return -1;
    }

    pid = fork();
    if (pid == 0) {
        close(fds[0]);
        become_child(index, side, fds[1], parent);
    }
    close(fds[1]);
    if (pid < 0) {
        log_error("starting worker %u%c failed: %s", index,
            side_letter(side), strerror(errno));
        close(fds[0]);
        return -1;
    }

    *process = (process_t) {
        .role = role, .pid = pid, .report_fd = fds[0],
        .started = supervisor_now()
    };
    log_info("worker %u%c started, pid %d", index, side_letter(side),
        (int) pid);
    return 0;
}

void
process_dismiss(process_t *process)
{
    if (process->role == ROLE_NONE || process->role == ROLE_LEAVING) {
        return;
    }

    process->role = ROLE_LEAVING;
    process->kill_at = supervisor_now() + boss.plan.drain_ms
                       + KILL_GRACE_MS;
    kill(process->pid, SIGTERM);
}

unsigned
slots_count(role_t role)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        n += boss.slots[i].sides[0].role == role;
        n += boss.slots[i].sides[1].role == role;
    }

    return n;
}

/* ---- deaths ---- */

static void
log_death(unsigned index, unsigned side, const process_t *process, int status)
{
    last_words_t words;

    if (WIFEXITED(status)) {
        if (WEXITSTATUS(status) != 0 || process->role != ROLE_LEAVING) {
            log_error("worker %u%c, pid %d, ended with status %d", index,
                side_letter(side), (int) process->pid, WEXITSTATUS(status));
        } else {
            log_info("worker %u%c, pid %d, has drained and ended", index,
                side_letter(side), (int) process->pid);
        }
        return;
    }

    log_error("worker %u%c, pid %d, killed by signal %d (%s)", index,
        side_letter(side), (int) process->pid, WTERMSIG(status),
        strsignal(WTERMSIG(status)));
    if (quarantine_last_words(boss.quarantine, process->pid, &words)) {
        log_error("pid %d died serving %s, request %s: death %u of this"
            " request%s", (int) process->pid, operations[words.operation].name,
            words.request_id, words.deaths,
            words.deaths >= 2 ? ", refused from now on" : "");
    }
}

static void
on_death(unsigned index, unsigned side, int status)
{
    slot_t *slot = &boss.slots[index];
    process_t *process = &slot->sides[side];
    role_t role = process->role;

    log_death(index, side, process, status);
    close(process->report_fd);
    process->role = ROLE_NONE;

    if (role != ROLE_CURRENT || boss.stopping) {
        return;
    }

    if (slot->sides[!side].role == ROLE_INCOMING) {
        slot->sides[!side].role = ROLE_CURRENT;
        slot->side = !side;
        return;
    }
    if (supervisor_now() - process->started >= STEADY_MS) {
        slot->backoff = 0;
    }
    slot_schedule(slot);
}

void
slots_reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
            process_t *process = &boss.slots[i / 2].sides[i % 2];

            if (process->role != ROLE_NONE && process->pid == pid) {
                on_death(i / 2, i % 2, status);
                break;
            }
        }
    }
}

void
process_read_reports(process_t *process)
{
    char what;

    while (read(process->report_fd, &what, 1) == 1) {
        process->heard = supervisor_now();
        switch (what) {
        case REPORT_UP:
            process->up = 1;
            break;
        case REPORT_READY:
        case REPORT_UNREADY:
            process->ready = what == REPORT_READY;
            break;
        default:
            break;             /* alive */
        }
    }
}

static void
kill_late(unsigned index, unsigned side)
{
    process_t *process = &boss.slots[index].sides[side];
    uint64_t now = supervisor_now();

    if (process->kill_at != 0 && now >= process->kill_at) {
        log_error("worker %u%c, pid %d, did not end in time: killed", index,
            side_letter(side), (int) process->pid);
        process->kill_at = 0;
        kill(process->pid, SIGKILL);
    } else if (process->kill_at == 0 && process->heard != 0
               && process->role != ROLE_LEAVING
               && now - process->heard > boss.plan.hang_ms) {
        log_error("worker %u%c, pid %d, hangs: silent for %llu ms", index,
            side_letter(side), (int) process->pid,
            (unsigned long long) (now - process->heard));
        process->kill_at = now + ABORT_GRACE_MS;
        kill(process->pid, SIGABRT);
    }
}

void
slots_kill_late(void)
{
    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        if (boss.slots[i / 2].sides[i % 2].role != ROLE_NONE) {
            kill_late(i / 2, i % 2);
        }
    }
}

void
slots_signal(int signal_number)
{
    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        if (boss.slots[i / 2].sides[i % 2].role != ROLE_NONE) {
            kill(boss.slots[i / 2].sides[i % 2].pid, signal_number);
        }
    }
}
