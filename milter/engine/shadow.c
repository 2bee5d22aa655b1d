/*
 * Connectors in test mode: what one would have decided, recorded beside the real decision. A shadow acts on nothing and
 * nobody waits for it: where evidence is cold it is parked in the caches (walk.c) and told when the evidence has landed.
 *
 *   engine_shadow() ── next hop ──► have_evidence() ── held, and there is another smart host ──► next hop
 *                                         '── told by engine_record(), and gone
 */
#include "base/clock.h"
#include "base/memory.h"
#include "engine/inside.h"

enum { SHADOWS_MAX = 4096 };

struct shadow {
    struct walk walk;                       /* to one next hop after the other */
    struct ruleset *rules;                  /* between enter and leave */
    const struct connector *connector;
    struct next_hop own;
    const struct next_hop *hops;            /* the connector's, or own */
    size_t count, next;
    struct evidence *found;                 /* of the decision so far: a reference, or NULL */
    struct decision decision;
    enum where where;
    char *queue_id, *to, *from;             /* or NULL */
    int64_t at, start;
};

static bool find_room(struct engine *e)
{
    if (atomic_fetch_add(&e->shadows, 1) < SHADOWS_MAX)
        return true;
    atomic_fetch_sub(&e->shadows, 1);
    atomic_fetch_add(&e->shadows_dropped, 1);
    return false;
}

static void finish(struct shadow *s)
{
    struct engine *e = s->walk.engine;

    engine_record(e, &(struct record){ .where = s->where, .shadow = true, .queue_id = s->queue_id, .to = s->to,
                                       .from = s->from, .connector = s->connector, .found = s->found,
                                       .decision = &s->decision, .at = s->at, .took_ms = clock_ms() - s->start });
    evidence_unref(s->found);
    free(s->queue_id);
    free(s->to);
    free(s->from);
    atomic_fetch_sub(&e->shadows, 1);
    engine_leave(e, s->rules);
    free(s);
}

static void go_on(struct shadow *s)
{
    s->walk.hop = s->hops[s->next++];
    walk_begin(&s->walk);
}

/* As engine_decide_list() has it: the first next hop that may be delivered to, else the first. */
static void have_evidence(struct walk *self, struct evidence *found)
{
    struct shadow *s = (struct shadow *)self;
    struct decision d;

    found = engine_seen(s->walk.engine, s->connector, &s->walk.hop, found);
    d = decide(s->connector, found);
    if (s->found == NULL || d.verdict != VERDICT_HOLD) {
        evidence_unref(s->found);
        s->found = found;
        s->decision = d;
    } else {
        evidence_unref(found);
    }
    if (s->decision.verdict == VERDICT_HOLD && s->next < s->count)
        go_on(s);
    else
        finish(s);
}

static char *copy(const char *text)
{
    return text == NULL ? NULL : mem_text(text);
}

void engine_shadow(struct engine *e, struct ruleset *rules, const struct record *r, const struct next_hop *own)
{
    struct ruleset *today;
    struct shadow *s;

    if (!engine_enter(e, &today))
        return;
    if (!find_room(e)) {
        engine_leave(e, today);
        return;
    }
    s = mem_zero(sizeof(*s));
    *s = (struct shadow){ .walk = { .engine = e, .done = have_evidence, .judge_count = 1 }, .rules = ruleset_ref(rules),
                          .connector = r->connector, .own = *own, .where = r->where, .queue_id = copy(r->queue_id),
                          .to = copy(r->to), .from = copy(r->from), .at = r->at, .start = clock_ms() };
    s->walk.judges = &s->connector;
    s->count = r->connector->smart_host_count > 0 ? r->connector->smart_host_count : 1;
    s->hops = r->connector->smart_host_count > 0 ? r->connector->smart_hosts : &s->own;
    ruleset_unref(today);                   /* the recipient's own rules take its place */
    go_on(s);
}
