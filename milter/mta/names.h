#ifndef DANELAW_MTA_NAMES_H
#define DANELAW_MTA_NAMES_H

#include "base/arena.h"
#include "mta/tables.h"

/* The MTA's own domains while they are gathered, as keys: `d`, `.d`. Zero is an empty list; texts live in an arena. */
struct names {
    const char **items;
    size_t count, room;
};

enum { NAMES_MAX = 1000000 };

void names_done(struct names *n);
void names_add(struct names *n, const char *name);
bool names_have(const struct names *n, const char *name);
/* A-labels where it is a domain name, else as it stands in lower case; NULL: nothing a wildcard could swallow. */
const char *names_canonical(const char *word, struct arena *memory);
/* Sorts them, each once. */
void names_sort(struct names *n);
/* As others take them, in memory. */
void names_give(const struct names *n, struct arena *memory, struct tables_own *ret);

#endif
