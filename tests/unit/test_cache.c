#include "store/cache.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };

static struct next_hop hop(const char *spoken)
{
    struct next_hop h = { 0 };
    struct fault why;

    if (!next_hop_parse(spoken, &h, &why))
        fail_msg("%s: %s", spoken, why.text);
    return h;
}

static struct next_hop hop_number(unsigned number)
{
    char name[64];

    snprintf(name, sizeof(name), "d%u.example", number);
    return hop(name);
}

/* A waiter that counts, and keeps the state it was woken with. */
struct counter {
    struct waiter waiter;
    atomic_int woken;
    enum dane_state state;
};

static void count_wake(struct waiter *self, struct evidence *found)
{
    struct counter *c = (struct counter *)self;

    c->state = found->dane;
    atomic_fetch_add(&c->woken, 1);
}

static struct counter counter(void)
{
    return (struct counter){ .waiter = { .wake = count_wake } };
}

static enum seat join(struct cache *m, const char *name, struct counter *c, int64_t now)
{
    struct evidence *found = NULL;
    struct next_hop h = hop(name);
    enum seat seat = cache_join(m, &h, c == NULL ? NULL : &c->waiter, now, &found);

    assert_int_equal(found != NULL, seat == SEAT_SERVED);
    evidence_unref(found);
    return seat;
}

static void land(struct cache *m, const char *name, enum dane_state state, int64_t now, int64_t life)
{
    struct next_hop h = hop(name);

    cache_land(m, &h, evidence_new(state, "test", now + life), now);
}

/* SEAT_FIRST, then evidence. */
static void fill(struct cache *m, const char *name, enum dane_state state, int64_t now, int64_t life)
{
    assert_int_equal(join(m, name, NULL, now), SEAT_FIRST);
    land(m, name, state, now, life);
}

static enum dane_state state_of(struct cache *m, const char *name)
{
    struct next_hop h = hop(name);
    int64_t since;
    struct evidence *found = cache_peek(m, &h, &since);
    enum dane_state state;

    assert_non_null(found);
    state = found->dane;
    evidence_unref(found);
    return state;
}

/* All that is due at a time; the whole table passes by in a few calls. */
static size_t all_due(struct cache *m, int64_t now, struct next_hop *ret, size_t room)
{
    size_t count = 0;
    int calls;

    for (calls = 0; calls < 8; calls++)
        count += cache_due(m, now, ret + count, room - count);
    return count;
}

static bool is_due(struct cache *m, const char *name, int64_t now)
{
    struct next_hop due[64], h = hop(name);
    size_t count = all_due(m, now, due, COUNT_OF(due)), i;
    bool found = false;

    for (i = 0; i < count; i++) {
        found = found || (domain_equal(&due[i].host, &h.host) && due[i].port == h.port && due[i].bracketed == h.bracketed);
        cache_land(m, &due[i], evidence_new(DANE_USABLE, "test", now + HOUR), now);
    }
    return found;
}

/* Single flight */

static void the_first_searches_and_the_others_join(void **state)
{
    struct counter a = counter(), b = counter(), c = counter();
    struct cache *m = cache_new(100, 100 * 4096);
    size_t entries, searching;

    (void)state;
    assert_int_equal(join(m, "d.example", &a, 1), SEAT_FIRST);
    assert_int_equal(join(m, "d.example", &b, 2), SEAT_JOINED);
    assert_int_equal(join(m, "D.EXAMPLE.", &c, 3), SEAT_JOINED);
    cache_count(m, &entries, &searching);
    assert_int_equal(entries, 1);
    assert_int_equal(searching, 1);
    land(m, "d.example", DANE_USABLE, 10, MINUTE);
    assert_int_equal(a.woken + b.woken + c.woken, 3);
    assert_int_equal(a.state, DANE_USABLE);
    assert_int_equal(join(m, "d.example", &a, 11), SEAT_SERVED);
    assert_int_equal(a.woken, 1);
    cache_count(m, &entries, &searching);
    assert_int_equal(searching, 0);
    cache_free(m);
}

static void spellings_that_differ_are_different_destinations(void **state)
{
    static const char *const names[] = { "d.example", "[d.example]", "d.example:587", "[d.example]:587", "e.example" };
    struct cache *m = cache_new(100, 100 * 4096);
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(names); i++)
        assert_int_equal(join(m, names[i], NULL, 1), SEAT_FIRST);
    for (i = 0; i < COUNT_OF(names); i++)
        land(m, names[i], DANE_USABLE, 1, MINUTE);
    cache_free(m);
}

static void who_leaves_in_time_is_not_woken(void **state)
{
    struct counter a = counter(), b = counter(), c = counter();
    struct next_hop h = hop("d.example"), other = hop("other.example");
    struct cache *m = cache_new(100, 100 * 4096);

    (void)state;
    join(m, "d.example", &a, 1);
    join(m, "d.example", &b, 1);
    join(m, "d.example", &c, 1);
    assert_false(cache_leave(m, &other, &b.waiter));
    assert_true(cache_leave(m, &h, &b.waiter));
    assert_false(cache_leave(m, &h, &b.waiter));
    land(m, "d.example", DANE_ABSENT, 2, MINUTE);
    assert_int_equal(b.woken, 0);
    assert_int_equal(a.woken + c.woken, 2);
    assert_false(cache_leave(m, &h, &a.waiter));            /* too late */
    cache_free(m);
}

