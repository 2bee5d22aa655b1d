#ifndef DANELAW_MTA_OWN_H
#define DANELAW_MTA_OWN_H

#include "mta/postconf.h"
#include "mta/postmap.h"
#include "mta/render.h"

/*
 * The domains that Postfix itself delivers, aliases or relays for, where one of the sheet's wildcards would swallow them
 * and no other transport table of the site (all but `ours`) has a line for them: `d`, and `.d` for all below. false: they
 * can't be told, so no wildcard is safe.
 */
bool own_read(const struct postconf *conf, const struct postmap *postmap, const struct sheet *sheet, const char *ours,
              struct tables_own *ret, struct fault *why);

/* The same, of relay_domains alone. */
bool own_read_relayed(const struct postconf *conf, const struct postmap *postmap, const struct sheet *sheet,
                      const char *ours, struct tables_own *ret, struct fault *why);

#endif
