/*
 * `danelaw check` whole, in a world of our own: dns_open() is the test's. The root is proven. good.* has usable DANE, all
 * else has secure hosts without TLSA; each domain has two hosts, mx1.DOMAIN and mx2.DOMAIN. What TXT records and policy
 * hosts say is in `worlds`. What a host shows to visitors is in its name: see eyes_probe().
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/memory.h"
#include "lookup/lookup.h"

#include <getopt.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RECORD "v=STSv1; id=2026a;"
#define POLICY(mode, mx) "version: STSv1\nmode: " mode "\n" mx "max_age: 604800\n"

static const struct world {
    const char *domain;
    const char *sts[3], *tlsrpt[2];         /* TXT records; NULL behind the last */
    enum dns_trust trust;                   /* of the TXT answer; DNS_FAILED only where `fails` */
    bool fails;
    enum fetch_state fetched;
    const char *file;                       /* the policy, or why there is none */
} worlds[] = {
    { "exact.example", { RECORD }, { "v=TLSRPTv1; rua=mailto:tls@exact.example" }, DNS_INSECURE, false, FETCH_GOOD,
      POLICY("enforce", "mx: mx1.exact.example\nmx: mx2.exact.example\n") },
    { "good.half.example", { RECORD, "something else" }, { NULL }, DNS_SECURE, false, FETCH_GOOD,
      POLICY("enforce", "mx: mx2.good.half.example\n") },
    { "wild.example", { RECORD }, { "v=TLSRPTv1; ruf=mailto:tls@wild.example" }, DNS_INSECURE, false, FETCH_GOOD,
      POLICY("enforce", "mx: *.wild.example\n") },
    { "mismatch.example", { RECORD }, { NULL }, DNS_INSECURE, false, FETCH_GOOD,
      POLICY("enforce", "mx: mail.mismatch.example\n") },
    { "testing.example", { RECORD }, { NULL }, DNS_INSECURE, false, FETCH_GOOD,
      POLICY("testing", "mx: mx1.testing.example\n") },
    { "none.example", { RECORD }, { NULL }, DNS_INSECURE, false, FETCH_GOOD, POLICY("none", "") },
    { "certificate.example", { RECORD }, { NULL }, DNS_INSECURE, false, FETCH_CERTIFICATE,
      "SSL certificate problem: certificate has expired" },
    { "missing.example", { RECORD }, { NULL }, DNS_INSECURE, false, FETCH_REFUSED, "the policy host answers HTTP 404" },
    { "dead.example", { RECORD }, { NULL }, DNS_INSECURE, false, FETCH_FAILED, "Operation timed out after 60000 milliseconds" },
    { "invalid.example", { RECORD }, { NULL }, DNS_INSECURE, false, FETCH_GOOD, "version: STSv1\nmode: perhaps\n" },
    { "twice.example", { RECORD, RECORD }, { NULL }, DNS_INSECURE, false, FETCH_FAILED, "nobody asked" },
    { "noid.example", { "v=STSv1; \x1b[2J=1" }, { NULL }, DNS_INSECURE, false, FETCH_FAILED, "nobody asked" },
    { "good.listed.probed.example", { RECORD }, { NULL }, DNS_INSECURE, false, FETCH_GOOD,
      POLICY("enforce", "mx: *.good.listed.probed.example\n") },
    { "silent.example", { NULL }, { NULL }, DNS_FAILED, true, FETCH_FAILED, "nobody asked" },
    { "plain.example", { NULL }, { NULL }, DNS_INSECURE, false, FETCH_FAILED, "nobody asked" },
};

static const char configuration[] =
    "connectors = ({ name = \"Must\"; recipients = [\"*.example\"]; smtp_dane = \"opportunistic\"; mta_sts = \"mandatory\"; },"
    "              { name = \"Free\"; recipients = [\"free@certificate.example\"]; mta_sts = \"none\"; },"
    "              { name = \"Plan\"; recipients = [\"planned@plain.example\", \"planned@host.example\"];"
    "                smtp_dane = \"none\"; mta_sts = \"none\"; test_mode = true; },"
    "              { name = \"Strict\"; recipients = [\"free@certificate.example\"]; mta_sts = \"mandatory\"; test_mode = true; },"
    "              { name = \"Probed\"; recipients = [\"*.probed.example\"]; probe = \"require\"; },"
    "              { name = \"Watched\"; recipients = [\"*.watched.example\"]; probe = \"watch\"; },"
    "              { name = \"Host\"; recipients = [\"host.example\"]; smart_hosts = [\"[exact.example]:587\"];"
    "                mta_sts = \"mandatory\"; });\n";

