#ifndef DANELAW_POLICY_INDEX_H
#define DANELAW_POLICY_INDEX_H

#include "policy/connector.h"

/*
 * Connectors by a text. One is put before those of the same text that are there already. Frozen after the last index_add.
 */
struct index_link {
    const char *key;
    const struct connector *connector;
    uint32_t next;                  /* its place, counted from 1; 0: the last of this text */
};

struct index {
    struct index_slot *slots;
    struct index_link *links;
    uint32_t room, used;            /* slots, and those that are taken */
    uint32_t count, links_room;
};

/* key must live as long as the index. */
void index_add(struct index *x, const char *key, const struct connector *c);
const struct index_link *index_find(const struct index *x, const char *key);        /* or NULL */
const struct index_link *index_next(const struct index *x, const struct index_link *link);  /* of the same text; or NULL */
void index_done(struct index *x);

/* A connector, and the one that takes its place. */
struct index_change {
    const struct connector *from, *to;
};

/* The same, but with changes, which are sorted by the address of from. Shares the keys. */
void index_vary(const struct index *x, const struct index_change *changes, size_t count, struct index *ret);
/* What takes c's place: c itself, or another. */
const struct connector *index_changed(const struct index_change *changes, size_t count, const struct connector *c);

#endif
