/*
 * DNS answers as a resolver may hand them in, an MTA-STS half beside them, and what both come to for connectors of every kind.
 * Judged once more here, as plainly as can be: what a mandatory connector delivers was vouched for, what is forged is never
 * taken for nothing, nothing lives too long, and whoever strips signatures gains nothing.
 */
#include "fuzz.h"

#include "policy/decide.h"

#include <string.h>

enum { NOW = 1000000, HOSTS = 6, RECORDS = 3, FLOOR = 30, CEILING = 24 * 60 * 60, ABSENT_CEILING = 60 * 60 };

static struct dns_host hosts[HOSTS];
static struct dns_tlsa records[HOSTS][2][RECORDS];
static uint8_t data[256];

/* Building the answers */

static void take_look(struct feed *f, struct dns_look *ret)
{
    static const uint32_t ttls[] = { 0, 1, 29, 30, 31, 300, 3599, 3600, 3601, 86399, 86400, 86401, 604800, UINT32_MAX };
    uint8_t flags = feed_octet(f);

    *ret = (struct dns_look){ .asked = (flags & 1) == 0, .trust = (enum dns_trust)(3 - (flags >> 1 & 3)),
                              .found = (flags & 8) == 0, .no_name = (flags & 24) == 24,
                              .ttl = ttls[(flags >> 5) + (flags >> 5 == 7 ? feed_octet(f) % 7 : 0)], .why = "signature crypto failed" };
}

static void take_set(struct feed *f, struct dns_tlsa *into, struct dns_tlsa_set *ret)
{
    static const uint16_t lengths[] = { 32, 64, 31, 33, 0, 65, 20, 256 };
    uint8_t octet;
    size_t i;

    take_look(f, &ret->look);
    ret->records = into;
    ret->count = ret->look.found ? feed_octet(f) % (RECORDS + 1) : 0;
    for (i = 0; i < ret->count; i++) {
        octet = feed_octet(f);
        into[i] = (struct dns_tlsa){ .usage = (uint8_t)(3 - (octet & 3)), .selector = octet >> 2 & 1,
                                     .matching = (uint8_t)(((octet >> 3 & 3) + 1) % 4), .length = lengths[octet >> 5],
                                     .data = data };
    }
}

static void name(struct domain *d, const char *prefix, size_t i)
{
    const char words[] = { *prefix, (char)('a' + i), '\0' };

    d->length = (uint8_t)(strlen(words) + strlen(".bank.example"));
    strcpy(d->name, words);
    strcat(d->name, ".bank.example");
}

static void take_host(struct feed *f, size_t i)
{
    struct dns_host *h = &hosts[i];
    bool aliased = (feed_octet(f) & 1) != 0;

    name(&h->name, "m", i);
    name(&h->expanded, aliased ? "x" : "m", i);
    h->preference = (uint16_t)i;
    take_look(f, &h->a);
    take_look(f, &h->aaaa);
    take_look(f, &h->cname);
    h->at_expanded = (struct dns_tlsa_set){ .base = h->expanded };
    if (aliased)
        take_set(f, records[i][0], &h->at_expanded);
    h->at_name.base = h->name;
    take_set(f, records[i][1], &h->at_name);
}

static void take_answers(struct feed *f, struct dns_answers *ret)
{
    uint8_t flags = feed_octet(f);
    size_t i;

    *ret = (struct dns_answers){ .hosts = hosts, .literal = flags == 0xff, .null_mx = (flags & 0xf0) == 0xe0 };
    take_look(f, &ret->mx);
    if (ret->literal)
        return;
    ret->host_count = flags % (HOSTS + 1);
    for (i = 0; i < ret->host_count; i++)
        take_host(f, i);
}

