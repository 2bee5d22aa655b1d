#include "mta/sweep.h"
#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NOW = 1800000000, HOUR = 3600, DAY = 24 * HOUR };

#define NO_DNSSEC "non DNSSEC destination"
#define MAP_TEMP "client TLS configuration problem"
#define NO_NAME "Host or domain name not found. Name service error for name=x type=MX: Host not found, try again"
#define REFUSED "connect to mx.x.example[192.0.2.1]:25: Connection refused"

/* A site, and a daemon that says the same of everybody. */
struct world {
    struct sweep sweep;
    struct ruleset *rules;
    struct tables_own own;
    struct sweep_word word;
    bool silent;                /* nobody answers */
    unsigned asked;
};

static const struct sweep_word *ask(struct sweep *self, const struct connector *c, const struct domain *domain,
                                    const char *to, const char *from)
{
    struct world *w = (struct world *)self;

    (void)domain;
    (void)to;
    (void)from;
    w->asked++;
    if (w->word.route == NULL)
        w->word.route = c->route;
    return w->silent ? NULL : &w->word;
}

static void set_hold(struct connector *c, uint32_t seconds)
{
    c->hold = seconds;
}

/* All connectors hold for a day, but `patient`, which does so for a week. */
static void open_world(struct world *w)
{
    static const char *const own[] = { ".relay.example", "own.wild.example", "relay.example" };
    static const struct route elsewhere = { .name = "elsewhere", .transport = "smtp", .next_hop = "" };
    struct connector *c;

    *w = (struct world){ .rules = rules_new(), .own = { own, COUNT_OF(own) },
                         .word = { .known = true, .proven = true, .verdict = VERDICT_DELIVER, .reason = REASON_NONE,
                                   .dane = DANE_USABLE, .since = NOW - DAY } };
    set_hold(rules_add(w->rules, "strict", "strict.example bo@lax.example", "", MODE_MANDATORY, MODE_NONE), DAY);
    set_hold(rules_add(w->rules, "sts", "sts.example", "", MODE_NONE, MODE_MANDATORY), DAY);
    set_hold(rules_add(w->rules, "patient", "patient.example", "", MODE_MANDATORY, MODE_NONE), 7 * DAY);
    set_hold(rules_add(w->rules, "lax", "lax.example", "", MODE_OPPORTUNISTIC, MODE_NONE), DAY);
    set_hold(rules_add(w->rules, "idle", "idle.example", "", MODE_NONE, MODE_NONE), DAY);
    set_hold(rules_add(w->rules, "wild", "*.wild.example *.relay.example", "", MODE_MANDATORY, MODE_NONE), DAY);
    set_hold(rules_add(w->rules, "scoped", "scoped.example", "boss@home.example", MODE_MANDATORY, MODE_NONE), DAY);
    c = rules_add(w->rules, "elsewhere", "elsewhere.example", "", MODE_OPPORTUNISTIC, MODE_NONE);
    set_hold(c, DAY);
    c->route = &elsewhere;
    c = rules_add(w->rules, "tested", "tested.example", "", MODE_MANDATORY, MODE_NONE);
    set_hold(c, DAY);
    c->test_mode = true;
    c = rules_add(w->rules, "spare", "spare.example", "", MODE_MANDATORY, MODE_NONE);
    set_hold(c, DAY);
    c->fallback = &elsewhere;
    ruleset_freeze(w->rules);
    w->sweep = (struct sweep){ .rules = w->rules, .own = &w->own, .now = NOW, .ask = ask };
}

static void close_world(struct world *w)
{
    ruleset_unref(w->rules);
}

static enum sweep_action judge(struct world *w, int64_t age, const char *from, enum reason *ret, size_t count,
                               const struct queued_recipient recipients[])
{
    struct queued m = { .id = "4fQz1x0", .sender = from, .arrival = NOW - age, .deferred = true, .recipients = recipients,
                        .count = count };

    return sweep_judge(&w->sweep, &m, ret);
}

/* One recipient's reason to go; REASON_NONE: the message stays. */
static enum reason reason_for(struct world *w, int64_t age, const char *to, const char *delay_reason)
{
    const struct queued_recipient r = { to, delay_reason };
    enum reason reason;
    enum sweep_action action = judge(w, age, "al@home.example", &reason, 1, &r);

    assert_int_equal(action, reason == REASON_NONE ? SWEEP_LEAVE : SWEEP_BOUNCE);
    return reason;
}

