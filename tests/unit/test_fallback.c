/* Fallback roads, from the hold that leads there to the table that has them, with a scripted resolver and time of ours. */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread.h"
#include "ear.h"
#include "fake_lookup.h"
#include "mta/tables.h"
#include "policy/roads.h"
#include "policy/vary.h"
#include "site.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { AFTER = 300 };                  /* evidence lives an hour, so that no test has to wait for another search */

static _Atomic int64_t ahead_ms;

int64_t __real_clock_ms(void);
int64_t __wrap_clock_ms(void);
struct timespec __real_clock_spec(int64_t ms);
struct timespec __wrap_clock_spec(int64_t ms);

int64_t __wrap_clock_ms(void)
{
    return __real_clock_ms() + atomic_load(&ahead_ms);
}

struct timespec __wrap_clock_spec(int64_t ms)
{
    return __real_clock_spec(ms - atomic_load(&ahead_ms));
}

/* Each round of the watch ends here. No clock jumps meanwhile: who is due together turns together. */
static struct mutex turning;
static atomic_uint turning_begun;

bool __real_fallbacks_turn(struct engine *e, const struct ruleset *rules);
bool __wrap_fallbacks_turn(struct engine *e, const struct ruleset *rules);

bool __wrap_fallbacks_turn(struct engine *e, const struct ruleset *rules)
{
    bool turned;

    atomic_fetch_add(&turning_begun, 1);
    mutex_lock(&turning);
    turned = __real_fallbacks_turn(e, rules);
    mutex_unlock(&turning);
    return turned;
}

static const char *const spare_names[] = { "spare.example" };
static const struct route spare = { .name = "spare", .transport = "leased-line", .next_hop = "[spare.example]",
                                    .tls = TLS_SECURE, .tls_match = spare_names, .tls_match_count = 1 };

struct scene {
    struct settings set;
    struct fake *fake;
    struct ruleset *rules;              /* until scene_open() */
    struct engine *engine;
    atomic_int turns;                   /* how often the hook was called */
};

static void scene_init(struct scene *s)
{
    *s = (struct scene){ .set = { .resolver = { .when_broken = "hold-mandatory", .entries = 10000, .cache = 64 << 20,
                                                .tlsa_records = 16 } } };
    s->fake = fake_new();
    fake_says(s->fake, "*", FAKE_ABSENT);
    fake_sts_ttl(s->fake, "*", 3600);
    s->rules = rules_new();
}

static void count_turn(void *self)
{
    struct scene *s = self;

    atomic_fetch_add(&s->turns, 1);
}

static void scene_open(struct scene *s)
{
    ruleset_freeze(s->rules);
    s->engine = engine_open(&s->set, fake_lookup(s->fake), &(struct engine_memory){ 0 },
                            s->rules);
    engine_on_turn(s->engine, (struct road_hook){ .turned = count_turn, .self = s });
    ruleset_unref(take(s->rules));
}

static void scene_close(struct scene *s)
{
    engine_close(s->engine);
    fake_free(s->fake);
}

static struct connector *with_fallback(struct ruleset *rules, struct connector *c)
{
    c->fallback = &spare;
    c->fallback_after = AFTER;
    c->on_fallback = arena_take(ruleset_memory(rules), sizeof(*c->on_fallback));
    atomic_init(c->on_fallback, false);
    return c;
}

static struct connector *add(struct ruleset *rules, const char *name, const char *recipients)
{
    return with_fallback(rules, rules_add(rules, name, MODE_MANDATORY, MODE_NONE, recipients));
}

/* Waits until the watch has come round, hook and all; the first round may have begun before. */
static void rounds(struct scene *s)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;
    unsigned before = atomic_load(&turning_begun);

    while (atomic_load(&turning_begun) - before < 3 && clock_ms() < until) {
        engine_adopt(s->engine, engine_rules(s->engine));               /* wakes it */
        usleep(2000);
    }
    assert_true(atomic_load(&turning_begun) - before >= 3);
}

static void pass(struct scene *s, int seconds)
{
    mutex_lock(&turning);
    atomic_fetch_add(&ahead_ms, (int64_t)seconds * 1000);
    mutex_unlock(&turning);
    rounds(s);
}

static bool is_on(struct scene *s, const char *name)
{
    struct ruleset *rules = engine_rules(s->engine);
    bool on = connector_on_fallback(ruleset_named(rules, name));

    ruleset_unref(rules);
    return on;
}

