#include "site.h"

#include "base/memory.h"
#include "mta/render.h"
#include "mta/tables.h"

#include <stdio.h>
#include <string.h>

/* The table's lines, without its comments; takes the rules. */
static char *lines_of(struct ruleset *rules, const char *own)
{
    const char *names[16];
    struct tables_own list = { .domains = names };
    char *words = mem_text(own), *rest = words, *word, *lines;
    struct text t;

    while ((word = strtok_r(rest, " ", &rest)) != NULL)
        names[list.count++] = word;
    ruleset_freeze(rules);
    text_init(&t, 1024 * 1024);
    tables_render(rules, &list, &t);
    assert_false(t.full);
    assert_non_null(strchr(text_words(&t), '\n'));
    lines = mem_text(strchr(text_words(&t), '\n') + 1);
    text_done(&t);
    free(words);
    ruleset_unref(rules);
    return lines;
}

static void expect_lines(struct ruleset *rules, const char *own, const char *wanted)
{
    AUTO(free) char *lines = lines_of(rules, own);

    assert_string_equal(lines, wanted);
}

static void every_pattern_has_its_key(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "Dane", MODE_MANDATORY, MODE_OPPORTUNISTIC, "bank.example *.bank.example");
    rules_add(rules, "Sts", MODE_OPPORTUNISTIC, MODE_MANDATORY, "boss@firm.example");
    rules_add(rules, "Both", MODE_MANDATORY, MODE_MANDATORY, "both.example");
    rules_add(rules, "Lax", MODE_OPPORTUNISTIC, MODE_NONE, "firm.example");
    expect_lines(rules, "", ".bank.example\tdanelaw-dane:\n"
                            "bank.example\tdanelaw-dane:\n"
                            "boss@firm.example\tdanelaw-sts:\n"
                            "both.example\tdanelaw-sts:\n"
                            "firm.example\tdanelaw:\n");
}

static void a_name_is_written_in_both_spellings(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "IDN", MODE_MANDATORY, MODE_NONE, "bücher.example *.bücher.example bo@bücher.example");
    expect_lines(rules, "", ".bücher.example\tdanelaw-dane:\n"
                            ".xn--bcher-kva.example\tdanelaw-dane:\n"
                            "bo@bücher.example\tdanelaw-dane:\n"
                            "bo@xn--bcher-kva.example\tdanelaw-dane:\n"
                            "bücher.example\tdanelaw-dane:\n"
                            "xn--bcher-kva.example\tdanelaw-dane:\n");
}

static void everyone_is_never_a_line(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "All", MODE_MANDATORY, MODE_NONE, "*");
    expect_lines(rules, "home.example", "");
}

static void no_connectors_make_an_empty_table(void **state)
{
    (void)state;
    expect_lines(rules_new(), "home.example .home.example", "");
}

static void smart_hosts_are_a_list_with_ports(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_smart_hosts(rules, rules_add(rules, "Hosts", MODE_MANDATORY, MODE_NONE, "a.example"), "[mx1.a.example] [mx2.a.example]");
    rules_smart_hosts(rules, rules_add(rules, "Ports", MODE_NONE, MODE_NONE, "b.example"),
                      "[h.b.example]:587 relay.b.example relay.b.example:26 [192.0.2.1] [ipv6:2001:db8::1]:2525");
    expect_lines(rules, "", "a.example\tdanelaw-dane:[mx1.a.example]:25,[mx2.a.example]:25\n"
                            "b.example\tdanelaw:[h.b.example]:587,relay.b.example,relay.b.example:26,[192.0.2.1]:25,"
                            "[2001:db8::1]:2525\n");
}

static void a_route_of_the_site_has_the_last_word(void **state)
{
    static const struct route gateway = { .name = "gateway", .transport = "smtp", .next_hop = "[gw.example]:25" };
    struct ruleset *rules = rules_new();
    struct connector *c;

    (void)state;
    ruleset_add_route(rules, &gateway);
    c = rules_add(rules, "Gateway", MODE_MANDATORY, MODE_NONE, "a.example");
    c->route = &gateway;
    expect_lines(rules, "", "a.example\tsmtp:[gw.example]:25\n");
}

static void a_connector_that_asks_for_nothing_has_no_line(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "Nothing", MODE_NONE, MODE_NONE, "a.example *.a.example bo@b.example");
    expect_lines(rules, "", "");
}

static void an_exempt_domain_is_shielded_from_a_strict_wildcard(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "Strict", MODE_MANDATORY, MODE_NONE, "*.a.example d.b.example");
    rules_add(rules, "Exempt", MODE_NONE, MODE_NONE, "lax.a.example *.lax.a.example bo@d.b.example");
    rules_add(rules, "Lax", MODE_OPPORTUNISTIC, MODE_NONE, "half.a.example");
    expect_lines(rules, "", ".a.example\tdanelaw-dane:\n"
                            ".lax.a.example\tdanelaw:\n"
                            "bo@d.b.example\tdanelaw:\n"
                            "d.b.example\tdanelaw-dane:\n"
                            "half.a.example\tdanelaw:\n"
                            "lax.a.example\tdanelaw:\n");
}

