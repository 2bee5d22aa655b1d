#ifndef DANELAW_MTA_MAPS_H
#define DANELAW_MTA_MAPS_H

#include "mta/postmap.h"

/* What Postfix's lookup tables, written `type:name`, are able to. */

/* The table itself: proxymap only stands between a chrooted daemon and its table. */
const char *maps_behind_proxy(const char *table);
/* Whether all its keys can be listed. */
bool maps_can_list(const char *table);
/* Whether Postfix's transport(5) asks it for a domain at all; the others see whole addresses only, before any domain. */
bool maps_asked_for_domains(const char *table);
/* All lines `key<TAB>value` of a table that can be listed; gives them. */
bool maps_list(const struct postmap *p, const char *table, char **ret, struct fault *why);

/* Whether it is a text that people read, too: a file, or what stands in the table's name. */
bool maps_is_text(const char *table);
/* That text; gives it. */
bool maps_text(const char *table, char **ret, struct fault *why);

#endif
