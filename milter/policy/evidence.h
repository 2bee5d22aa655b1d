#ifndef DANELAW_POLICY_EVIDENCE_H
#define DANELAW_POLICY_EVIDENCE_H

#include "base/domain.h"
#include "policy/dns.h"
#include "policy/sts.h"
#include "policy/terms.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* An MX host as judged. */
struct evidence_host {
    const char *name;
    const char *expanded;       /* what its aliases end in; the name itself where it is no alias */
    const char *base;           /* the TLSA base domain of a good host (RFC 7672 2.2.2); else "" */
    const struct dns_tlsa *tlsa;        /* of a good host: its usable records */
    uint16_t tlsa_count;
    uint16_t preference;
    enum host_state state;
    bool addresses_secure;
    bool sts_match;             /* the policy domain's enforce policy lists it (RFC 8461 4.1) */
};

/*
 * What is known about a next hop: its DANE half, its MTA-STS half, or both joined. Frozen once it is shared; counted.
 * Zeroed, it holds.
 */
struct evidence {
    enum dane_state dane;
    enum sts_state sts;
    bool failed;                /* the search itself failed: it does not replace evidence that is still fresh */
    bool mx_secure;
    bool mx_failed;             /* the MX could not be had, so that no host of the policy can be named */
    bool ours;                  /* the trouble is our own resolver's, not the partner's */
    bool blind;                 /* the resolver can't validate, and the site wants its floor meanwhile (resolver.when_broken) */
    atomic_uint users;
    uint32_t host_count;
    const struct evidence_host *hosts;
    int64_t fresh_until;        /* clock_ms() */
    const char *why;            /* the DANE state in words */
    const char *sts_why;        /* the MTA-STS state in words */
    struct sts_policy *policy;  /* a reference of ours, or NULL */
    struct evidence *lender;    /* a reference of ours to what hosts point into, or NULL */
    int64_t fetched_at;         /* when the policy host was last asked, wall seconds; 0: never */
    int64_t retry_at;           /* clock_ms() before which it is left alone, after a failure */
    size_t octets;              /* what it takes of memory, its policy included; 0 where halves were joined */
};

/*
 * Judges DNS answers (DESIGN of the states: RFC 7672 2.2, RFC 7505). Pure. Gives evidence with one user; its
 * fresh_until is now_ms plus the lifetime that the answers allow. The STS half is absent until somebody fills it in. Of each
 * host at most records_most usable TLSA records count; what is past them matches nothing, so that mail waits.
 */
struct evidence *dane_judge(const struct dns_answers *answers, size_t records_most, int64_t now_ms);

/* One host, with the reason in words. Pure. */
enum host_state dane_judge_host(const struct dns_host *host, struct fault *why);
/* The TLSA records that count for the host: the CNAME-expanded name's where it has some, else its own (RFC 7672 2.2.2). */
const struct dns_tlsa_set *dane_tlsa_of(const struct dns_host *host);
/* Usable for SMTP: usage 2 or 3, selector 0 or 1, matching 0, 1 or 2, data that fit (RFC 7672 3.1). Pure. */
bool dane_tlsa_usable(const struct dns_tlsa *record, struct fault *why);
/* At least one address family is known, and secure (RFC 7672 2.2.2). Pure. */
bool dane_addresses_secure(const struct dns_host *host);

/* Evidence of a kind for which nothing was looked up: a failure of ours, or a resolver that can't validate. */
struct evidence *evidence_new(enum dane_state dane, const char *why, int64_t fresh_until);
/* The MTA-STS half; shares policy (or NULL). Whether an enforce policy lists the MX hosts shows when both halves join. */
struct evidence *evidence_of_sts(enum sts_state sts, const char *why, struct sts_policy *policy, int64_t fresh_until);
/*
 * Both halves as one: marks the hosts that an enforce policy lists, and finds `enforce-mismatch` where it lists none of
 * those there are (RFC 8461 4.1). Gives a reference, which may be to dane itself.
 */
struct evidence *evidence_join(struct evidence *dane, const struct evidence *sts);
/* The same, but that visits to the hosts found no certificate that fits. Gives a reference; keeps one to found. */
struct evidence *evidence_mismatch(struct evidence *found, const char *why);
struct evidence *evidence_ref(struct evidence *e);
void evidence_unref(struct evidence *e);                /* NULL is welcome */

#endif
