#include "engine/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "ear.h"
#include "fake_lookup.h"
#include "site.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENT = FAKE_WAIT_MS };

/* Time is ours: clock_ms() runs ahead of the real one by as much as a test says. */
static _Atomic int64_t ahead_ms;

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

struct scene {
    struct settings set;
    struct fake *fake;
    struct ruleset *rules;              /* until scene_open() */
    struct engine *engine;
    struct connector *bank, *friend, *hub;
};

static void scene_init(struct scene *s)
{
    *s = (struct scene){ .set = { .resolver = { .when_broken = "hold-mandatory", .entries = 10000, .cache = 64 << 20,
                                                .tlsa_records = 16 } } };
    s->fake = fake_new();
    s->rules = rules_new();
    s->bank = rules_add(s->rules, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example *.bank.example");
    s->friend = rules_add(s->rules, "Friend", MODE_OPPORTUNISTIC, MODE_NONE, "friend.example");
    s->hub = rules_add(s->rules, "Hub", MODE_MANDATORY, MODE_NONE, "hub.example");
    rules_smart_hosts(s->rules, s->hub, "[one.hub.example] [two.hub.example]:587 [192.0.2.7]");
}

static void scene_open(struct scene *s)
{
    ruleset_freeze(s->rules);
    s->engine = engine_open(&s->set, fake_lookup(s->fake), &(struct engine_memory){ 0 },
                            s->rules);
    ruleset_unref(take(s->rules));
}

/* One round more, and soon. */
static void wake_watch(struct scene *s)
{
    engine_adopt(s->engine, engine_rules(s->engine));
    usleep(10000);
}

static void wait_searches(struct scene *s, const char *hop, unsigned count)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;

    while (fake_searches(s->fake, hop) < count && clock_ms() < until)
        wake_watch(s);
    assert_true(fake_searches(s->fake, hop) >= count);
}

/* The engine as the watch leaves it: resolver checked, mandatory domains warm. */
static void scene_open_warm(struct scene *s)
{
    struct engine_status status;
    int64_t until;

    scene_open(s);
    until = clock_ms() + FAKE_WAIT_MS;
    do {
        wake_watch(s);
        engine_status(s->engine, &status);
        if (clock_ms() > until)
            fail_msg("the watch does not come round");
    } while (!status.resolver_checked || fake_searches(s->fake, "bank.example") == 0 || status.evidence_searching > 0);
    assert_true(fake_wait_settled(s->fake));            /* what the log has to say of it is said, too */
}

static void scene_close(struct scene *s)
{
    engine_close(s->engine);
    fake_free(s->fake);
}

static void ask(struct scene *s, const char *to, const char *from, int patience_ms, struct answer *ret)
{
    struct question q = { 0 };

    address_parse(to, &q.to);
    address_parse(from, &q.from);
    engine_ask_by(s->engine, &q, clock_ms() + patience_ms, ret);
    engine_tell(s->engine, &q.to, &q.from, "4fQz1x0", ret);
}

/* Asks and forgets; leaves the decision. */
static struct decision decision_for(struct scene *s, const char *to, int patience_ms)
{
    struct decision d;
    struct answer a;

    ask(s, to, "al@home.example", patience_ms, &a);
    d = a.decision;
    answer_done(&a);
    return d;
}

#define assert_holds(d, why)                                    \
    do {                                                        \
        struct decision d_ = (d);                               \
        assert_int_equal(d_.verdict, VERDICT_HOLD);             \
        assert_string_equal(reason_word(d_.reason), reason_word(why));  \
    } while (0)

#define assert_delivers(d, level)                               \
    do {                                                        \
        struct decision d_ = (d);                               \
        assert_int_equal(d_.verdict, VERDICT_DELIVER);          \
        assert_string_equal(tls_word(d_.tls), tls_word(level)); \
    } while (0)

/* The MTA's own domains */

static bool is_own(struct scene *s, const char *to)
{
    struct ruleset *rules = engine_rules(s->engine);
    struct address parsed, from;
    bool own;

    address_parse(to, &parsed);
    address_parse("al@home.example", &from);
    own = engine_is_own(s->engine, rules, &parsed, &from);
    ruleset_unref(rules);
    return own;
}

