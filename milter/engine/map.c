/*
 * The MTA's tables. A question names a next hop, not a recipient: every connector whose mail is on the asking road
 * decides, and the strictest decision is the answer.
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
    struct waiter waiter;
    struct engine *engine;
    struct ruleset *rules;                  /* between enter and leave */
    struct pending *answer;
    enum map_table table;
    struct next_hop hop;
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

static void gather_askers(const struct map_ask *ask, struct connector_list *ret)
{
    road_askers(ask->rules, ask->table == MAP_POSTFIX_TLS ? ROAD_OPPORTUNISTIC : ROAD_STS, &ask->hop, ret);
    if (ret->count == 0)
        connector_list_add(ret, &must_sts);
}

/* Ends the question; takes found. */
static void settle(struct map_ask *ask, struct evidence *found)
{
    struct engine *e = ask->engine;
    const struct connector *ruler = NULL;
    struct connector_list askers = { 0 };
    char hop[NEXT_HOP_TEXT_SIZE];
    struct decision d;
    struct text policy;
    bool sure;

    found = engine_trusted(e, found);
    gather_askers(ask, &askers);
    d = strictest(&askers, found, &ruler);
    text_init(&policy, 16 * 1024);
    sure = render(ask->table, &d, ruler, found, &policy);
    engine_count(e, &d);
    engine_log(&(struct record){ .to = next_hop_print(&ask->hop, hop), .connector = ruler, .found = found, .decision = &d,
                                 .took_ms = clock_ms() - ask->start });
    ask->answer->done(ask->answer, sure ? text_words(&policy) : NULL);
    text_done(&policy);
    connector_list_done(&askers);
    evidence_unref(found);
    engine_leave(e, ask->rules);
    free(ask);
}

static void map_wake(struct waiter *self, struct evidence *found)
{
    settle((struct map_ask *)self, evidence_ref(found));
}

void engine_ask_map(struct engine *e, enum map_table table, const struct next_hop *hop, struct pending *answer)
{
    struct evidence *found = NULL;
    struct map_ask *ask;
    struct ruleset *rules;

    if (!engine_enter(e, &rules)) {
        answer->done(answer, NULL);
        return;
    }
    ask = mem_zero(sizeof(*ask));
    *ask = (struct map_ask){ .waiter = { .wake = map_wake }, .engine = e, .rules = rules, .answer = answer, .table = table,
                             .hop = *hop, .start = clock_ms() };
    atomic_fetch_add(&e->asked, 1);
    if (hop->literal) {
        settle(ask, evidence_ref(e->no_name));
        return;
    }
    switch (cache_join(e->cache, hop, &ask->waiter, ask->start, &found)) {
    case SEAT_FIRST:
        engine_search(e, hop, false);       /* from here on another thread may have ended the question */
        return;
    case SEAT_JOINED:
        return;
    case SEAT_SERVED:
        atomic_fetch_add(&e->hot, 1);
        settle(ask, found);
        return;
    case SEAT_REFUSED:
        settle(ask, evidence_new(DANE_UNKNOWN, "no room for another destination", 0));
        return;
    }
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
    if (to->kind != ADDRESS_DOMAIN && c->smart_host_count == 0)
        found = evidence_ref(e->no_name);
    else if (cache_join(e->cache, &hop, NULL, clock_ms(), &found) == SEAT_FIRST)
        engine_search(e, &hop, false);
    road = road_of_address(rules, to);
    text_print(ret, "connector \"%s\" smtp_dane=%s mta_sts=%s route=%s", c->name, mode_word(c->smtp_dane),
               mode_word(c->mta_sts), road.route == NULL ? "-" : road.route->name);
    if (found == NULL) {
        text_put(ret, " dane=- (looking; ask again)");
    } else {
        found = engine_trusted(e, found);
        d = decide(c, found);
        text_print(ret, " dane=%s sts=%s verdict=%s reason=%s (%s)", dane_word(found->dane), sts_word(found->sts),
                   verdict_word(d.verdict), reason_word(d.reason), found->why);
    }
    evidence_unref(found);
    engine_leave(e, rules);
}
