#include "base/memory.h"
#include "cli/finding.h"

#include <stdio.h>
#include <string.h>

/*
 * What to tell the partner. The zones come first, root to leaf: while a link above is broken, nothing below it counts.
 */

static void put(struct text *ret, const char *sentence)
{
    if (strstr(text_words(ret), sentence) == NULL)      /* several hosts in one zone */
        text_print(ret, "%s%s", ret->length == 0 ? "" : " ", sentence);
}

/* Returns whether a link above name is broken. */
static bool advise_zone(const struct finding *f, const char *name, struct text *ret)
{
    const struct zone *zone = chain_broken(&f->chain, name);
    char sentence[800];

    if (zone == NULL)
        return false;
    switch (zone->state) {
    case DNS_SECURE:
        return false;
    case DNS_INSECURE:
        snprintf(sentence, sizeof(sentence), "Sign the zone %s with DNSSEC and have its DS record published in the zone above.",
                 zone->name);
        break;
    case DNS_BOGUS:
        snprintf(sentence, sizeof(sentence), "Repair the DNSSEC of %s: every validating resolver refuses it (%s).",
                 zone->name, zone->why);
        break;
    case DNS_FAILED:
        snprintf(sentence, sizeof(sentence), "See why the name servers of %s do not answer (%s).", zone->name, zone->why);
        break;
    }
    put(ret, sentence);
    return true;
}

/* No usable record where there should be one. */
static void advise_bare(const struct finding_hop *hop, const struct dns_tlsa_set *set, const char *base, struct text *ret)
{
    char sentence[800];

    if (set->look.asked && set->look.found && set->look.trust == DNS_INSECURE)
        snprintf(sentence, sizeof(sentence), "Have the TLSA records of _%u._tcp.%s signed: that name, or the zone that it is an "
                 "alias into, is not.", hop->hop.port, base);
    else
        snprintf(sentence, sizeof(sentence), "Publish a TLSA record for _%u._tcp.%s: 3 1 1 and the SHA-256 digest of the host's "
                 "public key.", hop->hop.port, base);
    put(ret, sentence);
}

static void advise_tlsa(const struct finding_hop *hop, const struct dns_host *host, enum host_state state, struct text *ret)
{
    const char *base = dane_tlsa_of(host)->base.length > 0 ? dane_tlsa_of(host)->base.name : host->name.name;
    char sentence[800];

    switch (state) {
    case HOST_GOOD:
    case HOST_GONE:
        return;
    case HOST_BARE:
        advise_bare(hop, dane_tlsa_of(host), base, ret);
        return;
    case HOST_UNUSABLE:
        snprintf(sentence, sizeof(sentence), "Replace the TLSA records of _%u._tcp.%s, which mail can't use, by 3 1 1 and the "
                 "SHA-256 digest of the host's public key.", hop->hop.port, base);
        break;
    case HOST_BOGUS:
        snprintf(sentence, sizeof(sentence), "Repair the signatures of %s and of _%u._tcp.%s.", host->name.name, hop->hop.port, base);
        break;
    case HOST_FAILING:
        snprintf(sentence, sizeof(sentence), "See that the name servers answer for %s and for _%u._tcp.%s, also with a denial; "
                 "old servers and firewalls drop questions for TLSA.", host->name.name, hop->hop.port, base);
        break;
    }
    put(ret, sentence);
}

/* An unsigned host zone is only the first half: its TLSA record is still to come. */
static void advise_host(const struct finding *f, const struct finding_hop *hop, size_t index, struct text *ret)
{
    const struct evidence_host *judged = &hop->found->hosts[index];
    bool broken;

    if (judged->state == HOST_GOOD || judged->state == HOST_GONE)
        return;
    broken = advise_zone(f, judged->name, ret);
    if (!broken || judged->state == HOST_BARE)
        advise_tlsa(hop, &hop->answers->hosts[index], judged->state, ret);
}

/* The policy host answered, or not. */
static void advise_file(const struct partner *p, struct text *ret)
{
    const struct policy_file *file = look_policy(p->file);
    const char *domain = p->domain.name;
    char sentence[1200];

    switch (file->state) {
    case FETCH_CERTIFICATE:
        snprintf(sentence, sizeof(sentence), "Give the policy host mta-sts.%s a certificate that is valid, comes from a public "
                 "authority and has that name as subjectAltName (%s).", domain, file->why);
        break;
    case FETCH_REFUSED:
        snprintf(sentence, sizeof(sentence), "Have https://mta-sts.%s/.well-known/mta-sts.txt answered as RFC 8461 3.3 wants it: "
                 "HTTP 200 without a redirect, media type text/plain, at most 64 KiB (%s).", domain, file->why);
        break;
    case FETCH_GOOD:
        snprintf(sentence, sizeof(sentence), "Repair the policy file https://mta-sts.%s/.well-known/mta-sts.txt (%s).", domain,
                 p->policy_why.text);
        break;
    case FETCH_FAILED:
        snprintf(sentence, sizeof(sentence), "See that the policy host mta-sts.%s can be reached by HTTPS, or take away the TXT "
                 "record of _mta-sts.%s (%s).", domain, domain, file->why);
        break;
    }
    put(ret, sentence);
}

