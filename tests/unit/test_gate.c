/*
 * The gate against every combination of what a connector can ask, what can be known and what can be seen. What certificates
 * prove is scripted here; test_cert_chain and test_sendmail_map have real ones.
 */
#include "policy/gate.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DOMAIN "bank.example"
#define MX1 "mx1.bank.example"
#define MX2 "mx2.bank.example"

/* What the chain proves, whoever asks; and what was asked last. */
static struct {
    bool dane, pkix;
    unsigned asked_dane, asked_pkix;
    struct cert_chain_demand demand;
    const char *names[4];
    size_t name_count;
} proof;

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why);
bool __wrap_cert_chain_pkix(const struct cert_chain *c, X509_STORE *trust, const char *const names[], size_t count, int64_t now,
                            struct fault *why);

static void keep_names(const char *const names[], size_t count)
{
    size_t i;

    proof.name_count = count;
    for (i = 0; i < count && i < COUNT_OF(proof.names); i++)
        proof.names[i] = names[i];
}

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why)
{
    assert_non_null(c);
    assert_int_equal(now, 4711);
    proof.asked_dane++;
    proof.demand = *d;
    keep_names(d->names, d->name_count);
    *ret_matched = 0;
    return proof.dane || fault_set(why, "another key");
}

bool __wrap_cert_chain_pkix(const struct cert_chain *c, X509_STORE *trust, const char *const names[], size_t count, int64_t now,
                            struct fault *why)
{
    assert_non_null(c);
    assert_non_null(trust);
    assert_int_equal(now, 4711);
    proof.asked_pkix++;
    keep_names(names, count);
    return proof.pkix || fault_set(why, "another name");
}

/* Three hosts: the one under test, a good one, and one that nobody can do anything with. */
static const uint8_t digest[32] = { 0xaa }, shown[32] = { 0xbb };
static const struct dns_tlsa key_record = { 3, 1, 1, 32, digest };
static const struct dns_tlsa pin_records[] = { { 3, 0, 1, 32, digest }, { 3, 0, 1, 32, shown } };
static const struct dns_tlsa other_pin = { 3, 0, 1, 32, digest };

static struct {
    struct connector connector;
    struct next_hop hop;
    struct evidence_host hosts[2];
    struct evidence found;
    struct gate_sight seen;
    struct cert_chain chain;
    struct gate_case c;
} w;

static int authorities;                     /* somewhere to point to */

/* A mandatory partner whose mx1 is good, connected, and shows a certificate; nothing of it is proven yet. */
static void make_world(void)
{
    struct fault why;

    memset(&w, 0, sizeof(w));
    memset(&proof, 0, sizeof(proof));
    assert_true(next_hop_parse(DOMAIN, &w.hop, &why));
    w.connector = (struct connector){ .name = "Bank", .smtp_dane = MODE_MANDATORY, .mta_sts = MODE_NONE, .tls = TLS_SITE };
    w.hosts[0] = (struct evidence_host){ .name = MX1, .expanded = MX1, .base = MX1, .tlsa = &key_record, .tlsa_count = 1,
                                         .preference = 10, .state = HOST_GOOD };
    w.hosts[1] = (struct evidence_host){ .name = MX2, .expanded = "real.host.example", .base = "real.host.example",
                                         .tlsa = &key_record, .tlsa_count = 1, .preference = 20, .state = HOST_GOOD };
    w.found = (struct evidence){ .dane = DANE_USABLE, .sts = STS_ABSENT, .mx_secure = true, .why = "", .sts_why = "",
                                 .host_count = 2, .hosts = w.hosts };
    gate_see(MX1, "TLSv1.3", "", &w.seen);
    w.seen.shown = true;
    memcpy(w.seen.fingerprint, shown, sizeof(shown));
    memcpy(w.chain.fingerprint, shown, sizeof(shown));
    w.c = (struct gate_case){ .connector = &w.connector, .hop = &w.hop, .found = &w.found, .seen = &w.seen, .chain = &w.chain,
                              .trust = (X509_STORE *)&authorities, .now = 4711 };
}

static struct gate_ruling ruling(void)
{
    struct gate_ruling r;

    gate_judge(&w.c, &r);
    assert_true(r.outcome == GATE_PASSED || r.reason != REASON_NONE);
    assert_true(strlen(r.why.text) < 400);
    return r;
}

