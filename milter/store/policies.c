/*
 * Invariants:
 *  1. Memory is what counts; the store follows. A job carries a name, not a policy: when it runs, it writes what memory
 *     then has under that name, or deletes the row. So jobs may run late, twice or in any order.
 *  2. `queued` is set from pushing such a job until it looks at the entry, so that an entry has at most one on the queue.
 *     If the store drops the job, it calls renewed(), and everything is written anew.
 *  3. Rows of a store that could not be read at start are no less true than memory: renewed() reads them before it writes.
 *  4. Only put() makes an entry give way to another.
 *  5. An entry counts until expires_at by the wall clock, and until until_ms: whoever sets the wall clock back makes no
 *     policy live on for longer than its max_age.
 */
#include "store/policies.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/policy_table.h"

#include <string.h>

enum { PURGE_EVERY = 60 * 60 };            /* s */

struct policies {
    struct store *store;
    atomic_uint users;                      /* the owner, its watcher, and each job */
    struct store_watcher watcher;
    struct mutex lock;
    struct policy_table table GUARDED_BY(lock);
    int64_t purge_at GUARDED_BY(lock);
    bool loaded GUARDED_BY(lock);           /* the store's rows are in memory */
};

static struct policies *ref(struct policies *p)
{
    atomic_fetch_add_explicit(&p->users, 1, memory_order_relaxed);
    return p;
}

static void unref(struct policies *p) UNCHECKED                /* nobody else is left */
{
    if (atomic_fetch_sub_explicit(&p->users, 1, memory_order_acq_rel) != 1)
        return;
    policy_table_done(&p->table);
    mutex_done(&p->lock);
    free(p);
}

static struct kept_policy share(const struct kept_policy *kept)
{
    struct kept_policy copy = *kept;

    sts_policy_ref(copy.policy);
    return copy;
}

/* From now on it may live for what expires_at says, but for max_age at most: a row may be from the future. */
static void begin_life(struct policy_entry *e, int64_t now)
{
    int64_t left = e->row.kept.expires_at - now, most = e->row.kept.policy->max_age;

    e->until_ms = clock_ms() + 1000 * (left < most ? left : most);
}

/* Seconds. Not above 0: it has expired. */
static int64_t life_left(const struct policy_entry *e, int64_t now)
{
    int64_t by_wall = e->row.kept.expires_at - now, left = (e->until_ms - clock_ms() + 999) / 1000;

    return by_wall < left ? by_wall : left;
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
    struct policy_entry *e;

    mutex_lock(&p->lock);
    e = *policy_table_find(&p->table, domain);
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
    struct policy_entry *e;
    size_t i, n = 0;

    mutex_lock(&p->lock);
    list = mem_array(p->table.used + 1, sizeof(*list));
    for (i = 0; i < p->table.room; i++) {
        for (e = p->table.buckets[i]; e != NULL; e = e->next)
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
    int64_t now;
    size_t count;
};

/* What memory has is newer. false: e is not needed. */
static bool adopt(struct policies *p, struct policy_entry *e)
{
    bool wanted;

    mutex_lock(&p->lock);
    wanted = p->table.used < p->table.most && *policy_table_find(&p->table, &e->row.domain) == NULL;
    if (wanted)
        policy_table_place(&p->table, e);
    mutex_unlock(&p->lock);
    return wanted;
}

static void load_row(void *self, struct row row)
{
    struct loading *l = self;
    struct domain domain = row.domain;
    struct policy_entry *e = policy_entry_new(row);

    begin_life(e, l->now);
    if (adopt(l->p, e)) {
        l->count++;
    } else {
        policy_entry_free(e);
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
    struct loading l = { .p = p, .now = now };
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
    atomic_init(&p->users, 1);
    mutex_init(&p->lock);
    mutex_lock(&p->lock);
    policy_table_init(&p->table, entries);
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
    struct policy_entry *e;
    int64_t left;

    mutex_lock(&p->lock);
    e = *policy_table_find(&p->table, domain);
    left = e == NULL ? 0 : life_left(e, now);
    if (left > 0) {
        *ret = share(&e->row.kept);
        ret->expires_at = now + left;
    }
    mutex_unlock(&p->lock);
    return left > 0;
}

/* Lets those go that were crowded out, each with its row. */
static void forget(struct policies *p, struct policy_entry *e)
{
    struct policy_entry *next;

    for (; e != NULL; e = next) {
        next = e->next;
        push_sync(p, &e->row.domain);
        policy_entry_free(e);
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
    struct policy_entry *e, *old, *victim, *victims = NULL;
    bool push_it;

    if (policy->max_age == 0) {
        policies_drop(p, domain);
        return false;
    }
    purge_if_due(p, now);
    e = policy_entry_new(row_new(domain, id, policy, body, length));
    e->row.kept.fetched_at = e->row.kept.checked_at = now;
    e->row.kept.expires_at = now + policy->max_age;
    begin_life(e, now);
    mutex_lock(&p->lock);
    old = policy_table_place(&p->table, e);
    push_it = !e->queued;
    e->queued = true;
    while ((victim = policy_table_crowd_out(&p->table, e)) != NULL) {
        victim->next = victims;
        victims = victim;
    }
    mutex_unlock(&p->lock);
    if (old != NULL)
        policy_entry_free(old);
    if (push_it)
        push_sync(p, domain);
    forget(p, victims);
    return true;
}

bool policies_touch(struct policies *p, const struct domain *domain, int64_t now)
{
    bool found, push_it = false;
    struct policy_entry *e;

    mutex_lock(&p->lock);
    e = *policy_table_find(&p->table, domain);
    found = e != NULL && life_left(e, now) > 0;
    if (found) {
        e->row.kept.fetched_at = e->row.kept.checked_at = now;
        e->row.kept.expires_at = now + e->row.kept.policy->max_age;
        begin_life(e, now);
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
    struct policy_entry *e;

    mutex_lock(&p->lock);
    e = *policy_table_find(&p->table, domain);
    if (e != NULL)
        e->row.kept.checked_at = now;
    mutex_unlock(&p->lock);
}

bool policies_drop(struct policies *p, const struct domain *domain)
{
    struct policy_entry **at, *e = NULL;

    mutex_lock(&p->lock);
    at = policy_table_find(&p->table, domain);
    if (*at != NULL)
        e = policy_table_cut(&p->table, at);
    mutex_unlock(&p->lock);
    if (e == NULL)
        return false;
    push_sync(p, domain);
    policy_entry_free(e);
    return true;
}

void policies_purge(struct policies *p, int64_t now)
{
    struct policy_entry **at, *e, *expired = NULL;
    size_t i;

    mutex_lock(&p->lock);
    p->purge_at = now + PURGE_EVERY;
    for (i = 0; i < p->table.room; i++) {
        for (at = &p->table.buckets[i]; *at != NULL;) {
            if ((*at)->row.kept.expires_at > now) {
                at = &(*at)->next;
                continue;
            }
            e = policy_table_cut(&p->table, at);
            e->next = expired;
            expired = e;
        }
    }
    mutex_unlock(&p->lock);
    for (; (e = expired) != NULL; policy_entry_free(e))
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
    struct policy_entry *e;
    size_t i, n = 0;

    mutex_lock(&p->lock);
    all = mem_array(p->table.used + 1, sizeof(*all));
    for (i = 0; i < p->table.room; i++) {
        for (e = p->table.buckets[i]; e != NULL; e = e->next) {
            if (life_left(e, now) > 0)
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
    count = p->table.used;
    mutex_unlock(&p->lock);
    return count;
}