static void a_domain_of_the_mtas_own_is_meant_by_no_wildcard(void **state)
{
    static const char *const own[] = { ".relayed.bank.example", "bank.example", "relayed.bank.example" };
    struct scene s;

    (void)state;
    scene_init(&s);
    scene_open(&s);
    assert_false(is_own(&s, "bo@relayed.bank.example"));
    engine_own(s.engine, own, COUNT_OF(own));
    assert_true(is_own(&s, "bo@relayed.bank.example"));
    assert_true(is_own(&s, "bo@deep.relayed.bank.example"));
    assert_false(is_own(&s, "bo@other.bank.example"));
    assert_false(is_own(&s, "bo@bank.example"));                /* named without a wildcard: it is meant */
    assert_false(is_own(&s, "bo@[192.0.2.1]"));
    engine_own(s.engine, NULL, 0);
    assert_false(is_own(&s, "bo@relayed.bank.example"));
    scene_close(&s);
}

/* Waiting */

static void a_mandatory_recipient_waits_and_is_answered_when_evidence_lands(void **state)
{
    struct scene s;
    struct answer a;

    (void)state;
    scene_init(&s);
    fake_delays(s.fake, "eu.bank.example", 150);
    scene_open(&s);
    ask(&s, "bo@eu.bank.example", "al@home.example", PATIENT, &a);
    assert_string_equal(a.connector->name, "Bank");
    assert_delivers(a.decision, TLS_DANE_ONLY);
    assert_string_equal(dane_word(a.found->dane), "usable");
    assert_string_equal(a.hop.host.name, "eu.bank.example");
    assert_in_range(a.took_ms, 140, PATIENT);
    answer_done(&a);
    assert_delivers(decision_for(&s, "bo@eu.bank.example", 0), TLS_DANE_ONLY);
    assert_int_equal(fake_searches(s.fake, "eu.bank.example"), 1);
    scene_close(&s);
}

static void the_deadline_ends_the_wait_and_the_search_goes_on(void **state)
{
    struct scene s;
    struct answer a;

    (void)state;
    scene_init(&s);
    fake_parks(s.fake, "eu.bank.example");
    scene_open(&s);
    ask(&s, "bo@eu.bank.example", "al@home.example", 200, &a);
    assert_holds(a.decision, REASON_DNS_TEMP);
    assert_in_range(a.took_ms, 190, PATIENT);
    answer_done(&a);
    assert_holds(decision_for(&s, "bo@eu.bank.example", 0), REASON_DNS_TEMP);
    assert_int_equal(fake_searches(s.fake, "eu.bank.example"), 1);
    fake_lets_go(s.fake, "eu.bank.example");
    assert_delivers(decision_for(&s, "bo@eu.bank.example", PATIENT), TLS_DANE_ONLY);
    assert_delivers(decision_for(&s, "bo@eu.bank.example", 0), TLS_DANE_ONLY);
    assert_int_equal(fake_searches(s.fake, "eu.bank.example"), 1);
    scene_close(&s);
}

static void what_is_not_mandatory_never_waits(void **state)
{
    struct scene s;
    struct answer a;

    (void)state;
    scene_init(&s);
    fake_parks(s.fake, "*");
    scene_open(&s);
    ask(&s, "bo@friend.example", "al@home.example", PATIENT, &a);
    assert_int_equal(a.decision.verdict, VERDICT_DELIVER);
    assert_null(a.found);
    assert_in_range(a.took_ms, 0, PATIENT / 2);
    answer_done(&a);
    ask(&s, "bo@stranger.example", "al@home.example", PATIENT, &a);
    assert_true(a.connector->is_default);
    assert_int_equal(a.decision.verdict, VERDICT_DELIVER);
    assert_in_range(a.took_ms, 0, PATIENT / 2);
    answer_done(&a);
    assert_int_equal(fake_searches(s.fake, "friend.example"), 1);       /* but the search has begun */
    assert_int_equal(fake_searches(s.fake, "stranger.example"), 1);
    scene_close(&s);
}

