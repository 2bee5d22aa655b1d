/* Sendmail's table: which road, and whether the connection is good enough. Certificates are real, hosts are scripted. */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "certificates.h"
#include "fake_lookup.h"
#include "site.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINES_MAX = 4096, LINE_SIZE = 400, HOLD = 24 * 60 * 60, ASKERS = 200, ROUND_MS = 10 };

/* The clock jumps when a test says so. */
static atomic_llong ahead_ms;

int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
struct timespec __real_clock_spec(int64_t ms);
struct timespec __wrap_clock_spec(int64_t ms);

int64_t __wrap_clock_ms(void)
{
    return __real_clock_ms() + atomic_load(&ahead_ms);
}

struct timespec __wrap_clock_spec(int64_t ms)
{
    return __real_clock_spec(ms - atomic_load(&ahead_ms));
}

/* What was recorded is read from the log. */
static struct mutex lines_lock = { PTHREAD_MUTEX_INITIALIZER };
static char lines[LINES_MAX][LINE_SIZE];
static size_t line_count;

void __wrap_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

void __wrap_log_info(const char *format, ...)
{
    va_list args;

    if (strstr(format, "verdict=") == NULL)
        return;
    mutex_lock(&lines_lock);
    assert_true(line_count < LINES_MAX);
    va_start(args, format);
    vsnprintf(lines[line_count++], LINE_SIZE, format, args);
    va_end(args);
    mutex_unlock(&lines_lock);
}

static size_t lines_with(const char *words)
{
    size_t count = 0, i;

    mutex_lock(&lines_lock);
    for (i = 0; i < line_count; i++)
        count += strstr(lines[i], words) != NULL;
    mutex_unlock(&lines_lock);
    return count;
}

static void assert_recorded(const char *words)
{
    if (lines_with(words) == 0)
        fail_msg("no line has \"%s\"; the last is \"%s\"", words, line_count == 0 ? "" : lines[line_count - 1]);
}

static const struct route sendmail_road = { .name = "dane-mandatory", .transport = "danesmtp", .next_hop = "" };
static struct authority *authority;

struct scene {
    struct settings set;
    struct fake *fake;
    struct ruleset *rules;              /* until scene_open() */
    struct engine *engine;
};

static struct connector *add(struct scene *s, const char *name, enum mode dane, enum mode sts, const char *recipients)
{
    struct connector *c = rules_add(s->rules, name, dane, sts, recipients);

    c->route = &sendmail_road;
    c->hold = HOLD;
    return c;
}

static void scene_init(struct scene *s)
{
    *s = (struct scene){ .set = { .resolver = { .when_broken = "hold-mandatory", .entries = 10000, .cache = 64 << 20,
                                                .tlsa_records = 16 },
                                  .tables = { .mta = "none" } } };
    s->fake = fake_new();
    s->rules = rules_new();
    fake_trust(s->fake, authority_trust(authority));
    line_count = 0;
}

static void scene_open(struct scene *s)
{
    ruleset_freeze(s->rules);
    s->engine = engine_open(&s->set, fake_lookup(s->fake), &(struct engine_memory){ 0 }, s->rules);
    ruleset_unref(take(s->rules));
}

/* With the one partner that most tests are about. */
static void scene_bank(struct scene *s)
{
    scene_init(s);
    add(s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    scene_open(s);
}

static void scene_close(struct scene *s)
{
    engine_close(s->engine);
    fake_free(s->fake);
}

/* An answer on its way. */
struct reply {
    struct pending pending;
    atomic_int count;
    bool temp;
    char value[1024];
};

static void reply_done(struct pending *self, const char *value)
{
    struct reply *r = (struct reply *)self;

    r->temp = value == NULL;
    snprintf(r->value, sizeof(r->value), "%s", value == NULL ? "TEMP" : value);
    atomic_fetch_add(&r->count, 1);
}

static const char *wait_for(struct reply *r)
{
    int64_t until = __real_clock_ms() + FAKE_WAIT_MS;

    while (atomic_load(&r->count) == 0 && __real_clock_ms() < until)
        usleep(ROUND_MS * 1000);
    assert_int_equal(atomic_load(&r->count), 1);
    assert_true(*r->value != '\0' && strlen(r->value) <= 400);
    return r->value;
}

/* A queue id made so many seconds ago. */
static const char *id_of(int64_t age, char ret[static 32])
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx";
    time_t when = clock_wall() - (time_t)age;
    struct tm t;

    gmtime_r(&when, &t);
    snprintf(ret, 32, "%c%c%c%c%c%cAb004711", letters[t.tm_year % 60], letters[t.tm_mon], letters[t.tm_mday],
             letters[t.tm_hour], letters[t.tm_min], letters[t.tm_sec]);
    return ret;
}

static const char *route_by(struct scene *s, const char *to, const char *from, const char *id)
{
    struct sendmail_question q = { .queue_id = id, .server_name = "", .server_addr = "", .tls_version = "",
                                   .fingerprint = "" };
    static struct reply r;

    r = (struct reply){ .pending = { .done = reply_done } };
    address_parse(to, &q.to);
    address_parse(from, &q.from);
    engine_ask_sendmail(s->engine, &q, &r.pending);
    return wait_for(&r);
}

static const char *route(struct scene *s, const char *to, int64_t age)
{
    char id[32];

    return route_by(s, to, "al@home.example", id_of(age, id));
}

/* What Sendmail sees of a server; chain NULL: no TLS. */
static void gate_begin(struct scene *s, const char *to, const char *server, const struct cert_chain *chain, int64_t age,
                       struct reply *r)
{
    char id[32], fingerprint[96] = "";
    struct sendmail_question q = { .queue_id = id_of(age, id), .at_gate = true, .server_name = server,
                                   .server_addr = "192.0.2.1", .tls_version = chain == NULL ? "" : "TLSv1.3",
                                   .fingerprint = fingerprint };

