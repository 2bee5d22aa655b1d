/*
 * Judges what DNS said about a next hop (RFC 7672). Two steps: each MX host gets a state of its own, then the hosts roll
 * up to the state of the next hop. Hosts without addresses drop out first.
 */
#include "policy/evidence.h"

#include "base/memory.h"
#include "base/text.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

enum { FRESH_FLOOR = 30, FRESH_ABSENT = 60 * 60, FRESH_CEILING = 24 * 60 * 60 };
enum { PARSED_MAX = 8 };                /* whole certificates of one host: reading them takes time, and a stranger sends them */
enum { USAGE_TA = 2, USAGE_EE = 3, MATCH_FULL = 0, MATCH_SHA256 = 1, MATCH_SHA512 = 2 };

static bool parses_as_certificate(const struct dns_tlsa *record)
{
    const unsigned char *at = record->data;
    X509 *certificate;
    bool whole;

    ERR_set_mark();
    certificate = d2i_X509(NULL, &at, record->length);
    whole = certificate != NULL && at == record->data + record->length;
    ERR_pop_to_mark();
    X509_free(certificate);
    return whole;
}

static bool parses_as_key(const struct dns_tlsa *record)
{
    const unsigned char *at = record->data;
    EVP_PKEY *key;
    bool whole;

    ERR_set_mark();
    key = d2i_PUBKEY(NULL, &at, record->length);
    whole = key != NULL && at == record->data + record->length;
    ERR_pop_to_mark();
    EVP_PKEY_free(key);
    return whole;
}

bool dane_tlsa_usable(const struct dns_tlsa *record, struct fault *why)
{
    if (record->usage < USAGE_TA)
        return fault_set(why, "usage %u (PKIX) is not for SMTP (RFC 7672 3.1.3)", record->usage);
    if (record->usage > USAGE_EE)
        return fault_set(why, "usage %u is unknown", record->usage);
    if (record->selector > 1)
        return fault_set(why, "selector %u is unknown", record->selector);
    switch (record->matching) {
    case MATCH_FULL:
        if (record->selector == 0 && !parses_as_certificate(record))
            return fault_set(why, "the data are no certificate");
        if (record->selector == 1 && !parses_as_key(record))
            return fault_set(why, "the data are no public key");
        return true;
    case MATCH_SHA256:
        return record->length == 32 || fault_set(why, "a SHA-256 digest has 32 octets, here are %u", record->length);
    case MATCH_SHA512:
        return record->length == 64 || fault_set(why, "a SHA-512 digest has 64 octets, here are %u", record->length);
    }
    return fault_set(why, "matching type %u is unknown", record->matching);
}

static bool family_secure(const struct dns_look *look)
{
    return look->asked && look->found && look->trust == DNS_SECURE;
}

bool dane_addresses_secure(const struct dns_host *host)
{
    return family_secure(&host->a) || family_secure(&host->aaaa);
}

const struct dns_tlsa_set *dane_tlsa_of(const struct dns_host *host)
{
    const struct dns_look *expanded = &host->at_expanded.look;
    bool denied = expanded->trust == DNS_INSECURE || (expanded->trust == DNS_SECURE && !expanded->found);

    return expanded->asked && !denied && dane_addresses_secure(host) ? &host->at_expanded : &host->at_name;
}

/* What the TLSA records say, once the host's addresses or its own alias are secure. */
static enum host_state judge_tlsa(const struct dns_host *host, struct fault *why)
{
    const struct dns_tlsa_set *set = dane_tlsa_of(host);
    struct fault record_why = { "" };
    size_t parsed = 0, i;

    if (!set->look.asked) {
        fault_set(why, "its TLSA records were not asked for");
        return HOST_FAILING;
    }
    switch (set->look.trust) {
    case DNS_FAILED:
        fault_set(why, "TLSA look-up failed: %s", set->look.why);
        return HOST_FAILING;
    case DNS_BOGUS:
        fault_set(why, "TLSA records are bogus: %s", set->look.why);
        return HOST_BOGUS;
    case DNS_INSECURE:
        fault_set(why, "%s", set->look.found ? "TLSA records are not secured by DNSSEC" : "no TLSA records, and DNSSEC does not say so");
        return HOST_BARE;
    case DNS_SECURE:
        break;
    }
    if (!set->look.found || set->count == 0) {
        fault_set(why, "no TLSA records");
        return HOST_BARE;
    }
    for (i = 0; i < set->count; i++) {
        bool full = set->records[i].matching == MATCH_FULL;

        if (full && ++parsed > PARSED_MAX)
            fault_set(&record_why, "more than %d whole certificates or keys", PARSED_MAX);
        else if (dane_tlsa_usable(&set->records[i], &record_why)) {
            fault_set(why, "usable TLSA records at %s", set->base.name);
            return HOST_GOOD;
        }
    }
    fault_set(why, "none of its TLSA records is usable: %.200s", record_why.text);
    return HOST_UNUSABLE;
}

