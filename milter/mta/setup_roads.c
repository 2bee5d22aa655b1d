#include "mta/setup_roads.h"

#include "policy/roads.h"

#include <string.h>

enum { VALUE_MAX_BYTES = 1024 * 1024 };

static void demand(struct setup_road *road, const char *name, const char *value)
{
    if (road->count < SETUP_OPTIONS_MAX)
        road->options[road->count++] = (struct setup_option){ name, value };
}

static const char *keep(struct text *t, struct arena *memory)
{
    const char *kept = arena_text(memory, text_words(t));

    text_done(t);
    return kept;
}

static void begin(struct setup_road *road, const char *name, bool chroot, struct arena *memory)
{
    struct text syslog;

    *road = (struct setup_road){ .name = name, .chroot = chroot };
    text_init(&syslog, VALUE_MAX_BYTES);
    text_print(&syslog, "postfix/%s", name);
    demand(road, "syslog_name", keep(&syslog, memory));
}

/* The road's tag is for us alone; the site's own checks go on beside it. */
static const char *header_checks(const struct setup_site *s, struct arena *memory)
{
    struct text checks;

    text_init(&checks, VALUE_MAX_BYTES);
    text_put(&checks, "regexp:{{/^X-Danelaw-Route:/ IGNORE}}");
    setup_put_others(s->header_checks, "X-Danelaw-Route", false, memory, &checks);
    return keep(&checks, memory);
}

static void demand_common(struct setup_road *road, const struct setup_site *s, struct arena *memory)
{
    demand(road, "smtp_fallback_relay", "");
    demand(road, "smtp_dns_support_level", "dnssec");
    demand(road, "smtp_host_lookup", "dns");
    demand(road, "smtp_connection_cache_on_demand", "no");
    demand(road, "smtp_tls_connection_reuse", "no");
    demand(road, "smtp_tls_mandatory_protocols", ">=TLSv1.2");
    if (s->major > 3 || (s->major == 3 && s->minor >= 10))
        demand(road, "tls_required_enable", "no");
    demand(road, "smtp_header_checks", header_checks(s, memory));
}

static void demand_map(struct setup_road *road, const struct setup_endpoint *map, const char *table, struct arena *memory)
{
    struct text maps;

    text_init(&maps, VALUE_MAX_BYTES);
    text_print(&maps, "socketmap:%s:%s", text_words(&map->name), table);
    demand(road, "smtp_tls_policy_maps", keep(&maps, memory));
}

bool setup_roads(const struct setup_site *s, const struct settings *set, struct arena *memory,
                 struct setup_road ret[static SETUP_ROADS], struct fault *why)
{
    struct setup_endpoint map;
    bool good = setup_endpoint_init(&map, s, "maps.socket", set->maps.socket, why);
    bool mapped = s->smtp_chroot && !map.outside;       /* the roads that ask us need to see the socket */
    size_t i;

    begin(&ret[0], ROAD_DANE, s->smtp_chroot, memory);
    demand(&ret[0], "smtp_tls_security_level", "dane-only");
    demand(&ret[0], "smtp_tls_policy_maps", "");
    demand(&ret[0], "smtp_tls_per_site", "");
    begin(&ret[1], ROAD_STS, mapped, memory);
    demand(&ret[1], "smtp_tls_security_level", "secure");
    demand(&ret[1], "smtp_tls_secure_cert_match", "nothing.danelaw.invalid");
    demand_map(&ret[1], &map, "postfix-mandatory", memory);
    begin(&ret[2], ROAD_OPPORTUNISTIC, mapped, memory);
    demand(&ret[2], "smtp_tls_security_level", "dane");
    demand(&ret[2], "smtp_tls_dane_insecure_mx_policy", "dane");
    demand_map(&ret[2], &map, "postfix-tls", memory);
    for (i = 0; i < SETUP_ROADS; i++)
        demand_common(&ret[i], s, memory);
    text_done(&map.name);
    return good;
}

void setup_option_print(const struct setup_option *o, struct text *ret)
{
    text_print(ret, strchr(o->value, ' ') != NULL ? "-o { %s = %s }" : "-o %s=%s", o->name, o->value);
}

void setup_road_print(const struct setup_road *road, struct text *ret)
{
    size_t i;

    text_print(ret, "%s unix - - %c - - smtp\n", road->name, road->chroot ? 'y' : 'n');
    for (i = 0; i < road->count; i++) {
        text_put(ret, "    ");
        setup_option_print(&road->options[i], ret);
        text_put(ret, "\n");
    }
}
