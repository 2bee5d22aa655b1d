#include "engine/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "fake_lookup.h"
#include "site.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The answer to one question of a table. */
struct reply {
    struct pending pending;
    struct mutex lock;
    struct signal here;
    int count;
    bool temp;
    char policy[512];
};

static void reply_done(struct pending *self, const char *policy)
{
    struct reply *r = (struct reply *)self;

    mutex_lock(&r->lock);
    r->count++;
    r->temp = policy == NULL;
    snprintf(r->policy, sizeof(r->policy), "%s", policy == NULL ? "TEMP" : policy);
    signal_all(&r->here);
    mutex_unlock(&r->lock);
}

struct scene {
    struct settings set;
    struct fake *fake;
    struct ruleset *rules;              /* until scene_open() */
    struct engine *engine;
};

static void scene_init(struct scene *s)
{
    *s = (struct scene){ .set = { .resolver = { .when_broken = "hold-mandatory", .entries = 10000, .cache = 64 << 20,
                                                .tlsa_records = 16 } } };
    s->fake = fake_new();
    s->rules = rules_new();
}

static void scene_open(struct scene *s)
{
    ruleset_freeze(s->rules);
    s->engine = engine_open(&s->set, fake_lookup(s->fake), &(struct engine_memory){ 0 },
                            s->rules);
    ruleset_unref(take(s->rules));
}

static void scene_close(struct scene *s)
{
    engine_close(s->engine);
    fake_free(s->fake);
}

static void ask(struct scene *s, enum map_table table, const char *key, struct reply *r)
{
    struct next_hop hop;
    struct fault why;

    if (!next_hop_parse(key, &hop, &why))
        fail_msg("%s: %s", key, why.text);
    *r = (struct reply){ .pending = { .done = reply_done } };
    mutex_init(&r->lock);
    signal_init(&r->here);
    engine_ask_map(s->engine, table, &hop, &r->pending);
}

static void wait_for(struct reply *r)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;

    mutex_lock(&r->lock);
    while (r->count == 0 && clock_ms() < until)
        signal_wait_until(&r->here, &r->lock, until);
    mutex_unlock(&r->lock);
    assert_int_equal(r->count, 1);
}

/* `TEMP`, or the policy; valid until the next question. */
static const char *answer(struct scene *s, enum map_table table, const char *key)
{
    static struct reply r;

    ask(s, table, key, &r);
    wait_for(&r);
    return r.policy;
}

#define assert_tls(s, key, policy) assert_string_equal(answer(s, MAP_POSTFIX_TLS, key), policy)
#define assert_mandatory(s, key, policy) assert_string_equal(answer(s, MAP_POSTFIX_MANDATORY, key), policy)

static const char *const names[] = { "mx.gw.example", "gw.example" };

static void floor_of(struct connector *c, enum tls_level tls)
{
    c->tls = tls;
    if (tls == TLS_VERIFY || tls == TLS_SECURE) {
        c->tls_match = names;
        c->tls_match_count = COUNT_OF(names);
    }
}

/* postfix-tls */

static const char *const hops_by_world[] = {
    [FAKE_FAILS] = "fails.friend.example",         [FAKE_BOGUS] = "bogus.friend.example",
    [FAKE_NO_MAIL] = "no-mail.friend.example",     [FAKE_ABSENT] = "absent.friend.example",
    [FAKE_UNUSABLE] = "unusable.friend.example",   [FAKE_INSECURE_MX] = "insecure-mx.friend.example",
    [FAKE_PARTIAL] = "partial.friend.example",     [FAKE_USABLE] = "usable.friend.example",
};

static void make_worlds(struct scene *s)
{
    size_t i;

    for (i = 0; i < COUNT_OF(hops_by_world); i++)
        fake_says(s->fake, hops_by_world[i], (enum fake_world)i);
}

