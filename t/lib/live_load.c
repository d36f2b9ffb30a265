/* live_load.c: many WebSocket clients that must miss nothing.
 *
 *   live_load -p PORT -t TOKEN -c FILE [-n CONNECTIONS] [-k CHANNELS_EACH]
 *             [-j JITTER_MS] [-x MS]
 *
 * FILE names the channels, one a line. Connection i subscribes to k of them,
 * from the (i * k)th on, round and round. A connection that ends comes back,
 * within JITTER_MS, and resumes from where it was. Prints "all" each time that
 * all have all their subscriptions after they had not. With -x, a connection
 * chosen at random is cut each so many milliseconds.
 *
 * Standard input says how far each channel went, "CHANNEL OFFSET" a line. When
 * it ends, waits until all have come that far, 20 s at most, and prints one
 * line of JSON:
 *
 *   events, duplicates, disorders (an offset that came before one that is
 *   missing), unrecovered (told so), behind (subscriptions that ended below
 *   the head), reconnects, refused (handshakes without 101), errors, and
 *   closes: how often with each code, 1006 for none */

#include <jansson.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NAME_MAX_BYTES 64
#define READ_BYTES     65536
#define CODES          5000
#define WAIT_MS        20000

typedef struct {
    char epoch[80];
    int64_t offset;
    int confirmed;
    uint64_t again_at;      /* ms; 0: nothing to say */
} place_t;

enum { IDLE, CONNECTING, OPENING, OPEN };

typedef struct {
    int fd;
    int state;
    uint64_t at;            /* IDLE: when to connect */
    char *in;
    size_t len, size;
    char *message;          /* of fragments */
    size_t message_len;
    place_t *places;
    unsigned code;
} client_t;

static struct {
    int port;
    const char *token;
    char (*names)[NAME_MAX_BYTES];
    int64_t *heads;
    int nnames, n, k, jitter, cut, epoll;
    client_t *clients;
    int complete;
    uint64_t events, duplicates, disorders, unrecovered, reconnects, refused,
        errors;
    unsigned closes[CODES];
} load = { .n = 1, .k = 1, .jitter = 300 };

static uint64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

static int
name_of(const client_t *client, int i)
{
    long which = client - load.clients;

    return (int) ((which * load.k + i) % load.nnames);
}

/* ---- sending ---- */

static void
send_all(client_t *client, const void *bytes, size_t len)
{
    /* small, and the socket's buffer is not: what does not fit is an end
     * that the reader sees */
    if (send(client->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t) len) {
        shutdown(client->fd, SHUT_RDWR);
    }
}

static void
send_frame(client_t *client, int opcode, const char *text, size_t len)
{
    uint8_t frame[2048] = { (uint8_t) (0x80 | opcode) };
    size_t at = 2;

    if (len > 1900) {
        abort();
    }
    if (len < 126) {
        frame[1] = (uint8_t) (0x80 | len);
    } else {
        frame[1] = 0x80 | 126;
        frame[at++] = (uint8_t) (len >> 8);
        frame[at++] = (uint8_t) len;
    }
    at += 4;                /* a mask of zeros */
    memcpy(frame + at, text, len);
    send_all(client, frame, at + len);
}

static void
subscribe(client_t *client, int i)
{
    place_t *place = &client->places[i];
    char text[512];
    int len;

    place->confirmed = 0;
    place->again_at = now_ms() + 15000;     /* should there be no answer */
    if (place->epoch[0] != '\0') {
        len = snprintf(text, sizeof(text), "{\"type\":\"subscribe\",\"id\":%d,"
            "\"channel\":\"%s\",\"since\":{\"epoch\":\"%s\",\"offset\":%lld}}",
            i, load.names[name_of(client, i)], place->epoch,
            (long long) place->offset);
    } else {
        len = snprintf(text, sizeof(text), "{\"type\":\"subscribe\",\"id\":%d,"
            "\"channel\":\"%s\"}", i, load.names[name_of(client, i)]);
    }
    send_frame(client, 1, text, (size_t) len);
}

/* ---- connecting ---- */

static void
client_end(client_t *client)
{
    if (client->state == OPEN) {
        load.closes[client->code < CODES ? client->code : 0]++;
        load.reconnects++;
    } else if (client->state != IDLE) {
        load.refused++;
    }
    if (client->fd >= 0) {
        close(client->fd);
    }
    client->fd = -1;
    client->len = client->message_len = 0;
    client->state = IDLE;
    client->at = now_ms() + (uint64_t) (rand() % (load.jitter + 1));
    for (int i = 0; i < load.k; i++) {
        client->places[i].confirmed = 0;
        client->places[i].again_at = 0;
    }
}

