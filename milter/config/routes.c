#include "config/reader.h"

#include "base/memory.h"
#include "config/values.h"
#include "policy/roads.h"
#include "policy/vary.h"

#include <string.h>

/* A route as written. */
struct road_wishes {
    const char *transport, *next_hop, *tls;
    struct setting_list tls_match;
};

#define AT(field) offsetof(struct road_wishes, field)

const struct setting routes_settings[] = {
    { "transport", SETTING_TEXT, AT(transport), "", "the MTA's transport" },
    { "next_hop", SETTING_TEXT, AT(next_hop), "", "where it delivers to; empty: the recipient's domain or the smart hosts" },
    { "tls", SETTING_WORD, AT(tls), "site", "what the transport itself demands",
      .words = "site may dane encrypt verify secure dane-only" },
    { "tls_match", SETTING_LIST, AT(tls_match), "", "names for verify and secure" },
    { NULL },
};

static const char *const nobody[] = { "nothing.danelaw.invalid" };

static const struct route built_in[] = {
    { .name = "dane-mandatory", .transport = ROAD_DANE, .next_hop = "", .tls = TLS_DANE_ONLY },
    { .name = "sts-mandatory", .transport = ROAD_STS, .next_hop = "", .tls = TLS_SECURE, .tls_match = nobody,
      .tls_match_count = COUNT_OF(nobody) },
    { .name = "opportunistic", .transport = ROAD_OPPORTUNISTIC, .next_hop = "", .tls = TLS_DANE },
};

/* Sendmail's rules ask a gate before each recipient, so that one mailer serves all three. */
static const struct route built_in_for_sendmail[] = {
    { .name = "dane-mandatory", .transport = ROAD_SENDMAIL, .next_hop = "", .tls = TLS_DANE_ONLY },
    { .name = "sts-mandatory", .transport = ROAD_SENDMAIL, .next_hop = "", .tls = TLS_SECURE, .tls_match = nobody,
      .tls_match_count = COUNT_OF(nobody) },
    { .name = "opportunistic", .transport = ROAD_SENDMAIL, .next_hop = "", .tls = TLS_DANE },
};

_Static_assert(COUNT_OF(built_in) == COUNT_OF(built_in_for_sendmail), "each MTA has all of them");

bool routes_for_sendmail(const struct reader *r)
{
    return strcmp(r->made->settings.tables.mta, "sendmail") == 0;
}

static bool is_on(const struct route *route, const char *transport)
{
    return strcmp(route->transport, transport) == 0;
}

/* An answer to Sendmail's rules is taken to pieces at its operators. */
static bool is_mailer(const char *name)
{
    enum { MAILER_NAME_MAX = 20 };              /* of Sendmail's */
    size_t length = strlen(name);

    return length <= MAILER_NAME_MAX && strcmp(name, "error") != 0 && strcmp(name, "pass") != 0 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == length;
}

static void check_transport(const struct group *g, const char *transport)
{
    if (transport[0] == '\0')
        faults_setting(g, "transport", "is missing; write the name of the MTA's transport, transport = \"...\"");
    else if (routes_for_sendmail(g->reader) && !is_mailer(transport))
        faults_setting(g, "transport", "is no mailer that Sendmail's rules can be told of; its name has at most 20 letters, digits, "
                       "hyphens and underscores");
    else if (strpbrk(transport, " \t\r\n:,\"") != NULL)
        faults_setting(g, "transport", "is no transport; write its name alone, without colon and next hop");
}

/* Next hops are one or several parted by commas, as Postfix takes them. */
static const char between[] = ", \t";