static struct evidence *take_sts(struct feed *f)
{
    static const char *const bodies[] = { "mx: ma.bank.example\n", "mx: mb.bank.example\nmx: mc.bank.example\n",
                                          "mx: *.bank.example\n", "mx: other.example\n" };
    static const enum sts_state states[] = { STS_ABSENT, STS_ENFORCE, STS_UNKNOWN, STS_FETCH_ERROR, STS_NONE, STS_TESTING };
    uint8_t octet = feed_octet(f);
    enum sts_state state = states[octet % 6];
    struct sts_policy *policy = NULL;
    struct evidence *half;
    char body[200] = "version: STSv1\nmode: enforce\nmax_age: 86400\n";

    strcat(body, bodies[octet >> 6]);
    if (state == STS_ENFORCE)
        must(sts_policy_parse(body, strlen(body), &policy, NULL));
    half = evidence_of_sts(state, "so it is", policy, NOW + 1000 * (int64_t)(octet >> 3 & 7) * 60);
    sts_policy_unref(policy);
    return half;
}

/* The same once more, plainly */

static bool vouched(const struct dns_look *l)
{
    return l->asked && l->trust == DNS_SECURE && l->found;
}

static bool sick(const struct dns_look *l)
{
    return !l->asked || l->trust == DNS_FAILED || l->trust == DNS_BOGUS;
}

static bool set_good(const struct dns_tlsa_set *s)
{
    size_t i, good = 0;

    for (i = 0; i < s->count; i++) {
        const struct dns_tlsa *r = &s->records[i];

        good += r->usage >= 2 && r->usage <= 3 && r->selector <= 1 &&
                ((r->matching == 1 && r->length == 32) || (r->matching == 2 && r->length == 64));
    }
    return vouched(&s->look) && good > 0;
}

/* A host that may carry mail by DANE: the name that TLSA records were found for is reached by signatures all the way. */
static bool host_good(const struct dns_host *h)
{
    if (vouched(&h->a) || vouched(&h->aaaa))
        return set_good(&h->at_expanded) || set_good(&h->at_name);
    return ((!sick(&h->a) && h->a.found) || (!sick(&h->aaaa) && h->aaaa.found)) && vouched(&h->cname) && set_good(&h->at_name);
}

static size_t count_good(const struct dns_answers *a)
{
    size_t i, good = 0;

    for (i = 0; i < a->host_count; i++)
        good += host_good(&a->hosts[i]);
    return good;
}

static bool mx_vouched(const struct dns_answers *a)
{
    return !a->literal && (a->mx.asked ? a->mx.trust == DNS_SECURE : a->host_count > 0);
}

static void note_ttl(const struct dns_look *l, uint32_t *least)
{
    if (l->asked && l->trust != DNS_FAILED && l->trust != DNS_BOGUS && l->ttl < *least)
        *least = l->ttl;
}

static uint32_t least_ttl(const struct dns_answers *a)
{
    uint32_t least = CEILING;
    size_t i;

    note_ttl(&a->mx, &least);
    for (i = 0; i < a->host_count; i++) {
        note_ttl(&a->hosts[i].a, &least);
        note_ttl(&a->hosts[i].aaaa, &least);
        note_ttl(&a->hosts[i].cname, &least);
        note_ttl(&a->hosts[i].at_expanded.look, &least);
        note_ttl(&a->hosts[i].at_name.look, &least);
    }
    return least < FLOOR ? FLOOR : least;
}

/* What always holds */

static void check_lifetime(const struct dns_answers *a, const struct evidence *e)
{
    int64_t seconds = (e->fresh_until - NOW) / 1000;

    must(seconds >= FLOOR && seconds <= least_ttl(a));
    must((e->dane != DANE_ABSENT && e->dane != DANE_NO_MAIL) || seconds <= ABSENT_CEILING);
    must((e->dane != DANE_UNKNOWN && e->dane != DANE_BOGUS && e->dane != DANE_DEGRADED) || seconds == FLOOR);
}

static void check_host(const struct evidence_host *h)
{
    size_t i;

    must((h->state == HOST_GOOD) == (h->tlsa_count > 0));
    for (i = 0; i < h->tlsa_count; i++)
        must(dane_tlsa_usable(&h->tlsa[i], NULL));
}

