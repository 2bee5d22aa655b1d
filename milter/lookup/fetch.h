#ifndef DANELAW_LOOKUP_FETCH_H
#define DANELAW_LOOKUP_FETCH_H

#include "lookup/https.h"
#include "lookup/lookup.h"

/* Asks our own DNS for the policy host's addresses, then fetches the policy from them. Any thread. */
void fetch_start(struct lookup *lookup, struct https *https, const struct domain *policy_domain, struct policy_landing *at);

#endif
