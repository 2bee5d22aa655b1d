/* When a refused recipient is given up; and the clock of a connector's holds against a plain account of all that was noted, and the ways it once went wrong. */
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

/* The clock of a refused recipient. */

enum { HOUR = 3600, DAY = 24 * HOUR, THEN = 1700000000 };

static struct hold begun(void)
{
    struct hold h = { 0 };

    hold_note(&h, REASON_DANE_REQUIRED, DAY, THEN);
    return h;
}

/* Refuses every `pause` seconds; when it is given up, or 0 where it is not within a week. */
static int64_t given_up(uint32_t patience, int64_t pause)
{
    struct hold h = { 0 };
    int64_t now;

    for (now = THEN; now < THEN + 7 * DAY; now += pause) {
        hold_note(&h, REASON_DANE_REQUIRED, patience, now);
        if (hold_judge(&h, patience, now) == HOLD_EXPIRED)
            return now;
    }
    return 0;
}

static void forgotten_memory_never_gives_up(void **state)
{
    const struct hold h = { 0 };

    (void)state;
    assert_int_equal(hold_judge(&h, 1, INT64_MAX), HOLD_RUNNING);
    assert_true(hold_is_over(&h, DAY, THEN));
}

static void a_refusal_is_for_good_once_the_hold_has_passed_and_not_before(void **state)
{
    struct hold h = begun();

    (void)state;
    assert_int_equal(hold_judge(&h, DAY, THEN), HOLD_RUNNING);
    assert_int_equal(hold_judge(&h, DAY, THEN + DAY - 1), HOLD_RUNNING);
    assert_int_equal(hold_judge(&h, DAY, THEN + DAY), HOLD_EXPIRED);
    assert_int_equal(given_up(DAY, HOUR), THEN + DAY);
    assert_int_equal(given_up(DAY, 6 * HOUR), THEN + DAY);
    assert_int_equal(given_up(1, 1), THEN + 1);
    assert_int_equal(given_up(8, 2), THEN + 8);
}

static void who_stays_away_for_a_quarter_begins_anew(void **state)
{
    struct hold h = begun();

    (void)state;
    assert_int_equal(given_up(DAY, 6 * HOUR + 1), 0);
    assert_int_equal(given_up(HOUR, 901), 0);
    assert_int_equal(given_up(8, 3), 0);
    hold_note(&h, REASON_DANE_REQUIRED, DAY, THEN + 6 * HOUR);
    assert_int_equal(h.since, THEN);
    assert_int_equal(h.attempts, 2);
    assert_true(hold_is_over(&h, DAY, THEN + 12 * HOUR + 1));
    assert_false(hold_is_over(&h, DAY, THEN + 12 * HOUR));
    hold_note(&h, REASON_DANE_REQUIRED, DAY, THEN + 12 * HOUR + 1);
    assert_int_equal(h.since, THEN + 12 * HOUR + 1);
    assert_int_equal(h.attempts, 1);
}

static void the_gap_is_a_quarter_between_a_second_and_six_hours(void **state)
{
    (void)state;
    assert_int_equal(hold_gap(0), 1);
    assert_int_equal(hold_gap(1), 1);
    assert_int_equal(hold_gap(8), 2);
    assert_int_equal(hold_gap(HOUR), 900);
    assert_int_equal(hold_gap(DAY), 6 * HOUR);
    assert_int_equal(hold_gap(7 * DAY), 6 * HOUR);
    assert_int_equal(hold_gap(UINT32_MAX), 6 * HOUR);
}

static void another_reason_keeps_the_clock(void **state)
{
    struct hold h = begun();

    (void)state;
    hold_note(&h, REASON_DNS_TEMP, DAY, THEN + 5 * HOUR);
    hold_note(&h, REASON_DNSSEC_INVALID, DAY, THEN + 10 * HOUR);
    assert_int_equal(h.since, THEN);
    assert_int_equal(h.reason, REASON_DNSSEC_INVALID);
    assert_int_equal(h.attempts, 3);
}