    *r = (struct reply){ .pending = { .done = reply_done } };
    if (chain != NULL)
        certificate_print(chain, fingerprint);
    address_parse(to, &q.to);
    address_parse("al@home.example", &q.from);
    engine_ask_sendmail(s->engine, &q, &r->pending);
}

static const char *gate_at(struct scene *s, const char *to, const char *server, const struct cert_chain *chain, int64_t age)
{
    static struct reply r;

    gate_begin(s, to, server, chain, age, &r);
    return wait_for(&r);
}

static const char *gate(struct scene *s, const char *to, const char *server, const struct cert_chain *chain)
{
    return gate_at(s, to, server, chain, 10);
}

static void assert_begins(const char *value, const char *beginning)
{
    if (strncmp(value, beginning, strlen(beginning)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", value, beginning);
}

static void assert_has(const char *value, const char *words)
{
    if (strstr(value, words) == NULL)
        fail_msg("\"%s\" does not have \"%s\"", value, words);
}

/* Mail of nobody's */

static void mail_of_nobodys_passes_at_once_and_leaves_no_trace(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Idle", MODE_NONE, MODE_NONE, "idle.example");
    add(&s, "All", MODE_MANDATORY, MODE_NONE, "*.all.example");
    fake_parks(s.fake, "*");
    scene_open(&s);
    assert_string_equal(route(&s, "bo@stranger.example", 10), "pass");
    assert_string_equal(route(&s, "bo@stranger.example", 100000), "pass");
    assert_string_equal(gate(&s, "bo@stranger.example", "mx.stranger.example", NULL), "pass");
    assert_string_equal(route(&s, "bo@idle.example", 100000), "pass");
    assert_string_equal(gate(&s, "bo@idle.example", "[192.0.2.1]", NULL), "pass");
    assert_string_equal(route(&s, "bo@all.example", 10), "pass");
    assert_int_equal(lines_with("verdict="), 0);
    assert_int_equal(fake_searches(s.fake, "stranger.example"), 0);
    scene_close(&s);
}

static void a_bare_name_is_this_hosts_business(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Everyone", MODE_MANDATORY, MODE_NONE, "*");
    scene_open(&s);
    assert_string_equal(route(&s, "root", 10), "pass");
    assert_string_equal(gate(&s, "root", "localhost", NULL), "pass");
    assert_string_equal(route(&s, "<>", 10), "pass");
    scene_close(&s);
}

/* Or mail of this host's own, whose domain Sendmail leaves out, would go past rules with senders. */
static void a_sender_without_a_domain_may_be_anybody(void **state)
{
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    c = add(&s, "Scoped", MODE_MANDATORY, MODE_NONE, "bank.example");
    rules_senders(s.rules, c, "home.example");
    c = add(&s, "Boss", MODE_MANDATORY, MODE_NONE, "boss@firm.example");
    rules_senders(s.rules, c, "home.example");
    add(&s, "Firm", MODE_OPPORTUNISTIC, MODE_NONE, "firm.example");
    fake_says(s.fake, "firm.example", FAKE_ABSENT);
    scene_open(&s);
    assert_string_equal(route_by(&s, "bo@bank.example", "al@home.example", ""), "danesmtp:bank.example");
    assert_string_equal(route_by(&s, "bo@bank.example", "al@elsewhere.example", ""), "pass");
    assert_string_equal(route_by(&s, "bo@bank.example", "<>", ""), "pass");
    assert_string_equal(route_by(&s, "bo@bank.example", "al", ""), "danesmtp:bank.example");
    assert_string_equal(route_by(&s, "bo@bank.example", "al@b\xc3(.example", ""), "danesmtp:bank.example");
    assert_string_equal(route_by(&s, "bo@stranger.example", "al", ""), "pass");
    assert_has(gate(&s, "boss@firm.example", "mx1.firm.example", NULL), "the connector Boss requires them");
    assert_string_equal(gate(&s, "aide@firm.example", "mx1.firm.example", NULL), "pass");
    scene_close(&s);
}

/* Routes */

static void young_mail_takes_its_road_whatever_is_known(void **state)
{
    static const char *const ids[] = { "", "NOQUEUE", "4fQz1x0", "6AzMmtSo021356" };
    struct scene s;
    size_t i;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    fake_says(s.fake, "bank.example", FAKE_ABSENT);
    fake_parks(s.fake, "bank.example");
    scene_open(&s);
    assert_string_equal(route(&s, "bo@bank.example", 0), "danesmtp:bank.example");
    assert_string_equal(route(&s, "bo@bank.example", 200), "danesmtp:bank.example");
    assert_string_equal(route(&s, "bo@bank.example", -10000), "danesmtp:bank.example");
    for (i = 0; i < COUNT_OF(ids); i++)
        assert_string_equal(route_by(&s, "bo@bank.example", "", ids[i]), "danesmtp:bank.example");
    assert_true(fake_wait_searches(s.fake, "bank.example", 1));
    assert_int_equal(lines_with("verdict="), 0);
    scene_close(&s);
}

static void roads_lead_to_smart_hosts_or_where_the_route_says(void **state)
{
    static const struct route elsewhere = { .name = "elsewhere", .transport = "relay",
                                            .next_hop = "[gw.example]:587, [192.0.2.7]" };
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    c = add(&s, "Hosts", MODE_MANDATORY, MODE_NONE, "hosts.example");
    rules_smart_hosts(s.rules, c, "[a.example]:587 b.example [192.0.2.1] [2001:db8::1]");
    add(&s, "Elsewhere", MODE_MANDATORY, MODE_NONE, "elsewhere.example")->route = &elsewhere;
    add(&s, "Everyone", MODE_OPPORTUNISTIC, MODE_NONE, "*");
    scene_open(&s);
    assert_string_equal(route(&s, "bo@hosts.example", 0), "danesmtp:[a.example]:b.example:[192.0.2.1]:[IPv6:2001:db8::1]");
    assert_string_equal(route(&s, "bo@elsewhere.example", 0), "relay:[gw.example]:[192.0.2.7]");
    assert_string_equal(route(&s, "bo@[192.0.2.9]", 0), "danesmtp:[192.0.2.9]");
    assert_string_equal(route(&s, "bo@[IPv6:2001:DB8:0::9]", 0), "danesmtp:[IPv6:2001:db8::9]");
    assert_string_equal(route(&s, "bo@B\xc3\x9c" "cher.example.", 0), "danesmtp:xn--bcher-kva.example");
    assert_string_equal(route(&s, "bo@..", 0), "pass");             /* opportunistic, and nobody can tell where */
    scene_close(&s);
}

static void old_mail_is_held_here_already(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example dead.example good.example");
    fake_says(s.fake, "bank.example", FAKE_ABSENT);
    fake_says(s.fake, "dead.example", FAKE_FAILS);
    scene_open(&s);
    assert_string_equal(route(&s, "bo@bank.example", 301),
                        "error:4.7.5:451 dane-required: bank.example publishes no usable DANE records and the connector Bank "
                        "requires them");
    assert_recorded("to=<bo@bank.example> from=<al@home.example> connector=\"Bank\" dane=absent sts=absent verdict=hold "
                    "reason=dane-required route=dane-mandatory policy=-");
    assert_begins(route(&s, "bo@dead.example", 301), "error:4.4.3:451 dns-temp: ");
    assert_int_equal(lines_with("verdict=hold"), 2);
    assert_string_equal(route(&s, "bo@good.example", 301), "danesmtp:good.example");
    assert_int_equal(lines_with("verdict="), 2);                    /* deliveries are the gate's to tell of */
    scene_close(&s);
}

static void what_is_held_for_too_long_bounces(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example dead.example");
    fake_says(s.fake, "bank.example", FAKE_ABSENT);
    fake_says(s.fake, "dead.example", FAKE_FAILS);
    scene_open(&s);
    assert_begins(route(&s, "bo@bank.example", HOLD - 60), "error:4.7.5:451 dane-required: ");
    assert_begins(route(&s, "bo@bank.example", HOLD), "error:5.7.5:550 dane-required: given up after 24 h: bank.example ");
    assert_recorded("verdict=bounce reason=dane-required");
    assert_begins(route(&s, "bo@dead.example", HOLD), "error:5.4.7:550 dns-temp: given up after 24 h: ");
    assert_begins(route(&s, "bo@bank.example", HOLD + 29 * 86400), "error:5.7.5:550 dane-required: ");
    assert_begins(route(&s, "bo@bank.example", 3650 * 86400), "error:4.7.5:451 dane-required: ");      /* a clock is wrong */
    scene_close(&s);
}

static void our_own_resolvers_trouble_bounces_nobody(void **state)
{
    int64_t until = __real_clock_ms() + FAKE_WAIT_MS;
    struct engine_status status;
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    fake_root(s.fake, DNS_BOGUS, false);
    scene_open(&s);
    do {
        usleep(ROUND_MS * 1000);
        engine_status(s.engine, &status);
    } while (status.resolver_proven && __real_clock_ms() < until);
    assert_begins(route(&s, "bo@bank.example", 2 * HOLD), "error:4.4.3:451 dns-temp: our own resolver ");
    assert_begins(gate_at(&s, "bo@bank.example", "mx1.bank.example", NULL, 2 * HOLD), "dns-temp: our own resolver ");
    scene_close(&s);
}

static void the_first_smart_host_that_may_be_delivered_to_decides(void **state)
{
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    c = add(&s, "Hosts", MODE_MANDATORY, MODE_NONE, "hosts.example");
    rules_smart_hosts(s.rules, c, "[a.example] [b.example]");
    fake_says(s.fake, "[a.example]", FAKE_ABSENT);
    scene_open(&s);
    assert_string_equal(route(&s, "bo@hosts.example", 1000), "danesmtp:[a.example]:[b.example]");
    fake_says(s.fake, "[b.example]", FAKE_BOGUS);
    engine_cache_flush(s.engine, NULL, false, &(size_t){ 0 }, &(size_t){ 0 });
    assert_begins(route(&s, "bo@hosts.example", 1000), "error:4.7.5:451 dane-required: a.example ");
    scene_close(&s);
}

/* Gates */

static void a_pinned_certificate_passes_without_a_visit(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct cert_chain *other = certificate_new(authority, "mx1.bank.example");
    uint8_t data[DNS_TLSA_DATA_MAX];
    struct dns_tlsa record = certificate_record(mine, 3, 0, 1, data);
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    fake_tlsa(s.fake, "bank.example", &record);
    scene_open(&s);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example.", mine), "pass");
    assert_recorded("to=<bo@bank.example> from=<al@home.example> connector=\"Bank\" dane=usable sts=absent "
                    "verdict=deliver reason=- route=dane-mandatory policy=dane-only");
    assert_string_equal(gate(&s, "bo@bank.example", "mx2.bank.example", other),
                        "tlsa-invalid: the certificate of mx2.bank.example matches none of its TLSA records - connector Bank");
    assert_recorded("verdict=hold reason=tlsa-invalid");
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 0);
    assert_int_equal(fake_probes(s.fake, "mx2.bank.example"), 0);
    scene_close(&s);
    cert_chain_unref(mine);
    cert_chain_unref(other);
}

/* The bank's hosts show mine, whose record of that kind is published. */
static void publish(struct scene *s, const char *hop, const struct cert_chain *mine, uint8_t usage, uint8_t selector,
                    uint8_t matching)
{
    static uint8_t data[4][DNS_TLSA_DATA_MAX];
    static struct dns_tlsa records[4];
    static size_t next;
    size_t i = next++ % COUNT_OF(records);

    records[i] = certificate_record(mine, usage, selector, matching, data[i]);
    fake_tlsa(s->fake, hop, &records[i]);
}

static void other_records_need_the_chain_once(void **state)
{
    static const uint8_t kinds[][3] = { { 3, 1, 1 }, { 3, 0, 2 }, { 3, 1, 0 }, { 2, 0, 1 }, { 2, 1, 2 } };
    struct cert_chain *mine, *other;
    struct probe_target target;
    struct scene s;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(kinds); i++) {
        mine = certificate_new(authority, "mx1.bank.example");
        other = certificate_new(authority, "mx1.stranger.example");
        scene_init(&s);
        add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
        publish(&s, "bank.example", mine, kinds[i][0], kinds[i][1], kinds[i][2]);
        fake_probe(s.fake, "mx1.bank.example", PROBE_SEEN, mine);
        fake_probe(s.fake, "mx2.bank.example", PROBE_SEEN, other);
        scene_open(&s);
        assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", mine), "pass");
        assert_string_equal(gate(&s, "bo@bank.example", "MX1.Bank.Example.", mine), "pass");
        assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 1);
        target = fake_probed(s.fake, "mx1.bank.example");
        assert_int_equal(target.port, 25);
        assert_int_equal(target.address.ss_family, AF_INET);
        assert_true(target.urgent);
        assert_begins(gate(&s, "bo@bank.example", "mx2.bank.example", other),
                      "tlsa-invalid: the certificate of mx2.bank.example is not accepted: ");
        scene_close(&s);
        cert_chain_unref(mine);
        cert_chain_unref(other);
    }
}

