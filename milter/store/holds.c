/*
 * Invariants:
 *  1. Memory is what counts; the store follows. A job carries a key, not a clock: when it runs, it writes what memory then
 *     has under that key, or deletes the row. So jobs may run late, twice or in any order.
 *  2. `queued` is set from pushing such a job until it, or a rewrite, looks at the entry: so an entry has at most one on the
 *     queue. Strangers make these jobs, so that no more than JOBS_MOST wait; past that, memory is `behind`, and once the others
 *     are done everything is written anew. So it is, too, where the store drops a job and calls renewed().
 *  3. The file never has a clock that memory has not, but for jobs that wait: what can't be read at start is deleted, lest
 *     an old row comes back after its mail was delivered. Forgetting puts a bounce off; remembering wrongly would bounce early.
 */
#include "store/holds.h"

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/hold_rows.h"
#include "store/hold_table.h"

#include <stdio.h>
#include <string.h>

_Static_assert(HOLDS_SLICES == 1 << HOLD_TABLE_SLICE_BITS, "a slice is a row of buckets");

enum { JOBS_MOST = 8192 };

struct holds {
    struct store *store;                    /* or NULL */
    atomic_uint users;                      /* the owner, its watcher, and each job */
    struct store_watcher watcher;
    atomic_uint waiting;                    /* sync jobs on the queue */
    atomic_bool behind;                     /* there should be more */
    struct mutex lock;
    struct hold_table table GUARDED_BY(lock);
};

