/*
 * The resolver against a name server of our own on a loopback port, without DNSSEC: threads, time-outs, ceilings, closing.
 * What DNSSEC makes of answers is tested in test_evaluation.c and against signed zones.
 *
 * The server makes its data up: NAME has "MX 10 mx.NAME", mx.* has an A record, nothing else is there. A first label of
 * its own asks for something special; see answer_body().
 */
#include "lookup/lookup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "name_server.h"

/* What the server says */

static void put_mx(struct packet *p, const char *owner, unsigned preference, const char *host)
{
    size_t start = put_record(p, 6, owner, MX, 300);

    put16(p, preference);
    put_name(p, host);
    end_record(p, start);
}

static void put_a(struct packet *p, const char *owner)
{
    size_t start = put_record(p, 6, owner, A, 200);

    put16(p, 192 << 8);
    put16(p, 2 << 8 | 1);
    end_record(p, start);
}

static void put_alias(struct packet *p, const char *owner, const char *end)
{
    size_t start = put_record(p, 6, owner, CNAME, 150);

    put_name(p, end);
    end_record(p, start);
}

static void put_many_mx(struct packet *p, const char *name, unsigned count)
{
    char host[320];
    unsigned i;

    for (i = 0; i < count; i++) {
        snprintf(host, sizeof(host), "mx%u.%s", i, name);
        put_mx(p, name, 1000 - i, host);
    }
}

static void answer_mx(struct packet *p, const char *name)
{
    char host[320];

    snprintf(host, sizeof(host), begins(name, "hostalias.") ? "al.%s" : "mx.%s", name);
    if (begins(name, "null."))
        put_mx(p, name, 0, "");
    else if (begins(name, "implicit.") || begins(name, "mx"))
        deny(p, 0);
    else if (begins(name, "big."))
        put_many_mx(p, name, 40);
    else if (begins(name, "five."))
        put_many_mx(p, name, 5);
    else
        put_mx(p, name, 10, host);
}

static bool answer_body(struct packet *p, const char *name, int type, bool by_tcp)
{
    if (strstr(name, "dead.") != NULL)
        return false;
    if (!by_tcp && begins(name, "big."))
        p->bytes[2] |= 2;               /* truncated: come again by TCP */
    else if (begins(name, "fail.") || begins(name, "refuse."))
        p->bytes[3] = (uint8_t)((p->bytes[3] & 0xf0) | (begins(name, "fail.") ? SERVFAIL : REFUSED));
    else if (begins(name, "gone."))
        deny(p, NXDOMAIN);
    else if (begins(name, "alias.") && type != CNAME)
        put_alias(p, name, "good.example");
    else if (begins(name, "al.") && (type == A || type == AAAA))
        put_alias(p, name, "mx.end.example");
    else if (type == MX)
        answer_mx(p, name);
    else if (type == A && (begins(name, "mx") || begins(name, "implicit.")))
        put_a(p, name);
    else
        deny(p, 0);
    return true;
}

/* The one that waits */

struct waiter {
    struct landing landing;
    struct dns_answers *answers;
    struct crowd *crowd;
    int64_t asked, took;
    pthread_t thread;
};

static void arrive(struct landing *self, struct dns_answers *answers)
{
    struct waiter *w = (struct waiter *)self;

    w->took = clock_ms() - w->asked;
    w->thread = pthread_self();
    w->answers = answers;
    crowd_count(w->crowd);
}

static void ask(struct lookup *l, struct waiter *w, struct crowd *c, const char *spoken)
{
    struct next_hop hop;

    *w = (struct waiter){ .landing = { .arrive = arrive }, .crowd = c, .asked = clock_ms() };
    assert_true(next_hop_parse(spoken, &hop, NULL));
    l->resolve(l, &hop, &w->landing);
}

/* An anchor for a place of no interest keeps the system's root anchor out: all else is unsigned. */
static struct settings settings_of(uint32_t timeout)
{
    static const char *anchors[] = { "island.example. DS 12345 13 2 "
                                     "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" };
    static char forward[32];
    static const char *servers[] = { forward };
    struct settings set = { .resolver = { .trust_anchor_file = "", .root_hints = "", .when_broken = "", .timeout = timeout,
                                          .cache = 8 * 1024 * 1024, .trust_anchor = { .items = anchors, .count = 1 },
                                          .forward = { .items = servers, .count = 1 } },
                            .sts = { .ca_file = "" },
                            .probe = { .helo = "", .bind = "", .concurrency = 1, .timeout = 30 } };

