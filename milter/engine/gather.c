/*
 * Gathers evidence: both halves of a next hop, DANE by the hop itself and MTA-STS by its policy domain, each from its
 * cache or by a search. Who is patient waits until a deadline; who isn't starts the searches and takes what is there.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "engine/inside.h"

/* A search on its way; it ends in the cache. */
struct search {
    struct landing landing;
    struct engine *engine;
    struct next_hop hop;
    int64_t start;
    bool ahead;                             /* nobody asked: the watch keeps it warm */
};

static void search_arrive(struct landing *self, struct dns_answers *answers)
{
    struct search *s = (struct search *)self;
    int64_t now = clock_ms();

    if (s->ahead)
        atomic_fetch_sub(&s->engine->ahead, 1);
    counters_took(s->engine->counters, COUNTED_DANE, now - s->start);
    cache_land(s->engine->cache, &s->hop, dane_judge(answers, s->engine->set->resolver.tlsa_records, now), now);
    dns_answers_free(answers);
    free(s);
}

bool engine_may_search(struct engine *e)
{
    bool welcome;

    mutex_lock(&e->lock);
    welcome = !e->closing;
    if (welcome)
        e->starting++;
    mutex_unlock(&e->lock);
    return welcome;
}

void engine_has_asked(struct engine *e)
{
    mutex_lock(&e->lock);
    e->starting--;
    if (e->starting == 0)
        signal_all(&e->left);
    mutex_unlock(&e->lock);
}

void engine_search(struct engine *e, const struct next_hop *hop, bool ahead)
{
    struct search *s;

    if (!engine_may_search(e)) {
        cache_land(e->cache, hop, evidence_new(DANE_UNKNOWN, "the daemon is stopping", 0), clock_ms());
        return;
    }
    s = mem_zero(sizeof(*s));
    *s = (struct search){ .landing = { .arrive = search_arrive }, .engine = e, .hop = *hop, .start = clock_ms(),
                          .ahead = ahead };
    atomic_fetch_add(&e->searches, 1);
    if (ahead)
        atomic_fetch_add(&e->ahead, 1);
    e->lookup->resolve(e->lookup, hop, &s->landing);
    engine_has_asked(e);
}

enum seat engine_join(struct engine *e, enum half half, const struct next_hop *hop, struct waiter *w, bool doubted,
                      struct evidence **ret_found)
{
    enum seat seat = cache_join(half == HALF_STS ? e->sts : e->cache, hop, w, clock_ms(), ret_found);

    if (seat == SEAT_SERVED)
        atomic_fetch_add(&e->hot, 1);
    else if (seat == SEAT_FIRST && half == HALF_STS)
        engine_search_sts(e, hop, false, doubted);
    else if (seat == SEAT_FIRST)
        engine_search(e, hop, false);
    return seat;
}

bool engine_doubts(const struct evidence *joined)
{
    int64_t age = (int64_t)clock_wall() - joined->fetched_at;

    return joined->sts == STS_ENFORCE_MISMATCH && (age < 0 || age > ENGINE_BELIEVED_SECONDS);
}

/* One thread waiting for several things at once. */
struct meeting {
    struct mutex lock;
    struct signal arrived;
};

struct sleeper {
    struct waiter waiter;
    struct meeting *at;
    struct next_hop hop;
    enum half half;
    struct evidence *found;                 /* guarded by at->lock until it has arrived */
    bool waiting;                           /* guarded by at->lock */
};

static void sleeper_wake(struct waiter *self, struct evidence *found)
{
    struct sleeper *s = (struct sleeper *)self;
    struct meeting *at = s->at;

    mutex_lock(&at->lock);
    s->found = evidence_ref(found);
    s->waiting = false;
    signal_all(&at->arrived);
    mutex_unlock(&at->lock);
}

/* Takes a seat and, if it is the first, starts the search. */
static void sleeper_sit(struct engine *e, struct sleeper *s, struct meeting *at, enum half half, const struct next_hop *hop,
                        bool patient, bool doubted)
{
    enum seat seat;

    *s = (struct sleeper){ .waiter = { .wake = sleeper_wake }, .at = at, .hop = *hop, .half = half, .waiting = patient };
    seat = engine_join(e, half, hop, patient ? &s->waiter : NULL, doubted, &s->found);
    if (seat == SEAT_SERVED || seat == SEAT_REFUSED)
        s->waiting = false;                 /* nobody else knows this sleeper */
}