static void assert_outcome(enum gate_outcome outcome, enum reason reason)
{
    struct gate_ruling r = ruling();

    if (r.outcome != outcome || (outcome != GATE_PASSED && r.reason != reason))
        fail_msg("outcome %d, reason %s: %s", (int)r.outcome, reason_word(r.reason), r.why.text);
}

#define assert_passed() assert_outcome(GATE_PASSED, REASON_NONE)
#define assert_refused(reason) assert_outcome(GATE_REFUSED, reason)

/* What is seen */

static void server_names_are_read_in_every_spelling(void **state)
{
    struct gate_sight s;

    (void)state;
    gate_see("MX1.Bank.Example.", "TLSv1.2", "", &s);
    assert_string_equal(s.server.host.name, MX1);
    assert_false(s.server.literal);
    gate_see("[192.0.2.1]", "", "", &s);
    assert_true(s.server.literal);
    assert_string_equal(s.server.host.name, "192.0.2.1");
    gate_see("[IPv6:2001:DB8:0::1]", "", "", &s);
    assert_true(s.server.literal);
    assert_string_equal(s.server.host.name, "2001:db8::1");
    gate_see("[mx1.bank.example]", "", "", &s);
    assert_int_equal(s.server.host.length, 0);
    gate_see("", "", "", &s);
    assert_int_equal(s.server.host.length, 0);
}

static void only_tls_1_2_and_later_is_modern(void **state)
{
    static const char *const modern[] = { "TLSv1.2", "TLSv1.3", "TLSv1.4" };
    static const char *const old[] = { "TLSv1", "TLSv1.0", "TLSv1.1", "SSLv3", "TLSv1.", "TLSv1.25", "TLSv1.2x", "tls", "NONE" };
    struct gate_sight s;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(modern); i++) {
        gate_see(MX1, modern[i], "", &s);
        assert_true(s.tls && s.modern);
    }
    for (i = 0; i < COUNT_OF(old); i++) {
        gate_see(MX1, old[i], "", &s);
        assert_true(s.tls && !s.modern);
    }
    gate_see(MX1, "", "", &s);
    assert_false(s.tls || s.modern);
}

static void fingerprints_are_sha_256_or_nothing(void **state)
{
    static const char good[] = "09:a7:EA:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:09:A7:EA:00:11:22:33:44:55:66:77:88:71";
    static const char md5[] = "09:A7:EA:00:11:22:33:44:55:66:77:88:99:AA:BB:CC";
    char text[128];
    struct gate_sight s;
    size_t i;

    (void)state;
    gate_see(MX1, "TLSv1.3", good, &s);
    assert_true(s.shown);
    assert_int_equal(s.fingerprint[0], 0x09);
    assert_int_equal(s.fingerprint[1], 0xa7);
    assert_int_equal(s.fingerprint[31], 0x71);
    gate_see(MX1, "", good, &s);                        /* no TLS, no certificate */
    assert_false(s.shown);
    gate_see(MX1, "TLSv1.3", md5, &s);
    assert_false(s.shown);
    for (i = 0; i < strlen(good); i++) {
        snprintf(text, sizeof(text), "%s", good);
        text[i] = 'g';
        gate_see(MX1, "TLSv1.3", text, &s);
        assert_false(s.shown);
        text[i] = '\0';
        gate_see(MX1, "TLSv1.3", text, &s);
        assert_false(s.shown);
    }
    snprintf(text, sizeof(text), "%s:00", good);
    gate_see(MX1, "TLSv1.3", text, &s);
    assert_false(s.shown);
}

/* By DANE alone */

static void forgotten_memory_refuses(void **state)
{
    struct gate_sight nothing = { 0 };
    struct gate_ruling r = { 0 };

    (void)state;
    assert_int_equal(r.outcome, GATE_REFUSED);
    make_world();
    proof.dane = true;
    w.c.seen = &nothing;
    assert_outcome(GATE_ELSEWHERE, REASON_TLSA_INVALID);
    make_world();
    w.found = (struct evidence){ .why = "", .sts_why = "" };
    w.connector = (struct connector){ .name = "Zero" };
    proof.dane = proof.pkix = true;
    assert_outcome(GATE_ELSEWHERE, REASON_DNS_TEMP);
}

