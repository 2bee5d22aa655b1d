#include "mta/doctor_checks.h"

#include "base/memory.h"
#include "mta/maps.h"
#include "policy/roads.h"

#include <string.h>
#include <strings.h>

/*
 * Ways on which a message is given a transport and next hop of its own, whatever its recipients are: content_filter and
 * FILTER win over transport_maps. A filter on this host gives the mail back, and then it is routed.
 */

static bool begins_with_one_of(const char *text, const char *const words[], size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strncasecmp(text, words[i], strlen(words[i])) == 0)
            return true;
    }
    return false;
}

static bool is_on_this_host(const char *next_hop)
{
    static const char *const words[] = { "127.", "[127.", "[::1]", "::1", "localhost", "[localhost]", "unix:", "inet:127.",
                                         "inet:[127.", "inet:localhost", "inet:[::1]", "[ipv6:::1]", "/" };

    return begins_with_one_of(next_hop, words, COUNT_OF(words));
}

/* A program, a mailbox, or nowhere. */
static bool is_local_program(const struct doctor *d, const char *transport)
{
    static const char *const commands[] = { "pipe", "local", "virtual", "spawn", "error", "discard" };
    const struct doctor_service *s = doctor_service(d, transport, "unix");
    size_t i;

    for (i = 0; s != NULL && i < COUNT_OF(commands); i++) {
        if (strcmp(s->command, commands[i]) == 0)
            return true;
    }
    return false;
}

/* An smtpd that takes back what a filter has seen, and therefore has none itself. */
static bool takes_back(const struct doctor *d, const char *parameter)
{
    size_t i;

    for (i = 0; i < d->service_count; i++) {
        const char *own = doctor_override(d, &d->services[i], parameter);

        if (strcmp(d->services[i].command, "smtpd") == 0 && own != NULL && *own == '\0')
            return true;
    }
    return false;
}

enum way { WAY_OUT, WAY_TO_FILTER, WAY_GOOD };

static enum way way_of(const struct doctor *d, const char *destination)
{
    const char *colon = strchr(destination, ':');
    const char *transport = arena_bytes(d->memory, destination, strcspn(destination, ":"));

    if (strcmp(transport, ROAD_DANE) == 0 || strcmp(transport, ROAD_STS) == 0 || is_local_program(d, transport))
        return WAY_GOOD;
    if (strcmp(transport, ROAD_OPPORTUNISTIC) == 0 && (colon == NULL || colon[1] == '\0'))
        return WAY_GOOD;                    /* the map knows whose mail should not be on it */
    if (colon == NULL || !is_on_this_host(colon + 1))
        return WAY_OUT;
    return takes_back(d, "content_filter") ? WAY_GOOD : WAY_TO_FILTER;
}

static void judge(struct doctor *d, const char *where, const char *source, const char *destination, const char *fix)
{
    switch (way_of(d, destination)) {
    case WAY_OUT:
        doctor_find(d, DOCTOR_LEAK, where, doctor_say(d, "%s sends mail to \"%.200s\", whatever transport_maps says of its "
                                                      "recipients", source, destination), fix);
        return;
    case WAY_TO_FILTER:
        doctor_find(d, DOCTOR_HINT, where,
                    doctor_say(d, "%s sends mail to \"%.200s\", and no smtpd in master.cf seems to take it back; what does not "
                               "come back to this Postfix is past Danelaw", source, destination),
                    "an smtpd service with -o content_filter= in master.cf, to which the filter gives mail back");
        return;
    case WAY_GOOD:
        return;
    }
}

static void check_content_filters(struct doctor *d)
{
    struct doctor_place place;
    size_t cursor = 0;

    while (doctor_next_place(d, "content_filter", &cursor, &place)) {
        if (*place.value != '\0')
            judge(d, place.where, "it", place.value,
                  "content_filter = , or a filter on this host that gives mail back to Postfix");
    }
    cursor = 0;
    while (doctor_next_place(d, "smtpd_proxy_filter", &cursor, &place)) {
        if (*place.value != '\0' && !is_on_this_host(place.value) && *place.value >= '0' && *place.value <= '9' &&
            strchr(place.value, '.') == NULL)
            continue;                       /* a port alone is this host's */
        if (*place.value != '\0' && !is_on_this_host(place.value))
            doctor_find(d, DOCTOR_LEAK, place.where,
                        doctor_say(d, "it gives mail to \"%.200s\"; what does not come back from there is past Danelaw",
                                   place.value), "a filter on this host, or smtpd_proxy_filter =");
    }
}

