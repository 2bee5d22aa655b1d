#include "base/memory.h"
#include "cli/finding.h"
#include "cli/output.h"
#include "policy/reply.h"

#include <stdio.h>
#include <string.h>

enum { LINE_SIZE = 1024, DATA_SHOWN = 8, MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR };

static void put_connector(const struct finding *f)
{
    const struct connector *c = f->connector;
    char line[LINE_SIZE];

    snprintf(line, sizeof(line), "%.400s: smtp_dane %s, mta_sts %s%s%s", c->name, mode_word(c->smtp_dane), mode_word(c->mta_sts),
             c->tls == TLS_SITE ? "" : ", tls ", c->tls == TLS_SITE ? "" : tls_word(c->tls));
    output_field("connector", line);
}

static void put_hops(const struct finding *f)
{
    bool smart = f->connector->smart_host_count > 0;
    char line[LINE_SIZE], hop[NEXT_HOP_TEXT_SIZE];
    size_t i;

    for (i = 0; i < f->hop_count; i++) {
        next_hop_print(&f->hops[i].hop, hop);
        if (f->hop_count == 1)
            snprintf(line, sizeof(line), "%s%s", hop, smart ? " (the connector's smart host)" : "");
        else
            snprintf(line, sizeof(line), "%s (smart host %zu of %zu): DANE %s, MTA-STS %s%s", hop, i + 1, f->hop_count,
                     dane_word(f->hops[i].found->dane), sts_word(finding_sts(&f->hops[i])),
                     i == f->decided ? "; this one decides" : "");
        output_field(i == 0 ? "next hop" : "", line);
    }
}

static void put_chain(const struct chain *chain)
{
    char line[LINE_SIZE];
    size_t i;

    for (i = 0; i < chain->count; i++) {
        const struct zone *zone = &chain->zones[i];

        snprintf(line, sizeof(line), "%s %s%s%s%s", zone->name, zone->state == DNS_SECURE ? "" : "<-- ", trust_word(zone->state),
                 zone->why[0] == '\0' ? "" : ": ", zone->why);
        output_field(i == 0 ? "DNSSEC" : "", line);
    }
}

static void put_mx(const struct finding_hop *hop)
{
    const struct dns_answers *answers = hop->answers;
    const char *trust = trust_word(answers->mx.trust);
    char line[LINE_SIZE];

    if (!answers->mx.asked)
        snprintf(line, sizeof(line), "not looked up: the next hop is a host");
    else if (answers->mx.trust == DNS_FAILED || answers->mx.trust == DNS_BOGUS)
        snprintf(line, sizeof(line), "%s: %s", trust, answers->mx.why);
    else if (answers->mx.no_name)
        snprintf(line, sizeof(line), "no such domain, %s", trust);
    else if (answers->null_mx)
        snprintf(line, sizeof(line), "null, %s: the domain accepts no mail", trust);
    else if (answers->implicit_mx)
        snprintf(line, sizeof(line), "none, %s: the domain itself is the host", trust);
    else
        snprintf(line, sizeof(line), "%s%s", trust, answers->clipped ? "; there is more than is shown" : "");
    output_field("MX", line);
}

static void put_record(const struct dns_tlsa_set *set, size_t index)
{
    const struct dns_tlsa *record = &set->records[index];
    struct fault why = { "" };
    bool usable = finding_usable(set, index, &why);
    size_t i;

    printf("      TLSA %u %u %u ", record->usage, record->selector, record->matching);
    for (i = 0; i < record->length && i < DATA_SHOWN; i++)
        printf("%02x", record->data[i]);
    printf("%s  %s", record->length > DATA_SHOWN ? "..." : "", usable ? "usable" : "not usable: ");
    output_put(usable ? "" : why.text);
    putchar('\n');
}

static void put_host(const struct finding_hop *hop, size_t index)
{
    const struct dns_host *host = &hop->answers->hosts[index];
    const struct dns_tlsa_set *set = dane_tlsa_of(host);
    enum host_state state;
    struct fault why = { "" };
    size_t i;

    state = dane_judge_host(host, &why);
    if (hop->answers->mx.asked && !hop->answers->implicit_mx)
        printf("    %-5u %s  ", host->preference, host->name.name);
    else
        printf("    %s  ", host->name.name);
    printf("%s", host_word(state));
    if (state != HOST_GOOD) {
        fputs(": ", stdout);
        output_put(why.text);
    } else {
        printf(", addresses %s", dane_addresses_secure(host) ? "secure" : "not secure, alias secure");
    }
    putchar('\n');
    if (set->count > 0 && strcmp(set->base.name, host->name.name) != 0 && set->base.length > 0)
        printf("      TLSA base domain %s\n", set->base.name);
    for (i = 0; i < set->count; i++)
        put_record(set, i);
}

static void put_dane(const struct finding_hop *hop)
{
    char line[LINE_SIZE];

    snprintf(line, sizeof(line), "%s: %s", dane_word(hop->found->dane), hop->found->why);
    output_field("DANE", line);
}

static void put_policy(const struct sts_policy *p)
{
    char line[LINE_SIZE];
    struct text mx;
    size_t i;

    text_init(&mx, (size_t)1 << 17);
    text_print(&mx, "mx");
    for (i = 0; i < p->mx_count; i++)
        text_print(&mx, "%s %s", i == 0 ? "" : ",", p->mx[i]);
    snprintf(line, sizeof(line), "mode %s, to be kept for %u %s (max_age %u)", sts_mode_word(p->mode),
             p->max_age >= DAY ? p->max_age / DAY : p->max_age / HOUR, p->max_age >= DAY ? "days" : "hours", p->max_age);
    output_field("", line);
    if (p->mx_count > 0)
        output_field("", text_words(&mx));
    text_done(&mx);
}