static void our_own_fault_is_never_for_good(void **state)
{
    struct hold h = begun();

    (void)state;
    hold_note(&h, REASON_INTERNAL, DAY, THEN + 6 * HOUR);
    assert_int_equal(hold_judge(&h, DAY, THEN + 100 * DAY), HOLD_RUNNING);
    hold_note(&h, REASON_DNS_TEMP, DAY, THEN + 12 * HOUR);
    assert_int_equal(hold_judge(&h, DAY, THEN + DAY), HOLD_EXPIRED);        /* but the time counts */
}

static void a_clock_set_back_gives_nothing_up_early(void **state)
{
    struct hold h = begun();

    (void)state;
    hold_note(&h, REASON_DANE_REQUIRED, DAY, THEN + 5 * HOUR);              /* it ran ahead, and is set right */
    hold_note(&h, REASON_DANE_REQUIRED, DAY, THEN + 60);
    assert_int_equal(h.since, THEN);
    assert_int_equal(hold_judge(&h, DAY, THEN + 60), HOLD_RUNNING);
    hold_note(&h, REASON_DANE_REQUIRED, DAY, THEN + 6 * HOUR);
    assert_int_equal(h.since, THEN);
    hold_note(&h, REASON_DANE_REQUIRED, DAY, THEN - 100 * DAY);             /* before its own beginning */
    assert_int_equal(h.since, THEN - 100 * DAY);
    assert_int_equal(h.attempts, 1);
    assert_int_equal(hold_judge(&h, DAY, THEN - 99 * DAY - 1), HOLD_RUNNING);
}

static void a_clock_set_ahead_begins_anew(void **state)
{
    struct hold h = begun();

    (void)state;
    hold_note(&h, REASON_DANE_REQUIRED, DAY, THEN + 365 * (int64_t)DAY);
    assert_int_equal(hold_judge(&h, DAY, THEN + 365 * (int64_t)DAY), HOLD_RUNNING);
    assert_int_equal(h.attempts, 1);
}

/* Whatever the clock does: nobody is given up who has not been refused at least for as long as the hold, by that clock. */
static void nobody_is_given_up_without_having_been_refused_for_all_of_it(void **state)
{
    struct hold h = { 0 };
    int64_t now = THEN, first = 0, latest = 0;
    unsigned i, bounces = 0;

    (void)state;
    srand(5321);
    for (i = 0; i < 200000; i++) {
        now += rand() % 300 == 0 ? 3 * HOUR - rand() % (6 * HOUR) : rand() % (i % 2 == 0 ? 7 * HOUR : 2 * HOUR);
        if (first == 0 || now < first || now - latest > 6 * HOUR)
            first = now;
        latest = now;
        hold_note(&h, REASON_DANE_REQUIRED, DAY, now);
        assert_int_equal(h.since, first);
        if (hold_judge(&h, DAY, now) != HOLD_EXPIRED)
            continue;
        assert_true(now - first >= DAY);
        bounces++;
        h = (struct hold){ 0 };
        first = 0;
    }
    assert_in_range(bounces, 100, 100000);
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
        cmocka_unit_test(forgotten_memory_never_gives_up),
        cmocka_unit_test(a_refusal_is_for_good_once_the_hold_has_passed_and_not_before),
        cmocka_unit_test(who_stays_away_for_a_quarter_begins_anew),
        cmocka_unit_test(the_gap_is_a_quarter_between_a_second_and_six_hours),
        cmocka_unit_test(another_reason_keeps_the_clock),
        cmocka_unit_test(our_own_fault_is_never_for_good),
        cmocka_unit_test(a_clock_set_back_gives_nothing_up_early),
        cmocka_unit_test(a_clock_set_ahead_begins_anew),
        cmocka_unit_test(nobody_is_given_up_without_having_been_refused_for_all_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