static void each_state_has_its_level_for_an_opportunistic_partner(void **state)
{
    static const char *const expected[] = {
        [FAKE_FAILS] = "TEMP",   [FAKE_BOGUS] = "TEMP",         [FAKE_NO_MAIL] = "dane", [FAKE_ABSENT] = "",
        [FAKE_UNUSABLE] = "encrypt", [FAKE_INSECURE_MX] = "dane", [FAKE_PARTIAL] = "dane", [FAKE_USABLE] = "dane-only",
    };
    struct scene s;
    size_t i;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Friend", MODE_OPPORTUNISTIC, MODE_NONE, "*.friend.example");
    make_worlds(&s);
    scene_open(&s);
    for (i = 0; i < COUNT_OF(expected); i++)
        assert_tls(&s, hops_by_world[i], expected[i]);
    scene_close(&s);
}

static void nothing_is_ever_below_the_floor(void **state)
{
    static const struct {
        enum tls_level floor;
        const char *absent, *unusable, *partial;
    } cases[] = {
        { TLS_SITE, "", "encrypt", "dane" },
        { TLS_MAY, "may", "encrypt", "dane" },
        { TLS_ENCRYPT, "encrypt", "encrypt", "encrypt" },
        { TLS_VERIFY, "verify match=mx.gw.example:gw.example", "verify match=mx.gw.example:gw.example",
          "verify match=mx.gw.example:gw.example" },
        { TLS_SECURE, "secure match=mx.gw.example:gw.example", "secure match=mx.gw.example:gw.example",
          "secure match=mx.gw.example:gw.example" },
    };
    struct scene s;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(cases); i++) {
        scene_init(&s);
        floor_of(rules_add(s.rules, "Friend", MODE_OPPORTUNISTIC, MODE_NONE, "*.friend.example"), cases[i].floor);
        make_worlds(&s);
        scene_open(&s);
        assert_tls(&s, "absent.friend.example", cases[i].absent);
        assert_tls(&s, "unusable.friend.example", cases[i].unusable);
        assert_tls(&s, "partial.friend.example", cases[i].partial);
        assert_tls(&s, "usable.friend.example", "dane-only");
        assert_tls(&s, "bogus.friend.example", "TEMP");
        scene_close(&s);
    }
}

static void none_rests_on_the_floor_whatever_dns_says(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Gateway", MODE_NONE, MODE_NONE, "*.friend.example")->tls = TLS_ENCRYPT;
    make_worlds(&s);
    scene_open(&s);
    assert_tls(&s, "bogus.friend.example", "encrypt");
    assert_tls(&s, "fails.friend.example", "encrypt");
    assert_tls(&s, "usable.friend.example", "encrypt");
    scene_close(&s);
}

static void default_answers_for_strangers(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    make_worlds(&s);
    scene_open(&s);
    assert_tls(&s, "absent.friend.example", "");
    assert_tls(&s, "usable.friend.example", "dane-only");
    assert_tls(&s, "bogus.friend.example", "TEMP");
    scene_close(&s);
}

static void a_mandatory_partner_that_strays_onto_the_open_road_is_still_held(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Bank", MODE_MANDATORY, MODE_NONE, "*.friend.example");
    make_worlds(&s);
    scene_open(&s);
    assert_tls(&s, "absent.friend.example", "TEMP");
    assert_tls(&s, "unusable.friend.example", "TEMP");
    assert_tls(&s, "insecure-mx.friend.example", "TEMP");
    assert_tls(&s, "partial.friend.example", "dane-only");
    assert_tls(&s, "usable.friend.example", "dane-only");
    scene_close(&s);
}

static void a_strict_user_does_not_hold_up_the_domain(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Boss", MODE_MANDATORY, MODE_NONE, "boss@absent.friend.example");
    rules_add(s.rules, "Aide", MODE_OPPORTUNISTIC, MODE_MANDATORY, "aide@absent.friend.example");
    make_worlds(&s);
    scene_open(&s);
    assert_tls(&s, "absent.friend.example", "");
    assert_mandatory(&s, "absent.friend.example", "TEMP");
    scene_close(&s);
}

