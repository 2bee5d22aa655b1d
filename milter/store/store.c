/*
 * Invariants:
 *  1. Only the writer's thread touches the connection for writing (store_open() does, before there is that thread).
 *  2. A job is on the queue, in the writer's batch, or freed. The batch is written in one transaction or not at all; then
 *     what must be kept goes back to the head of the queue, in order, and the rest is dropped and counted.
 *  3. `renew` says that jobs were lost or that the file is another one. It stands until a batch was written; then the
 *     watchers are called. Setting it again meanwhile calls them again.
 *  4. No lock is held while a file, a job or a watcher is at work.
 *
 *   good --a batch fails--> failing --RETRY_MS: open anew if need be, write--> good
 *     |--the file seems broken--> opened anew, which moves aside what is broken
 *     '--again within DOUBT_MS--> moved aside, a new one (at most one every RETRY_MS; else failing)
 */
#include "store/store.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "store/file.h"
#include "store/reading.h"
#include "store/writer.h"

enum {
    BATCH = 4096,                       /* jobs in one transaction */
    LINGER_MS = 100,                    /* how long the first of a batch waits for more */
    LINGER_LONG_MS = 500,               /* where all may be dispensed with: each time the writer wakes it is in the way of mail */
    RETRY_MS = 5000,
    DOUBT_MS = 10 * 60 * 1000,
    SAY_DROPS_MS = 60 * 1000,
    CLOSE_MS = 2000,
    CLOSE_MORE_MS = 1000,               /* for the disk, past CLOSE_MS */
    MOST_DISPENSABLE = 16384,           /* waiting */
    MOST_WAITING = 65536,
};

struct store {
    char *directory;                    /* frozen */
    /* writer's thread only */
    struct writer w;
    bool failing, last_try;             /* last_try: made, while stopping */
    int64_t retry_at;
    int64_t doubted_at;                 /* when the file was last said to be broken, and opened anew; 0: never */
    int64_t aside_at;                   /* when a broken file was last moved away; 0: never */
    uint64_t said_drops;
    int64_t said_at;
    /* any thread */
    pthread_t thread;
    struct mutex lock;
    struct signal work, left;
    struct store_job *first GUARDED_BY(lock), **last GUARDED_BY(lock);
    size_t waiting GUARDED_BY(lock), at_work GUARDED_BY(lock);
    bool urgent GUARDED_BY(lock);       /* some that wait must be kept */
    struct store_watcher *watchers GUARDED_BY(lock);
    struct store_status status GUARDED_BY(lock);
    bool suspect GUARDED_BY(lock);      /* a reader found the file broken */
    bool renew GUARDED_BY(lock);
    bool stopping GUARDED_BY(lock), finished GUARDED_BY(lock);
    int64_t stop_at GUARDED_BY(lock);
};

/* Failing and recovering */

static void set_good(struct store *s, bool good)
{
    mutex_lock(&s->lock);
    if (s->status.good != good)
        s->status.since = (int64_t)clock_wall();
    s->status.good = good;
    s->status.why = good ? (struct fault){ { 0 } } : s->w.why;
    mutex_unlock(&s->lock);
}

static void fail(struct store *s)
{
    if (!s->failing)
        log_error("store: %s; running on from memory, trying again every %d s", s->w.why.text, RETRY_MS / 1000);
    s->failing = true;
    s->retry_at = clock_ms() + RETRY_MS;
    set_good(s, false);
}

static void recover(struct store *s)
{
    if (s->failing)
        log_warning("store: %s/danelaw.db can be written again", s->directory);
    s->failing = false;
    set_good(s, true);
}

static void ask_renewal(struct store *s)
{
    mutex_lock(&s->lock);
    s->renew = true;
    mutex_unlock(&s->lock);
}

/* Whoever watches pushes what has to be written anew; the queue has room again by now. */
static void renew(struct store *s)
{
    struct store_watcher *watcher = NULL;

    mutex_lock(&s->lock);
    if (s->renew)
        watcher = s->watchers;
    s->renew = false;
    mutex_unlock(&s->lock);
    for (; watcher != NULL; watcher = watcher->next)        /* the list only grows at its head */
        watcher->renewed(watcher);
}

static bool open_anew(struct store *s)
{
    if (!writer_open(&s->w, s->directory)) {
        fail(s);
        return false;
    }
    ask_renewal(s);
    return true;
}

