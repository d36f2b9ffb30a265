/* channel.c: the kinds of channels there are, and reading what is in some.
 *
 * A kind has one or two sources, statements over a table whose rows have the
 * heads; what the first does not find is looked for in the second. Events are
 * first looked for among those of the last days, which are most that anybody
 * has missed, then, when some are missing, back to when the channel's object
 * was made: its id tells. */

#include "channel.h"

#include "common/event_record.h"

#include <assert.h>
#include <time.h>

#define KINDS_MAX 16
#define DAY_US    (INT64_C(24) * 3600 * 1000000)
#define RECENT_US (2 * DAY_US)
#define SKEW_US   DAY_US         /* of clocks, at most */
#define NEVER_US  INT64_C(253402300800000000)   /* the year 10000 */

#define COUNTED { { Q_CHANNEL_COUNTED, Q_CHANNEL_COUNTED_AFTER, 0 } }

static const channel_kind_t user_kind = {
    .name = "user", .sources = COUNTED, .nsources = 1
};
static const channel_kind_t system_kind = {
    .name = "system", .sources = COUNTED, .nsources = 1
};

static const channel_kind_t *kinds[KINDS_MAX] = { &user_kind, &system_kind };
static unsigned nkinds = 2;

void
channel_kind_add(const channel_kind_t *kind)
{
    assert(nkinds < KINDS_MAX && kind->nsources <= CHANNEL_SOURCES);
    kinds[nkinds++] = kind;
}

channel_t
channel_of(slice_t name)
{
    channel_t channel = { .name = name };
    const char *colon = name.len == 0 ? NULL
        : memchr(name.data, ':', name.len);
    slice_t kind = { name.data, colon == NULL ? name.len
                     : (size_t) (colon - name.data) };
    char text[UUID_TEXT];

    if (colon == NULL) {
        channel.kind = slice_equal(name, SLICE("system")) ? &system_kind
            : NULL;
        return channel;
    }
    if (uuid_parse(colon + 1, name.len - kind.len - 1, &channel.id) != 0) {
        return channel;
    }
    uuid_format(&channel.id, text);
    if (memcmp(text, colon + 1, UUID_TEXT) != 0) {
        return channel;
    }
    for (unsigned i = 0; i < nkinds; i++) {
        slice_t known = { kinds[i]->name, strlen(kinds[i]->name) };

        if (kinds[i] != &system_kind && slice_equal(kind, known)) {
            channel.kind = kinds[i];
        }
    }
    return channel;
}

/* ---- one statement ---- */

typedef struct {
    request_t *rq;
    value_t caller;              /* null: whoever */
    int64_t since, till;         /* of what time events are looked for */
} reading_t;

/* Some of those asked about. */
typedef struct {
    asked_t **items;
    size_t count;
} some_t;

/* What a UUIDv7 tells; 1970 for any other id. */
static int64_t
made_at(const hive_uuid_t *id)
{
    int64_t ms = 0;

    if (id->bytes[6] >> 4 != 7) {
        return 0;
    }
    for (int i = 0; i < 6; i++) {
        ms = ms << 8 | id->bytes[i];
    }
    return ms * 1000;
}

static int64_t
made_first(some_t some)
{
    int64_t first = NEVER_US;

    for (size_t i = 0; i < some.count; i++) {
        int64_t made = made_at(&some.items[i]->channel.id);

        first = made < first ? made : first;
    }
    return first;
}

static size_t
add_ids(some_t some, value_t *values)
{
    hive_uuid_t low = some.items[0]->channel.id, high = low;

    for (size_t i = 1; i < some.count; i++) {
        hive_uuid_t id = some.items[i]->channel.id;

        if (memcmp(&id, &low, sizeof(id)) < 0) {
            low = id;
        }
        if (memcmp(&id, &high, sizeof(id)) > 0) {
            high = id;
        }
    }
    values[0] = value_uuid(low);
    values[1] = value_uuid(high);
    return 2;
}

static value_t
names_of(arena_t *arena, some_t some)
{
    slice_t *names = arena_alloc(arena, some.count * sizeof(*names));

    for (size_t i = 0; i < some.count; i++) {
        names[i] = some.items[i]->channel.name;
    }
    return value_texts(names, some.count);
}

static size_t
add_positions(arena_t *arena, some_t some, value_t *values)
{
    int64_t *after = arena_alloc(arena, some.count * sizeof(*after));
    int64_t *most = arena_alloc(arena, some.count * sizeof(*most));

    for (size_t i = 0; i < some.count; i++) {
        after[i] = some.items[i]->after;
        most[i] = some.items[i]->most;
    }
    values[0] = value_ints(after, some.count);
    values[1] = value_ints(most, some.count);
    return 2;
}

