#include "store/cache_table.h"

#include "base/memory.h"

#include <string.h>

enum { IDLE_TRIES = 32, ROOM_FIRST = 16 };

void cache_table_done(struct cache_table *t)
{
    struct cache_entry *e, *next;
    size_t i;

    for (i = 0; i < t->room; i++) {
        for (e = t->buckets[i]; e != NULL; e = next) {
            next = e->next;
            evidence_unref(e->found);
            free(e);
        }
    }
    free(t->buckets);
}

struct cache_entry *cache_table_find(const struct cache_table *t, const char *key, uint64_t hash)
{
    struct cache_entry *e;

    if (t->room == 0)
        return NULL;
    for (e = t->buckets[hash & (t->room - 1)]; e != NULL; e = e->next) {
        if (e->hash == hash && strcmp(e->key, key) == 0)
            return e;
    }
    return NULL;
}

static void grow(struct cache_table *t)
{
    size_t room = t->room == 0 ? ROOM_FIRST : t->room * 2, i;
    struct cache_entry **buckets = mem_array(room, sizeof(struct cache_entry *));
    struct cache_entry *e, *next;

    for (i = 0; i < t->room; i++) {
        for (e = t->buckets[i]; e != NULL; e = next) {
            next = e->next;
            e->next = buckets[e->hash & (room - 1)];
            buckets[e->hash & (room - 1)] = e;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->room = room;
}

struct cache_entry *cache_table_add(struct cache_table *t, const char *key, uint64_t hash)
{
    size_t length = strlen(key) + 1;
    struct cache_entry *e = mem_zero(sizeof(*e) + length);

    if (t->used >= t->room)
        grow(t);
    memcpy(e->key, key, length);
    e->hash = hash;
    e->next = t->buckets[hash & (t->room - 1)];
    t->buckets[hash & (t->room - 1)] = e;
    t->used++;
    return e;
}

void cache_table_drop(struct cache_table *t, struct cache_entry *e)
{
    struct cache_entry **at = &t->buckets[e->hash & (t->room - 1)];

    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    t->used--;
    free(e);
}

struct cache_entry *cache_table_idle(struct cache_table *t)
{
    struct cache_entry *any = NULL, *e;
    size_t tries;

    for (tries = 0; tries < t->room && (tries < IDLE_TRIES || any == NULL); tries++) {
        t->hand = (t->hand + 1) & (t->room - 1);
        for (e = t->buckets[t->hand]; e != NULL; e = e->next) {
            if (e->searching || e->pinned)
                continue;
            if (!e->wanted)
                return e;
            any = e;
        }
    }
    return any;
}

struct cache_entry *cache_table_fattest(const struct cache_table *t)
{
    struct cache_entry *fattest = NULL, *e;
    size_t i;

    for (i = 0; i < t->room; i++) {
        for (e = t->buckets[i]; e != NULL; e = e->next) {
            if (!e->searching && !e->pinned && (fattest == NULL || cache_entry_weight(e) > cache_entry_weight(fattest)))
                fattest = e;
        }
    }
    return fattest;
}

size_t cache_entry_weight(const struct cache_entry *e)
{
    return e->found == NULL ? 0 : sizeof(*e) + strlen(e->key) + e->found->octets;
}
