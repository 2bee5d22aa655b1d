/*
 * The engine's MTA-STS half: when it is waited for, what is kept, what is fetched again. Time is ours, the resolver and
 * the policy hosts are scripted, the store is a real one where something has to outlive its engine.
 */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "fake_lookup.h"
#include "site.h"
#include "store/policies.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HOUR = 3600, DAY = 24 * HOUR };

static _Atomic int64_t ahead_ms;

int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
struct timespec __real_clock_spec(int64_t ms);
struct timespec __wrap_clock_spec(int64_t ms);
time_t __real_clock_wall(void);
time_t __wrap_clock_wall(void);

int64_t __wrap_clock_ms(void)
{
    return __real_clock_ms() + atomic_load(&ahead_ms);
}

struct timespec __wrap_clock_spec(int64_t ms)
{
    return __real_clock_spec(ms - atomic_load(&ahead_ms));
}

time_t __wrap_clock_wall(void)
{
    return __real_clock_wall() + (time_t)(atomic_load(&ahead_ms) / 1000);
}

static void pass(int seconds)
{
    atomic_fetch_add(&ahead_ms, (int64_t)seconds * 1000);
}

/* Bank: DANE mandatory. Firm: MTA-STS mandatory. Friend: neither. Hub and Twin: MTA-STS mandatory, by smart hosts. */
struct scene {
    struct settings set;
    char folder[64];
    struct fake *fake;
    struct store *store;
    struct policies *policies;
    struct ruleset *rules;              /* until scene_open() */
    struct engine *engine;
};

static void scene_init(struct scene *s)
{
    *s = (struct scene){ .set = { .resolver = { .when_broken = "hold-mandatory", .entries = 10000, .cache = 64 << 20,
                                                .tlsa_records = 16 } },
                         .folder = "/tmp/danelaw-sts-XXXXXX" };
    assert_non_null(mkdtemp(s->folder));
    s->set.store.directory = s->folder;
    s->fake = fake_new();
    fake_says(s->fake, "*", FAKE_ABSENT);
    s->rules = rules_new();
    rules_add(s->rules, "Bank", MODE_MANDATORY, MODE_OPPORTUNISTIC, "bank.example *.bank.example");
    rules_add(s->rules, "Firm", MODE_OPPORTUNISTIC, MODE_MANDATORY, "firm.example *.firm.example");
    rules_add(s->rules, "Friend", MODE_OPPORTUNISTIC, MODE_OPPORTUNISTIC, "friend.example *.friend.example");
    rules_smart_hosts(s->rules, rules_add(s->rules, "Hub", MODE_OPPORTUNISTIC, MODE_MANDATORY, "customer.example"),
                      "[relay.hub.example]:587");
    rules_smart_hosts(s->rules, rules_add(s->rules, "Twin", MODE_OPPORTUNISTIC, MODE_MANDATORY, "twin.example"),
                      "[relay.example]");
    rules_smart_hosts(s->rules, rules_add(s->rules, "Literal", MODE_OPPORTUNISTIC, MODE_MANDATORY, "literal.example"),
                      "[192.0.2.7]");
    s->store = store_open(&s->set);
    s->policies = policies_open(s->store, 10000, (int64_t)clock_wall());
}

static void scene_open(struct scene *s)
{
    ruleset_freeze(s->rules);
    s->engine = engine_open(&s->set, fake_lookup(s->fake), &(struct engine_memory){ .policies = s->policies },
                            s->rules);
    ruleset_unref(take(s->rules));
}

static void scene_stop(struct scene *s)
{
    engine_close(take(s->engine));
    fake_free(take(s->fake));
    policies_close(take(s->policies));
    store_close(take(s->store));
}

static void remove_folder(const struct scene *s)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", s->folder);
    assert_int_equal(system(command), 0);
}

static void scene_close(struct scene *s)
{
    scene_stop(s);
    remove_folder(s);
}

/* The same folder, another process. */
static void scene_restart(struct scene *s)
{
    struct scene fresh;

    scene_stop(s);
    scene_init(&fresh);
    policies_close(fresh.policies);
    store_close(fresh.store);
    remove_folder(&fresh);
    memcpy(fresh.folder, s->folder, sizeof(fresh.folder));
    *s = fresh;
    s->set.store.directory = s->folder;
    s->store = store_open(&s->set);
    s->policies = policies_open(s->store, 10000, (int64_t)clock_wall());
}

/* A policy file; valid until the fourth next one. */
static const char *policy(const char *mode, const char *mx, int max_age)
{
    static _Thread_local char texts[4][256];
    static _Thread_local unsigned next;
    char *text = texts[next++ % 4];

    snprintf(text, sizeof(texts[0]), "version: STSv1\nmode: %s\nmx: %s\nmax_age: %d\n", mode, mx, max_age);
    return text;
}

/* As if it had been fetched so many seconds ago. */
static void keep(struct scene *s, const char *name, const char *id, const char *body, int seconds_ago)
{
    struct sts_policy *parsed = NULL;
    struct domain d;

    assert_true(domain_parse(name, &d, NULL));
    assert_true(sts_policy_parse(body, strlen(body), &parsed, NULL));
    assert_true(policies_put(s->policies, &d, id, parsed, body, strlen(body), (int64_t)clock_wall() - seconds_ago));
    sts_policy_unref(parsed);
}

static bool is_kept(struct scene *s, const char *name)
{
    struct kept_policy kept;
    struct domain d;

    assert_true(domain_parse(name, &d, NULL));
    if (!policies_get(s->policies, &d, (int64_t)clock_wall(), &kept))
        return false;
    sts_policy_unref(kept.policy);
    return true;
}

