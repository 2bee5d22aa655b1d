#include "mta/setup.h"

#include "base/memory.h"
#include "mta/postconf.h"
#include "mta/render.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 * 1024 };

/* What the site's Postfix says of itself; presets where it can't be asked. */
struct site {
    struct postconf conf;
    bool known;
    struct fault why;                           /* not known: why */
    const char *queue, *owner;
    const char *transport_maps, *milters, *milter_checks, *header_checks;       /* as written, $names and all */
    const char *relayhost;
    bool has_authorities;
    bool smtp_chroot, smtpd_chroot;
    unsigned major, minor;
};

/* A socket of ours as Postfix names it. */
struct endpoint {
    struct text name;                           /* `unix:/path`, `unix:path` below the queue, `inet:host:port` */
    bool outside;                               /* a path that a chrooted process can't see */
};

static const char *or_none(const char *value)
{
    return value == NULL ? "" : value;
}

/* `-` in master.cf means yes before Postfix 3, and for those who kept its ways. */
static bool is_chrooted(struct site *s, const char *field, const char *level, bool *ret)
{
    const char *column;

    if (!postconf_service(&s->conf, field, &column, &s->why))
        return false;
    if (column != NULL)
        *ret = *column == 'y' || (*column == '-' && strcmp(level, "0") == 0);
    return true;
}

static bool ask_expanded(struct site *s)
{
    enum { VERSION, QUEUE, OWNER, RELAYHOST, CA_FILE, CA_PATH, CA_DEFAULT, LEVEL };
    static const char *const names[] = { "mail_version", "queue_directory", "mail_owner", "relayhost", "smtp_tls_CAfile",
                                         "smtp_tls_CApath", "tls_append_default_CA", "compatibility_level", NULL };
    const char *values[COUNT_OF(names)];

    if (!postconf_read(&s->conf, true, names, values, &s->why))
        return false;
    sscanf(or_none(values[VERSION]), "%u.%u", &s->major, &s->minor);
    if (values[QUEUE] != NULL)
        s->queue = values[QUEUE];
    if (values[OWNER] != NULL)
        s->owner = values[OWNER];
    s->relayhost = or_none(values[RELAYHOST]);
    s->has_authorities = *or_none(values[CA_FILE]) != '\0' || *or_none(values[CA_PATH]) != '\0' ||
                         strcmp(or_none(values[CA_DEFAULT]), "yes") == 0;
    return is_chrooted(s, "smtp/unix/chroot", or_none(values[LEVEL]), &s->smtp_chroot) &&
           is_chrooted(s, "smtp/inet/chroot", or_none(values[LEVEL]), &s->smtpd_chroot);
}

static bool ask_as_written(struct site *s)
{
    enum { MAPS, MILTERS, MILTER_CHECKS, HEADER_CHECKS };
    static const char *const names[] = { "transport_maps", "smtpd_milters", "milter_header_checks", "smtp_header_checks",
                                         NULL };
    const char *values[COUNT_OF(names)];

    if (!postconf_read(&s->conf, false, names, values, &s->why))
        return false;
    s->transport_maps = or_none(values[MAPS]);
    s->milters = or_none(values[MILTERS]);
    s->milter_checks = or_none(values[MILTER_CHECKS]);
    s->header_checks = or_none(values[HEADER_CHECKS]);
    return true;
}

static void ask_site(struct site *s, const struct settings *set, struct arena *memory)
{
    *s = (struct site){ .queue = "/var/spool/postfix", .owner = "postfix", .transport_maps = "", .milters = "",
                        .milter_checks = "", .header_checks = "", .relayhost = "", .smtp_chroot = true,
                        .smtpd_chroot = true, .major = 3, .minor = 7 };
    s->known = postconf_find(set, memory, &s->conf, &s->why) && ask_expanded(s) && ask_as_written(s);
}

static void put_path(const struct site *s, const char *path, struct endpoint *ret)
{
    size_t queue = strlen(s->queue);

    ret->outside = strncmp(path, s->queue, queue) != 0 || path[queue] != '/';
    text_print(&ret->name, "unix:%s", ret->outside ? path : path + queue + 1);
}

/* From `unix:/path`, `local:/path` or `inet:PORT@HOST`. */
static bool endpoint_init(struct endpoint *e, const struct site *s, const char *setting, const char *socket,
                          struct fault *why)
{
    const char *rest = strchr(socket, ':'), *at = strchr(socket, '@');

    text_init(&e->name, LINE_MAX_BYTES);
    e->outside = false;
    if (rest != NULL && (strncmp(socket, "unix:", 5) == 0 || strncmp(socket, "local:", 6) == 0)) {
        put_path(s, rest + 1, e);
        return true;
    }
    if (rest == NULL || at == NULL || strncmp(socket, "inet", 4) != 0)
        return fault_set(why, "%s: \"%.100s\" is neither unix:/PATH nor inet:PORT@HOST", setting, socket);
    text_print(&e->name, strchr(at + 1, ':') != NULL && at[1] != '[' ? "inet:[%s]:%.*s" : "inet:%s:%.*s", at + 1,
               (int)(at - rest - 1), rest + 1);
    return true;
}

/* The words of the site's list that aren't ours, each after a comma or each before one. */
static void put_others(const char *list, const char *ours, bool before, struct arena *memory, struct text *ret)
{
    const char *word;

    while ((word = postconf_word(&list, memory)) != NULL) {
        if (strstr(word, ours) == NULL)
            text_print(ret, before ? "%s, " : ", %s", word);
    }
}

