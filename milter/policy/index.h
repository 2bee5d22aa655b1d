#ifndef DANELAW_POLICY_INDEX_H
#define DANELAW_POLICY_INDEX_H

#include <stddef.h>
#include <stdint.h>

/*
 * Connectors by a text: their places in a ruleset, so that rulesets that differ in what stands there share it. One is put
 * before those of the same text that are there already. Frozen after the last index_add.
 */
struct index_link {
    const char *key;
    uint32_t place;
    uint32_t next;                  /* the link after it, counted from 1; 0: none of this text */
};

struct index {
    struct index_slot *slots;
    struct index_link *links;
    uint32_t room, used;            /* slots, and those that are taken */
    uint32_t count, links_room;
};

/* key must live as long as the index. */
void index_add(struct index *x, const char *key, uint32_t place);
const struct index_link *index_find(const struct index *x, const char *key);        /* or NULL */
const struct index_link *index_next(const struct index *x, const struct index_link *link);  /* of the same text; or NULL */
void index_done(struct index *x);

#endif
