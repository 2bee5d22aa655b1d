/*
 * Invariants:
 *  1. A row's key is its time in microseconds, made unique, so that the table lies in the order of time: --since and letting
 *     old rows go are ranges of it.
 *  2. Every row that was noted is written or dropped once, as its job's free finds it: noted = written + dropped + waiting.
 *  3. Old rows go BITE at a time, so that nobody waits long behind them. Their pages are used again; the
 *     file doesn't shrink.
 *  4. How many rows there are is known (trace_blocks.c), so that nobody counts them. It is looked at each minute, and by the
 *     writer each LOOK_AFTER rows: there are never many more than the site wants.
 *  5. The disk's last RESERVE is for policies, holds and overrides: while less is left no row is written. Pages that are
 *     unused inside the file count, and where these don't help the oldest rows go until there is twice as much, so that a
 *     disk which our own file has filled is traced on.
 */
#include "store/trace.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "store/trace_blocks.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum {
    BITE = 1000,                            /* rows that go at once */
    LOOK_AFTER = BITE / 4,                  /* rows that are written before somebody looks how many there are */
    COVER = 4,                              /* blocks that are made at once of rows without one */
    TEXT_MOST = 2048,                       /* octets of one column */
    TRIES = 1000,                           /* keys that are tried for a row */
    NEAR_US = 1000 * 1000,                  /* rows that close follow each other, whatever order their times have */
    MEASURE_MS = 1000,
    RESERVE = 32 * 1024 * 1024,             /* octets, but no more than a RESERVE_PART of the disk */
    RESERVE_PART = 8,
};

static const int64_t day_ms = 24 * 60 * 60 * 1000;

struct trace {
    struct store *store;
    uint64_t days, most;                    /* frozen */
    atomic_uint users;                      /* its owner, and every job */
    atomic_bool closing, tending;           /* tending: there is a tend_job */
    atomic_bool tight;                      /* no row may be written; the writer's to set */
    atomic_ullong noted, written, dropped;
    /* writer's thread only */
    int64_t last_at;
    int64_t measure_at;                     /* clock_ms() */
    unsigned unlooked;                      /* rows written since the last look at how many there are */
    struct trace_blocks blocks;
    bool hungry;                            /* old rows have to go */
};

static void unref(struct trace *t)
{
    if (atomic_fetch_sub_explicit(&t->users, 1, memory_order_acq_rel) == 1)
        free(t);
}

/* Room on the disk; on the writer's thread */

