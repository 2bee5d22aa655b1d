/*
 * Invariants:
 *  1. Memory is what counts. A job writes all that memory has when it runs, so that it may run late, twice or in any order.
 *  2. `written` is the version that the last job saw whose batch has been written.
 *  3. Rows that could not be read yet are not deleted.
 *  4. While it is in doubt whether these are all, the store says so, too (a row without a name), so that a restart doesn't
 *     end the doubt.
 */
#include "store/overrides.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/file.h"
#include "store/writer.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char lost_words[] = "the store was broken or taken away, and what overrides were in it is lost";

/* One thread. */
struct found {
    struct override *items;
    size_t count;
    bool lost;                              /* some are missing */
};

struct overrides {
    struct store *store;
    struct overrides_hook hook;             /* frozen */
    atomic_uint users;                      /* the owner, its watcher, and each job */
    struct store_watcher watcher;
    struct mutex lock;
    struct signal settled;                  /* a job has ended */
    struct override *items GUARDED_BY(lock);
    size_t count GUARDED_BY(lock);
    uint64_t version GUARDED_BY(lock), written GUARDED_BY(lock);
    bool loaded GUARDED_BY(lock);           /* the store's rows are in memory */
    bool closed GUARDED_BY(lock);           /* the hook is not to be called any more */
    bool doubtful GUARDED_BY(lock);
    struct fault why GUARDED_BY(lock);      /* where doubtful */
};

static struct overrides *ref(struct overrides *o)
{
    atomic_fetch_add_explicit(&o->users, 1, memory_order_relaxed);
    return o;
}

static void unref(struct overrides *o) UNCHECKED            /* nobody else is left */
{
    if (atomic_fetch_sub_explicit(&o->users, 1, memory_order_acq_rel) != 1)
        return;
    free(o->items);
    signal_done(&o->settled);
    mutex_done(&o->lock);
    free(o);
}

static struct override *find(struct override *items, size_t count, const char *connector)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strcmp(items[i].connector, connector) == 0)
            return &items[i];
    }
    return NULL;
}

static void add(struct override **items, size_t *count, const struct override *it)
{
    *items = mem_grow(*items, *count + 1, sizeof(**items));
    (*items)[(*count)++] = *it;
}

/* Reading */

struct reading {
    struct store_query query;
    struct found *found;
};

static bool read_mode(sqlite3_stmt *row, int column, bool *ret_set, enum mode *ret)
{
    const char *word = (const char *)sqlite3_column_text(row, column);

    *ret_set = word != NULL;
    return word == NULL || mode_parse(word, ret);
}

static bool copy_text(sqlite3_stmt *row, int column, char *ret, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(row, column);

    return text != NULL && snprintf(ret, size, "%s", text) < (int)size;
}

static bool read_row(sqlite3_stmt *row, struct override *ret)
{
    *ret = (struct override){ .until = sqlite3_column_int64(row, 3), .set_at = sqlite3_column_int64(row, 4) };
    return copy_text(row, 0, ret->connector, sizeof(ret->connector)) &&
           read_mode(row, 1, &ret->sets_dane, &ret->smtp_dane) && read_mode(row, 2, &ret->sets_sts, &ret->mta_sts) &&
           copy_text(row, 5, ret->by, sizeof(ret->by)) && (ret->sets_dane || ret->sets_sts);
}

static bool take_row(struct store_query *self, sqlite3_stmt *row)
{
    struct found *found = ((struct reading *)self)->found;
    struct override it;

    if (sqlite3_column_bytes(row, 0) == 0) {
        found->lost = true;
    } else if (read_row(row, &it)) {
        add(&found->items, &found->count, &it);
    } else {
        log_error("store: an override can't be read any more and is passed over");
        found->lost = true;
    }
    return true;
}

static struct reading reading_of(struct found *found)
{
    return (struct reading){ .query = { .sql = "SELECT connector, smtp_dane, mta_sts, until, set_at, who FROM overrides",
                                        .row = take_row },
                             .found = found };
}

/* What memory has is newer. */
static void merge_locked(struct overrides *o, const struct found *found) HOLDING(o->lock)
{
    size_t i;

    for (i = 0; i < found->count; i++) {
        if (find(o->items, o->count, found->items[i].connector) == NULL)
            add(&o->items, &o->count, &found->items[i]);
    }
    o->version++;
}

