#include "policy/index.h"

#include "base/hash.h"
#include "base/memory.h"

#include <stdint.h>
#include <string.h>

struct index_slot {
    struct index_link *first;       /* NULL: free */
    uint64_t hash;
};

/* Where the key is, or would be. */
static struct index_slot *seek(const struct index *x, const char *key, uint64_t hash)
{
    size_t at = (size_t)hash & (x->room - 1);

    while (x->slots[at].first != NULL && (x->slots[at].hash != hash || strcmp(x->slots[at].first->key, key) != 0))
        at = (at + 1) & (x->room - 1);
    return &x->slots[at];
}

static void grow(struct index *x)
{
    struct index old = *x;
    size_t i;

    x->room = old.room == 0 ? 16 : old.room * 2;
    x->slots = mem_array(x->room, sizeof(*x->slots));
    for (i = 0; i < old.room; i++) {
        if (old.slots[i].first != NULL)
            *seek(x, old.slots[i].first->key, old.slots[i].hash) = old.slots[i];
    }
    free(old.slots);
}

/* Adds a connector to those of a slot. */
static void append(struct index_slot *slot, struct arena *memory, const char *key, const struct connector *c)
{
    struct index_link *link = arena_take(memory, sizeof(*link));

    link->connector = c;
    if (slot->first == NULL) {
        link->key = key;
        slot->first = link;
    } else {
        slot->first->last->next = link;
    }
    slot->first->last = link;
}

void index_add(struct index *x, struct arena *memory, const char *key, const struct connector *c)
{
    struct index_slot *slot;
    uint64_t hash = hash_text(key);

    if (x->used * 3 >= x->room * 2)
        grow(x);
    slot = seek(x, key, hash);
    if (slot->first == NULL) {
        slot->hash = hash;
        x->used++;
    }
    append(slot, memory, key, c);
}

const struct index_link *index_find(const struct index *x, const char *key)
{
    return x->room == 0 ? NULL : seek(x, key, hash_text(key))->first;
}

const struct connector *index_changed(const struct index_change *changes, size_t count, const struct connector *c)
{
    size_t low = 0, high = count, middle;

    while (low < high) {
        middle = low + (high - low) / 2;
        if (changes[middle].from == c)
            return changes[middle].to;
        if ((uintptr_t)changes[middle].from < (uintptr_t)c)
            low = middle + 1;
        else
            high = middle;
    }
    return c;
}

void index_vary(const struct index *x, struct arena *memory, const struct index_change *changes, size_t count,
                struct index *ret)
{
    const struct index_link *from;
    size_t i;

    *ret = (struct index){ .room = x->room, .used = x->used };
    if (x->room == 0)
        return;
    ret->slots = mem_array(x->room, sizeof(*ret->slots));
    for (i = 0; i < x->room; i++) {
        ret->slots[i].hash = x->slots[i].hash;
        for (from = x->slots[i].first; from != NULL; from = from->next)
            append(&ret->slots[i], memory, x->slots[i].first->key, index_changed(changes, count, from->connector));
    }
}

void index_done(struct index *x)
{
    free(x->slots);
    *x = (struct index){ 0 };
}
