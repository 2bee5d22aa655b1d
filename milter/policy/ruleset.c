#include "policy/ruleset.h"

#include "base/memory.h"
#include "policy/index.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { KEY_SIZE = ADDRESS_LOCAL_SIZE + 258 };

/* Where connectors are, by what they are looked for. */
struct directory {
    uint32_t *by_name;                          /* their places, sorted by name */
    struct index by_pattern;                    /* `user@d`, `d`, `.d`, `*` */
    struct index by_tested_pattern;             /* of those in test mode, whom nothing else here knows but by_name */
    struct index by_smart_host, by_user_domain;
};

struct ruleset {
    struct ruleset *base;                       /* whose strings, patterns and routes it shares; NULL: all is its own */
    struct arena *memory;
    const struct connector **all;
    size_t count, room;
    const struct route **routes;
    size_t route_count;
    const struct connector *fallback;           /* (default) */
    struct directory own;                       /* empty where there is a base */
    const struct directory *places;             /* frozen; the base's, or its own */
    atomic_uint users;
};

struct ruleset *ruleset_new(void)
{
    struct ruleset *rules = mem_zero(sizeof(*rules));

    rules->memory = arena_new();
    rules->places = &rules->own;
    atomic_init(&rules->users, 1);
    return rules;
}

struct arena *ruleset_memory(struct ruleset *rules)
{
    return rules->memory;
}

struct ruleset *ruleset_ref(struct ruleset *rules)
{
    atomic_fetch_add_explicit(&rules->users, 1, memory_order_relaxed);
    return rules;
}

void ruleset_unref(struct ruleset *rules)
{
    if (rules == NULL || atomic_fetch_sub_explicit(&rules->users, 1, memory_order_acq_rel) != 1)
        return;
    index_done(&rules->own.by_pattern);
    index_done(&rules->own.by_tested_pattern);
    index_done(&rules->own.by_smart_host);
    index_done(&rules->own.by_user_domain);
    arena_free(rules->memory);
    free(rules->all);
    free(rules->own.by_name);
    free(rules->routes);
    ruleset_unref(rules->base);
    free(rules);
}

void ruleset_add_route(struct ruleset *rules, const struct route *route)
{
    size_t i;

    for (i = 0; i < rules->route_count; i++) {
        if (strcmp(rules->routes[i]->name, route->name) == 0) {
            rules->routes[i] = route;
            return;
        }
    }
    rules->routes = mem_grow(rules->routes, rules->route_count + 1, sizeof(*rules->routes));
    rules->routes[rules->route_count++] = route;
}

void ruleset_add(struct ruleset *rules, const struct connector *c)
{
    if (rules->count == rules->room) {
        rules->room = rules->room == 0 ? 16 : rules->room * 2;
        rules->all = mem_grow(rules->all, rules->room, sizeof(*rules->all));
    }
    rules->all[rules->count++] = c;
}

void ruleset_set_default(struct ruleset *rules, const struct connector *c)
{
    rules->fallback = c;
}

/* Three texts as one; each recipient needs several, so without a format. */
static void join_key(const char *first, const char *between, const char *last, char ret[static KEY_SIZE])
{
    size_t a = strlen(first), b = strlen(between), c = strlen(last);

    if (a + b + c >= KEY_SIZE)                  /* never: no address is as long */
        a = b = c = 0;
    memcpy(ret, first, a);
    memcpy(ret + a, between, b);
    memcpy(ret + a + b, last, c);
    ret[a + b + c] = '\0';
}

/* The text under which a pattern is found. */
static void key_of(const struct pattern *p, char ret[static KEY_SIZE])
{
    switch (p->kind) {
    case PATTERN_ADDRESS:
        join_key(p->local, "@", p->domain, ret);
        return;
    case PATTERN_DOMAIN:
        join_key("", "", p->domain, ret);
        return;
    case PATTERN_BELOW:
        join_key("", ".", p->domain, ret);
        return;
    case PATTERN_EVERYONE:
    case PATTERN_NULL_SENDER:
        break;
    }
    join_key("", "", "*", ret);
}

static void index_patterns(struct ruleset *rules, struct index *x, uint32_t place)
{
    const struct connector *c = rules->all[place];
    char key[KEY_SIZE];
    size_t i;

    for (i = 0; i < c->recipient_count; i++) {
        const struct pattern *p = &c->recipients[i];

        key_of(p, key);
        index_add(x, p->kind == PATTERN_DOMAIN ? p->domain : arena_text(rules->memory, key), place);
    }
}

