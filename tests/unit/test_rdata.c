#include "lookup/rdata.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A string literal with its inner NULs, the last one being the root label where the name is whole. */
#define WIRE(text) (const uint8_t *)(text), sizeof(text)
#define CUT(text) (const uint8_t *)(text), sizeof(text) - 1

/* Reads from a block of exactly this size, so that the address sanitizer sees any step past it. */
static enum rdata_name read_name(const uint8_t *bytes, size_t length, struct domain *ret)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length);
    enum rdata_name kind;

    memcpy(copy, bytes, length);
    kind = rdata_name(copy, length, ret);
    free(copy);
    return kind;
}

static void a_name_becomes_lower_case_text(void **state)
{
    struct domain d = { 0 };

    (void)state;
    assert_int_equal(read_name(WIRE("\2MX\7Example\3ORG"), &d), RDATA_NAME_HOST);
    assert_string_equal(d.name, "mx.example.org");
    assert_int_equal(d.length, 14);
    assert_int_equal(read_name(WIRE("\1a"), &d), RDATA_NAME_HOST);
    assert_string_equal(d.name, "a");
    assert_int_equal(read_name(WIRE("\13_in-ner_0-9\1x"), &d), RDATA_NAME_HOST);
    assert_string_equal(d.name, "_in-ner_0-9.x");
}

static void the_root_is_recognised(void **state)
{
    struct domain d;

    (void)state;
    assert_int_equal(read_name(WIRE(""), &d), RDATA_NAME_ROOT);
}

static void a_cut_name_is_bad(void **state)
{
    static const uint8_t whole[] = "\2mx\7example\3org";
    struct domain d;
    size_t length;

    (void)state;
    for (length = 0; length < sizeof(whole); length++)
        assert_int_equal(read_name(whole, length, &d), RDATA_NAME_BAD);
    assert_int_equal(read_name(whole, sizeof(whole), &d), RDATA_NAME_HOST);
}

static void a_name_ends_where_its_data_end(void **state)
{
    struct domain d;

    (void)state;
    assert_int_equal(read_name(WIRE("\2mx\0"), &d), RDATA_NAME_BAD);
    assert_int_equal(read_name(WIRE("\0\2mx"), &d), RDATA_NAME_BAD);
}

static void compression_and_odd_label_types_are_bad(void **state)
{
    struct domain d;

    (void)state;
    assert_int_equal(read_name(CUT("\2mx\300\14"), &d), RDATA_NAME_BAD);
    assert_int_equal(read_name(CUT("\300\0"), &d), RDATA_NAME_BAD);
    assert_int_equal(read_name(WIRE("\100mx"), &d), RDATA_NAME_BAD);
    assert_int_equal(read_name(WIRE("\201mx"), &d), RDATA_NAME_BAD);
}

static void what_is_no_host_name_is_bad(void **state)
{
    static const char *const labels[] = { "\3a.b\1c", "\3a b\1c", "\3a\\b\1c", "\3a\tb\1c", "\3a\x7f" "b\1c", "\3a\xc3" "b\1c",
                                          "\3a@b\1c", "\3a/b\1c", "\1*\1c", "\2\"a\1c" };
    struct domain d;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
        assert_int_equal(read_name((const uint8_t *)labels[i], strlen(labels[i]) + 1, &d), RDATA_NAME_BAD);
    assert_int_equal(read_name(WIRE("\3a\0b\1c"), &d), RDATA_NAME_BAD);
}

/* Labels of 63 octets and a last one, which make a name of `text` characters. */
static size_t make_long(uint8_t *ret, size_t text)
{
    size_t at = 0, left = text;

    while (left > 0) {
        size_t label = left > 63 ? 63 : left;

        ret[at++] = (uint8_t)label;
        memset(ret + at, 'a', label);
        at += label;
        left -= label;
        if (left > 0)
            left--;                 /* the dot */
    }
    ret[at++] = 0;
    return at;
}

static void a_name_has_at_most_253_characters(void **state)
{
    uint8_t wire[600];
    struct domain d;
    size_t length;

    (void)state;
    length = make_long(wire, 253);
    assert_int_equal(length, 255);
    assert_int_equal(read_name(wire, length, &d), RDATA_NAME_HOST);
    assert_int_equal(d.length, 253);
    assert_int_equal(strlen(d.name), 253);
    for (size_t text = 254; text < 500; text++) {
        if (text % 64 == 0)         /* would end in a dot */
            continue;
        length = make_long(wire, text);
        assert_int_equal(read_name(wire, length, &d), RDATA_NAME_BAD);
    }
}

static void an_mx_is_a_preference_and_a_name(void **state)
{
    struct rdata_mx mx;

    (void)state;
    assert_true(rdata_mx(WIRE("\1\2\2mx\1c"), &mx));
    assert_int_equal(mx.preference, 258);
    assert_string_equal(mx.host.name, "mx.c");
    assert_true(rdata_mx(WIRE("\377\377\1c"), &mx));
    assert_int_equal(mx.preference, 65535);
    assert_true(rdata_mx(WIRE("\0\0"), &mx));
    assert_int_equal(mx.host.length, 0);
}

