/*
 * The watch keeps evidence warm: what was asked for lately is searched again before it expires, every destination that a
 * mandatory connector names is kept warm from the start, and the resolver has to prove now and then that it can prove.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/inside.h"

#include <stdio.h>
#include <string.h>

enum {
    ROUND_MS = 1000, CROWDED_MS = 50,   /* crowded: more is due than may be searched at once */
    SEARCHES_AT_ONCE = 128,             /* more would only queue up behind each other */
    CHECK_GOOD_MS = 60 * 60 * 1000,
    CHECK_BAD_MS = 30 * 1000,
    CHECK_DOUBT_MS = 5 * 1000,          /* one lost packet is not yet a broken resolver */
};

struct watch {
    struct engine *engine;
    pthread_t thread;
    struct mutex lock;
    struct signal changed;
    bool stop GUARDED_BY(lock), woken GUARDED_BY(lock);
    bool checking GUARDED_BY(lock);     /* a self-check is under way */
    int64_t check_at GUARDED_BY(lock);
    unsigned failures GUARDED_BY(lock); /* in a row */
    struct query_landing self_check;
};

static void pin_hop(struct engine *e, const struct connector *c, const struct next_hop *hop)
{
    struct next_hop domain = next_hop_of(&hop->host);

    if (hop->literal)
        return;
    cache_pin(e->cache, hop);
    if (c->mta_sts != MODE_NONE)
        cache_pin(e->sts, &domain);
}

static void pin_connector(struct engine *e, const struct connector *c)
{
    struct domain d;
    struct next_hop hop;
    size_t i;

    for (i = 0; i < c->smart_host_count; i++)
        pin_hop(e, c, &c->smart_hosts[i]);
    for (i = 0; c->smart_host_count == 0 && i < c->recipient_count; i++) {
        const struct pattern *p = &c->recipients[i];

        if ((p->kind != PATTERN_DOMAIN && p->kind != PATTERN_ADDRESS) || !domain_parse(p->domain, &d, NULL))
            continue;
        hop = next_hop_of(&d);
        pin_hop(e, c, &hop);
    }
}

static void pin_anew(struct engine *e)
{
    struct ruleset *rules = NULL;
    size_t overridden = 0, tested = 0, i;

    mutex_lock(&e->lock);
    if (e->repin)
        rules = ruleset_ref(e->rules);
    e->repin = false;
    mutex_unlock(&e->lock);
    if (rules == NULL)
        return;
    cache_unpin_all(e->cache);
    cache_unpin_all(e->sts);
    for (i = 0; i < ruleset_count(rules); i++) {
        const struct connector *c = ruleset_at(rules, i);

        if (connector_is_mandatory(c) || c->probe != PROBING_OFF)
            pin_connector(e, c);
        overridden += c->override != NULL;
        tested += c->test_mode;
    }
    atomic_store(&e->overridden, overridden);
    atomic_store(&e->tested, tested);
    ruleset_unref(rules);
}

/* Ours alone are counted: strangers with dead DNS must not stop them. */
static size_t room_ahead(struct engine *e)
{
    size_t ahead = atomic_load(&e->ahead);

    return ahead < SEARCHES_AT_ONCE ? SEARCHES_AT_ONCE - ahead : 0;
}

static void refresh(struct engine *e)
{
    struct next_hop due[SEARCHES_AT_ONCE];
    size_t count, i;

    count = cache_due(e->cache, clock_ms(), due, room_ahead(e));
    for (i = 0; i < count; i++)
        engine_search(e, &due[i], true);
    count = cache_due(e->sts, clock_ms(), due, room_ahead(e));
    for (i = 0; i < count; i++)
        engine_search_sts(e, &due[i], true, false);
}

