/*
 * Invariants:
 *  1. An entry's evidence is only handed out while fresh (cache_join) or to those who merely look (cache_peek).
 *  2. `searching` is set by whoever gets SEAT_FIRST or takes a hop from cache_due(), and cleared by cache_land() alone;
 *     an entry is never removed meanwhile, so that waiters always have a place to hang on. cache_forget() only takes such
 *     an entry's evidence away, as it does where the entry is pinned.
 *  3. A waiter is on the list of one searching entry, or on none. Who takes it off owns the wake-up.
 *  4. A shard's lock is never held across a wake-up.
 *  5. There are never more than `entries` that aren't pinned (but where a reload has just unpinned some), in all shards
 *     together: who makes one reserves its place in `loose` first, and gives it back where nothing can be let go for it.
 *     What they and their evidence take is counted in `octets`; past the limit each landing lets the fattest of its shard
 *     go, so that nobody crowds out others by size, or where none is fat, one that nobody asked for lately.
 *  6. A shard counts the states of its entries as they come and go: put_found_locked() alone changes an entry's evidence.
 *
 *   absent --cache_join--> searching --cache_land--> fresh --time--> stale --cache_join, cache_due--> searching
 *                                                      '--cache_due (ahead of time, still served)--> searching
 */
#include "store/cache.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/cache_table.h"

#include <stdatomic.h>
#include <string.h>

enum {
    SHARDS = CACHE_SLICES,
    SLICES = 4,                     /* cache_due() visits every bucket once in so many calls */
    FORGET_AFTER = 60 * 60 * 1000,  /* ms past its freshness, for what nobody asks for */
    EVICT_MOST = 2,                 /* for a newcomer: more than one, where a reload has left fewer pinned */
    TRIM_MOST = 4,                  /* for a landing */
    FAT = 4096,                     /* octets; most entries take less than 500 */
};

struct shard {
    struct mutex lock;
    struct cache_table table GUARDED_BY(lock);
    size_t pinned GUARDED_BY(lock), searching GUARDED_BY(lock), fat GUARDED_BY(lock);
    unsigned slice GUARDED_BY(lock);    /* where cache_due() goes on */
    struct cache_states states GUARDED_BY(lock);
};

struct cache {
    size_t entries, octets_most;        /* frozen */
    atomic_size_t loose, octets;        /* entries that aren't pinned, and what those with evidence take */
    atomic_size_t first;                /* the shard that cache_due() begins with: each in turn, so that none starves */
    struct shard shards[SHARDS];
};

struct cache *cache_new(size_t entries, size_t octets)
{
    struct cache *m = mem_zero(sizeof(*m));
    size_t i;

    m->entries = entries;
    m->octets_most = octets;
    for (i = 0; i < SHARDS; i++)
        mutex_init(&m->shards[i].lock);
    return m;
}

/* Adds what an entry takes, or takes it away; those that are pinned don't count. */
static void weigh(struct cache *m, const struct cache_entry *e, bool add)
{
    if (e->pinned)
        return;
    if (add)
        atomic_fetch_add_explicit(&m->octets, cache_entry_weight(e), memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&m->octets, cache_entry_weight(e), memory_order_relaxed);
}

static void set_pinned_locked(struct cache *m, struct shard *s, struct cache_entry *e, bool pinned) HOLDING(s->lock)
{
    if (e->pinned == pinned)
        return;
    weigh(m, e, false);
    e->pinned = pinned;
    weigh(m, e, true);
    if (pinned) {
        atomic_fetch_sub(&m->loose, 1);
        s->pinned++;
    } else {
        atomic_fetch_add(&m->loose, 1);
        s->pinned--;
    }
}

static bool is_fat(const struct cache_entry *e)
{
    return cache_entry_weight(e) > FAT;
}

/* Takes found (or NULL) in the place of what lies there. */
static void put_found_locked(struct cache *m, struct shard *s, struct cache_entry *e, struct evidence *found) HOLDING(s->lock)
{
    struct evidence *old = e->found;

    if (old != NULL) {
        s->states.dane[old->dane]--;
        s->states.sts[old->sts]--;
    }
    if (found != NULL) {
        s->states.dane[found->dane]++;
        s->states.sts[found->sts]++;
    }
    weigh(m, e, false);
    s->fat -= is_fat(e);
    e->found = found;
    s->fat += is_fat(e);
    weigh(m, e, true);
    evidence_unref(old);
}

static void free_shard(struct shard *s) UNCHECKED          /* nobody else is left */
{
    cache_table_done(&s->table);
    mutex_done(&s->lock);
}

void cache_free(struct cache *m)
{
    size_t i;

    if (m == NULL)
        return;
    for (i = 0; i < SHARDS; i++)
        free_shard(&m->shards[i]);
    free(m);
}

