#include "policy/ruleset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rules.h"

#define MAY MODE_OPPORTUNISTIC

static struct connector *add(struct ruleset *rules, const char *name, const char *recipients, const char *senders)
{
    return rules_add(rules, name, recipients, senders, MAY, MAY);
}

/* The names of a list, parted by blanks. */
static const char *names_of(struct connector_list *list)
{
    static char names[1024];
    size_t i;

    names[0] = '\0';
    for (i = 0; i < list->count; i++)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i == 0 ? "" : " ", list->items[i]->name);
    connector_list_done(list);
    return names;
}

static void the_closest_pattern_wins(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "all", "*", "");                         /* weakest first: file order must not matter */
    add(rules, "below top", "*.example", "");
    add(rules, "below bank", "*.bank.example", "");
    add(rules, "bank", "bank.example", "");
    add(rules, "user", "user@bank.example", "");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "user@bank.example", ""), "user");
    assert_string_equal(rules_find(rules, "other@bank.example", ""), "bank");
    assert_string_equal(rules_find(rules, "user@a.bank.example", ""), "below bank");
    assert_string_equal(rules_find(rules, "user@b.a.bank.example", ""), "below bank");
    assert_string_equal(rules_find(rules, "user@shop.example", ""), "below top");
    assert_string_equal(rules_find(rules, "user@notbank.example", ""), "below top");
    assert_string_equal(rules_find(rules, "user@example", ""), "all");
    assert_string_equal(rules_find(rules, "user@bank.example.org", ""), "all");
    ruleset_unref(rules);
}

static void a_wildcard_does_not_cover_its_own_domain(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "below", "*.d.example", "");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "u@d.example", ""), "(default)");
    assert_string_equal(rules_find(rules, "u@xd.example", ""), "(default)");
    assert_string_equal(rules_find(rules, "u@x.d.example", ""), "below");
    assert_string_equal(rules_find(rules, "u@y.x.d.example", ""), "below");
    ruleset_unref(rules);
}

static void nobody_found_is_the_default(void **state)
{
    struct ruleset *rules = rules_new();
    struct connector_list list = { 0 };
    struct pattern key = { .kind = PATTERN_DOMAIN, .domain = "d.example" };

    (void)state;
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "u@d.example", "v@e.example"), "(default)");
    assert_string_equal(rules_find(rules, "", ""), "(default)");
    ruleset_candidates(rules, &key, &list);
    assert_string_equal(names_of(&list), "(default)");
    assert_int_equal(ruleset_count(rules), 0);
    assert_true(ruleset_default(rules)->is_default);
    ruleset_unref(rules);
}

static void names_compare_as_lower_case_a_labels(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "books", "xn--bcher-kva.example *.xn--bcher-kva.example", "");
    add(rules, "plain", "plain.example", "");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "u@B\u00dcCHER.example", ""), "books");
    assert_string_equal(rules_find(rules, "u@b\u00fccher.example.", ""), "books");
    assert_string_equal(rules_find(rules, "u@XN--BCHER-KVA.EXAMPLE", ""), "books");
    assert_string_equal(rules_find(rules, "u@mx.b\u00fccher.example", ""), "books");
    assert_string_equal(rules_find(rules, "u@bucher.example", ""), "(default)");
    assert_string_equal(rules_find(rules, "u@PLAIN.Example.", ""), "plain");
    ruleset_unref(rules);
}

static void a_local_part_has_no_case_in_ascii_and_nothing_is_stripped(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "user", "user@d.example j\u00fcrgen@d.example a+b@d.example", "");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "USER@d.example", ""), "user");
    assert_string_equal(rules_find(rules, "uSeR@D.EXAMPLE", ""), "user");
    assert_string_equal(rules_find(rules, "\"User\"@d.example", ""), "user");
    assert_string_equal(rules_find(rules, "user+ext@d.example", ""), "(default)");
    assert_string_equal(rules_find(rules, "user.@d.example", ""), "(default)");
    assert_string_equal(rules_find(rules, "u.ser@d.example", ""), "(default)");
    assert_string_equal(rules_find(rules, "A+B@d.example", ""), "user");
    assert_string_equal(rules_find(rules, "a@d.example", ""), "(default)");
    assert_string_equal(rules_find(rules, "J\u00fcRGEN@d.example", ""), "user");
    assert_string_equal(rules_find(rules, "J\u00dcRGEN@d.example", ""), "(default)");   /* ASCII only */
    assert_string_equal(rules_find(rules, "user@x.d.example", ""), "(default)");
    ruleset_unref(rules);
}