/* The events of a row on, as many as belong to the same place. */
static int
take_events(arena_t *arena, asked_t *asked, int begin, int64_t place)
{
    const db_result_t *rows = asked->rows;
    past_t *events;
    int end = begin;

    while (end < rows->nrows) {
        db_row_t row = db_row_at(rows, end);

        if (db_int(&row, "place") != place) {
            break;
        }
        end++;
    }
    events = arena_alloc(arena, (size_t) (end - begin) * sizeof(*events));
    asked->begin = begin;
    asked->events = events;
    asked->count = 0;
    for (int i = begin; i < end; i++) {
        db_row_t row = db_row_at(rows, i);
        past_t *event = &events[asked->count];

        event->offset = db_int(&row, "offset");
        event->first = db_int(&row, "first");
        event->bytes = EVENT_RECORD_HEAD + 128 + 2 * asked->channel.name.len
            + db_text(&row, "data").len;
        if (event->first == 0) {
            event->first = event->offset;
        }
        asked->count += event->offset > 0;      /* else there is none */
    }
    return end;
}

static void
take_rows(arena_t *arena, some_t some, const db_result_t *rows, int events)
{
    int i = 0;

    while (i < rows->nrows) {
        db_row_t row = db_row_at(rows, i);
        int64_t place = db_int(&row, "place");
        asked_t *asked = some.items[place - 1];

        asked->found = 1;
        asked->head = db_int(&row, "head");
        asked->now = db_text(&row, "epoch");
        asked->rows = rows;
        i = events ? take_events(arena, asked, i, place) : i + 1;
    }
}

static void
read_source(const reading_t *reading, const channel_source_t *source,
    some_t some, int events)
{
    arena_t *arena = reading->rq->arena;
    value_t values[8];
    size_t n = 0;

    if (some.count == 0) {
        return;
    }
    values[n++] = reading->caller;
    values[n++] = names_of(arena, some);
    if (events) {
        n += add_positions(arena, some, values + n);
        values[n++] = value_time(reading->since);
        values[n++] = value_time(reading->till);
    }
    if (source->by_day) {
        n += add_ids(some, values + n);
    }
    take_rows(arena, some, db_expect_rows(reading->rq,
        db_exec_values(reading->rq, events ? source->after : source->heads,
            values, n)), events);
}

/* ---- all of one kind ---- */

typedef int (*which_fn)(const reading_t *reading, const asked_t *asked);

static int
wants_head(const reading_t *reading, const asked_t *asked)
{
    (void) reading;
    return !asked->found && asked->after == EVENTS_NOT_ASKED;
}

static int
wants_events(const reading_t *reading, const asked_t *asked)
{
    (void) reading;
    return !asked->found && asked->after != EVENTS_NOT_ASKED;
}

static int
is_continued(const asked_t *asked)
{
    return asked->after <= asked->head
           && (asked->epoch.len == 0
               || slice_equal(asked->epoch, asked->now));
}

/* Older ones may be there, and are missing. */
static int
wants_older(const reading_t *reading, const asked_t *asked)
{
    size_t fit;

    return asked->found && asked->after != EVENTS_NOT_ASKED
           && is_continued(asked)
           && made_at(&asked->channel.id) - SKEW_US < reading->since
           && history_judge(asked->events, asked->count, asked->after,
                  asked->head, (size_t) asked->most, SIZE_MAX, 1, &fit)
              == HISTORY_GAP;
}

static some_t
choose(const reading_t *reading, some_t all, which_fn which)
{
    some_t some = { arena_alloc(reading->rq->arena,
        all.count * sizeof(*some.items)), 0 };

    for (size_t i = 0; i < all.count; i++) {
        if (which(reading, all.items[i])) {
            some.items[some.count++] = all.items[i];
        }
    }
    return some;
}

static int64_t
now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
read_kind(const reading_t *recent, const channel_kind_t *kind, some_t all)
{
    some_t older;
    reading_t reading = *recent;

    for (unsigned i = 0; i < kind->nsources; i++) {
        read_source(recent, &kind->sources[i],
            choose(recent, all, wants_head), 0);
        read_source(recent, &kind->sources[i],
            choose(recent, all, wants_events), 1);
    }

    older = choose(recent, all, wants_older);
    if (older.count == 0) {
        return;
    }
    for (size_t i = 0; i < older.count; i++) {
        older.items[i]->found = 0;
    }
    reading.since = made_first(older) - SKEW_US;
    reading.till = NEVER_US;
    for (unsigned i = 0; i < kind->nsources; i++) {
        read_source(&reading, &kind->sources[i],
            choose(&reading, older, wants_events), 1);
    }
}

void
channels_read(request_t *rq, int trusted, asked_t *asked, size_t count)
{
    reading_t reading = { .rq = rq, .since = now_us() - RECENT_US,
        .till = now_us() + SKEW_US };
    some_t all = { arena_alloc(rq->arena, count * sizeof(*all.items)), 0 };

    for (unsigned k = 0; k < nkinds; k++) {
        int counted = kinds[k] == &user_kind || kinds[k] == &system_kind;

        all.count = 0;
        for (size_t i = 0; i < count; i++) {
            if (asked[i].channel.kind == kinds[k]) {
                all.items[all.count++] = &asked[i];
            }
        }
        if (all.count > 0) {
            reading.caller = trusted || (counted && rq->superuser)
                ? value_null() : value_uuid(rq->user);
            read_kind(&reading, kinds[k], all);
        }
    }
}

int
channel_allowed(request_t *rq, const channel_t *channel)
{
    asked_t asked = { .channel = *channel, .after = EVENTS_NOT_ASKED };

    channels_read(rq, 0, &asked, 1);
    return asked.found;
}
