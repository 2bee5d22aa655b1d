#include "cli/tour.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/look.h"
#include "cli/output.h"
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LINE_SIZE = 1200, DAY = 24 * 3600, EXPIRES_SOON = 14 * DAY };

/* One host of one next hop. */
struct stop {
    struct next_hop hop;
    size_t hop_index;
    struct evidence *found;             /* a reference of ours: host is in there, or is own */
    struct evidence_host own;           /* of a literal next hop */
    const struct evidence_host *host;
    struct look *look;
    bool seen;                          /* waited for, and judged */
    struct visit visit;                 /* its chain is the look's */
    struct visit_demand dane, other;    /* what the host promises, or the connector demands */
    struct visit_judgement by_dane, by_other, by_authority;
    bool counts;                        /* mail under the connector depends on other */
};

struct tour {
    struct lookup *lookup;
    const struct connector *connector;
    struct stop **stops;
    size_t count, hops;
};

struct tour *tour_new(struct lookup *lookup, const struct connector *c)
{
    struct tour *t = mem_zero(sizeof(*t));

    t->lookup = lookup;
    t->connector = c;
    return t;
}

void tour_free(struct tour *t)
{
    size_t i;

    if (t == NULL)
        return;
    for (i = 0; i < t->count; i++) {
        look_free(t->stops[i]->look);
        evidence_unref(t->stops[i]->found);
        free(t->stops[i]);
    }
    free(t->stops);
    free(t);
}

/* What its policy lists it is judged by, also while that is only tested; else what the connector's own floor says. */
static void find_demands(const struct tour *t, struct stop *s, const struct sts_policy *policy)
{
    bool listed = policy != NULL && policy->mode != STS_MODE_NONE && sts_policy_lists(policy, s->host->name);

    s->dane = visit_demand_dane(s->host, &s->hop);
    if (listed) {
        s->other = visit_demand_sts(s->host);
        s->counts = s->host->sts_match && t->connector->mta_sts != MODE_NONE;
    } else if (s->dane.proof == PROOF_NONE) {
        s->other = visit_demand_floor(t->connector, s->host->name, &s->hop);
        s->counts = true;
    }
}

static void add_stop(struct tour *t, const struct next_hop *hop, struct evidence *found, const struct evidence_host *host,
                     const struct sts_policy *policy)
{
    struct stop *s = mem_zero(sizeof(*s));
    struct probe_target target;

    s->hop = *hop;
    s->hop_index = t->hops;
    s->found = evidence_ref(found);
    s->own = (struct evidence_host){ .name = s->hop.host.name, .expanded = s->hop.host.name, .base = "", .state = HOST_BARE };
    s->host = host == NULL ? &s->own : host;
    find_demands(t, s, policy);
    engine_visit_aim(s->host->name, hop->port, hop->literal, &target);
    target.urgent = true;
    s->look = look_at_host(t->lookup, &target);
    t->stops = mem_grow(t->stops, t->count + 1, sizeof(struct stop *));
    t->stops[t->count++] = s;
}

void tour_add(struct tour *t, const struct next_hop *hop, struct evidence *found, const struct sts_policy *policy)
{
    size_t i;

    if (hop->literal)
        add_stop(t, hop, found, NULL, NULL);
    for (i = 0; i < found->host_count; i++) {
        if (visit_is_worth_it(&found->hosts[i]))
            add_stop(t, hop, found, &found->hosts[i], policy);
    }
    t->hops++;
}

/* Waits for the visit, and judges it. */
static const struct stop *see(const struct tour *t, size_t index)
{
    struct stop *s = t->stops[index];
    struct visit_demand authority = visit_demand_sts(s->host);
    int64_t now = (int64_t)clock_wall();

    if (s->seen)
        return s;
    s->seen = true;
    s->visit = engine_visit_of(look_sight(s->look));
    visit_judge(&s->visit, &s->dane, t->lookup->trust, now, &s->by_dane);
    visit_judge(&s->visit, &s->other, t->lookup->trust, now, &s->by_other);
    visit_judge(&s->visit, &authority, t->lookup->trust, now, &s->by_authority);
    return s;
}

struct evidence *tour_seen(struct tour *t, size_t hop, struct evidence *found)
{
    enum visit_mark marks[DNS_HOSTS_MAX];
    struct evidence *mismatch;
    struct fault why = { "" };
    size_t count = 0, i;

