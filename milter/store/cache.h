#ifndef DANELAW_STORE_CACHE_H
#define DANELAW_STORE_CACHE_H

#include "base/domain.h"
#include "policy/evidence.h"

/*
 * Evidence by next hop. One search at a time for each, however many ask. Any thread; all times are clock_ms().
 */
struct cache;

enum seat {
    SEAT_FIRST,         /* nobody searches yet: the caller must start one, and land it */
    SEAT_JOINED,        /* somebody searches */
    SEAT_SERVED,        /* fresh evidence was there */
    SEAT_REFUSED,       /* no room for another destination, and none can be let go */
};

/* Called once with the evidence that landed (borrowed), with no lock held, on the thread that lands it. */
struct waiter {
    void (*wake)(struct waiter *self, struct evidence *found);
    struct waiter *next;
};

/* At most `entries` at a time, that take at most `octets` with their evidence, and those that are pinned; one that nobody asked
 * for lately makes room for a new one. */
struct cache *cache_new(size_t entries, size_t octets);
void cache_free(struct cache *m);           /* all searches must have landed; NULL is welcome */

/* w, where not NULL, waits with the search unless the seat is SERVED or REFUSED. SERVED gives a reference in *ret_found. */
enum seat cache_join(struct cache *m, const struct next_hop *hop, struct waiter *w, int64_t now, struct evidence **ret_found);
/* Stops waiting. false: too late, the wake-up is under way or done. */
bool cache_leave(struct cache *m, const struct next_hop *hop, struct waiter *w);
/*
 * Ends a search: takes found and wakes all waiters. A search that failed does not replace evidence that is still fresh;
 * no decision rests on evidence past its fresh_until.
 */
void cache_land(struct cache *m, const struct next_hop *hop, struct evidence *found, int64_t now);

/* From now on what lies there counts as stale, until the next search has landed. */
void cache_doubt(struct cache *m, const struct next_hop *hop);

/* What lies there, fresh or not: a reference, or NULL. since: wall seconds of the last change of state. */
struct evidence *cache_peek(struct cache *m, const struct next_hop *hop, int64_t *ret_since);

/* Keeps a destination warm from now on. After a reload: cache_unpin_all(), then pin anew. */
void cache_unpin_all(struct cache *m);
void cache_pin(struct cache *m, const struct next_hop *hop);
/*
 * A slice of the table: writes next hops that were asked for lately, or are pinned, and need a search now. Each is
 * marked as searching: the caller must land them. Called every second, the whole table passes by in a few seconds.
 */
size_t cache_due(struct cache *m, int64_t now, struct next_hop *ret, size_t room);

/* Something that lies there. */
struct cached {
    const char *next_hop;               /* as next_hop_print() spells it */
    struct evidence *found;             /* fresh or not */
    int64_t since;                      /* as cache_peek() has it */
};

/* A part of the table as it stood when it was read. */
struct cache_slice {
    struct arena *memory;
    struct cached *items;
    size_t count;
};

enum { CACHE_SLICES = 64 };

/*
 * Slice `slice` of CACHE_SLICES; all of them are the whole table. host: only next hops of that name, however they are
 * spelled; or NULL. cache_slice_done() ends the slice's life.
 */
void cache_read(struct cache *m, unsigned slice, const char *host, struct cache_slice *ret);
void cache_slice_done(struct cache_slice *s);
/* Forgets what is known of host's next hops, or of all (NULL): the next question starts a search. Returns how many it was. */
size_t cache_forget(struct cache *m, const char *host);
void cache_count(struct cache *m, size_t *ret_entries, size_t *ret_searching);

/* How many entries lie there by their last known state, fresh or not; those that never had one are left out. */
struct cache_states {
    size_t dane[DANE_USABLE + 1], sts[STS_ENFORCE + 1];
};

void cache_states(struct cache *m, struct cache_states *ret);

#endif