/* Gives what has arrived by the deadline, or NULL. Afterwards nobody will touch the sleeper. */
static struct evidence *sleeper_rise(struct engine *e, struct sleeper *s, int64_t deadline_ms)
{
    struct meeting *at = s->at;
    bool in_time = true, waiting;

    mutex_lock(&at->lock);
    while (s->waiting && in_time)
        in_time = signal_wait_until(&at->arrived, &at->lock, deadline_ms);
    waiting = s->waiting;
    mutex_unlock(&at->lock);
    if (waiting && !cache_leave(s->half == HALF_STS ? e->sts : e->cache, &s->hop, &s->waiter)) {
        mutex_lock(&at->lock);
        while (s->waiting)                  /* the wake-up is on its way */
            signal_wait(&at->arrived, &at->lock);
        mutex_unlock(&at->lock);
    }
    return take(s->found);
}

/* Both halves of one next hop on their way. */
struct pair {
    struct sleeper dane, sts;
    bool literal, asks_sts;
};

static void pair_sit(struct engine *e, struct pair *p, struct meeting *at, const struct connector *c,
                     const struct next_hop *hop, bool patient)
{
    struct next_hop domain = next_hop_of(&hop->host);

    p->literal = hop->literal;
    p->asks_sts = !hop->literal && c->mta_sts != MODE_NONE;
    if (!p->literal)
        sleeper_sit(e, &p->dane, at, HALF_DANE, hop, patient, false);
    if (p->asks_sts)
        sleeper_sit(e, &p->sts, at, HALF_STS, &domain, patient, false);
}

/* Joins what is there; takes sts (or NULL: not known). */
static struct evidence *join(struct engine *e, struct evidence *dane, struct evidence *sts)
{
    struct evidence *both = evidence_join(dane, sts == NULL ? e->sts_late : sts);

    evidence_unref(sts);
    return both;
}

/* RFC 8461 5.1: before a mismatch is believed, the policy is fetched again. Takes and gives a reference. */
static struct evidence *doubt(struct engine *e, struct pair *p, struct evidence *dane, struct evidence *both, bool patient,
                              int64_t deadline_ms)
{
    struct next_hop domain = p->sts.hop;
    int doubts;

    for (doubts = 0; doubts < ENGINE_DOUBTS && engine_doubts(both); doubts++) {
        evidence_unref(both);
        cache_doubt(e->sts, &domain);
        sleeper_sit(e, &p->sts, p->sts.at, HALF_STS, &domain, patient, true);
        both = join(e, dane, sleeper_rise(e, &p->sts, deadline_ms));
    }
    return both;
}

/* What is known of the next hop by the deadline, or NULL. */
static struct evidence *pair_rise(struct engine *e, struct pair *p, const struct connector *c, bool patient,
                                  int64_t deadline_ms)
{
    struct evidence *dane, *sts, *both;
    bool needs;

    if (p->literal)
        return evidence_ref(e->no_name);
    dane = sleeper_rise(e, &p->dane, deadline_ms);
    if (!p->asks_sts)
        return dane;
    needs = dane != NULL && decide_needs_sts(c, dane);
    sts = sleeper_rise(e, &p->sts, needs ? deadline_ms : 0);
    if (dane == NULL || (sts == NULL && !needs)) {
        evidence_unref(sts);
        return dane;
    }
    both = join(e, dane, sts);
    if (needs)
        both = doubt(e, p, dane, both, patient, deadline_ms);
    evidence_unref(dane);
    return both;
}

void engine_gather(struct engine *e, const struct connector *c, const struct next_hop *hops, size_t count, bool patient,
                   int64_t deadline_ms, struct evidence *found[])
{
    UNCLEARED struct pair pairs[ENGINE_HOPS_MAX];
    struct meeting at;
    size_t i;

    if (atomic_load(&e->resolver_broken)) {             /* whatever came would not be believed */
        for (i = 0; i < count; i++)
            found[i] = evidence_ref(e->broken);
        return;
    }
    mutex_init(&at.lock);
    signal_init(&at.arrived);
    for (i = 0; i < count; i++)
        pair_sit(e, &pairs[i], &at, c, &hops[i], patient);
    for (i = 0; i < count; i++) {
        found[i] = pair_rise(e, &pairs[i], c, patient, deadline_ms);
        if (found[i] != NULL)
            found[i] = engine_seen(e, c, &hops[i], engine_trusted(e, found[i]));
    }
    signal_done(&at.arrived);
    mutex_done(&at.lock);
}
