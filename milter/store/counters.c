/*
 * Invariants:
 *  1. A row is reached by one bucket, is never taken away before the end, and its name never changes: who found it may
 *     count in it without a lock.
 *  2. Rows are added under the lock, at the head of their bucket, and whole before they can be seen (release, acquire).
 *  3. There are at most `most` rows of a kind, and one for all others.
 */
#include "store/counters.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <string.h>

enum { BUCKETS = 1024 };

struct row {
    struct row *next;
    atomic_ulong counts[COUNTERS_WHERES][COUNTERS_VERDICTS][COUNTERS_REASONS];
    char connector[];
};

struct table {
    struct mutex lock;
    size_t most;                        /* frozen */
    struct row *_Atomic buckets[BUCKETS];
    atomic_size_t used;
};

struct times {
    atomic_ulong steps[COUNTERS_STEPS + 1], sum_ms;
};

struct counters {
    struct table decisions, shadows;
    struct times times[COUNTED_SEARCHES];
};

static const int64_t step_ms[COUNTERS_STEPS] = { 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 15000, 60000 };

struct counters *counters_new(size_t connectors)
{
    struct counters *c = mem_zero(sizeof(*c));

    c->decisions.most = c->shadows.most = connectors;
    mutex_init(&c->decisions.lock);
    mutex_init(&c->shadows.lock);
    return c;
}

static void free_table(struct table *t)
{
    struct row *row, *next;
    size_t i;

    for (i = 0; i < BUCKETS; i++) {
        for (row = atomic_load(&t->buckets[i]); row != NULL; row = next) {
            next = row->next;
            free(row);
        }
    }
    mutex_done(&t->lock);
}

void counters_free(struct counters *c)
{
    if (c == NULL)
        return;
    free_table(&c->decisions);
    free_table(&c->shadows);
    free(c);
}

static struct row *find(struct row *_Atomic *bucket, const char *connector)
{
    struct row *row = atomic_load_explicit(bucket, memory_order_acquire);

    while (row != NULL && strcmp(row->connector, connector) != 0)
        row = row->next;
    return row;
}

static struct row *add_locked(struct table *t, struct row *_Atomic *bucket, const char *connector) HOLDING(t->lock)
{
    size_t size = strlen(connector) + 1;
    struct row *row = mem_zero(sizeof(*row) + size);

    memcpy(row->connector, connector, size);
    row->next = atomic_load_explicit(bucket, memory_order_relaxed);
    atomic_store_explicit(bucket, row, memory_order_release);
    atomic_fetch_add_explicit(&t->used, 1, memory_order_relaxed);
    return row;
}

static bool has_room(const struct table *t, const char *connector)
{
    return atomic_load_explicit(&t->used, memory_order_relaxed) < t->most ||
           strcmp(connector, COUNTERS_OTHERS) == 0;
}

/* NULL: there is no room for another connector. */
static struct row *reach(struct table *t, const char *connector)
{
    struct row *_Atomic *bucket = &t->buckets[hash_text(connector) % BUCKETS];
    struct row *row = find(bucket, connector);

    if (row != NULL || !has_room(t, connector))
        return row;
    mutex_lock(&t->lock);
    row = find(bucket, connector);          /* somebody may have been quicker */
    if (row == NULL && has_room(t, connector))
        row = add_locked(t, bucket, connector);
    mutex_unlock(&t->lock);
    return row;
}

static struct row *reach_any(struct table *t, const char *connector)
{
    struct row *row = reach(t, connector);

    return row != NULL ? row : reach(t, COUNTERS_OTHERS);
}

void counters_decided(struct counters *c, const char *connector, bool shadow, enum where where, enum verdict verdict,
                      enum reason reason)
{
    struct row *row;

    if (c == NULL)
        return;
    row = reach_any(shadow ? &c->shadows : &c->decisions, connector);
    atomic_fetch_add_explicit(&row->counts[where][verdict][reason], 1, memory_order_relaxed);
}

void counters_took(struct counters *c, enum counted_search what, int64_t took_ms)
{
    size_t step = 0;

    if (c == NULL)
        return;
    while (step < COUNTERS_STEPS && took_ms > step_ms[step])
        step++;
    atomic_fetch_add_explicit(&c->times[what].steps[step], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->times[what].sum_ms, took_ms > 0 ? (unsigned long)took_ms : 0, memory_order_relaxed);
}

static void each_of_row(const struct row *row, void (*each)(void *self, const struct counted *one), void *self)
{
    struct counted one = { .connector = row->connector };
    int where, verdict, reason;

    for (where = 0; where < COUNTERS_WHERES; where++) {
        for (verdict = 0; verdict < COUNTERS_VERDICTS; verdict++) {
            for (reason = 0; reason < COUNTERS_REASONS; reason++) {
                one.where = (enum where)where;
                one.verdict = (enum verdict)verdict;
                one.reason = (enum reason)reason;
                one.count = atomic_load_explicit(&row->counts[where][verdict][reason], memory_order_relaxed);
                if (one.count > 0)
                    each(self, &one);
            }
        }
    }
}

void counters_each(const struct counters *c, bool shadow, void (*each)(void *self, const struct counted *one), void *self)
{
    const struct table *t;
    const struct row *row;
    size_t i;

    if (c == NULL)
        return;
    t = shadow ? &c->shadows : &c->decisions;
    for (i = 0; i < BUCKETS; i++) {
        for (row = atomic_load_explicit(&t->buckets[i], memory_order_acquire); row != NULL; row = row->next)
            each_of_row(row, each, self);
    }
}

int64_t counters_step_ms(size_t step)
{
    return step_ms[step];
}

void counters_times(const struct counters *c, enum counted_search what, struct counted_times *ret)
{
    size_t i;

    *ret = (struct counted_times){ 0 };
    if (c == NULL)
        return;
    for (i = 0; i <= COUNTERS_STEPS; i++)
        ret->steps[i] = atomic_load_explicit(&c->times[what].steps[i], memory_order_relaxed);
    ret->sum_ms = atomic_load_explicit(&c->times[what].sum_ms, memory_order_relaxed);
}
