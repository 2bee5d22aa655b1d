#include "mta/doctor_checks.h"

#include "base/memory.h"
#include "mta/maps.h"
#include "policy/roads.h"

#include <string.h>

/* Where mail goes that no table has a line for: the business of a connector for everyone. */

/* `*` in a table comes after all our lines, but before default_transport. */
static void check_star(struct doctor *d, const struct doctor_place *place, const char *wanted)
{
    const char *list = place->value, *word;
    struct fault why;
    struct text star;

    text_init(&star, 16);
    text_put(&star, "*\n");
    while ((word = postconf_word(&list, d->memory)) != NULL) {
        AUTO(free) char *answer = NULL;

        if (strchr(word, ':') == NULL || doctor_is_table(d, maps_behind_proxy(word)))
            continue;
        if (postmap_query(&d->postmap, maps_behind_proxy(word), &star, &answer, &why) && *answer != '\0' &&
            !doctor_is_harmless(d, answer + strcspn(answer, "\t") + (strchr(answer, '\t') != NULL), wanted))
            doctor_find(d, DOCTOR_LEAK, place->where,
                        doctor_say(d, "%s has an entry for \"*\", that wins over default_transport, the road of the "
                                      "connector for everyone", word), doctor_say(d, "take \"*\" out of %s", word));
    }
    text_done(&star);
}

/* Where a mandatory connector covers everyone, the default is its road. */
static void check_default(struct doctor *d, const char *wanted)
{
    struct doctor_place place;
    size_t cursor = 0;

    while (doctor_next_place(d, "default_transport", &cursor, &place)) {
        if ((place.service == NULL || strcmp(place.service->command, "trivial-rewrite") == 0) &&
            !doctor_is_harmless(d, place.value, wanted))
            doctor_find(d, DOCTOR_LEAK, place.where,
                        doctor_say(d, "a mandatory connector covers \"*\", but mail without a line of its own takes \"%.200s\"",
                                   place.value), doctor_say(d, "default_transport = %s", wanted));
    }
    cursor = 0;
    while (doctor_next_place(d, "sender_dependent_default_transport_maps", &cursor, &place)) {
        if (*place.value != '\0' && (place.service == NULL || strcmp(place.service->command, "trivial-rewrite") == 0))
            doctor_find(d, DOCTOR_LEAK, place.where,
                        "a mandatory connector covers \"*\", but these senders' mail takes another transport",
                        "sender_dependent_default_transport_maps =");
    }
}

static void check_relay_hosts(struct doctor *d)
{
    static const char *const names[] = { "relayhost", "sender_dependent_relayhost_maps" };
    size_t i;

    for (i = 0; i < COUNT_OF(names); i++) {
        const char *value = doctor_value(d, NULL, names[i]);

        if (*value != '\0')
            doctor_find(d, DOCTOR_HINT, doctor_say(d, "main.cf: %s", names[i]),
                        doctor_say(d, "a mandatory connector covers \"*\", and %.200s is then the host that is "
                                      "authenticated, not the partner's", value), doctor_say(d, "%s =", names[i]));
    }
}

/* As default_transport has it; NULL: no connector for everyone asks for anything. */
static const char *everyones_transport(struct doctor *d, bool *ret_strict)
{
    struct road road = road_of_everyone(d->rules);
    const char *kept;
    struct text value;

    *ret_strict = road.strict;
    if (road.route == NULL)
        return NULL;
    text_init(&value, 64 * 1024);
    sheet_value(&road, &value);
    kept = doctor_say(d, "%s", text_words(&value));
    text_done(&value);
    return kept[strlen(kept) - 1] == ':' ? arena_bytes(d->memory, kept, strlen(kept) - 1) : kept;
}

/* Probes for reject_unverified_recipient are mail, too, if without a body. */
static void check_probes(struct doctor *d)
{
    const char *maps = doctor_value(d, NULL, "address_verify_transport_maps");

    if (*maps != '\0' && !doctor_has_table(d, maps))
        doctor_find(d, DOCTOR_HINT, "main.cf: address_verify_transport_maps",
                    "probes that verify addresses go past Danelaw's roads, and show a partner's addresses on the way",
                    "address_verify_transport_maps = $transport_maps");
}

static void check_lax_default(struct doctor *d, const char *wanted)
{
    const char *value = doctor_value(d, NULL, "default_transport");

    if (strcmp(value, wanted) != 0)
        doctor_find(d, DOCTOR_HINT, "main.cf: default_transport",
                    doctor_say(d, "a connector covers \"*\", but mail without a line of its own takes \"%.200s\" and is "
                               "none of its business", value), doctor_say(d, "default_transport = %s", wanted));
}

void doctor_default(struct doctor *d)
{
    struct doctor_place place;
    size_t cursor = 0;
    bool strict;
    const char *everyone = everyones_transport(d, &strict);

    check_probes(d);
    if (everyone == NULL)
        return;
    if (!strict) {
        check_lax_default(d, everyone);
        return;
    }
    while (doctor_next_place(d, "transport_maps", &cursor, &place)) {
        if (place.service == NULL || strcmp(place.service->command, "trivial-rewrite") == 0)
            check_star(d, &place, everyone);
    }
    check_default(d, everyone);
    check_relay_hosts(d);
}
