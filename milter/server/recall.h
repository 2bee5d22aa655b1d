#ifndef DANELAW_SERVER_RECALL_H
#define DANELAW_SERVER_RECALL_H

#include "engine/engine.h"

#include <jansson.h>

struct policies;

/*
 * What the daemon remembers, as items of `danelaw cache`, made one at a time so that the list may be sent as slowly as it
 * is read. One thread.
 */
struct recall;

/* Evidence by next hop. host: only that name's; or NULL. Borrows engine. */
struct recall *recall_evidence(struct engine *e, const struct domain *host);
/* MTA-STS policies by policy domain, as they are kept now. */
struct recall *recall_policies(struct policies *p, const struct domain *host);
/* Gives the next item; NULL: that was all. */
json_t *recall_next(struct recall *r);
void recall_free(struct recall *r);         /* NULL is welcome */

#endif
