/*
 * Visits to the hosts of connectors that want them (probe = watch or require), in the background.
 *
 *   schedule_body() ── follow() the rules ──► review() next hops: which hosts are wanted, what they showed, what to say
 *                   '── send_out() those that are due ──► lookup ──► errand_arrive() ──► visits_land()
 *
 * Hosts come from evidence that is fresh, so that nobody is visited whom DNS has stopped to name. Decisions read what visits.c has
 * and never wait.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/inside.h"

#include <stdio.h>
#include <string.h>

enum {
    ROUND_MS = 1000,
    REVIEW_LEAST = 64, REVIEW_ROUNDS = 10,      /* so many next hops a round, or all within so many rounds */
    TARGETS_MAX = 16384,
    SENT_AT_ONCE = 64,
    SPREAD_MS = 250,                            /* new hosts' first visits are so far apart, as far as the interval allows */
};

/* A next hop that a connector names: one of its smart hosts, or else of its recipients. */
struct target {
    const struct connector *connector;
    size_t index;
};

struct schedule {
    struct engine *engine;
    pthread_t thread;
    struct mutex lock;
    struct signal changed;
    bool stop GUARDED_BY(lock), woken GUARDED_BY(lock);
    bool crowded GUARDED_BY(lock);              /* hosts are due that had to wait for others' visits */

    struct ruleset *rules;                      /* the rest is our thread's own; a reference: whose targets these are */
    struct target *targets;
    size_t count, next;                         /* next: the one to review, seen next hops behind the targets */
    int64_t reviewed;
    int64_t last_first;                         /* when the first visit of the latest new host is due */
    bool wild;                                  /* some connector names its next hops only by its mail */
};

/* Somebody on his way to a host. */
struct errand {
    struct probe_landing landing;
    struct schedule *schedule;
    struct visit_host host;
};

/* How many next hops it may name, and which; false: that one names none. */
static size_t names_of(const struct connector *c)
{
    return c->smart_host_count > 0 ? c->smart_host_count : c->recipient_count;
}

static bool name_at(const struct connector *c, size_t index, struct next_hop *ret)
{
    const struct pattern *p;
    struct domain d;

    if (c->smart_host_count > 0) {
        *ret = c->smart_hosts[index];
        return true;
    }
    p = &c->recipients[index];
    if ((p->kind != PATTERN_DOMAIN && p->kind != PATTERN_ADDRESS) || !domain_parse(p->domain, &d, NULL))
        return false;
    *ret = next_hop_of(&d);
    return true;
}

/* What is known of the next hop, where its DANE half is fresh, or NULL; gives a reference. */
static struct evidence *known_of(struct engine *e, const struct next_hop *hop)
{
    struct evidence *dane, *found = NULL;
    int64_t since = 0;

    if (hop->literal)
        return evidence_ref(e->no_name);
    dane = cache_peek(e->cache, hop, &since);
    if (dane != NULL && dane->fresh_until > clock_ms())
        found = engine_trusted(e, engine_with_sts(e, hop, dane, &since));
    evidence_unref(dane);
    return found;
}

/* A literal is its own host. */
static size_t hosts_of(const struct next_hop *hop, const struct evidence *found, struct evidence_host *own,
                       const struct evidence_host **ret)
{
    *own = (struct evidence_host){ .name = hop->host.name, .expanded = hop->host.name, .base = "", .state = HOST_BARE };
    *ret = hop->literal ? own : found->hosts;
    return hop->literal ? 1 : found->host_count;
}

/* How long from now the next new host's first visit is due. */
static int64_t spread(const struct schedule *s, int64_t now)
{
    int64_t most = (int64_t)s->engine->set->probe.interval * 1000, first = s->last_first + SPREAD_MS - now;

    return first < 0 ? 0 : first > most ? most : first;
}

/* Judges what is demanded of a host, and says what is new. */
static void review_host(struct engine *e, const struct visit_host *host, const struct visit_demand *d, int64_t now)
{
    struct visits_word word;

    if (d->proof != PROOF_NONE)
        visits_word(e->visits, host, d, e->trust, now, &word);
    visits_tell(e->visits, host, d, now);
}

