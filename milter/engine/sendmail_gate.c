/*
 * Whether a connection that Sendmail has open is good enough for a recipient. One next hop after the other is judged until one
 * has the host; where the connector is on its fallback road, or its route leads to next hops of its own, those as well.
 *
 *   go_on() ── next hop ──► have_evidence() ──► judge() ── passed, or refused for good ──► settle()
 *     ▲                                          │  '── the certificate is wanted ──► have_chain() ──► judge(), or
 *     '────── not one of its hosts ──────────────'           the evidence has expired meanwhile ──► have_evidence()
 */
#include "engine/sendmail.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { BELIEVED_MS = 60 * 1000 };           /* a chain fetched that lately is not fetched again before it is refused */

struct gate_ask {
    struct mail_ask mail;                   /* first */
    struct chain_waiter waiter;             /* while a certificate is awaited */
    struct gate_sight seen;
    char address[64];
    const struct route *road;               /* with demands of its own: the fallback, or one with next hops of its own; or NULL */
    struct next_hop *stand_in;              /* its next hops; NULL: those of the mail */
    size_t stand_in_count;
    bool on_fallback;
    size_t judged;                          /* the next hop that is being judged */
    struct evidence *found;                 /* about it: a reference */
    struct cert_chain *chain;               /* a reference, or NULL */
    bool doubted;                           /* the chain has been fetched again before it was refused */
    bool missing;                           /* it can't be had */
    bool renewed;                           /* the evidence has been looked for again before it counted */
    struct fault missing_why;
    struct gate_ruling best;                /* so far */
    size_t best_at;
    bool ruled;                             /* there is one */
    struct decision direct;                 /* about the connector's own next hops, by mail.found */
};

/* How many next hops the road has. The connector's own route is not for mail that is held; its fallback is. */
static size_t road_count(const struct gate_ask *g)
{
    if (g->road == NULL || (!g->on_fallback && g->direct.verdict == VERDICT_HOLD))
        return 0;
    return g->stand_in == NULL ? g->mail.count : g->stand_in_count;
}

/* Next hops are numbered: first those of the connector, then those of its road. */
static const struct next_hop *hop_at(const struct gate_ask *g, size_t i)
{
    if (i < g->mail.count)
        return &g->mail.hops[i];
    i -= g->mail.count;
    return g->stand_in == NULL ? &g->mail.hops[i] : &g->stand_in[i];
}

static void go_on(struct gate_ask *g)
{
    struct walk *w = &g->mail.walk;

    g->judged = g->mail.next++;
    g->doubted = g->missing = g->renewed = false;
    w->hop = *hop_at(g, g->judged);
    walk_begin(w);
}

/* A refusal says most about the next hop that has the host; else about the first that could have had it. */
static int weight(const struct gate_ruling *r)
{
    if (r->outcome == GATE_PASSED)
        return 3;
    if (r->outcome != GATE_ELSEWHERE)
        return 2;
    return r->decision.verdict != VERDICT_HOLD;
}

static void weigh(struct gate_ask *g, const struct gate_ruling *r)
{
    bool better = !g->ruled || weight(r) > weight(&g->best);

    if (better && g->judged < g->mail.count) {
        g->direct = r->decision;
        evidence_unref(g->mail.found);
        g->mail.found = evidence_ref(g->found);
    }
    if (better) {
        g->best = *r;
        g->best_at = g->judged;
    }
    g->ruled = true;
}

/* Whether nothing else that the MTA may still try could be better, so that what has waited for too long is given up. */
static bool is_final(const struct gate_ask *g)
{
    bool last_hop = g->best_at + 1 == g->mail.count || g->best_at + 1 == g->mail.count + road_count(g);

    if (g->best.outcome == GATE_UNSEEN || g->best.reason == REASON_INTERNAL)
        return false;
    return g->best.outcome == GATE_ELSEWHERE || (last_hop && (g->best.last || g->best.decision.verdict == VERDICT_HOLD));
}

/* What is answered and recorded where the connection is not good enough. */
static void refuse(struct gate_ask *g)
{
    char value[SENDMAIL_VALUE_MAX + 1];
    struct mail_ask *ask = &g->mail;
    struct reply reply;

    ask->decision = (struct decision){ .verdict = VERDICT_HOLD, .reason = g->best.reason };
    if (g->best.worded)
        reply_words(g->best.reason, g->best.why.text, &reply);
    else
        mail_ask_reply(ask, hop_at(g, g->best_at), &reply);
    if (g->best.outcome != GATE_UNSEEN)                 /* that is a passing trouble */
        fallbacks_note(ask->walk.engine->fallbacks, ask->connector, &ask->decision);
    if (mail_ask_is_over(ask) && is_final(g))
        reply_give_up(g->best.reason, ask->connector, &reply);
    if (*reply.code == '5')
        ask->decision.verdict = VERDICT_BOUNCE;
    reply_plain(&reply);
    snprintf(value, sizeof(value), "%s%.*s", *reply.code == '5' ? "bounce " : "", SENDMAIL_VALUE_MAX - 8, reply.text);
    mail_ask_record(ask);
    mail_ask_end(ask, g->best.reason == REASON_INTERNAL ? NULL : value);
}

static void pass(struct gate_ask *g)
{
    struct mail_ask *ask = &g->mail;

    ask->decision = g->direct;
    fallbacks_note(ask->walk.engine->fallbacks, ask->connector, &ask->decision);
    if (g->best_at >= ask->count && g->on_fallback)
        ask->decision.verdict = VERDICT_FALLBACK;
    mail_ask_record(ask);
    mail_ask_end(ask, "pass");
}

