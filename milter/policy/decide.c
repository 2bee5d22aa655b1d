#include "policy/decide.h"

#include <string.h>

static struct decision hold(enum reason reason)
{
    return (struct decision){ .verdict = VERDICT_HOLD, .reason = reason };
}

/* Never below the connector's floor. */
static struct decision deliver(const struct connector *c, enum tls_level tls)
{
    if (tls_strength(tls) < tls_strength(c->tls))
        tls = c->tls;
    return (struct decision){ .verdict = VERDICT_DELIVER, .reason = REASON_NONE, .tls = tls,
                              .match = tls == TLS_VERIFY || tls == TLS_SECURE ? MATCH_CONNECTOR : MATCH_NOTHING };
}

static struct decision secure(enum match_by match)
{
    return (struct decision){ .verdict = VERDICT_DELIVER, .reason = REASON_NONE, .tls = TLS_SECURE, .match = match };
}

/* The MTA has its own permanent answer; should DNS change its mind meanwhile, the road's level still stands. */
static struct decision pass(const struct connector *c)
{
    struct decision d = deliver(c, connector_is_mandatory(c) ? TLS_DANE_ONLY : TLS_DANE);

    d.verdict = VERDICT_PASS;
    return d;
}

/* Whether a host in this state is one that the enforce policy lists. */
static bool some_match(const struct evidence *found, enum host_state state)
{
    size_t i;

    for (i = 0; i < found->host_count; i++) {
        if (found->hosts[i].state == state && found->hosts[i].sts_match)
            return true;
    }
    return false;
}

static bool any_match(const struct evidence *found)
{
    size_t i;

    for (i = 0; i < found->host_count; i++) {
        if (found->hosts[i].sts_match)
            return true;
    }
    return false;
}

/* MTA-STS decides; where it gives nothing, `otherwise` or the floor does. */
static struct decision by_sts(const struct connector *c, const struct evidence *found, enum tls_level otherwise)
{
    bool must = c->mta_sts == MODE_MANDATORY;

    if (c->mta_sts == MODE_NONE)
        return deliver(c, otherwise);
    switch (found->sts) {
    case STS_ENFORCE:
        if (found->mx_failed)
            return hold(REASON_DNS_TEMP);
        return any_match(found) ? secure(MATCH_STS) : hold(REASON_STS_MX_MISMATCH);
    case STS_ENFORCE_MISMATCH:
        return hold(REASON_STS_MX_MISMATCH);
    case STS_TESTING:
    case STS_NONE:
    case STS_ABSENT:
        return must ? hold(REASON_STS_REQUIRED) : deliver(c, otherwise);
    case STS_FETCH_ERROR:
        return must ? hold(REASON_STS_FETCH_ERROR) : deliver(c, otherwise);
    case STS_UNKNOWN:
        return must ? hold(REASON_DNS_TEMP) : deliver(c, otherwise);
    }
    return hold(REASON_INTERNAL);
}

/* DANE carries some hosts and an enforce policy lists some: only a host that passes both, or bare ones that STS carries. */
static struct decision by_hosts(const struct connector *c, const struct evidence *found)
{
    if (some_match(found, HOST_GOOD))
        return deliver(c, TLS_DANE_ONLY);
    if (found->dane == DANE_PARTIAL && c->smtp_dane == MODE_OPPORTUNISTIC && some_match(found, HOST_BARE))
        return secure(MATCH_STS_BARE);
    return hold(REASON_STS_MX_MISMATCH);
}

/* DANE is usable or partial. */
static struct decision by_good_dane(const struct connector *c, const struct evidence *found)
{
    bool weak = found->dane == DANE_PARTIAL && c->smtp_dane == MODE_OPPORTUNISTIC;
    bool enforced = found->sts == STS_ENFORCE || found->sts == STS_ENFORCE_MISMATCH;

    if (c->mta_sts == MODE_MANDATORY)
        return found->sts == STS_ENFORCE ? by_hosts(c, found) : by_sts(c, found, TLS_DANE_ONLY);
    if (!weak)
        return deliver(c, TLS_DANE_ONLY);
    return enforced && c->mta_sts != MODE_NONE ? by_hosts(c, found) : deliver(c, TLS_DANE);
}

static struct decision by_dane(const struct connector *c, const struct evidence *found)
{
    bool must = c->smtp_dane == MODE_MANDATORY;

