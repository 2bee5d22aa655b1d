#ifndef DANELAW_MTA_POSTMAP_H
#define DANELAW_MTA_POSTMAP_H

#include "base/fault.h"
#include "base/text.h"

/* postmap(1) as we use it; borrows its texts. */
struct postmap {
    const char *program;                /* a path */
    const char *config_dir;             /* "": its own default */
};

/* Indexes `type:path`. A complaint about that file counts as failure, whatever the exit status says. */
bool postmap_index(const struct postmap *p, const char *table, struct fault *why);

/* All lines `key<TAB>value` of a table; gives them. */
bool postmap_list(const struct postmap *p, const char *table, char **ret, struct fault *why);

/* Those of the keys (a line each) that the table has, as lines `key<TAB>value` in the order of the keys; gives them. */
bool postmap_query(const struct postmap *p, const char *table, const struct text *keys, char **ret, struct fault *why);

#endif
