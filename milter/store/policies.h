#ifndef DANELAW_STORE_POLICIES_H
#define DANELAW_STORE_POLICIES_H

#include "base/domain.h"
#include "policy/sts.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * MTA-STS policies by policy domain (RFC 8461 5.1): in memory, and in the store, which has them again after a restart.
 * Any thread; all times are clock_wall(). Only another policy ever crowds one out.
 */
struct policies;

struct kept_policy {
    struct sts_policy *policy;          /* a reference: sts_policy_unref() */
    char id[STS_ID_SIZE];
    int64_t fetched_at;                 /* body seen at the policy host */
    int64_t checked_at;                 /* id seen in DNS */
    int64_t expires_at;
};

/* Reads what the store has. Never fails: without a usable store it begins empty, and reads when the store is back. */
struct policies *policies_open(struct store *store, size_t entries, int64_t now);
/* Before store_close(), which writes what waits. NULL is welcome. */
void policies_close(struct policies *p);

/* An unexpired policy, or false. */
bool policies_get(struct policies *p, const struct domain *domain, int64_t now, struct kept_policy *ret);
/*
 * A policy as it was fetched, with the bytes it was read from; shares policy. A max_age of 0 only ends what was kept
 * (false: nothing is kept). Past the limits the expired go first, then those that expire soonest.
 */
bool policies_put(struct policies *p, const struct domain *domain, const char *id, struct sts_policy *policy,
                  const char *body, size_t length, int64_t now);
/* Fetched anew, and the same: it lives on from now. false: nothing unexpired is kept. */
bool policies_touch(struct policies *p, const struct domain *domain, int64_t now);
/* The id in DNS is still the same; changes checked_at alone, and only in memory. */
void policies_checked(struct policies *p, const struct domain *domain, int64_t now);
/* false: there was none. */
bool policies_drop(struct policies *p, const struct domain *domain);
/* Lets the expired go. policies_put() does so hourly. */
void policies_purge(struct policies *p, int64_t now);

/* Unexpired ones by name, as they stood at the call; no lock is held meanwhile, kept is borrowed. false from each: enough. */
void policies_each(struct policies *p, int64_t now,
                   bool (*each)(void *self, const struct domain *domain, const struct kept_policy *kept), void *self);
/* Expired ones that were not purged yet are counted, too. */
size_t policies_count(struct policies *p);

#endif
