/*
 * The MTA's tables. A question names a next hop, not a recipient: every connector whose mail is on the asking road
 * decides, and the strictest decision is the answer. A question never holds a thread; it waits in one cache after the
 * other:
 *
 *   engine_ask_map() ── DANE ──► have_dane() ── does MTA-STS matter? ──► have_sts() ── doubts? once more ──► settle()
 */
#include "base/clock.h"
#include "base/memory.h"
#include "engine/inside.h"
#include "policy/roads.h"

#include <stdio.h>
#include <string.h>

/* Where ROAD_STS finds nobody who is mandatory: as if this one had been found. */
static const struct connector must_sts = {
    .name = "(default)", .is_default = true, .smtp_dane = MODE_OPPORTUNISTIC, .mta_sts = MODE_MANDATORY, .tls = TLS_SITE,
};

/* A question on its way. */
struct map_ask {
    struct waiter waiter;                   /* in one cache at a time */
    struct engine *engine;
    struct ruleset *rules;                  /* between enter and leave */
    struct connector_list askers;
    struct pending *answer;
    enum map_table table;
    struct next_hop hop, domain;            /* domain: the policy domain */
    struct evidence *dane;                  /* a reference, once it is there */
    int doubts;                             /* how often the policy was to be fetched again for us */
    int64_t start;
};

/* The strictest decision of all who have mail on the road. */
static struct decision strictest(const struct connector_list *askers, const struct evidence *found,
                                 const struct connector **ret_connector)
{
    struct decision worst = { 0 };
    size_t i;

    for (i = 0; i < askers->count; i++) {
        struct decision d = decide(askers->items[i], found);

        if (i == 0 || decision_compare(&d, &worst) < 0) {
            worst = d;
            *ret_connector = askers->items[i];
        }
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
 * While the MTA goes by yesterday's table, the connector that covers the domain today is asked on the lax road.
 * Not those with senders: a tag may have put other senders' mail here on purpose.
 */
static void add_coverer(struct map_ask *ask)
{
    struct pattern domain = { .kind = PATTERN_DOMAIN, .domain = ask->hop.host.name };
    struct connector_list list = { 0 };
    size_t i;

    ruleset_candidates(ask->rules, &domain, &list);
    for (i = 0; i < list.count; i++) {
        if (!list.items[i]->is_default && list.items[i]->sender_count == 0)
            connector_list_add(&ask->askers, list.items[i]);
    }
    connector_list_done(&list);
}

static void gather_askers(struct map_ask *ask)
{
    road_askers(ask->rules, ask->table == MAP_POSTFIX_TLS ? ROAD_OPPORTUNISTIC : ROAD_STS, &ask->hop, &ask->askers);
    if (ask->table == MAP_POSTFIX_TLS && !ask->hop.bracketed && atomic_load(&ask->engine->tables_doubted))
        add_coverer(ask);
    if (ask->askers.count == 0)
        connector_list_add(&ask->askers, &must_sts);
}

/* Ends the question; takes found. */
static void settle(struct map_ask *ask, struct evidence *found)
{
    struct engine *e = ask->engine;
    const struct connector *ruler = NULL;
    char hop[NEXT_HOP_TEXT_SIZE];
    struct decision d;
    struct text policy;
    bool sure;

    found = engine_trusted(e, found);
    d = strictest(&ask->askers, found, &ruler);
    text_init(&policy, 16 * 1024);
    sure = render(ask->table, &d, ruler, found, &policy);
    engine_record(e, &(struct record){ .where = WHERE_MAP, .to = next_hop_print(&ask->hop, hop), .connector = ruler,
                                       .found = found, .decision = &d, .at = clock_wall_ms(),
                                       .took_ms = clock_ms() - ask->start });
    ask->answer->done(ask->answer, sure ? text_words(&policy) : NULL);
    text_done(&policy);
    connector_list_done(&ask->askers);
    evidence_unref(found);
    evidence_unref(ask->dane);
    engine_leave(e, ask->rules);
    free(ask);
}

static void await_sts(struct map_ask *ask);

/* sts is borrowed. */
static void have_sts(struct map_ask *ask, struct evidence *sts)
{
    struct evidence *both = evidence_join(ask->dane, sts);

    if (ask->doubts == ENGINE_DOUBTS || !engine_doubts(both)) {
        settle(ask, both);
        return;
    }
    evidence_unref(both);
    ask->doubts++;
    cache_doubt(ask->engine->sts, &ask->domain);
    await_sts(ask);
}

static void sts_wake(struct waiter *self, struct evidence *found)
{
    have_sts((struct map_ask *)self, found);
}

static void await_sts(struct map_ask *ask)
{
    struct engine *e = ask->engine;
    struct next_hop domain = ask->domain;
    struct evidence *found = NULL;

    ask->waiter = (struct waiter){ .wake = sts_wake };
    switch (engine_join(e, HALF_STS, &domain, &ask->waiter, ask->doubts > 0, &found)) {
    case SEAT_FIRST:
    case SEAT_JOINED:
        return;                             /* by now another thread may have ended the question */
    case SEAT_SERVED:
        have_sts(ask, found);
        evidence_unref(found);
        return;
    case SEAT_REFUSED:
        have_sts(ask, e->sts_late);
        return;
    }
}

static bool sts_matters(const struct map_ask *ask)
{
    size_t i;

    for (i = 0; i < ask->askers.count; i++) {
        if (decide_needs_sts(ask->askers.items[i], ask->dane))
            return true;
    }
    return false;
}

/* Takes dane. */
static void have_dane(struct map_ask *ask, struct evidence *dane)
{
    ask->dane = dane;
    if (!ask->hop.literal && !atomic_load(&ask->engine->resolver_broken) && sts_matters(ask))
        await_sts(ask);
    else
        settle(ask, evidence_ref(dane));
}

static void dane_wake(struct waiter *self, struct evidence *found)
{
    have_dane((struct map_ask *)self, evidence_ref(found));
}

/* Both halves are looked for at once; whether the second counts shows later. */
static void start_sts(struct map_ask *ask)
{
    struct evidence *found = NULL;
    size_t i;

    for (i = 0; i < ask->askers.count; i++) {
        if (ask->askers.items[i]->mta_sts != MODE_NONE) {
            engine_join(ask->engine, HALF_STS, &ask->domain, NULL, false, &found);
            evidence_unref(found);
            return;
        }
    }
}

static void await_dane(struct map_ask *ask)
{
    struct next_hop hop = ask->hop;
    struct evidence *found = NULL;

    ask->waiter = (struct waiter){ .wake = dane_wake };
    switch (engine_join(ask->engine, HALF_DANE, &hop, &ask->waiter, false, &found)) {
    case SEAT_FIRST:
    case SEAT_JOINED:
        return;                             /* by now another thread may have ended the question */
    case SEAT_SERVED:
        have_dane(ask, found);
        return;
    case SEAT_REFUSED:
        have_dane(ask, evidence_new(DANE_UNKNOWN, "no room for another destination", 0));
        return;
    }
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
    *ask = (struct map_ask){ .engine = e, .rules = rules, .answer = answer, .table = table, .hop = *hop,
                             .domain = next_hop_of(&hop->host), .start = clock_ms() };
    atomic_fetch_add(&e->asked, 1);
    gather_askers(ask);
    if (hop->literal) {
        have_dane(ask, evidence_ref(e->no_name));
        return;
    }
    if (atomic_load(&e->resolver_broken)) {
        have_dane(ask, evidence_ref(e->broken));        /* whatever came would not be believed */
        return;
    }
    start_sts(ask);
    await_dane(ask);
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