static void the_chain_is_what_counts(void **state)
{
    (void)state;
    make_world();
    assert_refused(REASON_TLSA_INVALID);
    proof.dane = true;
    assert_passed();
    assert_string_equal(proof.demand.base, MX1);
    assert_int_equal(proof.name_count, 2);
    assert_string_equal(proof.names[0], MX1);
    assert_string_equal(proof.names[1], DOMAIN);
}

static void without_the_chain_it_is_asked_for(void **state)
{
    (void)state;
    make_world();
    proof.dane = true;
    w.c.chain = NULL;
    assert_outcome(GATE_UNSEEN, REASON_TLSA_INVALID);
}

/* Whoever answered the visit, it is not who mail is about to be sent to. */
static void a_chain_of_another_certificate_proves_nothing(void **state)
{
    (void)state;
    make_world();
    proof.dane = true;
    w.chain.fingerprint[31] ^= 1;
    assert_outcome(GATE_UNSEEN, REASON_TLSA_INVALID);
    assert_int_equal(proof.asked_dane, 0);
}

static void a_pinned_certificate_needs_no_chain(void **state)
{
    (void)state;
    make_world();
    w.c.chain = NULL;
    w.hosts[0].tlsa = pin_records;
    w.hosts[0].tlsa_count = 2;
    assert_passed();
    w.hosts[0].tlsa = &other_pin;
    w.hosts[0].tlsa_count = 1;
    assert_refused(REASON_TLSA_INVALID);                /* and no chain could change that */
    assert_int_equal(proof.asked_dane, 0);
}

static void a_host_of_somebody_else_is_sent_away(void **state)
{
    (void)state;
    make_world();
    proof.dane = true;
    gate_see("mx1.other.example", "TLSv1.3", "", &w.seen);
    assert_outcome(GATE_ELSEWHERE, REASON_TLSA_INVALID);
    gate_see(DOMAIN, "TLSv1.3", "", &w.seen);
    assert_outcome(GATE_ELSEWHERE, REASON_TLSA_INVALID);
    gate_see("[192.0.2.1]", "TLSv1.3", "", &w.seen);
    assert_outcome(GATE_ELSEWHERE, REASON_TLSA_INVALID);
}

static void a_host_may_be_called_by_what_its_alias_ends_in(void **state)
{
    (void)state;
    make_world();
    proof.dane = true;
    assert_true(domain_parse("real.host.example", &w.seen.server.host, NULL));
    assert_passed();
    assert_string_equal(proof.demand.base, "real.host.example");
    assert_string_equal(proof.names[0], MX2);
    w.hosts[1].state = HOST_BARE;                       /* and another alias of the same that is good */
    w.hosts[1].tlsa_count = 0;
    w.found.dane = DANE_PARTIAL;
    assert_refused(REASON_DANE_REQUIRED);
    w.hosts[0].expanded = "real.host.example";
    assert_passed();
}

static void of_aliases_of_one_host_the_strictest_counts(void **state)
{
    (void)state;
    make_world();
    w.connector.smtp_dane = MODE_OPPORTUNISTIC;
    w.found.dane = DANE_DEGRADED;
    w.hosts[0] = (struct evidence_host){ .name = MX1, .expanded = "real.host.example", .state = HOST_BARE };
    w.hosts[1].state = HOST_UNUSABLE;
    gate_see("real.host.example", "", "", &w.seen);
    assert_refused(REASON_TLSA_INVALID);
    w.hosts[1].state = HOST_BOGUS;
    assert_refused(REASON_DNSSEC_INVALID);
    w.hosts[1].state = HOST_BARE;
    assert_passed();
}

/* Nobody vouches for an alias: who forges one would be verified under a name of his own. */
static void an_alias_is_verified_by_the_name_that_was_meant(void **state)
{
    (void)state;
    make_world();
    w.connector.smtp_dane = MODE_NONE;
    w.connector.tls = TLS_VERIFY;
    proof.pkix = true;
    assert_true(domain_parse("real.host.example", &w.seen.server.host, NULL));
    assert_passed();
    assert_int_equal(proof.name_count, 1);
    assert_string_equal(proof.names[0], MX2);
}

static void tls_must_be_there_and_modern_and_have_a_certificate(void **state)
{
    (void)state;
    make_world();
    proof.dane = true;
    w.seen.shown = false;
    assert_refused(REASON_TLSA_INVALID);
    w.seen.modern = false;
    assert_refused(REASON_TLSA_INVALID);
    assert_non_null(strstr(ruling().why.text, "TLS 1.2"));
    w.seen.tls = false;
    assert_refused(REASON_TLSA_INVALID);
    assert_non_null(strstr(ruling().why.text, "does not offer STARTTLS"));
}

