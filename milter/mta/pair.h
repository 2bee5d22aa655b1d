#ifndef DANELAW_MTA_PAIR_H
#define DANELAW_MTA_PAIR_H

#include "base/fault.h"
#include "base/text.h"

#include <stdint.h>

/*
 * A generated table: its text, and the index that an MTA reads while we write. Any thread, one process at a time (a lock on
 * the folder sees to that).
 */
struct pair {
    const char *folder, *name;          /* `/var/lib/danelaw/postfix`, `transport` */
    const char *suffix;                 /* of the index: `.db` */
    const struct text *text;
    const void *indexer;                /* for these two; they know the fresh text by its path */
    bool (*index)(const void *indexer, const char *path, struct fault *why);
    bool (*read_back)(const void *indexer, const char *path, struct fault *why);     /* whether it has all, and no more */
};

enum { PAIR_BYTES_MAX = 256 * 1024 * 1024 };

/*
 * Makes the pair current: writes `NAME.new`, indexes it, reads it back, fsyncs, renames index then text. Nothing is touched
 * if it is current; on any failure the old pair stays.
 */
bool pair_write(const struct pair *p, bool *ret_changed, struct fault *why);
/* Whether it is what pair_write() would make. false: it is not, or that can't be told; why says so. */
bool pair_current(const struct pair *p, struct fault *why);
/* What the pair's files look like from outside: another number once anybody has touched them. Costs next to nothing. false: it
   can't be told now, as without a free descriptor. */
bool pair_look(const char *folder, const char *name, uint64_t *ret);
/* Has the next pair_write() make it anew, whatever it looks like. */
void pair_distrust(const char *folder, const char *name);
/* Whether there is a text at all, current or not. */
bool pair_there(const char *folder, const char *name);

#endif