static bool load(struct overrides *o, bool at_start)
{
    struct found found = { NULL };
    struct reading r = reading_of(&found);
    struct fault why;
    bool loaded = store_read(o->store, &r.query, &why);

    mutex_lock(&o->lock);
    if (loaded) {
        merge_locked(o, &found);
        o->loaded = true;
        if (at_start)
            o->written = o->version;
        if (found.lost)
            fault_set(&o->why, "%s", lost_words);
        o->doubtful = found.lost || (!at_start && found.count == 0);    /* the file may be new, and the old one lost */
    } else {
        o->doubtful = true;
        fault_set(&o->why, "overrides can't be read: %s", why.text);
    }
    mutex_unlock(&o->lock);
    free(found.items);
    return loaded;
}

/* Writing */

struct job {
    struct store_job job;
    struct overrides *o;
    uint64_t version;                       /* what it wrote */
    bool ran;
};

static void bind_mode(sqlite3_stmt *statement, int at, bool set, enum mode mode)
{
    if (set)
        sqlite3_bind_text(statement, at, mode_word(mode), -1, SQLITE_STATIC);
}

static bool write_row(struct writer *w, const struct override *it)
{
    sqlite3_stmt *statement = writer_prepare(w, "INSERT OR REPLACE INTO overrides "
                                                "(connector, smtp_dane, mta_sts, until, set_at, who) "
                                                "VALUES (?1, ?2, ?3, ?4, ?5, ?6)");

    if (statement == NULL)
        return false;
    sqlite3_bind_text(statement, 1, it->connector, -1, SQLITE_STATIC);
    bind_mode(statement, 2, it->sets_dane, it->smtp_dane);
    bind_mode(statement, 3, it->sets_sts, it->mta_sts);
    sqlite3_bind_int64(statement, 4, it->until);
    sqlite3_bind_int64(statement, 5, it->set_at);
    sqlite3_bind_text(statement, 6, it->by, -1, SQLITE_STATIC);
    return writer_step(w, statement);
}

static bool delete_all(struct writer *w)
{
    sqlite3_stmt *statement = writer_prepare(w, "DELETE FROM overrides");

    return statement != NULL && writer_step(w, statement);
}

static bool run_rewrite(struct store_job *self, struct writer *w)
{
    static const struct override doubt = { .connector = "" };
    struct job *job = (struct job *)self;
    struct overrides *o = job->o;
    bool loaded, doubtful, good;
    struct override *items;
    size_t count, i;

    mutex_lock(&o->lock);
    loaded = o->loaded;
    doubtful = o->doubtful;
    mutex_unlock(&o->lock);
    items = overrides_list(o, &count, &job->version);
    good = !loaded || delete_all(w);
    for (i = 0; good && i < count; i++)
        good = write_row(w, &items[i]);
    if (good && loaded && doubtful)
        good = write_row(w, &doubt);
    free(items);
    job->ran = good;
    return good;
}

static void free_job(struct store_job *self)
{
    struct job *job = (struct job *)self;
    struct overrides *o = job->o;

    mutex_lock(&o->lock);
    if (job->ran && job->version > o->written)
        o->written = job->version;
    signal_all(&o->settled);
    mutex_unlock(&o->lock);
    free(job);
    unref(o);
}

static void push(struct overrides *o)
{
    struct job *job = mem_zero(sizeof(*job));

    job->o = ref(o);
    job->job.run = run_rewrite;
    job->job.free = free_job;
    store_push(o->store, &job->job);
}

static struct overrides *watched(struct store_watcher *self)
{
    return (struct overrides *)((char *)self - offsetof(struct overrides, watcher));
}

static void renewed(struct store_watcher *self)
{
    struct overrides *o = watched(self);
    bool call;

    mutex_lock(&o->lock);
    call = !o->loaded && !o->closed;
    mutex_unlock(&o->lock);
    push(o);
    if (call)
        o->hook.call(o->hook.self);
}

static void gone(struct store_watcher *self)
{
    unref(watched(self));
}

/* The face */

struct overrides *overrides_open(struct store *store, struct overrides_hook hook)
{
    struct overrides *o = mem_zero(sizeof(*o));
    struct fault why;

    o->store = store;
    o->hook = hook;
    atomic_init(&o->users, 1);
    mutex_init(&o->lock);
    signal_init(&o->settled);
    o->watcher = (struct store_watcher){ .renewed = renewed, .gone = gone };
    load(o, true);
    if (!overrides_sure(o, &why))
        log_error("store: %s", why.text);
    ref(o);
    store_watch(store, &o->watcher);
    return o;
}

