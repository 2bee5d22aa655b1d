#ifndef DANELAW_STORE_AUDIT_H
#define DANELAW_STORE_AUDIT_H

#include "store/store.h"

/*
 * Who changed what, and when: the administrators' acts, and what the daemon did about them. In the log at once, and in the
 * store, which keeps the newest AUDIT_MOST.
 */
enum { AUDIT_MOST = 10000, AUDIT_BY_SIZE = 160 };

struct audit_entry {
    int64_t id;                     /* grows; for reading */
    int64_t time;                   /* wall seconds; 0: now */
    const char *by;                 /* `root`, `root (alice)`, the daemon's user, `signal`, `danelawd` */
    const char *action;             /* `mode set`, `reload`, ... */
    const char *connector, *before, *after;     /* NULL: nothing of the kind */
};

/* Copies e. Any thread; never waits for the disk. s or NULL: then only the log has it. */
void audit_note(struct store *s, const struct audit_entry *e);

/* Whom entries are given to, each borrowed; false: enough. */
struct audit_reader {
    bool (*each)(struct audit_reader *self, const struct audit_entry *e);
};

/* Gives at most `most` entries, newest first, whose id is below `below` (0: all). false: not all could be read. Any thread. */
bool audit_read(struct store *s, int64_t below, size_t most, struct audit_reader *reader, struct fault *why);
/* The same from the file in a directory, as store_peek(). */
bool audit_peek(const char *directory, int64_t below, size_t most, struct audit_reader *reader, struct fault *why);

#endif