static bool known(const struct dns_look *look)
{
    return look->asked && look->trust != DNS_FAILED && look->trust != DNS_BOGUS;
}

/* Neither address family is secure: only the host's own, secure CNAME record still vouches for its name (RFC 7672 2.2.2). */
static enum host_state judge_insecure(const struct dns_host *host, struct fault *why)
{
    if (!host->cname.asked) {
        fault_set(why, "its addresses are not secured by DNSSEC");
        return HOST_BARE;
    }
    switch (host->cname.trust) {
    case DNS_FAILED:
        fault_set(why, "CNAME look-up failed: %s", host->cname.why);
        return HOST_FAILING;
    case DNS_BOGUS:
        fault_set(why, "CNAME record is bogus: %s", host->cname.why);
        return HOST_BOGUS;
    case DNS_INSECURE:
        break;
    case DNS_SECURE:
        if (host->cname.found)
            return judge_tlsa(host, why);
        break;
    }
    fault_set(why, "its addresses are not secured by DNSSEC");
    return HOST_BARE;
}

enum host_state dane_judge_host(const struct dns_host *host, struct fault *why)
{
    if (dane_addresses_secure(host))
        return judge_tlsa(host, why);
    if ((known(&host->a) && host->a.found) || (known(&host->aaaa) && host->aaaa.found))
        return judge_insecure(host, why);
    if (known(&host->a) && known(&host->aaaa)) {
        fault_set(why, "it has no address");
        return HOST_GONE;
    }
    if ((host->a.asked && host->a.trust == DNS_BOGUS) || (host->aaaa.asked && host->aaaa.trust == DNS_BOGUS)) {
        fault_set(why, "its addresses are bogus: %s", host->a.trust == DNS_BOGUS ? host->a.why : host->aaaa.why);
        return HOST_BOGUS;
    }
    fault_set(why, "address look-up failed: %s", known(&host->a) ? host->aaaa.why : host->a.why);
    return HOST_FAILING;
}

/* How many hosts are in each state. */
struct tally {
    size_t of[HOST_GOOD + 1], left;
};

static enum dane_state roll_up(const struct tally *t, bool mx_secure)
{
    size_t sick = t->of[HOST_BOGUS] + t->of[HOST_FAILING];

    if (t->left == 0)
        return DANE_ABSENT;
    if (sick == t->left)
        return t->of[HOST_BOGUS] > 0 ? DANE_BOGUS : DANE_UNKNOWN;
    if (!mx_secure)
        return t->of[HOST_GOOD] > 0 ? DANE_INSECURE_MX : DANE_ABSENT;
    if (t->of[HOST_GOOD] == t->left)
        return DANE_USABLE;
    if (t->of[HOST_GOOD] > 0)
        return DANE_PARTIAL;
    if (t->of[HOST_UNUSABLE] > 0)
        return DANE_UNUSABLE;
    return sick > 0 ? DANE_DEGRADED : DANE_ABSENT;
}

/* The states that the MX look-up alone decides. */
static bool settled_by_mx(const struct dns_answers *answers, enum dane_state *ret, struct fault *why)
{
    const struct dns_look *mx = &answers->mx;

    if (answers->literal) {
        fault_set(why, "an address literal has no name that could publish records");
        *ret = DANE_ABSENT;
        return true;
    }
    if (!mx->asked && answers->host_count == 0) {
        fault_set(why, "nothing was asked");
        *ret = DANE_UNKNOWN;
        return true;
    }
    if (!mx->asked)                         /* a bracketed next hop has none */
        return false;
    if (mx->trust == DNS_FAILED) {
        fault_set(why, "MX look-up failed: %s", mx->why);
        *ret = DANE_UNKNOWN;
    } else if (mx->trust == DNS_BOGUS) {
        fault_set(why, "MX records are bogus: %s", mx->why);
        *ret = DANE_BOGUS;
    } else if (mx->no_name) {
        fault_set(why, "the domain does not exist");
        *ret = DANE_NO_MAIL;
    } else if (answers->null_mx) {
        fault_set(why, "the domain accepts no mail (null MX)");
        *ret = DANE_NO_MAIL;
    } else {
        return false;
    }
    return true;
}