static void
client_connect(client_t *client)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t) load.port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct epoll_event event = { .events = EPOLLOUT, .data.ptr = client };
    int one = 1;

    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0) {
        perror("socket");
        exit(2);
    }
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    client->state = CONNECTING;
    client->code = 1006;
    if (connect(client->fd, (struct sockaddr *) &address, sizeof(address)) != 0
        && errno != EINPROGRESS)
    {
        client_end(client);
        return;
    }
    epoll_ctl(load.epoll, EPOLL_CTL_ADD, client->fd, &event);
}

static void
client_open(client_t *client)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };
    char text[2048];
    int error = 0, len;
    socklen_t size = sizeof(error);

    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        client_end(client);
        return;
    }
    len = snprintf(text, sizeof(text), "GET /ws HTTP/1.1\r\nHost: 127.0.0.1"
        "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
        "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Authorization: Bearer %s\r\n\r\n", load.token);
    client->state = OPENING;
    epoll_ctl(load.epoll, EPOLL_CTL_MOD, client->fd, &event);
    send_all(client, text, (size_t) len);
}

/* ---- what comes ---- */

static int
place_of(const client_t *client, const char *channel)
{
    for (int i = 0; channel != NULL && i < load.k; i++) {
        if (strcmp(load.names[name_of(client, i)], channel) == 0) {
            return i;
        }
    }
    return -1;
}

static void
on_event(client_t *client, const json_t *message)
{
    json_t *offset = json_object_get(message, "offset");
    json_t *first = json_object_get(message, "first");
    const char *channel = json_string_value(json_object_get(message,
        "channel"));
    int i = place_of(client, channel);
    place_t *place;
    int64_t last, from;

    if (i < 0 || !json_is_integer(offset)) {
        return;
    }
    place = &client->places[i];
    last = json_integer_value(offset);
    from = json_is_integer(first) ? json_integer_value(first) : last;
    load.events++;
    if (last <= place->offset) {
        load.duplicates++;
        fprintf(stderr, "duplicate: %s has %lld, got %lld\n", channel,
            (long long) place->offset, (long long) last);
        return;
    }
    if (from > place->offset + 1) {
        load.disorders++;
        fprintf(stderr, "disorder: %s has %lld, got %lld\n", channel,
            (long long) place->offset, (long long) last);
    }
    place->offset = last;
}

static void
on_confirmed(client_t *client, const json_t *message)
{
    int i = place_of(client, json_string_value(json_object_get(message,
        "channel")));
    const char *epoch = json_string_value(json_object_get(message, "epoch"));
    place_t *place;
    int64_t offset;

    if (i < 0 || epoch == NULL) {
        load.errors++;
        return;
    }
    place = &client->places[i];
    offset = json_integer_value(json_object_get(message, "offset"));
    if (place->epoch[0] != '\0') {
        if (!json_is_true(json_object_get(message, "recovered"))) {
            load.unrecovered++;
            place->offset = offset;
        } else if (offset != place->offset) {
            load.disorders++;
            fprintf(stderr, "resumed at %lld, not at %lld\n",
                (long long) offset, (long long) place->offset);
        }
    } else {
        place->offset = offset;
    }
    snprintf(place->epoch, sizeof(place->epoch), "%s", epoch);
    place->confirmed = 1;
    place->again_at = 0;
}

static void
on_message(client_t *client, const char *text, size_t len)
{
    json_t *message = json_loadb(text, len, 0, NULL), *id;
    const char *type = json_string_value(json_object_get(message, "type"));

    if (type == NULL) {
        load.errors++;
    } else if (strcmp(type, "connection_established") == 0) {
        for (int i = 0; i < load.k; i++) {
            subscribe(client, i);
        }
    } else if (strcmp(type, "subscription_confirmed") == 0) {
        on_confirmed(client, message);
    } else if (strcmp(type, "error") == 0) {
        const char *code = json_string_value(json_object_get(message, "code"));

        id = json_object_get(message, "id");
        if (code != NULL && json_is_integer(id)
            && json_integer_value(id) < load.k
            && (strcmp(code, "unavailable") == 0
                || strcmp(code, "rate_limited") == 0))
        {
            client->places[json_integer_value(id)].again_at = now_ms() + 200;
        } else if (code != NULL && strcmp(code, "rate_limited") == 0) {
            /* which one is not said: those without answer are due anyway */
            for (int i = 0; i < load.k; i++) {
                if (!client->places[i].confirmed) {
                    client->places[i].again_at = now_ms() + 300
                        + (uint64_t) (rand() % 700);
                }
            }
        } else {
            load.errors++;
            fprintf(stderr, "error: %.*s\n", (int) len, text);
        }
    } else {
        on_event(client, message);
    }
    json_decref(message);
}

