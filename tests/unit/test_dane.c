/*
 * The DANE states of section 3.1: each host's, every way in which hosts roll up, which TLSA records count, and how long
 * what was seen may be believed.
 */
#include "policy/evidence.h"

#include "base/arena.h"
#include "base/memory.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TTL = 5000, NOW = 1000000 };

static const uint8_t digest[64] = { 1, 2, 3 };

static struct dns_look look(enum dns_trust trust, bool found)
{
    return (struct dns_look){ .asked = true, .trust = trust, .found = found, .ttl = TTL };
}

static void set_domain(struct domain *d, const char *name)
{
    assert_true(domain_parse(name, d, NULL));
}

static struct dns_answers *answers_with_mx(enum dns_trust trust)
{
    struct dns_answers *a = dns_answers_new();

    a->mx = look(trust, true);
    a->hosts = arena_take(a->memory, DNS_HOSTS_MAX * sizeof(*a->hosts));
    return a;
}

/* A host with a secure IPv4 address, no IPv6 one, and a secure denial of TLSA records. */
static struct dns_host *add_host(struct dns_answers *a, const char *name)
{
    struct dns_host *host = &a->hosts[a->host_count++];

    assert_true(a->host_count <= DNS_HOSTS_MAX);
    set_domain(&host->name, name);
    host->expanded = host->name;
    host->at_name.base = host->name;
    host->preference = (uint16_t)(10 * a->host_count);
    host->a = look(DNS_SECURE, true);
    host->aaaa = look(DNS_SECURE, false);
    host->at_name.look = look(DNS_SECURE, false);
    return host;
}

static void add_tlsa(struct dns_answers *a, struct dns_tlsa_set *set, uint8_t usage, uint8_t selector, uint8_t matching,
                     uint16_t length)
{
    struct dns_tlsa *records = arena_take(a->memory, (set->count + 1) * sizeof(*records));

    if (set->count > 0)
        memcpy(records, set->records, set->count * sizeof(*records));
    records[set->count++] = (struct dns_tlsa){ .usage = usage, .selector = selector, .matching = matching,
                                               .length = length, .data = digest };
    set->records = records;
    set->look = look(DNS_SECURE, true);
}

/* A host of each state, by the plainest way there. */
static struct dns_host *add_host_in(struct dns_answers *a, enum host_state state)
{
    char name[64];
    struct dns_host *host;

    snprintf(name, sizeof(name), "mx%zu.bank.example", a->host_count);
    host = add_host(a, name);
    switch (state) {
    case HOST_GOOD:
        add_tlsa(a, &host->at_name, 3, 1, 1, 32);
        break;
    case HOST_UNUSABLE:
        add_tlsa(a, &host->at_name, 1, 1, 1, 32);
        break;
    case HOST_BARE:
        break;
    case HOST_GONE:
        host->a = look(DNS_SECURE, false);
        break;
    case HOST_BOGUS:
        host->at_name.look = look(DNS_BOGUS, false);
        break;
    case HOST_FAILING:
        host->at_name.look = look(DNS_FAILED, false);
        break;
    }
    return host;
}

static struct evidence *judge(struct dns_answers *a)
{
    struct evidence *e = dane_judge(a, DNS_TLSA_MAX, NOW);

    assert_true(strlen(e->why) > 0);
    assert_int_equal(e->sts, STS_ABSENT);
    assert_true(e->fresh_until >= NOW + 30 * 1000 && e->fresh_until <= NOW + 24 * 60 * 60 * 1000);
    return e;
}

/* Takes the answers. */
static enum dane_state state_of(struct dns_answers *a)
{
    struct evidence *e = judge(a);
    enum dane_state state = e->dane;

    evidence_unref(e);
    dns_answers_free(a);
    return state;
}

/* Takes the answers; seconds. */
static int64_t lifetime_of(struct dns_answers *a)
{
    struct evidence *e = judge(a);
    int64_t seconds = (e->fresh_until - NOW) / 1000;

    evidence_unref(e);
    dns_answers_free(a);
    return seconds;
}

static enum host_state host_state_of(const struct dns_host *host)
{
    struct fault why = { "" };
    enum host_state state = dane_judge_host(host, &why);

    assert_true(why.text[0] != '\0');
    assert_int_equal(dane_judge_host(host, NULL), state);
    return state;
}

static void the_plain_hosts_have_their_states(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    int s;

    (void)state;
    for (s = HOST_FAILING; s <= HOST_GOOD; s++)
        assert_int_equal(host_state_of(add_host_in(a, (enum host_state)s)), s);
    dns_answers_free(a);
}

/* The roll-up of the contract, from how many hosts are in each state. */
static enum dane_state expected(const size_t of[HOST_GOOD + 1], bool secure_mx)
{
    size_t remaining = of[HOST_FAILING] + of[HOST_BOGUS] + of[HOST_BARE] + of[HOST_UNUSABLE] + of[HOST_GOOD];

