#ifndef DANELAW_TESTS_RULES_H
#define DANELAW_TESTS_RULES_H

/* Rulesets in few words, for tests: patterns are written as in the configuration, lists are parted by blanks. */

#include "base/memory.h"
#include "policy/roads.h"
#include "policy/ruleset.h"

#include <stdio.h>
#include <string.h>

static const struct route rules_routes[] = {
    { .name = "dane-mandatory", .transport = ROAD_DANE, .next_hop = "", .tls = TLS_DANE_ONLY },
    { .name = "sts-mandatory", .transport = ROAD_STS, .next_hop = "", .tls = TLS_SECURE },
    { .name = "opportunistic", .transport = ROAD_OPPORTUNISTIC, .next_hop = "", .tls = TLS_SITE },
};

static inline struct pattern rules_pattern(struct arena *memory, const char *word)
{
    const char *at = strrchr(word, '@');

    if (strcmp(word, "*") == 0)
        return (struct pattern){ .kind = PATTERN_EVERYONE };
    if (strcmp(word, "<>") == 0)
        return (struct pattern){ .kind = PATTERN_NULL_SENDER };
    if (strncmp(word, "*.", 2) == 0)
        return (struct pattern){ .kind = PATTERN_BELOW, .domain = arena_text(memory, word + 2) };
    if (at == NULL)
        return (struct pattern){ .kind = PATTERN_DOMAIN, .domain = arena_text(memory, word) };
    return (struct pattern){ .kind = PATTERN_ADDRESS, .local = arena_bytes(memory, word, (size_t)(at - word)),
                             .domain = arena_text(memory, at + 1) };
}

static inline const struct pattern *rules_patterns(struct arena *memory, const char *words, uint32_t *ret_count)
{
    struct pattern *made = arena_take(memory, (strlen(words) + 1) * sizeof(*made));
    AUTO(free) char *copy = mem_text(words);
    char *rest = copy, *word;

    *ret_count = 0;
    while ((word = strsep(&rest, " ")) != NULL) {
        if (*word != '\0')
            made[(*ret_count)++] = rules_pattern(memory, word);
    }
    return made;
}

static inline void rules_smart_host(struct ruleset *rules, struct connector *c, const char *word)
{
    struct next_hop *hosts = arena_take(ruleset_memory(rules), (c->smart_host_count + 1) * sizeof(*hosts));

    if (c->smart_host_count > 0)
        memcpy(hosts, c->smart_hosts, c->smart_host_count * sizeof(*hosts));
    if (!next_hop_parse(word, &hosts[c->smart_host_count], NULL))
        abort();
    c->smart_hosts = hosts;
    c->smart_host_count++;
}

/* The preset of `route`. */
static inline const struct route *rules_route_for(enum mode dane, enum mode sts)
{
    if (sts == MODE_MANDATORY)
        return &rules_routes[1];
    return dane == MODE_MANDATORY ? &rules_routes[0] : &rules_routes[2];
}

/* senders: "" for anyone. May be changed until the ruleset is frozen. */
static inline struct connector *rules_add(struct ruleset *rules, const char *name, const char *recipients, const char *senders,
                                          enum mode dane, enum mode sts)
{
    struct arena *memory = ruleset_memory(rules);
    struct connector *c = arena_take(memory, sizeof(*c));

    *c = (struct connector){ .name = arena_text(memory, name), .smtp_dane = dane, .mta_sts = sts,
                             .tls = TLS_SITE, .route = rules_route_for(dane, sts) };
    c->recipients = rules_patterns(memory, recipients, &c->recipient_count);
    c->senders = rules_patterns(memory, senders, &c->sender_count);
    ruleset_add(rules, c);
    return c;
}

/* With the built-in routes and an opportunistic (default). */
static inline struct ruleset *rules_new(void)
{
    struct ruleset *rules = ruleset_new();
    struct connector *c = arena_take(ruleset_memory(rules), sizeof(*c));
    size_t i;

    *c = (struct connector){ .name = "(default)", .is_default = true, .smtp_dane = MODE_OPPORTUNISTIC,
                             .mta_sts = MODE_OPPORTUNISTIC, .tls = TLS_SITE, .route = &rules_routes[2] };
    for (i = 0; i < COUNT_OF(rules_routes); i++)
        ruleset_add_route(rules, &rules_routes[i]);
    ruleset_set_default(rules, c);
    return rules;
}

static inline struct address rules_address(const char *spoken)
{
    struct address a;

    address_parse(spoken, &a);
    return a;
}

/* The name of the connector for mail between these two. */
static inline const char *rules_find(const struct ruleset *rules, const char *to, const char *from)
{
    struct address receiver = rules_address(to), sender = rules_address(from);

    return ruleset_find(rules, &receiver, &sender)->name;
}

#endif
