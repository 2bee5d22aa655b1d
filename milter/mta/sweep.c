#include "mta/sweep.h"

#include "base/memory.h"
#include "policy/roads.h"

#include <string.h>

enum {
    SELF_CHECK_SECONDS = 3600,          /* a trouble that passes counts once it has outlasted the resolver's self-checks */
    GRACE_SECONDS = 4 * 3600,           /* for Postfix's resolver to learn what ours knows */
};

/* What a recipient waits for by Postfix's word on the last attempt. */
enum sweep_wait {
    SWEEP_WAIT_OTHER = 0,       /* a connection, a greylist, our own TLS engine, nobody knows: never our business */
    SWEEP_WAIT_DECISION,        /* the policy map or DNS: the daemon knows whether that is a hold */
    SWEEP_WAIT_DANE,            /* the destination's DNS has no DANE to demand */
    SWEEP_WAIT_DNS,             /* its DNS doesn't answer about DANE */
    SWEEP_WAIT_TLS,             /* its host offers no TLS, or cannot prove to be the one */
};

/*
 * How Postfix's own words begin (src/smtp, 3.5 to 3.10). What a remote host has said stands behind `host NAME said:`, so
 * that no stranger can put these words here.
 */
static const struct {
    const char *words;
    enum sweep_wait wait;
} waits[] = {
    { "non DNSSEC destination", SWEEP_WAIT_DANE },
    { "no TLSA records found", SWEEP_WAIT_DANE },
    { "TLSA records unusable", SWEEP_WAIT_DANE },
    { "TLSA lookup error for ", SWEEP_WAIT_DNS },
    { "Server certificate not verified", SWEEP_WAIT_TLS },
    { "Server certificate not trusted", SWEEP_WAIT_TLS },
    { "TLS is required, but was not offered by host ", SWEEP_WAIT_TLS },
    { "TLS is required, but host ", SWEEP_WAIT_TLS },                       /* ... refused to start TLS */
    { "Cannot start TLS: ", SWEEP_WAIT_TLS },
    { "client TLS configuration problem", SWEEP_WAIT_DECISION },            /* the map says TEMP, or says nothing */
    { "Host or domain name not found. Name service error for ", SWEEP_WAIT_DECISION },
};

static enum sweep_wait wait_for(const char *delay_reason)
{
    static const char suspended[] = "delivery temporarily suspended: ";
    size_t i;

    if (strncmp(delay_reason, suspended, strlen(suspended)) == 0)           /* as another message's attempt ended */
        delay_reason += strlen(suspended);
    for (i = 0; i < COUNT_OF(waits); i++) {
        if (strncmp(delay_reason, waits[i].words, strlen(waits[i].words)) == 0)
            return waits[i].wait;
    }
    return SWEEP_WAIT_OTHER;
}

static bool is_ours(const struct route *route)
{
    static const char *const roads[] = { ROAD_DANE, ROAD_STS, ROAD_OPPORTUNISTIC };
    size_t i;

    for (i = 0; route != NULL && i < COUNT_OF(roads); i++) {
        if (strcmp(route->transport, roads[i]) == 0)
            return true;
    }
    return false;
}

/* Whether the generated table, or default_transport for `*`, puts the recipient on one of our roads. */
static bool is_on_our_road(const struct sweep *s, const struct connector *c, const struct address *to)
{
    struct road road = road_of_address(s->rules, to);

    if (!connector_names(c, to) && (s->own == NULL || tables_own_has(s->own, to->domain.name)))
        return false;
    if (road.route == NULL)
        road = road_of_everyone(s->rules);
    return is_ours(road.route) && is_ours(c->route);
}

/* Why the wire refused it, where the daemon doesn't hold it. */
static enum reason reason_of(enum sweep_wait wait, const struct connector *c, const struct sweep_word *word)
{
    bool by_dane = word != NULL && word->known ? word->dane == DANE_USABLE || word->dane == DANE_PARTIAL
                                               : strcmp(c->route->transport, ROAD_STS) != 0;

    switch (wait) {
    case SWEEP_WAIT_DANE:
        return REASON_DANE_REQUIRED;
    case SWEEP_WAIT_DNS:
        return REASON_DNS_TEMP;
    case SWEEP_WAIT_TLS:
        return by_dane ? REASON_TLSA_INVALID : REASON_STS_MX_MISMATCH;
    case SWEEP_WAIT_OTHER:
    case SWEEP_WAIT_DECISION:
        break;
    }
    return REASON_NONE;
}

