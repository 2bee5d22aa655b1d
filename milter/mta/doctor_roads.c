#include "mta/doctor_checks.h"

#include "base/memory.h"
#include "policy/roads.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* What it means when a road doesn't say it. */
static const struct demand {
    const char *name;
    enum doctor_severity severity;          /* while the road goes by something else */
    const char *why;
} demands[] = {
    { "syslog_name", DOCTOR_HINT, "the road can't be told by its name in the log" },
    { "smtp_fallback_relay", DOCTOR_LEAK, "mail that may not leave would leave by the fallback relay" },
    { "smtp_dns_support_level", DOCTOR_HOLD, "without DNSSEC Postfix finds no DANE, and the road holds its mail" },
    { "smtp_host_lookup", DOCTOR_HOLD, "other sources than DNS know nothing of DNSSEC, and the road holds its mail" },
    { "smtp_connection_cache_on_demand", DOCTOR_LEAK, "an open connection is used again without asking the policy" },
    { "smtp_tls_connection_reuse", DOCTOR_LEAK, "an open connection is used again without asking the policy" },
    { "smtp_tls_mandatory_protocols", DOCTOR_LEAK, "TLS older than 1.2 is not what MTA-STS and good sense allow" },
    { "tls_required_enable", DOCTOR_LEAK, "a header of the sender's, \"TLS-Required: no\", undoes what the partner was "
                                          "promised" },
    { "smtp_header_checks", DOCTOR_HINT, "the milter's tag would be sent to the partner" },
    { "smtp_tls_security_level", DOCTOR_LEAK, "this level is what holds mail that can't be authenticated" },
    { "smtp_tls_policy_maps", DOCTOR_LEAK, "the policy of this road would come from somewhere else" },
    { "smtp_tls_per_site", DOCTOR_LEAK, "this obsolete table is read where there is no policy map, and can weaken the road" },
    { "smtp_tls_secure_cert_match", DOCTOR_LEAK, "without an answer of danelawd's, mail would go to any host that has a "
                                                 "certificate in its own or the domain's name" },
    { "smtp_tls_dane_insecure_mx_policy", DOCTOR_HINT, "DANE of hosts whose domain is unsigned is not used" },
};

static const struct demand *demand_of(const char *name)
{
    size_t i;

    for (i = 0; i < COUNT_OF(demands); i++) {
        if (strcmp(demands[i].name, name) == 0)
            return &demands[i];
    }
    return &demands[0];
}

/* `>=TLSv1.2`, an inclusion of nothing older, or an exclusion of all that is older. */
static bool protocols_are_new(const char *list, struct arena *memory)
{
    static const char *const old[] = { "SSLv3", "TLSv1", "TLSv1.1" };
    bool included = false, excluded[COUNT_OF(old)] = { false };
    char *rest = arena_text(memory, list), *word;
    size_t i;

    while ((word = strtok_r(rest, " ,:\t", &rest)) != NULL) {
        if (strcasecmp(word, ">=TLSv1.2") == 0 || strcasecmp(word, ">=TLSv1.3") == 0)
            return true;
        for (i = 0; i < COUNT_OF(old); i++) {
            if (strcasecmp(word, old[i]) == 0)
                return false;
            excluded[i] |= *word == '!' && strcasecmp(word + 1, old[i]) == 0;
        }
        included |= strcasecmp(word, "TLSv1.2") == 0 || strcasecmp(word, "TLSv1.3") == 0;
    }
    return included || (excluded[0] && excluded[1] && excluded[2]);
}

/* `socketmap:unix:PATH:TABLE`, in whatever words the road's own chroot lets it find our socket. */
static bool is_our_map(const struct doctor *d, bool chroot, const char *value, const char *wanted)
{
    const char *table = strrchr(wanted, ':'), *end;

    value = strncmp(value, "proxy:", 6) == 0 ? value + 6 : value;
    end = strrchr(value, ':');
    return strncmp(value, "socketmap:", 10) == 0 && end != NULL && end > value + 10 && strcmp(end, table) == 0 &&
           doctor_is_socket(d, chroot, arena_bytes(d->memory, value + 10, (size_t)(end - value - 10)),
                            d->set->maps.socket);
}

static bool is_good(const struct doctor *d, const struct doctor_service *s, const struct setup_option *o, const char *value)
{
    if (strcmp(o->name, "smtp_tls_mandatory_protocols") == 0)
        return protocols_are_new(value, d->memory);
    if (strcmp(o->name, "smtp_header_checks") == 0)
        return strstr(value, "X-Danelaw-Route") != NULL && strcasestr(value, "IGNORE") != NULL;
    if (strcmp(o->name, "smtp_tls_policy_maps") == 0 && *o->value != '\0')
        return is_our_map(d, s->chroot, value, o->value);
    return strcasecmp(value, o->value) == 0;
}

static const char *printed(const struct doctor *d, const struct setup_option *o)
{
    struct text line;
    const char *kept;

    text_init(&line, 64 * 1024);
    setup_option_print(o, &line);
    kept = doctor_say(d, "%s", text_words(&line));
    text_done(&line);
    return kept;
}

