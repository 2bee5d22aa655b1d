#ifndef DANELAW_STORE_HOLD_TABLE_H
#define DANELAW_STORE_HOLD_TABLE_H

#include "policy/hold.h"

#include <stdatomic.h>
#include <stddef.h>

/*
 * The clocks by their keys, and in a list by their latest refusal. Inside the room; all is guarded by the lock of whoever has
 * it, but for `used`, which may be looked at any time.
 */
struct hold_entry {
    struct hold_entry *next;                /* in the bucket; elsewhere as the owner likes */
    struct hold_entry *older, *newer;
    uint64_t hash;
    struct hold hold;
    uint32_t patience;                      /* seconds */
    bool queued;                            /* the owner's */
    size_t length;
    char key[];
};

/* Whatever a clock is known by. The bytes are borrowed. */
struct hold_text {
    const char *bytes;
    size_t length;
    uint64_t hash;
};

struct hold_table {
    struct hold_entry **buckets;            /* by the top bits of the hash: a slice of hashes is a row of buckets */
    unsigned bits;                          /* 1 << bits buckets */
    size_t most, octets;                    /* entries; what they take */
    atomic_size_t used;
    struct hold_entry *oldest, *newest;
};

enum { HOLD_TABLE_SLICE_BITS = 8 };

void hold_table_init(struct hold_table *t, size_t most);
void hold_table_done(struct hold_table *t);

/* Where it stands, or would: *at is NULL then. */
struct hold_entry **hold_table_find(struct hold_table *t, const struct hold_text *key);
/* A new one, as the newest or the oldest of all. It was not there. */
struct hold_entry *hold_table_add(struct hold_table *t, const struct hold_text *key, bool newest);
/* Makes it the newest. */
void hold_table_touch(struct hold_table *t, struct hold_entry *e);
/* Gives what stands at `at`. */
struct hold_entry *hold_table_cut(struct hold_table *t, struct hold_entry **at);
/*
 * Gives one that has to go: past a ceiling the oldest, however it stands, else one that is over, of which *tidied counts how many
 * went at this turn. NULL: that was all. newcomer stays.
 */
struct hold_entry *hold_table_crowd_out(struct hold_table *t, const struct hold_entry *newcomer, int64_t now, unsigned *tidied);

/* The first bucket of a slice; that of the next one is its end. */
size_t hold_table_slice(const struct hold_table *t, unsigned slice);

#endif
