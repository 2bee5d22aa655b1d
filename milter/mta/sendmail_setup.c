#include "mta/setup.h"

#include "base/memory.h"
#include "mta/sendmail_table.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Notes begin with dnl, which m4 swallows with all that follows: where somebody pastes everything, no word of theirs is
 * taken for a macro. The lines go behind the last MAILER line.
 */

enum { VALUE_MAX = 64 * 1024, MAP_LIMIT = 5 };

/* What conf/sendmail/danelaw.m4 lets an answer name by itself. */
static const char *const known_mailers[] = { "danesmtp", "smtp", "esmtp", "smtp8", "dsmtp", "relay" };

/* m4's quotes would end early at one in a value. */
static bool put_define(const char *name, const char *value, struct text *ret, struct fault *why)
{
    if (strpbrk(value, "`'") != NULL)
        return fault_set(why, "%s: \"%.200s\" has a quote in it, which m4 can't take; choose another path", name, value);
    text_print(ret, "define(`%s', `%s')dnl\n", name, value);
    return true;
}

/* `unix:/path` is local:, an IPv6 address wants inet6: and brackets. */
static bool socket_words(const char *setting, const char *socket, struct text *ret, struct fault *why)
{
    const char *rest = strchr(socket, ':'), *at = strchr(socket, '@');

    if (rest != NULL && (strncmp(socket, "unix:", 5) == 0 || strncmp(socket, "local:", 6) == 0)) {
        text_print(ret, "local:%s", rest + 1);
        return true;
    }
    if (rest == NULL || at == NULL || strncmp(socket, "inet:", 5) != 0)
        return fault_set(why, "%s: \"%.100s\" is neither unix:/PATH nor inet:PORT@HOST", setting, socket);
    if (strchr(at, ':') == NULL)
        text_put(ret, socket);
    else
        text_print(ret, at[1] == '[' ? "inet6:%.*s@%s" : "inet6:%.*s@[%s]", (int)(at - rest - 1), rest + 1, at + 1);
    return true;
}

/* Sendmail takes no socket and no map from a folder that others may write to, nor from below one. */
static void note_folders(const char *file, struct text *ret)
{
    char folder[4096], *slash;
    struct stat about;

    if (snprintf(folder, sizeof(folder), "%s", file) >= (int)sizeof(folder))
        return;
    while ((slash = strrchr(folder, '/')) != NULL && slash != folder) {
        *slash = '\0';
        if (stat(folder, &about) == 0 && (about.st_mode & (S_IWGRP | S_IWOTH)) != 0)
            text_print(ret, "dnl note: others than its owner may write to %s, so that Sendmail takes nothing from there: %s%s\n",
                       folder, (about.st_mode & S_ISVTX) != 0 ? "choose a path that is not below " : "chmod go-w ", folder);
    }
}

static void note_socket(const char *socket, struct text *ret)
{
    if (strncmp(socket, "local:", 6) == 0)
        note_folders(socket + 6, ret);
    else
        text_print(ret, "dnl note: while danelawd is down, any user of this host could take the port of %s and answer in its "
                        "place; prefer unix:/PATH in danelaw.conf\n", socket);
}

static bool put_map_socket(const struct settings *set, struct text *ret, struct fault *why)
{
    struct text socket;
    bool good;

    text_init(&socket, VALUE_MAX);
    good = socket_words("maps.socket", set->maps.socket, &socket, why);
    if (good)
        note_socket(text_words(&socket), ret);
    good = good && put_define("DANELAW_MAP_SOCKET", text_words(&socket), ret, why);
    text_done(&socket);
    if (good && set->maps.budget >= MAP_LIMIT)
        text_print(ret, "define(`DANELAW_TIMEOUT', `%u')dnl\n", set->maps.budget + 1);
    return good;
}

static bool put_map(const struct settings *set, struct text *ret, struct fault *why)
{
    bool ready = strcmp(set->tables.mta, "sendmail") == 0, good;
    struct text path;

    text_init(&path, VALUE_MAX);
    text_print(&path, "%s/" SENDMAIL_TABLE, set->store.directory);
    if (!ready)
        text_put(ret, "dnl note: the map is only written when danelaw.conf says tables.mta = \"sendmail\"; while it is "
                      "missing all mail to other domains waits for danelawd\n");
    note_folders(text_words(&path), ret);
    good = put_define("DANELAW_MANDATORY_MAP", text_words(&path), ret, why);
    if (good && ready && strcmp(set->tables.type, "btree") == 0)
        good = put_define("DANELAW_MANDATORY_TYPE", "btree", ret, why);
    text_done(&path);
    return good;
}

