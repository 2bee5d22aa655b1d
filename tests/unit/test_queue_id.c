#include "policy/queue_id.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { NOW = 1795369800 };              /* 2026-11-22 17:50:00 UTC */

static int64_t time_of(const char *id)
{
    int64_t when = -1;

    return queue_id_time(id, NOW, &when) ? when : -1;
}

static void an_id_tells_when_it_was_made(void **state)
{
    (void)state;
    assert_int_equal(time_of("6ALMmtSo021356"), 1795301335);       /* 2026-11-21 22:48:55 UTC, as Sendmail 8.17 made it */
    assert_int_equal(time_of("6AMHo000000001"), NOW);
    assert_int_equal(time_of("6AMHo0009"), NOW);
}

static void the_time_zone_does_not_matter(void **state)
{
    (void)state;
    setenv("TZ", "America/New_York", 1);
    tzset();
    assert_int_equal(time_of("6ALMmtSo021356"), 1795301335);
    unsetenv("TZ");
    tzset();
}

/* As Sendmail does it. */
static void print_id(int64_t when, char ret[static 32])
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx";
    time_t seconds = (time_t)when;
    struct tm t;

    gmtime_r(&seconds, &t);
    snprintf(ret, 32, "%c%c%c%c%c%cAb%06d", letters[t.tm_year % 60], letters[t.tm_mon], letters[t.tm_mday], letters[t.tm_hour],
             letters[t.tm_min], letters[t.tm_sec], 4711);
}

static void years_come_round_and_the_nearest_is_meant(void **state)
{
    static const int64_t nows[] = { 0, 951782400, NOW, 1830297600, 2145916800, 3155760000 };        /* 1970 to 2070 */
    static const int64_t steps[] = { 0, 1, -1, 86399, 86400, -86400, 59 * 86400, -31 * 86400, 366 * 86400, -366 * 86400,
                                     29LL * 365 * 86400, -29LL * 365 * 86400 };
    int64_t when;
    char id[32];
    size_t n, s;

    (void)state;
    for (n = 0; n < COUNT_OF(nows); n++) {
        for (s = 0; s < COUNT_OF(steps); s++) {
            print_id(nows[n] + steps[s] + 40LL * 365 * 86400, id);
            assert_true(queue_id_time(id, nows[n] + 40LL * 365 * 86400, &when));
            assert_int_equal(when, nows[n] + steps[s] + 40LL * 365 * 86400);
        }
    }
}

static void what_is_no_id_has_no_time(void **state)
{
    static const char *const garbage[] = {
        "", "6", "6ALMmtSo", "6ALMmtS", "NOQUEUE", "4fQz1x0", "6ALMmtSo02135x", "6ALMmtSo021356 ", " 6ALMmtSo021356",
        "6yLMmtSo021356", "6ALMmtS-021356", "6CLMmtSo021356", "6A0MmtSo021356", "6AVMmtSo021356", "6ALOmtSo021356",
        "61TMmtSo021356", "6ALMmtSo021356789012345678901234567890", "4cRzYk2Zxjz8sWy", "\200\200\200\200\200\200\200\2001",
    };
    int64_t when = 42;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(garbage); i++) {
        if (queue_id_time(garbage[i], NOW, &when))
            fail_msg("\"%s\" has a time", garbage[i]);
    }
    assert_int_equal(when, 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_tells_when_it_was_made),
        cmocka_unit_test(the_time_zone_does_not_matter),
        cmocka_unit_test(years_come_round_and_the_nearest_is_meant),
        cmocka_unit_test(what_is_no_id_has_no_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