/* A waiter that asks again while it is woken, for the same and for another destination. */
struct nagger {
    struct waiter waiter;
    struct cache *cache;
    int served, first, woken;
};

static void nag(struct waiter *self, struct evidence *unused)
{
    struct nagger *n = (struct nagger *)self;
    struct next_hop same = hop("d.example"), other = hop("other.example");
    struct evidence *found = NULL;
    int64_t since;

    (void)unused;
    n->woken++;
    if (cache_join(n->cache, &same, NULL, 5, &found) == SEAT_SERVED)
        n->served++;
    evidence_unref(found);
    evidence_unref(cache_peek(n->cache, &same, &since));
    if (cache_join(n->cache, &other, NULL, 5, &found) == SEAT_FIRST) {
        n->first++;
        cache_land(n->cache, &other, evidence_new(DANE_ABSENT, "test", MINUTE), 5);
    }
}

static void a_waiter_may_ask_again_inside_its_wake_up(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct nagger n = { .waiter = { .wake = nag }, .cache = m };
    struct next_hop h = hop("d.example");
    struct evidence *found = NULL;

    (void)state;
    assert_int_equal(cache_join(m, &h, &n.waiter, 1, &found), SEAT_FIRST);
    land(m, "d.example", DANE_USABLE, 2, MINUTE);
    assert_int_equal(n.woken, 1);
    assert_int_equal(n.served, 1);
    assert_int_equal(n.first, 1);
    cache_free(m);
}

/* The same waiter joins anew, because what landed is already stale: it must not be woken twice by one landing. */
struct rejoiner {
    struct waiter waiter;
    struct cache *cache;
    int woken;
};

static void rejoin(struct waiter *self, struct evidence *unused)
{
    struct rejoiner *r = (struct rejoiner *)self;
    struct next_hop h = hop("d.example");
    struct evidence *found = NULL;

    (void)unused;
    if (r->woken++ == 0)
        assert_int_equal(cache_join(r->cache, &h, self, 100, &found), SEAT_FIRST);
}

static void a_waiter_may_join_again_inside_its_wake_up(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct rejoiner r = { .waiter = { .wake = rejoin }, .cache = m };
    struct counter beside = counter();
    struct next_hop h = hop("d.example");
    struct evidence *found = NULL;

    (void)state;
    assert_int_equal(cache_join(m, &h, &r.waiter, 1, &found), SEAT_FIRST);
    assert_int_equal(join(m, "d.example", &beside, 1), SEAT_JOINED);
    land(m, "d.example", DANE_UNKNOWN, 2, 50);
    assert_int_equal(r.woken, 1);
    assert_int_equal(beside.woken, 1);
    land(m, "d.example", DANE_USABLE, 101, MINUTE);
    assert_int_equal(r.woken, 2);
    assert_int_equal(beside.woken, 1);
    cache_free(m);
}

/* Freshness */

static void expired_evidence_is_never_served(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);

    (void)state;
    fill(m, "d.example", DANE_USABLE, 1000, MINUTE);
    assert_int_equal(join(m, "d.example", NULL, 1000 + MINUTE - 1), SEAT_SERVED);
    assert_int_equal(join(m, "d.example", NULL, 1000 + MINUTE), SEAT_FIRST);
    assert_int_equal(state_of(m, "d.example"), DANE_USABLE);        /* those who merely look may see it */
    assert_int_equal(join(m, "d.example", NULL, 1000 + MINUTE), SEAT_JOINED);
    land(m, "d.example", DANE_ABSENT, 1000 + MINUTE, MINUTE);
    assert_int_equal(state_of(m, "d.example"), DANE_ABSENT);
    cache_free(m);
}

static void a_failed_refresh_does_not_replace_fresh_evidence(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct next_hop due[8];

    (void)state;
    fill(m, "d.example", DANE_USABLE, 1000, HOUR);
    join(m, "d.example", NULL, 2000);
    assert_int_equal(all_due(m, 1000 + HOUR - MINUTE, due, COUNT_OF(due)), 1);
    assert_int_equal(join(m, "d.example", NULL, 1000 + HOUR - MINUTE), SEAT_SERVED);    /* still served meanwhile */
    land(m, "d.example", DANE_UNKNOWN, 1000 + HOUR - MINUTE, 30 * SECOND);
    assert_int_equal(state_of(m, "d.example"), DANE_USABLE);
    assert_int_equal(join(m, "d.example", NULL, 1000 + HOUR - 1), SEAT_SERVED);
    assert_int_equal(join(m, "d.example", NULL, 1000 + HOUR), SEAT_FIRST);
    land(m, "d.example", DANE_UNKNOWN, 1000 + HOUR, 30 * SECOND);                       /* now there is nothing better */
    assert_int_equal(state_of(m, "d.example"), DANE_UNKNOWN);
    assert_int_equal(join(m, "d.example", NULL, 1000 + HOUR + 1), SEAT_SERVED);
    cache_free(m);
}

