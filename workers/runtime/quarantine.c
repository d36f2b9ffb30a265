/* quarantine.c: requests that have killed worker processes. */

#include "quarantine.h"

#include "boundary.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES      256
#define WORDS        64
#define DEATHS_MAX   2
#define REFUSE_S     3600
#define SIGNAL_STACK 65536

typedef struct {
    _Atomic uint64_t fingerprint;   /* 0: free */
    _Atomic uint64_t last_s;
    _Atomic unsigned deaths;
} entry_t;

struct quarantine_s {
    uint64_t key[2];
    _Atomic unsigned noted;         /* deaths ever: 0 means look no further */
    _Atomic uint64_t refused;
    _Atomic unsigned words_next;
    entry_t entries[ENTRIES];
    last_words_t words[WORDS];
};

static struct {
    quarantine_t *quarantine;
    pid_t thread;
    char stack[SIGNAL_STACK];
} watch;

quarantine_t *
quarantine_new(void)
{
    quarantine_t *quarantine = mmap(NULL, sizeof(*quarantine),
        PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (quarantine == MAP_FAILED) {
        return NULL;
    }
    if (getrandom(quarantine->key, sizeof(quarantine->key), 0)
        != sizeof(quarantine->key)) {
        quarantine_free(quarantine);
        return NULL;
    }

    return quarantine;
}

void
quarantine_free(quarantine_t *quarantine)
{
    munmap(quarantine, sizeof(*quarantine));
}

/* ---- the fingerprint: a multiply-and-fold hash, 16 bytes a step ---- */

static uint64_t
fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128) a * b;

    return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static uint64_t
hash_slice(uint64_t hash, uint64_t key, slice_t text)
{
    const char *p = text.data;
    size_t left = text.len;
    uint64_t word[2];

    while (left >= sizeof(word)) {
        memcpy(word, p, sizeof(word));
        hash = fold(word[0] ^ key, word[1] ^ hash);
        p += sizeof(word);
        left -= sizeof(word);
    }

    word[0] = word[1] = 0;
    if (left > 0) {
        memcpy(word, p, left);
    }
    return fold(word[0] ^ key ^ text.len, word[1] ^ hash);
}

uint64_t
quarantine_fingerprint(const quarantine_t *quarantine, const request_t *rq)
{
    uint64_t key = quarantine->key[0] | 1;
    uint64_t hash = quarantine->key[1] ^ (uint64_t) rq->operation;

    for (unsigned i = 0; i < rq->nparams; i++) {
        hash = hash_slice(hash, key, rq->params[i]);
    }
    /* One user's data that kills is not everybody's. */
    hash = hash_slice(hash, key, (slice_t) {
        (const char *) rq->user.bytes, sizeof(rq->user.bytes) });
    hash = hash_slice(hash, key, rq->query);
    hash = hash_slice(hash, key, rq->body);

    return hash != 0 ? hash : 1;
}

/* ---- the table ---- */

static entry_t *
find_entry(quarantine_t *quarantine, uint64_t fingerprint)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        entry_t *entry = &quarantine->entries[(fingerprint + i) % ENTRIES];
        uint64_t held = atomic_load(&entry->fingerprint);

        if (held == fingerprint) {
            return entry;
        }
        if (held == 0) {
            return NULL;
        }
    }

    return NULL;
}

/* A free entry, else the one whose last death is longest ago. Entries are
 * never freed, so probing may stop at a free one. */
static entry_t *
take_entry(quarantine_t *quarantine, uint64_t fingerprint)
{
    entry_t *oldest = &quarantine->entries[fingerprint % ENTRIES];

    for (unsigned i = 0; i < ENTRIES; i++) {
        entry_t *entry = &quarantine->entries[(fingerprint + i) % ENTRIES];
        uint64_t expected = 0;

        if (atomic_compare_exchange_strong(&entry->fingerprint, &expected,
                fingerprint) || expected == fingerprint) {
            return entry;
        }
        if (atomic_load(&entry->last_s) < atomic_load(&oldest->last_s)) {
            oldest = entry;
        }
    }

    atomic_store(&oldest->deaths, 0);
    atomic_store(&oldest->fingerprint, fingerprint);
    return oldest;
}

unsigned
quarantine_note(quarantine_t *quarantine, uint64_t fingerprint,
    uint64_t now_s)
{
    entry_t *entry = take_entry(quarantine, fingerprint);

    if (now_s - atomic_load(&entry->last_s) > REFUSE_S) {
        atomic_store(&entry->deaths, 0);
    }
    atomic_store(&entry->last_s, now_s);
    atomic_fetch_add(&quarantine->noted, 1);
    return atomic_fetch_add(&entry->deaths, 1) + 1;
}

int
quarantine_refuses(quarantine_t *quarantine, uint64_t fingerprint,
    uint64_t now_s)
{
    entry_t *entry;

    if (atomic_load_explicit(&quarantine->noted, memory_order_relaxed) == 0) {
        return 0;
    }

    entry = find_entry(quarantine, fingerprint);
    if (entry == NULL || atomic_load(&entry->deaths) < DEATHS_MAX
        || now_s - atomic_load(&entry->last_s) > REFUSE_S) {
        return 0;
    }

    atomic_fetch_add(&quarantine->refused, 1);
    return 1;
}

uint64_t
quarantine_refused(const quarantine_t *quarantine)
{
    return atomic_load(&quarantine->refused);
}

int
quarantine_last_words(quarantine_t *quarantine, pid_t pid, last_words_t *out)
{
    for (unsigned i = 0; i < WORDS; i++) {
        if (quarantine->words[i].pid == pid) {
            *out = quarantine->words[i];
            quarantine->words[i].pid = 0;
            return 1;
        }
    }

    return 0;
}

/* ---- dying ---- */

/* On its own stack: a fiber that overflowed has none left. Touches shared
 * memory and the request only. A second fault in here kills for good. */
static void
on_fatal(int signal_number)
{
    quarantine_t *quarantine = watch.quarantine;
    fiber_t *fiber = gettid() == watch.thread ? fiber_self() : NULL;
    served_t *served = fiber != NULL ? fiber_data(fiber) : NULL;

    if (served != NULL && served->rq.fiber == fiber
        && served->fingerprint != 0) {
        unsigned at = atomic_fetch_add(&quarantine->words_next, 1) % WORDS;
        last_words_t *words = &quarantine->words[at];
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        words->signal = signal_number;
        words->deaths = quarantine_note(quarantine, served->fingerprint,
            (uint64_t) now.tv_sec);
        words->operation = served->rq.operation;
        memcpy(words->request_id, served->rq.request_id,
            sizeof(words->request_id));
        words->pid = getpid();
    }

    /* SA_RESETHAND restored the default: this ends the process, with its
     * core, as if we had not looked. */
    raise(signal_number);
}

int
quarantine_watch(quarantine_t *quarantine)
{
    static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
    stack_t stack = { .ss_sp = watch.stack, .ss_size = sizeof(watch.stack) };
    struct sigaction action = {
        .sa_handler = on_fatal,
        .sa_flags = SA_ONSTACK | (int) SA_RESETHAND,
    };

    watch.quarantine = quarantine;
    watch.thread = gettid();
    sigemptyset(&action.sa_mask);
    if (sigaltstack(&stack, NULL) != 0) {
        return -errno;
    }

    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
        if (sigaction(fatal[i], &action, NULL) != 0) {
            return -errno;
        }
    }

    return 0;
}