static void an_exempt_domain_is_shielded_from_a_strict_rule_for_everyone(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "Everyone", MODE_MANDATORY, MODE_NONE, "*");
    rules_add(rules, "Exempt", MODE_NONE, MODE_NONE, "lax.example");
    expect_lines(rules, "", "lax.example\tdanelaw:\n");
}

static void an_exempt_domain_is_shielded_from_a_wildcards_smart_hosts(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_smart_hosts(rules, rules_add(rules, "Hub", MODE_OPPORTUNISTIC, MODE_NONE, "*.a.example"), "[hub.example]");
    rules_add(rules, "Exempt", MODE_NONE, MODE_NONE, "own.a.example");
    expect_lines(rules, "", ".a.example\tdanelaw:[hub.example]:25\n"
                            "own.a.example\tdanelaw:\n");
}

static void senders_cannot_be_seen_so_the_strict_road_takes_all(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "Anyone", MODE_OPPORTUNISTIC, MODE_NONE, "a.example");
    rules_senders(rules, rules_add(rules, "Finance", MODE_MANDATORY, MODE_NONE, "a.example"), "finance@home.example");
    expect_lines(rules, "", "a.example\tdanelaw-dane:\n");
}

static void own_domains_are_kept_from_wildcards(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "Strict", MODE_MANDATORY, MODE_NONE, "*.a.example *.bücher.example said.a.example *.deep.a.example");
    expect_lines(rules, "a.example .a.example own.a.example .own.a.example said.a.example elsewhere.example "
                        "x.deep.a.example mail.xn--bcher-kva.example",
                 ".a.example\tdanelaw-dane:\n"
                 ".bücher.example\tdanelaw-dane:\n"
                 ".deep.a.example\tdanelaw-dane:\n"
                 ".own.a.example\t:\n"
                 ".xn--bcher-kva.example\tdanelaw-dane:\n"
                 "mail.bücher.example\t:\n"
                 "mail.xn--bcher-kva.example\t:\n"
                 "own.a.example\t:\n"
                 "said.a.example\tdanelaw-dane:\n"
                 "x.deep.a.example\t:\n");
}

/* Postfix folds sharp s to "ss": two domains, one key. */
static void the_stricter_road_takes_what_postfix_cannot_tell_apart(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "Sharp", MODE_MANDATORY, MODE_NONE, "straße.example");
    rules_add(rules, "Plain", MODE_OPPORTUNISTIC, MODE_NONE, "strasse.example");
    expect_lines(rules, "", "strasse.example\tdanelaw-dane:\n"
                            "xn--strae-oqa.example\tdanelaw-dane:\n");
}

static void local_parts_are_quoted_as_postfix_asks_for_them(void **state)
{
    static const struct pattern odd[] = {
        { PATTERN_ADDRESS, "a b", "a.example" }, { PATTERN_ADDRESS, "a\"\\b", "a.example" },
        { PATTERN_ADDRESS, "a..b", "a.example" }, { PATTERN_ADDRESS, "a.b+c", "a.example" },
        { PATTERN_ADDRESS, ".a", "a.example" },
    };
    struct ruleset *rules = rules_new();
    struct connector *c = rules_add(rules, "Odd", MODE_MANDATORY, MODE_NONE, "");

    (void)state;
    c->recipients = odd;
    c->recipient_count = COUNT_OF(odd);
    expect_lines(rules, "", "\".a\"@a.example\tdanelaw-dane:\n"
                            "\"a b\"@a.example\tdanelaw-dane:\n"
                            "\"a..b\"@a.example\tdanelaw-dane:\n"
                            "\"a\\\"\\\\b\"@a.example\tdanelaw-dane:\n"
                            "a.b+c@a.example\tdanelaw-dane:\n");
}

/* What transport(5) does with a table's text: user@d, d, .parent, .grandparent, ... */
static const char *look_up(const char *lines, const char *key, char ret[static 128])
{
    size_t length = strlen(key);

    for (; *lines != '\0'; lines += strcspn(lines, "\n"), lines += *lines == '\n') {
        if (strncmp(lines, key, length) == 0 && lines[length] == '\t') {
            snprintf(ret, 128, "%.*s", (int)strcspn(lines + length + 1, "\n"), lines + length + 1);
            return ret;
        }
    }
    return NULL;
}

static const char *as_postfix(const char *lines, const char *address, char ret[static 128])
{
    const char *domain = strchr(address, '@') + 1, *dot;
    const char *found = look_up(lines, address, ret);

    if (found == NULL)
        found = look_up(lines, domain, ret);
    for (dot = strchr(domain, '.'); found == NULL && dot != NULL; dot = strchr(dot + 1, '.'))
        found = look_up(lines, dot, ret);
    return found;
}

static const char *const universe[] = {
    "x@a.b.c.example", "x@b.c.example", "x@c.example", "y@c.example", "y@a.b.c.example", "x@z.b.c.example", "x@example",
};

