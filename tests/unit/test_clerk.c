/*
 * The clerk with sources of ours: lists of numbers, some of which wait until they are let go on.
 */
#include "server/clerk.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 20000 };

static atomic_int alive, reads;
static atomic_bool gate;                    /* those that wait may go on */
static struct clerk *clerk;
static int bell;

/* Gives batches of two numbers. */
struct numbers {
    struct clerk_source face;
    int next, end;
    bool waits, fails;
};

static bool read_numbers(struct clerk_source *self, json_t *into, bool *ret_end, struct fault *why)
{
    struct numbers *n = (struct numbers *)self;
    int i;

    atomic_fetch_add(&reads, 1);
    while (n->waits && !atomic_load(&gate) && !atomic_load(&self->unwanted))
        usleep(1000);
    if (n->fails)
        return fault_set(why, "the disk is on fire");
    for (i = 0; i < 2 && n->next < n->end; i++)
        json_array_append_new(into, json_integer(n->next++));
    *ret_end = n->next == n->end;
    return true;
}

static void free_numbers(struct clerk_source *self)
{
    atomic_fetch_sub(&alive, 1);
    free(self);
}

static struct numbers *numbers(int end)
{
    struct numbers *n = mem_zero(sizeof(*n));

    n->face.read = read_numbers;
    n->face.free = free_numbers;
    n->end = end;
    atomic_fetch_add(&alive, 1);
    return n;
}

static int begin(void **state)
{
    (void)state;
    atomic_store(&alive, 0);
    atomic_store(&reads, 0);
    atomic_store(&gate, false);
    bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    clerk = clerk_open(bell);
    return 0;
}

static int end(void **state)
{
    (void)state;
    clerk_close(clerk);
    close(bell);
    assert_int_equal(atomic_load(&alive), 0);
    return 0;
}

/* As the loop does it: the bell first. */
static struct clerk_batch collect(void)
{
    struct pollfd wait = { .fd = bell, .events = POLLIN };
    struct clerk_batch batch;
    uint64_t rings;

    while (!clerk_collect(clerk, &batch)) {
        assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
        assert_int_equal(read(bell, &rings, sizeof(rings)), sizeof(rings));
    }
    return batch;
}

static void a_list_comes_in_batches_as_it_is_asked_for(void **state)
{
    struct clerk_reading *r = clerk_begin(clerk, &numbers(5)->face, &bell);
    struct clerk_batch batch;
    int expected = 0;

    (void)state;
    assert_ptr_equal(clerk_whose(r), &bell);
    do {
        batch = collect();
        assert_ptr_equal(batch.reading, r);
        assert_true(batch.good);
        assert_int_equal(json_integer_value(json_array_get(batch.items, 0)), expected);
        expected += (int)json_array_size(batch.items);
        json_decref(batch.items);
        usleep(20000);
        assert_false(clerk_collect(clerk, &(struct clerk_batch){ 0 }));     /* nobody has asked for more */
        if (!batch.end) {
            clerk_more(r);
            clerk_more(r);                                                  /* one of them counts */
        }
    } while (!batch.end);
    assert_int_equal(expected, 5);
    assert_int_equal(atomic_load(&reads), 3);
    clerk_end(r);
}

static void what_fails_says_why(void **state)
{
    struct numbers *n = numbers(5);
    struct clerk_reading *r;
    struct clerk_batch batch;

    (void)state;
    n->fails = true;
    r = clerk_begin(clerk, &n->face, NULL);
    batch = collect();
    assert_false(batch.good);
    assert_string_equal(batch.why.text, "the disk is on fire");
    json_decref(batch.items);
    clerk_end(r);
}

static void those_who_read_take_turns(void **state)
{
    struct clerk_reading *a = clerk_begin(clerk, &numbers(1000)->face, NULL), *b = clerk_begin(clerk, &numbers(4)->face, NULL);
    int of_a = 0, of_b = 0;

    (void)state;
    while (of_b < 2) {
        struct clerk_batch batch = collect();

        of_a += batch.reading == a;
        of_b += batch.reading == b;
        json_decref(batch.items);
        clerk_more(batch.reading);
    }
    assert_true(of_a <= 4);
    clerk_end(a);
    clerk_end(b);
}

static void one_too_many_is_refused(void **state)
{
    struct clerk_reading *all[CLERK_READINGS_MAX];
    size_t i;

    (void)state;
    for (i = 0; i < CLERK_READINGS_MAX; i++) {
        all[i] = clerk_begin(clerk, &numbers(5)->face, NULL);
        assert_non_null(all[i]);
    }
    assert_null(clerk_begin(clerk, &numbers(5)->face, NULL));
    assert_int_equal(atomic_load(&alive), CLERK_READINGS_MAX);
    for (i = 0; i < CLERK_READINGS_MAX; i++)
        clerk_end(all[i]);
}

static void who_leaves_ends_his_reading(void **state)
{
    struct numbers *n = numbers(5);
    int64_t until = clock_ms() + WAIT_MS;
    struct clerk_reading *r, *next;
    struct clerk_batch batch;

    (void)state;
    n->waits = true;
    r = clerk_begin(clerk, &n->face, NULL);
    while (atomic_load(&reads) == 0 && clock_ms() < until)
        usleep(1000);
    next = clerk_begin(clerk, &numbers(2)->face, NULL);
    clerk_end(r);
    batch = collect();
    assert_ptr_equal(batch.reading, next);
    json_decref(batch.items);
    clerk_end(next);
    assert_int_equal(atomic_load(&alive), 0);
}

static void closing_waits_for_nobody_who_has_left(void **state)
{
    struct numbers *n = numbers(5);
    int64_t until = clock_ms() + WAIT_MS;
    struct clerk_reading *r;

    (void)state;
    n->waits = true;
    r = clerk_begin(clerk, &n->face, NULL);
    while (atomic_load(&reads) == 0 && clock_ms() < until)
        usleep(1000);
    clerk_end(r);
}

static void what_came_and_was_not_collected_is_freed(void **state)
{
    struct clerk_reading *r = clerk_begin(clerk, &numbers(5)->face, NULL);
    struct pollfd wait = { .fd = bell, .events = POLLIN };

    (void)state;
    assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
    clerk_end(r);
    assert_false(clerk_collect(clerk, &(struct clerk_batch){ 0 }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_list_comes_in_batches_as_it_is_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(what_fails_says_why, begin, end),
        cmocka_unit_test_setup_teardown(those_who_read_take_turns, begin, end),
        cmocka_unit_test_setup_teardown(one_too_many_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(who_leaves_ends_his_reading, begin, end),
        cmocka_unit_test_setup_teardown(closing_waits_for_nobody_who_has_left, begin, end),
        cmocka_unit_test_setup_teardown(what_came_and_was_not_collected_is_freed, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