    if (remaining == 0)
        return DANE_ABSENT;
    if (of[HOST_FAILING] == remaining)
        return DANE_UNKNOWN;
    if (of[HOST_FAILING] + of[HOST_BOGUS] == remaining)
        return DANE_BOGUS;
    if (!secure_mx)
        return of[HOST_GOOD] > 0 ? DANE_INSECURE_MX : DANE_ABSENT;
    if (of[HOST_GOOD] == remaining)
        return DANE_USABLE;
    if (of[HOST_GOOD] > 0)
        return DANE_PARTIAL;
    if (of[HOST_UNUSABLE] > 0)
        return DANE_UNUSABLE;
    return of[HOST_BARE] == remaining ? DANE_ABSENT : DANE_DEGRADED;
}

static void check_roll_up(const enum host_state *hosts, size_t count, bool secure_mx)
{
    struct dns_answers *a = answers_with_mx(secure_mx ? DNS_SECURE : DNS_INSECURE);
    size_t of[HOST_GOOD + 1] = { 0 }, i;
    struct evidence *e;

    for (i = 0; i < count; i++) {
        add_host_in(a, hosts[i]);
        of[hosts[i]]++;
    }
    e = judge(a);
    if (e->dane != expected(of, secure_mx))
        fail_msg("good %zu unusable %zu bare %zu bogus %zu failing %zu gone %zu, MX %s: %s, not %s", of[HOST_GOOD],
                 of[HOST_UNUSABLE], of[HOST_BARE], of[HOST_BOGUS], of[HOST_FAILING], of[HOST_GONE],
                 secure_mx ? "secure" : "insecure", dane_word(e->dane), dane_word(expected(of, secure_mx)));
    assert_int_equal(e->mx_secure, secure_mx);
    assert_false(e->mx_failed);
    assert_int_equal(e->host_count, count);
    for (i = 0; i < count; i++) {
        assert_string_equal(e->hosts[i].name, a->hosts[i].name.name);
        assert_int_equal(e->hosts[i].preference, 10 * (i + 1));
        assert_int_equal(e->hosts[i].state, hosts[i]);
        assert_int_equal(e->hosts[i].addresses_secure, hosts[i] != HOST_GONE);
        assert_false(e->hosts[i].sts_match);
    }
    evidence_unref(e);
    dns_answers_free(a);
}

static void every_mixture_of_hosts_rolls_up(void **state)
{
    enum { STATES = HOST_GOOD + 1, MOST = 4 };
    enum host_state hosts[MOST];
    size_t count, code, total, rest, i;

    (void)state;
    for (count = 0, total = 1; count <= MOST; count++, total *= STATES) {
        for (code = 0; code < total; code++) {
            for (i = 0, rest = code; i < count; i++, rest /= STATES)
                hosts[i] = (enum host_state)(rest % STATES);
            check_roll_up(hosts, count, true);
            check_roll_up(hosts, count, false);
        }
    }
}

static enum dane_state state_of_two(enum dns_trust mx, enum host_state one, enum host_state other)
{
    struct dns_answers *a = answers_with_mx(mx);

    add_host_in(a, one);
    add_host_in(a, other);
    return state_of(a);
}

/* The rows of 3.1, in its own words. */
static void each_row_of_the_contract_holds(void **state)
{
    (void)state;
    assert_int_equal(state_of_two(DNS_SECURE, HOST_GOOD, HOST_GOOD), DANE_USABLE);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_GOOD, HOST_GONE), DANE_USABLE);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_GOOD, HOST_BARE), DANE_PARTIAL);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_GOOD, HOST_BOGUS), DANE_PARTIAL);
    assert_int_equal(state_of_two(DNS_INSECURE, HOST_GOOD, HOST_BARE), DANE_INSECURE_MX);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_UNUSABLE, HOST_BOGUS), DANE_UNUSABLE);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_BARE, HOST_FAILING), DANE_DEGRADED);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_BARE, HOST_BOGUS), DANE_DEGRADED);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_BARE, HOST_BARE), DANE_ABSENT);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_GONE, HOST_GONE), DANE_ABSENT);
    assert_int_equal(state_of_two(DNS_INSECURE, HOST_BARE, HOST_UNUSABLE), DANE_ABSENT);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_BOGUS, HOST_GONE), DANE_BOGUS);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_BOGUS, HOST_FAILING), DANE_BOGUS);
    assert_int_equal(state_of_two(DNS_INSECURE, HOST_BOGUS, HOST_FAILING), DANE_BOGUS);
    assert_int_equal(state_of_two(DNS_SECURE, HOST_FAILING, HOST_FAILING), DANE_UNKNOWN);
}

