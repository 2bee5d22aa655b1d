/*
 * Invariants:
 *  1. Memory is what counts; the store follows. A job carries a key, not a clock: when it runs, it writes what memory then
 *     has under that key, or deletes the row. So jobs may run late, twice or in any order.
 *  2. `queued` is set from pushing such a job until it looks at the entry, so that an entry has at most one on the queue.
 *     If the store drops the job, it calls renewed(), and everything is written anew.
 *  3. The file never has a clock that memory has not, but for jobs that wait: what can't be read at start is deleted, lest
 *     an old row comes back after its mail was delivered. Forgetting puts a bounce off; remembering wrongly would bounce early.
 *  4. Entries stand in their bucket, and in one list from the oldest to the newest by their latest refusal. The top bits of
 *     the hash choose the bucket, so that a slice of the hashes is a row of buckets, however large the table has grown.
 */
#include "store/holds.h"

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/hold_rows.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
    SLICE_BITS = 8,
    OCTETS_EACH = 256,                      /* for each of `most`, on the average; most clocks have 150 */
    TIDY_AT_ONCE = 2,                       /* clocks that are over, let go with each refusal */
};

/* Connector, sender and recipient, each with its NUL. */
struct key {
    size_t length;
    char *bytes;
};

struct entry {
    struct entry *next;                     /* in the bucket */
    struct entry *older, *newer;
    uint64_t hash;
    struct hold hold;
    uint32_t patience;
    bool queued;
    size_t length;
    char key[];
};

struct holds {
    struct store *store;                    /* or NULL */
    atomic_uint users;                      /* the owner, its watcher, and each job */
    struct store_watcher watcher;
    size_t most;                            /* entries; frozen */
    atomic_size_t used;                     /* changed under the lock */
    struct mutex lock;
    struct entry **buckets GUARDED_BY(lock);
    unsigned bits GUARDED_BY(lock);         /* 1 << bits buckets */
    size_t octets GUARDED_BY(lock);         /* what the entries take */
    struct entry *oldest GUARDED_BY(lock), *newest GUARDED_BY(lock);
};

static void unref(struct holds *h) UNCHECKED                    /* nobody else is left */
{
    struct entry *e, *newer;

    if (atomic_fetch_sub_explicit(&h->users, 1, memory_order_acq_rel) != 1)
        return;
    for (e = h->oldest; e != NULL; e = newer) {
        newer = e->newer;
        free(e);
    }
    free(h->buckets);
    mutex_done(&h->lock);
    free(h);
}

/* Keys */

/* false: it can't be told from others. */
static bool spell(const struct address *a, char ret[static ADDRESS_TEXT_SIZE])
{
    char local[ADDRESS_LOCAL_SIZE];

    address_fold_local(a, local);
    switch (a->kind) {
    case ADDRESS_NULL:
        *ret = '\0';
        return true;
    case ADDRESS_BARE:
        snprintf(ret, ADDRESS_TEXT_SIZE, "%s", local);
        return true;
    case ADDRESS_DOMAIN:
        snprintf(ret, ADDRESS_TEXT_SIZE, "%s@%s", local, a->domain.name);
        return true;
    case ADDRESS_LITERAL:
        snprintf(ret, ADDRESS_TEXT_SIZE, "%s@[%s]", local, a->domain.name);
        return true;
    case ADDRESS_UNUSABLE:
        break;
    }
    return false;
}

static struct key key_of(const char *connector, const char *sender, const char *recipient)
{
    size_t first = strlen(connector) + 1, second = strlen(sender) + 1, third = strlen(recipient) + 1;
    struct key k = { .length = first + second + third };

    k.bytes = mem_array(k.length, 1);
    memcpy(k.bytes, connector, first);
    memcpy(k.bytes + first, sender, second);
    memcpy(k.bytes + first + second, recipient, third);
    return k;
}

