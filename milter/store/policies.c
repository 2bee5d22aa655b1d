/*
 * Invariants:
 *  1. Memory is what counts; the store follows. A job carries a name, not a policy: when it runs, it writes what memory
 *     then has under that name, or deletes the row. So jobs may run late, twice or in any order.
 *  2. `queued` is set from pushing such a job until it looks at the entry, so that an entry has at most one on the queue.
 *     If the store drops the job, it calls renewed(), and everything is written anew.
 *  3. Rows of a store that could not be read at start are no less true than memory: renewed() reads them before it writes.
 *  4. Only put() makes an entry give way to another.
 */
#include "store/policies.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/rows.h"

#include <string.h>

enum {
    PURGE_EVERY = 60 * 60,                  /* s */
    OCTETS_EACH = 4096,                     /* for each of `entries`, on the average; most policies have 300 */
};

struct entry {
    struct entry *next;
    uint64_t hash;
    struct row row;
    bool queued;
};

struct policies {
    struct store *store;
    atomic_uint users;                      /* the owner, its watcher, and each job */
    struct store_watcher watcher;
    size_t most;                            /* entries; frozen */
    struct mutex lock;
    struct entry **buckets GUARDED_BY(lock);
    size_t room GUARDED_BY(lock), used GUARDED_BY(lock);
    uint64_t octets GUARDED_BY(lock);       /* what the entries take */
    int64_t purge_at GUARDED_BY(lock);
    bool loaded GUARDED_BY(lock);           /* the store's rows are in memory */
};

static struct policies *ref(struct policies *p)
{
    atomic_fetch_add_explicit(&p->users, 1, memory_order_relaxed);
    return p;
}

static void entry_free(struct entry *e)
{
    row_done(&e->row);
    free(e);
}

static void unref(struct policies *p) UNCHECKED                /* nobody else is left */
{
    struct entry *e, *next;
    size_t i;

    if (atomic_fetch_sub_explicit(&p->users, 1, memory_order_acq_rel) != 1)
        return;
    for (i = 0; i < p->room; i++) {
        for (e = p->buckets[i]; e != NULL; e = next) {
            next = e->next;
            entry_free(e);
        }
    }
    free(p->buckets);
    mutex_done(&p->lock);
    free(p);
}

/* The table */

static uint64_t hash_of(const struct domain *d)
{
    return hash_bytes(d->name, d->length);
}

static struct entry **find_locked(struct policies *p, const struct domain *domain, uint64_t hash) HOLDING(p->lock)
{
    struct entry **at = &p->buckets[hash & (p->room - 1)];

    while (*at != NULL && ((*at)->hash != hash || !domain_equal(&(*at)->row.domain, domain)))
        at = &(*at)->next;
    return at;
}

static void grow_locked(struct policies *p) HOLDING(p->lock)
{
    size_t room = p->room == 0 ? 64 : p->room * 2, i;
    struct entry **buckets = mem_array(room, sizeof(struct entry *));
    struct entry *e, *next;

    for (i = 0; i < p->room; i++) {
        for (e = p->buckets[i]; e != NULL; e = next) {
            next = e->next;
            e->next = buckets[e->hash & (room - 1)];
            buckets[e->hash & (room - 1)] = e;
        }
    }
    free(p->buckets);
    p->buckets = buckets;
    p->room = room;
}

static struct kept_policy share(const struct kept_policy *kept)
{
    struct kept_policy copy = *kept;

    sts_policy_ref(copy.policy);
    return copy;
}

/* About what the entry takes: itself, the body, and the list of names that was made of it. */
static uint64_t octets_of(const struct entry *e)
{
    return sizeof(*e) + sizeof(struct sts_policy) + 2 * e->row.length + e->row.kept.policy->mx_count * sizeof(char *);
}

static struct entry *cut_locked(struct policies *p, struct entry **at) HOLDING(p->lock)
{
    struct entry *e = *at;

    *at = e->next;
    p->used--;
    p->octets -= octets_of(e);
    return e;
}

/* Puts in an entry, and gives the one that it replaces, or NULL. */
static struct entry *place_locked(struct policies *p, struct entry *e) HOLDING(p->lock)
{
    struct entry **at, *old = NULL;