static void bare_hosts_of_a_partial_partner_are_refused(void **state)
{
    static const struct {
        enum host_state host;
        enum reason reason;
    } cases[] = { { HOST_BARE, REASON_DANE_REQUIRED }, { HOST_UNUSABLE, REASON_DANE_REQUIRED },
                  { HOST_BOGUS, REASON_DNSSEC_INVALID }, { HOST_FAILING, REASON_DNS_TEMP }, { HOST_GONE, REASON_DNS_TEMP } };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(cases); i++) {
        make_world();
        proof.dane = proof.pkix = true;
        w.found.dane = DANE_PARTIAL;
        w.hosts[0].state = cases[i].host;
        assert_refused(cases[i].reason);
        assert_int_equal(proof.asked_dane, 0);
    }
}

/* RFC 7672 3.2.2: an insecure MX lends nobody the domain's name. */
static void the_domain_is_a_name_only_by_a_secure_mx(void **state)
{
    (void)state;
    make_world();
    proof.dane = true;
    w.connector.smtp_dane = MODE_OPPORTUNISTIC;
    w.found.dane = DANE_INSECURE_MX;
    w.found.mx_secure = false;
    assert_passed();
    assert_int_equal(proof.name_count, 1);
    assert_string_equal(proof.names[0], MX1);
}

/* Opportunistic DANE */

static void what_has_no_records_passes_where_dane_is_opportunistic(void **state)
{
    static const struct {
        enum host_state host;
        enum gate_outcome outcome;
        enum reason reason;
    } cases[] = { { HOST_BARE, GATE_PASSED, REASON_NONE }, { HOST_UNUSABLE, GATE_REFUSED, REASON_TLSA_INVALID },
                  { HOST_BOGUS, GATE_REFUSED, REASON_DNSSEC_INVALID }, { HOST_FAILING, GATE_REFUSED, REASON_DNS_TEMP },
                  { HOST_GONE, GATE_REFUSED, REASON_DNS_TEMP }, { HOST_GOOD, GATE_REFUSED, REASON_TLSA_INVALID } };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(cases); i++) {
        make_world();
        w.connector.smtp_dane = MODE_OPPORTUNISTIC;
        w.found.dane = DANE_PARTIAL;
        w.hosts[0].state = cases[i].host;
        gate_see(MX1, "", "", &w.seen);
        assert_outcome(cases[i].outcome, cases[i].reason);
    }
}

static void unusable_records_still_ask_for_tls(void **state)
{
    (void)state;
    make_world();
    w.connector.smtp_dane = MODE_OPPORTUNISTIC;
    w.found.dane = DANE_UNUSABLE;
    w.hosts[0].state = w.hosts[1].state = HOST_UNUSABLE;
    assert_passed();
    gate_see(MX1, "TLSv1", "", &w.seen);
    assert_passed();
    gate_see(MX1, "", "", &w.seen);
    assert_refused(REASON_TLSA_INVALID);
}

/* MTA-STS */

static void listed_hosts_need_a_certificate_for_their_name(void **state)
{
    (void)state;
    make_world();
    w.connector.smtp_dane = MODE_OPPORTUNISTIC;
    w.connector.mta_sts = MODE_MANDATORY;
    w.found.dane = DANE_ABSENT;
    w.found.sts = STS_ENFORCE;
    w.hosts[0].state = w.hosts[1].state = HOST_BARE;
    w.hosts[0].sts_match = true;
    assert_refused(REASON_STS_MX_MISMATCH);
    proof.pkix = true;
    assert_passed();
    assert_int_equal(proof.name_count, 1);
    assert_string_equal(proof.names[0], MX1);
    w.c.trust = NULL;
    assert_refused(REASON_STS_MX_MISMATCH);
    w.c.trust = (X509_STORE *)&authorities;
    w.c.chain = NULL;
    assert_outcome(GATE_UNSEEN, REASON_STS_MX_MISMATCH);
    w.c.chain = &w.chain;
    w.seen.modern = false;
    assert_refused(REASON_STS_MX_MISMATCH);
    w.seen.modern = true;
    assert_true(domain_parse(MX2, &w.seen.server.host, NULL));
    assert_refused(REASON_STS_MX_MISMATCH);
}