static void a_mandatory_default_does_not_wait_either(void **state)
{
    static const struct route opportunistic = { .name = "opportunistic", .transport = "danelaw", .next_hop = "" };
    static const struct connector strict = { .name = "(default)", .is_default = true, .smtp_dane = MODE_MANDATORY,
                                             .mta_sts = MODE_NONE, .tls = TLS_SITE, .route = &opportunistic };
    struct scene s;
    struct answer a;

    (void)state;
    scene_init(&s);
    ruleset_set_default(s.rules, &strict);
    fake_parks(s.fake, "*");
    scene_open(&s);
    ask(&s, "bo@stranger.example", "al@home.example", PATIENT, &a);
    assert_in_range(a.took_ms, 0, PATIENT / 2);
    answer_done(&a);
    scene_close(&s);
}

/* Next hops */

static void a_list_of_smart_hosts_is_as_good_as_its_first_good_one(void **state)
{
    struct scene s;
    struct answer a;

    (void)state;
    scene_init(&s);
    fake_says(s.fake, "[one.hub.example]", FAKE_FAILS);
    scene_open(&s);
    ask(&s, "bo@hub.example", "al@home.example", PATIENT, &a);
    assert_delivers(a.decision, TLS_DANE_ONLY);
    assert_string_equal(a.hop.host.name, "two.hub.example");
    assert_int_equal(a.hop.port, 587);
    answer_done(&a);
    assert_int_equal(fake_searches(s.fake, "hub.example"), 0);
    scene_close(&s);
}

static void a_list_of_bad_smart_hosts_holds_for_the_first_ones_reason(void **state)
{
    struct scene s;
    struct answer a;

    (void)state;
    scene_init(&s);
    fake_says(s.fake, "[one.hub.example]", FAKE_BOGUS);
    fake_says(s.fake, "[two.hub.example]:587", FAKE_FAILS);
    scene_open(&s);
    ask(&s, "bo@hub.example", "al@home.example", PATIENT, &a);
    assert_holds(a.decision, REASON_DNSSEC_INVALID);
    assert_string_equal(a.hop.host.name, "one.hub.example");
    answer_done(&a);
    scene_close(&s);
}

static void an_address_literal_has_no_dane_and_is_never_looked_up(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Everyone", MODE_MANDATORY, MODE_NONE, "*");
    scene_open(&s);
    assert_holds(decision_for(&s, "bo@[192.0.2.1]", PATIENT), REASON_DANE_REQUIRED);
    assert_holds(decision_for(&s, "bo@[IPv6:2001:db8::1]", PATIENT), REASON_DANE_REQUIRED);
    assert_int_equal(fake_searches(s.fake, "[192.0.2.1]"), 0);
    scene_close(&s);
}

static void states_become_decisions(void **state)
{
    static const struct {
        enum fake_world world;
        enum verdict verdict;
        enum reason reason;
    } cases[] = {
        { FAKE_FAILS, VERDICT_HOLD, REASON_DNS_TEMP },           { FAKE_BOGUS, VERDICT_HOLD, REASON_DNSSEC_INVALID },
        { FAKE_NO_MAIL, VERDICT_PASS, REASON_NONE },             { FAKE_ABSENT, VERDICT_HOLD, REASON_DANE_REQUIRED },
        { FAKE_UNUSABLE, VERDICT_HOLD, REASON_DANE_REQUIRED },   { FAKE_INSECURE_MX, VERDICT_HOLD, REASON_DANE_REQUIRED },
        { FAKE_PARTIAL, VERDICT_DELIVER, REASON_NONE },          { FAKE_USABLE, VERDICT_DELIVER, REASON_NONE },
    };
    char to[64];
    struct scene s;
    size_t i;

    (void)state;
    scene_init(&s);
    scene_open(&s);
    for (i = 0; i < COUNT_OF(cases); i++) {
        struct decision d;

        snprintf(to, sizeof(to), "d%zu.bank.example", i);
        fake_says(s.fake, to, cases[i].world);
        snprintf(to, sizeof(to), "bo@d%zu.bank.example", i);
        d = decision_for(&s, to, PATIENT);
        assert_int_equal(d.verdict, cases[i].verdict);
        assert_int_equal(d.reason, cases[i].reason);
    }
    scene_close(&s);
}

/* Many at once */

enum { THREADS = 200, HOPS = 50, ROUNDS = 4 };

struct crowd {
    struct scene *scene;
    atomic_int number, wrong;
};