static void who_is_not_in_the_mx_set_is_refused_and_not_visited(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    publish(&s, "bank.example", mine, 3, 1, 1);
    fake_probe(s.fake, "*", PROBE_SEEN, mine);
    scene_open(&s);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.spoof.example", mine),
                        "tlsa-invalid: mx1.spoof.example is not a mail server of bank.example - connector Bank");
    assert_begins(gate(&s, "bo@bank.example", "[192.0.2.1]", mine),
                  "tlsa-invalid: 192.0.2.1 is not a mail server of bank.example");
    assert_begins(gate(&s, "bo@bank.example", "", mine), "tlsa-invalid: the server is not a mail server of bank.example");
    assert_int_equal(fake_probes(s.fake, "mx1.spoof.example"), 0);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", NULL),
                        "tlsa-invalid: mx1.bank.example does not offer STARTTLS - connector Bank");
    scene_close(&s);
    cert_chain_unref(mine);
}

static void held_partners_are_refused_with_the_reason_of_their_dns(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "absent.example bogus.example dead.example insecure.example");
    fake_says(s.fake, "absent.example", FAKE_ABSENT);
    fake_says(s.fake, "bogus.example", FAKE_BOGUS);
    fake_says(s.fake, "dead.example", FAKE_FAILS);
    fake_says(s.fake, "insecure.example", FAKE_INSECURE_MX);
    scene_open(&s);
    assert_begins(gate(&s, "bo@absent.example", "mx1.absent.example", mine),
                  "dane-required: absent.example publishes no usable DANE records");
    assert_begins(gate(&s, "bo@bogus.example", "mx1.bogus.example", mine), "dnssec-invalid: ");
    assert_begins(gate(&s, "bo@dead.example", "mx1.dead.example", mine), "dns-temp: ");
    assert_begins(gate(&s, "bo@insecure.example", "mx1.insecure.example", mine), "dane-required: ");
    assert_begins(gate_at(&s, "bo@absent.example", "mx1.absent.example", mine, HOLD),
                  "bounce dane-required: given up after 24 h: ");
    assert_begins(gate_at(&s, "bo@dead.example", "mx1.dead.example", mine, HOLD), "bounce dns-temp: given up after 24 h: ");
    scene_close(&s);
    cert_chain_unref(mine);
}

