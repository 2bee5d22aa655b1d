#include "server/sendmail.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What was read lives in here until the next key. */
static char key[4096];
static struct sendmail_question q;
static struct fault why;

static bool parses(const char *written)
{
    snprintf(key, sizeof(key), "%s", written);
    why.text[0] = '\0';
    return sendmail_parse(key, &q, &why);
}

static const char *to(void)
{
    static char shown[ADDRESS_TEXT_SIZE];

    return address_print(&q.to, shown, sizeof(shown));
}

static const char *from(void)
{
    static char shown[ADDRESS_TEXT_SIZE];

    return address_print(&q.from, shown, sizeof(shown));
}

static void a_route_has_three_parts(void **state)
{
    (void)state;
    assert_true(parses("route<bo@bank.example><al@home.example><6ALMswl5027737>"));
    assert_false(q.at_gate);
    assert_string_equal(to(), "bo@bank.example");
    assert_string_equal(from(), "al@home.example");
    assert_string_equal(q.queue_id, "6ALMswl5027737");
    assert_string_equal(q.fingerprint, "");
    assert_true(parses("route<bo@bank.example><><>"));
    assert_int_equal(q.from.kind, ADDRESS_NULL);
    assert_string_equal(q.queue_id, "");
}

static void a_gate_has_eight(void **state)
{
    (void)state;
    assert_true(parses("gate<bo@bank.example><><6ALMswl5027737><OK><mx.bank.example.><10.77.1.12><TLSv1.3><09:A7>"));
    assert_true(q.at_gate);
    assert_string_equal(q.server_name, "mx.bank.example.");
    assert_string_equal(q.server_addr, "10.77.1.12");
    assert_string_equal(q.tls_version, "TLSv1.3");
    assert_string_equal(q.fingerprint, "09:A7");
    assert_true(parses("gate<bo@bank.example><><6ALMswl5027737><NONE><[10.77.1.12]><IPv6:2001:db8::1><><>"));
    assert_string_equal(q.server_name, "[10.77.1.12]");
    assert_string_equal(q.tls_version, "");
}

static void blanks_between_tokens_do_not_count(void **state)
{
    (void)state;
    assert_true(parses(" route < bo @ bank . example > <  > < 6ALMswl5027737 > "));
    assert_string_equal(to(), "bo@bank.example");
    assert_int_equal(q.from.kind, ADDRESS_NULL);
    assert_string_equal(q.queue_id, "6ALMswl5027737");
    assert_true(parses("route< < bo@bank.example > >< < > ><6ALMswl5027737>"));
    assert_string_equal(to(), "bo@bank.example");
    assert_int_equal(q.from.kind, ADDRESS_NULL);
}

static void an_address_may_bring_its_own_brackets(void **state)
{
    (void)state;
    assert_true(parses("route<<bo@bank.example>><<>><6ALMswl5027737>"));
    assert_string_equal(to(), "bo@bank.example");
    assert_int_equal(q.from.kind, ADDRESS_NULL);
    assert_true(parses("route<\"bo<b \\\" >\"@bank.example><><6ALMswl5027737>"));
    assert_int_equal(q.to.kind, ADDRESS_DOMAIN);
    assert_string_equal(q.to.local, "bo<b \" >");
    assert_string_equal(q.to.domain.name, "bank.example");
    assert_true(parses("route<@relay.example:bo@bank.example.><><6ALMswl5027737>"));
    assert_string_equal(to(), "bo@bank.example");
}

/* To Sendmail what stands behind a backslash is a letter, also outside quotes; or a sender and a recipient could make up parts. */
static void an_escaped_bracket_or_quote_parts_nothing(void **state)
{
    (void)state;
    assert_true(parses("route<a\\>b\\<c@bank.example><f\\>@home.example><>"));
    assert_string_equal(to(), "a\\>b\\<c@bank.example");
    assert_string_equal(q.from.domain.name, "home.example");
    assert_true(parses("route<a\\\"b@bank.example><\"@nobody.example><s\\\"y\\\"\"@home.example><6ALMswl5027737>"));
    assert_string_equal(q.to.domain.name, "bank.example");
    assert_string_equal(q.from.domain.name, "home.example");
    assert_string_equal(q.queue_id, "6ALMswl5027737");
    assert_true(parses("route<a\\ b @ bank . example><><>"));
    assert_string_equal(q.to.domain.name, "bank.example");
}

