/*
 * Which road an overridden connector's mail takes:
 *
 *   what is mandatory is so still, and nothing else  its own route, as configured
 *   something else is mandatory                      the preset route of its modes: its own may demand what it no longer does
 *   mandatory no longer                              `opportunistic`: there the map must be asked, so that a dead daemon
 *                                                    holds mail that may be under its configured demands again by now
 *
 * That road does DANE by itself where the map has nothing to say. Whoever says `none` by an override wants mail to go to a
 * partner whose TLSA records are wrong: so the floor `site`, of which the map says nothing, is `may` then.
 */
#include "policy/vary.h"

#include "base/memory.h"
#include "policy/roads.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool is_on(const struct route *route, const char *transport)
{
    return strcmp(route->transport, transport) == 0;
}

/* Never on ROAD_OPPORTUNISTIC, whatever the route claims: what the daemon answers there may be anything, and for a next hop
   of the route's own it is (default)'s. */
bool route_is_strong(const struct route *route)
{
    return !is_on(route, ROAD_OPPORTUNISTIC) &&
           (route->tls == TLS_DANE_ONLY || (route->tls == TLS_SECURE && route->tls_match_count > 0));
}

/* Whether it names its next hops itself, so that no forged MX record leads elsewhere. */
static bool is_to_hosts(const struct route *route)
{
    static const char between[] = ", \t";
    const char *spoken = route->next_hop + strspn(route->next_hop, between);
    char one[NEXT_HOP_TEXT_SIZE];
    struct next_hop hop;
    size_t length;

    if (*spoken == '\0')
        return false;
    for (; *spoken != '\0'; spoken += length, spoken += strspn(spoken, between)) {
        length = strcspn(spoken, between);
        if (length >= sizeof(one))
            return false;
        memcpy(one, spoken, length);
        one[length] = '\0';
        if (!next_hop_parse(one, &hop, NULL) || !hop.bracketed || (hop.literal && route->tls_match_count == 0))
            return false;
    }
    return true;
}

bool route_is_good_fallback(const struct route *route)
{
    return route_is_strong(route) || (!is_on(route, ROAD_OPPORTUNISTIC) && route->tls == TLS_VERIFY && is_to_hosts(route));
}

const char *route_preset(enum mode smtp_dane, enum mode mta_sts)
{
    if (mta_sts == MODE_MANDATORY)
        return "sts-mandatory";
    return smtp_dane == MODE_MANDATORY ? "dane-mandatory" : "opportunistic";
}

static bool mode_is_weaker(enum mode a, enum mode b)
{
    return a > b;                       /* MODE_MANDATORY, MODE_OPPORTUNISTIC, MODE_NONE */
}

static enum mode dane_under(const struct override *o, const struct connector *c)
{
    return o->sets_dane ? o->smtp_dane : c->smtp_dane;
}

static enum mode sts_under(const struct override *o, const struct connector *c)
{
    return o->sets_sts ? o->mta_sts : c->mta_sts;
}

bool override_weakens(const struct override *o, const struct connector *configured)
{
    return mode_is_weaker(dane_under(o, configured), configured->smtp_dane) ||
           mode_is_weaker(sts_under(o, configured), configured->mta_sts);
}

bool override_is_idle(const struct override *o, const struct connector *configured)
{
    return dane_under(o, configured) == configured->smtp_dane && sts_under(o, configured) == configured->mta_sts;
}

