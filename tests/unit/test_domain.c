#include "base/domain.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Reads from a block of exactly this size, so that the address sanitizer sees any step past it. */
static bool parse(const char *spoken, struct domain *ret)
{
    char *copy = mem_text(spoken);
    struct fault why = { "" };
    bool good = domain_parse(copy, ret, &why);

    assert_true(good || why.text[0] != '\0');
    free(copy);
    return good;
}

static struct address address(const char *spoken)
{
    char *copy = mem_text(spoken);
    struct address a;

    memset(&a, 0x5a, sizeof(a));
    address_parse(copy, &a);
    free(copy);
    return a;
}

static bool hop(const char *spoken, struct next_hop *ret)
{
    char *copy = mem_text(spoken);
    struct fault why = { "" };
    bool good = next_hop_parse(copy, ret, &why);

    assert_true(good || why.text[0] != '\0');
    free(copy);
    return good;
}

/* `count` copies of a letter. */
static const char *run(char letter, size_t count)
{
    static char turns[16][6000];
    static unsigned turn;
    char *text = turns[turn++ % COUNT_OF(turns)];

    assert_true(count < sizeof(turns[0]));
    memset(text, letter, count);
    text[count] = '\0';
    return text;
}

/* 253 characters, the longest name there is. */
static const char *longest_name(void)
{
    static char name[254];

    snprintf(name, sizeof(name), "%s.%s.%s.%s", run('a', 63), run('b', 63), run('c', 63), run('d', 61));
    assert_int_equal(strlen(name), 253);
    return name;
}

static void a_name_has_one_spelling(void **state)
{
    static const struct {
        const char *spoken, *name;
    } tries[] = {
        { "example.org", "example.org" },
        { "Example.ORG", "example.org" },
        { "example.org.", "example.org" },
        { "a", "a" },
        { "A.", "a" },
        { "_smtp._tls.d-1.example", "_smtp._tls.d-1.example" },
        { "XN--BCHER-KVA.Example", "xn--bcher-kva.example" },
        { "b\u00fccher.example", "xn--bcher-kva.example" },
        { "B\u00dcCHER.Example.", "xn--bcher-kva.example" },
        { "bu\u0308cher.example", "xn--bcher-kva.example" },                /* the same letter in two parts */
        { "fa\u00df.example", "xn--fa-hia.example" },                       /* non-transitional: sharp s stays itself */
        { "\u03b2\u03cc\u03bb\u03bf\u03c2.example", "xn--nxasmm1c.example" },   /* and so does the final sigma */
        { "\u4f8b\u3048\u3002example", "xn--r8jz45g.example" },             /* the ideographic full stop parts labels */
        { "\uff45xample\uff0eorg", "example.org" },                          /* full width */
        { "exa\u00admple.org", "example.org" },                              /* a soft hyphen is nothing */
        { "mx.b\u00fccher.example\u3002", "mx.xn--bcher-kva.example" },
    };
    struct domain d;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        if (!parse(tries[i].spoken, &d))
            fail_msg("\"%s\" is refused", tries[i].spoken);
        assert_string_equal(d.name, tries[i].name);
        assert_int_equal(d.length, strlen(d.name));
        assert_true(parse(d.name, &d));                 /* the spelling is its own */
        assert_string_equal(d.name, tries[i].name);
    }
}

static void what_is_no_name_is_refused(void **state)
{
    static const char *const tries[] = {
        "", ".", "..", "a..b", ".a", "a..", "...", "a b", " a", "a ", "a\tb", "a\nb", "a\rb", "u@d", "a/b", "a,b", "[a]",
        "[192.0.2.1]", "a:25", "*", "*.d.example", "a\x7f", "\x01", "a%b", "a\"b", "a\\b", "<a>",
        "\xff.example", "b\xc3.example", "\xc3\x28.example", "\xed\xa0\x80.example", "\u00ad", "\u3002", "a\u3002\u3002b",
        "\u2100.example", "\u00fc b.example", "\u00fc@d.example", "\u00fc/.example", "\u00fc..example", "\u202e\u00fc.example",
    };
    struct domain d, untouched;
    size_t i;

    (void)state;
    memset(&untouched, 0x5a, sizeof(untouched));
    for (i = 0; i < COUNT_OF(tries); i++) {
        d = untouched;
        if (parse(tries[i], &d))
            fail_msg("try %zu, \"%s\", is taken for \"%s\"", i, tries[i], d.name);
        assert_memory_equal(&d, &untouched, sizeof(d));
    }
}