/*
 * The file is broken, says w->why. SQLite says that of a disk, too, that could not read for once: the first time the file is
 * opened anew, and looked at. false: nothing can be written now.
 */
static bool replace_file(struct store *s)
{
    int64_t now = clock_ms();
    struct fault reason = s->w.why;

    writer_close(&s->w, true);
    if (s->doubted_at == 0 || now >= s->doubted_at + DOUBT_MS) {
        s->doubted_at = now;
        return open_anew(s);
    }
    if (!file_can_be_read(s->directory, &s->w.why)) {
        fail(s);
        return false;
    }
    if (s->aside_at != 0 && now < s->aside_at + RETRY_MS) {
        fail(s);                                /* whatever breaks them won't be helped by ever more files */
        return false;
    }
    s->aside_at = now;
    if (!file_set_aside(s->directory, reason.text, &s->w.why)) {
        fail(s);
        return false;
    }
    return open_anew(s);
}

static bool take_suspicion(struct store *s)
{
    bool suspect;

    mutex_lock(&s->lock);
    suspect = s->suspect;
    s->suspect = false;
    mutex_unlock(&s->lock);
    return suspect;
}

/* Sees to it that there is a file to write to. */
static bool tend_file(struct store *s)
{
    bool suspect = take_suspicion(s);

    if (s->failing && clock_ms() < s->retry_at)
        return false;
    if (s->w.db != NULL && file_moved(s->w.db)) {
        log_error("store: %s/danelaw.db was moved or deleted; it is made anew", s->directory);
        writer_close(&s->w, true);
    }
    if (s->w.db != NULL && suspect) {
        fault_set(&s->w.why, "it is damaged");
        return replace_file(s);
    }
    return s->w.db != NULL || open_anew(s);
}

/* A batch */

/* The job's own fault: it would fail for ever. */
static bool job_at_fault(int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
    case SQLITE_MISUSE:
        return true;
    }
    return false;
}

static bool run_jobs(struct store *s, struct store_job *batch, struct store_job **ret_culprit)
{
    struct store_job *job;

    *ret_culprit = NULL;
    s->w.code = SQLITE_OK;
    if (!writer_begin(&s->w))
        return false;
    for (job = batch; job != NULL; job = job->next) {
        if (!job->run(job, &s->w)) {
            *ret_culprit = job;
            return false;
        }
    }
    return writer_say(&s->w, "COMMIT");
}

static void count(struct store *s, uint64_t written, uint64_t dropped)
{
    mutex_lock(&s->lock);
    s->status.written += written;
    s->status.dropped += dropped;
    mutex_unlock(&s->lock);
}

static void drop(struct store *s, struct store_job **at)
{
    struct store_job *job = *at;

    *at = job->next;
    job->free(job);
    count(s, 0, 1);
}

static void drop_culprit(struct store *s, struct store_job **batch, struct store_job *culprit)
{
    while (*batch != culprit)
        batch = &(*batch)->next;
    log_error("store: one record can't be written and is dropped: %s",
              s->w.code == SQLITE_OK ? "it does not say why" : s->w.why.text);
    drop(s, batch);
}

static void free_written(struct store *s, struct store_job **batch)
{
    struct store_job *job;
    uint64_t written = 0;

    for (; (job = *batch) != NULL; written++) {
        *batch = job->next;
        job->written = true;
        job->free(job);
    }
    count(s, written, 0);
}

/* What went wrong with the file, not with a job. true: worth another try at once. */
static bool face_failure(struct store *s)
{
    int code = s->w.code & 0xff;

    if (file_broken(code))
        return replace_file(s);
    if (code != SQLITE_FULL && code != SQLITE_BUSY && code != SQLITE_LOCKED)
        writer_close(&s->w, false);
    fail(s);
    return false;
}

/* Leaves in *batch what was not written. */
static void write_batch(struct store *s, struct store_job **batch)
{
    struct store_job *culprit;

    while (*batch != NULL) {
        if (run_jobs(s, *batch, &culprit)) {
            free_written(s, batch);
            break;
        }
        writer_undo(&s->w);
        if (culprit != NULL && job_at_fault(s->w.code))
            drop_culprit(s, batch, culprit);
        else if (!face_failure(s))
            return;
    }
    recover(s);
}

