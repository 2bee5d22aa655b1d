#ifndef DANELAW_STORE_WRITER_H
#define DANELAW_STORE_WRITER_H

#include "base/fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

/* The store's connection for writing, and what jobs do with it. Writer's thread only. */
enum { WRITER_STATEMENTS = 48 };

struct writer {
    sqlite3 *db;                        /* NULL: there is no file now */
    struct {
        const char *sql;
        sqlite3_stmt *statement;
    } ready[WRITER_STATEMENTS];
    size_t ready_count;
    uint64_t change;                    /* never 0; another one: what is known of the file from earlier jobs may be wrong */
    int64_t version;                    /* of what others wrote */
    int code;                           /* why something failed */
    struct fault why;
};

/* sql lives as long as the store (a literal): it is prepared once, and found by its address. Borrowed; NULL: it can't be. */
sqlite3_stmt *writer_prepare(struct writer *w, const char *sql);
/* One step of a statement that gives no rows; then it can be bound anew. */
bool writer_step(struct writer *w, sqlite3_stmt *statement);
/* One step of a statement that gives rows; *ret_row: there is one, and the statement is to be reset before it is used again. */
bool writer_next(struct writer *w, sqlite3_stmt *statement, bool *ret_row);

/* The rest is for the store alone. */
bool writer_open(struct writer *w, const char *directory);
void writer_close(struct writer *w, bool broken);   /* broken: the file is not to be touched again */
bool writer_say(struct writer *w, const char *sql);
bool writer_begin(struct writer *w);                /* a transaction */
void writer_undo(struct writer *w);                 /* ends a transaction, if there is one */

#endif
