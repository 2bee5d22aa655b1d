#include "policy/vary.h"

#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *const own_names[] = { "gw.partner.example" };

static const struct route gateway = { .name = "gateway", .transport = "gateway", .next_hop = "", .tls = TLS_DANE_ONLY };
static const struct route spare = { .name = "spare", .transport = "spare", .next_hop = "[mx.spare.example]", .tls = TLS_VERIFY };
static const struct route weak = { .name = "weak", .transport = "weak", .next_hop = "[mx.spare.example]", .tls = TLS_MAY };

/* UNSET, or a mode. */
static struct override override(const char *name, int dane, int sts)
{
    struct override o = { .sets_dane = dane >= 0, .sets_sts = sts >= 0, .by = "root" };

    snprintf(o.connector, sizeof(o.connector), "%s", name);
    if (dane >= 0)
        o.smtp_dane = (enum mode)dane;
    if (sts >= 0)
        o.mta_sts = (enum mode)sts;
    return o;
}

/* Takes rules. */
static struct ruleset *varied(struct ruleset *rules, struct override o)
{
    struct ruleset *made;

    ruleset_freeze(rules);
    made = ruleset_vary(rules, &o, 1);
    ruleset_unref(rules);
    return made;
}

/* What a connector becomes, alone in the world. */
static void expect_road(enum mode dane, enum mode sts, struct override o, const struct route *own, const char *road)
{
    struct ruleset *rules = rules_new();
    struct connector *c = rules_add(rules, "P", "p.example", "", dane, sts);
    const struct connector *found;

    if (own != NULL)
        c->route = own;
    rules = varied(rules, o);
    found = ruleset_named(rules, "P");
    assert_string_equal(found->route->name, road);
    assert_int_equal(found->smtp_dane, o.sets_dane ? o.smtp_dane : dane);
    assert_int_equal(found->mta_sts, o.sets_sts ? o.mta_sts : sts);
    ruleset_unref(rules);
}

enum { UNSET = -1 };
static const enum mode M = MODE_MANDATORY, O = MODE_OPPORTUNISTIC, N = MODE_NONE;

static void each_override_takes_the_road_of_its_modes(void **state)
{
    (void)state;
    expect_road(M, O, override("P", O, UNSET), NULL, "opportunistic");
    expect_road(M, O, override("P", N, N), NULL, "opportunistic");
    expect_road(M, M, override("P", UNSET, O), NULL, "dane-mandatory");
    expect_road(M, M, override("P", O, UNSET), NULL, "sts-mandatory");
    expect_road(O, O, override("P", M, UNSET), NULL, "dane-mandatory");
    expect_road(O, O, override("P", UNSET, M), NULL, "sts-mandatory");
    expect_road(M, O, override("P", UNSET, M), NULL, "sts-mandatory");
    expect_road(O, N, override("P", N, UNSET), NULL, "opportunistic");
}

static void a_route_of_its_own_stays_while_the_modes_ask_for_the_same(void **state)
{
    (void)state;
    expect_road(M, O, override("P", UNSET, N), &gateway, "gateway");
    expect_road(O, O, override("P", N, UNSET), &gateway, "gateway");
    expect_road(M, O, override("P", O, UNSET), &gateway, "opportunistic");
    expect_road(M, O, override("P", UNSET, M), &gateway, "sts-mandatory");
    expect_road(M, M, override("P", O, UNSET), &gateway, "sts-mandatory");      /* gateway would go on to demand DANE */
}

static enum tls_level floor_under(enum mode configured, enum tls_level tls, struct override o)
{
    struct ruleset *rules = rules_new();
    enum tls_level found;

    rules_add(rules, "P", "p.example", "", configured, O)->tls = tls;
    rules = varied(rules, o);
    found = ruleset_named(rules, "P")->tls;
    ruleset_unref(rules);
    return found;
}

/* Once mail to a partner with wrong TLSA records waited on, since the road does DANE where the map is silent. */
static void none_lets_mail_go_whatever_the_road_does_by_itself(void **state)
{
    (void)state;
    assert_int_equal(floor_under(M, TLS_SITE, override("P", N, UNSET)), TLS_MAY);
    assert_int_equal(floor_under(O, TLS_SITE, override("P", N, N)), TLS_MAY);
    assert_int_equal(floor_under(M, TLS_ENCRYPT, override("P", N, UNSET)), TLS_ENCRYPT);
    assert_int_equal(floor_under(M, TLS_SITE, override("P", O, UNSET)), TLS_SITE);
    assert_int_equal(floor_under(N, TLS_SITE, override("P", UNSET, N)), TLS_SITE);
}