static void wait_on(struct scene *s, const char *name, bool on)
{
    int64_t until = clock_ms() + FAKE_WAIT_MS;

    while (is_on(s, name) != on && clock_ms() < until)
        rounds(s);
    rounds(s);                          /* the hook comes behind the turn */
    assert_int_equal(is_on(s, name), on);
}

static void ask(struct scene *s, const char *to, const char *from, struct answer *ret)
{
    struct question q = { 0 };

    address_parse(to, &q.to);
    address_parse(from, &q.from);
    engine_ask_by(s->engine, &q, clock_ms() + FAKE_WAIT_MS, ret);
    engine_tell(s->engine, &q.to, &q.from, "4fQz1x0", ret);
}

/* `verdict reason route`, as the log has them; valid until the fourth next one. */
static const char *outcome_from(struct scene *s, const char *to, const char *from)
{
    static _Thread_local char texts[4][128];
    static _Thread_local unsigned next;
    char *words = texts[next++ % 4];
    struct answer a;

    ask(s, to, from, &a);
    snprintf(words, sizeof(texts[0]), "%s %s %s", verdict_word(a.decision.verdict), reason_word(a.decision.reason),
             connector_road(a.connector)->name);
    answer_done(&a);
    return words;
}

#define assert_outcome(s, to, words) assert_string_equal(outcome_from(s, to, "al@home.example"), words)

/* The table that would be written now, without its banner. Gives. */
static char *table_of(struct scene *s)
{
    struct tables_own own = { NULL, 0 };
    struct ruleset *rules = engine_rules(s->engine);
    struct text t;
    char *lines;

    text_init(&t, 1024 * 1024);
    tables_render(rules, &own, &t);
    lines = mem_text(strchr(text_words(&t), '\n') + 1);
    text_done(&t);
    ruleset_unref(rules);
    return lines;
}

static void assert_table(struct scene *s, const char *expected)
{
    AUTO(free) char *lines = table_of(s);

    assert_string_equal(lines, expected);
}

/* Whether the connector answers for a next hop on a transport. */
static bool answers(struct scene *s, const char *transport, const char *key, const char *name)
{
    struct ruleset *rules = engine_rules(s->engine);
    struct connector_list list = { 0 };
    struct next_hop hop;
    bool found = false;
    size_t i;

    assert_true(next_hop_parse(key, &hop, NULL));
    road_askers(rules, transport, &hop, &list);
    for (i = 0; i < list.count; i++)
        found |= strcmp(list.items[i]->name, name) == 0;
    connector_list_done(&list);
    ruleset_unref(rules);
    return found;
}

/* Once it is looked for anew, it is what it is now. */
static void becomes(struct scene *s, const char *name, enum fake_world world)
{
    size_t evidence, policies;
    unsigned before = fake_searches(s->fake, name);
    struct domain d;

    fake_says(s->fake, name, world);
    assert_true(domain_parse(name, &d, NULL));
    engine_cache_flush(s->engine, &d, false, &evidence, &policies);
    rounds(s);
    assert_true(fake_wait_searches(s->fake, name, before + 1));
    assert_true(fake_wait_settled(s->fake));
    rounds(s);
}

/* Bank, held since now. */
static void open_held(struct scene *s)
{
    scene_init(s);
    add(s->rules, "Bank", "bank.example");
    scene_open(s);
    assert_outcome(s, "bo@bank.example", "hold dane-required dane-mandatory");
    rounds(s);
}

static void open_fallen(struct scene *s)
{
    open_held(s);
    pass(s, AFTER + 10);
    wait_on(s, "Bank", true);
}

