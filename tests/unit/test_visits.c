/* Visits: when each host is due, what is kept, what that says to decisions. Time is ours, resolver and hosts are scripted. */
#include "engine/visits.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread.h"
#include "engine/inside.h"
#include "fake_lookup.h"
#include "site.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { INTERVAL = 900, MS = 1000, HOSTS = 200 };

static _Atomic int64_t ahead_ms;

int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
struct timespec __real_clock_spec(int64_t ms);
struct timespec __wrap_clock_spec(int64_t ms);
time_t __real_clock_wall(void);
time_t __wrap_clock_wall(void);

int64_t __wrap_clock_ms(void)
{
    return __real_clock_ms() + atomic_load(&ahead_ms);
}

struct timespec __wrap_clock_spec(int64_t ms)
{
    return __real_clock_spec(ms - atomic_load(&ahead_ms));
}

time_t __wrap_clock_wall(void)
{
    return __real_clock_wall() + (time_t)(atomic_load(&ahead_ms) / MS);
}

/* Chains: one that fits every record, one that fits none. */
static struct cert_chain fits = { .fingerprint = { 1 }, .users = 1 }, strange = { .fingerprint = { 2 }, .users = 1 };
static atomic_uint judged;

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why);

bool __wrap_cert_chain_dane(const struct cert_chain *c, const struct cert_chain_demand *d, int64_t now, size_t *ret_matched,
                            struct fault *why)
{
    (void)now;
    atomic_fetch_add(&judged, 1);
    if (c->fingerprint[0] != 1)
        return fault_set(why, "no TLSA record matches");
    *ret_matched = d->count - 1;
    return true;
}

/* What the log was told. */
static struct mutex told_lock;
static struct text told;

