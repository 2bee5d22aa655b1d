/*
 * Invariants:
 *  1. A fetch is in the table of fetches from the FIRST seat until chains_land(); it is never removed meanwhile, so that its
 *     waiters always have a place to hang on.
 *  2. Behind a fetch that failed its entry stays until retry_at, or until its room is wanted.
 *  3. A waiter is on the list of one fetch under way, or on none. Who takes it off owns the wake-up.
 *  4. Both lists are in the order of use, the latest first, and hold what their table holds.
 *  5. The lock is never held across a wake-up.
 */
#include "store/chains.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdio.h>
#include <string.h>

enum { BUCKETS = 1024, FETCHES_MAX = 4096 };

/* A place in a table and in its list. */
struct place {
    struct place *in_bucket;
    struct place *newer, *older;
    size_t bucket;
};

struct table {
    struct place *buckets[BUCKETS];
    struct place *newest, *oldest;
    size_t count;
};

struct kept {
    struct place place;                     /* first */
    struct cert_chain *chain;               /* a reference */
    size_t octets;
    int64_t kept_at;
};

struct fetch {
    struct place place;                     /* first */
    struct chain_key key;
    bool under_way;
    struct chain_waiter *waiters;
    int64_t retry_at;                       /* unless under way: not before this */
    char why[192];                          /* unless under way */
};

struct chains {
    size_t entries_max, octets_max;
    struct mutex lock;
    struct table kept GUARDED_BY(lock), fetches GUARDED_BY(lock);
    size_t octets GUARDED_BY(lock), under_way GUARDED_BY(lock);
};

static void enter_list(struct table *t, struct place *p)
{
    p->newer = NULL;
    p->older = t->newest;
    if (t->newest != NULL)
        t->newest->newer = p;
    else
        t->oldest = p;
    t->newest = p;
}

static void leave_list(struct table *t, struct place *p)
{
    if (p->newer != NULL)
        p->newer->older = p->older;
    else
        t->newest = p->older;
    if (p->older != NULL)
        p->older->newer = p->newer;
    else
        t->oldest = p->newer;
}

static void put(struct table *t, struct place *p, uint64_t hash)
{
    p->bucket = hash % BUCKETS;
    p->in_bucket = t->buckets[p->bucket];
    t->buckets[p->bucket] = p;
    t->count++;
    enter_list(t, p);
}

static void drop(struct table *t, struct place *p)
{
    struct place **at = &t->buckets[p->bucket];

    while (*at != p)
        at = &(*at)->in_bucket;
    *at = p->in_bucket;
    t->count--;
    leave_list(t, p);
}

struct chains *chains_new(size_t entries, size_t octets)
{
    struct chains *m = mem_zero(sizeof(*m));

    m->entries_max = entries;
    m->octets_max = octets;
    mutex_init(&m->lock);
    return m;
}

static void drop_kept_locked(struct chains *m, struct kept *k) HOLDING(m->lock)
{
    drop(&m->kept, &k->place);
    m->octets -= k->octets;
    cert_chain_unref(k->chain);
    free(k);
}

void chains_free(struct chains *m) UNCHECKED               /* nobody else is left */
{
    struct fetch *f;

    if (m == NULL)
        return;
    while (m->kept.oldest != NULL)
        drop_kept_locked(m, (struct kept *)m->kept.oldest);
    while ((f = (struct fetch *)m->fetches.oldest) != NULL) {
        drop(&m->fetches, &f->place);
        free(f);
    }
    mutex_done(&m->lock);
    free(m);
}

static struct kept *find_kept_locked(struct chains *m, const uint8_t *fingerprint) HOLDING(m->lock)
{
    struct place *p = m->kept.buckets[hash_bytes(fingerprint, CERT_CHAIN_FINGERPRINT) % BUCKETS];

    while (p != NULL && memcmp(((struct kept *)p)->chain->fingerprint, fingerprint, CERT_CHAIN_FINGERPRINT) != 0)
        p = p->in_bucket;
    return (struct kept *)p;
}

/* Gives a reference to what was kept since not_before, or NULL. */
static struct cert_chain *serve_locked(struct chains *m, const uint8_t *fingerprint, int64_t not_before) HOLDING(m->lock)
{
    struct kept *k = find_kept_locked(m, fingerprint);

    if (k == NULL || k->kept_at < not_before)
        return NULL;
    leave_list(&m->kept, &k->place);
    enter_list(&m->kept, &k->place);
    return cert_chain_ref(k->chain);
}

static void keep_locked(struct chains *m, struct cert_chain *chain, int64_t now) HOLDING(m->lock)
{
    struct kept *k = find_kept_locked(m, chain->fingerprint);

    if (k != NULL)
        drop_kept_locked(m, k);             /* the host's own certificate is the same, those above it may not be */
    k = mem_zero(sizeof(*k));
    k->chain = cert_chain_ref(chain);
    k->octets = sizeof(*k) + sizeof(*chain) + cert_chain_octets(chain);
    k->kept_at = now;
    put(&m->kept, &k->place, hash_bytes(chain->fingerprint, CERT_CHAIN_FINGERPRINT));
    m->octets += k->octets;
    while (m->kept.count > m->entries_max || m->octets > m->octets_max)
        drop_kept_locked(m, (struct kept *)m->kept.oldest);
}