static void names_and_labels_end_somewhere(void **state)
{
    char name[600];
    struct domain d;

    (void)state;
    assert_true(parse(longest_name(), &d));
    assert_int_equal(d.length, 253);
    snprintf(name, sizeof(name), "%s.", longest_name());
    assert_true(parse(name, &d));
    assert_int_equal(d.length, 253);
    snprintf(name, sizeof(name), "%sx", longest_name());
    assert_false(parse(name, &d));
    assert_true(parse(run('a', 63), &d));
    assert_false(parse(run('a', 64), &d));
    snprintf(name, sizeof(name), "%s.example", run('a', 64));
    assert_false(parse(name, &d));
    assert_false(parse(run('a', 5000), &d));
    snprintf(name, sizeof(name), "\u00fc%s.example", run('a', 63));     /* the A-label is longer than what one sees */
    assert_false(parse(name, &d));
    snprintf(name, sizeof(name), "\u00fc.%s", longest_name());
    assert_false(parse(name, &d));
}

static void u_labels_come_back(void **state)
{
    char wide[300];
    struct domain d;

    (void)state;
    assert_true(parse("mx.B\u00dcCHER.example", &d));
    assert_true(domain_unicode(&d, wide, sizeof(wide)));
    assert_string_equal(wide, "mx.b\u00fccher.example");
    assert_true(parse("fa\u00df.example", &d));
    assert_true(domain_unicode(&d, wide, sizeof(wide)));
    assert_string_equal(wide, "fa\u00df.example");
    assert_true(parse("plain.example", &d));
    assert_false(domain_unicode(&d, wide, sizeof(wide)));
    assert_true(parse("b\u00fccher.example", &d));
    assert_false(domain_unicode(&d, wide, strlen("b\u00fccher.example")));
    assert_true(domain_unicode(&d, wide, strlen("b\u00fccher.example") + 1));
}

static void an_a_label_that_is_no_names_own_has_no_other_spelling(void **state)
{
    static const char *const names[] = { "xn--99999999.example", "xn--a.example", "xn--bch.example", "xn--abc.example",
                                         "xn--fuss-9la.example" };     /* a capital letter: the name of another one */
    struct domain d;
    char wide[300];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
        assert_true(parse(names[i], &d));
        assert_false(domain_unicode(&d, wide, sizeof(wide)));
    }
}

static void a_parent_is_what_stands_behind_the_first_dot(void **state)
{
    struct domain a, b;

    (void)state;
    assert_string_equal(domain_parent("a.b.c"), "b.c");
    assert_string_equal(domain_parent("b.c"), "c");
    assert_null(domain_parent("c"));
    assert_true(parse("A.example.", &a));
    assert_true(parse("a.EXAMPLE", &b));
    assert_true(domain_equal(&a, &b));
    assert_true(parse("a.example.org", &b));
    assert_false(domain_equal(&a, &b));
}

