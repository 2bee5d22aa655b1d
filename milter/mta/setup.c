#include "mta/setup.h"

#include "base/memory.h"
#include "mta/postconf.h"
#include "mta/render.h"
#include "mta/setup_roads.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 * 1024 };

/* A domain of the site's own that is not in ASCII: for a regular expression, before the one that takes all such. */
static void put_own_domain(const char *domain, struct text *ret)
{
    text_put(ret, "{/@");
    for (; *domain != '\0'; domain++)
        text_print(ret, "%s%c", *domain == '.' ? "\\" : "", *domain);
    text_put(ret, "$$/ :}, ");
}

/*
 * smtp(8) finds the hosts of a domain in more spellings (wide letters, accents as characters of their own) than any table has.
 * Whatever is not in ASCII takes the road that asks us, and so is held while nobody answers there.
 */
static void put_spellings(const struct setup_site *s, struct arena *memory, struct text *ret)
{
    const char *own = s->own_domains, *word;

    text_put(ret, ", regexp:{");
    while ((word = postconf_word(&own, memory)) != NULL) {
        if (!domain_is_ascii(word) && strpbrk(word, ":/{}") == NULL)
            put_own_domain(word, ret);
    }
    text_put(ret, "{" SETUP_SPELLINGS "$$/ " ROAD_OPPORTUNISTIC ":}}");
}

/* Those can't be listed here. */
static bool own_domains_in_tables(const struct setup_site *s, struct arena *memory)
{
    const char *own = s->own_domains, *word;

    while ((word = postconf_word(&own, memory)) != NULL) {
        if (strpbrk(word, ":/") != NULL)
            return true;
    }
    return false;
}

static void put_transport_maps(const struct setup_site *s, const struct settings *set, struct arena *memory, struct text *ret)
{
    struct text name, path;
    struct fault why;

    text_init(&name, LINE_MAX_BYTES);
    text_init(&path, LINE_MAX_BYTES);
    text_print(&path, "%s/postfix/transport", set->store.directory);
    if (!tables_name(set, &name, &why)) {
        if (s->known)
            text_print(ret, "# note: %s\n", why.text);
        text_print(&name, "%s:%s", *set->tables.type == '\0' ? "hash" : set->tables.type, text_words(&path));
    }
    if (strcmp(set->tables.mta, "postfix") != 0)
        text_put(ret, "# note: the table is only written when danelaw.conf says tables.mta = \"postfix\"; Postfix defers all "
                      "mail while a table is missing\n");
    if (*s->relayhost != '\0')
        text_put(ret, "# note: mail to domains that are not written in ASCII goes to their own hosts, not to relayhost\n");
    if (own_domains_in_tables(s, memory))
        text_put(ret, "# note: a domain of your own that is not in ASCII and stands in a lookup table needs { /@DOMAIN$$/ : } before "
                      "what is in the regular expression\n");
    text_print(ret, "transport_maps = %s", text_words(&name));
    put_spellings(s, memory, ret);
    setup_put_others(s->transport_maps, text_words(&path), false, memory, ret);
    text_put(ret, "\n");
    text_done(&name);
    text_done(&path);
}

static void note_group(const struct setup_site *s, const char *room, const char *group, unsigned mode, struct text *ret)
{
    if (*group == '\0' && (mode & 06) != 06)
        text_print(ret, "# note: Postfix's user \"%s\" must be able to open the socket: set %s.socket_group = \"%s\" in "
                        "danelaw.conf\n", s->owner, room, s->owner);
}

/* Last among the site's milters, so that a signature made by another one never covers our tag. */
static bool put_milters(const struct setup_site *s, const struct settings *set, struct arena *memory, struct text *ret,
                        struct fault *why)
{
    struct setup_endpoint e;
    bool good = setup_endpoint_init(&e, s, "milter.socket", set->milter.socket, why);

    if (good && e.outside && s->smtpd_chroot)
        text_print(ret, "# note: smtpd runs chrooted in %s and can't see this socket: set milter.socket = "
                        "\"unix:%s/danelaw/milter.sock\" in danelaw.conf\n", s->queue, s->queue);
    if (good && strncmp(text_words(&e.name), "unix:", 5) == 0)
        note_group(s, "milter", set->milter.socket_group, set->milter.socket_mode, ret);
    if (good) {
        text_put(ret, "smtpd_milters = ");
        setup_put_others(s->milters, text_words(&e.name), true, memory, ret);
        setup_put_milter(&e, set, ret);
        text_put(ret, "\n");
    }
    text_done(&e.name);
    return good;
}