/* A hold of which the destination is guilty, or an answer that it has owed for long enough; never a trouble of ours. */
static bool is_lasting_hold(const struct sweep *s, const struct connector *c, const struct sweep_word *word)
{
    int64_t long_enough = c->hold < SELF_CHECK_SECONDS ? c->hold : SELF_CHECK_SECONDS;

    if (word == NULL || !word->known || word->verdict != VERDICT_HOLD)
        return false;
    switch (word->reason) {
    case REASON_DANE_REQUIRED:
    case REASON_DNSSEC_INVALID:
    case REASON_TLSA_INVALID:
    case REASON_STS_REQUIRED:
    case REASON_STS_MX_MISMATCH:
    case REASON_STS_FETCH_ERROR:
    case REASON_TLS_REQUIRED:
        return true;
    case REASON_DNS_TEMP:
        return word->proven && word->since > 0 && s->now - word->since >= long_enough;
    case REASON_INTERNAL:
    case REASON_NONE:
        break;
    }
    return false;
}

/*
 * Whose mail is on a fallback road isn't ours to sweep; without the daemon nobody knows who is. Where it goes by other rules
 * than those we read, neither they nor their `hold` are in force.
 */
static bool may_be_elsewhere(const struct connector *c, const struct sweep_word *word)
{
    if (word == NULL)
        return c->fallback != NULL;
    return word->another || word->verdict == VERDICT_FALLBACK || !is_ours(word->route);
}

/*
 * Postfix found no DANE to demand, and we find nothing that stands in the mail's way: the destination has mended its DNS, or
 * the connector asks for less now. Postfix returns what it is told to end without another attempt, so one comes first.
 */
static bool looks_mended(const struct connector *c, enum sweep_wait wait, const struct sweep_word *word, int64_t age)
{
    int64_t grace = c->hold < GRACE_SECONDS ? c->hold : GRACE_SECONDS;

    if (word == NULL || !word->known || word->verdict != VERDICT_DELIVER || age > c->hold + grace)
        return false;
    if (word->overridden)               /* most likely to let this very mail go */
        return true;
    return (wait == SWEEP_WAIT_DANE || wait == SWEEP_WAIT_DNS) &&
           (word->dane == DANE_USABLE || word->dane == DANE_ABSENT || word->dane == DANE_UNUSABLE);
}

/* Where our resolver proves nothing, no more can be said against the destination that Postfix's finds nothing proven. */
static bool may_be_our_trouble(enum sweep_wait wait, const struct sweep_word *word)
{
    return (wait == SWEEP_WAIT_DANE || wait == SWEEP_WAIT_DNS) && word != NULL && !word->proven;
}

static enum reason judge(struct sweep *s, const struct queued *m, const struct queued_recipient *r,
                         const struct address *from, bool *ret_try)
{
    enum sweep_wait wait = wait_for(r->why);
    const struct sweep_word *word;
    const struct connector *c;
    struct address to;

    if (wait == SWEEP_WAIT_OTHER)
        return REASON_NONE;
    address_parse(r->address, &to);
    if (to.kind != ADDRESS_DOMAIN && to.kind != ADDRESS_LITERAL)
        return REASON_NONE;
    c = ruleset_find(s->rules, &to, from);
    if (c->is_default || s->now - m->arrival <= c->hold || !is_on_our_road(s, c, &to))
        return REASON_NONE;
    word = s->ask(s, c, &to.domain, r->address, m->sender);
    if (may_be_elsewhere(c, word))
        return REASON_NONE;
    if (is_lasting_hold(s, c, word))
        return word->reason;
    if (!looks_mended(c, wait, word, s->now - m->arrival))
        return may_be_our_trouble(wait, word) ? REASON_NONE : reason_of(wait, c, word);
    *ret_try = true;
    return REASON_NONE;
}

enum sweep_action sweep_judge(struct sweep *s, const struct queued *m, enum reason ret_reasons[])
{
    struct address from;
    size_t ripe = 0, i;
    bool try = false;

    if (!m->deferred || m->expired)
        return SWEEP_LEAVE;
    address_parse(m->sender, &from);
    for (i = 0; i < m->count; i++) {
        ret_reasons[i] = judge(s, m, &m->recipients[i], &from, &try);
        ripe += ret_reasons[i] != REASON_NONE;
    }
    if (ripe == 0)
        return try ? SWEEP_TRY : SWEEP_LEAVE;
    return ripe == m->count || s->mixed ? SWEEP_BOUNCE : SWEEP_MIXED;
}