static void a_lasting_hold_takes_the_fallback_and_its_end_leaves_it(void **state)
{
    struct scene s;

    (void)state;
    open_held(&s);
    assert_table(&s, "bank.example\tdanelaw-dane:\n");
    pass(&s, AFTER - 100);
    assert_false(is_on(&s, "Bank"));
    assert_outcome(&s, "bo@bank.example", "hold dane-required dane-mandatory");
    pass(&s, 110);
    wait_on(&s, "Bank", true);
    assert_int_equal(atomic_load(&s.turns), 1);
    assert_outcome(&s, "bo@bank.example", "fallback dane-required spare");
    assert_table(&s, "bank.example\tleased-line:[spare.example]\n");
    pass(&s, 3 * AFTER);                                                /* it is held all the while */
    assert_outcome(&s, "bo@bank.example", "fallback dane-required spare");
    assert_int_equal(atomic_load(&s.turns), 1);
    becomes(&s, "bank.example", FAKE_USABLE);
    assert_outcome(&s, "bo@bank.example", "deliver - spare");
    pass(&s, AFTER - 100);
    assert_true(is_on(&s, "Bank"));
    assert_int_equal(atomic_load(&s.turns), 1);
    pass(&s, 110);
    wait_on(&s, "Bank", false);
    assert_int_equal(atomic_load(&s.turns), 2);
    assert_outcome(&s, "bo@bank.example", "deliver - dane-mandatory");
    assert_table(&s, "bank.example\tdanelaw-dane:\n");
    pass(&s, 3 * AFTER);
    assert_int_equal(atomic_load(&s.turns), 2);
    scene_close(&s);
}

static void a_road_asks_for_a_connector_only_while_its_mail_is_there(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    with_fallback(s.rules, rules_add(s.rules, "Firm", MODE_OPPORTUNISTIC, MODE_MANDATORY, "firm.example"));
    rules_smart_hosts(s.rules, with_fallback(s.rules, rules_add(s.rules, "Hub", MODE_OPPORTUNISTIC, MODE_MANDATORY,
                                                                "customer.example")), "[hub.example] [huc.example]:587");
    scene_open(&s);
    rounds(&s);
    assert_outcome(&s, "bo@firm.example", "hold sts-required sts-mandatory");
    assert_outcome(&s, "bo@customer.example", "hold sts-required sts-mandatory");
    rounds(&s);
    assert_true(answers(&s, ROAD_STS, "firm.example", "Firm"));
    assert_true(answers(&s, ROAD_STS, "[huc.example]:587", "Hub"));
    assert_table(&s, "customer.example\tdanelaw-sts:[hub.example]:25,[huc.example]:587\nfirm.example\tdanelaw-sts:\n");
    pass(&s, AFTER + 10);
    wait_on(&s, "Firm", true);
    wait_on(&s, "Hub", true);
    assert_false(answers(&s, ROAD_STS, "firm.example", "Firm"));
    assert_false(answers(&s, ROAD_STS, "[huc.example]:587", "Hub"));
    assert_table(&s, "customer.example\tleased-line:[spare.example]\nfirm.example\tleased-line:[spare.example]\n");
    fake_sts(s.fake, "firm.example", "1", "version: STSv1\nmode: enforce\nmx: *.firm.example\nmax_age: 86400\n");
    becomes(&s, "firm.example", FAKE_ABSENT);
    assert_outcome(&s, "bo@firm.example", "deliver - spare");
    pass(&s, AFTER + 10);
    wait_on(&s, "Firm", false);
    assert_true(answers(&s, ROAD_STS, "firm.example", "Firm"));
    assert_true(is_on(&s, "Hub"));
    scene_close(&s);
}

static void those_who_turn_together_call_the_hook_once(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    add(s.rules, "Bank", "bank.example");
    add(s.rules, "Firm", "firm.example");
    add(s.rules, "Good", "good.example");
    fake_says(s.fake, "good.example", FAKE_USABLE);
    scene_open(&s);
    assert_outcome(&s, "bo@bank.example", "hold dane-required dane-mandatory");
    assert_outcome(&s, "bo@firm.example", "hold dane-required dane-mandatory");
    assert_outcome(&s, "bo@good.example", "deliver - dane-mandatory");
    rounds(&s);
    pass(&s, AFTER + 10);
    wait_on(&s, "Bank", true);
    wait_on(&s, "Firm", true);
    assert_false(is_on(&s, "Good"));
    assert_int_equal(atomic_load(&s.turns), 1);
    scene_close(&s);
}

static void a_passing_trouble_never_takes_the_fallback(void **state)
{
    struct scene s;
    int i;

    (void)state;
    scene_init(&s);
    fake_says(s.fake, "*", FAKE_FAILS);
    add(s.rules, "Bank", "bank.example");
    add(s.rules, "Below", "*.below.example");
    scene_open(&s);
    for (i = 0; i < 10; i++) {
        assert_outcome(&s, "bo@bank.example", "hold dns-temp dane-mandatory");
        assert_outcome(&s, "bo@eu.below.example", "hold dns-temp dane-mandatory");
        pass(&s, 300);
    }
    assert_int_equal(atomic_load(&s.turns), 0);
    scene_close(&s);
}

