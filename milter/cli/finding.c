#include "cli/finding.h"

#include "base/memory.h"
#include "cli/output.h"

#include <string.h>

char *finding_policy(const struct finding *f)
{
    struct text policy;

    text_init(&policy, (size_t)1 << 20);
    decision_policy(&f->decision, f->connector, f->hops[f->decided].found, &policy);
    if (policy.length == 0)
        text_put(&policy, "-");
    return text_give(&policy);
}

static json_t *text_or_null(const char *text)
{
    return text[0] == '\0' || strcmp(text, "-") == 0 ? json_null() : output_text(text);
}

bool finding_usable(const struct dns_tlsa_set *set, size_t index, struct fault *why)
{
    if (set->look.trust != DNS_SECURE)
        return fault_set(why, "not secured by DNSSEC");
    return dane_tlsa_usable(&set->records[index], why);
}

static json_t *record_json(const struct dns_tlsa_set *set, size_t index)
{
    const struct dns_tlsa *record = &set->records[index];
    static const char digits[] = "0123456789abcdef";
    AUTO(free) char *data = mem_zero((size_t)record->length * 2 + 1);
    struct fault why = { "" };
    bool usable = finding_usable(set, index, &why);
    size_t i;

    for (i = 0; i < record->length; i++) {
        data[i * 2] = digits[record->data[i] >> 4];
        data[i * 2 + 1] = digits[record->data[i] & 0xf];
    }
    return json_pack("{s:i, s:i, s:i, s:s, s:b, s:o}", "usage", record->usage, "selector", record->selector,
                     "matching", record->matching, "data", data, "usable", usable, "why", text_or_null(why.text));
}

static json_t *host_json(const struct finding_hop *hop, size_t index)
{
    const struct dns_host *host = &hop->answers->hosts[index];
    const struct evidence_host *judged = &hop->found->hosts[index];
    const struct dns_tlsa_set *set = dane_tlsa_of(host);
    json_t *records = json_array();
    size_t i;

    for (i = 0; i < set->count; i++)
        json_array_append_new(records, record_json(set, i));
    return json_pack("{s:o, s:i, s:b, s:b, s:s, s:o}", "host", output_text(judged->name), "preference", judged->preference,
                     "secure", hop->found->mx_secure, "addresses_secure", judged->addresses_secure,
                     "state", host_word(judged->state), "tlsa", records);
}

static json_t *dane_json(const struct finding_hop *hop)
{
    json_t *hosts = json_array();
    size_t i;

    for (i = 0; hop->answers != NULL && i < hop->found->host_count; i++)
        json_array_append_new(hosts, host_json(hop, i));
    return json_pack("{s:s, s:o, s:o}", "state", dane_word(hop->found->dane), "why", text_or_null(hop->found->why), "mx", hosts);
}

enum sts_state finding_sts(const struct finding_hop *hop)
{
    return hop->answers == NULL ? hop->sts->sts : hop->found->sts;
}

static json_t *sts_json(const struct finding_hop *hop)
{
    const struct sts_policy *policy = hop->partner.policy;
    json_t *item = json_object(), *mx = json_array();
    size_t i;

    for (i = 0; policy != NULL && i < policy->mx_count; i++)
        json_array_append_new(mx, output_text(policy->mx[i]));
    json_object_set_new(item, "state", json_string(sts_word(finding_sts(hop))));
    json_object_set_new(item, "why", text_or_null(hop->sts->sts_why));
    json_object_set_new(item, "id", text_or_null(hop->partner.id));
    json_object_set_new(item, "mode", policy == NULL ? json_null() : json_string(sts_mode_word(policy->mode)));
    json_object_set_new(item, "max_age", policy == NULL ? json_null() : json_integer(policy->max_age));
    json_object_set_new(item, "mx", mx);
    return item;
}

static json_t *chain_json(const struct chain *chain)
{
    json_t *zones = json_array();
    size_t i;

    for (i = 0; i < chain->count; i++) {
        const struct zone *zone = &chain->zones[i];

        json_array_append_new(zones, json_pack("{s:o, s:s, s:o}", "zone", output_text(zone->name),
                                               "state", trust_word(zone->state), "why", text_or_null(zone->why)));
    }
    return zones;
}

json_t *finding_json(const struct finding *f)
{
    const struct finding_hop *hop = &f->hops[f->decided];
    AUTO(free) char *policy = finding_policy(f);
    char hop_text[NEXT_HOP_TEXT_SIZE];
    json_t *item = json_object();

    json_object_set_new(item, "name", output_text(f->name));
    json_object_set_new(item, "domain", output_text(f->to.domain.name));
    json_object_set_new(item, "next_hop", output_text(next_hop_print(&hop->hop, hop_text)));
    json_object_set_new(item, "connector", output_text(f->connector->name));
    json_object_set_new(item, "dane", dane_json(hop));
    json_object_set_new(item, "sts", sts_json(hop));
    json_object_set_new(item, "tlsrpt", hop->partner.report_text == NULL ? json_null() : output_text(hop->partner.report_text));
    json_object_set_new(item, "verdict", json_string(verdict_word(f->decision.verdict)));
    json_object_set_new(item, "policy", text_or_null(policy));
    json_object_set_new(item, "reason", text_or_null(reason_word(f->decision.reason)));
    json_object_set_new(item, "route", f->connector->is_default || f->connector->route == NULL
                                           ? json_null() : output_text(connector_road(f->connector)->name));
    json_object_set_new(item, "chain", chain_json(&f->chain));
    json_object_set_new(item, "probe", f->tour == NULL ? json_null() : tour_json(f->tour));
    return item;
}