/* Senders that honour the policy deliver to none of these. */
static void advise_unlisted(const struct finding_hop *hop, struct text *ret)
{
    struct text sentence;
    size_t missing = 0, i;

    text_init(&sentence, (size_t)1 << 14);
    text_print(&sentence, "List");
    for (i = 0; i < hop->found->host_count; i++) {
        const struct evidence_host *host = &hop->found->hosts[i];

        if (host->state != HOST_GONE && !sts_policy_lists(hop->partner.policy, host->name))
            text_print(&sentence, "%s %s", missing++ == 0 ? "" : ",", host->name);
    }
    text_print(&sentence, " in the MTA-STS policy of %s, then give its TXT record another id.", hop->partner.domain.name);
    if (missing > 0)
        put(ret, text_words(&sentence));
    text_done(&sentence);
}

static void advise_record(const struct partner *p, bool required, struct text *ret)
{
    AUTO(free) char *record = partner_text(p->record, "v=STSv1");
    const char *domain = p->domain.name;
    char sentence[1200];

    if (record != NULL)
        snprintf(sentence, sizeof(sentence), "Repair the TXT record of _mta-sts.%s (%s): there must be one, such as "
                 "\"v=STSv1; id=20260101\".", domain, p->record_why.text);
    else if (required)
        snprintf(sentence, sizeof(sentence), "Publish MTA-STS: a TXT record of _mta-sts.%s, and a policy in mode enforce at "
                 "https://mta-sts.%s/.well-known/mta-sts.txt.", domain, domain);
    else
        return;
    put(ret, sentence);
}

static void advise_sts(const struct finding_hop *hop, bool required, struct text *ret)
{
    const struct partner *p = &hop->partner;
    char sentence[1200];

    switch (hop->found->sts) {
    case STS_UNKNOWN:
        if (hop->found->dane == DANE_BOGUS && p->record != NULL && look_records(p->record)->look.trust == DNS_BOGUS)
            return;                                     /* one and the same thing to repair, told already */
        snprintf(sentence, sizeof(sentence), "See that the name servers answer for the TXT record of _mta-sts.%s, also with a "
                 "denial (%s).", p->domain.name, p->record_why.text);
        put(ret, sentence);
        return;
    case STS_ABSENT:
        advise_record(p, required, ret);
        return;
    case STS_FETCH_ERROR:
        advise_file(p, ret);
        return;
    case STS_ENFORCE:
    case STS_ENFORCE_MISMATCH:
        advise_unlisted(hop, ret);
        return;
    case STS_TESTING:
    case STS_NONE:
        break;
    }
    if (required) {
        snprintf(sentence, sizeof(sentence), "Set the mode of the MTA-STS policy of %s to enforce, then give its TXT record "
                 "another id.", p->domain.name);
        put(ret, sentence);
    }
}

static void advise_report(const struct partner *p, struct text *ret)
{
    AUTO(free) char *record = p->report_text == NULL ? partner_text(p->report, "v=TLSRPTv1") : NULL;
    char sentence[1200];

    if (record == NULL)
        return;
    snprintf(sentence, sizeof(sentence), "Repair the TXT record of _smtp._tls.%s (%s).", p->domain.name, p->report_why.text);
    put(ret, sentence);
}

static void advise_dane(const struct finding *f, const struct finding_hop *hop, struct text *ret)
{
    bool broken = false;
    size_t i;

    if (hop->found->dane == DANE_USABLE)
        return;
    if (hop->answers->mx.asked)
        broken = advise_zone(f, hop->hop.host.name, ret);
    if (!broken && hop->found->mx_failed)
        put(ret, "See that the name servers answer for the domain's MX records, and that their signatures are valid.");
    for (i = 0; i < hop->found->host_count; i++)
        advise_host(f, hop, i, ret);
}

static bool held_by_sts(enum reason reason)
{
    return reason == REASON_STS_REQUIRED || reason == REASON_STS_MX_MISMATCH || reason == REASON_STS_FETCH_ERROR;
}

void finding_advice(const struct finding *f, struct text *ret)
{
    const struct finding_hop *hop = &f->hops[f->decided];
    bool must_sts = f->connector->mta_sts == MODE_MANDATORY;

    if (hop->answers == NULL || hop->answers->literal || hop->found->dane == DANE_NO_MAIL)
        return;
    if (held_by_sts(f->decision.reason))            /* what would help comes first */
        advise_sts(hop, must_sts, ret);
    advise_dane(f, hop, ret);
    if (!held_by_sts(f->decision.reason))
        advise_sts(hop, must_sts, ret);
    advise_report(&hop->partner, ret);
}
