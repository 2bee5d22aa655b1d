/*
 * The roads. A table on one page first; then random rulesets, whose mail is sent through transport(5) as Postfix reads it,
 * to see that no mail of a mandatory connector ever finds a line that is no mandatory road, and that the map which guards
 * the road is never laxer than the connector itself.
 */
#include "policy/decide.h"
#include "policy/roads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rules.h"

#define MUST MODE_MANDATORY
#define MAY MODE_OPPORTUNISTIC
#define NOT MODE_NONE

/* transport(5): the line for a key, or no route where there is none. */
static struct road line_of(const struct ruleset *rules, enum pattern_kind kind, const char *local, const char *domain)
{
    struct pattern key = { .kind = kind, .local = local, .domain = domain };

    /* A key is only written where some connector lists it. */
    return ruleset_has(rules, &key) ? road_of(rules, &key) : (struct road){ NULL };
}

/* user@d, d, .parent, .grandparent, ...: the first line there is. */
static struct road walk_table(const struct ruleset *rules, const struct address *to)
{
    char local[ADDRESS_LOCAL_SIZE];
    const char *name = to->domain.name;
    struct road found;

    if (to->kind != ADDRESS_DOMAIN)
        return (struct road){ NULL };
    address_fold_local(to, local);
    found = line_of(rules, PATTERN_ADDRESS, local, name);
    if (found.route == NULL)
        found = line_of(rules, PATTERN_DOMAIN, NULL, name);
    while (found.route == NULL && (name = domain_parent(name)) != NULL)
        found = line_of(rules, PATTERN_BELOW, NULL, name);
    return found;
}

/* The table, then default_transport as `setup` prints it. */
static struct road send_mail(const struct ruleset *rules, const struct address *to)
{
    struct road found = walk_table(rules, to);

    return found.route == NULL ? road_of_everyone(rules) : found;
}

static const char *transport_of(struct road road)
{
    return road.route == NULL ? "-" : road.route->transport;
}

static const char *line(const struct ruleset *rules, const char *word)
{
    struct pattern key = rules_pattern(ruleset_memory((struct ruleset *)(uintptr_t)rules), word);

    return transport_of(road_of(rules, &key));
}

/* The names of those that answer for a road, sorted and parted by blanks. */
static const char *askers(const struct ruleset *rules, const char *transport, const char *hop)
{
    static char names[512];
    struct connector_list list = { 0 };
    struct next_hop next;
    size_t i, j;

    assert_true(next_hop_parse(hop, &next, NULL));
    road_askers(rules, transport, &next, &list);
    names[0] = '\0';
    for (i = 0; i < ruleset_count(rules); i++) {
        for (j = 0; j < list.count; j++) {
            if (list.items[j] != ruleset_at(rules, i))
                continue;
            snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", names[0] == '\0' ? "" : " ",
                     list.items[j]->name);
            break;
        }
    }
    for (j = 0; j < list.count; j++) {
        if (list.items[j]->is_default)
            snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s(default)", names[0] == '\0' ? "" : " ");
    }
    connector_list_done(&list);
    return names;
}

static void each_connector_has_its_own_line(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "dane", "dane.example *.dane.example", "", MUST, MAY);
    rules_add(rules, "sts", "sts.example", "", MAY, MUST);
    rules_add(rules, "both", "both.example", "", MUST, MUST);
    rules_add(rules, "lax", "lax.example *.lax.example u@lax2.example", "", MAY, MAY);
    rules_add(rules, "only-dane", "half.example", "", MAY, NOT);
    rules_add(rules, "idle", "idle.example", "", NOT, NOT);
    rules_add(rules, "floor", "floor.example", "", NOT, NOT)->tls = TLS_ENCRYPT;
    ruleset_freeze(rules);
    assert_string_equal(line(rules, "dane.example"), "danelaw-dane");
    assert_string_equal(line(rules, "*.dane.example"), "danelaw-dane");
    assert_string_equal(line(rules, "sts.example"), "danelaw-sts");
    assert_string_equal(line(rules, "both.example"), "danelaw-sts");
    assert_string_equal(line(rules, "lax.example"), "danelaw");
    assert_string_equal(line(rules, "*.lax.example"), "danelaw");
    assert_string_equal(line(rules, "u@lax2.example"), "danelaw");
    assert_string_equal(line(rules, "half.example"), "danelaw");
    assert_string_equal(line(rules, "idle.example"), "-");
    assert_string_equal(line(rules, "floor.example"), "danelaw");
    assert_string_equal(line(rules, "*"), "-");
    assert_string_equal(line(rules, "stranger.example"), "-");
    ruleset_unref(rules);
}

