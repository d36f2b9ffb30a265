/* turn.c: the order of claims.
 *
 * Start-time fair queueing (P. Goyal, H. Vin, H. Cheng: "Start-time Fair
 * Queueing", SIGCOMM 1996): the start tag of a flow's next item is
 * max(V, F), where F is the finish tag of its last one and V the virtual time
 * of the kind, here the highest start tag that was claimed. An item of
 * priority p lasts 2^(20-p): a flow of a priority one higher has twice the
 * share, and one that has waited for nothing yet begins at V, whoever has how
 * much in front of it. So nothing starves: V passes every turn.
 *
 * Both are hints in this process; a flow that was forgotten begins at V again,
 * a kind at 0 until a claim or a heartbeat says better. Maps are bounded: the
 * least recently used goes. Flows are known by a 128-bit hash only. */

#include "engine.h"

#include "turn.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#define STRIDE_BITS 20
#define TOLD_MAX    64         /* kinds in turn_times */

typedef struct {
    uint64_t key[2];
    int64_t turn;
    char *name;                /* of kinds, owned */
    uint32_t chain;            /* indexes are from 1; 0: none */
    uint32_t newer, older;
} entry_t;

typedef struct {
    entry_t *entries;          /* from 1 */
    uint32_t *buckets;
    uint32_t count, max;
    uint32_t newest, oldest;
} map_t;

static map_t flows = { .max = TURN_FLOWS };
static map_t kinds = { .max = TURN_KINDS };

/* ---- a bounded map ---- */

static uint32_t *
bucket_of(map_t *map, const uint64_t key[2])
{
    return &map->buckets[(key[0] ^ key[1]) % map->max];
}

static void
take_out(map_t *map, uint32_t index)
{
    entry_t *entry = &map->entries[index];

    if (entry->newer != 0) {
        map->entries[entry->newer].older = entry->older;
    } else {
        map->newest = entry->older;
    }
    if (entry->older != 0) {
        map->entries[entry->older].newer = entry->newer;
    } else {
        map->oldest = entry->newer;
    }
}

static void
put_newest(map_t *map, uint32_t index)
{
    entry_t *entry = &map->entries[index];

    entry->newer = 0;
    entry->older = map->newest;
    if (map->newest != 0) {
        map->entries[map->newest].newer = index;
    } else {
        map->oldest = index;
    }
    map->newest = index;
}

static uint32_t
find(map_t *map, const uint64_t key[2])
{
    uint32_t index;

    if (map->entries == NULL) {
        return 0;
    }
    for (index = *bucket_of(map, key); index != 0;
         index = map->entries[index].chain) {
        if (memcmp(map->entries[index].key, key, 16) == 0) {
            return index;
        }
    }
    return 0;
}

/* The place of the least recently used one. */
static uint32_t
evict(map_t *map)
{
    uint32_t index = map->oldest;
    entry_t *entry = &map->entries[index];
    uint32_t *at = bucket_of(map, entry->key);

    while (*at != index) {
        at = &map->entries[*at].chain;
    }
    *at = entry->chain;
    take_out(map, index);
    free(entry->name);
    return index;
}

static uint32_t
make(map_t *map, const uint64_t key[2], slice_t name)
{
    uint32_t index, *bucket;
    entry_t *entry;

    if (map->entries == NULL) {
        map->entries = calloc(map->max + 1, sizeof(entry_t));
        map->buckets = calloc(map->max, sizeof(uint32_t));
        if (map->entries == NULL || map->buckets == NULL) {
            abort();
        }
    }
    index = map->count < map->max ? ++map->count : evict(map);
    entry = &map->entries[index];
    memcpy(entry->key, key, 16);
    entry->turn = 0;
    entry->name = NULL;
    if (name.data != NULL && (entry->name = strndup(name.data, name.len))
        == NULL) {
        abort();
    }
    bucket = bucket_of(map, key);
    entry->chain = *bucket;
    *bucket = index;
    put_newest(map, index);
    return index;
}

/* Finds or makes it, and it is the newest then. */
static entry_t *
touch(map_t *map, const uint64_t key[2], slice_t name)
{
    uint32_t index = find(map, key);

    if (index == 0) {
        index = make(map, key, name);
    } else if (index != map->newest) {
        take_out(map, index);
        put_newest(map, index);
    }
    return &map->entries[index];
}

static void
map_reset(map_t *map, uint32_t max)
{
    for (uint32_t i = 1; i <= map->count; i++) {
        free(map->entries[i].name);
    }
    free(map->entries);
    free(map->buckets);
    memset(map, 0, sizeof(*map));
    map->max = max;
}

/* ---- keys ---- */

static uint64_t
mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
    return h ^ h >> 32;
}

static uint64_t
hash_text(slice_t text, uint64_t h)
{
    uint64_t word;
    size_t i;

    for (i = 0; i + 8 <= text.len; i += 8) {
        memcpy(&word, text.data + i, 8);
        h = mix(h, word);
    }
    word = text.len;
    if (i < text.len) {
        memcpy(&word, text.data + i, text.len - i);
        h = mix(h, text.len);
    }
    return mix(h, word);
}

static void
kind_key(slice_t kind, uint64_t key[2])
{
    key[0] = hash_text(kind, UINT64_C(0x9e3779b97f4a7c15));
    key[1] = hash_text(kind, UINT64_C(0xc2b2ae3d27d4eb4f));
}

static void
flow_key(const uint64_t kind[2], const hive_uuid_t *owner, int priority,
    uint64_t key[2])
{
    uint64_t halves[2];

    memcpy(halves, owner->bytes, 16);
    for (int i = 0; i < 2; i++) {
        key[i] = mix(mix(mix(kind[i], halves[0]), halves[1]),
            (uint64_t) priority);
    }
}

/* ---- turns ---- */

int64_t
turn_next(hive_uuid_t owner, slice_t kind, int priority)
{
    uint64_t of_kind[2], of_flow[2];
    int64_t now, turn;
    entry_t *flow;
    uint32_t index;

    assert(priority >= 0 && priority < STRIDE_BITS);
    kind_key(kind, of_kind);
    flow_key(of_kind, &owner, priority, of_flow);

    index = find(&kinds, of_kind);
    now = index == 0 ? 0 : kinds.entries[index].turn;
    flow = touch(&flows, of_flow, SLICE_NONE);
    turn = flow->turn > now ? flow->turn : now;
    flow->turn = turn + (INT64_C(1) << (STRIDE_BITS - priority));
    return turn;
}

void
turn_claimed(slice_t kind, int64_t turn)
{
    uint64_t key[2];
    entry_t *entry;

    kind_key(kind, key);
    entry = touch(&kinds, key, kind);
    if (turn > entry->turn) {
        entry->turn = turn;
    }
}

slice_t
turn_times(arena_t *arena)
{
    uint32_t index = kinds.newest;
    buf_t out;

    buf_init(&out, arena, 256);
    buf_putc(&out, '{');
    for (int i = 0; index != 0 && i < TOLD_MAX; i++) {
        const entry_t *entry = &kinds.entries[index];

        if (i > 0) {
            buf_putc(&out, ',');
        }
        json_put_string(&out, (slice_t) { entry->name, strlen(entry->name) });
        buf_printf(&out, ":%" PRId64, entry->turn);
        index = entry->older;
    }
    buf_putc(&out, '}');
    return buf_slice(&out);
}

void
turn_reset(uint32_t flows_max, uint32_t kinds_max)
{
    map_reset(&flows, flows_max);
    map_reset(&kinds, kinds_max);
}