static void hold(struct world *w, enum reason reason)
{
    w->word.verdict = VERDICT_HOLD;
    w->word.reason = reason;
    w->word.dane = DANE_ABSENT;
}

static void mail_waits_as_long_as_its_connector_says(void **state)
{
    struct world w;

    (void)state;
    open_world(&w);
    hold(&w, REASON_DANE_REQUIRED);
    assert_int_equal(reason_for(&w, DAY, "bo@strict.example", NO_DNSSEC), REASON_NONE);
    assert_int_equal(w.asked, 0);                       /* nobody is bothered about young mail */
    assert_int_equal(reason_for(&w, DAY + 1, "bo@strict.example", NO_DNSSEC), REASON_DANE_REQUIRED);
    assert_int_equal(reason_for(&w, 6 * DAY, "bo@patient.example", NO_DNSSEC), REASON_NONE);
    assert_int_equal(reason_for(&w, 8 * DAY, "bo@patient.example", NO_DNSSEC), REASON_DANE_REQUIRED);
    assert_int_equal(reason_for(&w, -DAY, "bo@strict.example", NO_DNSSEC), REASON_NONE);       /* a clock was wrong */
    close_world(&w);
}

static void postfix_own_refusals_count_alone(void **state)
{
    static const struct {
        const char *why;
        enum reason reason;
    } table[] = {
        { NO_DNSSEC, REASON_DANE_REQUIRED },
        { "no TLSA records found", REASON_DANE_REQUIRED },
        { "TLSA records unusable", REASON_DANE_REQUIRED },
        { "TLSA lookup error for mx.strict.example:25", REASON_DNS_TEMP },
        { "Server certificate not verified", REASON_TLSA_INVALID },
        { "Server certificate not trusted", REASON_TLSA_INVALID },
        { "TLS is required, but was not offered by host mx.x.example[192.0.2.1]", REASON_TLSA_INVALID },
        { "TLS is required, but host mx.x.example[192.0.2.1] refused to start TLS: 454 later", REASON_TLSA_INVALID },
        { "Cannot start TLS: handshake failure", REASON_TLSA_INVALID },
        { "delivery temporarily suspended: " NO_DNSSEC, REASON_DANE_REQUIRED },
        { "TLS is required, but our TLS engine is unavailable", REASON_NONE },
        { MAP_TEMP, REASON_NONE },
        { NO_NAME, REASON_NONE },
        { REFUSED, REASON_NONE },
        { "delivery temporarily suspended: " REFUSED, REASON_NONE },
        { "host mx.x.example[192.0.2.1] said: 451 4.7.5 " NO_DNSSEC " (in reply to MAIL FROM command)", REASON_NONE },
        { "lost connection with mx.x.example[192.0.2.1] while receiving the initial server greeting", REASON_NONE },
        { "mail transport unavailable", REASON_NONE },
        { "", REASON_NONE },
    };
    struct world w;
    size_t i;

    (void)state;
    open_world(&w);
    for (i = 0; i < COUNT_OF(table); i++) {
        w.silent = false;
        assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", table[i].why), table[i].reason);
        w.silent = true;
        assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", table[i].why), table[i].reason);
    }
    w.silent = false;
    w.word = (struct sweep_word){ .known = true, .verdict = VERDICT_DELIVER, .reason = REASON_NONE, .dane = DANE_ABSENT };
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@sts.example", "Server certificate not verified"), REASON_STS_MX_MISMATCH);
    w.silent = true;
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@sts.example", "Server certificate not verified"), REASON_STS_MX_MISMATCH);
    close_world(&w);
}

static void a_hold_counts_where_mail_waits_for_it(void **state)
{
    struct world w;

    (void)state;
    open_world(&w);
    hold(&w, REASON_STS_MX_MISMATCH);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@sts.example", MAP_TEMP), REASON_STS_MX_MISMATCH);
    hold(&w, REASON_DNSSEC_INVALID);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", NO_NAME), REASON_DNSSEC_INVALID);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@lax.example", MAP_TEMP), REASON_DNSSEC_INVALID);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", NO_DNSSEC), REASON_DNSSEC_INVALID);  /* it knows better */
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", REFUSED), REASON_NONE);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", ""), REASON_NONE);
    w.word.known = false;
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", NO_NAME), REASON_NONE);
    close_world(&w);
}