static void a_quoted_local_part_can_not_borrow_a_domain(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "victim", "user@victim.example victim.example *.victim.example", "");
    add(rules, "own", "own.example", "");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "\"user@victim.example\"@own.example", ""), "own");
    assert_string_equal(rules_find(rules, "user@victim.example@own.example", ""), "own");
    assert_string_equal(rules_find(rules, "user%victim.example@own.example", ""), "own");
    assert_string_equal(rules_find(rules, "victim.example!user@own.example", ""), "own");
    assert_string_equal(rules_find(rules, "<@victim.example:user@own.example>", ""), "own");
    assert_string_equal(rules_find(rules, "<@own.example:user@victim.example>", ""), "victim");
    assert_string_equal(rules_find(rules, "\".victim.example\"@elsewhere.example", ""), "(default)");
    ruleset_unref(rules);
}

static void only_everyone_covers_what_has_no_domain(void **state)
{
    static const char *const addresses[] = { "u@[192.0.2.1]", "u@[IPv6:2001:db8::1]", "u", "", "u@d..example", "@", "u@[" };
    struct ruleset *rules = rules_new();
    size_t i;

    (void)state;
    add(rules, "named", "192.0.2.1 *.2.1 *.0.2.1 u@192.0.2.1 u", "");
    ruleset_freeze(rules);
    for (i = 0; i < COUNT_OF(addresses); i++)
        assert_string_equal(rules_find(rules, addresses[i], ""), "(default)");
    ruleset_unref(rules);
    rules = rules_new();
    add(rules, "all", "*", "");
    add(rules, "named", "192.0.2.1 *.2.1 u@192.0.2.1", "");
    ruleset_freeze(rules);
    for (i = 0; i < COUNT_OF(addresses); i++)
        assert_string_equal(rules_find(rules, addresses[i], ""), "all");
    ruleset_unref(rules);
}

static void among_equals_a_matching_sender_wins(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "open", "d.example", "");
    add(rules, "hr", "d.example", "hr.home.example");
    add(rules, "boss", "d.example", "boss@home.example *.sub.home.example");
    add(rules, "also hr", "d.example", "hr.home.example");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "u@d.example", "x@hr.home.example"), "hr");
    assert_string_equal(rules_find(rules, "u@d.example", "x@HR.Home.Example."), "hr");
    assert_string_equal(rules_find(rules, "u@d.example", "BOSS@home.example"), "boss");
    assert_string_equal(rules_find(rules, "u@d.example", "x@a.sub.home.example"), "boss");
    assert_string_equal(rules_find(rules, "u@d.example", "x@sub.home.example"), "open");
    assert_string_equal(rules_find(rules, "u@d.example", "x@home.example"), "open");
    assert_string_equal(rules_find(rules, "u@d.example", ""), "open");
    ruleset_unref(rules);
}

static void a_foreign_sender_falls_to_the_next_rank(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "user", "u@a.d.example", "one.example");
    add(rules, "domain", "a.d.example", "two.example");
    add(rules, "below", "*.d.example", "three.example");
    add(rules, "top", "*.example", "");
    add(rules, "all", "*", "one.example two.example three.example");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "u@a.d.example", "x@one.example"), "user");
    assert_string_equal(rules_find(rules, "u@a.d.example", "x@two.example"), "domain");
    assert_string_equal(rules_find(rules, "u@a.d.example", "x@three.example"), "below");
    assert_string_equal(rules_find(rules, "u@a.d.example", "x@four.example"), "top");
    assert_string_equal(rules_find(rules, "u@elsewhere", "x@one.example"), "all");
    assert_string_equal(rules_find(rules, "u@elsewhere", "x@four.example"), "(default)");
    ruleset_unref(rules);
}

static void a_wider_pattern_with_a_matching_sender_does_not_beat_a_closer_one(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "scoped", "*.example", "home.example");
    add(rules, "close", "d.example", "");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "u@d.example", "x@home.example"), "close");
    assert_string_equal(rules_find(rules, "u@e.example", "x@home.example"), "scoped");
    ruleset_unref(rules);
}

