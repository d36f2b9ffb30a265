/* metrics.c: counters, gauges and histograms in shared memory.
 *
 * Every series is a run of 64-bit cells: a counter one; a gauge its value (a
 * double) and whether it was ever set; a histogram its buckets, the last one
 * without bound, and the sum in microseconds. A process adds to the cells of
 * its own region without a lock, whoever tells adds up the regions; gauges
 * are in the first one.
 *
 * A name takes its place by a swap of its hash; then its text is written by
 * all who find that it is not there yet. They write the same bytes, so that
 * one who is killed halfway leaves nothing that another does not complete. */

#include "metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#define CELLS       8192           /* of a region */
#define METRICS_MAX 64
#define BUCKETS     18             /* the last one without bound */

typedef struct {
    _Atomic uint64_t hash;         /* 0: free */
    _Atomic int written;
    uint32_t len;
    char text[METRIC_NAME_MAX];
} name_t;

typedef _Atomic uint64_t cell_t;

typedef struct {
    size_t size;                   /* of it all */
    unsigned regions;
    _Atomic unsigned joined;       /* regions from 0 that were ever used */
    _Atomic uint64_t due;
    name_t names[METRIC_NAMES];
    cell_t cells[];                /* CELLS for each region */
} shared_t;

static struct {
    shared_t *shared;              /* NULL: nothing is counted */
    cell_t *own;
    metric_t *metrics[METRICS_MAX];
    unsigned count;
    unsigned next;                 /* cell */
} metrics;

static const uint64_t bounds[BUCKETS - 1] = {
    500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
    1000000, 2500000, 5000000, 10000000, 30000000, 300000000, 3600000000
};

static const char *const bound_texts[BUCKETS] = {
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1",
    "0.25", "0.5", "1", "2.5", "5", "10", "30", "300", "3600", "+Inf"
};

/* ---- life ---- */

int
metrics_new(unsigned regions)
{
    size_t size = sizeof(shared_t) + (size_t) regions * CELLS * sizeof(cell_t);
    shared_t *shared = mmap(NULL, size, PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (shared == MAP_FAILED) {
        return -errno;
    }

    shared->size = size;
    shared->regions = regions;
    memset(&metrics, 0, sizeof(metrics));
    metrics.shared = shared;
    metrics.own = shared->cells;
    return 0;
}

void
metrics_free(void)
{
    if (metrics.shared != NULL) {
        munmap(metrics.shared, metrics.shared->size);
    }
    memset(&metrics, 0, sizeof(metrics));
}

void
metrics_join(unsigned region)
{
    shared_t *shared = metrics.shared;
    unsigned joined;

    if (shared == NULL) {
        return;
    }

    assert(region < shared->regions);
    metrics.own = shared->cells + (size_t) region * CELLS;
    joined = atomic_load(&shared->joined);
    while (joined <= region
           && !atomic_compare_exchange_weak(&shared->joined, &joined,
               region + 1)) {
        /* again, with what another has made of it */
    }
}

/* ---- where a series is ---- */

static unsigned
series_width(const metric_t *metric)
{
    switch (metric->type) {
    case METRIC_COUNTER:
        return 1;
    case METRIC_GAUGE:
        return 2;
    default:
        return BUCKETS + 1;
    }
}

static unsigned
series_names(const metric_t *metric)
{
    return metric->named != NULL ? METRIC_NAMES + 1 : 1;
}

void
metric_add(metric_t *metric)
{
    unsigned nvalues = 0;

    if (metrics.shared == NULL) {
        return;
    }
    while (metric->values != NULL && metric->values[nvalues] != NULL) {
        nvalues++;
    }
    metric->nvalues = nvalues > 0 ? nvalues : 1;
    metric->first = metrics.next;
    metrics.next += series_names(metric) * metric->nvalues
                    * series_width(metric);

    assert(metrics.next <= CELLS && metrics.count < METRICS_MAX);
    metrics.metrics[metrics.count++] = metric;
}

/* Index of the first cell of a series in each region. */
static unsigned
series_at(const metric_t *metric, unsigned name, unsigned value)
{
    assert(name < series_names(metric) && value < metric->nvalues);
    return metric->first
           + (name * metric->nvalues + value) * series_width(metric);
}

/* ---- names ---- */

static uint64_t
hash_name(slice_t text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);   /* FNV-1a */

    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (uint8_t) text.data[i]) * UINT64_C(0x100000001b3);
    }
    return hash != 0 ? hash : 1;
}

