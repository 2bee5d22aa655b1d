/*
 * Open addressing. A slot is small, so that a search through several of them stays within a line of the processor's cache, and
 * the table may be rather full; it only leads to a link. At a hundred thousand connectors what matters is how little each takes.
 */
#include "policy/index.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

enum { ROOM_FIRST = 16 };

struct index_slot {
    uint32_t hash;                  /* the upper half */
    uint32_t first;                 /* the place of a link, counted from 1; 0: free */
};

/* Where the key is, or would be. */
static struct index_slot *seek(const struct index *x, const char *key, uint64_t hash)
{
    uint32_t at = (uint32_t)hash & (x->room - 1), upper = (uint32_t)(hash >> 32);
    struct index_slot *slot = &x->slots[at];

    while (slot->first != 0 && (slot->hash != upper || strcmp(x->links[slot->first - 1].key, key) != 0)) {
        at = (at + 1) & (x->room - 1);
        slot = &x->slots[at];
    }
    return slot;
}

/* Four fifths full at most. */
static void grow(struct index *x)
{
    struct index old = *x;
    uint32_t i;

    x->room = old.room == 0 ? ROOM_FIRST : old.room * 2;
    x->slots = mem_array(x->room, sizeof(*x->slots));
    for (i = 0; i < old.room; i++) {
        const char *key;

        if (old.slots[i].first == 0)
            continue;
        key = x->links[old.slots[i].first - 1].key;
        *seek(x, key, hash_text(key)) = old.slots[i];
    }
    free(old.slots);
}

static uint32_t add_link(struct index *x, const char *key, uint32_t place, uint32_t next)
{
    if (x->count == x->links_room) {
        x->links_room = x->links_room == 0 ? ROOM_FIRST : x->links_room * 2;
        x->links = mem_grow(x->links, x->links_room, sizeof(*x->links));
    }
    x->links[x->count++] = (struct index_link){ .key = key, .place = place, .next = next };
    return x->count;
}

void index_add(struct index *x, const char *key, uint32_t place)
{
    uint64_t hash = hash_text(key);
    struct index_slot *slot;

    if (x->used >= x->room / 5 * 4)
        grow(x);
    slot = seek(x, key, hash);
    x->used += slot->first == 0;
    slot->hash = (uint32_t)(hash >> 32);
    slot->first = add_link(x, key, place, slot->first);
}

const struct index_link *index_find(const struct index *x, const char *key)
{
    uint32_t first = x->room == 0 ? 0 : seek(x, key, hash_text(key))->first;

    return first == 0 ? NULL : &x->links[first - 1];
}

const struct index_link *index_next(const struct index *x, const struct index_link *link)
{
    return link->next == 0 ? NULL : &x->links[link->next - 1];
}

void index_done(struct index *x)
{
    free(x->slots);
    free(x->links);
    *x = (struct index){ 0 };
}