    if (p->used >= p->room)
        grow_locked(p);
    at = find_locked(p, &e->row.domain, e->hash);
    if (*at != NULL) {
        old = cut_locked(p, at);
        e->queued = old->queued;
    }
    e->next = *at;
    *at = e;
    p->used++;
    p->octets += octets_of(e);
    return old;
}

/* The one to give way: the fattest where octets are short (so that nobody crowds out others by size), else the one that
   expires first, but never the newcomer. */
static struct entry **victim_locked(struct policies *p, const struct entry *newcomer, bool fattest) HOLDING(p->lock)
{
    struct entry **at, **found = NULL;
    size_t i;

    for (i = 0; i < p->room; i++) {
        for (at = &p->buckets[i]; *at != NULL; at = &(*at)->next) {
            if (*at == newcomer)
                continue;
            if (found == NULL || (fattest ? (*at)->row.length > (*found)->row.length
                                          : (*at)->row.kept.expires_at < (*found)->row.kept.expires_at))
                found = at;
        }
    }
    return found;
}

/* Takes out one that must give way, or gives NULL. */
static struct entry *make_room_locked(struct policies *p, const struct entry *newcomer) HOLDING(p->lock)
{
    bool fat = p->octets > (uint64_t)p->most * OCTETS_EACH;
    struct entry **at;

    if (p->used <= p->most && !fat)
        return NULL;
    at = victim_locked(p, newcomer, p->used <= p->most);
    return at == NULL ? NULL : cut_locked(p, at);
}

static struct entry *entry_new(struct row row)
{
    struct entry *e = mem_zero(sizeof(*e));

    e->hash = hash_of(&row.domain);
    e->row = row;
    return e;
}

/* Writing */

struct job {
    struct store_job job;
    struct policies *p;
    struct domain domain;                   /* sync_job */
    int64_t now;                            /* purge_job */
};

static void job_free(struct store_job *self)
{
    struct job *job = (struct job *)self;

    unref(job->p);
    free(job);
}

static void push(struct policies *p, struct job job, bool (*run)(struct store_job *self, struct writer *w))
{
    struct job *made = mem_zero(sizeof(*made));

    *made = job;
    made->p = ref(p);
    made->job.run = run;
    made->job.free = job_free;
    store_push(p->store, &made->job);
}

/* What is to be written; row_done() ends it. false: the domain has none. */
static bool snapshot(struct policies *p, const struct domain *domain, struct row *ret)
{
    struct entry *e;

    mutex_lock(&p->lock);
    e = *find_locked(p, domain, hash_of(domain));
    if (e != NULL) {
        *ret = row_copy(&e->row);
        e->queued = false;
    }
    mutex_unlock(&p->lock);
    return e != NULL;
}

/* Makes the row what memory says now. */
static bool sync_row(struct policies *p, struct writer *w, const struct domain *domain)
{
    struct row row;
    bool good;

    if (!snapshot(p, domain, &row))
        return rows_delete(w, domain);
    good = rows_write(w, &row);
    row_done(&row);
    return good;
}

static bool run_sync(struct store_job *self, struct writer *w)
{
    struct job *job = (struct job *)self;

    return sync_row(job->p, w, &job->domain);
}

static void push_sync(struct policies *p, const struct domain *domain)
{
    push(p, (struct job){ .domain = *domain }, run_sync);
}

static bool run_purge(struct store_job *self, struct writer *w)
{
    return rows_delete_expired(w, ((struct job *)self)->now);
}

/* Gives the names of all entries. */
static struct domain *names(struct policies *p, size_t *ret_count)
{
    struct domain *list;
    struct entry *e;
    size_t i, n = 0;

    mutex_lock(&p->lock);
    list = mem_array(p->used + 1, sizeof(*list));
    for (i = 0; i < p->room; i++) {
        for (e = p->buckets[i]; e != NULL; e = e->next)
            list[n++] = e->row.domain;
    }
    mutex_unlock(&p->lock);
    *ret_count = n;
    return list;
}

static bool run_rewrite(struct store_job *self, struct writer *w)
{
    struct job *job = (struct job *)self;
    bool good = rows_delete_all(w);
    struct domain *list;
    size_t count, i;

    if (!good)
        return false;
    list = names(job->p, &count);
    for (i = 0; good && i < count; i++)
        good = sync_row(job->p, w, &list[i]);
    free(list);
    return good;
}

