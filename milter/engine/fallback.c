/*
 * Fallback roads: a connector that has held for long enough is put on its fallback, and back when it has not held for as
 * long. The clocks go by the connector's name, so that they outlive a reload; only connectors with a fallback have one.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/inside.h"
#include "policy/hold.h"

#include <string.h>

struct fallback_clock {
    char *name;
    enum mode smtp_dane, mta_sts;           /* what has held its mail */
    struct hold_clock clock;
};

struct fallbacks {
    struct mutex lock;
    struct fallback_clock *clocks GUARDED_BY(lock);     /* by name */
    size_t count GUARDED_BY(lock);
    atomic_size_t fallen;                               /* as fallbacks_turn() last saw it */
};

struct fallbacks *fallbacks_new(void)
{
    struct fallbacks *f = mem_zero(sizeof(*f));

    mutex_init(&f->lock);
    return f;
}

static void free_clocks(struct fallback_clock *clocks, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        free(clocks[i].name);
    free(clocks);
}

void fallbacks_free(struct fallbacks *f)
{
    free_clocks(f->clocks, f->count);
    mutex_done(&f->lock);
    free(f);
}

static int compare_clocks(const void *a, const void *b)
{
    return strcmp(((const struct fallback_clock *)a)->name, ((const struct fallback_clock *)b)->name);
}

/* There may be as many as there are connectors, and each is looked for with every round of the watch. */
static struct fallback_clock *find_locked(struct fallbacks *f, const char *name) HOLDING(f->lock)
{
    size_t low = 0, high = f->count, middle;
    int order;