static void index_connector(struct ruleset *rules, uint32_t place)
{
    const struct connector *c = rules->all[place];
    char hop[NEXT_HOP_TEXT_SIZE];
    size_t i;

    if (c->test_mode) {
        index_patterns(rules, &rules->own.by_tested_pattern, place);
        return;
    }
    index_patterns(rules, &rules->own.by_pattern, place);
    for (i = 0; i < c->recipient_count; i++) {
        if (c->recipients[i].kind == PATTERN_ADDRESS)
            index_add(&rules->own.by_user_domain, c->recipients[i].domain, place);
    }
    for (i = 0; i < c->smart_host_count; i++) {
        next_hop_print(&c->smart_hosts[i], hop);
        index_add(&rules->own.by_smart_host, arena_text(rules->memory, hop), place);
    }
}

static int compare_names(const void *a, const void *b, void *all)
{
    const struct connector *const *named = all;

    return strcmp(named[*(const uint32_t *)a]->name, named[*(const uint32_t *)b]->name);
}

static uint32_t *sort_names(struct ruleset *rules)
{
    uint32_t *by_name = mem_array(rules->count, sizeof(*by_name)), i;

    for (i = 0; i < rules->count; i++)
        by_name[i] = i;
    qsort_r(by_name, rules->count, sizeof(*by_name), compare_names, rules->all);
    return by_name;
}

void ruleset_freeze(struct ruleset *rules)
{
    uint32_t place;

    for (place = (uint32_t)rules->count; place > 0; place--)    /* the index puts each before the others of its text */
        index_connector(rules, place - 1);
    rules->own.by_name = sort_names(rules);
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct ruleset_change *)a)->from, y = (uintptr_t)((const struct ruleset_change *)b)->from;

    return (x > y) - (x < y);
}

/* What takes c's place: c itself, or another. */
static const struct connector *changed(const struct ruleset_change *changes, size_t count, const struct connector *c)
{
    const struct ruleset_change key = { .from = c }, *change = bsearch(&key, changes, count, sizeof(*changes), by_address);

    return change == NULL ? c : change->to;
}

struct ruleset *ruleset_change(struct ruleset *base, struct arena *memory, struct ruleset_change *changes, size_t count)
{
    struct ruleset *rules = mem_zero(sizeof(*rules));
    size_t i;

    qsort(changes, count, sizeof(*changes), by_address);
    *rules = (struct ruleset){ .base = ruleset_ref(base), .memory = memory, .count = base->count, .room = base->count,
                               .route_count = base->route_count, .fallback = base->fallback, .places = base->places };
    atomic_init(&rules->users, 1);
    rules->all = mem_array(base->count, sizeof(*rules->all));
    for (i = 0; i < base->count; i++)
        rules->all[i] = changed(changes, count, base->all[i]);
    rules->routes = mem_array(base->route_count, sizeof(*rules->routes));
    if (base->route_count > 0)
        memcpy(rules->routes, base->routes, base->route_count * sizeof(*rules->routes));
    return rules;
}

const struct route *ruleset_route(const struct ruleset *rules, const char *name)
{
    size_t i;

    for (i = 0; i < rules->route_count; i++) {
        if (strcmp(rules->routes[i]->name, name) == 0)
            return rules->routes[i];
    }
    return NULL;
}

size_t ruleset_route_count(const struct ruleset *rules)
{
    return rules->route_count;
}

const struct route *ruleset_route_at(const struct ruleset *rules, size_t index)
{
    return rules->routes[index];
}

size_t ruleset_count(const struct ruleset *rules)
{
    return rules->count;
}

const struct connector *ruleset_at(const struct ruleset *rules, size_t index)
{
    return rules->all[index];
}