static void the_mx_answer_comes_first(void **state)
{
    struct dns_answers *a;
    struct evidence *e;

    (void)state;
    a = answers_with_mx(DNS_FAILED);
    add_host_in(a, HOST_GOOD);
    e = judge(a);
    assert_true(e->dane == DANE_UNKNOWN && e->mx_failed && !e->mx_secure);
    evidence_unref(e);
    a->mx = look(DNS_BOGUS, true);
    e = judge(a);
    assert_true(e->dane == DANE_BOGUS && e->mx_failed && !e->mx_secure);
    evidence_unref(e);
    a->mx = look(DNS_FAILED, false);
    a->mx.no_name = true;                               /* half an answer is none */
    assert_int_equal(state_of(a), DANE_UNKNOWN);
}

static void a_domain_that_is_not_there_gets_no_mail(void **state)
{
    static const enum dns_trust trusts[] = { DNS_SECURE, DNS_INSECURE };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(trusts); i++) {
        struct dns_answers *a = answers_with_mx(trusts[i]);

        a->mx = look(trusts[i], false);
        a->mx.no_name = true;
        assert_int_equal(state_of(a), DANE_NO_MAIL);
        a = answers_with_mx(trusts[i]);
        a->null_mx = true;
        assert_int_equal(state_of(a), DANE_NO_MAIL);
    }
}

static void a_bogus_denial_is_no_denial(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_BOGUS);

    (void)state;
    a->mx.found = false;
    a->mx.no_name = true;
    assert_int_equal(state_of(a), DANE_BOGUS);
    a = answers_with_mx(DNS_BOGUS);
    a->null_mx = true;
    assert_int_equal(state_of(a), DANE_BOGUS);
}

static void without_mx_the_domain_is_its_own_host(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);

    (void)state;
    a->mx = look(DNS_SECURE, false);
    a->implicit_mx = true;
    add_host_in(a, HOST_GOOD);
    assert_int_equal(state_of(a), DANE_USABLE);
    a = answers_with_mx(DNS_INSECURE);
    a->mx = look(DNS_INSECURE, false);
    a->implicit_mx = true;
    add_host_in(a, HOST_GOOD);
    assert_int_equal(state_of(a), DANE_INSECURE_MX);
    a = answers_with_mx(DNS_SECURE);
    a->mx = look(DNS_SECURE, false);
    a->implicit_mx = true;
    add_host_in(a, HOST_GONE);
    assert_int_equal(state_of(a), DANE_ABSENT);
}

/* RFC 7672 2.2.3: who names the host needs no MX to vouch for it. */
static void a_bracketed_next_hop_needs_no_mx(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    struct evidence *e;

    (void)state;
    a->mx = (struct dns_look){ 0 };
    add_host_in(a, HOST_GOOD);
    e = judge(a);
    assert_true(e->dane == DANE_USABLE && e->mx_secure && !e->mx_failed);
    evidence_unref(e);
    a->host_count = 0;
    add_host_in(a, HOST_UNUSABLE);
    a->hosts[0].at_name.count = 0;
    a->hosts[0].at_name.look = look(DNS_FAILED, false);
    assert_int_equal(state_of(a), DANE_UNKNOWN);
}

static void a_literal_has_no_records(void **state)
{
    struct dns_answers *a = dns_answers_new();

    (void)state;
    a->literal = true;
    assert_int_equal(state_of(a), DANE_ABSENT);
}

static void forgotten_answers_are_unknown(void **state)
{
    struct dns_host host = { .preference = 0 };
    struct dns_answers *a;

    (void)state;
    assert_int_equal(host_state_of(&host), HOST_FAILING);
    assert_int_equal(state_of(dns_answers_new()), DANE_UNKNOWN);
    a = dns_answers_new();
    a->mx.asked = true;
    assert_int_equal(state_of(a), DANE_UNKNOWN);
    a = answers_with_mx(DNS_SECURE);
    a->host_count = 1;
    assert_int_equal(state_of(a), DANE_UNKNOWN);
    a = answers_with_mx(DNS_SECURE);
    add_host(a, "mx.bank.example")->at_name.look = (struct dns_look){ 0 };
    assert_int_equal(state_of(a), DANE_UNKNOWN);
}

/* A look-up's fate, as one word: s(ecure) i(nsecure) b(ogus) f(ailed); upper case: with records. */
static struct dns_look fate(char word)
{
    switch (word) {
    case 'S':
        return look(DNS_SECURE, true);
    case 's':
        return look(DNS_SECURE, false);
    case 'I':
        return look(DNS_INSECURE, true);
    case 'i':
        return look(DNS_INSECURE, false);
    case 'b':
        return look(DNS_BOGUS, false);
    case 'f':
        return look(DNS_FAILED, false);
    }
    return (struct dns_look){ 0 };
}