static void check_state(const struct dns_answers *a, const struct evidence *e)
{
    bool settled = a->literal || (a->mx.asked && sick(&a->mx)) || e->dane == DANE_NO_MAIL;
    size_t left = 0, ill = 0, i;

    must(is_printable(e->why) && e->why[0] != '\0' && e->host_count == a->host_count);
    for (i = 0; i < e->host_count; i++) {
        check_host(&e->hosts[i]);
        must((e->hosts[i].state == HOST_GOOD) <= host_good(&a->hosts[i]));
        left += e->hosts[i].state != HOST_GONE;
        ill += e->hosts[i].state == HOST_BOGUS || e->hosts[i].state == HOST_FAILING;
    }
    if (!a->literal && a->mx.asked && a->mx.trust == DNS_BOGUS)
        must(e->dane == DANE_BOGUS);
    if (!a->literal && a->mx.asked && a->mx.trust == DNS_FAILED)
        must(e->dane == DANE_UNKNOWN);
    if (e->dane == DANE_NO_MAIL)
        must(!sick(&a->mx) && (a->mx.no_name || a->null_mx));
    if (e->dane == DANE_ABSENT && !settled)
        must(left == 0 || ill < left);
    if (e->dane == DANE_ABSENT && !settled && mx_vouched(a))
        must(ill == 0);
    if (e->dane == DANE_USABLE)
        must(mx_vouched(a) && left > 0 && count_good(a) >= left);
    if (e->dane == DANE_PARTIAL)
        must(mx_vouched(a) && count_good(a) > 0);
}

static bool sts_vouches(const struct evidence *e)
{
    size_t i;

    for (i = 0; i < e->host_count && !e->hosts[i].sts_match; i++)
        ;
    return e->sts == STS_ENFORCE && i < e->host_count && e->policy != NULL && e->policy->mode == STS_MODE_ENFORCE;
}

/* The names that a policy's hosts must have: all of them are in the policy. */
static void check_names(const struct decision *d, const struct connector *c, const struct evidence *e)
{
    char *words, *word, *rest;
    struct text policy;
    size_t named = 0;

    text_init(&policy, 8192);
    decision_policy(d, c, e, &policy);
    must(is_printable(text_words(&policy)));
    words = text_give(&policy);
    must(strncmp(words, "secure match=", 13) == 0);
    words[13 + strcspn(words + 13, " ")] = '\0';
    for (word = strtok_r(words + 13, ":", &rest); word != NULL; word = strtok_r(NULL, ":", &rest)) {
        must(sts_policy_lists(e->policy, word));
        named++;
    }
    must(named > 0);
    free(words);
}

static void check_delivery(const struct dns_answers *a, const struct connector *c, const struct evidence *e,
                           const struct decision *d)
{
    bool by_dane = d->tls == TLS_DANE_ONLY && mx_vouched(a) && count_good(a) > 0;
    bool by_sts = d->tls == TLS_SECURE && (d->match == MATCH_STS || d->match == MATCH_STS_BARE) && sts_vouches(e);
    bool both = c->smtp_dane == MODE_MANDATORY && c->mta_sts == MODE_MANDATORY;

    must(d->reason == REASON_NONE && tls_strength(d->tls) >= tls_strength(c->tls));
    must(c->smtp_dane == MODE_NONE || (e->dane != DANE_BOGUS && e->dane != DANE_UNKNOWN && e->dane != DANE_MISMATCH));
    if (both && c->require == REQUIRE_ANY) {
        must(by_dane || by_sts);
    } else {
        must(c->smtp_dane != MODE_MANDATORY || by_dane);
        must(c->mta_sts != MODE_MANDATORY || (sts_vouches(e) && (by_dane || by_sts)));
    }
    if (d->match == MATCH_STS || d->match == MATCH_STS_BARE)
        check_names(d, c, e);
}

