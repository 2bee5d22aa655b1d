#ifndef DANELAW_LOOKUP_PROBE_FIND_H
#define DANELAW_LOOKUP_PROBE_FIND_H

#include "lookup/lookup.h"
#include "lookup/probe.h"

/*
 * Visits the target, where it has no address after asking our own DNS for its addresses: those of IPv4 before those of
 * IPv6, as most who send mail do (RFC 5321 5.1 leaves it open). Resolver's thread.
 */
void probe_find(struct lookup *lookup, struct probe *probe, const struct probe_target *target, struct probe_landing *at);

#endif
