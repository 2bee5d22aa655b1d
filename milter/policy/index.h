#ifndef DANELAW_POLICY_INDEX_H
#define DANELAW_POLICY_INDEX_H

#include "base/arena.h"
#include "policy/connector.h"

/* Connectors by a text; those of one text stay in the order in which they were added. Frozen after the last index_add. */
struct index_link {
    const struct connector *connector;
    const struct index_link *next;
};

struct index {
    struct index_slot *slots;
    size_t room, used;
};

/* key must live as long as the index; memory gives the links. */
void index_add(struct index *x, struct arena *memory, const char *key, const struct connector *c);
const struct index_link *index_find(const struct index *x, const char *key);        /* or NULL */
void index_done(struct index *x);

#endif