/* Behind a host with the wrong certificate there may be one with the right one. */
static void only_the_last_hosts_refusal_is_for_good(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct scene s;

    (void)state;
    scene_bank(&s);
    assert_begins(gate_at(&s, "bo@bank.example", "mx1.bank.example", NULL, HOLD), "tlsa-invalid: ");
    assert_begins(gate_at(&s, "bo@bank.example", "mx2.bank.example", NULL, HOLD),
                  "bounce tlsa-invalid: given up after 24 h: mx2.bank.example does not offer STARTTLS");
    assert_recorded("verdict=bounce reason=tlsa-invalid");
    assert_begins(gate_at(&s, "bo@bank.example", "mx2.bank.example", mine, HOLD),
                  "tlsa-invalid: the certificate of mx2.bank.example could not be fetched for checking: as the script says");
    scene_close(&s);
    cert_chain_unref(mine);
}

/* Farms */

static void a_farm_is_visited_until_it_shows_what_the_mta_saw(void **state)
{
    struct cert_chain *certificates[4];
    struct scene s;
    size_t i;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    for (i = 0; i < COUNT_OF(certificates); i++)
        certificates[i] = certificate_new(authority, "mx1.bank.example");
    publish(&s, "bank.example", certificates[0], 2, 1, 1);
    fake_probe(s.fake, "mx1.bank.example", PROBE_SEEN, certificates[0]);
    for (i = 1; i < COUNT_OF(certificates); i++)
        fake_probe_also(s.fake, "mx1.bank.example", certificates[i]);
    scene_open(&s);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", certificates[3]), "pass");
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 4);
    for (i = 0; i < COUNT_OF(certificates); i++)                    /* the others were seen on the way */
        assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", certificates[i]), "pass");
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 4);
    scene_close(&s);
    for (i = 0; i < COUNT_OF(certificates); i++)
        cert_chain_unref(certificates[i]);
}

