/* The clock of a connector's holds against a plain account of all that was noted, and the ways it once went wrong. */
#include "policy/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PATIENCE = 900 * 1000, ROUND = 1000, START = 5000000 };

static void a_new_clock_stays_on_its_road(void **state)
{
    struct hold_clock c = { 0 };

    (void)state;
    assert_false(hold_clock_falls_back(&c, PATIENCE, START));
    assert_false(hold_clock_falls_back(&c, PATIENCE, START + 100 * PATIENCE));
    hold_clock_note(&c, false, START);
    assert_false(hold_clock_falls_back(&c, PATIENCE, START + 100 * PATIENCE));
}

static void the_fallback_is_taken_after_its_time_and_not_before(void **state)
{
    struct hold_clock c = { 0 };
    int64_t now;

    (void)state;
    for (now = START; now < START + PATIENCE; now += ROUND) {
        hold_clock_note(&c, true, now);
        assert_false(hold_clock_falls_back(&c, PATIENCE, now));
    }
    assert_false(hold_clock_falls_back(&c, PATIENCE, START + PATIENCE - 1));
    assert_true(hold_clock_falls_back(&c, PATIENCE, START + PATIENCE));
}

static void one_delivery_in_between_begins_the_hold_anew(void **state)
{
    struct hold_clock c = { 0 };

    (void)state;
    hold_clock_note(&c, true, START);
    hold_clock_note(&c, false, START + PATIENCE - 2);
    hold_clock_note(&c, true, START + PATIENCE - 1);
    assert_false(hold_clock_falls_back(&c, PATIENCE, START + PATIENCE));
    assert_false(hold_clock_falls_back(&c, PATIENCE, START + 2 * PATIENCE - 2));
    assert_true(hold_clock_falls_back(&c, PATIENCE, START + 2 * PATIENCE - 1));
}

static struct hold_clock fallen(int64_t last)
{
    struct hold_clock c = { 0 };

    hold_clock_note(&c, true, last - PATIENCE);
    hold_clock_note(&c, true, last);
    assert_true(hold_clock_falls_back(&c, PATIENCE, last));
    return c;
}

static void the_fallback_is_left_after_as_long_without_a_hold(void **state)
{
    struct hold_clock c = fallen(START);

    (void)state;
    hold_clock_note(&c, false, START + 1);
    assert_true(hold_clock_falls_back(&c, PATIENCE, START + 2));
    assert_true(hold_clock_falls_back(&c, PATIENCE, START + PATIENCE - 1));
    assert_false(hold_clock_falls_back(&c, PATIENCE, START + PATIENCE));
    assert_false(hold_clock_falls_back(&c, PATIENCE, START + PATIENCE + ROUND));
}

static void a_hold_on_the_fallback_keeps_it_there(void **state)
{
    struct hold_clock c = fallen(START);

    (void)state;
    hold_clock_note(&c, false, START + 1);
    hold_clock_note(&c, true, START + PATIENCE - 1);
    hold_clock_note(&c, false, START + PATIENCE);
    assert_true(hold_clock_falls_back(&c, PATIENCE, START + 2 * PATIENCE - 2));
    assert_false(hold_clock_falls_back(&c, PATIENCE, START + 2 * PATIENCE - 1));
}

/* Once the road changed with every round when holds were seen far apart: mail retries hourly, DNS fails for a while. */
static void silence_does_not_make_the_road_flap(void **state)
{
    struct hold_clock c = { 0 };
    unsigned turns = 0;
    bool was = false, is;
    int64_t now;

    (void)state;
    hold_clock_note(&c, true, START);
    for (now = START; now < START + 20 * PATIENCE; now += ROUND, was = is) {
        is = hold_clock_falls_back(&c, PATIENCE, now);
        turns += is != was;
        if (is != was)
            assert_int_equal(now, turns == 1 ? START + PATIENCE : START + 2 * PATIENCE);
    }
    assert_int_equal(turns, 2);
    hold_clock_note(&c, true, now);                     /* and a hold thereafter is a new one */
    assert_false(hold_clock_falls_back(&c, PATIENCE, now));
    assert_false(hold_clock_falls_back(&c, PATIENCE, now + PATIENCE - 1));
    assert_true(hold_clock_falls_back(&c, PATIENCE, now + PATIENCE));
}

/* Whatever is noted: no road is taken for less than its time, and none is taken before a hold has lasted. */
static void no_road_is_ever_left_before_its_time(void **state)
{
    struct hold_clock c = { 0 };
    bool was = false, is;
    int64_t now, turned = 0, good = 0, first = 0;
    unsigned i, turns = 0;

    (void)state;
    srand(7672);
    for (i = 0, now = START; i < 200000; i++, now += rand() % (PATIENCE / 4), was = is) {
        switch (rand() % (i % 500 < 250 ? 3 : 40)) {
        case 0:
            hold_clock_note(&c, false, now);
            good = now;
            first = 0;
            break;
        case 1:
            hold_clock_note(&c, true, now);
            first = first == 0 ? now : first;
            break;
        case 2:
            hold_clock_note(&c, true, now);
            first = first == 0 ? now : first;
            now += PATIENCE / 3;
            break;
        default:
            break;
        }
        is = hold_clock_falls_back(&c, PATIENCE, now);
        if (is && !was)
            assert_true(first != 0 && now - first >= PATIENCE && now - good >= PATIENCE);
        if (!is && was)
            assert_true(now - turned >= PATIENCE && now - c.last >= PATIENCE);
        if (is != was) {
            turns++;
            turned = now;
            first = is ? first : 0;
        }
    }
    assert_in_range(turns, 100, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_clock_stays_on_its_road),
        cmocka_unit_test(the_fallback_is_taken_after_its_time_and_not_before),
        cmocka_unit_test(one_delivery_in_between_begins_the_hold_anew),
        cmocka_unit_test(the_fallback_is_left_after_as_long_without_a_hold),
        cmocka_unit_test(a_hold_on_the_fallback_keeps_it_there),
        cmocka_unit_test(silence_does_not_make_the_road_flap),
        cmocka_unit_test(no_road_is_ever_left_before_its_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
