/*
 * What is known of the hosts that are visited.
 *
 *   visits_want() ──► due ── visits_due() ──► open ── visits_land() ──► due again, an interval later
 *                      '── visits_due(), once nobody has wanted it for long ──► gone
 *
 * 1. A host that is open is never forgotten, and nobody else takes it off.
 * 2. Whoever judges takes a reference to the chain and lets go of the lock; the judgement is kept with the number of the visit
 *    that it is of, so that it never outlives it.
 * 3. Hosts, judgements of each and octets of chains have ceilings. What lies past them is unknown, and so decides nothing.
 */
#include "engine/visits.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "engine/remark.h"

#include <stdio.h>
#include <string.h>

enum {
    BUCKETS = 1024,
    WANTED_MS = 60 * 1000,              /* all that are wanted are named much more often */
    KEPT_INTERVALS = 8, RECENT_INTERVALS = 2,
    BACK_OFF_MAX = 4,                   /* intervals */
    STANDINGS_MAX = 16,                 /* of one host */
    CHAINS_OCTETS_MAX = 32 * 1024 * 1024,
    SECOND_MS = 1000,
    DAY_S = 24 * 3600, DAY_MS = DAY_S * SECOND_MS,
    EXPIRES_SOON_S = 14 * DAY_S,
};

/* What somebody demands of a host, and what the latest visit came to for it. */
struct standing {
    struct standing *next;
    uint64_t demand;                    /* hash_of() it */
    enum visit_proof proof;
    uint64_t number;                    /* of the visit that was judged */
    int64_t used;
    enum visit_mark mark;
    char why[256];
    bool told_failing;
    int64_t told;
};

struct place {
    struct place *next;
    struct visit_host host;
    struct visit latest;
    size_t octets;                      /* of the latest chain */
    uint64_t number;                    /* visits so far */
    int64_t at, due, wanted;
    unsigned failures;                  /* in a row: unreachable, or refused */
    bool open, demanded;
    char about[REMARK_ABOUT_SIZE];
    struct standing *standings;
    enum visit_state told_state;
    int64_t told, told_expiry;
};

struct visits {
    const struct settings *set;         /* frozen */
    struct mutex lock;
    struct place *buckets[BUCKETS] GUARDED_BY(lock);
    size_t count GUARDED_BY(lock), open GUARDED_BY(lock);
    size_t octets GUARDED_BY(lock);     /* of all chains kept */
    uint64_t made[VISIT_STATES] GUARDED_BY(lock), failures[PROOF_NAMES + 1] GUARDED_BY(lock);
    bool full GUARDED_BY(lock);         /* some host was left out since the rules changed */
    int64_t told_full GUARDED_BY(lock);
};

struct visit_host visit_host_of(const struct next_hop *hop, const char *name)
{
    struct visit_host host = { .port = hop->port, .literal = hop->literal };
    size_t length = strlen(name);

    if (length < sizeof(host.name.name)) {
        memcpy(host.name.name, name, length + 1);
        host.name.length = (uint8_t)length;
    }
    return host;
}

struct visits *visits_new(const struct settings *set)
{
    struct visits *v = mem_zero(sizeof(*v));

    v->set = set;
    mutex_init(&v->lock);
    return v;
}

static void place_free(struct place *p)
{
    struct standing *s, *next;

    for (s = p->standings; s != NULL; s = next) {
        next = s->next;
        free(s);
    }
    cert_chain_unref(p->latest.chain);
    free(p);
}

void visits_free(struct visits *v)
{
    struct place *p, *next;
    size_t i;

    for (i = 0; i < BUCKETS; i++) {
        for (p = v->buckets[i]; p != NULL; p = next) {
            next = p->next;
            place_free(p);
        }
    }
    mutex_done(&v->lock);
    free(v);
}

/* Places */

static bool same_host(const struct visit_host *a, const struct visit_host *b)
{
    return a->port == b->port && a->literal == b->literal && domain_equal(&a->name, &b->name);
}