static void an_address_is_read_in_every_form(void **state)
{
    static const struct {
        const char *spoken;
        enum address_kind kind;
        const char *local, *domain;
    } tries[] = {
        { "u@dane.example", ADDRESS_DOMAIN, "u", "dane.example" },
        { "<u@dane.example>", ADDRESS_DOMAIN, "u", "dane.example" },
        { "User+Ext@DANE.Example", ADDRESS_DOMAIN, "User+Ext", "dane.example" },
        { "u@dane.example.", ADDRESS_DOMAIN, "u", "dane.example" },
        { "<@dane.example:u@signed.example>", ADDRESS_DOMAIN, "u", "signed.example" },
        { "@a.example,@b.example:u@signed.example", ADDRESS_DOMAIN, "u", "signed.example" },
        { "u%dane.example@sender.example", ADDRESS_DOMAIN, "u%dane.example", "sender.example" },
        { "dane.example!u@sender.example", ADDRESS_DOMAIN, "dane.example!u", "sender.example" },
        { "a@b@c.example", ADDRESS_DOMAIN, "a@b", "c.example" },
        { "\"a b\"@c.example", ADDRESS_DOMAIN, "a b", "c.example" },
        { "\"a@b.example\"@c.example", ADDRESS_DOMAIN, "a@b.example", "c.example" },
        { "\"a\\\"b\\\\\"@c.example", ADDRESS_DOMAIN, "a\"b\\", "c.example" },
        { "\"plain\"@c.example", ADDRESS_DOMAIN, "plain", "c.example" },
        { "<@r.example:\"a@b\"@c.example>", ADDRESS_DOMAIN, "a@b", "c.example" },
        { "a.b.@c.example", ADDRESS_DOMAIN, "a.b.", "c.example" },
        { "j\u00fcrgen@b\u00fccher.example", ADDRESS_DOMAIN, "j\u00fcrgen", "xn--bcher-kva.example" },
        { "u@XN--BCHER-KVA.example", ADDRESS_DOMAIN, "u", "xn--bcher-kva.example" },
        { "u@[127.0.25.1]", ADDRESS_LITERAL, "u", "127.0.25.1" },
        { "u@[IPv6:2001:DB8::1]", ADDRESS_LITERAL, "u", "ipv6:2001:db8::1" },
        { "<@r.example:u@[192.0.2.1]>", ADDRESS_LITERAL, "u", "192.0.2.1" },
        { "u", ADDRESS_BARE, "u", "" },
        { "<postmaster>", ADDRESS_BARE, "postmaster", "" },
        { "\"a b\"", ADDRESS_BARE, "a b", "" },
        { "", ADDRESS_NULL, "", "" },
        { "<>", ADDRESS_NULL, "", "" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        struct address a = address(tries[i].spoken);

        if (a.kind != tries[i].kind || strcmp(a.local, tries[i].local) != 0 || strcmp(a.domain.name, tries[i].domain) != 0)
            fail_msg("%s is read as kind %d, \"%s\" at \"%s\"", tries[i].spoken, (int)a.kind, a.local, a.domain.name);
        assert_int_equal(a.domain.length, strlen(a.domain.name));
    }
}

static void garbage_is_unusable_and_has_no_domain(void **state)
{
    static const char *const tries[] = {
        "@", "@d.example", "u@", "u@.", "u@d..example", "u@.d.example", "u@d e", "u@d.example ", "u@d.example>",
        "u@[", "u@[]", "u@[192.0.2.1", "u@192.0.2.1]", "u@[192.0.2.1].", "u@[192.0.2.1]x", "\"\"@d.example", "\"a\"b@d.example",
        "\"open@d.example", "\"open", "\"", "\"a\\", "u@\xff\xfe", "u@*", "u@*.d.example", "@a:", "@a:@b", "<@>",
        "u@d/e", "u@d:25", "u@-\n", "u@d\r\n.example",
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        struct address a = address(tries[i]);

        if (a.kind != ADDRESS_UNUSABLE)
            fail_msg("try %zu, %s, is read as kind %d, \"%s\" at \"%s\"", i, tries[i], (int)a.kind, a.local, a.domain.name);
        assert_int_equal(a.domain.length, 0);
        assert_string_equal(a.domain.name, "");
    }
}

static void an_overlong_address_is_unusable(void **state)
{
    char spoken[6000];

    (void)state;
    snprintf(spoken, sizeof(spoken), "%s@%s", run('u', 255), longest_name());
    assert_int_equal(address(spoken).kind, ADDRESS_DOMAIN);
    assert_int_equal(strlen(address(spoken).local), 255);
    snprintf(spoken, sizeof(spoken), "%s@d.example", run('u', 256));
    assert_int_equal(address(spoken).kind, ADDRESS_UNUSABLE);
    snprintf(spoken, sizeof(spoken), "\"%s\"@d.example", run('"', 300));
    assert_int_equal(address(spoken).kind, ADDRESS_UNUSABLE);
    snprintf(spoken, sizeof(spoken), "u@%s", run('d', 5000));
    assert_int_equal(address(spoken).kind, ADDRESS_UNUSABLE);
    snprintf(spoken, sizeof(spoken), "u@[%s]", run('1', 254));
    assert_int_equal(address(spoken).kind, ADDRESS_UNUSABLE);
    assert_int_equal(address(run('u', 5500)).kind, ADDRESS_UNUSABLE);
    assert_int_equal(address(run('@', 5500)).kind, ADDRESS_UNUSABLE);
    assert_int_equal(address(run('"', 1023)).kind, ADDRESS_UNUSABLE);
}

/* Every cut of every form, so that the sanitizers see each end of the text. */
static void no_cut_of_an_address_steps_past_its_end(void **state)
{
    static const char whole[] = "<@a.example,@b.example:\"a \\\"b@c\\\\\"@[IPv6:2001:db8::1]>";
    char spoken[sizeof(whole)];
    size_t first, last;

    (void)state;
    for (first = 0; first < sizeof(whole); first++) {
        for (last = first; last < sizeof(whole); last++) {
            struct address a;

            memcpy(spoken, whole + first, last - first);
            spoken[last - first] = '\0';
            a = address(spoken);
            assert_true(a.kind == ADDRESS_UNUSABLE || a.kind == ADDRESS_NULL || a.local[0] != '\0');
        }
    }
}

static void an_address_is_printed_for_the_log(void **state)
{
    char spoken[600], text[ADDRESS_TEXT_SIZE], small[8];
    struct address a;

    (void)state;
    a = address("<U@Dane.Example.>");
    assert_string_equal(address_print(&a, text, sizeof(text)), "U@dane.example");
    a = address("<>");
    assert_string_equal(address_print(&a, text, sizeof(text)), "");
    a = address("u");
    assert_string_equal(address_print(&a, text, sizeof(text)), "u");
    a = address("u@[192.0.2.1]");
    assert_string_equal(address_print(&a, text, sizeof(text)), "u@[192.0.2.1]");
    a = address("u\r\n\x1b[1m\u00fc@d.example");
    assert_string_equal(address_print(&a, text, sizeof(text)), "u???[1m??@d.example");
    a = address("u@d..example");
    assert_string_equal(address_print(&a, text, sizeof(text)), "u@?");
    snprintf(spoken, sizeof(spoken), "%s@%s", run('u', 255), longest_name());
    a = address(spoken);
    assert_string_equal(address_print(&a, text, sizeof(text)), spoken);
    assert_string_equal(address_print(&a, small, sizeof(small)), "uuuuuuu");
}

static void what_is_printed_is_read_back(void **state)
{
    static const char *const tries[] = { "u@d.example", "", "u", "u@[192.0.2.1]", "U+e@xn--bcher-kva.example", "a@b@c.example" };
    char text[ADDRESS_TEXT_SIZE];
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        struct address a = address(tries[i]), b = address(address_print(&a, text, sizeof(text)));

        assert_int_equal(a.kind, b.kind);
        assert_string_equal(a.local, b.local);
        assert_true(domain_equal(&a.domain, &b.domain));
    }
}