/* Names are our own words, but dots in them would match anything. */
static void put_pattern(const char *name, struct text *ret)
{
    for (; *name != '\0'; name++) {
        if (strchr(".[]*^$+?(){}|/\\", *name) == NULL)
            text_add(ret, name, 1);
        else
            text_print(ret, *name == '^' ? "\\%c" : "[%c]", *name);
    }
}

static void put_tag_checks(const struct setup_site *s, const struct ruleset *rules, struct arena *memory, struct text *ret)
{
    size_t i;

    text_put(ret, "milter_header_checks = regexp:{");
    for (i = 0; i < ruleset_route_count(rules); i++) {
        const struct route *route = ruleset_route_at(rules, i);

        text_put(ret, "\n    { /^X-Danelaw-Route: ");
        put_pattern(route->name, ret);
        text_print(ret, "$$/ FILTER %s:%s }", route->transport, route->next_hop);
    }
    text_put(ret, " }");
    setup_put_others(s->milter_checks, "X-Danelaw-Route", false, memory, ret);
    text_put(ret, "\n");
}

/* danelaw-sts trusts certificate authorities; a Postfix that knows none would hold all its mail. */
static void put_authorities(const struct setup_site *s, struct text *ret)
{
    static const char *const usual[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                         "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem" };
    size_t i;

    if (s->has_authorities)
        return;
    for (i = 0; i + 1 < COUNT_OF(usual) && access(usual[i], R_OK) != 0; i++)
        ;
    if (i + 1 == COUNT_OF(usual) && access(usual[i], R_OK) != 0)
        i = 0;
    text_print(ret, "smtp_tls_CAfile = %s\n", usual[i]);
}

/* `*` has no line in the table: it is what Postfix does where no line is. */
static void put_default(const struct setup_site *s, const struct ruleset *rules, bool all, struct text *ret)
{
    struct road everyone = road_of_everyone(rules);

    if (everyone.route == NULL && !all)
        return;
    if (everyone.route == NULL || strcmp(everyone.route->transport, ROAD_DANE) != 0)
        text_put(ret, "# note: with this line all outbound mail waits in the queue while danelawd is down\n");
    if (everyone.route != NULL)
        text_put(ret, "# note: a connector covers \"*\", and this line is its road\n");
    if (*s->relayhost != '\0')
        text_print(ret, "# note: relayhost = %s: mail without a line of its own goes there, and that host is what is judged\n",
                   s->relayhost);
    text_put(ret, "default_transport = ");
    if (everyone.route != NULL)
        sheet_value(&everyone, ret);
    else
        text_put(ret, ROAD_OPPORTUNISTIC);
    if (ret->length > 0 && ret->bytes[ret->length - 1] == ':') {
        ret->bytes[--ret->length] = '\0';       /* a transport alone is written without its colon here */
    }
    text_put(ret, "\n");
}

static bool put_master(const struct setup_site *s, const struct settings *set, struct arena *memory, struct text *ret,
                       struct fault *why)
{
    struct setup_road roads[SETUP_ROADS];
    struct setup_endpoint map;
    size_t i;
    bool good = setup_endpoint_init(&map, s, "maps.socket", set->maps.socket, why);

    text_put(ret, "\n# master.cf\n");
    if (good && map.outside && s->smtp_chroot)
        text_print(ret, "# note: the map socket is outside Postfix's chroot, so the two services that ask it run without one; "
                        "for chrooted ones set maps.socket = \"unix:%s/danelaw/map.sock\" in danelaw.conf\n", s->queue);
    if (good && strncmp(text_words(&map.name), "unix:", 5) == 0)
        note_group(s, "maps", set->maps.socket_group, set->maps.socket_mode, ret);
    good = good && setup_roads(s, set, memory, roads, why);
    for (i = 0; good && i < SETUP_ROADS; i++)
        setup_road_print(&roads[i], ret);
    text_done(&map.name);
    return good;
}

bool setup_postfix(const struct settings *set, const struct ruleset *rules, bool all, struct text *ret, struct fault *why)
{
    struct arena *memory = arena_new();
    struct setup_site s;
    bool good;

    setup_site_ask(&s, set, memory);
    text_put(ret, "# main.cf\n");
    if (!s.known)
        text_print(ret, "# note: Postfix can't be asked for its settings (%s); keep what transport_maps and smtpd_milters say "
                        "now beside these\n", s.why.text);
    put_transport_maps(&s, set, memory, ret);
    good = put_milters(&s, set, memory, ret, why);
    put_authorities(&s, ret);
    if (set->milter.tag)
        put_tag_checks(&s, rules, memory, ret);
    put_default(&s, rules, all, ret);
    good = good && put_master(&s, set, memory, ret, why);
    arena_free(memory);
    return good && (!ret->full || fault_set(why, "the lines are too long"));
}