    snprintf(forward, sizeof(forward), "127.0.0.1@%u", server.port);
    return set;
}

static struct lookup *open_lookup(uint32_t timeout)
{
    struct settings set = settings_of(timeout);
    struct lookup *l;
    struct fault why;

    atomic_store(&server.delay_ms, 0);
    if (!dns_open(&set, &l, &why))
        fail_msg("%s", why.text);
    return l;
}

/* One next hop, alone. */
static struct dns_answers *look_within(uint32_t timeout, const char *spoken, int64_t *took)
{
    struct lookup *l = open_lookup(timeout);
    struct waiter w;
    struct crowd c;

    crowd_init(&c);
    ask(l, &w, &c, spoken);
    crowd_wait(&c, 1);
    l->close(l);
    crowd_done(&c);
    if (took != NULL)
        *took = w.took;
    return w.answers;
}

static struct dns_answers *look(const char *spoken)
{
    return look_within(60, spoken, NULL);
}

/* What it brings home */

static void an_unsigned_partner_is_insecure(void **state)
{
    struct dns_answers *answers = look("good.example");

    (void)state;
    assert_true(answers->mx.asked && answers->mx.found);
    assert_int_equal(answers->mx.trust, DNS_INSECURE);
    assert_int_equal(answers->mx.ttl, 300);
    assert_int_equal(answers->host_count, 1);
    assert_string_equal(answers->hosts[0].name.name, "mx.good.example");
    assert_string_equal(answers->hosts[0].expanded.name, "mx.good.example");
    assert_int_equal(answers->hosts[0].preference, 10);
    assert_int_equal(answers->hosts[0].a.trust, DNS_INSECURE);
    assert_true(answers->hosts[0].a.found);
    assert_int_equal(answers->hosts[0].a.ttl, 200);
    assert_false(answers->hosts[0].aaaa.found);
    assert_int_equal(answers->hosts[0].aaaa.ttl, 60);
    assert_false(answers->hosts[0].at_name.look.asked);
    assert_false(answers->hosts[0].cname.asked);
    dns_answers_free(answers);
}

static void aliases_are_followed(void **state)
{
    struct dns_answers *answers = look("alias.example");

    (void)state;
    assert_int_equal(answers->host_count, 1);
    assert_string_equal(answers->hosts[0].name.name, "mx.good.example");
    assert_int_equal(answers->mx.ttl, 150);
    dns_answers_free(answers);
    answers = look("hostalias.example");
    assert_string_equal(answers->hosts[0].name.name, "al.hostalias.example");
    assert_string_equal(answers->hosts[0].expanded.name, "mx.end.example");
    assert_true(answers->hosts[0].cname.asked);
    assert_int_equal(answers->hosts[0].cname.trust, DNS_INSECURE);
    assert_false(answers->hosts[0].at_expanded.look.asked);
    dns_answers_free(answers);
}

static void denials_are_told_apart_and_live_as_their_soa_says(void **state)
{
    struct dns_answers *answers = look("gone.example");

    (void)state;
    assert_true(answers->mx.no_name);
    assert_int_equal(answers->mx.ttl, 60);
    assert_int_equal(answers->host_count, 0);
    dns_answers_free(answers);
    answers = look("implicit.example");
    assert_false(answers->mx.no_name);
    assert_int_equal(answers->mx.ttl, 60);
    assert_true(answers->implicit_mx);
    assert_string_equal(answers->hosts[0].name.name, "implicit.example");
    assert_true(answers->hosts[0].a.found);
    dns_answers_free(answers);
    answers = look("null.example");
    assert_true(answers->null_mx);
    dns_answers_free(answers);
}

static void errors_of_the_servers_have_failed(void **state)
{
    static const char *const names[] = { "fail.example", "refuse.example" };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(names); i++) {
        struct dns_answers *answers = look(names[i]);

        assert_int_equal(answers->mx.trust, DNS_FAILED);
        assert_string_not_equal(answers->mx.why, "");
        assert_int_equal(answers->host_count, 0);
        dns_answers_free(answers);
    }
}

static void silence_has_failed_when_the_time_is_up(void **state)
{
    int64_t took;
    struct dns_answers *answers = look_within(1, "dead.example", &took);

    (void)state;
    assert_int_equal(answers->mx.trust, DNS_FAILED);
    assert_string_equal(answers->mx.why, "no answer within 1 s");
    assert_in_range(took, 990, 30000);
    dns_answers_free(answers);
    answers = look_within(1, "[mx.dead.example]", NULL);
    assert_int_equal(answers->host_count, 1);
    assert_true(answers->hosts[0].a.asked);
    assert_int_equal(answers->hosts[0].a.trust, DNS_FAILED);
    dns_answers_free(answers);
}