static void where_connectors_share_a_next_hop_the_strictest_answers(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Domain", MODE_OPPORTUNISTIC, MODE_NONE, "absent.friend.example bogus.friend.example")->tls = TLS_MAY;
    floor_of(rules_add(s.rules, "User", MODE_NONE, MODE_NONE, "al@absent.friend.example"), TLS_VERIFY);
    rules_add(s.rules, "Other user", MODE_NONE, MODE_NONE, "bo@absent.friend.example")->tls = TLS_ENCRYPT;
    rules_add(s.rules, "Careless user", MODE_NONE, MODE_NONE, "bo@bogus.friend.example")->tls = TLS_ENCRYPT;
    make_worlds(&s);
    scene_open(&s);
    assert_tls(&s, "absent.friend.example", "verify match=mx.gw.example:gw.example");
    assert_tls(&s, "bogus.friend.example", "TEMP");
    scene_close(&s);
}

static void smart_hosts_are_judged_for_those_who_use_them(void **state)
{
    struct connector *a, *b;
    struct scene s;

    (void)state;
    scene_init(&s);
    a = rules_add(s.rules, "A", MODE_OPPORTUNISTIC, MODE_NONE, "a.example");
    rules_smart_hosts(s.rules, a, "[gw.example]:587 relay.example");
    b = rules_add(s.rules, "B", MODE_NONE, MODE_NONE, "b.example");
    floor_of(b, TLS_SECURE);
    rules_smart_hosts(s.rules, b, "[gw.example]:587 [192.0.2.9]");
    fake_says(s.fake, "[gw.example]:587", FAKE_ABSENT);
    fake_says(s.fake, "[gw.example]", FAKE_ABSENT);
    fake_says(s.fake, "relay.example", FAKE_UNUSABLE);
    scene_open(&s);
    assert_tls(&s, "[gw.example]:587", "secure match=mx.gw.example:gw.example");
    assert_tls(&s, "[gw.example]", "");                     /* another next hop, and nobody's */
    assert_tls(&s, "relay.example", "encrypt");
    assert_tls(&s, "[192.0.2.9]", "secure match=mx.gw.example:gw.example");
    assert_int_equal(fake_searches(s.fake, "[192.0.2.9]"), 0);
    scene_close(&s);
}

static void who_has_senders_does_not_answer_for_the_others(void **state)
{
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    c = rules_add(s.rules, "Scoped", MODE_MANDATORY, MODE_NONE, "absent.friend.example");
    rules_senders(s.rules, c, "home.example");
    c = rules_add(s.rules, "Both", MODE_MANDATORY, MODE_NONE, "unusable.friend.example");
    rules_senders(s.rules, c, "home.example");
    rules_add(s.rules, "Both, others", MODE_NONE, MODE_NONE, "unusable.friend.example")->tls = TLS_ENCRYPT;
    make_worlds(&s);
    scene_open(&s);
    assert_tls(&s, "absent.friend.example", "");            /* (default): the tag led it here on purpose */
    assert_tls(&s, "unusable.friend.example", "encrypt");
    scene_close(&s);
}

static void everyones_connector_answers_for_bracketed_hosts(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "All", MODE_NONE, MODE_NONE, "*")->tls = TLS_ENCRYPT;
    rules_add(s.rules, "Named", MODE_NONE, MODE_NONE, "gw.example")->tls = TLS_MAY;
    fake_says(s.fake, "*", FAKE_ABSENT);
    scene_open(&s);
    assert_tls(&s, "[gw.example]", "encrypt");              /* whose mail that is, nobody can say */
    assert_tls(&s, "gw.example", "may");
    assert_tls(&s, "[192.0.2.1]", "encrypt");
    assert_tls(&s, "stranger.example", "encrypt");
    scene_close(&s);
}

/* postfix-mandatory */