static void unref(struct holds *h) UNCHECKED                    /* nobody else is left */
{
    if (atomic_fetch_sub_explicit(&h->users, 1, memory_order_acq_rel) != 1)
        return;
    hold_table_done(&h->table);
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

static struct hold_text text_of(const char *bytes, size_t length)
{
    return (struct hold_text){ bytes, length, hash_bytes(bytes, length) };
}

/* Connector, sender and recipient, each with its NUL; free_text() ends it. */
static struct hold_text join(const char *connector, const char *sender, const char *recipient)
{
    size_t first = strlen(connector) + 1, second = strlen(sender) + 1, third = strlen(recipient) + 1;
    char *bytes = mem_array(first + second + third, 1);

    memcpy(bytes, connector, first);
    memcpy(bytes + first, sender, second);
    memcpy(bytes + first + second, recipient, third);
    return text_of(bytes, first + second + third);
}

static void free_text(struct hold_text *t)
{
    free((char *)(uintptr_t)t->bytes);
}

/* false: there is no clock for such. */
static bool read_key(const struct hold_key *spoken, struct hold_text *ret)
{
    char sender[ADDRESS_TEXT_SIZE], recipient[ADDRESS_TEXT_SIZE];

    if (!spell(spoken->sender, sender) || !spell(spoken->recipient, recipient))
        return false;
    *ret = join(spoken->connector, sender, recipient);
    return true;
}

static struct held show(const char *key, const struct hold *hold, uint32_t patience)
{
    const char *sender = key + strlen(key) + 1;

    return (struct held){ .connector = key, .sender = sender, .recipient = sender + strlen(sender) + 1, .hold = *hold,
                          .patience = patience };
}

/* Slices */

static void add_item(struct hold_slice *s, const struct hold_entry *e)
{
    struct held *made = &s->items[s->count++];

    *made = show(e->key, &e->hold, e->patience);
    made->connector = arena_text(s->memory, made->connector);
    made->sender = arena_text(s->memory, made->sender);
    made->recipient = arena_text(s->memory, made->recipient);
}

/* to_write: also those that are over; what changes hereafter is another job's. */
static void read_slice(struct holds *h, unsigned slice, bool to_write, int64_t now, struct hold_slice *ret)
{
    size_t first, end, room = 0, i;
    struct hold_entry *e;

    *ret = (struct hold_slice){ .memory = arena_new() };
    mutex_lock(&h->lock);
    first = hold_table_slice(&h->table, slice);
    end = hold_table_slice(&h->table, slice + 1);
    for (i = first; i < end; i++) {
        for (e = h->table.buckets[i]; e != NULL; e = e->next)
            room++;
    }
    ret->items = mem_array(room + 1, sizeof(*ret->items));
    for (i = first; i < end; i++) {
        for (e = h->table.buckets[i]; e != NULL; e = e->next) {
            if (to_write || !hold_is_over(&e->hold, e->patience, now))
                add_item(ret, e);
            if (to_write)
                e->queued = false;
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

static void push(struct holds *h, const char *key, size_t length, bool (*run)(struct store_job *self, struct writer *w),
                 void (*end)(struct store_job *self))
{
    struct job *job = mem_zero(sizeof(*job) + length);

    atomic_fetch_add_explicit(&h->users, 1, memory_order_relaxed);
    job->h = h;
    job->length = length;
    memcpy(job->key, key, length);
    job->job.run = run;
    job->job.free = end;
    store_push(h->store, &job->job);
}

static bool look_up(struct holds *h, const struct hold_text *key, struct hold *ret_hold, uint32_t *ret_patience)
{
    struct hold_entry *e;

    mutex_lock(&h->lock);
    e = *hold_table_find(&h->table, key);
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
    struct hold_text key = text_of(job->key, job->length);
    struct hold hold = { 0 };
    uint32_t patience = 0;
    bool found = look_up(job->h, &key, &hold, &patience);
    struct held held = show(job->key, &hold, patience);

    return found ? hold_rows_write(w, &held) : hold_rows_delete(w, held.connector, held.sender, held.recipient);
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
    if (h->store != NULL)
        push(h, "", 0, run_rewrite, job_free);
}

static void wait_less(struct holds *h)
{
    if (atomic_fetch_sub(&h->waiting, 1) == 1 && atomic_exchange(&h->behind, false))
        push_rewrite(h);
}

static void sync_free(struct store_job *self)
{
    wait_less(((struct job *)self)->h);
    job_free(self);
}

/* Makes the row what memory has when the job runs. */
static void push_sync(struct holds *h, const char *key, size_t length)
{
    if (h->store == NULL)
        return;
    if (atomic_fetch_add(&h->waiting, 1) < JOBS_MOST) {
        push(h, key, length, run_sync, sync_free);
        return;
    }
    atomic_store(&h->behind, true);
    wait_less(h);
}

/* A list of those that are out of the table. */
static void put_out(struct hold_entry **list, struct hold_entry *e)
{
    e->next = *list;
    *list = e;
}

/* Lets them go, each with its row. */
static void let_go(struct holds *h, struct hold_entry *e)
{
    struct hold_entry *next;

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
    struct hold_table *table = &l->h->table;
    struct hold_text key = join(held->connector, held->sender, held->recipient);
    struct hold_entry *e;
    bool wanted;

    mutex_lock(&l->h->lock);
    wanted = !hold_is_over(&held->hold, held->patience, l->now) && atomic_load(&table->used) < table->most &&
             *hold_table_find(table, &key) == NULL;
    if (wanted) {
        e = hold_table_add(table, &key, false);
        e->hold = held->hold;
        e->patience = held->patience;
    }
    mutex_unlock(&l->h->lock);
    *(wanted ? &l->count : &l->dropped) += 1;
    free_text(&key);
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
    atomic_init(&h->users, 1);
    mutex_init(&h->lock);
    mutex_lock(&h->lock);
    hold_table_init(&h->table, most);
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
static struct hold_entry *touch_locked(struct holds *h, const struct hold_text *key) HOLDING(h->lock)
{
    struct hold_entry *e = *hold_table_find(&h->table, key);

    if (e == NULL)
        return hold_table_add(&h->table, key, true);
    hold_table_touch(&h->table, e);
    return e;
}

enum hold_state holds_note(struct holds *h, const struct hold_key *spoken, enum reason reason, uint32_t patience, int64_t now)
{
    struct hold_entry *e, *victim, *out = NULL;
    enum hold_state state;
    unsigned tidied = 0;
    struct hold_text key;
    bool push_it;

    if (!read_key(spoken, &key))
        return HOLD_RUNNING;
    mutex_lock(&h->lock);
    e = touch_locked(h, &key);
    hold_note(&e->hold, reason, patience, now);
    e->patience = patience;
    state = hold_judge(&e->hold, patience, now);
    push_it = state == HOLD_RUNNING && !e->queued;
    e->queued = true;
    while ((victim = hold_table_crowd_out(&h->table, e, now, &tidied)) != NULL)
        put_out(&out, victim);
    if (state == HOLD_EXPIRED)
        put_out(&out, hold_table_cut(&h->table, hold_table_find(&h->table, &key)));
    mutex_unlock(&h->lock);
    if (push_it)
        push_sync(h, key.bytes, key.length);
    let_go(h, out);
    free_text(&key);
    return state;
}

void holds_end(struct holds *h, const struct hold_key *spoken)
{
    struct hold_entry **at, *out = NULL;
    struct hold_text key;

    if (atomic_load(&h->table.used) == 0 || !read_key(spoken, &key))
        return;
    mutex_lock(&h->lock);
    at = hold_table_find(&h->table, &key);
    if (*at != NULL)
        put_out(&out, hold_table_cut(&h->table, at));
    mutex_unlock(&h->lock);
    let_go(h, out);
    free_text(&key);
}

/* connector, recipient: or NULL. */
static bool fits(const struct hold_entry *e, const char *connector, const char *recipient)
{
    struct held held = show(e->key, &e->hold, e->patience);

    return (connector == NULL || strcmp(held.connector, connector) == 0) &&
           (recipient == NULL || strcmp(held.recipient, recipient) == 0);
}

/* Takes those that fit out of a slice. */
static struct hold_entry *pick(struct holds *h, unsigned slice, const char *connector, const char *recipient)
{
    struct hold_entry **at, *out = NULL;
    size_t i;

    mutex_lock(&h->lock);
    for (i = hold_table_slice(&h->table, slice); i < hold_table_slice(&h->table, slice + 1); i++) {
        for (at = &h->table.buckets[i]; *at != NULL;) {
            if (fits(*at, connector, recipient))
                put_out(&out, hold_table_cut(&h->table, at));
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
    struct hold_entry *out, *next;
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
    struct hold_entry *e;
    size_t count = 0, i;
    unsigned slice;

    for (slice = 0; slice < HOLDS_SLICES && atomic_load(&h->table.used) > 0; slice++) {
        mutex_lock(&h->lock);
        for (i = hold_table_slice(&h->table, slice); i < hold_table_slice(&h->table, slice + 1); i++) {
            for (e = h->table.buckets[i]; e != NULL; e = e->next)
                count += !hold_is_over(&e->hold, e->patience, now);
        }
        mutex_unlock(&h->lock);
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