static void everyone_has_no_line_but_the_default_transport(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "all", "*", "", MUST, NOT);
    rules_add(rules, "lax", "lax.example", "", MAY, MAY);
    rules_add(rules, "idle", "idle.example", "", NOT, NOT);
    ruleset_freeze(rules);
    assert_string_equal(line(rules, "*"), "-");
    assert_string_equal(transport_of(road_of_everyone(rules)), "danelaw-dane");
    assert_string_equal(line(rules, "lax.example"), "danelaw");
    assert_string_equal(line(rules, "idle.example"), "danelaw");        /* else the default transport would take it */
    ruleset_unref(rules);

    rules = rules_new();
    rules_add(rules, "one", "one.example", "", MUST, NOT);
    ruleset_freeze(rules);
    assert_string_equal(transport_of(road_of_everyone(rules)), "-");    /* (default) puts nobody on a road */
    ruleset_unref(rules);
}

static void idle_mail_leaves_a_mandatory_wildcard_by_a_line_of_its_own(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "strict", "*.p.example p.example", "", MUST, NOT);
    rules_add(rules, "free", "free.p.example u@p.example", "", NOT, NOT);
    rules_add(rules, "lax", "*.q.example", "", MAY, MAY);
    rules_add(rules, "idle", "idle.q.example", "", NOT, NOT);
    ruleset_freeze(rules);
    assert_string_equal(line(rules, "free.p.example"), "danelaw");
    assert_string_equal(line(rules, "u@p.example"), "danelaw");
    assert_string_equal(line(rules, "idle.q.example"), "-");
    ruleset_unref(rules);
}

static void senders_can_not_be_seen_so_the_strictest_takes_all(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "scoped", "a.example b.example", "home.example", MUST, NOT);
    rules_add(rules, "open", "b.example", "", MAY, MAY);
    rules_add(rules, "scoped lax", "c.example", "home.example", MAY, MAY);
    rules_add(rules, "strict", "c.example", "", MAY, MUST);
    rules_add(rules, "below", "*.example", "home.example", MAY, MAY);
    rules_add(rules, "all", "*", "<>", MUST, NOT);
    ruleset_freeze(rules);
    assert_string_equal(line(rules, "a.example"), "danelaw-dane");
    assert_string_equal(line(rules, "b.example"), "danelaw-dane");
    assert_string_equal(line(rules, "c.example"), "danelaw-sts");
    assert_string_equal(line(rules, "*.example"), "danelaw-dane");      /* a bounce to d.example is ruled by "all" */
    ruleset_unref(rules);
}

static void smart_hosts_stand_in_the_line(void **state)
{
    struct ruleset *rules = rules_new();
    struct connector *relay = rules_add(rules, "relay", "a.example", "", MUST, NOT);
    struct connector *scoped = rules_add(rules, "scoped", "b.example", "home.example", MAY, MAY);
    struct connector *idle = rules_add(rules, "idle", "c.example", "", NOT, NOT);
    struct pattern key = { .kind = PATTERN_DOMAIN, .domain = "a.example" };

    (void)state;
    rules_smart_host(rules, relay, "[r1.example]");
    rules_smart_host(rules, relay, "[r2.example]:26");
    rules_smart_host(rules, scoped, "[r3.example]");
    rules_smart_host(rules, idle, "[r4.example]");
    ruleset_freeze(rules);
    assert_ptr_equal(road_of(rules, &key).hosts_of, relay);
    assert_string_equal(line(rules, "a.example"), "danelaw-dane");
    assert_string_equal(line(rules, "c.example"), "danelaw");
    key.domain = "c.example";
    assert_ptr_equal(road_of(rules, &key).hosts_of, idle);
    key.domain = "b.example";
    assert_null(road_of(rules, &key).hosts_of);         /* strangers' mail stays with its own hosts */
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "[r4.example]"), "idle");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "[R4.example.]:25"), "idle");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "[r4.example]:26"), "(default)");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "r4.example"), "(default)");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "[r3.example]"), "scoped");
    ruleset_unref(rules);
}