static void the_null_sender_is_a_sender_of_its_own(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "bounces", "d.example", "<>");
    add(rules, "mail", "d.example", "home.example");
    add(rules, "anyone", "e.example", "*");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "u@d.example", ""), "bounces");
    assert_string_equal(rules_find(rules, "u@d.example", "<>"), "bounces");
    assert_string_equal(rules_find(rules, "u@d.example", "x@home.example"), "mail");
    assert_string_equal(rules_find(rules, "u@d.example", "x"), "(default)");
    assert_string_equal(rules_find(rules, "u@d.example", "x@[192.0.2.1]"), "(default)");
    assert_string_equal(rules_find(rules, "u@d.example", "@"), "(default)");
    assert_string_equal(rules_find(rules, "u@e.example", ""), "anyone");
    assert_string_equal(rules_find(rules, "u@e.example", "x@[192.0.2.1]"), "anyone");
    ruleset_unref(rules);
}

static void file_order_settles_the_rest(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "first", "d.example", "*.home.example");
    add(rules, "second", "d.example", "hr.home.example");       /* senders have no rank of their own */
    add(rules, "third", "e.example d.example", "");
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "u@d.example", "x@hr.home.example"), "first");
    assert_string_equal(rules_find(rules, "u@d.example", "x@elsewhere.example"), "third");
    assert_ptr_equal(ruleset_at(rules, 0), ruleset_named(rules, "first"));
    assert_ptr_equal(ruleset_at(rules, 2), ruleset_named(rules, "third"));
    assert_null(ruleset_named(rules, "fourth"));
    assert_null(ruleset_named(rules, "(default)"));
    ruleset_unref(rules);
}

static void candidates_are_all_whom_a_sender_could_choose(void **state)
{
    struct ruleset *rules = rules_new();
    struct connector_list list = { 0 };
    struct pattern key = { .kind = PATTERN_ADDRESS, .local = "u", .domain = "a.d.example" };

    (void)state;
    add(rules, "all", "*", "");
    add(rules, "below", "*.d.example", "");
    add(rules, "domain open", "b.d.example", "");
    add(rules, "domain", "a.d.example b.d.example", "two.example");
    add(rules, "user", "u@a.d.example", "one.example");
    add(rules, "user too", "u@a.d.example", "two.example");
    add(rules, "top", "*.example", "");
    ruleset_freeze(rules);
    ruleset_candidates(rules, &key, &list);
    assert_string_equal(names_of(&list), "user user too domain below");
    key = (struct pattern){ .kind = PATTERN_DOMAIN, .domain = "b.d.example" };
    ruleset_candidates(rules, &key, &list);
    assert_string_equal(names_of(&list), "domain domain open");
    key = (struct pattern){ .kind = PATTERN_BELOW, .domain = "d.example" };
    ruleset_candidates(rules, &key, &list);
    assert_string_equal(names_of(&list), "below");
    key = (struct pattern){ .kind = PATTERN_BELOW, .domain = "c.example" };
    ruleset_candidates(rules, &key, &list);
    assert_string_equal(names_of(&list), "top");
    key = (struct pattern){ .kind = PATTERN_DOMAIN, .domain = "example" };
    ruleset_candidates(rules, &key, &list);
    assert_string_equal(names_of(&list), "all");
    ruleset_unref(rules);
}

