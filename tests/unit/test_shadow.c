/* Connectors in test mode: what they say, and that they do nothing. What was recorded is read from the log. */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "fake_lookup.h"
#include "site.h"
#include "store/counters.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINES_MAX = 10000, LINE_SIZE = 400, PATIENCE_MS = FAKE_WAIT_MS, PARKED_MAX = 4096 };

static struct mutex lines_lock = { PTHREAD_MUTEX_INITIALIZER };
static char lines[LINES_MAX][LINE_SIZE];
static size_t line_count;

void __wrap_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

void __wrap_log_info(const char *format, ...)
{
    va_list args;

    if (strstr(format, "verdict=") == NULL)
        return;
    mutex_lock(&lines_lock);
    assert_true(line_count < LINES_MAX);
    va_start(args, format);
    vsnprintf(lines[line_count++], LINE_SIZE, format, args);
    va_end(args);
    mutex_unlock(&lines_lock);
}

static bool is_shadow(const char *line)
{
    size_t length = strlen(line);

    return length > 12 && strcmp(line + length - 12, " shadow=true") == 0;
}

/* How many lines there are of shadows, or of others. */
static size_t count_lines(bool shadows)
{
    size_t count = 0, i;

    mutex_lock(&lines_lock);
    for (i = 0; i < line_count; i++)
        count += is_shadow(lines[i]) == shadows;
    mutex_unlock(&lines_lock);
    return count;
}

/* Waits until there are so many shadows, and gives the last, valid until the next scene; no more come unless somebody asks. */
static const char *shadow_line(size_t count)
{
    int64_t until = clock_ms() + PATIENCE_MS;
    size_t i;

    while (count_lines(true) < count && clock_ms() < until)
        usleep(1000);
    assert_int_equal(count_lines(true), count);
    for (i = line_count; i-- > 0;) {
        if (is_shadow(lines[i]))
            return lines[i];
    }
    return "";
}

struct scene {
    struct settings set;
    struct fake *fake;
    struct ruleset *rules;              /* until scene_open() */
    struct engine *engine;
    struct counters *counters;
};

static void scene_init(struct scene *s)
{
    *s = (struct scene){ .set = { .resolver = { .when_broken = "hold-mandatory", .entries = 10000, .cache = 64 << 20,
                                                .tlsa_records = 16 } },
                         .counters = counters_new(1000) };
    s->fake = fake_new();
    s->rules = rules_new();
    line_count = 0;
}

static struct connector *test(struct scene *s, const char *name, enum mode dane, enum mode sts, const char *recipients)
{
    struct connector *c = rules_add(s->rules, name, dane, sts, recipients);

    c->test_mode = true;
    return c;
}

static void scene_open(struct scene *s)
{
    ruleset_freeze(s->rules);
    s->engine = engine_open(&s->set, fake_lookup(s->fake), &(struct engine_memory){ .counters = s->counters }, s->rules);
    ruleset_unref(take(s->rules));
}

static void scene_close(struct scene *s)
{
    engine_close(s->engine);
    fake_free(s->fake);
    counters_free(s->counters);
}

static struct decision ask_from(struct scene *s, const char *to, const char *from, const char *queue_id)
{
    struct question q = { 0 };
    struct decision d;
    struct answer a;

    address_parse(to, &q.to);
    address_parse(from, &q.from);
    engine_ask_by(s->engine, &q, clock_ms() + PATIENCE_MS, &a);
    engine_tell(s->engine, &q.to, &q.from, queue_id, &a);
    d = a.decision;
    answer_done(&a);
    return d;
}

static struct decision ask(struct scene *s, const char *to)
{
    return ask_from(s, to, "al@home.example", "4fQz1x0");
}

#define assert_says(line, words)                                            \
    do {                                                                    \
        const char *line_ = (line);                                         \
        if (strstr(line_, words) == NULL)                                   \
            fail_msg("\"%s\" does not say \"%s\"", line_, words);           \
    } while (0)

/* At RCPT */