static void a_trouble_of_our_own_bounces_nothing(void **state)
{
    struct world w;

    (void)state;
    open_world(&w);
    hold(&w, REASON_INTERNAL);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", MAP_TEMP), REASON_NONE);
    hold(&w, REASON_DNS_TEMP);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", MAP_TEMP), REASON_DNS_TEMP);
    w.word.since = NOW - HOUR + 1;                      /* the next self-check may still find that it is ours */
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", MAP_TEMP), REASON_NONE);
    w.word.since = 0;
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", MAP_TEMP), REASON_NONE);
    w.word.since = NOW - DAY;
    w.word.proven = false;
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", MAP_TEMP), REASON_NONE);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", NO_DNSSEC), REASON_NONE);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", "TLSA lookup error for mx.strict.example:25"), REASON_NONE);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@strict.example", "Server certificate not verified"), REASON_STS_MX_MISMATCH);
    close_world(&w);
}

/* The file was changed, and is not in force yet: its `hold` isn't, either. */
static void rules_that_are_not_in_force_bounce_nothing(void **state)
{
    struct world w;

    (void)state;
    open_world(&w);
    w.word.another = true;
    assert_int_equal(reason_for(&w, 9 * DAY, "bo@strict.example", NO_DNSSEC), REASON_NONE);
    hold(&w, REASON_DANE_REQUIRED);
    assert_int_equal(reason_for(&w, 9 * DAY, "bo@strict.example", MAP_TEMP), REASON_NONE);
    close_world(&w);
}

static void what_an_administrator_lets_go_is_tried_first(void **state)
{
    const struct queued_recipient r = { "bo@strict.example", "Server certificate not verified" };
    enum reason reason;
    struct world w;

    (void)state;
    open_world(&w);
    assert_int_equal(judge(&w, DAY + HOUR, "", &reason, 1, &r), SWEEP_BOUNCE);
    w.word.overridden = true;
    assert_int_equal(judge(&w, DAY + HOUR, "", &reason, 1, &r), SWEEP_TRY);
    assert_int_equal(judge(&w, DAY + 5 * HOUR, "", &reason, 1, &r), SWEEP_BOUNCE);
    hold(&w, REASON_TLSA_INVALID);
    assert_int_equal(judge(&w, DAY + HOUR, "", &reason, 1, &r), SWEEP_BOUNCE);
    close_world(&w);
}

static void only_mail_on_our_roads_is_swept(void **state)
{
    static const char *const others[] = {
        "bo@nobody.example", "bo@idle.example", "bo@elsewhere.example", "bo@tested.example", "bo@scoped.example",
        "bo@own.wild.example", "bo@deep.relay.example", "bo@relay.example", "bo", "bo@[192.0.2.1]", "", "bo@bad..name",
    };
    struct world w;
    size_t i;

    (void)state;
    open_world(&w);
    for (i = 0; i < COUNT_OF(others); i++)
        assert_int_equal(reason_for(&w, 9 * DAY, others[i], NO_DNSSEC), REASON_NONE);
    assert_int_equal(w.asked, 0);
    assert_int_equal(reason_for(&w, 9 * DAY, "bo@any.wild.example", NO_DNSSEC), REASON_DANE_REQUIRED);
    assert_int_equal(reason_for(&w, 9 * DAY, "\"b@o\"@Strict.EXAMPLE", NO_DNSSEC), REASON_DANE_REQUIRED);
    w.sweep.own = NULL;                                 /* a wildcard may have caught anything */
    assert_int_equal(reason_for(&w, 9 * DAY, "bo@any.wild.example", NO_DNSSEC), REASON_NONE);
    assert_int_equal(reason_for(&w, 9 * DAY, "bo@strict.example", NO_DNSSEC), REASON_DANE_REQUIRED);
    close_world(&w);
}

static void everyone_is_on_the_default_road(void **state)
{
    static const char *const own[] = { "home.example" };
    struct world w = { .rules = rules_new(), .own = { own, 1 },
                       .word = { .known = true, .proven = true, .verdict = VERDICT_DELIVER } };

    (void)state;
    set_hold(rules_add(w.rules, "all", "*", "", MODE_MANDATORY, MODE_NONE), DAY);
    ruleset_freeze(w.rules);
    w.sweep = (struct sweep){ .rules = w.rules, .own = &w.own, .now = NOW, .ask = ask };
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@any.example", NO_DNSSEC), REASON_DANE_REQUIRED);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@[192.0.2.1]", "no TLSA records found"), REASON_DANE_REQUIRED);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@home.example", NO_DNSSEC), REASON_NONE);
    close_world(&w);
}