static void what_six_visits_do_not_show_is_left_alone_for_half_a_minute(void **state)
{
    struct cert_chain *shown = certificate_new(authority, "mx1.bank.example");
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    publish(&s, "bank.example", mine, 3, 1, 1);
    fake_probe(s.fake, "mx1.bank.example", PROBE_SEEN, shown);
    scene_open(&s);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", mine),
                        "tlsa-invalid: the certificate of mx1.bank.example could not be fetched for checking: it was not shown in 6 "
                        "visits");
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 6);
    assert_has(gate(&s, "bo@bank.example", "mx1.bank.example", mine), "it was not shown in 6 visits");
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 6);
    fake_probe(s.fake, "mx1.bank.example", PROBE_SEEN, mine);
    atomic_fetch_add(&ahead_ms, 31 * 1000);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", mine), "pass");
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 7);
    scene_close(&s);
    cert_chain_unref(shown);
    cert_chain_unref(mine);
}

static void a_host_that_nobody_can_visit_is_visited_once(void **state)
{
    static const enum probe_state states[] = { PROBE_UNREACHABLE, PROBE_REFUSED, PROBE_NO_STARTTLS, PROBE_TLS_FAILED };
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct scene s;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(states); i++) {
        scene_bank(&s);
        fake_probe(s.fake, "mx1.bank.example", states[i], NULL);
        assert_has(gate(&s, "bo@bank.example", "mx1.bank.example", mine),
                   "could not be fetched for checking: as the script says");
        assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 1);
        scene_close(&s);
    }
    cert_chain_unref(mine);
}

/* The same host's certificate, but by now its authority's behind it. */
static void a_chain_that_proves_nothing_any_more_is_fetched_again(void **state)
{
    struct cert_chain *whole = certificate_new(authority, "mx1.bank.example"), *alone = NULL;
    struct scene s;

    (void)state;
    assert_true(cert_chain_new(whole->certificates, whole->lengths, 1, &alone, NULL));
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    publish(&s, "bank.example", whole, 2, 1, 1);
    fake_probe(s.fake, "mx1.bank.example", PROBE_SEEN, alone);
    scene_open(&s);
    assert_begins(gate(&s, "bo@bank.example", "mx1.bank.example", whole), "tlsa-invalid: ");
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 1);
    fake_probe(s.fake, "mx1.bank.example", PROBE_SEEN, whole);
    assert_begins(gate(&s, "bo@bank.example", "mx1.bank.example", whole), "tlsa-invalid: ");    /* too soon */
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 1);
    atomic_fetch_add(&ahead_ms, 61 * 1000);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", whole), "pass");
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 2);
    scene_close(&s);
    cert_chain_unref(whole);
    cert_chain_unref(alone);
}

/* MTA-STS and floors */

static const char policy_text[] = "version: STSv1\nmode: enforce\nmx: mx1.firm.example\nmax_age: 604800\n";

static void authorities_vouch_where_a_policy_decides(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "mx1.firm.example");
    struct cert_chain *other = certificate_new(authority, "mx2.firm.example");
    struct cert_chain *expired = certificate_expired(authority, "mx1.firm.example");
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Firm", MODE_NONE, MODE_MANDATORY, "firm.example");
    fake_sts(s.fake, "firm.example", "1", policy_text);
    fake_probe(s.fake, "mx1.firm.example", PROBE_SEEN, mine);
    fake_probe_also(s.fake, "mx1.firm.example", other);
    fake_probe_also(s.fake, "mx1.firm.example", expired);
    scene_open(&s);
    assert_string_equal(gate(&s, "bo@firm.example", "mx1.firm.example", mine), "pass");
    assert_recorded("sts=enforce verdict=deliver reason=- route=dane-mandatory "
                    "policy=secure match=mx1.firm.example servername=hostname");
    assert_begins(gate(&s, "bo@firm.example", "mx1.firm.example", other),
                  "sts-mx-mismatch: the certificate of mx1.firm.example is not accepted: ");
    assert_begins(gate(&s, "bo@firm.example", "mx1.firm.example", expired),
                  "sts-mx-mismatch: the certificate of mx1.firm.example is not accepted: ");
    assert_begins(gate(&s, "bo@firm.example", "mx2.firm.example", other),
                  "sts-mx-mismatch: mx2.firm.example is not listed in the MTA-STS policy");
    assert_begins(gate(&s, "bo@firm.example", "mx1.firm.example", NULL),
                  "sts-mx-mismatch: mx1.firm.example does not offer STARTTLS");
    scene_close(&s);
    cert_chain_unref(mine);
    cert_chain_unref(other);
    cert_chain_unref(expired);
}