static void a_failed_refresh_is_tried_again_soon_while_the_old_evidence_stands(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct next_hop due[8];
    int64_t now = 1000 + HOUR - 10 * MINUTE;

    (void)state;
    fill(m, "d.example", DANE_USABLE, 1000, HOUR);
    join(m, "d.example", NULL, 2000);
    assert_int_equal(all_due(m, now, due, COUNT_OF(due)), 1);
    join(m, "d.example", NULL, now);
    land(m, "d.example", DANE_UNKNOWN, now, 30 * SECOND);
    join(m, "d.example", NULL, now + 1);
    assert_int_equal(all_due(m, now + 5 * SECOND, due, COUNT_OF(due)), 0);
    assert_int_equal(all_due(m, now + 31 * SECOND, due, COUNT_OF(due)), 1);
    land(m, "d.example", DANE_USABLE, now + 31 * SECOND, HOUR);
    cache_free(m);
}

static void a_change_for_the_worse_does_replace_fresh_evidence(void **state)
{
    static const enum dane_state worse[] = { DANE_BOGUS, DANE_ABSENT, DANE_NO_MAIL, DANE_UNUSABLE };
    struct cache *m = cache_new(100, 100 * 4096);
    struct next_hop due[8];
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(worse); i++) {
        char name[32];

        snprintf(name, sizeof(name), "w%zu.example", i);
        fill(m, name, DANE_USABLE, 1000, HOUR);
        join(m, name, NULL, 2000);
        assert_int_equal(all_due(m, 1000 + HOUR - MINUTE, due, COUNT_OF(due)), 1);
        land(m, name, worse[i], 1000 + HOUR - MINUTE, MINUTE);
        assert_int_equal(state_of(m, name), worse[i]);
    }
    cache_free(m);
}

static void since_is_when_the_state_changed(void **state)
{
    struct next_hop h = hop("d.example"), stranger = hop("stranger.example");
    struct cache *m = cache_new(100, 100 * 4096);
    int64_t since = -1, before = (int64_t)clock_wall(), first;

    (void)state;
    assert_null(cache_peek(m, &stranger, &since));
    join(m, "d.example", NULL, 1);
    assert_null(cache_peek(m, &h, &since));                 /* searched, but nothing is known */
    land(m, "d.example", DANE_USABLE, 1, MINUTE);
    evidence_unref(cache_peek(m, &h, &first));
    assert_in_range(first, before, (int64_t)clock_wall());
    sleep(1);
    assert_int_equal(join(m, "d.example", NULL, 1 + MINUTE), SEAT_FIRST);
    land(m, "d.example", DANE_USABLE, 1 + MINUTE, MINUTE);
    evidence_unref(cache_peek(m, &h, &since));
    assert_int_equal(since, first);
    cache_free(m);
}

/* Ahead of time */

static void what_was_asked_for_is_due_before_it_expires(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);

    (void)state;
    fill(m, "asked.example", DANE_USABLE, 1000, HOUR);
    fill(m, "once.example", DANE_USABLE, 1000, HOUR);
    assert_false(is_due(m, "asked.example", 1000 + MINUTE));
    assert_int_equal(join(m, "asked.example", NULL, 2000), SEAT_SERVED);
    assert_true(is_due(m, "asked.example", 1000 + HOUR - 1));
    assert_false(is_due(m, "once.example", 1000 + HOUR - 1));
    assert_false(is_due(m, "asked.example", 1000 + HOUR));          /* it has just landed */
    assert_false(is_due(m, "asked.example", 1000 + 2 * HOUR));      /* nobody asked since */
    cache_free(m);
}

static void what_is_due_is_given_once_and_counts_as_searching(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct next_hop due[8];
    size_t entries, searching;

    (void)state;
    fill(m, "d.example:587", DANE_USABLE, 1000, HOUR);
    join(m, "d.example:587", NULL, 2000);
    assert_int_equal(all_due(m, 1000 + HOUR - 1, due, COUNT_OF(due)), 1);
    assert_int_equal(due[0].port, 587);
    assert_string_equal(due[0].host.name, "d.example");
    assert_int_equal(all_due(m, 1000 + HOUR - 1, due, COUNT_OF(due)), 0);
    cache_count(m, &entries, &searching);
    assert_int_equal(searching, 1);
    assert_int_equal(join(m, "d.example:587", NULL, 1000 + HOUR), SEAT_JOINED);     /* nobody starts a second search */
    land(m, "d.example:587", DANE_USABLE, 1000 + HOUR, HOUR);
    cache_free(m);
}

static void pinned_destinations_are_due_at_once_and_for_ever(void **state)
{
    struct next_hop h = hop("pinned.example");
    struct cache *m = cache_new(100, 100 * 4096);

    (void)state;
    cache_pin(m, &h);
    cache_pin(m, &h);
    assert_true(is_due(m, "pinned.example", 1000));
    assert_false(is_due(m, "pinned.example", 1000 + MINUTE));
    assert_true(is_due(m, "pinned.example", 1000 + HOUR - 1));      /* though nobody ever asked */
    assert_true(is_due(m, "pinned.example", 1000 + 30 * HOUR));
    cache_unpin_all(m);
    assert_false(is_due(m, "pinned.example", 1000 + 31 * HOUR));
    cache_free(m);
}

static void a_pin_that_stays_over_a_reload_keeps_its_evidence(void **state)
{
    struct next_hop h = hop("pinned.example");
    struct cache *m = cache_new(100, 100 * 4096);

    (void)state;
    cache_pin(m, &h);
    assert_true(is_due(m, "pinned.example", 1000));
    cache_unpin_all(m);
    cache_pin(m, &h);
    assert_int_equal(join(m, "pinned.example", NULL, 2000), SEAT_SERVED);
    assert_false(is_due(m, "pinned.example", 2000));
    cache_free(m);
}