static void check_next_hop(const struct group *g, const char *spoken)
{
    struct next_hop hop;
    struct fault why;
    char one[NEXT_HOP_TEXT_SIZE], shown[FAULTS_SHOW_SIZE];
    size_t length;

    for (spoken += strspn(spoken, between); *spoken != '\0'; spoken += strspn(spoken, between)) {
        length = strcspn(spoken, between);
        if (length >= sizeof(one)) {
            faults_setting(g, "next_hop", "is too long");
            return;
        }
        memcpy(one, spoken, length);
        one[length] = '\0';
        if (!patterns_smart_host(one, &hop, &why))
            faults_setting(g, "next_hop", "\"%s\": %s", faults_show(one, shown), why.text);
        else if (hop.port != 25 && routes_for_sendmail(g->reader))
            faults_setting_hint(g, "next_hop", "\"%s\": Sendmail's mailer carries the port, which is not told: the mailer must "
                                "have it (A=TCP $h %u)", faults_show(one, shown), hop.port);
        spoken += length;
    }
}

static void check_match(const struct group *g, const struct route *route)
{
    if (route->tls_match_count > 0 && route->tls != TLS_VERIFY && route->tls != TLS_SECURE)
        faults_setting(g, "tls_match",
                       "names are only matched with tls = \"verify\" or \"secure\"; "
                       "set one, or remove tls_match");
}

/* The mandatory presets rest on two of the built-in ones. */
static void check_replacement(const struct group *g, const struct route *route)
{
    bool relied_on = strcmp(route->name, "dane-mandatory") == 0 || strcmp(route->name, "sts-mandatory") == 0;

    if (relied_on && !route_is_strong(route))
        faults_setting(g, "tls",
                       "mandatory connectors rely on this route; "
                       "write tls = \"dane-only\", or \"secure\" with tls_match");
}

static void read_route(struct reader *r, struct source *s, config_setting_t *node)
{
    struct arena *memory = ruleset_memory(r->made->rules);
    struct route *route = arena_take(memory, sizeof(*route));
    struct road_wishes wishes;
    struct group g = { .reader = r, .source = s, .node = node, .before = "routes.", .name = config_setting_name(node),
                       .behind = ".", .target = &wishes, .memory = memory, .keep = true };
    bool good;

    if (!groups_is(&g, "NAME = { transport = \"...\"; };"))
        return;
    groups_preset(routes_settings, &wishes, memory);
    *route = (struct route){ .name = arena_text(memory, g.name) };
    if (strchr(g.name, '*') != NULL || strlen(g.name) > 64)
        faults_setting(&g, "", "the name of a route has at most 64 letters, digits, hyphens and underscores");
    good = groups_read(&g, routes_settings);
    route->transport = wishes.transport;
    route->next_hop = wishes.next_hop;
    if (good) {
        check_transport(&g, wishes.transport);
        check_next_hop(&g, wishes.next_hop);
        tls_parse(wishes.tls, &route->tls);
        route->tls_match = patterns_match_list(&g, &wishes.tls_match, &route->tls_match_count);
        check_match(&g, route);
        check_replacement(&g, route);
    }
    ruleset_add_route(r->made->rules, route);
}

void routes_read(struct reader *r, struct source *s, config_setting_t *node)
{
    struct group g = { .reader = r, .source = s, .node = node, .before = "", .name = "routes", .behind = "." };
    int count, i;

    for (i = 0; i < (int)COUNT_OF(built_in); i++)
        ruleset_add_route(r->made->rules, routes_for_sendmail(r) ? &built_in_for_sendmail[i] : &built_in[i]);
    if (node == NULL || !groups_is(&g, "routes = { NAME = { transport = \"...\"; }; };"))
        return;
    count = config_setting_length(node);
    for (i = 0; i < count; i++)
        read_route(r, s, config_setting_get_elem(node, (unsigned)i));
}

/* --- the roads of a connector --- */

static const struct route *preset_route(const struct group *g, const struct connector *c)
{
    return ruleset_route(g->reader->made->rules, route_preset(c->smtp_dane, c->mta_sts));
}

