#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"
#include "mta/sendmail_doctor_maps.h"

#include <string.h>

/* Our socket map, by which Sendmail asks for routes and at the gate, and the mailers that an answer may name. */

#define INCLUDE "include("

static void check_socket(struct sendmail_doctor *d, const struct sendmail_map *map)
{
    if (strcmp(map->type, "socket") != 0)
        sendmail_find(d, DOCTOR_HOLD, map->line,
                      sendmail_say(d, "the map \"danelaw\" is of type %.50s, so that danelawd is not asked, and "
                                      "mandatory connectors' mail waits", map->type), sendmail_wanted(d, INCLUDE));
    else if (!sendmail_is_socket(d, map->place, d->set->maps.socket))
        sendmail_find(d, DOCTOR_HOLD, map->line,
                      sendmail_say(d, "%.200s is not danelawd's map socket (maps.socket is %s), so that mandatory "
                                      "connectors' mail waits", map->place, d->set->maps.socket),
                      sendmail_wanted(d, "define(`DANELAW_MAP_SOCKET'"));
}

static void check_limit(struct sendmail_doctor *d, const struct sendmail_map *map)
{
    uint64_t seconds;

    if (map->limit == NULL || !sendmail_seconds(map->limit, 's', &seconds) || seconds > d->set->maps.budget)
        return;
    sendmail_find(d, DOCTOR_HOLD, map->line,
                  sendmail_say(d, "Sendmail waits %us for an answer (-d), no longer than danelawd may take for it "
                                  "(maps.budget is %us)",
                               (unsigned)seconds, d->set->maps.budget),
                  sendmail_say(d, "define(`DANELAW_TIMEOUT', `%u')dnl", d->set->maps.budget + 1));
}

/* Each is why: what goes wrong without it. */
static void check_options(struct sendmail_doctor *d, const struct sendmail_map *map)
{
    const char *other = map->options + strspn(map->options, "fdqTt");

    if (strchr(map->options, 'f') == NULL)
        sendmail_find(d, DOCTOR_HOLD, map->line, "without -f queue ids reach danelawd in lower case, so that it can't "
                                                 "tell how old mail is, and holds it for ever", sendmail_wanted(d, INCLUDE));
    if (strchr(map->options, 't') == NULL)
        sendmail_find(d, DOCTOR_HOLD, map->line, "without -t all connectors' mail waits while danelawd is down, not only "
                                                 "that of mandatory ones", sendmail_wanted(d, INCLUDE));
    if (strchr(map->options, 'q') == NULL)
        sendmail_find(d, DOCTOR_LEAK, map->line, "without -q quotes are lost on the way to danelawd, and a sender can write "
                                                 "addresses that lead mail past its rule", sendmail_wanted(d, INCLUDE));
    if (map->on_failure == NULL || strcmp(map->on_failure, "<TMPF>") != 0)
        sendmail_find(d, DOCTOR_HOLD, map->line, "without -T<TMPF> the rules can't tell danelawd's silence from its word",
                      sendmail_wanted(d, INCLUDE));
    if (*other != '\0')
        sendmail_find(d, DOCTOR_HOLD, map->line, sendmail_say(d, "-%c changes what is asked or answered", *other),
                      sendmail_wanted(d, INCLUDE));
}

static bool has_member(const char *const *members, size_t count, const char *name)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strcmp(members[i], name) == 0)
            return true;
    }
    return false;
}

/* An answer that names another mailer is none: mandatory mail waits, other mail goes the MTA's way. */
static void check_mailers(struct sendmail_doctor *d)
{
    const char *const *members;
    struct doctor_keys missing;
    const char *first = NULL;
    size_t count, i;

    if (!sendmail_cf_class(&d->cf, "{DanelawMailers}", &members, &count, NULL))
        return;
    doctor_keys_init(&missing);
    for (i = 0; i < ruleset_route_count(d->rules); i++) {
        const struct route *route = ruleset_route_at(d->rules, i);

        if (sendmail_is_used(d, route) && !has_member(members, count, route->transport)) {
            first = first == NULL ? route->transport : first;
            doctor_keys_add(&missing, route->transport);
        }
    }
    if (missing.count > 0)
        sendmail_find_at(d, DOCTOR_HOLD, "sendmail.cf: class {DanelawMailers}",
                         sendmail_say(d, "the rules take no answer that names these mailers, though routes do; mandatory "
                                         "connectors' mail then waits: %s", doctor_keys_give(d->report, &missing)),
                         sendmail_say(d, "%s among the words of DANELAW_MAILERS, before danelaw.m4 is included", first));
    text_done(&missing.text);
}

void sendmail_check_map(struct sendmail_doctor *d)
{
    struct sendmail_map map;

    if (!sendmail_map_find(d, "danelaw", &map)) {
        sendmail_find(d, DOCTOR_LEAK, NULL, "there is no map \"danelaw\": Sendmail asks danelawd nothing, and mail goes "
                                            "its own way",
                      sendmail_wanted(d, INCLUDE));
        return;
    }
    check_socket(d, &map);
    check_limit(d, &map);
    check_options(d, &map);
    check_mailers(d);
}