static struct ruleset *crowd(void)
{
    struct ruleset *rules = rules_new();

    rules_add(rules, "scoped", "p.example", "a@home.example", O, O);
    rules_add(rules, "P", "p.example u@q.example", "", M, O);
    rules_smart_host(rules, rules_add(rules, "smart", "s.example", "", O, O), "[relay.example]:25");
    rules_add(rules, "tested", "p.example", "", M, O)->test_mode = true;
    rules_add(rules, "wide", "*.p.example", "", O, O);
    return rules;
}

static void only_the_overridden_connector_changes(void **state)
{
    struct ruleset *base = crowd(), *rules;
    struct override o[] = { override("P", O, UNSET), override("smart", M, UNSET), override("tested", N, UNSET),
                            override("gone", N, UNSET) };
    struct address to = rules_address("x@p.example"), from = rules_address("b@home.example");
    struct connector_list list = { 0 };
    struct next_hop hop;

    (void)state;
    ruleset_freeze(base);
    rules = ruleset_vary(base, o, COUNT_OF(o));
    assert_ptr_not_equal(rules, base);
    assert_int_equal(ruleset_count(rules), ruleset_count(base));
    assert_ptr_equal(ruleset_at(rules, 0), ruleset_at(base, 0));
    assert_ptr_equal(ruleset_at(rules, 1), ruleset_find(rules, &to, &from));
    assert_ptr_equal(ruleset_at(rules, 1), ruleset_named(rules, "P"));
    assert_ptr_equal(ruleset_named(rules, "wide"), ruleset_named(base, "wide"));
    assert_string_equal(ruleset_named(rules, "P")->override->by, "root");
    assert_null(ruleset_named(base, "P")->override);
    assert_int_equal(ruleset_named(base, "P")->smtp_dane, M);
    assert_ptr_equal(ruleset_shadow(rules, &to, &from), ruleset_named(rules, "tested"));
    assert_true(next_hop_parse("[relay.example]:25", &hop, NULL));
    ruleset_by_smart_host(rules, &hop, &list);
    ruleset_by_user(rules, &(struct domain){ .length = 9, .name = "q.example" }, &list);
    assert_int_equal(list.count, 2);
    assert_ptr_equal(list.items[0], ruleset_named(rules, "smart"));
    assert_ptr_equal(list.items[1], ruleset_named(rules, "P"));
    connector_list_done(&list);
    assert_string_equal(rules_find(rules, "x@p.example", "a@home.example"), "scoped");
    ruleset_unref(base);
    assert_int_equal(ruleset_named(rules, "tested")->smtp_dane, N);     /* outlives the configured ones' owner */
    ruleset_unref(rules);
}

static void without_an_override_that_counts_the_rules_are_the_configured_ones(void **state)
{
    struct ruleset *base = crowd(), *rules;
    struct override o[] = { override("gone", N, UNSET), override("P", M, UNSET) };

    (void)state;
    ruleset_freeze(base);
    rules = ruleset_vary(base, o, COUNT_OF(o));
    assert_ptr_equal(rules, base);
    ruleset_unref(rules);
    ruleset_unref(base);
}

static void a_weakened_connectors_table_line_asks_the_map(void **state)
{
    struct ruleset *rules = crowd();
    struct pattern key = { .kind = PATTERN_DOMAIN, .domain = "p.example" };
    struct road road;

    (void)state;
    rules = varied(rules, override("P", N, N));
    road = road_of(rules, &key);
    assert_non_null(road.route);                /* asking for nothing, it would have no line without its override */
    assert_string_equal(road.route->transport, ROAD_OPPORTUNISTIC);
    assert_false(road.strict);
    ruleset_unref(rules);
}

static bool keeps_fallback(enum mode dane, const struct route *fallback, struct override o)
{
    struct ruleset *rules = rules_new();
    struct connector *c = rules_add(rules, "P", "p.example", "", dane, O);
    atomic_bool taken = true;
    bool kept;

    c->fallback = fallback;
    c->on_fallback = &taken;
    rules = varied(rules, o);
    kept = ruleset_named(rules, "P")->fallback != NULL;
    assert_false(connector_on_fallback(ruleset_named(rules, "P")));     /* the engine says so, if it is to be */
    assert_true(taken);
    ruleset_unref(rules);
    return kept;
}

