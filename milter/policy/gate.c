/*
 * One connection against one next hop. What is demanded of it comes from the decision about the next hop (or from a road
 * that has its own), never from the MTA: what the MTA saw only says which host it is, and which certificate that has.
 *
 *   gate_judge() ── held? ── what level? ── is the host one of the next hop's? ── TLS, certificate, chain ──► ruling
 */
#include "policy/gate.h"

#include <string.h>

enum { USAGE_EE = 3, SELECTOR_CERT = 0, MATCH_SHA256 = 1 };

static void refuse(struct gate_ruling *r, enum reason reason)
{
    r->outcome = GATE_REFUSED;
    r->reason = reason;
}

/* With words of its own: the host, then what is wrong with it. */
#define refuse_saying(r, why_reason, ...)           \
    do {                                            \
        refuse(r, why_reason);                      \
        (r)->worded = true;                         \
        fault_set(&(r)->why, __VA_ARGS__);          \
    } while (0)

/* How little is demanded of a host in this state, at the least. */
static int leniency(enum host_state state)
{
    switch (state) {
    case HOST_GOOD:
        return 0;
    case HOST_UNUSABLE:
        return 2;
    case HOST_BARE:
        return 3;
    case HOST_BOGUS:
    case HOST_GONE:
    case HOST_FAILING:
        break;
    }
    return 1;
}

/* Of two hosts whose aliases end in the same name, the one that more is demanded of. */
static bool is_stricter(const struct evidence_host *a, const struct evidence_host *b)
{
    if (a->state != b->state)
        return leniency(a->state) < leniency(b->state);
    return a->sts_match < b->sts_match;
}

/* The MX host that the MTA is connected to, by its name, else by what aliases end in; NULL: it is none of them. */
static const struct evidence_host *find_host(const struct gate_case *c)
{
    const struct domain *server = &c->seen->server.host;
    const struct evidence_host *by_alias = NULL, *host;
    size_t i;

    if (server->length == 0 || c->seen->server.literal)
        return NULL;
    for (i = 0; i < c->found->host_count; i++) {
        host = &c->found->hosts[i];
        if (strcmp(host->name, server->name) == 0)
            return host;
        if (strcmp(host->expanded, server->name) == 0 && (by_alias == NULL || is_stricter(host, by_alias)))
            by_alias = host;
    }
    return by_alias;
}

/* Whether the next hop itself is a host, and is the one: also where nothing could be looked up. */
static bool is_hop_itself(const struct gate_case *c)
{
    return c->hop->bracketed && c->seen->server.host.length > 0 && c->hop->literal == c->seen->server.literal &&
           domain_equal(&c->hop->host, &c->seen->server.host);
}

static const char *server_word(const struct gate_case *c)
{
    return c->seen->server.host.length > 0 ? c->seen->server.host.name : "the server";
}

/* Refused for not being one of the next hop's hosts. */
static void send_away(const struct gate_case *c, struct gate_ruling *r, enum reason reason)
{
    refuse_saying(r, reason, "%s is not a mail server of %s; connector \"%s\"", server_word(c), c->hop->host.name,
                  c->connector->name);
    r->outcome = GATE_ELSEWHERE;
}

/* Whether the connection is encrypted well enough, and a certificate was seen. */
static bool check_tls(const struct gate_case *c, struct gate_ruling *r, enum reason reason)
{
    if (!c->seen->tls)
        refuse_saying(r, reason, "%s does not offer STARTTLS; connector \"%s\"", server_word(c), c->connector->name);
    else if (!c->seen->modern)
        refuse_saying(r, reason, "%s does not offer TLS 1.2 or later; connector \"%s\"", server_word(c), c->connector->name);
    else if (!c->seen->shown)
        refuse_saying(r, reason, "the MTA saw no certificate of %s, or did not tell its SHA-256; connector \"%s\"",
                      server_word(c), c->connector->name);
    else
        return true;
    return false;
}

/* The chain, where it is the one whose first certificate was seen. */
static const struct cert_chain *seen_chain(const struct gate_case *c)
{
    bool same = c->chain != NULL && memcmp(c->chain->fingerprint, c->seen->fingerprint, sizeof(c->chain->fingerprint)) == 0;

    return same ? c->chain : NULL;
}