static void without_sts_there_is_no_way_on_the_strict_road_but_dane_beside_any(void **state)
{
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Both", MODE_MANDATORY, MODE_MANDATORY, "both.example");
    c = rules_add(s.rules, "Any", MODE_MANDATORY, MODE_MANDATORY, "any.example any-absent.example");
    c->require = REQUIRE_ANY;
    fake_says(s.fake, "any-absent.example", FAKE_ABSENT);
    scene_open(&s);
    assert_mandatory(&s, "both.example", "TEMP");           /* STS is mandatory too, and absent */
    assert_mandatory(&s, "any.example", "dane-only");
    assert_mandatory(&s, "any-absent.example", "TEMP");
    assert_mandatory(&s, "stranger.example", "TEMP");       /* as if mta_sts were mandatory */
    assert_mandatory(&s, "[192.0.2.1]", "TEMP");
    scene_close(&s);
}

static void try_all_worlds(struct scene *s, bool only_strong)
{
    size_t i;

    for (i = 0; i < COUNT_OF(hops_by_world); i++) {
        const char *said = answer(s, MAP_POSTFIX_MANDATORY, hops_by_world[i]);

        if (strcmp(said, "TEMP") != 0 && strcmp(said, "dane-only") != 0 && strncmp(said, "secure match=", 13) != 0)
            fail_msg("%s: \"%s\"", hops_by_world[i], said);
        if (!only_strong)
            answer(s, MAP_POSTFIX_TLS, hops_by_world[i]);
    }
}

static void the_strict_road_never_hears_of_anything_weak(void **state)
{
    static const enum mode modes[] = { MODE_MANDATORY, MODE_OPPORTUNISTIC, MODE_NONE };
    static const enum tls_level floors[] = { TLS_SITE, TLS_MAY, TLS_ENCRYPT, TLS_VERIFY, TLS_SECURE };
    static const struct route on_strict = { .name = "sts-mandatory", .transport = "danelaw-sts", .next_hop = "" };
    struct connector *c;
    struct scene s;
    size_t d, m, f, strange;

    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    for (d = 0; d < COUNT_OF(modes); d++) {
        for (m = 0; m < COUNT_OF(modes); m++) {
            for (f = 0; f < COUNT_OF(floors); f++) {
                for (strange = 0; strange < 3; strange++) {
                    scene_init(&s);
                    c = rules_add(s.rules, "C", modes[d], modes[m], "*.friend.example");
                    if (floors[f] == TLS_SECURE && strange == 2)
                        c->tls = TLS_SECURE;                /* without names to match */
                    else
                        floor_of(c, floors[f]);
                    if (strange > 0)
                        c->route = &on_strict;
                    make_worlds(&s);
                    if (strange == 1)
                        fake_root(s.fake, DNS_INSECURE, false);
                    scene_open(&s);
                    try_all_worlds(&s, true);
                    scene_close(&s);
                }
            }
        }
    }
    log_set_level(LOG_LEVEL_INFO);
}

/* On the way */

static void a_cold_question_is_answered_when_evidence_lands(void **state)
{
    struct reply many[20];
    struct scene s;
    size_t i;

    (void)state;
    scene_init(&s);
    fake_parks(s.fake, "friend.example");
    scene_open(&s);
    for (i = 0; i < COUNT_OF(many); i++)
        ask(&s, i % 2 == 0 ? MAP_POSTFIX_TLS : MAP_POSTFIX_MANDATORY, "friend.example", &many[i]);
    usleep(50000);
    for (i = 0; i < COUNT_OF(many); i++)
        assert_int_equal(many[i].count, 0);
    fake_lets_go(s.fake, "friend.example");
    for (i = 0; i < COUNT_OF(many); i++) {
        wait_for(&many[i]);
        assert_string_equal(many[i].policy, i % 2 == 0 ? "dane-only" : "TEMP");
    }
    assert_int_equal(fake_searches(s.fake, "friend.example"), 1);
    assert_tls(&s, "friend.example", "dane-only");
    assert_int_equal(fake_searches(s.fake, "friend.example"), 1);
    scene_close(&s);
}

