#include "engine/remark.h"

#include "base/log.h"

#include <stdio.h>

static const char *proof_words(enum visit_proof proof)
{
    switch (proof) {
    case PROOF_NONE:
        break;
    case PROOF_TLS:
        return "TLS";
    case PROOF_DANE:
        return "DANE";
    case PROOF_STS:
        return "MTA-STS";
    case PROOF_NAMES:
        return "the connector's own floor";
    }
    return "a visit";
}

void remark_say(const struct remark *r, const struct visit_host *host, enum visit_proof proof, int64_t wall)
{
    long long days = (r->not_after - wall) / (24 * 3600);
    char where[512];

    snprintf(where, sizeof(where), "probe of %s:%u [%s], connector \"%s\"", host->name.name, host->port,
             r->address[0] == '\0' ? "-" : r->address, r->about);
    if (r->what == REMARK_FAILS && proof == PROOF_NONE)
        log_warning("%s: %s", where, r->why);
    else if (r->what == REMARK_FAILS)
        log_warning("%s: fails %s: %s", where, proof_words(proof), r->why);
    else if (r->what == REMARK_GOOD && proof == PROOF_NONE)
        log_info("%s: shows its certificates again", where);
    else if (r->what == REMARK_GOOD)
        log_info("%s: passes %s again", where, proof_words(proof));
    if (r->expires && r->not_after < wall)
        log_warning("%s: its certificate has expired", where);
    else if (r->expires)
        log_warning("%s: its certificate expires in %lld days", where, days);
}