static void count_look(const struct dns_look *look, uint32_t *least)
{
    uint32_t ttl = look->trust == DNS_FAILED || look->trust == DNS_BOGUS ? 0 : look->ttl;

    if (look->asked && ttl < *least)
        *least = ttl;
}

/* Seconds that the evidence may live: the smallest TTL in it, within bounds. */
static uint32_t lifetime(const struct dns_answers *answers, enum dane_state state)
{
    uint32_t least = state == DANE_ABSENT || state == DANE_NO_MAIL ? FRESH_ABSENT : FRESH_CEILING;
    size_t i;

    if (state == DANE_UNKNOWN || state == DANE_BOGUS || state == DANE_DEGRADED)
        return FRESH_FLOOR;
    count_look(&answers->mx, &least);
    for (i = 0; i < answers->host_count; i++) {
        const struct dns_host *host = &answers->hosts[i];

        count_look(&host->a, &least);
        count_look(&host->aaaa, &least);
        count_look(&host->cname, &least);
        count_look(&host->at_expanded.look, &least);
        count_look(&host->at_name.look, &least);
    }
    return least < FRESH_FLOOR ? FRESH_FLOOR : least;
}

static void explain_hosts(const struct tally *t, bool mx_secure, const struct fault *example, struct fault *why)
{
    const char *mx = mx_secure ? "secure MX" : "MX not secured by DNSSEC";

    if (t->left == 0)
        fault_set(why, "%s, but no MX host has an address", mx);
    else if (t->of[HOST_GOOD] == t->left)
        fault_set(why, "%s, %s usable TLSA records", mx, t->left == 1 ? "the one host has" : "all hosts have");
    else
        fault_set(why, "%s, %zu of %zu hosts have usable TLSA records; %.300s", mx, t->of[HOST_GOOD], t->left, example->text);
}

enum { RECORD_OCTETS_MAX = 16 * 1024 };     /* of one host; what is past them matches nothing, so that mail waits */

/* The records that count for a good host, borrowed. */
struct chosen {
    const struct dns_tlsa *records[DNS_TLSA_MAX];
    uint16_t count;
    size_t octets;
};

static void choose(const struct dns_host *host, size_t most, struct chosen *ret)
{
    const struct dns_tlsa_set *set = dane_tlsa_of(host);
    size_t parsed = 0, i;

    for (i = 0; i < set->count && ret->count < most; i++) {
        const struct dns_tlsa *record = &set->records[i];

        if (ret->octets + record->length > RECORD_OCTETS_MAX)
            continue;
        if ((record->matching == MATCH_FULL && ++parsed > PARSED_MAX) || !dane_tlsa_usable(record, NULL))
            continue;
        ret->octets += record->length;
        ret->records[ret->count++] = record;
    }
}

/* A block that holds evidence, its hosts, their records, then texts and data, in this order. */
struct parcel {
    struct evidence_host *host;             /* where the next ones go */
    struct dns_tlsa *record;
    char *at;
};

static const char *pack_text(struct parcel *p, const char *text)
{
    const char *there = strcpy(p->at, text);

    p->at += strlen(text) + 1;
    return there;
}

/* What a host is called. A name that is another one's, too, as most are, stands in the parcel once. */
struct names {
    const char *own, *expanded, *base;      /* expanded and base: NULL where that needs no place of its own */
};

static struct names names_of(const struct dns_host *host, enum host_state state)
{
    struct names n = { .own = host->name.name };
    const char *base = state == HOST_GOOD ? dane_tlsa_of(host)->base.name : n.own;

    if (host->expanded.length > 0 && strcmp(host->expanded.name, n.own) != 0)
        n.expanded = host->expanded.name;
    if (strcmp(base, n.own) != 0 && (n.expanded == NULL || strcmp(base, n.expanded) != 0))
        n.base = base;
    return n;
}

