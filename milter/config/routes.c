#include "config/reader.h"

#include "base/memory.h"
#include "config/values.h"
#include "policy/roads.h"

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

bool routes_is_strong(const struct route *route)
{
    return route->tls == TLS_DANE_ONLY || (route->tls == TLS_SECURE && route->tls_match_count > 0);
}

static void check_transport(const struct group *g, const char *transport)
{
    if (transport[0] == '\0')
        faults_setting(g, "transport", "is missing; write the name of the MTA's transport, transport = \"...\"");
    else if (strpbrk(transport, " \t\r\n:,\"") != NULL)
        faults_setting(g, "transport", "is no transport; write its name alone, without colon and next hop");
}

/* One next hop, or several parted by commas, as Postfix takes them. */
static void check_next_hop(const struct group *g, const char *spoken)
{
    static const char between[] = ", \t";
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

    if (relied_on && !routes_is_strong(route))
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

    if (!groups_is(&g, "NAME = { transport = \"...\"; };"))
        return;
    groups_preset(routes_settings, &wishes, memory);
    *route = (struct route){ .name = arena_text(memory, g.name) };
    if (strchr(g.name, '*') != NULL || strlen(g.name) > 64)
        faults_setting(&g, "", "the name of a route has at most 64 letters, digits, hyphens and underscores");
    if (groups_read(&g, routes_settings)) {
        check_transport(&g, wishes.transport);
        check_next_hop(&g, wishes.next_hop);
        tls_parse(wishes.tls, &route->tls);
        route->tls_match = patterns_match_list(&g, &wishes.tls_match, &route->tls_match_count);
        check_match(&g, route);
        check_replacement(&g, route);
    }
    route->transport = wishes.transport;
    route->next_hop = wishes.next_hop;
    ruleset_add_route(r->made->rules, route);
}

void routes_read(struct reader *r, struct source *s, config_setting_t *node)
{
    struct group g = { .reader = r, .source = s, .node = node, .before = "", .name = "routes", .behind = "." };
    int count, i;

    for (i = 0; i < (int)COUNT_OF(built_in); i++)
        ruleset_add_route(r->made->rules, &built_in[i]);
    if (node == NULL || !groups_is(&g, "routes = { NAME = { transport = \"...\"; }; };"))
        return;
    count = config_setting_length(node);
    for (i = 0; i < count; i++)
        read_route(r, s, config_setting_get_elem(node, (unsigned)i));
}