/* Reading */

struct loading {
    struct policies *p;
    size_t count;
};

/* What memory has is newer. false: e is not needed. */
static bool adopt(struct policies *p, struct entry *e)
{
    bool wanted;

    mutex_lock(&p->lock);
    wanted = p->used < p->most && *find_locked(p, &e->row.domain, e->hash) == NULL;
    if (wanted)
        place_locked(p, e);
    mutex_unlock(&p->lock);
    return wanted;
}

static void load_row(void *self, struct row row)
{
    struct loading *l = self;
    struct domain domain = row.domain;
    struct entry *e = entry_new(row);

    if (adopt(l->p, e)) {
        l->count++;
    } else {
        entry_free(e);
        push_sync(l->p, &domain);           /* past the limit, or memory knows better */
    }
}

static void drop_row(void *self, const struct domain *domain, const struct fault *why)
{
    struct loading *l = self;

    log_warning("store: the policy of %s can't be read any more and is dropped: %s", domain->name, why->text);
    push_sync(l->p, domain);
}

static void load(struct policies *p, int64_t now)
{
    struct loading l = { .p = p };
    int64_t start = clock_ms();
    struct fault why;
    bool loaded = rows_read(p->store, now, load_row, drop_row, &l, &why);

    if (loaded)
        log_info("store: %zu policies read in %lld ms", l.count, (long long)(clock_ms() - start));
    else
        log_error("store: policies can't be read, %zu were: %s", l.count, why.text);
    mutex_lock(&p->lock);
    p->loaded |= loaded;
    mutex_unlock(&p->lock);
}

static struct policies *watched(struct store_watcher *self)
{
    return (struct policies *)((char *)self - offsetof(struct policies, watcher));
}

static void renewed(struct store_watcher *self)
{
    struct policies *p = watched(self);
    bool loaded;

    mutex_lock(&p->lock);
    loaded = p->loaded;
    mutex_unlock(&p->lock);
    if (!loaded)
        load(p, (int64_t)clock_wall());
    push(p, (struct job){ 0 }, run_rewrite);
}

static void gone(struct store_watcher *self)
{
    unref(watched(self));
}

/* The face */

struct policies *policies_open(struct store *store, size_t entries, int64_t now)
{
    struct policies *p = mem_zero(sizeof(*p));

    p->store = store;
    p->most = entries;
    atomic_init(&p->users, 1);
    mutex_init(&p->lock);
    mutex_lock(&p->lock);
    grow_locked(p);
    mutex_unlock(&p->lock);
    p->watcher.renewed = renewed;
    p->watcher.gone = gone;
    load(p, now);
    policies_purge(p, now);
    ref(p);
    store_watch(store, &p->watcher);
    return p;
}

void policies_close(struct policies *p)
{
    if (p != NULL)
        unref(p);
}

bool policies_get(struct policies *p, const struct domain *domain, int64_t now, struct kept_policy *ret)
{
    uint64_t hash = hash_of(domain);
    struct entry *e;
    bool found;

    mutex_lock(&p->lock);
    e = *find_locked(p, domain, hash);
    found = e != NULL && e->row.kept.expires_at > now;
    if (found)
        *ret = share(&e->row.kept);
    mutex_unlock(&p->lock);
    return found;
}

/* Lets those go that were crowded out, each with its row. */
static void forget(struct policies *p, struct entry *e)
{
    struct entry *next;

    for (; e != NULL; e = next) {
        next = e->next;
        push_sync(p, &e->row.domain);
        entry_free(e);
    }
}

static void purge_if_due(struct policies *p, int64_t now)
{
    bool due;

    mutex_lock(&p->lock);
    due = now >= p->purge_at || now < p->purge_at - PURGE_EVERY;       /* or the clock was set back */
    mutex_unlock(&p->lock);
    if (due)
        policies_purge(p, now);
}