static void where_both_are_mandatory_a_host_has_to_be_listed_too(void **state)
{
    (void)state;
    make_world();
    proof.dane = true;
    w.connector.mta_sts = MODE_MANDATORY;
    w.found.sts = STS_ENFORCE;
    w.hosts[1].sts_match = true;
    assert_refused(REASON_STS_MX_MISMATCH);
    w.hosts[0].sts_match = true;
    assert_passed();
    w.hosts[0].sts_match = false;
    w.connector.require = REQUIRE_ANY;
    assert_passed();
}

static void bare_hosts_that_the_policy_lists_carry_opportunistic_mail(void **state)
{
    (void)state;
    make_world();
    w.connector.smtp_dane = w.connector.mta_sts = MODE_OPPORTUNISTIC;
    w.found.dane = DANE_PARTIAL;
    w.found.sts = STS_ENFORCE;
    w.hosts[0].state = HOST_BARE;
    w.hosts[0].sts_match = true;
    assert_refused(REASON_STS_MX_MISMATCH);
    proof.pkix = true;
    assert_passed();
    assert_true(domain_parse(MX2, &w.seen.server.host, NULL));
    assert_refused(REASON_STS_MX_MISMATCH);
}

/* The floor */

static void a_floor_asks_for_its_own_names(void **state)
{
    static const char *const own[] = { "gw.example", "gw2.example" };

    (void)state;
    make_world();
    w.connector.smtp_dane = MODE_NONE;
    w.connector.tls = TLS_SECURE;
    assert_refused(REASON_TLS_REQUIRED);
    proof.pkix = true;
    assert_passed();
    assert_string_equal(proof.names[0], DOMAIN);
    w.connector.tls = TLS_VERIFY;
    assert_passed();
    assert_string_equal(proof.names[0], MX1);
    w.connector.tls_match = own;
    w.connector.tls_match_count = 2;
    assert_passed();
    assert_int_equal(proof.name_count, 2);
    assert_string_equal(proof.names[1], "gw2.example");
    gate_see("mx1.other.example", "TLSv1.3", "", &w.seen);
    assert_outcome(GATE_ELSEWHERE, REASON_TLS_REQUIRED);
}

static void encrypt_asks_for_tls_alone(void **state)
{
    (void)state;
    make_world();
    w.connector.smtp_dane = MODE_NONE;
    w.connector.tls = TLS_ENCRYPT;
    w.seen.modern = w.seen.shown = false;
    assert_passed();
    w.seen.tls = false;
    assert_refused(REASON_TLS_REQUIRED);
}

/* To OpenSSL an empty name is any name. */
static void a_server_without_a_name_is_never_verified(void **state)
{
    (void)state;
    make_world();
    proof.pkix = true;
    w.connector.smtp_dane = MODE_NONE;
    w.connector.tls = TLS_VERIFY;
    w.found = (struct evidence){ .dane = DANE_UNKNOWN, .mx_failed = true, .why = "", .sts_why = "" };
    assert_passed();
    w.seen.server = (struct next_hop){ 0 };
    assert_outcome(GATE_ELSEWHERE, REASON_TLS_REQUIRED);
    assert_int_equal(proof.asked_pkix, 1);
}

static void a_floor_without_demands_lets_everything_pass(void **state)
{
    static const enum tls_level lax[] = { TLS_SITE, TLS_MAY };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(lax); i++) {
        make_world();
        w.connector.smtp_dane = MODE_NONE;
        w.connector.tls = lax[i];
        gate_see("relay.example", "", "", &w.seen);
        assert_passed();
    }
}

/* Next hops of other kinds */

static void literal_smart_hosts_are_themselves(void **state)
{
    static const char *const own[] = { "gw.example" };

    (void)state;
    make_world();
    proof.pkix = true;
    w.connector.smtp_dane = MODE_NONE;
    w.connector.tls = TLS_SECURE;
    w.connector.tls_match = own;
    w.connector.tls_match_count = 1;
    assert_true(next_hop_parse("[192.0.2.1]:587", &w.hop, NULL));
    w.found = (struct evidence){ .dane = DANE_ABSENT, .why = "", .sts_why = "" };
    assert_outcome(GATE_ELSEWHERE, REASON_TLS_REQUIRED);
    assert_true(next_hop_parse("[192.0.2.1]", &w.seen.server, NULL));
    assert_passed();
    w.connector.smtp_dane = MODE_MANDATORY;
    assert_refused(REASON_DANE_REQUIRED);               /* an address publishes nothing */
}