static void check_option(struct doctor *d, const struct doctor_service *s, const struct setup_option *o)
{
    const char *own = doctor_override(d, s, o->name), *value = doctor_value(d, s, o->name);
    const struct demand *demand = demand_of(o->name);
    const char *where = doctor_say(d, "master.cf: %s: -o %s", s->name, o->name);

    if (own != NULL && is_good(d, s, o, own))
        return;
    if (strcmp(o->name, "smtp_tls_policy_maps") == 0 && *o->value != '\0' && s->chroot && is_our_map(d, false, value, o->value))
        doctor_find(d, DOCTOR_HOLD, doctor_say(d, "master.cf: %s", s->name),
                    doctor_say(d, "the road runs chrooted in %s and can't see the map socket, so that its mail waits",
                               d->site.queue), doctor_say(d, "%s unix - - n - - smtp", s->name));
    else if (own != NULL)
        doctor_find(d, demand->severity, where, doctor_say(d, "it says \"%.300s\": %s", own, demand->why), printed(d, o));
    else if (!is_good(d, s, o, value))
        doctor_find(d, demand->severity, where, doctor_say(d, "the line is missing, and main.cf says \"%.300s\": %s", value,
                                                           demand->why), printed(d, o));
    else
        doctor_find(d, DOCTOR_HINT, where, doctor_say(d, "the line is missing; main.cf says the same now, but a change there "
                                                      "would reach the road (%s)", demand->why), printed(d, o));
}

/* Parameters of main.cf's that no line of ours shuts out. */
static const struct inherited {
    const char *name, *good;
    enum doctor_severity severity;
    bool mapped;                            /* only for roads whose policy changes */
    const char *why;
} inherited[] = {
    { "smtp_connection_cache_destinations", "", DOCTOR_LEAK, true,
      "connections to these destinations are used again without asking the policy" },
    { "smtp_delivery_status_filter", "", DOCTOR_HOLD, false,
      "it can turn a refusal to deliver unauthenticated into a bounce at once, or the other way round" },
    { "smtp_tls_wrappermode", "no", DOCTOR_HOLD, false,
      "partners' hosts speak SMTP with STARTTLS, and the road waits in vain" },
    { "smtp_never_send_ehlo", "no", DOCTOR_HOLD, false, "without EHLO there is no STARTTLS, and the road holds its mail" },
    { "ignore_mx_lookup_error", "no", DOCTOR_HINT, false,
      "where a partner's MX can't be had, the road tries the domain itself, and holds its mail for another reason" },
    { "disable_dns_lookups", "no", DOCTOR_HINT, false,
      "only the road's own smtp_dns_support_level and smtp_host_lookup keep it from holding all its mail" },
};

static void check_inherited(struct doctor *d, const struct doctor_service *s, bool mapped)
{
    const struct inherited *p;
    size_t i;

    for (i = 0; i < COUNT_OF(inherited); i++) {
        const char *value;

        p = &inherited[i];
        value = doctor_value(d, s, p->name);
        if ((p->mapped && !mapped) || strcasecmp(value, p->good) == 0 || *value == '\0')
            continue;
        doctor_find(d, p->severity, doctor_say(d, "master.cf: %s: -o %s", s->name, p->name),
                    doctor_say(d, "the road goes by \"%.300s\": %s", value, p->why),
                    doctor_say(d, "-o %s=%s", p->name, p->good));
    }
    if (strcasestr(doctor_value(d, s, "smtp_discard_ehlo_keywords"), "starttls") != NULL)
        doctor_find(d, DOCTOR_HOLD, doctor_say(d, "master.cf: %s: -o smtp_discard_ehlo_keywords", s->name),
                    "it hides STARTTLS, and the road holds its mail", "-o smtp_discard_ehlo_keywords=");
}

/* A file is read before the chroot is entered, a folder from within. */
static void check_authorities(struct doctor *d, const struct doctor_service *s)
{
    const char *file = doctor_value(d, s, "smtp_tls_CAfile"), *folder = doctor_value(d, s, "smtp_tls_CApath");
    const char *preset = doctor_value(d, s, "tls_append_default_CA"), *seen = doctor_path(d, s->chroot, folder);
    const char *fix = "smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt";

    if (*file != '\0' && access(file, F_OK) != 0)
        doctor_find(d, DOCTOR_HOLD, "main.cf: smtp_tls_CAfile",
                    doctor_say(d, "%s: %s, and %s holds all its mail", file, strerror(errno), s->name), fix);
    else if (*file == '\0' && *folder == '\0' && strcmp(preset, "yes") != 0)
        doctor_find(d, DOCTOR_HOLD, "main.cf: smtp_tls_CAfile",
                    doctor_say(d, "Postfix knows no certificate authorities, and %s holds all its mail", s->name), fix);
    else if (*file == '\0' && *folder != '\0' && access(seen, F_OK) != 0)
        doctor_find(d, DOCTOR_HOLD, "main.cf: smtp_tls_CApath",
                    doctor_say(d, "%s sees it at %s: %s, and holds all its mail", s->name, seen, strerror(errno)), fix);
}