void __wrap_log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void __wrap_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void tell(const char *level, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void tell(const char *level, const char *format, va_list args)
{
    char line[1024];

    vsnprintf(line, sizeof(line), format, args);
    mutex_lock(&told_lock);
    text_print(&told, "%s %s\n", level, line);
    mutex_unlock(&told_lock);
}

void __wrap_log_warning(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell("warning", format, args);
    va_end(args);
}

void __wrap_log_info(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell("info", format, args);
    va_end(args);
}

static unsigned times_told(const char *words)
{
    unsigned count = 0;
    const char *at;

    mutex_lock(&told_lock);
    for (at = text_words(&told); (at = strstr(at, words)) != NULL; at++)
        count++;
    mutex_unlock(&told_lock);
    return count;
}

static void forget_told(void)
{
    mutex_lock(&told_lock);
    text_done(&told);
    text_init(&told, (size_t)1 << 20);
    mutex_unlock(&told_lock);
}

/* Rounds of the schedule end here. */
static atomic_uint rounds_made;

size_t __real_visits_due(struct visits *v, int64_t now, struct visit_host ret[], size_t room, bool *ret_more);
size_t __wrap_visits_due(struct visits *v, int64_t now, struct visit_host ret[], size_t room, bool *ret_more);

size_t __wrap_visits_due(struct visits *v, int64_t now, struct visit_host ret[], size_t room, bool *ret_more)
{
    atomic_fetch_add(&rounds_made, 1);
    return __real_visits_due(v, now, ret, room, ret_more);
}

/* The table alone, with times of our own */

static const struct settings plain = { .probe = { .interval = INTERVAL, .concurrency = 8 } };
static const struct settings eager = { .probe = { .interval = INTERVAL, .concurrency = 2 * VISITS_HOSTS_MAX } };

static struct visit_host host_at(const char *format, unsigned number, uint16_t port)
{
    struct next_hop hop = { .port = port };
    char name[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"    /* each caller's own words */
    snprintf(name, sizeof(name), format, number);
#pragma GCC diagnostic pop
    return visit_host_of(&hop, name);
}

static bool want(struct visits *v, struct visit_host host, int64_t now)
{
    return visits_want(v, &host, true, "Bank", now, 0);
}

static size_t due(struct visits *v, int64_t now)
{
    static struct visit_host some[2 * VISITS_HOSTS_MAX];
    bool more;

    return visits_due(v, now, some, COUNT_OF(some), &more);
}

static void land(struct visits *v, struct visit_host host, enum visit_state state, struct cert_chain *chain, int64_t now)
{
    struct visit visit = { .state = state, .why = "as the test says", .address = "192.0.2.1",
                           .chain = chain == NULL ? NULL : cert_chain_ref(chain) };

    snprintf(visit.tls, sizeof(visit.tls), "%s", state == VISIT_SEEN ? "TLSv1.3" : "");
    visits_land(v, &host, &visit, now);
}

/* The open host's visit ends so; how many seconds pass until it is due, and open, again. It is wanted all the while. */
static int64_t pause_after(struct visits *v, struct visit_host host, enum visit_state state, int64_t *now)
{
    int64_t begun = *now;

    land(v, host, state, state == VISIT_SEEN ? &fits : NULL, *now);
    do {
        *now += MS;
        want(v, host, *now);
    } while (due(v, *now) == 0);
    return (*now - begun) / MS;
}

static void hosts_are_due_again_within_a_tenth_of_the_interval(void **state)
{
    struct visits *v = visits_new(&eager);
    int64_t start = clock_ms(), now;
    size_t early = 0, i;

    (void)state;
    for (i = 0; i < HOSTS; i++)
        assert_true(want(v, host_at("mx%u.example", (unsigned)i, 25), start));
    assert_int_equal(due(v, start), HOSTS);
    assert_int_equal(due(v, start), 0);                         /* they are open */
    for (i = 0; i < HOSTS; i++)
        land(v, host_at("mx%u.example", (unsigned)i, 25), VISIT_SEEN, &fits, start);
    for (now = start; now <= start + INTERVAL * 1100; now += 10 * MS) {
        size_t some;

        for (i = 0; i < HOSTS; i++)
            want(v, host_at("mx%u.example", (unsigned)i, 25), now);
        some = due(v, now);
        if (now < start + INTERVAL * 900)
            assert_int_equal(some, 0);
        if (now < start + INTERVAL * 1000)
            early += some;
    }
    assert_in_range(early, HOSTS / 4, HOSTS * 3 / 4);           /* some come early, some late */
    visits_free(v);
}

static void who_refuses_or_is_not_there_is_left_alone_for_longer(void **state)
{
    struct visit_host host = host_at("mx%u.example", 1, 25);
    struct visits *v = visits_new(&plain);
    int64_t now = clock_ms();

    (void)state;
    want(v, host, now);
    assert_int_equal(due(v, now), 1);
    assert_in_range(pause_after(v, host, VISIT_SEEN, &now), INTERVAL * 9 / 10, INTERVAL * 11 / 10 + 1);
    assert_in_range(pause_after(v, host, VISIT_REFUSED, &now), 2 * INTERVAL * 9 / 10, 2 * INTERVAL * 11 / 10 + 1);
    assert_in_range(pause_after(v, host, VISIT_UNREACHABLE, &now), 4 * INTERVAL * 9 / 10, 4 * INTERVAL * 11 / 10 + 1);
    assert_in_range(pause_after(v, host, VISIT_REFUSED, &now), 4 * INTERVAL * 9 / 10, 4 * INTERVAL * 11 / 10 + 1);
    assert_in_range(pause_after(v, host, VISIT_NO_STARTTLS, &now), INTERVAL * 9 / 10, INTERVAL * 11 / 10 + 1);
    assert_in_range(pause_after(v, host, VISIT_REFUSED, &now), 2 * INTERVAL * 9 / 10, 2 * INTERVAL * 11 / 10 + 1);
    land(v, host, VISIT_SEEN, &fits, now);
    visits_free(v);
}

static void not_more_are_open_than_are_allowed(void **state)
{
    struct visits *v = visits_new(&plain);
    struct visit_host some[16];
    int64_t now = clock_ms();
    unsigned i;
    bool more;

    (void)state;
    for (i = 0; i < 12; i++)
        want(v, host_at("mx%u.example", i, 25), now);
    assert_int_equal(visits_due(v, now, some, 5, &more), 5);
    assert_true(more);
    assert_int_equal(visits_due(v, now, some + 5, 11, &more), 3);
    assert_true(more);
    assert_int_equal(visits_due(v, now, some + 8, 8, &more), 0);
    for (i = 0; i < 8; i++)
        land(v, some[i], VISIT_SEEN, &fits, now);
    assert_int_equal(visits_due(v, now, some, 16, &more), 4);
    assert_false(more);
    for (i = 0; i < 4; i++)
        land(v, some[i], VISIT_UNREACHABLE, NULL, now);
    visits_free(v);
}

static void nobody_unwanted_is_visited_and_in_time_he_is_forgotten(void **state)
{
    struct visit_host host = host_at("mx%u.example", 1, 25);
    struct visits *v = visits_new(&plain);
    int64_t now = clock_ms();

    (void)state;
    want(v, host, now);
    visits_want_none(v, now);
    assert_int_equal(due(v, now), 0);
    assert_false(want(v, host, now));                           /* known already */
    assert_int_equal(due(v, now), 1);
    now += 100 * INTERVAL * MS;
    assert_int_equal(due(v, now), 0);
    assert_false(visits_none(v));                               /* it is open */
    land(v, host, VISIT_SEEN, &fits, now);
    assert_int_equal(due(v, now), 0);
    assert_true(visits_none(v));
    visits_free(v);
}

static void there_is_a_ceiling_on_hosts(void **state)
{
    struct visits *v = visits_new(&eager);
    struct visit_counts counts;
    int64_t now = clock_ms();
    unsigned i;

    (void)state;
    forget_told();
    for (i = 0; i < VISITS_HOSTS_MAX + 50; i++)
        assert_int_equal(want(v, host_at("mx%u.example", i, 25), now), i < VISITS_HOSTS_MAX);
    visits_count(v, &counts);
    assert_int_equal(counts.hosts, VISITS_HOSTS_MAX);
    assert_true(counts.full);
    assert_int_equal(times_told("hosts are to be visited"), 1);
    assert_int_equal(due(v, now), VISITS_HOSTS_MAX);
    for (i = 0; i < VISITS_HOSTS_MAX; i++)
        land(v, host_at("mx%u.example", i, 25), VISIT_UNREACHABLE, NULL, now);
    visits_free(v);
}

/* Or strangers' hosts, once named, would stand in the way of a partner's for as long as results are kept. */
static void where_there_is_no_room_the_unwanted_go_at_once(void **state)
{
    struct visits *v = visits_new(&eager);
    struct visit_host partner = host_at("mx%u.bank.example", 1, 25);
    int64_t now = clock_ms();
    unsigned i;

    (void)state;
    for (i = 0; i < VISITS_HOSTS_MAX; i++)
        want(v, host_at("mx%u.example", i, 25), now);
    assert_int_equal(due(v, now), VISITS_HOSTS_MAX);
    for (i = 0; i < VISITS_HOSTS_MAX; i++)
        land(v, host_at("mx%u.example", i, 25), VISIT_UNREACHABLE, NULL, now);
    assert_int_equal(due(v, now), 0);
    assert_false(want(v, partner, now));                /* all the others are wanted, too */
    now += 2 * 60 * 1000;
    due(v, now);
    assert_true(want(v, partner, now));
    assert_int_equal(due(v, now), 1);
    land(v, partner, VISIT_UNREACHABLE, NULL, now);
    visits_free(v);
}

static const uint8_t digest[32] = { 1 }, other_digest[32] = { 2 };
static const struct dns_tlsa own_key = { 3, 1, 1, 32, digest }, other_key = { 3, 1, 1, 32, other_digest },
                             authority = { 2, 1, 1, 32, digest };

static struct visits_word word_of(struct visits *v, struct visit_host host, const struct dns_tlsa *record, const char *domain,
                                  int64_t now)
{
    struct evidence_host known = { .name = host.name.name, .expanded = host.name.name, .base = host.name.name, .tlsa = record,
                                   .tlsa_count = 1, .state = HOST_GOOD };
    struct visit_demand demand;
    struct visits_word word;
    struct next_hop hop;

    assert_true(next_hop_parse(domain, &hop, NULL));
    demand = visit_demand_dane(&known, &hop);
    visits_word(v, &host, &demand, NULL, now, &word);
    return word;
}

static void one_visit_is_judged_once_for_each_demand(void **state)
{
    struct visit_host host = host_at("mx%u.example", 1, 25), door = host_at("mx%u.example", 1, 587);
    struct visits *v = visits_new(&plain);
    int64_t now = clock_ms();
    unsigned before;

    (void)state;
    want(v, host, now);
    want(v, door, now);
    assert_int_equal(due(v, now), 2);                           /* another port is another host */
    assert_int_equal(word_of(v, host, &own_key, "a.example", now).mark, VISIT_UNKNOWN);
    land(v, host, VISIT_SEEN, &fits, now);
    before = atomic_load(&judged);
    assert_int_equal(word_of(v, host, &own_key, "a.example", now).mark, VISIT_PASSES);
    assert_int_equal(word_of(v, host, &own_key, "b.example", now).mark, VISIT_PASSES);
    assert_int_equal(atomic_load(&judged) - before, 1);         /* names don't matter to 3 x x */
    assert_int_equal(word_of(v, host, &other_key, "b.example", now).mark, VISIT_PASSES);
    assert_int_equal(atomic_load(&judged) - before, 2);
    assert_int_equal(word_of(v, host, &authority, "a.example", now).mark, VISIT_PASSES);
    assert_int_equal(word_of(v, host, &authority, "b.example", now).mark, VISIT_PASSES);
    assert_int_equal(atomic_load(&judged) - before, 4);
    assert_int_equal(word_of(v, door, &own_key, "a.example", now).mark, VISIT_UNKNOWN);
    land(v, door, VISIT_NO_STARTTLS, NULL, now);
    assert_int_equal(word_of(v, door, &own_key, "a.example", now).mark, VISIT_FAILS);
    assert_string_equal(word_of(v, door, &own_key, "a.example", now).why, "as the test says");
    now += 2 * INTERVAL * MS;
    want(v, host, now);
    assert_true(word_of(v, host, &own_key, "a.example", now).recent);
    assert_false(word_of(v, host, &own_key, "a.example", now + 1).recent);
    assert_int_equal(due(v, now), 1);
    land(v, host, VISIT_SEEN, &strange, now);
    assert_int_equal(word_of(v, host, &own_key, "a.example", now).mark, VISIT_FAILS);       /* another visit, another word */
    assert_int_equal(atomic_load(&judged) - before, 5);
    visits_free(v);
}

static void many_demands_on_one_host_have_a_ceiling(void **state)
{
    struct visit_host host = host_at("mx%u.example", 1, 25);
    struct visits *v = visits_new(&plain);
    int64_t now = clock_ms();
    char domain[64];
    unsigned i;

    (void)state;
    want(v, host, now);
    assert_int_equal(due(v, now), 1);
    land(v, host, VISIT_SEEN, &strange, now);
    for (i = 0; i < 500; i++) {
        snprintf(domain, sizeof(domain), "d%u.example", i);
        assert_int_equal(word_of(v, host, &authority, domain, now).mark, VISIT_FAILS);
    }
    visits_free(v);
}

static void certificates_have_a_ceiling_together(void **state)
{
    static uint8_t octets[CERT_CHAIN_OCTETS_MAX];
    static const uint8_t *const certificates[] = { octets };
    static const size_t lengths[] = { sizeof(octets) };
    struct cert_chain large = { .count = 1, .certificates = certificates, .lengths = lengths, .fingerprint = { 1 }, .users = 1 };
    struct visits *v = visits_new(&eager);
    int64_t now = clock_ms();
    size_t kept = 0;
    unsigned i;

    (void)state;
    for (i = 0; i < 1000; i++)
        want(v, host_at("mx%u.example", i, 25), now);
    assert_int_equal(due(v, now), 1000);
    for (i = 0; i < 1000; i++) {
        land(v, host_at("mx%u.example", i, 25), VISIT_SEEN, &large, now);
        kept += word_of(v, host_at("mx%u.example", i, 25), &own_key, "a.example", now).mark == VISIT_PASSES;
    }
    assert_int_equal(kept, 512);
    assert_int_equal(large.users, 513);
    assert_int_equal(word_of(v, host_at("mx%u.example", 999, 25), &own_key, "a.example", now).mark, VISIT_OPEN);
    visits_free(v);
    assert_int_equal(large.users, 1);
}

static void traffic_has_a_ceiling_and_grows_old(void **state)
{
    struct connector c = { .name = "Everyone" };
    struct traffic *t = traffic_new();
    int64_t now = clock_ms();
    struct next_hop hop;
    char name[64], *connector;
    size_t seen = 0, i;

    (void)state;
    for (i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "d%zu.example", i);
        assert_true(next_hop_parse(name, &hop, NULL));
        traffic_note(t, &c, &hop, now);
        traffic_note(t, &c, &hop, now);
    }
    for (i = 0; i < TRAFFIC_MAX; i++) {
        if (!traffic_at(t, i, now, &hop, &connector))
            continue;
        assert_string_equal(connector, "Everyone");
        free(connector);
        seen++;
    }
    assert_in_range(seen, TRAFFIC_MAX / 2, TRAFFIC_MAX);
    for (i = 0; i < TRAFFIC_MAX; i++)
        assert_false(traffic_at(t, i, now + 3601 * MS, &hop, &connector));
    traffic_free(t);
}

static void tell_of(struct visits *v, struct visit_host host, int64_t now)
{
    struct visit_demand nothing = { .proof = PROOF_NONE };

    visits_tell(v, &host, &nothing, now);
}

static void a_change_is_told_once_and_a_failure_again_each_day(void **state)
{
    struct visit_host host = host_at("mx%u.example", 1, 25);
    struct visits *v = visits_new(&plain);
    int64_t now = clock_ms();
    int i;

    (void)state;
    forget_told();
    want(v, host, now);
    assert_int_equal(due(v, now), 1);
    land(v, host, VISIT_SEEN, &fits, now);
    tell_of(v, host, now);
    assert_int_equal(times_told("mx1"), 0);
    now += 2 * INTERVAL * MS;
    for (i = 0; i < 3; i++, now += 5 * INTERVAL * MS) {
        want(v, host, now);
        assert_int_equal(due(v, now), 1);
        land(v, host, VISIT_REFUSED, NULL, now);
        tell_of(v, host, now);
        tell_of(v, host, now);
    }
    assert_int_equal(times_told("warning probe of mx1.example:25 [192.0.2.1], connector \"Bank\": as the test says"), 1);
    now += 24 * 3600 * MS;
    tell_of(v, host, now);
    tell_of(v, host, now);
    assert_int_equal(times_told("warning probe of mx1"), 2);
    want(v, host, now);
    assert_int_equal(due(v, now), 1);
    land(v, host, VISIT_SEEN, &fits, now);
    tell_of(v, host, now);
    tell_of(v, host, now);
    assert_int_equal(times_told("shows its certificates again"), 1);
    visits_free(v);
}

static void a_certificate_near_its_end_is_warned_of_once_a_day(void **state)
{
    struct visit_host host = host_at("mx%u.example", 1, 25);
    struct visit visit = { .state = VISIT_SEEN, .tls = "TLSv1.3", .not_after = (int64_t)clock_wall() + 13 * 86400 + 3600 };
    struct visits *v = visits_new(&plain);
    int64_t now = clock_ms();
    struct visit_counts counts;

    (void)state;
    forget_told();
    want(v, host, now);
    assert_int_equal(due(v, now), 1);
    visits_land(v, &host, &visit, now);
    tell_of(v, host, now);
    tell_of(v, host, now + 86399 * MS);
    assert_int_equal(times_told("its certificate expires in 13 days"), 1);
    tell_of(v, host, now + 86400 * MS);
    assert_int_equal(times_told("its certificate expires in"), 2);
    visits_count(v, &counts);
    assert_int_equal(counts.expiring, 1);
    assert_int_equal(counts.first_expiry, visit.not_after);
    visits_free(v);
}

/* The engine, with a scripted world */

struct scene {
    struct settings set;
    struct fake *fake;
    struct ruleset *rules;              /* until scene_open() */
    struct engine *engine;
};

static void scene_init(struct scene *s)
{
    *s = (struct scene){ .set = { .resolver = { .when_broken = "hold-mandatory", .entries = 10000, .cache = 64 << 20,
                                                .tlsa_records = 16 },
                                  .probe = { .interval = INTERVAL, .concurrency = 8 } } };
    s->fake = fake_new();
    fake_ttl(s->fake, "*", 86400);
    s->rules = rules_new();
    forget_told();
}

static struct connector *add(struct scene *s, const char *name, const char *recipients, enum probing probing)
{
    struct connector *c = rules_add(s->rules, name, MODE_OPPORTUNISTIC, MODE_NONE, recipients);

    c->probe = probing;
    return c;
}

static void scene_open(struct scene *s)
{
    ruleset_freeze(s->rules);
    s->engine = engine_open(&s->set, fake_lookup(s->fake), &(struct engine_memory){ 0 }, s->rules);
    ruleset_unref(take(s->rules));
}

static void scene_close(struct scene *s)
{
    engine_close(s->engine);
    fake_free(s->fake);
}

/* Waits until the schedule has come round, and what it sent out is back. */
static void rounds(struct scene *s)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;
    unsigned before = atomic_load(&rounds_made);

    while (atomic_load(&rounds_made) - before < 3 && clock_ms() < until) {
        engine_adopt(s->engine, engine_rules(s->engine));               /* wakes it */
        usleep(2000);
    }
    assert_true(atomic_load(&rounds_made) - before >= 3);
    assert_true(fake_wait_settled(s->fake));
}

