#ifndef DANELAW_POLICY_INDEX_H
#define DANELAW_POLICY_INDEX_H

#include "base/arena.h"
#include "policy/connector.h"

/* Connectors by a text; those of one text stay in the order in which they were added. Frozen after the last index_add. */
struct index_link {
    const struct connector *connector;
    const struct index_link *next;
    const char *key;                /* these two are the index's own, in the first link of a text */
    struct index_link *last;
};

struct index {
    struct index_slot *slots;
    size_t room, used;
};

/* key must live as long as the index; memory gives the links. */
void index_add(struct index *x, struct arena *memory, const char *key, const struct connector *c);
const struct index_link *index_find(const struct index *x, const char *key);        /* or NULL */
void index_done(struct index *x);

/* A connector, and the one that takes its place. */
struct index_change {
    const struct connector *from, *to;
};

/* The same, but with changes, which are sorted by the address of from. Shares the keys; memory gives the links. */
void index_vary(const struct index *x, struct arena *memory, const struct index_change *changes, size_t count,
                struct index *ret);
/* What takes c's place: c itself, or another. */
const struct connector *index_changed(const struct index_change *changes, size_t count, const struct connector *c);

#endif