static void a_local_part_folds_in_ascii_only(void **state)
{
    struct address a = address("ABCxyz+EXT{[\u00dc@d.example");
    char folded[ADDRESS_LOCAL_SIZE];

    (void)state;
    address_fold_local(&a, folded);
    assert_string_equal(folded, "abcxyz+ext{[\u00dc");
    a = address("<>");
    address_fold_local(&a, folded);
    assert_string_equal(folded, "");
}

static void a_next_hop_is_read_in_every_spelling(void **state)
{
    static const struct {
        const char *spoken, *key;
    } tries[] = {
        { "d.example", "d.example" },
        { "D.Example", "d.example" },
        { "d.example.", "d.example" },
        { "d.example:25", "d.example" },
        { "d.example:smtp", "d.example" },
        { "d.example.:587", "d.example:587" },
        { "d.example:submission", "d.example:587" },
        { "d.example:0587", "d.example:587" },
        { "b\u00fccher.example", "xn--bcher-kva.example" },
        { "B\u00dcCHER.example:2525", "xn--bcher-kva.example:2525" },
        { "[mx.d.example]", "[mx.d.example]" },
        { "[MX.d.example.]", "[mx.d.example]" },
        { "[mx.d.example]:25", "[mx.d.example]" },
        { "[mx.d.example]:65535", "[mx.d.example]:65535" },
        { "[b\u00fccher.example]:1", "[xn--bcher-kva.example]:1" },
        { "[192.0.2.1]", "[192.0.2.1]" },
        { "[192.0.2.1]:26", "[192.0.2.1]:26" },
        { "[IPv6:2001:DB8:0::1]", "[2001:db8::1]" },
        { "[2001:db8::1]:587", "[2001:db8::1]:587" },
        { "[ipv6:::1]", "[::1]" },
    };
    char key[NEXT_HOP_TEXT_SIZE], again[NEXT_HOP_TEXT_SIZE];
    struct next_hop h, back;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        if (!hop(tries[i].spoken, &h))
            fail_msg("%s is refused", tries[i].spoken);
        assert_string_equal(next_hop_print(&h, key), tries[i].key);
        assert_int_equal(h.host.length, strlen(h.host.name));
        assert_int_equal(h.bracketed, tries[i].spoken[0] == '[');
        assert_true(hop(key, &back));
        assert_string_equal(next_hop_print(&back, again), key);
        assert_true(h.port == back.port && h.literal == back.literal && h.bracketed == back.bracketed);
    }
}

