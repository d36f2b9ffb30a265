/* supervisor.c: keeps M worker processes alive.
 *
 * One thread, one poll: a signalfd and a pipe from each child. A child is in
 * one of three roles. CURRENT serves its slot and is started again when it
 * dies. INCOMING is the other side during a reload; it becomes current when
 * it is ready and nginx has had time to find it (settle_reload). LEAVING has
 * been told to drain, and is killed when it takes longer than it may. */

#include "supervisor.h"

#include "workers/runtime/log.h"

#include <systemd/sd-daemon.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS   5000
#define STEADY_MS        10000  /* a life this long forgets the back-off */
#define RELOAD_WAIT_MS   10000
/* From ready to found by every module: its reconnect interval (at most
 * 550 ms), then its ping each second. */
#define RELOAD_SETTLE_MS 2000
#define KILL_GRACE_MS    5000   /* beyond the drain: unwinding and linger */
#define ABORT_GRACE_MS   2000   /* for a last word and a core */

#define REPORT_UP        'U'
#define REPORT_ALIVE     'A'
#define REPORT_READY     'R'
#define REPORT_UNREADY   'r'

typedef enum { ROLE_NONE, ROLE_CURRENT, ROLE_INCOMING, ROLE_LEAVING } role_t;

typedef struct {
    role_t role;               /* ROLE_NONE: no such process */
    pid_t pid;
    int report_fd;
    int up;
    int ready;
    uint64_t started;
    uint64_t heard;            /* 0: not up yet */
    uint64_t kill_at;          /* 0: not set */
} process_t;

typedef struct {
    process_t sides[2];
    unsigned side;             /* of the current one, alive or not */
    uint64_t start_at;         /* 0: nothing to start */
    uint64_t backoff;
} slot_t;

static struct {
    supervisor_plan_t plan;
    supervisor_hooks_t hooks;
    quarantine_t *quarantine;
    sigset_t inherited;        /* signal mask we were started with */
    int signals;
    slot_t slots[SLOTS_MAX];
    int stopping;
    int announced;             /* READY=1 was sent */
    int reload_asked;
    uint64_t reload_until;     /* 0: no reload under way */
    uint64_t settle_at;        /* 0: not all of the new ones are ready yet */
} boss;

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

static uint64_t
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static char
side_letter(unsigned side)
{
    return side == 0 ? 'a' : 'b';
}

/* The fork: forgets what is the supervisor's and becomes a worker. */
__attribute__((noreturn))
static void
become_child(unsigned slot, unsigned side, int report_fd, pid_t parent)
{
    child_t child = { slot, side, report_fd, boss.quarantine };

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

    exit(boss.hooks.child(&child, boss.hooks.arg));
}

static void
schedule_start(slot_t *slot)
{
    slot->start_at = now_ms() + slot->backoff;
    slot->backoff = slot->backoff == 0 ? BACKOFF_FIRST_MS
                                       : slot->backoff * 2;
    if (slot->backoff > BACKOFF_MAX_MS) {
        slot->backoff = BACKOFF_MAX_MS;
    }
}

/* 0, or -1 when no process could be made. */
static int
start_process(unsigned index, unsigned side, role_t role)
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
        .role = role, .pid = pid, .report_fd = fds[0], .started = now_ms()
    };
    log_info("worker %u%c started, pid %d", index, side_letter(side),
        (int) pid);
    return 0;
}

static void
dismiss(process_t *process)
{
    if (process->role == ROLE_NONE || process->role == ROLE_LEAVING) {
        return;
    }

    process->role = ROLE_LEAVING;
    process->kill_at = now_ms() + boss.plan.drain_ms + KILL_GRACE_MS;
    kill(process->pid, SIGTERM);
}

static unsigned
count_role(role_t role)
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
    if (now_ms() - process->started >= STEADY_MS) {
        slot->backoff = 0;
    }
    schedule_start(slot);
}

static void
reap(void)
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

/* ---- reload ---- */

