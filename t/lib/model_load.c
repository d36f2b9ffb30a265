/* model_load.c: asks a model_stream through the model layer, as the workers do
 * (llm_generate), or directly, and says how late what it sends arrives.
 *
 *     model_load -u URL -d CONNINFO -o OWNER [-n STREAMS] [-t TIMES] [-p PROMPT]
 *     model_load -u URL -D [-t TIMES] [-p PROMPT]
 *
 * STREAMS at once (begun at 500 a second), each TIMES one after another. Prints a line of JSON: pieces,
 * the time to the first piece of an answer and the lateness of pieces in
 * microseconds (median, 99 %, largest), resident memory per stream in bytes (while
 * all last, and at its peak, when they end together), and CPU seconds. */

#include "workers/llm/llm.h"
#include "workers/runtime/job.h"
#include "workers/runtime/log.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define SAMPLES_MAX 4000000

static struct {
    const char *url, *conninfo, *prompt;
    hive_uuid_t owner;
    unsigned streams, times, left;
    int direct, failed;
    uv_loop_t loop;
    fiber_sched_t *fibers;
    float *late, *first;
    size_t nlate, nfirst;
    long rss_before, rss_all, rss_peak;  /* while all streams last; ever */
} load = { .streams = 1, .times = 1, .prompt = "RATE-50 COUNT-100" };

static long
rss(void)
{
    long pages = 0, size = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file != NULL && fscanf(file, "%ld %ld", &size, &pages) != 2) {
        pages = 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return pages * sysconf(_SC_PAGESIZE);
}

/* A piece begins with the last nine digits of the microseconds it left at. */
static void
note(const char *text)
{
    char digits[10];
    uint64_t sent, now = uv_hrtime() / 1000 % 1000000000;

    memcpy(digits, text, 9);
    digits[9] = '\0';
    sent = strtoull(digits, NULL, 10);
    if (load.nlate < SAMPLES_MAX) {
        load.late[load.nlate++] = (float) ((now + 1000000000 - sent)
            % 1000000000);
    }
}

/* ---- through the model layer ---- */

static void
on_piece(void *arg, const piece_t *piece)
{
    (void) arg;
    if (piece->text.len >= 9) {
        note(piece->text.data);
    }
}

static void
ask(request_t *rq, void *arg)
{
    model_t model = llm_model(rq, SLICE("claude-haiku-5-5"));
    spender_t by = { .owner = load.owner };
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content",
        load.prompt);
    generation_t generation = { .messages = messages, .max_tokens = 1000,
        .temperature = -1, .stream = 1, .piece = on_piece };
    uint64_t began = uv_hrtime();
    answer_t answer;

    (void) arg;
    llm_generate(rq, &by, &model, &generation, &answer);
    json_decref(messages);
    if (answer.said.end != GENERATED) {
        fprintf(stderr, "model_load: %s\n", answer.said.message);
        load.failed++;
    } else if (load.nfirst < SAMPLES_MAX) {
        load.first[load.nfirst++] = (float) (answer.said.first_at - began)
            / 1000;
    }
}

static void
on_stopped(void *arg)
{
    (void) arg;
    uv_stop(&load.loop);
}

static void
run(request_t *rq, void *arg)
{
    (void) arg;
    for (unsigned i = 0; i < load.times; i++) {
        load.failed += job_step(rq, ask, NULL) != 0;
    }
    if (--load.left == 0) {
        llm_stop_jobs();
        db_stop(on_stopped, NULL);
    }
}

static void
start(request_t *rq, void *arg)
{
    db_facts_t facts;

    (void) rq;
    (void) arg;
    do {
        fiber_sleep(10);
        db_facts(&facts);
    } while (!facts.reachable || !facts.version_ok);
    load.rss_before = rss();
    load.left = load.streams;
    for (unsigned i = 0; i < load.streams; i++) {
        if (job_start(load.fibers, "stream", run, NULL, NULL) != 0) {
            fprintf(stderr, "model_load: no fiber\n");
            exit(1);
        }
        if (i % 10 == 9) {
            fiber_sleep(20);            /* two milliseconds each */
        }
    }
    while (load.left > 0) {
        long now = rss();

        now -= (long) (load.nlate * sizeof(float));
        load.rss_peak = now > load.rss_peak ? now : load.rss_peak;
        if (load.nfirst == 0) {
            load.rss_all = load.rss_peak;
        }
        fiber_sleep(200);
    }
}

static int
run_layer(void)
{
    static const char secret[] = "of nothing that model_load makes";
    db_config_t config = {
        .conninfo = load.conninfo, .cell_schema = "cell0", .read_lanes = 2,
        .write_lanes = 8, .insert_lanes = 2, .transactions = 1,
        .queue_max = 10000, .statement_timeout_ms = 60000,
        .lock_timeout_ms = 30000
    };
    llm_config_t models = { .anthropic_url = load.url,
        .anthropic_key = "bench", .connections = 65536,
        .first_byte_ms = 60000, .idle_ms = 60000, .total_ms = 600000 };
    const char *why;

    log_set_level(LOG_LEVEL_WARN);
    resource_init(0, (slice_t) { secret, sizeof(secret) - 1 });
    uv_loop_init(&load.loop);
    load.fibers = fiber_sched_new(&load.loop, load.streams + 256, 64);
    if (llm_init(&models, &why) != 0 || load.fibers == NULL
        || db_start(&load.loop, &config) != 0
        || llm_start(&load.loop, load.fibers) != 0
        || job_start(load.fibers, "load", start, NULL, NULL) != 0) {
        fprintf(stderr, "model_load: cannot start\n");
        return 1;
    }
    uv_run(&load.loop, UV_RUN_DEFAULT);
    return load.failed > 0;
}

