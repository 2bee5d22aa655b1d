#include "cli/chain.h"

#include "base/memory.h"
#include "cli/look.h"

#include <stdio.h>
#include <string.h>

enum { LABELS_MAX = 32 };               /* deeper names don't occur in mail */

struct climb {
    const char *names[LABELS_MAX + 1];  /* the root first */
    struct look *looks[LABELS_MAX + 1];
    size_t count;
};

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

struct climb *chain_climb(struct lookup *lookup, const struct domain *name)
{
    struct climb *climb = mem_zero(sizeof(*climb));
    size_t i;

    climb->count = ancestors(name->name, climb->names);
    for (i = 0; i < climb->count; i++)
        climb->looks[i] = look_at_name(lookup, climb->names[i], DNS_TYPE_SOA);
    return climb;
}

void chain_add(struct chain *chain, struct climb *climb)
{
    const char *parent = ".";
    bool whole = true;
    size_t i;

    for (i = 0; i < climb->count && whole; i++) {
        const struct dns_look *look = look_result(climb->looks[i]);

        add_link(chain, climb->names[i], look, parent);
        if (look->found)
            parent = climb->names[i];
        whole = look->trust == DNS_SECURE && !look->no_name;
    }
}

void climb_free(struct climb *climb)
{
    size_t i;

    if (climb == NULL)
        return;
    for (i = 0; i < climb->count; i++)
        look_free(climb->looks[i]);
    free(climb);
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