static void no_mail_passes_but_for_those_who_must_prove_something(void **state)
{
    (void)state;
    make_world();
    proof.dane = proof.pkix = true;
    w.found = (struct evidence){ .dane = DANE_NO_MAIL, .sts = STS_ABSENT, .why = "", .sts_why = "" };
    assert_outcome(GATE_ELSEWHERE, REASON_DANE_REQUIRED);
    w.connector.smtp_dane = MODE_OPPORTUNISTIC;
    assert_passed();
}

/* Fallback roads */

static void a_fallback_road_has_demands_of_its_own(void **state)
{
    static const char *const own[] = { "relay.example" };
    struct route road = { .name = "spare", .transport = "spare", .next_hop = "[relay.example]", .tls = TLS_SITE };

    (void)state;
    make_world();
    w.c.stand_in = &road;
    assert_true(next_hop_parse("[relay.example]", &w.hop, NULL));
    w.hosts[0].name = w.hosts[0].expanded = w.hosts[0].base = "relay.example";
    w.found.host_count = 1;
    assert_outcome(GATE_ELSEWHERE, REASON_TLS_REQUIRED);
    assert_true(domain_parse("relay.example", &w.seen.server.host, NULL));
    w.seen.tls = false;
    assert_passed();
    road.tls = TLS_ENCRYPT;
    assert_refused(REASON_TLS_REQUIRED);
    w.seen.tls = true;
    assert_passed();
    road.tls = TLS_DANE_ONLY;
    assert_refused(REASON_TLSA_INVALID);
    proof.dane = true;
    assert_passed();
    road.tls = TLS_VERIFY;
    assert_refused(REASON_TLS_REQUIRED);
    proof.pkix = true;
    assert_passed();
    assert_string_equal(proof.names[0], "relay.example");
    road.tls = TLS_SECURE;
    road.tls_match = own;
    road.tls_match_count = 1;
    assert_passed();
    assert_string_equal(proof.names[0], "relay.example");
    w.found.dane = DANE_UNKNOWN;
    road.tls = TLS_DANE_ONLY;
    assert_refused(REASON_DANE_REQUIRED);
}

/* DNS may just be silent: then a connection is known for the road's by nothing but a name of the road's own. */
static void a_fallback_road_whose_hosts_are_unknown_takes_names_alone(void **state)
{
    static const char *const own[] = { "relay.example" };
    static const enum tls_level open[] = { TLS_SITE, TLS_MAY, TLS_ENCRYPT, TLS_VERIFY };
    struct route road = { .name = "spare", .transport = "spare", .next_hop = "relay.example" };
    size_t i;

    (void)state;
    make_world();
    w.c.stand_in = &road;
    proof.dane = proof.pkix = true;
    assert_true(next_hop_parse("relay.example", &w.hop, NULL));
    w.found = (struct evidence){ .dane = DANE_UNKNOWN, .sts = STS_UNKNOWN, .why = "", .sts_why = "" };
    for (i = 0; i < COUNT_OF(open); i++) {
        road.tls = open[i];
        assert_refused(REASON_DNS_TEMP);
    }
    road.tls = TLS_SECURE;
    assert_passed();
    assert_string_equal(proof.names[0], "relay.example");
    road.tls = TLS_VERIFY;
    road.tls_match = own;
    road.tls_match_count = 1;
    assert_passed();
}

/* Everything */

enum { MODES = 3, DANES = DANE_USABLE + 1, STSES = STS_ENFORCE + 1, STATES = HOST_GOOD + 1, FLOORS = 5 };

static const enum tls_level floors[FLOORS] = { TLS_SITE, TLS_MAY, TLS_ENCRYPT, TLS_VERIFY, TLS_SECURE };

enum sight { SEEN_ELSEWHERE, SEEN_NO_TLS, SEEN_OLD, SEEN_NO_CERTIFICATE, SEEN_PIN, SEEN_NO_CHAIN, SEEN_OTHER_CHAIN, SEEN_BAD_CHAIN,
             SEEN_DANE_CHAIN, SEEN_PKIX_CHAIN, SIGHTS };