static struct place **find_locked(struct visits *v, const struct visit_host *host) HOLDING(v->lock)
{
    struct place **at = &v->buckets[hash_bytes(host->name.name, host->name.length) % BUCKETS];

    while (*at != NULL && !same_host(&(*at)->host, host))
        at = &(*at)->next;
    return at;
}

static int64_t interval_ms(const struct visits *v)
{
    return (int64_t)v->set->probe.interval * SECOND_MS;
}

/* Within a tenth of the interval either way, so that hosts that began together part; the same for the same visit. */
static int64_t jitter(const struct visits *v, const struct place *p)
{
    uint64_t parts[] = { hash_bytes(p->host.name.name, p->host.name.length), p->host.port, p->number };
    int64_t most = interval_ms(v) / 10;

    return (int64_t)(hash_bytes(parts, sizeof(parts)) % (uint64_t)(2 * most + 1)) - most;
}

/* Who is not there, or does not want to talk, is left alone for longer. */
static int64_t pause_of(const struct visits *v, const struct place *p)
{
    int64_t intervals = 1;
    unsigned i;

    for (i = 0; i < p->failures && intervals < BACK_OFF_MAX; i++)
        intervals *= 2;
    return intervals * (interval_ms(v) + jitter(v, p));
}

static bool wanted(const struct place *p, int64_t now)
{
    return p->wanted != 0 && now - p->wanted < WANTED_MS;
}

static bool recent(const struct visits *v, const struct place *p, int64_t now)
{
    return p->number > 0 && now - p->at <= RECENT_INTERVALS * interval_ms(v);
}

/* The host's place, a new one if need be; NULL: there is no room. */
static struct place *place_locked(struct visits *v, const struct visit_host *host, int64_t due) HOLDING(v->lock)
{
    struct place **at = find_locked(v, host);

    if (*at == NULL && v->count < VISITS_HOSTS_MAX) {
        *at = mem_zero(sizeof(**at));
        **at = (struct place){ .host = *host, .due = due, .told_state = VISIT_SEEN };
        v->count++;
    }
    return *at;
}

bool visits_want(struct visits *v, const struct visit_host *host, bool demanded, const char *about, int64_t now,
                 int64_t first)
{
    bool is_new = false, say_full = false;
    struct place *p;

    mutex_lock(&v->lock);
    p = place_locked(v, host, now + first);
    if (p != NULL) {
        is_new = p->wanted == 0;
        if (!wanted(p, now)) {                  /* the first to want it speaks for it, until the rules change */
            snprintf(p->about, sizeof(p->about), "%s", about);
            p->demanded = false;
        }
        p->demanded |= demanded;
        p->wanted = now;
    } else {
        say_full = !v->full || now - v->told_full >= DAY_MS;
        v->told_full = say_full ? now : v->told_full;
        v->full = true;
    }
    mutex_unlock(&v->lock);
    if (say_full)
        log_warning("probe: more than %d hosts are to be visited; %s and others are left out", VISITS_HOSTS_MAX,
                    host->name.name);
    return is_new;
}

void visits_want_none(struct visits *v, int64_t now)
{
    struct place *p;
    size_t i;

    mutex_lock(&v->lock);
    for (i = 0; i < BUCKETS && v->count > 0; i++) {
        for (p = v->buckets[i]; p != NULL; p = p->next) {
            if (wanted(p, now))
                p->wanted = now - WANTED_MS;
        }
    }
    v->full = false;
    mutex_unlock(&v->lock);
}

/* What nobody wants is kept for a while, unless others were left out for want of room. */
static bool forgotten_locked(const struct visits *v, const struct place *p, int64_t now) HOLDING(v->lock)
{
    int64_t kept = v->full ? 0 : KEPT_INTERVALS * interval_ms(v);

    return !p->open && now - p->wanted > kept + WANTED_MS;
}

