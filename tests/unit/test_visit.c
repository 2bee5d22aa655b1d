/* What visits to a partner's hosts prove. What chains prove is test_cert_chain's business; here they are told apart by a mark. */
#include "policy/visit.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What was asked of the chain last. */
static struct {
    char names[300], base[100];
    size_t records;
    unsigned times;
} asked;

static struct cert_chain fits = { .fingerprint = { 1 }, .users = 1 }, strange = { .fingerprint = { 2 }, .users = 1 };
static char authorities;                /* never looked into */

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why);
bool __wrap_cert_chain_pkix(const struct cert_chain *c, X509_STORE *trust, const char *const names[], size_t count, int64_t now,
                            struct fault *why);

static void note(const char *const names[], size_t count)
{
    size_t i;

    asked.times++;
    asked.names[0] = '\0';
    for (i = 0; i < count; i++)
        snprintf(asked.names + strlen(asked.names), sizeof(asked.names) - strlen(asked.names), "%s ", names[i]);
}

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why)
{
    assert_int_equal(now, 1700000000);
    note(d->names, d->name_count);
    asked.records = d->count;
    snprintf(asked.base, sizeof(asked.base), "%s", d->base);
    if (c->fingerprint[0] != 1)
        return fault_set(why, "no record matches");
    *ret_matched = d->count - 1;
    return true;
}

bool __wrap_cert_chain_pkix(const struct cert_chain *c, X509_STORE *trust, const char *const names[], size_t count, int64_t now,
                            struct fault *why)
{
    assert_ptr_equal(trust, &authorities);
    assert_int_equal(now, 1700000000);
    note(names, count);
    return c->fingerprint[0] == 1 || fault_set(why, "nobody vouches for it");
}

static const uint8_t digest[32] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x42 };
static const struct dns_tlsa records[] = { { 2, 0, 1, 32, digest }, { 3, 1, 1, 32, digest } };
static const struct evidence_host good = { .name = "mx.bank.example", .expanded = "mx.bank.example", .base = "base.bank.example",
                                           .tlsa = records, .tlsa_count = 2, .state = HOST_GOOD };
static const struct evidence_host bare = { .name = "mx.firm.example", .expanded = "mx.firm.example", .base = "",
                                           .state = HOST_BARE };

static struct next_hop hop_of(const char *spoken)
{
    struct next_hop hop;

    assert_true(next_hop_parse(spoken, &hop, NULL));
    return hop;
}

static struct visit seen(struct cert_chain *chain)
{
    return (struct visit){ .state = VISIT_SEEN, .tls = "TLSv1.3", .address = "192.0.2.1", .chain = chain };
}

static struct visit_judgement judged(const struct visit *v, struct visit_demand d)
{
    struct visit_judgement j;

    visit_judge(v, &d, (X509_STORE *)(void *)&authorities, 1700000000, &j);
    return j;
}

static void a_good_host_is_judged_by_its_records_and_names(void **state)
{
    struct next_hop hop = hop_of("bank.example");
    struct visit v = seen(&fits);
    struct visit_judgement j = judged(&v, visit_demand_dane(&good, &hop));

    (void)state;
    assert_int_equal(j.mark, VISIT_PASSES);
    assert_int_equal(j.record, 1);
    assert_string_equal(asked.base, "base.bank.example");
    assert_string_equal(asked.names, "mx.bank.example bank.example ");
    assert_int_equal(asked.records, 2);
    v = seen(&strange);
    j = judged(&v, visit_demand_dane(&good, &hop));
    assert_int_equal(j.mark, VISIT_FAILS);
    assert_string_equal(j.why.text, "no record matches");
    assert_int_equal(visit_demand_dane(&bare, &hop).proof, PROOF_NONE);
}

static void a_host_without_starttls_fails_whatever_is_demanded(void **state)
{
    struct next_hop hop = hop_of("bank.example");
    struct visit v = { .state = VISIT_NO_STARTTLS, .why = "it offers no STARTTLS" };
    struct connector c = { .tls = TLS_ENCRYPT };

    (void)state;
    assert_int_equal(judged(&v, visit_demand_dane(&good, &hop)).mark, VISIT_FAILS);
    assert_int_equal(judged(&v, visit_demand_sts(&bare)).mark, VISIT_FAILS);
    assert_int_equal(judged(&v, visit_demand_floor(&c, "mx.firm.example", &hop)).mark, VISIT_FAILS);
    assert_string_equal(judged(&v, visit_demand_sts(&bare)).why.text, "it offers no STARTTLS");
    assert_int_equal(judged(&v, (struct visit_demand){ .proof = PROOF_NONE }).mark, VISIT_PASSES);
}