static void closing_answers_temp_to_all_who_wait(void **state)
{
    struct reply early, late;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_parks(s.fake, "*");
    scene_open(&s);
    ask(&s, MAP_POSTFIX_TLS, "friend.example", &early);
    engine_stop(s.engine);
    assert_int_equal(early.count, 1);
    assert_true(early.temp);
    ask(&s, MAP_POSTFIX_TLS, "friend.example", &late);
    assert_int_equal(late.count, 1);
    assert_true(late.temp);
    scene_close(&s);
}

static void a_reload_does_not_change_an_answer_under_way(void **state)
{
    struct ruleset *other = rules_new();
    struct reply r;
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Friend", MODE_OPPORTUNISTIC, MODE_NONE, "friend.example")->tls = TLS_ENCRYPT;
    fake_says(s.fake, "friend.example", FAKE_ABSENT);
    fake_parks(s.fake, "friend.example");
    scene_open(&s);
    ask(&s, MAP_POSTFIX_TLS, "friend.example", &r);
    ruleset_freeze(other);
    engine_adopt(s.engine, other);
    fake_lets_go(s.fake, "friend.example");
    wait_for(&r);
    assert_string_equal(r.policy, "encrypt");
    assert_tls(&s, "friend.example", "");
    scene_close(&s);
}