static void a_scope_is_the_senders(void **state)
{
    const struct queued_recipient r = { "bo@scoped.example", NO_DNSSEC };
    enum reason reason;
    struct world w;

    (void)state;
    open_world(&w);
    assert_int_equal(judge(&w, 2 * DAY, "boss@home.example", &reason, 1, &r), SWEEP_BOUNCE);
    assert_int_equal(judge(&w, 2 * DAY, "", &reason, 1, &r), SWEEP_LEAVE);
    close_world(&w);
}

static void mail_on_a_fallback_road_is_left(void **state)
{
    static const struct route elsewhere = { .name = "elsewhere", .transport = "smtp", .next_hop = "" };
    struct world w;

    (void)state;
    open_world(&w);
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@spare.example", NO_DNSSEC), REASON_DANE_REQUIRED);
    w.silent = true;                                    /* it may be there, who knows */
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@spare.example", NO_DNSSEC), REASON_NONE);
    w.silent = false;
    w.word.verdict = VERDICT_FALLBACK;
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@spare.example", "Server certificate not verified"), REASON_NONE);
    w.word.verdict = VERDICT_DELIVER;
    w.word.route = &elsewhere;
    assert_int_equal(reason_for(&w, 2 * DAY, "bo@spare.example", "Server certificate not verified"), REASON_NONE);
    close_world(&w);
}

static void a_mended_destination_is_tried_first(void **state)
{
    const struct queued_recipient r = { "bo@lax.example", "no TLSA records found" };
    const struct queued_recipient tls = { "bo@lax.example", "Server certificate not verified" };
    enum reason reason;
    struct world w;

    (void)state;
    open_world(&w);
    assert_int_equal(judge(&w, DAY + HOUR, "", &reason, 1, &r), SWEEP_TRY);
    assert_int_equal(reason, REASON_NONE);
    assert_int_equal(judge(&w, DAY + 5 * HOUR, "", &reason, 1, &r), SWEEP_BOUNCE);     /* it had its chance */
    assert_int_equal(judge(&w, DAY + HOUR, "", &reason, 1, &tls), SWEEP_BOUNCE);       /* DNS alone can't know that */
    w.word.dane = DANE_PARTIAL;                         /* the good host is down, the others are no choice */
    assert_int_equal(judge(&w, DAY + HOUR, "", &reason, 1, &r), SWEEP_BOUNCE);
    close_world(&w);
}

static void other_recipients_keep_a_message_unless_asked_for(void **state)
{
    const struct queued_recipient both[] = { { "bo@strict.example", NO_DNSSEC }, { "cy@nobody.example", REFUSED } };
    enum reason reasons[2];
    struct queued m = { .id = "4fQz1x0", .sender = "", .arrival = NOW - 2 * DAY, .deferred = true, .recipients = both,
                        .count = 2 };
    struct world w;

    (void)state;
    open_world(&w);
    assert_int_equal(sweep_judge(&w.sweep, &m, reasons), SWEEP_MIXED);
    w.sweep.mixed = true;
    assert_int_equal(sweep_judge(&w.sweep, &m, reasons), SWEEP_BOUNCE);
    assert_int_equal(reasons[0], REASON_DANE_REQUIRED);
    assert_int_equal(reasons[1], REASON_NONE);
    m.recipients = &both[1];
    m.count = 1;
    assert_int_equal(sweep_judge(&w.sweep, &m, reasons), SWEEP_LEAVE);
    m.recipients = both;
    m.expired = true;                                   /* somebody has ended it already */
    assert_int_equal(sweep_judge(&w.sweep, &m, reasons), SWEEP_LEAVE);
    m.expired = m.deferred = false;
    assert_int_equal(sweep_judge(&w.sweep, &m, reasons), SWEEP_LEAVE);
    m.deferred = true;
    m.count = 0;
    assert_int_equal(sweep_judge(&w.sweep, &m, reasons), SWEEP_LEAVE);
    close_world(&w);
}

static bool parse(const char *line, struct queued *ret)
{
    return queued_parse(line, strlen(line), ret);
}