static void *crowd_body(void *argument)
{
    struct crowd *c = argument;
    int me = atomic_fetch_add(&c->number, 1), i;
    char to[64];

    for (i = 0; i < ROUNDS; i++) {
        struct decision d;

        snprintf(to, sizeof(to), "bo@n%d.bank.example", (me + i * 7) % HOPS);
        d = decision_for(c->scene, to, PATIENT);
        if (d.verdict != VERDICT_DELIVER || d.tls != TLS_DANE_ONLY)
            atomic_fetch_add(&c->wrong, 1);
    }
    return NULL;
}

static void two_hundred_askers_cause_one_search_for_each_next_hop(void **state)
{
    pthread_t threads[THREADS];
    struct engine_status status;
    struct crowd c = { 0 };
    struct scene s;
    char hop[64];
    int i;

    (void)state;
    scene_init(&s);
    fake_delays(s.fake, "*", 30);
    scene_open_warm(&s);
    log_set_level(LOG_LEVEL_ERROR);
    c.scene = &s;
    for (i = 0; i < THREADS; i++)
        thread_start(&threads[i], "asker", crowd_body, &c);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_set_level(LOG_LEVEL_INFO);
    assert_int_equal(c.wrong, 0);
    for (i = 0; i < HOPS; i++) {
        snprintf(hop, sizeof(hop), "n%d.bank.example", i);
        assert_int_equal(fake_searches(s.fake, hop), 1);
    }
    engine_status(s.engine, &status);
    assert_int_equal(status.asked, THREADS * ROUNDS);
    assert_int_equal(status.delivered, THREADS * ROUNDS);
    assert_int_equal(status.evidence_searching, 0);
    scene_close(&s);
}

/* One asker in a thread of its own. */
struct asker {
    pthread_t thread;
    struct scene *scene;
    const char *to;
    struct answer answer;
    atomic_bool done;
};

static void *asker_body(void *argument)
{
    struct asker *a = argument;

    ask(a->scene, a->to, "al@home.example", PATIENT, &a->answer);
    atomic_store(&a->done, true);
    return NULL;
}

static void asker_start(struct asker *a, struct scene *s, const char *to)
{
    *a = (struct asker){ .scene = s, .to = to };
    thread_start(&a->thread, "asker", asker_body, a);
}

/* Reload */

static struct ruleset *other_rules(void)
{
    struct ruleset *rules = rules_new();

    rules_add(rules, "Nobody in particular", MODE_NONE, MODE_NONE, "bank.example *.bank.example");
    rules_add(rules, "New partner", MODE_MANDATORY, MODE_NONE, "new.example");
    ruleset_freeze(rules);
    return rules;
}

static void a_question_under_way_finishes_on_the_rules_it_began_with(void **state)
{
    struct answer after;
    struct asker early;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_parks(s.fake, "eu.bank.example");
    fake_says(s.fake, "eu.bank.example", FAKE_ABSENT);
    scene_open(&s);
    asker_start(&early, &s, "bo@eu.bank.example");
    assert_true(fake_wait_searches(s.fake, "eu.bank.example", 1));
    engine_adopt(s.engine, other_rules());
    fake_lets_go(s.fake, "eu.bank.example");
    pthread_join(early.thread, NULL);
    assert_string_equal(early.answer.connector->name, "Bank");
    assert_holds(early.answer.decision, REASON_DANE_REQUIRED);
    ask(&s, "bo@eu.bank.example", "al@home.example", PATIENT, &after);
    assert_string_equal(after.connector->name, "Nobody in particular");
    assert_delivers(after.decision, TLS_SITE);
    answer_done(&after);
    scene_close(&s);
    assert_string_equal(early.answer.connector->name, "Bank");          /* an answer outlives the engine's rules */
    answer_done(&early.answer);
}

static void a_session_may_ask_by_the_rules_of_its_beginning(void **state)
{
    struct question q = { 0 };
    struct ruleset *mine;
    struct answer a;
    struct scene s;

    (void)state;
    scene_init(&s);
    scene_open(&s);
    mine = engine_rules(s.engine);
    engine_adopt(s.engine, other_rules());
    address_parse("bo@bank.example", &q.to);
    address_parse("<>", &q.from);
    q.rules = mine;
    engine_ask_by(s.engine, &q, clock_ms() + PATIENT, &a);
    assert_string_equal(a.connector->name, "Bank");
    answer_done(&a);
    ruleset_unref(mine);
    scene_close(&s);
}

struct reloader {
    struct scene *scene;
    atomic_bool stop;
};