static void
on_frame(client_t *client, int opcode, int fin, const char *data, size_t len)
{
    switch (opcode) {
    case 8:
        client->code = len >= 2 ? (unsigned) ((uint8_t) data[0] << 8
            | (uint8_t) data[1]) : 1005;
        send_frame(client, 8, data, len < 2 ? 0 : 2);
        shutdown(client->fd, SHUT_WR);
        return;
    case 9:
        send_frame(client, 10, data, len);
        return;
    case 1:
    case 0:
        if (!fin || client->message_len > 0) {
            fprintf(stderr, "fragments are not expected\n");
            exit(2);
        }
        on_message(client, data, len);
        return;
    default:
        return;
    }
}

/* How many bytes of the buffer are done with. */
static size_t
on_bytes(client_t *client)
{
    uint8_t *in = (uint8_t *) client->in;
    size_t at = 0;

    if (client->state == OPENING) {
        char *end = memmem(client->in, client->len, "\r\n\r\n", 4);

        if (end == NULL) {
            return 0;
        }
        if (client->len < 12 || memcmp(client->in + 9, "101", 3) != 0) {
            shutdown(client->fd, SHUT_RDWR);
            return client->len;
        }
        client->state = OPEN;
        at = (size_t) (end - client->in) + 4;
    }
    while (client->len - at >= 2) {
        size_t head = 2, len = in[at + 1] & 0x7f;

        if (len == 126) {
            head = 4;
            if (client->len - at < head) {
                break;
            }
            len = (size_t) in[at + 2] << 8 | in[at + 3];
        } else if (len == 127) {
            head = 10;
            if (client->len - at < head) {
                break;
            }
            len = 0;
            for (int i = 0; i < 8; i++) {
                len = len << 8 | in[at + 2 + (size_t) i];
            }
        }
        if (client->len - at < head + len) {
            break;
        }
        on_frame(client, in[at] & 15, in[at] >> 7,
            client->in + at + head, len);
        at += head + len;
    }
    return at;
}

static void
on_readable(client_t *client)
{
    size_t used;
    ssize_t n;

    if (client->size - client->len < READ_BYTES) {
        client->size = client->len + 2 * READ_BYTES;
        client->in = realloc(client->in, client->size);
        if (client->in == NULL) {
            exit(2);
        }
    }
    n = read(client->fd, client->in + client->len, READ_BYTES);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        client_end(client);
        return;
    }
    client->len += (size_t) n;
    used = on_bytes(client);
    client->len -= used;
    memmove(client->in, client->in + used, client->len);
    if (client->len == 0) {
        free(client->in);
        client->in = NULL;
        client->size = 0;
    }
}

/* ---- the run ---- */

static void
look_after(client_t *client, uint64_t now)
{
    if (client->state == IDLE && now >= client->at) {
        client_connect(client);
    }
    for (int i = 0; client->state == OPEN && i < load.k; i++) {
        place_t *place = &client->places[i];

        if (place->again_at != 0 && now >= place->again_at) {
            subscribe(client, i);
        }
    }
}

static int
is_complete(void)
{
    for (int i = 0; i < load.n; i++) {
        for (int k = 0; k < load.k; k++) {
            if (!load.clients[i].places[k].confirmed) {
                return 0;
            }
        }
    }
    return 1;
}

static unsigned
behind(void)
{
    unsigned count = 0;

    for (int i = 0; i < load.n; i++) {
        for (int k = 0; k < load.k; k++) {
            count += load.clients[i].places[k].offset
                < load.heads[name_of(&load.clients[i], k)];
        }
    }
    return count;
}