static void
begin_reload(void)
{
    supervisor_plan_t plan;

    boss.reload_asked = 0;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
        (unsigned long long) now_ms() * 1000);
    if (boss.hooks.reload(&plan, boss.hooks.arg) != 0) {
        log_error("reload refused: the configuration is not valid");
        sd_notify(0, "READY=1");
        return;
    }

    log_info("reload: %u processes", plan.processes);
    boss.plan = plan;
    boss.reload_until = now_ms() + RELOAD_WAIT_MS;
    boss.settle_at = 0;
    for (unsigned i = 0; i < plan.processes; i++) {
        slot_t *slot = &boss.slots[i];

        if (slot->sides[slot->side].role == ROLE_CURRENT) {
            start_process(i, !slot->side, ROLE_INCOMING);
        } else {
            /* Nothing serves here: no need to wait, nor to pause. */
            slot->backoff = 0;
            schedule_start(slot);
        }
    }
}

/* One slot's choice. The new side replaces the old one unless only the old
 * one is ready: then the new configuration does not work here. */
static void
settle_slot(unsigned index)
{
    slot_t *slot = &boss.slots[index];
    process_t *old = &slot->sides[slot->side];
    process_t *new = &slot->sides[!slot->side];

    if (index >= boss.plan.processes) {
        slot->start_at = 0;
        dismiss(old);
        dismiss(new);
        return;
    }
    if (old->role != ROLE_CURRENT) {
        return;                /* it died, and its side starts again */
    }
    if (new->role != ROLE_INCOMING || (old->ready && !new->ready)) {
        log_error("reload failed: the new worker %u%c is not ready, the old"
            " one stays", index, side_letter(!slot->side));
        dismiss(new);
        return;
    }

    new->role = ROLE_CURRENT;
    slot->side = !slot->side;
    slot->backoff = 0;
    dismiss(old);
}

static int
all_incoming_ready(void)
{
    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        const process_t *process = &boss.slots[i / 2].sides[i % 2];

        if (process->role == ROLE_INCOMING && !process->ready) {
            return 0;
        }
    }

    return 1;
}

static void
settle_reload(void)
{
    uint64_t now = now_ms();

    if (boss.reload_until == 0) {
        return;
    }
    if (boss.settle_at == 0) {
        if (!all_incoming_ready() && now < boss.reload_until) {
            return;
        }
        boss.settle_at = now;
        if (count_role(ROLE_INCOMING) > 0) {
            boss.settle_at += RELOAD_SETTLE_MS;
        }
    }
    if (now < boss.settle_at) {
        return;
    }

    boss.reload_until = 0;
    boss.settle_at = 0;
    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        settle_slot(i);
    }
    sd_notify(0, "READY=1");
}

/* ---- signals and reports ---- */

static void
stop_all(void)
{
    int again = boss.stopping;

    boss.stopping = 1;
    boss.reload_until = 0;
    boss.settle_at = 0;
    boss.reload_asked = 0;
    if (!again) {
        sd_notify(0, "STOPPING=1");
        log_info("stopping");
    }

    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        process_t *process = &boss.slots[i / 2].sides[i % 2];

        boss.slots[i / 2].start_at = 0;
        dismiss(process);
        if (again && process->role != ROLE_NONE) {
            kill(process->pid, SIGKILL);
        }
    }
}

static void
tell_all(int signal_number)
{
    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        if (boss.slots[i / 2].sides[i % 2].role != ROLE_NONE) {
            kill(boss.slots[i / 2].sides[i % 2].pid, signal_number);
        }
    }
}

static void
on_signals(void)
{
    struct signalfd_siginfo info;

    while (read(boss.signals, &info, sizeof(info)) == sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGTERM:
        case SIGINT:
            stop_all();
            break;
        case SIGHUP:
            boss.reload_asked = !boss.stopping;
            break;
        case SIGUSR1:
            tell_all(SIGUSR1);
            break;
        default:
            break;             /* SIGCHLD: the loop reaps anyway */
        }
    }
}