/* The shard and the bucket come from different ends of the hash. */
static struct shard *shard_of(struct cache *m, uint64_t hash)
{
    return &m->shards[hash >> 58];
}

/* One that isn't pinned. */
static void remove_locked(struct cache *m, struct shard *s, struct cache_entry *victim) HOLDING(s->lock)
{
    put_found_locked(m, s, victim, NULL);
    cache_table_drop(&s->table, victim);
    atomic_fetch_sub(&m->loose, 1);
}

/* Lets one entry go, if there is one that may. */
static bool evict_locked(struct cache *m, struct shard *s) HOLDING(s->lock)
{
    struct cache_entry *e = cache_table_idle(&s->table);

    if (e != NULL)
        remove_locked(m, s, e);
    return e != NULL;
}

/* Somewhere, where a shard has nothing to let go for a newcomer. */
static bool evict_anywhere(struct cache *m)
{
    size_t first = atomic_fetch_add(&m->first, 1), i;
    bool done = false;

    for (i = 0; i < SHARDS && !done; i++) {
        struct shard *s = &m->shards[(first + i) % SHARDS];

        mutex_lock(&s->lock);
        done = s->table.used > s->pinned + s->searching && evict_locked(m, s);
        mutex_unlock(&s->lock);
    }
    return done;
}

static struct cache_entry *victim_locked(struct shard *s) HOLDING(s->lock)
{
    struct cache_entry *e = s->fat == 0 ? NULL : cache_table_fattest(&s->table);

    return e != NULL && is_fat(e) ? e : cache_table_idle(&s->table);
}

static void trim_locked(struct cache *m, struct shard *s) HOLDING(s->lock)
{
    struct cache_entry *e;
    size_t i;

    for (i = 0; i < TRIM_MOST && atomic_load(&m->octets) > m->octets_most; i++) {
        e = victim_locked(s);
        if (e == NULL)
            return;
        remove_locked(m, s, e);
    }
}

/* A place for one more. */
static bool reserve_locked(struct cache *m, struct shard *s) HOLDING(s->lock)
{
    size_t before = atomic_fetch_add(&m->loose, 1), i;

    for (i = 0; i < EVICT_MOST && before >= m->entries && evict_locked(m, s); i++)
        before--;
    if (i > 0 || before < m->entries)
        return true;
    atomic_fetch_sub(&m->loose, 1);
    return false;
}

/* Finds or makes the entry; NULL: there is no room, which those to be pinned never lack. */
static struct cache_entry *reach_locked(struct cache *m, struct shard *s, const char *key, uint64_t hash, bool pin)
    HOLDING(s->lock)
{
    struct cache_entry *e = cache_table_find(&s->table, key, hash);

    if (e != NULL)
        return e;
    if (pin)
        atomic_fetch_add(&m->loose, 1);         /* for as long as it isn't pinned yet */
    else if (!reserve_locked(m, s))
        return NULL;
    return cache_table_add(&s->table, key, hash);
}

static void start_search_locked(struct shard *s, struct cache_entry *e) HOLDING(s->lock)
{
    e->searching = true;
    s->searching++;
}

static bool fresh(const struct cache_entry *e, int64_t now)
{
    return e->found != NULL && !e->doubted && e->found->fresh_until > now;
}

static enum seat join_locked(struct shard *s, struct cache_entry *e, struct waiter *w, int64_t now,
                             struct evidence **ret_found) HOLDING(s->lock)
{
    enum seat seat = e->searching ? SEAT_JOINED : SEAT_FIRST;

    e->wanted = true;
    if (fresh(e, now)) {
        *ret_found = evidence_ref(e->found);
        return SEAT_SERVED;
    }
    if (w != NULL) {
        w->next = e->waiters;
        e->waiters = w;
    }
    if (seat == SEAT_FIRST)
        start_search_locked(s, e);
    return seat;
}

enum seat cache_join(struct cache *m, const struct next_hop *hop, struct waiter *w, int64_t now, struct evidence **ret_found)
{
    char key[NEXT_HOP_TEXT_SIZE];
    uint64_t hash = hash_text(next_hop_print(hop, key));
    struct shard *s = shard_of(m, hash);
    enum seat seat = SEAT_REFUSED;
    struct cache_entry *e = NULL;
    int tries;

    for (tries = 0; e == NULL && tries < 2 && (tries == 0 || evict_anywhere(m)); tries++) {
        mutex_lock(&s->lock);
        e = reach_locked(m, s, key, hash, false);
        if (e != NULL)
            seat = join_locked(s, e, w, now, ret_found);
        mutex_unlock(&s->lock);
    }
    return seat;
}