/* NULL: there is none, and a fault says so here or in defaults. */
static const struct route *named_route(const struct group *g, const char *setting, const char *name)
{
    const struct ruleset *rules = g->reader->made->rules;
    const struct route *found = ruleset_route(rules, name);
    struct nearest near = { .wanted = name };
    char shown[FAULTS_SHOW_SIZE], offer[FAULTS_SHOW_SIZE];
    size_t i;

    if (found != NULL || (g->target != &g->reader->defaults && !groups_has(g, setting)))
        return found;
    for (i = 0; i < ruleset_route_count(rules); i++)
        faults_nearer(&near, ruleset_route_at(rules, i)->name);
    faults_setting(g, setting, "\"%s\" is not in routes; %s", faults_show(name, shown), faults_offer(&near, offer));
    return NULL;
}

static void choose_route(const struct group *g, const struct wishes *w, struct connector *c)
{
    c->route = w->route[0] == '\0' ? preset_route(g, c) : named_route(g, "route", w->route);
    if (c->route == NULL)
        return;
    if (w->route[0] != '\0' && connector_is_mandatory(c) && !route_is_strong(c->route))
        faults_setting(g, "route",
                       "\"%s\" authenticates nobody by itself, so that mail would leave unprotected while the "
                       "daemon is down; take one with tls = \"dane-only\", or \"secure\" with tls_match%s", w->route,
                       routes_for_sendmail(g->reader) ? "" : ", and a transport other than \"" ROAD_OPPORTUNISTIC "\"");
    else if (c->route->next_hop[0] != '\0' && (is_on(c->route, ROAD_OPPORTUNISTIC) || is_on(c->route, ROAD_STS)))
        faults_setting(g, "route", "\"%s\" leads to a next hop of its own by a transport that asks the daemon, which could not "
                       "tell whose mail it is; write the next hop as smart_hosts of the connector", c->route->name);
    if (c->route->next_hop[0] != '\0' && c->smart_host_count > 0)
        faults_setting(g, "smart_hosts", "the route \"%s\" has a next hop of its own; remove one of the two",
                       c->route->name);
    if (c->smart_host_count > 0 && c->sender_count > 0 && !connector_is_mandatory(c) && !routes_for_sendmail(g->reader))
        faults_setting_hint(g, "smart_hosts", "Postfix's table can't see senders, so that no mail takes them; make the "
                            "connector mandatory, or remove senders");
}

/* A fallback knows no smart hosts: then it leads to the recipient's own domain. */
static bool leads_the_same_way(const struct connector *c)
{
    return c->smart_host_count == 0 && strcmp(c->fallback->transport, c->route->transport) == 0 &&
           strcmp(c->fallback->next_hop, c->route->next_hop) == 0;
}

/*
 * Whether its mail would wait there for the very same reason: on the roads that ask the map, the connector answers for the
 * domain as before; on ROAD_DANE, where nothing but want of DANE can have held it.
 */
static bool holds_as_well(const struct connector *c)
{
    bool for_dane = c->smtp_dane == MODE_MANDATORY && (c->mta_sts != MODE_MANDATORY || c->require == REQUIRE_ANY);

    if (c->smart_host_count > 0 || c->fallback->next_hop[0] != '\0')
        return false;
    return is_on(c->fallback, ROAD_OPPORTUNISTIC) || is_on(c->fallback, ROAD_STS) || is_on(c->fallback, ROAD_SENDMAIL) ||
           (is_on(c->fallback, ROAD_DANE) && for_dane);
}

static void check_fallback(const struct group *g, const struct wishes *w, const struct connector *c)
{
    if (c->route != NULL && leads_the_same_way(c))
        faults_setting(g, "fallback",
                       "\"%s\" leads the same way as the connector's own route, so that nothing would change; take "
                       "another one, or write fallback = \"\"", w->fallback);
    else if (holds_as_well(c))
        faults_setting(g, "fallback",
                       "on \"%s\" mail would be held for the same reason; take a route with a next_hop or a transport of "
                       "its own, or write fallback = \"\"", w->fallback);
    else if (connector_is_mandatory(c) && !w->fallback_weak && !route_is_good_fallback(c->fallback))
        faults_setting(g, "fallback",
                       "\"%s\" is weaker than what the connector demands; take a route with tls = \"dane-only\", \"secure\" "
                       "with tls_match, or \"verify\" and next_hop = \"[host]\", or allow it by fallback_weak = true",
                       w->fallback);
}