static void a_floor_has_its_own_reason(void **state)
{
    static const char *const names[] = { "gw.example" };
    struct cert_chain *mine = certificate_new(authority, "gw.example");
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    c = add(&s, "Gateway", MODE_NONE, MODE_NONE, "firm.example");
    c->tls = TLS_SECURE;
    c->tls_match = names;
    c->tls_match_count = 1;
    rules_smart_hosts(s.rules, c, "[192.0.2.1]:587 [gw.example]");
    add(&s, "Open", MODE_NONE, MODE_NONE, "open.example")->tls = TLS_ENCRYPT;
    fake_probe(s.fake, "gw.example", PROBE_SEEN, mine);
    fake_probe(s.fake, "*", PROBE_SEEN, mine);
    scene_open(&s);
    assert_string_equal(gate(&s, "bo@firm.example", "gw.example", mine), "pass");
    assert_string_equal(gate(&s, "bo@firm.example", "[192.0.2.1]", mine), "pass");
    assert_begins(gate(&s, "bo@firm.example", "gw.example", NULL), "tls-required: gw.example does not offer STARTTLS");
    assert_begins(gate(&s, "bo@firm.example", "mx1.firm.example", mine),
                  "tls-required: mx1.firm.example is not a mail server of 192.0.2.1");
    assert_string_equal(gate(&s, "bo@open.example", "mx1.open.example", mine), "pass");
    assert_begins(gate(&s, "bo@open.example", "mx1.open.example", NULL), "tls-required: ");
    assert_begins(gate_at(&s, "bo@open.example", "mx2.open.example", NULL, HOLD),
                  "bounce tls-required: given up after 24 h: ");
    scene_close(&s);
    cert_chain_unref(mine);
}

static void smart_hosts_are_walked_until_one_has_the_server(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "b.example");
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    c = add(&s, "Hosts", MODE_MANDATORY, MODE_NONE, "hosts.example");
    rules_smart_hosts(s.rules, c, "[a.example] [b.example]:587 [c.example]");
    fake_says(s.fake, "[a.example]", FAKE_ABSENT);
    publish(&s, "[b.example]:587", mine, 3, 1, 1);
    fake_probe(s.fake, "b.example", PROBE_SEEN, mine);
    scene_open(&s);
    assert_string_equal(gate(&s, "bo@hosts.example", "b.example", mine), "pass");
    assert_int_equal(fake_probed(s.fake, "b.example").port, 587);
    assert_begins(gate(&s, "bo@hosts.example", "a.example", mine), "dane-required: a.example ");
    assert_begins(gate_at(&s, "bo@hosts.example", "a.example", mine, HOLD),
                  "dane-required: a.example ");   /* others stand behind it */
    assert_begins(gate(&s, "bo@hosts.example", "mx1.hosts.example", mine),
                  "tlsa-invalid: mx1.hosts.example is not a mail server of b.example");
    scene_close(&s);
    cert_chain_unref(mine);
}

/* Fallback roads */

static const struct route spare = { .name = "spare", .transport = "sparesmtp", .next_hop = "[relay.example]",
                                    .tls = TLS_ENCRYPT };

static void wait_for_fallback(struct scene *s)
{
    int64_t until = __real_clock_ms() + FAKE_WAIT_MS;
    struct ruleset *rules = engine_rules(s->engine);
    const struct connector *c = ruleset_named(rules, "Bank");

    while (!connector_on_fallback(c) && __real_clock_ms() < until) {
        atomic_fetch_add(&ahead_ms, 60 * 1000);
        usleep(300 * 1000);
    }
    assert_true(connector_on_fallback(c));
    ruleset_unref(rules);
}

static void a_fallback_road_is_taken_and_passed(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "relay.example");
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    c = add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    c->fallback = &spare;
    c->fallback_after = 900;
    c->on_fallback = arena_take(ruleset_memory(s.rules), sizeof(*c->on_fallback));
    atomic_init(c->on_fallback, false);
    fake_says(s.fake, "bank.example", FAKE_ABSENT);
    scene_open(&s);
    assert_begins(gate(&s, "bo@bank.example", "relay.example", mine), "dane-required: ");
    wait_for_fallback(&s);
    assert_string_equal(route(&s, "bo@bank.example", 10), "sparesmtp:[relay.example]");
    assert_string_equal(route(&s, "bo@bank.example", 1000), "sparesmtp:[relay.example]");
    assert_recorded("dane=absent sts=absent verdict=fallback reason=dane-required route=spare");
    line_count = 0;
    assert_string_equal(gate(&s, "bo@bank.example", "relay.example", mine), "pass");
    assert_recorded("dane=absent sts=absent verdict=fallback reason=dane-required route=spare");
    assert_begins(gate(&s, "bo@bank.example", "relay.example", NULL), "tls-required: relay.example does not offer STARTTLS");
    assert_begins(gate(&s, "bo@bank.example", "mx1.bank.example", mine), "dane-required: ");
    scene_close(&s);
    cert_chain_unref(mine);
}

/* Its transport demands what the route says; here is only seen that the connection is the road's. */
static void a_route_to_a_next_hop_of_its_own_is_judged_by_what_it_demands(void **state)
{
    static const char *const names[] = { "gw.example" };
    static const struct route gateway = { .name = "gateway", .transport = "gwsmtp", .next_hop = "[gw.example]", .tls = TLS_SECURE,
                                          .tls_match = names, .tls_match_count = 1 };
    struct cert_chain *mine = certificate_new(authority, "gw.example"), *other = certificate_new(authority, "gw.evil.example");
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example held.example")->route = &gateway;
    fake_says(s.fake, "held.example", FAKE_ABSENT);
    fake_probe(s.fake, "gw.example", PROBE_SEEN, mine);
    scene_open(&s);
    assert_string_equal(route(&s, "bo@bank.example", 10), "gwsmtp:[gw.example]");
    assert_string_equal(gate(&s, "bo@bank.example", "gw.example", mine), "pass");
    assert_recorded("dane=usable sts=absent verdict=deliver reason=- route=gateway");
    assert_begins(gate(&s, "bo@bank.example", "gw.example", NULL), "tls-required: gw.example does not offer STARTTLS");
    assert_begins(gate(&s, "bo@bank.example", "gw.evil.example", other), "tlsa-invalid: gw.evil.example is not a mail server of ");
    assert_begins(gate(&s, "bo@held.example", "gw.example", mine), "dane-required: ");     /* as its route says it once it is old */
    fake_probe(s.fake, "gw.example", PROBE_SEEN, other);
    assert_begins(gate(&s, "bo@bank.example", "gw.example", other), "tls-required: the certificate of gw.example is not accepted");
    scene_close(&s);
    cert_chain_unref(mine);
    cert_chain_unref(other);
}