static void pass(struct scene *s, int seconds)
{
    atomic_fetch_add(&ahead_ms, (int64_t)seconds * MS);
    rounds(s);
}

/* Small steps, so that whoever is due meanwhile is visited. */
static void wait_visits(struct scene *s, const char *host, unsigned count)
{
    int64_t until = __real_clock_ms() + FAKE_WAIT_MS;

    while (fake_probes(s->fake, host) < count && __real_clock_ms() < until)
        pass(s, 2);
    assert_true(fake_probes(s->fake, host) >= count);
    rounds(s);
}

/* `verdict reason dane`, as the log has them; valid until the fourth next one. */
static const char *outcome(struct scene *s, const char *to)
{
    static char texts[4][128];
    static unsigned next;
    char *words = texts[next++ % 4];
    struct question q = { 0 };
    struct answer a;
    int tries;

    address_parse(to, &q.to);
    address_parse("al@home.example", &q.from);
    for (tries = 0; tries < 2; tries++) {               /* an opportunistic recipient starts the search, and is accepted */
        engine_ask_by(s->engine, &q, clock_ms() + FAKE_WAIT_MS, &a);
        if (a.found != NULL || tries == 1)
            break;
        answer_done(&a);
        assert_true(fake_wait_settled(s->fake));
    }
    snprintf(words, sizeof(texts[0]), "%s %s %s", verdict_word(a.decision.verdict), reason_word(a.decision.reason),
             a.found == NULL ? "-" : dane_word(a.found->dane));
    answer_done(&a);
    return words;
}

