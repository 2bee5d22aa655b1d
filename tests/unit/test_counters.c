#include "store/counters.h"

#include "base/memory.h"
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LABELS = 1000 };

/* What counters_each() says of one connector, and in all. */
struct sum {
    const char *connector;              /* NULL: any */
    size_t rows, connectors;
    uint64_t count;
    struct counted last;
    char before[64];
};

static void add(void *self, const struct counted *one)
{
    struct sum *sum = self;

    if (sum->connector != NULL && strcmp(sum->connector, one->connector) != 0)
        return;
    sum->connectors += strcmp(sum->before, one->connector) != 0;
    snprintf(sum->before, sizeof(sum->before), "%s", one->connector);
    sum->rows++;
    sum->count += one->count;
    sum->last = *one;
}

static struct sum sum_of(const struct counters *c, const char *connector, bool shadow)
{
    struct sum sum = { .connector = connector };

    counters_each(c, shadow, add, &sum);
    return sum;
}

static void a_decision_is_counted_under_all_its_words(void **state)
{
    struct counters *c = counters_new(LABELS);
    struct sum sum;

    (void)state;
    counters_decided(c, "Bank", false, WHERE_MAP, VERDICT_HOLD, REASON_DNSSEC_INVALID);
    counters_decided(c, "Bank", false, WHERE_MAP, VERDICT_HOLD, REASON_DNSSEC_INVALID);
    sum = sum_of(c, "Bank", false);
    assert_int_equal(sum.rows, 1);
    assert_int_equal(sum.count, 2);
    assert_int_equal(sum.last.where, WHERE_MAP);
    assert_int_equal(sum.last.verdict, VERDICT_HOLD);
    assert_int_equal(sum.last.reason, REASON_DNSSEC_INVALID);
    counters_decided(c, "Bank", false, WHERE_SWEEP, VERDICT_DELIVER, REASON_NONE);
    assert_int_equal(sum_of(c, "Bank", false).rows, 2);
    counters_free(c);
}

static void shadows_are_counted_apart(void **state)
{
    struct counters *c = counters_new(LABELS);

    (void)state;
    counters_decided(c, "Bank", true, WHERE_RCPT, VERDICT_HOLD, REASON_DANE_REQUIRED);
    assert_int_equal(sum_of(c, NULL, false).count, 0);
    assert_int_equal(sum_of(c, "Bank", true).count, 1);
    counters_free(c);
}

static void past_the_limit_all_share_one_name(void **state)
{
    struct counters *c = counters_new(LABELS);
    char name[32];
    int i;

    (void)state;
    for (i = 0; i < LABELS + 500; i++) {
        snprintf(name, sizeof(name), "connector %d", i);
        counters_decided(c, name, false, WHERE_RCPT, VERDICT_DELIVER, REASON_NONE);
    }
    assert_int_equal(sum_of(c, NULL, false).connectors, LABELS + 1);
    assert_int_equal(sum_of(c, NULL, false).count, LABELS + 500);
    assert_int_equal(sum_of(c, COUNTERS_OTHERS, false).count, 500);
    counters_decided(c, "connector 7", false, WHERE_RCPT, VERDICT_DELIVER, REASON_NONE);
    assert_int_equal(sum_of(c, "connector 7", false).count, 2);
    counters_free(c);
}

static void the_last_place_is_taken_and_the_next_comer_shares(void **state)
{
    struct counters *c = counters_new(2);

    (void)state;
    counters_decided(c, "one", false, WHERE_RCPT, VERDICT_DELIVER, REASON_NONE);
    counters_decided(c, "two", false, WHERE_RCPT, VERDICT_DELIVER, REASON_NONE);
    assert_int_equal(sum_of(c, "two", false).count, 1);
    assert_int_equal(sum_of(c, COUNTERS_OTHERS, false).count, 0);
    counters_decided(c, "three", false, WHERE_RCPT, VERDICT_DELIVER, REASON_NONE);
    assert_int_equal(sum_of(c, "three", false).count, 0);
    assert_int_equal(sum_of(c, COUNTERS_OTHERS, false).count, 1);
    counters_decided(c, "three", true, WHERE_RCPT, VERDICT_DELIVER, REASON_NONE);
    assert_int_equal(sum_of(c, "three", true).count, 1);                /* shadows have places of their own */
    counters_free(c);
}

