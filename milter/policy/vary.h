#ifndef DANELAW_POLICY_VARY_H
#define DANELAW_POLICY_VARY_H

#include "base/fault.h"
#include "policy/override.h"
#include "policy/ruleset.h"

#include <stddef.h>

/*
 * Overrides in force: a ruleset like the configured one, but for copies of the connectors that are overridden. Pure.
 */

/* Whether mail on it is authenticated even while the daemon is dead. */
bool route_is_strong(const struct route *route);
/* Whether a mandatory connector's mail may take it instead of being held. */
bool route_is_good_fallback(const struct route *route);
/* The name of the route that connectors with these modes have by preset. */
const char *route_preset(enum mode smtp_dane, enum mode mta_sts);

/* Whether the override asks for less than the connector's configuration in anything, or just for what is configured. */
bool override_weakens(const struct override *o, const struct connector *configured);
bool override_is_idle(const struct override *o, const struct connector *configured);
/* The modes in force, `smtp_dane=mandatory mta_sts=none until=2027-01-01T00:00:00Z`; o or NULL: as configured; configured or
   NULL: there is no such connector, and only what o sets is said. Returns ret. */
char *override_print(const struct override *o, const struct connector *configured, char ret[static OVERRIDE_TEXT_SIZE]);
/* Whether mail could travel under it; why says what the administrator has to change. */
bool override_fits(const struct ruleset *configured, const struct connector *c, const struct override *o, struct fault *why);
/* Whether the connector's fallback is left alone while the override is in force, because it is too weak for it. */
bool override_drops_fallback(const struct connector *configured, const struct override *o);

/*
 * Gives configured itself with a reference more where none of the overrides names a connector of its; else a frozen ruleset
 * that has one. Two overrides never name the same connector.
 */
struct ruleset *ruleset_vary(struct ruleset *configured, const struct override *overrides, size_t count);

#endif
