#include "base/text.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_empty_text_has_words(void **state)
{
    struct text t;
    char *given;

    (void)state;
    text_init(&t, 10);
    assert_string_equal(text_words(&t), "");
    given = text_give(&t);
    assert_string_equal(given, "");
    free(given);
    text_done(&t);
}

static void text_grows_up_to_its_ceiling(void **state)
{
    struct text t;

    (void)state;
    text_init(&t, 10);
    assert_true(text_put(&t, "12345"));
    assert_true(text_print(&t, "%d", 6789));
    assert_string_equal(text_words(&t), "123456789");
    assert_false(t.full);
    assert_true(text_add(&t, "0", 1));
    assert_string_equal(text_words(&t), "1234567890");
    assert_false(t.full);
    assert_true(text_add(&t, "", 0));
    assert_false(text_add(&t, "x", 1));
    assert_true(t.full);
    assert_string_equal(text_words(&t), "1234567890");
    text_done(&t);
}

static void a_full_text_stays_as_it_is(void **state)
{
    struct text t;

    (void)state;
    text_init(&t, 10);
    assert_true(text_put(&t, "secure"));
    assert_false(text_put(&t, " match=mx.d"));
    assert_string_equal(text_words(&t), "secure");
    assert_false(text_put(&t, "x"));                    /* it would fit, but what stood before it is missing */
    assert_false(text_print(&t, "%s", "x"));
    assert_string_equal(text_words(&t), "secure");
    assert_int_equal(t.length, 6);
    text_done(&t);
    assert_false(t.full);
    assert_true(text_put(&t, "0123456789"));            /* the ceiling is still there */
    assert_false(text_put(&t, "x"));
    text_done(&t);

    text_init(&t, 0);
    assert_false(text_put(&t, "x"));
    assert_string_equal(text_words(&t), "");
    text_done(&t);
}

static void a_huge_addition_is_refused_without_being_read(void **state)
{
    struct text t;

    (void)state;
    text_init(&t, 100);
    assert_true(text_put(&t, "a"));
    assert_false(text_add(&t, "b", SIZE_MAX));
    assert_string_equal(text_words(&t), "a");
    text_done(&t);
}

static void bytes_may_hold_nul(void **state)
{
    struct text t;

    (void)state;
    text_init(&t, 100);
    assert_true(text_add(&t, "a\0b", 3));
    assert_int_equal(t.length, 3);
    assert_memory_equal(t.bytes, "a\0b", 4);
    text_done(&t);
}

static void many_small_pieces_make_a_large_text(void **state)
{
    struct text t;
    char *given;
    unsigned i;

    (void)state;
    text_init(&t, 1024 * 1024);
    for (i = 0; i < 10000; i++)
        assert_true(text_print(&t, "%05u,", i));
    assert_int_equal(t.length, 60000);
    assert_int_equal(strlen(text_words(&t)), 60000);
    assert_memory_equal(t.bytes + 6 * 9999, "09999,", 7);
    given = text_give(&t);
    assert_int_equal(strlen(given), 60000);
    free(given);
    assert_string_equal(text_words(&t), "");
    assert_true(text_put(&t, "anew"));
    assert_string_equal(text_words(&t), "anew");
    text_done(&t);
}

static void strangers_bytes_become_printable(void **state)
{
    char all[257], out[257];
    int i;

    (void)state;
    for (i = 1; i < 256; i++)
        all[i - 1] = (char)i;
    all[255] = '\0';
    assert_ptr_equal(text_printable(all, false, out, sizeof(out)), out);
    assert_int_equal(strlen(out), 255);
    for (i = 1; i < 256; i++)
        assert_int_equal(out[i - 1], i >= 0x20 && i < 0x7f ? i : '?');
    text_printable(all, true, out, sizeof(out));
    assert_int_equal(out['"' - 1], '?');
    assert_int_equal(out['\\' - 1], '?');
    assert_int_equal(out['a' - 1], 'a');
    assert_string_equal(text_printable("\u00fc%s\r\n", false, out, sizeof(out)), "??%s??");
    assert_string_equal(text_printable("", false, out, sizeof(out)), "");
}

static void printable_text_is_cut_to_its_room(void **state)
{
    char out[5] = "zzzz";

    (void)state;
    assert_string_equal(text_printable("abcdef", false, out, 5), "abcd");
    assert_string_equal(text_printable("abcd", false, out, 5), "abcd");
    assert_string_equal(text_printable("abc", false, out, 1), "");
    assert_int_equal(out[1], 'b');
}

static void distance_counts_single_letters(void **state)
{
    static const struct {
        const char *a, *b;
        size_t distance;
    } tries[] = {
        { "", "", 0 },          { "a", "a", 0 },           { "", "abc", 3 },
        { "a", "b", 1 },        { "recipient", "recipients", 1 }, { "smtp-dane", "smtp_dane", 1 },
        { "kitten", "sitting", 3 }, { "flaw", "lawn", 2 }, { "mta_sts", "sts_mta", 4 },
        { "ab", "ba", 2 },      { "Name", "name", 1 },     { "abcdef", "azced", 3 },
    };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(tries); i++) {
        assert_int_equal(text_distance(tries[i].a, tries[i].b), tries[i].distance);
        assert_int_equal(text_distance(tries[i].b, tries[i].a), tries[i].distance);
    }
}

static void long_names_are_as_far_apart_as_can_be(void **state)
{
    char at_most[64], longer[65];

    (void)state;
    memset(at_most, 'a', 63);
    at_most[63] = '\0';
    memset(longer, 'a', 64);
    longer[64] = '\0';
    assert_int_equal(text_distance(at_most, at_most), 0);
    assert_int_equal(text_distance(at_most, ""), 63);
    assert_int_equal(text_distance("", at_most), 63);
    assert_true(text_distance(longer, "a") == (size_t)-1);
    assert_true(text_distance("a", longer) == (size_t)-1);
    assert_true(text_distance(longer, longer) == (size_t)-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_text_has_words),
        cmocka_unit_test(text_grows_up_to_its_ceiling),
        cmocka_unit_test(a_full_text_stays_as_it_is),
        cmocka_unit_test(a_huge_addition_is_refused_without_being_read),
        cmocka_unit_test(bytes_may_hold_nul),
        cmocka_unit_test(many_small_pieces_make_a_large_text),
        cmocka_unit_test(strangers_bytes_become_printable),
        cmocka_unit_test(printable_text_is_cut_to_its_room),
        cmocka_unit_test(distance_counts_single_letters),
        cmocka_unit_test(long_names_are_as_far_apart_as_can_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