#define assert_outcome(s, to, words) assert_string_equal(outcome(s, to), words)

static void both_hosts(struct scene *s, const char *domain, enum probe_state state, struct cert_chain *chain)
{
    char name[64];

    snprintf(name, sizeof(name), "mx1.%s", domain);
    fake_probe(s->fake, name, state, chain);
    snprintf(name, sizeof(name), "mx2.%s", domain);
    fake_probe(s->fake, name, state, chain);
}

static void require_makes_a_mismatch_and_mends_it(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    both_hosts(&s, "bank.example", PROBE_SEEN, &strange);
    add(&s, "Bank", "bank.example", PROBING_REQUIRE);
    scene_open(&s);
    wait_visits(&s, "mx1.bank.example", 1);
    wait_visits(&s, "mx2.bank.example", 1);
    assert_outcome(&s, "bo@bank.example", "hold tlsa-invalid mismatch");
    fake_probe(s.fake, "mx2.bank.example", PROBE_SEEN, &fits);
    assert_outcome(&s, "bo@bank.example", "hold tlsa-invalid mismatch");        /* nobody was there yet */
    pass(&s, INTERVAL * 11 / 10 + 1);
    wait_visits(&s, "mx2.bank.example", 2);
    assert_outcome(&s, "bo@bank.example", "deliver - usable");                  /* one good host will do */
    pass(&s, 2);
    assert_true(times_told("mx1.bank.example:25 [192.0.2.1], connector \"Bank\": fails DANE: no TLSA record matches") == 1);
    assert_true(times_told("mx2.bank.example:25 [192.0.2.1], connector \"Bank\": passes DANE again") == 1);
    scene_close(&s);
}

