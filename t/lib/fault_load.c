/* fault_load.c: an open-loop HTTP load that keeps a journal, for the fault
 * runs. Requests fall due at a fixed rate whether or not earlier ones have
 * been answered, so a stall shows as latency of all that fell into it.
 *
 *   fault_load -p PORT -r RATE -s SECONDS -c CONNECTIONS -t TOKENS -j JOURNAL
 *              [-w PERCENT of writes] [-u PERCENT of writes without a key]
 *              [-d DEADLINE in ms] [-x PREFIX of nonces]
 *
 * It ends after SECONDS, or earlier of SIGTERM: what is due by then is still
 * answered.
 *
 * TOKENS: lines "token project_id name": the token of a user, one project of
 * theirs and its name. RATE 0: closed loop (capacity).
 *
 * A read fetches a project and checks that the answer holds its id and name.
 * A write creates a project named by a nonce and checks that the answer
 * holds it. As HTTP clients do, a read or a write with Idempotency-Key
 * whose connection closed before any byte of the answer is sent again
 * (so is an answer of 502, 503: at most 20 tries within the deadline);
 * a write without a key goes out once, on a connection of its own.
 *
 * Journal, a line a request:
 *   due_us latency_us kind status tries nonce id slowest_try_us
 *   kind r, k (keyed write), w (unkeyed); status: HTTP's, 0 no answer
 * due_us counts from the epoch, latency from due to the final answer. Last
 * line on standard output: totals; late: tries that outlived DEADLINE;
 * refused: answers of 502 and 503, sent again or not. */

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TRIES_MAX 20
#define BUFFER    8192

typedef struct {
    char *token;
    char *project;
    char *name;
} account_t;

typedef struct {
    int64_t due;
    int64_t retry_at;
    int64_t sent_at;    /* this try */
    int64_t slowest;    /* the longest any try took */
    char kind;
    int tries;
    char nonce[48];
    account_t *account;
} job_t;

typedef struct {
    int fd;
    enum { CLOSED, CONNECTING, IDLE, SENDING, WAITING } state;
    int fresh;          /* no answer has come over it yet */
    job_t job;
    size_t out_len, out_pos, in_len;
    char out[4096];
    char in[BUFFER];
} connection_t;

static volatile sig_atomic_t stopped;
static int port = 8080, rate, seconds = 10, nconnections = 64;
static int writes = 40, unkeyed = 25;
static int64_t deadline = 30500000;
static const char *prefix = "n";
static account_t *accounts;
static size_t naccounts;
static connection_t *connections;
static int epfd;
static FILE *journal;
static uint64_t serial, seed = 88172645463325252ull;
static uint64_t sent, answered, lost, wrong, late, retries, refused;

/* Jobs waiting for a connection: a ring, and retries among them. */
static job_t *queue;
static size_t queue_head, queue_len, queue_cap;

static int64_t
now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static uint64_t
random_next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void
queue_push(const job_t *job)
{
    if (queue_len == queue_cap) {
        size_t cap = queue_cap ? queue_cap * 2 : 1024;
        job_t *bigger = malloc(cap * sizeof(job_t));

        assert(bigger != NULL);
        for (size_t i = 0; i < queue_len; i++) {
            bigger[i] = queue[(queue_head + i) % queue_cap];
        }
        free(queue);
        queue = bigger;
        queue_cap = cap;
        queue_head = 0;
    }
    queue[(queue_head + queue_len++) % queue_cap] = *job;
}

/* Takes the first job that is due for a try; 0 when there is none. */
static int
queue_pop(job_t *job, int64_t now)
{
    for (size_t i = 0; i < queue_len; i++) {
        job_t candidate = queue[queue_head];

        queue_head = (queue_head + 1) % queue_cap;
        queue_len--;
        if (candidate.retry_at <= now) {
            *job = candidate;
            return 1;
        }
        queue_push(&candidate);
    }
    return 0;
}