void chains_keep(struct chains *m, struct cert_chain *chain, int64_t now)
{
    mutex_lock(&m->lock);
    keep_locked(m, chain, now);
    mutex_unlock(&m->lock);
}

struct cert_chain *chains_find(struct chains *m, const uint8_t fingerprint[static CERT_CHAIN_FINGERPRINT], int64_t not_before)
{
    struct cert_chain *found;

    mutex_lock(&m->lock);
    found = serve_locked(m, fingerprint, not_before);
    mutex_unlock(&m->lock);
    return found;
}

static bool same_key(const struct chain_key *a, const struct chain_key *b)
{
    return domain_equal(&a->host, &b->host) && a->port == b->port && strcmp(a->address, b->address) == 0 &&
           memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint)) == 0;
}

static uint64_t hash_key(const struct chain_key *key)
{
    return hash_text(key->host.name) ^ hash_text(key->address) ^ hash_bytes(key->fingerprint, sizeof(key->fingerprint));
}

static struct fetch *find_fetch_locked(struct chains *m, const struct chain_key *key) HOLDING(m->lock)
{
    struct place *p = m->fetches.buckets[hash_key(key) % BUCKETS];

    while (p != NULL && !same_key(&((struct fetch *)p)->key, key))
        p = p->in_bucket;
    return (struct fetch *)p;
}

/* Lets the oldest that has failed go; false: all are under way. */
static bool make_room_locked(struct chains *m) HOLDING(m->lock)
{
    struct place *p = m->fetches.oldest;

    while (p != NULL && ((struct fetch *)p)->under_way)
        p = p->newer;
    if (p == NULL)
        return false;
    drop(&m->fetches, p);
    free(p);
    return true;
}

static void add_waiter(struct fetch *f, struct chain_waiter *w)
{
    if (w == NULL)
        return;
    w->next = f->waiters;
    f->waiters = w;
}

/* A fetch begins, in the place of one that failed (f), or in a new one. */
static enum chain_seat begin_locked(struct chains *m, struct fetch *f, const struct chain_key *key, struct chain_waiter *w)
    HOLDING(m->lock)
{
    if (f == NULL && m->fetches.count >= FETCHES_MAX && !make_room_locked(m))
        return CHAIN_REFUSED;
    if (f == NULL) {
        f = mem_zero(sizeof(*f));
        f->key = *key;
        put(&m->fetches, &f->place, hash_key(key));
    }
    f->under_way = true;
    m->under_way++;
    add_waiter(f, w);
    return CHAIN_FIRST;
}

static enum chain_seat join_locked(struct chains *m, const struct chain_key *key, struct chain_waiter *w, int64_t now,
                                   struct fault *ret_why) HOLDING(m->lock)
{
    struct fetch *f = find_fetch_locked(m, key);

    if (f != NULL && f->under_way) {
        add_waiter(f, w);
        return CHAIN_JOINED;
    }
    if (f != NULL && now < f->retry_at) {
        fault_set(ret_why, "%s", f->why);
        return CHAIN_MISSING;
    }
    return begin_locked(m, f, key, w);
}

enum chain_seat chains_join(struct chains *m, const struct chain_key *key, struct chain_waiter *w, int64_t not_before,
                            int64_t now, struct cert_chain **ret_found, struct fault *ret_why)
{
    enum chain_seat seat = CHAIN_SERVED;
    struct cert_chain *found;

    mutex_lock(&m->lock);
    found = serve_locked(m, key->fingerprint, not_before);
    if (found != NULL)
        *ret_found = found;
    else
        seat = join_locked(m, key, w, now, ret_why);
    mutex_unlock(&m->lock);
    return seat;
}

/* Takes all waiters off a fetch that has ended. */
static struct chain_waiter *end_locked(struct chains *m, const struct chain_key *key, const char *why, int64_t retry_at)
    HOLDING(m->lock)
{
    struct fetch *f = find_fetch_locked(m, key);            /* never NULL: invariant 1 */
    struct chain_waiter *waiters = take(f->waiters);

    f->under_way = false;
    m->under_way--;
    f->retry_at = retry_at;
    snprintf(f->why, sizeof(f->why), "%s", why);
    leave_list(&m->fetches, &f->place);
    enter_list(&m->fetches, &f->place);
    if (retry_at == 0) {
        drop(&m->fetches, &f->place);
        free(f);
    }
    return waiters;
}

void chains_land(struct chains *m, const struct chain_key *key, struct cert_chain *found, const char *why, int64_t retry_at)
{
    struct chain_waiter *w, *next;

    mutex_lock(&m->lock);
    w = end_locked(m, key, why, retry_at);
    mutex_unlock(&m->lock);
    for (; w != NULL; w = next) {               /* the lock stays home: a waiter may ask again */
        next = w->next;                         /* waking may end the waiter's life */
        w->wake(w, found, why);
    }
}

void chains_status(struct chains *m, struct chains_status *ret)
{
    mutex_lock(&m->lock);
    *ret = (struct chains_status){ .entries = m->kept.count, .octets = m->octets, .fetching = m->under_way,
                                   .missing = m->fetches.count - m->under_way };
    mutex_unlock(&m->lock);
}