/* Goes through one bucket; returns how many hosts were taken off. */
static size_t sift_locked(struct visits *v, struct place **at, int64_t now, struct visit_host ret[], size_t room,
                          bool *ret_more) HOLDING(v->lock)
{
    size_t count = 0;
    struct place *p;

    while ((p = *at) != NULL) {
        if (forgotten_locked(v, p, now)) {
            *at = p->next;
            v->count--;
            v->octets -= p->octets;
            place_free(p);
            continue;
        }
        at = &p->next;
        if (p->open || !wanted(p, now) || p->due > now)
            continue;
        if (count == room || v->open >= v->set->probe.concurrency) {
            *ret_more = true;
            continue;
        }
        p->open = true;
        v->open++;
        ret[count++] = p->host;
    }
    return count;
}

size_t visits_due(struct visits *v, int64_t now, struct visit_host ret[], size_t room, bool *ret_more)
{
    size_t count = 0, i;

    *ret_more = false;
    mutex_lock(&v->lock);
    for (i = 0; i < BUCKETS && v->count > 0; i++)
        count += sift_locked(v, &v->buckets[i], now, ret + count, room - count, ret_more);
    mutex_unlock(&v->lock);
    return count;
}

/* Returns what is to be let go of: the chain before, or the new one where all are too large together. */
static struct cert_chain *land_locked(struct visits *v, struct place *p, struct visit *visit, int64_t now) HOLDING(v->lock)
{
    struct cert_chain *old = p->latest.chain, *surplus = NULL;

    v->octets -= p->octets;
    p->octets = visit->chain == NULL ? 0 : cert_chain_octets(visit->chain);
    if (v->octets + p->octets > CHAINS_OCTETS_MAX) {
        surplus = take(visit->chain);
        p->octets = 0;
    }
    v->octets += p->octets;
    p->latest = *visit;
    p->number++;
    p->at = now;
    p->open = false;
    v->open--;
    v->made[visit->state]++;
    p->failures = visit->state == VISIT_UNREACHABLE || visit->state == VISIT_REFUSED ? p->failures + 1 : 0;
    p->due = now + pause_of(v, p);
    cert_chain_unref(surplus);
    return old;
}

void visits_land(struct visits *v, const struct visit_host *host, struct visit *visit, int64_t now)
{
    struct cert_chain *old = NULL;
    struct place *p;

    mutex_lock(&v->lock);
    p = *find_locked(v, host);
    if (p != NULL)
        old = land_locked(v, p, visit, now);
    mutex_unlock(&v->lock);
    cert_chain_unref(old);
}

/* Judgements */

static uint64_t fold(uint64_t hash, const void *bytes, size_t length)
{
    uint64_t pair[2] = { hash, hash_bytes(bytes, length) };

    return hash_bytes(pair, sizeof(pair));
}

static uint64_t fold_names(uint64_t hash, const char *const *names, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        hash = fold(hash, names[i], strlen(names[i]));
    return hash;
}

/* Names only matter where a record names an authority (RFC 7671 5.1), so that one judgement serves all domains of a host. */
static uint64_t hash_of_records(uint64_t hash, const struct visit_demand *d)
{
    bool by_name = false;
    size_t i;

    hash = fold(hash, d->host->base, strlen(d->host->base));
    for (i = 0; i < d->host->tlsa_count; i++) {
        const struct dns_tlsa *r = &d->host->tlsa[i];
        uint8_t kind[] = { r->usage, r->selector, r->matching };

        hash = fold(fold(hash, kind, sizeof(kind)), r->data, r->length);
        by_name |= r->usage != 3;
    }
    return by_name ? fold_names(hash, d->names, d->name_count) : hash;
}

static uint64_t hash_of(const struct visit_demand *d)
{
    uint64_t hash = d->proof;

    if (d->proof == PROOF_DANE)
        return hash_of_records(hash, d);
    if (d->floor != NULL)
        return fold_names(hash, d->floor->tls_match, d->floor->tls_match_count);
    return fold_names(hash, d->names, d->name_count);
}

static struct standing *find_standing(struct place *p, uint64_t demand)
{
    struct standing *s;

    for (s = p->standings; s != NULL && s->demand != demand; s = s->next)
        ;
    return s;
}