static void each_road_asks_only_those_who_have_mail_on_it(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "strict user", "u@d.example", "", MAY, MUST);
    rules_add(rules, "dane user", "v@d.example", "", MUST, NOT);
    rules_add(rules, "rest", "d.example", "", MAY, MAY);
    rules_add(rules, "wide", "*.d.example", "", NOT, MUST);
    rules_add(rules, "lax user", "w@x.d.example", "", MAY, NOT);
    ruleset_freeze(rules);
    assert_string_equal(askers(rules, ROAD_STS, "d.example"), "strict user");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "d.example"), "rest");
    assert_string_equal(askers(rules, ROAD_STS, "x.d.example"), "wide");
    assert_string_equal(askers(rules, ROAD_STS, "y.x.d.example"), "wide");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "x.d.example"), "lax user");
    assert_string_equal(askers(rules, ROAD_STS, "stranger.example"), "");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "stranger.example"), "(default)");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "[mx.d.example]"), "(default)");
    ruleset_unref(rules);
}

static void loosened_mail_is_answered_by_who_covers_the_domain(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "scoped", "d.example", "home.example", MUST, NOT);
    rules_add(rules, "open", "d.example", "", MAY, NOT);
    rules_add(rules, "alone", "e.example", "home.example", MUST, NOT);
    rules_add(rules, "strict", "f.example", "", MUST, NOT);
    ruleset_freeze(rules);
    assert_string_equal(line(rules, "d.example"), "danelaw-dane");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "d.example"), "open");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "e.example"), "(default)");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "f.example"), "strict");      /* mail that strayed is still held */
    ruleset_unref(rules);
}

static void two_mandatory_ones_share_no_smart_hosts(void **state)
{
    struct ruleset *rules = rules_new();
    struct connector *scoped = rules_add(rules, "scoped", "a.example", "home.example", MAY, MUST);
    struct pattern key = { .kind = PATTERN_DOMAIN, .domain = "a.example" };

    (void)state;
    rules_smart_host(rules, scoped, "[r1.example]");
    rules_add(rules, "strict", "a.example", "", MUST, MUST);
    ruleset_freeze(rules);
    assert_null(road_of(rules, &key).hosts_of);         /* or "scoped" alone would answer for the mail of "strict" */
    assert_string_equal(line(rules, "a.example"), "danelaw-sts");
    assert_string_equal(askers(rules, ROAD_STS, "a.example"), "scoped strict");
    ruleset_unref(rules);
}

static void an_idle_name_is_said_to_take_the_wider_line(void **state)
{
    struct ruleset *rules = rules_new();
    struct address to = rules_address("u@idle.d.example");

    (void)state;
    rules_add(rules, "lax", "*.d.example", "", MAY, MAY);
    rules_add(rules, "idle", "idle.d.example", "", NOT, NOT);
    ruleset_freeze(rules);
    assert_string_equal(line(rules, "idle.d.example"), "-");
    assert_string_equal(transport_of(road_of_address(rules, &to)), "danelaw");
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "idle.d.example"), "idle");
    ruleset_unref(rules);
}

static void the_guard_of_the_default_transport_knows_who_sent_it_there(void **state)
{
    struct ruleset *rules = rules_new();

    (void)state;
    rules_add(rules, "all", "*", "", MUST, MUST);
    rules_add(rules, "lax", "lax.example", "", MAY, MAY);
    ruleset_freeze(rules);
    assert_string_equal(transport_of(road_of_everyone(rules)), "danelaw-sts");
    assert_string_equal(askers(rules, ROAD_STS, "stranger.example"), "all");    /* its DANE is mandatory, too */
    assert_string_equal(askers(rules, ROAD_OPPORTUNISTIC, "lax.example"), "lax");
    ruleset_unref(rules);
}

/* A small generator, the same on every machine (xorshift64*). */
static uint64_t seed;

static unsigned dice(unsigned sides)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (unsigned)((seed * 0x2545f4914f6cdd1dULL) >> 33) % sides;
}

static void random_domain(char ret[64])
{
    static const char *const labels[] = { "a", "b", "c" };
    unsigned depth = 1 + dice(3), i;

    ret[0] = '\0';
    for (i = 0; i < depth; i++)
        snprintf(ret + strlen(ret), 64 - strlen(ret), "%s.", labels[dice(COUNT_OF(labels))]);
    strcat(ret, "x");
}

static void random_pattern(char ret[80])
{
    static const char *const locals[] = { "u", "v", "u+e" };
    char domain[64];

    random_domain(domain);
    switch (dice(8)) {
    case 0:
        snprintf(ret, 80, "*");
        return;
    case 1:
    case 2:
    case 3:
        snprintf(ret, 80, "*.%s", domain);
        return;
    case 4:
    case 5:
        snprintf(ret, 80, "%s@%s", locals[dice(COUNT_OF(locals))], domain);
        return;
    }
    snprintf(ret, 80, "%s", domain);
}

