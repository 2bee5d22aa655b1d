#include "policy/evidence.h"

#include "base/memory.h"

#include <string.h>

struct evidence *evidence_new(enum dane_state dane, const char *why, int64_t fresh_until)
{
    size_t words = strlen(why) + 1;
    struct evidence *e = mem_zero(sizeof(*e) + words);

    e->octets = sizeof(*e) + words;
    e->dane = dane;
    e->sts = STS_ABSENT;
    e->failed = dane == DANE_UNKNOWN;
    e->mx_failed = dane == DANE_UNKNOWN || dane == DANE_BOGUS;
    e->fresh_until = fresh_until;
    e->why = memcpy(e + 1, why, words);
    e->sts_why = "";
    atomic_init(&e->users, 1);
    return e;
}

struct evidence *evidence_of_sts(enum sts_state sts, const char *why, struct sts_policy *policy, int64_t fresh_until)
{
    struct evidence *e = evidence_new(DANE_ABSENT, why, fresh_until);

    e->sts = sts;
    e->sts_why = e->why;
    e->failed = sts == STS_UNKNOWN;
    e->policy = policy == NULL ? NULL : sts_policy_ref(policy);
    e->octets += policy == NULL ? 0 : policy->octets;
    return e;
}

struct evidence *evidence_ref(struct evidence *e)
{
    atomic_fetch_add_explicit(&e->users, 1, memory_order_relaxed);
    return e;
}

void evidence_unref(struct evidence *e)
{
    if (e == NULL || atomic_fetch_sub_explicit(&e->users, 1, memory_order_acq_rel) != 1)
        return;
    sts_policy_unref(e->policy);
    evidence_unref(e->lender);
    free(e);
}

/* One block like dane_judge()'s, with room for the second half's words; what its hosts point into stays dane's. */
static struct evidence *copy_both(struct evidence *dane, const struct evidence *sts)
{
    size_t size = sizeof(struct evidence) + dane->host_count * sizeof(struct evidence_host), i;
    struct evidence *e = mem_zero(size + strlen(sts->sts_why) + 1);
    struct evidence_host *hosts = (struct evidence_host *)(e + 1);

    e->lender = evidence_ref(dane);
    e->why = dane->why;
    e->sts_why = strcpy((char *)e + size, sts->sts_why);
    for (i = 0; i < dane->host_count; i++) {
        hosts[i] = dane->hosts[i];
        hosts[i].sts_match = sts->sts == STS_ENFORCE && hosts[i].state != HOST_GONE &&
                             sts_policy_lists(sts->policy, hosts[i].name);
    }
    e->hosts = hosts;
    e->host_count = dane->host_count;
    return e;
}

static bool some_host_listed(const struct evidence *e)
{
    size_t i;

    for (i = 0; i < e->host_count; i++) {
        if (e->hosts[i].sts_match)
            return true;
    }
    return false;
}

struct evidence *evidence_join(struct evidence *dane, const struct evidence *sts)
{
    struct evidence *e;

    if (sts->sts == STS_ABSENT && dane->fresh_until <= sts->fresh_until)
        return evidence_ref(dane);                      /* most domains have no policy */
    e = copy_both(dane, sts);
    e->dane = dane->dane;
    e->sts = sts->sts;
    e->mx_secure = dane->mx_secure;
    e->mx_failed = dane->mx_failed;
    e->fresh_until = dane->fresh_until < sts->fresh_until ? dane->fresh_until : sts->fresh_until;
    e->policy = sts->policy == NULL ? NULL : sts_policy_ref(sts->policy);
    e->fetched_at = sts->fetched_at;
    e->retry_at = sts->retry_at;
    if (e->sts == STS_ENFORCE && !e->mx_failed && !some_host_listed(e))
        e->sts = STS_ENFORCE_MISMATCH;
    atomic_init(&e->users, 1);
    return e;
}

struct evidence *evidence_mismatch(struct evidence *found, const char *why)
{
    size_t words = strlen(why) + 1;
    struct evidence *e = mem_zero(sizeof(*e) + words);

    e->dane = DANE_MISMATCH;
    e->sts = found->sts;
    e->mx_secure = found->mx_secure;
    e->mx_failed = found->mx_failed;
    e->fresh_until = found->fresh_until;
    e->why = memcpy(e + 1, why, words);
    e->host_count = found->host_count;
    e->hosts = found->hosts;
    e->sts_why = found->sts_why;
    e->policy = found->policy == NULL ? NULL : sts_policy_ref(found->policy);
    e->lender = evidence_ref(found);
    e->fetched_at = found->fetched_at;
    e->retry_at = found->retry_at;
    atomic_init(&e->users, 1);
    return e;
}