static void more_hosts_than_the_ceiling_are_clipped_in_order(void **state)
{
    struct dns_answers *answers = look("big.example");
    size_t i;

    (void)state;
    assert_true(answers->clipped);
    assert_int_equal(answers->host_count, DNS_HOSTS_MAX);
    for (i = 0; i < DNS_HOSTS_MAX; i++) {
        assert_int_equal(answers->hosts[i].preference, 961 + i);
        assert_true(answers->hosts[i].a.found);
    }
    dns_answers_free(answers);
}

static void a_literal_arrives_too_and_asks_nothing(void **state)
{
    int before = atomic_load(&server.queries);
    struct dns_answers *answers = look("[192.0.2.1]");

    (void)state;
    assert_true(answers->literal);
    assert_int_equal(atomic_load(&server.queries), before);
    dns_answers_free(answers);
}

static void nothing_is_asked_before_the_first_question(void **state)
{
    int before = atomic_load(&server.queries);
    struct lookup *l = open_lookup(2);

    (void)state;
    poll(NULL, 0, 50);
    l->close(l);
    assert_int_equal(atomic_load(&server.queries), before);
}

struct query_waiter {
    struct query_landing landing;
    struct dns_look look;
    struct crowd *crowd;
};

static void query_arrive(struct query_landing *self, const struct dns_look *look_at)
{
    struct query_waiter *w = (struct query_waiter *)self;

    w->look = *look_at;
    crowd_count(w->crowd);
}

static void single_queries_say_whether_and_how_secure(void **state)
{
    static const struct {
        const char *name;
        int type;
        enum dns_trust trust;
        bool found;
    } cases[] = {
        { "mx.good.example", A, DNS_INSECURE, true },
        { "good.example", DNS_TYPE_TXT, DNS_INSECURE, false },
        { ".", DNS_TYPE_NS, DNS_INSECURE, false },
        { "fail.example", DNS_TYPE_SOA, DNS_FAILED, false },
        { "a..b", DNS_TYPE_SOA, DNS_FAILED, false },
    };
    struct query_waiter w[COUNT_OF(cases)];
    struct lookup *l = open_lookup(60);
    struct crowd c;
    size_t i;

    (void)state;
    crowd_init(&c);
    for (i = 0; i < COUNT_OF(cases); i++) {
        w[i] = (struct query_waiter){ .landing = { .arrive = query_arrive }, .crowd = &c };
        l->query(l, cases[i].name, cases[i].type, &w[i].landing);
    }
    crowd_wait(&c, COUNT_OF(cases));
    l->close(l);
    crowd_done(&c);
    for (i = 0; i < COUNT_OF(cases); i++) {
        assert_true(w[i].look.asked);
        assert_int_equal(w[i].look.trust, cases[i].trust);
        assert_int_equal(w[i].look.found, cases[i].found);
    }
}

static void a_single_query_fails_when_the_time_is_up(void **state)
{
    struct query_waiter w = { .landing = { .arrive = query_arrive } };
    struct lookup *l = open_lookup(1);
    struct crowd c;

    (void)state;
    crowd_init(&c);
    w.crowd = &c;
    l->query(l, "dead.example", DNS_TYPE_SOA, &w.landing);
    crowd_wait(&c, 1);
    l->close(l);
    crowd_done(&c);
    assert_true(w.look.asked && !w.look.found);
    assert_int_equal(w.look.trust, DNS_FAILED);
}

/* How it works */

static int64_t time_for_five_hosts(void)
{
    struct lookup *l = open_lookup(60);
    struct waiter w;
    struct crowd c;

    crowd_init(&c);
    atomic_store(&server.delay_ms, 250);        /* below 376 ms, when libunbound asks a new server again */
    ask(l, &w, &c, "five.example");
    crowd_wait(&c, 1);
    l->close(l);
    crowd_done(&c);
    assert_int_equal(w.answers->host_count, 5);
    dns_answers_free(w.answers);
    return w.took;
}

/* MX, then everything: two round trips, not three. Who asks one by one is never that quick; a busy machine is now and then. */
static void hosts_are_asked_all_at_once(void **state)
{
    int64_t until = clock_ms() + 60000, took;

    (void)state;
    do
        took = time_for_five_hosts();
    while (took > 749 && clock_ms() < until);
    assert_in_range(took, 500, 749);
}