static void hosts_out_of_reach_alone_make_no_mismatch(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    both_hosts(&s, "bank.example", PROBE_UNREACHABLE, NULL);
    add(&s, "Bank", "bank.example", PROBING_REQUIRE);
    scene_open(&s);
    wait_visits(&s, "mx1.bank.example", 1);
    wait_visits(&s, "mx2.bank.example", 1);
    assert_outcome(&s, "bo@bank.example", "deliver - usable");
    fake_probe(s.fake, "mx1.bank.example", PROBE_NO_STARTTLS, NULL);
    pass(&s, 2 * INTERVAL * 11 / 10 + 1);
    wait_visits(&s, "mx1.bank.example", 2);
    wait_visits(&s, "mx2.bank.example", 2);
    assert_outcome(&s, "bo@bank.example", "hold tlsa-invalid mismatch");        /* both were tried, one has shown that it fails */
    scene_close(&s);
}

static void a_host_that_nobody_was_at_leaves_it_to_dns(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    both_hosts(&s, "bank.example", PROBE_SEEN, &strange);
    fake_parks_probes(s.fake, "mx2.bank.example");
    add(&s, "Bank", "bank.example", PROBING_REQUIRE);
    scene_open(&s);
    wait_visits(&s, "mx1.bank.example", 1);
    assert_outcome(&s, "bo@bank.example", "deliver - usable");
    fake_lets_probes_go(s.fake, "mx2.bank.example");
    wait_visits(&s, "mx2.bank.example", 1);
    assert_outcome(&s, "bo@bank.example", "hold tlsa-invalid mismatch");
    fake_parks_probes(s.fake, "mx1.bank.example");
    fake_parks_probes(s.fake, "mx2.bank.example");
    pass(&s, 2 * INTERVAL - 200);
    assert_outcome(&s, "bo@bank.example", "hold tlsa-invalid mismatch");
    pass(&s, 300);
    assert_outcome(&s, "bo@bank.example", "deliver - usable");                  /* too long ago */
    scene_close(&s);
}