static void connectors_are_found_by_what_they_list(void **state)
{
    struct ruleset *rules = rules_new();
    struct connector *c = add(rules, "relay", "d.example", "");
    struct connector_list list = { 0 };
    struct next_hop hop;
    struct domain d;

    (void)state;
    rules_smart_host(rules, c, "[r.example]");
    rules_smart_host(rules, c, "s.example:587");
    c = add(rules, "relay too", "u@d.example v@d.example *.d.example", "");
    rules_smart_host(rules, c, "[R.example.]:25");
    add(rules, "user", "w@d.example", "home.example");
    ruleset_freeze(rules);
    assert_true(next_hop_parse("[r.example]", &hop, NULL));
    ruleset_by_smart_host(rules, &hop, &list);
    assert_string_equal(names_of(&list), "relay relay too");
    assert_true(next_hop_parse("S.example.:submission", &hop, NULL));
    ruleset_by_smart_host(rules, &hop, &list);
    assert_string_equal(names_of(&list), "relay");
    assert_true(next_hop_parse("s.example", &hop, NULL));
    ruleset_by_smart_host(rules, &hop, &list);
    assert_string_equal(names_of(&list), "");
    assert_true(domain_parse("d.example", &d, NULL));
    ruleset_by_user(rules, &d, &list);
    assert_string_equal(names_of(&list), "relay too user");
    assert_true(domain_parse("x.d.example", &d, NULL));
    ruleset_by_user(rules, &d, &list);
    assert_string_equal(names_of(&list), "");
    assert_true(ruleset_has(rules, &(struct pattern){ .kind = PATTERN_DOMAIN, .domain = "d.example" }));
    assert_true(ruleset_has(rules, &(struct pattern){ .kind = PATTERN_BELOW, .domain = "d.example" }));
    assert_true(ruleset_has(rules, &(struct pattern){ .kind = PATTERN_ADDRESS, .local = "w", .domain = "d.example" }));
    assert_false(ruleset_has(rules, &(struct pattern){ .kind = PATTERN_DOMAIN, .domain = "x.d.example" }));
    assert_false(ruleset_has(rules, &(struct pattern){ .kind = PATTERN_EVERYONE }));
    assert_false(ruleset_has(rules, &(struct pattern){ .kind = PATTERN_ADDRESS, .local = "x", .domain = "d.example" }));
    ruleset_unref(rules);
}

static void a_route_of_the_same_name_replaces_the_built_in_one(void **state)
{
    static const struct route own = { .name = "opportunistic", .transport = "smtp", .next_hop = "" };
    static const struct route more = { .name = "archive", .transport = "archive", .next_hop = "[a.example]" };
    struct ruleset *rules = rules_new();

    (void)state;
    ruleset_add_route(rules, &own);
    ruleset_add_route(rules, &more);
    ruleset_freeze(rules);
    assert_ptr_equal(ruleset_route(rules, "opportunistic"), &own);
    assert_ptr_equal(ruleset_route(rules, "archive"), &more);
    assert_null(ruleset_route(rules, "Archive"));
    assert_int_equal(ruleset_route_count(rules), 4);
    assert_ptr_equal(ruleset_route_at(rules, 3), &more);
    ruleset_unref(rules);
}

static void a_pattern_prints_as_it_was_written(void **state)
{
    static const char *const words[] = { "*", "*.d.example", "d.example", "u+e@d.example", "<>" };
    struct arena *memory = arena_new();
    char text[64];
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(words); i++) {
        struct pattern p = rules_pattern(memory, words[i]);

        assert_string_equal(pattern_print(&p, text, sizeof(text)), words[i]);
    }
    arena_free(memory);
}

static void a_pattern_matches_what_it_says(void **state)
{
    static const struct {
        const char *pattern, *address;
        bool matches;
    } tries[] = {
        { "*", "u@d.example", true },              { "*", "", true },
        { "*", "u@[192.0.2.1]", true },            { "d.example", "u@D.example.", true },
        { "d.example", "u@x.d.example", false },   { "d.example", "", false },
        { "*.d.example", "u@x.d.example", true },  { "*.d.example", "u@d.example", false },
        { "*.d.example", "u@xd.example", false },  { "*.d.example", "u@y.x.d.example", true },
        { "u@d.example", "U@d.example", true },    { "u@d.example", "v@d.example", false },
        { "u@d.example", "u@x.d.example", false }, { "<>", "", true },
        { "<>", "u", false },                      { "<>", "u@d.example", false },
        { "192.0.2.1", "u@[192.0.2.1]", false },   { "*.2.1", "u@[192.0.2.1]", false },
        { "u@192.0.2.1", "u@[192.0.2.1]", false }, { "<>", "@", false },
    };
    struct arena *memory = arena_new();
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        struct pattern p = rules_pattern(memory, tries[i].pattern);
        struct address a = rules_address(tries[i].address);

        if (pattern_matches(&p, &a) != tries[i].matches)
            fail_msg("%s and %s", tries[i].pattern, tries[i].address);
    }
    arena_free(memory);
}

