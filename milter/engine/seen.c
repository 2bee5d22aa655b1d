/*
 * What visits say, and what they say to a decision: probe = require makes a mismatch of DANE's promise where no host keeps it.
 */
#include "base/clock.h"
#include "engine/inside.h"

#include <arpa/inet.h>
#include <string.h>

/* In words, the first host that has shown that it fails. */
static void explain(const char *host, const struct visits_word *word, int64_t now, struct fault *ret)
{
    if (ret->text[0] == '\0')
        fault_set(ret, "%s [%s], visited %lld s ago: %s", host, word->address, (long long)(now - word->at) / 1000, word->why);
}

/* Whether visits to all good hosts make it a mismatch, and why. */
static bool mismatches(struct engine *e, const struct next_hop *hop, const struct evidence *found, struct fault *ret_why)
{
    enum visit_mark marks[DNS_HOSTS_MAX];
    struct visits_word word;
    int64_t now = clock_ms();
    size_t count = 0, i;

    ret_why->text[0] = '\0';
    for (i = 0; i < found->host_count && count < DNS_HOSTS_MAX; i++) {
        struct visit_demand demand = visit_demand_dane(&found->hosts[i], hop);
        struct visit_host host = visit_host_of(hop, found->hosts[i].name);

        if (found->hosts[i].state != HOST_GOOD)
            continue;
        if (demand.proof == PROOF_NONE)
            return false;
        visits_word(e->visits, &host, &demand, NULL, now, &word);
        marks[count] = word.recent ? word.mark : VISIT_UNKNOWN;
        if (marks[count] == VISIT_UNKNOWN || marks[count] == VISIT_PASSES)
            return false;
        if (marks[count++] == VISIT_FAILS)
            explain(found->hosts[i].name, &word, now, ret_why);
    }
    return visit_is_mismatch(marks, count);
}

struct evidence *engine_seen(struct engine *e, const struct connector *c, const struct next_hop *hop, struct evidence *found)
{
    struct evidence *mismatch;
    struct fault why;

    if (c->probe == PROBING_OFF || c->is_default)
        return found;
    if (!hop->literal && traffic_names(c))
        traffic_note(e->traffic, c, hop, clock_ms());
    if (c->probe != PROBING_REQUIRE || c->smtp_dane == MODE_NONE || !mismatches(e, hop, found, &why))
        return found;
    mismatch = evidence_mismatch(found, why.text);
    evidence_unref(found);
    return mismatch;
}

void engine_visit_aim(const char *host, uint16_t port, bool literal, struct probe_target *ret)
{
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&ret->address;
    struct sockaddr_in *four = (struct sockaddr_in *)&ret->address;

    *ret = (struct probe_target){ .port = port };
    if (!literal) {
        domain_parse(host, &ret->host, NULL);
    } else if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
    } else if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
    }
}

static enum visit_state state_of(enum probe_state state)
{
    switch (state) {
    case PROBE_REFUSED:
        return VISIT_REFUSED;
    case PROBE_NO_STARTTLS:
        return VISIT_NO_STARTTLS;
    case PROBE_TLS_FAILED:
        return VISIT_TLS_FAILED;
    case PROBE_SEEN:
        return VISIT_SEEN;
    case PROBE_UNREACHABLE:
        break;
    }
    return VISIT_UNREACHABLE;
}

struct visit engine_visit_of(const struct probe_sight *sight)
{
    struct visit v = { .state = state_of(sight->state), .chain = sight->chain };

    memcpy(v.why, sight->why, sizeof(v.why));
    memcpy(v.address, sight->address, sizeof(v.address));
    memcpy(v.tls, sight->tls, sizeof(v.tls));
    if (sight->chain != NULL)
        v.not_after = sight->chain->not_after;
    return v;
}