static void
job_make(job_t *job, int64_t due)
{
    memset(job, 0, sizeof(*job));
    job->due = due;
    job->account = &accounts[random_next() % naccounts];
    job->kind = 'r';
    if ((int) (random_next() % 100) < writes) {
        job->kind = (int) (random_next() % 100) < unkeyed ? 'w' : 'k';
        snprintf(job->nonce, sizeof(job->nonce), "%s-%08llx", prefix,
            (unsigned long long) ++serial);
    }
}

static void
job_end(const job_t *job, int status, const char *id)
{
    int64_t took = now_us() - job->due;

    answered += status != 0;
    lost += status == 0;
    late += job->slowest > deadline;
    fprintf(journal, "%lld %lld %c %d %d %s %s %lld\n", (long long) job->due,
        (long long) took, job->kind, status, job->tries,
        job->nonce[0] ? job->nonce : "-", id[0] ? id : "-",
        (long long) job->slowest);
}

static void
connection_close(connection_t *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
    c->state = CLOSED;
    c->in_len = 0;
}

static int
connection_open(connection_t *c)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
        .sin_port = htons((uint16_t) port) };
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET,
        .data.ptr = c };
    int one = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert(c->fd >= 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->fresh = 1;
    c->in_len = 0;
    if (connect(c->fd, (struct sockaddr *) &to, sizeof(to)) != 0
        && errno != EINPROGRESS) {
        connection_close(c);
        return -1;
    }
    epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &ev);
    return 0;
}

static void
request_compose(connection_t *c)
{
    job_t *job = &c->job;
    account_t *a = job->account;
    char body[256], key[80] = "";
    int n;

    if (job->kind == 'r') {
        n = snprintf(c->out, sizeof(c->out),
            "GET /api/v1/projects/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Authorization: Bearer %s\r\n\r\n", a->project, a->token);
    } else {
        int size = snprintf(body, sizeof(body),
            "{\"name\":\"%s\",\"description\":\"fault run\"}", job->nonce);

        if (job->kind == 'k') {
            snprintf(key, sizeof(key), "Idempotency-Key: key-%s\r\n",
                job->nonce);
        }
        n = snprintf(c->out, sizeof(c->out),
            "POST /api/v1/projects HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
            "%s%sContent-Length: %d\r\n\r\n%s", a->token, key,
            job->kind == 'w' ? "Connection: close\r\n" : "", size, body);
    }
    assert(n > 0 && (size_t) n < sizeof(c->out));
    c->out_len = (size_t) n;
    c->out_pos = 0;
}

static void connection_send(connection_t *c);

/* The try came to nothing: again if it may be sent twice, else it is lost. */
static void
job_again(connection_t *c, int status)
{
    job_t job = c->job;
    int64_t now = now_us();

    if (job.kind != 'w' && job.tries < TRIES_MAX
        && now - job.due < deadline - 500000) {
        retries++;
        job.retry_at = now + (status == 0 ? 0
            : (int64_t) 20000 * (1 << (job.tries < 6 ? job.tries : 6)));
        queue_push(&job);
        return;
    }
    job_end(&job, status, "");
}

static void
job_start(connection_t *c, const job_t *job)
{
    c->job = *job;
    c->job.tries++;
    c->job.sent_at = now_us();
    sent++;
    if (c->job.kind == 'w' && c->state == IDLE && !c->fresh) {
        connection_close(c);
    }
    request_compose(c);
    if (c->state == CLOSED) {
        if (connection_open(c) != 0) {
            job_again(c, 0);
            return;
        }
        c->state = CONNECTING;
        return;
    }
    c->state = SENDING;
    connection_send(c);
}

static void
try_timed(connection_t *c)
{
    int64_t took = now_us() - c->job.sent_at;

    if (took > c->job.slowest) {
        c->job.slowest = took;
    }
}