static void what_nobody_misses_is_forgotten(void **state)
{
    struct cache *m = cache_new(10000, 10000 * 4096);
    struct next_hop due[8];
    size_t entries, searching;
    unsigned i;

    (void)state;
    for (i = 0; i < 500; i++) {
        struct next_hop h = hop_number(i);
        struct evidence *found = NULL;

        assert_int_equal(cache_join(m, &h, NULL, 1000, &found), SEAT_FIRST);
        cache_land(m, &h, evidence_new(DANE_ABSENT, "test", 1000 + MINUTE), 1000);
    }
    cache_count(m, &entries, &searching);
    assert_int_equal(entries, 500);
    assert_int_equal(all_due(m, 1000 + 24 * HOUR, due, COUNT_OF(due)), 0);
    cache_count(m, &entries, &searching);
    assert_int_equal(entries, 0);
    cache_free(m);
}

/* The ceiling */

static void the_ceiling_holds_however_many_come(void **state)
{
    struct cache *m = cache_new(640, 640 * 4096);
    size_t entries, searching;
    unsigned i;

    (void)state;
    for (i = 0; i < 20000; i++) {
        struct next_hop h = hop_number(i);
        struct evidence *found = NULL;

        assert_int_equal(cache_join(m, &h, NULL, 1000, &found), SEAT_FIRST);
        cache_land(m, &h, evidence_new(DANE_ABSENT, "test", 1000 + HOUR), 1000);
    }
    cache_count(m, &entries, &searching);
    assert_int_equal(entries, 640);
    assert_int_equal(searching, 0);
    cache_free(m);
}

/* Joins and lands; octets: what the evidence is said to take. */
static void put_in(struct cache *m, unsigned number, size_t octets)
{
    struct next_hop h = hop_number(number);
    struct evidence *found = NULL, *fresh = evidence_new(DANE_ABSENT, "test", 1000 + HOUR);

    assert_int_equal(cache_join(m, &h, NULL, 1000, &found), SEAT_FIRST);
    fresh->octets = octets;
    cache_land(m, &h, fresh, 1000);
}

static size_t entries_of(struct cache *m)
{
    size_t entries, searching;

    cache_count(m, &entries, &searching);
    return entries;
}

static bool has(struct cache *m, unsigned number)
{
    struct next_hop h = hop_number(number);
    int64_t since;
    struct evidence *found = cache_peek(m, &h, &since);
    bool there = found != NULL;

    evidence_unref(found);
    return there;
}

static void as_many_fit_as_were_asked_for_and_not_one_more(void **state)
{
    static const unsigned sizes[] = { 1, 2, 63, 64, 65, 100, 1000, 4711 };
    size_t i;
    unsigned number;

    (void)state;
    for (i = 0; i < COUNT_OF(sizes); i++) {
        struct cache *m = cache_new(sizes[i], sizes[i] * 4096);

        for (number = 0; number < sizes[i]; number++)
            put_in(m, number, 100);
        assert_int_equal(entries_of(m), sizes[i]);
        for (number = 0; number < sizes[i]; number++)
            assert_true(has(m, number));
        put_in(m, sizes[i], 100);
        assert_int_equal(entries_of(m), sizes[i]);
        assert_true(has(m, sizes[i]));
        cache_free(m);
    }
}

static void pinned_destinations_take_no_place_from_others(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct next_hop due[300];
    unsigned number;
    size_t taken, i;

    (void)state;
    for (number = 0; number < 100; number++)
        put_in(m, number, 100);
    for (number = 1000; number < 1300; number++) {
        struct next_hop h = hop_number(number);

        cache_pin(m, &h);
        cache_pin(m, &h);
    }
    taken = all_due(m, 1000, due, COUNT_OF(due));
    assert_int_equal(taken, 300);
    for (i = 0; i < taken; i++)
        cache_land(m, &due[i], evidence_new(DANE_USABLE, "test", 1000 + HOUR), 1000);
    assert_int_equal(entries_of(m), 400);
    for (number = 0; number < 100; number++)
        assert_true(has(m, number));
    for (number = 2000; number < 4000; number++)
        put_in(m, number, 100);
    assert_int_equal(entries_of(m), 400);
    for (number = 1000; number < 1300; number++)
        assert_true(has(m, number));
    cache_unpin_all(m);
    for (number = 4000; number < 5000; number++)
        put_in(m, number, 100);
    assert_int_equal(entries_of(m), 100);                   /* for each that came two went, until it was enough */
    cache_free(m);
}

/* A stranger's domain may have many hosts, with many records each. */
static void fat_evidence_goes_first_and_memory_has_its_bound(void **state)
{
    enum { FAT = 512 * 1024, MOST = 1000, OCTETS_EACH = 4096 };
    struct cache *m = cache_new(MOST, MOST * 4096);
    unsigned number, fat = 0, kept = 0;

    (void)state;
    for (number = 0; number < MOST; number++)
        put_in(m, number, 1000);
    for (number = 100000; number < 101000; number++) {
        put_in(m, number, FAT);
        put_in(m, number + 100000, 1000);
    }
    for (number = 100000; number < 101000; number++) {
        fat += has(m, number);
        kept += has(m, number + 100000);
    }
    assert_in_range(fat, 1, MOST * OCTETS_EACH / FAT);
    assert_true(kept > 250);
    assert_true(entries_of(m) <= MOST);
    cache_free(m);
}

