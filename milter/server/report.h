#ifndef DANELAW_SERVER_REPORT_H
#define DANELAW_SERVER_REPORT_H

#include "engine/engine.h"

#include <jansson.h>

struct store;
struct policies;
struct trace;
struct holds;

/*
 * What the daemon knows, as items of danelaw(1) with the keys of its manual. Each gives a JSON object. They look at the
 * cache and start nothing, so they are quick. Any thread.
 */

/* A rule with the strictest decision among the next hops that it names; null where nothing is known yet. */
json_t *report_connector(struct engine *e, const struct connector *c);
/* The same rule as it stands for one recipient. */
json_t *report_match(struct engine *e, const struct connector *c, const struct address *to);

/* Adds `probe`, the latest visits to its hosts, where it wants any. */
void report_visits(json_t *item, struct engine *e, const struct connector *c);

/* Adds what only people are told: `hold` in seconds, `fallback` and `on_fallback`. */
void report_more(json_t *item, const struct connector *c);

/* What else the daemon knows about itself. */
struct report_house {
    struct store *store;                /* or NULL */
    struct policies *policies;          /* or NULL */
    struct trace *trace;                /* or NULL */
    struct holds *holds;                /* or NULL */
    int64_t uptime_s;
    bool tables_good;
    const char *tables_why;             /* may be empty */
};

/*
 * Whether the daemon does its work: 0, 1 with the reasons in words, one a line, or EX_TEMPFAIL while it has just started. The
 * one judgement for `danelaw status` and /healthz. ret_reasons: or NULL.
 */
int report_health(struct engine *e, const struct report_house *house, struct text *ret_reasons);
/* Health and counters; and what `danelaw status` exits with. */
json_t *report_status(struct engine *e, const struct report_house *house, int *ret_exit);

/* Text as JSON: bytes that are no UTF-8 become `?`; an empty one stays empty. */
json_t *report_text(const char *text);
/* Wall seconds as RFC 3339, in UTC; null where there is no such time. */
json_t *report_time(int64_t wall);

#endif