static void one_secure_address_family_is_enough(void **state)
{
    static const struct {
        const char *families;           /* A, AAAA; either way round */
        enum host_state with_tlsa;
    } tries[] = {
        { "SS", HOST_GOOD },    { "Ss", HOST_GOOD },    { "Sf", HOST_GOOD },    { "Sb", HOST_GOOD },    { "SI", HOST_GOOD },
        { "II", HOST_BARE },    { "Ii", HOST_BARE },    { "Is", HOST_BARE },    { "ss", HOST_GONE },    { "si", HOST_GONE },
        { "ii", HOST_GONE },    { "sf", HOST_FAILING }, { "if", HOST_FAILING }, { "ff", HOST_FAILING }, { "sb", HOST_BOGUS },
        { "bb", HOST_BOGUS },   { "bf", HOST_BOGUS },   { "S-", HOST_GOOD },    { "--", HOST_FAILING }, { "f-", HOST_FAILING },
    };
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    struct dns_host *host = add_host_in(a, HOST_GOOD);
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        unsigned turn;

        for (turn = 0; turn < 2; turn++) {
            host->a = fate(tries[i].families[turn]);
            host->aaaa = fate(tries[i].families[1 - turn]);
            if (host_state_of(host) != tries[i].with_tlsa)
                fail_msg("A and AAAA as in \"%s\" make the host %s, not %s", tries[i].families,
                         host_word(host_state_of(host)), host_word(tries[i].with_tlsa));
            assert_int_equal(dane_addresses_secure(host), strchr(tries[i].families, 'S') != NULL);
        }
    }
    host->a = fate('S');
    host->a.no_name = false;
    host->aaaa = fate('s');
    host->aaaa.no_name = true;
    assert_int_equal(host_state_of(host), HOST_GOOD);
    dns_answers_free(a);
}

static void the_tlsa_answer_makes_the_host(void **state)
{
    static const struct {
        char tlsa;
        enum host_state state;
    } tries[] = {
        { 'S', HOST_GOOD }, { 's', HOST_BARE }, { 'I', HOST_BARE }, { 'i', HOST_BARE }, { 'b', HOST_BOGUS }, { 'f', HOST_FAILING },
        { '-', HOST_FAILING },
    };
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    struct dns_host *host = add_host_in(a, HOST_GOOD);
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        host->at_name.look = fate(tries[i].tlsa);
        assert_int_equal(host_state_of(host), tries[i].state);
    }
    dns_answers_free(a);
}

static void one_usable_record_among_many_is_enough(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    struct dns_host *host = add_host_in(a, HOST_UNUSABLE);

    (void)state;
    add_tlsa(a, &host->at_name, 3, 2, 1, 32);
    add_tlsa(a, &host->at_name, 3, 1, 1, 31);
    assert_int_equal(host_state_of(host), HOST_UNUSABLE);
    add_tlsa(a, &host->at_name, 3, 1, 2, 64);
    add_tlsa(a, &host->at_name, 0, 0, 1, 32);
    assert_int_equal(host_state_of(host), HOST_GOOD);
    dns_answers_free(a);
}

/* An alias: the expanded name's TLSA answer, then the original name's. */
static void the_tlsa_base_domain_is_the_expanded_name_or_the_original(void **state)
{
    static const struct {
        char expanded, original;
        bool uses_expanded;
        enum host_state state;
    } tries[] = {
        { 'S', 's', true, HOST_GOOD },     { 'S', 'f', true, HOST_GOOD },    { 'S', 'b', true, HOST_GOOD },
        { 's', 'S', false, HOST_GOOD },    { 'i', 'S', false, HOST_GOOD },   { 'I', 'S', false, HOST_GOOD },
        { 's', 's', false, HOST_BARE },    { 'i', 's', false, HOST_BARE },   { 'I', 'i', false, HOST_BARE },
        { 's', 'f', false, HOST_FAILING }, { 's', 'b', false, HOST_BOGUS },  { 'f', 'S', true, HOST_FAILING },
        { 'b', 'S', true, HOST_BOGUS },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        struct dns_answers *a = answers_with_mx(DNS_SECURE);
        struct dns_host *host = add_host_in(a, HOST_GOOD);
        const struct dns_tlsa_set *set;

        set_domain(&host->expanded, "real.example");
        host->at_expanded.base = host->expanded;
        add_tlsa(a, &host->at_expanded, 3, 1, 1, 32);
        host->at_expanded.look = fate(tries[i].expanded);
        host->at_name.look = fate(tries[i].original);
        set = dane_tlsa_of(host);
        if ((set == &host->at_expanded) != tries[i].uses_expanded || host_state_of(host) != tries[i].state)
            fail_msg("expanded %c original %c: %s, from the %s name", tries[i].expanded, tries[i].original,
                     host_word(host_state_of(host)), set == &host->at_expanded ? "expanded" : "original");
        dns_answers_free(a);
    }
}