static void ask(struct scene *s, const char *to, int patience_ms, struct answer *ret)
{
    struct question q = { 0 };

    address_parse(to, &q.to);
    address_parse("al@home.example", &q.from);
    engine_ask_by(s->engine, &q, clock_ms() + patience_ms, ret);
}

/* `secure match=... servername=hostname`, or the reason it is held for. Valid until the fourth next answer. */
static const char *words_of(const struct answer *a)
{
    static _Thread_local char texts[4][256];
    static _Thread_local unsigned next;
    static const struct evidence nothing = { 0 };
    char *words = texts[next++ % 4];
    struct text t;

    if (a->decision.verdict == VERDICT_HOLD) {
        snprintf(words, sizeof(texts[0]), "%s", reason_word(a->decision.reason));
        return words;
    }
    text_init(&t, 1024);
    decision_policy(&a->decision, a->connector, a->found == NULL ? &nothing : a->found, &t);
    snprintf(words, sizeof(texts[0]), "%s", text_words(&t));
    text_done(&t);
    return words;
}

static const char *outcome(struct scene *s, const char *to, int patience_ms)
{
    const char *words;
    struct answer a;

    ask(s, to, patience_ms, &a);
    words = words_of(&a);
    answer_done(&a);
    return words;
}

enum { PATIENT = FAKE_WAIT_MS };

#define assert_comes_to(s, to, words) assert_string_equal(outcome(s, to, PATIENT), words)

#define EU_NAMES "secure match=mx1.eu.firm.example:mx2.eu.firm.example servername=hostname"

/* Somebody who asks on a thread of his own. */
struct asker {
    struct scene *scene;
    const char *to;
    pthread_t thread;
    atomic_bool done;
    char words[256];
    char connector[64];
};

static void *asker_body(void *argument)
{
    struct asker *me = argument;
    struct answer a;

    ask(me->scene, me->to, PATIENT, &a);
    snprintf(me->words, sizeof(me->words), "%s", words_of(&a));
    snprintf(me->connector, sizeof(me->connector), "%s", a.connector->name);
    answer_done(&a);
    atomic_store(&me->done, true);
    return NULL;
}

static void asker_start(struct asker *a, struct scene *s, const char *to)
{
    a->scene = s;
    a->to = to;
    atomic_init(&a->done, false);
    thread_start(&a->thread, "asker", asker_body, a);
}

static void wait_count(unsigned (*counter)(struct fake *f, const char *domain), struct scene *s, const char *domain,
                       unsigned least)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;

    while (counter(s->fake, domain) < least && clock_ms() < until) {
        engine_adopt(s->engine, engine_rules(s->engine));               /* wakes the watch */
        usleep(10000);
    }
    assert_in_range(counter(s->fake, domain), least, 1000);
}

/* The answer to one question of a table. */
struct reply {
    struct pending pending;
    atomic_int count;
    char policy[512];
};

static void reply_done(struct pending *self, const char *words)
{
    struct reply *r = (struct reply *)self;

    snprintf(r->policy, sizeof(r->policy), "%s", words == NULL ? "TEMP" : words);
    atomic_fetch_add(&r->count, 1);
}

static void ask_map(struct scene *s, enum map_table table, const char *key, struct reply *r)
{
    struct next_hop hop;

    assert_true(next_hop_parse(key, &hop, NULL));
    r->pending.done = reply_done;
    atomic_init(&r->count, 0);
    engine_ask_map(s->engine, table, &hop, &r->pending);
}

static void wait_reply(struct reply *r)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;

    while (atomic_load(&r->count) == 0 && clock_ms() < until)
        usleep(1000);
    assert_int_equal(atomic_load(&r->count), 1);
}

static const char *map_says(struct scene *s, enum map_table table, const char *key)
{
    static struct reply r;

    ask_map(s, table, key, &r);
    wait_reply(&r);
    return r.policy;
}

/* Waiting */