/* The first column of the only row; 0 where there is none. */
static int64_t ask_number(struct writer *w, const char *sql)
{
    sqlite3_stmt *statement = writer_prepare(w, sql);
    int64_t number = 0;

    if (statement == NULL)
        return 0;
    if (sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return number;
}

static void say_room(struct trace *t, bool tight, uint64_t reserve)
{
    bool was = atomic_exchange(&t->tight, tight);

    if (tight && !was)
        log_warning("trace: the disk of the store is nearly full; the last %" PRIu64 " KB are kept for what matters more, and "
                    "decisions are not traced until there is room", reserve / 1024);
    else if (!tight && was)
        log_warning("trace: there is room on the disk of the store again; decisions are traced");
}

static void measure(struct trace *t, struct writer *w)
{
    const char *path = sqlite3_db_filename(w->db, "main");
    uint64_t page = (uint64_t)ask_number(w, "PRAGMA page_size"), reserve, left, room, owed;
    struct statvfs disk;
    struct stat file;

    t->measure_at = clock_ms() + MEASURE_MS;
    if (path == NULL || statvfs(path, &disk) != 0 || stat(path, &file) != 0)
        return;
    reserve = (uint64_t)disk.f_blocks * disk.f_frsize / RESERVE_PART;
    if (reserve > RESERVE)
        reserve = RESERVE;
    left = (uint64_t)disk.f_bavail * disk.f_frsize;
    owed = (uint64_t)ask_number(w, "PRAGMA page_count") * page;         /* what waits in the log makes the file larger */
    owed -= owed < (uint64_t)file.st_size ? owed : (uint64_t)file.st_size;
    left -= owed < left ? owed : left;
    room = left + (uint64_t)ask_number(w, "PRAGMA freelist_count") * page;
    t->hungry = room < (t->hungry ? 2 * reserve : reserve);
    say_room(t, room < reserve || left < reserve / 2, reserve);         /* the file's log needs some of what is left, too */
}

static bool has_room(struct trace *t, struct writer *w)
{
    if (clock_ms() >= t->measure_at) {
        measure(t, w);
        if (t->hungry)
            trace_tend(t, clock_wall_ms());
    }
    return !atomic_load(&t->tight);
}

/* Rows */

struct row_job {
    struct store_job job;
    struct trace *trace;
    struct trace_row row;                   /* its texts lie in text */
    struct trace_keys keys;                 /* the same, and the domain */
    bool given_up;                          /* run, but not written */
    char text[];
};

static const size_t texts[] = {
    offsetof(struct trace_row, where), offsetof(struct trace_row, queue_id),  offsetof(struct trace_row, from),
    offsetof(struct trace_row, to),    offsetof(struct trace_row, connector), offsetof(struct trace_row, dane),
    offsetof(struct trace_row, sts),   offsetof(struct trace_row, verdict),   offsetof(struct trace_row, reason),
    offsetof(struct trace_row, route), offsetof(struct trace_row, policy),
};

static const char **text_at(struct trace_row *row, size_t i)
{
    return (const char **)(void *)((char *)row + texts[i]);
}

static char *put(char **at, const char *text, size_t length)
{
    char *start = *at;

    memcpy(start, text, length);
    start[length] = '\0';
    *at += length + 1;
    return start;
}

/* Gives a job with a copy of row. */
static struct row_job *row_job_new(const struct trace_row *row)
{
    struct trace_row copy = *row;
    size_t lengths[COUNT_OF(texts)] = { 0 }, size, i;
    struct row_job *job;
    char *at;

    size = 1 + (row->to == NULL ? 0 : strnlen(row->to, TEXT_MOST));     /* for the domain, which is no longer than that */
    for (i = 0; i < COUNT_OF(texts); i++) {
        if (*text_at(&copy, i) != NULL)
            lengths[i] = strnlen(*text_at(&copy, i), TEXT_MOST);
        size += lengths[i] + 1;
    }
    job = mem_zero(sizeof(*job) + size);
    at = job->text;
    for (i = 0; i < COUNT_OF(texts); i++) {
        if (*text_at(&copy, i) != NULL)
            *text_at(&copy, i) = put(&at, *text_at(&copy, i), lengths[i]);
    }
    job->row = copy;
    job->keys = (struct trace_keys){ { copy.queue_id, copy.to, NULL, copy.connector, copy.verdict } };
    if (copy.to != NULL && trace_marks_domain(copy.to, at) > 0)
        job->keys.of[TRACE_DOMAIN] = at;
    return job;
}

static void bind_row(sqlite3_stmt *statement, struct row_job *job, int64_t at)
{
    size_t i;

    sqlite3_bind_int64(statement, 1, at);
    for (i = 0; i < COUNT_OF(texts); i++)
        sqlite3_bind_text(statement, (int)i + 2, *text_at(&job->row, i), -1, SQLITE_STATIC);    /* NULL for NULL */
    sqlite3_bind_text(statement, COUNT_OF(texts) + 2, job->keys.of[TRACE_DOMAIN], -1, SQLITE_STATIC);
    sqlite3_bind_int(statement, COUNT_OF(texts) + 3, job->row.shadow);
    sqlite3_bind_int64(statement, COUNT_OF(texts) + 4, job->row.took_ms);
}

/* What was decided at about the same time lies in the order in which it came. */
static int64_t key_for(struct trace *t, int64_t at_ms)
{
    int64_t at = at_ms * 1000;

    if (at <= t->last_at && t->last_at - at < NEAR_US)
        at = t->last_at + 1;
    return at;
}

/* How many rows are there that should not be. */
static int64_t excess_of(const struct trace *t)
{
    return trace_blocks_rows(&t->blocks) - (int64_t)t->most;
}

/* Another row is there: what is too many goes faster than it can come, however long the queue is. */
static bool keep_down(struct trace *t, struct writer *w)
{
    int64_t excess;
    bool more;

    if (++t->unlooked < LOOK_AFTER)
        return true;
    t->unlooked = 0;
    excess = excess_of(t);
    return excess <= 0 ||
           trace_blocks_trim(&t->blocks, w, INT64_MAX, excess < 2 * LOOK_AFTER ? excess : 2 * LOOK_AFTER, &more);
}

static bool run_row(struct store_job *self, struct writer *w)
{
    struct row_job *job = (struct row_job *)self;
    struct trace *t = job->trace;
    int64_t at = key_for(t, job->row.at), end = at + TRIES;
    sqlite3_stmt *statement;

    job->given_up = !has_room(t, w);
    if (job->given_up)
        return true;
    if (!trace_blocks_look(&t->blocks, w))
        return false;
    statement = writer_prepare(w, "INSERT OR IGNORE INTO trace (at, place, queue_id, sender, recipient, connector, dane, sts, "
                                  "verdict, reason, route, policy, domain, shadow, took_ms) "
                                  "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)");
    if (statement == NULL)
        return false;
    for (; at < end; at++) {
        bind_row(statement, job, at);
        if (!writer_step(w, statement))
            return false;
        if (sqlite3_changes(w->db) > 0)
            break;                          /* else another row has that time */
    }
    job->given_up = at == end;
    if (job->given_up)
        return true;
    t->last_at = at;
    return trace_blocks_add(&t->blocks, w, at, &job->keys) && keep_down(t, w);
}

static void free_row(struct store_job *self)
{
    struct row_job *job = (struct row_job *)self;
    struct trace *t = job->trace;

    atomic_fetch_add_explicit(self->written && !job->given_up ? &t->written : &t->dropped, 1, memory_order_relaxed);
    unref(t);
    free(job);
}

void trace_note(struct trace *t, const struct trace_row *row)
{
    struct row_job *job;

    if (t->days == 0)
        return;
    job = row_job_new(row);
    job->job = (struct store_job){ .run = run_row, .free = free_row, .dispensable = true };
    job->trace = t;
    atomic_fetch_add_explicit(&t->users, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->noted, 1, memory_order_relaxed);
    store_push(t->store, &job->job);
}

/* Letting rows go */

struct tend_job {
    struct store_job job;
    struct trace *trace;
    int64_t horizon;                        /* microseconds; what is older goes */
    bool more;                              /* there may be more to do */
};

static bool cover(struct trace *t, struct writer *w, bool *ret_more)
{
    int i;

    *ret_more = !atomic_load(&t->tight);
    for (i = 0; i < COVER && *ret_more; i++) {
        if (!trace_blocks_cover(w, ret_more))
            return false;
    }
    return true;
}

static bool run_tend(struct store_job *self, struct writer *w)
{
    struct tend_job *job = (struct tend_job *)self;
    struct trace *t = job->trace;
    int64_t excess;

    if (!trace_blocks_look(&t->blocks, w) || !trace_blocks_trim(&t->blocks, w, job->horizon, BITE, &job->more))
        return false;
    if (job->more)
        return true;
    excess = excess_of(t);
    measure(t, w);
    if (t->hungry || excess > BITE)
        excess = BITE;
    return excess > 0 ? trace_blocks_trim(&t->blocks, w, INT64_MAX, excess, &job->more) : cover(t, w, &job->more);
}

static void push_tend(struct trace *t, int64_t horizon);

static void free_tend(struct store_job *self)
{
    struct tend_job *job = (struct tend_job *)self;

    if (self->written && job->more && !atomic_load(&job->trace->closing))
        push_tend(job->trace, job->horizon);
    else
        atomic_store(&job->trace->tending, false);
    unref(job->trace);
    free(job);
}

static void push_tend(struct trace *t, int64_t horizon)
{
    struct tend_job *job = mem_zero(sizeof(*job));

    job->job = (struct store_job){ .run = run_tend, .free = free_tend, .dispensable = true };
    job->trace = t;
    job->horizon = horizon;
    atomic_fetch_add_explicit(&t->users, 1, memory_order_relaxed);
    store_push(t->store, &job->job);
}

void trace_tend(struct trace *t, int64_t now_ms)
{
    if (!atomic_exchange(&t->tending, true))
        push_tend(t, t->days == 0 ? INT64_MAX : (now_ms - (int64_t)t->days * day_ms) * 1000);
}

/* The face */

struct trace *trace_open(struct store *store, uint64_t days, uint64_t most)
{
    struct trace *t = mem_zero(sizeof(*t));

    t->store = store;
    t->days = days;
    t->most = most;
    atomic_init(&t->users, 1);
    trace_tend(t, clock_wall_ms());
    return t;
}

void trace_close(struct trace *t)
{
    if (t == NULL)
        return;
    atomic_store(&t->closing, true);
    unref(t);
}

void trace_status(struct trace *t, struct trace_status *ret)
{
    uint64_t written = atomic_load(&t->written), dropped = atomic_load(&t->dropped), noted = atomic_load(&t->noted);

    *ret = (struct trace_status){ .written = written, .dropped = dropped, .paused = atomic_load(&t->tight),
                                  .waiting = noted > written + dropped ? (size_t)(noted - written - dropped) : 0 };
}