static void only_an_address_in_brackets_is_a_literal(void **state)
{
    struct next_hop h;

    (void)state;
    assert_true(hop("[192.0.2.1]", &h));
    assert_true(h.literal && h.bracketed);
    assert_true(hop("[IPv6:2001:db8::1]", &h));
    assert_true(h.literal && h.bracketed);
    assert_true(hop("[mx.d.example]", &h));
    assert_true(!h.literal && h.bracketed);
    assert_true(hop("d.example", &h));
    assert_true(!h.literal && !h.bracketed);
    assert_int_equal(h.port, 25);
    assert_true(hop("[192.0.2.1.]", &h));                   /* one key, whatever its spelling */
    assert_true(h.literal && h.bracketed);
    assert_string_equal(h.host.name, "192.0.2.1");
    assert_true(hop("[\uff11\uff192.0.2.1]", &h));
    assert_true(h.literal && h.bracketed);
}

static void what_is_no_next_hop_is_refused(void **state)
{
    static const char *const tries[] = {
        "", ".", ".d.example", ":25", ":", "[]", "[", "]", "[d.example", "d.example]", "[d.example]x", "[d.example]25",
        "d.example:", "[d.example]:", "d.example:0", "d.example:65536", "d.example:-1", "d.example:+25", "d.example: 25",
        "d.example:25 ", "d.example:25:25", "d.example:x", "d.example:4294967321", "2001:db8::1", "[d example]", "[[d.example]]",
        "[IPv6:d.example]", "[IPv6:192.0.2.1.5]", "[2001:db8::g]", "u@d.example", "d..example", "[.d.example]", "d.example\n",
        "d.example,e.example", "inet:d.example", "*", "\xff",
    };
    struct next_hop h, untouched;
    size_t i;

    (void)state;
    memset(&untouched, 0x5a, sizeof(untouched));
    for (i = 0; i < COUNT_OF(tries); i++) {
        h = untouched;
        if (hop(tries[i], &h))
            fail_msg("try %zu, %s, is taken for \"%s\"", i, tries[i], h.host.name);
        assert_memory_equal(&h, &untouched, sizeof(h));
    }
    assert_false(hop(run('d', 5000), &h));
    assert_false(hop(run('[', 5000), &h));
    assert_false(hop(run('9', 5000), &h));
}

static void the_longest_next_hop_fits(void **state)
{
    char spoken[400], key[NEXT_HOP_TEXT_SIZE];
    struct next_hop h;

    (void)state;
    snprintf(spoken, sizeof(spoken), "[%s.]:65535", longest_name());
    assert_true(hop(spoken, &h));
    snprintf(spoken, sizeof(spoken), "[%s]:65535", longest_name());
    assert_string_equal(next_hop_print(&h, key), spoken);
}

static void mail_goes_to_its_own_domain(void **state)
{
    char key[NEXT_HOP_TEXT_SIZE];
    struct next_hop h;
    struct domain d;

    (void)state;
    assert_true(parse("d.example", &d));
    h = next_hop_of(&d);
    assert_true(h.port == 25 && !h.bracketed && !h.literal);
    assert_string_equal(next_hop_print(&h, key), "d.example");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_has_one_spelling),
        cmocka_unit_test(what_is_no_name_is_refused),
        cmocka_unit_test(names_and_labels_end_somewhere),
        cmocka_unit_test(u_labels_come_back),
        cmocka_unit_test(an_a_label_that_is_no_names_own_has_no_other_spelling),
        cmocka_unit_test(a_parent_is_what_stands_behind_the_first_dot),
        cmocka_unit_test(an_address_is_read_in_every_form),
        cmocka_unit_test(garbage_is_unusable_and_has_no_domain),
        cmocka_unit_test(an_overlong_address_is_unusable),
        cmocka_unit_test(no_cut_of_an_address_steps_past_its_end),
        cmocka_unit_test(an_address_is_printed_for_the_log),
        cmocka_unit_test(what_is_printed_is_read_back),
        cmocka_unit_test(a_local_part_folds_in_ascii_only),
        cmocka_unit_test(a_next_hop_is_read_in_every_spelling),
        cmocka_unit_test(only_an_address_in_brackets_is_a_literal),
        cmocka_unit_test(what_is_no_next_hop_is_refused),
        cmocka_unit_test(the_longest_next_hop_fits),
        cmocka_unit_test(mail_goes_to_its_own_domain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
