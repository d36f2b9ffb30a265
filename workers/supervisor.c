/* supervisor.c: keeps M worker processes alive.
 *
 * One thread, one poll: a signalfd and a pipe from each child. The processes
 * are in slots.c; here are signals, the reload, and the loop. */

#include "slots.h"

#include "workers/runtime/log.h"
#include "workers/runtime/metrics.h"

#include <systemd/sd-daemon.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define RELOAD_WAIT_MS   10000
/* From ready to found by every module: its reconnect interval (at most
 * 550 ms), then its ping each second. */
#define RELOAD_SETTLE_MS 2000

supervisor_t boss;

/* ---- reload ---- */

static void
begin_reload(void)
{
    supervisor_plan_t plan;

    boss.reload_asked = 0;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
        (unsigned long long) supervisor_now() * 1000);
    if (boss.hooks.reload(&plan, boss.hooks.arg) != 0) {
        log_error("reload refused: the configuration is not valid");
        sd_notify(0, "READY=1");
        return;
    }

    log_info("reload: %u processes", plan.processes);
    boss.plan = plan;
    boss.reloading = 1;
    boss.reload_began = supervisor_now();
    boss.settle_at = 0;
    for (unsigned i = 0; i < plan.processes; i++) {
        slot_t *slot = &boss.slots[i];

        slot->replace = slot->sides[slot->side].role == ROLE_CURRENT;
        if (!slot->replace) {
            /* Nothing serves here: no need to wait, nor to pause. */
            slot->backoff = 0;
            slot_schedule(slot);
        }
    }
}

/* Whether another process may start: each makes work for the database that
 * those who serve do without, so the next waits until the last is ready. When
 * one does not get ready in its time nobody waits for the others. */
static int
may_start_incoming(uint64_t now)
{
    int wait = 0;

    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        const process_t *process = &boss.slots[i / 2].sides[i % 2];

        if (process->role != ROLE_INCOMING || process->ready) {
            continue;
        }
        if (now >= process->started + RELOAD_WAIT_MS) {
            return 1;
        }
        wait = 1;
    }

    return !wait;
}

/* Starts what may start; the slots whose new side is still to come. */
static unsigned
start_incoming(uint64_t now)
{
    unsigned left = 0;

    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        slot_t *slot = &boss.slots[i];
        const process_t *old = &slot->sides[slot->side];

        if (!slot->replace) {
            continue;
        }
        if (old->role != ROLE_CURRENT || old->started >= boss.reload_began) {
            slot->replace = 0;  /* it died: what replaces it is new already */
        } else if (may_start_incoming(now)) {
            slot->replace = 0;
            slot_start(i, !slot->side, ROLE_INCOMING);
        } else {
            left++;
        }
    }

    return left;
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
        process_dismiss(old);
        process_dismiss(new);
        return;
    }
    if (old->role != ROLE_CURRENT
        || (new->role == ROLE_NONE && old->started >= boss.reload_began)) {
        return;                /* it died; a new one is there, or will be */
    }
    if (new->role != ROLE_INCOMING || (old->ready && !new->ready)) {
        log_error("reload failed: the new worker %u%c is not ready, the old"
            " one stays", index, side_letter(!slot->side));
        process_dismiss(new);
        return;
    }

    new->role = ROLE_CURRENT;
    slot->side = !slot->side;
    slot->backoff = 0;
    process_dismiss(old);
}

/* When the time of the last of them that is not ready is over; 0: all are. */
static uint64_t
incoming_until(void)
{
    uint64_t until = 0;

    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        const process_t *process = &boss.slots[i / 2].sides[i % 2];

        if (process->role == ROLE_INCOMING && !process->ready
            && process->started + RELOAD_WAIT_MS > until) {
            until = process->started + RELOAD_WAIT_MS;
        }
    }

    return until;
}

static void
settle_reload(void)
{
    uint64_t now = supervisor_now();

    if (!boss.reloading) {
        return;
    }
    if (boss.settle_at == 0) {
        if (start_incoming(now) > 0 || now < incoming_until()) {
            return;
        }
        boss.settle_at = now;
        if (slots_count(ROLE_INCOMING) > 0) {
            boss.settle_at += RELOAD_SETTLE_MS;
        }
    }
    if (now < boss.settle_at) {
        return;
    }

    boss.reloading = 0;
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
    boss.reloading = 0;
    boss.settle_at = 0;
    boss.reload_asked = 0;
    if (!again) {
        sd_notify(0, "STOPPING=1");
        log_info("stopping");
    }

    for (unsigned i = 0; i < 2 * SLOTS_MAX; i++) {
        process_t *process = &boss.slots[i / 2].sides[i % 2];

        boss.slots[i / 2].start_at = 0;
        process_dismiss(process);
        if (again && process->role != ROLE_NONE) {
            kill(process->pid, SIGKILL);
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
            slots_signal(SIGUSR1);
            break;
        default:
            break;             /* SIGCHLD: the loop reaps anyway */
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
    uint64_t now = supervisor_now();

    for (unsigned i = 0; i < SLOTS_MAX; i++) {
        slot_t *slot = &boss.slots[i];

        if (slot->start_at == 0 || now < slot->start_at
            || slot->sides[slot->side].role != ROLE_NONE) {
            continue;
        }
        slot->start_at = 0;
        if (slot_start(i, slot->side, ROLE_CURRENT) != 0) {
            slot_schedule(slot);
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
    uint64_t now = supervisor_now();
    uint64_t at = now + 60000;

    sooner(&at, boss.settle_at != 0 ? boss.settle_at : incoming_until());
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
            process_read_reports(of[i]);
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
    while (!boss.stopping || slots_count(ROLE_LEAVING) > 0) {
        wait_for_something();
        slots_reap();
        slots_kill_late();
        if (boss.stopping) {
            continue;
        }
        if (boss.reload_asked && !boss.reloading
            && slots_count(ROLE_LEAVING) == 0) {
            begin_reload();
        }
        settle_reload();
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
    boss.shared = mmap(NULL, sizeof(*boss.shared), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (boss.quarantine == NULL || boss.shared == MAP_FAILED
        || metrics_new(2 * SLOTS_MAX) != 0 || open_signals() != 0) {
        log_error("starting the supervisor failed: %s", strerror(errno));
        return 1;
    }
    if (hooks->pidfile != NULL && write_pidfile(hooks->pidfile) != 0) {
        return 1;
    }

    for (unsigned i = 0; i < plan->processes; i++) {
        slot_schedule(&boss.slots[i]);
    }
    start_due();
    supervise();

    log_info("stopped");
    if (hooks->pidfile != NULL) {
        unlink(hooks->pidfile);
    }
    quarantine_free(boss.quarantine);
    munmap(boss.shared, sizeof(*boss.shared));
    metrics_free();
    close(boss.signals);
    sigprocmask(SIG_SETMASK, &boss.inherited, NULL);
    return 0;
}