const struct connector *ruleset_named(const struct ruleset *rules, const char *name)
{
    const uint32_t *by_name = rules->places->by_name;
    size_t low = 0, high = by_name == NULL ? 0 : rules->count;                  /* not frozen yet: nobody has a name */

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct connector *c = rules->all[by_name[middle]];
        int order = strcmp(name, c->name);

        if (order == 0)
            return c;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct connector *ruleset_default(const struct ruleset *rules)
{
    return rules->fallback;
}

/* name is a proper subdomain of parent. */
static bool is_below(const char *name, const char *parent)
{
    size_t length = strlen(name), tail = strlen(parent);

    return length > tail + 1 && name[length - tail - 1] == '.' && strcmp(name + length - tail, parent) == 0;
}

bool pattern_matches(const struct pattern *p, const struct address *a)
{
    char local[ADDRESS_LOCAL_SIZE];

    switch (p->kind) {
    case PATTERN_EVERYONE:
        return true;
    case PATTERN_NULL_SENDER:
        return a->kind == ADDRESS_NULL;
    case PATTERN_BELOW:
        return a->kind == ADDRESS_DOMAIN && is_below(a->domain.name, p->domain);
    case PATTERN_DOMAIN:
        return a->kind == ADDRESS_DOMAIN && strcmp(a->domain.name, p->domain) == 0;
    case PATTERN_ADDRESS:
        if (a->kind != ADDRESS_DOMAIN || strcmp(a->domain.name, p->domain) != 0)
            return false;
        address_fold_local(a, local);
        return strcmp(local, p->local) == 0;
    }
    return false;
}

bool connector_names(const struct connector *c, const struct address *to)
{
    size_t i;

    for (i = 0; i < c->recipient_count; i++) {
        const struct pattern *p = &c->recipients[i];

        if ((p->kind == PATTERN_DOMAIN || p->kind == PATTERN_ADDRESS) && pattern_matches(p, to))
            return true;
    }
    return false;
}

char *pattern_print(const struct pattern *p, char *ret, size_t size)
{
    switch (p->kind) {
    case PATTERN_EVERYONE:
        snprintf(ret, size, "*");
        break;
    case PATTERN_NULL_SENDER:
        snprintf(ret, size, "<>");
        break;
    case PATTERN_BELOW:
        snprintf(ret, size, "*.%s", p->domain);
        break;
    case PATTERN_DOMAIN:
        snprintf(ret, size, "%s", p->domain);
        break;
    case PATTERN_ADDRESS:
        snprintf(ret, size, "%s@%s", p->local, p->domain);
        break;
    }
    return ret;
}

/*
 * The ranks that may rule a recipient, strongest first: user@d, d, .d's parents from the longest, *. A walk hands each
 * rank's connectors to the visitor until one returns true.
 */
struct walk {
    bool (*visit)(struct walk *self, const struct index_link *rank);
    const struct ruleset *rules;
    const struct index *among;          /* one of theirs */
    size_t ranks;                       /* that were looked at, also those where nobody was */
};

static bool visit_key(const char *key, struct walk *w)
{
    const struct index_link *rank = index_find(w->among, key);

    w->ranks++;
    return rank != NULL && w->visit(w, rank);
}

/* `.parent`, `.parent of parent`, ... as they stand in the name itself. */
static bool visit_parents(const char *name, struct walk *w)
{
    while ((name = domain_parent(name)) != NULL) {
        if (visit_key(name - 1, w))
            return true;
    }
    return false;
}

static void walk_ranks(const struct pattern *from, struct walk *w)
{
    char key[KEY_SIZE];

    switch (from->kind) {
    case PATTERN_ADDRESS:
        key_of(from, key);
        if (visit_key(key, w))
            return;
        __attribute__((fallthrough));
    case PATTERN_DOMAIN:
        if (visit_key(from->domain, w))
            return;
        if (visit_parents(from->domain, w))
            return;
        break;
    case PATTERN_BELOW:
        key_of(from, key);
        if (visit_key(key, w) || visit_parents(from->domain, w))
            return;
        break;
    case PATTERN_EVERYONE:
    case PATTERN_NULL_SENDER:
        break;
    }
    visit_key("*", w);
}

struct find_walk {
    struct walk walk;
    const struct address *sender;
    const struct connector *found;
};

static bool sender_matches(const struct connector *c, const struct address *from)
{
    size_t i;

    for (i = 0; i < c->sender_count; i++) {
        if (pattern_matches(&c->senders[i], from))
            return true;
    }
    return false;
}

static bool find_in_rank(struct walk *self, const struct index_link *rank)
{
    struct find_walk *f = (struct find_walk *)self;
    const struct connector *open = NULL;

    for (; rank != NULL; rank = index_next(self->among, rank)) {
        const struct connector *c = self->rules->all[rank->place];

        if (c->sender_count == 0) {
            if (open == NULL)
                open = c;
        } else if (sender_matches(c, f->sender)) {
            f->found = c;
            return true;
        }
    }
    f->found = open;
    return open != NULL;
}

/* Where a recipient's ranks begin; the pattern borrows local and to. */
static struct pattern rank_of(const struct address *to, char local[static ADDRESS_LOCAL_SIZE])
{
    if (to->kind != ADDRESS_DOMAIN)
        return (struct pattern){ .kind = PATTERN_EVERYONE };
    address_fold_local(to, local);
    return (struct pattern){ .kind = PATTERN_ADDRESS, .local = local, .domain = to->domain.name };
}

const struct connector *ruleset_find(const struct ruleset *rules, const struct address *to, const struct address *from)
{
    struct find_walk f = { .walk = { find_in_rank, rules, &rules->places->by_pattern }, .sender = from };
    char local[ADDRESS_LOCAL_SIZE];
    struct pattern start = rank_of(to, local);

    walk_ranks(&start, &f.walk);
    return f.found == NULL ? rules->fallback : f.found;
}

const struct connector *ruleset_shadow(const struct ruleset *rules, const struct address *to, const struct address *from)
{
    struct find_walk shadow = { .walk = { find_in_rank, rules, &rules->places->by_tested_pattern }, .sender = from };
    struct find_walk real = { .walk = { find_in_rank, rules, &rules->places->by_pattern }, .sender = from };
    char local[ADDRESS_LOCAL_SIZE];
    struct pattern start;

    if (rules->places->by_tested_pattern.used == 0)
        return NULL;
    start = rank_of(to, local);
    walk_ranks(&start, &shadow.walk);
    if (shadow.found == NULL)
        return NULL;
    walk_ranks(&start, &real.walk);
    if (real.found == NULL || shadow.walk.ranks < real.walk.ranks)
        return shadow.found;
    if (shadow.walk.ranks > real.walk.ranks || (shadow.found->sender_count == 0 && real.found->sender_count > 0))
        return NULL;
    return shadow.found;
}

void connector_list_add(struct connector_list *list, const struct connector *c)
{
    if (list->count > 0 && list->items[list->count - 1] == c)
        return;
    if (list->count == list->room) {
        list->room = list->room == 0 ? 8 : list->room * 2;
        list->items = mem_grow(list->items, list->room, sizeof(*list->items));
    }
    list->items[list->count++] = c;
}

void connector_list_done(struct connector_list *list)
{
    free(list->items);
    *list = (struct connector_list){ 0 };
}

struct candidates_walk {
    struct walk walk;
    struct connector_list *found;
    bool settled;                       /* somebody without senders was met */
};

static bool collect_rank(struct walk *self, const struct index_link *rank)
{
    struct candidates_walk *w = (struct candidates_walk *)self;
    const struct connector *open = NULL;

    for (; rank != NULL; rank = index_next(self->among, rank)) {
        const struct connector *c = self->rules->all[rank->place];

        if (c->sender_count > 0)
            connector_list_add(w->found, c);
        else if (open == NULL)
            open = c;
    }
    if (open != NULL)
        connector_list_add(w->found, open);
    w->settled = open != NULL;
    return w->settled;
}

void ruleset_candidates(const struct ruleset *rules, const struct pattern *key, struct connector_list *ret)
{
    struct candidates_walk w = { .walk = { collect_rank, rules, &rules->places->by_pattern }, .found = ret };

    walk_ranks(key, &w.walk);
    if (!w.settled)
        connector_list_add(ret, rules->fallback);
}

static void list_out(const struct ruleset *rules, const struct index *x, const char *key, struct connector_list *ret)
{
    const struct index_link *link;

    for (link = index_find(x, key); link != NULL; link = index_next(x, link))
        connector_list_add(ret, rules->all[link->place]);
}

void ruleset_by_smart_host(const struct ruleset *rules, const struct next_hop *hop, struct connector_list *ret)
{
    char key[NEXT_HOP_TEXT_SIZE];

    list_out(rules, &rules->places->by_smart_host, next_hop_print(hop, key), ret);
}

void ruleset_by_user(const struct ruleset *rules, const struct domain *domain, struct connector_list *ret)
{
    list_out(rules, &rules->places->by_user_domain, domain->name, ret);
}

bool ruleset_has(const struct ruleset *rules, const struct pattern *key)
{
    char text[KEY_SIZE];

    key_of(key, text);
    return index_find(&rules->places->by_pattern, text) != NULL;
}