static void a_passing_trouble_stays_a_hold_on_the_fallback(void **state)
{
    struct scene s;

    (void)state;
    open_fallen(&s);
    becomes(&s, "bank.example", FAKE_FAILS);
    assert_outcome(&s, "bo@bank.example", "hold dns-temp spare");
    becomes(&s, "bank.example", FAKE_BOGUS);
    assert_outcome(&s, "bo@bank.example", "fallback dnssec-invalid spare");
    scene_close(&s);
}

/* Reloads */

static struct ruleset *bank_by(const char *name, bool falls)
{
    struct ruleset *rules = rules_new();
    struct connector *c = rules_add(rules, name, MODE_MANDATORY, MODE_NONE, "bank.example");

    if (falls)
        with_fallback(rules, c);
    rules_add(rules, "Other", MODE_MANDATORY, MODE_NONE, "other.example");
    ruleset_freeze(rules);
    return rules;
}

static void a_fallback_survives_a_reload_by_its_connectors_name(void **state)
{
    struct ruleset *old;
    struct scene s;

    (void)state;
    open_fallen(&s);
    old = engine_rules(s.engine);
    engine_adopt(s.engine, bank_by("Bank", true));
    assert_true(is_on(&s, "Bank"));                                     /* at once */
    assert_outcome(&s, "bo@bank.example", "fallback dane-required spare");
    assert_table(&s, "bank.example\tleased-line:[spare.example]\nother.example\tdanelaw-dane:\n");
    rounds(&s);
    assert_int_equal(atomic_load(&s.turns), 1);
    assert_true(connector_on_fallback(ruleset_named(old, "Bank")));     /* sessions finish as they began */
    ruleset_unref(old);
    engine_adopt(s.engine, bank_by("Bank", false));
    assert_outcome(&s, "bo@bank.example", "hold dane-required dane-mandatory");
    engine_adopt(s.engine, bank_by("Tresor", true));
    assert_outcome(&s, "bo@bank.example", "hold dane-required dane-mandatory");
    rounds(&s);
    assert_false(is_on(&s, "Tresor"));
    scene_close(&s);
}

static void the_clock_goes_on_across_a_reload(void **state)
{
    struct scene s;

    (void)state;
    open_held(&s);
    pass(&s, AFTER / 2);
    engine_adopt(s.engine, bank_by("Bank", true));
    rounds(&s);
    assert_false(is_on(&s, "Bank"));
    pass(&s, AFTER / 2 + 10);
    wait_on(&s, "Bank", true);
    assert_int_equal(atomic_load(&s.turns), 1);
    scene_close(&s);
}

static void other_modes_begin_on_their_own_road(void **state)
{
    struct override relaxed = { .connector = "Bank", .sets_dane = true, .smtp_dane = MODE_OPPORTUNISTIC };
    struct ruleset *configured, *varied;
    struct scene s;

    (void)state;
    open_fallen(&s);
    configured = engine_rules(s.engine);
    varied = ruleset_vary(configured, &relaxed, 1);
    engine_adopt(s.engine, varied);
    assert_false(is_on(&s, "Bank"));
    assert_table(&s, "bank.example\tdanelaw:\n");
    assert_true(connector_on_fallback(ruleset_named(configured, "Bank")));     /* sessions finish as they began */
    engine_adopt(s.engine, configured);
    assert_false(is_on(&s, "Bank"));            /* it holds its mail, and its clock begins anew */
    scene_close(&s);
}

/* By traffic */

static void a_wildcard_falls_back_by_its_traffic(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    add(s.rules, "Below", "*.bank.example");
    scene_open(&s);
    pass(&s, 2 * AFTER);
    assert_int_equal(atomic_load(&s.turns), 0);                         /* nobody asked */
    assert_outcome(&s, "bo@eu.bank.example", "hold dane-required dane-mandatory");
    pass(&s, AFTER - 100);
    assert_outcome(&s, "bo@us.bank.example", "hold dane-required dane-mandatory");
    assert_int_equal(atomic_load(&s.turns), 0);
    pass(&s, 110);
    wait_on(&s, "Below", true);
    assert_outcome(&s, "bo@eu.bank.example", "fallback dane-required spare");
    assert_table(&s, ".bank.example\tleased-line:[spare.example]\n");
    pass(&s, AFTER - 100);
    assert_outcome(&s, "bo@us.bank.example", "fallback dane-required spare");
    pass(&s, AFTER - 100);
    assert_true(is_on(&s, "Below"));                                    /* the last hold was later */
    fake_says(s.fake, "nu.bank.example", FAKE_USABLE);
    assert_outcome(&s, "bo@nu.bank.example", "deliver - spare");
    pass(&s, 110);
    wait_on(&s, "Below", false);
    assert_int_equal(atomic_load(&s.turns), 2);
    scene_close(&s);
}

