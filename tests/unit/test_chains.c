#include "store/chains.h"

#include "base/memory.h"
#include "base/thread.h"
#include "certificates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 64 * 1024, NOW = 1000000 };

static struct authority *authority;

static int set_up(void **state)
{
    (void)state;
    authority = authority_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    authority_free(authority);
    return 0;
}

static struct chain_key key_of(const char *host, const char *address, const struct cert_chain *c)
{
    struct chain_key key = { .port = 25 };

    assert_true(domain_parse(host, &key.host, NULL));
    snprintf(key.address, sizeof(key.address), "%s", address);
    if (c != NULL)
        memcpy(key.fingerprint, c->fingerprint, sizeof(key.fingerprint));
    return key;
}

struct woken {
    struct chain_waiter waiter;
    int count;
    struct cert_chain *found;
    char why[64];
};

static void wake(struct chain_waiter *self, struct cert_chain *found, const char *why)
{
    struct woken *w = (struct woken *)self;

    w->count++;
    w->found = found;
    snprintf(w->why, sizeof(w->why), "%s", why);
}

static enum chain_seat join(struct chains *m, const struct chain_key *key, struct woken *w, int64_t now, struct cert_chain **ret)
{
    struct fault why = { "" };
    enum chain_seat seat;

    *w = (struct woken){ .waiter = { .wake = wake } };
    *ret = NULL;
    seat = chains_join(m, key, &w->waiter, 0, now, ret, &why);
    snprintf(w->why, sizeof(w->why), "%.60s", why.text);
    return seat;
}

static void one_fetches_and_all_who_asked_are_woken(void **state)
{
    struct cert_chain *c = certificate_new(authority, "mx.bank.example"), *found;
    struct chain_key key = key_of("mx.bank.example", "192.0.2.1", c), other = key_of("mx.bank.example", "192.0.2.2", c);
    struct chains *m = chains_new(10, ROOM);
    struct chains_status s;
    struct woken a, b, elsewhere;

    (void)state;
    assert_int_equal(join(m, &key, &a, NOW, &found), CHAIN_FIRST);
    assert_int_equal(join(m, &key, &b, NOW, &found), CHAIN_JOINED);
    assert_int_equal(join(m, &other, &elsewhere, NOW, &found), CHAIN_FIRST);
    chains_status(m, &s);
    assert_int_equal(s.fetching, 2);
    chains_keep(m, c, NOW);
    chains_land(m, &key, c, "", 0);
    assert_int_equal(a.count, 1);
    assert_int_equal(b.count, 1);
    assert_ptr_equal(a.found, c);
    assert_int_equal(elsewhere.count, 0);
    assert_int_equal(join(m, &key, &a, NOW, &found), CHAIN_SERVED);
    assert_ptr_equal(found, c);
    cert_chain_unref(found);
    chains_land(m, &other, NULL, "the daemon is stopping", 0);
    assert_int_equal(elsewhere.count, 1);
    assert_null(elsewhere.found);
    assert_string_equal(elsewhere.why, "the daemon is stopping");
    chains_free(m);
    assert_int_equal(c->users, 1);
    cert_chain_unref(c);
}

static void what_could_not_be_had_is_left_alone_for_a_while(void **state)
{
    struct cert_chain *c = certificate_new(authority, "mx.bank.example"), *found;
    struct chain_key key = key_of("mx.bank.example", "192.0.2.1", c);
    struct chains *m = chains_new(10, ROOM);
    struct woken w;

    (void)state;
    assert_int_equal(join(m, &key, &w, NOW, &found), CHAIN_FIRST);
    chains_land(m, &key, NULL, "it was not shown", NOW + 30000);
    assert_int_equal(w.count, 1);
    assert_int_equal(join(m, &key, &w, NOW + 29999, &found), CHAIN_MISSING);
    assert_string_equal(w.why, "it was not shown");
    assert_int_equal(w.count, 0);
    assert_int_equal(join(m, &key, &w, NOW + 30000, &found), CHAIN_FIRST);
    chains_land(m, &key, NULL, "nor now", NOW + 60000);
    chains_keep(m, c, NOW);                 /* somebody else's visit has brought it */
    assert_int_equal(join(m, &key, &w, NOW + 30001, &found), CHAIN_SERVED);
    cert_chain_unref(found);
    chains_free(m);
    cert_chain_unref(c);
}

static void an_old_chain_is_not_good_enough_for_who_doubts_it(void **state)
{
    struct cert_chain *c = certificate_new(authority, "mx.bank.example"), *found = NULL;
    struct chain_key key = key_of("mx.bank.example", "192.0.2.1", c);
    struct chains *m = chains_new(10, ROOM);
    struct fault why;

    (void)state;
    chains_keep(m, c, NOW);
    assert_int_equal(chains_join(m, &key, NULL, NOW + 1, NOW + 2, &found, &why), CHAIN_FIRST);
    assert_null(chains_find(m, c->fingerprint, NOW + 1));
    chains_keep(m, c, NOW + 2);
    chains_land(m, &key, c, "", 0);
    assert_int_equal(chains_join(m, &key, NULL, NOW + 1, NOW + 2, &found, &why), CHAIN_SERVED);
    cert_chain_unref(found);
    chains_free(m);
    cert_chain_unref(c);
}

