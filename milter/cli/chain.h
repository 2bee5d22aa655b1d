#ifndef DANELAW_CLI_CHAIN_H
#define DANELAW_CLI_CHAIN_H

#include "lookup/lookup.h"

#include <stddef.h>

enum { CHAIN_ZONES_MAX = 64 };

/* A link of a chain of trust. */
struct zone {
    char name[256];                     /* "." for the root */
    enum dns_trust state;
    char why[320];                      /* secure: empty */
};

/* The zones above some names, from the root down; each once. */
struct chain {
    size_t count;
    struct zone zones[CHAIN_ZONES_MAX];
};

/* The questions about one name and its parents, on their way. */
struct climb;

/* Asks about all of them at once; name must live as long as the climb. */
struct climb *chain_climb(struct lookup *lookup, const struct domain *name);
/* Adds the zones that the climb's name lies in, up to the first link that is not secure. Waits for the resolver. */
void chain_add(struct chain *chain, struct climb *climb);
void climb_free(struct climb *climb);   /* waits; NULL is welcome */
/* The first zone that contains name and is not secure, or NULL. */
const struct zone *chain_broken(const struct chain *chain, const char *name);

#endif