static void unusable_records_of_the_expanded_name_are_still_its_records(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    struct dns_host *host = add_host_in(a, HOST_GOOD);

    (void)state;
    set_domain(&host->expanded, "real.example");
    add_tlsa(a, &host->at_expanded, 1, 1, 1, 32);
    assert_int_equal(host_state_of(host), HOST_UNUSABLE);
    dns_answers_free(a);
}

/* The alias leads out of the signed world: only the secure CNAME record itself vouches, and for the original name alone. */
static void an_alias_into_the_unsigned_world_keeps_its_own_records(void **state)
{
    static const struct {
        char cname, tlsa;
        enum host_state state;
    } tries[] = {
        { 'S', 'S', HOST_GOOD }, { 'S', 's', HOST_BARE },    { 'S', 'f', HOST_FAILING }, { 'S', 'b', HOST_BOGUS },
        { 's', 'S', HOST_BARE }, { 'I', 'S', HOST_BARE },    { 'i', 'S', HOST_BARE },    { '-', 'S', HOST_BARE },
        { 'b', 'S', HOST_BOGUS }, { 'f', 'S', HOST_FAILING },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        struct dns_answers *a = answers_with_mx(DNS_SECURE);
        struct dns_host *host = add_host_in(a, HOST_GOOD);

        host->a = fate('I');
        host->aaaa = fate('i');
        host->cname = fate(tries[i].cname);
        host->at_name.look = fate(tries[i].tlsa);
        set_domain(&host->expanded, "real.example");
        add_tlsa(a, &host->at_expanded, 3, 1, 1, 32);       /* never to be looked at */
        if (host_state_of(host) != tries[i].state)
            fail_msg("CNAME %c TLSA %c: %s, not %s", tries[i].cname, tries[i].tlsa, host_word(host_state_of(host)),
                     host_word(tries[i].state));
        assert_ptr_equal(dane_tlsa_of(host), &host->at_name);
        dns_answers_free(a);
    }
}

static void a_digest_is_usable_by_its_numbers_and_length(void **state)
{
    static const uint16_t lengths[] = { 0, 1, 20, 28, 31, 32, 33, 48, 63, 64 };
    unsigned usage, selector, matching, i;

    (void)state;
    for (usage = 0; usage < 256; usage++) {
        for (selector = 0; selector < 256; selector += selector < 4 ? 1 : 63) {
            for (matching = 1; matching < 256; matching += matching < 4 ? 1 : 63) {
                for (i = 0; i < COUNT_OF(lengths); i++) {
                    struct dns_tlsa record = { .usage = (uint8_t)usage, .selector = (uint8_t)selector,
                                               .matching = (uint8_t)matching, .length = lengths[i], .data = digest };
                    bool fits = (matching == 1 && lengths[i] == 32) || (matching == 2 && lengths[i] == 64);
                    bool wanted = (usage == 2 || usage == 3) && selector <= 1 && fits;
                    struct fault why = { "" };

                    if (dane_tlsa_usable(&record, &why) != wanted)
                        fail_msg("%u %u %u with %u octets", usage, selector, matching, lengths[i]);
                    assert_true(wanted || why.text[0] != '\0');
                }
            }
        }
    }
}

static EVP_PKEY *make_key(int type)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(type, NULL);
    EVP_PKEY *key = NULL;

    assert_non_null(ctx);
    assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
    if (type == EVP_PKEY_EC)
        assert_int_equal(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx, NID_X9_62_prime256v1), 1);
    assert_int_equal(EVP_PKEY_keygen(ctx, &key), 1);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* DER of a certificate signed by its own key; *ret is for OPENSSL_free(). */
static size_t make_certificate(EVP_PKEY *key, const EVP_MD *md, unsigned char **ret)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    int length;

    assert_int_equal(X509_set_version(x, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), 1), 1);
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"mx.bank.example", -1, -1, 0), 1);
    assert_int_equal(X509_set_issuer_name(x, name), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), 86400));
    assert_int_equal(X509_set_pubkey(x, key), 1);
    assert_true(X509_sign(x, key, md) > 0);
    *ret = NULL;
    length = i2d_X509(x, ret);
    assert_true(length > 0);
    X509_free(x);
    return (size_t)length;
}

static bool full_usable(uint8_t usage, uint8_t selector, const unsigned char *der, size_t length)
{
    /* A block of exactly this size, so that the address sanitizer sees any step past it. */
    uint8_t *copy = malloc(length == 0 ? 1 : length);
    struct dns_tlsa record = { .usage = usage, .selector = selector, .matching = 0, .length = (uint16_t)length, .data = copy };
    struct fault why = { "" };
    bool usable;

    memcpy(copy, der, length);
    usable = dane_tlsa_usable(&record, &why);
    assert_true(usable || why.text[0] != '\0');
    free(copy);
    return usable;
}

