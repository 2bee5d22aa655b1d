/*
 * The MTA's tables. A question names a next hop, not a recipient: every connector whose mail is on the asking road
 * decides, and the strictest decision is the answer. A question never holds a thread: it walks (walk.c).
 */
#include "base/clock.h"
#include "base/memory.h"
#include "engine/inside.h"
#include "policy/roads.h"

/* Where ROAD_STS finds nobody who is mandatory: as if this one had been found. */
static const struct connector must_sts = {
    .name = "(default)", .is_default = true, .smtp_dane = MODE_OPPORTUNISTIC, .mta_sts = MODE_MANDATORY, .tls = TLS_SITE,
};

/* A question on its way. */
struct map_ask {
    struct walk walk;                       /* to the next hop */
    struct ruleset *rules;                  /* between enter and leave */
    struct connector_list askers;
    struct pending *answer;
    enum map_table table;
    int64_t start;
};

/* The strictest decision of all who have mail on the road; gives what it rests on, which may be for this one alone. */
static struct decision strictest(const struct map_ask *ask, struct evidence *found, const struct connector **ret_connector,
                                 struct evidence **ret_found)
{
    struct decision worst = { 0 };
    size_t i;

    *ret_found = NULL;
    for (i = 0; i < ask->askers.count; i++) {
        const struct connector *c = ask->askers.items[i];
        struct evidence *seen = engine_seen(ask->walk.engine, c, &ask->walk.hop, evidence_ref(found));
        struct decision d = decide(c, seen);

        if (i == 0 || decision_compare(&d, &worst) < 0) {
            worst = d;
            *ret_connector = c;
            evidence_unref(*ret_found);
            *ret_found = evidence_ref(seen);
        }
        evidence_unref(seen);
    }
    return worst;
}

/* `secure` without names would be the MTA's own idea of them. */
static bool strong(const struct decision *d, const struct connector *c)
{
    bool named = d->match == MATCH_STS || d->match == MATCH_STS_BARE || (d->match == MATCH_CONNECTOR && c->tls_match_count > 0);

    return d->verdict != VERDICT_HOLD && (d->tls == TLS_DANE_ONLY || (d->tls == TLS_SECURE && named));
}

/* The policy as the MTA reads it; false: TEMP. Empty: nothing to say. */
static bool render(enum map_table table, const struct decision *d, const struct connector *c, const struct evidence *found,
                   struct text *ret)
{
    if (d->verdict == VERDICT_HOLD || (table == MAP_POSTFIX_MANDATORY && !strong(d, c)))
        return false;
    if (d->tls != TLS_SITE)
        decision_policy(d, c, found, ret);
    return !ret->full;
}

/*
 * While the MTA goes by yesterday's table, and for domains whose spelling no table has, all who rule mail to this next hop are
 * asked on the lax road: it may be here whatever they demand. Other senders' mail, which a tag has put here, waits along with it.
 */
static void add_all_rulers(struct map_ask *ask)
{
    struct pattern domain = { .kind = PATTERN_DOMAIN, .domain = ask->walk.hop.host.name };
    struct connector_list list = { 0 };
    size_t i;

    ruleset_by_smart_host(ask->rules, &ask->walk.hop, &list);
    if (!ask->walk.hop.bracketed) {
        ruleset_by_user(ask->rules, &ask->walk.hop.host, &list);
        ruleset_candidates(ask->rules, &domain, &list);
    }
    for (i = 0; i < list.count; i++) {
        if (!list.items[i]->is_default)
            connector_list_add(&ask->askers, list.items[i]);
    }
    connector_list_done(&list);
}

static void gather_askers(struct map_ask *ask)
{
    bool strict = ask->table == MAP_POSTFIX_MANDATORY;

    road_askers(ask->rules, strict ? ROAD_STS : ROAD_OPPORTUNISTIC, &ask->walk.hop, &ask->askers);
    if (!strict && (ask->table == MAP_POSTFIX_SPELLED || atomic_load(&ask->walk.engine->tables_doubted)))
        add_all_rulers(ask);
    if (ask->askers.count == 0)
        connector_list_add(&ask->askers, &must_sts);
}