static void
read_reports(process_t *process)
{
    char what;

    while (read(process->report_fd, &what, 1) == 1) {
        process->heard = now_ms();
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
announce(void)
{
    unsigned up = 0, ready = 0;

    for (unsigned i = 0; i < boss.plan.processes; i++) {
        const process_t *process =
            &boss.slots[i].sides[boss.slots[i].side];

        up += process->role == ROLE_CURRENT && process->up;
        ready += process->role == ROLE_CURRENT && process->ready;
    }

    if (up == boss.plan.processes && !boss.announced) {
        boss.announced = 1;
        sd_notifyf(0, "READY=1\nSTATUS=%u workers, %u ready", up, ready);
        log_info("%u workers up, %u ready", up, ready);
    }
}

/* ---- the loop ---- */

static void
start_due(void)
{
    uint64_t now = now_ms();

    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        slot_t *slot = &boss.slots[i];

        if (slot->start_at == 0 || now < slot->start_at
            || slot->sides[slot->side].role != ROLE_NONE) {
            continue;
        }
        slot->start_at = 0;
        if (start_process(i, slot->side, ROLE_CURRENT) != 0) {
            schedule_start(slot);
        }
    }
}

static void
kill_late(unsigned index, unsigned side)
{
    process_t *process = &boss.slots[index].sides[side];
    uint64_t now = now_ms();

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

static void
kill_all_late(void)
{
    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        if (boss.slots[i / 2].sides[i % 2].role != ROLE_NONE) {
            kill_late(i / 2, i % 2);
        }
    }
}

static void
sooner(uint64_t *at, uint64_t candidate)
{
    if (candidate != 0 && candidate < *at) {
        *at = candidate;
    }
}

/* Milliseconds until something is due. */
static int
poll_timeout(void)
{
    uint64_t now = now_ms();
    uint64_t at = now + 60000;

    sooner(&at, boss.settle_at != 0 ? boss.settle_at : boss.reload_until);
    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        const slot_t *slot = &boss.slots[i];

        sooner(&at, slot->start_at);
        for (unsigned s = 0; s < 2; s++) {
            const process_t *process = &slot->sides[s];

            if (process->role == ROLE_NONE) {
                continue;
            }
            sooner(&at, process->kill_at);
            if (process->kill_at == 0 && process->heard != 0
                && process->role != ROLE_LEAVING) {
                sooner(&at, process->heard + boss.plan.hang_ms + 1);
            }
        }
    }

    return at > now ? (int) (at - now) : 0;
}

static void
wait_for_something(void)
{
    struct pollfd fds[1 + 2 * SLOTS_MAX];
    process_t *of[1 + 2 * SLOTS_MAX];
    nfds_t n = 1;

    fds[0] = (struct pollfd) { .fd = boss.signals, .events = POLLIN };
    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        process_t *process = &boss.slots[i / 2].sides[i % 2];

        if (process->role != ROLE_NONE) {
            of[n] = process;
            fds[n++] = (struct pollfd) {
                .fd = process->report_fd, .events = POLLIN
            };
        }
    }

    if (poll(fds, n, poll_timeout()) <= 0) {
        return;
    }
    for (nfds_t i = 1; i < n; i++) {
        if (fds[i].revents & POLLIN) {
            read_reports(of[i]);
        }
    }
    if (fds[0].revents != 0) {
        on_signals();
    }
}

static int
open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    if (sigprocmask(SIG_BLOCK, &set, &boss.inherited) != 0) {
        return -1;
    }

    boss.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return boss.signals < 0 ? -1 : 0;
}

static int
write_pidfile(const char *path)
{
    FILE *file = fopen(path, "we");

    if (file == NULL || fprintf(file, "%d\n", (int) getpid()) < 0
        || fclose(file) != 0) {
        log_error("writing %s failed: %s", path, strerror(errno));
        return -1;
    }

    return 0;
}

static void
supervise(void)
{
    while (!boss.stopping || count_role(ROLE_LEAVING) > 0) {
        wait_for_something();
        reap();
        kill_all_late();
        if (boss.stopping) {
            continue;
        }
        settle_reload();
        if (boss.reload_asked && boss.reload_until == 0
            && count_role(ROLE_LEAVING) == 0) {
            begin_reload();
        }
        start_due();
        announce();
    }
}

int
supervisor_run(const supervisor_plan_t *plan,
    const supervisor_hooks_t *hooks)
{
    memset(&boss, 0, sizeof(boss));
    boss.plan = *plan;
    boss.hooks = *hooks;
    boss.quarantine = quarantine_new();
    if (boss.quarantine == NULL || open_signals() != 0) {
        log_error("starting the supervisor failed: %s", strerror(errno));
        return 1;
    }
    if (hooks->pidfile != NULL && write_pidfile(hooks->pidfile) != 0) {
        return 1;
    }

    for (unsigned i = 0; i < plan->processes; i++) {
        schedule_start(&boss.slots[i]);
    }
    start_due();
    supervise();

    log_info("stopped");
    if (hooks->pidfile != NULL) {
        unlink(hooks->pidfile);
    }
    quarantine_free(boss.quarantine);
    close(boss.signals);
    sigprocmask(SIG_SETMASK, &boss.inherited, NULL);
    return 0;
}