static void what_an_entry_itself_takes_counts_too(void **state)
{
    enum { ENTRY_LEAST = sizeof(struct waiter *) * 4, ROOM = 100 * 1000 };
    struct cache *m = cache_new(100 * 1000, ROOM);
    unsigned number;

    (void)state;
    for (number = 0; number < 100 * 1000; number++)
        put_in(m, number, 1);
    assert_in_range(entries_of(m), 1, ROOM / ENTRY_LEAST);
    cache_free(m);
}

static void where_none_is_fat_what_is_asked_for_stays(void **state)
{
    enum { HOT = 100 * 1000 };
    struct cache *m = cache_new(HOT, HOT);
    struct next_hop hot = hop_number(HOT);
    struct evidence *found = NULL;
    unsigned number;

    (void)state;
    put_in(m, HOT, 1000);
    assert_int_equal(cache_join(m, &hot, NULL, 1000, &found), SEAT_SERVED);
    evidence_unref(found);
    for (number = 0; number < 2000; number++)
        put_in(m, number, 100);
    assert_true(entries_of(m) < 1000);
    assert_true(has(m, HOT));
    cache_free(m);
}

static void who_waits_for_evidence_too_fat_to_keep_gets_it_all_the_same(void **state)
{
    struct cache *m = cache_new(1, 1 * 4096);
    struct counter w = counter();
    struct next_hop h = hop_number(1);
    struct evidence *found = NULL, *fresh = evidence_new(DANE_USABLE, "test", 1000 + HOUR);

    (void)state;
    fresh->octets = 1024 * 1024;
    assert_int_equal(cache_join(m, &h, &w.waiter, 1000, &found), SEAT_FIRST);
    cache_land(m, &h, fresh, 1000);
    assert_int_equal(w.woken, 1);
    assert_int_equal(entries_of(m), 0);
    cache_free(m);
}

static void searching_and_pinned_entries_are_never_dropped(void **state)
{
    struct cache *m = cache_new(640, 640 * 4096);
    struct counter waiters[200];
    struct next_hop due[200];
    size_t entries, searching, taken = 0, i;
    unsigned number;

    (void)state;
    for (i = 0; i < COUNT_OF(waiters); i++) {
        struct next_hop h = hop_number((unsigned)(100000 + i)), pinned = hop_number((unsigned)(200000 + i));
        struct evidence *found = NULL;

        waiters[i] = counter();
        assert_int_equal(cache_join(m, &h, &waiters[i].waiter, 1000, &found), SEAT_FIRST);
        cache_pin(m, &pinned);
    }
    taken = all_due(m, 1000, due, COUNT_OF(due));
    assert_int_equal(taken, COUNT_OF(due));
    for (i = 0; i < taken; i++)
        cache_land(m, &due[i], evidence_new(DANE_USABLE, "test", 1000 + HOUR), 1000);
    for (number = 0; number < 20000; number++) {
        struct next_hop h = hop_number(number);
        struct evidence *found = NULL;

        if (cache_join(m, &h, NULL, 1000, &found) == SEAT_FIRST)
            cache_land(m, &h, evidence_new(DANE_ABSENT, "test", 1000 + HOUR), 1000);
    }
    cache_count(m, &entries, &searching);
    assert_int_equal(searching, COUNT_OF(waiters));
    assert_in_range(entries, 400, 640 + 64 + 200);
    for (i = 0; i < COUNT_OF(waiters); i++) {
        struct next_hop h = hop_number((unsigned)(100000 + i)), pinned = hop_number((unsigned)(200000 + i));
        struct evidence *found = NULL;

        cache_land(m, &h, evidence_new(DANE_USABLE, "test", 1000 + HOUR), 1000);
        assert_int_equal(waiters[i].woken, 1);
        assert_int_equal(cache_join(m, &pinned, NULL, 2000, &found), SEAT_SERVED);
        evidence_unref(found);
    }
    cache_free(m);
}

static void where_everything_searches_newcomers_are_refused(void **state)
{
    struct cache *m = cache_new(64, 64 * 4096);
    struct counter w = counter();
    unsigned i, first = 0, refused = 0;
    static bool searching[2000];

    (void)state;
    for (i = 0; i < COUNT_OF(searching); i++) {
        struct next_hop h = hop_number(i);
        struct evidence *found = NULL;
        enum seat seat = cache_join(m, &h, &w.waiter, 1000, &found);

        searching[i] = seat == SEAT_FIRST;
        first += seat == SEAT_FIRST;
        refused += seat == SEAT_REFUSED;
        if (seat == SEAT_FIRST)
            assert_true(cache_leave(m, &h, &w.waiter));
        else
            assert_false(cache_leave(m, &h, &w.waiter));    /* who is refused does not wait */
    }
    assert_int_equal(first + refused, COUNT_OF(searching));
    assert_int_equal(first, 64);
    for (i = 0; i < COUNT_OF(searching); i++) {
        struct next_hop h = hop_number(i);

        if (searching[i])
            cache_land(m, &h, evidence_new(DANE_ABSENT, "test", 1000 + HOUR), 1000);
    }
    assert_int_equal(w.woken, 0);
    cache_free(m);
}

