#ifndef DANELAW_ENGINE_TRAFFIC_H
#define DANELAW_ENGINE_TRAFFIC_H

#include "policy/connector.h"

/*
 * Where connectors' mail has gone of late: next hops that no rule names, for whoever wants to look after them. Bounded: where
 * there is no room a next hop is forgotten. Any thread; now: clock_ms().
 */
struct traffic;

enum { TRAFFIC_MAX = 1024 };

struct traffic *traffic_new(void);
void traffic_free(struct traffic *t);

/* Whether there are next hops that only the connector's mail names. */
bool traffic_names(const struct connector *c);
/* Mail of the connector goes there now. */
void traffic_note(struct traffic *t, const struct connector *c, const struct next_hop *hop, int64_t now);
/* One of TRAFFIC_MAX places; false: it is empty. Gives the connector's name. */
bool traffic_at(struct traffic *t, size_t index, int64_t now, struct next_hop *ret, char **ret_connector);

#endif