static void put_transport_maps(const struct site *s, const struct settings *set, struct arena *memory, struct text *ret)
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
    text_print(ret, "transport_maps = %s", text_words(&name));
    put_others(s->transport_maps, text_words(&path), false, memory, ret);
    text_put(ret, "\n");
    text_done(&name);
    text_done(&path);
}

static void note_group(const struct site *s, const char *room, const char *group, unsigned mode, struct text *ret)
{
    if (*group == '\0' && (mode & 06) != 06)
        text_print(ret, "# note: Postfix's user \"%s\" must be able to open the socket: set %s.socket_group = \"%s\" in "
                        "danelaw.conf\n", s->owner, room, s->owner);
}

/* Last among the site's milters, so that a signature made by another one never covers our tag. */
static bool put_milters(const struct site *s, const struct settings *set, struct arena *memory, struct text *ret,
                        struct fault *why)
{
    struct endpoint e;
    bool good = endpoint_init(&e, s, "milter.socket", set->milter.socket, why);

    if (good && e.outside && s->smtpd_chroot)
        text_print(ret, "# note: smtpd runs chrooted in %s and can't see this socket: set milter.socket = "
                        "\"unix:%s/danelaw/milter.sock\" in danelaw.conf\n", s->queue, s->queue);
    if (good && strncmp(text_words(&e.name), "unix:", 5) == 0)
        note_group(s, "milter", set->milter.socket_group, set->milter.socket_mode, ret);
    if (good) {
        text_put(ret, "smtpd_milters = ");
        put_others(s->milters, text_words(&e.name), true, memory, ret);
        text_print(ret, "{ %s, default_action=accept, connect_timeout=%us, command_timeout=%us }\n", text_words(&e.name),
                   set->milter.budget + 2, set->milter.budget + 12);
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

static void put_tag_checks(const struct site *s, const struct ruleset *rules, struct arena *memory, struct text *ret)
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
    put_others(s->milter_checks, "X-Danelaw-Route", false, memory, ret);
    text_put(ret, "\n");
}

/* danelaw-sts trusts certificate authorities; a Postfix that knows none would hold all its mail. */
static void put_authorities(const struct site *s, struct text *ret)
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
static void put_default(const struct site *s, const struct ruleset *rules, bool all, struct text *ret)
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

static void put_road(const struct site *s, const char *name, bool chroot, const char *level, struct arena *memory,
                     struct text *ret)
{
    text_print(ret, "%s unix - - %c - - smtp\n", name, chroot ? 'y' : 'n');
    text_print(ret, "    -o syslog_name=postfix/%s\n", name);
    text_put(ret, level);
    text_put(ret, "    -o smtp_fallback_relay=\n"
                  "    -o smtp_dns_support_level=dnssec\n"
                  "    -o smtp_host_lookup=dns\n"
                  "    -o smtp_connection_cache_on_demand=no\n"
                  "    -o smtp_tls_connection_reuse=no\n"
                  "    -o smtp_tls_mandatory_protocols=>=TLSv1.2\n");
    if (s->major > 3 || (s->major == 3 && s->minor >= 10))
        text_put(ret, "    -o tls_required_enable=no\n");
    text_put(ret, "    -o { smtp_header_checks = regexp:{{/^X-Danelaw-Route:/ IGNORE}}");
    put_others(s->header_checks, "X-Danelaw-Route", false, memory, ret);
    text_put(ret, " }\n");
}

static void put_mapped_road(const struct site *s, const char *name, const struct endpoint *map, const char *level,
                            const char *table, struct arena *memory, struct text *ret)
{
    struct text options;

    text_init(&options, LINE_MAX_BYTES);
    text_print(&options, "%s    -o smtp_tls_policy_maps=socketmap:%s:%s\n", level, text_words(&map->name), table);
    put_road(s, name, s->smtp_chroot && !map->outside, text_words(&options), memory, ret);
    text_done(&options);
}

static bool put_master(const struct site *s, const struct settings *set, struct arena *memory, struct text *ret,
                       struct fault *why)
{
    struct endpoint map;
    bool good = endpoint_init(&map, s, "maps.socket", set->maps.socket, why);

    text_put(ret, "\n# master.cf\n");
    if (good && map.outside && s->smtp_chroot)
        text_print(ret, "# note: the map socket is outside Postfix's chroot, so the two services that ask it run without one; "
                        "for chrooted ones set maps.socket = \"unix:%s/danelaw/map.sock\" in danelaw.conf\n", s->queue);
    if (good && strncmp(text_words(&map.name), "unix:", 5) == 0)
        note_group(s, "maps", set->maps.socket_group, set->maps.socket_mode, ret);
    put_road(s, ROAD_DANE, s->smtp_chroot,
             "    -o smtp_tls_security_level=dane-only\n"
             "    -o smtp_tls_policy_maps=\n"
             "    -o smtp_tls_per_site=\n", memory, ret);
    put_mapped_road(s, ROAD_STS, &map,
                    "    -o smtp_tls_security_level=secure\n"
                    "    -o smtp_tls_secure_cert_match=nothing.danelaw.invalid\n", "postfix-mandatory", memory, ret);
    put_mapped_road(s, ROAD_OPPORTUNISTIC, &map,
                    "    -o smtp_tls_security_level=dane\n"
                    "    -o smtp_tls_dane_insecure_mx_policy=dane\n", "postfix-tls", memory, ret);
    text_done(&map.name);
    return good;
}

bool setup_postfix(const struct settings *set, const struct ruleset *rules, bool all, struct text *ret, struct fault *why)
{
    struct arena *memory = arena_new();
    struct site s;
    bool good;

    ask_site(&s, set, memory);
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
