#include "policy/visit.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { DATA_SHOWN = 8 };

const char *visit_word(enum visit_state s)
{
    switch (s) {
    case VISIT_UNREACHABLE:
        return "unreachable";
    case VISIT_REFUSED:
        return "refused";
    case VISIT_TLS_FAILED:
        return "tls-failed";
    case VISIT_NO_STARTTLS:
        return "no-starttls";
    case VISIT_SEEN:
        return "seen";
    case VISIT_NONE:
        break;
    }
    return "none";
}

bool visit_is_worth_it(const struct evidence_host *host)
{
    switch (host->state) {
    case HOST_GOOD:
    case HOST_UNUSABLE:
    case HOST_BARE:
        return true;
    case HOST_GONE:
    case HOST_BOGUS:
    case HOST_FAILING:
        break;
    }
    return false;
}

struct visit_demand visit_demand_dane(const struct evidence_host *host, const struct next_hop *hop)
{
    if (host->state != HOST_GOOD || host->tlsa_count == 0)
        return (struct visit_demand){ .proof = PROOF_NONE };
    return (struct visit_demand){ .proof = PROOF_DANE, .host = host, .names = { host->name, hop->host.name }, .name_count = 2 };
}

struct visit_demand visit_demand_sts(const struct evidence_host *host)
{
    return (struct visit_demand){ .proof = PROOF_STS, .names = { host->name }, .name_count = 1 };
}

struct visit_demand visit_demand_floor(const struct connector *c, const char *host, const struct next_hop *hop)
{
    struct visit_demand d = { .proof = PROOF_NONE };

    switch (c->tls) {
    case TLS_SITE:
    case TLS_MAY:
    case TLS_DANE:
    case TLS_DANE_ONLY:
        return d;
    case TLS_ENCRYPT:
        d.proof = PROOF_TLS;
        return d;
    case TLS_VERIFY:
    case TLS_SECURE:
        break;
    }
    d.proof = PROOF_NAMES;
    if (c->tls_match_count > 0) {
        d.floor = c;
    } else {
        d.names[0] = c->tls == TLS_VERIFY ? host : hop->host.name;
        d.name_count = 1;
    }
    return d;
}

void visit_demands(const struct connector *c, const struct evidence_host *host, const struct next_hop *hop,
                   struct visit_demand *ret_dane, struct visit_demand *ret_other)
{
    *ret_dane = *ret_other = (struct visit_demand){ .proof = PROOF_NONE };
    if (c->smtp_dane != MODE_NONE)
        *ret_dane = visit_demand_dane(host, hop);
    if (c->mta_sts != MODE_NONE && host->sts_match)
        *ret_other = visit_demand_sts(host);
    else if (ret_dane->proof == PROOF_NONE)
        *ret_other = visit_demand_floor(c, host->name, hop);
}

/* RFC 7672 3.1 and 3.2. */
static void judge_dane(const struct visit *v, const struct visit_demand *d, int64_t now, struct visit_judgement *ret)
{
    struct cert_chain_demand demand = { .records = d->host->tlsa, .count = d->host->tlsa_count, .base = d->host->base,
                                        .names = d->names, .name_count = d->name_count };

    if (v->chain == NULL)
        fault_set(&ret->why, "the certificates were not kept");
    else
        ret->mark = cert_chain_dane(v->chain, &demand, now, &ret->record, &ret->why) ? VISIT_PASSES : VISIT_FAILS;
}

static void judge_names(const struct visit *v, const struct visit_demand *d, X509_STORE *trust, int64_t now,
                        struct visit_judgement *ret)
{
    const char *const *names = d->floor != NULL ? d->floor->tls_match : d->names;
    size_t count = d->floor != NULL ? d->floor->tls_match_count : d->name_count;

    if (v->chain == NULL)
        fault_set(&ret->why, "the certificates were not kept");
    else if (trust == NULL)
        fault_set(&ret->why, "there are no certificate authorities to judge by");
    else
        ret->mark = cert_chain_pkix(v->chain, trust, names, count, now, &ret->why) ? VISIT_PASSES : VISIT_FAILS;
}

/* All our roads want TLS 1.2. */
static bool is_too_old(const struct visit *v)
{
    return strcmp(v->tls, "TLSv1") == 0 || strcmp(v->tls, "TLSv1.0") == 0 || strcmp(v->tls, "TLSv1.1") == 0 ||
           strncmp(v->tls, "SSL", 3) == 0;
}

static void judge_seen(const struct visit *v, const struct visit_demand *d, X509_STORE *trust, int64_t now,
                       struct visit_judgement *ret)
{
    switch (d->proof) {
    case PROOF_NONE:
    case PROOF_TLS:
        ret->mark = VISIT_PASSES;
        return;
    case PROOF_DANE:
        judge_dane(v, d, now, ret);
        return;
    case PROOF_STS:
    case PROOF_NAMES:
        judge_names(v, d, trust, now, ret);
        return;
    }
}

void visit_judge(const struct visit *v, const struct visit_demand *d, X509_STORE *trust, int64_t now,
                 struct visit_judgement *ret)
{
    *ret = (struct visit_judgement){ .mark = VISIT_OPEN };
    switch (v->state) {
    case VISIT_SEEN:
        if (d->proof != PROOF_NONE && is_too_old(v))
            fault_set(&ret->why, "the host speaks only %s", v->tls);
        else
            judge_seen(v, d, trust, now, ret);
        return;
    case VISIT_NO_STARTTLS:
        ret->mark = d->proof == PROOF_NONE ? VISIT_PASSES : VISIT_FAILS;
        break;
    case VISIT_UNREACHABLE:
    case VISIT_REFUSED:
    case VISIT_TLS_FAILED:
        break;
    case VISIT_NONE:
        ret->mark = VISIT_UNKNOWN;
        break;
    }
    fault_set(&ret->why, "%s", v->why);
}

const char *visit_dane_word(enum visit_mark m)
{
    return m == VISIT_PASSES ? "match" : m == VISIT_FAILS ? "mismatch" : NULL;
}

const char *visit_names_word(enum visit_mark m)
{
    return m == VISIT_PASSES ? "valid" : m == VISIT_FAILS ? "invalid" : NULL;
}

const char *visit_other_word(enum visit_proof proof, enum visit_mark m)
{
    return proof == PROOF_STS || proof == PROOF_NAMES ? visit_names_word(m) : NULL;
}

bool visit_offers_tls(const struct visit *v, bool *ret)
{
    *ret = v->state == VISIT_SEEN || v->state == VISIT_TLS_FAILED;
    return *ret || v->state == VISIT_NO_STARTTLS;
}

char *visit_record_print(const struct dns_tlsa *record, char *ret, size_t size)
{
    char data[2 * DATA_SHOWN + 1] = "";
    size_t shown = record->length < DATA_SHOWN ? record->length : DATA_SHOWN, i;

    for (i = 0; i < shown; i++)
        snprintf(data + 2 * i, 3, "%02x", record->data[i]);
    snprintf(ret, size, "%u %u %u %s%s", record->usage, record->selector, record->matching, data,
             record->length > shown ? "..." : "");
    return ret;
}

bool visit_is_mismatch(const enum visit_mark marks[], size_t count)
{
    bool failed = false;
    size_t i;

    for (i = 0; i < count; i++) {
        if (marks[i] == VISIT_UNKNOWN || marks[i] == VISIT_PASSES)
            return false;
        failed |= marks[i] == VISIT_FAILS;
    }
    return failed;
}
