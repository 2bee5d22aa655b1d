#include "mta/doctor_checks.h"

#include "base/memory.h"
#include "mta/maps.h"

#include <string.h>

/* milter.tag: Postfix routes a whole message by a header of the milter's, and some settings don't go with that. */

#define HEADER "X-Danelaw-Route: "

/* What the header checks answer for each route, asked as Postfix asks: the last FILTER of a message counts. */
struct answers {
    const char **items;                     /* by route; NULL: none */
};

static void take_answers(struct doctor *d, const char *lines, struct answers *a)
{
    size_t count = ruleset_route_count(d->rules), i, length;

    for (; *lines != '\0'; lines += strcspn(lines, "\n"), lines += *lines == '\n') {
        for (i = 0; i < count; i++) {
            const char *name = ruleset_route_at(d->rules, i)->name;

            length = strlen(HEADER) + strlen(name);
            if (strncmp(lines, HEADER, strlen(HEADER)) == 0 && strncmp(lines + strlen(HEADER), name, strlen(name)) == 0 &&
                lines[length] == '\t' && a->items[i] == NULL)
                a->items[i] = arena_bytes(d->memory, lines + length + 1, strcspn(lines + length + 1, "\n"));
        }
    }
}

static void ask_checks(struct doctor *d, struct answers *a)
{
    const char *list = doctor_value(d, NULL, "milter_header_checks"), *word;
    struct text keys;
    size_t i;

    a->items = arena_take(d->memory, (ruleset_route_count(d->rules) + 1) * sizeof(*a->items));
    text_init(&keys, 1024 * 1024);
    for (i = 0; i < ruleset_route_count(d->rules); i++)
        text_print(&keys, HEADER "%s\n", ruleset_route_at(d->rules, i)->name);
    while ((word = postconf_word(&list, d->memory)) != NULL) {
        AUTO(free) char *lines = NULL;
        struct fault why;

        if (postmap_query(&d->postmap, maps_behind_proxy(word), &keys, &lines, &why))
            take_answers(d, lines, a);
        else
            doctor_unread(d, doctor_say(d, "main.cf: milter_header_checks: %s", why.text));
    }
    text_done(&keys);
}

static void check_route(struct doctor *d, const struct route *route, const char *answer)
{
    const char *wanted = doctor_say(d, "FILTER %s:%s", route->transport, route->next_hop);
    const char *fix = doctor_say(d, "{ /^" HEADER "%s$$/ %s } in milter_header_checks, as \"danelaw setup postfix\" prints it",
                                 route->name, wanted);

    if (answer == NULL)
        doctor_find(d, DOCTOR_HOLD, "main.cf: milter_header_checks",
                    doctor_say(d, "milter.tag is true, but nothing routes mail tagged \"%s\", so that connectors with senders "
                               "have no effect on it", route->name), fix);
    else if (strcmp(answer, wanted) != 0)
        doctor_find(d, DOCTOR_LEAK, "main.cf: milter_header_checks",
                    doctor_say(d, "mail tagged \"%s\" gets \"%.200s\"", route->name, answer), fix);
}

/* What a whole message's FILTER does beside it. */
static void check_neighbours(struct doctor *d)
{
    static const char *const copies[] = { "always_bcc", "recipient_bcc_maps", "sender_bcc_maps", "virtual_alias_maps" };
    const char *value;
    size_t i;

    for (i = 0; i < COUNT_OF(copies); i++) {
        value = doctor_value(d, NULL, copies[i]);
        if (*value != '\0')
            doctor_find(d, DOCTOR_HINT, doctor_say(d, "main.cf: %s", copies[i]),
                        "milter.tag is true: a tag routes the whole message, also the recipients that this adds, and one "
                        "on this host then bounces as a loop",
                        doctor_say(d, "%s = , or milter.tag = false in danelaw.conf", copies[i]));
    }
    if (*doctor_value(d, NULL, "content_filter") != '\0')
        doctor_find(d, DOCTOR_HINT, "main.cf: content_filter",
                    "milter.tag is true: a tag's FILTER takes the place of content_filter, and tagged mail is not filtered",
                    "name danelawd's milter only at the smtpd that takes mail back from the filter");
    value = doctor_value(d, NULL, "default_filter_nexthop");
    if (*value != '\0')
        doctor_find(d, DOCTOR_LEAK, "main.cf: default_filter_nexthop",
                    doctor_say(d, "milter.tag is true: all tagged mail goes to \"%.200s\", not to its recipients' domains",
                               value),
                    "default_filter_nexthop =");
}

void doctor_tag(struct doctor *d)
{
    struct answers a;
    size_t i;

    ask_checks(d, &a);
    for (i = 0; i < ruleset_route_count(d->rules); i++) {
        if (d->set->milter.tag)
            check_route(d, ruleset_route_at(d->rules, i), a.items[i]);
        else if (a.items[i] != NULL)
            doctor_find(d, DOCTOR_HINT, "main.cf: milter_header_checks",
                        doctor_say(d, "milter.tag is false, but a header \"" HEADER "%s\" of another milter's would steer mail",
                                   ruleset_route_at(d->rules, i)->name),
                        "take the lines with X-Danelaw-Route out, or set milter.tag = true in danelaw.conf");
    }
    if (d->set->milter.tag)
        check_neighbours(d);
}