static const char *random_senders(void)
{
    static const char *const scopes[] = { "s.y", "*.s.y", "u@s.y", "<>", "*", "s.y <>" };

    return dice(3) == 0 ? scopes[dice(COUNT_OF(scopes))] : "";
}

static enum mode random_mode(void)
{
    static const enum mode modes[] = { MODE_MANDATORY, MODE_OPPORTUNISTIC, MODE_NONE, MODE_NONE };

    return modes[dice(COUNT_OF(modes))];
}

static struct ruleset *random_rules(bool smart_hosts)
{
    struct ruleset *rules = rules_new();
    unsigned count = 1 + dice(7), patterns, i, j;

    for (i = 0; i < count; i++) {
        static const char *const gate[] = { "gate.x" };
        char recipients[512] = "", one[80], name[16];
        struct connector *c;

        patterns = 1 + dice(4);
        for (j = 0; j < patterns; j++) {
            random_pattern(one);
            snprintf(recipients + strlen(recipients), sizeof(recipients) - strlen(recipients), "%s ", one);
        }
        snprintf(name, sizeof(name), "c%u", i);
        c = rules_add(rules, name, recipients, random_senders(), random_mode(), random_mode());
        c->require = dice(2) == 0 ? REQUIRE_ALL : REQUIRE_ANY;
        if (dice(4) == 0) {
            c->tls = dice(2) == 0 ? TLS_SECURE : TLS_ENCRYPT;
            c->tls_match = gate;
            c->tls_match_count = c->tls == TLS_SECURE ? 1 : 0;
        }
        if (smart_hosts && dice(5) == 0)
            rules_smart_host(rules, c, dice(2) == 0 ? "[r.z]" : "[q.z]:26");
    }
    ruleset_freeze(rules);
    return rules;
}

static struct address random_recipient(void)
{
    static const char *const locals[] = { "u", "V", "w", "U+e" };
    char domain[64], spoken[128];

    random_domain(domain);
    if (dice(30) == 0)
        snprintf(spoken, sizeof(spoken), "u@[192.0.2.1]");
    else
        snprintf(spoken, sizeof(spoken), "%s@%s", locals[dice(COUNT_OF(locals))], domain);
    return rules_address(spoken);
}

static struct address random_sender(void)
{
    static const char *const senders[] = { "u@s.y", "v@s.y", "v@t.s.y", "", "v@elsewhere.y" };

    return rules_address(senders[dice(COUNT_OF(senders))]);
}

static const char *describe(const struct ruleset *rules, const struct address *to, const struct address *from)
{
    static char text[4096];
    char word[128], receiver[64], sender[64];
    size_t i, j, at = 0;

    for (i = 0; i < ruleset_count(rules); i++) {
        const struct connector *c = ruleset_at(rules, i);

        at += (size_t)snprintf(text + at, sizeof(text) - at, "\n  %s: dane=%s sts=%s require=%s tls=%s smart=%u recipients",
                               c->name, mode_word(c->smtp_dane), mode_word(c->mta_sts), require_word(c->require),
                               tls_word(c->tls), c->smart_host_count);
        for (j = 0; j < c->recipient_count; j++)
            at += (size_t)snprintf(text + at, sizeof(text) - at, " %s",
                                   pattern_print(&c->recipients[j], word, sizeof(word)));
        at += (size_t)snprintf(text + at, sizeof(text) - at, " senders");
        for (j = 0; j < c->sender_count; j++)
            at += (size_t)snprintf(text + at, sizeof(text) - at, " %s", pattern_print(&c->senders[j], word, sizeof(word)));
    }
    snprintf(text + at, sizeof(text) - at, "\n  to <%s> from <%s>", address_print(to, receiver, sizeof(receiver)),
             address_print(from, sender, sizeof(sender)));
    return text;
}

static bool is_mandatory_road(struct road road)
{
    return strcmp(transport_of(road), ROAD_DANE) == 0 || strcmp(transport_of(road), ROAD_STS) == 0;
}

/* Whether what covers the recipient is a connector for everyone, which has no line. */
static bool found_by_everyone(const struct connector *c, const struct address *to)
{
    size_t i;

    for (i = 0; i < c->recipient_count; i++) {
        if (c->recipients[i].kind != PATTERN_EVERYONE && pattern_matches(&c->recipients[i], to))
            return false;
    }
    return true;
}

