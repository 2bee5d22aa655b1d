#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"
#include "mta/sendmail_doctor_maps.h"

#include <string.h>
#include <strings.h>

/* What access_db says of STARTTLS towards others: without it danelawd stops all that must be encrypted. */

/* `Try_TLS:host NO`, `Clt_Features:host S`. */
static bool turns_tls_off(const char *key, const char *value)
{
    if (strncmp(key, "try_tls:", 8) == 0)
        return strncasecmp(value, "NO", 2) == 0;
    return strncmp(key, "clt_features:", 13) == 0 && strchr(value, 'S') != NULL;
}

static bool has_suffix(const char *name, const char *domain)
{
    size_t length = strlen(name), end = strlen(domain);

    return length >= end && strcmp(name + length - end, domain) == 0 && (length == end || name[length - end - 1] == '.');
}

/* Whether a partner's name or host as the rules know it lies at or below a domain: hosts of partners are often under it. */
static bool is_partners(const struct sendmail_doctor *d, const char *host)
{
    size_t i, k;

    if (sendmail_ruler(d, host) != NULL)
        return true;
    for (i = 0; i < ruleset_count(d->rules); i++) {
        const struct connector *c = ruleset_at(d->rules, i);

        for (k = 0; k < c->smart_host_count; k++) {
            if (has_suffix(c->smart_hosts[k].host.name, host))
                return true;
        }
        for (k = 0; k < c->recipient_count; k++) {
            if (c->recipients[k].domain != NULL && !connector_is_idle(c) && has_suffix(c->recipients[k].domain, host))
                return true;
        }
    }
    return false;
}

static void check_entries(struct sendmail_doctor *d, const struct sendmail_map *map, char *lines)
{
    const char *key, *value, *fix = "take these entries out of the access table";
    struct doctor_keys sure, unsure;

    doctor_keys_init(&sure);
    doctor_keys_init(&unsure);
    while (sendmail_map_next(&lines, &key, &value)) {
        const char *host = strchr(key, ':');

        if (!turns_tls_off(key, value))
            continue;
        doctor_keys_add(host[1] == '\0' || is_partners(d, host + 1) ? &sure : &unsure, key);
    }
    if (sure.count > 0)
        sendmail_find(d, DOCTOR_HOLD, map->line,
                      sendmail_say(d, "Sendmail tries no TLS with partners, so that mail that must be encrypted waits: %s",
                                   doctor_keys_give(d->report, &sure)), fix);
    if (unsure.count > 0)
        sendmail_find(d, DOCTOR_HINT, map->line,
                      sendmail_say(d, "Sendmail tries no TLS with these; if they are hosts of partners, mail that must "
                                      "be encrypted waits: %s", doctor_keys_give(d->report, &unsure)), fix);
    text_done(&sure.text);
    text_done(&unsure.text);
}

void sendmail_check_access(struct sendmail_doctor *d)
{
    AUTO(free) char *lines = NULL;
    struct sendmail_map map;
    struct fault why;

    if (!sendmail_map_find(d, "access", &map) || !sendmail_map_is_listable(&map))
        return;
    if (sendmail_map_list(d, &map, &lines, &why))
        check_entries(d, &map, lines);
    else
        sendmail_map_unread(d, &map, &why, NULL);
}
