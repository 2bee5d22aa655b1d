#ifndef DANELAW_MTA_TABLE_H
#define DANELAW_MTA_TABLE_H

#include "base/arena.h"
#include "mta/makemap.h"
#include "mta/pair.h"
#include "mta/postconf.h"
#include "mta/postmap.h"
#include "mta/render.h"

/* tables.c's face to the two MTAs' tables: what is to be written, and where. One thread. */
struct draft {
    struct arena *memory;
    const char *folder, *path;
    const char *type, *suffix;          /* `hash`, `.db` */
    struct postconf conf;               /* Postfix: these two */
    struct postmap postmap;
    struct makemap makemap;             /* Sendmail: these two */
    const char *config_dir;
    struct sheet sheet;
    struct text text;
};

/* An MTA's table. Each is asked in this order, if at all. */
struct table_kind {
    const char *mta, *folder, *name;    /* `postfix`, `transport` */
    /* Settles the type and the programs. */
    bool (*ask)(struct draft *d, const struct settings *set, struct fault *why);
    /* As tables_own() has it. */
    bool (*own)(struct draft *d, struct arena *memory, struct tables_own *ret, struct fault *why);
    bool (*fill)(struct draft *d, const struct ruleset *rules, struct fault *why);
    bool (*index)(const struct draft *d, const char *path, struct fault *why);
    /* The lines that the index gives back, in the sheet's order; gives them. */
    bool (*list)(const struct draft *d, const char *path, char **ret, struct fault *why);
};

/* Both texts in one, in the draft's memory. */
const char *table_joined(const struct draft *d, const char *a, const char *b);

extern const struct table_kind postfix_table, sendmail_table;

#endif