/* false: there is no clock for such. */
static bool read_key(const struct hold_key *spoken, struct key *ret)
{
    char sender[ADDRESS_TEXT_SIZE], recipient[ADDRESS_TEXT_SIZE];

    if (!spell(spoken->sender, sender) || !spell(spoken->recipient, recipient))
        return false;
    *ret = key_of(spoken->connector, sender, recipient);
    return true;
}

static struct held show(const char *key, const struct hold *hold, uint32_t patience)
{
    const char *sender = key + strlen(key) + 1;

    return (struct held){ .connector = key, .sender = sender, .recipient = sender + strlen(sender) + 1, .hold = *hold,
                          .patience = patience };
}

/* The table */

static struct entry **find_locked(struct holds *h, const char *key, size_t length, uint64_t hash) HOLDING(h->lock)
{
    struct entry **at = &h->buckets[hash >> (64 - h->bits)];

    while (*at != NULL && ((*at)->hash != hash || (*at)->length != length || memcmp((*at)->key, key, length) != 0))
        at = &(*at)->next;
    return at;
}

static void grow_locked(struct holds *h) HOLDING(h->lock)
{
    unsigned bits = h->bits + 1;
    struct entry **buckets = mem_array((size_t)1 << bits, sizeof(struct entry *)), *e;

    for (e = h->oldest; e != NULL; e = e->newer) {
        e->next = buckets[e->hash >> (64 - bits)];
        buckets[e->hash >> (64 - bits)] = e;
    }
    free(h->buckets);
    h->buckets = buckets;
    h->bits = bits;
}

static void link_newest_locked(struct holds *h, struct entry *e) HOLDING(h->lock)
{
    e->older = h->newest;
    e->newer = NULL;
    *(h->newest == NULL ? &h->oldest : &h->newest->newer) = e;
    h->newest = e;
}

static void link_oldest_locked(struct holds *h, struct entry *e) HOLDING(h->lock)
{
    e->newer = h->oldest;
    e->older = NULL;
    *(h->oldest == NULL ? &h->newest : &h->oldest->older) = e;
    h->oldest = e;
}

static void unlink_locked(struct holds *h, struct entry *e) HOLDING(h->lock)
{
    *(e->older == NULL ? &h->oldest : &e->older->newer) = e->newer;
    *(e->newer == NULL ? &h->newest : &e->newer->older) = e->older;
}

static size_t octets_of(const struct entry *e)
{
    return sizeof(*e) + e->length;
}

static struct entry *cut_locked(struct holds *h, struct entry **at) HOLDING(h->lock)
{
    struct entry *e = *at;

    *at = e->next;
    unlink_locked(h, e);
    h->octets -= octets_of(e);
    atomic_fetch_sub(&h->used, 1);
    return e;
}

/* Puts a new entry into its bucket, which `at` may no longer be; the list is the caller's. */
static struct entry *place_locked(struct holds *h, const char *key, size_t length, uint64_t hash) HOLDING(h->lock)
{
    struct entry *e = mem_zero(sizeof(*e) + length), **at;

    if (atomic_load(&h->used) >= (size_t)1 << h->bits)
        grow_locked(h);
    e->hash = hash;
    e->length = length;
    memcpy(e->key, key, length);
    at = &h->buckets[hash >> (64 - h->bits)];
    e->next = *at;
    *at = e;
    h->octets += octets_of(e);
    atomic_fetch_add(&h->used, 1);
    return e;
}

/* Takes out the oldest that has to give way to `newcomer`, or is over; or gives NULL. *tidied counts the latter. */
static struct entry *make_room_locked(struct holds *h, const struct entry *newcomer, int64_t now, unsigned *tidied)
    HOLDING(h->lock)
{
    struct entry *e = h->oldest;
    bool full = atomic_load(&h->used) > h->most || h->octets > h->most * OCTETS_EACH;

    if (e == NULL || e == newcomer)
        return NULL;
    if (!full && (*tidied == TIDY_AT_ONCE || !hold_is_over(&e->hold, e->patience, now)))
        return NULL;
    *tidied += !full;
    return cut_locked(h, find_locked(h, e->key, e->length, e->hash));
}