static void what_is_asked_for_outlives_what_was_asked_for_once(void **state)
{
    struct cache *m = cache_new(640, 640 * 4096);
    unsigned i, kept = 0;

    (void)state;
    for (i = 0; i < 100; i++) {
        struct next_hop h = hop_number(900000 + i);
        struct evidence *found = NULL;

        cache_join(m, &h, NULL, 1000, &found);
        cache_land(m, &h, evidence_new(DANE_USABLE, "test", 1000 + HOUR), 1000);
        assert_int_equal(cache_join(m, &h, NULL, 1000, &found), SEAT_SERVED);
        evidence_unref(found);
    }
    for (i = 0; i < 5000; i++) {
        struct next_hop h = hop_number(i);
        struct evidence *found = NULL;

        cache_join(m, &h, NULL, 1000, &found);
        cache_land(m, &h, evidence_new(DANE_ABSENT, "test", 1000 + HOUR), 1000);
    }
    for (i = 0; i < 100; i++) {
        struct next_hop h = hop_number(900000 + i);
        int64_t since;
        struct evidence *found = cache_peek(m, &h, &since);

        kept += found != NULL;
        evidence_unref(found);
    }
    assert_in_range(kept, 90, 100);
    cache_free(m);
}

/* Many threads */

enum { THREADS = 16, NAMES = 40, LOOPS = 4000 };

struct bustle {
    struct cache *cache;
    struct next_hop names[NAMES];
    atomic_int searching[NAMES], double_searches, lost, wrong;
    atomic_int_fast64_t now;
    atomic_int started;
};

struct sleeper {
    struct waiter waiter;
    struct mutex lock;
    struct signal up;
    bool awake;
};

static void sleeper_wake(struct waiter *self, struct evidence *found)
{
    struct sleeper *s = (struct sleeper *)self;

    (void)found;
    mutex_lock(&s->lock);
    s->awake = true;
    signal_one(&s->up);
    mutex_unlock(&s->lock);
}

static void land_for(struct bustle *b, int which, unsigned dice)
{
    static const enum dane_state states[] = { DANE_USABLE, DANE_UNKNOWN, DANE_ABSENT };
    int64_t now = atomic_load(&b->now);

    atomic_fetch_sub(&b->searching[which], 1);
    cache_land(b->cache, &b->names[which], evidence_new(states[dice % 3], "test", now + dice % 20), now);
}

/* One round of one thread; with patience it sleeps until woken, else it leaves at once. */
static void bustle_round(struct bustle *b, int which, unsigned dice)
{
    struct sleeper s = { .waiter = { .wake = sleeper_wake } };
    int64_t now = atomic_fetch_add(&b->now, 1);
    bool patient = dice % 4 != 0;
    struct evidence *found = NULL;

    mutex_init(&s.lock);
    signal_init(&s.up);
    switch (cache_join(b->cache, &b->names[which], &s.waiter, now, &found)) {
    case SEAT_SERVED:
        if (found->fresh_until <= now)
            atomic_fetch_add(&b->wrong, 1);
        evidence_unref(found);
        goto out;
    case SEAT_REFUSED:
        goto out;
    case SEAT_FIRST:
        if (atomic_fetch_add(&b->searching[which], 1) != 0)
            atomic_fetch_add(&b->double_searches, 1);
        land_for(b, which, dice / 8);
        break;
    case SEAT_JOINED:
        break;
    }
    if (patient || !cache_leave(b->cache, &b->names[which], &s.waiter)) {
        int64_t until = clock_ms() + 60000;

        mutex_lock(&s.lock);
        while (!s.awake && clock_ms() < until)
            signal_wait_until(&s.up, &s.lock, until);
        if (!s.awake)
            atomic_fetch_add(&b->lost, 1);
        mutex_unlock(&s.lock);
    }
out:
    signal_done(&s.up);
    mutex_done(&s.lock);
}

static void *bustle_body(void *argument)
{
    struct bustle *b = argument;
    unsigned dice = (unsigned)atomic_fetch_add(&b->started, 1) * 7919 + 1;
    int i;

    for (i = 0; i < LOOPS; i++) {
        dice = dice * 1103515245u + 12345u;
        bustle_round(b, (int)(dice >> 16) % NAMES, dice >> 8);
    }
    return NULL;
}

static atomic_bool watching;

static void *bustle_watch(void *argument)
{
    struct bustle *b = argument;
    struct next_hop due[16];
    size_t entries, searching, count, i;
    unsigned number;

    while (atomic_load(&watching)) {
        cache_unpin_all(b->cache);
        for (i = 0; i < NAMES; i += 3)
            cache_pin(b->cache, &b->names[i]);
        count = cache_due(b->cache, atomic_load(&b->now), due, COUNT_OF(due));
        for (i = 0; i < count; i++) {
            if (sscanf(due[i].host.name, "d%u.", &number) != 1)
                continue;
            if (atomic_fetch_add(&b->searching[number], 1) != 0)
                atomic_fetch_add(&b->double_searches, 1);
            land_for(b, (int)number, number);
        }
        cache_count(b->cache, &entries, &searching);
        evidence_unref(cache_peek(b->cache, &b->names[entries % NAMES], &(int64_t){ 0 }));
    }
    return NULL;
}