    while (low < high) {
        middle = low + (high - low) / 2;
        order = strcmp(name, f->clocks[middle].name);
        if (order == 0)
            return &f->clocks[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Under other modes nobody knows yet whether its mail would be held. */
static bool goes_on(const struct fallback_clock *before, const struct connector *c)
{
    return before != NULL && before->smtp_dane == c->smtp_dane && before->mta_sts == c->mta_sts;
}

/* One for each connector with a fallback; those that were there before go on. */
static size_t clocks_for(struct fallbacks *f, const struct ruleset *rules, struct fallback_clock **ret) HOLDING(f->lock)
{
    struct fallback_clock *clocks = NULL, *before;
    size_t count = 0, room = 0, i;

    for (i = 0; i < ruleset_count(rules); i++) {
        const struct connector *c = ruleset_at(rules, i);

        if (c->fallback == NULL || c->test_mode)
            continue;
        if (count == room) {
            room = room == 0 ? 16 : room * 2;
            clocks = mem_grow(clocks, room, sizeof(*clocks));
        }
        before = find_locked(f, c->name);
        clocks[count] = (struct fallback_clock){ .name = mem_text(c->name), .smtp_dane = c->smtp_dane, .mta_sts = c->mta_sts };
        if (goes_on(before, c))
            clocks[count].clock = before->clock;
        atomic_store(c->on_fallback, clocks[count++].clock.fallen_back);
    }
    if (count > 0)
        qsort(clocks, count, sizeof(*clocks), compare_clocks);
    *ret = clocks;
    return count;
}

void fallbacks_adopt(struct fallbacks *f, const struct ruleset *rules)
{
    struct fallback_clock *clocks, *old;
    size_t count, old_count;

    mutex_lock(&f->lock);
    count = clocks_for(f, rules, &clocks);
    old = f->clocks;
    old_count = f->count;
    f->clocks = clocks;
    f->count = count;
    mutex_unlock(&f->lock);
    free_clocks(old, old_count);
}

static void note(struct fallbacks *f, const struct connector *c, bool held)
{
    struct fallback_clock *clock;

    mutex_lock(&f->lock);
    clock = find_locked(f, c->name);
    if (clock != NULL)
        hold_clock_note(&clock->clock, held, clock_ms());
    mutex_unlock(&f->lock);
}

/* Whether it names destinations that are kept in sight; else only its mail shows how it fares. */
static bool names_some(const struct connector *c)
{
    size_t i;

    for (i = 0; i < c->recipient_count; i++) {
        if (c->recipients[i].kind == PATTERN_DOMAIN || c->recipients[i].kind == PATTERN_ADDRESS)
            return true;
    }
    return c->smart_host_count > 0;
}

void fallbacks_note(struct fallbacks *f, const struct connector *c, const struct decision *d)
{
    if (c->fallback != NULL && !names_some(c))
        note(f, c, decision_is_lasting_hold(d));
}

/* Whether the connector's road is another now. */
static bool turn(struct fallbacks *f, const struct connector *c)
{
    struct fallback_clock *clock;
    bool falls = false;

    mutex_lock(&f->lock);
    clock = find_locked(f, c->name);
    if (clock != NULL)
        falls = hold_clock_falls_back(&clock->clock, (int64_t)c->fallback_after * 1000, clock_ms());
    mutex_unlock(&f->lock);
    if (atomic_exchange(c->on_fallback, falls) == falls)
        return false;
    log_warning("connector \"%s\": %s", c->name, falls ? "has held too long; its mail takes the fallback road"
                                                       : "has not held for long enough; its mail is back on its own road");
    return true;
}

/* How the destinations that it names fare, by what is known of them. */
struct standing {
    bool known, held;
};

/* What is known of it now, or NULL. */
static struct evidence *known_of(struct engine *e, const struct next_hop *hop)
{
    struct evidence *found;
    int64_t since;

    if (hop->literal)
        return engine_trusted(e, evidence_ref(e->no_name));
    found = engine_peek(e, hop, &since);
    if (found == NULL || found->fresh_until > clock_ms())
        return found;
    evidence_unref(found);
    return NULL;
}

/* Several next hops are tried in order, so that mail is only held where all of them hold it. */
static void look_at(struct engine *e, const struct connector *c, const struct next_hop *hops, size_t count, struct standing *s)
{
    struct evidence *found[ENGINE_HOPS_MAX] = { NULL };
    struct decision d;
    bool some = false;
    size_t i;

    for (i = 0; i < count; i++) {
        found[i] = known_of(e, &hops[i]);
        if (found[i] != NULL)
            found[i] = engine_seen(e, c, &hops[i], found[i]);
        some |= found[i] != NULL;
    }
    engine_decide_list(c, found, count, &d);
    for (i = 0; i < count; i++)
        evidence_unref(found[i]);
    if (!some || d.reason == REASON_DNS_TEMP || d.reason == REASON_INTERNAL)
        return;
    s->known = true;
    s->held |= decision_is_lasting_hold(&d);
}

static struct standing look_at_named(struct engine *e, const struct connector *c)
{
    size_t count = c->smart_host_count < ENGINE_HOPS_MAX ? c->smart_host_count : ENGINE_HOPS_MAX, i;
    struct standing s = { false };
    struct next_hop hop;
    struct domain d;

    if (count > 0) {
        look_at(e, c, c->smart_hosts, count, &s);
        return s;
    }
    for (i = 0; i < c->recipient_count; i++) {
        const struct pattern *p = &c->recipients[i];

        if ((p->kind != PATTERN_DOMAIN && p->kind != PATTERN_ADDRESS) || !domain_parse(p->domain, &d, NULL))
            continue;
        hop = next_hop_of(&d);
        look_at(e, c, &hop, 1, &s);
    }
    return s;
}

static bool nobody_has_one(struct fallbacks *f)
{
    bool none;

    mutex_lock(&f->lock);
    none = f->count == 0;
    mutex_unlock(&f->lock);
    return none;
}

bool fallbacks_turn(struct engine *e, const struct ruleset *rules)
{
    struct standing s;
    bool turned = false;
    size_t fallen = 0, i;

    if (nobody_has_one(e->fallbacks)) {
        atomic_store(&e->fallbacks->fallen, 0);
        return false;
    }
    for (i = 0; i < ruleset_count(rules); i++) {
        const struct connector *c = ruleset_at(rules, i);

        if (c->fallback == NULL || c->test_mode)
            continue;
        s = look_at_named(e, c);
        if (s.known)
            note(e->fallbacks, c, s.held);
        turned |= turn(e->fallbacks, c);
        fallen += connector_on_fallback(c);
    }
    atomic_store(&e->fallbacks->fallen, fallen);
    return turned;
}

size_t fallbacks_count(const struct fallbacks *f)
{
    return atomic_load(&f->fallen);
}
