#ifndef DANELAW_LOOKUP_UNBOUND_H
#define DANELAW_LOOKUP_UNBOUND_H

#include "base/fault.h"
#include "base/settings.h"

struct ub_ctx;

/*
 * A libunbound context as the settings want it, finished but for its first query: neither /etc/hosts nor /etc/resolv.conf
 * is read, nothing is asked. libunbound's own words go nowhere, but for a refusal: that is in why.
 */
bool unbound_open(const struct settings *set, struct ub_ctx **ret, struct fault *why);
void unbound_close(struct ub_ctx *ctx);                 /* NULL is welcome; open questions are forgotten */

#endif
