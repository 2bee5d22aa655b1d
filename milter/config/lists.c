#include "config/reader.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

/* A connector's lists: recipients, senders and smart hosts; and what connectors are to each other by them. */

static const struct pattern *read_patterns(const struct group *g, const char *name, const struct setting_list *from,
                                           enum pattern_list list, uint32_t *ret_count)
{
    struct arena *memory = ruleset_memory(g->reader->made->rules);
    struct pattern *made = from->count == 0 ? NULL : arena_take(memory, from->count * sizeof(*made));
    char shown[FAULTS_SHOW_SIZE];
    struct fault why;
    size_t i;

    *ret_count = 0;
    for (i = 0; i < from->count; i++) {
        const struct pattern *before = *ret_count == 0 ? NULL : &made[*ret_count - 1];

        if (patterns_parse(from->items[i], list, memory, before, &made[*ret_count], &why))
            (*ret_count)++;
        else
            faults_item(g, name, i, "\"%s\": %s", faults_show(from->items[i], shown), why.text);
    }
    return made;
}

/* Present, a list, and without an entry: a faulty kind has been complained about already. */
static bool is_empty_list(const struct group *g, const char *name)
{
    const config_setting_t *node = config_setting_get_member(g->node, name);

    return node != NULL && (config_setting_is_list(node) || config_setting_is_array(node)) &&
           config_setting_length(node) == 0;
}

void lists_read(const struct group *g, const struct wishes *w, struct connector *c)
{
    c->recipients = read_patterns(g, "recipients", &w->recipients, LIST_RECIPIENTS, &c->recipient_count);
    c->senders = read_patterns(g, "senders", &w->senders, LIST_SENDERS, &c->sender_count);
    if (!groups_has(g, "recipients"))
        faults_setting(g, "recipients",
                       "is missing; write recipients = [ \"d.example\" ], or [ \"*\" ] for everyone");
    else if (is_empty_list(g, "recipients"))
        faults_setting(g, "recipients", "is empty; write [ \"d.example\" ], or [ \"*\" ] for everyone");
    if (is_empty_list(g, "senders"))
        faults_setting(g, "senders", "is empty, so that no mail would match; remove it for mail of every sender");
}

static bool same_hop(const struct next_hop *a, const struct next_hop *b)
{
    return a->bracketed == b->bracketed && a->port == b->port && domain_equal(&a->host, &b->host);
}

static void check_smart_host(const struct group *g, const struct connector *c, const struct next_hop *hop, size_t index)
{
    char spelling[NEXT_HOP_TEXT_SIZE];
    size_t i;

    next_hop_print(hop, spelling);
    for (i = 0; i < c->smart_host_count; i++) {
        if (same_hop(&c->smart_hosts[i], hop)) {
            faults_item(g, "smart_hosts", index, "\"%s\" stands here twice; remove one", spelling);
            break;
        }
    }
    if (hop->literal && connector_is_mandatory(c))
        faults_item(g, "smart_hosts", index,
                    "\"%s\" is an address: neither DANE nor MTA-STS can ever judge it, and a mandatory connector would "
                    "hold all mail; write the host's name", spelling);
}

void lists_smart_hosts(const struct group *g, const struct wishes *w, struct connector *c)
{
    struct arena *memory = ruleset_memory(g->reader->made->rules);
    struct next_hop *hops;
    char shown[FAULTS_SHOW_SIZE];
    struct fault why;
    size_t i;

    if (w->smart_hosts.count == 0)
        return;
    c->smart_hosts = hops = arena_take(memory, w->smart_hosts.count * sizeof(*hops));
    for (i = 0; i < w->smart_hosts.count; i++) {
        struct next_hop hop;

        if (!patterns_smart_host(w->smart_hosts.items[i], &hop, &why)) {
            faults_item(g, "smart_hosts", i, "\"%s\": %s", faults_show(w->smart_hosts.items[i], shown), why.text);
            continue;
        }
        check_smart_host(g, c, &hop, i);
        if (c->smart_host_count == CONNECTOR_SMART_HOSTS_MAX) {
            faults_item(g, "smart_hosts", i, "a connector has at most %d smart hosts; leave some out", CONNECTOR_SMART_HOSTS_MAX);
            break;
        }
        hops[c->smart_host_count++] = hop;
    }
}

static uint64_t hash_senders(const struct connector *c)
{
    uint64_t sum = c->sender_count;
    size_t i;

    for (i = 0; i < c->sender_count; i++)
        sum += patterns_hash(&c->senders[i]);       /* a sum: their order doesn't matter */
    return sum;
}

static bool same_name(const struct sighting *a, const struct sighting *b)
{
    return strcmp(a->who->name, b->who->name) == 0;
}

static bool same_pattern(const struct sighting *a, const struct sighting *b)
{
    return a->senders == b->senders && patterns_equal(a->what, b->what);
}

void lists_file_name(const struct group *g, const struct connector *c)
{
    struct sighting it = { .hash = hash_text(c->name), .who = c };
    const struct sighting *before = seen_before(&g->reader->names, &it, same_name);

    if (before != NULL)
        faults_setting(g, "name", "the connector at %.200s:%u has the same name; write another one",
                       before->who->file, before->who->line);
}

static void complain_twin(const struct group *g, const char *list, size_t index, const struct connector *c,
                          const struct connector *other, const struct pattern *p)
{
    char spelling[FAULTS_SHOW_SIZE], shown[FAULTS_SHOW_SIZE], who[384];

    pattern_print(p, spelling, sizeof(spelling));
    faults_show(spelling, shown);
    if (other->name[0] != '\0')
        snprintf(who, sizeof(who), "\"%.128s\" (%.200s:%u)", other->name, other->file, other->line);
    else
        snprintf(who, sizeof(who), "at %.200s:%u", other->file, other->line);
    if (c == other)
        faults_item(g, list, index, "\"%s\" stands here twice; remove one", shown);
    else
        faults_item(g, list, index,
                    "\"%s\" is also in the connector %s for the same senders, so that one of the two could never act; "
                    "remove it from one, or give them different senders", shown, who);
}

/* Where a faulty entry was left out, the indices don't line up with the list as written: then it is the list's line. */
static size_t index_as_written(const struct setting_list *written, size_t count, size_t index)
{
    return count == written->count ? index : SIZE_MAX;
}

static void file_patterns(const struct group *g, const char *list, const struct setting_list *written, struct seen *into,
                          const struct connector *c, const struct pattern *patterns, size_t count, uint64_t senders)
{
    size_t i;

    for (i = 0; i < count; i++) {
        struct sighting it = { .hash = patterns_hash(&patterns[i]) + senders, .who = c, .what = &patterns[i],
                               .senders = senders };
        const struct sighting *before = seen_before(into, &it, same_pattern);

        if (before != NULL)
            complain_twin(g, list, index_as_written(written, count, i), c, before->who, &patterns[i]);
    }
}

void lists_file(const struct group *g, const struct wishes *w, const struct connector *c)
{
    struct seen alone = { 0 }, senders = { 0 };
    struct seen *others = w->test_mode ? &g->reader->tested : &g->reader->patterns;
    struct seen *among = w->enabled ? others : &alone;      /* the disabled are in nobody's way */

    file_patterns(g, "recipients", &w->recipients, among, c, c->recipients, c->recipient_count, hash_senders(c));
    if (c->sender_count > 1)
        file_patterns(g, "senders", &w->senders, &senders, c, c->senders, c->sender_count, 0);
    seen_done(&alone);
    seen_done(&senders);
}
