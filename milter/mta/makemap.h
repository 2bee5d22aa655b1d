#ifndef DANELAW_MTA_MAKEMAP_H
#define DANELAW_MTA_MAKEMAP_H

#include "base/fault.h"
#include "base/settings.h"
#include "base/text.h"

/* makemap(8) as we use it; borrows its text. */
struct makemap {
    const char *program;                /* a path */
};

/* tables.postmap, else the first of the usual places that is there. */
bool makemap_find(const struct settings *set, struct makemap *ret, struct fault *why);

/* Makes the map `path` of lines `key<TAB>value`. */
bool makemap_index(const struct makemap *m, const char *type, const char *path, const struct text *lines, struct fault *why);

/* All that a map has, sorted, as such lines; gives them. */
bool makemap_list(const struct makemap *m, const char *type, const char *path, char **ret, struct fault *why);

#endif