/* Without a file to show for it, only a write proves that the disk takes something again. */
static bool prove(struct store *s)
{
    if (!s->failing)
        return true;
    s->w.code = SQLITE_OK;
    if (writer_say(&s->w, "BEGIN IMMEDIATE; CREATE TABLE proof (x); DROP TABLE proof; COMMIT")) {
        recover(s);
        return true;
    }
    writer_undo(&s->w);
    face_failure(s);
    return false;
}

/* The queue */

static struct store_job *take_batch_locked(struct store *s) HOLDING(s->lock)
{
    struct store_job *batch = s->first, **end = &s->first;
    size_t n;

    for (n = 0; n < BATCH && *end != NULL; n++)
        end = &(*end)->next;
    if (n == 0)
        return NULL;
    s->first = *end;
    if (s->first == NULL)
        s->last = &s->first;
    *end = NULL;
    s->waiting -= n;
    s->at_work = n;
    s->urgent = s->first != NULL;           /* what is left has waited already */
    return batch;
}

/* What is left of a batch: to the head of the queue, or away. */
static void give_back(struct store *s, struct store_job *batch)
{
    struct store_job *kept = batch, **at = &kept;
    size_t n = 0;

    while (*at != NULL) {
        if ((*at)->dispensable) {
            drop(s, at);
            continue;
        }
        at = &(*at)->next;
        n++;
    }
    mutex_lock(&s->lock);
    s->at_work = 0;
    if (n > 0) {
        *at = s->first;
        if (s->first == NULL)
            s->last = at;
        s->first = kept;
        s->waiting += n;
    }
    mutex_unlock(&s->lock);
}

/* Drops what is not kept while nothing can be written, so that it doesn't crowd out the rest. */
static void thin_out(struct store *s)
{
    struct store_job *all;

    mutex_lock(&s->lock);
    all = s->first;
    s->first = NULL;
    s->last = &s->first;
    s->waiting = 0;
    mutex_unlock(&s->lock);
    give_back(s, all);
}

static bool something_to_do_locked(struct store *s, int64_t now) HOLDING(s->lock)
{
    if (s->failing)
        return now >= s->retry_at;
    return s->first != NULL || s->suspect || s->renew;
}

/* What waits is written while there is time; a failing disk gets one more chance. */
static bool go_on_stopping_locked(struct store *s, int64_t now) HOLDING(s->lock)
{
    bool go_on = s->first != NULL && now < s->stop_at && !(s->failing && s->last_try);

    if (go_on && s->failing) {
        s->last_try = true;
        s->retry_at = now;
    }
    return go_on;
}

/* Waits for work and lets it gather. false: time to go. */
static bool await_work(struct store *s)
{
    int64_t since = 0, until, now;
    bool go_on;

    mutex_lock(&s->lock);
    for (;;) {
        now = clock_ms();
        if (s->stopping)
            break;
        if (!something_to_do_locked(s, now)) {
            since = 0;
            if (s->failing)
                signal_wait_until(&s->work, &s->lock, s->retry_at);
            else
                signal_wait(&s->work, &s->lock);
            continue;
        }
        if (since == 0)
            since = now;
        until = since + (s->urgent || s->suspect || s->renew ? LINGER_MS : LINGER_LONG_MS);
        if (now >= until || s->waiting >= BATCH)
            break;
        signal_wait_until(&s->work, &s->lock, until);
    }
    go_on = !s->stopping || go_on_stopping_locked(s, now);
    mutex_unlock(&s->lock);
    return go_on;
}

static void say_drops(struct store *s)
{
    int64_t now = clock_ms();
    uint64_t dropped;

    mutex_lock(&s->lock);
    dropped = s->status.dropped;
    mutex_unlock(&s->lock);
    if (dropped == s->said_drops || (s->said_at != 0 && now < s->said_at + SAY_DROPS_MS))
        return;
    log_warning("store: %llu records were dropped, %llu since the start", (unsigned long long)(dropped - s->said_drops),
                (unsigned long long)dropped);
    s->said_drops = dropped;
    s->said_at = now;
}

static void work_off(struct store *s)
{
    struct store_job *batch;

    if (!tend_file(s)) {
        thin_out(s);
        return;
    }
    mutex_lock(&s->lock);
    batch = take_batch_locked(s);
    mutex_unlock(&s->lock);
    if (batch == NULL && !prove(s))
        return;
    write_batch(s, &batch);
    give_back(s, batch);
    if (!s->failing)
        renew(s);
}