/* Nonzero when the place is this name's. */
static int
take_name(name_t *name, uint64_t hash, slice_t text)
{
    uint64_t held = 0;

    if (!atomic_compare_exchange_strong(&name->hash, &held, hash)
        && held != hash) {
        return 0;
    }
    if (!atomic_load(&name->written)) {
        memcpy(name->text, text.data, text.len);
        name->len = (uint32_t) text.len;
        atomic_store(&name->written, 1);
    }
    return name->len == text.len
           && memcmp(name->text, text.data, text.len) == 0;
}

unsigned
metric_name(slice_t text)
{
    uint64_t hash = hash_name(text);

    if (metrics.shared == NULL || text.len == 0
        || text.len > METRIC_NAME_MAX) {
        return METRIC_OTHER;
    }
    for (unsigned i = 0; i < METRIC_NAMES; i++) {
        name_t *name = &metrics.shared->names[i];
        uint64_t held = atomic_load_explicit(&name->hash,
            memory_order_relaxed);

        if ((held == 0 || held == hash) && take_name(name, hash, text)) {
            return i;
        }
    }
    return METRIC_OTHER;
}

unsigned
metric_names(void)
{
    unsigned count = 0;

    while (metrics.shared != NULL && count < METRIC_NAMES
           && atomic_load(&metrics.shared->names[count].written)) {
        count++;
    }
    return count;
}

/* ---- counting ---- */

static void
add(cell_t *cell, uint64_t more)
{
    atomic_fetch_add_explicit(cell, more, memory_order_relaxed);
}

void
metric_count(const metric_t *metric, unsigned name, unsigned value,
    uint64_t more)
{
    if (metrics.shared != NULL) {
        add(&metrics.own[series_at(metric, name, value)], more);
    }
}

void
metric_observe(const metric_t *metric, unsigned name, unsigned value,
    uint64_t microseconds)
{
    cell_t *cells;
    unsigned i;

    if (metrics.shared == NULL) {
        return;
    }

    cells = &metrics.own[series_at(metric, name, value)];
    for (i = 0; i < BUCKETS - 1 && microseconds > bounds[i]; i++) {
        /* the first that is not below it */
    }
    add(&cells[i], 1);
    atomic_fetch_add_explicit(&cells[BUCKETS], microseconds,
        memory_order_release);
}

void
metric_set(const metric_t *metric, unsigned name, unsigned value, double to)
{
    uint64_t bits;
    cell_t *cells;

    if (metrics.shared == NULL) {
        return;
    }

    memcpy(&bits, &to, sizeof(bits));
    cells = &metrics.shared->cells[series_at(metric, name, value)];
    atomic_store(&cells[0], bits);
    atomic_store(&cells[1], 1);
}

int
metrics_due(uint64_t now_ms, uint64_t next_ms)
{
    uint64_t due;

    if (metrics.shared == NULL) {
        return 0;
    }

    due = atomic_load(&metrics.shared->due);
    return now_ms >= due
           && atomic_compare_exchange_strong(&metrics.shared->due, &due,
               next_ms);
}

void
metrics_due_at(uint64_t at_ms)
{
    if (metrics.shared != NULL) {
        atomic_store(&metrics.shared->due, at_ms);
    }
}

/* ---- telling ---- */

static uint64_t
sum_of(unsigned at)
{
    unsigned regions = atomic_load(&metrics.shared->joined);
    uint64_t sum = 0;

    for (unsigned r = 0; r < regions; r++) {
        sum += atomic_load_explicit(
            &metrics.shared->cells[(size_t) r * CELLS + at],
            memory_order_acquire);
    }
    return sum;
}