/* Only addresses have brackets of their own: whoever names a host can't write other parts. */
static void a_host_that_is_named_like_parts_is_garbage(void **state)
{
    (void)state;
    assert_false(parses("gate<u@d><><i><><mx.d<x>><192.0.2.1><><>"));
    assert_false(parses("gate<u@d><><i<x>><><mx.d><192.0.2.1><><>"));
}

/* Or a long name would lead mandatory mail past its rule. */
static void an_address_beyond_us_still_has_its_domain(void **state)
{
    char written[1024], local[400];

    (void)state;
    memset(local, 'a', sizeof(local));
    local[sizeof(local) - 1] = '\0';
    snprintf(written, sizeof(written), "route<%s@bank.example><<%s@home.example>><6ALMswl5027737>", local, local);
    assert_true(parses(written));
    assert_int_equal(q.to.kind, ADDRESS_DOMAIN);
    assert_string_equal(q.to.domain.name, "bank.example");
    assert_int_equal(q.from.kind, ADDRESS_DOMAIN);
    assert_string_equal(q.from.domain.name, "home.example");
}

/* The rules have asked since its domain, as they read it, has a connector: nobody can say that it may pass. */
static void a_recipient_whose_domain_is_beyond_us_is_garbage(void **state)
{
    (void)state;
    assert_false(parses("route<bo@.bank.example><al@home.example><>"));
    assert_false(parses("gate<bo@bank..example><><i><><mx.bank.example><192.0.2.1><><>"));
    assert_string_equal(why.text, "a recipient that can not be read");
    assert_true(parses("route<bo@bank.example><al@.home.example><>"));
    assert_int_equal(q.from.kind, ADDRESS_UNUSABLE);
    assert_true(parses("route<bo><al><>"));
    assert_true(parses("route<><al><>"));
}

static void garbage_is_refused(void **state)
{
    static const char *const garbage[] = {
        "", " ", "route", "gate", "route<u@d>", "route<u@d><>", "route<u@d><><><>", "route<u@d><><>x", "route<u@d><><",
        "route<u@d<><><>", "route<u@d>>><><>", "gate<u@d><><>", "gate<u@d><><><><><><><><>", "gate<u@d><><><><><><>",
        "ROUTE<u@d><><>", "lookup<u@d><><>", "routes<u@d><><>", "route(u@d)<><>", "route<u d@bank.example><><>",
        "route<u@d><><a\nb>", "route<u\t@d><><>", "route<\"u@d><><>", "gate<u@d><>\"<><><><><><>",
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(garbage); i++) {
        if (parses(garbage[i]))
            fail_msg("\"%s\" is taken", garbage[i]);
        assert_true(why.text[0] != '\0');
    }
}

static void only_what_rules_can_take_is_answered(void **state)
{
    static const char *const bad[] = { "", "a b@c", "$#error", "<TMPF>", "a,b", "\"a\"", "(a)", "a;b", "100%", "a\nb", "\xc3\xa4" };
    size_t i;

    (void)state;
    assert_true(sendmail_is_sound(NULL));
    assert_true(sendmail_is_sound("pass"));
    assert_true(sendmail_is_sound("danesmtp:[a.example]:[IPv6:2001:db8::1]"));
    assert_true(sendmail_is_sound("error:4.7.5:451 tlsa-invalid: mx.bank.example does not offer STARTTLS"));
    for (i = 0; i < COUNT_OF(bad); i++)
        assert_false(sendmail_is_sound(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_has_three_parts),
        cmocka_unit_test(a_gate_has_eight),
        cmocka_unit_test(blanks_between_tokens_do_not_count),
        cmocka_unit_test(an_address_may_bring_its_own_brackets),
        cmocka_unit_test(an_escaped_bracket_or_quote_parts_nothing),
        cmocka_unit_test(a_host_that_is_named_like_parts_is_garbage),
        cmocka_unit_test(an_address_beyond_us_still_has_its_domain),
        cmocka_unit_test(a_recipient_whose_domain_is_beyond_us_is_garbage),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(only_what_rules_can_take_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