static void *reloader_body(void *argument)
{
    struct reloader *r = argument;

    while (!atomic_load(&r->stop))
        engine_adopt(r->scene->engine, other_rules());
    return NULL;
}

static void rules_change_hands_while_many_ask(void **state)
{
    struct reloader r = { 0 };
    pthread_t thread;
    struct scene s;
    int i;

    (void)state;
    scene_init(&s);
    scene_open(&s);
    log_set_level(LOG_LEVEL_ERROR);
    r.scene = &s;
    thread_start(&thread, "reloader", reloader_body, &r);
    for (i = 0; i < 2000; i++)
        assert_int_equal(decision_for(&s, i % 2 == 0 ? "bo@bank.example" : "bo@new.example", PATIENT).verdict,
                         VERDICT_DELIVER);
    atomic_store(&r.stop, true);
    pthread_join(thread, NULL);
    log_set_level(LOG_LEVEL_INFO);
    scene_close(&s);
}

/* Closing */

static void closing_lets_sleepers_go_and_holds(void **state)
{
    struct asker askers[8];
    struct scene s;
    int64_t start;
    size_t i;

    (void)state;
    scene_init(&s);
    fake_parks(s.fake, "*");
    scene_open(&s);
    for (i = 0; i < COUNT_OF(askers); i++)
        asker_start(&askers[i], &s, i % 2 == 0 ? "bo@eu.bank.example" : "bo@hub.example");
    decision_for(&s, "bo@stranger.example", 0);         /* a search for which nobody waits */
    assert_true(fake_wait_searches(s.fake, "eu.bank.example", 1));
    assert_true(fake_wait_searches(s.fake, "[two.hub.example]:587", 1));
    usleep(50000);
    start = clock_ms();
    engine_stop(s.engine);
    assert_true(clock_ms() - start < PATIENT / 2);
    for (i = 0; i < COUNT_OF(askers); i++) {
        pthread_join(askers[i].thread, NULL);           /* they tell what they were answered, for which the engine must be there */
        assert_int_equal(askers[i].answer.decision.verdict, VERDICT_HOLD);
        answer_done(&askers[i].answer);
    }
    scene_close(&s);
}

/* A resolver whose face is slow: its closing overtakes an asker who is about to start one search after another. */
static struct lookup slow_face;
static struct lookup *slow_for;

static void slow_resolve(struct lookup *self, const struct next_hop *hop, struct landing *at)
{
    (void)self;
    usleep(100000);
    slow_for->resolve(slow_for, hop, at);
}

static void slow_query(struct lookup *self, const char *name, int type, struct query_landing *at)
{
    (void)self;
    slow_for->query(slow_for, name, type, at);
}

static void slow_records(struct lookup *self, const char *name, int type, struct records_landing *at)
{
    (void)self;
    slow_for->records(slow_for, name, type, at);
}

static void slow_close(struct lookup *self)
{
    (void)self;
    slow_for->close(slow_for);
}

static void nobody_asks_the_resolver_once_it_is_closed(void **state)
{
    struct asker late;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_parks(s.fake, "*");
    slow_for = fake_lookup(s.fake);
    slow_face = (struct lookup){ .resolve = slow_resolve, .query = slow_query, .records = slow_records, .close = slow_close };
    s.hub->smtp_dane = MODE_OPPORTUNISTIC;              /* nothing for the watch to keep warm */
    s.bank->smtp_dane = MODE_OPPORTUNISTIC;
    ruleset_freeze(s.rules);
    s.engine = engine_open(&s.set, &slow_face, &(struct engine_memory){ 0 },
                           s.rules);
    ruleset_unref(s.rules);
    asker_start(&late, &s, "bo@hub.example");
    assert_true(fake_wait_searches(s.fake, "[one.hub.example]", 1));
    engine_stop(s.engine);                              /* the fake aborts if it is asked after this */
    pthread_join(late.thread, NULL);
    answer_done(&late.answer);
    scene_close(&s);
}

/* The watch */