void overrides_close(struct overrides *o)
{
    if (o == NULL)
        return;
    mutex_lock(&o->lock);
    o->closed = true;
    mutex_unlock(&o->lock);
    unref(o);
}

struct override *overrides_list(struct overrides *o, size_t *ret_count, uint64_t *ret_version)
{
    struct override *copy;

    mutex_lock(&o->lock);
    copy = mem_array(o->count + 1, sizeof(*copy));
    if (o->count > 0)
        memcpy(copy, o->items, o->count * sizeof(*copy));
    *ret_count = o->count;
    *ret_version = o->version;
    mutex_unlock(&o->lock);
    return copy;
}

bool overrides_get(struct overrides *o, const char *connector, struct override *ret)
{
    const struct override *it;
    bool found;

    mutex_lock(&o->lock);
    it = find(o->items, o->count, connector);
    found = it != NULL;
    if (found)
        *ret = *it;
    mutex_unlock(&o->lock);
    return found;
}

bool overrides_put(struct overrides *o, const struct override *it, struct fault *why)
{
    struct override *old;
    bool room;

    mutex_lock(&o->lock);
    old = find(o->items, o->count, it->connector);
    room = old != NULL || o->count < OVERRIDES_MOST;
    if (old != NULL)
        *old = *it;
    else if (room)
        add(&o->items, &o->count, it);
    if (room)
        o->version++;
    mutex_unlock(&o->lock);
    if (!room)
        return fault_set(why, "there are %d overrides already; change the configuration instead", OVERRIDES_MOST);
    push(o);
    return true;
}

void overrides_drop(struct overrides *o, const char *connector)
{
    struct override *it;
    bool found;

    mutex_lock(&o->lock);
    it = find(o->items, o->count, connector);
    found = it != NULL;
    if (found) {
        *it = o->items[--o->count];
        o->version++;
    }
    mutex_unlock(&o->lock);
    if (found)
        push(o);
}

bool overrides_sure(struct overrides *o, struct fault *why)
{
    bool sure;

    mutex_lock(&o->lock);
    sure = !o->doubtful;
    if (!sure)
        *why = o->why;
    mutex_unlock(&o->lock);
    return sure;
}

void overrides_load(struct overrides *o)
{
    bool loaded;

    mutex_lock(&o->lock);
    loaded = o->loaded;
    mutex_unlock(&o->lock);
    if (!loaded && load(o, false))
        push(o);
}

void overrides_trust(struct overrides *o)
{
    bool was;

    mutex_lock(&o->lock);
    was = o->doubtful;
    o->doubtful = false;
    mutex_unlock(&o->lock);
    if (was)
        push(o);
}

bool overrides_await(struct overrides *o, int64_t until_ms)
{
    bool written;

    mutex_lock(&o->lock);
    while (o->written < o->version && clock_ms() < until_ms)
        signal_wait_until(&o->settled, &o->lock, until_ms);
    written = o->written >= o->version && o->loaded;
    mutex_unlock(&o->lock);
    return written;
}

/* From the file */

static bool count_table(struct store_query *self, sqlite3_stmt *row)
{
    ((struct reading *)self)->found->count = (size_t)sqlite3_column_int64(row, 0);
    return true;
}

/* A file of an earlier version has no such table. */
static bool has_table(const char *directory, bool *ret, struct fault *why)
{
    struct found tables = { NULL };
    struct reading r = { .query = { .sql = "SELECT count(*) FROM sqlite_master WHERE name = 'overrides'", .row = count_table },
                         .found = &tables };
    bool good = store_peek(directory, &r.query, why);

    *ret = tables.count > 0;
    return good;
}

static bool is_there(const char *directory)
{
    char path[4096];
    struct stat st;

    snprintf(path, sizeof(path), "%s/danelaw.db", directory);
    return stat(path, &st) == 0 || errno != ENOENT;
}

bool overrides_peek(const char *directory, struct override **ret, size_t *ret_count, struct fault *why)
{
    struct found found = { NULL };
    struct reading r = reading_of(&found);
    bool there = false, good = true;

    if (file_missed(directory))
        good = fault_set(why, "%s", lost_words);
    else if (is_there(directory))
        good = has_table(directory, &there, why);
    if (good && there)
        good = store_peek(directory, &r.query, why) && (!found.lost || fault_set(why, "%s", lost_words));
    if (!good) {
        free(found.items);
        return false;
    }
    *ret = found.items;
    *ret_count = found.count;
    return true;
}