static void
connection_broke(connection_t *c)
{
    int busy = c->state == CONNECTING || c->state == SENDING
        || c->state == WAITING;

    connection_close(c);
    if (busy) {
        try_timed(c);
        job_again(c, 0);
    }
}

static void
connection_send(connection_t *c)
{
    while (c->out_pos < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_pos, c->out_len - c->out_pos,
            MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n < 0) {
            connection_broke(c);
            return;
        }
        c->out_pos += (size_t) n;
    }
    c->state = WAITING;
}

static void
answer_check(connection_t *c, int status, const char *body)
{
    job_t *job = &c->job;
    char want[128], id[40] = "";
    const char *found = strstr(body, "\"id\":\"");

    try_timed(c);
    if (found != NULL) {
        snprintf(id, 37, "%s", found + 6);
    }
    if (status == 502 || status == 503) {
        refused++;
        job_again(c, status);
        return;
    }
    if (status == 200 || status == 201) {
        snprintf(want, sizeof(want), "\"name\":\"%s\"",
            job->kind == 'r' ? job->account->name : job->nonce);
        if (strstr(body, want) == NULL
            || (job->kind == 'r' && strcmp(id, job->account->project) != 0)) {
            wrong++;
            fprintf(stderr, "wrong reply: wanted %s, got %s\n", want, body);
        }
    }
    job_end(job, status, id);
}

/* A whole answer in c->in? 1 taken, 0 more to come, -1 not HTTP. */
static int
answer_take(connection_t *c)
{
    char *end, *field, saved;
    size_t head, length;
    int status;

    c->in[c->in_len] = '\0';
    end = strstr(c->in, "\r\n\r\n");
    if (end == NULL) {
        return c->in_len >= BUFFER - 1 ? -1 : 0;
    }
    head = (size_t) (end - c->in) + 4;
    field = strcasestr(c->in, "\r\nContent-Length:");
    if (sscanf(c->in, "HTTP/1.1 %d", &status) != 1 || field == NULL
        || field > end) {
        return -1;
    }
    length = strtoul(field + 17, NULL, 10);
    if (head + length >= BUFFER) {
        return -1;
    }
    if (c->in_len < head + length) {
        return 0;
    }
    saved = *end;
    *end = '\0';
    field = strcasestr(c->in, "\r\nConnection: close");
    *end = saved;
    c->fresh = 0;
    c->state = IDLE;
    answer_check(c, status, c->in + head);
    c->in_len = 0;
    if (field != NULL) {
        connection_close(c);
    }
    return 1;
}

static void
connection_read(connection_t *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, c->in + c->in_len, BUFFER - 1 - c->in_len, 0);
        int rc;

        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            connection_broke(c);
            return;
        }
        c->in_len += (size_t) n;
        rc = answer_take(c);
        if (rc < 0) {
            fprintf(stderr, "not an answer: %.*s\n", 200, c->in);
            wrong++;
            connection_broke(c);
            return;
        }
        if (c->state == CLOSED) {
            return;
        }
    }
}

static void
connection_event(connection_t *c, uint32_t events)
{
    if (c->state == CLOSED) {
        return;
    }
    if (c->state == CONNECTING && (events & (EPOLLERR | EPOLLHUP))) {
        connection_broke(c);
        return;
    }
    if (c->state == CONNECTING && (events & EPOLLOUT)) {
        c->state = SENDING;
    }
    if (c->state == SENDING && (events & EPOLLOUT)) {
        connection_send(c);
    }
    if (c->state != CLOSED && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        connection_read(c);
    }
}

/* Gives due jobs to free connections. */
static void
jobs_start(int64_t now, int more)
{
    static int next;
    job_t job;

    for (int tried = 0; tried < nconnections; tried++) {
        connection_t *c = &connections[next];

        next = (next + 1) % nconnections;
        if (c->state != IDLE && c->state != CLOSED) {
            continue;
        }
        if (queue_pop(&job, now)) {
            job_start(c, &job);
        } else if (rate == 0 && more) {
            job_make(&job, now);
            job_start(c, &job);
        } else {
            return;
        }
    }
}