static void mandatory_domains_are_warm_before_anybody_asks(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Somebody", MODE_MANDATORY, MODE_NONE, "someone@private.example");
    scene_open(&s);
    wait_searches(&s, "private.example", 1);
    wait_searches(&s, "[two.hub.example]:587", 1);
    wait_searches(&s, "bank.example", 1);
    assert_true(fake_wait_settled(s.fake));
    assert_int_equal(fake_searches(s.fake, "private.example"), 1);
    assert_int_equal(fake_searches(s.fake, "bank.example"), 1);
    assert_int_equal(fake_searches(s.fake, "[two.hub.example]:587"), 1);
    assert_int_equal(fake_searches(s.fake, "[192.0.2.7]"), 0);
    assert_int_equal(fake_searches(s.fake, "friend.example"), 0);
    assert_int_equal(fake_searches(s.fake, "hub.example"), 0);
    assert_delivers(decision_for(&s, "bo@bank.example", 0), TLS_DANE_ONLY);
    scene_close(&s);
}

static void a_reload_changes_what_is_kept_warm(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    scene_open_warm(&s);
    engine_adopt(s.engine, other_rules());
    wait_searches(&s, "new.example", 1);
    assert_int_equal(fake_searches(s.fake, "new.example"), 1);
    scene_close(&s);
}

/* Lets time pass, and waits until the watch has come round and the search has landed. */
static void pass(struct scene *s, int seconds, const char *until_searched, unsigned count)
{
    atomic_fetch_add(&ahead_ms, (int64_t)seconds * 1000);
    wait_searches(s, until_searched, count);
    assert_true(fake_wait_settled(s->fake));
}

static void warm_evidence_is_searched_again_before_it_expires(void **state)
{
    struct scene s;
    struct answer a;

    (void)state;
    scene_init(&s);
    fake_ttl(s.fake, "bank.example", 300);
    scene_open_warm(&s);
    pass(&s, 250, "bank.example", 2);
    assert_int_equal(fake_searches(s.fake, "bank.example"), 2);
    atomic_fetch_add(&ahead_ms, 100 * 1000);            /* the first evidence has expired; the second serves */
    ask(&s, "bo@bank.example", "al@home.example", 0, &a);
    assert_delivers(a.decision, TLS_DANE_ONLY);
    answer_done(&a);
    scene_close(&s);
}

static void a_failed_refresh_does_not_spoil_what_is_proven_until_that_expires(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_ttl(s.fake, "bank.example", 300);
    scene_open_warm(&s);
    fake_says(s.fake, "bank.example", FAKE_FAILS);
    pass(&s, 250, "bank.example", 2);
    assert_delivers(decision_for(&s, "bo@bank.example", 0), TLS_DANE_ONLY);
    atomic_fetch_add(&ahead_ms, 100 * 1000);
    assert_holds(decision_for(&s, "bo@bank.example", PATIENT), REASON_DNS_TEMP);
    scene_close(&s);
}

static void strangers_with_dead_dns_do_not_keep_partners_from_being_kept_warm(void **state)
{
    struct scene s;
    char to[64];
    int i;

    (void)state;
    scene_init(&s);
    fake_ttl(s.fake, "bank.example", 300);
    scene_open_warm(&s);
    fake_parks(s.fake, "*");
    log_set_level(LOG_LEVEL_ERROR);
    for (i = 0; i < 1000; i++) {
        snprintf(to, sizeof(to), "bo@dead%d.example", i);
        decision_for(&s, to, 0);
    }
    log_set_level(LOG_LEVEL_INFO);
    assert_int_equal(fake_open(s.fake), 1000);
    pass(&s, 250, "bank.example", 2);
    assert_int_equal(fake_searches(s.fake, "bank.example"), 2);
    scene_close(&s);
}

/* A broken resolver */

static void wait_checked(struct scene *s, bool proven)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;
    struct engine_status status;

    do {
        usleep(1000);
        engine_status(s->engine, &status);
        if (clock_ms() > until)
            fail_msg("the self-check does not come to its end");
    } while (!status.resolver_checked || status.resolver_proven != proven);
    assert_true(fake_wait_settled(s->fake));            /* and it has said why */
}

static void a_broken_resolver_holds_the_mandatory_and_gives_others_their_floor(void **state)
{
    struct engine_status status;
    struct scene s;

    (void)state;
    scene_init(&s);
    s.friend->tls = TLS_ENCRYPT;
    fake_root(s.fake, DNS_INSECURE, true);
    scene_open(&s);
    wait_checked(&s, false);
    engine_status(s.engine, &status);
    assert_non_null(strstr(status.resolver_why, "anchor"));
    assert_holds(decision_for(&s, "bo@bank.example", PATIENT), REASON_DNS_TEMP);
    assert_delivers(decision_for(&s, "bo@friend.example", 0), TLS_ENCRYPT);     /* at once: nothing is worth waiting for */
    assert_int_equal(fake_searches(s.fake, "friend.example"), 0);
    scene_close(&s);
}