static void with_a_broken_resolver_only_the_open_road_has_answers(void **state)
{
    struct engine_status status;
    struct scene s;
    int64_t until;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Friend", MODE_OPPORTUNISTIC, MODE_NONE, "friend.example")->tls = TLS_ENCRYPT;
    rules_add(s.rules, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    fake_root(s.fake, DNS_INSECURE, true);
    scene_open(&s);
    until = clock_ms() + FAKE_WAIT_MS;
    do {
        usleep(1000);
        engine_status(s.engine, &status);
    } while (!status.resolver_checked && clock_ms() < until);
    assert_true(status.resolver_checked);
    assert_tls(&s, "friend.example", "encrypt");
    assert_tls(&s, "stranger.example", "");
    assert_tls(&s, "bank.example", "TEMP");
    assert_mandatory(&s, "friend.example", "TEMP");
    assert_mandatory(&s, "bank.example", "TEMP");
    scene_close(&s);
}

/* Bank's mail is on the strict road by the new table; by the old one it may still be on this one. */
static void an_old_table_weakens_nobody(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    rules_add(s.rules, "Clerk", MODE_NONE, MODE_NONE, "clerk@bank.example")->tls = TLS_MAY;
    fake_says(s.fake, "bank.example", FAKE_ABSENT);
    scene_open(&s);
    assert_tls(&s, "bank.example", "may");
    engine_tables(s.engine, false);
    assert_tls(&s, "bank.example", "TEMP");
    engine_tables(s.engine, true);
    assert_tls(&s, "bank.example", "may");
    assert_tls(&s, "stranger.example", "dane-only");
    scene_close(&s);
}

/* By an old table, mail of all of these may be on the open road: an override has ended, say. */
static void an_old_table_weakens_no_user_no_smart_host_and_no_scope(void **state)
{
    struct connector *c;
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Boss", MODE_MANDATORY, MODE_NONE, "boss@user.example");
    c = rules_add(s.rules, "Relayed", MODE_MANDATORY, MODE_NONE, "relayed.example");
    rules_smart_hosts(s.rules, c, "[gw.example]:587 relay.example");
    c = rules_add(s.rules, "Scoped", MODE_MANDATORY, MODE_NONE, "scoped.example");
    rules_senders(s.rules, c, "home.example");
    fake_says(s.fake, "user.example", FAKE_ABSENT);
    fake_says(s.fake, "[gw.example]:587", FAKE_ABSENT);
    fake_says(s.fake, "relay.example", FAKE_ABSENT);
    fake_says(s.fake, "scoped.example", FAKE_ABSENT);
    scene_open(&s);
    engine_tables(s.engine, false);
    assert_tls(&s, "user.example", "TEMP");
    assert_tls(&s, "[gw.example]:587", "TEMP");
    assert_tls(&s, "relay.example", "TEMP");
    assert_tls(&s, "scoped.example", "TEMP");
    s.set.milter.tag = true;
    assert_tls(&s, "scoped.example", "TEMP");               /* what has no tag may be here by the old table */
    engine_tables(s.engine, true);
    assert_tls(&s, "user.example", "");
    assert_tls(&s, "[gw.example]:587", "");
    scene_close(&s);
}

static void explain(struct scene *s, const char *to, char *ret, size_t size)
{
    struct address address;
    struct text words;

    address_parse(to, &address);
    text_init(&words, 4096);
    engine_explain(s->engine, &address, &words);
    snprintf(ret, size, "%s", text_words(&words));
    text_done(&words);
    assert_null(strchr(ret, '\n'));
}

static void explaining_never_waits_and_begins_the_search(void **state)
{
    char words[4096];
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_add(s.rules, "Bank", MODE_MANDATORY, MODE_NONE, "*.bank.example");
    fake_says(s.fake, "eu.bank.example", FAKE_ABSENT);
    fake_parks(s.fake, "eu.bank.example");
    scene_open(&s);
    explain(&s, "bo@eu.bank.example", words, sizeof(words));
    assert_non_null(strstr(words, "connector \"Bank\""));
    fake_lets_go(s.fake, "eu.bank.example");
    assert_true(fake_wait_settled(s.fake));
    explain(&s, "bo@eu.bank.example", words, sizeof(words));
    assert_non_null(strstr(words, "dane=absent"));
    assert_non_null(strstr(words, "verdict=hold reason=dane-required"));
    assert_int_equal(fake_searches(s.fake, "eu.bank.example"), 1);
    explain(&s, "bo@[192.0.2.1]", words, sizeof(words));
    explain(&s, "bo", words, sizeof(words));
    explain(&s, "", words, sizeof(words));
    explain(&s, "a@b@c@@", words, sizeof(words));
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_state_has_its_level_for_an_opportunistic_partner),
        cmocka_unit_test(nothing_is_ever_below_the_floor),
        cmocka_unit_test(none_rests_on_the_floor_whatever_dns_says),
        cmocka_unit_test(default_answers_for_strangers),
        cmocka_unit_test(a_mandatory_partner_that_strays_onto_the_open_road_is_still_held),
        cmocka_unit_test(a_strict_user_does_not_hold_up_the_domain),
        cmocka_unit_test(where_connectors_share_a_next_hop_the_strictest_answers),
        cmocka_unit_test(smart_hosts_are_judged_for_those_who_use_them),
        cmocka_unit_test(who_has_senders_does_not_answer_for_the_others),
        cmocka_unit_test(everyones_connector_answers_for_bracketed_hosts),
        cmocka_unit_test(without_sts_there_is_no_way_on_the_strict_road_but_dane_beside_any),
        cmocka_unit_test(the_strict_road_never_hears_of_anything_weak),
        cmocka_unit_test(a_cold_question_is_answered_when_evidence_lands),
        cmocka_unit_test(closing_answers_temp_to_all_who_wait),
        cmocka_unit_test(a_reload_does_not_change_an_answer_under_way),
        cmocka_unit_test(with_a_broken_resolver_only_the_open_road_has_answers),
        cmocka_unit_test(an_old_table_weakens_nobody),
        cmocka_unit_test(an_old_table_weakens_no_user_no_smart_host_and_no_scope),
        cmocka_unit_test(explaining_never_waits_and_begins_the_search),
    };

    log_open("test_map", false, "mail");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