/* Says it once when the state changes, and again at every failed check. */
static void report(struct engine *e, bool broken, const struct dns_look *look)
{
    bool was_broken = atomic_exchange(&e->resolver_broken, broken);
    bool first = !atomic_exchange(&e->resolver_checked, true);
    char why[192] = "";

    if (broken && look->trust == DNS_BOGUS)
        snprintf(why, sizeof(why), "the root's signatures do not fit the trust anchor (is it stale, is the clock right?): %.100s",
                 look->why);
    else if (broken && look->trust == DNS_FAILED)
        snprintf(why, sizeof(why), "the root can not be looked up: %.120s", look->why);
    else if (broken)
        snprintf(why, sizeof(why), "the root is not signed under the trust anchor (is there one?)");
    mutex_lock(&e->lock);
    memcpy(e->resolver_why, why, sizeof(e->resolver_why));
    if (first || broken != was_broken)
        e->resolver_since = (int64_t)clock_wall();
    mutex_unlock(&e->lock);
    if (broken)
        log_error("resolver: %s; until it can, mandatory mail is held and %s", why,
                  e->broken->blind ? "other mail has its floor" : "all named connectors' mail is held");
    else if (was_broken || first)
        log_info("resolver: the root's own records are proven under the trust anchor");
}

static void self_check_arrive(struct query_landing *self, const struct dns_look *look)
{
    struct watch *w = (struct watch *)((char *)self - offsetof(struct watch, self_check));
    bool proven = look->trust == DNS_SECURE && look->found;
    bool doubt, stop;

    mutex_lock(&w->lock);
    stop = w->stop;
    w->checking = false;
    w->failures = proven ? 0 : w->failures + 1;
    doubt = w->failures == 1 && look->trust == DNS_FAILED && atomic_load(&w->engine->resolver_checked);
    w->check_at = clock_ms() + (proven ? CHECK_GOOD_MS : doubt ? CHECK_DOUBT_MS : CHECK_BAD_MS);
    mutex_unlock(&w->lock);
    if (!doubt && !stop)                    /* a check that is cut short by our end says nothing */
        report(w->engine, !proven, look);
}

static void check_resolver(struct watch *w)
{
    bool now;

    mutex_lock(&w->lock);
    now = !w->checking && clock_ms() >= w->check_at;
    w->checking = w->checking || now;
    mutex_unlock(&w->lock);
    if (now)
        w->engine->lookup->query(w->engine->lookup, ".", DNS_TYPE_NS, &w->self_check);
}

static void turn_roads(struct engine *e)
{
    struct ruleset *rules = engine_rules(e);
    struct road_hook hook;

    if (fallbacks_turn(e, rules)) {
        mutex_lock(&e->lock);
        hook = e->hook;
        mutex_unlock(&e->lock);
        if (hook.turned != NULL)
            hook.turned(hook.self);
    }
    ruleset_unref(rules);
}

/* Until the next round, or until somebody wakes us; false: stop. */
static bool rest(struct watch *w)
{
    int64_t until = clock_ms() + (room_ahead(w->engine) > 0 ? ROUND_MS : CROWDED_MS);
    bool in_time = true, go_on;

    mutex_lock(&w->lock);
    while (!w->stop && !w->woken && in_time)
        in_time = signal_wait_until(&w->changed, &w->lock, until);
    w->woken = false;
    go_on = !w->stop;
    mutex_unlock(&w->lock);
    return go_on;
}

static void *watch_body(void *argument)
{
    struct watch *w = argument;

    do {
        pin_anew(w->engine);
        check_resolver(w);
        refresh(w->engine);
        turn_roads(w->engine);
    } while (rest(w));
    return NULL;
}

struct watch *watch_start(struct engine *e)
{
    struct watch *w = mem_zero(sizeof(*w));

    w->engine = e;
    w->self_check.arrive = self_check_arrive;
    mutex_init(&w->lock);
    signal_init(&w->changed);
    thread_start(&w->thread, "watch", watch_body, w);
    return w;
}

void watch_wake(struct watch *w)
{
    mutex_lock(&w->lock);
    w->woken = true;
    signal_one(&w->changed);
    mutex_unlock(&w->lock);
}

void watch_stop(struct watch *w)
{
    mutex_lock(&w->lock);
    w->stop = true;
    signal_one(&w->changed);
    mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
}

void watch_free(struct watch *w)
{
    signal_done(&w->changed);
    mutex_done(&w->lock);
    free(w);
}