/* Slices */

static size_t first_bucket_locked(struct holds *h, unsigned slice) HOLDING(h->lock)
{
    return (size_t)slice << (h->bits - SLICE_BITS);
}

static void add_item(struct hold_slice *s, const struct entry *e)
{
    struct held *made = &s->items[s->count++];

    *made = show(e->key, &e->hold, e->patience);
    made->connector = arena_text(s->memory, made->connector);
    made->sender = arena_text(s->memory, made->sender);
    made->recipient = arena_text(s->memory, made->recipient);
}

/* all: also those that are over. */
static void read_slice(struct holds *h, unsigned slice, bool all, int64_t now, struct hold_slice *ret)
{
    size_t first, end, room = 0, i;
    struct entry *e;

    *ret = (struct hold_slice){ .memory = arena_new() };
    mutex_lock(&h->lock);
    first = first_bucket_locked(h, slice);
    end = first_bucket_locked(h, slice + 1);
    for (i = first; i < end; i++) {
        for (e = h->buckets[i]; e != NULL; e = e->next)
            room++;
    }
    ret->items = mem_array(room + 1, sizeof(*ret->items));
    for (i = first; i < end; i++) {
        for (e = h->buckets[i]; e != NULL; e = e->next) {
            if (all || !hold_is_over(&e->hold, e->patience, now))
                add_item(ret, e);
        }
    }
    mutex_unlock(&h->lock);
}

/* Writing */

struct job {
    struct store_job job;
    struct holds *h;
    size_t length;
    char key[];
};

static void job_free(struct store_job *self)
{
    struct job *job = (struct job *)self;

    unref(job->h);
    free(job);
}

static void push(struct holds *h, const char *key, size_t length, bool (*run)(struct store_job *self, struct writer *w))
{
    struct job *job;

    if (h->store == NULL)
        return;
    job = mem_zero(sizeof(*job) + length);
    atomic_fetch_add_explicit(&h->users, 1, memory_order_relaxed);
    job->h = h;
    job->length = length;
    memcpy(job->key, key, length);
    job->job.run = run;
    job->job.free = job_free;
    store_push(h->store, &job->job);
}

static bool look_up(struct holds *h, const char *key, size_t length, struct hold *ret_hold, uint32_t *ret_patience)
{
    uint64_t hash = hash_bytes(key, length);
    struct entry *e;

    mutex_lock(&h->lock);
    e = *find_locked(h, key, length, hash);
    if (e != NULL) {
        *ret_hold = e->hold;
        *ret_patience = e->patience;
        e->queued = false;
    }
    mutex_unlock(&h->lock);
    return e != NULL;
}

static bool run_sync(struct store_job *self, struct writer *w)
{
    struct job *job = (struct job *)self;
    struct hold hold = { 0 };
    uint32_t patience = 0;
    bool found = look_up(job->h, job->key, job->length, &hold, &patience);
    struct held held = show(job->key, &hold, patience);

    return found ? hold_rows_write(w, &held) : hold_rows_delete(w, held.connector, held.sender, held.recipient);
}

/* Makes the row what memory has when the job runs. */
static void push_sync(struct holds *h, const char *key, size_t length)
{
    push(h, key, length, run_sync);
}

static bool run_rewrite(struct store_job *self, struct writer *w)
{
    struct holds *h = ((struct job *)self)->h;
    bool good = hold_rows_delete_all(w);
    struct hold_slice slice;
    unsigned i;
    size_t j;

    for (i = 0; good && i < HOLDS_SLICES; i++) {
        read_slice(h, i, true, 0, &slice);
        for (j = 0; good && j < slice.count; j++)
            good = hold_rows_write(w, &slice.items[j]);
        hold_slice_done(&slice);
    }
    return good;
}

static void push_rewrite(struct holds *h)
{
    push(h, "", 0, run_rewrite);
}

/* A list of those that are out of the table. */
static void put_out(struct entry **list, struct entry *e)
{
    e->next = *list;
    *list = e;
}