static void with_hold_all_a_broken_resolver_holds_every_named_connector(void **state)
{
    struct answer a;
    struct scene s;

    (void)state;
    scene_init(&s);
    s.set.resolver.when_broken = "hold-all";
    fake_root(s.fake, DNS_BOGUS, false);
    scene_open(&s);
    wait_checked(&s, false);
    assert_holds(decision_for(&s, "bo@bank.example", PATIENT), REASON_DNS_TEMP);
    ask(&s, "bo@friend.example", "al@home.example", 0, &a);
    assert_holds(a.decision, REASON_DNS_TEMP);
    assert_string_equal(dane_word(a.found->dane), "unknown");
    answer_done(&a);
    scene_close(&s);
}

/* It was held as sts-required, for good, and would have taken the fallback. */
static void a_broken_resolver_is_no_absence_of_mta_sts(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    s.bank->smtp_dane = MODE_NONE;
    s.bank->mta_sts = MODE_MANDATORY;
    fake_root(s.fake, DNS_BOGUS, false);
    scene_open(&s);
    wait_checked(&s, false);
    assert_holds(decision_for(&s, "bo@bank.example", PATIENT), REASON_DNS_TEMP);
    scene_close(&s);
}

static void a_stale_anchor_is_named(void **state)
{
    struct engine_status status;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_root(s.fake, DNS_BOGUS, false);
    scene_open(&s);
    wait_checked(&s, false);
    engine_status(s.engine, &status);
    assert_non_null(strstr(status.resolver_why, "stale"));
    scene_close(&s);
}

static void wake_until_checked(struct scene *s, unsigned count)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;

    while (fake_checks(s->fake) < count && clock_ms() < until)
        wake_watch(s);
    assert_true(fake_checks(s->fake) >= count && fake_wait_settled(s->fake));
}

static void one_lost_packet_is_a_doubt_and_no_verdict(void **state)
{
    struct engine_status status;
    struct scene s;

    (void)state;
    scene_init(&s);
    scene_open_warm(&s);
    wait_checked(&s, true);
    assert_int_equal(fake_checks(s.fake), 1);
    fake_root(s.fake, DNS_FAILED, false);
    atomic_fetch_add(&ahead_ms, 61 * 60 * 1000);
    wake_until_checked(&s, 2);
    engine_status(s.engine, &status);
    assert_true(status.resolver_proven);
    assert_delivers(decision_for(&s, "bo@bank.example", PATIENT), TLS_DANE_ONLY);
    atomic_fetch_add(&ahead_ms, 6 * 1000);              /* a second one is a verdict */
    wake_until_checked(&s, 3);
    engine_status(s.engine, &status);
    assert_false(status.resolver_proven);
    assert_holds(decision_for(&s, "bo@bank.example", PATIENT), REASON_DNS_TEMP);
    fake_root(s.fake, DNS_SECURE, true);
    atomic_fetch_add(&ahead_ms, 31 * 1000);
    wake_until_checked(&s, 4);
    wait_checked(&s, true);
    assert_delivers(decision_for(&s, "bo@bank.example", PATIENT), TLS_DANE_ONLY);
    scene_close(&s);
}

/* The log */

static void listen_to_log(struct ear *e)
{
    ear_open(e);
    log_open("x", false, "mail");
}

/* Gives what was said, without `x: `; the number behind took= becomes N. */
static void stop_listening(struct ear *e, char *ret, size_t size)
{
    char *took;

    ear_close(e, ret, size);
    took = strstr(ret, "took=");
    if (took != NULL) {
        assert_true(strspn(took + 5, "0123456789") > 0);
        assert_string_equal(took + 5 + strspn(took + 5, "0123456789"), "\n");
        strcpy(took + 5, "N");
    }
}