static void those_not_asked_for_the_longest_go_first(void **state)
{
    struct cert_chain *c[4], *found;
    struct chains *m = chains_new(3, ROOM);
    struct chains_status s;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(c); i++)
        c[i] = certificate_new(authority, "mx.bank.example");
    for (i = 0; i < 3; i++)
        chains_keep(m, c[i], NOW);
    found = chains_find(m, c[0]->fingerprint, 0);
    assert_ptr_equal(found, c[0]);
    cert_chain_unref(found);
    chains_keep(m, c[3], NOW);
    assert_null(chains_find(m, c[1]->fingerprint, 0));
    chains_status(m, &s);
    assert_int_equal(s.entries, 3);
    for (i = 0; i < COUNT_OF(c); i++) {
        found = chains_find(m, c[i]->fingerprint, 0);
        assert_true((found != NULL) == (i != 1));
        cert_chain_unref(found);
    }
    chains_free(m);
    for (i = 0; i < COUNT_OF(c); i++)
        cert_chain_unref(c[i]);
}

static void octets_have_a_ceiling_too(void **state)
{
    struct cert_chain *c[8];
    struct chains *m;
    struct chains_status s;
    size_t one, i;

    (void)state;
    for (i = 0; i < COUNT_OF(c); i++)
        c[i] = certificate_new(authority, "mx.bank.example");
    one = c[0]->lengths[0] + c[0]->lengths[1];
    m = chains_new(100, 3 * (one + 512));
    for (i = 0; i < COUNT_OF(c); i++) {
        chains_keep(m, c[i], NOW);
        chains_keep(m, c[i], NOW + 1);      /* again: not twice */
        chains_status(m, &s);
        assert_true(s.octets <= 3 * (one + 512));
        assert_true(s.entries >= 1);
    }
    assert_in_range(s.entries, 2, 4);
    chains_free(m);
    for (i = 0; i < COUNT_OF(c); i++)
        cert_chain_unref(c[i]);
}

/* Strangers' addresses and fingerprints: as many as they like. */
static void fetches_have_a_ceiling(void **state)
{
    struct chains *m = chains_new(10, ROOM);
    struct chain_key key = key_of("mx.bank.example", "192.0.2.1", NULL);
    enum chain_seat seat = CHAIN_FIRST;
    struct cert_chain *found = NULL;
    struct chains_status s;
    int begun = 0, i;
    struct fault why;

    (void)state;
    while (seat == CHAIN_FIRST && begun < 100000) {
        memcpy(key.fingerprint, &begun, sizeof(begun));
        seat = chains_join(m, &key, NULL, 0, NOW, &found, &why);
        if (begun % 2 == 1 && seat == CHAIN_FIRST)
            chains_land(m, &key, NULL, "it was not shown", NOW + 30000);
        begun++;
    }
    assert_int_equal(seat, CHAIN_REFUSED);
    chains_status(m, &s);
    assert_true(s.fetching + s.missing <= 8192);
    for (i = 0; i + 1 < begun; i += 2) {
        memcpy(key.fingerprint, &i, sizeof(i));
        chains_land(m, &key, NULL, "", 0);
    }
    chains_status(m, &s);
    assert_int_equal(s.fetching, 0);
    chains_free(m);
}

enum { THREADS = 4, ROUNDS = 400, HOSTS = 5 };

static struct cert_chain *shared[HOSTS];
static struct chains *busy;
static atomic_int owed;

struct owed_wake {
    struct chain_waiter waiter;
    struct cert_chain *expected;
};

static void pay(struct chain_waiter *self, struct cert_chain *found, const char *why)
{
    struct owed_wake *w = (struct owed_wake *)self;

    (void)why;
    assert_true(found == NULL || found == w->expected);
    atomic_fetch_sub(&owed, 1);
    free(w);
}

static void *ask_and_land(void *unused)
{
    struct cert_chain *found;
    struct fault why;
    int i;

    (void)unused;
    for (i = 0; i < ROUNDS; i++) {
        struct cert_chain *c = shared[i % HOSTS];
        struct chain_key key = key_of("mx.bank.example", "192.0.2.1", c);
        struct owed_wake *w = mem_zero(sizeof(*w));

        *w = (struct owed_wake){ .waiter = { .wake = pay }, .expected = c };
        atomic_fetch_add(&owed, 1);
        switch (chains_join(busy, &key, &w->waiter, i, i, &found, &why)) {
        case CHAIN_FIRST:
            if (i % 3 != 0)
                chains_keep(busy, c, i);
            chains_land(busy, &key, i % 3 == 0 ? NULL : c, "", i % 3 == 0 ? i + 2 : 0);
            continue;
        case CHAIN_JOINED:
            continue;
        case CHAIN_SERVED:
            cert_chain_unref(found);
            break;
        case CHAIN_MISSING:
        case CHAIN_REFUSED:
            break;
        }
        atomic_fetch_sub(&owed, 1);
        free(w);
    }
    return NULL;
}

static void nobody_is_forgotten_among_many(void **state)
{
    pthread_t threads[THREADS];
    size_t i;

    (void)state;
    busy = chains_new(2, ROOM);
    for (i = 0; i < HOSTS; i++)
        shared[i] = certificate_new(authority, "mx.bank.example");
    for (i = 0; i < THREADS; i++)
        thread_start(&threads[i], "asker", ask_and_land, NULL);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&owed), 0);
    chains_free(busy);
    for (i = 0; i < HOSTS; i++) {
        assert_int_equal(shared[i]->users, 1);
        cert_chain_unref(shared[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_fetches_and_all_who_asked_are_woken),
        cmocka_unit_test(what_could_not_be_had_is_left_alone_for_a_while),
        cmocka_unit_test(an_old_chain_is_not_good_enough_for_who_doubts_it),
        cmocka_unit_test(those_not_asked_for_the_longest_go_first),
        cmocka_unit_test(octets_have_a_ceiling_too),
        cmocka_unit_test(fetches_have_a_ceiling),
        cmocka_unit_test(nobody_is_forgotten_among_many),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
