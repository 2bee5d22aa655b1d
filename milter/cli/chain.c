#include "cli/chain.h"

#include "cli/look.h"

#include <stdio.h>
#include <string.h>

enum { LABELS_MAX = 32 };               /* deeper names don't occur in mail */

/* name and all its parents, the root first. Returns how many. */
static size_t ancestors(const char *name, const char *ret[static LABELS_MAX + 1])
{
    const char *upward[LABELS_MAX];
    size_t count = 0, i;

    for (; name != NULL && name[0] != '\0'; name = domain_parent(name)) {
        if (count == LABELS_MAX) {      /* keep the ones near the root */
            memmove(upward, upward + 1, sizeof(upward) - sizeof(upward[0]));
            count--;
        }
        upward[count++] = name;
    }
    ret[0] = ".";
    for (i = 0; i < count; i++)
        ret[i + 1] = upward[count - 1 - i];
    return count + 1;
}

static void explain(struct zone *zone, const struct dns_look *look, const char *parent)
{
    switch (look->trust) {
    case DNS_SECURE:
        zone->why[0] = '\0';
        return;
    case DNS_INSECURE:
        if (strcmp(zone->name, ".") == 0)
            snprintf(zone->why, sizeof(zone->why), "there is no trust anchor for it");
        else
            snprintf(zone->why, sizeof(zone->why), "%.200s has no DS record for it: the zone is not signed, or its registrar "
                     "was not told", parent);
        return;
    case DNS_BOGUS:
    case DNS_FAILED:
        break;
    }
    snprintf(zone->why, sizeof(zone->why), "%s", look->why[0] == '\0' ? "no answer" : look->why);
}

static bool is_listed(const struct chain *chain, const char *name)
{
    size_t i;

    for (i = 0; i < chain->count; i++) {
        if (strcmp(chain->zones[i].name, name) == 0)
            return true;
    }
    return false;
}

/* A name that holds a SOA record is a zone; one whose answer can't be trusted ends the chain, whatever it is. */
static void add_link(struct chain *chain, const char *name, const struct dns_look *look, const char *parent)
{
    bool answered = look->trust == DNS_SECURE || look->trust == DNS_INSECURE;
    struct zone *zone = &chain->zones[chain->count];

    if ((answered && !look->found) || is_listed(chain, name) || chain->count == CHAIN_ZONES_MAX)
        return;
    chain->count++;
    snprintf(zone->name, sizeof(zone->name), "%s", name);
    zone->state = look->trust;
    explain(zone, look, parent);
}

void chain_add(struct chain *chain, struct lookup *lookup, const struct domain *name)
{
    const char *names[LABELS_MAX + 1], *parent = ".";
    struct look *looks[LABELS_MAX + 1];
    size_t count = ancestors(name->name, names), i;
    bool whole = true;

    for (i = 0; i < count; i++)
        looks[i] = look_at_name(lookup, names[i], DNS_TYPE_SOA);
    for (i = 0; i < count && whole; i++) {
        const struct dns_look *look = look_result(looks[i]);

        add_link(chain, names[i], look, parent);
        if (look->found)
            parent = names[i];
        whole = look->trust == DNS_SECURE && !look->no_name;
    }
    for (i = 0; i < count; i++)
        look_free(looks[i]);
}

static bool contains(const char *zone, const char *name)
{
    size_t length = strlen(name), tail = strlen(zone);

    if (strcmp(zone, ".") == 0)
        return true;
    return length >= tail && strcmp(name + length - tail, zone) == 0 && (length == tail || name[length - tail - 1] == '.');
}

const struct zone *chain_broken(const struct chain *chain, const char *name)
{
    size_t i;

    for (i = 0; i < chain->count; i++) {
        if (chain->zones[i].state != DNS_SECURE && contains(chain->zones[i].name, name))
            return &chain->zones[i];
    }
    return NULL;
}