static void a_connector_called_like_the_others_shares_their_row(void **state)
{
    struct counters *c = counters_new(LABELS);
    char name[32];
    int i;

    (void)state;
    counters_decided(c, COUNTERS_OTHERS, false, WHERE_RCPT, VERDICT_DELIVER, REASON_NONE);
    for (i = 0; i < LABELS + 5; i++) {
        snprintf(name, sizeof(name), "connector %d", i);
        counters_decided(c, name, false, WHERE_RCPT, VERDICT_DELIVER, REASON_NONE);
    }
    assert_int_equal(sum_of(c, COUNTERS_OTHERS, false).rows, 1);
    assert_int_equal(sum_of(c, NULL, false).count, LABELS + 6);
    counters_free(c);
}

static void a_duration_is_counted_in_the_shortest_step_that_holds_it(void **state)
{
    struct counters *c = counters_new(LABELS);
    struct counted_times times;
    int64_t longest = counters_step_ms(COUNTERS_STEPS - 1);

    (void)state;
    counters_took(c, COUNTED_DANE, 0);
    counters_took(c, COUNTED_DANE, counters_step_ms(0));
    counters_took(c, COUNTED_DANE, counters_step_ms(0) + 1);
    counters_took(c, COUNTED_DANE, longest);
    counters_took(c, COUNTED_DANE, longest + 1);
    counters_took(c, COUNTED_DANE, -7);         /* no clock runs backwards, and no sum does either */
    counters_times(c, COUNTED_DANE, &times);
    assert_int_equal(times.steps[0], 3);
    assert_int_equal(times.steps[1], 1);
    assert_int_equal(times.steps[COUNTERS_STEPS - 1], 1);
    assert_int_equal(times.steps[COUNTERS_STEPS], 1);
    assert_int_equal(times.sum_ms, 2 * counters_step_ms(0) + 1 + 2 * longest + 1);
    counters_times(c, COUNTED_STS_POLICY, &times);
    assert_int_equal(times.sum_ms, 0);
    counters_free(c);
}

static void the_steps_grow(void **state)
{
    size_t i;

    (void)state;
    for (i = 1; i < COUNTERS_STEPS; i++)
        assert_true(counters_step_ms(i) > counters_step_ms(i - 1));
}

static void who_has_no_counters_counts_nothing(void **state)
{
    struct counted_times times;

    (void)state;
    counters_decided(NULL, "Bank", false, WHERE_RCPT, VERDICT_HOLD, REASON_INTERNAL);
    counters_took(NULL, COUNTED_DANE, 5);
    counters_times(NULL, COUNTED_DANE, &times);
    assert_int_equal(times.sum_ms, 0);
    assert_int_equal(sum_of(NULL, NULL, false).count, 0);
    counters_free(NULL);
}

enum { THREADS = 8, ROUNDS = 4000 };

static void *count_on(void *counters)
{
    char name[32];
    int i;

    for (i = 0; i < ROUNDS; i++) {
        snprintf(name, sizeof(name), "connector %d", i % (LABELS + 10));
        counters_decided(counters, name, i % 2 == 0, WHERE_RCPT, VERDICT_PASS, REASON_NONE);
        counters_took(counters, COUNTED_DANE, i);
    }
    return NULL;
}

static void many_threads_lose_no_count(void **state)
{
    struct counters *c = counters_new(LABELS);
    struct counted_times times;
    pthread_t threads[THREADS];
    uint64_t all = 0;
    size_t i;

    (void)state;
    for (i = 0; i < THREADS; i++)
        thread_start(&threads[i], "counting", count_on, c);
    assert_true(sum_of(c, NULL, false).count <= THREADS * ROUNDS);      /* looking meanwhile does no harm */
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(sum_of(c, NULL, false).count + sum_of(c, NULL, true).count, THREADS * ROUNDS);
    assert_true(sum_of(c, NULL, true).connectors <= LABELS + 1);
    counters_times(c, COUNTED_DANE, &times);
    for (i = 0; i <= COUNTERS_STEPS; i++)
        all += times.steps[i];
    assert_int_equal(all, THREADS * ROUNDS);
    counters_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decision_is_counted_under_all_its_words),
        cmocka_unit_test(shadows_are_counted_apart),
        cmocka_unit_test(past_the_limit_all_share_one_name),
        cmocka_unit_test(the_last_place_is_taken_and_the_next_comer_shares),
        cmocka_unit_test(a_connector_called_like_the_others_shares_their_row),
        cmocka_unit_test(a_duration_is_counted_in_the_shortest_step_that_holds_it),
        cmocka_unit_test(the_steps_grow),
        cmocka_unit_test(who_has_no_counters_counts_nothing),
        cmocka_unit_test(many_threads_lose_no_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
