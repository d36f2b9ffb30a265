/* uuid.c: making, writing and reading UUIDs (RFC 9562).
 *
 * Ids are made on every request, so their randomness comes from a block that
 * one getrandom call fills. A fork would give both processes the same rest
 * of the block, and the same previous id to count on from; the child
 * therefore forgets both. */

#include "uuid.h"

#include "percent.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define RANDOM_BLOCK 4096

/* How far the clock may step back before ids follow it. Below this they go
 * on from the last millisecond, so that they still ascend. */
#define CLOCK_STEP_MS 10000

#define TAIL_BITS 62
#define TAIL_MASK ((UINT64_C(1) << TAIL_BITS) - 1)

static uint8_t random_block[RANDOM_BLOCK];
static size_t random_left;

static uint64_t last_ms;
static uint64_t last_tail;

static void
forget_after_fork(void)
{
    random_left = 0;
    last_ms = 0;
}

/* Without randomness there are no ids, and nothing safe to go on with. */
static void
random_refill(void)
{
    static int registered;
    size_t have = 0;

    if (!registered) {
        if (pthread_atfork(NULL, NULL, forget_after_fork) != 0) {
            abort();
        }
        registered = 1;
    }

    while (have < sizeof(random_block)) {
        ssize_t n = getrandom(random_block + have,
                              sizeof(random_block) - have, 0);
        if (n > 0) {
            have += (size_t) n;
        } else if (n == 0 || errno != EINTR) {
            abort();
        }
    }

    random_left = sizeof(random_block);
}

static void
random_take(void *out, size_t len)
{
    if (random_left < len) {
        random_refill();
    }

    memcpy(out, random_block + sizeof(random_block) - random_left, len);
    random_left -= len;
}

static uint64_t
random_tail(void)
{
    uint64_t bits;

    random_take(&bits, sizeof(bits));
    return bits & TAIL_MASK;
}

static uint64_t
clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

void
uuid_v7(hive_uuid_t *out, unsigned cell)
{
    uint64_t now = clock_ms();

    if (now > last_ms || now + CLOCK_STEP_MS < last_ms) {
        last_ms = now;
        last_tail = random_tail();

    } else {
        uint32_t step;

        /* A random step rather than one: a neighbour cannot be guessed. */
        random_take(&step, sizeof(step));
        last_tail += (uint64_t) step + 1;

        if (last_tail > TAIL_MASK) {
            last_ms++;
            last_tail = random_tail();
        }
    }

    for (int i = 0; i < 6; i++) {
        out->bytes[i] = (uint8_t) (last_ms >> (40 - 8 * i));
    }
    out->bytes[6] = (uint8_t) (0x70 | ((cell >> 8) & 0x0f));
    out->bytes[7] = (uint8_t) cell;
    for (int i = 0; i < 8; i++) {
        out->bytes[8 + i] = (uint8_t) (last_tail >> (56 - 8 * i));
    }
    out->bytes[8] = (uint8_t) (out->bytes[8] | 0x80);
}

void
uuid_v4(hive_uuid_t *out)
{
    random_take(out->bytes, sizeof(out->bytes));
    out->bytes[6] = (uint8_t) ((out->bytes[6] & 0x0f) | 0x40);
    out->bytes[8] = (uint8_t) ((out->bytes[8] & 0x3f) | 0x80);
}

void
uuid_format(const hive_uuid_t *uuid, char out[UUID_TEXT])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *out++ = '-';
        }
        *out++ = digits[uuid->bytes[i] >> 4];
        *out++ = digits[uuid->bytes[i] & 15];
    }
}

int
uuid_parse(const char *text, size_t len, hive_uuid_t *out)
{
    hive_uuid_t uuid;
    unsigned seen = 0;

    if (len != UUID_TEXT || text[8] != '-' || text[13] != '-'
        || text[18] != '-' || text[23] != '-') {
        return -1;
    }

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text++;
        }
        unsigned high = hex_digit(text[0]);
        unsigned low = hex_digit(text[1]);
        seen |= high | low;
        uuid.bytes[i] = (uint8_t) (high << 4 | low);
        text += 2;
    }

    if (seen > 15) {
        return -1;
    }

    *out = uuid;
    return 0;
}