static void landings_come_on_a_thread_of_the_lookups_own(void **state)
{
    struct lookup *l = open_lookup(60);
    struct waiter w;
    struct crowd c;

    (void)state;
    crowd_init(&c);
    mutex_lock(&c.lock);                        /* an arrival inside the call would wait for ever */
    ask(l, &w, &c, "[192.0.2.1]");
    mutex_unlock(&c.lock);
    crowd_wait(&c, 1);
    l->close(l);
    crowd_done(&c);
    assert_false(pthread_equal(w.thread, pthread_self()));
    dns_answers_free(w.answers);
}

static void the_same_question_may_be_asked_twice(void **state)
{
    struct lookup *l = open_lookup(60);
    struct waiter w[20];
    struct crowd c;
    size_t i;

    (void)state;
    crowd_init(&c);
    for (i = 0; i < COUNT_OF(w); i++)
        ask(l, &w[i], &c, "good.example");
    crowd_wait(&c, COUNT_OF(w));
    l->close(l);
    crowd_done(&c);
    for (i = 0; i < COUNT_OF(w); i++) {
        assert_true(w[i].answers->hosts[0].a.found);
        dns_answers_free(w[i].answers);
    }
}

enum { ASKERS = 8, EACH = 250 };

struct asker {
    struct lookup *lookup;
    struct crowd *crowd;
    struct waiter *waiters;
    int number;
    pthread_t thread;
};

static void *ask_many(void *argument)
{
    struct asker *a = argument;
    char name[64];
    int i;

    for (i = 0; i < EACH; i++) {
        snprintf(name, sizeof(name), "n%d.t%d.example", i, a->number);
        ask(a->lookup, &a->waiters[i], a->crowd, name);
    }
    return NULL;
}

static void many_threads_may_ask_for_thousands(void **state)
{
    struct waiter *w = mem_array(ASKERS * EACH, sizeof(*w));
    struct lookup *l = open_lookup(60);         /* sanitizers and valgrind take their time */
    struct asker askers[ASKERS];
    struct crowd c;
    size_t i;

    (void)state;
    crowd_init(&c);
    for (i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){ .lookup = l, .crowd = &c, .waiters = w + i * EACH, .number = (int)i };
        thread_start(&askers[i].thread, "asker", ask_many, &askers[i]);
    }
    for (i = 0; i < ASKERS; i++)
        pthread_join(askers[i].thread, NULL);
    crowd_wait(&c, ASKERS * EACH);
    l->close(l);
    crowd_done(&c);
    for (i = 0; i < ASKERS * EACH; i++) {
        assert_int_equal(w[i].answers->mx.trust, DNS_INSECURE);
        assert_int_equal(w[i].answers->host_count, 1);
        assert_true(w[i].answers->hosts[0].a.found);
        dns_answers_free(w[i].answers);
    }
    free(w);
}

/* Closing */

enum { DEAD = 1500 };

static void dead_servers_do_not_stand_in_the_way(void **state)
{
    struct waiter *w = mem_array(DEAD, sizeof(*w)), healthy;
    struct lookup *l = open_lookup(60);
    struct crowd dead, alive;
    char name[64];
    size_t i;

    (void)state;
    crowd_init(&dead);
    crowd_init(&alive);
    for (i = 0; i < DEAD; i++) {                /* more than are worked on at once */
        snprintf(name, sizeof(name), "n%zu.dead.example", i);
        ask(l, &w[i], &dead, name);
    }
    poll(NULL, 0, 100);
    ask(l, &healthy, &alive, "[mx.good.example]");
    crowd_wait(&alive, 1);
    l->close(l);
    assert_true(healthy.answers->hosts[0].a.found);
    assert_int_equal(dead.count, DEAD);
    crowd_done(&dead);
    crowd_done(&alive);
    for (i = 0; i < DEAD; i++) {
        assert_int_equal(w[i].answers->mx.trust, DNS_FAILED);
        dns_answers_free(w[i].answers);
    }
    dns_answers_free(healthy.answers);
    free(w);
}