static void mandatory_mta_sts_waits_for_the_policy(void **state)
{
    struct asker a;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", DAY));
    fake_parks_file(s.fake, "eu.firm.example");
    scene_open(&s);
    asker_start(&a, &s, "bo@eu.firm.example");
    wait_count(fake_fetches, &s, "eu.firm.example", 1);
    usleep(50000);
    assert_false(atomic_load(&a.done));
    fake_lets_sts_go(s.fake, "eu.firm.example");
    pthread_join(a.thread, NULL);
    assert_string_equal(a.words, EU_NAMES);
    assert_string_equal(outcome(&s, "bo@eu.firm.example", 0), EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    assert_int_equal(fake_texts(s.fake, "eu.firm.example"), 1);
    assert_true(is_kept(&s, "eu.firm.example"));
    scene_close(&s);
}

static void the_deadline_ends_the_wait_for_a_policy_and_the_fetch_goes_on(void **state)
{
    struct answer a;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", DAY));
    fake_parks_file(s.fake, "eu.firm.example");
    scene_open(&s);
    ask(&s, "bo@eu.firm.example", 200, &a);
    assert_string_equal(words_of(&a), "dns-temp");
    assert_in_range(a.took_ms, 190, PATIENT);
    answer_done(&a);
    fake_lets_sts_go(s.fake, "eu.firm.example");
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    scene_close(&s);
}

static void a_usable_dane_does_not_wait_for_a_hanging_policy_host(void **state)
{
    struct answer a;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_says(s.fake, "*", FAKE_USABLE);
    fake_parks_text(s.fake, "*");
    fake_parks_file(s.fake, "*");
    scene_open(&s);
    ask(&s, "bo@eu.bank.example", PATIENT, &a);
    assert_string_equal(words_of(&a), "dane-only");
    assert_in_range(a.took_ms, 0, PATIENT / 2);
    answer_done(&a);
    assert_string_equal(map_says(&s, MAP_POSTFIX_TLS, "eu.friend.example"), "dane-only");
    ask(&s, "bo@eu.firm.example", 200, &a);                             /* but here it is half of the matter */
    assert_string_equal(words_of(&a), "dns-temp");
    answer_done(&a);
    scene_close(&s);
}

static void a_mandatory_dane_that_fails_does_not_wait_either(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_parks_text(s.fake, "*");
    fake_says(s.fake, "bogus.firm.example", FAKE_BOGUS);
    scene_open(&s);
    assert_comes_to(&s, "bo@eu.bank.example", "dane-required");
    assert_comes_to(&s, "bo@bogus.firm.example", "dnssec-invalid");
    scene_close(&s);
}

static void opportunistic_mta_sts_never_waits_at_rcpt(void **state)
{
    struct answer a;
    struct scene s;
    int i;

    (void)state;
    scene_init(&s);
    fake_sts(s.fake, "eu.friend.example", "1", policy("enforce", "*.eu.friend.example", DAY));
    fake_parks_text(s.fake, "eu.friend.example");
    scene_open(&s);
    for (i = 0; i < 3; i++) {
        ask(&s, "bo@eu.friend.example", PATIENT, &a);
        assert_int_equal(a.decision.verdict, VERDICT_DELIVER);
        assert_in_range(a.took_ms, 0, PATIENT / 2);
        answer_done(&a);
        assert_true(fake_wait_settled(s.fake));
    }
    assert_int_equal(fake_texts(s.fake, "eu.friend.example"), 1);       /* but the search has begun */
    fake_lets_sts_go(s.fake, "eu.friend.example");
    wait_count(fake_fetches, &s, "eu.friend.example", 1);
    assert_true(fake_wait_settled(s.fake));
    assert_string_equal(outcome(&s, "bo@eu.friend.example", 0),
                        "secure match=mx1.eu.friend.example:mx2.eu.friend.example servername=hostname");
    scene_close(&s);
}

static void the_map_waits_for_both_halves_in_either_order(void **state)
{
    static const char *const expected = "secure match=mx1.eu.friend.example:mx2.eu.friend.example servername=hostname";
    struct reply r;
    struct scene s;
    int sts_first;

    (void)state;
    for (sts_first = 0; sts_first < 2; sts_first++) {
        scene_init(&s);
        fake_sts(s.fake, "eu.friend.example", "1", policy("enforce", "*.eu.friend.example", DAY));
        fake_parks(s.fake, "eu.friend.example");
        fake_parks_text(s.fake, "eu.friend.example");
        scene_open(&s);
        ask_map(&s, MAP_POSTFIX_TLS, "eu.friend.example", &r);
        wait_count(fake_texts, &s, "eu.friend.example", 1);
        wait_count(fake_searches, &s, "eu.friend.example", 1);
        assert_int_equal(fake_searches(s.fake, "eu.friend.example"), 1);        /* side by side, not one by one */
        assert_int_equal(fake_texts(s.fake, "eu.friend.example"), 1);
        if (sts_first)
            fake_lets_sts_go(s.fake, "eu.friend.example");
        else
            fake_lets_go(s.fake, "eu.friend.example");
        usleep(100000);
        assert_int_equal(atomic_load(&r.count), 0);
        fake_lets_sts_go(s.fake, "eu.friend.example");
        fake_lets_go(s.fake, "eu.friend.example");
        wait_reply(&r);
        assert_string_equal(r.policy, expected);
        scene_close(&s);
    }
}

/* States */

static void each_state_has_its_answer(void **state)
{
    static const struct {
        const char *id, *mode, *mx;     /* mode NULL: the policy host is dead; "": its file is no policy */
        const char *sts, *mandatory, *map;
    } cases[] = {
        { "1", "enforce", "*.d0.%s", "enforce", "secure", "secure" },
        { "1", "enforce", "mx.other.example", "enforce-mismatch", "sts-mx-mismatch", "TEMP" },
        { "1", "testing", "*.d2.%s", "testing", "sts-required", "" },
        { "1", "none", "*.d3.%s", "none", "sts-required", "" },
        { "", "enforce", "*.d4.%s", "absent", "sts-required", "" },
        { "1", NULL, "", "fetch-error", "sts-fetch-error", "" },
        { "1", "", "", "fetch-error", "sts-fetch-error", "" },
        { NULL, NULL, "", "unknown", "dns-temp", "" },
    };
    static const char *const owners[] = { "firm.example", "friend.example" };
    struct scene s;
    size_t i, j;

    (void)state;
    scene_init(&s);
    scene_open(&s);
    for (i = 0; i < COUNT_OF(cases); i++) {
        for (j = 0; j < COUNT_OF(owners); j++) {
            char name[64], mx[64], to[80];
            struct answer a;

            snprintf(name, sizeof(name), "d%zu.%s", i, owners[j]);
            snprintf(to, sizeof(to), "bo@%s", name);
            snprintf(mx, sizeof(mx), strchr(cases[i].mx, '%') == NULL ? "%s" : "*.%s",
                     strchr(cases[i].mx, '%') == NULL ? cases[i].mx : name);
            if (cases[i].id == NULL)
                fake_sts_text_fails(s.fake, name);
            else
                fake_sts(s.fake, name, cases[i].id, cases[i].mode == NULL ? NULL : *cases[i].mode == '\0' ? "garbage" :
                         policy(cases[i].mode, mx, DAY));
            if (j == 1) {
                assert_string_equal(map_says(&s, MAP_POSTFIX_TLS, name)[0] == 's' ? "secure" :
                                    map_says(&s, MAP_POSTFIX_TLS, name), cases[i].map);
                continue;
            }
            ask(&s, to, PATIENT, &a);
            assert_string_equal(sts_word(a.found->sts), cases[i].sts);
            if (a.decision.verdict == VERDICT_DELIVER)
                assert_memory_equal(words_of(&a), "secure match=mx1.", 17);
            else
                assert_string_equal(words_of(&a), cases[i].mandatory);
            assert_true(*a.found->sts_why != '\0' || a.found->sts == STS_ABSENT);
            answer_done(&a);
        }
    }
    scene_close(&s);
}

/* What is kept */

static void open_with_policy(struct scene *s, int max_age)
{
    scene_init(s);
    fake_sts(s->fake, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", max_age));
    scene_open(s);
    assert_comes_to(s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s->fake, "eu.firm.example"), 1);
}

static void a_kept_policy_outlives_its_txt_record(void **state)
{
    struct scene s;

    (void)state;
    open_with_policy(&s, DAY);
    fake_sts(s.fake, "eu.firm.example", "", NULL);
    pass(301);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_in_range(fake_texts(s.fake, "eu.firm.example"), 2, 3);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    scene_close(&s);
}

static void a_kept_policy_outlives_failing_txt_look_ups(void **state)
{
    struct scene s;

    (void)state;
    open_with_policy(&s, DAY);
    fake_sts_text_fails(s.fake, "eu.firm.example");
    pass(301);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    scene_close(&s);
}

static void a_kept_policy_outlives_a_dead_policy_host_that_is_left_alone(void **state)
{
    struct scene s;

    (void)state;
    open_with_policy(&s, DAY);
    fake_sts(s.fake, "eu.firm.example", "2", NULL);
    pass(301);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    wait_count(fake_fetches, &s, "eu.firm.example", 2);
    pass(190);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 2);
    pass(120);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    wait_count(fake_fetches, &s, "eu.firm.example", 3);
    fake_sts(s.fake, "eu.firm.example", "2", policy("enforce", "mx1.eu.firm.example", DAY));
    pass(601);
    assert_comes_to(&s, "bo@eu.firm.example", "secure match=mx1.eu.firm.example servername=hostname");
    scene_close(&s);
}