static void review_hop(struct schedule *s, const struct connector *c, const struct next_hop *hop, int64_t now)
{
    struct engine *e = s->engine;
    struct evidence *found = known_of(e, hop);
    static const struct visit_demand nothing = { .proof = PROOF_NONE };
    struct visit_demand dane, other;
    const struct evidence_host *hosts;
    struct evidence_host own;
    size_t count, i;
    int64_t first;

    if (found == NULL)
        return;
    count = hosts_of(hop, found, &own, &hosts);
    for (i = 0; i < count; i++) {
        struct visit_host host = visit_host_of(hop, hosts[i].name);

        if (!visit_is_worth_it(&hosts[i]))
            continue;
        visit_demands(c, &hosts[i], hop, &dane, &other);
        first = spread(s, now);
        if (visits_want(e->visits, &host, dane.proof != PROOF_NONE || other.proof != PROOF_NONE, c->name, now, first))
            s->last_first = now + first;
        review_host(e, &host, &nothing, now);
        if (dane.proof != PROOF_NONE)
            review_host(e, &host, &dane, now);
        if (other.proof != PROOF_NONE)
            review_host(e, &host, &other, now);
    }
    evidence_unref(found);
}

/* By its traffic, which may have been under rules that are gone. */
static void review_seen(struct schedule *s, size_t index, int64_t now)
{
    AUTO(free) char *name = NULL;
    const struct connector *c;
    struct next_hop hop;

    if (!traffic_at(s->engine->traffic, index, now, &hop, &name))
        return;
    c = ruleset_named(s->rules, name);
    if (c != NULL && c->probe != PROBING_OFF && traffic_names(c))
        review_hop(s, c, &hop, now);
}

static void review(struct schedule *s, int64_t now)
{
    size_t total = s->count + (s->wild ? TRAFFIC_MAX : 0), some = total / REVIEW_ROUNDS + 1, i;
    struct next_hop hop;

    if (some < REVIEW_LEAST)
        some = REVIEW_LEAST;
    for (i = 0; i < some && i < total; i++) {
        size_t at = s->next++ % total;

        if (at >= s->count)
            review_seen(s, at - s->count, now);
        else if (name_at(s->targets[at].connector, s->targets[at].index, &hop))
            review_hop(s, s->targets[at].connector, &hop, now);
    }
    s->reviewed = now;
}

static void add_targets(struct schedule *s, const struct connector *c)
{
    struct next_hop hop;
    size_t i;

    for (i = 0; i < names_of(c) && s->count < TARGETS_MAX; i++) {
        if (!name_at(c, i, &hop))
            continue;
        if (s->count % REVIEW_LEAST == 0)
            s->targets = mem_grow(s->targets, s->count + REVIEW_LEAST, sizeof(*s->targets));
        s->targets[s->count++] = (struct target){ .connector = c, .index = i };
    }
    s->wild |= traffic_names(c);
}

/* Today's rules, if they are not those that we go by. */
static void follow(struct schedule *s, int64_t now)
{
    struct ruleset *rules = engine_rules(s->engine);
    size_t i;

    if (rules == s->rules) {
        ruleset_unref(rules);
        return;
    }
    ruleset_unref(s->rules);
    s->rules = rules;
    s->count = s->next = 0;
    s->wild = false;
    for (i = 0; i < ruleset_count(rules); i++) {
        if (ruleset_at(rules, i)->probe != PROBING_OFF)
            add_targets(s, ruleset_at(rules, i));
    }
    if (s->count == TARGETS_MAX)
        log_warning("probe: of the next hops that rules name %d are looked after, others are left out", TARGETS_MAX);
    visits_want_none(s->engine->visits, now);
    s->reviewed = 0;
}

static void wake(struct schedule *s, bool only_crowded)
{
    mutex_lock(&s->lock);
    s->woken |= !only_crowded || s->crowded;
    signal_one(&s->changed);
    mutex_unlock(&s->lock);
}

static void errand_arrive(struct probe_landing *self, const struct probe_sight *sight)
{
    struct errand *errand = (struct errand *)self;
    struct visit visit = engine_visit_of(sight);

    if (visit.chain != NULL)
        cert_chain_ref(visit.chain);
    visits_land(errand->schedule->engine->visits, &errand->host, &visit, clock_ms());
    wake(errand->schedule, true);
    free(errand);
}

static void send_out(struct schedule *s, int64_t now)
{
    struct engine *e = s->engine;
    struct visit_host due[SENT_AT_ONCE];
    struct probe_target target;
    size_t count, i;
    bool more;

    if (!engine_may_search(e))
        return;
    count = visits_due(e->visits, now, due, SENT_AT_ONCE, &more);
    mutex_lock(&s->lock);
    s->crowded = more;
    mutex_unlock(&s->lock);
    for (i = 0; i < count; i++) {
        struct errand *errand = mem_zero(sizeof(*errand));

        *errand = (struct errand){ .landing.arrive = errand_arrive, .schedule = s, .host = due[i] };
        engine_visit_aim(due[i].name.name, due[i].port, due[i].literal, &target);
        e->lookup->probe(e->lookup, &target, &errand->landing);
    }
    engine_has_asked(e);
}