static void choose_fallback(const struct group *g, const struct wishes *w, struct connector *c)
{
    c->fallback_after = w->fallback_after;
    if (w->fallback[0] == '\0')
        return;
    c->fallback = named_route(g, "fallback", w->fallback);
    if (c->fallback == NULL)
        return;
    check_fallback(g, w, c);
    c->on_fallback = arena_take(ruleset_memory(g->reader->made->rules), sizeof(*c->on_fallback));
    atomic_init(c->on_fallback, false);
}

void routes_choose(const struct group *g, const struct wishes *w, struct connector *c)
{
    choose_route(g, w, c);
    if (!c->is_default)
        choose_fallback(g, w, c);
    else if (w->fallback[0] != '\0')
        named_route(g, "fallback", w->fallback);        /* a default for the others: (default) is on no road of ours */
}

/* --- hints --- */

static bool has_everyone(const struct connector *c)
{
    size_t i;

    for (i = 0; i < c->recipient_count; i++) {
        if (c->recipients[i].kind == PATTERN_EVERYONE)
            return true;
    }
    return false;
}

static void hint_fallback(const struct group *g, const struct connector *c)
{
    bool unseen = !routes_for_sendmail(g->reader);      /* Postfix's table sees neither senders nor `*` */

    if (c->smtp_dane == MODE_NONE && c->mta_sts == MODE_NONE)
        faults_setting_hint(g, "fallback", "is never taken: without DANE and MTA-STS the connector holds nothing");
    else if (unseen && c->sender_count > 0 && !connector_is_mandatory(c) && !g->reader->made->settings.milter.tag)
        faults_setting_hint(g, "fallback",
                            "is never taken: the transport table can't see senders; set milter.tag = true");
    else if (unseen && has_everyone(c))
        faults_setting_hint(g, "fallback", "is not taken for \"*\", which is never written to the table; name the domains");
    if (c->smart_host_count > 0 && c->fallback->next_hop[0] == '\0')
        faults_setting_hint(g, "fallback",
                            "leads past the smart hosts, to the recipient's own domain; set next_hop in the route if "
                            "another way is meant");
}

/* Sendmail's mailers carry the port: an answer names a mailer and its hosts. */
static void hint_ports(const struct group *g, const struct connector *c)
{
    char spelling[NEXT_HOP_TEXT_SIZE];
    size_t i;

    for (i = 0; i < c->smart_host_count; i++) {
        if (c->smart_hosts[i].port == 25)
            continue;
        faults_setting_hint(g, "smart_hosts",
                            "the mailer \"" ROAD_SENDMAIL "\" only knows port 25, so that mail does not go to %s; write a route with "
                            "a mailer of your own that has the port (A=TCP $h %u)", next_hop_print(&c->smart_hosts[i], spelling),
                            c->smart_hosts[i].port);
        return;
    }
}

void routes_hint(const struct group *g, const struct wishes *w, const struct connector *c)
{
    if (c->route != NULL && is_on(c->route, ROAD_SENDMAIL))
        hint_ports(g, c);
    if (c->mta_sts == MODE_MANDATORY && groups_has(g, "route") && c->route != NULL && c->route->tls == TLS_DANE_ONLY)
        faults_setting_hint(g, "route",
                            "\"%s\" enforces DANE alone: mail without it waits there whatever the MTA-STS policy says, and a "
                            "policy that is lost meanwhile goes unnoticed; \"sts-mandatory\" asks for both", c->route->name);
    if (c->fallback != NULL && groups_has(g, "fallback"))
        hint_fallback(g, c);
    if (w->fallback[0] == '\0' && groups_has(g, "fallback_after"))
        faults_setting_hint(g, "fallback_after", "does nothing without a fallback; name one, or remove it");
    if (w->fallback[0] == '\0' && groups_has(g, "fallback_weak") && w->fallback_weak)
        faults_setting_hint(g, "fallback_weak", "does nothing without a fallback; name one, or remove it");
}