static void *writer_body(void *argument)
{
    struct store *s = argument;

    while (await_work(s)) {
        work_off(s);
        say_drops(s);
    }
    writer_close(&s->w, false);
    mutex_lock(&s->lock);
    s->finished = true;
    signal_all(&s->left);
    mutex_unlock(&s->lock);
    return NULL;
}

/* The face */

struct store *store_open(const struct settings *set)
{
    struct store *s = mem_zero(sizeof(*s));

    s->directory = mem_text(set->store.directory);
    s->last = &s->first;
    s->status.since = (int64_t)clock_wall();
    mutex_init(&s->lock);
    signal_init(&s->work);
    signal_init(&s->left);
    if (writer_open(&s->w, s->directory))
        recover(s);
    else
        fail(s);
    thread_start(&s->thread, "store", writer_body, s);
    return s;
}

/* Jobs that nobody will write, and those who watched. */
static void let_go(struct store *s) UNCHECKED               /* nobody else is left */
{
    struct store_watcher *watcher, *next;
    struct store_job *job;
    size_t kept = 0;

    while ((job = s->first) != NULL) {
        s->first = job->next;
        if (s->first == NULL)
            s->last = &s->first;                /* to free one may push another */
        kept += !job->dispensable;
        job->free(job);
    }
    if (kept > 0)
        log_error("store: closed with %zu records unwritten", kept);
    for (watcher = s->watchers; watcher != NULL; watcher = next) {
        next = watcher->next;
        watcher->gone(watcher);
    }
}

/* false: the disk keeps the writer. */
static bool stop_writer(struct store *s)
{
    int64_t until = clock_ms() + CLOSE_MS;
    bool finished;

    mutex_lock(&s->lock);
    s->stopping = true;
    s->stop_at = until;
    signal_all(&s->work);
    while (!s->finished && clock_ms() < until + CLOSE_MORE_MS)
        signal_wait_until(&s->left, &s->lock, until + CLOSE_MORE_MS);
    finished = s->finished;
    mutex_unlock(&s->lock);
    return finished;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (!stop_writer(s)) {
        log_error("store: %s does not answer; what waits is not written", s->directory);
        pthread_detach(s->thread);              /* the process ends; all that the writer sees stays until then */
        return;
    }
    pthread_join(s->thread, NULL);
    let_go(s);
    signal_done(&s->left);
    signal_done(&s->work);
    mutex_done(&s->lock);
    free(s->directory);
    free(s);
}

void store_status(struct store *s, struct store_status *ret)
{
    mutex_lock(&s->lock);
    *ret = s->status;
    ret->waiting = s->waiting + s->at_work;
    mutex_unlock(&s->lock);
}

void store_push(struct store *s, struct store_job *job)
{
    bool room, first_urgent;

    job->next = NULL;
    mutex_lock(&s->lock);
    first_urgent = !job->dispensable && !s->urgent;
    s->urgent |= !job->dispensable;
    room = s->waiting < (job->dispensable ? MOST_DISPENSABLE : MOST_WAITING);
    if (room) {
        *s->last = job;
        s->last = &job->next;
        s->waiting++;
    } else {
        s->status.dropped++;
        s->renew |= !job->dispensable;
    }
    if (s->waiting == 1 || s->waiting == BATCH || first_urgent || !s->status.good)
        signal_one(&s->work);
    mutex_unlock(&s->lock);
    if (!room)
        job->free(job);
}

void store_watch(struct store *s, struct store_watcher *w)
{
    mutex_lock(&s->lock);
    w->next = s->watchers;
    s->watchers = w;
    mutex_unlock(&s->lock);
}

/* Reading */

/* Lets the writer see to it. */
static void suspect(struct store *s)
{
    mutex_lock(&s->lock);
    s->suspect = true;
    signal_one(&s->work);
    mutex_unlock(&s->lock);
}

bool store_read(struct store *s, struct store_query *q, struct fault *why)
{
    bool frozen = false;
    int code = reading_do(s->directory, q, &frozen, why);

    if (file_broken(code) && !frozen)
        suspect(s);
    return code == SQLITE_DONE;
}