static void check_full_data(EVP_PKEY *key, const EVP_MD *md)
{
    unsigned char *certificate, *spki = NULL, *longer;
    size_t certificate_length = make_certificate(key, md, &certificate), spki_length, i;

    spki_length = (size_t)i2d_PUBKEY(key, &spki);
    assert_true(full_usable(3, 0, certificate, certificate_length));
    assert_true(full_usable(2, 0, certificate, certificate_length));
    assert_true(full_usable(3, 1, spki, spki_length));
    assert_true(full_usable(2, 1, spki, spki_length));
    assert_false(full_usable(3, 1, certificate, certificate_length));
    assert_false(full_usable(3, 0, spki, spki_length));
    assert_false(full_usable(1, 0, certificate, certificate_length));
    assert_false(full_usable(0, 1, spki, spki_length));
    assert_false(full_usable(4, 0, certificate, certificate_length));
    assert_false(full_usable(3, 2, certificate, certificate_length));
    for (i = 0; i < certificate_length; i++)
        assert_false(full_usable(3, 0, certificate, i));
    for (i = 0; i < spki_length; i++)
        assert_false(full_usable(3, 1, spki, i));
    longer = mem_zero(certificate_length + spki_length + 1);
    memcpy(longer, certificate, certificate_length);
    assert_false(full_usable(3, 0, longer, certificate_length + 1));
    memcpy(longer + certificate_length, certificate, spki_length < certificate_length ? spki_length : certificate_length);
    assert_false(full_usable(3, 0, longer, certificate_length + spki_length));
    memcpy(longer, spki, spki_length);
    longer[spki_length] = 0;
    assert_false(full_usable(3, 1, longer, spki_length + 1));
    free(longer);
    OPENSSL_free(certificate);
    OPENSSL_free(spki);
}

static void full_data_must_parse_to_the_last_octet(void **state)
{
    EVP_PKEY *ec = make_key(EVP_PKEY_EC), *ed = make_key(EVP_PKEY_ED25519), *rsa = make_key(EVP_PKEY_RSA);

    (void)state;
    check_full_data(ec, EVP_sha256());
    check_full_data(ed, NULL);
    check_full_data(rsa, EVP_sha256());
    EVP_PKEY_free(ec);
    EVP_PKEY_free(ed);
    EVP_PKEY_free(rsa);
}

static void garbage_is_no_certificate(void **state)
{
    static const unsigned char nested[] = { 0x30, 0x80, 0x30, 0x80, 0x30, 0x80, 0, 0, 0, 0, 0, 0 };
    static const unsigned char huge[] = { 0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30, 0x82, 0xff, 0xff };
    uint8_t selector;

    (void)state;
    for (selector = 0; selector < 2; selector++) {
        assert_false(full_usable(3, selector, digest, 0));
        assert_false(full_usable(3, selector, digest, 32));
        assert_false(full_usable(3, selector, digest, 64));
        assert_false(full_usable(3, selector, nested, sizeof(nested)));
        assert_false(full_usable(3, selector, huge, sizeof(huge)));
        assert_false(dane_tlsa_usable(&(struct dns_tlsa){ .usage = 3, .selector = selector }, NULL));
    }
}

/* A stranger may fill an RRset with whole certificates, and reading each takes time. */
static void only_so_many_whole_certificates_are_read(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    struct dns_host *host = add_host_in(a, HOST_GOOD);
    struct dns_tlsa records[DNS_TLSA_MAX];
    struct fault why;
    size_t i;

    (void)state;
    for (i = 0; i < DNS_TLSA_MAX; i++)
        records[i] = (struct dns_tlsa){ .usage = 3, .selector = 0, .matching = 0, .length = 32, .data = digest };
    host->at_name.records = records;
    host->at_name.count = DNS_TLSA_MAX;
    assert_int_equal(dane_judge_host(host, &why), HOST_UNUSABLE);
    assert_non_null(strstr(why.text, "more than 8"));
    records[DNS_TLSA_MAX - 1] = (struct dns_tlsa){ .usage = 3, .selector = 1, .matching = 1, .length = 32, .data = digest };
    assert_int_equal(dane_judge_host(host, &why), HOST_GOOD);       /* digests cost nothing */
    dns_answers_free(a);
}

/* How many records of a host with so many count, of so many that may. */
static size_t counted(size_t there, size_t most)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    struct dns_host *host = add_host_in(a, HOST_GOOD);
    struct dns_tlsa records[DNS_TLSA_MAX];
    struct evidence *e;
    size_t i, count;

    for (i = 0; i < there; i++)
        records[i] = (struct dns_tlsa){ .usage = i == 0 ? 0 : 3, .selector = 1, .matching = 1, .length = 32, .data = digest };
    host->at_name.records = records;
    host->at_name.count = there;
    e = dane_judge(a, most, NOW);
    assert_int_equal(e->dane, DANE_USABLE);     /* what counts no more still says that the host publishes */
    count = e->hosts[0].tlsa_count;
    for (i = 0; i < count; i++)
        assert_int_equal(e->hosts[0].tlsa[i].usage, 3);
    evidence_unref(e);
    dns_answers_free(a);
    return count;
}

