#include "base/clock.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/finding.h"
#include "cli/output.h"
#include "cli/user.h"

#include <string.h>
#include <unistd.h>

/* More chains than these would only repeat what the first ones say. */
enum { CLIMBS_MAX = 8 };

/* One run over all names. One thread. */
struct check {
    const struct cli *cli;
    const struct configuration *conf;
    struct lookup *lookup;
    struct address from;
    struct fault broken;                    /* why the resolver can prove nothing; empty: it can */
};

/* The resolver must prove the root, or its word on anybody else is worth nothing. */
static void check_resolver(struct check *k)
{
    struct look *look = look_at_name(k->lookup, ".", DNS_TYPE_NS);
    const struct dns_look *root = look_result(look);

    switch (root->trust) {
    case DNS_SECURE:
        if (!root->found)
            fault_set(&k->broken, "the root has no records");
        break;
    case DNS_INSECURE:
        fault_set(&k->broken, "the root is not signed under the trust anchor (is there one?)");
        break;
    case DNS_BOGUS:
        fault_set(&k->broken, "the root's signatures do not fit the trust anchor (is it stale, is the clock right?): %s", root->why);
        break;
    case DNS_FAILED:
        fault_set(&k->broken, "the root can't be looked up (is there a network?): %s", root->why);
        break;
    }
    look_free(look);
    if (k->broken.text[0] != '\0')
        cli_remark("THE RESOLVER CAN PROVE NOTHING: %s", k->broken.text);
}

static bool parse_address(const char *spoken, struct finding *f, struct next_hop *ret, struct fault *why)
{
    address_parse(spoken, &f->to);
    if (f->to.kind != ADDRESS_DOMAIN && f->to.kind != ADDRESS_LITERAL)
        return fault_set(why, "that is no address of a partner");
    *ret = next_hop_of(&f->to.domain);
    ret->literal = ret->bracketed = f->to.kind == ADDRESS_LITERAL;
    return true;
}

/* Where several send their mail there, the first: its name is as good as any other's. */
static const struct connector *by_smart_host(const struct ruleset *rules, const struct next_hop *hop)
{
    struct connector_list list = { 0 };
    const struct connector *found;

    ruleset_by_smart_host(rules, hop, &list);
    found = list.count == 0 ? ruleset_default(rules) : list.items[0];
    connector_list_done(&list);
    return found;
}

/* A host in brackets or a port means that very next hop, not what the domain's mail would do. */
static bool parse_hop(const struct check *k, const char *spoken, struct finding *f, struct next_hop *ret, struct fault *why)
{
    if (!next_hop_parse(spoken, ret, why))
        return false;
    f->to = (struct address){ .kind = ret->literal ? ADDRESS_LITERAL : ADDRESS_DOMAIN, .domain = ret->host };
    if (ret->bracketed || ret->port != 25)
        f->connector = by_smart_host(k->conf->rules, ret);
    return true;
}

static bool parse(const struct check *k, const char *spoken, struct finding *f)
{
    struct next_hop own;
    struct fault why;
    bool is_address = strchr(spoken, '@') != NULL, direct;
    size_t i;

    f->name = spoken;
    if (is_address ? !parse_address(spoken, f, &own, &why) : !parse_hop(k, spoken, f, &own, &why)) {
        cli_fail(CLI_USAGE, "%s: %s", spoken, why.text);
        return false;
    }
    direct = f->connector != NULL;
    if (!direct) {
        f->connector = ruleset_find(k->conf->rules, &f->to, &k->from);
        f->shadow = ruleset_shadow(k->conf->rules, &f->to, &k->from);
    }
    f->hop_count = direct || f->connector->smart_host_count == 0 ? 1 : f->connector->smart_host_count;
    f->hops = mem_array(f->hop_count, sizeof(*f->hops));
    for (i = 0; i < f->hop_count; i++)
        f->hops[i].hop = direct || f->connector->smart_host_count == 0 ? own : f->connector->smart_hosts[i];
    return true;
}