/* 0 at the end of standard input. */
static int
read_heads(void)
{
    static char text[1 << 20];
    static size_t len;
    ssize_t n = read(0, text + len, sizeof(text) - 1 - len);
    char *line, *next;

    if (n > 0) {
        len += (size_t) n;
    }
    if (n > 0 || (n < 0 && errno == EAGAIN)) {
        return 1;
    }
    text[len] = '\0';
    for (line = strtok_r(text, "\n", &next); line != NULL;
         line = strtok_r(NULL, "\n", &next))
    {
        char name[NAME_MAX_BYTES];
        long long head;

        if (sscanf(line, "%63s %lld", name, &head) != 2) {
            continue;
        }
        for (int i = 0; i < load.nnames; i++) {
            if (strcmp(load.names[i], name) == 0) {
                load.heads[i] = head;
            }
        }
    }
    return 0;
}

static void
turn(int timeout)
{
    static uint64_t looked, cut;
    struct epoll_event events[512];
    int n = epoll_wait(load.epoll, events, 512, timeout);
    uint64_t now = now_ms();

    for (int i = 0; i < n; i++) {
        client_t *client = events[i].data.ptr;

        if (client->state == CONNECTING) {
            client_open(client);
        } else if (client->state != IDLE) {
            on_readable(client);
        }
    }
    if (load.cut > 0 && now - cut >= (uint64_t) load.cut) {
        client_t *client = &load.clients[rand() % load.n];

        cut = now;
        if (client->state == OPEN) {
            client_end(client);
        }
    }
    if (now - looked >= 20) {
        looked = now;
        for (int i = 0; i < load.n; i++) {
            look_after(&load.clients[i], now);
        }
        if (is_complete() != load.complete) {
            load.complete = !load.complete;
            if (load.complete) {
                puts("all");
                fflush(stdout);
            }
        }
    }
}

static void
report(void)
{
    int any = 0;

    printf("{\"events\":%llu,\"duplicates\":%llu,\"disorders\":%llu,"
        "\"unrecovered\":%llu,\"behind\":%u,\"reconnects\":%llu,"
        "\"refused\":%llu,\"errors\":%llu,\"complete\":%s,\"closes\":{",
        (unsigned long long) load.events, (unsigned long long) load.duplicates,
        (unsigned long long) load.disorders,
        (unsigned long long) load.unrecovered, behind(),
        (unsigned long long) load.reconnects,
        (unsigned long long) load.refused, (unsigned long long) load.errors,
        is_complete() ? "true" : "false");
    for (int i = 0; i < CODES; i++) {
        if (load.closes[i] > 0) {
            printf("%s\"%d\":%u", any++ ? "," : "", i, load.closes[i]);
        }
    }
    puts("}}");
}

static void
read_names(const char *path)
{
    FILE *file = fopen(path, "r");
    char line[256];

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    load.names = calloc(65536, sizeof(*load.names));
    load.heads = calloc(65536, sizeof(*load.heads));
    while (load.nnames < 65536 && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        snprintf(load.names[load.nnames++], NAME_MAX_BYTES, "%.63s", line);
    }
    fclose(file);
}

int
main(int argc, char **argv)
{
    struct rlimit files = { 65536, 65536 };
    uint64_t until;
    int option;

    while ((option = getopt(argc, argv, "p:t:c:n:k:j:x:")) != -1) {
        switch (option) {
        case 'p': load.port = atoi(optarg); break;
        case 't': load.token = optarg; break;
        case 'c': read_names(optarg); break;
        case 'n': load.n = atoi(optarg); break;
        case 'k': load.k = atoi(optarg); break;
        case 'j': load.jitter = atoi(optarg); break;
        case 'x': load.cut = atoi(optarg); break;
        default: return 2;
        }
    }
    if (load.port == 0 || load.token == NULL || load.nnames == 0
        || load.k > load.nnames)
    {
        fprintf(stderr, "live_load -p PORT -t TOKEN -c FILE [-n] [-k] [-j]\n");
        return 2;
    }
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    srand((unsigned) getpid());
    load.epoll = epoll_create1(0);
    load.clients = calloc((size_t) load.n, sizeof(*load.clients));
    for (int i = 0; i < load.n; i++) {
        load.clients[i].fd = -1;
        load.clients[i].at = now_ms() + (uint64_t) (i / 4);
        load.clients[i].places = calloc((size_t) load.k, sizeof(place_t));
    }
    fcntl(0, F_SETFL, O_NONBLOCK);
    for (;;) {
        turn(10);
        if (!read_heads()) {
            break;
        }
    }
    load.cut = 0;
    for (until = now_ms() + WAIT_MS;
         now_ms() < until && (behind() > 0 || !is_complete()); )
    {
        turn(10);
    }
    report();
    return 0;
}
