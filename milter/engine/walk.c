/*
 * Gathers evidence like gather.c, but holds no thread meanwhile: a walk waits in one cache after the other.
 *
 *   walk_begin() ── DANE ──► have_dane() ── does MTA-STS matter? ──► have_sts() ── doubts? once more ──► finish()
 */
#include "base/memory.h"
#include "engine/inside.h"

/* Ends the walk, which may be gone or on its next way afterwards; takes found. */
static void finish(struct walk *w, struct evidence *found)
{
    struct engine *e = w->engine;

    evidence_unref(take(w->dane));
    w->done(w, engine_trusted(e, found));
}

static void await_sts(struct walk *w);

/* sts is borrowed. */
static void have_sts(struct walk *w, struct evidence *sts)
{
    struct evidence *both = evidence_join(w->dane, sts);

    if (w->doubts == ENGINE_DOUBTS || !engine_doubts(both)) {
        finish(w, both);
        return;
    }
    evidence_unref(both);
    w->doubts++;
    cache_doubt(w->engine->sts, &w->domain);
    await_sts(w);
}

static void sts_wake(struct waiter *self, struct evidence *found)
{
    have_sts((struct walk *)self, found);
}

static void await_sts(struct walk *w)
{
    struct engine *e = w->engine;
    struct next_hop domain = w->domain;
    struct evidence *found = NULL;

    w->waiter = (struct waiter){ .wake = sts_wake };
    switch (engine_join(e, HALF_STS, &domain, &w->waiter, w->doubts > 0, &found)) {
    case SEAT_FIRST:
    case SEAT_JOINED:
        return;                             /* by now another thread may have ended the walk */
    case SEAT_SERVED:
        have_sts(w, found);
        evidence_unref(found);
        return;
    case SEAT_REFUSED:
        have_sts(w, e->sts_late);
        return;
    }
}

static bool sts_matters(const struct walk *w)
{
    size_t i;

    for (i = 0; i < w->judge_count; i++) {
        if (decide_needs_sts(w->judges[i], w->dane))
            return true;
    }
    return false;
}

/* Takes dane. */
static void have_dane(struct walk *w, struct evidence *dane)
{
    w->dane = dane;
    if (!w->hop.literal && !atomic_load(&w->engine->resolver_broken) && sts_matters(w))
        await_sts(w);
    else
        finish(w, evidence_ref(dane));
}

static void dane_wake(struct waiter *self, struct evidence *found)
{
    have_dane((struct walk *)self, evidence_ref(found));
}

/* Both halves are looked for at once; whether the second counts shows later. */
static void start_sts(struct walk *w)
{
    struct evidence *found = NULL;
    size_t i;

    for (i = 0; i < w->judge_count; i++) {
        if (w->judges[i]->mta_sts != MODE_NONE) {
            engine_join(w->engine, HALF_STS, &w->domain, NULL, false, &found);
            evidence_unref(found);
            return;
        }
    }
}

static void await_dane(struct walk *w)
{
    struct next_hop hop = w->hop;
    struct evidence *found = NULL;

    w->waiter = (struct waiter){ .wake = dane_wake };
    switch (engine_join(w->engine, HALF_DANE, &hop, &w->waiter, false, &found)) {
    case SEAT_FIRST:
    case SEAT_JOINED:
        return;                             /* by now another thread may have ended the walk */
    case SEAT_SERVED:
        have_dane(w, found);
        return;
    case SEAT_REFUSED:
        have_dane(w, evidence_new(DANE_UNKNOWN, "no room for another destination", 0));
        return;
    }
}

void walk_begin(struct walk *w)
{
    struct engine *e = w->engine;

    w->domain = next_hop_of(&w->hop.host);
    w->doubts = 0;
    if (w->hop.literal) {
        have_dane(w, evidence_ref(e->no_name));
        return;
    }
    if (atomic_load(&e->resolver_broken)) {
        have_dane(w, evidence_ref(e->broken));          /* whatever came would not be believed */
        return;
    }
    start_sts(w);
    await_dane(w);
}