static void the_longest_names_are_found(void **state)
{
    struct ruleset *rules = rules_new();
    char deep[254], to[600], pattern[600], local[256];
    size_t i;

    (void)state;
    for (i = 0; i < 126; i++)                           /* 127 labels */
        memcpy(deep + 2 * i, "a.", 2);
    strcpy(deep + 252, "x");
    memset(local, 'u', 255);
    local[255] = '\0';
    snprintf(pattern, sizeof(pattern), "%s@%s", local, deep);
    add(rules, "user", pattern, "");
    add(rules, "deep", deep, "");
    add(rules, "below", "*.a.x", "");
    ruleset_freeze(rules);
    snprintf(to, sizeof(to), "%s@%s", local, deep);
    assert_string_equal(rules_find(rules, to, ""), "user");
    local[254] = '\0';
    snprintf(to, sizeof(to), "%s@%s", local, deep);
    assert_string_equal(rules_find(rules, to, ""), "deep");
    snprintf(to, sizeof(to), "u@%s", deep + 2);
    assert_string_equal(rules_find(rules, to, ""), "below");
    ruleset_unref(rules);
}

static void a_hundred_thousand_connectors_are_all_found(void **state)
{
    enum { MANY = 100000 };
    struct ruleset *rules = rules_new();
    char text[128], to[64];
    unsigned i;

    (void)state;
    for (i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "p%u.example *.p%u.example u@q%u.example", i, i, i);
        snprintf(to, sizeof(to), "c%u", i);
        add(rules, to, text, i % 10 == 9 ? "home.example" : "");
    }
    add(rules, "all", "*", "");
    ruleset_freeze(rules);
    assert_int_equal(ruleset_count(rules), MANY + 1);
    for (i = 0; i < MANY; i++) {
        const char *from = i % 10 == 9 ? "x@home.example" : "";

        snprintf(text, sizeof(text), "c%u", i);
        snprintf(to, sizeof(to), "u@p%u.example", i);
        assert_string_equal(rules_find(rules, to, from), text);
        assert_string_equal(rules_find(rules, to, "x@elsewhere.example"), i % 10 == 9 ? "all" : text);
        snprintf(to, sizeof(to), "v@x.p%u.example", i);
        assert_string_equal(rules_find(rules, to, from), text);
        snprintf(to, sizeof(to), "U@q%u.example", i);
        assert_string_equal(rules_find(rules, to, from), text);
        assert_string_equal(ruleset_named(rules, text)->name, text);
    }
    assert_string_equal(rules_find(rules, "u@p100000.example", ""), "all");
    ruleset_unref(rules);
}

static void a_ruleset_lives_as_long_as_its_last_user(void **state)
{
    struct ruleset *rules = rules_new(), *mine;

    (void)state;
    add(rules, "bank", "bank.example", "");
    ruleset_freeze(rules);
    mine = ruleset_ref(rules);
    ruleset_unref(rules);
    assert_string_equal(rules_find(mine, "u@bank.example", ""), "bank");
    ruleset_unref(mine);
    ruleset_unref(NULL);
}

static void test(struct ruleset *rules, const char *name, const char *recipients, const char *senders)
{
    add(rules, name, recipients, senders)->test_mode = true;
}

/* The name of the connector in test mode that would rule mail between these two; "": none. */
static const char *shadow(const struct ruleset *rules, const char *to, const char *from)
{
    struct address receiver = rules_address(to), sender = rules_address(from);
    const struct connector *c = ruleset_shadow(rules, &receiver, &sender);

    return c == NULL ? "" : c->name;
}

static void a_connector_in_test_mode_rules_nobody(void **state)
{
    struct ruleset *rules = rules_new();
    struct connector_list list = { 0 };
    struct pattern key = { .kind = PATTERN_DOMAIN, .domain = "bank.example" };
    struct domain bank;
    struct connector *hub;
    struct next_hop hop;

    (void)state;
    test(rules, "tested", "bank.example user@bank.example", "");
    add(rules, "below", "*.example", "");
    hub = add(rules, "tested hub", "shop.example", "");
    rules_smart_host(rules, hub, "[mx.example]");
    hub->test_mode = true;
    ruleset_freeze(rules);
    assert_string_equal(rules_find(rules, "user@bank.example", ""), "below");
    assert_string_equal(rules_find(rules, "user@shop.example", ""), "below");
    assert_false(ruleset_has(rules, &key));
    ruleset_candidates(rules, &key, &list);
    assert_string_equal(names_of(&list), "below");
    assert_true(next_hop_parse("[mx.example]", &hop, NULL));
    ruleset_by_smart_host(rules, &hop, &list);
    assert_true(domain_parse("bank.example", &bank, NULL));
    ruleset_by_user(rules, &bank, &list);
    assert_string_equal(names_of(&list), "");
    assert_non_null(ruleset_named(rules, "tested"));
    assert_int_equal(ruleset_count(rules), 3);
    ruleset_unref(rules);
}