/* `name`, or `name.unix` as master_service_disable writes it. */
static bool is_listed(const struct doctor *d, const char *list, const char *name)
{
    size_t length = strlen(name);
    const char *word;

    while ((word = postconf_word(&list, d->memory)) != NULL) {
        if (strncmp(word, name, length) == 0 && (word[length] == '\0' || strcmp(word + length, ".unix") == 0 ||
                                                 strcmp(word + length, "/unix") == 0))
            return true;
    }
    return false;
}

/* Settings that keep a service from doing its work at all. */
static void check_working(struct doctor *d, const char *name)
{
    static const char *const stops[] = { "defer_transports", "master_service_disable" };
    size_t i;

    for (i = 0; i < COUNT_OF(stops); i++) {
        if (is_listed(d, doctor_value(d, NULL, stops[i]), name))
            doctor_find(d, DOCTOR_HOLD, doctor_say(d, "main.cf: %s", stops[i]),
                        doctor_say(d, "it names %s, and all mail on this road waits", name),
                        doctor_say(d, "take %s out of %s", name, stops[i]));
    }
}

static void check_road(struct doctor *d, const struct setup_road *road)
{
    const struct doctor_service *s = doctor_service(d, road->name, "unix");
    const char *first = doctor_say(d, "%s unix - - %c - - smtp", road->name, road->chroot ? 'y' : 'n');
    bool mapped = strcmp(road->name, ROAD_DANE) != 0;
    size_t i;

    if (s == NULL) {
        doctor_find(d, DOCTOR_HOLD, doctor_say(d, "master.cf: %s", road->name),
                    "this road is missing, and all mail that is to take it waits in the queue",
                    doctor_say(d, "%s, with the lines below it that \"danelaw setup postfix\" prints", first));
        return;
    }
    if (strcmp(s->command, "smtp") != 0) {
        doctor_find(d, DOCTOR_LEAK, doctor_say(d, "master.cf: %s", road->name),
                    doctor_say(d, "its command is \"%.100s\", that goes by none of the road's lines", s->command), first);
        return;
    }
    for (i = 0; i < road->count; i++)
        check_option(d, s, &road->options[i]);
    check_inherited(d, s, mapped);
    check_working(d, road->name);
    if (strcmp(road->name, ROAD_STS) == 0)
        check_authorities(d, s);
}

/* A road of the administrator's own that stands in for ours, for mail of a mandatory connector. */
static void check_own_road(struct doctor *d, const struct route *route)
{
    const struct doctor_service *s = doctor_service(d, route->transport, "unix");
    const char *relay, *word;
    enum tls_level level = TLS_SITE;

    if (s == NULL) {
        doctor_find(d, DOCTOR_HOLD, doctor_say(d, "master.cf: %s", route->transport),
                    doctor_say(d, "the route \"%s\" of danelaw.conf wants this transport, and its mail would wait",
                               route->name),
                    doctor_say(d, "%s unix - - n - - smtp, with -o smtp_tls_security_level=%s and -o smtp_fallback_relay=",
                               route->transport, tls_word(route->tls)));
        return;
    }
    check_working(d, s->name);
    if (strcmp(s->command, "smtp") != 0)
        return;
    relay = doctor_value(d, s, "smtp_fallback_relay");
    if (*relay != '\0')
        doctor_find(d, DOCTOR_LEAK, doctor_say(d, "master.cf: %s: -o smtp_fallback_relay", s->name),
                    doctor_say(d, "it is \"%.300s\": %s", relay, demand_of("smtp_fallback_relay")->why),
                    "-o smtp_fallback_relay=");
    word = doctor_value(d, s, "smtp_tls_security_level");
    if (!tls_parse(word, &level) || tls_strength(level) < tls_strength(route->tls))
        doctor_find(d, DOCTOR_LEAK, doctor_say(d, "master.cf: %s: -o smtp_tls_security_level", s->name),
                    doctor_say(d, "it is \"%.100s\", but the route \"%s\" of danelaw.conf says %s", word, route->name,
                               tls_word(route->tls)),
                    doctor_say(d, "-o smtp_tls_security_level=%s", tls_word(route->tls)));
}

static bool is_ours(const struct route *route)
{
    return strcmp(route->transport, ROAD_DANE) == 0 || strcmp(route->transport, ROAD_STS) == 0 ||
           strcmp(route->transport, ROAD_OPPORTUNISTIC) == 0;
}

static bool is_used(const struct doctor *d, const struct route *route)
{
    size_t i;

    for (i = 0; i < ruleset_count(d->rules); i++) {
        const struct connector *c = ruleset_at(d->rules, i);

        if (connector_is_mandatory(c) && !c->test_mode && (c->route == route || c->fallback == route))
            return true;
    }
    return false;
}

void doctor_roads(struct doctor *d)
{
    size_t i;

    for (i = 0; i < SETUP_ROADS; i++)
        check_road(d, &d->roads[i]);
    for (i = 0; i < ruleset_route_count(d->rules); i++) {
        const struct route *route = ruleset_route_at(d->rules, i);

        if (!is_ours(route) && is_used(d, route))
            check_own_road(d, route);
    }
}