static void watching_changes_no_decision(void **state)
{
    struct engine_status now;
    struct scene s;

    (void)state;
    scene_init(&s);
    both_hosts(&s, "bank.example", PROBE_SEEN, &strange);
    add(&s, "Bank", "bank.example", PROBING_WATCH);
    scene_open(&s);
    wait_visits(&s, "mx1.bank.example", 1);
    wait_visits(&s, "mx2.bank.example", 1);
    pass(&s, 2);
    assert_outcome(&s, "bo@bank.example", "deliver - usable");
    engine_status(s.engine, &now);
    assert_int_equal(now.visits.hosts, 2);
    assert_int_equal(now.visits.failing, 2);
    assert_int_equal(now.visits.latest[VISIT_SEEN], 2);
    assert_int_equal(now.visits.failures[PROOF_DANE], 2);
    assert_int_equal(now.visits.made[VISIT_SEEN], 2);
    scene_close(&s);
}

static void only_good_hosts_make_a_mismatch(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_says(s.fake, "part.example", FAKE_PARTIAL);            /* mx2 is bare */
    fake_says(s.fake, "bare.example", FAKE_ABSENT);
    both_hosts(&s, "part.example", PROBE_SEEN, &strange);
    both_hosts(&s, "bare.example", PROBE_NO_STARTTLS, NULL);
    add(&s, "Part", "part.example", PROBING_REQUIRE);
    add(&s, "Bare", "bare.example", PROBING_REQUIRE);
    scene_open(&s);
    wait_visits(&s, "mx1.part.example", 1);
    wait_visits(&s, "mx1.bare.example", 1);
    assert_outcome(&s, "bo@part.example", "hold tlsa-invalid mismatch");
    assert_outcome(&s, "bo@bare.example", "deliver - absent");
    assert_int_equal(times_told("mx1.bare.example"), 0);        /* nobody demands STARTTLS of it */
    scene_close(&s);
}

