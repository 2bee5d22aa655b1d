#include "mta/sendmail_doctor_checks.h"

#include "base/memory.h"
#include "policy/roads.h"

#include <string.h>

/* The mailers that the route map names: SMTP over the network, where danelawd's gate is asked before each recipient. */

#define OURS ROAD_SENDMAIL

static void check_flags(struct sendmail_doctor *d, const struct sendmail_line *line)
{
    const char *flags = sendmail_equate(d, line, 'F'), *name = sendmail_name(d, line);
    const char *fix = "let danelaw.m4 define it";
    const struct sendmail_line *option;

    flags = flags == NULL ? "" : flags;
    if (strchr(flags, 'z') != NULL)
        sendmail_find(d, DOCTOR_HOLD, line, sendmail_say(d, "F=z: %s speaks LMTP, which partners don't", name), fix);
    if (strchr(flags, '%') != NULL)
        sendmail_find(d, DOCTOR_HOLD, line,
                      sendmail_say(d, "F=%%: mail by %s waits until somebody asks for it (ETRN)", name), fix);
    if (strchr(flags, 'e') != NULL && sendmail_is_on(d, "HoldExpensive", &option))
        sendmail_find(d, DOCTOR_HINT, line, sendmail_say(d, "F=e: mail by %s waits for the next queue run", name), fix);
    if (strpbrk(flags, "5lw") != NULL)
        sendmail_find(d, DOCTOR_HINT, line,
                      sendmail_say(d, "F=%.50s: %s takes partners' addresses for local ones", flags, name), fix);
}

static void check_mailer(struct sendmail_doctor *d, const char *name)
{
    const struct sendmail_line *line = sendmail_line_of(d, 'M', name);
    const char *program = line == NULL ? NULL : sendmail_equate(d, line, 'P');
    const char *fix = strcmp(name, OURS) == 0 ? sendmail_wanted(d, "include(")
                                              : sendmail_say(d, "a mailer %s, or another transport in danelaw.conf: "
                                                                "routes", name);

    if (line == NULL) {
        sendmail_find(d, DOCTOR_HOLD, NULL,
                      sendmail_say(d, "there is no mailer %s, by which danelawd sends mail, so that Sendmail returns it",
                                   name), fix);
    } else if (program == NULL || strcmp(program, "[IPC]") != 0) {
        sendmail_find(d, DOCTOR_LEAK, line,
                      sendmail_say(d, "%s is no SMTP over the network (P=%.100s), so that nothing asks danelawd's gate",
                                   name, program == NULL ? "" : program), fix);
    } else {
        check_flags(d, line);
    }
}

/* Whether some connector sends mail there. */
bool sendmail_is_used(const struct sendmail_doctor *d, const struct route *route)
{
    size_t i;

    if (strcmp(d->set->tables.mta, "sendmail") != 0)
        return false;               /* the built-in routes are another MTA's, then */
    for (i = 0; i < ruleset_count(d->rules); i++) {
        const struct connector *c = ruleset_at(d->rules, i);

        if (!c->test_mode && !connector_is_idle(c) && (c->route == route || c->fallback == route))
            return true;
    }
    return false;
}

static bool is_said(const struct sendmail_doctor *d, size_t before)
{
    size_t i;

    for (i = 0; i < before; i++) {
        const struct route *route = ruleset_route_at(d->rules, i);

        if (sendmail_is_used(d, route) && strcmp(route->transport, ruleset_route_at(d->rules, before)->transport) == 0)
            return true;
    }
    return false;
}

/* The third word of `A=TCP $h 587`. */
static unsigned port_of(const struct sendmail_doctor *d, const struct sendmail_line *line)
{
    const char *words = sendmail_equate(d, line, 'A'), *word = NULL;
    size_t i;

    for (i = 0; i < 3 && words != NULL; i++)
        word = sendmail_word(d, &words);
    if (word == NULL || strcmp(word, "smtp") == 0)
        return 25;
    return strcmp(word, "submission") == 0 ? 587 : (unsigned)strtoul(word, NULL, 10);
}

/* A route's answer has no port: the mailer has it, or mail ends up elsewhere. */
static void check_port(struct sendmail_doctor *d, const struct connector *c)
{
    const struct sendmail_line *line = sendmail_line_of(d, 'M', c->route->transport);
    unsigned port;
    size_t i;

    for (i = 0; line != NULL && i < c->smart_host_count; i++) {
        port = c->smart_hosts[i].port;
        if (port_of(d, line) == port)
            continue;
        sendmail_find(d, DOCTOR_HOLD, line,
                      sendmail_say(d, "%s leads to port %u, but connector \"%.100s\" names port %u of %s",
                                   c->route->transport, port_of(d, line), c->name, port, c->smart_hosts[i].host.name),
                      sendmail_say(d, "a mailer with A=TCP $h %u, and a route with it for this connector", port));
        return;
    }
}

void sendmail_check_mailers(struct sendmail_doctor *d)
{
    size_t i;

    for (i = 0; i < ruleset_count(d->rules); i++) {
        if (!ruleset_at(d->rules, i)->test_mode)
            check_port(d, ruleset_at(d->rules, i));
    }
    for (i = 0; i < ruleset_route_count(d->rules); i++) {
        const struct route *route = ruleset_route_at(d->rules, i);

        if (sendmail_is_used(d, route) && !is_said(d, i))
            check_mailer(d, route->transport);
    }
}