static void a_kept_policy_outlives_an_invalid_new_one(void **state)
{
    struct scene s;

    (void)state;
    open_with_policy(&s, DAY);
    fake_sts(s.fake, "eu.firm.example", "2", "version: STSv1\nmode: enforce\nmax_age: 86400\n");
    pass(301);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 2);
    assert_true(is_kept(&s, "eu.firm.example"));
    scene_close(&s);
}

static void a_new_id_fetches_and_the_same_does_not(void **state)
{
    struct scene s;

    (void)state;
    open_with_policy(&s, DAY);
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "mx2.eu.firm.example", DAY));
    pass(301);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    fake_sts(s.fake, "eu.firm.example", "2", policy("enforce", "mx2.eu.firm.example", DAY));
    pass(301);
    assert_comes_to(&s, "bo@eu.firm.example", "secure match=mx2.eu.firm.example servername=hostname");
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 2);
    scene_close(&s);
}

static void the_txt_record_is_asked_for_again_by_its_ttl_between_a_minute_and_an_hour(void **state)
{
    static const struct {
        uint32_t ttl;
        int expected;
    } cases[] = { { 0, 60 }, { 59, 60 }, { 61, 61 }, { 3599, 3599 }, { 3601, 3600 }, { 4000000000U, 3600 } };
    struct scene s;
    size_t i;

    (void)state;
    scene_init(&s);
    fake_ttl(s.fake, "*", DAY);
    scene_open(&s);
    for (i = 0; i < COUNT_OF(cases); i++) {
        char name[64], to[80];
        struct answer a;
        int64_t asked;

        snprintf(name, sizeof(name), "t%zu.firm.example", i);
        snprintf(to, sizeof(to), "bo@%s", name);
        fake_sts_ttl(s.fake, name, cases[i].ttl);
        fake_sts(s.fake, name, "1", policy("enforce", "mx1.other.example", DAY));
        asked = clock_ms();
        ask(&s, to, PATIENT, &a);
        assert_in_range(a.found->fresh_until - cases[i].expected * 1000, asked, clock_ms());
        answer_done(&a);
    }
    scene_close(&s);
}

static void a_body_of_yesterday_is_fetched_again_under_the_same_id(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    keep(&s, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", 7 * DAY), DAY + 60);
    keep(&s, "us.firm.example", "1", policy("enforce", "*.us.firm.example", 7 * DAY), DAY - 600);
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "mx1.eu.firm.example", 7 * DAY));
    fake_sts(s.fake, "us.firm.example", "1", policy("enforce", "mx1.us.firm.example", 7 * DAY));
    scene_open(&s);
    assert_comes_to(&s, "bo@eu.firm.example", "secure match=mx1.eu.firm.example servername=hostname");
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    assert_comes_to(&s, "bo@us.firm.example", "secure match=mx1.us.firm.example:mx2.us.firm.example servername=hostname");
    assert_int_equal(fake_fetches(s.fake, "us.firm.example"), 0);
    scene_close(&s);
}

