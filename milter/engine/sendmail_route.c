/*
 * Which road mail takes on a Sendmail. Young mail takes its road at once, whatever is known: while it is accepted the milter
 * refuses, and on the wire the gate holds. Mail that has waited is held here already, so that nobody is visited in vain, and
 * bounces in the end.
 *
 *   sendmail_route() ── young ──► answer_road()
 *                └── next hop ──► have_evidence() ── held, and there is another ──► next hop
 *                                       '── answer_road(), or hold()
 */
#include "engine/sendmail.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { YOUNG_SECONDS = 5 * 60 };

/* Sendmail's mailers carry the port. */
static void put_host(struct text *ret, const struct next_hop *hop, bool first)
{
    const char *kind = hop->literal && strchr(hop->host.name, ':') != NULL ? "IPv6:" : "";

    text_print(ret, hop->bracketed ? "%s[%s%s]" : "%s%s%s", first ? "" : ":", kind, hop->host.name);
}

/* `MAILER:HOST`; false: the mail has no next hop. */
static bool print_road(const struct mail_ask *ask, struct text *ret)
{
    const struct route *road = connector_road(ask->connector);
    size_t own_count, i;
    struct next_hop *own = road_hops(road, &own_count);
    const struct next_hop *hops = own == NULL ? ask->hops : own;
    size_t count = own == NULL ? ask->count : own_count;
    bool leads = hops[0].host.length > 0;

    text_print(ret, "%s:", road->transport);
    for (i = 0; i < count; i++)
        put_host(ret, &hops[i], i == 0);
    free(own);
    return leads && !ret->full;
}

static void answer_road(struct mail_ask *ask)
{
    struct text road;

    text_init(&road, SENDMAIL_ROAD_SIZE);
    if (print_road(ask, &road))
        mail_ask_end(ask, text_words(&road));
    else
        mail_ask_end(ask, connector_is_mandatory(ask->connector) ? NULL : "pass");      /* an address that nobody can read */
    text_done(&road);
}

/* `error:4.7.5:451 REASON: ...`; once the hold is over `error:5.7.5:550 ...` */
static void hold(struct mail_ask *ask)
{
    char value[SENDMAIL_VALUE_MAX + 1];
    struct reply reply;

    mail_ask_reply(ask, &ask->hops[0], &reply);
    if (mail_ask_is_over(ask))
        reply_give_up(ask->decision.reason, ask->connector, &reply);
    if (*reply.code == '5')
        ask->decision.verdict = VERDICT_BOUNCE;
    reply_plain(&reply);
    snprintf(value, sizeof(value), "error:%s:%s %.*s", reply.enhanced, reply.code, SENDMAIL_VALUE_MAX - 16, reply.text);
    mail_ask_record(ask);
    mail_ask_end(ask, ask->decision.reason == REASON_INTERNAL ? NULL : value);
}

static void settle(struct mail_ask *ask)
{
    struct engine *e = ask->walk.engine;

    fallbacks_note(e->fallbacks, ask->connector, &ask->decision);
    ask->decision = decision_fall_back(ask->decision, ask->connector);
    if (engine_is_closing(e)) {
        mail_ask_end(ask, NULL);
        return;
    }
    if (ask->decision.verdict == VERDICT_HOLD) {
        hold(ask);
        return;
    }
    if (ask->decision.verdict == VERDICT_FALLBACK)
        mail_ask_record(ask);
    answer_road(ask);
}

static void go_on(struct mail_ask *ask)
{
    ask->walk.hop = ask->hops[ask->next++];
    walk_begin(&ask->walk);
}

/* As engine_decide_list() has it: the first next hop that may be delivered to, else the first. Takes found. */
static void have_evidence(struct walk *self, struct evidence *found)
{
    struct mail_ask *ask = (struct mail_ask *)self;
    struct decision d;

    found = engine_seen(ask->walk.engine, ask->connector, &ask->walk.hop, found);
    d = decide(ask->connector, found);
    engine_prefetch(ask->walk.engine, ask->connector, &ask->walk.hop, found);
    if (ask->found == NULL || d.verdict != VERDICT_HOLD) {
        evidence_unref(ask->found);
        ask->found = found;
        ask->decision = d;
    } else {
        evidence_unref(found);
    }
    if (ask->decision.verdict == VERDICT_HOLD && ask->next < ask->count)
        go_on(ask);
    else
        settle(ask);
}

/* Has the evidence looked for, and takes no part in it. */
static void look_ahead(struct mail_ask *ask)
{
    struct evidence *found[ENGINE_HOPS_MAX] = { NULL };
    size_t count = ask->count < ENGINE_HOPS_MAX ? ask->count : ENGINE_HOPS_MAX, i;

    engine_gather(ask->walk.engine, ask->connector, ask->hops, count, false, 0, found);
    for (i = 0; i < count; i++) {
        if (found[i] != NULL)
            engine_prefetch(ask->walk.engine, ask->connector, &ask->hops[i], found[i]);
        evidence_unref(found[i]);
    }
}

void sendmail_route(struct engine *e, struct ruleset *rules, const struct connector *c, const struct sendmail_question *q,
                    struct pending *answer)
{
    struct mail_ask *ask = mem_zero(sizeof(*ask));

    mail_ask_init(ask, e, rules, c, q, answer);
    ask->walk.done = have_evidence;
    if (ask->age >= YOUNG_SECONDS) {
        go_on(ask);
        return;
    }
    look_ahead(ask);
    answer_road(ask);
}