/* Once it turned with every round, for as long as nobody asked. */
static void silence_does_not_turn_the_road_to_and_fro(void **state)
{
    struct scene s;
    int i;

    (void)state;
    scene_init(&s);
    add(s.rules, "Below", "*.bank.example");
    scene_open(&s);
    assert_outcome(&s, "bo@eu.bank.example", "hold dane-required dane-mandatory");
    for (i = 0; i < 20; i++)
        pass(&s, AFTER / 3);
    wait_on(&s, "Below", false);
    assert_int_equal(atomic_load(&s.turns), 2);
    scene_close(&s);
}

/* Smart hosts */

static void add_hub(struct scene *s, const char *hosts)
{
    rules_smart_hosts(s->rules, add(s->rules, "Hub", "customer.example"), hosts);
}

/* Once one bad host of several was enough, though mail went by the others. */
static void a_list_with_one_good_host_holds_nothing(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    add_hub(&s, "[bad.example] [good.example]");
    fake_says(s.fake, "[good.example]", FAKE_USABLE);
    scene_open(&s);
    assert_outcome(&s, "bo@customer.example", "deliver - dane-mandatory");
    rounds(&s);
    pass(&s, 2 * AFTER);
    assert_outcome(&s, "bo@customer.example", "deliver - dane-mandatory");
    assert_int_equal(atomic_load(&s.turns), 0);
    scene_close(&s);
}

static void a_list_of_bad_hosts_falls_back(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    add_hub(&s, "[bad.example] [worse.example]:587 [192.0.2.7]");
    scene_open(&s);
    assert_outcome(&s, "bo@customer.example", "hold dane-required dane-mandatory");
    rounds(&s);
    pass(&s, AFTER + 10);
    wait_on(&s, "Hub", true);
    assert_table(&s, "customer.example\tleased-line:[spare.example]\n");
    scene_close(&s);
}

/* Once nothing was ever known of a literal. */
static void a_literal_that_can_never_be_good_falls_back(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    add_hub(&s, "[192.0.2.7]");
    scene_open(&s);
    assert_outcome(&s, "bo@customer.example", "hold dane-required dane-mandatory");
    rounds(&s);
    pass(&s, AFTER + 10);
    wait_on(&s, "Hub", true);
    assert_outcome(&s, "bo@customer.example", "fallback dane-required spare");
    scene_close(&s);
}

/* Shared keys */

static void two_mandatory_on_one_key_do_not_share_a_fallback(void **state)
{
    struct scene s;

    (void)state;
    scene_init(&s);
    rules_senders(s.rules, add(s.rules, "Ours", "bank.example"), "al@home.example");
    rules_add(s.rules, "Theirs", MODE_MANDATORY, MODE_NONE, "bank.example");
    scene_open(&s);
    assert_outcome(&s, "bo@bank.example", "hold dane-required dane-mandatory");
    rounds(&s);
    pass(&s, AFTER + 10);
    wait_on(&s, "Ours", true);
    assert_table(&s, "bank.example\tdanelaw-dane:\n");                  /* Theirs didn't ask for the leased line */
    assert_string_equal(outcome_from(&s, "bo@bank.example", "jo@home.example"), "hold dane-required dane-mandatory");
    scene_close(&s);
}

/* The log */

static void the_log_names_the_fallback_road(void **state)
{
    struct scene s;
    struct answer a;
    char line[2048], *took;
    struct ear ear;

    (void)state;
    open_fallen(&s);
    ear_open(&ear);
    ask(&s, "bo@bank.example", "al@home.example", &a);
    ear_close(&ear, line, sizeof(line));
    answer_done(&a);
    took = strstr(line, " took=");
    assert_non_null(took);
    *took = '\0';
    assert_string_equal(line, "test_fallback: 4fQz1x0: to=<bo@bank.example> from=<al@home.example> connector=\"Bank\" "
                              "dane=absent sts=absent verdict=fallback reason=dane-required route=spare policy=-");
    scene_close(&s);
}

