#include "policy/roads.h"

#include <string.h>

static bool same_transport(const struct route *route, const char *transport)
{
    return strcmp(route->transport, transport) == 0;
}

/* Of two roads for one key: ours that asks the map is stricter than any single road, because the map weighs them all. */
static const struct connector *stricter(const struct connector *a, const struct connector *b)
{
    if (a == NULL)
        return b;
    return a->route != b->route && same_transport(b->route, ROAD_STS) ? b : a;
}

static const struct connector *strictest_mandatory(const struct connector_list *list)
{
    const struct connector *found = NULL;
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (!list->items[i]->is_default && connector_is_mandatory(list->items[i]))
            found = stricter(found, list->items[i]);
    }
    return found;
}

static bool all_idle(const struct connector_list *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        const struct connector *c = list->items[i];

        if (!c->is_default && !(connector_is_idle(c) && same_transport(c->route, ROAD_OPPORTUNISTIC)))
            return false;
    }
    return true;
}

/* The next weaker pattern that would catch this key's mail, or `*`. */
static struct pattern weaker(const struct pattern *key)
{
    const char *parent;

    if (key->kind == PATTERN_ADDRESS)
        return (struct pattern){ .kind = PATTERN_DOMAIN, .domain = key->domain };
    parent = key->kind == PATTERN_EVERYONE ? NULL : domain_parent(key->domain);
    if (parent == NULL)
        return (struct pattern){ .kind = PATTERN_EVERYONE };
    return (struct pattern){ .kind = PATTERN_BELOW, .domain = parent };
}

/* The strongest pattern at or above key that some connector lists; `*` where there is none. */
static struct pattern listed(const struct ruleset *rules, struct pattern key)
{
    while (key.kind != PATTERN_EVERYONE && !ruleset_has(rules, &key))
        key = weaker(&key);
    return key;
}

static struct road road_above(const struct ruleset *rules, const struct pattern *key)
{
    struct pattern above = listed(rules, weaker(key));

    return above.kind == PATTERN_EVERYONE ? road_of_everyone(rules) : road_of(rules, &above);
}

/* Nobody here asks for anything: a line is only needed where a wider one would carry the mail elsewhere. */
static struct road road_of_idle(const struct ruleset *rules, const struct pattern *key)
{
    struct road above = key->kind == PATTERN_EVERYONE ? (struct road){ NULL } : road_above(rules, key);
    bool swallows = above.route != NULL && (above.hosts_of != NULL || !same_transport(above.route, ROAD_OPPORTUNISTIC));

    return (struct road){ .route = swallows ? ruleset_route(rules, "opportunistic") : NULL };
}

/* Smart hosts of a connector with senders would carry strangers' mail there; the tag leads its own mail instead. */
static struct road road_by(const struct connector *c)
{
    bool everyones = c->sender_count == 0 || connector_is_mandatory(c);

    if (everyones && connector_on_fallback(c))
        return (struct road){ .route = c->fallback, .strict = connector_is_mandatory(c) };
    return (struct road){ .route = c->route, .strict = connector_is_mandatory(c) && !c->is_default,
                          .hosts_of = everyones && c->smart_host_count > 0 ? c : NULL };
}

/* Another's smart hosts answer to that other alone: two who are mandatory only share the domain's own, where both are asked. */
static bool rules_alone(const struct connector *ruler, const struct connector_list *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        const struct connector *c = list->items[i];

        if (c != ruler && !c->is_default && connector_is_mandatory(c))
            return false;
    }
    return true;
}

static struct road road_of_list(const struct ruleset *rules, const struct pattern *key, const struct connector_list *list)
{
    const struct connector *ruler = strictest_mandatory(list);

    if (ruler != NULL)
        return rules_alone(ruler, list) ? road_by(ruler) : (struct road){ .route = ruler->route, .strict = true };
    if (all_idle(list))
        return road_of_idle(rules, key);
    ruler = list->items[list->count - 1];           /* without senders, or (default) */
    return road_by(ruler->is_default ? list->items[0] : ruler);
}

static struct road road_of_any(const struct ruleset *rules, const struct pattern *key)
{
    struct connector_list list = { 0 };
    struct road road;