static void who_is_out_of_reach_or_refuses_proves_nothing(void **state)
{
    static const enum visit_state states[] = { VISIT_UNREACHABLE, VISIT_REFUSED, VISIT_TLS_FAILED };
    struct next_hop hop = hop_of("bank.example");
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(states); i++) {
        struct visit v = { .state = states[i], .why = "Connection refused" };

        assert_int_equal(judged(&v, visit_demand_dane(&good, &hop)).mark, VISIT_OPEN);
        assert_int_equal(judged(&v, visit_demand_sts(&bare)).mark, VISIT_OPEN);
    }
    assert_int_equal(judged(&(struct visit){ 0 }, visit_demand_dane(&good, &hop)).mark, VISIT_UNKNOWN);
}

static void certificates_that_were_not_kept_prove_nothing(void **state)
{
    struct next_hop hop = hop_of("bank.example");
    struct visit v = seen(NULL);
    struct connector c = { .tls = TLS_ENCRYPT };

    (void)state;
    assert_int_equal(judged(&v, visit_demand_dane(&good, &hop)).mark, VISIT_OPEN);
    assert_int_equal(judged(&v, visit_demand_sts(&bare)).mark, VISIT_OPEN);
    assert_int_equal(judged(&v, visit_demand_floor(&c, "mx.firm.example", &hop)).mark, VISIT_PASSES);
}

static void old_tls_is_not_what_our_roads_take(void **state)
{
    struct next_hop hop = hop_of("bank.example");
    struct visit v = seen(&fits);

    (void)state;
    snprintf(v.tls, sizeof(v.tls), "TLSv1.1");
    assert_int_equal(judged(&v, visit_demand_dane(&good, &hop)).mark, VISIT_OPEN);
    assert_string_equal(judged(&v, visit_demand_dane(&good, &hop)).why.text, "the host speaks only TLSv1.1");
    snprintf(v.tls, sizeof(v.tls), "TLSv1.2");
    assert_int_equal(judged(&v, visit_demand_dane(&good, &hop)).mark, VISIT_PASSES);
}

static void without_authorities_nobody_is_judged_by_them(void **state)
{
    struct visit_demand d = visit_demand_sts(&bare);
    struct visit v = seen(&strange);
    struct visit_judgement j;

    (void)state;
    visit_judge(&v, &d, NULL, 1700000000, &j);
    assert_int_equal(j.mark, VISIT_OPEN);
}

static void a_floor_demands_what_its_level_says(void **state)
{
    static const char *const own[] = { ".firm.example", "other.example" };
    struct next_hop hop = hop_of("firm.example");
    struct visit v = seen(&fits);
    struct connector c = { .tls = TLS_SITE };

    (void)state;
    assert_int_equal(visit_demand_floor(&c, bare.name, &hop).proof, PROOF_NONE);
    c.tls = TLS_MAY;
    assert_int_equal(visit_demand_floor(&c, bare.name, &hop).proof, PROOF_NONE);
    c.tls = TLS_ENCRYPT;
    assert_int_equal(visit_demand_floor(&c, bare.name, &hop).proof, PROOF_TLS);
    c.tls = TLS_VERIFY;
    judged(&v, visit_demand_floor(&c, bare.name, &hop));
    assert_string_equal(asked.names, "mx.firm.example ");
    c.tls = TLS_SECURE;
    judged(&v, visit_demand_floor(&c, bare.name, &hop));
    assert_string_equal(asked.names, "firm.example ");
    c.tls_match = own;
    c.tls_match_count = 2;
    assert_int_equal(judged(&v, visit_demand_floor(&c, bare.name, &hop)).mark, VISIT_PASSES);
    assert_string_equal(asked.names, ".firm.example other.example ");
}