static void begin(const struct check *k, struct finding *f)
{
    size_t i;

    for (i = 0; i < f->hop_count; i++) {
        struct finding_hop *hop = &f->hops[i];

        if (k->broken.text[0] == '\0' || hop->hop.literal)
            hop->look = look_at_hop(k->lookup, &hop->hop);
        if (hop->look == NULL || hop->hop.literal)
            continue;
        hop->climb = chain_climb(k->lookup, &hop->hop.host);
        partner_begin(&hop->partner, k->lookup, &hop->hop.host);
    }
}

/* While DANE's answers are on their way. */
static void follow_policies(const struct check *k, struct finding *f)
{
    size_t i;

    for (i = 0; i < f->hop_count; i++)
        partner_follow(&f->hops[i].partner, k->lookup);
}

/* The engine says the same of every next hop while its self-check fails. */
static struct evidence *unproven(const struct check *k)
{
    struct evidence *found = evidence_new(DANE_UNKNOWN, k->broken.text, clock_ms());

    found->blind = strcmp(k->conf->settings.resolver.when_broken, "hold-mandatory") == 0;
    return found;
}

static struct evidence *judge_sts(const struct check *k, struct finding_hop *hop)
{
    if (hop->hop.literal)
        return evidence_of_sts(STS_ABSENT, "an address literal has no name that could publish a policy", NULL, clock_ms());
    if (hop->look == NULL)
        return evidence_of_sts(STS_UNKNOWN, k->broken.text, NULL, clock_ms());
    return partner_judge(&hop->partner);
}

/* Both halves, whatever the connector asks for. */
static void judge_hop(const struct check *k, struct finding_hop *hop)
{
    struct evidence *dane;

    hop->sts = judge_sts(k, hop);
    if (hop->look == NULL) {
        hop->found = unproven(k);
        return;
    }
    hop->answers = look_answers(hop->look);
    dane = dane_judge(hop->answers, k->conf->settings.resolver.tlsa_records, clock_ms());
    hop->found = evidence_join(dane, hop->sts);
    evidence_unref(dane);
}

/* Sends somebody to the hosts of each next hop, where that was asked for. */
static void begin_tour(const struct check *k, struct finding *f)
{
    size_t i;

    if (!k->cli->probe)
        return;
    f->tour = tour_new(k->lookup, f->connector);
    for (i = 0; i < f->hop_count; i++)
        tour_add(f->tour, &f->hops[i].hop, f->hops[i].found, f->hops[i].partner.policy);
}

static void judge(const struct check *k, struct finding *f)
{
    size_t i;

    for (i = 0; i < f->hop_count; i++)
        judge_hop(k, &f->hops[i]);
    begin_tour(k, f);
}

/* As the daemon would have it. */
static void decide_finding(struct finding *f)
{
    struct evidence **found = mem_array(f->hop_count, sizeof(*found));
    size_t i;

    for (i = 0; i < f->hop_count; i++) {
        if (f->tour != NULL)
            f->hops[i].found = tour_seen(f->tour, i, f->hops[i].found);
        found[i] = f->hops[i].found;
    }
    f->decided = engine_decide_list(f->connector, found, f->hop_count, &f->decision);
    free(found);
}

/* Begins the climbs to a host, and to what its aliases end in. */
static void climb_to_host(const struct check *k, const struct dns_host *host, struct climb *climbs[], size_t *count)
{
    if (*count < CLIMBS_MAX)
        climbs[(*count)++] = chain_climb(k->lookup, &host->name);
    if (*count < CLIMBS_MAX && host->expanded.length > 0 && !domain_equal(&host->expanded, &host->name))
        climbs[(*count)++] = chain_climb(k->lookup, &host->expanded);
}

/* The chain of the next hop, and those of hosts that DANE doesn't carry: their zone may be the one that fails. */
static void follow_chains(const struct check *k, struct finding *f)
{
    const struct finding_hop *hop = &f->hops[f->decided];
    struct climb *climbs[CLIMBS_MAX];
    size_t count = 0, i;

    if (hop->climb == NULL)
        return;
    for (i = 0; i < hop->answers->host_count; i++) {
        if (hop->found->hosts[i].state != HOST_GOOD && hop->found->hosts[i].state != HOST_GONE)
            climb_to_host(k, &hop->answers->hosts[i], climbs, &count);
    }
    chain_add(&f->chain, hop->climb);
    for (i = 0; i < count; i++) {
        chain_add(&f->chain, climbs[i]);
        climb_free(climbs[i]);
    }
}