static void see(enum sight s)
{
    proof.dane = s == SEEN_DANE_CHAIN || s == SEEN_OTHER_CHAIN;
    proof.pkix = s == SEEN_PKIX_CHAIN || s == SEEN_OTHER_CHAIN;
    w.c.chain = s == SEEN_PIN || s == SEEN_NO_CHAIN ? NULL : &w.chain;
    w.chain.fingerprint[0] = s == SEEN_OTHER_CHAIN ? 0xcc : 0xbb;
    w.hosts[0].tlsa = s == SEEN_PIN ? pin_records : &key_record;
    w.hosts[0].tlsa_count = s == SEEN_PIN ? 2 : 1;
    w.seen.server.host.name[0] = s == SEEN_ELSEWHERE ? 'q' : 'm';
    w.seen.tls = s != SEEN_NO_TLS;
    w.seen.modern = w.seen.tls && s != SEEN_OLD;
    w.seen.shown = w.seen.tls && s != SEEN_NO_CERTIFICATE;
}

/* What a mandatory connector may rest on, in other words than the gate's own. */
static bool is_authenticated(enum sight s)
{
    const struct connector *c = &w.connector;
    const struct evidence_host *host = &w.hosts[0];
    bool dane = host->state == HOST_GOOD && w.found.mx_secure && (w.found.dane == DANE_USABLE || w.found.dane == DANE_PARTIAL) &&
                (s == SEEN_PIN || s == SEEN_DANE_CHAIN);
    bool listed = w.found.sts == STS_ENFORCE && host->sts_match;
    bool sts = listed && s == SEEN_PKIX_CHAIN;

    if (c->smtp_dane == MODE_MANDATORY && c->mta_sts == MODE_MANDATORY && c->require == REQUIRE_ANY)
        return dane || sts;
    if (c->smtp_dane == MODE_MANDATORY)
        return dane && (c->mta_sts != MODE_MANDATORY || listed);
    return sts || (dane && listed);
}

static void try_sights(size_t *passed)
{
    struct gate_ruling r;
    int s;

    for (s = 0; s < SIGHTS; s++) {
        see((enum sight)s);
        gate_judge(&w.c, &r);
        if (r.outcome != GATE_PASSED) {
            assert_true(r.reason != REASON_NONE && r.reason != REASON_INTERNAL);
            continue;
        }
        (*passed)++;
        if (connector_is_mandatory(&w.connector) && !is_authenticated((enum sight)s))
            fail_msg("smtp_dane=%s mta_sts=%s require=%s floor=%s dane=%s sts=%s host=%s match=%d sight=%d passes",
                     mode_word(w.connector.smtp_dane), mode_word(w.connector.mta_sts), require_word(w.connector.require),
                     tls_word(w.connector.tls), dane_word(w.found.dane), sts_word(w.found.sts), host_word(w.hosts[0].state),
                     w.hosts[0].sts_match, s);
    }
}

static void try_hosts(size_t *passed)
{
    int state, match;

    for (state = 0; state < STATES; state++) {
        for (match = 0; match < 4; match++) {
            w.hosts[0].state = (enum host_state)state;
            w.hosts[0].sts_match = match & 1;
            w.hosts[1].sts_match = match & 2;
            w.found.mx_secure = w.found.dane != DANE_INSECURE_MX && w.found.dane != DANE_UNKNOWN;
            try_sights(passed);
        }
    }
}

static void a_mandatory_partner_is_passed_only_if_authenticated(void **state)
{
    size_t passed = 0;
    int dane, sts, floor, smtp_dane, mta_sts, require, blind;

    (void)state;
    make_world();
    for (smtp_dane = 0; smtp_dane < MODES; smtp_dane++)
        for (mta_sts = 0; mta_sts < MODES; mta_sts++)
            for (require = 0; require < 2; require++)
                for (floor = 0; floor < FLOORS; floor++)
                    for (dane = 0; dane < DANES; dane++)
                        for (sts = 0; sts < STSES; sts++)
                            for (blind = 0; blind < 2; blind++) {
                                w.connector.smtp_dane = (enum mode)smtp_dane;
                                w.connector.mta_sts = (enum mode)mta_sts;
                                w.connector.require = (enum require)require;
                                w.connector.tls = floors[floor];
                                w.found.dane = (enum dane_state)dane;
                                w.found.sts = (enum sts_state)sts;
                                w.found.blind = blind;
                                try_hosts(&passed);
                            }
    assert_true(passed > 1000);
}