/* Lets them go, each with its row. */
static void let_go(struct holds *h, struct entry *e)
{
    struct entry *next;

    for (; e != NULL; e = next) {
        next = e->next;
        push_sync(h, e->key, e->length);
        free(e);
    }
}

static struct holds *watched(struct store_watcher *self)
{
    return (struct holds *)((char *)self - offsetof(struct holds, watcher));
}

static void renewed(struct store_watcher *self)
{
    push_rewrite(watched(self));
}

static void gone(struct store_watcher *self)
{
    unref(watched(self));
}

/* Reading */

struct loading {
    struct holds *h;
    int64_t now;
    size_t count, dropped;
};

static void load_one(void *self, const struct held *held)
{
    struct loading *l = self;
    struct holds *h = l->h;
    struct key key;
    struct entry *e;

    if (hold_is_over(&held->hold, held->patience, l->now) || atomic_load(&h->used) >= h->most) {
        l->dropped++;
        return;
    }
    key = key_of(held->connector, held->sender, held->recipient);
    mutex_lock(&h->lock);
    e = place_locked(h, key.bytes, key.length, hash_bytes(key.bytes, key.length));
    e->hold = held->hold;
    e->patience = held->patience;
    link_oldest_locked(h, e);
    mutex_unlock(&h->lock);
    free(key.bytes);
    l->count++;
}

static void load(struct holds *h, int64_t now)
{
    struct loading l = { .h = h, .now = now };
    struct hold_reading reading = hold_rows_reading(load_one, &l);
    struct fault why;
    bool good = store_read(h->store, &reading.query, &why);

    if (good)
        log_info("store: %zu hold clocks go on", l.count);
    else
        log_error("store: hold clocks can't be read, %zu were; the others begin anew: %s", l.count, why.text);
    if (!good || l.dropped + reading.passed_over > 0)
        push_rewrite(h);
}

/* The face */

struct holds *holds_open(struct store *store, size_t most, int64_t now)
{
    struct holds *h = mem_zero(sizeof(*h));

    h->store = store;
    h->most = most;
    atomic_init(&h->users, 1);
    mutex_init(&h->lock);
    mutex_lock(&h->lock);
    h->bits = SLICE_BITS;
    h->buckets = mem_array((size_t)1 << SLICE_BITS, sizeof(struct entry *));
    mutex_unlock(&h->lock);
    if (store == NULL)
        return h;
    h->watcher.renewed = renewed;
    h->watcher.gone = gone;
    load(h, now);
    atomic_fetch_add_explicit(&h->users, 1, memory_order_relaxed);
    store_watch(store, &h->watcher);
    return h;
}

void holds_close(struct holds *h)
{
    if (h != NULL)
        unref(h);
}

/* The key's entry, old or new, as the newest of all. */
static struct entry *touch_locked(struct holds *h, const struct key *key, uint64_t hash) HOLDING(h->lock)
{
    struct entry *e = *find_locked(h, key->bytes, key->length, hash);

    if (e == NULL)
        e = place_locked(h, key->bytes, key->length, hash);
    else
        unlink_locked(h, e);
    link_newest_locked(h, e);
    return e;
}

enum hold_state holds_note(struct holds *h, const struct hold_key *spoken, enum reason reason, uint32_t patience, int64_t now)
{
    struct entry *e, *victim, *out = NULL;
    enum hold_state state;
    unsigned tidied = 0;
    struct key key;
    uint64_t hash;
    bool push_it;

    if (!read_key(spoken, &key))
        return HOLD_RUNNING;
    hash = hash_bytes(key.bytes, key.length);
    mutex_lock(&h->lock);
    e = touch_locked(h, &key, hash);
    hold_note(&e->hold, reason, patience, now);
    e->patience = patience;
    state = hold_judge(&e->hold, patience, now);
    push_it = state == HOLD_RUNNING && !e->queued;
    e->queued = true;
    while ((victim = make_room_locked(h, e, now, &tidied)) != NULL)
        put_out(&out, victim);
    if (state == HOLD_EXPIRED)
        put_out(&out, cut_locked(h, find_locked(h, key.bytes, key.length, hash)));
    mutex_unlock(&h->lock);
    if (push_it)
        push_sync(h, key.bytes, key.length);
    let_go(h, out);
    free(key.bytes);
    return state;
}

