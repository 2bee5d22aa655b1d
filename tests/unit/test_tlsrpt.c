#include "policy/tlsrpt.h"

#include "base/memory.h"
#include "base/text.h"
#include "policy/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bool parse(const char *first, const char *second, size_t *ret_index, struct fault *why)
{
    const char *records[] = { first, second };
    size_t lengths[] = { strlen(first), second == NULL ? 0 : strlen(second) };

    return tlsrpt_parse(records, lengths, second == NULL ? 1 : 2, ret_index, why);
}

static void valid_records_are_read(void **state)
{
    static const char *const valid[] = {
        "v=TLSRPTv1;rua=mailto:reports@example.com",
        "v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt",
        "v=TLSRPTv1; rua=mailto:a@example.com,https://b.example/",
        "v=TLSRPTv1; rua=mailto:a@example.com , mailto:b@example.com;",
        "v=TLSRPTv1;\trua=mailto:a@example.com ; x-1=y",
        "v=TLSRPTv1; x.y_z=a:b; rua=mailto:a@example.com; ",
        "v=TLSRPTv1; rua=mailto:a@example.com?subject=x%2Cy",
        "v=TLSRPTv1; rua=tel:+47,mailto:a@example.com",
    };
    struct fault why;
    size_t index, i;

    (void)state;
    for (i = 0; i < COUNT_OF(valid); i++) {
        if (!parse(valid[i], NULL, &index, &why))
            fail_msg("%s: %s", valid[i], why.text);
    }
}

static void others_are_not(void **state)
{
    static const char *const invalid[] = {
        "", "v=TLSRPTv1", "v=TLSRPTv1;", "v=TLSRPTv1 ; rua=mailto:a@example.com", "v=TLSRPTv2; rua=mailto:a@example.com",
        " v=TLSRPTv1; rua=mailto:a@example.com", "v=tlsrptv1; rua=mailto:a@example.com",
        "v=TLSRPTv1; RUA=mailto:a@example.com", "v=TLSRPTv1; rua=", "v=TLSRPTv1; rua=mailto:", "v=TLSRPTv1; rua=a@example.com",
        "v=TLSRPTv1; rua=tel:+47", "v=TLSRPTv1; rua=mailto:a@example.com,", "v=TLSRPTv1; rua=mailto:a b@example.com",
        "v=TLSRPTv1; rua=mailto:a!b@example.com", "v=TLSRPTv1;; rua=mailto:a@example.com",
        "v=TLSRPTv1; rua=mailto:a@example.com;;", "v=TLSRPTv1; rua=mailto:a@example.com; x", "v=TLSRPTv1; rua=mailto:a@x; -x=y",
        "v=TLSRPTv1; rua=mailto:a@example.com; x=", "v=TLSRPTv1; rua=mailto:a@example.com; x=a=b",
        "v=TLSRPTv1; rua=mailto:a@example.com; abcdefghijklmnopqrstuvwxyz0123456=y", "v=TLSRPTv1; rua=mailto:\xc3\xa6@example.com",
    };
    struct fault why;
    size_t index, i;

    (void)state;
    for (i = 0; i < COUNT_OF(invalid); i++) {
        why.text[0] = '\0';
        if (parse(invalid[i], NULL, &index, &why))
            fail_msg("%s", invalid[i]);
        assert_true(why.text[0] != '\0');
    }
}

static void a_zero_octet_is_no_end(void **state)
{
    static const char record[] = "v=TLSRPTv1; rua=mailto:a@example.com\0; x";
    const char *records[] = { record };
    size_t lengths[] = { sizeof(record) - 1 }, index;

    (void)state;
    assert_false(tlsrpt_parse(records, lengths, 1, &index, NULL));
}

static void exactly_one_record_must_be_ours(void **state)
{
    static const char ours[] = "v=TLSRPTv1; rua=mailto:a@example.com";
    struct fault why;
    size_t index;

    (void)state;
    assert_true(parse("v=spf1 -all", ours, &index, &why));
    assert_int_equal(index, 1);
    assert_false(parse(ours, ours, &index, &why));
    assert_false(parse(ours, "v=TLSRPTv1;", &index, &why));
    assert_false(tlsrpt_parse(NULL, NULL, 0, &index, &why));
}

static void join_is(const char *data, size_t length, size_t ceiling, const char *expected)
{
    struct text joined;
    bool good;

    text_init(&joined, ceiling);
    good = dns_txt_join((const uint8_t *)data, length, &joined);
    assert_int_equal(good, expected != NULL);
    if (good)
        assert_string_equal(text_words(&joined), expected);
    text_done(&joined);
}

static void character_strings_are_joined_as_they_are(void **state)
{
    (void)state;
    join_is("\3abc", 4, 100, "abc");
    join_is("\3ab \0\2cd", 8, 100, "ab cd");
    join_is("", 0, 100, "");
    join_is("\4abc", 4, 100, NULL);
    join_is("\3abc\1", 5, 100, NULL);
    join_is("\3abc\3def", 8, 5, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_records_are_read),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(a_zero_octet_is_no_end),
        cmocka_unit_test(exactly_one_record_must_be_ours),
        cmocka_unit_test(character_strings_are_joined_as_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