static void check_road(const struct ruleset *rules, const struct address *to, const struct address *from)
{
    const struct connector *c = ruleset_find(rules, to, from);
    struct road road = send_mail(rules, to), table = walk_table(rules, to), said = road_of_address(rules, to);

    if (!c->is_default && connector_is_mandatory(c) && !is_mandatory_road(road))
        fail_msg("%s is mandatory, but the mail takes %s:%s", c->name, transport_of(road), describe(rules, to, from));
    if (!c->is_default && c->mta_sts == MODE_MANDATORY && strcmp(transport_of(road), ROAD_STS) != 0)
        fail_msg("%s needs a policy, but the mail takes %s:%s", c->name, transport_of(road), describe(rules, to, from));
    if (!c->is_default && !connector_is_idle(c) && c->sender_count == 0 && road.route == NULL)
        fail_msg("%s has no line:%s", c->name, describe(rules, to, from));
    if (!c->is_default && c->sender_count == 0 && c->smart_host_count == 0 && connector_is_idle(c) && !found_by_everyone(c, to) &&
        table.route == NULL && is_mandatory_road(road))
        fail_msg("%s asks for nothing, but the mail takes %s:%s", c->name, transport_of(road), describe(rules, to, from));
    if (said.route != table.route || said.hosts_of != table.hosts_of)
        fail_msg("road_of_address() says %s, the table %s:%s", transport_of(said), transport_of(table),
                 describe(rules, to, from));
}

static void mandatory_mail_never_leaves_its_road(void **state)
{
    unsigned round, mail;

    (void)state;
    seed = 20240229;
    for (round = 0; round < 4000; round++) {
        struct ruleset *rules = random_rules(true);

        for (mail = 0; mail < 40; mail++) {
            struct address to = random_recipient(), from = random_sender();

            check_road(rules, &to, &from);
        }
        ruleset_unref(rules);
    }
}

/*
 * Postfix with a recipient_delimiter also asks for user@d where user+e@d has no line (transport(5)). A connector of the
 * user's own may then be laxer than the one for user+e; nothing else may be.
 */
static void an_extension_leaves_the_road_by_its_users_own_line_only(void **state)
{
    unsigned round, mail;

    (void)state;
    seed = 7671;
    for (round = 0; round < 4000; round++) {
        struct ruleset *rules = random_rules(false);

        for (mail = 0; mail < 10; mail++) {
            struct address to = random_recipient(), from = random_sender(), whole;
            const struct connector *c;
            struct road road;

            if (to.kind != ADDRESS_DOMAIN)
                continue;
            whole = to;
            strcpy(whole.local, dice(2) == 0 ? "u+e" : "v+f");
            c = ruleset_find(rules, &whole, &from);
            road = line_of(rules, PATTERN_ADDRESS, whole.local, whole.domain.name);
            to.local[0] = whole.local[0];
            to.local[1] = '\0';
            if (road.route == NULL && line_of(rules, PATTERN_ADDRESS, to.local, to.domain.name).route != NULL &&
                !connector_is_mandatory(ruleset_find(rules, &to, &from)))
                continue;
            if (road.route == NULL)
                road = send_mail(rules, &to);
            if (!c->is_default && connector_is_mandatory(c) && !is_mandatory_road(road))
                fail_msg("%s is mandatory, but the mail takes %s:%s", c->name, transport_of(road),
                         describe(rules, &whole, &from));
        }
        ruleset_unref(rules);
    }
}

/* All that can be known about a next hop, in short. */
static void random_evidence(struct evidence *ret, struct evidence_host hosts[2])
{
    static const enum dane_state danes[] = { DANE_USABLE, DANE_PARTIAL, DANE_INSECURE_MX, DANE_ABSENT, DANE_UNUSABLE,
                                             DANE_DEGRADED, DANE_BOGUS };

    memset(ret, 0, sizeof(*ret));
    hosts[0] = (struct evidence_host){ .name = "good.x", .state = HOST_GOOD };
    hosts[1] = (struct evidence_host){ .name = "bare.x", .state = HOST_BARE };
    ret->dane = danes[dice(COUNT_OF(danes))];
    ret->sts = (enum sts_state)dice(STS_ENFORCE + 1);
    ret->why = "";
    ret->hosts = ret->dane == DANE_PARTIAL || ret->dane == DANE_INSECURE_MX || ret->dane == DANE_USABLE ? hosts : hosts + 1;
    ret->host_count = ret->dane == DANE_PARTIAL || ret->dane == DANE_INSECURE_MX ? 2 : 1;
    if (ret->sts == STS_ENFORCE)
        hosts[ret->hosts == hosts ? dice((unsigned)ret->host_count) : 1].sts_match = true;
}