    if (t->connector->probe != PROBING_REQUIRE || t->connector->smtp_dane == MODE_NONE)
        return found;
    for (i = 0; i < t->count; i++) {
        const struct stop *s = t->stops[i];

        if (s->hop_index != hop || s->host->state != HOST_GOOD || count == DNS_HOSTS_MAX)
            continue;
        see(t, i);
        marks[count++] = s->by_dane.mark;
        if (s->by_dane.mark == VISIT_FAILS && why.text[0] == '\0')
            fault_set(&why, "%s [%s]: %.250s", s->host->name, s->visit.address, s->by_dane.why.text);
    }
    if (!visit_is_mismatch(marks, count))
        return found;
    mismatch = evidence_mismatch(found, why.text);
    evidence_unref(found);
    return mismatch;
}

/* What there is to say about a visit, for JSON; empty: nothing. */
static void explain(const struct stop *s, struct text *ret)
{
    char record[64];

    if (s->visit.state != VISIT_SEEN) {
        text_put(ret, s->visit.why);
        return;
    }
    if (s->by_dane.mark == VISIT_PASSES && s->dane.proof == PROOF_DANE)
        text_print(ret, "TLSA %s matches", visit_record_print(&s->host->tlsa[s->by_dane.record], record, sizeof(record)));
    else if (s->dane.proof == PROOF_DANE)
        text_put(ret, s->by_dane.why.text);
    if (s->other.proof != PROOF_NONE && s->by_other.mark != VISIT_PASSES)
        text_print(ret, "%s%s", ret->length == 0 ? "" : "; ", s->by_other.why.text);
}

static json_t *word_or_null(const char *word)
{
    return word == NULL || *word == '\0' ? json_null() : output_text(word);
}

