/*
 * Sendmail's questions: what both have in common. A question never holds a thread: it walks (walk.c), and waits for
 * certificates (fetch.c) in the same way.
 */
#include "engine/sendmail.h"

#include "base/clock.h"
#include "base/memory.h"
#include "policy/queue_id.h"

#include <stdio.h>
#include <string.h>

/*
 * A sender that can't be read, or has no domain, may be anybody: then any connector that holds mail to the recipient does, as in
 * tables that see no senders.
 */
static const struct connector *connector_of(const struct ruleset *rules, const struct sendmail_question *q)
{
    struct pattern key = { .kind = PATTERN_ADDRESS, .domain = q->to.domain.name };
    const struct connector *found = ruleset_find(rules, &q->to, &q->from);
    struct connector_list list = { 0 };
    char local[ADDRESS_LOCAL_SIZE];
    size_t i;

    if ((q->from.kind != ADDRESS_BARE && q->from.kind != ADDRESS_UNUSABLE) || q->to.kind != ADDRESS_DOMAIN)
        return found;
    address_fold_local(&q->to, local);
    key.local = local;
    ruleset_candidates(rules, &key, &list);
    for (i = 0; i < list.count && !connector_is_mandatory(found); i++) {
        if (connector_is_mandatory(list.items[i]) && !list.items[i]->is_default)
            found = list.items[i];
    }
    connector_list_done(&list);
    return found;
}

/* Whether mail of its own depends on us. A bare name is this host's business, whatever the rules say of everyone. */
static bool is_ours(const struct connector *c, const struct address *to)
{
    return !c->is_default && !connector_is_idle(c) && to->kind != ADDRESS_BARE && to->kind != ADDRESS_NULL;
}

void engine_ask_sendmail(struct engine *e, const struct sendmail_question *q, struct pending *answer)
{
    const struct connector *c;
    struct ruleset *rules;

    if (!engine_enter(e, &rules)) {
        answer->done(answer, NULL);
        return;
    }
    c = connector_of(rules, q);
    if (!is_ours(c, &q->to)) {
        answer->done(answer, "pass");
        engine_leave(e, rules);
        return;
    }
    atomic_fetch_add(&e->asked, 1);
    if (q->at_gate)
        sendmail_gate(e, rules, c, q, answer);
    else
        sendmail_route(e, rules, c, q, answer);
}

/* No queue keeps mail for so long behind its hold: one of the clocks is wrong, and nobody's mail is given up for that. */
enum { BELIEVED_SECONDS = 30 * 24 * 3600 };

static int64_t age_of(const char *queue_id)
{
    int64_t now = (int64_t)clock_wall(), made;

    return queue_id_time(queue_id, now, &made) ? now - made : -1;
}

void mail_ask_init(struct mail_ask *ask, struct engine *e, struct ruleset *rules, const struct connector *c,
                   const struct sendmail_question *q, struct pending *answer)
{
    *ask = (struct mail_ask){ .walk = { .engine = e, .judge_count = 1 }, .rules = rules, .connector = c, .to = q->to,
                              .from = q->from, .own = engine_own_hop(&q->to), .age = age_of(q->queue_id),
                              .start = clock_ms(), .answer = answer };
    snprintf(ask->queue_id, sizeof(ask->queue_id), "%s", q->queue_id);
    ask->walk.judges = &ask->connector;
    ask->hops = c->smart_host_count > 0 ? c->smart_hosts : &ask->own;
    ask->count = c->smart_host_count > 0 ? c->smart_host_count : 1;
}

bool mail_ask_is_over(const struct mail_ask *ask)
{
    int64_t since = ask->age - (int64_t)ask->connector->hold;

    return ask->age >= 0 && since >= 0 && since < BELIEVED_SECONDS && (ask->found == NULL || !ask->found->ours);
}

void mail_ask_record(const struct mail_ask *ask)
{
    char to[ADDRESS_TEXT_SIZE], from[ADDRESS_TEXT_SIZE];
    struct record r = { .where = WHERE_MAP, .queue_id = ask->queue_id[0] == '\0' ? NULL : ask->queue_id,
                        .to = address_print(&ask->to, to, sizeof(to)), .from = address_print(&ask->from, from, sizeof(from)),
                        .connector = ask->connector, .found = ask->found, .decision = &ask->decision,
                        .at = clock_wall_ms(), .took_ms = clock_ms() - ask->start };

    engine_record(ask->walk.engine, &r);
    r.connector = ruleset_shadow(ask->rules, &ask->to, &ask->from);
    if (r.connector != NULL)
        engine_shadow(ask->walk.engine, ask->rules, &r, &ask->own);
}

void mail_ask_end(struct mail_ask *ask, const char *value)
{
    struct engine *e = ask->walk.engine;

    ask->answer->done(ask->answer, value);
    evidence_unref(ask->found);
    engine_leave(e, ask->rules);
    free(ask);
}

void mail_ask_reply(const struct mail_ask *ask, const struct next_hop *hop, struct reply *ret)
{
    if (ask->found != NULL && ask->found->ours && ask->decision.reason == REASON_DNS_TEMP)
        reply_resolver(ask->connector, hop->host.name, ret);
    else
        reply_hold(ask->decision.reason, ask->connector, hop->host.name, ret);
}

struct next_hop *road_hops(const struct route *road, size_t *ret_count)
{
    static const char between[] = ", \t";
    AUTO(free) char *copy = mem_text(road->next_hop);
    struct next_hop *hops = NULL, hop;
    char *rest = copy, *word;

    *ret_count = 0;
    while (*ret_count < ENGINE_HOPS_MAX && (word = strsep(&rest, between)) != NULL) {
        if (*word == '\0' || !next_hop_parse(word, &hop, NULL))
            continue;
        hops = mem_grow(hops, *ret_count + 1, sizeof(*hops));
        hops[(*ret_count)++] = hop;
    }
    return hops;
}