/* Eyes; everything arrives inside the call, which these looks bear. */

static const struct world *world_of(const char *domain)
{
    static const struct world nowhere = { .trust = DNS_INSECURE };
    size_t i;

    for (i = 0; i < COUNT_OF(worlds); i++) {
        if (strcmp(worlds[i].domain, domain) == 0)
            return &worlds[i];
    }
    return &nowhere;
}

static void fill_host(struct dns_host *host, struct arena *memory, const char *domain, unsigned number)
{
    static const uint8_t digest[32] = { 1 };
    struct dns_look secure = { .asked = true, .trust = DNS_SECURE, .found = true, .ttl = 3600 };
    struct dns_look denied = { .asked = true, .trust = DNS_SECURE, .ttl = 3600 };
    char name[300];

    snprintf(name, sizeof(name), "mx%u.%s", number, domain);
    assert_true(domain_parse(name, &host->name, NULL));
    host->expanded = host->at_name.base = host->name;
    host->preference = (uint16_t)(number * 10);
    host->a = secure;
    host->aaaa = host->at_name.look = denied;
    if (strncmp(domain, "good.", 5) != 0)
        return;
    host->at_name.look = secure;
    host->at_name.count = 1;
    host->at_name.records = arena_take(memory, sizeof(*host->at_name.records));
    host->at_name.records[0] = (struct dns_tlsa){ .usage = 3, .selector = 1, .matching = 1, .length = 32, .data = digest };
}

static void eyes_resolve(struct lookup *self, const struct next_hop *hop, struct landing *at)
{
    struct dns_answers *answers = dns_answers_new();

    (void)self;
    answers->literal = hop->literal;
    if (!hop->literal) {
        answers->mx = (struct dns_look){ .asked = true, .trust = DNS_SECURE, .found = true, .ttl = 3600 };
        answers->host_count = 2;
        answers->hosts = arena_take(answers->memory, 2 * sizeof(*answers->hosts));
        fill_host(&answers->hosts[0], answers->memory, hop->host.name, 1);
        fill_host(&answers->hosts[1], answers->memory, hop->host.name, 2);
    }
    at->arrive(at, answers);
}

static void eyes_query(struct lookup *self, const char *name, int type, struct query_landing *at)
{
    struct dns_look secure = { .asked = true, .trust = DNS_SECURE, .found = strcmp(name, ".") == 0, .ttl = 3600 };

    (void)self;
    (void)type;
    at->arrive(at, &secure);
}

static size_t fetches;

static void eyes_fetch_policy(struct lookup *self, const struct domain *domain, struct policy_landing *at)
{
    const struct world *world = world_of(domain->name);
    struct policy_file file = { .state = world->fetched };

    (void)self;
    fetches++;
    if (world->fetched == FETCH_GOOD) {
        file.body = world->file;
        file.length = strlen(world->file);
    } else {
        snprintf(file.why, sizeof(file.why), "%s", world->file);
    }
    at->arrive(at, &file);
}

/* A record in two character strings. */
static void add_record(struct dns_records *ret, const char *text, uint8_t *room)
{
    size_t length = strlen(text), first = length / 2;

    room[0] = (uint8_t)first;
    memcpy(room + 1, text, first);
    room[1 + first] = (uint8_t)(length - first);
    memcpy(room + 2 + first, text + first, length - first);
    ret->data[ret->count] = room;
    ret->lengths[ret->count++] = length + 2;
}

