#include "server/recall.h"

#include "base/clock.h"
#include "base/memory.h"
#include "server/report.h"
#include "store/cache.h"
#include "store/policies.h"

#include <string.h>

struct kept {
    struct domain domain;
    struct kept_policy policy;
};

struct recall {
    struct engine *engine;              /* NULL: policies */
    struct domain host;                 /* empty: all */
    struct cache_slice slice;
    unsigned next_slice;
    struct kept *kept;
    size_t kept_count, kept_room;
    size_t next;                        /* of the slice, or of kept */
};

static struct recall *recall_new(const struct domain *host)
{
    struct recall *r = mem_zero(sizeof(*r));

    if (host != NULL)
        r->host = *host;
    return r;
}

struct recall *recall_evidence(struct engine *e, const struct domain *host)
{
    struct recall *r = recall_new(host);

    r->engine = e;
    return r;
}

static bool keep(void *self, const struct domain *domain, const struct kept_policy *kept)
{
    struct recall *r = self;

    if (r->host.length > 0 && !domain_equal(&r->host, domain))
        return true;
    if (r->kept_count == r->kept_room) {
        r->kept_room = r->kept_room == 0 ? 16 : r->kept_room * 2;
        r->kept = mem_grow(r->kept, r->kept_room, sizeof(*r->kept));
    }
    r->kept[r->kept_count] = (struct kept){ *domain, *kept };
    sts_policy_ref(r->kept[r->kept_count++].policy.policy);
    return true;
}

struct recall *recall_policies(struct policies *p, const struct domain *host)
{
    struct recall *r = recall_new(host);

    policies_each(p, (int64_t)clock_wall(), keep, r);
    return r;
}

/* Every item has every key. */
static json_t *item_of(const char *next_hop, enum sts_state sts, int64_t since)
{
    json_t *item = json_object();

    json_object_set_new(item, "next_hop", report_text(next_hop));
    json_object_set_new(item, "dane", json_null());
    json_object_set_new(item, "sts", json_string(sts_word(sts)));
    json_object_set_new(item, "fresh_until", json_null());
    json_object_set_new(item, "since", report_time(since));
    json_object_set_new(item, "why", json_null());
    json_object_set_new(item, "sts_why", json_null());
    json_object_set_new(item, "id", json_null());
    json_object_set_new(item, "mode", json_null());
    json_object_set_new(item, "mx", json_null());
    json_object_set_new(item, "max_age", json_null());
    json_object_set_new(item, "fetched", json_null());
    json_object_set_new(item, "expires", json_null());
    return item;
}

static json_t *words_or_null(const char *words)
{
    return words[0] == '\0' ? json_null() : report_text(words);
}

static json_t *mx_of(const struct sts_policy *p)
{
    json_t *all = json_array();
    size_t i;

    for (i = 0; i < p->mx_count; i++)
        json_array_append_new(all, report_text(p->mx[i]));
    return all;
}

static void put_policy(json_t *item, const struct sts_policy *p)
{
    json_object_set_new(item, "mode", json_string(sts_mode_word(p->mode)));
    json_object_set_new(item, "mx", mx_of(p));
    json_object_set_new(item, "max_age", json_integer(p->max_age));
}

static json_t *evidence_item(const struct cached *cached)
{
    const struct evidence *found = cached->found;
    json_t *item = item_of(cached->next_hop, found->sts, cached->since);
    int64_t left_ms = found->fresh_until - clock_ms();

    json_object_set_new(item, "dane", json_string(dane_word(found->dane)));
    json_object_set_new(item, "fresh_until", report_time((int64_t)clock_wall() + left_ms / 1000));
    json_object_set_new(item, "why", words_or_null(found->why));
    json_object_set_new(item, "sts_why", words_or_null(found->sts_why));
    if (found->policy != NULL)
        put_policy(item, found->policy);
    return item;
}

static json_t *policy_item(const struct kept *kept)
{
    json_t *item = item_of(kept->domain.name, sts_state_of(kept->policy.policy), kept->policy.fetched_at);

    json_object_set_new(item, "id", report_text(kept->policy.id));
    json_object_set_new(item, "fetched", report_time(kept->policy.fetched_at));
    json_object_set_new(item, "expires", report_time(kept->policy.expires_at));
    put_policy(item, kept->policy.policy);
    return item;
}

/* false: there are no more slices. */
static bool turn_over(struct recall *r)
{
    if (r->next_slice == CACHE_SLICES)
        return false;
    cache_slice_done(&r->slice);
    engine_cache_read(r->engine, r->next_slice++, r->host.length == 0 ? NULL : r->host.name, &r->slice);
    r->next = 0;
    return true;
}

json_t *recall_next(struct recall *r)
{
    json_t *item = NULL;

    while (r->engine != NULL && r->next == r->slice.count && turn_over(r))
        continue;
    if (r->engine != NULL && r->next < r->slice.count)
        item = evidence_item(&r->slice.items[r->next++]);
    else if (r->engine == NULL && r->next < r->kept_count)
        item = policy_item(&r->kept[r->next++]);
    return item;
}

void recall_free(struct recall *r)
{
    size_t i;

    if (r == NULL)
        return;
    cache_slice_done(&r->slice);
    for (i = 0; i < r->kept_count; i++)
        sts_policy_unref(r->kept[i].policy.policy);
    free(r->kept);
    free(r);
}