static void only_so_many_records_of_a_host_count(void **state)
{
    (void)state;
    assert_int_equal(counted(17, 16), 16);      /* the one that nobody can use is none of them */
    assert_int_equal(counted(18, 16), 16);
    assert_int_equal(counted(DNS_TLSA_MAX, 16), 16);
    assert_int_equal(counted(DNS_TLSA_MAX, 1), 1);
    assert_int_equal(counted(DNS_TLSA_MAX, DNS_TLSA_MAX), DNS_TLSA_MAX - 1);
    assert_int_equal(counted(DNS_TLSA_MAX, SIZE_MAX), DNS_TLSA_MAX - 1);
    assert_int_equal(counted(2, 0), 0);         /* then nothing matches, and mail waits */
}

/* One good host behind an alias, every look-up asked. */
static struct dns_answers *answers_of_all_looks(void)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    struct dns_host *host = add_host_in(a, HOST_GOOD);

    set_domain(&host->expanded, "real.example");
    host->at_expanded.look = look(DNS_SECURE, false);
    host->cname = look(DNS_SECURE, true);
    return a;
}

static void evidence_lives_as_long_as_its_shortest_ttl(void **state)
{
    size_t i;

    (void)state;
    assert_int_equal(lifetime_of(answers_of_all_looks()), TTL);
    for (i = 0; i < 6; i++) {
        struct dns_answers *a = answers_of_all_looks();
        struct dns_host *host = &a->hosts[0];
        struct dns_look *looks[] = { &a->mx, &host->a, &host->aaaa, &host->cname, &host->at_expanded.look, &host->at_name.look };

        looks[i]->ttl = 77;
        assert_int_equal(lifetime_of(a), 77);
    }
}

static void what_was_not_asked_has_no_ttl(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);

    (void)state;
    add_host_in(a, HOST_GOOD);
    a->mx = (struct dns_look){ .asked = false, .ttl = 0 };
    a->hosts[0].cname.ttl = 1;
    a->hosts[0].at_expanded.look.ttl = 1;
    assert_int_equal(lifetime_of(a), TTL);
}

static void a_lifetime_has_a_floor_and_a_ceiling(void **state)
{
    static const struct {
        uint32_t ttl;
        int64_t lifetime;
    } tries[] = {
        { 0, 30 }, { 1, 30 }, { 29, 30 }, { 30, 30 }, { 31, 31 }, { 86399, 86399 }, { 86400, 86400 }, { 86401, 86400 },
        { UINT32_MAX, 86400 },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        struct dns_answers *a = answers_with_mx(DNS_SECURE);
        struct dns_host *host = add_host_in(a, HOST_GOOD);

        a->mx.ttl = host->a.ttl = host->aaaa.ttl = host->at_name.look.ttl = tries[i].ttl;
        assert_int_equal(lifetime_of(a), tries[i].lifetime);
    }
}

/* A state with TTLs of a week everywhere. */
static int64_t lifetime_in(enum host_state one, enum host_state other, uint32_t ttl)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    size_t i;

    add_host_in(a, one);
    add_host_in(a, other);
    a->mx.ttl = ttl;
    for (i = 0; i < a->host_count; i++)
        a->hosts[i].a.ttl = a->hosts[i].aaaa.ttl = a->hosts[i].at_name.look.ttl = ttl;
    return lifetime_of(a);
}

static void bad_news_is_asked_for_again_soon(void **state)
{
    struct dns_answers *a;

    (void)state;
    assert_int_equal(lifetime_in(HOST_FAILING, HOST_FAILING, 604800), 30);      /* unknown */
    assert_int_equal(lifetime_in(HOST_BOGUS, HOST_FAILING, 604800), 30);        /* bogus */
    assert_int_equal(lifetime_in(HOST_BARE, HOST_FAILING, 604800), 30);         /* degraded */
    assert_int_equal(lifetime_in(HOST_BARE, HOST_BARE, 604800), 3600);          /* absent: at most an hour */
    assert_int_equal(lifetime_in(HOST_BARE, HOST_GONE, 1800), 1800);
    assert_int_equal(lifetime_in(HOST_BARE, HOST_BARE, 3), 30);
    assert_int_equal(lifetime_in(HOST_UNUSABLE, HOST_BARE, 604800), 86400);
    assert_int_equal(lifetime_in(HOST_GOOD, HOST_BARE, 604800), 86400);
    a = answers_with_mx(DNS_FAILED);
    assert_int_equal(lifetime_of(a), 30);
    a = answers_with_mx(DNS_BOGUS);
    assert_int_equal(lifetime_of(a), 30);
    a = answers_with_mx(DNS_SECURE);
    a->null_mx = true;
    a->mx.ttl = 600;
    assert_int_equal(lifetime_of(a), 600);
    assert_true(lifetime_in(HOST_GOOD, HOST_FAILING, 604800) <= 604800);        /* partial: the failing one is tried again */
}

