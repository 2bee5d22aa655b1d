#include "store/hold_table.h"

#include "base/memory.h"

#include <string.h>

enum {
    OCTETS_EACH = 256,                      /* for each of `most`, on the average; most clocks have 150 */
    TIDY_AT_ONCE = 2,                       /* clocks that are over, let go with each refusal */
};

void hold_table_init(struct hold_table *t, size_t most)
{
    t->most = most;
    t->bits = HOLD_TABLE_SLICE_BITS;
    t->buckets = mem_array((size_t)1 << t->bits, sizeof(struct hold_entry *));
}

void hold_table_done(struct hold_table *t)
{
    struct hold_entry *e, *newer;

    for (e = t->oldest; e != NULL; e = newer) {
        newer = e->newer;
        free(e);
    }
    free(t->buckets);
}

static struct hold_entry **bucket_of(struct hold_table *t, uint64_t hash)
{
    return &t->buckets[hash >> (64 - t->bits)];
}

struct hold_entry **hold_table_find(struct hold_table *t, const struct hold_text *key)
{
    struct hold_entry **at = bucket_of(t, key->hash);

    while (*at != NULL && ((*at)->hash != key->hash || (*at)->length != key->length ||
                           memcmp((*at)->key, key->bytes, key->length) != 0))
        at = &(*at)->next;
    return at;
}

static void grow(struct hold_table *t)
{
    struct hold_entry *e, **at;

    free(t->buckets);
    t->buckets = mem_array((size_t)1 << ++t->bits, sizeof(struct hold_entry *));
    for (e = t->oldest; e != NULL; e = e->newer) {
        at = bucket_of(t, e->hash);
        e->next = *at;
        *at = e;
    }
}

static void link_newest(struct hold_table *t, struct hold_entry *e)
{
    e->older = t->newest;
    e->newer = NULL;
    *(t->newest == NULL ? &t->oldest : &t->newest->newer) = e;
    t->newest = e;
}

static void link_oldest(struct hold_table *t, struct hold_entry *e)
{
    e->newer = t->oldest;
    e->older = NULL;
    *(t->oldest == NULL ? &t->newest : &t->oldest->older) = e;
    t->oldest = e;
}

static void unlink_entry(struct hold_table *t, struct hold_entry *e)
{
    *(e->older == NULL ? &t->oldest : &e->older->newer) = e->newer;
    *(e->newer == NULL ? &t->newest : &e->newer->older) = e->older;
}

static size_t octets_of(const struct hold_entry *e)
{
    return sizeof(*e) + e->length;
}

struct hold_entry *hold_table_add(struct hold_table *t, const struct hold_text *key, bool newest)
{
    struct hold_entry *e = mem_zero(sizeof(*e) + key->length), **at;

    if (atomic_load(&t->used) >= (size_t)1 << t->bits)
        grow(t);
    e->hash = key->hash;
    e->length = key->length;
    memcpy(e->key, key->bytes, key->length);
    at = bucket_of(t, e->hash);
    e->next = *at;
    *at = e;
    if (newest)
        link_newest(t, e);
    else
        link_oldest(t, e);
    t->octets += octets_of(e);
    atomic_fetch_add(&t->used, 1);
    return e;
}

void hold_table_touch(struct hold_table *t, struct hold_entry *e)
{
    unlink_entry(t, e);
    link_newest(t, e);
}

struct hold_entry *hold_table_cut(struct hold_table *t, struct hold_entry **at)
{
    struct hold_entry *e = *at;

    *at = e->next;
    unlink_entry(t, e);
    t->octets -= octets_of(e);
    atomic_fetch_sub(&t->used, 1);
    return e;
}

struct hold_entry *hold_table_crowd_out(struct hold_table *t, const struct hold_entry *newcomer, int64_t now, unsigned *tidied)
{
    bool full = atomic_load(&t->used) > t->most || t->octets > t->most * OCTETS_EACH;
    struct hold_entry *e = t->oldest, **at;

    if (e == NULL || e == newcomer)
        return NULL;
    if (!full && (*tidied == TIDY_AT_ONCE || !hold_is_over(&e->hold, e->patience, now)))
        return NULL;
    *tidied += !full;
    for (at = bucket_of(t, e->hash); *at != e; at = &(*at)->next)
        ;
    return hold_table_cut(t, at);
}

size_t hold_table_slice(const struct hold_table *t, unsigned slice)
{
    return (size_t)slice << (t->bits - HOLD_TABLE_SLICE_BITS);
}