/* Refused, unless the chain can be had. */
static void want_chain(const struct gate_case *c, struct gate_ruling *r, enum reason reason)
{
    refuse_saying(r, reason, "the certificate of %s could not be fetched for checking", server_word(c));
    r->outcome = GATE_UNSEEN;
}

static void refuse_certificate(const struct gate_case *c, struct gate_ruling *r, enum reason reason, const struct fault *why)
{
    refuse_saying(r, reason, "the certificate of %s is not accepted: %.300s; connector \"%s\"", server_word(c), why->text,
                  c->connector->name);
}

/* Whether the record needs nothing but the fingerprint. */
static bool is_pin(const struct dns_tlsa *t)
{
    return t->usage == USAGE_EE && t->selector == SELECTOR_CERT && t->matching == MATCH_SHA256;
}

static bool has_only_pins(const struct evidence_host *host)
{
    size_t i;

    for (i = 0; i < host->tlsa_count; i++) {
        if (!is_pin(&host->tlsa[i]))
            return false;
    }
    return true;
}

static void judge_dane(const struct gate_case *c, const struct evidence_host *host, struct gate_ruling *r)
{
    const char *names[2] = { host->name, c->hop->host.name };
    struct cert_chain_demand demand = { .records = host->tlsa, .count = host->tlsa_count, .base = host->base, .names = names,
                                        .name_count = c->found->mx_secure ? 2 : 1 };
    const struct cert_chain *chain = seen_chain(c);
    struct fault why = { "" };
    size_t matched;

    if (!check_tls(c, r, REASON_TLSA_INVALID))
        return;
    if (cert_chain_is_pinned(&demand, c->seen->fingerprint, &matched))
        r->outcome = GATE_PASSED;
    else if (has_only_pins(host))
        refuse_saying(r, REASON_TLSA_INVALID, "the certificate of %s matches none of its TLSA records; connector \"%s\"",
                      server_word(c), c->connector->name);
    else if (chain == NULL)
        want_chain(c, r, REASON_TLSA_INVALID);
    else if (cert_chain_dane(chain, &demand, c->now, &matched, &why))
        r->outcome = GATE_PASSED;
    else
        refuse_certificate(c, r, REASON_TLSA_INVALID, &why);
}

static void judge_names(const struct gate_case *c, const char *const names[], size_t count, enum reason reason,
                        struct gate_ruling *r)
{
    const struct cert_chain *chain = seen_chain(c);
    struct fault why = { "" };

    if (!check_tls(c, r, reason))
        return;
    if (names[0][0] == '\0')                /* to OpenSSL an empty name is any name */
        send_away(c, r, reason);
    else if (c->trust == NULL)
        refuse_saying(r, reason, "no certificate authorities are known that could vouch for %s", server_word(c));
    else if (chain == NULL)
        want_chain(c, r, reason);
    else if (cert_chain_pkix(chain, c->trust, names, count, c->now, &why))
        r->outcome = GATE_PASSED;
    else
        refuse_certificate(c, r, reason, &why);
}

/* Why a host that is not good can't be a host that DANE authenticates. */
static enum reason reason_of_host(enum host_state state)
{
    switch (state) {
    case HOST_BOGUS:
        return REASON_DNSSEC_INVALID;
    case HOST_BARE:
    case HOST_UNUSABLE:
    case HOST_GOOD:
        return REASON_DANE_REQUIRED;
    case HOST_GONE:
    case HOST_FAILING:
        break;
    }
    return REASON_DNS_TEMP;
}

/* What is wrong with its records. */
static const char *words_of_host(enum host_state state)
{
    switch (state) {
    case HOST_BOGUS:
        return "has invalid DNSSEC signatures";
    case HOST_BARE:
    case HOST_GOOD:
        return "has no TLSA records that DNSSEC secures";
    case HOST_UNUSABLE:
        return "has no usable TLSA records";
    case HOST_GONE:
        return "has no address that we can find";
    case HOST_FAILING:
        break;
    }
    return "has a DNS that does not answer at the moment";
}

static void refuse_host(const struct gate_case *c, const struct evidence_host *host, struct gate_ruling *r)
{
    refuse_saying(r, reason_of_host(host->state), "%s %s; connector \"%s\"", host->name,
                  words_of_host(host->state), c->connector->name);
}

static void refuse_unlisted(const struct gate_case *c, const struct evidence_host *host, struct gate_ruling *r)
{
    refuse_saying(r, REASON_STS_MX_MISMATCH, "%s is not listed in the MTA-STS policy of %s; connector \"%s\"", host->name,
                  c->hop->host.name, c->connector->name);
}

