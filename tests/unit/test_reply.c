#include "policy/reply.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_sentence_is_the_contracts(void **state)
{
    struct connector bank = { .name = "Contoso Bank" };
    struct reply r;

    (void)state;
    reply_hold(REASON_DANE_REQUIRED, &bank, "contoso-bank.example", &r);
    assert_string_equal(r.code, "451");
    assert_string_equal(r.enhanced, "4.7.5");
    assert_string_equal(r.text, "dane-required: contoso-bank.example publishes no usable DANE records, and the connector "
                                "\"Contoso Bank\" requires them");
}

static void each_reason_has_its_code_and_its_sentence(void **state)
{
    static const struct {
        enum reason reason;
        const char *word, *enhanced;
    } tries[] = {
        { REASON_DANE_REQUIRED, "dane-required", "4.7.5" },     { REASON_DNSSEC_INVALID, "dnssec-invalid", "4.7.5" },
        { REASON_TLSA_INVALID, "tlsa-invalid", "4.7.5" },       { REASON_STS_REQUIRED, "sts-required", "4.7.5" },
        { REASON_STS_MX_MISMATCH, "sts-mx-mismatch", "4.7.5" }, { REASON_STS_FETCH_ERROR, "sts-fetch-error", "4.7.5" },
        { REASON_DNS_TEMP, "dns-temp", "4.4.3" },               { REASON_INTERNAL, "internal", "4.3.0" },
    };
    struct connector bank = { .name = "Bank" };
    char sentences[COUNT_OF(tries)][REPLY_TEXT_MAX + 1];
    struct reply r;
    size_t i, j;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        enum reason back;
        char start[64];

        reply_hold(tries[i].reason, &bank, "bank.example", &r);
        assert_string_equal(r.code, "451");
        assert_string_equal(r.enhanced, tries[i].enhanced);
        snprintf(start, sizeof(start), "%s: ", tries[i].word);
        assert_memory_equal(r.text, start, strlen(start));
        assert_non_null(strstr(r.text, "bank.example"));
        assert_non_null(strstr(r.text, "\"Bank\""));
        strcpy(sentences[i], r.text + strlen(start));
        for (j = 0; j < i; j++)
            assert_string_not_equal(sentences[i], sentences[j]);
        assert_string_equal(reason_word(tries[i].reason), tries[i].word);
        assert_true(reason_parse(tries[i].word, &back));
        assert_int_equal(back, tries[i].reason);
    }
}

static void forgotten_memory_says_internal(void **state)
{
    struct connector bank = { .name = "Bank" };
    struct reply r;

    (void)state;
    reply_hold((enum reason)0, &bank, "bank.example", &r);
    assert_string_equal(r.enhanced, "4.3.0");
    reply_hold(REASON_NONE, &bank, "bank.example", &r);         /* nobody should ask, but a reply it is */
    assert_string_equal(r.code, "451");
    assert_memory_equal(r.text, "internal: ", 10);
    reply_hold((enum reason)99, &bank, "bank.example", &r);
    assert_string_equal(r.code, "451");
    assert_string_equal(r.enhanced, "4.3.0");
}

static void check_line(const struct reply *r)
{
    size_t length = strlen(r->text), i;

    assert_true(length <= 400);
    for (i = 0; i < length; i++)
        assert_true(r->text[i] >= 0x20 && r->text[i] < 0x7f);
}

static void a_reply_is_one_short_line_of_ascii(void **state)
{
    static const char *const names[] = { "", "Bank\r\n250 2.1.5 Ok", "\u00dcberweisungen", "\x01\x7f\xff\t", "%s%n%1$s%%" };
    char long_name[2000], domain[254];
    struct connector c = { 0 };
    struct reply r;
    int reason;
    size_t i;

    (void)state;
    memset(long_name, '%', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    memset(domain, 'd', sizeof(domain) - 1);
    domain[sizeof(domain) - 1] = '\0';
    for (reason = 0; reason <= REASON_DNS_TEMP; reason++) {
        for (i = 0; i < COUNT_OF(names); i++) {
            c.name = names[i];
            reply_hold((enum reason)reason, &c, "bank.example", &r);
            check_line(&r);
            reply_hold((enum reason)reason, &c, domain, &r);
            check_line(&r);
        }
        c.name = long_name;
        reply_hold((enum reason)reason, &c, domain, &r);
        check_line(&r);
        assert_true(strlen(r.text) > 300);                      /* cut, not lost */
    }
}

static void strangers_letters_are_question_marks(void **state)
{
    struct connector c = { .name = "\u00dcber\r\nBank" };
    struct reply r;

    (void)state;
    reply_hold(REASON_DANE_REQUIRED, &c, "bank.example", &r);
    assert_non_null(strstr(r.text, "\"??ber??Bank\""));
}

/* The door that speaks to libmilter doubles it. */
static void a_percent_sign_stays_one(void **state)
{
    struct connector c = { .name = "100% %s Bank" };
    struct reply r;

    (void)state;
    reply_hold(REASON_STS_REQUIRED, &c, "bank.example", &r);
    assert_non_null(strstr(r.text, "\"100% %s Bank\""));
}

static void our_own_trouble_is_not_blamed_on_the_partner(void **state)
{
    struct connector c = { .name = "Bank" };
    struct reply r;

    (void)state;
    reply_resolver(&c, "bank.example", &r);
    assert_string_equal(r.code, "451");
    assert_string_equal(r.enhanced, "4.4.3");
    assert_string_equal(r.text, "dns-temp: our own resolver can prove nothing about bank.example at the moment; connector \"Bank\"");
}

static void after_the_hold_the_reply_is_permanent_and_says_after_how_long(void **state)
{
    struct connector bank = { .name = "Contoso Bank", .hold = 24 * 60 * 60 };
    struct reply r;

    (void)state;
    reply_hold(REASON_DANE_REQUIRED, &bank, "contoso-bank.example", &r);
    reply_give_up(REASON_DANE_REQUIRED, &bank, &r);
    assert_string_equal(r.code, "550");
    assert_string_equal(r.enhanced, "5.7.5");
    assert_string_equal(r.text, "dane-required: given up after 24 h: contoso-bank.example publishes no usable DANE records, and "
                                "the connector \"Contoso Bank\" requires them");
}

static void each_reason_has_its_permanent_code(void **state)
{
    struct connector bank = { .name = "Bank", .hold = 90 };
    struct reply r;
    int reason;

    (void)state;
    for (reason = REASON_DANE_REQUIRED; reason <= REASON_DNS_TEMP; reason++) {
        reply_hold((enum reason)reason, &bank, "bank.example", &r);
        reply_give_up((enum reason)reason, &bank, &r);
        assert_string_equal(r.code, "550");
        assert_string_equal(r.enhanced, reason == REASON_DNS_TEMP ? "5.4.7" : "5.7.5");
        assert_memory_equal(r.text, reason_word((enum reason)reason), strlen(reason_word((enum reason)reason)));
        assert_non_null(strstr(r.text, ": given up after 90 s: "));
    }
    reply_resolver(&bank, "bank.example", &r);
    reply_give_up(REASON_DNS_TEMP, &bank, &r);
    assert_string_equal(r.enhanced, "5.4.7");
    assert_non_null(strstr(r.text, "dns-temp: given up after 90 s: our own resolver"));
}

static void our_own_fault_stays_temporary(void **state)
{
    static const enum reason ours[] = { REASON_INTERNAL, REASON_NONE, (enum reason)99 };
    struct connector bank = { .name = "Bank", .hold = 90 };
    struct reply r;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(ours); i++) {
        reply_hold(ours[i], &bank, "bank.example", &r);
        reply_give_up(ours[i], &bank, &r);
        assert_string_equal(r.code, "451");
        assert_string_equal(r.enhanced, "4.3.0");
        assert_null(strstr(r.text, "given up"));
    }
}