static void a_max_age_of_zero_counts_and_is_not_kept(void **state)
{
    struct scene s;

    (void)state;
    open_with_policy(&s, 0);
    assert_false(is_kept(&s, "eu.firm.example"));
    pass(61);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_in_range(fake_fetches(s.fake, "eu.firm.example"), 2, 3);
    fake_sts(s.fake, "eu.firm.example", "1", NULL);
    pass(61);
    assert_comes_to(&s, "bo@eu.firm.example", "sts-fetch-error");
    scene_close(&s);
}

static void a_policy_ends_with_its_max_age(void **state)
{
    static const char *const expected[] = { "sts-required", "dns-temp", "sts-fetch-error" };
    struct answer a;
    struct scene s;
    int how;

    (void)state;
    for (how = 0; how < 3; how++) {
        open_with_policy(&s, 200);
        ask(&s, "bo@eu.firm.example", PATIENT, &a);
        assert_in_range(a.found->fresh_until - clock_ms(), 1, 200 * 1000);       /* the TXT record's TTL is longer */
        answer_done(&a);
        if (how == 1)
            fake_sts_text_fails(s.fake, "eu.firm.example");
        else
            fake_sts(s.fake, "eu.firm.example", how == 0 ? "" : "1", NULL);
        pass(201);
        assert_comes_to(&s, "bo@eu.firm.example", expected[how]);
        assert_false(is_kept(&s, "eu.firm.example"));
        scene_close(&s);
    }
}

static void evidence_never_outlives_a_kept_policy(void **state)
{
    struct answer a;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_sts_ttl(s.fake, "eu.firm.example", HOUR);
    keep(&s, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", HOUR), HOUR - 100);
    fake_sts(s.fake, "eu.firm.example", "1", NULL);
    scene_open(&s);
    ask(&s, "bo@eu.firm.example", PATIENT, &a);
    assert_string_equal(words_of(&a), EU_NAMES);
    assert_in_range(a.found->fresh_until - clock_ms(), 1, 100 * 1000);
    answer_done(&a);
    pass(101);
    assert_comes_to(&s, "bo@eu.firm.example", "sts-fetch-error");
    scene_close(&s);
}

static void policies_survive_a_restart(void **state)
{
    struct scene s;

    (void)state;
    open_with_policy(&s, DAY);
    scene_restart(&s);
    fake_sts_text_fails(s.fake, "eu.firm.example");
    scene_open(&s);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 0);
    scene_restart(&s);
    fake_sts(s.fake, "eu.firm.example", "1", NULL);
    scene_open(&s);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 0);
    pass(DAY + 1);
    scene_restart(&s);
    fake_sts_text_fails(s.fake, "eu.firm.example");
    scene_open(&s);
    assert_comes_to(&s, "bo@eu.firm.example", "dns-temp");
    scene_close(&s);
}

/* Mismatch */

static void a_mismatch_is_believed_once_the_policy_was_fetched_again(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    keep(&s, "eu.firm.example", "1", policy("enforce", "old.firm.example", DAY), 2 * HOUR);
    keep(&s, "us.firm.example", "1", policy("enforce", "old.firm.example", DAY), 2 * HOUR);
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", DAY));
    fake_sts(s.fake, "us.firm.example", "1", policy("enforce", "old.firm.example", DAY));
    scene_open(&s);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    assert_comes_to(&s, "bo@us.firm.example", "sts-mx-mismatch");
    assert_int_equal(fake_fetches(s.fake, "us.firm.example"), 1);
    pass(30);
    assert_comes_to(&s, "bo@us.firm.example", "sts-mx-mismatch");
    assert_int_equal(fake_fetches(s.fake, "us.firm.example"), 1);       /* within a minute: not again */
    pass(60);
    assert_comes_to(&s, "bo@us.firm.example", "sts-mx-mismatch");
    assert_int_equal(fake_fetches(s.fake, "us.firm.example"), 2);
    scene_close(&s);
}

static void the_map_fetches_again_before_it_believes_a_mismatch(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    keep(&s, "eu.friend.example", "1", policy("enforce", "old.friend.example", DAY), 2 * HOUR);
    keep(&s, "us.friend.example", "1", policy("enforce", "old.friend.example", DAY), 2 * HOUR);
    fake_sts(s.fake, "eu.friend.example", "1", policy("testing", "*.eu.friend.example", DAY));
    fake_sts(s.fake, "us.friend.example", "1", policy("enforce", "old.friend.example", DAY));
    scene_open(&s);
    assert_string_equal(map_says(&s, MAP_POSTFIX_TLS, "eu.friend.example"), "");
    assert_int_equal(fake_fetches(s.fake, "eu.friend.example"), 1);
    assert_string_equal(map_says(&s, MAP_POSTFIX_TLS, "us.friend.example"), "TEMP");
    assert_string_equal(map_says(&s, MAP_POSTFIX_TLS, "us.friend.example"), "TEMP");
    assert_int_equal(fake_fetches(s.fake, "us.friend.example"), 1);
    scene_close(&s);
}

static void a_mismatch_of_a_policy_just_fetched_is_believed_at_once(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "old.firm.example", DAY));
    scene_open(&s);
    assert_comes_to(&s, "bo@eu.firm.example", "sts-mx-mismatch");
    assert_comes_to(&s, "bo@eu.firm.example", "sts-mx-mismatch");
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    assert_int_equal(fake_texts(s.fake, "eu.firm.example"), 1);
    scene_close(&s);
}