static void eyes_records(struct lookup *self, const char *name, int type, struct records_landing *at)
{
    bool sts = strncmp(name, "_mta-sts.", 9) == 0;
    const struct world *world = world_of(name + (sts ? strlen("_mta-sts.") : strlen("_smtp._tls.")));
    struct dns_records found = { .look = { .asked = true, .trust = world->trust, .ttl = 300 } };
    const char *const *text = sts ? world->sts : world->tlsrpt;
    uint8_t room[3][300];

    (void)self;
    assert_int_equal(type, DNS_TYPE_TXT);
    if (world->fails)
        snprintf(found.look.why, sizeof(found.look.why), "no answer within 5 s");
    for (; *text != NULL && found.count < (sts ? 3 : 2); text++)
        add_record(&found, *text, room[found.count]);
    found.look.found = found.count > 0;
    at->arrive(at, &found);
}

static struct cert_chain fits = { .fingerprint = { 1 }, .users = 1 }, strange = { .fingerprint = { 2 }, .users = 1 };
static size_t visits;

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why);
bool __wrap_cert_chain_pkix(const struct cert_chain *c, X509_STORE *trust, const char *const names[], size_t count, int64_t now,
                            struct fault *why);

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why)
{
    (void)now;
    if (c->fingerprint[0] != 1)
        return fault_set(why, "another key");
    *ret_matched = d->count - 1;
    return true;
}

bool __wrap_cert_chain_pkix(const struct cert_chain *c, X509_STORE *trust, const char *const names[], size_t count, int64_t now,
                            struct fault *why)
{
    (void)c, (void)trust, (void)now;
    assert_int_equal(count, 1);
    return strncmp(names[0], "mx1.", 4) == 0 || fault_set(why, "a private authority");
}

/* Shows a certificate that fits; unless it is .wrong. (another one), .plain. (no STARTTLS), .gone., or mx2 of .half. (gone, too);
 * .soon. has one that lives for 3 more days. */
static void eyes_probe(struct lookup *self, const struct probe_target *target, struct probe_landing *at)
{
    const char *host = target->host.name;
    bool gone = strstr(host, ".gone.") != NULL || (strstr(host, ".half.") != NULL && strncmp(host, "mx2.", 4) == 0);
    struct probe_sight sight = { .state = PROBE_SEEN, .address = "192.0.2.1", .tls = "TLSv1.3",
                                 .chain = strstr(host, ".wrong.") != NULL ? &strange : &fits };

    (void)self;
    visits++;
    fits.not_after = strange.not_after = (int64_t)clock_wall() + (strstr(host, ".soon.") != NULL ? 3 : 29) * 86400 + 3600;
    if (gone || strstr(host, ".plain.") != NULL) {
        sight = (struct probe_sight){ .state = gone ? PROBE_UNREACHABLE : PROBE_NO_STARTTLS, .address = "192.0.2.1" };
        snprintf(sight.why, sizeof(sight.why), "%s", gone ? "Connection refused" : "no STARTTLS is offered");
    }
    at->arrive(at, &sight);
}

static void eyes_close(struct lookup *self)
{
    (void)self;
}

bool dns_open(const struct settings *set, struct lookup **ret, struct fault *why)
{
    static char authorities;            /* never looked into */
    static struct lookup eyes = { .resolve = eyes_resolve, .query = eyes_query, .records = eyes_records,
                                  .fetch_policy = eyes_fetch_policy, .probe = eyes_probe, .close = eyes_close };

    (void)set;
    (void)why;
    eyes.trust = (X509_STORE *)(void *)&authorities;
    *ret = &eyes;
    return true;
}

/* The command */

static char config_path[64];
static char shown[64 * 1024];

/* Its exit status; what it wrote is in shown. */
static int run(const char *name, const char *option, const char *other)
{
    const char *argv[] = { "danelaw", "-c", config_path, "check", name, option, other, NULL };
    FILE *page = tmpfile();
    int out = dup(STDOUT_FILENO), exit;
    size_t length;

    optind = 0;                             /* begin anew */
    fflush(stdout);
    dup2(fileno(page), STDOUT_FILENO);
    exit = cli_main(option == NULL ? 5 : other == NULL ? 6 : 7, (char **)(uintptr_t)argv);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    rewind(page);
    length = fread(shown, 1, sizeof(shown) - 1, page);
    shown[length] = '\0';
    fclose(page);
    return exit;
}

static int check(const char *name, bool json)
{
    return run(name, json ? "--json" : NULL, NULL);
}