/* What is fetched ahead */

static void those_with_more_than_fingerprints_are_visited_ahead(void **state)
{
    const struct evidence_host *some[2];

    (void)state;
    make_world();
    assert_int_equal(gate_wants_chains(&w.connector, &w.hop, &w.found, some, 2), 2);
    assert_ptr_equal(some[0], &w.hosts[0]);
    assert_int_equal(gate_wants_chains(&w.connector, &w.hop, &w.found, some, 1), 1);
    w.hosts[0].tlsa = pin_records;
    w.hosts[0].tlsa_count = 2;
    assert_int_equal(gate_wants_chains(&w.connector, &w.hop, &w.found, some, 2), 1);
    assert_ptr_equal(some[0], &w.hosts[1]);
    w.found.dane = DANE_ABSENT;                         /* held: nobody is visited */
    assert_int_equal(gate_wants_chains(&w.connector, &w.hop, &w.found, some, 2), 0);
    w.connector.smtp_dane = MODE_NONE;
    assert_int_equal(gate_wants_chains(&w.connector, &w.hop, &w.found, some, 2), 0);
    w.connector.tls = TLS_VERIFY;
    assert_int_equal(gate_wants_chains(&w.connector, &w.hop, &w.found, some, 2), 2);
}

static void the_last_host_is_the_one_behind_which_none_is_tried(void **state)
{
    (void)state;
    make_world();
    assert_false(ruling().last);
    assert_true(domain_parse(MX2, &w.seen.server.host, NULL));
    assert_true(ruling().last);
    w.hosts[0].preference = 20;
    assert_true(domain_parse(MX1, &w.seen.server.host, NULL));
    assert_true(ruling().last);
    w.hosts[0].preference = 10;
    w.hosts[1].state = HOST_GONE;
    assert_true(ruling().last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_names_are_read_in_every_spelling),
        cmocka_unit_test(only_tls_1_2_and_later_is_modern),
        cmocka_unit_test(fingerprints_are_sha_256_or_nothing),
        cmocka_unit_test(forgotten_memory_refuses),
        cmocka_unit_test(the_chain_is_what_counts),
        cmocka_unit_test(without_the_chain_it_is_asked_for),
        cmocka_unit_test(a_chain_of_another_certificate_proves_nothing),
        cmocka_unit_test(a_pinned_certificate_needs_no_chain),
        cmocka_unit_test(a_host_of_somebody_else_is_sent_away),
        cmocka_unit_test(a_host_may_be_called_by_what_its_alias_ends_in),
        cmocka_unit_test(of_aliases_of_one_host_the_strictest_counts),
        cmocka_unit_test(an_alias_is_verified_by_the_name_that_was_meant),
        cmocka_unit_test(tls_must_be_there_and_modern_and_have_a_certificate),
        cmocka_unit_test(bare_hosts_of_a_partial_partner_are_refused),
        cmocka_unit_test(the_domain_is_a_name_only_by_a_secure_mx),
        cmocka_unit_test(what_has_no_records_passes_where_dane_is_opportunistic),
        cmocka_unit_test(unusable_records_still_ask_for_tls),
        cmocka_unit_test(listed_hosts_need_a_certificate_for_their_name),
        cmocka_unit_test(where_both_are_mandatory_a_host_has_to_be_listed_too),
        cmocka_unit_test(bare_hosts_that_the_policy_lists_carry_opportunistic_mail),
        cmocka_unit_test(a_floor_asks_for_its_own_names),
        cmocka_unit_test(encrypt_asks_for_tls_alone),
        cmocka_unit_test(a_server_without_a_name_is_never_verified),
        cmocka_unit_test(a_floor_without_demands_lets_everything_pass),
        cmocka_unit_test(literal_smart_hosts_are_themselves),
        cmocka_unit_test(no_mail_passes_but_for_those_who_must_prove_something),
        cmocka_unit_test(a_fallback_road_has_demands_of_its_own),
        cmocka_unit_test(a_fallback_road_whose_hosts_are_unknown_takes_names_alone),
        cmocka_unit_test(a_mandatory_partner_is_passed_only_if_authenticated),
        cmocka_unit_test(those_with_more_than_fingerprints_are_visited_ahead),
        cmocka_unit_test(the_last_host_is_the_one_behind_which_none_is_tried),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
