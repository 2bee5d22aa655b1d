#ifndef DANELAW_STORE_CACHE_TABLE_H
#define DANELAW_STORE_CACHE_TABLE_H

#include "store/cache.h"

/* A part of the cache, by the hops' names. Inside the room; all is guarded by the lock of whoever has it. */
struct cache_entry {
    struct cache_entry *next;
    struct evidence *found;         /* NULL until the first landing */
    struct waiter *waiters;
    uint64_t hash;
    int64_t refresh_at;             /* when to search ahead of expiry */
    int64_t since;                  /* wall seconds of the last change of state */
    bool searching, wanted, pinned; /* wanted: asked for since the last landing */
    bool doubted;                   /* counts as stale until the next landing */
    bool ahead;                     /* the search under way is cache_due()'s, not an asker's */
    char key[];
};

struct cache_table {
    struct cache_entry **buckets;
    size_t room, used;                  /* buckets, entries */
    size_t hand;                        /* where cache_table_idle() looks next */
};

void cache_table_done(struct cache_table *t);

struct cache_entry *cache_table_find(const struct cache_table *t, const char *key, uint64_t hash);      /* or NULL */
/* One that was not there. */
struct cache_entry *cache_table_add(struct cache_table *t, const char *key, uint64_t hash);
/* Frees e, which has no evidence. */
void cache_table_drop(struct cache_table *t, struct cache_entry *e);

/* One that nobody asked for since it was filled in, else any that is idle, that is neither searching nor pinned; or NULL. */
struct cache_entry *cache_table_idle(struct cache_table *t);
/* The idle one whose evidence takes most; or NULL. */
struct cache_entry *cache_table_fattest(const struct cache_table *t);
/* Octets that it takes with what was found; 0 where nothing was. */
size_t cache_entry_weight(const struct cache_entry *e);

#endif