/* Many at once */

struct crowd {
    struct scene *scene;
    atomic_bool stop;
    atomic_int wrong;
};

static void *crowd_body(void *argument)
{
    struct crowd *c = argument;

    while (!atomic_load(&c->stop)) {
        struct answer a;

        ask(c->scene, "bo@eu.bank.example", "al@home.example", &a);
        if (a.decision.verdict != VERDICT_HOLD && a.decision.verdict != VERDICT_FALLBACK)
            atomic_fetch_add(&c->wrong, 1);
        answer_done(&a);
    }
    return NULL;
}

static struct ruleset *below_rules(void)
{
    struct ruleset *rules = rules_new();

    add(rules, "Below", "*.bank.example");
    add(rules, "Bank", "bank.example");
    ruleset_freeze(rules);
    return rules;
}

static void roads_turn_while_many_ask_and_rules_change(void **state)
{
    enum { THREADS = 16 };
    pthread_t threads[THREADS];
    struct crowd c = { 0 };
    struct scene s;
    int i;

    (void)state;
    scene_init(&s);
    add(s.rules, "Below", "*.bank.example");
    scene_open(&s);
    c.scene = &s;
    log_set_level(LOG_LEVEL_ERROR);
    for (i = 0; i < THREADS; i++)
        thread_start(&threads[i], "crowd", crowd_body, &c);
    for (i = 0; i < 10; i++) {
        engine_adopt(s.engine, below_rules());
        free(table_of(&s));
        pass(&s, AFTER / 4);
    }
    wait_on(&s, "Below", true);
    atomic_store(&c.stop, true);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_set_level(LOG_LEVEL_INFO);
    assert_int_equal(atomic_load(&c.wrong), 0);
    scene_close(&s);
}

/* Each reload once compared every name with every other. */
static void a_hundred_thousand_fallbacks_are_adopted_in_no_time(void **state)
{
    enum { MANY = 100000 };
    struct ruleset *rules[2];
    struct scene s;
    char name[32], recipient[48];
    int64_t start;
    int i, j;

    (void)state;
    scene_init(&s);
    for (j = 0; j < 2; j++) {
        rules[j] = rules_new();
        for (i = 0; i < MANY; i++) {
            snprintf(name, sizeof(name), "Partner %d", (i * 7919) % MANY);
            snprintf(recipient, sizeof(recipient), "*.p%d.example", i);
            add(rules[j], name, recipient);
        }
        ruleset_freeze(rules[j]);
    }
    scene_open(&s);
    start = __real_clock_ms();
    engine_adopt(s.engine, rules[0]);
    engine_adopt(s.engine, rules[1]);
    assert_in_range(__real_clock_ms() - start, 0, 30000);
    assert_outcome(&s, "bo@eu.p77.example", "hold dane-required dane-mandatory");
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lasting_hold_takes_the_fallback_and_its_end_leaves_it),
        cmocka_unit_test(a_road_asks_for_a_connector_only_while_its_mail_is_there),
        cmocka_unit_test(those_who_turn_together_call_the_hook_once),
        cmocka_unit_test(a_passing_trouble_never_takes_the_fallback),
        cmocka_unit_test(a_passing_trouble_stays_a_hold_on_the_fallback),
        cmocka_unit_test(a_fallback_survives_a_reload_by_its_connectors_name),
        cmocka_unit_test(the_clock_goes_on_across_a_reload),
        cmocka_unit_test(other_modes_begin_on_their_own_road),
        cmocka_unit_test(a_wildcard_falls_back_by_its_traffic),
        cmocka_unit_test(silence_does_not_turn_the_road_to_and_fro),
        cmocka_unit_test(a_list_with_one_good_host_holds_nothing),
        cmocka_unit_test(a_list_of_bad_hosts_falls_back),
        cmocka_unit_test(a_literal_that_can_never_be_good_falls_back),
        cmocka_unit_test(two_mandatory_on_one_key_do_not_share_a_fallback),
        cmocka_unit_test(the_log_names_the_fallback_road),
        cmocka_unit_test(roads_turn_while_many_ask_and_rules_change),
        cmocka_unit_test(a_hundred_thousand_fallbacks_are_adopted_in_no_time),
    };

    mutex_init(&turning);
    log_open("test_fallback", false, "mail");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