/* Room for one more: a new one, or the one that was not used for longest. */
static struct standing *make_standing(struct place *p, uint64_t demand)
{
    struct standing *oldest = p->standings, *s;
    size_t count = 0;

    for (s = p->standings; s != NULL; s = s->next, count++) {
        if (s->used < oldest->used)
            oldest = s;
    }
    if (count < STANDINGS_MAX) {
        s = mem_zero(sizeof(*s));
        s->next = p->standings;
        p->standings = s;
    } else {
        struct standing *next = oldest->next;

        s = oldest;
        *s = (struct standing){ .next = next };
    }
    s->demand = demand;
    return s;
}

static void keep_locked(struct visits *v, struct place *p, uint64_t demand, enum visit_proof proof, uint64_t number,
                        const struct visit_judgement *j, int64_t now) HOLDING(v->lock)
{
    struct standing *s = find_standing(p, demand);

    if (p->number != number || (s != NULL && s->number == number))
        return;                         /* there was another visit meanwhile, or somebody was quicker */
    if (s == NULL)
        s = make_standing(p, demand);
    s->proof = proof;
    s->number = number;
    s->mark = j->mark;
    s->used = now;
    snprintf(s->why, sizeof(s->why), "%.250s", j->why.text);
    v->failures[proof] += j->mark == VISIT_FAILS;
}

/* What is kept of the place's latest visit; false: it is yet to be judged. */
static bool read_locked(struct visits *v, struct place *p, uint64_t demand, int64_t now, struct visits_word *ret)
    HOLDING(v->lock)
{
    struct standing *s = find_standing(p, demand);

    ret->recent = recent(v, p, now);
    ret->at = p->at;
    memcpy(ret->address, p->latest.address, sizeof(ret->address));
    if (s == NULL || s->number != p->number)
        return false;
    s->used = now;
    ret->mark = s->mark;
    memcpy(ret->why, s->why, sizeof(ret->why));
    return true;
}

void visits_word(struct visits *v, const struct visit_host *host, const struct visit_demand *d, X509_STORE *trust, int64_t now,
                 struct visits_word *ret)
{
    uint64_t demand = hash_of(d), number = 0;
    struct visit latest = { 0 };
    struct visit_judgement j;
    struct place *p;

    *ret = (struct visits_word){ .mark = VISIT_UNKNOWN };
    mutex_lock(&v->lock);
    p = *find_locked(v, host);
    if (p != NULL && p->number > 0 && !read_locked(v, p, demand, now, ret)) {
        number = p->number;
        latest = p->latest;
        if (latest.chain != NULL)
            cert_chain_ref(latest.chain);
    }
    mutex_unlock(&v->lock);
    if (number == 0)
        return;
    visit_judge(&latest, d, trust, (int64_t)clock_wall(), &j);
    cert_chain_unref(latest.chain);
    ret->mark = j.mark;
    snprintf(ret->why, sizeof(ret->why), "%.250s", j.why.text);
    mutex_lock(&v->lock);
    p = *find_locked(v, host);
    if (p != NULL)
        keep_locked(v, p, demand, d->proof, number, &j, now);
    mutex_unlock(&v->lock);
}

bool visits_look(struct visits *v, const struct visit_host *host, struct visit *ret, int64_t *ret_at)
{
    struct place *p;
    bool found;

    mutex_lock(&v->lock);
    p = *find_locked(v, host);
    found = p != NULL && p->number > 0;
    if (found) {
        *ret = p->latest;
        ret->chain = NULL;
        *ret_at = p->at;
    }
    mutex_unlock(&v->lock);
    return found;
}

/* The log */