/* Which pattern lists the host (RFC 8461 4.1). */
static void put_listing(const struct sts_policy *p, const char *host)
{
    char line[LINE_SIZE];
    size_t i;

    for (i = 0; i < p->mx_count && !sts_mx_match(p->mx[i], host); i++)
        ;
    if (i == p->mx_count)
        snprintf(line, sizeof(line), "%.300s <-- not listed", host);
    else
        snprintf(line, sizeof(line), "%.300s is listed as %.300s", host, p->mx[i]);
    output_field("", line);
}

static void put_sts(const struct finding_hop *hop)
{
    AUTO(free) char *record = hop->partner.record == NULL ? NULL : partner_text(hop->partner.record, "v=STSv1");
    const struct sts_policy *policy = hop->partner.policy;
    char line[LINE_SIZE];
    size_t i;

    snprintf(line, sizeof(line), "%s: %s%s", sts_word(finding_sts(hop)), hop->sts->sts_why,
             finding_sts(hop) == STS_ENFORCE_MISMATCH ? ", but it lists none of the MX hosts" : "");
    output_field("MTA-STS", line);
    if (record != NULL) {
        snprintf(line, sizeof(line), "TXT %s", record);
        output_field("", line);
    }
    if (policy == NULL)
        return;
    put_policy(policy);
    for (i = 0; i < hop->found->host_count && policy->mx_count > 0; i++) {
        if (hop->found->hosts[i].state != HOST_GONE)
            put_listing(policy, hop->found->hosts[i].name);
    }
}

static void put_report(const struct partner *p)
{
    AUTO(free) char *record = NULL;
    char line[LINE_SIZE];

    if (p->report == NULL)
        return;
    if (p->report_text != NULL) {
        output_field("TLSRPT", p->report_text);
        return;
    }
    record = partner_text(p->report, "v=TLSRPTv1");
    snprintf(line, sizeof(line), "none: %s", p->report_why.text);
    output_field("TLSRPT", line);
    if (record != NULL)
        output_field("", record);
}

static void put_fallback(const struct finding *f)
{
    const struct connector *c = f->connector;
    char line[LINE_SIZE];

    if (c->fallback == NULL || !decision_is_lasting_hold(&f->decision))
        return;
    snprintf(line, sizeof(line), "%s, once this has lasted %u min", c->fallback->name, (c->fallback_after + MINUTE - 1) / MINUTE);
    output_field("fallback", line);
}

static void put_verdict(const struct finding *f)
{
    AUTO(free) char *policy = finding_policy(f);
    char line[LINE_SIZE];
    struct reply reply;

    switch (f->decision.verdict) {
    case VERDICT_DELIVER:
        snprintf(line, sizeof(line), "deliver%s%s", f->connector->is_default || f->connector->route == NULL ? "" : " over ",
                 f->connector->is_default || f->connector->route == NULL ? "" : connector_road(f->connector)->name);
        output_field("verdict", line);
        output_field("policy", policy);
        return;
    case VERDICT_PASS:
        output_field("verdict", "pass: the MTA has its own permanent answer");
        return;
    case VERDICT_FALLBACK:              /* the daemon alone takes one, and knows how long mail was held */
    case VERDICT_BOUNCE:
    case VERDICT_HOLD:
        break;
    }
    output_field("verdict", "hold");
    if (f->hops[f->decided].answers == NULL) {      /* not the partner's fault */
        output_field("reason", "dns-temp: our own resolver can prove nothing at the moment");
        return;
    }
    reply_hold(f->decision.reason, f->connector, f->hops[f->decided].hop.host.name, &reply);
    output_field("reason", reply.text);
    put_fallback(f);
}

/* What the connector in test mode would do. Another's smart hosts were not looked at. */
static void put_shadow(const struct finding *f)
{
    const struct connector *c = f->shadow;
    char line[LINE_SIZE];
    struct decision d;

    if (c == NULL)
        return;
    if (c->smart_host_count > 0 || f->connector->smart_host_count > 0) {
        snprintf(line, sizeof(line), "%.400s has next hops of its own", c->name);
    } else {
        d = decide(c, f->hops[0].found);
        snprintf(line, sizeof(line), "%.400s would %s%s%s", c->name, verdict_word(d.verdict), d.reason == REASON_NONE ? "" : ": ",
                 d.reason == REASON_NONE ? "" : reason_word(d.reason));
    }
    output_field("in test mode", line);
}

void finding_page(const struct finding *f)
{
    const struct finding_hop *hop = &f->hops[f->decided];
    struct text advice;
    size_t i;

    output_put(f->name);
    putchar('\n');
    put_connector(f);
    put_hops(f);
    put_chain(&f->chain);
    if (hop->answers != NULL && !hop->answers->literal) {
        put_mx(hop);
        for (i = 0; i < hop->answers->host_count; i++)
            put_host(hop, i);
    }
    put_dane(hop);
    put_sts(hop);
    put_report(&hop->partner);
    if (f->tour != NULL)
        tour_page(f->tour);
    put_verdict(f);
    put_shadow(f);
    text_init(&advice, (size_t)1 << 16);
    finding_advice(f, &advice);
    if (f->tour != NULL)
        tour_advice(f->tour, &advice);
    if (advice.length > 0)
        output_field("tell them", text_words(&advice));
    text_done(&advice);
}