/* What the map answers: the strictest of those who answer, and a mandatory policy where nobody does (section 6). */
static struct decision ask_map(const struct ruleset *rules, const char *transport, const struct next_hop *hop,
                               const struct evidence *found)
{
    static const struct connector nobody = { .name = "-", .smtp_dane = MODE_OPPORTUNISTIC, .mta_sts = MODE_MANDATORY,
                                             .tls = TLS_SITE };
    struct connector_list list = { 0 };
    struct decision strictest = decide(&nobody, found);
    size_t i;

    road_askers(rules, transport, hop, &list);
    for (i = 0; i < list.count; i++) {
        struct decision d = decide(list.items[i], found);

        if (i == 0 || decision_compare(&d, &strictest) < 0)
            strictest = d;
    }
    assert_true(list.count > 0 || strcmp(transport, ROAD_STS) == 0);
    connector_list_done(&list);
    return strictest;
}

static void check_guard(const struct ruleset *rules, const struct address *to, const struct address *from)
{
    const struct connector *c = ruleset_find(rules, to, from);
    struct road road = send_mail(rules, to);
    struct evidence_host hosts[2];
    struct evidence found;
    struct decision own, map;
    struct next_hop hop = next_hop_of(&to->domain);

    if (to->kind != ADDRESS_DOMAIN || c->is_default || road.route == NULL || strcmp(transport_of(road), ROAD_DANE) == 0)
        return;
    if (c->sender_count > 0 && found_by_everyone(c, to) && !connector_is_mandatory(c))
        return;                         /* its tag puts the mail there on purpose */
    if (road.hosts_of != NULL && road.hosts_of != c && !connector_is_mandatory(c))
        return;                         /* without its tag it shares another's smart hosts, and that one's word */
    if (road.hosts_of != NULL)
        hop = road.hosts_of->smart_hosts[0];
    random_evidence(&found, hosts);
    own = decide(c, &found);
    map = ask_map(rules, transport_of(road), &hop, &found);
    if (decision_compare(&map, &own) > 0)
        fail_msg("%s wants %s %s, the map of %s answers %s %s (dane=%s sts=%s):%s", c->name, verdict_word(own.verdict),
                 tls_word(own.tls), transport_of(road), verdict_word(map.verdict), tls_word(map.tls), dane_word(found.dane),
                 sts_word(found.sts), describe(rules, to, from));
}

static void guard_roads(bool smart_hosts)
{
    unsigned round, mail;

    seed = 8461;
    for (round = 0; round < 8000; round++) {
        struct ruleset *rules = random_rules(smart_hosts);

        for (mail = 0; mail < 20; mail++) {
            struct address to = random_recipient(), from = random_sender();

            check_guard(rules, &to, &from);
        }
        ruleset_unref(rules);
    }
}

static void the_map_is_never_laxer_than_the_connector(void **state)
{
    (void)state;
    guard_roads(false);
}

static void the_map_is_never_laxer_for_smart_hosts(void **state)
{
    (void)state;
    guard_roads(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_connector_has_its_own_line),
        cmocka_unit_test(everyone_has_no_line_but_the_default_transport),
        cmocka_unit_test(idle_mail_leaves_a_mandatory_wildcard_by_a_line_of_its_own),
        cmocka_unit_test(senders_can_not_be_seen_so_the_strictest_takes_all),
        cmocka_unit_test(smart_hosts_stand_in_the_line),
        cmocka_unit_test(each_road_asks_only_those_who_have_mail_on_it),
        cmocka_unit_test(loosened_mail_is_answered_by_who_covers_the_domain),
        cmocka_unit_test(two_mandatory_ones_share_no_smart_hosts),
        cmocka_unit_test(an_idle_name_is_said_to_take_the_wider_line),
        cmocka_unit_test(the_guard_of_the_default_transport_knows_who_sent_it_there),
        cmocka_unit_test(mandatory_mail_never_leaves_its_road),
        cmocka_unit_test(an_extension_leaves_the_road_by_its_users_own_line_only),
        cmocka_unit_test(the_map_is_never_laxer_than_the_connector),
        cmocka_unit_test(the_map_is_never_laxer_for_smart_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