/* Until the next round, or until somebody wakes us; false: stop. Without anybody to visit or to forget there are no rounds. */
static bool rest(struct schedule *s)
{
    int64_t until = clock_ms() + ROUND_MS;
    bool in_time = true, idle = s->count == 0 && !s->wild && visits_none(s->engine->visits), go_on;

    mutex_lock(&s->lock);
    while (!s->stop && !s->woken && in_time) {
        if (idle)
            signal_wait(&s->changed, &s->lock);
        else
            in_time = signal_wait_until(&s->changed, &s->lock, until);
    }
    s->woken = false;
    go_on = !s->stop;
    mutex_unlock(&s->lock);
    return go_on;
}

static void *schedule_body(void *argument)
{
    struct schedule *s = argument;
    int64_t now;

    do {
        now = clock_ms();
        follow(s, now);
        if (s->reviewed == 0 || now - s->reviewed >= ROUND_MS)
            review(s, now);
        send_out(s, now);
    } while (rest(s));
    return NULL;
}

/* What is shown of one host. */
static void show_host(struct engine *e, const struct connector *c, const struct next_hop *hop, const struct evidence_host *host,
                      struct engine_visit *ret)
{
    struct visit_host at = visit_host_of(hop, host->name);
    struct visit_demand dane, other;
    struct visits_word word;
    int64_t now = clock_ms(), when = 0;

    *ret = (struct engine_visit){ .host = at.name, .port = at.port };
    next_hop_print(hop, ret->next_hop);
    if (visits_look(e->visits, &at, &ret->latest, &when))
        ret->at = (int64_t)clock_wall() - (now - when) / 1000;
    snprintf(ret->why, sizeof(ret->why), "%s", ret->latest.why);
    visit_demands(c, host, hop, &dane, &other);
    ret->asks_dane = dane.proof != PROOF_NONE;
    ret->other_proof = other.proof;
    if (other.proof != PROOF_NONE) {
        visits_word(e->visits, &at, &other, e->trust, now, &word);
        ret->other = word.mark;
        memcpy(ret->why, word.why, sizeof(ret->why));
    }
    if (dane.proof != PROOF_NONE) {
        visits_word(e->visits, &at, &dane, e->trust, now, &word);
        ret->dane = word.mark;
        if (word.mark != VISIT_PASSES || ret->other == VISIT_UNKNOWN)
            memcpy(ret->why, word.why, sizeof(ret->why));
    }
}

static size_t show_hop(struct engine *e, const struct connector *c, const struct next_hop *hop, struct engine_visit ret[],
                       size_t room)
{
    struct evidence *found = known_of(e, hop);
    const struct evidence_host *hosts;
    struct evidence_host own;
    size_t count = 0, some, i;

    if (found == NULL)
        return 0;
    some = hosts_of(hop, found, &own, &hosts);
    for (i = 0; i < some && count < room; i++) {
        if (visit_is_worth_it(&hosts[i]))
            show_host(e, c, hop, &hosts[i], &ret[count++]);
    }
    evidence_unref(found);
    return count;
}

size_t engine_visits(struct engine *e, const struct connector *c, struct engine_visit ret[], size_t room)
{
    AUTO(free) char *name = NULL;
    size_t count = 0, i;
    struct next_hop hop;

    if (c->probe == PROBING_OFF)
        return 0;
    for (i = 0; i < names_of(c) && count < room; i++) {
        if (name_at(c, i, &hop))
            count += show_hop(e, c, &hop, ret + count, room - count);
    }
    for (i = 0; i < TRAFFIC_MAX && count < room && traffic_names(c); i++) {
        if (traffic_at(e->traffic, i, clock_ms(), &hop, &name) && strcmp(name, c->name) == 0)
            count += show_hop(e, c, &hop, ret + count, room - count);
        free(take(name));
    }
    return count;
}

struct schedule *schedule_start(struct engine *e)
{
    struct schedule *s = mem_zero(sizeof(*s));

    s->engine = e;
    mutex_init(&s->lock);
    signal_init(&s->changed);
    thread_start(&s->thread, "visits", schedule_body, s);
    return s;
}

void schedule_wake(struct schedule *s)
{
    wake(s, false);
}

void schedule_stop(struct schedule *s)
{
    mutex_lock(&s->lock);
    s->stop = true;
    signal_one(&s->changed);
    mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
}

void schedule_free(struct schedule *s)
{
    ruleset_unref(s->rules);
    free(s->targets);
    signal_done(&s->changed);
    mutex_done(&s->lock);
    free(s);
}
