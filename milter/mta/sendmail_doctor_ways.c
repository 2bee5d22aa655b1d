#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"
#include "mta/sendmail_doctor_maps.h"
#include "mta/sendmail_table.h"
#include "policy/roads.h"

#include <string.h>

/*
 * What the site's own tables say of partners. Danelaw's rules come before mailertable and the smart host: mail for which
 * they name a road never asks these; other connectors' mail does, and then the gate finds that it isn't with the partner's
 * hosts. What is local comes first of all, so that a partner among this host's own names is never asked for.
 */

/* Whether danelawd says where the mail goes, and not the MTA. */
static bool has_road(const struct connector *c)
{
    return sendmail_table_must_wait(c) || c->fallback != NULL || strcmp(c->route->transport, ROAD_SENDMAIL) != 0;
}

static bool has_hosts(const struct connector *c)
{
    return c->smart_host_count > 0 || *c->route->next_hop != '\0';
}

/* Connectors or entries of one kind. */
struct group {
    struct doctor_keys keys;
    const char *first;                      /* the connector of the first */
};

static void group_add(struct group *g, const struct connector *c, const char *key)
{
    if (g->first == NULL)
        doctor_keys_init(&g->keys);
    g->first = g->first == NULL ? c->name : g->first;
    doctor_keys_add(&g->keys, key);
}

static void group_find(struct sendmail_doctor *d, struct group *g, const struct sendmail_line *line, const char *what)
{
    if (g->first == NULL)
        return;
    sendmail_find(d, DOCTOR_HINT, line, sendmail_say(d, "%s: %s", what, doctor_keys_give(d->report, &g->keys)),
                  sendmail_say(d, "smart_hosts in the connector \"%.100s\", if its mail is to go there", g->first));
    text_done(&g->keys.text);
}

static void check_entries(struct sendmail_doctor *d, const struct sendmail_map *map, char *lines)
{
    struct group dead = { .first = NULL }, judged = { .first = NULL };
    const char *key, *value;

    while (sendmail_map_next(&lines, &key, &value)) {
        const struct connector *c = sendmail_ruler(d, key);

        if (c != NULL && !has_hosts(c) && strncmp(value, "error:", 6) != 0 && strncmp(value, "local:", 6) != 0)
            group_add(sendmail_is_strict(d, key) || has_road(c) ? &dead : &judged, c, key);
    }
    group_find(d, &dead, map->line, "Danelaw's rules come before mailertable, so that these entries count no longer, and "
                                    "mail goes to the partner's own hosts");
    group_find(d, &judged, map->line, "connectors' mail goes elsewhere by these entries, and waits where it must be with "
                                      "the partner's own hosts");
}

static void check_mailertable(struct sendmail_doctor *d)
{
    AUTO(free) char *lines = NULL;
    struct sendmail_map map;
    struct fault why;

    if (!sendmail_map_find(d, "mailertable", &map))
        return;
    if (!sendmail_map_is_listable(&map))
        sendmail_find(d, DOCTOR_HINT, map.line, "this map can't be listed; entries for connectors' mail in it don't "
                                                "count, as Danelaw's rules come before it", "smart_hosts of a connector "
                                                                                            "say where its mail goes");
    else if (sendmail_map_list(d, &map, &lines, &why))
        check_entries(d, &map, lines);
    else
        sendmail_map_unread(d, &map, &why, NULL);
}

/* DS: SMART_HOST and nullclient. */
static void check_smart_host(struct sendmail_doctor *d)
{
    const struct sendmail_line *line = sendmail_line_of(d, 'D', "S");
    struct group straight = { .first = NULL }, judged = { .first = NULL };
    size_t i;

    if (line == NULL || line->text[1] == '\0')
        return;
    for (i = 0; i < ruleset_count(d->rules); i++) {
        const struct connector *c = ruleset_at(d->rules, i);

        if (!c->test_mode && !connector_is_idle(c) && !has_hosts(c))
            group_add(has_road(c) ? &straight : &judged, c, c->name);
    }
    group_find(d, &straight, line, sendmail_say(d, "other mail goes by the smart host %.200s, but that of these "
                                                   "connectors straight to the partners' hosts", line->text + 1));
    group_find(d, &judged, line, sendmail_say(d, "these connectors' mail goes by the smart host %.200s, and waits where "
                                                 "it must be with the partners' own hosts", line->text + 1));
}

/* Names of our own that a connector lists as a partner's. */
static void check_class(struct sendmail_doctor *d, const char *class, const char *what)
{
    const char *const *names;
    struct doctor_keys listed;
    struct fault why;
    size_t count, i;

    if (!sendmail_cf_class(&d->cf, class, &names, &count, &why)) {
        sendmail_find_at(d, DOCTOR_HOLD, sendmail_say(d, "sendmail.cf: class %s", class), sendmail_say(d, "%s", why.text),
                         "a file that can be read, so that Danelaw knows which domains are this host's own");
        return;
    }
    doctor_keys_init(&listed);
    for (i = 0; i < count; i++) {
        char local[ADDRESS_LOCAL_SIZE];
        struct domain domain;
        struct pattern p;

        if (doctor_pattern(names[i], local, &domain, &p) && ruleset_has(d->rules, &p))
            doctor_keys_add(&listed, names[i]);
    }
    if (listed.count > 0)
        sendmail_find_at(d, DOCTOR_HINT, sendmail_say(d, "sendmail.cf: class %s", class),
                         sendmail_say(d, "%s, though connectors list them: %s", what, doctor_keys_give(d->report, &listed)),
                         sendmail_say(d, "take them out of class %s, or out of the connectors' recipients", class));
    text_done(&listed.text);
}

/* Domains this host relays for, below a partner's wildcard and not listed: they keep the site's own way. */
static void check_relayed(struct sendmail_doctor *d)
{
    const char *const *names;
    struct doctor_keys keys;
    size_t count, i;

    if (!sendmail_cf_class(&d->cf, "R", &names, &count, NULL))
        return;
    doctor_keys_init(&keys);
    for (i = 0; i < count; i++) {
        char local[ADDRESS_LOCAL_SIZE];
        struct domain domain;
        struct pattern p;

        if (doctor_pattern(names[i], local, &domain, &p) && !ruleset_has(d->rules, &p) && sendmail_is_strict(d, names[i]))
            doctor_keys_add(&keys, names[i]);
    }
    if (keys.count > 0)
        sendmail_find_at(d, DOCTOR_LEAK, "sendmail.cf: class R",
                         sendmail_say(d, "they are below a mandatory connector's *.domain, but as this host relays for "
                                         "them they keep its own way: %s", doctor_keys_give(d->report, &keys)),
                         "name those that are the partner's in the connector's recipients, beside its *.domain");
    text_done(&keys.text);
}

void sendmail_check_ways(struct sendmail_doctor *d)
{
    check_mailertable(d);
    check_smart_host(d);
    check_class(d, "w", "mail for these is delivered on this host, and no connector rules it");
    check_class(d, "{VirtHost}", "these are virtual hosts of this one, and no connector rules their mail");
    check_relayed(d);
}