/* Many, slow, and in the end */

/* DNS may say something else by the time that a certificate has come. */
static void evidence_that_expires_while_a_certificate_is_fetched_proves_nothing(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct reply r;
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "*.bank.example");           /* nothing is kept warm */
    publish(&s, "de.bank.example", mine, 3, 1, 1);
    fake_ttl(s.fake, "de.bank.example", 60);
    fake_probe(s.fake, "mx1.de.bank.example", PROBE_SEEN, mine);
    fake_parks_probes(s.fake, "mx1.de.bank.example");
    scene_open(&s);
    gate_begin(&s, "bo@de.bank.example", "mx1.de.bank.example", mine, 10, &r);
    assert_true(fake_wait_probes(s.fake, "mx1.de.bank.example", 1));
    fake_says(s.fake, "de.bank.example", FAKE_ABSENT);
    atomic_fetch_add(&ahead_ms, 61 * 1000);
    fake_lets_probes_go(s.fake, "mx1.de.bank.example");
    assert_begins(wait_for(&r), "dane-required: ");
    assert_int_equal(fake_probes(s.fake, "mx1.de.bank.example"), 1);
    scene_close(&s);
    cert_chain_unref(mine);
}

static void wait_for_all(struct reply *replies, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        wait_for(&replies[i]);
}

static void many_questions_make_one_search_and_one_visit(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct reply *replies = mem_array(ASKERS, sizeof(*replies));
    struct scene s;
    size_t i;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_OPPORTUNISTIC, MODE_NONE, "*.bank.example");      /* nothing is kept warm */
    publish(&s, "de.bank.example", mine, 3, 1, 1);
    fake_probe(s.fake, "mx1.de.bank.example", PROBE_SEEN, mine);
    fake_parks(s.fake, "de.bank.example");
    fake_parks_probes(s.fake, "mx1.de.bank.example");
    scene_open(&s);
    for (i = 0; i < ASKERS; i++)
        gate_begin(&s, "bo@de.bank.example", "mx1.de.bank.example", mine, 10, &replies[i]);
    assert_string_equal(gate(&s, "bo@stranger.example", "mx1.stranger.example", NULL), "pass");
    assert_int_equal(atomic_load(&replies[0].count), 0);
    fake_lets_go(s.fake, "de.bank.example");
    assert_true(fake_wait_probes(s.fake, "mx1.de.bank.example", 1));
    assert_int_equal(atomic_load(&replies[0].count), 0);
    fake_lets_probes_go(s.fake, "mx1.de.bank.example");
    wait_for_all(replies, ASKERS);
    for (i = 0; i < ASKERS; i++)
        assert_string_equal(replies[i].value, "pass");
    assert_int_equal(fake_searches(s.fake, "de.bank.example"), 1);
    assert_int_equal(fake_probes(s.fake, "mx1.de.bank.example"), 1);
    scene_close(&s);
    free(replies);
    cert_chain_unref(mine);
}

/* Neither a bounce nor mail that leaks: nothing was proven, and nothing failed but we. */
static void who_waits_while_we_stop_is_told_nothing(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct reply *replies = mem_array(3 * ASKERS, sizeof(*replies));
    struct scene s;
    size_t i;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example slow.example");
    publish(&s, "bank.example", mine, 3, 1, 1);
    fake_parks(s.fake, "slow.example");
    fake_parks_probes(s.fake, "mx1.bank.example");
    scene_open(&s);
    for (i = 0; i < ASKERS; i++) {
        gate_begin(&s, "bo@bank.example", "mx1.bank.example", mine, 2 * HOLD, &replies[i]);
        gate_begin(&s, "bo@slow.example", "mx2.slow.example", mine, 2 * HOLD, &replies[ASKERS + i]);
    }
    assert_true(fake_wait_probes(s.fake, "mx1.bank.example", 1));
    for (i = 0; i < ASKERS; i++) {
        struct sendmail_question q = { .server_name = "", .server_addr = "", .tls_version = "",
                                       .fingerprint = "" };
        char id[32];

        q.queue_id = id_of(2 * HOLD, id);
        address_parse("bo@slow.example", &q.to);
        address_parse("", &q.from);
        replies[2 * ASKERS + i] = (struct reply){ .pending = { .done = reply_done } };
        engine_ask_sendmail(s.engine, &q, &replies[2 * ASKERS + i].pending);
    }
    engine_stop(s.engine);
    for (i = 0; i < 3 * ASKERS; i++) {
        assert_int_equal(atomic_load(&replies[i].count), 1);
        assert_true(replies[i].temp);
    }
    assert_int_equal(lines_with("verdict="), 0);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", mine), "TEMP");
    assert_string_equal(gate(&s, "bo@stranger.example", "mx1.stranger.example", NULL), "TEMP");
    scene_close(&s);
    free(replies);
    cert_chain_unref(mine);
}