/* Where both are demanded, DANE alone won't do (RFC 8461 2). */
static bool must_be_listed(const struct gate_case *c)
{
    const struct connector *who = c->connector;

    return c->stand_in == NULL && who->mta_sts == MODE_MANDATORY && c->found->sts == STS_ENFORCE &&
           !(who->require == REQUIRE_ANY && who->smtp_dane == MODE_MANDATORY);
}

static void judge_dane_only(const struct gate_case *c, struct gate_ruling *r)
{
    const struct evidence_host *host = find_host(c);
    bool proven = c->found->mx_secure && (c->found->dane == DANE_USABLE || c->found->dane == DANE_PARTIAL);

    if (host == NULL)
        send_away(c, r, r->decision.verdict == VERDICT_PASS ? REASON_DANE_REQUIRED : REASON_TLSA_INVALID);
    else if (!proven || host->state != HOST_GOOD)
        refuse_host(c, host, r);
    else if (must_be_listed(c) && !host->sts_match)
        refuse_unlisted(c, host, r);
    else
        judge_dane(c, host, r);
}

/* DANE where the host has it; else whatever there is (RFC 7672 2.2). */
static void judge_dane_if_any(const struct gate_case *c, struct gate_ruling *r)
{
    const struct evidence_host *host = find_host(c);

    if (host == NULL) {
        send_away(c, r, REASON_TLSA_INVALID);
        return;
    }
    switch (host->state) {
    case HOST_GOOD:
        judge_dane(c, host, r);
        return;
    case HOST_UNUSABLE:
        if (c->seen->tls)
            r->outcome = GATE_PASSED;
        else
            check_tls(c, r, REASON_TLSA_INVALID);
        return;
    case HOST_BARE:
        r->outcome = GATE_PASSED;
        return;
    case HOST_BOGUS:
    case HOST_GONE:
    case HOST_FAILING:
        break;
    }
    refuse_host(c, host, r);
}

/* The hosts that the policy lists (RFC 8461 4.1); where DANE has some of its own, only those that it has nothing on. */
static void judge_listed(const struct gate_case *c, bool bare_only, struct gate_ruling *r)
{
    const struct evidence_host *host = find_host(c);

    if (host == NULL)
        send_away(c, r, REASON_STS_MX_MISMATCH);
    else if (!host->sts_match || (bare_only && host->state != HOST_BARE))
        refuse_unlisted(c, host, r);
    else
        judge_names(c, &host->name, 1, REASON_STS_MX_MISMATCH, r);
}

/* A connector's own floor, or a road's. Where no host is known, names alone decide. */
static bool is_at_home(const struct gate_case *c)
{
    if (c->hop->bracketed)
        return is_hop_itself(c) || find_host(c) != NULL;
    return find_host(c) != NULL || c->found->host_count == 0;
}

/* The host's own name, not what its alias ends in: that may be forged, and whoever forged it has a certificate for it. */
static const char *name_to_verify(const struct gate_case *c)
{
    const struct evidence_host *host = find_host(c);

    return host != NULL ? host->name : c->seen->server.host.name;
}

static void judge_floor(const struct gate_case *c, enum tls_level tls, const char *const match[], size_t match_count,
                        struct gate_ruling *r)
{
    const char *name = tls == TLS_VERIFY ? name_to_verify(c) : c->hop->host.name;

    if (!is_at_home(c))
        send_away(c, r, REASON_TLS_REQUIRED);
    else if (match_count > 0)
        judge_names(c, match, match_count, REASON_TLS_REQUIRED, r);
    else
        judge_names(c, &name, 1, REASON_TLS_REQUIRED, r);
}

static void judge_encrypt(const struct gate_case *c, enum reason reason, struct gate_ruling *r)
{
    if (!is_at_home(c))
        send_away(c, r, reason);
    else if (c->seen->tls)
        r->outcome = GATE_PASSED;
    else
        check_tls(c, r, reason);
}