static size_t octets_of(const struct names *n)
{
    return strlen(n->own) + 1 + (n->expanded == NULL ? 0 : strlen(n->expanded) + 1) + (n->base == NULL ? 0 : strlen(n->base) + 1);
}

static const char *pack_base(struct parcel *p, const struct dns_host *from, const struct names *n, const struct evidence_host *host)
{
    if (n->base != NULL)
        return pack_text(p, n->base);
    return strcmp(dane_tlsa_of(from)->base.name, host->name) == 0 ? host->name : host->expanded;
}

static void pack_host(struct parcel *p, const struct dns_host *from, enum host_state state, const struct chosen *chosen)
{
    struct evidence_host *host = p->host++;
    const struct names n = names_of(from, state);
    size_t i;

    *host = (struct evidence_host){ .preference = from->preference, .state = state, .base = "",
                                    .addresses_secure = dane_addresses_secure(from) };
    host->name = pack_text(p, n.own);
    host->expanded = n.expanded == NULL ? host->name : pack_text(p, n.expanded);
    if (state != HOST_GOOD)
        return;
    host->base = pack_base(p, from, &n, host);
    host->tlsa = p->record;
    host->tlsa_count = chosen->count;
    for (i = 0; i < chosen->count; i++) {
        *p->record = *chosen->records[i];
        p->record++->data = memcpy(p->at, chosen->records[i]->data, chosen->records[i]->length);
        p->at += chosen->records[i]->length;
    }
}

static struct evidence *assemble(const struct dns_answers *answers, size_t most, const enum host_state *states, const char *why)
{
    size_t octets = strlen(why) + 1, records = 0, size, i;
    struct chosen chosen[DNS_HOSTS_MAX] = { { .count = 0 } };
    struct evidence *e;
    struct parcel p;

    for (i = 0; i < answers->host_count; i++) {
        const struct names n = names_of(&answers->hosts[i], states[i]);

        octets += octets_of(&n);
        if (states[i] != HOST_GOOD)
            continue;
        choose(&answers->hosts[i], most < DNS_TLSA_MAX ? most : DNS_TLSA_MAX, &chosen[i]);
        records += chosen[i].count;
        octets += chosen[i].octets;
    }
    size = sizeof(*e) + answers->host_count * sizeof(*p.host) + records * sizeof(*p.record) + octets;
    e = mem_zero(size);
    e->octets = size;
    p.host = (struct evidence_host *)(e + 1);
    e->hosts = p.host;
    p.record = (struct dns_tlsa *)(p.host + answers->host_count);
    p.at = (char *)(p.record + records);
    e->why = pack_text(&p, why);
    for (i = 0; i < answers->host_count; i++)
        pack_host(&p, &answers->hosts[i], states[i], &chosen[i]);
    e->host_count = (uint32_t)answers->host_count;
    atomic_init(&e->users, 1);
    return e;
}

struct evidence *dane_judge(const struct dns_answers *answers, size_t records_most, int64_t now_ms)
{
    bool mx_secure = !answers->literal && (!answers->mx.asked || answers->mx.trust == DNS_SECURE);
    enum host_state states[DNS_HOSTS_MAX] = { HOST_FAILING };
    struct fault why = { "" }, host_why, example = { "" };
    struct tally tally = { 0 };
    enum dane_state state;
    struct evidence *e;
    size_t i;

    for (i = 0; i < answers->host_count; i++) {
        states[i] = dane_judge_host(&answers->hosts[i], &host_why);
        tally.of[states[i]]++;
        tally.left += states[i] != HOST_GONE;
        if (states[i] != HOST_GOOD && states[i] != HOST_GONE && example.text[0] == '\0')
            fault_set(&example, "%s: %.240s", answers->hosts[i].name.name, host_why.text);
    }
    if (!settled_by_mx(answers, &state, &why)) {
        state = roll_up(&tally, mx_secure);
        explain_hosts(&tally, mx_secure, &example, &why);
    }
    e = assemble(answers, records_most, states, why.text);
    e->dane = state;
    e->sts = STS_ABSENT;
    e->sts_why = "";
    e->failed = state == DANE_UNKNOWN;
    e->mx_secure = mx_secure;
    e->mx_failed = answers->mx.asked && (answers->mx.trust == DNS_FAILED || answers->mx.trust == DNS_BOGUS);
    e->fresh_until = now_ms + (int64_t)lifetime(answers, state) * 1000;
    return e;
}
