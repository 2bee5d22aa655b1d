#ifndef DANELAW_MTA_RENDER_H
#define DANELAW_MTA_RENDER_H

#include "base/arena.h"
#include "mta/tables.h"
#include "policy/roads.h"

/* A line of the transport table. */
struct sheet_line {
    const char *key, *value;
    const char *folded;             /* the key as Postfix compares it */
    int strictness;                 /* of its road, where two spellings fall together */
};

/* The transport table before it is written: each key once, sorted by key. One thread. */
struct sheet {
    struct arena *memory;
    struct sheet_line *lines;
    size_t count, room;
    const char *own;                /* what it says of the MTA's own domains */
    bool verbatim;                  /* the MTA compares keys as they are, not folded by Unicode's rules */
    bool extensions;                /* the MTA takes user@d's line for user+extension@d, too */
    const char *tightened;          /* a user@d that has its domain's stricter road for that reason, or NULL */
};

void sheet_init(struct sheet *s);
void sheet_done(struct sheet *s);
void sheet_add_connectors(struct sheet *s, const struct ruleset *rules);
void sheet_add_own(struct sheet *s, const struct tables_own *own);
/* One pattern's lines in all spellings of its domain; sheet_settle() once all are there. value lives as long as the sheet. */
void sheet_add(struct sheet *s, const struct pattern *p, const char *value, int strictness);
/* A sheet for lines that are added while the other one is looked into, and its end: they become the other's, settled. */
struct sheet sheet_beside(const struct sheet *s);
void sheet_join(struct sheet *s, struct sheet *beside);
void sheet_settle(struct sheet *s);
void sheet_print(const struct sheet *s, struct text *ret);

/* Whether a `.parent` line, or `.`, catches mail for this key (`d` or `.d`), which has no line of its own. */
bool sheet_swallows(const struct sheet *s, const char *key);
/* Whether it has a line of its own. */
bool sheet_has(const struct sheet *s, const char *key);
/* Whether it has any `.parent` line at all, or `.`. */
bool sheet_has_wildcards(const struct sheet *s);

/* What a table says for a road: `transport:next_hop`. ret is not emptied first. */
void sheet_value(const struct road *road, struct text *ret);

#endif