static void a_mismatch_leaves_a_failed_policy_host_alone(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    keep(&s, "eu.firm.example", "1", policy("enforce", "old.firm.example", DAY), 2 * HOUR);
    fake_sts(s.fake, "eu.firm.example", "1", NULL);
    scene_open(&s);
    assert_comes_to(&s, "bo@eu.firm.example", "sts-mx-mismatch");
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    pass(90);
    assert_comes_to(&s, "bo@eu.firm.example", "sts-mx-mismatch");
    pass(90);
    assert_comes_to(&s, "bo@eu.firm.example", "sts-mx-mismatch");
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    pass(130);
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", DAY));
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 2);
    scene_close(&s);
}

/* Once every question looked the TXT record up anew, and waited for that. */
static void a_mismatch_without_a_txt_record_is_not_looked_up_with_every_question(void **state)
{
    struct scene s;
    int i;

    (void)state;
    scene_init(&s);
    keep(&s, "eu.firm.example", "1", policy("enforce", "old.firm.example", DAY), 2 * HOUR);
    fake_sts(s.fake, "eu.firm.example", "", NULL);
    scene_open(&s);
    for (i = 0; i < 10; i++)
        assert_comes_to(&s, "bo@eu.firm.example", "sts-mx-mismatch");
    assert_in_range(fake_texts(s.fake, "eu.firm.example"), 1, 2);
    scene_close(&s);
}

/* Once a search of the watch that was under way, for nobody in doubt, made up for the fetch. */
static void a_mismatch_is_not_believed_for_a_search_that_does_not_doubt_it(void **state)
{
    struct asker a;
    struct scene s;

    (void)state;
    scene_init(&s);
    keep(&s, "firm.example", "1", policy("enforce", "old.firm.example", DAY), 2 * HOUR);
    fake_sts(s.fake, "firm.example", "1", policy("enforce", "*.firm.example", DAY));
    scene_open(&s);
    wait_count(fake_texts, &s, "firm.example", 1);
    assert_true(fake_wait_settled(s.fake));
    fake_parks_text(s.fake, "firm.example");
    pass(250);
    wait_count(fake_texts, &s, "firm.example", 2);                      /* the watch, ahead of time */
    asker_start(&a, &s, "bo@firm.example");
    usleep(100000);
    fake_lets_sts_go(s.fake, "firm.example");
    pthread_join(a.thread, NULL);
    assert_string_equal(a.words, "secure match=mx1.firm.example:mx2.firm.example servername=hostname");
    assert_int_equal(fake_fetches(s.fake, "firm.example"), 1);
    scene_close(&s);
}

/* Next hops */

static void a_smart_hosts_policy_domain_is_its_own_name(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_sts(s.fake, "relay.hub.example", "1", policy("enforce", "relay.hub.example", DAY));
    fake_sts(s.fake, "customer.example", "1", policy("enforce", "mx.customer.example", DAY));
    scene_open(&s);
    assert_comes_to(&s, "bo@customer.example", "secure match=relay.hub.example servername=hostname");
    assert_string_equal(map_says(&s, MAP_POSTFIX_MANDATORY, "[relay.hub.example]:587"),
                        "secure match=relay.hub.example servername=hostname");
    assert_int_equal(fake_texts(s.fake, "customer.example"), 0);
    assert_int_equal(fake_fetches(s.fake, "relay.hub.example"), 1);
    scene_close(&s);
}

static void a_literal_has_no_policy_and_is_never_looked_up(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    scene_open(&s);
    assert_comes_to(&s, "bo@literal.example", "sts-required");
    assert_string_equal(map_says(&s, MAP_POSTFIX_MANDATORY, "[192.0.2.7]"), "TEMP");
    assert_int_equal(fake_texts(s.fake, "192.0.2.7"), 0);
    assert_int_equal(fake_texts(s.fake, "literal.example"), 0);
    scene_close(&s);
}

static void a_wildcard_covers_a_host_of_two_labels(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_sts(s.fake, "relay.example", "1", policy("enforce", "*.example", DAY));
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "*.firm.example", DAY));
    scene_open(&s);
    assert_comes_to(&s, "bo@twin.example", "secure match=relay.example servername=hostname");
    assert_comes_to(&s, "bo@eu.firm.example", "sts-mx-mismatch");      /* mx1.eu is two labels */
    scene_close(&s);
}

/* Many at once, and ends */

static void closing_ends_every_fetch_and_holds(void **state)
{
    enum { ASKERS = 12 };
    static char to[ASKERS][80];
    struct asker askers[ASKERS];
    struct reply replies[ASKERS];
    struct scene s;
    char name[64];
    int i;

    (void)state;
    scene_init(&s);
    for (i = 0; i < ASKERS; i++) {
        snprintf(name, sizeof(name), "c%d.firm.example", i);
        fake_sts(s.fake, name, "1", policy("enforce", "*.firm.example", DAY));
        if (i % 2 == 0)
            fake_parks_file(s.fake, name);
        else
            fake_parks_text(s.fake, name);
    }
    scene_open(&s);
    for (i = 0; i < ASKERS; i++) {
        snprintf(name, sizeof(name), "c%d.firm.example", i);
        snprintf(to[i], sizeof(to[i]), "bo@%s", name);
        ask_map(&s, MAP_POSTFIX_MANDATORY, name, &replies[i]);
        asker_start(&askers[i], &s, to[i]);
    }
    for (i = 0; i < ASKERS; i++) {
        snprintf(name, sizeof(name), "c%d.firm.example", i);
        wait_count(i % 2 == 0 ? fake_fetches : fake_texts, &s, name, 1);
    }
    usleep(50000);
    engine_stop(s.engine);
    for (i = 0; i < ASKERS; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_true(strcmp(askers[i].words, "dns-temp") == 0 || strcmp(askers[i].words, "sts-fetch-error") == 0 ||
                    strcmp(askers[i].words, "internal") == 0);
        assert_int_equal(atomic_load(&replies[i].count), 1);
        assert_string_equal(replies[i].policy, "TEMP");
    }
    scene_close(&s);
}