bool policies_put(struct policies *p, const struct domain *domain, const char *id, struct sts_policy *policy,
                  const char *body, size_t length, int64_t now)
{
    struct entry *e, *old, *victim, *victims = NULL;
    bool push_it;

    if (policy->max_age == 0) {
        policies_drop(p, domain);
        return false;
    }
    purge_if_due(p, now);
    e = entry_new(row_new(domain, id, policy, body, length));
    e->row.kept.fetched_at = e->row.kept.checked_at = now;
    e->row.kept.expires_at = now + policy->max_age;
    mutex_lock(&p->lock);
    old = place_locked(p, e);
    push_it = !e->queued;
    e->queued = true;
    while ((victim = make_room_locked(p, e)) != NULL) {
        victim->next = victims;
        victims = victim;
    }
    mutex_unlock(&p->lock);
    if (old != NULL)
        entry_free(old);
    if (push_it)
        push_sync(p, domain);
    forget(p, victims);
    return true;
}

bool policies_touch(struct policies *p, const struct domain *domain, int64_t now)
{
    uint64_t hash = hash_of(domain);
    bool found, push_it = false;
    struct entry *e;

    mutex_lock(&p->lock);
    e = *find_locked(p, domain, hash);
    found = e != NULL && e->row.kept.expires_at > now;
    if (found) {
        e->row.kept.fetched_at = e->row.kept.checked_at = now;
        e->row.kept.expires_at = now + e->row.kept.policy->max_age;
        push_it = !e->queued;
        e->queued = true;
    }
    mutex_unlock(&p->lock);
    if (push_it)
        push_sync(p, domain);
    return found;
}

void policies_checked(struct policies *p, const struct domain *domain, int64_t now)
{
    uint64_t hash = hash_of(domain);
    struct entry *e;

    mutex_lock(&p->lock);
    e = *find_locked(p, domain, hash);
    if (e != NULL)
        e->row.kept.checked_at = now;
    mutex_unlock(&p->lock);
}

bool policies_drop(struct policies *p, const struct domain *domain)
{
    uint64_t hash = hash_of(domain);
    struct entry **at, *e = NULL;

    mutex_lock(&p->lock);
    at = find_locked(p, domain, hash);
    if (*at != NULL)
        e = cut_locked(p, at);
    mutex_unlock(&p->lock);
    if (e == NULL)
        return false;
    push_sync(p, domain);
    entry_free(e);
    return true;
}

void policies_purge(struct policies *p, int64_t now)
{
    struct entry **at, *e, *expired = NULL;
    size_t i;

    mutex_lock(&p->lock);
    p->purge_at = now + PURGE_EVERY;
    for (i = 0; i < p->room; i++) {
        for (at = &p->buckets[i]; *at != NULL;) {
            if ((*at)->row.kept.expires_at > now) {
                at = &(*at)->next;
                continue;
            }
            e = cut_locked(p, at);
            e->next = expired;
            expired = e;
        }
    }
    mutex_unlock(&p->lock);
    for (; (e = expired) != NULL; entry_free(e))
        expired = e->next;
    push(p, (struct job){ .job.dispensable = true, .now = now }, run_purge);
}

/* Listing */

struct listed {
    struct domain domain;
    struct kept_policy kept;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct listed *)a)->domain.name, ((const struct listed *)b)->domain.name);
}

/* Gives the unexpired ones, each with a reference. */
static struct listed *list(struct policies *p, int64_t now, size_t *ret_count)
{
    struct listed *all;
    struct entry *e;
    size_t i, n = 0;

    mutex_lock(&p->lock);
    all = mem_array(p->used + 1, sizeof(*all));
    for (i = 0; i < p->room; i++) {
        for (e = p->buckets[i]; e != NULL; e = e->next) {
            if (e->row.kept.expires_at > now)
                all[n++] = (struct listed){ e->row.domain, share(&e->row.kept) };
        }
    }
    mutex_unlock(&p->lock);
    *ret_count = n;
    return all;
}

void policies_each(struct policies *p, int64_t now,
                   bool (*each)(void *self, const struct domain *domain, const struct kept_policy *kept), void *self)
{
    size_t count, i;
    struct listed *all = list(p, now, &count);
    bool more = true;

    qsort(all, count, sizeof(*all), by_name);
    for (i = 0; i < count; i++) {
        more = more && each(self, &all[i].domain, &all[i].kept);
        sts_policy_unref(all[i].kept.policy);
    }
    free(all);
}

size_t policies_count(struct policies *p)
{
    size_t count;

    mutex_lock(&p->lock);
    count = p->used;
    mutex_unlock(&p->lock);
    return count;
}