static void a_shadow_says_what_it_would_do_and_the_next_best_acts(void **state)
{
    struct scene s;
    const char *line;

    (void)state;
    scene_init(&s);
    test(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    fake_says(s.fake, "bank.example", FAKE_ABSENT);
    scene_open(&s);
    assert_int_equal(ask(&s, "bo@bank.example").verdict, VERDICT_DELIVER);
    line = shadow_line(1);
    assert_says(line, "4fQz1x0: to=<bo@bank.example> from=<al@home.example> connector=\"Bank\" dane=absent ");
    assert_says(line, " verdict=hold reason=dane-required route=dane-mandatory policy=- ");
    assert_int_equal(count_lines(false), 1);
    assert_says(lines[0], "connector=\"(default)\"");
    scene_close(&s);
}

static void a_shadow_that_would_deliver_names_its_policy(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    test(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    scene_open(&s);
    ask(&s, "bo@bank.example");
    assert_says(shadow_line(1), " dane=usable sts=absent verdict=deliver reason=- route=dane-mandatory policy=dane-only ");
    scene_close(&s);
}

static void cold_evidence_holds_up_nobody_and_the_shadow_speaks_when_it_lands(void **state)
{
    struct engine_status status;
    struct scene s;

    (void)state;
    scene_init(&s);
    test(&s, "Bank", MODE_MANDATORY, MODE_NONE, "*");
    fake_says(s.fake, "bank.example", FAKE_BOGUS);
    fake_parks(s.fake, "bank.example");
    scene_open(&s);
    assert_int_equal(ask(&s, "bo@bank.example").verdict, VERDICT_DELIVER);
    assert_int_equal(count_lines(true), 0);
    engine_status(s.engine, &status);
    assert_int_equal(status.shadows, 1);
    fake_lets_go(s.fake, "bank.example");
    assert_says(shadow_line(1), " dane=bogus ");
    assert_says(shadow_line(1), " verdict=hold reason=dnssec-invalid ");
    assert_int_equal(fake_searches(s.fake, "bank.example"), 1);     /* the same for both */
    scene_close(&s);
}

static void a_shadow_waits_for_both_halves(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    test(&s, "Bank", MODE_NONE, MODE_MANDATORY, "bank.example");
    fake_sts(s.fake, "bank.example", "1", "version: STSv1\r\nmode: enforce\r\nmx: mx1.bank.example\r\nmax_age: 86400\r\n");
    fake_parks_file(s.fake, "bank.example");
    scene_open(&s);
    ask(&s, "bo@bank.example");
    assert_int_equal(count_lines(true), 0);
    fake_lets_sts_go(s.fake, "bank.example");
    assert_says(shadow_line(1), " sts=enforce verdict=deliver reason=- route=sts-mandatory policy=secure match=mx1.bank.example");
    scene_close(&s);
}

static void smart_hosts_are_tried_in_order(void **state)
{
    struct scene s;
    struct connector *hub;

    (void)state;
    scene_init(&s);
    hub = test(&s, "Hub", MODE_MANDATORY, MODE_NONE, "hub.example");
    rules_smart_hosts(s.rules, hub, "[one.hub.example] [two.hub.example]:587 [192.0.2.7]");
    hub = test(&s, "Dead", MODE_MANDATORY, MODE_NONE, "dead.example");
    rules_smart_hosts(s.rules, hub, "[one.hub.example] [192.0.2.7]");
    fake_says(s.fake, "[one.hub.example]", FAKE_BOGUS);
    fake_says(s.fake, "hub.example", FAKE_FAILS);
    scene_open(&s);
    ask(&s, "bo@hub.example");
    assert_says(shadow_line(1), " dane=usable sts=absent verdict=deliver ");
    ask(&s, "bo@dead.example");                                     /* all held: the first speaks */
    assert_says(shadow_line(2), " dane=bogus sts=absent verdict=hold reason=dnssec-invalid ");
    scene_close(&s);
}

static void an_address_literal_has_its_shadow_too(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    test(&s, "All", MODE_MANDATORY, MODE_NONE, "*");
    scene_open(&s);
    ask(&s, "bo@[192.0.2.1]");
    assert_says(shadow_line(1), "to=<bo@[192.0.2.1]> ");
    assert_says(shadow_line(1), " dane=absent ");
    scene_close(&s);
}

static void who_is_not_ruled_by_it_has_no_shadow(void **state)
{
    struct scene s;
    struct connector *some;

    (void)state;
    scene_init(&s);
    test(&s, "All", MODE_MANDATORY, MODE_NONE, "*");
    some = test(&s, "Some", MODE_MANDATORY, MODE_NONE, "shop.example");
    rules_senders(s.rules, some, "boss@home.example");
    rules_add(s.rules, "Friend", MODE_OPPORTUNISTIC, MODE_NONE, "friend.example");
    scene_open(&s);
    ask(&s, "bo@friend.example");
    assert_int_equal(count_lines(true), 0);
    ask_from(&s, "bo@shop.example", "boss@home.example", "A1");
    assert_says(shadow_line(1), "A1: to=<bo@shop.example> from=<boss@home.example> connector=\"Some\" ");
    ask_from(&s, "bo@shop.example", "al@home.example", NULL);
    assert_says(shadow_line(2), "NOQUEUE: to=<bo@shop.example> from=<al@home.example> connector=\"All\" ");
    assert_int_equal(count_lines(false), 3);
    scene_close(&s);
}

static void a_broken_resolver_holds_a_shadow_as_it_would_hold_the_connector(void **state)
{
    struct engine_status status = { 0 };
    struct scene s;
    int64_t until;

    (void)state;
    scene_init(&s);
    test(&s, "Bank", MODE_MANDATORY, MODE_NONE, "bank.example");
    fake_root(s.fake, DNS_BOGUS, false);
    scene_open(&s);
    until = clock_ms() + PATIENCE_MS;
    do {
        usleep(1000);
        engine_status(s.engine, &status);
    } while (!status.resolver_checked && clock_ms() < until);
    assert_true(status.resolver_checked && !status.resolver_proven);
    assert_int_equal(ask(&s, "bo@bank.example").verdict, VERDICT_DELIVER);
    assert_says(shadow_line(1), " dane=unknown sts=unknown verdict=hold reason=dns-temp ");
    scene_close(&s);
}

static void a_session_has_the_shadows_of_its_own_rules(void **state)
{
    struct question q = { 0 };
    struct ruleset *fresh = rules_new();
    struct scene s;
    struct answer a;

    (void)state;
    scene_init(&s);
    test(&s, "Old", MODE_MANDATORY, MODE_NONE, "*");
    scene_open(&s);
    q.rules = engine_rules(s.engine);
    ruleset_freeze(fresh);
    engine_adopt(s.engine, fresh);
    address_parse("bo@bank.example", &q.to);
    address_parse("al@home.example", &q.from);
    fake_parks(s.fake, "bank.example");
    engine_ask_by(s.engine, &q, clock_ms(), &a);
    engine_tell(s.engine, &q.to, &q.from, "A1", &a);
    answer_done(&a);
    ruleset_unref(q.rules);                             /* the shadow alone still holds them */
    fake_lets_go(s.fake, "bank.example");
    assert_says(shadow_line(1), "connector=\"Old\"");
    ask(&s, "bo@bank.example");
    assert_int_equal(count_lines(true), 1);
    scene_close(&s);
}

/* At the tables */

struct reply {
    struct pending pending;
    atomic_int count;
    char policy[256];
};

static void reply_done(struct pending *self, const char *policy)
{
    struct reply *r = (struct reply *)self;

    snprintf(r->policy, sizeof(r->policy), "%s", policy == NULL ? "TEMP" : policy);
    atomic_fetch_add(&r->count, 1);
}

static const char *ask_table(struct scene *s, const char *key)
{
    static struct reply r;
    int64_t until = clock_ms() + PATIENCE_MS;
    struct next_hop hop;

    r = (struct reply){ .pending = { .done = reply_done } };
    assert_true(next_hop_parse(key, &hop, NULL));
    engine_ask_map(s->engine, MAP_POSTFIX_TLS, &hop, &r.pending);
    while (atomic_load(&r.count) == 0 && clock_ms() < until)
        usleep(1000);
    assert_int_equal(atomic_load(&r.count), 1);
    return r.policy;
}

static void a_table_answers_by_who_acts_and_the_shadow_is_told_beside(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    test(&s, "All", MODE_MANDATORY, MODE_NONE, "*");
    fake_says(s.fake, "shop.example", FAKE_ABSENT);
    scene_open(&s);
    assert_string_equal(ask_table(&s, "shop.example"), "");
    assert_says(shadow_line(1), "NOQUEUE: to=<shop.example> from=<-> connector=\"All\" dane=absent sts=absent verdict=hold ");
    assert_string_equal(ask_table(&s, "good.example"), "dane-only");
    assert_says(shadow_line(2), "to=<good.example> ");
    scene_close(&s);
}

static void a_table_has_no_shadow_for_some_senders_or_hosts(void **state)
{
    struct scene s;
    struct connector *some;

    (void)state;
    scene_init(&s);
    some = test(&s, "Some", MODE_MANDATORY, MODE_NONE, "shop.example");
    rules_senders(s.rules, some, "boss@home.example");
    test(&s, "One", MODE_MANDATORY, MODE_NONE, "bo@bank.example");
    test(&s, "All", MODE_MANDATORY, MODE_NONE, "*.example");
    rules_add(s.rules, "Friend", MODE_OPPORTUNISTIC, MODE_NONE, "friend.example");
    scene_open(&s);
    ask_table(&s, "friend.example");
    ask_table(&s, "[mx.shop.example]");
    ask_table(&s, "[192.0.2.1]");
    assert_int_equal(count_lines(true), 0);
    ask_table(&s, "bank.example");
    assert_says(shadow_line(1), "connector=\"All\"");
    ask_table(&s, "shop.example");
    assert_says(shadow_line(2), "connector=\"All\"");
    scene_close(&s);
}

/* Counting, limits, the end */

struct sum {
    uint64_t count;
    struct counted last;
};

static void add(void *self, const struct counted *one)
{
    struct sum *sum = self;

    sum->count += one->count;
    sum->last = *one;
}

static void shadows_are_counted_apart_and_touch_nobodys_clock(void **state)
{
    struct engine_status status;
    struct sum real = { 0 }, shadow = { 0 };
    struct scene s;
    struct connector *bank;

    (void)state;
    scene_init(&s);
    bank = test(&s, "Bank", MODE_MANDATORY, MODE_NONE, "*");
    bank->fallback = bank->route;
    bank->on_fallback = arena_take(ruleset_memory(s.rules), sizeof(*bank->on_fallback));
    fake_says(s.fake, "*", FAKE_ABSENT);
    scene_open(&s);
    ask(&s, "bo@bank.example");
    shadow_line(1);
    assert_true(fake_wait_settled(s.fake));                         /* it is counted behind its line */
    counters_each(s.counters, false, add, &real);
    counters_each(s.counters, true, add, &shadow);
    assert_int_equal(real.count, 1);
    assert_string_equal(real.last.connector, "(default)");
    assert_int_equal(shadow.count, 1);
    assert_string_equal(shadow.last.connector, "Bank");
    assert_int_equal(shadow.last.verdict, VERDICT_HOLD);
    assert_int_equal(shadow.last.reason, REASON_DANE_REQUIRED);
    engine_status(s.engine, &status);
    assert_int_equal(status.held, 0);
    assert_int_equal(status.fallen_back, 0);
    scene_close(&s);
}

static void only_so_many_shadows_wait(void **state)
{
    struct engine_status status;
    struct scene s;
    char to[64];
    int i;

    (void)state;
    scene_init(&s);
    test(&s, "All", MODE_MANDATORY, MODE_NONE, "*");
    fake_parks(s.fake, "slow.example");
    scene_open(&s);
    for (i = 0; i < PARKED_MAX + 100; i++) {
        snprintf(to, sizeof(to), "user%d@slow.example", i);
        ask(&s, to);
    }
    engine_status(s.engine, &status);
    assert_int_equal(status.shadows, PARKED_MAX);
    assert_int_equal(status.shadows_dropped, 100);
    fake_lets_go(s.fake, "slow.example");
    shadow_line(PARKED_MAX);
    ask(&s, "again@slow.example");
    shadow_line(PARKED_MAX + 1);
    scene_close(&s);
}

static void the_end_lets_go_of_shadows_that_wait(void **state)
{
    struct scene s;
    char to[64];
    int i;

    (void)state;
    scene_init(&s);
    test(&s, "All", MODE_MANDATORY, MODE_MANDATORY, "*");
    fake_parks(s.fake, "*");
    scene_open(&s);
    for (i = 0; i < 50; i++) {
        snprintf(to, sizeof(to), "user@slow%d.example", i);
        ask(&s, to);
    }
    engine_stop(s.engine);
    assert_int_equal(count_lines(true), 50);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shadow_says_what_it_would_do_and_the_next_best_acts),
        cmocka_unit_test(a_shadow_that_would_deliver_names_its_policy),
        cmocka_unit_test(cold_evidence_holds_up_nobody_and_the_shadow_speaks_when_it_lands),
        cmocka_unit_test(a_shadow_waits_for_both_halves),
        cmocka_unit_test(smart_hosts_are_tried_in_order),
        cmocka_unit_test(an_address_literal_has_its_shadow_too),
        cmocka_unit_test(who_is_not_ruled_by_it_has_no_shadow),
        cmocka_unit_test(a_broken_resolver_holds_a_shadow_as_it_would_hold_the_connector),
        cmocka_unit_test(a_session_has_the_shadows_of_its_own_rules),
        cmocka_unit_test(a_table_answers_by_who_acts_and_the_shadow_is_told_beside),
        cmocka_unit_test(a_table_has_no_shadow_for_some_senders_or_hosts),
        cmocka_unit_test(shadows_are_counted_apart_and_touch_nobodys_clock),
        cmocka_unit_test(only_so_many_shadows_wait),
        cmocka_unit_test(the_end_lets_go_of_shadows_that_wait),
    };

    log_open("test_shadow", false, "mail");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