static struct ruleset *other_rules(void)
{
    struct ruleset *rules = rules_new();

    rules_add(rules, "Other", MODE_MANDATORY, MODE_NONE, "*.firm.example");
    ruleset_freeze(rules);
    return rules;
}

static void a_reload_while_fetching_leaves_the_question_its_rules(void **state)
{
    struct asker a;
    struct reply r;
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", DAY));
    fake_parks_file(s.fake, "eu.firm.example");
    scene_open(&s);
    asker_start(&a, &s, "bo@eu.firm.example");
    wait_count(fake_fetches, &s, "eu.firm.example", 1);
    ask_map(&s, MAP_POSTFIX_MANDATORY, "eu.firm.example", &r);
    engine_adopt(s.engine, other_rules());
    engine_adopt(s.engine, other_rules());
    usleep(50000);
    fake_lets_sts_go(s.fake, "eu.firm.example");
    pthread_join(a.thread, NULL);
    wait_reply(&r);
    assert_string_equal(a.connector, "Firm");
    assert_string_equal(a.words, EU_NAMES);
    assert_string_equal(r.policy, EU_NAMES);
    assert_comes_to(&s, "bo@eu.firm.example", "dane-required");
    scene_close(&s);
}

enum { THREADS = 200, HOPS = 20, ROUNDS = 5 };

struct crowd {
    struct scene *scene;
    const char *expected;
    atomic_int number, wrong;
};

static void *crowd_body(void *argument)
{
    struct crowd *c = argument;
    int me = atomic_fetch_add(&c->number, 1), i;
    char to[64];

    for (i = 0; i < ROUNDS; i++) {
        snprintf(to, sizeof(to), "bo@n%d.firm.example", (me + i * 7) % HOPS);
        if (strncmp(outcome(c->scene, to, 60000), c->expected, strlen(c->expected)) != 0)
            atomic_fetch_add(&c->wrong, 1);
    }
    return NULL;
}

static void crowd_asks(struct scene *s, const char *expected)
{
    struct crowd c = { .scene = s, .expected = expected };
    pthread_t threads[THREADS];
    int i;

    log_set_level(LOG_LEVEL_ERROR);
    for (i = 0; i < THREADS; i++)
        thread_start(&threads[i], "crowd", crowd_body, &c);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_set_level(LOG_LEVEL_INFO);
    assert_int_equal(atomic_load(&c.wrong), 0);
}

static void two_hundred_askers_cause_one_fetch_for_each_domain(void **state)
{
    struct scene s;
    char name[64];
    int i;

    (void)state;
    scene_init(&s);
    fake_delays(s.fake, "*", 20);
    for (i = 0; i < HOPS; i++) {
        snprintf(name, sizeof(name), "n%d.firm.example", i);
        fake_sts(s.fake, name, "1", policy("enforce", "mx1.n0.firm.example", DAY));
        if (i > 0) {
            char mx[80];

            snprintf(mx, sizeof(mx), "*.%s", name);
            fake_sts(s.fake, name, "1", policy("enforce", mx, DAY));
        }
    }
    scene_open(&s);
    crowd_asks(&s, "secure match=mx1.n");
    for (i = 0; i < HOPS; i++) {
        snprintf(name, sizeof(name), "n%d.firm.example", i);
        assert_int_equal(fake_fetches(s.fake, name), 1);
        assert_int_equal(fake_texts(s.fake, name), 1);
    }
    scene_close(&s);
}

static void two_hundred_doubts_cause_one_fetch_for_each_domain(void **state)
{
    struct scene s;
    char name[64];
    int i;

    (void)state;
    scene_init(&s);
    for (i = 0; i < HOPS; i++) {
        snprintf(name, sizeof(name), "n%d.firm.example", i);
        keep(&s, name, "1", policy("enforce", "old.firm.example", DAY), 2 * HOUR);
        fake_sts(s.fake, name, "1", policy("enforce", "old.firm.example", DAY));
    }
    scene_open(&s);
    crowd_asks(&s, "sts-mx-mismatch");
    for (i = 0; i < HOPS; i++) {
        snprintf(name, sizeof(name), "n%d.firm.example", i);
        assert_int_equal(fake_fetches(s.fake, name), 1);
    }
    scene_close(&s);
}

/* The watch, and a broken resolver */

static void the_policies_of_mandatory_domains_are_warm_before_anybody_asks(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    fake_says(s.fake, "bank.example", FAKE_USABLE);
    fake_sts(s.fake, "firm.example", "1", policy("enforce", "*.firm.example", DAY));
    fake_sts(s.fake, "relay.hub.example", "1", policy("enforce", "relay.hub.example", DAY));
    scene_open(&s);
    wait_count(fake_fetches, &s, "firm.example", 1);
    wait_count(fake_fetches, &s, "relay.hub.example", 1);
    wait_count(fake_texts, &s, "bank.example", 1);
    wait_count(fake_searches, &s, "firm.example", 1);                   /* the halves are kept warm apart, in rounds of their own */
    wait_count(fake_searches, &s, "[relay.hub.example]:587", 1);
    assert_int_equal(fake_texts(s.fake, "friend.example"), 0);
    assert_true(fake_wait_settled(s.fake));
    assert_string_equal(outcome(&s, "bo@firm.example", 0),
                        "secure match=mx1.firm.example:mx2.firm.example servername=hostname");
    assert_string_equal(outcome(&s, "bo@customer.example", 0), "secure match=relay.hub.example servername=hostname");
    pass(250);
    wait_count(fake_texts, &s, "firm.example", 2);                      /* before the first expires */
    assert_true(fake_wait_settled(s.fake));
    pass(100);
    assert_string_equal(outcome(&s, "bo@firm.example", 0),
                        "secure match=mx1.firm.example:mx2.firm.example servername=hostname");
    assert_int_equal(fake_fetches(s.fake, "firm.example"), 1);
    scene_close(&s);
}