static bool is_known(const char *mailer)
{
    size_t i;

    for (i = 0; i < COUNT_OF(known_mailers); i++) {
        if (strcmp(known_mailers[i], mailer) == 0)
            return true;
    }
    return false;
}

static bool came_before(const struct ruleset *rules, size_t at)
{
    size_t i;

    for (i = 0; i < at; i++) {
        if (strcmp(ruleset_route_at(rules, i)->transport, ruleset_route_at(rules, at)->transport) == 0)
            return true;
    }
    return false;
}

/* Mailers of the site's own routes. */
static bool put_mailers(const struct settings *set, const struct ruleset *rules, struct text *ret, struct fault *why)
{
    struct text mailers;
    size_t i, more = 0;
    bool good = true;

    text_init(&mailers, VALUE_MAX);
    for (i = 0; i < COUNT_OF(known_mailers); i++)
        text_print(&mailers, i == 0 ? "%s" : " %s", known_mailers[i]);
    for (i = 0; strcmp(set->tables.mta, "sendmail") == 0 && i < ruleset_route_count(rules); i++) {
        const struct route *route = ruleset_route_at(rules, i);

        if (is_known(route->transport) || came_before(rules, i))
            continue;
        text_print(ret, "dnl note: the route \"%s\" goes by the mailer \"%s\", which must be there: a line M%s, under "
                        "MAILER_DEFINITIONS\n", route->name, route->transport, route->transport);
        text_print(&mailers, " %s", route->transport);
        more++;
    }
    if (more > 0)
        good = put_define("DANELAW_MAILERS", text_words(&mailers), ret, why);
    text_done(&mailers);
    return good;
}

/*
 * F=T: without the milter mail waits. Its answers take milter.budget, and libmilter may make a callback wait for those of
 * a few other sessions.
 */
static bool put_milter(const struct settings *set, struct text *ret, struct fault *why)
{
    uint32_t limit = set->milter.budget * 3 + 11;
    struct text socket;
    bool good;

    text_init(&socket, VALUE_MAX);
    good = socket_words("milter.socket", set->milter.socket, &socket, why);
    if (good && strpbrk(text_words(&socket), "`',") != NULL)
        good = fault_set(why, "milter.socket: \"%.200s\" has a quote or a comma in it, which Sendmail can't take; choose another "
                         "path", set->milter.socket);
    if (good) {
        note_socket(text_words(&socket), ret);
        text_print(ret, "INPUT_MAIL_FILTER(`danelaw', `S=%s, F=T, T=C:30s;S:10s;R:%us;E:%us')dnl\n", text_words(&socket),
                   limit, limit * 3);
    }
    text_done(&socket);
    return good;
}

bool setup_sendmail(const struct settings *set, const struct ruleset *rules, struct text *ret, struct fault *why)
{
    text_put(ret, "# sendmail.mc\ndnl note: behind the last MAILER line, in this order; then make sendmail.cf anew, and restart "
                  "Sendmail\n");
    if (!put_map_socket(set, ret, why) || !put_map(set, ret, why) || !put_mailers(set, rules, ret, why) ||
        !put_define("confCERT_FINGERPRINT_ALGORITHM", "sha256", ret, why) || !put_milter(set, ret, why))
        return false;
    text_put(ret, "undefine(`confHOST_STATUS_DIRECTORY')dnl\n"
                  "include(`" PKGDATADIR "/sendmail/danelaw.m4')dnl\n"
                  "dnl note: with this one, too, no sender's address is shown to a host that the partner never named:\n"
                  "dnl include(`" PKGDATADIR "/sendmail/danelaw-mailfrom.m4')dnl\n"
                  "\n# submit.mc\ndnl note: above its FEATURE(`msp', ...); then make submit.cf anew\n"
                  "define(`confDONT_EXPAND_CNAMES', `True')dnl\n");
    return !ret->full || fault_set(why, "the lines are too long");
}
