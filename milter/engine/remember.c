/*
 * What is remembered of next hops, for those who only look at it, and forgetting it.
 */
#include "base/memory.h"
#include "engine/inside.h"

#include <string.h>

struct evidence *engine_with_sts(struct engine *e, const struct next_hop *hop, struct evidence *dane, int64_t *since)
{
    struct next_hop domain = next_hop_of(&hop->host);
    struct evidence *sts, *both;
    int64_t changed = 0;

    if (hop->literal)
        return evidence_ref(dane);
    sts = cache_peek(e->sts, &domain, &changed);
    both = evidence_join(dane, sts == NULL ? e->sts_late : sts);
    if (sts == NULL)
        both->fresh_until = dane->fresh_until;      /* what was never asked for doesn't grow old */
    if (changed > *since)
        *since = changed;
    evidence_unref(sts);
    return both;
}

void engine_cache_read(struct engine *e, unsigned slice, const char *host, struct cache_slice *ret)
{
    struct next_hop hop;
    size_t i;

    cache_read(e->cache, slice, host, ret);
    for (i = 0; i < ret->count; i++) {
        struct cached *item = &ret->items[i];
        struct evidence *dane = item->found;

        if (!next_hop_parse(item->next_hop, &hop, NULL))
            continue;
        item->found = engine_with_sts(e, &hop, dane, &item->since);
        evidence_unref(dane);
    }
}

/* Drops each as it passes by. */
struct drop {
    struct policies *from;
    size_t count;
};

static bool drop_each(void *self, const struct domain *domain, const struct kept_policy *kept)
{
    struct drop *drop = self;

    (void)kept;
    drop->count += policies_drop(drop->from, domain);
    return true;
}

void engine_cache_flush(struct engine *e, const struct domain *host, bool policies_too, size_t *ret_evidence, size_t *ret_policies)
{
    struct drop drop = { .from = e->policies };

    if (policies_too && host != NULL)
        drop.count = policies_drop(e->policies, host);
    else if (policies_too)
        policies_each(e->policies, 0, drop_each, &drop);
    cache_forget(e->sts, host == NULL ? NULL : host->name);     /* behind the policies, or it would have them again */
    *ret_evidence = cache_forget(e->cache, host == NULL ? NULL : host->name);
    *ret_policies = drop.count;
}

void engine_cache_states(struct engine *e, struct cache_states *ret)
{
    struct cache_states sts;

    cache_states(e->cache, ret);
    cache_states(e->sts, &sts);
    memcpy(ret->sts, sts.sts, sizeof(ret->sts));
}