static void check_decision(const struct dns_answers *a, const struct connector *c, const struct evidence *e)
{
    struct decision d = decide(c, e);

    switch (d.verdict) {
    case VERDICT_DELIVER:
        check_delivery(a, c, e, &d);
        break;
    case VERDICT_PASS:
        must(e->dane == DANE_NO_MAIL && d.reason == REASON_NONE);
        must(!connector_is_mandatory(c) || d.tls == TLS_DANE_ONLY);
        break;
    case VERDICT_HOLD:
        must(d.reason != REASON_NONE && d.reason != REASON_INTERNAL);
        break;
    case VERDICT_FALLBACK:
    case VERDICT_BOUNCE:
        must(false);
    }
}

static bool same(const struct decision *a, const struct decision *b)
{
    return a->verdict == b->verdict && a->reason == b->reason && a->tls == b->tls && a->match == b->match;
}

/* What is said without MTA-STS, where it does not matter, is what is said with it. */
static void check_need(const struct connector *c, const struct evidence *dane, const struct evidence *both)
{
    struct decision without = decide(c, dane), with = decide(c, both);

    must(decide_needs_sts(c, dane) || same(&without, &with));
}

static void check_connectors(const struct dns_answers *a, const struct evidence *dane, const struct evidence *both,
                             const struct evidence *visited, uint8_t floor)
{
    static const enum tls_level floors[] = { TLS_SITE, TLS_MAY, TLS_ENCRYPT, TLS_VERIFY, TLS_SECURE };
    static const char *const names[] = { "mx.bank.example" };
    unsigned i;

    for (i = 0; i < 3 * 3 * 2; i++) {
        struct connector c = { .name = "Bank", .smtp_dane = (enum mode)(i % 3), .mta_sts = (enum mode)(i / 3 % 3),
                               .require = (enum require)(i / 9), .tls = floors[floor % 5], .tls_match = names,
                               .tls_match_count = 1 };

        check_decision(a, &c, both);
        check_need(&c, dane, both);
        check_decision(a, &c, visited);
    }
}

/* Somebody on the way who takes all signatures off: nothing that is demanded is there any more. */
static void strip(struct dns_look *l)
{
    l->trust = l->trust == DNS_SECURE ? DNS_INSECURE : l->trust;
}

static void check_stripped(struct dns_answers *a)
{
    static const struct connector c = { .name = "Bank", .smtp_dane = MODE_MANDATORY, .mta_sts = MODE_NONE, .tls = TLS_SITE };
    struct evidence *e;
    size_t i;

    strip(&a->mx);
    for (i = 0; i < a->host_count; i++) {
        strip(&hosts[i].a);
        strip(&hosts[i].aaaa);
        strip(&hosts[i].cname);
        strip(&hosts[i].at_expanded.look);
        strip(&hosts[i].at_name.look);
    }
    e = dane_judge(a, DNS_TLSA_MAX, NOW);
    must(e->dane != DANE_USABLE && e->dane != DANE_PARTIAL && e->dane != DANE_INSECURE_MX);
    must(decide(&c, e).verdict != VERDICT_DELIVER);
    evidence_unref(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct feed f = { bytes, bytes + length };
    uint8_t floor = feed_octet(&f);
    struct evidence *dane, *sts = take_sts(&f), *both, *visited;
    struct dns_answers answers;

    take_answers(&f, &answers);
    dane = dane_judge(&answers, DNS_TLSA_MAX, NOW);
    check_lifetime(&answers, dane);
    check_state(&answers, dane);
    both = evidence_join(dane, sts);
    must(both->fresh_until == (dane->fresh_until < sts->fresh_until ? dane->fresh_until : sts->fresh_until));
    must(both->dane == dane->dane && (both->sts == sts->sts || (sts->sts == STS_ENFORCE && both->sts == STS_ENFORCE_MISMATCH)));
    visited = evidence_mismatch(both, "no host shows what it promises");
    check_connectors(&answers, dane, both, visited, floor);
    evidence_unref(visited);
    evidence_unref(both);
    evidence_unref(dane);
    evidence_unref(sts);
    check_stripped(&answers);
    return 0;
}