    ruleset_candidates(rules, key, &list);
    road = road_of_list(rules, key, &list);
    connector_list_done(&list);
    return road;
}

struct road road_of(const struct ruleset *rules, const struct pattern *key)
{
    return key->kind == PATTERN_EVERYONE ? (struct road){ NULL } : road_of_any(rules, key);
}

struct road road_of_extended(const struct ruleset *rules, const struct pattern *key)
{
    struct road own = road_of(rules, key), above;

    if (key->kind != PATTERN_ADDRESS || own.route == NULL || own.strict)
        return own;
    above = road_above(rules, key);
    return above.strict ? above : own;
}

struct road road_of_everyone(const struct ruleset *rules)
{
    return road_of_any(rules, &(struct pattern){ .kind = PATTERN_EVERYONE });
}

struct road road_of_address(const struct ruleset *rules, const struct address *to)
{
    char local[ADDRESS_LOCAL_SIZE];
    struct pattern key;
    struct road road;

    if (to->kind != ADDRESS_DOMAIN)
        return (struct road){ NULL };
    address_fold_local(to, local);
    key = listed(rules, (struct pattern){ .kind = PATTERN_ADDRESS, .local = local, .domain = to->domain.name });
    for (road = road_of(rules, &key); road.route == NULL && key.kind != PATTERN_EVERYONE; road = road_of(rules, &key))
        key = listed(rules, weaker(&key));              /* it needs no line where a wider one serves */
    return road;
}

/* Those of key's connectors that have mail on its road to the domain itself. */
static void add_askers_of(const struct ruleset *rules, const struct pattern *key, const char *transport,
                          struct connector_list *ret)
{
    struct connector_list list = { 0 };
    struct road road;
    size_t i;

    ruleset_candidates(rules, key, &list);
    road = road_of_list(rules, key, &list);
    if (road.route != NULL && road.hosts_of == NULL && same_transport(road.route, transport)) {
        for (i = 0; i < list.count; i++) {
            if (!list.items[i]->is_default)
                connector_list_add(ret, list.items[i]);
        }
    }
    connector_list_done(&list);
}

static void add_user_askers(const struct ruleset *rules, const char *transport, const struct domain *domain,
                            struct connector_list *ret)
{
    struct connector_list users = { 0 };
    size_t i, j;

    ruleset_by_user(rules, domain, &users);
    for (i = 0; i < users.count; i++) {
        for (j = 0; j < users.items[i]->recipient_count; j++) {
            const struct pattern *p = &users.items[i]->recipients[j];

            if (p->kind == PATTERN_ADDRESS && strcmp(p->domain, domain->name) == 0)
                add_askers_of(rules, p, transport, ret);
        }
    }
    connector_list_done(&users);
}

static void add_smart_askers(const struct ruleset *rules, const char *transport, const struct next_hop *hop,
                             struct connector_list *ret)
{
    struct connector_list users = { 0 };
    size_t i;

    ruleset_by_smart_host(rules, hop, &users);
    for (i = 0; i < users.count; i++) {
        if (!connector_on_fallback(users.items[i]) && same_transport(users.items[i]->route, transport))
            connector_list_add(ret, users.items[i]);
    }
    connector_list_done(&users);
}

/* Nobody's mail is there by the table: the one that covers the whole domain for every sender answers. */
static void add_last_resort(const struct ruleset *rules, const struct pattern *key, struct connector_list *ret)
{
    struct connector_list list = { 0 };

    ruleset_candidates(rules, key, &list);
    connector_list_add(ret, list.items[list.count - 1]);
    connector_list_done(&list);
}

void road_askers(const struct ruleset *rules, const char *transport, const struct next_hop *hop, struct connector_list *ret)
{
    struct pattern domain = { .kind = PATTERN_DOMAIN, .domain = hop->host.name };
    struct pattern key;

    add_smart_askers(rules, transport, hop, ret);
    if (!hop->bracketed) {
        add_user_askers(rules, transport, &hop->host, ret);
        key = listed(rules, domain);
        add_askers_of(rules, &key, transport, ret);
    }
    if (ret->count > 0 || strcmp(transport, ROAD_STS) == 0)
        return;
    add_last_resort(rules, hop->bracketed ? &(struct pattern){ .kind = PATTERN_EVERYONE } : &domain, ret);
}