static int exit_of(const struct finding *f)
{
    if (f->hops[f->decided].answers == NULL)        /* whatever it says, it is a guess */
        return CLI_TEMPORARY;
    switch (f->decision.verdict) {
    case VERDICT_DELIVER:
    case VERDICT_PASS:
        return CLI_GOOD;
    case VERDICT_FALLBACK:
    case VERDICT_BOUNCE:
    case VERDICT_HOLD:
        break;
    }
    return f->decision.reason == REASON_DNS_TEMP || f->decision.reason == REASON_INTERNAL ? CLI_TEMPORARY : CLI_NO;
}

static int finish(const struct check *k, struct finding *f, bool first)
{
    json_t *item;
    int exit;

    decide_finding(f);
    follow_chains(k, f);
    if (k->cli->json) {
        item = finding_json(f);
        output_json(item);
        json_decref(item);
    } else {
        if (!first)
            putchar('\n');
        finding_page(f);
    }
    fflush(stdout);
    exit = exit_of(f);
    return exit == CLI_GOOD && f->tour != NULL ? tour_exit(f->tour) : exit;
}

static void finding_done(struct finding *f)
{
    size_t i;

    tour_free(f->tour);
    for (i = 0; i < f->hop_count; i++) {
        evidence_unref(f->hops[i].found);
        evidence_unref(f->hops[i].sts);
        partner_done(&f->hops[i].partner);
        climb_free(f->hops[i].climb);
        look_free(f->hops[i].look);
    }
    free(f->hops);
}

/* All names are looked up at once and shown in the order asked. */
static int check_all(struct check *k)
{
    struct finding *all = mem_array(k->cli->count, sizeof(*all));
    bool good = true;
    int worst = CLI_GOOD;
    size_t i;

    for (i = 0; i < k->cli->count; i++)
        good = parse(k, k->cli->words[i], &all[i]) && good;
    if (!good)
        worst = CLI_USAGE;
    else
        check_resolver(k);
    for (i = 0; good && i < k->cli->count; i++)
        begin(k, &all[i]);
    for (i = 0; good && i < k->cli->count; i++)
        follow_policies(k, &all[i]);
    for (i = 0; good && k->cli->probe && i < k->cli->count; i++)
        judge(k, &all[i]);                  /* so that all hosts are visited at once */
    for (i = 0; good && i < k->cli->count; i++) {
        int exit;

        if (!k->cli->probe)
            judge(k, &all[i]);
        exit = finish(k, &all[i], i == 0);

        if (exit > worst)
            worst = exit;
    }
    for (i = 0; i < k->cli->count; i++)
        finding_done(&all[i]);
    free(all);
    return worst;
}

/* As the daemon's user: neither what is in its folder nor what strangers answer is anything for root to read. */
static bool know_overrides(struct configuration *conf, struct fault *why)
{
    return (access(conf->settings.store.directory, F_OK) != 0 || user_become(&conf->settings, why)) &&
           cli_add_overrides(conf, why);
}

int cli_check(const struct cli *c)
{
    struct check k = { .cli = c };
    struct configuration *conf;
    struct fault why;
    int exit;

    if (!cli_load(c, true, &conf, &exit))
        return exit;
    k.conf = conf;
    if (!know_overrides(conf, &why))
        cli_remark("going by the configuration, without overrides: %s", why.text);
    if (c->from != NULL)
        address_parse(c->from, &k.from);
    if (dns_open(&conf->settings, &k.lookup, &why)) {
        exit = check_all(&k);
        k.lookup->close(k.lookup);
    } else {
        exit = cli_fail(CLI_TEMPORARY, "the resolver can't be opened: %s", why.text);
    }
    config_free(conf);
    return exit;
}