static void many_threads_make_one_search_at_a_time_and_lose_no_wake_up(void **state)
{
    static struct bustle b;
    pthread_t threads[THREADS], watch;
    size_t entries, searching;
    int i;

    (void)state;
    b.cache = cache_new(32, 32 * 4096);                /* small, so that eviction is at work */
    atomic_store(&b.now, 1000);
    for (i = 0; i < NAMES; i++)
        b.names[i] = hop_number((unsigned)i);
    atomic_store(&watching, true);
    thread_start(&watch, "watch", bustle_watch, &b);
    for (i = 0; i < THREADS; i++)
        thread_start(&threads[i], "bustle", bustle_body, &b);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&watching, false);
    pthread_join(watch, NULL);
    assert_int_equal(b.double_searches, 0);
    assert_int_equal(b.lost, 0);
    assert_int_equal(b.wrong, 0);
    cache_count(b.cache, &entries, &searching);
    assert_int_equal(searching, 0);
    cache_free(b.cache);
}

/* How many next hops there are, of host or of all; each is seen once. */
static size_t read_all(struct cache *m, const char *host)
{
    struct cache_slice slice;
    size_t count = 0, i;
    unsigned s;

    for (s = 0; s < CACHE_SLICES; s++) {
        cache_read(m, s, host, &slice);
        for (i = 0; i < slice.count; i++) {
            assert_non_null(slice.items[i].found);
            assert_true(slice.items[i].since > 0);
        }
        count += slice.count;
        cache_slice_done(&slice);
    }
    return count;
}

static void know(struct cache *m, const char *name)
{
    assert_int_equal(join(m, name, NULL, 0), SEAT_FIRST);
    land(m, name, DANE_USABLE, 0, HOUR);
}

static void all_can_be_read_and_one_hosts_spellings(void **state)
{
    struct cache *m = cache_new(10000, 10000 * 4096);
    unsigned i;

    (void)state;
    for (i = 0; i < 1000; i++) {
        struct next_hop h = hop_number(i);
        char name[NEXT_HOP_TEXT_SIZE];

        know(m, next_hop_print(&h, name));
    }
    know(m, "d1.example:587");
    know(m, "[d1.example]");
    know(m, "[d1.example]:587");
    know(m, "sub.d1.example");
    know(m, "d1.example.net");
    assert_int_equal(join(m, "[d1.example]:465", NULL, 0), SEAT_FIRST);     /* nothing to show yet */
    assert_int_equal(read_all(m, NULL), 1005);
    assert_int_equal(read_all(m, "d1.example"), 4);
    assert_int_equal(read_all(m, "d1"), 0);
    assert_int_equal(read_all(m, "example"), 0);
    land(m, "[d1.example]:465", DANE_ABSENT, 0, HOUR);
    cache_free(m);
}

static void what_was_read_outlives_what_is_forgotten(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct cache_slice slices[CACHE_SLICES];
    unsigned s;
    size_t count = 0;

    (void)state;
    know(m, "a.example");
    for (s = 0; s < CACHE_SLICES; s++)
        cache_read(m, s, NULL, &slices[s]);
    assert_int_equal(cache_forget(m, NULL), 1);
    cache_free(m);
    for (s = 0; s < CACHE_SLICES; s++) {
        if (slices[s].count > 0) {
            assert_string_equal(slices[s].items[0].next_hop, "a.example");
            assert_int_equal(slices[s].items[0].found->dane, DANE_USABLE);
        }
        count += slices[s].count;
        cache_slice_done(&slices[s]);
    }
    assert_int_equal(count, 1);
}

static void what_is_forgotten_is_searched_at_the_next_question(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    size_t entries, searching;

    (void)state;
    know(m, "a.example");
    know(m, "[a.example]:587");
    know(m, "b.example");
    assert_int_equal(cache_forget(m, "a.example"), 2);
    assert_int_equal(cache_forget(m, "a.example"), 0);
    assert_int_equal(join(m, "b.example", NULL, 0), SEAT_SERVED);
    assert_int_equal(join(m, "a.example", NULL, 0), SEAT_FIRST);
    land(m, "a.example", DANE_ABSENT, 0, HOUR);
    assert_int_equal(cache_forget(m, NULL), 2);
    cache_count(m, &entries, &searching);
    assert_int_equal(entries, 0);
    cache_free(m);
}

static void who_waits_is_not_forgotten(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct counter c = counter();

    (void)state;
    know(m, "a.example");
    assert_int_equal(join(m, "a.example", &c, 2 * HOUR), SEAT_FIRST);       /* expired, so it is searched anew */
    assert_int_equal(cache_forget(m, NULL), 1);
    assert_int_equal(cache_forget(m, NULL), 0);
    assert_int_equal(join(m, "a.example", NULL, 2 * HOUR), SEAT_JOINED);
    land(m, "a.example", DANE_PARTIAL, 2 * HOUR, HOUR);
    assert_int_equal(c.woken, 1);
    assert_int_equal(c.state, DANE_PARTIAL);
    cache_free(m);
}