static void print_until(int64_t until, char *ret, size_t size)
{
    time_t at = (time_t)until;
    struct tm utc;

    if (until == 0 || gmtime_r(&at, &utc) == NULL || strftime(ret, size, " until=%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        snprintf(ret, size, " until=-");
}

char *override_print(const struct override *o, const struct connector *configured, char ret[static OVERRIDE_TEXT_SIZE])
{
    bool dane = configured != NULL || (o != NULL && o->sets_dane), sts = configured != NULL || (o != NULL && o->sets_sts);
    enum mode smtp_dane = configured == NULL ? MODE_MANDATORY : configured->smtp_dane;
    enum mode mta_sts = configured == NULL ? MODE_MANDATORY : configured->mta_sts;
    char until[40] = "";

    if (o != NULL && o->sets_dane)
        smtp_dane = o->smtp_dane;
    if (o != NULL && o->sets_sts)
        mta_sts = o->mta_sts;
    if (o != NULL)
        print_until(o->until, until, sizeof(until));
    snprintf(ret, OVERRIDE_TEXT_SIZE, "%s%s%s%s%s%s", dane ? "smtp_dane=" : "", dane ? mode_word(smtp_dane) : "",
             dane && sts ? " " : "", sts ? "mta_sts=" : "", sts ? mode_word(mta_sts) : "", until);
    return ret;
}

static const struct route *route_under(const struct ruleset *configured, const struct connector *c, const struct override *o)
{
    enum mode dane = dane_under(o, c), sts = sts_under(o, c);
    const struct route *preset;

    if ((dane == MODE_MANDATORY) == (c->smtp_dane == MODE_MANDATORY) && (sts == MODE_MANDATORY) == (c->mta_sts == MODE_MANDATORY))
        return c->route;
    preset = ruleset_route(configured, route_preset(dane, sts));
    return preset == NULL ? c->route : preset;
}

static bool mandatory_under(const struct override *o, const struct connector *c)
{
    return dane_under(o, c) == MODE_MANDATORY || sts_under(o, c) == MODE_MANDATORY;
}

static bool fits_smart_hosts(const struct connector *c, const struct override *o, struct fault *why)
{
    char spelling[NEXT_HOP_TEXT_SIZE];
    size_t i;

    for (i = 0; i < c->smart_host_count && mandatory_under(o, c); i++) {
        if (c->smart_hosts[i].literal)
            return fault_set(why, "the smart host \"%s\" is an address: neither DANE nor MTA-STS can ever judge it, and all of "
                             "the connector's mail would be held; write the host's name in the configuration",
                             next_hop_print(&c->smart_hosts[i], spelling));
    }
    return true;
}

bool override_fits(const struct ruleset *configured, const struct connector *c, const struct override *o, struct fault *why)
{
    const struct route *route = route_under(configured, c, o);

    if (!fits_smart_hosts(c, o, why))
        return false;
    if (route == c->route || route->next_hop[0] == '\0')
        return true;
    if (c->smart_host_count > 0)
        return fault_set(why, "its mail would take the route \"%.64s\", which has a next hop of its own in the configuration "
                         "and leads past the connector's smart hosts", route->name);
    return (!is_on(route, ROAD_OPPORTUNISTIC) && !is_on(route, ROAD_STS)) ||
           fault_set(why, "its mail would take the route \"%.64s\", which the configuration leads to a next hop of its own; "
                     "the daemon could not tell there whose mail it is", route->name);
}

/* What the configuration allows a connector that is mandatory by itself, it allows it still. */
bool override_drops_fallback(const struct connector *configured, const struct override *o)
{
    return configured->fallback != NULL && !connector_is_mandatory(configured) && mandatory_under(o, configured) &&
           !route_is_good_fallback(configured->fallback);
}

static const struct connector *vary(const struct ruleset *configured, struct arena *memory, const struct connector *c,
                                    const struct override *o)
{
    struct connector *varied = arena_take(memory, sizeof(*varied));
    struct override *kept = arena_take(memory, sizeof(*kept));

    *kept = *o;
    *varied = *c;
    varied->override = kept;
    varied->smtp_dane = dane_under(o, c);
    varied->mta_sts = sts_under(o, c);
    varied->route = route_under(configured, c, o);
    if (o->sets_dane && o->smtp_dane == MODE_NONE && c->smtp_dane != MODE_NONE && c->tls == TLS_SITE)
        varied->tls = TLS_MAY;
    varied->fallback = override_drops_fallback(c, o) ? NULL : c->fallback;
    varied->on_fallback = NULL;
    if (varied->fallback != NULL) {             /* its own: those who still go by the configured one are not to see it turn */
        varied->on_fallback = arena_take(memory, sizeof(*varied->on_fallback));
        atomic_init(varied->on_fallback, false);
    }
    return varied;
}

struct ruleset *ruleset_vary(struct ruleset *configured, const struct override *overrides, size_t count)
{
    struct ruleset_change *changes = mem_array(count + 1, sizeof(*changes));
    struct ruleset *varied;
    struct arena *memory = arena_new();
    size_t used = 0, i;

    for (i = 0; i < count; i++) {
        const struct connector *c = ruleset_named(configured, overrides[i].connector);

        if (c != NULL && !override_is_idle(&overrides[i], c))
            changes[used++] = (struct ruleset_change){ c, vary(configured, memory, c, &overrides[i]) };
    }
    if (used > 0) {
        varied = ruleset_change(configured, memory, changes, used);
    } else {
        arena_free(memory);
        varied = ruleset_ref(configured);
    }
    free(changes);
    return varied;
}