static void a_fallback_too_weak_for_a_mandatory_connector_is_not_taken(void **state)
{
    (void)state;
    assert_false(keeps_fallback(O, &weak, override("P", M, UNSET)));
    assert_true(keeps_fallback(O, &spare, override("P", M, UNSET)));
    assert_true(keeps_fallback(M, &weak, override("P", O, UNSET)));
    assert_true(keeps_fallback(M, &weak, override("P", UNSET, M)));     /* fallback_weak has allowed it */
}

static void weaker_and_idle_are_told_by_the_configured_modes(void **state)
{
    const struct connector c = { .smtp_dane = O, .mta_sts = M };
    struct override o = override("P", M, UNSET);

    (void)state;
    assert_false(override_weakens(&o, &c));
    o = override("P", M, O);
    assert_true(override_weakens(&o, &c));
    o = override("P", N, UNSET);
    assert_true(override_weakens(&o, &c));
    o = override("P", O, UNSET);
    assert_false(override_weakens(&o, &c));
    assert_true(override_is_idle(&o, &c));
    o = override("P", O, M);
    assert_true(override_is_idle(&o, &c));
}

static void what_could_never_be_delivered_is_refused(void **state)
{
    struct ruleset *rules = rules_new();
    struct connector *literal = rules_add(rules, "literal", "l.example", "", O, O);
    struct connector *named = rules_add(rules, "named", "n.example", "", O, O);
    struct override o = override("literal", M, UNSET);
    struct fault why = { "" };

    (void)state;
    rules_smart_host(rules, literal, "[192.0.2.1]:25");
    rules_smart_host(rules, named, "[relay.example]:25");
    ruleset_freeze(rules);
    assert_false(override_fits(rules, literal, &o, &why));
    assert_non_null(strstr(why.text, "192.0.2.1"));
    assert_true(override_fits(rules, named, &o, &why));
    o = override("literal", N, UNSET);
    assert_true(override_fits(rules, literal, &o, &why));
    ruleset_unref(rules);
}

static void a_road_with_a_next_hop_of_its_own_is_refused(void **state)
{
    const struct route strict = { .name = "dane-mandatory", .transport = "x", .next_hop = "[gw.example]", .tls = TLS_SECURE,
                                  .tls_match = own_names, .tls_match_count = 1 };
    const struct route lax = { .name = "opportunistic", .transport = ROAD_OPPORTUNISTIC, .next_hop = "[gw.example]" };
    struct ruleset *rules = rules_new();
    struct connector *smart = rules_add(rules, "smart", "s.example", "", O, O);
    struct connector *plain = rules_add(rules, "plain", "p.example", "", M, O);
    struct override o = override("smart", M, UNSET);
    struct fault why;

    (void)state;
    ruleset_add_route(rules, &strict);
    ruleset_add_route(rules, &lax);
    rules_smart_host(rules, smart, "[relay.example]:25");
    ruleset_freeze(rules);
    assert_false(override_fits(rules, smart, &o, &why));
    o = override("plain", O, UNSET);
    assert_false(override_fits(rules, plain, &o, &why));
    o = override("plain", UNSET, N);
    assert_true(override_fits(rules, plain, &o, &why));
    ruleset_unref(rules);
}

static void the_audit_reads_the_modes_in_force(void **state)
{
    const struct connector c = { .smtp_dane = O, .mta_sts = M };
    struct override o = override("P", UNSET, N);
    char text[OVERRIDE_TEXT_SIZE];

    (void)state;
    assert_string_equal(override_print(NULL, &c, text), "smtp_dane=opportunistic mta_sts=mandatory");
    assert_string_equal(override_print(&o, &c, text), "smtp_dane=opportunistic mta_sts=none until=-");
    o.until = 1700000000;
    assert_string_equal(override_print(&o, NULL, text), "mta_sts=none until=2023-11-14T22:13:20Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_override_takes_the_road_of_its_modes),
        cmocka_unit_test(a_route_of_its_own_stays_while_the_modes_ask_for_the_same),
        cmocka_unit_test(none_lets_mail_go_whatever_the_road_does_by_itself),
        cmocka_unit_test(only_the_overridden_connector_changes),
        cmocka_unit_test(without_an_override_that_counts_the_rules_are_the_configured_ones),
        cmocka_unit_test(a_weakened_connectors_table_line_asks_the_map),
        cmocka_unit_test(a_fallback_too_weak_for_a_mandatory_connector_is_not_taken),
        cmocka_unit_test(weaker_and_idle_are_told_by_the_configured_modes),
        cmocka_unit_test(what_could_never_be_delivered_is_refused),
        cmocka_unit_test(a_road_with_a_next_hop_of_its_own_is_refused),
        cmocka_unit_test(the_audit_reads_the_modes_in_force),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