static void judge_by_decision(const struct gate_case *c, struct gate_ruling *r)
{
    const struct decision *d = &r->decision;
    const struct connector *who = c->connector;

    if (d->match == MATCH_STS || d->match == MATCH_STS_BARE) {
        judge_listed(c, d->match == MATCH_STS_BARE, r);
        return;
    }
    switch (d->tls) {
    case TLS_SITE:
    case TLS_MAY:
        r->outcome = GATE_PASSED;
        return;
    case TLS_DANE:
        if (d->verdict == VERDICT_PASS)
            r->outcome = GATE_PASSED;
        else
            judge_dane_if_any(c, r);
        return;
    case TLS_ENCRYPT:
        judge_encrypt(c, who->tls == TLS_ENCRYPT ? REASON_TLS_REQUIRED : REASON_TLSA_INVALID, r);
        return;
    case TLS_VERIFY:
    case TLS_SECURE:
        judge_floor(c, d->tls, who->tls_match, who->tls_match_count, r);
        return;
    case TLS_DANE_ONLY:
        break;
    }
    judge_dane_only(c, r);
}

/* Whether nothing tells that a connection is the road's: its hosts are unknown, and it has no names of its own. */
static bool is_lost(const struct gate_case *c)
{
    const struct route *road = c->stand_in;
    bool named = road->tls == TLS_SECURE || (road->tls == TLS_VERIFY && road->tls_match_count > 0);

    return c->found->host_count == 0 && !c->hop->bracketed && !named;
}

/* The road's transport demands no less; here is only seen that the connection is the road's. */
static void judge_by_road(const struct gate_case *c, struct gate_ruling *r)
{
    const struct route *road = c->stand_in;

    if (is_lost(c)) {
        refuse_saying(r, REASON_DNS_TEMP, "the mail servers of %s are not known at the moment; connector \"%s\"",
                      c->hop->host.name, c->connector->name);
        return;
    }
    switch (road->tls) {
    case TLS_SITE:
    case TLS_MAY:
        if (is_at_home(c))
            r->outcome = GATE_PASSED;
        else
            send_away(c, r, REASON_TLS_REQUIRED);
        return;
    case TLS_DANE:
        judge_dane_if_any(c, r);
        return;
    case TLS_ENCRYPT:
        judge_encrypt(c, REASON_TLS_REQUIRED, r);
        return;
    case TLS_VERIFY:
    case TLS_SECURE:
        judge_floor(c, road->tls, road->tls_match, road->tls_match_count, r);
        return;
    case TLS_DANE_ONLY:
        break;
    }
    judge_dane_only(c, r);
}

/* Whether no host of the next hop stands behind the one that is connected. */
static bool is_last(const struct gate_case *c)
{
    const struct evidence_host *host = find_host(c);
    size_t i;

    for (i = 0; host != NULL && i < c->found->host_count; i++) {
        if (c->found->hosts[i].state != HOST_GONE && c->found->hosts[i].preference > host->preference)
            return false;
    }
    return true;
}

void gate_judge(const struct gate_case *c, struct gate_ruling *ret)
{
    *ret = (struct gate_ruling){ .decision = decide(c->connector, c->found), .last = is_last(c) };
    if (c->stand_in != NULL) {
        judge_by_road(c, ret);
    } else if (ret->decision.verdict == VERDICT_HOLD) {
        refuse(ret, ret->decision.reason);
        if (find_host(c) == NULL && !is_hop_itself(c))
            ret->outcome = GATE_ELSEWHERE;
    } else {
        judge_by_decision(c, ret);
    }
}

/* By the connector's own floor every host has to show a chain; by DANE only those with more than fingerprints. */
static bool wants_chain(const struct decision *d, const struct evidence_host *host)
{
    if (host->state == HOST_GONE || d->verdict != VERDICT_DELIVER)
        return false;
    switch (d->match) {
    case MATCH_CONNECTOR:
        return true;
    case MATCH_STS:
        return host->sts_match;
    case MATCH_STS_BARE:
        return host->sts_match && host->state == HOST_BARE;
    case MATCH_NOTHING:
        break;
    }
    return (d->tls == TLS_DANE_ONLY || d->tls == TLS_DANE) && host->state == HOST_GOOD && !has_only_pins(host);
}

size_t gate_wants_chains(const struct connector *connector, const struct next_hop *hop, const struct evidence *found,
                         const struct evidence_host *ret[], size_t room)
{
    struct decision d = decide(connector, found);
    size_t count = 0, i;

    for (i = 0; i < found->host_count && count < room && !hop->literal; i++) {
        if (wants_chain(&d, &found->hosts[i]))
            ret[count++] = &found->hosts[i];
    }
    return count;
}