/* ---- directly ---- */

static int
connect_to(const char *url)
{
    const char *colon = strrchr(url, ':');
    struct sockaddr_in address = { .sin_family = AF_INET,
        .sin_port = htons((uint16_t) atoi(colon + 1)) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0) {
        perror("model_load");
        exit(1);
    }
    return fd;
}

/* Looks for pieces only as far as it must: what a client could do at best. */
static void
read_answer(int fd, uint64_t began)
{
    static char text[1 << 16];
    size_t len = 0, looked = 0;
    int first = 1;

    for (;;) {
        ssize_t n = read(fd, text + len, sizeof(text) - len - 1);
        const char *at;

        if (n <= 0) {
            fprintf(stderr, "model_load: the connection broke\n");
            exit(1);
        }
        len += (size_t) n;
        text[len] = '\0';
        while ((at = strstr(text + looked, "text_delta\",\"text\":\""))
               != NULL && strstr(at, "\"}}\n\n") != NULL) {
            if (first) {
                load.first[load.nfirst++] = (float) (uv_hrtime() - began)
                    / 1000;
                first = 0;
            }
            note(at + 20);
            looked = (size_t) (at + 20 - text);
        }
        if (strstr(text + looked, "\r\n0\r\n\r\n") != NULL) {
            return;
        }
        if (looked > sizeof(text) / 2) {
            memmove(text, text + looked, len - looked);
            len -= looked;
            looked = 0;
        }
    }
}

static int
run_direct(void)
{
    int fd = connect_to(load.url);
    char body[4096], head[512];

    snprintf(body, sizeof(body), "{\"model\":\"m\",\"max_tokens\":1000,"
        "\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}"
        "]}", load.prompt);
    snprintf(head, sizeof(head), "POST /v1/messages HTTP/1.1\r\nHost: x\r\n"
        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
        strlen(body));
    for (unsigned i = 0; i < load.times; i++) {
        char request[8192];
        int n = snprintf(request, sizeof(request), "%s%s", head, body);
        uint64_t began = uv_hrtime();

        if (write(fd, request, (size_t) n) != n) {
            return 1;
        }
        read_answer(fd, began);
    }
    close(fd);
    return 0;
}

/* ---- */

static int
compare(const void *a, const void *b)
{
    float x = *(const float *) a, y = *(const float *) b;

    return (x > y) - (x < y);
}

static void
put(const char *name, float *samples, size_t count)
{
    qsort(samples, count, sizeof(*samples), compare);
    printf("\"%s\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f},", name,
        (double) (count ? samples[count / 2] : 0),
        (double) (count ? samples[count * 99 / 100] : 0),
        (double) (count ? samples[count - 1] : 0));
}

int
main(int argc, char **argv)
{
    struct rusage used;
    int option, rc;

    while ((option = getopt(argc, argv, "u:d:o:n:t:p:D")) != -1) {
        switch (option) {
        case 'u': load.url = optarg; break;
        case 'd': load.conninfo = optarg; break;
        case 'o': uuid_parse(optarg, strlen(optarg), &load.owner); break;
        case 'n': load.streams = (unsigned) atoi(optarg); break;
        case 't': load.times = (unsigned) atoi(optarg); break;
        case 'p': load.prompt = optarg; break;
        case 'D': load.direct = 1; break;
        default: return 2;
        }
    }
    if (load.url == NULL || (!load.direct && load.conninfo == NULL)) {
        fprintf(stderr, "usage: model_load -u URL (-D | -d CONNINFO -o OWNER)"
            " [-n STREAMS] [-t TIMES] [-p PROMPT]\n");
        return 2;
    }
    load.late = malloc(SAMPLES_MAX * sizeof(float));
    load.first = malloc(SAMPLES_MAX * sizeof(float));
    rc = load.direct ? run_direct() : run_layer();
    getrusage(RUSAGE_SELF, &used);
    printf("{\"pieces\":%zu,", load.nlate);
    put("first", load.first, load.nfirst);
    put("late", load.late, load.nlate);
    printf("\"bytes\":%ld,\"bytes_peak\":%ld,\"cpu\":%.3f,\"failed\":%d}\n",
        load.direct ? 0 : (load.rss_all - load.rss_before)
            / (long) load.streams,
        load.direct ? 0 : (load.rss_peak - load.rss_before)
            / (long) load.streams,
        (double) used.ru_utime.tv_sec + (double) used.ru_utime.tv_usec / 1e6
        + (double) used.ru_stime.tv_sec
        + (double) used.ru_stime.tv_usec / 1e6, load.failed);
    return rc;
}