bool cache_leave(struct cache *m, const struct next_hop *hop, struct waiter *w)
{
    char key[NEXT_HOP_TEXT_SIZE];
    uint64_t hash = hash_text(next_hop_print(hop, key));
    struct shard *s = shard_of(m, hash);
    struct waiter **at;
    struct cache_entry *e;
    bool left = false;

    mutex_lock(&s->lock);
    e = cache_table_find(&s->table, key, hash);
    for (at = e == NULL ? NULL : &e->waiters; at != NULL && *at != NULL; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            left = true;
            break;
        }
    }
    mutex_unlock(&s->lock);
    return left;
}

/* Takes found into the entry and gives the one that stands from now on. */
static void settle_locked(struct cache *m, struct shard *s, struct cache_entry *e, struct evidence *found, int64_t now)
    HOLDING(s->lock)
{
    bool still_fresh = e->found != NULL && e->found->fresh_until > now;
    int64_t life = found->fresh_until - now;

    e->searching = e->doubted = false;
    e->wanted = e->waiters != NULL || (e->ahead && e->wanted);
    e->ahead = false;
    s->searching--;
    e->refresh_at = now + (life > 0 ? life - life / 3 : 0);
    if (still_fresh && found->failed) {
        evidence_unref(found);                              /* yesterday's proof outlives today's failure */
        return;
    }
    if (e->found == NULL || e->found->dane != found->dane || e->found->sts != found->sts)
        e->since = (int64_t)clock_wall();
    put_found_locked(m, s, e, found);
}

void cache_land(struct cache *m, const struct next_hop *hop, struct evidence *found, int64_t now)
{
    char key[NEXT_HOP_TEXT_SIZE];
    uint64_t hash = hash_text(next_hop_print(hop, key));
    struct shard *s = shard_of(m, hash);
    struct evidence *standing;
    struct waiter *w, *next;
    struct cache_entry *e;

    mutex_lock(&s->lock);
    e = cache_table_find(&s->table, key, hash);             /* never NULL: invariant 2 */
    settle_locked(m, s, e, found, now);
    standing = evidence_ref(e->found);
    w = e->waiters;
    e->waiters = NULL;
    trim_locked(m, s);                                      /* e may go by that */
    mutex_unlock(&s->lock);
    for (; w != NULL; w = next) {                           /* the lock stays home: a waiter may ask again */
        next = w->next;                                     /* waking may end the waiter's life */
        w->wake(w, standing);
    }
    evidence_unref(standing);
}

void cache_doubt(struct cache *m, const struct next_hop *hop)
{
    char key[NEXT_HOP_TEXT_SIZE];
    uint64_t hash = hash_text(next_hop_print(hop, key));
    struct shard *s = shard_of(m, hash);
    struct cache_entry *e;

    mutex_lock(&s->lock);
    e = cache_table_find(&s->table, key, hash);
    if (e != NULL)
        e->doubted = true;
    mutex_unlock(&s->lock);
}

struct evidence *cache_peek(struct cache *m, const struct next_hop *hop, int64_t *ret_since)
{
    char key[NEXT_HOP_TEXT_SIZE];
    uint64_t hash = hash_text(next_hop_print(hop, key));
    struct shard *s = shard_of(m, hash);
    struct evidence *found = NULL;
    struct cache_entry *e;

    mutex_lock(&s->lock);
    e = cache_table_find(&s->table, key, hash);
    if (e != NULL && e->found != NULL) {
        found = evidence_ref(e->found);
        *ret_since = e->since;
    }
    mutex_unlock(&s->lock);
    return found;
}

static void unpin_shard(struct cache *m, struct shard *s)
{
    struct cache_entry *e;
    size_t i;

    mutex_lock(&s->lock);
    for (i = 0; i < s->table.room; i++) {
        for (e = s->table.buckets[i]; e != NULL; e = e->next)
            set_pinned_locked(m, s, e, false);
    }
    mutex_unlock(&s->lock);
}

void cache_unpin_all(struct cache *m)
{
    size_t i;

    for (i = 0; i < SHARDS; i++)
        unpin_shard(m, &m->shards[i]);
}

void cache_pin(struct cache *m, const struct next_hop *hop)
{
    char key[NEXT_HOP_TEXT_SIZE];
    uint64_t hash = hash_text(next_hop_print(hop, key));
    struct shard *s = shard_of(m, hash);
    struct cache_entry *e;

    mutex_lock(&s->lock);
    e = reach_locked(m, s, key, hash, true);
    set_pinned_locked(m, s, e, true);
    mutex_unlock(&s->lock);
}

static bool due(const struct cache_entry *e, int64_t now)
{
    return !e->searching && (e->pinned || (e->wanted && e->found != NULL)) && now >= e->refresh_at;
}

