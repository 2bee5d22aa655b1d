#ifndef DANELAW_STORE_STORE_H
#define DANELAW_STORE_STORE_H

#include "base/fault.h"
#include "base/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What must outlive the process: one SQLite file, `danelaw.db` in store.directory, with one writer thread. Nobody waits
 * for it: writing is a job that is queued, reading goes past the writer. Where the file can't be used, the store says so
 * once, keeps what must be kept and tries again now and then; all else runs on from memory.
 */
struct store;
struct writer;
struct sqlite3;
struct sqlite3_stmt;

/* Something to write. The store takes it, and calls free exactly once, also where run was never called. */
struct store_job {
    /* Binds and steps statements of w (store/writer.h) on the writer's thread, in a transaction with other jobs; false: w
       knows why. Called again after a batch that failed, unless the job is dispensable. */
    bool (*run)(struct store_job *self, struct writer *w);
    void (*free)(struct store_job *self);
    bool dispensable;                   /* dropped (and counted) where it can't be written at once */
    bool written;                       /* by the store, before free: it is in the file */
    struct store_job *next;             /* the store's own */
};

/* Someone who remembers: called on the writer's thread when the file is another one, or jobs were lost, so that all must
   be written anew; a job is the way to do so. gone: the store closes. Neither is called under a lock. */
struct store_watcher {
    void (*renewed)(struct store_watcher *self);
    void (*gone)(struct store_watcher *self);
    struct store_watcher *next;         /* the store's own */
};

/* Something to read: by one statement, or by what `walk` does, which gives SQLite's word: SQLITE_DONE, or why not. */
struct store_query {
    int (*walk)(struct store_query *self, struct sqlite3 *db);                  /* or NULL */
    const char *sql;
    void (*bind)(struct store_query *self, struct sqlite3_stmt *statement);     /* or NULL */
    bool (*row)(struct store_query *self, struct sqlite3_stmt *statement);      /* false: enough */
};

struct store_status {
    bool good;
    struct fault why;                   /* where not good */
    int64_t since;                      /* wall seconds of the last change between good and not good */
    uint64_t written, dropped;          /* jobs since the start */
    size_t waiting;
};

/* As the user whom the file is to belong to, and past the last fork. Never fails: without a usable file it runs without.
   Gives a store. */
struct store *store_open(const struct settings *set);
/* Writes what waits, for 2 s at most. Who pushes, reads or watches has stopped doing so. NULL is welcome. */
void store_close(struct store *s);
void store_status(struct store *s, struct store_status *ret);       /* any thread */

/* Takes job. Any thread; never waits for the disk. */
void store_push(struct store *s, struct store_job *job);
/* From now on, until w->gone. Any thread. */
void store_watch(struct store *s, struct store_watcher *w);
/* On the caller's thread, on a connection of its own, which never waits for the writer. Also reads a file that can't be
   written. false: nothing could be read, or not all of it. */
bool store_read(struct store *s, struct store_query *q, struct fault *why);
/* The same without a store: from the file below a directory, beside whatever daemon may be writing it. */
bool store_peek(const char *directory, struct store_query *q, struct fault *why);

#endif