/* The host itself: in reach or not, and how long its certificate lives. */
static void look_at_host(struct place *p, int64_t now, int64_t wall, struct remark *ret)
{
    bool plain = p->latest.state == VISIT_NO_STARTTLS && !p->demanded;
    enum visit_state state = plain ? VISIT_SEEN : p->latest.state;

    if (state != p->told_state || (state != VISIT_SEEN && now - p->told >= DAY_MS)) {
        ret->what = state != VISIT_SEEN ? REMARK_FAILS : REMARK_GOOD;
        snprintf(ret->why, sizeof(ret->why), "%s", p->latest.why);
        p->told_state = state;
        p->told = now;
    }
    if (p->latest.state != VISIT_SEEN || p->latest.not_after == 0 || p->latest.not_after - wall > EXPIRES_SOON_S)
        return;
    if (p->told_expiry != 0 && now - p->told_expiry < DAY_MS)
        return;
    ret->expires = true;
    ret->not_after = p->latest.not_after;
    p->told_expiry = now;
}

/* What is demanded of what it showed; what concerns the host itself is said once, not for each demand. */
static void look_at_demand(struct place *p, uint64_t demand, int64_t now, struct remark *ret)
{
    struct standing *s = find_standing(p, demand);
    bool failing;

    if (s == NULL || s->number != p->number || p->latest.state != VISIT_SEEN || s->mark == VISIT_UNKNOWN)
        return;
    failing = s->mark != VISIT_PASSES;
    if (failing == s->told_failing && (!failing || now - s->told < DAY_MS))
        return;
    ret->what = failing ? REMARK_FAILS : REMARK_GOOD;
    snprintf(ret->why, sizeof(ret->why), "%s", s->why);
    s->told_failing = failing;
    s->told = now;
}

void visits_tell(struct visits *v, const struct visit_host *host, const struct visit_demand *d, int64_t now)
{
    uint64_t demand = d->proof == PROOF_NONE ? 0 : hash_of(d);
    int64_t wall = (int64_t)clock_wall();
    struct remark r = { .what = REMARK_NONE };
    struct place *p;

    mutex_lock(&v->lock);
    p = *find_locked(v, host);
    if (p != NULL && p->number > 0) {
        memcpy(r.about, p->about, sizeof(r.about));
        memcpy(r.address, p->latest.address, sizeof(r.address));
        if (d->proof == PROOF_NONE)
            look_at_host(p, now, wall, &r);
        else
            look_at_demand(p, demand, now, &r);
    }
    mutex_unlock(&v->lock);
    remark_say(&r, host, d->proof, wall);
}

/* Until somebody has judged the latest visit, the one before counts. */
static bool fails_now(const struct place *p, const struct standing *s, int64_t now)
{
    return s->mark == VISIT_FAILS && s->number + 1 >= p->number && now - s->used < WANTED_MS;
}

static void count_place(const struct place *p, int64_t now, int64_t wall, struct visit_counts *ret)
{
    const struct standing *s;
    bool failing = false;

    ret->hosts++;
    ret->latest[p->latest.state]++;
    for (s = p->standings; s != NULL; s = s->next)
        failing |= fails_now(p, s, now);
    ret->failing += failing;
    if (p->latest.not_after == 0)
        return;
    ret->expiring += p->latest.not_after - wall <= EXPIRES_SOON_S;
    if (ret->first_expiry == 0 || p->latest.not_after < ret->first_expiry)
        ret->first_expiry = p->latest.not_after;
}

bool visits_none(struct visits *v)
{
    bool none;

    mutex_lock(&v->lock);
    none = v->count == 0;
    mutex_unlock(&v->lock);
    return none;
}

void visits_count(struct visits *v, struct visit_counts *ret)
{
    int64_t now = clock_ms(), wall = (int64_t)clock_wall();
    const struct place *p;
    size_t i;

    *ret = (struct visit_counts){ .hosts = 0 };
    mutex_lock(&v->lock);
    ret->open = v->open;
    ret->full = v->full;
    memcpy(ret->made, v->made, sizeof(ret->made));
    memcpy(ret->failures, v->failures, sizeof(ret->failures));
    for (i = 0; i < BUCKETS && v->count > 0; i++) {
        for (p = v->buckets[i]; p != NULL; p = p->next) {
            if (wanted(p, now))
                count_place(p, now, wall, ret);
        }
    }
    mutex_unlock(&v->lock);
}