static void a_cut_mx_is_bad_and_leaves_the_result_alone(void **state)
{
    static const uint8_t whole[] = "\0\12\2mx\7example";
    struct rdata_mx mx = { .preference = 77 };
    size_t length;

    (void)state;
    for (length = 0; length < sizeof(whole); length++) {
        uint8_t *copy = malloc(length + (length == 0));

        memcpy(copy, whole, length);
        assert_false(rdata_mx(copy, length, &mx));
        free(copy);
    }
    assert_int_equal(mx.preference, 77);
    assert_int_equal(mx.host.length, 0);
    assert_false(rdata_mx(WIRE("\0\12\3a b"), &mx));
    assert_false(rdata_mx(WIRE("\0\12\2mx\0more"), &mx));
}

static void set_mx(struct rdata_mx *mx, uint16_t preference, const char *name)
{
    *mx = (struct rdata_mx){ .preference = preference };
    assert_true(domain_parse(name, &mx->host, NULL));
}

static void hosts_are_sorted_by_preference_then_name(void **state)
{
    struct rdata_mx list[4];

    (void)state;
    set_mx(&list[0], 20, "a.c");
    set_mx(&list[1], 10, "z.c");
    set_mx(&list[2], 65535, "b.c");
    set_mx(&list[3], 10, "y.c");
    assert_int_equal(rdata_mx_sort(list, 4), 4);
    assert_string_equal(list[0].host.name, "y.c");
    assert_string_equal(list[1].host.name, "z.c");
    assert_string_equal(list[2].host.name, "a.c");
    assert_string_equal(list[3].host.name, "b.c");
}

static void a_host_listed_twice_keeps_its_lowest_preference(void **state)
{
    struct rdata_mx list[5];

    (void)state;
    set_mx(&list[0], 30, "mx.c");
    set_mx(&list[1], 20, "other.c");
    set_mx(&list[2], 10, "MX.c");
    set_mx(&list[3], 20, "other.c");
    set_mx(&list[4], 40, "mx.c");
    assert_int_equal(rdata_mx_sort(list, 5), 2);
    assert_string_equal(list[0].host.name, "mx.c");
    assert_int_equal(list[0].preference, 10);
    assert_string_equal(list[1].host.name, "other.c");
    assert_int_equal(rdata_mx_sort(list, 1), 1);
    assert_int_equal(rdata_mx_sort(list, 0), 0);
}

static void a_tlsa_record_has_three_numbers_and_data(void **state)
{
    static const uint8_t bytes[] = { 3, 1, 2, 0xaa, 0xbb };
    struct dns_tlsa tlsa;

    (void)state;
    assert_true(rdata_tlsa(bytes, sizeof(bytes), &tlsa));
    assert_int_equal(tlsa.usage, 3);
    assert_int_equal(tlsa.selector, 1);
    assert_int_equal(tlsa.matching, 2);
    assert_int_equal(tlsa.length, 2);
    assert_ptr_equal(tlsa.data, bytes + 3);
    assert_true(rdata_tlsa(bytes, 3, &tlsa));
    assert_int_equal(tlsa.length, 0);
}

static void a_cut_or_giant_tlsa_record_is_bad(void **state)
{
    uint8_t *giant = calloc(1, DNS_TLSA_DATA_MAX + 4);
    struct dns_tlsa tlsa = { .usage = 77 };
    size_t length;

    (void)state;
    for (length = 0; length < 3; length++)
        assert_false(rdata_tlsa(giant, length, &tlsa));
    assert_false(rdata_tlsa(giant, DNS_TLSA_DATA_MAX + 4, &tlsa));
    assert_int_equal(tlsa.usage, 77);
    assert_true(rdata_tlsa(giant, DNS_TLSA_DATA_MAX + 3, &tlsa));
    assert_int_equal(tlsa.length, DNS_TLSA_DATA_MAX);
    free(giant);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_becomes_lower_case_text),
        cmocka_unit_test(the_root_is_recognised),
        cmocka_unit_test(a_cut_name_is_bad),
        cmocka_unit_test(a_name_ends_where_its_data_end),
        cmocka_unit_test(compression_and_odd_label_types_are_bad),
        cmocka_unit_test(what_is_no_host_name_is_bad),
        cmocka_unit_test(a_name_has_at_most_253_characters),
        cmocka_unit_test(an_mx_is_a_preference_and_a_name),
        cmocka_unit_test(a_cut_mx_is_bad_and_leaves_the_result_alone),
        cmocka_unit_test(hosts_are_sorted_by_preference_then_name),
        cmocka_unit_test(a_host_listed_twice_keeps_its_lowest_preference),
        cmocka_unit_test(a_tlsa_record_has_three_numbers_and_data),
        cmocka_unit_test(a_cut_or_giant_tlsa_record_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
