#ifndef DANELAW_STORE_POLICY_TABLE_H
#define DANELAW_STORE_POLICY_TABLE_H

#include "store/rows.h"

/* The policies by their domains. Inside the room; all is guarded by the lock of whoever has it. */
struct policy_entry {
    struct policy_entry *next;              /* in the bucket; elsewhere as the owner likes */
    uint64_t hash;
    struct row row;
    bool queued;                            /* the owner's */
    int64_t until_ms;                       /* the owner's: clock_ms() */
};

struct policy_table {
    struct policy_entry **buckets;
    size_t room, used, most;                /* buckets, entries, and how many of these may stay */
    uint64_t octets;                        /* what the entries take */
};

void policy_table_init(struct policy_table *t, size_t most);
void policy_table_done(struct policy_table *t);         /* frees the entries, too */

struct policy_entry *policy_entry_new(struct row row);  /* takes row */
void policy_entry_free(struct policy_entry *e);

/* Where it stands, or would: *at is NULL then. */
struct policy_entry **policy_table_find(const struct policy_table *t, const struct domain *domain);
/* Takes e, and gives the one that it replaces, or NULL. */
struct policy_entry *policy_table_place(struct policy_table *t, struct policy_entry *e);
/* Gives what stands at `at`. */
struct policy_entry *policy_table_cut(struct policy_table *t, struct policy_entry **at);
/* Gives one that must give way, or NULL: that was all. newcomer stays. */
struct policy_entry *policy_table_crowd_out(struct policy_table *t, const struct policy_entry *newcomer);

#endif