static void only_what_the_modes_ask_for_is_demanded(void **state)
{
    struct next_hop hop = hop_of("bank.example");
    struct evidence_host listed = bare, both = good;
    struct connector c = { .smtp_dane = MODE_OPPORTUNISTIC, .mta_sts = MODE_OPPORTUNISTIC, .tls = TLS_SECURE };
    struct visit_demand dane, other;

    (void)state;
    listed.sts_match = both.sts_match = true;
    visit_demands(&c, &good, &hop, &dane, &other);
    assert_int_equal(dane.proof, PROOF_DANE);
    assert_int_equal(other.proof, PROOF_NONE);
    visit_demands(&c, &both, &hop, &dane, &other);
    assert_int_equal(other.proof, PROOF_STS);
    visit_demands(&c, &listed, &hop, &dane, &other);
    assert_int_equal(dane.proof, PROOF_NONE);
    assert_int_equal(other.proof, PROOF_STS);
    visit_demands(&c, &bare, &hop, &dane, &other);
    assert_int_equal(other.proof, PROOF_NAMES);
    c.smtp_dane = c.mta_sts = MODE_NONE;
    visit_demands(&c, &both, &hop, &dane, &other);
    assert_int_equal(dane.proof, PROOF_NONE);
    assert_int_equal(other.proof, PROOF_NAMES);
}

static void it_is_a_mismatch_where_all_were_visited_none_passes_and_one_fails(void **state)
{
    enum visit_mark m[3];
    int a, b, c;

    (void)state;
    for (a = VISIT_UNKNOWN; a <= VISIT_PASSES; a++) {
        for (b = VISIT_UNKNOWN; b <= VISIT_PASSES; b++) {
            for (c = VISIT_UNKNOWN; c <= VISIT_PASSES; c++) {
                bool visited = a != VISIT_UNKNOWN && b != VISIT_UNKNOWN && c != VISIT_UNKNOWN;
                bool passes = a == VISIT_PASSES || b == VISIT_PASSES || c == VISIT_PASSES;
                bool fails = a == VISIT_FAILS || b == VISIT_FAILS || c == VISIT_FAILS;

                m[0] = (enum visit_mark)a, m[1] = (enum visit_mark)b, m[2] = (enum visit_mark)c;
                assert_int_equal(visit_is_mismatch(m, 3), visited && !passes && fails);
            }
        }
    }
    assert_false(visit_is_mismatch(m, 0));
}

static void a_mismatch_keeps_all_else_of_its_evidence(void **state)
{
    struct evidence *found = evidence_new(DANE_USABLE, "secure MX", 4711), *mismatch;

    (void)state;
    found->hosts = &good;
    found->host_count = 1;
    found->mx_secure = true;
    found->sts = STS_TESTING;
    mismatch = evidence_mismatch(found, "mx.bank.example: no record matches");
    evidence_unref(found);
    assert_int_equal(mismatch->dane, DANE_MISMATCH);
    assert_string_equal(mismatch->why, "mx.bank.example: no record matches");
    assert_int_equal(mismatch->sts, STS_TESTING);
    assert_true(mismatch->mx_secure);
    assert_int_equal(mismatch->fresh_until, 4711);
    assert_string_equal(mismatch->hosts[0].name, "mx.bank.example");
    evidence_unref(mismatch);
}

static void records_are_named_by_their_beginning(void **state)
{
    char text[64];

    (void)state;
    assert_string_equal(visit_record_print(&records[1], text, sizeof(text)), "3 1 1 0123456789abcdef...");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_host_is_judged_by_its_records_and_names),
        cmocka_unit_test(a_host_without_starttls_fails_whatever_is_demanded),
        cmocka_unit_test(who_is_out_of_reach_or_refuses_proves_nothing),
        cmocka_unit_test(certificates_that_were_not_kept_prove_nothing),
        cmocka_unit_test(old_tls_is_not_what_our_roads_take),
        cmocka_unit_test(without_authorities_nobody_is_judged_by_them),
        cmocka_unit_test(a_floor_demands_what_its_level_says),
        cmocka_unit_test(only_what_the_modes_ask_for_is_demanded),
        cmocka_unit_test(it_is_a_mismatch_where_all_were_visited_none_passes_and_one_fails),
        cmocka_unit_test(a_mismatch_keeps_all_else_of_its_evidence),
        cmocka_unit_test(records_are_named_by_their_beginning),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