static int
busy_count(void)
{
    int busy = 0;

    for (int i = 0; i < nconnections; i++) {
        busy += connections[i].state > IDLE || connections[i].state
            == CONNECTING;
    }
    return busy;
}

static void
run(void)
{
    struct epoll_event events[256];
    int64_t start = now_us(), end = start + (int64_t) seconds * 1000000;
    uint64_t made = 0;

    for (;;) {
        int64_t now = now_us();
        int n;

        if (stopped && now < end) {
            end = now;
        }
        if (rate > 0) {
            uint64_t due = (uint64_t) ((now < end ? now : end) - start)
                * (uint64_t) rate / 1000000;
            job_t job;

            for (; made < due; made++) {
                job_make(&job, start + (int64_t) (made * 1000000
                    / (uint64_t) rate));
                queue_push(&job);
            }
        }
        jobs_start(now, now < end);
        if (now >= end && queue_len == 0 && busy_count() == 0) {
            break;
        }
        if (now >= end + deadline + 1000000) {
            break;
        }
        n = epoll_wait(epfd, events, 256, 1);
        for (int i = 0; i < n; i++) {
            connection_event(events[i].data.ptr, events[i].events);
        }
    }
    for (int i = 0; i < nconnections; i++) {
        if (connections[i].state > IDLE
            || connections[i].state == CONNECTING) {
            job_end(&connections[i].job, 0, "");
        }
        connection_close(&connections[i]);
    }
}

static void
on_term(int signal_number)
{
    (void) signal_number;
    stopped = 1;
}

static void
accounts_read(const char *path)
{
    FILE *file = fopen(path, "r");
    char line[4096], token[3000], project[64], name[256];

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "%2999s %63s %255s", token, project, name) != 3) {
            continue;
        }
        accounts = realloc(accounts, (naccounts + 1) * sizeof(*accounts));
        assert(accounts != NULL);
        accounts[naccounts++] = (account_t) { strdup(token), strdup(project),
            strdup(name) };
    }
    fclose(file);
}

int
main(int argc, char **argv)
{
    const char *journal_path = NULL, *tokens = NULL;
    int option;

    while ((option = getopt(argc, argv, "p:r:s:c:t:j:w:u:d:x:")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'r': rate = atoi(optarg); break;
        case 's': seconds = atoi(optarg); break;
        case 'c': nconnections = atoi(optarg); break;
        case 't': tokens = optarg; break;
        case 'j': journal_path = optarg; break;
        case 'w': writes = atoi(optarg); break;
        case 'u': unkeyed = atoi(optarg); break;
        case 'd': deadline = (int64_t) atoi(optarg) * 1000; break;
        case 'x': prefix = optarg; break;
        default: return 2;
        }
    }
    if (tokens == NULL || journal_path == NULL) {
        fprintf(stderr, "usage: see the head of fault_load.c\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_term);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    seed ^= (uint64_t) now_us();
    accounts_read(tokens);
    journal = fopen(journal_path, "w");
    connections = calloc((size_t) nconnections, sizeof(*connections));
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (journal == NULL || connections == NULL || naccounts == 0) {
        perror(journal_path);
        return 2;
    }
    for (int i = 0; i < nconnections; i++) {
        connections[i].fd = -1;
    }
    run();
    fclose(journal);
    printf("sent=%llu answered=%llu lost=%llu wrong=%llu late=%llu "
        "retries=%llu refused=%llu\n", (unsigned long long) sent,
        (unsigned long long) answered, (unsigned long long) lost,
        (unsigned long long) wrong, (unsigned long long) late,
        (unsigned long long) retries, (unsigned long long) refused);
    for (size_t i = 0; i < naccounts; i++) {
        free(accounts[i].token);
        free(accounts[i].project);
        free(accounts[i].name);
    }
    free(accounts);
    free(connections);
    free(queue);
    return wrong != 0;
}