/* A table that may say FILTER, each looked at once. */
struct scan {
    struct doctor *d;
    struct {
        const char **items;
        size_t count, room;
    } seen;
};

static bool is_new(struct scan *s, const char *word)
{
    size_t i;

    for (i = 0; i < s->seen.count; i++) {
        if (strcmp(s->seen.items[i], word) == 0)
            return false;
    }
    if (s->seen.count == s->seen.room) {
        s->seen.room = s->seen.room == 0 ? 32 : s->seen.room * 2;
        s->seen.items = mem_grow(s->seen.items, s->seen.room, sizeof(*s->seen.items));
    }
    s->seen.items[s->seen.count++] = word;
    return true;
}

/* The argument of an action in a table's line, or NULL; it has this character in it, or Postfix heeds it not. */
static const char *argument_of(const struct doctor *d, const char *line, const char *action, char must)
{
    size_t length = strlen(action);
    const char *at = line;

    while ((at = strcasestr(at, action)) != NULL) {
        bool begins = at == line || strchr(" \t={", at[-1]) != NULL;

        at += length;
        if (begins && (*at == ' ' || *at == '\t')) {
            const char *argument;

            at += strspn(at, " \t");
            argument = arena_bytes(d->memory, at, strcspn(at, " \t}"));
            if (strchr(argument, must) != NULL)
                return argument;
        }
    }
    return NULL;
}

static void scan_line(struct scan *s, const struct doctor_place *place, const char *word, const char *line)
{
    struct doctor *d = s->d;
    const char *to = argument_of(d, line, "FILTER", ':');

    if (to != NULL && strstr(line, "X-Danelaw-Route") == NULL)
        judge(d, place->where, doctor_say(d, "an entry of %s", word), to,
              doctor_say(d, "take \"FILTER %s\" out of %s", to, word));
    to = argument_of(d, line, "REDIRECT", '@');
    if (to != NULL)
        doctor_find(d, DOCTOR_HINT, place->where,
                    doctor_say(d, "an entry of %s sends mail to %s instead of its recipients; the connector of that address "
                               "counts then", word, to),
                    doctor_say(d, "take \"REDIRECT %s\" out of %s, if that is not meant", to, word));
}

static void scan_lines(struct scan *s, const struct doctor_place *place, const char *word, char *lines)
{
    char *line, *next;

    for (line = lines; *line != '\0'; line = next) {
        next = line + strcspn(line, "\n");
        if (*next == '\n')
            *next++ = '\0';
        if (line[strspn(line, " \t")] != '#')
            scan_line(s, place, word, line);
    }
}

static void scan_table(struct scan *s, const struct doctor_place *place, const char *word)
{
    const char *table = maps_behind_proxy(word);
    AUTO(free) char *lines = NULL;
    struct fault why;
    bool good;

    if (strchr(table, ':') == NULL || *table == '{' || (!maps_is_text(table) && !maps_can_list(table)) || !is_new(s, word))
        return;
    good = maps_is_text(table) ? maps_text(table, &lines, &why) : maps_list(&s->d->postmap, table, &lines, &why);
    if (good)
        scan_lines(s, place, word, lines);
    else
        doctor_unread(s->d, doctor_say(s->d, "%s: %s", place->where, why.text));
}

static void scan_parameter(struct scan *s, const char *name)
{
    struct doctor_place place;
    const char *word, *list;
    size_t cursor = 0;

    while (doctor_next_place(s->d, name, &cursor, &place)) {
        for (list = place.value; (word = postconf_word(&list, s->d->memory)) != NULL;)
            scan_table(s, &place, word);
    }
}

void doctor_filters(struct doctor *d)
{
    static const char *const names[] = {
        "header_checks", "mime_header_checks", "nested_header_checks", "body_checks", "milter_header_checks",
        "smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions", "smtpd_relay_restrictions",
        "smtpd_recipient_restrictions", "smtpd_data_restrictions", "smtpd_end_of_data_restrictions",
        "smtpd_etrn_restrictions",
    };
    struct scan s = { .d = d };
    const char *list, *word;
    size_t i;

    check_content_filters(d);
    for (i = 0; i < COUNT_OF(names); i++)
        scan_parameter(&s, names[i]);
    list = doctor_value(d, NULL, "smtpd_restriction_classes");
    while ((word = postconf_word(&list, d->memory)) != NULL)
        scan_parameter(&s, word);
    free(s.seen.items);
}