static char *print_time(int64_t wall, char *ret, size_t size)
{
    time_t at = (time_t)wall;
    struct tm utc;

    if (wall <= 0 || gmtime_r(&at, &utc) == NULL || strftime(ret, size, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        *ret = '\0';
    return ret;
}

static json_t *stop_json(const struct stop *s)
{
    json_t *item = json_object();
    char until[32];
    struct text why;
    bool offers, asks_dane = s->dane.proof == PROOF_DANE;

    text_init(&why, 4096);
    explain(s, &why);
    json_object_set_new(item, "host", output_text(s->host->name));
    json_object_set_new(item, "address", word_or_null(s->visit.address));
    json_object_set_new(item, "starttls", visit_offers_tls(&s->visit, &offers) ? json_boolean(offers) : json_null());
    json_object_set_new(item, "dane", asks_dane ? word_or_null(visit_dane_word(s->by_dane.mark)) : json_null());
    json_object_set_new(item, "sts", word_or_null(visit_other_word(s->other.proof, s->by_other.mark)));
    json_object_set_new(item, "not_after", word_or_null(print_time(s->visit.not_after, until, sizeof(until))));
    json_object_set_new(item, "why", word_or_null(text_words(&why)));
    text_done(&why);
    return item;
}

json_t *tour_json(struct tour *t)
{
    json_t *list = json_array();
    size_t i;

    for (i = 0; i < t->count; i++)
        json_array_append_new(list, stop_json(see(t, i)));
    return list;
}

/* The page */

static void put_dane(const struct stop *s)
{
    char line[LINE_SIZE], record[64];

    if (s->dane.proof != PROOF_DANE)
        snprintf(line, sizeof(line), "  no usable TLSA record to compare with");
    else if (s->by_dane.mark == VISIT_PASSES)
        snprintf(line, sizeof(line), "  TLSA %s matches",
                 visit_record_print(&s->host->tlsa[s->by_dane.record], record, sizeof(record)));
    else
        snprintf(line, sizeof(line), "  <-- DANE fails: %s", s->by_dane.why.text);
    output_field("", line);
}

static void put_lifetime(const struct stop *s)
{
    long long days = (s->visit.not_after - (int64_t)clock_wall()) / DAY;
    bool expired = s->visit.not_after < (int64_t)clock_wall();
    char line[LINE_SIZE], until[32];

    if (s->visit.not_after == 0)
        return;
    print_time(s->visit.not_after, until, sizeof(until));
    if (expired)
        snprintf(line, sizeof(line), "  <-- certificate expired at %s", until);
    else
        snprintf(line, sizeof(line), "  %scertificate expires in %lld days, at %s",
                 s->visit.not_after - (int64_t)clock_wall() <= EXPIRES_SOON ? "<-- " : "", days, until);
    output_field("", line);
}

static void put_authority(const struct stop *s)
{
    bool other = s->other.proof == PROOF_NAMES;
    const struct visit_judgement *j = other ? &s->by_other : &s->by_authority;
    bool needed = s->other.proof == PROOF_STS || s->other.proof == PROOF_NAMES;
    char line[LINE_SIZE];

    if (j->mark == VISIT_PASSES)
        snprintf(line, sizeof(line), "  authorities vouch for it%s", s->other.proof == PROOF_STS ? ", as MTA-STS wants it" :
                 other ? ", as the connector's floor wants it" : "");
    else
        snprintf(line, sizeof(line), "  %sno authority vouches for it%s: %s", needed ? "<-- " : "",
                 s->other.proof == PROOF_STS ? ", as MTA-STS wants it" : other ? ", as the connector's floor wants it" : "",
                 j->why.text);
    output_field("", line);
}

static void put_stop(const struct stop *s, const char *label)
{
    char line[LINE_SIZE], where[400];

    snprintf(where, sizeof(where), "%s:%u [%s]", s->host->name, s->hop.port,
             s->visit.address[0] == '\0' ? "-" : s->visit.address);
    if (s->visit.state != VISIT_SEEN) {
        bool plain = s->visit.state == VISIT_NO_STARTTLS && s->dane.proof == PROOF_NONE;

        snprintf(line, sizeof(line), "%s%s: %s", plain ? "" : "<-- ", where, s->visit.why);
        output_field(label, line);
        return;
    }
    snprintf(line, sizeof(line), "%s: STARTTLS, %s", where, s->visit.tls);
    output_field(label, line);
    put_dane(s);
    put_authority(s);
    put_lifetime(s);
}

void tour_page(struct tour *t)
{
    size_t i;

    for (i = 0; i < t->count; i++)
        put_stop(see(t, i), i == 0 ? "probe" : "");
    if (t->count == 0)
        output_field("probe", "there is no host to visit");
}

/* What to tell the partner */

static void advise_dane(const struct stop *s, struct text *ret)
{
    if (s->visit.state == VISIT_NO_STARTTLS)
        text_print(ret, " Have %s offer STARTTLS on port %u, or take its TLSA records away.", s->host->name, s->hop.port);
    else
        text_print(ret, " Make the certificate of %s and the TLSA records of _%u._tcp.%s fit each other again (%s).",
                   s->host->name, s->hop.port, s->host->base, s->by_dane.why.text);
}

static void advise_other(const struct stop *s, struct text *ret)
{
    if (s->visit.state == VISIT_NO_STARTTLS)
        text_print(ret, " Have %s offer STARTTLS on port %u.", s->host->name, s->hop.port);
    else if (s->other.proof == PROOF_STS)
        text_print(ret, " Give %s a certificate from a public authority that has this name as subjectAltName (%s).",
                   s->host->name, s->by_other.why.text);
    else
        text_print(ret, " The certificate of %s is not what the connector's tls and tls_match want (%s).", s->host->name,
                   s->by_other.why.text);
}

static void advise(const struct stop *s, struct text *ret)
{
    int64_t left = s->visit.not_after - (int64_t)clock_wall();
    bool dane_fails = s->dane.proof == PROOF_DANE && s->by_dane.mark == VISIT_FAILS;
    bool other_fails = s->other.proof != PROOF_NONE && s->by_other.mark == VISIT_FAILS;

    if (dane_fails)
        advise_dane(s, ret);
    if (other_fails && !(dane_fails && s->visit.state == VISIT_NO_STARTTLS))
        advise_other(s, ret);
    if (s->visit.state == VISIT_UNREACHABLE || s->visit.state == VISIT_REFUSED || s->visit.state == VISIT_TLS_FAILED)
        text_print(ret, " See whether %s can be used on port %u from elsewhere (%s).", s->host->name, s->hop.port,
                   s->visit.why);
    if (s->visit.not_after != 0 && left <= EXPIRES_SOON && !dane_fails && !other_fails)
        text_print(ret, " Renew the certificate of %s, which %s.", s->host->name, left < 0 ? "has expired" : "expires soon");
}

void tour_advice(struct tour *t, struct text *ret)
{
    struct text more;
    size_t i;

    text_init(&more, (size_t)1 << 15);
    for (i = 0; i < t->count; i++)
        advise(see(t, i), &more);
    if (more.length > 0)
        text_put(ret, text_words(&more) + (ret->length == 0 ? 1 : 0));
    text_done(&more);
}

int tour_exit(struct tour *t)
{
    bool failed = false, open = false, seen = false;
    size_t i;

    for (i = 0; i < t->count; i++) {
        const struct stop *s = see(t, i);
        bool asks_dane = s->dane.proof == PROOF_DANE, asks_other = s->counts && s->other.proof != PROOF_NONE;

        seen |= s->visit.state != VISIT_UNREACHABLE;
        failed |= (asks_dane && s->by_dane.mark == VISIT_FAILS) || (asks_other && s->by_other.mark == VISIT_FAILS);
        open |= (asks_dane && s->by_dane.mark == VISIT_OPEN) || (asks_other && s->by_other.mark == VISIT_OPEN);
    }
    if (failed || (open && seen))
        return CLI_NO;
    return open ? CLI_TEMPORARY : CLI_GOOD;
}