static void a_line_of_the_queue_is_read(void **state)
{
    struct queued m;

    (void)state;
    assert_true(parse("{\"queue_name\": \"deferred\", \"queue_id\": \"4XsT7q3ZdYz1\", \"arrival_time\": 1800000000, "
                      "\"message_size\": 300, \"forced_expire\": false, \"sender\": \"al@home.example\", "
                      "\"recipients\": [{\"address\": \"bo@x.example\", \"delay_reason\": \"" NO_DNSSEC "\"}, "
                      "{\"address\": \"cy@x.example\"}]}", &m));
    assert_true(m.deferred);
    assert_false(m.expired);
    assert_string_equal(m.id, "4XsT7q3ZdYz1");
    assert_string_equal(m.sender, "al@home.example");
    assert_int_equal(m.arrival, 1800000000);
    assert_int_equal(m.count, 2);
    assert_string_equal(m.recipients[0].why, NO_DNSSEC);
    assert_string_equal(m.recipients[1].address, "cy@x.example");
    assert_string_equal(m.recipients[1].why, "");
    queued_done(&m);
    assert_true(parse("{\"queue_name\": \"active\", \"queue_id\": \"A1\", \"arrival_time\": 1, \"force_expired\": true, "
                      "\"sender\": \"MAILER-DAEMON\", \"recipients\": []}", &m));
    assert_false(m.deferred);
    assert_true(m.expired);
    assert_string_equal(m.sender, "");
    queued_done(&m);
}

static void a_queue_id_is_never_a_word_of_postsuper(void **state)
{
    static const char *const bad[] = { "ALL", "", "-", "-d", "A B", "../A", "A\\nB", "A*", "\xc3\xa4",
                                       "0123456789012345678901234567890123456789012345678901234567890123" };
    struct queued m;
    char line[512];
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(bad); i++) {
        snprintf(line, sizeof(line), "{\"queue_name\": \"deferred\", \"queue_id\": \"%s\", \"arrival_time\": 1, \"sender\": "
                 "\"a@b\", \"recipients\": []}", bad[i]);
        assert_false(parse(line, &m));
    }
}

static void garbage_in_the_queue_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "x", "[]", "null", "{}", "{\"queue_name\": \"deferred\"}",
        "{\"queue_name\": \"deferred\", \"queue_id\": \"A\", \"arrival_time\": \"1\", \"sender\": \"\", \"recipients\": []}",
        "{\"queue_name\": \"deferred\", \"queue_id\": \"A\", \"arrival_time\": 1, \"sender\": \"\", \"recipients\": {}}",
        "{\"queue_name\": \"deferred\", \"queue_id\": \"A\", \"arrival_time\": 1, \"sender\": \"\", \"recipients\": [1]}",
        "{\"queue_name\": \"deferred\", \"queue_id\": \"A\", \"arrival_time\": 1, \"sender\": \"\", \"recipients\": [{}]}",
        "{\"queue_name\": \"deferred\", \"queue_id\": \"A\", \"arrival_time\": 1, \"sender\": null, \"recipients\": []}",
        ("{\"queue_name\": \"deferred\", \"queue_id\": \"A\", \"queue_id\": \"B\", \"arrival_time\": 1, \"sender\": \"\", "
         "\"recipients\": []}"),
        "{\"queue_name\": \"deferred\", \"queue_id\": \"A\", \"arrival_time\": 1, \"sender\": \"\xff\", \"recipients\": []}",
    };
    struct queued m;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT_OF(bad); i++)
        assert_false(parse(bad[i], &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_waits_as_long_as_its_connector_says),
        cmocka_unit_test(postfix_own_refusals_count_alone),
        cmocka_unit_test(a_hold_counts_where_mail_waits_for_it),
        cmocka_unit_test(a_trouble_of_our_own_bounces_nothing),
        cmocka_unit_test(rules_that_are_not_in_force_bounce_nothing),
        cmocka_unit_test(what_an_administrator_lets_go_is_tried_first),
        cmocka_unit_test(only_mail_on_our_roads_is_swept),
        cmocka_unit_test(everyone_is_on_the_default_road),
        cmocka_unit_test(a_scope_is_the_senders),
        cmocka_unit_test(mail_on_a_fallback_road_is_left),
        cmocka_unit_test(a_mended_destination_is_tried_first),
        cmocka_unit_test(other_recipients_keep_a_message_unless_asked_for),
        cmocka_unit_test(a_line_of_the_queue_is_read),
        cmocka_unit_test(a_queue_id_is_never_a_word_of_postsuper),
        cmocka_unit_test(garbage_in_the_queue_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