static void one_host_of_many_domains_is_visited_once(void **state)
{
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_probe(s.fake, "hub.example", PROBE_SEEN, &fits);
    c = add(&s, "One", "one.example two.example three.example", PROBING_WATCH);
    rules_smart_hosts(s.rules, c, "[hub.example]");
    c = add(&s, "Other", "four.example", PROBING_REQUIRE);
    rules_smart_hosts(s.rules, c, "[hub.example]");
    scene_open(&s);
    wait_visits(&s, "hub.example", 1);
    pass(&s, 60);
    pass(&s, 60);
    assert_int_equal(fake_probes(s.fake, "hub.example"), 1);
    assert_int_equal(fake_most_probes(s.fake, "hub.example"), 1);
    scene_close(&s);
}

static void a_literal_smart_host_is_visited_by_its_address(void **state)
{
    const struct sockaddr_in *four;
    struct probe_target target;
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_probe(s.fake, "", PROBE_NO_STARTTLS, NULL);
    c = add(&s, "Relay", "one.example", PROBING_WATCH);
    c->tls = TLS_ENCRYPT;
    rules_smart_hosts(s.rules, c, "[192.0.2.7]:587");
    scene_open(&s);
    wait_visits(&s, "", 1);
    target = fake_probed(s.fake, "");
    four = (const struct sockaddr_in *)&target.address;
    assert_int_equal(four->sin_family, AF_INET);
    assert_int_equal(ntohl(four->sin_addr.s_addr), 0xc0000207);
    assert_int_equal(target.port, 587);
    assert_outcome(&s, "bo@one.example", "deliver - absent");
    pass(&s, 2);
    assert_int_equal(times_told("warning probe of 192.0.2.7:587"), 1);          /* its floor demands STARTTLS */
    scene_close(&s);
}

static void a_wildcard_has_those_visited_who_get_mail(void **state)
{
    struct engine_visit shown[8];
    struct ruleset *rules;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_probe(s.fake, "mx1.any.wide.example", PROBE_SEEN, &strange);
    fake_probe(s.fake, "mx2.any.wide.example", PROBE_SEEN, &strange);
    add(&s, "Wide", "*.wide.example", PROBING_REQUIRE);
    scene_open(&s);
    pass(&s, 60);
    assert_int_equal(fake_probes(s.fake, "mx1.any.wide.example"), 0);
    assert_outcome(&s, "bo@any.wide.example", "deliver - usable");
    wait_visits(&s, "mx1.any.wide.example", 1);
    wait_visits(&s, "mx2.any.wide.example", 1);
    assert_outcome(&s, "bo@any.wide.example", "hold tlsa-invalid mismatch");
    rules = engine_rules(s.engine);
    assert_int_equal(engine_visits(s.engine, ruleset_named(rules, "Wide"), shown, COUNT_OF(shown)), 2);
    assert_string_equal(shown[0].next_hop, "any.wide.example");
    assert_int_equal(shown[0].dane, VISIT_FAILS);
    assert_string_equal(shown[0].why, "no TLSA record matches");
    assert_int_equal(engine_visits(s.engine, ruleset_named(rules, "Wide"), shown, 1), 1);
    ruleset_unref(rules);
    scene_close(&s);
}

/* The same rules, but for what one connector wants. */
static void adopt(struct scene *s, enum probing probing)
{
    struct ruleset *rules = rules_new();

    rules_add(rules, "Bank", MODE_OPPORTUNISTIC, MODE_NONE, "bank.example")->probe = probing;
    ruleset_freeze(rules);
    engine_adopt(s->engine, rules);
    rounds(s);
}