static void
put_label_value(buf_t *out, slice_t text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\n') {
            buf_puts(out, "\\n");
            continue;
        }
        if (text.data[i] == '"' || text.data[i] == '\\') {
            buf_putc(out, '\\');
        }
        buf_putc(out, text.data[i]);
    }
}

static slice_t
name_text(unsigned index)
{
    const name_t *name = &metrics.shared->names[index];

    return index == METRIC_OTHER ? SLICE("other")
                                 : (slice_t) { name->text, name->len };
}

/* `name{kind="a",outcome="b",le="1"}` as far as there are labels. */
static void
put_series(buf_t *out, const metric_t *metric, const char *suffix,
    unsigned name, unsigned value, const char *le)
{
    const char *mark = "{";

    buf_printf(out, "%s%s", metric->name, suffix);
    if (metric->named != NULL) {
        buf_printf(out, "%s%s=\"", mark, metric->named);
        put_label_value(out, name_text(name));
        buf_putc(out, '"');
        mark = ",";
    }
    if (metric->label != NULL) {
        buf_printf(out, "%s%s=\"%s\"", mark, metric->label,
            metric->values[value]);
        mark = ",";
    }
    if (le != NULL) {
        buf_printf(out, "%sle=\"%s\"", mark, le);
        mark = ",";
    }
    buf_puts(out, *mark == ',' ? "} " : " ");
}

static void
put_counter(buf_t *out, const metric_t *metric, unsigned name,
    unsigned value)
{
    uint64_t sum = sum_of(series_at(metric, name, value));

    if (sum > 0 || metric->named == NULL) {
        put_series(out, metric, "", name, value, NULL);
        buf_printf(out, "%llu\n", (unsigned long long) sum);
    }
}

static void
put_gauge(buf_t *out, const metric_t *metric, unsigned name, unsigned value)
{
    cell_t *cells = &metrics.shared->cells[series_at(metric, name, value)];
    uint64_t bits = atomic_load(&cells[0]);
    double number;

    if (atomic_load(&cells[1]) != 0) {
        memcpy(&number, &bits, sizeof(number));
        put_series(out, metric, "", name, value, NULL);
        buf_printf(out, "%.15g\n", number);
    }
}

/* The sum is read first and written last: whatever it has is in a bucket. */
static void
put_histogram(buf_t *out, const metric_t *metric, unsigned name,
    unsigned value)
{
    unsigned at = series_at(metric, name, value);
    unsigned long long sum = sum_of(at + BUCKETS), buckets[BUCKETS];
    unsigned long long count = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        count += sum_of(at + i);
        buckets[i] = count;
    }
    if (count == 0 && metric->named != NULL) {
        return;
    }

    for (unsigned i = 0; i < BUCKETS; i++) {
        put_series(out, metric, "_bucket", name, value, bound_texts[i]);
        buf_printf(out, "%llu\n", buckets[i]);
    }
    put_series(out, metric, "_sum", name, value, NULL);
    buf_printf(out, "%llu.%06llu\n", sum / 1000000, sum % 1000000);
    put_series(out, metric, "_count", name, value, NULL);
    buf_printf(out, "%llu\n", count);
}

static void
put_metric(buf_t *out, const metric_t *metric)
{
    static const char *const types[] = { "counter", "gauge", "histogram" };
    static void (*const puts[])(buf_t *, const metric_t *, unsigned,
        unsigned) = { put_counter, put_gauge, put_histogram };

    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name,
        metric->help, metric->name, types[metric->type]);
    for (unsigned name = 0; name < series_names(metric); name++) {
        if (metric->named != NULL && name != METRIC_OTHER
            && !atomic_load(&metrics.shared->names[name].written)) {
            continue;
        }
        for (unsigned value = 0; value < metric->nvalues; value++) {
            puts[metric->type](out, metric, name, value);
        }
    }
}

void
metrics_put(buf_t *out)
{
    if (metrics.shared == NULL) {
        return;
    }
    for (unsigned i = 0; i < metrics.count; i++) {
        put_metric(out, metrics.metrics[i]);
    }
}