static void a_broken_resolver_holds_whatever_policy_is_kept(void **state)
{
    struct engine_status status;
    struct scene s;
    int64_t until;

    (void)state;
    scene_init(&s);
    fake_root(s.fake, DNS_BOGUS, false);
    keep(&s, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", DAY), 60);
    keep(&s, "eu.friend.example", "1", policy("enforce", "*.eu.friend.example", DAY), 60);
    fake_sts(s.fake, "eu.firm.example", "1", policy("enforce", "*.eu.firm.example", DAY));
    scene_open(&s);
    until = clock_ms() + FAKE_WAIT_MS;
    do {
        usleep(1000);
        engine_status(s.engine, &status);
    } while (!status.resolver_checked && clock_ms() < until);
    assert_true(status.resolver_checked && !status.resolver_proven);
    assert_comes_to(&s, "bo@eu.firm.example", "dns-temp");
    assert_comes_to(&s, "bo@eu.friend.example", "site");
    assert_string_equal(map_says(&s, MAP_POSTFIX_MANDATORY, "eu.firm.example"), "TEMP");
    scene_close(&s);
}

static void forgetting_a_policy_fetches_it_again(void **state)
{
    size_t evidence, policies;
    struct domain d;
    struct scene s;

    (void)state;
    open_with_policy(&s, DAY);
    assert_true(domain_parse("eu.firm.example", &d, NULL));
    engine_cache_flush(s.engine, &d, false, &evidence, &policies);
    assert_int_equal(policies, 0);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 1);
    engine_cache_flush(s.engine, &d, true, &evidence, &policies);
    assert_int_equal(policies, 1);
    assert_comes_to(&s, "bo@eu.firm.example", EU_NAMES);
    assert_int_equal(fake_fetches(s.fake, "eu.firm.example"), 2);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mandatory_mta_sts_waits_for_the_policy),
        cmocka_unit_test(the_deadline_ends_the_wait_for_a_policy_and_the_fetch_goes_on),
        cmocka_unit_test(a_usable_dane_does_not_wait_for_a_hanging_policy_host),
        cmocka_unit_test(a_mandatory_dane_that_fails_does_not_wait_either),
        cmocka_unit_test(opportunistic_mta_sts_never_waits_at_rcpt),
        cmocka_unit_test(the_map_waits_for_both_halves_in_either_order),
        cmocka_unit_test(each_state_has_its_answer),
        cmocka_unit_test(a_kept_policy_outlives_its_txt_record),
        cmocka_unit_test(a_kept_policy_outlives_failing_txt_look_ups),
        cmocka_unit_test(a_kept_policy_outlives_a_dead_policy_host_that_is_left_alone),
        cmocka_unit_test(a_kept_policy_outlives_an_invalid_new_one),
        cmocka_unit_test(a_new_id_fetches_and_the_same_does_not),
        cmocka_unit_test(the_txt_record_is_asked_for_again_by_its_ttl_between_a_minute_and_an_hour),
        cmocka_unit_test(a_body_of_yesterday_is_fetched_again_under_the_same_id),
        cmocka_unit_test(a_max_age_of_zero_counts_and_is_not_kept),
        cmocka_unit_test(a_policy_ends_with_its_max_age),
        cmocka_unit_test(evidence_never_outlives_a_kept_policy),
        cmocka_unit_test(policies_survive_a_restart),
        cmocka_unit_test(a_mismatch_is_believed_once_the_policy_was_fetched_again),
        cmocka_unit_test(the_map_fetches_again_before_it_believes_a_mismatch),
        cmocka_unit_test(a_mismatch_of_a_policy_just_fetched_is_believed_at_once),
        cmocka_unit_test(a_mismatch_leaves_a_failed_policy_host_alone),
        cmocka_unit_test(a_mismatch_without_a_txt_record_is_not_looked_up_with_every_question),
        cmocka_unit_test(a_mismatch_is_not_believed_for_a_search_that_does_not_doubt_it),
        cmocka_unit_test(a_smart_hosts_policy_domain_is_its_own_name),
        cmocka_unit_test(a_literal_has_no_policy_and_is_never_looked_up),
        cmocka_unit_test(a_wildcard_covers_a_host_of_two_labels),
        cmocka_unit_test(closing_ends_every_fetch_and_holds),
        cmocka_unit_test(a_reload_while_fetching_leaves_the_question_its_rules),
        cmocka_unit_test(two_hundred_askers_cause_one_fetch_for_each_domain),
        cmocka_unit_test(two_hundred_doubts_cause_one_fetch_for_each_domain),
        cmocka_unit_test(the_policies_of_mandatory_domains_are_warm_before_anybody_asks),
        cmocka_unit_test(a_broken_resolver_holds_whatever_policy_is_kept),
        cmocka_unit_test(forgetting_a_policy_fetches_it_again),
    };

    log_open("test_engine_sts", false, "mail");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