static void the_schedule_follows_the_rules(void **state)
{
    unsigned visits;
    struct scene s;

    (void)state;
    scene_init(&s);
    both_hosts(&s, "bank.example", PROBE_SEEN, &strange);
    add(&s, "Bank", "bank.example", PROBING_OFF);
    scene_open(&s);
    pass(&s, 3 * INTERVAL);
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), 0);
    adopt(&s, PROBING_REQUIRE);
    wait_visits(&s, "mx1.bank.example", 1);
    wait_visits(&s, "mx2.bank.example", 1);
    assert_outcome(&s, "bo@bank.example", "hold tlsa-invalid mismatch");
    adopt(&s, PROBING_WATCH);
    assert_outcome(&s, "bo@bank.example", "deliver - usable");
    adopt(&s, PROBING_OFF);
    visits = fake_probes(s.fake, "mx1.bank.example");
    pass(&s, 3 * INTERVAL);
    pass(&s, 3 * INTERVAL);
    assert_int_equal(fake_probes(s.fake, "mx1.bank.example"), visits);
    scene_close(&s);
}

/* An answer of the table, which comes at once from evidence that is there. */
struct told_policy {
    struct pending pending;
    char text[64];
};

static void keep_policy(struct pending *self, const char *policy)
{
    struct told_policy *t = (struct told_policy *)self;

    snprintf(t->text, sizeof(t->text), "%s", policy == NULL ? "TEMP" : policy);
}

static void tables_and_explanations_say_the_same(void **state)
{
    struct told_policy answer = { .pending = { .done = keep_policy } };
    struct address to;
    struct next_hop hop;
    struct text words;
    struct scene s;

    (void)state;
    scene_init(&s);
    both_hosts(&s, "bank.example", PROBE_SEEN, &strange);
    add(&s, "Bank", "bank.example", PROBING_REQUIRE);
    add(&s, "Firm", "firm.example", PROBING_OFF);
    scene_open(&s);
    wait_visits(&s, "mx1.bank.example", 1);
    wait_visits(&s, "mx2.bank.example", 1);
    assert_true(next_hop_parse("bank.example", &hop, NULL));
    engine_ask_map(s.engine, MAP_POSTFIX_TLS, &hop, &answer.pending);
    assert_string_equal(answer.text, "TEMP");
    text_init(&words, 4096);
    address_parse("bo@bank.example", &to);
    engine_explain(s.engine, &to, &words);
    assert_non_null(strstr(text_words(&words), "dane=mismatch"));
    assert_non_null(strstr(text_words(&words), "reason=tlsa-invalid (mx1.bank.example [192.0.2.1], visited "));
    assert_non_null(strstr(text_words(&words), " ago: no TLSA record matches)"));
    text_done(&words);
    scene_close(&s);
}

static void an_engine_may_end_amid_visits(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    both_hosts(&s, "bank.example", PROBE_SEEN, &strange);
    fake_parks_probes(s.fake, "mx1.bank.example");
    add(&s, "Bank", "bank.example", PROBING_REQUIRE);
    scene_open(&s);
    wait_visits(&s, "mx1.bank.example", 1);
    scene_close(&s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_are_due_again_within_a_tenth_of_the_interval),
        cmocka_unit_test(who_refuses_or_is_not_there_is_left_alone_for_longer),
        cmocka_unit_test(not_more_are_open_than_are_allowed),
        cmocka_unit_test(nobody_unwanted_is_visited_and_in_time_he_is_forgotten),
        cmocka_unit_test(there_is_a_ceiling_on_hosts),
        cmocka_unit_test(where_there_is_no_room_the_unwanted_go_at_once),
        cmocka_unit_test(one_visit_is_judged_once_for_each_demand),
        cmocka_unit_test(many_demands_on_one_host_have_a_ceiling),
        cmocka_unit_test(certificates_have_a_ceiling_together),
        cmocka_unit_test(traffic_has_a_ceiling_and_grows_old),
        cmocka_unit_test(a_change_is_told_once_and_a_failure_again_each_day),
        cmocka_unit_test(a_certificate_near_its_end_is_warned_of_once_a_day),
        cmocka_unit_test(require_makes_a_mismatch_and_mends_it),
        cmocka_unit_test(hosts_out_of_reach_alone_make_no_mismatch),
        cmocka_unit_test(a_host_that_nobody_was_at_leaves_it_to_dns),
        cmocka_unit_test(watching_changes_no_decision),
        cmocka_unit_test(only_good_hosts_make_a_mismatch),
        cmocka_unit_test(one_host_of_many_domains_is_visited_once),
        cmocka_unit_test(a_literal_smart_host_is_visited_by_its_address),
        cmocka_unit_test(a_wildcard_has_those_visited_who_get_mail),
        cmocka_unit_test(the_schedule_follows_the_rules),
        cmocka_unit_test(tables_and_explanations_say_the_same),
        cmocka_unit_test(an_engine_may_end_amid_visits),
    };

    mutex_init(&told_lock);
    text_init(&told, (size_t)1 << 20);
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
