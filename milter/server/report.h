#ifndef DANELAW_SERVER_REPORT_H
#define DANELAW_SERVER_REPORT_H

#include "engine/engine.h"

#include <jansson.h>

/*
 * What the daemon knows, as items of danelaw(1) with the keys of its manual. Each gives a JSON object. They look at the
 * cache and start nothing, so they are quick. Any thread.
 */

/* A rule with the strictest decision among the next hops that it names; null where nothing is known yet. */
json_t *report_connector(struct engine *e, const struct connector *c);
/* The same rule as it stands for one recipient. */
json_t *report_match(struct engine *e, const struct connector *c, const struct address *to);

/* Health and counters; tables_why may be empty. */
json_t *report_status(struct engine *e, int64_t uptime_s, bool tables_good, const char *tables_why);
/* What `danelaw status` exits with. */
int report_status_exit(struct engine *e, bool tables_good);

/* Text as JSON: bytes that are no UTF-8 become `?`; an empty one stays empty. */
json_t *report_text(const char *text);

#endif