/* Ends the question. */
static void settle(struct gate_ask *g)
{
    struct next_hop *stand_in = g->stand_in;

    if (g->best.outcome == GATE_PASSED)
        pass(g);
    else if (engine_is_closing(g->mail.walk.engine))
        mail_ask_end(&g->mail, NULL);
    else
        refuse(g);
    free(stand_in);
}

static void judge(struct gate_ask *g);

/* Whether what is known of the next hop counted when the certificate was asked for, but no more. */
static bool has_expired(const struct gate_ask *g)
{
    return g->found->fresh_until <= clock_ms() || atomic_load(&g->mail.walk.engine->resolver_broken);
}

/* Takes a chain that has been fetched, or NULL. */
static void have_chain(struct gate_ask *g, struct cert_chain *found, const char *why)
{
    g->missing = found == NULL;
    fault_set(&g->missing_why, "%s", why);
    if (found != NULL) {
        cert_chain_unref(g->chain);
        g->chain = found;
    }
    if (g->renewed || !has_expired(g)) {
        judge(g);
        return;
    }
    g->renewed = true;
    evidence_unref(take(g->found));
    walk_begin(&g->mail.walk);
}

static void chain_wake(struct chain_waiter *self, struct cert_chain *found, const char *why)
{
    struct gate_ask *g = (struct gate_ask *)((char *)self - offsetof(struct gate_ask, waiter));

    have_chain(g, found == NULL ? NULL : cert_chain_ref(found), why);
}

static void await_chain(struct gate_ask *g, int64_t not_before)
{
    struct chain_key key = { .host = g->seen.server.host, .port = hop_at(g, g->judged)->port };
    struct cert_chain *found = NULL;
    struct fault why = { "" };

    if (g->seen.server.literal)
        key.host = (struct domain){ 0 };                /* no name for SNI */
    memcpy(key.address, g->address, sizeof(key.address));
    memcpy(key.fingerprint, g->seen.fingerprint, sizeof(key.fingerprint));
    g->waiter = (struct chain_waiter){ .wake = chain_wake };
    switch (engine_fetch(g->mail.walk.engine, &key, &g->waiter, not_before, &found, &why)) {
    case CHAIN_FIRST:
    case CHAIN_JOINED:
        return;                             /* by now another thread may have ended the question */
    case CHAIN_SERVED:
        have_chain(g, found, "");
        return;
    case CHAIN_MISSING:
        have_chain(g, NULL, why.text);
        return;
    case CHAIN_REFUSED:
        have_chain(g, NULL, "too many are being fetched");
        return;
    }
}

/* Whether the chain is fetched now, so that there will be another judgement. */
static bool asks_for_chain(struct gate_ask *g, const struct gate_ruling *r)
{
    if (r->outcome == GATE_UNSEEN && g->chain == NULL && !g->missing) {
        await_chain(g, 0);
        return true;
    }
    if (r->outcome == GATE_REFUSED && g->chain != NULL && !g->doubted) {
        g->doubted = true;                  /* the same certificate may have others above it by now */
        await_chain(g, clock_ms() - BELIEVED_MS);
        return true;
    }
    return false;
}

/* Judges the connection by the next hop at hand, then by others where that can change anything. */
static void judge(struct gate_ask *g)
{
    struct mail_ask *ask = &g->mail;
    bool direct = g->judged < ask->count;
    struct gate_case c = { .connector = ask->connector, .stand_in = direct ? NULL : g->road,
                           .hop = hop_at(g, g->judged), .found = g->found, .seen = &g->seen, .chain = g->chain,
                           .trust = ask->walk.engine->trust, .now = (int64_t)clock_wall() };
    struct gate_ruling r;

    gate_judge(&c, &r);
    if (asks_for_chain(g, &r))
        return;
    if (r.outcome == GATE_UNSEEN)
        fault_set(&r.why, "the certificate of %s could not be fetched for checking: %.200s", g->seen.server.host.name,
                  g->missing_why.text);
    weigh(g, &r);
    evidence_unref(take(g->found));
    cert_chain_unref(take(g->chain));
    if (r.outcome != GATE_PASSED && r.outcome != GATE_ELSEWHERE && direct)
        ask->next = ask->count;             /* it is this one's host: only the road can still make it good */
    if (r.outcome != GATE_PASSED && ask->next < ask->count + road_count(g))
        go_on(g);
    else
        settle(g);
}

/* Takes found. */
static void have_evidence(struct walk *self, struct evidence *found)
{
    struct gate_ask *g = (struct gate_ask *)self;

    if (g->judged < g->mail.count)          /* a road that stands in has demands of its own */
        found = engine_seen(g->mail.walk.engine, g->mail.connector, &g->mail.walk.hop, found);
    g->found = found;
    judge(g);
}

void sendmail_gate(struct engine *e, struct ruleset *rules, const struct connector *c, const struct sendmail_question *q,
                   struct pending *answer)
{
    struct gate_ask *g = mem_zero(sizeof(*g));

    mail_ask_init(&g->mail, e, rules, c, q, answer);
    g->mail.walk.done = have_evidence;
    gate_see(q->server_name, q->tls_version, q->fingerprint, &g->seen);
    snprintf(g->address, sizeof(g->address), "%s", q->server_addr);
    g->on_fallback = connector_on_fallback(c);
    if (g->on_fallback)
        g->road = c->fallback;
    else if (c->route->next_hop[0] != '\0')
        g->road = c->route;
    if (g->road != NULL)
        g->stand_in = road_hops(g->road, &g->stand_in_count);
    go_on(g);
}