static void thirty_two_hosts_fit(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    char name[254];
    struct evidence *e;
    size_t i;

    (void)state;
    for (i = 0; i < DNS_HOSTS_MAX; i++) {
        struct dns_host *host = add_host_in(a, HOST_GOOD);

        memset(name, 'h', sizeof(name));                /* the longest names there are */
        memcpy(name + 63, ".", 1);
        memcpy(name + 127, ".", 1);
        memcpy(name + 191, ".", 1);
        name[253] = '\0';
        name[0] = (char)('a' + i % 26);
        name[1] = (char)('a' + i / 26);
        set_domain(&host->name, name);
    }
    a->clipped = true;
    e = judge(a);
    assert_int_equal(e->dane, DANE_USABLE);
    assert_int_equal(e->host_count, 32);
    for (i = 0; i < DNS_HOSTS_MAX; i++)
        assert_string_equal(e->hosts[i].name, a->hosts[i].name.name);
    evidence_unref(e);
    a->hosts[31].at_name.look = look(DNS_SECURE, false);
    assert_int_equal(state_of(a), DANE_PARTIAL);
}

static void the_words_name_the_culprit(void **state)
{
    struct dns_answers *a = answers_with_mx(DNS_SECURE);
    struct evidence *e;

    (void)state;
    add_host_in(a, HOST_GOOD);
    add_host_in(a, HOST_BOGUS);
    memset(a->hosts[1].at_name.look.why, 'w', sizeof(a->hosts[1].at_name.look.why) - 1);
    e = judge(a);
    assert_non_null(strstr(e->why, "mx1.bank.example"));
    assert_non_null(strstr(e->why, "wwww"));
    evidence_unref(e);
    dns_answers_free(a);
    a = answers_with_mx(DNS_BOGUS);
    strcpy(a->mx.why, "signature expired");
    e = judge(a);
    assert_non_null(strstr(e->why, "signature expired"));
    evidence_unref(e);
    dns_answers_free(a);
}

static void evidence_lives_as_long_as_its_last_user(void **state)
{
    struct evidence *e = evidence_new(DANE_UNKNOWN, "the resolver is broken", 42), *mine = evidence_ref(e);

    (void)state;
    evidence_unref(e);
    assert_int_equal(mine->dane, DANE_UNKNOWN);
    assert_int_equal(mine->sts, STS_ABSENT);
    assert_int_equal(mine->fresh_until, 42);
    assert_string_equal(mine->why, "the resolver is broken");
    assert_true(mine->mx_failed);
    assert_false(mine->blind);
    evidence_unref(mine);
    evidence_unref(NULL);
    dns_answers_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plain_hosts_have_their_states),
        cmocka_unit_test(every_mixture_of_hosts_rolls_up),
        cmocka_unit_test(each_row_of_the_contract_holds),
        cmocka_unit_test(the_mx_answer_comes_first),
        cmocka_unit_test(a_domain_that_is_not_there_gets_no_mail),
        cmocka_unit_test(a_bogus_denial_is_no_denial),
        cmocka_unit_test(without_mx_the_domain_is_its_own_host),
        cmocka_unit_test(a_bracketed_next_hop_needs_no_mx),
        cmocka_unit_test(a_literal_has_no_records),
        cmocka_unit_test(forgotten_answers_are_unknown),
        cmocka_unit_test(one_secure_address_family_is_enough),
        cmocka_unit_test(the_tlsa_answer_makes_the_host),
        cmocka_unit_test(one_usable_record_among_many_is_enough),
        cmocka_unit_test(the_tlsa_base_domain_is_the_expanded_name_or_the_original),
        cmocka_unit_test(unusable_records_of_the_expanded_name_are_still_its_records),
        cmocka_unit_test(an_alias_into_the_unsigned_world_keeps_its_own_records),
        cmocka_unit_test(a_digest_is_usable_by_its_numbers_and_length),
        cmocka_unit_test(full_data_must_parse_to_the_last_octet),
        cmocka_unit_test(garbage_is_no_certificate),
        cmocka_unit_test(only_so_many_whole_certificates_are_read),
        cmocka_unit_test(only_so_many_records_of_a_host_count),
        cmocka_unit_test(evidence_lives_as_long_as_its_shortest_ttl),
        cmocka_unit_test(what_was_not_asked_has_no_ttl),
        cmocka_unit_test(a_lifetime_has_a_floor_and_a_ceiling),
        cmocka_unit_test(bad_news_is_asked_for_again_soon),
        cmocka_unit_test(thirty_two_hosts_fit),
        cmocka_unit_test(the_words_name_the_culprit),
        cmocka_unit_test(evidence_lives_as_long_as_its_last_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