static void expect_agreement(const struct ruleset *rules, const char *lines)
{
    static const struct address nobody = { .kind = ADDRESS_NULL };
    char value[128], wanted[128];
    size_t i;

    for (i = 0; i < COUNT_OF(universe); i++) {
        const char *found = as_postfix(lines, universe[i], value);
        const struct connector *c;
        struct address to;

        address_parse(universe[i], &to);
        c = ruleset_find(rules, &to, &nobody);
        snprintf(wanted, sizeof(wanted), "%s:", c->route->transport);
        if (c->is_default)
            assert_null(found);
        else if (connector_is_idle(c))          /* no line, or one that only leads past a stricter one */
            assert_true(found == NULL || strcmp(found, "danelaw:") == 0);
        else
            assert_string_equal(found == NULL ? "(nothing)" : found, wanted);
    }
}

static char *lines_with_extensions(struct ruleset *rules)
{
    struct text lines;
    struct sheet s;

    ruleset_freeze(rules);
    text_init(&lines, 64 * 1024);
    sheet_init(&s);
    s.extensions = true;
    sheet_add_connectors(&s, rules);
    assert_non_null(s.tightened);
    assert_string_equal(s.tightened, "lax@bank.example");
    sheet_print(&s, &lines);
    sheet_done(&s);
    ruleset_unref(rules);
    return text_give(&lines);
}

/* With a recipient_delimiter Postfix takes lax@bank's line for lax+anything@bank, which is the bank's own mail. */
static void a_lax_user_does_not_open_the_road_for_his_extensions(void **state)
{
    struct ruleset *rules = rules_new();
    AUTO(free) char *lines = NULL;

    (void)state;
    rules_add(rules, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    rules_add(rules, "Lax", MODE_OPPORTUNISTIC, MODE_NONE, "lax@bank.example");
    rules_add(rules, "Strict", MODE_MANDATORY, MODE_NONE, "strict@friend.example");
    rules_add(rules, "Friend", MODE_OPPORTUNISTIC, MODE_NONE, "friend.example");
    lines = lines_with_extensions(rules);
    assert_non_null(strstr(lines, "\nlax@bank.example\tdanelaw-dane:\n"));
    assert_non_null(strstr(lines, "\nstrict@friend.example\tdanelaw-dane:\n"));
    assert_non_null(strstr(lines, "\nfriend.example\tdanelaw:\n"));
}

/* All ways to give each of a few nested patterns no rule, a strict, a lax or an idle one. */
static void postfix_finds_what_ruleset_find_finds(void **state)
{
    static const char *const patterns[] = { "x@a.b.c.example", "a.b.c.example", "*.b.c.example", "b.c.example",
                                            "*.c.example", "y@c.example", "c.example" };
    unsigned combination, rest, i;

    (void)state;
    for (combination = 0; combination < 5 * 5 * 5 * 5 * 5 * 5 * 5; combination += 3) {
        struct ruleset *rules = rules_new();
        AUTO(free) char *lines = NULL;

        for (i = 0, rest = combination; i < COUNT_OF(patterns); i++, rest /= 5) {
            static const enum mode danes[] = { MODE_NONE, MODE_MANDATORY, MODE_OPPORTUNISTIC, MODE_NONE, MODE_NONE };
            static const enum mode stses[] = { MODE_NONE, MODE_NONE, MODE_NONE, MODE_NONE, MODE_MANDATORY };

            if (rest % 5 != 0)
                rules_add(rules, patterns[i], danes[rest % 5], stses[rest % 5], patterns[i]);
        }
        lines = lines_of(ruleset_ref(rules), "");
        expect_agreement(rules, lines);
        ruleset_unref(rules);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern_has_its_key),
        cmocka_unit_test(a_name_is_written_in_both_spellings),
        cmocka_unit_test(everyone_is_never_a_line),
        cmocka_unit_test(no_connectors_make_an_empty_table),
        cmocka_unit_test(smart_hosts_are_a_list_with_ports),
        cmocka_unit_test(a_route_of_the_site_has_the_last_word),
        cmocka_unit_test(a_connector_that_asks_for_nothing_has_no_line),
        cmocka_unit_test(an_exempt_domain_is_shielded_from_a_strict_wildcard),
        cmocka_unit_test(an_exempt_domain_is_shielded_from_a_strict_rule_for_everyone),
        cmocka_unit_test(an_exempt_domain_is_shielded_from_a_wildcards_smart_hosts),
        cmocka_unit_test(senders_cannot_be_seen_so_the_strict_road_takes_all),
        cmocka_unit_test(own_domains_are_kept_from_wildcards),
        cmocka_unit_test(the_stricter_road_takes_what_postfix_cannot_tell_apart),
        cmocka_unit_test(local_parts_are_quoted_as_postfix_asks_for_them),
        cmocka_unit_test(a_lax_user_does_not_open_the_road_for_his_extensions),
        cmocka_unit_test(postfix_finds_what_ruleset_find_finds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