    switch (found->dane) {
    case DANE_USABLE:
    case DANE_PARTIAL:
        return by_good_dane(c, found);
    case DANE_DEGRADED:
        return must ? hold(REASON_DNS_TEMP) : by_sts(c, found, TLS_DANE);
    case DANE_INSECURE_MX:          /* RFC 7672 2.2.1: the MX name itself may be forged */
        return must ? hold(REASON_DANE_REQUIRED) : by_sts(c, found, TLS_DANE);
    case DANE_UNUSABLE:             /* RFC 7672 2.2: TLS yes, authentication no */
        return must ? hold(REASON_DANE_REQUIRED) : by_sts(c, found, TLS_ENCRYPT);
    case DANE_ABSENT:
        return must ? hold(REASON_DANE_REQUIRED) : by_sts(c, found, c->tls);
    case DANE_NO_MAIL:
        return pass(c);
    case DANE_MISMATCH:
        return hold(REASON_TLSA_INVALID);
    case DANE_BOGUS:                /* RFC 7672 2.1.1: no delivery on forged answers */
        return hold(REASON_DNSSEC_INVALID);
    case DANE_UNKNOWN:
        break;
    }
    return hold(REASON_DNS_TEMP);
}

/* Both mandatory, one suffices, DANE preferred. */
static struct decision by_any(const struct connector *c, const struct evidence *found)
{
    switch (found->dane) {
    case DANE_USABLE:
    case DANE_PARTIAL:
        return deliver(c, TLS_DANE_ONLY);
    case DANE_ABSENT:
    case DANE_INSECURE_MX:
    case DANE_UNUSABLE:
        return found->sts == STS_ENFORCE ? by_sts(c, found, TLS_DANE_ONLY) : hold(REASON_DANE_REQUIRED);
    case DANE_DEGRADED:
    case DANE_NO_MAIL:
    case DANE_MISMATCH:
    case DANE_BOGUS:
    case DANE_UNKNOWN:
        break;
    }
    return by_dane(c, found);
}

struct decision decide(const struct connector *connector, const struct evidence *found)
{
    if (found->blind && !connector_is_mandatory(connector))
        return deliver(connector, connector->tls);
    if (connector->smtp_dane == MODE_NONE)
        return found->dane == DANE_NO_MAIL ? pass(connector) : by_sts(connector, found, connector->tls);
    if (connector->require == REQUIRE_ANY && connector->smtp_dane == MODE_MANDATORY && connector->mta_sts == MODE_MANDATORY)
        return by_any(connector, found);
    return by_dane(connector, found);
}

bool decision_is_lasting_hold(const struct decision *d)
{
    return d->verdict == VERDICT_HOLD && d->reason != REASON_DNS_TEMP && d->reason != REASON_INTERNAL;
}

struct decision decision_fall_back(struct decision d, const struct connector *connector)
{
    if (connector_on_fallback(connector) && decision_is_lasting_hold(&d))
        d.verdict = VERDICT_FALLBACK;
    return d;
}

static bool same(const struct decision *a, const struct decision *b)
{
    return a->verdict == b->verdict && a->reason == b->reason && a->tls == b->tls && a->match == b->match;
}

bool decide_needs_sts(const struct connector *connector, const struct evidence *found)
{
    struct evidence supposed = { .dane = found->dane, .mx_secure = found->mx_secure, .mx_failed = found->mx_failed,
                                 .blind = found->blind, .host_count = found->host_count, .hosts = found->hosts };
    struct decision without, against, by;

    supposed.sts = STS_ABSENT;
    without = decide(connector, &supposed);
    supposed.sts = STS_ENFORCE_MISMATCH;
    against = decide(connector, &supposed);
    supposed.sts = STS_ENFORCE;                 /* where one of both suffices, only this one counts */
    by = decide(connector, &supposed);
    return !same(&without, &against) || !same(&without, &by);
}

/* Names that an enforce policy lists come before a connector's own: those would let mandatory mail past the policy. */
static int strictness(const struct decision *d)
{
    bool listed = d->match == MATCH_STS || d->match == MATCH_STS_BARE;

    return d->verdict == VERDICT_HOLD ? 2 * (tls_strength(TLS_DANE_ONLY) + 1) : 2 * tls_strength(d->tls) + listed;
}

int decision_compare(const struct decision *a, const struct decision *b)
{
    return strictness(b) - strictness(a);
}

static void put_match(struct text *ret, size_t *count, const char *name)
{
    text_print(ret, "%s%s", (*count)++ == 0 ? " match=" : ":", name);
}

void decision_policy(const struct decision *d, const struct connector *connector, const struct evidence *found,
                     struct text *ret)
{
    size_t named = 0, i;

    if (d->verdict == VERDICT_HOLD || d->verdict == VERDICT_FALLBACK) {
        text_put(ret, "-");
        return;
    }
    text_put(ret, tls_word(d->tls));
    switch (d->match) {
    case MATCH_NOTHING:
        return;
    case MATCH_CONNECTOR:
        for (i = 0; i < connector->tls_match_count; i++)
            put_match(ret, &named, connector->tls_match[i]);
        return;
    case MATCH_STS:
    case MATCH_STS_BARE:
        break;
    }
    for (i = 0; i < found->host_count; i++) {
        if (found->hosts[i].sts_match && (d->match == MATCH_STS || found->hosts[i].state == HOST_BARE))
            put_match(ret, &named, found->hosts[i].name);
    }
    text_put(ret, " servername=hostname");
}