static void a_shadow_is_who_would_rule(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    test(rules, "all", "*", "");
    test(rules, "below", "*.bank.example", "");
    test(rules, "user", "user@shop.example", "");
    add(rules, "bank", "bank.example", "");
    add(rules, "deep", "eu.bank.example", "");
    ruleset_freeze(rules);
    assert_string_equal(shadow(rules, "bo@stranger.example", ""), "all");
    assert_string_equal(shadow(rules, "bo@us.bank.example", ""), "below");
    assert_string_equal(shadow(rules, "user@shop.example", ""), "user");
    assert_string_equal(shadow(rules, "USER@Shop.Example.", ""), "user");
    assert_string_equal(shadow(rules, "bo@shop.example", ""), "all");
    assert_string_equal(shadow(rules, "bo@bank.example", ""), "");
    assert_string_equal(shadow(rules, "bo@eu.bank.example", ""), "");
    assert_string_equal(shadow(rules, "bo@[192.0.2.1]", ""), "all");
    assert_string_equal(shadow(rules, "bo", ""), "all");
    ruleset_unref(rules);
}

static void among_equals_a_shadow_needs_senders_to_stand_before_senders(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "ours", "bank.example", "*.home.example");
    test(rules, "tested", "bank.example", "");
    test(rules, "tested boss", "shop.example", "boss@home.example");
    add(rules, "shop", "shop.example", "");
    ruleset_freeze(rules);
    assert_string_equal(shadow(rules, "bo@bank.example", "al@eu.home.example"), "");
    assert_string_equal(shadow(rules, "bo@bank.example", "al@elsewhere.example"), "tested");
    assert_string_equal(shadow(rules, "bo@shop.example", "boss@home.example"), "tested boss");
    assert_string_equal(shadow(rules, "bo@shop.example", "al@home.example"), "");
    ruleset_unref(rules);
}

static void where_nobody_is_tested_nobody_has_a_shadow(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    add(rules, "all", "*", "");
    ruleset_freeze(rules);
    assert_string_equal(shadow(rules, "bo@bank.example", "al@home.example"), "");
    ruleset_unref(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_closest_pattern_wins),
        cmocka_unit_test(a_wildcard_does_not_cover_its_own_domain),
        cmocka_unit_test(nobody_found_is_the_default),
        cmocka_unit_test(names_compare_as_lower_case_a_labels),
        cmocka_unit_test(a_local_part_has_no_case_in_ascii_and_nothing_is_stripped),
        cmocka_unit_test(a_quoted_local_part_can_not_borrow_a_domain),
        cmocka_unit_test(only_everyone_covers_what_has_no_domain),
        cmocka_unit_test(among_equals_a_matching_sender_wins),
        cmocka_unit_test(a_foreign_sender_falls_to_the_next_rank),
        cmocka_unit_test(a_wider_pattern_with_a_matching_sender_does_not_beat_a_closer_one),
        cmocka_unit_test(the_null_sender_is_a_sender_of_its_own),
        cmocka_unit_test(file_order_settles_the_rest),
        cmocka_unit_test(candidates_are_all_whom_a_sender_could_choose),
        cmocka_unit_test(connectors_are_found_by_what_they_list),
        cmocka_unit_test(a_route_of_the_same_name_replaces_the_built_in_one),
        cmocka_unit_test(a_pattern_prints_as_it_was_written),
        cmocka_unit_test(a_pattern_matches_what_it_says),
        cmocka_unit_test(the_longest_names_are_found),
        cmocka_unit_test(a_hundred_thousand_connectors_are_all_found),
        cmocka_unit_test(a_ruleset_lives_as_long_as_its_last_user),
        cmocka_unit_test(a_connector_in_test_mode_rules_nobody),
        cmocka_unit_test(a_shadow_is_who_would_rule),
        cmocka_unit_test(among_equals_a_shadow_needs_senders_to_stand_before_senders),
        cmocka_unit_test(where_nobody_is_tested_nobody_has_a_shadow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