/* What a connector in test mode would do for the whole domain, whoever sends; told beside the real answer. */
static void add_shadow(struct map_ask *ask, const struct record *real)
{
    struct address anyone = { .kind = ADDRESS_UNUSABLE };
    struct address domain = { .kind = ADDRESS_DOMAIN, .domain = ask->walk.hop.host };
    const struct connector *c = ask->walk.hop.bracketed ? NULL : ruleset_shadow(ask->rules, &domain, &anyone);
    struct record shadow = *real;

    if (c == NULL || c->sender_count > 0)
        return;
    shadow.connector = c;
    engine_shadow(ask->walk.engine, ask->rules, &shadow, &ask->walk.hop);
}

/* Ends the question; takes found. */
static void settle(struct walk *self, struct evidence *found)
{
    struct map_ask *ask = (struct map_ask *)self;
    struct engine *e = ask->walk.engine;
    const struct connector *ruler = NULL;
    struct evidence *seen;
    char hop[NEXT_HOP_TEXT_SIZE];
    struct record record;
    struct decision d;
    struct text policy;
    bool sure;

    d = strictest(ask, found, &ruler, &seen);
    evidence_unref(found);
    text_init(&policy, 16 * 1024);
    sure = render(ask->table, &d, ruler, seen, &policy);
    record = (struct record){ .where = WHERE_MAP, .to = next_hop_print(&ask->walk.hop, hop), .connector = ruler,
                              .found = seen, .decision = &d, .at = clock_wall_ms(), .took_ms = clock_ms() - ask->start };
    engine_record(e, &record);
    ask->answer->done(ask->answer, sure ? text_words(&policy) : NULL);
    add_shadow(ask, &record);
    text_done(&policy);
    connector_list_done(&ask->askers);
    evidence_unref(seen);
    engine_leave(e, ask->rules);
    free(ask);
}

void engine_ask_map(struct engine *e, enum map_table table, const struct next_hop *hop, struct pending *answer)
{
    struct map_ask *ask;
    struct ruleset *rules;

    if (!engine_enter(e, &rules)) {
        answer->done(answer, NULL);
        return;
    }
    ask = mem_zero(sizeof(*ask));
    *ask = (struct map_ask){ .walk = { .engine = e, .hop = *hop, .done = settle }, .rules = rules, .answer = answer,
                             .table = table, .start = clock_ms() };
    atomic_fetch_add(&e->asked, 1);
    gather_askers(ask);
    ask->walk.judges = ask->askers.items;
    ask->walk.judge_count = ask->askers.count;
    walk_begin(&ask->walk);
}

void engine_explain(struct engine *e, const struct address *to, struct text *ret)
{
    struct address nobody = { .kind = ADDRESS_NULL };
    const struct connector *c;
    struct evidence *found = NULL;
    struct ruleset *rules;
    struct road road;
    struct next_hop hop;
    struct decision d;

    if (!engine_enter(e, &rules)) {
        text_put(ret, "the daemon is stopping");
        return;
    }
    c = ruleset_find(rules, to, &nobody);
    hop = c->smart_host_count > 0 ? c->smart_hosts[0] : next_hop_of(&to->domain);
    hop.literal |= to->kind != ADDRESS_DOMAIN && c->smart_host_count == 0;
    engine_gather(e, c, &hop, 1, false, 0, &found);
    road = road_of_address(rules, to);
    text_print(ret, "connector \"%s\" smtp_dane=%s mta_sts=%s route=%s", c->name, mode_word(c->smtp_dane),
               mode_word(c->mta_sts), road.route == NULL ? "-" : road.route->name);
    if (found == NULL) {
        text_put(ret, " dane=- (looking; ask again)");
    } else {
        d = decide(c, found);
        text_print(ret, " dane=%s sts=%s verdict=%s reason=%s (%s)", dane_word(found->dane), sts_word(found->sts),
                   verdict_word(d.verdict), reason_word(d.reason), found->why);
    }
    evidence_unref(found);
    engine_leave(e, rules);
}