/* One bucket: takes what is due, drops what nobody misses. Returns how many were written. */
static size_t tend_bucket_locked(struct cache *m, struct shard *s, size_t bucket, int64_t now, struct next_hop *ret,
                                 size_t room) HOLDING(s->lock)
{
    struct cache_entry *e, *next;
    size_t count = 0;

    for (e = s->table.buckets[bucket]; e != NULL; e = next) {
        next = e->next;
        if (due(e, now)) {
            if (count < room && next_hop_parse(e->key, &ret[count], NULL)) {
                start_search_locked(s, e);
                e->ahead = true;
                e->wanted = false;
                count++;
            }
        } else if (!e->searching && !e->pinned && e->found != NULL && e->found->fresh_until + FORGET_AFTER < now) {
            remove_locked(m, s, e);
        }
    }
    return count;
}

static size_t tend_shard(struct cache *m, struct shard *s, int64_t now, struct next_hop *ret, size_t room)
{
    size_t count = 0, bucket;

    mutex_lock(&s->lock);
    for (bucket = s->slice; bucket < s->table.room; bucket += SLICES)
        count += tend_bucket_locked(m, s, bucket, now, ret + count, room - count);
    s->slice = (s->slice + 1) % SLICES;
    mutex_unlock(&s->lock);
    return count;
}

size_t cache_due(struct cache *m, int64_t now, struct next_hop *ret, size_t room)
{
    size_t first = atomic_fetch_add(&m->first, 1), count = 0, i;

    for (i = 0; i < SHARDS; i++)
        count += tend_shard(m, &m->shards[(first + i) % SHARDS], now, ret + count, room - count);
    return count;
}

/* Whether a key is one of host's: `host`, `host:587`, `[host]`, `[host]:587`. */
static bool is_hop_of(const char *key, const char *host)
{
    size_t length = strlen(host);

    key += key[0] == '[';
    return strncmp(key, host, length) == 0 && strchr(":]", key[length]) != NULL;    /* also finds the end */
}

void cache_read(struct cache *m, unsigned slice, const char *host, struct cache_slice *ret)
{
    struct shard *s = &m->shards[slice];
    struct cache_entry *e;
    size_t i;

    *ret = (struct cache_slice){ .memory = arena_new() };
    mutex_lock(&s->lock);
    ret->items = mem_array(s->table.used + 1, sizeof(*ret->items));
    for (i = 0; i < s->table.room; i++) {
        for (e = s->table.buckets[i]; e != NULL; e = e->next) {
            if (e->found != NULL && (host == NULL || is_hop_of(e->key, host)))
                ret->items[ret->count++] = (struct cached){ arena_text(ret->memory, e->key), evidence_ref(e->found), e->since };
        }
    }
    mutex_unlock(&s->lock);
}

void cache_slice_done(struct cache_slice *s)
{
    size_t i;

    for (i = 0; i < s->count; i++)
        evidence_unref(s->items[i].found);
    free(s->items);
    arena_free(s->memory);
    *s = (struct cache_slice){ 0 };
}

static size_t forget_bucket_locked(struct cache *m, struct shard *s, size_t bucket, const char *host) HOLDING(s->lock)
{
    struct cache_entry *e, *next;
    size_t count = 0;

    for (e = s->table.buckets[bucket]; e != NULL; e = next) {
        next = e->next;
        if (e->found == NULL || (host != NULL && !is_hop_of(e->key, host)))
            continue;
        count++;
        if (e->searching || e->pinned) {
            put_found_locked(m, s, e, NULL);
            e->refresh_at = 0;
        } else {
            remove_locked(m, s, e);
        }
    }
    return count;
}

size_t cache_forget(struct cache *m, const char *host)
{
    size_t count = 0, bucket, i;

    for (i = 0; i < SHARDS; i++) {
        struct shard *s = &m->shards[i];

        mutex_lock(&s->lock);
        for (bucket = 0; bucket < s->table.room; bucket++)
            count += forget_bucket_locked(m, s, bucket, host);
        mutex_unlock(&s->lock);
    }
    return count;
}

void cache_count(struct cache *m, size_t *ret_entries, size_t *ret_searching)
{
    size_t i;

    *ret_entries = *ret_searching = 0;
    for (i = 0; i < SHARDS; i++) {
        struct shard *s = &m->shards[i];

        mutex_lock(&s->lock);
        *ret_entries += s->table.used;
        *ret_searching += s->searching;
        mutex_unlock(&s->lock);
    }
}

void cache_states(struct cache *m, struct cache_states *ret)
{
    size_t i, state;

    *ret = (struct cache_states){ 0 };
    for (i = 0; i < SHARDS; i++) {
        struct shard *s = &m->shards[i];

        mutex_lock(&s->lock);
        for (state = 0; state < COUNT_OF(ret->dane); state++)
            ret->dane[state] += s->states.dane[state];
        for (state = 0; state < COUNT_OF(ret->sts); state++)
            ret->sts[state] += s->states.sts[state];
        mutex_unlock(&s->lock);
    }
}