/* Ahead of the gate */

static struct answer ask_milter(struct scene *s, const char *to)
{
    struct question q = { .audience = AUDIENCE_CLIENT };
    struct answer a;

    address_parse(to, &q.to);
    address_parse("al@home.example", &q.from);
    engine_ask_by(s->engine, &q, clock_ms() + FAKE_WAIT_MS, &a);
    return a;
}

static void the_milter_has_certificates_fetched_ahead(void **state)
{
    struct cert_chain *mine = certificate_new(authority, "mx1.bank.example");
    struct answer a;
    struct scene s;
    int i;

    (void)state;
    scene_init(&s);
    s.set.tables.mta = "sendmail";
    add(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    publish(&s, "bank.example", mine, 3, 1, 1);
    fake_probe(s.fake, "mx1.bank.example", PROBE_SEEN, mine);
    scene_open(&s);
    for (i = 0; i < 5; i++) {
        a = ask_milter(&s, "bo@bank.example");
        assert_false(a.refuse);
        answer_done(&a);
    }
    assert_true(fake_wait_settled(s.fake));
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 1);
    assert_int_equal(fake_probes(s.fake, "mx2.bank.example"), 1);
    assert_int_equal(fake_probed(s.fake, "mx1.bank.example").address.ss_family, AF_UNSPEC);
    assert_false(fake_probed(s.fake, "mx1.bank.example").urgent);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", mine), "pass");
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 1);
    atomic_fetch_add(&ahead_ms, 15 * 60 * 1000 + 1);
    a = ask_milter(&s, "bo@bank.example");
    answer_done(&a);
    assert_true(fake_wait_probes(s.fake, "mx2.bank.example", 2));
    scene_close(&s);
    cert_chain_unref(mine);
}

static void for_another_mta_nobody_is_visited(void **state)
{
    struct answer a;
    struct scene s;

    (void)state;
    scene_bank(&s);
    a = ask_milter(&s, "bo@bank.example");
    answer_done(&a);
    assert_true(fake_wait_settled(s.fake));
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 0);
    scene_close(&s);
}

/* Test mode */

static void shadows_are_told_beside_the_gate(void **state)
{
    int64_t until = __real_clock_ms() + FAKE_WAIT_MS;
    struct scene s;

    (void)state;
    scene_init(&s);
    add(&s, "Bank", MODE_NONE, MODE_NONE, "bank.example")->tls = TLS_MAY;
    add(&s, "Soon", MODE_MANDATORY, MODE_NONE, "bank.example")->test_mode = true;
    fake_says(s.fake, "bank.example", FAKE_ABSENT);
    scene_open(&s);
    assert_string_equal(gate(&s, "bo@bank.example", "mx1.bank.example", NULL), "pass");
    while (lines_with("shadow=true") == 0 && __real_clock_ms() < until)
        usleep(ROUND_MS * 1000);
    assert_recorded("to=<bo@bank.example> from=<al@home.example> connector=\"Soon\" dane=absent sts=absent "
                    "verdict=hold reason=dane-required");
    assert_int_equal(lines_with("shadow=true"), 1);
    scene_close(&s);
}

static int set_up(void **state)
{
    (void)state;
    authority = authority_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    authority_free(authority);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_of_nobodys_passes_at_once_and_leaves_no_trace),
        cmocka_unit_test(a_bare_name_is_this_hosts_business),
        cmocka_unit_test(a_sender_without_a_domain_may_be_anybody),
        cmocka_unit_test(young_mail_takes_its_road_whatever_is_known),
        cmocka_unit_test(roads_lead_to_smart_hosts_or_where_the_route_says),
        cmocka_unit_test(old_mail_is_held_here_already),
        cmocka_unit_test(what_is_held_for_too_long_bounces),
        cmocka_unit_test(our_own_resolvers_trouble_bounces_nobody),
        cmocka_unit_test(the_first_smart_host_that_may_be_delivered_to_decides),
        cmocka_unit_test(a_pinned_certificate_passes_without_a_visit),
        cmocka_unit_test(other_records_need_the_chain_once),
        cmocka_unit_test(who_is_not_in_the_mx_set_is_refused_and_not_visited),
        cmocka_unit_test(held_partners_are_refused_with_the_reason_of_their_dns),
        cmocka_unit_test(only_the_last_hosts_refusal_is_for_good),
        cmocka_unit_test(a_farm_is_visited_until_it_shows_what_the_mta_saw),
        cmocka_unit_test(what_six_visits_do_not_show_is_left_alone_for_half_a_minute),
        cmocka_unit_test(a_host_that_nobody_can_visit_is_visited_once),
        cmocka_unit_test(a_chain_that_proves_nothing_any_more_is_fetched_again),
        cmocka_unit_test(authorities_vouch_where_a_policy_decides),
        cmocka_unit_test(a_floor_has_its_own_reason),
        cmocka_unit_test(smart_hosts_are_walked_until_one_has_the_server),
        cmocka_unit_test(a_fallback_road_is_taken_and_passed),
        cmocka_unit_test(a_route_to_a_next_hop_of_its_own_is_judged_by_what_it_demands),
        cmocka_unit_test(evidence_that_expires_while_a_certificate_is_fetched_proves_nothing),
        cmocka_unit_test(many_questions_make_one_search_and_one_visit),
        cmocka_unit_test(who_waits_while_we_stop_is_told_nothing),
        cmocka_unit_test(the_milter_has_certificates_fetched_ahead),
        cmocka_unit_test(for_another_mta_nobody_is_visited),
        cmocka_unit_test(shadows_are_told_beside_the_gate),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
