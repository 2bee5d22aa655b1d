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

void finding_advice(const struct finding *f, struct text *ret)
{
    const struct finding_hop *hop = &f->hops[f->decided];
    bool broken = false;
    size_t i;

    if (hop->answers == NULL || hop->answers->literal || hop->found->dane == DANE_USABLE || hop->found->dane == DANE_NO_MAIL)
        return;
    if (hop->answers->mx.asked)
        broken = advise_zone(f, hop->hop.host.name, ret);
    if (!broken && hop->found->mx_failed)
        put(ret, "See that the name servers answer for the domain's MX records, and that their signatures are valid.");
    for (i = 0; i < hop->found->host_count; i++)
        advise_host(f, hop, i, ret);
}