static void a_failure_is_believed_where_the_proof_was_forgotten(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct counter c = counter();

    (void)state;
    know(m, "a.example");
    cache_forget(m, NULL);
    assert_int_equal(join(m, "a.example", &c, 0), SEAT_FIRST);
    land(m, "a.example", DANE_UNKNOWN, 0, MINUTE);
    assert_int_equal(c.state, DANE_UNKNOWN);
    cache_free(m);
}

static void a_pinned_destination_is_due_once_it_is_forgotten(void **state)
{
    struct cache *m = cache_new(100, 100 * 4096);
    struct next_hop pinned = hop("a.example"), due[4];
    size_t count = 0;
    int i;

    (void)state;
    cache_pin(m, &pinned);
    know(m, "a.example");
    for (i = 0; i < 8; i++)
        count += cache_due(m, 1000, due, COUNT_OF(due));
    assert_int_equal(count, 0);
    assert_int_equal(cache_forget(m, "a.example"), 1);
    for (i = 0; i < 8; i++)
        count += cache_due(m, 1000, due, COUNT_OF(due));
    assert_int_equal(count, 1);
    land(m, "a.example", DANE_USABLE, 1000, HOUR);
    cache_free(m);
}

static size_t known_by(struct cache *m, enum dane_state state)
{
    struct cache_states states;

    cache_states(m, &states);
    return states.dane[state];
}

static void states_are_counted_as_they_come_and_go(void **state)
{
    struct cache *m = cache_new(CACHE_SLICES * 4, 4096 * (CACHE_SLICES * 4));
    struct next_hop due[64];
    char name[64];
    size_t i;

    (void)state;
    know(m, "a.example");
    know(m, "b.example");
    assert_int_equal(known_by(m, DANE_USABLE), 2);
    fill(m, "a.example", DANE_BOGUS, 2 * HOUR, HOUR);
    assert_int_equal(known_by(m, DANE_USABLE), 1);
    assert_int_equal(known_by(m, DANE_BOGUS), 1);
    assert_int_equal(cache_forget(m, "b.example"), 1);
    assert_int_equal(known_by(m, DANE_USABLE), 0);
    for (i = 0; i < 4000; i++) {
        snprintf(name, sizeof(name), "host%zu.example", i);
        know(m, name);
    }
    assert_in_range(known_by(m, DANE_USABLE), 1, CACHE_SLICES * 5);      /* the ceiling */
    cache_forget(m, NULL);
    assert_int_equal(known_by(m, DANE_USABLE) + known_by(m, DANE_BOGUS), 0);
    know(m, "a.example");
    for (i = 0; i < 8; i++)
        cache_due(m, 100LL * 24 * HOUR, due, 0);
    assert_int_equal(known_by(m, DANE_USABLE), 0);                      /* nobody misses it */
    cache_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_searches_and_the_others_join),
        cmocka_unit_test(spellings_that_differ_are_different_destinations),
        cmocka_unit_test(who_leaves_in_time_is_not_woken),
        cmocka_unit_test(a_waiter_may_ask_again_inside_its_wake_up),
        cmocka_unit_test(a_waiter_may_join_again_inside_its_wake_up),
        cmocka_unit_test(expired_evidence_is_never_served),
        cmocka_unit_test(a_failed_refresh_does_not_replace_fresh_evidence),
        cmocka_unit_test(a_failed_refresh_is_tried_again_soon_while_the_old_evidence_stands),
        cmocka_unit_test(a_change_for_the_worse_does_replace_fresh_evidence),
        cmocka_unit_test(since_is_when_the_state_changed),
        cmocka_unit_test(what_was_asked_for_is_due_before_it_expires),
        cmocka_unit_test(what_is_due_is_given_once_and_counts_as_searching),
        cmocka_unit_test(pinned_destinations_are_due_at_once_and_for_ever),
        cmocka_unit_test(a_pin_that_stays_over_a_reload_keeps_its_evidence),
        cmocka_unit_test(what_nobody_misses_is_forgotten),
        cmocka_unit_test(the_ceiling_holds_however_many_come),
        cmocka_unit_test(as_many_fit_as_were_asked_for_and_not_one_more),
        cmocka_unit_test(pinned_destinations_take_no_place_from_others),
        cmocka_unit_test(fat_evidence_goes_first_and_memory_has_its_bound),
        cmocka_unit_test(what_an_entry_itself_takes_counts_too),
        cmocka_unit_test(where_none_is_fat_what_is_asked_for_stays),
        cmocka_unit_test(who_waits_for_evidence_too_fat_to_keep_gets_it_all_the_same),
        cmocka_unit_test(searching_and_pinned_entries_are_never_dropped),
        cmocka_unit_test(where_everything_searches_newcomers_are_refused),
        cmocka_unit_test(what_is_asked_for_outlives_what_was_asked_for_once),
        cmocka_unit_test(many_threads_make_one_search_at_a_time_and_lose_no_wake_up),
        cmocka_unit_test(all_can_be_read_and_one_hosts_spellings),
        cmocka_unit_test(what_was_read_outlives_what_is_forgotten),
        cmocka_unit_test(what_is_forgotten_is_searched_at_the_next_question),
        cmocka_unit_test(who_waits_is_not_forgotten),
        cmocka_unit_test(a_failure_is_believed_where_the_proof_was_forgotten),
        cmocka_unit_test(a_pinned_destination_is_due_once_it_is_forgotten),
        cmocka_unit_test(states_are_counted_as_they_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