static void closing_lets_everyone_arrive_at_once(void **state)
{
    struct lookup *l = open_lookup(60);
    struct waiter *w = mem_array(2000, sizeof(*w));
    struct query_waiter q = { .landing = { .arrive = query_arrive } };
    struct crowd c;
    char name[64];
    size_t i;

    (void)state;
    crowd_init(&c);
    q.crowd = &c;
    for (i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), i % 3 == 0 ? "[mx.n%zu.dead.example]" : "n%zu.dead.example", i);
        ask(l, &w[i], &c, name);
    }
    l->query(l, "dead.example", DNS_TYPE_SOA, &q.landing);
    poll(NULL, 0, 20);
    l->close(l);
    assert_int_equal(c.count, 2001);
    crowd_done(&c);
    assert_int_equal(q.look.trust, DNS_FAILED);
    for (i = 0; i < 2000; i++) {
        const struct dns_answers *a = w[i].answers;

        assert_int_equal(a->host_count > 0 ? a->hosts[0].a.trust : a->mx.trust, DNS_FAILED);
        assert_true(a->host_count > 0 ? a->hosts[0].a.asked : a->mx.asked);
        dns_answers_free(w[i].answers);
    }
    free(w);
}

struct stubborn {
    struct waiter waiter;
    struct lookup *lookup;
    struct waiter again;
};

static void arrive_and_ask_again(struct landing *self, struct dns_answers *answers)
{
    struct stubborn *s = (struct stubborn *)self;

    ask(s->lookup, &s->again, s->waiter.crowd, "good.example");
    arrive(self, answers);
}

static void a_landing_may_ask_again_even_while_closing(void **state)
{
    struct stubborn s = { .lookup = open_lookup(60) };
    struct next_hop hop;
    struct crowd c;

    (void)state;
    crowd_init(&c);
    s.waiter = (struct waiter){ .landing = { .arrive = arrive_and_ask_again }, .crowd = &c };
    assert_true(next_hop_parse("dead.example", &hop, NULL));
    s.lookup->resolve(s.lookup, &hop, &s.waiter.landing);
    s.lookup->close(s.lookup);
    assert_int_equal(c.count, 2);
    crowd_done(&c);
    assert_string_equal(s.again.answers->mx.why, "the resolver is closing");
    dns_answers_free(s.waiter.answers);
    dns_answers_free(s.again.answers);
}

/* Settings */

static void refused(const struct settings *set, const char *words)
{
    struct lookup *l;
    struct fault why = { "" };

    assert_false(dns_open(set, &l, &why));
    if (strstr(why.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why.text, words);
}

static void bad_settings_are_named(void **state)
{
    static const char *bad_forward[] = { "resolver.example" };
    static const char *bad_anchor[] = { "not an anchor" };
    struct settings set = settings_of(2);

    (void)state;
    set.resolver.forward.items = bad_forward;
    refused(&set, "resolver.forward: \"resolver.example\"");
    set = settings_of(2);
    set.resolver.trust_anchor_file = "/nonexistent/root.key";
    refused(&set, "/nonexistent/root.key");
    set = settings_of(2);
    set.resolver.root_hints = "/nonexistent/root.hints";
    refused(&set, "resolver.root_hints");
    set = settings_of(2);
    set.resolver.trust_anchor = (struct setting_list){ .items = bad_anchor, .count = 1 };
    refused(&set, "not an anchor");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unsigned_partner_is_insecure),
        cmocka_unit_test(aliases_are_followed),
        cmocka_unit_test(denials_are_told_apart_and_live_as_their_soa_says),
        cmocka_unit_test(errors_of_the_servers_have_failed),
        cmocka_unit_test(silence_has_failed_when_the_time_is_up),
        cmocka_unit_test(more_hosts_than_the_ceiling_are_clipped_in_order),
        cmocka_unit_test(a_literal_arrives_too_and_asks_nothing),
        cmocka_unit_test(nothing_is_asked_before_the_first_question),
        cmocka_unit_test(single_queries_say_whether_and_how_secure),
        cmocka_unit_test(a_single_query_fails_when_the_time_is_up),
        cmocka_unit_test(hosts_are_asked_all_at_once),
        cmocka_unit_test(landings_come_on_a_thread_of_the_lookups_own),
        cmocka_unit_test(the_same_question_may_be_asked_twice),
        cmocka_unit_test(many_threads_may_ask_for_thousands),
        cmocka_unit_test(dead_servers_do_not_stand_in_the_way),
        cmocka_unit_test(closing_lets_everyone_arrive_at_once),
        cmocka_unit_test(a_landing_may_ask_again_even_while_closing),
        cmocka_unit_test(bad_settings_are_named),
    };

    return cmocka_run_group_tests(tests, server_start, server_stop);
}