static void spans_are_told_in_the_largest_unit_that_fits(void **state)
{
    static const struct {
        uint32_t hold;
        const char *words;
    } tries[] = { { 1, "after 1 s:" },         { 8, "after 8 s:" },        { 60, "after 60 s:" },    { 61, "after 61 s:" },
                  { 120, "after 2 min:" },     { 3600, "after 60 min:" },  { 7200, "after 2 h:" },   { 5400, "after 90 min:" },
                  { 86400, "after 24 h:" },    { 172800, "after 2 d:" },   { UINT32_MAX, "after 4294967295 s:" } };
    struct connector c = { .name = "Bank" };
    struct reply r;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        c.hold = tries[i].hold;
        reply_hold(REASON_STS_REQUIRED, &c, "bank.example", &r);
        reply_give_up(REASON_STS_REQUIRED, &c, &r);
        assert_non_null(strstr(r.text, tries[i].words));
    }
}

static void the_longest_permanent_reply_is_one_line_too(void **state)
{
    struct connector c = { .hold = UINT32_MAX - 1 };
    char long_name[2000], domain[254];
    struct reply r;
    int reason;

    (void)state;
    memset(long_name, '%', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    memset(domain, 'd', sizeof(domain) - 1);
    domain[sizeof(domain) - 1] = '\0';
    c.name = long_name;
    for (reason = 0; reason <= REASON_DNS_TEMP; reason++) {
        reply_hold((enum reason)reason, &c, domain, &r);
        reply_give_up((enum reason)reason, &c, &r);
        check_line(&r);
        assert_true(strlen(r.text) > 300);
    }
}

static void a_plain_reply_has_nothing_that_rules_could_take_for_theirs(void **state)
{
    struct connector c = { .name = "A,b (c) <d@e> $#error $| 100% [f] \"g\" 'h' \\i;j{k}" };
    char semicolons[2000];
    struct reply r;

    (void)state;
    reply_hold(REASON_DANE_REQUIRED, &c, "bank.example", &r);
    reply_plain(&r);
    assert_string_equal(r.text, "dane-required: bank.example publishes no usable DANE records and the connector "
                                "Ab c d_e __error __ 100_ f g h _i -j_k_ requires them");
    memset(semicolons, ';', sizeof(semicolons) - 1);
    semicolons[sizeof(semicolons) - 1] = '\0';
    reply_words(REASON_TLSA_INVALID, semicolons, &r);
    reply_plain(&r);
    assert_in_range(strlen(r.text), 300, REPLY_TEXT_MAX);
    assert_null(strchr(r.text, ';'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sentence_is_the_contracts),
        cmocka_unit_test(each_reason_has_its_code_and_its_sentence),
        cmocka_unit_test(forgotten_memory_says_internal),
        cmocka_unit_test(a_reply_is_one_short_line_of_ascii),
        cmocka_unit_test(strangers_letters_are_question_marks),
        cmocka_unit_test(a_percent_sign_stays_one),
        cmocka_unit_test(our_own_trouble_is_not_blamed_on_the_partner),
        cmocka_unit_test(after_the_hold_the_reply_is_permanent_and_says_after_how_long),
        cmocka_unit_test(each_reason_has_its_permanent_code),
        cmocka_unit_test(our_own_fault_stays_temporary),
        cmocka_unit_test(spans_are_told_in_the_largest_unit_that_fits),
        cmocka_unit_test(the_longest_permanent_reply_is_one_line_too),
        cmocka_unit_test(a_plain_reply_has_nothing_that_rules_could_take_for_theirs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
