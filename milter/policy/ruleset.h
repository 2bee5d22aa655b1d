#ifndef DANELAW_POLICY_RULESET_H
#define DANELAW_POLICY_RULESET_H

#include "base/arena.h"
#include "policy/connector.h"

/*
 * All connectors and routes of one configuration. Filled by one thread, frozen by ruleset_freeze(), then shared and
 * counted; finding a connector costs the number of labels in the name, not the number of connectors.
 */
struct ruleset;

struct ruleset *ruleset_new(void);                                  /* one user */
struct arena *ruleset_memory(struct ruleset *rules);                /* where connectors and routes live */
/* Both take a thing that lives in ruleset_memory(); a route of the same name replaces the built-in one. */
void ruleset_add_route(struct ruleset *rules, const struct route *route);
void ruleset_add(struct ruleset *rules, const struct connector *c);
void ruleset_set_default(struct ruleset *rules, const struct connector *c);
void ruleset_freeze(struct ruleset *rules);
/* A connector, and the one that takes its place: it has the same name, patterns and smart hosts, and is in test mode or not. */
struct ruleset_change {
    const struct connector *from, *to;
};

/* A frozen ruleset like base, of which it keeps a reference, but for the changes, which are sorted. Takes memory, in which the
   connectors that are new live. */
struct ruleset *ruleset_change(struct ruleset *base, struct arena *memory, struct ruleset_change *changes, size_t count);

struct ruleset *ruleset_ref(struct ruleset *rules);
void ruleset_unref(struct ruleset *rules);                          /* NULL is welcome */

const struct route *ruleset_route(const struct ruleset *rules, const char *name);     /* or NULL */
size_t ruleset_route_count(const struct ruleset *rules);
const struct route *ruleset_route_at(const struct ruleset *rules, size_t index);
size_t ruleset_count(const struct ruleset *rules);                  /* without (default) */
const struct connector *ruleset_at(const struct ruleset *rules, size_t index);        /* file order */
const struct connector *ruleset_named(const struct ruleset *rules, const char *name); /* or NULL */
const struct connector *ruleset_default(const struct ruleset *rules);

/*
 * The connector that covers a recipient: user@domain beats domain beats the longest *.parent beats *; among equals one
 * whose senders match beats one without senders, then file order. A connector whose senders don't match is no candidate.
 * Never NULL: (default) answers last. Address literals are only covered by `*`.
 */
const struct connector *ruleset_find(const struct ruleset *rules, const struct address *to, const struct address *from);

/*
 * The connector in test mode that would rule the recipient if it were not in test mode, or NULL. All else in here goes by
 * the others alone; only ruleset_at() and ruleset_named() give them, too.
 */
const struct connector *ruleset_shadow(const struct ruleset *rules, const struct address *to, const struct address *from);

/* Connectors in some order, without repeats next to each other. */
struct connector_list {
    const struct connector **items;
    size_t count, room;
};

void connector_list_add(struct connector_list *list, const struct connector *c);
void connector_list_done(struct connector_list *list);

/*
 * Every connector that may rule mail under a pattern, whoever sends it: those of its own rank, then of each weaker rank,
 * up to and with the first that has no senders; (default) where there is none. Best first, added to ret. For those who
 * can't see senders.
 */
void ruleset_candidates(const struct ruleset *rules, const struct pattern *key, struct connector_list *ret);

/* Whether some connector lists exactly this pattern. */
bool ruleset_has(const struct ruleset *rules, const struct pattern *key);
/* Adds the connectors that list this next hop among their smart hosts, in file order. */
void ruleset_by_smart_host(const struct ruleset *rules, const struct next_hop *hop, struct connector_list *ret);
/* Adds the connectors with a user@domain pattern in this domain, in file order. */
void ruleset_by_user(const struct ruleset *rules, const struct domain *domain, struct connector_list *ret);

bool pattern_matches(const struct pattern *p, const struct address *a);
/* Whether the connector covers a recipient by a pattern that is no wildcard, so that no domain of the site's own can have been
 * meant by mistake. */
bool connector_names(const struct connector *c, const struct address *to);
/* As written in the configuration. Returns ret. */
char *pattern_print(const struct pattern *p, char *ret, size_t size);

#endif