static void expect(const char *words)
{
    if (strstr(shown, words) == NULL)
        fail_msg("\"%s\" is not in:\n%s", words, shown);
}

static void expect_not(const char *words)
{
    if (strstr(shown, words) != NULL)
        fail_msg("\"%s\" is in:\n%s", words, shown);
}

/* The page with its lines joined, for what may be wrapped anywhere. */
static void unwrap(void)
{
    char *to = shown, *from = shown;

    for (; *from != '\0'; from++) {
        if (*from == '\n' || *from == ' ') {
            if (to > shown && to[-1] != ' ')
                *to++ = ' ';
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static int page(const char *name)
{
    int exit = check(name, false);

    unwrap();
    return exit;
}

static int probe(const char *name)
{
    int exit = run(name, "--probe", NULL);

    unwrap();
    return exit;
}

/* The tests */

static void a_policy_that_lists_the_hosts_carries_mail(void **state)
{
    (void)state;
    assert_int_equal(page("bo@exact.example"), 0);
    expect("MTA-STS enforce: policy 2026a, mode enforce TXT v=STSv1; id=2026a; ");
    expect("mode enforce, to be kept for 7 days (max_age 604800) mx mx1.exact.example, mx2.exact.example ");
    expect("mx2.exact.example is listed as mx2.exact.example ");
    expect("TLSRPT v=TLSRPTv1; rua=mailto:tls@exact.example ");
    expect("policy secure match=mx1.exact.example:mx2.exact.example ");
    expect_not("MTA-STS policy of exact.example");
    assert_int_equal(page("bo@wild.example"), 0);
    expect("mx1.wild.example is listed as *.wild.example ");
}

static void a_host_that_is_not_listed_is_named(void **state)
{
    (void)state;
    assert_int_equal(page("bo@good.half.example"), 0);      /* DANE carries it */
    expect("mx1.good.half.example <-- not listed ");
    expect("mx2.good.half.example is listed as mx2.good.half.example ");
    expect("tell them List mx1.good.half.example in the MTA-STS policy of good.half.example, then give its TXT record");
    assert_int_equal(page("bo@mismatch.example"), 1);
    expect("MTA-STS enforce-mismatch: policy 2026a, mode enforce, but it lists none of the MX hosts ");
    expect("reason sts-mx-mismatch: ");
    expect("List mx1.mismatch.example, mx2.mismatch.example in the MTA-STS policy");
}

static void policies_that_ask_for_nothing_are_shown(void **state)
{
    (void)state;
    assert_int_equal(page("bo@testing.example"), 1);
    expect("MTA-STS testing: policy 2026a, mode testing ");
    expect("Set the mode of the MTA-STS policy of testing.example to enforce");
    assert_int_equal(page("bo@none.example"), 1);
    expect("MTA-STS none: policy 2026a, mode none ");
    assert_int_equal(page("bo@plain.example"), 1);
    expect("MTA-STS absent: there is no v=STSv1 record ");
    expect("reason sts-required: ");
    expect("Publish MTA-STS: ");
}

static void trouble_with_the_policy_host_is_told_in_words(void **state)
{
    (void)state;
    assert_int_equal(page("bo@certificate.example"), 1);
    expect("MTA-STS fetch-error: SSL certificate problem: certificate has expired ");
    expect("reason sts-fetch-error: ");
    expect("Give the policy host mta-sts.certificate.example a certificate that is valid, ");
    assert_int_equal(page("bo@missing.example"), 1);
    expect("MTA-STS fetch-error: the policy host answers HTTP 404 ");
    expect("Have https://mta-sts.missing.example/.well-known/mta-sts.txt answered as RFC 8461 3.3 wants it");
    assert_int_equal(page("bo@dead.example"), 1);
    expect("See that the policy host mta-sts.dead.example can be reached by HTTPS");
    assert_int_equal(page("bo@invalid.example"), 1);
    expect("MTA-STS fetch-error: the policy is invalid: ");
    expect("Repair the policy file https://mta-sts.invalid.example/.well-known/mta-sts.txt (the policy is invalid: ");
}

static void what_is_wrong_with_the_record_is_told(void **state)
{
    (void)state;
    fetches = 0;
    assert_int_equal(page("bo@twice.example"), 1);
    expect("MTA-STS absent: there is more than one v=STSv1 record TXT v=STSv1; id=2026a; ");
    expect("Repair the TXT record of _mta-sts.twice.example (there is more than one v=STSv1 record)");
    assert_int_equal(page("bo@noid.example"), 1);
    expect("TXT v=STSv1; ?[2J=1 ");                         /* a stranger's escape sequence stays here */
    expect_not("\x1b");
    assert_int_equal(page("bo@silent.example"), 75);
    expect("MTA-STS unknown: the TXT look-up failed: no answer within 5 s ");
    expect("TLSRPT none: the TXT look-up failed: no answer within 5 s ");
    expect("reason dns-temp: ");
    assert_int_equal(fetches, 0);                           /* without a record nobody looks for a policy */
}

static void a_report_record_must_be_valid(void **state)
{
    (void)state;
    page("bo@wild.example");
    expect("TLSRPT none: the record has no rua, so nobody gets a report v=TLSRPTv1; ruf=mailto:tls@wild.example ");
    expect("Repair the TXT record of _smtp._tls.wild.example ");
    page("bo@plain.example");
    expect("TLSRPT none: there is no v=TLSRPTv1 record ");
    expect_not("_smtp._tls.plain.example");
}

static void both_halves_are_judged_whatever_the_connector_asks_for(void **state)
{
    (void)state;
    assert_int_equal(page("free@certificate.example"), 0);
    expect("connector Free: ");
    expect("MTA-STS fetch-error: ");
    expect("verdict deliver");
}

static void a_smart_host_is_its_own_policy_domain(void **state)
{
    (void)state;
    assert_int_equal(page("bo@host.example"), 0);
    expect("MTA-STS enforce: policy 2026a, mode enforce ");
    expect("TLSRPT v=TLSRPTv1; rua=mailto:tls@exact.example ");
}

static void a_connector_in_test_mode_is_only_told_of(void **state)
{
    (void)state;
    assert_int_equal(page("planned@plain.example"), 1);
    expect("connector Must: ");
    expect("verdict hold ");
    expect("in test mode Plan would deliver ");
    assert_int_equal(page("free@certificate.example"), 0);
    expect("connector Free: ");
    expect("verdict deliver");
    expect("in test mode Strict would hold: sts-fetch-error ");
    page("planned@host.example");
    expect("connector Host: ");
    expect("in test mode Plan has next hops of its own ");
    page("bo@plain.example");
    expect_not("in test mode");
}

static void a_literal_has_neither(void **state)
{
    (void)state;
    fetches = 0;
    page("bo@[192.0.2.1]");
    expect("DANE absent: ");
    expect("MTA-STS absent: an address literal has no name that could publish a policy ");
    expect_not("TLSRPT");
    assert_int_equal(fetches, 0);
}

static const char *word(const json_t *item, const char *key)
{
    const json_t *value = json_object_get(item, key);

    assert_non_null(value);
    return json_is_null(value) ? "null" : json_string_value(value);
}

static void json_has_every_key(void **state)
{
    json_t *item, *sts;

    (void)state;
    assert_int_equal(check("bo@exact.example", true), 0);
    item = json_loads(shown, 0, NULL);
    sts = json_object_get(item, "sts");
    assert_string_equal(word(sts, "state"), "enforce");
    assert_string_equal(word(sts, "why"), "policy 2026a, mode enforce");
    assert_string_equal(word(sts, "id"), "2026a");
    assert_string_equal(word(sts, "mode"), "enforce");
    assert_int_equal(json_integer_value(json_object_get(sts, "max_age")), 604800);
    assert_string_equal(json_string_value(json_array_get(json_object_get(sts, "mx"), 1)), "mx2.exact.example");
    assert_string_equal(word(item, "tlsrpt"), "v=TLSRPTv1; rua=mailto:tls@exact.example");
    json_decref(item);
    assert_int_equal(check("bo@missing.example", true), 1);
    item = json_loads(shown, 0, NULL);
    sts = json_object_get(item, "sts");
    assert_string_equal(word(sts, "state"), "fetch-error");
    assert_string_equal(word(sts, "why"), "the policy host answers HTTP 404");
    assert_string_equal(word(sts, "id"), "2026a");
    assert_string_equal(word(sts, "mode"), "null");
    assert_true(json_is_null(json_object_get(sts, "max_age")));
    assert_int_equal(json_array_size(json_object_get(sts, "mx")), 0);
    assert_string_equal(word(item, "tlsrpt"), "null");
    assert_string_equal(word(item, "reason"), "sts-fetch-error");
    json_decref(item);
}

static void nobody_is_visited_unasked(void **state)
{
    (void)state;
    visits = 0;
    page("bo@good.fine.probed.example");
    assert_int_equal(visits, 0);
    assert_int_equal(check("bo@good.fine.probed.example", true), 0);
    expect("\"probe\":null");
}

static void a_visit_names_the_record_that_matches(void **state)
{
    (void)state;
    assert_int_equal(probe("bo@good.fine.probed.example"), 0);
    expect("probe mx1.good.fine.probed.example:25 [192.0.2.1]: STARTTLS, TLSv1.3 TLSA 3 1 1 0100000000000000... matches "
           "authorities vouch for it certificate expires in 29 days, at 20");
    expect("mx2.good.fine.probed.example:25 [192.0.2.1]: STARTTLS, TLSv1.3 TLSA 3 1 1 0100000000000000... matches "
           "no authority vouches for it: a private authority certificate");
    expect("verdict deliver");
    expect_not("tell them");
}

static void a_host_that_fails_is_named_and_the_partner_told(void **state)
{
    (void)state;
    assert_int_equal(probe("bo@good.wrong.watched.example"), 1);
    expect("<-- DANE fails: another key ");
    expect("verdict deliver");                              /* watching changes no decision */
    expect("Make the certificate of mx1.good.wrong.watched.example and the TLSA records of "
           "_25._tcp.mx1.good.wrong.watched.example fit each other again (another key).");
    assert_int_equal(probe("bo@good.plain.watched.example"), 1);
    expect("probe <-- mx1.good.plain.watched.example:25 [192.0.2.1]: no STARTTLS is offered ");
    expect("tell them Have mx1.good.plain.watched.example offer STARTTLS on port 25, or take its TLSA records away.");
}

static void a_required_probe_holds_as_the_daemon_would(void **state)
{
    (void)state;
    assert_int_equal(probe("bo@good.wrong.probed.example"), 1);
    expect("DANE mismatch: mx1.good.wrong.probed.example [192.0.2.1]: another key ");
    expect("verdict hold reason tlsa-invalid: ");
    assert_int_equal(page("bo@good.wrong.probed.example"), 0);      /* unasked, DNS decides */
    expect("DANE usable: ");
}

static void hosts_out_of_reach_are_found_or_nothing_can_be_told(void **state)
{
    (void)state;
    assert_int_equal(probe("bo@good.half.probed.example"), 1);
    expect("<-- mx2.good.half.probed.example:25 [192.0.2.1]: Connection refused ");
    expect("See whether mx2.good.half.probed.example can be used on port 25 from elsewhere (Connection refused).");
    expect("verdict deliver");
    assert_int_equal(probe("bo@good.gone.probed.example"), 75);
    expect("verdict deliver");
}

static void bare_hosts_are_visited_but_owe_nothing(void **state)
{
    (void)state;
    assert_int_equal(probe("bo@plain.watched.example"), 0);
    expect("probe mx1.plain.watched.example:25 [192.0.2.1]: no STARTTLS is offered ");
    assert_int_equal(probe("bo@x.soon.watched.example"), 0);
    expect("no usable TLSA record to compare with ");
    expect("<-- certificate expires in 3 days, at 20");
    expect("Renew the certificate of mx1.x.soon.watched.example, which expires soon.");
}

static void authorities_count_where_a_policy_lists_the_host(void **state)
{
    (void)state;
    assert_int_equal(probe("bo@good.listed.probed.example"), 1);
    expect("authorities vouch for it, as MTA-STS wants it ");
    expect("<-- no authority vouches for it, as MTA-STS wants it: a private authority ");
    expect("Give mx2.good.listed.probed.example a certificate from a public authority that has this name");
}

/* One visit as scripts have it. */
static void assert_visit(const json_t *visit, const char *dane, const char *sts, const char *why)
{
    static const char *const keys[] = { "host", "address", "starttls", "dane", "sts", "not_after", "why" };
    size_t i;

    assert_int_equal(json_object_size(visit), COUNT_OF(keys));
    for (i = 0; i < COUNT_OF(keys); i++)
        assert_non_null(json_object_get(visit, keys[i]));
    assert_string_equal(word(visit, "address"), "192.0.2.1");
    assert_string_equal(word(visit, "dane"), dane);
    assert_string_equal(word(visit, "sts"), sts);
    assert_string_equal(word(visit, "why"), why);
}

static json_t *probe_json(const char *name, int exit)
{
    json_t *item;

    assert_int_equal(run(name, "--json", "--probe"), exit);
    item = json_loads(shown, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(item, "probe")), 2);
    return item;
}

static void visits_have_every_key(void **state)
{
    json_t *item = probe_json("bo@good.listed.probed.example", 1);

    (void)state;
    assert_visit(json_array_get(json_object_get(item, "probe"), 0), "match", "valid", "TLSA 3 1 1 0100000000000000... matches");
    assert_visit(json_array_get(json_object_get(item, "probe"), 1), "match", "invalid",
                 "TLSA 3 1 1 0100000000000000... matches; a private authority");
    json_decref(item);
    item = probe_json("bo@good.wrong.probed.example", 1);
    assert_visit(json_array_get(json_object_get(item, "probe"), 0), "mismatch", "null", "another key");
    assert_string_equal(word(json_object_get(item, "dane"), "state"), "mismatch");
    assert_true(json_is_true(json_object_get(json_array_get(json_object_get(item, "probe"), 0), "starttls")));
    json_decref(item);
    item = probe_json("bo@good.plain.probed.example", 1);
    assert_visit(json_array_get(json_object_get(item, "probe"), 0), "mismatch", "null", "no STARTTLS is offered");
    assert_true(json_is_false(json_object_get(json_array_get(json_object_get(item, "probe"), 0), "starttls")));
    json_decref(item);
    item = probe_json("bo@good.gone.probed.example", 75);
    assert_visit(json_array_get(json_object_get(item, "probe"), 0), "null", "null", "Connection refused");
    json_decref(item);
}

static int write_config(void **state)
{
    FILE *file;

    (void)state;
    snprintf(config_path, sizeof(config_path), "/tmp/test_check.%d.conf", (int)getpid());
    file = fopen(config_path, "w");
    if (file == NULL)
        return -1;
    fputs(configuration, file);
    return fclose(file);
}

static int remove_config(void **state)
{
    (void)state;
    return unlink(config_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_that_lists_the_hosts_carries_mail),
        cmocka_unit_test(a_host_that_is_not_listed_is_named),
        cmocka_unit_test(policies_that_ask_for_nothing_are_shown),
        cmocka_unit_test(trouble_with_the_policy_host_is_told_in_words),
        cmocka_unit_test(what_is_wrong_with_the_record_is_told),
        cmocka_unit_test(a_report_record_must_be_valid),
        cmocka_unit_test(both_halves_are_judged_whatever_the_connector_asks_for),
        cmocka_unit_test(a_smart_host_is_its_own_policy_domain),
        cmocka_unit_test(a_connector_in_test_mode_is_only_told_of),
        cmocka_unit_test(a_literal_has_neither),
        cmocka_unit_test(json_has_every_key),
        cmocka_unit_test(nobody_is_visited_unasked),
        cmocka_unit_test(a_visit_names_the_record_that_matches),
        cmocka_unit_test(a_host_that_fails_is_named_and_the_partner_told),
        cmocka_unit_test(a_required_probe_holds_as_the_daemon_would),
        cmocka_unit_test(hosts_out_of_reach_are_found_or_nothing_can_be_told),
        cmocka_unit_test(bare_hosts_are_visited_but_owe_nothing),
        cmocka_unit_test(authorities_count_where_a_policy_lists_the_host),
        cmocka_unit_test(visits_have_every_key),
    };

    return cmocka_run_group_tests(tests, write_config, remove_config);
}