void holds_end(struct holds *h, const struct hold_key *spoken)
{
    struct entry **at, *out = NULL;
    struct key key;
    uint64_t hash;

    if (atomic_load(&h->used) == 0 || !read_key(spoken, &key))
        return;
    hash = hash_bytes(key.bytes, key.length);
    mutex_lock(&h->lock);
    at = find_locked(h, key.bytes, key.length, hash);
    if (*at != NULL)
        put_out(&out, cut_locked(h, at));
    mutex_unlock(&h->lock);
    let_go(h, out);
    free(key.bytes);
}

/* connector, recipient: or NULL. */
static bool fits(const struct entry *e, const char *connector, const char *recipient)
{
    struct held held = show(e->key, &e->hold, e->patience);

    return (connector == NULL || strcmp(held.connector, connector) == 0) &&
           (recipient == NULL || strcmp(held.recipient, recipient) == 0);
}

/* Takes those that fit out of a slice. */
static struct entry *pick(struct holds *h, unsigned slice, const char *connector, const char *recipient)
{
    struct entry **at, *out = NULL;
    size_t i;

    mutex_lock(&h->lock);
    for (i = first_bucket_locked(h, slice); i < first_bucket_locked(h, slice + 1); i++) {
        for (at = &h->buckets[i]; *at != NULL;) {
            if (fits(*at, connector, recipient))
                put_out(&out, cut_locked(h, at));
            else
                at = &(*at)->next;
        }
    }
    mutex_unlock(&h->lock);
    return out;
}

size_t holds_forget(struct holds *h, const char *connector, const struct address *recipient, int64_t now)
{
    char spelled[ADDRESS_TEXT_SIZE];
    struct entry *out, *next;
    bool any = false;
    size_t ran = 0;
    unsigned slice;

    if (recipient != NULL && !spell(recipient, spelled))
        return 0;
    for (slice = 0; slice < HOLDS_SLICES; slice++) {
        for (out = pick(h, slice, connector, recipient == NULL ? NULL : spelled); out != NULL; out = next) {
            next = out->next;
            ran += !hold_is_over(&out->hold, out->patience, now);
            any = true;
            free(out);
        }
    }
    if (any)
        push_rewrite(h);                    /* one job, however many they were */
    return ran;
}

size_t holds_count(struct holds *h, int64_t now)
{
    struct hold_slice unlisted;
    size_t count = 0;
    unsigned slice;

    for (slice = 0; slice < HOLDS_SLICES && atomic_load(&h->used) > 0; slice++) {
        holds_read(h, slice, now, &unlisted);
        count += unlisted.count;
        hold_slice_done(&unlisted);
    }
    return count;
}

void holds_read(struct holds *h, unsigned slice, int64_t now, struct hold_slice *ret)
{
    read_slice(h, slice, false, now, ret);
}

void hold_slice_done(struct hold_slice *s)
{
    free(s->items);
    arena_free(s->memory);
    *s = (struct hold_slice){ 0 };
}

/* Past a daemon */

struct peeking {
    int64_t now;
    void (*each)(void *self, const struct held *held);
    void *self;
};

static void peek_one(void *self, const struct held *held)
{
    struct peeking *p = self;

    if (!hold_is_over(&held->hold, held->patience, p->now))
        p->each(p->self, held);
}

bool holds_peek(const char *directory, int64_t now, void (*each)(void *self, const struct held *held), void *self,
                struct fault *why)
{
    struct peeking p = { .now = now, .each = each, .self = self };
    struct hold_reading reading = hold_rows_reading(peek_one, &p);

    return store_peek(directory, &reading.query, why);
}