static void assert_logs(struct scene *s, const char *queue_id, const char *to, const char *from, const char *line)
{
    struct question asked = { 0 };
    struct answer a;
    struct ear ear;
    char heard[4096];

    address_parse(to, &asked.to);
    address_parse(from, &asked.from);
    listen_to_log(&ear);
    engine_ask_by(s->engine, &asked, clock_ms() + PATIENT, &a);
    engine_tell(s->engine, &asked.to, &asked.from, queue_id, &a);
    stop_listening(&ear, heard, sizeof(heard));
    answer_done(&a);
    assert_string_equal(heard, line);
}

static void every_decision_is_one_line_in_the_log(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "50% \"off\"", MODE_NONE, MODE_NONE, "sale.example")->tls = TLS_MAY;
    fake_says(s.fake, "eu.bank.example", FAKE_ABSENT);
    fake_says(s.fake, "no.bank.example", FAKE_NO_MAIL);
    scene_open_warm(&s);
    assert_logs(&s, "4fQz1x0", "bo@bank.example", "al@home.example",
                "x: 4fQz1x0: to=<bo@bank.example> from=<al@home.example> connector=\"Bank\" dane=usable sts=absent "
                "verdict=deliver reason=- route=dane-mandatory policy=dane-only took=N");
    assert_logs(&s, NULL, "bo@EU.bank.example.", "<>",
                "x: NOQUEUE: to=<bo@eu.bank.example> from=<> connector=\"Bank\" dane=absent sts=absent "
                "verdict=hold reason=dane-required route=dane-mandatory policy=- took=N");
    assert_logs(&s, "4fQz1x0", "bo@no.bank.example", "al@home.example",
                "x: 4fQz1x0: to=<bo@no.bank.example> from=<al@home.example> connector=\"Bank\" dane=no-mail sts=absent "
                "verdict=pass reason=- route=dane-mandatory policy=- took=N");
    assert_logs(&s, "4fQz1x0", "b\x1b[1m\"o@stranger.example", "al@home.example",
                "x: 4fQz1x0: to=<b?[1m\"o@stranger.example> from=<al@home.example> connector=\"(default)\" dane=- sts=- "
                "verdict=deliver reason=- route=- policy=- took=N");
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_domain_of_the_mtas_own_is_meant_by_no_wildcard),
        cmocka_unit_test(a_mandatory_recipient_waits_and_is_answered_when_evidence_lands),
        cmocka_unit_test(the_deadline_ends_the_wait_and_the_search_goes_on),
        cmocka_unit_test(what_is_not_mandatory_never_waits),
        cmocka_unit_test(a_mandatory_default_does_not_wait_either),
        cmocka_unit_test(a_list_of_smart_hosts_is_as_good_as_its_first_good_one),
        cmocka_unit_test(a_list_of_bad_smart_hosts_holds_for_the_first_ones_reason),
        cmocka_unit_test(an_address_literal_has_no_dane_and_is_never_looked_up),
        cmocka_unit_test(states_become_decisions),
        cmocka_unit_test(two_hundred_askers_cause_one_search_for_each_next_hop),
        cmocka_unit_test(a_question_under_way_finishes_on_the_rules_it_began_with),
        cmocka_unit_test(a_session_may_ask_by_the_rules_of_its_beginning),
        cmocka_unit_test(rules_change_hands_while_many_ask),
        cmocka_unit_test(closing_lets_sleepers_go_and_holds),
        cmocka_unit_test(nobody_asks_the_resolver_once_it_is_closed),
        cmocka_unit_test(mandatory_domains_are_warm_before_anybody_asks),
        cmocka_unit_test(a_reload_changes_what_is_kept_warm),
        cmocka_unit_test(warm_evidence_is_searched_again_before_it_expires),
        cmocka_unit_test(a_failed_refresh_does_not_spoil_what_is_proven_until_that_expires),
        cmocka_unit_test(strangers_with_dead_dns_do_not_keep_partners_from_being_kept_warm),
        cmocka_unit_test(a_broken_resolver_holds_the_mandatory_and_gives_others_their_floor),
        cmocka_unit_test(with_hold_all_a_broken_resolver_holds_every_named_connector),
        cmocka_unit_test(a_broken_resolver_is_no_absence_of_mta_sts),
        cmocka_unit_test(a_stale_anchor_is_named),
        cmocka_unit_test(one_lost_packet_is_a_doubt_and_no_verdict),
        cmocka_unit_test(every_decision_is_one_line_in_the_log),
    };

    log_open("test_engine", false, "mail");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
